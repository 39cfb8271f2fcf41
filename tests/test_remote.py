"""Sources behind URLs, by fsspec's own file systems in memory and on this machine, and by one that breaks."""

import bz2
import gzip
import json
import lzma
import zipfile

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

import bertsmith
from bertsmith.errors import InputError, ResourceError
from bertsmith.text import remote
from bertsmith.text.account import Account, Options
from bertsmith.text.corpus import documents
from bertsmith.text.sources import listed

TEXT = "One sentence. Another one.\n\nA second document here.\n"
LINES = "".join(json.dumps({"text": f"Text {i}."}) + "\n" for i in range(3))
PACKED = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


class Breaking(MemoryFileSystem):
    """Every read beyond the first `whole` bytes of an open file fails, `times` times in all."""

    protocol = "breaking"
    store, pseudo_dirs = MemoryFileSystem.store, MemoryFileSystem.pseudo_dirs
    whole, times = 64, 0

    @classmethod
    def _strip_protocol(cls, path):
        return MemoryFileSystem._strip_protocol(path.replace("breaking://", "memory://"))

    def _open(self, path, mode="rb", **options):
        file = super()._open(path, mode, **options)
        return Cut(file)


class Cut:
    def __init__(self, file):
        self.file, self.left = file, Breaking.whole
        file.seek(0)

    def __getattr__(self, name):
        return getattr(self.file, name)

    def read(self, size):
        if Breaking.times and self.left <= 0:
            Breaking.times -= 1
            raise OSError("connection reset by peer for https://key:secret@host/a?token=secret")
        size = min(size, max(self.left, 1)) if Breaking.times else size
        self.left -= size
        return self.file.read(size)


@pytest.fixture
def memory(monkeypatch):
    """fsspec's files in memory, empty; no waiting between tries."""
    monkeypatch.setattr(remote, "WAIT", 0)
    fsspec.register_implementation("breaking", Breaking, clobber=True)
    found = fsspec.filesystem("memory")
    found.store.clear()
    found.pseudo_dirs[:] = [""]
    yield found
    found.store.clear()
    found.pseudo_dirs[:] = [""]


def texts(*names, **options):
    account = Account()
    found = listed(list(names), options.pop("only", ())).sources
    return [" ".join(d.paragraphs) for d in documents(tuple(found), Options(**options), account)], account


@pytest.mark.parametrize("suffix", PACKED)
def test_a_file_behind_a_url_is_read_as_one_on_this_machine_whatever_its_compression(memory, tmp_path, suffix):
    data = PACKED[suffix](TEXT.encode())
    memory.pipe(f"/bucket/a.txt{suffix}", data)
    (tmp_path / f"a.txt{suffix}").write_bytes(data)
    here, account = texts(str(tmp_path / f"a.txt{suffix}"))
    there, other = texts(f"memory://bucket/a.txt{suffix}")
    assert here == there == ["One sentence. Another one.", "A second document here."]
    assert account == other


def test_a_folder_behind_a_url_gives_the_same_store_as_the_same_folder_here(memory, tmp_path):
    tree = {
        "b.txt": TEXT,
        "a/z.txt": "Below.\n",
        "a/.hidden": "No.\n",
        "c.jsonl": LINES,
        "d.png": "\x89PNG\r\n",
        "B.txt": "Big.\n",
    }
    for name, content in tree.items():
        (tmp_path / "here" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "here" / name).write_bytes(content.encode("latin-1"))
        memory.pipe(f"/there/{name}", content.encode("latin-1"))
    accounts = [
        bertsmith.prepare([name], tmp_path / out, tokenizer="char", holdout=0)
        for name, out in ((str(tmp_path / "here"), "one"), ("memory://there", "two"))
    ]
    assert accounts[0] == accounts[1]
    one, two = (sorted((tmp_path / out).iterdir()) for out in ("one", "two"))
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in two]
    assert accounts[0]["sources"]["passed_over"] == {
        "hidden": {"files": 1, "bytes": 4},
        "a picture": {"files": 1, "bytes": 6},
    }


def test_a_web_page_is_no_text(memory):
    memory.pipe("/listing", b"<!DOCTYPE html>\n<html><body><a href='a.txt'>a</a></body></html>\n")
    with pytest.raises(InputError, match="memory://listing: a web page; name the files that it links to"):
        listed(["memory://listing"])


def test_globs_and_patterns_choose_behind_a_url_too(memory):
    for name in ("b.txt", "a.txt", "c.log", "d/e.txt"):
        memory.pipe(f"/x/{name}", f"{name} is read.\n".encode())
    assert texts("memory://x/*.txt")[0] == ["a.txt is read.", "b.txt is read."]
    assert texts("memory://x", only=["*.log"])[0] == ["c.log is read."]
    assert texts("en=memory://x/b.txt", "en=memory://x/a.txt")[0] == ["b.txt is read.", "a.txt is read."]


def test_a_file_in_an_archive_is_read_through_a_chain_and_file_urls_are_paths(memory, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("docs/a.txt", TEXT)
        archive.writestr("b.txt", "Not this.\n")
    there, account = texts(f"zip://docs/*.txt::file://{tmp_path}/a.zip")
    (tmp_path / "plain.txt").write_text(TEXT)
    here, other = texts(f"file://{tmp_path}/plain.txt")
    assert there == here and account == other
    assert listed([f"file://{tmp_path}/plain.txt"]).sources[0].at is None


def test_parquet_is_read_in_place_behind_a_url(memory):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pytest.importorskip("pyarrow").table({"text": ["First.", "Second."]})
    with memory.open("/x.parquet", "wb") as file:
        parquet.write_table(table, file)
    assert texts("memory://x.parquet")[0] == ["First.", "Second."]


def test_a_read_that_breaks_goes_on_where_it_broke(memory):
    long = "".join(f"Sentence number {i} of a text that is long.\n\n" for i in range(400))
    memory.pipe("/long.txt", long.encode())
    source = listed(["breaking://long.txt"]).sources
    Breaking.times = remote.TRIES - 1
    try:
        found = [d.paragraphs[0] for d in documents(tuple(source), Options())]
        assert Breaking.times == 0, "no read broke"
    finally:
        Breaking.times = 0
    assert found == [line for line in long.split("\n") if line]


def test_a_read_that_keeps_breaking_is_told_in_one_line_without_secrets(memory):
    memory.pipe("/long.txt", b"A line.\n" * 100)
    source = listed(["breaking://long.txt"]).sources
    Breaking.times, Breaking.whole = 1000, 0
    try:
        with pytest.raises(ResourceError) as caught:
            list(documents(tuple(source), Options()))
    finally:
        Breaking.times, Breaking.whole = 0, 64
    said = str(caught.value)
    assert said.startswith("breaking://long.txt: cannot be read: connection reset") and f"{remote.TRIES} tries" in said
    assert "secret" not in said and "\n" not in said


def test_a_file_that_is_shorter_than_it_was_said_to_be_is_no_shorter_text(memory, monkeypatch):
    memory.pipe("/a.txt", TEXT.encode())
    honest = MemoryFileSystem.info
    monkeypatch.setattr(MemoryFileSystem, "info", lambda self, path, **o: honest(self, path, **o) | {"size": 1000})
    with pytest.raises(ResourceError, match="cut short: 52 of 1000 bytes"):
        texts("memory://a.txt")


def test_a_file_that_changes_is_named(memory):
    memory.pipe("/a.txt", TEXT.encode())
    found = listed(["memory://a.txt"]).sources
    memory.pipe("/a.txt", TEXT.upper().encode())
    with pytest.raises(InputError, match=r"memory://a\.txt: changed while it was read"):
        list(documents(tuple(found), Options()))


@pytest.mark.parametrize(
    "url, said",
    [
        ("memory://nothing.txt", "memory://nothing.txt: no such file or folder"),
        ("memory://nothing/*.txt", r"memory://nothing/\*.txt: no file matches"),
        ("nowhere://a.txt", "nowhere://a.txt: Protocol not known: nowhere"),
        ("memory://twice.txt", "memory://twice.txt: named twice; name it once"),
        ("memory://picture.png", "memory://picture.png: a picture"),
    ],
)
def test_what_is_wrong_with_a_url_is_one_line(memory, url, said):
    memory.pipe("/twice.txt", TEXT.encode())
    memory.pipe("/picture.png", b"\x89PNG\r\n")
    with pytest.raises(InputError, match=said):
        listed([url, url] if "twice" in url else [url])


def test_a_file_system_that_is_not_installed_is_named_with_its_package(memory, monkeypatch):
    def missing(*_, **__):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(InputError, match=r"^s3://bucket/a\.txt: Install s3fs to access S3; pip install s3fs$"):
        listed(["s3://bucket/a.txt"])


@pytest.mark.parametrize(
    "url, shown",
    [
        ("s3://key:secret@bucket/a.txt", "s3://…@bucket/a.txt"),
        ("https://secret@host/a.txt.gz?X-Signature=secret", "https://…@host/a.txt.gz?…"),
        ("zip://a?.txt::https://u:secret@host/z.zip?sig=secret", "zip://a?.txt::https://…@host/z.zip?…"),
        ("abfs://container@account.dfs.core.windows.net/a", "abfs://container@account.dfs.core.windows.net/a"),
        ("memory://a?.txt", "memory://a?.txt"),
    ],
)
def test_what_a_url_says_of_who_is_asking_is_shown_to_nobody(url, shown):
    assert remote.shown(url) == shown
    assert "secret" not in repr(remote.Remote(url, 1))
