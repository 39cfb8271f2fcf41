"""`stack`: several models under one head, side by side (Akbik et al. 2018, StackedEmbeddings).

Each reads by its own tokenizer and stays as it is; a head reads of a word what all say of it, and of a text what all say of it as a whole.  The
stack is a MODEL like any other and holds its parts whole; config.json says where each came from and the SHA-256 of its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bertsmith import files
from bertsmith.config import check_members
from bertsmith.downstream.based import plain
from bertsmith.downstream.model import Loaded, check_model, opened
from bertsmith.errors import InputError, nearest, printable
from bertsmith.nn.body import outer
from bertsmith.nn.stacked import PIECES, Part, Stacked
from bertsmith.objectives.predict import Trunk
from bertsmith.recipe import Corruption, Recipe
from bertsmith.spelling import amount, option
from bertsmith.tasks.reading import Template
from bertsmith.text.side_by_side import Read, SideBySide

ROLES = ("cls", "sep")


def stack(
    models: Sequence[str | Path | Loaded],
    out: str | Path,
    *,
    mix: Sequence[int] | str = (),
    pieces: str = "first",
    force: bool = False,
    members: tuple[str, ...] = (),
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """`models`, two or more, as one at `out`; returns {out, parameters, width, parts}.

    `mix`: of which models, by number from 1 or "all", a head reads a mixture of all layers that is learned with it, not the last alone;
    these count the embedding.  `pieces`: a word is what a model says of its "first" piece, or the "mean" over them.  As a whole a text is, in
    each part, what embed would say: at [CLS] where a model was taught so, at the end where it reads from the left, else the mean.
    InputError for a model that cannot be read beside others, and for an `out` that is taken.
    """
    if pieces not in PIECES:
        raise InputError(f"{option('pieces', pieces)}: unknown; {nearest(pieces, PIECES)}")
    models, mixed = list(models), _numbers(mix, len(models))
    if len(models) < 2:
        raise InputError(f"stack: {amount(len(models), 'model')}; two or more are wanted")
    for model in models:
        if not isinstance(model, Loaded):
            check_model(model)
    check_members(members)
    from bertsmith.deploy.model_folder import check_free, write_model
    from bertsmith.training.run import Imported

    check_free(Imported(out), force)
    files.check_place(Path(out))
    loaded = [plain(opened(model, "cpu", members, say)) for model in models]
    parts = tuple(_part(one, number in mixed) for number, one in enumerate(loaded, 1))
    tokenizer = SideBySide(parts=tuple(_read(one) for one in loaded))
    recipe = _recipe(parts, pieces, tokenizer, loaded)
    member = _member(recipe, loaded)
    source = {
        "path": str(loaded[0].path),
        "weights": loaded[0].weights,
        "model_type": recipe.name,
        "parts": [{"path": str(one.path), "recipe": one.recipe.name, "weights": one.weights} for one in loaded],
    }
    with files.partial(Path(out)) as folder, files.writing(Path(out)):
        vectors = {"pool": "cls", "normalise": False}
        write_model(Imported(folder), member, recipe, tokenizer, tokenizer.json(), source, vectors=vectors)
        check_free(Imported(out), force)
        files.publish(folder, Path(out))
    count = sum(p.numel() for p in member.parameters())
    for part, one in zip(parts, loaded, strict=True):
        layers = "a mixture of its layers" if part.mix else "its last layer"
        how = {"cls": "at its first token", "last": "at its last token"}.get(part.pool, "the mean over its tokens")
        say(f"{printable(one.run)}: {part.name}, {outer(part.body)} numbers: {layers}; of a text {how}")
    say(
        f"{printable(out)}: {amount(count, 'parameter')}, {recipe.model.width} numbers a word; texts of up to {recipe.layout.length} rows"
    )
    return {"out": str(out), "parameters": count, "width": recipe.model.width, "parts": [part.name for part in parts]}


def _numbers(mix: Sequence[int] | str, count: int) -> set[int]:
    if mix == "all":
        return {*range(1, count + 1)}
    wrong = next((n for n in mix if not (isinstance(n, int) and 1 <= n <= count)), None)
    if isinstance(mix, str) or wrong is not None:
        said = mix if isinstance(mix, str) else wrong
        raise InputError(f"{option('mix', said)}: expected numbers of models, 1 to {count}, or all")
    return {*mix}


def _part(loaded: Loaded, mix: bool) -> Part:
    """InputError where a model cannot be read word by word beside others."""
    recipe, where, reading = loaded.recipe, printable(loaded.run), loaded.reading()
    if isinstance(recipe.model, Stacked):
        raise InputError(f"{where}: is a stack itself; name its models")
    if recipe.surgery is not None:
        raise InputError(
            f"{where}: was tuned by parts put into another model, and would not stand alone; stack that model"
        )
    before, _, behind = reading.roles
    if len(before) > 1 or len(behind) > 1 or reading.marks == "extract":
        raise InputError(
            f"{where}: {recipe.name} reads {' '.join(before + behind)} round a text; a stack has one token before it and one behind"
        )
    if recipe.model.asks or getattr(recipe.model, "memory", None) is not None:
        raise InputError(f"{where}: {recipe.name} has tokens that only ask, or a memory, which a stack has not")
    told = {"cls": "cls", "mean": "mean", "lasttoken": "last"}
    usual = "last" if reading.causal or reading.ends else "mean"
    pool: Any = told.get(loaded.vectors.get("pool", ""), usual)
    return Part(name=recipe.name, body=recipe.model, pool=pool, causal=reading.causal, mix=mix)


def _read(loaded: Loaded) -> Read:
    before, _, behind = loaded.reading().roles
    one = lambda roles: roles[0] if roles else None
    return Read(tokenizer=loaded.tokenizer, before=one(before), behind=one(behind))


def _recipe(parts: tuple[Part, ...], pieces: Any, tokenizer: SideBySide, loaded: list[Loaded]) -> Recipe:
    from bertsmith.data.beside import InContext, Nothing
    from bertsmith.text.neighbours import Contiguous

    width, length = sum(outer(part.body) for part in parts), min(one.length() for one in loaded)
    model = Stacked(parts=parts, pieces=pieces, vocab=tokenizer.size, width=width)
    return Recipe(
        name="stack",
        tokenizer="side-by-side",
        layout=Contiguous(length=length),
        corruption=Corruption(select=Nothing(), rewrite=InContext()),
        model=model,
        objective=Trunk(pooler="state"),  # what all say goes to the head as it is
        template=Template(separators=1, segments=model.reads_segments),
    )


def _member(recipe: Recipe, loaded: list[Loaded]) -> Any:
    from bertsmith.nn.member import blank

    member = blank(recipe)
    for (_, body), one in zip(member.model.parts, loaded, strict=True):
        body.load_state_dict(one.member.model.state_dict())
    return member.eval()
