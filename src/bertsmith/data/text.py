"""Text as a feed: the sequences that a layout makes of a store, corrupted.

Several steps are corrupted as one long row and cut apart again, because a call of NumPy takes as long as a thousand tokens do.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from typing import Any

import numpy as np

from bertsmith.data.batch import Batch, Row, Vocab
from bertsmith.data.draw import Draw, hashed
from bertsmith.data.feed import Epoch, Pieces
from bertsmith.data.mixture import Mixture
from bertsmith.data.thread import Thread
from bertsmith.errors import InputError
from bertsmith.spelling import amount

LARGEST = 1 << 28  # sequences of a section at most: what parts the numbers of one from those of the next
HELD_OUT_SEED = 0x4E1D  # of the masks of every held-out evaluation, whatever the run's own seed


class Text:
    """`batch`: tokens that a step takes at most; `share`: of the sequences, the first ones, which are read again and again; `recut`: the split
    as a view reads it, where that is cut into other tokens each time.  InputError if the corpus cannot be used, or if a sequence is longer than that."""

    def __init__(
        self,
        split: Any,
        layout: Any,
        corruption: Any,
        vocab: Vocab,
        *,
        seed: int,
        batch: int,
        share: float = 1.0,
        recut: Callable[[int], Any] | None = None,
    ):
        self.recut = recut or (lambda view: split)
        self.share = share
        corruption = corruption.knowing(vocab)
        self.split, self.layout, self.corruption, self.vocab = split, layout, corruption, vocab
        self.seed, self.batch, self.draw = seed, batch, Draw(seed)
        self._plans: dict[tuple[int, int], Any] = {}
        self.sections = split.in_sections(layout) if recut is None and hasattr(split, "in_sections") else None
        self.sample = self.sections.section(0) if self.sections else split  # what is checked in the place of the whole
        self._laid = self.sections.laid(layout) if self.sections else layout
        masks = getattr(corruption.rewrite, "masks", not getattr(corruption.rewrite, "causal", False))
        if vocab.mask == vocab.sep and masks:
            raise InputError(
                "tokenizer: has one special token, and none can stand for a hidden word; take a member that reads from the left, "
                "or a tokenizer with a mask token"
            )
        check_reads(layout, split)
        layout.check(self.sample)
        corruption.check(split)

    @classmethod
    def of(cls, recipe: Any, store: Any, seed: int) -> "Text":
        """What a recipe reads of a store in training."""
        batch, share = recipe.training.batch, recipe.training.corpus
        layout = store.laid(recipe.layout, recipe.training.smoothing, portions=recipe.training.shares)
        check_reads(layout, store.train)
        recut = store.recut(recipe.segmentation, seed) if recipe.reads == "tokens" else None
        return cls(
            store.train, layout, recipe.corruption, store.vocab, seed=seed, batch=batch, share=share, recut=recut
        )

    def epoch(self, number: int) -> Epoch:
        """A pass over the text, or over the next section of it."""
        plan, of = self._planned(number), self.sections.count if self.sections else 1
        longest = int(plan.lengths.max(initial=0))
        if not longest:
            raise InputError(
                f"layout: no sequence can be made of the {self.split.count} training tokens; prepare more text"
            )
        if (plan.step or 0) > self.batch:
            raise InputError(
                f"training.batch: {amount(self.batch, 'token')} cannot hold the {plan.step} of one sequence of every column; raise it, or lower layout.length"
            )
        if longest > self.batch:
            raise InputError(
                f"training.batch: {amount(self.batch, 'token')} cannot hold a sequence of {longest}; raise it to {longest} or lower layout.length"
            )
        room = min(self.batch, plan.step or self.batch)
        order = plan.shuffled(number // of)
        if self.share < 1:
            if plan.step:
                raise InputError(
                    f"training.corpus: {self.share:g}: sequences that go on from one another are read whole; prepare less text"
                )
            order = order[order < max(1, round(self.share * len(order)))]
        told = getattr(plan, "read", None) if getattr(self.split, "languages", ()) else None
        return Epoch(order=order, lengths=plan.lengths, room=room, plan=plan, of=of, told=told)

    def left_out(self) -> tuple[int, int]:
        """(tokens that stand in no sequence of the first epoch, tokens of the corpus)."""
        if hasattr(self.layout, "left_out"):
            return self._laid.left_out(self.sample, self.vocab, self.seed)
        plan = self._planned(0)
        return plan.unread, plan.account["corpus"]

    def _planned(self, number: int) -> Any:
        if not self.sections:
            return self._plan(self.corruption.view(number))
        epoch, before = divmod(number, self.sections.count)
        section = int(self.sections.order(self.seed, epoch)[before])
        return replace(self._plan(self.corruption.view(epoch), section), place=(before, self.sections.count))

    def _plan(self, view: int, section: int = 0) -> Any:
        """The newest two are kept: a static view is planned once, and a step may take from two epochs."""
        key = view, section
        if key not in self._plans:
            split, seed = self.recut(view), self.seed
            if self.sections:
                split, seed = self.sections.section(section), int(hashed(seed, "section", section)[0])
            plan = self._laid.plan(split, self.vocab, seed, view)
            self._plans[key] = replace(plan, number=section * LARGEST) if self.sections else plan
            for old in list(self._plans)[:-2]:
                del self._plans[old]
        return self._plans[key]

    def batches(self, rows: Sequence[Pieces]) -> list[Batch]:
        return self.corruption(assembled(rows), self.vocab, self.draw).split(_sizes(rows))

    def counts(self, rows: Sequence[Pieces]) -> list[dict[str, int]]:
        if not rows:
            return []
        row = self.corruption.moved(assembled(rows), self.draw)
        spans, bounds = self.corruption.select(row, self.draw), np.cumsum([0, *_sizes(rows)]).tolist()
        found = []
        for first, last in pairwise(bounds):
            part, (begin, end) = row.part(first, last), np.searchsorted(spans[:, 0], row.offsets[[first, last]])
            found.append(self.corruption.counts(part, spans[begin:end] - row.offsets[first], self.draw))
        return found


def feed_of(recipe: Any, store: Any, seed: int) -> Any:
    """What a recipe reads of a store: its text, as it is or with ramps, or the mixture of its feeds."""
    if recipe.schedule.ramps.moves:
        from bertsmith.data.ramped import Ramped

        return Ramped(recipe, store, seed)
    if recipe.mixture is None:
        return Text.of(recipe, store, seed)
    parts = {name: Text.of(alone, store, seed) for name, alone in recipe.feeds.items()}
    return Mixture(parts, recipe.mixture.shares, seed=seed, each=recipe.mixture.each)


def texts_of(feed: Any) -> list[Text]:
    """The texts of a feed that `feed_of` made, the main one first."""
    return list(getattr(feed, "feeds", {"": feed}).values())


def check_reads(layout: Any, split: Any) -> None:
    """InputError where a layout of text is given sound, or the other way round."""
    reads, holds = getattr(layout, "reads", "tokens"), getattr(split, "holds", "tokens")
    if reads != holds:
        ways = {"tokens": "a store of text (`prepare`)", "frames": "a store of sound (`prepare --audio`)"}
        others = {"tokens": "a member that reads text, such as bert", "frames": "audio-bert"}
        raise InputError(
            f"layout: {type(layout).__name__} reads {reads}, and the store holds {holds}; take {ways[reads]}, or {others[holds]}"
        )


def _sizes(rows: Sequence[Pieces]) -> list[int]:
    return [sum(len(index) for _, index in row) for row in rows]


def assembled(rows: Sequence[Pieces]) -> Row:
    """All of them as one row."""
    pieces = [piece for row in rows for piece in row]
    groups = groupby(pieces, key=lambda piece: id(piece[0]))
    found = [list(group) for _, group in groups]
    return join([group[0][0].plan.row(np.concatenate([index for _, index in group])) for group in found])


def join(rows: list[Row]) -> Row:
    """Rows, one after the other, as one."""
    if len(rows) == 1:
        return rows[0]
    fields = (
        "tokens",
        "segments",
        "starts",
        "special",
        "sentences",
        "annotations",
        "entities",
        "amounts",
        "lengths",
        "labels",
        "epoch",
        "example",
    )
    arrays = {name: np.concatenate([getattr(row, name) for row in rows]) for name in fields}
    into = lambda: np.concatenate([row.into for row in rows])
    return Row(**arrays, into=into, thread=Thread.join([row.thread for row in rows]))


def fixed_batches(split: Any, layout: Any, corruption: Any, vocab: Vocab, tokens: int, batch: int) -> list[Batch]:
    """Held-out sequences of `tokens` tokens at most (one at least) in rows of `batch`, with the same masks in every run."""
    check_reads(layout, split)
    plan, draw, corruption = (
        layout.plan(split, vocab, HELD_OUT_SEED, 0),
        Draw(HELD_OUT_SEED),
        corruption.opening().knowing(vocab),
    )
    epoch = Epoch(order=plan.shuffled(0), lengths=plan.lengths, room=min(batch, plan.step or batch))
    last = max(epoch.fill(0, tokens), 1)
    batches, at = [], 0
    while at < last:
        end = min(max(epoch.fill(at, epoch.room), at + 1), last)
        batches.append(corruption(plan.row(epoch.order[at:end]), vocab, draw))
        at = end
    return batches
