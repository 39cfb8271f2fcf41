"""`bertsmith verify`: a store or a run against the manifests that were written last."""

from pathlib import Path
from typing import Any

from bertsmith.downstream.model import RESULT, Tuned
from bertsmith.errors import InputError, printable
from bertsmith.text import store
from bertsmith.training.checkpoint import verify_run, verify_step
from bertsmith.training.run import CONFIG, STEP, STEPS, Run


def verify(path: str | Path) -> dict[str, Any]:
    """{"kind": "store" | "run" | "step", "files": how many, …}; InputError naming the first file that is not as written."""
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"{printable(path)}: no such folder; a store, a run or a step inside a run is wanted")
    inside = STEP.fullmatch(path.name) if path.parent.name == STEPS else None
    if inside:
        manifest = verify_step(_run(path.parent.parent), int(inside[1]))
        return {"kind": "step", "files": 1 + len(manifest["files"]) + len(manifest["run"])}
    if (path / RESULT).exists():
        return _tuned(Tuned(path))
    if (path / CONFIG).exists() or (path / STEPS).is_dir():
        return verify_run(_run(path))
    return store.verify(path)


def _run(path: Path) -> Run:
    return Tuned(path) if (path / RESULT).exists() else Run(path)


def _tuned(run: Tuned) -> dict[str, Any]:
    """A fine-tuning, or one of several seeds, each a fine-tuning of its own."""
    result = run.result()
    if result is not None and "seeds" in result:
        parts = [_tuned(Tuned(part)) for part in sorted(run.path.glob("seed-*"))]
        return {
            "kind": "run",
            "files": 1 + sum(part["files"] for part in parts),
            "bytes": sum(part["bytes"] for part in parts),
        }
    found = verify_run(run)
    return {**found, "files": found["files"] + 1}
