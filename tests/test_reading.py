"""How members read texts when they are used: where [CLS] stands, who sees whom, what asks; learned from by XLNet and Transformer-XL."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.runs import small
from tests.test_tokens_tuned import ENDS, WORDS, made_files

import bertsmith
from bertsmith.data.batch import NEVER
from bertsmith.data.causal import Causal
from bertsmith.errors import InputError
from bertsmith.recipe import members
from bertsmith.tasks.reading import Reading
from bertsmith.tasks.sequences import Builder, encode

pytestmark = pytest.mark.usefixtures("one_thread")
LAST = {"xlnet": (True, "last", False), **dict.fromkeys(("transformer-xl", "gpt", "gpt2"), (False, "last", True))}
FROM_THE_LEFT = ("lstm", "on-lstm", "ulmfit", "hybrid")
TEXTS = ["a class is an object of the language", "import a module", "the value of a name is the name of a value"]


@pytest.fixture(scope="module")
def runs(short, tmp_path_factory):
    """Width 32, sequences of 32 tokens, 2 updates each."""
    folder = tmp_path_factory.mktemp("runs")
    for member in LAST:
        recipe = small("model.width=32", "model.hidden=64", member=member)
        bertsmith.pretrain(recipe, short, folder / member, steps=2, threads=1)
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return made_files(tmp_path_factory.mktemp("task"))


def test_each_member_is_read_as_it_learned():
    for name, member in members().items():
        for recipe in (size() for size in member.sizes.values()):
            found = Reading.of(recipe, 16)
            read = {**LAST, "t5": (False, "none", False), **dict.fromkeys(FROM_THE_LEFT, (False, "last", True))}
            expected = read.get(name, (bool(recipe.model.segments), "first", False))
            assert (found.segments, found.cls, found.causal) == expected, name


def test_any_model_that_sees_what_came_before_is_read_at_the_end():
    bert = members()["bert"].sizes["tiny"]()
    object.__setattr__(bert.corruption, "rewrite", Causal())
    assert Reading.of(bert, 16) == Reading(length=16, cls="last", causal=True, separators=1)


def dependence(model):
    """(n, n): whether the state of token q depends on token k, in one text."""
    encoded = encode(model.tokenizer, [TEXTS[0]], None, model.reading(16))
    stream = encoded.batch(np.array([0])).input.to("cpu")
    trunk = model.member.model.eval()
    seen = []
    hook = trunk.embeddings.tokens.register_forward_hook(lambda _, __, x: seen.append(x.requires_grad_()) or x)
    said = trunk(stream)[: len(stream.tokens)].square().sum(-1)
    hook.remove()
    rows = [torch.autograd.grad(each, seen[0], retain_graph=True)[0] for each in said]
    return torch.stack(rows).abs().sum(-1)[:, : len(said)] > 0


def test_cls_depends_on_all_of_the_text_and_no_token_of_a_causal_model_on_what_follows(runs):
    for member, (_, _, causal) in LAST.items():
        model = bertsmith.load(runs / member)
        depends = dependence(model)
        everything = torch.ones_like(depends)
        assert torch.equal(depends, everything.tril() if causal else everything), member
        assert depends[-1].all()


def test_vectors_are_read_at_the_end_and_do_not_depend_on_the_other_texts(runs):
    for member in LAST:
        model = bertsmith.load(runs / member)
        for pool in ("cls", "mean"):
            for layer in (None, 1):
                together = bertsmith.embed(model, TEXTS, pool=pool, layer=layer)
                alone = [bertsmith.embed(model, [text], pool=pool, layer=layer)[0] for text in TEXTS]
                assert np.abs(together - np.stack(alone)).max() < 1e-6
        stream = encode(model.tokenizer, TEXTS[:1], None, model.reading()).batch(np.array([0])).input.to("cpu")
        bare = getattr(
            model.recipe.layout, "bare", False
        )  # GPT's text has no [CLS] before a task is put to it: its last token is read
        assert (stream.tokens[-2:].tolist() == [model.vocab.sep, model.vocab.cls]) is not bare
        with torch.no_grad():
            hidden = model.member.model.eval()(stream)
        assert np.abs(bertsmith.embed(model, TEXTS[:1], pool="cls")[0] - hidden[-1].numpy()).max() < 1e-6
        assert np.abs(bertsmith.embed(model, TEXTS[:1], pool="mean")[0] - hidden.mean(0).numpy()).max() < 1e-6
        windows = bertsmith.embed(model, ["name " * 40 + "class " * 40], pool="cls", on_long="window")
        assert not np.allclose(windows, bertsmith.embed(model, ["name " * 40 + "class " * 40], pool="cls"))


def test_a_mask_is_asked_for_by_a_token_that_nothing_sees(runs):
    """What is said of one mask depends neither on what would stand there nor on how the other is asked."""
    model = bertsmith.load(runs / "xlnet")
    masks = bertsmith.fill(model, "a [MASK] is an object, and [MASK] finds it", top=model.tokenizer.size)["masks"]
    for mask in masks:
        p = [row["p"] for row in mask["top"]]
        assert sum(p) == pytest.approx(1, abs=1e-9) and p == sorted(p, reverse=True)
    builder = Builder(vocab=model.vocab, reading=model.reading(), pairs=False)
    left, middle, right = (row for row, _ in model.tokenizer.encode(["a", "is an object, and", "finds it"]))
    for token in (model.vocab.mask, 7, 90):  # it is not seen, whatever it is
        hole = np.array([token], np.int32)
        builder.add(0, np.concatenate([left, hole, middle, hole, right]))
    stream = builder.encoded(3).batch(np.arange(3)).input
    for mask, place in zip(masks, (len(left), len(left) + 1 + len(middle)), strict=True):
        assert mask["position"] == place and stream.segments[place] == 0
        said = {row["id"]: row["p"] for row in mask["top"]}
        for row in alone(model, builder, place, (len(left), len(left) + 1 + len(middle))):
            assert max(abs(row[i] - p) for i, p in said.items()) < 1e-6


def alone(model, builder, place, holes):
    """What is said of `place` as pre-training asks: by a token behind the text, while the tokens at the holes come later in the order."""
    for number, tokens in enumerate(builder.tokens):
        stream = builder.encoded(3).batch(np.array([number])).input
        rank = np.zeros(len(tokens), np.int64)
        rank[list(holes)] = 1
        add = lambda x, last: np.append(x, last)
        stream = replace(
            stream,
            tokens=add(stream.tokens, 0),
            positions=add(stream.positions, place),
            segments=add(stream.segments, stream.segments[place]),
            query_rank=add(rank, 0),
            key_rank=add(rank, NEVER),
            lengths=(len(tokens) + 1,),
            visibility="ranks",
        ).to("cpu")
        at = torch.tensor([len(tokens)])
        with torch.no_grad():
            logits = model.member.objective.logits(model.member.model.eval(), stream, at)
        yield torch.softmax(logits.double(), -1)[0].tolist()


def test_a_causal_model_fills_no_mask_and_says_so(runs):
    with pytest.raises(InputError, match="sees only what comes before a token, so it cannot fill masks"):
        bertsmith.fill(runs / "transformer-xl", "a [MASK] is an object")


@pytest.mark.parametrize("member", LAST)
def test_classes_are_learned_from_the_beginning_of_a_text(runs, member, tmp_path):
    """Read at the end, where a causal model knows it; in its first token it would know nothing but that."""
    paths, generator = {}, np.random.default_rng(0)
    for part, count in (("train", 160), ("dev", 40)):
        paths[part] = tmp_path / f"{part}.tsv"
        rows = [f"{('return', 'import')[i % 2]} {' '.join(generator.choice(WORDS, 8))}\t{i % 2}" for i in range(count)]
        paths[part].write_text("\n".join(["text\tlabel", *rows]) + "\n")
    settings = ["epochs=6", "lr=1e-2", "batch=16"]
    found = bertsmith.finetune(
        runs / member, task="classify", out=tmp_path / "out", **paths, set=settings, threads=1, seed=1
    )
    assert found["dev"]["accuracy"]["value"] > 0.9
    assert bertsmith.evaluate(tmp_path / "out", paths["dev"]) == found["dev"]
    lines = tmp_path / "new.jsonl"
    lines.write_text("".join(json.dumps({"text": f"{word} class"}) + "\n" for word in ("import", "return")))
    assert [row["label"] for row in bertsmith.predict(tmp_path / "out", lines)] == ["1", "0"]


@pytest.mark.parametrize("member", LAST)
def test_a_frozen_trunk_is_read_at_the_end_too(runs, member, tmp_path):
    for part, count in (("train", 40), ("dev", 20)):
        rows = "\n".join(f"{WORDS[i % 5]} {WORDS[i % 7]}\t{WORDS[(i + count) % 3]}\t{i % 2}" for i in range(count))
        (tmp_path / f"{part}.tsv").write_text(f"text\ttext2\tlabel\n{rows}\n")
    paths = {part: tmp_path / f"{part}.tsv" for part in ("train", "dev")}
    options = {"method": "frozen", "set": ["epochs=2", "pool=cls"], "threads": 1}
    found = bertsmith.finetune(runs / member, task="classify", out=tmp_path / "out", **paths, **options)
    assert bertsmith.evaluate(tmp_path / "out", paths["dev"]) == found["dev"]
    last = found["epochs"][-1]["loss"]
    model = bertsmith.load(tmp_path / "out" / "steps" / f"step-{found['epochs'][-1]['step']:08d}")
    texts, seconds, labels = zip(*(row.split("\t") for row in paths["dev"].read_text().splitlines()[1:]), strict=True)
    encoded = encode(model.tokenizer, list(texts), list(seconds), model.reading())
    stream = encoded.batch(np.arange(len(encoded))).input.to("cpu")
    ends = torch.from_numpy(np.cumsum(encoded.lengths) - 1)
    assert (stream.tokens[ends] == model.vocab.cls).all()
    with torch.no_grad():
        logits = model.member.objective.logits(model.member.model.eval(), stream, ends)
    wanted = torch.nn.functional.cross_entropy(logits, torch.tensor([int(label) for label in labels]))
    assert float(wanted) == pytest.approx(last, rel=1e-5)


OPTIONS = {"tag": ["epochs=5", "lr=1e-2"], "qa": ["epochs=12", "lr=1e-2", "batch=16"]}


@pytest.mark.parametrize(("task", "least"), [("tag", 0.9), ("qa", 0.6)])
def test_words_and_answers_are_learned_by_xlnet(runs, files, task, least, tmp_path):
    paths = {part: files / f"{part}.{ENDS[task]}" for part in ("train", "dev")}
    found = bertsmith.finetune(runs / "xlnet", task=task, out=tmp_path / "out", **paths, set=OPTIONS[task], threads=1)
    assert found["dev"]["f1"]["value"] > least
    assert bertsmith.evaluate(tmp_path / "out", paths["dev"]) == found["dev"]
