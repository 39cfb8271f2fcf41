"""Layouts of columns: each sequence goes on where the one before it stopped, and no token is lost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.corpora import VOCAB, random_shape, split_of, whole

from bertsmith.data.loader import Loader
from bertsmith.data.text import Text, fixed_batches
from bertsmith.errors import InputError
from bertsmith.recipe import find
from bertsmith.text.columns import Columns, ReusedSegments

shapes = st.lists(st.lists(st.integers(0, 30), min_size=0, max_size=6), min_size=1, max_size=8)
BOTH = ReusedSegments(length=24)
ONE = ReusedSegments(length=24, reuse=8, both_ways=False)
LAYOUTS = (Columns(length=16), BOTH, ONE)
every_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=repr)


def long_text(split):
    """Numbers of all tokens in order, -1 behind each document that has any."""
    text = []
    for first, last in zip(split.documents[:-1], split.documents[1:], strict=True):
        begin, end = split.sentences[first], split.sentences[last]
        text += [*range(begin, end), *([-1] if end > begin else [])]
    return text


def numbers(row, of):
    """What a sequence reads: numbers of tokens, -1 for [SEP], -2 for [CLS]."""
    ids = row.tokens[row.offsets[of] : row.offsets[of + 1]]
    return [{VOCAB.sep: -1, VOCAB.cls: -2}.get(x, x - 1000) for x in ids.tolist()]


def plan_of(layout, split, batch=100, epoch=0):
    return layout.for_batch(batch).plan(split, VOCAB, 0, epoch)


@every_layout
@settings(max_examples=60, deadline=None)
@given(shape=shapes, batch=st.integers(48, 300))
def test_no_token_is_lost_and_the_account_adds_up(layout, shape, batch):
    split = split_of(shape)
    try:
        layout.check(split)
    except InputError:
        assert split.count < 24  # too little text for a row
        return
    plan = plan_of(layout, split, batch)
    row = whole(plan)
    text = row.tokens[~row.special] - 1000
    account = plan.account
    assert set(text.tolist()) == set(range(split.count)), "a token is in no sequence"
    assert account["corpus"] == account["used"] == split.count
    assert account["repeated"] == len(text) - split.count
    assert account["specials"] == row.special.sum() and account["sequences"] == len(row.lengths)
    assert (row.lengths == plan.length).all() and plan.step == plan.columns * plan.length <= max(batch, 48)


@every_layout
def test_a_turn_goes_on_where_the_one_before_stopped(layout):
    split = split_of(random_shape(20))
    plan = plan_of(layout, split)
    row, text = whole(plan), long_text(split)
    for column in range(plan.columns):
        read = []
        for turn in range(plan.turns):
            at = column * plan.turns + turn
            assert (row.thread.column[at], row.thread.turn[at]) == (column, turn)
            read += numbers(row, at)[: plan.stride]
        backward = row.thread.backward[column * plan.turns]
        assert backward == (column >= plan.columns // 2 and layout is BOTH)
        there = text[::-1] if backward else text
        begin = (column % plan.forward) * plan.turns * plan.stride
        assert read == (2 * there)[begin : begin + len(read)]


def test_a_segment_begins_with_the_last_token_of_the_one_before():
    plan = plan_of(Columns(length=16), split_of(random_shape(20)))
    row = whole(plan)
    for at in range(plan.turns - 1):
        assert numbers(row, at)[-1] == numbers(row, at + 1)[0]


@pytest.mark.parametrize("layout", [BOTH, ONE], ids=repr)
def test_rows_are_reused_text_and_two_segments(layout):
    split = split_of(random_shape(120, mean_length=3))
    plan = plan_of(layout, split, 480)
    row, text = whole(plan), long_text(split)
    ends = {x - 1 for x in split.sentences[1:].tolist()}
    follows, cut = [], 0
    for at in range(len(row.lengths)):
        there = (text[::-1] if row.thread.backward[at] else text) * 3
        ids = numbers(row, at)
        segments = row.segments[row.offsets[at] : row.offsets[at + 1]].tolist()
        assert ids[-2:] == [-1, -2] and segments[-1] == 2 and segments == sorted(segments)
        first, second = ids[: segments.index(1) - 1], ids[segments.index(1) : -2]
        assert ids[len(first)] == -1 and len(first) + len(second) == layout.length - 3
        place = (at // plan.turns % plan.forward * plan.turns + at % plan.turns) * plan.stride
        assert first == there[place : place + len(first)]
        after = there[place + len(first) : place + len(first) + len(second)]
        follows.append(second == after)
        last = first[-1] if first[-1] >= 0 else first[-2]
        cut += not (first[-1] == -1 or last in ends or row.thread.backward[at] or second != after)
    assert 0.3 < np.mean(follows) < 0.6  # half of those that have a sentence's end to be cut at
    assert not cut, "A that B follows does not end with a sentence"


def test_words_and_sentences_begin_in_reading_order():
    split = split_of(random_shape(20), continued=0.5)
    row = whole(plan_of(BOTH, split))
    for at in range(len(row.lengths)):
        ids, low = numbers(row, at), int(row.offsets[at])
        for i in range(1, len(ids)):
            if ids[i] < 0 or ids[i - 1] < 0:
                assert row.starts[low + i] == (ids[i] >= 0)
            elif abs(ids[i] - ids[i - 1]) == 1 and row.segments[low + i] == row.segments[low + i - 1]:
                first = max(ids[i], ids[i - 1]) if row.thread.backward[at] else ids[i]
                assert row.starts[low + i] == split.words[first]
                assert row.sentences[low + i] == (first in split.sentences)


def test_second_segments_are_drawn_anew_in_every_epoch():
    split = split_of(random_shape(30))
    first, again, later = (whole(plan_of(BOTH, split, epoch=epoch)).tokens for epoch in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, later)


def test_a_step_reads_every_column_once_on_any_number_of_processes():
    split = split_of(random_shape(40), numbered=False)
    recipe = find("transformer-xl:tiny")
    layout = Columns(length=16).for_batch(96)
    seen: dict[int, int] = {}
    for rank in range(2):
        loader = iter(Loader(Text(split, layout, recipe.corruption, VOCAB, seed=0, batch=96), rank=rank, world=2))
        for turn in range(3):
            step = next(loader)
            assert step.tokens == 96
            (batch,) = step.batches
            assert batch.input.thread.turn.tolist() == [turn] * 3
            for column in batch.input.thread.column.tolist():
                assert seen.setdefault(column, rank) == rank  # its memory is in that process
    assert len(seen) == 6


def test_an_epoch_ends_with_a_whole_step_and_the_next_begins_anew():
    split = split_of(random_shape(4), numbered=False)
    recipe, layout = find("transformer-xl:tiny"), Columns(length=16).for_batch(64)
    loader = Loader(Text(split, layout, recipe.corruption, VOCAB, seed=0, batch=64))
    turns = layout.plan(split, VOCAB, 0, 0).turns
    assert loader.feeds[""].epoch(0).steps == turns
    steps = iter(loader)
    found = [next(steps) for _ in range(turns + 1)]
    assert [step.tokens for step in found] == [64] * (turns + 1)
    assert set(found[-1].batches[0].input.thread.turn.tolist()) == {0}


def test_a_short_text_has_fewer_columns_and_smaller_steps():
    split = split_of([[10, 9], [8]], numbered=False)
    recipe, layout = find("transformer-xl:tiny"), Columns(length=16).for_batch(160)
    assert layout.plan(split, VOCAB, 0, 0).columns == 1
    step = next(iter(Loader(Text(split, layout, recipe.corruption, VOCAB, seed=0, batch=160))))
    assert step.tokens == 16 and step.batches[0].input.thread.turn.tolist() == [0]
    held = fixed_batches(split, layout, recipe.corruption, VOCAB, 1000, 160)
    assert [batch.input.thread.turn.tolist() for batch in held] == [[0], [1]]


def test_what_cannot_be_laid_out_is_said(store):
    with pytest.raises(InputError, match="shorter than a sequence of 24"):
        BOTH.check(split_of([[10]]))
    recipe = find("xlnet:tiny")
    layout = BOTH.for_batch(24)
    assert layout.columns == 2
    with pytest.raises(InputError, match=r"training\.batch: 24 tokens cannot hold the 48"):
        Loader(Text(split_of(random_shape(5), numbered=False), layout, recipe.corruption, VOCAB, seed=0, batch=24))
    with pytest.raises(InputError, match=r"layout\.reuse: 20"):
        ReusedSegments(length=24, reuse=20)
    with pytest.raises(InputError, match="read backward has no phrases"):
        whole(BOTH.for_batch(100).plan(store.train, store.vocab, 0, 0)).annotations  # noqa: B018
