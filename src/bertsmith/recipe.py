"""A recipe is one value on each axis of the family; a run's config.json is a recipe and rebuilds the run."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import Batch, Row, Target, Vocab
from bertsmith.data.draw import Draw
from bertsmith.data.letters import Letters
from bertsmith.data.ramps import Ramps
from bertsmith.data.segmentation import Segmentation
from bertsmith.errors import InputError, nearest
from bertsmith.spelling import amount, an


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """Which spans are hidden (`select`), and how they are asked for (`rewrite`).

    `copies`: 0 draws anew in every epoch (dynamic), 1 always gives the same view (static), k gives k views in turn (static x k).
    `order`: sentences or tokens are put into another order before; what is asked for is the text as it was.
    `everywhere`: terms that are asked of every token that is read, `again`: of those that "token" asks for.  Their answers are not in the
    text but a teacher's; both follow the objective.
    """

    select: Any
    rewrite: Any
    copies: int = 0
    order: Any = None
    task: int = 0  # which of its tasks the model is told that this is, where its embeddings have some (nn/tasked.py)
    everywhere: tuple[str, ...] = ()
    again: tuple[str, ...] = ()

    def __post_init__(self):
        require(
            self.copies >= 0,
            f"corruption.copies: {self.copies} is negative; 0 = dynamic, 1 = static, k = k static copies",
        )

    def view(self, epoch: int) -> int:
        """The epoch that layouts and masks are drawn for, when the data is read for the `epoch`-th time."""
        return epoch % self.copies if self.copies else epoch

    def opening(self) -> Corruption:
        """As it is when a run begins, and stays so: of a curriculum the first stage."""
        return replace(self, select=self.select.opening()) if hasattr(self.select, "opening") else self

    def check(self, split: Any) -> None:
        """InputError where the select or the rewrite needs what the corpus does not have."""
        for part in (self.select, self.rewrite):
            if hasattr(part, "check"):
                part.check(split)

    def knowing(self, vocab: Vocab) -> Corruption:
        """The same, for a corpus whose tokens were counted: what a select goes by that leaves out frequent words."""
        return replace(self, select=self.select.knowing(vocab)) if hasattr(self.select, "knowing") else self

    def moved(self, row: Row, draw: Draw) -> Row:
        """The row in the order that it is read in."""
        return row if self.order is None else self.order(row, draw)

    def __call__(self, row: Row, vocab: Vocab, draw: Draw) -> Batch:
        row = self.moved(row, draw)
        batch = self.told(self.rewrite(row, self.select(row, draw), vocab, draw))
        if not (self.everywhere or self.again):
            return batch
        every = Target(at=np.arange(len(row.tokens))[:, None], labels=np.zeros(len(row.tokens), np.int64))
        more = dict.fromkeys(self.everywhere, every) | dict.fromkeys(self.again, batch.targets["token"])
        return replace(batch, targets={**batch.targets, **more})

    def counts(self, row: Row, spans: Any, draw: Draw) -> dict[str, int]:
        """Predictions of each term of the batch that `row`, which was moved, and its hidden `spans` become."""
        found = self.rewrite.counts(row, spans, draw)
        more = dict.fromkeys(self.everywhere, len(row.tokens)) | dict.fromkeys(self.again, found.get("token", 0))
        return {**found, **more}

    def told(self, batch: Batch) -> Batch:
        """With the number of the task in its segments."""
        if not self.task:
            return batch
        segments = (batch.input.segments + 2 * self.task).astype(np.uint8)
        return replace(batch, input=replace(batch.input, segments=segments))


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Something else that a run reads of its store and is asked about: a layout and a corruption of its own.  Its rows are as long as the
    recipe's own (`Recipe.alone`)."""

    name: str
    layout: Any
    corruption: Corruption


@dataclass(frozen=True, kw_only=True)
class Several:
    """Feeds over one store beside the recipe's own layout and corruption, which are the feed `main`.

    The recipe's objective is a `Mixed` with a part for each.  `shares`: how often each is read (data/mixture.py), in the order main, feeds.
    """

    main: str
    feeds: tuple[Asked, ...]
    shares: Any
    each: Literal["one", "all"] = "one"

    def __post_init__(self):
        names = [self.main, *(feed.name for feed in self.feeds)]
        require(len(set(names)) == len(names), f"mixture.feeds: {names}: each needs a name of its own")

    @property
    def names(self) -> tuple[str, ...]:
        return (self.main, *(feed.name for feed in self.feeds))


@dataclass(frozen=True, kw_only=True)
class Group:
    """Parameters of one part of a member: what share of the rate they learn with, and when.  Outside of `begin` to `end` they are frozen.

    `part`: where their names begin, in whole words: "model" (the trunk), "model.embeddings", "model.layers.0", "objective.label".
    `but`: patterns of names in it that are no part of the group, with * for anything: "*.bias".
    """

    part: str
    rate: float = 1.0  # 0: never learns
    begin: float = 0.0  # after this: a share of the steps below 1, a number of steps from 1
    end: float | None = None  # until this; null: to the end of the run
    but: tuple[str, ...] = ()

    def __post_init__(self):
        require(
            self.part in ("model", "objective") or "." in self.part,
            f"schedule.groups: part: {self.part!r}: names begin with model or objective",
        )
        require(self.rate >= 0, f"schedule.groups: {self.part}: rate: {self.rate} is negative")
        require(self.begin >= 0, f"schedule.groups: {self.part}: begin: {self.begin} is negative")
        require(self.end is None or self.end > 0, f"schedule.groups: {self.part}: end: {self.end} must be above 0")


@dataclass(frozen=True, kw_only=True)
class Moving:
    """A moving average of the weights: after each update `decay` of what it was and 1 - `decay` of them; at first less, (1 + n) / (10 + n)
    after n updates, so that it does not hang on where they began."""

    decay: float = 0.999

    def __post_init__(self):
        require(0 < self.decay < 1, f"schedule.average.decay: {self.decay} is not between 0 and 1")

    @property
    def copies(self) -> int:
        """Of what learns, that a saved step holds besides the model."""
        return 1


@dataclass(frozen=True, kw_only=True)
class Last:
    """The mean of the weights at the last `count` exams."""

    count: int = 3

    def __post_init__(self):
        require(self.count > 1, f"schedule.average.count: {self.count} is below 2; that is the weights themselves")

    @property
    def copies(self) -> int:
        return self.count + 1


@dataclass(frozen=True, kw_only=True)
class LayerByLayer:
    """A student's layers learn one after another, the lowest first and the embedding with it, each by what compares it with a teacher's; then all
    of them together, by what compares predictions (Sun et al. 2020, section 3.5: progressive knowledge transfer).

    `until`: the updates of these stages, which are of one length: a share of all below 1, or a number; 0: no stages.  `below`: the share of the rate that
    layers whose stage is over go on with meanwhile; 0: they are frozen.  Layers whose stage is to come, and heads, wait.
    """

    until: float = 0.3
    below: float = 0.0

    def __post_init__(self):
        require(
            self.until >= 0,
            f"schedule.stages.until: {self.until} is negative; a share of the steps, or a number, or 0 for no stages",
        )
        require(0 <= self.below <= 1, f"schedule.stages.below: {self.below} is not a share from 0 to 1")

    def ends(self, steps: int, layers: int) -> list[int]:
        """The last update of each layer's stage.  InputError where a stage has none."""
        whole = round(self.until * steps if self.until < 1 else self.until)
        require(
            whole >= layers,
            f"schedule.stages.until: {self.until}: {amount(whole, 'step')} for {amount(layers, 'layer')}, one of each at least",
        )
        return [round(whole * (number + 1) / layers) for number in range(layers)]

    def at(self, step: int, steps: int, layers: int) -> int:
        """The layer, from 1, whose stage is at update `step` of `steps`; 0 where all are over."""
        return next((number + 1 for number, end in enumerate(self.ends(steps, layers)) if step <= end), 0)

    def share(self, depth: int, stage: int) -> float:
        """Of the rate, for what stands at a depth (`depth_of`: 0 the embedding, i layer i, heads above) in the stage of a layer, or in none."""
        own = max(depth, 1)
        return 1.0 if own == stage or not stage else 0.0 if own > stage else self.below


SLANT = 1 / 32  # ULMFiT's ratio
ONLINE = "online"  # the optimizer that is none: training/online.py
COOLING = ("wsd", "trapezoid")  # decays that begin near the end
FALLING = ("linear", "cosine", *COOLING)  # those that end somewhere


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """An optimiser and its rate: linear warm-up over `warmup` of the steps, the peak until `hold` of them, then decay: to 0 on a line or half
    a cosine, by the inverse of the root of the steps, or none.  slanted: on lines from `SLANT` of the peak and back to it (ULMFiT's slanted
    triangles, Howard & Ruder 2018, equation 3); wsd: the peak until `cooldown` of the steps are left, then by 1 - root (Hu et al. 2024; Hägele et al. 2024,
    section 4; ModernBERT), trapezoid: the same on a line.  AdaFactor has neither betas nor eps, and its rate is a share of what it moves;
    AdaGrad has no betas, no decay of weights, and moves only rows that something was said of; online: plain descent, one example after another,
    by an objective that can (training/online.py).

    Parts of a member may learn at a share of the rate, or not yet, or no more: by depth (`layer_decay`, `unfreeze`) and by name (`groups`).
    """

    lr: float = 1e-4
    warmup: float = 0.1  # share of the steps below 1, number of steps from 1
    betas: tuple[float, ...] = (0.9, 0.999)
    eps: float = 1e-6
    weight_decay: float = 0.01  # not on biases and norms
    clip: float = 1.0  # of the global gradient norm; 0 = never
    bias_correction: bool = True  # BERT's own Adam has none
    decay: Literal["linear", "cosine", "inverse", "constant", "slanted", "wsd", "trapezoid"] = "linear"
    hold: float = 0.0  # until this step the rate stays at its peak: a share of them below 1
    cooldown: float = 0.1  # of wsd and trapezoid: the steps that they decay in, a share of all below 1
    initial: float = 0.0  # the share of the peak that warm-up rises from
    final: float = 0.0  # the share of the peak that the rate falls to
    optimizer: Literal["adamw", "adafactor", "adagrad", "stable-adamw", "lamb", "muon", "online"] = "adamw"
    layer_decay: float = 1.0  # the rate of each layer as a share of the one above it; heads stand above the last, embeddings below the first
    unfreeze: float = 0.0  # steps (a share of them below 1) from one depth's beginning to learn to that of the next below; heads begin at once
    average: Any = (
        None  # a Moving (or its decay alone) or a Last: what is examined and saved in the place of the weights
    )
    groups: tuple[Any, ...] = ()  # of Group; shares of several that name a parameter are multiplied
    stages: Any = None  # a LayerByLayer, of what learns of a teacher
    ramps: Ramps = field(default_factory=Ramps)  # of pre-training: what its updates are at first

    def __post_init__(self):
        if isinstance(self.average, float):
            object.__setattr__(self, "average", Moving(decay=self.average))
        require(
            self.average is None or isinstance(self.average, (Moving, Last)),
            f"schedule.average: {self.average!r} is neither a decay such as 0.999 nor null",
        )
        require(0 < self.layer_decay <= 1, f"schedule.layer_decay: {self.layer_decay} is not above 0 and at most 1")
        require(self.unfreeze >= 0, f"schedule.unfreeze: {self.unfreeze} is negative; 0 = all learn from the start")
        require(self.lr > 0, f"schedule.lr: {self.lr} must be above 0")
        require(self.warmup >= 0, f"schedule.warmup: {self.warmup} is negative")
        require(self.hold >= 0, f"schedule.hold: {self.hold} is negative")
        require(self.cooldown > 0, f"schedule.cooldown: {self.cooldown} must be above 0")
        for name in ("initial", "final"):
            share = getattr(self, name)
            require(0 <= share < 1, f"schedule.{name}: {share} is not a share of the peak from 0 to below 1")
        require(
            not self.hold or self.decay not in COOLING,
            f"schedule.hold: {self.hold}: {self.decay} holds the rate until schedule.cooldown; leave it 0",
        )
        require(
            not self.final or self.decay in FALLING,
            f"schedule.final: {self.final}: {self.decay} does not end there; {', '.join(FALLING)} do",
        )
        require(
            not self.initial or self.decay != "slanted",
            f"schedule.initial: {self.initial}: slanted begins at a share of its own; leave it 0",
        )
        require(
            self.bias_correction or self.optimizer in ("adamw", "adafactor"),
            f"schedule.bias_correction: false is AdamW's alone; {self.optimizer} wants it true",
        )
        require(
            len(self.betas) == 2 and all(0 <= b < 1 for b in self.betas),
            f"schedule.betas: {self.betas} must be two numbers in [0, 1)",
        )
        require(
            self.clip >= 0 and self.weight_decay >= 0 and self.eps > 0,
            "schedule: clip and weight_decay must not be negative, eps must be above 0",
        )


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a run is carried out; nothing here changes what is learned but `batch` and `corpus`."""

    batch: int = 8192  # real input tokens per update, over all processes and micro-batches; what it is of a labelled file `by` says
    by: Literal["tokens", "sequences"] = "tokens"  # what `batch` counts
    accumulate: int = 1  # micro-batches per update and process
    most: int | None = (
        None  # tokens in one micro-batch; an update with more is made in more of them, and learns the same
    )
    checkpoint: int = 500  # steps between checkpoints
    keep: int = 2  # newest steps kept
    evaluate: int = 500  # steps between held-out evaluations; 0 = at the end only
    held_out: int = 65536  # tokens that an evaluation reads at most
    corpus: float = 1.0  # the share of the training sequences that is read, again and again
    smoothing: float = (
        1.0  # a language of n tokens is read in proportion to n to this power; 1 reads each once in an epoch
    )
    shares: tuple[float, ...] = ()  # of what is read, by language in the store's order, in the place of `smoothing`
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False  # layers by torch.compile: for GPUs; on a CPU minutes of waiting for a few per cent

    def __post_init__(self):
        for name in ("batch", "accumulate", "checkpoint", "held_out"):
            require(getattr(self, name) > 0, f"training.{name}: {getattr(self, name)} must be above 0")
        require(
            self.keep >= 2,
            f"training.keep: {self.keep} is below 2; the newest step and the one before it are always kept",
        )
        require(self.most is None or self.most > 0, f"training.most: {self.most} must be above 0, or null for no limit")
        require(
            0 <= self.smoothing <= 1,
            f"training.smoothing: {self.smoothing} is not a power from 0 (languages alike) to 1 (as much as there is)",
        )
        require(
            all(isinstance(share, (int, float)) and 0 < share < math.inf for share in self.shares),
            f"training.shares: {self.shares}: each must be a number above 0",
        )
        require(0 < self.corpus <= 1, f"training.corpus: {self.corpus} is not a share; above 0, at most 1")
        require(self.evaluate >= 0, f"training.evaluate: {self.evaluate} is negative; 0 evaluates at the end only")


@dataclass(frozen=True, kw_only=True)
class Brief:
    """A small size in a run of minutes (`--tokens`, `--minutes`): short rows and small updates, for a model leaves the plateau of word
    frequencies after a number of updates, hardly of tokens (docs/pretrain.md, LOG.md)."""

    updates: int = (
        6000  # wanted: the batch is the largest power of two that leaves room for them, up to the recipe's own
    )
    batch: int = 1024  # the smallest
    length: int = 64  # of the layout, while the batch is below the recipe's own
    lr: float = 2e-3  # of the schedule, likewise
    leaves: int = 3000  # updates after which it has left the plateau on most texts

    def fields(self, recipe: Recipe, tokens: float) -> dict[str, int | float]:
        """Fields of `recipe` that are others in a run that reads so many tokens; {} where it is long enough for the recipe as it stands."""
        room = 2 ** int(math.log2(max(1.0, tokens / self.updates)))
        if room >= recipe.training.batch:
            return {}
        batch, length = min(recipe.training.batch, max(room, self.batch)), min(self.length, recipe.layout.length)
        return {"training.batch": batch, "layout.length": length, "schedule.lr": self.lr}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One member at one size.  `model.vocab` follows the store's tokenizer, or has more rows where the start of a run has; of sound it is the
    numbers of a frame, or of several that the layout stacks."""

    name: str  # "bert"
    tokenizer: str  # what `prepare --tokenizer` would be given for it: "wordpiece:30522"
    layout: Any
    corruption: Corruption
    model: Any
    objective: Any
    schedule: Schedule = field(default_factory=Schedule)
    training: Training = field(default_factory=Training)
    template: Any = None  # of a loaded tokenizer that joins the texts of a pair otherwise than the layout
    brief: Any = None  # a Brief: fields that follow the length of a run, until it is known
    mixture: Any = None  # a Several: what else is read of the store, and asked
    segmentation: Any = field(
        default_factory=Segmentation
    )  # how training cuts the store's text; `--set tokenizer.dropout=0.1`
    surgery: Any = (
        None  # of a fine-tuning: what is put into the body that `model` builds (nn/adapters.py, nn/lowrank.py, …)
    )

    BELOW: ClassVar[dict[str, str]] = {"tokenizer": "segmentation"}  # where what is set below a plain field stands

    def __post_init__(self):
        if hasattr(self.layout, "for_batch") and self.training.by == "tokens":  # as many columns as an update holds
            object.__setattr__(self, "layout", self.layout.for_batch(self.training.batch))
        taught = {name: getattr(self.objective, name, ()) for name in ("everywhere", "again")}
        if any(getattr(self.corruption, name, ()) != terms for name, terms in taught.items()):
            object.__setattr__(self, "corruption", replace(self.corruption, **taught))
        require(
            not self.segmentation.draws or self.reads == "tokens",
            f"tokenizer: {self.name} reads {self.reads}, which are not cut into tokens; leave dropout and alpha out",
        )
        positions = getattr(self.model, "longest", None)
        require(
            positions is None or self.layout.length <= positions,
            f"layout.length: {self.layout.length} is more than the model's {positions} positions; lower it or raise model.positions.length",
        )
        asked = getattr(self.objective, "longest", None)
        require(
            asked is None or self.layout.length <= asked,
            f"layout.length: {self.layout.length} is more than the objective's {asked} positions; lower it or raise objective.positions.length",
        )
        segments, needed = getattr(self.model, "segments", 0), getattr(self.corruption.rewrite, "segments", 0)
        require(
            not 0 < segments < needed,
            f"model.embeddings.segments: {segments}, but the rewrite numbers {needed} of them; raise it to {needed}, or 0 for none",
        )

        self._check_ways()
        if self.schedule.optimizer == ONLINE:
            self._check_online()

    def _check_online(self) -> None:
        """InputError where what learns one example after another would need the gradient of an update, or several rates."""
        schedule, training = self.schedule, self.training
        require(
            hasattr(self.objective, ONLINE),
            f"schedule.optimizer: online: {type(self.objective).__name__} ({self.name}) learns by gradients of an update; word2vec need not",
        )
        require(
            schedule.lr <= 1,
            f"schedule.lr: {schedule.lr}: online descent moves by 1 at most; word2vec's is 0.025, of CBOW 0.05",
        )
        none = {"weight_decay": 0, "clip": 0, "layer_decay": 1, "unfreeze": 0, "groups": (), "stages": None}
        for name, value in none.items():
            now, way = getattr(schedule, name), "leave it empty" if value in ((), None) else f"set it {value}"
            require(now == value, f"schedule.{name}: {now}: online descent has none; {way}")
        require(
            training.accumulate == 1 and training.most is None,
            f"training.accumulate: {training.accumulate}, training.most: {training.most}: online descent adds no micro-batches up; leave them 1 and null",
        )

    def _check_ways(self) -> None:
        """InputError where the model would read what it is asked for: of one that reads from an end, the rewrite says which."""
        have, allowed = getattr(self.model, "ways", ()), getattr(self.corruption.rewrite, "ways", None)
        require(
            not have or allowed is None or have == allowed,
            f"model.directions: {getattr(self.model, 'directions', '')}, but the rewrite asks for what such a model has read; set "
            f"model.directions={'backward' if allowed == (True,) else 'forward'}",
        )

    def alone(self, name: str | None = None) -> Recipe:
        """As if one of its feeds (None: the main one) were all that it reads and is asked; itself where it has no others."""
        if self.mixture is None:
            require(name is None, f"recipe {self.name}: reads one text alone, and has no feed {name!r}")
            return self
        known = self.mixture.names
        name = self.mixture.main if name is None else name
        if name not in known:
            raise InputError(f"recipe {self.name}: no feed {name!r}; {nearest(name, known)}")
        found = replace(self, mixture=None, objective=self.objective.answering(name))
        for feed in self.mixture.feeds:
            if feed.name == name:
                layout = replace(feed.layout, length=self.layout.length)
                return replace(found, layout=layout, corruption=feed.corruption)
        return found

    @property
    def feeds(self) -> dict[str, Recipe]:
        """By name, what each feed reads and is asked; {"": itself} where it has no others."""
        return {"": self} if self.mixture is None else {name: self.alone(name) for name in self.mixture.names}

    @property
    def reads(self) -> str:
        """ "tokens" of text, or "frames" of sound."""
        return getattr(self.layout, "reads", "tokens")

    def for_task(self) -> Recipe:
        """As it reads texts for a task that has a head of its own."""
        topology = getattr(self.model, "topology", None)
        if not hasattr(topology, "for_task"):
            return self
        return replace(self, model=replace(self.model, topology=topology.for_task(self.corruption.rewrite)))

    def with_vocab(self, vocab: int | Vocab, rows: int | None = None) -> Recipe:
        """For a tokenizer of so many tokens, with a table of `rows`: never fewer than it takes, and more where it was made so (None: just
        as many).  Sentinels that the tokenizer does not have are rows behind its own."""
        size = (vocab if isinstance(vocab, int) else vocab.size) * getattr(self.layout, "stack", 1)
        named = not isinstance(vocab, int) and vocab.sentinels
        rows = max(size + (0 if named else getattr(self.corruption.rewrite, "sentinels", 0)), rows or 0)
        objective = self.objective
        if hasattr(objective, "for_vocab"):  # it draws tokens
            objective = objective.for_vocab(size if rows > size else None)
        changed: dict[str, Any] = {"vocab": rows}
        topology = getattr(self.model, "topology", None)
        if hasattr(topology, "for_vocab") and isinstance(vocab, Vocab):  # it reads what a corpus is linked to
            changed["topology"] = topology.for_vocab(vocab)
        found = replace(self, model=replace(self.model, **changed), objective=objective)
        return found.spelling(vocab) if isinstance(vocab, Vocab) else found

    def spelling(self, vocab: Vocab) -> Recipe:
        """For a tokenizer that spells words which it has no entry for, or does not, where the member goes by that."""
        model, corruption = self.model, self.corruption
        if hasattr(model, "letters"):
            model = replace(model, letters=Letters.of(vocab))
        if hasattr(corruption.rewrite, "letters"):
            corruption = replace(corruption, rewrite=replace(corruption.rewrite, letters=Letters.of(vocab)))
        return replace(self, model=model, corruption=corruption)


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file of `recipes/`: the module's docstring says what the member is, `sizes` builds each published size."""

    name: str
    paper: str
    sizes: dict[str, Callable[[], Recipe]]
    about: str


def members() -> dict[str, Member]:
    """Every member in `bertsmith.recipes`, by name."""
    import bertsmith.recipes as home

    found = {}
    for path in sorted(Path(home.__file__).parent.glob("[a-z]*.py")):
        module = importlib.import_module(f"{home.__name__}.{path.stem}")
        found |= {member.name: member for member in getattr(module, "MEMBERS", ())}
    return found


def find(name: str) -> Recipe:
    """`find("bert:base")`, or `find("package.module:function")` for a member of one's own."""
    head, _, size = name.partition(":")
    if "." in head:
        return _own(head, size)
    known = members()
    if head not in known:
        raise InputError(f"recipe {name!r}: no member {head!r}; {nearest(head, known)}")
    sizes = known[head].sizes
    if size not in sizes:
        wrong = f"{head} has no size {size!r}" if size else "names no size"
        raise InputError(f"recipe {name!r}: {wrong}; known: {', '.join(f'{head}:{s}' for s in sizes)}")
    return sizes[size]()


def _own(module: str, function: str) -> Recipe:
    try:
        build = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise InputError(f"recipe {module}:{function}: {error}") from None
    recipe = build()
    require(
        isinstance(recipe, Recipe), f"recipe {module}:{function}: returned {an(type(recipe).__name__)}, not a Recipe"
    )
    return recipe
