"""A search by successive halving: who goes on, that a trial is the run it would be alone, resume, and what is refused."""

import json
import os
import signal

import pytest
from tests.runs import same

import bertsmith
from bertsmith.downstream import grid
from bertsmith.errors import InputError, Interrupted
from bertsmith.training.exam import pause_at

pytestmark = pytest.mark.usefixtures("one_thread")
SETS = ["batch=24", "precision=float32"]
SEARCH = {"lr": [1e-5, 3e-3, 1e-2], "epochs": [4, 6]}


def tuned(model, tasks, out, **options):
    kind, train, dev = tasks["classify"]
    options = {"set": SETS, "threads": 1, **options}
    return bertsmith.finetune(model, task=kind, train=train, dev=dev, out=out, **options)


@pytest.fixture(scope="module")
def run(pretrained, tasks, tmp_path_factory):
    out, said = tmp_path_factory.mktemp("search") / "run", []
    return out, tuned(pretrained, tasks, out, search=SEARCH, say=said.append), said


def sealed(path):
    return json.loads(path.read_text())


def test_every_trial_begins_the_better_half_goes_on_and_the_best_comes_to_its_end(run):
    _, result, said = run
    found = result["search"]
    rows = {row["trial"]: row for row in found["trials"]}
    assert len(rows) == 6 and found["trials"][0]["trial"] == found["best"]
    assert [row["trial"] for row in found["trials"] if row["updates"] == row["of"]] == [found["best"]]
    shares = [row["updates"] / row["of"] for row in found["trials"]]
    assert shares[0] == 1 and sum(share > 0.45 for share in shares) == 3 and all(share >= 0.25 for share in shares)
    assert found["updates"] == sum(row["updates"] for row in rows.values()) < found["alone"]
    assert sum(line.startswith("trial ") for line in said) == 6 + 3 + 1
    by = found["by"]
    quarter = [line for line in said if line.startswith("trial ")][:6]
    scores = [float(line.split(f"{by} ")[1].split(",")[0]) for line in quarter]
    on = next(line for line in said if "go on: " in line).split("on: ")[1].split(", ")
    assert min(scores[int(i)] for i in on) >= max(s for i, s in enumerate(scores) if str(i) not in on)


def test_the_plan_says_at_most_how_many_updates_it_costs_beside_one_run(run):
    _, result, said = run
    line = next(line for line in said if "times one run" in line)
    most = int(line.split(" updates at most")[0].split()[-1].replace(",", ""))
    one = max(row["of"] for row in result["search"]["trials"])
    assert result["search"]["updates"] <= most <= result["search"]["alone"] and f"({one:,})" in line


def test_the_best_trial_is_the_run_that_its_settings_make_alone(run, pretrained, tasks, tmp_path):
    out, result, _ = run
    best = result["search"]["trials"][0]["settings"]
    alone = tuned(pretrained, tasks, tmp_path / "alone", set=[*SETS, f"lr={best['lr']}"], epochs=best["epochs"])
    same(out / "seed-0", tmp_path / "alone")
    assert result["results"] == [alone] and result["best_seed"] == 0
    for name in ("seed-0", "trials"):
        assert (out / name).is_dir()
    assert bertsmith.verify(out)["kind"] == "run"


def test_what_a_search_leaves_is_a_model_and_a_trial_that_stays_behind_keeps_no_weights(run, tasks):
    out, result, _ = run
    assert bertsmith.evaluate(out, tasks["classify"][2])["accuracy"]["value"] == pytest.approx(
        result["over_seeds"]["accuracy"]["mean"]
    )
    behind = [out / "trials" / f"trial-{row['trial']}" for row in result["search"]["trials"][1:]]
    assert all((path / "metrics.jsonl").is_file() and not (path / "steps").exists() for path in behind)


@pytest.mark.parametrize("update", [3, 40])
def test_a_search_that_was_killed_goes_on_to_the_same_bytes(update, run, pretrained, tasks, tmp_path):
    out, result, _ = run
    seen = []

    def stop(*_):
        seen.append(1)
        if len(seen) == update:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        tuned(pretrained, tasks, tmp_path / "run", search=SEARCH, progress=stop)
    assert not (tmp_path / "run" / "result.json").exists()
    with pytest.raises(InputError, match=r"holds a search already; resume=True goes on"):
        tuned(pretrained, tasks, tmp_path / "run", search=SEARCH)
    with pytest.raises(InputError, match=r"search: the search was begun with"):
        tuned(pretrained, tasks, tmp_path / "run", search={"lr": [1e-3, 1e-4]}, resume=True)
    again = tuned(pretrained, tasks, tmp_path / "run", search=SEARCH, resume=True, progress=lambda *_: seen.append(1))
    assert again == result and len(seen) == result["search"]["updates"], "nothing is computed twice"
    for name in ("result.json", "search.json"):
        assert (tmp_path / "run" / name).read_bytes() == (out / name).read_bytes()
    same(out / "seed-0", tmp_path / "run" / "seed-0")
    assert tuned(pretrained, tasks, out, search=SEARCH, resume=True) == result


def test_the_best_setting_is_made_with_more_seeds(run, pretrained, tasks, tmp_path):
    said: list[str] = []
    result = tuned(pretrained, tasks, tmp_path / "run", search={"lr": [1e-5, 1e-2]}, seeds=2, steps=2, say=said.append)
    assert result["seeds"] == [0, 1] and any("2 seeds with these settings" in line for line in said)
    best = result["search"]["trials"][0]["settings"]["lr"]
    for seed in (0, 1):
        assert sealed(tmp_path / "run" / f"seed-{seed}" / "config.json")["task"]["settings"]["lr"] == best


def test_a_method_is_searched_over_and_a_trial_that_diverges_is_listed(pretrained, tasks, tmp_path):
    search = {"method": ["full", "frozen"], "lr": [1e-2, 1e30]}
    result = tuned(pretrained, tasks, tmp_path / "run", search=search, epochs=3, set=[*SETS, "clip=0.0"])
    stopped = [row for row in result["search"]["trials"] if "stopped" in row]
    assert {row["settings"]["lr"] for row in stopped} <= {1e30} and stopped
    assert all("not finite" in row["stopped"] for row in stopped)


def test_trials_are_drawn_by_the_seed_and_stand_in_the_grids_order():
    every = grid.trials(grid.parsed(["lr=1,2,3,4,5", "epochs=2,3"]), None, 0)
    some, others = (grid.trials(grid.parsed(["lr=1,2,3,4,5", "epochs=2,3"]), 4, seed) for seed in (0, 1))
    assert len(every) == 10 and len(some) == 4 and some != others
    assert some == [trial for trial in every if trial in some]
    assert grid.parsed(["sizes=[128,64],[64]", "method=full,lora", "lr=1e-5"]) == {
        "sizes": ([128, 64], [64]),
        "method": ("full", "lora"),
        "lr": (1e-5,),
    }


def test_rungs_are_hyperbands_and_a_pause_is_an_exam():
    assert grid.rungs(6, 2) == [(0.25, 6), (0.5, 3), (1.0, 1)] and grid.rungs(9, 3) == [
        (1 / 9, 9),
        (1 / 3, 3),
        (1.0, 1),
    ]
    assert grid.rungs(8, 3) == [(1 / 3, 8), (1.0, 2)]

    class Every:
        def due(self, step):
            return step % 10 == 0

    assert [pause_at(share, 35, Every()) for share in (0.1, 0.25, 0.5, 0.9, 1.0)] == [10, 10, 20, 35, 35]
    assert pause_at(0.5, 35, None) == 35


def test_the_report_lists_every_trial(run, tmp_path):
    out, _, _ = run
    bertsmith.report([out], tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "Search of run" in text and text.count("<td>trial ") == 6
    assert "several seeds; curves" not in text


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"search": ["lrr=1,2"]}, "search=lrr: no such setting; did you mean 'lr'?"),
        ({"search": {"lr": []}}, "search=lr: no values"),
        ({"search": {}}, "search: no settings"),
        ({"search": ["lr=1e-3,1e-3"]}, "search=lr: 0.001 stands twice"),
        ({"search": ["batch=8,big"], "set": ()}, "search=batch: set={'batch': …}: expected int, got 'big' (str)"),
        ({"search": ["lr=1e-3,-1"]}, "search=lr: lr: -1.0 must be above 0"),
        ({"search": ["method=full,fulll"]}, "search=method: method='fulll': unknown; did you mean 'full'?"),
        ({"search": ["epochs=2,3"], "epochs": 2}, "search=epochs: epochs is given as well; take one of the two"),
        ({"search": ["batch=8,16"]}, "search=batch: set={'batch': …} is given as well"),
        ({"search": ["lr=1e-3"]}, "search: one trial alone, lr 0.001, leaves nothing to choose"),
        ({"search": ["lr=1e-3,1e-4"], "trials": 1}, "trials=1: expected a number from 2"),
        ({"search": ["lr=1e-3,1e-4"], "eta": 1}, "eta=1: of so many trials one goes on"),
        ({"search": ["lr=1e-3,1e-4"], "minutes": 1}, "search with minutes: trials are halved by their updates"),
        ({"search": ["lr=1e-3,1e-4"], "folds": 3, "dev": None}, "search with folds=3: take one of the two"),
        ({"search": ["lr=1e-3,1e-4"], "dev": None}, "dev: a file, a share such as 0.1, or folds=5 is wanted"),
        ({"search": ["lr=1e-3,,1e-4"]}, "a value is empty"),
        ({"search": ["length=32,9999"]}, "length: 9999 is more than the model's 512 positions"),
        ({"trials": 3}, "trials: is for search"),
    ],
)
def test_what_cannot_be_searched_is_told_and_nothing_is_written(options, says, pretrained, tasks, tmp_path):
    kind, train, dev = tasks["classify"]
    options = {"dev": dev, "set": SETS, "threads": 1, **options}
    with pytest.raises(InputError) as raised:
        bertsmith.finetune(pretrained, task=kind, train=train, out=tmp_path / "run", **options)
    assert says in str(raised.value) and "\n" not in str(raised.value) and not (tmp_path / "run").exists()
