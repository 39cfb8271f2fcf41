"""The Hugging Face hub: exports up, models down.  The only file that talks to it, through huggingface_hub and whatever login that has."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bertsmith import files
from bertsmith.deploy.sentences import LENGTHS, MODULES, PROMPTS
from bertsmith.errors import InputError, ResourceError, printable

# What a model is read from; never a pickle, never code.
TOKENIZER = (
    "tokenizer*.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "*.model",
)
READ = (
    "config.json",
    "bert_config.json",
    "adapter_config.json",
    "*.safetensors",
    "model.safetensors.index.json",
    *TOKENIZER,
    MODULES,
    PROMPTS,
    *LENGTHS,
    *(f"0_Transformer/{name}" for name in ("config.json", *TOKENIZER, *LENGTHS)),  # of old sentence-transformers
    "*_Pooling/config.json",
    "*_Dense/config.json",
)
_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


def check_name(name: str) -> None:
    """InputError unless `name` is user/name."""
    if not _NAME.fullmatch(name):
        raise InputError(f"{printable(name)}: not a repository of the hub; expected user/name")


def fetch(name: str) -> Path:
    """The folder in the hub's cache that `user/name[@revision]` is downloaded to; one that is there already needs no network."""
    hub = library()
    repository, _, revision = name.partition("@")
    check_name(repository)
    try:
        with quiet():
            found = hub.snapshot_download(repository, revision=revision or None, allow_patterns=list(READ))
    except Exception as error:  # one of several dozen classes of the library and of the network below it
        raise _refused(f"hf:{name}", error) from None
    return Path(found)


def push(folder: Path, name: str, private: bool, say: Callable[[str], None]) -> str:
    """Upload an export; its address.  A repository that is not there yet is made, `private` or for all to see."""
    hub = library()
    check_name(name)
    listed = sorted(files.read_manifest(folder, "export", 1)["files"])
    what = {"folder_path": folder, "allow_patterns": [*listed, files.MANIFEST]}
    try:
        with quiet():
            api = hub.HfApi()
            address = str(api.create_repo(name, private=private, exist_ok=True))
            api.upload_folder(repo_id=name, commit_message="Exported by bertsmith", **what)
    except Exception as error:  # as above
        raise _refused(name, error) from None
    say(
        f"pushed to {address}; a new repository is {'private' if private else 'public'}, one that was there stays what it was"
    )
    return address


def library() -> Any:
    """huggingface_hub.  InputError naming the extra where it is not installed."""
    try:
        import huggingface_hub
    except ImportError:
        raise InputError("the hub needs the package huggingface_hub; pip install 'bertsmith[hub]'") from None
    return huggingface_hub


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars where nobody watches them."""
    from huggingface_hub import utils  # no attribute of the package until somebody imports it

    silent = not sys.stderr.isatty() and not utils.are_progress_bars_disabled()
    if silent:
        utils.disable_progress_bars()
    try:
        yield
    finally:
        if silent:
            utils.enable_progress_bars()


def _refused(name: str, error: Exception) -> ResourceError:
    first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return ResourceError(f"{printable(name)}: the hub refuses: {printable(first)}; `hf auth login` says who you are")
