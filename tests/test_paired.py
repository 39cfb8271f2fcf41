"""Differences of two systems on the same examples: every score, texts and seeds drawn together."""

import numpy as np
import pytest

from bertsmith.tasks import metrics, paired


def classified(generator, truth, right, classes=3):
    wrong = (truth + generator.integers(1, classes, len(truth))) % classes
    return np.where(generator.random(len(truth)) < right, truth, wrong)


def test_figures_of_all_weights_alike_are_the_scores():
    generator = np.random.default_rng(0)
    for classes in (2, 4):
        truth = generator.integers(0, classes, 70)
        said = classified(generator, truth, 0.6, classes)
        mine = metrics.scored(metrics.class_figures(truth, said, classes), 70, resamples=500)
        theirs = metrics.classification(truth, said, classes, resamples=500)
        assert mine.keys() == theirs.keys()
        for name, score in mine.items():
            assert score["value"] == pytest.approx(theirs[name]["value"], abs=1e-12)
            assert score["low"] == pytest.approx(theirs[name]["low"], abs=0.03)


def test_figures_under_weights_are_the_scores_of_the_resampled_list():
    generator = np.random.default_rng(1)
    truth, taken = generator.integers(0, 3, 40), generator.integers(0, 40, 40)
    said, weights = classified(generator, truth, 0.5), np.bincount(taken, minlength=40)[None].astype(float)
    under = metrics.class_figures(truth, said, 3)(weights)
    listed = metrics.classification(truth[taken], said[taken], 3, resamples=0)
    assert {name: score[0] for name, score in under.items()} == pytest.approx(
        {n: s["value"] for n, s in listed.items()}
    )


def test_a_difference_is_that_of_the_means_over_seeds_and_accuracy_is_that_of_paired_examples():
    generator = np.random.default_rng(2)
    truth = generator.integers(0, 3, 400)
    a, b = ([classified(generator, truth, p) for _ in range(n)] for p, n in ((0.8, 1), (0.6, 1)))
    figures = lambda system: {i: metrics.class_figures(truth, said, 3) for i, said in enumerate(system)}
    found = paired.compared(figures(a), figures(b), 400)
    right = [np.mean([said == truth for said in system], 0) for system in (a, b)]
    alone = metrics.paired(*right)
    assert found["difference"]["accuracy"] == pytest.approx(alone, abs=0.01)
    assert found["difference"]["accuracy"]["value"] == found["a"]["accuracy"]["value"] - found["b"]["accuracy"]["value"]
    assert found["a"].keys() == found["b"].keys() == found["difference"].keys() == {"accuracy", "f1", "matthews"}
    assert found == paired.compared(figures(a), figures(b), 400), "the same whenever it is computed"


def test_seeds_that_are_spread_widen_the_interval():
    generator = np.random.default_rng(3)
    truth = generator.integers(0, 2, 300)
    b = {0: metrics.class_figures(truth, classified(generator, truth, 0.6, 2), 2)}
    widths = []
    for chances in ((0.7, 0.7, 0.7), (0.5, 0.7, 0.9)):
        said = [classified(generator, truth, p, 2) for p in chances]
        a = {i: metrics.class_figures(truth, answers, 2) for i, answers in enumerate(said)}
        score = paired.compared(a, b, 300)["difference"]["accuracy"]
        widths.append(score["high"] - score["low"])
    assert widths[1] > 1.5 * widths[0]


def test_a_system_beside_itself_differs_by_nothing_and_large_samples_are_cut_into_pieces(monkeypatch):
    generator = np.random.default_rng(4)
    truth = generator.normal(size=60)
    a, b = (metrics.number_figures(truth, truth + generator.normal(size=60)) for _ in range(2))
    assert set(paired.compared({0: a}, {0: a}, 60)["difference"]["spearman"].values()) == {0.0}
    whole = paired.compared({0: a, 1: b}, {0: b}, 60)
    monkeypatch.setattr(metrics, "CELLS", 6000)
    assert paired.compared({0: a, 1: b}, {0: b}, 60) == whole


def test_several_seeds_differ_from_themselves_by_nothing_and_from_others_alike_both_ways():
    generator = np.random.default_rng(5)
    truth = generator.integers(0, 3, 90)
    a, b = (
        {
            i: metrics.class_figures(truth, classified(generator, truth, p), 3)
            for i, p in zip(seeds, chances, strict=True)
        }
        for seeds, chances in (((0, 1, 2), (0.5, 0.6, 0.7)), ((0, 1, 2), (0.6, 0.65, 0.8)))
    )
    for system in (a, b, {3: a[0], 4: a[1]}):
        assert all(set(score.values()) == {0.0} for score in paired.compared(system, system, 90)["difference"].values())
    for other in (b, {7: b[0], 8: b[1], 9: b[2]}):
        there, back = (paired.compared(*pair, 90)["difference"] for pair in ((a, other), (other, a)))
        for name, score in there.items():
            mirrored = {"value": -score["value"], "low": -score["high"], "high": -score["low"]}
            assert back[name] == pytest.approx(mirrored, abs=1e-12)


@pytest.mark.parametrize("resample", range(3))
def test_intervals_of_a_difference_cover_it_about_as_often_as_they_say(resample):
    inside, generator = 0, np.random.default_rng(resample)
    for _ in range(60):
        truth = generator.integers(0, 2, 150)
        a, b = (metrics.class_figures(truth, classified(generator, truth, p, 2), 2) for p in (0.8, 0.7))
        score = paired.compared({0: a}, {0: b}, 150, resamples=300)["difference"]["accuracy"]
        inside += score["low"] <= 0.1 <= score["high"]
    assert 0.83 <= inside / 60 <= 1.0


def test_one_sentence_says_which_is_better_or_that_nothing_can_be_told():
    score = lambda value, low, high: {"value": value, "low": low, "high": high}
    assert (
        paired.said("A", "B", score(0.034, 0.012, 0.057), "accuracy")
        == "A is better than B by 0.034 [0.012, 0.057] accuracy"
    )
    assert paired.said("A", "B", score(-0.034, -0.057, -0.012), "f1") == "B is better than A by 0.034 [0.012, 0.057] f1"
    same = "A and B cannot be told apart: difference 0.004 [-0.020, 0.030] accuracy"
    assert paired.said("A", "B", score(0.004, -0.02, 0.03), "accuracy") == same
