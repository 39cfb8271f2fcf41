"""Scores against scikit-learn and SciPy, and intervals that mean what they say."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from bertsmith.tasks import metrics


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("seed", range(4))
def test_classification_scores_equal_those_of_scikit_learn(classes, seed):
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, classes, 60)
    predicted = np.where(generator.random(60) < 0.5, truth, generator.integers(0, classes - 1, 60))
    scores = metrics.classification(truth, predicted, classes)
    f1 = sk.f1_score(truth, predicted, average="binary" if classes == 2 else "macro", zero_division=0)
    assert scores["accuracy"]["value"] == pytest.approx(sk.accuracy_score(truth, predicted), abs=1e-12)
    assert scores["f1"]["value"] == pytest.approx(f1, abs=1e-12)
    assert scores["matthews"]["value"] == pytest.approx(sk.matthews_corrcoef(truth, predicted), abs=1e-12)


def test_macro_f1_leaves_out_classes_that_never_occur_as_scikit_learn_does():
    truth, predicted = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    assert metrics.classification(truth, predicted, 4)["f1"]["value"] == pytest.approx(
        sk.f1_score(truth, predicted, average="macro")
    )


@pytest.mark.parametrize("seed", range(4))
def test_correlations_equal_those_of_scipy_ties_included(seed):
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 6, 80).astype(float)
    predicted = np.round(truth + generator.normal(0, 2, 80), 0)
    scores = metrics.regression(truth, predicted, resamples=50)
    assert scores["pearson"]["value"] == pytest.approx(stats.pearsonr(truth, predicted).statistic, abs=1e-12)
    assert scores["spearman"]["value"] == pytest.approx(stats.spearmanr(truth, predicted).statistic, abs=1e-12)


def test_ranks_of_a_resample_are_those_of_the_resampled_list():
    generator = np.random.default_rng(0)
    values = generator.integers(0, 5, 30).astype(float)
    weights = generator.multinomial(30, np.full(30, 1 / 30), size=1).astype(float)
    taken = np.repeat(np.arange(30), weights[0].astype(int))
    assert np.array_equal(metrics._ranks(values, weights)[0, taken], stats.rankdata(values[taken]))


def test_constant_predictions_score_0_never_nan():
    truth = np.array([0, 1, 1, 0])
    assert metrics.classification(truth, np.zeros(4, int), 2)["matthews"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert metrics.classification(truth, np.zeros(4, int), 2)["f1"]["value"] == 0.0
    for constant in (0.0, 0.1, 1e9 + 0.1):
        scores = metrics.regression(np.arange(7.0), [constant] * 7)
        assert scores["pearson"]["value"] == scores["spearman"]["value"] == 0.0
        assert scores["pearson"] == {"value": 0.0, "low": 0.0, "high": 0.0}, "rounding noise is not a correlation"


def test_a_correlation_of_tiny_or_huge_numbers_is_not_taken_for_a_constant():
    x = np.arange(10.0)
    for scale, shift in ((1e-12, 0.0), (1e12, 0.0), (1.0, 1e6)):
        assert metrics.regression(x, scale * x + shift, resamples=2)["pearson"]["value"] == pytest.approx(1.0, abs=1e-6)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    generator, inside = np.random.default_rng(0), 0
    for seed in range(200):
        correct = generator.random(200) < 0.7
        score = metrics.classification(np.ones(200, int), correct.astype(int), 2, seed=seed, resamples=400)["accuracy"]
        inside += score["low"] <= 0.7 <= score["high"]
    assert 0.88 <= inside / 200 <= 0.99


def test_intervals_are_the_same_whenever_computed_and_large_samples_are_cut_into_pieces(monkeypatch):
    generator = np.random.default_rng(0)
    truth = generator.normal(size=50)
    predicted = truth + generator.normal(size=50)
    whole = metrics.regression(truth, predicted)
    assert whole == metrics.regression(truth, predicted)
    monkeypatch.setattr(metrics, "CELLS", 5000)
    assert metrics.regression(truth, predicted) == whole


def test_paired_difference_is_tighter_than_two_unpaired_ones():
    generator = np.random.default_rng(0)
    b = generator.random(500) < 0.6
    a = b | (generator.random(500) < 0.05)
    score = metrics.paired(a, b)
    assert score["value"] == pytest.approx(a.mean() - b.mean()) and 0 < score["low"] < score["value"] < score["high"]
    alone = metrics.classification(np.ones(500, int), a.astype(int), 2)["accuracy"]
    assert score["high"] - score["low"] < (alone["high"] - alone["low"]) / 2
    assert metrics.paired(b, b) == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_weighted_mean_is_the_mean_over_what_each_value_stands_for():
    score = metrics.mean([1.0, 4.0], weights=[3, 1])
    assert score["value"] == pytest.approx(1.75) and score["low"] == 1.0 and score["high"] == 4.0


def test_spread_over_seeds_is_the_sample_standard_deviation():
    assert metrics.spread([1.0, 3.0]) == {"mean": 2.0, "spread": pytest.approx(np.sqrt(2)), "seeds": 2}
    assert metrics.spread([1.0])["spread"] == 0.0
