"""Layouts of two segments, [CLS] A [SEP] B [SEP]: B follows A, precedes it, or is drawn from another document.

The released code (create_pretraining_data.py) is followed where the paper is silent: a document's target length is drawn once.
Draws are keyed by document and sentence, so that the plan of an epoch is a function of (seed, epoch) alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import IGNORE, Array, Vocab
from bertsmith.data.draw import halves, hashed, integers, uniform
from bertsmith.data.ranges import spread, sums
from bertsmith.errors import InputError
from bertsmith.spelling import amount, option
from bertsmith.text.plan import Outline, Plan, outline, two_segments

BLOCK = 1 << 15  # sentences that are looked at together
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


MOST = 0.5  # of the documents: where fewer have two sentences, it is said


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
    in_sections: ClassVar[bool] = True
    separators: ClassVar[int] = 1  # between the two, for models that are not told segments as well

    def __post_init__(self):
        require(
            self.length >= 5, f"layout.length: {self.length} has no room for two tokens and three specials; at least 5"
        )
        require(0 <= self.short <= 1, f"layout.short: {self.short} is not a share; between 0 and 1")

    def check(self, split: Any) -> None:
        check_pairs(split, self.negatives)

    def few(self, split: Any) -> str:
        return few_pairs(split)

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
    in_sections: ClassVar[bool] = True

    def __post_init__(self):
        require(
            self.length >= 5, f"layout.length: {self.length} has no room for two tokens and three specials; at least 5"
        )

    def check(self, split: Any) -> None:
        check_pairs(split, self.negatives)

    def few(self, split: Any) -> str:
        return few_pairs(split)

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
    counts = f"{amount(documents, 'document')}, {amount(sentences, 'sentence')}, {amount(found.tokens, 'token')}"
    if documents < 2 and negatives != "swap":
        raise InputError(
            f"layout: pairs need a second document to draw random segments from, found {counts}; "
            f"separate documents by blank lines ({option('documents')} of prepare), hold out more, or take a recipe without pairs (roberta)"
        )
    if sentences == documents:  # none included
        raise InputError(
            f"layout: every document is a single sentence ({counts}), so that no segment has a true successor; "
            f"prepare with document boundaries ({option('documents')}, {option('lines')}), or take a recipe without pairs (roberta)"
        )


def few_pairs(split: Any) -> str:
    """What there is to say of documents most of which hold no true pair; "" of others."""
    documents = np.diff(outline(split).documents)
    several = int((documents > 1).sum())
    if several >= MOST * len(documents):
        return ""
    return f"only {several:,} of {len(documents):,} documents have two sentences, and pairs are made of these"


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
    front = fronts(taken, seed, epoch)
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
        **two_segments(begin, end, kept),
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
    lonely = RANDOM if LABELS[layout.negatives][SWAPPED] == IGNORE else ALONE
    swapped, drawn = BELOW[layout.negatives]
    found_in_blocks, owed = [], 0
    for base, stop, ends, coins in _blocks(layout, found, targets, seed, epoch):
        number = np.arange(len(stop))
        # A uniform cut leaves at least a sentence on both sides.
        middle = number + 1 + (ends * (stop - number - 1)).astype(np.int64)
        how = np.where(coins < swapped, SWAPPED, np.where(coins < drawn, RANDOM, FOLLOWS))
        how[stop == number + 1] = lonely
        if layout.negatives == "half":
            owed = _balance(how, stop == number + 1, middle, stop, owed)
        at = _jumps(np.where(how == RANDOM, middle, stop))
        found_in_blocks.append((base + at, base + middle[at], base + stop[at], how[at]))
    return tuple(map(np.concatenate, zip(*found_in_blocks, strict=True)))


def _jumps(after: Array) -> Array:
    """Where a walk from 0 comes by that goes on from i to `after[i]`."""
    to, at, found = after.tolist(), 0, []
    while at < len(to):
        found.append(at)
        at = to[at]
    return np.array(found, np.int64)


def _balance(how: Array, lone: Array, middle: Array, stop: Array, owed: int) -> int:
    """Exact halves: where the walk comes by, `how` becomes what is `owed`: random pairs so far, less true ones.  Returns what is then."""
    random, forced, middles, stops, at = (how == RANDOM).tolist(), lone.tolist(), middle.tolist(), stop.tolist(), 0
    while at < len(random):
        if owed and not forced[at]:
            random[at] = owed < 0
        owed += 1 if random[at] else -1
        at = middles[at] if random[at] else stops[at]
    how[:] = np.where(random, RANDOM, FOLLOWS)
    return owed


def _blocks(
    layout: SegmentPairs | SentencePairs, found: Outline, targets: Array, seed: int, epoch: int
) -> Iterator[tuple[int, Array, Array, Array]]:
    """Neighbouring documents: their first sentence; for each sentence, counted from it, where a pair that begins there would stop, and
    two draws in [0, 1)."""
    documents = found.documents
    first = 0
    while first < len(documents) - 1:
        last = max(first + 1, int(np.searchsorted(documents, documents[first] + BLOCK)) - 1)
        base, offsets = int(documents[first]), found.sentences[documents[first] : documents[last] + 1]
        sizes = np.diff(documents[first : last + 1])
        number, end = np.arange(len(offsets) - 1), np.repeat(documents[first + 1 : last + 1] - base, sizes)
        if layout.natural:
            stop = number + 2
        else:
            stop = np.maximum(
                np.searchsorted(offsets, offsets[:-1] + np.repeat(targets[first:last], sizes)), number + 1
            )
        ends, coins = halves(hashed(seed, "middle", epoch, base + number))
        yield base, np.minimum(stop, end), ends * 2.0**-32, coins * 2.0**-32
        first = last


def _draw_successors(layout, found: Outline, targets, start, width, random, begin, end, seed: int, epoch: int) -> None:
    """Write the random second segments: from a uniform sentence of a uniform other document to the target length, or its end."""
    at = np.flatnonzero(random)
    documents, offsets = found.documents, found.sentences
    own = np.searchsorted(documents, start[at], "right") - 1
    first, high = strangers(found, own, start[at], seed, epoch)
    wanted = np.ones(len(at), np.int64) if layout.natural else np.maximum(targets[own] - width[at], 1)
    last = np.minimum(np.searchsorted(offsets, offsets[first] + wanted), high)
    begin[at, 1], end[at, 1] = offsets[first], offsets[last]


def strangers(found: Outline, own: Array, keys: Array, seed: int, epoch: int) -> tuple[Array, Array]:
    """(m,) a uniform sentence of a uniform document other than `own` (m,), and one past that document's last; `keys` (m,) tell draws apart."""
    other = integers(hashed(seed, "document", epoch, keys), len(found.documents) - 2)
    other += other >= own  # BERT draws again, ten times at most; this leaves the own document out for certain
    low, high = found.documents[other], found.documents[other + 1]
    return low + integers(hashed(seed, "sentence", epoch, keys), high - low), high


def truncation(a: Array, b: Array, room: int | Array) -> Array:
    """(s, 2) tokens to take from A and B so that both fit: one at a time from the longer, from B where they are equal."""
    return excess(np.stack([a, b], 1), room)


def excess(widths: Array, room: int | Array) -> Array:
    """(s, k) tokens to take from pieces of `widths` (s, k) so that all fit: one at a time from the longest, the last of several."""
    ascending = np.sort(widths, 1)
    spare = np.expand_dims(room, -1) - (np.cumsum(ascending, 1) - ascending)
    level = (spare // np.arange(widths.shape[1], 0, -1)).max(1, keepdims=True)  # what all that are longer are cut to
    left = np.minimum(widths, level)
    longer = widths > level
    left += longer & (np.cumsum(longer, 1) <= np.expand_dims(room - left.sum(1), -1))
    return widths - left


def fronts(taken: Array, seed: int, epoch: int) -> Array:
    """(s, k) how many of the tokens to take come off the front: a fair coin for each."""
    flat = taken.ravel()
    hashes = -(-flat // 64)
    number, owner = spread(np.zeros_like(hashes), hashes)
    spare = np.maximum(64 * (number + 1) - flat[owner], 0).astype(np.uint64)  # bits of the last hash that are no coin
    heads = np.bitwise_count(hashed(seed, "front", epoch, owner, number) >> spare)
    return sums(heads, hashes).reshape(taken.shape)
