"""Words and their neighbours one pair at a time, as word2vec's code learns them, by gensim's compiled functions (Řehůřek & Sojka 2010).

The batch says what is read, in which order, and how far each window reaches, as it does to neighbours.py; what is left to gensim are the words that stand
against a pair, each pair's own, and the descent: a pair moves its vectors before the next is looked at.  Tables are changed where they stand.
n tokens, V words, r turns on the longest path, d width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from bertsmith.data.batch import Array, Stream

if TYPE_CHECKING:
    from bertsmith.objectives.neighbours import Neighbourhood

LEFT, RIGHT, DRAWN = "left", "right", "drawn"  # data/neighbours.py
DOMAIN = 2**31 - 1  # of gensim's table of draws
HALF = 2**24  # gensim begins to draw at HALF a + b


class Descent:
    """A model of gensim's that has no vocabulary of its own: words are the numbers of their rows.

    Its loss leaves out pairs that are told apart, or taken for another, by more than 6 in the logit, which its code does not learn from either.
    """

    def __init__(self, config: Neighbourhood, width: int, below: Tensor | None, paths: tuple[Tensor, Tensor] | None):
        """`below` (V,): the shares in which words are drawn, added up; or `paths`: nodes and turns (V, r) as in huffman.py."""
        from gensim.models import word2vec

        tree, self._centre = paths is not None, config.predict == "centre"
        self._train = word2vec.train_batch_cbow if self._centre else word2vec.train_batch_sg
        negatives = 0 if tree else config.negatives
        self.made = word2vec.Word2Vec(
            vector_size=width, sg=not self._centre, hs=tree, negative=negatives, sample=0, cbow_mean=1, workers=1
        )
        if paths is not None:
            self.made.wv.expandos |= _tree(*(part.numpy() for part in paths))
        if below is not None:  # a word without a count is drawn never but for the first, once in 2^31 draws
            self.made.cum_table = (below / below[-1] * DOMAIN).round().numpy().astype(np.uint32)
        self.made.random = self._given = _Given()
        self._work = [np.zeros(width, np.float32) for _ in range(1 + self._centre)]

    def __call__(self, stream: Stream, words: Tensor, output: Tensor, rate: float) -> float:
        """The sum of the loss, as each pair found it; moves `words` and `output` (V, d).  A sequence draws from its own features alone."""
        made, reach = self.made, np.maximum(stream.features[LEFT], stream.features[RIGHT])
        made.window = int(reach.max(initial=1))
        made.wv.key_to_index, made.wv.vectors = range(len(words)), words.numpy()
        made.syn1 = made.syn1neg = output.numpy()
        loss = 0.0
        for sentences, reaches, begin in _sequences(stream, reach):
            self._given.begin, self._given.shorter = begin, [made.window - half for half in reaches]
            made.running_training_loss = 0.0
            self._train(made, sentences, rate, *self._work, True)
            loss += made.running_training_loss
        return loss


class _Given:
    """Stands where gensim has its generator: it asks two numbers that drawing words begins with, and by how much each window is shorter."""

    begin: Iterator[int]
    shorter: list[int]

    def randint(self, low: int, high: int, size: int | None = None) -> Any:
        return next(self.begin) if size is None else self.shorter


def _sequences(stream: Stream, reach: Array) -> Iterator[tuple[list[list[int]], list[int], Iterator[int]]]:
    """Of each sequence what stands between walls, how far the window of each word in it reaches, and what drawing begins with.

    Nothing has a neighbour behind a wall, so that one is where a word has none to the right.  Words that have none at all are left out.
    """
    asked = np.flatnonzero(reach)
    owner = np.repeat(np.arange(len(stream.lengths)), stream.lengths)[asked]
    tokens, reaches = stream.tokens[asked].tolist(), reach[asked].tolist()
    begins = (stream.features[DRAWN][asked] * HALF).astype(np.int64)
    ends = np.flatnonzero(stream.features[RIGHT][asked] == 0) + 1
    first, start = 0, 0
    for found in np.split(ends, np.flatnonzero(np.diff(owner[ends - 1])) + 1):
        sentences = []
        for end in found.tolist():
            sentences.append(tokens[start:end])
            start = end
        if sentences:
            yield sentences, reaches[first:start], iter(begins[first : first + 2].tolist())
        first = start


def _tree(nodes: Array, turns: Array) -> dict[str, list[Array]]:
    """Paths as gensim has them: of each word its nodes and turns, 0 or 1, from the root down."""
    many, points, codes = (turns != 0).sum(1).tolist(), nodes.astype(np.uint32), (turns < 0).astype(np.uint8)
    return {
        name: [row[:n] for row, n in zip(rows, many, strict=True)]
        for name, rows in (("point", points), ("code", codes))
    }
