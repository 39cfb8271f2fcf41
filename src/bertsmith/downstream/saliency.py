"""Which tokens an answer leans on: gradient x input (Shrikumar et al. 2016, arXiv:1605.01713).  n tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bertsmith.downstream.answering import BUDGET, said_at
from bertsmith.downstream.model import Loaded
from bertsmith.errors import InputError, printable
from bertsmith.tasks.sequences import Encoded


def saliency(loaded: Loaded, encoded: Encoded, leaning: Callable[[Tensor], Tensor]) -> np.ndarray:
    """(n,) how much each token's vector speaks for the answer: its product with the gradient of `leaning` (p, c) -> (p,), dropout off.

    Of an encoder and a decoder, as the encoder reads them; of a word that is spelled it stands at its first token.  InputError for a model that has no table of tokens.
    """
    member, size = loaded.member.eval(), loaded.recipe.model.vocab
    tables = [part for part in member.model.modules() if isinstance(part, nn.Embedding) and part.num_embeddings == size]
    if not tables:
        raise InputError(f"{printable(loaded.run)}: has no table of tokens whose gradient could be taken")
    read: list[Tensor] = []

    def caught(part: nn.Module, given: Any, out: Tensor) -> Tensor:
        read.append(out.detach().requires_grad_())
        return read[-1]

    found, ends = np.zeros(len(encoded.tokens), np.float32), np.cumsum(encoded.lengths)
    body = member.model
    worded = hasattr(body, "worded") and hasattr(body, "embeddings")  # words that are spelled have no row
    hook = (body.embeddings if worded else tables[0]).register_forward_hook(caught)
    try:
        with loaded.exact.policy(), torch.enable_grad():
            for which in encoded.by_length(BUDGET):
                read.clear()
                total = leaning(said_at(member, encoded, which, loaded.device)).sum()
                (slope,) = torch.autograd.grad(total, read[:1])
                at = np.concatenate([np.arange(ends[i] - encoded.lengths[i], ends[i]) for i in which])
                once = body.worded(encoded.batch(which).input.to(loaded.device)) if worded else None
                at = at if once is None else at[once.cpu().numpy()]
                found[at] = (slope * read[0].detach()).sum(-1).cpu().numpy()
    finally:
        hook.remove()
    return found
