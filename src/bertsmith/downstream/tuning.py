"""Options of fine-tuning and what they mean where they are not given."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from bertsmith.config import Settings, assignments_of, override, require
from bertsmith.errors import BertsmithError, InputError, nearest
from bertsmith.recipe import Group, Recipe, Schedule, Training
from bertsmith.spelling import option, setting
from bertsmith.tasks.sequences import Reading, Template

METHODS = ("full", "frozen")
LENGTHS = ("epochs", "steps", "tokens", "minutes")  # one of which says how long
# By width, up to: the rate (Turc et al. 2019 for small sizes, Devlin et al. 2019), and updates that it wants at least (LOG.md, ten tasks).
BY_WIDTH = ((256, 1e-3, 600), (511, 3e-4, 300), (767, 1e-4, 150), (math.inf, 5e-5, 150))
MOST_EPOCHS = 50  # however few the texts are
EXAMS = 20  # scores on the dev file, about, where the number of epochs is ours
LATER = (
    "auxiliary",
    "form",
    "orders",
    "smoothing",
    "target_length",
    "beam",
    "visibility",
    "mask_rate",
    "keep",
)  # options that older runs' config.json does not have
KEEP = 2  # saved steps: the newest, and the best or the one before
# What --set may also be called, as in pre-training.
ALIASES = {
    "schedule.lr": "lr",
    "schedule.warmup": "warmup",
    "schedule.weight_decay": "weight_decay",
    "schedule.clip": "clip",
}
ALIASES |= {"schedule.layer_decay": "layer_decay", "schedule.unfreeze": "unfreeze"}
ALIASES |= {
    "model.dropout": "dropout",
    "layout.length": "length",
    "training.precision": "precision",
    "training.epochs": "epochs",
    "training.accumulate": "accumulate",
    "training.checkpoint": "checkpoint",
    "training.keep": "keep",
    "training.most": "tokens",
    "objective.smoothing": "smoothing",
}


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """BERT's fine-tuning (Devlin et al. 2019, appendix A.3; Turc et al. 2019 for the rates of small sizes); null = by method and size."""

    epochs: int | None = (
        None  # full 3, frozen 20: its epochs cost nothing; or as many more as make the updates that the size wants
    )
    batch: int = 32  # sequences per update
    lr: float | None = (
        None  # full: 5e-5 from width 768 on, 1e-4 from 512 on, 3e-4 from 257 on, 1e-3 below; frozen: 1e-3
    )
    warmup: float = 0.1
    weight_decay: float = 0.01
    dropout: float = 0.1
    clip: float = 1.0
    length: int | None = None  # tokens of a sequence, specials included; null = the layout's of pre-training
    pool: Literal["auto", "cls", "mean"] = "auto"  # auto: cls when the trunk is trained, mean when it is frozen
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    stride: int | None = (
        None  # tokens between the starts of two windows; null = three quarters of what fits (qa: a half)
    )
    tokens: int = 16384  # at most in one pass; more are split, with the same result
    accumulate: int = 1  # passes of an update, or as many more as `tokens` asks for
    checkpoint: int = 500  # updates between saved steps, besides those that are scored on the dev file
    keep: int = KEEP  # saved steps at most; more of them show the path that a tuning took
    evaluations: float | None = (
        None  # scores on the dev file in an epoch, 0.5 = after every second; null = 1, or about 20 in all
    )
    patience: int | None = None  # ends after so many of them without a better one; null = never
    layer_decay: float = 1.0  # rate of each layer as a share of the one above it (Howard & Ruder 2018; Sun et al. 2019)
    unfreeze: float = 0.0  # updates, or a share of them, after which the next layer below begins to learn (Howard & Ruder 2018); 0 = all at once
    auxiliary: float = 0.0  # weight of the loss that a language model was pre-trained on, on the task's own texts (Radford et al. 2018: 0.5)
    form: Literal["own", "extract"] = (
        "own"  # extract: GPT's start, delimiter and extract tokens round texts that are read from the left
    )
    orders: Literal["one", "both"] = (
        "one"  # both: a pair is read in either order, and what is said of it added up (GPT's way with similarity)
    )
    smoothing: float = 0.0  # text2text: share of each answer that is spread over the vocabulary
    target_length: int | None = None  # text2text: tokens of a target at most; null = the longest of the training file
    beam: int = 1  # text2text: texts that the last search follows, and `predict`; 1 = the likeliest token each time
    visibility: Literal["causal", "prefix"] = (
        "causal"  # text2text: of a language model; prefix = the text that is read sees all of itself
    )
    mask_rate: float | None = (
        None  # text2text: share of a target's tokens that an encoder alone does not see while it learns; null = 0.7
    )
    frozen: tuple[str, ...] = ()  # parts that never learn: ["model.embeddings", "model.layers.0"]

    def __post_init__(self):
        positive = ("epochs", "batch", "lr", "length", "stride", "tokens", "accumulate", "checkpoint", "evaluations")
        for name in (*positive, "patience", "target_length", "beam"):
            value = getattr(self, name)
            require(value is None or value > 0, f"{name}: {value} must be above 0")
        require(
            all(isinstance(part, str) for part in self.frozen),
            f'frozen: {list(self.frozen)}: names of parts are wanted, such as ["model.embeddings"]',
        )
        require(self.auxiliary >= 0, f"auxiliary: {self.auxiliary} is below 0")
        require(self.keep >= KEEP, f"keep: {self.keep} is below {KEEP}: the newest step and the best")
        require(0 <= self.dropout < 1, f"dropout: {self.dropout} is not in [0, 1)")
        require(0 <= self.smoothing < 1, f"smoothing: {self.smoothing} is not in [0, 1)")
        rate = self.mask_rate
        require(rate is None or 0 < rate <= 1, f"mask_rate: {rate} is not a share above 0 and at most 1")

    def check_masks(self, fills: bool) -> None:
        """InputError for a share of masks where none are filled."""
        require(
            fills or self.mask_rate is None,
            f"mask_rate: {self.mask_rate}: is for an encoder that fills masks; this model is asked for every token of a target",
        )

    def settled(self, method: str, recipe: Recipe, pools: bool = True) -> FineTuning:
        """Every null but the stride's and those of `lasting` decided; `pools`: whether the head reads a text as a whole.

        InputError for a length that the model cannot take, and for a pool that the task has no use for.
        """
        require(
            not self.auxiliary or method != "frozen",
            f"auxiliary: {self.auxiliary:g}: a frozen trunk learns nothing from it; take {option('method', 'full')}",
        )
        beside = getattr(recipe.corruption.rewrite, "beside", None)
        require(
            not self.auxiliary or (beside is not None and beside.term in recipe.objective.weights()),
            f"auxiliary: {self.auxiliary:g}: {recipe.name} has no language model's loss to go on with; a run that was pre-trained to read from the left has",
        )
        require(
            self.orders == "one" or (pools and method != "frozen"),
            f"orders: {self.orders}: is for pairs of texts that are classified or given a number, by a trunk that learns",
        )
        require(
            self.form == "own" or getattr(recipe.corruption.rewrite, "causal", False),
            f"form: {self.form}: {recipe.name} sees both sides of a token; take a member that reads from the left, or form=own",
        )
        require(pools or self.pool == "auto", f"pool: {self.pool}: this task reads each token by itself")
        longest, (rate, _) = recipe.model.longest, _suiting(recipe.model.width)
        rate = 1e-3 if method == "frozen" else rate
        length = self.length or recipe.layout.length
        require(longest is None or length <= longest, f"length: {length} is more than the model's {longest} positions")
        return replace(
            self,
            lr=self.lr or rate,
            length=length,
            pool=self._pool(method, Reading.of(recipe, length)) if self.pool == "auto" else self.pool,
        )

    @staticmethod
    def _pool(method: str, reading: Reading) -> Literal["cls", "mean"]:
        """At [CLS] or at the end where a trunk learns, unless it has neither: T5's encoder."""
        neither = reading.cls == "none" and not reading.ends
        return "mean" if method == "frozen" or neither else "cls"

    def lasting(self, method: str, width: int, steps: int, asked: bool) -> FineTuning:
        """Epochs and evaluations decided; `steps`: updates of an epoch; `asked`: the user says how long."""
        fewest, most = (20, 100) if method == "frozen" else (3, MOST_EPOCHS)
        _, updates = _suiting(width)
        epochs = self.epochs or max(fewest, min(most, math.ceil(updates / steps)))
        often = 1.0 if self.epochs or asked else 1 / max(1, round(epochs / EXAMS))
        return replace(self, epochs=epochs, evaluations=self.evaluations or often)

    def formed(self, recipe: Recipe) -> Recipe:
        """`recipe` with texts in the form that is asked for."""
        if (self.form, self.orders) == ("own", "one"):
            return recipe
        usual = Reading.of(recipe, recipe.layout.length)
        template = Template(separators=usual.between, segments=usual.told, marks=usual.marks, orders=self.orders)
        if self.form == "extract":
            template = replace(template, separators=1, segments=False, marks="extract")
        return replace(recipe, template=template)

    def said(self) -> dict[str, Any]:
        """What config.json says of it; what came later and is off, as runs from before it had it."""
        came = {name: getattr(FineTuning(), name) for name in LATER}
        return {name: value for name, value in asdict(self).items() if name not in came or value != came[name]}

    def schedule(self, method: str = "full") -> Schedule:
        """A frozen trunk is a group that never learns."""
        assert self.lr is not None
        parts = (*(("model",) if method == "frozen" else ()), *self.frozen)
        return Schedule(
            lr=self.lr,
            warmup=self.warmup,
            weight_decay=self.weight_decay,
            clip=self.clip,
            layer_decay=self.layer_decay,
            unfreeze=self.unfreeze,
            groups=tuple(Group(part=part, rate=0.0) for part in parts),
        )

    def training(self) -> Training:
        """As the loop goes by it."""
        return Training(
            batch=self.batch,
            by="sequences",
            accumulate=self.accumulate,
            most=self.tokens,
            checkpoint=self.checkpoint,
            keep=self.keep,
            evaluate=0,
            precision=self.precision,
        )


def _suiting(width: int) -> tuple[float, int]:
    """(rate, updates) of a trunk so wide."""
    return next((rate, updates) for most, rate, updates in BY_WIDTH if width <= most)


def settings(given: Settings) -> FineTuning:
    """`--set` for fine-tuning.  `training.batch` counts tokens in pre-training; here `batch` counts texts."""
    known = {f.name for f in fields(FineTuning)}
    renamed = []
    for assignment in assignments_of(given):
        path, equals, value = assignment.partition("=")
        if path == "training.batch":
            raise InputError(
                f"{setting('training.batch')}: counts tokens, in pre-training; fine-tuning counts texts per update: {setting('batch', value=32)}"
            )
        if "." in path and path not in ALIASES:
            raise InputError(f"{setting(path)}: cannot be set in fine-tuning; {nearest(path, [*known, *ALIASES])}")
        renamed.append(ALIASES.get(path, path) + equals + value)
    return override(FineTuning(), renamed)


@contextmanager
def spelt() -> Iterator[None]:
    """Errors name settings as fine-tuning has them: `lr`, where the loop says `schedule.lr`."""
    try:
        yield
    except BertsmithError as error:
        if error.args and isinstance(error.args[0], str):
            said = error.args[0]
            for theirs, ours in ALIASES.items():
                said = re.sub(rf"(?<![\w.]){re.escape(theirs)}(?![\w.])", ours, said)
            error.args = (said, *error.args[1:])
        raise
