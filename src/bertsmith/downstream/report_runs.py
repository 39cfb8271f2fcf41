"""What the folders of runs say, for the report.  Whatever a run lacks is a note; what is not a run, or is damaged, is an InputError."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bertsmith import files
from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount
from bertsmith.training.formats import current

Score = dict[str, float]  # value, low, high
ROWS = {"tag": "sentences", "qa": "questions"}  # what the rows of a task are called; texts elsewhere


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A run.  Of a fine-tuning of several seeds `path` is that of the best, `folder` the whole."""

    name: str
    folder: Path
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

    @property
    def recipe(self) -> dict[str, Any]:
        return self.config.get("recipe") or {}

    @property
    def task(self) -> dict[str, Any]:
        return self.config.get("task") or {}

    @property
    def scratch(self) -> bool:
        return bool(self.task.get("scratch"))

    @property
    def dev(self) -> dict[str, Any]:
        """{path, rows, sha256} of the dev file."""
        return (self.config.get("data") or {}).get("dev") or {}

    @property
    def rows(self) -> str:
        return ROWS.get(self.task.get("kind", ""), "texts")

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """What the best seed of a tuning to several tasks says of each."""
        return self.best.get("tasks") or {}

    @property
    def results(self) -> list[dict[str, Any]]:
        """One for each seed."""
        return (self.result or {}).get("results") or ([self.result] if self.result else [])

    @property
    def best(self) -> dict[str, Any]:
        """Of the best seed."""
        wanted = (self.result or {}).get("best_seed")
        return next((one for one in self.results if one.get("seed") == wanted), (self.results or [{}])[0])

    @property
    def chosen_by(self) -> str:
        return self.best.get("chosen_by") or next(iter(self.best.get("dev") or {}), "")

    @property
    def several(self) -> str:
        """What it has several results of, in words; "" where it has one."""
        of = "fold" if "folds" in (self.result or {}) else "seed"
        return amount(len(self.results), of) if len(self.results) > 1 else ""

    @property
    def homes(self) -> list[Path]:
        """The folder of each seed's run."""
        return [self.folder / f"seed-{int(s)}" for s in (self.result or {}).get("seeds") or []] or [self.folder]

    def values(self, name: str) -> list[Score]:
        """A score of each seed on the dev file."""
        found = [(one.get("dev") or {}).get(name) for one in self.results]
        return [score for score in found if isinstance(score, dict) and all(number(score.get(key)) for key in KEYS)]

    def score(self, name: str) -> Score | None:
        """The mean over the seeds, ends of the interval too."""
        found = self.values(name)
        return {key: sum(score[key] for score in found) / len(found) for key in KEYS} if found else None


KEYS = ("value", "low", "high")
SAID_ARMS = {"model": "the model", "scratch": "fresh weights", "baseline": "TF-IDF"}  # of a learning curve


def seen(paths: Sequence[Path]) -> list[Seen]:
    """InputError for what is not a run."""
    last = [path.resolve().name for path in paths]
    names = [printable(name if last.count(name) == 1 else path) for path, name in zip(paths, last, strict=True)]
    return [_seen(path, name, number) for number, (path, name) in enumerate(zip(paths, names, strict=True))]


def _seen(path: Path, name: str, colour: int) -> Seen:
    if not (path / "config.json").is_file() and not (path / "result.json").is_file():
        run, colon, _ = str(path).rpartition(":")
        if colon and (Path(run) / "config.json").is_file() and not path.exists():
            raise InputError(f"{printable(path)}: a report is of all tasks of a run: {printable(run)}")
        what = "no such folder" if not path.exists() else "is not a run: it holds no config.json"
        raise InputError(f"{printable(path)}: {what}")
    notes: list[str] = []
    result = _sealed(path / "result.json")
    home = path
    if result and "seeds" in result and not (path / "metrics.jsonl").is_file():  # several seeds: the curves of the best
        home = path / f"seed-{int(result.get('best_seed', 0))}"
        several = len(result["seeds"]) > 1
        notes += (
            []
            if not several
            else [f"several seeds; curves and settings are of seed {result.get('best_seed', 0)}, the best"]
        )
    if result and "folds" in result:
        home = path / "fold-0"
        notes.append(f"cross-validation of {amount(int(result['folds']), 'fold')}; curves and settings are of fold 0")
    if result and "curve" in result:
        curve = result["curve"]
        home = path / f"rows-{int(curve['rows'][-1])}" / "model" / f"seed-{int(curve['seeds'][0])}"
        notes.append(f"a learning curve; curves of losses and settings are of {amount(int(curve['rows'][-1]), 'row')}")
    config = _config(home / "config.json") or _config(path / "config.json") or {"kind": "finetune"}
    metrics, speed = _lines(home / "metrics.jsonl"), _lines(home / "speed.jsonl")
    if not metrics:
        notes.append("no metrics yet: there are no curves")
    if config.get("kind") == "finetune" and result is None:
        notes.append("not finished: there are no scores")
    return Seen(
        name=name,
        folder=path,
        path=home,
        colour=colour,
        config=config,
        metrics=metrics,
        speed=speed,
        result=result,
        notes=notes,
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
    for at, line in enumerate(raw[:-1], 1):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            raise InputError(
                f"{printable(path)}:{at}: is not JSON; `bertsmith verify` says whether the run is damaged"
            ) from None
        if not isinstance(entry, dict) or not number(entry.get("step")):
            raise InputError(f"{printable(path)}:{at}: step: missing or not a number")
        found.append(entry)
    return found


def number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def facts(run: Seen) -> Iterator[tuple[str, str]]:
    """What stands on a run's card."""
    config, last, model = run.config, run.metrics[-1] if run.metrics else {}, run.recipe.get("model") or {}
    if run.recipe.get("name"):
        yield "member", f"{run.recipe['name']}, {model.get('layers', '?')} layers of width {model.get('width', '?')}"
    if run.task.get("kind"):
        fresh = "fresh weights" if run.scratch else f"method {run.task.get('method', 'full')}"
        yield "task", f"{', '.join(run.tasks) or run.task['kind']}, {fresh}"
    for name, task in run.tasks.items():
        scores = (task.get("dev") or {}).items()
        yield f"{name} ({task.get('task')})", ", ".join(f"{score} {s['value']:.3f}" for score, s in scores)
    yield from _learned(run.best)
    if last:
        yield "steps", f"{last['step']:,}" + (f" of {config['steps']:,}" if number(config.get("steps")) else "")
    if number(last.get("tokens")):
        yield "tokens read", f"{last['tokens']:,}"
    for term, found in evaluations(run)[-1][1].items() if run.kind == "pretrain" and evaluations(run) else ():
        accuracy = f" (accuracy {found['accuracy']:.1%})" if number(found.get("accuracy")) else ""
        accuracy += f" (the utterance's mean: {found['mean']:.4f})" if number(found.get("mean")) else ""
        yield f"held-out {term} loss", f"{found['loss']:.4f}{accuracy}"
    rates = [entry["tokens_per_second"] for entry in run.speed if number(entry.get("tokens_per_second"))]
    if rates:
        yield "tokens/s", f"{sorted(rates)[len(rates) // 2]:,.0f} (median)"
    for name in ("device", "precision", "seed"):
        if config.get(name) is not None:
            yield name, str(config[name])


def _learned(result: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """How much of a model a fine-tuning changed."""
    count, of = ((result.get("trained") or {}).get(name) for name in ("parameters", "of"))
    if number(count) and number(of) and count < of:
        yield "learned", f"{count:,} of {of:,} parameters ({count / of:.2%})"


def mixture(result: dict[str, Any]) -> tuple[dict[str, float], float]:
    """(the share of each layer by its number, what all are multiplied by); ({}, 0) of a result without."""
    mix = result.get("layers") or {}
    shares = {layer: share for layer, share in (mix.get("shares") or {}).items() if number(share)}
    return (shares, mix["scale"]) if shares and number(mix.get("scale")) else ({}, 0.0)


def evaluations(run: Seen) -> list[tuple[dict[str, Any], dict[str, dict[str, float]]]]:
    """(line, {term: {loss, …}}) of every line with a held-out evaluation."""
    found = []
    for line in run.metrics:
        every = (line.get("evaluation") or {}).items()
        terms = {term: means for term, means in every if isinstance(means, dict) and number(means.get("loss"))}
        if terms:
            found.append((line, terms))
    return found


def store_of(run: Seen) -> Any:
    """The store that the run learned from, where it still is what it was; else None, and a note."""
    from bertsmith.audio.store import FrameStore
    from bertsmith.text.store import Store

    data, lost = run.config.get("data") or {}, "no plateau, no samples, no account of the data"
    try:
        path = data.get("path", "")
        store: Any = (FrameStore if path and FrameStore.is_at(path) else Store).open(path, verify=False)
    except (InputError, OSError):
        run.notes.append(f"{'a mixture' if 'feeds' in data else 'its store is not where it was'}: {lost}")
        return None
    if store.digest != data.get("digest"):
        run.notes.append(f"its store has changed since: {lost}")
        return None
    return store
