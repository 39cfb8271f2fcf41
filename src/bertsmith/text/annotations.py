"""Phrases and entities of a corpus, kept in the store: one byte for each token says where spans of either level begin and go on.

They come from a lexicon (.txt, an entry a line), from statistics of the corpus itself ("npmi" or "npmi:0.5": neighbours whose normalised
pointwise mutual information is at least that, found by gensim), or from annotated text (.jsonl, `{"text": ..., "phrases": [[start, end], ...],
"entities": [...]}` in characters), whose sentences are found again in the corpus by their ids.  n tokens, k sentences, m spans.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bertsmith.data.levels import LEVELS
from bertsmith.data.ranges import numbers
from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, option
from bertsmith.text import nif
from bertsmith.text.categories import category
from bertsmith.text.lexicon import Lexicon, disjoint
from bertsmith.text.runs import Runs
from bertsmith.text.sentences import split
from bertsmith.text.writer import Row, SplitWriter

Array = np.ndarray

if TYPE_CHECKING:
    from bertsmith.text.store import Split
    from bertsmith.text.tokenizer import Tokenizer

Find = Callable[[Array, Array, Array], Array]  # ids (n,), word starts (n,), sentence offsets (k + 1,) -> spans (m, 2)
FIELDS = {"phrase": "phrases", "entity": "entities", "link": "links"}
Span = tuple[int, ...]  # where it begins and ends, and what else is known of it
THRESHOLD, FEWEST = 0.5, 5  # of a phrase: information, and times that it must stand in the corpus
BLOCK = 1 << 20  # tokens that are looked at together


class Marked:
    """Sentences of an annotated text, found again by their ids.  `columns` of what is found: where it begins and ends, and what else is known."""

    columns: ClassVar[int] = 2

    def __init__(self, path: str, level: str, tokenizer: Tokenizer, language: str, lines: str):
        self.said: dict[str, int] = {"sentences": 0, "without_place": 0}
        self.spans: dict[bytes, list[Span]] = {}
        if lines == "wrapped":
            raise InputError(
                f"{printable(path)}: {option('lines', 'wrapped')} joins lines, so that places in this text mean nothing"
            )
        for where, text, spans in _records(path, FIELDS[level], self._span):
            self._add(where, text, spans, tokenizer, language, lines)

    def _span(self, found: Any) -> Span:
        """One of a record's.  ValueError, TypeError for what is none."""
        begin, end = found
        return int(begin), int(end)

    def _add(self, where: str, text: str, spans: list, tokenizer: Tokenizer, language: str, lines: str) -> None:
        at, left = 0, sorted(spans)
        for line in text.split("\n"):
            paragraph = line.strip()
            runs = Runs(tokenizer.borders)
            places: list[list[Span]] = []  # in the paragraph
            first = text.find(paragraph, at)
            for sentence in runs.add([paragraph] if lines == "sentence" else split(paragraph, language)):
                begin = text.find(sentence, at)
                at = begin + len(sentence)
                places.append([(a - first, b - first, *more) for a, b, *more in left if begin <= a and b <= at])
                left = [span for span in left if span[0] >= at or span[1] > at]
            if any(places):
                self._enter(paragraph, runs, places, tokenizer)
        if left:
            self._astray(where, left)

    def _astray(self, where: str, left: list[Span]) -> None:
        """Spans that are not within one sentence."""
        raise InputError(f"{where}: characters {left[0][0]} to {left[0][1]} are not within one sentence")

    def _enter(self, paragraph: str, runs: Runs, places: list[list[Span]], tokenizer: Tokenizer) -> None:
        """Each sentence as it stands here, and as it would stand at the start of a paragraph and after a space."""
        ids, _, lengths = runs.encoded(tokenizer)
        located, characters = tokenizer.located([paragraph])[0]
        if not np.array_equal(located, ids):
            self.said["without_place"] += sum(map(bool, places))
            return
        at = 0
        cuts = pairwise(np.cumsum([0, *lengths]).tolist())
        for (a, b), spans, sentence in zip(cuts, places, runs.sentences, strict=True):
            first = paragraph.find(sentence, at)
            at = first + len(sentence)
            if spans:
                inner = [(x - first, y - first, *more) for x, y, *more in spans]
                for before, found in zip((0, 1), tokenizer.located([sentence, " " + sentence]), strict=True):
                    self._keep(*found, [(x + before, y + before, *more) for x, y, *more in inner])
                self._keep(ids[a:b], characters[a:b], spans)

    def _keep(self, ids: Array, characters: Array, spans: list[Span]) -> None:
        begin, end = characters.T
        places = [
            (int(np.searchsorted(end, x, "right")), int(np.searchsorted(begin, y)), *more) for x, y, *more in spans
        ]
        self._known(np.asarray(ids, np.int32).tobytes(), [span for span in places if span[0] < span[1]])

    def _known(self, sentence: bytes, spans: list[Span]) -> None:
        """The tokens of these spans in a sentence of such ids."""
        self.spans[sentence] = spans

    def __call__(self, ids: Array, starts: Array, sentences: Array) -> Array:
        found = []
        for a, b in pairwise(sentences.tolist()):
            for begin, end, *more in self.spans.get(ids[a:b].tobytes(), ()):
                found.append((a + begin, a + end, *more))
            self.said["sentences"] += ids[a:b].tobytes() in self.spans
        return np.array(found, np.int64).reshape(-1, self.columns)


class Statistics:
    """Words that stand together more often than chance has it; two rounds, so up to four words."""

    def __init__(self, split: Split, tokenizer: Tokenizer, threshold: float):
        try:
            from gensim.models.phrases import Phrases
        except ImportError:
            raise InputError(f"{option('phrases', 'npmi')}: needs gensim; pip install 'bertsmith[phrases]'") from None
        self.wordy, self.said = wordy(tokenizer), {"threshold": threshold}
        options = {"scoring": "npmi", "threshold": threshold, "min_count": FEWEST, "delimiter": "_"}
        self.rounds = [Phrases(_Sentences(split, self.wordy), **options)]
        self.rounds.append(Phrases(self.rounds[0][_Sentences(split, self.wordy)], **options))

    def __call__(self, ids: Array, starts: Array, sentences: Array) -> Array:
        found = []
        for words, begins in _words(ids, starts, sentences, self.wordy):
            for phrases in self.rounds:
                words = phrases[words]
            at = 0
            for word in words:
                count = word.count("_") + 1
                if count > 1:
                    found.append((begins[at], begins[at + count]))
                at += count
        return np.array(found, np.int64).reshape(-1, 2)


class _Sentences:
    """The runs of words of a split, as often as they are asked for."""

    def __init__(self, split: Split, wordy: Array):
        self.split, self.wordy = split, wordy

    def __iter__(self) -> Iterator[list[str]]:
        for ids, starts, sentences in blocks(self.split):
            for words, _ in _words(ids, starts, sentences, self.wordy):
                yield words


def _words(ids: Array, starts: Array, sentences: Array, wordy: Array) -> Iterator[tuple[list[str], list[int]]]:
    """Each run of words without punctuation: the words as strings of ids, and where they begin, with the end."""
    edges = starts.copy()
    edges[sentences[:-1]] = True
    begins = np.flatnonzero(edges)
    ends = np.append(begins[1:], len(ids)).tolist()
    parts = np.isin(begins, sentences) | ~wordy[ids[begins]]
    names = ids.tolist()
    run: list[str] = []
    at: list[int] = []
    for begin, end, cut in zip(begins.tolist(), ends, parts.tolist(), strict=True):
        if cut and run:
            yield run, at
            run, at = [], []
        if wordy[names[begin]]:
            run.append(".".join(map(str, names[begin:end])))
            at = [*at[:-1], begin, end] if at else [begin, end]
    if run:
        yield run, at


def wordy(tokenizer: Tokenizer) -> Array:
    """(vocab,) bool: tokens that hold a letter or a digit."""
    return np.array([any(category(c)[0] in "LN" for c in token) for token in tokenizer.tokens(range(tokenizer.size))])


def blocks(split: Split) -> Iterator[tuple[Array, Array, Array]]:
    """Whole sentences of a split, about a million tokens at a time: ids, word starts, sentence offsets from 0."""
    first = 0
    while first < len(split.sentences) - 1:
        last = max(int(np.searchsorted(split.sentences, split.sentences[first] + BLOCK, "right")) - 1, first + 1)
        offsets = np.asarray(split.sentences[first : last + 1])
        part = slice(int(offsets[0]), int(offsets[-1]))
        yield split.gather(part), split.starts(part), offsets - offsets[0]
        first = last


def check(options: dict[str, str | None]) -> None:
    """InputError for a source of annotations that cannot be one, before anything is read."""
    for level, source in options.items():
        if source is None or source.partition(":")[0] == "npmi":
            _threshold(level, source or "npmi")
        elif not os.path.isfile(source):
            raise InputError(
                f"{option(FIELDS[level])}: {printable(source)}: no such file; or npmi for the corpus's own statistics"
            )


def finder(level: str, source: str, train: Split, tokenizer: Tokenizer, language: str, lines: str) -> Any:
    if source.partition(":")[0] == "npmi":
        return Statistics(train, tokenizer, _threshold(level, source))
    if Path(source).suffix == ".jsonl":
        return Marked(source, level, tokenizer, language, lines)
    return Lexicon.read(source, tokenizer)


def _threshold(level: str, source: str) -> float:
    number = source.partition(":")[2]
    try:
        value = float(number) if number else THRESHOLD
    except ValueError:
        value = float("nan")
    if not -1 < value < 1:
        raise InputError(
            f"{option(FIELDS[level])}: {printable(source)}: npmi lies between -1 and 1; such as npmi:{THRESHOLD}"
        )
    return value


def marks(finders: dict[str, Find], ids: Array, starts: Array, sentences: Array) -> Array:
    """(n,) uint8, by the bits of LEVELS; spans of a level that overlap are settled by `disjoint`."""
    found = np.zeros(len(ids), np.uint8)
    for level, find in finders.items():
        spans = disjoint(find(ids, starts, sentences))
        begins, inside = (np.uint8(1 << bit) for bit in LEVELS[level])
        found[numbers(spans[:, 0], spans[:, 1])] |= inside
        found[spans[:, 0]] |= begins
    return found


def write(
    folder: Path,
    splits: list[SplitWriter],
    sources: dict[str, str],
    tokenizer: Tokenizer,
    language: str,
    lines: str,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Annotate the closed `splits` of a store that is being written; what its manifest says of it, by level."""
    finders = {level: finder(level, of, splits[0].split(), tokenizer, language, lines) for level, of in sources.items()}
    said: dict[str, Any] = {level: {"spans": 0, "tokens": 0} for level in finders}
    for writer in splits:
        row = SpansRow(folder, writer)
        for ids, starts, sentences in blocks(writer.split()):
            found = marks(finders, ids, starts, sentences)
            row.append(found)
            for level in finders:
                for key, bit in zip(("spans", "tokens"), LEVELS[level], strict=True):
                    said[level][key] += int(np.count_nonzero(found & np.uint8(1 << bit)))
        row.close()
    for level, find in finders.items():
        said[level] |= {"from": os.path.basename(sources[level]), **find.said}
        say(
            f"{FIELDS[level]}: " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in said[level].items())
        )
        if not said[level]["spans"]:
            say(f"warning: {FIELDS[level]}: none of {printable(sources[level])} stands in the corpus")
    return said


class SpansRow:
    """The bytes of a split, in shards as long as those of its ids."""

    def __init__(self, folder: Path, writer: SplitWriter):
        self.left = [len(shard) for shard in writer.split().shards]
        self.rows = [Row(folder / f"{writer.name}-spans-{i:05d}.npy", "|u1") for i in range(len(self.left))]
        self.at = 0

    def append(self, found: Array) -> None:
        while len(found):
            while not self.left[self.at]:
                self.at += 1
            whole = min(len(found), self.left[self.at])
            self.rows[self.at].append(found[:whole])
            self.left[self.at] -= whole
            found = found[whole:]

    def close(self) -> None:
        for row in self.rows:
            row.close()


def _records(path: str, field: str, span: Callable[[Any], Span]) -> Iterator[tuple[str, str, list[Span]]]:
    linked = io.StringIO(nif.jsonl(path)) if field == FIELDS["link"] and nif.is_at(path) else None
    with linked or open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            where = f"{printable(path)}:{number}"
            if not line.strip():
                continue
            try:
                record = json.loads(line)
                text, spans = record["text"], [span(found) for found in record.get(field, [])]
            except (ValueError, TypeError, KeyError, RecursionError, AttributeError):
                each = "[start, end, id]" if field == FIELDS["link"] else "[start, end]"
                raise InputError(f'{where}: expected {{"text": ..., "{field}": [{each}, ...]}}') from None
            for a, b, *_ in spans:
                if not 0 <= a < b <= len(text):
                    raise InputError(
                        f"{where}: {field}: [{a}, {b}] is no part of a text of {amount(len(text), 'character')}"
                    )
            yield where, text, spans
