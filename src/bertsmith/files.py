"""Files that last: atomic writes, folders that appear whole, and manifests that notice a flipped bit.

A write is temp + fsync + rename + fsync of the folder.  A manifest is JSON whose last field is the SHA-256 of its own text before that
field; it lists every other file of its folder with bytes and SHA-256.  No file format below detects a flipped bit by itself.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from bertsmith.errors import InputError, ResourceError, printable
from bertsmith.spelling import amount, an, flag, option

MANIFEST = "manifest.json"
LONGEST_MANIFEST = 64 << 20
FULL = (errno.ENOSPC, errno.EDQUOT)
_SEAL = ',\n "sha256": "'


class Newer(InputError):
    """What a newer bertsmith wrote is refused: never passed over, and never replaced."""


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """What the system refuses while `path` is written becomes a ResourceError of one line."""
    try:
        yield
    except OSError as error:
        way = "free some space or choose another place" if error.errno in FULL else "choose another place"
        raise ResourceError(f"{printable(path)}: cannot be written: {error.strerror or error}; {way}") from None


def write(path: str | Path, data: bytes) -> None:
    """Replace `path` by `data`, whole or not at all: after a crash it holds the old bytes or the new ones."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with writing(path):
        try:
            create(temporary, data)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync(path.parent)


def write_rows(path: str | Path, rows: Iterable[dict]) -> None:
    """`write` of a JSON line for each row."""
    write(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())


def create(path: str | Path, data: bytes) -> dict:
    """A file of these bytes, on the disk when this returns.  OSError, with some of it written, where the system refuses.

    Returns what a manifest says of it: the hash of what was meant, so that a `check` afterwards tells if the disk kept that.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        append(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def append(descriptor: int, data: bytes) -> None:
    """All of `data`, with no buffer between: what the system refuses is known here and not at some later flush."""
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def discard(folder: Path) -> None:
    """Remove a folder, such that a kill halfway leaves it whole or gone under its name (the rest is swept as a temporary)."""
    aside = folder.with_name(f".{folder.name}.tmp-{os.getpid()}")
    os.rename(folder, aside)
    shutil.rmtree(aside)


def sync(path: str | Path) -> None:
    """fsync a file or a folder (a rename lasts once its folder is synced)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def partial(final: str | Path) -> Iterator[Path]:
    """A new, empty folder beside `final` to fill and `publish`; removed again if the block fails.

    Folders that killed processes left for the same `final` are removed first.
    """
    final = Path(os.path.abspath(final))
    temporary = final.with_name(f".{final.name}.tmp-{os.getpid()}")
    with writing(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        sweep(final)
        temporary.mkdir()
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sweep(final: Path) -> None:
    """Remove what processes that no longer live left beside `final`; put back what one of them was replacing."""
    pattern = re.compile(re.escape(f".{final.name}.") + r"(tmp|old)-(\d{1,10})")
    if not final.parent.is_dir():
        return
    for name in sorted(os.listdir(final.parent)):
        match = pattern.fullmatch(name)
        if not match or (int(match[2]) != os.getpid() and _alive(int(match[2]))):
            continue
        left = final.parent / name
        if match[1] == "old" and not os.path.lexists(final):
            os.rename(left, final)
        elif left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def publish(temporary: str | Path, final: str | Path) -> None:
    """Rename a complete folder into place, durably; what stood there (see `refuse_unless_replaceable`) goes only then."""
    temporary, final = Path(temporary), Path(os.path.abspath(final))
    with writing(final):
        for folder, _, names in os.walk(
            temporary, onerror=_refused
        ):  # else a folder that cannot be listed is passed over
            for name in names:
                sync(os.path.join(folder, name))
            sync(folder)
        old = final.with_name(f".{final.name}.old-{os.getpid()}")
        if os.path.lexists(final):
            os.rename(final, old)
        os.rename(temporary, final)
        sync(final.parent)
        if os.path.lexists(old):
            shutil.rmtree(old)


def _refused(error: OSError) -> None:
    raise error


def check_place(final: str | Path, folder: bool = True) -> None:
    """InputError where nothing stands and no folder (or file) can be made, ResourceError where it may not be: known before the work and not
    behind it.  What is made to know it is removed again."""
    where, final = printable(final), Path(os.path.abspath(final))
    if os.path.lexists(final):
        return
    above = next(path for path in final.parents if os.path.lexists(path))
    if not above.is_dir():
        raise InputError(
            f"{where}: {option('out')}: {printable(above)} is a file, and nothing can stand in it; choose another place"
        )
    made = above / final.relative_to(above).parts[0]
    try:
        if folder or made != final:
            os.mkdir(made)
            os.rmdir(made)
        else:
            os.close(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
            os.unlink(made)
    except FileExistsError:
        return  # of another process
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in (*FULL, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO):
            with writing(where):
                raise
        raise InputError(
            f"{where}: {option('out')}: nothing can be made in {printable(above)}; choose another place"
        ) from None


def refuse_unless_replaceable(final: str | Path, ours: Callable[[str], bool], what: str, force: bool) -> None:
    """InputError unless `final` is free, an empty folder, a half-written `what` of ours, or (with `force`) a whole one.

    `ours(name)`: whether we write a file of this name there; a folder that holds any other is never replaced.
    """
    final = Path(final)
    where = printable(final)
    try:
        mode = os.stat(final).st_mode
        names = sorted(os.listdir(final)) if stat.S_ISDIR(mode) else None
    except FileNotFoundError:
        if final.is_symlink():
            raise InputError(f"{where}: {option('out')} is a dangling link; choose another place") from None
        check_place(final)
        return
    except (OSError, ValueError) as error:
        check_place(final)
        raise InputError(
            f"{where}: {option('out')} cannot be used: {getattr(error, 'strerror', None) or error}"
        ) from None
    if names is None:
        raise InputError(f"{where}: {option('out')} is a file; choose a folder that does not exist yet")
    if final.is_symlink() and names:
        raise InputError(f"{where}: {option('out')} is a link to a folder; name the folder itself")
    for name in names:
        if not ours(name):
            raise InputError(
                f"{where}: {option('out')} is a folder that is not {an(what)} (it holds {printable(name)}); choose another place"
            )
    if MANIFEST in names and not force:
        raise InputError(f"{where}: holds {an(what)} already; {flag('force')} replaces it")


@contextmanager
def locked(folder: str | Path, busy: str | None = None) -> Iterator[None]:
    """While no other process holds the lock of a folder, which dies with its process and leaves no file.  Where one does: InputError(`busy`); None waits."""
    with writing(folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if busy is None else fcntl.LOCK_NB))
        except OSError:
            if busy is None:
                raise
            raise InputError(busy) from None
        yield
    finally:
        os.close(descriptor)


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def listing(folder: str | Path, names: Iterable[str]) -> dict[str, dict]:
    """{name: {"bytes": n, "sha256": ...}}, what a manifest says of each file; sorted by name."""
    folder = Path(folder)
    return {name: {"bytes": os.path.getsize(folder / name), "sha256": sha256(folder / name)} for name in sorted(names)}


def sealed(manifest: dict) -> bytes:
    """The text of a manifest: JSON, closed by the SHA-256 of everything before that last field."""
    if not manifest or "sha256" in manifest:
        raise ValueError("a manifest holds something, and no field sha256 of its own")
    body = json.dumps(manifest, indent=1, ensure_ascii=True, allow_nan=False)[: -len("\n}")]
    return f'{body}{_SEAL}{hashlib.sha256(body.encode()).hexdigest()}"\n}}\n'.encode()


def unsealed(data: bytes, where: str | Path) -> dict:
    """The manifest that `sealed` wrote, without its seal.  InputError naming `where` if any byte of it is not as written."""
    body, seal, rest = data.rpartition(_SEAL.encode())
    digest = hashlib.sha256(body).hexdigest()
    if not seal or rest != f'{digest}"\n}}\n'.encode():
        raise InputError(
            f"{printable(where)}: damaged: its text does not agree with its own SHA-256; make it again from its source"
        )
    try:
        manifest = json.loads(body + b"\n}")
    except (ValueError, RecursionError):
        manifest = None
    if not isinstance(manifest, dict):
        raise InputError(f"{printable(where)}: not a manifest of bertsmith")
    return manifest


def plain(path: str | Path) -> bytes | None:
    """The bytes of a small plain file, None where there is nothing of that name.

    InputError for anything else: a link, a folder, a pipe that would be waited for, a file longer than a manifest may be, an I/O error.
    """
    try:
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{printable(path)}: not a plain file")
        if found.st_size > LONGEST_MANIFEST:
            raise InputError(
                f"{printable(path)}: {amount(found.st_size, 'byte')}; at most {LONGEST_MANIFEST} are expected here"
            )
        return Path(path).read_bytes()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{printable(path)}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def read_manifest(folder: str | Path, what: str, newest: int) -> dict:
    """The unsealed manifest of `folder`.  InputError if there is none, if it is damaged, or if a newer bertsmith wrote it.

    `what`: "store", "run", ...; `newest`: the highest format version that this bertsmith reads.
    """
    path = Path(folder) / MANIFEST
    try:
        if not stat.S_ISDIR(os.stat(folder).st_mode):
            raise InputError(f"{printable(folder)}: is a file; {an(what)} is a folder")
    except FileNotFoundError:
        raise InputError(f"{printable(folder)}: no such folder") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{printable(folder)}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    data = plain(path)
    if data is None:
        raise InputError(f"{printable(folder)}: not a complete {what}: it has no {MANIFEST}")
    manifest = unsealed(data, path)
    check_format(manifest, path, newest)
    if manifest.get("kind", what) != what:
        raise InputError(f"{printable(path)}: kind: this is {an(printable(manifest['kind']))}, not {an(what)}")
    return manifest


def check_format(tree: dict, path: Path, newest: int) -> None:
    """InputError for a `format` that is none, Newer for one above `newest`."""
    version = tree.get("format")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise InputError(
            f"{printable(path)}: format: {printable(repr(version))} is not a format version; 1 to {newest} are known"
        )
    if version > newest:
        raise Newer(
            f"{printable(path)}: format: version {version} comes from a newer bertsmith (this one reads up to {newest}); upgrade bertsmith"
        )


def check(folder: str | Path, files: dict[str, dict], hashes: bool = True) -> None:
    """InputError naming the first of a manifest's `files` that is missing, not a plain file, or has other bytes than written."""
    folder = Path(folder)
    if not isinstance(files, dict):
        raise InputError(f"{printable(folder / MANIFEST)}: files: expected an object of file names")
    for name, expected in files.items():
        path = folder / name
        where = printable(path)
        if not _inside(name):
            raise InputError(
                f"{printable(folder / MANIFEST)}: files: {printable(repr(name))} is not a plain path inside the folder"
            )
        if (
            not isinstance(expected, dict)
            or not isinstance(expected.get("bytes"), int)
            or not isinstance(expected.get("sha256"), str)
        ):
            raise InputError(f"{printable(folder / MANIFEST)}: files.{printable(name)}: expected bytes and sha256")
        try:
            found = os.lstat(path)
            if not stat.S_ISREG(found.st_mode):
                raise InputError(f"{where}: not a plain file, as {MANIFEST} says")
            if found.st_size != expected["bytes"]:
                raise InputError(
                    f"{where}: damaged: {amount(found.st_size, 'byte')}, {MANIFEST} says {expected['bytes']}"
                )
            if hashes and sha256(path) != expected["sha256"]:
                raise InputError(f"{where}: damaged: its SHA-256 is not the one in {MANIFEST}")
        except FileNotFoundError:
            raise InputError(f"{where}: missing; {MANIFEST} lists it") from None
        except (OSError, ValueError) as error:
            raise InputError(f"{where}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _inside(name: object) -> bool:
    if not isinstance(name, str) or not name or "\\" in name or "\0" in name:
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and path.parts != () and str(path) == name
