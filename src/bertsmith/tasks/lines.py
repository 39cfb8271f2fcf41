"""A text file, packed or not, line by line; every error names file and line."""

from __future__ import annotations

import codecs
import difflib
import gzip
import io
import lzma
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from bertsmith.errors import InputError, ResourceError, printable
from bertsmith.spelling import option
from bertsmith.tasks.given import Given
from bertsmith.text.encodings import UTF8, Recoder, checked, is_utf8

READ = (".tsv", ".csv", ".jsonl", ".parquet", ".conll", ".conllu", ".json", ".txt")  # kinds of files that hold rows
PACKED_AS = (".gz", ".xz", ".zst")
SAVED = ("dataset_dict.json", "dataset_info.json")  # of what `save_to_disk` of the library datasets wrote
BLOCK = 1 << 20  # bytes of another encoding that are read at once


def standing(path: str | Given, number: int) -> str:
    """A line of a file, or a row that was given, as errors name it."""
    return path.where(number) if isinstance(path, Given) else f"{printable(path)}:{number}"


class Lines:
    """(number, text) of each line of a file in `encoding`, a byte order mark at its start left out; the line break is not part of it.

    Lines end in \\n or \\r\\n, or all of them in \\r alone, as on old Macs: where the file has no \\n before its very end.
    """

    def __init__(self, path: Path | Given, encoding: str = UTF8):
        self.path, self.name, self.encoding = path, printable(path), checked(encoding)

    def at(self, number: int) -> str:
        return self.path.where(number) if isinstance(self.path, Given) else f"{self.name}:{number}"

    def __iter__(self) -> Iterator[tuple[int, str]]:
        if isinstance(self.path, Given):
            yield from enumerate(self.path.lines)
            return
        with opened(self.path) as file:
            number, start = 0, 0
            try:
                for raw in _ended(file if is_utf8(self.encoding) else _recoded(file, self.name, self.encoding)):
                    number += 1
                    start += len(raw)
                    try:
                        text = raw.decode("utf-8")
                    except UnicodeDecodeError as error:
                        at, byte = start - len(raw) + error.start, raw[error.start]
                        what = _other(raw) if number == 1 else ""
                        where = f"{self.name}:{number}: byte {at}: not UTF-8 (0x{byte:02x})"
                        sheet = " (Excel: CSV UTF-8)" if ".csv" in self.path.name and not what else ""
                        raise InputError(f"{where}{what or _to_utf8()}{sheet}") from None
                    if number == 1:
                        text = text.removeprefix("\ufeff")
                        if what := _other(raw):
                            raise InputError(f"{self.name}:1: not UTF-8{what}")
                    yield number, text.removesuffix("\n").removesuffix("\r")
            except InputError:
                raise
            except Exception as error:
                if not _damaged(error):
                    raise
                raise InputError(
                    f"{self.name}:{number + 1}: the compressed file is damaged or cut off ({printable(error)})"
                ) from None


def _recoded(file: Any, name: str, encoding: str) -> Iterator[bytes]:
    """The lines of a binary stream in `encoding`, in UTF-8, with their ends."""
    recoder, rest = Recoder(name, encoding), b""
    for data in chain(iter(lambda: file.read(BLOCK), b""), (b"",)):
        *lines, rest = (rest + recoder(data)).split(b"\n")
        yield from (line + b"\n" for line in lines)
    if rest:
        yield rest


def _ended(file: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a binary stream with their ends."""
    lines = iter(file)
    first, second = next(lines, b""), next(lines, None)
    if second is None:
        whole = first.removesuffix(b"\n")
        if b"\r" in whole.removesuffix(b"\r"):
            parts = whole.split(b"\r")
            yield from [part + b"\r" for part in parts[:-1]] + [parts[-1]] * bool(parts[-1])
            return
    if first:
        yield first
    if second is not None:
        yield second
        yield from lines


def _to_utf8() -> str:
    return f"; {option('encoding')} names another, or convert the file to UTF-8"


PACKED = {b"PK\x03\x04": "a zip archive or an Excel sheet; save it as CSV UTF-8", b"\x1f\x8b": "gzip; name it .gz"}


def _other(raw: bytes) -> str:
    """What the first bytes of a file say of it where it is UTF-16, UTF-32, or no text."""
    for mark, name in PACKED.items():
        if raw.startswith(mark):
            return f" but {name}"
    for name, marks in (("UTF-32", (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)), ("UTF-16", (b"\xff\xfe", b"\xfe\xff"))):
        if raw.startswith(marks):
            return f" but {name}, as its byte order mark says; {option('encoding', name.lower())} reads it"
    zeros = raw[:64].count(0)
    return (
        f" but UTF-16, as every other byte is 0; {option('encoding', 'utf-16-le', 'utf-16-be')} reads it"
        if zeros > 1 and 2 * zeros >= len(raw[:64]) - 2
        else ""
    )


def _damaged(error: Exception) -> bool:
    return isinstance(error, (EOFError, zlib.error, lzma.LZMAError, OSError)) or type(error).__name__ == "ZstdError"


def trained_encoding(path: str | Path | Given, encoding: str) -> str:
    """`encoding`, of a model's training file, unless the file here is UTF-8, which no other encoding's bytes are by chance."""
    if isinstance(path, Given) or is_utf8(encoding):
        return UTF8
    decoder = codecs.getincrementaldecoder(UTF8)("strict")
    with opened(Path(path)) as file:
        try:
            for data in iter(lambda: file.read(BLOCK), b""):
                decoder.decode(data)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return encoding
        except Exception as error:
            if not _damaged(error):
                raise
    return UTF8


def check_there(path: str | Path | Given) -> None:
    """InputError, or ResourceError, for a file that cannot be opened."""
    if not isinstance(path, Given):
        opened(Path(path)).close()


def opened(path: Path):
    """A binary stream of a regular file, unpacked by its last suffix."""
    name, suffix = printable(path), path.suffix.lower()
    try:
        if path.is_dir():
            raise InputError(f"{name}: is a folder, where a file is wanted{_inside(path)}")
        if not path.is_file():
            raise InputError(
                f"{name}: is not a regular file" if path.exists() else f"{name}: no such file{_beside(path)}"
            )
        if suffix == ".gz":
            return gzip.open(path)
        if suffix == ".xz":
            return lzma.open(path)
        if suffix == ".zst":
            import zstandard

            return io.BufferedReader(
                zstandard.ZstdDecompressor().stream_reader(path.open("rb"), read_across_frames=True)
            )
        return path.open("rb")
    except PermissionError:
        raise ResourceError(f"{name}: permission denied") from None
    except OSError as error:
        raise InputError(f"{name}: {error.strerror or error}") from None


def _inside(path: Path) -> str:
    """What of a folder can be named in its place."""
    if any((path / name).is_file() for name in SAVED):
        return f"; hf:{printable(path if path.is_absolute() else Path('.', path))} is the data set that was saved in it"
    kinds = {*READ, *(kind + packed for kind in READ for packed in PACKED_AS)}
    there = sorted(
        one for one in path.iterdir() if one.is_file() and "".join(one.suffixes[-2:]).lower().endswith((*kinds,))
    )
    return f", such as {printable(there[0])}" if there else ""


def _beside(path: Path) -> str:
    known = [p.name for p in path.parent.iterdir()][:1000] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, known, n=1, cutoff=0.6)
    return f"; did you mean {printable(path.parent / near[0])}?" if near else ""
