"""What a study says of its cells: intervals over texts and seeds, who can be told apart, the pick, and how many seeds and texts a difference needs."""

import math

import numpy as np
import pytest

from bertsmith.downstream.study.members import Member
from bertsmith.downstream.study.picking import picked
from bertsmith.downstream.study.power import power
from bertsmith.downstream.study.results import MEAN, difference, outcome, score, sentences
from bertsmith.errors import InputError
from bertsmith.tasks import metrics, paired, student

ROWS = 400
# Of two tasks how often each text is taken: as it is, and in 300 resamples.
TAKEN = [
    np.concatenate([np.ones((1, ROWS)), np.random.default_rng(at).multinomial(ROWS, [1 / ROWS] * ROWS, size=300)])
    for at in (0, 1)
]


def member(name, parameters=1000):
    facts = {"steps": 10, "tokens": 100, "flops": 1e9, "parameters": parameters}
    return Member(name=name, arm=name, line=name, budget=1.0, tree={}, **facts)


def right(draw, p, shared):
    """(n,) right or wrong answers, alike between systems where `shared` (n,) is far from p."""
    return (shared < p + 0.1 * draw.standard_normal(ROWS)).astype(float)


def figures_of(answers):
    return lambda weights: {"accuracy": weights @ answers / weights.sum(1)}


def study(accuracies, seeds=4, spread=0.0, tasks=("news",), seed=0):
    """An outcome of systems of these accuracies, whose seeds are spread by so much."""
    draw, found, shared = np.random.default_rng(seed), [], {}
    for number, (name, accuracy) in enumerate(accuracies.items()):
        values = {}
        for at, task in enumerate(tasks):
            texts = shared.setdefault(task, draw.random(ROWS))
            values[task] = {}
            for s in range(seeds):
                answers = right(draw, accuracy + spread * draw.standard_normal(), texts)
                values[task][s] = {"score": "accuracy", "of": "task", "rows": ROWS}, TAKEN[at] @ answers / ROWS
        found.append((name, member(name, 1000 - number), "full", values))
    return outcome(found, ())


def test_quantiles_of_student_are_those_of_the_tables():
    for freedom, wanted in ((1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (10, 2.228), (30, 2.042)):
        assert student.quantile(0.975, freedom) == pytest.approx(wanted, abs=5e-4)
    assert student.quantile(0.95, 4) == pytest.approx(2.132, abs=5e-4)
    for freedom in (1, 2, 5, 8):
        assert student.cumulative(0.0, freedom) == pytest.approx(0.5)
        assert student.cumulative(1.3, freedom) == pytest.approx(1 - student.cumulative(-1.3, freedom))


def test_an_interval_over_seeds_holds_the_truth_in_19_of_20_studies():
    draw, held = np.random.default_rng(0), 0
    for _ in range(1500):
        found = student.interval(draw.normal(0.3, 2.0, size=4).tolist())
        held += found["low"] <= 0.3 <= found["high"]
    assert held / 1500 == pytest.approx(0.95, abs=0.015)
    assert math.isinf(student.interval([1.0])["high"])


def test_what_cells_have_kept_gives_the_intervals_that_compare_gives():
    draw, shared = np.random.default_rng(1), np.random.default_rng(2).random(ROWS)
    a, b = ({s: figures_of(right(draw, p, shared)) for s in (0, 1, 5)} for p in (0.7, 0.6))
    wanted = paired.compared(a, b, ROWS, seed=0)
    kept = [{s: metrics.resampled(f, ROWS, seed=0)["accuracy"] for s, f in system.items()} for system in (a, b)]
    found = paired.between(*kept)
    for side in ("a", "b", "difference"):
        assert metrics.interval(found[side]) == pytest.approx(wanted[side]["accuracy"], abs=1e-12)


def test_a_member_is_never_better_than_itself_and_a_difference_turns_with_its_sides():
    found = study({"a": 0.8, "b": 0.6})
    a, b = (one.values["news"] for one in found.systems)
    assert difference(a, a)["value"] == 0 and not difference(a, a)["apart"]
    one, other = difference(a, b), difference(b, a)
    assert (
        one["apart"]
        and one["value"] == -other["value"]
        and one["over_seeds"]["low"] == pytest.approx(-other["over_seeds"]["high"])
    )
    assert score(a)["each"].keys() == {"0", "1", "2", "3"}


def test_one_seed_tells_nothing_however_far_the_scores():
    found = study({"a": 0.9, "b": 0.5}, seeds=1)
    pick = picked(found, 1.0)
    assert not pick["told"] and pick["among"] == ["a", "b"] and "one seed of each" in pick["says"]
    assert "one seed says nothing of others" in sentences(found, 1.0)[-1]


def test_spread_seeds_are_not_told_apart_though_texts_alone_would_say_so():
    found = study({"a": 0.72, "b": 0.66}, seeds=3, spread=0.15, seed=3)
    a, b = (one.values["news"] for one in found.systems)
    one_pair = metrics.interval(a[0] - b[0])
    assert (one_pair["low"] > 0 or one_pair["high"] < 0) and not difference(a, b)["apart"]


def test_the_pick_is_told_from_every_rival_or_says_who_else_it_may_be():
    clear = picked(study({"a": 0.55, "b": 0.8, "c": 0.6}), 1.0)
    assert (
        clear["told"]
        and clear["best"] == "b"
        and clear["among"] == ["b"]
        and "better than the next, c" in clear["says"]
    )
    close = picked(study({"a": 0.8, "b": 0.801, "c": 0.5}, spread=0.01), 1.0)
    assert not close["told"] and {*close["among"]} == {"a", "b"} and close["says"].startswith("Cannot tell")
    assert "The smallest of them is b" in close["says"]


def test_a_pick_that_is_told_is_the_best_in_nearly_all_studies():
    wrong = told = 0
    for seed in range(60):
        pick = picked(study({"a": 0.70, "b": 0.70, "c": 0.70, "d": 0.70}, seeds=4, spread=0.03, seed=seed), 1.0)
        told += pick["told"]
    assert told <= 3, "of members that are alike none is picked, but by chance"
    for seed in range(20):
        pick = picked(study({"a": 0.70, "b": 0.62}, seeds=5, spread=0.01, seed=seed), 1.0)
        wrong += pick["told"] and pick["best"] != "a"
    assert wrong == 0


def test_the_mean_of_tasks_ranks_where_there_are_several():
    found = study({"a": 0.8, "b": 0.6}, tasks=("news", "mail"))
    assert found.order(found.systems).name == MEAN
    a = found.systems[0].values
    assert np.allclose(a[MEAN][2], (a["news"][2] + a["mail"][2]) / 2)


def test_as_many_seeds_as_power_says_find_the_difference_in_8_of_10_studies():
    pilot = study({"a": 0.70, "b": 0.66}, seeds=8, spread=0.02, seed=11)
    needed = power(pilot, 4.0, 1.0)["measures"]["news"]
    seeds = needed["seeds_needed"]
    assert seeds is not None and 3 <= seeds <= 12
    # New seeds on the pilot's texts, as far apart as asked: what a study of so many finds.
    draw, hits = np.random.default_rng(5), 0
    for _ in range(1000):
        texts = draw.normal(0, needed["over_texts"])
        each = 0.04 + texts + draw.normal(0, needed["over_seeds"], size=seeds)
        half = student.quantile(0.975, seeds - 1) * math.sqrt(each.var(ddof=1) / seeds + needed["over_texts"] ** 2)
        hits += each.mean() - half > 0
    assert hits / 1000 > 0.75


def test_where_texts_are_too_few_power_says_how_many_would_do():
    found = power(study({"a": 0.70, "b": 0.66}, spread=0.01), 1.5, 1.0)["measures"]["news"]
    assert found["seeds_needed"] is None and found["texts_needed"]["20"] > ROWS
    assert found["texts_needed"]["20"] <= found["texts_needed"]["10"] or found["texts_needed"]["10"] is None
    assert "No number of seeds" in found["says"]


def test_members_that_answer_alike_say_nothing_of_a_spread():
    found = study({"a": 0.7, "b": 0.7})
    alike = {"news": {seed: TAKEN[0] @ np.ones(ROWS) / ROWS for seed in range(3)}}
    for system in found.systems:
        system.values.update(alike)
    one = power(found, 2.0, 1.0)["measures"]["news"]
    assert one["seeds_needed"] is None and "answer every text alike" in one["says"]


def test_power_needs_two_seeds():
    with pytest.raises(InputError, match="no two seeds"):
        power(study({"a": 0.7, "b": 0.6}, seeds=1), 2.0, 1.0)
    with pytest.raises(InputError, match="points of a score"):
        power(study({"a": 0.7, "b": 0.6}), 0.0, 1.0)
