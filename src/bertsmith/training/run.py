"""A run's folder: what stands where in it, its config.json, and the lock that keeps two processes out.

config.json      rebuilds the run: recipe, data, steps, seed, machine; sealed like a manifest
tokenizer.json   the store's
entities.txt     the store's, where the member reads entities
metrics.jsonl    one line per update; speed.jsonl, log.txt, events/: rates, times, what was said
steps/step-00000100/   see checkpoint.py
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bertsmith import files
from bertsmith.errors import InputError, printable
from bertsmith.spelling import flag, option
from bertsmith.training.formats import FORMAT, current

CONFIG, TOKENIZER, METRICS, SPEED, LOG, EVENTS, STEPS = (
    "config.json",
    "tokenizer.json",
    "metrics.jsonl",
    "speed.jsonl",
    "log.txt",
    "events",
    "steps",
)
ENTITIES = "entities.txt"  # names of the entities that a member reads, whose vectors stand in its steps
RANKS = "ranks.json"  # of a graph: which step its vectors are of, how they rank, and what else was made with it
OURS = {CONFIG, TOKENIZER, ENTITIES, METRICS, SPEED, LOG, EVENTS, STEPS}
STEP = re.compile(r"step-(\d{8,12})")
_TEMPORARY = re.compile(
    r"\.([a-z]+(?:\.json|-\d{8,12}))\.(tmp|old)-\d{1,10}"
)  # files.write and files.partial name them so
# What may change on resume; all but `accumulate`, `most` and `tokens` leave every loss of metrics.jsonl as it was.
CHANGEABLE = {f"recipe.training.{name}" for name in ("checkpoint", "keep", "evaluate", "accumulate", "most")}
CHANGEABLE |= {
    f"task.settings.{name}" for name in ("epochs", "tokens", "accumulate", "checkpoint", "evaluations", "patience")
}
_locked: set[str] = set()  # a record lock does not keep out its own process


# What stands in a folder, by the kind that its config.json says.
KINDS = {
    "pretrain": "a pre-training run",
    "finetune": "a fine-tuning",
    "import": "an imported model",
    "graph": "the vectors of a graph",
}


def holds(folder: Path) -> str:
    """Which of these it is; "" where its config.json says nothing."""
    try:
        data = files.plain(folder / CONFIG)
        config = {} if data is None else files.unsealed(data, folder / CONFIG)
    except InputError:
        return ""
    return KINDS.get(str(config.get("kind")), "")


class Run:
    kind = "pretrain"  # what its config.json says
    results: tuple[str, ...] = ()  # files made when it is done; they go when it goes on

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.log: Any = None  # log.txt, while `locked` and where it can be written

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def step(self, step: int) -> Path:
        return self.path / STEPS / f"step-{step:08d}"

    def named(self) -> list[int]:
        """Numbers of all that carries a step's name, ascending.  One without a manifest has lost it: steps appear and go whole."""
        folder = self.path / STEPS
        if not folder.is_dir():
            return []
        return sorted(int(m[1]) for m in map(STEP.fullmatch, os.listdir(folder)) if m)

    def steps(self) -> list[int]:
        """Numbers of the steps that have a manifest, ascending; whether they verify is not asked."""
        return [step for step in self.named() if os.path.lexists(self.step(step) / files.MANIFEST)]

    def config(self) -> dict | None:
        """What config.json says, in today's format; None where there is none.  InputError if it is damaged or from a newer bertsmith."""
        path = self / CONFIG
        data = files.plain(path)
        if data is None:
            return None
        config = files.unsealed(data, path)
        if config.get("kind") != self.kind:
            raise InputError(f"{printable(path)}: kind: {printable(repr(config.get('kind')))} is not {self.kind!r}")
        files.check_format(config, path, FORMAT)
        return current(config, printable(path))

    def begun(self) -> dict | None:
        """config.json of a run that has saved a step; None where there is nothing to go on with.  InputError if it is gone."""
        if not self.named():
            return None
        config = self.config()
        if config is None:
            raise InputError(f"{printable(self / CONFIG)}: missing; the steps saved here cannot be gone on with")
        return config

    def owns(self, name: str) -> bool:
        """Whether what is called so in its folder is part of the run, or half-written by one that was killed."""
        return name in {*OURS, *self.results} or _TEMPORARY.fullmatch(name) is not None

    def check_free(self, resume: bool) -> None:
        """InputError unless a run may be written here: nothing yet, something half-written of ours, or (resume) a run."""
        where = printable(self.path)
        if self.path.is_symlink() and not self.path.exists():
            raise InputError(f"{where}: {option('out')} is a dangling link; choose another place")
        if not self.path.exists():
            files.check_place(self.path)
            return
        if (what := holds(self.path)) and what != KINDS.get(self.kind):
            raise InputError(f"{where}: {option('out')} holds {what}; choose another place")
        if not self.path.is_dir():
            raise InputError(f"{where}: {option('out')} is a file; choose a folder that does not exist yet")
        for name in sorted(os.listdir(self.path)):
            if not self.owns(name):
                raise InputError(
                    f"{where}: {option('out')} is a folder that is not a run (it holds {printable(name)}); choose another place"
                )
        steps = self.named()
        if steps and not resume:
            raise InputError(
                f"{where}: {option('out')} holds a run already, saved at step {steps[-1]}; {flag('resume')} goes on with it"
            )

    def clean(self, everything: bool = False) -> None:
        """Remove what a killed process left half-written; with `everything` all that is ours but log.txt."""
        for folder in (self.path, self.path / STEPS):
            for name in os.listdir(folder) if folder.is_dir() else ():
                match = _TEMPORARY.fullmatch(name)
                if match and match[2] == "old" and not (folder / match[1]).exists():
                    os.rename(
                        folder / name, folder / match[1]
                    )  # killed between two renames: what was to be replaced still stands
                elif match:
                    remove(folder / name)
        for name in sorted({*OURS, *self.results} - {LOG}) if everything else ():
            remove(self / name)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """InputError if another process writes to this run.  The lock dies with its process, however that ends, and leaves no file:
        it is a record lock on log.txt, whose first line names the process; on the folder where log.txt cannot be written."""
        key = os.path.realpath(self.path)
        with files.writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self.log = self._open_log()
            folder = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            try:
                if self.log is None:
                    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                else:  # over a network too; closing any descriptor of log.txt would drop it
                    fcntl.lockf(self.log, fcntl.LOCK_EX | fcntl.LOCK_NB)
                busy = key in _locked
            except OSError:
                busy = True
            if busy:
                raise InputError(
                    f"{printable(self.path)}: {option('out')} is being written by {self._writer()}; wait for it, stop it, or choose another place"
                )
            _locked.add(key)
            try:
                yield
            finally:
                _locked.discard(key)
        finally:
            os.close(folder)
            if self.log is not None:
                self.log.close()

    def _open_log(self) -> Any:
        """log.txt to append to; None where it cannot be written, which ends no run."""
        try:
            log = open(self / LOG, "a+b", buffering=0)
        except OSError:
            return None
        if stat.S_ISREG(os.fstat(log.fileno()).st_mode):
            return log
        log.close()
        return None

    def _writer(self) -> str:
        if self.log is None:
            return "another process"
        self.log.seek(0)
        pids = re.findall(rb"process (\d+)", self.log.read(1 << 20))
        return f"process {pids[-1].decode()}" if pids else "another process"


class Imported(Run):
    """Weights that came from elsewhere: one step, number 0."""

    kind = "import"


class GraphRun(Run):
    """Vectors of a knowledge graph (downstream/graph.py)."""

    kind = "graph"
    results = (RANKS, "vectors.npy", "entities.txt")


def entities_of(run: Path, config: dict) -> dict[str, int]:
    """The entities that a run's member reads, by name; {} where it reads none.  InputError where the file is not the one that it was made with."""
    expected = (config.get("data") or {}).get("entities")
    if expected is None:
        return {}
    data = files.plain(run / ENTITIES)
    if data is None or hashlib.sha256(data).hexdigest() != expected:
        raise InputError(f"{printable(run / ENTITIES)}: {'missing' if data is None else 'damaged'}; {CONFIG} names it")
    return {name: number for number, name in enumerate(data.decode().split("\n")[:-1])}


def run_at(path: str | Path) -> Run:
    """The run in a folder, imported or pre-trained, by what its config.json says; a damaged one is told when it is read."""
    try:
        data = files.plain(Path(path) / CONFIG)
        kind = None if data is None else files.unsealed(data, Path(path) / CONFIG).get("kind")
    except InputError:
        kind = None
    return {each.kind: each for each in (Imported, GraphRun)}.get(kind, Run)(path)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def differences(old: Any, new: Any, where: str) -> Iterator[tuple[str, Any, Any]]:
    """The leaves of two JSON trees that are not equal: (dotted name, old, new)."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(name for name in new if name not in old)]:
            yield from differences(old.get(name), new.get(name), f"{where}.{name}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from differences(a, b, f"{where}.{i}")
    elif old != new:
        yield where, old, new


def check_same(run: Run, old: dict, new: dict, same: tuple[str, ...]) -> list[str]:
    """InputError naming the first of the fields `same` in which a resumed run would not be the one that was begun.

    Returns what may change, and did.
    """
    changed = []
    for name in same:
        for field, was, now in differences(at(old, name), at(new, name), name):
            if field not in CHANGEABLE:
                spelled = field.removeprefix("recipe.").removeprefix("task.settings.")
                raise InputError(
                    f"{printable(run.path)}: {flag('resume')}: {spelled}: the run was begun with {printable(repr(was), 80)}, now it is "
                    f"{printable(repr(now), 80)}; use the same, or another {option('out')}"
                )
            changed.append(f"{field.removeprefix('recipe.')} {was} -> {now}")
    return changed


def at(tree: Any, dotted: str) -> Any:
    """The field of a JSON tree that a dotted name says; None where there is none."""
    for name in dotted.split("."):
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def open_store(
    data: Any,
    say: Callable[[str], None] = lambda line: None,
    later: bool = False,
    cache: str | os.PathLike | None = None,
) -> Any:
    """A store of text or of sound, or the folder of one, which is checked against its manifest; several, or {store: weight}, as one.

    `later`: the hashes of a large one are checked meanwhile (`Store.checking`).  One behind a URL is fetched into `cache` first (fetched.py).
    """
    if isinstance(data, (list, tuple, Mapping)):
        from bertsmith.text.blend import blended

        if not data:
            raise InputError(f"{option('data')}: no store; name one")
        stores = [open_store(one, say, later, cache) for one in data]
        return blended(stores, list(data.values()) if isinstance(data, Mapping) else None)
    if isinstance(data, (str, os.PathLike)):
        from bertsmith.audio.store import FrameStore
        from bertsmith.text import fetched, remote
        from bertsmith.text.store import Store

        data = remote.path_of(os.fspath(data))
        if remote.is_url(data) and not os.path.lexists(data):
            data = fetched.fetched(data, cache, say)
        if FrameStore.is_at(data):
            return FrameStore.open(data)
        return Store.open(data, verify="later" if later else True, say=say)
    return data
