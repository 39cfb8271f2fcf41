"""[UNK], the one rule for all commands: above 1 % of the tokens of a text it is said, with the ten commonest characters that have no entry;
above 5 % what would be trained on is refused unless `--allow-unknown`, or the tokenizer is a list of whole words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bertsmith.errors import InputError, printable
from bertsmith.spelling import flag
from bertsmith.text.characters import Characters

if TYPE_CHECKING:
    from bertsmith.text.tokenizer import Tokenizer

SOME, MOST = 0.01, 0.05  # shares of [UNK] that are warned of, and refused


def counted(tokens: int, of: int, commonest: Callable[[], dict[str, int] | None]) -> dict[str, Any]:
    """{tokens, share, commonest}: `tokens` of `of` are [UNK]; characters without an entry are looked for where the share is to be said (None:
    nobody knows them)."""
    share = tokens / max(1, of)
    return {"tokens": tokens, "share": share, "commonest": commonest() if share > SOME else {}}


def of_texts(tokenizer: Tokenizer, ids: np.ndarray, texts: Callable[[], Iterable[str]]) -> dict[str, Any]:
    """As `counted`, of the `ids` (n,) that `texts()` became; [CLS] and [SEP] among them are no text.

    Where the token for what is not known is one of these, too (GPT-2's only one, GPT's), the texts alone tell.
    """
    vocab = tokenizer.vocab
    if ids.dtype.kind == "f":  # frames
        return counted(0, len(ids), dict)
    if ids.ndim > 1:  # rows of several tokenizers
        read, unk = ids[:, :-1], np.array(vocab.unk)[:-1]
        return counted(int((read == unk).sum()), int((read >= 0).sum()), lambda: None)
    if vocab.unk in (vocab.cls, vocab.sep):
        alone = [one for one, _ in tokenizer.encode(list(texts()))]
        ids, vocab = np.concatenate([np.zeros(0, np.int32), *alone]), replace(vocab, cls=-1, sep=-1)
    own = int(np.isin(ids, [vocab.cls, vocab.sep]).sum())

    def commonest() -> dict[str, int] | None:
        """Of the words that became [UNK] alone: a letter may have no entry and stand in words that do."""
        if tokenizer.whole_words:
            return None
        words = Counter(word for text in texts() for word in text.split())
        encoded = tokenizer.encode(list(words))
        characters = Characters()
        lost = [(word, n) for (word, n), (ids, _) in zip(words.items(), encoded, strict=True) if vocab.unk in ids]
        characters.count([word for word, n in lost for _ in range(n)])
        return characters.unknown(tokenizer)

    return counted(int((ids == vocab.unk).sum()), len(ids) - own, commonest)


def warning(unknown: dict[str, Any]) -> str:
    """What is to be said, "" where it is nothing."""
    if unknown["share"] <= SOME:
        return ""
    known = unknown["commonest"]
    common = ", ".join(f"{printable(c)} {count:,}" for c, count in (known or {}).items())
    why = f"without an entry: {common}" if common else "words of more characters than the tokenizer takes"
    return f"{unknown['share']:.1%} of the tokens ({unknown['tokens']:,}) are [UNK]" + (
        f"; {why}" if known is not None else ""
    )


def tell(unknown: dict[str, Any], name: str, say: Callable[[str], None]) -> None:
    """One warning, where there is one to give."""
    if said := warning(unknown):
        say(f"warning: {name}: {said}")


def refuse(unknown: dict[str, Any], name: str, way: str, allowed: bool) -> None:
    """InputError above MOST, unless that is `allowed`; `way`: what mends it."""
    if unknown["share"] > MOST and not allowed:
        raise InputError(f"{name}: {warning(unknown)}; {way}, or {flag('allow_unknown')}")


def strings(row: Any) -> Iterable[str]:
    """The texts of a row, however they are held."""
    if isinstance(row, str):
        yield row
    elif isinstance(row, (tuple, list)):
        for part in row:
            yield from strings(part)
