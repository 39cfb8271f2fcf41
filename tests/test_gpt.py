"""GPT and GPT-2: published sizes, how they begin, the rows that they read, and what is asked of them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.corpora import VOCAB, random_shape, split_of, whole

from bertsmith.config import override
from bertsmith.data.text import Text
from bertsmith.errors import InputError
from bertsmith.nn.member import build, parameters
from bertsmith.recipe import find
from bertsmith.text.stretches import Stretches

# GPT: the released model's; GPT-2: the released ones' (table 2 of the paper counts otherwise, as its authors say); the others by their
# shapes, which the papers round to 8.3 and 17 thousand million.
PUBLISHED = {
    "gpt:base": 116_534_784,
    "gpt2:small": 124_439_808,
    "gpt2:medium": 354_823_168,
    "gpt2:large": 774_030_080,
    "gpt2:xl": 1_557_611_200,
    "gpt2:megatron": 8_317_040_640,
    "gpt2:turing": 17_176_845_728,
}


@pytest.mark.parametrize(("name", "count"), PUBLISHED.items())
def test_published_sizes_have_the_published_number_of_parameters(name, count):
    assert parameters(find(name)) == count


@pytest.mark.parametrize("name", ["gpt2:xl", "gpt2:megatron", "gpt2:turing"])
def test_sizes_that_no_machine_holds_are_built_without_memory_and_counted(name):
    with torch.device("meta"):
        found = [*build(find(name)).parameters()]
    assert all(p.is_meta for p in found) and sum(p.numel() for p in found) == PUBLISHED[name]


def test_gpt2_begins_smaller_the_deeper_it_is_and_gpt_does_not():
    deviations = {}
    for name in ("gpt", "gpt2"):
        model = build(override(find(f"{name}:tiny"), ["model.layers=8"]).with_vocab(100)).model
        for part in ("attention.qkv", "attention.out", "feedforward.up", "feedforward.down"):
            deviations[name, part] = model.layers[5].get_submodule(part).weight.std().item()
    plain = deviations["gpt", "attention.qkv"]
    assert plain == pytest.approx(0.0176, rel=0.03)  # a normal of 0.02, cut at two sigma
    for (name, part), found in deviations.items():
        adds = name == "gpt2" and part in ("attention.out", "feedforward.down")
        assert found == pytest.approx(plain / 4 if adds else plain, rel=0.03), (name, part)  # 16 of them: a quarter


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.lists(st.integers(0, 30), min_size=0, max_size=6), min_size=1, max_size=8),
    length=st.integers(2, 40),
)
def test_rows_are_full_and_every_token_is_asked_for(shape, length):
    split = split_of(shape)
    layout = Stretches(length=length)
    try:
        layout.check(split)
    except InputError:
        assert split.count == 0
        return
    plan = layout.plan(split, VOCAB, 0, 0)
    row = whole(plan)
    asked = row.tokens[row.positions > 0]
    text = row.tokens[~row.special] - 1000
    assert set(text.tolist()) == set(range(split.count)), "a token is in no row"
    missing = set(range(split.count)) - set((asked - 1000).tolist())
    assert missing <= {0}, "a token but the text's first is never asked for"
    assert (row.lengths == min(length, plan.text.places)).all() and set(row.tokens[row.special]) <= {VOCAB.sep}
    account = plan.account
    assert account["corpus"] == account["used"] == split.count and account["sequences"] == len(row.lengths)
    assert account["repeated"] == len(text) - split.count and account["specials"] == row.special.sum()


def test_rows_come_in_another_order_in_each_epoch_and_know_nothing_of_each_other():
    split = split_of(random_shape(60))
    plans = [Stretches(length=32).plan(split, VOCAB, 0, epoch) for epoch in (0, 1)]
    assert sorted(plans[0].order) == sorted(plans[1].order) and (plans[0].order != plans[1].order).any()
    rows = [plan.row(np.arange(8)) for plan in plans]
    assert np.array_equal(rows[0].tokens, rows[1].tokens) and rows[0].thread is None and plans[0].step is None


def test_a_token_for_the_end_of_a_text_alone_is_enough_for_them_and_for_no_member_that_hides_words(store):
    import dataclasses

    alone = dataclasses.replace(store.vocab, pad=3, unk=3, cls=3, sep=3, mask=3, special=(3,))
    for name in ("gpt2", "transformer-xl", "bert", "xlnet"):
        recipe = find(f"{name}:tiny")
        given = (store.train, recipe.layout, recipe.corruption, alone)
        if name in ("bert", "xlnet"):
            with pytest.raises(InputError, match="has one special token, and none can stand"):
                Text(*given, seed=0, batch=8192)
        else:
            assert len(Text(*given, seed=0, batch=8192).epoch(0).order)
