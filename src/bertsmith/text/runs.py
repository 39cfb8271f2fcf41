"""Sentences of a paragraph as the tokenizer is to see them: apart where it looks no further than a space, together where it may.

What is stored of a paragraph is what the tokenizer gives for the whole of it, cut where sentences begin.  A run is a stretch of a
paragraph whose ids do not depend on what stands around it: one sentence for most tokenizers, the whole paragraph for those that look
across spaces (a Metaspace that adds none before a later text, a rule that joins words) and for sentences with no space between them.
s runs, k sentences.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
from tokenizers.pre_tokenizers import BertPreTokenizer

from bertsmith.text.words import INVISIBLE, MARK, classes

if TYPE_CHECKING:
    from bertsmith.text.tokenizer import Tokenizer

Array = np.ndarray
MOST = 1 << 16  # borders remembered
_BERT = BertPreTokenizer()
_BLANK = frozenset(" \t\u00a0\u3000")  # what BERT's rules make a space of


class Borders:
    """Whether a tokenizer, by its `scheme` (starts.py; None: never), gives two sentences the ids that it gives the two together."""

    def __init__(self, scheme: str | None, keeps_class: Callable[[int], bool]):
        self.bert = scheme in (
            "wordpiece",
            "suffix",
            "spelled",
        )  # spaces are nothing there, and punctuation always stands alone
        self.never = scheme is None
        self.keeps_space = scheme in ("bytes", "space")
        self._keeps_class = keeps_class
        self._apart: dict[tuple[str, str, str], bool] = {}
        self._known: dict[str, tuple[bool, bool]] = {}

    def apart(self, before: str, gap: str, after: str) -> bool:
        """For the last character of one sentence, the white space between them, and the first character of the next."""
        if self.never:
            return False
        key = before, gap, after
        found = self._apart.get(key)
        if found is None:
            found = self._settle(before, gap, after)
            if len(self._apart) < MOST:
                self._apart[key] = found
        return found

    def _settle(self, before: str, gap: str, after: str) -> bool:
        if not self._look(before)[0] or not self._look(after)[0]:
            return False
        if self.bert:
            return _BLANK.issuperset(gap) if gap else self._look(before)[1]
        return gap == " " or (bool(gap) and not gap.strip(" "))

    def _look(self, c: str) -> tuple[bool, bool]:
        """(visible and no mark, whatever the normaliser does; punctuation by BERT's rules)"""
        found = self._known.get(c)
        if found is None:
            kind = int(classes()[ord(c)])
            visible = kind > INVISIBLE and kind != MARK and c != "▁"
            found = visible and (self.bert or self._keeps_class(ord(c))), _punctuation(c)
            self._known[c] = found
        return found


def behind(words: bytes | None, before: str) -> bytes | None:
    """Word starts of a text that white space is put before."""
    return words if words is None or not before else bytes(len(before)) + words


def _capitals(text: str) -> bytes:
    """A byte for each character, 1 for a capital letter that no letter or digit stands before."""
    before = " "
    found = bytearray(len(text))
    for place, c in enumerate(text):
        if c.isupper() and not before.isalnum():
            found[place] = 1
        before = c
    return bytes(found)


def _punctuation(c: str) -> bool:
    """By the tokenizers' own table, which is not this Python's."""
    return len(_BERT.pre_tokenize_str(f"a{c}a")) == 3


@dataclass(slots=True)
class Runs:
    """Texts for the tokenizer; `inside` says before which of them one space stands."""

    borders: Borders
    parts: list[list[str]] = field(default_factory=list)  # of each run: sentences, with the gap between two
    inside: list[bool] = field(default_factory=list)
    words: list[bytes | None] = field(
        default_factory=list
    )  # of each run, where that is known: 1 for a character that starts a word
    sentences: list[str] = field(default_factory=list)

    def add(self, pieces: list[str], words: bytes | None = None) -> list[str]:
        """The sentences of one more paragraph, given pieces that together are the paragraph; white space alone is no sentence.

        `words`: a byte for each character of the paragraph, 1 where a word starts, where that is known."""
        sentences: list[str] = []
        gap = ""
        begins, start = [], 0  # of the runs and of the piece, in the paragraph
        for piece in pieces:
            sentence = piece.strip()
            start += len(piece)
            if not sentence:
                gap += piece
                continue
            at = 0 if piece.startswith(sentence) else piece.index(sentence)
            gap += piece[:at]
            place = start - len(piece) + at
            if not sentences:
                begins.append(place)
                self.parts.append([sentence])
                self.inside.append(False)
            elif not self.borders.apart(sentences[-1][-1], gap, sentence[0]):
                self.parts[-1] += [gap, sentence]
            elif gap == " " or not self.borders.keeps_space:
                begins.append(place)
                self.parts.append([sentence])
                self.inside.append(gap == " ")
            else:
                begins.append(place - len(gap))
                self.parts.append([gap + sentence])
                self.inside.append(False)
            sentences.append(sentence)
            gap = piece[at + len(sentence) :]
        self.sentences += sentences
        if words is None:
            self.words += [None] * len(begins)
        else:
            runs = self.parts[len(self.parts) - len(begins) :]
            self.words += [
                words[a : a + (len(parts[0]) if len(parts) == 1 else sum(map(len, parts)))]
                for a, parts in zip(begins, runs, strict=True)
            ]
        return sentences

    def capitals(self, tokenizer: Tokenizer, starts: Array, lengths: Array) -> Array:
        """(n,) bool: tokens of words that begin with a capital letter; `starts` (n,), `lengths` (k,): what `encoded` said.

        The tokenizer is asked once more, where the words start that do; a sentence's first token starts one in any case.
        """
        marked = [_capitals("".join(parts)) for parts in self.parts]
        other = Runs(self.borders, self.parts, self.inside, marked, self.sentences)
        _, begins, _ = other.encoded(tokenizer)
        first = (np.cumsum(lengths) - lengths)[lengths > 0]
        opens = [bool(_capitals(sentence)[:1].strip(b"\0")) for sentence in self.sentences]
        begins[first] = np.array(opens, bool)[lengths > 0]
        word = np.maximum.accumulate(np.where(starts | begins, np.arange(len(starts)), 0))
        return begins[word] if len(word) else begins

    def encoded(self, tokenizer: Tokenizer) -> tuple[Array, Array, Array]:
        """ids (n,), word starts (n,), and the tokens of each sentence (k,).  A token that reaches into the next is its first one's."""
        one = [len(parts) == 1 for parts in self.parts]
        alone = [parts[0] for parts, single in zip(self.parts, one, strict=True) if single]
        inside = [x for x, single in zip(self.inside, one, strict=True) if single]
        known = [x for x, single in zip(self.words, one, strict=True) if single]
        found = iter(tokenizer.encode(alone, inside=inside, words=known))
        several = [i for i, single in enumerate(one) if not single]
        longer = [[" " * self.inside[i] + self.parts[i][0], *self.parts[i][1:]] for i in several]
        known = [behind(self.words[i], " " * self.inside[i]) for i in several]
        begun = iter(zip(longer, tokenizer.begun(["".join(parts) for parts in longer], known), strict=True))
        ids: list[Array] = [np.zeros(0, np.int32)]
        starts: list[Array] = [np.zeros(0, bool)]
        lengths: list[int] = []
        for single in one:
            if single:
                row, words = next(found)
                lengths.append(len(row))
            else:
                parts, (row, words, begin) = next(begun)
                ends = [end for i, end in enumerate(accumulate(map(len, parts))) if i % 2 == 0]
                cuts = np.searchsorted(begin, ends[:-1])
                lengths += np.diff(cuts, prepend=0, append=len(row)).tolist()
            ids.append(row)
            starts.append(words)
        return np.concatenate(ids), np.concatenate(starts), np.array(lengths, np.int64)
