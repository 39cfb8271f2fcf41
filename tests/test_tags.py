"""Words to sequences and back: files of tags, the token that is read for each word, windows."""

import json
import lzma
from dataclasses import replace

import numpy as np
import pytest
from tests.conftest import real_data
from tests.folders import tokenizer_of

from bertsmith.errors import InputError
from bertsmith.objectives.supervised import FIRST, LAST
from bertsmith.tasks import conll
from bertsmith.tasks.joined import Joined
from bertsmith.tasks.kinds import kind
from bertsmith.tasks.reading import Reading, most_context, windows
from bertsmith.tasks.tags import Truth
from bertsmith.text.tokenizer import Tokenizer

CONLL = "-DOCSTART- -X- O O\n\nJapan NNP I-NP I-LOC\nwon VBD I-VP O\n\nNaïve\u00a0x NNP I-NP O\n"


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_are_read_with_tabs_or_spaces_and_the_last_is_the_tag(tmp_path):
    rows = conll.read(write(tmp_path / "a.conll", CONLL))
    assert rows.words == [["Japan", "won"], ["Naïve\u00a0x"]] and rows.tags == [["I-LOC", "O"], ["O"]]
    assert rows.where(1).endswith("a.conll:6") and rows.counts["documents"] == 1
    rows = conll.read(tmp_path / "a.conll", columns={"label": "2"})
    assert rows.tags == [["NNP", "VBD"], ["NNP"]]
    assert conll.read(tmp_path / "a.conll", labelled=False).tags is None
    rows = conll.read(write(tmp_path / "b.txt", "New York\tB-LOC\n\t\nwon\tO\n"))
    assert rows.words == [["New York"], ["won"]]
    packed = tmp_path / "c.conll.xz"
    packed.write_bytes(lzma.compress(CONLL.encode()))
    assert conll.read(packed).words == [["Japan", "won"], ["Naïve\u00a0x"]]


def test_universal_dependencies_and_json_lines(tmp_path):
    text = "# sent_id = 1\n1-2\tvámonos\t_\t_\n1\tvamos\tir\tVERB\n2\tnos\tnosotros\tPRON\n2.1\tx\tx\tX\n"
    rows = conll.read(write(tmp_path / "a.conllu", text))
    assert rows.words == [["vamos", "nos"]] and rows.tags == [["VERB", "PRON"]] and rows.counts["parts"] == 2
    lines = [{"words": ["a", "b"], "tags": ["O", "B-X"]}, {"words": ["c"], "tags": ["O"]}]
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines)))
    rows = conll.read(path, columns={"text": "words", "label": "tags"})
    assert rows.words == [["a", "b"], ["c"]] and rows.where(1).endswith(":2")


@pytest.mark.parametrize(
    "name, text, says",
    [
        ("a.jsonl", '{"text": ["a", "b"], "label": ["O"]}', "a.jsonl:1: label: 2 words but 1 tag"),
        ("a.jsonl", '{"text": "a b", "label": ["O"]}', "a.jsonl:1: label: a list of tags beside a text that"),
        ("a.jsonl", '{"text": ["a", " "], "label": ["O", "O"]}', "a.jsonl:1: text.1: is empty"),
        ("a.jsonl", '{"text": ["a", 1], "label": ["O", "O"]}', "a.jsonl:1: text.1: a number where a string"),
        ("a.jsonl", '{"text": [], "label": []}', "a.jsonl:1: text: is empty"),
        ("a.jsonl", '{"text": ["a"]}', "a.jsonl:1: label: is missing"),
        ("a.jsonl", "[1]", "a.jsonl:1: a list where an object is expected"),
        ("a.conll", "a O\nb O X\n", "a.conll:2: 3 columns, but 2 in line 1"),
        ("a.conll", "a\t\n", "a.conll:1: label: is empty"),
        ("a.conll", "# x\n", None),
        ("a.conll", "", "a.conll: holds no sentences"),
    ],
)
def test_bad_rows_are_named(tmp_path, name, text, says):
    path = write(tmp_path / name, text)
    if says is None:
        assert conll.read(path).words == [["#"]]
        return
    with pytest.raises(InputError) as raised:
        conll.read(path)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


REMARKS = "# id 1 domain=en\nthe _ _ O\naspirin _ _ B-D\n\n# id 2\tdomain=en\n#\tx\n# _ _ O\n1 _ _ B-D\n\n# _ _ I-D\n"


@pytest.mark.parametrize("labelled", [True, False])
def test_remarks_before_a_sentence_are_passed_over_and_counted_and_a_word_of_that_name_stays(labelled, tmp_path):
    rows = conll.read(write(tmp_path / "a.conll", REMARKS), labelled=labelled)
    assert rows.words == [["the", "aspirin"], ["#", "1"], ["#"]] and rows.lines == [[2, 3], [7, 8], [10]]
    assert rows.counts["remarks"] == 3 and rows.notes == [f'{rows.path}: 3 remarks ("# …" before a sentence) skipped']
    assert rows.tags == ([["O", "B-D"], ["O", "B-D"], ["I-D"]] if labelled else None)


def test_remarks_and_words_with_tabs_and_words_alone(tmp_path):
    text = "# newdoc\n# id = 1\tdomain = en\n#\tO\ngood\tO\n#\tB-X\n\n#\t#\n#1\tO\n"
    rows = conll.read(write(tmp_path / "a.tsv", text))
    assert rows.words == [["#", "good", "#"], ["#", "#1"]] and rows.counts["remarks"] == 2
    rows = conll.read(write(tmp_path / "c.conll", "#\n# made by hand\n#\nText\tNN\n\n#\tO\n"))
    assert rows.words == [["Text"], ["#"]] and rows.counts["remarks"] == 3
    rows = conll.read(write(tmp_path / "a.txt", "# 1 of 2\n#\nfine\n\n# 2 of 2\nday\n"), labelled=False)
    assert rows.words == [["#", "fine"], ["day"]] and rows.counts["remarks"] == 2
    with pytest.raises(InputError, match=r"b\.txt:2: 2 columns, but 1 in line 1"):
        conll.read(write(tmp_path / "b.txt", "fine\n# day\n"), labelled=False)


def test_document_lines_end_a_sentence_and_are_no_sentence_in_json(tmp_path):
    text = "a\tO\n-DOCSTART-\tO\nb\tB-X\n\n-DOCSTART- -X- O\n\nc\tO\n"
    rows = conll.read(write(tmp_path / "a.conll", text))
    assert rows.words == [["a"], ["b"], ["c"]] and rows.counts["documents"] == 2
    lines = '{"text": ["-DOCSTART-"], "label": ["O"]}\n{"text": ["a", "-DOCSTART-"], "label": ["O", "B-X"]}\n'
    rows = conll.read(write(tmp_path / "a.jsonl", lines))
    assert rows.words == [["a", "-DOCSTART-"]] and rows.counts["documents"] == 1


def test_a_word_that_cannot_be_seen_is_a_word_in_every_format(tmp_path):
    words = ["a", "\u3000", "\u200b", "\u00a0", "\ufeff"]
    columns = conll.read(write(tmp_path / "a.conll", "".join(f"{word} O\n" for word in words)))
    tabs = conll.read(write(tmp_path / "b.conll", "".join(f"{word}\tO\n" for word in words)))
    rows = conll.read(write(tmp_path / "a.jsonl", json.dumps({"text": words, "label": ["O"] * 5})))
    assert columns.words == tabs.words == rows.words == [words]


@pytest.mark.parametrize(
    "name, text, says",
    [
        ("a.conll", "EU NNP\tB-NP B-ORG\n", "a.conll:1: label: 'B-NP B-ORG' holds a blank; columns are parted by tabs"),
        ("a.conll", "EU NNP\tB-ORG\nis VB\tO\nx Y\tO\n", "a.conll:1: text: blanks in 3 of 3 words, such as 'EU NNP'"),
        ("a.conll", "EU\tNNP\tB-ORG\nNew York\tB-LOC\n", "a.conll:2: 2 columns, but 3 in line 1"),
        (
            "a.tsv",
            "text\tlabel\ngood nice\t1\n",
            "a.tsv:1: the header of a table (text, label); task='tag' reads a word",
        ),
        ("a.csv", "label;sentence\n1;good\n", "a.csv:1: the header of a table (label, sentence); task='tag' reads"),
        (
            "a.tsv",
            "good nice film\t1\nbad it is\t0\nso so\t1\n",
            "a.tsv:1: text: blanks in 3 of 3 words, such as 'good nice film'",
        ),
    ],
)
def test_separators_that_are_mixed_and_tables_are_told_in_one_line(name, text, says, tmp_path):
    with pytest.raises(InputError) as raised:
        conll.read(write(tmp_path / name, text))
    assert says in str(raised.value) and "\n" not in str(raised.value) and len(says) < 120


def test_lines_with_tabs_and_lines_with_spaces_are_read_alike(tmp_path):
    rows = conll.read(write(tmp_path / "a.conll", "New York\tB-LOC\nis O\nfine \t O\n"))
    assert rows.words == [["New York", "is", "fine"]] and rows.tags == [["B-LOC", "O", "O"]]


JOINED = [
    ("I love you !", "I love you !"),
    ("the ( value )", "the ( value )"),
    ("我 爱 天 安 门 ， 真 的", "我爱天安门，真的"),
    ("1 9 年 ， A B 两 种", "1 9年，A B两种"),
    ("Hello , 世 界 !", "Hello,世界!"),
    ("カ ナ と ひ ら が な 。", "カナとひらがな。"),
    ("สวัสดี ครับ", "สวัสดีครับ"),
    ("ສະບາຍ ດີ", "ສະບາຍດີ"),
    ("ភាសា ខ្មែរ", "ភាសាខ្មែរ"),
    ("မြန်မာ စာ", "မြန်မာစာ"),
    ("서울 은 크다", "서울 은 크다"),
    ("good 😀 day", "good 😀 day"),
]


@pytest.mark.parametrize("words, text", JOINED)
def test_words_are_joined_as_their_script_writes_them(words, text):
    words = words.split(" ")
    joined = Joined.of(words)
    assert joined.text == text
    assert [joined.part(i, i + 1) for i in range(len(words))] == words and joined.part(0, len(words)) == text


@pytest.mark.parametrize("scheme", ["wordpiece:200", "bpe:400", "unigram:200", "bpe-char:200", "char"])
def test_each_character_of_chinese_has_a_token_and_none_stands_for_a_blank(scheme, tmp_path):
    corpus = [
        "北京大学在北京。我们在北京大学学习，他在上海工作。" * 3,
        "上海大学很大，我们学习工作。GPU 型号 A100 很大。" * 3,
    ]
    chinese = tokenizer_of(corpus, scheme)
    words = [*"我们在北京大学学习", "，", *"在上海工作", "GPU", "A100", "。"]
    _, found = encoded(chinese, [words], tmp_path, length=200)
    assert found.counts["unknown"] == found.counts["unread"] == 0
    ((ids, _),) = chinese.located(["".join(words[:-3])])
    assert len(ids) < len(words) or scheme.startswith("wordpiece"), "the vocabulary has tokens of several characters"
    assert len(set(found.places.tolist())) == len(words), "each word has a token of its own"
    text = chinese.decode(found.tokens[1:-1])
    assert text.replace(" ", "").replace("，", ",") == "".join(words).lower().replace("，", ",")
    bytes_each = 3 if scheme.startswith("bpe:") else 1
    assert len(found.tokens) - 2 <= bytes_each * sum(map(len, words)) + 2
    blank = [token for token in chinese.tokens(found.tokens) if token in ("▁", "Ġ")]
    assert len(blank) <= 3, "only a text's own beginning and the blank between GPU and A100"


def test_spans_quote_chinese_without_blanks(tmp_path):
    rows = conll.read(write(tmp_path / "a.conll", "在 O\n北 B-LOC\n京 I-LOC\nNew B-LOC\nYork I-LOC\n"))
    labels = kind("tag").learn(rows)
    said = np.eye(len(labels.names), dtype=np.float32)[[labels.names.index(tag) for tag in rows.tags[0]]]
    assert [span["text"] for span in kind("tag").answer(rows, said, labels)[0]["spans"]] == ["北京", "New York"]


@pytest.mark.skipif(real_data() is None, reason="needs the real corpora")
def test_real_chinese_files_are_joined_without_blanks():
    for name, sentences in (("peopledaily_ner/example.dev.xz", 2318), ("resume_ner/dev.char.bmes.xz", 463)):
        rows = conll.read(real_data() / name)
        texts = [Joined.of(words).text for words in rows.words]
        assert len(rows) == sentences
        assert sum(text.count(" ") for text in texts) < 0.1 * sum(map(len, texts))


@pytest.fixture(scope="module", params=["wordpiece:300", "bpe:400", "unigram:300"])
def tokenizer(request, documents):
    return tokenizer_of(documents[:20], request.param, lowercase=request.param.startswith("w"))


SENTENCES = [
    ["The", "function", "returns", "an", "unprintableidentifierofmanypieces", "(", "value", ")"],
    ["x"],
    ["a"] * 40 + ["class"],
    ["import" * 30, "module", "import" * 30],
]


def encoded(tokenizer, sentences, tmp_path, **options):
    rows = [json.dumps({"text": words}) for words in sentences]
    read = conll.read(write(tmp_path / "s.jsonl", "\n".join(rows)), labelled=False)
    reading = Reading(**{"length": 24, "segments": True, "on_long": "window", **options})
    return read, kind("tag").encode(tokenizer, read, reading)


@pytest.mark.parametrize("cls", ["first", "last"])
def test_every_word_is_read_once_at_the_token_that_holds_its_first_character(tokenizer, tmp_path, cls):
    _, found = encoded(tokenizer, SENTENCES, tmp_path, cls=cls)
    ends = tokenizer.vocab.cls, tokenizer.vocab.sep
    assert sorted(found.key.tolist()) == list(range(sum(map(len, SENTENCES)))), "each word in one window, once"
    words = [word for sentence in SENTENCES for word in sentence]
    at = 0
    for length in found.lengths:
        tokens = found.tokens[at : at + length]
        assert (tokens[0], tokens[-1]) == ends if cls == "first" else (tokens[-1], tokens[-2]) == ends
        assert length <= 24
        at += length
    tokens_from = np.concatenate([[0], np.cumsum(found.lengths)])
    for window, (start, end) in enumerate(zip(found.offsets[:-1], found.offsets[1:], strict=True)):
        for place, word in zip(found.places[start:end], found.key[start:end], strict=True):
            first = tokenizer.token(int(found.tokens[tokens_from[window] + place])).strip("▁Ġ").lower()
            assert words[word].lower().startswith(first)
    assert found.counts["long"] >= 2 and found.counts["unread"] == found.counts["unknown"] == 0


def test_a_word_that_is_nothing_to_the_tokenizer_is_read_as_unknown(documents, tmp_path):
    wordpiece = Tokenizer.train("wordpiece:300", documents[:20], lowercase=True, strip_accents=True)
    sentences = [["a", "\u200d", "value", "\u0301"], ["\u200d", "\u200d"]]
    _, found = encoded(wordpiece, sentences, tmp_path)
    assert found.key.tolist() == [0, 1, 2, 3, 4, 5] and found.counts["unknown"] == 4
    unknown = wordpiece.vocab.unk
    at = found.places + np.repeat(np.cumsum(found.lengths) - found.lengths, found.reads)
    assert (found.tokens[at] == unknown).tolist() == [False, True, False, True, True, True]
    assert "4 of 6 words are nothing to the tokenizer" in found.notes[0]


def test_words_that_are_cut_off_are_counted_and_have_no_tag(documents, tmp_path):
    rows, found = encoded(tokenizer_of(documents[:20]), SENTENCES, tmp_path, on_long="truncate")
    unread = sorted(set(range(sum(map(len, SENTENCES)))) - set(found.key.tolist()))
    assert unread and found.counts["unread"] == len(unread) and "get no tag" in found.notes[0]
    said = kind("tag").said(found, rows, np.ones((len(found.places), 2), np.float32))
    assert np.flatnonzero(np.isnan(said[:, 0])).tolist() == unread
    answers = kind("tag").answer(rows, said, kind("tag").learn(labelled(tmp_path)))
    assert [len(answer["label"]) for answer in answers] == [len(words) for words in SENTENCES]
    flat = [tag for answer in answers for tag in answer["label"]]
    assert [i for i, tag in enumerate(flat) if tag is None] == unread


def labelled(tmp_path):
    return conll.read(write(tmp_path / "labelled.conll", "a O\nb B-X\n"))


def test_the_window_of_most_context_is_chosen_and_windows_leave_no_gap():
    for size in (1, 5, 9, 10, 11, 50):
        for stride in (None, 1, 3, 10):
            views = windows(size, 10, stride)
            number = most_context(views, size)
            assert (number >= 0).all() and views[0][0] == 0 and views[-1][1] == size
            for token in range(size):
                inside = [
                    (min(token - a, b - 1 - token) + 0.01 * (b - a), -i)
                    for i, (a, b) in enumerate(views)
                    if a <= token < b
                ]
                assert -max(inside)[1] == number[token]


def test_tags_of_a_few_sentences_stand_for_all_prefixes_of_their_types(tmp_path):
    rows = conll.read(write(tmp_path / "a.conll", "a I-PER\nb O\n\nc I-LOC\nd B-LOC\n"))
    assert kind("tag").learn(rows).names == ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")


@pytest.mark.skipif(real_data() is None, reason="needs the real corpora")
def test_conll_2003_holds_the_entities_that_are_published():
    from bertsmith.tasks.spans import spans

    rows = conll.read(real_data() / "conll2003" / "eng.testb.xz")
    assert len(rows) == 3453 and sum(map(len, rows.words)) == 46435
    assert sum(len(spans(tags)) for tags in rows.tags) == 5648


@pytest.mark.parametrize("on_long", ["window", "truncate"])
def test_of_a_crf_the_words_that_begin_and_end_a_sentence_are_asked_as_such_and_those_of_a_windows_edge_are_not(
    documents, tmp_path, on_long
):
    rows, found = encoded(tokenizer_of(documents[:20]), SENTENCES, tmp_path, on_long=on_long)
    ids = np.arange(len([word for words in SENTENCES for word in words])) % 3
    asked = replace(kind("tag"), head="crf").asked(found, Truth(ids=ids, lengths=rows.lengths))
    assert (asked.labels[:, 0] == ids[found.key]).all() and asked.labels.shape == (len(found.key), 2)
    starts, ends = np.cumsum(rows.lengths) - rows.lengths, np.cumsum(rows.lengths) - 1
    for sign, words in ((FIRST, starts), (LAST, ends)):
        signed = {
            word for word, signs in zip(found.key.tolist(), asked.labels[:, 1].tolist(), strict=True) if signs & sign
        }
        assert signed == {*words.tolist()} & {*found.key.tolist()}
    cut = {*range(len(ids))} - {*found.key.tolist()}
    assert (found.counts["windows"] > len(SENTENCES)) == (on_long == "window") and bool(cut) == (on_long == "truncate")


def test_texts_of_a_line_each_are_told_that_their_lines_are_read_as_words(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("Anna lives in Rome .\n" * 6)
    read = conll.read(path, labelled=False)
    assert read.words == [["Anna"] * 6]
    assert read.notes == [
        f'warning: {path}: is read as one sentence, the first word of each of its 6 lines; texts of a line each go into .jsonl, {{"text": …}}'
    ]
    path.write_text("Anna\nlives\nin\nRome\n.\nthere\n")
    assert conll.read(path, labelled=False).notes == []
