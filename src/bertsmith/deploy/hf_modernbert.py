"""Hugging Face's ModernBERT: its body, tensors and config.json, which the table of hf_families.py takes from here.

Tensors are equal on both sides: query, key and value are one matrix there, too, in this order, and so are the two of a gated part, what is
activated first.  A local layer's `local_attention` counts both sides.  Their configurations of version 4 have a rate of positions for global
and one for local layers, of which null or -1 is the other one.
"""

from __future__ import annotations

from typing import Any

from bertsmith.config import checked
from bertsmith.data.batch import Vocab
from bertsmith.deploy.hf_layers import SAME, Tensors
from bertsmith.deploy.hf_stacks import NUMBERS, whole_number
from bertsmith.errors import InputError, printable
from bertsmith.nn.attending import Full, Local
from bertsmith.nn.blocks import PreNorm
from bertsmith.nn.embeddings import Summed
from bertsmith.nn.feedforward import Gated
from bertsmith.nn.norms import LayerNorm
from bertsmith.nn.rotary import Rotary
from bertsmith.nn.transformer import TransformerConfig

MODERNBERT_KEYS = {
    "vocab": "vocab_size",
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "hidden": "intermediate_size",
    "activation": "hidden_activation",
    "dropout": "embedding_dropout",
    "eps": "norm_eps",
}
# What ModernBERT can be told and is not here.
MODERNBERT_ONLY = {
    "attention_bias": False,
    "mlp_bias": False,
    "norm_bias": False,
    "classifier_bias": False,
    "classifier_activation": "gelu",
    "rope_scaling": None,
}
GLOBAL, LOCAL = "full_attention", "sliding_attention"
EVERY = 3  # global layers, where config.json does not say
POOLS = ("cls", "mean")

MODERNBERT_TENSORS: Tensors = (
    ("embeddings.norm.weight", ("embeddings.norm.weight",), SAME),
    *(
        (f"layers.#.{ours}.weight", (f"layers.#.{theirs}.weight",), SAME)
        for ours, theirs in (
            ("attention.qkv", "attn.Wqkv"),
            ("attention.out", "attn.Wo"),
            ("feedforward_norm", "mlp_norm"),
            ("feedforward.up", "mlp.Wi"),
            ("feedforward.down", "mlp.Wo"),
        )
    ),
    ("norm.weight", ("final_norm.weight",), SAME),
)
# The first layer has none.
MODERNBERT_EITHER: Tensors = (("layers.#.attention_norm.weight", ("layers.#.attn_norm.weight",), SAME),)
# The head's own tensors, before its classes, for any term.
_DENSE, _NORM = "head.dense.weight", "head.norm.weight"
MODERNBERT_BEFORE = (_DENSE, _NORM)
_CLASSES = (("=pooler.dense.weight", _DENSE), ("=pooler.norm.weight", _NORM), ("out", "classifier"))
MODERNBERT_HEADS: dict[str, tuple[tuple[Any, ...], ...]] = {
    "token": (("=dense.weight", _DENSE), ("=norm.weight", _NORM), ("=bias", "decoder.bias")),
    **dict.fromkeys(("label", "choice", "tag", "span"), _CLASSES),
}


def modernbert_body(values: dict[str, Any]) -> TransformerConfig:
    """InputError for parts that it has not."""
    for wrong in _wrong(values["attends"], values["places"], values["stands"]):
        raise InputError(wrong)
    return TransformerConfig(
        **{name: values[name] for name in NUMBERS},
        embeddings=Summed(segments=0),
        positions=values["places"],
        block=values["stands"],
        norm=LayerNorm(eps=values["eps"], bias=False),
        attention=values["attends"],
        feedforward=Gated(activation=values["activation"], bias=False),
    )


def _wrong(attends: Any, places: Any, stands: Any) -> list[str]:
    """What their class has in place of such parts."""
    found = [] if type(places) is Rotary else ["positions Rotary"]
    before = isinstance(stands, PreNorm) and not (stands.first or stands.dropout_last)
    found += [] if before else ["block PreNorm with first=false and dropout_last=false"]
    if type(attends) not in (Full, Local):
        return [*found, "attention Full or Local"]
    found += [] if not attends.bias else ["model.attention.bias=false"]
    found += [] if attends.head is None else ["model.attention.head=null"]
    return found + ([] if attends.scaled else ["model.attention.scaled=true"])


def modernbert_apart(model: TransformerConfig) -> str | None:
    """Why transformers' ModernBERT cannot be `model`, where that has its positions and its gates."""
    if not (type(model.positions) is Rotary and isinstance(model.feedforward, Gated)):
        return None
    wrong = _wrong(model.attention, model.positions, model.block)
    for slot, fits in (
        ("norm LayerNorm with bias=false", isinstance(model.norm, LayerNorm) and not model.norm.bias),
        ("model.feedforward.bias=false and activation=gelu", model.feedforward == Gated(bias=False)),
        ("embeddings Summed with segments=0, norm=true and width=null", model.embeddings == Summed(segments=0)),
        ("model.share=none", model.share == "none"),
    ):
        wrong += [] if fits else [slot]
    return f"model: transformers' ModernBERT is one with {', '.join(wrong)}; train one that is" if wrong else None


def modernbert_says(recipe: Any, vocab: Vocab | None) -> dict[str, Any]:
    """config.json of a ModernBERT besides the numbers of `MODERNBERT_KEYS`.  InputError for a token head that it has not."""
    model, objective = recipe.model, recipe.objective
    head = next((head for head in getattr(objective, "heads", ()) if head.name == "token"), None)
    _check_head(head)
    attends, places = model.attention, model.positions
    near, every = places.local or places.theta, getattr(attends, "every", 1)
    kinds = [GLOBAL if attends.window_of(layer) is None else LOCAL for layer in range(model.layers)]
    return {
        "attention_dropout": model.dropout,
        "mlp_dropout": model.dropout,
        "max_position_embeddings": recipe.layout.length,
        **MODERNBERT_ONLY,
        "decoder_bias": head is None or head.bias,
        "layer_types": kinds,
        **({"global_attn_every_n_layers": every} if every else {}),  # how version 4 was told
        "local_attention": 2 * getattr(attends, "window", 64),
        "rope_parameters": {
            GLOBAL: {"rope_type": "default", "rope_theta": places.theta},
            LOCAL: {"rope_type": "default", "rope_theta": near},
        },
        "global_rope_theta": places.theta,
        "local_rope_theta": near,
        "classifier_pooling": getattr(objective, "pool", "cls"),
        **(
            {}
            if vocab is None
            else {
                "cls_token_id": vocab.cls,
                "sep_token_id": vocab.sep,
                "bos_token_id": vocab.cls,
                "eos_token_id": vocab.sep,
            }
        ),
    }


def _check_head(head: Any) -> None:
    wanted = {"transform": True, "dense_bias": False, "tied": True, "scaled": False, "wide": False, "norm": None}
    wrong = [f"{key}={value}".lower() for key, value in wanted.items() if head and getattr(head, key) != value]
    wrong += ["activation=gelu"] if head and head.activation not in (None, "gelu") else []
    if wrong:
        raise InputError(
            f"objective.token: transformers' ModernBERT has dense without bias, GELU, the model's norm and its table; train with {', '.join(wrong)}"
        )


def modernbert_means(config: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """What its body is made of besides the numbers of `MODERNBERT_KEYS`."""
    every = _every(config, values["layers"])
    window = whole_number(config, "local_attention", 128)
    if window < 2:
        raise InputError(f"config.json: local_attention: {window}: counts both sides of a token; 2 is the least")
    far, near = _thetas(config)
    attends = Full(bias=False) if every == 1 else Local(bias=False, window=window // 2, every=every)
    return {
        "attends": attends,
        "places": Rotary(theta=far, local=None if near == far else near),
        "stands": PreNorm(first=False, by_depth=True),
    }


def _every(config: dict[str, Any], layers: int) -> int | None:
    """Of how many layers the first is global; None: all are local.  InputError for any other order of them."""
    said = config.get("layer_types")
    if said is None:
        return whole_number(config, "global_attn_every_n_layers", EVERY)
    if not isinstance(said, list) or len(said) != layers or not all(kind in (GLOBAL, LOCAL) for kind in said):
        raise InputError(
            f"config.json: layer_types: {printable(repr(said), 60)}: {GLOBAL} or {LOCAL} for each of {layers} layers is wanted"
        )
    where = [layer for layer, kind in enumerate(said) if kind == GLOBAL]
    if not where:
        return None
    told = whole_number(config, "global_attn_every_n_layers", layers)
    every = where[1] if len(where) > 1 else max(told, layers)  # where the first alone is, any number from there on
    if where != list(range(0, layers, every)):
        raise InputError(
            f"config.json: layer_types: {GLOBAL} layers at {', '.join(map(str, where[:8]))}: the first of every so many, or none, can be read"
        )
    return every


def _thetas(config: dict[str, Any]) -> tuple[float, float]:
    """Of global layers and of local ones, where null or -1 means that of the global ones."""
    said = config.get("rope_parameters") or {}
    if not isinstance(said, dict) or not all(isinstance(part, dict) for part in said.values() if part is not None):
        raise InputError(f"config.json: rope_parameters: {printable(repr(said), 60)}: one table for each kind of layer")
    found: list[float] = []
    for kind, key, usual in ((GLOBAL, "global_rope_theta", 160_000.0), (LOCAL, "local_rope_theta", 10_000.0)):
        part = said.get(kind) or {}
        if part.get("rope_type", "default") != "default":
            raise InputError(
                f"config.json: rope_parameters: rope_type: {printable(repr(part['rope_type']), 60)}: default can be read"
            )
        theta = part.get("rope_theta", config.get(key, usual))
        if kind == LOCAL and theta in (None, -1):
            theta = found[0]
        theta = float(theta) if type(theta) is int else theta
        found.append(checked(Rotary, "theta", theta, f"config.json: {key}"))
    return found[0], found[1]


def modernbert_pool(config: dict[str, Any]) -> str:
    """What its classifiers of a text read."""
    said = config.get("classifier_pooling", "cls")
    if said not in POOLS:
        raise InputError(f"config.json: classifier_pooling: {printable(repr(said), 60)}: {' or '.join(POOLS)}")
    return said
