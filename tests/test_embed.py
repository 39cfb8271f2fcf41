"""Vectors: in input order, and the same whatever else is in the batch."""

import numpy as np
import pytest
import torch

from bertsmith.downstream.embed import embed
from bertsmith.downstream.model import load
from bertsmith.errors import InputError
from bertsmith.tasks.sequences import encode

TEXTS = [
    "A class is an object.",
    "x",
    "",
    "The import statement finds a module, and then defines a name in the local scope.",
    "A class is an object.",
]


@pytest.fixture(scope="module")
def model(store, tmp_path_factory):
    from bertsmith.config import override
    from bertsmith.recipe import find
    from bertsmith.training.pretraining import pretrain

    small = [
        "model.width=32",
        "model.hidden=64",
        "model.heads=2",
        "layout.length=64",
        "training.batch=512",
        "training.held_out=512",
    ]
    out = tmp_path_factory.mktemp("model") / "run"
    pretrain(override(find("bert:tiny"), small), store, out, steps=2, threads=1)
    return load(out)


@pytest.mark.parametrize("pool", ["mean", "cls"])
@pytest.mark.parametrize("layer", [None, 0, 1, 2])
def test_a_vector_does_not_depend_on_the_other_texts_or_on_the_batches(model, pool, layer):
    together = embed(model, TEXTS, pool=pool, layer=layer)
    alone = np.concatenate([embed(model, [text], pool=pool, layer=layer) for text in TEXTS])
    small = embed(model, TEXTS, pool=pool, layer=layer, budget=1)
    assert together.shape == (5, 32) and together.dtype == np.float32
    assert np.abs(together - alone).max() < 1e-6 and np.abs(together - small).max() < 1e-6
    assert np.abs(together[0] - together[4]).max() < 1e-6
    if layer or pool == "mean":  # [CLS] of the embedding layer is the same everywhere
        assert np.abs(together[0] - together[1]).max() > 1e-3


def test_the_last_layer_is_the_default_and_the_mean_is_over_real_tokens(model):
    assert np.abs(embed(model, TEXTS) - embed(model, TEXTS, layer=2)).max() < 1e-6
    stream = encode(model.tokenizer, TEXTS[:1], None, model.reading()).batch(np.array([0])).input.to("cpu")
    with torch.no_grad():
        hidden = model.member.model.eval()(stream)
    assert np.abs(embed(model, TEXTS[:1])[0] - hidden.mean(0).numpy()).max() < 1e-6
    assert np.abs(embed(model, TEXTS[:1], pool="cls")[0] - hidden[0].numpy()).max() < 1e-6


def test_a_file_is_embedded_in_its_order_and_written_without_pickle(model, tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS))
    found = embed(model, path, out=tmp_path / "vectors")
    assert np.array_equal(np.load(tmp_path / "vectors" / "vectors.npy", allow_pickle=False), found)
    assert np.abs(found - embed(model, TEXTS)).max() < 1e-6


def test_long_texts_are_counted(model):
    said = []
    embed(model, ["name " * 200, "a"], say=said.append)
    assert "1 of 2 texts (50.0%) is longer than 64 tokens; 138 tokens cut" in said[0]
    assert not np.allclose(
        embed(model, ["name " * 60 + "class " * 60], on_long="window"), embed(model, ["name " * 60 + "class " * 60])
    )


@pytest.mark.parametrize(
    "options, says", [({"pool": "most"}, "pool='most'"), ({"layer": 3}, "layer=3"), ({"layer": -1}, "layer=-1")]
)
def test_wrong_options_say_what_is_allowed(model, options, says):
    with pytest.raises(InputError, match=says):
        embed(model, TEXTS, **options)
