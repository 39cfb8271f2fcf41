"""Hugging Face's Reformer: its body, tensors and config.json, which the table of hf_families.py takes from here.

Ours to theirs: equal tensors, but that (1) query, key and value of a layer by chunks are one matrix here, (2) tables of a grid's rows and
columns have an axis for the other of the two there.  Their token head holds a bias that nothing reads since version 5: zero on export.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bertsmith.data.batch import Vocab
from bertsmith.deploy.hf_layers import SAME, Tensors, Turned
from bertsmith.deploy.hf_stacks import NUMBERS, whole_number
from bertsmith.errors import InputError, printable
from bertsmith.nn.axial import Axial
from bertsmith.nn.blocks import PreNorm
from bertsmith.nn.chunks import ByLayer, Chunks
from bertsmith.nn.embeddings import Summed
from bertsmith.nn.feedforward import Chunked, Plain
from bertsmith.nn.hashed import Hashed
from bertsmith.nn.norms import LayerNorm
from bertsmith.nn.positions import Learned
from bertsmith.nn.reversible import Reversible
from bertsmith.nn.transformer import TransformerConfig

REFORMER_KEYS = {
    "vocab": "vocab_size",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "hidden": "feed_forward_size",
    "activation": "hidden_act",
    "dropout": "hidden_dropout_prob",
    "eps": "layer_norm_eps",
}
REFORMER_CHUNKS = ("lsh_attn_chunk_length", "local_attn_chunk_length")
REFORMER_ONLY = {"lsh_num_chunks_before": 1, "lsh_num_chunks_after": 0}
KINDS: dict[str, type] = {"lsh": Hashed, "local": Chunks}

_AT = "encoder.layers.#"
REFORMER_MODULES = (("norm", "encoder.layer_norm"),)
REFORMER_LAYER = (
    ("layers.#.attention_norm", f"{_AT}.attention.layer_norm"),
    ("layers.#.feedforward_norm", f"{_AT}.feed_forward.layer_norm"),
    ("layers.#.feedforward.up", f"{_AT}.feed_forward.dense.dense"),
    ("layers.#.feedforward.down", f"{_AT}.feed_forward.output.dense"),
)
REFORMER_TENSORS: Tensors = (("layers.#.attention.out.weight", (f"{_AT}.attention.output.dense.weight",), SAME),)
_SELF = f"{_AT}.attention.self_attention"
_PLACES = "embeddings.position_embeddings"
# Of one kind of layer or another, and of a grid or a line of places; what was read is no other's.
REFORMER_EITHER: Tensors = (
    ("layers.#.attention.qkv.weight", tuple(f"{_SELF}.{x}.weight" for x in ("query", "key", "value")), SAME),
    ("layers.#.attention.qk.weight", (f"{_SELF}.query_key.weight",), SAME),
    ("layers.#.attention.v.weight", (f"{_SELF}.value.weight",), SAME),
    ("positions.rows.weight", (f"{_PLACES}.weights.0",), Turned(lambda x, heads: x[:, None], lambda x: x[:, 0])),
    ("positions.columns.weight", (f"{_PLACES}.weights.1",), Turned(lambda x, heads: x[None], lambda x: x[0])),
    ("positions.table.weight", (f"{_PLACES}.embedding.weight",), SAME),
)


def reformer_body(values: dict[str, Any]) -> TransformerConfig:
    """InputError for parts that it has not."""
    for wrong in _wrong(values["attends"], values["places"], values["thinks"]):
        raise InputError(wrong)
    return TransformerConfig(
        **{name: values[name] for name in NUMBERS},
        embeddings=Summed(segments=0, norm=False),
        positions=values["places"],
        block=PreNorm(),
        norm=LayerNorm(eps=values["eps"]),
        attention=values["attends"],
        feedforward=values["thinks"],
        topology=Reversible(ends="concatenated"),
    )


def reformer_apart(model: TransformerConfig) -> str | None:
    """Why transformers' Reformer cannot be `model`, where that has layers that are undone."""
    if not isinstance(model.topology, Reversible):
        return None
    wrong = [] if model.topology.ends == "concatenated" else ["model.topology.ends=concatenated"]
    wrong += _wrong(model.attention, model.positions, model.feedforward)
    if model.segments or model.embeddings.norm or model.embeddings.width:
        wrong.append("embeddings without segments, norm and width of their own")
    if model.share != "none":
        wrong.append("model.share=none")
    return f"model: transformers' Reformer is one with {', '.join(wrong)}; train one that is" if wrong else None


def _wrong(attends: Any, places: Any, thinks: Any) -> list[str]:
    """What their class has in place of such parts."""
    parts, found = _parts(attends), []
    for part in parts:
        if type(part) not in KINDS.values():
            return ["attention Hashed or Chunks, or of each layer (ByLayer) one of them"]
        found += [] if part.wraps else ["model.attention.wraps=true"]
        found += [] if not part.bias else ["model.attention.bias=false"]
        found += [] if getattr(part, "repeats", True) else ["model.attention.repeats=true"]
    for name, kind in KINDS.items():
        if len({part for part in parts if type(part) is kind}) > 1:
            found.append(f"{name} layers that are all alike")
    if type(places) not in (Axial, Learned):
        found.append("positions Axial or Learned")
    if type(thinks) not in (Plain, Chunked) or not thinks.bias:
        found.append("feed-forward parts with biases and no gates")
    return list(dict.fromkeys(found))


def _parts(attends: Any) -> tuple[Any, ...]:
    return attends.parts if isinstance(attends, ByLayer) else (attends,)


def _of_layers(model: TransformerConfig) -> Iterator[Any]:
    attends = model.attention
    for layer in range(model.layers):
        yield attends.of_layer(layer) if isinstance(attends, ByLayer) else attends


def reformer_says(recipe: Any, vocab: Vocab | None) -> dict[str, Any]:
    """config.json of a Reformer besides the numbers of `REFORMER_KEYS`.  InputError for a token head that it has not."""
    model = recipe.model
    _check_head(recipe.objective)
    of_layers = list(_of_layers(model))
    hashed = next((part for part in of_layers if isinstance(part, Hashed)), Hashed())
    local = next((part for part in of_layers if isinstance(part, Chunks)), Chunks(chunk=hashed.chunk))
    grid, buckets = model.positions, hashed.buckets
    axial = isinstance(grid, Axial)
    return {
        "attn_layers": ["lsh" if isinstance(part, Hashed) else "local" for part in of_layers],
        "num_hidden_layers": model.layers,
        "attention_head_size": of_layers[0].inner(model) // model.heads,
        "num_hashes": hashed.rounds,
        "num_buckets": None if not buckets else buckets[0] if len(buckets) == 1 else list(buckets),
        "hash_seed": None,
        "lsh_attn_chunk_length": hashed.chunk,
        "lsh_attention_probs_dropout_prob": model.dropout,
        **REFORMER_ONLY,
        "local_attn_chunk_length": local.chunk,
        "local_num_chunks_before": local.before,
        "local_num_chunks_after": local.after,
        "local_attention_probs_dropout_prob": model.dropout,
        "axial_pos_embds": axial,
        **(
            {"axial_pos_shape": [grid.rows, grid.columns], "axial_pos_embds_dim": [*grid.widths(model)]}
            if axial
            else {}
        ),
        "max_position_embeddings": model.longest,
        "chunk_size_feed_forward": 0,  # theirs must divide a text; what is computed is the same
        "is_decoder": False,
        "use_cache": False,
        "tie_word_embeddings": False,
        **({} if vocab is None else {"bos_token_id": vocab.cls, "eos_token_id": vocab.sep}),
    }


def _check_head(objective: Any) -> None:
    heads = getattr(objective, "heads", ())
    for number, head in enumerate(heads):
        wanted = {"transform": False, "tied": False, "bias": False, "scaled": False}
        wrong = [f"objective.heads.{number}.{key}=false" for key in wanted if getattr(head, key, False)]
        if head.name == "token" and wrong:
            raise InputError(
                f"objective.{head.name}: transformers' Reformer has one matrix of its own over both sums and nothing else; train with "
                f"{', '.join(wrong)}"
            )


def reformer_means(config: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """What its body is made of besides the numbers of `REFORMER_KEYS`."""
    kinds = config.get("attn_layers", ["local", "lsh"] * 3)
    if not isinstance(kinds, list) or not kinds or not all(isinstance(kind, str) and kind in KINDS for kind in kinds):
        raise InputError(
            f"config.json: attn_layers: {printable(repr(kinds), 60)}: a list of {' and '.join(KINDS)} is wanted"
        )
    if config.get("num_hidden_layers") not in (None, len(kinds)):
        raise InputError(
            f"config.json: num_hidden_layers: {printable(repr(config['num_hidden_layers']), 60)}, but attn_layers are {len(kinds)}"
        )
    chunks = {key: whole_number(config, key, 64) for key in REFORMER_CHUNKS}
    head = whole_number(config, "attention_head_size", 64)
    head_of = {"bias": False, "head": None if head * values["heads"] == values["width"] else head}
    parts = {
        "lsh": Hashed(
            **head_of,
            chunk=chunks["lsh_attn_chunk_length"],
            rounds=whole_number(config, "num_hashes", 1),
            buckets=_buckets(config),
            wraps=True,
            repeats=True,
        ),
        "local": Chunks(
            **head_of,
            chunk=chunks["local_attn_chunk_length"],
            before=whole_number(config, "local_num_chunks_before", 1, least=0),
            after=whole_number(config, "local_num_chunks_after", 0, least=0),
            wraps=True,
        ),
    }
    rows = whole_number(config, "chunk_size_feed_forward", 0, least=0)
    thinks = {"activation": values["activation"]}
    return {
        "layers": len(kinds),
        "attends": parts[kinds[0]] if len({*kinds}) == 1 else ByLayer(parts=tuple(parts[kind] for kind in kinds)),
        "places": _places(config, values["width"]),
        "thinks": Chunked(**thinks, rows=rows) if rows else Plain(**thinks),
    }


def _buckets(config: dict[str, Any]) -> tuple[int, ...]:
    said = config.get("num_buckets")
    found = () if said is None else tuple(said) if isinstance(said, list) else (said,)
    if not all(type(each) is int and each > 0 and each % 2 == 0 for each in found):
        raise InputError(f"config.json: num_buckets: {printable(repr(said), 60)}: even numbers above 0 can be read")
    return found


def _places(config: dict[str, Any], width: int) -> Axial | Learned:
    length = whole_number(config, "max_position_embeddings", 4096)
    if config.get("axial_pos_embds", True) is False:
        return Learned(length=length)
    shape, widths = config.get("axial_pos_shape", [64, 64]), config.get("axial_pos_embds_dim", [64, 192])
    for name, found in (("axial_pos_shape", shape), ("axial_pos_embds_dim", widths)):
        if not isinstance(found, list) or len(found) != 2 or not all(type(x) is int and x > 0 for x in found):
            raise InputError(
                f"config.json: {name}: {printable(repr(found), 60)}: two whole numbers above 0 can be read"
            )
    if sum(widths) != width or shape[0] * shape[1] != length:
        raise InputError(
            f"config.json: axial_pos_shape {shape}, axial_pos_embds_dim {widths}: a grid of {length} places and {width} numbers is wanted"
        )
    return Axial(rows=shape[0], columns=shape[1], width=None if widths[0] == max(1, width // 4) else widths[0])
