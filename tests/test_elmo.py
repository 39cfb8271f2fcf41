"""ELMo: words as characters, two language models that never hear of each other, and the mixture of their layers."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from bertsmith.data.bothways import BACKWARD
from bertsmith.data.draw import Draw
from bertsmith.errors import InputError
from bertsmith.nn.characters import Characters
from bertsmith.nn.member import build
from bertsmith.nn.modules.characters import BEGIN, END, FILLER, Highway, spelled
from bertsmith.objectives.modules.bothways import sampled_loss
from bertsmith.objectives.modules.layers import Mix, layered


def batch_of(recipe, store, sequences=3):
    plan = recipe.layout.plan(store.train, store.vocab, 0, 0)
    return recipe.corruption(plan.row(plan.order[:sequences]), store.vocab, Draw(0))


def test_every_token_but_an_edge_is_asked_for_from_both_sides(store, tiny):
    batch = batch_of(tiny("elmo").with_vocab(store.vocab), store)
    tokens, ends = batch.input.tokens, np.cumsum(batch.input.lengths)
    forward, backward = (batch.targets[name] for name in ("token", BACKWARD))
    assert np.array_equal(tokens[forward.at[:, 0] + 1], forward.labels)
    assert np.array_equal(tokens[backward.at[:, 0] - 1], backward.labels)
    assert np.array_equal(np.setdiff1d(np.arange(len(tokens)), forward.at), ends - 1)
    assert np.array_equal(np.setdiff1d(np.arange(len(tokens)), backward.at), ends - batch.input.lengths)


def test_neither_model_says_what_it_has_read(store, tiny):
    recipe = tiny("elmo").with_vocab(store.vocab)
    batch = batch_of(recipe, store).to("cpu")
    torch.manual_seed(0)
    member = build(recipe).eval()
    for name, step in (("token", 1), (BACKWARD, -1)):
        at = batch.targets[name].at[::40, 0]
        clean = member.objective.logits(member.model, batch.input, at, name)
        for number, place in enumerate(at.tolist()):
            tokens = batch.input.tokens.clone()
            tokens[place + step] = (tokens[place + step] + 1) % store.vocab.size
            moved = member.objective.logits(member.model, dataclasses.replace(batch.input, tokens=tokens), at, name)
            assert torch.equal(moved[number], clean[number])


def test_a_stack_that_hears_both_sides_is_refused(store, tiny):
    with pytest.raises(InputError, match=r"model\.directions: each of two language models must know of one side alone"):
        build(tiny("elmo", "model.directions=both").with_vocab(store.vocab))


def test_a_token_is_spelled_by_its_bytes_between_the_ends_of_a_word():
    a, b = spelled(["aé", "##b"], 6)
    assert a.tolist() == [BEGIN, ord("a") + 1, 0xC3 + 1, 0xA9 + 1, END, FILLER]
    assert b.tolist() == [ord("b") + 1, END, *[FILLER] * 4]  # it goes on with a word
    assert spelled(["abcdefgh"], 5)[0].tolist() == [BEGIN, *(ord(c) + 1 for c in "abc"), END]


def test_a_word_is_one_vector_wherever_it_stands_and_words_spelled_alike_are_the_same(store, tiny):
    recipe = tiny("elmo").with_vocab(store.vocab)
    model = build(recipe).model.eval()
    names = store.tokenizer.tokens(range(store.vocab.size))
    model.embeddings.spell([names[8], *names[1:]])  # token 0 is written as token 8
    batch = batch_of(recipe, store).to("cpu").input
    states = model.states(batch)[0]
    token = batch.tokens.mode().values
    rows = states[batch.tokens == token]
    assert len(rows) > 3 and (rows == rows[0]).all()
    both = model.embeddings.vectors(torch.tensor([0, 8, 9]))
    assert torch.equal(both[0], both[1]) and not torch.equal(both[0], both[2])


def test_the_network_of_characters_is_the_papers():
    """Against a plain reading of Peters et al. 2018: largest of every filter anywhere in the word, ReLU, highways, a matrix."""
    part = Characters(size=4, filters=((1, 3), (3, 5)), highways=2, longest=8)

    class Model:
        vocab, width, dropout = 6, 7, 0.0

    made = part.build(Model).eval()
    assert part.parameters(Model) == sum(p.numel() for p in made.parameters())
    made.spell(["abc", "d", "ef", "g", "##h", "ij"])
    with torch.no_grad():
        for token in range(6):
            x = made.symbols.weight[made.spelling[token].long()]  # (8, 4)
            said = []
            for (width, many), convolution in zip(part.filters, made.convolutions, strict=True):
                for f in range(many):
                    kernel = convolution.weight[f].T  # (width, 4)
                    sums = [(x[i : i + width] * kernel).sum() for i in range(8 - width + 1)]
                    said.append(torch.relu(max(sums) + convolution.bias[f]))
            y = torch.stack(said)
            for highway in made.highways:
                carry = torch.sigmoid(highway.gate.weight @ y + highway.gate.bias)
                y = carry * torch.relu(highway.transform.weight @ y + highway.transform.bias) + (1 - carry) * y
            y = made.project.weight @ y + made.project.bias
            torch.testing.assert_close(made.vectors(torch.tensor([token]))[0], y, atol=1e-6, rtol=1e-5)


def test_a_fresh_highway_mostly_lets_through():
    torch.manual_seed(0)
    x = torch.rand(50, 32)
    assert (Highway(32)(x) - x).norm() < 0.3 * x.norm()


def test_a_mixture_of_equal_weights_is_the_mean_of_all_layers_the_words_own_among_them(store, tiny):
    recipe = tiny("elmo").with_vocab(store.vocab)
    model = build(recipe).model.eval()
    batch = batch_of(recipe, store).to("cpu").input
    states = model.states(batch)
    assert [tuple(x.shape) for x in states] == [(len(batch.tokens), 64)] * 3  # 32 in each direction
    mixed = Mix(3)(layered(model, batch, (0, 1, 2)))
    torch.testing.assert_close(mixed, torch.stack(states).mean(0), atol=1e-6, rtol=1e-5)


def test_a_sampled_softmax_estimates_the_whole_one():
    """With many draws its loss is near that of all words; the word itself is never told apart from itself."""
    torch.manual_seed(0)
    vocab, hidden, table = 40, torch.randn(64, 8), torch.randn(40, 8) * 0.5
    labels = torch.randint(0, vocab, (64,))
    whole = torch.nn.functional.cross_entropy(hidden @ table.T, labels, reduction="sum")
    many = torch.stack([sampled_loss(hidden, labels, table, None, 20_000) for _ in range(3)]).mean()
    assert abs(many / whole - 1) < 0.03
    one = sampled_loss(hidden, torch.zeros_like(labels) - 100, table, None, 5)
    assert math.isfinite(one)


def test_sampled_words_are_those_of_training_alone(store, tiny):
    recipe = tiny("elmo", "objective.sampled=16", "model.dropout=0").with_vocab(store.vocab)
    batch = batch_of(recipe, store).to("cpu")
    torch.manual_seed(0)
    member = build(recipe)
    torch.manual_seed(1)
    drawn = member.train()(batch)["token"].item()
    torch.manual_seed(2)
    assert member(batch)["token"].item() != drawn
    whole = member.eval()(batch)["token"].item()
    assert member(batch)["token"].item() == whole > drawn
