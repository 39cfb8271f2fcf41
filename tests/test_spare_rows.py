"""Tables with more rows than the tokenizer has tokens, and tokenizers that leave ids out: read, trained, written, and never asked of a text."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.corpora import VOCAB, random_shape, split_of
from tests.folders import theirs, tokenizer_of

import bertsmith
from bertsmith.config import override
from bertsmith.data.draw import Draw
from bertsmith.errors import InputError
from bertsmith.nn.member import build
from bertsmith.recipe import find
from bertsmith.text.load import gaps
from bertsmith.text.tokenizer import Tokenizer

transformers = pytest.importorskip("transformers")
SPARE = 20
CORPUS = split_of(random_shape(60, 10, 10), numbered=False)


@pytest.fixture(scope="module")
def tokenizer(documents):
    return tokenizer_of(documents[:20])


@pytest.fixture(scope="module")
def there(tokenizer, tmp_path_factory):
    at = tmp_path_factory.mktemp("there") / "hf"
    theirs(transformers, "bert", "token+pair", tokenizer, at, spare=SPARE)
    return at


@pytest.fixture(scope="module")
def text(there, corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("store") / "store"
    bertsmith.prepare([str(corpus)], out, tokenizer=str(there), holdout=0.05)
    return out


def test_a_padded_table_comes_in_and_goes_out_as_it_is(there, tmp_path):
    said = []
    bertsmith.import_(there, tmp_path / "model", say=said.append)
    assert any("20 of the table's 320 rows are no token's" in line for line in said)
    bertsmith.export(tmp_path / "model", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["vocab_size"] == 320
    one, two = (load_file(at / "model.safetensors") for at in (there, tmp_path / "out"))
    assert all(torch.equal(two[name], one[name]) for name in two) and "bert.embeddings.word_embeddings.weight" in two


@pytest.mark.parametrize(
    ("family", "head"),
    [
        ("ernie", "token+pair"),
        ("electra", "replaced"),
        ("albert", "token"),
        ("xlnet", "token"),
        ("roberta", "classify"),
        ("distilbert", "tag"),
    ],
)
def test_every_family_may_have_them(family, head, tokenizer, tmp_path):
    """import and export compare every answer with transformers', the spare rows' included."""
    theirs(transformers, family, head, tokenizer, tmp_path / "hf", spare=SPARE)
    bertsmith.import_(tmp_path / "hf", tmp_path / "model")
    bertsmith.export(tmp_path / "model", tmp_path / "out")
    sizes = [json.loads((tmp_path / at / "config.json").read_text())["vocab_size"] for at in ("hf", "out")]
    assert sizes == [320, 320]
    assert bertsmith.embed(tmp_path / "out", ["a text"]).shape == (1, 16)


def test_a_mask_is_filled_with_tokens_only_at_transformers_probabilities(there):
    with torch.no_grad():  # the likeliest rows by far are no token's
        model = transformers.AutoModelForMaskedLM.from_pretrained(there)
        model.cls.predictions.bias[300:] += 3
    state = load_file(there / "model.safetensors")
    state["cls.predictions.bias"] = model.cls.predictions.bias.detach().clone()
    save_file(state, there / "model.safetensors", metadata={"format": "pt"})
    found = bertsmith.fill(there, "a [MASK] is an object", top=300)["masks"][0]
    ids = transformers.AutoTokenizer.from_pretrained(there)("a [MASK] is an object", return_tensors="pt")
    with torch.no_grad():
        p = model(**ids).logits[0, found["position"]].double().softmax(-1)
    assert p[300:].sum() > 0.2 and len(found["top"]) == 300
    assert all(abs(row["p"] - p[row["id"]]) < 1e-6 and row["id"] < 300 for row in found["top"])
    with pytest.raises(InputError, match="top=301: expected a number from 1 to 300"):
        bertsmith.fill(there, "a [MASK]", top=301)


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_pre_training_and_fine_tuning_keep_the_rows(name, there, text, tmp_path):
    from bertsmith.training.start import recipe_for

    recipe = override(
        recipe_for(name, there), ["schedule.lr=1e-30", "training.batch=512"]
    )  # too little to move a weight
    go = {"steps": 1, "threads": 1, "from_": there}
    bertsmith.pretrain(recipe, text, tmp_path / "run", **go)
    model = bertsmith.load(tmp_path / "run")
    assert model.recipe.model.vocab == 320 and model.vocab.size == 300
    table = load_file(there / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
    assert torch.equal(model.member.model.embeddings.tokens.weight, table)
    bertsmith.pretrain(recipe, text, tmp_path / "run", resume=True, **go)
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": f"a text {i}", "label": "ny"[i % 2]}) + "\n" for i in range(8)))
    dev = tmp_path / "dev.jsonl"
    dev.write_text(rows.read_text().replace("a text", "another"))
    task = {"task": "classify", "train": rows, "dev": dev, "epochs": 1, "threads": 1}
    bertsmith.finetune(tmp_path / "run", out=tmp_path / "tuned", **task)
    assert bertsmith.load(tmp_path / "tuned").recipe.model.vocab == 320
    assert len(bertsmith.predict(tmp_path / "tuned", rows)) == 8
    bertsmith.export(tmp_path / "tuned", tmp_path / "out")
    assert np.isfinite(bertsmith.embed(tmp_path / "tuned", ["a", "b c"])).all()


def test_a_fresh_model_has_a_row_for_each_token():
    recipe = find("electra:tiny").with_vocab(300)
    assert recipe.model.vocab == 300 and recipe.objective.among is None
    more = recipe.with_vocab(300, 320)
    assert more.model.vocab == 320 and more.objective.among == 300
    assert recipe.with_vocab(300, 280).model.vocab == 300


def test_a_generator_writes_tokens_only():
    """Its spare rows are the likeliest by far, and none of them is ever written."""
    recipe = override(find("electra:tiny"), ["layout.length=64"]).with_vocab(VOCAB.size, VOCAB.size + SPARE)
    plan = recipe.layout.plan(CORPUS, VOCAB, 0, 0)
    batch = recipe.corruption(plan.row(plan.order[:40]), VOCAB, Draw(0)).to("cpu")
    member = build(recipe).eval()
    with torch.no_grad():
        member.objective.token.bias[VOCAB.size :] += 30
    guesses = member.objective.guesses(batch, batch.targets["token"])
    assert guesses.argmax(1).min() >= VOCAB.size
    assert member.objective.written(batch, guesses).input.tokens.max() < VOCAB.size
    assert member.objective.scores(member.model, batch)["token"]["loss"] > 0


def test_ids_that_no_token_has_are_kept_free(tmp_path, documents):
    """As where tokens were added behind a padded vocabulary: the text's ids stay those of the tokenizers library."""
    from tokenizers import Tokenizer as Backend

    for kind in ("wordpiece:300", "bpe:400", "unigram:300"):
        tree = json.loads(tokenizer_of(documents[:20], kind).backend.to_str())
        size = 300 if kind != "bpe:400" else 400
        tree["added_tokens"].append({**tree["added_tokens"][0], "id": size + 7, "content": "[OUTSIDE]"})
        (tmp_path / "tokenizer.json").write_text(json.dumps(tree))
        tokenizer = Tokenizer.load(tmp_path)
        assert (tokenizer.size, gaps(tokenizer.backend)) == (size + 8, 7), kind
        assert tokenizer.vocab.special[-8:] == tuple(range(size, size + 8))
        texts = [*documents[20:24], "a [unused0301] in a text, [unused0300]", "☃ no such letter"]
        plain = Backend.from_str(json.dumps({**tree, "added_tokens": tree["added_tokens"][:-1]}))
        plain.encode_special_tokens = True
        wanted = [row.ids for row in plain.encode_batch(texts, add_special_tokens=False)]
        assert [ids.tolist() for ids, _ in tokenizer.encode(texts)] == wanted, kind
        tokenizer.save(tmp_path / "again")
        again = Tokenizer.load(tmp_path / "again")
        assert again.digest == tokenizer.digest and gaps(again.backend) == 7
