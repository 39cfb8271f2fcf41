"""Hugging Face's encoder-decoders, BART and T5: their bodies, tensors and config.json, which the tables of hf_families.py take from here.

Ours to theirs: equal tensors, but that (1) query, key and value are one matrix here (of a source key and value), (2) BART's tables of
positions have two rows in front that no token reads, zero on export, (3) T5 v1.1's two matrices up are one here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bertsmith.data.batch import Vocab
from bertsmith.deploy.hf_layers import SAME, Tensors, Turned
from bertsmith.errors import InputError, printable
from bertsmith.nn.attending import Full
from bertsmith.nn.blocks import PostNorm, PreNorm
from bertsmith.nn.buckets import Buckets
from bertsmith.nn.decoder import EncoderDecoder
from bertsmith.nn.embeddings import Summed
from bertsmith.nn.feedforward import Gated, Plain
from bertsmith.nn.initial import FanIn
from bertsmith.nn.norms import LayerNorm, RMSNorm
from bertsmith.nn.positions import Learned
from bertsmith.nn.transformer import TransformerConfig

SIDES = ("encoder", "decoder")
UNREAD = 2  # rows before the first place of BART's tables

# -- tensors: theirs below the family's base ---------------------------------------------------------------------------------------

BART_MODULES = tuple((f"{side}.embeddings.norm", f"{side}.layernorm_embedding") for side in SIDES)
BART_LAYER = tuple(
    (f"{side}.layers.#.{ours}", *(f"{side}.layers.#.{name}" for name in theirs))
    for side in SIDES
    for ours, theirs in (
        ("attention.qkv", tuple(f"self_attn.{x}_proj" for x in "qkv")),
        ("attention.out", ("self_attn.out_proj",)),
        ("attention_norm", ("self_attn_layer_norm",)),
        ("source.q", ("encoder_attn.q_proj",)),
        ("source.kv", tuple(f"encoder_attn.{x}_proj" for x in "kv")),
        ("source.out", ("encoder_attn.out_proj",)),
        ("source_norm", ("encoder_attn_layer_norm",)),
        ("feedforward.up", ("fc1",)),
        ("feedforward.down", ("fc2",)),
        ("feedforward_norm", ("final_layer_norm",)),
    )
    if side == "decoder" or not ours.startswith("source")
)


def _behind(places: Any) -> Any:
    import torch

    return torch.cat([places.new_zeros(UNREAD, places.shape[1]), places])


OFFSET = Turned(lambda x, heads: _behind(x), lambda x: x[UNREAD:])
BART_TENSORS: Tensors = tuple(
    (f"{side}.positions.table.weight", (f"{side}.embed_positions.weight",), OFFSET) for side in SIDES
)
# T5's parts of a layer, by number: the decoder has one more.
_SELF = (
    ("attention.qkv", tuple(f"SelfAttention.{x}" for x in "qkv")),
    ("attention.out", ("SelfAttention.o",)),
    ("attention_norm", ("layer_norm",)),
)
_SOURCE = (
    ("source.q", ("EncDecAttention.q",)),
    ("source.kv", tuple(f"EncDecAttention.{x}" for x in "kv")),
    ("source.out", ("EncDecAttention.o",)),
    ("source_norm", ("layer_norm",)),
)
_UP = (("feedforward.up", ("DenseReluDense.wi",)),)
_GATED = (("feedforward.up", ("DenseReluDense.wi_0", "DenseReluDense.wi_1")),)
_DOWN = (("feedforward.down", ("DenseReluDense.wo",)), ("feedforward_norm", ("layer_norm",)))


def _weights(side: str, number: int, rows: tuple[tuple[str, tuple[str, ...]], ...]) -> Tensors:
    at = f"{side}.block.#.layer.{number}"
    return tuple(
        (f"{side}.layers.#.{ours}.weight", tuple(f"{at}.{name}.weight" for name in theirs), SAME)
        for ours, theirs in rows
    )


T5_TENSORS: Tensors = (
    *(
        (
            f"{side}.positions.table.weight",
            (f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight",),
            SAME,
        )
        for side in SIDES
    ),
    *((f"{side}.norm.weight", (f"{side}.final_layer_norm.weight",), SAME) for side in SIDES),
    *_weights("encoder", 0, _SELF),
    *_weights("encoder", 1, _DOWN),
    *_weights("decoder", 0, _SELF),
    *_weights("decoder", 1, _SOURCE),
    *_weights("decoder", 2, _DOWN),
)
T5_PLAIN: Tensors = (*_weights("encoder", 1, _UP), *_weights("decoder", 2, _UP))
T5_GATED: Tensors = (*_weights("encoder", 1, _GATED), *_weights("decoder", 2, _GATED))

# -- bodies ------------------------------------------------------------------------------------------------------------------------

BART_KEYS = {
    "vocab": "vocab_size",
    "width": "d_model",
    "layers": "encoder_layers",
    "heads": "encoder_attention_heads",
    "hidden": "encoder_ffn_dim",
    "activation": "activation_function",
    "dropout": "dropout",
}
T5_KEYS = {
    "vocab": "vocab_size",
    "width": "d_model",
    "layers": "num_layers",
    "heads": "num_heads",
    "hidden": "d_ff",
    "activation": "feed_forward_proj",
    "dropout": "dropout_rate",
    "eps": "layer_norm_epsilon",
}
BART_EPS = 1e-5  # which its config.json does not say
NUMBERS = ("vocab", "layers", "width", "heads", "hidden", "dropout")


def bart_body(values: dict[str, Any]) -> TransformerConfig:
    return TransformerConfig(
        **{name: values[name] for name in NUMBERS},
        embeddings=Summed(segments=0),
        positions=Learned(length=values["length"]),
        block=PostNorm(),
        norm=LayerNorm(eps=BART_EPS),
        feedforward=Plain(activation=values["activation"]),
        topology=EncoderDecoder(layers=values["decoder"], alone=values["alone"]),
    )


def t5_body(values: dict[str, Any]) -> TransformerConfig:
    """Its layers with GELU have gates, those with ReLU none."""
    part = Gated if values["activation"] == "gelu_tanh" else Plain
    return TransformerConfig(
        **{name: values[name] for name in NUMBERS},
        embeddings=Summed(segments=0, norm=False),
        positions=Buckets(buckets=values["buckets"], distance=values["distance"]),
        block=PreNorm(dropout_last=True),
        norm=RMSNorm(eps=values["eps"]),
        attention=Full(bias=False, head=values["head"], scaled=False),
        feedforward=part(activation=values["activation"], bias=False),
        topology=EncoderDecoder(layers=values["decoder"]),
        initial=FanIn(),
    )


def two_numbers(model: TransformerConfig) -> dict[str, Any]:
    """What an encoder-decoder is free in besides what `numbers_of` has of every model."""
    places = model.positions
    return {
        "decoder": getattr(model.topology, "layers", None),
        "alone": getattr(model.topology, "alone", "encoder"),
        "head": getattr(model.attention, "head", None),
        "buckets": getattr(places, "buckets", 4),
        "distance": getattr(places, "distance", 4),
    }


# -- config.json -------------------------------------------------------------------------------------------------------------------

# What BARTs of other kinds say of themselves: norms before each part, none on the embedding, one behind, places that are not learned.
BART_ONLY = {
    "is_encoder_decoder": True,
    "scale_embedding": False,
    "normalize_before": False,
    "normalize_embedding": True,
    "add_final_layer_norm": False,
    "static_position_embeddings": False,
}
T5_ONLY = {"is_encoder_decoder": True}


def bart_says(recipe: Any, vocab: Vocab | None) -> dict[str, Any]:
    """config.json of a BART besides the numbers of `BART_KEYS`."""
    model = recipe.model
    config = {
        "decoder_layers": model.topology.layers or model.layers,
        "decoder_attention_heads": model.heads,
        "decoder_ffn_dim": model.hidden,
        "max_position_embeddings": model.longest,
        "attention_dropout": model.dropout,
        "scale_embedding": False,
        "is_encoder_decoder": True,
    }
    if vocab is not None:
        config |= {"bos_token_id": vocab.cls, "forced_eos_token_id": vocab.sep}
    return config | ({} if vocab is None else ends_of(recipe, vocab))


def t5_says(recipe: Any, vocab: Vocab | None) -> dict[str, Any]:
    """config.json of a T5 besides the numbers of `T5_KEYS`.  `tie_word_embeddings` is whether states are divided before the table, too."""
    model = recipe.model
    token = next((head for head in recipe.objective.heads if head.name == "token"), None)
    if token is not None and token.scaled and not token.tied:
        raise InputError(
            "objective.token: a table of its own, and states divided by the root of their width: transformers' T5 has the one or the other; "
            "set scaled=false"
        )
    return {
        "num_decoder_layers": model.topology.layers or model.layers,
        "d_kv": model.attention.head or model.width // model.heads,
        "relative_attention_num_buckets": model.positions.buckets,
        "relative_attention_max_distance": model.positions.distance,
        "is_encoder_decoder": True,
        "tie_word_embeddings": token is None or token.scaled,
        **({} if vocab is None else ends_of(recipe, vocab)),
    }


def ends_of(recipe: Any, vocab: Vocab) -> dict[str, Any]:
    """Where what a decoder writes begins and ends; one that reads a text again begins with that text's end."""
    again = recipe.model.topology.alone == "decoder"
    return {"eos_token_id": vocab.sep, "decoder_start_token_id": vocab.sep if again else start_of(recipe, vocab)}


def start_of(recipe: Any, vocab: Vocab) -> int:
    """The token that the decoder reads first."""
    return getattr(vocab, getattr(recipe.corruption.rewrite, "start", "cls"))


def bart_means(config: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Numbers of the body besides those of `BART_KEYS`.  InputError for a decoder whose layers are of another shape."""
    for other, name in (("decoder_attention_heads", "heads"), ("decoder_ffn_dim", "hidden")):
        if config.get(other, values[name]) != values[name]:
            raise InputError(
                f"config.json: {other}: {printable(repr(config[other]), 60)}, but {BART_KEYS[name]} is {values[name]}; the two stacks are read with "
                "layers of one shape"
            )
    length = whole_number(config, "max_position_embeddings", 1024)
    return {"length": length, "decoder": _layers(config, "decoder_layers", values["layers"]), "alone": "encoder"}


def t5_means(config: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Numbers of the body besides those of `T5_KEYS`."""
    return {
        "decoder": _layers(config, "num_decoder_layers", values["layers"]),
        "head": whole_number(config, "d_kv", 64),
        "buckets": whole_number(config, "relative_attention_num_buckets", 32),
        "distance": whole_number(config, "relative_attention_max_distance", 128),
    }


def _layers(config: dict[str, Any], name: str, encoder: int) -> int | None:
    """None where both stacks are as high."""
    found = whole_number(config, name, encoder)
    return None if found == encoder else found


def whole_number(config: dict[str, Any], name: str, default: int, least: int = 1) -> int:
    value = config.get(name)
    value = default if value is None else value
    if type(value) is not int or value < least:
        raise InputError(
            f"config.json: {name}: {printable(repr(value), 60)} is not a whole number {'above 0' if least else 'from 0 on'}"
        )
    return value


def scaled(config: dict[str, Any]) -> bool:
    """Whether a T5 divides states before the table: version 5 of transformers says so by itself, earlier ones where the table is the tokens'."""
    said = config.get("scale_decoder_outputs")
    return said if isinstance(said, bool) else config.get("tie_word_embeddings") is not False


def begun(recipe: Any, config: dict[str, Any], vocab: Vocab) -> Any:
    """The recipe with the start that config.json says.  InputError for one that is neither pad, [CLS] nor [SEP]."""
    said = config.get("decoder_start_token_id")
    if recipe.model.topology.alone == "decoder" and said not in (None, vocab.sep):
        raise InputError(
            f"config.json: decoder_start_token_id: {printable(repr(said), 60)}: a decoder that reads a text again begins with its end here, {vocab.sep}"
        )
    start = getattr(recipe.corruption.rewrite, "start", None)
    if said is None or said == getattr(vocab, start):
        return recipe
    role = next((role for role in ("pad", "sep", "cls") if getattr(vocab, role) == said), None)
    if role is None:
        raise InputError(
            f"config.json: decoder_start_token_id: {printable(repr(said), 60)}: a decoder begins with the pad, [CLS] or [SEP] here"
        )
    corruption = recipe.corruption
    return replace(recipe, corruption=replace(corruption, rewrite=replace(corruption.rewrite, start=role)))
