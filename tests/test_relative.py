"""Relative positions against a loop over all pairs; memory against one long text."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from bertsmith.data.batch import NEVER, Stream
from bertsmith.data.thread import Thread
from bertsmith.errors import InputError
from bertsmith.nn.adaptive import Adaptive
from bertsmith.nn.attending import Full
from bertsmith.nn.blocks import PostNorm
from bertsmith.nn.embeddings import Asking, Summed
from bertsmith.nn.feedforward import Plain
from bertsmith.nn.memory import Recurrence
from bertsmith.nn.modules.attention import attend, attend_padded
from bertsmith.nn.modules.memory import memories_aside, memory_state, restore_memory
from bertsmith.nn.modules.relative import Along, RelativePosition, sinusoid
from bertsmith.nn.relative import Relative
from bertsmith.nn.transformer import TransformerConfig

BASE = TransformerConfig(
    vocab=40, layers=3, width=16, heads=2, hidden=24, dropout=0.0, embeddings=Summed(segments=0, norm=False),
    positions=Relative(tied=True, ahead=False), attention=Full(bias=False), feedforward=Plain(activation="relu"),
    memory=Recurrence(length=64),
)  # fmt: skip


def stream(tokens, lengths, *, column=None, turn=0, stride=0, backward=False, **fields):
    positions = torch.cat([torch.arange(n) for n in lengths])
    rank = fields.pop("rank", positions)
    thread = None
    if column is not None:
        s = len(lengths)
        thread = Thread(column=np.array(column), turn=np.full(s, turn), backward=np.full(s, backward), stride=stride)
    return Stream(
        tokens=tokens, positions=positions, segments=fields.pop("segments", torch.zeros_like(tokens)), query_rank=rank,
        key_rank=rank, lengths=tuple(lengths), visibility=fields.pop("visibility", "causal"), thread=thread, **fields,
    )  # fmt: skip


def drawn(config=BASE):
    torch.manual_seed(0)
    model = config.build().double().eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return model


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize(
    "config", [Relative(segments=True), Relative(clamp=3), Relative(segments=True, clamp=2)], ids=repr
)
@pytest.mark.parametrize("way", [attend, attend_padded])
def test_scores_are_those_of_a_loop_over_all_pairs(way, config, backward):
    torch.manual_seed(0)
    position = RelativePosition(config, BASE, None).double()
    for p in position.parameters():
        torch.nn.init.normal_(p)
    lengths = (7, 4, 1)
    n, h, e = sum(lengths), 2, 8
    segments = torch.randint(0, 2, (n,))
    seen = stream(
        torch.zeros(n, dtype=torch.long), lengths, column=(0, 1, 2), backward=backward, segments=segments,
        rank=torch.randint(0, 4, (n,)), visibility="ranks",
    )  # fmt: skip
    q, k, v = (torch.randn(n, h, e, dtype=torch.double) for _ in range(3))
    turned, _ = position.rotate(q, k, seen)
    found = way(turned, k, v, seen, bias=position.bias(seen))
    sign = -1 if backward else 1
    low = 0
    for length in lengths:
        for i in range(low, low + length):
            scores = torch.full((h, length), -torch.inf, dtype=torch.double)
            for j in range(low, low + length):
                far = torch.tensor([sign * (i - j)]).clamp(-(config.clamp or 99), config.clamp or 99)
                r = position.project(sinusoid(far, 16).double()).view(h, e)
                score = ((q[i] + position.content) * k[j]).sum(-1) + ((q[i] + position.place) * r).sum(-1)
                if config.segments:
                    side = position.sides[int(segments[i] != segments[j])]
                    score = score + ((q[i] + position.segment) * side).sum(-1)
                if seen.key_rank[j] <= seen.query_rank[i]:
                    scores[:, j - low] = score / e**0.5
            wanted = torch.einsum("hk,khe->he", scores.softmax(-1), v[low : low + length])
            torch.testing.assert_close(found[i], wanted)
        low += length


def test_gathering_backward_is_adding_up():
    """Every distance is that of one key, as in a text, and of filler behind it."""
    torch.manual_seed(0)
    q, k = 6, 9
    far = (torch.arange(q)[:, None] + 3 - torch.arange(k)[None] + k).expand(2, q, k).clone()
    far[:, :, 7:] = 5  # filler, as nobody sees it
    slope = torch.randn(2, 3, q, k, dtype=torch.double)
    slope[..., 7:] = 0
    gradients = []
    for way in (lambda x: Along.apply(x, far), lambda x: x.gather(-1, far[:, None].expand(-1, 3, -1, -1))):
        against = torch.ones(2, 3, q, 20, dtype=torch.double, requires_grad=True)
        way(against).backward(slope)
        gradients.append(against.grad)
    torch.testing.assert_close(*gradients)


def test_the_same_weights_get_the_same_gradients_padded_or_packed():
    """Through the whole model, beside a gather whose gradient torch works out."""
    config = replace(BASE, positions=Relative(segments=True), memory=None)
    lengths, tokens = (9, 5, 5, 2), torch.arange(21) % 40
    rank = torch.tensor([i % 3 for i in range(21)])
    given = stream(tokens, lengths, rank=rank, visibility="ranks")
    gradients = []
    for plain in (False, True):
        model = drawn(config)
        with pytest.MonkeyPatch.context() as patch:
            if plain:
                patch.setattr(
                    "bertsmith.nn.modules.relative.Along.apply",
                    lambda x, far: x.gather(-1, far[:, None].expand(-1, 2, -1, -1)),
                )
            model(given).square().sum().backward()
        gradients.append([p.grad for p in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("parts", [2, 4])
def test_cached_segments_are_one_long_text_at_every_layer(parts):
    """Dai et al. 2019: with memory for all of it, k segments are one forward pass."""
    model, size, rows = drawn(), 6, 2
    tokens = torch.randint(0, 40, (rows, parts * size))
    model.memory.length = parts * size
    whole = [x.view(rows, parts * size, -1) for x in model.states(stream(tokens.flatten(), (parts * size,) * rows))]
    for turn in range(parts):
        part = tokens[:, turn * size : (turn + 1) * size].flatten()
        given = stream(part, (size,) * rows, column=range(rows), turn=turn, stride=size)
        states = model.states(given)
        last = model(given)  # remembers
        for layer, state in enumerate(states):
            wanted = whole[layer][:, turn * size : (turn + 1) * size]
            torch.testing.assert_close(state.view(rows, size, -1), wanted, rtol=0, atol=1e-9)
        torch.testing.assert_close(last, states[-1])


def test_a_segment_that_begins_with_the_last_token_of_the_one_before():
    """As the layout makes them: what is kept are the tokens before the next one's first."""
    model, size = drawn(), 6
    tokens = torch.randint(0, 40, (16,))
    whole = model(stream(tokens, (16,)))
    for turn in range(3):
        at = turn * (size - 1)
        found = model(stream(tokens[at : at + size], (size,), column=(0,), turn=turn, stride=size - 1))
        torch.testing.assert_close(found, whole[at : at + size], rtol=0, atol=1e-9)


def test_how_far_a_token_reaches():
    """layers x memory tokens back, and not one further."""
    model, size, memory = drawn(), 4, 3
    model.memory.length = memory
    tokens = torch.randint(0, 40, (28,))

    def last(changed):
        other = tokens.clone()
        if changed is not None:
            other[changed] = (other[changed] + 1) % 40
        model.memory.kept.clear()
        for turn in range(7):
            part = other[turn * size : (turn + 1) * size]
            out = model(stream(part, (size,), column=(0,), turn=turn, stride=size))
        return out

    clean = last(None)
    reached = [bool((last(k) != clean).any()) for k in range(28)]
    first = reached.index(True)
    assert all(reached[first:])
    # The first token of the last segment sees 3 tokens back, these of their layer below 3 more; a segment is read whole.
    assert 24 - 3 * (memory + size) <= first <= 24 - memory


def test_memory_has_no_gradient_and_the_order_of_columns_does_not_matter():
    model = drawn()
    tokens = torch.randint(0, 40, (2, 12))
    model(stream(tokens[:, :6].flatten(), (6, 6), column=(0, 1), turn=0, stride=6))
    assert not any(states.requires_grad for _, states in model.memory.kept.values())
    kept = copy.deepcopy(model.memory.kept)
    straight = model(stream(tokens[:, 6:].flatten(), (6, 6), column=(0, 1), turn=1, stride=6)).view(2, 6, -1)
    model.memory.kept = kept
    turned = model(stream(tokens[:, 6:].flip(0).flatten(), (6, 6), column=(1, 0), turn=1, stride=6)).view(2, 6, -1)
    torch.testing.assert_close(straight, turned.flip(0))


def test_memory_is_of_the_turn_before_and_of_no_other():
    model = drawn()
    first, second = torch.randint(0, 40, (2, 6))
    alone = model(stream(second, (6,), column=(0,), turn=0, stride=6))
    model(stream(first, (6,), column=(0,), turn=0, stride=6))
    for column, turn, same in ((0, 2, True), (1, 1, True), (0, 1, False)):
        with memories_aside(model):
            torch.testing.assert_close(model(stream(second, (6,), column=(column,), turn=turn, stride=6)), alone)
        kept = dict(model.memory.kept)
        found = model(stream(second, (6,), column=(column,), turn=turn, stride=6))
        model.memory.kept = kept
        assert torch.allclose(found, alone) == same


def test_memory_saved_and_put_back_goes_on_alike():
    model = drawn()
    model.memory.length = 5
    tokens = torch.randint(0, 40, (3, 6))
    for turn in range(2):
        model(stream(tokens[turn], (3, 3), column=(4, 7), turn=turn, stride=3))
    state = memory_state(model)
    assert {name: tuple(x.shape) for name, x in state.items()} == {"/4.1": (3, 5, 16), "/7.1": (3, 5, 16)}
    other = drawn()
    restore_memory(other, state)
    assert not memory_state(other)  # not its own until it has read them
    given = stream(tokens[2], (3, 3), column=(4, 7), turn=2, stride=3)
    assert torch.equal(model(given), other(given))


def test_only_what_asks_may_stand_at_anothers_place():
    """A token that asks takes the learned vector, whatever its id."""
    config = replace(BASE, embeddings=Asking(), positions=Relative(segments=True), memory=None)
    model = drawn(config)
    tokens, positions = torch.tensor([5, 6, 7, 1, 2]), torch.tensor([0, 1, 2, 1, 2])
    keys = torch.tensor([0, 1, 2, NEVER, NEVER])
    given = Stream(
        tokens=tokens, positions=positions, segments=torch.zeros(5, dtype=torch.long), query_rank=torch.tensor([0, 1, 2, 0, 1]),
        key_rank=keys, lengths=(5,), visibility="ranks",
    )  # fmt: skip
    assert torch.equal(model(given), model(replace(given, tokens=torch.tensor([5, 6, 7, 3, 4]))))


def test_what_cannot_be_is_refused():
    with pytest.raises(InputError, match="clamp"):
        Relative(clamp=0)
    with pytest.raises(InputError, match="memory"):
        Recurrence(length=-1)


def test_parameters_are_counted():
    apart = replace(BASE, positions=Relative(segments=True), block=PostNorm(dropout_last=True))
    for config in (BASE, apart, replace(apart, embeddings=Asking()), replace(BASE, embeddings=Adaptive(cutoffs=(9,)))):
        assert config.parameters() == sum(p.numel() for p in config.build().parameters())
