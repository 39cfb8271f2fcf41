"""Hugging Face names: one table for each family, read in both directions.  Only this file and hf_config.py know them.

Ours to theirs: equal tensors, but that (1) query, key and value are one matrix here, rows in this order, and three there; (2) RoBERTa's position
table has `pad + 1` rows in front that no token reads, zero on export; (3) RoBERTa's one segment row, which every token gets, is added to
every row of our position table on import and is zero on export, so that the function is the same and the tensor need not be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bertsmith.errors import InputError, nearest, printable
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
TOKENS = "embeddings.word_embeddings.weight"
POSITIONS = "embeddings.position_embeddings.weight"
SEGMENTS = "embeddings.token_type_embeddings.weight"
# What files of older versions hold: other names for the same tensors, and buffers that are no weights.
OLD = {".LayerNorm.gamma": ".LayerNorm.weight", ".LayerNorm.beta": ".LayerNorm.bias"}
BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")
PARTS = (
    "embeddings.",
    "embeddings_project.",
    "encoder.",
    "pooler.",
)  # a model without heads stands in its file without the family's prefix


# Heads over the tokens: every family has them alike.
OVER_TOKENS = {"tag": (("out", "classifier"),), "span": (("out", "qa_outputs"),)}


@dataclass(frozen=True, kw_only=True)
class Family:
    """`heads`: per term, our module or parameter below `objective.<term>.` and theirs; a head is there when all of its names are.

    `members`: where the shapes are another family's, too, those that belong here by name; a folder becomes the first of them.
    """

    model_type: str
    members: tuple[str, ...] = ()
    folded: bool = False  # positions offset by pad + 1 and the single segment row folded into them
    layer: tuple[tuple[str, ...], ...] = LAYER
    project: str | None = None  # between a factorised token table and the layers; None: there is none
    factorised: tuple[bool, ...] = (False,)  # whether the token table may be
    share: tuple[str, ...] = ("none",)  # what its layers may have in common
    pooler: str = "tanh"  # of its classifiers
    bare: dict[str, Any] = field(default_factory=lambda: {"add_pooling_layer": False})  # what opens it without a pooler
    heads: dict[str, tuple[tuple[str, str], ...]]
    tied: dict[str, str]  # copies that their state dicts may hold, and of what
    architectures: dict[tuple[str, ...], str]  # by our terms, in the order of `heads`
    pad: int  # of the published vocabularies


def _like_bert(model_type: str, name: str, members: tuple[str, ...] = ()) -> Family:
    """BERT's tensors and classes under a family's own names."""
    pooler = ("pooler.dense", f"{model_type}.pooler.dense")
    return Family(
        model_type=model_type,
        members=members,
        heads={
            "token": (
                ("dense", "cls.predictions.transform.dense"),
                ("norm", "cls.predictions.transform.LayerNorm"),
                ("=bias", "cls.predictions.bias"),
            ),
            "pair": (pooler, ("out", "cls.seq_relationship")),
            "summary": (pooler,),
            "label": (pooler, ("out", "classifier")),
            **OVER_TOKENS,
        },
        tied={
            "cls.predictions.decoder.weight": f"{model_type}.{TOKENS}",
            "cls.predictions.decoder.bias": "cls.predictions.bias",
        },
        architectures={
            ("token", "pair"): f"{name}ForPreTraining",
            ("token",): f"{name}ForMaskedLM",
            ("token", "summary"): f"{name}ForMaskedLM",
            ("pair",): f"{name}ForNextSentencePrediction",
            ("label",): f"{name}ForSequenceClassification",
            ("tag",): f"{name}ForTokenClassification",
            ("span",): f"{name}ForQuestionAnswering",
            ("summary",): f"{name}Model",
            (): f"{name}Model",
        },
        pad=0,
    )


FAMILIES = {
    "bert": _like_bert("bert", "Bert"),
    "roberta": Family(
        model_type="roberta",
        folded=True,
        heads={
            "token": (("dense", "lm_head.dense"), ("norm", "lm_head.layer_norm"), ("=bias", "lm_head.bias")),
            "summary": (("pooler.dense", "roberta.pooler.dense"),),
            "label": (("pooler.dense", "classifier.dense"), ("out", "classifier.out_proj")),
            **OVER_TOKENS,
        },
        tied={"lm_head.decoder.weight": f"roberta.{TOKENS}", "lm_head.decoder.bias": "lm_head.bias"},
        architectures={
            ("token",): "RobertaForMaskedLM",
            ("token", "summary"): "RobertaForMaskedLM",
            ("label",): "RobertaForSequenceClassification",
            ("tag",): "RobertaForTokenClassification",
            ("span",): "RobertaForQuestionAnswering",
            ("summary",): "RobertaModel",
            (): "RobertaModel",
        },
        pad=1,
    ),
    "albert": Family(
        model_type="albert",
        layer=ALBERT_LAYER,
        project="encoder.embedding_hidden_mapping_in",
        factorised=(True,),
        share=("all", "none"),
        heads={
            "token": (("dense", "predictions.dense"), ("norm", "predictions.LayerNorm"), ("=bias", "predictions.bias")),
            "pair": (("pooler.dense", "albert.pooler"), ("out", "sop_classifier.classifier")),
            "summary": (("pooler.dense", "albert.pooler"),),
            "label": (("pooler.dense", "albert.pooler"), ("out", "classifier")),
            **OVER_TOKENS,
        },
        tied={"predictions.decoder.weight": f"albert.{TOKENS}", "predictions.decoder.bias": "predictions.bias"},
        architectures={
            ("token", "pair"): "AlbertForPreTraining",
            ("token",): "AlbertForMaskedLM",
            ("token", "summary"): "AlbertForMaskedLM",
            ("label",): "AlbertForSequenceClassification",
            ("tag",): "AlbertForTokenClassification",
            ("span",): "AlbertForQuestionAnswering",
            ("summary",): "AlbertModel",
            (): "AlbertModel",
        },
        pad=0,
    ),
    # Its classifier is that of transformers; the released code has no layer between [CLS] and the classes.
    "electra": Family(
        model_type="electra",
        project="embeddings_project",
        factorised=(True, False),
        pooler="gelu",
        bare={},
        heads={
            "token": (
                ("dense", "generator_predictions.dense"),
                ("norm", "generator_predictions.LayerNorm"),
                ("=bias", "generator_lm_head.bias"),
            ),
            "replaced": (
                ("dense", "discriminator_predictions.dense"),
                ("out", "discriminator_predictions.dense_prediction"),
            ),
            "label": (("pooler.dense", "classifier.dense"), ("out", "classifier.out_proj")),
            **OVER_TOKENS,
        },
        tied={"generator_lm_head.weight": f"electra.{TOKENS}"},
        architectures={
            ("token",): "ElectraForMaskedLM",
            ("replaced",): "ElectraForPreTraining",
            ("label",): "ElectraForSequenceClassification",
            ("tag",): "ElectraForTokenClassification",
            ("span",): "ElectraForQuestionAnswering",
            (): "ElectraModel",
        },
        pad=0,
    ),
    # Without task types, which the first ERNIE has not, it is a BERT.
    "ernie": _like_bert("ernie", "Ernie", members=("ernie1", "ernie1-dialogue")),
}
LABEL_OUTPUTS = tuple(
    f"{module}.{end}" for module in ("classifier", "classifier.out_proj") for end in ("weight", "bias")
)
# The classes that open a folder with these terms, and what each of them answers.
OPENED_BY = {
    ("token", "pair"): ("AutoModelForPreTraining", "AutoModelForMaskedLM", "AutoModel"),
    ("token",): ("AutoModelForMaskedLM", "AutoModel"),
    ("token", "summary"): ("AutoModelForMaskedLM", "AutoModel"),
    ("pair",): ("AutoModelForNextSentencePrediction", "AutoModel"),
    ("replaced",): ("AutoModelForPreTraining", "AutoModel"),
    ("label",): ("AutoModelForSequenceClassification",),
    ("tag",): ("AutoModelForTokenClassification",),
    ("span",): ("AutoModelForQuestionAnswering",),
    ("summary",): ("AutoModel",),
    (): ("AutoModel",),
}
PAIR_LOGITS = ("seq_relationship_logits", "sop_logits")
ANSWERS: dict[str, dict[str, str | tuple[str, ...]]] = {  # the first of several that is there
    "AutoModelForPreTraining": {"token": "prediction_logits", "pair": PAIR_LOGITS, "replaced": "logits"},
    "AutoModelForMaskedLM": {"token": "logits"},
    "AutoModelForNextSentencePrediction": {"pair": "logits"},
    "AutoModelForSequenceClassification": {"label": "logits"},
    "AutoModelForTokenClassification": {"tag": "logits"},
    "AutoModelForQuestionAnswering": {"start": "start_logits", "end": "end_logits"},
    "AutoModel": {"hidden": "last_hidden_state", "summary": "pooler_output"},
}


def family_of(recipe: Any) -> Family:
    """By the shapes of `recipe.model` and the summary that `recipe.objective` reads; families of the same shapes by the recipe's name.

    InputError for a model that no family can hold.
    """
    model, pooler = recipe.model, getattr(recipe.objective, "pooler", "tanh")
    if not isinstance(model, TransformerConfig):
        raise InputError(f"model: a {type(model).__name__} is neither of {', '.join(FAMILIES)}")
    fitting = [family for family in FAMILIES.values() if _fits(family, model, pooler)]
    if fitting:
        named = getattr(recipe, "name", None)
        return next((family for family in fitting if named in family.members), fitting[0])
    said = f"share {model.share}, embedding {model.embedding}, {model.segments} segments, {pooler} summary"
    raise InputError(f"model: {said}: transformers has no class for these together, among {', '.join(FAMILIES)}")


def _fits(family: Family, model: TransformerConfig, pooler: str) -> bool:
    fits = model.share in family.share and (model.embedding is not None) in family.factorised
    # Where the table need not be factorised, one of full width has no projection.
    fits = fits and not (False in family.factorised and model.embedding == model.width)
    return fits and bool(model.segments) != family.folded and pooler == family.pooler


def to_hf(state: dict[str, Tensor], recipe: Any, pad: int | None = None) -> dict[str, Tensor]:
    """A member's state dict under their names, tied copies left out as in their files.

    `pad`: the tokenizer's pad id, from which RoBERTa counts its positions (None: the published one).
    Raises InputError for a tensor that the family has no name for.
    """
    family = family_of(recipe)
    left, theirs = dict(state), {}
    for term in _terms(state):
        if term not in family.heads:
            raise InputError(
                f"objective.{term}: {family.model_type} has no head for it; it has {', '.join(family.heads)}"
            )
    for ours, names in _pairs(family, groups(recipe.model), recipe.model.embedding is not None, _terms(state)):
        tensor = _take(left, ours)
        del left[ours]
        theirs |= zip(names, tensor.chunk(len(names)), strict=True)
    places = left.pop("model.positions.table.weight")
    if family.folded:
        unread = places.new_zeros(offset(family, pad), places.shape[1])
        segments, places = places.new_zeros(1, places.shape[1]), torch.cat([unread, places])
    else:
        segments = left.pop("model.embeddings.segments.weight")
    if left:
        raise InputError(f"{next(iter(left))}: {family.model_type} has no name for it")
    theirs |= {f"{family.model_type}.{POSITIONS}": places, f"{family.model_type}.{SEGMENTS}": segments}
    if not set(_terms(state)) - {"summary"}:
        theirs = {name.removeprefix(f"{family.model_type}."): tensor for name, tensor in theirs.items()}
    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in theirs.items()}


def groups(model: TransformerConfig) -> int:
    """Layers with weights of their own."""
    return 1 if model.share == "all" else model.layers


def current(state: dict[str, Tensor], family: str) -> dict[str, Tensor]:
    """Their tensors under the names of today, with the family's prefix, without buffers and tied copies.

    InputError for a family that is not known, for two names of one tensor, and for a decoder that is not tied to the token table.
    """
    if family not in FAMILIES:
        raise InputError(f"model_type {printable(family)!r} cannot be read; {nearest(family, FAMILIES)}")
    table, found = FAMILIES[family], {}
    for name, tensor in state.items():
        for old, new in OLD.items():
            name = name.removesuffix(old) + new if name.endswith(old) else name
        name = f"{family}.{name}" if name.startswith(PARTS) else name
        if name.removeprefix(f"{family}.") in BUFFERS:
            continue
        if name in found:
            raise InputError(f"{printable(name)}: stands there twice, under an old name and a new one")
        found[name] = tensor
    for copy, of in table.tied.items():
        tensor = found.pop(copy, None)
        if tensor is not None and not _equal(found.setdefault(of, tensor), tensor):
            raise InputError(f"{copy}: differs from {of}; only decoders tied to the token table can be read")
    return found


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


def terms_in(names: Iterable[str], family: str, architecture: str = "") -> tuple[str, ...]:
    """The heads that `current` names belong to, whole or in part; a pooler that no other head uses is a summary.

    The classifiers of texts and of tokens may have one name: `architecture` tells, or else whether there is a pooler.
    """
    heads, names = FAMILIES[family].heads, set(names)
    tensors = {term: {their for _, their in _spell(term, rows)} for term, rows in heads.items()}
    summary = tensors.get("summary", set())
    terms = [term for term in heads if term != "summary" and names & (tensors[term] - summary)]
    if {"label", "tag"} <= {*terms}:
        tokens = architecture.endswith("ForTokenClassification") or not (architecture or names & summary)
        terms.remove("label" if tokens else "tag")
    if not {"tag", "span"} & {*terms} and names & summary and not any(summary <= tensors[term] for term in terms):
        terms.append("summary")
    return tuple(term for term in heads if term in terms)


def from_hf(state: dict[str, Tensor], family: str, pad: int | None = None, architecture: str = "") -> dict[str, Tensor]:
    """Their state dict under our names.  Raises InputError for missing and unknown tensors, and as `current` does."""
    left, ours = current(state, family), {}
    table = FAMILIES[family]
    before = f"{family}.{table.layer[0][1].partition('#')[0]}"
    numbers = [name.removeprefix(before).partition(".")[0] for name in left if name.startswith(before)]
    count = max((int(number) for number in numbers if number.isdecimal()), default=-1) + 1
    factorised = table.project is not None and f"{family}.{table.project}.weight" in left
    read = {f"{family}.{POSITIONS}", f"{family}.{SEGMENTS}"}
    for mine, names in _pairs(table, count, factorised, terms_in(left, family, architecture)):
        ours[mine] = torch.cat([_take(left, name) for name in names])
        read.update(names)
    places, segments = _take(left, f"{family}.{POSITIONS}"), _take(left, f"{family}.{SEGMENTS}")
    if table.folded:
        if len(segments) != 1:
            raise InputError(f"{family}.{SEGMENTS}: {len(segments)} segments; {family} has 1")
        places = places[offset(table, pad) :]
        # Nothing is added to what was exported by us: -0.0 + 0.0 would be another bit pattern.
        ours["model.positions.table.weight"] = places + segments if segments.any() else places.clone()
    else:
        ours |= {"model.positions.table.weight": places.clone(), "model.embeddings.segments.weight": segments.clone()}
    unknown = [name for name in left if name not in read]
    if unknown:
        raise InputError(
            f"{printable(unknown[0])}: not a tensor of a {family} that bertsmith knows ({len(unknown)} such)"
        )
    return ours


def _pairs(
    family: Family, layers: int, factorised: bool, terms: Iterable[str]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(our tensor, their tensors that make it up), segments and positions aside."""
    prefix = family.model_type
    yield "model.embeddings.tokens.weight", (f"{prefix}.{TOKENS}",)
    modules: list[tuple[str, ...]] = [("embeddings.norm", "embeddings.LayerNorm")]
    modules += [("embeddings.project", family.project)] if factorised and family.project else []
    modules += [tuple(name.replace("#", str(layer)) for name in row) for layer in range(layers) for row in family.layer]
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


def offset(family: Family, pad: int | None) -> int:
    return (family.pad if pad is None else pad) + 1
