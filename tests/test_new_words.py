"""`prepare --new-words` and `pretrain --from`: rows for new tokens; old ids and their logits stay to the bit.  Oracles: the start's own tensors, transformers."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.folders import theirs, tokenizer_of
from tokenizers import Tokenizer as Backend

import bertsmith
from bertsmith.config import override
from bertsmith.deploy.hf_tokenizer import hf_tokenizer
from bertsmith.downstream.fill import encoded_masks
from bertsmith.errors import InputError
from bertsmith.nn.member import build
from bertsmith.recipe import find
from bertsmith.tasks.reading import Reading
from bertsmith.text.extend import new_tokens, restored
from bertsmith.text.store import Store
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.training.rows import with_rows
from bertsmith.training.saving import weights_of
from bertsmith.training.start import recipe_for

transformers = pytest.importorskip("transformers")
NEW = ["hepatology", "Qwxyz", "interpreter"]
TABLE = "bert.embeddings.word_embeddings.weight"


@pytest.fixture(scope="module")
def tokenizer(documents):
    return tokenizer_of(documents[:20])


@pytest.fixture(scope="module", params=[0, 2, 20], ids=["no rows to spare", "two", "twenty"])
def there(request, tokenizer, tmp_path_factory):
    at = tmp_path_factory.mktemp("there") / "hf"
    theirs(transformers, "bert", "token+pair", tokenizer, at, spare=request.param)
    return at


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    at = tmp_path_factory.mktemp("words") / "new.txt"
    at.write_text("hepatology\t12\nQwxyz\t3\ninterpreter\t99\n")  # with counts, as jieba's
    return at


@pytest.fixture(scope="module")
def text(there, corpus, words, tmp_path_factory):
    out = tmp_path_factory.mktemp("store") / "store"
    bertsmith.prepare([str(corpus)], out, tokenizer=str(there), new_words=words, holdout=0.05)
    return Store.open(out)


@pytest.fixture(scope="module")
def tuned(there, text, tmp_path_factory):
    """After one update at a rate too low to move a weight."""
    out = tmp_path_factory.mktemp("run") / "run"
    recipe = override(recipe_for("bert", there), ["schedule.lr=1e-30", "training.batch=512"])
    said = []
    bertsmith.pretrain(recipe, text.path, out, steps=1, threads=1, from_=there, say=said.append)
    return out, said


def test_the_store_has_the_new_tokens_and_its_manifest_says_whose_they_are_added_to(there, text, tokenizer):
    base = Tokenizer.load(there)
    said = text.manifest["tokenizer"]
    assert said["extends"] == {"digest": base.digest, "size": 300, "tokens": [w.lower() for w in NEW]}
    assert said["size"] == 303 == text.tokenizer.size and said["digest"] == text.tokenizer.digest
    assert text.manifest["account"]["new_words"] == {"from": "list", "asked": 3, "words": 3, "tokens": 3}
    assert text.manifest["options"]["new_words"] == "list"
    ids = text.train.gather(slice(0, text.train.count))
    assert (ids >= 300).any()
    back = new_tokens(base, text.tokenizer)
    assert max(restored(ids.tolist(), back)) < 300


def test_old_rows_stay_to_the_bit_and_new_ones_are_the_means_of_their_pieces(there, text, tuned):
    before = load_file(there / "model.safetensors")
    table, bias = before[TABLE], before["cls.predictions.bias"]
    model = bertsmith.load(tuned[0]).member
    base = Tokenizer.load(there)
    found, said = model.model.embeddings.tokens.weight, model.objective.token.bias
    assert len(found) == len(said) == max(303, len(table))
    assert torch.equal(found[:300], table[:300]) and torch.equal(said[:300], bias[:300])
    assert torch.equal(found[303:], table[303:])  # what is to spare still
    for i, word in enumerate(NEW, 300):
        pieces = base._plain.encode(word, add_special_tokens=False).ids
        assert len(pieces) > 1
        assert torch.equal(found[i], table[pieces].double().mean(0).float())
        assert torch.equal(said[i], bias[pieces].double().mean(0).float())
    spare = min(3, len(table) - 300)
    (line,) = [line for line in tuned[1] if "new tokens" in line]
    assert "3 new tokens: rows of model.embeddings.tokens.weight, objective.token.bias" in line
    assert (f"{spare} of the rows were there to spare" in line) == (spare > 0)
    config = json.loads((tuned[0] / "config.json").read_text())
    assert config["from"]["new_tokens"] == {"of": base.digest, "first": 300, "count": 3}


def test_logits_of_old_tokens_are_those_of_before_to_the_bit(there, tuned):
    sentence = "the [MASK] is an object of a class"
    old, new = bertsmith.load(there), bertsmith.load(tuned[0])
    ids = old.tokenizer.encode([sentence], specials=True)[0][0]
    assert np.array_equal(ids, new.tokenizer.encode([sentence], specials=True)[0][0])
    logits = []
    for model in (old, new):
        stream = encoded_masks(model, sentence, model.reading()).batch(np.arange(1)).input.to("cpu")
        at = torch.arange(len(stream.tokens))
        with torch.no_grad(), model.exact.policy():
            logits.append(model.member.eval().objective.logits(model.member.model, stream, at))
    assert torch.equal(logits[0][:, :300], logits[1][:, :300])


def test_a_new_token_is_filled_and_goes_to_transformers_and_back(there, tuned, tmp_path):
    model = bertsmith.load(tuned[0])
    found = bertsmith.fill(model, "the hepatology [MASK] of an object", top=303)["masks"][0]
    assert found["position"] == 3 and {"hepatology", "qwxyz", "interpreter"} < {row["token"] for row in found["top"]}
    bertsmith.export(tuned[0], tmp_path / "out")
    texts = ["Hepatology, hepatologys (QWXYZ) of the interpreter", "the interpreters"]
    wanted = [model.reading().joined(model.vocab, ids)[0].tolist() for ids, _ in model.tokenizer.encode(texts)]
    assert sum(i >= 300 for i in wanted[0]) == 3 and not any(i >= 300 for i in wanted[1])
    auto = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert auto(texts)["input_ids"] == wanted
    assert transformers.BertTokenizer.from_pretrained(tmp_path / "out")(texts)["input_ids"] == wanted
    plain = Backend.from_file(str(tmp_path / "out" / "tokenizer.json"))
    assert [row.ids for row in plain.encode_batch(texts)] == wanted
    assert auto.convert_ids_to_tokens([300, 301, 302]) == [w.lower() for w in NEW]
    bertsmith.import_(tmp_path / "out", tmp_path / "again")
    again = bertsmith.load(tmp_path / "again")
    assert again.tokenizer.reading == model.tokenizer.reading
    assert np.array_equal(bertsmith.embed(again, texts), bertsmith.embed(model, texts))


def test_it_goes_on_from_its_run_and_the_run_itself_resumes(there, text, tuned, tmp_path):
    recipe = override(recipe_for("bert", tuned[0]), ["training.batch=512"])
    said = []
    bertsmith.pretrain(recipe, text.path, tmp_path / "on", steps=1, threads=1, from_=tuned[0], say=said.append)
    assert not any("new tokens" in line for line in said)
    bertsmith.pretrain(recipe, text.path, tmp_path / "on", steps=2, threads=1, from_=tuned[0], resume=True)
    rows = tmp_path / "rows.jsonl"
    lines = [json.dumps({"text": f"hepatology text {i}", "label": "ny"[i % 2]}) for i in range(8)]
    rows.write_text("\n".join(lines))
    dev = tmp_path / "dev.jsonl"
    dev.write_text(rows.read_text().replace("text ", "another text "))
    bertsmith.finetune(
        tmp_path / "on", task="classify", train=rows, dev=dev, out=tmp_path / "tuned", steps=1, threads=1
    )
    assert len(bertsmith.predict(tmp_path / "tuned", rows)) == 8


def test_another_tokenizer_is_refused_as_before_and_so_is_a_smaller_one(there, text, tuned, corpus, tmp_path):
    bertsmith.prepare([str(corpus)], tmp_path / "old", tokenizer=str(there), holdout=0)
    bertsmith.prepare([str(corpus)], tmp_path / "other", tokenizer="wordpiece:500", holdout=0)
    for data, start in ((tmp_path / "old", tuned[0]), (tmp_path / "other", there)):
        with pytest.raises(InputError, match=r"its tokenizer is not the store's; .*new_words"):
            bertsmith.pretrain(recipe_for("bert", start), data, tmp_path / "no", steps=1, from_=start)
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    "name", ["bert", "roberta", "albert", "electra", "spanbert", "structbert", "xlnet", "unilm", "ernie1", "bert-ngram"]
)
def test_every_member_with_one_table_grows_and_none_of_its_old_rows_moves(name):
    recipe = find(f"{name}:tiny").with_vocab(300)
    weights = {name: t.clone() for name, t in weights_of(build(recipe)).items()}
    grown = with_rows(weights, recipe.with_vocab(302), {300: [7, 9], 301: [8, 8, 5]}, "--from x", lambda line: None)
    after = weights_of(build(recipe.with_vocab(302)))
    assert {n: t.shape for n, t in grown.items()} == {n: t.shape for n, t in after.items()}
    assert sum(len(grown[n]) != len(t) for n, t in weights.items() if t.ndim) >= 1
    for name, tensor in weights.items():
        assert torch.equal(grown[name][: len(tensor)] if tensor.ndim else grown[name], tensor)
        if tensor.ndim and len(grown[name]) > len(tensor):
            assert torch.equal(grown[name][300], tensor[[7, 9]].double().mean(0).float())


def test_clusters_of_an_adaptive_softmax_are_refused_by_name():
    recipe = override(find("transformer-xl:tiny"), ["model.embeddings.cutoffs=[100,200]"]).with_vocab(300)
    weights = dict(weights_of(build(recipe)))
    with pytest.raises(InputError, match=r"clusters .* own tokenizer"):
        with_rows(weights, recipe.with_vocab(302), {300: [7, 9], 301: [8]}, "--from x", lambda line: None)


def test_so_many_words_are_the_ones_that_save_most_tokens(there, corpus, tmp_path):
    said = []
    account = bertsmith.prepare(
        [str(corpus)], tmp_path / "a", tokenizer=str(there), new_words=20, holdout=0, say=said.append
    )
    plain = bertsmith.prepare([str(corpus)], tmp_path / "b", tokenizer=str(there), holdout=0)
    found = account["new_words"]
    assert (found["from"], found["asked"], found["tokens"]) == ("sample", 20, 20)
    assert plain["tokens"] - account["tokens"] == pytest.approx(found["saved_tokens"], rel=0.02)
    assert any("% fewer with the new ones" in line for line in said)
    again = bertsmith.prepare([str(corpus)], tmp_path / "c", tokenizer=str(there), new_words="20", holdout=0, workers=2)
    assert again == account
    assert (tmp_path / "c" / "manifest.json").read_bytes() == (tmp_path / "a" / "manifest.json").read_bytes()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"tokenizer": "wordpiece:300", "new_words": 5}, "only for a loaded tokenizer"),
        ({"new_words": 0}, "from 1 to"),
        ({"new_words": "nowhere.txt"}, "no such file; a word list"),
        ({"new_words": True}, "not a number of words"),
    ],
)
def test_what_cannot_be_added_is_refused_and_nothing_is_written(there, corpus, tmp_path, given, says):
    with pytest.raises(InputError, match=says):
        bertsmith.prepare([str(corpus)], tmp_path / "store", **{"tokenizer": str(there), **given})
    (tmp_path / "new.txt").write_text("the\nof\n")
    with pytest.raises(InputError, match="none of 2 words is new"):
        bertsmith.prepare([str(corpus)], tmp_path / "store", tokenizer=str(there), new_words=tmp_path / "new.txt")
    (tmp_path / "new.txt").write_text("one two\n")
    with pytest.raises(InputError, match=r"new_words='.*new.txt': new word 1"):
        bertsmith.prepare([str(corpus)], tmp_path / "store", tokenizer=str(there), new_words=tmp_path / "new.txt")
    assert not (tmp_path / "store").exists()


def test_a_masked_new_word_is_masked_whole(text):
    recipe = replace(find("bert-wwm:tiny"), name="x").with_vocab(text.vocab.size)
    plan = recipe.layout.plan(text.train, text.vocab, 0, 0)
    row = plan.row(plan.order)
    new = row.tokens >= 300
    assert new.any() and row.starts[new].all()
    after = np.flatnonzero(new) + 1
    after = after[after < len(row.tokens)]
    special = np.isin(row.tokens[after], text.vocab.special)
    assert (row.starts[after] | special).all()  # nothing goes on the word


def test_a_byte_level_model_has_two_tokens_of_a_word_and_goes_to_transformers_and_back(documents, corpus, tmp_path):
    tokenizer = tokenizer_of(documents[:20], "bpe:400")
    theirs(transformers, "roberta", "token", tokenizer, tmp_path / "hf", spare=3)
    words = tmp_path / "new.txt"
    words.write_text("hepatology\nQwxyz\n")
    bertsmith.prepare([str(corpus)], tmp_path / "store", tokenizer=str(tmp_path / "hf"), new_words=words, holdout=0)
    store = Store.open(tmp_path / "store")
    names = ["hepatology", "Ġhepatology", "qwxyz", "Ġqwxyz"]
    assert store.manifest["tokenizer"]["extends"]["tokens"] == names
    recipe = override(recipe_for("roberta", tmp_path / "hf"), ["training.batch=512"])
    bertsmith.pretrain(recipe, store.path, tmp_path / "run", steps=1, threads=1, from_=tmp_path / "hf")
    bertsmith.export(tmp_path / "run", tmp_path / "out")
    texts = ["hepatology (Qwxyz) of hepatology, hepatologys and Qwxyz", "the Qwxyzs"]
    auto = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    model = bertsmith.load(tmp_path / "run")
    wanted = [model.reading().joined(model.vocab, ids)[0].tolist() for ids, _ in model.tokenizer.encode(texts)]
    assert auto(texts)["input_ids"] == wanted
    assert [i for row in wanted for i in row if i >= tokenizer.size] == [tokenizer.size + n for n in (1, 2, 1, 3)]
    bertsmith.import_(tmp_path / "out", tmp_path / "again")
    again = bertsmith.load(tmp_path / "again")
    assert again.tokenizer.reading == model.tokenizer.reading and again.recipe.model.vocab == tokenizer.size + 4
    decoded = again.tokenizer.decode([tokenizer.size + 1, tokenizer.size + 3])
    assert decoded.split() == ["hepatology", "qwxyz"]


def test_chinese_and_mixed_words_are_read_alike_by_transformers(tmp_path):
    texts = ["我们在北京大学学习机器学习。", "人工智能改变世界，学习语言模型。"] * 10
    new = Tokenizer.train("wordpiece:200", texts, lowercase=True).extend(["机器学习", "大学", "卡拉OK", "covid-19"])
    reading = Reading(length=64)
    for name, data in hf_tokenizer(new, reading).items():
        (tmp_path / name).write_bytes(data)
    auto = transformers.AutoTokenizer.from_pretrained(tmp_path)
    tried = ["北京大学机器学习", "去卡拉OK吧，卡拉OKs", "COVID-19 covid-192 大 学", "学习(机器学习)covid-19"]
    ours = [reading.joined(new.vocab, ids)[0].tolist() for ids, _ in new.encode(tried)]
    assert auto(tried)["input_ids"] == ours
    assert [sum(i >= new.size - 4 for i in row) for row in ours] == [2, 1, 1, 2]
    assert new.tokens(range(new.size - 4, new.size)) == ["机器学习", "大学", "卡拉ok", "covid-19"]
    assert "机器学习" in new.decode(ours[0])
