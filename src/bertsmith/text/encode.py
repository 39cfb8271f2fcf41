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


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What is taken for a sentence and for a word."""

    language: str = "en"
    lines: str = "paragraph"
    words: tuple[str, ...] = ()  # a user's
    segmented: bool = False  # blanks part words, and go beside scripts that have none


class Encoder:
    """Sentences, words and ids of paragraphs; with `lines` "sentence" each paragraph is one already.

    The ids of a paragraph's sentences, one after the other, are those that the tokenizer gives for the paragraph; its words are those of
    the paragraph, too, and the same for every tokenizer.
    """

    def __init__(self, tokenizer: "Tokenizer", reading: Reading):
        self.tokenizer, self.reading = tokenizer, reading
        self.words = Words(reading.language, reading.words, reading.segmented)

    def __call__(self, parts: list[list[str]]) -> Encoded:
        runs = Runs(self.tokenizer.borders)
        sentences = runs.sentences
        counts = np.empty(len(parts), np.int64)
        parts, words, japanese = self.words(parts)
        found = iter(words)
        for i, paragraphs in enumerate(parts):
            before = len(sentences)
            for paragraph in paragraphs:
                whole = self.reading.lines == "sentence"
                runs.add([paragraph] if whole else split(paragraph, self.reading.language), next(found))
            counts[i] = len(sentences) - before
        dtype = np.uint16 if self.tokenizer.size < 65536 else np.uint32
        ids, starts, lengths = runs.encoded(self.tokenizer)
        used = len("".join(sentences).encode())
        empty = np.flatnonzero(lengths == 0)
        lost = sum(len(sentences[i].encode()) for i in empty.tolist())
        if len(empty):
            part = np.repeat(np.arange(len(parts)), counts)
            counts -= np.bincount(part[empty], minlength=len(parts))
            lengths = lengths[lengths > 0]
        return Encoded(ids.astype(dtype), starts, lengths, counts, used - lost, lost, len(empty), japanese)


def encoded(chunks: Iterable[list[list[str]]], encoder: Encoder, folder: Path, workers: int) -> Iterator[Encoded]:
    """Each chunk encoded, in order.  `folder` holds the tokenizer for the other processes; one worker is this process, on one core."""
    return ordered(chunks, encoder, partial(_encoder, str(folder), encoder.reading), workers)


def _encoder(folder: str, reading: Reading) -> Encoder:
    from bertsmith.text.tokenizer import Tokenizer

    return Encoder(Tokenizer.load(folder), reading)
