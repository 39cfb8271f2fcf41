"""Vectors of texts: what is learned from pairs, triplets and texts alone, how it is scored, kept, cut, exported and refused."""

import json
import math
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.runs import lines, same
from tests.test_distributed import alike
from tests.test_tuning_runs import broken_off
from tests.workers import outcome, work

import bertsmith
from bertsmith.data.batch import Target
from bertsmith.downstream.model import load
from bertsmith.errors import InputError
from bertsmith.nn.member import build
from bertsmith.objectives.modules.vectors import VectorsObjective, belonging, negatives, ranked
from bertsmith.objectives.vectors import Vectors
from bertsmith.tasks import kinds, ranking
from bertsmith.tasks.sequences import Reading
from bertsmith.tasks.vectors import belonging as belonging_here
from bertsmith.tasks.vectors import cosent
from bertsmith.training.precision import Precision
from bertsmith.training.step import train_step

pytestmark = pytest.mark.usefixtures("one_thread")
WORDS = "class object list name function module value string loop file error type method package import test".split()
FLOAT32 = Precision(compute="float32", device=torch.device("cpu"), matmul="highest")


def sentence(draw, topic, n=5):
    """Mostly of one word: what it is about."""
    return " ".join(topic if draw.random() < 0.6 else draw.choice(WORDS) for _ in range(n))


def scored(count, seed):
    """Pairs, 5 where they are about one thing and 0 where they are not."""
    draw, rows = random.Random(seed), []
    for i in range(count):
        a, b = draw.sample(WORDS, 2)
        other = a if i % 2 else b
        rows.append({"text": sentence(draw, a), "text2": sentence(draw, other), "label": 5.0 * (other == a)})
    return rows


def pairs(count, seed, negative=False):
    draw, rows = random.Random(seed), []
    for _ in range(count):
        a, b = draw.sample(WORDS, 2)
        row = {"text": sentence(draw, a, 4), "text2": sentence(draw, a, 7)}
        rows.append(row | ({"negative": sentence(draw, b, 7)} if negative else {}))
    return rows


@pytest.fixture(scope="module")
def tune(pretrained):
    def run(out, task="similarity", train=None, dev=None, **options):
        made = {"similarity": scored, "retrieval": pairs}[task]
        train, dev = made(60, 0) if train is None else train, made(30, 1) if dev is None else dev
        options["set"] = {"batch": 16, "lr": 3e-3, **options.get("set", {})}
        options = {"steps": 6, "threads": 1, "seed": 3, **options}
        return bertsmith.finetune(pretrained, task=task, train=train, dev=dev, out=out, **options)

    return run


# -- losses ------------------------------------------------------------------------------------------------------------------------


def vectors(m, k, d=8, seed=0):
    return torch.randn(m, k, d, generator=torch.Generator().manual_seed(seed))


def test_cosent_is_the_sum_over_all_pairs_of_pairs_that_stand_the_wrong_way():
    cosines, labels = torch.tensor([0.9, 0.1, 0.5, 0.5, -0.3]), torch.tensor([0.0, 1.0, 0.5, 0.5, 0.2])
    total = sum(
        math.exp(20 * float(cosines[i] - cosines[j])) for i in range(5) for j in range(5) if labels[i] < labels[j]
    )
    assert float(ranked(cosines, labels, 20.0)) == pytest.approx(math.log1p(total), rel=1e-6)
    assert cosent(cosines.numpy(), labels.numpy(), 20.0) == pytest.approx(math.log1p(total), rel=1e-6)
    assert float(ranked(cosines[:1], labels[:1], 20.0)) == 0, "one pair has nothing to be compared with"


def test_a_text_that_stands_twice_is_no_negative_of_itself():
    texts = torch.tensor([[0, 1, 9], [2, 3, 1], [0, 4, 8], [5, 1, 7], [6, 0, 2]])
    assert negatives(texts).int().tolist() == [
        # second texts   | third texts
        [0, 1, 0, 0, 0, 1, 0, 1, 1, 1],  # 4 belongs to the same first text, 1 is its own, 0 is the first text itself
        [1, 0, 1, 1, 1, 1, 1, 1, 1, 0],
        [0, 1, 0, 1, 0, 1, 1, 1, 1, 1],
        [0, 1, 1, 0, 1, 1, 0, 1, 1, 1],
        [1, 1, 1, 1, 0, 1, 1, 1, 1, 1],
    ]


@pytest.mark.parametrize("k", [2, 3])
def test_the_loss_of_pairs_that_belong_together_is_the_cross_entropy_over_what_does_not(k):
    found, texts = vectors(6, k), torch.arange(6 * k).reshape(6, k)
    texts[4, 1] = texts[0, 1]  # the same second text, and its vector
    unit = F.normalize(found, dim=-1)
    total = 0.0
    for i in range(6):
        wrong = [(j, p) for j in range(6) for p in range(1, k) if texts[j, p] != texts[i, 1]]
        scores = 20 * torch.stack([unit[i, 0] @ unit[j, p] for j, p in [(i, 1), *wrong]])
        total += float(scores.logsumexp(0) - scores[0])
    objective = VectorsObjective(Vectors(loss="negatives", parts=k))
    assert float(objective.loss(found, texts)) == pytest.approx(total, rel=1e-5)
    assert belonging_here(found.numpy(), texts.numpy(), 20.0) == pytest.approx(total / 6, rel=1e-5)
    order = torch.randperm(6)
    assert float(objective.loss(found[order], texts[order])) == pytest.approx(total, rel=1e-5)


def test_pairs_that_are_all_alike_cost_what_guessing_does():
    scores = torch.full((7, 7), 20.0)
    assert float(belonging(scores, torch.ones(7, 7, dtype=torch.bool))) == pytest.approx(7 * math.log(7))


def test_a_symmetric_loss_is_the_mean_of_both_directions():
    found, texts = vectors(5, 2), torch.arange(10).reshape(5, 2)
    one = VectorsObjective(Vectors(loss="negatives"))
    both = VectorsObjective(Vectors(loss="symmetric"))
    turned = one.loss(found.flip(1), texts.flip(1))
    assert torch.allclose(both.loss(found, texts), (one.loss(found, texts) + turned) / 2)


def test_triplets_cost_what_is_missing_of_the_margin():
    found = torch.tensor([[[0.0, 0.0], [3.0, 4.0], [0.0, 5.5]], [[0.0, 0.0], [1.0, 0.0], [0.0, 9.0]]])
    objective = VectorsObjective(Vectors(loss="triplet", parts=3, margin=1.0))
    assert float(objective.loss(found, torch.arange(6).reshape(2, 3))) == pytest.approx(0.5)


def test_the_loss_of_sizes_is_the_sum_over_first_numbers():
    found, numbers = vectors(5, 2), torch.rand(5)
    whole = VectorsObjective(Vectors(sizes=(4, 2)))
    one = VectorsObjective(Vectors())
    assert torch.allclose(whole.loss(found, numbers), sum(one.loss(found[..., :n], numbers) for n in (8, 4, 2)))


# -- one gradient in many passes -----------------------------------------------------------------------------------------------------


def batches(kind, encoded, targets, sizes):
    """The first rows, cut into passes of so many."""
    asked, edges = kind.asked(encoded, targets), np.cumsum([0, *sizes])
    return [encoded.batch(np.arange(a, b), asked) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def gradient(member, parts, sets=()):
    counts = {"vector": sum(len(part.targets["vector"]) for part in parts)}
    kept = [p.detach().clone() for p in member.parameters()]
    optimizer = torch.optim.SGD(member.parameters(), lr=0.0)
    done = train_step(member, parts, counts, optimizer, precision=FLOAT32, clip=0.0, seed=1, step=1)
    assert all(torch.equal(a, b) for a, b in zip(kept, member.parameters(), strict=True))
    return done.loss, torch.cat([p.grad.flatten() for p in member.parameters() if p.grad is not None])


@pytest.fixture(scope="module")
def read(pretrained):
    """read(loss, dropout, rows) -> the member, the kind, its rows encoded and their targets."""
    loaded = load(pretrained)

    def made(loss, dropout, rows):
        from dataclasses import replace

        kind = replace(kinds.kind("similarity" if "label" in rows[0] else "retrieval"), goal=loss)
        recipe = replace(
            loaded.recipe,
            model=replace(loaded.recipe.model, dropout=dropout),
            objective=Vectors(loss=loss, parts=3 if "negative" in rows[0] else 2),
        )
        torch.manual_seed(0)
        member = build(recipe)
        table = kind.read(bertsmith.tasks.given.source(rows, "train", fields=kind.fields))
        encoded = kind.encode(loaded.tokenizer, table, Reading.of(recipe, 32))
        return member, kind, encoded, kind.targets(table, kind.learn(table))

    return made


@pytest.mark.parametrize("loss", ["cosine", "cosent", "negatives", "symmetric", "triplet"])
def test_passes_have_the_gradient_of_one_big_batch(read, loss):
    rows = scored(12, 0) if loss in ("cosine", "cosent") else pairs(12, 0, negative=loss == "triplet")
    member, *data = read(loss, 0.0, rows)
    whole, one = gradient(member, batches(*data, [12]))
    for sizes in ([6, 6], [5, 4, 2, 1]):
        cached, found = gradient(member, batches(*data, sizes))
        assert cached == pytest.approx(whole, rel=1e-6)
        assert torch.allclose(found, one, rtol=1e-4, atol=1e-6 * float(one.abs().max()))


def test_passes_with_dropout_have_the_gradient_of_what_each_of_them_drew(read):
    member, *data = read("negatives", 0.1, pairs(12, 0, negative=True))
    parts = batches(*data, [5, 4, 3])
    whole, found = gradient(member, parts)
    from bertsmith.training.step import _dropout_seed

    member.train()
    member.zero_grad(set_to_none=True)
    held = []
    for i, part in enumerate(parts):
        torch.manual_seed(_dropout_seed(1, 1, i))
        held.append(member.objective.vectors(member.model, part.to("cpu")))
    texts = torch.cat([torch.from_numpy(part.targets["vector"].labels) for part in parts])
    loss = member.objective.loss(torch.cat(held), texts) / 12
    loss.backward()
    one = torch.cat([p.grad.flatten() for p in member.parameters() if p.grad is not None])
    assert whole == pytest.approx(loss.item(), rel=1e-6)
    assert torch.allclose(found, one, rtol=1e-4, atol=1e-6 * float(one.abs().max()))


def test_rows_that_ask_nothing_change_nothing():
    found, texts = vectors(4, 2), torch.arange(8).reshape(4, 2)
    more = torch.cat([found, vectors(1, 2, seed=1)])
    objective = VectorsObjective(Vectors(loss="negatives"))
    assert torch.equal(objective.loss(more, torch.cat([texts, torch.full((1, 2), -100)])), objective.loss(found, texts))
    assert float(objective.loss(more[4:], torch.full((1, 2), -100))) == float(more[4:].sum() * 0)


def test_a_known_gradient_is_what_a_pass_goes_back_from(read):
    member, *data = read("negatives", 0.0, pairs(6, 0))
    (part,) = batches(*data, [6])
    batch, pull = part.to("cpu"), torch.randn(6, 2, member.model.config.width)
    target = batch.targets["vector"]
    batch.targets["vector"] = Target(at=target.at, labels=target.labels, pull=pull)
    read_ = member.objective.vectors(member.model, batch)
    assert torch.allclose(member(batch)["vector"], (read_ * pull).sum())
