"""The shares that heads take of tokens, read off a model at work.  n tokens, h heads."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from bertsmith.downstream.model import Loaded
from bertsmith.nn.modules.attention import watched
from bertsmith.tasks.sequences import Encoded


@torch.no_grad()
def attended(loaded: Loaded, encoded: Encoded, number: int) -> tuple[list[int], list[dict[str, Any]]]:
    """(the tokens of a sequence, {name, source, weights (h, n, n)} of each layer that attends, in the order of reading)."""
    body, which = loaded.member.model.eval(), np.array([number])
    stream = encoded.batch(which).input.to(loaded.device)
    with loaded.exact.policy(), watched() as found:
        if loaded.recipe.model.decodes:
            body(stream)
        else:
            body.states(stream)  # all of the last layer, and a memory stays as it is
    names = _names([source for source, _ in found], loaded.recipe.model) if found else []
    layers = [
        {"name": name, "source": source, "weights": shares.float().permute(1, 0, 2).cpu().numpy()}
        for name, (source, shares) in zip(names, found, strict=True)
    ]
    return stream.tokens.tolist(), layers


def _names(sources: list[bool], model: Any) -> list[str]:
    """Layers from 1; of two stacks which of them, and what it reads."""
    if not model.decodes:
        return [f"layer {i + 1}" for i in range(len(sources))]
    found, layer = [f"encoder, layer {i + 1}" for i in range(model.layers)], 0
    for source in sources[model.layers :]:
        layer += not source
        found.append(f"decoder, layer {layer}, {'what the encoder says' if source else 'itself'}")
    return found
