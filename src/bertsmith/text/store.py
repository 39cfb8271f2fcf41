"""The token store: memory-mapped ids and word starts, sentence and document offsets, a manifest with hashes.

A folder of plain .npy files (little endian, no objects), the same bytes for the same text and options:

    manifest.json                 format, counts, account, tokenizer and its roles, options, files with bytes and SHA-256, its own seal
    tokenizer.json                what `tokenizers` reads
    unigrams.npy                  (vocab,) int64: how often each token stands in the training split
    train-00000.npy, ...          (<= 2**27,) uint16, or uint32 from 65536 tokens on: the ids, sentence after sentence
    train-starts-00000.npy, ...   uint8: one bit for each id of the shard of that number, first bit highest: a word starts here
    train-spans-00000.npy, ...    uint8, only where `prepare` was given phrases or entities: which of them a token belongs to (data/levels.py)
    train-capitals-00000.npy, ... uint8, only where `prepare` was told to: one bit for each id, a word that begins with a capital letter
    hashes.npy                    (h,) uint64, ascending, only where `prepare` was told to: what pages are known by, for text that is added later
    entities.txt, vectors.npy     only where `prepare` was given links: the names of entities, a line each, and (e, w) float32, the vector of each
    train-link-begins.npy, -link-ends.npy, -linked.npy   (l,) uint64, uint64, uint32: the tokens of each linked mention, and its entity's number
    train-sentences.npy           (k + 1,) uint64: token offset of each sentence; the last entry is the number of tokens
    train-documents.npy           (d + 1,) uint64: sentence offset of each document; the last entry is the number of sentences
    held-out-...                  the same for the documents that training never sees

A store that grew (`prepare --append`, format 2) has the old shards as they were and the new ones behind them: any shard may be shorter.
"""

import os
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bertsmith import files
from bertsmith.data.batch import Vocab
from bertsmith.data.levels import CAPITAL
from bertsmith.errors import InputError, printable
from bertsmith.spelling import option
from bertsmith.text.checking import LATER, Checking
from bertsmith.text.multilingual import ByLanguage, Part, Stretch

if TYPE_CHECKING:
    from bertsmith.text.tokenizer import Tokenizer

FORMAT = 2  # a store that grew, whose shards are as they come; all others say 1
SHARD = 1 << 27  # tokens; a multiple of 8, so that no byte of word starts spans two shards
LARGE = 4_000_000_000  # bytes of a store from which on it is said that checking them takes time
HASHED = 1e9  # bytes a second, about
SPLITS = ("train", "held-out")
ROLES = ("pad", "unk", "cls", "sep", "mask")
_OURS = re.compile(
    r"manifest\.json|tokenizer\.json|special_tokens_map\.json|unigrams\.npy|hashes\.npy|entities\.txt|vectors\.npy|(train|held-out)-(link-begins|link-ends|linked)\.npy|(train|held-out)-(starts-|spans-|capitals-)?\d{5}\.npy|(train|held-out)-(sentences|documents)\.npy"
)


def ours(name: str) -> bool:
    """Whether a store holds a file of this name."""
    return _OURS.fullmatch(name) is not None


@dataclass(frozen=True, kw_only=True, eq=False)
class Links:
    """Mentions of a split that are linked to entities, ascending and disjoint."""

    begin: np.ndarray  # (l,) int64 token offsets
    end: np.ndarray  # (l,)
    entity: np.ndarray  # (l,) numbers of `names`
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """One side of a store.  Tokens are numbered through all shards; so are sentences and documents."""

    shards: tuple[np.ndarray, ...]  # ids, memory-mapped
    packed: tuple[np.ndarray, ...]  # word starts, eight to a byte
    sentences: np.ndarray  # (k + 1,) int64 token offsets
    documents: np.ndarray  # (d + 1,) int64 sentence offsets
    shard: int = SHARD
    noted: tuple[np.ndarray, ...] = ()  # annotations, a byte for each token
    levels: tuple[str, ...] = ()  # of the annotations: phrase, entity
    capital: tuple[
        np.ndarray, ...
    ] = ()  # of words that begin with a capital letter, eight to a byte; () where nobody looked
    spelled: Callable[[str], list[list[int]]] | None = None  # the ids that a text may have in it
    languages: tuple[Stretch, ...] = ()  # in the order of the documents, where the sources were named by theirs
    links: Links | None = None

    @cached_property
    def count(self) -> int:
        """Tokens of the split."""
        return int(self.edges[-1])

    @cached_property
    def edges(self) -> np.ndarray:
        """(shards + 1,) int64: the first token of each shard, and the end."""
        return np.concatenate([[0], np.cumsum([len(ids) for ids in self.shards], dtype=np.int64)])

    @cached_property
    def even(self) -> bool:
        """Whether all shards but the last are full; those of a blend (blend.py) are as they come."""
        return all(len(ids) == self.shard for ids in self.shards[:-1])

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """Each language that has text here."""
        return tuple(Part(self, stretch) for stretch in self.languages if stretch.last > stretch.first)

    def in_sections(self, layout: Any) -> Any:
        """As a layout plans it where it is too large to be planned at once (sections.py), else None."""
        from bertsmith.text.sections import sections_of

        return sections_of(self, layout)

    def gather(self, indices: np.ndarray | slice) -> np.ndarray:
        """The ids of these tokens, int32; of a (contiguous) slice or an array of indices, in their order.  IndexError outside the split."""
        if isinstance(indices, slice):
            parts = [self.shards[i][a:b] for i, a, b in self._slices(indices)]
            return np.concatenate(parts).astype(np.int32) if len(parts) != 1 else parts[0].astype(np.int32)
        indices = self._checked(indices)
        if len(self.shards) == 1:
            return self.shards[0].take(indices).astype(np.int32)
        out = np.empty(len(indices), np.int32)
        for i, here, places in self._by_shard(indices):
            out[here] = self.shards[i][places]
        return out

    def starts(self, indices: np.ndarray | slice) -> np.ndarray:
        """Whether a word starts at these tokens, bool."""
        if isinstance(indices, slice):
            parts = []
            for i, a, b in self._slices(indices):
                bits = np.unpackbits(self.packed[i][a >> 3 : (b + 7) >> 3])
                parts.append(bits[a & 7 : (a & 7) + b - a])
            return np.concatenate(parts).astype(bool)
        return self._marked(self.packed, self._checked(indices))

    def capitals(self, indices: np.ndarray) -> np.ndarray:
        """Whether these tokens are of words that begin with a capital letter, bool."""
        return self._marked(self.capital, self._checked(indices))

    def _marked(self, packed: tuple[np.ndarray, ...], indices: np.ndarray) -> np.ndarray:
        if len(self.shards) == 1:
            return _bits(packed[0], indices)
        out = np.empty(len(indices), bool)
        for i, here, places in self._by_shard(indices):
            out[here] = _bits(packed[i], places)
        return out

    def annotations(self, indices: np.ndarray) -> np.ndarray:
        """What the annotations say of these tokens, uint8."""
        indices = self._checked(indices)
        out = np.zeros(len(indices), np.uint8)
        for i, here, places in self._by_shard(indices) if self.noted else ():
            out[here] = self.noted[i][places]
        return out | self.capitals(indices) * CAPITAL if self.capital else out

    @property
    def annotated(self) -> bool:
        """Whether there is anything that `annotations` could say."""
        return bool(self.levels or self.capital)

    def _checked(self, indices: np.ndarray) -> np.ndarray:
        indices = np.asarray(indices)
        if indices.dtype.kind not in "iu":
            indices = indices.astype(np.int64)
        if len(indices) and not (0 <= indices.min() and indices.max() < self.count):
            raise IndexError(f"tokens {indices.min()} to {indices.max()} of a split of {self.count}")
        return indices

    def _by_shard(self, indices: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        found = indices // self.shard if self.even else np.searchsorted(self.edges, indices, "right") - 1
        which = found.astype(np.uint16)
        order = np.argsort(which, kind="stable")  # of 16 bits: a radix sort
        ends = np.cumsum(np.bincount(which, minlength=len(self.shards)))
        for i in np.flatnonzero(np.diff(ends, prepend=0)).tolist():
            here = order[ends[i - 1] if i else 0 : ends[i]]
            yield i, here, indices[here] - self.edges[i]

    def _slices(self, part: slice) -> list[tuple[int, int, int]]:
        start, stop, step = part.indices(self.count)
        if step != 1:
            raise ValueError("a slice of tokens has step 1; pass an array of indices")
        edges = self.edges.tolist()
        first, last = (bisect_right(edges, place) - 1 for place in (start, max(start, stop - 1)))
        inside = [
            (i, max(start - edges[i], 0), min(stop, edges[i + 1]) - edges[i])
            for i in range(first, min(last + 1, len(self.shards)))
        ]
        return [(i, a, max(a, b)) for i, a, b in inside] or [(0, 0, 0)]


def _bits(packed: np.ndarray, indices: np.ndarray) -> np.ndarray:
    place = indices.astype(np.uint8) & np.uint8(7)  # the lowest bits outlive the cast
    return (packed.take(indices >> 3) << place & np.uint8(128)) != 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Store:
    """An opened store; nothing of it is in memory but what is read."""

    path: Path
    manifest: dict[str, Any]
    digest: str  # SHA-256 of manifest.json, and so of everything
    vocab: Vocab
    unigrams: np.ndarray  # (size,) int64, of the training split
    train: Split
    held_out: Split
    vectors: np.ndarray | None = None  # (e, w) float32 of the entities that it is linked to
    checking: tuple[Checking, ...] = ()  # what is not known yet to be as written
    blend: tuple[dict[str, Any], ...] = ()  # of several that are read as one, what they are (blend.py)
    shares: tuple[
        float, ...
    ] = ()  # of what is read, one for each language of the training split, where they were asked for

    @classmethod
    def open(
        cls,
        path: str | Path,
        verify: bool | Literal["later"] = True,
        say: Callable[[str], None] = lambda line: None,
    ) -> "Store":
        """Check a store against its manifest, then map it.  InputError naming the file that is not as written.

        `verify=False` trusts the hashes (sizes are checked all the same: reading a mapped file that is too short kills the process); "later"
        checks those of a large store in a thread, whose end `checking` waits for.
        `say` is told beforehand where that takes longer than a moment.
        """
        path = Path(path)
        manifest = verified(path, verify, say)
        checking = _begun(path, manifest["files"], say) if verify == "later" else ()
        where = printable(path / files.MANIFEST)
        splits: dict[str, Split] = {}

        def spelling(text: str) -> list[list[int]]:
            return made.tokenizer.spelled(text)

        levels = tuple(_field(manifest, "annotations", where=where)) if "annotations" in manifest else ()
        names, vectors = _entities(path) if "links" in manifest else ((), None)
        for name in SPLITS:
            counts = _field(manifest, "splits", name, where=where)
            numbers = range(_count(counts, "shards", where))
            split = Split(
                shards=tuple(_map(path, f"{name}-{i:05d}.npy", "u") for i in numbers),
                packed=tuple(_map(path, f"{name}-starts-{i:05d}.npy", "u") for i in numbers),
                sentences=_map(path, f"{name}-sentences.npy", "u").view(np.int64),
                documents=_map(path, f"{name}-documents.npy", "u").view(np.int64),
                shard=_count(manifest, "shard", where),
                noted=tuple(_map(path, f"{name}-spans-{i:05d}.npy", "u") for i in numbers if levels),
                levels=levels,
                capital=tuple(_map(path, f"{name}-capitals-{i:05d}.npy", "u") for i in numbers if _told(manifest)),
                spelled=spelling,
                languages=_stretches(manifest, name, _count(counts, "documents", where), where),
                links=None if vectors is None else _links(path, name, names),
            )
            _agree(split, counts, path / f"{name}-sentences.npy", grown=manifest["format"] > 1)
            splits[name] = split
        unigrams = np.array(_map(path, "unigrams.npy", "i"))
        vocab = _vocab(manifest, where)
        if len(unigrams) != vocab.size:
            raise InputError(
                f"{printable(path / 'unigrams.npy')}: {len(unigrams)} counts for a vocabulary of {vocab.size}"
            )
        vocab = vocab.counted(unigrams)
        vocab = vocab if vectors is None else vocab.linked(*vectors.shape)
        digest = files.sha256(path / files.MANIFEST)
        made = cls(
            path=path,
            manifest=manifest,
            digest=digest,
            vocab=vocab,
            unigrams=unigrams,
            train=splits["train"],
            held_out=splits["held-out"],
            vectors=vectors,
            checking=checking,
        )
        return made

    def laid(self, layout: Any, smoothing: float = 1.0, lenient: bool = False, portions: tuple[float, ...] = ()) -> Any:
        """A layout as it reads this store: of several languages each by itself (multilingual.py)."""
        if self.shares and (portions or smoothing != 1):
            name = "training.shares" if portions else "training.smoothing"
            raise InputError(f"{name}: {option('data')} says the share of each store already; one of the two")
        portions = portions or (() if lenient else self.shares)
        if portions and not self.train.languages:
            raise InputError(
                f"training.shares: {printable(self.path)} has no languages that they could be of; `prepare en=FILE …` names some"
            )
        return ByLanguage(layout, smoothing, lenient, portions) if self.train.languages else layout

    def recut(self, segmentation: Any, seed: int) -> Callable[[int], Any] | None:
        """The training text as each view of a run has it; None where all have it as it stands here."""
        from bertsmith.text.recut import Recut

        return Recut(self.train, segmentation, self.tokenizer, seed) if segmentation.draws else None

    @cached_property
    def tokenizer(self) -> "Tokenizer":
        from bertsmith.text.tokenizer import Tokenizer

        return Tokenizer.load(self.path)

    def unigram_entropy(self) -> float:
        """Nats per token of the training split, each token on its own: the loss of a model that has learned nothing but frequencies."""
        counts = self.unigrams[self.unigrams > 0].astype(np.float64)
        p = counts / counts.sum()
        return float(-(p * np.log(p)).sum()) if len(counts) else 0.0

    def prospects(self) -> dict[str, float]:
        """What is lost without a look at the context."""
        return {"unigram_entropy": self.unigram_entropy()}


def verified(
    path: str | Path, hashes: bool | Literal["later"] = True, say: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """The manifest of a store whose every file is as written; InputError naming the first that is not.  `bertsmith verify` calls it.

    Every file is read and hashed each time: a disk that forgets a bit changes no date, so there is nothing that could be remembered.
    """
    path = Path(path)
    manifest = files.read_manifest(path, "store", FORMAT)
    listed = manifest.get("files")
    files.check(path, listed, hashes=False)
    size = sum(expected["bytes"] for expected in listed.values())
    hashes = size < LATER if hashes == "later" else hashes
    if hashes and size >= LARGE:
        say(
            f"checking the {size / 1e9:,.1f} GB of {printable(path)} against its manifest: about {size / HASHED:,.0f} s"
        )
    if hashes:
        files.check(path, listed)
    for name in sorted(os.listdir(path)):
        if ours(name) and name != files.MANIFEST and name not in listed:
            raise InputError(
                f"{printable(path / name)}: not listed in {files.MANIFEST}; it does not belong to this store"
            )
    return manifest


def _begun(path: Path, listed: dict[str, Any], say: Callable[[str], None]) -> tuple[Checking, ...]:
    """What checks a large store; () for one that is checked."""
    size = sum(expected["bytes"] for expected in listed.values())
    if size < LATER:
        return ()
    say(
        f"checking the {size / 1e9:,.1f} GB of {printable(path)} against its manifest meanwhile: nothing is saved before"
    )
    return (Checking(path, listed),)


def verify(path: str | Path) -> dict[str, Any]:
    """Everything that `Store.open` checks, and that every id is in the vocabulary.  Returns {"files": n, "bytes": n}."""
    store = Store.open(path)
    for name, split in zip(SPLITS, (store.train, store.held_out), strict=True):
        for i, ids in enumerate(split.shards):
            if len(ids) and int(ids.max()) >= store.vocab.size:
                where = printable(store.path / f"{name}-{i:05d}.npy")
                raise InputError(f"{where}: token {int(ids.max())} is not in a vocabulary of {store.vocab.size}")
    listed = store.manifest["files"]
    return {"kind": "store", "files": len(listed) + 1, "bytes": sum(file["bytes"] for file in listed.values())}


def _entities(folder: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """Names, and a vector of each."""
    vectors = _map(folder, "vectors.npy", "f", 2)
    names = tuple((folder / "entities.txt").read_text(encoding="utf-8").split("\n")[:-1])
    if len(names) != len(vectors):
        raise InputError(f"{printable(folder / 'entities.txt')}: {len(names):,} names for {len(vectors):,} vectors")
    return names, vectors


def _links(folder: Path, split: str, names: tuple[str, ...]) -> Links:
    begin, end = (_map(folder, f"{split}-link-{part}.npy", "u").view(np.int64) for part in ("begins", "ends"))
    entity = _map(folder, f"{split}-linked.npy", "u")
    if not len(begin) == len(end) == len(entity) or (len(entity) and int(entity.max()) >= len(names)):
        raise InputError(f"{printable(folder / f'{split}-linked.npy')}: does not fit the other files of its links")
    return Links(begin=begin, end=end, entity=entity, names=names)


def _map(folder: Path, name: str, kind: str, dimensions: int = 1) -> np.ndarray:
    path = folder / name
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{printable(path)}: missing") from None
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise InputError(f"{printable(path)}: not a plain .npy file: {printable(error)}") from None
    if array.ndim != dimensions or array.dtype.kind != kind or not array.dtype.isnative:
        wanted = "row of integers" if dimensions == 1 else "table of floats"
        raise InputError(f"{printable(path)}: expected a plain {wanted}, found {array.dtype} {array.shape}")
    return np.asarray(array)  # a plain view of the mapped file: indexing a np.memmap costs more


def _agree(split: Split, counts: dict, where: Path, grown: bool) -> None:
    wanted = {
        "tokens": split.count,
        "sentences": len(split.sentences) - 1,
        "documents": len(split.documents) - 1,
    }
    for name, found in wanted.items():
        if counts.get(name) != found:
            raise InputError(
                f"{printable(where.parent / files.MANIFEST)}: {name}: says {counts.get(name)!r}, the files hold {found}"
            )
    full = split.even or (grown and all(len(ids) <= split.shard for ids in split.shards))
    bits = all(len(ids) + 7 >> 3 == len(packed) for ids, packed in zip(split.shards, split.packed, strict=True))
    bits &= not split.capital or [len(part) for part in split.capital] == [len(part) for part in split.packed]
    noted = not split.levels or [len(part) for part in split.noted] == [len(ids) for ids in split.shards]
    if not (
        full
        and bits
        and noted
        and _offsets(split.sentences, split.count)
        and _offsets(split.documents, len(split.sentences) - 1)
    ):
        raise InputError(f"{printable(where)}: the offsets do not fit the shards")


def _offsets(offsets: np.ndarray, total: int) -> bool:
    return len(offsets) > 0 and offsets[0] == 0 and offsets[-1] == total


def _field(tree: Any, *names: str, where: str) -> dict:
    for name in names:
        tree = tree.get(name) if isinstance(tree, dict) else None
    if not isinstance(tree, dict):
        raise InputError(f"{where}: {'.'.join(names)}: missing")
    return tree


def _count(tree: dict, name: str, where: str) -> int:
    value = tree.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 2**48:
        raise InputError(f"{where}: {name}: expected a count, got {printable(repr(value))}")
    return value


def _told(manifest: dict) -> bool:
    return bool((manifest.get("options") or {}).get("capitals"))


def _stretches(manifest: dict, split: str, documents: int, where: str) -> tuple[Stretch, ...]:
    """Where each language stands in a split; () where nobody named any."""
    if "languages" not in manifest:
        return ()
    found, at = [], 0
    for language, of in _field(manifest, "languages", where=where).items():
        count = _count(_field(of, split, where=where), "documents", where)
        found.append(Stretch(language, at, at + count))
        at += count
    if at != documents:
        raise InputError(f"{where}: languages: say {at} documents, the files hold {documents}")
    return tuple(found)


def _vocab(manifest: dict, where: str) -> Vocab:
    described = _field(manifest, "tokenizer", where=where)
    roles = _field(described, "roles", where=where)
    size = _count(described, "size", where)
    ids = {role: _count(_field(roles, role, where=where), "id", where) for role in ROLES}
    special = described.get("special")
    sentinels = described.get("sentinels", [])
    letters = described.get("letters", [])
    if not all(isinstance(found, list) for found in (special, sentinels, letters)) or not all(
        isinstance(i, int) and 0 <= i < size for i in [*special, *sentinels, *letters[:1], *ids.values()]
    ):
        raise InputError(f"{where}: tokenizer.special: expected token ids below {size}")
    if letters and not (len(letters) == 2 and isinstance(letters[1], int) and letters[0] < letters[1] <= size):
        raise InputError(f"{where}: tokenizer.letters: expected an id and the end of those behind it, got {letters}")
    more = {"sentinels": tuple(sentinels), "letters": tuple(letters)}
    return Vocab(size=size, special=tuple(special), **more, **ids)
