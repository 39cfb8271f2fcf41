"""ERNIE's dialogues: roles, real and fake ones, what is cut and counted, and what `prepare` and `show` make of them."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from tests.corpora import VOCAB, random_shape, sequences, split_of, whole
from tests.test_layout import contiguous, document_of, parts, shapes, usable

import bertsmith
from bertsmith.data.batch import IGNORE
from bertsmith.errors import InputError
from bertsmith.recipe import find
from bertsmith.text.dialogue import Dialogues
from bertsmith.text.pairs import excess
from bertsmith.text.store import Store


def turn_of(split, piece):
    return int(np.searchsorted(split.sentences, piece[0], "right") - 1)


def role_of(split, turn):
    """By the place in its dialogue, turns without tokens not counted."""
    document = np.searchsorted(split.documents, turn, "right") - 1
    before = np.diff(split.sentences)[split.documents[document] : turn]
    return int((before > 0).sum() % 2)


@settings(max_examples=80, deadline=None)
@given(shape=shapes, seed=st.integers(0, 5), turns=st.integers(2, 5), length=st.sampled_from([5, 16, 32]))
def test_every_token_is_accounted_for(shape, seed, turns, length):
    layout, split = Dialogues(length=length, turns=turns), split_of(shape)
    if not usable(layout, split):
        return
    plan = layout.plan(split, VOCAB, seed, 1)
    row, account = whole(plan), plan.account
    assert (row.lengths == plan.lengths).all() and (row.lengths <= length).all()
    assert account["used"] + account["truncated"] + account["dropped"] == account["corpus"] == split.count
    assert len(row.tokens[~row.special]) == account["used"] + account["repeated"]
    assert row.special.sum() == account["specials"] and len(row.labels) == account["sequences"]
    assert plan.cut.sum() >= account["truncated"]
    for (ids, _), label in zip(sequences(row), row.labels, strict=True):
        pieces = parts(ids)
        assert len(pieces) <= turns and (label == IGNORE) == (len(pieces) == 1)
        assert all(contiguous(piece) for piece in pieces)


def test_a_real_dialogue_is_neighbouring_turns_and_a_fake_one_has_one_of_another_dialogue():
    split = split_of(random_shape(300, 6, 6))
    row = whole(Dialogues(length=40).plan(split, VOCAB, 3, 1))
    for (ids, segments), label in zip(sequences(row), row.labels, strict=True):
        pieces = parts(ids)
        turns = np.array([turn_of(split, piece) for piece in pieces])
        documents = [document_of(split, piece[0]) for piece in pieces]
        home = max(documents, key=documents.count)
        if label == 1:
            places = [i for i, document in enumerate(documents) if document != home]
            assert len(places) == 1 if len(pieces) > 2 else len(set(documents)) == 2
            if len(pieces) > 2:  # of two, either may be the new one
                kept = next(i for i in range(len(turns)) if i not in places)
                turns[places[0]] = turns[kept] + places[0] - kept
        else:
            assert len(set(documents)) == 1
        if label != 1 or len(pieces) > 2:
            assert (np.diff(turns) == 1).all()
            # [CLS] goes with the first turn, each [SEP] with the turn before it.
            roles = [role_of(split, turn) for turn in turns]
            assert segments == [r for i, r in enumerate(roles) for _ in range(len(pieces[i]) + 1 + (i == 0))]
        assert (np.diff(segments) != 0).sum() == len(pieces) - 1


def test_fake_dialogues_are_half_of_those_with_two_turns_and_any_turn_is_replaced():
    shape = [[4] * 6 for _ in range(3000)]
    split = split_of(shape)
    plan = Dialogues(length=64).plan(split, VOCAB, 0, 0)
    row = whole(plan)
    assert len(row.labels) == 6000 and set(row.labels.tolist()) == {0, 1}
    assert stats.binomtest(int(row.labels.sum()), 6000, 0.5).pvalue > 0.001
    assert plan.account["label_1"] == pytest.approx(row.labels.mean())
    places = np.zeros(3)
    for (ids, _), label in zip(sequences(row), row.labels, strict=True):
        documents = [document_of(split, piece[0]) for piece in parts(ids)]
        if label:
            places[[i for i, d in enumerate(documents) if documents.count(d) == 1]] += 1
    assert places.sum() == row.labels.sum() and stats.chisquare(places).pvalue > 0.001
    assert plan.account["dropped"] == plan.account["repeated"] == 4 * row.labels.sum()
    for share in (0.0, 1.0):
        assert set(whole(Dialogues(length=64, fake=share).plan(split, VOCAB, 0, 0)).labels.tolist()) == {int(share)}


def test_draws_follow_from_seed_and_epoch():
    split, layout = split_of(random_shape(80, 6, 6)), Dialogues(length=32)
    one, same, later, other = (whole(layout.plan(split, VOCAB, *at)).tokens for at in ((1, 0), (1, 0), (1, 1), (2, 0)))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, later) and not np.array_equal(one, other)


def test_turns_stay_together_and_none_alone_that_has_a_neighbour():
    def counts(shape, length=64, turns=3):
        layout = Dialogues(length=length, turns=turns, fake=0.0)
        return np.diff(layout.plan(split_of([shape]), VOCAB, 0, 0).first).tolist()

    assert counts([5] * 3) == [3] and counts([5] * 4) == [2, 2] and counts([5] * 7) == [3, 2, 2]
    assert counts([5] * 5, turns=4) == [3, 2] and counts([5] * 8, turns=8) == [8]
    assert counts([10] * 6, length=34) == [3, 3] and counts([10] * 6, length=33) == [2, 2, 2]
    assert counts([40, 30, 2, 2], length=32) == [2, 2]  # two are cut, so that there is an answer
    row = whole(Dialogues(length=32, fake=0.0).plan(split_of([[40, 30], [9]]), VOCAB, 0, 0))
    assert row.lengths.tolist() == [32, 11] and row.labels.tolist() == [0, IGNORE]
    assert [len(piece) for piece in parts(sequences(row)[0][0])] == [15, 14]


@given(
    widths=st.lists(st.integers(0, 30), min_size=1, max_size=6),
    room=st.integers(1, 60),
)
def test_excess_comes_off_the_longest_one_at_a_time(widths, room):
    left = list(widths)
    while sum(left) > room:
        longest = max(left)
        left[len(left) - 1 - left[::-1].index(longest)] -= 1
    taken = excess(np.array([widths, widths]), np.array([room, room]))
    assert taken.tolist() == [[a - b for a, b in zip(widths, left, strict=True)]] * 2
    assert excess(np.array([widths]), room).tolist() == taken[:1].tolist()


def test_what_is_no_dialogue_is_refused_with_the_way_out():
    with pytest.raises(InputError, match=r"every document is a single sentence \(3 documents, .*lines='sentence'"):
        Dialogues(length=32).check(split_of([[4], [5], [6]]))
    with pytest.raises(InputError, match=r"takes a turn of another one, and there is none .* layout\.fake=0"):
        Dialogues(length=32).check(split_of([[4, 5]]))
    Dialogues(length=32, fake=0.0).check(split_of([[4, 5]]))
    with pytest.raises(InputError, match="there is no text"):
        Dialogues(length=32).check(split_of([]))
    for setting in ({"length": 4}, {"length": 32, "fake": 1.5}, {"length": 32, "turns": 1}):
        with pytest.raises(InputError, match=rf"layout\.{list(setting)[-1]}: "):
            Dialogues(**setting)


QUESTIONS = "how old are you|where do you live|what do you like to eat|who told you that|when will she come".split("|")
ANSWERS = "i am nine years old|in a small town near the sea|fish and bread. nothing else!|my old friend did|she will come soon".split(
    "|"
)


@pytest.mark.parametrize("kind", ["txt", "jsonl"])
def test_a_line_is_a_turn_from_the_file_to_show(kind, tmp_path):
    talks = [[QUESTIONS[i % 5], ANSWERS[i % 5], QUESTIONS[i // 5 % 5], ANSWERS[i // 5 % 5]] for i in range(60)]
    texts = ["\n".join(talk) for talk in talks]
    source = tmp_path / f"talks.{kind}"
    source.write_text("\n\n".join(texts) if kind == "txt" else "".join(json.dumps({"text": t}) + "\n" for t in texts))
    bertsmith.prepare([str(source)], tmp_path / "store", tokenizer="wordpiece:200", lines="sentence", holdout=0)
    store = Store.open(tmp_path / "store")
    assert (len(store.train.documents), len(store.train.sentences)) == (61, 241)
    *examples, last = bertsmith.show("ernie1-dialogue:tiny", store, n=80)
    said = {"".join(turn.split()) for talk in talks for turn in talk}
    for line in examples:
        tokens, segments = line["source"]["tokens"], line["input"]["segments"]
        turns = "".join(token.removeprefix("##") for token in tokens).removeprefix("[CLS]").split("[SEP]")[:-1]
        assert len(turns) == 2 and {*turns} <= said
        assert segments == sorted(segments) and set(segments) == {0, 1}
        assert line["targets"]["pair"] in (0, 1)
    achieved = last["summary"]["achieved"]
    assert achieved["pair"] == pytest.approx(np.mean([line["targets"]["pair"] for line in examples]), abs=1e-6)
    assert abs(last["summary"]["requested"]["pair"] - 0.5) < 0.15 and "rate.token" in achieved
    printed = "\n".join(bertsmith.downstream.show.text(iter(examples), find("ernie1-dialogue:tiny").layout.pairs))
    assert "pair 1: one turn is of another dialogue" in printed and "pair 0: a real dialogue" in printed


@pytest.mark.slow
def test_fake_dialogues_are_learned_where_the_words_tell_them(tmp_path):
    """Each dialogue keeps to the words of one of four topics."""
    rng = np.random.default_rng(0)
    words = [f"{a}{b}{c}" for a in "bdkl" for b in "aeiou" for c in "nrst"]
    talks = []
    for _ in range(600):
        topic = 20 * rng.integers(4)
        talks.append("\n".join(" ".join(words[topic + i] for i in rng.integers(20, size=4)) for _ in range(3)))
    (tmp_path / "talks.txt").write_text("\n\n".join(talks))
    options = {"tokenizer": "wordpiece:150", "lines": "sentence", "holdout": 0.1}
    bertsmith.prepare([str(tmp_path / "talks.txt")], tmp_path / "store", **options)
    settings = ["training.batch=2048", "schedule.lr=3e-3", "layout.length=32", "training.evaluate=0"]
    recipe = bertsmith.config.override(find("ernie1-dialogue:tiny"), settings)
    bertsmith.pretrain(recipe, tmp_path / "store", tmp_path / "run", steps=150, threads=1)
    *_, line = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    # A replaced turn is of the same topic in a quarter of the fake dialogues: 0.875 is the best that can be said.
    assert line["evaluation"]["pair"]["accuracy"] > 0.75, line
