"""`adapt`: go on with a model on one's own text, and see what it bought (Gururangan et al. 2020, Don't Stop Pretraining).

Texts are looked at and stores made; stages of pre-training follow one another (continued.py); passages that were held out, and the user's
task, are given to the model before and after.  Every step leaves a file or a run in RUN (adaptation.py), and is not made again.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from bertsmith import files
from bertsmith.config import Settings, assignments_of
from bertsmith.deploy import folder, sentences
from bertsmith.downstream import adapted, domain_texts, surprise
from bertsmith.downstream.adaptation import FORMAT, Adaptation
from bertsmith.downstream.continued import HEAD, Way, budgets
from bertsmith.downstream.domain_texts import Given
from bertsmith.downstream.labelled_files import Say
from bertsmith.downstream.model import check_model, check_saved
from bertsmith.errors import InputError
from bertsmith.spelling import option
from bertsmith.text import domains, more_words
from bertsmith.text.domains import Domain
from bertsmith.text.sources import Source
from bertsmith.training.budget import Budget
from bertsmith.training.job import Progress, silent

DOMAIN, TASK, OLD = "domain", "task", "old"  # texts, and the stages of the first two
LENGTHS = ("steps", "tokens", "minutes")


def adapt(
    model: str | Path,
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
    passages: int = 64,
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
    resume: bool = False,
    members: tuple[str, ...] = (),
    say: Say = silent,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Go on with `model` on the texts `corpus` (what `prepare` takes), then on those of the labelled file `texts_of`; one of them will do.

    Returns what adapt.json in `out` says, which is the adapted MODEL: `bits_per_byte` of held-out passages of each text before and after, with
    95 % intervals and that of the difference; `forgetting`, what the old text takes more; `similarity` of the texts; `task`; `says`.

    `keep`: a text of the old domain; `keep_share` of the tokens read is of it.  `new_words`: a list, or the number of words that shorten the new
    texts most; each begins as the mean of its pieces.  `objective`: a member's, where not the model's own.  One of `steps`, `tokens`, `minutes`
    for all stages together; a stage ends after `patience` exams without a lower held-out loss of the new text, and its best step is taken.
    `holdout`: the share of each text's documents that is held out; `passages` of them are measured.
    `task`, `train`, `dev`, `columns`, `header`, `seeds`, `epochs`, `task_set`: what `finetune` is given, once with `model` and once with what it became.
    `set`: fields of the recipe.  Same inputs, seed, device and threads: same bytes, interrupted and gone on with (`resume`) or not.
    InputError before anything is written.
    """
    every = {**locals()}
    asked = Budget(steps=steps, tokens=tokens, minutes=minutes)
    return _Adapting({**every, "budget": asked}).result()


class _Adapting:
    """One call of `adapt`; what is not there yet is made when it is asked for."""

    def __init__(self, given: Mapping[str, Any]):
        self.given, self.say = given, given["say"]
        self.out, self.model = Adaptation(given["out"]), given["model"]
        self.budget: Budget = given["budget"]
        self._check_options()
        how = {name: given[name] for name in ("documents", "lines", "field", "encoding", "language", "holdout")}
        self.reading = Given(**how)
        listed = partial(self.reading.listed, out=given["out"])
        self.sources: dict[str, tuple[Source, ...]] = {}
        if given["keep"]:
            self.sources[OLD] = listed(_several(given["keep"]))
        if given["corpus"]:
            self.sources[DOMAIN] = listed(_several(given["corpus"]))
        if given["texts_of"] is not None:
            how = {name: given[name] for name in ("task", "columns", "header", "encoding")}
            self.sources[TASK] = (domain_texts.rows_source(given["texts_of"], **how),)

    def _check_options(self) -> None:
        given = self.given
        if not given["corpus"] and given["texts_of"] is None:
            raise InputError(
                f"{option('corpus', like='SOURCE')} or {option('texts_of', like='FILE')}: a text to adapt to is wanted"
            )
        self.budget.check_given(LENGTHS)
        if not self.budget.given:
            raise InputError(
                f"give one of {', '.join(option(name, like='N') for name in LENGTHS)}: how long the adaptation is to be"
            )
        if not (isinstance(given["keep_share"], (int, float)) and 0 <= given["keep_share"] < 1):
            raise InputError(f"{option('keep_share', given['keep_share'])}: expected a share from 0 to below 1")
        for name in ("patience", "passages", "seeds"):
            if given[name] < 1:
                raise InputError(f"{option(name, given[name])}: expected a number from 1")
        if not 0 < given["holdout"] < 1:
            raise InputError(
                f"{option('holdout', given['holdout'])}: expected a share above 0 and below 1; what is held out is measured"
            )
        lacking = [name for name in ("train", "dev") if given[name] is None]
        if given["task"] is not None and lacking:
            raise InputError(f"{option('task', given['task'])}: {option(lacking[0], like='FILE')} is wanted beside it")
        if given["task"] is None and len(lacking) < 2:
            raise InputError(f"{option('train')} and {option('dev')}: {option('task', like='KIND')} says what they are")
        check_model(self.model)
        check_saved(self.model)
        self.out.check_free(given["resume"])
        if given["task"] is not None:
            self._check_task()

    def _check_task(self) -> None:
        """InputError for rows that cannot be learned from, before anything is done."""
        from bertsmith.downstream.asked import check_early
        from bertsmith.downstream.labelled_files import Rows

        asked = self._tuning(self.model, self.out.parts / "task" / "before", read=True)
        check_early(asked)
        asked.files.check_apart()
        Rows.read(asked.files, silent)

    # -- the texts ----------------------------------------------------------------------------------------------------------------------

    @property
    def mixed(self) -> bool:
        """Whether the old text is read, too, and not only measured."""
        return OLD in self.sources and self.given["keep_share"] > 0

    @property
    def stages(self) -> list[str]:
        """In their order."""
        texts = [name for name in (DOMAIN, TASK) if name in self.sources]
        return [HEAD, *texts] if self.way.fresh else texts

    @cached_property
    def looked(self) -> dict[str, Domain]:
        given, found = self.given, {}
        named = {DOMAIN: option("corpus"), TASK: option("texts_of"), OLD: option("keep")}
        for name, sources in self.sources.items():  # the old text first
            before = found[OLD].documents if OLD in found and self.mixed else 0
            language = next(iter(sources)).language or given["language"] or "en"
            options = {"holdout": given["holdout"], "passages": given["passages"], "language": language}
            found[name] = domains.looked_at(self.reading.texts(sources), name=named[name], first=before, **options)
        for name in (DOMAIN, TASK):
            if name in found and OLD in found:
                domain_texts.check_apart(named[name], found[name], found[OLD], self.say)
        return found

    def _similar(self) -> dict[str, Any]:
        """What is kept of the texts: their passages, and how near the new ones are to the old."""
        looked = self.looked
        texts = {
            name: {"documents": one.documents, "held_out": one.held_out, "passages": list(one.passages)}
            for name, one in looked.items()
        }
        near: dict[str, Any] = {}
        for name in (DOMAIN, TASK) if OLD in looked else ():
            if name in looked:
                share, many = domains.overlap(looked[name], looked[OLD])
                near[name] = {"words": share, "of": many, "inside": domains.contained(looked[name], looked[OLD])}
        return {"texts": texts, "similarity": near}

    @cached_property
    def tokenizer(self) -> Path:
        path = folder.located(self.model)
        if folder.is_foreign(path):
            return sentences.home_of(path)
        return path.parent.parent if path.name.startswith("step-") else path

    @cached_property
    def words(self) -> tuple[list[str], dict[str, Any]] | None:
        """The new words, and what is said of them; None where none are asked for."""
        from bertsmith.text.extend import new_tokens
        from bertsmith.text.tokenizer import Tokenizer
        from bertsmith.text.word_list import word_list

        asked = more_words.checked(self.given["new_words"], trains=False)
        if asked is None:
            return None
        base = Tokenizer.load(self.tokenizer)
        said: dict[str, Any] = {}
        if isinstance(asked, int):
            new = [one for name in (DOMAIN, TASK) for one in self.sources.get(name, ())]
            words, said = domain_texts.words_of(self.reading.texts(new), base, asked)
        else:
            words = list(word_list(asked)[0])
        try:
            added = new_tokens(base, base.extend(words))
        except InputError as error:
            raise InputError(f"{option('new_words', *([] if isinstance(asked, int) else [asked]))}: {error}") from None
        if not added:
            raise InputError(f"{option('new_words')}: no word of them is new: the tokenizer has each as one token")
        return words, {"words": len(words), "tokens": len(added), **said}

    @cached_property
    def list_of_words(self) -> Path | None:
        """The file of new words, beside the stores that are made with it."""
        path = self.out.text("new-words.txt")
        if self.given["new_words"] is None:
            return None
        if files.plain(path) is None:
            files.write(path, "".join(f"{word}\n" for word in self.words[0]).encode())  # type: ignore[index]
        return path

    def store(self, name: str) -> Any:
        """Of a stage's text, and the old one; a head learns on the first."""
        name = next(iter(n for n in self.stages if n != HEAD)) if name == HEAD else name
        old = self.sources[OLD] if self.mixed else ()
        how = (self.reading, self.sources[name], old, self.tokenizer, self.list_of_words, self.say)
        return domain_texts.store_of(self.out.text(name), *how)

    # -- the stages ---------------------------------------------------------------------------------------------------------------------

    @cached_property
    def way(self) -> Way:
        return Way.of(self.model, self.given["objective"], self.given["set"], self.say)

    def learn(self) -> dict[str, Any]:
        """All stages, one from another; RUN becomes the best step of the last."""
        from bertsmith.training.pretraining import pretrain

        given, begins, new_heads, said = self.given, self.model, self.way.fresh, {}
        work = {name: given[name] for name in ("seed", "workers", "threads", "device", "progress")}
        for name, budget in budgets(self.budget, self.stages).items():
            self.say(f"stage {name}: {_lasting(budget)}")
            store, path = self.store(name), self.out.stage(name)
            shares = domain_texts.shares_of(store, given["keep_share"])
            recipe = self.way.stage(name, budget, shares)
            watch = domain_texts.watched(store)
            how = {
                "from_": begins,
                "new_heads": new_heads,
                "patience": given["patience"],
                "watch": watch,
                **budget.given,
            }
            found = pretrain(recipe, store.path, path, resume=path.exists(), say=self.say, **how, **work)
            best = found["best"]
            said[name] = {"steps": found["steps"], "tokens": found["tokens"], "best": best}
            begins, new_heads = path / "steps" / f"step-{best:08d}", ()
        self.out.become(path, best)
        return {"stages": said}

    @property
    def before(self) -> str | Path:
        """The model that is measured before: with heads that were taught alone, where it had none."""
        if HEAD not in self.stages:
            return self.model
        best = self.kept_stages["stages"][HEAD]["best"]
        return self.out.stage(HEAD) / "steps" / f"step-{best:08d}"

    # -- what it bought -----------------------------------------------------------------------------------------------------------------

    def measured(self, when: str, model: str | Path, texts: Mapping[str, Any]) -> dict[str, surprise.Said]:
        """{text: what the model says of its passages}"""
        found = {}
        for name, one in texts.items():
            self.say(f"{when}: {len(one['passages'])} passages of the {adapted.NAMES[name]}")
            hear = partial(surprise.heard, model, one["passages"], members=self.given["members"], say=silent)
            found[name] = self.out.kept(f"measured/{when}-{name}", hear)
        return found

    def _tuning(self, model: str | Path, out: Path, read: bool = False) -> Any:
        """A call of `finetune`; with `read` as `Asked`."""
        from bertsmith.downstream.asked import Asked
        from bertsmith.downstream.finetune import finetune

        given = self.given
        names = (
            "task",
            "train",
            "dev",
            "columns",
            "header",
            "seeds",
            "seed",
            "epochs",
            "threads",
            "device",
            "workers",
            "members",
        )
        options = {name: given[name] for name in names} | {"set": given["task_set"], "out": out}
        options |= {"encoding": given["encoding"], "say": given["say"], "progress": given["progress"]}
        if not read:
            return finetune(model, resume=out.exists(), **options)
        usual = {name: p.default for name, p in inspect.signature(finetune).parameters.items()}
        return Asked.of({**usual, **options, "model": model})

    def tuned(self) -> dict[str, Any]:
        """The user's task from the model before and after, held against one another on the dev rows."""
        from bertsmith.downstream.compare import compare

        sides = {"before": self.model, "after": self.out.path}
        for when, model in sides.items():
            self.say(f"{when}: the task")
            self._tuning(model, self.out.parts / "task" / when)
        runs = [self.out.parts / "task" / when for when in ("after", "before")]
        found = compare(*runs, changed=0, seed=self.given["seed"], members=self.given["members"], say=self.say)
        names = ("task", "texts", "chosen_by", "mcnemar")
        scores = {"after": found["a"], "before": found["b"], "difference": found["difference"]}
        return {**{name: found[name] for name in names}, "seeds": found["seeds"]["a"], **scores}

    def result(self) -> dict[str, Any]:
        given = self.given
        asked = self._asked()
        if not self.out.parts.is_dir():  # what can be refused is, before anything is written
            self.stages, self.looked, self.words  # noqa: B018
        self.out.begin(asked)
        texts = self.out.kept("text/looked-at", self._similar)
        if given["new_words"] is not None:
            texts["new_words"] = self.out.kept("text/new-words", lambda: self.words[1])  # type: ignore[index]
        adapted.tell_texts(texts, self.say)
        self.kept_stages = self.out.kept("stages/learned", self.learn)
        before = self.measured("before", self.before, texts["texts"])
        after = self.measured("after", self.out.path, texts["texts"])
        task = self.out.kept("measured/task", self.tuned) if given["task"] is not None else None
        about = {
            "objective": self.way.name,
            "fresh": list(self.way.fresh),
            "keep_share": given["keep_share"] if OLD in self.sources else None,
        }
        result = adapted.of(texts, self.kept_stages["stages"], before, after, task, given["seed"])
        for line in adapted.table(result):
            self.say(line)
        return self.out.finish({"format": FORMAT, "kind": "adapt", **about, **result})

    def _asked(self) -> dict[str, Any]:
        """What a resumed command must ask again; texts by their content."""
        given = self.given
        names = (
            "keep_share",
            "objective",
            "patience",
            "holdout",
            "passages",
            "documents",
            "lines",
            "field",
            "language",
            "encoding",
        )
        names = (*names, "task", "header", "seeds", "epochs", "seed", *LENGTHS)
        found = {name: given[name] for name in names}
        found |= {f"text of {name}": domain_texts.digest(sources) for name, sources in self.sources.items()}
        words = given["new_words"]
        found["new_words"] = words if words is None or isinstance(words, int) else str(words)
        return found | {
            "set": sorted(assignments_of(given["set"])),
            "task_set": sorted(assignments_of(given["task_set"])),
        }


def _several(value: Any) -> list[Any]:
    return [value] if isinstance(value, (str, Path, Source)) else list(value)


def _lasting(budget: Budget) -> str:
    (name, value), *_ = budget.given.items()
    return f"{value:,.3g} {name}" if name == "minutes" else f"{value:,} {name}"
