"""The official files of a benchmark: which are there, whether they hold the columns they should, and which of their rows are left out.

A file is read where it lies.  Only where rows are left out (nobody agreed about their label, a text is empty, a line is known to be broken)
or are no plain columns (spans, lists of keywords) what is learned from is a copy: the other lines as they are.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bertsmith import files
from bertsmith.errors import InputError, nearest, printable
from bertsmith.spelling import amount, option
from bertsmith.tasks.benchmarks import Benchmark, Dev, Official, Source, Test
from bertsmith.tasks.lines import Lines
from bertsmith.tasks.readers import PACKED, json_object, suffix_of

LEFT = {"undecided": "without an agreed label", "empty": "without a text", "broken": "with another number of columns"}

UNASKED = "not asked for"


@dataclass(frozen=True, kw_only=True)
class Part:
    """A file that is there: what it holds, and its rows as they are used."""

    source: Any  # Source, Dev or Test
    path: Path
    rows: int = 0
    left: dict[str, int] = field(default_factory=dict)  # rows that are left out, by why
    indices: tuple[Any, ...] = ()  # of a test: what its rows are called
    lines: tuple[str, ...] | None = None  # where they are not those of the file

    def placed(self, folder: Path, write: bool) -> Part:
        """The same as a file: where it lies, or a copy in `folder`, which is written or, by another process, will have been."""
        if self.lines is None:
            return self
        name = self.path.name
        for suffix in PACKED:
            name = name.removesuffix(suffix)
        if write:
            with files.writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
            files.write(folder / name, "".join(line + "\n" for line in self.lines).encode())
        return replace(self, path=folder / name, lines=None)

    def said(self) -> Iterator[str]:
        for why, count in self.left.items():
            yield f"{printable(self.path)}: {amount(count, 'row')} {LEFT[why]} left out"


@dataclass(frozen=True, kw_only=True)
class Present:
    """A task that can be learned: its training file and first dev file are there."""

    task: Official
    train: Part
    devs: tuple[Part, ...]
    tests: tuple[Part, ...]
    lacks: tuple[str, ...] = ()  # what is not there of the rest

    @property
    def parts(self) -> tuple[Part, ...]:
        return (self.train, *self.devs, *self.tests)

    def placed(self, folder: Path, write: bool = True) -> Present:
        """`folder`: where copies go."""
        devs, tests = (tuple(part.placed(folder, write) for part in parts) for parts in (self.devs, self.tests))
        return replace(self, train=self.train.placed(folder, write), devs=devs, tests=tests)


def chosen(benchmark: Benchmark, asked: Iterable[str]) -> list[Official]:
    """The tasks of that names (`rte,wnli`; case and hyphens aside), all where none is named, in the benchmark's order."""
    known = {_plain(folder): task.name for task in benchmark.tasks for folder in (task.name, *task.folders)}
    others = {_plain(name): name for name in benchmark.others}
    names = [name.strip() for names in asked for name in names.split(",") if name.strip()]
    for name in names:
        if _plain(name) in others:
            other = others[_plain(name)]
            raise InputError(f"{option('tasks', name)}: {other} is not run here; {benchmark.others[other]}")
        if _plain(name) not in known:
            raise InputError(
                f"{option('tasks', name)}: no such task; {nearest(name, [t.name for t in benchmark.tasks])}"
            )
    wanted = {known[_plain(name)] for name in names}
    return [task for task in benchmark.tasks if task.name in wanted or not names]


def present(folder: Path, benchmark: Benchmark, asked: Iterable[str]) -> tuple[list[Present], dict[str, str]]:
    """The tasks whose files are there, all of them read, and why the others are left out.

    InputError where a task is not there that is asked for by name, where none is, and for a file with other columns.
    """
    asked = tuple(asked)
    tasks, folders = chosen(benchmark, asked), _folders(folder)
    found, missing = [], {}
    for task in tasks:
        why = _lacking(task, folder, folders)
        if why and asked:
            raise InputError(f"{why}; {benchmark.name}'s {task.name} was asked for")
        if why:
            missing[task.name] = why
        else:
            found.append(_present(task, folders))
    missing |= {task.name: UNASKED for task in benchmark.tasks if task not in tasks}
    if not found:
        names = ", ".join(task.name for task in benchmark.tasks)
        raise InputError(
            f"{printable(folder)}: holds no task of {benchmark.name}; folders named {names} are looked for"
        )
    return found, missing


def _folders(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        what = "is a file; the folder with the tasks is wanted" if folder.exists() else "no such folder"
        raise InputError(f"{printable(folder)}: {what}")
    return {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_dir()}


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _lacking(task: Official, folder: Path, folders: dict[str, Path]) -> str:
    """What a task cannot do without and is not there."""
    own = next((folders[name.lower()] for name in task.folders if name.lower() in folders), None)
    if own is None:
        return f"{printable(folder)}: no folder {task.folders[0]}"
    needed = (task.train, task.devs[0])
    return next((f"{printable(own)}: no {s.names[-1]}" for s in needed if _located(s, task, folders) is None), "")


def _located(source: Source, task: Official, folders: dict[str, Path]) -> Path | None:
    places = [folders[name.lower()] for name in source.folders or task.folders if name.lower() in folders]
    paths = (place / f"{name}{suffix}" for place in places for name in source.names for suffix in ("", *PACKED))
    return next((path for path in paths if path.is_file()), None)


def _present(task: Official, folders: dict[str, Path]) -> Present:
    parts: dict[type, list[Part]] = {Dev: [], Test: []}
    lacks = []
    for source in (*task.devs, *task.tests):
        path = _located(source, task, folders)
        if path is not None:
            parts[type(source)].append(read(source, path, task))
        elif not (isinstance(source, Dev) and not source.counts):
            lacks.append(
                "/".join(("no " + source.folders[0], source.names[0]) if source.folders else ("no " + source.names[0],))
            )
    train = _located(task.train, task, folders)
    assert train is not None  # `_lacking` looked
    devs, tests = tuple(parts[Dev]), tuple(parts[Test])
    return Present(task=task, train=read(task.train, train, task), devs=devs, tests=tests, lacks=tuple(lacks))


# -- the rows of a file -------------------------------------------------------------------------------------------------------------


def read(source: Source, path: Path, task: Official) -> Part:
    """InputError naming the line that has not what `source` says."""
    rows = _json if suffix_of(path) in (".json", ".jsonl") else _table
    kept, indices, left, count, changed = [], [], Counter[str](), 0, False
    test = isinstance(source, Test)
    for line, cells, same in rows(source, path, task):
        why = "" if cells is None or test else _why(cells, task)
        if why:
            left[why] += 1
            continue
        kept.append(line)
        changed |= not same
        if cells is not None:
            count += 1
            indices.append(cells.get("index", count - 1))
    if not count:
        raise InputError(f"{printable(path)}: holds no rows of {task.name}")
    lines = tuple(kept) if changed or left else None
    return Part(
        source=source, path=path, rows=count, left=dict(left), indices=tuple(indices) if test else (), lines=lines
    )


def _why(cells: dict[str, Any], task: Official) -> str:
    """Why a labelled row is left out; "" where it is not."""
    if not cells:
        return "broken"
    if cells["label"] in task.undecided:
        return "undecided"
    return "" if all(str(cells[role]).strip() for role in ("text", "text2") if role in cells) else "empty"


Line = tuple[
    str, dict[str, Any] | None, bool
]  # the line, its cells (None: no row; {}: broken), whether it is as the file has it


def _wanted(source: Source) -> dict[str, str]:
    index = {"index": source.index} if isinstance(source, Test) and source.index else {}
    return {**source.columns, **index}


def _table(source: Source, path: Path, task: Official) -> Iterator[Line]:
    lines, wanted, broken = Lines(path), _wanted(source), task.broken and not isinstance(source, Test)
    places, width = {}, 0
    for number, line in lines:
        cells = line.split("\t")
        if not line.strip():
            yield line, None, True
        elif not width and source.header:
            names, width = [cell.strip() for cell in cells], len(cells)
            for role, column in wanted.items():
                if column not in names:
                    raise InputError(_other(lines.at(number), column, names, task))
                places[role] = names.index(column)
            yield line, None, True
        else:
            if not width:
                places, width = {role: int(column) - 1 for role, column in wanted.items()}, len(cells)
                if max(places.values()) >= width:
                    what = f"{amount(width, 'column')}, where {task.name} has its text in column {wanted['text']}"
                    raise InputError(f"{lines.at(number)}: {what}")
            if len(cells) != width and not broken:
                raise InputError(f"{lines.at(number)}: {amount(len(cells), 'column')}, and {width} in the first line")
            yield line, {role: cells[at] for role, at in places.items()} if len(cells) == width else {}, True


def _json(source: Source, path: Path, task: Official) -> Iterator[Line]:
    lines, wanted = Lines(path), _wanted(source)
    for number, line in lines:
        if not line.strip():
            yield line, None, True
            continue
        row = json_object(line, lines.at(number))
        row = row if task.made is None else task.made(row, lines.at(number))
        for column in wanted.values():
            if column not in row:
                raise InputError(_other(lines.at(number), column, [*row], task))
        shown = line if task.made is None else json.dumps(row, ensure_ascii=False)
        yield shown, {role: row[column] for role, column in wanted.items()}, task.made is None


def _other(where: str, column: str, names: list[str], task: Official) -> str:
    there = ", ".join(printable(name, 40) for name in names[:20])
    return f"{where}: no column {column!r}, which {task.name} has; there are: {there}"
