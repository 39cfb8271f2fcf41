"""The token store: written append by append, verified, mapped, read across shards."""

import json
import os

import numpy as np
import pytest

from bertsmith import files
from bertsmith.errors import InputError
from bertsmith.text.prepare import prepare
from bertsmith.text.store import Store, verify
from bertsmith.text.writer import SplitWriter, move_document


def write(folder, documents, name="train", vocab=100, shard=16):
    """`documents`: lists of sentences, lists of ids; a word starts at every even id."""
    writer = SplitWriter(folder, name, vocab, shard)
    for document in documents:
        ids = np.array([i for sentence in document for i in sentence], np.uint16)
        writer.append(ids, ids % 2 == 0, np.array([len(s) for s in document], np.int64), np.array([len(document)]))
    writer.close()
    return writer


def random_documents(rng, count=12):
    return [
        [rng.integers(0, 100, rng.integers(1, 9)).tolist() for _ in range(rng.integers(1, 6))] for _ in range(count)
    ]


@pytest.mark.parametrize("shard", [8, 16, 1 << 20])
def test_what_was_appended_is_read_back_from_one_shard_or_many(tmp_path, shard):
    documents = random_documents(np.random.default_rng(1))
    writer = write(tmp_path, documents, shard=shard)
    split, flat = writer.split(), np.array([i for d in documents for s in d for i in s])
    assert split.count == len(flat) and len(split.shards) == max(1, -(-len(flat) // shard))
    assert np.diff(split.sentences).tolist() == [len(s) for d in documents for s in d]
    assert np.diff(split.documents).tolist() == [len(d) for d in documents]
    assert split.sentences.dtype == split.documents.dtype == np.int64
    rng = np.random.default_rng(2)
    for _ in range(50):
        a, b = sorted(rng.integers(0, len(flat) + 1, 2).tolist())
        some = rng.integers(0, len(flat), 30)
        for indices in (slice(a, b), np.arange(a, b), some):
            ids = split.gather(indices)
            assert ids.dtype == np.int32 and np.array_equal(ids, flat[indices])
            assert np.array_equal(split.starts(indices), flat[indices] % 2 == 0)
    for outside in ([-1], [len(flat)]):
        with pytest.raises(IndexError):
            split.gather(np.array(outside))
    assert np.array_equal(writer.unigrams, np.bincount(flat, minlength=100))


def test_an_empty_split_is_a_split(tmp_path):
    split = write(tmp_path, []).split()
    assert split.count == 0 and split.sentences.tolist() == split.documents.tolist() == [0]
    assert split.gather(slice(0, 0)).tolist() == split.starts(np.zeros(0, np.int64)).tolist() == []


@pytest.mark.parametrize("number", [0, 5, 11])
def test_moving_a_document_gives_what_writing_it_there_gives(tmp_path, number):
    documents = random_documents(np.random.default_rng(3))
    (tmp_path / "moved").mkdir()
    (tmp_path / "direct").mkdir()
    train = write(tmp_path / "moved", documents)
    moved = move_document(tmp_path / "moved", train, number, write(tmp_path / "moved", [], "held-out"))
    direct = [write(tmp_path / "direct", documents[:number] + documents[number + 1 :])]
    direct.append(write(tmp_path / "direct", [documents[number]], "held-out"))
    names = sorted(os.listdir(tmp_path / "direct"))
    assert sorted(os.listdir(tmp_path / "moved")) == names
    for name in names:
        assert (tmp_path / "moved" / name).read_bytes() == (tmp_path / "direct" / name).read_bytes(), name
    assert [w.documents for w in moved] == [w.documents for w in direct] == [11, 1]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    text = "".join(f"The number {i} is here. It follows {i - 1}.\nAnd more words come.\n\n" for i in range(300))
    (folder / "a.txt").write_text(text)
    prepare([str(folder / "a.txt")], folder / "store", tokenizer="wordpiece:200", holdout=0.1)
    return folder / "store"


@pytest.fixture
def copy(made, tmp_path):
    import shutil

    return shutil.copytree(made, tmp_path / "store")


def test_a_store_opens_with_everything_that_a_layout_needs(made):
    store = Store.open(made)
    assert store.vocab.size == len(store.unigrams) == store.tokenizer.size
    assert store.tokenizer.vocab == store.vocab
    ids = store.train.gather(slice(0, store.train.count))
    assert np.array_equal(np.bincount(ids, minlength=store.vocab.size), store.unigrams)
    p = store.unigrams[store.unigrams > 0] / store.unigrams.sum()
    assert store.unigram_entropy() == pytest.approx(-(p * np.log(p)).sum())
    assert len(store.train.documents) + len(store.held_out.documents) - 2 == 300
    assert len(store.digest) == 64
    assert verify(made)["files"] == len(os.listdir(made))


def test_every_damaged_file_of_a_store_is_named(made, copy):
    for name in sorted(os.listdir(made)):
        data = (made / name).read_bytes()
        flipped = bytearray(data)
        flipped[len(data) // 2] ^= 16
        for damaged in (bytes(flipped), data[:-1], data + b"\0", b"", None):
            if damaged is None:
                (copy / name).unlink()
            else:
                (copy / name).write_bytes(damaged)
            with pytest.raises(
                InputError, match=name if damaged is not None or name != "manifest.json" else "no manifest"
            ):
                Store.open(copy)
        (copy / name).write_bytes(data)
    Store.open(copy)


def test_a_file_too_many_and_two_files_swapped_are_named(copy):
    (copy / "train-00001.npy").write_bytes((copy / "train-00000.npy").read_bytes())
    with pytest.raises(InputError, match=r"train-00001.npy: not listed"):
        Store.open(copy)
    (copy / "train-00001.npy").unlink()
    (copy / "train-00000.npy").rename(copy / "x")
    (copy / "held-out-00000.npy").rename(copy / "train-00000.npy")
    (copy / "x").rename(copy / "held-out-00000.npy")
    with pytest.raises(InputError, match=r"00000.npy: damaged"):
        Store.open(copy)


def reseal(folder, change):
    manifest = files.unsealed((folder / "manifest.json").read_bytes(), "m")
    change(manifest)
    (folder / "manifest.json").write_bytes(files.sealed(manifest))


CHANGES = {
    "newer": (lambda m: m.update(format=3), "newer bertsmith"),
    "shard": (lambda m: m.update(shard=-1), "shard"),
    "shards": (lambda m: m["splits"]["train"].update(shards=2), "train-00001.npy"),
    "counts": (lambda m: m["splits"]["train"].update(tokens=1), "tokens: says 1"),
    "roles": (lambda m: m["tokenizer"]["roles"].pop("mask"), "mask"),
    "role": (lambda m: m["tokenizer"]["roles"]["mask"].update(id=10**6), "below"),
    "files": (lambda m: m.update(files=[]), "files"),
    "outside": (lambda m: m["files"].update({"../x": {"bytes": 1, "sha256": ""}}), "plain path"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_manifest_that_says_something_else_is_refused(copy, case):
    change, said = CHANGES[case]
    reseal(copy, change)
    with pytest.raises(InputError, match=said):
        Store.open(copy)


def test_arrays_of_objects_are_never_read(copy):
    path = copy / "unigrams.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    reseal(copy, lambda m: m.update(files=files.listing(copy, m["files"])))
    with pytest.raises(InputError, match=r"unigrams.npy"):
        Store.open(copy)


def test_what_is_no_store_is_refused_in_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "manifest.json").write_text(json.dumps({"format": 1}))
    for name, said in (
        ("nothing", "no such folder"),
        (".", "not a complete store"),
        ("file", "is a file"),
        ("json", "damaged"),
    ):
        with pytest.raises(InputError, match=said):
            Store.open(tmp_path / name)
