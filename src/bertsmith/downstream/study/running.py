"""The cells of a study, one after the other or side by side, each when what it needs is done.  A cell that fails ends the study, after the others
that run have saved; one whose loss is not finite ends itself alone, and what needed it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from signal import Signals

from bertsmith.downstream.study.cells import Cell, Done, done, lighten
from bertsmith.downstream.study.executors import Executor
from bertsmith.errors import BertsmithError, Interrupted, printable
from bertsmith.spelling import amount

Say = Callable[[str], None]


class Work:
    """`run` carries out what is left of `cells`, in their order."""

    def __init__(self, out: Path, cells: Iterable[Cell], by: Executor, say: Say):
        self.out, self.by, self.say = out, by, say
        self.wanted = {cell.key: cell for cell in cells}
        self.over: dict[str, Done] = {}
        self.going: dict[Path, Cell] = {}
        for key in self.wanted:
            if (found := done(out, key)) is not None:
                self.over[key] = found
                lighten(self.wanted[key].place(out))  # it was killed before it did
        self.left = {key: cell for key, cell in self.wanted.items() if key not in self.over}
        self.dropped = 0

    def run(self) -> None:
        """What ended a cell is raised with its name; Interrupted, and what else ends this process, after all that run have saved."""
        if self.over:
            many = amount(len(self.wanted), "cell")
            self.say(f"study: {len(self.over):,} of {many} {'is' if len(self.over) == 1 else 'are'} done already")
        try:
            while self.left or self.going:
                self._drop()
                self._fill()
                for place, error in self.by.ended().items():
                    self._ended(self.going.pop(place), error)
        except BaseException:
            self.by.stop()
            raise

    def _fill(self) -> None:
        for key, cell in [*self.left.items()]:
            if len(self.going) >= self.by.room:
                return
            if cell.needs is None or cell.needs in self.over:
                del self.left[key]
                place = cell.written(self.out)
                self.going[place] = cell
                try:
                    self.by.start(place)
                except BertsmithError as error:
                    raise _named(cell, error) from None

    def _ended(self, cell: Cell, error: BertsmithError | None) -> None:
        if error is not None:
            raise _named(cell, error)
        found = done(self.out, cell.key)
        if found is None:
            raise BertsmithError(f"{cell.name} ({cell.key}): ended, and nothing came out")
        self.over[cell.key] = found
        why = f": {printable(found.failed)}" if found.failed else ""
        self.say(f"study: {len(self.over) + self.dropped:,} of {len(self.wanted):,}: {cell.name}{why}")

    def _drop(self) -> None:
        """Without those whose pre-training came to nothing."""
        for key, cell in [*self.left.items()]:
            under = self.over.get(cell.needs or "")
            if under is not None and under.failed:
                del self.left[key]
                self.dropped += 1
                self.say(f"study: {cell.name}: is not made, for its pre-training came to nothing")


def _named(cell: Cell, error: BertsmithError) -> BertsmithError:
    if isinstance(error, Interrupted):
        return Interrupted(
            f"{Signals(error.signal).name}: {cell.name} is not done; the same command goes on", error.signal
        )
    return type(error)(f"{cell.name} ({cell.key}): {error}")
