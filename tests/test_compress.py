"""Smaller models: what each way of making one does to its numbers, and that none is written that loses too much."""

import json
import math
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from tests.runs import lines, small, text

import bertsmith
from bertsmith import cli
from bertsmith.downstream import judges, smaller
from bertsmith.downstream.compress import METHODS
from bertsmith.downstream.judges import latencies, parameters_of
from bertsmith.errors import InputError
from bertsmith.nn.modules.adapters import placed_layers
from bertsmith.nn.modules.compressed import Int8Linear, matrices, rounded
from bertsmith.training.pretraining import pretrain


@pytest.fixture(scope="module")
def tuned(short, tasks, tmp_path_factory, one_thread):
    """A classifier of three layers of four heads, tuned long enough to know something."""
    folder, (kind, train, dev) = tmp_path_factory.mktemp("tuned"), tasks["classify"]
    pretrain(
        small("model.layers=3", "model.heads=4", "training.precision=float32"),
        short,
        folder / "run",
        steps=3,
        threads=1,
    )
    sets = ["batch=8", "lr=0.01", "dropout=0"]
    bertsmith.finetune(
        folder / "run", task=kind, train=train, dev=dev, out=folder / "tuned", epochs=4, set=sets, threads=1
    )
    return folder / "tuned"


@pytest.fixture
def unpeaked(monkeypatch):
    """A process of its own for each model takes seconds."""
    monkeypatch.setattr(judges, "peak", lambda command, members: 0.0)


@pytest.fixture
def model(tuned):
    return bertsmith.load(tuned)


@pytest.fixture(scope="module")
def files(tasks):
    _, train, dev = tasks["classify"]
    return train, dev


def states(loaded):
    with torch.no_grad():
        return loaded.member.model(text())


def test_rows_are_rounded_by_their_own_largest_number():
    torch.manual_seed(0)
    weight = torch.randn(6, 40) * torch.logspace(-3, 2, 6)[:, None]
    weight[3] = 0
    number, scale = rounded(weight)
    back = number * scale[:, None]
    assert ((weight - back).abs() <= scale[:, None] / 2 * (1 + 1e-5)).all()
    assert number.min() >= -127 and (number.abs().amax(1)[[0, 1, 2, 4, 5]] == 127).all() and not number[3].any()
    assert torch.equal(rounded(-weight)[0], -number), "symmetric in sign"
    again, same = rounded(back)
    assert torch.equal(again, number) and torch.allclose(same, scale)


def test_a_product_of_eight_bits_is_exactly_that_of_what_was_rounded():
    torch.manual_seed(0)
    linear = torch.nn.Linear(64, 32)
    made = Int8Linear(linear)
    made.fit(linear.weight)
    x = torch.randn(10, 64)
    x[3] = 0
    number, scale = rounded(x)
    with torch.no_grad():
        exact = torch.nn.functional.linear(
            (number * scale[:, None]).double(), made.weight.double(), linear.bias.double()
        )
        torch.testing.assert_close(made(x).double(), exact, rtol=1e-5, atol=1e-6)
        assert (made(x) - linear(x)).abs().max() < 0.02 * linear(x).abs().max()


def test_int8_takes_a_quarter_and_says_nearly_the_same(model):
    made = smaller.int8(model)
    rows = torch.tensor([0, 7])
    with torch.no_grad():
        torch.testing.assert_close(made.member.model(text(), rows), made.member.model(text())[rows])
    kinds = {
        type(matrix).__name__
        for layer in made.member.model.layers
        for matrix in layer.modules()
        if hasattr(matrix, "number")
    }
    assert kinds == {"Int8Linear"} and type(made.member.model.embeddings.tokens).__name__ == "Int8Embedding"
    one, other = states(model), states(made)
    assert 0 < (one - other).abs().max() < 0.1 * one.abs().max()
    size = lambda loaded: sum(t.numel() * t.element_size() for t in loaded.member.state_dict().values())
    assert size(made) < 0.45 * size(model)  # scales, norms, biases and the head weigh more in so small a model
    assert torch.equal(states(model), one), "the model that it was made of is as it was"


def test_what_a_matrix_loses_by_low_rank_is_its_smallest_singular_values(model):
    made = smaller.low_rank(model, 0.5)
    count = 0
    for name, part in made.member.model.named_modules():
        if hasattr(part, "down") and hasattr(part, "fit"):
            weight = model.member.model.get_submodule(name).weight.detach()
            tail = torch.linalg.svdvals(weight.double())[len(part.down) :]
            apart = (weight - part.weight.detach()).double()
            assert float(torch.linalg.matrix_norm(apart)) == pytest.approx(float(tail.norm()), rel=1e-4)
            assert float(torch.linalg.matrix_norm(apart, 2)) == pytest.approx(float(tail[0]), rel=1e-3)
            assert part.down.numel() + part.up.numel() <= 0.5 * weight.numel()
            count += 1
    assert count == 3 * 4 and parameters_of(made) < parameters_of(model)


def test_numbers_near_zero_go_exactly_as_many_as_asked_and_stay_gone(model, files, unpeaked, tmp_path):
    made = smaller.magnitude(model, 0.6)
    for (_, _, matrix), (_, _, whole) in zip(matrices(made.member.model), matrices(model.member.model), strict=True):
        gone = matrix.weight == 0
        assert int(gone.sum()) == int(0.6 * gone.numel())
        assert whole.weight[gone].abs().max() <= whole.weight[~gone].abs().min()
    train, dev = files
    bertsmith.compress(model, tmp_path / "sparse", method="magnitude", amount=0.6, dev=dev, tolerance=100)
    bertsmith.finetune(
        tmp_path / "sparse", task="classify", train=train, dev=dev, out=tmp_path / "on", epochs=2, threads=1
    )
    learned = bertsmith.load(tmp_path / "on")
    pairs = list(zip(matrices(learned.member.model), matrices(made.member.model), strict=True))
    assert all(torch.equal(a.weight == 0, b.weight == 0) for (_, _, a), (_, _, b) in pairs)
    assert all((a._parameters["weight"][b.hidden] == 0).all() for (_, _, a), (_, _, b) in pairs), "in the file too"
    assert any(not torch.equal(a.weight, b.weight) for (_, _, a), (_, _, b) in pairs)


def test_a_head_that_is_gone_is_one_that_is_masked(model):
    gone = {(0, 1), (0, 3), (2, 0)}
    made, before = smaller.without_heads(model, gone), states(model)
    assert [layer.attention.heads for layer in made.member.model.layers] == [2, 4, 3]
    masks = torch.ones(3, 4)
    for at in gone:
        masks[at] = 0
    with ExitStack() as hooks:
        smaller._masked_heads(model.member.model, masks, hooks)
        masked = states(model)
    torch.testing.assert_close(states(made), masked, rtol=1e-5, atol=1e-6)
    assert torch.equal(states(model), before) and not torch.allclose(masked, before, atol=1e-4)
    assert parameters_of(model) - parameters_of(made) == 3 * 4 * (4 * 16 + 3)


def test_a_layer_that_is_gone_is_one_that_is_masked(model):
    made = smaller.with_layers(model, [0, 2])
    with ExitStack() as hooks:
        smaller._masked_layers(model.member.model, torch.tensor([[1.0], [0.0], [1.0]]), hooks)
        masked = states(model)
    torch.testing.assert_close(states(made), masked, rtol=1e-5, atol=1e-6)
    assert made.recipe.model.layers == 2 and made.recipe.surgery is None, "a model of plain parts, which is exported"


def test_importance_is_the_slope_of_the_loss_in_each_mask(model, files):
    from bertsmith.downstream.judges import judge_of

    (batch, *_) = judge_of(model, None, None, files[0], print).batches()
    found = smaller.head_importance(model, [batch])
    asked = batch.to("cpu")

    def loss(masks):
        with ExitStack() as hooks, torch.no_grad():
            smaller._masked_heads(model.member.model, masks, hooks)
            ((term, total),) = model.member(asked).items()
            return float(total) / len(batch.targets[term])

    for at in ((0, 0), (1, 2), (2, 3)):
        up, down = torch.ones(3, 4), torch.ones(3, 4)
        up[at], down[at] = 1.02, 0.98
        assert abs(loss(up) - loss(down)) / 0.04 == pytest.approx(float(found[at]), rel=0.05, abs=2e-4)
    assert smaller.layer_importance(model, [batch]).shape == (3,)


def test_no_layer_loses_its_last_head():
    importance = torch.tensor([[1.0, 2.0], [5.0, 5.0], [0.0, 0.0]], dtype=torch.double)
    assert smaller.least_heads(importance, 0.5) == {(2, 0), (0, 0), (1, 0)}
    assert len(smaller.least_heads(importance, 0.99)) == 3
    assert smaller.least_heads(torch.arange(1.0, 9.0).view(2, 4), 0.25) == {(0, 0), (0, 1)}


@pytest.mark.parametrize("method", [name for name in METHODS if name != "distil"])
def test_what_is_written_is_a_model_like_any_other(method, tuned, files, tmp_path, capsys, request):
    if method != "int8":
        request.getfixturevalue("unpeaked")
    train, dev = files
    options = ["--train", str(train)] if method.startswith(("prune", "int8-")) else []
    command = ["compress", str(tuned), "--method", method, "--dev", str(dev), *options, "--tolerance", "100"]
    assert cli.run([*command, "--amount", "0.4", "--out", str(tmp_path / "small"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert json.loads((tmp_path / "small" / "compressed.json").read_text()) == {
        k: v for k, v in found.items() if k != "out"
    }
    before, after = found["before"], found["after"]
    assert after["megabytes"] < before["megabytes"] or method == "magnitude"
    assert all(one["memory"] > 100 for one in (before, after)) == (method == "int8")
    assert all(one["latency"]["p95"] >= one["latency"]["p50"] > 0 for one in (before, after))
    assert bertsmith.verify(tmp_path / "small")["kind"] == "run"
    scores = bertsmith.evaluate(tmp_path / "small", dev)
    assert scores[found["score"]]["value"] == pytest.approx(after["score"])
    assert len(bertsmith.predict(tmp_path / "small", dev)) == len(bertsmith.predict(tuned, dev))
    if method != "prune-layers":
        with pytest.raises(InputError, match=r"has .* already; compress the model that it was made of"):
            smaller.int8(bertsmith.load(tmp_path / "small"))


def test_a_model_that_loses_more_than_the_tolerance_leaves_nothing(
    tuned, files, unpeaked, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(judges.OfTask, "lost", lambda judge, before, after: 1.25)
    command = [
        "compress",
        str(tuned),
        "--method",
        "magnitude",
        "--dev",
        str(files[1]),
        "--out",
        str(tmp_path / "small"),
    ]
    assert cli.run([*command, "--tolerance", "1.2"]) == 2
    said = capsys.readouterr()
    assert "not written: magnitude loses 1.25 % of " in said.err and said.err.count("\n") == 1
    assert "--tolerance 1.2 allows 1.2 %; a smaller --amount, another --method, or a higher tolerance" in said.err
    assert "before" in said.out and "after" in said.out and not list(tmp_path.iterdir())
    assert cli.run([*command, "--tolerance", "1.25"]) == 0


def test_what_is_lost_is_a_share_of_what_there_was():
    task = judges.OfTask(loaded=None, kind=None, dev=None, train=None, file=None)
    assert task.lost(0.8, 0.6) == pytest.approx(25) and task.lost(0.8, 0.88) == pytest.approx(-10)
    assert task.lost(-0.1, -0.2) == pytest.approx(100) and task.lost(0.0, 0.1) == 0 and task.lost(0.0, -0.1) == math.inf
    assert judges.OfText(loaded=None, store=None, place=None).lost(2.0, 2.1) == pytest.approx(5)


def test_a_student_of_fewer_layers_learns_from_the_whole_model(tuned, files, unpeaked, tmp_path):
    train, dev = files
    sets = ["batch=8", "lr=0.005", "taught.epochs=1"]
    how = {"train": train, "dev": dev, "amount": 0.34, "epochs": 2, "set": sets, "tolerance": 100}
    found = bertsmith.compress(tuned, tmp_path / "small", method="distil", **how)
    made = bertsmith.load(tmp_path / "small")
    assert made.recipe.model.layers == 2 and found["after"]["parameters"] < found["before"]["parameters"]
    assert made.kind == "finetune" and made.task["teacher"]["models"] == [str(tuned)]
    first, *_, last = lines(tmp_path / "small")
    assert first["terms"]["hidden"] and first["terms"]["soft"] is None and last["terms"]["soft"], "layers come first"
    assert bertsmith.verify(tmp_path / "small")["kind"]


def test_a_model_of_pre_training_is_judged_by_held_out_text(short, unpeaked, tmp_path):
    pretrain(small("model.layers=3", "training.precision=float32"), short, tmp_path / "run", steps=3, threads=1)
    for method in ("int8", "prune-layers", "prune-heads"):
        out = tmp_path / method
        found = bertsmith.compress(tmp_path / "run", out, method=method, data=short.path, tolerance=50, amount=0.34)
        assert found["score"] == "token.loss" and found["lost"] == pytest.approx(
            100 * (found["after"]["score"] / found["before"]["score"] - 1)
        )
        assert bertsmith.fill(out, "a [MASK]")["masks"]
    bertsmith.export(tmp_path / "prune-layers", tmp_path / "hf")
    with pytest.raises(InputError, match="for which transformers has no class"):
        bertsmith.export(tmp_path / "int8", tmp_path / "no")


def test_what_cannot_be_done_is_refused_in_one_line(tuned, pretrained, files, short, tmp_path):
    def refused(why, model=tuned, **options):
        with pytest.raises(InputError, match=why):
            bertsmith.compress(model, tmp_path / "out", **options)
        assert not list(tmp_path.iterdir())

    dev = files[1]
    refused("method='int4': unknown; ", method="int4", dev=dev)
    refused("amount=1.0: the share that goes", method="magnitude", dev=dev, amount=1.0)
    refused("tolerance=-1.0: per cent", method="int8", dev=dev, tolerance=-1.0)
    refused("give dev=FILE, labelled rows", method="int8")
    refused("a student learns from labelled rows, train=FILE", method="distil", dev=dev)
    refused("epochs: method='int8' learns nothing; method='distil' does", method="int8", dev=dev, epochs=2)
    refused("is a fine-tuned model: dev=FILE judges it", method="int8", data=short.path)
    refused("is a pre-training run: data=STORE judges it", method="int8", model=pretrained, dev=dev)


def test_eight_bits_do_not_learn(tuned, files, unpeaked, tmp_path):
    bertsmith.compress(tuned, tmp_path / "int8", method="int8", dev=files[1], tolerance=100)
    with pytest.raises(InputError, match="whole numbers of eight bits, which do not learn; tune"):
        bertsmith.finetune(
            tmp_path / "int8", task="classify", train=files[0], dev=files[1], out=tmp_path / "on", epochs=1
        )


def test_latency_is_that_of_one_text_at_a_time(model):
    stream = text()
    found = latencies((model, model), [(stream, torch.tensor([0, 7]))] * 4)
    assert len(found) == 2 and all(np.isfinite([*one.values()]).all() and one["p50"] > 0 for one in found)


def test_layers_stand_where_they_are_looked_for(model):
    assert len(placed_layers(model.member.model)) == 3 and len(matrices(model.member.model)) == 12
