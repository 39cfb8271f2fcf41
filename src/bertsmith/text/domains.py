"""How near two texts are: the commonest words that both have, and how much of one stands in the other; and passages to measure models on.

A text is gone through once, its documents numbered as in the store that will be made of it, so that passages are of documents that are
held out there.  l lines.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from bertsmith.data.batch import Array
from bertsmith.data.draw import hashed
from bertsmith.errors import InputError
from bertsmith.spelling import amount, option
from bertsmith.text.categories import category
from bertsmith.text.corpus import Document, Texts
from bertsmith.text.sample import no_text, sample
from bertsmith.text.sentences import split
from bertsmith.text.words import character_starts
from bertsmith.text.writer import aside

COMMONEST = 10_000  # words of each text that are compared (Gururangan et al. 2020, section 2.1)
SAMPLE = 16_000_000  # bytes of a text that its words are counted in
PASSAGE = 200  # bytes after which a passage ends, at the end of a sentence
SHORTEST = 20  # bytes: less says little


@dataclass(frozen=True)
class Domain:
    """A text, looked at: how often words stand in a sample of it, its lines as hashes (l,) with their bytes (l,), passages of what is held out."""

    documents: int
    held_out: int
    several: int  # of those held out, that have several sentences, so that one can follow another
    words: Counter[str]
    lines: Array
    sizes: Array
    passages: tuple[str, ...]

    @property
    def commonest(self) -> list[str]:
        return sorted(self.words, key=lambda word: (-self.words[word], word))[:COMMONEST]


def looked_at(texts: Texts, *, holdout: float, passages: int, language: str = "en", first: int = 0) -> Domain:
    """`first`: documents that stand before these in the store.  InputError for a text without a word."""
    pieces, account = texts.read()
    seen = _Seen(holdout, passages, language, first)
    taken, _ = sample(seen.passing(pieces), SAMPLE)
    if not taken:
        raise no_text(account)
    lines, at = np.unique(np.fromiter(seen.lines, np.uint64, len(seen.lines)), return_index=True)
    found = [passage for _, _, passage in sorted(seen.heap, key=lambda entry: entry[1])]
    words = counted(taken)
    sizes = np.array(seen.sizes, np.int64)[at]
    return Domain(account.documents, seen.held, seen.several, words, lines, sizes, tuple(found))


class _Seen:
    """What is noted of documents that somebody else reads."""

    def __init__(self, holdout: float, most: int, language: str, first: int):
        self.holdout, self.most, self.language, self.first = holdout, most, language, first
        self.lines: list[int] = []
        self.sizes: list[int] = []
        self.heap: list[tuple[int, tuple[int, int], str]] = []  # largest hash first
        self.held = self.several = self.part = 0

    def passing(self, pieces: Iterator[Document]) -> Iterator[Document]:
        for piece in pieces:
            for line in piece.paragraphs:
                data = line.encode()
                self.lines.append(int.from_bytes(blake2b(data, digest_size=8).digest()))
                self.sizes.append(len(data))
            if aside(np.array([self.first + piece.number]), self.holdout)[0]:
                self.held += piece.last
                self._draw(piece)
            yield piece

    def _draw(self, piece: Document) -> None:
        """Of all passages the so many with the smallest hashes are kept."""
        paragraphs = [split(paragraph, self.language.partition("-")[0]) for paragraph in piece.paragraphs]
        self.several += sum(map(len, paragraphs)) > 1
        for passage in passages_of(paragraphs):
            place = (piece.number, self.part)
            self.part += 1
            entry = (-int(hashed(0, "passage", *place)[0]), place, passage)
            (heapq.heappush if len(self.heap) < self.most else heapq.heappushpop)(self.heap, entry)


def passages_of(paragraphs: list[list[str]]) -> Iterator[str]:
    """Sentences of one paragraph, each a list of them, that follow one another until they are long enough."""
    for sentences in paragraphs:
        held = ""
        for sentence in (*sentences, ""):
            held += sentence
            long = len(held.strip().encode())
            if long >= PASSAGE or (not sentence and long >= SHORTEST):
                yield held.strip()
                held = ""


def counted(texts: list[str]) -> Counter[str]:
    """How often each word that has a letter stands in the texts, in lower case."""
    found: Counter[str] = Counter()
    for text in texts:
        cuts = np.flatnonzero(character_starts(text)).tolist()
        found.update(text[a:b].strip().lower() for a, b in zip(cuts, [*cuts[1:], len(text)], strict=True))
    return Counter({word: n for word, n in found.items() if any(category(c)[0] == "L" for c in word)})


def overlap(a: Domain, b: Domain) -> tuple[float, int]:
    """(the share of the commonest words that both have, of how many): the 10,000 of each, or as many as the poorer has.

    Gururangan et al. 2020, figure 2, but for stop words, which no list says of every language here: they are in both, and raise all
    overlaps alike."""
    many = min(len(a.commonest), len(b.commonest))
    return len({*a.commonest[:many]} & {*b.commonest[:many]}) / max(1, many), many


def check_measured(name: str, domain: Domain) -> None:
    """InputError where nothing of a text, which is called `name`, is held out."""
    if not domain.passages:
        raise InputError(
            f"{name}: of {amount(domain.documents, 'document')} none is held out with a sentence in it, so that nothing could be measured; "
            f"{option('holdout', 0.2)} holds out more, {option('documents')} says what a document is"
        )


def contained(a: Domain, b: Domain) -> float:
    """The share of `a`'s different lines, in bytes, that are lines of `b`."""
    return float(a.sizes[np.isin(a.lines, b.lines)].sum() / max(1, a.sizes.sum()))
