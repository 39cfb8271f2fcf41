"""Whose tokenizer the files of a folder are: `tokenizer_class` says which code reads them, and some of it makes ids that no file tells.

Such a folder is refused by the name of the class: a vocab.txt read by BERT's rules would give other ids in silence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bertsmith.errors import InputError, printable
from bertsmith.text import published

# In lower case, without "Tokenizer" and "Fast".  Classes of transformers that read what they are given, by no rule of their own.
GENERIC = ("", "pretrained", "tokenizersbackend")
WORDPIECES = ("bert", "distilbert", "electra", "ernie", "mobilebert", "convbert", "squeezebert", "layoutlm", "splinter")
BYTE_LEVEL = ("roberta", "gpt2", "longformer", "bart", "led")
# Of families whose code parts words before a vocabulary is looked at: by morphology, by rules for tweets, by language.
CODE = ("japanese", "mecab", "sudachi", "juman", "bertweet", "phobert", "flaubert", "kobert", "kochar")
ALSO_CODE = ("xlm", "biogpt", "ctrl", "cpm", "cpmant", "rocbert", "prophetnet", "tapas", "canine")
JAPANESE = ("word_tokenizer_type", "subword_tokenizer_type", "mecab_kwargs", "sudachi_kwargs", "jumanpp_kwargs")
WITHOUT_SEGMENTS = ("roberta", "xlmroberta", "camembert", "distilbert", "longformer", "bart", "mpnet", "led", "gpt2")
TWO_SEPARATORS = ("roberta", "xlmroberta", "camembert", "longformer", "bart", "mpnet", "led")
NO_MARKS = ("openaigpt",)  # whose texts have neither a beginning nor an end
TOKENIZER = "tokenizer.json"


def class_of(folder: Path, settings: Mapping[str, Any]) -> tuple[str, str]:
    """(the class as it is named, the same in short: "bert"); ("", "") where neither tokenizer_config.json nor config.json names one."""
    named = settings.get("tokenizer_class") or _config(folder).get("tokenizer_class")
    named = named if isinstance(named, str) else ""
    return named, named.lower().removesuffix("fast").removesuffix("tokenizer").replace("_", "").replace("-", "")


def marks_nothing(folder: Path, settings: Mapping[str, Any]) -> bool:
    """Whether a folder's tokenizer is of a class that has no token for a text's beginning or end; where none is named, its model tells."""
    _, short = class_of(folder, settings)
    return (str(_config(folder).get("model_type")).replace("-", "") if short in GENERIC else short) in NO_MARKS


def check(path: Path, settings: Mapping[str, Any]) -> None:
    """InputError for the tokenizer file `path` where code decides its ids: that of its class, or code that the folder brings along."""
    where, (named, short) = printable(path.parent), class_of(path.parent, settings)
    own = settings.get("auto_map")
    if own and (not isinstance(own, dict) or own.get("AutoTokenizer")):
        raise InputError(
            f"{where}: tokenizer_config.json: auto_map: {printable(repr(own), 60)}: code of its own makes the ids, which is not run"
        )
    if short in ALSO_CODE or any(part in short for part in CODE):
        raise InputError(
            f"{where}: tokenizer_class: {printable(named)}: its Python code makes the ids, which {path.name} does not tell"
        )
    if path.name == TOKENIZER:
        return
    field = next((name for name in JAPANESE if settings.get(name) not in (None, {})), None)
    if field is None and settings.get("do_basic_tokenize") is False:
        field = "do_basic_tokenize"
    if field is not None:
        said = printable(repr(settings[field]), 60)
        raise InputError(
            f"{where}: tokenizer_config.json: {field}: {said}: its Python code makes the ids, which {path.name} does not tell"
        )
    known = (*GENERIC, *_readers(path))
    if short not in known:
        raise InputError(
            f"{where}: tokenizer_class: {printable(named)}: {path.name} is not read by its rules; {published.WAY}"
        )
    if path.name == "vocab.txt" and (path.parent / "bpe.codes").is_file():
        raise InputError(
            f"{where}: bpe.codes: the Python code of PhoBERT and BERTweet makes the ids, which {path.name} does not tell"
        )


def _readers(path: Path) -> tuple[str, ...]:
    if path.suffix == ".model":
        return tuple(published.OWNERS)
    return (*BYTE_LEVEL, *NO_MARKS) if path.suffix == ".json" or path.name == "merges.txt" else WORDPIECES


def _config(folder: Path) -> dict[str, Any]:
    """config.json; {} where it cannot be read, which is told by who reads it for itself."""
    try:
        found = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
