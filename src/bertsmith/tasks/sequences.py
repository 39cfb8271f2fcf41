"""Texts as packed sequences, and the places in them that a task's head reads; how they are read is `reading.py`.

w sequences of n tokens in all; p places; m questions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from bertsmith.audio.layout import stacked
from bertsmith.data.batch import IGNORE, Batch, Stream, Target, wide
from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, option
from bertsmith.tasks.reading import Array, Reading


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What training asks of w sequences: m labels, each at one of its sequence's places."""

    term: str
    labels: Array  # (m,)
    at: Array  # (m,) number of the place among the places of its sequence; (m, k) where it is asked at several together
    each: Array  # (w,) questions of each sequence

    @property
    def labelled(self) -> Asked:
        """Without questions whose label is IGNORE."""
        there = self.labels != IGNORE
        owner = np.repeat(np.arange(len(self.each)), self.each)[there]
        each = np.bincount(owner, minlength=len(self.each))
        return replace(self, labels=self.labels[there], at=self.at[there], each=each)

    @classmethod
    def once(cls, term: str, labels: Array, places: int = 1) -> Asked:
        """One question for each place: of a sequence read at one place, of all places of all sequences alike; or at all its `places` together."""
        at = np.zeros(len(labels), np.int64) if places == 1 else np.tile(np.arange(places), (len(labels), 1))
        return cls(term=term, labels=labels, at=at, each=np.ones(len(labels), np.int64))


def by_length(lengths: Array, budget: int) -> list[Array]:
    """Numbers of what has so many tokens each, longest first, cut into groups of at most `budget` tokens (or one)."""
    order = np.argsort(-lengths, kind="stable")
    groups, start, used = [], 0, 0
    for end, length in enumerate(lengths[order].tolist()):
        if end > start and used + length > budget:
            groups.append(order[start:end])
            start, used = end, 0
        used += length
    return [*groups, order[start:]]


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """w sequences in flat arrays; `owner[i]` is the row of the file that sequence i came from (several where texts are windowed)."""

    tokens: Array  # (n,) int32; of sound (n, b) float32
    segments: Array  # (n,) uint8
    lengths: Array  # (w,) int64
    owner: Array  # (w,) int64
    places: Array  # (p,) int64: what the head reads, as positions in its sequence, sequence after sequence
    reads: Array  # (w,) int64: how many of them each sequence has
    rows: int
    reading: Reading
    counts: dict[str, int]  # texts, tokens, long, cut (tokens), windows; a task's own
    notes: tuple[str, ...] = ()  # what a user should know; the caller says them
    key: Any = None  # what the task needs to make answers of what is read
    wide: Array | None = None  # (n,) what reads and is read beyond windows
    features: dict[str, Array] = field(default_factory=dict)  # (n,) each: what a part of the model reads besides
    parts: Array | None = (
        None  # (p,) where a sequence has parts, which do not see each other and are read at a place each: their tokens
    )

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def offsets(self) -> Array:
        """(w + 1,) where the places of each sequence start."""
        return _ends(self.reads)

    def stretches(self, which: Array) -> Array:
        """Tokens of what sees itself alone: the sequences `which`, or their parts."""
        return self.lengths[which] if self.parts is None else self.parts[self.read(which)[0]]

    @property
    def cls(self) -> Array:
        """(w,) where [CLS] stands in each sequence."""
        return self.reading.cls_at(self.lengths)

    @cached_property
    def _tokens_from(self) -> Array:
        return _ends(self.lengths)

    def batch(self, which: Array, asked: Asked | None = None, keys: Array | None = None) -> Batch:
        """The sequences `which` as one flat row, in this order; the places asked are indices into it.  `keys` (w,): what draws for each
        begin with; nothing is drawn here."""
        lengths = self.lengths[which]
        flat, _ = _members(self._tokens_from, lengths, which)
        lengths = self.stretches(which)
        positions = np.arange(len(flat)) - np.repeat(_ends(lengths)[:-1], lengths)
        rank = positions if self.reading.causal else np.zeros_like(positions)
        stream = Stream(
            tokens=wide(self.tokens[flat]),
            positions=positions,
            segments=self.segments[flat].astype(np.int64),
            query_rank=rank,
            key_rank=rank,
            lengths=tuple(lengths.tolist()),
            visibility="causal" if self.reading.causal else "full",
            wide=None if self.wide is None else self.wide[flat],
            features={name: values[flat] for name, values in self.features.items()},
        )
        targets = {} if asked is None else {asked.term: self.target(which, asked)}
        return Batch(input=stream, targets=targets, examples=tuple((0, int(i)) for i in self.owner[which]))

    def target(self, which: Array, asked: Asked) -> Target:
        """What is asked of the sequences `which`; places are indices into the flat row of `batch(which)`."""
        first = _ends(self.lengths[which])[:-1]
        rows, number = _members(_ends(asked.each), asked.each[which], which)
        at = asked.at[rows] if asked.at.ndim > 1 else asked.at[rows, None]
        place = self.places[self.offsets[which[number], None] + at]
        return Target(at=first[number, None] + place, labels=asked.labels[rows])

    def read(self, which: Array) -> tuple[Array, Array]:
        """Of the sequences `which`: (numbers of their places, the same as indices into the flat row of `batch(which)`)."""
        rows, number = _members(self.offsets, self.reads[which], which)
        return rows, _ends(self.lengths[which])[number] + self.places[rows]

    def by_length(self, budget: int) -> list[Array]:
        """All sequences, longest first, cut into groups of at most `budget` tokens (or one sequence)."""
        return by_length(self.lengths, budget)

    def mean_of_windows(self, values: Array) -> Array:
        """(w, c) -> (rows, c): the mean over the windows of each text."""
        total = np.zeros((self.rows, values.shape[1]), np.float64)
        np.add.at(total, self.owner, values)
        return (total / np.bincount(self.owner, minlength=self.rows)[:, None]).astype(values.dtype)

    def places_alone(self) -> Encoded:
        """Each place as a "token", its own number: what a cache of the states at the places reads."""
        count = len(self.places)
        return replace(
            self,
            tokens=np.arange(count, dtype=np.int32),
            segments=np.zeros(count, np.uint8),
            lengths=self.reads,
            places=np.arange(count) - np.repeat(self.offsets[:-1], self.reads),
            wide=None,
            parts=None if self.parts is None else np.ones(count, np.int64),
            features={},
        )


def joined(parts: Sequence[Encoded]) -> Encoded:
    """The sequences of all `parts`, one after the other: what shares a pass.  Keys, counts and notes stay with the parts, which are read alike."""
    first, rows = parts[0], _ends(np.array([part.rows for part in parts]))
    if len(parts) == 1:
        return first
    each = lambda name: np.concatenate([getattr(part, name) for part in parts])
    return Encoded(
        tokens=each("tokens"),
        segments=each("segments"),
        lengths=each("lengths"),
        owner=np.concatenate([part.owner + before for part, before in zip(parts, rows.tolist())]),
        places=each("places"),
        reads=each("reads"),
        rows=int(rows[-1]),
        reading=first.reading,
        counts={},
        wide=None if first.wide is None else each("wide"),
        features={name: np.concatenate([part.features[name] for part in parts]) for name in first.features},
        parts=None if first.parts is None else each("parts"),
    )


def _ends(counts: Array) -> Array:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _members(starts: Array, counts: Array, which: Array) -> tuple[Array, Array]:
    """Of groups that start at `starts` in a flat array, the members of `which`, `counts` each: (their indices, which of `which`)."""
    number = np.repeat(np.arange(len(which)), counts)
    return starts[which[number]] + np.arange(len(number)) - _ends(counts)[number], number


@dataclass(kw_only=True)
class Builder:
    """Sequences one after the other, with their special tokens."""

    vocab: Any
    reading: Reading
    pairs: bool
    tokens: list[Array] = field(default_factory=list)
    segments: list[Array] = field(default_factory=list)
    owner: list[int] = field(default_factory=list)
    places: list[Array] = field(default_factory=list)
    parts: list[Array] = field(default_factory=list)
    wide: list[Array] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: {"tokens": 0, "long": 0, "cut": 0})

    @property
    def room(self) -> int:
        """Tokens of text in a sequence.  InputError where there are none."""
        room = self.reading.length - self.reading.specials - self.pairs * self.reading.between
        if room < 1 + self.pairs:
            raise InputError(
                f"length: {amount(self.reading.length, 'token leaves', 'tokens leave')} no room for the text beside the special ones"
            )
        return room

    def add(self, owner: int, first: Array, second: Array | None = None, places: Array | None = None) -> int:
        """`places` are positions in the sequence; [CLS] alone unless given.  Returns the length of the sequence."""
        tokens, segments = self.reading.joined(self.vocab, first, second)
        self.tokens.append(tokens)
        self.segments.append(segments)
        self.owner.append(owner)
        self.places.append(self.reading.whole_at(np.array([len(tokens)])) if places is None else places)
        self.wide.append(self.reading.spread(len(tokens), None if second is None else len(first)))
        return len(tokens)

    def add_parts(self, owner: int, pairs: list[tuple[Array, Array]]) -> None:
        """Several pairs as parts of one sequence, each read as a whole."""
        self._add_parts(owner, [self.reading.joined(self.vocab, *pair) for pair in pairs])

    def add_apart(self, owner: int, texts: list[Array]) -> None:
        """Texts that are one row, as parts of one sequence that do not see each other, each read as a whole."""
        self._add_parts(owner, [self.reading.joined(self.vocab, text) for text in texts])

    def _add_parts(self, owner: int, made: list[tuple[Array, Array]]) -> None:
        lengths = np.array([len(tokens) for tokens, _ in made])
        self.tokens.append(np.concatenate([tokens for tokens, _ in made]))
        self.segments.append(np.concatenate([segments for _, segments in made]))
        self.owner.append(owner)
        self.places.append(_ends(lengths)[:-1] + self.reading.whole_at(lengths))
        self.parts.append(lengths)
        self.wide += [self.reading.spread(length) for length in lengths]

    def encoded(self, rows: int, notes: tuple[str, ...] = (), key: Any = None) -> Encoded:
        lengths = np.array([len(tokens) for tokens in self.tokens], np.int64)
        counts = {"texts": rows, **self.counts, "tokens": int(lengths.sum()), "windows": len(lengths)}
        return Encoded(
            tokens=np.concatenate(self.tokens or [np.zeros(0, np.int32)]),
            segments=np.concatenate([np.zeros(0, np.uint8), *self.segments]),
            lengths=lengths,
            owner=np.array(self.owner, np.int64),
            places=np.concatenate([np.zeros(0, np.int64), *self.places]),
            reads=np.array([len(places) for places in self.places], np.int64),
            rows=rows,
            reading=self.reading,
            counts=counts,
            notes=notes,
            key=key,
            wide=None if self.reading.wide == "none" else np.concatenate([np.zeros(0, bool), *self.wide]),
            parts=np.concatenate(self.parts) if self.parts else None,
        )


def encode(
    tokenizer: Any,
    texts: list[str],
    seconds: list[str] | None,
    reading: Reading,
    where: Callable[[int], str] = "text {}".format,
    beside: Any = None,
) -> Encoded:
    """Texts or pairs of them, each read at [CLS].  `where(i)` names row i in the error that `on_long="error"` raises.  Where sound is read,
    texts are places of files, from the folder of the file `beside`.

    window: the longer text slides through windows that overlap by a quarter, the other one stays (cut to half the room if longer).
    """
    builder = Builder(vocab=tokenizer.vocab, reading=reading, pairs=seconds is not None)
    room = builder.room
    first = pieces(tokenizer, texts, reading, where, beside)
    if first and first[0].dtype.kind == "f" and seconds is not None:
        raise InputError(
            f"text2: pairs of sounds are not read; {option('columns', 'text=NAME,label=NAME')} leaves it out"
        )
    second = (
        [None] * len(first) if seconds is None else [np.asarray(ids, np.int32) for ids, _ in tokenizer.encode(seconds)]
    )
    for i, (a, b) in enumerate(zip(first, second, strict=True)):
        builder.counts["long"] += len(a) + (0 if b is None else len(b)) > room
        for a_view, b_view in _views(a, b, room, reading, builder.counts, lambda i=i: where(i)):
            if b_view is not None and reading.orders == "both":
                builder.add_parts(i, [(a_view, b_view), (b_view, a_view)])
            else:
                builder.add(i, a_view, b_view)
    return builder.encoded(len(texts))


def pieces(
    tokenizer: Any, texts: Sequence[str], reading: Reading, where: Callable[[int], str], beside: Any = None
) -> list[Array]:
    """Of each text its ids, int32; of each file of sound its frames, as many as the model takes for one.  InputError for sound that is too
    short for that."""
    if not hasattr(tokenizer, "read"):
        return [np.asarray(ids, np.int32) for ids, _ in tokenizer.encode(texts)]
    found = []
    for i, (frames, _) in enumerate(tokenizer.read(texts, where, beside)):
        found.append(stacked(frames, reading.stack))
        if not len(found[-1]):
            raise InputError(
                f"{where(i)}: {printable(texts[i], 80)}: has {amount(len(frames), 'frame')}, and the model takes {reading.stack} at a time"
            )
    return found


def encode_apart(
    tokenizer: Any, columns: list[Sequence[str]], reading: Reading, where: Callable[[int], str] = "text {}".format
) -> Encoded:
    """Rows of several texts, each a sequence of its own that is read at [CLS]; the texts of a row stand side by side, as its parts."""
    if reading.on_long == "window":
        raise InputError(
            f"{option('on_long', 'window')}: a text is one vector here, and read once; {option('on_long', 'truncate')} or {option('on_long', 'error')}"
        )
    builder = Builder(vocab=tokenizer.vocab, reading=reading, pairs=False)
    room, found = builder.room, {}
    for column in columns:  # a column that stands there twice is encoded once
        if id(column) not in found:
            found[id(column)] = [np.asarray(ids, np.int32) for ids, _ in tokenizer.encode([*column])]
    for i, row in enumerate(zip(*(found[id(column)] for column in columns), strict=True)):
        ends = [reading.views(len(ids), room, lambda i=i: where(i))[0][1] for ids in row]
        builder.counts["long"] += sum(len(ids) > room for ids in row)
        builder.counts["cut"] += sum(map(len, row)) - sum(ends)
        builder.add_apart(i, [ids[:end] for ids, end in zip(row, ends, strict=True)])
    encoded = builder.encoded(len(columns[0]))
    encoded.counts["texts"] = len(columns) * encoded.rows
    return encoded


def _views(a: Array, b: Array | None, room: int, reading: Reading, counts: dict[str, int], where: Callable[[], str]):
    """What each sequence shows of a text or a pair; what none of them shows is counted."""
    if b is None:
        views = reading.views(len(a), room, where)
        counts["cut"] += len(a) - views[-1][1]
        return [(a[start:end], None) for start, end in views]
    size = len(a) + len(b)
    if size <= room or reading.on_long != "window":
        reading.views(size, room, where)  # raises where on_long is "error"
        keep_a, keep_b = kept(len(a), len(b), room)
        counts["cut"] += size - keep_a - keep_b
        return [(a[:keep_a], b[:keep_b])]
    long, fixed = (a, b[: room // 2]) if len(a) > len(b) else (b, a[: room // 2])
    counts["cut"] += size - len(long) - len(fixed)
    parts = [long[start:end] for start, end in reading.views(len(long), room - len(fixed), where)]
    return [(part, fixed) if long is a else (fixed, part) for part in parts]


def kept(a: int, b: int, room: int) -> tuple[int, int]:
    """Lengths after the longer one gave up its last token, ties from the second, until both fit (BERT's run_classifier)."""
    if a + b <= room:
        return a, b
    if b <= room // 2:
        return room - b, b
    if a <= room - room // 2:
        return a, room - a
    return room - room // 2, room // 2


def say_long(encoded: Encoded, name: str, reading: Reading, say: Callable[[str], None]) -> None:
    """What over-long texts came to, and the task's own notes; silent where there is nothing to say."""
    counts = encoded.counts
    if counts["long"]:
        share = f"{counts['long']:,} of {amount(counts['texts'], 'text')} ({counts['long'] / counts['texts']:.1%}) {'is' if counts['long'] == 1 else 'are'} longer than {amount(reading.length, 'token')}"
        rest = f"; read in {amount(counts['windows'], 'window')}" if reading.on_long == "window" else ""
        say(f"{name}: {share}{rest}; {amount(counts['cut'], 'token')} cut")
    for note in encoded.notes:
        say(f"{name}: {note}")
