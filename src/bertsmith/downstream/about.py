"""What a loaded model is, in a few lines: its member and size, what it learned from, how far, and how good it is."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertsmith import files
from bertsmith.downstream.several import result_of, tasks_of
from bertsmith.downstream.tuned import RESULT
from bertsmith.errors import BertsmithError, printable
from bertsmith.recipe import Recipe, members
from bertsmith.spelling import amount
from bertsmith.training.checkpoint import STATE
from bertsmith.training.run import CONFIG, METRICS

if TYPE_CHECKING:
    from bertsmith.downstream.model import Loaded

SIZE = ("layers", "width", "heads", "hidden")
CLASSES = 12  # names that are shown


def about(loaded: Loaded) -> list[tuple[str, str]]:
    """(what, what it is), in the order in which one asks.  What stands in files that are gone is left out."""
    return [(name, printable(text, 300)) for name, text in _about(loaded) if text]


def as_html(loaded: Loaded) -> str:
    cells = ("".join(f'<td style="text-align: left">{html.escape(part)}</td>' for part in row) for row in about(loaded))
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def _about(loaded: Loaded) -> Iterator[tuple[str, str]]:
    model, config = loaded.recipe.model, loaded.config
    shape = ", ".join(f"{name} {getattr(model, name):,}" for name in SIZE[:3] if getattr(model, name, None))
    yield "member", f"{loaded.recipe.name}{_size(loaded.recipe)} ({shape})"
    yield "parameters", f"{sum(p.numel() for p in loaded.member.parameters()):,}"
    trunk = _learned_from(config)
    language = (_options(trunk) or {}).get("language")
    spoken = f", language {language}" if language else ""
    yield (
        "vocabulary",
        f"{amount(loaded.tokenizer.size, 'token')}{spoken}; texts of up to {amount(loaded.length(), 'token')}",
    )
    task = loaded.task or {}
    if task:
        names = task.get("labels") or []
        shown = ", ".join(map(str, names[:CLASSES])) + (f", … ({len(names)})" if len(names) > CLASSES else "")
        yield "task", task["kind"] + (f": {shown}" if shown else "") + (" (of pairs)" if task.get("pairs") else "")
    elif tasks := tasks_of(config):
        yield "tasks", f"{', '.join(tasks)}; {loaded.run.name}:{next(iter(tasks))} is one of them"
    yield "learned from", "; ".join([*_files(config), *_store(trunk)])
    yield "training", _length(loaded)
    yield "scores", _scores(loaded)
    yield "path", str(loaded.path)


def _size(recipe: Recipe) -> str:
    """`:mini`, where the member has a size of these numbers."""
    known = members().get(recipe.name)
    for size, build in known.sizes.items() if known else ():
        if all(getattr(build().model, name, None) == getattr(recipe.model, name, None) for name in SIZE):
            return f":{size}"
    return ""


def _learned_from(config: dict) -> dict:
    """What config.json says of the text that the trunk learned from: its own, or that of the run it was fine-tuned from."""
    data, source = config.get("data") or {}, config.get("from") or {}
    if "digest" in data or not isinstance(source, dict) or not isinstance(source.get("path"), str):
        return data
    if source.get("weights") is None:  # fresh weights: only its tokenizer comes from there
        return {}
    before = _json(Path(source["path"]).parent.parent / CONFIG)
    return (before or {}).get("data") or {}


def _options(data: dict) -> dict | None:
    """How the store was prepared, where it still is what it was."""
    if not isinstance(data.get("path"), str):
        return None
    manifest = _json(Path(data["path"]) / files.MANIFEST) or {}
    return manifest.get("options")


def _files(config: dict) -> Iterator[str]:
    """The labelled files, or rows, of a fine-tuning."""
    for part in ("train", "dev"):
        given = (config.get("data") or {}).get(part)
        if isinstance(given, dict) and "rows" in given:
            where = f"of {given['path']}" if given.get("path") else f"given as {part}"
            yield f"{amount(given['rows'], 'row')} {where}"


def _store(data: dict) -> Iterator[str]:
    if "digest" in data:
        account = (_json(Path(data["path"]) / files.MANIFEST) or {}).get("account") or {}
        many = f" ({amount(account['tokens'], 'token')})" if "tokens" in account else ""
        yield f"the text of {data['path']}{many}"


def _length(loaded: Loaded) -> str:
    state = _json(loaded.path / STATE)
    if not state or not state.get("step"):
        return ""
    steps = loaded.config.get("steps")
    of = f" of {steps:,}" if steps and steps != state["step"] else ""
    return f"step {state['step']:,}{of}, {amount(state['tokens'], 'token')}"


def _scores(loaded: Loaded) -> str:
    """Of a fine-tuning those of its result, with 95 % intervals; of a pre-training those of its step's evaluation."""
    result = _json(loaded.run / RESULT)
    if result and "dev" in result and loaded.path.name == f"step-{int(result['best']):08d}":
        found = (
            f"{name} {s['value']:.4f} [{s['low']:.4f}, {s['high']:.4f}]"
            for name, s in result_of(result, loaded.named)["dev"].items()
        )
        return f"dev: {', '.join(found)}"
    state = _json(loaded.path / STATE) or {}
    for term, found in (_evaluation(loaded.run / METRICS, state.get("step")) or {}).items():
        shown = ", ".join(f"{name} {value:.4f}" for name, value in found.items() if isinstance(value, float))
        return f"{'dev' if loaded.task else 'held out'}: {term}: {shown}"
    return ""


def _evaluation(path: Path, step: Any) -> dict | None:
    """The last up to `step`."""
    found = None
    try:
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                if '"evaluation"' in line and (row := json.loads(line))["step"] <= step:
                    found = row["evaluation"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return found


def _json(path: Path) -> dict | None:
    """A file's object; None where there is none, or no such."""
    try:
        data = files.plain(path)
        tree = None if data is None else json.loads(data)
    except (BertsmithError, ValueError):
        return None
    return tree if isinstance(tree, dict) else None
