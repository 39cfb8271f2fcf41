"""Word lists: an entry a line, or with counts and tags beside it, as jieba's and THUOCL's are."""

from __future__ import annotations

import codecs
import os
import re

from bertsmith.errors import InputError, printable
from bertsmith.text import recognise, sources

BLOCK = 1 << 20
SURE = 0.95  # of the lines have a form's count: of a plain list a few may, "Windows 95"
NUMBER = r"[0-9]+(?:\.[0-9]+)?"
FORMS = {
    "word, tab, count": re.compile(rf"([^\t]*[^\t ])[ ]*\t[ ]*{NUMBER}.*"),
    "word, count, tag": re.compile(rf"(\S+)[ ]+{NUMBER}(?:[ ]+[A-Za-z]+)?"),
    "word, comma, count": re.compile(rf"([^,]*[^, ])[ ]*,[ ]*{NUMBER}(?:,.*)?"),
}


def word_list(path: str) -> tuple[list[str], str]:
    """(its entries, once each; the form that they were read out of, "" for an entry a line).  Also .gz, .xz, .zst.

    InputError where it is not UTF-8, or holds no entry.
    """
    lines = [line.strip() for line in re.split("[\r\n]+", _text(path)) if line.strip()]
    if not lines:
        raise InputError(f"{printable(path)}: no entry; one a line")
    for form, pattern in FORMS.items():
        found = [pattern.fullmatch(line) for line in lines]
        if sum(map(bool, found)) >= SURE * len(lines):
            words = [match[1].strip() if match else line for line, match in zip(lines, found, strict=True)]
            return list(dict.fromkeys(words)), form
    return list(dict.fromkeys(lines)), ""


def _text(path: str) -> str:
    try:
        found = os.stat(path)
    except OSError as error:
        raise InputError(f"{printable(path)}: cannot be read: {error.strerror}") from None
    packing = recognise.COMPRESSIONS.get(os.path.splitext(path)[1].lower(), "")
    identity = (found.st_dev, found.st_ino)
    source = sources.Source(
        name=path, kind="txt", compression=packing, size=found.st_size, changed=found.st_mtime_ns, inode=identity
    )
    data = b"".join(sources.read(source, BLOCK))
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{printable(path)}: is UTF-16, as its first bytes say; convert the list to UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{printable(path)}: byte {error.start}: not UTF-8{_seen(data)}") from None


def _seen(data: bytes) -> str:
    """Whether the bytes read as Chinese in GBK or Big5, which most old lists are in; said, not taken for granted."""
    for name, codec in (("GBK", "gb18030"), ("Big5", "big5")):
        try:
            text = data.decode(codec)
        except UnicodeDecodeError:
            continue
        first = next(iter(text.split()), "")
        return f", but {name} would read {printable(first, 20)!r}; iconv -f {codec.upper()} -t UTF-8 converts the list"
    return "; convert the list to UTF-8"
