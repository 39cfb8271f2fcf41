"""Pre-training: `pretrain(recipe, data, out, steps=1000)` is what the command line calls.  Its feed is text: a layout and a corruption over a store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertsmith import files
from bertsmith.config import Settings, assignments_of, override
from bertsmith.data.text import feed_of, texts_of
from bertsmith.errors import InputError, nearest, printable
from bertsmith.recipe import Recipe
from bertsmith.spelling import option
from bertsmith.text.blend import said as blend_said
from bertsmith.text.checking import passed
from bertsmith.training.brief import concluded, foreseen, kept, leaves, predicts, settled, too_short
from bertsmith.training.budget import Budget, Extent, check_batch
from bertsmith.training.distributed import TIMEOUT, World
from bertsmith.training.exam import Exam, Exams
from bertsmith.training.given import Corpus, knows_corpus, learn_of, sized
from bertsmith.training.job import Job, Progress, as_it_is, check_options, fresh, silent
from bertsmith.training.log import Journal
from bertsmith.training.planning import few_pairs, left_out, recut
from bertsmith.training.run import ENTITIES, TOKENIZER, Run, open_store
from bertsmith.training.start import recipe_for, rows_of, start_from
from bertsmith.training.teacher import teacher_of, unasked, untaught

if TYPE_CHECKING:
    from bertsmith.training.evaluate import HeldOut

SAME = ("mixture", "data.tokenizer", "data.blend", "data.digest", "data.teacher.weights", "recipe", "seed", "from")


def pretrain(
    recipe: Recipe | str,
    data: Any,
    out: str | Path,
    *,
    steps: int | None = None,
    tokens: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    workers: int = 0,
    threads: int | None = None,
    device: str | None = None,
    resume: bool = False,
    from_: str | Path | None = None,
    new_heads: Iterable[str] = (),
    teacher: str | Path | None = None,
    set: Settings = (),
    patience: int | None = None,
    watch: Iterable[str] = (),
    tensorboard: bool = False,
    shard: str = "ddp",
    timeout: float = TIMEOUT,
    cache: str | Path | None = None,
    say: Callable[[str], None] = silent,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Pre-train `recipe` on the store `data`, or several, or {store: weight}, into the run folder `out`, for exactly one of `steps`, `tokens`, `minutes`.

    `set`: fields of the recipe that are to be others: {"model.layers": 6}, or ["model.layers=6"].
    `from_`: a run, an import, a Hugging Face folder or hf:NAME to start from; a head that it lacks is fresh if `new_heads` names it.
    `teacher`: what MODEL a student learns from beside the text (objectives/distilled.py); RECIPE without a size takes its shapes and half of
    its layers.  A run that is gone on with has the teacher that it began with, and no other.
    `patience`: end after so many exams without a lower held-out loss of tokens, of a store of several languages that of those
    that `watch` names, where it does; the best step is kept.
    `cache`: where stores behind URLs are fetched to (None: $BERTSMITH_CACHE, or the user's caches).
    `resume` goes on from the newest step that verifies; same inputs, seed, device and threads give the same bytes, interrupted or not.
    `progress(step, steps, loss, tokens per second, seconds left)` is called after every update.
    Under torchrun all its processes call this and share the work: as copies of the member (`shard="ddp"`) or each with a slice of it
    ("fsdp"); process 0 alone speaks and writes.  `timeout`: seconds that one waits for the others before it gives up.
    Raises InputError before anything is written; ResourceError, NumericsError and Interrupted (after saving) while it trains.
    """
    begun, asked = time.monotonic(), Budget(steps=steps, tokens=tokens, minutes=minutes)
    with World.join(device, timeout) as world:
        say, progress = (say, progress) if world.first else (silent, silent)
        run, journal = Run(out), Journal(say)
        with world.agreed():
            taught = teacher_of(teacher, run, resume, journal.say)
            if isinstance(recipe, str):
                recipe = override(taught.student(recipe, from_) if taught else recipe_for(recipe, from_), set)
            else:  # somebody made it as it is to be
                recipe = replace(override(recipe, set), brief=None)
            check_options(shard, tensorboard)
            asked.check_given()
            watch = tuple(watch)
            _check_patience(patience, watch)
            store = open_store(data, journal.say, later=True, cache=cache)
            if world.first:
                _check_apart(run, store)
                run.check_free(resume)
            recipe = taught.taught(recipe, store) if taught else untaught(recipe)
            rows = rows_of(from_, run, resume) if world.first else None
            begins = taught is not None and recipe.objective.begin != "fresh"
            rows = taught.recipe.model.vocab if taught and begins and rows is None else rows
            recipe = sized(recipe.with_vocab(store.vocab, world.tell(rows)), store)
            check_batch(recipe, store.train.count, world.size)
            from bertsmith.training.learn import learn  # torch is loaded here, when what is cheap to refuse has been
            from bertsmith.training.processes import own_device
            from bertsmith.training.trial import seconds_of

            place = own_device(device)
            old = world.tell(run.begun() if resume and world.first else None)
            linked = store.vectors is not None and hasattr(getattr(recipe.model, "topology", None), "for_vocab")
            corpus = Corpus.of(recipe, store, journal.say) if knows_corpus(recipe) and not old else None
            starts = world.tell(from_ is not None or begins or linked or corpus is not None)
            more_said = ({"teacher": taught.said} if taught else {}) | (entities_said(store) if linked else {})
            for line in [] if taught else unasked(recipe):
                journal.say(line)

        def start(member: Any, say: Callable[[str], None]) -> Any:
            if not world.first:
                return None
            if corpus is not None:
                learn_of(member, corpus)
            if linked:
                member.model.take(store.vectors)
            if from_ is not None:
                return start_from(from_, member, recipe, store, new_heads, say)
            return taught.begins(member, recipe, say) if taught else None

        def job_of(recipe: Recipe, **more: Any) -> Job:
            return Job(
                run=run,
                recipe=recipe,
                feed=feed_of(recipe, store, seed),
                seed=seed,
                kept={"kind": run.kind, "data": said_of(store) | more_said},
                learner=partial(taught.teaches, place=place) if taught else as_it_is,
                same=SAME,
                tokenizer=(Path(store.path) / TOKENIZER).read_bytes(),
                entities=(Path(store.path) / ENTITIES).read_bytes() if linked else None,
                workers=workers,
                sound=passed(getattr(store, "checking", ())),
                **more,
            )

        def an_update(recipe: Recipe, limit: float) -> float:
            return seconds_of(job_of(recipe), world, place, threads, shard, limit)

        enough = leaves(recipe)
        recipe = settled(recipe, assignments_of(set), asked, old, an_update, journal.say)
        for line in check_batch(recipe, store.train.count, world.size):
            journal.say(line)
        with world.agreed():
            known = store.prospects()
            main = recipe.mixture.main if recipe.mixture else ""
            told = partial(concluded, known=known, copied=kept(recipe.corruption.rewrite), feed=main)
            exam = exams_of(recipe, store, journal)
            if patience is not None:
                _choosing(exam, watch)
            job = job_of(recipe, exam=exam, patience=patience, start=start if starts else fresh, outcome=told)

        def expect(extent: Extent, steps: int) -> None:
            if recipe.reads != "tokens" or predicts(recipe):
                journal.say(foreseen(known))
            if from_ is None and not old and predicts(recipe):
                for line in too_short(enough, steps, asked):
                    journal.say(line)
            text, *_ = texts_of(job.feed)
            if getattr(store, "blend", ()):
                journal.say(blend_said(store, recipe.training.smoothing))
            for line in (*few_pairs(text.layout, text.sample), *recut(text), *left_out(text)):
                journal.say(line)
            if hasattr(recipe.layout, "said"):
                for line in recipe.layout.said(store.train, store.vocab):
                    journal.say(line)

        options = {"threads": threads, "resume": resume, "tensorboard": tensorboard, "shard": shard}
        result = learn(job, world, journal, place, asked, progress=progress, expect=expect, begun=begun, **options)
    seconds = result.pop("seconds")
    return {**result, **known, "seconds": seconds}


def said_of(store: Any) -> dict[str, Any]:
    """What config.json says of a store."""
    several = getattr(store, "blend", ())
    paths = [of["path"] for of in several] or [str(store.path)]
    blend = [{name: of[name] for name in of if name != "path"} for of in several]
    return {
        "path": " + ".join(paths),
        "digest": store.digest,
        "tokenizer": store.tokenizer.digest,
        "vocab": asdict(store.vocab),
        **({"blend": blend} if blend else {}),
    }


def exams_of(recipe: Recipe, store: Any, journal: Journal) -> Exam | None:
    """Of each feed that a recipe reads, together."""
    if recipe.mixture is None:
        return exam_of(recipe, store, journal)
    found = [exam_of(alone, store, journal, name) for name, alone in recipe.feeds.items()]
    known = [exam for exam in found if exam is not None]
    return Exams(known, recipe.training.evaluate) if known else None


def entities_said(store: Any) -> dict[str, Any]:
    """What it says of the entities that a member reads besides."""
    return {"entities": files.sha256(Path(store.path) / ENTITIES)}


def exam_of(recipe: Recipe, store: Any, journal: Journal, feed: str = "") -> HeldOut | None:
    """On the held-out documents of a store, which is the `feed` of a mixture; None, which is said, where the layout can use none of them."""
    from bertsmith.training.evaluate import HeldOut, held_batches

    try:
        batches, languages = held_batches(recipe, store)
        held = [replace(batch, feed=feed) for batch in batches]
    except InputError as error:
        journal.say(f"warning: no held-out evaluation: {error}")
        return None
    if not held:
        journal.say(
            f"warning: no held-out evaluation: the store has no held-out documents; {option('holdout')} of prepare sets some aside"
        )
        return None
    return HeldOut(held, recipe.training.evaluate, languages if len(dict.fromkeys(languages)) > 1 else ())


def _check_patience(patience: int | None, watch: tuple[str, ...]) -> None:
    if patience is not None and (isinstance(patience, bool) or not isinstance(patience, int) or patience < 1):
        raise InputError(f"{option('patience', patience)}: expected a number of exams from 1")
    if watch and patience is None:
        raise InputError(
            f"{option('watch', *watch)}: says whose loss ends a run early; {option('patience', 3)} asks for that"
        )


def _choosing(exam: Any, watch: tuple[str, ...]) -> None:
    """The exam says which step is best.  InputError where there is none, or no such language in it, or losses of several feeds."""
    if exam is None or not hasattr(exam, "chooses"):
        why = "nothing is held out" if exam is None else "each feed of this member has a loss of its own"
        raise InputError(f"{option('patience')}: {why}, so that no loss says when it turns; leave it out")
    known = [*dict.fromkeys(exam.languages)]
    for name in watch:
        if name not in known:
            way = nearest(name, known) if known else "the store names none"
            raise InputError(f"{option('watch', name)}: no language of the held-out text; {way}")
    exam.chooses, exam.watched = True, watch


def _check_apart(run: Run, store: Any) -> None:
    ours = run.path.resolve()
    for path in (store.path, *(of["path"] for of in getattr(store, "blend", ()))):
        theirs = Path(path).resolve()
        if ours == theirs or theirs in ours.parents:
            raise InputError(f"{printable(run.path)}: {option('out')} lies in the store; choose another place")
