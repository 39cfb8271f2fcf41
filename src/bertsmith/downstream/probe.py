"""`probe`: what a linear model finds in the states of each layer, beside what it finds where there is nothing to find.

The trunk stays as it is.  A layer's state is read where the task's head would read it (a word at its first token, a text as the mean of its
tokens), a linear model learns from the training rows, and the task's own scores are those of the dev rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith import files
from bertsmith.downstream.labelled_files import Files, Rows
from bertsmith.downstream.methods import method_of
from bertsmith.downstream.model import Loaded, check_model, opened
from bertsmith.downstream.outputs import check_kept, read_kept
from bertsmith.downstream.task import Task
from bertsmith.downstream.tuning import settings
from bertsmith.errors import InputError, nearest
from bertsmith.nn.body import outer
from bertsmith.spelling import option
from bertsmith.tasks import kinds, probing
from bertsmith.tasks.given import Given, source
from bertsmith.tasks.labels import Labels
from bertsmith.tasks.readers import parse_columns, read
from bertsmith.tasks.reading import OnLong

FORMAT, KIND = 1, "probe"
HELD = 1 << 30  # bytes of states that are held at once
Say = Callable[[str], None]
Score = dict[str, float]


def probe(
    model: str | Path | Loaded,
    *,
    task: str,
    train: Any,
    dev: Any,
    out: str | Path | None = None,
    columns: str | Mapping[str, str | int] | None = None,
    header: bool = True,
    encoding: str = "utf-8",
    labels: Any = (),
    control: bool = True,
    on_long: OnLong | None = None,
    seed: int = 0,
    members: tuple[str, ...] = (),
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """{model, task, chosen_by, layers: [{layer, scores, control, selectivity, penalty}], best, rows}: layer 0 is the embedding.

    `task`: one that a single state answers ("classify", "regress", "tag"), with `train` and `dev` as `finetune` takes them; "length" (how many
    words, in six classes) or "order" (whether two neighbours changed places), which need texts alone.  `scores`: {name: {value, low, high}}
    of the dev rows.  `control`: the accuracy on labels that each word was given at random (Hewitt & Liang 2019), of a text by its first word;
    `selectivity` is the accuracy less that.  `out`: a file for the same, which `report` takes beside runs.
    InputError for a task that needs more than one state, before a model is loaded.
    """
    if out is not None:
        check_kept(Path(out), KIND)
    if not isinstance(model, Loaded):
        check_model(model)
    name, train, dev, notes = _labelled(task, train, dev, columns, header, encoding, seed)
    for note in notes:
        say(note)
    own = name != task
    given = Files(
        task=name, train=train, dev=dev, columns=None if own else columns, header=header, encoding=encoding,
        labels=tuple(labels), on_long=on_long, allow_unknown=True,
    )  # fmt: skip
    given.check_apart()
    rows = Rows.read(given, say)
    loaded = opened(model, members=members, say=say)
    recipe = loaded.recipe
    options = settings(()).settled(method_of("frozen"), recipe, given.kind.pools)
    read_as = Task.encoded(given, rows, loaded.tokenizer, recipe, options, say)
    count = recipe.model.layers + 1
    about = {
        "format": FORMAT, "kind": KIND, "model": str(loaded.path), "task": task, "classes": list(read_as.known.names),
        "chosen_by": read_as.kind.best(read_as.known), "rows": {part: len(found) for part, found in rows.rows.items()},
    }  # fmt: skip
    found = []
    chance = _control(read_as, seed) if control else None
    for layer, states in _by_layer(loaded, read_as, count):
        line = {"layer": layer, **_answered(read_as, states, read_as.targets, seed)}
        if chance is not None:
            mine = _answered(read_as, states, chance, seed)["scores"]["accuracy"]
            line |= {"control": mine, "selectivity": line["scores"]["accuracy"]["value"] - mine["value"]}
        found.append(line)
        score = line["scores"][about["chosen_by"]]
        beside = f", control {line['control']['value']:.4f}" if chance is not None else ""
        say(
            f"layer {layer}: {about['chosen_by']} {score['value']:.4f} [{score['low']:.4f}, {score['high']:.4f}]{beside}"
        )
    best = max(found, key=lambda line: line["scores"][about["chosen_by"]]["value"])["layer"]
    result = {**about, "layers": found, "best": best}
    if out is not None:
        files.write(Path(out), files.sealed(result))
    return result


def read_probe(path: Path) -> dict[str, Any]:
    """What `probe` wrote.  InputError for anything else."""
    return read_kept(path, KIND, FORMAT)


def _labelled(
    task: str, train: Any, dev: Any, columns: Any, header: bool, encoding: str, seed: int
) -> tuple[str, Any, Any, list[str]]:
    """(kind, train, dev, notes): rows with labels of their own in place of texts."""
    if task not in probing.OWN:
        if task not in kinds.KINDS:
            raise InputError(f"{option('task', task)}: unknown; {nearest(task, (*_one_state(), *probing.OWN))}")
        if task not in _one_state():
            raise InputError(
                f"{option('task', task)}: no single state answers it; {', '.join((*_one_state(), *probing.OWN))} can be probed"
            )
        return task, train, dev, []
    texts = {}
    for part, some in (("train", train), ("dev", dev)):
        if isinstance(some, (int, float)):
            raise InputError(f"{option('dev', some)}: {option('task', task)} takes a file, or texts")
        rows = source(some, part, parse_columns(columns))
        table = read(
            rows,
            columns=rows.columns if isinstance(rows, Given) else columns,
            header=header,
            encoding=encoding,
            required=("text",),
        )
        texts[part] = table.columns["text"]
    rows, notes = probing.rows_of(task, texts, seed)
    return "classify", rows["train"], rows["dev"], notes


def _one_state() -> tuple[str, ...]:
    """Tasks that a state answers; marks are tokens that a model is given by its tuning alone."""
    found = {name: kind for name, kind in kinds.KINDS.items() if hasattr(kind, "control")}
    return tuple(name for name, kind in found.items() if not getattr(kind, "marks", None))


def _control(task: Task, seed: int) -> dict[str, Any] | None:
    """Targets of the control task; None of numbers."""
    kind: Any = task.kind
    return kind.control(task.rows, task.targets, task.known, seed)


def _answered(task: Task, states: dict[str, np.ndarray], targets: dict[str, Any], seed: int) -> dict[str, Any]:
    """{scores, penalty} of the dev rows."""
    from bertsmith.downstream.linear import probed

    asked = task.kind.asked(task.data["train"], targets["train"])
    known: Labels = task.known
    classes = len(known.names) or None
    values, penalty = probed(states["train"], asked.labels, states["dev"], classes, seed)
    said = task.kind.said(task.data["dev"], task.rows["dev"], values.astype(np.float32))
    return {"scores": task.kind.score(targets["dev"], said, known, seed), "penalty": penalty}


def _by_layer(loaded: Loaded, task: Task, count: int):
    """(layer, {part: (places, d) states}) of each, as many layers in one reading as fit."""
    from bertsmith.downstream.vectors import layers_of

    size = sum(len(part.places) for part in task.data.values()) * outer(loaded.recipe.model) * 4
    even = not getattr(loaded.recipe.model, "widths", {})  # layers of one width are read together
    some = max(1, min(count, HELD // max(size, 1))) if even else 1
    for first in range(0, count, some):
        layers = (*range(first, min(first + some, count)),)
        pools = task.kind.pools
        found = {part: layers_of(loaded, encoded, layers, pools, "mean") for part, encoded in task.data.items()}
        for at, layer in enumerate(layers):
            yield layer, {part: states[:, at] for part, states in found.items()}
