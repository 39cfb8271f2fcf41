"""Draws are uniform, independent of the company a sequence is in, and different for every key."""

from types import SimpleNamespace

import numpy as np

from bertsmith.data.draw import Draw, hashed, integers, uniform


def row(lengths, epoch, example):
    lengths = np.asarray(lengths)
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    return SimpleNamespace(
        lengths=lengths,
        epoch=np.asarray(epoch),
        example=np.asarray(example),
        positions=np.arange(lengths.sum()) - starts,
    )


def test_a_sequence_draws_the_same_alone_and_in_company():
    draw = Draw(seed=3)
    together = draw.tokens("mask", row([5, 7, 4], [0, 1, 0], [10, 11, 12]))
    alone = draw.tokens("mask", row([7], [1], [11]))
    assert np.array_equal(together[5:12], alone)


def test_every_key_changes_the_draw():
    base = Draw(1).tokens("mask", row([1000], [0], [0]))
    others = [
        Draw(2).tokens("mask", row([1000], [0], [0])),
        Draw(1).tokens("noise", row([1000], [0], [0])),
        Draw(1).tokens("mask", row([1000], [1], [0])),
        Draw(1).tokens("mask", row([1000], [0], [1])),
    ]
    for other in others:
        assert abs(np.corrcoef(base, other)[0, 1]) < 0.15


def test_draws_are_uniform():
    draws = uniform(hashed(0, "test", np.arange(200_000)))
    counts = np.bincount((draws * 20).astype(int), minlength=20)
    expected = len(draws) / 20
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 50  # 19 degrees of freedom: p = 1e-4
    assert draws.min() >= 0 and draws.max() < 1


def test_integers_stay_below_their_bound():
    drawn = integers(hashed(0, "test", np.arange(10_000)), 7)
    assert set(drawn.tolist()) == set(range(7))
