"""A labelled task, read for one tokenizer and one way of reading: what its feed, its exam and its head are made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bertsmith.downstream.grown import check_encoder_alone
from bertsmith.downstream.labelled_files import Files, Rows, Say
from bertsmith.downstream.tuning import FineTuning
from bertsmith.errors import InputError, printable
from bertsmith.objectives.denoising import Denoising
from bertsmith.objectives.smoothed import Smoothed
from bertsmith.objectives.softened import SOFT, Softened
from bertsmith.objectives.vectors import WRITTEN
from bertsmith.recipe import Recipe
from bertsmith.spelling import amount, option, setting
from bertsmith.tasks import kinds
from bertsmith.tasks.labelled import Labelled
from bertsmith.tasks.labels import Labels
from bertsmith.tasks.reading import Reading
from bertsmith.tasks.sequences import Encoded, say_long
from bertsmith.text import unknown
from bertsmith.text.encodings import is_utf8

if TYPE_CHECKING:
    import torch

    from bertsmith.downstream.dev import Dev


@dataclass(frozen=True, kw_only=True)
class Task:
    kind: kinds.Kind
    known: Labels
    options: FineTuning
    rows: dict[str, Any]  # by part
    targets: dict[str, Any]
    data: dict[str, Encoded]
    about: dict[str, Any]  # what config.json says of it
    sources: dict[str, dict[str, Any]]  # and of its files
    soft: np.ndarray | None = None  # what teachers say of what is asked of the training rows
    tokenizer: Any = None
    beside: Any = None  # what the model's pre-training can ask of the same texts

    @classmethod
    def read(cls, given: Files, tokenizer: Any, recipe: Recipe, options: FineTuning, say: Say) -> Task:
        """InputError naming file and line of what cannot be learned from."""
        return cls.encoded(given, Rows.read(given, say), tokenizer, recipe, options, say)

    @classmethod
    def encoded(cls, given: Files, found: Rows, tokenizer: Any, recipe: Recipe, options: FineTuning, say: Say) -> Task:
        """The same, of rows that were read before."""
        kind, known, rows = found.kind, found.known, found.rows
        how = {"on_long": given.on_long or kind.long, "stride": options.stride}
        reading = Reading.of(recipe, options.length, kind.wide, **how)
        if reading.orders == "both" and not rows["train"].pairs:
            raise InputError(
                f"orders: both: the training file has no pairs; {option('columns', like='text2=NAME')} says where the second texts stand"
            )
        if options.head == "san":
            if not rows["train"].pairs:
                raise InputError(
                    f"head: san: reads pairs, and the training file has none; {option('columns', like='text2=NAME')} says where the second texts stand"
                )
            if reading.marks == "extract":
                raise InputError("head: san: reads texts with a separator between them; leave form=extract out")
        if reading.marks == "extract" and len({tokenizer.vocab.sep, tokenizer.vocab.mask, tokenizer.vocab.cls}) < 3:
            raise InputError(
                "form: extract: the tokenizer has one special token, and a start, a delimiter and an extract token are wanted; leave texts as they are"
            )
        kind = options.of_kind(kind)
        if hasattr(kind, "weighed"):
            kind = kind.weighed(found.targets["train"], known)
        if kind.writes:
            options.check_masks(reading.fills)
            asked: Any = kind if options.mask_rate is None else replace(kind, mask_rate=options.mask_rate)  # type: ignore[type-var]
            kind = asked.fitted(tokenizer, rows["train"], reading, recipe.model, options.target_length)
            if reading.fills:
                say(
                    f"the model writes behind a text by filling masks: {kind.mask_rate:.0%} of a target's tokens, its end among them, are hidden"  # type: ignore[attr-defined]
                )
        if kind.embeds:
            kind = kind.tuned(options, rows["train"], recipe.model.width)  # type: ignore[attr-defined]
            if kind.goal == WRITTEN:  # type: ignore[attr-defined]
                check_encoder_alone(
                    recipe,
                    setting("loss", value=WRITTEN),
                    f"{setting('loss', value='negatives')} learns from texts alone, too",
                )
            for line in kind.learning(rows["train"]):  # type: ignore[attr-defined]
                say(line)
        allow = given.allow_unknown or given.few is not None  # of all rows it was looked at before
        names = {part: printable(read.path) for part, read in rows.items()}
        names["dev"] += " (dev)" * (given.part is not None)
        data = {part: _encoded(tokenizer, kind, read, names[part], reading, allow, say) for part, read in rows.items()}
        if given.few is None:
            _check_lengths(rows["train"], data["train"], reading)
        about = {
            "kind": given.task,
            **known.said(),
            "labels": list(known.names),
            "columns": found.columns,
            "header": given.header,
            **({} if is_utf8(given.encoding) else {"encoding": given.encoding}),
            "pairs": rows["dev"].pairs,
            "length": options.length,
            "on_long": reading.on_long,
            **({} if given.on_bad_answer == "error" else {"on_bad_answer": given.on_bad_answer}),
            **({} if found.soft is None else {"teacher": found.soft.about}),
            **(kind.about() if hasattr(kind, "about") else {}),  # type: ignore[attr-defined]
        }
        return cls(
            kind=kind,
            known=known,
            options=options,
            rows=rows,
            targets=found.targets,
            data=data,
            about=about,
            sources=found.sources,
            soft=None if found.soft is None else found.soft.targets(kind.teaches, known, options.temperature),  # type: ignore[attr-defined]
            tokenizer=tokenizer,
            beside=getattr(recipe.corruption.rewrite, "beside", None),
        )

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Of each part: texts, tokens, long ones, cut tokens, windows."""
        return {part: encoded.counts for part, encoded in self.data.items()}

    def objective(self, asked: Any) -> Any:
        """The head, and its loss.  `asked`: the objective of pre-training, whose summaries have an activation, and whose token head writes."""
        if self.kind.writes:
            return Smoothed.of(asked, self.options.smoothing)
        pooler = getattr(asked, "pooler", "tanh")
        made = self.kind.objective(self.known, self.options.dropout, self.options.pool)
        if isinstance(made, Denoising):  # with the token head of pre-training, where there is one
            made = replace(made, head=next((h for h in getattr(asked, "heads", ()) if h.name == "token"), made.head))
        if self.options.orders != "one":
            made = replace(made, orders=self.options.orders)
        if getattr(made, "san", None) is not None:
            made = replace(made, san=replace(made.san, sep=self.tokenizer.vocab.sep))
        made = replace(made, pooler=pooler) if hasattr(made, "pooler") else made
        if self.soft is None:
            return made
        return Softened(objective=made, hard=self.options.hard, temperature=self.options.temperature)

    @property
    def shares_head(self) -> bool:
        """Whether the head that pre-training asks is all that this asks, in a mixture of both."""
        return self.kind.writes and not self.options.smoothing

    def feed(self, seed: int) -> Labelled:
        asked = self.kind.asked(self.data["train"], self.targets["train"])
        beside = self.beside if self.options.auxiliary else None
        how: dict[str, Any] = {"seed": seed, "batch": self.options.batch, "beside": beside}
        if self.soft is not None:
            truth = self.targets["train"]
            said = self.soft if isinstance(truth, np.ndarray) else replace(truth, ids=self.soft)
            how["soft"] = replace(self.kind.asked(self.data["train"], said), term=SOFT)
            asked = asked.labelled
        if self.options.taught.epochs:
            how |= {"first": self.options.taught.epochs, "everywhere": (*self.options.taught.terms,)}
        return Labelled(encoded=self.data["train"], asked=asked, **how)

    def exam(self, place: torch.device, steps: int, epochs: float = 0, **options: Any) -> Dev:
        """`steps`: updates of an epoch; `options` go to `Dev`."""
        from bertsmith.downstream.dev import Dev

        if self.kind.writes:
            from bertsmith.downstream.written_answers import WrittenDev

            made, options = WrittenDev, {**options, "tokenizer": self.tokenizer}
        else:
            made = Dev
        if self.options.taught.epochs:
            options["begin"] = steps * self.options.taught.epochs
        return made(
            self.kind,
            self.known,
            self.rows["dev"],
            self.targets["dev"],
            self.data["dev"],
            place,
            steps=steps,
            times=self.options.evaluations or 1,
            epochs=epochs,
            **options,
        )


def _encoded(
    tokenizer: Any, kind: kinds.Kind, rows: Any, name: str, reading: Reading, allow: bool, say: Say
) -> Encoded:
    found = kind.encode(tokenizer, rows, reading)
    say_long(found, name, reading, say)
    texts = lambda: unknown.strings([*rows.inputs(), *(rows.rows("label") if kind.writes else ())])
    lost = unknown.of_texts(tokenizer, found.tokens, texts)
    unknown.refuse(lost, name, "take a model that knows its characters", allow or tokenizer.whole_words)
    unknown.tell(lost, name, say)
    return found


def _check_lengths(rows: Any, data: Encoded, reading: Reading) -> None:
    if reading.on_long == "truncate" and data.counts["long"] == data.counts["texts"] > 1:
        raise InputError(
            f"{printable(rows.path)}: every one of its {amount(data.rows, 'text')} is longer than {amount(reading.length, 'token')} and would be cut; "
            f"{option('on_long', 'window')} reads all of them, {setting('length')} takes longer ones"
        )
