"""What a server counts, as Prometheus reads it (text format 0.0.4).  Numbers, endpoints and statuses: nothing of a text."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SHARED = (1, 2, 4, 8, 16, 32, 64, 128)
TOKENS = (64, 256, 1024, 2048, 4096, 8192, 16384)


class Histogram:
    def __init__(self, bounds: tuple[float, ...]):
        self.bounds, self.counts, self.sum = bounds, [0] * (len(bounds) + 1), 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def lines(self, name: str, labels: str = "") -> Iterator[str]:
        total = 0
        for bound, count in zip([*map(str, self.bounds), "+Inf"], self.counts):
            total += count
            yield f'{name}_bucket{{{labels}{"," if labels else ""}le="{bound}"}} {total}'
        inside = f"{{{labels}}}" if labels else ""
        yield f"{name}_sum{inside} {self.sum:.6f}"
        yield f"{name}_count{inside} {total}"


class Figures:
    """`gauges`: what is looked up when somebody asks."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, int], int] = defaultdict(int)
        self.seconds: dict[str, Histogram] = {}
        self.shared, self.tokens, self.passes = Histogram(SHARED), Histogram(TOKENS), Histogram(SECONDS)
        self.dropped = 0  # requests whose client went away, or that waited too long, before a pass took them
        self.reloads = {"done": 0, "failed": 0}
        self.gauges: dict[str, Callable[[], float]] = {"resident_bytes": resident}

    def answered(self, endpoint: str, status: int, seconds: float) -> None:
        self.requests[endpoint, status] += 1
        if endpoint not in self.seconds:
            self.seconds[endpoint] = Histogram(SECONDS)
        self.seconds[endpoint].add(seconds)

    def passed(self, requests: int, tokens: int, seconds: float) -> None:
        self.shared.add(requests)
        self.tokens.add(tokens)
        self.passes.add(seconds)

    def text(self) -> str:
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        yield from _head("requests_total", "counter", "Requests that were answered.")
        for (endpoint, status), count in sorted(self.requests.items()):
            yield f'bertsmith_requests_total{{endpoint="{endpoint}",status="{status}"}} {count}'
        yield from _head("request_seconds", "histogram", "From the last byte of a request to its answer.")
        for endpoint, found in sorted(self.seconds.items()):
            yield from found.lines("bertsmith_request_seconds", f'endpoint="{endpoint}"')
        for name, found, about in (
            ("pass_requests", self.shared, "Requests that shared a pass of the model."),
            ("pass_tokens", self.tokens, "Tokens of a pass; none is padding."),
            ("pass_seconds", self.passes, "Seconds of a pass."),
        ):
            yield from _head(name, "histogram", about)
            yield from found.lines(f"bertsmith_{name}")
        yield from _head("dropped_total", "counter", "Requests that nobody waited for when their turn came.")
        yield f"bertsmith_dropped_total {self.dropped}"
        yield from _head("reloads_total", "counter", "Models that were loaded again.")
        for result, count in self.reloads.items():
            yield f'bertsmith_reloads_total{{result="{result}"}} {count}'
        for name, value in self.gauges.items():
            yield from _head(name, "gauge", name.replace("_", " ").capitalize() + ".")
            yield f"bertsmith_{name} {value():g}"


def _head(name: str, kind: str, about: str) -> Iterator[str]:
    yield f"# HELP bertsmith_{name} {about}"
    yield f"# TYPE bertsmith_{name} {kind}"


def resident() -> float:
    """Bytes of memory that the process holds; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm") as file:
            return float(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0.0
