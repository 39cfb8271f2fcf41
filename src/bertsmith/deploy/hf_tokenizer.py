"""A tokenizer as others open it: tokenizer.json, and beside it what classes called by name go by; giving the ids that our own encoding gives.

`tokenizer_class` must be PreTrainedTokenizerFast: with BertTokenizer, or with nothing, transformers 5 builds normaliser and
pre-tokeniser from the class's defaults and drops those of tokenizer.json.  A user who calls such a class by name gets that all the same,
so tokenizer_config.json says whatever these classes ask; `named.py` tries them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from bertsmith.errors import InputError
from bertsmith.tasks.reading import Reading
from bertsmith.text.forms import outward
from bertsmith.text.starts import flat
from bertsmith.text.tokenizer import Tokenizer

# Files of a vocabulary alone, for classes that read no tokenizer.json.
VOCABULARY = ("vocab.txt", "vocab.json", "merges.txt")
ROLES_FILE = "special_tokens_map.json"
TOKENIZER = {"tokenizer.json", "tokenizer_config.json", ROLES_FILE, *VOCABULARY}  # files of it
FLAGS = ("content", "lstrip", "normalized", "rstrip", "single_word")  # of a token in that file


def hf_tokenizer(
    tokenizer: Tokenizer,
    reading: Reading,
    fills: bool = True,
    writes: bool = False,
    names: Mapping[int, str] | None = None,
) -> dict[str, bytes]:
    """{file name: content} for a model that reads texts so.  `reading.padding` says on which side it is padded.

    `fills`: whether the model is asked for masks (text.forms).  `writes`: whether it has a decoder, which begins and ends texts.
    `names`: special tokens of the model's table behind the tokenizer's own, by id.
    """
    backend = _backend(tokenizer, reading, fills)
    _add(backend, names or {})
    tree = json.loads(backend.to_str())
    alone = tokenizer.vocab.mask == tokenizer.vocab.sep  # one special token, which ends a text
    asked = ("pad", "unk") if alone else tokenizer.roles
    roles = {f"{role}_token": tokenizer.roles[role] for role in asked}
    if writes:
        begins = {} if tokenizer.vocab.cls == tokenizer.vocab.sep else {"bos_token": tokenizer.roles["cls"]}
        roles |= {**begins, "eos_token": tokenizer.roles["sep"]}
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": reading.length,
        "model_input_names": ["input_ids", *(["token_type_ids"] if reading.segments else []), "attention_mask"],
        "padding_side": reading.padding,
        "clean_up_tokenization_spaces": False,
        **_rules(backend, tree),
        **roles,
    }
    # Without them some classes add both, beyond the model's table.
    ends = tokenizer.marks_ends and not writes
    if tree["model"]["type"] != "WordPiece" and backend.token_to_id("<s>") is None and ends:
        config |= {"bos_token": tokenizer.roles["sep" if reading.bare else "cls"], "eos_token": tokenizer.roles["sep"]}
    mask = next(token for token in tree["added_tokens"] if token["content"] == tokenizer.mask_token)
    if mask["lstrip"] and not alone:  # a name alone would lose that in classes that build their own tokenizer
        roles["mask_token"] = {key: mask[key] for key in FLAGS}
        config["mask_token"] = {"__type": "AddedToken", **roles["mask_token"], "special": True}
    return {
        "tokenizer.json": backend.to_str(pretty=True).encode() + b"\n",
        "tokenizer_config.json": json.dumps(config, indent=2, ensure_ascii=False).encode() + b"\n",
        ROLES_FILE: json.dumps(roles, indent=2, ensure_ascii=False).encode() + b"\n",
        **_vocabulary(tree),
    }


def _add(backend: Backend, names: Mapping[int, str]) -> None:
    """Special tokens at ids behind all others.  InputError where one comes to stand elsewhere."""
    for i, name in sorted(names.items()):
        backend.add_special_tokens([AddedToken(name, special=True, normalized=False)])
        if backend.token_to_id(name) != i:
            raise InputError(
                f"tokenizer: {name} has id {backend.token_to_id(name)} there, and row {i} in the model's table"
            )


def _rules(backend: Backend, tree: dict[str, Any]) -> dict[str, Any]:
    """What decides ids in classes called by name, under the names that they ask for it; found by trying."""
    kind = tree["model"]["type"]
    normal = backend.normalizer.normalize_str if backend.normalizer else str
    rules: dict[str, Any] = {"do_lower_case": normal("A") == "a"}
    stripped = normal("é").lower() in ("e", " e", " e ")
    ids = lambda text: backend.encode(text, add_special_tokens=False).ids
    spaced = {"add_prefix_space": ids("a") == ids(" a"), "trim_offsets": True}
    if kind == "WordPiece":
        return {**rules, "strip_accents": stripped, "tokenize_chinese_chars": " " in normal("的")}
    if kind == "Unigram":
        rules |= {"keep_accents": not stripped, **spaced, "unk_id": tree["model"]["unk_id"], "remove_space": True}
        none = {} if backend.token_to_id("<eop>") is not None else {"additional_special_tokens": []}  # XLNet's own
        return {**rules, **none}
    return spaced if any(step["type"] == "ByteLevel" for step in flat(tree["pre_tokenizer"])) else {}


def _vocabulary(tree: dict[str, Any]) -> dict[str, bytes]:
    """vocab.txt of a WordPiece, vocab.json and merges.txt of a BPE over bytes; {} where they could not hold all of it."""
    model = tree["model"]
    if model["type"] not in ("WordPiece", "BPE") or not isinstance(model["vocab"], dict):
        return {}
    ids = model["vocab"] | {token["content"]: token["id"] for token in tree["added_tokens"]}
    names = sorted(ids, key=ids.__getitem__)
    whole = [ids[name] for name in names] == list(range(len(names)))
    if not whole or any(name != name.strip() or not name or "\n" in name for name in names):
        return {}
    if model["type"] == "WordPiece":
        fits = model.get("continuing_subword_prefix") == "##"
        return {"vocab.txt": "".join(f"{name}\n" for name in names).encode()} if fits else {}
    if not any(step["type"] == "ByteLevel" for step in flat(tree["pre_tokenizer"])):
        return {}
    merges = (" ".join(merge) if isinstance(merge, list) else merge for merge in model["merges"])
    return {
        "vocab.json": json.dumps({name: ids[name] for name in names}, ensure_ascii=False).encode() + b"\n",
        "merges.txt": "".join(f"{line}\n" for line in ("#version: 0.2", *merges)).encode(),
    }


def _backend(tokenizer: Tokenizer, reading: Reading, fills: bool) -> Backend:
    """The same ids for plain text; special tokens are matched where they are written, and set round a text as our models saw them."""
    backend = Backend.from_str(tokenizer.backend.to_str())
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    roles = [name for name in tokenizer.roles.values() if name not in known]
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in roles])
    tree = outward(json.loads(backend.to_str()), fills)
    if (
        _space_counts(tokenizer) and tokenizer.vocab.mask != tokenizer.vocab.sep
    ):  # a mask takes the space before it, as in `fill`
        for token in tree["added_tokens"]:
            token["lstrip"] |= token["content"] == tokenizer.mask_token
    if not _as_ours(backend, tokenizer, reading):
        template = _template(tokenizer, reading)
        if any(step["type"] == "ByteLevel" for step in flat(tree["pre_tokenizer"])):
            template = {"type": "Sequence", "processors": [TRIMMED, template]}
        tree["post_processor"] = template
    return Backend.from_str(json.dumps(tree))


# A token's place in the text without the space before it.
TRIMMED = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": False}


def _space_counts(tokenizer: Tokenizer) -> bool:
    """Whether white space at the end of a text becomes a token."""
    (bare, _), (spaced, _) = tokenizer.encode(["a", "a "])
    return len(bare) != len(spaced)


def _as_ours(backend: Backend, tokenizer: Tokenizer, reading: Reading) -> bool:
    """Whether the tokenizer's own post-processor does what `tasks.sequences` does, for one text and for two."""
    a = np.asarray(tokenizer.encode(["a"])[0][0], np.int32)
    for made, texts in ((backend.encode("a"), (a,)), (backend.encode("a", "a"), (a, a))):
        tokens, segments = reading.joined(tokenizer.vocab, *texts)
        if made.ids != tokens.tolist() or (reading.segments and made.type_ids != segments.tolist()):
            return False
    return True


def _template(tokenizer: Tokenizer, reading: Reading) -> dict[str, Any]:
    """[CLS] A [SEP] B [SEP], with two [SEP] between them where `reading` has two; or A [SEP] B [SEP] [CLS]; or as `reading.roles` says."""
    other, last = (1, 2) if reading.told else (0, 0)
    special = lambda role, type_id=0: {"SpecialToken": {"id": tokenizer.roles[role], "type_id": type_id}}
    text = lambda name, type_id=0: {"Sequence": {"id": name, "type_id": type_id}}
    before, apart, after = reading.roles
    types = {"cls": last, "sep": other}
    first = [*map(special, before), text("A")]
    used = dict.fromkeys((tokenizer.roles[role], getattr(tokenizer.vocab, role)) for role in ("cls", "sep", *apart))
    return {
        "type": "TemplateProcessing",
        "single": [*first, *(special(role, last if role == "cls" else 0) for role in after)],
        "pair": [*first, *map(special, apart), text("B", other), *(special(role, types[role]) for role in after)],
        "special_tokens": {name: {"id": name, "ids": [i], "tokens": [name]} for name, i in used},
    }
