"""What changes while a run goes on: closed forms, what the loader makes of them, and that nothing but the step decides."""

import itertools
from collections import Counter

import numpy as np
import pytest
from tests.runs import Breaking, lines, small
from tests.runs import same as same_run
from tests.test_loader import same

import bertsmith
from bertsmith.config import from_dict, override, to_dict
from bertsmith.data.loader import Loader
from bertsmith.data.ramps import Ramps
from bertsmith.data.text import feed_of
from bertsmith.errors import InputError, Interrupted
from bertsmith.recipe import Schedule, find
from bertsmith.training.average import Moving
from bertsmith.training.budget import Budget, Extent
from bertsmith.training.pretraining import pretrain

STEPS = 40
ALL = [
    "schedule.ramps.mask_rate=0.1",
    "schedule.ramps.batch=0.25",
    "schedule.ramps.batch_until=0.5",
    "schedule.ramps.batch_sizes=3",
    "schedule.ramps.lengths=[[16, 0.75]]",
    "schedule.ramps.causal=0.2",
    "corruption.select.rate=0.3",
]


def feed(store, *settings, steps=STEPS, member="roberta"):
    made = feed_of(small(*settings, member=member).with_vocab(store.vocab), store, 3)
    made.lasts(steps)
    return made


def taken(feed, count=STEPS, **options):
    return list(itertools.islice(iter(Loader(feed, **options)), count))


def test_the_rate_of_masks_is_a_line_or_half_a_cosine_from_the_first_update_to_the_last():
    line, cosine = (Ramps(mask_rate=0.15, mask_shape=shape) for shape in ("linear", "cosine"))
    assert [line.rate(0.3, step, 101) for step in (1, 51, 101)] == [0.3, 0.225, 0.15]
    assert [cosine.rate(0.3, step, 101) for step in (1, 26, 51, 101)] == [0.3, 0.278, 0.225, 0.15]
    assert Ramps().rate(0.3, 7, 9) == 0.3
    assert Ramps(mask_rate=0.5).rate(0.1, 101, 101) == 0.5


def test_every_size_of_the_batch_has_as_many_updates_and_then_all_of_it_is_read():
    ramps = Ramps(batch=0.25, batch_until=0.5, batch_sizes=3)
    found = Counter(ramps.size(step, 60) for step in range(1, 61))
    assert found == {0.25: 10, 0.5: 10, 0.75: 10, 1.0: 30}
    assert [ramps.size(step, 60) for step in range(1, 61)] == sorted(ramps.size(step, 60) for step in range(1, 61))


@pytest.mark.parametrize("steps", [1, 2, 7, 40, 997])
@pytest.mark.parametrize(
    "ramps",
    [
        Ramps(),
        Ramps(batch=0.1, batch_until=0.6, batch_sizes=7),
        Ramps(batch=0.5, batch_until=5, lengths=((8, 0.3), (16, 0.9))),
    ],
)
def test_the_parts_of_a_run_are_its_steps_one_by_one(ramps, steps):
    each = [(size, length) for count, size, length, _ in ramps.parts(steps) for _ in range(count)]
    assert each == [(ramps.size(step, steps), ramps.length(step, steps)) for step in range(1, steps + 1)]
    assert ramps.whole(steps) == pytest.approx(sum(size for size, _ in each))
    assert ramps.within(ramps.whole(steps)) == steps


def test_updates_that_read_from_the_left_count_as_long_as_they_take():
    ramps = Ramps(causal=0.25, batch=0.5, batch_until=0.5, batch_sizes=1)
    assert ramps.whole(40) == 30 and ramps.whole(40, left=3.0) == 10 * 0.5 * 3 + 10 * 0.5 + 20
    assert ramps.within(40.0, left=3.0) == 40 and ramps.within(0.1) == 1


def test_steps_have_the_sizes_lengths_and_rates_that_were_asked_for(store):
    made = feed(store, *ALL, "training.batch=1024", "layout.length=64")
    steps, ramps = taken(made), made.ramps
    for number, step in enumerate(steps, 1):
        room, batch = 1024 * ramps.size(number, STEPS), step.batches[0]
        assert room - 64 < step.tokens <= room
        assert max(batch.input.lengths) <= (16 if number <= 30 else 64)
        assert max(batch.input.lengths) > (8 if number <= 30 else 16)
        if number <= 8:
            assert batch.input.visibility == "causal"
            assert step.counts == {"token": step.tokens - len(batch.input.lengths)}
        else:
            assert batch.input.visibility == "full"
            rate = step.counts["token"] / step.tokens
            assert rate == pytest.approx(ramps.rate(0.3, number, STEPS), abs=0.04), number
    assert sum(step.tokens for step in steps) == pytest.approx(made.total(STEPS), rel=0.03)


def test_the_tokens_that_are_asked_for_are_read(store):
    settings = ["schedule.ramps.batch=0.25", "schedule.ramps.batch_until=0.8", "training.batch=512"]
    made = feed(store, *settings)
    for tokens in (4_000, 20_000):
        steps = Budget(tokens=tokens).in_steps(Extent.of(made), made)
        made.lasts(steps)
        assert sum(step.tokens for step in taken(made, steps)) == pytest.approx(tokens, abs=600)
        plain = feed_of(small("training.batch=512", member="roberta").with_vocab(store.vocab), store, 3)
        assert steps > Budget(tokens=tokens).in_steps(Extent.of(plain), plain)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("block", [1, 1 << 17])
def test_a_resumed_loader_and_any_number_of_workers_read_the_same(store, workers, block):
    straight = taken(feed(store, *ALL))
    for at in (0, 3, 12, 29, 31):
        cursor = {"cursor": straight[at - 1].cursor, "step": at} if at else {}
        with_others = taken(feed(store, *ALL), STEPS - at, workers=workers, block=block, **cursor)
        for a, b in zip(straight[at:], with_others, strict=True):
            same(a, b)


def test_processes_share_each_step(store):
    whole = taken(feed(store, *ALL))
    parts = [taken(feed(store, *ALL), rank=rank, world=2, accumulate=2) for rank in range(2)]
    for one, *shares in zip(whole, *parts, strict=True):
        assert all(
            (share.counts, share.tokens, share.cursor) == (one.counts, one.tokens, one.cursor) for share in shares
        )
        read = [example for share in shares for batch in share.batches for example in batch.examples]
        assert sorted(read) == sorted(example for batch in one.batches for example in batch.examples)


def test_minutes_measure_what_a_run_begins_with(store, tmp_path):
    recipe = small("schedule.ramps.causal=0.5", "training.evaluate=0", member="roberta")
    said = []
    found = pretrain(recipe, store, tmp_path / "run", minutes=0.05, threads=1, say=said.append)
    assert found["steps"] > 0 and any("s an update" in line for line in said)
    made = feed_of(recipe.with_vocab(store.vocab), store, 0)
    assert taken(made, 1)[0].batches[0].input.visibility == "full", "behind all ramps until it is told"
    assert taken(made.beginning(), 1)[0].batches[0].input.visibility == "causal"


def test_a_run_with_every_ramp_resumes_to_the_bit(store, tmp_path):
    recipe = small(*ALL, "schedule.average=0.9", "schedule.decay=wsd", member="modernbert")
    options = {"steps": 12, "seed": 3, "threads": 1, "resume": True}
    pretrain(recipe, store, tmp_path / "straight", **options)
    for how, at in (("stop", 2), ("kill", 6), ("stop", 9)):
        with pytest.raises((Interrupted, KeyboardInterrupt)):
            pretrain(recipe, store, tmp_path / "broken", progress=Breaking(how, at), **options)
    pretrain(recipe, store, tmp_path / "broken", **options)
    same_run(tmp_path / "straight", tmp_path / "broken")
    read = np.diff([0, *(line["tokens"] for line in lines(tmp_path / "straight"))])
    assert read[0] < 0.3 * read[-1]


@pytest.mark.parametrize(
    "settings, said",
    [
        (["schedule.ramps.batch=0.01"], r"batch: 0\.01 of 256 tokens cannot hold a row of 32; at least 0\.125"),
        (
            ["schedule.ramps.lengths=[[32, 0.5]]"],
            r"lengths: 32 is not below layout\.length",
        ),
        (["schedule.ramps.lengths=[16, 24]"], r"lengths: .*: \[length, until\] of each is wanted"),
        (["schedule.ramps.mask_rate=1.5"], r"mask_rate: 1\.5 is not a share"),
        (["schedule.ramps.lengths=[[16, 0.1], [8, 0.2]]"], r"lengths: 16, 8 must be above 0 and rise"),
    ],
)
def test_ramps_that_a_recipe_has_no_room_for_are_refused(store, settings, said):
    with pytest.raises(InputError, match=said):
        feed(store, *settings)


@pytest.mark.parametrize(
    "member, settings, said",
    [
        ("gpt2", ["schedule.ramps.causal=0.1"], "causal: gpt2 does not fill masks"),
        ("ernie2", ["schedule.ramps.mask_rate=0.1"], "a recipe of several feeds"),
        ("transformer-xl", ["schedule.ramps.batch=0.5", "training.batch=512"], "read in columns"),
    ],
)
def test_members_that_a_ramp_does_not_fit_are_refused(store, member, settings, said):
    recipe = small(*settings, member=member)
    with pytest.raises(InputError, match=said):
        feed_of(recipe.with_vocab(store.vocab), store, 0)


def test_ramps_are_part_of_the_recipe_and_a_decay_alone_is_a_moving_average():
    recipe = override(find("roberta:tiny"), [*ALL, "schedule.average=0.99"])
    assert from_dict(to_dict(recipe)) == recipe
    assert recipe.schedule.average == bertsmith.recipe.Moving(decay=0.99) and Moving is bertsmith.recipe.Moving
    with pytest.raises(InputError, match=r"schedule\.average: 'much' is neither a decay"):
        Schedule(average="much")


def test_plan_counts_the_updates_that_a_batch_ramp_makes_of_the_tokens(store):
    settings = ["schedule.ramps.batch=0.25", "schedule.ramps.batch_until=0.5", "schedule.ramps.batch_sizes=3"]
    more = ["training.batch=512", "model.layers=1", "layout.length=64"]
    found = bertsmith.plan("roberta:tiny", store, tokens=100_000, set=[*settings, *more], threads=1)
    plain = bertsmith.plan("roberta:tiny", store, tokens=100_000, set=more, threads=1)
    assert found["run"]["updates"] == pytest.approx(plain["run"]["updates"] / 0.75, rel=0.02)
    again = bertsmith.plan("roberta:tiny", store, steps=found["run"]["updates"], set=[*settings, *more], threads=1)
    assert again["run"]["flops"] == pytest.approx(found["run"]["flops"], rel=0.02)
