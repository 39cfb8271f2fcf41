"""The tests of tests/gpu/ as a part of `bench/gpu.py`: in a process of their own, until a deadline, with the figures that each records."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "tests" / "gpu"
GRACE = 20.0  # seconds beyond a third more than its share, after which the process is ended
QUICK_TESTS = (
    "test_attention_on_device.py::test_every_head_width[full-64]",
    "test_attention_on_device.py::test_the_packed_kernel_runs_where_it_can[full-None]",
    "test_recipes_on_device.py::test_float32_losses_are_the_cpus[bert]",
    "test_recipes_on_device.py::test_float32_losses_are_the_cpus[xlnet]",
    "test_resume_on_device.py::test_half_a_run_and_the_rest_is_the_whole_run[bert dropout]",
    "test_work_on_device.py::test_vectors_are_the_same[exact-mean]",
)


def tested(device: Any, quick: bool, seconds: float) -> dict[str, Any]:
    """{results, exit, printed, left_out}.  An assertion that fails on the device ends that process, not this one."""
    if importlib.util.find_spec("pytest") is None:
        return {
            "results": [],
            "left_out": "pytest is not installed; the wheels of pytest, pluggy and iniconfig bring it",
        }
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "tests.jsonl"
        printed, code = _run(device, quick, seconds, scratch, report)
        lines = report.read_text(encoding="utf-8").splitlines() if report.exists() else []
    found: dict[str, Any] = {"exit": code, "results": [json.loads(line) for line in lines]}
    if code != 0:
        found["printed"] = printed[-30_000:]
    if code is None:
        found["left_out"] = f"the process was ended; {len(lines)} tests had been run"
    elif code not in (0, 1):
        why = f"exit code {code}: {printed[-400:]}"
        found["results"].append({"test": "pytest", "outcome": "failed", "figures": {}, "why": why})
    return found


def _run(device: Any, quick: bool, seconds: float, scratch: str, report: Path) -> tuple[str, int | None]:
    """What pytest prints, and its exit code; None where it was ended."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (f"{ROOT}/src", str(ROOT), os.environ.get("PYTHONPATH")))),
        "BERTSMITH_TEST_DEVICE": str(device),
        "BERTSMITH_TEST_REPORT": str(report),
        "BERTSMITH_TEST_DEADLINE": str(time.time() + seconds),
    }
    chosen = [f"{FOLDER}/{name}" for name in QUICK_TESTS] if quick else [str(FOLDER)]
    options = ["-c", str(FOLDER / "pytest.ini"), "--rootdir", str(ROOT), f"--basetemp={scratch}/runs", "--tb=short"]
    command = [sys.executable, "-m", "pytest", *options, *chosen]
    limit = 1.3 * seconds + GRACE
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, timeout=limit)
    except subprocess.TimeoutExpired as error:
        return (error.stdout or b"").decode(errors="replace"), None
    return done.stdout, done.returncode
