"""Hugging Face's names of the tensors below the heads, and how these stand in their files.  Names with # stand once for each layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# Modules with `.weight` and `.bias` on both sides; # is the layer; three names on the right are ours cut in three.
LAYER = (
    ("layers.#.attention.qkv", *(f"encoder.layer.#.attention.self.{x}" for x in ("query", "key", "value"))),
    ("layers.#.attention.out", "encoder.layer.#.attention.output.dense"),
    ("layers.#.attention_norm", "encoder.layer.#.attention.output.LayerNorm"),
    ("layers.#.feedforward.up", "encoder.layer.#.intermediate.dense"),
    ("layers.#.feedforward.down", "encoder.layer.#.output.dense"),
    ("layers.#.feedforward_norm", "encoder.layer.#.output.LayerNorm"),
)
LONGFORMER_LAYER = (
    *LAYER,
    ("layers.#.attention.wide", *(f"encoder.layer.#.attention.self.{x}_global" for x in ("query", "key", "value"))),
)
# What reads a source, in a decoder of such layers.
SOURCE = (
    ("layers.#.source.q", "encoder.layer.#.crossattention.self.query"),
    ("layers.#.source.kv", *(f"encoder.layer.#.crossattention.self.{x}" for x in ("key", "value"))),
    ("layers.#.source.out", "encoder.layer.#.crossattention.output.dense"),
    ("layers.#.source_norm", "encoder.layer.#.crossattention.output.LayerNorm"),
)
# ALBERT keeps groups of layers: one that all layers are, or one for each.
GROUP = "encoder.albert_layer_groups.#.albert_layers.0"
ALBERT_LAYER = (
    ("layers.#.attention.qkv", *(f"{GROUP}.attention.{x}" for x in ("query", "key", "value"))),
    ("layers.#.attention.out", f"{GROUP}.attention.dense"),
    ("layers.#.attention_norm", f"{GROUP}.attention.LayerNorm"),
    ("layers.#.feedforward.up", f"{GROUP}.ffn"),
    ("layers.#.feedforward.down", f"{GROUP}.ffn_output"),
    ("layers.#.feedforward_norm", f"{GROUP}.full_layer_layer_norm"),
)
DISTILBERT_LAYER = (
    ("layers.#.attention.qkv", *(f"transformer.layer.#.attention.{x}_lin" for x in "qkv")),
    ("layers.#.attention.out", "transformer.layer.#.attention.out_lin"),
    ("layers.#.attention_norm", "transformer.layer.#.sa_layer_norm"),
    ("layers.#.feedforward.up", "transformer.layer.#.ffn.lin1"),
    ("layers.#.feedforward.down", "transformer.layer.#.ffn.lin2"),
    ("layers.#.feedforward_norm", "transformer.layer.#.output_layer_norm"),
)
# MobileBERT's, with the four feed-forward parts that the published ones have: three of their own module, then BERT's.
MOBILEBERT_LAYER = (
    ("layers.#.enter.dense", "encoder.layer.#.bottleneck.input.dense"),
    ("layers.#.enter.norm", "encoder.layer.#.bottleneck.input.LayerNorm"),
    ("layers.#.attention.shared.dense", "encoder.layer.#.bottleneck.attention.dense"),
    ("layers.#.attention.shared.norm", "encoder.layer.#.bottleneck.attention.LayerNorm"),
    ("layers.#.attention.qk", *(f"encoder.layer.#.attention.self.{x}" for x in ("query", "key"))),
    ("layers.#.attention.v", "encoder.layer.#.attention.self.value"),
    *LAYER[1:],
    *(
        (f"layers.#.feedforward.first.{number}.{ours}", f"encoder.layer.#.ffn.{number}.{theirs}")
        for number in range(3)
        for ours, theirs in (
            ("part.up", "intermediate.dense"),
            ("part.down", "output.dense"),
            ("norm", "output.LayerNorm"),
        )
    ),
    ("layers.#.leave", "encoder.layer.#.output.bottleneck.dense"),
    ("layers.#.leave_norm", "encoder.layer.#.output.bottleneck.LayerNorm"),
)
# XLNet's; its attention has no modules but tensors.
XLNET_LAYER = (
    ("layers.#.attention_norm", "layer.#.rel_attn.layer_norm"),
    ("layers.#.feedforward.up", "layer.#.ff.layer_1"),
    ("layers.#.feedforward.down", "layer.#.ff.layer_2"),
    ("layers.#.feedforward_norm", "layer.#.ff.layer_norm"),
)
TOKENS = "embeddings.word_embeddings.weight"
POSITIONS = "embeddings.position_embeddings.weight"
SEGMENTS = "embeddings.token_type_embeddings.weight"
# What files of older versions hold: other names for the same tensors, and buffers that are no weights.
OLD = {".LayerNorm.gamma": ".LayerNorm.weight", ".LayerNorm.beta": ".LayerNorm.bias"}
BUFFERS = (
    "embeddings.position_ids",
    "embeddings.token_type_ids",
    "position_ids",
    "encoder.version",
    "decoder.version",
    "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",  # of the first T5s; nothing reads it
)
MASKS = (".attn.bias", ".attn.masked_bias")  # who sees whom, which files of GPT-2 hold for each layer
PARTS = ("embeddings.", "embeddings_project.", "encoder.", "pooler.")


@dataclass(frozen=True)
class Turned:
    """A tensor that stands otherwise in their files: `out(ours, heads)` is theirs, `back(theirs)` ours.  d width, h heads, e head width."""

    out: Callable[[Tensor, int], Tensor]
    back: Callable[[Tensor], Tensor]


SAME = Turned(lambda x, heads: x, lambda x: x)
INTO_HEADS = Turned(lambda x, heads: x.T.unflatten(1, (heads, -1)), lambda x: x.flatten(1).T)  # (h e, d) and (d, h, e)
OUT_OF_HEADS = Turned(lambda x, heads: x.unflatten(1, (heads, -1)), lambda x: x.flatten(1))  # (d, h e) and (d, h, e)
LINE = Turned(lambda x, heads: x[None], lambda x: x.flatten())  # (V,) and (1, V)
ONE_ROW = Turned(lambda x, heads: x[None, None], lambda x: x.flatten())  # (d,) and (1, 1, d)
TRANSPOSED = Turned(lambda x, heads: x.T, lambda x: x.T)  # a convolution of one place is a matrix the other way round
Tensors = tuple[tuple[str, tuple[str, ...], Turned], ...]  # our tensor, theirs that make it up, how these stand

XLNET_TENSORS: Tensors = (
    ("embeddings.asking", ("mask_emb",), ONE_ROW),
    ("layers.#.attention.qkv.weight", tuple(f"layer.#.rel_attn.{x}" for x in "qkv"), INTO_HEADS),
    ("layers.#.attention.out.weight", ("layer.#.rel_attn.o",), OUT_OF_HEADS),
    ("layers.#.attention.positions.project.weight", ("layer.#.rel_attn.r",), INTO_HEADS),
    ("layers.#.attention.positions.content", ("layer.#.rel_attn.r_w_bias",), SAME),
    ("layers.#.attention.positions.place", ("layer.#.rel_attn.r_r_bias",), SAME),
    ("layers.#.attention.positions.segment", ("layer.#.rel_attn.r_s_bias",), SAME),
    ("layers.#.attention.positions.sides", ("layer.#.rel_attn.seg_embed",), SAME),
)
# GPT's and GPT-2's: norms are modules, matrices are convolutions.
GPT_LAYER = (("layers.#.attention_norm", "h.#.ln_1"), ("layers.#.feedforward_norm", "h.#.ln_2"))
GPT_TENSORS: Tensors = tuple(
    (f"layers.#.{ours}.{end}", (f"h.#.{theirs}.{end}",), turned)
    for ours, theirs in (
        ("attention.qkv", "attn.c_attn"),
        ("attention.out", "attn.c_proj"),
        ("feedforward.up", "mlp.c_fc"),
        ("feedforward.down", "mlp.c_proj"),
    )
    for end, turned in (("weight", TRANSPOSED), ("bias", SAME))
)
