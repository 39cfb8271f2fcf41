"""`adapt`: go on with a model on one's own text, and see what it bought (Gururangan et al. 2020, Don't Stop Pretraining).

Here is what is asked for and what is refused by that alone; the work is in adapting.py.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bertsmith.config import Settings
from bertsmith.downstream.adaptation import Adaptation
from bertsmith.downstream.adapting import Adapting
from bertsmith.downstream.labelled_files import Say
from bertsmith.downstream.model import Loaded, check_model, check_saved
from bertsmith.errors import InputError
from bertsmith.spelling import option
from bertsmith.training.budget import LENGTHS, Budget
from bertsmith.training.job import Progress, silent


def adapt(
    model: str | Path | Loaded,
    corpus: Any = (),
    *,
    out: str | Path,
    texts_of: Any = None,
    keep: Any = (),
    keep_share: float = 0.1,
    new_words: str | int | Path | None = None,
    objective: str | None = None,
    steps: int | None = None,
    tokens: int | None = None,
    minutes: float | None = None,
    patience: int = 3,
    holdout: float = 0.05,
    passages: int = 48,
    documents: str = "blank",
    lines: str = "paragraph",
    field: str = "text",
    language: str | None = None,
    encoding: str = "utf-8",
    task: str | None = None,
    train: Any = None,
    dev: Any = None,
    columns: str | Mapping[str, str | int] | None = None,
    header: bool = True,
    seeds: int = 1,
    epochs: float | None = None,
    task_set: Settings = (),
    set: Settings = (),
    seed: int = 0,
    workers: int = 0,
    threads: int | None = None,
    device: str | None = None,
    allow_unknown: bool = False,
    resume: bool = False,
    members: tuple[str, ...] = (),
    say: Say = silent,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Go on with `model` on the texts `corpus` (what `prepare` takes), then on those of the labelled file `texts_of`; one of them will do.

    Returns what adapt.json in `out` says, which is the adapted MODEL: `bits_per_byte` of held-out passages of each text before and after, with
    95 % intervals and that of the difference; `forgetting`, what the old text takes more; `similarity` of the texts; `task`; `helped`; `says`.

    `keep`: a text of the old domain; `keep_share` of the tokens read is of it.  `new_words`: a list, or the number of words that shorten the new
    texts most; each begins as the mean of its pieces.  `objective`: a member's, where not the model's own.  One of `steps`, `tokens`, `minutes`
    for all stages together; a stage ends after `patience` exams without a lower held-out loss of the new text, and its best step is taken.
    `holdout`: the share of each text's documents that is held out; `passages` of them are measured.
    `task`, `train`, `dev`, `columns`, `header`, `seeds`, `epochs`, `task_set`: what `finetune` is given, once with `model` and once with what it became.
    `allow_unknown`: accept that more than 5 % of the tokens of a text are [UNK].  `set`: fields of the recipe.  Same inputs, seed, device and threads: same bytes, interrupted and gone on with (`resume`) or not.
    InputError before anything is written.
    """
    given = {**locals(), "model": model.path if isinstance(model, Loaded) else model}
    given |= {name: list(given[name]) for name in ("train", "dev", "texts_of") if inspect.isgenerator(given[name])}
    budget, run = Budget(steps=steps, tokens=tokens, minutes=minutes), Adaptation(out)
    _check_given(given, budget)
    check_model(given["model"])
    check_saved(given["model"])
    run.check_free(resume)
    work = Adapting(given, budget, run)
    if task is not None:
        work.check_task()
    return work.result()


def _check_given(given: Mapping[str, Any], budget: Budget) -> None:
    """InputError for options that are missing, or cannot be."""
    if not len(given["corpus"]) and given["texts_of"] is None:
        ways = f"{option('corpus', like='SOURCE')} or {option('texts_of', like='FILE')}"
        raise InputError(f"{ways}: a text to adapt to is wanted")
    budget.check_given(LENGTHS)
    if not budget.given:
        ways = ", ".join(option(name, like="N") for name in LENGTHS)
        raise InputError(f"give one of {ways}: how long the adaptation is to be")
    if not 0 <= given["keep_share"] < 1:
        raise InputError(f"{option('keep_share', given['keep_share'])}: expected a share from 0 to below 1")
    if not 0 < given["holdout"] < 1:
        raise InputError(
            f"{option('holdout', given['holdout'])}: expected a share above 0 and below 1; what is held out is measured"
        )
    for name in ("patience", "passages", "seeds"):
        if given[name] < 1:
            raise InputError(f"{option(name, given[name])}: expected a number from 1")
    lacking = [name for name in ("train", "dev") if given[name] is None]
    if given["task"] is not None and lacking:
        raise InputError(f"{option('task', given['task'])}: {option(lacking[0], like='FILE')} is wanted beside it")
    if given["task"] is None and len(lacking) < 2:
        raise InputError(f"{option('train')} and {option('dev')}: {option('task', like='KIND')} says what they are")
