"""The decompressed bytes of a source, as a stream."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from bertsmith.errors import InputError, printable

if TYPE_CHECKING:
    from bertsmith.text.sources import Source


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
            elif source.compression == "bzip2":
                with bz2.BZ2File(file) as stream:
                    yield from _until_empty(stream, block)
            elif source.compression == "zstd":
                yield from _zstd(file, block, where)
            elif source.at is not None:
                yield from _until_empty(file, block)
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
