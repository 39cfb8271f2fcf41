"""What is asked of a text is another text: translation, summaries, and any other task in words (Raffel et al. 2020, section 2.4)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bertsmith.errors import InputError, nearest, printable
from bertsmith.spelling import flag, option
from bertsmith.tasks import breakdown, metrics, outlines, overlap, written, written_scores
from bertsmith.tasks.given import TEXTS, Given
from bertsmith.tasks.labels import Labels
from bertsmith.tasks.looks import fitting
from bertsmith.tasks.readers import read
from bertsmith.tasks.reading import Reading, Wide
from bertsmith.tasks.sequences import Asked
from bertsmith.tasks.table import Table
from bertsmith.tasks.template import Template, number_of, shown
from bertsmith.tasks.texts import Texts
from bertsmith.tasks.written import Answer
from bertsmith.tasks.written_scores import FEW, METRICS, OF_CLASSES, OF_NUMBERS, OFTEN

MASK_RATE = 0.7  # Dong et al. 2019, who take 0.5 to 0.7


@dataclass(frozen=True)
class Text2Text(Texts):
    """`template`, `target`: how a row becomes the text that is read and the one to be written; None: its columns text and label.

    `limit`: tokens of a target at most, its end included (None: not known yet); `beam`: how answers are searched for; `visibility`: what a
    language model's text sees of itself; `mask_rate`: the share of a target's tokens that an encoder does not see while it learns.
    """

    name: str = "text2text"
    term: str = written.TERM
    pools: bool = False
    pair: tuple[str, ...] = ("text", "label")
    template: Template | None = None
    target: Template | None = None
    metric: str | None = None  # that chooses the step
    limit: int | None = None
    beam: int = 1
    visibility: str = "causal"
    mask_rate: float = MASK_RATE
    writes: ClassVar[bool] = True
    simple: ClassVar[bool] = False
    wide: ClassVar[Wide] = "none"
    smoothing: float = 0.0
    settings: tuple[str, ...] = ("beam", "visibility", "smoothing")

    def asking(
        self,
        template: str | None = None,
        target: str | None = None,
        target_step: float | None = None,
        metric: str | None = None,
    ) -> Text2Text:
        """As a user wants it.  InputError for a template that names no column, and for a metric that is none or is not installed."""
        source = None if template is None else Template(template)
        if target is None and target_step is not None:
            target = "{label}"
        goal = None if target is None else Template(target, "target", target_step)
        if metric is not None:
            if metric not in METRICS:
                raise InputError(f"{option('metric', metric)}: unknown; {nearest(metric, METRICS)}")
            overlap.check_there(metric)
        read = TEXTS[:1] if source is None else source.columns
        asked = TEXTS[2:] if goal is None else goal.columns
        pair = read[:2] if len(read) > 1 else (*read, *asked[:1])
        fields = tuple(dict.fromkeys([*read, *asked]))
        return replace(self, template=source, target=goal, metric=metric, fields=fields, pair=pair)

    def of_task(self, task: Mapping[str, Any]) -> Text2Text:
        """As config.json has it."""
        made = self.asking(**{name: task.get(name) for name in ("template", "target", "target_step")})
        settings = task.get("settings") or {}
        options = {name: settings[name] for name in ("beam", "visibility") if name in settings}
        return replace(made, metric=task.get("metric"), limit=task["target_length"], **options)

    def about(self) -> dict[str, Any]:
        """What config.json says of it."""
        found = {
            "template": self.template and self.template.text,
            "target": self.target and self.target.text,
            "target_step": self.target and self.target.step,
            "metric": self.metric,
            "target_length": self.limit,
        }
        return {name: value for name, value in found.items() if value is not None}

    def read(
        self,
        path: str | Path | Given,
        *,
        columns: Mapping[str, str] | None = None,
        header: bool = True,
        labelled: bool = True,
        pairs: bool | None = None,
        encoding: str = "utf-8",
    ) -> Table:
        """`text` and, where `labelled`, `label`, as the templates have them."""
        roles = self._roles(labelled)
        if columns and (wrong := [role for role in columns if role not in self._roles(True)]):
            raise InputError(
                f"{option('columns', wrong[0])}: the template names no such column; {nearest(wrong[0], roles)}"
            )
        with fitting(path, self.name, encoding):
            if self.template is None and self.target is None:
                table = read(path, columns=columns, header=header, required=roles, encoding=encoding)
                if table.pairs:
                    raise InputError(
                        f"{printable(path)}: text2: is there, and text alone would be read; {option('template', '{text} {text2}')} joins them"
                    )
            else:
                chosen = {role: (columns or {}).get(role, role) for role in roles}
                table = read(path, columns=chosen, header=header, required=roles, roles=roles, encoding=encoding)
        return self._filled(table, labelled)

    def _roles(self, labelled: bool) -> tuple[str, ...]:
        asked = (self.target.columns if self.target else ("label",)) if labelled else ()
        return tuple(dict.fromkeys([*(self.template.columns if self.template else ("text",)), *asked]))

    def _filled(self, table: Table, labelled: bool) -> Table:
        names = list(table.columns)
        rows = [dict(zip(names, values)) for values in zip(*table.columns.values(), strict=True)]
        made = {"text": self._texts(self.template, "text", rows, table)}
        if labelled:
            made["label"] = self._texts(self.target, "label", rows, table)
        return replace(table, columns=made)

    def _texts(self, template: Template | None, role: str, rows: list[dict[str, Any]], table: Table) -> list[str]:
        if template is not None:
            return [template.filled(row, table.where(i)) for i, row in enumerate(rows)]
        return ["" if row[role] is None else shown(row[role]) for row in rows]

    def check(self, table: Table, part: str) -> None:
        super().check(table, part)
        empty = [i for i, text in enumerate(table.columns["label"]) if not text.strip()]
        if empty:
            raise InputError(
                f"{table.where(empty[0])}: target: is empty, in {len(empty):,} of {len(table):,} rows; leave them out"
            )

    # -- what the targets are --------------------------------------------------------------------------------------------------------

    def learn(self, table: Table, names: tuple[str, ...] = ()) -> Labels:
        """Whether targets are names of classes (at most 50 different ones, each of three rows at least), or numbers, or both, or texts."""
        many = Counter(table.columns["label"])
        few = 1 < len(many) <= FEW and min(many.values()) >= OFTEN
        classes = tuple(names) or (tuple(sorted(many)) if few else ())
        numbers = [number_of(text) for text in many]
        known = Labels(names=classes)
        if len(many) > 1 and None not in numbers:
            each = np.array([number_of(text) for text in table.columns["label"]], np.float64)
            known = replace(known, mean=float(each.mean()), scale=float(each.std()), numbers=True)
        for asked, there in ((OF_CLASSES, known.names), (OF_NUMBERS, known.numbers)):
            if self.metric in asked and not there:
                what = "few names, each of several rows" if asked == OF_CLASSES else "numbers"
                raise InputError(
                    f"{option('metric', self.metric)}: the {len(many):,} different targets of {printable(table.path)} are not {what}; {option('metric', 'f1')} compares texts"
                )
        return known

    def targets(self, table: Table, labels: Labels) -> list[str]:
        return table.columns["label"]

    def strata(self, table: Table) -> tuple[str, Sequence[Any]]:
        many = Counter(table.columns["label"])
        if 1 < len(many) <= FEW and min(many.values()) >= OFTEN:
            return "by target", table.columns["label"]
        return "at random", [""] * len(table)

    def outline(self, table: Table, labels: Labels) -> dict[str, Any]:
        many = Counter(table.columns["label"])
        if labels.names:
            known = {"classes": {name: many[name] for name in labels.names}}
            return known | _others(len(table) - sum(known["classes"].values()))
        if labels.numbers:
            found = np.array([number for text in table.columns["label"] if (number := number_of(text)) is not None])
            if len(found):
                named = {"low": found.min(), "high": found.max(), "mean": found.mean(), "deviation": found.std()}
                return {"numbers": {name: float(value) for name, value in named.items()}} | _others(
                    len(table) - len(found)
                )
        return {"targets": len(many)}

    def told(self, found: outlines.Outlines) -> Iterator[str]:
        if all(sum(one.get("classes", {}).values()) for one in found.values()):
            yield from outlines.classes(found, self.unit)
        elif all("numbers" in one for one in found.values()):
            yield from outlines.numbers(found, self.unit)
        else:
            for part, one in found.items():
                many = f", {one['targets']:,} different targets" if "targets" in one else ""
                yield f"{part}: {one['rows']:,} {self.unit}{many}"
        for part, one in found.items():
            if "others" in one:
                what = "numbers, as those of train are" if "numbers" in one else "among the classes of train"
                yield f"warning: {part}: {one['others']:,} of {one['rows']:,} targets are not {what}: no answer is right there"

    # -- what is read and asked ------------------------------------------------------------------------------------------------------

    def fitted(self, tokenizer: Any, table: Table, reading: Reading, model: Any, asked: int | None) -> Text2Text:
        """With the limit of targets: `asked`, or that of the longest of the training file, no more than the model writes.

        InputError for a model (its configuration) that writes nothing, and for a limit above its positions.
        """
        longest, keeps = model.longest, getattr(model, "memory", None) is None
        if reading.together and not (reading.causal or reading.fills):
            how = "has tokens that only ask" if model.asks else "reads what stands behind a token"
            raise InputError(
                f"{option('task', 'text2text')}: this model {how}, and writes nothing; take a language model, one that fills masks, or {option('decoder', 'fresh')}"
            )
        if reading.on_long == "window":
            raise InputError(
                f"{option('on_long', 'window')}: {option('task', 'text2text')} reads each text once; truncate or error"
            )
        if self.visibility == "prefix" and not reading.causal:
            raise InputError("visibility: prefix: of a language model alone; an encoder's text sees all of itself")
        if self.visibility == "prefix" and not keeps:
            raise InputError(
                "visibility: prefix: this model has a memory, and reads from the left alone; leave it at causal"
            )
        most = reading.length // 2 if reading.together else longest or reading.length
        room = reading.length - reading.to_write().specials - 1
        if asked is not None and asked > (room if reading.together else longest or asked):
            raise InputError(f"target_length: {asked} is more than the model writes: {most} or fewer")
        return replace(self, limit=asked or max(2, min(most, written.longest(tokenizer, table.columns["label"]))))

    def encode(self, tokenizer: Any, table: Table, reading: Reading, pairs: bool | None = None) -> Any:
        assert self.limit is not None  # it was fitted
        prefix = self.visibility == "prefix"
        return written.encode(
            tokenizer,
            table.columns["text"],
            table.rows("label"),
            reading,
            self.limit,
            table.where,
            prefix,
            self.mask_rate,
        )

    def asked(self, encoded: Any, targets: Any) -> Asked:
        return Asked(
            term=self.term, labels=encoded.written, at=np.zeros(len(encoded.written), np.int64), each=encoded.each
        )

    def said(self, encoded: Any, table: Table, values: Any) -> Any:
        return values

    # -- what was written ------------------------------------------------------------------------------------------------------------

    def best(self, labels: Labels) -> str:
        if self.metric is not None:
            return "rougeL" if self.metric == "rouge" else self.metric
        if labels.numbers and not all(name.lstrip("-").isdigit() for name in labels.names or ("",)):
            return "pearson"
        return "accuracy" if labels.names else "f1"

    def score(
        self,
        targets: Sequence[str],
        said: Sequence[Answer],
        labels: Labels,
        seed: int = 0,
        resamples: int = metrics.RESAMPLES,
    ) -> dict[str, metrics.Score]:
        return metrics.scored(self.figures(targets, said, labels), len(targets), seed, resamples)

    def figures(self, targets: Sequence[str], said: Sequence[Answer], labels: Labels) -> metrics.Figures:
        return written_scores.figures([answer.text for answer in said], targets, labels, self.metric)

    def breakdown(self, targets: Sequence[str], said: Sequence[Answer], labels: Labels) -> dict[str, Any]:
        if not labels.names:
            return {}
        truth, told = (written_scores.numbered(texts, labels.names) for texts in (targets, [a.text for a in said]))
        known = truth >= 0
        return breakdown.of_words(truth[known], told[known], labels.names) if known.any() else {}

    def only(self, said: Sequence[Answer], labels: Labels, targets: Sequence[str] | None = None) -> str | None:
        text = breakdown.only(answer.text for answer in said)
        return None if targets is not None and set(targets) == {text} else text

    def baseline(self, rows: Any, targets: Any, labels: Labels) -> tuple[str, Any]:
        raise InputError(f"{flag('baseline')}: {option('task', 'text2text')} has none; classify, regress and tag have")

    def correct(self, targets: Sequence[str], said: Sequence[Answer], labels: Labels | None = None) -> np.ndarray:
        """(n,) 1.0 where the target was written, as SQuAD's script compares texts."""
        return written_scores.right([answer.text for answer in said], targets, "exact")

    def right(self, targets: Sequence[str], said: Sequence[Answer], labels: Labels) -> np.ndarray:
        return self.correct(targets, said) == 1

    def near(self, targets: Sequence[str], said: Sequence[Answer], labels: Labels) -> np.ndarray:
        """(n,) the F1 of what was written, by how sure the model is of it."""
        sure = np.exp(np.minimum([answer.score for answer in said], 0.0))
        return written_scores.right([answer.text for answer in said], targets, "f1") * sure

    def beside(self, row: dict[str, Any], a: dict[str, Any], b: dict[str, Any]) -> tuple[str, str, str]:
        one, other = (f"{answer['text'] or '(nothing)'} {math.exp(min(answer['score'], 0.0)):.2f}" for answer in (a, b))
        return row["truth"], one, other

    def answer(self, table: Table, said: Sequence[Answer], labels: Labels) -> list[dict[str, Any]]:
        """{text, score, stopped} of each, and `label`: the class or the number that was written, null for none."""
        rows = [{"text": answer.text, "score": answer.score, "stopped": answer.stopped} for answer in said]
        if labels.names:
            told = written_scores.numbered([answer.text for answer in said], labels.names)
            return [row | {"label": labels.names[i] if i >= 0 else None} for row, i in zip(rows, told.tolist())]
        if labels.numbers:
            return [row | {"label": written_scores.as_number(row["text"])} for row in rows]
        return rows


def _others(count: int) -> dict[str, int]:
    """Targets of a dev file that are not what those of the training file are."""
    return {"others": count} if count else {}
