"""What a user names (files, folders, globs, URLs, hf:...) to a list of plain files."""

import glob
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, BinaryIO

from bertsmith.errors import InputError, ResourceError, printable
from bertsmith.spelling import option
from bertsmith.text import remote
from bertsmith.text.recognise import Content, Unread, recognised
from bertsmith.text.remote import Remote
from bertsmith.text.unpacking import read

CODE = r"[a-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*"  # of a language
_TAGGED = re.compile(rf"({CODE}(?:\+{CODE})?)=(.+)", re.DOTALL)
_PAGE = re.compile(rb"\s*<(?:!doctype html|html)\b", re.IGNORECASE)
AND = "+"  # between two languages that stand line by line, and between their files


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file (or one hf: data set), as it was when the list was made."""

    name: str
    kind: str  # txt, jsonl, doc, csv, tsv, parquet, hf, rows, parallel
    compression: str = ""  # "", gzip, xz, zstd, bzip2
    by_content: bool = False  # its name alone would not have said so
    size: int = 0
    changed: int = 0  # nanoseconds
    inode: tuple[int, int] = (0, 0)
    rows: tuple[Any, ...] = ()  # of kind "rows": texts, or mappings that have them under a name
    language: str = ""  # as the user said; two, "en+de", of parallel lines
    sides: tuple["Source", ...] = ()  # of kind "parallel": a file of both languages, or one of each
    at: Remote | None = None  # of a file behind a URL, whose name is then the URL as it may be shown

    @property
    def is_file(self) -> bool:
        """Whether it is bytes whose number was known when the list was made."""
        return self.kind not in ("hf", "rows", "parallel") and (self.at is None or self.at.size is not None)

    @property
    def identity(self) -> Any:
        """What it has in common with the same source under another name."""
        if self.at is not None:
            return self.at.url
        return self.inode if self.is_file else (self.name, self.language)

    def open(self) -> BinaryIO:
        """The file as it lies; InputError if it cannot be opened or is not the file that was listed."""
        if self.at is not None:
            self.at.unchanged()
            return self.at.open()
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
        if self.at is not None:
            self.at.unchanged()
            return
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


@dataclass
class Listing:
    """What sources name: what is read, in order, and what lies in a folder and is not."""

    sources: list[Source] = field(default_factory=list)
    passed: list[tuple[str, str, int]] = field(default_factory=list)  # (name, reason, bytes)

    @property
    def passed_over(self) -> dict[str, dict[str, int]]:
        """{reason: {files, bytes}}"""
        found: dict[str, dict[str, int]] = {}
        for _, reason, size in self.passed:
            of = found.setdefault(reason, {"files": 0, "bytes": 0})
            of["files"] += 1
            of["bytes"] += size
        return found

    def kinds(self) -> dict[str, int]:
        """{what the files are: how many}, those that only their content tells by themselves."""
        found: dict[str, int] = {}
        for source in self.sources:
            name = f"{source.kind} by content" if source.by_content else source.kind
            found[name] = found.get(name, 0) + 1
        return found


def listed(sources: list[str | Source], only: list[str] | tuple[str, ...] = (), encoding: str = "utf-8") -> Listing:
    """Every file that `sources` name, folders in sorted order; of a folder those alone that match one of the patterns `only`.

    InputError for what is missing, cannot be opened, or named twice, and for a named file that is no text.  What a folder holds beside is
    passed over by name: what is hidden, leads elsewhere, stands there already, or is no text.
    """
    if not sources:
        raise InputError("SOURCE: nothing to read; name files, folders, globs, URLs or hf:NAME")
    found, held = Listing(), set()  # held: names that folders brought
    for source in sources:
        if isinstance(source, Source):
            found.sources.append(source)
            continue
        language, name = tagged(os.fspath(source))
        before = len(found.sources)
        if AND in language:
            found.sources.append(_parallel(language, name, encoding))
        else:
            _name(name, found, held, only, encoding)
        found.sources[before:] = [replace(one, language=language) for one in found.sources[before:]]
    return _by_language(_once(found, held))


def tagged(name: str) -> tuple[str, str]:
    """(language, what is named): "zh=news.txt" is ("zh", "news.txt"); a file that is called so is itself."""
    match = None if os.path.lexists(name) else _TAGGED.fullmatch(name)
    return (match[1], match[2]) if match else ("", name)


def _by_language(found: Listing) -> Listing:
    """The sources of each language together, in the order in which languages are first named.  InputError where some have none."""
    languages = list(dict.fromkeys(source.language for source in found.sources))
    if "" in languages and len(languages) > 1:
        bare = next(source.name for source in found.sources if not source.language)
        named = ", ".join(language for language in languages if language)
        raise InputError(
            f"{printable(bare)}: has no language, others have ({named}); name one for each, such as en={printable(bare)}"
        )
    found.sources.sort(key=lambda source: languages.index(source.language))
    return found


def _parallel(language: str, name: str, encoding: str) -> Source:
    """A file with both languages in columns, or a file of each, joined by a +."""
    names = [name] if os.path.lexists(name) else name.split(AND)
    if len(names) > 2:
        raise InputError(f"{printable(name)}: parallel lines are one file of two columns, or two files: A.en+A.de")
    sides = tuple(_named(one, encoding) for one in names)
    allowed = ("tsv", "jsonl") if len(sides) == 1 else ("txt",)
    for side in sides:
        if side.kind not in allowed and not (side.kind == "txt" and len(sides) == 1):
            raise InputError(
                f"{printable(side.name)}: is {side.kind}; parallel lines are two text files, or a .tsv or .jsonl of two columns"
            )
    size = sum(side.size for side in sides)
    return Source(name=name, kind="parallel", size=size, sides=sides)


def _name(name: str, found: Listing, held: set[str], only: list[str] | tuple[str, ...], encoding: str) -> None:
    """What one name stands for goes into `found`, and what a folder brought into `held`."""
    if remote.is_url(name := remote.path_of(name)) and not os.path.lexists(name):
        _url(name, found, held, only, encoding)
        return
    if name.startswith("hf:"):
        if name.count(":") > 3 or not name.split(":")[1]:
            raise InputError(f"{printable(name)}: expected hf:NAME, hf:NAME:CONFIG or hf:NAME:CONFIG:SPLIT")
        found.sources.append(Source(name=name, kind="hf"))
        return
    mode = _stat(name, missing_ok=glob.has_magic(name))
    if mode is None:
        matches = sorted(m for m in glob.glob(name, recursive=True) if not os.path.isdir(m))
        if not matches:
            raise InputError(f"{printable(name)}: no file matches")
        found.sources += [_named(match, encoding) for match in matches]
    elif stat.S_ISDIR(mode.st_mode):
        _hold(name, _folder(name, only, encoding), found, held)
    else:
        found.sources.append(_named(name, encoding))


def _hold(name: str, inside: Listing, found: Listing, held: set[str]) -> None:
    """What a folder brought.  InputError where that is no text."""
    if not inside.sources:
        what = "; ".join(f"{of['files']} {reason}" for reason, of in inside.passed_over.items()) or "it is empty"
        raise InputError(f"{printable(name)}: a folder without a text to read: {printable(what, 200)}")
    found.sources += inside.sources
    held |= {source.name for source in inside.sources}
    found.passed += inside.passed


def _url(url: str, found: Listing, held: set[str], only: list[str] | tuple[str, ...], encoding: str) -> None:
    """The same of what lies behind a URL."""
    files, folder = remote.listed(url)
    if not folder:
        for _, file in files:
            try:
                found.sources.append(_distant(file, encoding))
            except Unread as no:
                raise InputError(f"{printable(file.name)}: {no}") from None
        return
    inside = Listing()
    for path, file in files:
        reason = "hidden" if any(part.startswith(".") for part in path.split("/")) else _unwanted(path, only)
        if not reason:
            try:
                inside.sources.append(_distant(file, encoding))
            except Unread as no:
                reason = str(no)
        if reason:
            inside.passed.append((file.name, reason, file.size or 0))
    _hold(remote.shown(url), inside, found, held)


def _one(url: str, encoding: str) -> Source:
    """The single file of a URL."""
    files, folder = remote.listed(url)
    if folder or len(files) != 1:
        raise InputError(f"{printable(remote.shown(url))}: names several files; name one")
    return _distant(files[0][1], encoding)


def _distant(file: Remote, encoding: str) -> Source:
    """Unread where it holds no text."""
    name = file.name.partition("?…")[0]
    content = recognised(name, encoding, file.head)
    if content.kind == "txt" and content.by_content and _PAGE.match(file.head(256)):
        raise Unread("a web page; name the files that it links to")
    how = {"kind": content.kind, "compression": content.compression, "by_content": content.by_content}
    return Source(name=file.name, size=file.size or 0, at=file, **how)


def _unwanted(path: str, only: list[str] | tuple[str, ...]) -> str:
    """The reason for which a file of a folder, at that path in it, is not read; "" for one that is."""
    wanted = not only or any(fnmatch(path, p) or fnmatch(os.path.basename(path), p) for p in only)
    return "" if wanted else "not asked for by `only`"


def _once(found: Listing, held: set[str]) -> Listing:
    """InputError for a file that was named twice; one that a folder holds once more is passed over there."""
    seen: dict[Any, Source] = {}
    kept = []
    for source in found.sources:  # a file before the links to it
        if source.name in held and not os.path.islink(source.name):
            seen.setdefault(source.identity, source)
    for source in found.sources:
        other = seen.setdefault(source.identity, source)
        if other is source:
            kept.append(source)
        elif source.name not in held or source.name == other.name:
            also = "named twice" if other.name == source.name else f"the same file as {printable(other.name)}"
            raise InputError(f"{printable(source.name)}: {also}; name it once")
        else:
            found.passed.append((source.name, "the same as another file", source.size))
    return Listing(kept, found.passed)


def apart(sources: tuple[Source, ...], named: list[str | Source], out: str | Path) -> None:
    """InputError if `out` lies inside a folder that is read, or a file that is read lies inside `out`."""
    target = Path(os.path.realpath(out))
    for name in named:
        name = remote.path_of(tagged(name)[1]) if isinstance(name, str) else name
        if (
            isinstance(name, str)
            and not name.startswith("hf:")
            and os.path.isdir(name)
            and target.is_relative_to(os.path.realpath(name))
        ):
            raise InputError(
                f"{printable(out)}: {option('out')} lies inside the source {printable(name)}; choose a folder outside of it"
            )
    for source in (*sources, *(side for one in sources for side in one.sides)):
        if source.is_file and source.at is None and Path(os.path.realpath(source.name)).is_relative_to(target):
            raise InputError(f"{printable(source.name)}: lies inside {option('out', out)}; choose another folder")


def _folder(folder: str, only: list[str] | tuple[str, ...], encoding: str) -> Listing:
    """Every file below a folder, once: read, or passed over for a reason."""
    found = Listing()
    for name, reason in _below(folder):
        size = os.lstat(name).st_size
        reason = reason or _unwanted(os.path.relpath(name, folder), only)
        if reason:
            found.passed.append((name, reason, size))
            continue
        try:
            found.sources.append(_file(name, encoding))
        except Unread as no:
            found.passed.append((name, str(no), size))
    return found


def _below(folder: str) -> Iterator[tuple[str, str]]:
    """(file below `folder`, why it is not looked at); folders that are links are not followed."""

    def refuse(error: OSError) -> None:
        raise InputError(f"{printable(error.filename)}: cannot be read: {error.strerror}") from None

    for here, folders, names in os.walk(folder, onerror=refuse):
        folders.sort()
        hidden = any(part.startswith(".") for part in os.path.relpath(here, folder).split(os.sep) if part != ".")
        for name in folders:
            if os.path.islink(os.path.join(here, name)):
                yield os.path.join(here, name), "a link to a folder"
        for name in sorted(names):
            path = os.path.join(here, name)
            if hidden or name.startswith("."):
                yield path, "hidden"
            elif not os.path.exists(path):
                yield path, "a link to nothing"
            else:
                mode = os.stat(path).st_mode
                yield path, "" if stat.S_ISREG(mode) else f"a {_special(mode)}"


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


def _special(mode: int) -> str:
    what = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
    what |= {stat.S_IFCHR: "device", stat.S_IFBLK: "device"}
    return what.get(stat.S_IFMT(mode), "special file")


def _named(name: str, encoding: str) -> Source:
    """A file that the user named.  InputError where it holds no text."""
    try:
        if remote.is_url(name := remote.path_of(name)) and not os.path.lexists(name):
            return _one(name, encoding)
        return _file(name, encoding)
    except Unread as no:
        raise InputError(f"{printable(name)}: {no}") from None


def _file(name: str, encoding: str) -> Source:
    """Unread where the file holds no text, InputError where it is no plain file or cannot be opened."""
    found = _stat(name)
    where = printable(name)
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{where}: is a {_special(found.st_mode)}, not a plain file; copy its content to one")
    if not os.access(name, os.R_OK):
        raise InputError(f"{where}: cannot be read: Permission denied")
    try:
        content: Content = recognised(name, encoding)
    except OSError as error:
        raise InputError(f"{where}: cannot be read: {error.strerror or error}") from None
    return Source(
        name=name,
        kind=content.kind,
        compression=content.compression,
        by_content=content.by_content,
        size=found.st_size,
        changed=found.st_mtime_ns,
        inode=(found.st_dev, found.st_ino),
    )
