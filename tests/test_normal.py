"""What tokenizers trained here do to a text before they cut it, held against unicodedata and the `regex` module."""

import unicodedata

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from bertsmith.errors import InputError
from bertsmith.text import load, normal
from bertsmith.text.normal import LONGEST_UNIT
from bertsmith.text.prepare import prepare
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.text.train import SPECIALS

KINDS = ("wordpiece:400", "bpe-char:400", "bpe:400", "unigram:150", "char", "byte")
MARKED = {
    "vi": "MÁ ma mà mạ tiếng Việt",
    "ja": "かぎ かき パンダ ハンダ",
    "hi": "कु कि के क हिन्दी विकिपीडिया",
    "th": "ที่นี่ ที่ การศึกษา",
    "ko": "한국어 사전 백과",
    "he": "שָׁלוֹם עֲלֵיכֶם",
    "my": "မြန်မာ ဘာသာ",
    "de": "Mochte MÖCHTE Äpfel",
    "nfd": unicodedata.normalize("NFD", "Épée ÜBER Ñandú"),
}


def normalised(tokenizer, text):
    return " ".join(tokenizer.backend.normalizer.normalize_str(text).split())


def same(tokenizer, one, other):
    (a, _), (b, _) = tokenizer.encode([one, other])
    return a.tolist() == b.tolist()


def stripped(text):
    """BERT's uncased rule, by unicodedata."""
    return "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn").lower()


@pytest.mark.parametrize("language", MARKED)
@pytest.mark.parametrize("kind", KINDS)
def test_lower_case_changes_nothing_but_case(kind, language):
    text = MARKED[language]
    tokenizer = Tokenizer.train(kind, [text] * 30, lowercase=True)
    wanted = unicodedata.normalize("NFKC", text) if kind.startswith("unigram") else text
    assert normalised(tokenizer, text) == wanted.lower()
    words = text.split()
    assert all(not same(tokenizer, a, b) for a in words for b in words if a.lower() != b.lower())
    decoded = tokenizer.decode(tokenizer.encode([text])[0][0])
    assert decoded.replace(" ", "") == wanted.lower().replace(" ", "")


@pytest.mark.parametrize("kind", KINDS)
def test_accents_are_stripped_where_that_is_asked_as_bert_does(kind):
    text = "MÁ mà Äpfel Ёлка άλφα naïve"
    tokenizer = Tokenizer.train(kind, [text] * 30, lowercase=True, strip_accents=True)
    assert normalised(tokenizer, text) == stripped(text)
    cased = Tokenizer.train(kind, [text] * 30, strip_accents=True)
    assert normalised(cased, "Á") == "A"


def test_a_loaded_uncased_vocabulary_keeps_its_published_rule(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIALS, "ma", "##n"]))
    tokenizer = Tokenizer.load(tmp_path / "vocab.txt")
    assert normalised(tokenizer, "MÁ") == stripped("MÁ") == "ma" and same(tokenizer, "má", "ma")
    assert (
        tokenizer.backend.to_str() == Tokenizer(load.load(tmp_path / "vocab.txt")[0], tokenizer.roles).backend.to_str()
    )


@pytest.mark.parametrize("language", ["hi", "th", "ja", "he", "my"])
def test_stripping_is_refused_where_marks_are_part_of_the_script(language):
    text = MARKED[language]
    with pytest.raises(
        InputError, match=r"strip_accents=True: \d+ of \d+ letters .* would lose marks .*without"
    ) as caught:
        Tokenizer.train("wordpiece:300", [text] * 30, lowercase=True, strip_accents=True)
    assert "\n" not in str(caught.value)


def test_stripping_is_not_refused_for_some_foreign_words_nor_for_emoji():
    few = "An ordinary text about the word हिन्दी and a heart ❤️ that goes on for quite a while. " * 3
    assert Tokenizer.train("wordpiece:200", [few] * 5, strip_accents=True).size > 30


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("language", ["tr", "az-Latn", "tr_TR"])
def test_turkish_i_keeps_its_dot_or_has_none(kind, language):
    text = "IŞIK ışık İstanbul istanbul I\u0307zmir"
    tokenizer = Tokenizer.train(kind, [text] * 30, lowercase=True, language=language)
    assert normalised(tokenizer, text) == "ışık ışık istanbul istanbul izmir"
    assert normalised(Tokenizer.train(kind, [text] * 30, lowercase=True), "IŞIK") == "işik"
    assert normalised(Tokenizer.train(kind, [text] * 30, language=language), "IŞIK") == "IŞIK"
    assert tokenizer._table.scheme is not None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["nfc", "nfkc", "none", None])
def test_unicode_forms_are_those_of_unicodedata(kind, form):
    text = "e\u0301te\u0301 ﬁn ① \u1100\u1161 x"
    tokenizer = Tokenizer.train(kind, [text] * 30, normalise=form)
    done = form or ("nfkc" if kind.startswith("unigram") else "none")
    assert normalised(tokenizer, text) == (text if done == "none" else unicodedata.normalize(done.upper(), text))
    assert tokenizer.vocab.unk not in tokenizer.encode([text])[0][0]
    with pytest.raises(InputError, match="normalise: 'nfd' is not one of none, nfc, nfkc"):
        Tokenizer.train(kind, [text], normalise="nfd")


PATTERN = regex.compile(normal.WORDS_OF_BYTES.replace(r"\x{200C}\x{200D}", "\u200c\u200d"))
LETTERS = "aZ é\u0301\u0308ßहिन्दीที่සිංහල\u200c\u200dשָׁمُ 1२'s.,\u20e3❤️\t\n-"


def pieces(split, text):
    return ["".join(text[a:b]) for _, (a, b) in split.pre_tokenize_str(text)]


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(alphabet=LETTERS, max_size=20), st.text(max_size=20)))
def test_words_of_bytes_are_those_of_the_regex_module(text):
    text = " " + text.lstrip(" ")
    known = [c for c in text if unicodedata.category(c) not in ("Cn", "Cs")]  # tables of one Unicode version
    text = "".join(known)
    assert pieces(normal.bytes_of_words(), text) == PATTERN.findall(text)


def test_without_marks_words_of_bytes_are_gpt2s():
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=True)
    for text in ("Hello world's  12ab, x!", " a  b ", "", "Übergröße, naïve — 3.14", "我们 学习。", "don't\n\nstop\t"):
        assert normal.bytes_of_words().pre_tokenize_str(text) == gpt2.pre_tokenize_str(text)


@pytest.mark.parametrize(
    "word", ["हिन्दी", "தமிழ்", "ภาษาไทย", "සිංහල", "ශ්\u200dරී", "می\u200cخواهم", "שָׁלוֹם", "e\u0301te\u0301"]
)
def test_a_word_with_marks_that_is_common_becomes_one_token_of_bpe(word, tmp_path):
    tokenizer = Tokenizer.train("bpe:500", [f"{word} {word}"] * 50)
    ids, starts = tokenizer.encode([f"{word} {word}"])[0]
    assert len(ids) == 2 and starts.tolist() == [True, True]
    tokenizer.save(tmp_path)
    assert Tokenizer.load(tmp_path).digest == tokenizer.digest


def test_joiners_stay_in_unigram():
    text = "می\u200cخواهم ශ්\u200dරී"
    tokenizer = Tokenizer.train("unigram:60", [text] * 30)
    assert normalised(tokenizer, text) == text and not same(tokenizer, text, text.replace("\u200c", " "))


PARTS = ["\x0b", "\x0c", "\x1c", "\x85", "\x96", "\x97", "\u200b"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lower", [False, True])
def test_what_nobody_sees_parts_words_or_goes_but_glues_none(kind, lower):
    tokenizer = Tokenizer.train(kind, ["The film was good too goodtoo, and long."] * 30, lowercase=lower)
    for c in PARTS:
        assert same(tokenizer, f"good{c}too", "good too"), hex(ord(c))
        _, starts = tokenizer.encode([f"good{c}too"])[0]
        assert starts.sum() == 2
    for c in ["\xad", "\u2060", "\ufeff", "\u200e", "\x02"]:
        assert same(tokenizer, f"good{c}too", "goodtoo"), hex(ord(c))


# Unigram's trainer takes a minute over words of 20,000 letters that are one and the same.
@pytest.mark.parametrize("kind", [pytest.param(k, marks=[pytest.mark.slow] * k.startswith("unigram")) for k in KINDS])
def test_words_of_any_length_are_learnt_from_in_pieces_and_counted(kind):
    told = {}
    long = [c * 20_000 for c in ("ab1", "x", "qwertyuiop")] + ["x" + "\u0301" * 20_000]
    text = ["good words here and more of them"] * 20
    tokenizer = Tokenizer.train(kind, [*long, *text, "z" * LONGEST_UNIT], told=told)
    assert told == {"cut_words": 4} and all(len(ids) for ids, _ in tokenizer.encode([*long, *text]))
    assert Tokenizer.train(kind, text, told=told).size and told == {"cut_words": 0}


# -- the account of a store -----------------------------------------------------------------------------------------------------------


def prepared(folder, text, **options):
    (folder / "a.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    said = []
    account = prepare([str(folder / "a.txt")], folder / "s", holdout=0, say=said.append, force=True, **options)
    size = account["bytes"]
    assert (
        size["used"] + size["newlines"] + size["markup"] + sum(size["dropped"].values())
        == size["read"] + size["recoded"]
    )
    assert min(size["used"], size["newlines"], size["markup"], *size["dropped"].values()) >= 0
    return account, said


@pytest.mark.parametrize("kind", ["wordpiece:120", "bpe:300", "unigram:60"])
def test_every_character_that_goes_is_counted(tmp_path, kind):
    text = (
        "The film was good\x97TOO good\x96and long.\nFirst\x0bsecond\x0cthird.\nnel\x85next zw\u200bsp so\xadft.\n\u200b\n"
        * 3
    )
    account, said = prepared(tmp_path, text, tokenizer=kind)
    gone = [c for c in text if c in "\x97\x96\x0b\x0c\x85\u200b\xad"]
    dropped = account["bytes"]["dropped"]
    assert dropped["control"] == sum(len(c.encode()) for c in gone if c < "\xa0" and c != "\xad")
    assert dropped["zero_width"] == sum(len(c.encode()) for c in gone if c in "\xad\u200b")
    assert any("control 24, zero-width" in line for line in said)


def test_what_the_tokenizers_rule_changes_is_counted(tmp_path):
    text = "می\u200cخواهم naïve text ﬁn.\n" * 5
    account, said = prepared(tmp_path, text, tokenizer="wordpiece:200")
    assert (account["characters"]["dropped"], account["characters"]["replaced"]) == (5, 0)
    assert account["characters"]["read"] == sum(c != "\n" for c in text)
    assert any("drops 5 and replaces 0 (U+200C 5)" in line for line in said)
    options = {"lowercase": True, "strip_accents": True, "normalise": "nfkc", "allow_unknown": True}
    account, _ = prepared(tmp_path, text, tokenizer="wordpiece:200", **options)
    assert account["characters"]["replaced"] == 10 and account["characters"]["commonest"]["U+00EF ï"] == 5


def test_unknown_tokens_are_counted_warned_of_and_refused(tmp_path):
    Tokenizer.train("wordpiece:100", ["the quick brown fox jumps"] * 20).save(tmp_path / "t")
    known = "the quick brown fox jumps " * 5
    account, _ = prepared(tmp_path, known, tokenizer=str(tmp_path / "t"))
    assert account["unknown"] == {"tokens": 0, "share": 0, "commonest": {}}
    account, said = prepared(tmp_path, (known + "\n") * 2 + "Ж", tokenizer=str(tmp_path / "t"))
    assert account["unknown"]["tokens"] == 1 and account["unknown"]["commonest"] == {"Ж": 1}
    assert any("warning: " in line and "[UNK]; without an entry: Ж 1" in line for line in said)
    with pytest.raises(InputError, match=r"\[UNK\]; without an entry: Ж 9, Д 3; .*allow_unknown=True"):
        prepared(tmp_path, known + "Ж Ж Ж Д " * 3, tokenizer=str(tmp_path / "t"))
    account, _ = prepared(tmp_path, known + "Ж Ж Ж Д " * 3, tokenizer=str(tmp_path / "t"), allow_unknown=True)
    assert account["unknown"]["tokens"] == 12


def test_a_vocabulary_smaller_than_asked_is_said(tmp_path):
    account, said = prepared(tmp_path, "the quick brown fox\n" * 9, tokenizer="wordpiece:5000")
    size = Tokenizer.load(tmp_path / "s" / "tokenizer").size if (tmp_path / "s" / "tokenizer").is_dir() else None
    assert account["tokenizer_sample"]["entries"] == (size or Tokenizer.load(tmp_path / "s").size) < 5000
    assert any(f"{account['tokenizer_sample']['entries']} entries, not 5,000" in line for line in said)


@pytest.mark.parametrize("option", [{"strip_accents": True}, {"normalise": "nfc"}])
def test_rules_are_for_tokenizers_trained_here(tmp_path, option):
    Tokenizer.train("wordpiece:100", ["the fox"] * 20).save(tmp_path / "t")
    with pytest.raises(InputError, match=rf"^{next(iter(option))}=\S+: only for a tokenizer that is trained"):
        prepared(tmp_path, "the fox", tokenizer=str(tmp_path / "t"), **option)
