"""The bodies that Hugging Face's families have: their names of our model's numbers, and our model of these."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bertsmith.config import checked
from bertsmith.deploy.hf_stacks import NUMBERS, two_numbers
from bertsmith.errors import InputError, printable
from bertsmith.nn.attending import Full, Sliding
from bertsmith.nn.blocks import PostNorm, PreNorm
from bertsmith.nn.bottleneck import Bottleneck, Outside
from bertsmith.nn.embeddings import Asking, Summed
from bertsmith.nn.feedforward import Plain, Stacked
from bertsmith.nn.memory import Recurrence
from bertsmith.nn.norms import Affine, LayerNorm
from bertsmith.nn.positions import Learned
from bertsmith.nn.relative import Relative
from bertsmith.nn.transformer import TransformerConfig
from bertsmith.nn.trigram import Trigram
from bertsmith.spelling import amount

# Fields of our model and their names in config.json.
KEYS = {
    "vocab": "vocab_size",
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "hidden": "intermediate_size",
    "activation": "hidden_act",
    "dropout": "hidden_dropout_prob",
    "eps": "layer_norm_eps",
}
XLNET_KEYS = {
    "vocab": "vocab_size",
    "width": "d_model",
    "layers": "n_layer",
    "heads": "n_head",
    "hidden": "d_inner",
    "activation": "ff_activation",
    "dropout": "dropout",
    "eps": "layer_norm_eps",
}
DISTILBERT_KEYS = {
    "vocab": "vocab_size",
    "width": "dim",
    "layers": "n_layers",
    "heads": "n_heads",
    "hidden": "hidden_dim",
    "activation": "activation",
    "dropout": "dropout",
}
GPT_KEYS = {
    "vocab": "vocab_size",
    "width": "n_embd",
    "layers": "n_layer",
    "heads": "n_head",
    "activation": "afn",
    "dropout": "resid_pdrop",
    "eps": "layer_norm_epsilon",
}
GPT2_KEYS = {**GPT_KEYS, "activation": "activation_function", "hidden": "n_inner"}


def bert_body(values: dict[str, Any]) -> TransformerConfig:
    """A BERT of these numbers, as `numbers_of` gives them."""
    return TransformerConfig(
        **{name: values[name] for name in NUMBERS},
        embeddings=Summed(segments=values["segments"], width=values["embedding"]),
        positions=Learned(length=values["length"]),
        norm=LayerNorm(eps=values["eps"]),
        feedforward=Plain(activation=values["activation"]),
        share=values["share"],
    )


def longformer_body(values: dict[str, Any]) -> TransformerConfig:
    return replace(bert_body(values), attention=Sliding(window=values["window"], windows=values["windows"]))


def mobilebert_body(values: dict[str, Any]) -> TransformerConfig:
    return TransformerConfig(
        **{name: values[name] for name in NUMBERS},
        embeddings=Trigram(width=values["embedding"], segments=values["segments"]),
        positions=Learned(length=values["length"]),
        block=Bottleneck(width=values["inside"]),
        norm=Affine(),
        attention=Outside(),
        feedforward=Stacked(activation=values["activation"], count=4),
    )


# What MobileBERT can be told and is not here.
MOBILEBERT_ONLY = {
    "use_bottleneck": True,
    "use_bottleneck_attention": False,
    "key_query_shared_bottleneck": True,
    "num_feedforward_networks": 4,
    "trigram_input": True,
    "normalization_type": "no_norm",
}


def mobilebert_out(recipe: Any) -> dict[str, Any]:
    """Beside its widths, what its heads are: the eps of the one over tokens, and whether a summary is more than the state of [CLS]."""
    heads = {head.name: head for head in getattr(recipe.objective, "heads", ())}
    return {
        **MOBILEBERT_ONLY,
        "embedding_size": recipe.model.inner,
        "intra_bottleneck_size": recipe.model.block.width,
        "layer_norm_eps": getattr(getattr(heads.get("token"), "norm", None), "eps", 1e-12),
        "classifier_activation": recipe.objective.pooler == "tanh",
    }


def mobilebert_back(config: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    said = {"embedding": ("embedding_size", 128), "inside": ("intra_bottleneck_size", 128)}
    return {
        ours: checked(Trigram, "width", config.get(theirs, usual), f"config.json: {theirs}")
        for ours, (theirs, usual) in said.items()
    }


def mobilebert_token(config: dict[str, Any]) -> dict[str, Any]:
    """Of its head over tokens: a norm with statistics, and a table of its own beside the tokens'."""
    eps = checked(LayerNorm, "eps", config.get("layer_norm_eps", 1e-12), "config.json: layer_norm_eps")
    return {"wide": True, "norm": LayerNorm(eps=eps)}


def mobilebert_pooler(config: dict[str, Any]) -> str:
    return "tanh" if config.get("classifier_activation", True) else "state"


def windows_out(recipe: Any) -> dict[str, Any]:
    """Their windows count both sides."""
    model = recipe.model
    return {"attention_window": [2 * model.attention.window_of(layer) for layer in range(model.layers)]}


def windows_back(config: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """InputError for windows that are none, or not those of all layers."""
    said, layers = config.get("attention_window", 512), values["layers"]
    found = said if isinstance(said, list) else [said] * layers
    if len(found) != layers or not all(type(each) is int and each > 0 and each % 2 == 0 for each in found):
        raise InputError(
            f"config.json: attention_window: {printable(repr(said), 60)}: an even number above 0, or one for each of {amount(layers, 'layer')}, can be read"
        )
    alike = len({*found}) == 1
    return {"window": found[0] // 2, "windows": () if alike else tuple(each // 2 for each in found)}


def distilbert_body(values: dict[str, Any]) -> TransformerConfig:
    """Its norms' eps is no number of its own."""
    return bert_body({**values, "eps": 1e-12})


def xlnet_body(values: dict[str, Any]) -> TransformerConfig:
    return TransformerConfig(
        **{name: values[name] for name in NUMBERS},
        embeddings=Asking(),
        positions=Relative(segments=True, clamp=values["clamp"]),
        block=PostNorm(dropout_last=True),
        norm=LayerNorm(eps=values["eps"]),
        attention=Full(bias=False),
        feedforward=Plain(activation=values["activation"]),
        memory=Recurrence(length=values["memory"]),
    )


def gpt2_body(values: dict[str, Any]) -> TransformerConfig:
    return TransformerConfig(
        **{name: values[name] for name in NUMBERS},
        embeddings=Summed(segments=0, norm=False),
        positions=Learned(length=values["length"]),
        block=PreNorm(by_depth=True),
        norm=LayerNorm(eps=values["eps"]),
        feedforward=Plain(activation=values["activation"]),
    )


def gpt_body(values: dict[str, Any]) -> TransformerConfig:
    """Its hidden width is no number of its own."""
    return replace(gpt2_body({**values, "hidden": 4 * values["width"]}), block=PostNorm())


def numbers_of(model: TransformerConfig) -> dict[str, Any]:
    """What a body of some family is free in, where a model has it."""
    return {
        **{name: getattr(model, name) for name in (*NUMBERS, "activation", "share", "segments")},
        "eps": getattr(model.norm, "eps", 1.0),
        "embedding": model.embeddings.width,
        "length": model.longest or 1,
        "clamp": getattr(model.positions, "clamp", None),
        "memory": getattr(model.memory, "length", 0),
        "inside": getattr(model.block, "width", 0),
        "window": getattr(model.attention, "window", 0),
        "windows": getattr(model.attention, "windows", ()),
        "attends": model.attention,
        "places": model.positions,
        "thinks": model.feedforward,
        "stands": model.block,
        **two_numbers(model),
    }
