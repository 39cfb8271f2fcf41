"""What transformers' `generate` has to know to write what we write: generation_config.json, and a task in words that config.json keeps."""

from __future__ import annotations

from typing import Any

from bertsmith.deploy.folder_task import KEPT, NAME, PARAMS
from bertsmith.deploy.hf import family_of
from bertsmith.deploy.hf_stacks import ends_of
from bertsmith.downstream.model import Loaded


def generation_config(loaded: Loaded) -> dict[str, Any] | None:
    """generation_config.json: where `generate` begins and ends, and of a task in words also how it searches.

    None for a model that writes nothing of its own; a language model that was pre-trained alone goes on with a text as the user says.
    """
    recipe, vocab, kind = loaded.recipe, loaded.vocab, loaded.writing
    if "token" not in recipe.objective.weights() or not (recipe.model.decodes or kind):
        return None
    found = {"pad_token_id": vocab.pad, "eos_token_id": vocab.sep}
    found |= ends_of(recipe, vocab) if recipe.model.decodes else {}
    found |= {"bos_token_id": vocab.cls} if vocab.cls != vocab.sep else {}
    higher = recipe.model.decodes and (recipe.model.topology.layers or 0) > recipe.model.layers
    found |= {"use_cache": False} if higher and not family_of(recipe).cached else {}
    if kind is None:
        return found | {"max_length": loaded.length()}
    found |= {"do_sample": False, "num_beams": kind.beam, "max_new_tokens": kind.limit}
    # Rows that are no token's are never written, nor what stands for hidden spans.
    never = sorted({*vocab.sentinels, *range(vocab.size, recipe.model.vocab)})
    return found | ({"suppress_tokens": never, "renormalize_logits": True} if never else {})


def room_of(loaded: Loaded) -> int:
    """The most tokens that a text may have; what a language model writes stands behind them."""
    kind, length = loaded.writing, loaded.length()
    return length - kind.limit if kind and loaded.reading().causal else length


def kept_of(loaded: Loaded) -> dict[str, Any]:
    """What config.json says of a task in words, {} of others."""
    kind, task = loaded.writing, loaded.task or {}
    if kind is None:
        return {}
    said = {name: task[name] for name in KEPT if task.get(name) is not None}
    return {PARAMS: {NAME: {**said, "num_beams": kind.beam}}}
