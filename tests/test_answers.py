"""Answers in texts: files, windows, the best span, no answer, the official scores."""

import json
import re
import string
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import real_data
from tests.folders import tokenizer_of

from bertsmith.data.batch import Stream
from bertsmith.errors import InputError
from bertsmith.objectives.supervised import Spans
from bertsmith.tasks import squad
from bertsmith.tasks.answers import LONGEST, Answers, Said, Truth, _best, _threshold
from bertsmith.tasks.labels import Labels
from bertsmith.tasks.sequences import Reading

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
    (question(text=" "), "qas.0: question: is empty"),
    (question(text=None), "qas.0: question: null where a string is expected"),
    (question(name=True), "qas.0: id: true or false where a string is expected"),
    (question(answers=[{"text": "b"}]), "answers.0: answer_start: is missing"),
    (question(answers=[{"text": "b", "answer_start": "1"}]), "answer_start: a string where a whole number"),
    (question(answers=[{"text": "b", "answer_start": 2}], is_impossible=True), "is_impossible: true, with 1 answers"),
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
    assert squad.exact(said, golds) == exact and squad.overlap(said, golds) == pytest.approx(f1)


def test_the_answers_of_a_file_score_one_hundred():
    said = [Said(text=t, start=0, end=0, score=1.0, null=n, p=1.0, p_null=0.0) for t, n in (("a dog", 0.0), ("", 9.0))]
    truth = Truth(golds=[["cat", "The Dog!"], []], places=[None, None])
    scores = KIND.score(truth, said, Labels(nulls=True))
    assert {name: score["value"] for name, score in scores.items()} == dict.fromkeys(
        ("exact", "f1", "answerable_exact", "answerable_f1", "unanswerable"), 1.0
    )
    assert KIND.score(truth, said, Labels(nulls=True, threshold=10.0))["f1"]["value"] == 1.0, "an empty answer is none"


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
    hits = [squad.exact(text, golds) for text, golds in zip(texts, truth.golds, strict=True)]
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
        wanted = [*ids, *[vocab.sep] * between, *tokenizer.located([rows.contexts[0]])[0][0][start:end], vocab.sep]
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


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.integers(-3, 3)), min_size=1, max_size=12))
def test_the_threshold_is_the_best_there_is(questions):
    answered, none, excess = (np.array(column) for column in zip(*questions, strict=True))
    score = lambda t: np.where(excess > t, none, np.where(none, 0.0, answered)).sum()
    best = max(score(t) for t in [excess.min() - 1, *excess, *(excess - 0.5)])
    assert score(_threshold(answered, none, excess.astype(float))) == pytest.approx(best)


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
    head = Spans(8)
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
