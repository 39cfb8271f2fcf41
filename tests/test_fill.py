"""Filling masks: a true distribution, for either spelling of the mask, and one line where there is nothing to fill."""

import itertools

import numpy as np
import pytest
import torch
from tests.layouts import LAYOUTS, layout

from bertsmith.downstream.fill import encoded_masks, fill, masked
from bertsmith.downstream.model import load
from bertsmith.errors import InputError


@pytest.fixture(scope="module", params=["bert", "roberta"])
def model(request, store, tmp_path_factory):
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
    pretrain(override(find(f"{request.param}:tiny"), small), store, out, steps=2, threads=1)
    return load(out)


def test_each_mask_gets_the_likeliest_tokens_of_a_distribution(model):
    text = "A [MASK] is an object, and a module has a [MASK]."
    found = fill(model, text, top=model.tokenizer.size)
    assert found["text"] == text and len(found["masks"]) == 2
    for mask in found["masks"]:
        p = [row["p"] for row in mask["top"]]
        assert sum(p) == pytest.approx(1, abs=1e-9) and p == sorted(p, reverse=True)
        assert all(row["token"] == model.tokenizer.token(row["id"]) for row in mask["top"][:20])
    encoded = encoded_masks(model, text, model.reading())
    places = encoded.places
    assert [mask["position"] for mask in found["masks"]] == places.tolist()
    assert all(encoded.tokens[at] == model.vocab.mask for at in places)
    assert [len(mask["top"]) for mask in fill(model, text, top=3)["masks"]] == [3, 3]


def test_probabilities_are_those_of_the_whole_sequence_under_the_model(model):
    found = fill(model, "A [MASK] is an object.", top=1)["masks"][0]
    encoded = encoded_masks(model, "A [MASK] is an object.", model.reading())
    stream = encoded.batch(np.arange(1)).input
    with torch.no_grad():
        hidden = model.member.model.eval()(stream.to("cpu"))
        logits = model.member.objective.token.logits(hidden, model.member.model)[found["position"]]
    assert float(torch.softmax(logits, -1)[found["top"][0]["id"]]) == pytest.approx(found["top"][0]["p"], rel=1e-5)


def test_the_words_around_a_mask_are_encoded_as_in_running_text(model):
    clean = model.tokenizer.encode(["the import statement finds a module"])[0][0]
    ids, (place,) = masked(model, "the import [MASK] finds a module")
    assert np.array_equal(np.delete(ids, place), np.delete(clean, place))


def test_a_mask_takes_the_space_before_it_in_byte_level_tokenizers(documents):
    from types import SimpleNamespace

    from bertsmith.text.tokenizer import Tokenizer

    tokenizer = Tokenizer.train("bpe:600", documents[:20])
    loaded = SimpleNamespace(tokenizer=tokenizer, vocab=tokenizer.vocab)
    ids, (place,) = masked(loaded, "a name [MASK] in a class")
    left, right = tokenizer.encode(["a name"])[0][0], tokenizer.encode([" in a class"])[0][0]
    assert ids[:place].tolist() == left.tolist() and ids[place + 1 :].tolist() == right.tolist()


@pytest.mark.parametrize(
    "text, options, says",
    [
        ("no mask here", {}, "no mask in"),
        ("", {}, "no mask"),
        ("[MASK] " * 600, {}, "the model takes"),
        ("[MASK]", {"top": 0}, "top=0"),
        ("[MASK]", {"top": 10**6}, "top="),
        ("[MASK]\ud800", {}, "surrogate"),
    ],
)
def test_what_cannot_be_filled_is_said(model, text, options, says):
    with pytest.raises(InputError, match=says):
        fill(model, text, **options)


SPACED = [name for name in LAYOUTS if not name.startswith("bert")]


@pytest.mark.parametrize("name", SPACED)
def test_what_follows_a_mask_has_the_ids_that_it_has_after_a_word(name, documents):
    from types import SimpleNamespace

    tokenizer = layout(name, [*documents[:4], "It is the capital of Rome."], 900)
    loaded = SimpleNamespace(tokenizer=tokenizer, vocab=tokenizer.vocab)
    for before, after in itertools.product(
        ["It is the capital of ", "(", ""],
        [".", ", he said", ")", "; no", '" it', " of it", "'s", "!?", "…", "", " .", "…  and"],
    ):
        ids, (place,) = masked(loaded, f"{before}[MASK]{after}")
        for word in ("Rome", "x", "7"):
            clean = tokenizer._plain.encode(f"{before}{word}{after}", add_special_tokens=False)
            characters = np.array(clean.offsets)
            end = len(before) + len(word)
            if ((characters[:, 0] < end) & (characters[:, 1] > end)).any():  # the word goes on in its neighbour
                continue
            assert ids[place + 1 :].tolist() == np.array(clean.ids)[characters[:, 0] >= end].tolist(), (before, after)
            break
        else:
            raise AssertionError(after)


def test_several_masks_and_letters_behind_one(documents):
    from types import SimpleNamespace

    for name in ("roberta", "prefix", "always unigram", "first bpe", "llama bpe"):
        tokenizer = layout(name, documents[:4], 900)
        loaded = SimpleNamespace(tokenizer=tokenizer, vocab=tokenizer.vocab)
        ids, places = masked(loaded, f"A [MASK], a {tokenizer.mask_token}ing [MASK][MASK].")
        shown = tokenizer.tokens(ids)
        assert len(places) == 4 and all(ids[at] == tokenizer.vocab.mask for at in places)
        assert shown[places[0] + 1].startswith(",") and shown[-1] == "." and places[3] == places[2] + 1 == len(ids) - 2
        assert not shown[places[1] + 1].startswith(("Ġ", "▁")), shown
