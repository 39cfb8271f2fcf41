"""The files of a labelled task, or rows in their place, and what they hold; no tokenizer has seen them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from bertsmith import files
from bertsmith.data.batch import IGNORE
from bertsmith.downstream.dev_rows import check_folds, drawn
from bertsmith.errors import InputError, nearest, printable
from bertsmith.spelling import amount, option
from bertsmith.tasks import kinds
from bertsmith.tasks.given import Given, source
from bertsmith.tasks.hub_rows import named
from bertsmith.tasks.labels import Labels
from bertsmith.tasks.outlines import small
from bertsmith.tasks.readers import parse_columns, say_notes
from bertsmith.tasks.reading import OnLong
from bertsmith.tasks.split import Few, Fold, first, share_of
from bertsmith.text.encodings import checked

PARTS = ("train", "dev")
OnBadAnswer = Literal["error", "mend", "skip"]
ASKING = ("template", "target", "target_step", "metric")  # options of tasks whose answers are written
ON_BAD_ANSWER = ("error", "mend", "skip")
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Files:
    """Where a task's rows are (files, or rows as tasks/given.py takes them), and how they are read; `labels`: all classes there are, where the training file need not hold every one."""

    task: str  # "classify", "multilabel", "ordinal", "regress", "choice", "tag", "qa", "text2text", "similarity", "retrieval", "relation", "typing"
    train: Any
    dev: Any  # rows of their own, or a share of those to train on: 0.1
    columns: str | Mapping[str, str | int] | None = None
    header: bool = True
    encoding: str = "utf-8"  # of files
    labels: tuple[str, ...] = ()
    on_long: OnLong | None = None  # None: truncate for texts as a whole, window where each token is read
    allow_unknown: bool = False  # accept that more than 5 % of the tokens of a file are [UNK]
    on_bad_answer: OnBadAnswer = (
        "error"  # of the training file's answers that do not stand where it says (qa), of its spans within others (tag)
    )
    template: str | None = (
        None  # text2text: what is read, "premise: {premise} hypothesis: {hypothesis}"; None: the column text
    )
    target: str | None = None  # text2text: what is to be written, "{label}"; None: the column label
    target_step: float | None = None  # text2text: of which the numbers of targets become multiples
    metric: str | None = None  # text2text: the score that chooses the step
    teacher: tuple[Any, ...] = ()  # fine-tuned models, of whom training rows without a label are learned
    few: Few | None = None  # of the training rows, what a learning curve gives

    def __post_init__(self) -> None:
        kind = self.kind
        columns = parse_columns(self.columns, kind.roles)
        checked(self.encoding)
        for part in PARTS[: 1 if self.part is not None else 2]:
            lacking = part == "train" and bool(self.teacher)
            rows = named(getattr(self, part), part, columns, kind, lacking)
            fields = kind.fields + tuple(role for role in ("group",) if role in columns)
            rows = source(rows, part, columns, fields=fields, pair=kind.pair)
            object.__setattr__(self, part, rows)

    @property
    def kind(self) -> kinds.Kind:
        """The task, as it is asked for."""
        found: Any = kinds.kind(self.task)
        given = {name: getattr(self, name) for name in ASKING if getattr(self, name) is not None}
        if found.writes:
            return found.asking(**given)
        for name in given:
            raise InputError(f"{option(name)}: {option('task', self.task)} has none; {option('task', 'text2text')} has")
        return found

    @property
    def part(self) -> float | Fold | None:
        """Of the training rows that is the dev set, a share or a fold; None where that has rows of its own."""
        return self.dev if isinstance(self.dev, Fold) else share_of(self.dev)

    def fold(self, number: int, of: int) -> Files:
        """The same, with one part of the training rows as the dev set."""
        return replace(self, dev=Fold(number, of))

    def check_apart(self) -> None:
        """InputError where both hold the same bytes."""
        if self.part is not None:
            return
        paths = self.train, self.dev
        if all(isinstance(path, Given) for path in paths) and self.train.sha256 == self.dev.sha256:
            raise InputError("dev: holds the same rows as train; a score on texts that were trained on says nothing")
        if any(isinstance(path, Given) for path in paths):
            return
        if not all(os.path.isfile(path) for path in paths):
            return
        if os.path.samefile(*paths) or files.sha256(self.train) == files.sha256(self.dev):
            raise InputError(
                f"{printable(self.dev)}: {option('dev')} holds the same bytes as {option('train')}; a score on texts that were trained on says nothing"
            )


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A task's rows as they stand in its files; no tokenizer has seen them."""

    kind: kinds.Kind
    known: Labels
    columns: dict[str, str]
    rows: dict[str, Any]  # by part
    targets: dict[str, Any]
    sources: dict[str, dict[str, Any]]  # what config.json says of each part
    soft: Any = None  # what teachers say of the training rows (downstream/teachers.py)
    numbers: np.ndarray | None = None  # of the dev rows in the training file, where they are of it

    @classmethod
    def read(cls, given: Files, say: Say) -> Rows:
        """InputError naming file and line of what cannot be learned from."""
        kind = given.kind
        chosen = parse_columns(given.columns, kind.roles)
        paths = {"train": given.train, **({} if given.part else {"dev": given.dev})}
        how = {"columns": chosen or None, "header": given.header, "encoding": given.encoding}
        rows = {
            part: kind.read(path, **how, labelled=part == "dev" or not (given.teacher and may_lack(kind)))
            for part, path in paths.items()
        }
        for path in paths.values():
            for note in path.notes if isinstance(path, Given) else ():
                say(note)
        rows["train"] = _mended(kind, rows["train"], given.on_bad_answer)
        for part, read in rows.items():
            say_notes(read, say)
            kind.check(read, part)
        from bertsmith.downstream.teachers import labels_of

        theirs = labels_of(given.teacher, kind) if given.teacher else None
        have = _labelled(rows["train"]) if theirs is not None and may_lack(kind) else [*range(len(rows["train"]))]
        if theirs is not None and not have:
            known, share, numbers = theirs, {}, None
        else:
            names = given.labels or (theirs.names if theirs is not None else ())
            known, share, numbers = kind.learn(_having(rows["train"], have), names), {}, None
        if given.part:
            _check_part(given, rows["train"], have)
            kind.check(rows["train"], "dev")  # some of them will be
            if isinstance(given.part, Fold):
                check_folds(kind, rows["train"], known, given.part.of)
            rows, share, numbers = _divided(kind, rows["train"], given.part, say)
            known = kind.learn(rows["train"], known.names)  # a class that is rare may be in one part only
        if rows["train"].pairs != rows["dev"].pairs and not kind.embeds:
            raise InputError(
                f"{printable(given.dev)}: text2: pairs in one of train and dev only; {option('columns')} says which columns are read"
            )
        found = cls.of(given, kind, known, chosen, rows, share, numbers)
        if given.teacher:
            from bertsmith.downstream.unseen import check_teachers

            check_teachers(given.teacher, found.sources)
        for line in (*_told(kind, found.sources), *small(found.sources, kind.unit)):
            say(line)
        _say_overlap(rows, say)
        return found if given.few is None else found.fewer(given.few)

    @classmethod
    def of(
        cls, given: Files, kind: Any, known: Labels, columns: dict[str, str], rows: Any, share: Any, numbers: Any
    ) -> Rows:
        """With what is true of each row, and what config.json says of each part; `share`: of how the dev rows were drawn."""
        paths = {"train": given.train, **({} if given.part else {"dev": given.dev})}
        targets = {part: _targets(kind, read, known, part) for part, read in rows.items()}
        outlines = {part: _outline(kind, read, known, part) for part, read in rows.items()}
        sources = {part: {"path": _path(path), "sha256": _sha256(path)} for part, path in paths.items()}
        sources = {part: {**sources.get(part, share), **outlines[part]} for part in PARTS}
        return cls(
            kind=kind, known=known, columns=columns, rows=rows, targets=targets, sources=sources, numbers=numbers
        )

    def fewer(self, few: Few) -> Rows:
        """The same dev rows, and some of the training rows, of which what is not a name of a label is learned again."""
        which = first(few, self.kind.strata(self.rows["train"])[1])
        rows = {**self.rows, "train": self.rows["train"].picked(which.tolist())}
        have = _labelled(rows["train"])
        known = self.kind.learn(_having(rows["train"], have), self.known.names) if have else self.known
        targets = {part: _targets(self.kind, read, known, part) for part, read in rows.items()}
        outline = _outline(self.kind, rows["train"], known)
        train = {name: self.sources["train"][name] for name in ("path", "sha256")} | {"few": asdict(few), **outline}
        sources = {**self.sources, "train": train}
        soft = None if self.soft is None else self.soft.picked(which.tolist())
        return replace(self, known=known, rows=rows, targets=targets, sources=sources, soft=soft)


def may_lack(kind: Any) -> bool:
    """Whether a row of its files may stand there without a label, for a teacher to answer."""
    return getattr(kind, "lacking", False)


def _labelled(rows: Any) -> list[int]:
    """Numbers of the rows that have a label."""
    if not hasattr(rows, "columns"):
        return [*range(len(rows))]
    empty = lambda value: value is None or (isinstance(value, str) and not value.strip())
    return [i for i, value in enumerate(rows.rows("label") or ()) if not empty(value)]


def _having(rows: Any, have: list[int]) -> Any:
    return rows if len(have) == len(rows) else rows.picked(have)


def _targets(kind: Any, rows: Any, known: Labels, part: str) -> Any:
    """What is true of each row, IGNORE of one without a label, which a teacher answers."""
    if part != "train" or not may_lack(kind) or len(have := _labelled(rows)) == len(rows):
        return kind.targets(rows, known)
    true = kind.targets(rows.picked(have), known) if have else np.zeros(0, np.int64)
    found = np.full(len(rows), IGNORE, true.dtype)
    found[have] = true
    return found


def _outline(kind: Any, rows: Any, known: Labels, part: str = "train") -> dict[str, Any]:
    have = _labelled(rows) if part == "train" and may_lack(kind) else [*range(len(rows))]
    lacking = {} if len(have) == len(rows) else {"unlabelled": len(rows) - len(have)}
    return {"rows": len(rows), **lacking, **(kind.outline(_having(rows, have), known) if have else {})}


def _path(path: Any) -> str | None:
    """None of rows that were given in Python."""
    return path.origin if isinstance(path, Given) else str(path)


def _sha256(path: Any) -> str:
    return path.sha256 if isinstance(path, Given) else files.sha256(path)


def _told(kind: Any, sources: dict[str, Any]) -> Iterator[str]:
    """What the files hold, and how many rows only teachers answer."""
    train = sources["train"]
    if train.get("unlabelled"):
        yield f"train: {train['unlabelled']:,} of {amount(train['rows'], 'row')} without a label: a teacher says what is learned of them"
    if train.get("unlabelled") != train["rows"]:
        yield from kind.told(sources)


def _check_part(given: Files, rows: Any, have: list[int]) -> None:
    if len(have) < len(rows):
        raise InputError(
            f"{option('dev', printable(given.dev, 40))}: {len(rows) - len(have):,} of the training rows have no label to be scored by; name a file"
        )


def _mended(kind: kinds.Kind, rows: Any, how: str) -> Any:
    if how not in ON_BAD_ANSWER:
        raise InputError(f"{option('on_bad_answer', how)}: unknown; {nearest(how, ON_BAD_ANSWER)}")
    if how == "error":
        return rows
    if not hasattr(kind, "mended"):
        raise InputError(
            f"{option('on_bad_answer', how)}: {option('task', kind.name)} has no places in texts; {option('task', 'qa', 'tag')} has"
        )
    return kind.mended(rows, how)


def _divided(
    kind: kinds.Kind, rows: Any, part: float | Fold, say: Say
) -> tuple[dict[str, Any], dict[str, Any], np.ndarray]:
    """Training and dev rows, what config.json says of how the latter were drawn, and their numbers."""
    dev, by, digest = drawn(kind, rows, part)
    name = printable(rows.path)
    if not len(dev):
        raise InputError(
            f"{option('dev', part)}: {name}: {amount(len(rows), kind.unit.removesuffix('s'))} with {amount(len(set(kind.groupings(rows)[-1][1])), 'different text')} cannot be divided; {option('dev', like='FILE')} names others"
        )
    train = np.delete(np.arange(len(rows)), dev)
    say(f"dev: {len(dev):,} of {amount(len(rows), kind.unit.removesuffix('s'))} of {name}, drawn {by}")
    how = {"fold": asdict(part)} if isinstance(part, Fold) else {"share": part}
    said = {"path": _path(rows.path), **how, "sha256": digest}
    return {"train": rows.picked(train.tolist()), "dev": rows.picked(dev.tolist())}, said, dev


def _say_overlap(rows: dict[str, Any], say: Say) -> None:
    seen = frozenset(rows["train"].inputs())
    both = sum(row in seen for row in rows["dev"].inputs())
    if both:
        say(
            f"warning: {both} of the {amount(len(rows['dev']), 'dev text')} {'stands' if both == 1 else 'stand'} in the training file too"
        )
