"""Whether the tensors of a folder are those that its config.json means: each problem is one line with its name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertsmith.deploy import hf
from bertsmith.deploy.folder_files import CONFIG
from bertsmith.deploy.hf_families import FAMILIES
from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, an
from bertsmith.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from torch import Tensor

SHOWN = 6  # problems that an error lists


def type_of(tensor: Tensor) -> str:
    """ "float32", …"""
    return str(tensor.dtype).removeprefix("torch.")


def check_names(path: Path, found: dict[str, Tensor], family: str) -> None:
    """InputError where all names have a word before them that no class of transformers puts there ("module.bert.…")."""
    words, table = {name.partition(".")[0] for name in found}, FAMILIES[family]
    starts = (*((table.under(""),) if table.base else ()), *table.parts)
    if len(words) == 1 and not any(name.startswith(starts) for name in found):
        (word,) = words
        if any(name.partition(".")[2].startswith(starts) for name in found):
            raise InputError(
                f"{printable(path)}: the names of all tensors begin with {printable(word)!r}, which is no part of {an(family)}'s (DataParallel and "
                "other wrappers leave it): save the model that is inside"
            )


def passed_over(path: Path, found: dict[str, Tensor], family: str) -> list[str]:
    """What is to be said of a head that nothing here reads."""
    there = {name.partition(".")[0] for name in found}
    return [
        f"{printable(path)}: {module}, which {what}, stays there: transformers has no class that reads it, and nothing here does"
        for module, what in FAMILIES[family].left.items()
        if module in there
    ]


def headless(path: Path, architecture: str, terms: tuple[str, ...], family: str) -> list[str]:
    """What is to be said where config.json names a class with a head of which there is no tensor."""
    named = next((terms for terms, name in FAMILIES[family].architectures.items() if name == architecture), ())
    return [
        f"{printable(path)}: architectures: {printable(architecture)}, but there are no tensors of its {term} head; it is read without"
        for term in named
        if term not in (*terms, "summary")
    ]


def check_pad(path: Path, tokenizer: Tokenizer, theirs: dict[str, Any], family: str) -> list[str]:
    """InputError where a RoBERTa's positions, which it counts over all tokens but those of its pad_token_id, leave out others that are read;
    what is to be said where they leave out a token of the text."""
    table, vocab = FAMILIES[family], tokenizer.vocab
    pad = hf.offset(table, theirs.get("pad_token_id")) - 1 if table.folded else vocab.pad
    if pad == vocab.pad or not 0 <= pad < tokenizer.size:
        return []
    what = f"{printable(path)}: config.json: pad_token_id: {pad} is {printable(tokenizer.token(pad))!r} of the tokenizer, whose pad is {vocab.pad}"
    if pad in (vocab.cls, vocab.sep, vocab.mask):
        raise InputError(
            f"{what}; {an(family)} does not count the positions of its pads, and that token stands in every text"
        )
    return [f"warning: {what}; transformers does not count its position, which is counted here"]


def check_tied(
    path: Path, theirs: dict[str, Any], family: str, terms: tuple[str, ...], found: dict[str, Tensor]
) -> None:
    """InputError for a token head with a table of its own that is not there."""
    copy = next(iter(FAMILIES[family].tied))
    if "token" in terms and theirs.get("tie_word_embeddings", True) not in (True, None) and copy not in found:
        raise InputError(f"{printable(path)}: config.json: tie_word_embeddings: False, but {copy} is missing")


# What the classes with a head over a text or its tokens are called, behind the family's name.
CLASSES = {
    "label": ("SequenceClassification",),
    "choice": ("MultipleChoice",),
    "tag": ("TokenClassification",),
    "span": ("QuestionAnswering", "QuestionAnsweringSimple"),
}


def check_classes(path: Path, architecture: str, terms: tuple[str, ...]) -> None:
    """InputError where the head is one of the three by its tensors and config.json names a class of other answers."""
    asks = architecture.partition("For")[2]
    for term in terms:
        if architecture and term in CLASSES and asks not in CLASSES[term]:
            rule = f"its tensors are those of a class for {CLASSES[term][0]}; if it is one, correct the field, else"
            raise InputError(
                f"{printable(path)}: architectures: {printable(architecture)}: {rule} `bertsmith import --drop classifier` (or what its head "
                "is called) takes the encoder alone"
            )


def check_sides(path: Path, state: dict[str, Tensor], architecture: str, family: str) -> None:
    """InputError for an encoder-decoder of which one stack is there, and for one with a head over its states."""
    table = FAMILIES[family]
    if len(table.stacks) == 1:
        return
    layers = hf.layers_in(state, table)
    missing = next((side for side in table.stacks if not layers[side]), None)
    if missing is not None and any(layers.values()):
        raise InputError(
            f"{printable(path)}: {printable(architecture) or 'its tensors'}: a {family} without its {missing}, which nothing here reads; take the "
            "whole model"
        )
    if architecture and architecture not in table.architectures.values():
        known = " and ".join(table.architectures.values())
        if any(name.startswith(HEADS) for name in state):
            raise InputError(
                f"{printable(path)}: architectures: {printable(architecture)}: a head over a decoder's states, which is not read; {known} are, and "
                "`bertsmith import --drop NAME` leaves a head out"
            )


HEADS = ("classification_head.", "qa_outputs.", "classifier.", "transformer.")  # of encoder-decoders


def check_tensors(path: Path, state: dict[str, Tensor], expected: dict[str, Tensor], family: str) -> None:
    """InputError listing, in their names, what is missing, unexpected, of another shape, not a float or not finite."""
    expected = hf.current(expected, family)
    problems = [f"{name} is missing" for name in expected if name not in state]
    problems += [f"{printable(name)} is unexpected" for name in state if name not in expected]
    for name in sorted(expected.keys() & state.keys()):
        tensor = state[name]
        if tensor.shape != expected[name].shape:
            problems.append(f"{name} has shape {list(tensor.shape)}, {CONFIG} means {list(expected[name].shape)}")
        elif type_of(tensor) != "float32":
            problems.append(f"{name} holds {type_of(tensor)}, not floats")
        elif not tensor.isfinite().all():
            problems.append(f"{name} is not finite")
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise InputError(
            f"{printable(path)}: its tensors are not those of {an(family)} that bertsmith knows: {'; '.join(problems[:SHOWN])}{more}; "
            f"`bertsmith import --drop NAME` leaves a head out{_layers(state, expected, family)}"
        )


def _layers(state: dict[str, Tensor], expected: dict[str, Tensor], family: str) -> str:
    """What to say where config.json has another number of layers than there are tensors of."""
    table = FAMILIES[family]
    there, meant = (hf.layers_in(names, table) for names in (state, expected))
    side = next((side for side in table.stacks if there[side] != meant[side]), None)
    if side is None:
        return ""
    name = table.keys.get("layers", "attn_layers") if side == table.stacks[0] else "its decoder's number"
    return f"; {name} of {CONFIG} means {amount(meant[side], 'layer')} of tensors, and {there[side]} are there"
