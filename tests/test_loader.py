import dataclasses
import itertools
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import Future

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.corpora import VOCAB, random_shape, split_of

from bertsmith.data.draw import Draw
from bertsmith.data.loader import Loader, deal
from bertsmith.data.rewrite import InPlace
from bertsmith.data.select import Tokens, Words
from bertsmith.data.text import Text, fixed_batches
from bertsmith.data.workers import FAREWELL, ready
from bertsmith.errors import InputError, ResourceError
from bertsmith.recipe import Corruption
from bertsmith.text.layout import FullSentences, SegmentPairs

SPLIT = split_of(random_shape(30, 5, 9), numbered=False)
PAIRS = SegmentPairs(length=32)
DYNAMIC = Corruption(select=Tokens(), rewrite=InPlace())


def loader(corruption=DYNAMIC, layout=PAIRS, split=SPLIT, **options):
    read = {"seed": 0, "batch": 200} | {name: options.pop(name) for name in ("seed", "batch") if name in options}
    return Loader(Text(split, layout, corruption, VOCAB, **read), **options)


def take(steps, count):
    return list(itertools.islice(iter(steps), count))


def same(a, b):
    """Bit for bit."""
    assert (a.counts, a.tokens, a.cursor, len(a.batches)) == (b.counts, b.tokens, b.cursor, len(b.batches))
    for x, y in zip(a.batches, b.batches, strict=True):
        assert x.examples == y.examples and x.input.lengths == y.input.lengths
        assert np.array_equal(x.input.tokens, y.input.tokens)
        for name in x.targets:
            assert np.array_equal(x.targets[name].at, y.targets[name].at)
            assert np.array_equal(x.targets[name].labels, y.targets[name].labels)


def examples(step):
    return sorted(example for batch in step.batches for example in batch.examples)


def by_example(steps):
    """What the model is given for each example: tokens, and labels by place."""
    found = {}
    for batch in (batch for step in steps for batch in step.batches):
        ends = np.cumsum(batch.input.lengths)
        for example, begin, end in zip(batch.examples, ends - batch.input.lengths, ends, strict=True):
            at, labels = batch.targets["token"].at[:, 0], batch.targets["token"].labels
            inside = (at >= begin) & (at < end)
            found[example] = (
                batch.input.tokens[begin:end].tolist(),
                (at[inside] - begin).tolist(),
                labels[inside].tolist(),
            )
    return found


def test_steps_take_whole_sequences_in_epoch_order_while_they_fit():
    plans = [PAIRS.plan(SPLIT, VOCAB, 0, epoch) for epoch in range(3)]
    queue = [(e, int(i), int(plans[e].lengths[i])) for e in range(3) for i in plans[e].order]
    for step in take(loader(), 2 * len(plans[0].order) // 8):
        wanted, total = [], 0
        while total + queue[0][2] <= 200:
            epoch, example, length = queue.pop(0)
            wanted.append((epoch, example))
            total += length
        assert (examples(step), step.tokens) == (sorted(wanted), total)
        assert sum(batch.tokens for batch in step.batches) == total
        assert step.counts == {"token": len(step.batches[0].targets["token"]), "pair": len(wanted)}
        epoch, at = step.cursor
        assert at == len(plans[epoch].order) or (epoch, int(plans[epoch].order[at])) == queue[0][:2]


@pytest.mark.parametrize("accumulate, world", [(3, 1), (1, 2), (2, 3)])
def test_processes_and_accumulation_deal_the_same_examples(accumulate, world):
    one = take(loader(batch=400), 12)
    ranks = [take(loader(batch=400, accumulate=accumulate, rank=rank, world=world), 12) for rank in range(world)]
    for step, *parts in zip(one, *ranks, strict=True):
        assert sorted(example for part in parts for example in examples(part)) == examples(step)
        for part in parts:
            assert (part.counts, part.tokens, part.cursor) == (step.counts, step.tokens, step.cursor)
            assert len(part.batches) == accumulate
        sizes = [batch.tokens for part in parts for batch in part.batches]
        assert max(sizes) - min(sizes) <= 32
    dealt = {key: value for part in ranks for key, value in by_example(part).items()}
    assert dealt == by_example(one)


@given(st.lists(st.integers(1, 40), max_size=20), st.integers(1, 5))
def test_dealing_is_longest_first_to_the_emptiest_row(lengths, rows):
    load, wanted = [0] * rows, [0] * len(lengths)
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        row = min(range(rows), key=lambda r: (load[r], r))
        wanted[i] = row
        load[row] += lengths[i]
    assert deal(np.array(lengths, np.int64), rows).tolist() == wanted


@pytest.mark.parametrize("rank, accumulate, world", [(0, 1, 1), (0, 3, 1), (1, 2, 2)])
@pytest.mark.parametrize("block", [1, 300, 1000])
def test_how_many_steps_are_prepared_at_once_changes_nothing(block, rank, accumulate, world):
    for layout in (PAIRS, FullSentences(length=32)):
        options = {"layout": layout, "rank": rank, "accumulate": accumulate, "world": world}
        steps = take(loader(**options), 60)
        assert steps[-1].cursor[0] >= 2
        for a, b in zip(steps, take(loader(block=block, **options), 60), strict=True):
            same(a, b)


@pytest.mark.parametrize("block", [1, None])
def test_a_process_without_a_sequence_takes_part_in_the_step(block):
    for alone, step in zip(
        take(loader(batch=64), 30), take(loader(batch=64, rank=7, world=8, block=block), 30), strict=True
    ):
        assert step.batches == () and (step.counts, step.cursor) == (alone.counts, alone.cursor)


def test_a_step_is_cut_out_of_its_block_as_if_it_were_made_alone():
    plan, draw = PAIRS.plan(SPLIT, VOCAB, 0, 0), Draw(0)
    step = take(loader(block=10_000), 4)[3]
    alone = DYNAMIC(plan.row(np.array([example for _, example in step.batches[0].examples])), VOCAB, draw)
    same(step, dataclasses.replace(step, batches=(alone,), counts=alone.counts()))
    for name in ("positions", "segments", "query_rank", "key_rank"):
        assert np.array_equal(getattr(step.batches[0].input, name), getattr(alone.input, name))


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_nothing(workers):
    steps = iter(loader(workers=workers))
    for a, b in zip(take(loader(), 60), itertools.islice(steps, 60), strict=True):
        same(a, b)
    steps.close()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("copies", [0, 1, 2])
def test_a_resume_at_any_step_equals_going_on(workers, copies):
    corruption = dataclasses.replace(DYNAMIC, copies=copies)
    straight = take(loader(corruption), 40)
    assert straight[-1].cursor[0] >= 1
    for stop in (0, 7, 20, 38):
        steps = iter(loader(corruption, cursor=straight[stop].cursor, workers=workers))
        for a, b in zip(straight[stop + 1 :], steps, strict=False):
            same(a, b)


def epochs(corruption, count):
    """What each example is in each pass, whatever view that has."""
    layout = FullSentences(length=32)
    plan = layout.plan(SPLIT, VOCAB, 0, 0)
    passes = []
    for number in range(count):
        steps = loader(corruption, layout, cursor=(number, 0), batch=int(plan.lengths.sum()))
        step = take(steps, 1)[0]
        passes.append({example: value for (_, example), value in by_example([step]).items()})
    return passes


def test_static_masks_repeat_copies_repeat_in_turn_and_dynamic_never():
    static = epochs(dataclasses.replace(DYNAMIC, copies=1), 3)
    assert static[0] == static[1] == static[2]
    copies = epochs(dataclasses.replace(DYNAMIC, copies=2), 4)
    assert copies[0] == copies[2] and copies[1] == copies[3] and copies[0] != copies[1]
    dynamic = epochs(DYNAMIC, 3)
    assert dynamic[0] != dynamic[1] != dynamic[2] != dynamic[0]


def test_static_masks_are_read_in_a_new_order_each_epoch():
    steps = loader(dataclasses.replace(DYNAMIC, copies=1), batch=100)
    first = steps.feeds[""].epoch(0).order
    again = steps.feeds[""].epoch(1).order
    assert sorted(first) == sorted(again) and not np.array_equal(first, again)


def test_a_step_may_hold_several_epochs():
    split = split_of([[5, 6], [7, 4]], numbered=False)
    steps = take(loader(split=split, batch=300), 3)
    assert all(step.tokens <= 300 for step in steps) and steps[0].cursor[0] > 1
    seen = [example for step in steps for batch in step.batches for example in batch.examples]
    assert len(seen) == len(set(seen))


def test_a_sequence_longer_than_the_batch_is_refused_before_anything_starts():
    with pytest.raises(InputError, match=r"training\.batch: 20 .* 32"):
        loader(batch=20)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_a_worker_reaches_the_loop(workers):
    class Broken(Words):
        def __call__(self, row, draw):
            raise ArithmeticError("broken")

    steps = loader(dataclasses.replace(DYNAMIC, select=Broken()), workers=workers)
    with pytest.raises(ArithmeticError, match="broken"):
        next(iter(steps))


class Pipes(Words):
    """Reads from a pipe that nobody writes to, as from a network disk that does not answer, when it comes to the example `at`."""

    def __call__(self, row, draw):
        if (0, HANGS["example"]) in list(zip(row.epoch.tolist(), row.example.tolist(), strict=True)):
            os.read(HANGS["pipe"], 1)
        return super().__call__(row, draw)


HANGS: dict[str, int] = {}


@pytest.fixture
def stuck():
    """Loaders of which one worker hangs in the third step."""
    reading, writing = os.pipe()
    third = take(loader(block=1), 3)[2]
    HANGS.update(pipe=reading, example=third.batches[0].examples[0][1])
    yield lambda **options: loader(dataclasses.replace(DYNAMIC, select=Pipes()), block=1, **options)
    os.close(writing)  # ends the reads
    os.close(reading)


def test_a_worker_that_hangs_is_reported_when_patience_ends(stuck):
    steps = iter(stuck(workers=2, patience=0.5))
    for _ in range(2):
        next(steps)
    begun = time.monotonic()
    with pytest.raises(ResourceError, match=r"loader: nothing came within 0\.5 seconds: a worker hangs"):
        next(steps)
    assert 0.5 <= time.monotonic() - begun < 0.5 + FAREWELL + 3


def test_a_wish_to_stop_ends_the_wait_for_data(stuck):
    asked = threading.Event()
    steps = iter(stuck(workers=1, stop=asked.is_set))
    for _ in range(2):
        next(steps)
    threading.Timer(0.3, asked.set).start()
    begun = time.monotonic()
    assert next(steps, None) is None
    assert time.monotonic() - begun < 0.3 + FAREWELL + 3


def test_a_process_whose_worker_hangs_can_end():
    code = """
import os, sys
from bertsmith.data.workers import Workers, ready
from bertsmith.errors import ResourceError
reading, writing = os.pipe()
try:
    with Workers(2, "test") as pool:
        ready(pool.submit(os.read, reading, 1), (), lambda: False, 0.2)
except ResourceError as error:
    sys.exit(error.exit_code)
"""
    begun = time.monotonic()
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 3
    assert time.monotonic() - begun < 10


def test_a_failure_comes_before_steps_that_other_workers_have_ready():
    futures = [Future() for _ in range(3)]
    futures[0].set_result(1)
    assert ready(futures[0], futures, lambda: False, 1)
    futures[2].set_exception(ArithmeticError("broken"))
    with pytest.raises(ArithmeticError, match="broken"):
        ready(futures[0], futures, lambda: False, 1)


def test_what_one_epoch_takes():
    steps = loader()
    epoch = steps.feeds[""].epoch(0)
    assert epoch.tokens[-1] == PAIRS.plan(SPLIT, VOCAB, 0, 0).lengths.sum()
    count = next(i for i, step in enumerate(steps) if step.cursor[0] == 1)
    assert abs(epoch.steps - (count + 1)) <= 1


def test_held_out_batches_are_fixed_and_fit():
    make = lambda: fixed_batches(SPLIT, PAIRS, DYNAMIC, VOCAB, 900, 200)
    first, again = make(), make()
    assert 868 <= sum(batch.tokens for batch in first) <= 900 and max(batch.tokens for batch in first) <= 200
    for a, b in zip(first, again, strict=True):
        assert np.array_equal(a.input.tokens, b.input.tokens) and a.examples == b.examples
    assert len(fixed_batches(SPLIT, PAIRS, DYNAMIC, VOCAB, 1, 200)) == 1
    seen = [example for batch in first for example in batch.examples]
    assert len(seen) == len(set(seen))
