"""Words of a user's list in a page, each between what is no letter: "ass" is not found in "class", at the ends of a line it is."""

import os
import re
from dataclasses import dataclass
from functools import cached_property

from bertsmith.errors import InputError, printable
from bertsmith.spelling import option
from bertsmith.text.segment import UNSPACED
from bertsmith.text.user_words import digest
from bertsmith.text.word_list import contents, decoded

_LETTERS = re.compile(r"[^\W\d_]+")
_UNSPACED = re.compile("[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in UNSPACED) + "]")


@dataclass(frozen=True)
class BadWords:
    """`words`: in lower case, each once, inner blanks included; in scripts without blanks one is found anywhere."""

    words: tuple[str, ...]

    def __getstate__(self) -> tuple[str, ...]:
        return self.words

    def __setstate__(self, words: tuple[str, ...]) -> None:
        object.__setattr__(self, "words", words)

    @property
    def digest(self) -> str:
        return digest(self.words)

    @cached_property
    def _by_start(self) -> tuple[dict[str, list[str]], list[str]]:
        """Words by their first run of letters, by which a page is looked through fast; and those that begin otherwise."""
        starts: dict[str, list[str]] = {}
        others = []
        for word in self.words:
            first = _LETTERS.match(word)
            if first and not _UNSPACED.search(word):
                starts.setdefault(first[0], []).append(word)
            else:
                others.append(word)
        return starts, others

    def line(self, lines: list[str]) -> str:
        """The first line that holds one, "" where none does."""
        starts, others = self._by_start
        text = "\n".join(lines).lower()
        there = [word for first in starts.keys() & set(_LETTERS.findall(text)) for word in starts[first]]
        there += [word for word in others if word in text]
        if not there:
            return ""
        pattern = re.compile("|".join(map(_bounded, sorted(there))))
        return next((line for line in lines if pattern.search(line.lower())), "")


def _bounded(word: str) -> str:
    before = "" if _UNSPACED.match(word[0]) else r"(?<![^\W\d_])"
    after = "" if _UNSPACED.match(word[-1]) else r"(?![^\W\d_])"
    return before + re.escape(word) + after


def bad_words(path: str | os.PathLike, encoding: str = "utf-8") -> BadWords:
    """A list, one a line."""
    where = f"{option('bad_words')}: {printable(path)}"
    try:
        text, _ = decoded(where, contents(os.fspath(path)), encoding, "convert the list to UTF-8")
    except InputError as error:
        said = str(error)
        raise InputError(said if said.startswith(option("bad_words")) else f"{option('bad_words')}: {said}") from None
    words = [" ".join(line.lower().split()) for line in re.split("[\r\n]+", text)]
    if not any(words):
        raise InputError(f"{where}: no word; one a line")
    return BadWords(tuple(dict.fromkeys(word for word in words if word)))
