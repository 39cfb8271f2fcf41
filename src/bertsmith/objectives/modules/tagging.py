"""Heads of tags.  n tokens of s sequences, m words that are asked for in k of them, at most l in one; d width, c tags.  Losses are sums."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence, unpack_sequence

from bertsmith.data.batch import Batch, Stream
from bertsmith.nn.body import Body
from bertsmith.nn.modules.blocks import pick
from bertsmith.objectives.modules.supervised import Classification, inherited
from bertsmith.objectives.supervised import FIRST, LAST

FORBIDDEN = (
    -1e4
)  # the score of what a scheme forbids: low enough that nothing outweighs it, finite so that nothing becomes NaN


class Words(nn.Module):
    """A bidirectional LSTM over the words that are asked for, then dropout and a linear layer."""

    def __init__(self, width: int, classes: int, dropout: float = 0.0):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(width, width // 2, bidirectional=True)
        self.out = nn.Linear(width // 2 * 2, classes)

    def forward(self, hidden: Tensor, sizes: list[int]) -> Tensor:
        """(m, d), `sizes` words of each sequence -> (m, c), in float32."""
        with torch.autocast(hidden.device.type, enabled=False):
            parts = self.dropout(hidden.float()).split(sizes)
            read, _ = self.lstm(pack_sequence(parts, enforce_sorted=False))
            return self.out(self.dropout(torch.cat(unpack_sequence(read))))


class Transitions(nn.Module):
    """How tags follow one another: a linear-chain CRF over the words of each sequence (Lafferty et al. 2001).

    `allowed`: (c + 1) strings of c + 1 signs, "1" where the tag of the column may follow the tag of the row (tasks/schemes.py); () = all.
    """

    def __init__(self, classes: int, allowed: tuple[str, ...] = ()):
        super().__init__()
        self.allowed = allowed
        self.between = nn.Parameter(torch.zeros(classes, classes))
        self.begin = nn.Parameter(torch.zeros(classes))
        self.end = nn.Parameter(torch.zeros(classes))

    def scores(self) -> tuple[Tensor, Tensor, Tensor]:
        """(c, c) between two words, (c,) of the first one, (c,) of the last one of a sentence; float32."""
        learned = self.between.float(), self.begin.float(), self.end.float()
        if not self.allowed:
            return learned
        bits = torch.tensor([[*map(int, row)] for row in self.allowed], device=self.between.device) == 0
        masks = bits[:-1, :-1], bits[-1, :-1], bits[:-1, -1]
        between, begin, end = (own.masked_fill(mask, FORBIDDEN) for own, mask in zip(learned, masks, strict=True))
        return between, begin, end

    @torch.no_grad()
    def moves(self) -> tuple[np.ndarray, ...]:
        """The same in double precision, for who answers."""
        return tuple(scores.double().cpu().numpy() for scores in self.scores())

    def loss(self, said: Tensor, labels: Tensor, sizes: list[int]) -> Tensor:
        """`said` (m, c) float32, `labels` (m, 2): the tag, and FIRST and LAST of the words that begin and end a sentence -> the sum over
        sequences of -log p of their tags.  Windows of a sentence are chains of their own, which neither begin nor end in its middle."""
        between, begin, end = self.scores()
        tags, ends = labels.unbind(1)
        counts = torch.tensor(sizes, device=said.device)
        last = counts.cumsum(0) - 1
        first = last - counts + 1
        begins, over = ((ends[at] & flag).ne(0)[:, None] for at, flag in ((first, FIRST), (last, LAST)))
        begin, end = begin * begins, end * over
        inside = torch.ones(len(tags), dtype=torch.bool, device=said.device)
        inside[first] = False
        after = inside.nonzero()[:, 0]
        gold = said.gather(1, tags[:, None]).sum() + between[tags[after - 1], tags[after]].sum()
        gold = gold + begin.gather(1, tags[first, None]).sum() + end.gather(1, tags[last, None]).sum()
        return (self._all(said, counts, first, between, begin) + end).logsumexp(1).sum() - gold

    @staticmethod
    def _all(said: Tensor, counts: Tensor, first: Tensor, between: Tensor, begin: Tensor) -> Tensor:
        """(k, c) log-sums over all paths that end in a tag."""
        paths = said[first] + begin
        for step in range(1, int(counts.max())):
            on = step < counts
            own = said[torch.where(on, first + step, first)]
            paths = torch.where(on[:, None], (paths[:, :, None] + between).logsumexp(1) + own, paths)
        return paths


class Tagging(Classification):
    """Dropout and a linear layer, or an LSTM before it; keys `objective.tag.out.weight`, `objective.tag.out.bias`, `objective.tag.lstm.…`;
    of a CRF also `objective.crf.between`, `.begin`, `.end`.

    With `shares` (c,) a tag is said as often as it stands in the training file until something is learned: one that the file lacks would
    have to be unlearned otherwise."""

    term = "tag"

    def __init__(self, head: nn.Module, crf: Transitions | None = None, shares: Sequence[float] = ()):
        super().__init__(head)
        if shares:
            with torch.no_grad():
                head.out.bias.copy_(torch.tensor(shares).log())
        if crf is not None:
            self.crf = crf

    def inherit(self, state: dict[str, Tensor]) -> tuple[str, ...]:
        """The transform of a token head, where it has one; else nothing: no member is pre-trained with such a head."""
        return inherited(getattr(self.head, "pooler", None), state)

    def logits(self, model: Body, stream: Stream, at: Tensor) -> Tensor:
        """`at` (m,): flat indices of tokens, in any order -> (m, classes), of a CRF what is said of each word by itself."""
        read, where = torch.unique(at, return_inverse=True)
        hidden = model(stream, read)
        said = self.head(hidden, sizes_of(stream, read)) if isinstance(self.head, Words) else self.head(hidden)
        return pick(said, where)

    def forward(self, model: Body, batch: Batch) -> dict[str, Tensor]:
        return {self.term: self._loss(self.logits(model, batch.input, batch.targets[self.term].at[:, 0]), batch)}

    def _loss(self, said: Tensor, batch: Batch) -> Tensor:
        target, crf = batch.targets[self.term], getattr(self, "crf", None)
        if crf is None:
            return self.loss(said, target.labels)
        with torch.autocast(said.device.type, enabled=False):
            if target.labels.dim() == 1:  # asked of nothing (shard.filler): 0, of everything that others ask
                return 0 * (said.float().sum() + sum(own.float().sum() for own in crf.parameters()))
            return crf.loss(said.float(), target.labels, sizes_of(batch.input, target.at[:, 0]))

    @torch.no_grad()
    def scores(self, model: Body, batch: Batch) -> dict[str, dict[str, float]]:
        """{"tag": {loss: sum, correct: number, count: number}}; of a CRF `correct` is each word's by itself."""
        target = batch.targets[self.term]
        said = self.logits(model, batch.input, target.at[:, 0])
        tags = target.labels if target.labels.dim() == 1 else target.labels[:, 0]
        correct = int(torch.eq(said.argmax(1), tags).sum())
        return {self.term: {"loss": self._loss(said, batch).item(), "correct": correct, "count": len(target)}}


def sizes_of(stream: Stream, at: Tensor) -> list[int]:
    """How many of the places `at`, which ascend, each sequence has that has any."""
    ends = torch.tensor(stream.lengths, device=at.device).cumsum(0)
    return torch.unique_consecutive(torch.searchsorted(ends, at, right=True), return_counts=True)[1].tolist()
