"""Answers in texts: files, windows, the best span, no answer, the official scores."""

import json
import re
import string
from collections import Counter
from difflib import SequenceMatcher

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import real_data
from tests.folders import tokenizer_of

from bertsmith.data.batch import Stream
from bertsmith.errors import InputError
from bertsmith.nn.modules.heads import TokenLabel
from bertsmith.objectives.modules.supervised import Spans
from bertsmith.tasks import nbest, squad
from bertsmith.tasks.answer_scores import CHARACTERS, WORDS, characters, scoring
from bertsmith.tasks.answers import LONGEST, Answers, Said, Truth, _best, _threshold
from bertsmith.tasks.blanks import squeezed
from bertsmith.tasks.labels import Labels
from bertsmith.tasks.nbest import BEST
from bertsmith.tasks.reading import Reading

KIND = Answers()


def question(name="q", text="What?", answers=(), **more):
    return {"id": name, "question": text, "answers": [dict(a) for a in answers], **more}


def write(path, *paragraphs, **more):
    rows = [{"context": context, "qas": list(asked)} for context, *asked in paragraphs]
    path.write_text(json.dumps({"data": [{"paragraphs": rows}], **more}, indent=1, ensure_ascii=False))
    return path


# -- files --------------------------------------------------------------------------------------------------------------------------


def test_both_versions_are_read(tmp_path):
    answer = {"text": "été", "answer_start": 3}
    path = write(
        tmp_path / "a.json", ("un été 𝄞", question("a", "Quand?", [answer]), question("b", is_impossible=True))
    )
    rows = squad.read(path)
    assert rows.ids == ["a", "b"] and [len(a) for a in rows.answers] == [1, 0] and rows.answers[0][0].start == 3
    assert KIND.learn(rows).nulls and rows.where(1).endswith("data.0.paragraphs.0.qas.1 (b)")
    line = int(rows.where(1).split(":")[1])
    assert '"id": "b"' in path.read_text().splitlines()[line]
    assert not any(squad.read(path, labelled=False).answers)


BAD = [
    ({"data": 3}, "a.json:1: data: a number where a list is expected"),
    ({}, "a.json:1: data: is missing"),
    ({"data": [[]]}, "data.0: a list where an object is expected"),
    ({"data": []}, "holds no questions"),
    (question(text=None), "qas.0: question: null where a string is expected"),
    (question(name=True), "qas.0: id: true or false where a string is expected"),
    (question(answers=[{"text": "b"}]), "answers.0: answer_start: is missing"),
    (question(answers=[{"text": "b", "answer_start": "1"}]), "answer_start: a string where a whole number"),
    (question(answers=[{"text": "b", "answer_start": 2}], is_impossible=True), "is_impossible: true, with 1 answer"),
    (question(is_impossible=False), "is_impossible: false, with 0 answers"),
    (question(text="\ud800"), "question: holds a lone surrogate"),
]


@pytest.mark.parametrize("tree, says", BAD)
def test_bad_files_are_named_with_line_and_place(tree, says, tmp_path):
    tree = {"data": [{"paragraphs": [{"context": "a b", "qas": [tree]}]}]} if "question" in tree else tree
    (tmp_path / "a.json").write_text(json.dumps(tree))
    with pytest.raises(InputError) as raised:
        squad.read(tmp_path / "a.json")
    assert says in str(raised.value) and "a.json:1: " in str(raised.value) and "\n" not in str(raised.value)


def test_an_answer_that_stands_elsewhere_is_refused_in_training_and_scored_in_dev(tmp_path):
    wrong = [{"text": "dog", "answer_start": 3}]
    path = write(tmp_path / "a.json", ("the dog", question("a", answers=wrong), question("b", answers=wrong)))
    rows = squad.read(path)
    assert "the answers to 2 questions do not stand" in rows.notes[0]
    KIND.check(rows, "dev")
    with pytest.raises(InputError, match=r"qas\.0 \(a\): answer_start: 'dog' does not stand there, but first at 4"):
        KIND.check(rows, "train")
    truth = KIND.targets(rows, Labels())
    assert truth.golds == [["dog"], ["dog"]] and truth.places == [None, None]
    with pytest.raises(InputError, match=r"a\.json:\d+: .*id: stands in the file before"):
        squad.read(write(tmp_path / "a.json", ("the dog", question("a"), question("a"))))


# -- scores -------------------------------------------------------------------------------------------------------------------------


def official(said, golds):
    """The rule of evaluate-v2.0 in words of its own: letters kept one by one, F1 from precision and recall."""

    def words(text):
        kept = "".join(c for c in text.lower() if c not in set(string.punctuation))
        return [w for w in re.sub(r"\b(?:an|a|the)\b", " ", kept).split() if w]

    golds = [words(g) for g in golds if words(g)] or [[]]
    mine, scores = words(said), []
    for gold in golds:
        hits = sum(min(n, gold.count(word)) for word, n in Counter(mine).items())
        if not mine or not gold:
            scores.append(float(mine == gold))
        elif not hits:
            scores.append(0.0)
        else:
            precision, recall = hits / len(mine), hits / len(gold)
            scores.append(2 * precision * recall / (precision + recall))
    return float(mine in golds), max(scores)


TEXT = st.lists(st.sampled_from("the The a an dog dogs, 'dog' U.S. - naïve an\tapple ß".split(" ")), max_size=6).map(
    " ".join
)


@given(TEXT, st.lists(TEXT, max_size=3))
def test_scores_are_the_official_ones(said, golds):
    exact, f1 = official(said, golds)
    assert WORDS.exact(said, golds) == exact and WORDS.overlap(said, golds) == pytest.approx(f1)


def test_the_answers_of_a_file_score_one_hundred():
    said = [Said(text=t, start=0, end=0, score=1.0, null=n, p=1.0, p_null=0.0) for t, n in (("a dog", 0.0), ("", 9.0))]
    truth = Truth(golds=[["cat", "The Dog!"], []], places=[None, None])
    scores = KIND.score(truth, said, Labels(nulls=True))
    assert {name: score["value"] for name, score in scores.items()} == dict.fromkeys(
        ("exact", "f1", "answerable_exact", "answerable_f1", "unanswerable"), 1.0
    )
    assert KIND.score(truth, said, Labels(nulls=True, threshold=10.0))["f1"]["value"] == 1.0, "an empty answer is none"


def official_cmrc(said, golds):
    """The rule of cmrc2018_evaluate.py in words of its own, for texts of Han, Latin letters and digits."""
    signs = set("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")

    def segments(text):
        kept = "".join(c for c in text.lower().strip() if c not in signs)
        return re.findall(r"[\u4e00-\u9fa5]|[^\u4e00-\u9fa5\s]+", kept)

    mine, scores, equal = segments(said), [], False
    for gold in map(segments, golds):
        size = SequenceMatcher(None, mine, gold, autojunk=False).find_longest_match().size
        precision, recall = (size / len(side) if side else 0.0 for side in (mine, gold))
        scores.append(2 * precision * recall / (precision + recall) if size else 0.0)
    for gold in golds:
        equal |= "".join(c for c in gold.lower().strip() if c not in signs) == "".join(
            c for c in said.lower().strip() if c not in signs
        )
    return float(equal), max(scores)


HAN = st.text(alphabet="北京大学上海是的ABx19 ，、《》-", min_size=1, max_size=10).filter(
    lambda t: re.search(r"[\w]", t)
)


@given(HAN, st.lists(HAN, min_size=1, max_size=3))
def test_scores_by_characters_are_those_of_cmrcs_script(said, golds):
    exact, f1 = official_cmrc(said, golds)
    assert CHARACTERS.exact(said, golds) == exact and CHARACTERS.overlap(said, golds) == pytest.approx(f1)


def test_scores_by_characters_by_hand():
    assert characters("《魔兽》 WoW 3.5版の テスト") == [*"魔兽", "wow", "3.5", *"版のテスト"]
    assert characters("ที่นี่ 7") == [*"ที่นี่", "7"]
    assert CHARACTERS.overlap("北京大学", ["在北京的大学", "上海"]) == pytest.approx(2 * 2 / (4 + 6)), (
        "北京 or 大学, not both"
    )
    assert CHARACTERS.exact("《北京》。", ["北京"]) == 1.0 and CHARACTERS.exact("北京大学", ["北京"]) == 0.0
    assert CHARACTERS.exact("", []) == CHARACTERS.overlap("", []) == 1.0 and CHARACTERS.overlap("北", []) == 0.0


def test_the_script_of_the_answers_chooses_the_score_and_that_is_said(tmp_path):
    assert (
        scoring([["北京"], ["1998", "大学"], []]) is CHARACTERS
        and scoring([["ひらがな"], ["ไทย"], ["ខ្មែរ"], ["မြန်မာ"], ["a"]]) is CHARACTERS
    )
    assert scoring([["Beijing 北"], ["x", "y"]]) is WORDS is scoring([[]]) is scoring([["서울"], ["Ünal"]])
    answers = [{"text": "北京", "answer_start": 1}]
    rows = squad.read(write(tmp_path / "a.json", ("在北京大学", question("a", answers=answers))))
    assert rows.notes == [f"{rows.path}: answers are scored by characters, as CMRC 2018 does"]
    said = [Said(text="北京大学", start=1, end=5, score=1.0, null=0.0, p=1.0, p_null=0.0)]
    scores = KIND.score(KIND.targets(rows, Labels()), said, Labels())
    assert scores["f1"]["value"] == pytest.approx(2 / 3) and scores["exact"]["value"] == 0.0
    assert not squad.read(tmp_path / "a.json", labelled=False).notes


@pytest.mark.skipif(real_data() is None, reason="needs the real corpora")
@pytest.mark.parametrize("name, questions", [("cmrc2018/cmrc2018_dev.json.xz", 3219), ("drcd/DRCD_dev.json.xz", 3524)])
def test_the_gold_of_chinese_files_scores_one_hundred_and_a_character_less_does_not(name, questions):
    rows = squad.read(real_data() / name)
    truth = KIND.targets(rows, Labels())
    assert len(rows) == questions and truth.scoring is CHARACTERS
    for cut in (0, 1):
        said = [g[0][: len(g[0]) - cut] for g in truth.golds]
        made = [Said(text=s, start=0, end=0, score=0.0, null=0.0, p=1.0, p_null=0.0) for s in said]
        scores = KIND.score(truth, made, Labels(), resamples=0)
        wanted = np.mean([official_cmrc(*pair) for pair in zip(said, truth.golds, strict=True)], 0)
        assert scores["exact"]["value"] == pytest.approx(wanted[0], abs=1e-3)
        assert scores["f1"]["value"] == pytest.approx(wanted[1], abs=2e-2), "nltk's words apart"
        assert (scores["f1"]["value"] == 1.0) == (cut == 0)


# -- rows, and answers that stand elsewhere ------------------------------------------------------------------------------------------

ROWS = [
    {"id": "a", "question": "Who?", "context": "the dog", "answers": {"text": ["dog"], "answer_start": [4]}},
    {"id": "b", "question": "Why?", "context": "the dog", "title": "x", "answers": {"text": [], "answer_start": []}},
    {"id": 3, "question": "What?", "context": "un été", "answers": [{"text": "été", "answer_start": 3}]},
]


@pytest.mark.parametrize("form", ["lines", "line", "list", "data"])
def test_rows_as_data_sets_are_saved_are_read(form, tmp_path):
    made = ROWS[:1] if form == "line" else ROWS
    lines = "\n\n".join(json.dumps(row) for row in made) + "\n"
    text = {"list": json.dumps(made, indent=1), "data": json.dumps({"data": made})}.get(form, lines)
    (tmp_path / "a.jsonl").write_text(text)
    rows = squad.read(tmp_path / "a.jsonl")
    assert rows.ids == ["a", "b", "3"][: len(made)] and rows.questions[0] == "Who?"
    assert rows.answers[0][0].start == 4 and [rows.contexts[i] for i in rows.about] == [row["context"] for row in made]
    if form != "line":
        assert rows.about == [0, 0, 1] and KIND.learn(rows).nulls and rows.answers[2][0].text == "été"
    if form == "lines":
        assert rows.where(2) == f"{rows.path}:5 (3)"


@pytest.mark.parametrize(
    "change, says",
    [
        ({"answers": {"text": ["dog"], "answer_start": []}}, "a.jsonl:2: answers: 1 text but 0 places"),
        ({"answers": {"text": ["dog"]}}, "a.jsonl:2: answers: answer_start: is missing"),
        ({"answers": {"text": [3], "answer_start": [4]}}, "a.jsonl:2: answers.0: text: a number where a string"),
        ({"context": 3}, "a.jsonl:2: context: a number where a string"),
        ({"id": "a"}, "a.jsonl:2 (a): id: stands in the file before"),
        (None, "a.jsonl:2: column 1: not JSON"),
    ],
)
def test_a_bad_row_is_named_with_its_line(change, says, tmp_path):
    second = "x" if change is None else json.dumps({**ROWS[0], "id": "z", **change})
    (tmp_path / "a.jsonl").write_text(json.dumps(ROWS[0]) + "\n" + second + "\n")
    with pytest.raises(InputError) as raised:
        squad.read(tmp_path / "a.jsonl")
    assert says in str(raised.value) and "\n" not in str(raised.value)


def test_what_follows_a_squad_file_is_named_and_no_row(tmp_path):
    path = write(tmp_path / "a.json", ("the dog", question("a", answers=[{"text": "dog", "answer_start": 4}])))
    path.write_text(json.dumps(json.loads(path.read_text())) + "\n{}\n")
    with pytest.raises(InputError, match=r"a\.json:2: column 1: not JSON \(Extra data\)"):
        squad.read(path)


def bad_rows(tmp_path):
    text = "a dog, a cat, a dog and a dog"
    place = lambda text, at: {"text": text, "answer_start": at}
    asked = [
        question("right", answers=[place("cat", 9)]),
        question("near", answers=[place("dog", 18)]),
        question("both", answers=[place("cow", 2), place("dog", 2)]),
        question("ends", answers=[place(" cat ", 0)]),
        question("none", answers=[place("cow", 2)]),
        question("null"),
    ]
    return squad.read(write(tmp_path / "a.json", (text, *asked)))


def test_answers_that_stand_elsewhere_are_moved_to_the_nearest_place_or_left_out(tmp_path):
    rows = bad_rows(tmp_path)
    moved = KIND.mended(rows, "mend")
    assert dict(zip(moved.ids, [[(a.text, a.start) for a in given] for given in moved.answers], strict=True)) == {
        "right": [("cat", 9)],
        "near": [("dog", 16)],
        "both": [("dog", 2)],
        "ends": [("cat", 9)],
        "null": [],
    }
    told = "2 answers moved to where their text stands, 2 answers left out, 1 question left out"
    assert moved.notes == [f"{rows.path}: on_bad_answer='mend': {told}"]
    left = KIND.mended(rows, "skip")
    assert left.ids == ["right", "both", "null"] and left.counts["answers_lost"] == 3
    for made in (moved, left):
        KIND.check(made, "train")
        assert all(
            place for place, given in zip(KIND.targets(made, Labels()).places, made.answers, strict=True) if given
        )
        assert made.where(1).endswith(f"({made.ids[1]})")
    with pytest.raises(InputError, match="leaves no question"):
        KIND.mended(
            squad.read(write(tmp_path / "b.json", ("a", question(answers=[{"text": "b", "answer_start": 0}])))), "skip"
        )


# -- sequences ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["wordpiece:300", "bpe:400", "unigram:300"])
def tokenizer(request, documents):
    return tokenizer_of(documents[:20], request.param, lowercase=request.param.startswith("w"))


@pytest.fixture(scope="module")
def rows(documents, tmp_path_factory):
    """Answers of one to four words out of real text, one beyond any window, questions without one."""
    generator, paragraphs = np.random.default_rng(0), []
    for i, document in enumerate(documents[:12]):
        context = " ".join(document.split()[:150]).replace("function", "  naïve fünction")
        words = [match.span() for match in re.finditer(r"\S+", context)]
        asked = []
        for j in range(4):
            first = int(generator.integers(len(words) - 4))
            start, end = words[first][0], words[first + int(generator.integers(4))][1]
            answers = [{"text": context[start:end], "answer_start": start}] if j else []
            asked.append(question(f"{i}-{j}", "What does the value of the object say?", answers))
        paragraphs.append((context, *asked))
    return squad.read(write(tmp_path_factory.mktemp("rows") / "a.json", *paragraphs))


def encoded(tokenizer, rows, **options):
    found = KIND.encode(tokenizer, rows, Reading(**{"length": 64, "segments": True, "on_long": "window", **options}))
    return found, KIND.targets(rows, KIND.learn(rows))


FORMS = [{}, {"cls": "last"}, {"cls": "last", "segments": False, "causal": True}]


@pytest.mark.parametrize("form", FORMS)
def test_gold_logits_give_the_gold_answers(tokenizer, rows, form):
    """Also a test of windows: the answer is found in whichever of them its start has most context."""
    found, truth = encoded(tokenizer, rows, **form)
    asked = KIND.asked(found, truth)
    values = np.zeros((len(found.places), 2), np.float32)
    window = np.repeat(np.arange(len(found)), asked.each)
    values[found.offsets[:-1][window] + asked.at, asked.labels] = 10
    said = KIND.said(found, rows, values)
    texts = [s.text if s.excess <= 0 else "" for s in said]
    hits = [WORDS.exact(text, golds) for text, golds in zip(texts, truth.golds, strict=True)]
    assert np.mean(hits) > 0.95, "answers that are not whole tokens cannot be said"
    assert all(rows.contexts[about][s.start : s.end] == s.text for s, about in zip(said, rows.about, strict=True))
    assert len(found) > 2 * len(rows) and found.counts["cut"] == 0


@pytest.mark.parametrize("form", FORMS)
def test_every_window_asks_for_start_and_end_and_points_at_cls_where_the_answer_is_not_whole(tokenizer, rows, form):
    found, truth = encoded(tokenizer, rows, **form)
    starts = np.cumsum(found.lengths) - found.lengths
    assert (found.tokens[starts + found.cls] == tokenizer.vocab.cls).all()
    asked = KIND.asked(found, truth)
    assert (asked.each == 2).all() and (asked.labels == np.tile([0, 1], len(found))).all()
    at = asked.at.reshape(-1, 2)
    views, contained = found.key.rows, 0
    windows = zip(views.tolist(), at.tolist(), found.owner, found.cls, strict=True)
    for (context, first, start, end), (a, b), owner, cls in windows:
        if a != cls:
            characters = found.key.characters[context][[start + a - first, start + b - first]]
            text = rows.contexts[context][characters[0, 0] : characters[1, 1]]
            assert truth.golds[owner][0] in text and first <= a <= b < first + end - start
            contained += 1
        else:
            assert b == cls
    assert contained > len([g for g in truth.golds if g]) * 0.9


def test_sequences_are_question_and_window_in_their_segments(tokenizer, rows):
    for segments, cls, between in ((True, "first", 1), (False, "first", 2), (True, "last", 1), (False, "last", 1)):
        found, _ = encoded(tokenizer, rows, segments=segments, cls=cls)
        ids = tokenizer.encode([rows.questions[0]])[0][0]
        length, vocab = int(found.lengths[0]), tokenizer.vocab
        _, first, start, end = found.key.rows[0]
        wanted = [
            *ids,
            *[vocab.sep] * between,
            *tokenizer.located([" ".join(rows.contexts[0].split())])[0][0][start:end],
            vocab.sep,
        ]
        wanted = [vocab.cls, *wanted] if cls == "first" else [*wanted, vocab.cls]
        assert found.tokens[:length].tolist() == wanted and first == (cls == "first") + len(ids) + between
        of_cls = 0 if cls == "first" else 2
        assert found.segments[:length].sum() == (end - start + 1 + of_cls if segments else 0)
        assert found.lengths.max() <= 64


def test_truncation_is_counted_and_asks_nothing_of_what_is_cut(tokenizer, rows):
    found, _ = encoded(tokenizer, rows, on_long="truncate")
    assert len(found) == len(rows) and found.counts["cut"] > 0
    assert len(KIND.said(found, rows, np.zeros((len(found.places), 2), np.float32))) == len(rows)
    cut, _ = encoded(tokenizer, rows, length=16)
    assert cut.counts["questions_cut"] == len(rows) and "questions are cut to" in cut.notes[0]


def test_located_tokens_are_those_of_encode_and_cover_the_text(tokenizer, documents):
    texts = [*(document[:400] for document in documents[:10]), "  a  b ", "", "naïve fünction 日本 \u200d x"]
    for text, (ids, spans), (same, _) in zip(texts, tokenizer.located(texts), tokenizer.encode(texts), strict=True):
        assert (
            ids.tolist() == same.tolist() and (np.diff(spans[:, 1]) >= 0).all() and (spans[:, 0] <= spans[:, 1]).all()
        )
        pieces = [text[a:b] for a, b in spans]
        assert all(piece == piece.strip() for piece in pieces)
        covered = {i for a, b in spans.tolist() for i in range(a, b)}
        assert {i for i, c in enumerate(text) if c.isalnum()} <= covered


def test_white_space_takes_no_room_of_a_question_or_a_context(tokenizer, tmp_path):
    """Questions and texts as they are written by hand, and with runs of white space: the same tokens, answers where they stand."""
    wide = "\ufeff  \n\n\u200b  The river  Alpha flows \t through   Berlin, the Beta through Munich.  "
    plain = " ".join(wide.strip("\ufeff").replace("\u200b", " ").split())
    asked = lambda text, blank: [
        question(
            name, blank + f"Where does{blank or ' '}the river flow?", [{"text": name, "answer_start": text.find(name)}]
        )
        for name in ("Berlin", "Munich", "river  Alpha" if text is wide else "river Alpha")
    ]
    found = []
    for i, (text, blank) in enumerate(((plain, ""), (wide, " " * 80))):
        rows = squad.read(write(tmp_path / f"{i}.json", (text, *asked(text, blank))))
        assert all(answers[0].start is not None for answers in rows.answers)
        encoding, truth = encoded(tokenizer, rows, length=256)
        assert encoding.counts["questions_cut"] == 0
        points = KIND.asked(encoding, truth)
        values = np.zeros((len(encoding.places), 2), np.float32)
        window = np.repeat(np.arange(len(encoding)), points.each)
        values[encoding.offsets[:-1][window] + points.at, points.labels] = 10
        said = KIND.said(encoding, rows, values)
        assert all(text[s.start : s.end] == s.text for s in said)
        assert [" ".join(s.text.strip(",.").split()) for s in said] == ["Berlin", "Munich", "river Alpha"]
        found.append((encoding.tokens.tolist(), points.at.tolist()))
    assert found[0] == found[1]


def test_an_answer_has_the_marks_of_its_last_character(documents, tmp_path):
    text = "un cafe\u0301 noir e\u0301"
    wordpiece = tokenizer_of([*documents[:10], "un cafe noir " * 20], "wordpiece:300")
    answers = [{"text": "cafe\u0301", "answer_start": 3}], [{"text": "noir e\u0301", "answer_start": 9}]
    rows = squad.read(write(tmp_path / "a.json", (text, *(question(str(i), answers=a) for i, a in enumerate(answers)))))
    encoding, truth = encoded(wordpiece, rows)
    points = KIND.asked(encoding, truth)
    values = np.zeros((len(encoding.places), 2), np.float32)
    values[encoding.offsets[:-1][[0, 0, 1, 1]] + points.at, points.labels] = 10
    assert [s.text for s in KIND.said(encoding, rows, values)] == ["cafe\u0301", "noir e\u0301"]


def test_squeezed_characters_are_those_that_stand_in_the_text():
    for text in ("a b", " a", "a\u3000\u3000b \n", "   ", "", "a\nb", "\u00a0a  b\t\tc"):
        short, at = squeezed(text)
        assert short == re.sub(r"\s{2,}", " ", text.strip())
        assert at is None or [text[i] if not text[i].isspace() else " " for i in at] == list(short)


# -- answers ------------------------------------------------------------------------------------------------------------------------


def test_the_best_spans_are_those_of_trying_all():
    generator = np.random.default_rng(0)
    for count in (1, 2, 5, 40, 80):
        logits = generator.normal(size=(count, 2))
        logits[generator.random(count) < 0.3, 0] = -np.inf
        every = sorted(
            (logits[a, 0] + logits[b, 1], a, b)
            for a in range(count)
            for b in range(a, min(a + LONGEST, count))
            if logits[a, 0] > -np.inf
        )[-20:]
        assert sorted(_best(logits)) == [(pytest.approx(score), a, b) for score, a, b in every]
    assert _best(np.zeros((0, 2))) == []


def test_of_the_best_spans_each_text_stands_once_and_the_softmax_is_over_these_and_no_answer():
    characters = np.array([[0, 3], [4, 7], [8, 11], [12, 15]])
    found = [(5.0, 0, 0), (4.0, 2, 2), (3.0, 0, 1), (2.0, 3, 3)]
    best = nbest.distinct(found, characters, "the cat the cat")
    assert [(c.text, c.start, c.end, c.score) for c in best] == [
        ("the", 0, 3, 5.0),
        ("the cat", 0, 7, 3.0),
        ("cat", 12, 15, 2.0),
    ]
    p = np.exp([4.0, 5.0, 3.0, 2.0]) / np.exp([4.0, 5.0, 3.0, 2.0]).sum()
    assert nbest.shares(4.0, best) == pytest.approx(tuple(p))
    rows = nbest.listed(4.0, best, True, 3)
    assert [row["text"] for row in rows] == ["the", "", "the cat"] and rows[1]["start"] is None
    assert [row["probability"] for row in rows] == pytest.approx(p[[1, 0, 2]].tolist())
    assert [row["text"] for row in nbest.listed(4.0, best, False, 9)] == ["the", "the cat", "cat"]
    many = [(float(-i), i % 4, i % 4) for i in range(40)]
    assert len(nbest.distinct(many, characters, "the cat the cat")) == 2
    wide = np.array([[i, i + 1] for i in range(60)])
    assert len(nbest.distinct([(0.0, i, i) for i in range(60)], wide, "".join(map(chr, range(200, 260))))) == BEST
    for top in (0, 21):
        with pytest.raises(InputError, match=f"top={top}: 1 to 20 answers a question can be given"):
            nbest.check(top)


def test_an_empty_question_is_read_in_a_dev_file_and_left_out_of_a_training_file_only_where_that_is_asked(tmp_path):
    answers = [{"text": "dog", "answer_start": 4}]
    path = write(tmp_path / "a.json", ("the dog", question("a", answers=answers), question("b", " ", answers)))
    rows = squad.read(path)
    assert rows.notes == [f"{rows.path}: 1 question is empty; the text alone is read"]
    KIND.check(rows, "dev")
    with pytest.raises(InputError, match=r"\(b\): question: is empty; on_bad_answer='skip' leaves it out"):
        KIND.check(rows, "train")
    for how in ("skip", "mend"):
        mended = KIND.mended(rows, how)
        KIND.check(mended, "train")
        assert mended.ids == ["a"] and "1 question left out" in mended.notes[0]


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.integers(-3, 3)), min_size=1, max_size=12))
def test_the_threshold_is_the_best_there_is(questions):
    answered, none, excess = (np.array(column) for column in zip(*questions, strict=True))
    score = lambda t: np.where(excess > t, none, np.where(none, 0.0, answered)).sum()
    best = max(score(t) for t in [excess.min() - 1, *excess, *(excess - 0.5)])
    assert score(_threshold(answered, none, excess.astype(float))) == pytest.approx(best)


def best_threshold(preds, scores, nulls, has_answer):
    """find_best_thresh of evaluate-v2.0 in words of its own: (the best sum of scores, the last null score that still is answered)."""
    now = best = sum(not answer for answer in has_answer)
    threshold = 0.0
    for i in sorted(range(len(nulls)), key=lambda i: nulls[i]):
        now += scores[i] if has_answer[i] else -bool(preds[i])
        if now > best:
            best, threshold = now, nulls[i]
    return best, threshold


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=12), st.integers(0, 99))
def test_the_threshold_answers_what_the_official_scripts_does(questions, seed):
    nulls = np.random.default_rng(seed).permutation(len(questions)) * 1.5 - 4
    has = [answer for _, answer in questions]
    scores = [score if answer else 0.0 for score, answer in questions]
    best, official_one = best_threshold(["x"] * len(has), scores, nulls, has)
    mine = _threshold(np.array(scores), ~np.array(has), nulls)
    value = lambda t: sum(scores[i] if nulls[i] <= t else not has[i] for i in range(len(has)))
    assert value(mine) == pytest.approx(best)
    if best > sum(not answer for answer in has) + 1e-9:  # else the script keeps 0, which answers by chance
        assert value(official_one) == pytest.approx(best)


def test_a_higher_threshold_answers_more():
    said = [Said(text="x", start=0, end=1, score=0.0, null=float(n), p=0.5, p_null=0.5) for n in range(-3, 4)]
    truth = Truth(golds=[[]] * 7, places=[None] * 7)
    right = [KIND.correct(truth, said, Labels(nulls=True, threshold=t)).sum() for t in (-4, -1, 0, 5)]
    assert right == [7, 4, 3, 0] and KIND.correct(truth, said, Labels()).sum() == 0


def test_the_loss_of_the_dev_file_is_the_one_of_training(tokenizer, rows):
    found, truth = encoded(tokenizer, rows)
    asked = KIND.asked(found, truth)

    class Trunk(torch.nn.Module):
        def forward(self, stream: Stream, read=None):
            generator = torch.Generator().manual_seed(0)
            return torch.randn(1000, 8, generator=generator)[stream.tokens]

    torch.manual_seed(0)
    head = Spans(TokenLabel(8, 2))
    with torch.no_grad():
        head.span.out.weight.normal_()
        batch = found.batch(np.arange(len(found)), asked).to("cpu")
        loss = head(Trunk(), batch)["span"].item() / len(batch.targets["span"])
        values = head.logits(Trunk(), batch.input, torch.from_numpy(found.read(np.arange(len(found)))[1])).numpy()
    assert KIND.loss(found, asked, values) == pytest.approx(loss, rel=1e-5)
    assert head.scores(Trunk(), batch)["span"]["loss"] == pytest.approx(loss * len(asked.at), rel=1e-5)


@pytest.mark.skipif(real_data() is None, reason="needs the real corpora")
def test_the_gold_of_a_real_file_scores_one_hundred():
    rows = squad.read(real_data() / "squad2_cs224n" / "squad2_dev.json.xz")
    truth = KIND.targets(rows, KIND.learn(rows))
    said = [Said(text=g[0] if g else "", start=0, end=0, score=0.0, null=0.0, p=1.0, p_null=0.0) for g in truth.golds]
    scores = KIND.score(truth, said, Labels(nulls=True), resamples=0)
    assert {score["value"] for score in scores.values()} == {1.0}
    assert [official(s.text, g) for s, g in zip(said, truth.golds, strict=True)] == [(1.0, 1.0)] * len(rows)
