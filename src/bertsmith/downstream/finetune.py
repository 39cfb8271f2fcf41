"""Fine-tuning: the member's trunk, a head for the task, BERT's schedule; the best epoch by the dev file is kept.

One seed: OUT is the run.  Several: OUT/seed-0, OUT/seed-1, … are runs, and OUT/result.json holds mean and spread; OUT as a MODEL is
the best of them.  A run is written by training/ like any other: config.json, metrics.jsonl, steps/.  It is short and is not resumed:
an interrupted one is replaced when the command runs again.

`--method frozen`: the trunk computes its features once, in eval mode; only the head is trained.  `--scratch`: fresh weights.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from bertsmith import __version__, files
from bertsmith.config import override, require, to_dict
from bertsmith.data.batch import Stream
from bertsmith.data.draw import hashed
from bertsmith.downstream.embed import pooled
from bertsmith.downstream.model import RESULT, Loaded, Tuned, opened
from bertsmith.downstream.predict import logits_of
from bertsmith.errors import InputError, Interrupted, nearest, printable
from bertsmith.nn.member import MemberModel
from bertsmith.recipe import Recipe, Schedule
from bertsmith.tasks import kinds, metrics
from bertsmith.tasks.kinds import Encoded, Labels, OnLong, encode, say_long
from bertsmith.tasks.readers import Table, parse_columns, read, say_notes
from bertsmith.training.checkpoint import State, load_step, load_weights, save_step
from bertsmith.training.log import Journal, Metrics
from bertsmith.training.optim import build_optimizer, rate_at, set_rate
from bertsmith.training.precision import Precision, choose_device
from bertsmith.training.run import CONFIG, FORMAT, METRICS, OURS, TOKENIZER, remove, threads_set
from bertsmith.training.step import train_step
from bertsmith.training.stop import Stop

METHODS = ("full", "frozen")
KEEP = 2  # saved epochs: the newest, and the best or the one before
# What --set may also be called, as in pre-training.
ALIASES = {
    "schedule.lr": "lr",
    "schedule.warmup": "warmup",
    "schedule.weight_decay": "weight_decay",
    "schedule.clip": "clip",
}
ALIASES |= {
    "model.dropout": "dropout",
    "layout.length": "length",
    "training.precision": "precision",
    "training.epochs": "epochs",
}


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """BERT's fine-tuning (Devlin et al. 2019, appendix A.3; Turc et al. 2019 for the rates of small sizes); null = by method and size."""

    epochs: int | None = None  # full 3, frozen 20: its epochs cost nothing
    batch: int = 32  # sequences per update
    lr: float | None = None  # full: 5e-5 from width 768 on, 1e-4 from 512 on, 3e-4 below; frozen: 1e-3
    warmup: float = 0.1
    weight_decay: float = 0.01
    dropout: float = 0.1
    clip: float = 1.0
    length: int | None = None  # tokens of a sequence, specials included; null = the layout's of pre-training
    pool: Literal["auto", "cls", "mean"] = "auto"  # auto: cls when the trunk is trained, mean when it is frozen
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    tokens: int = 16384  # at most in one pass; more are split, with the same result

    def __post_init__(self):
        for name in ("epochs", "batch", "lr", "length", "tokens"):
            value = getattr(self, name)
            require(value is None or value > 0, f"{name}: {value} must be above 0")
        require(0 <= self.dropout < 1, f"dropout: {self.dropout} is not in [0, 1)")

    def settled(self, method: str, recipe: Recipe) -> FineTuning:
        """Every null decided.  InputError for a length that the model cannot take."""
        width, longest = recipe.model.width, recipe.model.longest
        rate = 1e-3 if method == "frozen" else 5e-5 if width >= 768 else 1e-4 if width >= 512 else 3e-4
        length = self.length or recipe.layout.length
        require(longest is None or length <= longest, f"length: {length} is more than the model's {longest} positions")
        return replace(
            self,
            epochs=self.epochs or (20 if method == "frozen" else 3),
            lr=self.lr or rate,
            length=length,
            pool=("mean" if method == "frozen" else "cls") if self.pool == "auto" else self.pool,
        )

    def schedule(self) -> Schedule:
        assert self.lr is not None
        return Schedule(lr=self.lr, warmup=self.warmup, weight_decay=self.weight_decay, clip=self.clip)


def settings(assignments: Iterable[str]) -> FineTuning:
    """`--set` for fine-tuning.  `training.batch` counts tokens in pre-training; here `batch` counts texts."""
    known = {f.name for f in fields(FineTuning)}
    renamed = []
    for assignment in assignments:
        path, equals, value = assignment.partition("=")
        if path == "training.batch":
            raise InputError(
                "--set training.batch: counts tokens, in pre-training; fine-tuning counts texts per update: --set batch=32"
            )
        if "." in path and path not in ALIASES:
            raise InputError(
                f"--set {printable(path)}: cannot be set in fine-tuning; {nearest(path, [*known, *ALIASES])}"
            )
        renamed.append(ALIASES.get(path, path) + equals + value)
    return override(FineTuning(), renamed)


def finetune(
    model: str | Path | Loaded,
    *,
    task: str,
    train: str | Path,
    dev: str | Path,
    out: str | Path,
    columns: str | Mapping[str, str | int] | None = None,
    header: bool = True,
    labels: Iterable[str] = (),
    method: str = "full",
    scratch: bool = False,
    seeds: int = 1,
    seed: int = 0,
    on_long: OnLong = "truncate",
    set: Iterable[str] = (),
    device: str | None = None,
    threads: int | None = None,
    members: tuple[str, ...] = (),
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[..., None] = lambda *_: None,
) -> dict[str, Any]:
    """Tune `model` to `task` ("classify", "regress"); returns what result.json says: dev scores with intervals, mean and spread over seeds.

    `labels`: all classes there are, where the training file need not hold every one.  Same inputs, seed, device and threads: same bytes.
    InputError before anything is written; NumericsError, ResourceError and Interrupted while it trains.
    `progress(step, steps, loss, tokens per second, seconds left)` after every update.
    """
    kind = kinds.kind(task)
    if method not in METHODS:
        raise InputError(f"--method {printable(method)}: unknown; {nearest(method, METHODS)}")
    if scratch and method == "frozen":
        raise InputError(
            "--scratch with --method frozen: a trunk of fresh weights that never learns; use --method full"
        )
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise InputError(f"--seeds {printable(seeds)}: expected a number from 1")
    options = settings(set)
    place = choose_device(device)
    _check_out(Path(out))
    _check_apart(train, dev)
    loaded = opened(model, str(place), members, say)
    options = options.settled(method, loaded.recipe)
    chosen = parse_columns(columns)
    tables = {
        name: read(path, columns=chosen or None, header=header, required=("text", "label"))
        for name, path in (("train", train), ("dev", dev))
    }
    for table in tables.values():
        say_notes(table, say)
        _check_texts(table)
    known = kind.learn(tables["train"], tuple(labels))
    if (tables["train"].rows("text2") is None) != (tables["dev"].rows("text2") is None):
        raise InputError(
            f"{printable(dev)}: text2: pairs in one of train and dev only; --columns says which columns are read"
        )
    targets = {name: kind.targets(table, known) for name, table in tables.items()}
    data = {name: _encoded(loaded, table, options, on_long, say) for name, table in tables.items()}
    _check_lengths(tables["train"], data["train"], options, on_long)
    _say_overlap(tables, say)
    recipe = _recipe(loaded.recipe, kind.objective(known, options.dropout, options.pool), options)
    about = {
        "kind": task,
        "labels": list(known.names),
        "mean": known.mean,
        "scale": known.scale,
        "columns": chosen,
        "header": header,
        "pairs": tables["train"].rows("text2") is not None,
        "length": options.length,
        "on_long": on_long,
        "method": method,
        "scratch": scratch,
        "settings": asdict(options),
    }
    work = _Tuning(loaded, recipe, kind, known, options, about, data, targets, place, threads, say, progress)
    config = {
        name: {"path": str(path), "rows": len(tables[name]), "sha256": files.sha256(path)}
        for name, path in (("train", train), ("dev", dev))
    }
    if seeds == 1:
        return work.run(Tuned(out), seed, config)
    results = []
    with files.writing(out):
        Path(out).mkdir(parents=True, exist_ok=True)
    for number in range(seed, seed + seeds):
        results.append(work.run(Tuned(Path(out) / f"seed-{number}"), number, config))
    scores = {name: metrics.spread([r["dev"][name]["value"] for r in results]) for name in results[0]["dev"]}
    best = max(results, key=lambda r: (r["dev"][kind.best]["value"], -r["seed"]))["seed"]
    result = {
        "format": FORMAT,
        "kind": "finetune",
        "task": task,
        "seeds": [r["seed"] for r in results],
        "best_seed": best,
        "over_seeds": scores,
        "results": results,
    }
    files.write(Path(out) / RESULT, files.sealed(result))
    for name, found in scores.items():
        say(f"{name}: {found['mean']:.4f} ± {found['spread']:.4f} over {seeds} seeds")
    return result


# -- before anything is written -----------------------------------------------------------------------------------------------------


def _ours(name: str) -> bool:
    return (
        name in OURS
        or name == RESULT
        or (name.startswith("seed-") and name[5:].isdecimal())
        or name.startswith((f".{RESULT}.tmp-", ".config.json.tmp-", ".tokenizer.json.tmp-"))
    )


def _check_out(out: Path) -> None:
    """InputError unless `out` is free or holds a fine-tuning that did not finish."""
    files.refuse_unless_replaceable(out, _ours, "fine-tuning run", force=False)
    if (out / RESULT).exists():
        raise InputError(f"{printable(out)}: --out holds a fine-tuned model already; choose another place")
    if (out / CONFIG).exists() and Tuned(out).config() is None:
        raise InputError(f"{printable(out)}: --out is not a fine-tuning run; choose another place")


def _check_apart(train: str | Path, dev: str | Path) -> None:
    same = (
        os.path.exists(train)
        and os.path.exists(dev)
        and (os.path.samefile(train, dev) or files.sha256(train) == files.sha256(dev))
        if _files(train, dev)
        else False
    )
    if same:
        raise InputError(
            f"{printable(dev)}: --dev holds the same bytes as --train; a score on texts that were trained on says nothing"
        )


def _files(*paths: str | Path) -> bool:
    return all(os.path.isfile(path) for path in paths)


def _check_texts(table: Table) -> None:
    for role in ("text", "text2"):
        for i, text in enumerate(table.rows(role) or ()):
            if not text.strip():
                raise InputError(f"{table.where(i)}: {role}: is empty")


def _encoded(loaded: Loaded, table: Table, options: FineTuning, on_long: OnLong, say: Callable[[str], None]) -> Encoded:
    assert options.length is not None
    segments = loaded.recipe.model.segments
    found = encode(
        loaded.tokenizer,
        table.columns["text"],
        table.rows("text2"),
        length=options.length,
        segments=segments,
        on_long=on_long,
        where=table.where,
    )
    say_long(found.counts, printable(table.path), options.length, on_long, say)
    return found


def _check_lengths(table: Table, data: Encoded, options: FineTuning, on_long: str) -> None:
    if on_long == "truncate" and data.counts["long"] == data.rows > 1:
        raise InputError(
            f"{printable(table.path)}: every one of its {data.rows} texts is longer than {options.length} tokens and would be cut; "
            "--on-long window reads all of them, --set length=N takes longer ones"
        )


def _say_overlap(tables: dict[str, Table], say: Callable[[str], None]) -> None:
    def rows(table: Table) -> list[tuple]:
        return list(zip(table.columns["text"], table.rows("text2") or [None] * len(table), strict=True))

    seen = frozenset(rows(tables["train"]))
    both = sum(row in seen for row in rows(tables["dev"]))
    if both:
        say(f"warning: {both} of the {len(tables['dev'])} dev texts stand in the training file too")


def _recipe(recipe: Recipe, objective: Any, options: FineTuning) -> Recipe:
    return replace(
        recipe, objective=objective, model=replace(recipe.model, dropout=options.dropout), schedule=options.schedule()
    )


# -- training -----------------------------------------------------------------------------------------------------------------------


class Cached(nn.Module):
    """Stands where the trunk stood: a "token" is the number of a sequence, its hidden state that sequence's feature."""

    def __init__(self, features: torch.Tensor):
        super().__init__()
        self.features = features

    def forward(self, stream: Stream, read: torch.Tensor | None = None) -> torch.Tensor:
        rows = stream.tokens if read is None else stream.tokens[read]
        return self.features[rows]


def one_each(encoded: Encoded) -> Encoded:
    """Sequences of one "token" each, its own number: what `Cached` reads."""
    n = len(encoded)
    return replace(
        encoded, tokens=np.arange(n, dtype=np.int32), segments=np.zeros(n, np.uint8), lengths=np.ones(n, np.int64)
    )


class _Tuning:
    """What all seeds share; `run` trains one."""

    def __init__(self, loaded, recipe, kind, known, options, about, data, targets, place, threads, say, progress):
        self.loaded: Loaded = loaded
        self.recipe: Recipe = recipe
        self.kind: kinds.Kind = kind
        self.known: Labels = known
        self.options: FineTuning = options
        self.about: dict = about
        self.data: dict[str, Encoded] = data
        self.targets: dict[str, np.ndarray] = targets
        self.place, self.threads, self.say, self.progress = place, threads or torch.get_num_threads(), say, progress
        self.precision = Precision.choose(options.precision, place)
        self.frozen = about["method"] == "frozen"
        if self.frozen:
            with threads_set(self.threads):
                self.features = {
                    name: torch.from_numpy(pooled(loaded, part, options.pool)).to(place) for name, part in data.items()
                }
            self.data = {name: one_each(part) for name, part in data.items()}

    def member(self, seed: int) -> MemberModel:
        """The whole member under this seed: trunk of the model (or fresh), fresh head, the pooler taken over where there is one."""
        torch.manual_seed(int(hashed(seed, "weights")[0]))
        model = self.recipe.model.build()
        whole = MemberModel(model, self.recipe.objective.build(model))
        if not self.about["scratch"]:
            state = self.loaded.member.state_dict()
            load_weights(
                whole.model,
                {k.removeprefix("model."): v.cpu() for k, v in state.items() if k.startswith("model.")},
                str(self.loaded.path),
            )
            whole.objective.inherit(state)
        return whole.to(self.place)

    def run(self, run: Tuned, seed: int, data: dict) -> dict[str, Any]:
        options, train = self.options, self.data["train"]
        per_epoch = math.ceil(len(train) / options.batch)
        steps = per_epoch * options.epochs
        source = self.loaded.config
        config = {
            "format": FORMAT,
            "kind": "finetune",
            "recipe": to_dict(self.recipe),
            "task": self.about,
            "data": {**data, "tokenizer": self.loaded.tokenizer.digest, "vocab": asdict(self.loaded.vocab)},
            "steps": steps,
            "seed": seed,
            "from": {
                "path": str(self.loaded.path),
                "weights": None if self.about["scratch"] else self.loaded.weights,
            },
            "threads": self.threads,
            "device": str(self.place),
            "precision": self.precision.compute,
            "versions": {**(source.get("versions") or {}), "bertsmith": __version__, "torch": torch.__version__},
        }
        journal = Journal(self.say)
        with ExitStack() as stack:
            stop = stack.enter_context(Stop())
            stack.enter_context(threads_set(self.threads))
            stack.enter_context(self.precision.policy())
            stack.enter_context(torch.random.fork_rng(devices=[self.place] if self.place.type == "cuda" else []))
            stack.enter_context(run.locked())
            run.clean(everything=True)
            remove(run / RESULT)
            files.write(run / CONFIG, files.sealed(config))
            files.write(run / TOKENIZER, self.loaded.tokenizer_json())
            journal.open(run)
            stack.callback(journal.close)
            lines = Metrics(run / METRICS, 0)
            stack.callback(lines.close)
            trained = (
                "the head on cached features"
                if self.frozen
                else "fresh weights"
                if self.about["scratch"]
                else "all weights"
            )
            journal.say(
                f"seed {seed}: {steps} updates of {options.batch} sequences, {options.epochs} epochs, {trained}, lr {options.lr:g}; {self.precision}"
            )
            return self._epochs(run, seed, steps, per_epoch, lines, journal, stop)

    def _epochs(
        self, run: Tuned, seed: int, steps: int, per_epoch: int, lines: Metrics, journal: Journal, stop: Stop
    ) -> dict[str, Any]:
        whole = self.member(seed)
        parts = {
            name: MemberModel(Cached(self.features[name]), whole.objective) if self.frozen else whole
            for name in self.data
        }
        learner, schedule = parts["train"], self.options.schedule()
        optimizer = build_optimizer(learner, schedule)
        unsaved = torch.optim.SGD(
            whole.parameters(), lr=0.0
        )  # holds no state: a fine-tuning is not resumed, so no moments are written
        tokens, best, history, begun = 0, None, [], time.monotonic()
        for step in range(1, steps + 1):
            epoch, at = divmod(step - 1, per_epoch)
            batches, counts, read = self._batches(seed, epoch, at)
            rate = rate_at(schedule, step, steps)
            set_rate(optimizer, rate)
            outcome = train_step(
                learner, batches, counts, optimizer, precision=self.precision, clip=schedule.clip, seed=seed, step=step
            )
            tokens += read
            line = {
                "step": step,
                "loss": outcome.loss,
                "lr": rate,
                "grad_norm": outcome.grad_norm,
                "tokens": tokens,
                "terms": outcome.terms,
            }
            if at == per_epoch - 1:
                scores = self._evaluate(parts["dev"])
                line["evaluation"] = {"label": scores}
                history.append({"step": step, "epoch": epoch + 1, **scores})
            lines.write(line)
            seconds = time.monotonic() - begun
            self.progress(step, steps, outcome.loss, tokens / seconds, seconds / step * (steps - step))
            if at == per_epoch - 1:
                rank = (scores[self.kind.best], -scores["loss"])
                best = (rank, step) if best is None or rank > best[0] else best
                state = State(step=step, tokens=tokens, cursor=(epoch + 1, 0))
                save_step(
                    run,
                    state,
                    whole,
                    unsaved,
                    lines.sealed(),
                    {"threads": self.threads, "device": str(self.place)},
                    keep=KEEP,
                    best=best[1],
                )
                shown = ", ".join(f"{k} {v:.4f}" for k, v in scores.items() if k != "count")
                journal.say(f"epoch {epoch + 1}/{self.options.epochs}: training loss {outcome.loss:.4f}; dev: {shown}")
                journal.speed(step=step, seconds=round(seconds, 3), tokens_per_second=round(tokens / seconds, 1))
            if stop.asked():
                assert stop.signal is not None
                raise Interrupted(
                    f"{printable(run.path)}: interrupted at update {step} of {steps}; run the command again to start over",
                    int(stop.signal),
                )
        assert best is not None  # a training file has rows
        return self._finish(run, seed, best[1], history, journal)

    def _batches(self, seed: int, epoch: int, at: int) -> tuple[list, dict[str, int], int]:
        """The `at`-th update of an epoch: its sequences, longest first, in passes of at most `tokens`."""
        train, size = self.data["train"], self.options.batch
        order = np.argsort(hashed(seed, "order", epoch, np.arange(len(train))), kind="stable")
        which = order[at * size : (at + 1) * size]
        which = which[np.argsort(-train.lengths[which], kind="stable")]
        passes = np.cumsum(train.lengths[which]) // self.options.tokens
        groups = [which[passes == p] for p in np.unique(passes)]
        batches = [
            replace(b, examples=tuple((epoch, i) for _, i in b.examples))
            for b in (train.batch(g, self.targets["train"]) for g in groups)
        ]
        return batches, {"label": len(which)}, int(train.lengths[which].sum())

    def _evaluate(self, member: MemberModel) -> dict[str, float]:
        """Dev scores without intervals: float32 'highest', so `bertsmith evaluate` gives the same numbers."""
        self.logits = logits_of(member, self.data["dev"], Precision.exact(self.place))
        scores = {
            name: found["value"]
            for name, found in self.kind.score(self.targets["dev"], self.logits, self.known).items()
        }
        return {"loss": self._loss(self.logits), **scores, "count": len(self.targets["dev"])}

    def _loss(self, logits: np.ndarray) -> float:
        targets = self.targets["dev"]
        if not self.known.names:
            return float(np.mean((logits[:, 0].astype(np.float64) - targets) ** 2))
        shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
        return float(np.mean(np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(targets)), targets]))

    def _finish(self, run: Tuned, seed: int, best: int, history: list[dict], journal: Journal) -> dict[str, Any]:
        chosen = run.step(best)
        member = self.member(seed)
        load_weights(member, load_step(run, best).weights, str(chosen))
        whole = MemberModel(Cached(self.features["dev"]), member.objective) if self.frozen else member
        self._evaluate(whole)
        scores = self.kind.score(self.targets["dev"], self.logits, self.known)
        truncation = {name: part.counts for name, part in self.data.items()}
        result = {
            "format": FORMAT,
            "kind": "finetune",
            "task": self.about["kind"],
            "seed": seed,
            "best": best,
            "chosen_by": self.kind.best,
        }
        result |= {"dev": scores, "epochs": history, "texts": truncation}
        files.write(run / RESULT, files.sealed(result))
        shown = ", ".join(f"{name} {s['value']:.4f} [{s['low']:.4f}, {s['high']:.4f}]" for name, s in scores.items())
        journal.say(f"seed {seed}: best after {next(h['epoch'] for h in history if h['step'] == best)} epochs: {shown}")
        return json.loads(json.dumps(result))
