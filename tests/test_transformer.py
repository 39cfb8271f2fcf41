"""The Transformer: published sizes, initial weights, exact subsets, no leaks between sequences."""

import dataclasses
import re

import pytest
import torch

from bertsmith.config import from_dict, override, to_dict
from bertsmith.data.batch import Stream
from bertsmith.errors import InputError
from bertsmith.nn.attending import Full, Local
from bertsmith.nn.blocks import AroundNorm, PreNorm
from bertsmith.nn.decoder import EncoderDecoder
from bertsmith.nn.embeddings import Summed
from bertsmith.nn.feedforward import Gated, Plain
from bertsmith.nn.member import build, parameters
from bertsmith.nn.modules.heads import Pooler
from bertsmith.nn.norms import LayerNorm, NoNorm, RMSNorm
from bertsmith.nn.positions import Learned, Unplaced
from bertsmith.nn.rotary import Rotary
from bertsmith.nn.transformer import SHARED, TransformerConfig
from bertsmith.training.saving import load_weights, weights_of

TINY = TransformerConfig(vocab=60, layers=3, width=16, heads=2, hidden=32, positions=Learned(length=12), dropout=0.0)


def stream(lengths=(5, 9, 1, 7), vocab=60, segments=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    n = sum(lengths)
    zeros = torch.zeros(n, dtype=torch.long)
    return Stream(
        tokens=torch.randint(vocab, (n,), generator=g),
        positions=torch.cat([torch.arange(length) for length in lengths]),
        segments=torch.randint(segments, (n,), generator=g) if segments else zeros,
        query_rank=zeros,
        key_rank=zeros,
        lengths=lengths,
    )


def model(config=TINY, seed=0):
    torch.manual_seed(seed)
    return config.build().eval()


@pytest.mark.parametrize("size, published", [((12, 768, 12), 109_482_240), ((24, 1024, 16), 335_141_888)])
def test_base_and_large_have_the_published_parameters_with_their_pooler(size, published):
    layers, width, heads = size
    config = TransformerConfig(vocab=30522, layers=layers, width=width, heads=heads, hidden=4 * width)
    with torch.device("meta"):
        built = sum(p.numel() for part in (config.build(), Pooler(width)) for p in part.parameters())
    assert built == published
    assert config.parameters() + (width + 1) * width == published


@pytest.mark.parametrize(
    "change",
    [
        *({}, {"embeddings": Summed(segments=0)}, {"embeddings": Summed(width=4, norm=False)}),
        {"embeddings": Summed(width=16), "layers": 1},
        *({"positions": position} for position in (Learned(length=3), Unplaced(), Rotary())),
        *({"norm": norm} for norm in (LayerNorm(bias=False), RMSNorm(), NoNorm())),
        *({"block": block} for block in (PreNorm(), PreNorm(first=False), AroundNorm())),
        *({"feedforward": part} for part in (Plain(bias=False), Gated(), Gated(bias=False))),
        {"attention": Local(bias=False, window=2)},
        {"topology": EncoderDecoder()},
        {"topology": EncoderDecoder(layers=2), "block": PreNorm(), "share": "all", "attention": Full(bias=False)},
        *({"share": share} for share in SHARED),
    ],
)
def test_the_count_is_exact_for_every_choice(change):
    config = dataclasses.replace(TINY, **change)
    assert sum(p.numel() for p in config.build().parameters()) == config.parameters()


def test_parameters_that_all_layers_share_do_not_grow_with_depth():
    sizes = {
        share: [dataclasses.replace(TINY, share=share, layers=layers).parameters() for layers in (3, 6)]
        for share in SHARED
    }
    assert sizes["all"][0] == sizes["all"][1] < min(sizes["feedforward"][1], sizes["attention"][1])
    assert max(sizes["feedforward"][1], sizes["attention"][1]) < sizes["none"][1]


@pytest.mark.parametrize("share", ["all", "attention", "feedforward"])
def test_shared_layers_equal_copies_and_their_gradients_are_sums(share):
    """A model of its own layers, each given the shared weights, says the same; its gradients add up to the shared one's."""
    shared = model(dataclasses.replace(TINY, share=share)).double()
    own, s = model(seed=1).double(), stream()
    given = weights_of(shared)
    load_weights(
        own, {n: given[n if n in given else re.sub(r"layers\.\d+", "layers.0", n)] for n in weights_of(own)}, ""
    )
    assert (own(s) - shared(s)).abs().max() < 1e-12
    read = torch.tensor([0, 6, 21])
    assert (own(s, read) - shared(s, read)).abs().max() < 1e-12
    for built in (own, shared):
        built(s).square().sum().backward()
    slopes = {n: p.grad for n, p in own.named_parameters()}
    for name, weight in shared.named_parameters():
        copies = [n for n in slopes if n not in given and re.sub(r"layers\.\d+", "layers.0", n) == name]
        assert (weight.grad - sum(slopes[n] for n in [name, *copies])).abs().max() < 1e-9, name
    assert len({id(p) for p in shared.parameters()}) == len(given) < len(weights_of(own))


def test_a_member_counts_its_heads_and_tied_tables_once():
    from bertsmith.objectives.predict import Pair, Predict, Tokens

    @dataclasses.dataclass
    class Part:
        model: TransformerConfig
        objective: Predict
        surgery: None = None

    width, vocab = TINY.width, TINY.vocab
    token = (width + 1) * width + 2 * width + vocab
    pair = (width + 1) * width + 2 * (width + 1)
    recipe = Part(TINY, Predict(heads=(Tokens(), Pair())))
    assert parameters(recipe) == TINY.parameters() + token + pair
    state = build(recipe).state_dict()
    assert len({t.data_ptr() for t in state.values()}) == len(state)
    assert all(name.startswith(("model.", "objective.")) for name in state)


def test_weights_start_as_berts_do():
    built = model(dataclasses.replace(TINY, width=64, vocab=500, hidden=256))
    for name, weight in built.named_parameters():
        if "norm" in name:
            assert (weight == (1 if name.endswith("weight") else 0)).all(), name
        elif name.endswith("bias"):
            assert (weight == 0).all(), name
        else:
            assert weight.abs().max() <= 0.04, name
            # A normal of 0.02 cut at two sigma has 0.8796 of its deviation.
            assert abs(weight.std() - 0.0176) < (0.0005 if weight.numel() > 4000 else 0.002), name


def test_the_same_seed_builds_the_same_weights():
    one, two, other = (model(seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["embeddings.tokens.weight"], other["embeddings.tokens.weight"])


def test_reading_some_positions_equals_reading_all_of_them():
    built, s = model().double(), stream()
    everything = built(s)
    for read in ([0], [3, 4, 14, 21], [5, 6, 7, 8], list(range(22)), []):
        rows = torch.tensor(read, dtype=torch.long)
        assert (built(s, rows) - everything[rows]).abs().sum() < 1e-12


def test_reading_some_positions_gives_the_same_gradients():
    built, s = model().double(), stream()
    rows = torch.tensor([0, 3, 8, 14, 21])
    slopes = [
        torch.autograd.grad(out.square().sum() + out.sum(), list(built.parameters()))
        for out in (built(s, rows), built(s)[rows])
    ]
    assert all((a - b).abs().max() < 1e-10 for a, b in zip(*slopes, strict=True))


def test_states_are_the_embedding_and_every_layer():
    built, s = model(), stream()
    states = built.states(s)
    assert len(states) == TINY.layers + 1
    assert torch.equal(states[-1], built(s))
    assert torch.equal(states[0], built.embeddings(s, built.positions))


def test_no_token_reaches_another_sequence_and_each_reaches_its_own():
    built, s = model(), stream()
    before = built(s)
    for at in (0, 7, 14, 21):
        tokens = s.tokens.clone()
        tokens[at] = (tokens[at] + 1) % TINY.vocab
        changed = (built(dataclasses.replace(s, tokens=tokens)) != before).any(-1)
        sequence = torch.repeat_interleave(torch.arange(4), torch.tensor(s.lengths))
        assert torch.equal(changed, sequence == sequence[at])


def test_a_sequence_does_not_depend_on_its_company():
    built, s = model(), stream()
    together = built(s)
    alone = dataclasses.replace(
        s,
        **{f: getattr(s, f)[5:14] for f in ("tokens", "positions", "segments", "query_rank", "key_rank")},
        lengths=(9,),
    )
    assert (built(alone) - together[5:14]).abs().max() < 1e-6


def test_causal_outputs_do_not_see_what_follows():
    s = stream()
    s = dataclasses.replace(s, query_rank=s.positions, key_rank=s.positions, visibility="causal")
    built = model()
    before, tokens = built(s), s.tokens.clone()
    tokens[9] = (tokens[9] + 1) % TINY.vocab
    changed = (built(dataclasses.replace(s, tokens=tokens)) != before).any(-1)
    assert changed.nonzero()[:, 0].tolist() == [9, 10, 11, 12, 13]


def test_swapping_two_tokens_with_their_positions_changes_nothing_but_their_order():
    built, s = model(), stream((8,))
    order = torch.tensor([0, 5, 2, 3, 4, 1, 6, 7])
    swapped = dataclasses.replace(s, tokens=s.tokens[order], positions=s.positions[order], segments=s.segments[order])
    assert (built(swapped) - built(s)[order]).abs().max() < 1e-6
    moved = dataclasses.replace(s, tokens=s.tokens[order], segments=s.segments[order])
    assert (built(moved) - built(s)[order]).abs().max() > 1e-3


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    built, s = dataclasses.replace(TINY, dropout=0.3).build(), stream()
    assert not torch.equal(built(s), built(s))
    built.eval()
    assert torch.equal(built(s), built(s))


def test_without_segments_there_is_no_table_and_segments_change_nothing():
    built, s = model(TINY.with_segments(0)), stream()
    assert not [name for name, _ in built.named_parameters() if "segment" in name]
    assert torch.equal(built(s), built(dataclasses.replace(s, segments=1 - s.segments)))


def test_tanh_gelu_is_another_function_than_erf():
    s = stream()
    one, two = (
        model(dataclasses.replace(TINY, feedforward=Plain(activation=name)))(s) for name in ("gelu", "gelu_tanh")
    )
    assert 0 < (one - two).abs().max() < 1e-2


def test_a_sequence_longer_than_the_table_is_refused():
    with pytest.raises(InputError, match="13 tokens is longer than the model's 12 positions"):
        model()(stream((3, 13)))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"width": 770, "heads": 12}, r"heads \(12\) must divide width \(770\); nearest width: 768"),
        ({"width": 5, "heads": 8}, r"heads \(8\) must divide width \(5\); nearest width: 8"),
        ({"layers": 0}, "model.layers: 0 must be above 0"),
        ({"vocab": -1}, "model.vocab: -1 must be above 0"),
        ({"dropout": 1.0}, "model.dropout: 1.0"),
        ({"width": 2_000_000, "layers": 1000}, "TiB in training, above the limit of 1; lower layers"),
        ({"positions": Learned(length=10**11)}, "TiB in training"),
    ],
)
def test_what_cannot_be_built_is_refused_before_it_is_allocated(change, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(TINY, **change)


def test_configurations_go_to_json_and_back_and_take_overrides():
    assert from_dict(to_dict(TINY)) == TINY
    assert override(TINY, ["positions.length=40"]).longest == 40
    assert override(TINY, ["embeddings.segments=5"]).segments == 5


@pytest.mark.parametrize("lengths", [(5, 9, 1, 7), (6, 6)])
def test_gradients_are_the_same_bits_every_time(lengths):
    built, s = model(), stream(lengths)
    rows = torch.tensor([1, 3, 8])
    one, two = (torch.autograd.grad(built(s, rows).square().sum(), list(built.parameters())) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
