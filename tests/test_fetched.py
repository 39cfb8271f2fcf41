"""Stores behind URLs: fetched once, to the byte, by one process at a time, and told where that cannot be."""

import json
import threading
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from tests.runs import lines, small

from bertsmith import files
from bertsmith.errors import InputError, ResourceError
from bertsmith.text import fetched, remote
from bertsmith.text.fetched import cache_folder
from bertsmith.training.pretraining import pretrain
from bertsmith.training.run import open_store

PLAIN = ["training.precision=float32", "training.evaluate=0"]


@pytest.fixture
def away(short, monkeypatch, tmp_path):
    """The store `short` as memory://bucket/texts, and the cache of this test."""
    monkeypatch.setattr(remote, "WAIT", 0)
    monkeypatch.setenv("BERTSMITH_CACHE", str(tmp_path / "cache"))
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    for path in Path(short.path).iterdir():
        memory.pipe(f"/bucket/texts/{path.name}", path.read_bytes())
    yield memory
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]


@pytest.fixture
def opened(monkeypatch):
    """Names of the remote files that were opened."""
    seen: list[str] = []
    honest = MemoryFileSystem._open
    monkeypatch.setattr(
        MemoryFileSystem, "_open", lambda self, path, *a, **k: (seen.append(path), honest(self, path, *a, **k))[1]
    )
    return seen


def test_a_store_behind_a_url_is_fetched_once_and_is_the_store(away, short, opened, tmp_path):
    said: list[str] = []
    store = open_store("memory://bucket/texts", said.append)
    assert store.digest == short.digest and store.path.name == "texts"
    assert store.path.is_relative_to(tmp_path / "cache" / "stores")
    assert {path.name: path.read_bytes() for path in store.path.iterdir()} == {
        path.name: path.read_bytes() for path in Path(short.path).iterdir()
    }
    assert len(said) == 1 and said[0].startswith("fetching ")
    assert len(opened) == len(set(opened)) == len(short.manifest["files"]) + 1
    opened.clear()
    again = open_store("memory://bucket/texts/", said.append)
    assert again.path == store.path and opened == ["/bucket/texts/manifest.json"] and len(said) == 1


def test_a_run_on_a_store_behind_a_url_learns_what_it_does_on_the_store(away, short, tmp_path):
    options = {"steps": 4, "threads": 1, "seed": 1}
    pretrain(small(*PLAIN), short.path, tmp_path / "here", **options)
    pretrain(small(*PLAIN), "memory://bucket/texts", tmp_path / "there", cache=tmp_path / "own", **options)
    assert lines(tmp_path / "here") == lines(tmp_path / "there")
    assert (tmp_path / "own" / "stores").is_dir() and not (tmp_path / "cache").exists()


def test_a_fetch_that_broke_off_goes_on_with_what_is_missing(away, short, opened, monkeypatch):
    honest, many = fetched._fetch, []

    def breaks(url, path, expected):
        many.append(path.name)
        if len(many) == 3:
            raise ResourceError("cable pulled")
        honest(url, path, expected)

    monkeypatch.setattr(fetched, "_fetch", breaks)
    with pytest.raises(ResourceError):
        open_store("memory://bucket/texts")
    folder = next(path for path in cache_folder().glob("stores/*/texts"))
    assert sorted(path.name for path in folder.iterdir()) == sorted(many[:2])
    monkeypatch.setattr(fetched, "_fetch", honest)
    opened.clear()
    open_store("memory://bucket/texts")
    assert len(opened) == len(short.manifest["files"]) + 1 - 2


def test_what_is_damaged_in_the_cache_is_fetched_anew(away, opened):
    store = open_store("memory://bucket/texts")
    path = store.path / "train-00000.npy"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    opened.clear()
    open_store("memory://bucket/texts")
    assert path.read_bytes() == data and opened == ["/bucket/texts/manifest.json", "/bucket/texts/train-00000.npy"]


def test_another_version_of_a_store_stands_beside_the_first(away, short):
    first = open_store("memory://bucket/texts").path
    manifest = files.unsealed(away.cat("/bucket/texts/manifest.json"), "manifest")
    away.pipe("/bucket/texts/manifest.json", files.sealed({**manifest, "options": {**manifest["options"], "x": 1}}))
    second = open_store("memory://bucket/texts").path
    assert first != second and first.is_dir() and second.is_dir()


def test_processes_take_turns(away, short, opened):
    found, begin = [], threading.Barrier(4)

    def fetch():
        begin.wait()
        found.append(fetched.fetched("memory://bucket/texts"))

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1 and len(found) == 4
    data = [name for name in opened if not name.endswith("manifest.json")]
    assert len(data) == len(set(data)) == len(short.manifest["files"])


def test_what_is_wrong_with_a_store_behind_a_url_is_one_line(away, monkeypatch, tmp_path):
    def refused(said, kind=InputError):
        with pytest.raises(kind, match=said) as caught:
            open_store("memory://bucket/texts")
        assert "\n" not in str(caught.value)
        return caught.value

    with pytest.raises(InputError, match=r"^memory://bucket/none: not a complete store: it has no manifest\.json$"):
        open_store("memory://bucket/none")
    manifest, whole = away.cat("/bucket/texts/manifest.json"), away.cat("/bucket/texts/unigrams.npy")
    away.pipe("/bucket/texts/unigrams.npy", whole[:-8] + b"\1" * 8)
    refused(r"memory://bucket/texts/unigrams\.npy: damaged: its [\d,]+ bytes are not what manifest\.json says")
    assert not list(cache_folder().rglob("unigrams.npy")) and not list(cache_folder().rglob("*.tmp"))
    away.rm("/bucket/texts/unigrams.npy")
    refused(r"memory://bucket/texts/unigrams\.npy: missing; manifest\.json lists it")
    away.pipe("/bucket/texts/unigrams.npy", whole)
    monkeypatch.setattr(fetched.shutil, "disk_usage", lambda path: type("usage", (), {"free": 10}))
    refused(r"bytes of memory://bucket/texts are to be fetched, 10 are free; .* cache=DIR", ResourceError)
    away.pipe("/bucket/texts/manifest.json", manifest[:100] + b"x" + manifest[101:])
    refused(r"memory://bucket/texts/manifest\.json: damaged")


@pytest.mark.parametrize("name", ["../out.npy", "/etc/x", "a/b.npy", ".hidden", "manifest.json", ""])
def test_no_manifest_writes_outside_of_its_folder(away, name, tmp_path):
    tree = files.unsealed(away.cat("/bucket/texts/manifest.json"), "manifest")
    tree["files"] = {name: {"bytes": 1, "sha256": "0" * 64}}
    away.pipe("/bucket/texts/manifest.json", files.sealed(tree))
    with pytest.raises(InputError, match="expected plain names with bytes and sha256"):
        open_store("memory://bucket/texts")
    assert not (tmp_path / "cache").exists()


def test_the_cache_is_where_one_says_or_where_caches_are(monkeypatch, tmp_path):
    monkeypatch.delenv("BERTSMITH_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "bertsmith"
    monkeypatch.setenv("BERTSMITH_CACHE", str(tmp_path / "b"))
    assert cache_folder() == tmp_path / "b" and cache_folder(tmp_path / "c") == tmp_path / "c"


def test_a_file_url_is_the_folder_itself(short):
    assert open_store(f"file://{short.path}").path == Path(short.path)
    assert json.loads((Path(short.path) / "manifest.json").read_text())["kind"] == "store"
