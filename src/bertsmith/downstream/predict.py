"""Answers of a fine-tuned model for a file or rows, and how good they are: `predict` and `evaluate`."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith import files
from bertsmith.config import from_dict
from bertsmith.downstream import explained, several
from bertsmith.downstream.model import Loaded, opened
from bertsmith.downstream.outputs import check_apart, check_lines
from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, option
from bertsmith.tasks import breakdown, kinds, metrics, nbest
from bertsmith.tasks.given import Given, source
from bertsmith.tasks.hub_rows import HUB, named
from bertsmith.tasks.lines import check_there, trained_encoding
from bertsmith.tasks.readers import parse_columns, say_notes
from bertsmith.tasks.reading import OnLong, Reading
from bertsmith.tasks.sequences import say_long
from bertsmith.tasks.table import EVERY
from bertsmith.text import unknown
from bertsmith.text.encodings import UTF8, checked
from bertsmith.training.run import open_store

Columns = str | Mapping[str, str | int] | None
Say = Callable[[str], None]
SUMS = {"loss", "correct", "count"}  # what every term of an evaluation sums


def predict(
    model: str | Path | Loaded,
    input: Any,
    out: str | Path | None = None,
    *,
    top: int | None = None,
    explain: str | Path | None = None,
    columns: Columns = None,
    header: bool | None = None,
    encoding: str | None = None,
    on_long: OnLong | None = None,
    ensemble: Any = (),
    base: str | Path | Loaded | None = None,
    members: tuple[str, ...] = (),
    say: Say = lambda line: None,
) -> Any:
    """`{index, label, scores}` for each row of `input`, in its order; `out`: the same as JSON lines.

    `input`: a file, or rows: a list of texts, of pairs or of dicts, a dict of columns, a NumPy array (tasks/given.py).  Of a Series or DataFrame
    of pandas it is a DataFrame, on the same index instead of `index`.  A row of "tag" is a text or a list of words, of "qa" (question, context).
    classify: the class, and the probability of every class; regress: the number, in the scale of the training file; tag: lists, one entry
    for each word, with `words` and `spans` (of rows that are texts with their `characters`); qa: the text of the answer, "" for none, with `id`, `start` and `end` in characters.
    `top`: of "qa" so many best answers a question, the most likely first, as `answers`.  `explain`: a page of the first 100 texts, their tokens coloured by what they add to the answer (gradient x input; classify, ordinal, regress
    and relation).  `ensemble`: further fine-tunings of the same task, a path or several; what is answered is the mean of all (classify, regress).
    `columns`, `header` and `on_long` are those of training unless given; so is `encoding`, of a file that is not UTF-8.
    """
    columns = _given(input, columns, encoding)
    check_apart(out, input, explain=explain)
    if explain is not None:
        explained.check_page(Path(explain))
    if top is not None:
        nbest.check(top)
    there = out is not None and check_lines(Path(out), "predictions.jsonl")
    loaded = _tuned(model, members, say, base)
    kind = kinds.of_task(loaded.task)
    if explain is not None and not hasattr(kind, "leaning"):
        known = ", ".join(name for name, each in kinds.KINDS.items() if hasattr(each, "leaning"))
        raise InputError(f"{option('explain')}: {option('task', kind.name)} has no answer of one number; {known} have")
    if top is not None and not hasattr(kind, "ranked"):
        raise InputError(
            f"{option('top', top)}: {option('task', kind.name)} has one answer a row; {option('task', 'qa')} has several"
        )
    read = rows_of(loaded, kind, input, columns, header, encoding, say, labelled=False)
    said = _said_by(loaded, ensemble, kind, read, on_long, members, say)
    only = kind.only(said, loaded.labels)
    if only is not None and len(said) >= breakdown.FEW:
        say(f"warning: {breakdown.predicted_alike(only, len(said), kind.units)}")
    answers = kind.answer(read, said, loaded.labels)
    if top is not None:
        ranked: Any = kind
        answers = [one | more for one, more in zip(answers, ranked.ranked(read, said, loaded.labels, top), strict=True)]
    rows = [{"index": i, **answer} for i, answer in enumerate(answers)]
    if out is not None:
        files.write_rows(Path(out), rows)
        fields, replaced = ", ".join(rows[0]) if rows else "none", "; what stood there is replaced" if there else ""
        say(f"{printable(out)}: {amount(len(rows), 'prediction')}, a JSON line each: {fields}{replaced}")
    if explain is not None:
        _explain(loaded, kind, read, answers, on_long, Path(explain))
        say(
            f"{printable(explain)}: {amount(min(len(rows), explained.MOST), 'text')}, coloured by what the answers lean on"
        )
    return rows if not isinstance(read.path, Given) or read.path.index is None else _frame(answers, read.path.index)


def _frame(answers: list[dict[str, Any]], index: Any) -> Any:
    return sys.modules["pandas"].DataFrame(answers, index=index)


def evaluate(
    model: str | Path | Loaded,
    input: Any = None,
    *,
    data: Any = None,
    corpus: str | Path | None = None,
    queries: str | Path | None = None,
    relevant: str | Path | None = None,
    columns: Columns = None,
    header: bool | None = None,
    encoding: str | None = None,
    on_long: OnLong | None = None,
    per_class: bool = False,
    ensemble: Any = (),
    seed: int = 0,
    base: str | Path | Loaded | None = None,
    members: tuple[str, ...] = (),
    say: Say = lambda line: None,
) -> dict[str, metrics.Score]:
    """`{metric: {value, low, high}}` with 95 % bootstrap intervals; of a pre-training run on the held-out documents of the store `data`.

    `input`: a labelled file, or rows with labels: a list of dicts, a dict of columns, a pandas DataFrame (tasks/given.py).
    There the metrics are `token.loss` (nats), `token.accuracy`, `token.perplexity` and so on, all that stand in metrics.jsonl, the same
    numbers in float32; resampled by sequence; of a model that is asked for every token also `token.bits_per_byte`, by the store's mean bytes
    of a token.  `per_class`: also `classes` {name: {precision, recall, f1, support}} and `confusion` (rows of truth), of tags by type,
    `majority` {label, share}, and `says_only` where one thing is said to all.  `ensemble`: as in `predict`.
    `corpus`, `queries` and `relevant` (BEIR's files): how well the vectors that `embed` makes find what is relevant (downstream/retrieval.py).
    """
    if not (corpus is None and queries is None and relevant is None):
        from bertsmith.downstream.retrieval import retrieval

        if input is not None or data is not None:
            raise InputError(
                f"{option('corpus')}: without {option('input')} and {option('data')}; one of them at a time"
            )
        files_ = {"corpus": corpus, "queries": queries, "relevant": relevant}
        return retrieval(model, files_, on_long=on_long, seed=seed, members=members, say=say)
    if input is not None:
        columns = _given(input, columns, encoding)
    store = None if data is None else open_store(data)
    loaded = opened(model, members=members, say=say, base=base, sound=True)
    if loaded.task is None:
        tasks = several.tasks_of(loaded.config)
        if data is None and tasks:
            raise InputError(several.unnamed(loaded.run, tasks))
        if data is None:
            raise InputError(
                f"{printable(loaded.run)}: is a pre-training run: evaluate it with {option('data', like='STORE')}, or fine-tune it first"
            )
        return _held_out(_with_all_feeds(loaded, members), store, seed)
    if data is not None or input is None:
        raise InputError(
            f"{printable(loaded.run)}: is a fine-tuned model: evaluate it with {option('input', like='FILE')}"
        )
    kind = kinds.of_task(loaded.task)
    rows = rows_of(loaded, kind, input, columns, header, encoding, say, labelled=True)
    targets, said = (
        kind.targets(rows, loaded.labels),
        _said_by(loaded, ensemble, kind, rows, on_long, members, say),
    )
    details, only = kind.breakdown(targets, said, loaded.labels), kind.only(said, loaded.labels, targets)
    if only is not None and len(said) >= breakdown.FEW:
        details["says_only"] = {"label": only, "count": len(said), "of": kind.units}
        say(f"warning: {breakdown.alike(details['says_only'], details)}")
    return kind.score(targets, said, loaded.labels, seed) | (details if per_class else {})


def judged(
    model: str | Path | Loaded,
    input: Any,
    *,
    columns: Columns = None,
    header: bool | None = None,
    encoding: str | None = None,
    on_long: OnLong | None = None,
    members: tuple[str, ...] = (),
    say: Say = lambda line: None,
) -> tuple[Any, Any, kinds.Kind]:
    """Targets, what the model says of each row (of texts: (n,) and logits (n, c)), and the kind: `kind.correct(targets, said)` of two
    models is what `metrics.paired` compares."""
    loaded = _tuned(model, members, say)
    rows = rows_of(loaded, kinds.of_task(loaded.task), input, columns, header, encoding, say, labelled=True)
    return judged_rows(loaded, rows, on_long, say)


def judged_rows(
    loaded: Loaded, rows: Any, on_long: OnLong | None = None, say: Say = lambda line: None
) -> tuple[Any, Any, kinds.Kind]:
    """The same of labelled rows that were read before."""
    kind = kinds.of_task(loaded.task or {})
    return kind.targets(rows, loaded.labels), said_rows(loaded, kind, rows, on_long, say), kind


def _given(input: Any, columns: Columns, encoding: str | None) -> dict[str, str] | None:
    """What is cheap to refuse is refused before a model is loaded: a file that is not there, columns that say nothing."""
    checked(encoding or UTF8)
    if isinstance(input, (str, os.PathLike)) and not str(input).startswith(HUB):
        check_there(input)
    return None if columns is None else parse_columns(columns, EVERY)


def _tuned(
    model: str | Path | Loaded, members: tuple[str, ...], say: Say, base: str | Path | Loaded | None = None
) -> Loaded:
    loaded = opened(model, members=members, say=say, base=base, sound=True)
    if loaded.task is None:
        if tasks := several.tasks_of(loaded.config):
            raise InputError(several.unnamed(loaded.run, tasks))
        raise InputError(
            f"{printable(loaded.run)}: is a pre-training run; `bertsmith finetune` makes a model that predicts"
        )
    return loaded


def rows_of(
    loaded: Loaded,
    kind: kinds.Kind,
    input: Any,
    columns: Columns,
    header: bool | None,
    encoding: str | None,
    say: Say,
    labelled: bool,
) -> Any:
    """Rows of `input` as the task of a fine-tuned model reads them: by its columns and encoding unless others are given."""
    task = loaded.task or {}
    left = ("group",) if labelled else ("group", "label")
    trained = {role: column for role, column in (task.get("columns") or {}).items() if role not in left}
    chosen = trained if columns is None else parse_columns(columns, kind.roles)
    input = named(input, "input", chosen if columns is not None else {}, kind, labelled=labelled)
    path = source(input, "input", chosen, fields=kind.fields, pair=kind.pair, strict=columns is not None)
    with _reads_pairs(loaded, task["pairs"]):
        rows = kind.read(
            path,
            columns=path.columns if isinstance(path, Given) else chosen,
            header=task.get("header", True) if header is None else header,
            labelled=labelled,
            pairs=task["pairs"],
            encoding=encoding or trained_encoding(path, task.get("encoding", UTF8)),
        )
    told = columns is not None and "text" in chosen and "text2" not in chosen
    if task["pairs"] is False and rows.pairs and not kind.embeds and not told:
        way = option("columns", f"text={chosen.get('text', 'text')}")
        raise InputError(
            f"{printable(rows.path)}: text2: {_name(loaded)} reads single texts, and these are pairs; {way} leaves the second texts out"
        )
    if labelled and (digest := (((loaded.config.get("data") or {}).get("train")) or {}).get("sha256")):
        given = path.sha256 if isinstance(path, Given) else files.sha256(path)
        if given == digest:
            say(
                f"warning: {printable(rows.path)}: {_name(loaded)} learned these rows: scores on them say little of new ones"
            )
    say_notes(rows, say)
    return rows


def _name(loaded: Loaded) -> str:
    return printable(f"{loaded.run}:{loaded.named}" if loaded.named else loaded.run)


@contextmanager
def _reads_pairs(loaded: Loaded, pairs: bool | None) -> Iterator[None]:
    """Errors about a second text say who wants it."""
    try:
        yield
    except InputError as error:
        if pairs and "text2" in str(error):
            raise InputError(f"{error}; {_name(loaded)} reads pairs of texts") from None
        raise


def _explain(
    loaded: Loaded, kind: Any, rows: Any, answers: list[dict[str, Any]], on_long: OnLong | None, path: Path
) -> None:
    from bertsmith.downstream.saliency import saliency

    some = rows.picked(list(range(min(len(rows), explained.MOST))))
    encoded = kind.encode(loaded.tokenizer, some, _reading(loaded, kind, on_long), (loaded.task or {})["pairs"])
    scores = saliency(loaded, encoded, kind.leaning)
    files.write(path, explained.page(printable(loaded.run.name), loaded.tokenizer, encoded, scores, answers).encode())


def _reading(loaded: Loaded, kind: kinds.Kind, on_long: OnLong | None) -> Reading:
    task = loaded.task or {}
    return loaded.reading(
        on_long=on_long or task.get("on_long") or kind.long,
        stride=(task.get("settings") or {}).get("stride"),
    )


def said_rows(loaded: Loaded, kind: kinds.Kind, rows: Any, on_long: OnLong | None, say: Say) -> Any:
    """What the head says of each row, as its kind has it."""
    encoded = encoded_rows(loaded, kind, rows, on_long, say)
    return heard(loaded, kind, rows, encoded, spoken(loaded, kind, encoded))


def encoded_rows(loaded: Loaded, kind: kinds.Kind, rows: Any, on_long: OnLong | None, say: Say) -> Any:
    """The rows as the model reads them; what is cut or unknown is said."""
    reading = _reading(loaded, kind, on_long)
    encoded = kind.encode(loaded.tokenizer, rows, reading, (loaded.task or {})["pairs"])
    say_long(encoded, printable(rows.path), reading, say)
    lost = unknown.of_texts(loaded.tokenizer, encoded.tokens, lambda: unknown.strings(rows.inputs()))
    unknown.tell(lost, printable(rows.path), say)
    return encoded


def spoken(loaded: Loaded, kind: kinds.Kind, encoded: Any) -> Any:
    """(p, outputs) what the head says at the places; of a kind that writes, what is written about each row."""
    if kind.writes:
        from bertsmith.downstream.written_answers import answers_of

        writing: Any = kind
        return answers_of(loaded.member, encoded, writing, loaded.tokenizer, loaded.exact, beam=writing.beam)
    from bertsmith.downstream.answering import values_of

    return values_of(loaded.member, encoded, loaded.exact)


def heard(loaded: Loaded, kind: kinds.Kind, rows: Any, encoded: Any, values: Any) -> Any:
    """What that says of each row."""
    if kind.writes:
        return values
    from bertsmith.downstream.answering import hearing

    return hearing(kind, loaded.member).said(encoded, rows, values)


def _said_by(
    loaded: Loaded, ensemble: Any, kind: kinds.Kind, rows: Any, on_long: OnLong | None, members: tuple, say: Say
) -> Any:
    """What one model says of each row, or several together."""
    if not ensemble:
        return said_rows(loaded, kind, rows, on_long, say)
    from bertsmith.downstream.ensemble import together

    several_ = ensemble if isinstance(ensemble, (list, tuple)) else [ensemble]
    return together(loaded, [opened(one, members=members, say=say) for one in several_], kind, rows, on_long, say)


def _with_all_feeds(loaded: Loaded, members: tuple[str, ...]) -> Loaded:
    """A member of several feeds as it was trained, with the heads of all of them; others as they are."""
    from bertsmith.nn.member import blank
    from bertsmith.training.checkpoint import load_model
    from bertsmith.training.saving import load_weights

    tree = loaded.config.get("recipe") or {}
    if not tree.get("mixture"):
        return loaded
    recipe = from_dict(tree, members)
    state, _, where = load_model(loaded.path)
    member = blank(recipe).to(loaded.device)
    load_weights(member, state, str(where))
    return replace(loaded, member=member, recipe=recipe)


def _held_out(loaded: Loaded, store: Any, seed: int) -> dict[str, metrics.Score]:
    from bertsmith.data.text import fixed_batches
    from bertsmith.training.evaluate import batch_scores, fixed_batches_of, held_out

    recipe = loaded.recipe
    if store.tokenizer.reading != loaded.tokenizer.reading:
        raise InputError(
            f"{printable(loaded.run)}: was trained with another tokenizer than {printable(store.path)} holds"
        )
    batches = []
    for name, alone in recipe.feeds.items():
        layout = store.laid(alone.layout, lenient=True)
        layout.check(store.held_out)
        # One sequence a batch: the same sequences and masks as in training's evaluation, and the unit that is resampled; where sequences
        # are held against one another, that is an update's.
        size = recipe.training.batch if getattr(alone.objective, "joint", False) else alone.layout.length
        options = alone.corruption, store.vocab, recipe.training.held_out, size
        batches += [replace(batch, feed=name) for batch in fixed_batches(store.held_out, layout, *options)]
    with loaded.exact.policy():
        found = list(batch_scores(loaded.member, batches, loaded.exact))
        terms = dict.fromkeys(term for row in found for term in row)
        more = any(set(row[term]) - SUMS for row in found for term in row)
        whole = held_out(loaded.member, fixed_batches_of(recipe, store), loaded.exact) if more else {}
    scores: dict[str, metrics.Score] = {}
    for term in terms:
        rows = [row[term] for row in found if row.get(term, {}).get("count")]
        if not rows:
            continue
        means = {key: _mean(rows, key, seed) for key in rows[0] if key != "count"}
        scores[f"{term}.loss"] = means.pop("loss")
        if "correct" in means:  # of one class among several
            scores[f"{term}.accuracy"] = means.pop("correct")
            scores[f"{term}.perplexity"] = {k: math.exp(min(v, 700.0)) for k, v in scores[f"{term}.loss"].items()}
        scores |= {f"{term}.{key}": _moved(score, whole[term][key]) for key, score in means.items()}
    if (
        getattr(recipe.corruption.rewrite, "causal", False)
        and recipe.corruption.select.rate == 1
        and "token.loss" in scores
    ):
        bits = 1 / math.log(2) / bytes_of_a_token(store)
        scores["token.bits_per_byte"] = {key: bits * value for key, value in scores["token.loss"].items()}
    return scores


def bytes_of_a_token(store: Any) -> float:
    """The mean over a store: by it losses with different tokenizers of one text are on one scale."""
    tokens = sum(split["tokens"] for split in store.manifest["splits"].values())
    return store.manifest["account"]["bytes"]["used"] / tokens


def _mean(rows: list[dict[str, float]], key: str, seed: int) -> metrics.Score:
    """Of sequences, each with a sum over `count` predictions."""
    counts = np.array([row["count"] for row in rows])
    return metrics.mean(np.array([row[key] for row in rows]) / counts, seed, weights=counts)


def _moved(score: metrics.Score, value: float) -> metrics.Score:
    """What a batch scores as a whole (`auc`) is not the mean over its sequences: the value is that of the run's own batches, and the
    interval of the mean moves there."""
    return {name: bound - score["value"] + value for name, bound in score.items()} | {"value": value}
