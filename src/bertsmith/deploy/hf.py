"""Hugging Face names: one table for each family, read in both directions.  The only file that knows them.

Ours to theirs: equal tensors, but that (1) query, key and value are one matrix here, rows in this order, and three there; (2) RoBERTa's position
table has `pad + 1` rows in front that no token reads, zero on export; (3) RoBERTa's one segment row, which every token gets, is added to
every row of our position table on import and is zero on export, so that the function is the same and the tensor need not be.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bertsmith.data.batch import Vocab
from bertsmith.errors import InputError, nearest, printable
from bertsmith.nn.positions import Learned
from bertsmith.nn.transformer import TransformerConfig

# Modules with `.weight` and `.bias` on both sides; # is the layer; three names on the right are ours cut in three.
LAYER = (
    ("layers.#.attention.qkv", *(f"encoder.layer.#.attention.self.{x}" for x in ("query", "key", "value"))),
    ("layers.#.attention.out", "encoder.layer.#.attention.output.dense"),
    ("layers.#.attention_norm", "encoder.layer.#.attention.output.LayerNorm"),
    ("layers.#.feedforward.up", "encoder.layer.#.intermediate.dense"),
    ("layers.#.feedforward.down", "encoder.layer.#.output.dense"),
    ("layers.#.feedforward_norm", "encoder.layer.#.output.LayerNorm"),
)
TOKENS = "embeddings.word_embeddings.weight"
POSITIONS = "embeddings.position_embeddings.weight"
SEGMENTS = "embeddings.token_type_embeddings.weight"


@dataclass(frozen=True, kw_only=True)
class Family:
    """`heads`: per term, our module or parameter below `objective.<term>.` and theirs; a head is there when all of its names are."""

    model_type: str
    folded: bool  # positions offset by pad + 1 and the single segment row folded into them
    heads: dict[str, tuple[tuple[str, str], ...]]
    tied: dict[str, str]  # copies that their state dicts may hold, and of what
    architectures: dict[tuple[str, ...], str]  # by our terms
    pad: int  # of the published vocabularies


FAMILIES = {
    "bert": Family(
        model_type="bert",
        folded=False,
        heads={
            "token": (
                ("dense", "cls.predictions.transform.dense"),
                ("norm", "cls.predictions.transform.LayerNorm"),
                ("=bias", "cls.predictions.bias"),
            ),
            "pair": (("pooler.dense", "bert.pooler.dense"), ("out", "cls.seq_relationship")),
            "label": (("pooler.dense", "bert.pooler.dense"), ("out", "classifier")),
        },
        tied={
            "cls.predictions.decoder.weight": f"bert.{TOKENS}",
            "cls.predictions.decoder.bias": "cls.predictions.bias",
        },
        architectures={
            ("token", "pair"): "BertForPreTraining",
            ("token",): "BertForMaskedLM",
            ("label",): "BertForSequenceClassification",
        },
        pad=0,
    ),
    "roberta": Family(
        model_type="roberta",
        folded=True,
        heads={
            "token": (("dense", "lm_head.dense"), ("norm", "lm_head.layer_norm"), ("=bias", "lm_head.bias")),
            "label": (("pooler.dense", "classifier.dense"), ("out", "classifier.out_proj")),
        },
        tied={"lm_head.decoder.weight": f"roberta.{TOKENS}", "lm_head.decoder.bias": "lm_head.bias"},
        architectures={("token",): "RobertaForMaskedLM", ("label",): "RobertaForSequenceClassification"},
        pad=1,
    ),
}
ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_new"}


def family_of(model: TransformerConfig) -> Family:
    """BERT has segments, RoBERTa has none.  Raises InputError for a model that neither can hold."""
    if model.embedding is not None:
        raise InputError(f"model.embedding: {model.embedding}: bert and roberta have no factorised token table")
    return FAMILIES["bert" if model.segments else "roberta"]


def to_hf(state: dict[str, Tensor], recipe: Any, pad: int | None = None) -> dict[str, Tensor]:
    """A member's state dict under their names, tied copies left out as in their files.

    `pad`: the tokenizer's pad id, from which RoBERTa counts its positions (None: the published one).
    Raises InputError for a tensor that the family has no name for.
    """
    family = family_of(recipe.model)
    left, theirs = dict(state), {}
    for term in _terms(state):
        if term not in family.heads:
            raise InputError(
                f"objective.{term}: {family.model_type} has no head for it; it has {', '.join(family.heads)}"
            )
    for ours, names in _pairs(family, recipe.model.layers, _terms(state)):
        tensor = _take(left, ours)
        del left[ours]
        theirs |= zip(names, tensor.chunk(len(names)), strict=True)
    places = left.pop("model.positions.table.weight")
    if family.folded:
        unread = places.new_zeros(_offset(family, pad), places.shape[1])
        segments, places = places.new_zeros(1, places.shape[1]), torch.cat([unread, places])
    else:
        segments = left.pop("model.embeddings.segments.weight")
    if left:
        raise InputError(f"{next(iter(left))}: {family.model_type} has no name for it")
    theirs |= {f"{family.model_type}.{POSITIONS}": places, f"{family.model_type}.{SEGMENTS}": segments}
    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in theirs.items()}


def from_hf(state: dict[str, Tensor], family: str, pad: int | None = None) -> dict[str, Tensor]:
    """Their state dict under our names.  Raises InputError for missing and unknown tensors, and for a decoder that is not tied."""
    if family not in FAMILIES:
        raise InputError(f"model_type {printable(family)!r} cannot be read; {nearest(family, FAMILIES)}")
    table, left, ours = FAMILIES[family], dict(state), {}
    for copy, of in table.tied.items():
        tensor = left.pop(copy, None)
        if tensor is not None and not (of in left and torch.equal(tensor, left[of])):
            raise InputError(f"{copy}: differs from {of}; only decoders tied to the token table can be read")
    left.pop(f"{family}.embeddings.position_ids", None)  # a buffer that old files hold
    numbers = [
        int(name.split(".")[3])
        for name in left
        if name.startswith(f"{family}.encoder.layer.") and name.split(".")[3].isdigit()
    ]
    terms = [term for term, names in table.heads.items() if all(their in left for _, their in _spell(term, names))]
    read = set()
    for mine, names in _pairs(table, max(numbers, default=-1) + 1, terms):
        ours[mine] = torch.cat([_take(left, name) for name in names])
        read.update(names)
    places, segments = _take(left, f"{family}.{POSITIONS}"), _take(left, f"{family}.{SEGMENTS}")
    if table.folded:
        if len(segments) != 1:
            raise InputError(f"{family}.{SEGMENTS}: {len(segments)} segments; {family} has 1")
        ours["model.positions.table.weight"] = places[_offset(table, pad) :] + segments
    else:
        ours |= {"model.positions.table.weight": places.clone(), "model.embeddings.segments.weight": segments.clone()}
    unknown = [name for name in left if name not in read | {f"{family}.{POSITIONS}", f"{family}.{SEGMENTS}"}]
    if unknown:
        raise InputError(
            f"{printable(unknown[0])}: not a tensor of a {family} that bertsmith knows ({len(unknown)} such)"
        )
    return ours


def hf_config(recipe: Any, vocab: Vocab | None = None) -> dict[str, Any]:
    """The content of their config.json; the special ids come from `vocab`, where it is given."""
    model, family = recipe.model, family_of(recipe.model)
    terms = tuple(recipe.objective.weights())
    if terms not in family.architectures:
        raise InputError(f"objective: {family.model_type} has no architecture with the terms {', '.join(terms)}")
    pad = vocab.pad if vocab else family.pad
    config = {
        "model_type": family.model_type,
        "architectures": [family.architectures[terms]],
        "vocab_size": model.vocab,
        "hidden_size": model.width,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "intermediate_size": model.hidden,
        "hidden_act": ACTIVATIONS[model.activation],
        "hidden_dropout_prob": model.dropout,
        "attention_probs_dropout_prob": model.dropout,
        "max_position_embeddings": model.longest + (_offset(family, pad) if family.folded else 0),
        "type_vocab_size": model.segments or 1,
        "layer_norm_eps": model.eps,
        "initializer_range": 0.02,
        "pad_token_id": pad,
        "tie_word_embeddings": True,
    }
    if vocab is not None:
        config |= {
            "cls_token_id": vocab.cls,
            "sep_token_id": vocab.sep,
            "bos_token_id": vocab.cls,
            "eos_token_id": vocab.sep,
        }
    if terms == ("label",):
        outputs = getattr(recipe.objective, "classes", 1)
        config |= {
            "num_labels": outputs,
            "problem_type": "regression" if outputs == 1 else "single_label_classification",
        }
        config["classifier_dropout"] = recipe.objective.dropout
    return config


def model_config(config: dict[str, Any]) -> TransformerConfig:
    """Our model for the content of their config.json.  Raises InputError for what our encoder does not do."""
    name = config.get("model_type")
    if name not in FAMILIES:
        raise InputError(f"model_type {printable(name)!r} cannot be read; known: {', '.join(FAMILIES)}")
    family, activations = FAMILIES[name], {**{v: k for k, v in ACTIVATIONS.items()}, "gelu_pytorch_tanh": "gelu_tanh"}
    asked = config.get("hidden_act", "gelu")
    if (
        asked not in activations
        or config.get("is_decoder")
        or config.get("position_embedding_type", "absolute") != "absolute"
    ):
        raise InputError(
            f"{name} with hidden_act {printable(asked)!r}: only encoders with GELU and absolute positions can be read"
        )
    try:
        return TransformerConfig(
            vocab=config["vocab_size"],
            layers=config["num_hidden_layers"],
            width=config["hidden_size"],
            heads=config["num_attention_heads"],
            hidden=config["intermediate_size"],
            segments=0 if family.folded else config["type_vocab_size"],
            positions=Learned(
                length=config["max_position_embeddings"]
                - (_offset(family, config.get("pad_token_id")) if family.folded else 0)
            ),
            activation=activations[asked],
            dropout=config.get("hidden_dropout_prob", 0.1),
            eps=config.get("layer_norm_eps", 1e-12),
        )
    except KeyError as error:
        raise InputError(f"config.json: {error.args[0]} is missing") from None


def _pairs(family: Family, layers: int, terms: list[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(our tensor, their tensors that make it up), segments and positions aside."""
    prefix = family.model_type
    yield "model.embeddings.tokens.weight", (f"{prefix}.{TOKENS}",)
    modules = [("embeddings.norm", "embeddings.LayerNorm")]
    modules += [tuple(name.replace("#", str(layer)) for name in row) for layer in range(layers) for row in LAYER]
    for ours, *theirs in modules:
        for end in ("weight", "bias"):
            yield f"model.{ours}.{end}", tuple(f"{prefix}.{name}.{end}" for name in theirs)
    for term in terms:
        for ours, theirs in _spell(term, family.heads[term]):
            yield ours, (theirs,)


def _spell(term: str, names: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    """The tensors of a head: `=name` is a tensor itself, any other name a module."""
    spelled = []
    for ours, theirs in names:
        ends = [""] if ours.startswith("=") else [".weight", ".bias"]
        spelled += [(f"objective.{term}.{ours.lstrip('=')}{end}", theirs + end) for end in ends]
    return spelled


def _terms(state: dict[str, Tensor]) -> list[str]:
    return sorted({name.split(".")[1] for name in state if name.startswith("objective.")})


def _take(state: dict[str, Tensor], name: str) -> Tensor:
    if name not in state:
        raise InputError(f"{name}: missing")
    return state[name]


def _offset(family: Family, pad: int | None) -> int:
    return (family.pad if pad is None else pad) + 1
