import numpy as np
import pytest
from tests.corpora import VOCAB, random_shape, split_of, whole

from bertsmith.data.draw import Draw
from bertsmith.data.rewrite import InPlace, bits_at
from bertsmith.data.select import Tokens, Words
from bertsmith.errors import InputError
from bertsmith.text.layout import FullSentences, SegmentPairs


def text_row(tokens=2_000_000, length=128, seed=0):
    split = split_of([[126]] * (tokens // 126), numbered=False, seed=seed)
    return whole(FullSentences(length=length).plan(split, VOCAB, seed, 0))


def shares(row, spans, batch):
    """[MASK], random, kept: of the asked tokens, those that came back as themselves or as [MASK] by chance taken out in the mean."""
    target = batch.targets["token"]
    written = batch.input.tokens[target.at[:, 0]]
    return (written == VOCAB.mask).mean(), (written == target.labels).mean(), len(written)


@pytest.mark.parametrize("select", [Tokens(), Words()], ids=repr)
@pytest.mark.parametrize("avoid", [False, True])
def test_eighty_ten_ten(select, avoid):
    row = text_row()
    spans = select(row, Draw(0))
    batch = InPlace(avoid_special=avoid)(row, spans, VOCAB, Draw(0))
    masked, kept, asked = shares(row, spans, batch)
    assert asked >= 1e5
    ids = 995 if avoid else 1000
    wanted = np.array([0.8 + (0 if avoid else 0.1 / ids), 0.1 + 0.1 / ids])
    wanted = np.append(wanted, 1 - wanted.sum())
    got = np.array([masked, kept, 1 - masked - kept])
    assert (np.abs(got - wanted) < 4 * np.sqrt(wanted * (1 - wanted) / asked)).all(), got
    chi_square = (asked * (got - wanted) ** 2 / wanted).sum()
    assert chi_square < 2 + 4 * 2  # two degrees of freedom: mean 2, deviation 2


def test_random_tokens_are_uniform_and_avoid_specials_where_promised():
    row = text_row()
    spans = Tokens(rate=0.5)(row, Draw(0))
    at = spans[:, 0]
    for avoid, ids in ((False, np.arange(1000)), (True, np.arange(5, 1000))):
        batch = InPlace(mask=0.0, random=1.0, avoid_special=avoid)(row, spans, VOCAB, Draw(0))
        counts = np.bincount(batch.input.tokens[at], minlength=1000)
        expected = len(at) / len(ids)
        chi_square = ((counts[ids] - expected) ** 2 / expected).sum()
        assert counts[ids].sum() == len(at)
        assert abs(chi_square - len(ids)) < 4 * np.sqrt(2 * len(ids))


def test_the_clean_row_can_be_restored_and_nothing_else_was_touched():
    row = whole(SegmentPairs(length=64).plan(split_of(random_shape(60), numbered=False), VOCAB, 0, 0))
    spans = Words()(row, Draw(0))
    batch = InPlace()(row, spans, VOCAB, Draw(0))
    target = batch.targets["token"]
    untouched = np.ones(len(row.tokens), bool)
    untouched[target.at[:, 0]] = False
    assert np.array_equal(batch.input.tokens[untouched], row.tokens[untouched])
    rebuilt = batch.input.tokens.copy()
    rebuilt[target.at[:, 0]] = target.labels
    assert np.array_equal(rebuilt, row.tokens)
    assert target.at.shape == (int((spans[:, 1] - spans[:, 0]).sum()), 1)
    assert np.array_equal(batch.input.positions, row.positions) and np.array_equal(batch.input.segments, row.segments)


def test_pairs_are_asked_at_cls_and_only_where_there_are_any():
    split = split_of(random_shape(60), numbered=False)
    row = whole(SegmentPairs(length=64).plan(split, VOCAB, 0, 0))
    batch = InPlace()(row, Tokens()(row, Draw(0)), VOCAB, Draw(0))
    assert np.array_equal(batch.targets["pair"].labels, row.labels)
    assert (row.tokens[batch.targets["pair"].at[:, 0]] == VOCAB.cls).all()
    assert batch.counts() == InPlace().counts(row, Tokens()(row, Draw(0)), Draw(0))
    row = whole(FullSentences(length=64).plan(split, VOCAB, 0, 0))
    assert list(InPlace()(row, Tokens()(row, Draw(0)), VOCAB, Draw(0)).targets) == ["token"]


def test_a_span_gets_one_draw_where_draws_are_by_span():
    row = text_row(200_000)
    spans = Words()(row, Draw(0))
    target = (batch := InPlace(by="span")(row, spans, VOCAB, Draw(0))).targets["token"]
    masked = batch.input.tokens == VOCAB.mask
    wide = spans[spans[:, 1] - spans[:, 0] > 1]
    mixed = sum(masked[a:b].any() != masked[a:b].all() for a, b in wide)
    assert mixed / len(wide) < 0.002  # a random token may be [MASK]
    by_token = InPlace()(row, spans, VOCAB, Draw(0)).input.tokens == VOCAB.mask
    assert sum(by_token[a:b].any() != by_token[a:b].all() for a, b in wide) / len(wide) > 0.2
    assert abs(masked[target.at[:, 0]].mean() - 0.8) < 0.02


def test_hashing_only_what_is_asked_gives_the_same_bits():
    row = text_row(20_000)
    at = np.arange(0, len(row.tokens), 7)
    assert np.array_equal(bits_at(Draw(3), "noise", row, at), Draw(3).bits("noise", row)[at])


def test_a_sequence_is_rewritten_the_same_in_any_company():
    plan = SegmentPairs(length=64).plan(split_of(random_shape(30), numbered=False), VOCAB, 0, 0)
    make = lambda row: InPlace()(row, Tokens()(row, Draw(4)), VOCAB, Draw(4)).input.tokens
    together = make(plan.row(plan.order[:20]))
    assert together.tolist() == [t for i in plan.order[:20] for t in make(plan.row(np.array([i]))).tolist()]


def test_shares_above_one_are_refused():
    with pytest.raises(InputError, match=r"corruption\.rewrite"):
        InPlace(mask=0.9, random=0.2)
