"""`prepare --new-words FILE|N`: which words a loaded tokenizer is to have as well, and what the store's manifest says of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, option
from bertsmith.text.word_list import word_list

if TYPE_CHECKING:
    from bertsmith.text.tokenizer import Tokenizer

Sample = Callable[[], tuple[list[str], dict[str, int]]]  # texts, and how they were drawn
MOST = 1_000_000
SHOWN = 8  # words that are named


def checked(asked: str | int | os.PathLike | None, trains: bool) -> str | int | None:
    """A number, or the name of a word list.  InputError where the tokenizer is trained here, and for what is neither."""
    if asked is None:
        return None
    if trains:
        raise InputError(
            f"{option('new_words')}: only for a loaded tokenizer ({option('tokenizer', like='DIR')}); one that is trained here learns its words: ask it for more entries"
        )
    name = os.fspath(asked) if not isinstance(asked, int) else str(asked)
    if name.isascii() and name.isdecimal() and not os.path.lexists(name):
        if not 1 <= int(name) <= MOST:
            raise InputError(f"{option('new_words')}: {printable(name)} is not a number of words from 1 to {MOST:,}")
        return int(name)
    if isinstance(asked, (bool, int)):
        raise InputError(f"{option('new_words')}: {printable(asked)} is not a number of words from 1 to {MOST:,}")
    if not os.path.lexists(name):
        raise InputError(
            f"{option('new_words')}: {printable(name)}: no such file; a word list (one a line), or a number of words"
        )
    return name


def add(
    tokenizer: Tokenizer, asked: str | int, texts: Sample, say: Callable[[str], None]
) -> tuple[Tokenizer, dict[str, Any], dict[str, Any]]:
    """The tokenizer with those words; what the manifest's tokenizer field says of it; what the account says."""
    from bertsmith.text.extend import commonest, new_tokens

    said: dict[str, Any] = {"from": "sample" if isinstance(asked, int) else "list"}
    if isinstance(asked, int):
        sample, drawn = texts()
        words, counts = commonest(tokenizer, sample, asked)
        said |= {"asked": asked, **counts, "sample": drawn}
        if len(words) < asked:
            say(
                f"{option('new_words')}: {amount(len(words), 'word')}, not {asked:,}: no more stand twice in the sample and are cut into pieces"
            )
    else:
        words, _ = word_list(asked)
        said |= {"asked": len(words)}
    try:
        more = tokenizer.extend(words)
    except InputError as error:
        raise InputError(f"{option('new_words', *([] if isinstance(asked, int) else [asked]))}: {error}") from None
    added = new_tokens(tokenizer, more)
    assert added is not None  # it was made of it
    names = more.tokens(added)
    if not names:
        raise InputError(
            f"{option('new_words')}: none of {amount(said['asked'], 'word')} is new: the tokenizer has each as one token"
        )
    said |= {"words": len(words), "tokens": len(names)}
    shown = ", ".join(printable(name, 30) for name in names[:SHOWN])
    say(
        f"tokenizer: {amount(len(names), 'new token')}, {tokenizer.size:,} before: {shown}{', …' if len(names) > SHOWN else ''}"
    )
    if "saved_tokens" in said:
        share = said["saved_tokens"] / max(1, said["sample_tokens"])
        say(
            f"tokenizer: the words of the sample take {amount(said['sample_tokens'], 'token')}, {share:.1%} fewer with the new ones"
        )
    return more, {"extends": {"digest": tokenizer.digest, "size": tokenizer.size, "tokens": names}}, said
