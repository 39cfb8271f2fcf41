"""Sound files to a store of frames; every second and every file accounted for.

The bytes of a store are a function of the sounds, their names and the options: not of workers, time or machine.
"""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith import files
from bertsmith.audio import store
from bertsmith.audio.mel import LogMel
from bertsmith.audio.sounds import SUFFIXES, Bad, begins, decoded
from bertsmith.data.draw import hashed, uniform
from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, option
from bertsmith.text.pool import ordered

CHUNK = 64  # files that a worker is given at a time
TOLD = 20  # bad files that are told one by one; all of them are counted, and named in the manifest
DTYPES = ("float16", "float32")


def silent(line: str) -> None:
    """Says nothing."""


def prepare_audio(
    sources: str | os.PathLike | list[str],
    out: str | Path,
    *,
    rate: int = 16000,
    mels: int = 80,
    dtype: str = "float16",
    holdout: float = 0.01,
    workers: int = 1,
    force: bool = False,
    say: Callable[[str], None] = silent,
) -> dict[str, Any]:
    """Write the store of frames `out`; returns the account, which the manifest holds too.

    `sources`: wav and flac files, folders of them, globs.  `rate`: samples a second, to which sound is resampled; `mels`: bands of a frame;
    `dtype`: what a number of a frame is kept as; `holdout`: share of the utterances that training never sees; `workers`: processes.
    A file that cannot be used is told in a line, counted by its reason and left out.  InputError where none can, with nothing left behind.
    """
    mel = LogMel(rate=rate, mels=mels)
    if dtype not in DTYPES:
        raise InputError(f"{option('dtype', dtype)}: is not one of {', '.join(DTYPES)}")
    if isinstance(holdout, bool) or not isinstance(holdout, (int, float)) or not 0 <= holdout < 1:
        raise InputError(
            f"{option('holdout')}: {printable(repr(holdout))} is not a share; 0 <= holdout < 1, such as 0.01"
        )
    files.refuse_unless_replaceable(out, store.ours, "store", force)
    named = [os.fspath(sources)] if isinstance(sources, (str, os.PathLike)) else [*map(os.fspath, sources)]
    found, others = listed(named)
    if not found:
        raise InputError(
            f"{', '.join(printable(source, 60) for source in named[:3])}: no sound file; {', '.join(SUFFIXES)} are read"
        )
    say(f"{amount(len(found), 'sound file')}, {amount(len(others), 'other file')} passed over")
    for name in others[:TOLD]:
        say(f"{printable(name)}: passed over: neither wav nor flac")
    with files.partial(out) as folder, ExitStack() as stack:
        account = _Account(others)
        splits = {name: store.SplitWriter(folder, name, mels, dtype) for name in store.SPLITS}
        for writer in splits.values():
            stack.callback(writer.frames.file.close)
        for made in ordered(_chunks(found), partial(_made, mel), partial(_maker, mel), workers):
            for name, result in made:
                if isinstance(result, Bad):
                    account.bad(name, result, say)
                    continue
                frames, about = result
                aside = float(uniform(hashed(0, "held-out", account.used))[0]) < holdout
                account.good(about, mel)
                splits["held-out" if aside else "train"].append(frames, name)
        counts = _closed(splits, account, holdout)
        said = account.said(mel, counts)
        for line in said["warnings"]:
            say(f"warning: {line}")
        store.close_store(folder, mel, counts, said)
        files.publish(folder, out)
    seconds = said["seconds"]
    say(
        f"{printable(out)}: {amount(said['utterances'], 'utterance')}, {amount(said['frames'], 'frame')} of {mels} numbers; "
        f"{_long(seconds['read'])} read, {_long(seconds['used'])} used, {_long(sum(seconds['dropped'].values()))} left out, {_long(seconds['tails'])} behind last frames"
    )
    return said


def _closed(splits: dict[str, store.SplitWriter], account: _Account, holdout: float) -> dict[str, dict[str, int]]:
    if not account.used:
        reasons = ", ".join(f"{amount(n, 'file')} {reason}" for reason, n in account.reasons.most_common())
        raise InputError(f"no sound could be used: {reasons}")
    counts = {name: writer.close() for name, writer in splits.items()}
    if not counts["train"]["utterances"]:
        raise InputError(
            f"{option('holdout')}: {holdout:g} of {amount(account.used, 'utterance')} leaves none to train on; {option('holdout', 0)} keeps all"
        )
    return counts


def listed(sources: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """((name, path) of each sound file: those that are named, and those in folders by their suffix or what they begin with, sorted; the others that stood there).

    Names are as they were given, below a folder from there on.  InputError for a source that is not there."""
    found: dict[str, str] = {}
    others: list[str] = []
    for source in sources:
        places = [source] if os.path.lexists(source) else sorted(glob.glob(source, recursive=True))
        if not places:
            raise InputError(f"{printable(source)}: no such file or folder")
        for place in places:
            if not os.path.isdir(place):
                found.setdefault(os.path.realpath(place), place)
                continue
            for inside, folders, names in os.walk(place):
                folders.sort()
                for name in sorted(names):
                    path = os.path.join(inside, name)
                    if name.lower().endswith(SUFFIXES):
                        found.setdefault(os.path.realpath(path), path)
                    elif _sounds(path):
                        found.setdefault(os.path.realpath(path), path)
                    else:
                        others.append(path)
    return [(path, path) for path in found.values()], others


def _sounds(path: str) -> bool:
    """Whether a file begins as wav and flac do, whatever its name."""
    try:
        with open(path, "rb") as file:
            return begins(file.read(12))
    except OSError:
        return False


def _chunks(found: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    there = iter(found)
    while chunk := list(islice(there, CHUNK)):
        yield chunk


def _maker(mel: LogMel) -> Callable[[Any], Any]:
    return partial(_made, mel)


def _made(mel: LogMel, chunk: list[tuple[str, str]]) -> list[tuple[str, Any]]:
    """(name, (frames, what the account notes) or what is wrong) of each file."""
    return [(name, _one(mel, path)) for name, path in chunk]


def _one(mel: LogMel, path: str) -> tuple[np.ndarray, dict[str, Any]] | Bad:
    try:
        sound = decoded(path)
        frames = mel.frames(sound)
    except Bad as error:
        return error
    about = {name: getattr(sound, name) for name in ("seconds", "rate", "channels", "kind")}
    suffix = "flac" if path.lower().endswith(".flac") else "wav"
    return frames, {**about, "named": path.lower().endswith(SUFFIXES) and not sound.kind.endswith(suffix)}


class _Account:
    """Where every file and every second went: used + tails + the sum of dropped == read."""

    def __init__(self, others: list[str]):
        self.others, self.used, self.seconds, self.kept = others, 0, 0.0, 0.0
        self.reasons: Counter[str] = Counter()
        self.dropped: dict[str, float] = {}
        self.left_out: list[dict[str, str]] = []
        self.kinds: Counter[str] = Counter()
        self.rates: Counter[int] = Counter()
        self.mixed = self.named = 0

    def bad(self, name: str, error: Bad, say: Callable[[str], None]) -> None:
        self.reasons[error.reason] += 1
        self.dropped[error.reason] = self.dropped.get(error.reason, 0.0) + error.seconds
        self.left_out.append({"file": name, "reason": error.reason})
        if len(self.left_out) <= TOLD:
            say(f"{printable(name)}: left out: {error.about}")

    def good(self, about: dict[str, Any], mel: LogMel) -> None:
        self.used += 1
        self.kinds[about["kind"]] += 1
        self.rates[about["rate"]] += 1
        self.mixed += about["channels"] > 1
        self.named += about["named"]
        frames = mel.count(round(about["seconds"] * mel.rate))
        covered = ((frames - 1) * mel.step + mel.span) / mel.rate
        self.kept += min(covered, about["seconds"])
        self.seconds += about["seconds"]

    def said(self, mel: LogMel, counts: dict[str, dict[str, int]]) -> dict[str, Any]:
        train, held = counts["train"], counts["held-out"]
        many = len(self.left_out)
        return {
            "files": {"read": self.used + many, "used": self.used, "left_out": many, "other": len(self.others)},
            "passed_over": self.others,
            "reasons": dict(sorted(self.reasons.items())),
            "left_out": self.left_out,
            "seconds": {
                "read": self.seconds + sum(self.dropped.values()),
                "used": self.kept,
                "tails": self.seconds - self.kept,
                "dropped": dict(sorted(self.dropped.items())),
            },
            "kinds": dict(sorted(self.kinds.items())),
            "rates": {str(rate): n for rate, n in sorted(self.rates.items())},
            "several_channels": self.mixed,
            "utterances": self.used,
            "frames": train["frames"] + held["frames"],
            "held_out": held,
            "warnings": [*self._warnings(mel)],
        }

    def _warnings(self, mel: LogMel) -> Iterator[str]:
        if len(self.left_out) > TOLD:
            yield f"{len(self.left_out) - TOLD:,} further files were left out; the manifest names all"
        low = {rate: n for rate, n in self.rates.items() if rate < mel.rate}
        if low:
            way = f"`rate` {max(low)} keeps bands for what they hold"
            yield f"{amount(sum(low.values()), 'file has', 'files have')} fewer than {mel.rate:,} samples a second: bands above half of theirs say nothing; {way}"
        if self.mixed:
            yield f"{amount(self.mixed, 'file has', 'files have')} several channels, which were averaged"
        if self.named:
            yield f"{amount(self.named, 'file is', 'files are')} of another format than the name says, and were read by what they hold"


def _long(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.2f} h"
