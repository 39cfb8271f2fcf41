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
from typing import Any, ClassVar

import numpy as np

from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, option
from bertsmith.tasks import baselines, breakdown, conll, metrics, outlines, probing
from bertsmith.tasks.conll import Sentences
from bertsmith.tasks.doubts import counted, variants
from bertsmith.tasks.given import Given
from bertsmith.tasks.joined import Joined, parted
from bertsmith.tasks.labels import Labels
from bertsmith.tasks.looks import fitting
from bertsmith.tasks.sequences import Asked, Builder, Encoded, OnLong, Reading, most_context
from bertsmith.tasks.spans import OUTSIDE, PREFIXED, closed, mark_spans, parts, spans
from bertsmith.tasks.table import ROLES

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
    settings: tuple[str, ...] = ()
    embeds: ClassVar[bool] = False
    roles: ClassVar[tuple[str, ...]] = ROLES
    unit: str = "sentences"
    fields: tuple[str, ...] = ("text", "label")
    pair: tuple[str, ...] = ("text",)

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
        """Whatever the reader lets pass can be learned from."""

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
        return {"words": sum(map(len, rows.words)), "entities" if marked else "tags": many}

    def told(self, found: outlines.Outlines) -> Iterator[str]:
        yield from outlines.tags(found, self.unit)
        kinds = found["train"].get("entities", found["train"].get("tags", {}))
        for alike in variants(kinds):
            yield f"warning: train: tags that differ only in case or blanks: {counted({n: kinds[n] for n in alike})}"

    def targets(self, rows: Sentences, labels: Labels) -> Truth:
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
        return Truth(ids=ids, lengths=_lengths(rows))

    def encode(self, tokenizer: Any, rows: Sentences, reading: Reading, pairs: bool | None = None) -> Encoded:
        """The key is (places,): the number of the word that each place is read for."""
        builder = Builder(vocab=tokenizer.vocab, reading=reading, pairs=False)
        counts, room, word, key = Counter(), builder.room, 0, []
        texts = [Joined.of(words) for words in rows.words]
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
        number = np.arange(len(encoded.places)) - np.repeat(encoded.offsets[:-1], encoded.reads)
        return Asked(term=self.term, labels=targets.ids[encoded.key], at=number, each=encoded.reads)

    def objective(self, labels: Labels, dropout: float, pool: str) -> Any:
        from bertsmith.objectives.supervised import Tag

        return Tag(classes=len(labels.names), dropout=dropout)

    def loss(self, encoded: Encoded, asked: Asked, values: Array) -> float:
        return metrics.cross_entropy(values, asked.labels)

    def said(self, encoded: Encoded, rows: Sentences, values: Array) -> Array:
        """(p, c) in the order of the file; a word that was not read has NaN."""
        found = np.full((sum(map(len, rows.words)), values.shape[1]), np.nan, np.float32)
        found[encoded.key] = values
        return found

    def settled(self, targets: Truth, said: Array, labels: Labels) -> Labels:
        return labels

    def best(self, labels: Labels) -> str:
        return "f1" if mark_spans(labels.names) else "accuracy"

    def score(
        self, targets: Truth, said: Array, labels: Labels, seed: int = 0, resamples: int = metrics.RESAMPLES
    ) -> dict[str, metrics.Score]:
        return metrics.tagging(*_counted(targets, said, labels), seed, resamples)

    def figures(self, targets: Truth, said: Array, labels: Labels) -> metrics.Figures:
        return metrics.tag_figures(*_counted(targets, said, labels))

    def breakdown(self, targets: Truth, said: Array, labels: Labels) -> dict[str, Any]:
        """Of spans by their types, and how common the commonest tag is."""
        words = breakdown.of_words(targets.ids, _chosen(said), labels.names)
        if not mark_spans(labels.names):
            return words
        return breakdown.of_spans(*_both_spans(targets, said, labels)) | {"majority": words["majority"]}

    def only(self, said: Array, labels: Labels, targets: Truth | None = None) -> str | None:
        chosen = _chosen(said)
        at = breakdown.only(chosen[chosen >= 0].tolist())
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

    def correct(self, targets: Truth, said: Array, labels: Labels | None = None) -> Array:
        """(s,) the share of each sentence's words that are right."""
        right = np.add.reduceat(_chosen(said) == targets.ids, np.cumsum(targets.lengths) - targets.lengths)
        return right / targets.lengths

    def right(self, targets: Truth, said: Array, labels: Labels) -> Array:
        """(s,) whether all words of a sentence are right."""
        return self.correct(targets, said) == 1

    def near(self, targets: Truth, said: Array, labels: Labels) -> Array:
        """(s,) the mean probability of the true tags, 0 of words that were not read."""
        shares = np.exp(metrics.log_softmax(said))[np.arange(len(said)), targets.ids]
        return np.add.reduceat(np.nan_to_num(shares), np.cumsum(targets.lengths) - targets.lengths) / targets.lengths

    def stated(self, rows: Sentences, i: int, labels: Labels) -> dict[str, Any]:
        return {"text": Joined.of(rows.words[i]).text, "words": rows.words[i], "truth": (rows.tags or [])[i]}

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

    def answer(self, rows: Sentences, said: Array, labels: Labels) -> list[dict[str, Any]]:
        """Of each sentence: its words, their tags, how likely each is, and the spans; None for a word that was not read."""
        ends = np.cumsum(_lengths(rows))
        chosen, shares = np.split(_chosen(said), ends[:-1]), np.exp(metrics.log_softmax(said)).max(1)
        rows_of_shares = np.split(shares, ends[:-1])
        found = []
        for words, ids, likely in zip(rows.words, chosen, rows_of_shares, strict=True):
            tags = [None if i < 0 else labels.names[i] for i in ids.tolist()]
            scores = [None if i < 0 else share for i, share in zip(ids.tolist(), likely.tolist(), strict=True)]
            row = {"label": tags, "scores": scores, "words": words}
            if mark_spans(labels.names):
                text = Joined.of(words)
                row["spans"] = [
                    {"type": kind, "start": a, "end": b, "text": text.part(a, b)} for kind, a, b in spans(tags)
                ]
            found.append(row)
        return found


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
    return np.insert(ids, at[missing], unk), at + np.cumsum(missing) - missing, int(missing.sum())


def _types(tags: list[str]) -> list[str]:
    """Of spans, or the tags themselves."""
    found = [parts(tag) or ("", tag) for tag in tags if tag != OUTSIDE]
    return [kind for _, kind in found]


def _bare(tag: str) -> bool:
    return tag != "O" and (parts(tag) is None or len(tag) == 1)


def _lengths(rows: Sentences) -> Array:
    return np.array([len(words) for words in rows.words])


def _chosen(said: Array) -> Array:
    """(p,) the likeliest tag; -1 where none was read."""
    unread = np.isnan(said[:, 0])
    return np.where(unread, -1, np.where(np.isnan(said), 0, said).argmax(1))


def _counted(targets: Truth, said: Array, labels: Labels) -> tuple[Array, Array, Array | None]:
    """Of each sentence: words that are right, words; spans found, said and true (s, 3), where there are any."""
    right = np.add.reduceat(_chosen(said) == targets.ids, np.cumsum(targets.lengths) - targets.lengths)
    marked = None
    if mark_spans(labels.names):
        both = zip(*_both_spans(targets, said, labels), strict=True)
        marked = np.array([(len(a & b), len(b), len(a)) for a, b in both])
    return right, targets.lengths, marked


def _both_spans(targets: Truth, said: Array, labels: Labels) -> tuple[list[set], list[set]]:
    """Of each sentence the spans that are true, and those that are said."""
    return _spans(targets.ids, targets.lengths, labels), _spans(_chosen(said), targets.lengths, labels)


def _spans(ids: Array, lengths: Array, labels: Labels) -> list[set]:
    names = [*labels.names, None]  # -1 is the last
    return [set(spans([names[i] for i in part.tolist()])) for part in np.split(ids, np.cumsum(lengths)[:-1])]
