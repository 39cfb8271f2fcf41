"""Weights drawn one parameter after the other are those of a whole build, and processes that hold slices never hold the whole."""

import copy

import pytest
import torch
from tests.runs import small
from torch import nn

from bertsmith.nn.member import blank, build
from bertsmith.nn.modules.drawn import cut_normal, without_memory
from bertsmith.recipe import members
from bertsmith.training.distributed import World

SETTINGS = {
    "albert": ("model.layers=3", "model.share=attention"),
    "electra": ("objective.generator=1", "objective.share=all"),
    "transformer-xl": ("model.embeddings.cutoffs=[30,60]", "model.embeddings.divide=2"),
}
# T5's queries begin smaller than the keys beside them, in a part of one tensor, and ELMo's forget gates open; entities of ERNIE, pictures of
# glyphs, ELMo's spelling and what static vectors know of a corpus are tables that are no parameters;
# DeBERTa's second table begins as the first.
WHOLE = {"t5", "ernie-thu", "bert-glyph", "deberta-v3", "elmo", "word2vec", "fasttext"}
CASES = [(name, ()) for name in members() if name not in WHOLE] + [*SETTINGS.items()]


def drawn(make, seed=7):
    found = without_memory(make, seed, torch.device("cpu"))
    assert found is not None
    member, draws = found
    tensors = {name: torch.full(p.shape, float("nan")) for name, p in member.named_parameters()}
    draws.fill(tensors, lambda tensor, whole: tensor.copy_(whole), lambda tensor: tensor)
    return tensors


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_what_fills_a_part_of_a_tensor_is_built_whole(name):
    recipe = small(member=name).with_vocab(100)
    assert without_memory(lambda: build(recipe), 7, torch.device("cpu")) is None


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_every_parameter_is_to_the_bit_what_a_whole_build_draws(name, settings):
    recipe = small("model.layers=2", *settings, member=name).with_vocab(100)
    torch.manual_seed(7)
    whole = dict(build(recipe).named_parameters())
    state = torch.get_rng_state()
    tensors = drawn(lambda: build(recipe))
    assert torch.equal(torch.get_rng_state(), state), "the global generator is left alone"
    assert whole.keys() == tensors.keys()
    assert all(torch.equal(whole[name], tensor) for name, tensor in tensors.items())


def test_a_copy_of_a_member_without_memory_is_filled_alike():
    recipe = small(member="gpt2").with_vocab(100)
    member, member.draws = without_memory(lambda: build(recipe), 7, torch.device("cpu"))
    other, found = copy.deepcopy(member), []
    for one in (member, other):
        tensors = {name: torch.empty(p.shape) for name, p in one.named_parameters()}
        one.draws.fill(tensors, lambda tensor, whole: tensor.copy_(whole), lambda tensor: tensor)
        found.append(tensors)
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_no_more_than_one_whole_parameter_is_held_at_a_time():
    recipe = small("model.layers=4", "model.width=32", "model.hidden=128", member="gpt2").with_vocab(1000)
    member, draws = without_memory(lambda: build(recipe), 0, torch.device("cpu"))
    assert all(p.is_meta for p in member.parameters())
    sizes = []
    draws.fill(
        dict(member.named_parameters()), lambda tensor, whole: sizes.append(whole.numel()), lambda tensor: tensor
    )
    assert max(sizes) == max(p.numel() for p in member.parameters()) and len(sizes) > 40


class Odd(nn.Module):
    def __init__(self, how: str):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(4, 4))
        if how == "random":
            self.weight = nn.Parameter(torch.randn(4, 4))
        elif how == "row":
            nn.init.zeros_(self.weight)
            with torch.no_grad():
                self.weight[0].fill_(1.0)
        elif how == "buffer":
            cut_normal(self.weight)
            self.register_buffer("scale", torch.ones(4))


@pytest.mark.parametrize("how", ["none", "random", "row", "buffer"])
def test_what_cannot_be_drawn_parameter_by_parameter_is_built_whole(how):
    assert without_memory(lambda: Odd(how), 0, torch.device("cpu")) is None


def test_what_a_machine_must_hold_of_a_sliced_model_is_its_share_of_the_processes(monkeypatch):
    world = World()
    world.size = 16
    for local, share in (("8", 0.5), ("16", 1.0), ("32", 1.0)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", local)
        assert world.share == share
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    assert world.share == 1.0


@pytest.mark.parametrize("name", members())
def test_a_blank_member_has_the_same_parts_and_draws_nothing(name):
    recipe = small("model.layers=2", member=name).with_vocab(100)
    state = torch.get_rng_state()
    member, beside = blank(recipe), blank(recipe)
    assert torch.equal(torch.get_rng_state(), state)
    shapes = {name: p.shape for name, p in build(recipe).state_dict().items()}
    assert {name: p.shape for name, p in member.state_dict().items()} == shapes
    for (name, one), (_, two) in zip(member.state_dict().items(), beside.state_dict().items(), strict=True):
        assert torch.equal(one, two), f"{name}: what was not drawn is defined nevertheless"
