"""How the model of a folder reads texts: how long they may be, and how vectors are made of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from bertsmith.deploy import sentences
from bertsmith.deploy.folder_files import json_of
from bertsmith.errors import InputError, printable

SHORTEST, LONGEST = 8, 1 << 20  # what is less or more is not a number of tokens that texts are cut to


def length_of(path: Path, longest: int | None, usual: int) -> int:
    """The most tokens that a text may have: the positions, or less where the tokenizer or a sentence encoder was made for less; `usual`
    where nothing limits it."""
    lengths = [longest]
    name = path / "tokenizer_config.json"
    for value in (json_of(name).get("model_max_length") if name.is_file() else None, sentences.longest(path)):
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
    if not (path / sentences.MODULES).is_file():
        return None, ()
    try:
        vectors = sentences.vectors_of(path)
        if "cls" in vectors["pool"].split("+") and cls != "first":
            raise InputError(f"{sentences.POOLING}: takes the first token for [CLS], which stands last")
        return vectors, ()
    except InputError as error:
        return None, (f"warning: {printable(path)}: {error}: embed gives other vectors than sentence-transformers",)
