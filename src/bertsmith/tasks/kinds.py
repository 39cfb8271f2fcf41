"""What a task asks of a text: a class or a number.  Rows -> packed sequences, labels -> targets, logits -> answers and scores.

One text is `[CLS] A [SEP]`, a pair `[CLS] A [SEP] B [SEP]` with segments 0 and 1 (Devlin et al. 2019, figure 2); a model without
segments gets two separators between A and B, as RoBERTa does.  A kind is one class here; nothing else knows its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from bertsmith.data.batch import Batch, Stream, Target
from bertsmith.errors import InputError, nearest, printable
from bertsmith.tasks import metrics
from bertsmith.tasks.readers import Table

OnLong = Literal["truncate", "window", "error"]
ON_LONG = ("truncate", "window", "error")


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What training learned about its labels, and every later file must agree with: the classes, or the scale of the numbers."""

    names: tuple[str, ...] = ()
    mean: float = 0.0
    scale: float = 1.0


class Kind(Protocol):
    name: str
    best: str  # the score of the dev file that chooses the checkpoint

    def learn(self, table: Table, names: tuple[str, ...] = ()) -> Labels: ...
    def targets(self, table: Table, labels: Labels) -> np.ndarray: ...
    def objective(self, labels: Labels, dropout: float, pool: str) -> Any: ...
    def answer(self, logits: np.ndarray, labels: Labels) -> list[tuple[Any, dict[str, float]]]: ...
    def score(
        self, targets: np.ndarray, logits: np.ndarray, labels: Labels, seed: int = 0
    ) -> dict[str, metrics.Score]: ...
    def correct(self, targets: np.ndarray, logits: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Classes:
    """One of several names.  Names are sorted (as numbers where all are); with two of them the last is the positive one."""

    name: str = "classify"
    best: str = "accuracy"

    def learn(self, table: Table, names: tuple[str, ...] = ()) -> Labels:
        found = list(dict.fromkeys(_names(table)))
        if names:
            self.targets(table, Labels(names=tuple(names)))
        elif len(found) < 2:
            raise InputError(
                f"{printable(table.path)}: label: every row says {printable(found[0])!r}; a classifier needs at least two classes"
            )
        elif len(found) > max(100, len(table) // 2):
            raise InputError(
                f"{printable(table.path)}: label: {len(found)} different labels in {len(table)} rows; are these numbers? --task regress, or another --columns label="
            )
        whole = all(name.lstrip("-").isascii() and name.lstrip("-").isdigit() for name in found)
        return Labels(names=tuple(names) or tuple(sorted(found, key=(lambda n: (int(n), n)) if whole else None)))

    def targets(self, table: Table, labels: Labels) -> np.ndarray:
        """(n,) int64."""
        known = {name: i for i, name in enumerate(labels.names)}
        found = np.empty(len(table), np.int64)
        for i, name in enumerate(_names(table)):
            if name not in known:
                allowed = ", ".join(printable(n, 40) for n in labels.names[:20]) + (
                    ", …" if len(labels.names) > 20 else ""
                )
                raise InputError(f'{table.where(i)}: label: "{printable(name, 60)}" is not one of: {allowed}')
            found[i] = known[name]
        return found

    def objective(self, labels: Labels, dropout: float, pool: str) -> Any:
        from bertsmith.objectives.supervised import Classify

        return Classify(classes=len(labels.names), dropout=dropout, pool=pool)

    def answer(self, logits: np.ndarray, labels: Labels) -> list[tuple[str, dict[str, float]]]:
        """(n, c) -> for each text its class and the probability of every class."""
        shifted = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
        shares = shifted / shifted.sum(1, keepdims=True)
        return [(labels.names[int(row.argmax())], dict(zip(labels.names, row.tolist(), strict=True))) for row in shares]

    def score(self, targets: np.ndarray, logits: np.ndarray, labels: Labels, seed: int = 0) -> dict[str, metrics.Score]:
        return metrics.classification(targets, logits.argmax(1), len(labels.names), seed)

    def correct(self, targets: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """(n,) 1.0 where the answer is right: what `metrics.paired` compares."""
        return (logits.argmax(1) == targets).astype(np.float64)


@dataclass(frozen=True)
class Numbers:
    """A number.  Trained on (number - mean) / deviation of the training file, so that the learning rate fits every scale."""

    name: str = "regress"
    best: str = "pearson"

    def learn(self, table: Table, names: tuple[str, ...] = ()) -> Labels:
        if names:
            raise InputError("labels: --task regress has numbers, not classes")
        numbers = _numbers(table)
        scale = float(numbers.std())
        if not scale > 0:
            raise InputError(
                f"{printable(table.path)}: label: every row says {numbers[0]:g}; there is nothing to learn"
            )
        return Labels(mean=float(numbers.mean()), scale=scale)

    def targets(self, table: Table, labels: Labels) -> np.ndarray:
        """(n,) float32."""
        return ((_numbers(table) - labels.mean) / labels.scale).astype(np.float32)

    def objective(self, labels: Labels, dropout: float, pool: str) -> Any:
        from bertsmith.objectives.supervised import Regress

        return Regress(dropout=dropout, pool=pool)

    def answer(self, logits: np.ndarray, labels: Labels) -> list[tuple[float, dict[str, float]]]:
        values = (logits[:, 0].astype(np.float64) * labels.scale + labels.mean).tolist()
        return [(value, {"value": value}) for value in values]

    def score(self, targets: np.ndarray, logits: np.ndarray, labels: Labels, seed: int = 0) -> dict[str, metrics.Score]:
        return metrics.regression(targets, logits[:, 0], seed)

    def correct(self, targets: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """(n,) minus the squared error, in the scale of training."""
        return -((logits[:, 0] - targets).astype(np.float64) ** 2)


KINDS: dict[str, Kind] = {kind.name: kind for kind in (Classes(), Numbers())}


def kind(name: str) -> Kind:
    if name not in KINDS:
        raise InputError(f"--task {printable(name)}: unknown; {nearest(name, KINDS)}")
    return KINDS[name]


def _names(table: Table) -> list[str]:
    """Labels as text.  In .jsonl a class is a string or a whole number, the same of the two in all rows."""
    values = table.columns["label"]
    first = type(values[0])
    for i, value in enumerate(values):
        if isinstance(value, (bool, float)):
            raise InputError(
                f"{table.where(i)}: label: {value!r} is not a class; write it as a string, or use --task regress for numbers"
            )
        if type(value) is not first:
            raise InputError(
                f"{table.where(i)}: label: {value!r} here and {values[0]!r} in line {table.lines[0]}: strings or whole numbers, not both"
            )
        if value == "":
            raise InputError(f"{table.where(i)}: label: is empty")
    return [str(value) for value in values]


def _numbers(table: Table) -> np.ndarray:
    found = np.empty(len(table), np.float64)
    text = (
        not table.path.lower()
        .removesuffix(".gz")
        .removesuffix(".xz")
        .removesuffix(".zst")
        .endswith((".jsonl", ".json"))
    )
    for i, value in enumerate(table.columns["label"]):
        try:
            if isinstance(value, bool) or (isinstance(value, str) and (not text or "_" in value)):
                raise ValueError
            found[i] = float(value)
        except (ValueError, OverflowError):
            raise InputError(f"{table.where(i)}: label: {printable(repr(value), 60)} is not a number") from None
        if not np.isfinite(found[i]):
            raise InputError(f"{table.where(i)}: label: {printable(value, 60)} is not a finite number")
    return found


# -- texts to sequences -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """w sequences in flat arrays; `owner[i]` is the row of the table that sequence i came from (several where texts are windowed)."""

    tokens: np.ndarray  # (n,) int32
    segments: np.ndarray  # (n,) uint8
    lengths: np.ndarray  # (w,) int64
    owner: np.ndarray  # (w,) int64
    rows: int
    counts: dict[str, int]  # texts, tokens, long, cut (tokens), windows

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, which: np.ndarray, targets: np.ndarray | None = None) -> Batch:
        """The sequences `which` as one flat row, in this order; `targets` (rows,) become the labels asked at each [CLS]."""
        offsets = np.concatenate([[0], np.cumsum(self.lengths)])
        lengths = self.lengths[which]
        first = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
        positions = np.arange(int(lengths.sum())) - np.repeat(first, lengths)
        flat = np.repeat(offsets[which], lengths) + positions
        zeros = np.zeros(len(flat), np.int64)
        stream = Stream(
            tokens=self.tokens[flat].astype(np.int64),
            positions=positions,
            segments=self.segments[flat].astype(np.int64),
            query_rank=zeros,
            key_rank=zeros,
            lengths=tuple(lengths.tolist()),
        )
        asked = {} if targets is None else {"label": Target(at=first[:, None], labels=targets[self.owner[which]])}
        return Batch(input=stream, targets=asked, examples=tuple((0, int(i)) for i in self.owner[which]))

    def by_length(self, budget: int) -> list[np.ndarray]:
        """All sequences, longest first, cut into groups of at most `budget` tokens (or one sequence)."""
        order = np.argsort(-self.lengths, kind="stable")
        groups, start, used = [], 0, 0
        for end, length in enumerate(self.lengths[order].tolist()):
            if end > start and used + length > budget:
                groups.append(order[start:end])
                start, used = end, 0
            used += length
        return [*groups, order[start:]]

    def mean_of_windows(self, values: np.ndarray) -> np.ndarray:
        """(w, c) -> (rows, c): the mean over the windows of each text."""
        total = np.zeros((self.rows, values.shape[1]), np.float64)
        np.add.at(total, self.owner, values)
        return (total / np.bincount(self.owner, minlength=self.rows)[:, None]).astype(values.dtype)


def encode(
    tokenizer: Any,
    texts: list[str],
    seconds: list[str] | None = None,
    *,
    length: int,
    segments: int,
    on_long: OnLong = "truncate",
    where=None,
) -> Encoded:
    """`length` counts the special tokens.  `where(i)` names row i in the error that `on_long="error"` raises.

    window: the longer text slides through windows that overlap by a quarter, the other one stays (cut to half the room if longer).
    """
    if on_long not in ON_LONG:
        raise InputError(f"--on-long {printable(on_long)}: unknown; {nearest(on_long, ON_LONG)}")
    between = 1 if segments or seconds is None else 2
    room = length - 2 - (0 if seconds is None else between)
    if room < (1 if seconds is None else 2):
        raise InputError(f"length: {length} tokens leave no room for the text beside the special ones")
    vocab = tokenizer.vocab
    cls, sep = np.array([vocab.cls], np.int32), np.array([vocab.sep], np.int32)
    first = [np.asarray(ids, np.int32) for ids, _ in tokenizer.encode(texts)]
    second = (
        [None] * len(first) if seconds is None else [np.asarray(ids, np.int32) for ids, _ in tokenizer.encode(seconds)]
    )
    counts = {"texts": len(texts), "tokens": 0, "long": 0, "cut": 0, "windows": 0}
    tokens, marks, owner = [], [], []
    for i, (a, b) in enumerate(zip(first, second, strict=True)):
        size = len(a) + (0 if b is None else len(b))
        views = [(a, b)]
        if size > room:
            counts["long"] += 1
            if on_long == "error":
                at = where(i) if where else f"text {i}"
                raise InputError(
                    f"{at}: {size + length - room} tokens, and the model takes {length}; --on-long truncate cuts and counts, --on-long window reads all of it"
                )
            views, cut = _windows(a, b, room) if on_long == "window" else _truncated(a, b, room)
            counts["cut"] += cut
        for a_view, b_view in views:
            parts = [cls, a_view, sep] if b_view is None else [cls, a_view, *[sep] * between, b_view, sep]
            tokens.append(np.concatenate(parts))
            ones = 0 if b_view is None or not segments else len(b_view) + 1
            marks.append(np.concatenate([np.zeros(len(tokens[-1]) - ones, np.uint8), np.ones(ones, np.uint8)]))
            owner.append(i)
        counts["windows"] += len(views)
    lengths = np.array([len(t) for t in tokens], np.int64)
    counts["tokens"] = int(lengths.sum())
    flat = np.concatenate(tokens) if tokens else np.zeros(0, np.int32)
    return Encoded(
        tokens=flat,
        segments=np.concatenate(marks) if marks else np.zeros(0, np.uint8),
        lengths=lengths,
        owner=np.array(owner, np.int64),
        rows=len(texts),
        counts=counts,
    )


def kept(a: int, b: int, room: int) -> tuple[int, int]:
    """Lengths after the longer one gave up its last token, ties from the second, until both fit (BERT's run_classifier)."""
    if a + b <= room:
        return a, b
    if b <= room // 2:
        return room - b, b
    if a <= room - room // 2:
        return a, room - a
    return room - room // 2, room // 2


def _truncated(a, b, room: int):
    if b is None:
        return [(a[:room], None)], len(a) - room
    keep_a, keep_b = kept(len(a), len(b), room)
    return [(a[:keep_a], b[:keep_b])], len(a) + len(b) - room


def _windows(a, b, room: int):
    """All windows of the longer text, and how many tokens of the other one none of them shows."""
    if b is None:
        return [(part, None) for part in _slide(a, room)], 0
    if len(a) > len(b):
        fixed = b[: room // 2]
        return [(part, fixed) for part in _slide(a, room - len(fixed))], len(b) - len(fixed)
    fixed = a[: room // 2]
    return [(fixed, part) for part in _slide(b, room - len(fixed))], len(a) - len(fixed)


def _slide(ids: np.ndarray, size: int) -> list[np.ndarray]:
    """Windows of `size`, each starting three quarters after the one before; the last one ends with the text."""
    step = max(1, size - size // 4)
    starts = list(range(0, max(1, len(ids) - size), step)) + ([len(ids) - size] if len(ids) > size else [])
    return [ids[s : s + size] for s in dict.fromkeys(starts)]


def say_long(counts: dict[str, int], name: str, length: int, on_long: str, say) -> None:
    """What over-long texts came to; silent where there are none."""
    if counts["long"]:
        share = f"{counts['long']:,} of {counts['texts']:,} texts ({counts['long'] / counts['texts']:.1%}) are longer than {length} tokens"
        rest = f"; read in {counts['windows']:,} windows" if on_long == "window" else ""
        say(f"{name}: {share}{rest}; {counts['cut']:,} tokens cut")
