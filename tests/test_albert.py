"""ALBERT: what the depth costs, and that the order of two segments is there to be learned and a bag of words is not told it."""

import numpy as np
import torch
from tests.corpora import VOCAB, random_shape, split_of

from bertsmith.config import override
from bertsmith.data.batch import IGNORE
from bertsmith.data.draw import Draw
from bertsmith.nn.member import build, parameters
from bertsmith.recipe import find

SMALL = ["model.width=32", "model.hidden=64", "model.heads=2", "model.embeddings.width=16", "layout.length=32"]


def recipe_of(*sets):
    return override(find("albert:tiny"), [*SMALL, *sets]).with_vocab(VOCAB.size)


def test_depth_costs_nothing():
    assert parameters(recipe_of("model.layers=2")) == parameters(recipe_of("model.layers=24"))
    assert parameters(recipe_of("model.share=none")) > parameters(recipe_of())


def test_the_order_of_two_segments_is_learned_by_heart():
    """Twenty pairs, over and over: the loss of the order goes from ln 2 to nearly nothing, through the layer that is every layer."""
    recipe = recipe_of("model.layers=3")
    plan = recipe.layout.plan(split_of(random_shape(40, 8, 6), numbered=False), VOCAB, 0, 0)
    row = plan.row(np.flatnonzero(plan.labels != IGNORE)[:20])
    batch = recipe.corruption(row, VOCAB, Draw(0)).to("cpu")
    torch.manual_seed(0)
    member = build(recipe)
    optimizer, losses = torch.optim.AdamW(member.parameters(), lr=2e-3), []
    for _ in range(120):
        loss = member(batch)["pair"] / len(batch.targets["pair"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert abs(losses[0] - np.log(2)) < 0.05 and losses[-1] < 0.05


def test_the_words_of_a_pair_do_not_tell_its_order():
    """The same chunks are cut alike whatever the coin says, so that the tokens of a pair that fits are the same swapped or not."""
    layout = recipe_of("layout.short=0").layout
    split = split_of([[3, 4, 5, 2]] * 400)
    sets: dict[bytes, set[int]] = {}
    for seed in range(12):
        plan = layout.plan(split, VOCAB, seed, 0)
        row = plan.row(np.arange(len(plan.labels)))
        for begin, end, label in zip(row.offsets[:-1], row.offsets[1:], row.labels, strict=True):
            if label != IGNORE and plan.cut.max() == 0:
                sets.setdefault(np.sort(row.tokens[begin:end]).tobytes(), set()).add(int(label))
    assert len(sets) == 400 and np.mean([labels == {0, 1} for labels in sets.values()]) > 0.95
