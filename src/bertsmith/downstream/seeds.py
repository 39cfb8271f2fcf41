"""A fine-tuning at work: what all of its seeds share, and the run of one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from typing import Any

import torch

from bertsmith import files
from bertsmith.data.segmentation import Segmentation
from bertsmith.downstream.beginning import Beginning
from bertsmith.downstream.dev import Dev
from bertsmith.downstream.frozen import stand_ins
from bertsmith.downstream.grown import Decoder
from bertsmith.downstream.labelled_files import Say
from bertsmith.downstream.methods import Method, faster
from bertsmith.downstream.model import Loaded
from bertsmith.downstream.task import Task
from bertsmith.downstream.tuned import RESULT, RESULT_FORMAT, Tuned
from bertsmith.downstream.tuning import LENGTHS, FineTuning, spelt
from bertsmith.errors import InputError, printable
from bertsmith.nn.member import blank, build
from bertsmith.nn.modules.member import MemberModel
from bertsmith.objectives.alongside import Alongside
from bertsmith.objectives.distilled import led_by
from bertsmith.objectives.inturn import InTurn
from bertsmith.objectives.layers import OverLayers
from bertsmith.objectives.modules.distilled import Teacher
from bertsmith.recipe import Recipe
from bertsmith.spelling import amount, option
from bertsmith.tasks import metrics
from bertsmith.tasks.breakdown import beside
from bertsmith.tasks.labels import Labels
from bertsmith.training.budget import Budget, Extent
from bertsmith.training.distributed import World
from bertsmith.training.job import Job
from bertsmith.training.learn import learn
from bertsmith.training.log import Journal
from bertsmith.training.optim import share_of
from bertsmith.training.precision import threads_set
from bertsmith.training.run import METRICS
from bertsmith.training.saving import weights_of

SAME = (
    "data.tokenizer",
    "data.train.sha256",
    "data.train.few",
    "data.dev.sha256",
    "task",
    "recipe",
    "seed",
    "from.weights",
)


class Tuning:
    """What all seeds share; `run` trains one."""

    @spelt()
    def __init__(
        self,
        loaded: Loaded,
        task: Task,
        options: FineTuning,
        method: Method,
        scratch: bool,
        world: World,
        say: Say,
        threads: int | None,
        decoder: Decoder | None = None,
        inside: Loaded | None = None,
    ):
        self.loaded, self.task, self.options, self.scratch = loaded, task, options, scratch
        self.world, self.say, self.threads = world, say, threads
        self.decoder, self.inside = decoder, inside
        self.method = method
        chosen = options.said() | method.said(options)
        self.about = {**task.about, "method": method.name, "scratch": scratch, "settings": chosen}
        if decoder is not None:
            self.about |= decoder.about
        self.recipe = _recipe(loaded.recipe, task, options, method, inside)
        self.counts = task.counts
        self.heard: dict[int, tuple[Any, Labels]] = {}  # by seed: what its best step says of the dev rows
        self.mixed: dict[int, dict[str, Any]] = {}  # by seed: how its best step mixes the layers
        self.trunks: dict[str, Any] = {}  # where the trunk is frozen: what stands in its place for each part
        self.trained = trained_of(self.recipe, method)
        how = {"options": options, "method": method, "scratch": scratch, "decoder": decoder}
        self.beginning = Beginning(loaded=loaded, recipe=self.recipe, task=self.about, **how)
        if method.still:
            with threads_set(threads):
                self.trunks, data = stand_ins(loaded, task.data, task.kind.pools, options.pool, options.layers)
            self.task = replace(task, data=data)

    def over(self, part: str, whole: MemberModel) -> MemberModel:
        """The member that reads `self.task.data[part]`."""
        return MemberModel(self.trunks[part], whole.objective) if self.trunks else whole

    def learner(self, whole: MemberModel) -> MemberModel:
        """Who reads the training rows, beside the teacher whose layers are learned."""
        if self.inside is not None and whole.objective.teacher is None:
            whole.objective.teacher = Teacher(self.inside.member)
        return self.over("train", whole)

    def exam(self, seed: int, asked: Budget) -> Dev:
        """The dev rows, while a run of one seed works."""
        over_dev = lambda whole: self.over("dev", whole)
        return self.task.exam(self.loaded.device, self.task.feed(seed).epoch(0).steps, asked.epochs or 0, over=over_dev)

    @spelt()
    def run(self, run: Tuned, seed: int, asked: Budget, workers: int, share: float = 1.0, **how: Any) -> dict[str, Any]:
        """What result.json says; {paused: the update} of a run that pauses before its end."""
        journal, feed = Journal(self.say), self.task.feed(seed)
        exam = self.exam(seed, asked)
        if self.world.first:
            exam.past = lambda: _lines(run)
        for note in exam.notes:
            journal.say(note)
        kind = self.task.kind
        vocab, digest = asdict(self.loaded.vocab), self.loaded.tokenizer.digest
        names = self.loaded.entities_txt()
        known = {} if names is None else {"entities": hashlib.sha256(names).hexdigest()}
        job = Job(
            run=run,
            recipe=self.recipe,
            feed=feed,
            seed=seed,
            kept={
                "kind": run.kind,
                "task": self.about,
                "data": {**self.task.sources, "tokenizer": digest, "vocab": vocab, **known},
                "versions": self.loaded.config.get("versions") or {},
                **({"vectors": kind.vectors(self.options.pool)} if kind.embeds else {}),  # type: ignore[attr-defined]
            },
            same=SAME,
            tokenizer=self.loaded.tokenizer_json(),
            entities=names,
            exam=exam,
            patience=self.options.patience,
            start=self.beginning.start,
            trained=self.trained["parameters"],
            alone=self.method.alone,
            learner=self.learner,
            share=share,
            workers=workers,
        )

        def expect(extent: Extent, steps: int) -> None:
            self.options.check_taught(steps / extent.steps)
            what = "fresh weights" if self.scratch else learning(self.method, self.trained, "head")
            if self.decoder is not None and self.decoder.encoder == "fresh":
                what = "all weights, the encoder's fresh"
            lasts = f"{amount(steps, 'update')} in {amount(steps / extent.steps, 'epoch', form='.3g')}"
            journal.say(
                f"seed {seed}: {what}, {amount(self.options.batch, 'sequence')} an update, lr {self.options.lr:g}, {lasts}"
            )

        place, options = self.loaded.device, {"options": LENGTHS, "threads": self.threads, "expect": expect}
        options["default"] = Budget(epochs=self.options.epochs)
        found = learn(job, self.world, journal, place, asked, **options, **how)
        if "paused" in found:
            return {"paused": found["steps"]}
        with self.world.agreed():
            made = self.world.tell(run.result() if self.world.first else None)  # it goes where a run goes on
        return made or self._finish(run, seed, found["best"], exam, journal)

    def _finish(self, run: Tuned, seed: int, best: int, exam: Dev, journal: Journal) -> dict[str, Any]:
        """Scores with intervals of the best step, by all processes; result.json."""
        world, known, term = self.world, self.task.known, self.task.kind.term
        lines = self._hear(run, seed, best, exam)
        said, settled = self.heard[seed]
        found = exam.scores(said, settled)
        epochs = [
            {
                "step": line["step"],
                "epoch": exam.epoch(line["step"]),
                "training_loss": exam.training_loss(lines, line["step"]),
                **line["evaluation"][term],
            }
            for line in lines
            if "evaluation" in line
        ]
        result = {
            "format": RESULT_FORMAT,
            "kind": "finetune",
            "task": self.about["kind"],
            "seed": seed,
            "best": best,
            "chosen_by": self.task.kind.best(known),
            **settled.chosen(known),
            **found,
            "trained": self.trained,
            **({"layers": self.mixed[seed]} if seed in self.mixed else {}),
            "epochs": epochs,
            "texts": self.counts,
        }
        shown = ", ".join(f"{name} {metrics.said(s)}{beside(found, name)}" for name, s in found["dev"].items())
        with world.agreed():
            if world.first:
                with run.locked():
                    journal.open(run)
                    files.write(run / RESULT, files.sealed(result))
                    journal.say(f"seed {seed}: best after {amount(exam.epoch(best), 'epoch', form='g')}: {shown}")
                    journal.close()
        return json.loads(json.dumps(result))

    def said(self, run: Tuned, result: dict) -> tuple[Any, Labels]:
        """What the best step of a finished run says of the dev rows, and its labels; by all processes."""
        if result["seed"] not in self.heard:
            self._hear(
                run,
                result["seed"],
                result["best"],
                self.task.exam(self.loaded.device, 1, over=lambda whole: self.over("dev", whole)),
            )
        return self.heard[result["seed"]]

    def _hear(self, run: Tuned, seed: int, best: int, exam: Dev) -> list[dict]:
        """Into `heard`; returns the lines of metrics.jsonl."""
        member, threads, lines = best_step(self.beginning, run, best, self.world)
        if getattr(member.objective, "mix", None) is not None:
            self.mixed[seed] = member.objective.shares()
        with threads_set(threads):
            self.heard[seed] = exam.said_of(member, self.world)
        return lines


def learning(method: Method, trained: dict[str, Any], head: str) -> str:
    """What learns, in words; `head`: "head", or "heads" of several tasks."""
    count, of = trained["parameters"], trained["of"]
    beside = "" if method.learns is None else f" and {head}"
    some = f": {count:,} of {amount(of, 'parameter')} ({count / of:.2%})"
    return f"{method.parts}{beside}{some if count < of else ''}"


def best_step(beginning: Beginning, run: Tuned, best: int, world: World) -> tuple[MemberModel, int, list[dict]]:
    """(the member at step `best`, on all processes; threads; the lines of metrics.jsonl)."""
    place = beginning.loaded.device
    with world.agreed(), torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        member = beginning.restored(run, best) if world.first else blank(beginning.recipe).to(place)
        threads, lines = world.tell(written_of(run) if world.first else None)
    for tensor in weights_of(member).values():
        world.put(tensor.data, tensor.data)
    return member, threads, lines


def written_of(run: Tuned) -> tuple[int, list[dict]]:
    """(threads, the lines of metrics.jsonl)."""
    config = run.config()
    assert config is not None  # it has just been learned
    return config["threads"], _lines(run)


def _lines(run: Tuned) -> list[dict]:
    with open(run / METRICS, "rb") as file:
        return [json.loads(line) for line in file]


def trained_of(recipe: Recipe, method: Method) -> dict[str, Any]:
    """How many parameters learn, of how many.  InputError where nothing of the trunk does, which a method is for."""
    with torch.device("meta"):
        member = build(recipe)
    sizes = {name: p.numel() for name, p in member.named_parameters()}
    learn = {name for name in sizes if share_of(name, member, recipe.schedule).rate > 0}
    if method.learns and not any(name.startswith("model.") for name in learn):
        raise InputError(
            f"{option('method', method.name)}: nothing of {recipe.name} is called {' or '.join(method.learns)}, so that its head alone would learn; "
            f"use {option('method', 'frozen')}, or another"
        )
    return {"parameters": sum(sizes[name] for name in learn), "of": sum(sizes.values())}


def _recipe(recipe: Recipe, task: Task, options: FineTuning, method: Method, inside: Loaded | None) -> Recipe:
    """`inside`: the teacher whose layers are learned first."""
    objective = task.objective(recipe.objective)
    if inside is not None:
        who = f"teacher {printable(inside.run)}"
        led = led_by(options.taught, inside.recipe.model, recipe.model, who, "taught")
        objective = InTurn(objective=objective, taught=options.taught, teacher=led)
    if options.layers:
        objective = OverLayers(objective=objective, layers=options.layers, how=method.reads)
    surgery = method.surgery(options)
    if options.auxiliary:
        objective = Alongside(objective=objective, auxiliary=recipe.objective, weight=options.auxiliary)
    schedule = options.schedule(method)
    groups = faster(objective, "objective", schedule.lr)
    return replace(
        recipe,
        objective=objective,
        model=replace(recipe.model, dropout=options.dropout),
        schedule=replace(schedule, groups=(*groups, *schedule.groups)),
        segmentation=Segmentation(),  # rows are cut once
        training=options.training(),
        surgery=recipe.surgery if surgery is None else surgery,
    )
