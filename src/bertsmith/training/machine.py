"""The memory of the machine that this process runs on, in bytes: all of it, and what is free; less where a container has less."""

from __future__ import annotations

import os
from pathlib import Path

GROUPS = (  # what a container may use, uses, and of this what files hold that can go, as cgroups of version 2 and 1 have it
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "/sys/fs/cgroup/memory/memory.stat",
    ),
)
MEMINFO = "/proc/meminfo"


def memory() -> int:
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([whole, *(limit for limit, _ in _groups())])


def free() -> int:
    """What can be taken without pushing anything out; all there is where the system does not say."""
    available = _fields(MEMINFO).get("MemAvailable:")
    found = [memory() if available is None else 1024 * available]
    return max(0, min([*found, *(limit - used for limit, used in _groups())]))


def _groups() -> list[tuple[int, int]]:
    """(bytes allowed, bytes in use)"""
    found = []
    for limit, usage, stat in GROUPS:
        most, used = _number(limit), _number(usage)
        if most is not None and used is not None:
            found.append((most, used - _fields(stat).get("inactive_file", 0)))
    return found


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):  # none, or "max"
        return None


def _fields(path: str) -> dict[str, int]:
    """The lines of a file that are a name and a number."""
    try:
        lines = [line.split() for line in Path(path).read_text().splitlines()]
    except OSError:
        return {}
    return {parts[0]: int(parts[1]) for parts in lines if len(parts) > 1 and parts[1].isdigit()}
