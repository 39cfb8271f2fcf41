"""Prefixes: what stands in front of every text in each layer, who reads it, what learns and what is refused."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tests.runs import text
from tests.test_methods import tiny

from bertsmith.errors import InputError
from bertsmith.nn.member import build, parameters
from bertsmith.nn.modules.blocks import fill
from bertsmith.nn.prefixes import Prefixes
from bertsmith.nn.rotary import Rotary

pytestmark = pytest.mark.usefixtures("one_thread")
MEMBERS = ("bert", "roberta", "albert", "electra", "gpt2", "unilm")


FIELDS = ("tokens", "positions", "segments", "query_rank", "key_rank")


def first(stream, count: int):
    """Its first text, of so many tokens."""
    return replace(stream, lengths=(count,), **{name: getattr(stream, name)[:count] for name in FIELDS})


def causal():
    return replace(text(), query_rank=text().positions, key_rank=text().positions, visibility="causal")


def body(member: str, *assignments: str, length: int = 3, std: float = 1.0):
    torch.manual_seed(0)
    return build(tiny(member, Prefixes(length=length, std=std), *assignments)).model.eval()


@pytest.mark.parametrize("member", MEMBERS)
def test_every_token_reads_the_prefix_and_rows_that_are_read_alone_say_the_same(member):
    model, stream = body(member), causal() if member == "gpt2" else text()
    with torch.no_grad():
        whole = model(stream)
        rows = torch.tensor([0, 3, 9])
        assert whole.shape == (12, 16)
        assert torch.allclose(model(stream, rows), whole[rows], atol=1e-6)
        assert [len(state) for state in model.states(stream)] == [12] * len(model.states(stream))
        for layer in model.layers:
            torch.nn.init.normal_(layer.prefix)
        changed = (model(stream) - whole).abs().amax(1)
    assert (changed > 1e-4).all(), changed


def test_a_layer_with_a_prefix_is_that_layer_over_the_prefix_and_the_text():
    """By hand, of one text: keys and values of the prefix are made by the layer's own matrices, queries of the tokens alone."""
    layer, x = body("bert").layers[0], torch.randn(5, 16)
    with torch.no_grad():
        q, k, v = layer.attention.qkv(torch.cat([layer.prefix, x])).unflatten(1, (3, 2, 8)).permute(1, 2, 0, 3)
        mixed = F.scaled_dot_product_attention(q[:, 3:], k, v).transpose(0, 1).flatten(1)
        expected = layer.finish(x, layer.attention.out(mixed))
        said = layer(fill(x), first(text(10), 5), body("bert").positions)
        assert torch.allclose(said[:5], expected, atol=1e-5)


def test_tokens_stay_where_they_are_and_texts_stay_apart():
    """A causal token reads those before it and the prefix; another text changes nothing."""
    model = body("gpt2")
    with torch.no_grad():
        both = model(causal())
        later = replace(causal(), tokens=text().tokens.clone())
        later.tokens[4:] += 1
        assert torch.allclose(model(later)[:4], both[:4], atol=1e-6)
        assert not torch.allclose(model(later)[4:7], both[4:7], atol=1e-3)
        assert torch.allclose(model(first(causal(), 7)), both[:7], atol=1e-6)


def test_a_prefix_is_a_vector_for_each_of_its_places_in_each_layer():
    assert parameters(tiny("bert", Prefixes(length=5))) - parameters(tiny("bert")) == 2 * 5 * 16
    assert parameters(tiny("albert", Prefixes(length=5))) - parameters(tiny("albert")) == 2 * 5 * 16, (
        "shared layers, too"
    )


REFUSED = {
    "t5": "has a decoder, which keeps what it read of tokens alone",
    "bart": "has a decoder, which keeps what it read of tokens alone",
    "xlnet": "keeps a memory of the text before",
    "rotary": "goes by how far tokens are apart, and a prefix stands nowhere",
}


@pytest.mark.parametrize("member", REFUSED)
def test_what_goes_by_distances_or_memory_has_no_place_for_it(member):
    recipe = tiny("bert" if member == "rotary" else member, Prefixes())
    if member == "rotary":
        recipe = replace(recipe, model=replace(recipe.model, positions=Rotary()))
    with pytest.raises(InputError) as refused:
        build(recipe)
    assert str(refused.value) == f"prefix: this model {REFUSED[member]}; method='lora' or 'adapter' tunes it"
