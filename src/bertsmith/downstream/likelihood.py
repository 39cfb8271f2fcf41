"""The log-probability of each token of a text: by a model that reads from the left, or by one that is asked for a token it does not see."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from bertsmith.data.batch import NEVER, Stream
from bertsmith.downstream.model import Loaded
from bertsmith.tasks.reading import OnLong, most_context
from bertsmith.tasks.sequences import Builder, Encoded

Array = np.ndarray
BUDGET = 8192  # tokens in one pass
HELD = 1 << 20  # tokens of the sequences that are made at once


@dataclass(frozen=True)
class Text:
    """A text's tokens (n,), which of them begin words, and the first that is asked for; what is asked for as characters."""

    tokens: Array
    starts: Array
    asked: int
    written: str


class Likelihood:
    """`self(texts, after)`: for each row what is asked for, its log-probability in nats and its size."""

    def __init__(self, loaded: Loaded, *, method: str, on_long: OnLong, stride: int | None, join: str):
        self.loaded, self.method, self.join = loaded, method, join
        reading = loaded.reading(on_long=on_long, stride=stride)
        if method == "causal":
            # A text begins where another ended, and goes on; a window's first token is asked for in the one before.
            step = min(stride or max(1, reading.length * 3 // 4), reading.length - 1)
            reading = replace(reading, marks="none", stride=step)
        self.reading = reading
        self.start = [loaded.vocab.sep] if loaded.tokenizer.marks_ends else []
        self.given = int(method == "causal" and not self.start)  # a first token that nothing stands before
        self.builder = lambda: Builder(vocab=loaded.vocab, reading=self.reading, pairs=False)

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
        texts = self._texts(first, second, self.join if join is None else join)
        found = self.values(texts, where)
        return [self._row(text, values[text.asked :], each) for text, values in zip(texts, found, strict=True)]

    def values(self, texts: list[Text], where: Callable[[int], str]) -> list[Array]:
        """(n,) of each text: the log-probability of each token that is asked for, 0 of the others."""
        found = [np.zeros(len(text.tokens)) for text in texts]
        for encoded, labels, owners in self._sequences(texts, where):
            values = self._logprobs(encoded, labels)
            for (row, number), value in zip(owners.tolist(), values.tolist(), strict=True):
                found[row][number] = value
        return found

    def _texts(self, first: Sequence[str], second: Sequence[str] | None, join: str) -> list[Text]:
        encode = self.loaded.tokenizer.encode
        if second is None:
            alone = zip(encode(first), first, strict=True)
            return [Text(ids, starts, min(self.given, len(ids)), text) for (ids, starts), text in alone]
        whole = [_joined(a, b, join) for a, b in zip(first, second, strict=True)]
        made = []
        for (ids, starts), (prompt, _), text in zip(encode(whole), encode(first), second, strict=True):
            # What goes on begins with the first token that the prompt alone does not have: one that holds parts of both is scored.
            same = ids[: len(prompt)] == prompt[: len(ids)]
            asked = len(same) if same.all() else int(same.argmin())
            made.append(Text(ids, starts, max(asked, min(self.given, len(ids))), text))
        return made

    def _sequences(self, texts: list[Text], where: Callable[[int], str]) -> Iterator[tuple[Encoded, Array, Array]]:
        """(sequences, (p,) the token asked for at each place, (p, 2) its row and its number there), some rows at a time."""
        builder, labels, owners, held = self.builder(), [], [], 0
        ways = self._causal if self.method == "causal" else self._hidden
        for row, text in enumerate(texts):
            for tokens, places, numbers in ways(text, lambda row=row: where(row)):
                held += builder.add(row, tokens, places=places)
                labels.append(text.tokens[numbers])
                owners.append(np.stack([np.full(len(numbers), row), numbers], 1))
                if held > HELD:
                    yield builder.encoded(len(texts)), np.concatenate(labels), np.concatenate(owners)
                    builder, labels, owners, held = self.builder(), [], [], 0
        if labels:
            yield builder.encoded(len(texts)), np.concatenate(labels), np.concatenate(owners)

    def _causal(self, text: Text, where: Callable[[], str]) -> Iterator[tuple[Array, Array, Array]]:
        """(tokens, places, numbers of the tokens asked there) of each window; a token is asked for at the place before it."""
        start = self.start
        whole = np.concatenate([start, text.tokens]).astype(np.int32)
        done = text.asked + len(start)  # of `whole`
        for begin, end in self.reading.views(len(whole), self.reading.length, where):
            asked = np.arange(max(done, begin + 1), end)
            done = max(done, end)
            if len(asked):
                yield whole[begin:end], asked - begin - 1, asked - len(start)

    def _hidden(self, text: Text, where: Callable[[], str]) -> Iterator[tuple[Array, Array, Array]]:
        """The same of one sequence for each token: hidden there, in the window that shows most round it."""
        reading, size = self.reading, len(text.tokens)
        views = reading.views(size, self.builder().room, where)
        window, word = most_context(views, size), np.cumsum(text.starts)
        for number in range(text.asked, size):
            start, end = views[window[number]]
            hidden = np.arange(start, end) == number
            if self.method == "pll-word":
                hidden |= (np.arange(start, end) > number) & (word[start:end] == word[number])
            tokens = np.where(hidden, self.loaded.vocab.mask, text.tokens[start:end]).astype(np.int32)
            yield tokens, np.array([reading.lead + number - start - reading.before]), np.array([number])

    @torch.no_grad()
    def _logprobs(self, encoded: Encoded, labels: Array) -> Array:
        """(p,) of the token asked for at each place."""
        loaded, found = self.loaded, np.empty(len(labels))
        member, device = loaded.member.eval(), loaded.device
        with loaded.exact.policy(), loaded.exact.autocast():
            for which in encoded.by_length(BUDGET):
                rows, at = encoded.read(which)
                stream = self._unseen(encoded.batch(which).input).to(device)
                asked = (torch.from_numpy(x.astype(np.int64)).to(device) for x in (at, labels[rows]))
                found[rows] = member.objective.logprobs(member.model, stream, *asked).double().cpu().numpy()
        return found

    def _unseen(self, stream: Stream) -> Stream:
        """Where a model has tokens that only ask, a hidden one is seen by none."""
        if self.method == "causal" or not self.loaded.recipe.model.asks:
            return stream
        rank = np.where(stream.tokens == self.loaded.vocab.mask, NEVER, stream.key_rank)
        return replace(stream, key_rank=rank, visibility="ranks")

    def _row(self, text: Text, values: Array, each: bool) -> dict[str, Any]:
        row: dict[str, Any] = {"logprob": float(values.sum()), "tokens": len(values)}
        row |= {"bytes": len(text.written.encode()), "characters": len(text.written)}
        if each:
            names = self.loaded.tokenizer.tokens(text.tokens[text.asked :])
            row["each"] = [list(pair) for pair in zip(names, values.tolist(), strict=True)]
        return row


def _joined(prompt: str, text: str, join: str) -> str:
    apart = not prompt or not text or prompt[-1].isspace() or text[0].isspace()
    return prompt + text if apart else prompt + join + text
