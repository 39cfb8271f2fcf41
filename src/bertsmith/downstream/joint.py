"""A tuning to several tasks at work: what all of its seeds share, and the run of one."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from bertsmith import files
from bertsmith.config import from_dict, to_dict
from bertsmith.data.mixture import Annealed, Mixture, Shares
from bertsmith.data.text import Text
from bertsmith.downstream import several
from bertsmith.downstream.beginning import Beginning
from bertsmith.downstream.devs import Devs
from bertsmith.downstream.labelled_files import Say
from bertsmith.downstream.methods import Method
from bertsmith.downstream.mixing import with_heads
from bertsmith.downstream.model import Loaded
from bertsmith.downstream.seeds import best_step, learning, trained_of, written_of
from bertsmith.downstream.task import Task
from bertsmith.downstream.tasks_file import OF_ONE, Feeds
from bertsmith.downstream.tuned import RESULT, RESULT_FORMAT, Tuned
from bertsmith.downstream.tuning import LENGTHS, FineTuning, spelt
from bertsmith.objectives.mixed import Mixed, Part
from bertsmith.recipe import Recipe
from bertsmith.spelling import amount
from bertsmith.tasks import metrics
from bertsmith.tasks.breakdown import beside
from bertsmith.training.budget import Budget, Extent
from bertsmith.training.distributed import World
from bertsmith.training.job import Job
from bertsmith.training.learn import learn
from bertsmith.training.log import Journal
from bertsmith.training.precision import threads_set
from bertsmith.training.pretraining import exam_of, said_of

MEAN = "mean"  # of the tasks' main scores: what chooses the step
CONTENT = ("digest", "train.sha256", "dev.sha256", "task")  # of a feed: what its files hold, and how rows are read
SAME = ("data.tokenizer", "task", "recipe", "seed", "from.weights", "mixture")


class Joint:
    """What all seeds share; `run` trains one.  `stores`: the texts of `feeds`, opened."""

    @spelt()
    def __init__(
        self,
        loaded: Loaded,
        feeds: Feeds,
        tasks: Mapping[str, Task],
        stores: Mapping[str, Any],
        options: FineTuning,
        method: Method,
        scratch: bool,
        world: World,
        say: Say,
        threads: int | None,
    ):
        self.loaded, self.feeds, self.tasks, self.stores = loaded, feeds, tasks, stores
        self.options, self.method, self.scratch = options, method, scratch
        self.world, self.say, self.threads = world, say, threads
        chosen = options.said() | method.said(options)
        self.about = {"kind": several.KIND, "method": method.name, "scratch": scratch, "settings": chosen}
        self.text = text_recipe(loaded.recipe, options)
        self.recipe = _recipe(loaded.recipe, feeds, tasks, options, method)
        self.trained = trained_of(self.recipe, method)
        how = {"options": options, "method": method, "scratch": scratch}
        self.beginning = Beginning(loaded=loaded, recipe=self.recipe, **how)

    def mixture(self, seed: int, shares: Shares) -> Mixture:
        """An epoch has the tasks' rows; texts are read meanwhile."""
        parts = {
            name: self.tasks[name].feed(seed) if name in self.tasks else Text.of(self.text, self.stores[name], seed)
            for name in self.feeds.names
        }
        return Mixture(parts, shares, seed=seed, each=self.feeds.each, paced=tuple(self.tasks))

    def shares(self, run: Tuned, seed: int, asked: Budget, resume: bool) -> Shares:
        """Those that are asked for; what is annealed by the epochs that the run will have."""
        shares = self.feeds.shares
        if not isinstance(shares, Annealed):
            return shares
        begun = run.begun() if resume and self.world.first else None
        begun = self.world.tell(begun)
        if begun and not asked.given:  # its length is that of the run
            return from_dict(begun["mixture"]["shares"])
        mixture = self.mixture(seed, shares)
        extent = Extent.of(mixture)
        steps = (asked if asked.given else Budget(epochs=self.options.epochs)).in_steps(extent, mixture)
        assert steps is not None  # minutes are refused
        return replace(shares, steps=extent.steps, epochs=max(1, math.ceil(steps / extent.steps)))

    @spelt()
    def run(self, run: Tuned, seed: int, asked: Budget, workers: int, **how: Any) -> dict[str, Any]:
        journal = Journal(self.say)
        with self.world.agreed():
            mixture = self.mixture(seed, self.shares(run, seed, asked, how["resume"]))
        exam = self._exam(Extent.of(mixture).steps, asked.epochs or 0, journal)
        if self.world.first:
            exam.first.past = lambda: written_of(run)[1]
        vocab, digest = asdict(self.loaded.vocab), self.loaded.tokenizer.digest
        about = {
            name: _said_of(self.tasks[name]) if name in self.tasks else said_of(self.stores[name])
            for name in self.feeds.names
        }
        job = Job(
            run=run,
            recipe=self.recipe,
            feed=mixture,
            seed=seed,
            kept={
                "kind": run.kind,
                "task": self.about,
                "data": {"tokenizer": digest, "vocab": vocab, "feeds": about},
                "mixture": {"shares": to_dict(mixture.shares), "each": mixture.each},
                "versions": self.loaded.config.get("versions") or {},
            },
            same=(*SAME, *(f"data.feeds.{name}.{field}" for name in self.feeds.names for field in CONTENT)),
            tokenizer=self.loaded.tokenizer_json(),
            exam=exam,
            patience=self.options.patience,
            start=self.beginning.start,
            trained=self.trained["parameters"],
            alone=self.method.alone,
            workers=workers,
        )

        def expect(extent: Extent, steps: int) -> None:
            lasts = f"{amount(steps, 'update')} in {amount(steps / extent.steps, 'epoch', form='.3g')}"
            what = "fresh weights" if self.scratch else learning(self.method, self.trained, "heads")
            journal.say(f"seed {seed}: {what}, lr {self.options.lr:g}, {lasts}")
            journal.say(_said_shares(mixture))

        place, options = self.loaded.device, {"options": LENGTHS, "threads": self.threads, "expect": expect}
        options["default"] = Budget(epochs=self.options.epochs)
        found = learn(job, self.world, journal, place, asked, **options, **how)
        with self.world.agreed():
            made = self.world.tell(run.result() if self.world.first else None)  # it goes where a run goes on
        return made or self._finish(run, seed, found["best"], exam, journal)

    def _exam(self, steps: int, epochs: float, journal: Journal) -> Devs:
        place = self.loaded.device
        devs = {name: task.exam(place, steps, epochs, feed=name) for name, task in self.tasks.items()}
        texts = [exam_of(self.text, store, journal, name) for name, store in self.stores.items()]
        return Devs(devs, [exam for exam in texts if exam is not None])

    def _finish(self, run: Tuned, seed: int, best: int, exam: Devs, journal: Journal) -> dict[str, Any]:
        """Scores with intervals of the best step, by all processes; result.json."""
        world = self.world
        member, threads, lines = best_step(self.beginning, run, best, world)
        tasks, drawn = {}, []
        with threads_set(threads):
            for number, (name, dev) in enumerate(exam.devs.items()):
                said, known = dev.said_of(member, world)
                chosen_by = dev.kind.best(known)
                about = {"task": dev.kind.name, "chosen_by": chosen_by, **known.chosen(self.tasks[name].known)}
                tasks[name] = {**about, **dev.scores(said, known), "texts": self.tasks[name].counts}
                figures = dev.kind.figures(dev.targets, said, known)
                found = metrics.resampled(figures, len(dev.targets), [number, 0])
                drawn.append(found[chosen_by] / dev.whole)
        main = {f"{name}.{task['chosen_by']}": task["dev"][task["chosen_by"]] for name, task in tasks.items()}
        result = {
            "format": RESULT_FORMAT,
            "kind": "finetune",
            "task": several.KIND,
            "seed": seed,
            "best": best,
            "chosen_by": MEAN,
            "dev": {MEAN: metrics.interval(np.mean(drawn, axis=0)), **main},
            "tasks": tasks,
            "trained": self.trained,
            "epochs": [exam.told(line, lines) for line in lines if "evaluation" in line],
        }
        with world.agreed():
            if world.first:
                with run.locked():
                    journal.open(run)
                    files.write(run / RESULT, files.sealed(result))
                    journal.say(f"seed {seed}: best after {amount(exam.first.epoch(best), 'epoch', form='g')}:")
                    for line in scores_said(result):
                        journal.say(line)
                    journal.close()
        return json.loads(json.dumps(result))


def scores_said(result: Mapping[str, Any]) -> list[str]:
    """A line for each task of a result, and their mean."""
    shown = [
        f"  {name}: {', '.join(f'{score} {metrics.said(s)}{beside(task, score)}' for score, s in task['dev'].items())}"
        for name, task in result["tasks"].items()
    ]
    return [
        *shown,
        f"  {MEAN} of {', '.join(name for name in result['dev'] if name != MEAN)}: {metrics.said(result['dev'][MEAN])}",
    ]


def text_recipe(recipe: Recipe, options: FineTuning) -> Recipe:
    """What reads the texts: as in pre-training, as many tokens an update as a full batch of a task would have."""
    batch = options.batch * recipe.layout.length
    return replace(recipe, training=replace(recipe.training, batch=batch, by="tokens", corpus=1.0))


def _said_shares(mixture: Mixture) -> str:
    shares = mixture.shares.at(1, mixture.sizes)
    shown = ", ".join(f"{name} {share:.4f}" for name, share in zip(mixture.feeds, shares.tolist(), strict=True))
    if mixture.each == "all":
        return f"mixture: an update reads {', '.join(mixture.reads(1))}"
    if isinstance(mixture.shares, Annealed):
        last = mixture.shares.at(mixture.shares.steps * mixture.shares.epochs, mixture.sizes)
        ends = ", ".join(f"{name} {share:.4f}" for name, share in zip(mixture.feeds, last.tolist(), strict=True))
        return f"mixture, in the first epoch: {shown}; in the last: {ends}"
    return f"mixture: {shown}"


def _said_of(task: Task) -> dict[str, Any]:
    """As it will be read again: tuples are lists."""
    own = {name: value for name, value in task.options.said().items() if name in OF_ONE}
    return json.loads(json.dumps({"task": {**task.about, "settings": own}, **task.sources}))


def _objective(recipe: Recipe, feeds: Feeds, tasks: Mapping[str, Task]) -> Mixed:
    """Texts share the heads of pre-training, and so do the tasks that write by them; any other has a head of its own."""
    shared = next((name for name in feeds.names if name in feeds.texts), None)
    shared = shared or next((name for name in feeds.names if name in tasks and tasks[name].shares_head), None)
    parts = []
    for name in feeds.names:
        weight = feeds.weights.get(name, 1.0)
        if name != shared and (name in feeds.texts or tasks[name].shares_head):
            parts.append(Part(feed=name, of=shared, weight=weight))
        elif name in feeds.texts:
            parts.append(Part(feed=name, objective=recipe.objective, weight=weight))
        else:
            parts.append(Part(feed=name, objective=tasks[name].objective(recipe.objective), weight=weight))
    return Mixed(parts=tuple(parts))


def _recipe(recipe: Recipe, feeds: Feeds, tasks: Mapping[str, Task], options: FineTuning, method: Method) -> Recipe:
    surgery = method.surgery(options, tuple(tasks))
    found = replace(
        recipe,
        model=replace(recipe.model, dropout=options.dropout),
        schedule=options.schedule(method),
        training=options.training(),
        surgery=recipe.surgery if surgery is None else surgery,
    )
    return with_heads(found, _objective(recipe, feeds, tasks))
