"""The parts of a Transformer, each by itself and in a small body: norms, blocks, windows, rotary places, a source, depths."""

import dataclasses

import pytest
import torch
from tests.test_transformer import TINY, model, stream

from bertsmith.config import override, to_dict
from bertsmith.errors import InputError
from bertsmith.nn.attending import Full, Local
from bertsmith.nn.blocks import AroundNorm, PostNorm, PreNorm
from bertsmith.nn.body import Body, BodyConfig
from bertsmith.nn.cells import OrderedNeurons
from bertsmith.nn.decoder import EncoderDecoder
from bertsmith.nn.embeddings import Asking, Summed
from bertsmith.nn.feedforward import Gated, Plain
from bertsmith.nn.memory import Recurrence
from bertsmith.nn.modules.attention import attend, attend_padded, attend_source
from bertsmith.nn.modules.rotary import RotaryPosition
from bertsmith.nn.norms import LayerNorm, NoNorm, RMSNorm
from bertsmith.nn.positions import Unplaced
from bertsmith.nn.recurrent import Carry, Recurrent
from bertsmith.nn.rotary import Rotary
from bertsmith.recipe import find

replace = dataclasses.replace
MODERN = replace(
    TINY, embeddings=Summed(segments=0), positions=Rotary(theta=100.0, local=10.0), block=PreNorm(first=False),
    norm=LayerNorm(eps=1e-5, bias=False), attention=Local(bias=False, window=2, every=2), feedforward=Gated(bias=False),
)  # fmt: skip
BODIES = {
    "modern": MODERN,
    "pre": replace(TINY, block=PreNorm(), norm=RMSNorm()),
    "around": replace(TINY, block=AroundNorm(), positions=Unplaced()),
    "shared": replace(TINY, block=PreNorm(), share="all", layers=4),
    "bare": replace(TINY, norm=NoNorm(), embeddings=Summed(norm=False)),
    "last": replace(TINY, block=PreNorm(dropout_last=True)),
}
SEQ2SEQ = replace(TINY, embeddings=Summed(segments=0), topology=EncoderDecoder(layers=2))


def drawn(config, seed=0):
    built = model(config, seed).double()
    with torch.no_grad():
        for weight in built.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    return built


def causal(s):
    return replace(s, query_rank=s.positions, key_rank=s.positions, visibility="causal")


@pytest.mark.parametrize("name", BODIES)
def test_reading_some_positions_is_exact_in_every_body(name):
    built, s = drawn(BODIES[name]), stream()
    for given in (s, causal(s)):
        everything = built(given)
        for read in ([0], [3, 4, 14, 21], list(range(22)), []):
            rows = torch.tensor(read, dtype=torch.long)
            assert (built(given, rows) - everything[rows]).abs().sum() < 1e-12
        assert torch.equal(built.states(given)[-1], everything)


@pytest.mark.parametrize("name", BODIES)
def test_no_sequence_reaches_another_in_any_body(name):
    built, s = drawn(BODIES[name]), stream()
    before, sequence = built(s), torch.repeat_interleave(torch.arange(4), torch.tensor(s.lengths))
    tokens = s.tokens.clone()
    tokens[7] = (tokens[7] + 1) % TINY.vocab
    changed = (built(replace(s, tokens=tokens)) != before).any(-1)
    assert changed[7] and not (changed & (sequence != 1)).any()


def test_a_window_reaches_so_far_in_every_layer():
    """Three layers of a window of 2, and none sees everything: a change travels 6 tokens to either side."""
    s = stream((20,))
    for every, reached in ((None, set(range(4, 17))), (3, set(range(20)))):
        built = drawn(replace(MODERN, attention=Local(bias=False, window=2, every=every)))
        tokens = s.tokens.clone()
        tokens[10] = (tokens[10] + 1) % TINY.vocab
        changed = (built(replace(s, tokens=tokens)) - built(s)).abs().sum(-1) > 0
        assert set(changed.nonzero()[:, 0].tolist()) == reached


def test_a_part_narrows_the_streams_window_and_never_widens_it():
    for own, given in ((3, 1), (1, 3), (3, None)):
        built, s = drawn(replace(MODERN, attention=Local(bias=False, window=own))), stream((20,))
        alone = drawn(replace(MODERN, attention=Local(bias=False, window=min(own, given or own))))
        assert torch.equal(built(replace(s, window=given)), alone(s))


def test_a_window_beyond_the_text_is_full_attention():
    full, local = (drawn(replace(TINY, attention=part)) for part in (Full(), Local(window=9)))
    assert torch.equal(full(stream()), local(stream()))


def test_rotary_scores_know_distances_alone():
    torch.manual_seed(0)
    q, k = (torch.randn(9, 2, 8, dtype=torch.double) for _ in range(2))
    rotary, s = RotaryPosition(10_000.0), stream((9,))
    scores = []
    for shift in (70, 0):
        turned, keys = rotary.rotate(q, k, replace(s, positions=s.positions + shift))
        scores.append(torch.einsum("qhe,khe->hqk", turned, keys))
    torch.testing.assert_close(*scores)
    assert (scores[1] - torch.einsum("qhe,khe->hqk", q, k)).abs().max() > 0.1
    read = torch.tensor([2, 5])
    some, _ = rotary.rotate(q[read], k, s, read)
    assert torch.equal(some, turned[read])


def test_norms_are_what_they_say():
    x = torch.randn(5, 8, dtype=torch.double)
    made = RMSNorm(eps=0.5).build(8).double()
    torch.testing.assert_close(made(x), x / (x.square().mean(-1, keepdim=True) + 0.5).sqrt())
    assert [n for n, _ in LayerNorm(bias=False).build(8).named_parameters()] == ["weight"]
    assert NoNorm().build(8)(x) is x


def test_a_norm_around_stands_before_and_behind():
    built, s = drawn(replace(TINY, block=AroundNorm(), layers=1, dropout=0.0)), stream()
    layer, x = built.layers[0], built.embeddings(s, built.positions)
    entered = layer.attention_norm.before(x)
    y = x + layer.attention_norm.after(layer.attention(entered, entered, s, built.positions, None)[: len(x)])
    y = y + layer.feedforward_norm.after(layer.feedforward(layer.feedforward_norm.before(y)))
    torch.testing.assert_close(built(s), built.norm(y))


def source(lengths=(3, 8, 2, 6), seed=5):
    return stream(lengths, seed=seed)


@pytest.mark.parametrize("block", [PostNorm(), PreNorm(), AroundNorm()], ids=repr)
def test_a_decoder_reads_its_own_source_and_no_other(block):
    built, out, given = drawn(replace(SEQ2SEQ, block=block)), causal(stream()), source()
    before = built(given, output=out)
    assert before.shape == (22, 16)
    sequence = torch.repeat_interleave(torch.arange(4), torch.tensor(out.lengths))
    tokens = given.tokens.clone()
    tokens[5] = (tokens[5] + 1) % TINY.vocab
    changed = (built(replace(given, tokens=tokens), output=out) != before).any(-1)
    assert torch.equal(changed, sequence == 1)
    tokens = out.tokens.clone()
    tokens[9] = (tokens[9] + 1) % TINY.vocab
    changed = (built(given, output=replace(out, tokens=tokens)) != before).any(-1)
    assert changed.nonzero()[:, 0].tolist() == [9, 10, 11, 12, 13]
    for read in ([0], [3, 4, 14, 21], [5], list(range(22)), []):
        rows = torch.tensor(read, dtype=torch.long)
        assert (built(given, rows, out) - before[rows]).abs().sum() < 1e-12
    assert torch.equal(built(given), built.encoder(given)) and torch.equal(built.states(given)[-1], built(given))
    with pytest.raises(ValueError, match="4 sequences to decode, 2 to read"):
        built(stream((4, 4)), output=out)


def test_gradients_flow_through_the_source_and_are_those_of_the_rows_read():
    built, out, given = drawn(SEQ2SEQ), causal(stream()), source()
    rows = torch.tensor([0, 3, 8, 14, 21])
    slopes = [
        torch.autograd.grad(said.square().sum(), list(built.parameters()))
        for said in (built(given, rows, out), built(given, output=out)[rows])
    ]
    assert all((a - b).abs().max() < 1e-10 for a, b in zip(*slopes, strict=True))
    assert all(slope.abs().sum() > 0 for (_, p), slope in zip(built.named_parameters(), slopes[0]) if p.ndim > 1)


def test_attention_to_a_source_is_softmax_over_each_source():
    torch.manual_seed(0)
    out, given = stream(), source()
    q, k, v = (torch.randn(len(s.tokens), 2, 8, dtype=torch.double) for s in (out, given, given))
    found, a, b = attend_source(q, k, v, out, given), 0, 0
    for asks, keys in zip(out.lengths, given.lengths, strict=True):
        scores = torch.einsum("qhe,khe->hqk", q[a : a + asks], k[b : b + keys]) / 8**0.5
        torch.testing.assert_close(
            found[a : a + asks], torch.einsum("hqk,khe->qhe", scores.softmax(-1), v[b : b + keys])
        )
        a, b = a + asks, b + keys


@pytest.mark.parametrize("name", ["modern", "pre", "shared"])
def test_every_parameter_has_a_depth(name):
    built = drawn(BODIES[name])
    for key, _ in built.named_parameters():
        depth = built.depth_of(key)
        if key.startswith("layers."):
            assert depth == int(key.split(".")[1]) + 1
        else:
            assert depth == (built.config.layers if key.startswith("norm.") else 0)
    assert built.config.depth == built.config.layers
    with pytest.raises(ValueError, match=r"layers\.0\.nothing"):
        built.depth_of("layers.0.nothing")


def test_a_decoder_stands_on_its_encoder():
    built = drawn(replace(SEQ2SEQ, block=PreNorm()))
    wanted = {
        "encoder.embeddings.tokens.weight": 0, "decoder.embeddings.tokens.weight": 0, "decoder.positions.table.weight": 0,
        "encoder.layers.0.attention.qkv.weight": 1, "encoder.norm.weight": 3, "decoder.layers.0.source.kv.weight": 4,
        "decoder.layers.1.feedforward.up.weight": 5, "decoder.norm.bias": 5,
    }  # fmt: skip
    assert {name: built.depth_of(name) for name in wanted} == wanted
    assert built.config.depth == 5 and built.tokens is built.decoder.tokens
    with pytest.raises(ValueError, match="tokens"):
        built.depth_of("tokens.weight")


def test_bodies_and_their_configurations_say_what_is_asked_of_them():
    for config in (*BODIES.values(), SEQ2SEQ, replace(TINY, embeddings=Asking())):
        built = model(config)
        assert isinstance(built, Body) and isinstance(config, BodyConfig)
        assert built.config is config and built.tokens.weight.shape == (config.vocab, config.inner)
        assert config.parameters() == sum(p.numel() for p in built.parameters())
    assert (TINY.segments, TINY.reads_segments, TINY.asks, TINY.longest, MODERN.longest) == (2, True, False, 12, None)
    assert find("xlnet:tiny").model.reads_segments and find("xlnet:tiny").model.asks


def test_a_recurrent_stack_answers_what_a_body_is_asked():
    config = Recurrent(vocab=60, layers=2, width=16, hidden=32)
    assert isinstance(config, BodyConfig)
    assert (config.inner, config.segments, config.depth, config.longest, config.asks) == (16, 0, 2, None, False)
    assert override(config, ["layers=3", "dropout=0.2"]).depth == 3
    with pytest.raises(InputError, match=r"model\.memory: what reads a text from its end, too \(both\)"):
        replace(config, memory=Carry(), directions="both")
    with pytest.raises(InputError, match=r"model\.cell\.chunk: 10 must divide the units of every layer \(32\)"):
        replace(config, cell=OrderedNeurons()).parameters()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Summed(segments=-1), r"model\.embeddings\.segments: -1 is negative"),
        (lambda: Summed(width=0), r"model\.embeddings\.width: 0"),
        (lambda: LayerNorm(eps=0.0), r"model\.norm\.eps: 0"),
        (lambda: RMSNorm(eps=-1.0), r"model\.norm\.eps: -1"),
        (lambda: Plain(activation="tanh"), r"model\.feedforward\.activation: 'tanh' is not one of gelu"),
        (lambda: Local(window=0), r"model\.attention\.window: 0"),
        (lambda: Local(every=0), r"model\.attention\.every: 0"),
        (lambda: Rotary(theta=0.5), r"model\.positions\.theta: 0.5"),
        (lambda: Recurrence(length=-1), r"model\.memory\.length: -1"),
        (lambda: EncoderDecoder(layers=0), r"model\.topology\.layers: 0"),
        (lambda: Recurrent(vocab=6, layers=0, width=1, hidden=1), r"model\.layers: 0"),
        (lambda: replace(TINY, positions=Rotary(), heads=16), r"a head's width \(1\) must be even"),
        (lambda: replace(SEQ2SEQ, memory=Recurrence(length=4)), r"model\.memory: an encoder-decoder keeps none"),
        (lambda: replace(MODERN, share="all"), r"model\.share: all, but the first layer's attention has no norm"),
        (lambda: replace(TINY, block="pre"), r"model\.block: 'pre' is not a part"),
    ],
)
def test_parts_that_cannot_be_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    "old, new",
    [
        ("segments=3", "embeddings.segments"),
        ("embedding=64", "embeddings.width"),
        ("activation=relu", "feedforward.activation"),
        ("eps=1e-5", "norm.eps"),
        ("norm=post", "block"),
        ("adaptive.cutoffs=[5]", "embeddings.cutoffs"),
        ("attention_bias=false", "attention.bias"),
        ("output_dropout=true", "block.dropout_last"),
        ("asking=true", "embeddings"),
    ],
)
def test_an_old_name_is_told_the_new_one(old, new):
    with pytest.raises(
        InputError, match=rf"^set={{'model\.{old.split('=')[0]}': …}}: stands elsewhere now: model\.{new}$"
    ):
        override(find("bert:tiny"), [f"model.{old}"])


def test_every_moved_field_names_one_that_is_there():
    tree, every = to_dict(find("bert:tiny").model), TINY.MOVED
    for where in every.values():
        node = tree
        for name in where.split("."):
            node = node[name]
    with pytest.raises(InputError, match=r"model\.memory\.length"):
        override(find("xlnet:tiny"), ["model.memory=96"])
    assert override(find("xlnet:tiny"), ["model.memory.length=5"]).model.memory == Recurrence(length=5)


def test_local_attention_is_the_same_padded():
    torch.manual_seed(0)
    s = replace(stream((5, 30, 1, 17)), window=3)
    q, k, v = (torch.randn(53, 2, 8, dtype=torch.double) for _ in range(3))
    torch.testing.assert_close(attend(q, k, v, s), attend_padded(q, k, v, s))
