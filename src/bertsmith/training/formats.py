"""Formats of config.json, and how an older one becomes today's.  Whoever reads config.json calls `current`, so that all else knows one.

1  every choice of a Transformer was a field of its configuration
2  its parts are slots: embeddings, positions, block, norm, attention, feed-forward, memory, topology
"""

from __future__ import annotations

from typing import Any

from bertsmith.config import completed
from bertsmith.errors import InputError

FORMAT = 2
NN = "bertsmith.nn."
# Of format 1: what a tree without the field meant.
ONCE: dict[str, Any] = {
    "segments": 2,
    "norm": "post",
    "activation": "gelu",
    "embedding": None,
    "adaptive": None,
    "share": "none",
    "dropout": 0.1,
    "eps": 1e-12,
    "embedding_norm": True,
    "scaled": False,
    "attention_bias": True,
    "output_dropout": False,
    "asking": False,
    "memory": 0,
}
KEPT = ("type", "vocab", "layers", "width", "heads", "hidden")
PLACES = {"type": f"{NN}positions:Learned", "length": 512}


def current(config: dict[str, Any], where: str) -> dict[str, Any]:
    """`config` (of this format or an older one) in this format; the steps that it names and their hashes stay what they are.

    Fields that a recipe has got since have their defaults.  InputError for a model that format 1 could say and no parts make.
    """
    recipe = config.get("recipe")
    if config.get("format") == 1:
        recipe, config = _converted(recipe, f"{where}: recipe"), {**config, "format": FORMAT}
    return config if recipe is None else {**config, "recipe": completed(recipe)}


def _converted(tree: Any, where: str) -> Any:
    """`tree` with every model of format 1 in it put into parts."""
    if isinstance(tree, list):
        return [_converted(item, f"{where}.{i}") for i, item in enumerate(tree)]
    if not isinstance(tree, dict):
        return tree
    if tree.get("type") == f"{NN}transformer:TransformerConfig":
        return _parts(tree, where)
    return {name: _converted(value, f"{where}.{name}") for name, value in tree.items()}


def _parts(tree: dict[str, Any], where: str) -> dict[str, Any]:
    known = {*KEPT, *ONCE, "positions"}
    for name in tree:
        if name not in known:
            raise InputError(f"{where}.{name}: format 1 has no such field")
    old = {**ONCE, **tree}
    positions = tree.get("positions", PLACES)
    relative = isinstance(positions, dict) and positions.get("type") == f"{NN}relative:Relative"
    # Models of relative positions have a memory, if one of no tokens.
    memory = {"type": f"{NN}memory:Recurrence", "length": old["memory"]} if old["memory"] or relative else None
    return {
        **{name: tree[name] for name in KEPT if name in tree},
        "dropout": old["dropout"],
        "embeddings": _embeddings(old, where),
        "positions": positions,
        "block": {"type": f"{NN}blocks:PostNorm", "dropout_last": old["output_dropout"]},
        "norm": {"type": f"{NN}norms:LayerNorm", "eps": old["eps"], "bias": True},
        "attention": {"type": f"{NN}attending:Full", "bias": old["attention_bias"]},
        "feedforward": {"type": f"{NN}feedforward:Plain", "activation": old["activation"], "bias": True},
        "share": old["share"],
        "memory": memory,
        "topology": {"type": f"{NN}transformer:OneStack"},
    }


def _embeddings(old: dict[str, Any], where: str) -> dict[str, Any]:
    """One of three parts.  InputError for what stands between them."""
    summed = {"type": f"{NN}embeddings:Summed", "segments": old["segments"], "width": old["embedding"]}
    summed["norm"] = old["embedding_norm"]
    bare = {"segments": 0, "embedding": None, "embedding_norm": False}
    asked = {name: old[name] for name in (*bare, "adaptive", "scaled", "asking")}
    if isinstance(old["adaptive"], dict) and asked == {
        **bare,
        "adaptive": old["adaptive"],
        "scaled": True,
        "asking": False,
    }:
        return old["adaptive"]
    if asked == {**bare, "adaptive": None, "scaled": False, "asking": True}:
        return {"type": f"{NN}embeddings:Asking"}
    if (old["adaptive"], old["scaled"], old["asking"]) == (None, False, False):
        return summed
    said = ", ".join(f"{name} {value}" for name, value in asked.items())
    raise InputError(
        f"{where}: format 1 with {said}: no embeddings are these together; the version that wrote it opens it"
    )
