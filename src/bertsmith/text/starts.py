"""Word starts without offsets: three bits per vocabulary entry instead of two numbers per token.  t tokens.

Whether a token starts a word depends on its own characters and, where it opens with a letter, on whether the token before it
ends in one: `always[id] | (opens[id] & ~ends[previous id])`.  That holds for tokenizers whose tokens show where words part and for texts
whose characters the normaliser leaves in their class; every other text, and every text of a script without spaces, is `odd` and
is settled by offsets (words.word_starts), which the tests hold this file against.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
from tokenizers import Tokenizer as Backend

from bertsmith.text.categories import category
from bertsmith.text.normal import PARTS, by_character, is_bytes_of_words
from bertsmith.text.words import INVISIBLE, LETTER, MARK, OTHER, SPACE, UNSPACED, classes

Array = np.ndarray

# Normalisers that map each character on its own, or join a mark to the letter before it.
_BY_CHARACTER = {
    "BertNormalizer",
    "NFC",
    "NFD",
    "NFKC",
    "NFKD",
    "Lowercase",
    "StripAccents",
    "Nmt",
    "Precompiled",
    "Strip",
}
_UNKNOWN, _SAFE, _ODD = range(3)


class StartTable:
    """The tables of one tokenizer.  `scheme` None: this tokenizer's tokens do not show where words part."""

    def __init__(self, backend: Backend, tree: dict[str, Any], size: int, special: set[int], unk: int):
        self.normalizer = backend.normalizer
        self.scheme = _scheme(tree)
        self.blank = np.zeros(size, bool)  # nothing visible in the token
        self.irregular = np.zeros(size, bool)  # texts with this token need offsets
        self.always = np.zeros(size, bool)
        self.opens = np.zeros(size, bool)
        self.ends = np.zeros(size, bool)
        self._characters = np.zeros(0x110000, np.uint8)
        for c in re.findall(PARTS, "".join(map(chr, range(0x2100)))):
            self._characters[ord(c)] = _ODD  # becomes a space, beside which others may stand
        if self.scheme in ("space", "spelled"):
            self._characters[0x2581] = _ODD  # a literal ▁ looks like a space
        added = {token["id"] for token in tree.get("added_tokens") or ()}
        alone = self._alone(tree) if self.scheme in ("wordpiece", "suffix") else {}
        if alone:  # beside ² and ½, which are part of a word here, they are matched all the same
            self._characters[[c for c in range(0x110000) if category(chr(c)) == "No"]] = _ODD
        for i in range(size):
            if i in alone and i not in special:
                self._enter(i, alone[i])
            elif (
                i == unk and self.scheme == "wordpiece"
            ):  # stands for everything between two spaces or punctuation marks
                self.always[i] = True
            elif i in added or i in special or i == unk:
                self.irregular[i] = True
            else:
                self._enter(i, backend.id_to_token(i))

    def _alone(self, tree: dict[str, Any]) -> dict[int, str]:
        """Added tokens that are matched as whole words only, spelt as this scheme spells one: beside them words part."""
        rule, end = self.normalizer, "</w>" if self.scheme == "suffix" else ""
        return {
            token["id"]: token["content"] + end
            for token in tree.get("added_tokens") or ()
            if token["single_word"]
            and not (token["special"] or token["lstrip"] or token["rstrip"] or token["content"].startswith("##"))
            and (rule is None or rule.normalize_str(token["content"]) == token["content"])
        }

    def _enter(self, i: int, token: str) -> None:
        new = closes = False
        if self.scheme == "wordpiece":
            new, token = not token.startswith("##"), token.removeprefix("##")
        elif self.scheme == "bytes":
            try:
                token = bytes(BYTES[c] for c in token).decode()
            except (KeyError, UnicodeDecodeError):  # part of a character: only the tokens beside it say which
                self.irregular[i] = True
                return
        elif self.scheme == "suffix":
            closes, token = token.endswith("</w>"), token.removesuffix("</w>")
        elif self.scheme == "spelled":
            new, token = token.startswith("▁"), token.removeprefix("▁")
            if not token:  # a word that is spelled: its first character starts it
                self.blank[i] = True
                return
        elif self.scheme == "space":
            token = token.replace("▁", " ")
        else:
            self.blank[i] = not token.strip("▁Ġ ")
            return
        kinds = [int(classes()[ord(c)]) for c in token]
        visible = [k > INVISIBLE for k in kinds]
        self.blank[i] = not any(visible)
        if INVISIBLE in kinds or not kinds:
            self.irregular[i] = True
            return
        inner = any(k == OTHER or (k >= LETTER and before < LETTER) for before, k in itertools.pairwise(kinds))
        self.always[i] = inner or kinds[0] == OTHER or (new and kinds[0] >= LETTER)
        self.opens[i] = kinds[0] >= LETTER
        self.ends[i] = kinds[-1] >= LETTER and not closes

    def starts(self, ids: Array, first: Array) -> Array:
        """(t,) bool for the concatenated `ids` (t,) of many texts; `first` holds the index of each text's first token."""
        follows = np.zeros(len(ids), bool)
        follows[1:] = self.ends[ids[:-1]]
        follows[first] = False
        return self.always[ids] | (self.opens[ids] & ~follows)

    def odd(self, points: Array, bounds: Array) -> Array:
        """(s,) bool: which of the texts points[bounds[i]:bounds[i + 1]] need offsets, by their characters."""
        if self.scheme is None:
            return np.ones(len(bounds) - 1, bool)
        state = self._characters[points]
        if (state == _UNKNOWN).any():
            for c in np.unique(points[state == _UNKNOWN]).tolist():
                self._characters[c] = _SAFE if self.keeps_class(c) else _ODD
            state = self._characters[points]
        wrong = state == _ODD
        kinds = classes()[points]
        marks = np.flatnonzero(kinds == MARK)
        if len(marks):  # a mark with no letter before it: normalisers join it to what it should not be joined to
            alone = np.isin(marks, bounds[:-1]) | (kinds[marks - 1] < LETTER)
            wrong[marks[alone]] = True
        count = np.concatenate([[0], np.cumsum(wrong)])
        return count[bounds[1:]] > count[bounds[:-1]]

    def keeps_class(self, point: int) -> bool:
        kind = int(classes()[point])
        if kind in (INVISIBLE, UNSPACED):
            return False
        if self.normalizer is None:
            return True
        out = [int(classes()[ord(c)]) for c in self.normalizer.normalize_str(f"a{chr(point)}a")]
        if kind == MARK:
            return all(k in (LETTER, MARK) for k in out)
        if out[:1] != [LETTER] or out[-1:] != [LETTER]:
            return False
        inside = out[1:-1]
        if kind == LETTER:
            return bool(inside) and inside[0] == LETTER and all(k in (LETTER, MARK) for k in inside)
        if kind == OTHER:
            return inside == [OTHER]
        return bool(inside) and all(k == SPACE for k in inside)


def _scheme(tree: dict[str, Any]) -> str | None:
    """How tokens show where words part: "wordpiece" (##), "bytes" (Ġ), "space" (▁), "suffix" (</w>), "spelled" (▁, and words
    that have no token in characters), or not at all."""
    model, splits, changes = tree["model"], flat(tree.get("pre_tokenizer")), flat(tree.get("normalizer"))
    if not all(c["type"] in _BY_CHARACTER or (c["type"] == "Replace" and by_character(c)) for c in changes):
        return None
    kinds = [split["type"] for split in splits]
    if kinds == ["BertPreTokenizer"]:
        if model["type"] == "WordPiece" and model.get("continuing_subword_prefix") == "##":
            return "wordpiece"
        if model["type"] == "WordLevel":  # as if no word had a second piece
            return "wordpiece"
        if (
            model["type"] == "BPE"
            and model.get("end_of_word_suffix") == "</w>"
            and not model.get("continuing_subword_prefix")
        ):
            return "suffix"
    if kinds == ["BertPreTokenizer", "Metaspace"] and model["type"] == "BPE":
        whole = model.get("ignore_merges") and not model["merges"] and not model.get("byte_fallback")
        return "spelled" if whole and splits[-1].get("prepend_scheme") == "always" else None
    plain_bytes = kinds == ["ByteLevel"] and splits[0].get("use_regex", True)
    if (plain_bytes or is_bytes_of_words(splits)) and model["type"] == "BPE":
        plain = not model.get("end_of_word_suffix") and not model.get("continuing_subword_prefix")
        return "bytes" if plain else None
    if (
        (model["type"] == "Unigram" or (model["type"] == "BPE" and not model["merges"]))
        and not model.get("byte_fallback")
        and kinds in (["Metaspace"], ["WhitespaceSplit", "Metaspace"])
    ):
        shows = splits[-1].get("replacement") == "▁" and splits[-1].get("prepend_scheme") == "always"
        return "space" if shows and splits[-1].get("split", True) else None
    return None


def flat(part: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The steps of a normaliser or pre-tokenizer, without the sequences that hold them."""
    if part is None:
        return []
    inner = part.get("normalizers") or part.get("pretokenizers")
    return [leaf for item in inner for leaf in flat(item)] if part.get("type") == "Sequence" and inner else [part]


def keeps_space(tree: dict[str, Any]) -> bool:
    """Whether a space is part of the token behind it (Ġ, ▁), so that a text has other ids after a space than after a letter or a mark."""
    steps = {step["type"] for part in ("pre_tokenizer", "normalizer") for step in flat(tree.get(part))}
    if "BertPreTokenizer" in steps:  # ▁ stands before words, whatever parts them
        return False
    return not steps.isdisjoint(("ByteLevel", "Metaspace", "Prepend"))


def _byte_of_character() -> dict[str, int]:
    """GPT-2's printable stand-ins for bytes, inverted."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, shifted = {chr(b): b for b in printable}, 256
    for b in range(256):
        if b not in printable:
            table[chr(shifted)] = b
            shifted += 1
    return table


BYTES = _byte_of_character()
