"""Word lists: an entry a line, or with counts and tags beside it, as jieba's, THUOCL's and HowNet's are."""

from __future__ import annotations

import codecs
import os
import re

from bertsmith.errors import InputError, printable
from bertsmith.spelling import option
from bertsmith.text import recognise, sources, unpacking

BLOCK = 1 << 20
SURE = 0.95  # of the lines have a form's count: of a plain list a few may, "Windows 95"
MANY, MIXED = 0.6, "word, count, tag, where they are there"
NUMBER = r"[0-9]+(?:\.[0-9]+)?"
FORMS = {
    "word, tab, count": re.compile(rf"([^\t]*[^\t ])[ ]*\t[ ]*{NUMBER}.*"),
    "word, count, tag": re.compile(rf"(\S+)[ ]+{NUMBER}(?:[ ]+[A-Za-z]+)?"),
    "word, comma, count": re.compile(rf"([^,]*[^, ])[ ]*,[ ]*{NUMBER}(?:,.*)?"),
}
# What stands behind a word: counts, and the tags of jieba (ICTCLAS) and HowNet.
TAGS = frozenset(
    "a ad ag an b c d df dg e eng f g h i j k l m mg mq n ng nr nrfg nrt ns nt nz o p q r rg rr rz s t tg u ud ug uj ul uv uz v vd vg vi "
    "vn vq w x y z zg ADJ ADV AUX CLAS CONJ COOR ECHO EXPR N NUM PREP PRON PUNC STRU SUFFIX V".split()
)


def user_words(path: str, encoding: str = "utf-8") -> tuple[tuple[str, ...], str]:
    """(the words of a list, once each, in its order; the encoding that it was read in).

    A word ends at a tab or a comma; where its line has neither, counts and tags at its end are left out, and blanks before them are the
    word's own (New York).  UTF-8 or what a byte-order mark says, else `encoding`, else GBK or Big5 where its bytes read as that.
    """
    way = f"{option('encoding')} names another, for text and words"
    text, read_as = decoded(f"{option('words')}: {printable(path)}", contents(path), encoding, way)
    words = (_word(line) for line in re.split("[\r\n]+", text))
    found = tuple(dict.fromkeys(word for word in words if word))
    if not found:
        raise InputError(f"{option('words')}: {printable(path)}: no word; one a line")
    return found, read_as


def _word(line: str) -> str:
    for separator in "\t,":
        if separator in line.strip():
            return line.strip().partition(separator)[0].strip()
    fields = line.split()
    while len(fields) > 1 and (re.fullmatch(NUMBER, fields[-1]) or fields[-1] in TAGS):
        fields.pop()
    return " ".join(fields)


def decoded(where: str, data: bytes, encoding: str, way: str) -> tuple[str, str]:
    """(text, encoding): UTF-8 or what a byte-order mark says, else `encoding`, else GBK or Big5 where the bytes read as that."""
    marks = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
    marked = [name for mark, name in marks if data.startswith(mark)]
    for name in (*marked, "utf-8", *([encoding] if codecs.lookup(encoding).name != "utf-8" else [])):
        try:
            return data.decode(name), name.removesuffix("-sig")
        except UnicodeDecodeError:
            continue
    for name, common in (
        ("gb18030", "gb2312"),
        ("big5", "big5"),
    ):  # nearly all of their common characters, or it is neither
        try:
            text = data.decode(name)
        except UnicodeDecodeError:
            continue
        han = [c for c in text if c >= "\u3400"]
        known = sum(name == "gb18030" or code[0] < 0xC7 for c in han if (code := c.encode(common, "ignore")))
        if known >= max(1, SURE * len(han)):
            return text, name
    raise InputError(f"{where}: not UTF-8, GBK or Big5; {way}")


def word_list(path: str) -> tuple[list[str], str]:
    """(its entries, once each; the form that they were read out of, "" for an entry a line).  Also .gz, .xz, .zst.

    UTF-8 or what a byte-order mark says, else GBK or Big5 where its bytes read as that, which the form names.  InputError for what is neither,
    or holds no entry.
    """
    text, read_as = decoded(printable(path), contents(path), "utf-8", "convert the list to UTF-8")
    lines = [line.strip() for line in re.split("[\r\n]+", text) if line.strip()]
    if not lines:
        raise InputError(f"{printable(path)}: no entry; one a line")
    encoded = "" if read_as == "utf-8" else f" in {read_as}"
    for form, pattern in FORMS.items():
        found = [pattern.fullmatch(line) for line in lines]
        if sum(map(bool, found)) >= SURE * len(lines):
            words = [match[1].strip() if match else line for line, match in zip(lines, found, strict=True)]
            return list(dict.fromkeys(words)), form + encoded
    if sum(_word(line) != line for line in lines) >= MANY * len(lines):  # jieba's: count and tag may both be missing
        return list(dict.fromkeys(map(_word, lines))), MIXED + encoded
    return list(dict.fromkeys(lines)), encoded.strip()


def contents(path: str) -> bytes:
    """The bytes of a list, decompressed by its name.  InputError where it cannot be read."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise InputError(f"{printable(path)}: cannot be read: {error.strerror}") from None
    packing = recognise.COMPRESSIONS.get(os.path.splitext(path)[1].lower(), "")
    identity = (found.st_dev, found.st_ino)
    source = sources.Source(
        name=path, kind="txt", compression=packing, size=found.st_size, changed=found.st_mtime_ns, inode=identity
    )
    return b"".join(unpacking.read(source, BLOCK))
