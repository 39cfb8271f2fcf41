"""How probable a text is: against sums by hand over the model's own logits, by the window, of pairs, of what goes on from a prompt."""

import json
import math

import numpy as np
import pytest
import torch
from tests.runs import small

import bertsmith
from bertsmith import cli
from bertsmith.data.batch import NEVER, Stream
from bertsmith.errors import InputError
from bertsmith.training.pretraining import pretrain

pytestmark = pytest.mark.usefixtures("one_thread")
TEXTS = ["a class is an object of the language", "import a module", "unbelievably parametrisable"]
MEMBERS = ("gpt2", "transformer-xl", "bert", "xlnet", "electra", "unilm")


@pytest.fixture(scope="module")
def models(store, tmp_path_factory):
    found = {}
    for name in MEMBERS:
        out = tmp_path_factory.mktemp(name) / "run"
        pretrain(small(member=name), store, out, steps=3, threads=1)
        found[name] = bertsmith.load(out)
    return found


def shares(model, ids, at, hidden=()):
    """(V,) log-probabilities of what the sequence `ids` has at `at`, by one row of the model's own logits."""
    n, ids = len(ids), torch.tensor(ids)
    causal = model.reading().causal
    rank = torch.arange(n) if causal else torch.zeros(n, dtype=torch.long)
    keys = rank.clone()
    if model.recipe.model.asks:
        keys[list(hidden)] = NEVER
    segments = torch.zeros(n, dtype=torch.long)
    if model.reading().segments and not model.reading().lead:
        segments[-1] = 2
    visibility = "causal" if causal else "ranks" if model.recipe.model.asks else "full"
    stream = Stream(
        tokens=ids, positions=torch.arange(n), segments=segments, query_rank=rank, key_rank=keys, lengths=(n,), visibility=visibility
    )  # fmt: skip
    with torch.no_grad():
        return model.member.objective.logits(model.member.model.eval(), stream, torch.tensor([at]))[0].log_softmax(-1)


@pytest.mark.parametrize("name", ["gpt2", "transformer-xl"])
def test_a_language_model_is_asked_for_each_token_from_those_before_it(name, models):
    model = models[name]
    found = bertsmith.score(model, TEXTS, each=True)
    assert found["method"] == "causal"
    for text, row in zip(TEXTS, found["texts"], strict=True):
        ids = [model.vocab.sep, *model.tokenizer.encode([text])[0][0].tolist()]
        each = [float(shares(model, ids[:i], i - 1)[ids[i]]) for i in range(1, len(ids))]
        assert [token for token, _ in row["each"]] == model.tokenizer.tokens(ids[1:])
        assert [value for _, value in row["each"]] == pytest.approx(each, abs=1e-5)
        assert row["logprob"] == pytest.approx(sum(each), abs=1e-4) and row["tokens"] == len(each)
        assert row["bytes"] == len(text.encode()) and row["characters"] == len(text)


@pytest.mark.parametrize("method", ["pll", "pll-word"])
@pytest.mark.parametrize("name", ["bert", "xlnet", "electra", "unilm"])
def test_a_token_is_hidden_where_both_sides_are_seen_and_so_are_the_later_ones_of_its_word(name, method, models):
    model = models[name]
    found = bertsmith.score(model, TEXTS, method=method, each=True)
    for text, row in zip(TEXTS, found["texts"], strict=True):
        ids, starts = model.tokenizer.encode([text])[0]
        word, each, lead = np.cumsum(starts), [], model.reading().lead
        for i, token in enumerate(ids.tolist()):
            later = (word == word[i]) & (np.arange(len(ids)) > i) & (method == "pll-word")
            hidden = np.flatnonzero(later | (np.arange(len(ids)) == i))
            shown = np.where(np.isin(np.arange(len(ids)), hidden), model.vocab.mask, ids)
            whole, _ = model.reading().joined(model.vocab, shown)
            each.append(float(shares(model, whole.tolist(), lead + i, (lead + hidden).tolist())[token]))
        assert [value for _, value in row["each"]] == pytest.approx(each, abs=1e-5)
    if method == "pll-word":
        assert bertsmith.score(model, TEXTS) == {
            **found,
            "texts": [{k: v for k, v in r.items() if k != "each"} for r in found["texts"]],
        }


def test_totals_are_bits_per_byte_and_perplexity(models):
    found = bertsmith.score(models["gpt2"], ["a façade", "the list"])
    total = found["total"]
    assert total["logprob"] == pytest.approx(sum(row["logprob"] for row in found["texts"]))
    assert total["bytes"] == 9 + 8 and total["characters"] == 8 + 8
    assert total["bits_per_byte"] == pytest.approx(-total["logprob"] / math.log(2) / 17)
    assert total["perplexity"] == pytest.approx(math.exp(-total["logprob"] / total["tokens"]))
    assert total["per_character"] == pytest.approx(total["logprob"] / 16)


def test_what_goes_on_from_a_prompt_is_the_whole_less_the_prompt(models):
    for name in ("gpt2", "transformer-xl"):
        whole, prompt = (bertsmith.score(models[name], [text]) for text in ("a class is an object", "a class is"))
        for text, more in (("a class is", "an object"), ("a class is", " an object"), ("a class is ", "an object")):
            found = bertsmith.score(models[name], [(text, more)])["texts"][0]
            expected = whole["texts"][0]["logprob"] - prompt["texts"][0]["logprob"]
            assert found["logprob"] == pytest.approx(expected, abs=1e-4) and found["characters"] == len(more)
    asked = bertsmith.score(models["bert"], [("a class is", "an object")], each=True)["texts"][0]
    both = bertsmith.score(models["bert"], ["a class is an object"], each=True)["texts"][0]
    assert asked["each"] == both["each"][-len(asked["each"]) :] and len(asked["each"]) < len(both["each"])
    apart = bertsmith.score(models["gpt2"], [("a class", "es")], join="")["texts"][0]
    assert apart["logprob"] != bertsmith.score(models["gpt2"], [("a class", "es")])["texts"][0]["logprob"]


@pytest.mark.parametrize("name", ["gpt2", "bert"])
@pytest.mark.parametrize("stride", [None, 1, 31, 500])
def test_of_a_long_text_every_token_is_asked_for_once(name, stride, models):
    text = " ".join(TEXTS * 6)
    tokens = len(models[name].tokenizer.encode([text])[0][0])
    row = bertsmith.score(models[name], [text], stride=stride, each=True)["texts"][0]
    assert row["tokens"] == tokens > models[name].length() and all(value < 0 for _, value in row["each"])
    with pytest.raises(InputError, match=r"text\[0\]|input\[0\]"):
        bertsmith.score(models[name], [text], on_long="error")


def test_how_many_sequences_are_made_at_once_changes_nothing(models, monkeypatch):
    from bertsmith.downstream import likelihood

    for model in (models["gpt2"], models["bert"]):
        whole = bertsmith.score(model, TEXTS, each=True)["texts"]
        monkeypatch.setattr(likelihood, "HELD", 20)
        parts = bertsmith.score(model, TEXTS, each=True)["texts"]
        monkeypatch.undo()
        for one, other in zip(whole, parts, strict=True):
            assert one["logprob"] == pytest.approx(other["logprob"], abs=1e-5) and len(one["each"]) == len(
                other["each"]
            )


def test_neither_other_texts_nor_their_number_change_a_score(models):
    for model in (models["gpt2"], models["bert"]):
        together = bertsmith.score(model, TEXTS * 3)["texts"]
        for i, row in enumerate(together):
            alone = bertsmith.score(model, [TEXTS[i % 3]])["texts"][0]
            assert row["logprob"] == pytest.approx(alone["logprob"], abs=1e-5)


def test_of_pairs_the_more_probable_one_counts(models, tmp_path):
    model = models["gpt2"]
    values = [row["logprob"] for row in bertsmith.score(model, TEXTS)["texts"]]
    pairs = [(TEXTS[i], TEXTS[j]) for i in range(3) for j in range(3) if i != j] + [(TEXTS[0], TEXTS[0])]
    right = [a > b for a in values for b in values if a is not b] + [False]  # as probable is not more so
    found = bertsmith.score(model, pairs=pairs)
    assert found["accuracy"]["value"] == pytest.approx(np.mean(right)) and found["pairs"] == len(pairs)
    assert found["rows"][0]["good"]["logprob"] == pytest.approx(values[0], abs=1e-5)
    blimp = [{"sentence_good": good, "sentence_bad": bad, "UID": "x"} for good, bad in pairs]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in blimp))
    (tmp_path / "b.tsv").write_text("good\tbad\n" + "\n".join("\t".join(pair) for pair in pairs[:2]) + "\n")
    assert bertsmith.score(model, pairs=blimp)["accuracy"] == found["accuracy"]
    assert bertsmith.score(model, pairs=tmp_path / "a.jsonl")["accuracy"] == found["accuracy"]
    several = bertsmith.score(model, pairs=[tmp_path / "a.jsonl", tmp_path / "b.tsv"])
    each = [part["accuracy"]["value"] for part in several["files"].values()]
    assert len(each) == 2 and several["accuracy"]["value"] == pytest.approx(np.mean(each))
    by = [row["logprob"] / len(text) for row, text in zip(bertsmith.score(model, TEXTS)["texts"], TEXTS, strict=True)]
    assert bertsmith.score(model, pairs=pairs[:1], per="character")["accuracy"]["value"] == float(by[0] > by[1])


def test_mistakes_are_told_in_one_line(models, tmp_path):
    for options, words in (
        ({}, "give input=FILE"),
        ({"input": TEXTS, "pairs": [TEXTS[:2]]}, "give input=FILE"),
        ({"input": TEXTS, "method": "pll"}, "only what comes before a token; take causal"),
        ({"input": TEXTS, "method": "mll"}, "method='mll': unknown; did you mean 'pll'"),
        ({"input": TEXTS, "stride": 0}, "stride=0: is below 1"),
        ({"input": TEXTS, "per": "word"}, "per='word': unknown"),
        ({"input": tmp_path / "none.txt"}, "no such file"),
        ({"pairs": TEXTS}, "no such file"),
    ):
        with pytest.raises(InputError, match=words):
            bertsmith.score(models["gpt2"], **options)
    with pytest.raises(InputError, match="both sides of a token; take pll-word"):
        bertsmith.score(models["bert"], TEXTS, method="causal")


def test_the_command_prints_what_the_verb_returns(models, tmp_path, capsys):
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS) + "\n")
    run = str(models["gpt2"].run)
    assert cli.run(["score", run, "--input", str(tmp_path / "texts.txt"), "--json", "--out", str(tmp_path / "o")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == dict(bertsmith.score(run, TEXTS))
    assert [json.loads(line) for line in (tmp_path / "o").read_text().splitlines()] == found["texts"]
    assert cli.run(["score", run, "--input", str(tmp_path / "texts.txt")]) == 0
    assert "bits per byte" in capsys.readouterr().out
    (tmp_path / "p.jsonl").write_text('{"good": "a list", "bad": "list a"}\n')
    assert cli.run(["score", run, "--pairs", str(tmp_path / "p.jsonl")]) == 0
    assert "1 pair" in capsys.readouterr().out


def test_a_task_written_as_text_is_answered_by_the_label_that_is_most_probable(models, tmp_path):
    model = models["gpt2"]
    rows = [
        {"text": text, "text2": "a module", "label": label}
        for text, label in zip(TEXTS * 2, (0, 1, 1, 0, 0, 1), strict=True)
    ]
    written, names = "{text} and {text2}: it is a {label} of it", {"0": "list", "1": "class"}
    found = bertsmith.score(model, rows, written=written, labels=names)
    for row, given in zip(found["rows"], rows, strict=True):
        before = f"{given['text']} and a module: it is a "
        each = {
            name: bertsmith.score(model, [(before, f"{text} of it")])["texts"][0]["logprob"]
            for name, text in names.items()
        }
        assert row["scores"] == pytest.approx(each, abs=1e-4) and row["label"] == max(each, key=each.get)
    right = [row["label"] == str(given["label"]) for row, given in zip(found["rows"], rows, strict=True)]
    assert found["accuracy"]["value"] == pytest.approx(np.mean(right)) and found["classes"] == {"0": 3, "1": 3}
    assert "accuracy" not in bertsmith.score(model, TEXTS, written="{text}: {label}", labels=["list", "class"])
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ["--input", str(tmp_path / "t.jsonl"), "--written", written, "--labels", "0=list,1=class"]
    assert cli.run(["score", str(model.run), *options]) == 0
    masked = bertsmith.score(models["bert"], rows, written=written, labels=names, per="token")
    assert masked["method"] == "pll-word" and len(masked["rows"]) == 6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"written": "{text}"}, "must stand in it once"),
        ({"written": "{label} {label} {text}"}, "must stand in it once"),
        ({"written": "it is {label}"}, r"\{text\} must stand in it"),
        ({"written": "{text} {other} {label}"}, "are what a row has"),
        ({"written": "{text} { {label}"}, "braces that are text are doubled"),
        ({"written": "{text} {text2} {label}"}, "has no column text2"),
        ({"written": "{text} {label}"}, "labels=a,b says which there are"),
    ],
)
def test_mistakes_in_a_task_written_as_text_are_told(options, words, models):
    with pytest.raises(InputError, match=words):
        bertsmith.score(models["gpt2"], TEXTS, **options)
