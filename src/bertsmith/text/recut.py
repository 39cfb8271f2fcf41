"""A split whose text is cut anew (cutting.py), as it is read in one pass: the same sentences, documents, words and marks, other tokens.

It is a function of the split, the seed and the number of the pass: draws begin with (seed, pass, number of the chunk), so that neither workers
nor a resume change it.  It is made whole when its pass is planned, for layouts count tokens, and stands in memory: two bytes for a token, four in
large vocabularies.  What is unknown, special or added stays as it is.  n tokens, c chunks of a block of sentences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bertsmith.data.draw import hashed
from bertsmith.data.levels import CAPITAL, LEVELS
from bertsmith.data.ranges import within
from bertsmith.data.segmentation import Segmentation
from bertsmith.text.cutting import cutter
from bertsmith.text.starts import BYTES

if TYPE_CHECKING:
    from bertsmith.text.store import Split
    from bertsmith.text.tokenizer import Tokenizer

Array = np.ndarray
BLOCK = 1 << 19  # tokens, of whole sentences, that are cut at once
BEGINS = np.uint8(sum(1 << begins for begins, _ in LEVELS.values()))


@dataclass(frozen=True, eq=False)
class Block:
    """Sentences as they stand in the store."""

    ids: Array  # (n,)
    starts: Array  # (n,) bool
    begins: Array  # (n,) bool: a chunk begins
    noted: Array | None  # (n,) uint8
    capital: Array | None  # (n,) bool
    sentences: Array  # (k,) where each begins


@dataclass(eq=False)
class Recut:
    """What makes the splits of a run: `recut(view)`, of the view that an epoch reads (Corruption.view)."""

    split: Split
    segmentation: Segmentation
    tokenizer: Tokenizer
    seed: int
    _packed: dict[int, Array] = field(default_factory=dict)  # where chunks begin, by the first token of a block
    _made: dict[int, Split] = field(default_factory=dict)

    def __post_init__(self):
        self._cut = cutter(self.segmentation, self.tokenizer)
        self._spaces = self._cut.space
        self._apart = parting(self.tokenizer)

    def __call__(self, view: int) -> Split:
        """The newest two are kept, as plans are."""
        if view not in self._made:
            self._made[view] = self._view(view)
            for old in list(self._made)[:-2]:
                del self._made[old]
        return self._made[view]

    def _view(self, view: int) -> Split:
        split, chunks = self.split, 0
        ids, starts, sizes, noted, capital = ([] for _ in range(5))
        moved, at = [], 0  # (old, new) offsets of chunks, for links
        for place, block in self._blocks():
            old = np.flatnonzero(block.begins)
            keys = hashed(self.seed, "segmentation", (view << 40) + chunks + np.arange(len(old)))
            chunks += len(old)
            made, counts = self._new(block, old, keys)
            first = np.cumsum(counts) - counts
            ids.append(made.astype(split.shards[0].dtype))
            starts.append(self._starts(block, old, made, counts))
            sizes.append(np.diff(np.append(first, len(made))[np.searchsorted(old, block.sentences)], append=len(made)))
            if block.noted is not None:
                marks = np.repeat(block.noted[old], counts)
                marks[within(counts) > 0] &= ~BEGINS
                noted.append(marks)
            if block.capital is not None:
                capital.append(np.repeat(block.capital[old], counts))
            if split.links is not None:
                moved.append(np.stack([old + place, first + at]))
            at += len(made)
        return self._split(ids, starts, sizes, noted, capital, moved, at)

    def _split(self, ids: Any, starts: Any, sizes: Any, noted: Any, capital: Any, moved: Any, total: int) -> Split:
        split = self.split
        shards = lambda parts: [
            np.concatenate(parts)[i : i + split.shard] for i in range(0, max(1, total), split.shard) if parts
        ]
        links = split.links
        if links is not None and moved:
            old, new = (
                np.append(row, end) for row, end in zip(np.concatenate(moved, 1), (split.count, total), strict=True)
            )
            found = {name: new[np.searchsorted(old, getattr(links, name))] for name in ("begin", "end")}
            links = replace(links, **found)
        return replace(
            split,
            shards=tuple(shards(ids)) or split.shards,
            packed=tuple(map(np.packbits, shards(starts))) or split.packed,
            sentences=np.cumsum(np.concatenate([np.zeros(1, np.int64), *sizes])),
            noted=tuple(shards(noted)) if split.noted else (),
            capital=tuple(map(np.packbits, shards(capital))) if split.capital else (),
            links=links,
        )

    def _blocks(self) -> Iterator[tuple[int, Block]]:
        """With the place of the first token of each."""
        sentences, at = np.asarray(self.split.sentences), 0
        while at < len(sentences) - 1:
            last = max(at + 1, int(np.searchsorted(sentences, sentences[at] + BLOCK, "right")) - 1)
            place = slice(int(sentences[at]), int(sentences[last]))
            yield place.start, self._block(place, sentences[at:last] - place.start)
            at = last

    def _block(self, place: slice, sentences: Array) -> Block:
        split, here = self.split, np.arange(place.start, place.stop)
        ids = split.gather(place)
        noted = split.annotations(here) & ~CAPITAL if split.noted else None
        capital = split.capitals(here) if split.capital else None
        known = self._packed.get(place.start)
        if known is None:
            begins = self._begins(ids, sentences, noted, capital)
            if split.links is not None:
                for bounds in (split.links.begin, split.links.end):
                    begins[bounds[(bounds >= place.start) & (bounds < place.stop)] - place.start] = True
            self._packed[place.start] = known = np.packbits(begins)
        begins = np.unpackbits(known, count=len(ids)).astype(bool)
        return Block(ids, split.starts(place), begins, noted, capital, sentences)

    def _begins(self, ids: Array, sentences: Array, noted: Array | None, capital: Array | None) -> Array:
        """(n,) bool: what stands there is cut without a look at what stands before."""
        begins = self._apart(ids, sentences)
        fixed = self._cut.symbols.size[ids] == 0
        begins |= fixed
        begins[1:] |= fixed[:-1]
        begins[sentences[sentences < len(ids)]] = True
        if noted is not None:
            begins |= (noted & BEGINS > 0) | (np.diff(noted & ~BEGINS, prepend=noted[:1]) != 0)
        if capital is not None:
            begins[1:] |= capital[1:] != capital[:-1]
        return begins

    def _new(self, block: Block, old: Array, keys: Array) -> tuple[Array, Array]:
        """The tokens of all chunks, and how many each has (c,)."""
        sizes = np.diff(np.append(old, len(block.ids)))
        moves = np.add.reduceat(self._cut.symbols.size[block.ids], old) > 1 if len(old) else np.zeros(0, bool)
        some = np.repeat(moves, sizes)
        made, counts = self._cut(block.ids[some], sizes[moves], keys[moves])
        total = sizes.copy()
        total[moves] = counts
        ids = np.empty(int(total.sum()), np.int32)
        of = np.repeat(moves, total)
        ids[of], ids[~of] = made, block.ids[~some]
        return ids, total

    def _starts(self, block: Block, old: Array, made: Array, counts: Array) -> Array:
        """(m,) bool: where words start in the tokens `made`.  By the tokens where they tell (starts.py), which is seen by what they tell of the
        old ones; elsewhere a new token starts a word where it holds the symbol with which an old one did."""
        table, symbols = self.tokenizer.table, self._cut.symbols
        ruled = table.starts(block.ids, block.sentences[block.sentences < len(block.ids)])
        odd = np.add.reduceat((ruled != block.starts) | table.irregular[block.ids], old) > 0
        first = np.append(np.cumsum(counts) - counts, len(made))
        sentences = first[np.searchsorted(old, block.sentences[block.sentences < len(block.ids)])]
        found = table.starts(made, sentences)
        odd |= np.add.reduceat(table.irregular[made], first[:-1]) > 0
        if odd.any():
            length = lambda ids: np.maximum(symbols.size[ids], 1)
            behind = np.cumsum(length(block.ids))
            marks = np.zeros(int(behind[-1]) + 1, np.int64)
            shift = (symbols.size[block.ids] > 1) & (symbols.first[block.ids] == self._spaces)
            marks[(behind - length(block.ids) + shift)[block.starts] + 1] = 1
            marks = np.cumsum(marks)
            ends = np.cumsum(length(made))
            held = marks[ends] > marks[ends - length(made)]
            found = np.where(np.repeat(odd, counts), held, found)
        return found


def parting(tokenizer: Tokenizer) -> Callable[[Array, Array], Array]:
    """f(ids (n,), where sentences begin (k,)): (n,) bool, what no token of this tokenizer would reach across."""
    names = tokenizer.tokens(range(tokenizer.size))
    if tokenizer.scheme == "bytes":
        return _OfBytes(tokenizer, names)
    if tokenizer.scheme == "space":
        opens = np.array([name.startswith("▁") for name in names])
        return lambda ids, sentences: opens[ids]
    closes = np.array([name.endswith("</w>") for name in names])
    return lambda ids, sentences: np.append(True, closes[ids[:-1]])[: len(ids)]


class _OfBytes:
    """Where the pattern of a byte-level tokenizer parts a text, which its tokens by themselves do not show."""

    def __init__(self, tokenizer: Tokenizer, names: list[str]):
        self._names, self._words = names, tokenizer.patterns
        self._letters = str.maketrans({letter: chr(byte) for letter, byte in BYTES.items()})
        self._length = np.array([len(name) for name in names], np.int64)

    def __call__(self, ids: Array, sentences: Array) -> Array:
        ends = np.cumsum(self._length[ids])
        at = ends - self._length[ids]
        begins = np.zeros(len(ids), bool)
        for first, last in zip(sentences.tolist(), [*sentences[1:].tolist(), len(ids)], strict=True):
            text = "".join([self._names[i] for i in ids[first:last].tolist()]).translate(self._letters)
            try:
                parts = self._words(text.encode("latin-1").decode())
            except UnicodeError:  # an added token, or part of a character: it is left as it is
                begins[first:last] = True
                continue
            if first < last:
                bounds = at[first] + np.cumsum([0, *map(len, parts)])[:-1]
                places = np.searchsorted(at[first:last], bounds)
                whole = places < last - first
                agree = whole.all() and (at[first:last][places] == bounds).all()
                begins[first + places if agree else slice(first, last)] = True
        return begins
