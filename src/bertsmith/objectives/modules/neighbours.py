"""Words and their neighbours as products of matrices.  n tokens of s sequences, w the window, c a chunk of C neighbouring tokens, K words drawn
for a sequence, L tokens in the longest, r nodes on the longest path, d width.  Losses are sums; gradients are made beside them, not by autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.data.batch import Batch, Stream
from bertsmith.nn.modules.static import Moved, added, table
from bertsmith.objectives.modules.huffman import paths
from bertsmith.objectives.modules.known import known
from bertsmith.objectives.neighbours import TERM

if TYPE_CHECKING:
    from bertsmith.objectives.neighbours import Neighbourhood

LEFT, RIGHT, DRAWN = "left", "right", "drawn"  # data/neighbours.py
CHUNK = 16  # tokens whose windows are computed together; at least two windows


class Band:
    """The windows of tokens that stand one behind the other, as blocks: chunk i has its own C tokens and the w before and behind them."""

    def __init__(self, left: Tensor, right: Tensor, dtype: torch.dtype):
        self.count, self.window = len(left), max(1, int(torch.maximum(left, right).max()) if len(left) else 1)
        self.chunk = max(CHUNK, 2 * self.window)
        self.chunks = -(-self.count // self.chunk)
        apart = _apart(self.chunk, self.window, left.device)
        left, right = (F.pad(side, (0, self.chunks * self.chunk - self.count)).view(-1, self.chunk, 1) for side in (left, right))
        self.inside = ((apart >= -left) & (apart <= right) & (apart != 0)).to(dtype)  # (c, C, C + 2w)

    def own(self, x: Tensor) -> Tensor:
        """(n, d) -> (c, C, d)."""
        return F.pad(x, (0, 0, 0, self.chunks * self.chunk - self.count)).view(self.chunks, self.chunk, -1)

    def around(self, x: Tensor) -> Tensor:
        """(n, d) -> (c, C + 2w, d), a view of what stands around each chunk."""
        rest = self.chunks * self.chunk - self.count
        x, width = F.pad(x, (0, 0, self.window, rest + self.window)), x.shape[1]
        return x.as_strided((self.chunks, self.chunk + 2 * self.window, width), (self.chunk * width, width, 1))

    def back(self, own: Tensor) -> Tensor:
        """(c, C, d) -> (n, d)."""
        return own.reshape(-1, own.shape[-1])[: self.count]

    def gathered(self, around: Tensor) -> Tensor:
        """(c, C + 2w, d) -> (n, d), what all chunks say of each token added up."""
        whole = around.new_zeros(self.chunks + 1, self.chunk, around.shape[-1])
        whole[:-1] += around[:, : self.chunk]
        whole[1:, : 2 * self.window] += around[:, self.chunk :]
        return whole.view(-1, around.shape[-1])[self.window : self.window + self.count]


@lru_cache(maxsize=8)
def _apart(chunk: int, window: int, device: torch.device) -> Tensor:
    """(C, C + 2w): how far behind each token each of those around stands."""
    return torch.arange(chunk + 2 * window, device=device) - window - torch.arange(chunk, device=device)[:, None]


class NeighboursObjective(nn.Module):
    """`output`: a vector of each word as what is asked for, or of each inner node; `counts`: how often words stand in the corpus that it learns of."""

    def __init__(self, config: Neighbourhood, vocab: int, width: int):
        super().__init__()
        self.config = config
        self.output = table(vocab, width, drawn=False)
        self.register_buffer("counts", torch.zeros(vocab, dtype=torch.int64))
        self._made: dict[str, tuple[Any, Any]] = {}

    def learn_of(self, words: Sequence[str | None], counts: Tensor) -> None:
        """From now on words are drawn, or stand in a tree, by these counts (V,)."""
        self.counts.zero_()[: len(counts)].copy_(counts)

    def weights(self) -> dict[str, float]:
        return self.config.weights()

    def forward(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        if LEFT not in batch.input.features or not len(batch.input.tokens):  # a pass that only keeps step with others
            nothing = batch.input.tokens[:0]
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

    def _learned(self, model: Any, stream: Stream) -> tuple[Tensor, Tensor, list[Moved]]:
        """The loss, what is right, and gradients."""
        rows, where = torch.unique(stream.tokens, return_inverse=True)
        said = model.said(rows)
        band = Band(stream.features[LEFT], stream.features[RIGHT], said.dtype)
        way = self._by_tree if self.config.by == "huffman" else self._by_draws
        loss, right, slope, outer = way(F.embedding(where, said), stream, band)
        return loss, right, [*model.moved(rows, added(where, slope)[1]), (self.output.weight, *outer)]

    def _by_draws(self, x: Tensor, stream: Stream, band: Band) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor]]:
        rows_of = Sequences(stream)
        drawn, there = self._drawn(stream, rows_of)
        words = torch.cat([stream.tokens, drawn[there]])
        rows, where = torch.unique(words, return_inverse=True)
        y = F.embedding(where, self.output.weight.detach()[rows])
        near, far = y[: len(x)], y.new_zeros(*drawn.shape, y.shape[1])
        far[there] = y[len(x) :]
        alike = (stream.tokens[rows_of.at][:, :, None] == drawn[:, None]) & there[:, None] & rows_of.inside  # (s, L, K)
        pairs = stream.features[LEFT] + stream.features[RIGHT]
        if self.config.predict == "centre":
            asks, asked = self._mean(x, band), (pairs > 0).to(x.dtype)
            said = (asks * near).sum(-1)
            loss, wrong = judged(said, asked)
            pull, slope = wrong[:, None] * near, wrong[:, None] * asks
            right = ((said > 0) * asked).sum()
            against = asked[rows_of.at][:, :, None] * ~alike
        else:
            asks, own, around = x, band.own(x), band.around(near)
            said = own @ around.mT
            loss, wrong = judged(said, band.inside)
            pull, slope = band.back(wrong @ around), band.gathered(wrong.mT @ own)
            right = (((said > 0) * band.inside).sum(-1) / band.inside.sum(-1).clamp(min=1)).sum()
            against = pairs.to(x.dtype)[rows_of.at][:, :, None].repeat(1, 1, drawn.shape[1])
            skip(against, alike, stream, rows_of, band.window)
        each = self.config.negatives / there.sum(1).clamp(min=1).to(x.dtype)
        against = against * (rows_of.inside & there[:, None]) * each[:, None, None]
        asking = asks[rows_of.at]
        loss_far, wrong_far = judged(-(asking @ far.mT), against)
        pull = pull - rows_of.back(wrong_far @ far)
        slope_far = -(wrong_far.mT @ asking)[there]
        outer = added(where, torch.cat([slope, slope_far]))[1]
        return loss + loss_far, right, self._through(pull, band), (rows, outer)

    def _by_tree(self, x: Tensor, stream: Stream, band: Band) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor]]:
        nodes, turns = (part[stream.tokens] for part in self._paths(x.dtype))  # (n, r)
        y, real = F.embedding(nodes, self.output.weight.detach()), turns != 0
        windows = None if self.config.predict == "centre" else Windows(x, stream, band.window)
        if windows is None:
            asks = self._mean(x, band)[:, None]  # (n, 1, d)
            asked = (stream.features[LEFT] + stream.features[RIGHT] > 0)[:, None].to(x.dtype)
        else:
            asks, asked = windows.around, windows.inside  # (n, 2w + 1, d), (n, 2w + 1)
        said = (y @ asks.mT) * turns[:, :, None]
        loss, wrong = judged(said, real[:, :, None] * asked[:, None])
        wrong = wrong * turns[:, :, None]
        outer = added(nodes[real], (wrong @ asks)[real])
        right = ((((said > 0) | ~real[:, :, None]).all(1) * asked).sum(-1) / asked.sum(-1).clamp(min=1)).sum()
        pull = wrong.mT @ y
        return loss, right, self._through(pull[:, 0], band) if windows is None else windows.gathered(pull), outer

    def _mean(self, x: Tensor, band: Band) -> Tensor:
        """(n, d) of what stands around each token."""
        return band.back((band.inside / band.inside.sum(-1, keepdim=True).clamp(min=1)) @ band.around(x))

    def _through(self, pull: Tensor, band: Band) -> Tensor:
        """The gradient at the tokens (n, d), of that at what was asked; of a mean the whole of it goes to each, as in word2vec's code."""
        return band.gathered(band.inside.mT @ band.own(pull)) if self.config.predict == "centre" else pull

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

    def __init__(self, x: Tensor, stream: Stream, window: int):
        self.window, (count, width) = window, x.shape
        apart = torch.arange(-window, window + 1, device=x.device)
        left, right = (stream.features[name][:, None] for name in (LEFT, RIGHT))
        self.inside = ((apart >= -left) & (apart <= right) & (apart != 0)).to(x.dtype)
        padded = F.pad(x, (0, 0, window, window))
        self.around = padded.as_strided((count, 2 * window + 1, width), (width, width, 1))

    def gathered(self, around: Tensor) -> Tensor:
        """(n, 2w + 1, d) -> (n, d), what all windows say of each token added up."""
        count = len(around)
        whole = around.new_zeros(count + 2 * self.window, around.shape[-1])
        for place in range(2 * self.window + 1):
            whole[place : place + count] += around[:, place]
        return whole[self.window : self.window + count]


def judged(said: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of -log sigmoid(said) by weight, and its gradient."""
    sure = F.logsigmoid(said)
    return -(sure * weight).sum(), (sure.exp() - 1) * weight


def skip(against: Tensor, alike: Tensor, stream: Stream, rows_of: Sequences, window: int) -> None:
    """`against` (s, L, K), pairs of each token that each drawn word stands against, less those whose word it is: in place."""
    sequence, place, drawn = alike.nonzero(as_tuple=True)
    away = torch.arange(-window, window + 1, device=against.device)
    asks = rows_of.at[sequence, place][:, None] + away  # of whose windows it may be
    safe = asks.clamp(0, len(stream.tokens) - 1)
    left, right = (stream.features[name][safe] for name in (LEFT, RIGHT))
    in_window = (asks == safe) & (away != 0) & (-away >= -left) & (-away <= right)
    rows, columns = rows_of.row[safe][in_window], drawn[:, None].expand_as(safe)[in_window]
    against.view(-1, against.shape[-1]).index_put_((rows, columns), against.new_tensor(-1.0), accumulate=True)
