"""Stacks: several models side by side, by tokenizers of their own, under one head."""

import json

import numpy as np
import pytest
import torch
from tests.runs import Breaking, same, small

import bertsmith
from bertsmith import cli
from bertsmith.data.batch import BEGINS, GOES_ON, NONE
from bertsmith.downstream.model import load
from bertsmith.errors import InputError
from bertsmith.nn.member import parameters
from bertsmith.tasks.sequences import encode
from bertsmith.text.side_by_side import SideBySide
from bertsmith.text.store import Store
from bertsmith.training.pretraining import pretrain

pytestmark = pytest.mark.usefixtures("one_thread")
TEXTS = ["The value of an unbelievable name.", "It's a list", "x", "3.14 isn't naïve"]


@pytest.fixture(scope="module")
def runs(short, documents, tmp_path_factory):
    """A BERT of WordPiece, a GPT-2 of bytes and a Skip-Thought of pieces with ▁, each on texts of its own tokenizer."""
    folder = tmp_path_factory.mktemp("parts")
    (folder / "text.txt").write_text("\n\n".join(text[:2500] for text in documents[:13]) + "\n", encoding="utf-8")
    made = {}
    for name, kind in (("bert", None), ("gpt2", "bpe:400"), ("skip-thought", "unigram:400")):
        store = short
        if kind is not None:
            bertsmith.prepare([str(folder / "text.txt")], folder / f"{name}-store", tokenizer=kind, holdout=0.2)
            store = Store.open(folder / f"{name}-store")
        pretrain(small("model.dropout=0.1", member=name), store, folder / name, steps=2, threads=1)
        made[name] = folder / name
    return made


@pytest.fixture(scope="module")
def stacked(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stacks")
    bertsmith.stack([runs["bert"], runs["gpt2"], runs["skip-thought"]], folder / "three")
    bertsmith.stack([runs["bert"], runs["gpt2"]], folder / "mixed", mix="all", pieces="mean")
    return {"three": folder / "three", "mixed": folder / "mixed"}


def states(loaded, texts):
    """Hidden states (n, d) of each text by itself, specials included."""
    found = []
    for text in texts:
        stream = encode(loaded.tokenizer, [text], None, loaded.reading()).batch(np.array([0])).input.to("cpu")
        with torch.no_grad(), loaded.exact.policy():
            found.append(loaded.member.model(stream).numpy())
    return found


# -- tokens -------------------------------------------------------------------------------------------------------------------------------


def test_each_part_reads_the_tokens_that_it_would_read_alone(runs, stacked):
    whole = load(stacked["three"])
    alone = [load(runs[name]) for name in ("bert", "gpt2", "skip-thought")]
    rows = encode(whole.tokenizer, TEXTS, None, whole.reading())
    for number, one in enumerate(alone):
        own = encode(one.tokenizer, TEXTS, None, one.reading())
        column = rows.tokens[:, number]
        assert np.array_equal(column[column != NONE], own.tokens), one.recipe.name


def test_pieces_of_a_word_stand_beside_pieces_of_that_word(stacked):
    tokenizer = load(stacked["three"]).tokenizer
    text = "An unbelievable name, isn't it"
    ((rows, spans),) = tokenizer.located([text])
    begins = rows[:, -1] == BEGINS
    assert [text[a:b] for a, b in spans[begins]] == ["An", "unbelievable", "name", ",", "isn", "'", "t", "it"]
    assert (spans[~begins, 0] == spans[~begins, 1]).all() and (np.diff(spans[:, 1]) >= 0).all()
    assert set(rows[:, -1].tolist()) == {GOES_ON, BEGINS} and (rows[:, :-1] != NONE).any(1).all()
    word = np.cumsum(begins) - 1
    for number, part in enumerate(tokenizer.parts):
        ((ids, where),) = part.tokenizer.located([text])
        there = rows[:, number] != NONE
        assert np.array_equal(rows[there, number], ids)
        for at, (a, b) in zip(word[there], where, strict=True):
            first, last = spans[begins][at]
            assert b <= last and (a >= first or text[a:first].isspace() or a == b)


def test_tokenizers_of_a_stack_are_kept_whole(stacked, tmp_path):
    tokenizer = load(stacked["three"]).tokenizer
    (tmp_path / "tokenizer.json").write_bytes(tokenizer.json())
    again = SideBySide.load(tmp_path / "tokenizer.json")
    assert again.digest == tokenizer.digest and again.vocab == tokenizer.vocab
    (tmp_path / "tokenizer.json").write_text(json.dumps({"type": "side-by-side", "parts": [{}]}))
    with pytest.raises(InputError, match="no tokenizers of a stack"):
        SideBySide.load(tmp_path / "tokenizer.json")
    assert SideBySide.load(tmp_path / "nothing") is None


# -- what it says -------------------------------------------------------------------------------------------------------------------------


def test_a_word_is_what_each_part_says_of_its_first_piece(runs, stacked):
    whole = load(stacked["three"])
    alone = [load(runs[name]) for name in ("bert", "gpt2", "skip-thought")]
    for text, said in zip(TEXTS, states(whole, TEXTS), strict=True):
        rows = encode(whole.tokenizer, [text], None, whole.reading()).tokens
        first = 0
        for number, one in enumerate(alone):
            (own,) = states(one, [text])
            there = rows[:, number] != NONE
            word = np.cumsum(rows[:, -1] != GOES_ON) - 1
            pieces = word[there]
            for row in range(1, len(rows)):
                mine = np.flatnonzero(pieces == word[row])
                wanted = own[mine[0]] if len(mine) else np.zeros(own.shape[1])
                np.testing.assert_allclose(said[row, first : first + own.shape[1]], wanted, atol=2e-6)
            first += own.shape[1]
        assert first == said.shape[1] == whole.recipe.model.width


def test_vectors_of_a_stack_are_those_of_its_parts_side_by_side(runs, stacked):
    pools = {"bert": "mean", "gpt2": "lasttoken", "skip-thought": "cls"}
    wanted = np.concatenate([bertsmith.embed(runs[name], TEXTS, pool=pool) for name, pool in pools.items()], 1)
    np.testing.assert_allclose(bertsmith.embed(stacked["three"], TEXTS), wanted, atol=2e-6)


def test_the_mean_over_pieces_is_their_mean(runs, stacked):
    whole, bert = load(stacked["mixed"]), load(runs["bert"])
    text = "unbelievable"
    (own,) = states(bert, [text])
    with torch.no_grad():
        stream = encode(bert.tokenizer, [text], None, bert.reading()).batch(np.array([0])).input.to("cpu")
        layers = torch.stack(bert.member.model.states(stream)).mean(0).numpy()
    (said,) = states(whole, [text])
    assert len(own) > 4
    np.testing.assert_allclose(said[1, : own.shape[1]], layers[1:-1].mean(0), atol=2e-6)


def test_what_stands_beside_a_text_changes_nothing(stacked):
    whole = load(stacked["three"])
    stream = encode(whole.tokenizer, TEXTS, None, whole.reading()).batch(np.arange(4)).input.to("cpu")
    with torch.no_grad(), whole.exact.policy():
        together = whole.member.model(stream).split(stream.lengths)
        read = torch.tensor([0, 3, len(stream.tokens) - 1])
        some = whole.member.model(stream, read)
    for one, alone in zip(together, states(whole, TEXTS), strict=True):
        np.testing.assert_allclose(one.numpy(), alone, atol=2e-6)
    np.testing.assert_allclose(some.numpy(), torch.cat(together)[read].numpy(), atol=1e-6)


def test_it_counts_its_parameters(stacked):
    for path in stacked.values():
        loaded = load(path)
        assert parameters(loaded.recipe) == sum(p.numel() for p in loaded.member.parameters())


# -- as a MODEL ---------------------------------------------------------------------------------------------------------------------------


def tuned(model, tasks, name, out, *sets, method="full", **options):
    kind, train, dev = tasks[name]
    sets = ["batch=8", "lr=0.02", "checkpoint=3", *sets]
    options = {"epochs": 2, "seed": 3, "threads": 1, "allow_unknown": True, **options}
    return bertsmith.finetune(model, task=kind, train=train, dev=dev, out=out, set=sets, method=method, **options)


@pytest.mark.parametrize(
    ("name", "stack"), [("classify", "three"), ("pairs", "mixed"), ("tag", "mixed"), ("tag", "three")]
)
def test_a_task_is_learned_over_it_and_answered_again(stacked, tasks, tmp_path, name, stack):
    found = tuned(stacked[stack], tasks, name, tmp_path / "run", "length=96", allow_unknown=stack == "mixed")
    scores = bertsmith.evaluate(tmp_path / "run", tasks[name][2])
    assert {key: score["value"] for key, score in scores.items()} == {
        key: pytest.approx(score["value"], abs=1e-6) for key, score in found["dev"].items()
    }
    learned, of = found["trained"]["parameters"], found["trained"]["of"]
    head = load(tmp_path / "run").member.objective
    mixes = sum(p.numel() for n, p in load(tmp_path / "run").member.model.named_parameters() if n.startswith("mix"))
    assert learned == sum(p.numel() for p in head.parameters()) + (mixes if stack == "mixed" else 0) < of


def test_its_parts_never_move_and_its_mixtures_do(stacked, tasks, tmp_path):
    tuned(stacked["mixed"], tasks, "classify", tmp_path / "run")
    before, after = (dict(load(path).member.model.named_parameters()) for path in (stacked["mixed"], tmp_path / "run"))
    assert before.keys() == after.keys()
    for name, weight in before.items():
        assert torch.equal(weight, after[name]) != name.startswith("mix"), name


def test_a_step_of_a_tuning_holds_what_it_learned_alone_and_knows_its_stack(stacked, tasks, tmp_path):
    from safetensors.torch import load_file

    tuned(stacked["mixed"], tasks, "classify", tmp_path / "run")
    held = load_file(load(tmp_path / "run").path / "model.safetensors")
    assert not any(name.startswith("model.part") for name in held) and "model.mix0.weights" in held
    other = tmp_path / "other"
    import shutil

    shutil.copytree(stacked["three"], other)
    with pytest.raises(InputError, match="was tuned on weights"):
        load(tmp_path / "run", base=other)


@pytest.mark.parametrize("stack", ["three", "mixed"])
def test_a_tuning_that_was_broken_off_goes_on_to_the_bit(stacked, tasks, tmp_path, stack):
    tuned(stacked[stack], tasks, "classify", tmp_path / "straight", "dropout=0.1")
    with pytest.raises(KeyboardInterrupt):
        tuned(stacked[stack], tasks, "classify", tmp_path / "broken", "dropout=0.1", progress=Breaking("kill", 8))
    tuned(stacked[stack], tasks, "classify", tmp_path / "broken", "dropout=0.1", resume=True)
    same(tmp_path / "straight", tmp_path / "broken")


def test_its_words_are_probed(stacked, tasks, tmp_path):
    _, train, dev = tasks["tag"]
    found = bertsmith.probe(stacked["three"], task="tag", train=train, dev=dev, out=tmp_path / "probe")
    assert "f1" in json.dumps(found)


def test_it_is_verified_and_damage_is_found(stacked, tasks, tmp_path):
    import shutil

    assert bertsmith.verify(stacked["three"])["kind"] == "run"
    shutil.copytree(stacked["three"], tmp_path / "copy")
    path = next((tmp_path / "copy").glob("steps/*/model.safetensors"))
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"model\.safetensors"):
        bertsmith.verify(tmp_path / "copy")
    config = json.loads((stacked["three"] / "config.json").read_text())
    assert [part["recipe"] for part in config["source"]["parts"]] == ["bert", "gpt2", "skip-thought"]
    assert all(len(part["weights"]) == 64 for part in config["source"]["parts"])


@pytest.mark.parametrize("method", ["adapter", "lora", "prefix", "bias", "int8"])
def test_other_ways_to_tune_it_are_refused_in_one_line(stacked, tasks, tmp_path, method):
    with pytest.raises(InputError, match="the models of a stack stay as they are") as error:
        tuned(stacked["three"], tasks, "classify", tmp_path / "run", method=method)
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


def test_what_cannot_stand_in_a_stack_is_refused(runs, stacked, short, tasks, tune_by, tmp_path):
    for models, said in (
        ([runs["bert"]], "1 model; two or more"),
        ([runs["bert"], tmp_path / "none"], "none"),
        ([runs["bert"], stacked["three"]], "is a stack itself"),
    ):
        with pytest.raises(InputError, match=said):
            bertsmith.stack(models, tmp_path / "out")
    with pytest.raises(InputError, match="mix"):
        bertsmith.stack([runs["bert"], runs["gpt2"]], tmp_path / "out", mix=[3])
    pretrain(small(member="xlnet"), short, tmp_path / "xlnet", steps=1, threads=1)
    with pytest.raises(InputError, match="xlnet reads sep cls round a text"):
        bertsmith.stack([runs["bert"], tmp_path / "xlnet"], tmp_path / "out")
    tune_by(tmp_path / "adapted", "adapter")
    with pytest.raises(InputError, match="would not stand alone"):
        bertsmith.stack([runs["bert"], tmp_path / "adapted"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="holds a model already"):
        bertsmith.stack([runs["bert"], runs["gpt2"]], stacked["three"])


def test_fill_generate_and_export_refuse_it_in_one_line(stacked, tmp_path):
    for verb in (
        lambda model: bertsmith.fill(model, "a [MASK]"),
        lambda model: bertsmith.generate(model, text="a"),
        lambda model: bertsmith.export(model, to="hf", out=tmp_path / "hf"),
        lambda model: bertsmith.score(model, input=TEXTS),
    ):
        with pytest.raises(InputError) as error:
            verb(stacked["three"])
        assert "\n" not in str(error.value)


def test_the_command_stacks_and_says_what_each_part_gives(runs, tmp_path, capsys):
    command = ["stack", str(runs["bert"]), str(runs["gpt2"]), "--mix", "2", "--out", str(tmp_path / "both"), "--json"]
    assert cli.run(command) == 0
    assert json.loads(capsys.readouterr().out)["parts"] == ["bert", "gpt2"]
    assert [part.mix for part in load(tmp_path / "both").recipe.model.parts] == [False, True]
    assert cli.run([*command[:3], "--mix", "x", "--out", str(tmp_path / "other")]) == 2


def test_a_stack_has_no_one_table_which_is_told(stacked, tmp_path):
    for ask in (
        lambda: bertsmith.similar(stacked["three"], "the"),
        lambda: bertsmith.export(stacked["three"], tmp_path / "v.txt", to="word2vec"),
    ):
        with pytest.raises(InputError, match="has no one table of tokens"):
            ask()
