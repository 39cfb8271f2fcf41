"""Tokenizers without pieces of words: lists of whole words, by a segmenter where a script has no blanks; characters; bytes."""

import numpy as np
import pytest

from bertsmith.errors import InputError
from bertsmith.text.encode import Encoder, Reading
from bertsmith.text.paragraph_words import Words, spaced
from bertsmith.text.prepare import prepare
from bertsmith.text.store import Store
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.text.words import character_starts, word_starts

CHINESE = "我们在北京大学学习机器学习。人工智能改变世界，学习语言模型。他喜欢用Python编程。"
ENGLISH = "The fox, 20 of them, jumped over the fences; the foxes' tails didn't."


def words_of(text):
    starts = np.flatnonzero(character_starts(text))
    return [text[a:b].strip() for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]


def test_a_blank_goes_before_each_word_that_follows_a_letter_and_places_lead_back():
    text = "我们 在北京Ab，学习"
    found, back = spaced(text, character_starts(text))
    assert found == "我们 在 北京 Ab，学习"
    for a in range(len(found)):
        if found[a] != " ":
            assert text[back[a] : back[a + 1]] == found[a]
    assert back[-1] == len(text) and spaced("a b, c", np.ones(6, bool))[1] is None


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train("words:100", [CHINESE, ENGLISH] * 6)


def test_tokens_are_the_segmenters_words_and_stand_where_the_text_has_them(tokenizer):
    (ids, starts), (_, places) = tokenizer.encode([CHINESE])[0], tokenizer.located([CHINESE])[0]
    assert [CHINESE[a:b] for a, b in places] == words_of(CHINESE) == tokenizer.tokens(ids)
    assert starts.all() and tokenizer.begun([CHINESE])[0][2].tolist() == places[:, 0].tolist()
    unseen = "他们学习围棋"
    ids, _ = tokenizer.encode([unseen])[0]
    assert tokenizer.tokens(ids) == [w if w == "学习" else "[UNK]" for w in words_of(unseen)]


@pytest.fixture(scope="module")
def speller():
    return Tokenizer.train("words-char:100", [CHINESE, ENGLISH] * 6)


def test_what_is_no_word_of_the_list_is_spelled_and_the_list_is_the_same(tokenizer, speller):
    (mark, end), words = speller.letters, tokenizer.tokens(range(5, tokenizer.size))
    fewer = Tokenizer.train(f"words:{speller.size - (end - mark)}", [CHINESE, ENGLISH] * 6)
    assert [name[1:] for name in speller.tokens(range(end, speller.size))] == fewer.tokens(range(5, fewer.size))
    unseen = "他们学习围棋"
    (ids, starts), (_, places) = speller.encode([unseen])[0], speller.located([unseen])[0]
    names = speller.tokens(ids)
    assert "".join(names).split("▁")[1:] == [
        w if set(w) <= set(CHINESE) else "[UNK]" * len(w) for w in words_of(unseen)
    ]
    assert int(starts.sum()) == len(words_of(unseen)) and "学习" in words and "▁学习" in names
    assert all(
        unseen[a:b] == name.removeprefix("▁")
        for name, (a, b) in zip(names, places, strict=True)
        if name not in ("▁", "[UNK]")
    )


@pytest.mark.parametrize("text", [ENGLISH, ENGLISH + " naïve readers' 5€ x² don't"])
def test_spelled_words_start_where_words_do_on_either_way(speller, text):
    encoding = speller._plain.encode(text, add_special_tokens=False)
    ids, starts = speller.encode([text])[0]
    assert ids.tolist() == encoding.ids and int(starts.sum()) == len(words_of(text))
    blank = np.array([name == "▁" for name in speller.tokens(ids)])
    assert starts.tolist() == word_starts(text, encoding.offsets, blank=blank).tolist()


def test_english_takes_the_fast_way_to_the_same_ids(tokenizer):
    encoding = tokenizer._plain.encode(ENGLISH, add_special_tokens=False)
    ids, starts = tokenizer.encode([ENGLISH])[0]
    assert ids.tolist() == encoding.ids and starts.tolist() == word_starts(ENGLISH, encoding.offsets).tolist()
    assert tokenizer.tokens(ids) == words_of(ENGLISH)


def test_a_store_has_the_words_of_its_paragraphs_whatever_parts_them(tmp_path):
    (tmp_path / "zh.txt").write_text(f"{CHINESE}\n\n" * 10, encoding="utf-8")
    account = prepare([str(tmp_path / "zh.txt")], tmp_path / "s", tokenizer="words:100", language="zh", holdout=0)
    store = Store.open(tmp_path / "s")
    ids = store.train.gather(slice(None))
    assert store.tokenizer.tokens(ids) == words_of(CHINESE) * 10 and store.train.starts(slice(None)).all()
    assert account["unknown"]["tokens"] == 0 and len(store.train.sentences) - 1 == 30

    given = "我们 在 北京 大学 学习 机器学习 。"
    (tmp_path / "cut.txt").write_text(f"{given}\n\n" * 10, encoding="utf-8")
    prepare([str(tmp_path / "cut.txt")], tmp_path / "t", tokenizer="words:100", segmented=True, holdout=0)
    store = Store.open(tmp_path / "t")
    assert store.tokenizer.tokens(store.train.gather(slice(0, 7))) == given.split()

    (tmp_path / "own.txt").write_text("机器学习\n", encoding="utf-8")
    own = {"words": str(tmp_path / "own.txt")}
    prepare([str(tmp_path / "zh.txt")], tmp_path / "u", tokenizer="words:100", language="zh", holdout=0, **own)
    store = Store.open(tmp_path / "u")
    assert "机器学习" in store.tokenizer.tokens(store.train.gather(slice(0, 9)))


def test_a_sentences_words_are_those_of_its_paragraph(tokenizer):
    found = Encoder(tokenizer, Reading(language="zh"))(("", [[CHINESE]]))
    assert tokenizer.tokens(found.ids) == words_of(CHINESE) and len(found.lengths) == 3


def test_a_loaded_list_reads_as_it_did_and_too_little_text_is_refused(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert again.digest == tokenizer.digest
    assert [i.tolist() for i, _ in again.encode([CHINESE, ENGLISH])] == [
        i.tolist() for i, _ in tokenizer.encode([CHINESE, ENGLISH])
    ]
    with pytest.raises(InputError, match="no word stands in the text 5 times"):
        Tokenizer.train("words:100", ["one two three"])
    assert Words("zh")([[CHINESE]])[1][0] is not None


@pytest.mark.parametrize(
    ("kind", "says"),
    [("byte:300", "called byte"), ("char:x", "char:N"), ("char:7", "cannot spell"), ("words", "words:N")],
)
def test_kinds_that_cannot_be_are_refused(kind, says):
    with pytest.raises(InputError, match=says):
        Tokenizer.train(kind, [ENGLISH])


def test_characters_are_all_there_or_the_commonest():
    every = Tokenizer.train("char", [ENGLISH, CHINESE])
    ids, _ = every.encode([ENGLISH])[0]
    assert every.tokens(ids) == [c if c != " " else "▁" for c in " " + ENGLISH] and every.vocab.unk not in ids
    assert every.size == 5 + 1 + len({*ENGLISH, *CHINESE} - {" "})
    few = Tokenizer.train("char:32", [ENGLISH] * 9 + ["ÿ"])
    assert few.size <= 32 and few.encode(["ÿ"])[0][0].tolist()[1:] == [few.vocab.unk]


def test_a_byte_has_the_number_that_it_is():
    tokenizer = Tokenizer.train("byte", [ENGLISH])
    text = "naïve 我 🙂"
    assert tokenizer.size == 261 and tokenizer.encode([text])[0][0].tolist() == [5 + b for b in (" " + text).encode()]
    assert tokenizer.decode(tokenizer.encode([text])[0][0]) == " " + text
