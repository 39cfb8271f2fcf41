"""One self-contained HTML page about one or more runs: curves, scores, samples, settings, data.  Nothing is fetched, nothing is executed.

Whatever a run lacks is said in a line; a folder that is not a run, or is damaged, is an InputError.
"""

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from bertsmith import files
from bertsmith.downstream.charts import Chart, Level, Line, interval, intervals, smooth
from bertsmith.errors import InputError, printable
from bertsmith.training.formats import current

COLOURS = 6
TITLE = "<title>bertsmith: "  # by which a page of ours is known
Compared = Mapping[str, Mapping[str, dict[str, float]]]
KINDS = {"pretrain": "pre-training", "finetune": "fine-tuning"}


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a run's folder says."""

    name: str
    path: Path
    colour: int
    config: dict[str, Any]
    metrics: list[dict[str, Any]]
    speed: list[dict[str, Any]]
    result: dict[str, Any] | None
    notes: list[str] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return self.config.get("kind", "")


def report(
    runs: str | Path | Iterable[str | Path],
    out: str | Path | None = None,
    *,
    compared: Compared | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write the page `out` about one run or several; returns its path.  InputError for what is not a run, and where `out` is a folder.

    `out`: report.html here unless given, which replaces no file that is not such a page.

    `compared`: further scores to show first, {title: {name: {value, low, high}}}.
    """
    asked = [runs] if isinstance(runs, (str, os.PathLike)) else [*runs]
    out = _unasked() if out is None else Path(out)
    if not asked:
        raise InputError("report: no RUN was given")
    if out.is_dir():
        raise InputError(f"{printable(out)}: --out is a folder; name a file, such as {printable(out / 'report.html')}")
    if not out.resolve().parent.is_dir():
        raise InputError(f"{printable(out)}: there is no folder {printable(out.parent)}; make it first")
    paths = list(dict.fromkeys(Path(run) for run in asked))
    names = _names(paths)
    seen = [_seen(path, names[path], i % COLOURS) for i, path in enumerate(paths)]
    if any(out.resolve().is_relative_to(run.path.resolve()) for run in seen):
        raise InputError(f"{printable(out)}: --out lies inside a run; choose another place")
    page = render(seen, compared or {})
    files.write(out, page.encode("utf-8", "replace"))
    for note in (f"{run.name}: {note}" for run in seen for note in run.notes):
        say(note)
    say(f"report of {len(seen)} run{'s' * (len(seen) > 1)}: {printable(out)}, {len(page) / 1000:.0f} kB")
    return out


def _unasked() -> Path:
    out = Path("report.html")
    if out.is_file() and TITLE not in out.read_text("utf-8", "replace")[:1000]:
        raise InputError(f"{out}: stands here and is no report of ours; out says where the page goes")
    return out


def render(seen: Sequence[Seen], compared: Compared) -> str:
    """The page's text."""
    import jinja2

    template = resources.files(__package__).joinpath("report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    stores = {run.name: _store(run) for run in seen if run.kind == "pretrain"}
    pretrained = [run for run in seen if run.kind == "pretrain"]
    tuned = [run for run in seen if run.kind == "finetune"]
    parts = {
        "runs": [{"run": run, "kind": KINDS.get(run.kind, run.kind), "facts": list(_facts(run))} for run in seen],
        "curves": [
            {"title": title, "charts": [chart for chart in map(_figure, charts) if chart]}
            for title, charts in (("Pre-training", _curves(pretrained, stores)), ("Fine-tuning", _curves(tuned, {})))
        ],
        "compared": [_compared(title, found) for title, found in compared.items()],
        "scores": list(_scores(seen)),
        "samples": [{"run": run, "rows": _samples(run, stores[run.name])} for run in pretrained],
        "settings": _settings(seen),
        "accounts": [{"run": run, "rows": _account(stores[run.name])} for run in pretrained],
    }
    return environment.from_string(template).render(**parts)


def _names(paths: list[Path]) -> dict[Path, str]:
    """The last part of each path; the whole of it where two share that."""
    last = [path.resolve().name for path in paths]
    return {path: printable(name if last.count(name) == 1 else path) for path, name in zip(paths, last)}


def _seen(path: Path, name: str, colour: int) -> Seen:
    if not (path / "config.json").is_file() and not (path / "result.json").is_file():
        what = "no such folder" if not path.exists() else "is not a run: it holds no config.json"
        raise InputError(f"{printable(path)}: {what}")
    notes: list[str] = []
    result = _sealed(path / "result.json")
    home = path
    if result and "seeds" in result and not (path / "metrics.jsonl").is_file():  # several seeds: the curves of the best
        home = path / f"seed-{int(result.get('best_seed', 0))}"
        notes.append(f"several seeds; curves and settings are of seed {result.get('best_seed', 0)}, the best")
    config = _config(home / "config.json") or _config(path / "config.json") or {"kind": "finetune"}
    metrics, speed = _lines(home / "metrics.jsonl"), _lines(home / "speed.jsonl")
    if not metrics:
        notes.append("no metrics yet: there are no curves")
    if config.get("kind") == "finetune" and result is None:
        notes.append("not finished: there are no scores")
    return Seen(
        name=name, path=home, colour=colour, config=config, metrics=metrics, speed=speed, result=result, notes=notes
    )


def _config(path: Path) -> dict[str, Any] | None:
    """config.json in today's format; what was written elsewhere stays as it is."""
    found = _sealed(path)
    return found and current(found, printable(path))


def _sealed(path: Path) -> dict[str, Any] | None:
    try:
        return files.unsealed(path.read_bytes(), path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{printable(path)}: cannot be read: {error.strerror}") from None


def _lines(path: Path) -> list[dict[str, Any]]:
    """JSON lines; a last line that a killed process left half-written is passed over."""
    try:
        raw = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{printable(path)}: cannot be read: {error.strerror}") from None
    found = []
    for number, line in enumerate(raw[:-1], 1):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            raise InputError(
                f"{printable(path)}:{number}: is not JSON; `bertsmith verify` says whether the run is damaged"
            ) from None
        if not isinstance(entry, dict) or not _number(entry.get("step")):
            raise InputError(f"{printable(path)}:{number}: step: missing or not a number")
        found.append(entry)
    return found


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _facts(run: Seen) -> Iterator[tuple[str, str]]:
    config, last = run.config, run.metrics[-1] if run.metrics else {}
    recipe, model = config.get("recipe") or {}, (config.get("recipe") or {}).get("model") or {}
    if recipe.get("name"):
        yield "member", f"{recipe['name']}, {model.get('layers', '?')} layers of width {model.get('width', '?')}"
    if last:
        yield "steps", f"{last['step']:,}" + (f" of {config['steps']:,}" if _number(config.get("steps")) else "")
    if _number(last.get("tokens")):
        yield "tokens read", f"{last['tokens']:,}"
    if run.kind == "pretrain":
        for term, found in _evaluations(run)[-1:] and _evaluations(run)[-1][1].items():
            yield (
                f"held-out {term} loss",
                f"{found['loss']:.4f}"
                + (f" (accuracy {found['accuracy']:.1%})" if _number(found.get("accuracy")) else ""),
            )
    rates = [entry["tokens_per_second"] for entry in run.speed if _number(entry.get("tokens_per_second"))]
    if rates:
        yield "tokens/s", f"{sorted(rates)[len(rates) // 2]:,.0f} (median)"
    for name in ("device", "precision", "seed"):
        if config.get(name) is not None:
            yield name, str(config[name])


def _evaluations(run: Seen) -> list[tuple[dict[str, Any], dict[str, dict[str, float]]]]:
    """(line, {term: {loss, …}}) of every line with a held-out evaluation."""
    found = []
    for line in run.metrics:
        terms = {
            term: means
            for term, means in (line.get("evaluation") or {}).items()
            if isinstance(means, dict) and _number(means.get("loss"))
        }
        if terms:
            found.append((line, terms))
    return found


def _curves(runs: Sequence[Seen], stores: dict[str, Any]) -> Iterator[Chart]:
    terms = sorted({term for run in runs for line in run.metrics for term in line.get("terms") or {}})
    for term in terms:
        lines: list[Line] = []
        for run in runs:
            points = [(_tokens(m), m["terms"][term]) for m in run.metrics if _number((m.get("terms") or {}).get(term))]
            lines.append(Line(name=f"{run.name}, each update", points=points, colour=run.colour, style="raw"))
            means = smooth([y for _, y in points], max(1, len(points) // 40))
            lines.append(Line(name=run.name, points=[(x, y) for (x, _), y in zip(points, means)], colour=run.colour))
            held = [(_tokens(line), found[term]["loss"]) for line, found in _evaluations(run) if term in found]
            lines.append(Line(name=f"{run.name}, held out", points=held, colour=run.colour, style="dots"))
        plateaus = (
            {round(store.unigram_entropy(), 6) for store in stores.values() if store} if term == "token" else set()
        )
        levels = [Level(name="unigram entropy", y=y) for y in sorted(plateaus)]
        yield Chart(title=f"{term} loss", x="tokens read", y="nats", lines=lines, levels=levels)
    for title, key, unit in (("learning rate", "lr", ""), ("gradient norm, before clipping", "grad_norm", "")):
        lines = [
            Line(
                name=run.name,
                points=[(_tokens(m), m[key]) for m in run.metrics if _number(m.get(key))],
                colour=run.colour,
            )
            for run in runs
        ]
        yield Chart(title=title, x="tokens read", y=unit, lines=lines, zero=True)
    lines = [
        Line(
            name=run.name,
            points=[(s["step"], s["tokens_per_second"]) for s in run.speed if _number(s.get("tokens_per_second"))],
            colour=run.colour,
        )
        for run in runs
    ]
    yield Chart(title="speed", x="step", y="tokens/s", lines=lines, zero=True)


def _tokens(line: dict[str, Any]) -> float:
    return line["tokens"] if _number(line.get("tokens")) else line["step"]


def _figure(chart: Chart) -> dict[str, Any] | None:
    drawn = chart.svg()
    names = list(
        dict.fromkeys((line.name, line.colour) for line in chart.lines if line.style == "smooth" and line.points)
    )
    dots = any(line.style == "dots" and line.points for line in chart.lines)
    return {"title": chart.title, "svg": drawn, "names": names, "dots": dots} if drawn else None


def _compared(title: str, found: Mapping[str, dict[str, float]]) -> dict[str, Any]:
    rows = [(name, i % COLOURS, score) for i, (name, score) in enumerate(found.items())]
    return {
        "metric": title,
        "svg": intervals(rows),
        "rows": [(name, interval(score)) for name, _, score in rows],
        "spreads": [],
    }


def _scores(seen: Sequence[Seen]) -> Iterator[dict[str, Any]]:
    """For each metric of the fine-tuned runs: a picture and its figures."""
    rows: dict[str, list[tuple[str, int, dict[str, float]]]] = {}
    spreads: dict[str, list[str]] = {}
    for run in seen:
        for each in (run.result or {}).get("results") or [run.result or {}]:
            label = f"{run.name}, seed {each.get('seed', '?')}" if "results" in (run.result or {}) else run.name
            for name, score in (each.get("dev") or {}).items():
                if isinstance(score, dict) and all(_number(score.get(key)) for key in ("value", "low", "high")):
                    rows.setdefault(name, []).append((label, run.colour, score))
        for name, score in ((run.result or {}).get("over_seeds") or {}).items():
            spread = f"{run.name}: {score['mean']:.4f} ± {score['spread']:.4f} (standard deviation) over {score['seeds']} seeds"
            spreads.setdefault(name, []).append(spread)
    for name in dict.fromkeys([*rows, *spreads]):
        found = rows.get(name, [])
        table = [(run, interval(score)) for run, _, score in found]
        yield {"metric": name, "svg": intervals(found), "rows": table, "spreads": spreads.get(name, [])}


def _store(run: Seen) -> Any:
    """The store that the run learned from, where it still is what it was; else None, and a note."""
    from bertsmith.text.store import Store

    data = run.config.get("data") or {}
    try:
        store = Store.open(data.get("path", ""), verify=False)
    except (InputError, OSError):
        if "feeds" in data:
            run.notes.append("a mixture: no plateau, no samples, no account of the data")
            return None
        run.notes.append("its store is not where it was: no plateau, no samples, no account of the data")
        return None
    if store.digest != data.get("digest"):
        run.notes.append("its store has changed since: no plateau, no samples, no account of the data")
        return None
    return store


def _samples(run: Seen, store: Any) -> list[list[dict[str, Any]]]:
    from bertsmith.downstream.samples import samples

    if store is None:
        return []
    try:
        return samples(run.path, store)
    except InputError as error:
        run.notes.append(f"no samples: {error}")
        return []


def _settings(seen: Sequence[Seen]) -> dict[str, list[dict[str, Any]]]:
    """Every field of every run, those that differ apart."""
    flat = [dict(_flat({k: v for k, v in run.config.items() if k not in ("sha256", "format")})) for run in seen]
    rows = []
    for name in dict.fromkeys(name for fields in flat for name in fields):
        values = [fields.get(name, "") for fields in flat]
        rows.append({"name": name, "values": values, "differs": len(set(values)) > 1})
    return {"differ": [row for row in rows if row["differs"]], "same": [row for row in rows if not row["differs"]]}


def _flat(tree: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(tree, dict) and tree:
        for name, value in tree.items():
            if name == "type" and isinstance(value, str):
                yield path or "type", value.rpartition(":")[2]
            else:
                yield from _flat(value, f"{path}.{name}" if path else str(name))
    elif isinstance(tree, list) and any(isinstance(item, dict | list) for item in tree):
        for i, item in enumerate(tree):
            yield from _flat(item, f"{path}.{i}")
    else:
        yield path, tree if isinstance(tree, str) else json.dumps(tree, ensure_ascii=False)


def _account(store: Any) -> list[tuple[str, str]]:
    """What the store's manifest says about where the text went."""
    if store is None:
        return []
    account = store.manifest.get("account") or {}
    return [
        (name.replace("_", " ").replace(".", ": "), f"{value:,}" if _number(value) else str(value))
        for name, value in _leaves(account)
    ]


def _leaves(tree: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}{name}.")
        elif not isinstance(value, list) or value:
            yield f"{path}{name}", "; ".join(map(str, value)) if isinstance(value, list) else value
