"""A device's clock and memory, its own peaks, and where its time goes.  On a CPU there is nothing to wait for, and memory is not told."""

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

TOP = 20  # kernels that a profile names


def waited(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds from an idle device to an idle device."""
    wait(device)
    start = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - start


def several(way: Callable[[], Any], updates: int) -> Callable[[], None]:
    def work() -> None:
        for _ in range(updates):
            way()

    return work


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def allocated(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


def free(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def peaks(n: int, tokens: int, device: torch.device) -> dict[str, float]:
    """FLOP/s of products of random (n, n) and of an update's `tokens`, bytes/s read and written by a copy; the medians of 10 after 3."""

    def product(rows: int, inner: int, columns: int, dtype: torch.dtype, policy: str = "highest") -> float:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(policy)
        a = torch.randn(rows, inner, device=device, dtype=dtype)
        b = torch.randn(inner, columns, device=device, dtype=dtype)
        seconds = [waited(lambda: a @ b, device) for _ in range(13)]
        torch.set_float32_matmul_precision(before)
        return 2 * rows * inner * columns / statistics.median(seconds[3:])

    source = torch.randn(n, 4 * n, device=device)
    into = torch.empty_like(source)
    copied = statistics.median([waited(lambda: into.copy_(source), device) for _ in range(13)][3:])
    return {
        "bfloat16": product(n, n, n, torch.bfloat16),
        "float32 medium": product(n, n, n, torch.float32, "medium"),
        "float32 highest": product(n, n, n, torch.float32),
        "bfloat16, an update's tokens by 768 by 3,072": product(tokens, 768, 3072, torch.bfloat16) if n >= 768 else 0.0,
        "copy": 2 * source.nbytes / copied,
    }


def profile(way: Callable[[], Any], device: torch.device, updates: int) -> dict[str, Any]:
    """Where the device's time goes: {seconds of an update, the share in which a kernel ran, kernels of an update, the longest}."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as watched

    cuda = device.type == "cuda"
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    unwatched = waited(several(way, updates), device)
    with watched(activities=kinds, acc_events=True) as found:
        waited(several(way, updates), device)
    events = found.key_averages()
    # Optimizers and compiled regions are named on the device's own line, too, over the kernels that they start.
    named = lambda e: getattr(e, "is_user_annotation", False) or e.key.startswith(("Optimizer.", "## "))
    on_device = [e for e in events if str(e.device_type).endswith("CUDA") or not cuda]
    on_device = [e for e in on_device if not named(e)]
    took = {e.key: (e.self_device_time_total if cuda else e.self_cpu_time_total) / 1e6 for e in on_device}
    calls = {e.key: e.count for e in on_device}
    whole = sum(took.values())
    longest = sorted(took, key=lambda key: -took[key])[:TOP]
    return {
        "seconds": unwatched / updates,
        "busy": round(whole / unwatched, 4) if unwatched else 0.0,
        "kernels": sum(calls.values()) / updates,
        "top": [
            {
                "name": key[:160],
                "ms": round(1e3 * took[key] / updates, 4),
                "share": round(took[key] / whole, 4) if whole else 0.0,
                "calls": calls[key] / updates,
            }
            for key in longest
        ],
    }
