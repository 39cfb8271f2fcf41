"""Phrases and entities: where they are found, and that they are kept."""

import gzip
import json
import lzma

import numpy as np
import pytest
from tests.conftest import real_data

from bertsmith.data.levels import annotated
from bertsmith.errors import InputError
from bertsmith.text.lexicon import disjoint
from bertsmith.text.prepare import prepare
from bertsmith.text.store import Store
from bertsmith.text.word_list import word_list

ENTITIES = ["built-in function", "class definition", "module", "abstract base class", "ℵ qq"]
CHINESE = "我们在北京大学学习。他在北京工作。北京大学很大。"


def prepared(folder, text, tokenizer, **options):
    (folder / "text.txt").write_text(text, encoding="utf-8")
    account = prepare([str(folder / "text.txt")], folder / "store", tokenizer=tokenizer, holdout=0, **options)
    return Store.open(folder / "store"), account


def spans_of(store, level):
    """The text of every annotated span of the training split."""
    at = np.arange(store.train.count)
    ids, spans = store.train.gather(at), annotated(store.train.annotations(at), level)
    return [store.tokenizer.decode(ids[a:b]).strip() for a, b in zip(*spans, strict=True)]


@pytest.mark.parametrize("kind", ["wordpiece:700", "bpe:700", "unigram:700"])
def test_a_word_list_is_found_where_words_begin_and_end(kind, tmp_path):
    (tmp_path / "list.txt").write_text("\n".join(ENTITIES) + "\n", encoding="utf-8")
    text = "A module is here. Two modules, a built-in function and (module) too.\n\nThe submodule: an abstract base class.\n"
    store, account = prepared(tmp_path, text * 20, kind, lowercase=True, entities=str(tmp_path / "list.txt"))
    found = [text.replace(" - ", "-") for text in spans_of(store, "entity")]
    assert found == ["module", "built-in function", "module", "abstract base class"] * 20
    assert account["annotations"]["entity"]["spans"] == 80
    assert store.manifest["annotations"]["entity"]["entries"] == 5 and store.train.levels == ("entity",)
    assert spans_of(store, "phrase") == []


def test_chinese_entries_may_part_a_segmenters_word(tmp_path):
    (tmp_path / "list.txt").write_text("北京\n北京大学\n", encoding="utf-8")
    store, _ = prepared(tmp_path, CHINESE + "\n", "wordpiece:100", entities=str(tmp_path / "list.txt"))
    assert [s.replace(" ", "") for s in spans_of(store, "entity")] == ["北京大学", "北京", "北京大学"]


FORMS = {
    "word, tab, count": "北京\t120\n北京大学 \t 33\n北京 大 \t 1?\n",
    "word, count, tag": "北京 120 ns\n北京大学 33 nt\n北京师大 1\n",
    "word, comma, count": "北京,120\n北京大学 , 33\n北京师大,1,ns\n",
    "": "北京\r\n北京大学\r\n\r\n",
}


@pytest.mark.parametrize("packed", ["", ".gz", ".xz", ".zst"])
@pytest.mark.parametrize("form", FORMS)
def test_word_lists_with_counts_and_tags_are_read_as_their_words(form, packed, tmp_path):
    import zstandard

    pack = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".zst": zstandard.ZstdCompressor().compress}[packed]
    path = tmp_path / f"list.txt{packed}"
    path.write_bytes(pack(b"\xef\xbb\xbf" + FORMS[form].encode()))
    words, read_as = word_list(str(path))
    assert words[:2] == ["北京", "北京大学"] and read_as == form and not any(map(str.isdigit, "".join(words)))
    store, account = prepared(tmp_path, CHINESE + "\n", "wordpiece:100", entities=str(path))
    assert [s.replace(" ", "") for s in spans_of(store, "entity")] == ["北京大学", "北京", "北京大学"]
    assert account["annotations"]["entity"].get("read_as", "") == form


def test_numbers_of_a_few_entries_are_part_of_them(tmp_path):
    entries = ["module 2", "Windows 95", "plain word", "x,1", "built-in function", "class"]
    (tmp_path / "list.txt").write_text("\n".join(entries))
    assert word_list(str(tmp_path / "list.txt")) == (entries, "")


@pytest.mark.parametrize(
    "name, data, says",
    [
        ("a.txt", b"caf\xe9\n", "a.txt: not UTF-8, GBK or Big5; convert the list"),
        ("a.txt.xz", lzma.compress("北京\n".encode())[:-9], "a.txt.xz: cut short|a.txt.xz: not xz"),
        ("a.txt.gz", "北京\n".encode(), "a.txt.gz: not gzip"),
        ("a.txt", b"\n \n", "a.txt: no entry; one a line"),
    ],
)
def test_a_word_list_that_cannot_be_read_is_told_in_one_line(name, data, says, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=says) as raised:
        word_list(str(tmp_path / name))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("encoding", ["gbk", "big5", "utf-16", "utf-8-sig"])
def test_lists_in_other_encodings_are_read_and_said(encoding, tmp_path):
    second = "大學" if encoding == "big5" else "大学"
    (tmp_path / "a.txt").write_bytes(f"北京\t5\n{second}\t3\n".encode(encoding))
    words, form = word_list(str(tmp_path / "a.txt"))
    assert words == ["北京", second] and form.startswith("word, tab, count")
    assert (" in " in form) == (encoding != "utf-8-sig")


def test_counts_and_tags_may_be_missing_here_and_there(tmp_path):
    """The user dictionary that jieba ships as its example."""
    lines = "云计算 5/李小福 2 nr/创新办 3 i/easy_install 3 eng/好用 300/韩玉赏鉴 3 nz/八一双鹿 3 nz/台中/凱特琳 nz/Edu Trust认证 2000"
    (tmp_path / "a.txt").write_text(lines.replace("/", "\n"))
    words, form = word_list(str(tmp_path / "a.txt"))
    assert words[:3] == ["云计算", "李小福", "创新办"] and words[-3:] == ["台中", "凱特琳", "Edu Trust认证"]
    assert form == "word, count, tag, where they are there"
    (tmp_path / "b.txt").write_text("machine learning\t5\nNew York\t3\nplain\n")
    assert word_list(str(tmp_path / "b.txt"))[0] == ["machine learning", "New York", "plain"]


def test_a_list_of_which_nothing_stands_in_the_corpus_is_said(tmp_path):
    (tmp_path / "list.txt").write_text("nowhere\n")
    said: list[str] = []
    prepared(tmp_path, "Some text here.\n", "wordpiece:60", entities=str(tmp_path / "list.txt"), say=said.append)
    assert any("warning: entities: none of" in line and "stands in the corpus" in line for line in said)


@pytest.mark.skipif(real_data() is None, reason="needs the real corpora")
@pytest.mark.parametrize("name, count", [("car.txt", 1752), ("IT.txt.xz", 16000), ("law.txt.xz", 9896)])
def test_lists_of_thuocl_are_read_as_words(name, count):
    words, form = word_list(str(real_data() / "thuocl_wordlist" / f"THUOCL_{name}"))
    assert form == "word, tab, count" and abs(len(words) - count) <= 1 and not any("\t" in word for word in words)


def test_statistics_find_what_stands_together(tmp_path):
    rng = np.random.default_rng(0)
    words = [f"w{i}x" for i in range(40)]
    sentences = [" ".join(rng.choice(words, 8)) for _ in range(300)]
    sentences = [s + (" new york city" if i % 3 == 0 else " the") for i, s in enumerate(sentences)]
    store, account = prepared(
        tmp_path, "\n".join(sentences) + "\n", "wordpiece:300", phrases="npmi:0.7", lines="sentence"
    )
    assert set(spans_of(store, "phrase")) == {"new york city"}
    assert account["annotations"]["phrase"]["spans"] == 100


def test_annotated_text_is_found_again_by_its_sentences(tmp_path):
    records = [
        {"text": "Ada Lovelace wrote it. Nobody read it.", "entities": [[0, 12]], "phrases": [[13, 21]]},
        {"text": "Is it in Paris? Yes.\nParis, France.", "entities": [[9, 14], [21, 26], [28, 34]]},
    ]
    (tmp_path / "said.jsonl").write_text("\n".join(map(json.dumps, records)) + "\n", encoding="utf-8")
    text = "\n\n".join(record["text"] for record in records * 3) + "\n\nAda Lovelace was here.\n"
    said = str(tmp_path / "said.jsonl")
    store, _ = prepared(tmp_path, text, "wordpiece:100", entities=said, phrases=said)
    assert spans_of(store, "entity") == ["Ada Lovelace", "Paris", "Paris", "France"] * 3
    assert spans_of(store, "phrase") == ["wrote it"] * 3


def test_a_store_with_annotations_verifies_and_one_that_lost_some_does_not(tmp_path):
    (tmp_path / "list.txt").write_text("module\n")
    text = "\n\n".join(f"A module of {i} is here. And more of it." for i in range(60))
    store, _ = prepared(tmp_path, text + "\n", "wordpiece:100", entities=str(tmp_path / "list.txt"))
    assert len(store.train.noted[0]) == store.train.count
    at = np.arange(store.train.count)[::-3]
    assert np.array_equal(store.train.annotations(at), np.asarray(store.train.noted[0])[at])
    (tmp_path / "store" / "train-spans-00000.npy").unlink()
    with pytest.raises(InputError, match="spans"):
        Store.open(tmp_path / "store")


@pytest.mark.parametrize(
    ("option", "said"),
    [("nowhere.txt", "no such file"), ("npmi:2", "between -1 and 1"), ("npmi:x", "between -1 and 1")],
)
def test_what_cannot_annotate_is_refused_before_anything_is_read(option, said, tmp_path):
    with pytest.raises(InputError, match=f"phrases: .*{said}"):
        prepare(["missing.txt"], tmp_path / "store", tokenizer="wordpiece:100", phrases=option)


@pytest.mark.parametrize(
    ("line", "said"),
    [("[1]", "expected"), ('{"text": "a b"}\n{"text": "ab", "entities": [[1, 3]]}', ":2: .* no part of a text of 2")],
)
def test_annotated_text_that_cannot_be_read_is_named(line, said, tmp_path):
    (tmp_path / "said.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match=said):
        prepared(tmp_path, "Some text here.\n", "wordpiece:60", entities=str(tmp_path / "said.jsonl"))


def test_of_overlapping_spans_the_leftmost_longest_stay():
    assert disjoint(np.array([[3, 5], [0, 2], [1, 9], [0, 3], [4, 6]])).tolist() == [[0, 3], [3, 5]]
