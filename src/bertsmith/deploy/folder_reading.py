"""How the model of a folder reads texts: how long they may be, how two are joined, and how vectors are made of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith.deploy import sentences
from bertsmith.deploy.folder_files import json_of
from bertsmith.errors import InputError, printable
from bertsmith.tasks.reading import Reading, Template
from bertsmith.text import load, owners
from bertsmith.text.tokenizer import Tokenizer

SHORTEST, LONGEST = 8, 1 << 20  # what is less or more is not a number of tokens that texts are cut to


def length_of(path: Path, folder: Path, longest: int | None, usual: int) -> int:
    """The most tokens that a text may have: the positions, or less where the tokenizer or a sentence encoder was made for less; `usual`
    where nothing limits it."""
    lengths = [longest]
    name = path / "tokenizer_config.json"
    for value in (json_of(name).get("model_max_length") if name.is_file() else None, sentences.longest(folder)):
        lengths.append(int(value) if isinstance(value, (int, float)) and SHORTEST <= value <= LONGEST else None)
    return min((length for length in lengths if length is not None), default=usual)


def layout_of(base: Any, length: int, reuse: int | None) -> Any:
    """`base` for texts of `length` tokens, and for `reuse` of them in memory where it has one; what does not fit stays `base`'s own (a task
    has its length besides)."""
    layout = _fitting(base, length=length)
    return _fitting(layout, reuse=reuse) if hasattr(layout, "reuse") and type(reuse) is int else layout


def _fitting(layout: Any, **change: int) -> Any:
    try:
        return replace(layout, **change)
    except InputError:
        return layout


def vectors_of(path: Path, cls: str) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """What a folder of sentence-transformers says of its vectors; or, in words, that it cannot be followed."""
    if not (path / sentences.MODULES).is_file() or sentences.is_crossing(path):
        return None, ()
    try:
        vectors = sentences.vectors_of(path)
        if "cls" in vectors["pool"].split("+") and cls != "first":
            raise InputError(f"{sentences.POOLING}: takes the first token for [CLS], which stands last")
        return vectors, ()
    except InputError as error:
        return None, (f"warning: {printable(path)}: {error}: embed gives other vectors than sentence-transformers",)


def template_of(
    path: Path, tokenizer: Tokenizer, usual: Reading, task: bool = False
) -> tuple[Template | None, list[str]]:
    """How the folder's tokenizer joins the texts of a pair, where that is not `usual`; and what transformers does otherwise.

    tokenizer.json's post-processor tells, else the class that reads the vocabulary.  `task`: whether the model was put to one.
    InputError for one that puts other special tokens round a text.
    """
    settings = load.settings_of(path)
    named, short = owners.class_of(path, settings)
    backend, notes = tokenizer.backend, []
    separators, told = usual.between, True
    if usual.causal and usual.cls == "none" and _reads(backend, usual, tokenizer.vocab):
        return None, []
    if usual.causal and backend.encode("a").ids == backend.encode("a", add_special_tokens=False).ids:
        # The classifiers of language models read the last token of a text; a model of our own is put to a task with special tokens.
        alone = tokenizer.vocab.mask == tokenizer.vocab.sep
        apart = len(backend.encode("a", "a").ids) - 2 * len(backend.encode("a").ids)
        return (Template(separators=apart, segments=False, marks="none") if task or alone else None), []
    extract = Template(separators=1, segments=False, marks="extract")
    if usual.causal and _reads(backend, replace(usual, template=extract, marks="extract"), tokenizer.vocab):
        return extract, []
    if backend.encode("a").ids != backend.encode("a", add_special_tokens=False).ids:
        separators, told = _joins(path, tokenizer, usual)
    elif short in owners.TWO_SEPARATORS:
        separators = 2
    elif short in owners.WORDPIECES:
        separators = 1
    elif (path / load.TOKENIZER).is_file():
        notes.append(
            f"{printable(path)}: tokenizer.json has no post_processor: texts are read with "
            + (
                tokenizer.roles["sep"] + " behind"
                if usual.cls == "none"
                else f"{tokenizer.roles['cls']} and {tokenizer.roles['sep']} round"
            )
            + " them, which transformers leaves out"
        )
    inputs = settings.get("model_input_names")
    fed = "token_type_ids" in inputs if isinstance(inputs, list) else short not in owners.WITHOUT_SEGMENTS
    of_bert = short in owners.WORDPIECES or (not named and type(backend.model).__name__ == "WordPiece")
    if usual.segments and told and fed and not isinstance(inputs, list) and not of_bert:
        notes.append(
            f"{printable(path)}: tokenizer_config.json names no model_input_names: {'pairs' if usual.lead else 'texts'} are read with segments, "
            "which transformers gave up to version 4; 5 leaves them out"
        )
    if (
        usual.cls == "last" and usual.segments
    ):  # without them XLNet reads as if no token were of the same segment as another
        if not fed:
            raise InputError(
                f"{printable(path)}: tokenizer_config.json: model_input_names: without token_type_ids, which an XLNet is read with"
            )
        return None, notes
    found = Template(separators=separators, segments=told and fed)
    same = separators == usual.between and (found.segments or not usual.segments)
    return (None if same else found), notes


def _reads(backend: Any, reading: Reading, vocab: Any) -> bool:
    """Whether a text and a pair become the sequences of `reading`."""
    text = np.array(backend.encode("a", add_special_tokens=False).ids, np.int32)
    found = backend.encode("a").ids, backend.encode("a", "a").ids
    return all(ids == reading.joined(vocab, *texts)[0].tolist() for ids, texts in zip(found, ([text], [text, text])))


def rules_apart(path: Path, tokenizer: Tokenizer) -> list[str]:
    """Where the class that config.json or tokenizer_config.json names would read by other rules than the tokenizer's file has: that is
    followed, since it is what was trained with.  A vocabulary's own capitals tell where nothing else does."""
    settings = load.settings_of(path)
    named, short = owners.class_of(path, settings)
    by_json = (path / load.TOKENIZER).is_file()
    file = load.TOKENIZER if by_json else load.VOCAB
    has: dict[str, bool] = {}
    if short in owners.WORDPIECES or not (named or by_json):
        normal = tokenizer.backend.normalizer
        normalised = lambda text: normal.normalize_str(text) if normal is not None else text
        has["do_lower_case"] = normalised("A") == "a"
        has["strip_accents"] = normalised("\u00e9") == "e"
        has["tokenize_chinese_chars"] = normalised("\u4e2d").startswith(" ")
    elif short in owners.BYTE_LEVEL and by_json:
        has["add_prefix_space"] = str(tokenizer.backend.encode("a", add_special_tokens=False).tokens[:1]).startswith(
            "['\u0120"
        )
    usual = {"do_lower_case": True, "add_prefix_space": False}
    cut = f"warning: {printable(path)}: truncation_side: left: too long texts are cut at their end here"
    sides = [cut] if settings.get("truncation_side") == "left" else []
    return sides + [
        f"warning: {printable(path)}: {file} reads with {name} {has[name]}, which is followed; {printable(named) or 'the class'} of transformers "
        f"with {asked}"
        for name in has
        if isinstance(asked := settings.get(name, usual.get(name)), bool) and asked is not has[name]
    ]


def _joins(path: Path, tokenizer: Tokenizer, usual: Reading) -> tuple[int, bool]:
    """(separators, whether the second text has a segment of its own) of the tokenizer's own post-processor."""
    vocab, backend = tokenizer.vocab, tokenizer.backend
    text = backend.encode("a", add_special_tokens=False).ids
    one, two = backend.encode("a"), backend.encode("a", "a")
    before, after = ([vocab.cls] if usual.lead else []), ([vocab.cls] if usual.cls == "last" else [])
    for separators in (1, 2):
        wanted = [*before, *text, *[vocab.sep] * separators, *text, vocab.sep, *after]
        if one.ids == [*before, *text, vocab.sep, *after] and two.ids == wanted:
            second = len(text) + 1 + len(after)
            for told in (True, False):
                types = [0] * (len(wanted) - second) + [int(told)] * second
                if after and told:
                    types[-1] = 2
                if two.type_ids == types:
                    return separators, told
            raise InputError(
                f"{printable(path)}: tokenizer.json: post_processor: segments {two.type_ids} of a pair are not read here"
            )
    said = " ".join(str(backend.id_to_token(i)) for i in two.ids)
    order = {"first": "[CLS] a [SEP]", "last": "a [SEP] [CLS]", "none": "a [SEP]"}[usual.cls]
    marks = tokenizer.roles["sep"] if usual.cls == "none" else f"{tokenizer.roles['cls']} and {tokenizer.roles['sep']}"
    raise InputError(
        f"{printable(path)}: tokenizer.json: post_processor: makes {printable(said, 80)} of a pair; {order} with {marks}, and one or two separators between two texts, is what can be read"
    )
