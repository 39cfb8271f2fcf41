"""How each kind of model writes: which texts it is given, what it begins with, what ends it.  b texts of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
import torch

from bertsmith.downstream.model import Loaded, check_says_tokens
from bertsmith.downstream.search import How, Rules, Written, write
from bertsmith.errors import InputError, printable
from bertsmith.nn.modules.writing import writer_of
from bertsmith.spelling import amount, option
from bertsmith.tasks.sequences import Builder

Array = np.ndarray


class Writers:
    """Of one model.  InputError for one that cannot write, and for answers that are none."""

    def __init__(self, loaded: Loaded, how: How, *, on_long: str = "error", answers: Any = None):
        self.loaded, self.how, self.on_long = loaded, how, on_long
        self.decodes = loaded.recipe.model.decodes
        self.reading = loaded.reading(loaded.recipe.model.longest or loaded.length())
        self.reading = self.reading.to_write() if self.reading.fills else self.reading
        self.about = not self.reading.causal  # it writes about a text that it read, and does not go on with it
        named = printable(loaded.run)
        check_says_tokens(loaded, "writes nothing")
        if not self.decodes and not self.reading.causal and not (self.reading.fills and loaded.writes):
            teaches = option("task", "text2text") + ("" if self.reading.fills else f", {option('decoder', 'fresh')}")
            hides = getattr(loaded.recipe.corruption.rewrite, "hides", True)
            sees = "sees both sides of a token" if hides else "reads what stands behind a token"
            raise InputError(
                f"{named}: this model {sees}, and did not learn to write; fine-tuning with {teaches} teaches it"
            )
        if answers is not None and how.no_repeat:
            raise InputError(
                f"{option('no_repeat', how.no_repeat)} with {option('answers')}: given answers are written as they are; leave one out"
            )
        self.answers = None if answers is None else _answers(loaded, answers)

    @property
    def room(self) -> int | None:
        """Tokens that a model can read of a text, and write; None where there is no end."""
        return self.loaded.recipe.model.longest

    def read(self, texts: Sequence[str]) -> list[Array]:
        """The tokens of each."""
        return [np.asarray(ids, np.int32) for ids, _ in self.loaded.tokenizer.encode(list(texts))]

    def write(
        self,
        texts: Sequence[Array],
        where: Callable[[int], str],
        batch: int,
        say: Callable[[str], None],
        told: Callable[[str], None] | None = None,
    ) -> list[dict[str, Any]]:
        """`{text, score, stopped}` of each of `texts`, as `read` gives them; `where(i)` names one in an error."""
        given = [self._cut(ids, where, i) for i, ids in enumerate(texts)]
        if cut := sum(short for _, short in given):
            say(f"{cut:,} of {amount(len(given), 'text')} are longer than the model reads and were cut")
        rows = [ids for ids, _ in given]
        found: list[Written | None] = [None] * len(rows)
        member, exact = self.loaded.member.eval(), self.loaded.exact
        with torch.no_grad(), exact.policy(), exact.autocast():
            for limit, some in self._batches(rows, batch):
                hears = None if told is None else _hears(self.said, told)
                texts_of = self._written(member, [rows[i] for i in some], some, limit, hears)
                for i, text in zip(some, texts_of, strict=True):
                    found[i] = text
        return [
            {"text": self.said(text.tokens), "score": text.score, "stopped": text.stopped}
            for text in found
            if text is not None
        ]

    def said(self, tokens: Sequence[int]) -> str:
        """What was written, as text: by itself where it is about another, else as it goes on."""
        by_itself = self.about or self.loaded.writing is not None
        return (
            self.loaded.tokenizer.alone(tokens) if by_itself else self.loaded.tokenizer.decode(tokens, specials=False)
        )

    def _batches(self, rows: list[Array], batch: int) -> Iterator[tuple[int, list[int]]]:
        """(new tokens at most, which rows), of about one length: a row of whatever batch may write as much as alone."""
        limits = [self._limit(len(ids)) for ids in rows]
        order = sorted(range(len(rows)), key=lambda i: (-limits[i], -len(rows[i])))
        for limit, group in groupby(order, key=lambda i: limits[i]):
            some = list(group)
            yield from ((limit, some[at : at + batch]) for at in range(0, len(some), batch))

    def _limit(self, size: int) -> int:
        """New tokens that there is room for behind a text of so many."""
        if self.room is None:
            return self.how.limit
        taken = 0 if self.decodes else size + self.reading.specials
        return max(1, min(self.how.limit, self.room - taken))

    @property
    def most(self) -> int | None:
        """Tokens of a text; None where there is no end."""
        return None if self.room is None else self.room - self.reading.specials - (0 if self.decodes else 1)

    def check(self, ids: Array, name: str) -> None:
        """InputError for a text of more tokens than the model reads."""
        if self.most is not None and len(ids) > self.most:
            raise InputError(
                f"{name}: {amount(len(ids), 'token')}, and the model reads {self.most}; {option('on_long', 'truncate')} keeps {'their beginning' if self.about else 'the last ones'}"
            )

    def _cut(self, ids: Array, where: Callable[[int], str], i: int) -> tuple[Array, bool]:
        """A text's tokens, no more than the model reads (and whether they were): of what is gone on with the last ones."""
        most = self.most
        if most is None or len(ids) <= most:
            return ids, False
        if self.on_long == "error":
            self.check(ids, where(i))
        if self.decodes:
            return ids[:most], True
        left = max(most - self.how.limit, most // 2)
        return ids[:left] if self.about else ids[max(len(ids) - left, 0) :], True

    def _written(self, member: Any, rows: list[Array], numbers: list[int], limit: int, told: Any) -> list[Written]:
        builder = Builder(vocab=self.loaded.vocab, reading=self.reading, pairs=False)
        for number, ids in enumerate(rows):
            builder.add(number, ids)
        stream = builder.encoded(len(rows)).batch(np.arange(len(rows))).input.to(self.loaded.device)
        how = replace(self.how, limit=limit)
        vocab = self.loaded.vocab
        asks = self.reading.asks(vocab)
        before = [] if self.about else [ids.tolist() for ids in rows]  # whose runs of tokens count, too
        prompts = before if asks.start is None else [[asks.start]] * len(rows)
        rules = Rules(size=vocab.size, end=vocab.sep, no_repeat=how.no_repeat, prompts=prompts, answers=self.answers)
        return write(writer_of(member, stream, asks), how, rules, numbers, told)


def _hears(said_of: Callable[[Sequence[int]], str], told: Callable[[str], None]) -> Callable[[int, int], None]:
    """Tells what each token adds to the text, as soon as that is whole characters."""
    tokens: list[int] = []
    said = ""

    def hear(_: int, token: int) -> None:
        nonlocal said
        tokens.append(token)
        text = said_of(tokens)
        if not text.endswith("\ufffd"):  # a character whose bytes are not all there
            told(text.removeprefix(said))
            said = text

    return hear


def _answers(loaded: Loaded, given: Any) -> Callable[[Sequence[int]], list[int]]:
    """What may come behind each beginning of the answers' tokens."""
    texts = list(dict.fromkeys(given)) if not isinstance(given, str) else [given]
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise InputError("answers: expected texts, one at least and none of them empty")
    after: dict[tuple[int, ...], dict[int, None]] = {}
    for ids, _ in loaded.tokenizer.encode(texts):
        tokens = [*map(int, ids), loaded.vocab.sep]
        for at, token in enumerate(tokens):
            after.setdefault(tuple(tokens[:at]), {})[token] = None
    return lambda text: list(after[tuple(text)])
