"""A recurrent encoder, and a decoder that attends to what it said and is fed what it said itself: what nn/attentive.py builds.

n tokens of s sources, up to N each, m tokens of the output, d width; r <= s sequences go on at a step, the longest ones first.

Sequences are taken a step at a time, all that go on at once; the first layer's products with tokens are made for all steps together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.data.batch import Stream
from bertsmith.nn.modules.blocks import ROWS, pick
from bertsmith.nn.modules.cells import Cell, State
from bertsmith.nn.modules.decoder import unhidden
from bertsmith.nn.modules.recurrent import RecurrentStack
from bertsmith.spelling import amount

if TYPE_CHECKING:
    from bertsmith.nn.recurrent import Recurrent


class Dot(nn.Module):
    """h . s (Luong et al. 2015, equation 8)."""

    def __init__(self, width: int):
        super().__init__()

    def keys(self, source: Tensor) -> Tensor:
        """(s, N, d) -> what `forward` is given of it, once for all steps."""
        return source

    def forward(self, h: Tensor, keys: Tensor) -> Tensor:
        """h (s, k, d), keys (s, N, d) -> (s, k, N)."""
        return h @ keys.transpose(1, 2)


class General(Dot):
    """(W h + b) . s (McCann et al. 2017, equation 2)."""

    def __init__(self, width: int):
        super().__init__(width)
        self.query = nn.Linear(width, width)

    def forward(self, h: Tensor, keys: Tensor) -> Tensor:
        return super().forward(self.query(h), keys)


class Additive(Dot):
    """v . tanh(W h + U s) (Bahdanau et al. 2015, section A.1.2)."""

    def __init__(self, width: int):
        super().__init__(width)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, 1, bias=False)

    def keys(self, source: Tensor) -> Tensor:
        return self.key(source)

    def forward(self, h: Tensor, keys: Tensor) -> Tensor:
        return self.out(torch.tanh(self.query(h)[:, :, None] + keys[:, None]))[..., 0]


SCORES = {"dot": Dot, "general": General, "additive": Additive}


@dataclass(frozen=True, eq=False)
class Heard:
    """What an encoder says to a decoder: `values` (s, N, d), `unseen` (s, 1, N) minus infinity behind a sequence's end, and what the decoder's
    layers begin with."""

    values: Tensor
    unseen: Tensor
    begin: list[State]
    keys: Tensor | None = None

    def at(self, rows: Tensor | slice) -> Heard:
        """Of some of the sources."""
        keys = None if self.keys is None else self.keys[rows]
        return Heard(self.values[rows], self.unseen[rows], [(h[rows], c[rows]) for h, c in self.begin], keys)


def heard(hidden: Tensor, lengths: Sequence[int], begin: list[State]) -> Heard:
    """hidden (n, d) of packed sequences."""
    values = nn.utils.rnn.pad_sequence(hidden.split(list(lengths)), batch_first=True)
    filler = torch.arange(values.shape[1], device=hidden.device) >= torch.tensor(lengths, device=hidden.device)[:, None]
    unseen = torch.zeros(filler.shape, dtype=hidden.dtype, device=hidden.device).masked_fill_(filler, -torch.inf)
    return Heard(values, unseen[:, None], begin)


class Going:
    """What the decoder keeps of b texts that go on a token at a time, k = b / s from each source: the cache of nn/modules/writing.py."""

    def __init__(self) -> None:
        self.lengths: Tensor | None = None  # (b,) tokens that were read; None: none was
        self.source: Heard | None = None
        self.states: list[State] = []
        self.fed: Tensor | None = None

    def keep(self, rows: Tensor) -> None:
        """The texts `rows` (b',) alone, in that order; one may go on more than once."""
        self.lengths, self.fed = self.lengths[rows], self.fed[rows]
        self.states = [(h[rows], c[rows]) for h, c in self.states]

    def keep_sources(self, sources: Tensor) -> None:
        self.source = self.source.at(sources)


class Weights(NamedTuple):
    """The cells' matrices as they are multiplied in a pass: of tokens (with the bias), of what was said and the first layer's own state, and of
    the layers above, each with its bias."""

    tokens: tuple[Tensor, Tensor]
    again: Tensor
    higher: list[tuple[Tensor, Tensor]]


class Decoder(nn.Module):
    """Each step reads a token and what was said at the one before; what the last layer has then looks for in the source, and what it finds
    there, become what is said: tanh(W [found; h] + b) (McCann et al. 2017, section 3; the feeding is Luong et al. 2015's, section 3.3)."""

    def __init__(self, model: Recurrent):
        super().__init__()
        part, self.width = model.topology, model.outer
        self.tokens = nn.Embedding(model.vocab, model.inner)
        self.layers = nn.ModuleList(model.cell.build(reads, self.width, self.width) for reads in part.reads(model))
        self.score = SCORES[part.score](self.width)
        self.out = nn.Linear(2 * self.width, self.width)
        self.dropout = nn.Dropout(model.dropout)

    def forward(self, stream: Stream, read: Tensor | None, source: Heard, cache: Going | None = None) -> Tensor:
        """(m, d), or the rows `read`: what is said when each token of the output was read, sequence i about source i.

        With a cache the stream is one token of each text, which goes on from what it keeps.
        """
        reading = self.dropout(self.tokens(stream.tokens))
        if cache is not None:
            return self._further(reading, source, cache)
        order, rows, flat, back = _steps(stream.lengths, reading.device)
        source, weights = self._known(source).at(order), self._weights()
        given = F.linear(pick(reading, flat), *weights.tokens).split(rows)
        states, fed, found = source.begin, reading.new_zeros(len(order), self.width), []
        for count, gates in zip(rows, given, strict=True):
            if count < len(fed):
                source, fed, states = source.at(slice(count)), fed[:count], [(h[:count], c[:count]) for h, c in states]
            fed, states = self._step(gates, fed, states, source, weights)
            found.append(fed)
        return pick(torch.cat(found), back if read is None else back[read])

    def _further(self, reading: Tensor, source: Heard, cache: Going) -> Tensor:
        if cache.lengths is None:
            cache.source, cache.states = self._known(source), source.begin
            cache.lengths = torch.zeros(len(reading), dtype=torch.long, device=reading.device)
            cache.fed = reading.new_zeros(len(reading), self.width)
        weights = self._weights()
        gates = F.linear(reading, *weights.tokens)
        cache.fed, cache.states = self._step(gates, cache.fed, cache.states, cache.source, weights)
        cache.lengths = cache.lengths + 1
        return cache.fed

    def _known(self, source: Heard) -> Heard:
        return replace(source, keys=self.score.keys(source.values))

    def _weights(self) -> Weights:
        first, *higher = cast("list[Cell]", [*self.layers])
        inner = self.tokens.embedding_dim
        of_tokens, of_fed = first.weight_ih.split([inner, self.width], 1)
        return Weights(
            (of_tokens, first.bias_ih + first.bias_hh),
            torch.cat([of_fed, first.weight_hh], 1),
            [(torch.cat([cell.weight_ih, cell.weight_hh], 1), cell.bias_ih + cell.bias_hh) for cell in higher],
        )

    def _step(
        self, gates: Tensor, fed: Tensor, states: list[State], source: Heard, weights: Weights
    ) -> tuple[Tensor, list[State]]:
        """What is said (r, d), and the layers' states; `gates` (r, g): the part of the first layer's that tokens make."""
        first, *higher = self.layers
        now = [first.step(gates + F.linear(torch.cat([fed, states[0][0]], 1), weights.again), states[0])]
        for cell, state, pair in zip(higher, states[1:], weights.higher, strict=True):
            read = torch.cat([self.dropout(now[-1][0]), state[0]], 1)
            now.append(cell.step(F.linear(read, *pair), state))
        h = now[-1][0]
        asks = h.unflatten(0, (len(source.values), -1))
        share = (self.score(asks, source.keys) + source.unseen).softmax(-1)
        found = (share @ source.values).flatten(0, 1)
        return self.dropout(torch.tanh(self.out(torch.cat([found, h], 1)))), now


def _steps(lengths: Sequence[int], device: torch.device) -> tuple[Tensor, list[int], Tensor, Tensor]:
    """(the sources by length, the longest first; how many go on at each step; the flat place of each token that a step reads, step after step;
    (m,) where each flat place stands among these).  On a CPU so few different numbers go on as can be: sequences that have ended are read on
    at their last token, and nobody asks for that."""
    size = np.asarray(lengths)
    order = np.argsort(-size, kind="stable")
    count = (size[:, None] > np.arange(size.max())).sum(0)
    if device.type == "cpu":
        count = np.minimum(count + -count % ROWS, len(size))
    rank, step = np.concatenate([np.arange(n) for n in count]), np.repeat(np.arange(len(count)), count)
    first = np.cumsum(size) - size
    flat = first[order][rank] + np.minimum(step, size[order][rank] - 1)
    own = np.flatnonzero(step < size[order][rank])
    back = np.empty(size.sum(), np.int64)
    back[flat[own]] = own
    there = [torch.from_numpy(array).to(device) for array in (order, flat, back)]
    return there[0], count.tolist(), there[1], there[2]


class Translator(nn.Module):
    """The encoder, whose states are those of a text alone, and the decoder, which begins with what the encoder's layers end with, the directions
    side by side: with nothing, where these are of another size than the decoder's, or fewer."""

    def __init__(self, config: Recurrent):
        super().__init__()
        self.config = config
        self.encoder = RecurrentStack(config.topology.encoder(config))
        self.decoder = Decoder(config)

    @property
    def tokens(self) -> nn.Embedding:
        """The decoder's token table, which heads that are tied read."""
        return self.decoder.tokens

    def depth_of(self, name: str) -> int:
        """The decoder's layers stand on the encoder's; both embeddings at the bottom; what attends as high as the last layer."""
        side, _, rest = name.partition(".")
        if side == "encoder":
            return self.encoder.depth_of(rest)
        if name not in dict(self.named_parameters()):
            raise ValueError(f"{name}: not a parameter of this body")
        first, _, rest = rest.partition(".")
        deep = len(self.decoder.layers)
        own = {"tokens": 0, "layers": int(rest.partition(".")[0]) + 1 if first == "layers" else 0}.get(first, deep)
        return own + self.config.layers if own else 0

    def forward(self, stream: Stream, read: Tensor | None = None, output: Stream | None = None) -> Tensor:
        """What the decoder says of `output`, (m, d) or its rows `read`; without one, what the encoder says of the input, (n, d) or `read`."""
        if output is None:
            return self.encoder(stream, read)
        if len(output.lengths) != len(stream.lengths):
            raise ValueError(f"{amount(len(output.lengths), 'sequence')} to decode, {len(stream.lengths)} to read")
        return self.decoder(output, read, self.source(stream))

    def source(self, stream: Stream) -> Heard:
        """What the encoder says of a stream, without what a decoder must not read of it."""
        hidden, ends = self.encoder.with_ends(stream)
        if stream.hidden is not None:
            hidden, stream = hidden[~stream.hidden], unhidden(stream)
        begin = []
        for number, cell in enumerate(self.decoder.layers):
            none = cell.fresh(len(stream.lengths), hidden)
            fits = number < len(ends) and all(a.shape == b.shape for a, b in zip(ends[number], none, strict=True))
            begin.append(ends[number] if fits else none)
        return heard(hidden, stream.lengths, begin)

    def cache(self) -> Going:
        """What is kept of texts that the decoder writes."""
        return Going()

    def states(self, stream: Stream, layers: int | None = None) -> list[Tensor]:
        """The encoder's."""
        return self.encoder.states(stream, layers)
