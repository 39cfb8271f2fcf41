"""How a text or a pair is read: what stands round it, and windows of what is too long.

One text is `[CLS] A [SEP]`, a pair `[CLS] A [SEP] B [SEP]` with segments 0 and 1 (Devlin et al. 2019, figure 2); a model without
segments gets two separators between A and B, as RoBERTa does.  With [CLS] at the end, `A [SEP] B [SEP] [CLS]`, it has a segment of its
own, 2 (XLNet's released code); without one, `A [SEP] B [SEP]` (T5).  A language model that no task was put to reads `A` alone, and its last token has seen all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from bertsmith.errors import InputError, nearest
from bertsmith.nn.asks import Asks
from bertsmith.spelling import amount, option

Array = np.ndarray
OnLong = Literal["truncate", "window", "error"]
# What stands round a text: [CLS] and [SEP]; nothing; or GPT's start, delimiter and extract tokens.
Marks = Literal["usual", "none", "extract"]
Orders = Literal["one", "both"]  # in which the texts of a pair are read
# What reads and is read beyond a model's windows: [CLS], or that and the first text of a pair (Beltagy et al. 2020, section 3.1).
Wide = Literal["none", "first", "question"]
ON_LONG = ("truncate", "window", "error")


@dataclass(frozen=True, kw_only=True)
class Template:
    """How a tokenizer joins the texts of a pair, where it says so: separators between them, and whether the second has a segment of its own."""

    separators: int
    segments: bool
    marks: Marks = "usual"
    orders: Orders = "one"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How texts become sequences, and who sees whom in them.  `length` counts the special tokens."""

    length: int
    segments: bool = True  # whether the model tells them apart
    cls: Literal["first", "last", "none"] = "first"  # where [CLS] stands; with none the last [SEP] is read in its place
    causal: bool = False  # a token sees only what comes before it
    separators: int = 2  # between the texts of a pair, where segments do not tell them apart
    template: Template | None = None  # in place of both, where a loaded tokenizer has another
    marks: Marks = "usual"
    orders: Orders = "one"
    on_long: OnLong = "truncate"
    stride: int | None = None  # tokens from the start of a window to the start of the next; None: the task's own
    start: Literal["pad", "cls", "sep"] | None = None  # what a decoder is given first; None: there is none
    ends: bool = False  # what a text is as a whole is read at its last token, which a decoder says last
    before: int = 0  # places between where a hidden token is asked for and where it stands
    fills: bool = False  # it fills masks where they stand, and so can write behind a text
    sides: tuple[int, int] = (0, 0)  # segments of a text that something is written behind, and of that
    segment: int = 0  # of a text by itself
    stack: int = 1  # frames of sound that are read as one
    wide: Wide = "none"  # of a model with windows

    def __post_init__(self):
        if self.on_long not in ON_LONG:
            raise InputError(f"{option('on_long', self.on_long)}: unknown; {nearest(self.on_long, ON_LONG)}")

    @classmethod
    def of(cls, recipe: Any, length: int, wide: Wide = "none", **options: Any) -> Reading:
        """As the layout and the rewrite of `recipe` had its text in pre-training; `wide`: as its task wants it, where the model has windows."""
        model, rewrite = recipe.model, recipe.corruption.rewrite
        causal = getattr(rewrite, "causal", False)
        # Only the end of a causal model's sequence knows all of it.  [CLS] stands there for XLNet, too; Transformer-XL's own text has
        # no more than [SEP], so that fine-tuning teaches it what [CLS] is.
        stands = "last" if causal else getattr(recipe.layout, "cls", "first")
        one_way = causal or not getattr(rewrite, "hides", True)
        before = getattr(rewrite, "before", 0)
        fills = not (one_way or before or model.asks or getattr(model, "decodes", False))
        template = getattr(recipe, "template", None)
        said = {name: getattr(template, name) for name in ("marks", "orders") if template is not None}
        if recipe.reads == "frames":  # nothing stands round a sound
            said = {"marks": "none", "stack": recipe.layout.stack}
        options = {**said, **options}
        return cls(
            length=length,
            segments=model.reads_segments,
            cls=stands,
            causal=causal,
            separators=getattr(recipe.layout, "separators", 2),
            template=template,
            start=getattr(rewrite, "start", None),
            ends=getattr(getattr(model, "topology", None), "alone", "encoder") == "decoder",
            before=before,
            fills=fills,
            wide=wide if getattr(model, "spreads", False) else "none",
            sides=_sides(model.segments, getattr(rewrite, "sides", (0, 1))) if fills else (0, 0),
            **options,
        )

    def to_write(self) -> Reading:
        """The same where something is written about the text: a language model goes on behind the text's [SEP], and so does what fills masks."""
        if self.causal:
            return replace(self, cls="none", marks="usual", template=None)
        return replace(self, segment=self.sides[0]) if self.fills else self

    @property
    def together(self) -> bool:
        """Whether what is written stands in the same sequence, behind the text."""
        return self.start is None

    def asks(self, vocab: Any) -> Asks:
        """How the next token is asked for."""
        if self.start is not None:
            return Asks(start=getattr(vocab, self.start))
        return Asks(mask=vocab.mask, segments=self.sides) if self.fills else Asks()

    @property
    def roles(self) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """The special tokens before the text, between the two of a pair, and behind.

        GPT's (Radford et al. 2018, figure 1) are [SEP], which stands before every document of its pre-training, and two that are new to it.
        """
        apart = ("sep",) * self.between
        if self.marks == "extract":
            return ("sep",), ("mask",), ("cls",)
        if self.marks == "none":
            return (), apart, ()
        return ("cls",) * (self.cls == "first"), apart, ("sep",) + ("cls",) * (self.cls == "last")

    @property
    def bare(self) -> bool:
        """Nothing stands round a text, and its last token is read in place of [CLS]."""
        return self.marks == "none"

    @property
    def lead(self) -> int:
        """Special tokens before the text."""
        return len(self.roles[0])

    @property
    def specials(self) -> int:
        """Special tokens round a text."""
        return len(self.roles[0]) + len(self.roles[2])

    @property
    def padding(self) -> Literal["left", "right"]:
        """Where others must pad: XLNet's classifier reads the last place, and what sees only what came before never sees what follows;
        unless something is written behind it."""
        if self.causal:  # what is gone on with ends where the writing begins
            return "left" if self.cls == "none" else "right"
        return "left" if self.cls == "last" else "right"

    @property
    def between(self) -> int:
        """Separators between the texts of a pair."""
        if self.template is not None:
            return self.template.separators
        return 1 if self.segments or self.cls != "first" else self.separators

    @property
    def told(self) -> bool:
        """Whether the second text of a pair is in a segment of its own."""
        return self.segments and (self.template is None or self.template.segments)

    def joined(self, vocab: Any, first: Array, second: Array | None = None) -> tuple[Array, Array]:
        """(tokens, segments) of one sequence."""
        if first.dtype.kind == "f":  # frames
            return first, np.zeros(len(first), np.uint8)
        before, apart, after = ([getattr(vocab, role) for role in roles] for roles in self.roles)
        marks = lambda found: np.array(found, np.int32).reshape(
            -1, *first.shape[1:]
        )  # rows, where tokens are (text/side_by_side.py)
        texts = [first] if second is None else [first, marks(apart), second]
        if self.bare and not any(map(len, texts)):  # an empty text is the end of one, or nothing could be read
            texts = [np.array([vocab.sep], np.int32)]
        tokens = np.concatenate([marks(before), *texts, marks(after)])
        segments = np.full(len(tokens), self.segment, np.uint8)
        if self.told and second is not None:
            segments[len(tokens) - len(second) - len(after) :] = 1
        if self.segments and after[-1:] == [vocab.cls]:
            segments[-1] = 2
        return tokens, segments

    def spread(self, length: int, first: int | None = None) -> Array:
        """(length,) what is wide of a sequence; `first`: tokens of the first text of a pair."""
        found = np.zeros(length, bool)
        if self.wide != "none":
            found[self.cls_at(np.array(length))] = True
        if self.wide == "question" and first is not None:
            found[: self.lead + first] = True
        return found

    def cls_at(self, lengths: Array) -> Array:
        """Where [CLS] stands in sequences of these lengths, or the last token without one."""
        return np.zeros_like(lengths) if self.cls == "first" else lengths - 1

    def whole_at(self, lengths: Array) -> Array:
        """Where a text is read as a whole."""
        return lengths - 1 if self.ends else self.cls_at(lengths)

    def views(self, size: int, room: int, where: Callable[[], str], stride: int | None = None) -> list[tuple[int, int]]:
        """The parts [start, end) of `size` tokens that are read where `room` of them fit into a sequence.

        `stride`: the task's own, where the user names none.
        """
        if size <= room:
            return [(0, size)]
        if self.on_long == "error":
            raise InputError(
                f"{where()}: {amount(size + self.length - room, 'token')}, and the model takes {self.length}; {option('on_long', 'truncate')} cuts and counts, {option('on_long', 'window')} reads all of it"
            )
        return windows(size, room, self.stride or stride) if self.on_long == "window" else [(0, room)]


def _sides(segments: int, sides: tuple[int, int]) -> tuple[int, int]:
    """Those of the rewrite where the model's table has them; else it tells no sides apart."""
    return sides if max(sides) < segments else (0, 0)


def windows(size: int, room: int, stride: int | None = None) -> list[tuple[int, int]]:
    """Windows of `room`, each starting `stride` (or three quarters) after the one before; the last one ends with the text."""
    step = min(stride or max(1, room - room // 4), room)
    starts = list(range(0, max(1, size - room), step)) + ([size - room] if size > room else [])
    return [(start, min(start + room, size)) for start in dict.fromkeys(starts)]


def most_context(views: list[tuple[int, int]], size: int) -> Array:
    """(size,) the window in which each token has most context: the less of what stands left and right of it, a longer window where that
    is the same, then the earlier one (BERT's run_squad).  -1 where no window shows it."""
    found, best = np.full(size, -1), np.full(size, -1.0)
    for number, (start, end) in enumerate(views):
        left = np.arange(end - start)
        context = np.minimum(left, left[::-1]) + 0.01 * (end - start)
        better = context > best[start:end]
        best[start:end][better], found[start:end][better] = context[better], number
    return found
