"""Vectors of encoded texts, as arrays: states of a model pooled, or at single places."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import torch

from bertsmith.deploy import sentences
from bertsmith.downstream.model import Loaded
from bertsmith.errors import printable
from bertsmith.nn.body import outer, texts
from bertsmith.objectives.modules.layers import layered
from bertsmith.tasks.sequences import Encoded
from bertsmith.training.precision import Precision

BUDGET = 8192  # tokens in one pass


@torch.no_grad()
def dense_of(loaded: Loaded, dense: list, vectors: np.ndarray, say: Callable[[str], None]) -> np.ndarray:
    """Through the dense layers of a folder; an import has left them there, which is said."""
    if loaded.path != loaded.run:
        say(
            f"warning: {printable(loaded.run)}: the dense layers of the folder it was imported from are left out; embed that folder for them"
        )
        return vectors
    x = torch.from_numpy(vectors)
    with Precision.exact(x.device).policy():
        for layer in sentences.layers(loaded.path, dense, vectors.shape[1]):
            x = layer(x)
    return x.numpy()


def mute_of(loaded: Loaded) -> torch.Tensor | None:
    """The ids that say nothing of a text, of a model whose tokens say what they are and no more: specials, and what is unknown but where that is
    a character of a word that is spelled.  Vectors of texts in which nothing else stands are zeros."""
    vocab = loaded.vocab
    if not getattr(loaded.recipe.model, "alone", False):
        return None
    ids = {*vocab.special} - {vocab.unk} if vocab.letters else {*vocab.special, vocab.unk}
    return torch.tensor(sorted(ids), device=loaded.device)


@torch.no_grad()
def pooled(
    loaded: Loaded,
    encoded: Encoded,
    pool: str,
    layer: int | None = None,
    budget: int = BUDGET,
    precision: Precision | None = None,
    skip: int = 0,
) -> np.ndarray:
    """(sequences, width) float32, one for each sequence of `encoded`, or for each of their parts, read at [CLS]; dropout off; float32 'highest' unless told otherwise.

    Several pools ("cls+mean") stand side by side.  `skip`: tokens at the start that only [CLS] is taken from.
    """
    precision = precision or loaded.exact
    model = loaded.member.model.eval()
    if precision.compute == "bfloat16":
        # Rounded once, and the states between layers with it: a tenth faster than autocast, whose states are float32.
        model = deepcopy(model).bfloat16()
    pools, mute = pool.split("+"), mute_of(loaded)
    found = np.empty((len(encoded.places), len(pools) * outer(loaded.recipe.model, layer)), np.float32)
    with precision.policy():
        for group in encoded.by_length(budget):
            stream = encoded.batch(group).input.to(loaded.device)
            which, at = encoded.read(group)
            cls = torch.from_numpy(at).to(loaded.device)
            if layer is not None:
                hidden = model.states(stream)[layer]
            elif pool == "cls":
                found[which] = model(stream, cls).float().cpu().numpy()
                continue
            else:
                hidden = model(stream)
            parts = texts(model, hidden, stream, skip, mute)
            parts = [part if len(part) else hidden.new_zeros(1, hidden.shape[1]) for part in parts]
            made = [hidden[cls] if p == "cls" else torch.stack([sentences.pooled(x, p) for x in parts]) for p in pools]
            found[which] = torch.cat(made, 1).float().cpu().numpy()
    return found


@torch.no_grad()
def layers_of(
    loaded: Loaded, encoded: Encoded, layers: tuple[int, ...], pools: bool, pool: str, budget: int = BUDGET
) -> np.ndarray:
    """(places, k, width) float32: the states of k layers of one width in one pass, pooled as `pooled` does or as `states` has them."""
    model = loaded.member.model.eval()
    found = np.empty((len(encoded.places), len(layers), outer(loaded.recipe.model, layers[0])), np.float32)
    with loaded.exact.policy():
        for which in encoded.by_length(budget):
            rows, at = encoded.read(which)
            stream = encoded.batch(which).input.to(loaded.device)
            hidden = layered(model, stream, layers)
            if pools and pool == "mean":
                made = torch.stack([part.mean(0) for part in texts(model, hidden, stream)])
            else:
                made = hidden[torch.from_numpy(at).to(loaded.device)]
            found[rows] = made.float().cpu().numpy()
    return found


@torch.no_grad()
def states(loaded: Loaded, encoded: Encoded, budget: int = BUDGET, layer: int | None = None) -> np.ndarray:
    """(places, width) float32: the hidden states at the places of `encoded`, of a layer (None: the last); dropout off; float32 'highest'."""
    model = loaded.member.model.eval()
    found: np.ndarray | None = None
    with loaded.exact.policy():
        for which in encoded.by_length(budget):
            rows, at = encoded.read(which)
            stream = encoded.batch(which).input.to(loaded.device)
            read, where = torch.unique(torch.from_numpy(at).to(loaded.device), return_inverse=True)
            said = model(stream, read) if layer is None else model.states(stream, layer)[layer][read]
            if found is None:  # a layer may be of another width
                found = np.empty((len(encoded.places), said.shape[1]), np.float32)
            found[rows] = said[where].float().cpu().numpy()
    return np.empty((0, outer(loaded.recipe.model)), np.float32) if found is None else found
