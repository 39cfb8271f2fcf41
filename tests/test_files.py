"""Atomic writes, folders that appear whole, manifests that notice a flipped bit."""

import os

import pytest

from bertsmith import files
from bertsmith.errors import InputError, ResourceError


def test_a_write_replaces_the_whole_file_and_leaves_nothing_beside_it(tmp_path):
    files.write(tmp_path / "a", b"old")
    files.write(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new" and os.listdir(tmp_path) == ["a"]


def test_a_write_that_fails_keeps_the_old_file(tmp_path, monkeypatch):
    files.write(tmp_path / "a", b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match="No space left"):
        files.write(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]


def test_every_flipped_bit_of_a_manifest_is_noticed():
    manifest = {"format": 1, "kind": "store", "name": 'ü "quoted"', "files": {"a": {"bytes": 1}}}
    text = files.sealed(manifest)
    assert files.unsealed(text, "m") == manifest
    for i in range(len(text)):
        for bit in range(8):
            flipped = text[:i] + bytes([text[i] ^ 1 << bit]) + text[i + 1 :]
            with pytest.raises(InputError, match=r"^m: "):
                files.unsealed(flipped, "m")
    for end in range(len(text)):
        with pytest.raises(InputError):
            files.unsealed(text[:end], "m")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a").write_bytes(b"0123")
    return tmp_path, files.listing(tmp_path, ["a"])


def damage_flip(folder):
    (folder / "a").write_bytes(b"0122")


def damage_append(folder):
    (folder / "a").write_bytes(b"01234")


def damage_delete(folder):
    (folder / "a").unlink()


def damage_folder(folder):
    (folder / "a").unlink()
    (folder / "a").mkdir()


def damage_pipe(folder):
    (folder / "a").unlink()
    os.mkfifo(folder / "a")


def damage_link(folder):
    (folder / "a").rename(folder / "b")
    (folder / "a").symlink_to(folder / "b")


@pytest.mark.parametrize("damage", [damage_flip, damage_append, damage_delete, damage_folder, damage_pipe, damage_link])
def test_a_file_that_is_not_as_written_is_named(folder, damage):
    path, listed = folder
    files.check(path, listed)
    damage(path)
    with pytest.raises(InputError, match=rf"^{path}/a: "):
        files.check(path, listed)


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "", "b/../a", "./a", "a\0", "b\\a"])
def test_a_manifest_names_nothing_outside_its_folder(folder, name):
    path, listed = folder
    with pytest.raises(InputError, match="not a plain path"):
        files.check(path, {name: listed["a"]})


def test_a_partial_folder_is_removed_when_its_block_fails(tmp_path):
    with pytest.raises(KeyError), files.partial(tmp_path / "out") as folder:
        (folder / "a").write_bytes(b"x")
        raise KeyError
    assert os.listdir(tmp_path) == []


def test_what_killed_processes_left_is_swept_and_what_they_were_replacing_comes_back(tmp_path):
    dead = 2**22 + 1  # above Linux's largest process id
    (tmp_path / f".out.tmp-{dead}").mkdir()
    (tmp_path / f".out.old-{dead}").mkdir()
    (tmp_path / f".other.tmp-{dead}").mkdir()
    files.sweep(tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == [f".other.tmp-{dead}", "out"]


def test_publish_replaces_a_folder_only_when_the_new_one_is_complete(tmp_path):
    final = tmp_path / "out"
    for text in (b"1", b"2"):
        with files.partial(final) as folder:
            (folder / "a").write_bytes(text)
            files.publish(folder, final)
    assert (final / "a").read_bytes() == b"2" and os.listdir(tmp_path) == ["out"]


def test_only_what_is_ours_is_replaced(tmp_path):
    def allowed(force=False):
        files.refuse_unless_replaceable(tmp_path / "out", lambda name: name in ("a", "manifest.json"), "store", force)

    allowed()
    (tmp_path / "out").mkdir()
    allowed()
    (tmp_path / "out" / "a").touch()
    allowed()  # half-written
    (tmp_path / "out" / "manifest.json").touch()
    with pytest.raises(InputError, match="force=True replaces it"):
        allowed()
    allowed(force=True)
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"thesis.tex"):
        allowed(force=True)


@pytest.mark.parametrize(
    ("manifest", "said"),
    [({"format": 2}, "newer bertsmith"), ({"format": "1"}, "format"), ({"format": 1, "kind": "run"}, "this is a run")],
)
def test_a_manifest_of_another_version_or_kind_is_refused(tmp_path, manifest, said):
    files.write(tmp_path / files.MANIFEST, files.sealed(manifest))
    with pytest.raises(InputError, match=said):
        files.read_manifest(tmp_path, "store", 1)
