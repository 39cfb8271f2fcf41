"""Weights over the depth of a stack: by hand, at their beginning, read in part, counted, and with what they cannot stand."""

from dataclasses import replace

import pytest
import torch
from tests.test_disentangled import drawn
from tests.test_transformer import TINY, stream

from bertsmith.errors import InputError
from bertsmith.nn.blocks import AroundNorm, PreNorm
from bertsmith.nn.depths import DepthWeighted
from bertsmith.nn.feedforward import Gated, Stacked
from bertsmith.nn.modules.depths import _Weighed
from bertsmith.nn.rotary import Rotary
from bertsmith.nn.transformer import OneStack
from bertsmith.recipe import find

THREE = replace(TINY, layers=3)
BODIES = {
    "behind parts": replace(THREE, block=PreNorm(), topology=DepthWeighted()),
    "behind layers": replace(THREE, block=PreNorm(), topology=DepthWeighted(behind="layer")),
    "norms behind sums": replace(THREE, topology=DepthWeighted()),
    "norms around": replace(THREE, block=AroundNorm(), feedforward=Gated(), topology=DepthWeighted()),
    "of its own places": replace(THREE, block=PreNorm(), positions=Rotary(), topology=DepthWeighted(behind="layer")),
    "one of all": replace(THREE, share="all", block=PreNorm(), topology=DepthWeighted()),
}


@pytest.mark.parametrize("name", ["behind parts", "behind layers"])
def test_each_part_reads_a_sum_of_everything_before(name):
    """And what is kept is what a part made of it, not the sum behind it."""
    config = BODIES[name]
    built, s = drawn(config), stream((9,))
    n, read, most = 9, [built.embeddings(s, built.positions)], 1 + 3 * len(config.topology.parts)
    x = read[0]
    for layer in built.layers:
        entered = layer.attention_norm(x)
        said = layer.attention(entered, entered, s, built.positions, None)
        x = behind(layer, "attention", x + said, read, most)
        x = behind(layer, "feedforward", x + layer.feedforward(layer.feedforward_norm(x)), read, most)
    torch.testing.assert_close(built(s), built.norm(x)[:n])
    assert len(read) == most


def behind(layer, part, x, read, most):
    """`most`: states of the whole stack, of which the last has no weight: a norm follows it."""
    if not hasattr(layer, f"{part}_depths"):
        return x
    read.append(x)
    weights = getattr(layer, f"{part}_depths")
    assert len(weights) == len(read) - (len(read) == most)
    return x + sum(weight * state for weight, state in zip(weights, read, strict=False))


@pytest.mark.parametrize("name", BODIES)
def test_a_fresh_stack_is_the_one_without_weights_to_the_bit(name):
    torch.manual_seed(3)
    one = BODIES[name].build().eval()
    torch.manual_seed(3)
    other, s = replace(BODIES[name], topology=OneStack()).build().eval(), stream()
    assert torch.equal(one(s), other(s))
    assert {*other.state_dict()} == {key for key in one.state_dict() if not key.endswith("_depths")}


@pytest.mark.parametrize("name", BODIES)
def test_reading_some_rows_and_all_states_is_exact(name):
    built, s = drawn(BODIES[name]), stream()
    everything = built(s)
    for read in ([0], [3, 4, 14, 21], list(range(22))):
        torch.testing.assert_close(built(s, torch.tensor(read)), everything[torch.tensor(read)])
    states = built.states(s)
    assert len(states) == 4
    torch.testing.assert_close(states[-1], everything)
    torch.testing.assert_close(built.states(s, 2), states[:3])


def test_slopes_are_those_of_differences():
    torch.manual_seed(0)
    weights, *states = (
        torch.randn(shape, dtype=torch.double, requires_grad=True) for shape in ((3,), (4, 5), (4, 5), (4, 5))
    )
    assert torch.autograd.gradcheck(_Weighed.apply, (weights, states[-1], *states))


def test_every_weight_learns_from_the_first_update_on():
    built = BODIES["behind parts"].build()
    built(stream()).square().sum().backward()
    found = [p.grad for name, p in built.named_parameters() if name.endswith("_depths")]
    assert len(found) == 6 and all((slope != 0).all() for slope in found)


@pytest.mark.parametrize("name", BODIES)
def test_parameters_are_counted_and_stand_in_their_layer(name):
    built = BODIES[name].build()
    assert BODIES[name].parameters() == sum(p.numel() for p in built.parameters())
    at = [built.depth_of(key) for key, _ in built.named_parameters() if key.endswith("_depths")]
    assert at == sorted(at) and {*at} == {1, 2, 3}


def test_what_has_no_place_for_them_is_refused():
    with pytest.raises(
        InputError, match="weighs what attention and one feed-forward part add, each once; PreNorm and Plain"
    ):
        replace(BODIES["behind parts"], block=PreNorm(dropout_mixed=0.1))
    with pytest.raises(InputError, match="each once; PreNorm and Stacked"):
        replace(BODIES["behind parts"], feedforward=Stacked(count=2))
    with pytest.raises(InputError, match=r"model\.memory: a stack with weights over its depth keeps none"):
        replace(find("transformer-xl:tiny").model, block=PreNorm(), topology=DepthWeighted())
    with pytest.raises(InputError, match=r"model\.topology\.behind: 'block' is neither"):
        DepthWeighted(behind="block")
