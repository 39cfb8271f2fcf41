"""Chunks of paragraphs to ids."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bertsmith.text.paragraph_words import Words
from bertsmith.text.pool import ordered
from bertsmith.text.runs import Runs
from bertsmith.text.sentences import split
from bertsmith.text.sources import AND

if TYPE_CHECKING:
    from bertsmith.text.tokenizer import Tokenizer


@dataclass(slots=True)
class Encoded:
    """A chunk as tokens: p parts of documents, k sentences, n tokens."""

    ids: np.ndarray  # (n,) uint16 or uint32
    starts: np.ndarray  # (n,) bool
    lengths: np.ndarray  # (k,) tokens of each sentence, none 0
    counts: np.ndarray  # (p,) sentences of each part
    used: int  # bytes of the sentences
    without_token: int  # bytes of sentences of which the tokenizer made nothing (zero-width characters, say)
    dropped: int  # such sentences
    japanese: int  # kana and Han that were read as Japanese
    capitals: np.ndarray | None = None  # (n,) bool: of a word that begins with a capital letter


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What is taken for a sentence and for a word."""

    language: str = "en"
    lines: str = "paragraph"
    words: tuple[str, ...] = ()  # a user's
    segmented: bool = False  # blanks part words, and go beside scripts that have none
    capitals: bool = False  # whether it is told which words begin with a capital letter


# The language of a chunk ("": that of the reading; two, "en+de", of parallel lines), and the paragraphs of each part of a document in it.
Chunk = tuple[str, list[list[str]]]


class Encoder:
    """Sentences, words and ids of paragraphs; with `lines` "sentence" each paragraph is one already.

    The ids of a paragraph's sentences, one after the other, are those that the tokenizer gives for the paragraph; its words are those of
    the paragraph, too, and the same for every tokenizer.
    """

    def __init__(self, tokenizer: "Tokenizer", reading: Reading):
        self.tokenizer, self.reading = tokenizer, reading
        self._words: dict[str, Words] = {}

    def words(self, language: str) -> Words:
        if language not in self._words:
            self._words[language] = Words(language, self.reading.words, self.reading.segmented)
        return self._words[language]

    def __call__(self, chunk: Chunk) -> Encoded:
        """Of parallel lines both sides are a sentence each, and a pair of which the tokenizer makes nothing on one side goes."""
        language, parts = chunk
        language = language or self.reading.language
        paired = AND in language
        runs = Runs(self.tokenizer.borders)
        sentences = runs.sentences
        counts = np.empty(len(parts), np.int64)
        parts, words, japanese = self._sides(parts, language.split(AND)) if paired else self.words(language)(parts)
        found, whole = iter(words), paired or self.reading.lines == "sentence"
        for i, paragraphs in enumerate(parts):
            before = len(sentences)
            for paragraph in paragraphs:
                runs.add([paragraph] if whole else split(paragraph, language), next(found))
            counts[i] = len(sentences) - before
        dtype = np.uint16 if self.tokenizer.size < 65536 else np.uint32
        ids, starts, lengths = runs.encoded(self.tokenizer)
        capitals = runs.capitals(self.tokenizer, starts, lengths) if self.reading.capitals else None
        used = len("".join(sentences).encode())
        if paired and (lengths == 0).any():
            half = (lengths.reshape(-1, 2) == 0).any(1)
            tokens = np.repeat(np.repeat(half, 2), lengths)
            ids, starts = ids[~tokens], starts[~tokens]
            capitals = None if capitals is None else capitals[~tokens]
            lengths[np.repeat(half, 2)] = 0
        empty = np.flatnonzero(lengths == 0)
        lost = sum(len(sentences[i].encode()) for i in empty.tolist())
        if len(empty):
            part = np.repeat(np.arange(len(parts)), counts)
            counts -= np.bincount(part[empty], minlength=len(parts))
            lengths = lengths[lengths > 0]
        return Encoded(ids.astype(dtype), starts, lengths, counts, used - lost, lost, len(empty), japanese, capitals)

    def _sides(self, pairs: list[list[str]], languages: list[str]) -> tuple[list[list[str]], list[bytes | None], int]:
        """As `Words` does, each side by the rules of its own language."""
        read = [self.words(of)([[pair[side]] for pair in pairs]) for side, of in enumerate(languages)]
        texts = [[first[0], second[0]] for first, second in zip(read[0][0], read[1][0], strict=True)]
        marks = [mark for both in zip(read[0][1], read[1][1], strict=True) for mark in both]
        return texts, marks, read[0][2] + read[1][2]


def encoded(chunks: Iterable[Chunk], encoder: Encoder, folder: Path, workers: int) -> Iterator[Encoded]:
    """Each chunk encoded, in order.  `folder` holds the tokenizer for the other processes; one worker is this process, on one core."""
    return ordered(chunks, encoder, partial(_encoder, str(folder), encoder.reading), workers)


def _encoder(folder: str, reading: Reading) -> Encoder:
    from bertsmith.text.tokenizer import Tokenizer

    return Encoder(Tokenizer.load(folder), reading)
