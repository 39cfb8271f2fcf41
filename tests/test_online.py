"""One pair after another, by gensim's compiled functions: the laws of word2vec hold, runs go on to the same bytes, and what cannot be so is told."""

import json
from importlib import metadata

import numpy as np
import pytest
import torch
from gensim.models import Word2Vec
from scipy.stats import chisquare
from tests.runs import Breaking, same
from tests.test_static_members import batch_of, static, stirred, taught, whole

import bertsmith
from bertsmith.config import override
from bertsmith.data.batch import Batch, Stream
from bertsmith.errors import InputError, Interrupted, NumericsError
from bertsmith.objectives import neighbours
from bertsmith.objectives.modules.online import HALF, Descent
from bertsmith.recipe import find
from bertsmith.training import cost, online
from bertsmith.training.evaluate import evaluate_run
from bertsmith.training.pretraining import pretrain

ONLINE = "schedule.optimizer=online"
CASES = ["skip-gram", "cbow", "tree", "cbow-tree"]
every_case = pytest.mark.parametrize("name", CASES)


def moved(member, batch, rate):
    """(the loss, the way, {table: what it moved by}) of an update."""
    before = {key: p.detach().clone() for key, p in member.named_parameters()}
    (sums, way) = member.objective.moved(member.model, batch, rate)
    return sums["word"], way, {key: p.detach() - before[key] for key, p in member.named_parameters()}


@pytest.mark.parametrize("name", ["tree", "cbow-tree"])
def test_steps_of_a_small_rate_add_up_to_the_gradient_of_the_update(name, store):
    """A tree draws nothing, so that both ways ask the same of the same pairs, walls and windows included."""
    recipe, member = taught(static(name), store)
    stirred(member)
    batch = batch_of(recipe, store, 8)
    (loss,) = member(batch.to("cpu")).values()
    loss.backward()
    rate = 1e-3
    found, way, by = moved(member, batch, rate)
    assert found == pytest.approx(loss.item(), rel=0.03)  # gensim's logistic is a table, of numbers up to 0.024 beside
    for key, p in member.named_parameters():
        slope = whole(p.grad)
        assert torch.linalg.vector_norm(by[key] / rate + slope) < 0.05 * torch.linalg.vector_norm(slope), key
    slope = torch.linalg.vector_norm(whole(member.model.tokens.weight.grad))
    assert way == pytest.approx(slope.item(), rel=0.05)


def sentences_of(stream):
    """What stands between walls, read off the windows."""
    ends = np.flatnonzero(stream.features["right"] == 0) + 1
    parts = np.split(stream.tokens, ends)
    return [part.tolist() for part in parts if len(part) > 1]


@every_case
def test_tables_move_as_gensim_moves_its_own_from_the_same_beginning(name, store):
    recipe, member = taught(static(name, "corruption.rewrite.reach=full", "layout.length=128"), store)
    batch = batch_of(recipe, store, 1)
    for away in range(5):  # a wall behind 40 words
        for side, at in (("left", 40 + away), ("right", 39 - away)):
            batch.input.features[side][at] = min(away, batch.input.features[side][at])
    assert len(sentences_of(batch.input)) > 1
    tree, width = "tree" in name, recipe.model.width
    theirs = Word2Vec(
        vector_size=width,
        window=5,
        sg="cbow" not in name,
        hs=tree,
        negative=0 if tree else 5,
        sample=0,
        min_count=1,
        shrink_windows=False,
        workers=1,
        seed=3,
        alpha=0.04,
        min_alpha=0.04,
        sorted_vocab=False,
    )
    counts = member.objective.counts.numpy()
    theirs.build_vocab_from_freq({str(i): int(counts[i]) for i in np.flatnonzero(counts)})
    rows = np.array(theirs.wv.index_to_key, int)
    theirs.wv.vectors[:] = member.model.tokens.weight.detach().numpy()[rows]
    given = (theirs.random.randint(0, HALF), theirs.random.randint(0, HALF))
    batch.input.features["drawn"][:2] = np.array(given) / HALF
    theirs.random.seed(3)
    if tree:  # counts that are alike may be joined in any order
        nodes, turns = member.objective._paths(torch.float32)
        lengths = (turns != 0).sum(1).tolist()
        for name, of in (("code", (turns < 0).numpy().astype(np.uint8)), ("point", nodes.numpy().astype(np.uint32))):
            theirs.wv.expandos[name] = [of[row][: lengths[row]] for row in rows]
        theirs.syn1 = np.zeros((len(counts), width), np.float32)
    sentences = [list(map(str, sentence)) for sentence in sentences_of(batch.input)]
    theirs.train(sentences, total_examples=1, epochs=1, compute_loss=True)
    loss, way, _ = moved(member, batch, 0.04)
    assert way > 0 and np.array_equal(member.model.tokens.weight.detach().numpy()[rows], theirs.wv.vectors)
    output = member.objective.output.weight.detach().numpy()
    assert np.array_equal(output, theirs.syn1) if tree else np.array_equal(output[rows], theirs.syn1neg)
    assert output.any() and loss == theirs.get_latest_training_loss()


def test_what_stands_against_a_pair_is_drawn_by_counts_to_the_power():
    """A first pair per sequence, of two words whose own rows are known: what else moves in the table was drawn."""
    counts = np.array([0, 0, 400, 100, 50, 10, 1])
    made = neighbours.Neighbourhood(negatives=1).build(neighbours_body(len(counts)))
    made.counts.copy_(torch.from_numpy(counts))
    found, generator = np.zeros(len(counts)), np.random.default_rng(0)
    descent = made._descent(made.counts)
    assert isinstance(descent, Descent)
    words, output = np.ones((len(counts), 4), np.float32), np.zeros((len(counts), 4), np.float32)
    for _ in range(4000):
        output.fill(0)
        features = {"left": np.array([0, 1]), "right": np.array([1, 0]), "drawn": generator.random(2)}
        descent(stream_of([2, 2], features), words.copy(), output, 1e-3)
        found += (output < 0).any(1)
    expected = (counts**0.75)[3:]
    assert found[:3].sum() == 0, "what has no count, and the word itself"
    expected = 1 - (1 - expected / (counts**0.75).sum()) ** 2  # a pair each way
    assert chisquare(found[3:], expected / expected.sum() * found.sum()).pvalue > 1e-4


def neighbours_body(vocab, width=4):
    from bertsmith.nn.static import StaticConfig

    return StaticConfig(vocab=vocab, width=width).build()


def stream_of(tokens, features, lengths=None):
    tokens = np.array(tokens)
    zeros = np.zeros(len(tokens), np.uint8)
    return Stream(
        tokens=tokens, positions=zeros, segments=zeros, query_rank=zeros, key_rank=zeros,
        lengths=tuple(lengths or [len(tokens)]), features=features,
    )  # fmt: skip


@every_case
def test_a_run_that_was_killed_or_stopped_and_resumed_equals_one_that_was_not(name, store, tmp_path):
    recipe = static(name, ONLINE, "training.checkpoint=3", "training.evaluate=4", "training.held_out=512")
    pretrain(recipe, store, tmp_path / "straight", steps=8, threads=1)
    for how, error in (("stop", Interrupted), ("kill", KeyboardInterrupt)):
        with pytest.raises(error):
            pretrain(recipe, store, tmp_path / how, steps=8, threads=1, progress=Breaking(how, 5))
        pretrain(recipe, store, tmp_path / how, steps=8, threads=1, resume=True, workers=2)
        same(tmp_path / "straight", tmp_path / how)
    config = json.loads((tmp_path / "straight" / "config.json").read_text())
    assert config["versions"]["gensim"] == online.engine(recipe)["gensim"]


@every_case
def test_it_learns_and_is_a_model_like_others(name, store, tmp_path):
    run, said = tmp_path / "run", []
    settings = (ONLINE, "schedule.lr=0.05", "training.evaluate=100", "training.held_out=2048")
    pretrain(static(name, *settings), store, run, steps=200, threads=1, say=said.append)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert not any("much faster" in line for line in said)
    first, last = (np.mean([line["loss"] for line in part]) for part in (lines[:10], lines[-30:]))
    assert last < (0.95 if "tree" in name else 0.9) * first
    early, late = (line["evaluation"]["word"]["loss"] for line in lines if "evaluation" in line)
    assert late < early, "by what is asked of it offline"
    again = evaluate_run(run, store)["evaluation"]["word"]
    assert again["loss"] == pytest.approx(late, rel=1e-6)
    assert all(line["grad_norm"] > 0 for line in lines)
    bertsmith.verify(run)
    bertsmith.export(run, tmp_path / "v.txt", to="word2vec")
    assert (tmp_path / "v.txt").stat().st_size > 1000


@pytest.mark.parametrize("settings", [[], ["objective.predict=centre"], ["objective.by=huffman"]])
def test_words_of_two_groups_that_never_meet_part(settings, tmp_path):
    generator = np.random.default_rng(0)
    groups = [[f"{letter}{letter}{i}x" for i in "bcdfg"] for letter in "ae"]
    text = "\n\n".join(" ".join(generator.choice(groups[i % 2], 40)) for i in range(400))
    (tmp_path / "text.txt").write_text(text)
    bertsmith.prepare([str(tmp_path / "text.txt")], tmp_path / "store", tokenizer="words:30", holdout=0.0)
    run = tmp_path / "run"
    sets = [*settings, ONLINE, "schedule.lr=0.05", "model.width=8", "corruption.select.sample=0", "training.batch=1024"]
    bertsmith.pretrain("word2vec:tiny", tmp_path / "store", run, steps=60, threads=1, set=sets)
    for group, others in (groups, groups[::-1]):
        near = [found["text"] for found in bertsmith.similar(run, group[0], top=9)["near"]]
        assert set(near[:4]) == set(group[1:]) and set(near[4:]) == set(others)


def test_a_sequence_draws_from_its_own_features_and_words_without_neighbours_are_left_out():
    asked = []
    made = neighbours.Neighbourhood().build(neighbours_body(9))
    made.counts.copy_(torch.arange(9))
    descent = made._descent(made.counts)
    descent._train = lambda model, sentences, *rest: asked.append(
        (sentences, model.random.randint(0, model.window, 9), [model.random.randint(0, HALF) for _ in range(2)])
    )
    # Two walls in the first sequence, a word alone between them; the second has nothing to say, the third two words.
    features = {
        "left": np.array([0, 1, 0, 0, 1, 2, 0, 0, 1]),
        "right": np.array([1, 0, 0, 2, 1, 0, 0, 1, 0]),
        "drawn": np.arange(9) / 16,
    }
    descent(stream_of([1, 2, 3, 4, 5, 6, 7, 8, 1], features, (6, 1, 2)), *np.ones((2, 9, 4), np.float32), 0.1)
    assert asked == [
        ([[1, 2], [4, 5, 6]], [1, 1, 0, 1, 0], [0, HALF // 16]),
        ([[8, 1]], [1, 1], [7 * HALF // 16, 8 * HALF // 16]),
    ]


def test_a_batch_of_nothing_moves_nothing():
    recipe = override(find("word2vec:tiny"), ["model.width=4"]).with_vocab(50)
    torch.manual_seed(0)
    from bertsmith.nn.member import build

    member = build(recipe)
    features = {"left": np.zeros(0, np.uint8), "right": np.zeros(0, np.uint8), "drawn": np.zeros(0)}
    loss, way, by = moved(member, Batch(input=stream_of(np.zeros(0, np.int64), features, ()), targets={}), 0.1)
    assert loss == way == 0 and not any(part.any() for part in by.values())


def test_a_table_that_is_no_longer_finite_ends_the_run(store, tmp_path, monkeypatch):
    monkeypatch.setattr(Descent, "__call__", lambda self, stream, words, output, rate: words.fill(np.inf) or 1.0)
    with pytest.raises(NumericsError, match=r"step 1: not finite.*the step that was saved last is whole"):
        pretrain(static("cbow", ONLINE), store, tmp_path / "run", steps=2, threads=1)


REFUSED = {
    "training.accumulate=2": "training.accumulate: 2, .*online descent adds no micro-batches up; leave them 1 and null",
    "training.most=100": "training.most: 100: online descent adds no micro-batches up",
    "schedule.clip=1": "schedule.clip: 1.*: online descent has none; set it 0",
    "schedule.weight_decay=0.1": "schedule.weight_decay: 0.1: online descent has none; set it 0",
    "schedule.layer_decay=0.5": "schedule.layer_decay: 0.5: online descent has none; set it 1",
    "schedule.lr=1.5": r"schedule.lr: 1.5: .*word2vec's is 0.025",
    "training.batch=30000 layout.length=20000": "layout.length: 20000: gensim reads 10,000 words of a row",
}


@pytest.mark.parametrize("setting", REFUSED)
def test_what_it_cannot_be_is_told_in_one_line(setting, store, tmp_path):
    with pytest.raises(InputError, match=REFUSED[setting]):
        pretrain(static("cbow", ONLINE, *setting.split()), store, tmp_path / "run", steps=2, threads=1)
    assert not (tmp_path / "run").exists()


def test_members_without_pairs_of_words_and_processes_are_refused(store, tmp_path):
    for name in ("bert", "glove"):
        with pytest.raises(InputError, match=rf"schedule.optimizer: online: \w+ \({name}\) learns by gradients"):
            override(find(f"{name}:tiny"), [ONLINE])
    with pytest.raises(InputError, match="online learns one vector of each word, and fasttext has stretches"):
        pretrain(static("fasttext", ONLINE), store, tmp_path / "run", steps=2)
    recipe = static("cbow", ONLINE)
    with pytest.raises(InputError, match="in one process; 2 are here"):
        online.check(recipe, 2, torch.device("cpu"))
    with pytest.raises(InputError, match="computes on the CPU; device='cpu'"):
        online.check(recipe, 1, torch.device("cuda"))


def test_without_gensim_one_line_says_what_brings_it(store, tmp_path, monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(
        InputError, match=r"schedule.optimizer: online: needs gensim; pip install 'bertsmith\[static\]'"
    ):
        pretrain(static("tree", ONLINE), store, tmp_path / "run", steps=2, threads=1)
    pretrain(static("tree"), store, tmp_path / "run", steps=2, threads=1)


def test_where_it_pays_a_run_by_another_optimizer_says_so(store, tmp_path):
    said = []
    pretrain(static("cbow"), store, tmp_path / "run", steps=2, threads=1, say=said.append)
    assert sum("schedule.optimizer" in line and "much faster" in line for line in said) == 1
    assert online.pays(static("skip-gram")) == []


def test_minutes_and_plans_are_measured(store, tmp_path):
    recipe = static("cbow-tree", ONLINE, "training.evaluate=0", "training.held_out=512")
    found = pretrain(recipe, store, tmp_path / "run", minutes=0.01, threads=1)
    assert found["steps"] >= 1
    assert cost.estimate(recipe, store, threads=1).seconds > 0
    with pytest.raises(InputError, match="computes on the CPU"):
        cost.estimate(recipe, store, gpu="h100")
