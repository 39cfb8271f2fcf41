"""Fine-tuning: the member's trunk, a head for the task, BERT's schedule; the best step by the dev file is kept.

One seed: OUT is the run.  Several: OUT/seed-0, OUT/seed-1, … are runs, and OUT/result.json holds mean and spread; OUT as a MODEL is
the best of them.  A run is one like any other (training/learn.py), read from a labelled file: it resumes, and many processes share it.

`--method`: what learns (methods.py).  `--scratch`: fresh weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bertsmith.config import Settings
from bertsmith.downstream.asked import Asked
from bertsmith.downstream.grid import Search
from bertsmith.downstream.labelled_files import OnBadAnswer, Say
from bertsmith.downstream.model import Loaded
from bertsmith.downstream.prepared import Prepared
from bertsmith.errors import InputError
from bertsmith.spelling import option
from bertsmith.tasks.reading import OnLong
from bertsmith.tasks.split import Fold
from bertsmith.training.distributed import TIMEOUT, World
from bertsmith.training.job import Progress, silent


def finetune(
    model: str | Path | Loaded,
    *,
    task: str,
    train: Any,
    dev: Any = None,
    folds: int | None = None,
    learning_curve: Any = None,
    search: Search | None = None,
    trials: int | None = None,
    eta: int = 2,
    out: str | Path,
    columns: str | Mapping[str, str | int] | None = None,
    header: bool = True,
    encoding: str = "utf-8",
    labels: Iterable[str] = (),
    template: str | None = None,
    target: str | None = None,
    target_step: float | None = None,
    metric: str | None = None,
    decoder: str | Path | None = None,
    encoder: str = "given",
    method: str = "full",
    scratch: bool = False,
    seeds: int = 1,
    seed: int = 0,
    epochs: float | None = None,
    steps: int | None = None,
    tokens: int | None = None,
    minutes: float | None = None,
    teacher: Any = None,
    on_long: OnLong | None = None,
    on_bad_answer: OnBadAnswer = "error",
    allow_unknown: bool = False,
    baseline: bool | str = False,
    against: str | Path | Loaded | None = None,
    set: Settings = (),
    device: str | None = None,
    threads: int | None = None,
    workers: int = 0,
    resume: bool = False,
    tensorboard: bool = False,
    shard: str = "ddp",
    timeout: float = TIMEOUT,
    members: tuple[str, ...] = (),
    say: Say = silent,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Tune `model` to `task` ("classify", "multilabel", "ordinal", "regress", "choice", "tag", "qa", "text2text", "similarity", "retrieval", "relation", "typing"); returns
    what result.json says: dev scores with intervals, mean and spread over seeds.


    `train`, `dev`: files, or rows: a list of dicts, a dict of columns, a pandas DataFrame (tasks/given.py); config.json has their number and
    the SHA-256 of what is read of them, which a resumed run must find again.  `dev` may be a share of the training rows, 0.1: drawn by
    class, with equal texts on one side, the same rows for every `seed`.  `folds` in its place cross-validates (downstream/folds.py).
    `learning_curve`: [50, 500, "all"] or "50,500,all": with each number of training rows the model, the same from fresh weights and, with
    `baseline`, TF-IDF (downstream/learning_curve.py).
    `search`: {"lr": [1e-5, 3e-5], "epochs": [2, 3]} or ["lr=1e-5,3e-5", …]: all of these, or `trials` drawn of them, chosen between on the dev
    rows by successive halving: of `eta` trials one goes on (downstream/halving.py); the best is what OUT holds, with `seeds` seeds.
    `teacher`: a fine-tuning of the same task, or several, whose mean is learned beside the labels of the training rows, which may then
    be missing (downstream/teachers.py); `hard` and `temperature` are settings.
    `encoding`: of the files, where it is not UTF-8.  `on_long`: None is truncate for texts as a whole, window where each token is read.  `labels`: all classes or tags there are, where the
    training file need not hold every one.  Of "text2text" `template` and `target` say what is read and written, columns in braces (None: text
    and label), `target_step` of which its numbers become multiples, `metric` which score chooses the step; `decoder` puts one beside
    an encoder, which else writes by filling masks: "fresh", a "copy" of it, "share" (itself), or another encoder; `encoder="fresh"` gives the
    encoder fresh weights beside a copy (downstream/grown.py).  `on_bad_answer`: "mend" or "skip" what does not stand where the training file of "qa" says, and spans within others of "tag".
    `method`: what learns: "full", "frozen", "mix", "adapter", "lora", "prefix", "pal", "bias" or "int8" (downstream/methods.py); what is saved alone stands on `model`.
    `allow_unknown`: accept that more than 5 % of the tokens of a file are [UNK].  `baseline`: what TF-IDF with a linear model (of tags, the
    commonest tag of each word), or "fasttext"'s classifier (of classes), reaches on the same rows, and `against`: another fine-tuning with the same dev file, each with the paired
    difference to this one.  How long: one of `epochs`, `steps`, `tokens`, `minutes`; none is as many epochs as suit the
    method.  Same inputs, seed, device and threads: same bytes, interrupted and gone on with (`resume`) or not.  Under torchrun all its
    processes call this and share the work (see `pretrain`).
    InputError before anything is written; NumericsError, ResourceError and Interrupted (after saving) while it trains.
    `progress(step, steps, loss, tokens per second, seconds left)` after every update.
    """
    every = {**locals()}
    if (dev is None) == (folds is None):
        said = f"{option('dev')} and {option('folds', folds)}: take one of the two" if folds is not None else ""
        raise InputError(said or f"{option('dev')}: a file, a share such as 0.1, or {option('folds', 5)} is wanted")
    asked = Asked.of(every | {"dev": dev if folds is None else Fold(0, folds)})
    if search is None and (trials is not None or eta != 2):
        raise InputError(f"{option('trials') if trials is not None else option('eta')}: is for {option('search')}")
    if search is not None and folds is not None:
        raise InputError(
            f"{option('search')} with {option('folds', folds)}: take one of the two; a search has one dev set"
        )
    if learning_curve is not None and (folds is not None or search is not None):
        other = option("folds", folds) if folds is not None else option("search")
        raise InputError(f"{option('learning_curve')} with {other}: take one of the two")
    if folds is not None:
        from bertsmith.downstream.folds import cross_validated

        return cross_validated(finetune, folds, asked)
    with World.join(device, timeout) as world:
        if not world.first:
            asked = asked.but(say=silent, progress=silent)
        if learning_curve is not None:
            from bertsmith.downstream.learning_curve import learned

            return learned(asked, learning_curve, world)
        if search is not None:
            from bertsmith.downstream.halving import searched

            return searched(asked, search, trials, eta, world)
        return Prepared.of(asked, world).result()
