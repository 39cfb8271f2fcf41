"""ERNIE's select: units of a level, stages by passes over the corpus, and what of it is told."""

import ast
import dataclasses
import re
import subprocess
import sys

import numpy as np
import pytest
from tests.corpora import noted

import bertsmith
from bertsmith.config import override
from bertsmith.data.draw import Draw
from bertsmith.data.levels import annotated
from bertsmith.data.mixture import Mixture, Stages
from bertsmith.data.select import words
from bertsmith.data.text import Text, fixed_batches, join
from bertsmith.data.units import Units
from bertsmith.downstream.show import show
from bertsmith.errors import InputError
from bertsmith.recipe import find
from bertsmith.training.budget import Extent
from bertsmith.training.stages import unreached


def hidden(row, spans):
    mask = np.zeros(len(row.tokens), bool)
    for begin, end in spans:
        mask[begin:end] = True
    return mask


@pytest.mark.parametrize("level", ["phrase", "entity"])
def test_a_unit_is_hidden_whole_or_not_at_all_and_as_often_as_asked(level):
    row = noted(level, 6)
    spans = Units(levels=(level,))(row, Draw(0))
    mask = hidden(row, spans)
    assert not mask[row.special].any() and (spans[1:, 0] >= spans[:-1, 1]).all()
    units = [(a, b) for a, b in zip(*annotated(row.annotations, level), strict=True) if b - a > 1]
    assert all(mask[a:b].all() or not mask[a:b].any() for a, b in units)
    assert abs(np.mean([mask[a] for a, _ in units]) - 0.15) < 0.02
    assert abs(mask[~row.special].mean() - 0.15) < 0.01


def flags(row, level):
    """The released data's boundary flags: 0 a unit begins, 1 it goes on, -1 a special.  Words first, then spans over them."""
    found = np.where(row.special, -1, 1)
    found[words(row)[:, 0]] = 0
    for begin, end in zip(*annotated(row.annotations, level), strict=True):
        found[begin:end] = 1
        found[begin] = 0
        if end < len(found) and found[end] == 1:
            found[end] = 0
    return found


@pytest.mark.parametrize("level", ["phrase", "entity"])
def test_it_hides_what_a_scan_of_the_boundary_flags_would(level):
    """Token by token, as the released code goes: the draw of a unit's first token decides for what follows with flag 1."""
    row, draw = noted(level, 6, seed=1), Draw(3)
    chance, mask, chosen = draw.tokens("select", row), np.zeros(len(row.tokens), bool), False
    for i, flag in enumerate(flags(row, level)):
        chosen = flag != -1 and (chosen if flag else chance[i] < 0.15)
        mask[i] = chosen
    assert np.array_equal(hidden(row, Units(levels=(level,))(row, draw)), mask)


def test_stages_follow_the_passes_over_the_corpus():
    row = noted("phrase", 6)
    select = Units(levels=("token", "phrase"), passes=2.0)
    for epoch, level in ((0, "token"), (1, "token"), (2, "phrase"), (9, "phrase")):
        at = dataclasses.replace(row, epoch=np.full(len(row.lengths), epoch))
        assert np.array_equal(select(at, Draw(0)), Units(levels=(level,))(at, Draw(0)))
    assert (np.diff(Units(levels=("token",))(row, Draw(0))) == 1).all()


def test_a_row_that_reaches_over_a_stage_is_hidden_as_its_sequences_are():
    row = noted("phrase", 6)
    row = dataclasses.replace(row, epoch=np.arange(len(row.lengths)) // 20)
    select = Units(levels=("token", "phrase"))
    together = hidden(row, select(row, Draw(0)))
    parts = [row.part(i, i + 1) for i in range(40)]
    alone = np.concatenate([hidden(part, select(part, Draw(0))) for part in parts])
    assert np.array_equal(together[: len(alone)], alone)


def test_show_tells_the_rate_of_each_level_that_its_lines_are_at(store):
    for epoch, level in enumerate(("token", "phrase", "entity", "entity")):
        *lines, last = show("ernie1:tiny", store, n=120, epoch=epoch)
        assert {line["epoch"] for line in lines} == {epoch}
        requested, achieved = last["summary"]["requested"], last["summary"]["achieved"]
        assert list(requested) == list(achieved) and [key for key in requested if "." in key] == [f"rate.{level}"]
        assert requested[f"rate.{level}"] == 0.15 and abs(achieved[f"rate.{level}"] - 0.15) < 0.012
        several = [end - begin for line in lines for begin, end in line["spans"] if end - begin > 1]
        assert bool(several) == (level != "token")
    *_, last = show("ernie1:tiny", store, n=2500, set=['corruption.select.levels=["phrase","token"]'])
    shares = [last["summary"]["achieved"][f"rate.{level}"] for level in ("phrase", "token")]
    assert min(shares) < last["summary"]["achieved"]["rate"] < max(shares)


def test_the_published_shape_is_berts_with_relu():
    model = find("ernie1:base").model
    assert (model.layers, model.width, model.heads, model.hidden, model.segments) == (12, 768, 12, 3072, 2)
    assert (model.activation, model.positions.length, model.norm.eps, model.vocab) == ("relu", 513, 1e-5, 17964)


def test_a_store_without_annotations_is_refused_unless_no_level_needs_them(short, tmp_path):
    with pytest.raises(InputError, match=r"'entity'; prepare it with entities"):
        bertsmith.pretrain(find("ernie1:tiny"), short, tmp_path / "run", steps=1, threads=1)
    with pytest.raises(InputError, match=r"'phrase'; prepare it with phrases"):
        show(override(find("ernie1:tiny"), ['corruption.select.levels=["phrase"]']), short).__next__()
    assert list(show("ernie1:tiny", short, n=2, set=['corruption.select.levels=["token"]']))


@pytest.mark.parametrize(
    ("setting", "said"), [('levels=["word"]', "one or more of token, phrase"), ("passes=0", "must be above 0")]
)
def test_settings_that_mean_nothing_are_refused(setting, said):
    with pytest.raises(InputError, match=said):
        override(find("ernie1:tiny"), [f"corruption.select.{setting}"])


def test_a_share_of_a_pass_makes_stages_in_the_order_of_reading(store):
    recipe = override(find("ernie1:tiny"), ["corruption.select.passes=0.25"]).with_vocab(store.vocab.size)
    feed = Text.of(recipe, store, seed=3)
    for number, wanted in ((0, (0, 1, 2, 2)), (1, (2, 2, 2, 2))):
        epoch = feed.epoch(number)
        row = epoch.plan.row(epoch.order)
        stages = recipe.corruption.select.stages(row)
        count = len(epoch.order)
        assert stages.tolist() == [wanted[4 * place // count] for place in range(count)]
        parts = join([epoch.plan.row(epoch.order[:7]), epoch.plan.row(epoch.order[7:])])
        assert np.array_equal(recipe.corruption.select.stages(parts), stages)
        assert np.array_equal(recipe.corruption.select.stages(row.part(5, count)), stages[5:])
    recipe = override(recipe, ["corruption.select.passes=0.001"])  # held-out text stays at the first stage
    held = fixed_batches(store.train, recipe.layout, recipe.corruption, store.vocab, 4096, 4096)
    whole = override(recipe, ["corruption.select.passes=1"])
    same = fixed_batches(store.train, whole.layout, whole.corruption, store.vocab, 4096, 4096)
    assert all(np.array_equal(a.input.tokens, b.input.tokens) for a, b in zip(held, same, strict=True))


def test_a_run_that_ends_before_a_stage_says_so_before_it_starts(store, tmp_path):
    recipe = override(find("ernie1:tiny"), ["training.batch=2048"])
    feed = Text.of(recipe.with_vocab(store.vocab.size), store, seed=0)
    extent = Extent.of(feed)
    said = []
    bertsmith.pretrain(recipe, store, tmp_path / "run", steps=2, threads=1, say=said.append)
    (line,) = [line for line in said if "never reached" in line]
    assert (
        line.startswith("warning: 2 steps are ")
        and "phrase and entity are never reached (after 1 and 2); steps=" in line
    )
    needed = int(re.search(r"steps=(\d+) reaches phrase", line)[1])
    reads = lambda steps: steps * extent.per_step / extent.tokens
    assert reads(needed - 1) <= 1 < reads(needed)
    (line,) = unreached(feed, needed, extent)
    assert "entity is never reached (after 2)" in line
    assert not unreached(feed, 3 * extent.steps, extent)
    setting = ast.literal_eval(re.search(r"set=(.*) makes", line)[1])
    shorter = Text.of(override(recipe, setting).with_vocab(store.vocab.size), store, seed=0)
    assert not unreached(shorter, needed, extent)
    static = Text.of(override(recipe, ["corruption.copies=2"]).with_vocab(store.vocab.size), store, seed=0)
    (line,) = unreached(static, 9 * extent.steps, extent)
    assert (
        "corruption.copies=2 begins anew" in line
        and "entity is never reached (after 2); set={'corruption.copies': 0}" in line
    )
    bert = Text.of(find("bert:tiny").with_vocab(store.vocab.size), store, seed=0)
    assert not unreached(bert, 1, extent)
    mixture = Mixture({"a": bert, "b": bert, "c": bert}, Stages(steps=(3, 2)), seed=0)
    assert unreached(mixture, 3, extent) == [
        "warning: 3 steps: b and c are never reached (after 3 and 5); steps=4 reaches b"
    ]
    assert not unreached(mixture, 6, extent)


def test_plan_says_so_too(store):
    given = ["plan", "ernie1:tiny", "--data", str(store.path), "--set", "training.batch=2048", "--steps", "2"]
    done = subprocess.run([sys.executable, "-m", "bertsmith", *given], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "phrase and entity are never reached" in done.stderr
