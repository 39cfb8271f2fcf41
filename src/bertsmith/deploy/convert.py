"""Convert: an encoder that was trained on short texts as a Longformer, which reads long ones (Beltagy et al. 2020, section 5).

Positions are copied one after the other as often as fits, which keeps what a token knows of its neighbours everywhere but at the seams;
what reads all of a text does so by copies of the ordinary matrices.  Texts as short as the window and the old length are read as before:
both models are compared on such before anything is written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertsmith import files
from bertsmith.deploy.model_folder import check_free, write_model
from bertsmith.errors import InputError, nearest, printable
from bertsmith.nn.attending import Full, Sliding
from bertsmith.nn.positions import Learned
from bertsmith.nn.transformer import OneStack, TransformerConfig
from bertsmith.objectives.predict import Predict, Summary
from bertsmith.recipe import Recipe
from bertsmith.spelling import amount, option
from bertsmith.text.layout import DocSentences, FullSentences
from bertsmith.training.run import Imported

if TYPE_CHECKING:
    from torch import Tensor

    from bertsmith.downstream.model import Loaded

TO = ("longformer",)
WINDOW = 256  # tokens to either side, as the published ones
TEXTS, TOLERANCE = 200, 1e-5  # that both models are compared on; of the largest state, or of 1


def convert(
    model: str | Path | Loaded,
    out: str | Path,
    *,
    length: int,
    to: str = "longformer",
    window: int | None = None,
    force: bool = False,
    members: tuple[str, ...] = (),
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Write `model` as one that reads `length` tokens to the new run `out`; returns what was compared.  `force` replaces such a run.

    `window`: tokens that each sees to either side; None: half of what the model read at once, 256 at most.
    InputError for a model of other positions than a table, of another family, for a length that is no more than it reads already.
    """
    if to not in TO:
        raise InputError(f"{option('to', to)}: unknown; {nearest(str(to), TO)}")
    if length < 1 or (window is not None and window < 1):
        wrong = option("length", length) if length < 1 else option("window", window)
        raise InputError(f"{wrong}: must be above 0")
    check_free(Imported(out), force)
    from bertsmith.deploy.hf import family_of
    from bertsmith.downstream.based import plain
    from bertsmith.downstream.model import opened
    from bertsmith.downstream.several import check_named

    loaded = plain(opened(model, members=members, say=say))
    check_named(loaded)
    old = loaded.recipe
    _check_encoder(loaded)
    read = min(old.model.longest or length, old.layout.length)
    if length <= read:
        raise InputError(
            f"{option('length', length)}: {printable(loaded.run)} reads {amount(read, 'token')} already; a longer one is made"
        )
    recipe = longer(old, read, length, min(WINDOW, max(1, read // 2)) if window is None else window)
    try:
        fits = family_of(recipe).model_type == to
    except InputError:
        fits = False
    if not fits:
        raise InputError(
            f"{printable(loaded.run)}: {old.name}: only layers as BERT and RoBERTa have them become a {to}"
        )
    made = _made(loaded, recipe, read)
    apart = _apart(loaded, made)
    with files.partial(out) as temporary, files.writing(out):
        source = {"path": str(loaded.path), "weights": loaded.weights, "model_type": loaded.recipe.name}
        kept = {"task": made.task, "vectors": loaded.config.get("vectors")}
        text = loaded.tokenizer_json()
        write_model(Imported(temporary), made.member, made.recipe, loaded.tokenizer, text, source, **kept)
        check_free(Imported(out), force)
        files.publish(temporary, out)
    attention = recipe.model.attention
    say(
        f"{old.name} of {amount(read, 'token')} as a {to} of {amount(length, 'token')}: each sees {amount(attention.window, 'token')} to either side"
    )
    dropped = [term for term in old.objective.weights() if term not in recipe.objective.weights()]
    if dropped:
        say(f"without its {' and '.join(dropped)} head, which a {to} has not")
    say(
        f"on texts that the window covers it says the same: largest difference {apart:.1e} (of the largest state, or of 1)"
    )
    say(f"{printable(out)}: converted")
    count = sum(p.numel() for p in made.member.parameters())
    found = {"out": str(out), "to": to, "length": length, "window": attention.window}
    return {**found, "parameters": count, "largest_difference": apart}


def _check_encoder(loaded: Loaded) -> None:
    """InputError for what has no table of positions that could be copied, or sees otherwise than an encoder."""
    recipe, run = loaded.recipe, printable(loaded.run)
    model = recipe.model
    if recipe.surgery is not None:
        raise InputError(
            f"{run}: has {type(recipe.surgery).__name__.lower()} in its layers, which cannot be made longer; convert the model that it was made of"
        )
    if hasattr(recipe.objective, "halves"):
        raise InputError(f"{run}: {recipe.name} has two models; export one and convert that")
    if not isinstance(model, TransformerConfig) or not isinstance(model.topology, OneStack):
        raise InputError(f"{run}: {recipe.name} is no encoder alone; a BERT or RoBERTa becomes a longformer")
    if not isinstance(model.positions, Learned):
        kind = type(model.positions).__name__
        raise InputError(
            f"{run}: {recipe.name} has positions of another kind ({kind}) than a table, which is what is copied"
        )
    sees = getattr(recipe.corruption.rewrite, "visibility", "full")
    if loaded.reading().causal or (sees != "full" and loaded.task is None):
        raise InputError(
            f"{run}: {recipe.name} does not see both sides of a token; a BERT or RoBERTa becomes a longformer"
        )
    if type(model.attention) not in (Full, Sliding):
        raise InputError(f"{run}: {recipe.name} has attention of another kind ({type(model.attention).__name__})")


def longer(recipe: Recipe, read: int, length: int, window: int) -> Recipe:
    """The recipe of the Longformer; a pair of texts in pre-training becomes one text, and of its head what sums one up is kept."""
    attention = recipe.model.attention
    if not isinstance(attention, Sliding):
        shape = {name: getattr(attention, name) for name in ("bias", "head", "scaled")}
        attention = Sliding(window=window, **shape)
    model = replace(recipe.model, positions=Learned(length=length), attention=attention)
    layout, objective = recipe.layout, recipe.objective
    layout = replace(layout if isinstance(layout, DocSentences) else FullSentences(length=read), length=length)
    if isinstance(objective, Predict):
        kept = tuple(head for head in objective.heads if head.name in ("token", "summary"))
        pairs = {"pair"} & {head.name for head in objective.heads} and "summary" not in {head.name for head in kept}
        objective = replace(objective, heads=(*kept, *([Summary()] if pairs else [])))
    return replace(recipe, name="longformer", model=model, layout=layout, objective=objective, brief=None)


def _made(loaded: Loaded, recipe: Recipe, read: int) -> Loaded:
    """The member with the model's weights."""
    from bertsmith.nn.member import blank
    from bertsmith.training.saving import load_weights, weights_of

    state, member = weights_of(loaded.member), blank(recipe)
    found: dict[str, Tensor] = {}
    for name in weights_of(member):
        if name == "model.positions.table.weight":
            table = state[name][:read]
            times = -(-recipe.model.positions.length // read)
            found[name] = table.repeat(times, 1)[: recipe.model.positions.length].clone()
        elif name in state:
            found[name] = state[name]
        elif ".attention.wide." in name:
            found[name] = state[name.replace(".wide.", ".qkv.")].clone()
        elif name.startswith("objective.summary."):
            found[name] = state[name.replace(".summary.", ".pair.")]
    load_weights(member, found, str(loaded.path))
    task = loaded.task and {**loaded.task, "length": recipe.layout.length}
    return replace(loaded, member=member.eval(), recipe=recipe, task=task)


def _apart(old: Loaded, new: Loaded) -> float:
    """How far both models' states are apart on texts that every window covers.  InputError where that is more than rounding."""
    import numpy as np
    import torch

    from bertsmith.deploy.texts import texts
    from bertsmith.tasks.sequences import encode

    attention = new.recipe.model.attention
    reach = min(attention.window_of(layer) for layer in range(new.recipe.model.layers)) + 1
    read = min(old.length(), old.recipe.layout.length, reach)
    chosen, _ = texts(old.tokenizer, {}, TEXTS)
    found = []
    with torch.no_grad(), old.exact.policy():
        for loaded in (old, new):
            reading = replace(old.reading(max(read, old.reading().specials + 1)), wide=new.reading().wide)
            encoded = encode(old.tokenizer, chosen, None, reading)
            stream = encoded.batch(np.arange(len(encoded))).input.to("cpu")
            found.append(loaded.member.cpu().model(stream))
    apart = float((found[0] - found[1]).abs().max() / max(1.0, float(found[0].abs().max())))
    if not apart <= TOLERANCE:
        raise InputError(
            f"{printable(old.run)}: not converted: its states differ by {apart:.2g} on texts that the window covers"
        )
    return apart
