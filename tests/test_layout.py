import random
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.corpora import VOCAB, random_shape, sequences, split_of, whole

from bertsmith.data.batch import IGNORE
from bertsmith.errors import InputError
from bertsmith.text.layout import DocSentences, FullSentences, SegmentPairs, SentencePairs
from bertsmith.text.pairs import truncation

PAIRS = (SegmentPairs(length=32), SegmentPairs(length=32, negatives="half"), SentencePairs(length=32))
ORDERED = (
    SegmentPairs(length=32, negatives="swap"),
    SegmentPairs(length=32, negatives="thirds"),
    SentencePairs(length=32, negatives="thirds"),
)
PLAIN = (FullSentences(length=32), DocSentences(length=32))
every_layout = pytest.mark.parametrize("layout", [*PAIRS, *ORDERED, *PLAIN], ids=repr)
every_pair = pytest.mark.parametrize("layout", PAIRS, ids=repr)
shapes = st.lists(st.lists(st.integers(0, 45), min_size=0, max_size=8), min_size=1, max_size=8)


def usable(layout, split):
    try:
        layout.check(split)
    except InputError:
        return False
    return True


def parts(ids):
    """The text between [CLS] and [SEP]s, which must stand exactly so."""
    assert ids[0] == VOCAB.cls and ids[-1] == VOCAB.sep
    found, piece = [], []
    for token in ids[1:]:
        if token == VOCAB.sep:
            assert piece
            found.append(piece)
            piece = []
        else:
            assert token >= 1000
            piece.append(token - 1000)
    return found


def contiguous(piece):
    return piece == list(range(piece[0], piece[0] + len(piece)))


def document_of(split, token):
    sentence = np.searchsorted(split.sentences, token, "right") - 1
    return int(np.searchsorted(split.documents, sentence, "right") - 1)


@every_layout
@settings(max_examples=60, deadline=None)
@given(shape=shapes, seed=st.integers(0, 5))
def test_every_token_of_the_corpus_is_accounted_for(layout, shape, seed):
    split = split_of(shape)
    if not usable(layout, split):
        return
    plan = layout.plan(split, VOCAB, seed, 0)
    row, account = whole(plan), plan.account
    assert (row.lengths == plan.lengths).all() and (row.lengths <= layout.length).all()
    assert account["used"] + account["truncated"] + account["dropped"] == account["corpus"] == split.count
    text = row.tokens[~row.special]
    assert len(text) == account["used"] + account["repeated"]
    assert row.special.sum() == account["specials"]
    if layout in PLAIN:
        assert text.tolist() == (1000 + np.arange(split.count)).tolist()  # once each, in order
    for ids, _ in sequences(row):
        assert all(contiguous(piece) for piece in parts(ids))


@every_pair
def test_a_true_next_follows_and_a_random_next_is_of_another_document(layout):
    split = split_of(random_shape(40, 6, 6))
    row = whole(layout.plan(split, VOCAB, 3, 1))
    for (ids, segments), label in zip(sequences(row), row.labels, strict=True):
        a, b = parts(ids)
        assert segments == [0] * (len(a) + 2) + [1] * (len(b) + 1)
        same = document_of(split, a[0]) == document_of(split, b[0])
        assert same == (label == 0)
        assert document_of(split, a[0]) == document_of(split, a[-1])
        if label == 0:
            assert b[0] > a[-1] and (len(ids) == layout.length or b[0] == a[-1] + 1)


@pytest.mark.parametrize("layout", ORDERED, ids=repr)
def test_swapped_segments_swapped_back_are_the_text(layout):
    """And a chunk of one sentence, which has no order, is a single segment that nothing is asked of."""
    split = split_of([*random_shape(60, 6, 6), [7], [40]])
    row, alone = whole(layout.plan(split, VOCAB, 3, 1)), 0
    for (ids, segments), label in zip(sequences(row), row.labels, strict=True):
        pieces = parts(ids)
        if label == IGNORE:
            (piece,) = pieces
            assert set(segments) == {0} and not {*split.sentences.tolist()} & {*piece[1:]}
            alone += 1
            continue
        a, b = pieces
        assert segments == [0] * (len(a) + 2) + [1] * (len(b) + 1)
        if label == 1:
            a, b = b, a
        same = document_of(split, a[0]) == document_of(split, b[0])
        assert same == (label != 2)
        if same:
            assert b[0] > a[-1] and (len(ids) == layout.length or b[0] == a[-1] + 1)
    assert alone >= 2
    assert {*row.labels.tolist()} == {0, 1, IGNORE} | ({2} if layout.negatives == "thirds" else set())


@pytest.mark.parametrize(("negatives", "shares"), [("swap", (1 / 2, 1 / 2)), ("thirds", (1 / 3, 1 / 3, 1 / 3))])
def test_orders_are_drawn_alike(negatives, shares):
    """A chi-squared test; 13.8 is the 99.9 % point of two degrees of freedom, above that of one."""
    plan = SegmentPairs(length=64, negatives=negatives).plan(split_of(random_shape(2000, 10, 10)), VOCAB, 0, 0)
    found = np.bincount(plan.labels[plan.labels != IGNORE], minlength=len(shares))
    expected = found.sum() * np.array(shares)
    assert found.sum() > 3000 and ((found - expected) ** 2 / expected).sum() < 13.8
    assert plan.account["label_1"] == found[1] / found.sum()


def test_the_order_of_one_document_needs_no_other():
    split = split_of([[5, 5, 5, 5] * 9])
    plan = SegmentPairs(length=32, negatives="swap").plan(split, VOCAB, 0, 0)
    assert {0, 1} <= {*plan.labels.tolist()}
    with pytest.raises(InputError, match="a second document"):
        SegmentPairs(length=32, negatives="thirds").check(split)


def test_the_walk_of_pairs_reads_every_sentence_once():
    """Nothing is too long here, so that first segments and true second ones must be the corpus."""
    split = split_of([[3, 4, 2, 5], [1, 1, 6], [4, 4, 4, 4, 4]] * 5)
    for seed in range(20):
        row = whole(SegmentPairs(length=400, short=0.5).plan(split, VOCAB, seed, 0))
        read = []
        for (ids, _), label in zip(sequences(row), row.labels, strict=True):
            a, b = parts(ids)
            read += a + (b if label == 0 else [])
        assert sorted(read) == list(range(split.count))


def bert_reference(shape, length, short, rng, order=False):
    """create_pretraining_data's rule, a sentence and a token at a time: (A, B, label) sizes after truncation.

    `order`: ALBERT's version of it, but for its chunks of one sentence.
    """
    room, made = length - 3, []
    for number, document in enumerate(shape):
        target = rng.randint(2, room) if rng.random() < short else room
        chunk, i = [], 0
        while i < len(document):
            chunk.append(document[i])
            if i == len(document) - 1 or sum(chunk) >= target:
                cut = rng.randint(1, len(chunk) - 1) if len(chunk) > 1 else 1
                a = sum(chunk[:cut])
                label = len(chunk) == 1 or rng.random() < 0.5
                if order:
                    a, b = a, sum(chunk[cut:])
                    a, b = (b, a) if label else (a, b)
                elif label:
                    other = number
                    while other == number:
                        other = rng.randrange(len(shape))
                    b = 0
                    for sentence in shape[other][rng.randrange(len(shape[other])) :]:
                        b += sentence
                        if b >= target - a:
                            break
                    i -= len(chunk) - cut
                else:
                    b = sum(chunk[cut:])
                while a + b > room:
                    a, b = (a - 1, b) if a > b else (a, b - 1)
                if not (order and len(chunk) == 1):
                    made.append((a, b, int(label)))
                chunk = []
            i += 1
    return np.array(made)


@pytest.mark.parametrize("negatives", ["coin", "swap"])
@pytest.mark.parametrize("length, sentences", [(128, 40), (128, 3), (64, 10)])
def test_pairs_are_distributed_as_the_released_rule_makes_them(length, sentences, negatives):
    """BERT's and ALBERT's.  Means differ by less than 5 standard errors, distributions by less than the 99.99 % point of
    Kolmogorov and Smirnov's statistic of two samples (2.23)."""
    shape = random_shape(1500 if sentences < 20 else 600, sentences, 12, seed=1)
    plan = SegmentPairs(length=length, negatives=negatives).plan(split_of(shape), VOCAB, 0, 0)
    wanted = bert_reference(shape, length, 0.1, random.Random(5), order=negatives == "swap")
    paired = plan.labels != IGNORE
    at = plan.first[:-1][paired][:, None] + np.arange(2)
    widths, labels = (plan.end - plan.begin)[at], plan.labels[paired]
    assert abs(len(widths) / len(wanted) - 1) < 0.06
    for ours, theirs in ((widths[:, 0], wanted[:, 0]), (widths[:, 1], wanted[:, 1]), (labels, wanted[:, 2])):
        error = np.sqrt(ours.var() / len(ours) + theirs.var() / len(theirs))
        assert abs(ours.mean() - theirs.mean()) < 5 * error
        grid = np.arange(length)
        below = [np.searchsorted(np.sort(sample), grid, "right") / len(sample) for sample in (ours, theirs)]
        statistic = np.abs(below[0] - below[1]).max() * np.sqrt(len(ours) * len(theirs) / (len(ours) + len(theirs)))
        assert statistic < 2.23
    full, theirs = (plan.lengths[paired] == length).mean(), (wanted[:, :2].sum(1) == length - 3).mean()
    assert abs(full - theirs) < 0.03


def test_the_share_of_random_pairs_is_berts():
    """0.55 in long documents, 0.66 in documents of one to six sentences (measured on the released code); never a half."""
    rng = np.random.default_rng(2)
    long = split_of([rng.geometric(1 / 20, 60).tolist() for _ in range(400)])
    brief = split_of([rng.geometric(1 / 20, rng.integers(1, 7)).tolist() for _ in range(4000)])
    assert 0.53 < SegmentPairs(length=128).plan(long, VOCAB, 0, 0).account["label_1"] < 0.60
    assert 0.60 < SegmentPairs(length=128).plan(brief, VOCAB, 0, 0).account["label_1"] < 0.72
    half = SegmentPairs(length=128, negatives="half").plan(long, VOCAB, 0, 0)
    assert abs(int((half.labels == 1).sum()) * 2 - len(half.labels)) <= 2


@given(st.integers(1, 60), st.integers(1, 60), st.integers(2, 40))
def test_truncation_takes_one_token_at_a_time_from_the_longer(a, b, room):
    left, right = a, b
    while left + right > room:
        left, right = (left - 1, right) if left > right else (left, right - 1)
    assert truncation(np.array([a]), np.array([b]), room).tolist() == [[a - left, b - right]]


def test_truncation_takes_from_front_and_back_alike():
    split = split_of([[60, 60]] * 4000)
    plan = SegmentPairs(length=63, short=0).plan(split, VOCAB, 0, 0)
    start = np.asarray(split.sentences)[np.searchsorted(split.sentences, plan.begin, "right") - 1]
    fronts = (plan.begin - start).sum()
    assert abs(fronts / plan.cut.sum() - 0.5) < 4 * 0.5 / np.sqrt(plan.cut.sum())


@settings(max_examples=60, deadline=None)
@given(shape=shapes)
@pytest.mark.parametrize("layout", PLAIN, ids=repr)
def test_full_sentences_are_packed_greedily(layout, shape):
    """Against a plain loop over sentences, those too long in parts."""
    split = split_of(shape)
    if not split.count:
        return
    room, wanted, used = layout.length - 2, [], 0
    for number in range(len(shape)):
        fresh = True
        for sentence in range(split.documents[number], split.documents[number + 1]):
            a, b = int(split.sentences[sentence]), int(split.sentences[sentence + 1])
            for begin in range(a, b, room):
                piece = list(range(begin, min(begin + room, b)))
                gap = 1 if fresh else 0
                if not wanted or used + gap + len(piece) > room or (fresh and isinstance(layout, DocSentences)):
                    wanted.append([piece])
                    used = len(piece)
                elif fresh:
                    wanted[-1].append(piece)
                    used += 1 + len(piece)
                else:
                    wanted[-1][-1] += piece
                    used += len(piece)
                fresh = False
    assert [parts(ids) for ids, _ in sequences(whole(layout.plan(split, VOCAB, 0, 0)))] == wanted


def test_doc_sentences_never_cross_documents():
    split = split_of(random_shape(60, 5, 6))
    for ids, _ in sequences(whole(DocSentences(length=64).plan(split, VOCAB, 0, 0))):
        assert len({document_of(split, token) for piece in parts(ids) for token in piece}) == 1


@every_layout
def test_words_and_sentences_start_where_they_do_and_at_every_cut(layout):
    split = split_of(random_shape(30, 5, 15), continued=0.5)
    row = whole(layout.plan(split, VOCAB, 0, 0))
    sentence_starts = set(split.sentences.tolist())
    assert not (row.starts & row.special).any() and not (row.sentences & row.special).any()
    for i in np.flatnonzero(~row.special):
        source = row.tokens[i] - 1000
        assert row.starts[i] == (row.special[i - 1] or split.words[source])
        assert row.sentences[i] == (row.special[i - 1] or source in sentence_starts)


@every_layout
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_row_is_its_sequences_one_by_one(layout, data):
    plan = layout.plan(split_of(random_shape(20, 4, 8)), VOCAB, 0, 0)
    some = data.draw(st.lists(st.integers(0, len(plan.labels) - 1), max_size=9))
    together = plan.row(np.array(some, np.int64))
    alone = [plan.row(np.array([i])) for i in some]
    for name in ("tokens", "segments", "starts", "special", "sentences", "lengths", "labels", "epoch", "example"):
        assert getattr(together, name).tolist() == [x for row in alone for x in getattr(row, name).tolist()], name


@every_layout
def test_only_pairs_depend_on_seed_and_epoch(layout):
    split = split_of(random_shape(50, 5, 8))
    first, again, later = (layout.plan(split, VOCAB, 1, epoch) for epoch in (0, 0, 1))
    assert np.array_equal(first.order, again.order) and np.array_equal(first.begin, again.begin)
    assert sorted(first.order) == list(range(len(first.labels)))
    same = np.array_equal(first.begin, later.begin)
    assert same == (layout in PLAIN)
    assert not same or not np.array_equal(first.order, later.order)
    assert (first.labels == IGNORE).all() == (layout in PLAIN)


@every_pair
@pytest.mark.parametrize(
    "shape, says",
    [([[5, 5]], "1 document,"), ([[5], [5], [7]], "3 sentences"), ([], "0 documents"), ([[], [0]], "0 tokens")],
)
def test_a_corpus_that_has_no_pairs_is_refused_with_its_counts(layout, shape, says):
    with pytest.raises(InputError, match=says):
        layout.check(split_of(shape))


def test_no_text_is_refused():
    with pytest.raises(InputError, match="0 tokens"):
        FullSentences(length=8).plan(split_of([[0], []]), VOCAB, 0, 0)
    with pytest.raises(InputError, match=r"layout\.length"):
        SegmentPairs(length=4)


def test_planning_keeps_up_with_training():
    """Loose, for a busy machine; quiet ones plan pairs at tens of millions of tokens a second."""
    split = split_of(random_shape(4000, 12, 20), numbered=False)
    start = time.thread_time()
    SegmentPairs(length=128).plan(split, VOCAB, 0, 0)
    assert split.count / (time.thread_time() - start) > 1e6
