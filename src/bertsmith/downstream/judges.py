"""What judges a model that is made smaller: its score, parameters, latency and memory, of labelled rows or of held-out text."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bertsmith.errors import InputError, printable
from bertsmith.spelling import option
from bertsmith.tasks import kinds
from bertsmith.tasks.given import source

if TYPE_CHECKING:
    from bertsmith.data.batch import Batch
    from bertsmith.downstream.model import Loaded

BESIDE = (".hidden", ".scale", ".inside", ".outside", ".most", ".updates")  # what is kept beside numbers of a model
TIMED, ROUNDS = 64, 3  # texts whose latency is taken, and how often
LOOKED = 64  # passes over which importance is taken
BUDGET = 1024  # tokens in one of these
_PEAK = "import bertsmith.cli, sys; sys.exit(bertsmith.cli.run(sys.argv[1:]))"


def judge_of(loaded: Loaded, data: Any, train: Any, dev: Any, say: Callable[[str], None]) -> OfTask | OfText:
    """InputError for a model that neither can judge, and where what judges it was not given."""
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
