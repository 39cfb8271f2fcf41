"""StructBERT's rewrite: trigrams out of order beside hidden tokens."""

import dataclasses

import numpy as np
import pytest
from tests.corpora import VOCAB, random_shape, split_of, whole

from bertsmith.config import override
from bertsmith.data.draw import Draw
from bertsmith.data.shuffled import Shuffled
from bertsmith.errors import InputError
from bertsmith.recipe import find


def made(seed=0, **changes):
    recipe = find("structbert:tiny")
    row = whole(recipe.layout.plan(split_of(random_shape(150, 10, 12), numbered=False), VOCAB, 0, 0))
    spans = recipe.corruption.select(row, Draw(seed))
    rewrite = dataclasses.replace(recipe.corruption.rewrite, **changes)
    return row, spans, rewrite, rewrite(row, spans, VOCAB, Draw(seed))


@pytest.mark.parametrize("size", [2, 3, 5])
def test_runs_keep_their_tokens_and_stand_between_what_is_hidden(size):
    row, spans, rewrite, batch = made(size=size)
    order, token = batch.targets["order"], batch.targets["token"]
    runs = order.at[:, 0].reshape(-1, size)
    assert (np.diff(order.at[:, 0]) > 0).all() and (runs == runs[:, :1] + np.arange(size)).all()
    assert (np.sort(batch.input.tokens[runs], 1) == np.sort(row.tokens[runs], 1)).all()
    assert (order.labels == row.tokens[order.at[:, 0]]).all()
    assert not row.special[runs].any() and not np.isin(runs, token.at[:, 0]).any()
    assert (row.sequence[runs[:, 0]] == row.sequence[runs[:, -1]]).all()
    assert rewrite.counts(row, spans, Draw(0)) == batch.counts()
    changed = np.flatnonzero(batch.input.tokens != row.tokens)
    assert np.isin(changed, np.concatenate([order.at[:, 0], token.at[:, 0]])).all()


def test_five_percent_of_the_tokens_are_asked_for_their_order():
    row, _, _, batch = made()
    found = np.bincount(row.sequence[batch.targets["order"].at[:, 0]], minlength=len(row.lengths))
    full = row.lengths == 128
    assert (found[full] == 6).all() and full.sum() > 50  # two trigrams: 4.7 %
    assert abs(found.sum() / row.lengths.sum() - 0.05) < 0.005


def test_every_order_of_a_trigram_is_as_likely():
    """A chi-squared test over the six orders of trigrams of three different tokens: 20.5 is the 99.9 % point of five degrees of freedom."""
    counts: dict[tuple, int] = {}
    for seed in range(6):
        row, _, _, batch = made(seed)
        runs = batch.targets["order"].at[:, 0].reshape(-1, 3)
        for clean, written in zip(row.tokens[runs], batch.input.tokens[runs], strict=True):
            if len({*clean}) == 3:
                key = tuple(clean.tolist().index(token) for token in written)
                counts[key] = counts.get(key, 0) + 1
    found = np.array(list(counts.values()))
    assert len(found) == 6 and found.sum() > 1500
    assert ((found - found.mean()) ** 2 / found.mean()).sum() < 20.5


def test_other_epochs_shuffle_other_runs():
    recipe = find("structbert:tiny")
    plan = recipe.layout.plan(split_of(random_shape(20, 10, 12), numbered=False), VOCAB, 0, 0)
    row = whole(plan)
    later = dataclasses.replace(row, epoch=row.epoch + 1)
    one, again, other = (recipe.corruption(r, VOCAB, Draw(0)).targets["order"].at for r in (row, row, later))
    assert np.array_equal(one, again) and not np.array_equal(one, other)


def test_hidden_and_shuffled_words_are_answered_by_one_head():
    from bertsmith.nn.member import build

    recipe = override(find("structbert:tiny"), ["model.width=32", "model.heads=2"]).with_vocab(VOCAB.size)
    member = build(recipe)
    assert set(member.weights()) == {"token", "order", "pair"}
    assert {name for name, _ in member.objective.named_children()} == {"token", "pair"}
    assert member.objective.pair.out.out_features == 3


def test_what_cannot_be_shuffled_is_said():
    with pytest.raises(InputError, match=r"rewrite\.size"):
        Shuffled(size=1)
    with pytest.raises(InputError, match=r"rewrite\.shuffled"):
        Shuffled(shuffled=1.0)
