"""Every head of the foundation through both doors: our random weights opened by transformers, theirs read by us."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.folders import OBJECTIVES, TASKS, loaded, randomised, recipe_of, theirs, tokenizer_of

import bertsmith
from bertsmith.deploy import export
from bertsmith.deploy.check import EVERYWHERE, answers, groups
from bertsmith.deploy.hf_families import FAMILIES

transformers = pytest.importorskip("transformers")

# The class, and what of its answer is what of ours.
CLASSES = {
    "token+pair": ("AutoModelForPreTraining", {"prediction_logits": "token", "seq_relationship_logits": "pair"}),
    "token": ("AutoModelForMaskedLM", {"logits": "token"}),
    "token+summary": ("AutoModelForMaskedLM", {"logits": "token"}),
    "pair": ("AutoModelForNextSentencePrediction", {"logits": "pair"}),
    "replaced": ("AutoModelForPreTraining", {"logits": "replaced"}),
    "summary": ("AutoModel", {"last_hidden_state": "hidden", "pooler_output": "summary"}),
    "none": ("AutoModel", {"last_hidden_state": "hidden"}),
    "classify": ("AutoModelForSequenceClassification", {"logits": "label"}),
    "regress": ("AutoModelForSequenceClassification", {"logits": "label"}),
    "tag": ("AutoModelForTokenClassification", {"logits": "tag"}),
    "qa": ("AutoModelForQuestionAnswering", {"start_logits": "start", "end_logits": "end"}),
}
TOKENS = dict.fromkeys(
    ("xlnet", "gpt2", "openai-gpt"), "AutoModelForCausalLM"
)  # opens a family's token head where AutoModelForMaskedLM does not
TOKENS |= dict.fromkeys(("bart", "t5"), "AutoModelForSeq2SeqLM")

# What is another family's in all but its name and special tokens: two heads of it here, the others in `make test-slow`.
ALIKE = {"xlm-roberta": ("token", "classify"), "camembert": ("token", "classify"), "ernie": ("token+pair", "classify")}
ALIKE |= {"mobilebert": ("token+pair", "regress")}  # BERT's heads; the rest of them in `make test-slow`, too
WHOLE = dict(reversed(OBJECTIVES))  # {family: the head that 1,000 texts are read for}; for the others 100


def marks(family, head):
    return [] if head in ALIKE.get(family, (head,)) else [pytest.mark.slow]


HEADS = [pytest.param(which, id="-".join(which), marks=marks(*which)) for which in OBJECTIVES]


@pytest.fixture(scope="module")
def tokenizer(documents):
    return tokenizer_of(documents[:20])


@pytest.fixture(scope="module", params=HEADS)
def exported(request, tokenizer, tmp_path_factory):
    """(family, head), the model and the folder that it was exported to."""
    family, head = request.param
    at = tmp_path_factory.mktemp("exported")
    model = loaded(family, head, tokenizer, at / "run")
    with torch.no_grad():  # a negative zero is another bit pattern than zero
        for name, p in model.member.model.named_parameters():
            if "positions" in name or "embeddings.tokens" in name:
                p.view(len(p), -1)[1, 0] = -0.0
    with pytest.MonkeyPatch.context() as patch:
        if head != WHOLE[family]:
            patch.setattr(export, "TEXTS", 100)
        result = bertsmith.export(model, at / "out")
    assert result["texts"] == (1000 if head == WHOLE[family] else 100)
    return family, head, model, at / "out"


def compare(model, opened, head, texts):
    """Their answers to the same ids within 1e-5 of ours, on texts, pairs and a text of full length."""
    spread, made = {}, groups(model, [line for text in texts for line in text.split("\n")])
    assert len(made) == 3
    for group in made:
        mine = answers(model, group.stream, group.output)
        with torch.no_grad():
            output = opened(**group.inputs)
        asked = CLASSES[head][1]
        if group.output is not None:  # two stacks
            asked = {name: "decoded" if ours == "hidden" else ours for name, ours in asked.items()}
            asked = {**asked, "encoder_last_hidden_state": "hidden"}
        for name, ours in asked.items():
            other = output.sop_logits if ours == "pair" and "sop_logits" in output else getattr(output, name)
            other = other[group.real(ours)] if ours in EVERYWHERE else other
            largest = max(1.0, float(other.abs().max()))
            assert (mine[ours] - other).abs().max() < 1e-5 * largest, ours
            spread.setdefault(ours, []).append(other.flatten())
    assert spread.keys() == set(asked.values())
    assert all(torch.cat(parts).std() > 1e-3 for parts in spread.values())


def test_our_export_opens_there_and_says_the_same(exported, documents):
    family, head, model, folder = exported
    options = FAMILIES[family].bare if head == "none" else {}
    opener = TOKENS.get(family, CLASSES[head][0]) if head == "token" else CLASSES[head][0]
    opened, info = getattr(transformers, opener).from_pretrained(folder, output_loading_info=True, **options)
    assert not info["missing_keys"] and not info["mismatched_keys"]
    assert all("pooler" in name for name in info["unexpected_keys"]) and (
        head == "token+summary" or not info["unexpected_keys"]
    )
    compare(model, opened.eval(), head, documents)
    if "token" in head:
        opener = getattr(transformers, TOKENS.get(family, "AutoModelForMaskedLM"))
        opened, info = opener.from_pretrained(folder, output_loading_info=True)
        assert not info["missing_keys"] and not info["mismatched_keys"]
    if head in TASKS:
        names = TASKS[head]["labels"] or ["LABEL_0"]
        assert [opened.config.id2label[i] for i in range(len(names))] == names
    assert bertsmith.verify(folder)["kind"] == "export"


@pytest.mark.usefixtures("few_texts")
@pytest.mark.parametrize("which", HEADS)
def test_their_folder_is_read_and_says_the_same(which, tokenizer, documents, tmp_path):
    family, head = which
    opened = theirs(transformers, family, head, tokenizer, tmp_path / "hf")
    model = bertsmith.load(tmp_path / "hf")
    compare(model, opened, head, documents)
    bertsmith.import_(tmp_path / "hf", tmp_path / "model")
    again = bertsmith.load(tmp_path / "model")
    assert again.recipe == model.recipe and again.task == model.task
    state = model.member.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.member.state_dict().items())
    assert model.task is None or model.task["labels"] == TASKS[head]["labels"]


@pytest.mark.usefixtures("few_texts")
def test_export_import_export_gives_the_same_bytes(exported, tmp_path):
    *_, one = exported
    two = tmp_path / "two"
    bertsmith.import_(one, tmp_path / "model")
    bertsmith.export(tmp_path / "model", two)
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    assert json.loads((one / "config.json").read_text()) == json.loads((two / "config.json").read_text())


def test_a_regression_says_the_numbers_themselves(tokenizer, tmp_path):
    rows = tmp_path / "rows.jsonl"
    texts = ["a list of names", "while the loop runs", "an object"]
    rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    model = loaded("bert", "regress", tokenizer, tmp_path / "run")
    bertsmith.export(model, tmp_path / "out")
    mine = [row["label"] for row in bertsmith.predict(model, rows)]
    pipe = transformers.pipeline("text-classification", model=str(tmp_path / "out"), function_to_apply="none")
    assert np.allclose(mine, [row["score"] for row in pipe(texts)], rtol=1e-5)
    assert max(mine) > 20  # in the scale of the labels, 37.5 ± 12.25
    assert np.allclose(mine, [row["label"] for row in bertsmith.predict(tmp_path / "out", rows)], rtol=1e-5)


def test_masks_are_filled_as_their_pipeline_fills_them(documents, tmp_path):
    for kind in ("wordpiece:300", "bpe:400", "unigram:200"):
        family = "bert" if kind.startswith("word") else "roberta"
        model = loaded(family, "token", tokenizer_of(documents[:20], kind), tmp_path / kind)
        bertsmith.export(model, tmp_path / f"{kind}-out")
        pipe = transformers.pipeline("fill-mask", model=str(tmp_path / f"{kind}-out"), top_k=3)
        for text in ("the [MASK] of a list", "a list  [MASK].", "a [MASK]ing list", "([MASK])"):
            mine = bertsmith.fill(model, text, top=3)["masks"][0]["top"]
            assert [guess["id"] for guess in mine] == [guess["token"] for guess in pipe(text)], kind
            assert np.allclose([guess["p"] for guess in mine], [guess["score"] for guess in pipe(text)], atol=1e-6)


def test_old_names_bare_models_and_buffers_are_the_same_tensors(tokenizer, tmp_path):
    """gamma and beta, a file without the family's prefix, position_ids, tied copies, half precision."""
    from safetensors.torch import save_file

    theirs(transformers, "bert", "token+pair", tokenizer, tmp_path)
    model = bertsmith.load(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    old = {}
    for name, tensor in state.items():
        name = (
            name.removeprefix("bert.")
            .replace("LayerNorm.weight", "LayerNorm.gamma")
            .replace("LayerNorm.bias", "LayerNorm.beta")
        )
        old[name] = tensor
    old["embeddings.position_ids"] = torch.arange(48)[None]
    old["cls.predictions.decoder.weight"] = state["bert.embeddings.word_embeddings.weight"].clone()
    old["cls.predictions.decoder.bias"] = state["cls.predictions.bias"].clone()
    save_file(old, tmp_path / "model.safetensors")
    again = bertsmith.load(tmp_path).member.state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in model.member.state_dict().items())
    save_file(
        {name: t.half() if t.is_floating_point() else t for name, t in old.items()}, tmp_path / "model.safetensors"
    )
    half = bertsmith.load(tmp_path).member.state_dict()
    assert all(torch.equal(tensor.half().float(), half[name]) for name, tensor in again.items())


def test_shards_are_one_model(tokenizer, tmp_path):
    opened = theirs(transformers, "roberta", "token", tokenizer, tmp_path)
    model = bertsmith.load(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    opened.save_pretrained(tmp_path, max_shard_size="8KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1 and not (tmp_path / "model.safetensors").exists()
    again = bertsmith.load(tmp_path)
    assert all(torch.equal(t, again.member.state_dict()[name]) for name, t in model.member.state_dict().items())
    assert len(again.weights) == len(list(tmp_path.glob("model-*.safetensors")))


def test_random_weights_are_random_everywhere(tokenizer):
    """Else a pair of swapped names would not show."""
    from bertsmith.nn.member import build

    member = randomised(build(recipe_of("bert", "classify", tokenizer.size)))
    assert all(p.std() > 0.01 for p in member.parameters() if p.numel() > 4)
