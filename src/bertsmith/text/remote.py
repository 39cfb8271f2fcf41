"""What lies behind a URL (s3://, gs://, hdfs://, https://, memory://, zip://a.txt::s3://…), listed and read as a stream through fsspec.

Nothing is copied: a file is read where it lies, and on from where a read broke, a few times.  What a URL says about who is asking (a name and a
password, a signed query) is shown to nobody; fsspec's own settings and the environment say it better.
"""

from __future__ import annotations

import glob
import io
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from bertsmith.errors import InputError, ResourceError, printable

TRIES = 4  # of a request or a read, the first among them
WAIT = 0.5  # seconds before the second; doubled before each further one
# What tells one version of a file from another, as file systems call it.
VERSIONS = ("ETag", "etag", "md5", "md5Hash", "LastModified", "last_modified", "updated", "mtime", "created", "CRC")
_URL = re.compile(r"(?:[a-z][\w+.-]*::)*[a-z][\w+.-]*://", re.ASCII)
_WHO = re.compile(r"(?<!abfs)(?<!abfss)(?<!wasb)(?<!wasbs)://[^/@\s'\"]*@")  # with these it names a container
_QUERY = re.compile(r"(://[^\s?'\"]*)\?[^\s'\"]*")


def is_url(name: str) -> bool:
    return _URL.match(name) is not None


def shown(url: str) -> str:
    """A URL, or a message that has some in it, without names, passwords and queries.  A ? that is part of a pattern stays."""
    parts = (_WHO.sub("://…@", part) for part in url.split("::"))
    return "::".join(_QUERY.sub(lambda found: f"{found[1]}?…" if "=" in found[0] else found[0], part) for part in parts)


def path_of(url: str) -> str:
    """What a plain file:// URL names on this machine; anything else as it is."""
    return url.removeprefix("file://") if url.startswith("file://") and "::" not in url else url


@dataclass(frozen=True)
class Remote:
    """A file behind a URL, as it was when it was listed."""

    url: str = field(repr=False)
    size: int | None  # bytes; None where only reading tells
    versions: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        return shown(self.url)

    def open(self) -> Stream:
        return Stream(self)

    def head(self, size: int) -> bytes:
        """Its first bytes."""
        with self.open() as file:
            return file.read(size) or b""

    def unchanged(self) -> None:
        """InputError where it is not the file that was listed."""
        system, path = _system(self.url)
        now = _asked(self.name, lambda: (system.invalidate_cache(path), system.info(path))[1])
        was, found = dict(self.versions), dict(_versions(now))
        same = self.size in (None, now.get("size"))
        if not same or any(was[name] != found[name] for name in was.keys() & found.keys()):
            raise InputError(
                f"{printable(self.name)}: changed while it was read; wait until it is complete, then run again"
            )


class Stream(io.RawIOBase):
    """The bytes of a remote file; a read that breaks is tried again from there.  ResourceError where none of the tries brings more."""

    def __init__(self, remote: Remote):
        self.remote, self.at, self.file = remote, 0, None
        self.system, self.path = _system(remote.url)
        self.file = _asked(remote.name, lambda: self.system.open(self.path, "rb"))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self.remote.size is not None

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.remote.size or 0}[whence]
        self.at = base + offset
        return self.at

    def readinto(self, buffer: Any) -> int:
        data = _asked(self.remote.name, lambda: self._read(len(buffer)))
        buffer[: len(data)] = data
        self.at += len(data)
        return len(data)

    def _read(self, size: int) -> bytes:
        try:
            file = self._placed()
            data = file.read(size)
            if not data and size and self.remote.size is not None and self.at < self.remote.size:
                raise OSError(f"cut short: {self.at} of {self.remote.size} bytes")
            return data
        except Exception:
            self._dropped()
            raise

    def _placed(self) -> Any:
        """The file, open and standing where the next byte is wanted."""
        if self.file is None:
            self.file = self.system.open(self.path, "rb")
        if self.file.tell() != self.at:
            if self.remote.size is not None:
                self.file.seek(self.at)
            else:  # some servers send a file from its beginning only
                left = self.at - self.file.tell()
                while left > 0 and (data := self.file.read(min(left, 1 << 20))):
                    left -= len(data)
        return self.file

    def _dropped(self) -> None:
        file, self.file = self.file, None
        try:
            if file is not None:
                file.close()
        except Exception:  # it is broken; what it says of that has been said
            pass

    def close(self) -> None:
        if not self.closed:
            self._dropped()
        super().close()


def listed(url: str) -> tuple[list[tuple[str, Remote]], bool]:
    """The files that a URL names, each with its path from there, and whether it names a folder and not one of them or a pattern.

    In the order of a folder on this machine: the files of each folder by name, then what its folders hold.  InputError for what is missing.
    """
    system, path = _system(url)
    name = shown(url)
    try:
        info = _asked(name, lambda: system.info(path), missing=True)
        if info is None and glob.has_magic(path):
            found = _asked(name, lambda: system.glob(path, detail=True))
            matches = {at: of for at, of in found.items() if of.get("type") != "directory"}
            if not matches:
                raise InputError(f"{printable(name)}: no file matches")
            return [(at, _remote(url, path, at, matches[at])) for at in sorted(matches)], False
    except NotImplementedError:
        raise InputError(f"{printable(name)}: such a place cannot be listed; name files") from None
    if info is None:
        raise InputError(f"{printable(name)}: no such file or folder")
    if info.get("type") != "directory":
        return [(path, _remote(url, path, path, info))], False
    found = _asked(name, lambda: system.find(path, detail=True))
    inside = sorted((at for at, of in found.items() if of.get("type") != "directory"), key=_order)
    return [(at.removeprefix(path).lstrip("/"), _remote(url, path, at, found[at])) for at in inside], True


def _order(path: str) -> tuple[tuple[bool, str], ...]:
    *folders, name = PurePosixPath(path).parts
    return (*((True, folder) for folder in folders), (False, name))


def _remote(url: str, path: str, at: str, info: dict[str, Any]) -> Remote:
    """The file `at` of the file system of `url`, which named `path` there."""
    chain, rest = [], url
    while "://" not in (first := rest.partition("::")[0]) and "::" in rest:
        chain.append(first)
        rest = rest.partition("::")[2]
    first, mark, behind = rest.partition("::")
    bare, whole = first.rstrip("/"), path.rstrip("/")
    front = bare.removesuffix(whole) if whole and bare.endswith(whole) else first
    own = at if is_url(at) else front + at
    return Remote("::".join([*chain, own + mark + behind]), info.get("size"), _versions(info))


def _versions(info: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    known = ((name, info[name]) for name in VERSIONS if info.get(name) is not None)
    return tuple((name, str(of.timestamp() if hasattr(of, "timestamp") else of)) for name, of in known)


def _system(url: str) -> tuple[Any, str]:
    """(fsspec's file system, the path in it).  InputError naming the package that is missing, or what is wrong with the URL."""
    name = printable(shown(url))
    try:
        import fsspec
    except ImportError:
        raise InputError(f"{name}: URLs need fsspec; pip install 'bertsmith[remote]'") from None
    try:
        return _asked(shown(url), lambda: fsspec.core.url_to_fs(url))
    except ImportError as error:
        raise InputError(f"{name}: {printable(error)}; pip install {_package(url)}") from None
    except ValueError as error:
        raise InputError(f"{name}: {printable(shown(str(error)))}") from None


def _package(url: str) -> str:
    packages = {
        "s3": "s3fs",
        "s3a": "s3fs",
        "gs": "gcsfs",
        "gcs": "gcsfs",
        "abfs": "adlfs",
        "az": "adlfs",
        "hdfs": "pyarrow",
    }
    asked = [packages[word] for word in re.findall(r"([a-z][\w+.-]*):", url) if word in packages]
    return asked[-1] if asked else "'bertsmith[remote]'"


def _asked(name: str, call: Callable[[], Any], missing: bool = False) -> Any:
    """What a call of a file system gives, which is tried a few times.  `missing`: None for what is not there, else an InputError.

    What cannot be mended by trying again comes at once: what is not there, what may not be read, what is not installed or not a URL.
    """
    for number in range(TRIES):
        try:
            return call()
        except (ImportError, NotImplementedError, ValueError, InputError, ResourceError):
            raise
        except FileNotFoundError:
            if missing:
                return None
            raise InputError(f"{printable(name)}: no such file or folder") from None
        except PermissionError as error:
            raise InputError(f"{printable(name)}: cannot be read: {_reason(error)}") from None
        except Exception as error:  # those of clouds and networks have no common class
            if number == TRIES - 1:
                raise ResourceError(
                    f"{printable(name)}: cannot be read: {_reason(error)}; {TRIES} tries; run again when the network does"
                ) from None
        time.sleep(WAIT * 2**number)
    raise AssertionError("the last try returns or raises")


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return printable(shown(text.splitlines()[0]), 120)
