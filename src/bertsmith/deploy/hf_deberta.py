"""Hugging Face's DebertaV2, which versions 2 and 3 are: its body, tensors and config.json, which the table of hf_families.py takes from here.

Its token head has two sets of names there, for one computation: those of `legacy`, which stand here, and `lm_predictions`, which are read.  The head
that tells replaced tokens has no class there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bertsmith.data.batch import Vocab
from bertsmith.deploy.hf_layers import SAME, Tensors
from bertsmith.deploy.hf_stacks import NUMBERS, whole_number
from bertsmith.errors import InputError, printable
from bertsmith.nn.disentangled import TERMS, Disentangled, Distances
from bertsmith.nn.embeddings import Summed
from bertsmith.nn.feedforward import Plain
from bertsmith.nn.norms import LayerNorm
from bertsmith.nn.transformer import TransformerConfig
from bertsmith.objectives.predict import Summarised
from bertsmith.spelling import an

_AT = "encoder.layer.#"
DEBERTA_LAYER = (
    ("layers.#.attention.qkv", *(f"{_AT}.attention.self.{x}_proj" for x in ("query", "key", "value"))),
    ("layers.#.attention.out", f"{_AT}.attention.output.dense"),
    ("layers.#.attention_norm", f"{_AT}.attention.output.LayerNorm"),
    ("layers.#.feedforward.up", f"{_AT}.intermediate.dense"),
    ("layers.#.feedforward.down", f"{_AT}.output.dense"),
    ("layers.#.feedforward_norm", f"{_AT}.output.LayerNorm"),
)
DEBERTA_TENSORS: Tensors = (("positions.table.weight", ("encoder.rel_embeddings.weight",), SAME),)
# A norm on the table of distances, and a layer's own matrices for them.
DEBERTA_EITHER: Tensors = tuple(
    (f"{ours}.{end}", (f"{theirs}.{end}",), SAME)
    for ours, theirs in (
        ("positions.norm", "encoder.LayerNorm"),
        ("layers.#.attention.place_k", f"{_AT}.attention.self.pos_key_proj"),
        ("layers.#.attention.place_q", f"{_AT}.attention.self.pos_query_proj"),
    )
    for end in ("weight", "bias")
)
DEBERTA_OLD = {
    "lm_predictions.lm_head.dense.": "cls.predictions.transform.dense.",
    "lm_predictions.lm_head.LayerNorm.": "cls.predictions.transform.LayerNorm.",
    "lm_predictions.lm_head.bias": "cls.predictions.bias",
}
DEBERTA_LEFT = {"mask_predictions": "tells replaced tokens, beside the state of [CLS]"}
# What it can be told and is not here.
DEBERTA_ONLY = {"conv_kernel_size": 0, "talking_head": False, "position_biased_input": False, "type_vocab_size": 0}
# What it is where config.json does not say.
USUAL = {"relative_attention": False, "position_biased_input": True}
POOLERS: tuple[Summarised, ...] = ("gelu", "tanh", "relu")


def deberta_body(values: dict[str, Any]) -> TransformerConfig:
    """InputError for parts that it has not."""
    places, attends = values["places"], values["attends"]
    if not (isinstance(places, Distances) and isinstance(attends, Disentangled)):
        raise InputError("model.attention: transformers' DebertaV2 is one with Disentangled attention and Distances")
    return TransformerConfig(
        **{name: values[name] for name in NUMBERS},
        embeddings=Summed(segments=0),
        positions=places,
        norm=LayerNorm(eps=values["eps"]),
        attention=Disentangled(terms=attends.terms, places=attends.places),
        feedforward=Plain(activation=values["activation"]),
    )


def deberta_says(recipe: Any, vocab: Vocab | None) -> dict[str, Any]:
    """config.json besides the numbers of `KEYS`."""
    model = recipe.model
    places, attends = model.positions, model.attention
    pooler = getattr(recipe.objective, "pooler", "gelu")
    return {
        "attention_probs_dropout_prob": model.dropout,
        **DEBERTA_ONLY,
        "max_position_embeddings": places.distance,
        "max_relative_positions": -1,
        "relative_attention": True,
        "position_buckets": places.buckets or -1,
        "norm_rel_ebd": "layer_norm" if places.norm else "none",
        "share_att_key": attends.places == "shared",
        "pos_att_type": [*attends.terms],
        "pooler_hidden_act": pooler,
        "pooler_hidden_size": model.width,
        "pooler_dropout": 0.0,
        "legacy": True,
        **({} if vocab is None else {"bos_token_id": vocab.cls, "eos_token_id": vocab.sep}),
    }


def deberta_means(config: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """What its body is made of besides the numbers of `KEYS`.  InputError for what is not done here."""
    head = values["width"] // max(1, values["heads"])
    for key, can in {
        "relative_attention": True,
        "position_biased_input": False,
        "embedding_size": values["width"],
        "attention_head_size": head,
        "pooler_hidden_size": values["width"],
    }.items():
        said = {**USUAL, **config}.get(key, can)
        if said != can and not (said is None and key not in USUAL):
            raise InputError(f"config.json: {key}: {printable(repr(said), 60)}: a deberta-v2 is read with {can!r} only")
    norm = [part.strip() for part in _text(config, "norm_rel_ebd", "none").lower().split("|")]
    if not {*norm} <= {"layer_norm", "none"}:
        raise InputError(f"config.json: norm_rel_ebd: {printable(norm[0])}: layer_norm or none can be read")
    shared = config.get("share_att_key", False)
    if not isinstance(shared, bool):
        raise InputError(f"config.json: share_att_key: {printable(repr(shared), 60)} is neither true nor false")
    buckets, distance = _number(config, "position_buckets"), _number(config, "max_relative_positions")
    distance = distance or whole_number(config, "max_position_embeddings", 512)
    return {
        "places": Distances(buckets=buckets, distance=distance, norm="layer_norm" in norm),
        "attends": Disentangled(terms=_terms(config), places="shared" if shared else "own"),
    }


def _terms(config: dict[str, Any]) -> Any:
    said = config.get("pos_att_type")
    parts = said.split("|") if isinstance(said, str) else said
    found = (
        {part.strip().lower() if isinstance(part, str) else part for part in parts}
        if isinstance(parts, list)
        else {*()}
    )
    if not found or not found <= {*TERMS}:
        raise InputError(
            f"config.json: pos_att_type: {printable(repr(said), 60)}: {' and '.join(TERMS)}, or one of them, can be read"
        )
    return tuple(term for term in TERMS if term in found)


def _number(config: dict[str, Any], key: str) -> int | None:
    """None where it is none: below 1, or not said."""
    found = whole_number(config, key, -1, least=-(1 << 31))
    return found if found > 0 else None


def _text(config: dict[str, Any], key: str, usual: str) -> str:
    found = config.get(key, usual)
    if not isinstance(found, str):
        raise InputError(f"config.json: {key}: expected {an('str')}, got {printable(repr(found), 60)}")
    return found


def deberta_pooler(config: dict[str, Any]) -> str:
    said = config.get("pooler_hidden_act", "gelu")
    if said not in POOLERS:
        raise InputError(
            f"config.json: pooler_hidden_act: {printable(repr(said), 60)}: {', '.join(POOLERS)} can be read"
        )
    return said


def deberta_names(names: Mapping[str, Any]) -> dict[str, Any]:
    """What config.json means where tensors of such names are there: which of its token head's names are those."""
    newer = any(name.startswith("lm_predictions.") for name in names)
    return {"legacy": False} if newer else {}
