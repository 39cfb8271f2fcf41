"""ERNIE of Tsinghua: layers that read entities, and the question which entity is meant."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bertsmith.data.batch import IGNORE, Target
from bertsmith.data.draw import Draw
from bertsmith.data.linked import Linked
from bertsmith.errors import InputError
from bertsmith.nn.member import build, parameters
from bertsmith.objectives.modules.entities import candidates
from bertsmith.recipe import find
from bertsmith.training.pretraining import pretrain


@pytest.fixture
def made(store, tiny):
    """(recipe, member with the store's vectors, batch), of so many sequences."""

    def build_one(*settings, sequences=6, seed=0):
        recipe = tiny("ernie-thu", "model.dropout=0", *settings).with_vocab(store.vocab)
        plan = recipe.layout.plan(store.train, store.vocab, seed, 0)
        batch = recipe.corruption(plan.row(plan.order[:sequences]), store.vocab, Draw(seed)).to("cpu")
        torch.manual_seed(0)
        member = build(recipe).eval()
        member.model.take(store.vectors)
        return recipe, member, batch

    return build_one


def without(stream):
    return replace(stream, features={"entity": torch.zeros_like(stream.tokens)})


def test_without_entities_it_is_bert_to_the_bit(made, store, tiny):
    _, member, batch = made()
    torch.manual_seed(1)
    bert = build(tiny("bert", "model.dropout=0").with_vocab(store.vocab)).eval()
    own, theirs = member.state_dict(), bert.state_dict()
    assert {*theirs} < {*own}
    member.load_state_dict({**own, **theirs})
    read = torch.arange(0, len(batch.input.tokens), 3)
    with torch.no_grad():
        for stream in (without(batch.input), replace(batch.input, features={})):
            assert torch.equal(member.model(stream), bert.model(stream))
            assert torch.equal(member.model(stream, read), bert.model(stream, read))
        assert not torch.equal(member.model(batch.input), bert.model(batch.input)), "with them it is not"
        silent = list(batch.input.lengths)
        owner = np.repeat(np.arange(len(silent)), silent)
        given = batch.input.features["entity"].clone()
        given[torch.from_numpy(owner) != 1] = 0  # one sequence of the row has entities: the others are BERT's still
        said, plain = member.model(replace(batch.input, features={"entity": given})), bert.model(batch.input)
        torch.testing.assert_close(
            said[torch.from_numpy(owner) != 1], plain[torch.from_numpy(owner) != 1], rtol=0, atol=1e-6
        )


def test_its_layers_are_the_papers_equations(made):
    """Equations 1 to 5 for one sequence, with matrices and nothing else."""
    _, member, batch = made("model.layers=3", "model.topology.plain=1", sequences=1)
    model, stream = member.model, batch.input
    norm = lambda part, x: F.layer_norm(x, x.shape[-1:], part.weight, part.bias, part.eps)

    def attended(part, x):
        q, k, v = (y.unflatten(-1, (part.heads, -1)).transpose(0, 1) for y in part.qkv(x).chunk(3, -1))
        shares = (q @ k.transpose(1, 2) * q.shape[-1] ** -0.5).softmax(-1)
        return part.out((shares @ v).transpose(0, 1).flatten(1))

    with torch.no_grad():
        states = model.states(stream)
        given = stream.features["entity"]
        at = given.nonzero()[:, 0]
        assert len(at) >= 2
        w, e = states[1], model.vectors[given[at] - 1]
        for number in (1, 2):
            layer = model.layers[number]
            w = norm(layer.attention_norm, w + attended(layer.attention, w))
            e = norm(layer.entity.attention_norm, e + attended(layer.entity.attention, e))
            hidden = layer.feedforward.up(w)
            hidden[at] += e @ layer.entity.into.weight.T
            hidden = F.gelu(hidden)
            w = norm(layer.feedforward_norm, w + layer.feedforward.down(hidden))
            torch.testing.assert_close(states[number + 1], w, rtol=1e-5, atol=1e-6)
            if number == 1:
                e = norm(layer.entity.back_norm, e + layer.entity.back(hidden[at]))
        assert model.layers[2].entity.back is None, "nobody reads the entities of the last layer"


def test_sequences_of_a_row_are_those_by_themselves(made, store):
    _, member, batch = made(sequences=5)
    parts = batch.input.split([1] * 5)
    with torch.no_grad():
        whole = member.model(batch.input)
        alone = torch.cat([member.model(part) for part in parts])
    torch.testing.assert_close(whole, alone, rtol=1e-5, atol=1e-6)


def test_links_are_wrong_hidden_and_given_as_often_as_asked(store, tiny):
    recipe = tiny("ernie-thu").with_vocab(store.vocab)
    plan = recipe.layout.plan(store.train, store.vocab, 0, 0)
    counts, entities = np.zeros(3), store.vocab.entities[0]
    for seed in range(6):
        row = plan.row(np.arange(len(plan.labels)))
        given = recipe.corruption(row, store.vocab, Draw(seed)).input.features["entity"]
        at = row.entities > 0
        clean, now = row.entities[at], given[at]
        assert not given[~at].any() and now.max() <= entities
        counts += [(now == clean).sum(), (now == 0).sum(), ((now != 0) & (now != clean)).sum()]
    expected = counts.sum() * np.array([0.8, 0.15, 0.05])
    assert counts.sum() > 3000 and ((counts - expected) ** 2 / expected).sum() < 13.8, (
        "chi square, two degrees, 1 in 1,000"
    )


def test_all_links_wrong_are_others_and_all_others_come_alike():
    rewrite, clean = Linked(wrong=1.0, hidden=0.0), np.repeat(np.arange(1, 5), 5000)

    class FourEntities:
        entities = (4, 2)

    bits = np.random.default_rng(0).integers(0, 2**64, len(clean), dtype=np.uint64)
    given = rewrite._given(clean, bits, FourEntities)
    assert (given != clean).all() and set(given) == {1, 2, 3, 4}
    table = np.array([[np.mean(given[clean == c] == g) for g in range(1, 5)] for c in range(1, 5)])
    assert np.allclose(table, (1 - np.eye(4)) / 3, atol=0.03)


def test_who_is_asked_chooses_among_the_entities_of_its_sequence(made):
    _, member, batch = made(sequences=8)
    target = batch.targets["entity"]
    owner, own, table = candidates(target, batch.input)
    sequence = torch.repeat_interleave(torch.arange(8), torch.tensor(batch.input.lengths))[target.at[:, 0]]
    for number in sequence.unique():
        mine = sequence == number
        known = table[owner[mine][0]]
        assert known[known >= 0].tolist() == sorted(set(target.labels[mine].tolist())) and (known >= 0).sum() > 1
    assert torch.equal(table[owner, own], target.labels)
    hidden = torch.randn(len(own), 32)
    head = member.objective.entity
    logits, _ = head.among(hidden, target, batch.input, member.model)
    for row in range(len(own)):
        said = member.model.vectors[table[owner[row]].clamp(min=0)] @ head.out(hidden[row])
        there = table[owner[row]] >= 0
        torch.testing.assert_close(logits[row, there], said[there])
        assert (logits[row, ~there] == -torch.inf).all()


def test_an_untrained_head_guesses(made):
    _, member, batch = made(sequences=20)
    target = batch.targets["entity"]
    owner, _, table = candidates(target, batch.input)
    blind = (table >= 0).sum(1)[owner].float().log().mean().item()
    loss = member.objective(member.model, batch)["entity"].item() / len(target)
    assert abs(loss - blind) < 0.05
    found = member.scores(batch)["entity"]
    assert found["count"] == len(target) and abs(found["loss"] / found["count"] - loss) < 1e-4


def test_a_question_without_an_answer_counts_for_nothing(made):
    _, member, batch = made()
    empty = Target(at=torch.zeros(1, 1, dtype=torch.long), labels=torch.full((1,), IGNORE))
    sums = member.objective(member.model, replace(batch, targets={"entity": empty}))
    sums["entity"].backward()
    assert sums["entity"].item() == 0 and not any(p.grad is not None and p.grad.any() for p in member.parameters())


def test_sequences_with_one_entity_are_not_asked(store, tiny):
    recipe = tiny("ernie-thu").with_vocab(store.vocab)
    plan = recipe.layout.plan(store.train, store.vocab, 0, 0)
    row = plan.row(np.arange(len(plan.labels)))
    spans = recipe.corruption.select(row, Draw(0))
    batch = recipe.corruption.rewrite(row, spans, store.vocab, Draw(0))
    of = np.searchsorted(row.offsets, batch.targets["entity"].at[:, 0], "right") - 1
    several = [len(set(part[part > 0])) > 1 for part in np.split(row.entities, row.offsets[1:-1])]
    assert set(of) == set(np.flatnonzero(several)) and 0 < len(set(of)) < len(several)
    assert recipe.corruption.rewrite.counts(row, spans, Draw(0)) == batch.counts()


def test_vectors_come_from_the_store_and_never_learn(store, tiny, tmp_path):
    recipe = tiny("ernie-thu", "training.evaluate=0")
    pretrain(recipe, store, tmp_path / "run", steps=3, threads=1)
    from bertsmith.downstream.model import load

    found = load(tmp_path / "run")
    assert np.array_equal(found.member.model.vectors.numpy(), store.vectors)
    assert parameters(found.recipe) == sum(p.numel() for p in found.member.parameters())
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert set(lines[0]["terms"]) == {"token", "pair", "entity"} and all(math.isfinite(line["loss"]) for line in lines)


def test_it_begins_with_a_bert(store, tiny, tmp_path):
    pretrain(tiny("bert", "training.evaluate=0"), store, tmp_path / "bert", steps=1, threads=1)
    said = []
    options = {"from_": tmp_path / "bert", "new_heads": ["entity"], "say": said.append, "steps": 1, "threads": 1}
    pretrain(
        "ernie-thu",
        store,
        tmp_path / "run",
        set=["training.evaluate=0", "schedule.lr=1e-9", "layout.length=64"],
        **options,
    )
    from bertsmith.downstream.model import load

    bert, own = (load(tmp_path / name).member.model.state_dict() for name in ("bert", "run"))
    for name, tensor in bert.items():
        torch.testing.assert_close(own[name], tensor, rtol=0, atol=1e-6)
    assert any("what reads entities is fresh" in line for line in said)
    assert np.array_equal(own["vectors"].numpy(), store.vectors)


def test_a_store_without_links_is_refused(short, tmp_path):
    with pytest.raises(InputError, match=r"no linked entities; prepare it with links=FILE and entity_vectors=FILE"):
        pretrain("ernie-thu:tiny", short, tmp_path / "run", steps=1)


def test_published_sizes_have_the_papers_parts():
    recipe = find("ernie-thu:base")
    extra = parameters(recipe) - parameters(find("bert:base"))
    attention, norm = 4 * 100 * 101 + 200, 200
    assert recipe.model.topology.lower(recipe.model) == 6
    assert extra == 6 * (attention + 100 * 3072) + 5 * (3073 * 100 + norm) + 769 * 100
