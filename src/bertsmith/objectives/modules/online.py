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
HALF = 2**24  # it begins to draw at HALF a + b


class Descent:
    """A model of gensim's that has no vocabulary of its own: words are the numbers of their rows.

    Its loss leaves out pairs that are told apart, or taken for another, by more than 6 in the logit, which its code does not learn from either.
    """

    def __init__(
        self, config: Neighbourhood, shape: tuple[int, ...], below: Tensor | None, paths: tuple[Tensor, Tensor] | None
    ):
        """Of tables of `shape` (V, d); `below` (V,): the shares in which words are drawn, added up; or `paths`: nodes and turns (V, r) as in huffman.py."""
        from gensim.models import word2vec

        (vocab, width), tree, centre = shape, paths is not None, config.predict == "centre"
        self._train = word2vec.train_batch_cbow if centre else word2vec.train_batch_sg
        negatives = 0 if tree else config.negatives
        self.made = word2vec.Word2Vec(
            vector_size=width, sg=not centre, hs=tree, negative=negatives, sample=0, cbow_mean=1, workers=1
        )
        self.made.wv.key_to_index = {i: i for i in range(vocab)}
        if paths is not None:
            self.made.wv.expandos |= _tree(*(part.numpy() for part in paths))
        if below is not None:  # what has no count is never drawn, but for row 0, once in 2^31 draws
            self.made.cum_table = (below / below[-1] * DOMAIN).round().numpy().astype(np.uint32)
        self.made.random = self._given = _Given()
        self._work = [np.zeros(width, np.float32) for _ in range(1 + centre)]

    def __call__(self, stream: Stream, words: Array, output: Array, rate: float) -> float:
        """The sum of the loss, as each pair found it; moves `words` and `output`, float32.  A sequence draws from its own features alone."""
        assert words.dtype == output.dtype == np.float32  # what the compiled code takes them for
        made, reach = self.made, np.maximum(stream.features[LEFT], stream.features[RIGHT])
        made.window = int(reach.max(initial=1))
        made.wv.vectors = words
        made.syn1 = made.syn1neg = output
        loss = 0.0
        for sentences, self._given.shorter, self._given.begin in _sequences(stream, reach, made.window):
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


def _sequences(stream: Stream, reach: Array, window: int) -> Iterator[tuple[list[list[int]], list[int], Iterator[int]]]:
    """Of each sequence what stands between walls, by how much the window of each word in it is shorter, and what drawing begins with.

    Nothing has a neighbour behind a wall, so that one is where a word has none to the right.  Words that have none at all are left out.
    """
    asked = np.flatnonzero(reach)
    tokens, shorter = stream.tokens[asked].tolist(), (window - reach[asked]).tolist()
    begin = (stream.features[DRAWN][asked] * HALF).astype(np.int64)
    ends = np.flatnonzero(stream.features[RIGHT][asked] == 0) + 1
    edges = ends.searchsorted(asked.searchsorted(np.cumsum(stream.lengths)), "right").tolist()
    ends, done, first, start = ends.tolist(), 0, 0, 0
    for edge in edges:
        sentences = []
        for end in ends[done:edge]:
            sentences.append(tokens[start:end])
            start = end
        if sentences:
            yield sentences, shorter[first:start], iter(begin[first : first + 2].tolist())
        done, first = edge, start


def _tree(nodes: Array, turns: Array) -> dict[str, list[Array]]:
    """Paths as gensim has them: of each word its nodes and turns, 0 or 1, from the root down."""
    many, points, codes = (turns != 0).sum(1).tolist(), nodes.astype(np.uint32), (turns < 0).astype(np.uint8)
    return {
        name: [row[:n] for row, n in zip(rows, many, strict=True)]
        for name, rows in (("point", points), ("code", codes))
    }
