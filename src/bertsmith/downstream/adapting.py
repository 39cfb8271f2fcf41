"""An adaptation at work: texts are looked at and stores made, stages of pre-training follow one another (continued.py), passages that were
held out, and the user's task, are given to the model before and after.

Every step leaves a file or a run in RUN (adaptation.py), and is not made again.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from bertsmith import files
from bertsmith.config import assignments_of
from bertsmith.deploy import folder, sentences
from bertsmith.downstream import adapted, domain_texts, surprise
from bertsmith.downstream.adaptation import FORMAT, Adaptation
from bertsmith.downstream.continued import HEAD, Way, budgets
from bertsmith.downstream.domain_texts import DOMAIN, OLD, TASK, Given
from bertsmith.spelling import amount, option
from bertsmith.text import more_words
from bertsmith.text.sources import Source
from bertsmith.training.budget import LENGTHS, Budget
from bertsmith.training.job import silent

TEXT = ("documents", "lines", "field", "encoding", "language", "holdout")
ROWS = ("task", "columns", "header", "encoding")
TUNED = ("task", "train", "dev", "columns", "header", "encoding", "seeds", "seed", "epochs", "threads", "device")
TUNED += ("workers", "allow_unknown", "members", "say", "progress")
SAME = ("keep_share", "objective", "patience", "passages", *TEXT, "task", "header", "seeds", "epochs", "seed", *LENGTHS)


class Adapting:
    """One call of `adapt`, whose arguments are `given`; what is not there yet is made when it is asked for."""

    def __init__(self, given: Mapping[str, Any], budget: Budget, run: Adaptation):
        self.given, self.budget, self.run, self.model, self.say = given, budget, run, given["model"], given["say"]
        self.reading = Given(**{name: given[name] for name in TEXT})
        self.sources: dict[str, tuple[Source, ...]] = {}  # the old text first
        for name, of in ((OLD, given["keep"]), (DOMAIN, given["corpus"])):
            if len(of):
                self.sources[name] = self.reading.listed(of, run.path)
        if given["texts_of"] is not None:
            how = {name: given[name] for name in ROWS}
            self.sources[TASK] = (domain_texts.rows_source(given["texts_of"], **how),)

    @property
    def mixed(self) -> bool:
        """Whether the old text is read, too, and not only measured."""
        return OLD in self.sources and self.given["keep_share"] > 0

    # -- the texts ----------------------------------------------------------------------------------------------------------------------

    @cached_property
    def looked(self) -> dict[str, Any]:
        """{texts, similarity} of what was looked at; while nothing may be written it is not."""
        look = partial(self.reading.looked_at, self.sources, self.given["passages"], self.mixed, self.say)
        return self.run.kept("text/looked-at", look) if self.run.parts.is_dir() else look()

    @cached_property
    def tokenizer(self) -> Path:
        """Where the model's stands."""
        path = folder.located(self.model)
        if folder.is_foreign(path):
            return sentences.home_of(path)
        return path.parent.parent if path.name.startswith("step-") else path

    @cached_property
    def words(self) -> tuple[list[str], dict[str, Any]]:
        """The new words, and what is said of them."""
        asked = more_words.checked(self.given["new_words"], trains=False)
        new = [one for name in (DOMAIN, TASK) for one in self.sources.get(name, ())]
        return domain_texts.words_of(asked, self.tokenizer, self.reading.texts(new))

    @property
    def list_of_words(self) -> Path | None:
        """The file of new words, beside the stores that are made with it."""
        if self.given["new_words"] is None:
            return None
        path = self.run.text("new-words.txt")
        if files.plain(path) is None:
            files.write(path, "".join(f"{word}\n" for word in self.words[0]).encode())
        return path

    def store(self, name: str) -> Any:
        """Of a stage's text, and the old one; a head learns on the first."""
        name = next(n for n in self.stages if n != HEAD) if name == HEAD else name
        old = self.sources[OLD] if self.mixed else ()
        how = (self.reading, self.sources[name], old, self.tokenizer, self.list_of_words)
        how = (*how, self.given["allow_unknown"], self.say)
        return domain_texts.store_of(self.run.text(name), *how)

    # -- the stages ---------------------------------------------------------------------------------------------------------------------

    @cached_property
    def way(self) -> Way:
        texts = self.looked["texts"]
        pairs = all(one["several"] > one["held_out"] / 2 for name, one in texts.items() if name != OLD)
        return Way.of(self.model, self.given["objective"], self.given["set"], pairs, self.say)

    @property
    def stages(self) -> list[str]:
        """In their order."""
        texts = [name for name in (DOMAIN, TASK) if name in self.sources]
        return [HEAD, *texts] if self.way.fresh else texts

    @cached_property
    def learned(self) -> dict[str, Any]:
        """{stage: {steps, tokens, best}}"""
        return self.run.kept("stages/learned", self._learn)

    def _learn(self) -> dict[str, Any]:
        """All stages, one from another; RUN becomes the best step of the last."""
        from bertsmith.training.pretraining import pretrain

        given, begins, new_heads, said = self.given, self.model, self.way.fresh, {}
        work = {name: given[name] for name in ("seed", "workers", "threads", "device", "progress", "say", "patience")}
        for name, budget in budgets(self.budget, self.stages).items():
            (unit, value), *_ = budget.given.items()
            self.say(f"stage {name}: {value:,.4g} {unit}")
            store, path = self.store(name), self.run.stage(name)
            recipe = self.way.stage(name, budget, domain_texts.shares_of(store, given["keep_share"]))
            how = {"from_": begins, "new_heads": new_heads, "watch": domain_texts.watched(store), **budget.given}
            found = pretrain(recipe, store.path, path, resume=path.exists(), **how, **work)
            said[name] = {key: found[key] for key in ("steps", "tokens", "best")}
            begins, new_heads = self.best(name, said), ()
        self.run.become(path, said[name]["best"])
        return said

    def best(self, stage: str, learned: Mapping[str, Any]) -> Path:
        return self.run.stage(stage) / "steps" / f"step-{learned[stage]['best']:08d}"

    # -- what it bought -----------------------------------------------------------------------------------------------------------------

    def measured(self, when: str, model: str | Path) -> dict[str, surprise.Said]:
        """{text: what the model says of its passages}"""
        found, how = {}, {name: self.given[name] for name in ("threads", "members")}
        for name, one in self.looked["texts"].items():
            self.say(f"{when}: {amount(len(one['passages']), 'passage')}, {adapted.NAMES[name]}")
            hear = partial(surprise.heard, model, one["passages"], **how)
            found[name] = self.run.kept(f"measured/{when}-{name}", hear)
        return found

    def tuning(self, when: str, model: str | Path) -> dict[str, Any]:
        """The arguments of `finetune`."""
        options = {name: self.given[name] for name in TUNED} | {"set": self.given["task_set"], "model": model}
        out = self.run.parts / "task" / when
        return {**options, "out": out, "resume": out.exists()}

    def check_task(self) -> None:
        """InputError for rows that cannot be learned from, before anything is done."""
        from bertsmith.downstream.asked import Asked, check_early
        from bertsmith.downstream.finetune import finetune
        from bertsmith.downstream.labelled_files import Rows

        usual = {name: parameter.default for name, parameter in inspect.signature(finetune).parameters.items()}
        asked = Asked.of({**usual, **self.tuning("before", self.model)})
        check_early(asked)
        asked.files.check_apart()
        Rows.read(asked.files, silent)

    def _tuned(self) -> dict[str, Any]:
        """The user's task from the model before and after, held against one another on the dev rows."""
        from bertsmith.downstream.compare import compare
        from bertsmith.downstream.finetune import finetune
        from bertsmith.training.precision import threads_set

        for when, model in (("before", self.model), ("after", self.run.path)):
            self.say(f"{when}: {option('task', self.given['task'])}")
            finetune(**self.tuning(when, model))
        after, before = (self.run.parts / "task" / when for when in ("after", "before"))
        how = {name: self.given[name] for name in ("seed", "members", "say")}
        with threads_set(self.given["threads"]):
            found = compare(after, before, changed=0, **how)
        scores = {"after": found["a"], "before": found["b"], "difference": found["difference"]}
        about = {name: found[name] for name in ("task", "texts", "chosen_by")}
        return {**about, "seeds": found["seeds"]["a"], **scores}

    def result(self) -> dict[str, Any]:
        if not self.run.parts.is_dir():  # what can be refused is, before anything is written
            words = self.words[0] if self.given["new_words"] is not None else []
            domain_texts.check_known(self.looked, self.tokenizer, words, self.given["allow_unknown"])
            _ = self.stages
        self.run.begin(self._asked())
        texts = self.run.kept("text/looked-at", lambda: self.looked)
        if self.given["new_words"] is not None:
            texts["new_words"] = self.run.kept("text/new-words", lambda: self.words[1])
        adapted.tell_texts(texts, self.say)
        stages = self.learned
        begins = self.best(HEAD, stages) if HEAD in stages else self.model
        before, after = self.measured("before", begins), self.measured("after", self.run.path)
        task = self.run.kept("measured/task", self._tuned) if self.given["task"] is not None else None
        share = {"keep_share": self.given["keep_share"]} if OLD in self.sources else {}
        about = {"format": FORMAT, "kind": "adapt", "objective": self.way.name, "fresh": list(self.way.fresh), **share}
        found = about | adapted.of(texts, stages, before, after, task, self.given["seed"])
        for line in adapted.table(found):
            self.say(line)
        return self.run.finish(found)

    def _asked(self) -> dict[str, Any]:
        """What a resumed command must ask again; texts by their content."""
        given, words = self.given, self.given["new_words"]
        found = {name: given[name] for name in SAME}
        found |= {f"text of {name}": domain_texts.digest(sources) for name, sources in self.sources.items()}
        found["new_words"] = words if words is None or isinstance(words, int) else str(words)
        return found | {name: sorted(assignments_of(given[name])) for name in ("set", "task_set")}
