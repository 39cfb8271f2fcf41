"""A model on disk, ready to work: a pre-training run (its newest step), a fine-tuning run (its best), an import, one step inside any of
them, a folder of Hugging Face format, or hf:NAME on the hub."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertsmith import files
from bertsmith.audio.mel import LogMel
from bertsmith.config import check_members, from_dict
from bertsmith.data.batch import Vocab
from bertsmith.deploy import folder
from bertsmith.downstream import based, several
from bertsmith.downstream.tuned import RESULT, Tuned
from bertsmith.errors import InputError, printable
from bertsmith.nn.apart import one_of
from bertsmith.nn.member import blank
from bertsmith.recipe import Recipe
from bertsmith.spelling import amount, flag, option
from bertsmith.tasks import kinds
from bertsmith.tasks.labels import Labels
from bertsmith.tasks.reading import Reading
from bertsmith.text.side_by_side import SideBySide
from bertsmith.training.checkpoint import MODEL, Saved, load_model, load_step, no_model
from bertsmith.training.run import CONFIG, STEP, STEPS, TOKENIZER, Run, entities_of, holds

if TYPE_CHECKING:
    import torch

    from bertsmith.nn.modules.member import MemberModel
    from bertsmith.training.precision import Precision


@dataclass(frozen=True, kw_only=True, repr=False)
class Loaded:
    """Printed, it says what it is.  `task` is None after pre-training; after fine-tuning {kind, labels, columns, …}."""

    member: MemberModel
    recipe: Recipe
    tokenizer: Any
    path: Path  # of the step, or a folder of Hugging Face format
    kind: str  # "pretrain", "finetune" or "import"
    task: dict | None = None
    config: dict = field(default_factory=dict)
    named: str = ""  # which task it is of a run of several
    marks: tuple[str, ...] = ()  # tokens that its tokenizer has beside those of the file

    def __repr__(self) -> str:
        from bertsmith.downstream.about import about

        return "\n".join(f"{name:12} {text}" for name, text in about(self))

    def _repr_html_(self) -> str:
        from bertsmith.downstream.about import as_html

        return as_html(self)

    @property
    def vocab(self) -> Vocab:
        return self.tokenizer.vocab

    @property
    def device(self) -> torch.device:
        return next(self.member.parameters()).device

    @property
    def exact(self) -> Precision:
        from bertsmith.training.precision import Precision

        return Precision.exact(self.device)

    @property
    def _is_step(self) -> bool:
        return self.path.parent.name == STEPS and STEP.fullmatch(self.path.name) is not None

    @property
    def run(self) -> Path:
        """The folder that the step is in; a folder of Hugging Face format itself."""
        return self.path.parent.parent if self._is_step else self.path

    @property
    def weights(self) -> Any:
        """SHA-256 of the file of the weights; of each file, where they came from a folder of Hugging Face format."""
        path = self.path / MODEL
        return files.sha256(path) if self._is_step else self.config["source"]["weights"]

    def entities_txt(self) -> bytes | None:
        """What entities.txt of a run on this model holds; None where it reads none."""
        names = getattr(self.tokenizer, "entities", None)
        return "".join(f"{name}\n" for name in names).encode() if names else None

    def tokenizer_json(self) -> bytes:
        """What tokenizer.json of a run on this model holds."""
        path = self.run / TOKENIZER
        return path.read_bytes() if self._is_step and not self.marks else self.tokenizer.backend.to_str().encode()

    @property
    def vectors(self) -> dict[str, Any]:
        """How it says the vector of a text, {} where it was never taught any: pool, normalise and more (deploy/sentences.py)."""
        return self.config.get("vectors") or getattr(self.recipe.objective, "vectors", None) or {}

    @property
    def labels(self) -> Labels:
        return Labels.of_task(self.task or {})

    @property
    def signs(self) -> tuple[str, ...]:
        """Marks that stand round places of its task's texts."""
        return (*getattr(kinds.of_task(self.task), "marks", ()),) if self.task else ()

    @property
    def writing(self) -> Any:
        """The task (tasks/text2text.py) of a model that was tuned to write; None of any other."""
        kind: Any = kinds.of_task(self.task) if self.task else None
        return kind if kind is not None and kind.writes else None

    def length(self) -> int:
        """The most tokens that the model was trained to read at once: the task's own limit, or the layout's."""
        return (self.task or {}).get("length") or self.recipe.layout.length

    def reading(self, length: int | None = None, **options: Any) -> Reading:
        """How it reads texts of up to `length` tokens (None: as many as it was trained on)."""
        if self.task is None and getattr(self.recipe.layout, "bare", False):
            options = {"marks": "none", **options}
        wide = kinds.of_task(self.task).wide if self.task else "none"
        found = Reading.of(self.recipe, length or self.length(), wide, **options)
        return found.to_write() if found.causal and self.writing is not None else found

    @property
    def writes(self) -> bool:
        """Whether it learned to write about texts: by a task, its own or one of a mixture, or by a view of its pre-training."""
        feeds = (self.config.get("data") or {}).get("feeds") or {}
        tasks = [self.task, *(feed.get("task") for feed in feeds.values())]
        told = any(task and kinds.kind(task["kind"]).writes for task in tasks)
        return told or getattr(self.recipe.corruption.rewrite, "writes", False)


def load(
    model: str | Path,
    device: str | None = "cpu",
    members: tuple[str, ...] = (),
    say: Callable[[str], None] = lambda line: None,
    base: str | Path | Loaded | None = None,
) -> Loaded:
    """InputError naming what is missing, damaged, or does not fit: a file, a tensor, the tokenizer.

    Of a run of several tasks `RUN:rte` is the one that is called so, as a fine-tuning to it alone would be; the run by itself has the heads of
    its text, or no task.  `base`: of a run that holds what it learned alone (adapters, …) the model that it began with, where that is not where it was; one that
    is loaded already shares its weights with every run that is loaded on it.
    `say` is told where the newest step of a run is damaged and an older one is used.
    """
    from bertsmith.text.tokenizer import Tokenizer

    path, name = folder.located(model), folder.parted(model)[1]
    if not path.is_dir():
        folder.check_task(path)
    if folder.is_foreign(path):
        if name:
            raise InputError(several.not_one(path, name, {}))
        _check_whole(None, path, base)
        return _foreign(folder.read(path), device, say)
    weights, config, step = _read(path, say)
    run = step.parent.parent
    source = based.needed(config)
    _check_whole(source, path, base)
    recipe = from_dict(config.get("recipe"), members, f"{printable(run / CONFIG)}: recipe")
    if not isinstance(recipe, Recipe):
        raise InputError(f"{printable(run / CONFIG)}: recipe: is not a recipe")
    name, config = several.chosen(config, name, path)
    surgery, weights = one_of(recipe.surgery, name, weights)
    recipe = replace(recipe, surgery=surgery)
    if name:
        weights = recipe.objective.of(name, weights)
        recipe = replace(recipe, objective=recipe.objective.answering(name))
    while hasattr(recipe.objective, "alone"):  # of several, the one that a model is used for
        weights = recipe.objective.alone(weights)
        recipe = replace(recipe, objective=recipe.objective.objective, mixture=None)
    tokenizer: Any = LogMel.load(run / TOKENIZER) or SideBySide.load(run / TOKENIZER)
    if tokenizer is None:
        tokenizer = Tokenizer.load(run / TOKENIZER, roles=_roles(run / TOKENIZER, config))
        tokenizer.entities = entities_of(run, config)
    if tokenizer.size > recipe.model.vocab:
        raise InputError(
            f"{printable(run / TOKENIZER)}: {amount(tokenizer.size, 'token')}, but the model's table has {amount(recipe.model.vocab, 'row')}; it is not this model's tokenizer"
        )
    if source is None:
        member = _member(recipe, weights, step, device)
    else:
        under = based.base_of(source, run, base, device, members, say)
        member = based.member_over(recipe, weights, under, str(step))
    if config["kind"] == "pretrain" and not several.tasks_of(config):
        settled(member)
    return Loaded(
        member=member,
        recipe=recipe,
        tokenizer=tokenizer,
        path=step,
        kind=config["kind"],
        task=config.get("task"),
        config=config,
        named=name,
    )


def without_tokens(loaded: Loaded) -> str:
    """What to do about a model that has no head for tokens."""
    tuned = "give the run that it was fine-tuned from"
    return (
        f"{loaded.recipe.name} is asked other questions; take a member that has one" if loaded.task is None else tuned
    )


def check_says_tokens(loaded: Loaded, so: str) -> None:
    """InputError for a model that says nothing token by token, `so` what it is asked for cannot be had."""
    named = printable(loaded.run)
    if "token" not in loaded.member.weights():
        raise InputError(f"{named}: this model has no token head, so it {so}; {without_tokens(loaded)}")
    if getattr(loaded.recipe.corruption.rewrite, "spells", False):
        raise InputError(
            f"{named}: this model asks for words and spells unknown ones, and says nothing token by token; take one of a store of words:N"
        )


def settled(member: MemberModel) -> MemberModel:
    """What no text taught, because only tasks use it, begins as what was taught in its place."""
    for part in member.modules():
        if hasattr(part, "settle"):
            part.settle()
    return member


def _check_whole(source: dict | None, path: Path, base: Any) -> None:
    if source is None and base is not None:
        raise InputError(f"{printable(path)}: is whole, and needs no {option('base')}; leave the option out")


def check_model(model: str | Path) -> None:
    """InputError for a MODEL that names no folder, before torch is loaded; what stands in it is not looked at."""
    path = folder.located(model)
    if not path.is_dir() and path.parent.name != STEPS:  # of a step, `load` says which there are
        folder.check_task(path)
        raise InputError(no_model(path))


def data_of(model: str | Path | Loaded) -> dict[str, Any]:
    """{its name: what config.json says of the rows of a run, which is {} where nothing does}; no weights are read."""
    if isinstance(model, Loaded):
        return {printable(model.run): model.config.get("data") or {}}
    return {printable(model): (_config_of(model) or {}).get("data") or {}}


def _config_of(model: str | Path) -> dict[str, Any] | None:
    """config.json of a run (of several seeds that of the first); None of a folder of Hugging Face format, and of what is damaged, which loading it tells."""
    try:
        path = folder.located(model)
        run = path.parent.parent if path.parent.name == STEPS else path
        config = min(run.glob(f"seed-*/{CONFIG}"), default=run / CONFIG)
        data = None if folder.is_foreign(path) else files.plain(config)
        return None if data is None else files.unsealed(data, config)
    except InputError:
        return None


def body_of(model: str | Path | Loaded, members: tuple[str, ...] = ()) -> Any:
    """The configuration of the body of a MODEL, out of its config.json alone; None where that does not say, which loading it does.

    InputError for `members` that are none."""
    check_members(members)
    recipe = recipe_of(model, members)
    if recipe is not None:
        return recipe.model
    try:
        if not isinstance(model, Loaded) and folder.is_foreign(folder.located(model)):
            return folder.architecture(folder.located(model))
    except InputError:  # of a folder that is damaged loading it tells more
        pass
    return None


def recipe_of(model: str | Path | Loaded, members: tuple[str, ...] = ()) -> Recipe | None:
    """The recipe of a run, out of its config.json alone; None where that does not say."""
    if isinstance(model, Loaded):
        return model.recipe
    try:
        tree = (_config_of(model) or {}).get("recipe")
        found = None if tree is None else from_dict(tree, members, "recipe")
    except InputError:
        return None
    return found if isinstance(found, Recipe) else None


def check_saved(model: str | Path) -> None:
    """InputError for a run of which no step was ever saved."""
    path = folder.located(model)
    if holds(path) and path.parent.name != STEPS and not Run(path).named():
        raise InputError(f"{printable(path)}: holds no saved step yet; go on with its run first, by {flag('resume')}")


def _member(recipe: Recipe, weights: dict[str, torch.Tensor], where: Path, device: str | None) -> MemberModel:
    from bertsmith.training.precision import choose_device
    from bertsmith.training.saving import load_weights

    member = blank(recipe)
    load_weights(member, weights, str(where))
    return member.to(choose_device(device)).eval()


def _foreign(found: folder.Folder, device: str | None, say: Callable[[str], None]) -> Loaded:
    for note in found.notes:
        say(note)
    try:
        kinds.of_task(found.task) if found.task else None
    except InputError as error:
        raise InputError(f"{printable(found.path)}: config.json: task_specific_params.text2text: {error}") from None
    return Loaded(
        member=_member(found.recipe, found.weights, found.path, device),
        recipe=found.recipe,
        tokenizer=found.tokenizer,
        path=found.path,
        kind=found.config["kind"],
        task=found.task,
        config=found.config,
    )


def _roles(path: Path, config: dict) -> dict[str, str] | None:
    """Names of the special tokens by the ids in config.json: tokenizer.json alone need not tell them."""
    import tokenizers

    ids = (config.get("data") or {}).get("vocab")
    if not isinstance(ids, dict):
        return None
    try:
        backend = tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # tokenizers raises plain Exception
        raise InputError(f"{printable(path)}: not a tokenizer: {printable(error)}") from None
    names = {
        role: backend.id_to_token(ids[role])
        for role in ("pad", "unk", "cls", "sep", "mask")
        if isinstance(ids.get(role), int)
    }
    if len(names) < 5 or None in names.values():
        raise InputError(
            f"{printable(path)}: has no token for a role that {CONFIG} names; it is not this model's tokenizer"
        )
    return names


def opened(
    model: str | Path | Loaded,
    device: str | None = "cpu",
    members: tuple[str, ...] = (),
    say: Callable[[str], None] = lambda line: None,
    base: str | Path | Loaded | None = None,
    sound: bool = False,
) -> Loaded:
    """`sound`: whether the verb takes a model that reads sound.  InputError where it does not."""
    loaded = model if isinstance(model, Loaded) else load(model, device, members, say, base)
    if loaded.recipe.reads == "frames" and not sound:
        raise InputError(
            f"{printable(loaded.run)}: reads sound, and text is wanted here; finetune, predict, evaluate and embed take it"
        )
    return loaded


def _read(path: Path, say: Callable[[str], None]) -> tuple[dict, dict, Path]:
    inside = path.parent.name == STEPS and path.name.startswith("step-")
    run = Tuned(path.parent.parent if inside else path)
    if not _tuned(run):
        run.check_seeds()
        return load_model(path, say)
    if inside:
        number = path.name.removeprefix("step-")
        if not (number.isdecimal() and path.is_dir()):
            raise InputError(f"{printable(path)}: no such step; there are {', '.join(map(str, run.steps())) or 'none'}")
        saved, owner = load_step(run, int(number)), run
    else:
        saved, owner = _best(run, say)
    config = owner.config()
    assert config is not None  # load_step read it
    result = owner.result() or {}
    if "best" in result and saved.path == owner.step(result["best"]):
        config = several.with_chosen(config, result)
    return saved.weights, config, saved.path


def _tuned(run: Tuned) -> bool:
    """Whether this is a fine-tuning: decided by what stands in the folder, so that a damaged one is told as such."""
    if os.path.lexists(run / RESULT):
        return True
    try:
        data = files.plain(run / CONFIG)
        return data is not None and files.unsealed(data, run / CONFIG).get("kind") == Tuned.kind
    except InputError:
        return False


def _best(run: Tuned, say: Callable[[str], None]) -> tuple[Saved, Tuned]:
    result = run.result()
    if result is None:
        raise InputError(
            f"{printable(run / RESULT)}: missing; the fine-tuning here did not finish; {flag('resume')} goes on with it; or name one of its steps: {', '.join(map(str, run.steps())) or 'none'}"
        )
    if "seeds" in result:  # one run for each seed: the best of them on the dev file
        seed, seeds, name = int(result["best_seed"]), len(result["seeds"]), printable(run.path)
        run = Tuned(run / f"seed-{seed}")
        result = run.result()
        if result is None:
            raise InputError(f"{printable(run.path / RESULT)}: missing; {printable(run.path.parent / RESULT)} names it")
        if seeds > 1:
            by = result.get("chosen_by") or next(iter(result["dev"]))
            say(
                f"{name}: seed {seed} of {amount(seeds, 'seed')} is taken: {by} {result['dev'][by]['value']:.4f} on the dev rows is the best"
            )
    return load_step(run, int(result["best"])), run
