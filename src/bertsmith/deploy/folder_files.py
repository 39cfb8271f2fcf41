"""The files of a folder of Hugging Face format: JSON and safetensors, read whole and checked; pickles and adapters are refused."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertsmith import files
from bertsmith.errors import InputError, printable
from bertsmith.spelling import an

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1  # of an export's manifest.json
OLD_CONFIG = "bert_config.json"  # of the first BERTs
ADAPTERS = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PICKLES = (
    ".bin",
    ".pt",
    ".pth",
    ".ckpt",
    ".h5",
    ".msgpack",
    ".pkl",
    ".index",
    ".onnx",
    ".ot",
    ".gguf",
    ".npz",
    ".pdparams",
)


def tensor_names(path: Path) -> list[str]:
    """From the headers alone; [] where they cannot be read, which is told when the tensors are."""
    try:
        if (path / INDEX).is_file() and not (path / WEIGHTS).exists():
            return [str(name) for name in json.loads((path / INDEX).read_bytes())["weight_map"]]
        if not (path / WEIGHTS).is_file():
            return []
        with open(path / WEIGHTS, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            return list(json.loads(file.read(size))) if size < 1 << 27 else []
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def refuse_adapters(path: Path) -> None:
    found = next((name for name in ADAPTERS if (path / name).is_file()), None)
    if found is not None:
        raise InputError(
            f"{printable(path)}: {found}: an adapter, which is no part of the weights; with peft, merge_and_unload() and save_pretrained() "
            "write a model that has it in them, or remove it to open the model without"
        )


def check_manifest(path: Path) -> None:
    """An export of ours is as its manifest says; the folders of others have none."""
    if not os.path.lexists(path / files.MANIFEST):
        return
    listed = files.read_manifest(path, "export", FORMAT).get("files")
    try:
        files.check(path, listed)
    except InputError as error:
        raise InputError(f"{error}; if you changed it on purpose, remove {files.MANIFEST}") from None


def bytes_of(path: Path) -> bytes:
    if not path.is_file():
        raise InputError(f"{printable(path)}: {'not a plain file' if os.path.lexists(path) else 'missing'}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{printable(path)}: cannot be read: {error.strerror}") from None


def json_of(path: Path, kind: type = dict) -> Any:
    try:
        tree = json.loads(bytes_of(path))
    except (ValueError, RecursionError):
        raise InputError(f"{printable(path)}: not JSON") from None
    if not isinstance(tree, kind):
        raise InputError(f"{printable(path)}: holds {an(type(tree).__name__)}, not {an(kind.__name__)}")
    return tree


def tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Every tensor of model.safetensors, or of the shards that its index names; and the hash of each file."""
    index = path / INDEX
    placed: dict[str, str] = {}
    if (path / WEIGHTS).exists() or not index.exists():
        names = [WEIGHTS]
    else:
        placed = json_of(index).get("weight_map")
        if not isinstance(placed, dict) or not placed:
            raise InputError(f"{printable(index)}: weight_map: expected tensor names and file names")
        for name in placed.values():
            if not isinstance(name, str) or name != os.path.basename(name) or not name.endswith(".safetensors"):
                raise InputError(
                    f"{printable(index)}: weight_map: {printable(repr(name))} is not the name of a safetensors file in this folder"
                )
        names = sorted(set(placed.values()))
    if not (path / names[0]).exists():
        _refuse_pickles(path)
    from safetensors.torch import load as tensors_from_bytes

    found: dict[str, Tensor] = {}
    hashes = {}
    for name in names:
        data = bytes_of(path / name)
        hashes[name] = hashlib.sha256(data).hexdigest()
        try:
            part = tensors_from_bytes(data)
        except (
            Exception
        ) as error:  # safetensors raises its own, ValueError and KeyError, by what is wrong with the header
            raise InputError(f"{printable(path / name)}: not a safetensors file: {printable(error)}") from None
        wrong = [tensor for tensor in part if placed and placed.get(tensor) != name]
        wrong += [tensor for tensor, home in placed.items() if home == name and tensor not in part]
        if wrong:
            raise InputError(f"{printable(path / name)}: {printable(wrong[0])}: {INDEX} says otherwise")
        found |= part
    return found, hashes


def _refuse_pickles(path: Path) -> None:
    pickles = sorted(name for name in os.listdir(path) if name.endswith(PICKLES)) if path.is_dir() else []
    if pickles:
        raise InputError(
            f"{printable(path / pickles[0])}: a pickle or another format that can hold code; bertsmith reads {WEIGHTS} only: open the folder with "
            "transformers where you trust it, and save_pretrained() writes that"
        )
