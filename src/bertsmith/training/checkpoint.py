"""A step on disk, whole or not there at all:

    steps/step-00000100/model.safetensors       float32 weights, tied ones once
                        optimizer.safetensors   moments by parameter name
                        averaged.safetensors    where the model is an average, the weights that learn; others have none
                        memory.safetensors      what a model with memory remembers of each column; others have none
                        state.json              step, tokens, where the loader stands, bytes of metrics.jsonl
                        manifest.json           written last; seals these, the run's config.json, tokenizer.json, first bytes of metrics.jsonl

No random state is stored: every draw is a hash of (seed, step) or of (seed, epoch, example).  Steps are written by saving.py; what is
read here needs torch for tensors alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertsmith import files
from bertsmith.data.loader import Cursor
from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount
from bertsmith.training.run import CONFIG, METRICS, STEPS, TOKENIZER, Run, run_at

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
_HUB = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", re.ASCII)  # how models are called there
MODEL, OPTIMIZER, MEMORY, STATE = "model.safetensors", "optimizer.safetensors", "memory.safetensors", "state.json"
AVERAGED = "averaged.safetensors"


@dataclass(frozen=True, kw_only=True)
class State:
    """Where a run stands besides its tensors."""

    step: int
    tokens: int  # real tokens so far
    cursor: Cursor  # where the loader stands: (epoch, next sequence), of each feed in a mixture
    pending: dict | None = None  # the metrics line of this step, if a signal cut its evaluation short
    best: dict | None = None  # of a run that chooses its best step: {step, rank, since: exams since then}

    def ends(self, patience: int | None) -> bool:
        """Whether `patience` exams have passed since the best."""
        return patience is not None and self.best is not None and self.best["since"] >= patience


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A step that verified."""

    path: Path
    state: State
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    metrics: int  # bytes of metrics.jsonl up to here
    environment: dict = field(default_factory=dict)
    memory: dict[str, Tensor] = field(default_factory=dict)
    averaged: dict[str, Tensor] = field(default_factory=dict)  # what `Average.state` gave


def size_estimate(parameters: int) -> int:
    """Bytes of a saved step: weights and two moments in float32."""
    return 12 * parameters + (1 << 20)


def state_tree(state: State) -> dict:
    cursor = state.cursor
    tree = {name: list(at) for name, at in cursor.items()} if isinstance(cursor, Mapping) else list(cursor)
    chosen = {"best": state.best} if state.best else {}
    return {"step": state.step, "tokens": state.tokens, "cursor": tree, "pending": state.pending, **chosen}


def state_of(tree: dict) -> State:
    """What `state_tree` wrote.  ValueError, KeyError or TypeError for anything else."""
    cursor, best = tree["cursor"], tree.get("best")
    places = {name: _place(at) for name, at in cursor.items()} if isinstance(cursor, dict) else _place(cursor)
    if best is not None:
        best = {"step": _count(best["step"]), "rank": [float(x) for x in best["rank"]], "since": _count(best["since"])}
    pending = tree["pending"]
    if not isinstance(pending, (dict, type(None))):
        raise ValueError("pending")
    step, tokens = _count(tree["step"]), _count(tree["tokens"])
    return State(step=step, tokens=tokens, cursor=places, pending=pending, best=best)


def _place(tree: Any) -> tuple[int, int]:
    epoch, at = tree
    return _count(epoch), _count(at)


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**62:
        raise ValueError(value)
    return value


def prune(run: Run, keep: int, best: int | None = None) -> None:
    """Remove all steps but `keep`: the newest ones, and the `best` where there is one, in place of the oldest of them.

    Only folders that carry our name and our manifest and hold nothing but what we write.
    """
    steps = run.steps()
    spared = steps[-keep:]
    if best in steps and best not in spared:
        spared = [best, *spared[1:]]
    for step in steps:
        if step not in spared and {*os.listdir(run.step(step))} <= {
            MODEL,
            OPTIMIZER,
            MEMORY,
            AVERAGED,
            STATE,
            files.MANIFEST,
        }:
            files.discard(run.step(step))


def verify_step(run: Run, step: int, tensors: bool = True) -> dict:
    """The manifest of a step after every file that it seals was checked, the run's config.json and metrics.jsonl included.

    InputError naming the file that is not as written.
    """
    folder = run.step(step)
    manifest = files.read_manifest(folder, "step", FORMAT)
    listed, sealed = manifest.get("files"), manifest.get("run")
    if not (
        isinstance(listed, dict)
        and isinstance(sealed, dict)
        and {MODEL, STATE} <= listed.keys()
        and sealed.keys() == {CONFIG, TOKENIZER, METRICS}
    ):
        raise InputError(f"{printable(folder / files.MANIFEST)}: files, run: not those of a step")
    if manifest.get("step") != step:
        raise InputError(
            f"{printable(folder / files.MANIFEST)}: step: says {printable(repr(manifest.get('step')))}, the folder {step}"
        )
    files.check(folder, listed, hashes=tensors)
    files.check(run.path, {TOKENIZER: sealed[TOKENIZER]})
    _check_config(run, sealed[CONFIG])
    _check_metrics(run / METRICS, sealed[METRICS])
    return manifest


def _check_config(run: Run, sealed: dict) -> None:
    """config.json as this step saw it; or one that a resume put in its place, which names the one before it."""
    config = run.config()  # checks its own seal
    if config is None:
        raise InputError(f"{printable(run / CONFIG)}: missing; {files.MANIFEST} of a step names it")
    if files.sha256(run / CONFIG) != sealed.get("sha256") and sealed.get("sha256") not in config.get("previous", []):
        raise InputError(f"{printable(run / CONFIG)}: not the one that the step was saved under")


def _check_metrics(path: Path, sealed: dict) -> None:
    length = sealed.get("bytes")
    if not isinstance(length, int) or isinstance(length, bool) or length < 0:
        raise InputError(f"{printable(path)}: the manifest of a step gives no length")
    digest, left = hashlib.sha256(), length
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):  # a pipe would be waited for
            raise InputError(f"{printable(path)}: not a plain file")
        with open(path, "rb") as file:
            while left and (data := file.read(min(left, 1 << 20))):
                digest.update(data)
                left -= len(data)
    except OSError as error:
        raise InputError(f"{printable(path)}: cannot be read: {error.strerror}") from None
    if left or digest.hexdigest() != sealed.get("sha256"):
        raise InputError(
            f"{printable(path)}: damaged: its first {amount(length, 'byte')} are not those that a step sealed"
        )


def verify_run(run: Run) -> dict[str, Any]:
    """Every saved step of a run, and all that they seal.  InputError naming the first file that is not as written."""
    listed: dict[Path, int] = {}
    for step in run.named():
        folder = run.step(step)
        manifest = verify_step(run, step)
        for name in os.listdir(folder):
            if name != files.MANIFEST and name not in manifest["files"]:
                raise InputError(
                    f"{printable(folder / name)}: not listed in {files.MANIFEST}; it does not belong to this step"
                )
        names = [
            folder / files.MANIFEST,
            *(folder / name for name in manifest["files"]),
            *(run / name for name in manifest["run"]),
        ]
        listed |= {name: name.stat().st_size for name in names}
    if not listed:
        raise InputError(f"{printable(run.path)}: holds no saved step")
    return {"kind": "run", "files": len(listed), "bytes": sum(listed.values())}


def load_step(run: Run, step: int) -> Saved:
    """A step, verified.  InputError naming the damaged file."""
    folder = run.step(step)
    manifest = verify_step(run, step, tensors=False)
    read = {name: _read(folder / name, expected) for name, expected in manifest["files"].items()}
    return Saved(
        path=folder,
        state=_state(read[STATE], folder / STATE, step),
        weights=_tensors(read[MODEL], folder / MODEL),
        optimizer=_tensors(read[OPTIMIZER], folder / OPTIMIZER) if OPTIMIZER in read else {},
        metrics=manifest["run"][METRICS]["bytes"],
        environment=manifest.get("environment") or {},
        memory=_tensors(read[MEMORY], folder / MEMORY) if MEMORY in read else {},
        averaged=_tensors(read[AVERAGED], folder / AVERAGED) if AVERAGED in read else {},
    )


def verify_state(run: Run, step: int) -> State:
    """Where a run stands, of a step that `load_step` would load: verified, its files of tensors whole; none becomes a tensor.

    InputError naming the damaged file."""
    folder = run.step(step)
    manifest = verify_step(run, step, tensors=False)
    read = {name: _read(folder / name, expected) for name, expected in manifest["files"].items()}
    state = _state(read[STATE], folder / STATE, step)
    for name in (MODEL, OPTIMIZER, MEMORY, AVERAGED):
        if name in read:
            _check_tensors(read[name], folder / name)
    return state


def _read(path: Path, expected: dict) -> bytes:
    """Hashed as it is read, so that what was verified is what is used."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{printable(path)}: cannot be read: {error.strerror}") from None
    if hashlib.sha256(data).hexdigest() != expected["sha256"]:
        raise InputError(f"{printable(path)}: damaged: its SHA-256 is not the one in {files.MANIFEST}")
    return data


def _tensors(data: bytes, where: Path) -> dict[str, Tensor]:
    from safetensors.torch import load as tensors_from_bytes

    try:
        return tensors_from_bytes(data)
    except Exception as error:  # safetensors raises its own, ValueError and KeyError, by what is wrong with the header
        raise InputError(f"{printable(where)}: not a safetensors file: {printable(error)}") from None


def _check_tensors(data: bytes, where: Path) -> None:
    from safetensors import deserialize

    try:
        deserialize(data)
    except Exception as error:  # as above
        raise InputError(f"{printable(where)}: not a safetensors file: {printable(error)}") from None


def _state(data: bytes, where: Path, step: int) -> State:
    try:
        state = state_of(json.loads(data))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(f"{printable(where)}: not the state of a step") from None
    if state.step != step:
        raise InputError(f"{printable(where)}: step: says {state.step}, the folder {step}")
    return state


def load_newest(run: Run, say: Callable[[str], None]) -> Saved | None:
    """The newest step that verifies, saying which newer ones do not; None where no step was ever saved.

    InputError if steps are there and none verifies, or if a newer bertsmith wrote the newest.
    """
    problems = []
    for step in reversed(run.named()):
        try:
            saved = load_step(run, step)
        except files.Newer:
            raise
        except InputError as error:
            problems.append(str(error))
            continue
        for problem in problems:
            say(f"warning: {problem}; using step {step} instead")
        return saved
    if problems:
        raise InputError(f"{printable(run.path)}: no step verifies; the newest: {problems[0]}")
    return None


def no_model(path: Path) -> str:
    """What is said of a MODEL that is no folder; a name such as bert-base-uncased may be one of the hub's."""
    name = str(path)
    hub = f", or hf:{name} from the hub" if _HUB.fullmatch(name) else ""
    return f"{printable(path)}: no such folder; a run, a step inside it, a folder of Hugging Face format{hub} is wanted"


def load_model(
    path: str | Path, say: Callable[[str], None] = lambda line: None
) -> tuple[dict[str, Tensor], dict, Path]:
    """Weights, config.json and step folder of a run (its newest step that verifies) or of one of its steps (as it is, or InputError).

    `say` is told of newer steps that were passed over because they are damaged.
    """
    path = Path(path)
    where = printable(path)
    if path.parent.name == STEPS and path.name.startswith("step-"):
        run, number = run_at(path.parent.parent), path.name.removeprefix("step-")
        if not (number.isdecimal() and path.is_dir()):
            raise InputError(f"{where}: no such step; there are {', '.join(map(str, run.steps())) or 'none'}")
        saved = load_step(run, int(number))
    else:
        if not path.is_dir():
            raise InputError(no_model(path))
        run = run_at(path)
        found = load_newest(run, say)
        if found is None:
            raise InputError(f"{where}: holds no saved step")
        saved = found
    config = run.config()
    assert config is not None  # verify_step read it
    return saved.weights, config, saved.path
