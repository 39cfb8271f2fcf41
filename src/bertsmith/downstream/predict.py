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
from bertsmith.data.loader import never
from bertsmith.downstream.model import Loaded, opened
from bertsmith.errors import InputError, printable
from bertsmith.nn.modules.member import MemberModel
from bertsmith.tasks import kinds, metrics
from bertsmith.tasks.readers import parse_columns, say_notes
from bertsmith.tasks.sequences import Encoded, OnLong, say_long
from bertsmith.training.distributed import ALONE, World
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
    on_long: OnLong | None = None,
    say: Say = lambda line: None,
) -> list[dict[str, Any]]:
    """`{index, label, scores}` for each row of `input`, in its order; `out`: the same as JSON lines.

    classify: the class, and the probability of every class; regress: the number, in the scale of the training file; tag: lists, one entry
    for each word, with `words` and `spans`; qa: the text of the answer, "" for none, with `id`, `start` and `end` in characters.
    `columns`, `header` and `on_long` are those of training unless given.
    """
    loaded = _tuned(model)
    if out is not None and Path(out).exists() and Path(out).resolve() == Path(input).resolve():
        raise InputError(f"{printable(out)}: --out is the input file; choose another place")
    kind = kinds.kind(loaded.task["kind"])
    read = _rows(loaded, kind, input, columns, header, say, labelled=False)
    answers = kind.answer(read, _said(loaded, kind, read, on_long, say), loaded.labels)
    rows = [{"index": i, **answer} for i, answer in enumerate(answers)]
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
    on_long: OnLong | None = None,
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
    targets, said, kind = judged(loaded, input, columns=columns, header=header, on_long=on_long, say=say)
    return kind.score(targets, said, loaded.labels, seed)


def judged(
    model: str | Path | Loaded,
    input: str | Path,
    *,
    columns: Columns = None,
    header: bool | None = None,
    on_long: OnLong | None = None,
    say: Say = lambda line: None,
) -> tuple[Any, Any, kinds.Kind]:
    """Targets, what the model says of each row (of texts: (n,) and logits (n, c)), and the kind: `kind.correct(targets, said)` of two
    models is what `metrics.paired` compares."""
    loaded = _tuned(model)
    kind = kinds.kind(loaded.task["kind"])
    rows = _rows(loaded, kind, input, columns, header, say, labelled=True)
    targets = kind.targets(rows, loaded.labels)
    return targets, _said(loaded, kind, rows, on_long, say), kind


@torch.no_grad()
def values_of(
    member: MemberModel,
    encoded: Encoded,
    precision: Precision,
    budget: int = BUDGET,
    world: World = ALONE,
    feed: str = "",
    stop: Callable[[], bool] = never,
) -> np.ndarray | None:
    """(places, outputs) float32: what the head (of `feed`) says at the places of `encoded`; the processes of a world share the work.

    None if `stop()` turned true on the way.
    """
    member.eval()
    groups = encoded.by_length(budget)
    turns = range(0, len(groups), world.size)
    mine = [
        groups[min(at + world.rank, len(groups) - 1)] for at in turns
    ]  # who has none left keeps step with the others
    parts = []
    with precision.policy(), precision.autocast():
        for which in mine:
            parts.append(said_at(member, encoded, which, precision.device, feed))
            world.gather()  # what one process heard, all know
            if stop():
                return None
    own = torch.cat(parts)
    by_rank = world.collect({str(world.rank): own}, precision.device)
    found = np.empty((len(encoded.places), own.shape[1]), np.float32)
    for rank in range(world.size):
        read = [encoded.read(groups[min(at + rank, len(groups) - 1)])[0] for at in turns]
        found[np.concatenate(read)] = (by_rank[str(rank)] if world.size > 1 else own).cpu().numpy()
    return found


def said_at(
    member: MemberModel, encoded: Encoded, which: np.ndarray, device: torch.device, feed: str = ""
) -> torch.Tensor:
    """(p, outputs) float32 at the places of the sequences `which`, in one pass."""
    stream = encoded.batch(which).input.to(device)
    return member.logits(stream, torch.from_numpy(encoded.read(which)[1]).to(device), feed).float()


def _tuned(model: str | Path | Loaded) -> Loaded:
    loaded = opened(model)
    if loaded.task is None:
        raise InputError(
            f"{printable(loaded.run)}: is a pre-training run; `bertsmith finetune` makes a model that predicts"
        )
    return loaded


def _rows(
    loaded: Loaded, kind: kinds.Kind, path: str | Path, columns: Columns, header: bool | None, say: Say, labelled: bool
) -> Any:
    task = loaded.task or {}
    trained = {role: column for role, column in (task.get("columns") or {}).items() if labelled or role != "label"}
    rows = kind.read(
        path,
        columns=trained if columns is None else parse_columns(columns),
        header=task.get("header", True) if header is None else header,
        labelled=labelled,
        pairs=task["pairs"],
    )
    say_notes(rows, say)
    return rows


def _said(loaded: Loaded, kind: kinds.Kind, rows: Any, on_long: OnLong | None, say: Say) -> Any:
    task = loaded.task or {}
    reading = loaded.reading(
        on_long=on_long or task.get("on_long") or kind.long,
        stride=(task.get("settings") or {}).get("stride"),
    )
    encoded = kind.encode(loaded.tokenizer, rows, reading, task["pairs"])
    say_long(encoded, printable(rows.path), reading, say)
    return kind.said(encoded, rows, values_of(loaded.member, encoded, loaded.exact))


def _held_out(loaded: Loaded, data: Any, seed: int) -> dict[str, metrics.Score]:
    from bertsmith.data.text import fixed_batches
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
