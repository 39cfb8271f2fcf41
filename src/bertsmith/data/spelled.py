"""Language models of words, of which the unknown ones are spelled (Luong & Manning 2016, arXiv:1604.00788).  NumPy only; n tokens, m characters asked."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from bertsmith.data.batch import Array, Batch, Examples, Row, Stream, Target, Vocab
from bertsmith.data.draw import Draw
from bertsmith.data.letters import LETTER, Letters, runs
from bertsmith.data.ranges import numbers, spread


@dataclass(frozen=True, kw_only=True)
class ByWord:
    """The text as it is.  "token" asks for every selected word at the last token of the word before it, for a word that is spelled by the mark
    that begins it; "letter" asks there, for each of the spelled words in whole, for its characters one after the other, and for the mark once more, its end (section 4.3).

    Characters beyond the `longest` first of a word are not asked for, nor its end then.  A word that the sequence cuts is not spelled.
    """

    longest: int = 24
    letters: Letters = field(default_factory=Letters)  # follow the tokenizer; what is counted beforehand goes by them
    hides: ClassVar[bool] = False
    causal: ClassVar[bool] = True
    ways: ClassVar[tuple[bool, ...]] = (False,)

    @property
    def spells(self) -> bool:
        """Whether it asks for words and how they are written, and not token by token."""
        return self.letters.end > 0

    def __call__(self, row: Row, spans: Array, vocab: Vocab, draw: Draw) -> Batch:
        letters = Letters.of(vocab)
        asked, first, last, ends = self._asked(row, spans, letters)
        targets = {"token": Target(at=asked[:, None] - 1, labels=row.tokens[asked].astype(np.int64))}
        if len(first):
            place, word = spread(first + 1, last + ends)
            over = place == last[word]  # behind the last character
            labels = np.where(over, letters.mark, row.tokens[place]).astype(np.int64)
            targets[LETTER] = Target(at=first[word, None] - 1, labels=labels)
        return Batch(input=Stream.ordered(row), targets=targets, examples=Examples(row.epoch, row.example))

    def counts(self, row: Row, spans: Array, draw: Draw) -> dict[str, int]:
        """What `counts()` of the batch will be, without making it."""
        asked, first, last, ends = self._asked(row, spans, self.letters)
        found = {"token": len(asked), LETTER: int((last + ends - first - 1).sum())}
        return {name: count for name, count in found.items() if count or name == "token"}

    def _asked(self, row: Row, spans: Array, letters: Letters) -> tuple[Array, Array, Array, Array]:
        """Where the words that are asked for begin; and of those that are spelled the mark, where what is asked of their characters ends, and whether
        their end is asked for behind it."""
        begins = letters.begins(row.tokens, row.offsets[:-1])
        at = numbers(spans[:, 0], spans[:, 1])
        asked = at[begins[at]]
        if not letters.end:
            return asked, asked[:0], asked[:0], asked[:0]
        first, size = runs(begins)
        closed = np.ones(len(row.tokens) + 1, bool)
        closed[row.offsets[1:]] = False  # a sequence ends here: whether the word does nobody knows
        spelled = (row.tokens[first] == letters.mark) & closed[first + size]
        spelled &= np.isin(first, asked, assume_unique=True)
        first, size = first[spelled], size[spelled]
        last = first + np.minimum(size, self.longest + 1)
        return asked, first, last, (size <= self.longest + 1).astype(np.int64)
