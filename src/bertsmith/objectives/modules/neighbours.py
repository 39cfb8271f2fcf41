"""Words and their neighbours as products of matrices.  n tokens of s sequences, w the window, c a chunk of C neighbouring tokens, K words drawn
for a sequence, L tokens in the longest, r nodes on the longest path, d width.  Losses are sums; gradients are made beside them, not by autograd.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.data.batch import Batch, Stream
from bertsmith.nn.modules.static import Moved, Rows, table
from bertsmith.objectives.modules.huffman import paths
from bertsmith.objectives.modules.known import known
from bertsmith.objectives.modules.online import Descent
from bertsmith.objectives.neighbours import TERM

if TYPE_CHECKING:
    from bertsmith.objectives.neighbours import Neighbourhood

LEFT, RIGHT, DRAWN = "left", "right", "drawn"  # data/neighbours.py
CHUNK = 16  # tokens whose windows are computed together, if two windows are no more


class Band:
    """The windows of tokens that stand one behind the other, as blocks: chunk i has its own C tokens and the w before and behind them; of such a block
    (c, C, C + 2w) a token's own window (c, C, 2w + 1) is a diagonal."""

    def __init__(self, left: Tensor, right: Tensor, window: int, dtype: torch.dtype):
        self.count, self.window, self.chunk = len(left), window, max(CHUNK, 2 * window)
        self.chunks = -(-self.count // self.chunk)
        self.rest = self.chunks * self.chunk - self.count
        codes = F.pad(left * (window + 1) + right, (0, self.rest))
        self.inside = F.embedding(codes, windows(window, dtype, left.device)).view(
            self.chunks, self.chunk, -1
        )  # 1: a neighbour

    def own(self, x: Tensor) -> Tensor:
        """(n, d) -> (c, C, d)."""
        return F.pad(x, (0, 0, 0, self.rest)).view(self.chunks, self.chunk, -1)

    def around(self, x: Tensor) -> Tensor:
        """(n, d) -> (c, C + 2w, d), a view of what stands around each chunk."""
        x, width = F.pad(x, (0, 0, self.window, self.rest + self.window)), x.shape[1]
        return x.as_strided((self.chunks, self.chunk + 2 * self.window, width), (self.chunk * width, width, 1))

    def diagonal(self, block: Tensor) -> Tensor:
        """(c, C, C + 2w) -> (c, C, 2w + 1), a view."""
        across = self.chunk + 2 * self.window
        return block.as_strided((self.chunks, self.chunk, 2 * self.window + 1), (self.chunk * across, across + 1, 1))

    def block(self, diagonal: Tensor) -> Tensor:
        """(c, C, 2w + 1) -> (c, C, C + 2w), 0 elsewhere."""
        found = diagonal.new_zeros(self.chunks, self.chunk, self.chunk + 2 * self.window)
        self.diagonal(found).copy_(diagonal)
        return found

    def back(self, own: Tensor) -> Tensor:
        """(c, C, d) -> (n, d)."""
        return own.reshape(-1, own.shape[-1])[: self.count]

    def gathered(self, around: Tensor) -> Tensor:
        """(c, C + 2w, d) -> (n, d), what all chunks say of each token added up."""
        whole = around.new_zeros(self.chunks + 1, self.chunk, around.shape[-1])
        whole[:-1] = around[:, : self.chunk]
        whole[1:, : 2 * self.window] += around[:, self.chunk :]
        return whole.view(-1, around.shape[-1])[self.window : self.window + self.count]


@lru_cache(maxsize=8)
def windows(window: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """((w + 1)^2, 2w + 1): which places are neighbours, by left * (w + 1) + right."""
    side, apart = torch.arange(window + 1, device=device), torch.arange(-window, window + 1, device=device)
    left, right = side[:, None, None], side[None, :, None]
    return ((apart >= -left) & (apart <= right) & (apart != 0)).to(dtype).flatten(0, 1)


class NeighboursObjective(nn.Module):
    """`output`: a vector of each word as what is asked for, or of each inner node; `counts`: how often words stand in the corpus that it learns of."""

    counts: Tensor

    def __init__(self, config: Neighbourhood, vocab: int, width: int):
        super().__init__()
        self.config = config
        self.output = table(vocab, width, drawn=False)
        self.register_buffer("counts", torch.zeros(vocab, dtype=torch.int64))
        self._made: dict[str, tuple[Any, Any]] = {}

    def learn_of(self, corpus: Any) -> None:
        """From now on words are drawn, or stand in a tree, by its counts (V,)."""
        self.counts.zero_()[: len(corpus.counts)].copy_(torch.from_numpy(corpus.counts))

    def weights(self) -> dict[str, float]:
        return self.config.weights()

    def forward(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        if LEFT not in batch.input.features or not len(batch.input.tokens):  # a pass that only keeps step with others
            nothing = torch.as_tensor(batch.input.tokens[:0])
            empty = self.output.weight.detach()[nothing]
            return {TERM: known(empty.sum(), [(self.output.weight, nothing, empty)])}
        with torch.no_grad():
            loss, _, parts = self._learned(model, batch.input)
        return {TERM: known(loss, parts)}

    @torch.no_grad()
    def scores(self, model: Any, batch: Batch) -> dict[str, dict[str, float]]:
        """`accuracy`: of each word's pairs the share that is likelier than not (of a tree: at every turn)."""
        loss, right, _ = self._learned(model, batch.input)
        return {TERM: {"loss": loss.item(), "accuracy": right.item(), "count": len(batch.asked(TERM))}}

    @torch.no_grad()
    def moved(self, model: Any, batch: Batch, rate: float) -> tuple[dict[str, float], float]:
        """One pair after another moves the tables (training/online.py); the way is that of the words' own vectors."""
        descent = self._once("descent", self._descent)
        words = model.tokens.weight.detach().numpy()
        read = np.zeros(len(words), bool)
        read[batch.input.tokens] = True
        rows = np.flatnonzero(read)
        before = words.take(rows, 0)
        loss = descent(batch.input, words, self.output.weight.detach().numpy(), rate)
        way = float(np.linalg.norm(words.take(rows, 0) - before))
        return {TERM: loss}, way / rate if rate else 0.0

    def _descent(self, counts: Tensor) -> Descent:
        tree = self.config.by == "huffman"
        below, paths = None if tree else self._below(), self._paths(torch.float32) if tree else None
        return Descent(self.config, tuple(self.output.weight.shape), below, paths)

    def _learned(self, model: Any, stream: Stream) -> tuple[Tensor, Tensor, list[Moved]]:
        """The loss, what is right, and gradients."""
        own = Rows(stream.tokens)
        x = model.said(own, stream.tokens)
        left, right = stream.features[LEFT], stream.features[RIGHT]
        band = Band(left, right, int(max(left.max(), right.max(), 1)), x.dtype)
        way = self._by_tree if self.config.by == "huffman" else self._by_draws
        loss, correct, slope, outer = way(x, stream, band)
        return loss, correct, [*model.moved(own.rows, own.added(slope)), (self.output.weight, *outer)]

    def _by_draws(self, x: Tensor, stream: Stream, band: Band) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor]]:
        rows_of = Sequences(stream)
        drawn, there = self._drawn(stream, rows_of)
        words = torch.cat([torch.as_tensor(stream.tokens), drawn.flatten()])
        y = F.embedding(words, self.output.weight.detach())
        near, far = y[: len(x)], y[len(x) :].view(*drawn.shape, -1)
        pairs = stream.features[LEFT] + stream.features[RIGHT]
        if self.config.predict == "centre":
            asks, asked = self._mean(x, band), (pairs > 0).to(x.dtype)
            said = (asks * near).sum(-1)
            loss, wrong = judged(said, asked)
            pull, slope = wrong[:, None] * near, wrong[:, None] * asks
            correct = ((said > 0) * asked).sum()
            same = own_words(stream, drawn, there, rows_of)
        else:
            asks, own, around = x, band.own(x), band.around(near)
            asked, said = pairs.to(x.dtype), band.diagonal(own @ around.mT)
            loss, wrong = judged(said, band.inside)
            correct = (((said > 0) * band.inside).sum(-1) / band.inside.sum(-1).clamp(min=1)).sum()
            block = band.block(wrong)
            pull, slope = band.back(block @ around), band.gathered(block.mT @ own)
            same = neighbours_words(own_words(stream, drawn, there, rows_of), stream, rows_of, band.window)
        each = self.config.negatives / there.sum(1).clamp(min=1).to(x.dtype)[:, None, None]
        weight = F.embedding(rows_of.at, asked[:, None]) * rows_of.inside * each
        asking = F.embedding(rows_of.at, asks)
        loss_far, wrong_far = judged(-(asking @ far.mT), weight if there.all() else weight * there[:, None], same, each)
        pull = pull - rows_of.back(wrong_far @ far)
        slope_far = (wrong_far.mT @ asking).flatten(0, 1)
        outer = Rows(words)
        return (
            loss + loss_far,
            correct,
            self._through(pull, band),
            (outer.rows, outer.added(torch.cat([slope, -slope_far]))),
        )

    def _by_tree(self, x: Tensor, stream: Stream, band: Band) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor]]:
        nodes, turns = (part[stream.tokens] for part in self._paths(x.dtype))  # (n, r)
        y, real = F.embedding(nodes, self.output.weight.detach()), turns != 0
        windows = None if self.config.predict == "centre" else Windows(x, band)
        if windows is None:
            asks = self._mean(x, band)[:, None]  # (n, 1, d)
            asked = (stream.features[LEFT] + stream.features[RIGHT] > 0)[:, None].to(x.dtype)
        else:
            asks, asked = windows.around, windows.inside  # (n, 2w + 1, d), (n, 2w + 1)
        said = (y @ asks.mT) * turns[:, :, None]
        loss, wrong = judged(said, real[:, :, None] * asked[:, None])
        wrong = wrong * turns[:, :, None]
        outer = Rows(nodes[real])
        correct = ((((said > 0) | ~real[:, :, None]).all(1) * asked).sum(-1) / asked.sum(-1).clamp(min=1)).sum()
        pull = wrong.mT @ y
        pulled = self._through(pull[:, 0], band) if windows is None else windows.gathered(pull)
        return loss, correct, pulled, (outer.rows, outer.added((wrong @ asks)[real]))

    def _mean(self, x: Tensor, band: Band) -> Tensor:
        """(n, d) of what stands around each token."""
        share = band.inside / band.inside.sum(-1, keepdim=True).clamp(min=1)
        return band.back(band.block(share) @ band.around(x))

    def _through(self, pull: Tensor, band: Band) -> Tensor:
        """The gradient at the tokens (n, d), of that at what was asked; of a mean the whole of it goes to each, as in word2vec's code."""
        if self.config.predict != "centre":
            return pull
        return band.gathered(band.block(band.inside).mT @ band.own(pull))

    def _drawn(self, stream: Stream, rows_of: Sequences) -> tuple[Tensor, Tensor]:
        """(s, K) words, and where there are any: no sequence draws more than it has tokens."""
        many = min(self.config.shared, rows_of.at.shape[1])
        draws = stream.features[DRAWN][rows_of.at[:, :many]]
        below = self._below()
        found = torch.searchsorted(below, draws * below[-1], right=True).clamp(max=len(below) - 1)
        return found, rows_of.inside[:, :many, 0]

    def _below(self) -> Tensor:
        """(V,) float64, the shares in which words are drawn, added up."""
        return self._once("below", lambda counts: counts.double().pow(self.config.power).mul(counts > 0).cumsum(0))

    def _paths(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        nodes, turns = self._once("paths", lambda counts: paths(counts.cpu().numpy()))
        return nodes.to(self.counts.device), turns.to(self.counts.device, dtype)

    def _once(self, name: str, make: Callable[[Tensor], Any]) -> Any:
        """What follows from the counts, made again when these are others; where nothing is known all words are alike."""
        state = (self.counts._version, self.counts.data_ptr())
        if self._made.get(name, (None, None))[0] != state:
            self._made[name] = state, make(self.counts if self.counts.any() else torch.ones_like(self.counts))
        return self._made[name][1]


class Sequences:
    """The tokens of each sequence in a row of its own: `at` (s, L) where they stand, `inside` (s, L, 1) which there are."""

    def __init__(self, stream: Stream):
        device = stream.tokens.device
        lengths = torch.tensor(stream.lengths, device=device)
        most, begin = int(lengths.max()), lengths.cumsum(0) - lengths
        place = torch.arange(most, device=device)
        self.at = (begin[:, None] + place).clamp(max=len(stream.tokens) - 1)
        self.inside = (place < lengths[:, None])[:, :, None]
        self.row = torch.arange(len(stream.tokens), device=device) + torch.repeat_interleave(
            torch.arange(len(lengths), device=device) * most - begin, lengths
        )

    def back(self, x: Tensor) -> Tensor:
        """(s, L, d) -> (n, d)."""
        return x.view(-1, x.shape[-1])[self.row]


class Windows:
    """What stands around each token, by itself: (n, 2w + 1, d), a view."""

    def __init__(self, x: Tensor, band: Band):
        self.window, (count, width) = band.window, x.shape
        self.inside = band.back(band.inside)
        padded = F.pad(x, (0, 0, self.window, self.window))
        self.around = padded.as_strided((count, 2 * self.window + 1, width), (width, width, 1))

    def gathered(self, around: Tensor) -> Tensor:
        """(n, 2w + 1, d) -> (n, d), what all windows say of each token added up."""
        count = len(around)
        whole = around.new_zeros(count + 2 * self.window, around.shape[-1])
        for place in range(2 * self.window + 1):
            whole[place : place + count] += around[:, place]
        return whole[self.window : self.window + count]


Same = tuple[Tensor, Tensor, Tensor]  # (k,) of a block (s, L, K): sequence, place and drawn word


def judged(said: Tensor, weight: Tensor, same: Same | None = None, each: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The sum of -log sigmoid(said) by weight, and its gradient; of `same` places `each` (s, 1, 1) of the weight is taken off again, as often as
    they are named."""
    p = said.sigmoid()
    sure = p.clamp(min=1e-30 if p.dtype == torch.float32 else 1e-300).log()
    loss, wrong = -(sure * weight).sum(), p.sub(1).mul_(weight)
    if same is not None and each is not None and len(same[0]):
        off = each[same[0], 0, 0]
        loss = loss + (sure[same] * off).sum()
        wrong.index_put_(same, (1 - p[same]) * off, accumulate=True)
    return loss, wrong


def own_words(stream: Stream, drawn: Tensor, there: Tensor, rows_of: Sequences) -> Same:
    """Where a word was drawn that stands in the sequence."""
    tokens = F.embedding(rows_of.at, stream.tokens[:, None])[..., 0].masked_fill(~rows_of.inside[..., 0], -1)
    return (tokens[:, :, None] == drawn.masked_fill(~there, -2)[:, None]).nonzero(as_tuple=True)


def neighbours_words(same: Same, stream: Stream, rows_of: Sequences, window: int) -> Same:
    """The places of the tokens that have one of these places in their window."""
    sequence, place, drawn = same
    away = torch.cat([torch.arange(-window, 0), torch.arange(1, window + 1)]).to(place.device)
    asks = rows_of.at[sequence, place][:, None] + away  # whose window it may be in
    safe = asks.clamp(0, len(stream.tokens) - 1)
    left, right = (stream.features[name][safe] for name in (LEFT, RIGHT))
    found = (asks == safe) & (away <= left) & (-away <= right)
    return (
        sequence[:, None].expand_as(found)[found],
        (place[:, None] + away)[found],
        drawn[:, None].expand_as(found)[found],
    )
