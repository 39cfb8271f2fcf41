"""Options of fine-tuning and what they mean where they are not given."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from bertsmith.config import Settings, assignments_of, override, require
from bertsmith.downstream.methods import FULL, Method
from bertsmith.errors import BertsmithError, InputError, nearest, printable
from bertsmith.nn.adapters import Adapters
from bertsmith.nn.body import outer
from bertsmith.nn.compressed import Int8Aware
from bertsmith.nn.lowrank import LowRank
from bertsmith.nn.pals import Pals
from bertsmith.nn.prefixes import Prefixes
from bertsmith.objectives.compared import INFERSENT
from bertsmith.objectives.inturn import Taught
from bertsmith.objectives.san import San
from bertsmith.objectives.supervised import TagHead
from bertsmith.recipe import Group, Last, Moving, Recipe, Schedule, Training
from bertsmith.spelling import amount, option, setting
from bertsmith.tasks.kinds import KINDS, Kind
from bertsmith.tasks.reading import Reading, Template

LENGTHS = ("epochs", "steps", "tokens", "minutes")  # one of which says how long
# By width, up to: the rate (Turc et al. 2019 for small sizes, Devlin et al. 2019), and updates that it wants at least (LOG.md, ten tasks).
BY_WIDTH = ((256, 1e-3, 600), (511, 3e-4, 300), (767, 1e-4, 150), (math.inf, 5e-5, 150))
MOST_EPOCHS = 50  # however few the texts are
# Of what learns beside a trunk that stays: times the rate of that trunk, at most; of a head alone.
FASTER, MOST_RATE, STILL_RATE = 10, 3e-3, 1e-3
GROUPS = ("adapter", "lora", "prefix", "pal", "int8", "san", "taught")  # settings that are several
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
    "adapter",
    "lora",
    "prefix",
    "pal",
    "int8",
    "taught",
    "layers",
    "reinit",
    "ema",
    "last",
    "decay",
    "thresholds",
    "class_weights",
    "focal",
    "loss",
    "scale",
    "margin",
    "sizes",
    "hard",
    "temperature",
    "head",
    "san",
    "delete",
)  # options that older runs' config.json does not have
SHORTEST = 3  # tokens of a text with what stands round it
LONGEST_PREFIX = 1024  # states in front of a text, where the model has no number of positions
KEEP = 2  # saved steps: the newest, and the best or the one before
# What --set may also be called, as in pre-training.
ALIASES = {
    "schedule.lr": "lr",
    "schedule.warmup": "warmup",
    "schedule.decay": "decay",
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
        None  # full: 5e-5 from width 768 on, 1e-4 from 512 on, 3e-4 from 257 on, 1e-3 below; frozen: 1e-3; static vectors 0.01, 0.1
    )
    warmup: float = 0.1
    decay: Literal["linear", "cosine", "inverse", "constant", "slanted"] = (
        "linear"  # of the rate; slanted: from and to a 32nd of it (Howard & Ruder 2018)
    )
    weight_decay: float = 0.01
    dropout: float = 0.1
    clip: float = 1.0
    length: int | None = None  # tokens of a sequence, specials included; null = the layout's of pre-training
    pool: Literal["auto", "cls", "mean", "attention", "first-last", "max", "concat"] = (
        "auto"  # auto: cls when the trunk is trained, mean when it is frozen; concat: [CLS], max and mean side by side (Howard & Ruder 2018)
    )
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
    smoothing: float = (
        0.0  # classify, text2text: share of each answer that is spread over the classes or the vocabulary
    )
    class_weights: dict[str, float] | tuple[float, ...] | Literal["none", "balanced"] = (
        "none"  # classify: of the losses; balanced = each class counts alike, or {"rare": 3} (others 1), or one for each in order
    )
    focal: float = 0.0  # classify: losses times (1 - p)^focal, p that of the class (Lin et al. 2017: 2)
    target_length: int | None = None  # text2text: tokens of a target at most; null = the longest of the training file
    beam: int = 1  # text2text: texts that the last search follows, and `predict`; 1 = the likeliest token each time
    visibility: Literal["causal", "prefix"] = (
        "causal"  # text2text: of a language model; prefix = the text that is read sees all of itself
    )
    mask_rate: float | None = (
        None  # text2text: share of a target's tokens that an encoder alone does not see while it learns; null = 0.7
    )
    head: TagHead | Literal["san", "infersent"] = (
        "linear"  # tag: an LSTM over the words, how tags follow one another (a CRF), or both; classify, regress: san = pairs are read in steps; classify: infersent = the texts of a pair are read apart
    )
    thresholds: Literal["one", "each"] = (
        "one"  # multilabel: the probability from which on a row has a label; one for all, or for each
    )
    loss: str | None = (
        None  # similarity, retrieval: of objectives/vectors.py, or tsdae; null = cosine where the training file has numbers, else negatives
    )
    scale: float = 20.0  # similarity, retrieval: of the cosines that are compared; 1 / temperature
    margin: float = 1.0  # similarity, retrieval: of loss=triplet
    sizes: tuple[
        int, ...
    ] = ()  # similarity, retrieval: [128, 64]: so many first numbers of a vector are learned as one, too
    hard: float = 0.5  # with a teacher: weight of the labels' own loss; the rest is that of what the teacher says
    temperature: float = 2.0  # with a teacher: what divides the logits of both before they are compared
    taught: Taught = field(
        default_factory=Taught
    )  # with a teacher: taught.epochs, in which its layers are learned before what it says
    delete: float = (
        0.6  # similarity, retrieval: of loss=tsdae, the share of a text's words that are not read (Wang et al. 2021)
    )
    frozen: tuple[str, ...] = ()  # parts that never learn: ["model.embeddings", "model.layers.0"]
    reinit: int = 0  # layers at the top, and the pooler, that begin with fresh weights (Zhang et al. 2021: 1 to 6)
    ema: float = 0.0  # the model is a moving average of the weights, each update's with 1 - ema of it: 0.999; 0 = the weights themselves
    last: int = (
        0  # the model is the mean of the weights at the last so many scores on the dev file; 0 = the weights themselves
    )
    adapter: Adapters = field(default_factory=Adapters)  # of method adapter: adapter.size, adapter.form, …
    lora: LowRank = field(default_factory=LowRank)  # of method lora: lora.rank, lora.alpha, lora.parts
    prefix: Prefixes = field(default_factory=Prefixes)  # of method prefix: prefix.length, prefix.std
    pal: Pals = field(default_factory=Pals)  # of method pal: pal.size, pal.trunk, pal.std
    int8: Int8Aware = field(default_factory=Int8Aware)  # of method int8: int8.decay, int8.outputs
    san: San = field(default_factory=San)  # of head=san: san.steps, san.drop
    layers: tuple[
        int, ...
    ] = ()  # frozen: layers that are read side by side, 0 the embedding, -1 the last; mix: those that are mixed; [] = the last; all

    def __post_init__(self):
        positive = ("epochs", "batch", "lr", "length", "stride", "tokens", "accumulate", "checkpoint", "evaluations")
        for name in (*positive, "patience", "target_length", "beam"):
            value = getattr(self, name)
            require(value is None or value > 0, f"{name}: {value} must be above 0")
        require(
            all(isinstance(part, str) for part in self.frozen),
            f'frozen: {list(self.frozen)}: names of parts are wanted, such as ["model.embeddings"]',
        )
        wrong = next((part for part in self.frozen if part.partition(".")[0] not in ("model", "objective")), None)
        require(
            wrong is None,
            f"frozen: {printable(repr(wrong), 60)}: names of parts begin with model or objective, such as model.embeddings",
        )
        require(
            all(isinstance(layer, int) and not isinstance(layer, bool) for layer in self.layers),
            f"layers: {list(self.layers)}: numbers of layers are wanted, such as [-4, -3, -2, -1]",
        )
        require(self.focal >= 0, f"focal: {self.focal} is below 0")
        for name in ("scale", "margin"):
            require(getattr(self, name) > 0, f"{name}: {getattr(self, name)} must be above 0")
        for name in ("weight_decay", "clip"):
            require(getattr(self, name) >= 0, f"{name}: {getattr(self, name)} is below 0")
        with spelt():  # what the loop would refuse, before any file is read
            Schedule(lr=self.lr or 1.0, warmup=self.warmup, layer_decay=self.layer_decay, unfreeze=self.unfreeze)
        require(
            self.length is None or self.length >= SHORTEST,
            f"length: {amount(self.length or 0, 'token leaves', 'tokens leave')} no room for a text beside the special ones",
        )
        told = self.class_weights
        named = told.items() if isinstance(told, dict) else enumerate(told) if isinstance(told, tuple) else ()
        for name, weight in named:
            number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
            require(
                number and 0 < weight < math.inf,
                f"class_weights: {printable(name, 60)}: {printable(repr(weight), 40)} is not a number above 0",
            )
        require(
            all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in self.sizes),
            f"sizes: {[*self.sizes]}: numbers above 0 are wanted",
        )
        require(0 <= self.hard < 1, f"hard: {self.hard} is not in [0, 1)")
        require(self.temperature > 0, f"temperature: {self.temperature} must be above 0")
        require(self.auxiliary >= 0, f"auxiliary: {self.auxiliary} is below 0")
        require(self.keep >= KEEP, f"keep: {self.keep} is below {KEEP}: the newest step and the best")
        require(0 <= self.dropout < 1, f"dropout: {self.dropout} is not in [0, 1)")
        require(0 <= self.smoothing < 1, f"smoothing: {self.smoothing} is not in [0, 1)")
        rate = self.mask_rate
        require(rate is None or 0 < rate <= 1, f"mask_rate: {rate} is not a share above 0 and at most 1")
        require(0 < self.delete < 1, f"delete: {self.delete} is not a share between 0 and 1")
        require(self.reinit >= 0, f"reinit: {self.reinit} is below 0")
        require(0 <= self.ema < 1, f"ema: {self.ema} is not in [0, 1)")
        require(self.last >= 0, f"last: {self.last} is below 0")
        require(not (self.ema and self.last), "ema, last: are two averages of the weights; set one")

    def check_masks(self, fills: bool) -> None:
        """InputError for a share of masks where none are filled."""
        require(
            fills or self.mask_rate is None,
            f"mask_rate: {self.mask_rate}: is for an encoder that fills masks; this model is asked for every token of a target",
        )

    def check_body(self, method: Method, body: Any) -> None:
        """InputError for what a model of this configuration cannot do, whatever the rows are: told before they are read."""
        longest, layers, width = body.longest, body.layers, body.width
        require(
            longest is None or self.length is None or self.length <= longest,
            f"length: {self.length} is more than the model's {longest} positions",
        )
        require(self.reinit <= layers, f"reinit: {self.reinit}: the model has {amount(layers, 'layer')}; lower it")
        self._layers(method, body)
        heads = getattr(body, "heads", None)
        if method.name == "pal" and isinstance(heads, int):
            self.pal.width(width, heads)
        most = longest or LONGEST_PREFIX
        require(
            method.name != "prefix" or self.prefix.length <= most,
            f"prefix.length: {self.prefix.length} in front of each text are more than the {most} {'positions that the model has' if longest else 'that are of use'}; lower it",
        )
        if method.puts == "lora":
            self.lora.check(width)
        require(
            all(size < width for size in self.sizes),
            f"sizes: {max(self.sizes, default=0)}: the vectors have {amount(width, 'number')}; the whole of them is learned anyhow, smaller sizes are wanted",
        )

    def check_taught(self, epochs: float | None) -> None:
        """InputError for a run whose epochs are all of layers."""
        first = self.taught.epochs
        require(
            epochs is None or first < epochs or not first,
            f"taught.epochs: {first}: of {epochs or 0:.2g} in all, none is left in which the task is learned; {option('epochs', first + 3)} has some",
        )

    def check_steps(self, steps: int | None) -> None:
        """InputError for a warm-up of more updates than there are, and for layers that would wait longer than that."""
        if steps is not None:
            require(
                self.unfreeze < 1 or round(self.unfreeze) < steps,
                f"unfreeze: the second layer would begin to learn after {amount(round(self.unfreeze), 'step')} in a run of {steps}; fewer, or a share of them such as 0.1",
            )
            with spelt():
                require(
                    self.warmup < 1 or int(self.warmup) <= steps,
                    f"warmup: {amount(int(self.warmup), 'step')} of warm-up in a run of {steps}; at most {steps}, or a share of them such as 0.1",
                )

    def check_way(self, method: Method, pools: bool) -> None:
        """InputError for what does not go with how a trunk learns, and with whether the head reads a text as a whole (`pools`)."""
        require(
            not self.auxiliary or not method.still,
            f"auxiliary: {self.auxiliary:g}: a frozen trunk learns nothing from it; take {option('method', 'full')}",
        )
        require(
            not self.taught.epochs or not (method.still or self.auxiliary),
            f"taught.epochs: {self.taught.epochs}: is for a trunk that learns, of the task alone; take {option('method', 'full')}, without auxiliary",
        )
        require(
            self.orders == "one" or (pools and not method.still),
            f"orders: {self.orders}: is for pairs of texts that are classified or given a number, by a trunk that learns",
        )
        require(
            self.head != "san" or not method.still,
            f"head: {self.head}: reads tokens, which a frozen trunk's features do not hold; take {option('method', 'full')}",
        )
        require(
            self.head != "san" or self.pool == "auto",
            f"head: {self.head}: reads tokens itself; leave pool={self.pool} out",
        )
        require(
            self.head not in ("san", INFERSENT) or self.orders == "one",
            f"head: {self.head}: reads both texts of a pair itself; leave orders={self.orders} out",
        )
        require(self.head == "san" or self.san == San(), "san.steps, san.drop: are of head=san")
        require(pools or self.pool == "auto", f"pool: {self.pool}: this task reads each token by itself")
        require(
            not method.still
            or self.pool in ("auto", "cls", "mean", *(() if self._several(method) else ("max", "concat"))),
            f"pool: {self.pool}: reads what a frozen trunk's features do not hold; take pool=mean, or {option('method', 'full')}",
        )

    def check_recipe(self, recipe: Recipe) -> None:
        """InputError for what the pre-training of the model does not have."""
        beside = getattr(recipe.corruption.rewrite, "beside", None)
        require(
            not self.auxiliary or (beside is not None and beside.term in recipe.objective.weights()),
            f"auxiliary: {self.auxiliary:g}: {recipe.name} has no language model's loss to go on with; a run that was pre-trained to read from the left has",
        )
        require(
            self.form == "own" or getattr(recipe.corruption.rewrite, "causal", False),
            f"form: {self.form}: {recipe.name} sees both sides of a token; take a member that reads from the left, or form=own",
        )

    def settled(self, method: Method, recipe: Recipe, pools: bool = True) -> FineTuning:
        """Every null but the stride's and those of `lasting` decided; `pools`: whether the head reads a text as a whole.

        InputError for a length that the model cannot take, and for a pool that the task has no use for.
        """
        self.check_way(method, pools)
        self.check_recipe(recipe)
        longest, (rate, _) = recipe.model.longest, _suiting(recipe.model.width)
        own = getattr(recipe.model, "rates", None)  # with and without its vectors
        if own is not None:
            rate = own[method.learns is not None]
        elif method.learns is not None:  # what is small learns faster
            rate = STILL_RATE if method.still else min(FASTER * rate, MOST_RATE)
        length = self.length or recipe.layout.length
        require(longest is None or length <= longest, f"length: {length} is more than the model's {longest} positions")
        return replace(
            self,
            lr=self.lr or rate,
            length=length,
            layers=self._layers(method, recipe.model),
            pool=self._pool(method, recipe, length) if self.pool == "auto" else self.pool,
        )

    def _layers(self, method: Method, model: Any) -> tuple[int, ...]:
        """Counted from the embedding.  InputError for one that the model does not have, and for several of different widths."""
        count = model.layers
        asked = self.layers or (tuple(range(count + 1)) if method.name == "mix" else ())
        wrong = next((layer for layer in asked if not -count - 1 <= layer <= count), None)
        require(
            wrong is None,
            f"layers: {wrong}: this model has 0 (the embedding) to {count}, from above -1 to {-count - 1}",
        )
        found = tuple(layer % (count + 1) for layer in asked)
        require(len({*found}) == len(found), f"layers: {list(self.layers)}: one stands there twice")
        require(
            found in ((), (0,), (count,)) or not getattr(model, "widths", {}),
            f"layers: those of this model are {outer(model, 1)} and {outer(model)} numbers wide, so that no head reads several; {option('method', 'frozen')} reads the last",
        )
        return found

    def _several(self, method: Method) -> bool:
        """Whether a head reads several layers, mixed or side by side, which only what is linear goes before."""
        return bool(self.layers) or method.reads == "mix"

    def pooled(self, pool: str | None) -> FineTuning:
        """Vectors are read as the model's own are (None: it says nothing), the mean where that is neither [CLS] nor the mean."""
        return self if self.pool != "auto" else replace(self, pool="cls" if pool == "cls" else "mean")

    @staticmethod
    def _pool(method: Method, recipe: Recipe, length: int) -> Literal["cls", "mean"]:
        """At [CLS] or at the end where a trunk learns, unless it has neither: T5's encoder; where a body says there what a text is, of a frozen
        one, too."""
        reading = Reading.of(recipe, length)
        if getattr(recipe.model, "whole", False):
            return "cls"
        neither = (reading.cls == "none" and not reading.ends) or (reading.bare and not reading.causal)
        return "mean" if method.still or neither or getattr(recipe.model, "pool", "cls") == "mean" else "cls"

    def lasting(self, method: Method, width: int, steps: int, asked: bool) -> FineTuning:
        """Epochs and evaluations decided; `steps`: updates of an epoch; `asked`: the user says how long."""
        fewest, most = (20, 100) if method.still else (3, MOST_EPOCHS)
        _, updates = _suiting(width)
        epochs = self.epochs or self.taught.epochs + max(fewest, min(most, math.ceil(updates / steps)))
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
        came = asdict(FineTuning())
        return {name: value for name, value in asdict(self).items() if name not in LATER or value != came[name]}

    def check_kind(self, kind: Kind) -> None:
        """InputError for an option that only another kind of task has."""
        for name in sorted({name for other in KINDS.values() for name in other.settings} - {*kind.settings}):
            if getattr(self, name) != getattr(FineTuning(), name):
                have = [other.name for other in KINDS.values() if name in other.settings]
                raise InputError(f"{name}: {option('task', kind.name)} has none; {option('task', *have)} has")
        losses = getattr(kind, "losses", None)
        if losses is not None and self.loss is not None and self.loss not in losses:
            raise InputError(f"{setting('loss', value=self.loss)}: unknown; {nearest(self.loss, losses)}")
        heads = getattr(kind, "heads", (self.head,))
        require(self.head in heads, f"head: {self.head}: {option('task', kind.name)} has {', '.join(heads)}")

    def check_long(self, kind: Kind, on_long: str | None) -> None:
        """InputError for windows and orders of a kind that has none, and for how far windows are apart where a text is cut."""
        how = on_long or kind.long
        window = option("on_long", how) if how == "window" else f"orders: {self.orders}"
        require(
            not getattr(kind, "once", False) or (how != "window" and self.orders == "one"),
            f"{window}: {option('task', kind.name)} reads each choice once, in one order",
        )
        require(
            self.stride is None or self.length is None or self.stride < self.length,
            f"stride: {self.stride}: windows of length={self.length} would leave out what stands between them; a smaller one is wanted",
        )
        require(
            self.stride is None or how == "window",
            f"stride: {self.stride}: is of windows, and {option('on_long', how)} reads none; {option('on_long', 'window')} does",
        )

    def check_teacher(self, given: bool, kind: Kind) -> None:
        """InputError for what is said of a teacher where there is none, and for a head whose answers hang together."""
        if given and getattr(self.of_kind(kind), "chained", False):
            raise InputError(
                f"{setting('head', value=self.head)}: learns the tags of a sentence together, and a teacher says those of each word; {setting('head', value='lstm')} can be taught"
            )
        for name in ("hard", "temperature", "taught"):
            if not given and getattr(self, name) != getattr(FineTuning(), name):
                raise InputError(
                    f"{setting(name)}: is of what a teacher says; {option('teacher', like='RUN')} names one"
                )

    def of_kind(self, kind: Any) -> Any:
        """A kind of task with the options that are its own; what learns vectors takes them with its rows (`tuned`)."""
        return kind if kind.embeds else replace(kind, **{name: getattr(self, name) for name in kind.settings})

    def schedule(self, method: Method = FULL) -> Schedule:
        """What a method leaves as it is is a group that never learns, and so are the parts that are `frozen`."""
        assert self.lr is not None
        return Schedule(
            lr=self.lr,
            warmup=self.warmup,
            decay=self.decay,
            weight_decay=self.weight_decay,
            clip=self.clip,
            layer_decay=self.layer_decay,
            unfreeze=self.unfreeze,
            average=Moving(decay=self.ema) if self.ema else Last(count=self.last) if self.last else None,
            groups=(*method.groups(), *(Group(part=part, rate=0.0) for part in self.frozen)),
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
        if "." in path and path not in ALIASES and path.partition(".")[0] not in GROUPS:
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
            for theirs, ours in {**ALIASES, "schedule.groups": "frozen"}.items():
                said = re.sub(rf"(?<![\w.]){re.escape(theirs)}(?![\w.])", ours, said)
            error.args = (said, *error.args[1:])
        raise
