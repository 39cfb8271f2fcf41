"""Tags of words that depend on each other: the likeliest of a sentence together (Viterbi), how likely each is (forward, backward), and a
linear-chain CRF's loss (Lafferty et al. 2001).  p words, c tags, s sentences; sentences of about one length go through together.

A sentence's score is the sum of what is said of its words' tags and of how they follow one another.  What a scheme forbids is FORBIDDEN by
the model (objectives/modules/tagging.py), no more than a very low score here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
BUDGET = 1 << 21  # numbers of a step, sentences x tags x tags


@dataclass(frozen=True)
class Moves:
    """Scores of a tag (row) that another (column) follows, `between` (c, c); of the first and of the last one of a sentence (c,)."""

    between: Array
    begin: Array
    end: Array


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """`ids` (p,): the likeliest tags of each sentence together, -1 of a word that was not read; `shares` (p, c): how likely each is, NaN there.

    `before`, `after`, `steps` (p,): log-probabilities of which `path` makes that of a part of a sentence.
    """

    ids: Array
    shares: Array
    before: Array
    after: Array
    steps: Array

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def logits(self) -> Array:
        """(p, c) numbers whose softmax is `shares`: what a teacher says of each word."""
        return np.log(np.maximum(self.shares, np.finfo(np.float32).tiny))

    def path(self, first: int, end: int) -> float:
        """How likely it is that the words [first, end) of one sentence have these tags, all of them."""
        inside = self.steps[first + 1 : end].sum()
        return float(np.exp(min(0.0, self.before[first] + inside + self.after[end - 1])))


def decoded(said: Array, words: Array, moves: Moves) -> Decoded:
    """`said` (p, c) of the words of sentences of `words` (s,), NaN of those that were not read, the last ones of a sentence."""
    count, tags = said.shape
    read = ~np.isnan(said[:, 0])
    lengths = np.add.reduceat(read.astype(np.int64), np.cumsum(words) - words)
    place, scores = np.flatnonzero(read), said[read].astype(np.float64)
    ids, shares = np.full(count, -1), np.full((count, tags), np.nan)
    before, after, steps = np.zeros(count), np.zeros(count), np.zeros(count)
    for which, at, sizes in _groups(lengths, tags):
        own, ends = scores[at], np.where((lengths == words)[which, None], moves.end, 0.0)
        forward, backward = _forward(own, sizes, moves, moves.begin), _backward(own, sizes, moves, ends)
        best, total = _viterbi(own, sizes, moves, ends), _log_sum(forward[0] + backward[0], 1)
        for step in range(len(at)):
            on = np.searchsorted(-sizes, -step)  # sentences that have this word: the first ones
            here, tag, take = place[at[step, :on]], best[step, :on], np.arange(on)
            ids[here], shares[here] = tag, np.exp(forward[step, :on] + backward[step, :on] - total[:on, None])
            before[here] = forward[step, take, tag] - total[:on]
            after[here] = backward[step, take, tag]
            if step:
                steps[here] = moves.between[best[step - 1, :on], tag] + own[step, take, tag]
    return Decoded(ids=ids, shares=shares, before=before, after=after, steps=steps)


def loss(scores: Array, tags: Array, lengths: Array, moves: Moves, first: Array, last: Array) -> float:
    """The sum over chains of `lengths` (s,) of -log p of their tags; `first`, `last` (s,): whether one begins, and ends, where its sentence
    does."""
    own, starts = scores.astype(np.float64), np.cumsum(lengths) - lengths
    inside = np.delete(np.arange(len(tags)), starts)
    gold = own[np.arange(len(tags)), tags].sum() + moves.between[tags[inside - 1], tags[inside]].sum()
    gold += moves.begin[tags[starts]][first].sum() + moves.end[tags[starts + lengths - 1]][last].sum()
    total = 0.0
    for which, at, sizes in _groups(lengths, scores.shape[1]):
        forward = _forward(own[at], sizes, moves, np.where(first[which, None], moves.begin, 0.0))
        over = forward[sizes - 1, np.arange(len(sizes))] + np.where(last[which, None], moves.end, 0.0)
        total += _log_sum(over, 1).sum()
    return float(total - gold)


def _groups(lengths: Array, tags: int) -> Iterator[tuple[Array, Array, Array]]:
    """(which sentences, their words (steps, sentences), their lengths), longest first; where one is over its last word stands again."""
    starts = np.cumsum(lengths) - lengths
    order = np.argsort(-lengths, kind="stable")
    order = order[lengths[order] > 0]
    many = max(1, BUDGET // tags**2)
    for begin in range(0, len(order), many):
        which = order[begin : begin + many]
        sizes = lengths[which]
        yield which, starts[which] + np.minimum(np.arange(sizes[0])[:, None], sizes - 1), sizes


def _log_sum(x: Array, axis: int) -> Array:
    most = x.max(axis, keepdims=True)
    return np.log(np.exp(x - most).sum(axis)) + most.squeeze(axis)


def _forward(own: Array, sizes: Array, moves: Moves, begin: Array) -> Array:
    """(steps, s, c) log-sums over all that ends in a tag, its own score included."""
    found = np.empty_like(own)
    found[0] = own[0] + begin
    for step in range(1, len(own)):
        on = np.searchsorted(-sizes, -step)
        found[step, :on] = _log_sum(found[step - 1, :on, :, None] + moves.between, 1) + own[step, :on]
    return found


def _backward(own: Array, sizes: Array, moves: Moves, ends: Array) -> Array:
    """(steps, s, c) log-sums over all that follows a tag."""
    found = np.empty_like(own)
    for step in range(len(own) - 1, -1, -1):
        on = np.searchsorted(-sizes, -step)
        found[step, :on] = ends[:on]
        more = np.searchsorted(-sizes, -(step + 1))
        if more:
            later = (own[step + 1, :more] + found[step + 1, :more])[:, None, :]
            found[step, :more] = _log_sum(moves.between + later, 2)
    return found


def _viterbi(own: Array, sizes: Array, moves: Moves, ends: Array) -> Array:
    """(steps, s) the tags of the likeliest path; the first of equals."""
    steps, count, _ = own.shape
    best, came = own[0] + moves.begin, np.zeros(own.shape, np.int32)
    for step in range(1, steps):
        on = np.searchsorted(-sizes, -step)
        paths = best[:on, :, None] + moves.between
        came[step, :on] = paths.argmax(1)
        best[:on] = paths.max(1) + own[step, :on]
    found = np.zeros((steps, count), np.int64)
    now = (best + ends).argmax(1)
    for step in range(steps - 1, -1, -1):
        on = np.searchsorted(-sizes, -step)
        found[step, :on] = now[:on]
        if step:
            now[:on] = came[step, np.arange(on), now[:on]]
    return found
