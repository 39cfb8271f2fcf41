"""Tokens as people write text.  t tokens.

No letters that stand for bytes (Ġ), no ▁, ## or </w>; a blank where the text had one, as far as the tokenizer keeps that, else where a
text of that script has one.  A character that is spread over several tokens stands once, or, where one of them is looked at by itself,
as its part: 你(1/2).  Bytes that are no character by themselves are written in hexadecimal: <E4 BD>.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bertsmith.text.categories import category
from bertsmith.text.starts import BYTES, flat, keeps_space
from bertsmith.text.words import LETTER, MARK, UNSPACED, classes

BLANK = "␣"  # a token of nothing but white space
SEAM = "·"  # between two pieces of one word
_FALLBACK = re.compile(r"<0x([0-9A-F]{2})>")
_CLOSING, _OPENING = frozenset(".,;:!?)]}%…”’»-/_@'"), frozenset("([{“‘«-/_@'")
_WIDE = re.compile("[\u3001-\u303f\uff01-\uff65\uffe0-\uffe6]")  # punctuation as wide as a Han character
_HEX = re.compile("> *<")


@dataclass(frozen=True, kw_only=True)
class Piece:
    """`text` without white space at its ends; `space`: whether a blank parts it from what stands before it."""

    text: str
    space: bool
    special: bool = False


class Shown:
    """The tokens of one tokenizer."""

    def __init__(self, tokenizer: Any, tree: dict[str, Any], special: Collection[int]):
        model = tree["model"]
        steps = {step["type"] for part in ("pre_tokenizer", "normalizer") for step in flat(tree.get(part))}
        self.tokenizer, self.special = tokenizer, frozenset(special)
        self.added = {token["id"] for token in tree["added_tokens"]}
        self.bytes, self.spaces = "ByteLevel" in steps, keeps_space(tree)
        self.spelled = tokenizer.scheme == "spelled"  # ▁ stands before words, whatever parts them
        self.fallback = bool(model.get("byte_fallback"))
        self.prefix, self.suffix = model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or ""

    def piece(self, i: int) -> Piece:
        """A token by itself."""
        return self.pieces([i])[0]

    def text(self, ids: Iterable[int]) -> str:
        """Tokens as one text; specials stay visible."""
        pieces = self.pieces(list(ids))
        return "".join(" " * p.space + p.text for p in pieces if p.text != BLANK).strip()

    def pieces(self, ids: Sequence[int], apart: Collection[int] = ()) -> list[Piece]:
        """One for each token of a text (t,).  `apart`: the places that are looked at by themselves."""
        raw, found = [self._raw(i) for i in ids], []
        spread = self._spread([data for data, _ in raw], set(apart))
        before, ends = "", True  # the text before, and whether a word may not go on behind it
        for i, (data, goes_on), text in zip(ids, raw, spread, strict=True):
            special = i in self.special
            if special or self.spaces:
                space = special or ends or data[:1].isspace()
            else:
                space = ends and not goes_on and _parted(before, text)
            text = text.strip() or BLANK * bool(text)
            found.append(Piece(text=text, space=space, special=special))
            ends = special or (data[-1:].isspace() if self.spaces else not self._open(i))
            before = text or before
        return found

    def _open(self, i: int) -> bool:
        """Whether the word goes on behind this token, where a suffix says that it ends."""
        return bool(self.suffix) and i not in self.added and not self.tokenizer.token(i).endswith(self.suffix)

    def _raw(self, i: int) -> tuple[bytes, bool]:
        """Its text in UTF-8, white space included, and whether it goes on with a word."""
        token = self.tokenizer.token(i)
        if i in self.special or i in self.added:
            return token.encode(), False
        if self.bytes and all(c in BYTES for c in token):
            return bytes(BYTES[c] for c in token), False
        if self.fallback and (byte := _FALLBACK.fullmatch(token)):
            return bytes([int(byte[1], 16)]), False
        if self.spelled:
            return token.removeprefix("▁").encode(), not token.startswith("▁")
        goes_on = bool(self.prefix) and token.startswith(self.prefix) and token != self.prefix
        token = token.removeprefix(self.prefix) if goes_on else token
        token = token.removesuffix(self.suffix) if token != self.suffix else token
        return (token.replace("▁", " ") if self.spaces else token).encode(), goes_on

    def _spread(self, raw: list[bytes], apart: set[int]) -> list[str]:
        """The characters of each token; of those that several tokens share, each its part or the first the whole."""
        owner = [k for k, data in enumerate(raw) for _ in data]
        texts = [""] * len(raw)
        for begin, end, character in _characters(b"".join(raw)):
            owners = list(dict.fromkeys(owner[begin:end]))
            if len(owners) == 1 or apart.isdisjoint(owners):
                texts[owners[0]] += character
            else:
                for number, k in enumerate(owners, 1):
                    texts[k] += f"{character}({number}/{len(owners)})"
        return [_HEX.sub(" ", text) for text in texts]


def _characters(data: bytes) -> Iterator[tuple[int, int, str]]:
    """(begin, end, character) of UTF-8; a byte that belongs to none by itself, in hexadecimal."""
    at = 0
    while at < len(data):
        lead = data[at]
        length = 1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
        try:
            character = data[at : at + length].decode()
            yield (
                at,
                at + length,
                f"<{lead:02X}>" if category(character) == "Cc" and not character.isspace() else character,
            )
        except UnicodeDecodeError:
            length = 1
            yield at, at + 1, f"<{lead:02X}>"
        at += length


def _parted(before: str, text: str) -> bool:
    """Whether a blank stands between two words, where the tokenizer does not keep that."""
    if not before or not text:
        return True
    last, first = before[-1], text[0]
    if any(classes()[ord(c)] == UNSPACED or _WIDE.match(c) for c in (last, first)):
        return False
    return first not in _CLOSING and last not in _OPENING


def joined(pieces: Sequence[Piece], apart: Collection[int] = ()) -> Iterator[tuple[int, str]]:
    """(place, what stands before it) of each piece in a line: a blank, a seam inside a word, or nothing.  What stands `apart` needs none.

    A token of white space is the blank itself."""
    before = Piece(text="", space=True)
    for place, piece in enumerate(pieces):
        seam = place not in apart and place - 1 not in apart and _seam(before.text, piece.text)
        parted = place > 0 and piece.space and (BLANK not in (before.text, piece.text) or before.special)
        yield place, " " * (parted or before.special) or SEAM * seam
        before = piece if piece.text else replace(before, special=piece.special)


def _seam(before: str, text: str) -> bool:
    """Whether two tokens run on into one another: letters on both sides, but not characters that are tokens each."""
    if not before or not text:
        return False
    sides = classes()[ord(before[-1])], classes()[ord(text[0])]
    if sides == (UNSPACED, UNSPACED):
        return not len(before) == len(text) == 1
    return all(side in (LETTER, MARK) for side in sides)
