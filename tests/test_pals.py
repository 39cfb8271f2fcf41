"""Projected attention layers: what is computed beside a layer, what is put into a body, parts of several feeds, and what is refused."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tests.runs import text
from tests.test_methods import tiny
from tests.test_prefixes import causal, first

from bertsmith.errors import InputError
from bertsmith.nn.adapters import Adapters
from bertsmith.nn.apart import Apart, one_of
from bertsmith.nn.lowrank import LowRank
from bertsmith.nn.member import build, parameters
from bertsmith.nn.modules.apart import reading
from bertsmith.nn.modules.attention import heard, watched
from bertsmith.nn.modules.blocks import Layer
from bertsmith.nn.modules.cache import Cache
from bertsmith.nn.modules.pals import Pal
from bertsmith.nn.pals import Pals
from bertsmith.nn.prefixes import Prefixes
from bertsmith.recipe import find
from bertsmith.training.saving import load_weights, weights_of

pytestmark = pytest.mark.usefixtures("one_thread")
MEMBERS = ("bert", "albert", "gpt2", "xlnet", "transformer-xl", "bart", "t5")


def drawn(module: torch.nn.Module, std: float = 0.3) -> torch.nn.Module:
    """What is beside the layers is no longer 0."""
    torch.manual_seed(5)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if ".pal." in name:
                weight.normal_(std=std)
    return module.eval()


def body(member: str, surgery):
    torch.manual_seed(0)
    return build(tiny(member, surgery)).model.eval()


def said(model, *asked):
    return model(text(), *asked, output=text()) if model.config.decodes else model(text(), *asked)


@pytest.mark.parametrize("member", MEMBERS)
@torch.no_grad()
def test_at_first_nothing_changes_and_then_rows_that_are_read_alone_say_the_same(member):
    model = body(member, Pals(size=4))
    before = said(body(member, None))
    assert torch.equal(said(model), before)
    whole, rows = said(drawn(model)), torch.tensor([0, 3, 9])
    assert not torch.allclose(whole, before, atol=1e-2)
    assert torch.allclose(said(model, rows), whole[rows], atol=1e-5)


@torch.no_grad()
def test_a_layer_is_the_papers_formula_in_plain_torch():
    """LN(a + FF(a) + gelu(V^D g(V^E h))), of one text; the heads of g have a width of 2."""
    model, h = drawn(body("bert", Pals(size=4))), torch.randn(5, 16)
    for layer in model.layers:
        pal, (q, k, v) = layer.pal, layer.attention.qkv(h).unflatten(1, (3, 2, 8)).permute(1, 2, 0, 3)
        a = layer.attention.out((((q @ k.mT) / 8**0.5).softmax(-1) @ v).transpose(0, 1).flatten(1))
        a = layer.attention_norm(h + a)
        low = h @ pal.down.weight.T + pal.down.bias
        q, k, v = (
            (low @ pal.attention.qkv.weight.T + pal.attention.qkv.bias).unflatten(1, (3, 2, 2)).permute(1, 2, 0, 3)
        )
        g = (((q @ k.mT) / 2**0.5).softmax(-1) @ v).transpose(0, 1).flatten(1)
        beside = F.gelu(g @ pal.up.weight.T + pal.up.bias)
        expected = layer.feedforward_norm(a + layer.feedforward(a) + beside)
        assert torch.allclose(layer(h, first(text(), 5), model.positions), expected, atol=1e-5)
    one, two = model.layers
    assert one.pal.down is two.pal.down and one.pal.up is two.pal.up and one.pal.attention is not two.pal.attention


def test_they_are_as_many_as_the_paper_says():
    """204 wide beside 12 layers of width 768 with 12 heads; 1.13 times the parameters for eight tasks."""
    recipe, s, d, layers = find("bert:base"), 204, 768, 12
    more = parameters(replace(recipe, surgery=Pals())) - parameters(recipe)
    matrices, biases = 2 * s * d + layers * 3 * s * s, s + d + layers * 3 * s
    assert more == matrices + biases
    assert 1 + 8 * matrices / parameters(recipe) == pytest.approx(1.13, abs=5e-3)
    eight = replace(recipe, surgery=Apart(surgery=Pals(), feeds=tuple("abcdefgh")))
    assert parameters(eight) - parameters(recipe) == 8 * more
    assert Pals().width(384, 12) == 96 and Pals().width(16, 2) == 4, "204 of 768, in whole numbers for each head"


@torch.no_grad()
def test_a_language_models_token_sees_nothing_behind_it_and_writes_from_what_is_kept():
    model = drawn(body("gpt2", Pals(size=4)))
    whole, later = model(causal()), replace(causal(), tokens=text().tokens.clone())
    later.tokens[4:] += 1
    assert torch.allclose(model(later)[:4], whole[:4], atol=1e-6)
    assert not torch.allclose(model(later)[4:7], whole[4:7], atol=1e-3)
    count, cache = causal().lengths[0], Cache(2)
    start, each = first(causal(), 3), []
    each.append(model(start, cache=cache))
    for at in range(3, count):
        one = {
            name: getattr(causal(), name)[at : at + 1]
            for name in ("tokens", "positions", "segments", "query_rank", "key_rank")
        }
        each.append(model(replace(start, lengths=(1,), **one), cache=cache))
    assert torch.allclose(torch.cat(each), whole[:count], atol=1e-5)


@torch.no_grad()
def test_who_looks_at_attention_sees_that_of_the_layers():
    model = drawn(body("bert", Pals(size=4)))
    with watched() as found, heard() as given:
        model(text())
    assert len(found) == len(given) == 2


# -- parts of several feeds ---------------------------------------------------------------------------------------------------------


KINDS = {"pal": Pals(size=4), "adapter": Adapters(size=3), "lora": LowRank(rank=2), "prefix": Prefixes(length=2)}


def moved(model: torch.nn.Module, of: str, brought: str) -> None:
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if f".apart.feed_{of}." in name and brought in name:
                weight.normal_(std=0.5)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_a_feed_is_read_by_its_own_parts_and_by_those_that_all_have(kind):
    """Whatever is put into a body: no surgery knows of feeds."""
    recipe, plain = tiny("bert", Apart(surgery=KINDS[kind], feeds=("one", "train"))), body("bert", None)
    torch.manual_seed(0)
    member = build(recipe).eval()
    model = member.model
    moved(model, "one", "")
    with reading("one"):
        one = model(text())
    with reading("train"):
        other = model(text())
    assert torch.equal(model(text()), plain(text())), "what is no feed's finds the body as it was"
    assert not torch.allclose(one, other, atol=5e-4)
    for feed, expected in (("one", one), ("train", other)):
        surgery, weights = one_of(recipe.surgery, feed, weights_of(member))
        alone = build(replace(recipe, surgery=surgery)).eval()
        load_weights(alone, weights, feed)
        assert torch.allclose(alone.model(text()), expected, atol=1e-6)
    surgery, weights = one_of(recipe.surgery, "", weights_of(member))
    assert surgery is None and weights.keys() == weights_of(build(tiny("bert"))).keys()


@pytest.mark.parametrize("kind", KINDS)
def test_what_one_feed_reads_has_no_slope_at_the_parts_of_another(kind):
    torch.manual_seed(0)
    model = build(tiny("bert", Apart(surgery=KINDS[kind], feeds=("one", "two")))).model.train()
    with reading("one"):
        model(text()).square().sum().backward()
    learns = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert any("feed_one" in name for name in learns) and not any("feed_two" in name for name in learns)
    assert "layers.0.attention.out.weight" in learns, "the trunk learns from both"
    assert all(p.grad is None for name, p in model.named_parameters() if "feed_two" in name)


def test_feeds_that_stand_apart_already_are_told():
    recipe = tiny("bert", Apart(surgery=Pals(size=4), feeds=("one",)))
    with pytest.raises(InputError, match="one: this model has parts of several feeds already"):
        recipe.surgery.operate(build(recipe).model)
    with pytest.raises(InputError, match=r"surgery\.feeds: \['a', 'a'\] must be at least one, each once"):
        Apart(surgery=Pals(), feeds=("a", "a"))


# -- what is refused ----------------------------------------------------------------------------------------------------------------


def test_what_cannot_be_is_told_in_one_line():
    for given, says in (
        ({"size": 0}, r"pal\.size: 0 must be above 0"),
        ({"std": 0.0}, r"pal\.std: 0\.0 must be above 0"),
    ):
        with pytest.raises(InputError, match=says):
            Pals(**given)
    with pytest.raises(InputError, match=r"pal\.size: 5: the model's 2 heads must divide it; nearest: 4"):
        build(tiny("bert", Pals(size=5)))
    recipe = tiny("bert", Pals(size=4))
    with pytest.raises(InputError, match="pal: this model has some already; tune the model that they were put into"):
        recipe.surgery.operate(build(recipe).model)


def test_a_body_without_layers_has_no_place_for_them():
    for surgery in (Pals(), Apart(surgery=Pals(), feeds=("one",))):
        with pytest.raises(
            InputError, match=r"^LSTM has no layers of attention and feed-forward to tune; method='full' tunes it"
        ):
            surgery.operate(torch.nn.LSTM(4, 4))


@pytest.mark.parametrize("kind", ["pal", "adapter", "prefix", "apart"])
def test_a_layer_that_computes_otherwise_is_not_replaced_without_a_word(kind):
    model = body("bert", None)
    model.layers[1].__class__ = type("FusedLayer", (Layer,), {})
    surgery = Apart(surgery=KINDS["lora"], feeds=("apart",)) if kind == "apart" else KINDS[kind]
    with pytest.raises(
        InputError, match=rf"^{kind}: a FusedLayer of this model has no place for it; method='lora' or 'full' tunes it"
    ):
        surgery.operate(model)


def test_dropout_is_that_of_the_model():
    model = build(tiny("bert", Pals(size=4), "model.dropout=0.1")).model
    assert [part.attention.dropout for part in model.modules() if isinstance(part, Pal)] == [0.1] * 2
