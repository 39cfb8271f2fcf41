"""Labelled sequences, tokens and spans of tokens.  s sequences of n tokens in all, m labels, d width.  Losses are sums.

Terms: `label` (classes or a number of a sequence), `rank` (a class among some in an order), `choice` (which of several sequences), `tag` (a class of a token), `span` (where in a sequence an answer starts and ends).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bertsmith.config import require
from bertsmith.nn.body import Body, BodyConfig, outer
from bertsmith.objectives.predict import Summarised

if TYPE_CHECKING:
    from bertsmith.nn.modules.heads import PairHead, TokenLabel
    from bertsmith.objectives.modules.supervised import (
        Choosing,
        Classification,
        Labelling,
        Ordering,
        Regression,
        Spans,
    )
    from bertsmith.objectives.modules.tagging import Tagging


TERM = "label"
# From [CLS]; from the mean over the tokens; from their mean by weights that are learned (one matrix of a column, and a softmax); from the
# mean over the tokens of the first and of the last layer's states (Su et al. 2021); from the greatest of each number over the tokens; from
# [CLS] (or the end, where a text is read from the left), the greatest and the mean side by side (ULMFiT, Howard & Ruder 2018, section 3.3).
Pool = Literal["cls", "mean", "attention", "first-last", "max", "concat"]
SIDE = {"concat": ("cls", "max", "mean")}
TagHead = Literal["linear", "lstm", "crf", "lstm-crf"]
CHAINED = ("crf", "lstm-crf")  # those that learn how tags follow one another
CRF_RATE, LSTM_RATE = 1e-2, 1e-3  # at a trunk's rate they would stay as they begin
FIRST, LAST = 1, 2  # signs of words that begin and end a sentence, beside their tags


def _check_shares(shares: tuple[float, ...], classes: int) -> None:
    require(
        not shares or (len(shares) == classes and min(shares) > 0),
        f"objective.shares: {len(shares)} for {classes} classes; one above 0 for each is wanted",
    )


def reads(width: int, pool: str) -> int:
    """Numbers that the head of a sequence reads."""
    return width * len(SIDE.get(pool, (pool,)))


def sequence_parameters(model: Any, classes: int, pooler: str, pool: str = "cls") -> int:
    """Of the head of a sequence's classes; without a summary it is one matrix (heads.PairHead)."""
    width, own, read = model.width, (outer(model) if pool == "attention" else 0), reads(outer(model), pool)
    if pooler in ("none", "state"):
        return own + (read + (pooler == "state")) * classes
    return (
        own
        + (transform_parameters(model, read) if pooler == "transform" else (read + 1) * width)
        + (width + 1) * classes
    )


def transform_parameters(model: Any, read: int) -> int:
    """Of what stands before the classes where the summary is a transform."""
    return read * model.width + model.norm.parameters(model.width)


def sequence_head(model: Body, classes: int, objective: Any) -> "PairHead":
    """What is said of a sequence, by the `dropout`, `pooler` and `pool` of an objective."""
    from bertsmith.nn.modules.heads import PairHead

    config = model.config
    read = reads(outer(config), objective.pool)
    return PairHead(config.width, classes, objective.dropout, objective.pooler, read, config.norm)


def token_parameters(model: Any, classes: int, pooler: str) -> int:
    """Of the head of a token's classes."""
    if pooler == "transform":
        return transform_parameters(model, outer(model)) + (model.width + 1) * classes
    return (outer(model) + 1) * classes


def token_head(model: Body, classes: int, dropout: float, pooler: str) -> "TokenLabel":
    """What is said of a token."""
    from bertsmith.nn.modules.heads import TokenLabel, Transform

    config, read = model.config, outer(model.config)
    if pooler == "transform":
        return TokenLabel(config.width, classes, dropout, Transform(config.width, config.norm, read))
    return TokenLabel(read, classes, dropout)


@dataclass(frozen=True, kw_only=True)
class Classify:
    """One class for a sequence.

    `class_weights` (classes,) multiply the losses of its sequences, () are all 1; `focal`: losses times (1 - p)^focal, p that of the class
    (Lin et al. 2017, equation 4); `smoothing`: the share of each answer that is spread over all classes (Szegedy et al. 2016).
    """

    classes: int
    dropout: float = 0.1
    pool: Pool = "cls"
    pooler: Summarised = "tanh"  # activation of the summary: gelu where the model is ELECTRA's
    orders: Literal["one", "both"] = (
        "one"  # both: what is said of a pair in either order, added up (Radford et al. 2018, figure 1)
    )
    class_weights: tuple[float, ...] = ()
    focal: float = 0.0
    smoothing: float = 0.0
    san: Any = None  # a San, in the place of what `pool` reads

    def __post_init__(self):
        require(self.classes > 1, f"objective.classes: {self.classes} is below 2")
        require(0 <= self.dropout < 1, f"objective.dropout: {self.dropout} is not in [0, 1)")
        require(0 <= self.smoothing < 1, f"objective.smoothing: {self.smoothing} is not in [0, 1)")
        require(self.focal >= 0, f"objective.focal: {self.focal} is below 0")
        require(
            len(self.class_weights) in (0, self.classes),
            f"objective.class_weights: {len(self.class_weights)} for {self.classes} classes",
        )

    def build(self, model: Body) -> "Classification":
        from bertsmith.objectives.modules.supervised import Classification, Weighing

        head: Any = sequence_head(model, self.classes, self)
        if self.san is not None:
            head = self.san.build(outer(model.config), self.classes, self.dropout)
        how = (self.class_weights, self.focal, self.smoothing)
        return Classification(head, self.pool, self.orders, Weighing(*how) if any(how) else None)

    def parameters(self, model: BodyConfig) -> int:
        if self.san is not None:
            return self.san.parameters(outer(model), self.classes)
        return sequence_parameters(model, self.classes, self.pooler, self.pool)

    def weights(self) -> dict[str, float]:
        return {TERM: 1.0}


@dataclass(frozen=True, kw_only=True)
class Several:
    """Any of several labels for a sequence, each by a sigmoid; the loss is the mean over the labels."""

    classes: int
    dropout: float = 0.1
    pool: Pool = "cls"
    pooler: Summarised = "tanh"
    orders: Literal["one", "both"] = "one"

    def __post_init__(self):
        require(self.classes > 0, f"objective.classes: {self.classes} is below 1")
        require(0 <= self.dropout < 1, f"objective.dropout: {self.dropout} is not in [0, 1)")

    def build(self, model: Body) -> "Labelling":
        from bertsmith.objectives.modules.supervised import Labelling

        return Labelling(sequence_head(model, self.classes, self), self.pool, self.orders)

    def parameters(self, model: BodyConfig) -> int:
        return sequence_parameters(model, self.classes, self.pooler, self.pool)

    def weights(self) -> dict[str, float]:
        return {TERM: 1.0}


@dataclass(frozen=True, kw_only=True)
class Ordered:
    """One of several classes in an order: a number for a sequence, and thresholds between the classes (McCullagh 1980)."""

    classes: int
    dropout: float = 0.1
    pool: Pool = "cls"
    pooler: Summarised = "tanh"
    orders: Literal["one", "both"] = "one"
    shares: tuple[float, ...] = ()  # of the classes, which the thresholds begin with; () = all alike

    def __post_init__(self):
        require(self.classes > 1, f"objective.classes: {self.classes} is below 2")
        require(0 <= self.dropout < 1, f"objective.dropout: {self.dropout} is not in [0, 1)")
        _check_shares(self.shares, self.classes)

    @property
    def begin(self) -> tuple[float, ...]:
        """(classes - 1,) log-odds of a class up to each but the last."""
        shares = self.shares or (1.0,) * self.classes
        below = [sum(shares[: k + 1]) / sum(shares) for k in range(self.classes - 1)]
        return tuple(math.log(p / (1 - p)) for p in below)

    def build(self, model: Body) -> "Ordering":
        from bertsmith.nn.modules.heads import RankHead
        from bertsmith.objectives.modules.supervised import Ordering

        config = model.config
        made = self.dropout, self.pooler, reads(outer(config), self.pool), config.norm
        return Ordering(RankHead(config.width, self.begin, *made), self.pool, self.orders)

    def parameters(self, model: BodyConfig) -> int:
        return sequence_parameters(model, 1, self.pooler, self.pool) + self.classes - 1

    def weights(self) -> dict[str, float]:
        return {"rank": 1.0}


@dataclass(frozen=True, kw_only=True)
class Regress:
    """One number for a sequence, by squared error."""

    dropout: float = 0.1
    pool: Pool = "cls"
    pooler: Summarised = "tanh"  # activation of the summary: gelu where the model is ELECTRA's
    orders: Literal["one", "both"] = (
        "one"  # both: what is said of a pair in either order, added up (Radford et al. 2018, figure 1)
    )
    san: Any = None  # a San, in the place of what `pool` reads

    def __post_init__(self):
        require(0 <= self.dropout < 1, f"objective.dropout: {self.dropout} is not in [0, 1)")

    def build(self, model: Body) -> "Regression":
        from bertsmith.objectives.modules.supervised import Regression

        head: Any = sequence_head(model, 1, self)
        if self.san is not None:
            head = self.san.build(outer(model.config), 1, self.dropout)
        return Regression(head, self.pool, self.orders)

    def parameters(self, model: BodyConfig) -> int:
        if self.san is not None:
            return self.san.parameters(outer(model), 1)
        return sequence_parameters(model, 1, self.pooler, self.pool)

    def weights(self) -> dict[str, float]:
        return {TERM: 1.0}


@dataclass(frozen=True, kw_only=True)
class Choose:
    """One number for each of several sequences that a question offers; which is the answer, by a softmax over them."""

    dropout: float = 0.1
    pool: Pool = "cls"
    pooler: Summarised = "tanh"

    def __post_init__(self):
        require(0 <= self.dropout < 1, f"objective.dropout: {self.dropout} is not in [0, 1)")

    def build(self, model: Body) -> "Choosing":
        from bertsmith.objectives.modules.supervised import Choosing

        return Choosing(sequence_head(model, 1, self), self.pool)

    def parameters(self, model: BodyConfig) -> int:
        return sequence_parameters(model, 1, self.pooler, self.pool)

    def weights(self) -> dict[str, float]:
        return {"choice": 1.0}


@dataclass(frozen=True, kw_only=True)
class Tag:
    """One class for each token that is asked: by a linear layer over its hidden state, or over that of an LSTM, which reads the states of the
    tokens that are asked; each by itself, or with how classes follow one another in a sentence (a CRF).

    `allowed`: of a CRF, what may follow what (tasks/schemes.py); () = anything.
    `shares`: of the classes, which the head begins with (Lin et al. 2017, section 3.3, for one class); () = all alike.
    """

    classes: int
    dropout: float = 0.1
    pooler: Summarised = "tanh"  # of the summary that the model would have: whose family it is
    head: TagHead = "linear"
    allowed: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()

    def __post_init__(self):
        require(self.classes > 1, f"objective.classes: {self.classes} is below 2")
        require(0 <= self.dropout < 1, f"objective.dropout: {self.dropout} is not in [0, 1)")
        _check_shares(self.shares, self.classes)
        fits = {len(row) for row in (self.allowed, *self.allowed)} <= {self.classes + 1}
        require(
            not self.allowed or (fits and {*"".join(self.allowed)} <= {*"01"}),
            f"objective.allowed: {self.classes + 1} rows of as many 0 and 1 are wanted",
        )

    @property
    def chained(self) -> bool:
        return self.head in CHAINED

    @property
    def rates(self) -> dict[str, float]:
        """Parts that begin with nothing of the trunk's, and the least rate at which they learn beside it."""
        return ({"crf": CRF_RATE} if self.chained else {}) | ({"tag.lstm": LSTM_RATE} if self.reads else {})

    @property
    def reads(self) -> bool:
        """Whether it has an LSTM."""
        return self.head in ("lstm", "lstm-crf")

    def build(self, model: Body) -> "Tagging":
        from bertsmith.objectives.modules.tagging import Tagging, Transitions, Words

        head: Any = token_head(model, self.classes, self.dropout, self.pooler)
        if self.reads:
            head = Words(outer(model.config), self.classes, self.dropout)
        return Tagging(head, Transitions(self.classes, self.allowed) if self.chained else None, self.shares)

    def parameters(self, model: BodyConfig) -> int:
        width, side = outer(model), outer(model) // 2
        lstm = 2 * 4 * side * (width + side + 2) if self.reads else 0
        out = (2 * side + 1) * self.classes if self.reads else token_parameters(model, self.classes, self.pooler)
        return out + lstm + (self.classes * (self.classes + 2) if self.chained else 0)

    def weights(self) -> dict[str, float]:
        return {"tag": 1.0}


@dataclass(frozen=True, kw_only=True)
class Span:
    """Where an answer starts and where it ends, over the tokens of a sequence (Devlin et al. 2019, section 4.2)."""

    pooler: Summarised = "tanh"  # of the summary that the model would have: whose family it is

    def build(self, model: Body) -> "Spans":
        from bertsmith.objectives.modules.supervised import Spans

        return Spans(token_head(model, 2, 0.0, self.pooler))

    def parameters(self, model: BodyConfig) -> int:
        return token_parameters(model, 2, self.pooler)

    def weights(self) -> dict[str, float]:
        return {"span": 1.0}
