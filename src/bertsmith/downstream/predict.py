"""Answers of a fine-tuned model for a file, and how good they are: `predict` and `evaluate`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bertsmith import files
from bertsmith.downstream.model import Loaded, opened
from bertsmith.errors import InputError, printable
from bertsmith.nn.member import MemberModel
from bertsmith.tasks import kinds, metrics
from bertsmith.tasks.kinds import Encoded, OnLong, encode, say_long
from bertsmith.tasks.readers import Table, read, say_notes
from bertsmith.training.precision import Precision

BUDGET = 8192  # tokens in one pass
Columns = str | Mapping[str, str | int] | None
Say = Callable[[str], None]


def predict(
    model: str | Path | Loaded,
    input: str | Path,
    out: str | Path | None = None,
    *,
    columns: Columns = None,
    header: bool | None = None,
    on_long: OnLong = "truncate",
    say: Say = lambda line: None,
) -> list[dict[str, Any]]:
    """`{index, label, scores}` for each row of `input`, in its order; `out`: the same as JSON lines.

    classify: the class, and the probability of every class; regress: the number, in the scale of the training file.
    `columns` and `header` are those of training unless given.
    """
    loaded = _tuned(model)
    if out is not None and Path(out).exists() and Path(out).resolve() == Path(input).resolve():
        raise InputError(f"{printable(out)}: --out is the input file; choose another place")
    table = _table(loaded, input, columns, header, say, labelled=False)
    logits = _logits(loaded, table, on_long, say)
    answers = kinds.kind(loaded.task["kind"]).answer(logits, loaded.labels)
    rows = [{"index": i, "label": label, "scores": scores} for i, (label, scores) in enumerate(answers)]
    if out is not None:
        files.write(Path(out), "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
    return rows


def evaluate(
    model: str | Path | Loaded,
    input: str | Path | None = None,
    *,
    data: Any = None,
    columns: Columns = None,
    header: bool | None = None,
    on_long: OnLong = "truncate",
    seed: int = 0,
    say: Say = lambda line: None,
) -> dict[str, metrics.Score]:
    """`{metric: {value, low, high}}` with 95 % bootstrap intervals; of a pre-training run on the held-out documents of the store `data`.

    There the metrics are `token.loss` (nats), `token.accuracy`, `token.perplexity` and so on, resampled by sequence.
    """
    loaded = opened(model)
    if loaded.task is None:
        if data is None:
            raise InputError(
                f"{printable(loaded.run)}: is a pre-training run: evaluate it with --data STORE, or fine-tune it first"
            )
        return _held_out(loaded, data, seed)
    if data is not None or input is None:
        raise InputError(f"{printable(loaded.run)}: is a fine-tuned model: evaluate it with --input FILE")
    targets, logits, kind = judged(loaded, input, columns=columns, header=header, on_long=on_long, say=say)
    return kind.score(targets, logits, loaded.labels, seed)


def judged(
    model: str | Path | Loaded,
    input: str | Path,
    *,
    columns: Columns = None,
    header: bool | None = None,
    on_long: OnLong = "truncate",
    say: Say = lambda line: None,
) -> tuple[np.ndarray, np.ndarray, kinds.Kind]:
    """Targets (n,), logits (n, c) and the kind: `kind.correct(targets, logits)` of two models is what `metrics.paired` compares."""
    loaded = _tuned(model)
    kind = kinds.kind(loaded.task["kind"])
    table = _table(loaded, input, columns, header, say, labelled=True)
    targets = kind.targets(table, loaded.labels)
    return targets, _logits(loaded, table, on_long, say), kind


@torch.no_grad()
def logits_of(member: MemberModel, encoded: Encoded, precision: Precision, budget: int = BUDGET) -> np.ndarray:
    """(rows, outputs) float32: the mean over the windows of each text."""
    member.eval()
    found = None
    with precision.policy(), precision.autocast():
        for which in encoded.by_length(budget):
            stream = encoded.batch(which).input.to(precision.device)
            lengths = torch.tensor(stream.lengths, device=precision.device)
            logits = member.objective.logits(member.model, stream, lengths.cumsum(0) - lengths).float().cpu().numpy()
            found = np.empty((len(encoded), logits.shape[1]), np.float32) if found is None else found
            found[which] = logits
    assert found is not None  # a Table has rows
    return encoded.mean_of_windows(found)


def _tuned(model: str | Path | Loaded) -> Loaded:
    loaded = opened(model)
    if loaded.task is None:
        raise InputError(
            f"{printable(loaded.run)}: is a pre-training run; `bertsmith finetune` makes a model that predicts"
        )
    return loaded


def _table(loaded: Loaded, path: str | Path, columns: Columns, header: bool | None, say: Say, labelled: bool) -> Table:
    task = loaded.task or {}
    needed = ("text", "text2") if task["pairs"] else ("text",)
    trained = {role: column for role, column in (task.get("columns") or {}).items() if labelled or role != "label"}
    plain = ".txt" in Path(path).suffixes
    chosen = columns if columns is not None or plain else trained or None
    table = read(
        path,
        columns=chosen,
        header=task.get("header", True) if header is None else header,
        required=(*needed, *(("label",) if labelled else ())),
    )
    say_notes(table, say)
    return table


def _logits(loaded: Loaded, table: Table, on_long: OnLong, say: Say) -> np.ndarray:
    task = loaded.task or {}
    second = None if task["pairs"] is False else table.rows("text2")
    segments, length = loaded.recipe.model.segments, loaded.length()
    encoded = encode(
        loaded.tokenizer,
        table.columns["text"],
        second,
        length=length,
        segments=segments,
        on_long=on_long,
        where=table.where,
    )
    say_long(encoded.counts, printable(table.path), length, on_long, say)
    return logits_of(loaded.member, encoded, loaded.exact)


def _held_out(loaded: Loaded, data: Any, seed: int) -> dict[str, metrics.Score]:
    from bertsmith.data.loader import fixed_batches
    from bertsmith.training.evaluate import batch_scores
    from bertsmith.training.run import open_store

    store, recipe = open_store(data), loaded.recipe
    if store.tokenizer.reading != loaded.tokenizer.reading:
        raise InputError(
            f"{printable(loaded.run)}: was trained with another tokenizer than {printable(store.path)} holds"
        )
    recipe.layout.check(store.held_out)
    # one sequence a batch: the same sequences and masks as in training's evaluation, and the unit that is resampled
    batches = fixed_batches(
        store.held_out, recipe.layout, recipe.corruption, store.vocab, recipe.training.held_out, recipe.layout.length
    )
    with loaded.exact.policy():
        found = list(batch_scores(loaded.member, batches, loaded.exact))
    scores: dict[str, metrics.Score] = {}
    for term in loaded.member.weights():
        rows = [row[term] for row in found if row.get(term, {}).get("count")]
        if rows:
            counts = np.array([row["count"] for row in rows])
            for name, key in (("loss", "loss"), ("accuracy", "correct")):
                scores[f"{term}.{name}"] = metrics.mean(
                    np.array([row[key] for row in rows]) / counts, seed, weights=counts
                )
            scores[f"{term}.perplexity"] = {k: math.exp(min(v, 700.0)) for k, v in scores[f"{term}.loss"].items()}
    return scores
