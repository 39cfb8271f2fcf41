"""Export, import and `--from`: what is refused and how it is said, what is kept, what a user can go on with."""

import json
import os
import shutil
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.folders import LENGTH, loaded, theirs, tokenizer_of

import bertsmith
from bertsmith import cli, files
from bertsmith.config import override
from bertsmith.deploy import check, export, importing, named
from bertsmith.deploy import texts as deploy_texts
from bertsmith.deploy.hf_tokenizer import hf_tokenizer
from bertsmith.deploy.texts import texts
from bertsmith.errors import InputError
from bertsmith.tasks.reading import Reading
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.training.start import SEGMENTS, recipe_for

transformers = pytest.importorskip("transformers")
READING = Reading(length=LENGTH)
MODEL, CONFIG, INDEX = "model.safetensors", "config.json", "model.safetensors.index.json"


@pytest.fixture(scope="module")
def tokenizer(documents):
    return tokenizer_of(documents[:20])


@pytest.fixture(scope="module")
def there(tokenizer, tmp_path_factory):
    """A folder of transformers' own: BertForPreTraining.  Not to be changed; `folder` is a copy."""
    at = tmp_path_factory.mktemp("there") / "hf"
    theirs(transformers, "bert", "token+pair", tokenizer, at)
    return at


@pytest.fixture
def folder(there, tmp_path):
    return shutil.copytree(there, tmp_path / "hf")


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    """A pre-training run on the store, with a held-out evaluation."""
    out = tmp_path_factory.mktemp("runs") / "run"
    bertsmith.pretrain(small("bert"), store, out, steps=2, threads=1)
    return out


def small(name):
    from bertsmith.recipe import find

    sizes = ["model.width=32", "model.hidden=64", "model.heads=2", "layout.length=64", "training.batch=512"]
    return override(find(f"{name}:tiny"), sizes)


def change(folder, name=CONFIG, **fields):
    tree = json.loads((folder / name).read_text())
    tree.update(fields)
    (folder / name).write_text(json.dumps({key: value for key, value in tree.items() if value is not None}))


def rewrite(folder, edit):
    state = load_file(folder / MODEL)
    edit(state)
    save_file(state, folder / MODEL)


# -- folders that do not fit ---------------------------------------------------------------------------------------------------------

NAME = "bert.encoder.layer.1.output.dense.bias"
BAD_TENSORS = {
    f"{NAME} is missing": lambda state: state.pop(NAME),
    "cls.predictions.transform.dense.weight is missing": lambda s: s.pop("cls.predictions.transform.dense.weight"),
    "bert.extra.weight is unexpected": lambda state: state.update({"bert.extra.weight": torch.zeros(2)}),
    r"layer.0.output.dense.weight has shape \[3, 3\], config.json means \[16, 24\]": lambda state: state.update(
        {"bert.encoder.layer.0.output.dense.weight": torch.zeros(3, 3)}
    ),
    f"{NAME} is not finite": lambda state: state[NAME].fill_(float("nan")),
    f"{NAME} holds int64, not floats": lambda state: state.update({NAME: torch.zeros(16, dtype=torch.int64)}),
    "decoder.weight: differs from bert.embeddings.word_embeddings.weight": lambda state: state.update(
        {"cls.predictions.decoder.weight": state["bert.embeddings.word_embeddings.weight"] + 1}
    ),
    "LayerNorm.weight: stands there twice": lambda state: state.update(
        {"bert.embeddings.LayerNorm.gamma": state["bert.embeddings.LayerNorm.weight"].clone()}
    ),
}


@pytest.mark.parametrize("said", BAD_TENSORS)
def test_tensors_without_a_place_and_places_without_a_tensor_are_listed(said, folder, tmp_path):
    rewrite(folder, BAD_TENSORS[said])
    with pytest.raises(InputError, match=said):
        bertsmith.load(folder)
    with pytest.raises(InputError, match=said):
        bertsmith.import_(folder, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_all_problems_are_counted(folder):
    rewrite(folder, lambda state: [state.pop(name) for name in list(state) if "layer.1." in name])
    with pytest.raises(InputError, match=r"is missing; .*; and 10 more; `bertsmith import --drop NAME`"):
        bertsmith.load(folder)


BAD_CONFIGS = {
    "hidden_size is missing": {"hidden_size": None},
    "config.json: hidden_size: expected int, got '16'": {"hidden_size": "16"},
    "above the limit of 1": {"vocab_size": 10**12},
    "model_type 'llama' cannot be read; known: bert, roberta": {"model_type": "llama"},
    "hidden_act: .silu.: layers with gelu, gelu_new, relu.* can be read": {"hidden_act": "silu"},
    "300 tokens in its tokenizer, but config.json says vocab_size 299": {"vocab_size": 299},
    r"layer\.2\.attention\.self\.query\.weight is missing": {"num_hidden_layers": 3},
    "layer.1.*is unexpected": {"num_hidden_layers": 1},
    "heads .3. must divide width .16.": {"num_attention_heads": 3},
    r"model_type .*\['bert'\].* cannot be read": {"model_type": ["bert"]},
    r"hidden_act: \{\}: layers with": {"hidden_act": {}},
    "layer_norm_eps: nan is not a finite number": {"layer_norm_eps": float("nan")},
    "type_vocab_size: 1; a bert needs at least 2 segments": {"type_vocab_size": 1},
}


@pytest.mark.parametrize("said", BAD_CONFIGS)
def test_a_configuration_that_does_not_fit_is_named(said, folder, there):
    change(folder, **BAD_CONFIGS[said])
    with pytest.raises(InputError, match=said):
        bertsmith.load(folder)
    assert bertsmith.load(there).task is None


@pytest.mark.parametrize(
    ("family", "name"), [("xlm-roberta", "XLMRoberta"), ("camembert", "Camembert"), ("distilbert", "DistilBert")]
)
def test_what_is_fine_tuned_keeps_the_class_it_came_as(family, name, tokenizer, tmp_path):
    theirs(transformers, family, "token", tokenizer, tmp_path / "hf")
    rows, dev = tmp_path / "rows.jsonl", tmp_path / "dev.jsonl"
    lines = [{"text": f"a text {i}", "text2": "or two", "label": "ny"[i % 2]} for i in range(8)]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    dev.write_text(rows.read_text().replace("a text", "another"))
    task = {"task": "classify", "train": rows, "dev": dev, "epochs": 1, "threads": 1}
    bertsmith.finetune(tmp_path / "hf", out=tmp_path / "run", **task)
    result = bertsmith.export(tmp_path / "run", tmp_path / "out")
    assert result["classes"] == [f"{name}ForSequenceClassification"]
    both = [[row["label"] for row in bertsmith.predict(tmp_path / at, dev)] for at in ("run", "out")]
    assert both[0] == both[1]
    reading = bertsmith.load(tmp_path / "out").reading()
    assert reading.between == (1 if family == "distilbert" else 2) and not reading.segments


def test_pre_training_goes_on_with_distilbert_and_xlm_roberta(tokenizer, corpus, tmp_path):
    for family, recipe in (("distilbert", "roberta"), ("xlm-roberta", "roberta"), ("distilbert", "bert")):
        there, out = tmp_path / family, tmp_path / f"{family}-{recipe}"
        theirs(transformers, family, "token", tokenizer, there)
        if not (tmp_path / "store").exists():
            bertsmith.prepare([str(corpus)], tmp_path / "store", tokenizer=str(there), holdout=0.05)
        heads = ["pair"] if recipe == "bert" else []
        bertsmith.pretrain(recipe, tmp_path / "store", out, steps=1, threads=1, from_=there, new_heads=heads)
        assert bertsmith.load(out).recipe.model == bertsmith.load(there).recipe.model


REASONS = {
    r"position_embedding_type: 'relative_key': bert is read with 'absolute' only": {
        "position_embedding_type": "relative_key"
    },
    r"is_decoder: True: bert is read with False only": {"is_decoder": True},
    r"add_cross_attention: True: bert": {"add_cross_attention": True},
    r"pruned_heads: \{'0': \[1\]\}: bert is read with None only": {"pruned_heads": {"0": [1]}},
}


@pytest.mark.parametrize("said", REASONS)
def test_what_is_not_done_here_is_named_by_its_field(said, folder, store, tmp_path):
    change(folder, **REASONS[said])
    for opens in (bertsmith.load, lambda at: bertsmith.import_(at, tmp_path / "model")):
        with pytest.raises(InputError, match=f"config.json: {said}"):
            opens(folder)
    with pytest.raises(InputError, match=f"config.json: {said}"):
        bertsmith.pretrain("bert", store, tmp_path / "run", steps=1, from_=folder)


def test_an_adapter_beside_the_weights_is_not_passed_over(folder, tmp_path):
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(InputError, match=r"adapter_config.json: an adapter.*merge_and_unload"):
        bertsmith.load(folder)
    (folder / CONFIG).unlink()  # as peft writes it
    with pytest.raises(InputError, match=r"adapter_config.json: an adapter"):
        bertsmith.load(folder)


def test_a_choice_among_texts_is_no_regression(tokenizer, tmp_path):
    theirs(transformers, "bert", "regress", tokenizer, tmp_path / "hf")
    change(tmp_path / "hf", architectures=["BertForMultipleChoice"])
    assert bertsmith.load(tmp_path / "hf").task["kind"] == "choice"
    bertsmith.import_(tmp_path / "hf", tmp_path / "model", drop=["classifier"])
    assert list(bertsmith.load(tmp_path / "model").member.weights()) == ["summary"]


@pytest.mark.usefixtures("few_texts")
@pytest.mark.parametrize("head", ["token+pair", "token", "summary", "none", "classify"])
@pytest.mark.parametrize(
    "named", [{"model_type": "roberta"}, {"model_type": None}, {"model_type": None, "architectures": None}]
)
def test_a_bert_by_another_name_is_a_bert(head, named, tokenizer, tmp_path):
    """As roberta-wwm-ext, which is a BERT trained as RoBERTa was; and as the first BERTs, whose file did not say what they are."""
    there, said = tmp_path / "hf", []
    theirs(transformers, "bert", head, tokenizer, there)
    wanted = bertsmith.embed(there, ["a text", "another one"])
    bare = head in ("summary", "none")  # names without a beginning are those of a RoBERTa as well
    change(there, **named)
    if bare and named["model_type"]:
        with pytest.raises(InputError, match="roberta"):
            bertsmith.load(there)
        return
    model = bertsmith.load(there, say=said.append)
    assert any("its tensors are those of a bert, and it is read as one" in line for line in said)
    assert np.array_equal(bertsmith.embed(model, ["a text", "another one"]), wanted)
    bertsmith.import_(there, tmp_path / "model")
    bertsmith.export(tmp_path / "model", tmp_path / "out")
    assert json.loads((tmp_path / "out" / CONFIG).read_text())["model_type"] == "bert"


def test_the_first_berts_had_their_numbers_in_another_file(there, folder, store):
    change(folder, model_type=None, architectures=None)
    (folder / CONFIG).rename(folder / "bert_config.json")
    assert bertsmith.fill(folder, "a [MASK] b") == bertsmith.fill(there, "a [MASK] b")
    assert recipe_for("bert", folder).model == recipe_for("bert", there).model


@pytest.mark.parametrize("family", ["roberta", "distilbert", "albert", "electra", "xlnet", "xlm-roberta"])
@pytest.mark.parametrize("head", ["token", "none"])
def test_every_family_is_itself_by_its_tensors(family, head, tokenizer, tmp_path):
    theirs(transformers, family, head, tokenizer, tmp_path)
    said = []
    assert bertsmith.load(tmp_path, say=said.append).config["source"]["model_type"] == family and not said
    change(tmp_path, model_type=None)
    if head == "token":
        found = bertsmith.load(tmp_path).config["source"]["model_type"]
        assert found == family.removeprefix("xlm-")


def test_files_that_are_not_what_they_should_be(folder, there):
    def refused(said):
        with pytest.raises(InputError, match=said):
            bertsmith.load(folder)

    weights = (folder / MODEL).read_bytes()
    (folder / MODEL).write_bytes(weights[:-5])
    refused("model.safetensors: not a safetensors file")
    (folder / MODEL).write_bytes((2**63).to_bytes(8, "little") + weights[8:])
    refused("model.safetensors: not a safetensors file")
    (folder / MODEL).unlink()
    refused("model.safetensors: missing")
    torch.save({"a": torch.zeros(1)}, folder / "pytorch_model.bin")
    refused("pytorch_model.bin: a pickle .*save_pretrained")
    os.mkfifo(folder / MODEL)  # must not be waited for
    refused("model.safetensors: not a plain file")
    (folder / MODEL).unlink()
    (folder / MODEL).write_bytes(weights)
    (folder / "tokenizer.json").write_text("{")
    refused("tokenizer.json: not JSON")
    shutil.copy(there / "tokenizer.json", folder)
    change(folder, "tokenizer.json", added_tokens=False)
    refused("tokenizer.json: added_tokens: is not a list")
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").unlink()
    refused("no tokenizer.json and no vocab.txt")
    (folder / CONFIG).write_text("[" * 100_000)
    refused("holds no saved step|damaged")


@pytest.mark.parametrize(
    "name", ["../hf/model.safetensors", "/etc/passwd", "sub/model.safetensors", 5, "pytorch_model.bin"]
)
def test_an_index_cannot_lead_out_of_its_folder(name, folder):
    state = load_file(folder / MODEL)
    (folder / MODEL).rename(folder / "other.safetensors")
    (folder / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(state, name)}))
    with pytest.raises(InputError, match="is not the name of a safetensors file in this folder"):
        bertsmith.load(folder)
    (folder / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(state, "other.safetensors")}))
    bertsmith.load(folder)
    (folder / INDEX).write_text(json.dumps({"weight_map": {"x": "other.safetensors"}}))
    with pytest.raises(InputError, match=r"other.safetensors: .*says otherwise"):
        bertsmith.load(folder)


def test_a_label_head_needs_its_names(tokenizer, tmp_path):
    theirs(transformers, "bert", "classify", tokenizer, tmp_path)
    change(tmp_path, id2label={"0": "no", "1": "no", "2": "yes"})
    with pytest.raises(InputError, match="id2label: expected 3 different names"):
        bertsmith.load(tmp_path)
    change(tmp_path, id2label=None)
    assert bertsmith.load(tmp_path).labels.names == ("LABEL_0", "LABEL_1", "LABEL_2")
    change(tmp_path, problem_type="multi_label_classification")
    assert bertsmith.load(tmp_path).task["kind"] == "multilabel"
    change(tmp_path, problem_type="regression")
    with pytest.raises(InputError, match="problem_type: regression with 3 outputs"):
        bertsmith.load(tmp_path)


def test_a_classifier_of_tokens_is_told_from_one_of_texts(tokenizer, tmp_path):
    """Both are called classifier there; only that of texts reads the pooler."""
    there = tmp_path / "hf"
    theirs(transformers, "bert", "tag", tokenizer, there)
    tagger = bertsmith.load(there)
    assert tagger.task["kind"] == "tag" and tagger.labels.names == ("B-X", "I-X", "O")
    change(there, architectures=None)
    assert bertsmith.load(there).task["kind"] == "tag"
    change(there, architectures=["BertForSequenceClassification"])
    with pytest.raises(InputError, match=r"bert.pooler.dense.weight is missing"):
        bertsmith.load(there)
    change(there, architectures=["BertForTokenClassification"])
    rewrite(there, lambda state: state.update({f"bert.pooler.dense.{n}": torch.zeros(s) for n, s in SHAPES.items()}))
    with pytest.raises(InputError, match=r"bert.pooler.dense.weight is unexpected.*--drop NAME"):
        bertsmith.load(there)
    bertsmith.import_(there, tmp_path / "model", drop=["bert.pooler"])
    (tmp_path / "words.conll").write_text("function\nvalue\n")
    assert len(bertsmith.predict(tmp_path / "model", tmp_path / "words.conll")[0]["label"]) == 2


SHAPES = {"weight": (16, 16), "bias": (16,)}


# -- import --------------------------------------------------------------------------------------------------------------------------


def test_heads_are_left_out_and_made_by_name_only(tokenizer, there, tmp_path):
    said = []
    bertsmith.import_(there, tmp_path / "a", drop=["cls.predictions", "cls.seq_relationship"], say=said.append)
    trunk = bertsmith.load(tmp_path / "a")
    assert list(trunk.member.weights()) == ["summary"]
    assert any("no token head" in line for line in said)
    with pytest.raises(InputError, match="no token head"):
        bertsmith.fill(trunk, "a [MASK]")
    with pytest.raises(InputError, match=r"drop='qa_outputs': .* has no tensor of that name"):
        bertsmith.import_(there, tmp_path / "b", drop=["qa_outputs"])
    with pytest.raises(InputError, match=r"new_heads='token': .* has a token head"):
        bertsmith.import_(there, tmp_path / "b", new_heads=["token"])
    with pytest.raises(InputError, match="new_heads='label': cannot be made for a bert; known: pair, token"):
        bertsmith.import_(there, tmp_path / "b", new_heads=["label"])
    assert not (tmp_path / "b").exists()
    options = {"drop": ["cls.predictions", "cls.seq_relationship"], "new_heads": ["token", "pair"]}
    bertsmith.import_(there, tmp_path / "b", say=said.append, **options)
    made, whole = bertsmith.load(tmp_path / "b"), bertsmith.load(there)
    assert list(made.member.weights()) == ["token", "pair"]
    assert "the pair head is fresh, but for the pooler of summary" in said
    mine, old = made.member.state_dict(), whole.member.state_dict()
    differ = {name for name in old if not torch.equal(mine[name], old[name])}
    assert {name.split(".")[1] for name in differ} == {
        "token",
        "pair",
    } and "objective.pair.pooler.dense.weight" not in differ
    assert len(bertsmith.fill(made, "a [MASK]")["masks"]) == 1


def test_roberta_has_no_pairs_to_make_a_head_for(tokenizer, run, store, tmp_path):
    theirs(transformers, "roberta", "none", tokenizer, tmp_path / "hf")
    with pytest.raises(InputError, match="new_heads='pair': cannot be made for a roberta; known: token"):
        bertsmith.import_(tmp_path / "hf", tmp_path / "model", new_heads=["pair"])
    bertsmith.import_(tmp_path / "hf", tmp_path / "model", new_heads=["token"])
    assert list(bertsmith.load(tmp_path / "model").member.weights()) == ["token"]
    for source, said in ((run, "holds no config.json of Hugging Face format"), (store.path, "is a store|a store, not")):
        with pytest.raises(InputError, match=said):
            bertsmith.import_(source, tmp_path / "other")


def test_an_import_is_a_run_that_every_verb_takes(folder, store, tmp_path, capsys):
    theirs(transformers, "bert", "classify", Tokenizer.load(folder), tmp_path / "classifier")
    out, rows = tmp_path / "model", tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(json.dumps({"text": f"a text {i}", "label": "yes" if i % 2 else "no"}) + "\n" for i in range(6))
    )
    run = lambda *arguments: cli.run([str(argument) for argument in arguments])
    assert run("import", folder, "--out", out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["heads"] == ["token", "pair"]
    assert run("verify", out) == run("verify", out / "steps" / "step-00000000") == 0
    assert run("import", folder, "--out", out) == 2
    assert "--force replaces" in capsys.readouterr().err
    assert run("import", folder, "--out", out, "--force") == 0
    for model in (folder, out, out / "steps" / "step-00000000"):
        assert run("fill", model, "a [MASK]", "--json") == 0
        assert run("embed", model, "--input", rows, "--out", tmp_path / f"{model.name}-vectors") == 0
    vectors = [np.load(tmp_path / f"{name}-vectors" / "vectors.npy") for name in ("hf", "model", "step-00000000")]
    assert np.array_equal(vectors[0], vectors[1]) and np.array_equal(vectors[0], vectors[2])
    assert run("show", "roberta:tiny", "--text", rows, "--tokenizer", folder, "-n", 1) == 0
    capsys.readouterr()
    assert run("evaluate", tmp_path / "classifier", "--input", rows, "--json") == 0
    assert "accuracy" in json.loads(capsys.readouterr().out)
    assert run("predict", tmp_path / "classifier", "--input", rows, "--out", tmp_path / "p.jsonl") == 0
    scores = [json.loads(line)["scores"] for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert list(scores[0]) == ["no", "perhaps", "yes"]
    dev = tmp_path / "dev.jsonl"
    dev.write_text(rows.read_text().replace("a text", "another"))
    tuned = ["--task", "classify", "--train", rows, "--dev", dev, "--set", "epochs=1", "--threads", 1]
    assert run("finetune", folder, *tuned, "--out", tmp_path / "one") == 0
    assert run("finetune", out, *tuned, "--out", tmp_path / "two") == 0
    one, two = (bertsmith.load(tmp_path / name).member.state_dict() for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert run("export", tmp_path / "one", "--out", tmp_path / "out") == 0
    assert run("report", tmp_path / "one", "--out", tmp_path / "r.html") == 0


def test_a_flipped_bit_in_an_import_is_found(there, tmp_path):
    bertsmith.import_(there, tmp_path / "model")
    for path in sorted((tmp_path / "model").rglob("*")):
        if path.is_file() and path.stat().st_size:
            data = path.read_bytes()
            path.write_bytes(data[:-9] + bytes([data[-9] ^ 4]) + data[-8:])
            with pytest.raises(InputError, match=path.name):
                bertsmith.verify(tmp_path / "model")
            path.write_bytes(data)
    assert bertsmith.verify(tmp_path / "model")["kind"] == "run"


def test_what_transformers_reads_otherwise_is_not_imported(there, tmp_path, monkeypatch):
    monkeypatch.setattr(importing, "load", lambda run: loaded("bert", "token+pair", Tokenizer.load(run), run, seed=5))
    with pytest.raises(InputError, match=r"not written: .* of transformers differs by"):
        bertsmith.import_(there, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_another_tokenizer_class_is_said(documents, tmp_path):
    """A cased vocabulary under BertTokenizer without its rules comes back lower-cased from transformers: tokenizer.json is what was
    trained with."""
    cased = tokenizer_of(documents[:20], lowercase=False)
    theirs(transformers, "bert", "token", cased, tmp_path / "hf")
    change(tmp_path / "hf", "tokenizer_config.json", tokenizer_class="BertTokenizer", do_lower_case=None)
    said = []
    found = bertsmith.import_(tmp_path / "hf", tmp_path / "model", say=said.append)
    assert found["texts_with_other_ids"] > 500
    assert any(line.startswith("warning: AutoTokenizer") for line in said)
    text = "An Assert Statement"
    assert (
        bertsmith.load(tmp_path / "model").tokenizer.encode([text])[0][0].tolist()
        == cased.encode([text])[0][0].tolist()
    )


def test_vocab_txt_is_read_by_the_rules_beside_it(documents, folder, tmp_path):
    vocab = sorted((i, token) for token, i in tokenizer_of(documents[:20]).backend.get_vocab().items())
    for accents in (None, True, False):
        for han in (True, False):
            at = tmp_path / f"{accents}-{han}"
            at.mkdir()
            (at / "vocab.txt").write_text("".join(f"{token}\n" for _, token in vocab), encoding="utf-8")
            rules = {"do_lower_case": True, "strip_accents": accents, "tokenize_chinese_chars": han}
            (at / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", **rules}))
            mine, other = Tokenizer.load(at), transformers.AutoTokenizer.from_pretrained(at)
            made, _ = texts(mine, {}, 300)
            assert check.differing_ids(other, mine, [*made, "é" * 5, "a" * 150, "你好abc"], READING) == []


# -- export --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("few_texts")  # a thousand are read below
@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("kind", ["wordpiece:300", "bpe:400", "bpe-char:300", "unigram:200", "char", "byte"])
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_auto_tokenizer_gives_our_ids(family, kind, lowercase, documents, tmp_path):
    ours = tokenizer_of(documents[:20], kind, lowercase)
    bertsmith.export(loaded(family, "token", ours, tmp_path / "run"), tmp_path / "out")
    other = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    lines = [line for text in documents for line in text.split("\n")][:1000]
    assert len(lines) == 1000 and check.differing_ids(other, ours, lines, READING) == []
    assert other.model_max_length == LENGTH and other.mask_token_id == ours.vocab.mask
    pair = other("one", "two")
    (one, _), (two, _) = ours.encode(["one", "two"])
    between = [ours.vocab.sep] * (1 if family == "bert" else 2)
    assert pair["input_ids"] == [ours.vocab.cls, *one, *between, *two, ours.vocab.sep]
    types = [0] * (len(one) + 2) + [1] * (len(two) + 1)
    assert pair.get("token_type_ids") == (types if family == "bert" else None)
    assert Tokenizer.load(tmp_path / "out").reading == ours.reading


def test_reading_tells_tokenizers_apart(documents):
    one = tokenizer_of(documents[:20])
    assert one.reading == tokenizer_of(documents[:20]).reading
    others = [
        tokenizer_of(documents[:20], lowercase=False),
        tokenizer_of(documents[:20], "wordpiece:301"),
        one.extend(["xyzzy"]),
    ]
    assert len({one.reading, *(other.reading for other in others)}) == 4


def test_a_folder_that_opens_otherwise_is_never_written(documents, tmp_path, monkeypatch):
    """The trap itself: another tokenizer_class, a tensor under another name, other numbers."""
    model = loaded("bert", "token", tokenizer_of(documents[:20], lowercase=False), tmp_path / "run")

    def refused(said):
        with pytest.raises(InputError, match=f"out: not written: {said}"):
            bertsmith.export(model, tmp_path / "out")
        assert not list(tmp_path.iterdir())

    def lowered(*arguments, **options):
        made = hf_tokenizer(*arguments, **options)
        made["tokenizer_config.json"] = made["tokenizer_config.json"].replace(
            b"PreTrainedTokenizerFast", b"BertTokenizer"
        )
        return made

    monkeypatch.setattr(export, "hf_tokenizer", lowered)
    refused("AutoTokenizer gives other ids for .* of 1,000 texts")
    monkeypatch.undo()
    real = export.to_hf
    renamed = lambda *a: {name.replace("layer.1.output", "layer.9.output"): t for name, t in real(*a).items()}
    monkeypatch.setattr(export, "to_hf", renamed)
    refused("AutoModelForMaskedLM of transformers .* misses bert.encoder.layer.1.output")
    monkeypatch.setattr(export, "to_hf", lambda *a: {**real(*a), "bert.more": torch.zeros(1)})
    refused("transformers .* does not read bert.more")
    monkeypatch.setattr(
        export, "to_hf", lambda *a: {n: t + 1e-3 * ("layer.1.output.LayerNorm.bias" in n) for n, t in real(*a).items()}
    )
    refused("(token|hidden) of transformers differs by")


def test_a_model_whose_float32_is_coarse_is_judged_in_float64(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(check, "TOLERANCE", 0.0)
    for head in ("token+pair", "regress"):
        result = bertsmith.export(loaded("bert", head, tokenizer, tmp_path / "run"), tmp_path / head)
        assert all(apart < 1e-5 for apart in result["largest_difference"].values())
    monkeypatch.setattr(check, "EXACT", 0.0)
    with pytest.raises(InputError, match=r"not written: \w+ of transformers differs by"):
        bertsmith.export(loaded("bert", "token+pair", tokenizer, tmp_path / "run"), tmp_path / "out")


def test_weights_that_are_not_finite_are_not_exported(tokenizer, tmp_path):
    model = loaded("bert", "token", tokenizer, tmp_path / "run")
    with torch.no_grad():
        model.member.model.layers[0].attention.qkv.weight[0, 0] = float("inf")
    with pytest.raises(InputError, match=r"qkv.weight is not finite; such a model is not exported"):
        bertsmith.export(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_stands_at_out_is_replaced_by_force_alone_and_only_an_export(tokenizer, run, tmp_path):
    model, out = loaded("bert", "token", tokenizer, tmp_path / "run"), tmp_path / "out"
    bertsmith.export(model, out)
    before = files.listing(out, os.listdir(out))
    with pytest.raises(InputError, match="holds a Hugging Face export already; force=True replaces it"):
        bertsmith.export(model, out)
    bertsmith.export(model, out, force=True)
    assert files.listing(out, os.listdir(out)) == before
    (out / "mine.txt").write_text("x")
    with pytest.raises(InputError, match=r"holds mine\.txt"):
        bertsmith.export(model, out, force=True)
    with pytest.raises(InputError, match="lies in the model's own folder"):
        bertsmith.export(run, run / "hf")
    with pytest.raises(InputError, match="to='tflite': unknown"):
        bertsmith.export(model, tmp_path / "other", to="tflite")


def test_a_head_over_the_mean_has_no_class_there(tokenizer, tmp_path):
    from dataclasses import replace

    model = loaded("bert", "classify", tokenizer, tmp_path / "run")
    recipe = replace(model.recipe, objective=replace(model.recipe.objective, pool="mean"))
    with pytest.raises(InputError, match=r"set=\{'pool': 'cls'\}"):
        bertsmith.export(replace(model, recipe=recipe), tmp_path / "out")


def test_without_transformers_nothing_is_promised(run, there, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    for verb, call in {"export": bertsmith.export, "import": bertsmith.import_}.items():
        with pytest.raises(InputError, match=rf"{verb}: .* pip install 'bertsmith\[hf\]'"):
            call(run if verb == "export" else there, tmp_path / "out")
    assert bertsmith.load(there).kind == "import"


def test_the_card_says_what_it_is_and_no_path(run, store, tmp_path):
    bertsmith.export(run, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert 'pipeline_tag: "fill-mask"' in card and "license:" not in card.split("---")[1]
    assert store.digest in card and f"{store.train.count:,} tokens" in card
    assert "held-out token: loss" in card and "held-out pair: loss" in card
    assert '"bertsmith.text.layout:SegmentPairs"' in card or '"bertsmith.text.pairs:SegmentPairs"' in card
    everything = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    assert str(store.path).encode() not in everything and str(run).encode() not in everything
    manifest = files.read_manifest(tmp_path / "out", "export", 1)
    assert manifest["compared"]["texts_from"].startswith("500 of the store, 500 made up")
    assert set(manifest["compared"]["largest_difference"]) == {"token", "pair", "hidden", "summary"}


@pytest.mark.parametrize("kind", ["wordpiece:300", "bpe:400", "unigram:300"])
def test_special_tokens_written_in_the_texts_of_the_check_refuse_nothing(kind, documents, tmp_path, monkeypatch):
    """A store's sentences come back with [UNK] in them, and a text may speak of [MASK]: text here, the token there."""
    written = [f"the [UNK] of a list [MASK], and {i} [SEP][CLS] more[mask]" for i in range(500)]
    monkeypatch.setattr(deploy_texts, "store_of", lambda config: "a store")
    monkeypatch.setattr(deploy_texts, "_of_store", lambda *a: written)
    model = loaded("bert", "token+pair", tokenizer_of(documents[:20], kind), tmp_path / "run")
    chosen, said = texts(model.tokenizer, {}, 600)
    assert said.startswith("500 of the store") and len(chosen) == 600
    assert not any(name in text for text in chosen for name in model.tokenizer.roles.values())
    assert bertsmith.export(model, tmp_path / "out")["texts"] == 1000
    other = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert check.differing_ids(other, model.tokenizer, written, READING) == []


def test_a_regression_keeps_its_scale_in_cross_encoders(tokenizer, tmp_path):
    """sentence-transformers puts a sigmoid on one output unless config.json names another function, under either key."""
    bertsmith.export(loaded("bert", "regress", tokenizer, tmp_path / "run"), tmp_path / "one")
    bertsmith.export(loaded("bert", "classify", tokenizer, tmp_path / "run"), tmp_path / "many")
    one, many = (transformers.AutoConfig.from_pretrained(tmp_path / name) for name in ("one", "many"))
    assert one.sbert_ce_default_activation_function == one.sentence_transformers["activation_fn"]
    path, _, name = one.sentence_transformers["activation_fn"].rpartition(".")
    assert getattr(sys.modules[path], name) is torch.nn.Identity
    assert not hasattr(many, "sentence_transformers")


NAMED = [
    ("bert", "wordpiece:300", False),
    ("bert", "wordpiece:300", True),
    ("electra", "wordpiece:300", True),
    ("distilbert", "wordpiece:300", False),
    ("roberta", "bpe:400", True),
    ("albert", "unigram:300", False),
    ("albert", "unigram:300", True),
]


@pytest.mark.parametrize(("family", "kind", "lowercase"), NAMED)
def test_classes_called_by_name_give_our_ids_for_plain_text(family, kind, lowercase, documents, tmp_path):
    """Of prose in English; what is left is told by the export (invisible characters; marks for bytes; compatibility forms for pieces)."""
    model = loaded(family, "none", tokenizer_of(documents[:20], kind, lowercase), tmp_path / "run")
    found = bertsmith.export(model, tmp_path / "out")["tokenizers"]
    assert tuple(found) == named.CLASSES[family]
    lines = [
        line
        for text in documents
        for line in text.split("\n")
        if line.isascii() and "``" not in line and "''" not in line
    ][:500]
    for name in found:
        opened = getattr(transformers, name).from_pretrained(tmp_path / "out")
        assert len(opened) == model.tokenizer.size  # nothing added beyond the table
        if family == "roberta":  # it has no rule for capitals
            lines = [line.lower() for line in lines]
        assert check.differing_ids(opened, model.tokenizer, lines, READING) == [], name
    everything = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert everything.get("do_lower_case", lowercase) == lowercase and everything["cls_token"] == "[CLS]"


def test_a_class_that_cannot_read_it_is_told_and_does_not_stop_an_export(documents, tmp_path):
    model = loaded("bert", "none", tokenizer_of(documents[:20], "unigram:300"), tmp_path / "run")
    said = []
    found = bertsmith.export(model, tmp_path / "out", say=said.append)["tokenizers"]
    assert all(isinstance(apart, str) or apart > 500 for apart in found.values())
    assert sum(line.startswith("open it with AutoTokenizer: BertTokenizer") for line in said) == 1


def test_vocabulary_files_hold_every_token_by_its_number(documents, tmp_path):
    for kind, names in {
        "wordpiece:300": {"vocab.txt"},
        "bpe:400": {"vocab.json", "merges.txt"},
        "unigram:300": set(),
    }.items():
        ours = tokenizer_of(documents[:20], kind)
        made = hf_tokenizer(ours, READING)
        assert {name for name in made if name.startswith(("vocab", "merges"))} == names
        if "vocab.txt" in names:
            assert made["vocab.txt"].decode().split("\n")[:-1] == ours.tokens(range(ours.size))
        if "vocab.json" in names:
            assert json.loads(made["vocab.json"]) == ours.backend.get_vocab()


def test_a_flipped_bit_in_an_export_is_found_before_it_is_used(tokenizer, tmp_path):
    out = tmp_path / "out"
    bertsmith.export(loaded("bert", "token", tokenizer, tmp_path / "run"), out)
    for path in sorted(out.iterdir()):
        data = path.read_bytes()
        for damaged in (data[:-9] + bytes([data[-9] ^ 4]) + data[-8:], data[:-1]):
            path.write_bytes(damaged)
            for verb in (bertsmith.verify, bertsmith.load):
                with pytest.raises(InputError, match=path.name):
                    verb(out)
        path.write_bytes(data)
    assert bertsmith.verify(out)["files"] == 8
    sealed = {**files.unsealed((out / files.MANIFEST).read_bytes(), out), "format": 99}
    (out / files.MANIFEST).write_bytes(files.sealed(sealed))
    with pytest.raises(InputError, match="comes from a newer bertsmith"):
        bertsmith.load(out)
    (out / files.MANIFEST).unlink()
    change(out, hidden_dropout_prob=0.2)
    assert bertsmith.load(out).recipe.model.dropout == 0.2


# -- pretrain --from -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported") / "hf"
    bertsmith.export(run, out)
    return out


def test_going_on_with_an_export_is_going_on_with_the_run(run, exported, store, tmp_path):
    bertsmith.pretrain(small("bert"), store, tmp_path / "a", steps=2, threads=1, from_=run)
    bertsmith.pretrain(small("bert"), store, tmp_path / "b", steps=2, threads=1, from_=exported)
    bertsmith.import_(exported, tmp_path / "model")
    bertsmith.pretrain(small("bert"), store, tmp_path / "c", steps=2, threads=1, from_=tmp_path / "model")
    metrics = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in "abc"]
    assert metrics[0] == metrics[1] == metrics[2]
    first = json.loads(metrics[0].splitlines()[0])["loss"]
    fresh = json.loads((run / "metrics.jsonl").read_bytes().splitlines()[0])["loss"]
    assert first < fresh  # it starts from what was learned
    bertsmith.pretrain(small("bert"), store, tmp_path / "b", steps=2, threads=1, from_=exported, resume=True)
    with pytest.raises(InputError, match="resume=True: from"):
        bertsmith.pretrain(small("bert"), store, tmp_path / "b", steps=2, threads=1, from_=run, resume=True)


def test_a_member_without_a_size_takes_the_shapes_of_the_start(exported, run, store, tmp_path):
    for start in (exported, run):
        out = tmp_path / start.name
        bertsmith.pretrain("bert", store, out, steps=1, threads=1, from_=start)
        recipe = bertsmith.load(out).recipe
        assert recipe.model == bertsmith.load(start).recipe.model
        assert (recipe.layout.length, recipe.training.batch, recipe.schedule.lr) == (128, 8192, 1e-4)
    with pytest.raises(InputError, match=r"model.width: it has 32, the recipe 128; give the recipe without a size"):
        bertsmith.pretrain("bert:tiny", store, tmp_path / "x", steps=1, threads=1, from_=exported)
    said = []
    bertsmith.pretrain("roberta", store, tmp_path / "r", steps=1, threads=1, from_=exported, say=said.append)
    assert any("its pair head is left out" in line for line in said)
    assert bertsmith.load(tmp_path / "r").recipe.model.segments == 2
    with pytest.raises(InputError, match="no size"):
        bertsmith.pretrain("bert", store, tmp_path / "x", steps=1)
    assert not (tmp_path / "x").exists()


def test_new_segments_start_as_copies_where_the_rewrite_says_of_which(exported, run, store, tmp_path):
    for start in (exported, run):
        said, out = [], tmp_path / start.name
        recipe = override(recipe_for("unilm", start), ["schedule.lr=1e-30"])  # too little to move a weight
        bertsmith.pretrain(recipe, store, out, steps=1, threads=1, from_=start, say=said.append)
        made, old = (bertsmith.load(at).member.state_dict() for at in (out, start))
        rows = old.pop(SEGMENTS)
        assert not torch.equal(rows[0], rows[1])
        assert torch.equal(made.pop(SEGMENTS), rows[[0, 1, 0, 0, 0, 1]])
        assert made.keys() == old.keys() and all(torch.equal(made[name], old[name]) for name in old)
        assert "the segment rows 2, 3, 4 start as copies of row 0" in said
        assert "the segment rows 5 start as copies of row 1" in said
    for recipe, count in ((small("bert"), 3), (small("unilm"), 8)):
        more = override(recipe, [f"model.embeddings.segments={count}"])
        with pytest.raises(InputError, match=rf"model\.embeddings\.segments: it has 2, the recipe {count}"):
            bertsmith.pretrain(more, store, tmp_path / "x", steps=1, from_=run)
    with pytest.raises(InputError, match=r"model\.embeddings\.segments: it has 6, the recipe 2"):
        bertsmith.pretrain(small("bert"), store, tmp_path / "x", steps=1, from_=tmp_path / "run")
    assert not (tmp_path / "x").exists()


def test_a_head_that_is_not_there_is_fresh_by_name_only(exported, store, tmp_path):
    bertsmith.import_(exported, tmp_path / "trunk", drop=["cls.predictions", "cls.seq_relationship"])
    start = {"steps": 1, "threads": 1, "from_": tmp_path / "trunk"}
    with pytest.raises(
        InputError,
        match=r"no token and no pair head, .*; new_heads='token' and new_heads='pair' starts with fresh ones",
    ):
        bertsmith.pretrain("bert", store, tmp_path / "run", **start)
    with pytest.raises(InputError, match="new_heads='boundary': the recipe has no such head; it has token, pair"):
        bertsmith.pretrain("bert", store, tmp_path / "run", new_heads=["boundary"], **start)
    assert not (tmp_path / "run").exists()
    bertsmith.pretrain("bert", store, tmp_path / "run", new_heads=["token", "pair"], **start)
    with pytest.raises(InputError, match=r"new_heads='token': .* has a token head"):
        bertsmith.pretrain("bert", store, tmp_path / "b", steps=1, from_=exported, new_heads=["token"])


def test_another_tokenizer_is_refused_with_the_way_out(there, corpus, store, tmp_path):
    with pytest.raises(
        InputError, match=f"tokenizer is not the store's; prepare the text again with tokenizer='{there}'"
    ):
        bertsmith.pretrain("bert", store, tmp_path / "run", steps=1, from_=there)
    bertsmith.prepare([str(corpus)], tmp_path / "store", tokenizer=str(there), holdout=0.05)
    bertsmith.pretrain("bert", tmp_path / "store", tmp_path / "run", steps=1, threads=1, from_=there)
    assert bertsmith.load(tmp_path / "run").recipe.layout.length == LENGTH
