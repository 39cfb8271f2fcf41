"""A folder of Hugging Face format, read and checked: what `load` makes a model of, `import` a run, `pretrain --from` a start.

Only config.json, safetensors and the tokenizer's JSON and text are read; nothing in a folder can name code or leave it.  Every tensor
has its place or is listed: what is missing, unexpected or of another shape is an InputError.  This file stands below training/.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertsmith import files
from bertsmith.deploy import hf, sentences
from bertsmith.deploy.folder_checks import (
    check_classes,
    check_names,
    check_pad,
    check_sides,
    check_tensors,
    check_tied,
    headless,
    passed_over,
    type_of,
)
from bertsmith.deploy.folder_files import (
    ADAPTERS,
    CONFIG,
    OLD_CONFIG,
    check_manifest,
    json_of,
    refuse_adapters,
    tensor_names,
    tensors,
)
from bertsmith.deploy.folder_reading import SHORTEST, layout_of, length_of, rules_apart, template_of, vectors_of
from bertsmith.deploy.folder_task import task_of
from bertsmith.deploy.hf_config import model_config, objective_of, reused
from bertsmith.deploy.hf_families import FAMILIES, LABEL_OUTPUTS
from bertsmith.deploy.hf_stacks import begun
from bertsmith.errors import InputError, printable
from bertsmith.nn.member import build
from bertsmith.recipe import Recipe, find
from bertsmith.spelling import amount, an, option
from bertsmith.tasks.reading import Reading
from bertsmith.text.load import gaps
from bertsmith.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from torch import Tensor

TASK = re.compile(r"[^\W\d][\w-]*")  # the name of a task in a run of several
FLOATS = ("float32", "float16", "bfloat16", "float64")


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
    home: Path  # where its model stands: a folder in this one, or itself
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


def parted(model: str | os.PathLike) -> tuple[str | os.PathLike, str]:
    """(the run, the name of a task) of a MODEL that is one task of a run of several, `RUN:rte`; (itself, "") of any other."""
    run, colon, name = ("", "", "") if str(model).startswith("hf:") else os.fspath(model).rpartition(":")
    if not (colon and TASK.fullmatch(name)) or os.path.lexists(model) or not os.path.isdir(run):
        return model, ""
    return (run if isinstance(model, str) else Path(run)), name


def check_task(path: Path) -> None:
    """InputError for `RUN:` and `RUN:1st`, behind whose colon no name of a task stands."""
    run, colon, name = str(path).rpartition(":")
    if colon and os.path.isdir(run):
        what = f"{printable(repr(name), 60)} is no name of a task" if name else "no name stands behind the colon"
        raise InputError(f"{printable(path)}: {what}; RUN:NAME is a task of a run of several, {printable(run)} the run")


def located(model: str | os.PathLike) -> Path:
    """The folder that a MODEL names: itself, that of `RUN:rte`, or what the hub holds under `hf:[user/]name[@revision]`."""
    model, _ = parted(model)
    if isinstance(model, str) and model.startswith("hf:"):
        from bertsmith.deploy.hub import model_at

        return model_at(model.removeprefix("hf:"))
    return Path(model)


def is_foreign(path: Path) -> bool:
    """Whether a folder is of Hugging Face format: its config.json is, or it has the manifest of an export: a run has none, its steps do."""
    if os.path.lexists(path / files.MANIFEST):
        return not (path.parent.name == "steps" and path.name.startswith("step-"))
    others = OLD_CONFIG, *ADAPTERS, sentences.MODULES
    if not os.path.lexists(path / CONFIG) and any((path / name).is_file() for name in others):
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
    check_manifest(path)
    refuse_adapters(path)
    folder, path = path, sentences.home_of(path)
    refuse_adapters(path)
    theirs, named_otherwise = _config(path)
    model = _named(path, model_config, theirs)
    if model.longest is not None and model.longest < SHORTEST:
        raise InputError(
            f"{printable(path)}: config.json: max_position_embeddings: room for {amount(model.longest, 'token')}, which no text has"
        )
    family = theirs["model_type"]
    found, hashes = tensors(path)
    check_names(path, found, family)
    theirs |= FAMILIES[family].named(found)
    left = passed_over(path, found, family)
    doubles = sum(type_of(tensor) == "float64" for tensor in found.values())
    found = {name: tensor.float() if type_of(tensor) in FLOATS else tensor for name, tensor in found.items()}
    state, dropped = _dropped(path, _named(path, hf.current, found, family), tuple(drop))
    tokenizer = Tokenizer.load(path)
    if tokenizer.size > model.vocab:
        raise InputError(
            f"{printable(path)}: {amount(tokenizer.size, 'token')} in its tokenizer, but {CONFIG} says vocab_size {model.vocab}, and each token needs a row; they do not belong together"
        )
    named = theirs.get("architectures")
    architecture = str(named[0]) if isinstance(named, list) and named else ""
    terms = hf.terms_in(state, family, architecture)
    outputs = next((len(t) for name, t in state.items() if name in LABEL_OUTPUTS and t.ndim), 1)
    check_classes(path, architecture, terms)
    check_sides(path, state, architecture, family)
    check_tied(path, theirs, family, terms, found)
    if model.decodes and {"label", "span"} & {*terms}:
        model = replace(model, topology=replace(model.topology, alone="decoder"))
    objective, task = _named(path, objective_of, theirs, terms, outputs, model.activation, state)
    base = find(f"{FAMILIES[family].member}:{FAMILIES[family].size}")
    length = length_of(path, folder, model.longest, base.layout.length)
    layout = layout_of(base.layout, length, reused(theirs))
    name = family if FAMILIES[family].like else base.name
    recipe = replace(base, name=name, tokenizer="loaded", model=model, objective=objective, layout=layout)
    recipe = _named(path, begun, recipe, theirs, tokenizer.vocab) if model.decodes else recipe
    usual = Reading.of(recipe, length)
    if task is None and "token" in terms and (task := _named(path, task_of, theirs)):
        usual = usual.to_write()
    template, about_pairs = template_of(path, tokenizer, usual, task is not None)
    recipe = replace(recipe, template=template)
    vectors, notes = vectors_of(folder, getattr(layout, "cls", "first"))
    pad = theirs.get("pad_token_id")
    check_tensors(path, state, hf.to_hf(_meta(recipe), recipe, pad), family)
    return Folder(
        path=folder,
        home=path,
        recipe=recipe,
        tokenizer=tokenizer,
        weights=_named(path, hf.from_hf, state, family, pad, architecture),
        theirs=theirs,
        terms=terms,
        task=None if task is None else {**UNKNOWN, "length": length, **task},
        sha256=hashes,
        dropped=dropped,
        vectors=vectors,
        notes=(
            *notes,
            *named_otherwise,
            *left,
            *([] if dropped else headless(path, architecture, terms, family)),
            *about_pairs,
            *check_pad(path, tokenizer, theirs, family),
            *rules_apart(path, tokenizer),
            *_crossing(folder, theirs, task),
            *_spare(path, model.vocab, tokenizer),
            *(
                [
                    f"warning: {printable(path)}: {amount(doubles, 'tensor in float64 is', 'tensors in float64 are')} rounded to float32"
                ]
                if doubles
                else []
            ),
        ),
    )


def _crossing(path: Path, theirs: dict[str, Any], task: dict[str, Any] | None) -> list[str]:
    activation = sentences.crossing(path, theirs) if task is not None and task["kind"] == "regress" else None
    if activation in (None, "Identity"):
        return []
    return [
        f"warning: {printable(path)}: a CrossEncoder: its predict gives {printable(activation)} of the number that predict gives here"
    ]


def _spare(path: Path, rows: int, tokenizer: Tokenizer) -> list[str]:
    used = tokenizer.size - gaps(tokenizer.backend)
    return (
        [
            f"{printable(path)}: {rows - used} of the table's {amount(rows, 'row')} {'is' if rows - used == 1 else 'are'} no token's"
        ]
        if used < rows
        else []
    )


# Of a task, what a folder does not tell: pairs are read where a file has them, columns go by name, numbers are in their own scale.
UNKNOWN = {"mean": 0.0, "scale": 1.0, "columns": {}, "header": True, "pairs": None}


def architecture(path: Path) -> Any:
    """The model's configuration alone, from config.json."""
    home = sentences.home_of(path)
    return _named(home, model_config, _config(home)[0])


def member_of(path: Path) -> str:
    """The member whose recipe a folder is given, from config.json alone."""
    return FAMILIES[_config(sentences.home_of(path))[0]["model_type"]].member


def _config(path: Path) -> tuple[dict[str, Any], list[str]]:
    """What config.json says, under the model_type that the tensors are of; and what is to be said where they are another's.

    A BERT may call itself a RoBERTa for how it was trained; the first ones called themselves nothing.
    """
    name = CONFIG if os.path.lexists(path / CONFIG) or not (path / OLD_CONFIG).is_file() else OLD_CONFIG
    theirs = json_of(path / name)
    said, family = theirs.get("model_type"), None
    if said is None or (isinstance(said, str) and said in FAMILIES):
        family = hf.family_in(tensor_names(path), said, theirs.get("type_vocab_size"))
    if family is None or family == said:
        return theirs, []
    what = f"says model_type {said}" if said else "does not say its model_type"
    note = f"{printable(path)}: {name} {what}; its tensors are those of {an(family)}, and it is read as one"
    return {**theirs, "model_type": family}, [note]


# -- tensors ------------------------------------------------------------------------------------------------------------------------


def _dropped(path: Path, state: dict[str, Tensor], drop: tuple[str, ...]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    for module in drop:
        left = {name: tensor for name, tensor in state.items() if not f"{name}.".startswith(f"{module}.")}
        if len(left) == len(state):
            raise InputError(f"{option('drop', module)}: {printable(path)} has no tensor of that name")
        state = left
    return state, drop


def _meta(recipe: Recipe) -> dict[str, Tensor]:
    """Names and shapes of a member's tensors, shared ones once; nothing is allocated."""
    import torch

    with torch.device("meta"):
        return dict(build(recipe).named_parameters())


def _named(path: Path, function: Any, *arguments: Any) -> Any:
    """What goes wrong in a folder is told with its name."""
    try:
        return function(*arguments)
    except InputError as error:
        raise InputError(f"{printable(path)}: {error}") from None
