"""What each frame of a sound is: stretches of files with a class, and frames whose middle lies in one are asked for it.

u utterances, p places (frames, or what a model stacks of them), c classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bertsmith.data.batch import IGNORE, Array
from bertsmith.errors import InputError, nearest, printable
from bertsmith.objectives.supervised import Tag
from bertsmith.spelling import amount, option
from bertsmith.tasks import breakdown, metrics, outlines
from bertsmith.tasks.given import Given
from bertsmith.tasks.labels import Labels
from bertsmith.tasks.looks import fitting
from bertsmith.tasks.readers import read
from bertsmith.tasks.reading import OnLong, Reading, Wide
from bertsmith.tasks.sequences import Asked, Builder, Encoded, pieces
from bertsmith.tasks.split import linked

ROLES = ("text", "start", "end", "label", "group")
Stretches = list[tuple[float, float, str]]


@dataclass(frozen=True, kw_only=True)
class Utterances:
    """Files of a table whose lines are stretches of them: `lines[i]` the first that names file i."""

    path: str | Given
    texts: list[str]
    stretches: list[Stretches]
    groups: list[str] | None
    lines: list[str]
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    pairs: ClassVar[bool] = False

    def __len__(self) -> int:
        return len(self.texts)

    def where(self, i: int) -> str:
        return self.lines[i]

    def inputs(self) -> list[Hashable]:
        return [(text,) for text in self.texts]

    def picked(self, which: Sequence[int]) -> Utterances:
        some = lambda values: [values[i] for i in which]
        groups = None if self.groups is None else some(self.groups)
        found = {name: some(getattr(self, name)) for name in ("texts", "stretches", "lines")}
        return replace(self, groups=groups, **found)


@dataclass(frozen=True, kw_only=True)
class Truth:
    """(u,) the stretches of each utterance, their classes as numbers."""

    stretches: list[list[tuple[float, float, int]]]

    def __len__(self) -> int:
        return len(self.stretches)

    def at(self, lengths: Array, times: Array) -> Array:
        """(p,) the class of each place by the second of its middle, or IGNORE, of utterances of `lengths` (u,) places."""
        found, first = np.full(len(times), IGNORE), 0
        for stretches, length in zip(self.stretches, lengths.tolist(), strict=True):
            own, here = times[first : first + length], found[first : first + length]
            for start, end, number in stretches:
                here[(own >= start) & (own < end)] = number
            first += length
        return found


@dataclass(frozen=True, kw_only=True)
class Said:
    """What is said of each place, (p, c), the second of its middle, (p,), and how many each utterance has, (u,)."""

    values: Array
    times: Array
    lengths: Array

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Frames:
    """One of several names for each frame of a sound; frames in no stretch are asked nothing."""

    name: str = "frames"
    units: str = "frames"
    long: OnLong = "error"
    term: str = "tag"
    pools: bool = False
    writes: ClassVar[bool] = False
    embeds: ClassVar[bool] = False
    hears: ClassVar[bool] = True
    simple: ClassVar[bool] = False
    texts: ClassVar[bool] = False  # whether its rows may be texts
    wide: ClassVar[Wide] = "none"
    settings: tuple[str, ...] = ()
    roles: ClassVar[tuple[str, ...]] = ROLES
    unit: str = "utterances"
    fields: tuple[str, ...] = ROLES[:4]
    pair: tuple[str, ...] = ("text",)

    def read(
        self,
        path: str | Path | Given,
        *,
        columns: Mapping[str, str] | None = None,
        header: bool = True,
        labelled: bool = True,
        pairs: bool | None = None,
        encoding: str = "utf-8",
    ) -> Utterances:
        """A line is a stretch of a file: `text`, `start`, `end` in seconds, `label`; without labels a line is a file."""
        wanted = ROLES[:4] if labelled else ROLES[:1]
        roles = (*wanted, *(("group",) if "group" in (columns or ()) else ()))
        columns = {role: column for role, column in (columns or {}).items() if labelled or role in roles}
        with fitting(path, self.name, encoding):
            table = read(path, columns=columns, header=header, required=wanted, encoding=encoding, roles=roles)
        found: dict[str, int] = {}
        texts, stretches, groups, lines = [], [], [], []
        for i, text in enumerate(table.columns["text"]):
            if text not in found:
                found[text] = len(found)
                texts.append(str(text))
                stretches.append([])
                lines.append(table.where(i))
                groups.append(str(table.columns["group"][i]) if "group" in table.columns else "")
            if labelled:
                stretches[found[text]].append(_stretch(table, i, stretches[found[text]]))
        given = groups if "group" in table.columns else None
        return Utterances(
            path=table.path,
            texts=texts,
            stretches=stretches,
            groups=given,
            lines=lines,
            counts=table.counts,
            notes=table.notes,
        )

    def check(self, rows: Utterances, part: str) -> None: ...

    def learn(self, rows: Utterances, names: tuple[str, ...] = ()) -> Labels:
        found = sorted({name for part in rows.stretches for _, _, name in part})
        if names:
            self.targets(rows, Labels(names=tuple(names)))
        elif len(found) < 2:
            raise InputError(
                f"{printable(rows.path)}: label: every stretch says {printable(''.join(found))!r}; at least two classes are wanted"
            )
        return Labels(names=tuple(names) or tuple(found))

    def groupings(self, rows: Utterances) -> list[tuple[str, Sequence[Hashable]]]:
        if rows.groups is None:
            return [("", rows.inputs())]
        return [(", rows of a group on one side", linked([rows.groups, rows.texts]))]

    def strata(self, rows: Utterances) -> tuple[str, Sequence[Hashable]]:
        return "at random", [""] * len(rows)

    def outline(self, rows: Utterances, labels: Labels) -> dict[str, Any]:
        many = Counter(name for part in rows.stretches for _, _, name in part)
        seconds = sum(end - start for part in rows.stretches for start, end, _ in part)
        return {"classes": {name: many[name] for name in labels.names}, "seconds": round(seconds, 3)}

    def told(self, found: outlines.Outlines) -> Iterator[str]:
        for part, one in found.items():
            many = outlines.counted(one["classes"])
            yield f"{part}: {amount(one['rows'], 'utterance')}, {one['seconds']:.1f} s with a class; stretches: {many}"
        yield from outlines.rare(found["train"]["classes"], found["dev"]["classes"], "classes", "stretches")

    def targets(self, rows: Utterances, labels: Labels) -> Truth:
        known = {name: i for i, name in enumerate(labels.names)}
        for i, part in enumerate(rows.stretches):
            for _, _, name in part:
                if name not in known:
                    raise InputError(f"{rows.where(i)}: label: {printable(name, 60)}: {nearest(name, known)}")
        return Truth(stretches=[[(start, end, known[name]) for start, end, name in part] for part in rows.stretches])

    def encode(self, tokenizer: Any, rows: Utterances, reading: Reading, pairs: bool | None = None) -> Encoded:
        """Each utterance a sequence, all of whose places are read; the key is (p,) the second of the middle of each."""
        if reading.on_long == "window":
            raise InputError(
                f"{option('on_long', 'window')}: each frame is read once here; {option('on_long', 'truncate')}, or a larger length"
            )
        builder, times = Builder(vocab=tokenizer.vocab, reading=reading, pairs=False), []
        beside = None if isinstance(rows.path, Given) else rows.path
        for i, frames in enumerate(pieces(tokenizer, rows.texts, reading, rows.where, beside)):
            end = reading.views(len(frames), builder.room, lambda i=i: rows.where(i))[0][1]
            builder.counts["long"] += len(frames) > builder.room
            builder.counts["cut"] += len(frames) - end
            builder.add(i, frames[:end], places=np.arange(end))
            first = (tokenizer.window + (reading.stack - 1) * tokenizer.hop) / 2
            times.append(first + np.arange(end) * reading.stack * tokenizer.hop)
        return builder.encoded(len(rows), key=np.concatenate(times))

    def asked(self, encoded: Encoded, targets: Truth) -> Asked:
        number = np.arange(len(encoded.places)) - np.repeat(encoded.offsets[:-1], encoded.reads)
        labels = targets.at(encoded.reads, encoded.key)
        if (labels == IGNORE).all():
            raise InputError("label: no frame's middle lies in a stretch; `start` and `end` are seconds")
        return Asked(term=self.term, labels=labels, at=number, each=encoded.reads).labelled

    def objective(self, labels: Labels, dropout: float, pool: str) -> Any:
        return Tag(classes=len(labels.names), dropout=dropout)

    def loss(self, encoded: Encoded, asked: Asked, values: Array) -> float:
        owner = np.repeat(np.arange(len(asked.each)), asked.each)
        return metrics.cross_entropy(values[encoded.offsets[owner] + asked.at], asked.labels)

    def said(self, encoded: Encoded, rows: Utterances, values: Array) -> Said:
        return Said(values=values, times=encoded.key, lengths=encoded.reads)

    def settled(self, targets: Truth, said: Said, labels: Labels) -> Labels:
        return labels

    def best(self, labels: Labels) -> str:
        return "accuracy"

    def score(
        self, targets: Truth, said: Said, labels: Labels, seed: int = 0, resamples: int = metrics.RESAMPLES
    ) -> dict[str, metrics.Score]:
        """Of the frames that are asked, resampled by utterance."""
        return metrics.tagging(*_counted(targets, said), None, seed, resamples)

    def figures(self, targets: Truth, said: Said, labels: Labels) -> metrics.Figures:
        return metrics.tag_figures(*_counted(targets, said), None)

    def breakdown(self, targets: Truth, said: Said, labels: Labels) -> dict[str, Any]:
        truth = targets.at(said.lengths, said.times)
        asked = truth != IGNORE
        return breakdown.of_words(truth[asked], said.values[asked].argmax(1), labels.names)

    def only(self, said: Said, labels: Labels, targets: Truth | None = None) -> str | None:
        chosen = said.values.argmax(1)
        if targets is not None:
            truth = targets.at(said.lengths, said.times)
            chosen, truth = chosen[truth != IGNORE], truth[truth != IGNORE]
            if len({*truth.tolist()}) == 1:
                return None
        at = breakdown.only(chosen.tolist())
        return None if at is None else labels.names[at]

    def baseline(self, rows: Any, targets: Any, labels: Labels) -> tuple[str, Any]:
        raise InputError(f"{option('task', self.name)}: there is no baseline of sound")

    def correct(self, targets: Truth, said: Said, labels: Labels | None = None) -> Array:
        """(u,) the share of each utterance's asked frames that are right."""
        right, many = _counted(targets, said)
        return right / np.maximum(many, 1)

    def right(self, targets: Truth, said: Said, labels: Labels) -> Array:
        return self.correct(targets, said) == 1

    def near(self, targets: Truth, said: Said, labels: Labels) -> Array:
        """(u,) the mean probability of the true classes."""
        truth = targets.at(said.lengths, said.times)
        true = np.exp(metrics.log_softmax(said.values))[np.arange(len(truth)), np.maximum(truth, 0)]
        return _sums(np.where(truth == IGNORE, 0, true), said.lengths) / np.maximum(_counted(targets, said)[1], 1)

    def stated(self, rows: Utterances, i: int, labels: Labels) -> dict[str, Any]:
        return {"text": rows.texts[i], "truth": [[*stretch] for stretch in rows.stretches[i]]}

    def beside(self, row: dict[str, Any], a: dict[str, Any], b: dict[str, Any]) -> tuple[str, str, str]:
        told = lambda spans: " ".join(f"{name} {start:.2f}-{end:.2f}" for start, end, name in spans)
        sides = ([(s["start"], s["end"], s["label"]) for s in answer["spans"]] for answer in (a, b))
        return (told(row["truth"]), *map(told, sides))  # type: ignore[return-value]

    def answer(self, rows: Utterances, said: Said, labels: Labels) -> list[dict[str, Any]]:
        """Of each utterance the class of each place and how likely it is, and runs of one class in seconds."""
        shares, found, first = np.exp(metrics.log_softmax(said.values)), [], 0
        for text, length in zip(rows.texts, said.lengths.tolist(), strict=True):
            part, times = shares[first : first + length], said.times[first : first + length]
            ids = part.argmax(1)
            step = float(times[1] - times[0]) if length > 1 else 2 * float(times[0])
            edges = [0, *(np.flatnonzero(np.diff(ids)) + 1).tolist(), length]
            spans = [
                {
                    "start": round(float(times[a]) - step / 2, 4),
                    "end": round(float(times[b - 1]) + step / 2, 4),
                    "label": labels.names[ids[a]],
                    "score": float(part[a:b, ids[a]].mean()),
                }
                for a, b in pairwise(edges)
            ]
            names = [labels.names[i] for i in ids.tolist()]
            found.append({"text": text, "label": names, "scores": part.max(1).tolist(), "spans": spans})
            first += length
        return found


def _stretch(table: Any, i: int, before: Stretches) -> tuple[float, float, str]:
    """InputError for seconds that are none, and for a stretch that overlaps another of its file."""
    seconds = []
    for role in ("start", "end"):
        value = table.columns[role][i]
        try:
            seconds.append(float(value))
        except (TypeError, ValueError):
            raise InputError(
                f"{table.where(i)}: {role}: {printable(repr(value), 40)} is not a number of seconds"
            ) from None
    start, end = seconds
    if not 0 <= start < end < float("inf"):
        raise InputError(f"{table.where(i)}: start {start:g}, end {end:g}: 0 <= start < end, in seconds, is wanted")
    other = next((one for one in before if one[0] < end and start < one[1]), None)
    if other is not None:
        raise InputError(
            f"{table.where(i)}: {start:g} to {end:g} overlaps {other[0]:g} to {other[1]:g} of the same file; a frame has one class"
        )
    return start, end, str(table.columns["label"][i])


def _sums(values: Array, lengths: Array) -> Array:
    """(u,)"""
    ends = np.concatenate([[0], np.cumsum(values)])
    return np.diff(ends[np.concatenate([[0], np.cumsum(lengths)])])


def _counted(targets: Truth, said: Said) -> tuple[Array, Array]:
    """(u,) frames of each utterance that are right, and those that are asked."""
    truth = targets.at(said.lengths, said.times)
    asked = truth != IGNORE
    return _sums(asked & (said.values.argmax(1) == truth), said.lengths), _sums(asked, said.lengths)
