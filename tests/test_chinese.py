"""Traditional and simplified characters as a rule of a tokenizer; the oracle is OpenCC on the whole text."""

import json

import numpy as np
import pytest

from bertsmith.errors import InputError
from bertsmith.text.chinese import converted, normalizer
from bertsmith.text.prepare import prepare
from bertsmith.text.store import Store
from bertsmith.text.tokenizer import Tokenizer

opencc = pytest.importorskip("opencc")

TRADITIONAL = "臺灣的電腦與漢字。我們在圖書館裡讀書，學習歷史與語言。頭髮很長。"
SIMPLIFIED = "台湾的电脑与汉字。我们在图书馆里读书，学习历史与语言。头发很长。"
KINDS = (
    "wordpiece:300",
    "bpe:400",
    "bpe-char:300",
    "unigram:120",
    "char",
)  # of bytes several have the place of one character


def test_a_text_is_converted_as_opencc_does():
    assert converted(TRADITIONAL, "simplified") == opencc.OpenCC("t2s").convert(TRADITIONAL) == SIMPLIFIED
    assert normalizer("simplified").normalize_str(TRADITIONAL + "e\u0301 ＡＢ") == SIMPLIFIED + "e\u0301 ＡＢ"
    assert normalizer("traditional").normalize_str("汉语电脑 漢") == "漢語電腦 漢"


@pytest.mark.parametrize("kind", KINDS)
def test_both_scripts_have_the_same_ids_and_words_come_back_as_they_stood(kind, tmp_path):
    made = Tokenizer.train(kind, [TRADITIONAL] * 20, chinese="simplified")
    made.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    for tokenizer in (made, again):
        (old, places), (new, same) = tokenizer.located([TRADITIONAL, SIMPLIFIED])
        assert old.tolist() == new.tolist() and places.tolist() == same.tolist()
        written = [tokenizer.token(i) != "▁" for i in old]  # which is given the place of what follows
        assert "".join(TRADITIONAL[a:b] for (a, b), some in zip(places, written, strict=True) if some) == TRADITIONAL
    assert "頭" not in "".join(again.backend.get_vocab())


def test_what_was_converted_is_counted_and_recorded(tmp_path):
    (tmp_path / "a.txt").write_text(f"{TRADITIONAL}\n\n" * 20, encoding="utf-8")
    account = prepare([str(tmp_path / "a.txt")], tmp_path / "s", tokenizer="wordpiece:300", chinese="simplified")
    assert account["characters"]["replaced"] == 20 * sum(a != b for a, b in zip(TRADITIONAL, SIMPLIFIED, strict=True))
    store = Store.open(tmp_path / "s")
    assert store.manifest["options"]["chinese"] == "simplified"
    ids, starts = store.train.gather(slice(None)), store.train.starts(slice(None))
    first = store.tokenizer.tokens(ids)[: len(TRADITIONAL)]
    assert [first[i] for i in np.flatnonzero(starts[: len(first)])][:4] == ["台", "的", "电", "与"]  # 台湾 的 电脑 与


def test_a_script_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(InputError, match="chinese: no script 'simple'"):
        Tokenizer.train("bpe:400", ["a"], chinese="simple")
    Tokenizer.train("bpe:400", [TRADITIONAL]).save(tmp_path / "t")
    (tmp_path / "a.txt").write_text(TRADITIONAL, encoding="utf-8")
    with pytest.raises(InputError, match="chinese='simplified': only for a tokenizer that is trained here"):
        prepare([str(tmp_path / "a.txt")], tmp_path / "s", tokenizer=str(tmp_path / "t"), chinese="simplified")
    assert json.loads((tmp_path / "t" / "tokenizer.json").read_text())["model"]["type"] == "BPE"
