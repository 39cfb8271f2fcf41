"""What every bench shares: the machine's own peaks, timing that takes turns, and the record of a run.

A figure is only claimed beside its peer, in one process, taking turns; the same weights and the same tokens on both sides, with losses
and gradients compared before anything is timed.  Only real tokens count.
"""

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"
REPETITIONS = 5


def machine(threads: int) -> dict[str, Any]:
    """Peaks in GFLOP/s and GB/s, and what else a figure needs to be read."""
    torch.set_num_threads(threads)
    return {
        "date": date.today().isoformat(),
        "cpu": cpu(),
        "threads": threads,
        "load": os.getloadavg()[0],
        "peak": {
            "bfloat16": product(torch.bfloat16),
            "float32 medium": product(torch.float32, "medium"),
            "float32 highest": product(torch.float32, "highest"),
        },
        "copy": copies(),
        "versions": {name: version(name) for name in ("torch", "transformers", "numpy", "tokenizers")},
        "python": platform.python_version(),
        "commit": commit(),
    }


def product(dtype: torch.dtype, precision: str = "highest") -> float:
    """GFLOP/s of (2048, 768) x (768, 3072), the best of 8."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    a, b = torch.randn(2048, 768, dtype=dtype), torch.randn(768, 3072, dtype=dtype)
    seconds = min(timed(lambda: a @ b) for _ in range(8))
    torch.set_float32_matmul_precision(before)
    return 2 * 2048 * 768 * 3072 / seconds / 1e9


def copies() -> float:
    """GB/s read and written by a copy of 256 MB, the best of 5."""
    a = torch.zeros(64 << 20)
    b = torch.empty_like(a)
    return 2 * a.nbytes / min(timed(lambda: b.copy_(a)) for _ in range(5)) / 1e9


def timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def taking_turns(
    ways: dict[str, Callable[[], Any]],
    repetitions: int = REPETITIONS,
    timed: Callable[[Callable[[], Any]], float] = timed,
) -> dict[str, list[float]]:
    """Seconds of each way, one after the other `repetitions` times, after each ran once; `timed` says how long one took."""
    for way in ways.values():
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repetitions):
        for name, way in ways.items():
            seconds[name].append(timed(way))
    return seconds


def resident(session: int) -> float:
    """Megabytes of all processes of a session, and of those that they started in sessions of their own; shared pages shared out."""
    total, ours = 0, {session}
    known: dict[int, tuple[int, int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            known[int(folder.name)] = int(fields[1]), int(fields[3])  # parent, session
        except OSError:
            continue
    for _ in range(4):
        ours |= {p for p, (parent, of) in known.items() if parent in ours or of in ours}
    for process in ours & known.keys():
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            total += int(next(line for line in lines if line.startswith("Pss:")).split()[1])
        except (OSError, StopIteration):
            continue
    return total / 1024


def row(bench: str, seconds: dict[str, list[float]], units: float, unit: str, **more: Any) -> dict[str, Any]:
    """Rates from the fastest repetition; ratios of medians, ours to each peer's, beside those of the fastest."""
    best = {name: min(values) for name, values in seconds.items()}
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "bench": bench,
        "unit": unit,
        "rate": {name: units / value for name, value in best.items()},
        "ratio": {name: middle[name] / middle["ours"] for name in seconds if name != "ours"},
        "ratio_fastest": {name: best[name] / best["ours"] for name in seconds if name != "ours"},
        "seconds": seconds,
        **more,
    }


def say(found: dict[str, Any]) -> None:
    rates = "  ".join(f"{name} {value:,.0f}" for name, value in found["rate"].items())
    ratios = "  ".join(f"{value:.2f} x {name}" for name, value in found["ratio"].items())
    more = "  ".join(f"{key} {found[key]}" for key in ("share_of_peak", "load") if key in found)
    print(f"{found['bench']:44} {found['unit']}: {rates}   {ratios}   {more}", flush=True)


def record(name: str, about: dict[str, Any], rows: list[dict[str, Any]]) -> Path:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({**about, "load_after": os.getloadavg()[0], "rows": rows}, indent=1) + "\n")
    return path


def cpu() -> str:
    with open("/proc/cpuinfo") as file:
        fields = dict(line.split(":", 1) for line in file if ":" in line)
    named = {key.strip(): value.strip() for key, value in fields.items()}
    return f"{named.get('model name', platform.processor())}, {os.cpu_count()} cores"


def commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    return done.stdout.strip()
