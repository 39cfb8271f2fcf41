"""What T5's study compares, each one value of an axis: objectives, corruption rates and spans, architectures, repeated text."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bertsmith.config import from_dict, override, to_dict
from bertsmith.data.concatenated import Concatenated
from bertsmith.data.denoise import Denoise
from bertsmith.data.draw import Draw
from bertsmith.data.loader import Loader
from bertsmith.data.noise import Independent, Nothing, RandomSpans, Tail
from bertsmith.data.reordered import Tokens
from bertsmith.data.text import Text
from bertsmith.errors import InputError
from bertsmith.nn.decoder import EncoderDecoder
from bertsmith.nn.member import build, parameters
from bertsmith.nn.transformer import OneStack, stack_parameters
from bertsmith.recipe import Corruption, Recipe

WHOLE = {"write": "all", "start": "pad"}
HIDDEN = {"write": "hidden", "start": "pad"}
MARKED = Denoise(stand="sentinel", sentinels=100, **HIDDEN)
OBJECTIVES = {
    "prefix language model": Corruption(select=Tail(), rewrite=Denoise(stand="nothing", **HIDDEN)),
    "BERT-style": Corruption(select=Independent(), rewrite=Denoise(stand="masks", random=0.1, **WHOLE)),
    "deshuffling": Corruption(select=Nothing(), rewrite=Denoise(stand="nothing", **WHOLE), order=Tokens()),
    "MASS-style": Corruption(select=Independent(), rewrite=Denoise(stand="masks", **WHOLE)),
    "replace spans": Corruption(select=Independent(), rewrite=MARKED),
    "drop tokens": Corruption(select=Independent(), rewrite=Denoise(stand="nothing", **HIDDEN)),
    **{f"rate {rate}": Corruption(select=RandomSpans(rate=rate), rewrite=MARKED) for rate in (0.1, 0.15, 0.25, 0.5)},
    **{f"spans of {mean}": Corruption(select=RandomSpans(mean=mean), rewrite=MARKED) for mean in (2, 3, 5, 10)},
}
ARCHITECTURES = {
    "encoder-decoder": (EncoderDecoder(), None),
    "shared": (EncoderDecoder(stacks="one"), None),
    "half depth": (EncoderDecoder(layers=1), None),
    "language model": (OneStack(), "causal"),
    "prefix language model": (OneStack(), "prefix"),
}


def t5(tiny, store, *settings, corruption=None, architecture="encoder-decoder") -> Recipe:
    recipe = tiny("t5", *settings)
    topology, sees = ARCHITECTURES[architecture]
    corruption = corruption or recipe.corruption
    model = replace(recipe.model, topology=topology)
    if sees:
        corruption = replace(corruption, rewrite=Concatenated(of=corruption.rewrite, sees=sees))
        model = replace(model, positions=replace(model.positions, ahead=sees == "prefix"))
    return replace(recipe, model=model, corruption=corruption).with_vocab(store.vocab)


def batch_of(recipe, store, sequences=6):
    plan = recipe.layout.plan(store.train, store.vocab, 0, 0)
    row = recipe.corruption.moved(plan.row(plan.order[:sequences]), Draw(0))
    spans = recipe.corruption.select(row, Draw(0))
    return row, spans, recipe.corruption.rewrite(row, spans, store.vocab, Draw(0))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_of_the_study_is_a_value_that_trains_counts_and_survives_json(name, tiny, store):
    recipe = t5(tiny, store, corruption=OBJECTIVES[name])
    assert from_dict(to_dict(recipe)) == recipe
    row, spans, batch = batch_of(recipe, store)
    assert batch.counts() == recipe.corruption.rewrite.counts(row, spans, Draw(0))
    torch.manual_seed(0)
    member = build(recipe)
    (loss,) = member(batch.to("cpu")).values()
    loss.backward()
    assert torch.isfinite(loss) and all(p.grad is not None for p in member.parameters())
    if recipe.corruption.rewrite.write == "all":
        assert np.array_equal(batch.targets["token"].labels, row.original)
    else:
        text = batch.targets["token"].labels
        marks = (
            set(recipe.corruption.rewrite.marks(store.vocab).tolist()) if recipe.corruption.rewrite.sentinels else set()
        )
        written = [token for token in text.tolist() if token not in marks and token != store.vocab.sep]
        assert written == [token for begin, end in spans for token in row.tokens[begin:end].tolist()]


def test_a_prefix_is_as_long_as_any_other_and_deshuffling_keeps_every_token(tiny, store):
    recipe = t5(tiny, store, corruption=OBJECTIVES["prefix language model"])
    plan = recipe.layout.plan(store.train, store.vocab, 0, 0)
    row = plan.row(plan.order[:400])
    hidden = np.diff(recipe.corruption.select(row, Draw(0)))[:, 0] / row.text[row.text > 1]
    assert abs(hidden.mean() - 0.5) < 0.05 and hidden.min() < 0.1 and hidden.max() > 0.9
    row, _, batch = batch_of(t5(tiny, store, corruption=OBJECTIVES["deshuffling"]), store)
    for first, last in zip(row.offsets[:-1], row.offsets[1:], strict=True):
        read, text = batch.input.tokens[first:last], row.original[first:last]
        assert sorted(read) == sorted(text) and not np.array_equal(read, text) and read[-1] == text[-1]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_of_the_study_is_a_value_with_exact_counts(name, tiny, store):
    recipe = t5(tiny, store, architecture=name)
    torch.manual_seed(0)
    member = build(recipe)
    assert sum(p.numel() for p in member.parameters()) == parameters(recipe)
    (loss,) = member(batch_of(recipe, store)[2].to("cpu")).values()
    loss.backward()
    assert torch.isfinite(loss)


def test_a_shared_decoder_adds_what_reads_the_source_alone(tiny, store):
    whole, shared = (parameters(t5(tiny, store, architecture=name)) for name in ("encoder-decoder", "shared"))
    model = t5(tiny, store).model
    _, decoder = model.topology.sides(model)
    assert whole - shared == stack_parameters(decoder) - model.vocab * model.width
    with pytest.raises(InputError, match="the decoder's are the encoder's"):
        replace(model, topology=EncoderDecoder(stacks="one", layers=model.layers + 1))


@pytest.mark.parametrize("sees", ["prefix", "causal"])
def test_in_one_stream_a_target_sees_the_input_and_itself_up_to_each_token(sees, tiny, store):
    name = "prefix language model" if sees == "prefix" else "language model"
    recipe = t5(tiny, store, architecture=name)
    row, _, batch = batch_of(recipe, store, 2)
    two = recipe.corruption.rewrite.of(row, recipe.corruption.select(row, Draw(0)), store.vocab, Draw(0))
    assert np.array_equal(batch.targets["token"].labels, two.targets["token"].labels)
    torch.manual_seed(0)
    model, stream = build(recipe).model.eval(), batch.to("cpu").input
    read, length = two.input.lengths[0], batch.input.lengths[0]
    with torch.no_grad():
        clean = model(stream)
        for place in (0, read - 1, read, length - 1):
            tokens = stream.tokens.clone()
            tokens[place] = (tokens[place] + 1) % store.vocab.size
            moved = (model(replace(stream, tokens=tokens)) != clean).any(-1)
            first = 0 if sees == "prefix" and place < read else place
            assert not moved[:first].any() and not moved[length:].any() and moved[first:length].all()


def test_a_share_of_the_corpus_is_read_again_and_again(tiny, store):
    recipe = override(tiny("t5"), ["training.corpus=0.1"]).with_vocab(store.vocab)
    feed, whole = Text.of(recipe, store, 0), Text.of(tiny("t5"), store, 0)
    epochs = [set(feed.epoch(number).order.tolist()) for number in range(3)]
    count = len(whole.epoch(0).order)
    assert epochs[0] == epochs[1] == epochs[2] == set(range(round(0.1 * count)))
    steps = iter(Loader(feed))
    seen = [pair for _ in range(60) for batch in next(steps).batches for pair in batch.examples]
    assert {example for _, example in seen} <= epochs[0] and len({epoch for epoch, _ in seen}) > 1
    with pytest.raises(InputError, match=r"training\.corpus: 1\.5 is not a share"):
        override(tiny("t5"), ["training.corpus=1.5"])
    columns = override(tiny("transformer-xl"), ["training.corpus=0.5"]).with_vocab(store.vocab)
    with pytest.raises(InputError, match=r"training\.corpus: 0\.5: sequences that go on"):
        Text.of(columns, store, 0).epoch(0)
