"""A user's words and segmented text: `--words`, `--segmented`.  Oracles: a reading from the left by hand, and the same text without blanks."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import real_data

import bertsmith
from bertsmith.downstream.show import show
from bertsmith.errors import InputError
from bertsmith.text.paragraph_words import Words, unsegmented
from bertsmith.text.prepare import prepare
from bertsmith.text.store import Store
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.text.user_words import UserWords
from bertsmith.text.word_list import user_words
from bertsmith.text.words import character_starts

KINDS = ("wordpiece:400", "bpe:400", "bpe-char:400", "unigram:150", "char", "byte")


def words_of(text, *own):
    _, (starts,), _ = Words(words=own)([[text]])
    at = np.flatnonzero(np.frombuffer(starts, bool))
    return [text[a:b].strip() for a, b in zip(at, [*at[1:], len(text)], strict=False)]


@pytest.mark.parametrize(
    ("text", "own", "words"),
    [
        ("南京市长江大桥很长", ["江大桥", "很长"], ["南京市", "长", "江大桥", "很长"]),
        ("他在看韩玉赏鉴", ["韩玉赏鉴", "韩玉"], ["他", "在", "看", "韩玉赏鉴"]),
        ("他穿T恤。", ["T恤"], ["他", "穿", "T恤", "。"]),
        ("I like New York and COVID-19, C++.", ["New York", "COVID-19", "C++"], "I|like|New York|and|COVID-19|,|C++|."),
        ("a party of artists", ["art", "part"], ["a", "party", "of", "artists"]),
        ("cafe\u0301s cafe", ["cafe"], ["cafe\u0301s", "cafe"]),
        ("กำลังใจดี", ["กำลังใจดี"], ["กำลังใจดี"]),
    ],
)
def test_the_longest_of_a_users_words_is_one_word_in_every_script(text, own, words):
    assert words_of(text, *own) == (words.split("|") if isinstance(words, str) else words)


@given(
    st.text(alphabet="天地人a ，", max_size=25),
    st.lists(st.text(alphabet="天地人a", min_size=2, max_size=4), max_size=5),
)
@settings(deadline=None, max_examples=300)
def test_words_are_what_a_reader_from_the_left_takes(text, own):
    rule = character_starts(text)
    starts = UserWords(own).over(text, rule)
    at, wanted = 0, rule.copy()
    letter = [c.isalpha() for c in text] + [False]
    edge = lambda i: (
        i in (0, len(text))
        or rule[i]
        or not (letter[i - 1] and letter[i])
        or text[i] in "天地人"
        or text[i - 1] in "天地人"
    )
    while at < len(text):
        found = [w for w in own if text.startswith(w, at) and edge(at) and edge(at + len(w))]
        size = max(map(len, found), default=0)
        if size:
            wanted[at : at + size] = [True] + [False] * (size - 1)
            if letter[at + size]:
                wanted[at + size] = True
        at += max(size, 1)
    assert starts.tolist() == wanted.tolist()


LISTS = {
    "jieba": "云计算 5\n李小福 2 nr\n创新办 3 i\neasy_install 3 eng\n韩玉赏鉴 3 nz\n凱特琳 nz\n台中\n",
    "thuocl": "云计算\t1502\n李小福\t 20\n创新办\t3\neasy_install\t1\n韩玉赏鉴\t1\n凱特琳\t1\n台中\t1\n",
    "comma": "云计算,5,n\n李小福, 2\n创新办,3\neasy_install,3\n韩玉赏鉴,3\n凱特琳,3\n台中,1\n",
    "hownet": "云计算 N\r\n李小福 \r\n创新办\tN\r\neasy_install V\r\n韩玉赏鉴\r\n凱特琳\r\n台中 ADJ\r\n",
}
ENTRIES = ("云计算", "李小福", "创新办", "easy_install", "韩玉赏鉴", "凱特琳", "台中")


@pytest.mark.parametrize("form", LISTS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_lists_are_read_as_they_are_shipped(form, encoding, tmp_path):
    (tmp_path / "list.txt").write_bytes(LISTS[form].replace("凱", "凯").encode(encoding))
    words, read_as = user_words(str(tmp_path / "list.txt"))
    assert words == tuple(word.replace("凱", "凯") for word in ENTRIES) and read_as == encoding.removesuffix("-sig")


def test_other_encodings_are_asked_for_or_found(tmp_path):
    (tmp_path / "list.txt").write_bytes("臺灣大學 3\n圖書館\n".encode("big5"))
    assert user_words(str(tmp_path / "list.txt")) == (("臺灣大學", "圖書館"), "big5")
    (tmp_path / "list.txt").write_bytes("São Paulo\nNew York\n".encode("latin-1"))
    assert user_words(str(tmp_path / "list.txt"), "latin-1") == (("São Paulo", "New York"), "latin-1")
    with pytest.raises(InputError, match=r"words: .*: not UTF-8, GBK or Big5; encoding names another"):
        user_words(str(tmp_path / "list.txt"))
    (tmp_path / "list.txt").write_text(" \n")
    with pytest.raises(InputError, match="no word"):
        user_words(str(tmp_path / "list.txt"))


@pytest.mark.skipif(real_data() is None, reason="needs the real lists")
def test_a_list_of_thuocl_is_found_in_text():
    words, _ = user_words(str(real_data() / "thuocl_wordlist" / "THUOCL_car.txt"))
    assert words[:3] == ("轿车", "二手车", "新车") and words_of("他买了二手车和新车", *words)[-3:] == [
        "二手车",
        "和",
        "新车",
    ]


TEXT = "他在看韩玉赏鉴。韩玉赏鉴很好看，我也在看。"


def test_a_users_words_stand_in_store_manifest_and_show(tmp_path):
    (tmp_path / "a.txt").write_text(f"{TEXT}\n\n" * 30, encoding="utf-8")
    (tmp_path / "own.txt").write_bytes("韩玉赏鉴 3 nz\n".encode("gbk"))
    options = {"tokenizer": "wordpiece:200", "holdout": 0, "words": tmp_path / "own.txt"}
    said = []
    account = prepare([str(tmp_path / "a.txt")], tmp_path / "s", **options, say=said.append)
    assert account["words"]["user"]["words"] == 1 and any("1 of own.txt, read as gb18030" in line for line in said)
    store = Store.open(tmp_path / "s")
    assert store.manifest["options"]["words"] == account["words"]["user"]
    lines = list(show("bert-wwm:tiny", tmp_path / "s", n=1))
    tokens, words = lines[0]["source"]["tokens"], lines[0]["source"]["words"]
    assert ["韩", "玉", "赏", "鉴"] in [tokens[a:b] for a, b in pairwise(words)]
    prepare([str(tmp_path / "a.txt")], tmp_path / "2", **options, workers=2)
    assert Store.open(tmp_path / "2").digest == store.digest
    prepare([str(tmp_path / "a.txt")], tmp_path / "without", **(options | {"words": None}))
    other = Store.open(tmp_path / "without")
    assert (
        other.digest != store.digest
        and other.train.gather(slice(None)).tolist() == store.train.gather(slice(None)).tolist()
    )


SEGMENTED = "我们 在 北京大学 学习 Python 编程 。 他 喜欢 New York ， “ 很 大 ” ！"
PLAIN = "我们在北京大学学习Python编程。他喜欢New York，“很大”！"


def test_blanks_beside_scripts_without_them_are_no_text():
    text, starts = unsegmented(SEGMENTED)
    at = np.flatnonzero(starts)
    assert text == PLAIN
    assert [text[a:b].strip() for a, b in zip(at, [*at[1:], len(text)], strict=False)] == SEGMENTED.split()
    assert unsegmented("ภาษา ไทย  ปี 2540")[0] == "ภาษาไทยปี2540" and unsegmented("a b")[0] == "a b"


@pytest.mark.parametrize("kind", KINDS)
def test_segmented_text_has_the_ids_of_the_text_and_the_words_of_its_blanks(kind, tmp_path):
    (tmp_path / "a.txt").write_text(f"{SEGMENTED}\n\n" * 30, encoding="utf-8")
    (tmp_path / "b.txt").write_text(f"{PLAIN}\n\n" * 30, encoding="utf-8")
    account = prepare([str(tmp_path / "a.txt")], tmp_path / "a", tokenizer=kind, segmented=True, holdout=0)
    prepare([str(tmp_path / "b.txt")], tmp_path / "b", tokenizer=kind, holdout=0)
    mine, plain = Store.open(tmp_path / "a"), Store.open(tmp_path / "b")
    assert mine.tokenizer.digest == plain.tokenizer.digest
    assert mine.train.gather(slice(None)).tolist() == plain.train.gather(slice(None)).tolist()
    assert account["words"]["segmented"] and mine.manifest["options"]["segmented"]
    bytes_ = account["bytes"]
    assert bytes_["used"] == 30 * len(PLAIN.encode())
    assert bytes_["used"] + bytes_["newlines"] + bytes_["markup"] + sum(bytes_["dropped"].values()) == bytes_["read"]


def test_wordpiece_reads_segmented_chinese_as_it_reads_chinese(tmp_path):
    tokenizer = Tokenizer.train("wordpiece:400", [PLAIN] * 30)
    (spaced, _), (plain, _) = tokenizer.encode([SEGMENTED, PLAIN])
    assert spaced.tolist() == plain.tolist()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"segmented": True, "words": "own.txt"}, "words: segmented=True takes the words of the text as given"),
        ({"segmented": True, "lines": "wrapped"}, "segmented=True: lines='wrapped' joins lines without a blank"),
        ({"segmented": True, "phrases": "marked.jsonl"}, "segmented=True: takes blanks out of the text"),
        ({"words": "missing.txt"}, "missing.txt: cannot be read"),
    ],
)
def test_options_that_exclude_each_other_are_refused_in_a_line(options, says, tmp_path):
    (tmp_path / "a.txt").write_text(PLAIN, encoding="utf-8")
    (tmp_path / "own.txt").write_text("很大", encoding="utf-8")
    (tmp_path / "marked.jsonl").write_text(json.dumps({"text": PLAIN}), encoding="utf-8")
    paths = {
        key: str(tmp_path / value) if str(value).startswith(("own", "missing", "marked")) else value
        for key, value in options.items()
    }
    with pytest.raises(InputError, match=says):
        bertsmith.prepare([str(tmp_path / "a.txt")], tmp_path / "s", tokenizer="bpe:300", **paths)
    assert not (tmp_path / "s").exists()
