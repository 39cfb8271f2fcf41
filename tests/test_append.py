"""A store that grows: the old files stay, and the whole is what one pass over all of the text would make."""

import json
import os
import random

import numpy as np
import pytest
from tests.runs import small
from tests.test_stages import pages

from bertsmith.errors import InputError
from bertsmith.text import seen, writer
from bertsmith.text.prepare import prepare
from bertsmith.text.store import Store, verify
from bertsmith.training.pretraining import pretrain

CLEAN = "c4,duplicates,near-duplicates"
SPLITS = ("train", "held_out")


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Two halves of web text; the second says what the first does, too."""
    folder = tmp_path_factory.mktemp("texts")
    found = pages(240)
    draw = random.Random(1)
    late = found[120:] + draw.sample(found[:120], 20)
    for name, half in (("a", found[:120]), ("b", late)):
        rows = "".join(json.dumps({"text": page}) + "\n" for page in half)
        (folder / f"{name}.jsonl").write_text(rows, encoding="utf-8")
    prepare(folder, folder.parent / "tokenizer-store", tokenizer="wordpiece:300")
    return folder


@pytest.fixture(autouse=True)
def shards(monkeypatch):
    """Of few tokens, so that there are some."""
    real = writer.SplitWriter.__init__

    def shorter(self, *given, shard=1024, **more):
        real(self, *given, shard=shard, **more)

    monkeypatch.setattr(writer.SplitWriter, "__init__", shorter)


def options(texts, **more):
    return {"tokenizer": str(texts.parent / "tokenizer-store"), "holdout": 0.1, **more}


def same_text(one: Store, other: Store) -> None:
    for name in SPLITS:
        a, b = getattr(one, name), getattr(other, name)
        whole = slice(0, a.count)
        assert a.count == b.count and np.array_equal(a.gather(whole), b.gather(whole))
        assert np.array_equal(a.starts(whole), b.starts(whole))
        assert np.array_equal(a.sentences, b.sentences) and np.array_equal(a.documents, b.documents)
        some = np.random.default_rng(0).integers(0, a.count, 500)
        assert np.array_equal(a.gather(some), b.gather(some))
        if a.capital:
            assert np.array_equal(a.capitals(some), b.capitals(some))
    assert np.array_equal(one.unigrams, other.unigrams)


CASES = {
    "plain": {},
    "capitals": {"capitals": True, "lines": "sentence"},
    "cleaned": {"clean": CLEAN, "keep_hashes": True},
    "by its pages": {"clean": "terminal"},
}


@pytest.mark.parametrize("case", CASES)
def test_a_store_that_grew_is_that_of_all_the_text(case, texts, tmp_path):
    a, b = texts / "a.jsonl", texts / "b.jsonl"
    prepare(a, tmp_path / "grown", **options(texts, **CASES[case]))
    before = {path.name: (path.read_bytes(), path.stat().st_ino) for path in (tmp_path / "grown").iterdir()}
    account = prepare(b, tmp_path / "grown", append=True)
    prepare([a, b], tmp_path / "whole", **options(texts, **CASES[case]))
    grown, whole = Store.open(tmp_path / "grown"), Store.open(tmp_path / "whole")
    same_text(grown, whole)
    verify(tmp_path / "grown")
    for name, (data, inode) in before.items():  # old shards are the files that they were
        if name.removesuffix(".npy")[-1].isdigit():
            path = tmp_path / "grown" / name
            assert (path.read_bytes(), path.stat().st_ino) == (data, inode)
    assert len(grown.train.shards) > 2 and not grown.train.even
    assert (grown.manifest["format"], whole.manifest["format"]) == (2, 1)
    assert grown.manifest["options"] == whole.manifest["options"] and grown.manifest["account"] == account
    apart = {"appended", "warnings", "characters", "layouts"}
    assert {k: v for k, v in account.items() if k not in apart} == {
        k: v for k, v in whole.manifest["account"].items() if k not in apart
    }
    assert account["appended"][0]["files"] == 1 and sorted(os.listdir(tmp_path)) == ["grown", "whole"]
    if case == "cleaned":
        assert (
            account["clean"]["dropped"]["duplicates"]["pages"] + account["clean"]["dropped"]["repeated"]["parts"] > 20
        )
        assert (tmp_path / "grown" / "hashes.npy").read_bytes() == (tmp_path / "whole" / "hashes.npy").read_bytes()


def test_it_grows_again_and_in_stages(texts, tmp_path):
    halves = [texts / "a.jsonl", texts / "b.jsonl"]
    lines = halves[1].read_text().splitlines(keepends=True)
    (tmp_path / "b1.jsonl").write_text("".join(lines[:60]))
    (tmp_path / "b2.jsonl").write_text("".join(lines[60:]))
    how = options(texts, clean=CLEAN, keep_hashes=True)
    prepare(halves[0], tmp_path / "grown", **how)
    prepare(tmp_path / "b1.jsonl", tmp_path / "grown", append=True, resume=True)
    account = prepare(tmp_path / "b2.jsonl", tmp_path / "grown", append=True, resume=True)
    prepare([halves[0], tmp_path / "b1.jsonl", tmp_path / "b2.jsonl"], tmp_path / "whole", **how)
    same_text(Store.open(tmp_path / "grown"), Store.open(tmp_path / "whole"))
    assert len(account["appended"]) == 2 and account["files"] == 3


def test_without_hashes_new_text_is_compared_with_itself_which_is_said(texts, tmp_path):
    prepare(texts / "a.jsonl", tmp_path / "store", **options(texts, clean=CLEAN))
    said = []
    account = prepare(texts / "a.jsonl", tmp_path / "store", append=True, say=said.append)
    wanted = "what was added was compared with itself alone: the store keeps no hashes of its pages"
    assert any(wanted in line for line in said) and any(wanted in line for line in account["warnings"])
    train = Store.open(tmp_path / "store").train
    assert account["clean"]["kept"]["pages"] % 2 == 0 and train.documents.size > 1


def test_new_languages_stand_behind_the_old(texts, tmp_path):
    a, b = texts / "a.jsonl", texts / "b.jsonl"
    prepare(f"en={a}", tmp_path / "grown", **options(texts))
    prepare(f"de={b}", tmp_path / "grown", append=True)
    prepare([f"en={a}", f"de={b}"], tmp_path / "whole", **options(texts))
    grown, whole = (Store.open(tmp_path / name) for name in ("grown", "whole"))
    same_text(grown, whole)
    assert grown.train.languages == whole.train.languages and [s.language for s in grown.train.languages] == [
        "en",
        "de",
    ]
    with pytest.raises(InputError, match=r"en stands in .* already"):
        prepare(f"en={b}", tmp_path / "grown", append=True)
    with pytest.raises(InputError, match=r"its texts have languages \(en, de\), and so have new ones"):
        prepare(b, tmp_path / "grown", append=True)


MISTAKES = {
    "lines": ({"lines": "sentence"}, "lines='sentence': the store was made with lines='paragraph'"),
    "holdout": ({"holdout": 0.5}, "holdout=0.5: the store was made with holdout=0.1"),
    "lowercase": ({"lowercase": True}, "lowercase=True: the store was made with lowercase=False"),
    "tokenizer": ({"tokenizer": "wordpiece:99"}, r"tokenizer='wordpiece:99': the store has a tokenizer \(loaded\)"),
    "clean": ({"clean": "terminal"}, "clean: the store was cleaned of nothing"),
    "phrases": ({"phrases": "npmi"}, r"phrases: a store that grows stays as it is \(append=True\)"),
    "hashes": ({"keep_hashes": True}, "keep_hashes=True: nothing is compared with other pages"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_other_options_are_refused_by_name(case, texts, tmp_path):
    given, said = MISTAKES[case]
    prepare(texts / "a.jsonl", tmp_path / "store", **options(texts))
    before = (tmp_path / "store" / "manifest.json").read_bytes()
    with pytest.raises(InputError, match=said):
        prepare(texts / "b.jsonl", tmp_path / "store", append=True, **given)
    assert (tmp_path / "store" / "manifest.json").read_bytes() == before and os.listdir(tmp_path) == ["store"]


def test_lists_of_words_must_be_named_again(texts, tmp_path):
    (tmp_path / "words.txt").write_text("baron\nfenta\n")
    (tmp_path / "bad.txt").write_text("lumus\n")
    more = {"words": str(tmp_path / "words.txt"), "bad_words": str(tmp_path / "bad.txt")}
    prepare(texts / "a.jsonl", tmp_path / "store", **options(texts, **more))
    with pytest.raises(InputError, match=r"words of one's own \(2\); words=FILE names the same list"):
        prepare(texts / "b.jsonl", tmp_path / "store", append=True)
    with pytest.raises(InputError, match="cleaned of bad words; bad_words=FILE names the same list"):
        prepare(texts / "b.jsonl", tmp_path / "store", append=True, words=more["words"])
    prepare(texts / "b.jsonl", tmp_path / "store", append=True, **more)
    (tmp_path / "bad.txt").write_text("rikus\n")
    with pytest.raises(InputError, match="the store was cleaned of bad-words, by its lists"):
        prepare(texts / "b.jsonl", tmp_path / "store", append=True, **more)


def test_a_store_that_is_damaged_or_none_does_not_grow(texts, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        prepare(texts / "b.jsonl", tmp_path / "store", append=True)
    prepare(texts / "a.jsonl", tmp_path / "store", **options(texts))
    shard = tmp_path / "store" / "train-00000.npy"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    with pytest.raises(InputError, match=r"train-00000\.npy: damaged"):
        prepare(texts / "b.jsonl", tmp_path / "store", append=True)
    assert shard.read_bytes() == data and os.listdir(tmp_path) == ["store"]


def test_a_run_does_not_go_on_with_a_store_that_grew(texts, tmp_path):
    prepare(texts / "a.jsonl", tmp_path / "store", **options(texts))
    how = {"steps": 2, "threads": 1}
    pretrain(small(), tmp_path / "store", tmp_path / "run", **how)
    prepare(texts / "b.jsonl", tmp_path / "store", append=True)
    with pytest.raises(InputError, match=r"data\.digest"):
        pretrain(small(), tmp_path / "store", tmp_path / "run", **{**how, "steps": 4}, resume=True)
    pretrain(small(), tmp_path / "store", tmp_path / "next", from_=tmp_path / "run", **how)


def test_hashes_that_were_seen_before_are_known_and_saved_once(tmp_path):
    draw = np.random.default_rng(0)
    one, two = (draw.integers(0, 2**63, 3000).astype(np.uint64) for _ in range(2))
    two[:500] = one[:500]
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    first = seen.Seen(tmp_path / "a", most=200)
    for i in range(0, 3000, 70):
        first.add(one[i : i + 70])
    first.save(tmp_path / "one.npy")
    second = seen.Seen(tmp_path / "b", most=200, older=tmp_path / "one.npy")
    assert second.known(one).all() and not second.known(two[500:]).any()
    for i in range(0, 3000, 70):
        second.add(two[i : i + 70])
    second.save(tmp_path / "two.npy")
    assert np.array_equal(np.load(tmp_path / "two.npy"), np.unique(np.concatenate([one, two])))
    first.close(), second.close()
    seen.Seen(tmp_path / "b").save(tmp_path / "none.npy")
    assert len(np.load(tmp_path / "none.npy")) == 0
