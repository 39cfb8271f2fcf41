"""What nn/static.py builds.  n tokens, m <= n of them read, u different ones, d width.

Tables are large and a batch has few of their rows, so what learns them (objectives/modules/neighbours.py) knows gradients row by row: `said` and `moved`
are its two ways, without autograd; `vectors` is everyone else's, with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.data.batch import Stream
from bertsmith.nn.body import depth_of
from bertsmith.nn.grams import buckets, listed
from bertsmith.nn.modules.blocks import pick
from bertsmith.nn.modules.bywords import SPELLED, ByWords

if TYPE_CHECKING:
    from bertsmith.nn.static import StaticConfig

NO_CHARACTER = 0xFFFD  # stands for one that has no entry
Moved = tuple[Tensor, Tensor, Tensor]  # a table, (u,) rows of it that ascend, (u, d) the gradient at them


def table(rows: int, width: int, drawn: bool = True) -> nn.Embedding:
    """Uniform between -1 / 2d and that, as word2vec's code begins, or 0."""
    made = nn.Embedding(rows, width)
    if drawn:
        nn.init.uniform_(made.weight, -0.5 / width, 0.5 / width)
    else:
        nn.init.zeros_(made.weight)
    return made


class Rows:
    """Which different rows (u,), ascending, numbers (n,) name; what is said of these may be added up by them."""

    def __init__(self, named: Tensor):
        self.named, self.order = torch.sort(named, stable=True)
        self.rows, self._many = torch.unique_consecutive(self.named, return_counts=True)

    def added(self, values: Tensor, of: Tensor | None = None) -> Tensor:
        """(u, d) the sum of the values (n, d) at each row, in their order; `of` (n,): which of the values each number has."""
        which = self.order if of is None else of[self.order]
        return F.embedding_bag(which, values, self._many.cumsum(0) - self._many, mode="sum")

    @cached_property
    def where(self) -> Tensor:
        """(n,) which of the rows each number names."""
        found = torch.empty_like(self.order)
        found[self.order] = torch.repeat_interleave(torch.arange(len(self.rows), device=found.device), self._many)
        return found


class Static(nn.Module):
    listed: Tensor
    begins: Tensor
    characters: Tensor

    def __init__(self, config: StaticConfig):
        super().__init__()
        self.config = config
        self.tokens = table(config.vocab, config.width)
        self.context = table(config.vocab, config.width) if config.context else None
        if config.grams is not None:
            self.grams = table(config.grams.buckets, config.width)
            self.register_buffer("listed", torch.zeros(config.grams.entries, dtype=torch.int32))
            self.register_buffer("begins", torch.zeros(config.vocab + 1, dtype=torch.int64))
        if config.composes:
            self.register_buffer("characters", torch.zeros(config.letters.symbols, dtype=torch.int32))  # code points

    def learn_of(self, corpus: Any) -> None:
        """Which stretches each word of the vocabulary has."""
        grams = self.config.grams
        if grams is not None:
            of_words, begins = listed(corpus.words, grams.buckets, grams.shortest, grams.longest)
            self.listed.copy_(torch.from_numpy(of_words))
            self.begins.fill_(len(of_words))[: len(begins)].copy_(torch.from_numpy(begins))
        if self.config.composes:
            points = [NO_CHARACTER, *map(ord, corpus.characters), NO_CHARACTER]
            self.characters.copy_(torch.tensor(points, dtype=torch.int32))

    def depth_of(self, name: str) -> int:
        return depth_of(self, name, 0)

    def _stretches(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Buckets of each token (m,) one after the other, where each one's begin, and how many it has."""
        begin, many = self.begins[tokens], self.begins[tokens + 1] - self.begins[tokens]
        first = many.cumsum(0) - many
        place = torch.arange(int(many.sum()), device=tokens.device) + torch.repeat_interleave(begin - first, many)
        return self.listed[place].long(), first, many

    def vectors(self, tokens: Tensor) -> Tensor:
        """(m,) -> (m, d)."""
        found = pick(self.tokens.weight, tokens)
        if self.context is not None:
            found = found + pick(self.context.weight, tokens)
        if self.config.grams is None:
            return found
        which, first, many = self._stretches(tokens)
        return (found + F.embedding_bag(which, self.grams.weight, first, mode="sum")) / (1 + many)[:, None]

    def spelled(self, words: Sequence[str]) -> Tensor:
        """(m, d) of words that are in no vocabulary: the means of what their stretches have; 0 where there is none."""
        grams = self.config.grams
        found = [buckets(word, grams.buckets, grams.shortest, grams.longest) for word in words]
        zero = self.grams.weight.new_zeros(self.config.width)
        return torch.stack([self.grams.weight[torch.tensor(each)].mean(0) if each else zero for each in found])

    def said(self, rows: Rows, tokens: Tensor) -> Tensor:
        """`vectors` of tokens (n,), which `rows` are of, as they learn: of two tables the first one's."""
        if self.config.grams is None:
            return F.embedding(tokens, self.tokens.weight.detach())
        return F.embedding(rows.where, self.vectors(rows.rows).detach())

    def moved(self, tokens: Tensor, slope: Tensor) -> list[Moved]:
        """What the gradient at the vectors of different tokens (u, d) is in each table."""
        if self.config.grams is None:
            return [(self.tokens.weight, tokens, slope)]
        which, _, many = self._stretches(tokens)
        slope = slope / (1 + many)[:, None]
        owner = torch.repeat_interleave(torch.arange(len(tokens), device=tokens.device), many)
        stretches = Rows(which)
        return [(self.tokens.weight, tokens, slope), (self.grams.weight, stretches.rows, stretches.added(slope, owner))]

    def worded(self, stream: Stream) -> Tensor | None:
        """(n,) bool: one token of each word, which a mean over words goes by; None where every token is one."""
        by = ByWords.of(stream, self.config.letters)
        return None if by is None else by.once

    def _composed(self, by: ByWords) -> Tensor:
        """(w, d): of words that are spelled the means of their stretches; without stretches the vector of the mark."""
        found = self.vectors(by.stream.tokens)
        if not self.config.composes:
            return found
        symbols, at = torch.unique(by.stream.features[SPELLED], dim=0, return_inverse=True)
        rows = [row[row > 0] for row in symbols]
        words = ["".join(map(chr, self.characters[row].tolist())) for row in rows]
        spelled = torch.tensor([len(word) > 0 for word in words], device=found.device)
        return torch.where(spelled[at, None], pick(self.spelled(words), at), found)

    def forward(self, stream: Stream, read: Tensor | None = None) -> Tensor:
        """(n, d), or (m, d) for the flat indices `read` (m,)."""
        by = ByWords.of(stream, self.config.letters)
        if by is not None:
            found = pick(self._composed(by), by.word if read is None else by.word[read])
        else:
            found = self.vectors(stream.tokens if read is None else stream.tokens[read])
        return F.dropout(found, self.config.dropout, self.training)

    def states(self, stream: Stream, layers: int | None = None) -> list[Tensor]:
        return [self(stream)]
