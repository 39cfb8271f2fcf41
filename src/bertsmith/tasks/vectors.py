"""What is asked of texts is how near they are to each other: vectors for search, duplicates, clusters.  n rows of k texts, width d.

Each text is a sequence of its own; the texts of a row stand side by side.  A training file has pairs with numbers, pairs that belong together,
such pairs with a text that does not (`negative`), or texts alone: each is its own pair then, read twice through dropout (SimCSE: Gao et
al. 2021), or read without most of its words and written from its vector (TSDAE: Wang et al. 2021).  The two kinds differ in their dev
files: pairs with numbers, or pairs that belong together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from bertsmith.errors import InputError, printable
from bertsmith.objectives.vectors import LOSSES, PAIRED, SCORED, TERM, WRITTEN
from bertsmith.spelling import amount, flag, option, setting
from bertsmith.tasks import baselines, metrics, outlines, ranking, thinned
from bertsmith.tasks.given import Given
from bertsmith.tasks.labels import Labels
from bertsmith.tasks.looks import fitting
from bertsmith.tasks.readers import read
from bertsmith.tasks.reading import Reading, Wide
from bertsmith.tasks.sequences import Asked, Encoded, encode_apart
from bertsmith.tasks.table import TRIPLETS, Table
from bertsmith.tasks.texts import Texts, numbers_of

PARTS = ("text", "text2", "negative")
FLAT = 1e-3  # a deviation of cosines


@dataclass(frozen=True)
class Vectored(Texts):
    """What both kinds share.  `goal` (its `loss`), `scale`, `margin`, `sizes`: as objectives/vectors.py has them; `parts`: texts of a training row;
    `delete`: of loss tsdae, the share of a text's words that are not read."""

    term: str = TERM
    roles: ClassVar[tuple[str, ...]] = TRIPLETS
    fields: tuple[str, ...] = TRIPLETS
    embeds: ClassVar[bool] = True  # what is learned is a vector for each text
    wide: ClassVar[Wide] = "none"
    wants: ClassVar[tuple[str, ...]] = ()  # columns of a file that is scored, beside text
    settings: tuple[str, ...] = ("loss", "scale", "margin", "sizes", "delete")
    losses: ClassVar[tuple[str, ...]] = (*LOSSES, WRITTEN)
    goal: str = "cosine"
    scale: float = 20.0
    margin: float = 1.0
    sizes: tuple[int, ...] = ()
    parts: int = 2
    delete: float = 0.6

    # -- what is asked for ---------------------------------------------------------------------------------------------------------

    def tuned(self, options: Any, table: Table, width: int) -> Self:
        """As the options and the training file want it.  InputError where they do not fit each other."""
        texts, scored = [role for role in PARTS if role in table.columns], "label" in table.columns
        loss = options.loss or (SCORED if scored else PAIRED)[0]
        name, wanted = printable(table.path), setting("loss", value=loss)
        if loss in SCORED and not (scored and len(texts) == 2):
            raise InputError(
                f"{name}: {wanted} wants pairs with numbers (text, text2, label); {', '.join([*texts, 'label'][: len(texts) + scored])} stand there"
            )
        if loss not in SCORED and scored:
            raise InputError(
                f"{name}: label: is there, and {wanted} takes all pairs as belonging together; {setting('loss', value='cosine')} or 'cosent' learns numbers, else leave the column out"
            )
        if loss == "triplet" and len(texts) < 3:
            raise InputError(
                f"{name}: {wanted} wants a column negative beside text and text2; {setting('loss', value='negatives')} does without"
            )
        if loss == WRITTEN:
            _check_written(name, texts, options)
        elif options.delete != self.delete:
            raise InputError(f"delete: {options.delete:g}: is of {setting('loss', value=WRITTEN)}; leave it out")
        elif len(texts) == 1 and not options.dropout:
            raise InputError(
                f"dropout: 0: {name} has texts alone, and a text that is read twice is one vector; take 0.1"
            )
        if loss in (*PAIRED, "cosent") and options.batch < 2:
            raise InputError(f"batch: {options.batch}: {wanted} compares the rows of an update; 2 or more are wanted")
        if options.auxiliary or options.orders != "one":
            which = "auxiliary" if options.auxiliary else "orders"
            raise InputError(f"{which}: {getattr(options, which)}: is for tasks with a head; leave it out")
        if options.pool not in ("cls", "mean"):
            raise InputError(f"pool: {options.pool}: is a head's over a text; vectors are read with cls or mean")
        sizes = tuple(sorted({*options.sizes}, reverse=True))
        if any(size >= width for size in sizes):
            raise InputError(
                f"sizes: {sizes[0]}: the vectors have {width} numbers; the whole of them is learned anyhow, smaller sizes are wanted"
            )
        how = {"scale": options.scale, "margin": options.margin, "sizes": sizes, "delete": options.delete}
        return replace(self, goal=loss, parts=max(2, len(texts)), **how)

    def of_task(self, task: Mapping[str, Any]) -> Self:
        """As config.json has it."""
        settings = task.get("settings") or {}
        given = {name: settings[name] for name in ("scale", "margin", "delete") if name in settings}
        return replace(self, goal=task["loss"], sizes=tuple(settings.get("sizes", ())), **given)

    def about(self) -> dict[str, Any]:
        return {"loss": self.goal}

    def vectors(self, pool: str) -> dict[str, Any]:
        """What config.json says of how `embed` makes them."""
        return {"pool": pool, "normalise": self.goal != "triplet", **({"sizes": [*self.sizes]} if self.sizes else {})}

    def objective(self, labels: Labels, dropout: float, pool: str) -> Any:
        from bertsmith.objectives.denoising import Denoising
        from bertsmith.objectives.vectors import Vectors

        if self.goal == WRITTEN:
            return Denoising(pool=pool)  # type: ignore[arg-type]
        return Vectors(
            loss=self.goal,
            parts=self.parts,
            scale=self.scale,
            margin=self.margin,
            sizes=self.sizes,
            pool=pool,  # type: ignore[arg-type]
        )

    # -- files ---------------------------------------------------------------------------------------------------------------------

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
        """All columns that there are; `pairs`: None of what is learned from, which `check` and `tuned` judge."""
        wants = () if pairs is None else self.wants if labelled else ("text2",)
        with fitting(path, self.name, encoding):
            return read(
                path, columns=columns, header=header, required=("text", *wants), encoding=encoding, roles=TRIPLETS
            )

    def check(self, table: Table, part: str) -> None:
        for role in PARTS:
            empty = [i for i, text in enumerate(table.rows(role) or ()) if not text.strip()]
            if empty:
                raise InputError(
                    f"{table.where(empty[0])}: {role}: is empty, in {len(empty):,} of {amount(len(table), 'row')}; leave them out"
                )
        if "negative" in table.columns and "text2" not in table.columns:
            raise InputError(f"{printable(table.path)}: negative: is there without text2, which belongs to text")
        missing = [role for role in self.wants if part == "dev" and role not in table.columns]
        if missing:
            raise InputError(
                f"{printable(table.path)}: no column {missing[0]!r}, which {option('task', self.name)} wants of {option('dev')}; {option('columns', like=f'{missing[0]}=NAME')} says which it is{self._other}"
            )

    @property
    def _other(self) -> str:
        return ""

    def learn(self, table: Table, names: tuple[str, ...] = ()) -> Labels:
        """Numbers within [-1, 1] are cosines as they are; others go to [0, 1] by the least and the greatest of the training file."""
        if names:
            raise InputError(f"{option('labels')}: {option('task', self.name)} has numbers, not classes")
        if "label" not in table.columns:
            return Labels()
        found = numbers_of(table)
        low, high = float(found.min()), float(found.max())
        if low == high:
            raise InputError(f"{printable(table.path)}: label: every row says {low:g}; there is nothing to learn")
        return Labels() if low >= -1 and high <= 1 else Labels(mean=low, scale=high - low)

    def targets(self, table: Table, labels: Labels) -> np.ndarray:
        """(n,) float32 where the rows have numbers; else (n, k) int64: which texts they are."""
        if "label" in table.columns:
            return ((numbers_of(table) - labels.mean) / labels.scale).astype(np.float32)
        known: dict[str, int] = {}
        columns = [[known.setdefault(text, len(known)) for text in texts] for texts in texts_of(table)]
        return np.array(columns, np.int64).T

    def outline(self, table: Table, labels: Labels) -> dict[str, Any]:
        found: dict[str, Any] = {"different": len({text for texts in texts_of(table) for text in texts})}
        if "label" in table.columns:
            values = numbers_of(table)
            named = {"low": values.min(), "high": values.max(), "mean": values.mean(), "deviation": values.std()}
            found["numbers"] = {name: float(value) for name, value in named.items()}
        return found | {"texts": sum(role in table.columns for role in PARTS)}

    def told(self, found: outlines.Outlines) -> Iterator[str]:
        what = {1: ("text", ""), 2: ("pair", ""), 3: ("pair", " with a text that does not belong to them")}
        for part, one in found.items():
            n = one.get("numbers")
            numbers = f", numbers from {n['low']:g} to {n['high']:g}, mean {n['mean']:.4g}" if n else ""
            unit, more = what[one["texts"]]
            yield f"{part}: {amount(one['rows'], unit)}{more}, {amount(one['different'], 'different text')}{numbers}"

    def learning(self, table: Table) -> Iterator[str]:
        """How the training rows are learned from, where they do not say so themselves."""
        if self.goal == WRITTEN:
            yield f"train: texts alone: each is read without {self.delete:.0%} of its words, and written from its vector"
        elif "text2" not in table.columns:
            yield "train: texts alone: each is learned as its own pair, read twice through dropout"

    # -- what is read ----------------------------------------------------------------------------------------------------------------

    def encode(self, tokenizer: Any, table: Table, reading: Reading, pairs: bool | None = None) -> Encoded:
        if self.goal == WRITTEN and "text2" not in table.columns:
            return thinned.encode(tokenizer, texts_of(table)[0], reading, self.delete, table.where)
        return encode_apart(tokenizer, texts_of(table), reading, table.where)

    def asked(self, encoded: Encoded, targets: np.ndarray) -> Asked:
        if isinstance(encoded, thinned.Thinned):
            return encoded.asked_for(self.term)
        return Asked.once(self.term, targets[encoded.owner], int(encoded.reads[0]))

    def of_rows(self, encoded: Encoded, values: np.ndarray) -> np.ndarray:
        """(p, d) at the places -> (n, k, d)."""
        return values.reshape(encoded.rows, -1, values.shape[1])

    def each_size(self, width: int) -> Iterator[tuple[str, int]]:
        """How a score is called at each size, and the size."""
        yield "", width
        yield from ((f"_{size}", size) for size in self.sizes)

    def cosines(self, vectors: np.ndarray) -> np.ndarray:
        """(n, k, d) -> (n, sizes) of the first two texts of each row."""
        sizes = [size for _, size in self.each_size(vectors.shape[-1])]
        pairs = vectors[:, :2].astype(np.float64)
        return np.stack([ranking.unit(pairs[..., :size]).prod(1).sum(1) for size in sizes], 1)

    def answer(self, table: Table, said: np.ndarray, labels: Labels) -> list[dict[str, Any]]:
        """The cosine of the two vectors, at each size."""
        found = self.cosines(said) if said.ndim == 3 else said
        names = [f"cosine{end}" for end, _ in self.each_size(0)]
        return [{"label": row[0], "scores": dict(zip(names, row, strict=True))} for row in found.tolist()]

    def score(
        self, targets: np.ndarray, said: np.ndarray, labels: Labels, seed: int = 0, resamples: int = metrics.RESAMPLES
    ) -> dict[str, metrics.Score]:
        return metrics.scored(self.figures(targets, said, labels), len(targets), seed, resamples)

    def figures(self, targets: np.ndarray, said: np.ndarray, labels: Labels) -> metrics.Figures:
        raise NotImplementedError

    def breakdown(self, targets: np.ndarray, said: np.ndarray, labels: Labels) -> dict[str, Any]:
        return {}

    def right(self, targets: np.ndarray, said: np.ndarray, labels: Labels) -> None:
        """Texts are near, not right or wrong."""

    def stated(self, table: Table, i: int, labels: Labels) -> dict[str, Any]:
        """Of rows with numbers the number is true; of others that the texts belong together."""
        texts = {role: table.columns[role][i] for role in PARTS if role in table.columns}
        return {**texts, "truth": table.columns["label"][i] if "label" in table.columns else "belong together"}

    def beside(self, row: dict[str, Any], a: dict[str, Any], b: dict[str, Any]) -> tuple[str, str, str]:
        return str(row["truth"]), f"{a['label']:.3f}", f"{b['label']:.3f}"


@dataclass(frozen=True)
class Similarity(Vectored):
    """The dev file's pairs have numbers: how well the cosine orders them."""

    name: str = "similarity"
    wants: ClassVar[tuple[str, ...]] = ("text2", "label")

    @property
    def _other(self) -> str:
        return f"; {option('task', 'retrieval')} takes pairs without numbers"

    def best(self, labels: Labels) -> str:
        return "spearman"

    def said(self, encoded: Encoded, table: Table, values: np.ndarray) -> np.ndarray:
        """(n, sizes) cosines."""
        return self.cosines(self.of_rows(encoded, values))

    def _loss(self, found: np.ndarray, labels: np.ndarray) -> float:
        """Of cosines (n,): the mean squared error where numbers are learned so, else CoSENT's over all rows."""
        if self.goal == "cosine":
            return float(np.mean((found - labels) ** 2))
        return ranking.cosent(found, labels, self.scale)

    def loss(self, encoded: Encoded, asked: Asked, values: np.ndarray) -> float:
        found = self.cosines(self.of_rows(encoded, values))
        return sum(self._loss(column, asked.labels) for column in found.T)

    def figures(self, targets: np.ndarray, said: np.ndarray, labels: Labels) -> metrics.Figures:
        each = [
            (end, metrics.number_figures(targets, column))
            for (end, _), column in zip(
                self.each_size(0), said.T, strict=False
            )  # a kind as it is asked for has no sizes
        ]
        return lambda weights: {
            f"{name}{end}": values
            for end, figures in each
            for name, values in sorted(figures(weights).items(), reverse=True)
        }

    def only(self, said: np.ndarray, labels: Labels, targets: np.ndarray | None = None) -> float | None:
        if said[:, 0].std() >= FLAT or (targets is not None and targets.std() < FLAT):
            return None
        return float(said[:, 0].mean())

    def baseline(
        self, rows: Mapping[str, Table], targets: Mapping[str, np.ndarray], labels: Labels
    ) -> tuple[str, np.ndarray]:
        texts = [rows["dev"].columns[role] for role in PARTS[:2]]
        name, found = baselines.cosines([text for column in texts_of(rows["train"]) for text in column], *texts)
        return name, np.repeat(found[:, None], 1 + len(self.sizes), 1)

    def correct(self, targets: np.ndarray, said: np.ndarray, labels: Labels | None = None) -> np.ndarray:
        """(n,) minus the squared difference of cosine and number."""
        return -((said[:, 0] - targets).astype(np.float64) ** 2)

    def near(self, targets: np.ndarray, said: np.ndarray, labels: Labels) -> np.ndarray:
        """(n,) minus the difference of cosine and number."""
        return -np.abs(said[:, 0].astype(np.float64) - targets)


@dataclass(frozen=True)
class Retrieval(Vectored):
    """The dev file's pairs belong together: whether the second text of each is found among all that the file has."""

    name: str = "retrieval"
    simple: ClassVar[bool] = False
    goal: str = "negatives"
    units: str = "queries"
    wants: ClassVar[tuple[str, ...]] = ("text2",)

    def check(self, table: Table, part: str) -> None:
        super().check(table, part)
        if part == "dev" and "label" in table.columns:
            raise InputError(
                f"{printable(table.path)}: label: is there, and {option('task', 'retrieval')} takes all pairs of {option('dev')} as belonging together; {option('task', 'similarity')} reads numbers"
            )

    def best(self, labels: Labels) -> str:
        return ranking.NAMES[0]

    def said(self, encoded: Encoded, table: Table, values: np.ndarray) -> np.ndarray:
        """(n, k, d) float32."""
        return self.of_rows(encoded, values)

    def loss(self, encoded: Encoded, asked: Asked, values: np.ndarray) -> float:
        """Of the second text of each row among all that do not belong to its first one: the mean cross-entropy."""
        vectors = self.of_rows(encoded, values)
        return sum(
            ranking.belonging(vectors[..., :size], asked.labels, self.scale)
            for _, size in self.each_size(vectors.shape[-1])
        )

    def figures(self, targets: np.ndarray, said: np.ndarray, labels: Labels) -> metrics.Figures:
        """A row counts as one of as many as its first text has."""
        values = {
            f"{name}{end}": each
            for end, size in self.each_size(said.shape[-1])
            for name, each in ranking.retrieved(targets, said[..., :size]).items()
        }
        _, which, times = np.unique(targets[:, 0], return_inverse=True, return_counts=True)
        share = 1 / times[which]
        return lambda weights: {name: metrics.mean_of(weights, each, share) for name, each in values.items()}

    def only(self, said: np.ndarray, labels: Labels, targets: np.ndarray | None = None) -> None:
        return None

    def baseline(self, rows: Any, targets: Any, labels: Labels) -> tuple[str, Any]:
        raise InputError(f"{flag('baseline')}: {option('task', 'retrieval')} has none; similarity has")

    def correct(self, targets: np.ndarray, said: np.ndarray, labels: Labels | None = None) -> np.ndarray:
        """(n,) nDCG of each row's first text."""
        return ranking.retrieved(targets, said)[ranking.NAMES[0]]

    def near(self, targets: np.ndarray, said: np.ndarray, labels: Labels) -> np.ndarray:
        return self.correct(targets, said, labels)


def texts_of(table: Table) -> list[Sequence[str]]:
    """The texts of each row, column by column, without white space round them (as sentence-transformers reads them); a text alone twice."""
    found = [[text.strip() for text in table.columns[role]] for role in PARTS if role in table.columns]
    return found if len(found) > 1 else found * 2


def _check_written(name: str, texts: list[str], options: Any) -> None:
    """InputError for what texts that are written from their vectors have no use for."""
    wanted = setting("loss", value=WRITTEN)
    if len(texts) > 1:
        raise InputError(f"{name}: {wanted} wants texts alone (text); {', '.join(texts)} stand there")
    if options.sizes:
        raise InputError(f"sizes: {[*options.sizes]}: {wanted} writes from whole vectors; leave it out")
