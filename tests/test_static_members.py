"""Static vectors: word2vec, fastText and GloVe keep the contract of every member, each by its own laws."""

import json
import math

import numpy as np
import pytest
import torch
from tests.runs import Breaking, same
from tests.test_distributed import alike, job
from tests.workers import outcome, work

from bertsmith.config import override
from bertsmith.data.batch import Stream
from bertsmith.data.draw import Draw
from bertsmith.data.loader import Loader
from bertsmith.data.text import Text
from bertsmith.errors import Interrupted
from bertsmith.nn.member import build
from bertsmith.recipe import find
from bertsmith.training.given import Corpus, learn_of, sized
from bertsmith.training.pretraining import pretrain

# Members and values of their axes; those that ask for words, and GloVe, which asks for cells.
WORDS = {
    "skip-gram": ("word2vec", ()),
    "cbow": ("word2vec", ("objective.predict=centre",)),
    "tree": ("word2vec", ("objective.by=huffman",)),
    "cbow-tree": ("word2vec", ("objective.by=huffman", "objective.predict=centre")),
    "fasttext": ("fasttext", ("model.grams.buckets=500",)),
}
CASES = {**WORDS, "glove": ("glove", ())}
every_case = pytest.mark.parametrize("name", CASES)
of_words = pytest.mark.parametrize("name", WORDS)


def static(name, *settings):
    member, own = CASES[name]
    small = ["model.width=16", "layout.length=64", "training.batch=512"]
    return override(find(f"{member}:tiny"), [*small, *own, *settings])


def taught(recipe, store, seed=0):
    """The recipe for a store, and its member, told of the corpus."""
    recipe = sized(recipe.with_vocab(store.vocab), store)
    torch.manual_seed(seed)
    member = build(recipe)
    learn_of(member, Corpus.of(recipe, store, print))
    return recipe, member


def stirred(member):
    """Vectors as they are when much was learned: no table is 0."""
    with torch.no_grad():
        for p in member.parameters():
            p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())) * 0.3)
    return member


def row_of(recipe, store, sequences):
    plan = recipe.layout.plan(store.train, store.vocab, 0, 0)
    return plan.row(plan.shuffled(0)[:sequences])


def batch_of(recipe, store, sequences=6):
    corruption = recipe.corruption.knowing(store.vocab)
    return corruption(row_of(recipe, store, sequences), store.vocab, Draw(0))


def whole(gradient):
    return gradient.to_dense() if gradient.is_sparse else gradient


@every_case
def test_a_loss_that_is_known_has_the_gradient_that_differences_give(name, store):
    recipe, member = taught(static(name), store)
    member = stirred(member.double())
    batch = batch_of(recipe, store, 3).to("cpu")
    (loss,) = member(batch).values()
    loss.backward()
    draw = np.random.default_rng(0)
    for key, p in member.named_parameters():
        gradient = whole(p.grad)
        moved = torch.zeros_like(p)
        rows = torch.unique(gradient.nonzero()[:, 0])
        chosen = rows[torch.from_numpy(draw.permutation(len(rows))[:5])]
        moved[chosen] = torch.from_numpy(draw.normal(size=(len(chosen), p.shape[1]))) * 1e-5
        found = []
        with torch.no_grad():
            for sign in (1, -1):
                p += sign * moved
                found.append(next(iter(member(batch).values())).item())
                p -= sign * moved
        if not (
            key == "model.tokens.weight" and "cbow" in name
        ):  # word2vec's code, and so ours, does not divide the mean's
            assert found[0] - found[1] == pytest.approx(2 * (gradient * moved).sum().item(), rel=1e-5)


@pytest.mark.parametrize("name", ["cbow", "cbow-tree"])
def test_the_gradient_of_a_mean_goes_whole_to_each_neighbour(name, store):
    """As in word2vec's code: so many times the true one as there are neighbours, where all windows are alike."""
    recipe, member = taught(static(name, "corruption.rewrite.reach=full", "corruption.rewrite.window=1"), store)
    member = stirred(member.double())
    batch = batch_of(recipe, store, 3)
    both = (batch.input.features["left"] == 1) & (batch.input.features["right"] == 1)
    for side in ("left", "right"):
        batch.input.features[side][~both] = 0
    batch = batch.to("cpu")
    (loss,) = member(batch).values()
    loss.backward()
    p = member.model.tokens.weight
    gradient = whole(p.grad)
    moved = torch.randn(p.shape, dtype=p.dtype, generator=torch.Generator().manual_seed(1)) * 1e-6
    found = []
    with torch.no_grad():
        for sign in (1, -1):
            p += sign * moved
            found.append(next(iter(member(batch).values())).item())
            p -= sign * moved
    assert 2 * (found[0] - found[1]) == pytest.approx(2 * (gradient * moved).sum().item(), rel=1e-5)


@of_words
def test_at_the_start_every_pair_is_a_coin(name, store):
    """Words that are asked for begin at 0: each pair and each of its negatives (each turn on a path) costs ln 2."""
    recipe, member = taught(static(name), store)
    batch = batch_of(recipe, store, 40)
    (loss,) = member(batch.to("cpu")).values()
    pairs = (batch.input.features["left"].astype(int) + batch.input.features["right"]).sum()
    pairs = len(batch.targets["word"]) if recipe.objective.predict == "centre" else pairs
    if recipe.objective.by == "huffman":
        turns = (
            (member.objective._paths(torch.float32)[1] != 0).sum(1)[torch.from_numpy(batch.input.tokens).long()].numpy()
        )
        sides = batch.input.features["left"].astype(int) + batch.input.features["right"]
        expected = (turns * (sides > 0 if recipe.objective.predict == "centre" else sides)).sum()
        assert loss.item() == pytest.approx(expected * math.log(2), rel=1e-5)
    else:  # less where a drawn word was the one asked for
        assert 5.6 * math.log(2) < loss.item() / pairs <= 6.0001 * math.log(2)


@every_case
def test_it_learns(name, store, tmp_path):
    settings = ("training.evaluate=0", "schedule.lr=0.1")
    pretrain(static(name, *settings), store, tmp_path / "run", steps=200, threads=1)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    first, last = (np.mean([line["loss"] for line in part]) for part in (lines[:10], lines[-30:]))
    assert last < (0.95 if "tree" in name else 0.9) * first  # every turn of a path is a coin at first


@every_case
def test_accumulation_equals_one_big_batch(name, store):
    gradients = []
    for accumulate in (1, 3):
        recipe = sized(static(name, f"training.accumulate={accumulate}").with_vocab(store.vocab), store)
        recipe, member = taught(recipe, store)
        step = next(iter(Loader(Text.of(recipe, store, 0), accumulate=accumulate)))
        member = stirred(member.double())
        assert len(step.batches) == accumulate
        for batch in step.batches:
            (term, loss), *_ = member(batch.to("cpu")).items()
            (loss / step.counts[term]).backward()
        gradients.append({key: whole(p.grad) for key, p in member.named_parameters()})
    for key, one in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], one, rtol=1e-6, atol=1e-9, msg=key)


@every_case
def test_a_count_that_is_made_without_a_batch_is_that_of_the_batch(name, store):
    recipe = static(name).with_vocab(store.vocab)
    corruption, row = recipe.corruption.knowing(store.vocab), row_of(recipe, store, 30)
    batch = corruption(row, store.vocab, Draw(0))
    assert corruption.counts(row, corruption.select(row, Draw(0)), Draw(0)) == batch.counts()
    parts = batch.split([10, 20])
    assert sum(len(part.input.tokens) for part in parts) == len(batch.input.tokens)


@every_case
def test_a_run_that_was_resumed_equals_one_that_was_not(name, store, tmp_path):
    recipe = static(name, "training.checkpoint=3", "training.evaluate=4", "training.held_out=512")
    pretrain(recipe, store, tmp_path / "straight", steps=8, threads=1)
    with pytest.raises(Interrupted):
        pretrain(recipe, store, tmp_path / "resumed", steps=8, threads=1, progress=Breaking("stop", 5))
    pretrain(recipe, store, tmp_path / "resumed", steps=8, threads=1, resume=True, workers=2)
    same(tmp_path / "straight", tmp_path / "resumed")


@every_case
def test_a_word_has_one_vector_wherever_it_stands(name, store):
    recipe, member = taught(static(name), store)
    row = row_of(recipe, store, 3)
    stream = Stream.plain(row, row.tokens).to("cpu")
    said = stirred(member).model.eval()(stream)
    first = {token: i for i, token in reversed(list(enumerate(stream.tokens.tolist())))}
    assert torch.equal(said, said[torch.tensor([first[token] for token in stream.tokens.tolist()])])
    read = torch.arange(0, len(stream.tokens), 3)
    assert torch.equal(member.model(stream, read), said[read])


@pytest.fixture(scope="module")
def two(children, store, tmp_path_factory):
    folder, jobs = tmp_path_factory.mktemp("static"), []
    for name in ("word2vec", "fasttext", "glove"):
        sets = ["model.grams.buckets=500"] if name == "fasttext" else []
        jobs.append(job(store, f"{name}-one", *sets, member=name, alone=True, options={"steps": 6}))
        jobs.append(job(store, f"{name}-two", *sets, member=name, options={"steps": 6}))
    jobs.append(job(store, "sliced", member="word2vec", options={"steps": 6, "shard": "fsdp"}))
    work(children, folder, jobs)
    return folder


@pytest.mark.parametrize("name", ["word2vec", "fasttext", "glove"])
def test_two_processes_learn_what_one_does(two, name):
    for run in ("one", "two"):
        assert outcome(two, f"{name}-{run}")["code"] == 0, outcome(two, f"{name}-{run}")
    alike(two / f"{name}-one", two / f"{name}-two")


def test_tables_are_not_sliced_which_is_said_in_one_line(two):
    assert outcome(two, "sliced")["code"] == 2 and "are not sliced" in outcome(two, "sliced")["error"]
