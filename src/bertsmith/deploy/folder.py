"""A folder of Hugging Face format, read and checked: what `load` makes a model of, `import` a run, `pretrain --from` a start.

Only config.json, safetensors and the tokenizer's JSON and text are read; nothing in a folder can name code or leave it.  Every tensor
has its place or is listed: what is missing, unexpected or of another shape is an InputError.  This file stands below training/.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertsmith import files
from bertsmith.deploy import hf, sentences
from bertsmith.deploy.hf_config import model_config, objective_of, reused
from bertsmith.deploy.hf_families import FAMILIES, LABEL_OUTPUTS
from bertsmith.errors import InputError, printable
from bertsmith.nn.member import build
from bertsmith.recipe import Recipe, find
from bertsmith.text.load import gaps
from bertsmith.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1  # of an export's manifest.json
OLD_CONFIG = "bert_config.json"  # of the first BERTs
ADAPTER = "adapter_config.json"
CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".pkl")
FLOATS = ("float32", "float16", "bfloat16", "float64")
SHOWN = 6  # problems that an error lists
SHORTEST, LONGEST = 8, 1 << 20  # what is less or more is not a number of tokens that texts are cut to


@dataclass(frozen=True, kw_only=True)
class Folder:
    """`weights` are under our names; `theirs` is config.json; `task` is that of a model with a label head."""

    path: Path
    recipe: Recipe
    tokenizer: Tokenizer
    weights: dict[str, Tensor]
    theirs: dict[str, Any]
    task: dict[str, Any] | None
    terms: tuple[str, ...]  # its heads
    sha256: dict[str, str]  # of each file of weights
    dropped: tuple[str, ...] = ()
    vectors: dict[str, Any] | None = None  # how `embed` makes them, where the folder says so
    notes: tuple[str, ...] = ()  # what was passed over

    @property
    def config(self) -> dict[str, Any]:
        """What a run's config.json says of it, but for the format and the recipe."""
        source = {"path": str(self.path), "weights": self.sha256, "dropped": list(self.dropped)}
        named = self.theirs.get("architectures")
        source |= {
            "model_type": self.theirs["model_type"],
            "architectures": [str(name) for name in named] if isinstance(named, list) else [],
        }
        return {
            "kind": "import",
            "task": self.task,
            "vectors": self.vectors,
            "data": {"tokenizer": self.tokenizer.digest, "vocab": asdict(self.tokenizer.vocab)},
            "source": source,
        }


def located(model: str | os.PathLike) -> Path:
    """The folder that a MODEL names: itself, or what the hub holds under `hf:user/name[@revision]`."""
    if isinstance(model, str) and model.startswith("hf:"):
        from bertsmith.deploy.hub import fetch

        return fetch(model.removeprefix("hf:"))
    return Path(model)


def is_foreign(path: Path) -> bool:
    """Whether a folder is of Hugging Face format: its config.json is, or it has the manifest of an export: a run has none, its steps do."""
    if os.path.lexists(path / files.MANIFEST):
        return not (path.parent.name == "steps" and path.name.startswith("step-"))
    if not os.path.lexists(path / CONFIG) and any((path / name).is_file() for name in (OLD_CONFIG, ADAPTER)):
        return True
    try:
        config = json.loads((path / CONFIG).read_bytes()) if (path / CONFIG).is_file() else None
    except (OSError, ValueError, RecursionError):
        return False
    known = {"model_type", "architectures", "hidden_size"}
    return isinstance(config, dict) and "kind" not in config and bool(known & config.keys())


def read(path: Path, drop: Iterable[str] = ()) -> Folder:
    """The whole folder.  `drop`: modules of theirs to leave out, by name ("qa_outputs"); each must be there.

    InputError naming the file and field, or listing the tensors that have no place and the places that have no tensor.
    """
    _check_manifest(path)
    _refuse_adapters(path)
    theirs, named_otherwise = _config(path)
    model = _named(path, model_config, theirs)
    family = theirs["model_type"]
    found, hashes = _tensors(path)
    doubles = sum(_type(tensor) == "float64" for tensor in found.values())
    found = {name: tensor.float() if _type(tensor) in FLOATS else tensor for name, tensor in found.items()}
    state, dropped = _dropped(path, _named(path, hf.current, found, family), tuple(drop))
    tokenizer = Tokenizer.load(path)
    if tokenizer.size > model.vocab:
        raise InputError(
            f"{printable(path)}: {tokenizer.size} tokens in its tokenizer, but {CONFIG} says vocab_size {model.vocab}, and each token needs a row; they do not belong together"
        )
    named = theirs.get("architectures")
    architecture = str(named[0]) if isinstance(named, list) and named else ""
    terms = hf.terms_in(state, family, architecture)
    outputs = next((len(t) for name, t in state.items() if name in LABEL_OUTPUTS and t.ndim), 1)
    if "label" in terms and architecture.endswith("ForMultipleChoice"):
        raise InputError(
            f"{printable(path)}: architectures: {printable(architecture)}: scores for one text among several, which nothing here asks; "
            "`bertsmith import --drop classifier` takes the encoder alone"
        )
    objective, task = _named(path, objective_of, theirs, terms, outputs)
    base = find(f"{FAMILIES[family].member}:base")
    length = _length(path, model.longest, base.layout.length)
    layout = _layout(base.layout, length, reused(theirs))
    name = family if FAMILIES[family].like else base.name
    recipe = replace(base, name=name, tokenizer="loaded", model=model, objective=objective, layout=layout)
    vectors, notes = _vectors(path, getattr(layout, "cls", "first"))
    pad = theirs.get("pad_token_id")
    _check(path, state, hf.to_hf(_meta(recipe), recipe, pad), family)
    return Folder(
        path=path,
        recipe=recipe,
        tokenizer=tokenizer,
        weights=_named(path, hf.from_hf, state, family, pad, architecture),
        theirs=theirs,
        terms=terms,
        task=None if task is None else {**task, **UNKNOWN, "length": length},
        sha256=hashes,
        dropped=dropped,
        vectors=vectors,
        notes=(
            *notes,
            *named_otherwise,
            *_spare(path, model.vocab, tokenizer),
            *([f"warning: {printable(path)}: {doubles} tensors in float64 are rounded to float32"] if doubles else []),
        ),
    )


def _spare(path: Path, rows: int, tokenizer: Tokenizer) -> list[str]:
    used = tokenizer.size - gaps(tokenizer.backend)
    return [f"{printable(path)}: {rows - used} of the table's {rows} rows are no token's"] if used < rows else []


# Of a task, what a folder does not tell: pairs are read where a file has them, columns go by name, numbers are in their own scale.
UNKNOWN = {"mean": 0.0, "scale": 1.0, "columns": {}, "header": True, "pairs": None}


def architecture(path: Path) -> Any:
    """The model's configuration alone, from config.json."""
    return _named(path, model_config, _config(path)[0])


def _config(path: Path) -> tuple[dict[str, Any], list[str]]:
    """What config.json says, under the model_type that the tensors are of; and what is to be said where they are another's.

    A BERT may call itself a RoBERTa for how it was trained; the first ones called themselves nothing.
    """
    name = CONFIG if os.path.lexists(path / CONFIG) or not (path / OLD_CONFIG).is_file() else OLD_CONFIG
    theirs = _json(path / name)
    said, family = theirs.get("model_type"), None
    if said is None or (isinstance(said, str) and said in FAMILIES):
        family = hf.family_in(_tensor_names(path), said, theirs.get("type_vocab_size"))
    if family is None or family == said:
        return theirs, []
    what = f"says model_type {said}" if said else "does not say its model_type"
    note = f"{printable(path)}: {name} {what}; its tensors are those of a {family}, and it is read as one"
    return {**theirs, "model_type": family}, [note]


def _tensor_names(path: Path) -> list[str]:
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


def _refuse_adapters(path: Path) -> None:
    found = next(
        (name for name in (ADAPTER, "adapter_model.safetensors", "adapter_model.bin") if (path / name).is_file()), None
    )
    if found is not None:
        raise InputError(
            f"{printable(path)}: {found}: an adapter, which is no part of the weights; with peft, merge_and_unload() and save_pretrained() "
            "write a model that has it in them, or remove it to open the model without"
        )


# -- files --------------------------------------------------------------------------------------------------------------------------


def _check_manifest(path: Path) -> None:
    """An export of ours is as its manifest says; the folders of others have none."""
    if not os.path.lexists(path / files.MANIFEST):
        return
    listed = files.read_manifest(path, "export", FORMAT).get("files")
    try:
        files.check(path, listed)
    except InputError as error:
        raise InputError(f"{error}; if you changed it on purpose, remove {files.MANIFEST}") from None


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        raise InputError(f"{printable(path)}: {'not a plain file' if os.path.lexists(path) else 'missing'}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{printable(path)}: cannot be read: {error.strerror}") from None


def _json(path: Path, kind: type = dict) -> Any:
    try:
        tree = json.loads(_bytes(path))
    except (ValueError, RecursionError):
        raise InputError(f"{printable(path)}: not JSON") from None
    if not isinstance(tree, kind):
        raise InputError(f"{printable(path)}: holds a {type(tree).__name__}, not a {kind.__name__}")
    return tree


def _tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Every tensor of model.safetensors, or of the shards that its index names; and the hash of each file."""
    index = path / INDEX
    placed: dict[str, str] = {}
    if (path / WEIGHTS).exists() or not index.exists():
        names = [WEIGHTS]
    else:
        placed = _json(index).get("weight_map")
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
        data = _bytes(path / name)
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


def _length(path: Path, longest: int | None, usual: int) -> int:
    """The most tokens that a text may have: the positions, or less where the tokenizer or a sentence encoder was made for less; `usual`
    where nothing limits it."""
    lengths = [longest]
    name = path / "tokenizer_config.json"
    for value in (_json(name).get("model_max_length") if name.is_file() else None, sentences.longest(path)):
        lengths.append(int(value) if isinstance(value, (int, float)) and SHORTEST <= value <= LONGEST else None)
    return min((length for length in lengths if length is not None), default=usual)


def _layout(base: Any, length: int, reuse: int | None) -> Any:
    """`base` for texts of `length` tokens, and for `reuse` of them in memory where it has one; what does not fit stays `base`'s own (a task
    has its length besides)."""
    layout = _fitting(base, length=length)
    return _fitting(layout, reuse=reuse) if hasattr(layout, "reuse") and type(reuse) is int else layout


def _fitting(layout: Any, **change: int) -> Any:
    try:
        return replace(layout, **change)
    except InputError:
        return layout


def _vectors(path: Path, cls: str) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """What a folder of sentence-transformers says of its vectors; or, in words, that it cannot be followed."""
    if not (path / sentences.MODULES).is_file():
        return None, ()
    try:
        vectors = sentences.vectors_of(path)
        if "cls" in vectors["pool"].split("+") and cls != "first":
            raise InputError(f"{sentences.POOLING}: takes the first token for [CLS], which stands last")
        return vectors, ()
    except InputError as error:
        return None, (f"warning: {printable(path)}: {error}: embed gives other vectors than sentence-transformers",)


# -- tensors ------------------------------------------------------------------------------------------------------------------------


def _dropped(path: Path, state: dict[str, Tensor], drop: tuple[str, ...]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    for module in drop:
        left = {name: tensor for name, tensor in state.items() if not f"{name}.".startswith(f"{module}.")}
        if len(left) == len(state):
            raise InputError(f"--drop {printable(module)}: {printable(path)} has no tensor of that name")
        state = left
    return state, drop


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _meta(recipe: Recipe) -> dict[str, Tensor]:
    """Names and shapes of a member's tensors, shared ones once; nothing is allocated."""
    import torch

    with torch.device("meta"):
        return dict(build(recipe).named_parameters())


def _check(path: Path, state: dict[str, Tensor], expected: dict[str, Tensor], family: str) -> None:
    """InputError listing, in their names, what is missing, unexpected, of another shape, not a float or not finite."""
    expected = hf.current(expected, family)
    problems = [f"{name} is missing" for name in expected if name not in state]
    problems += [f"{printable(name)} is unexpected" for name in state if name not in expected]
    for name in sorted(expected.keys() & state.keys()):
        tensor = state[name]
        if tensor.shape != expected[name].shape:
            problems.append(f"{name} has shape {list(tensor.shape)}, {CONFIG} means {list(expected[name].shape)}")
        elif _type(tensor) != "float32":
            problems.append(f"{name} holds {_type(tensor)}, not floats")
        elif not tensor.isfinite().all():
            problems.append(f"{name} is not finite")
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise InputError(
            f"{printable(path)}: its tensors are not those of a {family} that bertsmith knows: {'; '.join(problems[:SHOWN])}{more}; "
            "`bertsmith import --drop NAME` leaves a head out"
        )


def _named(path: Path, function: Any, *arguments: Any) -> Any:
    """What goes wrong in a folder is told with its name."""
    try:
        return function(*arguments)
    except InputError as error:
        raise InputError(f"{printable(path)}: {error}") from None
