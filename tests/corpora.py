"""Corpora in memory, with the attributes of a store's split; nothing is read from disk."""

from dataclasses import dataclass

import numpy as np

from bertsmith.data.batch import Row, Vocab
from bertsmith.data.levels import LEVELS
from bertsmith.text.layout import DocSentences

VOCAB = Vocab(size=1000, pad=0, unk=1, cls=2, sep=3, mask=4, special=(0, 1, 2, 3, 4))


@dataclass(frozen=True, eq=False)
class MemorySplit:
    """`ids` number the tokens of the whole corpus where `numbered`, so that a test reads off where a token came from."""

    ids: np.ndarray
    words: np.ndarray
    sentences: np.ndarray
    documents: np.ndarray

    @property
    def count(self) -> int:
        return len(self.ids)

    def gather(self, indices):
        return self.ids[indices].astype(np.int32)

    def starts(self, indices):
        return self.words[indices]


def split_of(shape, *, numbered=True, continued=0.3, seed=0) -> MemorySplit:
    """`shape`: for each document the lengths of its sentences.  Numbered ids begin at 1000, beyond VOCAB."""
    lengths = np.array([length for document in shape for length in document], np.int64)
    sentences = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    count = int(sentences[-1])
    rng = np.random.default_rng(seed)
    words = rng.random(count) >= continued
    words[sentences[:-1][lengths > 0]] = True
    ids = 1000 + np.arange(count) if numbered else rng.integers(5, VOCAB.size, count)
    documents = np.concatenate([[0], np.cumsum([len(document) for document in shape])]).astype(np.int64)
    return MemorySplit(ids, words, sentences, documents)


def random_shape(documents=200, mean_sentences=12, mean_length=20, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.geometric(1 / mean_length, rng.geometric(1 / mean_sentences)).tolist() for _ in range(documents)]


def sequences(row: Row):
    """(ids, segments) of each sequence, as lists."""
    return [
        (row.tokens[a:b].tolist(), row.segments[a:b].tolist())
        for a, b in zip(row.offsets[:-1], row.offsets[1:], strict=True)
    ]


def whole(plan) -> Row:
    return plan.row(np.arange(len(plan.labels)))


def noted(level, longest, seed=0):
    """A row whose texts hold spans of the level, of less than `longest` tokens."""
    split = split_of(random_shape(400, seed=seed), numbered=False)
    rng = np.random.default_rng(seed)
    row = whole(DocSentences(length=128).plan(split, VOCAB, 0, 0))
    marks = np.zeros(len(row.tokens), np.uint8)
    begins, inside = (np.uint8(1 << bit) for bit in LEVELS[level])
    at = 1
    while at < len(marks) - longest:
        width = int(rng.integers(1, longest))
        if not row.special[at : at + width].any():
            marks[at : at + width] |= inside
            marks[at] |= begins
        at += width + int(rng.integers(0, 12))
    row.__dict__["annotations"] = marks
    return row


def hidden(row, spans):
    """(n,) how many of the spans cover each token."""
    mask = np.zeros(len(row.tokens), np.int64)
    for start, end in spans:
        mask[start:end] += 1
    return mask


def per_sequence(row, values):
    """(s,) the sums of values (n,)."""
    return np.add.reduceat(values, row.offsets[:-1])
