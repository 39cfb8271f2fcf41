"""Work on chunks, on one core or on several processes; in order, and the same for any number of them."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any

from bertsmith.errors import ResourceError
from bertsmith.spelling import option

SINGLE = {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}


def ordered(
    chunks: Iterable[Any], here: Callable[[Any], Any], there: Callable[[], Callable[[Any], Any]], workers: int
) -> Iterator[Any]:
    """What `here` gives for each chunk, in order; on more than one worker, what the function that `there()` makes in each process gives.

    Processes are spawned: a script that calls this with more than one needs the usual `if __name__ == "__main__":`.
    """
    chunks = iter(chunks)
    first = list(islice(chunks, 2))
    if workers == 1 or len(first) < 2:
        with one_thread():
            for chunk in chain(first, chunks):
                yield here(chunk)
        return
    with one_thread():  # the environment that the processes start with
        pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start, (there,))
        waiting = deque()
        try:
            for chunk in chain(first, chunks):
                waiting.append(pool.submit(_work, chunk))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise ResourceError(
                f"a worker process died (out of memory?); fewer {option('workers')} need less"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def one_thread() -> Iterator[None]:
    """`tokenizers` asks the environment at every call whether it may use all cores."""
    before = {name: os.environ.get(name) for name in SINGLE}
    os.environ.update(SINGLE)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


_here: Callable[[Any], Any] | None = None  # of a worker process


def _start(there: Callable[[], Callable[[Any], Any]]) -> None:
    global _here
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _here = there()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _work(chunk: Any) -> Any:
    return _here(chunk)
