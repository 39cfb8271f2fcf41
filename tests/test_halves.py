"""ELECTRA's layout: contiguous halves, distributed as the released rule makes them."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.corpora import VOCAB, random_shape, sequences, split_of, whole
from tests.test_layout import contiguous, document_of, parts, shapes

from bertsmith.data.batch import IGNORE
from bertsmith.errors import InputError
from bertsmith.text.halves import Halves


@settings(max_examples=60, deadline=None)
@given(shape=shapes, seed=st.integers(0, 5), length=st.sampled_from([5, 16, 32]))
def test_every_token_is_accounted_for_and_segments_are_neighbours(shape, seed, length):
    split = split_of(shape)
    if not split.count:
        with pytest.raises(InputError, match="no text"):
            Halves(length=length).check(split)
        return
    plan = Halves(length=length, single=0.3, short=0.3).plan(split, VOCAB, seed, 1)
    row, account = whole(plan), plan.account
    assert (row.lengths == plan.lengths).all() and (row.lengths <= length).all() and (row.labels == IGNORE).all()
    assert account["used"] + account["truncated"] == account["corpus"] == split.count
    assert plan.cut.sum() == account["truncated"]
    text = row.tokens[~row.special]
    assert len(text) == account["used"] and (np.diff(text) > 0).all() and row.special.sum() == account["specials"]
    for ids, segments in sequences(row):
        pieces = parts(ids)
        assert len(pieces) <= 2 and contiguous(pieces[0] + (pieces[1] if len(pieces) > 1 else []))
        assert segments == [i for i, piece in enumerate(pieces) for _ in range(len(piece) + 1 + (i == 0))]
        assert document_of(split, pieces[0][0]) == document_of(split, pieces[-1][-1])


def released(shape, length, rng):
    """The rule of build_pretraining_dataset.py on sentence lengths, but that a second segment that has begun goes on."""
    made, target = [], length
    for document in shape:
        chunk = []
        for number, sentence in enumerate(document):
            chunk.append(sentence)
            if sum(chunk) < target and number < len(document) - 1:
                continue
            aim, a, b = 100_000 if rng.random() < 0.1 else (target - 3) // 2, 0, 0
            for size in chunk:
                if b == 0 and (a == 0 or a + size < aim or (a < aim and rng.random() < 0.5)):
                    a += size
                else:
                    b += size
            a = min(a, length - 2)
            made.append((a, min(b, max(0, length - a - 3))))
            chunk, target = [], rng.randint(5, length) if rng.random() < 0.05 else length
    return np.array(made)


@pytest.mark.parametrize(("length", "sentences"), [(128, 40), (128, 3), (64, 10)])
def test_halves_are_distributed_as_the_released_rule_makes_them(length, sentences):
    """Means differ by less than 5 standard errors, distributions by less than the 99.99 % point of Kolmogorov and Smirnov (2.23)."""
    shape = random_shape(1500 if sentences < 20 else 600, sentences, 12, seed=1)
    plan = Halves(length=length).plan(split_of(shape), VOCAB, 0, 0)
    wanted = released(shape, length, random.Random(5))
    count = np.diff(plan.first)
    width = plan.end - plan.begin
    second = np.where(count == 2, width[np.minimum(plan.first[:-1] + 1, len(width) - 1)], 0)
    assert abs(len(count) / len(wanted) - 1) < 0.03
    for ours, theirs in (
        (width[plan.first[:-1]], wanted[:, 0]),
        (second, wanted[:, 1]),
        (second == 0, wanted[:, 1] == 0),
    ):
        error = np.sqrt(ours.var() / len(ours) + theirs.var() / len(theirs))
        assert abs(ours.mean() - theirs.mean()) < 5 * error
        grid = np.arange(length)
        below = [np.searchsorted(np.sort(sample), grid, "right") / len(sample) for sample in (ours, theirs)]
        statistic = np.abs(below[0] - below[1]).max() * np.sqrt(len(ours) * len(theirs) / (len(ours) + len(theirs)))
        assert statistic < 2.23


def test_shares_are_shares():
    with pytest.raises(InputError, match=r"layout\.single"):
        Halves(length=8, single=1.5)
    with pytest.raises(InputError, match=r"layout\.length"):
        Halves(length=4)
