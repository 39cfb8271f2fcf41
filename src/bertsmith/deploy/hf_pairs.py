"""An encoder that was given a decoder of its own kind, as transformers' EncoderDecoderModel: two models of one family in one folder.

Each stack is written as a model by itself; what both share here (the token table; of a shared decoder everything but what reads the
source) stands twice there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bertsmith.data.batch import Vocab
from bertsmith.deploy.hf import family_of, to_hf
from bertsmith.deploy.hf_config import hf_config
from bertsmith.deploy.hf_families import Family
from bertsmith.deploy.hf_stacks import SIDES, ends_of
from bertsmith.objectives.predict import Trunk

if TYPE_CHECKING:
    from torch import Tensor


def pair_tensors(state: dict[str, Tensor], recipe: Any, pad: int) -> dict[str, Tensor]:
    """Both models' tensors under their names, behind `encoder.` and `decoder.`."""
    encoder, decoder = _sides(recipe)
    parts = {side: _below(state, f"model.{side}.") for side in SIDES}
    parts["decoder"] = {**parts["encoder"], **parts["decoder"]}
    family, source = family_of(decoder), {}
    for layer in range(decoder.model.layers):
        for ours, *theirs in family.source:
            for end in ("weight", "bias"):
                tensor = parts["decoder"].pop(f"{ours.replace('#', str(layer))}.{end}")
                names = (family.under(f"{name.replace('#', str(layer))}.{end}") for name in theirs)
                source |= dict(zip(names, (part.clone() for part in tensor.chunk(len(theirs))), strict=True))
    heads = {name: tensor for name, tensor in state.items() if name.startswith("objective.")}
    whole = {side: {f"model.{name}": tensor for name, tensor in part.items()} for side, part in parts.items()}
    found = {
        "encoder": {**to_hf(whole["encoder"], encoder, pad), **_summary(whole["encoder"], family)},
        "decoder": {**to_hf({**whole["decoder"], **heads}, decoder, pad), **source},
    }
    return {f"{side}.{name}": tensor for side, part in found.items() for name, tensor in part.items()}


def pair_config(recipe: Any, vocab: Vocab) -> dict[str, Any]:
    """The content of config.json: those of both models in it."""
    encoder, decoder = (hf_config(side, vocab) for side in _sides(recipe))
    return {
        "model_type": "encoder-decoder",
        "architectures": ["EncoderDecoderModel"],
        "is_encoder_decoder": True,
        "pad_token_id": vocab.pad,
        **ends_of(recipe, vocab),
        "encoder": encoder,
        "decoder": {**decoder, "is_decoder": True, "add_cross_attention": True},
    }


def _sides(recipe: Any) -> tuple[Any, Any]:
    """Recipes of the two stacks: a trunk, and one with the token head."""
    encoder, decoder = recipe.model.topology.sides(recipe.model)
    trunk = Trunk(pooler=recipe.objective.pooler)
    return replace(recipe, model=encoder, objective=trunk), replace(recipe, model=decoder)


def _summary(state: dict[str, Tensor], family: Family) -> dict[str, Tensor]:
    """The layer of a summary, which that class has and does not use; 0 here."""
    ((_, module),) = family.heads["summary"]
    table = state[f"model.{family.table}"]
    shapes = {"weight": (table.shape[1], table.shape[1]), "bias": (table.shape[1],)}
    return {f"{family.bare_of(module)}.{end}": table.new_zeros(shape) for end, shape in shapes.items()}


def _below(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
