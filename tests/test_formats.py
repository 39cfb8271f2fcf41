"""What older versions wrote: their recipes, runs and fine-tunings open, and runs go on."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests import goldens

import bertsmith
from bertsmith import files
from bertsmith.config import from_dict, override, to_dict
from bertsmith.errors import InputError
from bertsmith.nn.member import parameters
from bertsmith.recipe import find
from bertsmith.text.store import Store
from bertsmith.training.evaluate import evaluate_run
from bertsmith.training.formats import FORMAT, current
from bertsmith.training.run import Run
from bertsmith.training.saving import weights_of

pytestmark = pytest.mark.usefixtures("one_thread")
OLD = Path(__file__).parent / "golden" / "format-1"
RECIPES = json.loads((OLD / "recipes.json").read_text())
RUNS = ("bert", "albert", "electra", "transformer-xl", "xlnet")
GIVEN = {"albert": ["model.layers=2", "model.embeddings.width=12", "model.share=attention"]}
MODEL = RECIPES["bert:tiny"]["recipe"]["model"]


def converted(recipe):
    return current({"format": 1, "recipe": recipe}, "config.json")["recipe"]


@pytest.fixture(scope="module")
def store():
    """The one that the old runs were trained on, as it was written then."""
    return Store.open(OLD / "store")


@pytest.mark.parametrize("name", RECIPES)
def test_an_old_recipe_becomes_todays(name):
    old = RECIPES[name]
    found = converted(old["recipe"])
    assert found == json.loads(json.dumps(to_dict(replace(find(name), brief=None))))
    assert parameters(from_dict(found)) == old["parameters"]
    assert current({"format": FORMAT, "recipe": found}, "") == {"format": FORMAT, "recipe": found}


@pytest.mark.parametrize("name", [*RUNS, "bert.classify"])
def test_an_old_run_loads_with_its_own_weights(name):
    bertsmith.verify(OLD / name)
    loaded = bertsmith.load(OLD / name)
    saved, own = load_file(loaded.path / "model.safetensors"), weights_of(loaded.member)
    assert list(saved) == sorted(own) and all(torch.equal(own[key], tensor) for key, tensor in saved.items())
    vectors = bertsmith.embed(loaded, ["a text", "another"], pool="mean")
    assert vectors.shape == (2, 8)


@pytest.mark.parametrize("name", RUNS)
def test_an_old_run_says_what_it_said(name, store):
    """Its last held-out losses stand in its metrics.jsonl; new kernels may round otherwise."""
    said = json.loads((OLD / name / "metrics.jsonl").read_text().splitlines()[-1])["evaluation"]
    found = evaluate_run(OLD / name, store)["evaluation"]
    assert {key.partition(".")[0] for key in bertsmith.evaluate(OLD / name, data=store)} == said.keys()
    for term in said:
        assert found[term]["loss"] == pytest.approx(said[term]["loss"], rel=goldens.NEAR), term


def test_an_old_fine_tuning_is_evaluated(tmp_path):
    _, _, dev = goldens.tasks(tmp_path)["classify"]
    scores = bertsmith.evaluate(OLD / "bert.classify", dev)
    assert (
        scores["accuracy"]["value"]
        == json.loads((OLD / "bert.classify/result.json").read_text())["dev"]["accuracy"]["value"]
    )


@pytest.mark.parametrize("name", RUNS)
def test_an_old_run_goes_on(name, store, tmp_path):
    run = tmp_path / name
    shutil.copytree(OLD / name, run)
    old = files.sha256(run / "config.json")
    small = [*goldens.SMALL, "model.width=8", "model.hidden=16", "model.layers=1", "training.checkpoint=5"]
    recipe = override(find(f"{name}:tiny"), [*small, *GIVEN.get(name, [])])
    bertsmith.pretrain(recipe, store, run, steps=6, seed=5, threads=1, resume=True)
    assert files.sha256(run / "config.json") == old
    bertsmith.pretrain(recipe, store, run, steps=8, seed=5, threads=1, resume=True)
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 8
    config = Run(run).config()
    assert (config["format"], config["steps"], config["previous"]) == (FORMAT, 8, [old])
    bertsmith.verify(run)
    other = override(recipe, ["model.norm.eps=0.25"])
    with pytest.raises(InputError, match=r"model\.norm\.eps: the run was begun with 1e-"):
        bertsmith.pretrain(other, store, run, steps=9, seed=5, threads=1, resume=True)


def test_models_between_two_parts_are_refused():
    """Format 1 could say them; no member did."""
    for change in ({"scaled": True}, {"asking": True}, {"adaptive": {"type": "bertsmith.nn.adaptive:Adaptive"}}):
        with pytest.raises(InputError, match=r"config\.json: recipe\.model: format 1 with .*no embeddings"):
            converted({"model": {**MODEL, **change}})
    with pytest.raises(InputError, match="format 1 has no such field"):
        converted({"model": {**MODEL, "block": {}}})


def test_a_tree_without_a_field_means_what_it_meant():
    short = {name: MODEL[name] for name in ("type", "vocab", "layers", "width", "heads", "hidden")}
    full = converted({"model": {**MODEL, "dropout": 0.1}})
    assert converted({"model": short}) == full


def test_what_is_no_model_of_ours_stays():
    tree = {"model": {"type": "mypackage.mymember:Own", "segments": 3}, "layout": [1, {"type": "x"}]}
    assert converted(tree) == tree
    assert current({"format": 1}, "") == {"format": FORMAT}
