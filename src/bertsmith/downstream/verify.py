"""`bertsmith verify`: a store or a run against the manifests that were written last."""

from pathlib import Path
from typing import Any

from bertsmith.errors import InputError, printable
from bertsmith.text import store
from bertsmith.training.checkpoint import verify_step
from bertsmith.training.run import CONFIG, STEPS, Run


def verify(path: str | Path) -> dict[str, Any]:
    """{"kind": "store" | "run" | "step", "files": number checked, …}; InputError naming the first file that is not as written."""
    path = Path(path)
    if path.parent.name == STEPS and path.name.startswith("step-"):
        number = path.name.removeprefix("step-")
        if not number.isdecimal():
            raise InputError(f"{printable(path)}: not a step; steps are named step-00000100")
        return {"kind": "step", "files": _step(Run(path.parent.parent), int(number))}
    if (path / CONFIG).exists() or (path / STEPS).is_dir():
        run = Run(path)
        run.config()
        steps = run.steps()
        return {"kind": "run", "files": 1 + sum(_step(run, step) for step in steps), "steps": steps}
    if not path.is_dir():
        raise InputError(f"{printable(path)}: no such folder; a store, a run or a step inside a run is wanted")
    return store.verify(path)


def _step(run: Run, step: int) -> int:
    manifest = verify_step(run, step)
    return len(manifest["files"]) + 1
