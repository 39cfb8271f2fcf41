"""What the Hugging Face hub holds under a name, brought to this machine through huggingface_hub and whatever login that has."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bertsmith.errors import InputError, ResourceError, printable

HUB = "hf:"
LOGGERS = ("huggingface_hub", "datasets", "fsspec", "urllib3", "httpx")
# What a tokenizer is read from; never a pickle, never code.
TOKENIZER = (
    "tokenizer*.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "*.model",
)
_NAME = re.compile(r"(?:(?P<owner>\w[\w.-]*)/)?\w[\w.-]*", re.ASCII)


def check_name(name: str, owned: bool = False) -> None:
    """InputError unless `name` is user/name, or, of what is not to be `owned`, a name alone: the hub's oldest models (gpt2) have no owner."""
    found = _NAME.fullmatch(name)
    if not found or (owned and not found["owner"]):
        what = "user/name" if owned else "user/name, or a name alone, such as hf:bert-base-chinese"
        raise InputError(f"{printable(name)}: not a repository of the hub; expected {what}")


def fetch(name: str, patterns: Sequence[str]) -> Path:
    """The folder in the hub's cache that the files of `[user/]name[@revision]` are downloaded to; one that is there already needs no network."""
    hub = library()
    repository, _, revision = name.partition("@")
    check_name(repository)
    try:
        with quiet():
            found = hub.snapshot_download(repository, revision=revision or None, allow_patterns=list(patterns))
    except Exception as error:  # one of several dozen classes of the library and of the network below it
        raise refused(f"{HUB}{name}", error) from None
    return Path(found)


def tokenizer_at(name: str | os.PathLike) -> Path:
    """Where a tokenizer lies: a file or folder as it is, or what the hub holds under `hf:[user/]name[@revision]`."""
    if os.fspath(name).startswith(HUB):
        return fetch(os.fspath(name).removeprefix(HUB), ("config.json", *TOKENIZER))
    return Path(name)


def library() -> Any:
    """huggingface_hub.  InputError naming the extra where it is not installed."""
    try:
        import huggingface_hub
    except ImportError:
        raise InputError("the hub needs the package huggingface_hub; pip install 'bertsmith[hub]'") from None
    return huggingface_hub


@contextmanager
def alone() -> Iterator[None]:
    """What the libraries of the hub log (each of their tries, where there is no network) is not shown: our one line says how it ended."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(max(logger.level, logging.ERROR))
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars where nobody watches them, and no lines but ours."""
    from huggingface_hub import utils  # no attribute of the package until somebody imports it

    silent = not sys.stderr.isatty() and not utils.are_progress_bars_disabled()
    if silent:
        utils.disable_progress_bars()
    try:
        with alone():
            yield
    finally:
        if silent:
            utils.enable_progress_bars()


def refused(name: str, error: Exception) -> ResourceError:
    first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return ResourceError(f"{printable(name)}: the hub refuses: {printable(first)}; `hf auth login` says who you are")
