"""SpanBERT's rewrite and head: what is asked from beside a span, and what the answer may depend on."""

import numpy as np
import pytest
import torch
from tests.corpora import VOCAB, random_shape, split_of, whole

from bertsmith.data.boundary import Boundaries
from bertsmith.data.draw import Draw
from bertsmith.data.spans import Spans
from bertsmith.errors import InputError
from bertsmith.nn.member import build
from bertsmith.recipe import find
from bertsmith.text.layout import DocSentences, FullSentences

pytestmark = pytest.mark.usefixtures("one_thread")
COUNTS = np.random.default_rng(0).integers(0, 50, VOCAB.size) * (np.arange(VOCAB.size) > 4)
COUNTED = VOCAB.counted(COUNTS)


def corrupted(documents=300, seed=0, **options):
    split = split_of(random_shape(documents, seed=seed), numbered=False)
    row = whole(FullSentences(length=128).plan(split, COUNTED, 0, 0))
    spans = Spans()(row, Draw(seed))
    return row, spans, Boundaries(**options)(row, spans, COUNTED, Draw(seed))


def test_every_row_names_the_token_its_place_and_two_tokens_that_nothing_hides():
    row, spans, batch = corrupted()
    at, left, right = batch.targets["boundary"].at.T
    hidden = np.zeros(len(row.tokens), bool)
    hidden[batch.targets["token"].at[:, 0]] = True
    assert np.array_equal(batch.targets["boundary"].labels, row.tokens[at])
    for side in (left, right):
        assert not hidden[side].any() and not row.special[side].any()
        assert np.array_equal(batch.input.tokens[side], row.tokens[side])
    assert (left < at).all() and (at < right).all() and hidden[at].all()
    beside = row.special[spans[:, 0] - 1] | row.special[spans[:, 1]]
    assert beside.any() and len(set(left)) == (~beside).sum()


def test_tokens_beyond_the_limit_of_a_span_are_not_asked_from_beside_it():
    row, spans, batch = corrupted(limit=3)
    at, left, _ = batch.targets["boundary"].at.T
    assert (at - left).max() == 3
    assert batch.counts() == Boundaries(limit=3).counts(row, spans, Draw(0))


def test_all_of_a_span_is_masked_or_replaced_or_kept():
    row, spans, batch = corrupted(1500)
    written, kinds = batch.input.tokens, []
    for begin, end in spans:
        masked = written[begin:end] == VOCAB.mask
        kept = written[begin:end] == row.tokens[begin:end]
        assert masked.all() or not masked.any()
        kinds.append("mask" if masked.all() else "kept" if kept.all() else "random")
    for kind, p in (("mask", 0.8), ("random", 0.1), ("kept", 0.1)):
        assert abs(kinds.count(kind) / len(kinds) - p) < 4 * np.sqrt(p * (1 - p) / len(kinds))


def test_random_tokens_are_as_frequent_as_in_the_corpus():
    row, _, batch = corrupted(3000)
    at = batch.targets["token"].at[:, 0]
    drawn = batch.input.tokens[at][(batch.input.tokens[at] != VOCAB.mask) & (batch.input.tokens[at] != row.tokens[at])]
    found = np.bincount(drawn, minlength=VOCAB.size)
    assert not found[COUNTS == 0].any()
    halves = [found[COUNTS > 25].sum(), found[COUNTS <= 25].sum()]
    share = COUNTS[COUNTS > 25].sum() / COUNTS.sum()
    assert abs(halves[0] / sum(halves) - share) < 4 * np.sqrt(share * (1 - share) / sum(halves))


def test_without_a_corpus_there_is_nothing_to_draw_from():
    row, spans, _ = corrupted(20)
    with pytest.raises(InputError, match=r"corruption\.rewrite\.noise"):
        Boundaries()(row, spans, VOCAB, Draw(0))


def test_the_boundary_loss_reads_the_last_layer_beside_spans_only():
    from bertsmith.config import override

    small = ["model.width=32", "model.hidden=64", "model.heads=2", "layout.length=64"]
    recipe = override(find("spanbert:tiny"), small).with_vocab(VOCAB.size)
    row, _, batch = corrupted(4)
    member = build(recipe)
    batch = batch.to("cpu")
    at = batch.targets["boundary"].at
    states = torch.randn(len(row.tokens), 32, requires_grad=True)
    logits = member.objective.boundary.logits(states[at[:, 1:]], member.model, at[:, 0] - at[:, 1])
    logits.sum().backward()
    touched = states.grad.any(-1).nonzero().flatten()
    assert set(touched.tolist()) == set(at[:, 1:].flatten().tolist())
    assert not set(touched.tolist()) & set(batch.targets["token"].at[:, 0].tolist())


def test_the_objective_asks_the_head_at_the_right_places():
    """The loss of the term equals one made by hand from all hidden states, one answer after the other."""
    recipe = find("spanbert:tiny").with_vocab(VOCAB.size)
    split = split_of(random_shape(6), numbered=False)
    row = whole(DocSentences(length=64).plan(split, COUNTED, 0, 0))
    batch = recipe.corruption(row, COUNTED, Draw(1)).to("cpu")
    torch.manual_seed(0)
    member = build(recipe).double().eval()
    target, head = batch.targets["boundary"], member.objective.boundary
    with torch.no_grad():
        sums = member.objective(member.model, batch)
        hidden = member.model(batch.input)
        total = 0.0
        for (at, left, right), label in zip(target.at.tolist(), target.labels.tolist(), strict=True):
            x = torch.cat([hidden[left], hidden[right], head.positions.weight[at - left - 1]])
            x = head.norm1(torch.nn.functional.gelu(head.dense1(x)))
            x = head.norm2(torch.nn.functional.gelu(head.dense2(x)))
            total -= (member.model.tokens.weight @ x + head.bias).log_softmax(0)[label].item()
    assert abs(sums["boundary"].item() / total - 1) < 1e-6
