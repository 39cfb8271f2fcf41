"""Epoch after epoch of a fine-tuning, one seed at a time; the step that was best on the dev file is kept."""

from __future__ import annotations

import json
import math
import time
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from bertsmith import __version__, files
from bertsmith.config import to_dict
from bertsmith.data.batch import Stream
from bertsmith.data.draw import hashed
from bertsmith.downstream.embed import pooled, states
from bertsmith.downstream.model import RESULT, RESULT_FORMAT, Loaded, Tuned
from bertsmith.downstream.predict import values_of
from bertsmith.downstream.tuning import FineTuning
from bertsmith.errors import Interrupted, printable
from bertsmith.nn.member import MemberModel
from bertsmith.recipe import Recipe
from bertsmith.tasks import kinds
from bertsmith.tasks.labels import Labels
from bertsmith.tasks.sequences import Encoded
from bertsmith.training.checkpoint import State, load_step, load_weights, save_step, weights_of
from bertsmith.training.log import Journal, Metrics
from bertsmith.training.optim import build_optimizer, rate_at, set_rate
from bertsmith.training.precision import Precision
from bertsmith.training.run import CONFIG, FORMAT, METRICS, TOKENIZER, remove, threads_set
from bertsmith.training.step import train_step
from bertsmith.training.stop import Stop

CACHE = 2 << 30  # bytes of features that are held
KEEP = 2  # saved epochs: the newest, and the best or the one before


class Cached(nn.Module):
    """Stands where the trunk stood: a "token" is the number of a place, its hidden state that place's feature."""

    def __init__(self, features: torch.Tensor):
        super().__init__()
        self.features = features

    def forward(self, stream: Stream, read: torch.Tensor | None = None) -> torch.Tensor:
        rows = stream.tokens if read is None else stream.tokens[read]
        return self.features[rows]


class Still(nn.Module):
    """A trunk that never learns: in eval mode, without gradient; its weights are no parameters of whoever holds it."""

    def __init__(self, trunk: nn.Module):
        super().__init__()
        self.trunk = (trunk.eval(),)

    @torch.no_grad()
    def forward(self, stream: Stream, read: torch.Tensor | None = None) -> torch.Tensor:
        return self.trunk[0](stream, read)


class Tuning:
    """What all seeds share; `run` trains one."""

    def __init__(self, loaded, recipe, kind, known, options, about, rows, data, targets, place, threads, say, progress):
        self.loaded: Loaded = loaded
        self.recipe: Recipe = recipe
        self.kind: kinds.Kind = kind
        self.known: Labels = known
        self.options: FineTuning = options
        self.about: dict = about
        self.rows: dict[str, Any] = rows
        self.data: dict[str, Encoded] = data
        self.targets: dict[str, Any] = targets
        self.asked = {name: kind.asked(part, targets[name]) for name, part in data.items()}
        self.place, self.threads, self.say, self.progress = place, threads or torch.get_num_threads(), say, progress
        self.precision = Precision.choose(options.precision, place)
        self.trunks: dict[str, nn.Module] = {}  # where the trunk is frozen: what stands in its place for each part
        if about["method"] == "frozen":
            with threads_set(self.threads):
                self._freeze()

    def _freeze(self) -> None:
        """Features are computed once where they can be held, else anew whenever they are read."""
        width = self.recipe.model.width
        if sum(len(part.places) for part in self.data.values()) * width * 4 > CACHE:
            self.trunks = {name: Still(self.loaded.member.model.to(self.place)) for name in self.data}
            return
        for name, part in self.data.items():
            features = pooled(self.loaded, part, self.options.pool) if self.kind.pools else states(self.loaded, part)
            self.trunks[name] = Cached(torch.from_numpy(features).to(self.place))
        self.data = {name: part.places_alone() for name, part in self.data.items()}

    def over(self, part: str, whole: MemberModel) -> MemberModel:
        """The member that reads `self.data[part]`."""
        return MemberModel(self.trunks[part], whole.objective) if self.trunks else whole

    def member(self, seed: int) -> MemberModel:
        """The whole member under this seed: trunk of the model (or fresh), fresh head, the pooler taken over where there is one."""
        torch.manual_seed(int(hashed(seed, "weights")[0]))
        model = self.recipe.model.build()
        whole = MemberModel(model, self.recipe.objective.build(model))
        if not self.about["scratch"]:
            state = weights_of(self.loaded.member)
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
                "the head on features of the frozen trunk"
                if self.trunks
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
        learner, schedule = self.over("train", whole), self.options.schedule()
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
                scores = self._evaluate(self.over("dev", whole))
                line["evaluation"] = {self.kind.term: scores}
                history.append({"step": step, "epoch": epoch + 1, **scores})
            lines.write(line)
            seconds = time.monotonic() - begun
            self.progress(step, steps, outcome.loss, tokens / seconds, seconds / step * (steps - step))
            if at == per_epoch - 1:
                rank = (scores[self.kind.best(self.known)], -scores["loss"])
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
            for b in (train.batch(g, self.asked["train"]) for g in groups)
        ]
        counts = {self.kind.term: int(self.asked["train"].each[which].sum())}
        return batches, counts, int(train.lengths[which].sum())

    def _judged(self, member: MemberModel) -> tuple[Any, Labels, float]:
        """Of the dev file: what is said, the labels with what is chosen on it, the loss.

        float32 'highest', so that `bertsmith evaluate` gives the same numbers.
        """
        data, rows, targets = self.data["dev"], self.rows["dev"], self.targets["dev"]
        values = values_of(member, data, Precision.exact(self.place))
        said = self.kind.said(data, rows, values)
        return said, self.kind.settled(targets, said, self.known), self.kind.loss(data, self.asked["dev"], values)

    def _evaluate(self, member: MemberModel) -> dict[str, float]:
        """Dev scores without intervals."""
        said, known, loss = self._judged(member)
        scores = self.kind.score(self.targets["dev"], said, known, resamples=0)
        return {
            "loss": loss,
            **{name: found["value"] for name, found in scores.items()},
            "count": len(self.rows["dev"]),
        }

    def _finish(self, run: Tuned, seed: int, best: int, history: list[dict], journal: Journal) -> dict[str, Any]:
        chosen = run.step(best)
        member = self.member(seed)
        load_weights(member, load_step(run, best).weights, str(chosen))
        said, known, _ = self._judged(self.over("dev", member))
        scores = self.kind.score(self.targets["dev"], said, known)
        truncation = {name: part.counts for name, part in self.data.items()}
        result = {
            "format": RESULT_FORMAT,
            "kind": "finetune",
            "task": self.about["kind"],
            "seed": seed,
            "best": best,
            "chosen_by": self.kind.best(self.known),
        }
        if known.threshold != self.known.threshold:
            result["threshold"] = known.threshold
        result |= {"dev": scores, "epochs": history, "texts": truncation}
        files.write(run / RESULT, files.sealed(result))
        shown = ", ".join(f"{name} {s['value']:.4f} [{s['low']:.4f}, {s['high']:.4f}]" for name, s in scores.items())
        journal.say(f"seed {seed}: best after {next(h['epoch'] for h in history if h['step'] == best)} epochs: {shown}")
        return json.loads(json.dumps(result))
