"""What flows: Row (clean) -> Batch (corrupted), many sequences in one flat row of real tokens.  Padded nowhere.

n tokens, s sequences, m predictions.  A layout makes Rows; `corruption(row)` makes NumPy Batches; `Batch.to(device)` makes torch ones.
Visibility is data: within a sequence, token q sees token k when `key_rank[k] <= query_rank[q]`.  Full attention is (0, 0);
causal is (i, i); a permutation is (order, order); a token that only asks is (order - 1, NEVER).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bertsmith.data.thread import Thread
from bertsmith.errors import InputError

if TYPE_CHECKING:  # layouts, selects and rewrites are NumPy only: nothing here loads torch before `to`
    import torch
    from torch import Tensor

IGNORE = -100
NEVER = 1 << 20
SENTINEL = "<extra_id_{}>"  # the name of a token that stands for a hidden span, by its number
# Tokens of several tokenizers side by side are (n, k + 1): one of each or NONE, and a sign: that a word goes on or begins, or no text.
NONE = -1
GOES_ON, BEGINS, MARK = range(3)
Array = np.ndarray


def term_of(feed: str, term: str) -> str:
    """How a term of a mixture's feed is called; a feed by itself has no name."""
    return f"{feed}.{term}" if feed else term


@dataclass(frozen=True, kw_only=True)
class Vocab:
    """The ids that layouts and corruptions need."""

    size: int
    pad: int
    unk: int
    cls: int
    sep: int
    mask: int
    special: tuple[int, ...]  # every id that is not text; random replacement by RoBERTa's rule avoids them
    sentinels: tuple[
        int, ...
    ] = ()  # ids that stand for hidden spans, the first one's first (T5), where the tokenizer has them
    letters: tuple[int, ...] = ()  # the id that begins a word which is spelled, and the end of the characters behind it
    unigrams: ClassVar[Array | None] = None  # (size,) how often each stands in the corpus: no part of what it is
    entities: ClassVar[tuple[int, int]] = (
        0,
        0,
    )  # that a corpus is linked to, and numbers in the vector of each: likewise

    @property
    def wordless(self) -> list[int]:
        """Ids that are text and no word of the vocabulary: what is unknown, and what spells it."""
        return [self.unk, *range(*self.letters)] if self.letters else [self.unk]

    def counted(self, unigrams: Array) -> "Vocab":
        """The same, for what draws tokens from a corpus."""
        return self._known(unigrams=unigrams)

    def linked(self, count: int, width: int) -> "Vocab":
        """The same, for what reads or draws entities: so many, each a vector of `width` numbers."""
        return self._known(entities=(count, width))

    def _known(self, **more: Any) -> "Vocab":
        vocab = replace(self)
        vocab.__dict__.update(
            {name: self.__dict__[name] for name in ("unigrams", "entities") if name in self.__dict__} | more
        )
        return vocab

    @cached_property
    def below(self) -> Array:
        """(size,) tokens of the corpus up to and with each id.  InputError for a vocabulary without a corpus."""
        if self.unigrams is None or not self.unigrams.any():
            raise InputError(
                "corruption.rewrite.noise: corpus: there is no corpus to draw from; take a store, or noise=vocab"
            )
        return np.cumsum(self.unigrams)


class Lazy:
    """A field of a dataclass: an array, or a function that makes it when it is first read; `optional`: else 0 for each token (or sequence)."""

    def __init__(self, optional: bool = False, of: str = "tokens"):
        self.optional, self.of = optional, of

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, row: "Row | None", owner: type | None = None) -> Any:
        if row is None and self.optional:
            return None  # the field's default
        if row is None:
            raise AttributeError(self.name)  # so that the field has no default
        value = row.__dict__[self.name]
        if not isinstance(value, Array):
            value = np.zeros(len(getattr(row, self.of)), np.uint8) if value is None else value()
            row.__dict__[self.name] = value
        return value

    def __set__(self, row: "Row", value: Array | Callable[[], Array] | None) -> None:
        row.__dict__[self.name] = value


@dataclass(frozen=True, kw_only=True)
class Row:
    """Clean sequences, specials included: what a layout emits and a corruption consumes.  NumPy only."""

    tokens: Array  # (n,) int32; of sound (n, b) float32, frames of b numbers in the place of ids
    segments: Array  # (n,) uint8
    starts: Lazy = Lazy()  # (n,) bool: a word starts here; False on specials
    special: Array  # (n,) bool: [CLS], [SEP]: never hidden
    sentences: Lazy = Lazy()  # (n,) bool: a sentence starts here
    annotations: Lazy = Lazy(optional=True)  # (n,) uint8: phrases and entities, see levels.py
    entities: Lazy = Lazy(
        optional=True
    )  # (n,) int32: i + 1 where a mention of entity i begins, -i - 1 where it goes on, 0 elsewhere
    amounts: Lazy = Lazy(optional=True)  # (n,) float32: how often what a token begins was met, in layouts that count
    lengths: Array  # (s,) int64
    labels: Array  # (s,) int64: the pair label that the layout made, or IGNORE
    epoch: Array  # (s,) int64: which pass over the corpus this view belongs to (0 for ever where masks are static)
    example: Array  # (s,) int64: number of the sequence within its epoch's layout, before shuffling
    into: Lazy = Lazy(optional=True, of="lengths")  # (s,) float64: the share of its epoch that is read before it
    thread: Thread | None = None  # where sequences go on from one another
    order: Array | None = None  # (n,) where each token stood in the row before it was moved; None: nothing was

    @cached_property
    def original(self) -> Array:
        """(n,) the tokens before any was moved."""
        if self.order is None:
            return self.tokens
        found = np.empty_like(self.tokens)
        found[self.order] = self.tokens
        return found

    @cached_property
    def offsets(self) -> Array:
        """(s + 1,): where each sequence starts; the last entry is n."""
        return np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64)

    @cached_property
    def sequence(self) -> Array:
        """(n,): the sequence that each token belongs to."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @cached_property
    def positions(self) -> Array:
        """(n,) int32: each token's place in its own sequence, from 0."""
        return np.arange(len(self.tokens), dtype=np.int32) - np.repeat(self.offsets[:-1].astype(np.int32), self.lengths)

    def part(self, first: int, last: int) -> "Row":
        """Views of the sequences from `first` to before `last`."""
        a, b = self.offsets[[first, last]].tolist()
        return Row(
            tokens=self.tokens[a:b],
            segments=self.segments[a:b],
            starts=lambda: self.starts[a:b],
            special=self.special[a:b],
            sentences=lambda: self.sentences[a:b],
            annotations=lambda: self.annotations[a:b],
            entities=lambda: self.entities[a:b],
            amounts=lambda: self.amounts[a:b],
            lengths=self.lengths[first:last],
            labels=self.labels[first:last],
            epoch=self.epoch[first:last],
            example=self.example[first:last],
            into=lambda: self.into[first:last],
            thread=self.thread and self.thread[first:last],
            order=None if self.order is None else self.order[a:b] - a,
        )

    @cached_property
    def text(self) -> Array:
        """(s,): how many tokens of each sequence are text."""
        return self.lengths - np.add.reduceat(self.special, self.offsets[:-1], dtype=np.int32)


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One side of a model's input, packed: flat (n,) tokens of s sequences; NumPy or torch alike."""

    tokens: Array | Tensor  # (n,), or frames (n, b)
    positions: Array | Tensor
    segments: Array | Tensor
    query_rank: Array | Tensor
    key_rank: Array | Tensor
    lengths: tuple[int, ...]  # a token sees only its own sequence
    visibility: str = "full"  # what the ranks amount to: "full", "causal" or "ranks"; attention dispatches on it
    window: int | None = None  # with a window w a token also sees only |position difference| <= w
    gap: int = 1  # with a window, only every gap-th place to either side, `window` of them
    wide: Array | Tensor | None = (
        None  # (n,) bool: what sees and is seen beyond all windows (Longformer's global tokens); None: nothing
    )
    thread: Thread | None = None  # what a model with memory goes by
    hidden: Array | Tensor | None = None  # (n,) bool: what a decoder must not read of it; None: nothing
    features: dict[str, Array | Tensor] = field(
        default_factory=dict
    )  # (n,) each: what a part of the model reads besides, by name
    real: ClassVar[Any] = (
        None  # (s, l) bool, of a stream that is padded (nn/modules/rectangle.py): where no filler stands
    )

    @classmethod
    def plain(cls, row: Row, tokens: Array) -> "Stream":
        """Everything in a sequence sees everything in it; `tokens` replace the clean ones."""
        zeros = np.zeros(len(tokens), np.uint8)
        return cls(
            tokens=tokens,
            positions=row.positions,
            segments=row.segments,
            query_rank=zeros,
            key_rank=zeros,
            lengths=tuple(row.lengths.tolist()),
            thread=row.thread,
        )

    @classmethod
    def ordered(cls, row: Row, backward: bool = False) -> "Stream":
        """The clean tokens, each of which sees itself and what stands before it, or behind it."""
        rank = -row.positions if backward else row.positions
        return cls(
            tokens=row.tokens,
            positions=row.positions,
            segments=row.segments,
            query_rank=rank,
            key_rank=rank,
            lengths=tuple(row.lengths.tolist()),
            visibility="ranks" if backward else "causal",
            thread=row.thread,
        )

    def to(self, device: str | torch.device) -> "Stream":
        marks = {name: None if (x := getattr(self, name)) is None else _tensor(x, device) for name in MARKS}
        features = {name: _tensor(values, device) for name, values in self.features.items()}
        return replace(
            self, **{name: _tensor(getattr(self, name), device) for name in ARRAYS}, **marks, features=features
        )

    def narrowed(self, window: int | None, gap: int = 1) -> "Stream":
        """The same, in which no token but the wide ones sees further than `window` places, each `gap` from the next; None: as it is."""
        if window is None or (self.window is not None and self.window <= window and gap == 1):
            return self
        made = self.__dict__.setdefault("_narrowed", {})  # for all layers alike
        if (window, gap) not in made:
            made[window, gap] = replace(self, window=window, gap=gap)
        return made[window, gap]

    def spread(self) -> "Stream":
        """The same without windows."""
        return replace(self, window=None, gap=1)

    @cached_property
    def sides(self) -> "tuple[Tensor, Tensor] | None":
        """Flat indices of what a window binds, and of what is wide; None where nothing is; torch."""
        if self.wide is None or not self.wide.any():
            return None
        return (~self.wide).nonzero()[:, 0], self.wide.nonzero()[:, 0]  # type: ignore[operator, union-attr]

    @cached_property
    def reach(self) -> tuple[int, int]:
        """The least and the greatest `apart` that two tokens of a sequence can be."""
        most = int(self.positions.max() - self.positions.min()) if len(self.tokens) else 0
        return -most, most

    @cached_property
    def consecutive(self) -> bool:
        """Whether the tokens of each sequence stand one behind the other; torch."""
        if self._direction is not None:
            return False
        import torch

        first = torch.tensor(np.cumsum(self.lengths)[:-1], device=self.positions.device)
        steps = self.positions.diff() == 1
        steps[first - 1] = True
        return bool(steps.all())

    def apart(self, asks: Tensor, keys: Tensor) -> Tensor:
        """How far each key stands before who asks, in the order of the text; flat indices that broadcast; torch."""
        distance = self.positions[asks] - self.positions[keys]
        return distance if self._direction is None else distance * self._direction[asks]

    @cached_property
    def _direction(self) -> Tensor | None:
        """(n,) 1, or -1 where a text is read from its end; None where none is."""
        import torch

        if self.thread is None or not self.thread.backward.any():
            return None
        signs = np.repeat(np.where(self.thread.backward, -1, 1), self.lengths)
        return torch.from_numpy(signs).to(self.positions.device)

    def split(self, sizes: Sequence[int]) -> list["Stream"]:
        """Views of the first `sizes[0]` sequences, the next `sizes[1]`, ..."""
        ends = np.cumsum([0, *sizes])
        at = np.cumsum([0, *self.lengths])[ends].tolist()
        return [
            Stream(
                **{name: getattr(self, name)[a:b] for name in ARRAYS},
                lengths=self.lengths[first:last],
                visibility=self.visibility,
                window=self.window,
                gap=self.gap,
                thread=self.thread and self.thread[first:last],
                **{name: None if (x := getattr(self, name)) is None else x[a:b] for name in MARKS},
                features={name: values[a:b] for name, values in self.features.items()},
            )
            for first, last, a, b in zip(ends[:-1].tolist(), ends[1:].tolist(), at[:-1], at[1:], strict=True)
        ]


ARRAYS = ("tokens", "positions", "segments", "query_rank", "key_rank")
MARKS = ("hidden", "wide")  # of tokens, where there are any


@dataclass(frozen=True, kw_only=True)
class Target:
    """What one loss term is asked: `labels` (m,), of frames (m, b), read off the predicting side at `at` (m, k).

    Column 0 of `at` is the place of the answer, and ascends; further columns are places that its head reads (SpanBERT's two
    boundaries).  All of `at` are indices into the flat row, so that packing shifts them.
    """

    at: Array | Tensor
    labels: Array | Tensor
    draws: Array | Tensor | None = None  # (m,) uniform in [0, 1), where the objective samples an answer
    pull: Tensor | None = (
        None  # (m, k, d) the gradient of the loss at what is read, where it is known (training/together.py)
    )

    def __len__(self) -> int:
        return len(self.labels)


class Examples(Sequence[tuple[int, int]]):
    """(epoch, example) of each sequence.  Pairs are made for who looks: those of every batch would keep the garbage collector busy."""

    def __init__(self, epoch: Array, example: Array):
        self.epoch, self.example = epoch, example

    def __len__(self) -> int:
        return len(self.epoch)

    def __getitem__(self, at):
        found = self.epoch[at], self.example[at]
        return Examples(*found) if isinstance(at, slice) else tuple(map(int, found))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Corrupted sequences, NumPy or torch.  `targets` are keyed by loss term: token, pair, boundary, replaced, label, …"""

    input: Stream
    output: Stream | None = None
    targets: dict[str, Target] = field(default_factory=dict)
    examples: Sequence[tuple[int, int]] = ()  # (epoch, example) of each sequence, for error messages
    feed: str = ""  # which of a mixture's it comes from

    def asked(self, name: str) -> Target:
        """The questions of a term, none where there are none; torch."""
        import torch

        at = torch.zeros(0, 1, dtype=torch.long, device=self.input.tokens.device)
        return self.targets.get(name) or Target(at=at, labels=at[:, 0])

    def counts(self) -> dict[str, int]:
        """Predictions of each term; known before the forward pass, so that they can be summed over micro-batches and processes first."""
        return {name: len(target) for name, target in self.targets.items()}

    @property
    def asking(self) -> Stream:
        """The side that predicts."""
        return self.input if self.output is None else self.output

    @property
    def tokens(self) -> int:
        """Real tokens that go in, both sides."""
        return len(self.input.tokens) + (0 if self.output is None else len(self.output.tokens))

    def split(self, sizes: Sequence[int]) -> list["Batch"]:
        """NumPy batches of the first `sizes[0]` sequences, the next `sizes[1]`, ...: views, without the terms that ask nothing there."""
        inputs = self.input.split(sizes)
        outputs = [None] * len(sizes) if self.output is None else self.output.split(sizes)
        edges = np.cumsum([0, *(len((side or other).tokens) for side, other in zip(outputs, inputs, strict=True))])
        targets: list[dict[str, Target]] = [{} for _ in sizes]
        for name, target in self.targets.items():
            cuts = np.searchsorted(target.at[:, 0], edges).tolist()
            for part, edge, a, b in zip(targets, edges.tolist(), cuts[:-1], cuts[1:], strict=False):
                if b > a:
                    draws = None if target.draws is None else target.draws[a:b]
                    part[name] = Target(at=target.at[a:b] - edge, labels=target.labels[a:b], draws=draws)
        ends = np.cumsum([0, *sizes]).tolist()
        return [
            Batch(input=input, output=output, targets=asked, examples=self.examples[first:last])
            for input, output, asked, first, last in zip(inputs, outputs, targets, ends[:-1], ends[1:], strict=True)
        ]

    def to(self, device: str | torch.device) -> "Batch":
        targets = {
            k: Target(**{name: None if x is None else _tensor(x, device) for name, x in vars(t).items()})
            for k, t in self.targets.items()
        }
        return replace(
            self, input=self.input.to(device), output=self.output and self.output.to(device), targets=targets
        )


def wide(tokens: Array) -> Array:
    """Ids as int64; frames as they are."""
    return tokens.astype(np.int64) if tokens.dtype.kind in "iub" else tokens


def _tensor(array: Array | Tensor, device: str | torch.device) -> Tensor:
    """Integers become int64 on the device: what travels is as narrow as NumPy holds it."""
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(array)) if isinstance(array, Array) else array
    tensor = tensor.to(device, non_blocking=True)
    return tensor.long() if tensor.dtype in (torch.uint8, torch.int32) else tensor
