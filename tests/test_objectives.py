"""Objectives: sums over what is asked, equal to one big batch however it is cut; 0 where nothing is asked."""

import dataclasses
import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from bertsmith.config import from_dict, override, to_dict
from bertsmith.data.batch import Batch, Stream, Target
from bertsmith.errors import InputError
from bertsmith.nn.embeddings import Summed
from bertsmith.nn.modules import blocks
from bertsmith.nn.modules.member import MemberModel
from bertsmith.nn.positions import Learned
from bertsmith.nn.transformer import TransformerConfig
from bertsmith.objectives.predict import Pair, Predict, Tokens
from bertsmith.objectives.supervised import Classify, Regress

VOCAB = 60
TINY = TransformerConfig(vocab=VOCAB, layers=2, width=16, heads=2, hidden=32, positions=Learned(length=12), dropout=0.0)
BERT = Predict(heads=(Tokens(), Pair()))


def batch(lengths=(5, 9, 3, 7, 9, 4), rate=0.4, seed=0, labels=None):
    """Random sequences, each asked some tokens and its pair label; `labels` asks for a label of its own instead."""
    g = torch.Generator().manual_seed(seed)
    n = sum(lengths)
    zeros = torch.zeros(n, dtype=torch.long)
    positions = torch.cat([torch.arange(length) for length in lengths])
    stream = Stream(
        tokens=torch.randint(VOCAB, (n,), generator=g),
        positions=positions,
        segments=torch.randint(2, (n,), generator=g),
        query_rank=zeros,
        key_rank=zeros,
        lengths=lengths,
    )
    starts = (positions == 0).nonzero()
    asked = ((torch.rand(n, generator=g) < rate) & (positions > 0)).nonzero()
    if labels is not None:
        return Batch(input=stream, targets={"label": Target(at=starts, labels=torch.tensor(labels))})
    targets = {
        "token": Target(at=asked, labels=torch.randint(VOCAB, (len(asked),), generator=g)),
        "pair": Target(at=starts, labels=torch.randint(2, (len(starts),), generator=g)),
    }
    return Batch(input=stream, targets=targets)


def part(whole, first, last):
    """The sequences first..last-1 of a batch as a batch of their own."""
    ends = torch.tensor((0, *whole.input.lengths)).cumsum(0)
    a, b = int(ends[first]), int(ends[last])
    fields = ("tokens", "positions", "segments", "query_rank", "key_rank")
    cut = {name: getattr(whole.input, name)[a:b] for name in fields}
    stream = dataclasses.replace(whole.input, **cut, lengths=whole.input.lengths[first:last])
    targets = {}
    for name, target in whole.targets.items():
        inside = (target.at[:, 0] >= a) & (target.at[:, 0] < b)
        targets[name] = Target(at=target.at[inside] - a, labels=target.labels[inside])
    return Batch(input=stream, targets=targets)


def member(objective=BERT, config=TINY, seed=0):
    torch.manual_seed(seed)
    model = config.build()
    return MemberModel(model, objective.build(model))


def slopes(built, loss):
    found = torch.autograd.grad(loss, list(built.parameters()), allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(built.parameters(), found, strict=True)]


def test_losses_are_the_sums_of_cross_entropies_over_the_asked_places():
    built, b = member(), batch()
    hidden = built.model(b.input)
    token, pair = built.objective.token, built.objective.pair
    at, first = b.targets["token"].at[:, 0], b.targets["pair"].at[:, 0]
    x = F.layer_norm(F.gelu(token.dense(hidden[at])), (16,), token.norm.weight, token.norm.bias, TINY.norm.eps)
    logits = x @ built.model.tokens.weight.T + token.bias
    want = -logits.log_softmax(-1)[torch.arange(len(at)), b.targets["token"].labels].sum()
    pooled = torch.tanh(hidden[first] @ pair.pooler.dense.weight.T + pair.pooler.dense.bias)
    other = (
        -(pooled @ pair.out.weight.T + pair.out.bias).log_softmax(-1)[torch.arange(6), b.targets["pair"].labels].sum()
    )
    got = built(b)
    assert set(got) == {"token", "pair"}
    assert torch.allclose(got["token"], want, rtol=1e-6)
    assert torch.allclose(got["pair"], other, rtol=1e-6)


def test_fresh_weights_know_nothing():
    built, b = member(), batch((12,) * 40)
    losses, counts = built(b), b.counts()
    assert abs(losses["token"] / counts["token"] - math.log(VOCAB)) < 0.02
    assert abs(losses["pair"] / counts["pair"] - math.log(2)) < 0.02


@pytest.mark.parametrize("cuts", [(0, 2, 6), (0, 1, 2, 3, 4, 5, 6)])
def test_micro_batches_divided_by_the_counts_of_all_equal_one_big_batch(cuts):
    built, whole = member(), batch()
    counts = whole.counts()
    big = {name: loss / counts[name] for name, loss in built(whole).items()}
    want = slopes(built, sum(big.values()))
    small, got = dict.fromkeys(big, 0.0), [torch.zeros_like(p) for p in built.parameters()]
    for first, last in pairwise(cuts):
        losses = {name: loss / counts[name] for name, loss in built(part(whole, first, last)).items()}
        small = {name: small[name] + losses[name].item() for name in small}
        got = [a + b for a, b in zip(got, slopes(built, sum(losses.values())), strict=True)]
    for name in big:
        assert abs(small[name] - big[name].item()) <= 1e-6 * big[name].item()
    norm = torch.cat([g.flatten() for g in want]).norm()
    assert torch.cat([(a - b).flatten() for a, b in zip(got, want, strict=True)]).norm() <= 1e-6 * norm


def test_a_mean_of_means_would_be_something_else():
    built, whole = member(), batch()
    halves = [part(whole, 0, 1), part(whole, 1, 6)]
    wrong = sum(built(half)["token"] / len(half.targets["token"]) for half in halves) / 2
    right = built(whole)["token"] / len(whole.targets["token"])
    assert abs(wrong - right) > 1e-4


@pytest.mark.parametrize("lengths", [(5, 9, 3), (6, 6)])
def test_nothing_asked_is_zero_with_a_graph_and_never_nan(lengths):
    b = batch(lengths, rate=0.0)
    nothing = Target(at=torch.zeros((0, 1), dtype=torch.long), labels=torch.zeros(0, dtype=torch.long))
    for targets in ({"token": nothing, "pair": b.targets["pair"]}, {"token": nothing, "pair": nothing}):
        built = member()
        losses = built(dataclasses.replace(b, targets=targets))
        assert losses["token"].item() == 0
        sum(losses.values()).backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in built.parameters())
        scores = built.objective.scores(built.model, dataclasses.replace(b, targets=targets))
        assert scores["token"] == {"loss": 0.0, "correct": 0, "count": 0}


def test_a_term_without_a_target_is_not_there():
    b = batch()
    assert set(member()(dataclasses.replace(b, targets={"pair": b.targets["pair"]}))) == {"pair"}
    assert member()(dataclasses.replace(b, targets={})) == {}


def test_only_asked_places_make_a_loss(monkeypatch):
    """The last layer computes the asked places alone, but for the filler that a CPU's products are rounded up by."""
    monkeypatch.setattr(blocks, "ROWS", 1)
    built, b = member(Predict(heads=(Tokens(),))), batch()
    bare = dataclasses.replace(b, targets={"token": b.targets["token"]})
    seen = {}
    last = built.model.layers[-1]
    last.feedforward.register_forward_hook(lambda _, inputs, out: seen.update(rows=len(out)))
    built(bare)
    assert seen["rows"] == len(b.targets["token"])


def test_filler_changes_nothing(monkeypatch):
    """Losses and gradients with rows rounded up are those without."""
    found = []
    for rows in (1, 64):
        monkeypatch.setattr(blocks, "ROWS", rows)
        built = member().double().eval()
        losses = built(batch())
        found.append((*losses.values(), *slopes(built, sum(losses.values()))))
    for bare, filled in zip(*found, strict=True):
        torch.testing.assert_close(filled, bare, rtol=1e-6, atol=1e-9)


def test_scores_count_what_is_right_and_keep_no_graph():
    built, b = member(), batch()
    stream, target = b.input, b.targets["token"]
    logits = built.objective.logits(built.model, stream, target.at[:, 0])
    perfect = dataclasses.replace(b, targets={"token": Target(at=target.at, labels=logits.argmax(-1))})
    scores = built.objective.scores(built.model, perfect)["token"]
    assert scores["correct"] == scores["count"] == len(target)
    wrong = dataclasses.replace(b, targets={"token": Target(at=target.at, labels=(logits.argmax(-1) + 1) % VOCAB)})
    assert built.objective.scores(built.model, wrong)["token"]["correct"] == 0
    scores = built.objective.scores(built.model, b)
    for name, loss in built(b).items():
        assert scores[name]["loss"] == pytest.approx(loss.item(), rel=1e-6)
        assert scores[name]["count"] == b.counts()[name]


def test_logits_come_in_the_order_asked():
    built, b = member(), batch()
    at = torch.tensor([7, 2, 30, 2, 11])
    everything = built.objective.logits(built.model, b.input, torch.arange(sum(b.input.lengths)))
    assert (built.objective.logits(built.model, b.input, at) - everything[at]).abs().max() < 1e-6
    assert built.objective.logits(built.model, b.input, at[:2], "pair").shape == (2, 2)


def test_losses_in_bfloat16_are_summed_in_float32():
    built, b = member(), batch((12,) * 60, rate=0.5)
    exact = built(b)
    with torch.autocast("cpu", torch.bfloat16):
        rough = built(b)
    for name in exact:
        assert rough[name].dtype == torch.float32
        assert rough[name].item() == pytest.approx(exact[name].item(), rel=2e-3)


def test_an_overfitted_batch_is_known_by_heart():
    built, b = member(), batch()
    optimizer = torch.optim.AdamW(built.parameters(), lr=1e-2)
    for _ in range(150):
        loss = sum(loss / b.counts()[name] for name, loss in built(b).items())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05
    assert all(score["correct"] == score["count"] for score in built.objective.scores(built.model, b).values())


def test_terms_are_weighed_and_named_once():
    heads = (Tokens(weight=2.0), Pair())
    assert member(Predict(heads=heads)).weights() == {"token": 2.0, "pair": 1.0}
    for bad in ((), (Tokens(), Pair(name="token"))):
        with pytest.raises(InputError, match=r"objective\.heads"):
            Predict(heads=bad)
    with pytest.raises(InputError, match="below 2"):
        Pair(classes=1)


@pytest.mark.parametrize("objective", [BERT, Classify(classes=3), Regress(dropout=0.0)])
def test_objectives_go_to_json_and_back(objective):
    assert from_dict(to_dict(objective)) == objective


def test_overrides_reach_heads():
    assert override(BERT, ["heads.0.transform=false"]).heads[0] == Tokens(transform=False)


def test_a_factorised_table_has_a_head_of_its_width():
    built, b = member(config=dataclasses.replace(TINY, embeddings=Summed(width=8))), batch()
    assert built.objective.token.dense.weight.shape == (8, 16)
    assert all(loss.isfinite() for loss in built(b).values())


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_classes_are_learned_from_either_pool(pool):
    b = batch(labels=[0, 1, 2, 0, 1, 2])
    built = member(Classify(classes=3, dropout=0.0, pool=pool))
    optimizer = torch.optim.AdamW(built.parameters(), lr=5e-3)
    for _ in range(100):
        loss = built(b)["label"] / 6
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert built.objective.scores(built.model, b)["label"]["correct"] == 6


def test_pooling_the_mean_reads_every_token_and_pooling_cls_reads_one(monkeypatch):
    monkeypatch.setattr(blocks, "ROWS", 1)
    for pool, wanted in (("mean", 37), ("cls", 6)):
        b, seen = batch(labels=[0] * 6), {}
        built = member(Classify(classes=2, pool=pool))
        built.model.layers[-1].feedforward.register_forward_hook(
            lambda _, i, out, seen=seen: seen.update(rows=len(out))
        )
        built(b)
        assert seen["rows"] == wanted


def test_the_mean_is_over_each_sequence_alone_and_follows_the_asked_order():
    b = batch(labels=[0] * 6)
    built = member(Classify(classes=2, pool="mean")).eval()
    hidden = built.model(b.input).split(b.input.lengths)
    want = torch.stack([built.objective.label(h.mean(0)) for h in hidden])
    starts = b.targets["label"].at[:, 0]
    order = torch.tensor([3, 0, 5])
    assert (built.objective.logits(built.model, b.input, starts[order]) - want[order]).abs().max() < 1e-6


def test_a_number_is_learned_by_squared_error():
    numbers = [0.0, 1.5, -2.0, 3.0, 0.5, 5.0]
    b = batch(labels=numbers)
    built = member(Regress(dropout=0.0))
    outputs = built.objective.logits(built.model, b.input, b.targets["label"].at[:, 0])
    assert outputs.shape == (6, 1)
    want = sum((out - number) ** 2 for out, number in zip(outputs[:, 0].tolist(), numbers))
    assert built(b)["label"].item() == pytest.approx(want, rel=1e-5)
    scores = built.objective.scores(built.model, b)["label"]
    assert scores == {"loss": pytest.approx(want, rel=1e-5), "count": 6}


def test_dropout_of_the_pooled_vector_acts_in_training_only():
    b = batch(labels=[0] * 6)
    built = member(Classify(classes=2, dropout=0.5))
    assert built(b)["label"].item() != built(b)["label"].item()
    built.eval()
    assert built(b)["label"].item() == built(b)["label"].item()


def test_fine_tuning_takes_over_the_pre_trained_pooler():
    state = member(seed=1).state_dict()
    objective = member(Classify(classes=3), seed=2).objective
    assert set(objective.inherit(state)) == {"objective.pair.pooler.dense.weight", "objective.pair.pooler.dense.bias"}
    assert torch.equal(objective.label.pooler.dense.weight, state["objective.pair.pooler.dense.weight"])
    state["objective.pair.pooler.dense.weight"].zero_()
    assert objective.label.pooler.dense.weight.abs().max() > 0
    without = member(Predict(heads=(Tokens(),))).state_dict()
    assert objective.inherit(without) == ()
    assert member(Classify(classes=3, pool="mean")).objective.inherit(state) == ()


def test_classification_micro_batches_equal_one_big_batch():
    whole = batch(labels=[0, 1, 2, 0, 1, 2])
    built = member(Classify(classes=3, dropout=0.0))
    big = built(whole)["label"].item()
    small = sum(built(part(whole, i, i + 1))["label"].item() for i in range(6))
    assert small == pytest.approx(big, rel=1e-6)
