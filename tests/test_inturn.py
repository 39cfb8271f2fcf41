"""A teacher's layers first, then what it says: two stages of one run over a labelled task's rows."""

import pytest
import torch
from tests.runs import lines, same, saved, small
from tests.test_teachers import SETS, tuned
from tests.test_tuning_runs import broken_off

import bertsmith
from bertsmith.errors import InputError
from bertsmith.objectives.inturn import InTurn, Taught
from bertsmith.objectives.softened import Softened
from bertsmith.objectives.supervised import Classify

pytestmark = pytest.mark.usefixtures("one_thread")
EXACT = ["batch=8", "precision=float32", "lr=0.01", "dropout=0"]


@pytest.fixture(scope="module")
def teacher(pretrained, tasks, tmp_path_factory):
    out = tmp_path_factory.mktemp("teacher") / "run"
    tuned(pretrained, tasks, out, epochs=4)
    return out


@pytest.fixture(scope="module")
def wide(short, tmp_path_factory):
    """A model of two layers twice as wide, with as many heads."""
    out = tmp_path_factory.mktemp("wide") / "run"
    bertsmith.pretrain(small("model.width=32", "model.layers=2"), short, out, steps=2, threads=1)
    return out


def staged(model, tasks, out, teacher, *sets, **options):
    return tuned(model, tasks, out, teacher=teacher, set=[*SETS, "taught.epochs=2", *sets], **{"epochs": 4, **options})


def test_layers_are_learned_first_and_then_what_the_teacher_says(wide, teacher, tasks, tmp_path):
    result = staged(wide, tasks, tmp_path / "run", teacher, "taught.relations=1", seed=1)
    found = lines(tmp_path / "run")
    half = len(found) // 2
    for line in found[:half]:
        assert line["terms"]["label"] is line["terms"]["soft"] is None and "evaluation" not in line
        assert line["loss"] == pytest.approx(sum(line["terms"][name] for name in ("hidden", "attention", "relations")))
    for line in found[half:]:
        assert line["terms"]["hidden"] is line["terms"]["attention"] is None and line["terms"]["soft"] is not None
    for term in ("hidden", "attention"):
        assert found[half - 1]["terms"][term] < found[0]["terms"][term]
    assert [epoch["epoch"] for epoch in result["epochs"]] == [3, 4] and result["best"] > half
    assert saved(tmp_path / "run")["objective.led.weight"].shape == (16, 32)
    model = bertsmith.load(tmp_path / "run")
    assert isinstance(model.recipe.objective, Classify) and not any("led" in n for n in model.member.state_dict())
    again = bertsmith.evaluate(tmp_path / "run", tasks["classify"][2])
    assert again["accuracy"]["value"] == result["dev"]["accuracy"]["value"]
    assert bertsmith.verify(tmp_path / "run")["kind"] == "run"


def test_a_student_that_is_its_teacher_has_nothing_to_learn_of_its_layers(teacher, tasks, tmp_path):
    staged(teacher, tasks, tmp_path / "run", bertsmith.load(teacher), "dropout=0", "lr=1e-9", steps=20, epochs=None)
    first = lines(tmp_path / "run")[0]
    assert first["terms"]["hidden"] == pytest.approx(0, abs=1e-9) and first["loss"] == pytest.approx(0, abs=1e-9)


def test_a_run_that_was_broken_off_in_either_stage_ends_as_the_one_that_was_not(wide, teacher, tasks, tmp_path):
    sets = ("checkpoint=5", "tokens=64")
    straight = staged(wide, tasks, tmp_path / "straight", teacher, *sets)
    for how, at in (("stop", 4), ("kill", 9), ("stop", 14)):
        broken_off(lambda **k: staged(wide, tasks, tmp_path / "run", teacher, *sets, resume=True, **k), how, at)
    assert staged(wide, tasks, tmp_path / "run", teacher, *sets, resume=True, workers=1) == straight
    same(tmp_path / "straight", tmp_path / "run", state=False)


def test_how_many_passes_an_update_has_changes_nothing(wide, teacher, tasks, tmp_path):
    for name, more in (("one", []), ("many", ["tokens=64"])):
        staged(wide, tasks, tmp_path / name, teacher, "dropout=0", *more, epochs=3)
    for a, b in zip(lines(tmp_path / "one"), lines(tmp_path / "many"), strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-4), a["step"]


def test_augmented_rows_without_labels_are_learned_from(pretrained, teacher, tasks, tmp_path):
    bertsmith.augment(pretrained, tasks["classify"][1], tmp_path / "more.jsonl", samples=1)
    result = staged(pretrained, tasks, tmp_path / "run", teacher, train=tmp_path / "more.jsonl", epochs=3)
    assert result["texts"]["train"]["texts"] > 72 and lines(tmp_path / "run")[0]["terms"]["attention"] is not None


def test_the_terms_are_weighed_and_keys_are_the_objectives_own():
    found = InTurn(objective=Softened(objective=Classify(classes=3), hard=0.25), taught=Taught(epochs=1, hidden=2.0))
    assert found.weights() == {"hidden": 2.0, "attention": 1.0, "label": 0.25, "soft": 0.75}
    weights = dict.fromkeys(("model.a", "objective.main.main.label.out.bias", "objective.led.weight"), torch.zeros(1))
    assert [*found.alone(weights)] == ["model.a", "objective.main.label.out.bias"]


def test_what_cannot_be_learned_of_layers_is_told_and_nothing_is_written(
    wide, pretrained, teacher, tasks, store, tmp_path
):
    bertsmith.pretrain(small(), store, tmp_path / "other", steps=1, threads=1)
    tuned(tmp_path / "other", tasks, tmp_path / "foreign", epochs=1, allow_unknown=True)

    def refused(why, model=pretrained, of=teacher, sets=(), **options):
        with pytest.raises(InputError, match=why):
            staged(model, tasks, tmp_path / "run", of, *sets, **options)
        assert not (tmp_path / "run").exists()

    refused(r"taught\.epochs: 2: of 2 in all, none is left", epochs=2)
    refused(r"taught\.epochs: 2: of 0\.44 in all", epochs=None, steps=4)
    refused("is of what a teacher says; teacher=RUN names one", of=None)
    refused("2 of them; .* learns the layers of one", of=[teacher, teacher])
    refused("its tokenizer is not that of", of=tmp_path / "foreign")
    refused("is for a trunk that learns", method="frozen")
    refused("its states are 16 wide and the student's 32", model=wide, sets=("taught.cosine=1",))
    refused("taught: hidden, .* are all 0", sets=("taught.hidden=0", "taught.attention=0"))
