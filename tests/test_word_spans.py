"""Selects of several words (data/spans.py), each beside its paper's one-by-one procedure: on the same draws, and as distributions."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from tests.corpora import VOCAB, hidden, noted, per_sequence, random_shape, split_of, whole

import bertsmith
from bertsmith.config import override
from bertsmith.data.draw import Draw
from bertsmith.data.levels import annotated
from bertsmith.data.select import words
from bertsmith.data.spans import NGrams, Spans, greedy, runs, settle
from bertsmith.errors import InputError
from bertsmith.recipe import find
from bertsmith.text.layout import DocSentences, FullSentences, SegmentPairs

EVERY = [NGrams(), NGrams(longest=5, rounding="probabilistic"), NGrams(longest=1)]
EVERY += [NGrams(units="token", single=0.8), NGrams(longest=4, single=0.2, rate=0.4)]
EVERY += [Spans(), Spans(units="word"), Spans(units="token"), Spans(p=0.5, longest=3, rate=0.4)]
every_select = pytest.mark.parametrize("select", EVERY, ids=repr)


def rows(seed=0, length=64, continued=0.3):
    split = split_of(random_shape(60, 5, 9, seed), seed=seed, continued=continued)
    return whole(SegmentPairs(length=length).plan(split, VOCAB, seed, 0))


@every_select
@settings(max_examples=10)
@given(seed=st.integers(0, 1000))
def test_spans_are_sorted_disjoint_and_never_on_specials(select, seed):
    row = rows(seed)
    spans = select(row, Draw(seed))
    assert spans.dtype == np.int64 and (spans[:, 0] < spans[:, 1]).all() and (spans[1:, 0] >= spans[:-1, 1]).all()
    assert not hidden(row, spans)[row.special].any()


@every_select
def test_a_sequence_is_hidden_the_same_in_any_company(select):
    plan = SegmentPairs(length=64).plan(split_of(random_shape(30), numbered=False), VOCAB, 0, 0)
    some = plan.order[:20]
    together = hidden(plan.row(some), select(plan.row(some), Draw(4)))
    alone = [hidden(row := plan.row(np.array([i])), select(row, Draw(4))) for i in some]
    assert np.array_equal(together, np.concatenate(alone))


# -- n-grams


def test_ngrams_are_whole_words_within_the_budget_and_of_the_lengths_that_were_asked():
    row = whole(FullSentences(length=512).plan(split_of(random_shape(3000), continued=0.25), VOCAB, 0, 0))
    spans = NGrams()(row, Draw(1))
    starts, ends = words(row).T
    assert set(spans[:, 0]) <= set(starts) and set(spans[:, 1]) <= set(ends)
    used, budget = per_sequence(row, hidden(row, spans)), np.rint(0.15 * row.lengths)
    assert (used <= budget).all() and used.sum() / budget.sum() > 0.999
    count = np.searchsorted(starts, spans[:, 1]) - np.searchsorted(starts, spans[:, 0])
    share = np.bincount(count, minlength=4)[1:] / len(count)
    # Longer ones run over hidden words and end at the budget more often.
    assert np.abs(share - np.array([6, 3, 2]) / 11).max() < 0.04


def test_ngrams_of_tokens_spend_the_budget_and_are_single_as_often_as_asked():
    """The fewer there are, the more seldom do long ones meet hidden tokens or the end of the budget and give way to single ones."""
    row = whole(FullSentences(length=512).plan(split_of(random_shape(8000, 12, 20), continued=0.25), VOCAB, 0, 0))
    select = NGrams(units="token", single=0.8)
    budget = np.rint(0.15 * row.lengths).astype(int)
    spans = select(row, Draw(1))
    assert per_sequence(row, hidden(row, spans)).tolist() == budget.tolist()
    share = np.bincount(spans[:, 1] - spans[:, 0], minlength=4)[1:] / len(spans)
    assert np.abs(share - np.array([0.8, 0.1, 0.1])).max() < 0.04
    assert not row.starts[spans[:, 0]].all() and select.mean == pytest.approx(1.3)
    few = NGrams(units="token", single=0.8, rate=0.05)(row, Draw(1))
    share = np.bincount(few[:, 1] - few[:, 0], minlength=4)[1:] / len(few)
    assert np.abs(share - np.array([0.8, 0.1, 0.1])).max() < 0.02


@pytest.mark.parametrize("single", [0, 1.5, -0.2])
def test_a_share_of_single_units_that_is_none_is_refused(single):
    with pytest.raises(InputError, match=r"corruption\.select\.single"):
        NGrams(single=single)


def one_by_one(tries, left):
    """ALBERT's loop over `tries` (where the words of the longest n-gram begin, words wanted): how many words each takes."""
    taken, covered = [], set()
    for begins, wanted in tries:
        n = wanted
        while n and begins[n] - begins[0] > left:
            n -= 1
        if not n or covered & set(begins[:n]):
            taken.append(0)
            continue
        covered |= set(begins[:n])
        left -= begins[n] - begins[0]
        taken.append(n)
    return taken


@settings(max_examples=200)
@given(st.integers(0, 10**6))
def test_settling_many_ngrams_at_once_equals_one_after_the_other(seed):
    rng = random.Random(seed)
    words, wanted, owner, budgets, expected, base = [], [], [], [], [], 0
    for sequence in range(rng.randint(1, 4)):
        widths = [rng.randint(1, 4) for _ in range(rng.randint(1, 20))]
        begins = base + np.concatenate([[0], np.cumsum(widths)])
        base = int(begins[-1]) + 1
        tries = []
        for word in rng.sample(range(len(widths)), rng.randint(1, len(widths))):
            mine = [int(begins[min(word + n, len(widths))]) for n in range(4)]
            tries.append((mine, rng.randint(1, min(3, len(widths) - word))))
        budgets.append(rng.randint(0, 15))
        expected += one_by_one(tries, budgets[-1])
        words += [mine for mine, _ in tries]
        wanted += [n for _, n in tries]
        owner += [sequence] * len(tries)
    taken, length, _ = greedy(np.array(words).T, np.array(wanted), np.array(owner), np.array(budgets), base + 1)
    assert np.where(taken, length, 0).tolist() == expected


def test_where_no_ngram_fits_one_word_is_asked_unless_it_is_everything():
    split = split_of([[6, 6], [6], [1], [1, 1]], continued=0)
    split.words[:] = False  # each sentence one word; starts are set by hand
    split.words[split.sentences[:-1]] = True
    row = whole(DocSentences(length=20).plan(split, VOCAB, 0, 0))
    spans = NGrams()(row, Draw(0))
    assert np.bincount(row.sequence[spans[:, 0]], minlength=4).tolist() == [1, 0, 1, 1]
    assert (spans[:, 1] - spans[:, 0]).tolist() == [6, 1, 1]


# -- SpanBERT


@settings(max_examples=100)
@given(st.integers(0, 10**6))
def test_settling_many_spans_at_once_equals_one_after_the_other(seed):
    """A try whose anchor is covered by one that counts does not count."""
    rng = np.random.default_rng(seed)
    anchor = rng.integers(0, 40, 30)
    begin, end = np.maximum(anchor - rng.integers(0, 3, 30), 0), np.minimum(anchor + rng.integers(1, 8, 30), 40)
    covered, expected = set(), []
    for a, b, e in zip(anchor, begin, end, strict=True):
        expected.append(a not in covered)
        covered |= set(range(b, e)) if expected[-1] else set()
    cells = np.concatenate([np.arange(b, e) for b, e in zip(begin, end, strict=True)])
    by, cover = np.repeat(np.arange(30), end - begin), np.empty(40, np.int32)
    assert settle(cells, by, anchor, np.arange(30), np.ones(30, bool), cover).tolist() == expected


@pytest.mark.parametrize("units", ["geometric", "word", "token"])
@pytest.mark.parametrize("rate", [0.05, 0.15, 0.5, 1.0])
def test_the_budget_of_spans_is_spent_to_the_token(units, rate):
    row = rows(3)
    free = per_sequence(row, (~row.special).astype(np.int64))
    got = per_sequence(row, hidden(row, Spans(units=units, rate=rate)(row, Draw(1))))
    assert got.tolist() == np.minimum(np.ceil(rate * row.lengths), free).astype(int).tolist()


def test_lengths_are_geometric_cut_off_and_renormalised():
    p = np.diff(Spans().lengths(), prepend=0)
    assert np.allclose(p, [0.2241, 0.1792, 0.1434, 0.1147, 0.0918, 0.0734, 0.0587, 0.0470, 0.0376, 0.0301], atol=5e-5)
    assert abs((p * np.arange(1, 11)).sum() - 3.797) < 1e-3 and abs(Spans().mean - 3.797) < 1e-3


def procedure(starts, budget, p, longest, rng):
    """SpanBERT's, written from section 3.1 and the released code's rules: the hidden tokens of one sequence of text."""
    weights = [(1 - p) ** k for k in range(longest)]
    mask = set()
    while len(mask) < budget:
        words = rng.choices(range(1, longest + 1), weights)[0]
        at = rng.randrange(len(starts))
        if at in mask:
            continue
        while not starts[at]:
            at -= 1
        while words and at < len(starts) and len(mask) < budget:
            mask.add(at)
            at += 1
            words -= at == len(starts) or starts[at]
    return sorted(mask)


def figures(masks, starts):
    """(lengths of all runs, how many words they cut) over masks of equally long sequences."""
    lengths, cut = [], 0
    for mask, start in zip(masks, starts, strict=True):
        spans = runs(np.array(mask), len(start))
        lengths += (spans[:, 1] - spans[:, 0]).tolist()
        cut += sum(not start[a] for a, _ in spans) + sum(b < len(start) and not start[b] for _, b in spans)
    return np.array(lengths), cut


@pytest.mark.parametrize(("length", "continued"), [(130, 0.0), (512, 0.25)])
def test_runs_are_distributed_as_the_papers_procedure_makes_them(length, continued):
    """Chi-squared over the lengths of merged runs, p > 0.001; means and cut words within 4 standard errors, places within 6."""
    sequences, rng = 60_000 // length, random.Random(0)
    split = split_of([[length - 2]] * sequences, continued=continued)
    row = whole(DocSentences(length=length).plan(split, VOCAB, 0, 0))
    starts = row.starts.reshape(sequences, length)[:, 1:-1]
    budget = int(np.ceil(0.15 * length))
    ours = hidden(row, Spans()(row, Draw(5))).reshape(sequences, length)[:, 1:-1]
    theirs = [procedure(start.tolist(), budget, 0.2, 10, rng) for start in starts]
    mine, my_cuts = figures([np.flatnonzero(m) for m in ours], starts)
    other, other_cuts = figures(theirs, starts)
    error = np.hypot(stats.sem(mine) / mine.mean(), stats.sem(other) / other.mean())
    assert abs(mine.mean() / other.mean() - 1) < 4 * error
    table = np.stack([np.histogram(x, [*range(1, 13), 1000])[0] for x in (mine, other)])
    assert stats.chi2_contingency(table).pvalue > 0.001
    assert abs(my_cuts - other_cuts) <= 4 * np.sqrt(my_cuts + other_cuts) and max(my_cuts, other_cuts) <= sequences
    places = np.stack([ours.sum(0), np.bincount(np.concatenate(theirs), minlength=length - 2)])
    thick = places.reshape(2, -1, 10 if length == 512 else 8).sum(2)  # neighbours depend on each other
    assert (np.abs(thick[0] - thick[1]) < 6 * np.sqrt(thick.sum(0))).all()


def test_spans_that_touch_are_one():
    row = whole(FullSentences(length=128).plan(split_of(random_shape(300)), VOCAB, 0, 0))
    spans = Spans()(row, Draw(0))
    assert (spans[1:, 0] > spans[:-1, 1]).all()


@pytest.mark.parametrize("wrong", [{"p": 0.0}, {"p": 1.0}, {"longest": 0}, {"rate": 0.0}])
def test_what_is_no_distribution_is_refused(wrong):
    with pytest.raises(InputError, match=r"corruption\.select"):
        Spans(**wrong)


# -- annotated spans


@pytest.mark.parametrize("level", ["phrase", "entity"])
def test_half_of_the_spans_are_annotated_ones_and_the_budget_is_met(level):
    row = noted(level, 6)
    taken = hidden(row, Spans(units=level)(row, Draw(0)))
    assert np.array_equal(per_sequence(row, taken), np.minimum(np.ceil(0.15 * row.lengths), row.text))
    chance = hidden(row, Spans(units="word")(row, Draw(0)))
    wide = [(a, b) for a, b in zip(*annotated(row.annotations, level), strict=True) if b - a > 3]
    whole_ones = np.mean([taken[a:b].all() for a, b in wide])
    assert whole_ones > 0.1 > 4 * np.mean([chance[a:b].all() for a, b in wide])


def test_a_store_without_annotations_is_refused_by_name(short, tmp_path):
    recipe = override(find("spanbert:tiny"), ["corruption.select.units=entity"])
    with pytest.raises(InputError, match=r"prepare it with entities"):
        bertsmith.pretrain(recipe, short, tmp_path / "run", steps=1, threads=1)
