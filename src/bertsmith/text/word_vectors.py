"""Word vectors in word2vec's text format: a line with how many words and numbers, then a word and its numbers a line, parted by blanks.

GloVe's files are the same without the first line.  w words, d numbers.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from bertsmith.data.batch import Array
from bertsmith.errors import InputError, printable


def read_vectors(path: str | Path, limit: int | None = None) -> tuple[list[str], Array]:
    """(words, vectors (w, d) float32), the first `limit` of them; a word that stands there twice counts where it stands first.

    InputError naming the line of what is no vector, or one of another length."""
    words: dict[str, None] = {}
    rows: list[Array] = []
    try:
        with open(path, encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, 1):
                if limit is not None and len(rows) >= limit:
                    break
                word, *numbers = line.rstrip("\r\n ").split(" ")
                if number == 1 and len(numbers) == 1 and word.isdecimal() and numbers[0].isdecimal():
                    continue  # how many, and of how many numbers
                row = _numbers(numbers, f"{printable(path)}:{number}")
                if rows and len(row) != len(rows[0]):
                    raise InputError(
                        f"{printable(path)}:{number}: {printable(word, 40)!r} has {len(row)} numbers, the words before it {len(rows[0])}"
                    )
                if word not in words:
                    words[word] = None
                    rows.append(row)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{printable(path)}: not UTF-8 ({error.reason}); a binary file of word2vec is none of text"
        ) from None
    except OSError as error:
        raise InputError(f"{printable(path)}: {error.strerror}") from None
    if not rows:
        raise InputError(f"{printable(path)}: holds no vectors")
    return list(words), np.stack(rows)


def _numbers(numbers: list[str], where: str) -> Array:
    try:
        row = [float(number) for number in numbers]
    except ValueError:
        row = []
    if not row or not all(map(math.isfinite, row)):
        raise InputError(f"{where}: expected a word and its numbers, parted by blanks")
    return np.array(row, np.float32)
