"""What a run has on disk while it works, and what is added to it.  Process 0 has the record; the others have `Elsewhere`."""

from __future__ import annotations

import json

import torch
from torch import Tensor, nn

from bertsmith import files
from bertsmith.errors import InputError, printable
from bertsmith.spelling import flag, option
from bertsmith.training import checkpoint
from bertsmith.training.log import Events, Journal, Metrics
from bertsmith.training.run import CONFIG, ENTITIES, METRICS, STEPS, TOKENIZER, Run, remove
from bertsmith.training.saving import help_save, save_step


class Record:
    """config.json, metrics.jsonl and the steps of one run, behind its lock."""

    def __init__(
        self,
        run: Run,
        config: dict,
        tokenizer: bytes,
        journal: Journal,
        keep: int,
        patience: int | None = None,
        entities: bytes | None = None,
    ):
        self.patience, self.entities = patience, entities
        self.run, self.config, self.tokenizer, self.journal, self.keep = run, config, tokenizer, journal, keep
        names = ("device", "threads", "processes", "shard", "precision", "versions")
        self.environment = {name: config[name] for name in names}
        self.found: checkpoint.Saved | None = None  # what the run goes on from

    def stands(self) -> dict | None:
        """{state, finished: the last line of a run that is at its end, else None}; None where there is nothing to go on from."""
        steps = self.config["steps"]
        self.found = checkpoint.load_newest(self.run, self.journal.say)
        if self.found is None:
            return None
        state = self.found.state
        if state.step > steps:
            raise InputError(
                f"{printable(self.run.path)}: {flag('resume')}: the run stands at step {state.step}, beyond {option('steps', steps)}"
            )
        finished = self._last() if state.step == steps or state.ends(self.patience) else None
        if finished:  # killed after its last step was saved it may have left something; one that ended well has not
            with files.writing(self.run.path):
                self.run.clean()
                checkpoint.prune(self.run, self.keep, _best(state))
        return {"state": checkpoint.state_tree(state), "finished": finished}

    def _last(self) -> dict | None:
        """The line that closes metrics.jsonl; None where a signal cut the last evaluation short, so that it is still missing."""
        with open(self.run / METRICS, "rb") as file:
            lines = file.read().splitlines(keepends=True)
        try:
            last = json.loads(lines[-1]) if lines and lines[-1].endswith(b"\n") else {}
        except ValueError:
            return None
        rest = len(lines[-1]) if lines and self.found.state.pending else 0
        whole = last.get("step") == self.found.state.step and sum(map(len, lines)) == self.found.metrics + rest
        return last if whole else None

    def begin(self, old: dict | None, tensorboard: bool) -> None:
        """Make ready to write: what a killed process left goes, what comes after the step that the run goes on from too."""
        run, found = self.run, self.found
        with files.writing(run.path):
            run.clean(everything=found is None)
            for name in run.results:
                remove(run / name)
        self._write_config(old)
        if found:
            self._go_back(found.state)
        self.metrics = Metrics(run / METRICS, found.metrics if found else 0)
        with files.writing(run.path):
            (run / STEPS).mkdir(exist_ok=True)
            files.sync(run.path)
            files.sync(run.path.absolute().parent)
        self.journal.open(run)
        self.events = Events(run, tensorboard, found.state.step if found else 0, self.journal.say)
        self.found = None  # its tensors are in use now

    def _write_config(self, old: dict | None) -> None:
        """A resumed run keeps its config.json, byte for byte, unless something that may change did."""
        run = self.run
        if old:
            kept = [name for name in ("recipe", "steps", "budget", "task") if name in old]
            if all(old[name] == self.config[name] for name in kept):
                return
            self.config = {**old, **{name: self.config[name] for name in kept}}
            self.config["previous"] = [*old.get("previous", []), files.sha256(run / CONFIG)]
        else:
            with files.writing(run / TOKENIZER):
                files.write(run / TOKENIZER, self.tokenizer)
                if self.entities is not None:
                    files.write(run / ENTITIES, self.entities)
        files.write(run / CONFIG, files.sealed(self.config))

    def _go_back(self, to: checkpoint.State) -> None:
        with files.writing(self.run / STEPS):
            for step in self.run.named():
                if step > to.step:  # it did not verify, and is made again bit by bit
                    remove(self.run.step(step))
            checkpoint.prune(self.run, self.keep, _best(to))  # it may be lower than when the steps were saved

    def write(self, line: dict) -> None:
        self.metrics.write(line)
        self.events.write(line)

    def save(
        self,
        state: checkpoint.State,
        member: nn.Module,
        optimizer: torch.optim.Optimizer,
        memory: dict[str, Tensor],
        averaged: dict[str, Tensor],
    ) -> None:
        metrics, best = self.metrics.sealed(), _best(state)
        save_step(self.run, state, member, optimizer, metrics, self.environment, self.keep, best, memory, averaged)

    def close(self) -> None:
        self.metrics.close()
        self.journal.close()
        self.events.close()


def _best(state: checkpoint.State) -> int | None:
    return state.best["step"] if state.best else None


class Elsewhere:
    """The record of a process that has none."""

    found = None

    def stands(self) -> None: ...

    def begin(self, old: dict | None, tensorboard: bool) -> None: ...

    def write(self, line: dict) -> None: ...

    def save(
        self,
        state: checkpoint.State,
        member: nn.Module,
        optimizer: torch.optim.Optimizer,
        memory: dict[str, Tensor],
        averaged: dict[str, Tensor],
    ) -> None:
        help_save(member, optimizer)

    def close(self) -> None: ...
