"""A tag for each word: names of people and places, parts of speech.  p words in all, c tags, t tokens of a sentence.

The words of a sentence are joined as its script does (joined.py) and encoded as the text they are; the token that holds a word's first
character is read for it (Devlin et al. 2019, section 5.3), and a token that holds those of several words is parted between them.  A word
of which the tokenizer leaves nothing is read as [UNK].  Each word is read once, in the window
where it has most context.  A word that truncation cut off has no tag: said, counted, and wrong wherever its tag is scored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, get_args

import numpy as np

from bertsmith.errors import InputError, printable
from bertsmith.objectives.supervised import CHAINED, FIRST, LAST, Tag, TagHead
from bertsmith.spelling import amount, option
from bertsmith.tasks import baselines, breakdown, chains, conll, doubts, metrics, outlines, probing, schemes
from bertsmith.tasks.chains import Moves
from bertsmith.tasks.conll import Sentences
from bertsmith.tasks.given import Given
from bertsmith.tasks.joined import Joined, parted
from bertsmith.tasks.labels import Labels
from bertsmith.tasks.looks import fitting
from bertsmith.tasks.marked_texts import KEYS
from bertsmith.tasks.reading import OnLong, Reading, Wide, most_context
from bertsmith.tasks.sequences import Asked, Builder, Encoded
from bertsmith.tasks.spans import OUTSIDE, PREFIXED, closed, mark_spans, parts, spans
from bertsmith.tasks.table import ROLES
from bertsmith.tasks.tagged import Said, both_spans, chosen, confidence, counted, shares

Array = np.ndarray


@dataclass(frozen=True, kw_only=True)
class Truth:
    """`ids` (p,): the tag of each word, sentence after sentence, `lengths` (s,) words each."""

    ids: Array
    lengths: Array

    def __len__(self) -> int:
        return len(self.lengths)


@dataclass(frozen=True)
class Tags:
    """Word-level tags.  A tag set of O and B-, I-, E-, S-, all with a type or all without, is scored by its spans, any other by its words."""

    name: str = "tag"
    teaches: ClassVar[str] = "classes"
    units: str = "words"
    long: OnLong = "window"
    term: str = "tag"
    pools: bool = False
    writes: ClassVar[bool] = False
    simple: ClassVar[bool] = True
    settings: tuple[str, ...] = ("head",)
    embeds: ClassVar[bool] = False
    hears: ClassVar[bool] = False
    wide: ClassVar[Wide] = "none"
    roles: ClassVar[tuple[str, ...]] = ROLES
    unit: str = "sentences"
    fields: tuple[str, ...] = ("text", *KEYS, "answer")
    pair: tuple[str, ...] = ("text",)
    head: TagHead = "linear"
    heads: ClassVar[tuple[str, ...]] = get_args(TagHead)
    often: tuple[float, ...] = ()  # the share of each tag in the training file
    allowed: tuple[str, ...] = ()  # of a CRF: what may follow what, by the training file
    moves: Moves | None = None  # and what a model has learned of it

    @property
    def chained(self) -> bool:
        return self.head in CHAINED

    def of_task(self, task: Mapping[str, Any]) -> Tags:
        """As a model was trained."""
        return replace(self, head=(task.get("settings") or {}).get("head", "linear"))

    def weighed(self, targets: Truth, labels: Labels) -> Tags:
        """With how often the training file has each tag, and of a CRF what it says of how they follow one another."""
        often = np.bincount(targets.ids, minlength=len(labels.names)) + 0.5
        allowed = schemes.allowed(labels.names, targets.ids, targets.lengths) if self.chained else ()
        return replace(self, often=tuple((often / often.sum()).tolist()), allowed=allowed)

    def read(
        self,
        path: str | Path | Given,
        *,
        columns: Mapping[str, str] | None = None,
        header: bool = True,
        labelled: bool = True,
        pairs: bool | None = None,
        encoding: str = "utf-8",
    ) -> Sentences:
        with fitting(path, self.name, encoding):
            return conll.read(path, columns=columns, labelled=labelled, encoding=encoding)

    def check(self, rows: Sentences, part: str) -> None:
        """A word has one tag."""
        wrong = [said for said in rows.nested if said]
        if wrong:
            more = f" ({amount(len(wrong), 'row')} have such)" if len(wrong) > 1 else ""
            way = f"; {option('on_bad_answer', 'mend')} takes the longer ones, {option('on_bad_answer', 'skip')} leaves such rows out"
            ours = f"; leave one of the two out, as {option('on_bad_answer')} mends training files alone"
            raise InputError(f"{wrong[0]}; a word has one tag{more}{way if part == 'train' else ours}")

    def mended(self, rows: Sentences, how: str) -> Sentences:
        """Without spans that stand within others or overlap them ("mend"), or the rows that have such; said in a note."""
        wrong = sum(map(bool, rows.nested))
        if not wrong:
            return rows
        if how == "skip":
            rows = rows.picked([i for i, said in enumerate(rows.nested) if not said])
            if not len(rows):
                raise InputError(
                    f"{printable(rows.path)}: label: every row has nested spans; {option('on_bad_answer')} leaves none"
                )
            note = f"{amount(wrong, 'row')} with nested or overlapping spans left out"
        else:
            note = f"{amount(rows.counts['nested'], 'span')} left out, within longer ones or overlapping them"
        note = f"{printable(rows.path)}: {option('on_bad_answer', how)}: {note}"
        return replace(rows, nested=[], notes=[*rows.notes, note])

    def learn(self, rows: Sentences, names: tuple[str, ...] = ()) -> Labels:
        """The tags of the training file; of spans every prefix that it uses on every type."""
        if names:
            self.targets(rows, Labels(names=tuple(names)))
            return Labels(names=tuple(names))
        found = {tag for tags in rows.tags or () for tag in tags}
        if len(found) < 2:
            raise InputError(
                f"{printable(rows.path)}: label: every word says {printable(next(iter(found)))!r}; {option('columns', 'label=N')} says where the tags stand"
            )
        if mark_spans(found):
            return Labels(names=tuple(closed(found)))
        if any(tag[:2] in ("B-", "I-") and parts(tag) for tag in found):
            i, j = next((i, j) for i, tags in enumerate(rows.tags) for j, tag in enumerate(tags) if _bare(tag))
            raise InputError(
                f"{rows.where(i, j)}: label: {printable(rows.tags[i][j], 40)!r} is neither O nor B-, I-, E- or S- with a type, as others here are"
            )
        return Labels(names=tuple(sorted(found)))

    def groupings(self, rows: Sentences) -> list[tuple[str, Sequence[Hashable]]]:
        return [("", rows.inputs())]

    def strata(self, rows: Sentences) -> tuple[str, Sequence[Hashable]]:
        """The rarest type of each sentence."""
        inside = [set(_types(tags)) for tags in rows.tags or ()]
        often = Counter(kind for kinds in inside for kind in kinds)
        return "by tag", [min(sorted(kinds), key=lambda kind: often[kind], default="") for kinds in inside]

    def outline(self, rows: Sentences, labels: Labels) -> dict[str, Any]:
        found: Counter[str] = Counter()
        marked = mark_spans(labels.names)
        for tags in rows.tags or ():
            found.update((kind for kind, _, _ in spans(tags)) if marked else tags)
        names = {found[2]: 0 for found in map(PREFIXED.fullmatch, labels.names) if found} if marked else labels.names
        many = {name: found[name] for name in dict.fromkeys([*names, *found])}
        own, scheme = self.targets(rows, labels), {}
        if marked and rows.tags:
            scheme = schemes.said(labels.names, own.ids, own.lengths)
        return {"words": sum(map(len, rows.words)), "entities" if marked else "tags": many, **scheme}

    def told(self, found: outlines.Outlines) -> Iterator[str]:
        yield from outlines.tags(found, self.unit)
        yield from outlines.mixed(found)
        kinds = found["train"].get("entities", found["train"].get("tags", {}))
        for alike in doubts.variants(kinds):
            named = doubts.counted({n: kinds[n] for n in alike})
            yield f"warning: train: tags that differ only in case or blanks: {named}"

    def targets(self, rows: Sentences, labels: Labels) -> Truth:
        self.check(rows, "")
        known = {name: i for i, name in enumerate(labels.names)}
        ids = np.empty(sum(map(len, rows.words)), np.int64)
        at = 0
        for i, tags in enumerate(rows.tags or ()):
            for j, tag in enumerate(tags):
                if tag not in known:
                    allowed = ", ".join(printable(n, 40) for n in labels.names[:20]) + ", …" * (len(known) > 20)
                    raise InputError(f'{rows.where(i, j)}: label: "{printable(tag, 60)}" is not one of: {allowed}')
                ids[at] = known[tag]
                at += 1
        return Truth(ids=ids, lengths=rows.lengths)

    def encode(self, tokenizer: Any, rows: Sentences, reading: Reading, pairs: bool | None = None) -> Encoded:
        """The key is (places,): the number of the word that each place is read for."""
        builder = Builder(vocab=tokenizer.vocab, reading=reading, pairs=False)
        counts, room, word, key = Counter(), builder.room, 0, []
        texts = [rows.joined(i) for i in range(len(rows))]
        located = parted(tokenizer, texts, tokenizer.located([text.text for text in texts]))
        for i, (words, text, (ids, characters)) in enumerate(zip(rows.words, texts, located, strict=True)):
            ids, at, unknown = _first_tokens(text, ids, characters, tokenizer.vocab.unk)
            views = reading.views(len(ids), room, lambda i=i: rows.where(i))
            window = most_context(views, len(ids))[at]
            for number, (start, end) in enumerate(views):
                own = np.flatnonzero(window == number)
                if len(own):
                    builder.add(i, ids[start:end], places=reading.lead + at[own] - start)
                    key.append(word + own)
            builder.counts["long"] += len(ids) > room
            builder.counts["cut"] += len(ids) - views[-1][1]
            counts += Counter(unread=int((window < 0).sum()), unknown=unknown)
            word += len(words)
        builder.counts |= {"words": word, "unread": counts["unread"], "unknown": counts["unknown"]}
        notes = [f"{counts[what]:,} of {amount(word, 'word')} {said}" for what, said in NOTES.items() if counts[what]]
        return builder.encoded(len(rows), tuple(notes), np.concatenate(key))

    def asked(self, encoded: Encoded, targets: Truth) -> Asked:
        """The tag of each word, of a CRF also whether the word begins or ends its sentence, (m, 2)."""
        number = np.arange(len(encoded.places)) - np.repeat(encoded.offsets[:-1], encoded.reads)
        labels = targets.ids[encoded.key]
        if self.chained:
            ends = np.cumsum(targets.lengths)
            signs = np.isin(encoded.key, ends - targets.lengths) * FIRST + np.isin(encoded.key, ends - 1) * LAST
            labels = np.stack([labels, signs], 1)
        return Asked(term=self.term, labels=labels, at=number, each=encoded.reads)

    def objective(self, labels: Labels, dropout: float, pool: str) -> Any:
        return Tag(classes=len(labels.names), dropout=dropout, head=self.head, allowed=self.allowed, shares=self.often)

    def loss(self, encoded: Encoded, asked: Asked, values: Array) -> float:
        if self.moves is None:
            return metrics.cross_entropy(values, asked.labels)
        reads = encoded.reads[encoded.reads > 0]
        tags, signs = asked.labels.T
        first, last = signs[np.cumsum(reads) - reads] & FIRST, signs[np.cumsum(reads) - 1] & LAST
        return chains.loss(values, tags, reads, self.moves, first > 0, last > 0) / len(tags)

    def said(self, encoded: Encoded, rows: Sentences, values: Array) -> Said:
        """(p, c) in the order of the file, NaN of a word that was not read; of a CRF each sentence decoded as a whole, whatever windows it was
        read in."""
        found = np.full((sum(map(len, rows.words)), values.shape[1]), np.nan, np.float32)
        found[encoded.key] = values
        return found if self.moves is None else chains.decoded(found, rows.lengths, self.moves)

    def settled(self, targets: Truth, said: Said, labels: Labels) -> Labels:
        return labels

    def best(self, labels: Labels) -> str:
        return "f1" if mark_spans(labels.names) else "accuracy"

    def score(
        self, targets: Truth, said: Said, labels: Labels, seed: int = 0, resamples: int = metrics.RESAMPLES
    ) -> dict[str, metrics.Score]:
        return metrics.tagging(*counted(targets.ids, targets.lengths, said, labels), seed, resamples)

    def figures(self, targets: Truth, said: Said, labels: Labels) -> metrics.Figures:
        return metrics.tag_figures(*counted(targets.ids, targets.lengths, said, labels))

    def breakdown(self, targets: Truth, said: Said, labels: Labels) -> dict[str, Any]:
        """Of spans by their types, and how common the commonest tag is."""
        words = breakdown.of_words(targets.ids, chosen(said), labels.names)
        if not mark_spans(labels.names):
            return words
        return breakdown.of_spans(*both_spans(targets.ids, targets.lengths, said, labels)) | {
            "majority": words["majority"]
        }

    def only(self, said: Said, labels: Labels, targets: Truth | None = None) -> str | None:
        ids = chosen(said)
        at = breakdown.only(ids[ids >= 0].tolist())
        return None if at is None or (targets is not None and (targets.ids == at).all()) else labels.names[at]

    def baseline(
        self, rows: Mapping[str, Sentences], targets: Mapping[str, Truth], labels: Labels
    ) -> tuple[str, Array]:
        words = {part: [word for words in found.words for word in words] for part, found in rows.items()}
        return baselines.tags(words["train"], targets["train"].ids, words["dev"], len(labels.names))

    def control(self, rows: Mapping[str, Sentences], targets: Mapping[str, Truth], labels: Labels, seed: int) -> Any:
        """Targets that say nothing but which word it is."""
        words = {part: [word for words in found.words for word in words] for part, found in rows.items()}
        drawn = probing.control(words, targets["train"].ids, len(labels.names), seed)
        return {part: replace(targets[part], ids=ids) for part, ids in drawn.items()}

    def correct(self, targets: Truth, said: Said, labels: Labels | None = None) -> Array:
        """(s,) the share of each sentence's words that are right."""
        right = np.add.reduceat(chosen(said) == targets.ids, np.cumsum(targets.lengths) - targets.lengths)
        return right / targets.lengths

    def right(self, targets: Truth, said: Said, labels: Labels) -> Array:
        """(s,) whether all words of a sentence are right."""
        return self.correct(targets, said) == 1

    def near(self, targets: Truth, said: Said, labels: Labels) -> Array:
        """(s,) the mean probability of the true tags, 0 of words that were not read."""
        true = shares(said)[np.arange(len(said)), targets.ids]
        return np.add.reduceat(np.nan_to_num(true), np.cumsum(targets.lengths) - targets.lengths) / targets.lengths

    def stated(self, rows: Sentences, i: int, labels: Labels) -> dict[str, Any]:
        return {"text": rows.joined(i).text, "words": rows.words[i], "truth": (rows.tags or [])[i]}

    def beside(self, row: dict[str, Any], a: dict[str, Any], b: dict[str, Any]) -> tuple[str, str, str]:
        """Of the words that they tag otherwise; where there is none, of that where they are sure otherwise."""
        sides = [list(zip(answer["label"], answer["scores"], strict=True)) for answer in (a, b)]
        apart = [abs((x or 0) - (y or 0)) for (_, x), (_, y) in zip(*sides, strict=True)]
        other = [j for j, (x, y) in enumerate(zip(a["label"], b["label"], strict=True)) if x != y]
        at = other or [int(np.argmax(apart))]
        one, two = (
            ", ".join("–" if side[j][0] is None else f"{side[j][0]} {side[j][1]:.2f}" for j in at) for side in sides
        )
        return ", ".join(f"{row['words'][j]} {row['truth'][j]}" for j in at), one, two

    def answer(self, rows: Sentences, said: Said, labels: Labels) -> list[dict[str, Any]]:
        """Of each sentence: its words, their tags, how likely each is, and the spans; None for a word that was not read.

        A span has its words and how likely it is that all their tags are right; in a text that was given as one also its characters."""
        ids = chosen(said)
        own = np.take_along_axis(shares(said), np.maximum(ids, 0)[:, None], 1)[:, 0]
        found, first = [], 0
        for i, words in enumerate(rows.words):
            part = slice(first, first + len(words))
            tags = [None if tag < 0 else labels.names[tag] for tag in ids[part].tolist()]
            scores = [None if tag is None else p for tag, p in zip(tags, own[part].tolist(), strict=True)]
            row: dict[str, Any] = {"label": tags, "scores": scores, "words": words}
            if mark_spans(labels.names):
                row["spans"] = [
                    _span(kind, a, b, confidence(said, own, first + a, first + b), rows, i)
                    for kind, a, b in spans(tags)
                ]
            found.append(row)
            first += len(words)
        return found


def _span(kind: str, a: int, b: int, score: float, rows: Sentences, i: int) -> dict[str, Any]:
    text = rows.joined(i)
    row = {"type": kind, "start": a, "end": b, "text": text.part(a, b), "score": score}
    return row if rows.texts is None else row | {"characters": [int(text.begins[a]), int(text.ends[b - 1])]}


NOTES = {
    "unread": "stand beyond the end of what is read: they get no tag, which counts as wrong",
    "unknown": "are nothing to the tokenizer and read as its unknown token",
}


def _first_tokens(text: Joined, ids: Array, characters: Array, unk: int) -> tuple[Array, Array, int]:
    """(tokens (t,), for each word the token that is read for it, how many words got a token of their own because they had none)."""
    begins, lengths = text.begins, text.ends - text.begins
    starts, ends = characters.T
    at = np.searchsorted(ends, begins, side="right")
    missing = np.append(starts, np.iinfo(np.int64).max)[at] >= begins + lengths
    return np.insert(ids, at[missing], unk, axis=0), at + np.cumsum(missing) - missing, int(missing.sum())


def _types(tags: list[str]) -> list[str]:
    """Of spans, or the tags themselves."""
    found = [parts(tag) or ("", tag) for tag in tags if tag != OUTSIDE]
    return [kind for _, kind in found]


def _bare(tag: str) -> bool:
    return tag != "O" and (parts(tag) is None or len(tag) == 1)
