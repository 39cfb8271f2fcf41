"""A large store is checked against its manifest while a run begins: sizes before, hashes beside its first updates, which are not saved before."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bertsmith import files
from bertsmith.errors import BertsmithError

LATER = 500_000_000  # bytes from which on a store is so checked; fewer take a moment


class Checking:
    """The hashes of a folder, in a thread; on each machine in one of the processes of a run."""

    def __init__(self, folder: Path, listed: dict[str, Any]):
        self.error: BertsmithError | None = None
        self._thread = threading.Thread(target=self._check, args=(folder, listed), name="checking", daemon=True)
        if int(os.environ.get("LOCAL_RANK", 0)) == 0:
            self._thread.start()

    def _check(self, folder: Path, listed: dict[str, Any]) -> None:
        try:
            files.check(folder, listed)
        except BertsmithError as error:
            self.error = error

    def passed(self) -> None:
        """Wait for its end.  InputError naming the file that is not as written."""
        if self._thread.is_alive():
            self._thread.join()
        if self.error is not None:
            raise self.error


def passed(checkings: tuple[Checking, ...]) -> Callable[[], None] | None:
    """What waits for all of them; None where there are none."""

    def each() -> None:
        for checking in checkings:
            checking.passed()

    return each if checkings else None
