"""Which of several texts goes with a text: an ending, an answer to a question (SWAG, RACE, COPA).  n rows, k choices of a row at most.

Each choice is read as a pair with the text (behind its question, where the row has one) and gets a number; a row's probabilities are a
softmax over its numbers (Zellers et al. 2018; Devlin et al. 2019, section 4.4).  Rows may have different numbers of choices.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bertsmith.errors import InputError
from bertsmith.spelling import amount, option
from bertsmith.tasks import baselines, metrics, outlines
from bertsmith.tasks.given import Given
from bertsmith.tasks.labels import Labels
from bertsmith.tasks.looks import fitting
from bertsmith.tasks.offered import COUNTED, ROLES, Offered, counted, place_of, read_offered
from bertsmith.tasks.reading import Reading
from bertsmith.tasks.sequences import Asked, Builder, Encoded, kept
from bertsmith.tasks.split import plain
from bertsmith.tasks.texts import Texts

Array = np.ndarray


@dataclass(frozen=True)
class Choice(Texts):
    name: str = "choice"
    units: str = "rows"
    term: str = "choice"
    fields: tuple[str, ...] = ROLES
    roles: ClassVar[tuple[str, ...]] = ROLES
    once: ClassVar[bool] = True  # a text has no windows, and a pair one order
    pair: tuple[str, ...] = ("text", "choices")

    def read(
        self,
        path: str | Path | Given,
        *,
        columns: Mapping[str, str] | None = None,
        header: bool = True,
        labelled: bool = True,
        pairs: bool | None = None,
        encoding: str = "utf-8",
    ) -> Offered:
        required = ("text", *(("text2",) if pairs else ()), *(("label",) if labelled else ()))
        with fitting(path, self.name, encoding):
            return read_offered(path, columns, header, required, encoding)

    def check(self, table: Any, part: str) -> None:
        empty = [i for i, text in enumerate(table.columns["text"]) if not text.strip()]
        if empty:
            raise InputError(
                f"{table.where(empty[0])}: text: is empty, in {len(empty):,} of {amount(len(table), 'row')}; leave them out"
            )

    def best(self, labels: Labels) -> str:
        return "accuracy"

    def learn(self, table: Offered, names: tuple[str, ...] = ()) -> Labels:
        if names:
            raise InputError(f"labels: {option('task', 'choice')} has texts to choose from in each row, not classes")
        return Labels(counted=counted(table))

    def targets(self, table: Offered, labels: Labels) -> Array:
        """(n,) int64: the number of the right choice, from 0."""
        way = labels.counted or counted(table)  # a model that came from elsewhere does not say
        return np.array([place_of(table, i, way) for i in range(len(table))], np.int64)

    def groupings(self, table: Any) -> list[tuple[str, Sequence[Hashable]]]:
        texts = [plain(text) for text in table.columns["text"]]
        both = list(zip(texts, map(plain, table.seconds()), strict=True))
        return [(", rows with a text in common on one side", texts), (", equal rows on one side", both)]

    def outline(self, table: Offered, labels: Labels) -> dict[str, Any]:
        """`chance`: what guessing gets right."""
        many = np.array([len(choices) for choices in table.choices])
        found = {"least": int(many.min()), "most": int(many.max())}
        return {"choices": found, "chance": float((1 / many).mean()), "named": labels.counted}

    def told(self, found: outlines.Outlines) -> Iterator[str]:
        for part, one in found.items():
            least, most = one["choices"]["least"], one["choices"]["most"]
            many = f"{least}" if least == most else f"{least} to {most}"
            yield f"{part}: {amount(one['rows'], 'row')} of {many} choices; guessing is right in {one['chance']:.1%}"
        yield f"a label is {COUNTED[found['train']['named']]}"

    # -- what is read and asked ------------------------------------------------------------------------------------------------------

    def encode(self, tokenizer: Any, table: Any, reading: Reading, pairs: bool | None = None) -> Encoded:
        for name, value in (("on_long", "window"), ("orders", "both")):
            if getattr(reading, name) == value:
                raise InputError(
                    f"{option(name, value)}: {option('task', 'choice')} reads each choice once, in one order"
                )
        builder = Builder(vocab=tokenizer.vocab, reading=reading, pairs=True)
        ids = lambda texts: [np.asarray(found, np.int32) for found, _ in tokenizer.encode(texts)]
        first, room = ids(table.columns["text"]), builder.room
        asked = [
            f"{before} {choice}" if before else choice
            for before, choices in zip(table.seconds(), table.choices, strict=True)
            for choice in choices
        ]
        second, at = ids(asked), 0
        for i, (a, choices) in enumerate(zip(first, table.choices, strict=True)):
            sizes = [len(a) + len(b) for b in second[at : at + len(choices)]]
            builder.counts["long"] += max(sizes) > room
            reading.views(max(sizes), room, lambda i=i: table.where(i))  # raises where on_long is "error"
            made = []
            for b in second[at : at + len(choices)]:
                keep_a, keep_b = kept(len(a), len(b), room)
                builder.counts["cut"] += len(a) + len(b) - keep_a - keep_b
                made.append((a[:keep_a], b[:keep_b]))
            builder.add_parts(i, made)
            at += len(choices)
        return builder.encoded(len(table))

    def asked(self, encoded: Encoded, targets: Array) -> Asked:
        """A question for each row, at all of its places; places that it has less than others are its first again."""
        numbers = np.arange(encoded.reads.max())
        at = np.where(numbers < encoded.reads[:, None], numbers, 0)
        return Asked(term=self.term, labels=targets, at=at, each=np.ones(len(encoded), np.int64))

    def objective(self, labels: Labels, dropout: float, pool: str) -> Any:
        from bertsmith.objectives.supervised import Choose

        return Choose(dropout=dropout, pool=pool)

    def loss(self, encoded: Encoded, asked: Asked, values: Array) -> float:
        return metrics.cross_entropy(_table(encoded, values), asked.labels)

    def said(self, encoded: Encoded, table: Any, values: Array) -> Array:
        """(p, 1) at the places -> (n, k), -inf where a row has no such choice."""
        return _table(encoded, values)

    # -- what was chosen -------------------------------------------------------------------------------------------------------------

    def answer(self, table: Offered, said: Array, labels: Labels) -> list[dict[str, Any]]:
        """The text that is chosen, its number from 0, and the probability of each."""
        shares = np.exp(metrics.log_softmax(said))
        return [
            {"label": choices[int(row.argmax())], "choice": int(row.argmax()), "scores": row[: len(choices)].tolist()}
            for row, choices in zip(shares, table.choices, strict=True)
        ]

    def score(
        self, targets: Array, said: Array, labels: Labels, seed: int = 0, resamples: int = metrics.RESAMPLES
    ) -> dict[str, metrics.Score]:
        return metrics.scored(self.figures(targets, said, labels), len(targets), seed, resamples)

    def figures(self, targets: Array, said: Array, labels: Labels) -> metrics.Figures:
        right = self.correct(targets, said)
        return lambda weights: {"accuracy": (weights @ right) / weights.sum(1)}

    def breakdown(self, targets: Array, said: Array, labels: Labels) -> dict[str, Any]:
        return {}

    def only(self, said: Array, labels: Labels, targets: Array | None = None) -> str | None:
        """The place that it always chooses."""
        at = said.argmax(1)
        if (at != at[0]).any() or (targets is not None and (targets == at).all()):
            return None
        return f"choice {at[0] + 1}"

    def baseline(self, rows: Mapping[str, Offered], targets: Mapping[str, Array], labels: Labels) -> tuple[str, Array]:
        """Whether a choice is right, learned of each by itself: the likeliest of a row is chosen."""
        each = {part: _pairs(table) for part, table in rows.items()}
        right = [
            i == at for at, row in zip(targets["train"], rows["train"].choices, strict=True) for i in range(len(row))
        ]
        name, found = baselines.classes(each["train"], np.array(right, np.int64), each["dev"], 2)
        sizes = [len(choices) for choices in rows["dev"].choices]
        return f"{name}, the likeliest choice of a row", _padded(found[:, 1] - found[:, 0], np.array(sizes))

    def correct(self, targets: Array, said: Array, labels: Labels | None = None) -> Array:
        return (said.argmax(1) == targets).astype(np.float64)

    def right(self, targets: Array, said: Array, labels: Labels) -> Array:
        return said.argmax(1) == targets

    def near(self, targets: Array, said: Array, labels: Labels) -> Array:
        """(n,) the probability of the true choice."""
        return np.exp(metrics.log_softmax(said))[np.arange(len(said)), targets]

    def stated(self, table: Any, i: int, labels: Labels) -> dict[str, Any]:
        choices = table.choices[i]
        true = place_of(table, i, labels.counted or counted(table))
        return super().stated(table, i, labels) | {"choices": choices, "truth": choices[true]}

    def beside(self, row: dict[str, Any], a: dict[str, Any], b: dict[str, Any]) -> tuple[str, str, str]:
        one, other = (f"{answer['label']} {answer['scores'][answer['choice']]:.2f}" for answer in (a, b))
        return row["truth"], one, other


def _table(encoded: Encoded, values: Array) -> Array:
    return _padded(values[:, 0], encoded.reads)


def _padded(values: Array, sizes: Array) -> Array:
    """(p,) of rows of these sizes -> (n, k), -inf behind them."""
    found = np.full((len(sizes), sizes.max()), -np.inf, values.dtype)
    found[np.arange(sizes.max()) < sizes[:, None]] = values
    return found


def _pairs(table: Offered) -> baselines.Texts:
    rows = zip(table.columns["text"], table.seconds(), table.choices, strict=True)
    both = [(f"{text} {second}".strip(), choice) for text, second, choices in rows for choice in choices]
    return [text for text, _ in both], [choice for _, choice in both]
