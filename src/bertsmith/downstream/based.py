"""A run whose steps hold what it learned alone; the rest stands in its base, the model that it began with: adapters, updates of low rank,
biases, a mixture of layers.  config.json says where the base was (`from.path`) and the SHA-256 of its weights.

Several runs over one base that is loaded share its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertsmith import files
from bertsmith.deploy import folder
from bertsmith.errors import InputError, printable
from bertsmith.nn.lowrank import LowRank
from bertsmith.nn.member import blank
from bertsmith.spelling import option
from bertsmith.training.checkpoint import MODEL
from bertsmith.training.run import STEPS

if TYPE_CHECKING:
    from torch import Tensor

    from bertsmith.downstream.model import Loaded
    from bertsmith.nn.modules.member import MemberModel

SHOWN = 12  # letters of a digest
Weights = str | Mapping[str, str]  # SHA-256 of the file of the weights, or of each file


def needed(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """What config.json says of the base of a run; None where a step is whole."""
    source = config.get("from")
    return source if isinstance(source, dict) and source.get("needed") else None


def base_of(
    source: Mapping[str, Any],
    run: Path,
    base: str | Path | Loaded | None = None,
    device: str | None = "cpu",
    members: tuple[str, ...] = (),
    say: Callable[[str], None] = lambda line: None,
) -> Loaded:
    """The base, loaded.  `base`: it, or where it is, if not where it was.  InputError where it is gone, and where it is another one."""
    from bertsmith.downstream.model import Loaded, opened

    if isinstance(base, Loaded):
        if base.weights != source["weights"]:
            raise InputError(_another(run, source["weights"], base.run, base.weights))
        return plain(base)
    return plain(opened(_found(source, run, base), device, members, say))


def check_base(source: Mapping[str, Any], run: Path, base: str | Path | None = None) -> None:
    """InputError where the base is gone, and where its weights are others; nothing is loaded."""
    _found(source, run, base)


def stands_on(source: Mapping[str, Any], base: str | Path) -> bool:
    """Whether the weights that a run began with are those of `base`."""
    path = folder.located(base)
    return path.is_dir() and any(_digest(place, source["weights"]) == source["weights"] for place in _places(path))


def _found(source: Mapping[str, Any], run: Path, base: str | Path | None) -> Path:
    """The folder that holds the weights: where they were, or in `base` (of a run the step that has them)."""
    path, wanted = folder.located(source["path"] if base is None else base), source["weights"]
    if not path.is_dir():
        where = "is not there any more" if base is None else "is no folder"
        raise InputError(
            f"{printable(run)}: holds what it learned beside another model, and {printable(path)} {where}; {option('base', like='MODEL')} says where that is"
        )
    seen = {place: _digest(place, wanted) for place in _places(path)}
    for place, digest in seen.items():
        if digest == wanted:
            return place
    raise InputError(_another(run, wanted, path, next((d for d in seen.values() if d), None)))


def _places(path: Path) -> Iterator[Path]:
    """The folder itself, and the steps of a run or of several seeds, the newest first."""
    yield path
    for pattern in (f"{STEPS}/step-*", f"seed-*/{STEPS}/step-*"):
        yield from sorted(path.glob(pattern), reverse=True)


def _digest(path: Path, like: Weights) -> Weights | None:
    """Of the weights in a folder; None where they are not there."""
    names = [MODEL] if isinstance(like, str) else [*like]
    if not all((path / name).is_file() for name in names):
        return None
    found = {name: files.sha256(path / name) for name in names}
    return found[MODEL] if isinstance(like, str) else found


def _another(run: Path, wanted: Weights, path: Path, has: Weights | None) -> str:
    of = "no such weights" if has is None else f"weights {_short(has)}"
    return (
        f"{printable(run)}: was tuned on weights {_short(wanted)}, {printable(path)} has {of}; "
        f"{option('base', like='MODEL')} names the model that it began with"
    )


def _short(weights: Weights) -> str:
    digests = [weights] if isinstance(weights, str) else weights.values()
    return ", ".join(f"{digest[:SHOWN]}…" for digest in digests)


def member_over(recipe: Any, weights: dict[str, Tensor], base: Loaded, where: str) -> MemberModel:
    """A member of its own `weights`, and for the rest the base's: the same tensors in memory, and what parts know of their corpus (spellings,
    pictures).  InputError where these do not fit."""
    from bertsmith.training.saving import learned_alone, load_weights, weights_of

    member = blank(recipe)
    member.kept = learned_alone(member, recipe.schedule)
    load_weights(member, weights, where, member.kept)
    member = member.to(base.device)
    own, theirs = weights_of(member), weights_of(base.member)
    rest = [name for name in own if name not in member.kept]
    odd = next((name for name in rest if name not in theirs or theirs[name].shape != own[name].shape), None)
    if odd is not None:
        raise InputError(f"{printable(where)}: {odd}: is not in {printable(base.run)}, or of another shape there")
    shared = {id(own[name]): theirs[name] for name in rest}
    for part in member.modules():
        for tensors in (part._parameters, part._buffers):
            for name, tensor in tensors.items():
                if id(tensor) in shared:
                    tensors[name] = shared[id(tensor)]
    return member.eval()


def plain(loaded: Loaded) -> Loaded:
    """`loaded` itself, or with its updates of low rank merged into its matrices: as it is tuned further, and exported."""
    if not isinstance(loaded.recipe.surgery, LowRank):
        return loaded
    from copy import copy

    from bertsmith.nn.modules.lowrank import merged

    member = copy(loaded.member)
    member._modules = {**loaded.member._modules, "model": merged(loaded.member.model)}
    member.kept = None
    return replace(loaded, member=member, recipe=replace(loaded.recipe, surgery=None))
