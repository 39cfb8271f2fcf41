"""Tokens as people write text: no letters that stand for bytes, no marks of a tokenizer, blanks where a text has them."""

import pytest

from bertsmith.text.languages import language
from bertsmith.text.shown import BLANK, SEAM, joined
from bertsmith.text.tokenizer import Tokenizer

TEXTS = {
    "en": "Don't split (these) words, naïve reader: tokenization matters.",
    "zh": "北京大学的学生在图书馆里读书，他们很高兴。",
    "ru": "Привет, мир! Как твои дела сегодня?",
    "ja": "東京に行きました。",
    "emoji": "I love 🙂 and 👩‍👩‍👧, too.",
}
KINDS = ["wordpiece:400", "bpe:300", "bpe:600", "bpe-char:300", "unigram:180", "char", "byte"]


@pytest.fixture(scope="module")
def tokenizers():
    texts = [*TEXTS.values()] * 3
    return {kind: Tokenizer.train(kind, texts, normalise="none") for kind in KINDS}


def line(tokenizer, text, apart=()):
    pieces = tokenizer.people.pieces(tokenizer.encode([text])[0][0].tolist(), apart)
    return "".join(before + pieces[place].text for place, before in joined(pieces, apart))


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_shown_as_the_text_that_they_are_of(kind, name, tokenizers):
    tokenizer, text = tokenizers[kind], TEXTS[name]
    if "bpe:" not in kind:
        text = text.replace("\u200d", "")  # dropped before the tokenizer reads, or nothing that it knows
    ids = tokenizer.encode([text])[0][0].tolist()
    shown = tokenizer.people.text(ids)
    assert shown.replace("\u200d", "") == text.replace("\u200d", "")
    assert line(tokenizer, text).replace(SEAM, "").replace(BLANK, " ").strip().replace("\u200d", "") == shown.replace(
        "\u200d", ""
    )


@pytest.mark.parametrize("kind", KINDS)
def test_no_token_shows_marks_of_its_tokenizer(kind, tokenizers):
    for i in range(tokenizers[kind].size):
        shown = tokenizers[kind].shown(i)
        assert shown and not {*shown} & {*"Ġ▁Ċ"} and (not shown.startswith("##") or set(shown) == {"#"})
        assert not shown.endswith("</w>") and "\ufffd" not in shown


def test_pieces_of_a_word_have_a_seam_and_characters_that_are_tokens_each_have_none(tokenizers):
    assert SEAM in line(tokenizers["bpe:300"], TEXTS["ru"]) and SEAM not in line(
        tokenizers["wordpiece:400"], "北京大学"
    )


def test_a_character_of_several_tokens_stands_once_or_as_its_parts(tokenizers):
    tokenizer = tokenizers["bpe:300"]
    ids = tokenizer.encode(["龍龙"])[0][0].tolist()  # no merges: three bytes each, the space before them first
    assert len(ids) == 7 and tokenizer.people.text(ids) == "龍龙"
    assert [piece.text for piece in tokenizer.people.pieces(ids, {2})][1:] == [
        "龍(1/3)",
        "龍(2/3)",
        "龍(3/3)",
        "龙",
        "",
        "",
    ]
    assert [tokenizer.shown(i) for i in ids[1:4]] == ["<E9>", "<BE>", "<8D>"]


def test_the_byte_tokens_of_a_sentencepiece_model_are_characters():
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, normalizers

    vocab = {name: i for i, name in enumerate(["<unk>", "<s>", "</s>", "<pad>", "<mask>", "▁", "▁a", "b"])}
    vocab |= {f"<0x{byte:02X}>": 8 + byte for byte in range(256)}
    backend = Backend(models.BPE(vocab, [], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    roles = {"pad": "<pad>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}
    people = Tokenizer(backend, roles).people
    ids = [1, 6, 7, 5, *(8 + byte for byte in "é".encode()), 2]
    assert people.text(ids) == "<s> ab é </s>"
    assert (
        "".join(b + people.pieces(ids)[at].text for at, b in joined(people.pieces(ids))) == f"<s> a{SEAM}b{BLANK}é </s>"
    )


@pytest.mark.parametrize(
    ("text", "said", "expected"),
    [
        ("The cat sat.", "en", ("en", "ltr")),
        ("Die Katze saß.", "de", ("de", "ltr")),
        ("北京大学 in Beijing", "en", ("zh", "ltr")),
        ("北京大学", "yue", ("yue", "ltr")),
        ("東京に行きました", "en", ("ja", "ltr")),
        ("한국어 문장", "en", ("ko", "ltr")),
        ("Привет", "en", ("ru", "ltr")),
        ("Привіт", "uk", ("uk", "ltr")),
        ("Γειά σου", "en", ("el", "ltr")),
        ("مرحبا بالعالم", "en", ("ar", "rtl")),
        ("سلام دنیا", "fa", ("fa", "rtl")),
        ("שלום", "en", ("he", "rtl")),
        ("สวัสดี", "en", ("th", "ltr")),
        ("नमस्ते", "en", ("hi", "ltr")),
        ("1 + 1", "en", ("en", "ltr")),
    ],
)
def test_a_text_has_the_language_that_was_said_or_that_its_script_tells(text, said, expected):
    assert language(text, said) == expected
