"""Cures of small tasks: fresh layers at the top, averages of weights, other losses of classes."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.runs import same, saved, small
from tests.test_tuning_runs import broken_off

import bertsmith
from bertsmith.errors import InputError
from bertsmith.training.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")


def test_layers_at_the_top_begin_afresh_and_the_others_as_they_were(tune_by, short, tmp_path):
    recipe = small("training.precision=float32", "model.layers=3")
    bertsmith.pretrain(recipe, short, tmp_path / "model", steps=2, threads=1)
    tune_by(tmp_path / "run", "full", model=tmp_path / "model", sets=("reinit=2", "lr=1e-9"), epochs=1)
    before, after = saved(tmp_path / "model"), saved(tmp_path / "run")
    near = {name for name in before.keys() & after.keys() if torch.allclose(before[name], after[name], atol=1e-6)}
    matrices = {n for n in before if n.startswith("model.") and before[n].ndim > 1}
    assert matrices - near == {n for n in matrices if n.startswith(("model.layers.1.", "model.layers.2."))}
    ours, theirs = after["objective.label.pooler.dense.weight"], before["objective.pair.pooler.dense.weight"]
    assert not torch.allclose(ours, theirs, atol=1e-3), "the pooler, too"
    for options, says in (
        ({"sets": ("reinit=4",)}, "reinit: 4: the model has 3 layers; lower it"),
        ({"sets": ("reinit=1",), "method": "lora"}, "reinit.*method='lora': fresh layers at the top of a trunk"),
        ({"sets": ("reinit=1",), "scratch": True}, "reinit.*scratch=True: fresh layers"),
    ):
        with pytest.raises(InputError, match=says):
            tune_by(tmp_path / "no", options.pop("method", "full"), model=tmp_path / "model", **options)


def weights_at(run: Path, step: int, name: str = "model") -> dict[str, torch.Tensor]:
    return load_file(Run(run).step(step) / f"{name}.safetensors")


def test_a_moving_average_is_what_is_examined_and_saved(tune_by, tasks, tmp_path):
    sets = ("ema=0.9", "checkpoint=1", "precision=float32")
    seen: list[dict[str, torch.Tensor]] = []

    def look(step: int, *_: object) -> None:
        if step > 1:
            seen.append(weights_at(tmp_path / "run", step - 1, "averaged"))

    result = tune_by(tmp_path / "run", "full", sets=sets, epochs=1, progress=look)
    plain = tune_by(tmp_path / "plain", "full", sets=sets[1:], epochs=1)
    assert result["epochs"][0]["training_loss"] == plain["epochs"][0]["training_loss"], "learning knows nothing of it"
    assert result["epochs"][0]["loss"] != plain["epochs"][0]["loss"]
    name, last = "objective.label.out.weight", Run(tmp_path / "run").steps()[-1]
    assert torch.equal(
        weights_at(tmp_path / "run", last, "averaged")[f"weights.{name}"], weights_at(tmp_path / "plain", last)[name]
    )
    weights = [one[f"weights.{name}"] for one in seen] + [weights_at(tmp_path / "plain", last)[name]]
    average = weights_at(tmp_path / "run", last - 1)[name]
    share = 1 - min(0.9, (1 + last) / (10 + last))
    assert torch.allclose(
        average + share * (weights[-1] - average), weights_at(tmp_path / "run", last)[name], atol=1e-7
    )
    assert bertsmith.evaluate(tmp_path / "run", tasks["classify"][2]) == result["dev"]


def test_the_mean_of_the_last_exams_is_what_is_examined_and_saved(tune_by, tasks, tmp_path):
    tune_by(tmp_path / "plain", "full", sets=("precision=float32",), epochs=3)
    at = [9, 18, 27]
    result = tune_by(tmp_path / "run", "full", sets=("last=2", "precision=float32"), epochs=3)
    assert [epoch["step"] for epoch in result["epochs"]] == at
    name = "objective.label.out.weight"
    held = weights_at(tmp_path / "run", 27, "averaged")
    mean = (held[f"0.{name}"] + held[f"1.{name}"]) / 2
    assert torch.equal(weights_at(tmp_path / "run", 27)[name], mean)
    assert torch.equal(held[f"1.{name}"], weights_at(tmp_path / "plain", 27)[name]) and f"2.{name}" not in held
    assert bertsmith.evaluate(tmp_path / "run", tasks["classify"][2]) == result["dev"]


@pytest.mark.parametrize("method, sets", [("full", ("ema=0.9",)), ("full", ("last=2",)), ("adapter", ("ema=0.9",))])
def test_a_run_with_an_average_that_was_broken_off_ends_as_the_one_that_was_not(tune_by, tmp_path, method, sets):
    straight = tune_by(tmp_path / "straight", method, sets=sets, epochs=3)
    for how, at in (("stop", 4), ("kill", 8), ("stop", 9), ("stop", 3)):
        broken_off(lambda **k: tune_by(tmp_path / "run", method, sets=sets, epochs=3, resume=True, **k), how, at)
    assert tune_by(tmp_path / "run", method, sets=sets, epochs=3, resume=True) == straight
    same(tmp_path / "straight", tmp_path / "run", state=False)
    last = Run(tmp_path / "run").steps()[-1]
    a, b = (weights_at(tmp_path / name, last, "averaged") for name in ("straight", "run"))
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_two_averages_at_once_are_refused(tune_by, tmp_path):
    with pytest.raises(InputError, match="ema, last: are two averages of the weights; set one"):
        tune_by(tmp_path / "no", "full", "classify", ("ema=0.9", "last=2"))
