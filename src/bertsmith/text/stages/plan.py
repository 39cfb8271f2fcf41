"""What all tasks of one `prepare` need to know: a JSON file of its work folder, by which a later call knows that it may go on."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from bertsmith import files, spelling
from bertsmith.errors import InputError, printable
from bertsmith.spelling import flag
from bertsmith.text.account import Options
from bertsmith.text.bad_words import BadWords
from bertsmith.text.clean import Rules
from bertsmith.text.encode import Reading
from bertsmith.text.sources import Source
from bertsmith.text.spoken import Spoken

FORMAT = 1
UNIT = 32 << 20
NAME = "plan.json"
ACROSS = ("duplicates", "near-duplicates", "repeated")  # rules that look at other pages


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`asked`: what else the units depend on, for a comparison alone; `home`: where relative names of sources begin."""

    sources: tuple[Source, ...]
    options: Options
    reading: Reading
    rules: Rules | None = None
    samples: bool = False  # of what cleaning takes
    asked: dict[str, Any]
    hashes: str = ""  # a file of those of pages that were seen before
    keeps: bool = False  # whether those of all pages are kept
    memory: int  # bytes that they are looked up in
    unit: int  # characters of a unit of work, and what its last document is longer
    home: str = ""
    typed: bool = False  # whether messages name options as the command does

    @property
    def across(self) -> bool:
        return self.rules is not None and looks_across(self.rules)

    def save(self, work: Path) -> None:
        rules = self.rules and {
            "names": self.rules.names,
            "bad": self.rules.bad and self.rules.bad.words,
            "spoken": self.rules.spoken and self.rules.spoken.code,
            "language": self.rules.language,
            "lines": self.rules.lines,
        }
        tree = {field.name: getattr(self, field.name) for field in fields(self)} | {
            "sources": [asdict(source) for source in self.sources],
            "options": asdict(self.options),
            "reading": asdict(self.reading),
            "rules": rules,
        }
        files.write(work / NAME, files.sealed({"kind": "plan", "format": FORMAT, **tree}))
        os.chmod(work / NAME, 0o600)  # a URL may say who asks

    def differs(self, before: Plan) -> str:
        """What a unit depends on and was otherwise; "" where nothing was."""
        for name, (now, then) in {
            "sources": ([_known(s) for s in self.sources], [_known(s) for s in before.sources]),
            **_pairs(self.options, before.options),
            **_pairs(self.reading, before.reading),
            "clean": (self.rules, before.rules),
            "clean_sample": (self.samples, before.samples),
        }.items():
            if now != then:
                return name
        keys = {*self.asked, *before.asked}
        return next((key for key in sorted(keys) if self.asked.get(key) != before.asked.get(key)), "")


def looks_across(rules: Rules) -> bool:
    return any(name in ACROSS for name in rules.names)


def load(work: Path) -> Plan:
    """InputError where there is none, where it is damaged or a newer one."""
    path = work / NAME
    data = files.plain(path)
    if data is None:
        raise InputError(f"{printable(path)}: missing; nothing was begun there")
    tree = files.unsealed(data, path)
    files.check_format(tree, path, FORMAT)
    rules = tree["rules"] and Rules(
        names=tuple(tree["rules"]["names"]),
        bad=tree["rules"]["bad"] and BadWords(tuple(tree["rules"]["bad"])),
        spoken=tree["rules"]["spoken"] and Spoken(tree["rules"]["spoken"]),
        language=tree["rules"]["language"],
        lines=tree["rules"]["lines"],
    )
    return Plan(
        sources=tuple(map(_source, tree["sources"])),
        options=Options(**tree["options"]),
        reading=Reading(**_tuples(tree["reading"])),
        rules=rules,
        **{name: tree[name] for name in ("samples", "asked", "hashes", "keeps", "memory", "unit", "home", "typed")},
    )


def planned(**about: Any) -> Plan:
    """The plan of this call.  InputError for rows, which no other process could read."""
    for source in about["sources"]:
        if source.kind == "rows":
            raise InputError(
                f"{printable(source.name)}: rows are in this process alone; write them to a file to prepare them in stages"
            )
    return Plan(**about, unit=UNIT, home=os.getcwd(), typed=spelling.is_typed())


def going_on(plan: Plan, before: Plan, work: Path) -> Plan:
    """`plan` with units as `before` cut them.  InputError where what they hold is not what they would hold now."""
    if name := plan.differs(before):
        raise InputError(
            f"{flag('resume')}: what stands in {printable(work)} was begun with another `{name}`; the same options go on, without {flag('resume')} all begins anew"
        )
    return replace(plan, unit=before.unit)


def here(source: Source) -> Source:
    """The source as this machine knows it: the number of a disk is each machine's own."""
    sides = tuple(map(here, source.sides))
    try:
        found = os.stat(source.name) if source.is_file else None
    except OSError:  # opening it says why
        found = None
    return replace(source, sides=sides, **({"inode": (found.st_dev, found.st_ino)} if found else {}))


def _known(source: Source) -> dict[str, Any]:
    return asdict(replace(source, inode=(0, 0), sides=tuple(replace(side, inode=(0, 0)) for side in source.sides)))


def _pairs(now: Any, then: Any) -> dict[str, tuple[Any, Any]]:
    return {field.name: (getattr(now, field.name), getattr(then, field.name)) for field in fields(now)}


def _source(tree: dict[str, Any]) -> Source:
    return _built(Source, tree)


def _built(kind: Any, value: Any) -> Any:
    """What `asdict` made JSON of; `kind`: a dataclass, or what a field of one may be."""
    if is_dataclass(kind) and isinstance(value, dict):
        hints = get_type_hints(kind)
        return kind(**{name: _built(hints[name], of) for name, of in value.items()})
    if isinstance(value, list):
        inside = get_args(kind)
        return tuple(_built(inside[0] if inside else Any, one) for one in value)
    inside = [part for part in get_args(kind) if is_dataclass(part)]  # Remote | None
    return _built(inside[0], value) if inside and isinstance(value, dict) else value


def _tuples(tree: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in tree.items()}
