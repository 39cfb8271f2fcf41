"""The files of sentence-transformers beside a model: how its vectors are made of its states.  Its names stand here only."""

from __future__ import annotations

import json
from typing import Any

from bertsmith.errors import InputError

MODULES, LENGTH, POOLING = "modules.json", "sentence_bert_config.json", "1_Pooling/config.json"
NAMES = {MODULES, LENGTH, POOLING.partition("/")[0]}  # what stands in a folder because of them
POOLS = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token"}
_TYPE = "sentence_transformers.models."


def vectors_of(modules: Any, pooling: dict[str, Any]) -> dict[str, Any]:
    """{"pool", "normalise"} for the content of modules.json and of the pooling module's config.json.

    InputError for another chain than states, mean or [CLS], and perhaps length 1.
    """
    kinds = [str(module.get("type")).rpartition(".")[2] for module in modules if isinstance(module, dict)]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise InputError(f"{MODULES}: {' + '.join(kinds)} is not Transformer + Pooling, or these + Normalize")
    asked = [pool for pool, key in POOLS.items() if pooling.get(key) or pooling.get("pooling_mode") == pool]
    others = [key for key, value in pooling.items() if key.startswith("pooling_mode_") and value is True]
    if len(asked) != 1 or len(others) > 1:
        raise InputError(f"{POOLING}: only the mean over the tokens or [CLS] can be taken")
    return {"pool": asked[0], "normalise": kinds[-1] == "Normalize"}


def vector_files(vectors: dict[str, Any], width: int, length: int) -> dict[str, bytes]:
    """{file name: content} that makes sentence-transformers give these vectors."""
    chain = [
        ("", "Transformer"),
        ("1_Pooling", "Pooling"),
        *([("2_Normalize", "Normalize")] if vectors["normalise"] else []),
    ]
    modules = [{"idx": i, "name": str(i), "path": path, "type": _TYPE + kind} for i, (path, kind) in enumerate(chain)]
    pooling = {"word_embedding_dimension": width, **{key: pool == vectors["pool"] for pool, key in POOLS.items()}}
    content = {MODULES: modules, LENGTH: {"max_seq_length": length, "do_lower_case": False}, POOLING: pooling}
    return {name: json.dumps(tree, indent=2).encode() + b"\n" for name, tree in content.items()}
