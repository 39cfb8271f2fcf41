"""What can go wrong for a user, and the exit code that says so.  Anything else that escapes is our bug (exit 1)."""

from collections.abc import Iterable
from signal import SIGINT


class BertsmithError(Exception):
    """One line for the user: where, what is wrong, what is allowed or how to mend it."""

    exit_code = 1
    agreed = False  # whether all processes of a run raise it

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the line."""
        return [f"{type(self).__name__}: {self}"]


class InputError(BertsmithError):
    """Bad input, configuration or checkpoint."""

    exit_code = 2


class ResourceError(BertsmithError):
    """Disk, memory, permission, port, or a process that died."""

    exit_code = 3


class Lost(ResourceError):
    """Another process of the run is gone."""


class NumericsError(BertsmithError):
    """A loss or gradient that is not finite."""

    exit_code = 4


class Interrupted(BertsmithError):
    """A signal ended the run, after it was saved; the exit code is 128 + signal.  Of SIGINT it is a KeyboardInterrupt, too."""

    def __new__(cls, message: str, signal: int) -> "Interrupted":
        kind = InterruptedByKeyboard if cls is Interrupted and signal == SIGINT else cls
        return super().__new__(kind, message, signal)

    def __init__(self, message: str, signal: int):
        super().__init__(message)
        self.signal = signal
        self.exit_code = 128 + signal

    def __reduce__(self) -> tuple:
        return Interrupted, (str(self), self.signal)


class InterruptedByKeyboard(Interrupted, KeyboardInterrupt):
    """Ctrl-C, or a notebook's stop button: what stops for those stops for it."""


def remade(code: int, message: str) -> BertsmithError:
    """The error of another process, by its exit code."""
    if code > 128:
        return Interrupted(message, code - 128)
    known = {kind.exit_code: kind for kind in (InputError, ResourceError, NumericsError)}
    return known.get(code, BertsmithError)(message)


def printable(text: object, limit: int = 200) -> str:
    """`text` on one line: control characters, line breaks and undecodable bytes escaped, cut at `limit` characters."""
    raw = str(text)
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in raw[: limit + 1])
    return line if len(raw) <= limit else line[: limit - 1] + "…"


def near(name: str, known: Iterable) -> list[str]:
    """The names of `known` that `name` may have been meant for, at most three; often none."""
    import difflib

    return difflib.get_close_matches(name, sorted(map(str, known)), n=3, cutoff=0.6)


def nearest(name: str, known: Iterable) -> str:
    """`did you mean 'x'?`, or the list of what is known where nothing is near."""
    found = near(name, known := [*known])
    return f"did you mean {' or '.join(map(repr, found))}?" if found else f"known: {', '.join(sorted(map(str, known)))}"
