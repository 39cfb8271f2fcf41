"""Files of word vectors: word2vec's text and binary formats, and GloVe's text, which is word2vec's without a first line.  v words, d numbers of each.

A first line says `v d`.  In a text file a word and its numbers follow, parted by blanks, a line each; in a binary one a word, a blank and d float32 of four bytes,
lowest byte first.  A word may hold a blank in GloVe's (`. . .`): numbers are counted from the end of the line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from bertsmith import files
from bertsmith.data.batch import Array
from bertsmith.errors import InputError, printable
from bertsmith.text.word_list import contents

Form = Literal["word2vec", "word2vec-bin", "glove"]
DECIMAL = re.compile(r"[-+]?\d*\.\d+([eE][-+]?\d+)?$")
HEADER = re.compile(rb"[ \t]*(\d{1,10})[ \t]+(\d{1,6})[ \t]*\r?\n")
BLANK = re.compile(
    r"[ \t\r\n\v\f\x85\xa0\u2028\u2029]"
)  # what parts words where a file is read again, here or elsewhere


def write(path: str | Path, words: Sequence[str], vectors: Array, form: Form) -> None:
    """`vectors` (v, d).  InputError for a word that could not be read again; nothing is left at `path` then."""
    for word in words:
        if not word or BLANK.search(word):
            raise InputError(
                f"{printable(path)}: the word {printable(repr(word), 40)} holds a blank, which parts words and numbers there; leave it out"
            )
    vectors = np.ascontiguousarray(vectors, "<f4")
    with files.writing(Path(path)):
        files.write(Path(path), b"".join(_lines(words, vectors, form)))


def _lines(words: Sequence[str], vectors: Array, form: Form) -> Iterable[bytes]:
    if form != "glove":
        yield f"{len(words)} {vectors.shape[1]}\n".encode()
    for word, vector in zip(words, vectors, strict=True):
        if form == "word2vec-bin":
            yield word.encode() + b" " + vector.tobytes() + b"\n"
        else:
            yield " ".join([word, *map(repr, map(float, vector.astype(np.float64).round(8)))]).encode() + b"\n"


def read(path: str | Path) -> tuple[list[str], Array, Form]:
    """(words, (v, d) float32 vectors, which format it is); of a word that stands there twice the first, as gensim has it.

    InputError naming the line or the word where it is none of them: another number of words or numbers than the first line says, what is no UTF-8, what is no
    finite number.
    """
    data, where = contents(str(path)), printable(path)
    data = data.removeprefix(b"\xef\xbb\xbf")
    header = HEADER.match(data)
    _check_kind(data, header is not None, where)
    if header is None:
        words, vectors = _text(data, 0, where, None, None)
        return *_once(words, vectors, where), "glove"
    count, width = int(header[1]), int(header[2])
    if not (count and width):
        raise InputError(f"{where}: its first line says {count} words of {width} numbers; one of each at least")
    body = data[header.end() :]
    if _is_text(body, width):
        words, vectors = _text(body, 1, where, count, width)
        return *_once(words, vectors, where), "word2vec"
    words, vectors = _binary(body, where, count, width)
    return *_once(words, vectors, where), "word2vec-bin"


def _check_kind(data: bytes, counted: bool, where: str) -> None:
    if data[:1] == b"\x80":  # how a pickle begins, and no UTF-8
        raise InputError(
            f"{where}: a pickle, as gensim's save() writes it, which is not read; its save_word2vec_format() writes what is"
        )
    first = data[:100].partition(b"\n")[0].strip()
    if not counted and re.fullmatch(rb"-?\d+[ \t]+-?\d+", first):
        raise InputError(
            f"{where}: its first line, {printable(first.decode())}, says no number of words and of numbers of each that could be"
        )


def _is_text(body: bytes, width: int) -> bool:
    """Whether the first line is a word and numbers, `width` of them or fewer."""
    line = body.partition(b"\n")[0].split()
    try:
        [float(part) for part in line[max(1, len(line) - width) :]]
    except ValueError:
        return False
    return len(line) > 1


def _text(data: bytes, before: int, where: str, count: int | None, width: int | None) -> tuple[list[str], Array]:
    words: list[str] = []
    rows: list[Array] = []
    lines = data.split(b"\n")
    lines = lines[:-1] if lines and not lines[-1].strip() else lines
    for number, line in enumerate(lines, before + 1):
        try:
            text = line.decode().rstrip("\r ")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{where}:{number}: byte {error.start + 1} of the line is not UTF-8; save the file as UTF-8"
            ) from None
        width = len(text.split(" ")) - 1 if width is None else width
        parts = text.rsplit(" ", width) if width else [text]
        try:
            row = np.array([float(part) for part in parts[1:]], np.float32)
        except ValueError:
            row = np.zeros(0, np.float32)
        more = (
            DECIMAL.fullmatch(parts[0].rpartition(" ")[2]) if " " in parts[0] else None
        )  # one more number, and no word
        if len(row) != width or not width or not parts[0] or more:
            raise InputError(
                f"{where}:{number}: {printable(repr(text), 40)}: a word and {width or 'its'} numbers, parted by single blanks, are wanted"
            )
        if not np.isfinite(row).all():
            raise InputError(f"{where}:{number}: {printable(parts[0], 40)}: a number that is not finite")
        words.append(parts[0])
        rows.append(row)
    if not words:
        raise InputError(f"{where}: no word in it")
    if count is not None and count != len(words):
        raise InputError(
            f"{where}: its first line says {count:,} words, it has {len(words):,}; it was cut short, or that line is wrong"
        )
    return words, np.stack(rows)


def _binary(body: bytes, where: str, count: int, width: int) -> tuple[list[str], Array]:
    words, vectors, at = [], np.empty((count, width), np.float32), 0
    for i in range(count):
        end = body.find(b" ", at)
        after = end + 1 + 4 * width
        if end < 0 or after > len(body):
            raise InputError(
                f"{where}: word {i + 1} of {count:,}: the file ends in it; it was cut short, or its first line is wrong"
            )
        try:
            word = body[at:end].lstrip(b"\n").decode()
        except UnicodeDecodeError:
            raise InputError(
                f"{where}: word {i + 1} of {count:,} is not UTF-8; a word before it holds a blank, the numbers of each are not {width} of four bytes, or it is another format"
            ) from None
        vectors[i] = np.frombuffer(body, "<f4", width, end + 1)
        if not np.isfinite(vectors[i]).all():
            raise InputError(f"{where}: word {i + 1}, {printable(word, 40)}: a number that is not finite")
        words.append(word)
        at = after
    if rest := len(body[at:].strip(b"\n")):
        raise InputError(
            f"{where}: {rest:,} bytes follow the last of the {count:,} words that its first line says; that line is wrong"
        )
    return words, vectors


def _once(words: list[str], vectors: Array, where: str) -> tuple[list[str], Array]:
    first: dict[str, int] = {}
    for number, word in enumerate(words):
        first.setdefault(word, number)
    if "" in first:
        raise InputError(f"{where}: word {first[''] + 1} has no letter")
    return (words, vectors) if len(first) == len(words) else ([*first], vectors[[*first.values()]])
