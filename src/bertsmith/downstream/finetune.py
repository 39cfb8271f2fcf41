"""Fine-tuning: the member's trunk, a head for the task, BERT's schedule; the best epoch by the dev file is kept.

One seed: OUT is the run.  Several: OUT/seed-0, OUT/seed-1, … are runs, and OUT/result.json holds mean and spread; OUT as a MODEL is
the best of them.  A run is written by training/ like any other: config.json, metrics.jsonl, steps/.  It is short and is not resumed:
an interrupted one is replaced when the command runs again.

`--method frozen`: the trunk computes its features once, in eval mode; only the head is trained.  `--scratch`: fresh weights.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bertsmith import files
from bertsmith.downstream.epochs import Tuning
from bertsmith.downstream.model import RESULT, RESULT_FORMAT, Loaded, Tuned, opened
from bertsmith.downstream.tuning import METHODS, FineTuning, settings
from bertsmith.errors import InputError, nearest, printable
from bertsmith.recipe import Recipe
from bertsmith.tasks import kinds, metrics
from bertsmith.tasks.readers import parse_columns, say_notes
from bertsmith.tasks.sequences import Encoded, OnLong, Reading, say_long
from bertsmith.training.precision import choose_device
from bertsmith.training.run import CONFIG, OURS


def finetune(
    model: str | Path | Loaded,
    *,
    task: str,
    train: str | Path,
    dev: str | Path,
    out: str | Path,
    columns: str | Mapping[str, str | int] | None = None,
    header: bool = True,
    labels: Iterable[str] = (),
    method: str = "full",
    scratch: bool = False,
    seeds: int = 1,
    seed: int = 0,
    on_long: OnLong | None = None,
    set: Iterable[str] = (),
    device: str | None = None,
    threads: int | None = None,
    members: tuple[str, ...] = (),
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[..., None] = lambda *_: None,
) -> dict[str, Any]:
    """Tune `model` to `task` ("classify", "regress", "tag", "qa"); returns what result.json says: dev scores with intervals, mean and spread over seeds.

    `on_long`: None is truncate for texts as a whole, window where each token is read.  `labels`: all classes or tags there are, where the
    training file need not hold every one.  Same inputs, seed, device and threads: same bytes.
    InputError before anything is written; NumericsError, ResourceError and Interrupted while it trains.
    `progress(step, steps, loss, tokens per second, seconds left)` after every update.
    """
    kind = kinds.kind(task)
    if method not in METHODS:
        raise InputError(f"--method {printable(method)}: unknown; {nearest(method, METHODS)}")
    if scratch and method == "frozen":
        raise InputError(
            "--scratch with --method frozen: a trunk of fresh weights that never learns; use --method full"
        )
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise InputError(f"--seeds {printable(seeds)}: expected a number from 1")
    options = settings(set)
    place = choose_device(device)
    _check_out(Path(out))
    _check_apart(train, dev)
    loaded = opened(model, str(place), members, say)
    options = options.settled(method, loaded.recipe, kind.pools)
    chosen = parse_columns(columns)
    rows = {
        name: kind.read(path, columns=chosen or None, header=header) for name, path in (("train", train), ("dev", dev))
    }
    for part, read in rows.items():
        say_notes(read, say)
        kind.check(read, part)
    known = kind.learn(rows["train"], tuple(labels))
    if rows["train"].pairs != rows["dev"].pairs:
        raise InputError(
            f"{printable(dev)}: text2: pairs in one of train and dev only; --columns says which columns are read"
        )
    targets = {name: kind.targets(read, known) for name, read in rows.items()}
    reading = loaded.reading(options.length, on_long=on_long or kind.long, stride=options.stride)
    data = {name: _encoded(loaded, kind, read, reading, say) for name, read in rows.items()}
    _check_lengths(rows["train"], data["train"], reading)
    _say_overlap(rows, say)
    recipe = _recipe(loaded.recipe, kind.objective(known, options.dropout, options.pool), options)
    about = {
        "kind": task,
        **{name: value for name, value in asdict(known).items() if name != "names"},
        "labels": list(known.names),
        "columns": chosen,
        "header": header,
        "pairs": rows["train"].pairs,
        "length": options.length,
        "on_long": reading.on_long,
        "method": method,
        "scratch": scratch,
        "settings": asdict(options),
    }
    work = Tuning(loaded, recipe, kind, known, options, about, rows, data, targets, place, threads, say, progress)
    config = {
        name: {"path": str(path), "rows": len(rows[name]), "sha256": files.sha256(path)}
        for name, path in (("train", train), ("dev", dev))
    }
    if seeds == 1:
        return work.run(Tuned(out), seed, config)
    results = []
    with files.writing(out):
        Path(out).mkdir(parents=True, exist_ok=True)
    for number in range(seed, seed + seeds):
        results.append(work.run(Tuned(Path(out) / f"seed-{number}"), number, config))
    scores = {name: metrics.spread([r["dev"][name]["value"] for r in results]) for name in results[0]["dev"]}
    best = max(results, key=lambda r: (r["dev"][kind.best(known)]["value"], -r["seed"]))["seed"]
    result = {
        "format": RESULT_FORMAT,
        "kind": "finetune",
        "task": task,
        "seeds": [r["seed"] for r in results],
        "best_seed": best,
        "over_seeds": scores,
        "results": results,
    }
    files.write(Path(out) / RESULT, files.sealed(result))
    for name, found in scores.items():
        say(f"{name}: {found['mean']:.4f} ± {found['spread']:.4f} over {seeds} seeds")
    return result


# -- before anything is written -----------------------------------------------------------------------------------------------------


def _ours(name: str) -> bool:
    return (
        name in OURS
        or name == RESULT
        or (name.startswith("seed-") and name[5:].isdecimal())
        or name.startswith((f".{RESULT}.tmp-", ".config.json.tmp-", ".tokenizer.json.tmp-"))
    )


def _check_out(out: Path) -> None:
    """InputError unless `out` is free or holds a fine-tuning that did not finish."""
    files.refuse_unless_replaceable(out, _ours, "fine-tuning run", force=False)
    if (out / RESULT).exists():
        raise InputError(f"{printable(out)}: --out holds a fine-tuned model already; choose another place")
    if (out / CONFIG).exists() and Tuned(out).config() is None:
        raise InputError(f"{printable(out)}: --out is not a fine-tuning run; choose another place")


def _check_apart(train: str | Path, dev: str | Path) -> None:
    same = (
        os.path.exists(train)
        and os.path.exists(dev)
        and (os.path.samefile(train, dev) or files.sha256(train) == files.sha256(dev))
        if _files(train, dev)
        else False
    )
    if same:
        raise InputError(
            f"{printable(dev)}: --dev holds the same bytes as --train; a score on texts that were trained on says nothing"
        )


def _files(*paths: str | Path) -> bool:
    return all(os.path.isfile(path) for path in paths)


def _encoded(loaded: Loaded, kind: kinds.Kind, rows: Any, reading: Reading, say: Callable[[str], None]) -> Encoded:
    found = kind.encode(loaded.tokenizer, rows, reading)
    say_long(found, printable(rows.path), reading, say)
    return found


def _check_lengths(rows: Any, data: Encoded, reading: Reading) -> None:
    if reading.on_long == "truncate" and data.counts["long"] == data.rows > 1:
        raise InputError(
            f"{printable(rows.path)}: every one of its {data.rows} texts is longer than {reading.length} tokens and would be cut; "
            "--on-long window reads all of them, --set length=N takes longer ones"
        )


def _say_overlap(rows: dict[str, Any], say: Callable[[str], None]) -> None:
    seen = frozenset(rows["train"].inputs())
    both = sum(row in seen for row in rows["dev"].inputs())
    if both:
        say(f"warning: {both} of the {len(rows['dev'])} dev texts stand in the training file too")


def _recipe(recipe: Recipe, objective: Any, options: FineTuning) -> Recipe:
    if hasattr(objective, "pooler"):
        objective = replace(objective, pooler=getattr(recipe.objective, "pooler", "tanh"))
    return replace(
        recipe, objective=objective, model=replace(recipe.model, dropout=options.dropout), schedule=options.schedule()
    )
