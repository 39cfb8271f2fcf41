"""A model made smaller, beside what it was: score, size on disk, latency and memory on the same texts, before and after.  `compress`.

A model that loses more than the tolerance is not written, and nothing is left of it.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertsmith import __version__, files
from bertsmith.config import Settings, to_dict
from bertsmith.downstream.judges import judge_of, latencies, size_of
from bertsmith.errors import InputError, nearest, printable
from bertsmith.spelling import amount as counted
from bertsmith.spelling import option
from bertsmith.training.checkpoint import State
from bertsmith.training.run import CONFIG, FORMAT, METRICS, STEPS, TOKENIZER, Imported

if TYPE_CHECKING:
    from bertsmith.downstream.model import Loaded

Say = Callable[[str], None]
METHODS = ("int8", "int8-static", "prune-heads", "prune-layers", "magnitude", "low-rank", "distil")
EIGHT = METHODS[:2]  # of which there is no more and no less
TABLE = "compressed.json"


def compress(
    model: str | Path | Loaded,
    out: str | Path,
    *,
    method: str,
    data: Any = None,
    train: Any = None,
    dev: Any = None,
    amount: float = 0.5,
    tolerance: float = 1.0,
    epochs: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    set: Settings = (),
    members: tuple[str, ...] = (),
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """Write MODEL as a smaller one and return `{method, amount, score, tolerance, lost, before, after}`; `before` and `after`: score, parameters,
    megabytes, latency (p50 and p95 in milliseconds, one text at a time), memory (megabytes at the peak of a process that judges the file).

    A fine-tuned model is judged on the labelled file `dev`; what it can lose best (heads, layers) is looked for in `train`, or in `dev` where
    there is none.  One of pre-training has the store `data`: held-out text judges, training text is looked at.
    `amount`: the share that goes, of heads, layers, numbers that are 0, or numbers of each matrix.  `method`: int8; int8-static (ranges of what is read are
    looked for in `train`, or in the store); prune-heads; prune-layers; magnitude; low-rank; distil (fine-tuned models: a student of 1 - `amount` of the layers learns `train` and what
    MODEL says of it; `epochs`, `steps` and `set` are those of a fine-tuning).
    InputError where `lost`, in per cent of the score before (of a loss: what it grew), is above `tolerance`; nothing is written then.
    """
    out = Path(out)
    _check_asked(method, amount, tolerance, data, train, dev, epochs, steps)
    if (out / TABLE).is_file():
        raise InputError(f"{printable(out)}: holds a compressed model already; choose another place")
    files.refuse_unless_replaceable(out, lambda name: False, "compressed model", force=False)
    from bertsmith.downstream.based import plain  # torch is loaded here
    from bertsmith.downstream.model import opened

    loaded = plain(opened(model, members=members, say=say))
    judge = judge_of(loaded, data, train, dev, say)
    with files.partial(out) as temporary, files.writing(out):
        if method == "distil":
            how = {"epochs": epochs, "steps": steps, "seed": seed, "set": set, "members": members, "say": say}
            made = _student(loaded, temporary, amount, train, dev, how)
        else:
            made = _write(temporary, _smaller(loaded, method, amount, judge), method, amount)
        before, after = judge.measured(loaded), judge.measured(made)
        before["latency"], after["latency"] = latencies((loaded, made), judge.streams())
        for which, one, found in ((model, loaded, before), (temporary, made, after)):
            found["megabytes"] = size_of(one) / 1e6
            found["memory"] = judge.memory(which, members)
        found = {
            "method": method,
            "amount": None if method in EIGHT else amount,
            "of": str(loaded.run),
            "score": judge.score,
            "texts": judge.name,
            "tolerance": tolerance,
            "lost": judge.lost(before["score"], after["score"]),
            "before": before,
            "after": after,
        }
        lines = table(found)
        for line in lines:
            say(line)
        if not found["lost"] <= tolerance:
            ways = [*([] if method in EIGHT else [f"a smaller {option('amount')}"]), f"another {option('method')}"]
            raise InputError(
                f"{printable(out)}: not written: {method} loses {found['lost']:.2f} % of {judge.score}, and {option('tolerance', tolerance)} allows "
                f"{tolerance:g} %; {', '.join(ways)}, or a higher tolerance"
            )
        files.create(temporary / TABLE, json.dumps(found, indent=1).encode() + b"\n")
        files.publish(temporary, out)
    say(f"{printable(out)}: written")
    return {"out": str(out), **found}


def _check_asked(
    method: str, amount: float, tolerance: float, data: Any, train: Any, dev: Any, epochs: Any, steps: Any
) -> None:
    if method not in METHODS:
        raise InputError(f"{option('method', method)}: unknown; {nearest(method, METHODS)}")
    if not 0 < amount < 1:
        raise InputError(f"{option('amount', amount)}: the share that goes, above 0 and below 1")
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise InputError(f"{option('tolerance', tolerance)}: per cent of the score that may be lost, from 0")
    if (data is None) == (dev is None):
        raise InputError(
            f"compress: give {option('dev', like='FILE')}, labelled rows that judge a fine-tuned model, or {option('data', like='STORE')} for one of pre-training"
        )
    if data is not None and train is not None:
        raise InputError(f"{option('train')}: is for fine-tuned models; a store has training text of its own")
    if method == "int8-static" and train is None and data is None:
        raise InputError(
            f"{option('method', method)}: looks for the ranges of what is read in training rows, {option('train', like='FILE')}; "
            f"{option('method', 'int8')} needs none"
        )
    if method == "distil" and train is None:
        raise InputError(
            f"{option('method', method)}: a student learns from labelled rows, {option('train', like='FILE')}; of pre-training it is "
            f"`bertsmith pretrain distilbert --teacher MODEL`"
        )
    if method != "distil" and not (epochs is None and steps is None):
        raise InputError(
            f"{option('epochs' if steps is None else 'steps')}: {option('method', method)} learns nothing; {option('method', 'distil')} does"
        )


def _smaller(loaded: Loaded, method: str, amount: float, judge: Any) -> Loaded:
    from bertsmith.downstream import smaller

    if method == "int8":
        return smaller.int8(loaded)
    if method == "int8-static":
        return smaller.int8_static(loaded, judge.batches())
    if method == "low-rank":
        return smaller.low_rank(loaded, amount)
    if method == "magnitude":
        return smaller.magnitude(loaded, amount)
    prune = smaller.fewer_heads if method == "prune-heads" else smaller.fewer_layers
    return prune(loaded, amount, judge.batches())


def _write(folder: Path, made: Loaded, method: str, amount: float) -> Loaded:
    """As a run of one step in the empty `folder`; what is read of it again."""
    import numpy as np
    import torch

    from bertsmith.downstream.model import load
    from bertsmith.training.saving import save_step

    run = Imported(folder)
    versions = {"bertsmith": __version__, "torch": torch.__version__, "numpy": np.__version__}
    data = {**made.config.get("data", {}), "tokenizer": made.tokenizer.digest, "vocab": asdict(made.vocab)}
    kept = {name: made.config[name] for name in ("vectors",) if made.config.get(name)}
    config = {
        "format": FORMAT,
        "kind": Imported.kind,
        "recipe": to_dict(made.recipe),
        "data": data,
        "task": made.task,
        **kept,
        "steps": 0,
        "seed": 0,
        "from": None,
        "source": {"path": str(made.run), "weights": made.weights, "compressed": {"method": method, "amount": amount}},
        "versions": {**versions, "python": platform.python_version()},
    }
    files.create(run / CONFIG, files.sealed(json.loads(json.dumps(config))))
    files.create(run / TOKENIZER, made.tokenizer_json())
    files.create(run / METRICS, b"")
    (run / STEPS).mkdir()
    nothing = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.0)  # holds no state
    metrics = {"bytes": 0, "sha256": files.sha256(run / METRICS)}
    member = made.member
    member.kept = None
    save_step(run, State(step=0, tokens=0, cursor=(0, 0)), member, nothing, metrics, {}, keep=1)
    return load(folder)


def _student(loaded: Loaded, folder: Path, amount: float, train: Any, dev: Any, how: dict[str, Any]) -> Loaded:
    """A fine-tuning in `folder` of a model with fewer layers, which learns what `loaded` says beside the labels."""
    import tempfile

    from bertsmith.downstream.finetune import finetune
    from bertsmith.downstream.model import load
    from bertsmith.downstream.smaller import with_layers
    from bertsmith.objectives.distilled import spread

    depth = loaded.recipe.model.layers
    left = max(1, round(depth * (1 - amount)))
    task = loaded.task or {}
    columns = task.get("columns") or None
    with tempfile.TemporaryDirectory(prefix="bertsmith-student-") as begun:
        _write(Path(begun), with_layers(loaded, spread(left, depth)), "prune-layers", amount)
        finetune(
            begun, task=task["kind"], train=train, dev=dev, out=folder, teacher=loaded, columns=columns,
            header=task.get("header", True), **how,
        )  # fmt: skip
    return load(folder)


def table(found: dict[str, Any]) -> list[str]:
    """For people: a line for each of two, and what was lost."""
    rows = [("", found["score"], "parameters", "MB", "p50 ms", "p95 ms", "MB at peak")]
    for name in ("before", "after"):
        one = found[name]
        memory = "-" if one["memory"] is None else f"{one['memory']:.0f}"
        times = (f"{one['latency'][p]:.2f}" for p in ("p50", "p95"))
        rows.append((name, f"{one['score']:.4f}", f"{one['parameters']:,}", f"{one['megabytes']:.2f}", *times, memory))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    before, after = (found[name]["latency"]["p50"] for name in ("before", "after"))
    if after > before:
        lines.append(
            f"warning: it answers {after / before:.1f} times more slowly here; where eight bits gain depends on the processor, and on how busy it is"
        )
    lost = found["lost"]
    kept = f"loses {lost:.2f} %" if lost >= 0 else f"gains {-lost:.2f} %"
    return [
        *lines,
        f"{found['method']}: {kept} of {found['score']} ({counted(found['tolerance'], 'per cent', 'per cent', 'g')} allowed)",
    ]
