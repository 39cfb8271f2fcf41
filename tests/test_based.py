"""Runs whose steps hold what they learned alone: what they stand on, and who shares it."""

import shutil

import pytest
import torch
from tests.runs import saved, small

import bertsmith
from bertsmith.downstream.model import load
from bertsmith.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")


def test_predictions_in_another_process_are_the_same_to_the_bit(by_method, children, tmp_path):
    made, dev = by_method
    for method in made:
        ours = bertsmith.predict(made[method], dev, tmp_path / f"{method}.jsonl")
        theirs = tmp_path / f"{method}-other.jsonl"
        assert children.start("predict", made[method], "--input", dev, "--out", theirs).wait() == 0
        assert theirs.read_bytes() == (tmp_path / f"{method}.jsonl").read_bytes() and len(ours) == 40


def test_several_runs_over_one_base_share_its_weights_and_say_what_they_say_alone(by_method, pretrained):
    made, dev = by_method
    base = load(pretrained)
    before = {name: x.clone() for name, x in base.member.state_dict().items()}
    on_it = {method: load(run, base=base) for method, run in made.items()}
    table = "model.embeddings.tokens.weight"
    for method, one in on_it.items():
        assert dict(one.member.named_parameters())[table] is dict(base.member.named_parameters())[table]
        assert bertsmith.predict(one, dev) == bertsmith.predict(made[method], dev), method
    assert all(torch.equal(x, before[name]) for name, x in base.member.state_dict().items())


def test_a_base_that_is_gone_or_another_is_named_with_both_digests(by_method, pretrained, short, tune_by, tmp_path):
    from bertsmith import files

    dev = by_method[1]
    home, other = tmp_path / "home", tmp_path / "other"
    shutil.copytree(pretrained, home)
    tune_by(tmp_path / "run", "adapter", model=home, epochs=1)
    alone = bertsmith.predict(tmp_path / "run", dev)
    home.rename(tmp_path / "moved")
    for verb in (
        lambda **k: bertsmith.predict(tmp_path / "run", dev, **k),
        lambda **k: bertsmith.verify(tmp_path / "run", **k),
        lambda **k: bertsmith.compare(tmp_path / "run", by_method[0]["bias"], dev, **k),
    ):
        with pytest.raises(
            InputError, match=r"home/steps/step-\d+ is not there any more; base=MODEL says where that is"
        ):
            verb()
        verb(base=tmp_path / "moved")
    assert bertsmith.predict(tmp_path / "run", dev, base=tmp_path / "moved") == alone
    bertsmith.pretrain(small("training.precision=float32"), short, other, steps=3, threads=1)
    wanted = files.sha256(load(pretrained).path / "model.safetensors")[:12]
    found = files.sha256(load(other).path / "model.safetensors")[:12]
    says = rf"run: was tuned on weights {wanted}…, .*other has weights {found}…; base=MODEL names"
    for base in (other, load(other)):
        with pytest.raises(InputError, match=says):
            load(tmp_path / "run", base=base)
    with pytest.raises(InputError, match="base=MODEL says where that is"):
        load(tmp_path / "run", base=tmp_path / "nowhere")
    with pytest.raises(InputError, match="is whole, and needs no base; leave the option out"):
        load(other, base=pretrained)


def test_a_base_that_was_damaged_is_found(by_method, pretrained, tune_by, tmp_path):
    home = tmp_path / "home"
    shutil.copytree(pretrained, home)
    tune_by(tmp_path / "run", "bias", model=home, epochs=1)
    bertsmith.verify(tmp_path / "run")
    weights = load(home).path / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(InputError, match="was tuned on weights"):
        bertsmith.verify(tmp_path / "run")
    with pytest.raises(InputError, match="was tuned on weights"):
        load(tmp_path / "run")


def test_a_tuned_model_is_tuned_further(by_method, tune_by, tasks, tmp_path):
    """Of low rank: merged first.  With adapters: they and all else learn; none are put into it twice."""
    made, dev = by_method
    merged_ = tune_by(tmp_path / "merged", "full", model=made["lora"], epochs=1)
    assert not any("low_in" in name for name in saved(tmp_path / "merged"))
    assert bertsmith.evaluate(tmp_path / "merged", dev) == merged_["dev"]
    again = tune_by(tmp_path / "again", "adapter", model=made["lora"], epochs=1)
    assert bertsmith.evaluate(tmp_path / "again", dev) == again["dev"], "its base has a base"
    all_ = tune_by(tmp_path / "all", "full", model=made["adapter"], epochs=1)
    assert any(".adapters." in name for name in saved(tmp_path / "all"))
    assert bertsmith.evaluate(tmp_path / "all", dev) == all_["dev"]
    with pytest.raises(
        InputError, match=r"method='lora': .* has adapters already; tune the model that it began with, .*pretrained"
    ):
        tune_by(tmp_path / "twice", "lora", model=made["adapter"])


def test_every_verb_takes_it_and_an_export_merges_or_refuses(by_method, tmp_path):
    pytest.importorskip("transformers")
    made, dev = by_method
    assert bertsmith.embed(made["adapter"], ["one", "two"]).shape == (2, 16)
    compared = bertsmith.compare(made["adapter"], made["lora"], dev)
    assert compared["texts"] == 40
    bertsmith.export(made["lora"], tmp_path / "folder")
    theirs, ours = bertsmith.predict(tmp_path / "folder", dev), bertsmith.predict(made["lora"], dev)
    for a, b in zip(theirs, ours, strict=True):
        assert a["scores"] == pytest.approx(b["scores"], abs=1e-5)
    bertsmith.export(made["bias"], tmp_path / "biases")
    with pytest.raises(InputError, match="has adapters, for which transformers has no class; method='lora' or 'full'"):
        bertsmith.export(made["adapter"], tmp_path / "no")
    with pytest.raises(InputError, match="has prefixes, for which transformers has no class"):
        bertsmith.export(made["prefix"], tmp_path / "no")
    with pytest.raises(InputError, match="its head reads several layers, for which transformers has no class"):
        bertsmith.export(made["mix"], tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_of_two_that_are_compared_the_one_that_stands_on_a_base_gets_it(by_method, pretrained, tune_by, tmp_path):
    made, dev = by_method
    tune_by(tmp_path / "whole", "full", epochs=1)
    given = bertsmith.compare(made["lora"], tmp_path / "whole", dev, base=pretrained)
    assert given == bertsmith.compare(made["lora"], tmp_path / "whole", dev)
    assert given == bertsmith.compare(made["lora"], tmp_path / "whole", dev, base=load(pretrained))
    with pytest.raises(InputError, match=r"^base: .*whole and .*whole are whole, and need none; leave the option out"):
        bertsmith.compare(tmp_path / "whole", tmp_path / "whole", dev, base=pretrained)
