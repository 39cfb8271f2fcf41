"""Tags as spans, against seqeval, which reads them as conlleval does."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertsmith.tasks.labels import Labels
from bertsmith.tasks.spans import closed, mark_spans, spans
from bertsmith.tasks.tags import Tags, Truth

seqeval = pytest.importorskip("seqeval.metrics", reason="pip install seqeval runs the comparison with it")
NAMES = ("O", *(f"{prefix}-{kind}" for prefix in "BIES" for kind in ("PER", "LOC")))
sentences = st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=9), min_size=1, max_size=6)


@given(st.lists(st.sampled_from(NAMES), min_size=1, max_size=12))
def test_spans_are_those_of_seqeval_also_of_tags_in_an_impossible_order(tags):
    from seqeval.metrics.sequence_labeling import get_entities

    assert spans(tags) == [(kind, start, end + 1) for kind, start, end in get_entities(tags)]


SPANS = [("PER", 0, 1), ("PER", 1, 3), ("LOC", 4, 8)]
SCHEMES = {
    "IOB1": "I-PER B-PER I-PER O I-LOC I-LOC I-LOC I-LOC O",
    "IOB2": "B-PER B-PER I-PER O B-LOC I-LOC I-LOC I-LOC O",
    "IOE": "E-PER I-PER E-PER O I-LOC I-LOC I-LOC E-LOC O",
    "IOBES": "S-PER B-PER E-PER O B-LOC I-LOC I-LOC E-LOC O",
    "BILOU": "U-PER B-PER L-PER O B-LOC I-LOC I-LOC L-LOC O",
    "BMES": "S-PER B-PER E-PER O B-LOC M-LOC M-LOC E-LOC O",
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_says_the_same_spans(scheme):
    assert spans(SCHEMES[scheme].split()) == SPANS


@given(st.lists(st.sampled_from("OBIES"), min_size=1, max_size=12))
def test_tags_without_types_are_the_spans_of_seqeval_too(tags):
    from seqeval.metrics.sequence_labeling import get_entities

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert spans(tags) == [(kind, start, end + 1) for kind, start, end in get_entities(tags)]


def test_a_tag_set_without_types_marks_spans_and_letters_among_parts_of_speech_do_not():
    assert all(map(mark_spans, ("BI", "BIO", "IO", "BMES", "BIES", "BILOU")))
    assert not any(map(mark_spans, ("SE", "NVS", "BN", ["B", "I-x", "O"], ["I", "B-x"])))
    assert closed("OIB") == ["B", "I", "O"]
    assert spans("BESBME") == [("_", 0, 2), ("_", 2, 3), ("_", 3, 6)], "three words of a segmented sentence"


def test_a_tag_set_of_spans_is_told_from_parts_of_speech():
    assert mark_spans(["O", "B-x", "I-x"]) and not mark_spans(["O"]) and not mark_spans(["NN", "B-x"])
    assert closed(["O", "I-a", "B-b"]) == ["B-a", "B-b", "I-a", "I-b", "O"]
    assert closed(["O", "I-a", "I-b"]) == ["B-a", "B-b", "I-a", "I-b", "O"]  # IOB1, without neighbours of one type
    assert closed(["O", "E-a", "S-a"]) == ["E-a", "O", "S-a"]


@given(sentences, st.randoms(use_true_random=False))
def test_scores_are_seqevals(truth, random):
    said = [[tag if random.random() < 0.6 else random.choice(NAMES) for tag in tags] for tags in truth]
    flat = lambda rows: np.array([NAMES.index(tag) for tags in rows for tag in tags])
    logits = np.eye(len(NAMES), dtype=np.float32)[flat(said)]
    gold = Truth(ids=flat(truth), lengths=np.array([len(tags) for tags in truth]))
    scores = Tags().score(gold, logits, Labels(names=NAMES), resamples=20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = {name: getattr(seqeval, f"{name}_score")(truth, said) for name in scores}
    assert {name: score["value"] for name, score in scores.items()} == pytest.approx(wanted)
    assert all(score["low"] <= score["high"] for score in scores.values())


def test_parts_of_speech_are_scored_by_their_words():
    gold = Truth(ids=np.array([0, 1, 1, 0]), lengths=np.array([3, 1]))
    logits = np.array([[1, 0], [0, 1], [1, 0], [np.nan, np.nan]], np.float32)
    scores = Tags().score(gold, logits, Labels(names=("DET", "NOUN")))
    assert scores.keys() == {"accuracy"} and scores["accuracy"]["value"] == 0.5
    assert Tags().correct(gold, logits).tolist() == [2 / 3, 0.0]
