"""`bench/gpu.py` works before anyone has a card: all of it on the CPU, at toy sizes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("transformers")
ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "bench"))  # no package: its files import one another as scripts do


def run(*options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "bench" / "gpu.py"), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT, timeout=240)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """(what is printed, what is written)."""
    out = tmp_path_factory.mktemp("gpu")
    done = run("--device", "cpu", "--quick", "--out", str(out))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (path,) = out.glob("gpu-cpu-*.json")
    return done.stdout, json.loads(path.read_text())


@pytest.mark.slow
def test_every_cell_is_measured_written_and_named_in_the_table(quick):
    from gpu_ways import QUICK, cells

    printed, found = quick
    expected = cells(QUICK)
    assert [row["bench"] for row in found["rows"]] == [cell.name for cell in expected]
    table = [line for line in printed.splitlines() if line.startswith("| ")]
    for cell, row in zip(expected, found["rows"], strict=True):
        assert not row["failed"] and "left_out" not in row
        assert row["rate"].keys() | row["missing"].keys() == {*cell.ways}
        assert all(rate > 0 for rate in row["rate"].values()) and 0 < row["share_of_peak"]
        assert row.get("equal", True) and ("equal" in row) == cell.check
        assert ("profile" in row) == cell.profile
        assert any(line.startswith(f"| {cell.name} |") for line in table)
    assert found["left_out"] == []


@pytest.mark.slow
def test_operations_are_counted_as_by_hand(quick):
    """What is computed is less than what counts as useful by the last layer's places that nobody asks for, and filler more."""
    for row in quick[1]["rows"]:
        assert 0.5 < row["flops"]["counted"] / row["flops"]["useful"] < 1.5


@pytest.mark.slow
def test_the_tests_are_run_with_their_figures(quick):
    printed, found = quick
    tests = found["tests"]["results"]
    assert {test["outcome"] for test in tests} == {"passed", "skipped"}
    assert all(test["why"] for test in tests if test["outcome"] == "skipped")
    losses = [test for test in tests if "float32_losses" in test["test"]]
    assert losses and all(test["figures"] == {"apart": 0.0} for test in losses)
    assert f"tests: {sum(test['outcome'] == 'passed' for test in tests)} passed, 0 failed" in printed


def test_what_does_not_fit_is_named(tmp_path, capsys):
    """No time for anything: every cell is in the table and in the file, and left out."""
    import torch
    from gpu_table import text
    from gpu_ways import QUICK, cells

    import gpu

    about = {"card": "cpu", "date": "2026-11-27", "versions": {}}
    result = gpu.Result(about, [tmp_path])
    result.found["peak"] = {"bfloat16": 1e11}
    gpu.run_cells(result, QUICK, torch.device("cpu"), gpu.Clock(0), "")
    written = json.loads((tmp_path / "gpu-cpu-2026-11-27.json").read_text())
    for cell, row in zip(cells(QUICK), written["rows"], strict=True):
        assert row["left_out"] == "no time left"
        assert f"left out: {cell.name}: no time left" in capsys.readouterr().out + text(written)


def test_a_cell_that_takes_too_long_is_ended_and_named(monkeypatch):
    import time

    import gpu_cells
    import gpu_ways
    import torch

    import gpu

    monkeypatch.setattr(gpu, "CELL", 0.2)
    monkeypatch.setattr(gpu_cells, "measured", lambda *_: time.sleep(20))
    cell = gpu_ways.cells(gpu_ways.QUICK)[0]
    found = gpu.run_cell(cell, gpu_ways.QUICK, torch.device("cpu"), gpu.Clock(5), 1e11)
    assert found["left_out"] == "not done within 0 s" and found["took"] < 10


def test_without_a_card_one_line_says_so():
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    done = run()
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "sees no CUDA device" in done.stderr


def test_a_way_that_fails_is_named_and_ends_nothing(monkeypatch):
    import torch
    from gpu_cells import measured
    from gpu_ways import QUICK, Maker, cells

    make = Maker.make

    def fails(maker, way):
        if way == "B":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        return make(maker, way)

    monkeypatch.setattr(Maker, "make", fails)
    two = next(cell for cell in cells(QUICK) if cell.ways == ("ours", "B"))
    found = measured(two, QUICK, torch.device("cpu"), 1e11)
    assert found["failed"] == {"B": "out of memory"}
    assert found["rate"].keys() == {"ours"}


@pytest.mark.slow
def test_the_page_shows_the_newest_result_of_each_card(quick, tmp_path, monkeypatch):
    import table

    monkeypatch.setattr(table, "HERE", tmp_path)
    (tmp_path / "results").mkdir()
    assert table.gpus() == "No card has run it yet: the table comes with the first."
    for card, day in (("One", "2026-11-27"), ("One", "2026-12-01"), ("Two", "2026-11-28")):
        found = {**quick[1], "card": card, "date": day}
        (tmp_path / "results" / f"gpu-{card}-{day}.json").write_text(json.dumps(found))
    page = table.gpus()
    assert "One, torch" in page and "2026-12-01" in page and "Two, torch" in page and "2026-11-27" not in page
    assert page.count("| MLM tiny, length 16, full rows |") == 2
