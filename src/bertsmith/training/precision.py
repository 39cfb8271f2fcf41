"""What numbers a run computes in: bfloat16 where the machine has it in hardware, else float32.  Master weights are always float32."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
import torch.utils.deterministic

from bertsmith.errors import InputError, printable
from bertsmith.spelling import option


@dataclass(frozen=True, kw_only=True)
class Precision:
    """`compute` is the type of matrix products; `matmul` is torch's float32 policy for what stays float32."""

    compute: Literal["float32", "bfloat16"]
    device: torch.device
    matmul: Literal["highest", "medium"] = "medium"

    @classmethod
    def choose(cls, asked: str, device: torch.device) -> Precision:
        """`asked`: auto (bfloat16 where the hardware has it), float32 or bfloat16."""
        compute = ("bfloat16" if has_bfloat16(device) else "float32") if asked == "auto" else asked
        return cls(compute=compute, device=device)

    @classmethod
    def exact(cls, device: torch.device) -> Precision:
        """float32 without shortcuts: what `fill`, `predict`, `evaluate` and `embed` compute in."""
        return cls(compute="float32", device=device, matmul="highest")

    @contextmanager
    def policy(self) -> Iterator[None]:
        """torch's process-wide policies for the length of a run, of float32 and of `in_order`; what was set before comes back."""
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(self.matmul)
        try:
            with in_order(self.device):
                yield
        finally:
            torch.set_float32_matmul_precision(before)

    def seed(self, seed: int) -> None:
        """What is drawn next on the device follows from `seed`, as after torch.manual_seed, which takes longer than a small model's pass:
        for each kind of device that is not there it keeps the whole stack of who asked."""
        if self.device.type == "cpu":
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.compute == "bfloat16")

    def __str__(self) -> str:
        if self.compute == "bfloat16":
            slow = (
                ""
                if has_bfloat16(self.device)
                else " (emulated on this machine: slow; training.precision=float32 is faster)"
            )
            return f"bfloat16 products, float32 weights{slow}"
        return f"float32 ('{self.matmul}' products)"


@contextmanager
def in_order(device: torch.device) -> Iterator[None]:
    """Kernels that add in a fixed order where a GPU has faster ones that do not: what resuming to the bit rests on.

    On an H200 it costs less than can be measured (docs/performance.md).  An operation that has no such kernel raises RuntimeError: torch
    with `warn_only` would warn, and leave fused attention as it is.
    """
    if device.type != "cuda" or torch.are_deterministic_algorithms_enabled():
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what Hopper has anyway; unsaid, every product warns
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nothing reads what nobody wrote
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]


def has_bfloat16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16.  Without it a CPU is 40 to 500 times slower in bfloat16 than in float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # private names: ask whether this torch has them
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)


def choose_device(name: str | None) -> torch.device:
    """`cpu`, `cuda`, `cuda:1`; None takes a GPU where there is one.  InputError for one that is not there."""
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, colon, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (colon and not index.isdecimal()):
        raise InputError(f"{option('device')}: {printable(name)!r} is not one of cpu, cuda, cuda:N")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(index or 0) >= count:
            have = f"{count} CUDA devices" if count else "no CUDA device"
            raise InputError(
                f"{option('device')}: {name} is not there; torch {torch.__version__} sees {have}; {option('device', 'cpu')} works everywhere"
            )
        return torch.device("cuda", int(index or 0))
    return torch.device("cpu")


@contextmanager
def threads_set(threads: int | None) -> Iterator[None]:
    """torch's number of CPU threads for the length of a run."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
