"""Everything about a GPU in one command: whether what it computes is right, how fast it is beside transformers, and where the time goes.

    make gpu                                            python bench/gpu.py [--minutes 8] [--out FOLDER]
    python bench/gpu.py --device cpu --quick --out …    the same at toy sizes, without a card

Writes bench/results/gpu-<card>-<date>.json, after every cell anew, so that a killed run leaves what it has; on a CPU and with --quick to
--out alone.  What does not fit into --minutes is named in it and in the table.  Exit code 1 where a test or a cell failed.
"""

import argparse
import importlib.util
import json
import os
import platform
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

BEGUN = time.monotonic()  # loading torch is part of the minutes
# What torch takes on Hopper anyway: without it said, its deterministic mode refuses products.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src")]
NEEDED = "torch transformers tokenizers sentencepiece sentencex rjieba unicodedata2 safetensors rich jinja2".split()
TESTS = 0.45  # of the minutes
CELL = 90.0  # seconds that a cell takes at most
ENOUGH = 8.0  # seconds without which none is begun


class Late(BaseException):
    """No Exception, so that nothing on the way takes it for a failed way."""


class Clock:
    def __init__(self, minutes: float, begun: float | None = None):
        self.end = (time.monotonic() if begun is None else begun) + 60 * minutes

    @property
    def left(self) -> float:
        return self.end - time.monotonic()

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """`Late` from inside once they are over, as soon as Python has its turn again."""

        def late(*_: object) -> None:
            raise Late(f"not done within {seconds:.0f} s")

        before = signal.signal(signal.SIGALRM, late)
        signal.setitimer(signal.ITIMER_REAL, max(0.1, seconds))
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


class Result:
    """What is known so far, in every file that it is written to."""

    def __init__(self, about: dict[str, Any], folders: list[Path]):
        self.found: dict[str, Any] = {**about, "tests": {"results": []}, "rows": [], "left_out": []}
        card = re.sub(r"[^a-z0-9]+", "-", about["card"].lower()).strip("-")
        self.paths = [folder / f"gpu-{card}-{about['date']}.json" for folder in folders]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)

    def write(self) -> None:
        for path in self.paths:
            new = path.with_suffix(".new")
            new.write_text(json.dumps(self.found, indent=1) + "\n", encoding="utf-8")
            new.replace(path)

    def left_out(self, name: str, why: str) -> None:
        self.found["left_out"].append(f"{name}: {why}")
        say(f"left out: {name}: {why}")


def say(line: str) -> None:
    print(line, flush=True)


def main() -> None:
    given = arguments()
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(
            f"{sys.executable} has no {', '.join(missing)}; GPU_WHEELS=DIR takes their wheels (docs/performance.md)"
        )
    import torch

    if given.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit(f"torch {torch.__version__} sees no CUDA device; --device cpu --quick runs the script without one")
    from gpu_table import text
    from gpu_ways import FULL, QUICK

    device, sizes, clock = torch.device(given.device), QUICK if given.quick else FULL, Clock(given.minutes, BEGUN)
    ours = [] if given.quick or device.type == "cpu" else [ROOT / "bench" / "results"]
    result = Result(about(device, given), [*ours, *([given.out] if given.out else [])])
    torch.set_float32_matmul_precision("highest")
    if given.quick:
        torch.compiler.set_stance("force_eager")  # compiling takes longer than everything else here
    measure_peaks(result, sizes, device, clock)
    if given.part in ("all", "tests"):
        run_tests(result, device, given.quick, clock)
    if given.part in ("all", "bench"):
        run_cells(result, sizes, device, clock, given.only)
    result.found["seconds"] = round(60 * given.minutes - clock.left, 1)
    result.write()
    say(text(result.found))
    say("\n".join(f"written: {path}" for path in result.paths))
    failed = [test["test"] for test in result.found["tests"]["results"] if test["outcome"] == "failed"]
    failed += [row["bench"] for row in result.found["rows"] if row.get("failed")]
    sys.exit(bool(failed))


def arguments() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--device", default="cuda")
    made.add_argument("--minutes", type=float, default=8.0)
    made.add_argument("--out", type=Path, help="a folder that gets the results, too")
    made.add_argument("--quick", action="store_true", help="toy sizes and a few tests: whether the script works")
    made.add_argument("--part", choices=("all", "tests", "bench"), default="all")
    made.add_argument("--only", default="", help="cells whose name holds this")
    return made.parse_args()


def about(device: Any, given: argparse.Namespace) -> dict[str, Any]:
    import torch
    from harness import cpu

    from bertsmith.training.gpus import GPUS

    found: dict[str, Any] = {"card": "cpu", "quick": given.quick, "minutes": given.minutes}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "card": properties.name,
            "memory": properties.total_memory,
            "multiprocessors": properties.multi_processor_count,
            "capability": list(torch.cuda.get_device_capability(device)),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "published": next((peak for name, (peak, _) in GPUS.items() if name in properties.name.lower()), None),
        }
    return {
        **found,
        "cpu": cpu(),
        "date": date.today().isoformat(),
        "versions": {name: _version(name) for name in (*NEEDED, "numpy", "triton", "flash_attn", "pytest")},
        "python": platform.python_version(),
        "commit": _commit(),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str:
    """Nothing where the files came without git."""
    from harness import commit

    try:
        return commit()
    except OSError:
        return ""


def measure_peaks(result: Result, sizes: Any, device: Any, clock: Clock) -> None:
    from gpu_device import free, peaks

    result.found["peak"] = peaks(sizes.product, sizes.tokens, device)
    free(device)
    result.write()
    rates = ", ".join(f"{name} {value / 1e12:,.2f}" for name, value in result.found["peak"].items())
    say(f"{result.found['card']}: TFLOP/s and TB/s: {rates}; {clock.left:.0f} s left")


def run_tests(result: Result, device: Any, quick: bool, clock: Clock) -> None:
    from gpu_tests import tested

    seconds = TESTS * clock.left
    say(f"tests on {device}, {seconds:.0f} s at most")
    found = result.found["tests"] = tested(device, quick, seconds)
    if "left_out" in found:
        result.left_out("tests", found["left_out"])
    for test in found["results"]:
        if str(test["why"]).endswith("no time left"):
            result.left_out(test["test"], "no time left")
    result.write()
    count = {
        kind: sum(test["outcome"] == kind for test in found["results"]) for kind in ("passed", "failed", "skipped")
    }
    say(f"tests: {count}; {clock.left:.0f} s left")


def run_cells(result: Result, sizes: Any, device: Any, clock: Clock, only: str) -> None:
    from gpu_ways import cells

    for cell in cells(sizes):
        if only in cell.name:
            found = run_cell(cell, sizes, device, clock, result.found["peak"]["bfloat16"])
            if "left_out" in found:
                result.left_out(cell.name, found["left_out"])
            result.found["rows"].append(found)
            result.write()
            rates = ", ".join(f"{name} {value:,.0f}" for name, value in found.get("rate", {}).items())
            failed = "; ".join(f"{name}: {why}" for name, why in found.get("failed", {}).items())
            say(f"{cell.name}: {rates} tokens/s {failed}; {found['took']:.0f} s, {clock.left:.0f} s left")


def run_cell(cell: Any, sizes: Any, device: Any, clock: Clock, peak: float) -> dict[str, Any]:
    from gpu_cells import measured
    from gpu_device import free

    if clock.left < ENOUGH:
        return {"bench": cell.name, "unit": "tokens/s", "left_out": "no time left", "took": 0.0}
    begun = time.monotonic()
    try:
        with clock.within(min(CELL, clock.left)):
            found = measured(cell, sizes, device, peak)
    except Late as late:
        found = {"bench": cell.name, "unit": "tokens/s", "left_out": str(late)}
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:400]
        found = {"bench": cell.name, "unit": "tokens/s", "failed": {"cell": reason}}
    free(device)
    return {**found, "took": round(time.monotonic() - begun, 2)}


if __name__ == "__main__":
    main()
