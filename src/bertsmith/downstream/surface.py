"""`surface`: the loss around tuned weights, on the way to them, and how flat it is: what pre-training bought (Hao et al. 2019).

The loss is the mean over training rows (a sample of them), dropout off.  Weights are moved on a copy.  The start of a tuning is made again:
its weights came from the model that config.json names, its head from the seed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bertsmith import files
from bertsmith.data.draw import shuffled
from bertsmith.downstream.compare import check_same
from bertsmith.downstream.dev_rows import dev_rows, train_rows
from bertsmith.downstream.model import Loaded, check_model, opened
from bertsmith.downstream.outputs import check_kept, is_kept, read_kept
from bertsmith.downstream.tuned import Tuned
from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, option
from bertsmith.tasks import kinds
from bertsmith.training.job import silent
from bertsmith.training.run import METRICS

if TYPE_CHECKING:
    from bertsmith.downstream.landscape import Weights
    from bertsmith.downstream.moving import Moving

FORMAT, KIND = 1, "surface"
ROWS, POINTS = 256, 21
WITHIN = (0.1, 0.5)  # nats above the minimum that still count as flat
PATH = 40  # saved steps of a path at most
Say = Callable[[str], None]


def surface(
    model: str | Path | Loaded,
    against: str | Path | Loaded | None = None,
    *,
    out: str | Path | None = None,
    rows: int = ROWS,
    points: int = POINTS,
    seed: int = 0,
    members: tuple[str, ...] = (),
    say: Say = silent,
) -> dict[str, Any]:
    """{task, rows, sides, plane, within}: one side for `model`, one for `against` (the same task from fresh weights, say).

    Of each side: `loss` {start, tuned}; `curve`, training loss by update and dev loss; `line`, the losses of training and dev rows from
    the start (0) to the tuned weights (1) and beyond; `around`, those of training rows on two random directions with filter normalisation
    (Li et al. 2018) around the tuned weights; `flat`, the share of that within so many nats of its minimum; `sharpness`, the largest
    eigenvalue of the second derivatives; `distance` of the tuned weights from the start, and as a share of the start's norm.
    `plane`: the losses with the start of `model` at (0, 0) and its tuned weights at (1, 0), those of `against` at (0, 1), or a random
    direction up; `paths` are the saved steps in it, each with how far it is off it.

    `rows`: of the training file, drawn by `seed`; `points`: of a side of the plane, 5, 9, 13, …  `out`: a file for the same, which `report`
    takes beside runs.  InputError for what is no fine-tuning of ours, and where its files or the model that it began with are gone.
    """
    if out is not None:
        check_kept(Path(out), KIND)
    if points < 5 or points % 4 != 1:
        raise InputError(f"{option('points', points)}: take 5, 9, 13, 17, 21 or so on, so that 0 and 1 are among them")
    if rows < 1:
        raise InputError(f"{option('rows', rows)}: 1 or more rows have a loss")
    given = [one for one in (model, against) if one is not None]
    for one in given:
        check_model(one) if not isinstance(one, Loaded) else None
    sides = [Side.of(one, members, say) for one in given]
    check_same(
        *((side.name, side.task["kind"], tuple(side.task.get("labels") or ())) for side in (sides[0], sides[-1]))
    )
    read = _rows(sides[0], rows, seed)
    from bertsmith.downstream import landscape

    moving = [side.moving(read) for side in sides]
    if [x.shape for x in moving[0].tuned.values()] != [x.shape for x in moving[-1].tuned.values()]:
        raise InputError(
            f"{sides[0].name} and {sides[1].name}: of other shapes; one plane holds models of one size alone"
        )
    cells = (len(sides) + 1) * points**2 + len(sides) * 2 * len(_line(points))
    say(f"{amount(cells, 'loss', 'losses')} of {amount(len(read['train']), 'row')}")
    result = {
        "format": FORMAT, "kind": KIND, "task": sides[0].task["kind"], "rows": {part: len(some) for part, some in read.items()},
        "seed": seed, "within": list(WITHIN),
        "sides": [_side(side, own, points, seed) for side, own in zip(sides, moving, strict=True)],
    }  # fmt: skip
    up = moving[1].tuned if len(moving) > 1 else None
    result["plane"] = _plane(sides, moving, landscape.difference(up, moving[0].start) if up else None, points, seed)
    if out is not None:
        files.write(Path(out), files.sealed(result))
    return result


@dataclass(frozen=True)
class Side:
    """A fine-tuning, and what its config.json says."""

    name: str
    loaded: Loaded
    members: tuple[str, ...]

    @classmethod
    def of(cls, model: str | Path | Loaded, members: tuple[str, ...], say: Say) -> Side:
        loaded = opened(model, members=members, say=say)
        name = printable(loaded.run if isinstance(model, Loaded) else model)
        if loaded.task is None or loaded.kind != Tuned.kind or "train" not in (loaded.config.get("data") or {}):
            raise InputError(f"{name}: is no fine-tuning of one task; `bertsmith finetune` makes one")
        if loaded.named:
            raise InputError(f"{name}: was tuned with other tasks; a surface is of a fine-tuning to one")
        kind: Any = kinds.of_task(loaded.task)
        if kind.writes or kind.embeds:
            known = ", ".join(each.name for each in kinds.KINDS.values() if not (each.writes or each.embeds))
            raise InputError(f"{name}: {option('task', loaded.task['kind'])} has no surface; {known} have")
        settings, source = loaded.task.get("settings") or {}, loaded.config.get("from") or {}
        if loaded.recipe.surgery is not None or source.get("needed") or settings.get("reinit"):
            method = option("method", loaded.task.get("method"))
            raise InputError(
                f"{name}: {method}: a surface is of tunings of all weights, or of a head, from a model as it was"
            )
        return cls(name, loaded, members)

    @property
    def task(self) -> dict[str, Any]:
        return self.loaded.task or {}

    def moving(self, read: dict[str, Any]) -> Moving:
        from bertsmith.downstream.moving import Moving, started

        return Moving.of(self.loaded, read, started(self.loaded, self.name, self.members))

    def path(self) -> list[tuple[int, Weights]]:
        """(step, weights) of the saved steps, evenly taken."""
        from bertsmith.downstream.moving import weights_at

        run = Tuned(self.loaded.run)
        steps = run.steps()
        taken = steps if len(steps) <= PATH else [steps[i] for i in np.linspace(0, len(steps) - 1, PATH).astype(int)]
        return [(step, weights_at(self.loaded, run, step, self.members)) for step in taken]

    def curve(self) -> dict[str, list[tuple[int, float]]]:
        """(step, loss) of each update, and of each time that the dev rows were scored."""
        data = files.plain(Tuned(self.loaded.run) / METRICS) or b""
        lines, term = [json.loads(line) for line in data.splitlines()], kinds.of_task(self.task).term
        held = [
            (line["step"], line["evaluation"][term]["loss"]) for line in lines if term in (line.get("evaluation") or {})
        ]
        return {"train": [(line["step"], line["loss"]) for line in lines], "dev": held}


def _rows(side: Side, count: int, seed: int) -> dict[str, Any]:
    """{train, dev}: so many of either at most; dev is left out where it is not there any more."""
    data = side.loaded.config["data"]
    train, dev = train_rows(side.task, data), dev_rows(side.task, data)
    if train is None:
        what = data["train"].get("path") or "its rows"
        raise InputError(
            f"{printable(what)}: the training file of {side.name} is not there any more, or is another one"
        )
    read = {"train": train} | ({} if dev is None else {"dev": dev})
    return {part: some.picked(np.sort(shuffled(seed, 0, len(some))[:count]).tolist()) for part, some in read.items()}


def _line(points: int) -> list[float]:
    """From -1 to 2, 0 and 1 among them."""
    return [i / ((points - 1) // 2) for i in range(-(points - 1) // 2, points)]


def _side(side: Side, moving: Moving, points: int, seed: int) -> dict[str, Any]:
    from bertsmith.downstream import landscape

    start, tuned = moving.start, moving.tuned
    way, at = landscape.difference(tuned, start), _line(points)
    lines = {part: landscape.line(moving.loss(part), start, way, at) for part in moving.parts}
    span = [2 * i / (points - 1) - 1 for i in range(points)]
    directions = [landscape.filter_normalised(tuned, seed, number) for number in (0, 1)]
    around = landscape.plane(moving.loss("train"), tuned, directions[0], directions[1], span, span)
    found = {
        "name": side.name, "scratch": bool(side.task.get("scratch")), "seed": side.loaded.config["seed"],
        "loss": {"start": lines["train"][at.index(0)], "tuned": lines["train"][at.index(1)]},
        "distance": landscape.norm(way), "relative": landscape.norm(way) / landscape.norm(start),
        "sharpness": landscape.sharpest(moving.gradient, tuned, seed),
        "flat": {str(excess): landscape.share_within(around, excess) for excess in WITHIN},
        "curve": side.curve(), "line": {"at": at, **lines}, "around": {"x": span, "y": span, "loss": around},
    }  # fmt: skip
    return found


def _plane(sides: list[Side], moving: list[Moving], up: Weights | None, points: int, seed: int) -> dict[str, Any]:
    from bertsmith.downstream import landscape

    start = moving[0].start
    right = landscape.difference(moving[0].tuned, start)
    axis = landscape.filter_normalised(start, seed, 2) if up is None else up
    span = [2 * i / (points - 1) - 0.5 for i in range(points)]
    ys = span if up is not None else [x - 0.5 for x in span]
    paths = []
    for side, own in zip(sides, moving, strict=True):
        steps = [(0, own.start), *side.path()]
        try:
            places = [(step, *landscape.place(weights, start, right, axis)) for step, weights in steps]
        except ValueError:
            raise InputError(
                f"{' and '.join(side.name for side in sides)}: their tuned weights lie on one line from the start: there is no plane"
            ) from None
        paths.append({"name": side.name, "steps": [dict(zip(("step", "x", "y", "off"), place)) for place in places]})
    return {
        "up": sides[1].name if up is not None else None,
        "x": span, "y": ys, "loss": landscape.plane(moving[0].loss("train"), start, right, axis, span, ys), "paths": paths,
    }  # fmt: skip


def said(side: dict[str, Any]) -> str:
    """A side in one line."""
    flat = ", ".join(f"{share:.0%} of the plane within {excess}" for excess, share in side["flat"].items())
    loss = side["loss"]
    return f"{side['name']}: loss {loss['start']:.4f} at the start, {loss['tuned']:.4f} tuned; {flat}; largest curvature {side['sharpness']:.4g}; weights moved by {side['relative']:.1%}"


def is_surface(path: Path) -> bool:
    """Whether a file is what `surface` writes."""
    return is_kept(path, KIND)


def read_surface(path: Path) -> dict[str, Any]:
    """What `surface` wrote.  InputError for anything else."""
    return read_kept(path, KIND, FORMAT)
