"""The answer to a question as a piece of a text, or none.  q questions, w windows, t tokens of a text, k of them in a window.

`[CLS] question [SEP] window [SEP]` (Devlin et al. 2019, sections 4.2 and 4.3, and the released run_squad.py), or [CLS] at the end, where
the question stays in front, too (XLNet's released code has it behind; a causal model would not know it): training sees every window, and where one does not hold the whole answer [CLS] is the answer.  An answer starts in the window where its first token has most
context and is at most LONGEST tokens long; of all of them the one with the highest start + end is said.  No answer is said where the lowest
[CLS] + [CLS] of any window exceeds that by a threshold, which the dev file chooses.  Unlike there, answers are searched among all pairs
of start and end, not among the 20 best of each.  Runs of white space are read as one blank.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, flag, option
from bertsmith.tasks import bad_answers, blanks, metrics, nbest, outlines, squad
from bertsmith.tasks.answer_scores import Scoring, scoring
from bertsmith.tasks.given import Given
from bertsmith.tasks.labels import Labels
from bertsmith.tasks.looks import fitting
from bertsmith.tasks.nbest import BEST, Candidate
from bertsmith.tasks.reading import OnLong, Reading, Wide, most_context
from bertsmith.tasks.sequences import Asked, Builder, Encoded
from bertsmith.tasks.split import linked, plain
from bertsmith.tasks.squad import Questions
from bertsmith.tasks.table import ROLES

Array = np.ndarray
QUESTION = 64  # tokens of a question that are read
LONGEST = 30  # tokens of an answer


@dataclass(frozen=True, kw_only=True)
class Truth:
    """`golds[i]`: the answers to question i, of which there may be none; `places[i]`: [start, end) of the first that stands where its file
    says, in characters of the context; None where there is none or it does not."""

    golds: list[list[str]]
    places: list[tuple[int, int] | None]

    def __len__(self) -> int:
        return len(self.golds)

    @cached_property
    def scoring(self) -> Scoring:
        return scoring(self.golds)

    @property
    def answerable(self) -> Array:
        return np.array([bool(golds) for golds in self.golds])


@dataclass(frozen=True, kw_only=True)
class Views:
    """`characters[c]` (t, 2): what each token of context c stands for; `rows` (w, 4): the context of each window, where in the sequence its
    tokens begin, and which tokens of the context they are, [start, end)."""

    characters: list[Array]
    rows: Array


@dataclass(frozen=True, kw_only=True)
class Said:
    """The best answer to a question, in characters of its context; `score` is start + end, `null` that of no answer.

    `p`, `p_null`: their shares among the best answers and none; `best`: these, the best first.
    """

    text: str
    start: int
    end: int
    score: float
    null: float
    p: float
    p_null: float
    best: tuple[Candidate, ...] = ()

    @property
    def excess(self) -> float:
        return self.null - self.score


@dataclass(frozen=True)
class Answers:
    name: str = "qa"
    units: str = "questions"
    long: OnLong = "window"
    term: str = "span"
    pools: bool = False
    writes: ClassVar[bool] = False
    simple: ClassVar[bool] = False
    settings: tuple[str, ...] = ()
    embeds: ClassVar[bool] = False
    hears: ClassVar[bool] = False
    wide: ClassVar[Wide] = "question"
    roles: ClassVar[tuple[str, ...]] = ROLES
    unit: str = "questions"
    fields: tuple[str, ...] = ("question", "context", "answers", "id", "is_impossible")
    pair: tuple[str, ...] = ("question", "context")

    def read(
        self,
        path: str | Path | Given,
        *,
        columns: Mapping[str, str] | None = None,
        header: bool = True,
        labelled: bool = True,
        pairs: bool | None = None,
        encoding: str = "utf-8",
    ) -> Questions:
        with fitting(path, self.name, encoding):
            if columns:
                raise InputError(
                    f"{option('columns')}: the fields of a SQuAD file have their names; {option('task', 'qa')} takes no others"
                )
            return squad.read(path, labelled=labelled, encoding=encoding)

    def check(self, rows: Questions, part: str) -> None:
        """A training file's questions ask something, and its answers stand where it says."""
        for i, answers in enumerate(rows.answers) if part == "train" else ():
            if not rows.questions[i].strip():
                raise InputError(
                    f"{rows.where(i)}: question: is empty; {option('on_bad_answer', 'skip')} leaves it out"
                )
            for answer in answers[:1]:
                if answer.start is None:
                    at = rows.contexts[rows.about[i]].find(answer.text)
                    shown = printable(repr(answer.text), 60)
                    what = f"{shown} does not stand there, but first at {at}; it counts characters, from 0"
                    if at < 0:
                        what = f"{shown} stands nowhere in its context"
                    raise InputError(
                        f"{rows.where(i)}: answer_start: {what}; {option('on_bad_answer', 'mend', 'skip')} goes on"
                    )

    def mended(self, rows: Questions, how: str) -> Questions:
        return bad_answers.mended(rows, how)

    def learn(self, rows: Questions, names: tuple[str, ...] = ()) -> Labels:
        """Whether a question may have no answer."""
        if names:
            raise InputError(f"labels: {option('task', 'qa')} has answers in a text, not classes")
        if not any(rows.answers):
            raise InputError(f"{printable(rows.path)}: answers: no question has one; there is nothing to learn")
        return Labels(nulls=not all(rows.answers))

    def groupings(self, rows: Questions) -> list[tuple[str, Sequence[Hashable]]]:
        """Questions of an article stay together, or of a text at least."""
        texts = [plain(rows.contexts[i]) for i in rows.about]
        return [(", whole articles", linked([texts, rows.articles])), (", whole texts", texts)]

    def strata(self, rows: Questions) -> tuple[str, Sequence[Hashable]]:
        return "at random", [""] * len(rows)

    def outline(self, rows: Questions, labels: Labels) -> dict[str, Any]:
        return {"texts": len(set(rows.about)), "unanswered": sum(not answers for answers in rows.answers)}

    def told(self, found: outlines.Outlines) -> Iterator[str]:
        yield from outlines.questions(found, self.unit)

    def targets(self, rows: Questions, labels: Labels) -> Truth:
        places = []
        for answers in rows.answers:
            found = next((a for a in answers if a.start is not None), None)
            places.append(found and (found.start, found.start + len(found.text)))
        return Truth(golds=[[a.text for a in answers] for answers in rows.answers], places=places)

    def encode(self, tokenizer: Any, rows: Questions, reading: Reading, pairs: bool | None = None) -> Encoded:
        """Every token is a place; the key is Views.  Windows overlap by a half unless `stride` says otherwise."""
        builder = Builder(vocab=tokenizer.vocab, reading=reading, pairs=True)
        asked = [
            np.asarray(ids, np.int32)
            for ids, _ in tokenizer.encode([blanks.squeezed(text)[0] for text in rows.questions])
        ]
        contexts = blanks.located(tokenizer, rows.contexts)
        most, views, short, apart = min(QUESTION, builder.room // 2), [], 0, 0
        for i, (question, about) in enumerate(zip(asked, rows.about, strict=True)):
            ids, kept = contexts[about][0], question[:most]
            room = builder.room - len(kept)
            apart += len(ids) > room and (reading.stride or 0) > room
            parts = reading.views(len(ids), room, lambda i=i: rows.where(i), stride=room - room // 2)
            for start, end in parts:
                builder.add(i, kept, ids[start:end])
                views.append((about, reading.lead + len(kept) + reading.between, start, end))
            builder.counts["long"] += len(ids) > room
            builder.counts["cut"] += len(ids) - parts[-1][1] + len(question) - len(kept)
            short += len(question) > most
        builder.counts["questions_cut"] = short
        many = amount(len(rows), "question")
        notes: tuple[str, ...] = ()
        if short:
            notes += (f"{short:,} of {many} {'is' if short == 1 else 'are'} cut to {amount(most, 'token')}",)
        if apart and reading.on_long == "window":
            notes += (
                f"stride: {reading.stride}: windows of {apart:,} of {many} are shorter, and follow each other without a gap or an overlap",
            )
        builder.places = [np.arange(len(tokens)) for tokens in builder.tokens]
        key = Views(characters=[characters for _, characters in contexts], rows=np.array(views))
        return builder.encoded(len(rows), notes, key)

    def asked(self, encoded: Encoded, targets: Truth) -> Asked:
        """Start and end of each window; nothing where an answer does not stand where its file says."""
        at, each = [], []
        windows = zip(encoded.owner, encoded.cls.tolist(), encoded.key.rows.tolist(), strict=True)
        for owner, cls, (context, first, start, end) in windows:
            place = targets.places[owner]
            each.append(0 if place is None and targets.golds[owner] else 2)
            if each[-1]:
                tokens = place and _tokens(encoded.key.characters[context], place)
                inside = tokens and start <= tokens[0] and tokens[1] < end
                at += [first + token - start for token in tokens] if inside else [cls, cls]
        labels = np.arange(len(at)) % 2
        return Asked(term=self.term, labels=labels, at=np.array(at, np.int64), each=np.array(each, np.int64))

    def objective(self, labels: Labels, dropout: float, pool: str) -> Any:
        from bertsmith.objectives.supervised import Span

        return Span()

    def loss(self, encoded: Encoded, asked: Asked, values: Array) -> float:
        first, counts = encoded.offsets[:-1], encoded.reads
        shifted = values.astype(np.float64) - np.repeat(np.maximum.reduceat(values, first), counts, axis=0)
        total = np.log(np.add.reduceat(np.exp(shifted), first))
        window = np.repeat(np.arange(len(counts)), asked.each)
        losses = total[window, asked.labels] - shifted[first[window] + asked.at, asked.labels]
        return float(losses.mean()) if len(losses) else float("nan")

    def said(self, encoded: Encoded, rows: Questions, values: Array) -> list[Said]:
        found: list[list] = [[] for _ in range(len(rows))]
        null = np.full(len(rows), np.inf)
        views, parts, cls = encoded.key, np.split(values, encoded.offsets[1:-1]), encoded.cls
        ends = np.searchsorted(encoded.owner, np.arange(len(rows)), side="right")
        for i, (begin, end) in enumerate(zip(np.append(0, ends[:-1]), ends, strict=True)):
            windows = [tuple(row) for row in views.rows[begin:end, 2:].tolist()]
            characters = views.characters[rows.about[i]]
            fullest = most_context(windows, len(characters))
            for number, (start, stop) in enumerate(windows):
                logits, first = parts[begin + number], views.rows[begin + number, 1]
                null[i] = min(null[i], float(logits[cls[begin + number]].sum(dtype=np.float64)))
                inside = logits[first : first + stop - start].astype(np.float64)
                inside[fullest[start:stop] != number, 0] = -np.inf
                found[i] += [(score, a + start, b + start) for score, a, b in _best(inside)]
        return [_said(rows, views, i, sorted(found[i], reverse=True), null[i]) for i in range(len(rows))]

    def settled(self, targets: Truth, said: list[Said], labels: Labels) -> Labels:
        """The threshold with the highest mean F1, as evaluate-v2.0 finds it; 0 where every question has an answer."""
        if not labels.nulls:
            return labels
        answered = np.array(
            [targets.scoring.overlap(s.text, golds) for s, golds in zip(said, targets.golds, strict=True)]
        )
        return Labels(
            nulls=True, threshold=_threshold(answered, ~targets.answerable, np.array([s.excess for s in said]))
        )

    def best(self, labels: Labels) -> str:
        return "f1"

    def score(
        self, targets: Truth, said: list[Said], labels: Labels, seed: int = 0, resamples: int = metrics.RESAMPLES
    ) -> dict[str, metrics.Score]:
        return metrics.answers(*_right(targets, said, labels), targets.answerable, seed, resamples)

    def figures(self, targets: Truth, said: list[Said], labels: Labels) -> metrics.Figures:
        return metrics.answer_figures(*_right(targets, said, labels), targets.answerable)

    def breakdown(self, targets: Truth, said: list[Said], labels: Labels) -> dict[str, Any]:
        return {}

    def only(self, said: list[Said], labels: Labels, targets: Truth | None = None) -> str | None:
        """ "" where no question is answered."""
        given = any(_texts(said, labels)) or (targets is not None and not targets.answerable.any())
        return None if given else ""

    def baseline(
        self, rows: Mapping[str, Questions], targets: Mapping[str, Truth], labels: Labels
    ) -> tuple[str, list[Said]]:
        raise InputError(f"{flag('baseline')}: {option('task', 'qa')} has none; classify, regress and tag have")

    def correct(self, targets: Truth, said: list[Said], labels: Labels | None = None) -> Array:
        """(q,) the F1 of each answer."""
        pairs = zip(_texts(said, labels or Labels()), targets.golds, strict=True)
        return np.array([targets.scoring.overlap(*pair) for pair in pairs])

    def right(self, targets: Truth, said: list[Said], labels: Labels) -> Array:
        """(q,) the exact matches."""
        return _right(targets, said, labels)[0] == 1

    def near(self, targets: Truth, said: list[Said], labels: Labels) -> Array:
        """(q,) the F1 of each answer, by how sure the model is of it."""
        texts = _texts(said, labels)
        sure = [each.p if text else each.p_null for each, text in zip(said, texts, strict=True)]
        return self.correct(targets, said, labels) * np.array(sure)

    def stated(self, rows: Questions, i: int, labels: Labels) -> dict[str, Any]:
        truth = list(dict.fromkeys(answer.text for answer in rows.answers[i]))
        return {"text": rows.questions[i], "context": rows.contexts[rows.about[i]], "id": rows.ids[i], "truth": truth}

    def beside(self, row: dict[str, Any], a: dict[str, Any], b: dict[str, Any]) -> tuple[str, str, str]:
        none, sure = "no answer", [answer["scores"]["answer" if answer["label"] else "none"] for answer in (a, b)]
        one, other = (f"{answer['label'] or none} {p:.2f}" for answer, p in zip((a, b), sure, strict=True))
        return " / ".join(row["truth"]) or none, one, other

    def answer(self, rows: Questions, said: list[Said], labels: Labels) -> list[dict[str, Any]]:
        """Of each question: its id, the answer ("" for none) and where it stands, how likely it and no answer are."""
        found = []
        for name, best, text in zip(rows.ids, said, _texts(said, labels), strict=True):
            place = {"start": best.start, "end": best.end} if text else {"start": None, "end": None}
            found.append({"label": text, "scores": {"answer": best.p, "none": best.p_null}, "id": name, **place})
        return found

    def ranked(self, rows: Questions, said: list[Said], labels: Labels, top: int) -> list[dict[str, Any]]:
        """{"answers": the `top` best, at most BEST} of each question."""
        return [{"answers": nbest.listed(each.null, each.best, labels.nulls, top)} for each in said]


def _tokens(characters: Array, place: tuple[int, int]) -> tuple[int, int] | None:
    """First and last token of the characters [start, end); None where no token stands for any of them."""
    starts, ends = characters.T
    first, last = np.searchsorted(ends, place[0], side="right"), np.searchsorted(starts, place[1], side="left") - 1
    return (int(first), int(last)) if first <= last else None


def _best(logits: Array) -> list[tuple[float, int, int]]:
    """(k, 2) -> the BEST (start + end, start, end) with start <= end < start + LONGEST."""
    count = len(logits)
    if not count:
        return []
    starts, ends = logits.T
    padded = np.append(ends, np.full(LONGEST - 1, -np.inf))
    scores = starts[:, None] + np.lib.stride_tricks.sliding_window_view(padded, LONGEST)
    top = np.argpartition(scores, max(0, scores.size - BEST), axis=None)[-BEST:]
    found = [(float(scores.flat[i]), int(i) // LONGEST, int(i) // LONGEST + int(i) % LONGEST) for i in top]
    return [each for each in found if each[0] > -np.inf]


def _said(rows: Questions, views: Views, i: int, found: list[tuple[float, int, int]], null: float) -> Said:
    best = nbest.distinct(found, views.characters[rows.about[i]], rows.contexts[rows.about[i]])
    if not best:  # the tokenizer leaves nothing of the text
        return Said(text="", start=0, end=0, score=null, null=null, p=0.0, p_null=1.0)
    none, p, *_ = nbest.shares(null, best)
    first = best[0]
    return Said(
        text=first.text, start=first.start, end=first.end, score=first.score, null=null, p=p, p_null=none, best=best
    )


def _right(targets: Truth, said: list[Said], labels: Labels) -> tuple[Array, Array]:
    """(exact, f1) of each answer (q,)."""
    pairs = list(zip(_texts(said, labels), targets.golds, strict=True))
    exact, f1 = (np.array([rule(*pair) for pair in pairs]) for rule in (targets.scoring.exact, targets.scoring.overlap))
    return exact, f1


def _texts(said: list[Said], labels: Labels) -> list[str]:
    return ["" if labels.nulls and each.excess > labels.threshold else each.text for each in said]


def _threshold(answered: Array, none: Array, excess: Array) -> float:
    """`answered` (q,): the F1 of the answer if one is given; `none` (q,): whether there is none; `excess` (q,): null - best.

    The largest sum of F1 over all thresholds that tell two questions apart; of equals the lowest.
    """
    order = np.argsort(excess, kind="stable")
    given = np.append(0, np.cumsum(np.where(none, 0.0, answered)[order]))
    withheld = none.sum() - np.append(0, np.cumsum(none[order]))
    sorted_ = excess[order]
    apart = np.concatenate([[True], sorted_[:-1] < sorted_[1:], [True]])
    best = int(np.argmax(np.where(apart, given + withheld, -1)))
    if best == 0:
        return float(sorted_[0]) - 1.0
    return float(sorted_[best - 1] if best == len(order) else (sorted_[best - 1] + sorted_[best]) / 2)
