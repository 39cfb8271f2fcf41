"""bertsmith.json and tokenizer.json: all that a process without torch needs beside the graphs."""

from __future__ import annotations

import json
from typing import Any

from tokenizers import Tokenizer as Backend

from bertsmith import __version__
from bertsmith.deploy.export import sentinels_of
from bertsmith.deploy.hf_tokenizer import hf_tokenizer
from bertsmith.deploy.hf_writing import room_of
from bertsmith.deploy.onnx.graphs import Graph, Pool
from bertsmith.deploy.onnx.runtime import OPSET
from bertsmith.downstream.model import Loaded

ABOUT, TOKENIZER = "bertsmith.json", "tokenizer.json"
ROLES = ("pad", "unk", "cls", "sep", "mask")


def about(loaded: Loaded, graphs: list[Graph], pool: Pool | None, int8: bool) -> bytes:
    """What bertsmith.json says: inputs and outputs, classes, ids, how texts are put together, and what is left to whoever asks."""
    labels, reading, task = loaded.labels, loaded.reading(), loaded.task or {}
    vocab = loaded.vocab
    said: dict[str, Any] = {
        "created_by": f"bertsmith {__version__}",
        "model": loaded.recipe.name,
        "kind": kind_of(loaded, pool),
        "opset": OPSET,
        "graphs": {
            graph.name: {
                "files": [f"{graph.name}.onnx", *([f"{graph.name}.int8.onnx"] if int8 else [])],
                "inputs": list(graph.inputs),
                "outputs": list(graph.outputs),
            }
            for graph in graphs
        },
        "max_length": loaded.length(),
        "tokens": {role: {"id": getattr(vocab, role), "token": loaded.tokenizer.roles[role]} for role in ROLES},
        "vocab": vocab.size,
        "text": [loaded.tokenizer.roles[role] for role in reading.roles[0]]
        + ["A"]
        + [loaded.tokenizer.roles[role] for role in reading.roles[2]],
        "between_pairs": [loaded.tokenizer.roles[role] for role in reading.roles[1]],
        "long_texts": "tokenizer.json cuts them at max_length tokens; predict reads windows where its task does",
    }
    if loaded.task is not None and pool is None:
        said["labels"] = list(labels.names)
        more = {"threshold": labels.threshold, "thresholds": list(labels.thresholds), "no_answer": labels.nulls}
        said |= {name: value for name, value in more.items() if value}
        if reading.orders == "both":
            said["orders"] = "pairs are read in both orders, and the logits of the two are added"
        chain = next((part for part in loaded.member.objective.modules() if hasattr(part, "moves")), None)
        if chain is not None:
            names = ("between", "begin", "end")
            said["crf"] = dict(zip(names, (x.tolist() for x in chain.moves()), strict=True))
        if task.get("kind") == "choice":
            said["choices"] = "a row of logits for each choice; the softmax goes over the choices of a question"
    if pool is not None:
        said["vector"] = {"pool": pool.pool, "normalised": pool.normalise}
        vectors = loaded.vectors
        said["vector"] |= {name: vectors[name] for name in ("lowercase", "prompts", "prompt") if vectors.get(name)}
    if "decoder" in said["graphs"]:
        said["writing"] = {"start": reading.asks(vocab).start, "end": vocab.sep, "limit": _limit(loaded)}
    elif (reading.causal and pool is None and loaded.task is None) or loaded.writing is not None:
        said["writing"] = {"start": None, "end": vocab.sep, "limit": _limit(loaded)}
    if said["kind"] == "fill" and reading.before:
        said["masks"] = f"what stands at a mask is asked {reading.before} places before it"
    return json.dumps(said, indent=2, ensure_ascii=False).encode() + b"\n"


def kind_of(loaded: Loaded, pool: Pool | None) -> str:
    """A kind of task, or "embed", "fill", "write"."""
    if pool is not None:
        return "embed"
    if loaded.task is not None:
        return str(loaded.task["kind"])
    return "write" if loaded.recipe.model.decodes or loaded.reading().causal else "fill"


def _limit(loaded: Loaded) -> int | None:
    return getattr(loaded.writing, "limit", None)


def tokenizer(loaded: Loaded) -> bytes:
    """tokenizer.json, which sets special tokens, cuts and pads: `encode_batch` gives what the graphs read."""
    reading, fills = loaded.reading(room_of(loaded)), "token" in loaded.recipe.objective.weights()
    decodes = bool(loaded.recipe.model.decodes)
    made = hf_tokenizer(loaded.tokenizer, reading, fills=fills, writes=decodes, names=sentinels_of(loaded))
    backend = Backend.from_str(made[TOKENIZER].decode())
    backend.enable_truncation(reading.length)
    backend.enable_padding(pad_id=loaded.vocab.pad, pad_token=loaded.tokenizer.roles["pad"])
    return backend.to_str(pretty=True).encode() + b"\n"
