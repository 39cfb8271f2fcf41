"""What `plan` reckons against what is so."""

import json
import re

import pytest
import torch

from bertsmith import cli
from bertsmith.config import override
from bertsmith.errors import InputError
from bertsmith.nn.member import parameters
from bertsmith.recipe import find
from bertsmith.training import cost, machine
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
    assert (
        eight.flops > 2 * two.flops and eight.activations > two.activations and eight.seconds >= 0.7 * two.seconds
    )  # of a busy machine
    wide = of("model.layers=2", "training.batch=2048")
    assert wide.flops == pytest.approx(4 * two.flops, rel=0.3)
    halves = of("model.layers=2", "training.batch=2048", "training.accumulate=2")
    assert halves.flops == pytest.approx(wide.flops, rel=0.3) and halves.activations < wide.activations
    assert two.disk == size_estimate(two.parameters) * 3
    assert two.run(10 * two.tokens)["updates"] == 10


def test_the_peak_of_a_pass_is_that_of_the_operations(monkeypatch):
    """A head of 30,522 logits in float32: kept once for the backward pass of the loss, and its gradient; the loss itself works on some rows at a time."""
    from bertsmith.nn.member import build
    from bertsmith.training.precision import Precision

    recipe = find("bert:tiny")
    member = build(recipe)
    batch = cost._batch(recipe, None, 1024)
    asked = -(-len(batch.targets["token"]) // 64) * 64
    logits, precise = asked * recipe.model.vocab * 4, Precision.choose("float32", torch.device("cpu"))
    first, operations = cost._held(member, batch, precise)
    assert 2 * logits < first < 4 * logits and operations > 6 * asked * member.model.config.vocab
    monkeypatch.setattr(cost, "PRODUCTS", {})  # whether products are computed changes nothing of what is held
    again, counted = cost._held(member, batch, precise)
    assert again == pytest.approx(first, rel=1e-3) and counted == operations


@pytest.mark.parametrize("name", ["xlnet", "transformer-xl"])
def test_members_that_read_columns_are_probed_with_as_many_as_fit(tiny, store, name):
    found = cost.estimate(tiny(name, "training.batch=1024", "model.layers=1"), store, threads=1)
    assert found.seconds > 0 and found.flops > 1024 * 6 * 32 * store.vocab.size / 10


def test_gradients_of_few_rows_of_a_table_are_counted_by_what_they_hold(store):
    recipe = override(find("word2vec:tiny"), ["training.batch=1024"])
    found = cost.estimate(recipe, store, threads=1, clock=False)
    assert found.seconds == 0 and found.flops > 0 and found.activations > 4 * 1024 * recipe.model.width


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


def test_memory_above_the_machine_is_said_with_what_would_fit(monkeypatch, capsys):
    def of(memory, activations, **training):
        recipe = override(find("bert:tiny"), [f"training.{name}={value}" for name, value in training.items()])
        made = dict.fromkeys(("parameters", "tokens", "flops", "seconds", "disk"), 1)
        return cost.too_much(recipe, cost.Cost(**made, memory=memory, activations=activations), 2**34, "this machine")

    assert of(2**33, 2**32) == []
    (line,) = of(2**36, 2**35 + 2**34 + 2**33, accumulate=2)  # 8 GiB stay, 56 are to fit into 8
    assert line.startswith(
        "warning: an update needs 64.0 GiB, this machine has 16.0 GiB; set={'training.accumulate': 16} fits "
    )
    assert "alone take 32.0 GiB; a smaller size" in of(2**36, 2**35)[0]
    assert "one row of 128 tokens" in of(2**36, 2**36 - 1, batch=256)[0]
    monkeypatch.setattr(machine, "memory", lambda: 2**20)
    settings = ["--set", "model.layers=1", "--set", "training.batch=512", "--threads", "1"]
    assert run("plan", "bert:tiny", *settings) == 0
    out, error = capsys.readouterr()
    assert out.startswith("measuring an update of bert on this machine") and "this machine has 0.0 GiB" in error


def test_a_probe_that_needs_more_than_is_free_is_not_begun(monkeypatch, capsys):
    monkeypatch.setattr(machine, "free", lambda: 2**26)
    monkeypatch.setattr(cost, "build", lambda recipe: pytest.fail("was built"))
    assert run("plan", "bert:large") == 3
    assert re.search(r"plan: probing bert takes up to \d\.\d GiB, 0\.1 are free; ", capsys.readouterr().err)


def test_what_a_container_may_use_is_its_machine(tmp_path, monkeypatch):
    for name, text in (("max", "3000"), ("current", "2500"), ("stat", "anon 1\ninactive_file 700\n")):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(machine, "GROUPS", (tuple(str(tmp_path / name) for name in ("max", "current", "stat")),))
    assert machine.memory() == 3000 and machine.free() == 1200
    (tmp_path / "max").write_text("max\n")
    monkeypatch.setattr(machine, "MEMINFO", str(tmp_path / "none"))
    assert machine.free() == machine.memory() > 2**30


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
