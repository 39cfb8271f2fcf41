"""Import: a folder of Hugging Face format as a model of ours, a run of one step (number 0) that every verb takes.

Nothing stands at `--out` before the run was read again and gave what transformers gives with the folder's own tensors.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bertsmith import __version__, files
from bertsmith.config import to_dict
from bertsmith.data.draw import hashed
from bertsmith.deploy import check
from bertsmith.deploy.folder import Folder, is_foreign, located, read
from bertsmith.deploy.hf_config import head as head_of
from bertsmith.deploy.hf_config import hf_config
from bertsmith.deploy.hf_families import FAMILIES
from bertsmith.deploy.texts import texts
from bertsmith.deploy.word_vectors import import_vectors
from bertsmith.downstream.model import Loaded, load
from bertsmith.errors import InputError, nearest, printable
from bertsmith.nn.member import build
from bertsmith.nn.modules.member import MemberModel
from bertsmith.objectives.predict import Predict
from bertsmith.spelling import amount, an, flag, option
from bertsmith.training.checkpoint import State
from bertsmith.training.run import CONFIG, FORMAT, METRICS, STEPS, TOKENIZER, Imported
from bertsmith.training.saving import save_step
from bertsmith.training.start import adopt

NEW = ("token", "pair")  # heads that --new-head makes
TEXTS = 1000


def import_(
    folder: str | Path,
    out: str | Path,
    *,
    new_heads: Iterable[str] = (),
    drop: Iterable[str] = (),
    seed: int = 0,
    force: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Write the Hugging Face folder (or hf:NAME) as the model `out`; returns what was compared.  `force` replaces an import.  A file is one of word vectors, in
    word2vec's text or binary format or in GloVe's.

    `new_heads`: "token", "pair": heads that the folder lacks, fresh by `seed`.  `drop`: modules of theirs to leave out ("qa_outputs").
    InputError for a folder that does not fit, listing its tensors; for answers other than those of transformers, and where that is not
    installed.
    """
    path = located(folder)
    if path.is_file():
        _check_free(Imported(out), force)
        return import_vectors(path, out, say=say)
    transformers = check.transformers_needed("import")
    files.refuse_unless_replaceable(out, {CONFIG, TOKENIZER, METRICS, STEPS}.__contains__, "model", force=True)
    _check_free(Imported(out), force)
    if not is_foreign(path):
        what = f"holds no {CONFIG} of Hugging Face format" if path.is_dir() else "no such file or folder"
        raise InputError(f"{printable(folder)}: {what}")
    found = read(path, drop)
    for note in found.notes:
        say(note)
    if (found.vectors or {}).get("dense"):
        say(
            f"warning: {printable(folder)}: its dense layers stay there: embed takes them from that folder, not from this import"
        )
    member, recipe = _member(found, tuple(new_heads), seed, say)
    found = replace(found, recipe=recipe)
    with files.partial(out) as temporary, files.writing(out):
        _write(Imported(temporary), found, member, tuple(new_heads), seed)
        try:
            compared = _compare(transformers, temporary, found, say)
        except InputError as error:
            raise InputError(f"{printable(out)}: not written: {error}") from None
        _check_free(Imported(out), force)
        files.publish(temporary, out)
    count = sum(p.numel() for p in member.parameters())
    heads = ", ".join(member.weights()) or "none"
    say(
        f"{recipe.name}: {amount(count, 'parameter')}; heads: {heads}; texts of up to {amount(recipe.layout.length, 'token')}"
    )
    if "token" not in member.weights() and found.task is None:
        say(
            f"it has no token head: embed and finetune need none, fill does, and pretrain with {option('from_')} takes {option('new_heads', 'token')}"
        )
    apart = ", ".join(f"{answer} {value:.1e}" for answer, value in compared["largest_difference"].items())
    say(
        f"largest differences from transformers {compared['transformers']} in float32: {apart} (of the largest answer, or of 1)"
    )
    say(f"{printable(out)}: imported")
    return {"out": str(out), "parameters": count, "heads": list(member.weights()), **compared}


def _check_free(run: Imported, force: bool) -> None:
    if not run.path.exists() or (force and run.config() is not None):
        return
    if run.steps() or run.config() is not None:
        raise InputError(
            f"{printable(run.path)}: {option('out')} holds a model already; {flag('force')} replaces one that was imported"
        )


def _member(
    found: Folder, new_heads: tuple[str, ...], seed: int, say: Callable[[str], None]
) -> tuple[MemberModel, Any]:
    """The member with the folder's weights and the heads that were named, and its recipe."""
    recipe, family = found.recipe, FAMILIES[found.theirs["model_type"]]
    known = [head for head in NEW if head in family.heads]
    for head in new_heads:
        if head not in known:
            raise InputError(
                f"{option('new_heads', head)}: cannot be made for {an(family.model_type)}; {nearest(head, known)}; finetune makes a task's own"
            )
    if new_heads and found.task is not None:
        raise InputError(
            f"{option('new_heads')}: {printable(found.path)} is a fine-tuned model; {option('drop')} its classifier first"
        )
    if new_heads:
        there = [head for head in recipe.objective.heads if not (head.name == "summary" and "pair" in new_heads)]
        heads = {
            head.name: head
            for head in (*there, *(head_of(family, name, recipe.model.activation, found.theirs) for name in new_heads))
        }
        order = sorted(heads, key=list(family.heads).index)
        kept = tuple(heads[name] for name in order)
        recipe = replace(recipe, objective=Predict(heads=kept, pooler=recipe.objective.pooler))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(hashed(seed, "weights")[0]))
        member = build(recipe)
    adopt(member, found.weights, new_heads, printable(found.path), say)
    return member.eval(), recipe


def _write(run: Imported, found: Folder, member: nn.Module, new_heads: tuple[str, ...], seed: int) -> None:
    versions = {"bertsmith": __version__, "torch": torch.__version__, "numpy": np.__version__}
    config = {"format": FORMAT, "recipe": to_dict(found.recipe), **found.config}
    config |= {"steps": 0, "seed": seed, "from": None, "versions": {**versions, "python": platform.python_version()}}
    config["source"] |= {"path": str(found.path), "new_heads": list(new_heads)}
    files.create(run / CONFIG, files.sealed(config))
    files.create(run / TOKENIZER, found.tokenizer.backend.to_str().encode())
    files.create(run / METRICS, b"")
    (run / STEPS).mkdir()
    nothing = torch.optim.SGD(member.parameters(), lr=0.0)  # holds no state
    metrics = {"bytes": 0, "sha256": files.sha256(run / METRICS)}
    save_step(run, State(step=0, tokens=0, cursor=(0, 0)), member, nothing, metrics, {}, keep=1)


def _compare(transformers: Any, run: Path, found: Folder, say: Callable[[str], None]) -> dict[str, Any]:
    """The run, read again, against the folder's own tensors in the classes of transformers."""
    loaded = load(run)
    chosen, _ = texts(loaded.tokenizer, {}, TEXTS)
    family = FAMILIES[found.theirs["model_type"]]
    models = check.open_folder(transformers, found.home, family, found.terms, _config(transformers, found), every=False)
    answers = check.compare(loaded, models, check.groups(loaded, chosen))
    if check.cuts(loaded):
        say(check.SAID_WHOLE)
    wrong = _differing_ids(transformers, found, loaded, chosen, say)
    if wrong:
        say(
            f"warning: AutoTokenizer of transformers {transformers.__version__} gives other ids for {len(wrong)} of {amount(len(chosen), 'text')}, such as "
            f"{printable(repr(chosen[wrong[0]]), 60)}: it follows tokenizer_config.json, this import tokenizer.json"
        )
    return {
        "transformers": transformers.__version__,
        "classes": [type(model).__name__ for model in models.values()],
        "largest_difference": answers,
        "texts": len(chosen),
        "texts_with_other_ids": wrong if wrong is None else len(wrong),
    }


def _config(transformers: Any, found: Folder) -> Any:
    """Their configuration from the fields that a model's shape depends on, and no others: a folder's file may hold any."""
    known = {*hf_config(found.recipe, found.tokenizer.vocab), "id2label", "label2id", "scale_decoder_outputs"}
    known -= {"architectures", "model_type"}
    return transformers.AutoConfig.for_model(
        found.theirs["model_type"], **{key: value for key, value in found.theirs.items() if key in known}
    )


def _differing_ids(
    transformers: Any, found: Folder, loaded: Loaded, chosen: list[str], say: Callable[[str], None]
) -> list[int] | None:
    """None where transformers has no tokenizer for the folder, which `say` is told."""
    try:
        with check.quiet(transformers):
            tokenizer = transformers.AutoTokenizer.from_pretrained(found.home, local_files_only=True)
    except Exception as error:  # whatever its code makes of the tokenizer's files
        say(f"warning: AutoTokenizer cannot open it, so ids were not compared: {printable(str(error).strip())}")
        return None
    with check.quiet(transformers):
        return check.differing_ids(tokenizer, found.tokenizer, chosen, loaded.reading())
