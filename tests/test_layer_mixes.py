"""Heads over several layers of a trunk: side by side, or mixed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.runs import alike, text

import bertsmith
from bertsmith.downstream import frozen
from bertsmith.downstream.model import load
from bertsmith.nn.member import build, parameters
from bertsmith.objectives.layers import OverLayers
from bertsmith.objectives.supervised import Classify

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_mixture_begins_as_the_mean_of_the_layers_and_one_weight_is_one_layer(pretrained):
    recipe = load(pretrained).recipe
    task = OverLayers(objective=Classify(classes=2, dropout=0.0), layers=(0, 1), how="mix")
    torch.manual_seed(0)
    member = build(replace(recipe, objective=task)).eval()
    layers = torch.stack(member.model.states(text()))
    read = member.objective._read(member.model)
    assert torch.allclose(read(text()), layers.mean(0), atol=1e-6)
    assert torch.allclose(read(text(), torch.tensor([3])), layers.mean(0)[[3]], atol=1e-6)
    with torch.no_grad():
        member.objective.mix.weights.copy_(torch.tensor([40.0, 0.0]))
        member.objective.mix.scale.fill_(3.0)
        assert torch.allclose(read(text()), 3 * layers[0], atol=1e-5)
    found = member.objective.shares()
    assert found["shares"]["0"] == pytest.approx(1) and found["scale"] == 3
    assert parameters(replace(recipe, objective=task)) == sum(p.numel() for p in member.parameters())


def test_layers_side_by_side_make_a_wider_head(pretrained):
    recipe = load(pretrained).recipe
    task = OverLayers(objective=Classify(classes=2), layers=(1, 0))
    member = build(replace(recipe, objective=task)).eval()
    first, second = member.model.states(text())
    assert torch.equal(member.objective._read(member.model)(text()), torch.cat([second, first], 1))
    assert member.objective.main.label.out.weight.shape == (2, 32)
    assert parameters(replace(recipe, objective=task)) == sum(p.numel() for p in member.parameters())


@pytest.mark.parametrize("name, sets", [("classify", ()), ("classify", ("pool=cls",)), ("tag", ()), ("qa", ())])
def test_features_of_layers_that_are_kept_are_those_that_are_computed_anew(
    tune_by, tasks, tmp_path, monkeypatch, name, sets
):
    for method, layers in (("mix", ()), ("frozen", ("layers=[-2, -1]",))):
        held = tune_by(tmp_path / f"{method}-held", method, name, (*sets, *layers, "dropout=0", "precision=float32"))
        with monkeypatch.context() as patch:
            patch.setattr(frozen, "CACHE", 0)
            anew = tune_by(
                tmp_path / f"{method}-anew", method, name, (*sets, *layers, "dropout=0", "precision=float32")
            )
        for a, b in zip(held["epochs"], anew["epochs"], strict=True):
            assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
        assert alike(bertsmith.evaluate(tmp_path / f"{method}-held", tasks[name][2]), held["dev"])
        if method == "mix":
            assert held["layers"]["shares"].keys() == {"0", "1"}
            assert sum(held["layers"]["shares"].values()) == pytest.approx(1, abs=1e-6)
            assert held["layers"]["shares"]["0"] != 0.5 and held["layers"]["scale"] != 1, "it learned"


def test_one_layer_is_read_as_embed_gives_it(tune_by, tasks, pretrained, tmp_path):
    tune_by(tmp_path / "run", "frozen", sets=("layers=[-2]", "length=32"), epochs=1)
    made = load(tmp_path / "run")
    texts = ["the module", "a class object"]
    vectors = bertsmith.embed(pretrained, texts, layer=0, pool="mean")
    head = made.member.objective.main.label
    with torch.no_grad():
        said = (head.eval()(torch.from_numpy(vectors)) / made.labels.temperature).softmax(-1).numpy()
    ours = [list(row["scores"].values()) for row in bertsmith.predict(tmp_path / "run", texts)]
    assert np.allclose(said, ours, atol=1e-5)


@pytest.mark.parametrize("pool", ["max", "concat"])
def test_pooled_features_that_are_kept_are_those_that_are_computed_anew(tune_by, tasks, tmp_path, monkeypatch, pool):
    sets = (f"pool={pool}", "dropout=0", "precision=float32")
    held = tune_by(tmp_path / "held", "frozen", sets=sets)
    monkeypatch.setattr(frozen, "CACHE", 0)
    anew = tune_by(tmp_path / "anew", "frozen", sets=sets)
    for a, b in zip(held["epochs"], anew["epochs"], strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
    assert alike(bertsmith.evaluate(tmp_path / "held", tasks["classify"][2]), held["dev"])


def test_concat_reads_cls_the_greatest_and_the_mean_of_each_text_side_by_side(pretrained):
    model, stream = load(pretrained).member.model.eval(), text()
    head = Classify(classes=2, pool="concat", dropout=0).build(model).eval()
    with torch.no_grad():
        states = model(stream)
        texts = states.split(stream.lengths)
        wanted = torch.stack([torch.cat([part[0], part.amax(0), part.mean(0)]) for part in texts])
        said = head.logits(model, stream, torch.tensor([stream.lengths[0], 0]))
        assert torch.allclose(said, head.head(wanted.flip(0)), atol=1e-6)
