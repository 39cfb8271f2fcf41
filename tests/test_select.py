import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.corpora import VOCAB, hidden, per_sequence, random_shape, split_of, whole

from bertsmith.data.draw import Draw
from bertsmith.data.select import Tokens, Words, distinct, enough, fitting, words
from bertsmith.errors import InputError
from bertsmith.text.layout import DocSentences, FullSentences, SegmentPairs

ROUNDINGS = ("round", "ceil", "probabilistic")
every_select = pytest.mark.parametrize(
    "select", [kind(rounding=r) for kind in (Tokens, Words) for r in ROUNDINGS], ids=repr
)


def rows(seed=0, length=64):
    return whole(SegmentPairs(length=length).plan(split_of(random_shape(60, 5, 9, seed), seed=seed), VOCAB, seed, 0))


@every_select
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000))
def test_spans_are_sorted_disjoint_and_never_on_specials(select, seed):
    row = rows(seed)
    spans = select(row, Draw(seed))
    assert spans.dtype == np.int64 and (spans[:, 0] < spans[:, 1]).all() and (spans[1:, 0] >= spans[:-1, 1]).all()
    assert not hidden(row, spans)[row.special].any()


@pytest.mark.parametrize("rate", [0.05, 0.15, 0.5, 1.0])
def test_token_budgets_are_exact(rate):
    row = rows()
    n, free = row.lengths, per_sequence(row, (~row.special).astype(np.int64))
    for rounding, rule in (("round", lambda n: max(1, round(rate * n))), ("ceil", lambda n: int(np.ceil(rate * n)))):
        got = per_sequence(row, hidden(row, Tokens(rate=rate, rounding=rounding)(row, Draw(1))))
        assert got.tolist() == [min(rule(int(k)), int(f)) for k, f in zip(n, free, strict=True)]
    got = per_sequence(row, hidden(row, Tokens(rate=0.5, most=7)(row, Draw(1))))
    assert got.max() == 7


def test_probabilistic_rounding_has_the_mean_that_was_asked():
    row = whole(FullSentences(length=50).plan(split_of([[48]] * 20000), VOCAB, 0, 0))
    got = per_sequence(row, hidden(row, Tokens(rounding="probabilistic")(row, Draw(1))))
    assert set(got) == {7, 8}  # 7.5 are asked
    assert abs(got.mean() - 7.5) < 4 * 0.5 / np.sqrt(len(got))


def test_every_token_is_chosen_as_often():
    row = whole(FullSentences(length=22).plan(split_of([[20]] * 30000), VOCAB, 0, 0))
    mask = hidden(row, Tokens()(row, Draw(3))).reshape(-1, 22)
    share = mask[:, 1:-1].mean(0)
    assert np.abs(share - 3 / 20).max() < 4 * np.sqrt(0.15 * 0.85 / 30000)
    both = (mask[:, 1] & mask[:, 2]).mean()  # without replacement: 3/20 of 2/19
    assert abs(both - 3 / 20 * 2 / 19) < 4 * np.sqrt(0.0158 / 30000)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_words_are_hidden_whole_or_not_at_all_and_within_the_budget(rounding):
    row = rows()
    spans = Words(rounding=rounding)(row, Draw(2))
    mask = hidden(row, spans)
    for start, end in words(row):
        assert mask[start:end].min() == mask[start:end].max()
    assert {tuple(s) for s in spans.tolist()} <= {tuple(s) for s in words(row).tolist()}
    used = per_sequence(row, mask)
    most = (
        np.maximum(1, np.ceil(0.15 * row.lengths))
        if rounding != "round"
        else np.maximum(1, np.rint(0.15 * row.lengths))
    )
    lone = (
        np.bincount(row.sequence[spans[:, 0]], minlength=len(row.lengths)) <= 1
    )  # nothing fitted, and so one was asked
    assert (used <= most)[~lone].all()
    assert used.sum() / row.lengths.sum() > 0.12


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.lists(st.integers(1, 6), max_size=12)), min_size=1, max_size=6))
def test_fitting_equals_one_greedy_pass_over_the_units(cases):
    wanted = []
    for budget, widths in cases:
        for width in widths:
            wanted.append(width <= budget)
            budget -= width if width <= budget else 0
    width = np.array([w for _, widths in cases for w in widths], np.int64)
    owner = np.repeat(np.arange(len(cases)), [len(widths) for _, widths in cases])
    assert fitting(width, owner, np.array([b for b, _ in cases])).tolist() == wanted


@pytest.mark.parametrize("kind", [Tokens, Words])
def test_without_continuations_words_are_tokens(kind):
    row = whole(DocSentences(length=40).plan(split_of(random_shape(30), continued=0), VOCAB, 0, 0))
    assert np.array_equal(Words()(row, Draw(0)), Tokens()(row, Draw(0)))


def test_where_nothing_fits_one_unit_is_asked_unless_it_is_everything():
    split = split_of([[6, 6], [6], [1], [1, 1]], continued=0)
    split.words[:] = False  # each sentence one word of six tokens; starts are set by hand
    split.words[split.sentences[:-1]] = True
    row = whole(DocSentences(length=20).plan(split, VOCAB, 0, 0))
    spans = Words()(row, Draw(0))
    asked = np.bincount(row.sequence[spans[:, 0]], minlength=4)
    assert asked.tolist() == [
        1,
        0,
        1,
        1,
    ]  # a word of six is the whole second sequence; the third fits its budget of one
    asked = np.bincount(row.sequence[Tokens(rate=1e-6, rounding="probabilistic")(row, Draw(0))[:, 0]], minlength=4)
    assert asked.tolist() == [1, 1, 0, 1]


@every_select
def test_a_sequence_is_treated_the_same_in_any_company(select):
    plan = SegmentPairs(length=64).plan(split_of(random_shape(30, 5, 9)), VOCAB, 0, 0)
    together = plan.row(plan.order[:20])
    spans = select(together, Draw(4))
    alone = [select(plan.row(plan.order[i : i + 1]), Draw(4)) + together.offsets[i] for i in range(20)]
    assert np.array_equal(spans, np.concatenate(alone))


def test_masks_change_with_epoch_and_seed_and_cover_everything():
    split = split_of([[60]] * 20)
    seen = []
    for epoch in range(100):
        row = whole(FullSentences(length=62).plan(split, VOCAB, 0, epoch))
        seen.append(hidden(row, Tokens()(row, Draw(0))))
    assert len({tuple(mask) for mask in seen}) == 100
    assert np.sum(seen, 0)[~row.special].min() > 0
    assert not np.array_equal(Tokens()(row, Draw(0)), Tokens()(row, Draw(1)))


def test_an_empty_row_has_no_spans():
    plan = FullSentences(length=62).plan(split_of([[60]]), VOCAB, 0, 0)
    for select in (Tokens(), Words()):
        assert select(plan.row(np.zeros(0, np.int64)), Draw(0)).shape == (0, 2)


def test_a_rate_that_is_no_share_is_refused():
    for options in ({"rate": 0.0}, {"rate": 1.5}, {"most": 0}):
        with pytest.raises(InputError, match=r"corruption\.select"):
            Tokens(**options)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=5),
    st.integers(0, 2**32),
)
def test_draws_find_units_of_their_own_sequence_once_and_more_draws_only_add(cases, seed):
    units = np.array([u for u, _ in cases])
    count = np.array([min(u, c) for u, c in cases])
    keys = np.random.default_rng(seed).integers(0, 2**64, len(units), dtype=np.uint64)
    tries = enough(units, count)
    found, owner = distinct(keys, units, tries)
    more, whose = distinct(keys, units, 2 * tries)
    assert len(set(found.tolist())) == len(found)
    assert (np.repeat(np.arange(len(units)), units)[found] == owner).all() and (np.diff(owner) >= 0).all()
    for i in range(len(units)):
        first = found[owner == i].tolist()
        assert more[whose == i].tolist()[: len(first)] == first


def test_every_order_of_units_is_as_likely_as_every_other():
    keys = np.random.default_rng(0).integers(0, 2**64, 60_000, dtype=np.uint64)
    units = np.full(len(keys), 4)
    found, owner = distinct(keys, units, np.full(len(keys), 60))
    assert (np.bincount(owner) == 4).all()
    orders = (found.reshape(-1, 4) % 4) @ (64, 16, 4, 1)
    _, times = np.unique(orders, return_counts=True)
    assert len(times) == 24
    assert ((times - 2500) ** 2 / 2500).sum() < 49.7  # chi squared with 23 degrees of freedom, one in a thousand
