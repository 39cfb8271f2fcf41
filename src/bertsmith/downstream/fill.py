"""What stands behind a mask?  The model's full distribution over its vocabulary, cut to the likeliest tokens."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith.data.batch import NEVER
from bertsmith.downstream.model import Loaded, opened, without_tokens
from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, option
from bertsmith.tasks.given import source
from bertsmith.tasks.readers import parse_columns, read
from bertsmith.tasks.reading import Reading
from bertsmith.tasks.sequences import Builder, Encoded
from bertsmith.text import unknown

MASK = "[MASK]"
BUDGET = 8192  # tokens in one pass


def fill(
    model: str | Path | Loaded,
    text: Any,
    top: int = 5,
    *,
    columns: str | Mapping[str, str | int] | None = None,
    base: str | Path | Loaded | None = None,
    members: tuple[str, ...] = (),
    say: Callable[[str], None] = lambda line: None,
) -> Any:
    """`{text, masks: [{position, top: [{token, text, id, p}]}]}`, likeliest first; `position` counts the sequence's tokens, [CLS] too.

    Of several texts (a list, a NumPy array, a pandas Series or DataFrame, tasks/given.py) it is a list of such.
    A mask is [MASK] or the model's own mask, or a sentinel where it learned these.  A model with a decoder also says what it has `written`
    where a mask may be a span (infill.py).  InputError without a mask, for a text that is too long, for a model without token head, and for
    one that sees only what comes before.
    """
    texts = [text] if isinstance(text, str) else _texts(text, columns)
    loaded = opened(model, members=members, say=say, base=base)
    reading = check_fills(loaded)
    check_top(loaded, top)
    if isinstance(text, str):
        return _filled(loaded, text, reading, top, "the text", say)
    found = []
    for number, each in enumerate(texts):
        try:
            found.append(_filled(loaded, each, reading, top, f"text[{number}]", say))
        except InputError as error:
            raise InputError(f"text[{number}]: {error}") from None
    return found


def check_fills(loaded: Loaded) -> Reading:
    """How a model reads the texts whose masks it fills.  InputError for one that fills none."""
    if "token" not in loaded.member.weights():
        raise InputError(
            f"{printable(loaded.run)}: this model has no token head, so it cannot fill masks; {without_tokens(loaded)}, or pre-train one (pretrain with {option('from_', like='MODEL')} and {option('new_heads', 'token')})"
        )
    reading = loaded.reading()
    if reading.causal:
        raise InputError(
            f"{printable(loaded.run)}: this model sees only what comes before a token, so it cannot fill masks; `score` says how probable a text is, `generate` goes on with one; or take a member that sees both sides"
        )
    if not getattr(loaded.recipe.corruption.rewrite, "hides", True):
        raise InputError(
            f"{printable(loaded.run)}: nothing was hidden from this model, which asks for the tokens beside those that it has read, so it cannot fill masks; take a member that hides some"
        )
    return reading


def check_top(loaded: Loaded, top: int) -> None:
    size = loaded.vocab.size
    if isinstance(top, bool) or not isinstance(top, int) or not 1 <= top <= size:
        raise InputError(f"{option('top', top)}: expected a number from 1 to {size}")


def _texts(given: Any, columns: str | Mapping[str, str | int] | None) -> list[str]:
    if isinstance(given, os.PathLike):
        raise InputError(f"text: {printable(given)}: a path given; a text or a list of texts is wanted")
    rows = source(given, "text", parse_columns(columns))
    if not rows.lines:
        raise InputError("text: holds no texts")
    return read(rows, columns=rows.columns).columns["text"]


def _filled(
    loaded: Loaded, text: str, reading: Reading, top: int, name: str, say: Callable[[str], None]
) -> dict[str, Any]:
    if loaded.recipe.model.decodes:
        return written(loaded, text, top, name, say)
    encoded = encoded_masks(loaded, text, reading, name, say)
    return filled(loaded, text, encoded, shares(loaded, encoded), top)


def written(loaded: Loaded, text: str, top: int, name: str, say: Callable[[str], None]) -> dict[str, Any]:
    """By a model with a decoder, mask after mask."""
    from bertsmith.downstream.infill import Infill

    tokens, found = Infill(loaded)(text, top)
    _tell(loaded, tokens, text, name, say)
    return {"text": text, "masks": found}


def encoded_masks(
    loaded: Loaded,
    text: str,
    reading: Reading,
    name: str = "the text",
    say: Callable[[str], None] = lambda line: None,
) -> Encoded:
    """The text as one sequence whose places are its masks."""
    # Texts of our own were not written with masks in them; a model of others reads one as its tokenizer says.
    others = loaded.kind == "import"
    strips = loaded.tokenizer.strips(loaded.tokenizer.mask_token) if others else (True, False)
    ids, masks = masked(loaded, text, strips)
    if others:
        check_read(loaded, text, len(masks))
    builder = Builder(vocab=loaded.vocab, reading=reading, pairs=False)
    builder.add(0, ids, places=reading.lead + masks)
    encoded = builder.encoded(1)
    _tell(loaded, encoded.tokens, text, name, say)
    longest = loaded.recipe.model.longest
    if longest is not None and len(encoded.tokens) > longest:
        raise InputError(f"the text has {amount(len(encoded.tokens), 'token')}, and the model takes {longest}")
    return encoded


def shares(loaded: Loaded, encoded: Encoded, budget: int = BUDGET) -> np.ndarray:
    """(p, V) float64: the distribution at every place of texts that were encoded so; several texts share a pass.

    A model with tokens that only ask has them where masks stand: they see the text, and neither the text nor another mask sees them.
    """
    import torch

    size = loaded.vocab.size  # the table may have more rows, which no token uses
    found = np.empty((len(encoded.places), size))
    loaded.member.eval()
    with torch.no_grad(), loaded.exact.policy(), loaded.exact.autocast():
        for which in encoded.by_length(budget):
            stream, (rows, masks) = encoded.batch(which).input, encoded.read(which)
            if loaded.recipe.model.asks:
                rank = stream.key_rank.copy()
                rank[masks] = NEVER
                stream = replace(stream, key_rank=rank, visibility="ranks")
            at = torch.from_numpy(masks - encoded.reading.before).to(loaded.device)
            logits = loaded.member.objective.logits(loaded.member.model, stream.to(loaded.device), at)
            found[rows] = torch.softmax(logits.double(), -1)[:, :size].cpu().numpy()
    return found


def filled(loaded: Loaded, text: str, encoded: Encoded, p: np.ndarray, top: int) -> dict[str, Any]:
    """`p` (masks, V): the distribution at each mask of the text."""
    masks = zip(encoded.places.tolist(), p, strict=True)
    return {"text": text, "masks": [{"position": at, "top": top_of(row, top, loaded.tokenizer)} for at, row in masks]}


def _tell(loaded: Loaded, tokens: np.ndarray, text: str, name: str, say: Callable[[str], None]) -> None:
    """What of the text, its masks left out, has no token."""
    said = text.replace(MASK, " ").replace(loaded.tokenizer.mask_token, " ")
    unknown.tell(unknown.of_texts(loaded.tokenizer, tokens, lambda: [said]), name, say)


def masked(loaded: Any, text: str, strips: tuple[bool, bool] = (True, False)) -> tuple[np.ndarray, np.ndarray]:
    """The text's token ids, and where the masks stand, [MASK] or the model's own; as `standing` has it."""
    own = loaded.tokenizer.mask_token
    ids, masks, _ = standing(loaded.tokenizer, text.replace(MASK, own), {own: loaded.vocab.mask}, strips)
    if not len(masks):
        spelled = MASK if own == MASK else f"{MASK} or {printable(own)}"
        raise InputError(f'no mask in "{printable(text, 80)}"; write {spelled} where a token is asked for')
    return ids, masks


def standing(
    tokenizer: Any, text: str, names: Mapping[str, int], strips: tuple[bool, bool]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The text's token ids with each of `names` as the token of that id, where these stand, and which they are.

    Such a token takes the space before it, as a word would, or behind it (`strips`), and its neighbours are encoded as they would be beside
    one.  Special tokens that are written are those tokens.
    """
    left, right = strips
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"the text: character {error.start}: lone surrogate is not text") from None
    pattern = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    found, pieces = re.findall(pattern, text), re.split(pattern, text)
    pieces = [*(piece.rstrip() if left else piece for piece in pieces[:-1]), pieces[-1]]
    ids = tokenizer.encode(pieces[:1], specials=True)[0][0].tolist()
    places = []
    for name, piece in zip(found, pieces[1:], strict=True):
        places.append(len(ids))
        begins = right and piece != piece.lstrip()  # the space is gone, and what follows stands as a text of its own
        behind = tokenizer.encode([piece.lstrip()], specials=True)[0][0] if begins else tokenizer.behind(piece, True)
        ids += [names[name], *behind.tolist()]
    return np.array(ids, np.int32), np.array(places, np.int64), found


def check_read(loaded: Loaded, text: str, masks: int) -> None:
    """InputError where the tokenizer itself would not read every mask as one: it may take whole words only."""
    own = loaded.tokenizer.mask_token
    read = loaded.tokenizer.backend.encode(text.replace(MASK, own)).ids.count(loaded.vocab.mask)
    if read != masks:
        raise InputError(
            f'the text has {masks} masks, but its tokenizer reads {read} in "{printable(text, 80)}" (tokenizer.json: added_tokens: single_word '
            f"or normalized of {printable(own)}): write {printable(own)}, with spaces round it"
        )


def top_of(p: np.ndarray, top: int, tokenizer: Any) -> list[dict[str, Any]]:
    """The likeliest of the shares (V,)."""
    order = np.argsort(-p, kind="stable")[:top]
    return [
        {"token": tokenizer.token(int(i)), "text": tokenizer.shown(int(i)), "id": int(i), "p": float(p[i])}
        for i in order
    ]
