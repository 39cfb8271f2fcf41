"""ELECTRA's objective: what the generator writes, what the model is asked about it, and where gradients go."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.corpora import VOCAB, random_shape, split_of

from bertsmith.config import override
from bertsmith.data.batch import IGNORE, Target
from bertsmith.data.draw import Draw
from bertsmith.errors import InputError
from bertsmith.nn.member import build
from bertsmith.objectives.modules.replaced import CopyTerm, auc, sample
from bertsmith.objectives.replaced import Detect, ReplacedTokens
from bertsmith.recipe import find

SMALL = ["model.width=32", "model.hidden=64", "model.heads=2", "layout.length=64"]
CORPUS = split_of(random_shape(60, 10, 10), numbered=False)


def recipe_of(name="electra", *sets):
    return override(find(f"{name}:tiny"), [*SMALL, *sets]).with_vocab(VOCAB.size)


def batch_of(recipe, sequences=40):
    plan = recipe.layout.plan(CORPUS, VOCAB, 0, 0)
    row = plan.row(plan.order[:sequences])
    return row, recipe.corruption(row, VOCAB, Draw(0)).to("cpu")


def member_of(recipe, seed=0):
    torch.manual_seed(seed)
    return build(recipe).eval()


@pytest.mark.parametrize("name", ["electra", "electra-15", "electra-replace", "electra-all-tokens"])
def test_the_model_reads_the_text_but_for_what_was_sampled(name):
    recipe = recipe_of(name)
    member, (row, batch) = member_of(recipe), batch_of(recipe)
    objective, token = member.objective, batch.targets["token"]
    written = objective.written(batch, objective.guesses(batch, token))
    clean, at = torch.from_numpy(row.tokens.astype(np.int64)), token.at[:, 0]
    elsewhere = torch.ones(len(clean), dtype=torch.bool)
    elsewhere[at] = False
    assert torch.equal(written.input.tokens[elsewhere], clean[elsewhere])
    assert (
        written.input.tokens[at] != VOCAB.mask
    ).float().mean() > 0.99  # of an untrained generator one in a thousand is [MASK]
    (target,) = written.targets.values()
    asked = at if recipe.corruption.rewrite.judged == "asked" else torch.arange(len(clean))
    assert torch.equal(target.at[:, 0], asked)
    if isinstance(objective.head, Detect):
        assert torch.equal(target.labels, (written.input.tokens != clean).long()[asked])
    else:
        assert torch.equal(target.labels, clean[asked])


def test_a_lucky_guess_is_real():
    """A generator that knows the answers replaces nothing: every label is 0, though 15 % were asked and sampled."""
    recipe = recipe_of()
    member, (row, batch) = member_of(recipe), batch_of(recipe)
    token = batch.targets["token"]
    sure = F.one_hot(token.labels, VOCAB.size) * 1e4
    written = member.objective.written(batch, sure)
    assert torch.equal(written.input.tokens, torch.from_numpy(row.tokens.astype(np.int64)))
    assert not written.targets["replaced"].labels.any() and len(token) > 0.13 * len(row.tokens)


def test_samples_follow_the_softmax():
    """A chi-squared test of 60,000 samples from ten logits: 27.9 is the 99.9 % point of nine degrees of freedom.

    The released code adds Gumbel noise and takes the largest, which draws from the same distribution.
    """
    torch.manual_seed(0)
    logits = torch.randn(10) * 2
    draws = torch.from_numpy(np.random.default_rng(0).random(60_000))
    expected = len(draws) * logits.softmax(0)
    gumbel = -torch.log(-torch.log(torch.rand(60_000, 10).clamp(1e-9)))
    for found in (sample(logits.expand(60_000, -1), draws), (logits + gumbel).argmax(1)):
        counts = torch.bincount(found, minlength=10)
        assert ((counts - expected) ** 2 / expected).sum() < 27.9
    edges = sample(logits.expand(3, -1), torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64))
    assert edges[0] == 0 and edges[2] == 9


def test_masks_and_places_are_those_of_the_released_rule():
    """85 % of the asked tokens are hidden from the generator, none is random; every ordinary place is as likely (binomial 4 sigma,
    and a chi-squared test over the tenths of a sequence: 27.9 is the 99.9 % point of nine degrees of freedom)."""
    recipe = recipe_of("electra", "layout.short=0", "layout.single=0")
    row, batch = batch_of(recipe, 100_000)
    at, labels = batch.targets["token"].at[:, 0], batch.targets["token"].labels
    read = batch.input.tokens[at]
    masked = (read == VOCAB.mask).double().mean()
    assert abs(masked - 0.85) < 4 * math.sqrt(0.85 * 0.15 / len(at))
    assert ((read == VOCAB.mask) | (read == labels)).all()
    rank = np.cumsum(~row.special) - 1 - (np.cumsum(~row.special) - ~row.special)[row.offsets[:-1]][row.sequence]
    ordinary = np.bincount(row.sequence[~row.special], minlength=len(row.lengths))
    tenth = (10 * rank / ordinary[row.sequence]).astype(int)
    there, asked = (np.bincount(tenth[places], minlength=10) for places in (np.flatnonzero(~row.special), at.numpy()))
    expected = there * len(at) / there.sum()
    assert ((asked - expected) ** 2 / expected).sum() < 27.9


def test_the_share_of_replaced_tokens_is_what_the_generator_gets_wrong():
    """rate x (1 - the mean probability that the generator gives to the truth), by 4 sigma."""
    recipe = recipe_of()
    member, (_, batch) = member_of(recipe), batch_of(recipe, 100_000)
    objective, token = member.objective, batch.targets["token"]
    with torch.no_grad():
        guesses = objective.guesses(batch, token)
        guesses[torch.arange(len(token)), token.labels] += 6.0  # a generator that is right about three times in ten
        right = guesses.softmax(1).gather(1, token.labels[:, None]).double()
        share = objective.written(batch, guesses).targets["replaced"].labels.double().sum() / len(token)
    assert 0.1 < right.mean() < 0.9
    assert abs(share - (1 - right.mean())) < 4 * math.sqrt((right * (1 - right)).mean() / len(token))


def test_nothing_flows_back_through_a_guess_and_shared_tables_learn_from_both():
    recipe = recipe_of()
    member, (_, batch) = member_of(recipe), batch_of(recipe)
    sums = member(batch)
    own = [p for n, p in member.named_parameters() if n.startswith(("objective.generator.", "objective.token."))]
    table = member.model.tokens.weight
    assert own and all(
        g is None for g in torch.autograd.grad(sums["replaced"], own, retain_graph=True, allow_unused=True)
    )
    from_judge, from_guess = (torch.autograd.grad(sums[t], table, retain_graph=True)[0] for t in ("replaced", "token"))
    assert from_judge.abs().sum() > 0 and from_guess.abs().sum() > 0
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(sums["token"], own))


def test_an_untrained_judge_knows_nothing_and_weighs_fifty():
    recipe = recipe_of()
    member, (_, batch) = member_of(recipe), batch_of(recipe)
    assert member.weights() == {"token": 1.0, "replaced": 50.0}
    assert member(batch)["replaced"].item() / len(batch.targets["replaced"]) == pytest.approx(math.log(2), abs=0.02)


def test_scores_tell_replaced_tokens_and_the_area_under_the_curve():
    recipe = recipe_of()
    member, (_, batch) = member_of(recipe), batch_of(recipe)
    found = member.scores(batch)
    assert found.keys() == {"token", "replaced"} and found["replaced"]["count"] == batch.tokens
    assert 0.12 < found["replaced"]["replaced"] / batch.tokens < 0.16
    assert 0.4 < found["replaced"]["auc"] / batch.tokens < 0.6


def test_the_area_under_the_curve_is_the_share_of_pairs_in_order():
    scores, positive = torch.tensor([0.1, 0.4, 0.35, 0.8, 0.4]), torch.tensor([False, False, True, True, True])
    pairs = [(1.0 if a > b else 0.5 if a == b else 0.0) for a in scores[positive] for b in scores[~positive]]
    assert auc(scores, positive) == pytest.approx(sum(pairs) / len(pairs))
    assert auc(scores, torch.zeros(5, dtype=torch.bool)) == 0.5


@pytest.mark.parametrize("share", ["none", "embeddings", "all"])
def test_what_is_shared_is_one_tensor(share):
    sets = [f"objective.share={share}", *(["objective.generator=1"] if share == "all" else [])]
    recipe = recipe_of("electra", *(sets[::-1]))
    member = member_of(recipe)
    tables = [{id(p) for p in part.parameters()} for part in (member.model, member.objective.generator)]
    common = {id(p) for p in (*member.model.embeddings.parameters(), *member.model.positions.parameters())}
    assert tables[0] & tables[1] == {"none": set(), "embeddings": common, "all": tables[0]}[share]
    _, batch = batch_of(recipe)
    assert set(member(batch)) == {"token", "replaced"}


def test_a_generator_that_is_the_model_has_its_size():
    with pytest.raises(InputError, match=r"objective\.generator: 0\.25"):
        ReplacedTokens(share="all")


def test_a_generator_has_its_models_table():
    with pytest.raises(InputError, match=r"model\.embeddings: .* not Asking ones"):
        ReplacedTokens().generator_of(find("xlnet:tiny").model)


def test_generators_have_the_released_sizes():
    for size, shape in {"small": (64, 1, 256, 12), "base": (256, 4, 1024, 12), "large": (256, 4, 1024, 24)}.items():
        recipe = find(f"electra:{size}")
        generator = recipe.objective.generator_of(recipe.model)
        assert (generator.width, generator.heads, generator.hidden, generator.layers) == shape
        assert generator.embeddings.width == recipe.model.inner


def test_a_question_without_answer_and_without_draw_writes_nothing():
    """What other processes ask and this one does not: losses are exactly 0."""
    recipe = recipe_of()
    member, (_, batch) = member_of(recipe), batch_of(recipe, 2)
    blank = Target(at=torch.zeros(1, 4, dtype=torch.long), labels=torch.full((1,), IGNORE))
    empty = dataclasses.replace(batch, targets={"token": blank, "replaced": blank})
    assert torch.equal(member.objective.written(empty, torch.zeros(1, VOCAB.size)).input.tokens, batch.input.tokens)
    for asked in (empty, dataclasses.replace(batch, targets={})):
        assert {name: value.item() for name, value in member(asked).items()} == {"token": 0.0, "replaced": 0.0}


def test_the_copy_gate_mixes_two_distributions():
    recipe = recipe_of("electra-all-tokens")
    member = member_of(recipe)
    head, hidden, read = member.objective.restored, torch.randn(7, 32), torch.arange(7) + 5
    assert isinstance(head, CopyTerm)
    with torch.no_grad():
        share, words = torch.sigmoid(head.gate(hidden)), head.logits(hidden, member.model).softmax(1)
        mixed = head.mixed(hidden, member.model, read).exp()
    assert torch.allclose(mixed, share * F.one_hot(read, VOCAB.size) + (1 - share) * words, atol=1e-6)
    assert torch.allclose(mixed.sum(1), torch.ones(7), atol=1e-5)
