"""Where words start, and which tokens hold their first characters."""

import numpy as np
import pytest

from bertsmith.errors import InputError
from bertsmith.text.words import character_starts, word_starts


def split(text, segmenter=None):
    """The words of a text, each with what follows it."""
    starts = np.flatnonzero(character_starts(text, segmenter))
    return [text[a:b].strip() for a, b in zip(starts, [*starts[1:], len(text)], strict=False)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop", ["Don", "'", "t", "stop"]),
        ("co-op  costs $5.20…", ["co", "-", "op", "costs", "$", "5", ".", "20", "…"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("e\u0301te\u0301", ["e\u0301te\u0301"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),  # a joiner parts nothing
        ("co\u00adop zero\u200bwidth", ["co\u00adop", "zero\u200b", "width"]),
        ("안녕 세계", ["안녕", "세계"]),
        ("👍🏽ok", ["👍", "🏽", "ok"]),
        ("我们在北京大学学习Python编程。", ["我们", "在", "北京大学", "学习", "Python", "编程", "。"]),
        ("カタカナ語です", ["カタカナ", "語", "です"]),
        ("スーパーへ", ["スーパー", "へ"]),
        ("เท่า", ["เท่า"]),
        ("", []),
        (" \t\n", []),
    ],
)
def test_words_of_a_text(text, words):
    assert split(text) == words


def test_a_segmenter_of_ones_own_decides_in_scripts_without_spaces_only():
    assert split("东京 is far", lambda text: [*text.replace(" ", "")]) == ["东", "京", "is", "far"]


@pytest.mark.parametrize("words", [["东京", "x"], ["京"], ["东"], ["", "东京"]])
def test_a_segmenter_that_changes_its_text_is_refused(words):
    with pytest.raises(InputError, match="segmenter"):
        character_starts("东京", lambda text: words)


def test_a_token_that_spans_words_joins_them_and_bytes_of_one_character_count_once():
    assert word_starts("a b c", [[0, 3], [3, 5]]).tolist() == [True, True]
    assert word_starts("é!", [[0, 1], [0, 1], [1, 2]]).tolist() == [True, False, True]
    assert word_starts("hello", [[0, 2], [2, 5]]).tolist() == [True, False]


def test_blank_tokens_start_nothing():
    assert word_starts("a", [[0, 1], [0, 1]], blank=np.array([True, False])).tolist() == [False, True]
    assert word_starts("a b", [[0, 1], [1, 2], [2, 3]]).tolist() == [True, False, True]


def test_half_a_surrogate_pair_is_refused():
    with pytest.raises(InputError, match="character 1: lone surrogate U\\+D800"):
        character_starts("a\ud800")
