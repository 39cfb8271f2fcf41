"""Where sentences end: what closes one stays with it, in every language; Thai by a splitter made for it."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertsmith.text import thai_sentences
from bertsmith.text.closing import CLOSING
from bertsmith.text.sentences import split

# Sentences as they are printed in these languages, parted by |
ENDS = {
    "zh": "他说：“今天天气很好。”|我们走吧！|（真的吗？）|“别走！”|他喊道。|【注意！】|‘真的？’|他问。|《红楼梦》是小说。",
    "ja": "「行きます。」|と彼は言った。|『本当？』|いいえ。|（終わり。）|次の文。",
    "en": 'He said "Stop." |She left. |(It was late.) |Then "Why?" he asked. |‘No!’ |[See below.] |Next.',
    "de": "Er sagte: „Halt!“ |Dann ging er. |»Warum?« |Sie lief. |(Es war spät.) |»Nein.« |»Doch!«",
    "fr": "Il dit : « Non ! » |Puis il partit. |(Voir la page 3.) |« Oui. » |Fin.",
    "ru": "Он сказал: «Стой!» |Она ушла. |„Да?“ |(Поздно.) |Нет.",
    "ar": "قال: «لا.» |ثم ذهب. |(نعم!) |حسنا.",
    "hi": 'उसने कहा, "चलो।" |फिर वह गया। |(ठीक है।) |अंत।',
    "ko": '"가자." |그는 말했다. |(끝.) |다음.',
    "es": "«¡Hola!» |Él salió. |¿Qué? |(Sí.) |Bien.",
    "km": "គាត់ទៅ។ |គាត់មក។",
    "my": "သူသွားသည်။ |ပြန်လာသည်။",
}


@pytest.mark.parametrize("language", ENDS)
def test_closing_quotes_and_brackets_stay_with_their_sentence(language):
    expected = ENDS[language].split("|")
    assert split("".join(expected), language) == expected


@pytest.mark.parametrize(
    "text",
    [
        "“Really?” asked Tom.",
        "(What?) he asked.",
        "He said “(maybe)”, then left.",
        "See Smith et al. (2019) for more.",
        "The answer (which was wrong!) came late.",
    ],
)
def test_what_goes_on_is_no_new_sentence(text):
    assert split(text, "en") == [text]


@given(st.text(alphabet="ab C。.!?”“\"'』」）)（(「 ។»«ก", max_size=40))
@settings(deadline=None, max_examples=300)
def test_no_character_is_lost_and_no_sentence_begins_with_what_closes_another(text):
    found = split(text, "zh")
    assert "".join(found) == text and all(found)
    assert not any(after[0] in CLOSING and not before[-1].isspace() for before, after in pairwise(found))


THAI = "เมื่อวานฝนตกหนักมาก เราเลยไม่ได้ออกไปไหน วันนี้อากาศดีขึ้น พวกเขาจึงไปเที่ยวทะเลด้วยกัน"


def test_thai_is_split_by_crfcut():
    segment = pytest.importorskip("pythainlp.tokenize.crfcut").segment
    assert split(THAI, "th") == segment(THAI) and len(split(THAI, "en")) > 1
    assert split("เขาเกิดปี พ.ศ. 2540 ที่กรุงเทพ", "th")[0].startswith("เขาเกิดปี พ.ศ. 2540")


def test_thai_without_its_splitter_is_one_sentence_and_said(monkeypatch):
    monkeypatch.setattr(thai_sentences, "splitter", lambda: None)
    assert split(THAI, "th") == [THAI]
    by, warnings = thai_sentences.described(len(THAI))
    assert by == "the general rules" and str(len(THAI)) in warnings[0] and "bertsmith[th]" in warnings[0]
