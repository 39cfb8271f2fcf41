"""Sentence encoders of others: `embed` gives the vectors that their own files ask for, computed here by hand from transformers' states."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.folders import LENGTH, theirs, tokenizer_of

import bertsmith
from bertsmith import cli
from bertsmith.deploy.sentences import POOLS
from bertsmith.errors import InputError

transformers = pytest.importorskip("transformers")
TEXTS = ["The Class is an Object ", "a list", "While the loop runs, NAMES are bound.", "x"]
TYPE = "sentence_transformers.models."


@pytest.fixture(scope="module")
def there(documents, tmp_path_factory):
    at = tmp_path_factory.mktemp("there") / "hf"
    theirs(transformers, "bert", "none", tokenizer_of(documents[:20], lowercase=False), at)
    return at


@pytest.fixture
def encoder(there, tmp_path):
    """make(chain, pooling, **files) -> a folder of sentence-transformers."""

    def make(*after, pooling=None, bert=None, prompts=None, dense=("Tanh",)):
        at = shutil.copytree(there, tmp_path / "encoder", dirs_exist_ok=True)
        kinds = [
            ("", "Transformer"),
            ("1_Pooling", "Pooling"),
            *((f"{i}_{kind}", kind) for i, kind in enumerate(after, 2)),
        ]
        modules = [
            {"idx": i, "name": str(i), "path": path, "type": TYPE + kind} for i, (path, kind) in enumerate(kinds)
        ]
        (at / "modules.json").write_text(json.dumps(modules))
        (at / "1_Pooling").mkdir(exist_ok=True)
        pooling = {"pooling_mode_mean_tokens": True} if pooling is None else pooling
        (at / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 16, **pooling}))
        (at / "sentence_bert_config.json").write_text(
            json.dumps({"max_seq_length": LENGTH, "do_lower_case": False, **(bert or {})})
        )
        if prompts:
            (at / "config_sentence_transformers.json").write_text(json.dumps(prompts))
        for path, activation in zip([k[0] for k in kinds if k[1] == "Dense"], dense, strict=False):
            (at / path).mkdir(exist_ok=True)
            weights = {"linear.weight": torch.randn(8, 16) / 4, "linear.bias": torch.randn(8)}
            save_file(weights, at / path / "model.safetensors")
            said = {
                "in_features": 16,
                "out_features": 8,
                "activation_function": f"torch.nn.modules.activation.{activation}",
            }
            (at / path / "config.json").write_text(json.dumps(said))
            make.weights = weights
        return at

    return make


def states(at, texts):
    """(n, 16) for each text, by transformers."""
    model = transformers.AutoModel.from_pretrained(at, add_pooling_layer=False).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(at)
    with torch.no_grad():
        return [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].double() for text in texts]


BY_HAND = {
    "cls": lambda x: x[0],
    "max": lambda x: x.max(0).values,
    "mean": lambda x: x.sum(0) / len(x),
    "mean_sqrt_len": lambda x: x.sum(0) / len(x) ** 0.5,
    "weightedmean": lambda x: sum((i + 1) * row for i, row in enumerate(x)) / (len(x) * (len(x) + 1) / 2),
    "lasttoken": lambda x: x[-1],
}


def near(found, rows):
    wanted = torch.stack(rows).numpy()
    assert found.shape == wanted.shape and np.abs(found - wanted).max() < 1e-5


@pytest.mark.parametrize("pool", BY_HAND)
def test_every_pooling_is_read_under_both_of_its_names(pool, encoder):
    rows = [BY_HAND[pool](x) for x in states(encoder(), TEXTS)]
    for pooling in ({POOLS[pool]: True}, {"pooling_mode": pool}):
        near(bertsmith.embed(encoder(pooling=pooling), TEXTS), rows)
    near(bertsmith.embed(encoder(), TEXTS, pool=pool), rows)


def test_several_poolings_stand_side_by_side(encoder, tmp_path):
    at = encoder(
        pooling={"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True, "pooling_mode_max_tokens": True}
    )
    rows = [torch.cat([BY_HAND[p](x) for p in ("cls", "max", "mean")]) for x in states(at, TEXTS)]
    near(bertsmith.embed(at, TEXTS), rows)
    bertsmith.import_(at, tmp_path / "model")
    bertsmith.export(tmp_path / "model", tmp_path / "out")
    for model in ("model", "out"):
        near(bertsmith.embed(tmp_path / model, TEXTS), rows)


def test_small_letters_where_the_encoder_asks_for_them(encoder, tmp_path):
    at = encoder(bert={"do_lower_case": True})
    low = [text.strip().lower() for text in TEXTS]
    near(bertsmith.embed(at, TEXTS), [BY_HAND["mean"](x) for x in states(at, low)])
    assert np.abs(bertsmith.embed(at, TEXTS) - bertsmith.embed(encoder(), TEXTS))[:3].max() > 1e-3
    bertsmith.import_(encoder(bert={"do_lower_case": True}), tmp_path / "model")
    bertsmith.export(tmp_path / "model", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "sentence_bert_config.json").read_text())["do_lower_case"] is True
    near(bertsmith.embed(tmp_path / "out", TEXTS), [BY_HAND["mean"](x) for x in states(at, low)])


def test_its_length_is_kept_under_any_name_of_the_file(encoder):
    at = encoder(bert={"max_seq_length": 9})
    (at / "sentence_bert_config.json").rename(at / "sentence_roberta_config.json")
    text = " ".join(["name"] * 40)
    assert np.abs(bertsmith.embed(at, [text]) - bertsmith.embed(at, [" ".join(["name"] * 30)])).max() < 1e-6


@pytest.mark.parametrize("activation", ["Tanh", "Identity", "ReLU", "GELU"])
def test_dense_layers_and_length_1(activation, encoder, tmp_path):
    at, said = encoder("Dense", "Normalize", dense=(activation,)), []
    w, b = (encoder.weights[f"linear.{name}"].double() for name in ("weight", "bias"))
    act = getattr(torch.nn, activation)()
    pooled = [BY_HAND["mean"](x) for x in states(at, TEXTS)]
    rows = [torch.nn.functional.normalize(act(w @ x + b), dim=0) for x in pooled]
    near(bertsmith.embed(at, TEXTS, say=said.append), rows)
    assert not said
    near(bertsmith.embed(at, TEXTS, normalise=False, pool="cls"), [BY_HAND["cls"](x) for x in states(at, TEXTS)])
    bertsmith.import_(at, tmp_path / "model", say=said.append)
    assert any("its dense layers stay there" in line for line in said)
    said.clear()
    near(bertsmith.embed(tmp_path / "model", TEXTS, say=said.append, normalise=False), pooled)
    assert "dense layers of the folder it was imported from are left out" in said[0]
    bertsmith.export(tmp_path / "model", tmp_path / "out")
    assert not (tmp_path / "out" / "modules.json").exists()


PROMPTS = {"prompts": {"query": "Find: ", "passage": ""}, "default_prompt_name": None}


def test_prompts_by_name_by_text_and_as_usual(encoder, tmp_path):
    rows = lambda before: [BY_HAND["mean"](x) for x in states(encoder(), [(before + text).strip() for text in TEXTS])]
    at = encoder(prompts=PROMPTS)
    near(bertsmith.embed(at, TEXTS), rows(""))
    near(bertsmith.embed(at, TEXTS, prompt="query"), rows("Find: "))
    near(bertsmith.embed(at, TEXTS, prompt="passage"), rows(""))
    near(bertsmith.embed(at, TEXTS, prompt="the words: "), rows("the words: "))
    usual = encoder(prompts={**PROMPTS, "default_prompt_name": "query"})
    near(bertsmith.embed(usual, TEXTS), rows("Find: "))
    bertsmith.import_(usual, tmp_path / "model")
    bertsmith.export(tmp_path / "model", tmp_path / "out")
    near(bertsmith.embed(tmp_path / "out", TEXTS), rows("Find: "))
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    arguments = ["embed", at, "--input", tmp_path / "texts.txt", "--out", tmp_path / "v", "--prompt", "query"]
    assert cli.run([str(argument) for argument in arguments]) == 0
    assert json.loads((tmp_path / "v" / "embed.json").read_text())["prompt"] == "Find: "
    near(np.load(tmp_path / "v" / "vectors.npy"), rows("Find: "))


def test_a_prompt_may_be_read_and_not_pooled(encoder):
    at = encoder(prompts=PROMPTS, pooling={"pooling_mode_mean_tokens": True, "include_prompt": False})
    skip = len(transformers.AutoTokenizer.from_pretrained(at)("Find: ")["input_ids"]) - 1
    rows = [x[skip:].mean(0) for x in states(at, ["Find: " + text.strip() for text in TEXTS])]
    near(bertsmith.embed(at, TEXTS, prompt="query"), rows)
    near(bertsmith.embed(at, TEXTS), [x.mean(0) for x in states(at, TEXTS)])


BAD = {
    "Transformer \\+ Pooling \\+ WeightedLayerPooling is not": {"after": ["WeightedLayerPooling"]},
    "Transformer \\+ Pooling \\+ Normalize \\+ Dense is not": {"after": ["Normalize", "Dense"]},
    "pooling_mode_best: what can be taken: cls, max": {"pooling": {"pooling_mode_best": True}},
    "no pooling mode: what can be taken": {"pooling": {}},
    "activation_function: Softmax: known": {"after": ["Dense"], "dense": ["Softmax"]},
    "default_prompt_name: 'q' is not among": {"prompts": {"prompts": {}, "default_prompt_name": "q"}},
}


@pytest.mark.parametrize("said", BAD)
def test_what_cannot_be_followed_is_said(said, encoder):
    options = dict(BAD[said])
    at, lines = encoder(*options.pop("after", []), **options), []
    model = bertsmith.load(at, say=lines.append)
    assert len(lines) == 1 and re.search(said + ".*embed gives other vectors than sentence-transformers", lines[0])
    assert bertsmith.embed(model, TEXTS).shape == (4, 16)


def test_a_dense_layer_of_other_shapes_is_refused(encoder):
    at = encoder("Dense")
    save_file(
        {"linear.weight": torch.zeros(8, 15), "linear.bias": torch.zeros(8)}, at / "2_Dense" / "model.safetensors"
    )
    with pytest.raises(
        InputError, match=r"2_Dense/model.safetensors: its tensors are not those of a dense layer from 16"
    ):
        bertsmith.embed(at, TEXTS)


def test_old_folders_keep_the_model_in_a_folder_of_its_own(encoder, tmp_path):
    """As sentence-transformers wrote them up to version 1: 0_Transformer holds all but modules.json."""
    at = encoder("Dense", "Normalize", bert={"max_seq_length": 9, "do_lower_case": True}, prompts=PROMPTS)
    wanted = bertsmith.embed(at, [*TEXTS, "name " * 40])
    home = at / "0_Transformer"
    home.mkdir()
    for path in list(at.iterdir()):
        if path.is_file() and path.name not in ("modules.json", "config_sentence_transformers.json"):
            path.rename(home / path.name)
    modules = json.loads((at / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (at / "modules.json").write_text(json.dumps(modules))
    assert np.array_equal(bertsmith.embed(at, [*TEXTS, "name " * 40]), wanted)
    bertsmith.import_(at, tmp_path / "model")
    assert bertsmith.load(tmp_path / "model").config["vectors"] == bertsmith.load(at).config["vectors"]
    (home / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match=r"adapter_config.json: an adapter"):
        bertsmith.load(at)
    modules[0]["path"] = "../hf"
    (at / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(InputError, match=r"modules.json: path: '../hf' is not a folder in this one"):
        bertsmith.load(at)


@pytest.mark.parametrize("kind", ["StaticEmbedding", "CLIPModel", "BoW", "WordEmbeddings"])
def test_what_is_no_transformer_is_refused_by_its_name(kind, encoder):
    at = encoder()
    modules = json.loads((at / "modules.json").read_text())
    modules[0] |= {"type": TYPE + kind, "path": f"0_{kind}"}
    (at / "modules.json").write_text(json.dumps(modules))
    (at / "config.json").unlink()
    for opens in (bertsmith.load, lambda at: bertsmith.embed(at, TEXTS)):
        with pytest.raises(InputError, match=f"modules.json: {kind}: no Transformer"):
            opens(at)


MARKS = {
    "of version 6": ("config_sentence_transformers.json", {"model_type": "CrossEncoder", "activation_fn": "torch.nn.modules.activation.Sigmoid"}),
    "of version 4": ("config.json", {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}}),
    "of version 3": ("config.json", {"sbert_ce_default_activation_function": "torch.nn.modules.activation.Sigmoid"}),
}  # fmt: skip


@pytest.mark.parametrize("mark", MARKS)
def test_a_cross_encoder_says_what_predict_leaves_out(mark, documents, tmp_path):
    """CrossEncoder.predict gives a sigmoid of one score; predict the score."""
    at, lines = tmp_path / "hf", []
    theirs(transformers, "bert", "regress", tokenizer_of(documents[:20]), at)
    bertsmith.load(at, say=lines.append)
    assert not lines
    name, fields = MARKS[mark]
    tree = json.loads((at / name).read_text()) if (at / name).exists() else {}
    tree = {key: value for key, value in tree.items() if key not in MARKS["of version 4"][1] | MARKS["of version 3"][1]}
    for activation in ("Sigmoid", "Identity"):
        text = json.dumps({**tree, **fields}).replace("activation.Sigmoid", f"activation.{activation}")
        (at / name).write_text(text)
        (at / "modules.json").write_text(
            json.dumps([{"idx": 0, "name": "0", "path": "", "type": TYPE + "Transformer"}])
        )
        if name == "config.json":
            (at / "modules.json").unlink()
        rows = tmp_path / "rows.jsonl"
        rows.write_text('{"text": "a list", "text2": "a class"}\n')
        lines.clear()
        bertsmith.predict(at, rows, say=lines.append)
        said = [line for line in lines if "CrossEncoder: its predict gives Sigmoid of the number" in line]
        assert len(lines) == len(said) == (activation == "Sigmoid"), lines
