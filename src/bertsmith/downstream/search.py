"""Which tokens a model goes on with: the likeliest (greedy), drawn ones (sampling), or the likeliest texts (beam search).

b texts, k beams of each, V vocabulary.  Texts that are at their end leave the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bertsmith.data.draw import hashed, uniform
from bertsmith.errors import InputError
from bertsmith.nn.modules.writing import Writer
from bertsmith.spelling import flag, option

NEVER = -torch.inf
FEW = 0.75  # of the texts in a batch: where no more are left, the others are dropped from it


@dataclass(frozen=True, kw_only=True)
class How:
    """`limit`: new tokens at most, the end included.  `beam` 1: greedy, or sampled where `sample` is true.

    `length_penalty`: the score of a text is the sum of its log-probabilities by the number of its new tokens to this power.  `stop`: a
    beam search ends when no text can become better as it stands ("likely", as transformers does), when `beam` texts are finished
    ("early"), or when none could at any length ("never").  `no_repeat`: no run of so many tokens comes twice (0: any may).
    `top_k`, `top_p`: only the likeliest tokens are drawn, so many, or so many as make up that share (0, 1: all).
    """

    limit: int = 64
    beam: int = 1
    length_penalty: float = 1.0
    stop: Literal["likely", "early", "never"] = "likely"
    no_repeat: int = 0
    sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self):
        for name, least in (("limit", 1), ("beam", 1), ("no_repeat", 0), ("top_k", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(f"{option(name, value)}: expected a number of at least {least}")
        if not self.temperature > 0:
            raise InputError(
                f"{option('temperature', self.temperature)}: must be above 0; without {flag('sample')} the likeliest token is taken"
            )
        if not math.isfinite(self.length_penalty):
            raise InputError(f"{option('length_penalty', self.length_penalty)}: expected a number")
        if not 0 < self.top_p <= 1:
            raise InputError(f"{option('top_p', self.top_p)}: expected a share above 0 and at most 1")
        if self.stop not in ("likely", "early", "never"):
            raise InputError(f"{option('stop', self.stop)}: expected likely, early or never")
        if self.sample and self.beam > 1:
            raise InputError(
                f"{flag('sample')} draws one text; {option('beam', self.beam)} searches for the likeliest: give one of them"
            )
        self._check_used()

    def _check_used(self) -> None:
        """InputError for what would have no effect."""
        for name, usual in (("temperature", 1.0), ("top_k", 0), ("top_p", 1.0)):
            value = getattr(self, name)
            if not self.sample and value != usual:
                raise InputError(
                    f"{option(name, value)}: is for tokens that are drawn, and the likeliest is taken; add {flag('sample')}, or leave it out"
                )
        for name, usual in (("length_penalty", 1.0), ("stop", "likely")):
            value = getattr(self, name)
            if self.beam == 1 and value != usual:
                raise InputError(
                    f"{option(name, value)}: is for a beam search, and one text is followed; {option('beam', 4)} makes one, or leave it out"
                )


@dataclass(frozen=True)
class Written:
    """`tokens` without the end; `score`: the sum of their log-probabilities, the end's included, by the length penalty in a beam search."""

    tokens: list[int]
    score: float
    stopped: Literal["end", "limit"]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What may come next.  `size`: ids from here on are never written, nor are those of `never`; `prompts`: the texts that are gone on with, whose runs count, too;
    `answers`: of a text of tokens, those that may follow (None: any)."""

    size: int
    end: int
    never: Sequence[int] = ()
    no_repeat: int = 0
    prompts: Sequence[Sequence[int]] = ()
    answers: Callable[[Sequence[int]], Sequence[int]] | None = None

    def log_probabilities(self, logits: Tensor, rows: Sequence[int], texts: Sequence[Sequence[int]]) -> Tensor:
        """(b, V) float32, minus infinity for what may not come next; `rows`: which prompt each text goes on with."""
        logits = logits.float()
        if logits.shape[-1] > self.size:
            logits[:, self.size :] = NEVER
        if self.never:
            logits[:, list(self.never)] = NEVER
        found = logits.log_softmax(-1)
        if self.no_repeat:
            for at, (row, text) in enumerate(zip(rows, texts, strict=True)):
                before = self.prompts[row] if self.prompts else ()
                if banned := repeated([*before, *text], self.no_repeat):
                    found[at, banned] = NEVER
        if self.answers is not None:
            for at, text in enumerate(texts):
                allowed = torch.tensor(list(self.answers(text)), device=found.device)
                left = found[at, allowed]
                found[at] = NEVER
                found[at, allowed] = left
        return found


def repeated(text: Sequence[int], size: int) -> list[int]:
    """The tokens with which the last of `size` - 1 would make a run that was there already."""
    if len(text) < size:
        return []
    last = list(text[len(text) - size + 1 :])
    return [text[at + size - 1] for at in range(len(text) - size + 1) if list(text[at : at + size - 1]) == last]


def write(
    writer: Writer, how: How, rules: Rules, numbers: Sequence[int], told: Callable[[int, int], None] | None = None
) -> list[Written]:
    """What a writer's texts go on with, in their order.  `numbers`: of each text, for draws that do not depend on the batch; `told` hears
    each new token of a text, (its place in the batch, the token), where one text is written at a time."""
    with torch.no_grad():
        if how.beam > 1:
            return _beams(writer, how, rules, len(numbers))
        return _one_by_one(writer, how, rules, numbers, told)


@dataclass
class _Text:
    row: int
    tokens: list[int] = field(default_factory=list)
    score: float = 0.0


def _one_by_one(writer, how, rules, numbers, told) -> list[Written]:
    done: list[Written | None] = [None] * len(numbers)
    held = [_Text(row) for row in range(len(numbers))]  # those in the writer's batch
    logits = writer.begin()
    for step in range(how.limit):
        found = rules.log_probabilities(logits, [text.row for text in held], [text.tokens for text in held])
        if how.sample:
            chosen = _drawn(found, how, [numbers[text.row] for text in held], step)
        else:
            chosen = likeliest(found)
        scores = found.gather(1, chosen[:, None])[:, 0].tolist()
        for text, token, score in zip(held, chosen.tolist(), scores, strict=True):
            if done[text.row] is not None:
                continue
            text.score += score
            if token == rules.end:
                done[text.row] = Written(text.tokens, text.score, "end")
                continue
            text.tokens.append(token)
            if told is not None:
                told(text.row, token)
            if step + 1 == how.limit:
                done[text.row] = Written(text.tokens, text.score, "limit")
        left = [at for at, text in enumerate(held) if done[text.row] is None]
        if not left:
            break
        if len(left) <= FEW * len(held):
            rows = torch.tensor(left, device=chosen.device)
            writer.keep(rows)
            held, chosen = [held[at] for at in left], chosen[rows]
        logits = writer.step(chosen)
    return done  # type: ignore[return-value]


def likeliest(found: Tensor) -> Tensor:
    """(b, V) -> (b,) the first of the greatest; on a CPU NumPy's own, ten times as fast."""
    if found.device.type != "cpu":
        return found.argmax(-1)
    return torch.from_numpy(found.numpy().argmax(-1))


def _drawn(found: Tensor, how: How, numbers: list[int], step: int) -> Tensor:
    """(b,) tokens by their probabilities: the place of a uniform number among these, from the likeliest on."""
    p, order = (found / how.temperature).softmax(-1).double().sort(dim=-1, descending=True, stable=True)
    if how.top_k:
        p[:, how.top_k :] = 0
    before = p.cumsum(-1) - p
    p = p.masked_fill(before >= how.top_p, 0)
    below = p.cumsum(-1)
    u = torch.from_numpy(uniform(hashed(how.seed, "write", np.array(numbers), step))).to(p.device)
    place = torch.searchsorted(below, (u * below[:, -1])[:, None], right=True).clamp(max=p.shape[1] - 1)
    return order.gather(1, place)[:, 0]


@dataclass
class _Search:
    """The beams of one text: those that go on, with their sums of log-probabilities, and the best that are finished, by score."""

    row: int
    tokens: list[list[int]]
    sums: list[float]
    finished: list[Written] = field(default_factory=list)

    def goes_on(self, how: How, length: int) -> bool:
        """Whether a text that is `length` tokens long could still become better than the worst that is finished."""
        if len(self.finished) < how.beam:
            return True
        if how.stop == "early":
            return False
        far = how.limit if how.stop == "never" and how.length_penalty > 0 else length
        return self.sums[0] / far**how.length_penalty > self.finished[-1].score

    def finish(self, text: Written, beam: int) -> None:
        self.finished = sorted([*self.finished, text], key=lambda each: -each.score)[:beam]


def _beams(writer, how, rules, texts: int) -> list[Written]:
    """As transformers does it: of the 2 k likeliest continuations of a text's beams, those among the first k that end are finished, and the
    first k that do not end go on."""
    k, logits = how.beam, writer.begin()
    live = [_Search(row, [[]], [0.0]) for row in range(texts)]
    done: list[_Search | None] = [None] * texts
    for length in range(1, how.limit + 1):
        beams = len(live[0].sums)
        rows = [search.row for search in live for _ in range(beams)]
        found = rules.log_probabilities(logits, rows, [text for search in live for text in search.tokens])
        size = found.shape[-1]
        sums = torch.tensor([search.sums for search in live], device=found.device, dtype=found.dtype)
        total = (found.view(len(live), beams, size) + sums[:, :, None]).flatten(1)
        best, place = (x.tolist() for x in total.topk(min(2 * k, total.shape[1])))
        kept, tokens, still = [], [], []
        for at, search in enumerate(live):
            ways = [(p // size, p % size, s) for p, s in zip(place[at], best[at], strict=True) if s > NEVER]
            penalty = length**how.length_penalty
            for number, (beam, token, score) in enumerate(ways):
                ends = token == rules.end
                if number < k and (ends or length == how.limit):
                    text = search.tokens[beam] if ends else [*search.tokens[beam], token]
                    search.finish(Written(text, score / penalty, "end" if ends else "limit"), k)
            on = [way for way in ways if way[1] != rules.end][:k]
            if length == how.limit or not on:
                done[search.row] = search
                continue
            on += [(on[-1][0], on[-1][1], NEVER)] * (k - len(on))
            search.tokens = [[*search.tokens[beam], token] for beam, token, _ in on]
            search.sums = [score for *_, score in on]
            if not search.goes_on(how, length):
                done[search.row] = search
                continue
            still.append(search)
            kept += [at * beams + beam for beam, _, _ in on]
            tokens += [token for _, token, _ in on]
        live = still
        if not live:
            break
        writer.keep(torch.tensor(kept, device=found.device))
        logits = writer.step(torch.tensor(tokens, device=found.device))
    return [(search.finished or [Written(search.tokens[0], search.sums[0], "limit")])[0] for search in done]  # type: ignore[union-attr]
