"""The stages of one `prepare`, one after the other: which units are there, which are to be made, and what they are as a corpus."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bertsmith import files
from bertsmith.errors import InputError, ResourceError, printable, remade
from bertsmith.spelling import amount, flag, option
from bertsmith.text.account import Account
from bertsmith.text.cleaning import Asked, closed
from bertsmith.text.corpus import Document
from bertsmith.text.filling import Filling
from bertsmith.text.growing import HASHES
from bertsmith.text.stages import engines, plan
from bertsmith.text.stages.parts import Unit, added, documents, done, index, peak, place, write_index
from bertsmith.text.stages.work import DOCUMENTS, READ, TOKENIZER, encoded, error_of, tally_of
from bertsmith.text.tally import Tally

if TYPE_CHECKING:
    from bertsmith.text.tokenizer import Tokenizer

EVERY = 5.0  # seconds between progress lines
SAID = "tokenizer.json"  # beside its folder: what was told when it was made


@dataclass(slots=True)
class Corpus:
    """Documents of units; as corpus.Texts and cleaning.Cleaned."""

    work: Path
    units: list[Unit]
    account: Account
    tally: Tally | None = None
    hashes: Path | None = None  # of all pages that were seen

    def read(self) -> tuple[Iterator[Document], Account]:
        return documents(self.work, self.units), self.account


class Staged:
    """`work`: its folder, locked; `about`: the plan; `what`: is cleaned."""

    def __init__(
        self, work: Path, about: plan.Plan, what: Asked | None, engine: engines.Engine, say: Callable[[str], None]
    ):
        self.work, self.about, self.what, self.engine, self.say = work, about, what, engine, say

    def corpus(self) -> Corpus:
        """What is read and cleaned, made as far as it is not there."""
        made = Corpus(self.work, [], Account())
        if not (self.work / DOCUMENTS).exists():
            self._documents()
        told = files.unsealed(files.plain(self.work / "account.json"), self.work / "account.json")
        made.units, made.account = index(self.work / DOCUMENTS), added([told["account"]])
        if self.what:
            made.tally = tally_of(told["tally"])
            made.hashes = place(self.work, "duplicates", 0) / HASHES
            closed(made, sum(one.documents for one in made.units), self.what)
        return made

    def _documents(self) -> None:
        read = self._stage("read", len(self.about.sources))
        units, number = [], 0
        for source, said in enumerate(read):
            before = number
            for name, count, size in said["units"]:
                at = {"path": f"read/{source:06d}/{name}", "source": source, "documents": count, "bytes": size}
                units.append(Unit(**at, first=number, place=number - before + 1))
                number += count
        write_index(self.work / READ, units)
        told: dict[str, Any] = {"account": _tree(added([said["account"] for said in read]))}
        if self.what:
            units, told["tally"] = self._cleaned(units)
        files.write(self.work / "account.json", files.sealed(told))
        write_index(self.work / DOCUMENTS, units)
        if self.what:  # what they were made of
            shutil.rmtree(self.work / "read")
            if self.about.across:
                shutil.rmtree(self.work / "clean")

    def _cleaned(self, units: list[Unit]) -> tuple[list[Unit], dict[str, Any]]:
        found = self._stage("clean", len(units))
        tally = Tally(self.about.samples)
        for said in found:
            tally.merge(tally_of(said["tally"]))
        counts, where = [said["documents"] for said in found], "clean/{0:06d}/pages.jsonl"
        if self.about.across:
            (said,) = self._stage("duplicates", 1)
            tally.merge(tally_of(said["tally"]))
            counts, where = said["documents"], "duplicates/000000/{0:06d}.jsonl"
        kept, number = [], 0
        for i, (one, count) in enumerate(zip(units, counts, strict=True)):
            path = where.format(i)
            size = os.path.getsize(self.work / path)
            if count:
                at = {"path": path, "source": one.source, "documents": count, "bytes": size}
                kept.append(Unit(**at, first=number, place=1))
            number += count
        return kept, _tree(tally)

    def tokenizer(self) -> dict[str, Any] | None:
        """What was told of the one that was made; None where none was."""
        data = files.plain(self.work / SAID)
        return None if data is None else files.unsealed(data, self.work / SAID)

    def keep(self, tokenizer: Tokenizer, told: dict[str, Any]) -> None:
        tokenizer.save(self.work / TOKENIZER)
        files.write(self.work / SAID, files.sealed({"kind": "tokenizer", **told}))

    def fill(self, filling: Filling, corpus: Corpus) -> None:
        """Both splits, from units that are encoded."""
        found = self._stage("encode", len(corpus.units))
        begun = time.monotonic()
        filling.begin(self.about.reading.capitals)
        filling.read = added([_tree(corpus.account), *(said["account"] for said in found)])
        for number, (one, said) in enumerate(zip(corpus.units, found, strict=True)):
            made = place(self.work, "encode", number)
            points, counts = np.load(made / "characters.npy", allow_pickle=False).reshape(2, -1)
            filling.characters.counts[points] += counts
            for part, numbers, last in encoded(made, one, said["sums"]):
                filling.append(part, numbers, last, said["language"])
        filling.end()
        self._told("write", len(found), sum(said["bytes"] for said in found), time.monotonic() - begun, [peak()])

    def _stage(self, stage: str, count: int) -> list[dict[str, Any]]:
        """What the manifests of its units say, once all are made.  The error that ended one, or ResourceError naming it."""
        found = {n: said for n in range(count) if (said := done(place(self.work, stage, n))) is not None}
        missing = [n for n in range(count) if n not in found]
        if found and missing:
            self.say(f"{stage}: {len(found):,} of {amount(count, 'unit')} {'is' if len(found) == 1 else 'are'} there")
        for number in missing:
            error_of(self.work, stage, number).unlink(missing_ok=True)
        begun = spoken = time.monotonic()

        def tick() -> None:
            nonlocal spoken
            if (now := time.monotonic()) - spoken >= EVERY:
                spoken = now
                there = [n for n in missing if place(self.work, stage, n).is_dir()]
                self.say(f"{stage}: {len(found) + len(there):,} of {amount(count, 'unit')}, {now - begun:,.0f} s")

        if missing:
            self.engine.carry(self.work, stage, missing, tick)
        for number in missing:
            found[number] = done(place(self.work, stage, number)) or self._refuse(stage, missing)
        new = [found[number] for number in missing]
        peaks = [said["spent"]["peak"] for said in new]
        self._told(stage, len(new), sum(said["bytes"] for said in new), time.monotonic() - begun, peaks)
        return [found[number] for number in range(count)]

    def _refuse(self, stage: str, missing: list[int]) -> dict[str, Any]:
        left = [n for n in missing if done(place(self.work, stage, n)) is None]
        for number in left:
            if (data := files.plain(error_of(self.work, stage, number))) is not None:
                told = json.loads(data)
                more = f"; memory may be short: fewer {option('workers')} need less; {_again()}" * (told["code"] == 3)
                raise remade(told["code"], told["said"] + more)
        raise ResourceError(
            f"{amount(len(left), 'unit')} of stage {stage} not made, the first {left[0]}; {self.work / 'logs'} says more; {_again()}"
        )

    def _told(self, stage: str, units: int, size: int, seconds: float, peaks: list[float]) -> None:
        if units:
            rate = size / 1e6 / max(seconds, 1e-9)
            self.say(
                f"{stage}: {amount(units, 'unit')}, {size / 1e6:,.1f} MB in {seconds:,.1f} s, {rate:,.1f} MB/s; a process held {max(peaks):,.0f} MB at most"
            )


def _again() -> str:
    return f"the same again with {flag('resume')} goes on"


def _tree(value: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(value)


def folder_of(out: str | os.PathLike) -> Path:
    """Where units stand until the store is written: beside it."""
    final = Path(os.path.abspath(out))
    return final.with_name(f".{final.name}.work")


@contextmanager
def opened(
    out: str | os.PathLike,
    about: plan.Plan,
    what: Asked | None,
    *,
    resume: bool,
    engine: str | None,
    workers: int,
    tasks: int | None,
    retries: int,
    given: Mapping[str, str],
    say: Callable[[str], None],
) -> Iterator[Staged]:
    """The work folder is gone when the block has ended well; else what was made stays, for `resume`."""
    work = folder_of(out)
    with files.writing(work):
        work.mkdir(parents=True, exist_ok=True)
    with _locked(work):
        if resume and (work / plan.NAME).exists():
            about = plan.going_on(about, plan.load(work), work)
            say(f"prepare: going on with what stands in {printable(work)}")
            _swept(work, say)
        else:
            with files.writing(work):
                clear(work)
        about.save(work)
        by = engines.engine(engine, work, workers, tasks, retries, given)
        try:
            yield Staged(work, about, what, by, say)
        finally:
            by.close()
        shutil.rmtree(work)


def forget(out: str | os.PathLike) -> None:
    """Remove what an earlier call left for a store that is written now."""
    if (work := folder_of(out)).is_dir():
        with _locked(work):
            shutil.rmtree(work)


def clear(work: Path) -> None:
    for path in work.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _locked(work: Path) -> AbstractContextManager[None]:
    return files.locked(
        work, f"{printable(work)}: another process prepares there; wait for it, or choose another place"
    )


def _swept(work: Path, say: Callable[[str], None]) -> None:
    """Without what killed processes left half made, and without units whose files are not as written."""
    used = (
        {"encode", *(one.path.split("/")[0] for one in index(work / DOCUMENTS))}
        if (work / DOCUMENTS).exists()
        else None
    )
    for stage in ("read", "clean", "duplicates", "encode"):
        for path in sorted((work / stage).iterdir()) if (work / stage).is_dir() else ():
            if path.name.startswith(".") or (used is not None and stage not in used):
                shutil.rmtree(path)
            elif done(path, checked=True) is None:
                if used is not None and stage != "encode":
                    raise InputError(f"{printable(path)}: damaged; without {flag('resume')} all begins anew")
                say(f"{stage}: unit {int(path.name)} is not as it was written, and is made again")
                shutil.rmtree(path)
