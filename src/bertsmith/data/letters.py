"""Words that a vocabulary has no entry for, as the tokens that spell them: a mark, and the word's characters behind it (Wu et al. 2016, section 4.2).

Where words begin is read off the ids, so that a model and what it is asked agree.  NumPy and torch alike; n tokens, of w words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bertsmith.data.batch import Array, Vocab

LETTER = "letter"  # the term of characters that are asked for


@dataclass(frozen=True, kw_only=True)
class Letters:
    """Characters stand between `mark` and `end`; `unknown` is a character, too, one that has no entry.  They follow the tokenizer; 0: it has none,
    and every token is a word."""

    mark: int = 0
    end: int = 0
    unknown: int = 0

    @classmethod
    def of(cls, vocab: Vocab) -> Letters:
        mark, end = vocab.letters or (0, 0)
        return cls(mark=mark, end=end, unknown=vocab.unk if vocab.letters else 0)

    @property
    def symbols(self) -> int:
        """Characters, the one for those without an entry, and 0 for a word's end."""
        return self.end - self.mark + 1 if self.end else 1

    def spell(self, tokens: Any) -> Any:
        """(n,) bool: a character."""
        return ((tokens > self.mark) & (tokens < self.end)) | ((tokens == self.unknown) & (self.end > 0))

    def number(self, tokens: Any) -> Any:
        """(m,) which symbol each character is, from 1; of the mark 0, a word's end."""
        found = tokens - self.mark
        found[tokens == self.unknown] = self.end - self.mark
        return found

    def begins(self, tokens: Any, firsts: Any) -> Any:
        """(n,) bool: a word; `firsts` (s,): where sequences begin.  A character goes on with the word of the mark or the character before it; where
        a sequence was cut within a word, what is left begins one."""
        letter = self.spell(tokens)
        found = ~letter
        found[1:] |= ~(letter[:-1] | (tokens[:-1] == self.mark))
        found[firsts] = True
        return found


def runs(begins: Array) -> tuple[Array, Array]:
    """Where each word begins (w,), and its tokens (w,)."""
    first = np.flatnonzero(begins)
    return first, np.diff(first, append=len(begins))
