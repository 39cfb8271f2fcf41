"""Several tasks at once, from a file: `multitask`, and `RUN:name` for every task of such a run."""

import json

import pytest
import torch
from tests.runs import Breaking, lines, same

import bertsmith
from bertsmith.errors import InputError, Interrupted

pytestmark = pytest.mark.usefixtures("one_thread")
FAST = ("batch=8", "lr=0.003", "checkpoint=5")


def table(name: str, keys: dict) -> str:
    said = [f"{key} = {json.dumps(str(value) if hasattr(value, 'parts') else value)}" for key, value in keys.items()]
    return "\n".join([f"[{name}]", *said, ""])


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
    return found | {"pairs": {**found["pairs"], "on_long": "window"}}


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
