"""Mentions in a corpus that are linked to entities, kept in the store with the entities' vectors.

They come from linked text (.jsonl, `{"text": ..., "links": [[start, end, "Q90"], ...]}` in characters, or .ttl, nif.py), whose sentences are
found again in the corpus by their ids, or from a dictionary of mentions (any other file: a mention, a tab, an id a line), each of which is linked wherever
it stands, the longest at each place.  A mention that stands for several entities is left out and counted, and so is an entity without a
vector.  m spans, e entities.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bertsmith.errors import InputError, printable
from bertsmith.spelling import option
from bertsmith.text import nif
from bertsmith.text.annotations import Marked, Span, blocks
from bertsmith.text.entities import NAMES, VECTORS, Entities
from bertsmith.text.lexicon import Lexicon, disjoint
from bertsmith.text.word_list import contents
from bertsmith.text.writer import Row, SplitWriter

if TYPE_CHECKING:
    from bertsmith.text.tokenizer import Tokenizer

Array = np.ndarray
SEVERAL, UNKNOWN = -1, -2  # in place of an entity's number


def checked(links: str | None, vectors: str | None) -> tuple[str, str] | None:
    """Both, or neither.  InputError for one alone, and for a file that is not there, before anything is read."""
    if links is None and vectors is None:
        return None
    if links is None or vectors is None:
        given, other = ("links", "entity_vectors") if vectors is None else ("entity_vectors", "links")
        raise InputError(
            f"{option(given)}: needs {option(other, like='FILE')}; mentions are linked to entities that have vectors"
        )
    if not os.path.isfile(links):
        raise InputError(f"{option('links')}: {printable(links)}: no such file")
    if not os.path.exists(vectors):
        raise InputError(f"{option('entity_vectors')}: {printable(vectors)}: no such file or folder")
    return links, vectors


class LinkedTexts(Marked):
    """Sentences of a linked text; one that stands there with other links keeps those that all of them have."""

    columns: ClassVar[int] = 3

    def __init__(self, path: str, numbers: dict[str, int], tokenizer: Tokenizer, language: str, lines: str):
        self.numbers, self.unknown, self.disagree, self.astray = numbers, 0, set[bytes](), 0
        super().__init__(path, "link", tokenizer, language, lines)
        self.said |= {"ambiguous": len(self.disagree), "across_sentences": self.astray, "unknown": self.unknown}

    def _span(self, found: Any) -> Span:
        begin, end, name = found
        if not isinstance(name, (str, int)):
            raise TypeError
        number = self.numbers.get(str(name), UNKNOWN)
        self.unknown += number == UNKNOWN
        return int(begin), int(end), number

    def _astray(self, where: str, left: list[Span]) -> None:
        self.astray += len(left)

    def _known(self, sentence: bytes, spans: list[Span]) -> None:
        spans = [span for span in spans if span[2] >= 0]
        old = self.spans.get(sentence, spans)
        if old != spans:
            self.disagree.add(sentence)
        super()._known(sentence, [span for span in spans if span in old])


class Mentions(Lexicon):
    """A dictionary of mentions.  What would be ambiguous is found, too, so that no shorter mention is linked inside of it."""

    def __init__(self, meant: dict[str, int], tokenizer: Tokenizer):
        self.numbers, self.meant = list(meant.values()), dict[tuple[int, ...], int]()
        super().__init__(list(meant), tokenizer)
        self.said["without_token"] = self.said.pop("unknown")
        self.said |= {"ambiguous": 0, "unknown": 0}

    @classmethod
    def of(cls, path: str, numbers: dict[str, int], tokenizer: Tokenizer) -> Mentions:
        """InputError naming the line of what is no mention with an id."""
        meant: dict[str, int] = {}
        try:
            lines = contents(path).decode("utf-8-sig").split("\n")
        except UnicodeDecodeError as error:
            raise InputError(f"{printable(path)}: byte {error.start}: not UTF-8") from None
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            mention, _, rest = line.partition("\t")
            name = rest.partition("\t")[0].strip()
            if not (mention.strip() and name):
                raise InputError(f"{printable(path)}:{number}: a mention and an id, parted by a tab, are wanted")
            entity = numbers.get(name, UNKNOWN)
            known = meant.setdefault(mention.strip(), entity)
            meant[mention.strip()] = entity if known == entity else SEVERAL
        if not meant:
            raise InputError(f"{printable(path)}: no mention; a mention, a tab and an id a line")
        return cls(meant, tokenizer)

    def note(self, ids: tuple[int, ...], number: int) -> None:
        entity = self.numbers[number]
        self.meant[ids] = entity if self.meant.get(ids, entity) == entity else SEVERAL  # mentions that differ in case

    def __call__(self, ids: Array, starts: Array, sentences: Array) -> Array:
        spans = disjoint(super().__call__(ids, starts, sentences))
        entity = np.array([self.meant[tuple(ids[a:b].tolist())] for a, b in spans.tolist()], np.int64)
        self.said["ambiguous"] += int((entity == SEVERAL).sum())
        self.said["unknown"] += int((entity == UNKNOWN).sum())
        return np.column_stack([spans, entity.reshape(-1)])[entity >= 0]


def write(
    folder: Path,
    splits: list[SplitWriter],
    given: tuple[str, str],
    tokenizer: Tokenizer,
    language: str,
    lines: str,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Link the closed `splits` of a store that is being written; what its manifest says of it."""
    path, entities = given[0], Entities.read(given[1])
    if path.endswith(".jsonl") or nif.is_at(path):
        find: Any = LinkedTexts(path, entities.numbers, tokenizer, language, lines)
    else:
        find = Mentions.of(path, entities.numbers, tokenizer)
    said: dict[str, Any] = {"mentions": 0, "tokens": 0, "overlapping": 0}
    seen = np.zeros(len(entities.names), bool)
    for writer in splits:
        names = ("link-begins", "<u8"), ("link-ends", "<u8"), ("linked", "<u4")
        rows, before = [Row(folder / f"{writer.name}-{name}.npy", kind) for name, kind in names], 0
        for ids, starts, sentences in blocks(writer.split()):
            stand = find(ids, starts, sentences)
            found = first_of(stand)
            said["overlapping"] += len(stand) - len(found)
            for row, column in zip(rows, (found[:, 0] + before, found[:, 1] + before, found[:, 2]), strict=True):
                row.append(column)
            said["mentions"] += len(found)
            said["tokens"] += int((found[:, 1] - found[:, 0]).sum())
            seen[found[:, 2]] = True
            before += len(ids)
        for row in rows:
            row.close()
    (folder / NAMES).write_bytes("".join(f"{name}\n" for name in entities.names).encode())
    np.save(folder / VECTORS, entities.vectors.astype("<f4"), allow_pickle=False)
    count, width = entities.vectors.shape
    said |= {"entities": int(seen.sum()), "vectors": count, "width": width, "from": os.path.basename(path), **find.said}
    say("links: " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in said.items()))
    if not said["mentions"]:
        say(f"warning: links: nothing of {printable(path)} stands in the corpus and has a vector")
    return said


def first_of(found: Array) -> Array:
    """Of spans (m, 3) that overlap those that a reader from the left takes, the longest at each place; ascending."""
    found = found[np.lexsort([-found[:, 1], found[:, 0]])]
    kept = disjoint(found[:, :2])
    return found[np.searchsorted(found[:, 0], kept[:, 0])]
