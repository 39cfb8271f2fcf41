"""Fine-tuning a language model with the loss that it was pre-trained on beside (Radford et al. 2018, section 3.2)."""

import json

import numpy as np
import pytest
import torch
from tests.runs import Breaking, small

import bertsmith
from bertsmith.data.causal import Following
from bertsmith.errors import InputError
from bertsmith.nn.member import build, parameters
from bertsmith.objectives.alongside import Alongside
from bertsmith.objectives.supervised import Classify
from bertsmith.recipe import find
from bertsmith.training.pretraining import pretrain

pytestmark = pytest.mark.usefixtures("one_thread")
TEXTS = [
    f"the {word} number {i} is a {kind} of the list"
    for i in range(12)
    for word, kind in (("list", "name"), ("class", "value"))
]
ROWS = {"text": TEXTS, "label": [text.split()[-4] for text in TEXTS]}
PAIRS = {"text": TEXTS, "text2": TEXTS[::-1], "label": [len(text) / 7 for text in TEXTS]}
CLUSTERS = ("model.embeddings.cutoffs=[300,600]", "model.embeddings.divide=2")  # a head with tensors of its own


@pytest.fixture(scope="module")
def models(store, tmp_path_factory):
    found = {}
    for name, more in (("gpt2", ()), ("transformer-xl", CLUSTERS), ("bert", ())):
        found[name] = tmp_path_factory.mktemp(name) / "run"
        pretrain(small(*more, member=name), store, found[name], steps=3, threads=1)
    return found


def tuned(model, out, *settings, rows=ROWS, task="classify", **options):
    dev = {name: [f"{x} there" if name == "text" else x for x in column[:8]] for name, column in rows.items()}
    given = ["batch=8", "dropout=0", "lr=0.003", "precision=float32", *settings]
    options = {"steps": 6, "threads": 1, **options}
    return bertsmith.finetune(model, task=task, train=rows, dev=dev, out=out, set=given, **options)


def lines(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", ["gpt2", "transformer-xl"])
@pytest.mark.parametrize("rows", [ROWS, PAIRS], ids=["texts", "pairs"])
def test_the_loss_is_the_tasks_and_half_of_what_the_model_says_of_the_texts(name, rows, models, tmp_path):
    task = "classify" if rows is ROWS else "regress"
    tuned(models[name], tmp_path / "run", "auxiliary=0.5", "batch=24", rows=rows, task=task, steps=1)
    (line,) = lines(tmp_path / "run")
    assert line["loss"] == pytest.approx(line["terms"]["label"] + 0.5 * line["terms"]["token"], rel=1e-6)
    model = bertsmith.load(models[name])
    sums, count = 0.0, 0
    from bertsmith.tasks.reading import Reading
    from bertsmith.tasks.sequences import encode

    encoded = encode(model.tokenizer, rows["text"], rows.get("text2"), Reading.of(model.recipe, 32))
    for i in range(len(encoded)):
        stream = encoded.batch(np.array([i])).input.to("cpu")
        with torch.no_grad():
            said = model.member.objective.logits(
                model.member.model.eval(), stream, torch.arange(len(stream.tokens) - 1)
            )
        sums -= float(said.log_softmax(-1).gather(1, stream.tokens[1:, None]).sum())
        count += len(stream.tokens) - 1
    assert line["terms"]["token"] == pytest.approx(sums / count, rel=1e-5)


def test_without_a_weight_nothing_changes(models, tmp_path):
    for name, settings in (("a", ()), ("b", ("auxiliary=0",))):
        tuned(models["gpt2"], tmp_path / name, *settings)
    assert lines(tmp_path / "a") == lines(tmp_path / "b")
    assert "auxiliary" not in json.loads((tmp_path / "b" / "config.json").read_text())["task"]["settings"]


def test_what_comes_of_it_is_a_classifier_like_any_other(models, tmp_path):
    for name in ("gpt2", "transformer-xl"):
        tuned(models[name], tmp_path / name, "auxiliary=0.5")
        loaded = bertsmith.load(tmp_path / name)
        assert isinstance(loaded.recipe.objective, Classify)
        assert parameters(loaded.recipe) == sum(p.numel() for p in loaded.member.parameters())
        said = bertsmith.predict(tmp_path / name, TEXTS[:2])
        assert set(said[0]["scores"]) == {"name", "value"}
        assert bertsmith.verify(tmp_path / name)


def test_it_goes_on_to_the_bit_and_does_not_depend_on_passes(models, tmp_path):
    tuned(models["gpt2"], tmp_path / "whole", "auxiliary=0.5", "checkpoint=2")
    with pytest.raises(KeyboardInterrupt):
        tuned(models["gpt2"], tmp_path / "broken", "auxiliary=0.5", "checkpoint=2", progress=Breaking("kill", 3))
    tuned(models["gpt2"], tmp_path / "broken", "auxiliary=0.5", "checkpoint=2", resume=True)
    assert lines(tmp_path / "broken") == lines(tmp_path / "whole")
    tuned(models["gpt2"], tmp_path / "parts", "auxiliary=0.5", "accumulate=3")
    for one, other in zip(lines(tmp_path / "parts"), lines(tmp_path / "whole"), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)


def test_only_language_models_that_learn_have_it(models, tmp_path):
    with pytest.raises(InputError, match="bert has no language model's loss"):
        tuned(models["bert"], tmp_path / "run", "auxiliary=0.5")
    with pytest.raises(InputError, match="a frozen trunk learns nothing from it"):
        tuned(models["gpt2"], tmp_path / "run", "auxiliary=0.5", method="frozen")
    with pytest.raises(InputError, match=r"auxiliary: -1\.0 is below 0"):
        tuned(models["gpt2"], tmp_path / "run", "auxiliary=-1")


def test_parameters_of_both_are_counted_and_terms_of_one_name_are_refused():
    recipe = find("gpt2:tiny")
    both = Alongside(objective=Classify(classes=3), auxiliary=recipe.objective)
    import dataclasses

    made = dataclasses.replace(recipe.with_vocab(50), objective=both)
    assert parameters(made) == sum(p.numel() for p in build(made).parameters())
    assert both.weights() == {"label": 1.0, "token": 0.5}
    with pytest.raises(InputError, match="token: is asked by the objective itself"):
        Alongside(objective=recipe.objective, auxiliary=recipe.objective)


def test_following_asks_every_token_but_the_first_of_each_text():
    from bertsmith.data.batch import Stream

    zeros = np.zeros(6, np.int64)
    stream = Stream(
        tokens=np.array([5, 6, 7, 8, 9, 4]),
        positions=zeros,
        segments=zeros,
        query_rank=zeros,
        key_rank=zeros,
        lengths=(3, 1, 2),
    )
    target = Following().asked(stream)
    assert target.at[:, 0].tolist() == [0, 1, 4] and target.labels.tolist() == [6, 7, 4]
    assert Following().count(np.array([3, 1, 2])) == 3


def test_gpts_form_is_refused_where_both_sides_are_seen(models, tmp_path):
    with pytest.raises(InputError, match="form: extract: bert sees both sides of a token"):
        tuned(models["bert"], tmp_path / "run", "form=extract")
    tuned(models["transformer-xl"], tmp_path / "run", "form=extract", "auxiliary=0.5")
    assert bertsmith.load(tmp_path / "run").reading().marks == "extract"
    assert "form" not in json.loads((models["gpt2"] / "config.json").read_text())
