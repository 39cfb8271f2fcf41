"""Language models: what is asked, and from where."""

import numpy as np
import pytest
from tests.corpora import VOCAB, random_shape, split_of, whole

from bertsmith.data.causal import Causal, Everything
from bertsmith.data.draw import Draw
from bertsmith.text.layout import FullSentences


def rows():
    return whole(FullSentences(length=64).plan(split_of(random_shape(80), numbered=False), VOCAB, 0, 0))


def test_every_token_is_asked_for_by_the_one_before_it():
    row = rows()
    spans = Everything()(row, Draw(0))
    batch = Causal()(row, spans, VOCAB, Draw(0))
    at, labels = batch.targets["token"].at[:, 0], batch.targets["token"].labels
    assert np.array_equal(row.tokens[at + 1], labels) and len(at) == (row.lengths - 1).sum()
    assert np.array_equal(row.sequence[at], row.sequence[at + 1]), "a row asks for the first token of the next"
    assert np.array_equal(batch.input.tokens, row.tokens) and batch.input.visibility == "causal"
    assert Causal().counts(row, spans, Draw(0)) == {"token": len(at)}


@pytest.mark.parametrize("rate", [0.15, 0.5])
def test_a_share_of_them_is_drawn_anew_in_each_epoch(rate):
    row = rows()
    select = Everything(rate=rate)
    spans = select(row, Draw(0))
    asked = np.bincount(row.sequence[spans[:, 0]], minlength=len(row.lengths))
    assert np.array_equal(asked, np.minimum(np.maximum(np.rint(rate * row.lengths), 1), row.lengths - 1))
    assert (row.positions[spans[:, 0]] > 0).all() and row.special[spans[:, 0]].any(), "separators are asked for, too"
    assert not np.array_equal(spans, select(row, Draw(1)))
    batch = Causal()(row, spans, VOCAB, Draw(0))
    assert np.array_equal(row.tokens[spans[:, 0]], batch.targets["token"].labels)
