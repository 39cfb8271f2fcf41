"""What stands behind a mask?  The model's full distribution over its vocabulary, cut to the likeliest tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from bertsmith.data.batch import Stream
from bertsmith.downstream.model import Loaded, opened
from bertsmith.errors import InputError, printable

MASK = "[MASK]"


def fill(model: str | Path | Loaded, text: str, top: int = 5) -> dict[str, Any]:
    """`{text, masks: [{position, top: [{token, id, p}]}]}`, likeliest first; `position` counts the sequence's tokens, [CLS] is 0.

    A mask is [MASK] or the model's own mask.  InputError without one, for a text that is too long, for a model without token head.
    """
    loaded = opened(model)
    if "token" not in loaded.member.weights():
        raise InputError(
            f"{printable(loaded.run)}: this model has no token head, so it cannot fill masks; give the run that it was fine-tuned from, or pre-train one (pretrain --from … --new-head token)"
        )
    size = loaded.recipe.model.vocab
    if isinstance(top, bool) or not isinstance(top, int) or not 1 <= top <= size:
        raise InputError(f"--top {printable(top)}: expected a number from 1 to {size}")
    ids, masks = _masked(loaded, text)
    longest = loaded.recipe.model.longest
    if longest is not None and len(ids) > longest:
        raise InputError(f"the text has {len(ids)} tokens, and the model takes {longest}")
    stream = _stream(ids).to(loaded.device)
    loaded.member.eval()
    with torch.no_grad(), loaded.exact.policy(), loaded.exact.autocast():
        logits = loaded.member.objective.logits(loaded.member.model, stream, torch.tensor(masks, device=loaded.device))
    p = torch.softmax(logits.double(), -1).cpu().numpy()
    return {
        "text": text,
        "masks": [{"position": at, "top": _top(row, top, loaded.tokenizer)} for at, row in zip(masks, p, strict=True)],
    }


def _masked(loaded: Loaded, text: str) -> tuple[np.ndarray, list[int]]:
    """Token ids, and where the masks stand.  The pieces between masks are encoded one by one; a mask takes the space before it."""
    own = loaded.tokenizer.mask_token
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"the text: character {error.start}: lone surrogate is not text") from None
    pieces = text.replace(MASK, own).split(own)
    if len(pieces) < 2:
        spelled = MASK if own == MASK else f"{MASK} or {printable(own)}"
        raise InputError(f'no mask in "{printable(text, 80)}"; write {spelled} where a token is asked for')
    vocab = loaded.vocab
    encoded = loaded.tokenizer.encode([*(piece.rstrip() for piece in pieces[:-1]), pieces[-1]])
    ids, masks = [vocab.cls], []
    for i, (piece, _) in enumerate(encoded):
        if i:
            masks.append(len(ids))
            ids.append(vocab.mask)
        ids.extend(int(token) for token in piece)
    return np.array([*ids, vocab.sep], np.int64), masks


def _stream(ids: np.ndarray) -> Stream:
    zeros = np.zeros(len(ids), np.int64)
    return Stream(
        tokens=ids, positions=np.arange(len(ids)), segments=zeros, query_rank=zeros, key_rank=zeros, lengths=(len(ids),)
    )


def _top(p: np.ndarray, top: int, tokenizer: Any) -> list[dict[str, Any]]:
    order = np.argsort(-p, kind="stable")[:top]
    return [{"token": tokenizer.token(int(i)), "id": int(i), "p": float(p[i])} for i in order]
