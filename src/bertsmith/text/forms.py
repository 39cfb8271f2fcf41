"""The two forms of a tokenizer.json trained here: as stores keep it, and as other programs read it.

Both give a text the same ids.  They differ where a special token is written inside one: in a store's form what follows it begins anew, with
a space put before it; in the outward form it goes on, as `fill` reads it.  And patterns are spelt so that JavaScript reads them, too.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from bertsmith.text.normal import GOES, PARTS, WORDS_OF_BYTES, by_character, is_bytes_of_words
from bertsmith.text.starts import flat
from bertsmith.text.words import PARTING, REMOVED

# \x{200C} is Oniguruma's; the characters themselves are anyone's.
WORDS_OF_BYTES_ANYWHERE = WORDS_OF_BYTES.replace(r"\x{200C}\x{200D}", "\u200c\u200d")
# "first" goes by a token's place in the text as it came: what goes at its head would hide that it is the first.
HEAD = {
    "type": "Replace",
    "pattern": {"Regex": f"(?<![\\s\\S])[{REMOVED}]+(?=[^ {REMOVED}{PARTING}])"},
    "content": " ",
}
# What WhitespaceSplit does to the space between words, which "first" has to see.
BLANKS = {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "}
END = {"type": "Replace", "pattern": {"Regex": " $"}, "content": ""}
# SentencePiece's Nmt, which tokenizers trained by earlier versions have and transformers.js does not, in its own two steps.
NMT = [
    {
        "type": "Replace",
        "pattern": {"Regex": "[\x01-\x08\x0b\x0e-\x1f\x7f\x8f\x9f]"},
        "content": "",
    },
    {
        "type": "Replace",
        "pattern": {"Regex": "[\t\n\x0c\r\u1680\u200b-\u200f\u2028\u2029\u2581\ufeff\ufffd]"},
        "content": " ",
    },
]
PIECES = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
SPLIT = {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, PIECES]}
ONE_BY_ONE = ("NFC", "NFKC", "Lowercase")  # that let nothing go


def outward(tree: dict[str, Any], fills: bool = True) -> dict[str, Any]:
    """A tokenizer.json for others; `fills`: for a model that is asked for masks.

    Pieces with ▁ are changed for such models only: in the outward form a piece's offsets begin with the blank.
    What was not trained here, or strips accents (then marks go, too), stays as it is.
    """
    tree, steps = deepcopy(tree), flat(tree.get("normalizer"))
    ours = goes(steps) is not None and all(
        step["type"] in ONE_BY_ONE or (step["type"] == "Replace" and by_character(step)) for step in steps
    )
    if {"type": "Nmt"} in steps:
        tree["normalizer"] = _chain([part for step in steps for part in (NMT if step == {"type": "Nmt"} else [step])])
    splits = flat(tree.get("pre_tokenizer"))
    if is_bytes_of_words(splits):
        splits[1]["pattern"] = {"Regex": WORDS_OF_BYTES_ANYWHERE}
        if ours:
            splits[0]["prepend_scheme"] = "first"
            tree["normalizer"] = _chain(_with_head(steps))
    elif ours and fills and tree["pre_tokenizer"] == SPLIT:
        tree["normalizer"] = _chain([*_with_head(steps), BLANKS, END])
        tree["pre_tokenizer"] = {**PIECES, "prepend_scheme": "first"}
    return tree


def inward(tree: dict[str, Any]) -> dict[str, Any]:
    """The store's form of what `outward` wrote; anything else as it is."""
    steps, splits = flat(tree.get("normalizer")), flat(tree.get("pre_tokenizer"))
    at = next((i for i in range(len(steps) - 1) if steps[i : i + 2] == NMT), None)
    if at is not None:
        tree = {**tree, "normalizer": _chain([*steps[:at], {"type": "Nmt"}, *steps[at + 2 :]])}
    if [split.get("type") for split in splits] == ["Metaspace", "Split", "ByteLevel"]:
        if splits[1].get("pattern") != {"Regex": WORDS_OF_BYTES_ANYWHERE}:
            return tree
        tree = deepcopy(tree)
        space, words, _ = flat(tree["pre_tokenizer"])
        words["pattern"] = {"Regex": WORDS_OF_BYTES}
        if HEAD in steps and space.get("prepend_scheme") == "first":
            space["prepend_scheme"] = "always"
            tree["normalizer"] = _chain([step for step in steps if step != HEAD])
    elif HEAD in steps and steps[-2:] == [BLANKS, END] and splits == [{**PIECES, "prepend_scheme": "first"}]:
        rest = [step for step in steps[:-2] if step != HEAD]
        tree = {**tree, "normalizer": _chain(rest), "pre_tokenizer": deepcopy(SPLIT)}
    return tree


def goes(steps: list[dict[str, Any]]) -> int | None:
    """Where the rule stands that lets characters go, PARTS behind it."""
    patterns = [(step.get("pattern") or {}).get("Regex") for step in steps]
    return patterns.index(GOES) if GOES in patterns and PARTS in patterns else None


def _with_head(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    at = goes(steps)
    return [*steps[:at], HEAD, *steps[at:]]


def _chain(steps: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "Sequence", "normalizers": deepcopy(steps)}
