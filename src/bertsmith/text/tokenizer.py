"""The tokenizer: text to ids and word starts, ids to text; trained (train.py), loaded (load.py) or extended.

The `tokenizers` library does the work; ids are its own, roles go by name.  Text of a corpus is text: a literal "[MASK]" in it is
spelt out like any other word unless `specials=True` asks for the token, as `fill` does.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, partial
from itertools import chain, count, takewhile
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer as Backend
from tokenizers.pre_tokenizers import PreTokenizer

from bertsmith.data.batch import SENTINEL, Vocab
from bertsmith.errors import InputError, ResourceError, printable
from bertsmith.text import extend, load, train
from bertsmith.text.chunks import Chunks, local
from bertsmith.text.forms import goes
from bertsmith.text.paragraph_words import Words, spaced
from bertsmith.text.runs import Borders, behind
from bertsmith.text.shown import Shown
from bertsmith.text.starts import StartTable, flat, keeps_space
from bertsmith.text.words import SPACE, Segmenter, character_starts, classes, code_points, covering, word_starts

Array = np.ndarray
BEFORE = (
    "a",
    ",",
    "1",
    "-",
    "я",
)  # what may stand before a text that goes on; one of them keeps clear of what it begins with
_UNUSED = re.compile(r"\[unused\d+\]")


class Tokenizer:
    """`backend` is the `tokenizers.Tokenizer`; `roles` names the pad, unk, cls, sep and mask token."""

    def __init__(self, backend: Backend, roles: Mapping[str, str], segmenter: Segmenter | None = None):
        self.backend = backend
        self.roles = dict(roles)
        self.segmenter = segmenter

    @classmethod
    def train(
        cls,
        kind: str,
        texts: Iterable[str],
        lowercase: bool = False,
        segmenter: Segmenter | None = None,
        told: dict[str, int] | None = None,
        words: Words | None = None,
        **rules: Any,
    ) -> Tokenizer:
        """`kind`: "wordpiece:N", "wordpiece-likelihood:N", "wordpiece-gain:N", "bpe:N" (byte-level), "bpe-char:N", "unigram:N", "words:N",
        "words-char:N", "char", "char:N", "byte".  The same bytes for the same text, in any process.

        `rules`: strip_accents, normalise, language, as normal.Rules says them; `told` is given what was cut for training; `words`: where the
        words of texts start, for a list of whole ones (paragraph_words.py)."""
        backend = train.train(kind, texts, lowercase, told, words, **rules)
        return cls(backend, dict(zip(load.ROLES, train.SPECIALS, strict=True)), segmenter)

    @classmethod
    def load(
        cls,
        path: str | Path,
        lowercase: bool | None = None,
        roles: Mapping[str, str] | None = None,
        segmenter: Segmenter | None = None,
    ) -> Tokenizer:
        """A vocab.txt, a tokenizer.json, or a folder with either.  `roles`, if given, win over what files say."""
        return cls(*load.load(path, lowercase, roles), segmenter)

    def save(self, folder: str | Path) -> list[Path]:
        """Writes tokenizer.json, and special_tokens_map.json where the names alone do not tell the roles; returns the paths."""
        folder = Path(folder)
        files = {"tokenizer.json": self._text}
        if not load.well_known(self.backend, self.roles):
            files["special_tokens_map.json"] = json.dumps({f"{k}_token": v for k, v in self.roles.items()}, indent=1)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, text in files.items():
                temporary = folder / f".{name}.{os.getpid()}"
                temporary.write_bytes(text.encode())
                temporary.replace(folder / name)
        except OSError as error:
            raise ResourceError(f"{printable(folder)}: {error.strerror}") from None
        return [folder / name for name in files]

    def extend(self, words: Iterable[str]) -> Tokenizer:
        """A tokenizer that also has `words` as tokens of their own, behind the present ones, for whole words alone.

        With the old pieces put back for each of them the ids of every text are what they were (extend.py says how, and where not:
        InputError for a word that cannot be a token here, and for tokenizers with ▁).  Words that are one token already are left out;
        byte-level BPE has two tokens of each word, with and without the space before it."""
        return Tokenizer(extend.extended(self, words), self.roles, self.segmenter)

    entities: dict[str, int] = {}  # noqa: RUF012  names of what a model has vectors of beside its tokens, and their numbers

    @property
    def whole_words(self) -> bool:
        """Whether it has words alone, so that a word which is none of them is [UNK] by its nature."""
        return type(self.backend.model).__name__ == "WordLevel"

    @property
    def by_words(self) -> bool:
        """Whether it takes words as a list of them does, which parts them in scripts without blanks, too."""
        return self.whole_words or self.scheme == "spelled"

    @property
    def size(self) -> int:
        return self.backend.get_vocab_size()

    @cached_property
    def vocab(self) -> Vocab:
        ids = {role: self.backend.token_to_id(name) for role, name in self.roles.items()}
        beside = {"sentinels": self.sentinels, "letters": self.letters}
        return Vocab(size=self.size, **ids, special=tuple(sorted(self._special)), **beside)

    @cached_property
    def sentinels(self) -> tuple[int, ...]:
        """<extra_id_0>, <extra_id_1>, … as far as it has them (T5's)."""
        found = map(self.backend.token_to_id, map(SENTINEL.format, count()))
        return tuple(takewhile(lambda i: i is not None, found))

    @cached_property
    def letters(self) -> tuple[int, ...]:
        """The token that begins a word without an entry, and the end of the characters behind it, where it has such (whole.py)."""
        if self.scheme != "spelled":
            return ()
        mark = self.backend.token_to_id("▁")
        return mark, next(i for i in count(mark + 1) if len(self.backend.id_to_token(i) or "▁▁") > 1)

    @cached_property
    def drops_unseen(self) -> bool:
        """Whether its rule drops zero-width characters and parts words at others that nobody sees, as those trained here do (characters.py)."""
        return goes(flat(self._tree.get("normalizer"))) is not None

    @property
    def mask_token(self) -> str:
        return self.roles["mask"]

    @property
    def marks_ends(self) -> bool:
        """Whether a token of its stands where a text ends: GPT's own has but one for what it does not know."""
        return self.roles["sep"] not in load.UNKNOWN

    @property
    def scheme(self) -> str | None:
        """How its tokens show where words part (starts.py)."""
        return self._table.scheme

    @property
    def table(self) -> StartTable:
        return self._table

    @property
    def model(self) -> dict[str, Any]:
        """What its tokenizer.json says of the rule that cuts words into pieces."""
        return self._tree["model"]

    def patterns(self, text: str) -> list[str]:
        """The words, in letters that stand for bytes, between which a byte-level tokenizer merges nothing; no space is put before the text."""
        return [word for word, _ in self._parting.pre_tokenize_str(text)]

    @cached_property
    def _parting(self) -> PreTokenizer:
        steps = [step for step in flat(self._tree["pre_tokenizer"]) if step["type"] != "Metaspace"]
        steps = [{**step, "add_prefix_space": False} if step["type"] == "ByteLevel" else step for step in steps]
        tree = {
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
            "model": {"type": "BPE", "vocab": {}, "merges": []},
        }
        return Backend.from_str(json.dumps({"version": "1.0", "added_tokens": [], **tree})).pre_tokenizer

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical tokenizer.json."""
        return hashlib.sha256(self._text.encode()).hexdigest()

    @cached_property
    def reading(self) -> str:
        """SHA-256 of what decides the ids of plain text: equal where two files differ in decoder, template or white space round a mask, or
        where one has sentinels behind all other tokens."""
        parts = {name: self._tree.get(name) for name in ("normalizer", "pre_tokenizer", "model")}
        words = [token for token in self._tree["added_tokens"] if not token["special"]]
        behind = set(range(self.size - len(self.sentinels), self.size))
        special = self._special - behind if behind == {*self.sentinels} else self._special
        text = json.dumps([parts, words, sorted(special), self.roles], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def token(self, i: int) -> str:
        return self.tokens([i])[0]

    def tokens(self, ids: Iterable[int]) -> list[str]:
        tokens = []
        for i in map(int, ids):
            token = self._added.get(i) or (self.backend.id_to_token(i) if 0 <= i < self.size else None)
            if token is None:
                raise InputError(f"token id {i} is outside the vocabulary of {self.size}")
            tokens.append(token)
        return tokens

    def decode(self, ids: Iterable[int], specials: bool = True) -> str:
        """Text for people: specials stay visible, or are left out; white space and dropped characters do not come back from WordPiece."""
        parts, run = [], []
        for i in map(int, ids):
            if not specials and i in self._special:
                continue
            if i in self._set_apart:
                parts += [self._decoded(run), self.token(i)]
                run = []
            else:
                run.append(i)
        return " ".join(part for part in [*parts, self._decoded(run)] if part)

    def alone(self, ids: Iterable[int]) -> str:
        """What was written as a text by itself: without special tokens, and without the space that some put before what they take for a
        beginning."""
        text = self.decode(ids, specials=False)
        return text.removeprefix(" ") if self._begins_with_space else text

    @cached_property
    def _begins_with_space(self) -> bool:
        return self.decode(self.encode(["a"])[0][0]).startswith(" ")

    def shown(self, i: int) -> str:
        """A token as people write it: no ▁, ## or letters that stand for bytes; parts of a character in hexadecimal (shown.py)."""
        return self.people.piece(i).text

    @cached_property
    def people(self) -> Shown:
        """Its tokens as people write text."""
        return Shown(self, self._tree, self._special)

    def encode(
        self,
        texts: Sequence[str],
        specials: bool = False,
        inside: Sequence[bool] | None = None,
        words: Sequence[bytes | None] | None = None,
    ) -> list[tuple[Array, Array]]:
        """(ids int32 (t,), starts bool (t,)) for each text; no special tokens are added.  `specials`: match those written in it.
        `inside`: which texts are a later part of one, after a space (runs.py; for tokenizers with `borders` alone).
        `words`: a byte for each character of a text, 1 where a word starts, or None for the rule (words.py)."""
        texts = list(texts)
        if not texts:
            return []
        bounds = np.concatenate([[0], np.cumsum([len(text) for text in texts])])
        odd = self._table.odd(code_points("".join(texts)), bounds)
        known = [None] * len(texts) if words is None else list(words)
        odd |= np.array([one is not None for one in known], bool)
        backend = self.backend if specials else self._plain
        spaced = [False] * len(texts) if inside is None else list(inside)
        plain = np.flatnonzero(~odd).tolist()
        ids, ends = self._flat_ids(backend, [texts[i] for i in plain], [spaced[i] for i in plain])
        first = np.concatenate([[0], ends[:-1]]).astype(np.int64)
        irregular = np.concatenate([[0], np.cumsum(self._table.irregular[ids])])
        again = np.zeros(len(texts), bool)
        again[~odd] = irregular[ends] > irregular[first]
        starts = self._table.starts(ids, first[first < ends])
        before = self._chunks.before if self._chunks else ""
        others = np.flatnonzero(odd | again).tolist()
        rest = [before * spaced[i] + texts[i] for i in others]
        known = [behind(known[i], before * spaced[i]) for i in others]
        by_offsets = iter(self._by_offsets(backend, rest, known)[0])
        cuts = iter(zip(first.tolist(), ends.tolist(), strict=True))
        results = []
        for is_odd, is_again in zip(odd.tolist(), again.tolist(), strict=True):
            begin, end = (0, 0) if is_odd else next(cuts)
            results.append(next(by_offsets) if is_odd or is_again else (ids[begin:end], starts[begin:end]))
        return results

    def spelled(self, text: str) -> list[list[int]]:
        """Every way in which the ids of a text may stand where a sentence begins with it: with a small or a large letter, behind a blank or not."""
        texts = list(dict.fromkeys([text, text[:1].upper() + text[1:]]))
        found = [row.tolist() for blank in (False, True) for row, _ in self.encode(texts, inside=[blank] * len(texts))]
        return [list(ids) for ids in dict.fromkeys(map(tuple, found)) if ids]

    def located(self, texts: Sequence[str]) -> list[tuple[Array, Array]]:
        """(ids int32 (t,), characters int64 (t, 2)) for each text: as `encode`, with the range of the text that each token stands for,
        white space at its ends left out (an empty range where it stands for nothing else)."""
        texts = list(texts)
        starts = self._characters(texts, [None] * len(texts)) if self.by_words else None
        ids, spans = self._places(self._plain, texts, starts)
        return [(np.array(row, np.int32), covering(text, of)) for text, row, of in zip(texts, ids, spans, strict=True)]

    def _places(self, backend: Backend, texts: list[str], starts: Array | None) -> tuple[list[list[int]], list[Array]]:
        """Ids and offsets (t, 2) of each text; `starts`: as `_characters` says, for a list of whole words, whose rule knows blanks alone."""
        if starts is None or not self.by_words or self.scheme is None:
            encodings = _encoded(backend.encode_batch, texts)
            return [e.ids for e in encodings], [np.array(e.offsets, np.int64).reshape(-1, 2) for e in encodings]
        ends = np.cumsum([len(text) + 1 for text in texts]).tolist()
        parted = [spaced(text, starts[end - len(text) - 1 : end - 1]) for text, end in zip(texts, ends, strict=True)]
        encodings = _encoded(backend.encode_batch, [text for text, _ in parted])
        offsets = [np.array(e.offsets, np.int64).reshape(-1, 2) for e in encodings]
        return [e.ids for e in encodings], [
            of if b is None else b[of] for of, (_, b) in zip(offsets, parted, strict=True)
        ]

    def begun(
        self, texts: Sequence[str], words: Sequence[bytes | None] | None = None
    ) -> list[tuple[Array, Array, Array]]:
        """As `encode`, with the character (t,) at which each token begins, ascending; white space before it is the token's own."""
        texts = list(texts)
        found, offsets = self._by_offsets(self._plain, texts, [None] * len(texts) if words is None else words)
        joined = "\n".join(texts)
        ink = np.append(np.flatnonzero(classes()[code_points(joined)] != SPACE), len(joined))
        begin = np.maximum.accumulate(ink[np.searchsorted(ink, offsets[:, 0])]) if len(offsets) else offsets[:, 0]
        ends = np.cumsum([len(ids) for ids, _ in found], dtype=np.int64).tolist()
        base = np.cumsum([0] + [len(text) + 1 for text in texts])[:-1].tolist()
        return [
            (ids, starts, begin[end - len(ids) : end] - at)
            for (ids, starts), end, at in zip(found, ends, base, strict=True)
        ]

    def strips(self, name: str) -> tuple[bool, bool]:
        """Whether the special token `name`, written in a text, takes the white space before it, and that behind it."""
        said = next((token for token in self._tree["added_tokens"] if token["content"] == name), {})
        return said.get("lstrip", False), said.get("rstrip", False)

    def behind(self, text: str, specials: bool = False) -> Array:
        """The ids (t,) of a text that goes on where a word ends: without the space that some put before what they take for a beginning."""
        if not text or not keeps_space(self._tree):
            return self.encode([text], specials=specials)[0][0]
        for word in BEFORE:
            (found,) = _encoded((self.backend if specials else self._plain).encode_batch, [word + text])
            begin, end = np.maximum.accumulate(np.array(found.offsets, np.int64).reshape(-1, 2)).T
            first = int((begin < len(word)).sum())
            if first and end[first - 1] <= len(word):  # no token holds parts of both
                return np.array(found.ids[first:], np.int32)
        return self.encode([text], specials=specials)[0][0]

    def _flat_ids(self, backend: Backend, texts: list[str], spaced: list[bool]) -> tuple[Array, Array]:
        if backend is self._plain and self._chunks is not None:
            return self._chunks(texts, spaced)
        lists = _ids(backend, texts)
        ends = np.cumsum([len(one) for one in lists], dtype=np.int64)
        return np.fromiter(chain.from_iterable(lists), np.int32, int(ends[-1]) if len(ends) else 0), ends

    def _by_offsets(
        self, backend: Backend, texts: list[str], words: Sequence[bytes | None]
    ) -> tuple[list[tuple[Array, Array]], Array]:
        """Ids and word starts by offsets, all texts as one: they are joined by line breaks, which no word crosses; and the offsets in that."""
        begun = self._characters(texts, words)
        lists, places = self._places(backend, texts, begun)
        counts = np.array([len(one) for one in lists], np.int64)
        ids = np.fromiter(chain.from_iterable(lists), np.int32, int(counts.sum()))
        base = np.cumsum([0] + [len(text) + 1 for text in texts])[:-1]
        offsets = np.concatenate([np.zeros((0, 2), np.int64), *places]) + np.repeat(base, counts)[:, None]
        joined = "\n".join(texts)
        starts = word_starts(joined, offsets, blank=self._table.blank[ids], starts=begun)
        starts &= ~np.isin(ids, self._never)
        cuts = zip(counts.tolist(), np.cumsum(counts).tolist(), strict=True)
        return [(ids[end - count : end], starts[end - count : end]) for count, end in cuts], offsets

    def _characters(self, texts: list[str], words: Sequence[bytes | None]) -> Array:
        """(n,) bool: the characters of the texts, joined by line breaks, at which words start; by rule where `words` does not say."""
        segmenter = self.segmenter and (lambda _: chain.from_iterable(map(self.segmenter, asked)))
        asked = [text for text, known in zip(texts, words, strict=True) if known is None]
        found = character_starts("\n".join(asked), segmenter)
        if len(asked) == len(texts):
            return found
        ends = np.cumsum([len(text) + 1 for text in asked]).tolist()
        ruled = iter([found[end - len(text) - 1 : end - 1] for text, end in zip(asked, ends, strict=True)])
        rows = [next(ruled).tobytes() if known is None else known for known in words]
        return np.frombuffer(b"\0".join(rows), bool)

    def _decoded(self, ids: list[int]) -> str:
        return self.backend.decode(ids, skip_special_tokens=False) if ids else ""

    @cached_property
    def _text(self) -> str:
        return self.backend.to_str()

    @cached_property
    def _tree(self) -> dict[str, Any]:
        return json.loads(self._text)

    @cached_property
    def _added(self) -> dict[int, str]:
        """Added tokens as they are written; the backend names those as its normaliser leaves them, blanks round Chinese included."""
        return {token["id"]: token["content"] for token in self._tree["added_tokens"]}

    @cached_property
    def _never(self) -> Array:
        """Specials, which start no word; [UNK] stands for text and may."""
        return np.array(sorted(self._special - {self.vocab.unk}))

    @cached_property
    def _special(self) -> set[int]:
        """Every id that is not text: roles, what the file marks special, [unused…]."""
        special = {token["id"] for token in self._tree["added_tokens"] if token["special"]}
        unused = {i for name, i in self.backend.get_vocab().items() if _UNUSED.fullmatch(name)}
        return special | unused | {self.backend.token_to_id(name) for name in self.roles.values()}

    @cached_property
    def _set_apart(self) -> set[int]:
        """Ids that a decoder would glue to the word beside them."""
        if self._table.scheme == "bytes":  # here spaces are tokens' own
            return set()
        return self._special | {token["id"] for token in self._tree["added_tokens"]}

    @cached_property
    def _table(self) -> StartTable:
        return StartTable(
            self.backend, self._tree, self.size, self._special, self.backend.token_to_id(self.roles["unk"])
        )

    @cached_property
    def borders(self) -> Borders:
        """Where sentences may be encoded apart."""
        scheme = self._table.scheme if self._chunks else None
        if scheme == "space" and not all(token["special"] for token in self._tree["added_tokens"]):
            scheme = None  # the space before an added word is a token of its own, and the text behind one begins anew
        return Borders(scheme, self._table.keeps_class)

    @cached_property
    def _chunks(self) -> Chunks | None:
        """None where this tokenizer looks across spaces."""
        scheme = self._table.scheme
        if not local(json.loads(self._plain.to_str()), scheme):
            return None
        return Chunks(partial(_ids, self._plain), " " if scheme == "bytes" else "")

    @cached_property
    def _plain(self) -> Backend:
        """The same ids, but special tokens written in a text are plain characters."""
        tree = json.loads(self._text)
        if (
            tree["model"]["type"] == "Unigram"
        ):  # its lattice would find "[MASK]" in the vocabulary; a piece with a space matches nothing, as Metaspace leaves none
            tree["added_tokens"] = [token for token in tree["added_tokens"] if not token["special"]]
            tree["post_processor"] = None
            for i in self._special & set(range(len(tree["model"]["vocab"]))):
                if i != tree["model"]["unk_id"] or tree["model"]["vocab"][i][0] == self.roles["unk"]:
                    tree["model"]["vocab"][i][0] = " " + tree["model"]["vocab"][i][0]
        plain = Backend.from_str(json.dumps(tree))
        plain.encode_special_tokens = True
        return plain


def _ids(backend: Backend, texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in _encoded(backend.encode_batch_fast, texts)]


def _encoded(encode, texts: list[str]) -> list:
    try:
        return encode(texts, add_special_tokens=False)
    except BaseException as error:  # the Rust code's PanicException is no Exception
        raise load.refused(error, "tokenizer") from None
