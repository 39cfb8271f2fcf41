"""Samples for the report: the answers stand where their tokens stood, whoever asks for them."""

import numpy as np
import pytest

from bertsmith.data.draw import Draw
from bertsmith.downstream.samples import MOST, samples, stands
from bertsmith.training.pretraining import pretrain

NAMES = ["roberta", "spanbert", "unilm", "xlnet", "transformer-xl", "gpt2"]


@pytest.mark.parametrize("name", NAMES)
def test_answers_stand_where_their_tokens_stood(name, store, tiny):
    recipe = tiny(name).with_vocab(store.vocab.size)
    plan = recipe.layout.plan(store.train, store.vocab, 0, 0)
    for number in plan.order[:12].tolist():
        row = plan.row(np.array([number]))
        batch = recipe.corruption(row, store.vocab, Draw(0))
        asked = batch.targets["token"]
        places = stands(batch.to("cpu").input, asked.at[:, 0].tolist())
        assert np.array_equal(row.tokens[places], asked.labels)


@pytest.mark.parametrize("name", ["xlnet", "transformer-xl"])
def test_a_run_is_sampled(name, store, tiny, tmp_path):
    pretrain(tiny(name), store, tmp_path / "run", steps=2, threads=1)
    found = samples(tmp_path / "run", store, 2)
    assert len(found) == 2
    for pieces in found:
        answers = [piece for piece in pieces if "guess" in piece]
        assert 3 <= len(answers) <= MOST and any(piece.get("text") for piece in pieces)
        assert all(piece["right"] == (piece["guess"] == piece["truth"]) for piece in answers)
