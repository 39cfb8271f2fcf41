"""Characters of a corpus: how often each stands, which are taken out before words are cut, what the tokenizer makes of the others.

For a tokenizer trained here controls and zero-width characters (words.PARTING, words.REMOVED) are dropped and their bytes counted; the
first become a space each, which counts as added, like what a conversion adds.  One that was loaded reads the text as it stands.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bertsmith.text.account import Account
from bertsmith.text.categories import category, lower
from bertsmith.text.words import PARTING, REMOVED, code_points

if TYPE_CHECKING:
    from bertsmith.text.tokenizer import Tokenizer

COMMONEST = 10
_PARTS, _GONE = re.compile(f"[{PARTING}]"), re.compile(f"[{PARTING}{REMOVED}]")
_POINTS = [ord(c) for c in _GONE.findall("".join(map(chr, range(0x10000))))]
_TABLE = {point: " " if _PARTS.match(chr(point)) else None for point in _POINTS}


@dataclass(slots=True)
class Characters:
    """`counts` (0x110000,): how often each character stands in the text that is used."""

    counts: np.ndarray = field(default_factory=lambda: np.zeros(0x110000, np.int64))

    def taken(self, parts: list[list[str]], tokenizer: "Tokenizer", account: Account) -> list[list[str]]:
        """The paragraphs of each part as that tokenizer is to see them, counted: one trained here would drop what nobody sees anyway."""
        return self.cleaned(parts, account) if tokenizer.drops_unseen else self.counted(parts)

    def cleaned(self, parts: list[list[str]], account: Account) -> list[list[str]]:
        """The paragraphs of each part, clean, none empty; counted here and in the account."""
        found = _histogram(parts)
        if any(found[point] for point in _POINTS if point < len(found)):
            parts = [[clean for p in paragraphs if (clean := _clean(p, account))] for paragraphs in parts]
            found = _histogram(parts)
        self.counts[: len(found)] += found
        return parts

    def count(self, texts: list[str]) -> None:
        """Those of texts that are read as they stand."""
        self.counted([texts])

    def counted(self, parts: list[list[str]]) -> list[list[str]]:
        """The paragraphs as they are, for a tokenizer that has its own rule for what nobody sees."""
        found = _histogram(parts)
        self.counts[: len(found)] += found
        return parts

    def changed(self, tokenizer: "Tokenizer") -> dict[str, Any]:
        """What the tokenizer's rule drops and what it replaces, lower case apart; the commonest by name."""
        said: dict[str, Any] = {"read": int(self.counts.sum()), "dropped": 0, "replaced": 0}
        named: dict[str, int] = {}
        rule = tokenizer.backend.normalizer
        for point in np.flatnonzero(self.counts[128:]).tolist() if rule is not None else ():
            c = chr(point + 128)
            out = rule.normalize_str(c).strip()
            if c.isspace() or out in (c, lower(c)) or c == "İ":
                continue
            count = int(self.counts[point + 128])
            said["replaced" if out else "dropped"] += count
            named[f"U+{ord(c):04X}" + (f" {c}" if category(c)[0] not in "CZ" else "")] = count
        return said | {"commonest": _first(named)}

    def unknown(self, tokenizer: "Tokenizer") -> dict[str, int]:
        """The commonest characters for which the tokenizer has no entry."""
        points = np.flatnonzero(self.counts).tolist()
        unk = tokenizer.vocab.unk
        encoded = tokenizer.encode([chr(point) for point in points])
        lost = {chr(p): int(self.counts[p]) for p, (ids, _) in zip(points, encoded, strict=True) if unk in ids}
        return _first(lost)


def _histogram(parts: Iterable[list[str]]) -> np.ndarray:
    text = "\n".join(["\n".join(paragraphs) for paragraphs in parts])
    points = np.frombuffer(text.encode(), np.uint8) if text.isascii() else code_points(text)
    found = np.bincount(points, minlength=128)
    found[ord("\n")] = 0  # paragraphs hold none
    return found


def _clean(paragraph: str, account: Account) -> str:
    gone = _GONE.findall(paragraph)
    if not gone:
        return paragraph
    clean = paragraph.translate(_TABLE).strip()
    for c in gone:
        account.dropped["zero_width" if ord(c) > 0x9F else "control"] += len(c.encode())
    account.recoded += sum(_TABLE[ord(c)] is not None for c in gone)
    account.text += len(clean.encode()) - len(paragraph.encode())
    return clean


def _first(counts: dict[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:COMMONEST])
