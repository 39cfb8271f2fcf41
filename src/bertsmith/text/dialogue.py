"""ERNIE's dialogues, [CLS] turn [SEP] turn [SEP] ...: each turn in its role, and in a fake one a turn of another dialogue.

A document is a dialogue, and each of its sentences a turn.  Roles alternate from the first turn of the dialogue: segment 0 for queries,
turns 1, 3, ..., segment 1 for responses, whichever of them a sequence begins with.  s sequences, p turns.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import IGNORE, Array, Vocab
from bertsmith.data.draw import hashed, integers, uniform
from bertsmith.errors import InputError
from bertsmith.spelling import amount, option
from bertsmith.text.layout import check_text
from bertsmith.text.pairs import excess, fronts, strangers
from bertsmith.text.plan import Outline, Plan, outline


@dataclass(frozen=True, kw_only=True)
class Dialogues:
    """Neighbouring turns of a dialogue, as many as fit, at most `turns`; in a share `fake` of the sequences one turn is replaced.

    The paper says of fake dialogues that a query or a response is replaced by a random sentence, and no more; the rest is as in BERT:
    half of the sequences, any of the turns, by a uniform sentence of a uniform other document, label 1.  Two turns that do not fit are cut
    as two segments are, and so is a dialogue whose new turn is too long.  A turn is alone only where its dialogue ends so or has no other;
    nothing is asked of that sequence but its tokens.
    """

    length: int
    fake: float = 0.5
    turns: int = 3
    pairs: ClassVar[tuple[str, ...]] = ("a real dialogue", "one turn is of another dialogue")

    def __post_init__(self):
        require(self.length >= 5, f"layout.length: {self.length} has no room for two turns of a token; at least 5")
        require(0 <= self.fake <= 1, f"layout.fake: {self.fake} is not a share; between 0 and 1")
        require(self.turns >= 2, f"layout.turns: {self.turns} is below 2, a query and a response")

    def check(self, split: Any) -> None:
        """InputError where there is no dialogue, or none to take a turn from."""
        check_text(split)
        found = outline(split)
        dialogues, turns = len(found.documents) - 1, len(found.sentences) - 1
        counts = f"{amount(dialogues, 'document')}, {amount(turns, 'sentence')}"
        if turns == dialogues:
            raise InputError(
                f"layout: every document is a single sentence ({counts}), and a dialogue has two turns at least; "
                f"prepare one document for each dialogue, with a line for each turn ({option('lines', 'sentence')})"
            )
        if self.fake and dialogues < 2:
            raise InputError(
                f"layout: a fake dialogue takes a turn of another one, and there is none ({counts}); "
                "separate dialogues by blank lines, hold out more, or take layout.fake=0"
            )

    def plan(self, split: Any, vocab: Vocab, seed: int, epoch: int) -> Plan:
        self.check(split)
        found = outline(split)
        first = _walk(self, found)
        count = np.diff(first)
        begin, end = found.sentences[:-1].copy(), found.sentences[1:].copy()
        fake = (uniform(hashed(seed, "fake", epoch, first[:-1])) < self.fake) & (count > 1)
        replaced = (first[:-1] + integers(hashed(seed, "turn", epoch, first[:-1]), count))[fake]
        dropped = int((end - begin)[replaced].sum())
        own = np.searchsorted(found.documents, replaced, "right") - 1
        drawn, _ = strangers(found, own, replaced, seed, epoch)
        begin[replaced], end[replaced] = found.sentences[drawn], found.sentences[drawn + 1]

        place = np.repeat(np.arange(len(count)), count), np.arange(len(begin)) - np.repeat(first[:-1], count)
        width = np.zeros((len(count), self.turns), np.int64)
        width[place] = end - begin
        taken = excess(width, self.length - 1 - count)
        front = fronts(taken, seed, epoch)[place]
        begin += front
        end -= taken[place] - front

        true = np.ones(len(begin), bool)
        true[replaced] = False
        truncated = int(taken[place][true].sum())
        account = {
            "corpus": found.tokens,
            "used": found.tokens - truncated - dropped,
            "truncated": truncated,
            "dropped": dropped,  # what stood where another dialogue's turn does
            "repeated": int((end - begin)[replaced].sum()),
            "specials": len(count) + len(begin),
            "sequences": len(count),
            "label_1": float(fake[count > 1].mean()),
        }
        return Plan(
            split=split,
            vocab=vocab,
            seed=seed,
            epoch=epoch,
            begin=begin,
            end=end,
            segment=_roles(found),
            first=first,
            labels=np.where(count > 1, fake.astype(np.int64), IGNORE),
            cut=taken.sum(1),
            account=account,
        )


def _walk(layout: Dialogues, found: Outline) -> Array:
    """(s + 1,) the turn that each sequence begins with, and the number of turns."""
    widths = (found.sentences + np.arange(len(found.sentences))).tolist()  # up to each turn, their [SEP] included
    starts: list[int] = []
    i = 0
    for last in found.documents[1:].tolist():
        while i < last:
            starts.append(i)
            most = min(i + layout.turns, last)
            fit = bisect_right(widths, widths[i] + layout.length - 1, i + 1, most + 1) - 1
            stop = max(fit, min(i + 2, last))
            i = stop - 1 if stop == last - 1 and stop - i > 2 else stop  # the last turn is not left alone
    return np.array([*starts, i], np.int64)


def _roles(found: Outline) -> Array:
    """(p,) uint8."""
    opening = np.repeat(found.documents[:-1], np.diff(found.documents))
    return ((np.arange(len(opening)) - opening) % 2).astype(np.uint8)
