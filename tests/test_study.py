"""A study: every cell once, the same bytes after any kill, nothing launched that cannot be carried out, answers with their evidence."""

import json
import os
import random
import shutil
import time

import numpy as np
import pytest
from tests.studies import TINY, arm, kept, small, task, written

import bertsmith
from bertsmith import cli
from bertsmith.config import from_dict, override, to_dict
from bertsmith.data.loader import Loader
from bertsmith.data.text import feed_of
from bertsmith.downstream.likelihood import Likelihood
from bertsmith.downstream.study import executors
from bertsmith.downstream.study.cells import done
from bertsmith.downstream.study.heldout import documents, likelihood
from bertsmith.downstream.study.members import raw
from bertsmith.downstream.study.study_file import read_study
from bertsmith.downstream.study.templates import names, template
from bertsmith.errors import InputError
from bertsmith.recipe import find
from bertsmith.training.run import METRICS

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def made(short, tasks, tmp_path_factory):
    """A study that was made, its file, and what it said."""
    folder, said = tmp_path_factory.mktemp("study"), []
    file = small(folder / "study.toml", short, tasks)
    return file, folder / "out", bertsmith.study(file, folder / "out", say=said.append), said


@pytest.fixture
def copied(made, tmp_path):
    """Of which a test may change something."""
    shutil.copytree(made[1], tmp_path / "out", symlinks=True)
    return tmp_path / "out"


def keys(out):
    return sorted(os.listdir(out / "cells"))


def stamps(out):
    return {path: path.stat().st_mtime_ns for path in out.glob("cells/*/done.json")}


def test_every_pretraining_and_every_fine_tuning_is_a_cell_of_its_own(made):
    _, out, result, _ = made
    cells = [json.loads((out / "cells" / key / "cell.json").read_text()) for key in keys(out)]
    assert sorted(cell["asked"]["kind"] for cell in cells) == ["finetune"] * 4 + ["pretrain"] * 4
    assert all(done(out, key) is not None for key in keys(out))
    assert [one["steps"] for one in result["members"]] == [6, 6]
    models = [cell["asked"]["model"] for cell in cells if cell["asked"]["kind"] == "finetune"]
    assert sorted(models) == sorted(run["cell"] for one in result["members"] for run in one["runs"])


def test_the_same_command_again_makes_nothing(made, short, tasks):
    file, out, result, _ = made
    before, said = stamps(out), []
    assert bertsmith.study(file, out, say=said.append) == result
    assert stamps(out) == before and "8 of 8 cells are done already" in "\n".join(said)


def test_an_arm_a_seed_and_a_budget_may_be_added_and_nothing_is_made_twice(copied, short, tasks, tmp_path):
    before = stamps(copied)
    arms = [arm("one"), arm("two", corruption__select__rate=0.4), arm("again")]
    runs = {"seeds": 3, "threads": 1, "curve": 2, "held_out": 64}
    file = small(tmp_path / "more.toml", short, tasks, arm=arms, runs=runs)
    result = bertsmith.study(file, copied)
    assert before.items() <= stamps(copied).items() and len(keys(copied)) == 12
    one, _, again = result["members"]
    assert [run["cell"] for run in one["runs"]] == [run["cell"] for run in again["runs"]], "arms that agree share cells"
    (same,) = (d for d in result["differences"] if {d["a"], d["b"]} == {"one", "again"} and d["measure"] == "classify")
    assert same["value"] == 0 and not same["apart"]


def test_cells_side_by_side_make_the_same_bytes(made, tmp_path):
    file, out, *_ = made
    bertsmith.study(file, tmp_path / "out", jobs=2)
    assert kept(tmp_path / "out") == kept(out)


def survived(children, made, out, draw, kills, *more):
    """The study in `out`, killed so often at random and gone on with."""
    file, straight, *_ = made
    begun = time.monotonic()
    while kills:
        child = children.start("study", file, "--out", out, *more)
        time.sleep(draw.uniform(0, 12))
        kills -= child.kill() != 0
        if (out / "study.json").exists():  # it was faster
            shutil.rmtree(out)
        assert time.monotonic() < begun + 3000
    child = children.start("study", file, "--out", out, *more)
    assert child.wait(600) == 0, child.err
    assert kept(out) == kept(straight)


def test_a_study_that_was_killed_ends_with_the_same_bytes(children, made, tmp_path):
    survived(children, made, tmp_path / "out", random.Random(0), 1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("more", [(), ("--jobs", "2")], ids=["here", "side by side"])
def test_killed_twenty_times_it_ends_with_the_same_bytes(children, made, tmp_path, more):
    survived(children, made, tmp_path / "out", random.Random(1), 20, *more)


def test_a_plan_says_what_it_costs_and_launches_nothing(made, short, tasks, tmp_path):
    file, out, *_ = made
    found = bertsmith.study(file, tmp_path / "out", plan=True)
    assert found["cells"] == {"all": 8, "done": 0} and found["minutes"] > 0
    assert not (tmp_path / "out").exists()
    assert all(one["flops"] > 0 and one["parameters"] > 0 for one in found["members"])
    assert bertsmith.study(file, out, plan=True)["cells"] == {"all": 8, "done": 8}


def test_members_of_a_budget_of_operations_have_as_many_and_measure_once(short, tasks, tmp_path, monkeypatch):
    from bertsmith.training import cost

    wide = arm("wide", model__width=32, model__hidden=64)
    options = {
        "budget": {"flops": 1e8},
        "arm": [arm("one"), wide],
        "runs": {"threads": 1},
        "task": None,
        "tuning": None,
    }
    file = small(tmp_path / "study.toml", short, tasks, **options)
    narrow, wide = bertsmith.study(file, tmp_path / "out")["members"]
    assert narrow["steps"] > wide["steps"] > 3
    for one in (narrow, wide):
        assert abs(one["flops"] - 1e8) <= one["flops"] / one["steps"], "to within one update"
    monkeypatch.setattr(cost, "estimate", lambda *_, **__: pytest.fail("a study that goes on measures nothing"))
    shutil.rmtree(tmp_path / "out" / "cells")
    assert bertsmith.study(file, tmp_path / "out")["members"][0]["steps"] == narrow["steps"]


def test_minutes_are_measured_once_and_then_are_updates(short, tasks, tmp_path, monkeypatch):
    from bertsmith.training import cost

    options = {"budget": {"minutes": 0.001}, "runs": {"threads": 1}, "task": None, "tuning": None}
    file = small(tmp_path / "study.toml", short, tasks, **options)
    take = lambda seconds: (
        lambda recipe, *_, **__: cost.Cost(
            parameters=1, tokens=recipe.training.batch, flops=1.0, seconds=seconds, activations=0, memory=0, disk=0
        )
    )
    monkeypatch.setattr(cost, "estimate", take(0.01))
    steps = [one["steps"] for one in bertsmith.study(file, tmp_path / "out")["members"]]
    assert steps == [6, 6], "0.06 seconds of updates of 0.01"
    monkeypatch.setattr(cost, "estimate", take(0.001))
    shutil.rmtree(tmp_path / "out" / "cells")
    assert [one["steps"] for one in bertsmith.study(file, tmp_path / "out")["members"]] == steps


WRONG = {
    "recipe": ({"arm": [arm("a", "bort:tiny")]}, "arm.a: recipe 'bort:tiny': no member"),
    "size": ({"arm": [arm("a", "bert")]}, "arm.a: recipe: bert names no size"),
    "setting": ({"arm": [arm("a", model__laiers=3)]}, "arm.a: .*laiers"),
    "value": ({"arm": [arm("a", model__heads=3)]}, "arm.a: .*heads"),
    "part": (
        {"arm": [{**arm("a"), "parts": {"corruption.choose": "null"}}]},
        "arm.a: parts: corruption.choose: Corruption has no slot",
    ),
    "store too small": ({"arm": [arm("a", training__batch=10**9)]}, "arm.a: training.batch"),
    "warm-up": ({"arm": [arm("a", schedule__warmup=100)]}, "arm.a: schedule.warmup"),
    "twice": ({"arm": [arm("a"), arm("a")]}, "arm.a: stands there twice"),
    "no arm": ({"arm": None}, r"holds no \[\[arm\]\]"),
    "budget": ({"budget": {"steps": 3, "tokens": 4}}, "budget: give one of"),
    "hours": ({"budget": {"hours": 3}}, "budget: hours: unknown"),
    "method": ({"tuning": [{"name": "x", "method": "adaptor"}]}, "tuning.x: .*adaptor"),
    "settings of a method": ({"tuning": [{"name": "x", "set": {"lora.rank": 0}}]}, "tuning.x"),
    "minutes of a tuning": ({"tuning": [{"name": "x", "minutes": 3}]}, "tuning.x: minutes: unknown"),
    "seeds": ({"runs": {"seeds": 0}}, "runs: seeds: 0"),
    "halving": ({"halving": {"eta": 3}}, "halving: of 3 arms one goes on, and there are 2"),
    "shares": ({"tuning": [{"name": "x", "shares": "size"}]}, "tuning: shares: several tasks"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_carried_out_is_told_before_anything_is_launched(name, short, tasks, tmp_path):
    changes, said = WRONG[name]
    file = small(tmp_path / "study.toml", short, tasks, **changes)
    with pytest.raises(InputError, match=said):
        bertsmith.study(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_column_that_is_missing_is_told_by_its_task_and_a_head_that_does_not_fit_by_its_cell(short, tasks, tmp_path):
    odd = small(tmp_path / "a.toml", short, tasks, task=[task(tasks, columns={"text": "sentence"})])
    with pytest.raises(InputError, match=r"task\.classify: .*sentence"):
        bertsmith.study(odd, tmp_path / "out")
    odd = small(tmp_path / "b.toml", short, tasks, tuning=[{"name": "san", "set": {"head": "san"}}])
    with pytest.raises(InputError, match="cell one, san, classify: head: san: reads pairs"):
        bertsmith.study(odd, tmp_path / "out")
    assert not (tmp_path / "out").exists()


CHANGED = {
    "budget": ({"budget": {"tokens": 2000}}, 'budget.by: the study was begun with "steps", now it is "tokens"'),
    "arm": ({"arm": [arm("one", schedule__lr=0.1), arm("two", corruption__select__rate=0.4)]}, "arm.one.set"),
    "gone": ({"arm": [arm("one")]}, "arm.two: the study was begun with it, and it is gone"),
    "seeds": ({"runs": {"seeds": [5], "threads": 1, "curve": 2, "held_out": 64}}, "seeds: the study was begun with"),
    "tuning": ({"tuning": [{"name": "full", "steps": 5}]}, "tuning.full.length.steps: .* 4, now it is 5"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_file_that_changed_half_way_is_refused_by_the_field(name, made, short, tasks, tmp_path):
    changes, said = CHANGED[name]
    before = kept(made[1])
    with pytest.raises(InputError, match=said):
        bertsmith.study(small(tmp_path / "study.toml", short, tasks, **changes), made[1])
    assert kept(made[1]) == before


def test_data_that_changed_half_way_are_refused_by_their_name(copied, short, tasks, tmp_path):
    kind, train, dev = tasks["classify"]
    fewer = tmp_path / "train.tsv"
    fewer.write_text(train.read_text(encoding="utf-8").rsplit("\n", 2)[0] + "\n", encoding="utf-8")
    changed = small(tmp_path / "study.toml", short, tasks, task=[task({"classify": (kind, fewer, dev)})])
    with pytest.raises(InputError, match=r"task\.classify\.train: has other bytes"):
        bertsmith.study(changed, copied)


def test_a_loss_that_is_not_finite_ends_its_cell_alone(short, tasks, tmp_path):
    arms = [arm("one"), arm("wild", schedule__lr=1e30, schedule__clip=0.0, schedule__warmup=0.0)]
    runs = {"threads": 1, "curve": 2, "held_out": 64}
    result = bertsmith.study(small(tmp_path / "study.toml", short, tasks, arm=arms, runs=runs), tmp_path / "out")
    assert [name for name, _ in result["failed"]] == ["wild, seed 0"] and "finite" in result["failed"][0][1]
    assert [one["name"] for one in result["systems"]] == ["one"]


def test_losses_of_different_questions_are_never_compared(short, tasks, tmp_path):
    arms = [
        arm("masks"),
        arm("more", corruption__select__rate=0.4),
        arm("left", "gpt:tiny"),
        arm("found", "electra:tiny"),
    ]
    options = {"arm": arms, "task": None, "tuning": None, "runs": {"threads": 1, "curve": 2, "held_out": 64}}
    result = bertsmith.study(small(tmp_path / "study.toml", short, tasks, **options), tmp_path / "out")
    assert len({one["loss"] for one in result["members"]}) == 4
    measures = {one["name"] for one in result["measures"]}
    assert measures == {"held-out text, likelihood", "held-out text, pseudo-likelihood"}
    pairs = {(one["a"], one["b"]) for one in result["differences"]}
    assert pairs == {("masks", "more")}, (
        "a likelihood is not held against a pseudo-likelihood, nor is a detector's generator"
    )
    assert result["pick"]["best"] is None and "Nothing ranks these members" in result["says"][0]
    page = (tmp_path / "out" / "study.html").read_text(encoding="utf-8")
    assert "are not compared by them" in page and "found says no likelihood of held-out text" in page


def test_members_that_stay_behind_are_not_gone_on_with(short, tasks, tmp_path):
    arms = [arm(name, schedule__lr=lr) for name, lr in (("a", 1e-3), ("b", 2e-3), ("c", 4e-3), ("d", 8e-3))]
    runs = {"threads": 1, "curve": 2, "held_out": 64}
    options = {"arm": arms, "budget": {"steps": 12}, "runs": runs, "halving": {"eta": 2}}
    result = bertsmith.study(small(tmp_path / "study.toml", short, tasks, **options), tmp_path / "out")
    assert [(one["share"], len(one["arms"])) for one in result["rounds"]] == [(0.25, 4), (0.5, 2), (1.0, 1)]
    assert [one["steps"] for one in result["members"]] == [3] * 4 + [6] * 2 + [12]
    first = {one["member"].split(",")[0]: one["scores"]["classify"]["value"] for one in result["systems"][:4]}
    ranked = sorted(first, key=lambda name: -first[name])
    assert set(result["rounds"][1]["arms"]) == set(ranked[:2])
    assert result["pick"]["budget"] == 6, "where two could be compared last"


def test_fresh_weights_and_all_tasks_together_are_read_as_they_are_asked(short, tasks, tmp_path):
    arms = [arm("trained"), {**arm("fresh"), "scratch": True}]
    both = [task(tasks, name) for name in ("classify", "pairs")]
    both = [{key: value for key, value in one.items() if key not in ("batch", "length")} for one in both]
    how = {"steps": 3, "set": {"batch": 8, "length": 96}}
    tunings = [{"name": "each", **how}, {"name": "together", "shares": "equal", **how}]
    runs = {"threads": 1, "curve": 2, "held_out": 64}
    file = small(tmp_path / "study.toml", short, tasks, arm=arms, task=both, tuning=tunings, runs=runs)
    result = bertsmith.study(file, tmp_path / "out")
    assert {one["name"] for one in result["systems"]} == {
        f"{a} / {b}" for a in ("trained", "fresh") for b in ("each", "together")
    }
    for system in result["systems"]:
        assert {"classify", "pairs", "mean of the tasks"} <= system["scores"].keys()
    fresh = next(one for one in result["members"] if one["name"] == "fresh")
    assert fresh["flops"] == 0 and fresh["steps"] == 1
    configs = [json.loads(path.read_text()) for path in (tmp_path / "out").glob("cells/*/run/config.json")]
    fresh = [
        config["task"]["scratch"] for config in configs if config["kind"] == "finetune" and "scratch" in config["task"]
    ]
    assert sorted(fresh) == [False] * 3 + [True] * 3, "on each task, and on both together"


def test_weights_of_fine_tunings_go_unless_they_are_asked_for(made, short, tasks, tmp_path):
    _, out, *_ = made
    kinds = {key: json.loads((out / "cells" / key / "cell.json").read_text())["asked"]["kind"] for key in keys(out)}
    assert {kinds[key]: (out / "cells" / key / "run" / "steps").is_dir() for key in keys(out)} == {
        "pretrain": True,
        "finetune": False,
    }


def test_the_likelihood_of_held_out_text_is_that_of_score(short, tmp_path):
    recipe = from_dict(json.loads(json.dumps(_tree("gpt:tiny"))))
    bertsmith.pretrain(recipe, short, tmp_path / "run", steps=3, threads=1)
    found, resamples = likelihood(tmp_path / "run", short, 10_000, (), 1)
    asks = Likelihood(bertsmith.load(tmp_path / "run"), method="causal", on_long="window", stride=None, join=" ")
    texts = documents(short, 10_000, asks.given)
    assert found["documents"] == len(texts) == len(short.held_out.documents) - 1
    asked = [short.tokenizer.backend.decode(text.tokens.tolist()) for text in texts]
    again = [ids for ids, _ in short.tokenizer.encode(asked)]
    same = [i for i, text in enumerate(texts) if np.array_equal(again[i], text.tokens)]
    assert same, "some text comes back as it was"
    values = [value[text.asked :].sum() for value, text in zip(asks.values(texts, str), texts, strict=True)]
    rows = bertsmith.score(tmp_path / "run", [asked[i] for i in same])["texts"]
    assert [row["logprob"] for row in rows] == pytest.approx([values[i] for i in same], rel=1e-5)
    nats = -sum(values) / sum(len(text.tokens) - text.asked for text in texts)
    tokens = sum(split["tokens"] for split in short.manifest["splits"].values())
    each = short.manifest["account"]["bytes"]["used"] / tokens
    assert found["bits_per_byte"] == pytest.approx(nats / np.log(2) / each)
    assert resamples["bits_per_byte"].std() > 0


def _tree(recipe):
    return to_dict(override(find(recipe), TINY))


def test_an_executor_that_is_not_installed_is_told_with_its_extra(made, tmp_path, monkeypatch):
    monkeypatch.setattr(executors, "find_spec", lambda name: None)
    for name in ("slurm", "ray"):
        with pytest.raises(InputError, match=rf"is not installed; pip install 'bertsmith\[{name}\]'"):
            bertsmith.study(made[0], tmp_path / "out", executor=name)
    with pytest.raises(InputError, match="executor='pbs': unknown"):
        bertsmith.study(made[0], tmp_path / "out", executor="pbs")


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["slurm", "ray"])
def test_a_cluster_makes_the_same_bytes(made, short, tasks, tmp_path, executor):
    pytest.importorskip({"slurm": "submitit", "ray": "ray"}[executor])
    given = {"slurm": {"cluster": "local", "timeout_min": 10}, "ray": {"num_cpus": 2, "include_dashboard": False}}
    file = small(tmp_path / "study.toml", short, tasks, **{executor: given[executor]})
    bertsmith.study(file, tmp_path / "out", jobs=2, executor=executor)
    assert kept(tmp_path / "out") == kept(made[1])


@pytest.mark.parametrize("name", names())
def test_every_arm_of_a_template_is_a_recipe_that_reads_text(name, short, tasks, tmp_path):
    study = read_study(_template(name, short, tasks, tmp_path))
    assert len(study.arms) * len(study.tunings) * len(study.budgets) > 1
    trees = set()
    for one in study.arms:
        recipe = override(raw(one, ()), ["layout.length=64"]).with_vocab(short.vocab)
        trees.add(json.dumps([to_dict(recipe), one.scratch]))
        assert next(iter(Loader(feed_of(recipe, short, seed=0)))).batches
    assert len(trees) == len(study.arms), "no two arms are the same"


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", names())
def test_a_template_plans(name, store, tasks, tmp_path):
    found = bertsmith.study(_template(name, store, tasks, tmp_path), tmp_path / "out", plan=True)
    assert found["cells"]["all"] > 2 and found["minutes"] > 0


def _template(name, store, tasks, folder):
    text = template(name).replace('store = "store"', f'store = "{store.path}"')
    for label, kind in (("another-", "pairs"), ("", "classify")):
        for part, path in zip(("train", "dev"), tasks[kind][1:], strict=True):
            text = text.replace(f'"{label}{part}.tsv"', json.dumps(str(path)))
    (folder / "study.toml").write_text(text, encoding="utf-8")
    return folder / "study.toml"


def test_a_command_says_the_pick_with_its_evidence(children, made):
    file, out, result, _ = made
    child = children.start("study", file, "--out", out, "--pick", "--json")
    assert child.wait(300) == 0, child.err
    assert json.loads(child.out) == json.loads(json.dumps(result["pick"])) and child.err == ""
    child = children.start("study", "--template", "nothing")
    assert child.wait(300) == 2 and child.err.count("\n") == 1 and "known: bart-noises" in child.err


def test_commands_say_the_plan_and_the_power_of_what_stands(made, capsys):
    file, out, *_ = made
    assert cli.run(["study", str(file), "--out", str(out), "--plan"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3].startswith("one ") and lines[-3].split()[2] == "6" and "0 of 8 cells to make" in lines[-1]
    assert cli.run(["study", str(file), "--out", str(out), "--power", "10"]) == 0
    said = capsys.readouterr().out
    assert "10 points on classify" in said and "texts by seeds: 2:" in said
    assert cli.run(["study", str(file), "--out", str(out), "--pick"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "over texts and seeds" in said[-1] and "less" in said[-1]


def test_power_of_a_study_that_has_not_begun_makes_a_pilot_of_its_own_cells(short, tasks, tmp_path):
    arms = [arm("one"), arm("two", corruption__select__rate=0.4), arm("three", schedule__lr=5e-4)]
    runs = {"seeds": 3, "threads": 1, "curve": 2, "held_out": 64}
    file = small(tmp_path / "study.toml", short, tasks, arm=arms, runs=runs)
    found = bertsmith.study(file, tmp_path / "out", power=10.0)
    assert [*found["measures"]] == ["classify"] and len(keys(tmp_path / "out")) == 8
    plan = bertsmith.study(file, tmp_path / "out", plan=True)
    assert [one["done"] for one in plan["members"]] == [4, 4, 0]


def test_the_page_is_self_contained_and_begins_with_the_answer(made):
    _, out, result, _ = made
    page = (out / "study.html").read_text(encoding="utf-8")
    assert "http" not in page and "<script" not in page
    assert page.index(result["says"][0].split(":")[0]) < page.index("<svg")
    assert page.count("<svg") >= 3


def test_curves_are_those_of_the_runs(made):
    _, out, result, _ = made
    run = result["members"][0]["runs"][0]
    lines = [json.loads(line) for line in (out / "cells" / run["cell"] / "run" / METRICS).read_text().splitlines()]
    assert run["curve"] == [
        [line["tokens"], {"token": line["evaluation"]["token"]["loss"]}] for line in lines if "evaluation" in line
    ]
    assert len(run["curve"]) == 2


def test_a_study_of_sources_prepares_them_once(corpus, tasks, tmp_path):
    (tmp_path / "text.txt").write_bytes(corpus.read_bytes()[:60_000])
    data = {"sources": "text.txt", "tokenizer": "wordpiece:500", "lowercase": True, "holdout": 0.2}
    options = {"data": data, "task": None, "tuning": None, "runs": {"threads": 1, "curve": 1, "held_out": 64}}
    file = written(
        tmp_path / "study.toml", **{**options, "arm": [arm("one")], "budget": {"steps": 2}} | {"task": [], "tuning": []}
    )
    first = bertsmith.study(file, tmp_path / "out")
    made = (tmp_path / "out" / "store" / "manifest.json").stat().st_mtime_ns
    assert bertsmith.study(file, tmp_path / "out") == first
    assert (tmp_path / "out" / "store" / "manifest.json").stat().st_mtime_ns == made
    (tmp_path / "text.txt").write_bytes(corpus.read_bytes()[:50_000])
    with pytest.raises(InputError, match=r"data\.sources\.0: has other bytes"):
        bertsmith.study(file, tmp_path / "out")
