"""Other ways to cut the same text, drawn while a model trains: merges that are left out, pieces that are sampled.

    dropout   BPE-dropout (Provilkov et al. 2020, algorithm 1): in every step of a word's merging each possible merge is left out with
              probability p; when none is left the word is done.  As in the released code, all places of the best pair that are left are merged
    alpha     subword regularisation (Kudo 2018, section 3): a segmentation x of a word is drawn with p ~ (product of its pieces' p) ^ alpha,
              of all that there are (l = infinity), by sums from the left and a walk back from the right

Evaluation and all that is done with a trained model cut text as the tokenizer does.  A chunk is what no token crosses (a word with the space
before it); a symbol is what merges begin with (a byte, a character).  c chunks, t tokens, m symbols.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from bertsmith.data.draw import counted, hashed, uniform
from bertsmith.data.ranges import numbers
from bertsmith.data.segmentation import Segmentation
from bertsmith.errors import InputError

if TYPE_CHECKING:
    from bertsmith.text.tokenizer import Tokenizer

Array = np.ndarray
NEVER = np.iinfo(np.int64).max  # the rank of a pair that is no merge


def cutter(segmentation: Segmentation, tokenizer: Tokenizer) -> Merging | Lattice:
    """What cuts text anew.  InputError for a tokenizer that goes by another rule."""
    scheme, kind = tokenizer.scheme, tokenizer.model["type"]
    about = {"WordPiece": "WordPiece takes the longest piece", "WordLevel": "words are whole"}.get(kind, kind)
    if segmentation.dropout:
        if not (kind == "BPE" and scheme in ("bytes", "suffix") and tokenizer.model["merges"]):
            raise InputError(
                f"tokenizer.dropout: the store's tokenizer has no merges that could be left out ({about}); take one of bpe:N or bpe-char:N, "
                "or tokenizer.alpha with unigram:N"
            )
        return Merging(tokenizer, segmentation.dropout)
    if not (kind == "Unigram" and scheme == "space"):
        raise InputError(
            f"tokenizer.alpha: the store's tokenizer has no probabilities of pieces ({about}); take one of unigram:N, "
            "or tokenizer.dropout with bpe:N"
        )
    return Lattice(tokenizer, float(segmentation.alpha or 0.0))


class Symbols:
    """What a vocabulary's tokens are made of: token i is `flat[begin[i]:end[i]]`."""

    def __init__(self, of: list[list[int]]):
        self.flat = np.array([symbol for symbols in of for symbol in symbols], np.int64)
        self.end = np.cumsum([len(symbols) for symbols in of], dtype=np.int64)
        self.begin = np.concatenate([[0], self.end[:-1]])
        self.size = self.end - self.begin  # (v,); 0: the token is taken as it is
        self.first = np.array([symbols[0] if symbols else -1 for symbols in of], np.int64)  # (v,)

    def __call__(self, ids: Array) -> Array:
        """(m,) the symbols of some tokens, one after the other."""
        return self.flat[numbers(self.begin[ids], self.end[ids])]


class Merging:
    """BPE with merges left out.  Its symbols are ids of tokens."""

    def __init__(self, tokenizer: Tokenizer, p: float):
        self.p = p
        vocab, model = tokenizer.model["vocab"], tokenizer.model
        pairs = [merge.split(" ", 1) if isinstance(merge, str) else merge for merge in model["merges"]]
        known = [(vocab[a], vocab[b], vocab[a + b]) for a, b in pairs if a in vocab and b in vocab and a + b in vocab]
        left, right, whole = np.array(known, np.int64).T
        self.vocab = tokenizer.size
        order = np.argsort(left * self.vocab + right, kind="stable")
        self._keys = (left * self.vocab + right)[order]
        self._rank, self._whole = order, whole
        of: list[list[int]] = [[] for _ in range(tokenizer.size)]
        end = model.get("end_of_word_suffix") or ""
        for token, i in vocab.items():
            letters = token.removesuffix(end) if end else token
            if len(letters) == 1 and i not in tokenizer.vocab.special:
                of[i] = [i]
        for a, b, c in known:  # in the order in which they were learned: what is merged was made before
            of[c] = of[c] or of[a] + of[b] if of[a] and of[b] else of[c]
        self.symbols = Symbols(of)
        self.space = vocab.get("Ġ", -1)

    def __call__(self, ids: Array, counts: Array, keys: Array) -> tuple[Array, Array]:
        """Tokens of chunks, `counts` (c,) of `ids` (t,) each, cut anew; `keys` (c,) uint64: what the draws of each begin with.  Their ids and counts."""
        owner = np.repeat(np.arange(len(counts)), counts)
        size = self.symbols.size[ids]
        word, now = np.repeat(owner, size), self.symbols(ids)
        found: list[tuple[Array, Array]] = []
        turn = 0
        while len(now):
            rank = self._ranks(now, word)
            some = np.flatnonzero(rank < NEVER)
            if self.p and len(some):
                first = np.searchsorted(word, word[some])
                rank[some[uniform(hashed(turn, "merge", keys[word[some]], some - first)) < self.p]] = NEVER
            begin = np.flatnonzero(np.diff(word, prepend=-1))
            best = np.minimum.reduceat(rank, begin)
            sizes = np.diff(np.append(begin, len(word)))
            done = np.repeat(best == NEVER, sizes)
            found.append((word[done], now[done]))
            at = np.flatnonzero((rank == np.repeat(best, sizes)) & ~done)
            at = at[_apart(at)]
            now[at] = self._whole[rank[at]]
            kept = ~done
            kept[at + 1] = False
            now, word, turn = now[kept], word[kept], turn + 1
        word, made = (np.concatenate(parts) for parts in zip(*found, strict=True))
        made = made[np.argsort(word, kind="stable")]
        return made.astype(np.int32), np.bincount(word, minlength=len(counts))

    def _ranks(self, now: Array, word: Array) -> Array:
        """(m,) the rank of the merge of each symbol with the next of its chunk."""
        rank = np.full(len(now), NEVER)
        inside = np.flatnonzero(word[:-1] == word[1:])
        keys = now[inside] * self.vocab + now[inside + 1]
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        hit = self._keys[at] == keys
        rank[inside[hit]] = self._rank[at[hit]]
        return rank


def _apart(at: Array) -> Array:
    """(k,) bool: of ascending places, those that can be merged at once with the next one: every other of a run."""
    breaks = np.diff(at, prepend=-2) != 1
    first = np.maximum.accumulate(np.where(breaks, np.arange(len(at)), 0))
    return (np.arange(len(at)) - first) % 2 == 0


class Lattice:
    """Unigram pieces, sampled.  Its symbols are code points."""

    def __init__(self, tokenizer: Tokenizer, alpha: float):
        pieces, unk = tokenizer.model["vocab"], tokenizer.model["unk_id"]
        special = set(tokenizer.vocab.special) | {unk}
        self.alpha = alpha
        self.score = np.array([score for _, score in pieces])
        self.ids = {piece: i for i, (piece, _) in enumerate(pieces) if i not in special}
        self.longest = max(map(len, self.ids))
        of = [[] if i in special else [ord(c) for c in piece] for i, (piece, _) in enumerate(pieces)]
        self.symbols = Symbols(of + [[]] * (tokenizer.size - len(of)))
        self.space = ord("▁")
        self._known: dict[str, list[tuple[Array, Array, Array]]] = {}

    def __call__(self, ids: Array, counts: Array, keys: Array) -> tuple[Array, Array]:
        """As `Merging`.  Chunks of the same letters are walked through together."""
        size = self.symbols.size[ids]
        ends = np.cumsum(np.add.reduceat(size, np.cumsum(counts) - counts) if len(counts) else size).tolist()
        text = self.symbols(ids).astype(np.uint32).tobytes().decode("utf-32-le")
        alike: dict[str, list[int]] = {}
        for chunk, (begin, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            alike.setdefault(text[begin:end], []).append(chunk)
        found = [part for word, chunks in alike.items() for part in self._walk(word, np.array(chunks), keys)]
        if not found:
            return np.zeros(0, np.int32), np.zeros(len(counts), np.int64)
        chunk, place, made = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.lexsort((place, chunk))
        return made[order].astype(np.int32), np.bincount(chunk, minlength=len(counts))

    def _walk(self, word: str, chunks: Array, keys: Array) -> Iterator[tuple[Array, Array, Array]]:
        """(chunk, place, piece) of every piece that was drawn, from the end of the word to its beginning."""
        ways = self._ways(word)
        standing = {len(word): chunks}
        for place in range(len(word), 0, -1):
            here = standing.pop(place, None)
            if here is None:
                continue
            begin, pieces, below = ways[place - 1]
            drawn = (
                uniform(counted(keys[here] + np.uint64(place), np.ones(len(here), np.int64)))
                if len(begin) > 1
                else None
            )
            chosen = np.zeros(len(here), np.int64) if drawn is None else np.searchsorted(below, drawn, "right")
            for way in np.unique(chosen).tolist():
                came = here[chosen == way]
                at = int(begin[way])
                yield came, np.full(len(came), at), np.full(len(came), pieces[way])
                standing[at] = np.concatenate([standing[at], came]) if at in standing else came

    def _ways(self, word: str) -> list[tuple[Array, Array, Array]]:
        """For each place behind a character: the pieces that end there, where they begin, and the bounds of [0, 1) that stand for them."""
        if word in self._known:
            return self._known[word]
        total, found = [0.0], []
        for end in range(1, len(word) + 1):
            ways = [
                (begin, piece)
                for begin in range(max(0, end - self.longest), end)
                if (piece := self.ids.get(word[begin:end])) is not None and total[begin] > -math.inf
            ]
            logs = np.array([total[begin] + self.alpha * self.score[piece] for begin, piece in ways])
            most = float(logs.max()) if ways else -math.inf
            shares = np.exp(logs - most) if ways else logs
            total.append(most + math.log(float(shares.sum())) if ways else -math.inf)
            bounds = np.cumsum(shares)[:-1] / shares.sum() if ways else shares
            found.append((np.array([b for b, _ in ways], np.int64), np.array([p for _, p in ways], np.int64), bounds))
        if len(self._known) < 1 << 20:
            self._known[word] = found
        return found
