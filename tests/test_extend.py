"""More words for a tokenizer: the law of extend.py on real text, with the tokenizers library's own ids of the old tokenizer as the oracle."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.layouts import layout
from tests.test_tokenizer import STRANGE, TEXTS, reference

from bertsmith.errors import InputError
from bertsmith.text.extend import commonest, new_tokens, restored
from bertsmith.text.tokenizer import Tokenizer

WORDS = ["corona", "Zyzzyva", "jumpy"]
BYTES = ("gpt2", "prefix", "modernbert", "lower", "llama3", "digits first", "spaces first", "bert rules first")
KINDS = ("bert", "bert cased", *BYTES)
HOSPITAL = [*TEXTS, *["Coronary care of corona patients (corona, Corona's), naïve zyzzyva. Jumpy!"] * 5]
PARTS = (
    " ",
    ", ",
    ". ",
    "(",
    ")",
    "-",
    "'",
    "\n",
    "ry",
    "s",
    "1",
    "_",
    "the",
    "Corona",
    "corona",
    "zyzzyva",
    "jumpy",
    "\u0301",
    "新冠",
    "[MASK]",
)


@pytest.fixture(scope="module")
def pairs(documents):
    texts = [*documents[:40], *HOSPITAL]
    made = {kind: layout(kind, texts, 1500) for kind in KINDS}
    made["bpe"] = Tokenizer.train("bpe:1500", texts)
    made["bpe-char"] = Tokenizer.train("bpe-char:1500", texts)
    return {kind: (old, old.extend([w for w in WORDS if len(old.encode([w])[0][0]) > 1])) for kind, old in made.items()}


ALL = (*KINDS, "bpe", "bpe-char")


def oracle(old: Tokenizer, text: str) -> list[int]:
    return old._plain.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("kind", ALL)
def test_with_the_pieces_put_back_every_real_text_has_its_old_ids(pairs, documents, kind):
    old, new = pairs[kind]
    added = new_tokens(old, new)
    assert added and new.size == old.size + len(added) and sorted(added) == list(range(old.size, new.size))
    inside = [text.replace("the ", "the corona ").replace(" a ", " (Zyzzyva) ") for text in documents[40:80]]
    texts = [*documents[40:200], *inside, *HOSPITAL]
    found, before = new.encode(texts), old.encode(texts)
    for text, (ids, starts), (ids_before, starts_before) in zip(texts, found, before, strict=True):
        assert restored(ids.tolist(), added) == oracle(old, text) == ids_before.tolist()
        if not (ids >= old.size).any():
            assert np.array_equal(starts, starts_before)
    used = np.concatenate([ids for ids, _ in found])
    assert (used >= old.size).sum() > 20


@pytest.mark.parametrize("kind", ALL)
@settings(max_examples=60, deadline=None)
@given(text=st.one_of(STRANGE, st.lists(st.sampled_from(PARTS), max_size=12).map("".join)))
def test_the_law_holds_on_any_text_but_beside_signs_that_word_piece_does_not_part(pairs, kind, text):
    old, new = pairs[kind]
    ids = new.encode([text])[0][0].tolist()
    if all(i < old.size for i in ids):
        assert ids == oracle(old, text)
    elif kind in BYTES or not any(ord(c) > 127 for c in text):
        assert restored(ids, new_tokens(old, new)) == oracle(old, text)


@pytest.mark.parametrize("kind", ["bert", "bert cased", "bpe-char", "bpe"])
@settings(max_examples=200, deadline=None)
@given(text=st.lists(st.sampled_from([*PARTS, "²", "½", "™", "Ⅷ", "é", "\u00ad", "-"]), max_size=12).map("".join))
@example(text="a zyzzyva² jumpy½ ²zyzzyva Zyzzyva™ ²jumpy")
def test_words_start_where_offsets_say(pairs, kind, text):
    new = pairs[kind][1]
    ((ids, starts),) = new.encode([text])
    assert (ids.tolist(), starts.tolist()) == reference(new, text)


@pytest.mark.parametrize("kind", ["bert", "bpe-char", "bpe"])
def test_texts_with_new_words_take_the_fast_way(pairs, kind, monkeypatch):
    new, slow = pairs[kind][1], []
    monkeypatch.setattr(Tokenizer, "_by_offsets", lambda self, backend, texts, words: (slow.extend(texts) or [], None))
    ((ids, starts),) = new.encode(["the jumpy fox, Zyzzyva (zyzzyva)"])
    assert not slow and (ids >= pairs[kind][0].size).any() and starts.sum() == 8


@pytest.mark.parametrize("kind", ["bert", "bert cased", "bpe", "gpt2"])
def test_a_word_is_one_token_wherever_it_stands_alone_and_none_in_others(pairs, kind):
    old, new = pairs[kind]
    mine = [i for i in range(old.size, new.size) if new.token(i).removeprefix("Ġ").lower() == "zyzzyva"]
    word = "Zyzzyva"
    for text in (word, f"a {word}", f"{word} a", f"({word})", f"{word}, a", f"“{word}”", f"a\n{word}", f"a. {word}. A"):
        ids, spans = new.located([text])[0]
        (at,) = np.flatnonzero(np.isin(ids, mine))
        assert text[slice(*spans[at])] == word
        assert new.encode([text])[0][1][at], text  # the token starts a word
    for text in (
        f"{word}s",
        f"x{word}",
        f"{word}é",
        *([f"{word}\u0301"] if kind != "gpt2" else []),
    ):  # GPT-2's rule parts at marks
        assert not np.isin(new.encode([text])[0][0], mine).any(), text
    assert (np.isin(new.encode([word.lower()])[0][0], mine).any()) == (kind == "bert")


def test_chinese_words_are_found_anywhere_the_longest_first(pairs):
    old = pairs["bert"][0]
    new = old.extend(["学习", "机器学习", "卡拉OK"])
    assert [new.token(i) for i in range(old.size, new.size)] == ["学习", "机器学习", "卡拉ok"]
    text = "我们学习机器学习，学 习，去卡拉OK吧，卡拉OKs"
    ids, spans = new.located([text])[0]
    assert [text[a:b] for i, (a, b) in zip(ids, spans.tolist(), strict=True) if i >= old.size] == [
        "学习",
        "机器学习",
        "卡拉OK",
    ]
    assert restored(ids.tolist(), new_tokens(old, new)) == oracle(old, text)
    starts = new.encode([text])[0][1]
    assert starts[ids >= old.size].all()


def test_kana_and_thai_are_refused_where_their_characters_are_not_parted(pairs):
    for word in ("コロナ", "สวัสดี"):
        with pytest.raises(InputError, match=r"new word 1: .* script without blanks"):
            pairs["bert"][0].extend([word])


@pytest.mark.parametrize("kind", ["always unigram", "xlm-r unigram", "first bpe", "llama bpe", "never unigram"])
def test_tokenizers_that_keep_the_space_with_a_word_are_refused_in_one_line(kind):
    with pytest.raises(InputError, match=r"keeps the space .* beginning of a text") as caught:
        layout(kind, TEXTS, 300).extend(["corona"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("b c", "new word 2: 'b c' is empty or holds white space"),
        ("", "new word 2"),
        ("##ing", "entry of the vocabulary already"),
        ("[MASK]", "special token"),
        ("\u200b", "not one word"),
        ("\ud800", "surrogate"),
    ],
)
def test_words_that_no_token_can_be_are_named(pairs, word, says):
    with pytest.raises(InputError, match=says):
        pairs["bert"][0].extend(["zzz", word])
    with pytest.raises(InputError, match=r"covid-19.*cuts it"):
        pairs["gpt2"][0].extend(["covid-19"])


def test_words_are_added_once_as_the_tokenizer_reads_them_and_later_ones_behind(pairs):
    old = pairs["bert"][0]
    assert old.extend(["The", "the"]).digest == old.digest  # a token already
    assert old.extend(["Qwxyz", "QWXYZ", "qwxyz"]).size == old.size + 1
    once, twice = old.extend(["qwxyz", "zyzzyva"]), old.extend(["qwxyz"]).extend(["zyzzyva"])
    assert once.digest == twice.digest and sorted(new_tokens(old, twice)) == [old.size, old.size + 1]
    assert new_tokens(old, old) == {}
    assert new_tokens(old, pairs["bert cased"][1]) is None and new_tokens(once, old) is None


@pytest.mark.parametrize("kind", ALL)
def test_save_and_load_keep_an_extended_tokenizer(pairs, kind, tmp_path):
    old, new = pairs[kind]
    new.save(tmp_path)
    again = Tokenizer.load(tmp_path, roles=new.roles)
    assert again.digest == new.digest
    assert new_tokens(old, again) == new_tokens(old, new)
    assert [i.tolist() for i, _ in again.encode(HOSPITAL)] == [i.tolist() for i, _ in new.encode(HOSPITAL)]


def test_the_commonest_words_are_those_that_save_most_tokens(pairs):
    old = pairs["bert"][0]
    texts = ["Hepatology hepatology, hepatology: qqqq the the the. xyzzyx xyzzyx", "hepatology 12345678 12345678 一二"]
    words, said = commonest(old, texts, 3)
    cost = lambda word: len(oracle(old, word)) - 1
    assert words == sorted(["hepatology", "xyzzyx"], key=lambda w: -cost(w) * (4 if w[0] == "h" else 2))
    assert said["saved_tokens"] == 4 * cost("hepatology") + 2 * cost("xyzzyx")
    new = old.extend(words)
    shorter = sum(len(ids) for ids, _ in old.encode(texts)) - sum(len(ids) for ids, _ in new.encode(texts))
    assert shorter == said["saved_tokens"]
    assert commonest(old, texts, 1)[0] == words[:1]


def test_words_that_match_inside_of_others_are_no_proof_that_old_ids_stay(pairs):
    """As transformers' add_tokens adds them."""
    from tokenizers import Tokenizer as Backend

    old = pairs["bert"][0]
    backend = Backend.from_str(old.backend.to_str())
    backend.add_tokens(["qwxyz"])
    inside = Tokenizer(backend, old.roles)
    assert inside.size == old.size + 1 and inside.encode(["qwxyzs"])[0][0][0] == old.size
    assert new_tokens(old, inside) is None and new_tokens(old, old.extend(["qwxyz"])) is not None
