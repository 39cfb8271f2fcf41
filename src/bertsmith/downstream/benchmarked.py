"""What the models of a benchmark score on the dev files, and answer to the test files: OUT/glue.json and OUT/submission.zip."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bertsmith import files
from bertsmith.downstream.labelled_files import Say
from bertsmith.downstream.model import Loaded, opened
from bertsmith.downstream.predict import judged, predict
from bertsmith.downstream.tuned import seeds_of
from bertsmith.spelling import amount
from bertsmith.tasks import averaged
from bertsmith.tasks.benchmarks import Benchmark, Official
from bertsmith.tasks.official import Part, Present
from bertsmith.training.job import silent

FORMAT = 1
ARCHIVE = "submission.zip"
BEGINNING = (1980, 1, 1, 0, 0, 0)  # the date of all files of an archive: the same answers are the same bytes


def named(task: str, say: Say) -> Say:
    """Warnings, which come together at the end, with the task that they are about."""

    def tell(line: str) -> None:
        say(f"warning: {task}: {line.removeprefix('warning: ')}" if line.startswith("warning: ") else line)

    return tell


def facts(one: Present) -> dict[str, Any]:
    """What a plan and a result say of the files of a task."""
    parts = {part.path.name: part for part in one.parts}
    return {
        "rows": {name: part.rows for name, part in parts.items()},
        "left": {name: part.left for name, part in parts.items() if part.left},
        "lacks": list(one.lacks),
    }


def benchmarked(
    benchmark: Benchmark,
    found: Sequence[Present],
    missing: dict[str, str],
    model: Any,
    out: Path,
    device: str | None,
    members: tuple[str, ...],
    say: Say,
) -> dict[str, Any]:
    """Scores and answers, written and returned."""
    from bertsmith.training.processes import own_device

    place, scores, tasks, answers = str(own_device(device)), [], {}, {}
    for number, one in enumerate(found):
        run = out / one.task.name
        score = averaged.task(_judged(one, run, place, members), number)
        scores.append(score)
        human = one.task.human
        tasks[one.task.name] = {
            "run": one.task.name,
            **facts(one),
            "seeds": len(seeds_of(run)),
            "scores": score.dev,
            "score": averaged.mean([score]),
            "human": None if human is None else human / 100,
        }
        say(f"{one.task.name}: answers to {amount(len(one.tests), 'test file')}")
        best = opened(run, place, members, silent)
        for part in one.tests:
            found_here = _answers(part, one.task, best, named(one.task.name, say))
            answers[part.source.archived] = benchmark.written(part.source, part.indices, found_here)
    wanted = [test.archived for task in benchmark.tasks for test in task.tests]
    humans = [one.task.human for one in found if one.task.human is not None]
    result = {
        "format": FORMAT,
        "kind": benchmark.name.lower(),
        "model": str(model.path if isinstance(model, Loaded) else model),
        "tasks": tasks,
        "mean": averaged.mean(scores),
        "human": sum(humans) / len(humans) / 100 if len(humans) == len(found) else None,
        "of": len(found),
        "all": len(benchmark.tasks),
        "missing": missing,
        "archive": {"holds": [*answers], "lacks": [name for name in wanted if name not in answers]},
    }
    if answers:
        files.write(out / ARCHIVE, _zipped(answers))
    result = json.loads(json.dumps(result))
    files.write(out / f"{benchmark.name.lower()}.json", files.sealed(result))
    return result


def _judged(one: Present, run: Path, place: str, members: tuple[str, ...]) -> list[averaged.Judged]:
    """What the models of all seeds say of the dev files."""
    figures: list[dict[int, Any]] = [{} for _ in one.devs]
    for number, path in enumerate(seeds_of(run)):
        loaded = opened(path, place, members)
        for part, found in zip(one.devs, figures, strict=True):
            source = part.source
            targets, said, kind = judged(loaded, part.path, columns=source.columns, header=source.header)
            found[number] = kind.figures(targets, said, loaded.labels)
    return [averaged.Judged(part.source, part.rows, found) for part, found in zip(one.devs, figures, strict=True)]


def _answers(part: Part, task: Official, best: Loaded, say: Say) -> list[str]:
    """What the server wants: labels as the files have them, numbers within their bounds."""
    rows = predict(best, part.path, columns=part.source.columns, header=part.source.header, say=say)
    low, high = task.bounds
    return [f"{min(max(a, low), high):.3f}" if isinstance(a, float) else a for a in (row["label"] for row in rows)]


def _zipped(answers: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in answers.items():
            about = zipfile.ZipInfo(name, BEGINNING)
            about.compress_type, about.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(about, data)
    return made.getvalue()
