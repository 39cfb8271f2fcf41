"""Hugging Face's config.json: ours to theirs and theirs to ours.  What is left out there stays what it is by default."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bertsmith.config import checked
from bertsmith.data.batch import Vocab
from bertsmith.deploy.hf import family_of, groups, offset
from bertsmith.deploy.hf_bodies import numbers_of
from bertsmith.deploy.hf_families import ACTIVATIONS, FAMILIES, GONE, OTHERS, Family
from bertsmith.errors import InputError, printable
from bertsmith.nn.embeddings import Summed
from bertsmith.nn.feedforward import Plain
from bertsmith.nn.memory import Recurrence
from bertsmith.nn.norms import LayerNorm
from bertsmith.nn.transformer import TransformerConfig
from bertsmith.objectives.predict import Pair, Predict, Summary, Tokens, Trunk
from bertsmith.objectives.replaced import Detect
from bertsmith.objectives.supervised import Choose, Classify, Regress, Several, Span, Tag
from bertsmith.spelling import an

# Their names of what is computed alike.
READ = {
    **{theirs: ours for ours, theirs in ACTIVATIONS.items()},
    "gelu_python": "gelu",
    **dict.fromkeys(("gelu_fast", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_accurate"), "gelu_tanh"),
}
# Numbers that are fields of a part of our model.
PARTS: dict[str, tuple[type, str]] = {
    "activation": (Plain, "activation"),
    "eps": (LayerNorm, "eps"),
    "segments": (Summed, "segments"),
    "memory": (Recurrence, "length"),
}
# What an encoder can be told and is not here.
ENCODER = {
    "is_decoder": False,
    "add_cross_attention": False,
    "is_encoder_decoder": False,
    "position_embedding_type": "absolute",
    "pruned_heads": None,
    "quantization_config": None,
    "auto_map": None,  # code of its own in place of the class
}
# What XLNet can be told and is not here: its text is read in one direction, with biases of each layer's own.
XLNET = {"attn_type": "bi", "untie_r": True, "bi_data": False, "same_length": False}
XLNET_SUMMARY = {"summary_type": "last", "summary_use_proj": True, "summary_activation": "tanh"}

# What they call a task by which our head of a text learns.
PROBLEMS = {
    Classify: "single_label_classification",
    Several: "multi_label_classification",
    Regress: "regression",
}
# sentence-transformers' CrossEncoder puts a sigmoid on a single output, unless one of these says otherwise (before its version 4, and since).
IDENTITY = "torch.nn.modules.linear.Identity"
IN_ITS_SCALE = {
    "sbert_ce_default_activation_function": IDENTITY,
    "sentence_transformers": {"activation_fn": IDENTITY},
}


def hf_config(recipe: Any, vocab: Vocab | None = None, labels: tuple[str, ...] = ()) -> dict[str, Any]:
    """The content of their config.json; the special ids come from `vocab`, where it is given, and the names of classes from `labels`."""
    model, family = recipe.model, family_of(recipe)
    terms = tuple(recipe.objective.weights())
    if terms not in family.architectures:
        raise InputError(f"objective: {family.model_type} has no architecture with the terms {', '.join(terms)}")
    pad = vocab.pad if vocab else family.pad
    config = {
        "model_type": family.model_type,
        "architectures": [family.architectures[terms]],
        **{theirs: numbers_of(model)[ours] for ours, theirs in family.keys.items()},
        family.keys["activation"]: family.activations[model.activation],
        **(_learned(model, family, pad) if family.placed else {} if family.says else _relative(recipe)),
        "initializer_range": 0.02,
        "pad_token_id": pad,
        "tie_word_embeddings": True,
    }
    if family.out:
        config |= family.out(recipe)
    if family.says:
        return config | family.says(recipe, vocab) | _outputs(recipe.objective, family, terms, labels)
    if family.project:
        config["embedding_size"] = model.inner
    if "all" in family.share:
        config |= {"num_hidden_groups": groups(model), "inner_group_num": 1}
    if vocab is not None:
        config |= {
            "cls_token_id": vocab.cls,
            "sep_token_id": vocab.sep,
            "bos_token_id": vocab.sep if family.causal and "token" in terms else vocab.cls,
            "eos_token_id": vocab.sep,
        }
    return config | _outputs(recipe.objective, family, terms, labels)


def _outputs(objective: Any, family: Family, terms: tuple[str, ...], labels: tuple[str, ...]) -> dict[str, Any]:
    """What a head over a text or its tokens says: how many numbers, what they are, and their names."""
    if terms == ("span",):
        return {"num_labels": 2}
    if terms == ("choice",):
        return {family.dropout: objective.dropout}
    if terms not in (("label",), ("tag",)):
        return {}
    outputs = getattr(objective, "classes", 1)
    config: dict[str, Any] = {"num_labels": outputs}
    if terms == ("label",):
        config["problem_type"] = PROBLEMS[type(objective)]
        config |= IN_ITS_SCALE if config["problem_type"] == "regression" else {}
    config[family.dropout] = objective.dropout
    if labels:
        config["id2label"] = {str(i): name for i, name in enumerate(labels)}
        config["label2id"] = {name: i for i, name in enumerate(labels)}
    return config


def _learned(model: TransformerConfig, family: Family, pad: int) -> dict[str, Any]:
    assert model.longest is not None
    return {
        **dict.fromkeys(family.drops, model.dropout),
        family.length: model.longest + (offset(family, pad) if family.folded else 0),
        **({"type_vocab_size": model.segments or 1} if family.segments or family.folded else {}),
    }


def _relative(recipe: Any) -> dict[str, Any]:
    """XLNet's.  What a sequence leaves in memory is the layout's to say; a fine-tuned model reads texts one by one."""
    model, asks = recipe.model, "token" in recipe.objective.weights()
    return {
        **XLNET,
        **XLNET_SUMMARY,
        "clamp_len": model.positions.clamp or -1,
        "mem_len": getattr(model.memory, "length", 0) or None,
        "reuse_len": getattr(recipe.layout, "stride", None) if asks else None,
        "use_mems_eval": asks
        and getattr(model.memory, "length", 0) > 0,  # their pipelines cannot cut a batch of memories apart
    }


def reused(config: dict[str, Any]) -> int | None:
    """Tokens of a sequence that the next one finds in memory, where their config.json tells."""
    return config.get("reuse_len")


def model_config(config: dict[str, Any]) -> TransformerConfig:
    """Our model for the content of their config.json.  Raises InputError for what our encoder does not do."""
    name = config.get("model_type")
    if not isinstance(name, str) or name not in FAMILIES:
        why = {**GONE, **OTHERS}.get(name) if isinstance(name, str) else None
        raise InputError(f"model_type {printable(name)!r} cannot be read; {why or 'known: ' + ', '.join(FAMILIES)}")
    family = FAMILIES[name]
    defaults = {family.keys[ours]: value for ours, value in family.absent.items() if ours in family.keys}
    if len(family.stacks) > 1 and config.get("is_encoder_decoder") is False:
        named = config.get("architectures")
        what = printable(named[0]) if isinstance(named, list) and named else "one stack"
        raise InputError(
            f"config.json: is_encoder_decoder: False: {what}: a {name} without its other stack, which nothing here reads; take the whole model"
        )
    for key, can in {**ENCODER, **family.only}.items():
        if config.get(key, can) not in (can, None) and config[key] != {}:
            raise InputError(
                f"config.json: {key}: {printable(repr(config[key]), 80)}: {name} is read with {can!r} only"
            )
    if config.get("use_task_id"):
        raise InputError(
            f"{name} with use_task_id: task types (ERNIE 2.0 and later) have no place here; ERNIE 1.0 has none"
        )
    asked = {**defaults, **config}[family.keys["activation"]]
    known = READ if family.activations is ACTIVATIONS else {name: ours for ours, name in family.activations.items()}
    if not isinstance(asked, str) or asked not in known:
        raise InputError(
            f"config.json: {family.keys['activation']}: {printable(repr(asked), 60)}: layers with {', '.join(known)} can be read"
        )
    given = {**defaults, **config, family.keys["activation"]: known[asked]}
    if family.widths and given.get(family.keys["hidden"]) is None:
        given[family.keys["hidden"]] = family.widths * _value(given, family.keys["width"], "width")
    values: dict[str, Any] = {ours: _value(given, theirs, ours) for ours, theirs in family.keys.items()}
    values |= {"embedding": None, "share": "none"}
    if family.project:
        inner = _value(config, "embedding_size", "width")
        values["embedding"] = inner if inner != values["width"] or False not in family.factorised else None
    if "all" in family.share:
        values["share"] = _sharing(config, values["layers"])
    if family.back:
        values |= family.back(config, values)
    if family.means:
        values |= family.means(config, values)
    else:
        values |= _absolute(config, family) if family.placed else _of_distances(config, values)
    return family.body(values)


def _absolute(config: dict[str, Any], family: Family) -> dict[str, Any]:
    told = family.told and config.get("type_vocab_size", 1) not in (None, 1)
    segments = _value(config, "type_vocab_size", "segments") if family.segments or told else 0
    if family.segments and segments < 2:
        raise InputError(
            f"config.json: type_vocab_size: {segments}; {an(family.model_type)} needs at least 2 segments here"
        )
    if family.folded and not told and config.get("type_vocab_size", 1) not in (None, 1):
        said = printable(repr(config["type_vocab_size"]), 60)
        raise InputError(f"config.json: type_vocab_size: {said}; {an(family.model_type)} has 1 segment here")
    places = _value(config, family.length, "layers")
    if family.folded:
        pad = config.get("pad_token_id")
        places -= offset(family, None if pad is None else _value(config, "pad_token_id", "layers"))
    return {"segments": segments, "length": places}


def _of_distances(config: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """XLNet's positions and memory.  InputError for a field that asks for what is not done here."""
    width = values["width"] // max(1, values["heads"])
    for key, can in {**XLNET, **XLNET_SUMMARY, "d_head": width}.items():
        if config.get(key, can) not in (can, None):
            raise InputError(f"config.json: {key}: {printable(config[key])}: only {can} can be read")
    clamp, memory = ({key: None, **config}[key] for key in ("clamp_len", "mem_len"))
    clamp = _value({"clamp_len": -1 if clamp is None else clamp}, "clamp_len", "layers")
    return {
        "clamp": clamp if clamp > 0 else None,
        "memory": 0 if memory is None else _value(config, "mem_len", "memory"),
    }


def head(family: Family, name: str, activation: str, config: dict[str, Any], names: Iterable[str] = ()) -> Any:
    """The head of a pre-training term, as the family has it beside layers of this activation; `names`: of the tensors that are there."""
    has = {row[0] for row in family.heads["token"] if row[1] in names or row[1] not in family.optional}
    transform = bool({"dense", "=dense.weight"} & has)
    own = family.activation if transform and family.activation != activation else None
    scaled = family.scaled is not None and family.scaled(config)
    tied, more = "=own.weight" not in has, family.asks(config) if family.asks else {}
    return {
        "token": Tokens(transform=transform, activation=own, bias="=bias" in has, tied=tied, scaled=scaled, **more),
        "pair": Pair(pooler=family.summary(config) if family.summed else "tanh"),
        "summary": Summary(),
        "replaced": Detect(),
    }[name]


def objective_of(
    config: dict[str, Any], terms: tuple[str, ...], outputs: int, activation: str, names: Iterable[str] = ()
) -> tuple[Any, dict[str, Any] | None]:
    """Our objective for `terms` beside layers of this activation, and the task of a model with a label head of `outputs` rows.

    `names`: of its tensors, which tell what a head has that may have more or less.
    """
    family = FAMILIES[config["model_type"]]
    pooler: Any = family.summary(config)
    if "span" in terms:
        return Span(pooler=pooler), {"kind": "qa", "labels": [], "nulls": True}
    if not {"label", "tag", "choice"} & {*terms}:
        kept = tuple(head(family, term, activation, config, names) for term in terms)
        return (Predict(heads=kept, pooler=pooler) if terms else Trunk(pooler=pooler)), None
    problem, dropout = config.get("problem_type"), config.get(family.dropout)
    dropout = config.get(family.keys["dropout"], 0.1) if dropout is None else dropout
    dropout = checked(Classify, "dropout", dropout, f"config.json: {family.dropout}")
    pool: Any = family.pooled(config)
    if "choice" in terms:
        return Choose(dropout=dropout, pooler=pooler, pool=pool), {"kind": "choice", "labels": []}
    several = problem == PROBLEMS[Several] and "label" in terms
    if problem == PROBLEMS[Regress] and outputs > 1:
        raise InputError(
            f"config.json: problem_type: {problem} with {outputs} outputs; one number for a text can be read"
        )
    if outputs == 1 and "label" in terms and not several:
        return Regress(dropout=dropout, pooler=pooler, pool=pool), {"kind": "regress", "labels": []}
    names = config.get("id2label") or {str(i): f"LABEL_{i}" for i in range(outputs)}
    labels = [names.get(str(i)) for i in range(outputs)] if isinstance(names, dict) and len(names) == outputs else []
    if not labels or not all(isinstance(label, str) for label in labels) or len(set(labels)) < outputs:
        raise InputError(f"config.json: id2label: expected {outputs} different names, one for each output")
    if "tag" in terms:
        return Tag(classes=outputs, dropout=dropout, pooler=pooler), {"kind": "tag", "labels": labels}
    made = Several if several else Classify
    kind = {"kind": "multilabel" if several else "classify", "labels": labels}
    return made(classes=outputs, dropout=dropout, pooler=pooler, pool=pool), kind


def _sharing(config: dict[str, Any], layers: int) -> str:
    """ALBERT's groups of layers: one, or as many as layers."""
    groups, inner = (
        {"num_hidden_groups": 1, "inner_group_num": 1, **config}[k] for k in ("num_hidden_groups", "inner_group_num")
    )
    if inner != 1 or groups not in (1, layers):
        raise InputError(
            f"config.json: num_hidden_groups {printable(groups)}, inner_group_num {printable(inner)}: layers that are all one, or all their own, can be read"
        )
    return "all" if groups == 1 else "none"


def _value(config: dict[str, Any], theirs: str, ours: str) -> Any:
    if theirs not in config:
        raise InputError(f"config.json: {theirs} is missing")
    part, name = PARTS.get(ours, (TransformerConfig, ours))
    return checked(part, name, config[theirs], f"config.json: {theirs}")
