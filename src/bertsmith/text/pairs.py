"""Layouts of two segments, [CLS] A [SEP] B [SEP]: B follows A, precedes it, or is drawn from another document.

The released code (create_pretraining_data.py) is followed where the paper is silent: a document's target length is drawn once.
Draws are keyed by document and sentence, so that the plan of an epoch is a function of (seed, epoch) alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import IGNORE, Array, Vocab
from bertsmith.data.draw import hashed, integers, uniform
from bertsmith.data.ranges import spread
from bertsmith.errors import InputError
from bertsmith.text.plan import Outline, Plan, outline

BLOCK = 1 << 17  # sentences whose draws are held at a time
SPECIALS = 3

Negatives = Literal["coin", "half", "swap", "thirds"]
FOLLOWS, SWAPPED, RANDOM, ALONE = range(4)  # how a sequence was made
LABELS = {  # of each of these
    "coin": (0, IGNORE, 1, IGNORE),
    "half": (0, IGNORE, 1, IGNORE),
    "swap": (0, 1, IGNORE, IGNORE),
    "thirds": (0, 1, 2, IGNORE),
}
SAID = ("B follows A", "B precedes A", "B is random", "A alone")
# A draw below the first number swaps, below the second takes a random B.
BELOW = {"coin": (0.0, 0.5), "half": (0.0, 0.5), "swap": (0.5, 0.5), "thirds": (1 / 3, 2 / 3)}


@dataclass(frozen=True, kw_only=True)
class SegmentPairs:
    """BERT's pairs: sentences up to the target length, cut in two at a random sentence.

    `short`: share of the documents that get a target drawn from [2, length - 3] rather than length - 3 itself.
    `negatives`: "coin" is BERT's rule, a fair coin, and every chunk of one sentence is random too, which makes 55-66 % of the pairs;
    "half" makes as many random pairs as true ones (for as long as there are chunks of two sentences to balance the others);
    "swap" is ALBERT's sentence order, no random B and half of the pairs swapped (label 1); "thirds" is StructBERT's: next, previous and
    random alike.  A chunk of one sentence has no order: with these two it is a single segment that nothing is asked of.  ALBERT's
    released code gives it a random B and the label of a swapped pair, which tells topics apart and not orders.
    """

    length: int
    short: float = 0.1
    negatives: Negatives = "coin"
    natural: ClassVar[bool] = False

    def __post_init__(self):
        require(
            self.length >= 5, f"layout.length: {self.length} has no room for two tokens and three specials; at least 5"
        )
        require(0 <= self.short <= 1, f"layout.short: {self.short} is not a share; between 0 and 1")

    def check(self, split: Any) -> None:
        check_pairs(split, self.negatives)

    def plan(self, split: Any, vocab: Vocab, seed: int, epoch: int) -> Plan:
        return pair_plan(self, split, vocab, seed, epoch)

    @property
    def pairs(self) -> tuple[str, ...]:
        """What each label of a pair says."""
        return said(self.negatives)


@dataclass(frozen=True, kw_only=True)
class SentencePairs:
    """RoBERTa's SENTENCE-PAIR: A and B are one natural sentence each."""

    length: int
    negatives: Negatives = "coin"
    short: ClassVar[float] = 0.0
    natural: ClassVar[bool] = True

    def __post_init__(self):
        require(
            self.length >= 5, f"layout.length: {self.length} has no room for two tokens and three specials; at least 5"
        )

    def check(self, split: Any) -> None:
        check_pairs(split, self.negatives)

    def plan(self, split: Any, vocab: Vocab, seed: int, epoch: int) -> Plan:
        return pair_plan(self, split, vocab, seed, epoch)

    @property
    def pairs(self) -> tuple[str, ...]:
        """What each label of a pair says."""
        return said(self.negatives)


def said(negatives: str) -> tuple[str, ...]:
    return tuple(words for words, label in zip(SAID, LABELS[negatives], strict=True) if label != IGNORE)


def check_pairs(split: Any, negatives: Negatives) -> None:
    """InputError, with the counts, where no pair or no true pair can be made."""
    found = outline(split)
    documents, sentences = len(found.documents) - 1, len(found.sentences) - 1
    counts = f"{documents:,} documents, {sentences:,} sentences, {found.tokens:,} tokens"
    if documents < 2 and negatives != "swap":
        raise InputError(
            f"layout: pairs need a second document to draw random segments from, found {counts}; "
            "separate documents by blank lines (prepare --documents), hold out more, or take a recipe without pairs (roberta)"
        )
    if sentences == documents:  # none included
        raise InputError(
            f"layout: every document is a single sentence ({counts}), so that no segment has a true successor; "
            "prepare with document boundaries (--documents, --lines), or take a recipe without pairs (roberta)"
        )


def pair_plan(layout: SegmentPairs | SentencePairs, split: Any, vocab: Vocab, seed: int, epoch: int) -> Plan:
    layout.check(split)
    found = outline(split)
    offsets = found.sentences
    room = layout.length - SPECIALS
    targets = _targets(layout, len(found.documents) - 1, seed, epoch)
    start, middle, stop, made = _walk(layout, found, targets, seed, epoch)
    random, alone = made == RANDOM, made == ALONE

    begin, end = np.empty((len(start), 2), np.int64), np.empty((len(start), 2), np.int64)
    begin[:, 0], end[:, 0] = offsets[start], offsets[middle]
    begin[:, 1], end[:, 1] = offsets[middle], offsets[stop]
    _draw_successors(layout, found, targets, start, end[:, 0] - begin[:, 0], random, begin, end, seed, epoch)
    for side in (begin, end):
        side[made == SWAPPED] = side[made == SWAPPED, ::-1]

    taken = truncation(end[:, 0] - begin[:, 0], end[:, 1] - begin[:, 1], room + alone)
    front = _fronts(taken, seed, epoch)
    begin += front
    end -= taken - front

    drawn = random[:, None] & np.array([False, True])  # B read once more, beside the walk through the corpus
    truncated = int(taken[~drawn].sum())
    kept = ~(alone[:, None] & np.array([False, True]))
    label = np.array(LABELS[layout.negatives])[made]
    account = {
        "corpus": found.tokens,
        "used": found.tokens - truncated,
        "truncated": truncated,
        "dropped": 0,
        "repeated": int((end - begin)[drawn].sum()),
        "specials": SPECIALS * len(start) - int(alone.sum()),
        "sequences": len(start),
        "label_1": float((label[~alone] == 1).mean()) if not alone.all() else 0.0,
    }
    return Plan(
        split=split,
        vocab=vocab,
        seed=seed,
        epoch=epoch,
        begin=begin[kept],
        end=end[kept],
        segment=np.broadcast_to(np.array([0, 1], np.uint8), kept.shape)[kept],
        first=np.concatenate([[0], np.cumsum(kept.sum(1))]),
        labels=label,
        cut=taken.sum(1),
        account=account,
    )


def _targets(layout: SegmentPairs | SentencePairs, documents: int, seed: int, epoch: int) -> Array:
    """(d,) tokens that the pairs of each document aim at."""
    numbers = np.arange(documents)
    room = layout.length - SPECIALS
    short = uniform(hashed(seed, "short", epoch, numbers)) < layout.short
    return np.where(short, 2 + integers(hashed(seed, "target", epoch, numbers), room - 1), room)


def _walk(
    layout: SegmentPairs | SentencePairs, found: Outline, targets: Array, seed: int, epoch: int
) -> tuple[Array, Array, Array, Array]:
    """Sentence offsets (start, middle, stop) of each pair, and how it was made.

    The sentences behind the middle of a random pair are put back, so that A and true B of all pairs are the corpus, once.
    """
    starts: list[int] = []
    middles: list[int] = []
    stops: list[int] = []
    made: list[int] = []
    owed = 0  # with exact halves: random pairs so far, less true ones
    half = layout.negatives == "half"
    lonely = RANDOM if LABELS[layout.negatives][SWAPPED] == IGNORE else ALONE
    swapped, drawn = BELOW[layout.negatives]
    for bounds, base, offsets, aims, ends, coins in _blocks(layout, found, targets, seed, epoch):
        for number, aim in enumerate(aims):
            i, last = bounds[number], bounds[number + 1]
            while i < last:
                stop = bisect_left(offsets, offsets[i] + aim, i + 1, last) if aim else min(i + 2, last)
                # A uniform cut leaves at least a sentence on both sides.
                middle = i + 1 + int(ends[i] * (stop - i - 1))
                coin = coins[i] if not (half and owed) else float(owed > 0)
                how = lonely if stop == i + 1 else SWAPPED if coin < swapped else RANDOM if coin < drawn else FOLLOWS
                owed += 1 if how == RANDOM else -1
                starts.append(base + i)
                middles.append(base + middle)
                stops.append(base + stop)
                made.append(how)
                i = middle if how == RANDOM else stop
    return np.array(starts), np.array(middles), np.array(stops), np.array(made)


def _blocks(
    layout: SegmentPairs | SentencePairs, found: Outline, targets: Array, seed: int, epoch: int
) -> Iterator[tuple]:
    """Neighbouring documents as plain lists: looping over these costs a tenth of looping over arrays."""
    documents = found.documents
    first = 0
    while first < len(documents) - 1:
        last = max(first + 1, int(np.searchsorted(documents, documents[first] + BLOCK)) - 1)
        base, stop = int(documents[first]), int(documents[last])
        numbers = np.arange(base, stop)
        ends = uniform(hashed(seed, "middle", epoch, numbers))
        coins = uniform(hashed(seed, "random next", epoch, numbers))
        aims = [0] * (last - first) if layout.natural else targets[first:last].tolist()
        bounds = (documents[first : last + 1] - base).tolist()
        yield bounds, base, found.sentences[base : stop + 1].tolist(), aims, ends.tolist(), coins.tolist()
        first = last


def _draw_successors(layout, found: Outline, targets, start, width, random, begin, end, seed: int, epoch: int) -> None:
    """Write the random second segments: from a uniform sentence of a uniform other document to the target length, or its end."""
    at = np.flatnonzero(random)
    documents, offsets = found.documents, found.sentences
    own = np.searchsorted(documents, start[at], "right") - 1
    other = integers(hashed(seed, "document", epoch, start[at]), len(documents) - 2)
    other += other >= own  # BERT draws again, ten times at most; this leaves the own document out for certain
    low, high = documents[other], documents[other + 1]
    first = low + integers(hashed(seed, "sentence", epoch, start[at]), high - low)
    wanted = np.ones(len(at), np.int64) if layout.natural else np.maximum(targets[own] - width[at], 1)
    last = np.minimum(np.searchsorted(offsets, offsets[first] + wanted), high)
    begin[at, 1], end[at, 1] = offsets[first], offsets[last]


def truncation(a: Array, b: Array, room: int | Array) -> Array:
    """(s, 2) tokens to take from A and B so that both fit: one at a time from the longer, from B where they are equal."""
    over = np.maximum(a + b - room, 0)
    level = np.minimum(over, np.abs(a - b))
    rest = over - level
    return np.stack([np.where(a > b, level, 0) + rest // 2, np.where(a > b, 0, level) + (rest + 1) // 2], 1)


def _fronts(taken: Array, seed: int, epoch: int) -> Array:
    """(s, 2) how many of the tokens to take come off the front: a fair coin for each."""
    flat = taken.ravel()
    number, owner = spread(np.zeros_like(flat), flat)
    heads = hashed(seed, "front", epoch, owner, number) >> np.uint64(63)
    return np.bincount(owner, weights=heads, minlength=len(flat)).astype(np.int64).reshape(taken.shape)
