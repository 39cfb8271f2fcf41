"""The report says what runs' folders say, in one file that fetches nothing."""

import json
import re
from pathlib import Path

import pytest

from bertsmith import files
from bertsmith.downstream.charts import Chart, Level, Line, intervals, short, smooth, ticks
from bertsmith.downstream.report import report
from bertsmith.errors import InputError


def pretrained(folder: Path, lr: float = 1e-3, steps: int = 60) -> Path:
    """A run as pretrain leaves it, without its weights."""
    folder.mkdir(parents=True)
    config = {
        "format": 1,
        "kind": "pretrain",
        "recipe": {
            "type": "bertsmith.recipe:Recipe",
            "name": "bert",
            "model": {"layers": 2, "width": 128},
            "schedule": {"lr": lr},
        },
        "data": {"path": str(folder.parent / "no-store"), "digest": "0" * 64},
        "steps": steps,
        "seed": 0,
    }
    (folder / "config.json").write_bytes(files.sealed(config))
    lines = []
    for step in range(1, steps + 1):
        line = {
            "step": step,
            "loss": 8 - step / 20,
            "lr": lr,
            "grad_norm": 1.0,
            "tokens": 1000 * step,
            "terms": {"token": 7 - step / 20, "pair": None},
        }
        lines.append(line | ({"evaluation": {"token": {"loss": 4.25, "accuracy": 0.31}}} if step == steps else {}))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "speed.jsonl").write_text(
        "".join(json.dumps({"step": s, "tokens_per_second": 20000.0 + s}) + "\n" for s in range(1, steps))
    )
    return folder


def tuned(folder: Path, accuracy: float) -> Path:
    pretrained(folder)
    (folder / "config.json").write_bytes(files.sealed({"format": 1, "kind": "finetune", "task": {"kind": "classify"}}))
    dev = {"accuracy": {"value": accuracy, "low": accuracy - 0.02, "high": accuracy + 0.02}}
    (folder / "result.json").write_bytes(
        files.sealed({"format": 1, "kind": "finetune", "dev": dev, "best": 1, "seed": 0})
    )
    return folder


def test_the_page_stands_alone(tmp_path):
    runs = [pretrained(tmp_path / "a"), tuned(tmp_path / "b", 0.8), tuned(tmp_path / "c", 0.6)]
    page = report(runs, tmp_path / "page.html").read_text()
    assert not re.search(r"(src|href)\s*=|@import|url\(|<script|https?://", page)
    assert page.count("<svg") >= 6 and "prefers-color-scheme: dark" in page
    assert "0.8000 [0.7800, 0.8200]" in page and "4.2500 (accuracy 31.0%)" in page


def test_settings_that_differ_stand_apart(tmp_path):
    page = report([pretrained(tmp_path / "a"), pretrained(tmp_path / "b", lr=2e-3)], tmp_path / "page.html").read_text()
    differing = re.findall(r'<tr class="differs"><td>(.*?)</td>', page)
    assert "recipe.schedule.lr" in differing and "recipe.model.width" not in differing
    assert "recipe.model.width" in page


def test_missing_pieces_are_said_in_a_line(tmp_path):
    run = pretrained(tmp_path / "a")
    (run / "metrics.jsonl").unlink()
    (run / "speed.jsonl").unlink()
    said = []
    report([run], tmp_path / "page.html", say=said.append)
    assert any("no metrics yet" in line for line in said) and any("store is not where it was" in line for line in said)


def test_a_line_that_a_killed_process_left_is_passed_over(tmp_path):
    run = pretrained(tmp_path / "a")
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 61, "lo')
    assert "60 of 60" in report([run], tmp_path / "page.html").read_text()


def test_names_are_escaped(tmp_path):
    page = report([pretrained(tmp_path / "<b>&x")], tmp_path / "page.html").read_text()
    assert "<b>" not in page and "&lt;b&gt;&amp;x" in page


@pytest.mark.parametrize("damage", ["absent", "empty", "broken line", "flipped", "no step"])
def test_what_is_not_a_run_is_refused_and_nothing_is_written(tmp_path, damage):
    run = tmp_path / "a"
    if damage == "empty":
        run.mkdir()
    elif damage != "absent":
        pretrained(run)
    if damage == "broken line":
        (run / "metrics.jsonl").write_text('{"step": 1}\n{"step"\n{"step": 3}\n')
    if damage == "no step":
        (run / "metrics.jsonl").write_text('{"loss": 1}\n')
    if damage == "flipped":
        config = (run / "config.json").read_text()
        (run / "config.json").write_text(config.replace('"seed": 0', '"seed": 1'))
    with pytest.raises(InputError) as error:
        report([run], tmp_path / "page.html")
    assert str(run) in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "page.html").exists()


def test_the_page_is_never_written_into_a_run_or_over_a_folder(tmp_path):
    run = pretrained(tmp_path / "a")
    for out in (run / "page.html", tmp_path, tmp_path / "absent" / "page.html"):
        with pytest.raises(InputError):
            report([run], out)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (4.21, 8.9), (0.0003, 0.002), (-0.01, 0.02), (5, 5), (0, 0), (0, 4_000_000)]
)
def test_ticks_are_round_and_span_the_values(low, high):
    found = ticks(low, high)
    assert found[0] <= low <= high <= found[-1] + 1e-9 and 2 <= len(found) <= 9
    assert all(len(short(value)) <= 7 for value in found)


def test_a_chart_without_points_is_nothing():
    assert Chart(title="t", x="x", y="y", lines=[]).svg() == "" == intervals([])


def test_a_chart_of_one_point_shows_it():
    assert "<circle" in Chart(title="t", x="x", y="y", lines=[Line(name="a", points=[(1, 2)], colour=0)]).svg()


def test_a_level_outside_the_curves_is_inside_the_picture():
    drawn = Chart(
        title="t",
        x="x",
        y="y",
        lines=[Line(name="a", points=[(1, 2), (2, 3)], colour=0)],
        levels=[Level(name="plateau", y=9)],
    ).svg()
    y = float(re.search(r'class="level"[^>]*y1="([\d.]+)"', drawn)[1])
    assert 0 < y < 300


def test_smoothing_keeps_a_constant_and_its_length():
    assert smooth([2.0] * 7, 3) == pytest.approx([2.0] * 7) and smooth([], 3) == []
