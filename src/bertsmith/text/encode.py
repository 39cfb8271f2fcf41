"""Chunks of paragraphs to ids, on one core or on several processes; in order, and the same for any number of them."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bertsmith.errors import ResourceError
from bertsmith.spelling import option
from bertsmith.text.paragraph_words import Words
from bertsmith.text.runs import Runs
from bertsmith.text.sentences import split

if TYPE_CHECKING:
    from bertsmith.text.tokenizer import Tokenizer

SINGLE = {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}


@dataclass(slots=True)
class Encoded:
    """A chunk as tokens: p parts of documents, k sentences, n tokens."""

    ids: np.ndarray  # (n,) uint16 or uint32
    starts: np.ndarray  # (n,) bool
    lengths: np.ndarray  # (k,) tokens of each sentence, none 0
    counts: np.ndarray  # (p,) sentences of each part
    used: int  # bytes of the sentences
    without_token: int  # bytes of sentences of which the tokenizer made nothing (zero-width characters, say)
    dropped: int  # such sentences
    japanese: int  # kana and Han that were read as Japanese


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What is taken for a sentence and for a word."""

    language: str = "en"
    lines: str = "paragraph"
    words: tuple[str, ...] = ()  # a user's
    segmented: bool = False  # blanks part words, and go beside scripts that have none


class Encoder:
    """Sentences, words and ids of paragraphs; with `lines` "sentence" each paragraph is one already.

    The ids of a paragraph's sentences, one after the other, are those that the tokenizer gives for the paragraph; its words are those of
    the paragraph, too, and the same for every tokenizer.
    """

    def __init__(self, tokenizer: "Tokenizer", reading: Reading):
        self.tokenizer, self.reading = tokenizer, reading
        self.words = Words(reading.language, reading.words, reading.segmented)

    def __call__(self, parts: list[list[str]]) -> Encoded:
        runs = Runs(self.tokenizer.borders)
        sentences = runs.sentences
        counts = np.empty(len(parts), np.int64)
        parts, words, japanese = self.words(parts)
        found = iter(words)
        for i, paragraphs in enumerate(parts):
            before = len(sentences)
            for paragraph in paragraphs:
                whole = self.reading.lines == "sentence"
                runs.add([paragraph] if whole else split(paragraph, self.reading.language), next(found))
            counts[i] = len(sentences) - before
        dtype = np.uint16 if self.tokenizer.size < 65536 else np.uint32
        ids, starts, lengths = runs.encoded(self.tokenizer)
        used = len("".join(sentences).encode())
        empty = np.flatnonzero(lengths == 0)
        lost = sum(len(sentences[i].encode()) for i in empty.tolist())
        if len(empty):
            part = np.repeat(np.arange(len(parts)), counts)
            counts -= np.bincount(part[empty], minlength=len(parts))
            lengths = lengths[lengths > 0]
        return Encoded(ids.astype(dtype), starts, lengths, counts, used - lost, lost, len(empty), japanese)


def encoded(chunks: Iterable[list[list[str]]], encoder: Encoder, folder: Path, workers: int) -> Iterator[Encoded]:
    """Each chunk encoded, in order.  `folder` holds the tokenizer for the other processes; one worker is this process, on one core.

    Processes are spawned: a script that calls this with more than one needs the usual `if __name__ == "__main__":`.
    """
    chunks = iter(chunks)
    first = list(islice(chunks, 2))
    if workers == 1 or len(first) < 2:
        with one_thread():
            for chunk in chain(first, chunks):
                yield encoder(chunk)
        return
    with one_thread():  # the environment that the processes start with
        pool = ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), _start, (str(folder), encoder.reading)
        )
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


_encoder: Encoder | None = None  # of a worker process


def _start(folder: str, reading: Reading) -> None:
    global _encoder
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from bertsmith.text.tokenizer import Tokenizer

    _encoder = Encoder(Tokenizer.load(folder), reading)


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _work(chunk: list[list[str]]) -> Encoded:
    return _encoder(chunk)
