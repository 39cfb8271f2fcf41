"""The Hugging Face hub: exports up, models down (text/hub.py)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bertsmith import files
from bertsmith.deploy.sentences import LENGTHS, MODULES, PROMPTS
from bertsmith.text.hub import TOKENIZER, check_name, fetch, library, quiet, refused

# What a model is read from; never a pickle, never code.
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


def model_at(name: str) -> Path:
    """The folder in the hub's cache of the model `[user/]name[@revision]`."""
    return fetch(name, READ)


def push(folder: Path, name: str, private: bool, say: Callable[[str], None]) -> str:
    """Upload an export; its address.  A repository that is not there yet is made, `private` or for all to see."""
    hub = library()
    check_name(name, owned=True)
    listed = sorted(files.read_manifest(folder, "export", 1)["files"])
    what = {"folder_path": folder, "allow_patterns": [*listed, files.MANIFEST]}
    try:
        with quiet():
            api = hub.HfApi()
            address = str(api.create_repo(name, private=private, exist_ok=True))
            api.upload_folder(repo_id=name, commit_message="Exported by bertsmith", **what)
    except Exception as error:  # as above
        raise refused(name, error) from None
    say(
        f"pushed to {address}; a new repository is {'private' if private else 'public'}, one that was there stays what it was"
    )
    return address
