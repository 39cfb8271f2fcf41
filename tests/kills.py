"""The kill box: runs of the command line that are killed outright, at any time, and must end as if they had not been.

By hand, more of it than the suite has: `python -m tests.kills 30 [ways]` kills fine-tunings by every way to tune.
"""

import os
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.children import Child, Children
from tests.runs import leftovers, same

from bertsmith.downstream.verify import _run
from bertsmith.training.checkpoint import verify_run
from bertsmith.training.run import Run

INTERVAL = 5  # updates between saved steps


@dataclass
class Box:
    """One reference, and the account of all kills."""

    children: Children
    command: Callable[[Path], list[str]]  # of a run in a folder
    straight: Path
    seconds: float = 0.0  # that the uninterrupted run took
    kills: int = 0
    saving: int = 0  # of them came while a step was being written or removed
    unsaved: int = 0  # of them came before anything was saved
    lost: list[int] = field(default_factory=list)  # updates that each kill cost

    def start(self, out: Path) -> Child:
        return self.children.start(*self.command(out), "--resume")

    def warmed(self) -> "Box":
        for out in (
            self.straight.with_name(f"warm-{self.straight.name}"),
            self.straight,
        ):  # the second is not the one that warms up
            begun = time.monotonic()
            child = self.start(out)
            assert child.wait() == 0, child.err
            self.seconds = time.monotonic() - begun
        return self

    def survive(self, out: Path, draw: random.Random, aimed: bool, planned: int | None = None) -> None:
        """`planned` kills (one to three), each followed by a look at what lies there; then the run is finished and compared."""
        planned, kills = planned or draw.randint(1, 3), 0
        while kills < planned:
            child = self.start(out)
            self._strike(child, out, draw, aimed)
            if child.kill() == 0:  # it was faster
                if kills:
                    break
                shutil.rmtree(out)
                continue
            kills += 1
            self._look(out)
        self.kills += kills
        child = self.start(out)
        assert child.wait() == 0, child.err
        same(self.straight, out)
        assert Run(out).steps() == Run(self.straight).steps() and not leftovers(out)

    def _strike(self, child: Child, out: Path, draw: random.Random, aimed: bool) -> None:
        """Wait for a random time, or for one of the saves to begin and then for some of it."""
        if not aimed:
            time.sleep(draw.uniform(0, 1.1 * self.seconds))
            return
        for _ in range(draw.randint(1, 4)):
            known = half_written(out)
            while child.running() and half_written(out) <= known:
                pass
        time.sleep(draw.uniform(0, 0.004))

    def _look(self, out: Path) -> None:
        """Nothing that cannot be read, and never more lost than one interval."""
        run = Run(out)
        self.saving += bool(half_written(out))
        newest = run.steps()[-1] if run.steps() else 0
        if newest:
            verify_run(_run(out))
            assert len(os.listdir(out / "steps")) <= 3  # two are kept, one may be on its way in or out
        self.unsaved += newest == 0
        metrics = out / "metrics.jsonl"
        written = metrics.read_bytes().count(b"\n") if metrics.exists() else 0
        self.lost.append(written - newest)
        assert written - newest <= INTERVAL, f"{written} updates were written, and step {newest} is the newest"


def half_written(out: Path) -> set[str]:
    """Steps that are being written or removed at this moment."""
    try:
        return {name for name in os.listdir(out / "steps") if name.startswith(".")}
    except FileNotFoundError:
        return set()
