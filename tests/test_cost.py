"""What `plan` reckons against what is so."""

import json

import pytest
import torch

from bertsmith import cli
from bertsmith.errors import InputError
from bertsmith.nn.member import parameters
from bertsmith.training import cost
from bertsmith.training.checkpoint import size_estimate


def products(recipe, tokens, asked):
    """Operations of the large products of an update, counted by hand: 2 forward and 4 backward per weight and row that needs it."""
    model, length = recipe.model, recipe.layout.length
    rows = tokens
    per_row = 4 * model.width**2 + 2 * model.width * model.hidden
    full = 6 * (model.layers - 1) * per_row * rows + 12 * (model.layers - 1) * model.width * length * rows
    keys = 6 * 2 * model.width**2 * rows
    return full + keys + 6 * asked * (model.vocab * model.width)


def test_operations_are_those_of_the_products(tiny, store):
    recipe = tiny("roberta", "model.layers=6", "training.batch=2048").with_vocab(store.vocab.size)
    found = cost.estimate(recipe, store, threads=1)
    least = products(recipe, 2048, int(0.15 * 2048))
    assert (
        least < found.flops < 2 * least
    )  # products by hand leave out the last layer's read rows, the head's transform and filler


def test_layers_tokens_and_passes_follow_a_line(tiny, store):
    def of(*settings):
        return cost.estimate(tiny("bert", *settings), store, threads=1)

    two, eight = of("model.layers=2"), of("model.layers=8")
    assert eight.parameters == parameters(tiny("bert", "model.layers=8").with_vocab(store.vocab.size))
    assert eight.flops > 2 * two.flops and eight.activations > two.activations and eight.seconds >= two.seconds
    wide = of("model.layers=2", "training.batch=2048")
    assert wide.flops == pytest.approx(4 * two.flops, rel=0.3)
    halves = of("model.layers=2", "training.batch=2048", "training.accumulate=2")
    assert halves.flops == pytest.approx(wide.flops, rel=0.3) and halves.activations < wide.activations
    assert two.disk == size_estimate(two.parameters) * 3
    assert two.run(10 * two.tokens)["updates"] == 10


def test_the_peak_of_a_pass_is_that_of_the_operations():
    """A head of 30,522 logits in float32: kept once by the loss, made once more and again in its backward pass."""
    from bertsmith.nn.member import build
    from bertsmith.recipe import find
    from bertsmith.training.precision import Precision

    recipe = find("bert:tiny")
    member = build(recipe)
    batch = cost._batch(recipe, None, 1024)
    asked = -(-len(batch.targets["token"]) // 64) * 64
    logits, precise = asked * recipe.model.vocab * 4, Precision.choose("float32", torch.device("cpu"))
    first = cost._held(member, batch, precise)
    assert 3 * logits < first < 4.5 * logits
    assert cost._held(member, batch, precise) == pytest.approx(
        first, rel=1e-3
    )  # gradients that stand already do not count


@pytest.mark.parametrize("name", ["xlnet", "transformer-xl"])
def test_members_that_read_columns_are_probed_with_as_many_as_fit(tiny, store, name):
    found = cost.estimate(tiny(name, "training.batch=1024", "model.layers=1"), store, threads=1)
    assert found.seconds > 0 and found.flops > 1024 * 6 * 32 * store.vocab.size / 10


def test_storages_count_while_they_live():
    with cost._Live(set()) as live:
        x = torch.ones(1000)
        y = x.view(10, 100) + 1
        del x
        (y * 2).sum()
    assert live.now == 4000 and live.most == 4000 + 4000 + 4


def test_a_named_gpu_is_reckoned_by_its_peak(tiny):
    recipe = tiny("bert", "training.batch=4096")
    found = cost.estimate(recipe, threads=1, gpu="h100")
    assert found.seconds == pytest.approx(found.flops / (0.4 * 989e12))
    with pytest.raises(InputError, match="on='h10': unknown; did you mean 'h100'"):
        cost.estimate(recipe, gpu="h10")


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    return ended.value.code or 0


def test_plan_on_the_command_line(capsys):
    settings = ["--set", "model.layers=1", "--set", "training.batch=512", "--threads", "1"]
    assert run("plan", "bert:tiny", *settings, "--steps", "10", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parameters"] > 4_000_000 and found["run"]["updates"] == 10
    assert run("plan", "bert:tiny", *settings, "--on", "v100") == 0
    assert "v100 at 40% of its peak" in capsys.readouterr().out


def test_a_gpu_has_done_what_it_was_asked_when_the_clock_is_read(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    cost._clock(torch.device("cpu"))
    assert waited == []
    cost._clock(torch.device("cuda", 0))
    assert waited == [torch.device("cuda", 0)]
