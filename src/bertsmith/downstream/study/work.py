"""Carry out one cell, in this process or another: `python -m bertsmith.downstream.study.work CELL THREADS [DEVICE]`.

Another process waits for whoever is still at the cell, and says how it ended by its exit code and a line in error.json of the cell.  With `--watch` it ends by itself, saving, when its stdin is closed: when the one that started it is gone.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith import files
from bertsmith.config import from_dict
from bertsmith.downstream.study.asked import shares_of
from bertsmith.downstream.study.cells import CELL, DONE, ERROR, RESAMPLES, RUN, keep, lighten
from bertsmith.downstream.study.heldout import likelihood
from bertsmith.errors import BertsmithError, InputError, NumericsError, printable
from bertsmith.training.job import silent
from bertsmith.training.run import METRICS, STEPS, open_store

Say = Callable[[str], None]


def work(place: Path, threads: int, device: str | None, say: Say) -> None:
    """Until the cell in `place` is done.  A loss that is not finite is what came out of it, too; InputError and what ends a verb otherwise."""
    with files.locked(place):  # waits while another process is at the cell
        for name in (CELL, DONE, ERROR, RESAMPLES):
            files.sweep(place / name)
        (place / ERROR).unlink(missing_ok=True)
        if files.plain(place / DONE) is not None:
            return
        told = files.unsealed(files.plain(place / CELL) or b"", place / CELL)
        do = {"pretrain": _pretrained, "finetune": _tuned, "multitask": _tuned}[told["asked"]["kind"]]
        try:
            result, resamples = do(place, told, threads, device, say)
        except NumericsError as error:
            result, resamples = {"failed": str(error)}, {}
        keep(place, result, resamples)
        lighten(place)


def _pretrained(place: Path, told: Mapping[str, Any], threads: int, device: str | None, say: Say) -> Any:
    from bertsmith.training.pretraining import pretrain

    asked, paths = told["asked"], told["paths"]
    members = tuple(paths["members"])
    store = open_store(paths["store"])
    if store.digest != asked["data"]:
        raise InputError(f"{printable(paths['store'])}: has changed since the study began; prepare it again as it was")
    recipe = from_dict(asked["recipe"], members, "recipe")
    how = {"steps": asked["steps"], "seed": asked["seed"], "threads": threads, "device": device}
    pretrain(recipe, store, place / RUN, resume=(place / RUN / STEPS).is_dir(), say=say, **how)
    result: dict[str, Any] = {"curve": _curve(place / RUN)}
    if not asked["held_out"]:
        return result, {}
    found, resamples = likelihood(place / RUN, store, asked["held_out"], members, threads)
    return {**result, "likelihood": found}, resamples


def _curve(run: Path) -> list[list[Any]]:
    """[[tokens, {term: held-out loss}], …]."""
    lines = [json.loads(line) for line in (run / METRICS).read_bytes().splitlines()]
    return [
        [line["tokens"], {term: means["loss"] for term, means in line["evaluation"].items() if "loss" in means}]
        for line in lines
        if "evaluation" in line
    ]


def _tuned(place: Path, told: Mapping[str, Any], threads: int, device: str | None, say: Say) -> Any:
    asked, paths, out = told["asked"], told["paths"], place / RUN
    model, members = place.parent / asked["model"] / RUN, tuple(paths["members"])
    given = {name: files_of(task, paths["tasks"][name]) for name, task in asked["tasks"].items()}
    how = {"method": asked["method"], "scratch": asked["scratch"], "seed": asked["seed"], "threads": threads}
    how |= {"device": device, "members": members, "resume": out.is_dir(), "say": say, **asked["length"]}
    if asked["kind"] == "multitask":
        from bertsmith.downstream.multitask import multitask

        multitask(model, given, out, shares=shares_of(asked["shares"]), each=asked["each"], set=asked["set"], **how)
    else:
        from bertsmith.downstream.finetune import finetune

        ((task, rows),) = zip(asked["tasks"].values(), given.values(), strict=True)
        of = {name: getattr(rows, name) for name in rows.__dataclass_fields__ if name not in ("teacher", "few")}
        finetune(model, out=out, set=[*task["set"], *asked["set"]], **of, **how)
    scores, resamples = {}, {}
    for name in given:
        scores[name], found = _heard(Path(f"{out}:{name}") if name else out, members, threads, say)
        resamples |= {f"{name}.{score}" if name else score: values for score, values in found.items()}
    return {"tasks": scores}, resamples


def files_of(task: Mapping[str, Any], paths: Mapping[str, Any]) -> Any:
    """The labelled files of a task.  InputError where one of them has changed."""
    from bertsmith.downstream.labelled_files import Files

    for part, path in paths.items():
        if isinstance(path, str) and files.sha256(path) != task[part]:
            raise InputError(
                f"{printable(path)}: {part}: has changed since the study began; its cells would not be of the same rows"
            )
    own = {name: value for name, value in task.items() if name not in ("train", "dev", "set")}
    own["labels"] = tuple(own["labels"])
    return Files(**own, **paths)


def _heard(
    model: Path, members: tuple[str, ...], threads: int, say: Say
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What a fine-tuned model scores on its dev rows, and each score of their resamples, drawn alike for all who are read on the same rows."""
    from bertsmith.downstream.compare import Side
    from bertsmith.downstream.dev_rows import dev_rows
    from bertsmith.downstream.predict import judged_rows
    from bertsmith.tasks import metrics
    from bertsmith.training.precision import threads_set

    side = Side.of(model)
    rows = dev_rows(side.task, side.data)
    if rows is None:
        raise InputError(f"{printable(side.dev.get('path'))}: dev: has changed since the study began")
    with threads_set(threads):
        (heard,) = side.heard(lambda loaded, say: (rows, judged_rows(loaded, rows, say=say)), members, say)
    found = metrics.resampled(heard.figures, heard.count, seed=drawn_by(side.dev["sha256"]))
    return {"by": heard.best, "rows": heard.count, "kind": heard.task}, found


def drawn_by(sha256: str) -> int:
    """The seed of the resamples of rows: one for each file, so that those of different tasks are drawn apart."""
    return int(sha256[:8], 16)


def main(arguments: list[str]) -> int:
    if "--watch" in arguments:
        threading.Thread(target=_watch, daemon=True).start()
    place, threads, *device = [one for one in arguments if one != "--watch"]
    try:
        work(Path(place), int(threads), device[0] if device else None, silent)
    except BertsmithError as error:
        return _told(Path(place), error.exit_code, str(error))
    except MemoryError:
        return _told(Path(place), 3, "out of memory; a smaller training.batch or more training.accumulate needs less")
    return 0


def _told(place: Path, code: int, said: str) -> int:
    """For the one who started it, wherever that is."""
    files.write(place / ERROR, json.dumps({"code": code, "said": printable(said, 2000)}).encode())
    return code


def _watch() -> None:
    """Ends this process as a signal would, when nobody holds the other end of its stdin."""
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
