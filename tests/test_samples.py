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


@pytest.mark.parametrize("name", ["xlnet", "transformer-xl", "bart", "mass", "t5"])
def test_a_run_is_sampled(name, store, tiny, tmp_path):
    pretrain(tiny(name), store, tmp_path / "run", steps=2, threads=1)
    found = samples(tmp_path / "run", store, 2)
    assert len(found) == 2
    for pieces in found:
        answers = [piece for piece in pieces if "guess" in piece]
        assert 3 <= len(answers) <= MOST and any(piece.get("text") for piece in pieces)
        assert all(piece["right"] == (piece["guess"] == piece["truth"]) for piece in answers)


@pytest.mark.parametrize("name", ["bart", "mass", "t5"])
def test_a_decoder_is_asked_about_what_it_writes(name, store, tiny, tmp_path):
    """What a sample says of a place is what the held-out evaluation says there."""
    import torch

    from bertsmith.data.text import fixed_batches
    from bertsmith.downstream.model import load

    pretrain(tiny(name), store, tmp_path / "run", steps=2, threads=1)
    loaded = load(tmp_path / "run")
    recipe, length = loaded.recipe, loaded.recipe.layout.length
    batches = fixed_batches(store.held_out, recipe.layout, recipe.corruption, store.vocab, 8 * length, length)
    batch = next(b for b in (x.to("cpu") for x in batches) if len(b.input.lengths) == 1 and len(b.targets["token"]) > 2)
    asked = batch.targets["token"]
    with torch.no_grad():
        hidden = loaded.member.model(batch.input, None, batch.output)[asked.at[:, 0]]
        best = (
            loaded.member.objective.answer("token", hidden, loaded.member.model, batch.output.tokens)
            .softmax(-1)
            .max(-1)
        )
    ours = [piece["p"] for piece in samples(tmp_path / "run", store, 1)[0] if "guess" in piece]
    assert ours and all(min(abs(p - q) for q in best.values.tolist()) < 1e-5 for p in ours)
