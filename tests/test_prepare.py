"""Text to store: the same bytes every time, every byte accounted for, and nothing written when something is wrong."""

import gzip
import json
import multiprocessing
import os

import numpy as np
import pytest

from bertsmith.errors import InputError, ResourceError
from bertsmith.text import prepare as module
from bertsmith.text.corpus import Document
from bertsmith.text.prepare import prepare
from bertsmith.text.sample import sample
from bertsmith.text.store import Store
from bertsmith.text.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    text = "The quick brown fox. It jumps over the lazy dog! 你好世界。今天天气很好 number 0 1 2 3 4 5 6 7 8 9 Dr. Fox. has sleeps. jumps!"
    Tokenizer.train("wordpiece:300", [text] * 10).save(folder)
    return str(folder)


def balanced(account):
    size = account["bytes"]
    assert all(count >= 0 for count in (size["used"], size["newlines"], size["markup"], *size["dropped"].values()))
    return (
        size["used"] + size["newlines"] + size["markup"] + sum(size["dropped"].values())
        == size["read"] + size["recoded"]
    )


def contents(folder):
    return {name: (folder / name).read_bytes() for name in sorted(os.listdir(folder))}


TEXT = "".join(f"Dr. Fox has number {i}. It jumps!\nThe dog sleeps.\n\n" for i in range(200))


def test_tokens_are_those_of_the_sentences_in_order(tmp_path, tokenizer):
    (tmp_path / "a.txt").write_text(TEXT)
    account = prepare([str(tmp_path / "a.txt")], tmp_path / "store", tokenizer=tokenizer, holdout=0)
    store = Store.open(tmp_path / "store")
    sentences = [s for i in range(200) for s in (f"Dr. Fox has number {i}.", "It jumps!", "The dog sleeps.")]
    pairs = Tokenizer.load(tokenizer).encode(sentences)
    assert np.array_equal(store.train.gather(slice(0, store.train.count)), np.concatenate([ids for ids, _ in pairs]))
    assert np.array_equal(
        store.train.starts(slice(0, store.train.count)), np.concatenate([starts for _, starts in pairs])
    )
    assert np.diff(store.train.sentences).tolist() == [len(ids) for ids, _ in pairs]
    assert store.train.documents.tolist() == list(range(0, 601, 3))
    assert balanced(account) and account["bytes"]["used"] == sum(map(len, sentences))
    assert (account["documents"], account["sentences"], account["sentences_per_document"]) == (200, 600, 3.0)
    assert store.manifest["account"] == account


def test_the_store_has_the_same_bytes_for_any_number_of_workers_and_again(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "b.txt.gz").write_bytes(
        gzip.compress("\n".join(TEXT.split("\n\n")).encode())
    )  # one document in many parts
    monkeypatch.setattr(module, "CHUNK", 1 << 10)
    for name, workers in (("one", 1), ("again", 1), ("two", 2), ("three", 3)):
        prepare(
            [str(tmp_path / "a.txt"), str(tmp_path / "b.txt.gz")],
            tmp_path / name,
            tokenizer="wordpiece:200",
            workers=workers,
        )
    first = contents(tmp_path / "one")
    assert first == contents(tmp_path / "again") == contents(tmp_path / "two") == contents(tmp_path / "three")


def test_long_documents_come_in_parts_and_go_in_whole(tmp_path, tokenizer, monkeypatch):
    from bertsmith.text import raw

    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "b.txt").write_text("The fox. The dog. " * 500)
    sources = [str(tmp_path / "a.txt"), str(tmp_path / "b.txt")]
    whole = prepare(sources, tmp_path / "whole", tokenizer=tokenizer, documents="file", holdout=0)
    monkeypatch.setattr(module, "CHUNK", 300)
    prepare(sources, tmp_path / "chunks", tokenizer=tokenizer, documents="file", holdout=0)
    assert contents(tmp_path / "whole") == contents(tmp_path / "chunks") and whole["documents"] == 2
    monkeypatch.setattr(raw, "BLOCK", 500)
    account = prepare(sources, tmp_path / "parts", tokenizer=tokenizer, documents="file", holdout=0)
    assert account["documents"] == 2 and account["tokens"] == whole["tokens"] and balanced(account)
    assert account["lines"]["cut"] == 1


@pytest.mark.parametrize(
    ("documents", "share", "held"), [(200, 0.1, range(8, 35)), (2, 0.01, [1]), (2, 0.999, [1]), (1, 0.1, [0])]
)
def test_whole_documents_are_held_out_and_at_least_one_of_two(tmp_path, tokenizer, documents, share, held):
    text = [f"Document number {i}. The fox jumps." for i in range(documents)]
    (tmp_path / "a.txt").write_text("\n\n".join(text))
    account = prepare([str(tmp_path / "a.txt")], tmp_path / "store", tokenizer=tokenizer, holdout=share)
    store = Store.open(tmp_path / "store")
    found = [len(split.documents) - 1 for split in (store.train, store.held_out)]
    assert found[1] in held and sum(found) == documents == account["documents"]
    assert store.unigrams.sum() == store.train.count
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "store"]


def test_every_byte_is_accounted_for_by_its_rule(tmp_path, tokenizer):
    (tmp_path / "a.txt").write_bytes("\ufeffThe fox.  It\0 jumps.\r\n \u3000\r\n\u200b\r\nno\xa0end".encode())
    (tmp_path / "b.txt").write_bytes(b"\xff\n\nThe dog.\n")
    (tmp_path / "c.jsonl").write_text(json.dumps({"n": 1, "text": "Caf\xe9 \u0001here.\n\nThe fox."}) + "\n{}\n")
    said = []
    account = prepare(
        [str(tmp_path)], tmp_path.parent / "out" / "store", tokenizer=tokenizer, on_bad_line="skip", say=said.append
    )
    size = account["bytes"]
    assert balanced(account)
    assert size["read"] == sum(os.path.getsize(tmp_path / name) for name in os.listdir(tmp_path))
    assert size["dropped"] == {"bad_encoding": 1, "bad_record": 2, "control": 2, "zero_width": 3, "without_token": 0}
    assert size["used"] == sum(
        len(s.encode()) for s in ("The fox.", "It jumps.", "no\xa0end", "The dog.", "Caf\xe9 here.", "The fox.")
    )
    assert account["lines"] == {
        "read": 9,
        "blank": 2,
        "bad": 2,
        "cut": 0,
        "crlf": 3,
        "cr": 0,
        "lone_cr": 0,
        "byte_order_marks": 1,
    }
    assert any(line.startswith("bytes: ") for line in said) and any("2 bad lines were skipped" in line for line in said)


def test_progress_counts_the_bytes_that_the_account_says_were_read(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_bytes(("A first one runs.  A second jumps.\r\n\r\n" * 40_000).encode())
    for packed in (False, True):
        if packed:
            (tmp_path / "a.txt.gz").write_bytes(gzip.compress((tmp_path / "a.txt").read_bytes(), 1))
        monkeypatch.setattr(module, "EVERY", -1.0)
        said, source = [], tmp_path / ("a.txt.gz" if packed else "a.txt")
        account = prepare([str(source)], tmp_path / "out", tokenizer="wordpiece:60", say=said.append, force=True)
        read = account["bytes"]["read"]
        assert read == (tmp_path / "a.txt").stat().st_size
        last = [line for line in said if line.startswith("prepare: ")][-1]
        of = "" if packed else f" of {read / 1e6:,.1f}"
        assert last.startswith(f"prepare: {read / 1e6:,.1f}{of} MB read, ")
        assert said[0] == "tokenizer: training wordpiece:60 on all of the text: 40,000 documents"


def test_hard_wrapped_text_and_layouts_without_pairs_are_said(tmp_path, tokenizer):
    line = "the fox jumps over the lazy dog and it goes on and on"
    (tmp_path / "a.txt").write_text("\n".join([line] * 100))
    account = prepare([str(tmp_path / "a.txt")], tmp_path / "store", tokenizer=tokenizer)
    assert account["hard_wrapped"] and "`lines` wrapped" in account["warnings"][0]
    assert "not usable: 1 document" in account["layouts"]["SegmentPairs"]
    assert len(account["warnings"]) == 1  # what a layout can make of it is said where a recipe has that layout
    wrapped = prepare([str(tmp_path / "a.txt")], tmp_path / "w", tokenizer=tokenizer, lines="wrapped")
    assert wrapped["sentences"] == 1 and wrapped["bytes"]["newlines"] == 0 and balanced(wrapped)


def test_the_sample_is_picked_by_hash_bounded_and_in_order():
    pieces = [Document(i, ["x" * 10], True, 10) for i in range(1000)]
    texts, counts = sample(iter(pieces), 500)
    assert counts == {"bytes": 500, "bytes_of": 10000, "documents": 50} and len(texts) == 50
    numbered = [Document(i, [f"{i:010d}"], True, 10) for i in range(1000)]
    picked, _ = sample(iter(numbered), 500)
    assert picked == sorted(picked) == sample(iter(numbered), 500)[0]
    more, _ = sample(iter(numbered), 800)
    assert set(picked) < set(more)
    assert sample(iter(pieces), 10**6)[1]["documents"] == 1000


MALFORMED = {
    "empty": (b"", {}, "no text in 1 file (0 bytes; 0 lines"),
    "blank": (b"\n\n\n", {}, "3 lines, 3 blank"),
    "spaces": (" \t\u00a0\n".encode(), {}, "no text"),
    "invisible": ("\u200b\u200b\n".encode(), {}, "no text"),
    "not utf-8": (b"fine\nab\xff\n", {}, "a.txt:2: byte 3: not UTF-8 (0xff)"),
    "utf-16": ("fine".encode("utf-16"), {}, "`encoding` utf-16"),
    "all bad": (b"\xff\n", {"on_bad_line": "skip"}, "1 line, 0 blank, 1 bad"),
    "late": (b"The fox jumps.\n\n" * 100_000 + b"\xff", {}, "a.txt:200001: byte 1"),
    "holdout": (b"The fox.", {"holdout": 1.0}, "holdout"),
    "holdout nan": (b"The fox.", {"holdout": float("nan")}, "holdout"),
    "workers": (b"The fox.", {"workers": 0}, "workers"),
    "sample": (b"The fox.", {"tokenizer_sample": "many"}, "tokenizer_sample"),
    "language": (b"The fox.", {"language": "../x"}, "language"),
    "encoding": (b"The fox.", {"encoding": "latin-99"}, "encoding"),
    "lines": (b"The fox.", {"lines": "words"}, "lines"),
    "documents": (b"The fox.", {"documents": "page"}, "documents"),
    "tokenizer": (b"The fox.", {"tokenizer": "wordpeice:80"}, "wordpiece"),
    "no tokenizer": (b"The fox.", {"tokenizer": "/nowhere/at/all"}, "tokenizer"),
    "lowercase": (b"The fox.", {"lowercase": True}, "lowercase=True"),
}


@pytest.mark.parametrize(("case", "workers"), [*((case, 1) for case in MALFORMED), ("late", 2)])
def test_a_malformed_corpus_or_option_is_one_line_and_nothing_is_written(tmp_path, tokenizer, case, workers):
    data, options, said = MALFORMED[case]
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(InputError) as caught:
        prepare(
            [str(tmp_path / "a.txt")], tmp_path / "store", **{"tokenizer": tokenizer, "workers": workers, **options}
        )
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_bytes() == data


def test_a_complete_store_is_replaced_only_by_force_and_strangers_never(tmp_path, tokenizer):
    (tmp_path / "a.txt").write_text("The fox.\n\nThe dog.")
    source, out = [str(tmp_path / "a.txt")], tmp_path / "store"
    prepare(source, out, tokenizer=tokenizer)
    before = contents(out)
    with pytest.raises(InputError, match="holds a store already; force=True replaces it"):
        prepare(source, out, tokenizer=tokenizer)
    prepare(source, out, tokenizer=tokenizer, force=True)
    assert contents(out) == before
    (out / "manifest.json").unlink()
    prepare(source, out, tokenizer=tokenizer)
    assert contents(out) == before
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"notes.txt"):
        prepare(source, out, tokenizer=tokenizer, force=True)


def test_out_and_sources_lie_apart(tmp_path, tokenizer):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("The fox.")
    for sources, out in (
        ([tmp_path / "in"], tmp_path / "in" / "store"),
        ([tmp_path / "in" / "a.txt"], tmp_path / "in"),
    ):
        with pytest.raises(InputError, match="inside"):
            prepare([str(s) for s in sources], out, tokenizer=tokenizer)
    assert os.listdir(tmp_path / "in") == ["a.txt"]


def test_a_full_disk_is_a_resource_error_and_leaves_nothing(tmp_path, tokenizer, monkeypatch):
    from bertsmith.text import writer

    def full(array, dtype):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(
        writer.np, "packbits", lambda bits: monkeypatch.setattr(writer.np, "ascontiguousarray", full) or bits
    )
    (tmp_path / "a.txt").write_text("The fox.")
    with pytest.raises(ResourceError, match="No space left"):
        prepare([str(tmp_path / "a.txt")], tmp_path / "store", tokenizer=tokenizer)
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_worker_that_dies_is_a_resource_error(tmp_path, tokenizer, monkeypatch):
    chunks = module.chunked

    def killing(pieces, size):
        for number, chunk in enumerate(chunks(pieces, size)):
            if number == 4:
                for process in multiprocessing.active_children():
                    process.kill()
            yield chunk

    monkeypatch.setattr(module, "CHUNK", 1 << 10)
    monkeypatch.setattr(module, "chunked", killing)
    (tmp_path / "a.txt").write_text(TEXT)
    with pytest.raises(ResourceError, match="a worker process died"):
        prepare([str(tmp_path / "a.txt")], tmp_path / "store", tokenizer=tokenizer, workers=2)
    assert os.listdir(tmp_path) == ["a.txt"]
