"""What is asked of a whole text, or of a pair: a class or a number."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bertsmith.config import require
from bertsmith.errors import InputError, nearest, printable
from bertsmith.objectives.compared import INFERSENT, Compare
from bertsmith.spelling import amount, option, setting
from bertsmith.tasks import baselines, breakdown, calibration, fasttext, metrics, outlines, probing
from bertsmith.tasks.doubts import doubts, multi, same_number, several, variants
from bertsmith.tasks.given import PAIR, TEXTS, Given
from bertsmith.tasks.labels import Labels
from bertsmith.tasks.looks import fitting
from bertsmith.tasks.readers import Table, read, suffix_of
from bertsmith.tasks.reading import OnLong, Reading, Wide
from bertsmith.tasks.sequences import Asked, Encoded, encode, encode_apart
from bertsmith.tasks.split import linked, plain
from bertsmith.tasks.table import GROUPED, ROLES, with_groups

WHOLE = re.compile(r"-?[0-9]+")  # of any length, which `int` does not take
FLAT = 0.01  # a deviation, in the scale of training


@dataclass(frozen=True)
class Texts:
    """What both tasks do with texts: read them, encode them, ask at [CLS]."""

    name: str = ""
    units: str = "texts"
    long: OnLong = "truncate"
    term: str = "label"
    pools: bool = True
    writes: ClassVar[bool] = False
    simple: ClassVar[bool] = True
    settings: tuple[str, ...] = ()
    embeds: ClassVar[bool] = False
    hears: ClassVar[bool] = False  # whether its texts may be files of sound
    wide: ClassVar[Wide] = "first"
    roles: ClassVar[tuple[str, ...]] = ROLES
    unit: str = "rows"
    fields: tuple[str, ...] = TEXTS
    pair: tuple[str, ...] = PAIR

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
        required = ("text", *(("text2",) if pairs else ()), *(("label",) if labelled else ()))
        with fitting(path, self.name, encoding):
            return read(
                path,
                columns=columns,
                header=header,
                required=required,
                encoding=encoding,
                roles=with_groups(columns),
            )

    def check(self, table: Table, part: str) -> None:
        for role in ("text", "text2"):
            empty = [i for i, text in enumerate(table.rows(role) or ()) if not text.strip()]
            if empty:
                raise InputError(
                    f"{table.where(empty[0])}: {role}: is empty, in {len(empty):,} of {amount(len(table), 'row')}; leave them out"
                )

    def encode(self, tokenizer: Any, table: Table, reading: Reading, pairs: bool | None = None) -> Encoded:
        second = None if pairs is False else table.rows("text2")
        beside = None if isinstance(table.path, Given) else table.path
        return encode(tokenizer, table.columns["text"], second, reading, table.where, beside)

    def asked(self, encoded: Encoded, targets: np.ndarray) -> Asked:
        return Asked.once(self.term, targets[encoded.owner], 1 if encoded.parts is None else int(encoded.reads[0]))

    def said(self, encoded: Encoded, table: Table, values: np.ndarray) -> np.ndarray:
        """(p, c) at the places -> (rows, c): the mean over the windows of each text."""
        return encoded.mean_of_windows(added(encoded, values))

    def settled(self, targets: np.ndarray, said: np.ndarray, labels: Labels) -> Labels:
        return labels

    def stated(self, table: Table, i: int, labels: Labels) -> dict[str, Any]:
        texts = {role: table.columns[role][i] for role in ("text", "text2") if role in table.columns}
        return {**texts, "truth": table.columns["label"][i]}

    def groupings(self, table: Table) -> list[tuple[str, Sequence[Hashable]]]:
        """Pairs with a text in common stay together, or with the longer one of both; equal rows in any case.  Where a column says groups (who
        speaks, who wrote), rows of a group do, and nothing else."""
        texts = [[plain(text) for text in table.columns[role]] for role in ("text", "text2") if table.rows(role)]
        if table.rows("group"):
            groups = [str(group) for group in table.columns["group"]]
            return [(", rows of a group on one side", linked([groups, [*zip(*texts, strict=True)]]))]
        equal: list[Hashable] = list(zip(*texts, strict=True))
        if all(len(set(column)) == len(set(equal)) for column in texts):
            return [("", equal)]
        longer = max(texts, key=lambda column: sum(map(len, column)))
        found: list[tuple[str, Sequence[Hashable]]] = [(", pairs with a text in common on one side", linked(texts))]
        if len(set(longer)) < len(set(equal)):
            found.append((", pairs with the longer text in common on one side", longer))
        return [*found, (", pairs with a text in common on both sides", equal)]

    def strata(self, table: Table) -> tuple[str, Sequence[Hashable]]:
        return "at random", [""] * len(table)


@dataclass(frozen=True)
class Classes(Texts):
    """One of several names.  Names are sorted (as numbers where all are); with two of them the last is the positive one."""

    hears: ClassVar[bool] = True
    roles: ClassVar[tuple[str, ...]] = GROUPED
    name: str = "classify"
    teaches: ClassVar[str] = "classes"  # what a teacher's answers are (downstream/teachers.py)
    lacking: ClassVar[bool] = True  # rows without a label are read where there is a teacher
    settings: tuple[str, ...] = ("class_weights", "focal", "smoothing", "head", "san")
    class_weights: Any = "none"
    focal: float = 0.0
    smoothing: float = 0.0
    weights: tuple[float, ...] = ()  # what `class_weights` are of the classes
    head: str = "linear"
    san: Any = None
    heads: ClassVar[tuple[str, ...]] = ("linear", "san", INFERSENT)

    def of_task(self, task: Mapping[str, Any]) -> Classes:
        """As a model was trained."""
        return replace(self, head=(task.get("settings") or {}).get("head", "linear"))

    def encode(self, tokenizer: Any, table: Table, reading: Reading, pairs: bool | None = None) -> Encoded:
        """As all texts are, but that a head over the vectors of two wants each by itself."""
        if self.head != INFERSENT:
            return super().encode(tokenizer, table, reading, pairs)
        second = table.rows("text2")
        if second is None:
            raise InputError(
                f"{printable(table.path)}: {setting('head', value=INFERSENT)} reads pairs, and there are none; {option('columns', like='text2=NAME')} says where the second texts stand"
            )
        return encode_apart(tokenizer, [table.columns["text"], second], reading, table.where)

    def weighed(self, targets: np.ndarray, labels: Labels) -> Classes:
        """With the weights of the classes in a training file: their mean over its rows is 1.  InputError for a class that is none."""
        if self.class_weights == "none":
            return self
        many = np.bincount(targets, minlength=len(labels.names))
        if self.class_weights == "balanced":
            each = 1 / np.maximum(many, 1)
        elif isinstance(self.class_weights, (list, tuple)):
            told, names = len(self.class_weights), ", ".join(printable(name, 40) for name in labels.names[:20])
            require(
                told == len(labels.names),
                f"class_weights: {told} for {amount(len(labels.names), 'class', 'classes')}, which are in this order: {names}",
            )
            each = np.array(self.class_weights, float)
        else:
            for name in self.class_weights:
                require(name in labels.names, f"class_weights: {printable(name, 60)}: {nearest(name, labels.names)}")
            each = np.array([float(self.class_weights.get(name, 1.0)) for name in labels.names])
        return replace(self, weights=tuple((each * many.sum() / (each @ many)).tolist()))

    def best(self, labels: Labels) -> str:
        return "accuracy"

    def learn(self, table: Table, names: tuple[str, ...] = ()) -> Labels:
        found = list(dict.fromkeys(names_of(table)))
        if names:
            self.targets(table, Labels(names=tuple(names)))
        elif len(found) < 2:
            raise InputError(
                f"{printable(table.path)}: label: every row says {printable(found[0])!r}; a classifier needs at least two classes"
            )
        elif len(found) > max(10, 2 * len(set(table.columns["text"]))):
            raise InputError(
                f"{printable(table.path)}: label: {amount(len(found), 'different label')} of {amount(len(set(table.columns['text'])), 'different text')}; {option('columns', 'text=NAME,label=NAME')} says which is which"
            )
        elif len(found) > max(100, len(table) // 2) or (len(found) > 10 and _decimals(found)):
            way = (
                multi()
                if several(found)
                else f"are these numbers? {option('task', 'regress')}, or another label by {option('columns')}"
            )
            raise InputError(
                f"{printable(table.path)}: label: {amount(len(found), 'different label')} in {amount(len(table), 'row')}; {way}"
            )
        whole = all(WHOLE.fullmatch(name) for name in found)
        return Labels(names=tuple(names) or tuple(sorted(found, key=(lambda n: (Decimal(n), n)) if whole else None)))

    def targets(self, table: Table, labels: Labels) -> np.ndarray:
        """(n,) int64."""
        known = {name: i for i, name in enumerate(labels.names)}
        found = np.empty(len(table), np.int64)
        for i, name in enumerate(names_of(table)):
            if name not in known:
                allowed = ", ".join(printable(n, 40) for n in labels.names[:20]) + (
                    ", …" if len(labels.names) > 20 else ""
                )
                other = next((one for one in labels.names if variants([one, name])), None)
                hint = "" if other is None else f'; it is "{printable(other, 40)}" but for case or blanks'
                equal = next((one for one in labels.names if same_number([one, name])), None)
                hint = hint if equal is None else f'; "{printable(equal, 40)}" is the same number: write it so'
                raise InputError(f'{table.where(i)}: label: "{printable(name, 60)}" is not one of: {allowed}{hint}')
            found[i] = known[name]
        return found

    def strata(self, table: Table) -> tuple[str, Sequence[Hashable]]:
        return "by class", [*names_of(table)]

    def outline(self, table: Table, labels: Labels) -> dict[str, Any]:
        many = Counter(names_of(table))
        return {"classes": {name: many[name] for name in labels.names}}

    def told(self, found: outlines.Outlines) -> Iterator[str]:
        yield from outlines.classes(found, self.unit)
        for doubt in doubts(Counter(found["train"]["classes"])):
            yield f"warning: train: {doubt}"

    def objective(self, labels: Labels, dropout: float, pool: str) -> Any:
        from bertsmith.objectives.supervised import Classify

        how = {"class_weights": self.weights, "focal": self.focal, "smoothing": self.smoothing}
        if self.head == INFERSENT:
            return Compare(classes=len(labels.names), dropout=dropout, pool=pool, **how)
        return Classify(classes=len(labels.names), dropout=dropout, pool=pool, san=_san(self), **how)

    def loss(self, encoded: Encoded, asked: Asked, values: np.ndarray) -> float:
        return metrics.cross_entropy(added(encoded, values), asked.labels)

    def settled(self, targets: np.ndarray, said: np.ndarray, labels: Labels) -> Labels:
        return replace(labels, temperature=calibration.temperature(said, targets))

    def answer(self, table: Table, said: np.ndarray, labels: Labels) -> list[dict[str, Any]]:
        """(n, c) -> for each text its class and the probability of every class."""
        shares = np.exp(metrics.log_softmax(said / labels.temperature))
        return [
            {"label": labels.names[int(row.argmax())], "scores": dict(zip(labels.names, row.tolist(), strict=True))}
            for row in shares
        ]

    def score(
        self,
        targets: np.ndarray,
        said: np.ndarray,
        labels: Labels,
        seed: int = 0,
        resamples: int = metrics.RESAMPLES,
    ) -> dict[str, metrics.Score]:
        """While a model learns (no resamples) those that it costs nothing to know."""
        found = metrics.classification(targets, said.argmax(1), len(labels.names), seed, resamples)
        return found | (calibration.scores(said / labels.temperature, targets, seed, resamples) if resamples else {})

    def figures(self, targets: np.ndarray, said: np.ndarray, labels: Labels) -> metrics.Figures:
        classes = metrics.class_figures(targets, said.argmax(1), len(labels.names))
        shares = calibration.figures(said / labels.temperature, targets)
        return lambda weights: classes(weights) | shares(weights)

    def breakdown(self, targets: np.ndarray, said: np.ndarray, labels: Labels) -> dict[str, Any]:
        return breakdown.of_classes(targets, said.argmax(1), labels.names)

    def only(self, said: np.ndarray, labels: Labels, targets: np.ndarray | None = None) -> str | None:
        at = breakdown.only(said.argmax(1).tolist())
        return None if at is None or (targets is not None and (targets == at).all()) else labels.names[at]

    def baseline(
        self, rows: Mapping[str, Table], targets: Mapping[str, np.ndarray], labels: Labels
    ) -> tuple[str, np.ndarray]:
        return baselines.classes(both(rows["train"]), targets["train"], both(rows["dev"]), len(labels.names))

    def fasttext(
        self, rows: Mapping[str, Table], targets: Mapping[str, np.ndarray], labels: Labels
    ) -> tuple[str, np.ndarray]:
        return fasttext.classes(both(rows["train"]), targets["train"], both(rows["dev"]), len(labels.names))

    def control(self, rows: Mapping[str, Table], targets: Mapping[str, np.ndarray], labels: Labels, seed: int) -> Any:
        """Targets that say nothing but which word a text begins with."""
        words = {part: [text.split(None, 1)[0] for text in table.columns["text"]] for part, table in rows.items()}
        return probing.control(words, targets["train"], len(labels.names), seed)

    def correct(self, targets: np.ndarray, said: np.ndarray, labels: Labels | None = None) -> np.ndarray:
        """(n,) 1.0 where the answer is right."""
        return (said.argmax(1) == targets).astype(np.float64)

    def right(self, targets: np.ndarray, said: np.ndarray, labels: Labels) -> np.ndarray:
        return said.argmax(1) == targets

    def leaning(self, values: Any) -> Any:
        """(p, c) tensor -> (p,): by how much the likeliest class is above the mean of all."""
        return values.amax(1) - values.mean(1)

    def near(self, targets: np.ndarray, said: np.ndarray, labels: Labels) -> np.ndarray:
        """(n,) the probability of the true class."""
        return np.exp(metrics.log_softmax(said / labels.temperature))[np.arange(len(said)), targets]

    def beside(self, row: dict[str, Any], a: dict[str, Any], b: dict[str, Any]) -> tuple[str, str, str]:
        one, other = (f"{answer['label']} {answer['scores'][answer['label']]:.2f}" for answer in (a, b))
        return str(row["truth"]), one, other


@dataclass(frozen=True)
class Numbers(Texts):
    """A number.  Trained on (number - mean) / deviation of the training file, so that the learning rate fits every scale."""

    hears: ClassVar[bool] = True
    roles: ClassVar[tuple[str, ...]] = GROUPED
    name: str = "regress"
    teaches: ClassVar[str] = "number"
    lacking: ClassVar[bool] = True
    settings: tuple[str, ...] = ("head", "san")
    head: str = "linear"
    san: Any = None
    heads: ClassVar[tuple[str, ...]] = ("linear", "san")

    def best(self, labels: Labels) -> str:
        return "pearson"

    def learn(self, table: Table, names: tuple[str, ...] = ()) -> Labels:
        if names:
            raise InputError(f"labels: {option('task', 'regress')} has numbers, not classes")
        numbers = numbers_of(table)
        scale = float(numbers.std())
        if not np.isfinite(scale):
            raise InputError(
                f"{printable(table.path)}: label: the numbers are too large to be told apart in double precision"
            )
        if not scale > 0:
            raise InputError(
                f"{printable(table.path)}: label: every row says {numbers[0]:g}; there is nothing to learn"
            )
        return Labels(mean=float(numbers.mean()), scale=scale)

    def targets(self, table: Table, labels: Labels) -> np.ndarray:
        """(n,) float32."""
        return ((numbers_of(table) - labels.mean) / labels.scale).astype(np.float32)

    def outline(self, table: Table, labels: Labels) -> dict[str, Any]:
        found = numbers_of(table)
        named = {"low": found.min(), "high": found.max(), "mean": found.mean(), "deviation": found.std()}
        return {"numbers": {name: float(value) for name, value in named.items()}}

    def told(self, found: outlines.Outlines) -> Iterator[str]:
        yield from outlines.numbers(found, self.unit)

    def objective(self, labels: Labels, dropout: float, pool: str) -> Any:
        from bertsmith.objectives.supervised import Regress

        return Regress(dropout=dropout, pool=pool, san=_san(self))

    def loss(self, encoded: Encoded, asked: Asked, values: np.ndarray) -> float:
        return float(np.mean((added(encoded, values)[:, 0].astype(np.float64) - asked.labels) ** 2))

    def answer(self, table: Table, said: np.ndarray, labels: Labels) -> list[dict[str, Any]]:
        values = (said[:, 0].astype(np.float64) * labels.scale + labels.mean).tolist()
        return [{"label": value, "scores": {"value": value}} for value in values]

    def score(
        self,
        targets: np.ndarray,
        said: np.ndarray,
        labels: Labels,
        seed: int = 0,
        resamples: int = metrics.RESAMPLES,
    ) -> dict[str, metrics.Score]:
        return metrics.regression(targets, said[:, 0], seed, resamples)

    def figures(self, targets: np.ndarray, said: np.ndarray, labels: Labels) -> metrics.Figures:
        return metrics.number_figures(targets, said[:, 0])

    def breakdown(self, targets: np.ndarray, said: np.ndarray, labels: Labels) -> dict[str, Any]:
        return {}

    def only(self, said: np.ndarray, labels: Labels, targets: np.ndarray | None = None) -> float | None:
        """Numbers whose deviation is less than a hundredth of the training file's count as one."""
        values = said[:, 0].astype(np.float64)
        if values.std() >= FLAT or (targets is not None and targets.std() < FLAT):
            return None
        return float(values.mean()) * labels.scale + labels.mean

    def baseline(
        self, rows: Mapping[str, Table], targets: Mapping[str, np.ndarray], labels: Labels
    ) -> tuple[str, np.ndarray]:
        return baselines.numbers(both(rows["train"]), targets["train"], both(rows["dev"]))

    def control(self, rows: Mapping[str, Table], targets: Mapping[str, np.ndarray], labels: Labels, seed: int) -> None:
        """There is none of numbers."""

    def correct(self, targets: np.ndarray, said: np.ndarray, labels: Labels | None = None) -> np.ndarray:
        """(n,) minus the squared error, in the scale of training."""
        return -((said[:, 0] - targets).astype(np.float64) ** 2)

    def right(self, targets: np.ndarray, said: np.ndarray, labels: Labels) -> None:
        """A number is near, not right or wrong."""

    def leaning(self, values: Any) -> Any:
        """(p, 1) tensor -> (p,): the number."""
        return values[:, 0]

    def near(self, targets: np.ndarray, said: np.ndarray, labels: Labels) -> np.ndarray:
        """(n,) minus the error, in the scale of the file."""
        return -np.abs(said[:, 0].astype(np.float64) - targets) * labels.scale

    def beside(self, row: dict[str, Any], a: dict[str, Any], b: dict[str, Any]) -> tuple[str, str, str]:
        return f"{float(row['truth']):.4g}", f"{a['label']:.4g}", f"{b['label']:.4g}"


def _san(kind: Classes | Numbers) -> Any:
    """What the head reads in several steps; None where it reads a text as a whole."""
    return kind.san if kind.head == "san" else None


def added(encoded: Encoded, values: np.ndarray) -> np.ndarray:
    """(p, c) -> (w, c): what is said of a pair in both orders, added up."""
    return values if encoded.parts is None else values.reshape(len(encoded), -1, values.shape[1]).sum(1)


def both(table: Table) -> baselines.Texts:
    """The texts, and the second ones of pairs."""
    return table.columns["text"], table.rows("text2")


def names_of(table: Table) -> list[str]:
    """Labels as text.  In .jsonl a class is a string or a whole number, the same of the two in all rows."""
    values = table.columns["label"]
    empty = [i for i, value in enumerate(values) if value is None or (isinstance(value, str) and not value.strip())]
    if empty:
        raise InputError(
            f"{table.where(empty[0])}: label: is empty, in {len(empty):,} of {amount(len(values), 'row')}; give them one, or leave them out"
        )
    first = type(values[0])
    for i, value in enumerate(values):
        if isinstance(value, (bool, float)):
            raise InputError(
                f"{table.where(i)}: label: {value!r} is not a class; write it as a string, or use {option('task', 'regress')} for numbers"
            )
        if type(value) is not first:
            raise InputError(
                f"{table.where(i)}: label: {value!r} here and {values[0]!r} in {table.where(0)}: strings or whole numbers, not both"
            )
    return [str(value) for value in values]


def _decimals(names: list[str]) -> bool:
    """Whether all are numbers, and not all of them whole."""
    numbers = np.array([_number(name, True) for name in names])
    return bool(np.isfinite(numbers).all() and (numbers != np.floor(numbers)).any())


def numbers_of(table: Table) -> np.ndarray:
    """(n,) double.  In .jsonl a number is no string."""
    values = table.columns["label"]
    text = suffix_of(table.path if isinstance(table.path, Given) else Path(table.path)) not in (".jsonl", ".json")
    found = np.array([_number(value, text) for value in values], np.float64)
    bad = np.flatnonzero(~np.isfinite(found))
    if len(bad):
        value = values[bad[0]]
        infinite = bool(np.isinf(found[bad[0]]))
        said = "null" if value is None else printable(value if infinite else repr(value), 60)
        what = f"{said} is not a {'finite ' * infinite}number"
        way = f"{option('task', 'classify')} learns names" if 2 * len(bad) > len(values) else "leave them out"
        if isinstance(value, str) and np.isfinite(_number(value.replace(",", ".", 1), text)):
            way = f"decimals have a point: {value.replace(',', '.', 1)}"
        more = f", as in {len(bad):,} of {amount(len(values), 'row')}; {way}"
        raise InputError(f"{table.where(bad[0])}: label: {what}{more}")
    return found


def _number(value: Any, text: bool) -> float:
    """NaN for what is none."""
    if value is None or isinstance(value, bool) or (isinstance(value, str) and (not text or "_" in value)):
        return float("nan")
    try:
        return float(value)
    except ValueError:
        return float("nan")
    except OverflowError:
        return float("inf")
