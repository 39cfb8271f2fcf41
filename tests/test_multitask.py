"""Several tasks at once, from a file: `multitask`, and `RUN:name` for every task of such a run."""

import json

import pytest
import torch
from tests.runs import Breaking, lines, same
from tests.test_startup import started
from tests.workers import outcome, work

import bertsmith
from bertsmith.data.mixture import Weighted
from bertsmith.downstream.labelled_files import Files
from bertsmith.downstream.tasks_file import OFFERED, read_tasks
from bertsmith.errors import InputError, Interrupted

pytestmark = pytest.mark.usefixtures("one_thread")
FAST = ("batch=8", "lr=0.003", "checkpoint=5")


def shown(value) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {shown(each)}' for key, each in value.items())}}}"
    return json.dumps(str(value) if hasattr(value, "parts") else value)


def table(name: str, keys: dict) -> str:
    return "\n".join([f"[{name}]", *(f"{key} = {shown(value)}" for key, value in keys.items()), ""])


def file_of(folder, tasks: dict, **mixture):
    """A tasks.toml; `tasks`: {name: its keys}."""
    folder.mkdir(exist_ok=True)
    tables = [table(f"task.{name}", keys) for name, keys in tasks.items()]
    (folder / "tasks.toml").write_text("\n".join([table("mixture", mixture), *tables]), encoding="utf-8")
    return folder / "tasks.toml"


@pytest.fixture(scope="module")
def given(tasks) -> dict:
    """{name: keys of its table}."""
    names = ("classify", "pairs", "regress", "tag")
    found = {name: dict(zip(("task", "train", "dev"), tasks[name], strict=True)) for name in names}
    return found | {"pairs": {**found["pairs"], "on_long": "window", "head": "san", "san": {"steps": 2}}}


def tune(model, file, out, **options):
    options = {"seed": 3, "threads": 1, "set": FAST, **options}
    return bertsmith.multitask(model, file, out, **options)


@pytest.fixture(scope="module")
def many(pretrained, given, tmp_path_factory):
    """(run, result) of four tasks, two epochs."""
    folder = tmp_path_factory.mktemp("many")
    found = tune(pretrained, file_of(folder, given), folder / "run", epochs=2)
    return folder / "run", found


def test_every_task_of_a_run_has_its_scores_and_their_mean_chooses_the_step(many, given):
    run, result = many
    assert result["tasks"].keys() == given.keys() and result["chosen_by"] == "mean"
    main = [task["dev"][task["chosen_by"]]["value"] for task in result["tasks"].values()]
    assert result["dev"]["mean"]["value"] == pytest.approx(sum(main) / 4, abs=1e-6)
    assert result["dev"]["mean"]["low"] <= result["dev"]["mean"]["value"] <= result["dev"]["mean"]["high"]
    best = max(result["epochs"], key=lambda epoch: epoch["mean"])
    assert result["best"] == best["step"] and len(result["epochs"]) == 2
    assert bertsmith.verify(run)["kind"] == "run"


def test_a_task_of_a_run_predicts_evaluates_and_compares_by_its_name(many, given):
    run, result = many
    for name, keys in given.items():
        found = bertsmith.evaluate(f"{run}:{name}", keys["dev"])
        assert {score: s["value"] for score, s in found.items()} == pytest.approx(
            {score: s["value"] for score, s in result["tasks"][name]["dev"].items()}, abs=1e-6
        )
        assert len(bertsmith.predict(f"{run}:{name}", keys["dev"])) == result["tasks"][name]["texts"]["dev"]["texts"]
    apart = bertsmith.compare(f"{run}:classify", f"{run}:classify")
    assert apart["difference"]["accuracy"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    for verb in (lambda: bertsmith.evaluate(run, given["tag"]["dev"]), lambda: bertsmith.compare(run, run)):
        with pytest.raises(InputError, match=r"was tuned to several tasks; name one: .*run:classify or .*run:pairs"):
            verb()
    with pytest.raises(InputError, match="no task 'clasify'; did you mean 'classify'"):
        bertsmith.load(f"{run}:clasify")


def test_tuning_goes_on_from_a_task_with_its_head(many, given, tasks, tmp_path):
    run, _ = many
    said: list[str] = []
    keys = given["classify"]
    options = {"threads": 1, "steps": 1, "set": (*FAST, "lr=1e-30"), "say": said.append}
    bertsmith.finetune(f"{run}:classify", **keys, out=tmp_path / "kept", **options)
    before, after = bertsmith.load(f"{run}:classify").member, bertsmith.load(tmp_path / "kept").member
    for name, tensor in before.state_dict().items():
        assert torch.allclose(tensor, after.state_dict()[name], atol=1e-6), name
    assert "the head of classify goes on: it was learned for the same labels" in said
    kept = json.loads((tmp_path / "kept" / "config.json").read_text())["from"]
    assert kept["head"] is True and kept["path"].endswith(":classify")
    said.clear()
    bertsmith.finetune(run, **keys, out=tmp_path / "found", **options)
    assert any("head of classify goes on" in line for line in said), "the run has one task of these labels"
    said.clear()
    labels = {**keys, "labels": ("named", "plain", "other")}
    bertsmith.finetune(run, **labels, out=tmp_path / "more", **options)
    assert any("the head of none of its tasks goes on: none has this kind and these labels" in line for line in said)
    with pytest.raises(InputError, match="was tuned with other tasks; a surface is of a fine-tuning to one"):
        bertsmith.surface(f"{run}:classify")
    said.clear()
    bertsmith.finetune(f"{run}:classify", **given["tag"], out=tmp_path / "other", **options)
    assert not any("head of" in line for line in said), "an intermediate task leaves its trunk"


@pytest.mark.parametrize("each", ["one", "all"])
def test_a_tuning_to_several_tasks_resumes_to_the_bit(pretrained, given, tmp_path, each):
    file = file_of(tmp_path / "file", given, shares="annealed", each=each)
    tune(pretrained, file, tmp_path / "straight", epochs=2)
    last = lines(tmp_path / "straight")[-1]["step"]
    for how, at in (("kill", 3), ("stop", last // 2), ("kill", last - 2)):
        with pytest.raises(KeyboardInterrupt if how == "kill" else Interrupted):
            tune(pretrained, file, tmp_path / "broken", epochs=2, resume=True, progress=Breaking(how, at))
    tune(pretrained, file, tmp_path / "broken", resume=True, epochs=2)
    same(tmp_path / "straight", tmp_path / "broken")


def test_the_head_of_one_task_learns_nothing_from_another(pretrained, given, tmp_path):
    two = {"classify": given["classify"], "tag": {**given["tag"], "length": 24}}
    for steps in (1, 4):
        file = file_of(tmp_path / f"file{steps}", two)
        tune(pretrained, file, tmp_path / f"run{steps}", steps=steps, shares=Weighted(weights=(1, 0)))
    one, four = (bertsmith.load(f"{tmp_path}/run{steps}:tag").member.state_dict() for steps in (1, 4))
    assert bertsmith.load(f"{tmp_path}/run1:tag").length() == 24
    heads = [name for name in one if name.startswith("objective.")]
    assert heads and all(torch.equal(one[name], four[name]) for name in heads)
    assert not torch.equal(one["model.layers.0.attention.out.weight"], four["model.layers.0.attention.out.weight"])


def test_text_is_read_beside_a_task_with_the_loss_of_pre_training(pretrained, short, store, given, tmp_path):
    file = file_of(
        tmp_path / "file", {"classify": given["classify"], "text": {"data": short.path, "weight": 0.5}}, shares="equal"
    )
    found = tune(pretrained, file, tmp_path / "run", epochs=1)
    terms = {term for line in lines(tmp_path / "run") for term, loss in line["terms"].items() if loss is not None}
    assert terms == {"classify.label", "text.token", "text.pair"}
    evaluation = lines(tmp_path / "run")[-1]["evaluation"]
    assert {"classify.label", "text.token"} <= evaluation.keys() and found["dev"].keys() == {
        "mean",
        "classify.accuracy",
    }
    assert bertsmith.fill(tmp_path / "run", "a [MASK] word", top=1)["masks"], "the run itself has the heads of its text"
    rows = found["tasks"]["classify"]["texts"]["train"]["texts"]
    steps = lines(tmp_path / "run")[-1]["step"]
    assert steps == pytest.approx(2 * rows / 8, abs=2), "an epoch is the task's, and every other update reads text"
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    with pytest.raises(InputError, match=r"text: data: .*: another tokenizer than"):
        tune(
            pretrained,
            file_of(tmp_path / "wrong", {"a": given["classify"], "text": {"data": store.path}}),
            tmp_path / "x",
        )
    (weight,) = {part["weight"] for part in config["recipe"]["objective"]["parts"] if part["feed"] == "text"}
    assert weight == 0.5
    with pytest.raises(InputError, match=r"tasks\.toml: text: data: .* has no heads of a pre-training to go on with"):
        tune(f"{tmp_path}/run:classify", file, tmp_path / "other")


def test_tasks_whose_answers_are_written_share_the_heads_of_pre_training(pretrained, given, tmp_path):
    keys = given["classify"]
    written = {**keys, "task": "text2text", "metric": "exact"}
    other = {**written, "target": "it is {label}"}
    file = file_of(tmp_path / "file", {"plain": keys, "written": written, "other": other})
    found = tune(pretrained, file, tmp_path / "run", steps=4)
    assert found["dev"].keys() == {"mean", "plain.accuracy", "written.exact", "other.exact"}
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    parts = {part["feed"]: part for part in config["recipe"]["objective"]["parts"]}
    assert parts["other"]["of"] == "written" and parts["other"]["objective"] is None
    said = bertsmith.predict(f"{tmp_path}/run:other", keys["dev"])
    assert len(said) == found["tasks"]["other"]["texts"]["dev"]["texts"] and isinstance(said[0]["text"], str)


def test_several_seeds_have_mean_and_spread_and_the_best_is_taken(pretrained, given, tmp_path):
    file = file_of(tmp_path / "file", {name: given[name] for name in ("classify", "regress")})
    found = tune(pretrained, file, tmp_path / "run", steps=3, seeds=2, method="adapter")
    assert found["over_seeds"].keys() == {"mean", "classify.accuracy", "regress.pearson"}
    means = [result["dev"]["mean"]["value"] for result in found["results"]]
    assert found["best_seed"] == 3 + means.index(max(means)) and found["seeds"] == [3, 4]
    score = bertsmith.evaluate(f"{tmp_path}/run:regress", given["regress"]["dev"])["pearson"]["value"]
    best = next(r for r in found["results"] if r["seed"] == found["best_seed"])
    assert score == pytest.approx(best["tasks"]["regress"]["dev"]["pearson"]["value"], abs=1e-6)
    assert best["trained"]["parameters"] < best["trained"]["of"]
    bertsmith.report(tmp_path / "run", out=tmp_path / "report.html")
    assert "regress.pearson" in (tmp_path / "report.html").read_text()
    apart = bertsmith.compare(f"{tmp_path}/run:classify", f"{tmp_path}/run:classify")
    assert apart["seeds"] == {"a": 2, "b": 2}


def test_two_processes_share_a_mixture(children, pretrained, given, tmp_path):
    file = file_of(tmp_path / "file", {name: given[name] for name in ("classify", "tag")})
    sets = ["batch=8", "dropout=0", "precision=float32"]
    alone = tune(pretrained, file, tmp_path / "one", steps=6, set=sets)
    main = lambda found: {name: score["value"] for name, score in found["dev"].items()}
    asked = {"name": "two", "model": str(pretrained), "tasks": str(file), "set": sets, "options": {"steps": 6}}
    work(children, tmp_path, [asked])
    shared = outcome(tmp_path, "two")
    assert shared["code"] == 0, shared
    assert main(shared["result"]) == pytest.approx(main(alone), abs=1e-6)
    losses, shared = ([line["loss"] for line in lines(tmp_path / name)] for name in ("one", "two"))
    assert shared == pytest.approx(losses, rel=1e-6)


def test_tasks_given_in_python_need_no_file(pretrained, given, tmp_path):
    named = {name: Files(**given[name]) for name in ("classify", "regress")}
    found = tune(pretrained, named, tmp_path / "run", steps=2, shares="equal")
    assert found["tasks"].keys() == named.keys()


ROWS = {"task": "classify", "train": "train.tsv", "dev": "dev.tsv"}


@pytest.mark.parametrize(
    "tables, says",
    [
        ({"a": {**ROWS, "train": "none.tsv"}}, r"tasks\.toml: task\.a: train: .*none\.tsv: no such file; paths are taken from the folder"),
        ({"a": {**ROWS, "dev": "none.tsv"}}, r"task\.a: dev: .*none\.tsv: no such file"),
        ({"a": {k: v for k, v in ROWS.items() if k != "dev"}}, r"task\.a: dev: is missing; a share of the training file, such as 0\.1"),
        ({"a": {k: v for k, v in ROWS.items() if k != "task"}}, r"task\.a: task: is missing"),
        ({"a": {**ROWS, "task": "clasify"}}, r"task\.a: task='clasify': unknown; did you mean 'classify'"),
        ({"a": {**ROWS, "column": "x"}}, r"task\.a: column: unknown; did you mean 'columns'"),
        ({"a": {**ROWS, "weight": 0}}, r"task\.a: weight: 0: a number above 0 is wanted"),
        ({"a": {**ROWS, "weight": "much"}}, r"task\.a: weight: 'much': a number above 0"),
        ({"a": {**ROWS, "lenght": 64}}, r"task\.a: lenght: unknown; did you mean 'length'"),
        ({"a": {**ROWS, "head": "san"}}, r"tasks\.toml: a: head: san: reads pairs, and the training file has none"),
        ({"a": {**ROWS, "thresholds": "each"}}, r"tasks\.toml: a: thresholds: task='classify' has none"),
        ({"a": {**ROWS, "labels": 3}}, r"task\.a: labels: 3: a list is wanted"),
        ({"a": {**ROWS, "header": "no"}}, r"task\.a: header: 'no': true or false"),
        ({"a": {**ROWS, "dev": "train.tsv"}}, r"tasks\.toml: a: .* dev holds the same bytes as train; a score"),
        ({"a": ROWS, "b": {**ROWS, "train": "dev.tsv", "dev": 0.5}}, r"tasks\.toml: a: dev holds the same bytes as train of b"),
        ({"a.b": ROWS}, r"'b': is missing|task\.a: b: unknown"),
        ({"1st": ROWS}, r"'1st' is not a name"),
        ({"a": ROWS, "text": {"data": "store"}}, r"task\.text: data: .*store: no such store"),
        ({"a": ROWS, "text": {"data": ".", "dev": "x"}}, r"task\.text: dev: unknown"),
        ({"a": ROWS, "b": {**ROWS, "data": "."}}, r"task\.b: data, task, train, dev: stand there together; a table has a text \(data\) or labelled rows"),
        ({'""': ROWS}, r"tasks\.toml: task\.'': '' is not a name: letters"),
        ({"a": {**ROWS, "train": "."}}, r"task\.a: train: .*: is a folder, where a file is wanted, such as .*dev\.tsv"),
        ({"a": {**ROWS, "length": 9999}}, r"tasks\.toml: a: length: 9999 is more than the model's 512 positions"),
        ({}, "holds no task; "),
    ],
)  # fmt: skip
def test_what_a_file_of_tasks_cannot_say_is_told_in_one_line(pretrained, tmp_path, tables, says):
    file = rows_beside(file_of(tmp_path / "file", tables))
    with pytest.raises(InputError, match=says) as error:
        tune(pretrained, file, tmp_path / "run", steps=1)
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "mixture, options, says",
    [
        ({"shares": "siez"}, {}, r"mixture: shares: 'siez': unknown; did you mean 'size'"),
        ({"shares": "equal", "cap": 3}, {}, r'mixture: cap: shares = "equal" have none; "size" have'),
        ({"shares": {"a": 1}}, {}, r"mixture: shares: b has none; give 2 numbers"),
        ({"shares": {"a": 0, "b": 0}}, {}, r"mixture: shares: a = 0: is never learned; take its table out"),
        ({"shares": {"a": 1, "c": 1}}, {}, r"mixture: shares: c: unknown; known: a, b"),
        ({"each": "al"}, {}, r"mixture: each: 'al': is neither 'one' nor 'all'"),
        ({"temprature": 2}, {}, r"mixture: temprature: unknown; did you mean 'temperature'"),
        ({"shares": "annealed"}, {"minutes": 1.0, "steps": None}, r"annealed ones go by epochs, and minutes do not say how many; epochs=N does"),
        ({}, {"method": "frozen"}, "method='frozen': heads over a trunk that stays"),
        ({}, {"set": ["thresholds=each"]}, r"set=\{'thresholds': …\}: none of these tasks has it"),
        ({}, {"set": ["auxiliary=0.5"]}, "a table with data = STORE reads text beside"),
        ({}, {"set": ["lrr=1"]}, "did you mean 'lr'"),
        ({}, {"from_": "x"}, "from_: the weights are those of the MODEL"),
    ],
)  # fmt: skip
def test_mixtures_that_do_not_fit_are_told_in_one_line(pretrained, tmp_path, mixture, options, says):
    file = rows_beside(file_of(tmp_path / "file", {"a": ROWS, "b": ROWS}, **mixture))
    with pytest.raises(InputError, match=says) as error:
        tune(pretrained, file, tmp_path / "run", **{"steps": 1, **options})
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


def rows_beside(file):
    for name, word in (("train", "list"), ("dev", "tuple")):
        rows = [f"the {word} number {i}\t{'odd' if i % 2 else 'even'}" for i in range(12)]
        (file.parent / f"{name}.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    return file


def test_two_tasks_of_one_name_and_what_is_no_toml_are_told_by_their_line(pretrained, tmp_path):
    twice = '[task.rte]\ntask = "classify"\n[task.rte]\ntask = "tag"\n'
    for text, says in (
        (twice, r"tasks\.toml:3: task\.rte: stands there twice; each task has a name, and its head, of its own"),
        ("[task.rte]\ntask = \n", r"tasks\.toml:2: is not TOML: Invalid value"),
        ("[tasks.rte]\n", r"tasks\.toml: tasks: unknown; did you mean 'task'"),
        ("task = 3\n", "holds no task"),
    ):
        (tmp_path / "tasks.toml").write_text(text)
        with pytest.raises(InputError, match=says):
            tune(pretrained, tmp_path / "tasks.toml", tmp_path / "run")
    for path, says in (
        (tmp_path / "none.toml", "no such file; a file of tasks"),
        (tmp_path, "is a folder; a file of tasks"),
    ):
        with pytest.raises(InputError, match=says):
            tune(pretrained, path, tmp_path / "run")


def test_mistakes_about_tasks_load_no_torch(pretrained, tmp_path):
    file = rows_beside(file_of(tmp_path / "file", {"a": {**ROWS, "weight": 0}}))
    good = rows_beside(file_of(tmp_path / "good", {"a": ROWS}))
    missing = ["multitask", tmp_path / "none", good, "--out", tmp_path / "run"]
    assert started(["multitask", pretrained, file, "--out", tmp_path / "run"], missing, code=2) == ""


def test_one_task_of_a_run_is_verified_with_it_and_what_is_none_is_told(many, tmp_path):
    run, _ = many
    assert bertsmith.verify(f"{run}:pairs") == bertsmith.verify(run)
    for name, says in (
        ("pears", "no task 'pears'; did you mean 'pairs'"),
        ("", "no name stands behind the colon"),
        ("1st", "'1st' is no name of a task"),
    ):
        for ask in (bertsmith.verify, bertsmith.load):
            with pytest.raises(InputError, match=says):
                ask(f"{run}:{name}")
    with pytest.raises(InputError, match="a report is of all tasks of a run: "):
        bertsmith.report([f"{run}:pairs"], tmp_path / "page.html")


@pytest.mark.parametrize(
    ("name", "more", "mixture", "says"),
    [
        ("A", {}, {}, "task: a and A: differ only in case, and would be one file on some systems; rename one"),
        ("b", {"dev": True}, {}, "task.b: dev: true: a path is wanted, or a share of the training file, such as 0.1"),
        ("b", {}, {"cap": 0}, "mixture: cap: 0 must be a number above 0"),
        ("b", {}, {"shares": {"a": 1, "b": -1}}, "mixture: shares: b = -1: a number above 0 is wanted"),
    ],
)
def test_a_file_of_tasks_is_told_by_the_names_that_stand_in_it(name, more, mixture, says, given, tmp_path):
    file = file_of(tmp_path, {"a": given["classify"], name: given["classify"] | more}, **mixture)
    with pytest.raises(InputError) as raised:
        read_tasks(file)
    assert says in str(raised.value)
    assert "margin" not in OFFERED and "head" in OFFERED
