"""The tokenizer of a store: loaded, or trained on a deterministic sample of the text."""

import heapq
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bertsmith.data.draw import hashed
from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, flag, option
from bertsmith.text.account import Account
from bertsmith.text.corpus import Document, Texts
from bertsmith.text.hub import HUB, tokenizer_at
from bertsmith.text.multilingual import shares
from bertsmith.text.paragraph_words import Words, unsegmented
from bertsmith.text.sources import AND

if TYPE_CHECKING:
    from bertsmith.text.cleaning import Cleaned
    from bertsmith.text.tokenizer import Tokenizer

    Corpus = Texts | Cleaned


def trains(tokenizer: str, rules: dict[str, Any]) -> bool:
    from bertsmith.text.normal import Rules
    from bertsmith.text.train import KINDS, parse, written

    name = os.fspath(tokenizer)
    of_hub = name.startswith(HUB)
    if of_hub or os.path.lexists(name) or (name.partition(":")[0] not in KINDS and ("/" in name or ":" not in name)):
        if not of_hub and not os.path.exists(name):
            raise InputError(
                f"{option('tokenizer')}: {printable(name)}: no such file or folder; to train one: {', '.join(written())}"
            )
        for name, value in ((name, value) for name, value in rules.items() if value):
            shown = flag(name) if value is True else option(name, value)
            raise InputError(f"{shown}: only for a tokenizer that is trained here; a loaded one keeps its own rule")
        return False
    Rules(**rules)
    parse(name)
    return True


def loaded(path: str) -> "Tokenizer":
    from bertsmith.text.tokenizer import Tokenizer

    return Tokenizer.load(tokenizer_at(path))


def trained(
    kind: str,
    rules: dict[str, Any],
    corpus: "Corpus",
    size: int,
    segmented: bool,
    say: Callable[[str], None],
    smoothing: float | None = None,
    words: Sequence[str] = (),
) -> tuple["Tokenizer", dict[str, Any]]:
    """`smoothing`: of several languages (`smoothed`); `words`: a user's."""
    from bertsmith.text.normal import LONGEST_UNIT
    from bertsmith.text.tokenizer import Tokenizer
    from bertsmith.text.train import BY_WORDS, parse

    whole = parse(kind)[0] in BY_WORDS
    texts, counts = sampled(corpus, size, segmented and not whole, smoothing)
    share = counts["bytes"] / counts["bytes_of"]  # bytes are told of what was read, and by the account alone
    what = "all of the text" if share == 1 else f"a sample, {share:.1%} of the text"
    if smoothing is not None:
        each = ", ".join(f"{name} {of['share']:.1%}" for name, of in counts["languages"].items())
        what = f"{amount(len(counts['languages']), 'language')} ({each})"
    say(f"tokenizer: training {kind} on {what}: {amount(counts['documents'], 'document')}")
    told: dict[str, int] = {}
    apart = Words(rules.get("language", "en"), words, segmented) if whole else None
    made = Tokenizer.train(kind, texts, told=told, words=apart, **rules)
    asked = parse(kind)[1]
    if told["cut_words"]:
        say(
            f"tokenizer: {amount(told['cut_words'], 'word was', 'words were')} cut to {LONGEST_UNIT:,} characters for its training"
        )
    if made.size < asked:
        say(
            f"tokenizer: {amount(made.size, 'entry', 'entries')}, not {asked:,}: the text has no more pieces that occur often enough"
        )
    return made, {**counts, **told, "entries": made.size}


def sampled(
    corpus: "Corpus", size: int, segmented: bool, smoothing: float | None = None
) -> tuple[list[str], dict[str, Any]]:
    """(texts, counts) that a tokenizer learns from; InputError where there are none."""
    pieces, account = corpus.read()
    texts, counts = sample(pieces, size) if smoothing is None else smoothed(corpus, size, smoothing)
    if not texts:
        raise no_text(account)
    return [unsegmented(text)[0] for text in texts] if segmented else texts, {"limit": size, **counts}


def sample(pieces: Iterator[Document], size: int) -> tuple[list[str], dict[str, int]]:
    """The paragraphs, in order, of those documents (parts of 1 MB of long ones) that a hash of their number picks: up to `size` bytes.

    The pieces with the smallest hashes are kept, so that the rate need not be known beforehand and memory stays below `size`.
    """
    kept: list[tuple[int, int, int, list[str]]] = []  # a heap: largest hash first
    total = whole = 0
    keys = _keys()
    for order, piece in enumerate(pieces):
        length = sum(len(p) if p.isascii() else len(p.encode()) for p in piece.paragraphs)
        whole += length
        heapq.heappush(kept, (-next(keys), order, length, [piece.number, piece.paragraphs]))
        total += length
        while total > size and len(kept) > 1:
            total -= heapq.heappop(kept)[2]
    kept.sort(key=lambda piece: piece[1])
    counts = {"bytes": total, "bytes_of": whole, "documents": len({content[0] for *_, content in kept})}
    return [paragraph for *_, content in kept for paragraph in content[1]], counts


def smoothed(corpus: "Corpus", size: int, smoothing: float) -> tuple[list[str], dict[str, Any]]:
    """The paragraphs of a sample in which each language has the share that `multilingual.shares` gives its bytes: as large as `size` lets it
    be, and no larger than makes the most frequent language stand in it once.  Small ones stand in it several times.

    Read twice, for shares are known when all was read.  Which pieces of a language are taken is the same as if a line were drawn through
    its text at even distances, so that bytes are exact to one piece (of 1 MB at most).
    """
    sizes: dict[str, int] = {}
    for piece in corpus.read()[0]:
        for language, _, length in _by_language(piece):
            sizes[language] = sizes.get(language, 0) + length
    if not any(sizes.values()):
        return [], {"bytes": 0, "bytes_of": 0, "documents": 0}
    share = dict(zip(sizes, shares(np.array([*sizes.values()]), smoothing).tolist(), strict=True))
    largest = max(sizes, key=lambda name: sizes[name])
    whole = min(size, sizes[largest] / share[largest])
    times = {name: share[name] * whole / max(of, 1) for name, of in sizes.items()}
    due, taken, texts = dict.fromkeys(sizes, 0.0), dict.fromkeys(sizes, 0), []
    documents = set()
    for piece in corpus.read()[0]:
        for language, paragraphs, length in _by_language(piece):
            due[language] += times[language] * length
            copies = int(due[language] / length + 0.5) if length else 0
            due[language] -= copies * length
            taken[language] += copies * length
            texts += paragraphs * copies
            if copies:
                documents.add(piece.number)
    total = sum(taken.values())
    about = {name: {"bytes": taken[name], "of": of, "share": taken[name] / total} for name, of in sizes.items()}
    counts = {"bytes": total, "bytes_of": sum(sizes.values()), "documents": len(documents)}
    return texts, {**counts, "smoothing": smoothing, "languages": about}


def _by_language(piece: Document) -> Iterator[tuple[str, list[str], int]]:
    """(language, paragraphs, bytes): of parallel lines each side by itself."""
    languages = piece.language.split(AND)
    for side, language in enumerate(languages):
        mine = piece.paragraphs[side :: len(languages)]
        yield language, mine, sum(len(p) if p.isascii() else len(p.encode()) for p in mine)


def _keys() -> Iterator[int]:
    start = 0
    while True:
        yield from hashed(0, "tokenizer sample", np.arange(start, start + 4096)).tolist()
        start += 4096


def no_text(account: Account) -> InputError:
    lines = f"{amount(account.lines, 'line')}, {account.blank_lines} blank, {account.bad_lines} bad"
    return InputError(
        f"SOURCE: no text in {amount(account.files, 'file')} ({amount(account.read, 'byte')}; {lines}); nothing to make a store of"
    )
