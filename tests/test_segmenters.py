"""Words of scripts without blanks; the oracles are the segmenters' own output and a treebank's words."""

import lzma
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import real_data

from bertsmith.text import segment
from bertsmith.text.encode import Encoder, Reading
from bertsmith.text.paragraph_words import Words
from bertsmith.text.prepare import prepare
from bertsmith.text.store import Store
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.text.words import character_starts, word_starts

KINDS = ("wordpiece:400", "bpe:400", "bpe-char:400", "unigram:200", "char", "byte")
JA = "東京都庁で会見した。これに不快感を示す住民はいました。「行きます。」と彼は言った。カタカナ語です。"
ZH = "我们在北京大学学习Python编程。他喜欢卡拉OK。"
TH = "ฉันรักภาษาไทยและวัฒนธรรมไทย ปี 2540 เขาใช้ Google ทุกวัน"
LO, KM, MY = "ພາສາລາວເປັນພາສາທາງການ", "ភាសាខ្មែរគឺជាភាសាផ្លូវការ", "မြန်မာဘာသာစကားသည်တရားဝင်ဖြစ်သည်"


@pytest.fixture
def without(monkeypatch):
    """No segmenter is installed but jieba."""
    monkeypatch.setattr(segment, "mecab", lambda: None)
    monkeypatch.setattr(segment, "icu", lambda: None)


def split(text, language=""):
    starts = np.flatnonzero(character_starts(text, language=language))
    return [text[a:b].strip() for a, b in zip(starts, [*starts[1:], len(text)], strict=False)]


def test_japanese_words_are_mecabs_short_units():
    fugashi = pytest.importorskip("fugashi")
    import unidic_lite

    folder = Path(unidic_lite.DICDIR)
    tagger = fugashi.GenericTagger(f'-r "{folder / "mecabrc"}" -d "{folder}"')
    assert split(JA) == [node.surface for node in tagger(JA)]
    assert split("私は Python と\tC++ を使う") == ["私", "は", "Python", "と", "C", "+", "+", "を", "使う"]


@pytest.mark.parametrize("text", [TH, LO, KM, MY])
def test_words_of_thai_lao_khmer_and_burmese_are_icus(text):
    breakers = pytest.importorskip("icu4py.breakers")
    assert split(text) == [word for word in breakers.WordBreaker(text, "en") if word.strip()]


def test_u200b_and_blanks_part_words_and_joiners_do_not():
    pytest.importorskip("icu4py")
    assert split("ภาษา\u200bไทยภาษา ไทย") == ["ภาษา\u200b", "ไทย", "ภาษา", "ไทย"]
    assert split("ភាសា\u2060ខ្មែរ") == [split("ភាសាខ្មែរ")[0].replace("ភាសា", "ភាសា\u2060")]


def test_what_han_is_says_the_language_or_the_kana_of_the_line_or_of_its_document():
    pytest.importorskip("fugashi")
    headline, chinese = "東京都知事会見", "他说日语的“の”字是助词，意思和“的”字一样。"
    japanese, jieba = split(headline, "ja"), split(headline)
    assert japanese == ["東京", "都", "知事", "会見"] != jieba
    assert split(chinese) == split(chinese, "zh") != split(chinese, "ja")
    _, found, japanese_characters = Words()([[headline], [headline, "これは日本語の文章です。"]])
    pieces = [
        [headline[a:b] for a, b in zip(s, [*s[1:], len(headline)], strict=False)]
        for s in (np.flatnonzero(np.frombuffer(x, bool)) for x in found[:2])
    ]
    assert pieces == [jieba, japanese]
    assert japanese_characters == len(headline) + len("これは日本語の文章です")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", [JA, ZH, TH, KM, "カタカナ語です", "スーパーへ"])
def test_words_are_the_paragraphs_for_every_tokenizer_and_wherever_sentences_end(kind, text):
    tokenizer = Tokenizer.train(kind, [text, *text] * 2)
    blank = [tokenizer.backend.token_to_id(space) for space in "▁Ġ"]
    encoding = tokenizer.backend.encode(text, add_special_tokens=False)
    starts = character_starts(text)
    wanted = word_starts(
        text, encoding.offsets, blank=np.isin(encoding.ids, [i for i in blank if i is not None]), starts=starts
    )
    for lines in ("paragraph", "sentence"):
        found = Encoder(tokenizer, Reading(lines=lines))(("", [[text]]))
        assert found.ids.tolist() == encoding.ids and found.starts.tolist() == wanted.tolist()


def test_without_the_extras_the_rules_stand_in(without):
    assert split("カタカナ語です") == ["カタカナ", "語", "です"] and split("スーパーへ") == ["スーパー", "へ"]
    assert split("เท่ากัน") == ["เท่า", "กั", "น"] and split(KM) == [KM] and split(MY) == [MY]
    assert split(ZH)[:4] == ["我们", "在", "北京大学", "学习"]


@pytest.mark.parametrize(
    ("text", "name", "extra", "package"),
    [(JA, "Japanese", "ja", "fugashi"), (TH, "Thai", "th", "icu4py"), (KM, "Khmer", "km", "icu4py")],
)
def test_what_cut_words_stands_in_the_account_and_a_missing_segmenter_is_said_once(
    text, name, extra, package, tmp_path, monkeypatch
):
    pytest.importorskip(package)
    (tmp_path / "a.txt").write_text(f"{text}\n\n" * 20, encoding="utf-8")
    options = {"tokenizer": "bpe:400", "holdout": 0}
    account = prepare([str(tmp_path / "a.txt")], tmp_path / "with", **options)
    assert package in account["words"]["scripts"][name]["by"]
    assert not [line for line in account["warnings"] if line.startswith("words")]
    assert Store.open(tmp_path / "with").manifest["account"]["words"] == account["words"]
    monkeypatch.setattr(segment, "mecab", lambda: None)
    monkeypatch.setattr(segment, "icu", lambda: None)
    account = prepare([str(tmp_path / "a.txt")], tmp_path / "without", **options)
    (said,) = [line for line in account["warnings"] if line.startswith("words")]
    characters = account["words"]["scripts"][name]["characters"]
    assert f"{characters:,} characters of {name}" in said and f"bertsmith[{extra}]" in said


def test_other_processes_cut_the_same_words(tmp_path):
    text = "\n\n".join(["\n".join([JA, ZH, TH, KM, MY, LO]) * 40] * 80)
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    seals = set()
    for workers in (1, 2):
        prepare([str(tmp_path / "a.txt")], tmp_path / str(workers), tokenizer="bpe:600", workers=workers)
        seals.add(Store.open(tmp_path / str(workers)).digest)
    assert len(seals) == 1


def gold(name):
    """Sentences of a treebank with the characters at which its words start."""
    path = real_data() / "ud_multilingual" / f"{name}.conllu.xz"
    for block in lzma.open(path, "rt", encoding="utf-8").read().split("\n\n"):
        lines = block.split("\n")
        text = next((line[9:] for line in lines if line.startswith("# text = ")), None)
        starts, at = [], 0
        for line in lines if text else ():
            if line[:1].isdigit() and line.split("\t")[0].isdigit():
                word = line.split("\t")[1]
                at = text.index(word, at)
                starts.append(at)
                at += len(word)
        if text:
            yield text, starts


@pytest.mark.skipif(real_data() is None, reason="needs the treebanks")
@pytest.mark.parametrize(
    ("name", "package", "least"), [("ja_gsd-ud-test", "fugashi", 0.99), ("zh_gsd-ud-test", "rjieba", 0.89)]
)
def test_word_starts_of_a_treebank(name, package, least):
    pytest.importorskip(package)
    pairs = list(gold(name))
    _, found, _ = Words()([[text for text, _ in pairs]])
    hits = total = 0
    for starts, (_, wanted) in zip(found, pairs, strict=True):
        if starts is None:
            continue
        mine = set(np.flatnonzero(np.frombuffer(starts, bool)).tolist())
        hits += 2 * len(mine & set(wanted))
        total += len(mine) + len(wanted)
    assert hits / total > least
