"""What a user names (files, folders, globs, hf:...) to a list of plain files, and their decompressed bytes."""

import glob
import gzip
import lzma
import os
import stat
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bertsmith.errors import InputError, ResourceError, printable

KINDS = {".txt": "txt", ".text": "txt", ".md": "txt", ".rst": "txt", ".jsonl": "jsonl", ".ndjson": "jsonl"}
KINDS |= {".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}
COMPRESSIONS = {".gz": "gzip", ".xz": "xz", ".zst": "zstd"}
ALLOWED = ".txt, .jsonl, .csv, .tsv, .parquet, each also .gz, .xz or .zst"


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file (or one hf: data set), as it was when the list was made."""

    name: str
    kind: str  # txt, jsonl, csv, tsv, parquet, hf
    compression: str = ""  # "", gzip, xz, zstd
    size: int = 0
    changed: int = 0  # nanoseconds
    inode: tuple[int, int] = (0, 0)

    def open(self) -> BinaryIO:
        """The file as it lies; InputError if it cannot be opened or is not the file that was listed."""
        try:
            file = open(self.name, "rb", buffering=0, opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK))
        except OSError as error:
            raise InputError(f"{printable(self.name)}: cannot be read: {error.strerror or error}") from None
        try:
            self.unchanged(file)
        except InputError:
            file.close()
            raise
        return file

    def unchanged(self, file: BinaryIO) -> None:
        found = os.fstat(file.fileno())
        if (found.st_size, found.st_mtime_ns, (found.st_dev, found.st_ino)) != (self.size, self.changed, self.inode):
            raise InputError(
                f"{printable(self.name)}: changed while it was read; wait until it is complete, then run again"
            )

    def seekable(self) -> BinaryIO:
        """The decompressed bytes as a file that can be sought; on disk where they had to be decompressed."""
        if not self.compression:
            return self.open()
        whole = tempfile.TemporaryFile()
        for data in read(self, 1 << 20):
            try:
                whole.write(data)
            except OSError as error:
                raise ResourceError(
                    f"{tempfile.gettempdir()}: cannot be written: {error.strerror}; TMPDIR names another place"
                ) from None
        whole.seek(0)
        return whole


def expand(sources: list[str]) -> tuple[Source, ...]:
    """Every file that `sources` name, folders in sorted order.  InputError for what is missing, special, unreadable or named twice."""
    if not sources:
        raise InputError("SOURCE: nothing to read; name files, folders, globs or hf:NAME")
    found: list[Source] = []
    for name in map(os.fspath, sources):
        if name.startswith("hf:"):
            if name.count(":") > 3 or not name.split(":")[1]:
                raise InputError(f"{printable(name)}: expected hf:NAME, hf:NAME:CONFIG or hf:NAME:CONFIG:SPLIT")
            found.append(Source(name=name, kind="hf"))
            continue
        mode = _stat(name, missing_ok=glob.has_magic(name))
        if mode is None:
            matches = sorted(m for m in glob.glob(name, recursive=True) if not os.path.isdir(m))
            if not matches:
                raise InputError(f"{printable(name)}: no file matches")
            found += map(_file, matches)
        elif stat.S_ISDIR(mode.st_mode):
            inside = list(_walk(name))
            if not inside:
                raise InputError(f"{printable(name)}: a folder without a file to read; looked for {ALLOWED}")
            found += map(_file, inside)
        else:
            found.append(_file(name))
    seen: dict[tuple, Source] = {}
    for source in found:
        key = source.inode if source.kind != "hf" else (source.name,)
        if key in seen:
            other = seen[key].name
            also = "named twice" if other == source.name else f"the same file as {printable(other)}"
            raise InputError(f"{printable(source.name)}: {also}; name it once")
        seen[key] = source
    return tuple(found)


def apart(sources: tuple[Source, ...], named: list[str], out: str | Path) -> None:
    """InputError if `out` lies inside a folder that is read, or a file that is read lies inside `out`."""
    target = Path(os.path.realpath(out))
    for name in named:
        if not name.startswith("hf:") and os.path.isdir(name) and target.is_relative_to(os.path.realpath(name)):
            raise InputError(
                f"{printable(out)}: --out lies inside the source {printable(name)}; choose a folder outside of it"
            )
    for source in sources:
        if source.kind != "hf" and Path(os.path.realpath(source.name)).is_relative_to(target):
            raise InputError(f"{printable(source.name)}: lies inside --out {printable(out)}; choose another folder")


def _walk(folder: str) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise InputError(f"{printable(error.filename)}: cannot be read: {error.strerror}") from None

    for here, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and _kind(name):
                yield os.path.join(here, name)


def _kind(name: str) -> tuple[str, str] | None:
    stem, suffix = os.path.splitext(name.lower())
    compression = COMPRESSIONS.get(suffix, "")
    if compression:
        suffix = os.path.splitext(stem)[1]
    kind = KINDS.get(suffix)
    return (kind, compression) if kind else None


def _stat(name: str, missing_ok: bool = False) -> os.stat_result | None:
    where = printable(name)
    try:
        return os.stat(name)
    except FileNotFoundError:
        if os.path.islink(name):
            raise InputError(f"{where}: a link to {printable(os.readlink(name))}, which does not exist") from None
        if missing_ok:
            return None
        raise InputError(f"{where}: no such file or folder") from None
    except (OSError, ValueError) as error:
        if missing_ok and isinstance(error, NotADirectoryError):
            return None
        raise InputError(f"{where}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _file(name: str) -> Source:
    found = _stat(name)
    where = printable(name)
    if not stat.S_ISREG(found.st_mode):
        what = {
            stat.S_IFDIR: "folder",
            stat.S_IFIFO: "pipe",
            stat.S_IFSOCK: "socket",
            stat.S_IFCHR: "device",
            stat.S_IFBLK: "device",
        }
        raise InputError(
            f"{where}: is a {what.get(stat.S_IFMT(found.st_mode), 'special file')}, not a plain file; copy its content to one"
        )
    kind = _kind(os.path.basename(name))
    if kind is None and os.path.splitext(name)[1]:
        raise InputError(f"{where}: a kind of file that is not known; {ALLOWED}")
    if not os.access(name, os.R_OK):
        raise InputError(f"{where}: cannot be read: Permission denied")
    kind, compression = kind or ("txt", "")
    identity = (found.st_dev, found.st_ino)
    return Source(
        name=name, kind=kind, compression=compression, size=found.st_size, changed=found.st_mtime_ns, inode=identity
    )


def read(source: Source, block: int) -> Iterator[bytes]:
    """The decompressed bytes, in blocks of at most about `block`, none empty.  InputError naming a file that is cut short or damaged."""
    with source.open() as file:
        where = printable(source.name)
        try:
            if source.compression == "gzip":
                with gzip.GzipFile(fileobj=file) as stream:
                    yield from _until_empty(stream, block)
            elif source.compression == "xz":
                with lzma.LZMAFile(file) as stream:
                    yield from _until_empty(stream, block)
            elif source.compression == "zstd":
                yield from _zstd(file, block, where)
            else:
                left = source.size
                while left > 0 and (data := file.read(min(block, left))):
                    left -= len(data)
                    yield data
        except EOFError:
            raise InputError(f"{where}: cut short: the {source.compression} stream has no end; copy it again") from None
        except (gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
            raise InputError(f"{where}: not {source.compression} that can be read: {printable(error)}") from None
        except OSError as error:
            raise InputError(f"{where}: cannot be read: {error.strerror or printable(error)}") from None
        source.unchanged(file)


def _until_empty(stream: BinaryIO, block: int) -> Iterator[bytes]:
    while data := stream.read(block):
        yield data


def _zstd(file: BinaryIO, block: int, where: str) -> Iterator[bytes]:
    """All frames of a .zst file; its own loop, as the library's reader takes a cut stream for a complete one."""
    try:
        import zstandard
    except ImportError:
        raise InputError(f"{where}: .zst needs zstandard; pip install zstandard") from None
    try:
        decoder, is_open = None, False
        with_window = zstandard.ZstdDecompressor(max_window_size=1 << 27)
        while data := file.read(1 << 14):  # small, as a thousandfold expansion of one read comes out at once
            while data:
                if decoder is None:
                    decoder, is_open = with_window.decompressobj(), True
                out = decoder.decompress(data)
                for start in range(0, len(out), block):
                    yield out[start : start + block]
                data = b""
                if decoder.eof:
                    data, decoder, is_open = decoder.unused_data, None, False
        if is_open:
            raise EOFError
    except zstandard.ZstdError as error:
        raise InputError(f"{where}: not zstd that can be read: {printable(error)}") from None
