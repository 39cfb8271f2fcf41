"""What a model writes about texts, and the dev file of such a task as an exam: answers are written, then scored."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from bertsmith.data.loader import never
from bertsmith.downstream.dev import Dev
from bertsmith.downstream.search import How, Rules, write
from bertsmith.errors import NumericsError
from bertsmith.nn.modules.apart import reading
from bertsmith.nn.modules.member import MemberModel
from bertsmith.nn.modules.writing import writer_of
from bertsmith.tasks.labels import Labels
from bertsmith.tasks.text2text import Text2Text
from bertsmith.tasks.written import Answer, Pairs
from bertsmith.training.distributed import ALONE, World
from bertsmith.training.evaluate import held_out
from bertsmith.training.precision import Precision
from bertsmith.training.processes import sharded

TOKENS = 4096  # read at once
TEXTS = 64  # written about at once
MOST = 200  # dev texts of an exam on the way


def answers_of(
    member: MemberModel,
    pairs: Pairs,
    kind: Text2Text,
    tokenizer: Any,
    precision: Precision,
    *,
    which: np.ndarray | None = None,
    beam: int = 1,
    world: World = ALONE,
    feed: str = "",
    stop: Callable[[], bool] = never,
) -> list[Answer] | None:
    """What is written about the texts `which` (None: all), in their order; the processes of a world share the work, unless each has a
    slice of the member: then they take the same steps.

    None if `stop()` turned true on the way.
    """
    member.eval()
    alone = MemberModel(member.model, member.objective.of(feed) if feed else member.objective)
    rank, size = (0, 1) if sliced(member) else (world.rank, world.size)
    which = np.arange(len(pairs)) if which is None else which
    groups = _groups(pairs, which, max(1, TEXTS // beam))
    found: dict[int, Answer] = {}
    with precision.policy(), precision.autocast(), reading(feed):
        for at in range(0, len(groups), size):
            mine = groups[min(at + rank, len(groups) - 1)]  # who has none left keeps step with the others
            wrote = member.doing(partial(_written, alone, pairs, mine, kind, tokenizer, precision.device, beam))
            for other, rows in enumerate(world.gather([[a.text, a.score, a.stopped] for a in wrote])[:size]):
                found |= zip(groups[min(at + other, len(groups) - 1)].tolist(), (Answer(*row) for row in rows))
            if stop():
                return None
    return [found[i] for i in which.tolist()]


def sliced(member: torch.nn.Module) -> bool:
    """Whether each process has but a part of the weights."""
    return any(map(sharded, member.parameters()))


def _groups(pairs: Pairs, which: np.ndarray, texts: int) -> list[np.ndarray]:
    """Longest first, cut into groups of at most so many texts, and TOKENS tokens (or one text)."""
    order = which[np.argsort(-pairs.read.lengths[which], kind="stable")]
    found, start = [], 0
    while start < len(order):
        longest = int(pairs.read.lengths[order[start]])
        end = start + max(1, min(texts, TOKENS // longest))
        found.append(order[start:end])
        start = end
    return found


def _written(
    member: MemberModel,
    pairs: Pairs,
    which: np.ndarray,
    kind: Text2Text,
    tokenizer: Any,
    device: torch.device,
    beam: int,
) -> list[Answer]:
    stream = pairs.batch(which).input.to(device)
    vocab, how = tokenizer.vocab, How(limit=kind.limit, beam=beam)
    rules = Rules(size=vocab.size, end=vocab.sep, never=vocab.sentinels)  # no target holds one
    found = write(writer_of(member, stream, pairs.asks), how, rules, which.tolist())
    return [Answer(tokenizer.alone(text.tokens), text.score, text.stopped) for text in found]


class WrittenDev(Dev):
    """On the way at most MOST texts, the same ones each time, are written about, greedily; at the end all, as the task says (`beam`)."""

    kind: Text2Text
    data: Pairs

    def __init__(self, *args: Any, tokenizer: Any, **options: Any):
        super().__init__(*args, **options)
        self.tokenizer = tokenizer
        count = len(self.rows)
        self.some = np.arange(count) if count <= MOST else np.linspace(0, count - 1, MOST).round().astype(np.int64)

    @property
    def notes(self) -> list[str]:
        """What a user should know before it begins."""
        if len(self.some) == len(self.rows):
            return []
        return [
            f"dev: {len(self.some)} of the {len(self.rows):,} texts, always the same, are written about on the way, all at the end"
        ]

    def hold(self, member: MemberModel, precision: Precision, world: World, stop: Callable[[], bool]) -> dict | None:
        training = member.training
        found = self._held(member, world, stop)
        member.train(training)
        return found

    def _held(self, member: MemberModel, world: World, stop: Callable[[], bool]) -> dict | None:
        loss = self._loss(member, world, stop)
        if loss is None:
            return None
        said = self._answers(member, self.some, 1, world, stop)
        if said is None:
            return None
        if not math.isfinite(loss):
            raise NumericsError(
                f"dev file: {self.term}: loss {loss} is not finite; a lower schedule.lr helps most often"
            )
        scores = self.kind.score([self.targets[i] for i in self.some], said, self.known, resamples=0)
        found = {name: score["value"] for name, score in scores.items()}
        return {self.term: {"loss": loss, **found, "count": len(self.some)}}

    def _loss(self, member: MemberModel, world: World, stop: Callable[[], bool] = never) -> float | None:
        """The mean over the tokens of the targets of `some` (where masks ask, over the same hidden ones each time), nothing smoothed."""
        groups = _groups(self.data, self.some, TEXTS)
        batches = [replace(self.data.batch(which, self.asked), feed=self.feed) for which in groups]
        with self.exact.policy():
            found = held_out(member.eval(), batches, self.exact, stop, world)
        return None if found is None else found[self.term]["loss"]

    def _answers(
        self, member: MemberModel, which: np.ndarray | None, beam: int, world: World, stop: Callable[[], bool] = never
    ) -> list[Answer] | None:
        return answers_of(
            member,
            self.data,
            self.kind,
            self.tokenizer,
            self.exact,
            which=which,
            beam=beam,
            world=world,
            feed=self.feed,
            stop=stop,
        )

    def seconds(self, member: MemberModel, precision: Precision, world: World) -> float:
        """By one of its groups, of middling length."""
        groups = _groups(self.data, self.some, TEXTS)
        start = time.monotonic()
        self._answers(member, groups[len(groups) // 2], 1, ALONE)
        return (time.monotonic() - start) * math.ceil(len(groups) / world.size)

    def said_of(self, member: MemberModel, world: World = ALONE) -> tuple[Sequence[Answer], Labels]:
        said = self._answers(member, None, self.kind.beam, world)
        assert said is not None  # nothing stops it
        return said, self.known
