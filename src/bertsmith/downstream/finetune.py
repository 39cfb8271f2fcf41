"""Fine-tuning: the member's trunk, a head for the task, BERT's schedule; the best step by the dev file is kept.

One seed: OUT is the run.  Several: OUT/seed-0, OUT/seed-1, … are runs, and OUT/result.json holds mean and spread; OUT as a MODEL is
the best of them.  A run is one like any other (training/learn.py), read from a labelled file: it resumes, and many processes share it.

`--method frozen`: the trunk computes its features once, in eval mode; only the head is trained.  `--scratch`: fresh weights.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bertsmith import files
from bertsmith.downstream.dev import Dev
from bertsmith.downstream.frozen import stand_ins
from bertsmith.downstream.model import RESULT, SEED, Loaded, Tuned, opened
from bertsmith.downstream.tuning import METHODS, FineTuning, settings
from bertsmith.errors import InputError, nearest, printable
from bertsmith.nn.member import MemberModel, build
from bertsmith.recipe import Recipe
from bertsmith.tasks import kinds, metrics
from bertsmith.tasks.labelled import Labelled
from bertsmith.tasks.labels import Labels
from bertsmith.tasks.readers import parse_columns, say_notes
from bertsmith.tasks.sequences import Encoded, OnLong, Reading, say_long
from bertsmith.training.budget import Budget, Extent
from bertsmith.training.checkpoint import load_step, load_weights, weights_of
from bertsmith.training.distributed import TIMEOUT, World, own_device
from bertsmith.training.job import Job, Progress, silent
from bertsmith.training.learn import check_options, learn
from bertsmith.training.log import Journal
from bertsmith.training.run import FORMAT, METRICS, threads_set

SAME = ("data.tokenizer", "data.train.sha256", "data.dev.sha256", "task", "recipe", "seed", "from.weights")
PARTS = ("train", "dev")


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
    epochs: float | None = None,
    steps: int | None = None,
    tokens: int | None = None,
    minutes: float | None = None,
    on_long: OnLong | None = None,
    set: Iterable[str] = (),
    device: str | None = None,
    threads: int | None = None,
    workers: int = 0,
    resume: bool = False,
    tensorboard: bool = False,
    shard: str = "ddp",
    timeout: float = TIMEOUT,
    members: tuple[str, ...] = (),
    say: Callable[[str], None] = silent,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Tune `model` to `task` ("classify", "regress", "tag", "qa"); returns what result.json says: dev scores with intervals, mean and spread over seeds.

    `on_long`: None is truncate for texts as a whole, window where each token is read.  `labels`: all classes or tags there are, where the
    training file need not hold every one.  How long: one of `epochs`, `steps`, `tokens`, `minutes`; none is as many epochs as suit the
    method.  Same inputs, seed, device and threads: same bytes, interrupted and resumed (`resume`) or not.  Under torchrun all its processes
    call this and share the work (see `pretrain`).
    InputError before anything is written; NumericsError, ResourceError and Interrupted (after saving) while it trains.
    `progress(step, steps, loss, tokens per second, seconds left)` after every update.
    """
    with World.join(device, timeout) as world:
        say, progress = (say, progress) if world.first else (silent, silent)
        with world.agreed():
            kind = kinds.kind(task)
            if method not in METHODS:
                raise InputError(f"--method {printable(method)}: unknown; {nearest(method, METHODS)}")
            if scratch and method == "frozen":
                raise InputError(
                    "--scratch with --method frozen: a trunk of fresh weights that never learns; use --method full"
                )
            if method == "frozen" and shard == "fsdp":
                raise InputError("--shard fsdp with --method frozen: only a head learns; --shard ddp")
            if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
                raise InputError(f"--seeds {printable(seeds)}: expected a number from 1")
            check_options(shard, tensorboard)
            options = settings(set)
            asked = Budget(epochs=epochs, steps=steps, tokens=tokens, minutes=minutes)
            if world.first:
                _check_out(Path(out), seeds, resume)
            _check_apart(train, dev)
            loaded = opened(model, str(own_device(device)), members, say)
            options = options.settled(method, loaded.recipe, kind.pools)
            chosen = parse_columns(columns)
            rows = {
                name: kind.read(path, columns=chosen or None, header=header)
                for name, path in zip(PARTS, (train, dev), strict=True)
            }
            for part, read in rows.items():
                say_notes(read, say)
                kind.check(read, part)
            known = kind.learn(rows["train"], tuple(labels))
            if rows["train"].pairs != rows["dev"].pairs:
                raise InputError(
                    f"{printable(dev)}: text2: pairs in one of train and dev only; --columns says which columns are read"
                )
            targets = {name: kind.targets(read, known) for name, read in rows.items()}
            reading = loaded.reading(options.length, on_long=on_long or kind.long, stride=options.stride)
            data = {name: _encoded(loaded, kind, read, reading, say) for name, read in rows.items()}
            _check_lengths(rows["train"], data["train"], reading)
            _say_overlap(rows, say)
            about = {
                "kind": task,
                **{name: value for name, value in asdict(known).items() if name != "names"},
                "labels": list(known.names),
                "columns": chosen,
                "header": header,
                "pairs": rows["train"].pairs,
                "length": options.length,
                "on_long": reading.on_long,
                "method": method,
                "scratch": scratch,
                "settings": asdict(options),
            }
            sources = {
                name: {"path": str(path), "rows": len(rows[name]), "sha256": files.sha256(path)}
                for name, path in zip(PARTS, (train, dev), strict=True)
            }
        tuning = Tuning(
            loaded=loaded,
            recipe=_recipe(loaded.recipe, kind.objective(known, options.dropout, options.pool), options, method),
            kind=kind,
            known=known,
            options=options,
            about=about,
            rows=rows,
            data=data,
            targets=targets,
            sources=sources,
            world=world,
            say=say,
            threads=threads or (None if resume else torch.get_num_threads()),
        )
        if not asked.given:
            asked = Budget(epochs=options.epochs)
        how = {"resume": resume, "tensorboard": tensorboard, "shard": shard, "progress": progress}
        if seeds == 1:
            return tuning.run(Tuned(out), seed, asked, workers, **how)
        with files.writing(out):
            Path(out).mkdir(parents=True, exist_ok=True)
        results = [
            tuning.run(Tuned(Path(out) / f"seed-{number}"), number, asked, workers, **how)
            for number in range(seed, seed + seeds)
        ]
        with world.agreed():
            return _over_seeds(results, Path(out), task, kind.best(known), world, say)


@dataclass(kw_only=True)
class Tuning:
    """What all seeds share; `run` trains one."""

    loaded: Loaded
    recipe: Recipe
    kind: kinds.Kind
    known: Labels
    options: FineTuning
    about: dict
    rows: dict[str, Any]
    data: dict[str, Encoded]
    targets: dict[str, Any]
    sources: dict[str, dict]
    world: World
    say: Callable[[str], None]
    threads: int | None

    def __post_init__(self):
        self.texts = {name: part.counts for name, part in self.data.items()}
        self.trunks: dict[str, Any] = {}  # where the trunk is frozen: what stands in its place for each part
        if self.about["method"] == "frozen":
            with threads_set(self.threads):
                self.trunks, self.data = stand_ins(self.loaded, self.data, self.kind.pools, self.options.pool)

    def over(self, part: str, whole: MemberModel) -> MemberModel:
        """The member that reads `self.data[part]`."""
        return MemberModel(self.trunks[part], whole.objective) if self.trunks else whole

    def start(self, whole: MemberModel, say: Callable[[str], None]) -> dict:
        """The trunk of the model, and the pooler where there is one, in place of fresh ones; what config.json says of it."""
        if self.about["scratch"]:
            return {"path": str(self.loaded.path), "weights": None}
        state = weights_of(self.loaded.member)
        load_weights(
            whole.model,
            {k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")},
            str(self.loaded.path),
        )
        whole.objective.inherit(state)
        return {"path": str(self.loaded.path), "weights": self.loaded.weights}

    def run(self, run: Tuned, seed: int, asked: Budget, workers: int, **how: Any) -> dict[str, Any]:
        options, journal = self.options, Journal(self.say)
        asks = self.kind.asked(self.data["train"], self.targets["train"])
        feed = Labelled(encoded=self.data["train"], asked=asks, seed=seed, batch=options.batch)
        vocab, digest = asdict(self.loaded.vocab), self.loaded.tokenizer.digest
        exam = Dev(
            self.kind,
            self.known,
            self.rows["dev"],
            self.targets["dev"],
            self.data["dev"],
            self.loaded.device,
            steps=feed.epoch(0).steps,
            times=options.evaluations,
            epochs=asked.epochs or 0,
            over=lambda whole: self.over("dev", whole),
        )
        job = Job(
            run=run,
            recipe=self.recipe,
            feed=feed,
            seed=seed,
            kept={
                "kind": run.kind,
                "task": self.about,
                "data": {**self.sources, "tokenizer": digest, "vocab": vocab},
                "versions": self.loaded.config.get("versions") or {},
            },
            same=SAME,
            tokenizer=self.loaded.tokenizer_json(),
            exam=exam,
            patience=options.patience,
            start=self.start,
            learner=lambda whole: self.over("train", whole),
            workers=workers,
        )

        def expect(extent: Extent) -> None:
            what = (
                "the head on features of the frozen trunk"
                if self.trunks
                else "fresh weights"
                if self.about["scratch"]
                else "all weights"
            )
            journal.say(f"seed {seed}: {what}, {options.batch} sequences an update, lr {options.lr:g}")

        names = ("epochs", "steps", "tokens", "minutes")
        found = learn(
            job,
            self.world,
            journal,
            self.loaded.device,
            asked,
            options=names,
            threads=self.threads,
            expect=expect,
            **how,
        )
        return self._finish(run, seed, found["best"], exam, journal)

    def _finish(self, run: Tuned, seed: int, best: int, exam: Dev, journal: Journal) -> dict[str, Any]:
        """Scores with intervals of the best step, by all processes; result.json."""
        world, place = self.world, self.loaded.device
        with world.agreed(), torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
            member = build(self.recipe).to(place)
            if world.first:
                load_weights(member, load_step(run, best).weights, str(run.step(best)))
            config = world.tell(run.config() if world.first else None)
        for tensor in weights_of(member).values():
            world.put(tensor.data, tensor.data)
        with threads_set(config["threads"]):
            scores, known = exam.scores(member, world)
        lines = world.tell(_examined(run) if world.first else None)
        history = [
            {"step": line["step"], "epoch": exam.epoch(line["step"]), **line["evaluation"][self.kind.term]}
            for line in lines
        ]
        result = {
            "format": FORMAT,
            "kind": "finetune",
            "task": self.about["kind"],
            "seed": seed,
            "best": best,
            "chosen_by": self.kind.best(self.known),
        }
        if known.threshold != self.known.threshold:
            result["threshold"] = known.threshold
        result |= {"dev": scores, "epochs": history, "texts": self.texts}
        shown = ", ".join(f"{name} {s['value']:.4f} [{s['low']:.4f}, {s['high']:.4f}]" for name, s in scores.items())
        with world.agreed():
            if world.first:
                with run.locked():
                    journal.open(run)
                    files.write(run / RESULT, files.sealed(result))
                    journal.say(f"seed {seed}: best after {exam.epoch(best):g} epochs: {shown}")
                    journal.close()
        return json.loads(json.dumps(result))


def _examined(run: Tuned) -> list[dict]:
    """The lines of metrics.jsonl that have an evaluation."""
    with open(run / METRICS, "rb") as file:
        return [line for line in map(json.loads, file) if "evaluation" in line]


def _over_seeds(
    results: list[dict], out: Path, task: str, best_by: str, world: World, say: Callable[[str], None]
) -> dict[str, Any]:
    scores = {name: metrics.spread([r["dev"][name]["value"] for r in results]) for name in results[0]["dev"]}
    best = max(results, key=lambda r: (r["dev"][best_by]["value"], -r["seed"]))["seed"]
    result = {
        "format": FORMAT,
        "kind": "finetune",
        "task": task,
        "seeds": [r["seed"] for r in results],
        "best_seed": best,
        "over_seeds": scores,
        "results": results,
    }
    if world.first:
        files.write(out / RESULT, files.sealed(result))
    for name, found in scores.items():
        say(f"{name}: {found['mean']:.4f} ± {found['spread']:.4f} over {len(results)} seeds")
    return result


# -- before anything is written -----------------------------------------------------------------------------------------------------


def _check_out(out: Path, seeds: int, resume: bool) -> None:
    """InputError unless `out` is free, or holds what was not finished, or (resume) what is gone on with."""
    if seeds == 1:
        if SEED.search(" ".join(os.listdir(out) if out.is_dir() else ())):
            raise InputError(f"{printable(out)}: --out holds fine-tunings of several seeds; choose another place")
        if not resume and os.path.lexists(out / RESULT):
            raise InputError(f"{printable(out)}: --out holds a fine-tuned model already; choose another place")
        return Tuned(out).check_free(resume)
    files.refuse_unless_replaceable(out, _of_seeds, "fine-tuning of several seeds", force=False)
    if not resume and os.path.lexists(out / RESULT):
        raise InputError(f"{printable(out)}: --out holds a fine-tuned model already; choose another place")
    for name in sorted(os.listdir(out)) if out.is_dir() else ():
        if SEED.fullmatch(name):
            Tuned(out / name).check_free(resume)


def _of_seeds(name: str) -> bool:
    return name == RESULT or name.startswith(f".{RESULT}.tmp-") or SEED.fullmatch(name) is not None


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


def _encoded(loaded: Loaded, kind: kinds.Kind, rows: Any, reading: Reading, say: Callable[[str], None]) -> Encoded:
    found = kind.encode(loaded.tokenizer, rows, reading)
    say_long(found, printable(rows.path), reading, say)
    return found


def _check_lengths(rows: Any, data: Encoded, reading: Reading) -> None:
    if reading.on_long == "truncate" and data.counts["long"] == data.rows > 1:
        raise InputError(
            f"{printable(rows.path)}: every one of its {data.rows} texts is longer than {reading.length} tokens and would be cut; "
            "--on-long window reads all of them, --set length=N takes longer ones"
        )


def _say_overlap(rows: dict[str, Any], say: Callable[[str], None]) -> None:
    seen = frozenset(rows["train"].inputs())
    both = sum(row in seen for row in rows["dev"].inputs())
    if both:
        say(f"warning: {both} of the {len(rows['dev'])} dev texts stand in the training file too")


def _recipe(recipe: Recipe, objective: Any, options: FineTuning, method: str) -> Recipe:
    if hasattr(objective, "pooler"):
        objective = replace(objective, pooler=getattr(recipe.objective, "pooler", "tanh"))
    return replace(
        recipe,
        objective=objective,
        model=replace(recipe.model, dropout=options.dropout),
        schedule=options.schedule(method),
        training=options.training(),
    )
