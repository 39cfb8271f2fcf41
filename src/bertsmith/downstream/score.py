"""How probable a model finds texts, continuations of prompts, or the better of two sentences: `score`."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith import files
from bertsmith.downstream.model import Loaded, check_says_tokens, opened
from bertsmith.downstream.outputs import check_file
from bertsmith.downstream.written import Written
from bertsmith.errors import InputError, nearest, printable
from bertsmith.spelling import option
from bertsmith.tasks import metrics
from bertsmith.tasks.given import source
from bertsmith.tasks.lines import Lines, check_there
from bertsmith.tasks.readers import check_text, parse_columns, read, say_notes
from bertsmith.tasks.reading import OnLong
from bertsmith.tasks.table import ROLES, Table
from bertsmith.text import unknown

METHODS = ("causal", "pll", "pll-word", "decoder")
PER = ("text", "token", "byte", "character")
LONG = ("window", "error")
PAIR = ("text", "text2", "source")  # of a pair: good, bad, and what both are about
# Columns of pairs: BLiMP's, and plain ones.
NAMES = ({"text": "sentence_good", "text2": "sentence_bad"}, {"text": "good", "text2": "bad"})
Columns = str | Mapping[str, str | int] | None
Say = Callable[[str], None]


def score(
    model: str | Path | Loaded,
    input: Any = None,
    *,
    pairs: Any = None,
    method: str | None = None,
    per: str = "text",
    each: bool = False,
    written: str | None = None,
    labels: Any = (),
    out: str | Path | None = None,
    columns: Columns = None,
    header: bool = True,
    join: str = " ",
    on_long: OnLong = "window",
    stride: int | None = None,
    base: str | Path | Loaded | None = None,
    members: tuple[str, ...] = (),
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """Log-probabilities, in nats: `{method, texts: [{index, logprob, tokens, bytes, characters}], total}`, `total` with bits_per_byte and perplexity.

    `input`: a file, or rows (tasks/given.py).  With a column `text2` that is what is scored, going on from `text`, a prompt; `join` stands
    between them unless one has white space there.  `each`: also every token with its own, as `each`.
    `method`: causal, what a language model says, token after token, from the end of the document before (Radford et al. 2019); of a member
    that sees both sides the pseudo-log-likelihood, each token hidden alone (pll, Salazar et al. 2020) or with the later tokens of its word
    (pll-word, Kauf & Ivanova 2023), which is the default there.  `decoder`, the one way of a model with a decoder: what it says of `text2`
    about `text`, which it reads, token after token and the end included; a text alone it says nothing of.
    `pairs`: a file, several, or rows, of a good sentence and a bad one (`text` and `text2`, or BLiMP's names): `{method, accuracy, pairs}`, the share
    of pairs whose good one is more probable, `per` text, token, byte or character; of several files `files` and the mean over them.  A column
    `source` is what both are about, which a model with a decoder reads (Sennrich 2017, contrastive translations).
    `written`: a task as text, such as "{text} It was {label}." (Radford et al. 2019, section 3): each row of `input`, with `text`, `text2` and
    `label` as its columns say, is asked for every label, and the most probable is what the model says: `{method, per, rows: [{index, label,
    scores}]}` and, of a file with labels, `accuracy` and `classes`.  `labels`: which there are, or {label: how it is written}.
    `on_long`: window (each begins `stride` tokens after the one before, and every token is asked for once) or error.  `out`: a JSON line for each row.
    """
    _check_asked(input, pairs, method, per, on_long, stride, out)
    task = None if written is None else Written.of(written, labels)
    if task is not None and pairs is not None:
        raise InputError(
            f"{option('written')}: is a task about the rows of {option('input')}; {option('pairs')} has none"
        )
    tables = [*_tables(input, columns, header)] if pairs is None else [*_paired(pairs, columns, header)]
    task = task and task.about(tables[0])
    loaded = opened(model, members=members, say=say, base=base)
    method = way_of(loaded, method)
    asks: Any
    if method == "decoder":
        from bertsmith.downstream.conditional import Conditional

        _check_read(loaded, tables, pairs is not None, task is not None)
        asks = Conditional(loaded)
    else:
        from bertsmith.downstream.likelihood import Likelihood

        asks = Likelihood(loaded, method=method, on_long=on_long, stride=stride, join=join)
    if task is not None:
        say_notes(tables[0], say)
        found = task.asked(asks, tables[0], lambda row: _per(row, per))
        _write(out, [found["rows"]])
        return {"method": method, "per": per, **found}
    rows = [_scored(asks, table, pairs is not None, each, say) for table in tables]
    found = _texts(rows[0]) if pairs is None else _compared(tables, rows, per)
    _write(out, rows)
    return {"method": method, **found}


def _write(out: str | Path | None, rows: list[list[dict[str, Any]]]) -> None:
    if out is not None:
        files.write_rows(Path(out), chain.from_iterable(rows))


def _check_asked(
    input: Any, pairs: Any, method: str | None, per: str, on_long: str, stride: int | None, out: Any
) -> None:
    if (input is None) == (pairs is None):
        raise InputError(
            f"score: give {option('input', like='FILE')}, texts to score, or {option('pairs', like='FILE')}, good and bad sentences"
        )
    for name, value, known in (("method", method, METHODS), ("per", per, PER), ("on_long", on_long, LONG)):
        if value is not None and value not in known:
            raise InputError(f"{option(name, value)}: unknown; {nearest(str(value), known)}")
    if stride is not None and stride < 1:
        raise InputError(f"{option('stride', stride)}: is below 1, a token from the start of one window to the next")
    if out is not None and Path(out).exists():
        raise InputError(f"{printable(out)}: {option('out')} exists already; choose another place")
    if out is not None:
        check_file(Path(out), "scores.jsonl")


def _tables(input: Any, columns: Columns, header: bool) -> Iterator[Table]:
    if isinstance(input, (str, os.PathLike)):
        check_there(input)
    given = source(input, "input", parse_columns(columns))
    yield read(given, columns=getattr(given, "columns", None) or columns, header=header)


def _paired(pairs: Any, columns: Columns, header: bool) -> Iterator[Table]:
    several = isinstance(pairs, (list, tuple)) and all(isinstance(path, (str, os.PathLike)) for path in pairs)
    for path in pairs if several else [pairs]:
        if isinstance(path, (str, os.PathLike)):
            check_there(path)
        names = _names(path)
        chosen = parse_columns(columns, PAIR) or _usual(names)
        given = source(path, "pairs", chosen, fields=PAIR, pair=PAIR[:2])
        known = getattr(given, "columns", None) or chosen
        about = PAIR[2] in names or PAIR[2] in chosen
        table = read(given, columns=known, header=header, required=PAIR[:2], roles=PAIR if about else ROLES)
        for role in PAIR if about else ():
            for i, text in enumerate(table.rows(role) or ()):
                check_text(text, f"{table.where(i)}: {role}")
        yield table


def _usual(names: Any) -> dict[str, str]:
    """What the columns of pairs are called, where they have one of the names that are known."""
    return next((usual for usual in NAMES if all(name in names for name in usual.values())), {})


def _names(pairs: Any) -> Any:
    """The names of the columns of pairs; of a file its first line."""
    if isinstance(pairs, (str, os.PathLike)):
        return next((line for _, line in islice(Lines(Path(pairs)), 1)), "")
    rows = pairs if isinstance(pairs, Mapping) or hasattr(pairs, "columns") else next(iter(pairs), ())
    return list(rows) if isinstance(rows, Mapping) or hasattr(rows, "columns") else ()


def way_of(loaded: Loaded, method: str | None) -> str:
    """InputError for a model that says nothing of tokens, or not so."""
    check_says_tokens(loaded, "cannot score texts")
    ways, does = ("pll-word", "pll"), "sees both sides of a token"
    if getattr(loaded.recipe.model, "decodes", False):
        ways, does = ("decoder",), "writes with a decoder"
    elif loaded.reading().causal:
        ways, does = ("causal",), "sees only what comes before a token"
    elif not getattr(loaded.recipe.corruption.rewrite, "hides", True):
        raise InputError(
            f"{printable(loaded.run)}: this model reads what stands behind a token, and nothing was hidden from it, so it cannot score texts; take a member that reads from the left, or one that hides some"
        )
    if method is not None and method not in ways:
        raise InputError(f"{option('method', method)}: {printable(loaded.run)} {does}; take {ways[0]}")
    return method or ways[0]


def _check_read(loaded: Loaded, tables: list[Table], paired: bool, written: bool) -> None:
    """InputError where a decoder has nothing to read: of a text alone it says nothing that could be compared."""
    for table in tables:
        if written or (table.rows("source") if paired else table.rows("text2")) is not None:
            continue
        wanted = (
            "a column source, which both texts of a pair are about"
            if paired
            else "texts (text) and what is written about them (text2)"
        )
        raise InputError(
            f"{printable(table.path)}: {printable(loaded.run)} writes with a decoder about a text that it reads: give {wanted}, or take a model of one stack"
        )


def _scored(asks: Any, table: Table, paired: bool, each: bool, say: Say) -> list[dict[str, Any]]:
    say_notes(table, say)
    first, second, name = table.columns["text"], table.rows("text2"), printable(table.path)
    about = table.rows("source") if paired else None
    told = [*unknown.strings([first, second or [], about or []])]
    unknown.tell(unknown.of_texts(asks.loaded.tokenizer, asks.ids([*told]), lambda: told), name, say)
    if not paired:
        rows = asks(first, second, table.where, each)
        return [{"index": i, **row} for i, row in enumerate(rows)]
    sides = ((texts, None) if about is None else (about, texts) for texts in (first, second))
    good, bad = (asks(*side, table.where, each) for side in sides)
    return [{"index": i, "good": one, "bad": other} for i, (one, other) in enumerate(zip(good, bad, strict=True))]


def _texts(rows: list[dict[str, Any]]) -> dict[str, Any]:
    total: dict[str, Any] = {name: sum(row[name] for row in rows) for name in ("tokens", "bytes", "characters")}
    total["logprob"] = math.fsum(row["logprob"] for row in rows)
    for one in PER[1:]:
        total[f"per_{one}"] = total["logprob"] / max(1, total[f"{one}s"])
    total["bits_per_byte"] = -total["per_byte"] / math.log(2)
    total["perplexity"] = math.exp(min(700.0, -total["per_token"]))
    return {"texts": rows, "total": total}


def _above(good: float, bad: float) -> bool:
    """More probable by more than what stands beside a text in a batch can change."""
    return good - bad > 1e-6 * max(1.0, abs(good))


def _compared(tables: list[Table], rows: list[list[dict[str, Any]]], per: str) -> dict[str, Any]:
    right = [np.array([_above(_per(row["good"], per), _per(row["bad"], per)) for row in part], float) for part in rows]
    single = [{"accuracy": metrics.mean(part), "pairs": len(part)} for part in right]
    if len(single) == 1:
        return {"per": per, **single[0], "rows": rows[0]}
    # A file is a phenomenon and counts as one: each pair of a file of n stands for 1 / n.
    each = np.concatenate([np.full(len(part), 1 / len(part)) for part in right])
    mean = metrics.mean(np.concatenate(right), weights=each)
    named = {str(table.path): part for table, part in zip(tables, single, strict=True)}
    return {"per": per, "accuracy": mean, "pairs": sum(map(len, right)), "files": named}


def _per(row: dict[str, Any], per: str) -> float:
    return row["logprob"] / (1 if per == "text" else max(1, row[f"{per}s"]))
