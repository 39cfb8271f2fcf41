"""Bodies that no recipe has yet, put together from parts, against transformers: ModernBERT, GPT-2, BART, mBART.

The same random weights; their padded batch, our packed row.
"""

import dataclasses

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from bertsmith.data.batch import Stream
from bertsmith.nn.attending import Full, Local
from bertsmith.nn.blocks import PostNorm, PreNorm
from bertsmith.nn.decoder import EncoderDecoder
from bertsmith.nn.embeddings import Summed
from bertsmith.nn.feedforward import Gated, Plain
from bertsmith.nn.norms import LayerNorm
from bertsmith.nn.positions import Learned
from bertsmith.nn.rotary import Rotary
from bertsmith.nn.transformer import TransformerConfig

transformers = pytest.importorskip("transformers")

VOCAB, LENGTHS, SOURCES = 90, (7, 40, 3, 25), (9, 4, 33, 17)
NUMBERS = {"vocab": VOCAB, "layers": 5, "width": 32, "heads": 4, "hidden": 48, "dropout": 0.0}
EXACT = 1e-5  # float32


def packed(lengths, causal=False, seed=0):
    g = torch.Generator().manual_seed(seed)
    positions = torch.cat([torch.arange(length) for length in lengths])
    rank = positions if causal else torch.zeros_like(positions)
    return Stream(
        tokens=torch.randint(5, VOCAB, (sum(lengths),), generator=g), positions=positions,
        segments=torch.zeros_like(positions), query_rank=rank, key_rank=rank, lengths=lengths,
        visibility="causal" if causal else "full",
    )  # fmt: skip


def padded(stream):
    """Tokens and mask, (s, longest)."""
    rows = lambda x: pad_sequence(x.split(stream.lengths), batch_first=True)
    return rows(stream.tokens), rows(torch.ones_like(stream.tokens))


def real(hidden, mask):
    return hidden[mask.bool()]


def randomised(module, seed=1):
    """Norms and biases too: a swapped pair of names must show."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    return module.eval()


def given(config, weights):
    """Our body with these weights, every one of them."""
    built = config.build().eval()
    assert built.load_state_dict(weights, strict=True)
    assert config.parameters() == sum(p.numel() for p in built.parameters())
    return built


def check(said, wanted, body, stream, **also):
    """The same, also where only some rows are read."""
    assert (said - wanted).abs().max() < EXACT and wanted.abs().max() > 1
    for read in ([0], [6, 7, 46, 47, 74], list(range(7, 47))):
        rows = torch.tensor(read)
        assert (body(stream, rows, **also) - wanted[rows]).abs().max() < EXACT


def modernbert(layers, theirs):
    """Their names by ours."""
    names = {
        "embeddings.tokens": "embeddings.tok_embeddings",
        "embeddings.norm": "embeddings.norm",
        "norm": "final_norm",
    }
    for i in range(layers):
        names |= {
            f"layers.{i}.attention.qkv": f"layers.{i}.attn.Wqkv", f"layers.{i}.attention.out": f"layers.{i}.attn.Wo",
            f"layers.{i}.feedforward.up": f"layers.{i}.mlp.Wi", f"layers.{i}.feedforward.down": f"layers.{i}.mlp.Wo",
            f"layers.{i}.feedforward_norm": f"layers.{i}.mlp_norm",
        }  # fmt: skip
        names |= {f"layers.{i}.attention_norm": f"layers.{i}.attn_norm"} if i else {}
    return {f"{ours}.weight": theirs[f"{name}.weight"] for ours, name in names.items()}


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_modernbert_is_local_and_global_layers_of_rotary_places_and_gates(attention):
    """Sequences longer than the window (8 to either side); every third layer sees everything."""
    theirs = transformers.ModernBertConfig(
        vocab_size=VOCAB, num_hidden_layers=5, hidden_size=32, num_attention_heads=4, intermediate_size=48,
        local_attention=16, global_attn_every_n_layers=3, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        cls_token_id=1, sep_token_id=2, max_position_embeddings=64,
    )  # fmt: skip
    theirs = randomised(transformers.AutoModel.from_config(theirs, attn_implementation=attention))
    config = TransformerConfig(
        **NUMBERS, embeddings=Summed(segments=0), positions=Rotary(theta=160_000.0, local=10_000.0),
        block=PreNorm(first=False), norm=LayerNorm(eps=1e-5, bias=False),
        attention=Local(bias=False, window=8, every=3), feedforward=Gated(bias=False),
    )  # fmt: skip
    ours, stream = given(config, modernbert(5, theirs.state_dict())), packed(LENGTHS)
    tokens, mask = padded(stream)
    with torch.no_grad():
        wanted = real(theirs(input_ids=tokens, attention_mask=mask).last_hidden_state, mask)
        check(ours(stream), wanted, ours, stream)
        wider = given(dataclasses.replace(config, attention=Local(bias=False, window=9, every=3)), ours.state_dict())
        assert (wider(stream) - wanted).abs().max() > 1e-3  # the window is felt


def gpt2(layers, theirs):
    found = {
        "embeddings.tokens.weight": theirs["wte.weight"], "positions.table.weight": theirs["wpe.weight"],
        "norm.weight": theirs["ln_f.weight"], "norm.bias": theirs["ln_f.bias"],
    }  # fmt: skip
    for i in range(layers):
        for ours, name in (
            ("attention.qkv", "attn.c_attn"), ("attention.out", "attn.c_proj"), ("feedforward.up", "mlp.c_fc"),
            ("feedforward.down", "mlp.c_proj"),
        ):  # fmt: skip
            found[f"layers.{i}.{ours}.weight"] = theirs[
                f"h.{i}.{name}.weight"
            ].T  # theirs is a convolution of one place
            found[f"layers.{i}.{ours}.bias"] = theirs[f"h.{i}.{name}.bias"]
        for ours, name in (("attention_norm", "ln_1"), ("feedforward_norm", "ln_2")):
            found |= {f"layers.{i}.{ours}.{end}": theirs[f"h.{i}.{name}.{end}"] for end in ("weight", "bias")}
    return found


def test_gpt2_is_norms_before_and_one_behind():
    theirs = transformers.GPT2Config(
        vocab_size=VOCAB, n_layer=5, n_embd=32, n_head=4, n_inner=48, n_positions=64, bos_token_id=1, eos_token_id=1
    )
    theirs = randomised(transformers.AutoModel.from_config(theirs))
    config = TransformerConfig(
        **NUMBERS, embeddings=Summed(segments=0, norm=False), positions=Learned(length=64), block=PreNorm(),
        norm=LayerNorm(eps=1e-5), feedforward=Plain(activation="gelu_tanh"),
    )  # fmt: skip
    ours, stream = given(config, gpt2(5, theirs.state_dict())), packed(LENGTHS, causal=True)
    tokens, mask = padded(stream)
    with torch.no_grad():
        wanted = real(theirs(input_ids=tokens, attention_mask=mask).last_hidden_state, mask)
        check(ours(stream), wanted, ours, stream)


def bart(layers, theirs, final):
    """Every layer of both sides; `final`: mBART's norm behind each."""
    found = {}
    for side in ("encoder", "decoder"):
        found[f"{side}.embeddings.tokens.weight"] = theirs["shared.weight"]
        found[f"{side}.positions.table.weight"] = theirs[f"{side}.embed_positions.weight"][
            2:
        ]  # two rows that nothing reads
        modules = [("embeddings.norm", "layernorm_embedding"), *([("norm", "layer_norm")] if final else [])]
        for i in range(layers):
            names = [
                ("attention.out", "self_attn.out_proj"), ("attention_norm", "self_attn_layer_norm"),
                ("feedforward.up", "fc1"), ("feedforward.down", "fc2"), ("feedforward_norm", "final_layer_norm"),
            ]  # fmt: skip
            if side == "decoder":
                names += [("source.q", "encoder_attn.q_proj"), ("source.out", "encoder_attn.out_proj")]
                names += [("source_norm", "encoder_attn_layer_norm")]
            modules += [(f"layers.{i}.{ours}", f"layers.{i}.{name}") for ours, name in names]
            joined = [
                ("attention.qkv", "self_attn", "qkv"),
                *([("source.kv", "encoder_attn", "kv")] if side == "decoder" else []),
            ]
            for ours, name, letters in joined:
                for end in ("weight", "bias"):
                    parts = [theirs[f"{side}.layers.{i}.{name}.{letter}_proj.{end}"] for letter in letters]
                    found[f"{side}.layers.{i}.{ours}.{end}"] = torch.cat(parts)
        for ours, name in modules:
            found |= {f"{side}.{ours}.{end}": theirs[f"{side}.{name}.{end}"] for end in ("weight", "bias")}
    return found


@pytest.mark.parametrize("name", ["bart", "mbart"])
def test_a_decoder_reads_its_source_as_barts_does(name):
    """Several pairs in one batch, of other lengths on either side; norms behind (BART) and before (mBART)."""
    theirs = transformers.AutoConfig.for_model(
        name, vocab_size=VOCAB, d_model=32, encoder_layers=3, decoder_layers=3, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=64, pad_token_id=1,
        scale_embedding=False,
    )  # fmt: skip
    theirs = randomised(transformers.AutoModel.from_config(theirs))
    config = TransformerConfig(
        **{**NUMBERS, "layers": 3}, embeddings=Summed(segments=0), positions=Learned(length=64),
        block=PreNorm() if name == "mbart" else PostNorm(), norm=LayerNorm(eps=1e-5), attention=Full(),
        topology=EncoderDecoder(),
    )  # fmt: skip
    ours = given(config, bart(3, theirs.state_dict(), name == "mbart"))
    source, output = packed(SOURCES, seed=3), packed(LENGTHS, causal=True)
    (tokens, mask), (asked, seen) = padded(source), padded(output)
    with torch.no_grad():
        hidden = theirs(input_ids=tokens, attention_mask=mask, decoder_input_ids=asked, decoder_attention_mask=seen)
        wanted = real(hidden.last_hidden_state, seen)
        check(ours(source, output=output), wanted, ours, source, output=output)
        encoded = real(hidden.encoder_last_hidden_state, mask)
        assert (ours(source) - encoded).abs().max() < EXACT
