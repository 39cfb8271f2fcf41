"""`bertsmith verify`: a store, a run or an export against the manifests that were written last."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bertsmith import files
from bertsmith.audio import store as frames
from bertsmith.deploy import folder
from bertsmith.downstream import based, several, teachers
from bertsmith.downstream.tuned import KEPT, RESULT, Tuned
from bertsmith.errors import InputError, printable
from bertsmith.spelling import again, amount
from bertsmith.text import store
from bertsmith.training.checkpoint import verify_run, verify_state, verify_step
from bertsmith.training.run import CONFIG, RANKS, STEP, STEPS, GraphRun, Run, run_at


def verify(
    path: str | Path, say: Callable[[str], None] = lambda line: None, base: str | Path | None = None
) -> dict[str, Any]:
    """{"kind": "store" | "run" | "step" | "export", "files": how many, …}; InputError naming the first file that is not as written.

    Of a run that holds what it learned alone the weights of its base, too; `base`: where that is, if not where it was.
    """
    named, path = path, Path(folder.parted(path)[0])
    found = _verified(path, base)
    what = found["kind"]
    if one := folder.parted(named)[1]:  # one task of a run of several stands in the files of all
        several.chosen(Tuned(path).config() or {}, one, path)
    say(
        f"{printable(path)}: {amount(found['files'], f'file of this {what} is as it was', f'files of this {what} are as they were')} written"
    )
    return found


def _verified(path: Path, base: str | Path | None = None) -> dict[str, Any]:
    if not path.is_dir():
        folder.check_task(path)
        raise InputError(
            f"{printable(path)}: no such folder; a store, a run, a step inside a run or an export is wanted"
        )
    inside = STEP.fullmatch(path.name) if path.parent.name == STEPS else None
    if inside:
        run = _run(path.parent.parent)
        manifest = verify_step(run, int(inside[1]))
        _check_base(run, base)
        return {"kind": "step", "files": 1 + len(manifest["files"]) + len(manifest["run"])}
    if os.path.lexists(path / files.MANIFEST):
        kind = _says(path / files.MANIFEST, "kind")
        return _export(path) if kind == "export" else (frames if kind == frames.KIND else store).verify(path)
    if (path / STEPS).is_dir() or any(os.path.lexists(path / name) for name in (CONFIG, RESULT)):
        run = _run(path)
        return (
            _tuned(run, base)
            if isinstance(run, Tuned)
            else _graph(run)
            if isinstance(run, GraphRun)
            else verify_run(run)
        )
    Tuned(path).check_seeds()
    return store.verify(path)


def _says(path: Path, field: str) -> Any:
    """A field of a sealed file; None where there is no such file."""
    data = files.plain(path)
    return None if data is None else files.unsealed(data, path).get(field)


def _run(path: Path) -> Run:
    if os.path.lexists(path / RESULT):
        return Tuned(path)
    if not (path / STEPS).is_dir() and _hugging_face(path):
        raise InputError(
            f"{printable(path / files.MANIFEST)}: missing; a folder of Hugging Face format has one if bertsmith exported it"
        )
    return Tuned(path) if _says(path / CONFIG, "kind") == Tuned.kind else run_at(path)


def _hugging_face(path: Path) -> bool:
    data = files.plain(path / CONFIG)
    return data is not None and b'"model_type"' in data


def _graph(run: GraphRun) -> dict[str, Any]:
    """Its steps, and the vectors that were made of one."""
    found, ranks = verify_run(run), files.plain(run / RANKS)
    if ranks is None:
        return found
    listed = files.unsealed(ranks, run / RANKS).get("files") or {}
    files.check(run.path, listed)
    return {**found, "files": found["files"] + 1 + len(listed)}


def _export(path: Path) -> dict[str, Any]:
    from bertsmith.deploy import folder_files

    listed = files.read_manifest(path, "export", folder_files.FORMAT).get("files")
    files.check(path, listed)
    for inside, _, names in os.walk(path):
        for name in names:
            found = (Path(inside) / name).relative_to(path).as_posix()
            if found != files.MANIFEST and found not in listed:
                raise InputError(f"{printable(path / found)}: not listed in {files.MANIFEST}; it does not belong here")
    return {"kind": "export", "files": 1 + len(listed), "bytes": sum(file["bytes"] for file in listed.values())}


def _check_base(run: Run, base: str | Path | None) -> None:
    source = based.needed(run.config() or {})
    if source is not None:
        based.check_base(source, run.path, base)


def _tuned(run: Tuned, base: str | Path | None = None) -> dict[str, Any]:
    """A fine-tuning, or one of several seeds, each a fine-tuning of its own."""
    result = run.result()
    if result is not None and "seeds" in result:
        parts = [_tuned(Tuned(run / f"seed-{int(seed)}"), base) for seed in result["seeds"]]
        return {
            "kind": "run",
            "files": 1 + sum(part["files"] for part in parts),
            "bytes": sum(part["bytes"] for part in parts),
        }
    found = verify_run(run)
    _check_base(run, base)
    for path in sorted(path for path in run.path.iterdir() if KEPT.fullmatch(path.name) and path.suffix == ".npy"):
        teachers.check(path)
    if result is None:
        newest, config = run.steps()[-1], run.config()
        patience = ((config.get("task") or {}).get("settings") or {}).get("patience")
        if newest == config["steps"] or verify_state(run, newest).ends(patience):
            raise InputError(f"{printable(run / RESULT)}: missing; the last step is saved; {again()} makes it")
        return found
    if result.get("best") not in run.steps():
        raise InputError(f"{printable(run.step(result['best']))}: missing; {RESULT} names it as the best")
    return {**found, "files": found["files"] + 1}
