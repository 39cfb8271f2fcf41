"""A cell of `bench/gpu.py`: the ways of gpu_ways.py taking turns, what each holds at its peak, and what of the card's own peak is reached."""

import statistics
from collections.abc import Callable
from typing import Any

import torch
from gpu_device import allocated, free, peak_memory, profile, reset_peak, several, waited
from gpu_ways import Cell, Maker, Missing, Sizes
from harness import row, taking_turns
from step import flops
from torch.utils.flop_counter import FlopCounterMode

from bertsmith.nn.modules.attention import operations


def measured(cell: Cell, sizes: Sizes, device: torch.device, peak: float) -> dict[str, Any]:
    """The row of a cell; `peak` in FLOP/s.  A way that fails is named in it with its reason, and does not end the others."""
    maker, failed = Maker(cell, sizes, device), {}
    found: dict[str, Any] = {"bench": cell.name, "unit": "tokens/s", "sequences": len(cell.lengths), "failed": failed}
    found |= {"tokens": sum(cell.lengths), "missing": {}, "memory": {}, "rate": {}, "ratio": {}}
    if cell.check:
        found["equal"] = _tried(maker.check, failed, "check")
    ways = _made(maker, found)
    if "ours" in ways:
        found["flops"] = {"counted": _counted(ways["ours"]), "useful": flops(maker.recipe, maker.bench)}
    try:
        updates = {name: several(way, sizes.updates) for name, way in ways.items()}
        _rates(found, taking_turns(updates, sizes.repetitions, lambda work: waited(work, device)), sizes.updates, peak)
    except Exception as error:
        failed["timing"] = _said(error)
        free(device)
    watched = "compiled" if "compiled" in cell.ways else "ours"
    if cell.profile and watched in ways:
        found["profile"] = {"of": watched, **profile(ways[watched], device, sizes.watched)}
    return found


def _made(maker: Maker, found: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """The ways that could be built and run twice; `found` is told the bytes that each holds at its peak, all that is its own."""
    ways, device = {}, maker.device
    for way in maker.cell.ways:
        before = allocated(device)
        try:
            made = maker.make(way)
            made()
            reset_peak(device)
            made()
            ways[way], found["memory"][way] = made, peak_memory(device) - before
        except Missing as error:
            found["missing"][way] = str(error)
        except Exception as error:
            found["failed"][way] = _said(error)
            made = None
            free(device)
    return ways


def _rates(found: dict[str, Any], seconds: dict[str, list[float]], updates: int, peak: float) -> None:
    """Medians; the share of the peak by what ours computes, and by what is useful in it for any of them."""
    tokens = found["tokens"] * updates
    if "ours" in seconds:
        found |= row(found["bench"], seconds, tokens, found["unit"])
    middle = {name: statistics.median(took) for name, took in seconds.items()}
    found |= {"seconds": seconds, "rate": {name: tokens / took for name, took in middle.items()}}
    if "ours" in seconds:
        counted, useful = found["flops"]["counted"] * updates, found["flops"]["useful"] * updates
        found["share_of_peak"] = round(counted / middle["ours"] / peak, 4)
        found["share_useful"] = {n: round(useful / took / peak, 4) for n, took in middle.items() if n != "M"}


def _tried(work: Callable[[], Any], failed: dict[str, str], name: str) -> bool:
    try:
        work()
    except Exception as error:
        failed[name] = _said(error)
        return False
    return True


def _said(error: BaseException) -> str:
    if isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error):
        return "out of memory"
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:400]


def _counted(way: Callable[[], Any]) -> int:
    """Operations of all products of an update, as `bertsmith plan` counts them."""
    with FlopCounterMode(display=False, custom_mapping=operations()) as counter:
        way()
    return counter.get_total_flops()
