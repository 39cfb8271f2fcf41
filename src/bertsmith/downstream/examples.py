"""Examples as the model will see them, as objects of contract.md, section `show --json`; the last is the summary."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import NEVER, Batch, Row, Target, Vocab
from bertsmith.data.draw import Draw
from bertsmith.data.text import check_reads
from bertsmith.downstream.rates import Tally
from bertsmith.errors import InputError
from bertsmith.recipe import Recipe
from bertsmith.spelling import option
from bertsmith.text.store import Split

CHUNK = 256  # examples made at a time; a row is its sequences one by one, so the number changes nothing


def split_of(documents: Iterable[Iterable[str]], tokenizer: Any) -> Split:
    """A split in memory, from documents of sentences."""
    ids, starts, sentences, bounds = [np.zeros(0, np.uint32)], [np.zeros(0, bool)], [0], [0]
    for document in documents:
        for sentence_ids, sentence_starts in tokenizer.encode(list(document)):
            ids.append(np.asarray(sentence_ids, np.uint32))
            starts.append(np.asarray(sentence_starts, bool))
            sentences.append(sentences[-1] + len(sentence_ids))
        bounds.append(len(sentences) - 1)
    return Split(
        shards=(np.concatenate(ids),),
        packed=(np.packbits(np.concatenate(starts)),),
        sentences=np.array(sentences, np.int64),
        documents=np.array(bounds, np.int64),
    )


def lines(
    recipe: Recipe,
    split: Any,
    vocab: Vocab,
    tokenizer: Any,
    n: int,
    seed: int,
    epoch: int,
    writer: Any = None,
    layout: Any = None,
    recut: Any = None,
) -> Iterator[dict[str, Any]]:
    """Objects of contract.md, section `show --json`.  Runs on into the next epochs; the first lines do not depend on `n`.

    `layout`: as it reads the store that `split` is of, where that has several languages; `recut`: the split as a view has it, where it is cut
    into other tokens each time."""
    layout = recipe.layout if layout is None else layout
    if writer is not None and writer.tokenizer.reading != tokenizer.reading:
        raise InputError(f"{option('model', writer.run)}: its tokenizer is not that of the text")
    require(n > 0, f"show: -n {n}: at least 1 example")
    require(
        getattr(recipe.corruption.rewrite, "shown", True),
        f"show: {recipe.name} is asked about pairs of words, and nothing is hidden or written in its text that could be shown",
    )
    check_reads(layout, split)
    layout.check(split)
    recipe.corruption.check(split)
    said = getattr(recipe.corruption.rewrite, "of_tokens", ())
    tally = Tally(by_span=getattr(recipe.corruption.rewrite, "by", "token") == "span", vocab=vocab, of_tokens=said)
    draw, index = Draw(seed), 0
    while index < n:
        view = recipe.corruption.view(epoch)
        plan = layout.plan(recut(view) if recut else split, vocab, seed, view)
        order = plan.shuffled(epoch)[: n - index]
        for at in range(0, len(order), CHUNK):
            some = order[at : at + CHUNK]
            row = recipe.corruption.moved(plan.row(some), draw)
            spans = recipe.corruption.select(row, draw)
            batch = recipe.corruption.told(recipe.corruption.rewrite(row, spans, vocab, draw))
            tally.add(row, spans, batch, plan.cut[some], plan.account.get("label_1"))
            tally.add_levels(row, spans, recipe.corruption.select)
            tally.add_languages(plan, some, row)
            tally.add_views(row, recipe.corruption.rewrite, draw)
            tally.add_links(row, batch)
            links = getattr(split, "links", None)
            names = Named(tokenizer, recipe.corruption.rewrite, vocab, () if links is None else links.names)
            classes = () if "token" in batch.targets else tuple(name for name in batch.targets if name not in said)
            for line in _examples(row, spans, _decided(batch, recipe, writer), names, classes):
                yield {"index": index, "epoch": epoch, **line}
                index += 1
        epoch += 1
    yield {"summary": tally.summary(recipe)}


def _decided(batch: Batch, recipe: Recipe, writer: Any) -> Batch:
    """What a generator decides is left out, or, with one, are the places where it wrote another token."""
    term = getattr(recipe.corruption.rewrite, "term", None)
    targets = {name: target for name, target in batch.targets.items() if name != term}
    if writer is not None and term is not None:
        import torch

        objective, given = writer.member.objective, batch.to(writer.device)
        with torch.no_grad(), writer.exact.policy():
            guesses = objective.guesses(given, given.asked("token"))
            written = objective.written(given, guesses).input.tokens.cpu().numpy()
        at, clean = batch.targets["token"].at[:, 0], batch.targets["token"].labels
        other = written[at] != clean
        targets["replaced"] = Target(at=at[other, None], labels=written[at[other]])
    return replace(batch, targets=targets)


class Named:
    """Tokens by name, sentinels that are not the tokenizer's own included, and entities by theirs."""

    def __init__(self, tokenizer: Any, rewrite: Any, vocab: Vocab, entities: Sequence[str] = ()):
        self.tokenizer, self.entities = tokenizer, entities
        self.linked: tuple[str, ...] = getattr(rewrite, "of_entities", ())  # terms whose labels are entities
        self.marks: dict[int, str] = rewrite.names(vocab) if getattr(rewrite, "sentinels", 0) else {}

    def labels(self, term: str, ids: list[int]) -> list[str]:
        return [self.entities[i] for i in ids] if term in self.linked else self.tokens(ids)

    def tokens(self, ids: list[int]) -> list[str]:
        if not self.marks:
            return self.tokenizer.tokens(ids)
        plain = iter(self.tokenizer.tokens([i for i in ids if i not in self.marks]))
        return [self.marks[i] if i in self.marks else next(plain) for i in ids]


def _examples(
    row: Row, spans: np.ndarray, batch: Batch, names: Named, classes: tuple[str, ...] = ()
) -> Iterator[dict[str, Any]]:
    """Each sequence of a corrupted row on its own, with indices of its own.  `classes`: terms whose answers are no tokens."""
    words, sentences = np.flatnonzero(row.starts), np.flatnonzero(row.sentences)
    read = np.concatenate([[0], np.cumsum(batch.input.lengths)])  # with tokens that only ask an input is longer
    asks = np.concatenate([[0], np.cumsum(batch.asking.lengths)])
    sides = zip(*(pairwise(edges.tolist()) for edges in (row.offsets, read, asks)), strict=True)
    for (begin, end), (first, last), (low, high) in sides:
        ids = row.tokens[begin:end].tolist()
        source = {
            "tokens": names.tokens(ids),
            "ids": ids,
            "words": _within(words, begin, end),
            "sentences": _within(sentences, begin, end),
        }
        if row.order is not None:
            source["order"] = (row.order[begin:end] - begin).tolist()
        if names.entities:
            source["entities"] = _mentions(row.entities[begin:end], names)
        yield {
            "source": source,
            "input": _side(batch.input, first, last, names),
            "output": None if batch.output is None else _side(batch.output, low, high, names),
            "spans": (spans[np.searchsorted(spans[:, 0], begin) : np.searchsorted(spans[:, 0], end)] - begin).tolist(),
            "targets": _targets(batch, low, high, names, classes),
        }


def _targets(batch: Batch, first: int, last: int, names: Named, classes: tuple[str, ...] = ()) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, target in batch.targets.items():
        low, high = np.searchsorted(target.at[:, 0], [first, last])
        labels = target.labels[low:high].tolist()
        apart = target.labels.ndim > 1 or high - low > 1 or target.at[low:high, 0].max(initial=first) > first
        if name in classes and low < high and apart:
            found[name] = [list(row) for row in zip((target.at[low:high, 0] - first).tolist(), labels, strict=True)]
        elif name == "pair" or name in classes:
            found |= {name: labels[0]} if labels else {}
        elif target.at.shape[1] > 1:
            at = target.at[low:high]
            rows = np.column_stack([at - first, at[:, 0] - at[:, 1]]).tolist()
            named = zip(rows, names.tokens(labels), labels, strict=True)
            found[name] = [[*row, token, label] for row, token, label in named]
        else:
            places = (target.at[low:high, 0] - first).tolist()
            found[name] = [list(row) for row in zip(places, names.labels(name, labels), labels, strict=True)]
    return found


def _mentions(entities: np.ndarray, names: Named) -> list[list[Any]]:
    """[first token, one past the last, name] of each mention in a sequence (n,)."""
    begins = np.flatnonzero(entities > 0)
    ends = [
        next((i for i in range(at + 1, len(entities)) if entities[i] != -entities[at]), len(entities)) for at in begins
    ]
    return [[int(at), int(end), names.entities[entities[at] - 1]] for at, end in zip(begins, ends, strict=True)]


def _within(places: np.ndarray, begin: int, end: int) -> list[int]:
    return (places[np.searchsorted(places, begin) : np.searchsorted(places, end)] - begin).tolist()


def _side(stream: Any, begin: int, end: int, names: Named) -> dict[str, Any]:
    ids = stream.tokens[begin:end].tolist()
    keys = ("segments", "positions", "query_rank", "key_rank")
    arrays = {key: getattr(stream, key)[begin:end].tolist() for key in keys}
    arrays["key_rank"] = [None if rank == NEVER else rank for rank in arrays["key_rank"]]
    side = {
        "tokens": names.tokens(ids),
        "ids": ids,
        "segments": arrays["segments"],
        "positions": arrays["positions"],
    }
    side |= {"sequence": [0] * len(ids), "query_rank": arrays["query_rank"], "key_rank": arrays["key_rank"]}
    if names.entities and "entity" in stream.features:
        given = stream.features["entity"][begin:end]
        side["entities"] = [[int(at), names.entities[given[at] - 1]] for at in np.flatnonzero(given)]
    if stream.hidden is not None:
        side["hidden"] = np.flatnonzero(stream.hidden[begin:end]).tolist()
    return side if stream.window is None else side | {"window": stream.window}
