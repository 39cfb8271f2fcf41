"""Show: what the model will see, example by example, and whether the rates that the recipe asks for are met.

`lines` yields the objects of `show --json` (the last is the summary); `text` renders them for people.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith.config import Settings, override, require
from bertsmith.data.batch import NEVER, Batch, Row, Target, Vocab
from bertsmith.data.draw import Draw
from bertsmith.errors import InputError, printable
from bertsmith.recipe import Recipe, find
from bertsmith.text import unknown
from bertsmith.text.store import Split, Store

CHUNK = 256  # examples made at a time; a row is its sequences one by one, so the number changes nothing


def show(
    recipe: str | Recipe,
    data: str | Path | Store | None = None,
    *,
    text: str | Path | None = None,
    tokenizer: str | Path | None = None,
    n: int = 3,
    seed: int = 0,
    epoch: int = 0,
    set: Settings = (),
    model: str | Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[dict[str, Any]]:
    """The first `n` examples of an epoch and the summary, from a store, or from a text file with a tokenizer.

    The summary counts [UNK] over the sources; above 1 % that is said, with the characters of the whole text that have no entry.
    `model`: a run whose generator writes over what is hidden; the replacements then stand under `targets.replaced`.
    """
    recipe = find(recipe) if isinstance(recipe, str) else recipe
    recipe = override(recipe, set)
    if (data is None) == (text is None) or (text is None) != (tokenizer is None):
        raise InputError("show: needs either --data STORE, or --text FILE and --tokenizer DIR")
    writer = None if model is None else _writer(model)
    if text is not None:
        return _of_text(recipe, text, tokenizer, n, seed, epoch, writer, say)
    return _of_store(recipe, data if isinstance(data, Store) else Store.open(data), n, seed, epoch, writer, say)


def _writer(model: str | Path) -> Any:
    from bertsmith.downstream.model import load

    loaded = load(model)
    if not hasattr(loaded.member.objective, "written"):
        raise InputError(f"--model {printable(model)}: has no generator; only ELECTRA and its relatives have one")
    return loaded


def _of_text(
    recipe: Recipe, text: Any, tokenizer: Any, n: int, seed: int, epoch: int, writer: Any, say: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """As `prepare` reads it, so that what is shown is what would be trained on."""
    from bertsmith.text.prepare import prepare

    with tempfile.TemporaryDirectory(prefix="bertsmith-show-") as folder:
        out = Path(folder) / "store"
        prepare([str(text)], str(out), tokenizer=str(tokenizer), holdout=0, allow_unknown=True)
        yield from _of_store(recipe, Store.open(out, verify=False), n, seed, epoch, writer, say)


def _of_store(
    recipe: Recipe, store: Store, n: int, seed: int, epoch: int, writer: Any, say: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    lost = 0, 0
    for line in lines(recipe, store.train, store.vocab, store.tokenizer, n, seed, epoch, writer):
        if "summary" in line:
            lost = line["summary"]["tokens"]["unknown"], line["summary"]["tokens"]["text"]
        yield line
    known = store.manifest.get("account", {}).get("unknown", {}).get("commonest", {})
    # Where the corpus has few, nobody has looked for them.
    unknown.tell(unknown.counted(lost[0], lost[1], lambda: known or None), "the examples", say)


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
    recipe: Recipe, split: Any, vocab: Vocab, tokenizer: Any, n: int, seed: int, epoch: int, writer: Any = None
) -> Iterator[dict[str, Any]]:
    """Objects of contract.md, section `show --json`.  Runs on into the next epochs; the first lines do not depend on `n`."""
    if writer is not None and writer.tokenizer.reading != tokenizer.reading:
        raise InputError(f"--model {printable(writer.run)}: its tokenizer is not that of the text")
    require(n > 0, f"show: -n {n}: at least 1 example")
    recipe.layout.check(split)
    recipe.corruption.check(split)
    tally = Tally(by_span=getattr(recipe.corruption.rewrite, "by", "token") == "span", vocab=vocab)
    draw, index = Draw(seed), 0
    while index < n:
        plan = recipe.layout.plan(split, vocab, seed, recipe.corruption.view(epoch))
        order = plan.shuffled(epoch)[: n - index]
        for at in range(0, len(order), CHUNK):
            some = order[at : at + CHUNK]
            row = plan.row(some)
            spans = recipe.corruption.select(row, draw)
            batch = recipe.corruption.rewrite(row, spans, vocab, draw)
            tally.add(row, spans, batch, plan.cut[some], plan.account.get("label_1"))
            tally.add_levels(row, spans, recipe.corruption.select)
            tally.add_views(row, recipe.corruption.rewrite, draw)
            for line in _examples(row, spans, _decided(batch, recipe, writer), tokenizer):
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


def _examples(row: Row, spans: np.ndarray, batch: Batch, tokenizer: Any) -> Iterator[dict[str, Any]]:
    """Each sequence of a corrupted row on its own, with indices of its own."""
    words, sentences = np.flatnonzero(row.starts), np.flatnonzero(row.sentences)
    read = np.concatenate([[0], np.cumsum(batch.input.lengths)])  # with tokens that only ask an input is longer
    sides = zip(pairwise(row.offsets.tolist()), pairwise(read.tolist()), strict=True)
    for (begin, end), (first, last) in sides:
        ids = row.tokens[begin:end].tolist()
        targets: dict[str, Any] = {}
        for name, target in batch.targets.items():
            low, high = np.searchsorted(target.at[:, 0], [first, last])
            labels = target.labels[low:high].tolist()
            if name == "pair":
                targets |= {name: labels[0]} if labels else {}
            elif target.at.shape[1] > 1:
                at = target.at[low:high]
                rows = np.column_stack([at - first, at[:, 0] - at[:, 1]]).tolist()
                named = zip(rows, tokenizer.tokens(labels), labels, strict=True)
                targets[name] = [[*row, token, label] for row, token, label in named]
            else:
                places = (target.at[low:high, 0] - first).tolist()
                targets[name] = [list(row) for row in zip(places, tokenizer.tokens(labels), labels, strict=True)]
        yield {
            "source": {
                "tokens": tokenizer.tokens(ids),
                "ids": ids,
                "words": _within(words, begin, end),
                "sentences": _within(sentences, begin, end),
            },
            "input": _side(batch.input, first, last, tokenizer),
            "output": None,
            "spans": (spans[np.searchsorted(spans[:, 0], begin) : np.searchsorted(spans[:, 0], end)] - begin).tolist(),
            "targets": targets,
        }


def _within(places: np.ndarray, begin: int, end: int) -> list[int]:
    return (places[np.searchsorted(places, begin) : np.searchsorted(places, end)] - begin).tolist()


def _side(stream: Any, begin: int, end: int, tokenizer: Any) -> dict[str, Any]:
    ids = stream.tokens[begin:end].tolist()
    keys = ("segments", "positions", "query_rank", "key_rank")
    arrays = {key: getattr(stream, key)[begin:end].tolist() for key in keys}
    arrays["key_rank"] = [None if rank == NEVER else rank for rank in arrays["key_rank"]]
    side = {
        "tokens": tokenizer.tokens(ids),
        "ids": ids,
        "segments": arrays["segments"],
        "positions": arrays["positions"],
    }
    side |= {"sequence": [0] * len(ids), "query_rank": arrays["query_rank"], "key_rank": arrays["key_rank"]}
    return side if stream.window is None else side | {"window": stream.window}


@dataclass
class Tally:
    """Counts over the lines printed."""

    by_span: bool
    vocab: Vocab
    counts: dict[str, float] = field(default_factory=dict)

    def _count(self, **more: float) -> None:
        for key, value in more.items():
            self.counts[key] = self.counts.get(key, 0) + value

    def add(self, row: Row, spans: np.ndarray, batch: Batch, cut: np.ndarray, label_1: float | None) -> None:
        target = batch.targets["token"]
        written = batch.input.tokens[target.at[:, 0]]
        masked, kept = written == self.vocab.mask, written == target.labels
        if self.by_span and len(spans):  # what holds for a span holds for all of its tokens
            first = np.cumsum(spans[:, 1] - spans[:, 0]) - (spans[:, 1] - spans[:, 0])
            masked, kept = np.logical_and.reduceat(masked, first), np.logical_and.reduceat(kept, first)
        held = np.cumsum(row.starts)
        whole = held[spans[:, 1] - 1] - held[spans[:, 0]] + 1 if len(spans) else np.zeros(0)
        self._count(spans=len(spans), span_words=int(whole.sum()), span_tokens=int((spans[:, 1] - spans[:, 0]).sum()))
        special = [i for i in self.vocab.special if i != self.vocab.unk]
        self._count(unknown=int((row.tokens == self.vocab.unk).sum()), text=int((~np.isin(row.tokens, special)).sum()))
        self._count(examples=len(row.lengths), source=len(row.tokens), used=batch.tokens, cut=int(cut.sum()))
        self._count(asked=len(target), draws=len(masked), mask=int(masked.sum()), kept=int((kept & ~masked).sum()))
        if "pair" in batch.targets:
            labels = batch.targets["pair"].labels
            self._count(pairs=len(labels), label_1=int((labels == 1).sum()), expected=len(labels) * (label_1 or 0.0))

    def add_levels(self, row: Row, spans: np.ndarray, select: Any) -> None:
        """Tokens and asked tokens by the level that a curriculum was at."""
        if not hasattr(select, "stages"):
            return
        stages, of = select.stages(row), np.searchsorted(row.offsets, spans[:, 0], "right") - 1
        asked = np.bincount(of, weights=spans[:, 1] - spans[:, 0], minlength=len(stages))
        for stage, level in enumerate(select.levels):
            here = stages == stage
            self._count(**{f"asked.{level}": int(asked[here].sum()), f"source.{level}": int(row.lengths[here].sum())})

    def add_views(self, row: Row, rewrite: Any, draw: Draw) -> None:
        """Sequences by who sees whom, where that is drawn."""
        if hasattr(rewrite, "views"):
            drawn = rewrite.drawn(row, draw)
            for number, view in enumerate(rewrite.views.shares):
                self._count(**{f"views.{view}": int((drawn == number).sum())})

    def summary(self, recipe: Recipe) -> dict[str, Any]:
        """`requested.pair` is the share over the whole epoch, which the layout's rule gives on this corpus."""
        c, select, rewrite = self.counts, recipe.corruption.select, recipe.corruption.rewrite
        draws = max(c["draws"], 1)
        requested: dict[str, float] = {}
        achieved: dict[str, float] = {}
        if select.rate < 1:  # who asks for everything has no share to meet
            requested["rate"], achieved["rate"] = select.rate, c["asked"] / c["source"]
        if hasattr(rewrite, "mask"):
            requested |= {"mask": rewrite.mask, "kept": 1 - rewrite.mask - rewrite.random, "random": rewrite.random}
            achieved |= {"mask": c["mask"] / draws, "kept": c["kept"] / draws}
            achieved["random"] = (c["draws"] - c["mask"] - c["kept"]) / draws
        if hasattr(select, "mean"):
            unit = "span_tokens" if select.units == "token" else "span_words"
            requested[unit], achieved[unit] = select.mean, c[unit] / max(c["spans"], 1)
        for level in [name.partition(".")[2] for name, count in c.items() if name.startswith("source.") and count]:
            requested[f"rate.{level}"] = select.rate
            achieved[f"rate.{level}"] = c[f"asked.{level}"] / c[f"source.{level}"]
        for view, share in rewrite.views.shares.items() if hasattr(rewrite, "views") else ():
            requested[f"views.{view}"], achieved[f"views.{view}"] = share, c[f"views.{view}"] / c["examples"]
        if "pairs" in c:
            requested["pair"] = c["expected"] / c["pairs"]
            achieved["pair"] = c["label_1"] / c["pairs"]
        return {
            "requested": {key: round(value, 6) for key, value in requested.items()},
            "achieved": {key: round(value, 6) for key, value in achieved.items()},
            "examples": c["examples"],
            "tokens": {
                "used": c["used"],
                "padding": 0,
                "dropped": c["cut"],
                "unknown": c["unknown"],
                "text": c["text"],
            },
        }


LEGEND = (
    "[MASK:x] hidden x · [y<-x] random y written over x · [=x] asked, kept as it is · [x~y] y moved to where x stood · "
    "[k:x] x asked as number k of a random order"
)


def meanings(recipe: str | Recipe, set: Settings = ()) -> tuple[str, ...]:
    """What each label of a pair says in this recipe."""
    recipe = find(recipe) if isinstance(recipe, str) else recipe
    return getattr(override(recipe, set).layout, "pairs", ())


def text(found: Iterable[dict[str, Any]], pairs: tuple[str, ...] = ()) -> Iterator[str]:
    """For people, a line of the terminal at a time; `pairs` as `meanings` gives them."""
    for line in found:
        if "summary" in line:
            yield from _table(line["summary"])
            continue
        asked, ids = _asked(line), line["source"]["ids"]
        label = line["targets"].get("pair")
        said = f": {pairs[label]}" if pairs and label is not None else ""
        pair = "" if label is None else f" · pair {label}{said}"
        if line["index"] == 0:
            yield LEGEND
        head = f"example {line['index']} · epoch {line['epoch']} · {len(ids)} tokens · {len(line['targets'].get('token', []))} asked"
        yield f"\n{head}{pair}{_seen(line['input']['query_rank'][: len(ids)])}"
        yield " ".join(_mark(i, line, asked) for i in range(len(ids)))


def _asked(line: dict[str, Any]) -> dict[int, str]:
    """{place in the text: what to show there} of the tokens that are asked for where they stand, or by a token behind the text (then
    with their number in its order).  A language model asks for all tokens alike, each from its neighbour: nothing to mark."""
    ids, side, asked = line["source"]["ids"], line["input"], line["targets"].get("token", [])
    behind = [(place, token) for place, token, _ in asked if place >= len(ids)]
    if behind:
        order = sorted({side["query_rank"][place] for place, _ in behind})
        number = {rank: k + 1 for k, rank in enumerate(order)}
        return {side["positions"][place]: f"{number[side['query_rank'][place]]}:{token}" for place, token in behind}
    in_place = all(ids[place] == answer for place, _, answer in asked)
    return {place: token for place, token, _ in asked} if in_place else {}


SEEN = {(1,): "left to right", (-1,): "right to left", (0, 1): "source to target"}


def _seen(ranks: list[int]) -> str:
    """Who sees whom, where it is neither all nor without order."""
    said = SEEN.get(tuple(sorted({int(np.sign(b - a)) for a, b in pairwise(ranks)})))
    return f" · {said}" if said else ""


def _mark(i: int, line: dict[str, Any], asked: dict[int, str]) -> str:
    written, clean = line["input"]["tokens"][i], line["source"]["tokens"][i]
    if i not in asked:
        return clean if written == clean else f"[{clean}~{written}]"
    if asked[i] != clean:
        return f"[{asked[i]}]"
    if line["input"]["ids"][i] == line["source"]["ids"][i]:
        return f"[={clean}]"
    bare = written.strip("[]<>")
    return f"[MASK:{clean}]" if bare.lower() == "mask" else f"[{written}<-{clean}]"


def _table(summary: dict[str, Any]) -> Iterator[str]:
    yield ""
    wide = max([8, *map(len, summary["requested"])])
    yield f"{'':{wide}}{'requested':>12}{'achieved':>12}"
    for key, wanted in summary["requested"].items():
        yield f"{key:{wide}}{wanted:12.4f}{summary['achieved'][key]:12.4f}"
    tokens = summary["tokens"]
    yield f"{summary['examples']} examples, {tokens['used']:,} tokens used, {tokens['padding']:,} padding, {tokens['dropped']:,} dropped, {tokens['unknown']:,} [UNK]"
