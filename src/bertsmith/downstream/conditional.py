"""The log-probability of a text that a decoder writes about another: of each token, its end included, from what was read and the tokens
before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from bertsmith.data.decoded import decoded, shifted
from bertsmith.downstream.fill import standing
from bertsmith.downstream.model import Loaded
from bertsmith.errors import InputError
from bertsmith.spelling import amount
from bertsmith.tasks.sequences import Builder, by_length

Array = np.ndarray
BUDGET = 4096  # tokens in one pass, of both sides


class Conditional:
    """As `likelihood.Likelihood`: `self(sources, texts)` gives for each row the log-probability of its text and its size.

    Sentinels that are written are those that the model learned, on either side.
    """

    def __init__(self, loaded: Loaded):
        self.loaded, self.room = loaded, loaded.recipe.model.longest
        self.reading = loaded.reading()
        rewrite = loaded.recipe.corruption.rewrite
        marks = rewrite.names(loaded.vocab) if getattr(rewrite, "sentinels", 0) else {}
        self.names = {name: i for i, name in marks.items()}
        self.start = getattr(loaded.vocab, self.reading.start or "sep")

    def ids(self, texts: Sequence[str]) -> Array:
        return np.concatenate([np.zeros(0, np.int32), *(ids for ids, _ in self.loaded.tokenizer.encode(texts))])

    def __call__(
        self,
        first: Sequence[str],
        second: Sequence[str] | None,
        where: Callable[[int], str],
        each: bool,
        join: str | None = None,
    ) -> list[dict[str, Any]]:
        """`join`: given where a text was cut in two, whose blanks at the cut belong to neither."""
        assert second is not None  # score.py has looked
        if join is not None:
            first, second = [text.rstrip() for text in first], [text.lstrip() for text in second]
        builder = Builder(vocab=self.loaded.vocab, reading=self.reading, pairs=False)
        for i, ids in enumerate(self._encoded(first)):
            self._check(len(ids) + self.reading.specials, "text", "reads", where, i)
            builder.add(i, ids)
        written = [np.array([*ids, self.loaded.vocab.sep], np.int64) for ids in self._encoded(second)]
        for i, ids in enumerate(written):
            self._check(len(ids), "text2", "writes", where, i)
        read = builder.encoded(len(first))
        sizes = np.array([len(ids) for ids in written])
        found: list[Array] = [np.zeros(0)] * len(written)
        for some in by_length(read.lengths + sizes, BUDGET):
            flat = np.concatenate([written[i] for i in some])
            values = np.split(self._logprobs(read.batch(some).input, flat, sizes[some]), np.cumsum(sizes[some])[:-1])
            for i, part in zip(some.tolist(), values, strict=True):
                found[i] = part
        return [self._row(*row, each) for row in zip(second, written, found, strict=True)]

    def _encoded(self, texts: Sequence[str]) -> list[Array]:
        encode, marked = self.loaded.tokenizer.encode, [any(name in text for name in self.names) for text in texts]
        if not any(marked):
            return [ids for ids, _ in encode(list(texts))]
        strips = self.loaded.tokenizer.strips(next(iter(self.names))) if self.loaded.kind == "import" else (True, False)
        return [
            standing(self.loaded.tokenizer, text, self.names, strips)[0] if holds else encode([text])[0][0]
            for text, holds in zip(texts, marked, strict=True)
        ]

    def _check(self, size: int, name: str, does: str, where: Callable[[int], str], i: int) -> None:
        if self.room is not None and size > self.room:
            raise InputError(
                f"{where(i)}: {name}: {amount(size, 'token')}, special ones included, and the model {does} {self.room}; shorten it"
            )

    @torch.no_grad()
    def _logprobs(self, source: Any, written: Array, sizes: Array) -> Array:
        loaded = self.loaded
        member, device = loaded.member.eval(), loaded.device
        output, target = decoded(shifted(written, sizes, self.start), written, sizes)
        at, asked = (torch.from_numpy(np.asarray(x, np.int64)).to(device) for x in (target.at[:, 0], target.labels))
        with loaded.exact.policy(), loaded.exact.autocast():
            found = member.objective.logprobs(member.model, source.to(device), at, asked, output=output.to(device))
        return found.double().cpu().numpy()

    def _row(self, text: str, ids: Array, values: Array, each: bool) -> dict[str, Any]:
        row: dict[str, Any] = {"logprob": float(values.sum()), "tokens": len(values)}
        row |= {"bytes": len(text.encode()), "characters": len(text)}
        if each:
            vocab, names = self.loaded.vocab, {i: name for name, i in self.names.items()}
            known = [names[int(i)] if int(i) >= vocab.size else self.loaded.tokenizer.token(int(i)) for i in ids]
            row["each"] = [list(pair) for pair in zip(known, values.tolist(), strict=True)]
        return row
