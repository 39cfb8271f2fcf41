"""Texts with spans of characters: what tools export, the words that they become, and spans that are predicted where they stand in the text."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bertsmith
from bertsmith.errors import InputError
from bertsmith.tasks import conll
from bertsmith.tasks.kinds import kind
from bertsmith.tasks.marked_texts import read, words
from bertsmith.tasks.spans import spans

pytestmark = pytest.mark.usefixtures("one_thread")
KIND = kind("tag")
TEXT = "Angela Merkel (CDU) met Xi Jinping."


def written(path, *rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def marked(text, marks):
    """The spans that come back as characters, and what is counted."""
    counts: Counter[str] = Counter()
    joined, tags, wrong = read(text, marks, "row", counts)
    found = [(int(joined.begins[a]), int(joined.ends[b - 1]), name) for name, a, b in spans(tags)]
    return found, {name: many for name, many in counts.items() if many}, wrong


def cut(text):
    joined = words(text)
    return [joined.part(i, i + 1) for i in range(len(joined.begins))]


@pytest.mark.parametrize(
    "text, parts",
    [
        ("Don't pay 3.5% (now)!", ["Don", "'", "t", "pay", "3", ".", "5", "%", "(", "now", ")", "!"]),
        ("叶老桂CNN4台", ["叶", "老", "桂", "CNN4", "台"]),
        ("カナ 1998年", ["カ", "ナ", "1998", "年"]),
        ("e\u0301t\u00e9\u00a0x\u3000y", ["e\u0301t\u00e9", "x", "y"]),
        ("soft\u00adhyphen\u200bpart", ["soft\u00adhyphen", "part"]),
        ("กำลัง", ["ก\u0e33", "ล\u0e31", "ง"]),
        (" \n", []),
        ("", []),
    ],
)
def test_a_word_is_a_run_of_letters_or_one_sign_or_one_character_of_a_script_without_blanks(text, parts):
    if text == "กำลัง":  # U+0E33 is a letter to Unicode
        parts = ["ก", "\u0e33", "ล\u0e31", "ง"]
    assert cut(text) == parts


@given(st.text(alphabet="ab1 .-é叶老\u0301\u200b\t\U0001f600", max_size=20))
def test_words_stand_in_their_text_in_order_and_hold_all_that_can_be_seen(text):
    joined = words(text)
    edges = [at for pair in zip(joined.begins.tolist(), joined.ends.tolist(), strict=True) for at in pair]
    assert edges == sorted(edges) and all(a < b for a, b in zip(edges[::2], edges[1::2], strict=True))
    held = {at for a, b in zip(edges[::2], edges[1::2], strict=True) for at in range(a, b)}
    assert all(at in held for at, character in enumerate(text) if character not in " \t\u200b")


@pytest.mark.parametrize(
    "marks",
    [
        [[0, 13, "PER"], [15, 18, "ORG"]],
        [["PER", 0, 13], ["ORG", 15, 18]],
        [[15, 18, "ORG"], [0, 13, "PER"], [0, 13, "PER"]],
        [{"start": 0, "end": 13, "label": "PER", "token_start": 0}, {"start": 15, "end": 18, "label": "ORG"}],
        [
            {"start": 0, "end": 13, "text": "Angela Merkel", "labels": ["PER"]},
            {"start": 15, "end": 18, "type": "ORG"},
        ],
        [
            {"id": 7, "start_offset": 0, "end_offset": 13, "label": "PER"},
            {"start_offset": 15, "end_offset": 18, "label": "ORG"},
        ],
        {"PER": {"Angela Merkel": [[0, 12]]}, "ORG": {"CDU": [[15, 17]]}},
    ],
)
def test_the_forms_that_tools_write_are_read_and_come_back_as_the_characters_that_they_were(marks):
    assert marked(TEXT, marks) == ([(0, 13, "PER"), (15, 18, "ORG")], {}, "")


def test_spans_that_end_inside_a_word_part_it_and_blanks_at_their_ends_are_left_out_both_counted():
    assert marked("H1N1virus, 3pm", [[0, 4, "V"], [11, 12, "N"]]) == ([(0, 4, "V"), (11, 12, "N")], {"cut": 2}, "")
    assert marked("to Rome now", [[2, 8, "LOC"]]) == ([(3, 7, "LOC")], {"trimmed": 1}, "")
    assert marked("one two", [[0, 3, "A"], [3, 7, "A"]])[0] == [(0, 3, "A"), (4, 7, "A")], "neighbours stay two"


def test_of_spans_that_share_characters_the_longer_is_kept_and_both_are_named():
    found, counts, wrong = marked(TEXT, [[7, 13, "PER"], [0, 18, "X"], [15, 22, "Y"]])
    assert found == [(0, 18, "X")] and counts == {"nested": 2}
    assert wrong == "row: Y [15, 22] 'CDU) me' overlaps X [0, 18] 'Angela Merkel (CDU'"
    assert "PER [7, 13] 'Merkel' stands within X" in marked(TEXT, [[7, 13, "PER"], [0, 18, "X"]])[2]


@pytest.mark.parametrize(
    "marks, says",
    [
        (
            [[0, 99, "A"]],
            "label.0: [0, 99] stands outside its text, of 35 characters; characters are counted, not bytes",
        ),
        ([[-1, 3, "A"]], "label.0: [-1, 3] stands outside its text"),
        ([[5, 5, "A"]], "label.0: [5, 5] is empty; the end is the character behind the last"),
        ([[9, 5, "A"]], "label.0: [9, 5] ends before it starts"),
        ([[6, 7, "A"]], "label: A [6, 7] ' ' holds no word"),
        ([[0, 6]], "label.0: a list of 2 values; a span is [start, end, type] or"),
        ([[0, 6, 3]], "label.0: its type is a number; a string is wanted"),
        ([[0, 6, " "]], "label.0: its type is empty"),
        ([[0.5, 6, "A"]], "label.0: 0.5 is no place in a text"),
        ([[True, 6, "A"]], "label.0: True is no place in a text"),
        ([{"start": 0, "label": "A"}], "label.0: end: is missing"),
        ([{"start": 0, "end": 6, "labels": ["A", "B"]}], "label.0: its type is a list"),
        ([{"start": 0, "end": 5, "text": "Angela", "label": "A"}], "'Angela'; its end is the last character, not"),
        ({"PER": {"Angela": [[0, 6]]}}, "label.PER.Angela: PER [0, 7] 'Angela ', not 'Angela'; ends are part"),
        ({"PER": [[0, 6]]}, "label.PER: a list; pieces of the text"),
        (["O", "B-PER"], "label: a list of tags beside a text that is a string"),
        ("PER", "label: a string where a list of spans is expected"),
        (3, "label: a number where a list of spans is expected"),
    ],
)
def test_spans_that_are_none_are_named_with_their_row(tmp_path, marks, says):
    path = written(tmp_path / "a.jsonl", {"text": TEXT, "label": []}, {"text": TEXT, "label": marks})
    with pytest.raises(InputError) as raised:
        conll.read(path)
    assert f"a.jsonl:2: {says}" in str(raised.value) or (says in str(raised.value) and "a.jsonl:2" in str(raised.value))
    assert "\n" not in str(raised.value)


def test_nested_spans_are_refused_by_name_in_training_and_dev_and_may_be_mended_or_skipped(tmp_path):
    nested = {"text": TEXT, "label": [[0, 13, "PER"], [7, 13, "NAME"]]}
    rows = KIND.read(written(tmp_path / "a.jsonl", {"text": "a b", "label": [[0, 1, "PER"]]}, nested, nested))
    says = r"a\.jsonl:2: label: NAME \[7, 13\] 'Merkel' stands within PER \[0, 13\] 'Angela Merkel'; a word has one tag \(2 rows"
    with pytest.raises(InputError, match=says + r" have such\); on_bad_answer='mend' takes the longer ones"):
        KIND.check(rows, "train")
    with pytest.raises(InputError, match=says):
        KIND.targets(rows, KIND.learn(rows))
    mended, skipped = KIND.mended(rows, "mend"), KIND.mended(rows, "skip")
    assert len(mended) == 3 and spans(mended.tags[1]) == [("PER", 0, 2)]
    assert mended.notes[-1].endswith("mend': 2 spans left out, within longer ones or overlapping them")
    assert len(skipped) == 1 and skipped.notes[-1].endswith("skip': 2 rows with nested or overlapping spans left out")
    KIND.check(mended, "train")
    assert len(KIND.targets(skipped, KIND.learn(skipped))) == 1


def test_keys_rejected_rows_arrays_and_rows_of_one_kind(tmp_path):
    for key in ("label", "labels", "spans", "entities"):
        rows = conll.read(written(tmp_path / "a.jsonl", {"id": 1, "text": TEXT, key: [[0, 13, "PER"]]}))
        assert rows.tags == [["B-PER", "I-PER", *["O"] * 7]] and rows.texts[0].text == TEXT
    rows = conll.read(tmp_path / "a.jsonl", columns={"text": "text", "label": "entities"})
    assert rows.counts["cut"] == 0
    answers = [{"text": "a b", "spans": [], "answer": answer} for answer in ("accept", "reject", "ignore")]
    rows = conll.read(written(tmp_path / "a.jsonl", *answers, {"text": "c", "answer": "accept"}))
    assert len(rows) == 2 and rows.notes == [f"{rows.path}: 2 rows that were not accepted skipped"]
    array = [{"text": "a b", "label": []}, {"text": "c", "label": [{"start": 0, "end": 1, "labels": ["X"]}]}]
    (tmp_path / "a.json").write_text(json.dumps(array, indent=1))
    rows = conll.read(tmp_path / "a.json")
    assert rows.tags == [["O", "O"], ["B-X"]] and rows.where(1).endswith("a.json:6")
    (tmp_path / "a.json").write_text('[{"text": "a", "label": []},\n {"text": "b", "label": [[0, 9, "X"]]}]')
    with pytest.raises(InputError, match=r"a\.json:2: label\.0: \[0, 9\] stands outside"):
        conll.read(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('[{"text": "a", "label": []},\n {"text": }]')
    with pytest.raises(InputError, match=r"a\.json:2: not JSON, within the array that begins in line 1"):
        conll.read(tmp_path / "a.json")
    for first, other in (("a", ["b"]), (["b"], "a")):
        path = written(tmp_path / "a.jsonl", {"text": first, "label": []}, {"text": other, "label": []})
        path = written(tmp_path / "a.jsonl", {"text": first}, {"text": other})
        with pytest.raises(InputError, match=r"a\.jsonl:2: text: a (list|string), where the rows before have a"):
            conll.read(path, labelled=False)
    with pytest.raises(InputError, match=r"a\.jsonl:1: text: is empty"):
        conll.read(written(tmp_path / "a.jsonl", {"text": " \u200b", "label": []}))
    with pytest.raises(InputError, match=r"looks like JSON lines of texts, but task='tag' reads"):
        KIND.read(written(tmp_path / "a.jsonl", {"text": "a"}))


@pytest.fixture(scope="module")
def run(pretrained, tmp_path_factory):
    out = tmp_path_factory.mktemp("marked")
    rows = []
    for i in range(90):
        text = f"The {'module' if i % 2 else 'Class Object'}, of type {chr(97 + i % 23)}{chr(97 + i % 19)}."
        end = text.index(",")
        rows.append({"text": text, "spans": [[4, end, "THING"]]})
    for part, some in (("train", rows[:70]), ("dev", rows[70:])):
        written(out / f"{part}.jsonl", *some)
    given = ["batch=8", "lr=0.01", "dropout=0", "precision=float32", "head=crf"]
    files = {part: out / f"{part}.jsonl" for part in ("train", "dev")}
    result = bertsmith.finetune(pretrained, task="tag", **files, out=out / "run", set=given, epochs=4, threads=1)
    return out, result


def test_a_model_of_texts_says_spans_as_characters_of_the_text_that_it_is_given(run):
    out, result = run
    assert result["dev"]["f1"]["value"] > 0.9
    for name, score in result["dev"].items():
        assert bertsmith.evaluate(out / "run", out / "dev.jsonl")[name]["value"] == pytest.approx(score["value"])
    texts = ["  The\tClass   Object, of type ab.", "The module, of type cd. "]
    written(out / "plain.jsonl", *({"text": text} for text in texts))
    found = bertsmith.predict(out / "run", out / "plain.jsonl", out / "said.jsonl")
    assert (
        found == bertsmith.predict(out / "run", texts) == bertsmith.predict(out / "run", [{"text": t} for t in texts])
    )
    assert [json.loads(line) for line in (out / "said.jsonl").read_text().splitlines()] == found
    pieces = ["Class   Object", "module"]
    for text, row, piece in zip(texts, found, pieces, strict=True):
        (span,) = row["spans"]
        start, end = span["characters"]
        assert text[start:end] == span["text"] == piece and span["type"] == "THING"
        assert row["words"][span["start"] : span["end"]] == piece.split()
        assert 0.5 < span["score"] <= min(row["scores"][span["start"] : span["end"]])
    assert bertsmith.evaluate(out / "run", [{"text": text, "entities": [[6, 20, "THING"]]} for text in texts[:1]])
    (row,) = bertsmith.predict(out / "run", [["The", "module", ","]])
    assert all("characters" not in span for span in row["spans"]), "words have no text that was given"


def test_a_text_of_which_nothing_is_said_is_no_text_without_spans(tmp_path):
    path = written(tmp_path / "train.jsonl", {"text": TEXT, "label": [[0, 6, "PER"]]}, {"text": TEXT, "label": None})
    with pytest.raises(InputError, match=r"null: was nothing said of this text\? one without spans has \[\]"):
        conll.read(path)
    assert conll.read(path, labelled=False).tags is None
