"""A paragraph's sentences have the ids of the paragraph: every layout of tokenizer, ten languages and more, any white space."""

import lzma

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import real_data
from tests.layouts import LAYOUTS, layout

import bertsmith
from bertsmith.text.encode import Encoder, Reading
from bertsmith.text.runs import Runs
from bertsmith.text.sentences import split
from bertsmith.text.starts import BYTES
from bertsmith.text.store import Store

TEXTS = {
    "en": 'The river flows. The city is large. "People live there," she said. 46 of them (in 1999) left! Did they?  Yes.',
    "de": "Die Straße ist naß. Über den Fluß führt eine Brücke. „Wohin?“ fragte er. Am 3. Mai ging er. Äpfel und Öl.",
    "fr": "L'été arrive… Où va-t-il ? Il s'en va ! « Ça va », dit-elle. Élève et maître s’aiment. Œuvre faite.",
    "ru": "Река течёт. Город большой. Куда он идёт? «Домой», — сказала она. В 1999 году всё изменилось! Ещё раз.",
    "el": "Ο ποταμός κυλά. Η πόλη είναι μεγάλη. Πού πάει; Σπίτι, είπε. Όλοι οι άνθρωποι μένουν εκεί.",
    "hi": "नदी बहती है। शहर बड़ा है। लोग वहाँ रहते हैं। वह कहाँ जाता है? घर, उसने कहा।",
    "th": "แม่น้ำไหล เมืองใหญ่มาก คนอยู่ที่นั่น เขาไปไหน? กลับบ้าน เธอพูด",
    "ar": "النهر يجري. المدينة كبيرة. إلى أين يذهب؟ إلى البيت، قالت. يعيش الناسُ هناكَ.",
    "tr": "Nehir akıyor. Şehir büyük. İstanbul'a gitti mi? Eve, dedi. Işık söndü.",
    "vi": "Dòng sông chảy. Thành phố lớn. Người dân sống ở đó. Anh ấy đi đâu? Về nhà, cô nói.",
    "zh": "河水在流。城市很大。人们住在那里。他去哪儿？“回家。”她说。1999年，一切都变了！Python 很好。是的。",
    "ja": "川が流れる。街は大きい。人々がそこに住む。彼はどこへ行くの？「家へ。」と彼女は言った。ｶﾅも。",
    "ko": "강이 흐른다. 도시는 크다. 사람들이 거기 산다. 그는 어디로 가나? 집으로, 그녀가 말했다.",
}
WORDS = [
    "The",
    "river.",
    "city!",
    "e\u0301te\u0301",
    "\u0301b",
    "10.",
    "城。",
    "が",
    "👍🏽",
    "[MASK]",
    "▁x",
    "ﬁn?",
    "\u200b",
    "ไป",
    "¨a",
    "Ġ",
]
GAPS = ["", " ", "  ", "\t", "\u00a0", "\u3000", " \t", "\x1c", "\u2028"]


@pytest.fixture(scope="module", params=LAYOUTS)
def tokenizer(request):
    return layout(request.param, [*TEXTS.values(), "\n".join(WORDS)], 900)


def whole(tokenizer, text):
    return tokenizer._plain.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("language", TEXTS)
def test_the_sentences_of_a_paragraph_have_its_ids(tokenizer, language):
    spread = TEXTS[language].replace(". ", ".  ").replace("。", "。 ").strip()
    for text in (TEXTS[language], spread, f"{spread} {TEXTS['zh']} {TEXTS['en']}"):
        found = Encoder(tokenizer, Reading(language=language))(("", [[text, text], [text]]))
        assert found.ids.tolist() == 3 * whole(tokenizer, text)
        assert found.lengths.sum() == len(found.ids) == len(found.starts)


@settings(max_examples=60)
@given(parts=st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(GAPS)), min_size=1, max_size=8))
def test_wherever_sentences_are_cut_they_have_them(tokenizer, parts):
    text = "".join(word + gap for word, gap in parts)
    pieces = [word + gap for word, gap in parts]
    runs = Runs(tokenizer.borders)
    sentences = runs.add(pieces)
    ids, starts, lengths = runs.encoded(tokenizer)
    assert ids.tolist() == whole(tokenizer, text.strip())
    assert len(lengths) == len(sentences) and lengths.sum() == len(ids) == len(starts)


@pytest.mark.parametrize("name", ["bert", "roberta", "prefix"])
def test_words_that_were_added_change_nothing(name):
    tokenizer = layout(name, list(TEXTS.values()), 1200).extend(["The", "city", "Die", "Город", "large"])
    for language, text in TEXTS.items():
        found = Encoder(tokenizer, Reading(language=language))(("", [[text]]))
        assert found.ids.tolist() == whole(tokenizer, text)


@pytest.mark.parametrize("name", ["roberta", "modernbert", "llama3", "digits first", "first unigram", "never bpe"])
def test_each_sentence_has_the_tokens_of_its_own_text(name):
    tokenizer = layout(name, list(TEXTS.values()), 1500)
    for language, text in TEXTS.items():
        if language in ("zh", "ja"):  # no spaces: a token may reach from one sentence into the next
            continue
        sentences = [s.strip() for s in split(text, language)]
        found = Encoder(tokenizer, Reading(language=language))(("", [[text]]))
        cuts = np.cumsum(found.lengths)
        tokens = ["".join(tokenizer.tokens(part)) for part in np.split(found.ids, cuts[:-1])]
        if name in ("first unigram", "never bpe"):
            squeezed = [tokenizer.backend.normalizer.normalize_str(s).replace(" ", "") for s in sentences]
            if "[UNK]" not in "".join(tokens):
                assert [part.replace("▁", "") for part in tokens] == squeezed
        else:
            assert [bytes(BYTES[c] for c in part).decode().strip() for part in tokens] == sentences


def test_sentences_after_the_first_keep_their_space_and_every_byte_is_accounted_for(tmp_path):
    from bertsmith.text.prepare import prepare

    (tmp_path / "text.txt").write_text("\n\n".join(TEXTS.values()) + "\n", encoding="utf-8")
    layout("roberta", list(TEXTS.values()), 1500).save(tmp_path / "tok")
    for workers in (1, 2):
        out = tmp_path / f"store{workers}"
        account = prepare(
            [str(tmp_path / "text.txt")], out, tokenizer=str(tmp_path / "tok"), holdout=0, workers=workers
        )
        size = account["bytes"]
        assert size["used"] + size["newlines"] + size["markup"] + sum(size["dropped"].values()) == size["read"]
    store = Store.open(tmp_path / "store1")
    first = store.train.sentences[:3].tolist()
    begins = store.tokenizer.tokens(store.train.gather(slice(first[1], first[1] + 1)))
    assert begins[0].startswith("Ġ")
    one, two = (sorted(p.read_bytes() for p in (tmp_path / f"store{n}").glob("train-*.npy")) for n in (1, 2))
    assert one == two


@pytest.mark.parametrize(
    "name", ["bert", "roberta", "modernbert", "xlm-r unigram", "first bpe", "never unigram", "llama bpe"]
)
def test_real_text_of_many_languages(name):
    data = real_data()
    if data is None:
        pytest.skip("no real corpora beside this repository")
    tokenizer = layout(name, list(TEXTS.values()), 1500)
    for language, text in _real(data).items():
        for paragraph in text:
            found = Encoder(tokenizer, Reading(language=language))(("", [[paragraph]]))
            assert found.ids.tolist() == whole(tokenizer, paragraph), (language, paragraph)


def _real(data) -> dict[str, list[str]]:
    files = {"ko": "ko_wiki/ko_wiki.txt.xz", "zh": "zh_wiki/zh_wiki.txt.xz", "en": "en_wiki/en_wiki.txt.xz"}
    files |= {name: f"multilingual_novels/eltec_{name}.txt.xz" for name in ("de", "fr")}
    found = {}
    for language, name in files.items():
        with lzma.open(data / name, "rt", encoding="utf-8") as file:
            found[language] = [line.strip() for line in file.read(60_000).split("\n")]
    for language, name in {
        "es": "es_gsd",
        "ru": "ru_gsd",
        "ja": "ja_gsd",
        "tr": "tr_imst",
        "vi": "vi_vtb",
        "fi": "fi_tdt",
    }.items():
        with lzma.open(data / "ud_multilingual" / f"{name}-ud-dev.conllu.xz", "rt", encoding="utf-8") as file:
            lines = [line[9:].strip() for line in file if line.startswith("# text = ")][:200]
        joint = "" if language == "ja" else " "
        found[language] = [joint.join(lines[i : i + 5]) for i in range(0, len(lines), 5)]
    return {language: [p for p in paragraphs if p][:40] for language, paragraphs in found.items()}


@pytest.mark.parametrize("name", ["bert", "roberta", "modernbert", "xlm-r unigram"])
def test_a_store_has_the_ids_of_a_loaded_tokenizer_whatever_nobody_sees(name, tmp_path):
    """Soft hyphens, marks of direction, vertical tabs: what a model will be given when it predicts is what it was trained on."""
    text = "soft\u00adhy phen and \u202bx\u202c one\x0btwo. zero\u200bwidth\ufeff end."
    tokenizer = layout(name, [*TEXTS.values(), text], 1500)
    tokenizer.save(tmp_path / "tokenizer")
    (tmp_path / "a.txt").write_text(text)
    options = {"tokenizer": str(tmp_path / "tokenizer"), "holdout": 0, "allow_unknown": True}
    account = bertsmith.prepare(tmp_path / "a.txt", tmp_path / "store", **options)
    train = Store.open(tmp_path / "store").train
    assert train.gather(np.arange(train.count)).tolist() == whole(tokenizer, text)
    size = account["bytes"]
    used = size["used"] + size["newlines"] + size["markup"] + sum(size["dropped"].values())
    assert used == size["read"] + size["recoded"]
