"""The texts of an adaptation: those to go on with, the old domain's, a task's own; looked at, held against one another, made into stores.

In a store an old text and a new one are two languages of it, "en-old" and "en-new", so that each is read by its share and examined by
itself.  The old one stands first: its documents have the same numbers in every store, and the same ones are held out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith import files
from bertsmith.errors import InputError, printable
from bertsmith.spelling import option
from bertsmith.tasks import kinds
from bertsmith.tasks.given import source
from bertsmith.tasks.readers import parse_columns, read
from bertsmith.text import domains
from bertsmith.text.account import Options
from bertsmith.text.corpus import Texts
from bertsmith.text.domains import Domain
from bertsmith.text.prepare import prepare
from bertsmith.text.sample import sampled
from bertsmith.text.sources import AND, Source, apart, listed
from bertsmith.text.store import Store

DOMAIN, TASK, OLD = "domain", "task", "old"  # texts, and the stages of the first two
NEW = "new"  # what a text to go on with is called in a store, beside an old one
NAMED = {  # by the option that gave them
    DOMAIN: lambda: option("corpus"),
    TASK: lambda: option("texts_of"),
    OLD: lambda: option("keep"),
}
INSIDE = 0.95  # of a text's bytes: that is in the old one, and adds nothing to it
PARTLY = 0.02  # of which it is said
WORDS = 100_000_000  # bytes of the sample that new words are chosen by


@dataclass(frozen=True, kw_only=True)
class Given:
    """How texts are read, whosever they are: options of `prepare`."""

    documents: str = "blank"
    lines: str = "paragraph"
    field: str = "text"
    encoding: str = "utf-8"
    language: str | None = None
    holdout: float = 0.05

    @property
    def options(self) -> Options:
        return Options(documents=self.documents, lines=self.lines, field=self.field, encoding=self.encoding)

    def texts(self, sources: Iterable[Source]) -> Texts:
        return Texts(tuple(sources), self.options)

    def listed(self, named: Any, out: str | Path) -> tuple[Source, ...]:
        found = tuple(listed(list(named), encoding=self.encoding).sources)
        for one in found:
            if AND in one.language:
                raise InputError(
                    f"{printable(one.name)}: parallel lines are no text to adapt to; name each side by itself"
                )
        apart(found, list(named), out)
        return found

    def tagged(self, sources: tuple[Source, ...], which: str) -> tuple[Source, ...]:
        """As one of two parts of a store."""
        return tuple(replace(one, language=f"{one.language or self.language or 'en'}-{which}") for one in sources)

    def looked_at(
        self, sources: Mapping[str, tuple[Source, ...]], passages: int, mixed: bool, say: Callable[[str], None]
    ) -> dict[str, Any]:
        """{texts: {name: {documents, held_out, several, passages}}, similarity: {new text: {words, of, inside}}}.

        `mixed`: whether the old text stands before the new one in a store.  InputError where a new text stands in the old one already."""
        found: dict[str, Domain] = {}
        named = {name: called() for name, called in NAMED.items()}
        for name, of in sources.items():
            first = found[OLD].documents if mixed and OLD in found else 0
            how = {"holdout": self.holdout, "passages": passages, "first": first}
            language = of[0].language or self.language or "en"
            found[name] = domains.looked_at(self.texts(of), language=language, **how)
        near = {}
        for name in found if OLD in found else ():
            if name != OLD:
                inside = _apart(named[name], found[name], found[OLD], say)
                words, many = domains.overlap(found[name], found[OLD])
                near[name] = {"words": words, "of": many, "inside": inside}
        for name, one in found.items():
            domains.check_measured(named[name], one)
        counts = ("documents", "held_out", "several")
        texts = {n: {**{c: getattr(one, c) for c in counts}, "passages": [*one.passages]} for n, one in found.items()}
        return {"texts": texts, "similarity": near}


def rows_source(rows: Any, task: str | None, columns: Any, header: bool, encoding: str) -> Source:
    """The texts of a labelled file, or of rows, each different one a document; read as the task reads its files, where one is named."""
    if task is None:
        chosen = parse_columns(columns)
        table: Any = read(source(rows, "texts_of", chosen), columns=chosen or None, header=header, encoding=encoding)
    else:
        kind = kinds.kind(task)
        chosen = parse_columns(columns, kind.roles)
        given = source(rows, "texts_of", chosen, fields=kind.fields, pair=kind.pair)
        table = kind.read(given, columns=chosen or None, header=header, encoding=encoding, labelled=False)
    words = getattr(table, "words", None)
    parts = [(" ".join(one),) for one in words] if words is not None else table.inputs()
    texts = dict.fromkeys(text for row in parts for text in row if isinstance(text, str) and text.strip())
    return Source(name=option("texts_of"), kind="rows", rows=tuple(texts))


def _apart(name: str, new: Domain, old: Domain, say: Callable[[str], None]) -> float:
    """The share of a new text that stands in the old one.  InputError where that is (nearly) all."""
    inside = domains.contained(new, old)
    if inside >= INSIDE:
        raise InputError(
            f"{name}: {inside:.0%} of it stands in {option('keep')}: it is the old domain already; give a text that is new, or another {option('keep')}"
        )
    if inside >= PARTLY:
        say(
            f"warning: {name}: {inside:.1%} of it stands in {option('keep')} too: what is forgotten of the old text looks like less than it is"
        )
    return inside


def digest(sources: Iterable[Source]) -> str:
    """Of the texts, wherever they lie: what a resumed command must find again."""
    whole = hashlib.sha256()
    for one in sources:
        if one.kind == "rows":
            data = json.dumps([dict(row) if isinstance(row, Mapping) else row for row in one.rows], default=str)
            whole.update(hashlib.sha256(data.encode()).digest())
        else:
            whole.update((files.sha256(one.name) if one.is_file else one.name).encode())
        whole.update(f"\0{one.language}\0".encode())
    return whole.hexdigest()


def check_known(looked: Mapping[str, Any], tokenizer: Path, new_words: list[str], allowed: bool) -> None:
    """InputError where the tokenizer has no token for more than 5 % of a text's passages; `prepare` would say so in the middle of the work."""
    from bertsmith.text import unknown
    from bertsmith.text.tokenizer import Tokenizer

    base = Tokenizer.load(tokenizer)
    for name, one in looked["texts"].items():
        ids = np.concatenate(
            [ids for ids, _ in (base.extend(new_words) if new_words else base).encode(one["passages"])]
        )
        found = unknown.of_texts(base, ids, lambda texts=one["passages"]: texts)
        unknown.refuse(found, NAMED[name](), "take a model whose tokenizer knows this text", allowed)


def words_of(asked: str | int, tokenizer: Path, texts: Texts) -> tuple[list[str], dict[str, Any]]:
    """The new words, a number of those that shorten these texts most (text/extend.py) or a list, and what is said of them.

    InputError where the tokenizer cannot take words, or has each as a token."""
    from bertsmith.text.extend import commonest, new_tokens
    from bertsmith.text.tokenizer import Tokenizer
    from bertsmith.text.word_list import word_list

    base, said = Tokenizer.load(tokenizer), {}
    if isinstance(asked, int):
        words, said = commonest(base, sampled(texts, WORDS, False)[0], asked)
    else:
        words = list(word_list(asked)[0])
    try:
        added = new_tokens(base, base.extend(words))
    except InputError as error:
        raise InputError(f"{option('new_words', *([] if isinstance(asked, int) else [asked]))}: {error}") from None
    if not added:
        raise InputError(f"{option('new_words')}: no word of them is new: the tokenizer has each as one token")
    return words, {"words": len(words), "tokens": len(added), **said}


def store_of(
    path: Path,
    given: Given,
    new: tuple[Source, ...],
    old: tuple[Source, ...],
    tokenizer: Path,
    new_words: Path | None,
    allow_unknown: bool,
    say: Callable[[str], None],
) -> Store:
    """The store of a stage's text, made where it is not there; with an old text both are languages of it."""
    if not (path / files.MANIFEST).is_file():
        several = bool(old)
        sources = [*given.tagged(old, OLD), *given.tagged(new, NEW)] if several else list(new)
        how = {name: getattr(given, name) for name in ("documents", "lines", "field", "encoding", "holdout")}
        how["allow_unknown"] = allow_unknown
        language = None if several or any(one.language for one in new) else given.language
        warned = lambda line: say(line) if line.startswith("warning") else None
        prepare(sources, path, tokenizer=str(tokenizer), new_words=new_words, language=language, say=warned, **how)
    return Store.open(path, say=say)


def shares_of(store: Store, keep: float) -> tuple[float, ...]:
    """What share of the tokens read each language of a store is: the old ones `keep` together, the new ones the rest, by size among each."""
    parts = {part.language: part.count for part in store.train.parts}
    sizes = {side: sum(n for name, n in parts.items() if name.endswith(f"-{side}")) for side in (OLD, NEW)}
    if not sizes[OLD]:
        return ()
    share = {OLD: keep, NEW: 1 - keep}
    sides = {name: OLD if name.endswith(f"-{OLD}") else NEW for name in parts}
    return tuple(share[side] * parts[name] / sizes[side] for name, side in sides.items())


def watched(store: Store) -> tuple[str, ...]:
    """The languages whose held-out loss is the new text's; () where that is all."""
    return tuple(one.language for one in store.held_out.languages if one.language.endswith(f"-{NEW}"))
