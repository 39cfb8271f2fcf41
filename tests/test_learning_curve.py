"""Labels against score: nested rows by class, cells that are runs of their own, the number that fresh weights need, and what is refused."""

import json
import os
import signal

import numpy as np
import pytest
from tests.runs import same

import bertsmith
from bertsmith.downstream.learning_curve import parsed, reached, says
from bertsmith.errors import InputError, Interrupted
from bertsmith.tasks.split import Few, first

pytestmark = pytest.mark.usefixtures("one_thread")
SETS = ["batch=8", "precision=float32", "lr=0.003"]


def tuned(model, tasks, out, **options):
    kind, train, dev = tasks["classify"]
    options = {"set": SETS, "threads": 1, "steps": 4, "learning_curve": [12, 24], "seeds": 2, **options}
    return bertsmith.finetune(model, task=kind, train=train, dev=dev, out=out, **options)


@pytest.fixture(scope="module")
def run(pretrained, tasks, tmp_path_factory):
    pytest.importorskip("sklearn")
    out, said = tmp_path_factory.mktemp("curve") / "run", []
    return out, tuned(pretrained, tasks, out, say=said.append, baseline=True), said


def test_rows_are_drawn_by_class_and_a_smaller_number_stands_among_a_larger_one():
    strata = ["a"] * 60 + ["b"] * 30 + ["rare"] * 2
    drawn = {count: set(first(Few(count, 0), strata).tolist()) for count in (3, 10, 30, 92)}
    for few, more in zip((3, 10, 30), (10, 30, 92), strict=True):
        assert drawn[few] < drawn[more] and len(drawn[few]) == few
    assert {strata[i] for i in drawn[3]} == {"a", "b", "rare"}, "one of each first"
    many = np.unique([strata[i] for i in drawn[30]], return_counts=True)[1]
    assert many.tolist() == [19, 10, 1]
    assert drawn[10] != set(first(Few(10, 1), strata).tolist())


def test_every_number_is_learned_by_every_arm_with_every_seed(run):
    out, result, said = run
    curve = result["curve"]
    assert curve["rows"] == [12, 24] and curve["seeds"] == [0, 1]
    for arm in ("model", "scratch"):
        for rows in (12, 24):
            configs = [
                json.loads((out / f"rows-{rows}" / arm / f"seed-{s}" / "config.json").read_text()) for s in (0, 1)
            ]
            assert [config["data"]["train"]["few"] for config in configs] == [{"rows": rows, "seed": s} for s in (0, 1)]
            assert [config["data"]["train"]["rows"] for config in configs] == [rows, rows]
            assert [config["task"]["scratch"] for config in configs] == [arm == "scratch"] * 2
    assert set(curve["arms"]) == {"model", "scratch", "baseline"}
    for points in curve["arms"].values():
        for point in points:
            score = point["dev"][curve["by"]]
            assert score["value"] == pytest.approx(np.mean(point["each"])) and len(point["each"]) == 2
            assert score["low"] <= score["value"] <= score["high"]
    assert any("8 runs" in line for line in said) and any(line.lstrip().startswith("24  0.") for line in said)


def test_a_cell_is_the_run_of_its_rows_and_says_what_evaluate_says(run, tasks):
    out, result, _ = run
    point = result["curve"]["arms"]["model"][0]
    found = [bertsmith.evaluate(out / "rows-12" / "model" / f"seed-{s}", tasks["classify"][2]) for s in (0, 1)]
    assert [one["accuracy"]["value"] for one in found] == pytest.approx(point["each"])
    with pytest.raises(
        InputError, match=r"holds a learning curve; a model is one of its runs, such as .*rows-24/model/seed-0"
    ):
        bertsmith.load(out)


def test_a_curve_that_was_killed_goes_on_to_the_same_bytes(run, pretrained, tasks, tmp_path):
    out, result, _ = run

    def stop(step, *_):
        if step == 2 and (tmp_path / "run" / "rows-12" / "scratch" / "seed-1").exists():
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        tuned(pretrained, tasks, tmp_path / "run", baseline=True, progress=stop)
    with pytest.raises(InputError, match=r"holds a learning curve already; resume=True goes on"):
        tuned(pretrained, tasks, tmp_path / "run", baseline=True)
    assert tuned(pretrained, tasks, tmp_path / "run", baseline=True, resume=True) == result
    assert (tmp_path / "run" / "result.json").read_bytes() == (out / "result.json").read_bytes()
    same(out / "rows-24" / "model" / "seed-1", tmp_path / "run" / "rows-24" / "model" / "seed-1")


def test_how_many_rows_fresh_weights_need_is_read_off_their_curve():
    assert reached(0.7, [10, 100, 1000], [0.5, 0.6, 0.8]) == pytest.approx(10**2.5)
    assert reached(0.4, [10, 100], [0.5, 0.6]) == 10 and reached(0.9, [10, 100], [0.5, 0.6]) is None
    point = lambda rows, value: {"rows": rows, "dev": {"accuracy": {"value": value, "high": value + 0.01}}}
    curve = lambda model, scratch: {
        "by": "accuracy",
        "rows": [10, 100, 1000],
        "arms": {
            "model": [point(r, v) for r, v in zip((10, 100, 1000), model, strict=True)],
            "scratch": [point(r, v) for r, v in zip((10, 100, 1000), scratch, strict=True)],
        },
    }
    line = says(curve([0.55, 0.7, 0.9], [0.5, 0.6, 0.8]))
    assert (
        line
        == "with 100 labelled rows the model reaches accuracy 0.700, for which fresh weights need about 316, 3.2 times as many"
    )
    line = says(curve([0.85, 0.9, 0.95], [0.5, 0.6, 0.8]))
    assert "fresh weights do not with 1,000" in line
    assert says(curve([0.5, 0.5, 0.5], [0.5, 0.6, 0.8])) == ""
    assert says(curve([0.505, 0.605, 0.805], [0.5, 0.6, 0.8])) == "", "within the interval of fresh weights"
    assert says(curve([0.4, 0.52, 0.4], [0.6, 0.4, 0.5])) == "", "what fewer rows reached by chance is no saving"


def test_the_report_draws_a_line_for_each_arm(run, tmp_path):
    bertsmith.report([run[0]], tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "Labels against score" in text and "labelled rows, logarithmic" in text
    for name in ("the model", "fresh weights", "TF-IDF"):
        assert f"<em>{name}</em>" in text


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"learning_curve": []}, "learning_curve: no numbers; 50,500,all are three"),
        ({"learning_curve": "10,many"}, "learning_curve: 'many': numbers of rows from 1 are wanted"),
        ({"learning_curve": [10, 5000]}, "learning_curve: 5,000 rows, and there are 72 to learn from; all takes all"),
        ({"learning_curve": [72, "all"]}, "learning_curve: 72 rows stand there twice"),
        ({"learning_curve": [10]}, "learning_curve: one number is no curve"),
        ({"scratch": True}, "learning_curve with scratch=True: fresh weights are one of its arms"),
        ({"search": ["lr=1,2"]}, "learning_curve with search: take one of the two"),
        ({"folds": 3, "dev": None}, "learning_curve with folds=3: take one of the two"),
        ({"seeds": 0}, "seeds=0: expected a number from 1"),
    ],
)
def test_what_is_no_curve_is_told_and_nothing_is_written(options, says, pretrained, tasks, tmp_path):
    kind, train, dev = tasks["classify"]
    options = {"learning_curve": [12, 24], "dev": dev, "set": SETS, "threads": 1, **options}
    with pytest.raises(InputError) as raised:
        bertsmith.finetune(pretrained, task=kind, train=train, out=tmp_path / "run", **options)
    assert says in str(raised.value) and "\n" not in str(raised.value) and not (tmp_path / "run").exists()


def test_numbers_are_texts_or_a_list():
    assert parsed("50, 500,all") == [50, 500, "all"] == parsed([50, "500", "all"]) and parsed(50) == [50]
