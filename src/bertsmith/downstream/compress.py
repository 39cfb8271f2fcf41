"""A model made smaller, beside what it was: score, size on disk, latency and memory on the same texts, before and after.  `compress`.

A model that loses more than the tolerance is not written, and nothing is left of it.
"""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertsmith import __version__, files
from bertsmith.config import Settings, to_dict
from bertsmith.errors import InputError, nearest, printable
from bertsmith.spelling import amount as counted
from bertsmith.spelling import option
from bertsmith.tasks import kinds
from bertsmith.tasks.given import source
from bertsmith.training.checkpoint import State
from bertsmith.training.run import CONFIG, FORMAT, METRICS, STEPS, TOKENIZER, Imported

if TYPE_CHECKING:
    from bertsmith.data.batch import Batch
    from bertsmith.downstream.model import Loaded

Say = Callable[[str], None]
METHODS = ("int8", "int8-static", "prune-heads", "prune-layers", "magnitude", "low-rank", "distil")
EIGHT = METHODS[:2]  # of which there is no more and no less
TABLE = "compressed.json"
BESIDE = (".hidden", ".scale", ".inside", ".outside", ".most", ".updates")  # what is kept beside numbers of a model
TIMED, ROUNDS = 64, 3  # texts whose latency is taken, and how often
LOOKED = 64  # passes over which importance is taken
BUDGET = 1024  # tokens in one of these
_PEAK = "import bertsmith.cli, sys; sys.exit(bertsmith.cli.run(sys.argv[1:]))"


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
    files.refuse_unless_replaceable(out, lambda name: False, "compressed model", force=False)
    from bertsmith.downstream.based import plain  # torch is loaded here
    from bertsmith.downstream.model import opened

    loaded = plain(opened(model, members=members, say=say))
    judge = _judge(loaded, data, train, dev, say)
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


@dataclass(frozen=True, kw_only=True)
class OfTask:
    """What judges a fine-tuned model."""

    loaded: Loaded
    kind: Any
    dev: Any  # rows
    train: Any
    file: Any

    @property
    def score(self) -> str:
        return self.kind.best(self.loaded.labels)

    @property
    def name(self) -> str:
        return printable(self.dev.path)

    def measured(self, loaded: Loaded) -> dict[str, Any]:
        from bertsmith.downstream.predict import judged_rows

        targets, said, kind = judged_rows(loaded, self.dev)
        found = kind.score(targets, said, loaded.labels)[self.score]
        return {"score": float(found["value"]), "parameters": parameters_of(loaded)}

    def lost(self, before: float, after: float) -> float:
        return 100 * (before - after) / abs(before) if before else 0.0 if after >= before else math.inf

    def encoded(self, rows: Any) -> Any:
        from bertsmith.downstream.predict import _reading

        reading = _reading(self.loaded, self.kind, None)
        return self.kind.encode(self.loaded.tokenizer, rows, reading, (self.loaded.task or {})["pairs"])

    def streams(self) -> list[tuple[Any, Any]]:
        """(stream, places that are asked) of some sequences, one each."""
        import numpy as np
        import torch

        encoded = self.encoded(self.dev)
        which = np.linspace(0, len(encoded) - 1, min(TIMED, len(encoded))).astype(int)
        made = [(encoded.batch(np.array([i])).input.to("cpu"), encoded.read(np.array([i]))[1]) for i in which]
        return [(stream, torch.from_numpy(at)) for stream, at in made]

    def batches(self) -> list[Batch]:
        """Of training rows, with their labels."""
        encoded = self.encoded(self.train)
        asked = self.kind.asked(encoded, self.kind.targets(self.train, self.loaded.labels))
        return [encoded.batch(which, asked) for which in encoded.by_length(BUDGET)[:LOOKED]]

    def memory(self, model: Any, members: Sequence[str]) -> float | None:
        if not isinstance(self.file, (str, os.PathLike)) or not isinstance(model, (str, os.PathLike)):
            return None
        return peak(["evaluate", str(model), "--input", str(self.file)], members)


@dataclass(frozen=True, kw_only=True)
class OfText:
    """What judges a model of pre-training."""

    loaded: Loaded
    store: Any
    place: Any
    score: str = "token.loss"

    @property
    def name(self) -> str:
        return printable(self.store.path)

    def measured(self, loaded: Loaded) -> dict[str, Any]:
        from bertsmith.downstream.predict import evaluate

        found = evaluate(loaded, data=self.store)
        return {"score": float(found[self.score]["value"]), "parameters": parameters_of(loaded)}

    def lost(self, before: float, after: float) -> float:
        return 100 * (after - before) / before

    def streams(self) -> list[tuple[Any, Any]]:
        from bertsmith.data.text import fixed_batches

        recipe, store = self.loaded.recipe, self.store
        found = fixed_batches(
            store.held_out,
            recipe.layout,
            recipe.corruption,
            store.vocab,
            TIMED * recipe.layout.length,
            recipe.layout.length,
        )
        return [(batch.input, batch.targets["token"].at[:, 0]) for batch in (one.to("cpu") for one in found[:TIMED])]

    def batches(self) -> list[Batch]:
        from bertsmith.data.loader import Loader
        from bertsmith.data.text import Text

        recipe = self.loaded.recipe
        batch = max(BUDGET, recipe.layout.length)
        feed = Text(self.store.train, recipe.layout, recipe.corruption, self.store.vocab, seed=0, batch=batch)
        steps = iter(Loader(feed))
        return [batch for _ in range(LOOKED) for batch in next(steps).batches]

    def memory(self, model: Any, members: Sequence[str]) -> float | None:
        if not isinstance(model, (str, os.PathLike)):
            return None
        return peak(["evaluate", str(model), "--data", str(self.store.path)], members)


def _judge(loaded: Loaded, data: Any, train: Any, dev: Any, say: Say) -> OfTask | OfText:
    from bertsmith.downstream.predict import rows_of
    from bertsmith.training.run import open_store

    if loaded.task is None:
        if data is None:
            raise InputError(
                f"{printable(loaded.run)}: is a pre-training run: {option('data', like='STORE')} judges it"
            )
        if "token" not in loaded.member.weights():
            raise InputError(
                f"{printable(loaded.run)}: has no token head, whose loss on held-out text would be its score"
            )
        return OfText(loaded=loaded, store=open_store(data, say), place=data)
    if data is not None:
        raise InputError(f"{printable(loaded.run)}: is a fine-tuned model: {option('dev', like='FILE')} judges it")
    kind: Any = kinds.of_task(loaded.task)
    if kind.writes or kind.embeds:
        raise InputError(
            f"{option('task', kind.name)}: compress judges models that answer; this one {'writes' if kind.writes else 'makes vectors'}"
        )
    trained = (loaded.task or {}).get("columns") or {}
    rows = {}
    for name, one in {"dev": dev, "train": train}.items():
        if one is not None:
            given = source(one, name, trained, fields=kind.fields, pair=kind.pair, strict=False)
            rows[name] = rows_of(loaded, kind, given, None, None, None, say, labelled=True)
    return OfTask(loaded=loaded, kind=kind, dev=rows["dev"], train=rows.get("train", rows["dev"]), file=dev)


def parameters_of(loaded: Loaded) -> int:
    """Numbers that it holds; those of eight bits, too."""
    from bertsmith.training.saving import weights_of

    return sum(t.numel() for name, t in weights_of(loaded.member).items() if not name.endswith(BESIDE))


def size_of(loaded: Loaded) -> int:
    """Bytes of its weights on disk."""
    return sum(
        path.stat().st_size for path in loaded.path.glob("*.safetensors") if path.name != "optimizer.safetensors"
    )


def latencies(models: Sequence[Loaded], streams: Sequence[tuple[Any, Any]]) -> list[dict[str, float]]:
    """{p50, p95} of each, in milliseconds: one text at a time, all models on a text before the next, so that what else the machine does
    falls on all of them alike; of each text the quickest of some rounds."""
    import numpy as np
    import torch

    best = np.full((len(models), len(streams)), np.inf)
    for loaded in models:
        loaded.member.eval()
    for _ in range(1 + ROUNDS):
        for j, (stream, at) in enumerate(streams):
            for i, loaded in enumerate(models):
                with loaded.exact.policy(), torch.no_grad():
                    begun = time.perf_counter()
                    loaded.member.logits(stream, at)
                    best[i, j] = min(best[i, j], time.perf_counter() - begun)
    return [{"p50": 1e3 * float(np.quantile(row, 0.5)), "p95": 1e3 * float(np.quantile(row, 0.95))} for row in best]


def peak(command: list[str], members: Sequence[str] = ()) -> float | None:
    """Megabytes at the peak of a process of its own that carries out a command; None where it could not, or nobody says."""
    if not hasattr(os, "wait4"):
        return None
    words = [*command, "--json", *(part for name in members for part in ("--member", name))]
    child = subprocess.Popen(
        [sys.executable, "-c", _PEAK, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    scale = 1 if sys.platform == "darwin" else 1024
    return None if child.returncode else used.ru_maxrss * scale / 1e6


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
    lost = found["lost"]
    kept = f"loses {lost:.2f} %" if lost >= 0 else f"gains {-lost:.2f} %"
    return [
        *lines,
        f"{found['method']}: {kept} of {found['score']} ({counted(found['tolerance'], 'per cent', 'per cent', 'g')} allowed)",
    ]
