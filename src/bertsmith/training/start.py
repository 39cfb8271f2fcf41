"""Where the weights of a run come from: fresh ones, or those of a run, an import or a Hugging Face folder (`pretrain --from`).

The trunk is taken over whole.  A head that the recipe asks for and the start does not have is fresh only where it was named
(`--new-head`), but for a pooler that is there; a head that nothing asks for is left out, and that is said.  A recipe with more segments
than the start takes copies of its rows where the rewrite says which (`continues`).  A store whose tokenizer is the start's with more words
gives these tokens rows (rows.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from bertsmith import files
from bertsmith.audio.mel import LogMel
from bertsmith.config import from_dict, to_dict
from bertsmith.deploy import folder
from bertsmith.errors import InputError, printable
from bertsmith.objectives.alongside import Alongside
from bertsmith.objectives.distilled import Distilled
from bertsmith.objectives.mixed import Mixed, module_of
from bertsmith.recipe import Recipe, find, members
from bertsmith.spelling import an, option, setting
from bertsmith.text.extend import new_tokens
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.training.checkpoint import MODEL, load_model
from bertsmith.training.run import TOKENIZER, differences, run_at

if TYPE_CHECKING:
    from torch import Tensor, nn

SIZE = "mini"  # whose settings are for one machine; every member has it
SEVERAL = [
    f"{kind.__module__}:{kind.__name__}" for kind in (Mixed, Alongside, Distilled)
]  # objectives, one of which is used
SEGMENTS = "model.embeddings.segments.weight"
LR = 1e-4  # of a model that was trained already; the small sizes' own rate is for fresh weights


def recipe_for(name: str, from_: str | os.PathLike | None) -> Recipe:
    """`find(name)`; a member without a size ("bert") beside `from_` takes that model's shapes, and settings for one machine."""
    if from_ is None or name not in members():
        return find(name)
    model, recipe = _architecture(from_), find(f"{name}:{SIZE}")
    length = min(recipe.layout.length, getattr(model, "longest", None) or recipe.layout.length)
    model = _over(_grown(model, _new_segments(model, recipe)), recipe)
    return replace(
        recipe,
        model=model,
        layout=replace(recipe.layout, length=length),
        schedule=replace(recipe.schedule, lr=LR),
        brief=recipe.brief and replace(recipe.brief, lr=LR),
    )


def member_of(from_: str | os.PathLike) -> str:
    """The member that a model is of, by its configuration alone; of an XLM-R it is "roberta", whose relative that is."""
    path = folder.located(from_)
    if folder.is_foreign(path):
        return folder.member_of(path)
    run = run_at(path.parent.parent if path.name.startswith("step-") else path)
    config = run.config()
    if config is None:
        raise InputError(f"{printable(from_)}: neither a run, nor a step in one, nor a Hugging Face folder")
    return str(config["recipe"]["name"])


def heads_lacking(from_: str | os.PathLike, recipe: Recipe) -> tuple[str, ...]:
    """Heads that the recipe asks and the model at `from_` does not have, in the recipe's order."""
    import torch

    from bertsmith.nn.member import build

    path = folder.located(from_)
    have = _heads(folder.read(path).weights if folder.is_foreign(path) else load_model(path)[0])
    with torch.device("meta"):
        wanted = _heads(dict(build(recipe).named_parameters()))
    return tuple(head for head in wanted if head not in have)


def rows_of(from_: str | os.PathLike | None, run: Any, resume: bool) -> int | None:
    """Rows of the table that a run has or starts from, which may be more than its tokenizer has tokens; None for a fresh one."""
    config = run.config() if resume else None
    if config is not None:
        return getattr(_model(config, run.path), "vocab", None)
    return None if from_ is None else getattr(_architecture(from_), "vocab", None)


def start_from(
    from_: str | os.PathLike, member: nn.Module, recipe: Recipe, store: Any, new_heads: Iterable[str], say: Callable
) -> dict[str, Any]:
    """Put the weights of `from_` into `member`; what config.json keeps of it.  InputError as `weights_from` and `adopt` say."""
    weights, source = weights_from(from_, recipe, store, say)
    if recipe.mixture is not None:
        from bertsmith.training.saving import weights_of

        weights = _of_feeds(weights, recipe.mixture.main, weights_of(member))
    trunk = _fresh_trunk(member, weights, recipe, from_, say)
    adopt(member, weights | trunk, tuple(new_heads), option("from_", from_), say)
    say(f"starting from the weights of {printable(from_)}")
    return source


def weights_from(
    from_: str | os.PathLike, recipe: Recipe, store: Any, say: Callable
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights of `from_` by name, and what config.json keeps of them.

    InputError unless that model has the store's tokenizer, or that but for words that were added to it, and this recipe's shapes.
    """
    path = folder.located(from_)
    if folder.is_foreign(path):
        found = folder.read(path)
        weights, model, source = found.weights, found.recipe.model, {"weights": found.sha256}
        asked = found.recipe.objective
        theirs, tokenizer = found.tokenizer, path
        same = theirs.reading == store.tokenizer.reading
    else:
        weights, config, step = load_model(path, say)
        model, objective = _model(config, from_), config["recipe"]["objective"]
        asked = None
        several = isinstance(objective, dict) and objective.get("type") in SEVERAL
        if several and not (recipe.mixture is not None and isinstance(from_dict(objective), Mixed)):
            weights = from_dict(objective).alone(weights)
        elif config["kind"] == "import":
            asked = from_dict(objective)
        source = {"step": step.name, "weights": files.sha256(step / MODEL)}
        tokenizer = step.parent.parent
        same = config["data"]["tokenizer"] == store.tokenizer.digest
        _check_sound(LogMel.load(tokenizer / TOKENIZER), store.tokenizer, from_)
        theirs = None if same else Tokenizer.load(tokenizer / TOKENIZER, roles=store.tokenizer.roles)
    added = {} if same or theirs is None else new_tokens(theirs, store.tokenizer)
    if added is None:
        raise InputError(
            f"{option('from_', from_)}: its tokenizer is not the store's; prepare the text again with {option('tokenizer', tokenizer)} "
            f"({option('new_words', like='FILE|N')} for more words than it has)"
        )
    new = _new_segments(model, recipe)
    _check_shapes(_over(_grown(model, new), recipe), recipe, from_, say)
    _check_heads(asked, recipe, from_)
    if new:
        weights = _with_segments(weights, new, say)
    if added:
        from bertsmith.training.rows import with_rows

        weights = with_rows(weights, recipe, added, option("from_", from_), say)
        source["new_tokens"] = {"of": theirs.digest, "first": min(added), "count": len(added)} if theirs else {}
    return weights, source


def _check_sound(theirs: Any, ours: Any, from_: str | os.PathLike) -> None:
    """InputError where one of them reads sound, and the other text or sound otherwise."""
    if theirs == ours or not (isinstance(theirs, LogMel) or isinstance(ours, LogMel)):
        return
    if theirs is None or not isinstance(ours, LogMel):
        what = ("text", "sound") if theirs is None else ("sound", "text")
        raise InputError(f"{option('from_', from_)}: reads {what[0]}, and the store holds {what[1]}")
    name, was, now = next(
        (name, was, getattr(ours, name)) for name, was in vars(theirs).items() if was != getattr(ours, name)
    )
    raise InputError(
        f"{option('from_', from_)}: {name}: its frames were made with {printable(was)}, the store's with {printable(now)}; prepare the sound again"
    )


def _check_heads(objective: Any, recipe: Recipe, from_: str | os.PathLike) -> None:
    """InputError for a head whose tensors fit and whose activation is another: RoBERTa's is GELU, whatever its layers have."""
    theirs = {head.name: getattr(head, "activation", None) for head in getattr(objective, "heads", ())}
    for number, head in enumerate(getattr(recipe.objective, "heads", ())):
        was = theirs.get(head.name)
        if was is not None and was != (getattr(head, "activation", None) or recipe.model.activation):
            raise InputError(
                f"{option('from_', from_)}: its {head.name} head has {was} and its layers have not; the recipe's goes by the layers: "
                f"{setting(f'objective.heads.{number}.activation', value=was)}"
            )


def adopt(
    member: nn.Module, weights: dict[str, Tensor], new_heads: tuple[str, ...], where: str, say: Callable[[str], None]
) -> None:
    """`weights` into `member`, whose own fresh ones stay in the heads `new_heads`.  InputError as `start_from` says."""
    from bertsmith.training.saving import load_weights, weights_of

    own, have = weights_of(member), _heads(weights)
    wanted = _heads(own)
    for head in new_heads:
        if head not in wanted:
            raise InputError(
                f"{option('new_heads', head)}: the recipe has no such head; it has {', '.join(wanted) or 'none'}"
            )
        if head in have:
            raise InputError(f"{option('new_heads', head)}: {where} has {an(head)} head; leave the option out")
    absent = [head for head in wanted if head not in have and head not in new_heads]
    if absent:
        options = " and ".join(option("new_heads", head) for head in absent)
        raise InputError(
            f"{where}: has no {' and no '.join(absent)} head, which the recipe trains; {options} starts with fresh ones"
        )
    taken = {name: t for name, t in weights.items() if _head(name) in (None, *wanted)}
    poolers = {name.partition(".pooler.")[2]: name for name in weights if ".pooler." in name}
    inherited = {}
    for name, fresh in own.items():
        if (head := _head(name)) in new_heads:
            pooler = poolers.get(name.partition(".pooler.")[2])
            taken[name] = fresh.detach().clone() if pooler is None else weights[pooler]
            inherited |= {head: _head(pooler)} if pooler else {}
    load_weights(member, taken, where)
    for head in new_heads:
        say(f"the {head} head is fresh" + (f", but for the pooler of {inherited[head]}" if head in inherited else ""))
    for head in have:
        if head not in wanted and head not in inherited.values():
            say(f"warning: {where}: its {head} head is left out: nothing here asks for it")


def _of_feeds(weights: dict[str, Any], main: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """Heads of a model that has no feeds as those of the main one; what it does not ask is left out."""
    front = f"objective.{module_of(main)}."
    if any(name.startswith(front) for name in weights):
        return weights
    named = {
        front + name.removeprefix("objective.") if name.startswith("objective.") else name: tensor
        for name, tensor in weights.items()
    }
    return {name: tensor for name, tensor in named.items() if name in own or not name.startswith("objective.")}


def _new_segments(model: Any, recipe: Recipe) -> tuple[int, ...]:
    """For each segment that the recipe has and `model` has not, the one that its row is copied from; () without a rule for just these."""
    have, rule = getattr(model, "segments", 0), getattr(recipe.corruption.rewrite, "continues", ())
    new = rule[have:]
    fits = rule[:have] == tuple(range(have)) and all(old < have for old in new)
    return new if fits and len(rule) == getattr(recipe.model, "segments", 0) else ()


def _grown(model: Any, new: tuple[int, ...]) -> Any:
    return model.with_segments(model.segments + len(new)) if new else model


def _over(model: Any, recipe: Recipe) -> Any:
    """The model as the recipe's topology has it, where that may begin with what such a model knows and have fresh parts besides."""
    own = getattr(recipe.model, "topology", None)
    begins = hasattr(own, "continues") and own.continues(getattr(model, "topology", None))
    return replace(model, topology=own) if begins else model


def _fresh_trunk(
    member: nn.Module, weights: dict[str, Tensor], recipe: Recipe, from_: str | os.PathLike, say: Callable[[str], None]
) -> dict[str, Tensor]:
    """Parts of the trunk that such a start never has, as they are, which is said; {} where the topology has none."""
    if not hasattr(getattr(recipe.model, "topology", None), "continues"):
        return {}
    from bertsmith.training.saving import weights_of

    new = recipe.model.topology.new
    found = {
        name: tensor.detach().clone()
        for name, tensor in weights_of(member).items()
        if name not in weights and any(fnmatchcase(name, pattern) for pattern in new)
    }
    if found:
        say(f"{printable(from_)} reads text alone: what reads entities is fresh, but for their vectors")
    return found


def _with_segments(weights: dict[str, Tensor], new: tuple[int, ...], say: Callable[[str], None]) -> dict[str, Tensor]:
    import torch

    table = weights[SEGMENTS]
    for old in sorted(set(new)):
        rows = [str(len(table) + i) for i, of in enumerate(new) if of == old]
        say(f"the segment rows {', '.join(rows)} start as copies of row {old}")
    return {**weights, SEGMENTS: torch.cat([table, table[list(new)]])}


def _head(name: str) -> str | None:
    """The term that a tensor's head answers; None for one of the trunk."""
    first, _, rest = name.partition(".")
    return rest.partition(".")[0] if first == "objective" else None


def _heads(weights: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(head for name in weights if (head := _head(name))))


def _architecture(from_: str | os.PathLike) -> Any:
    path = folder.located(from_)
    if folder.is_foreign(path):
        return folder.architecture(path)
    if not path.is_dir():
        raise InputError(
            f"{option('from_', from_)}: no such folder; a run, a step in one, or a Hugging Face folder is wanted"
        )
    run = run_at(path.parent.parent if path.name.startswith("step-") else path)
    config = run.config()
    if config is None:
        raise InputError(f"{option('from_', from_)}: neither a run, nor a step in one, nor a Hugging Face folder")
    return _model(config, from_)


def _model(config: dict[str, Any], from_: str | os.PathLike) -> Any:
    where = f"{option('from_', from_)}: recipe.model"
    recipe = config.get("recipe")
    return from_dict(recipe.get("model") if isinstance(recipe, dict) else None, where=where)


def _check_shapes(model: Any, recipe: Recipe, from_: str | os.PathLike, say: Callable[[str], None]) -> None:
    """InputError naming the first field of the two models that differs and may not; what a part calls `free` may, and is said."""
    if type(model) is not type(recipe.model):
        raise InputError(
            f"{option('from_', from_)}: is {an(type(model).__name__)}, the recipe {an(type(recipe.model).__name__)}"
        )
    for field, theirs, ours in differences(to_dict(model), to_dict(recipe.model), "model"):
        part, _, name = field.removeprefix("model.").partition(".")
        if name and name in getattr(getattr(recipe.model, part, None), "free", ()):
            say(f"{field}: it learned with {printable(theirs)}, and goes on with {printable(ours)}")
        elif field not in ("model.dropout", "model.vocab"):
            way = "" if field.endswith(".type") else f", or {setting(field)}"
            raise InputError(
                f"{option('from_', from_)}: {field}: it has {printable(theirs)}, the recipe {printable(ours)}; "
                f"give the recipe without a size ({recipe.name}) to take all of its shapes{way}"
            )
