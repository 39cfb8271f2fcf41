"""The loss around tuned weights: what a plane of it shows, where a tuning began, how flat it is where it ended."""

import json
import math
import shutil

import numpy as np
import pytest
import torch

import bertsmith
from bertsmith import cli, files
from bertsmith.downstream import landscape
from bertsmith.downstream.heat import BANDS, Heat, Path, Scale
from bertsmith.downstream.model import load
from bertsmith.downstream.moving import Moving, started
from bertsmith.errors import InputError
from bertsmith.tasks import kinds
from bertsmith.tasks.given import source

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def runs(pretrained, tasks, tmp_path_factory):
    """Fine-tunings of a few updates: with every step kept, from fresh weights, and one that hardly moved."""
    folder, (kind, train, dev) = tmp_path_factory.mktemp("surfaces"), tasks["classify"]
    options = {"task": kind, "train": train, "dev": dev, "threads": 1, "allow_unknown": True}
    sets = ["batch=16", "lr=0.003", "checkpoint=1", "keep=9"]
    bertsmith.finetune(pretrained, out=folder / "tuned", set=sets, steps=4, **options)
    bertsmith.finetune(pretrained, out=folder / "scratch", set=sets[:2], steps=4, scratch=True, **options)
    bertsmith.finetune(pretrained, out=folder / "still", set=["batch=16", "lr=1e-12"], steps=1, **options)
    return folder


@pytest.fixture(scope="module")
def found(runs):
    out = runs / "surface.json"
    return bertsmith.surface(runs / "tuned", runs / "scratch", out=out, rows=24, points=5), out


def toy():
    """A quadratic in two tensors, curved by 7, 1 and 2: loss, gradient, weights at its minimum."""
    at = {"w": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "b": torch.tensor([0.5, -0.5])}
    curvature = {"w": torch.tensor([[7.0, 1.0], [1.0, 1.0]]), "b": torch.tensor([2.0, 2.0])}
    loss = lambda w: sum(float((0.5 * curvature[n] * (w[n] - at[n]) ** 2).sum()) for n in at)
    gradient = lambda w: {n: curvature[n] * (w[n] - at[n]) for n in at}
    return loss, gradient, at


def test_a_quadratic_is_drawn_as_the_ellipse_it_is():
    loss, gradient, at = toy()
    x = {"w": torch.tensor([[1.0, 0.0], [0.0, 0.0]]), "b": torch.zeros(2)}
    y = {"w": torch.tensor([[0.0, 1.0], [0.0, 0.0]]), "b": torch.zeros(2)}
    drawn = landscape.plane(loss, at, x, y, [-1.0, 0.0, 1.0], [0.0, 2.0])
    assert np.allclose(drawn, [[3.5, 0.0, 3.5], [5.5, 2.0, 5.5]])
    assert landscape.plane(loss, at, y, x, [0.0, 2.0], [-1.0, 0.0, 1.0]) == [list(row) for row in zip(*drawn)]
    assert landscape.line(loss, at, x, [0.0, 2.0]) == pytest.approx([0.0, 14.0])
    assert landscape.share_within(drawn, 2.0) == 2 / 6
    assert landscape.sharpest(gradient, at, seed=0) == pytest.approx(7.0, rel=1e-2)
    downwards = lambda w: {name: -x for name, x in gradient(w).items()}
    assert landscape.sharpest(downwards, at, seed=0) == pytest.approx(-7.0, rel=1e-2), "with its sign"


def test_a_place_in_a_plane_whose_axes_lean_is_found_and_how_far_it_is_off():
    _, _, at = toy()
    x = {"w": torch.ones(2, 2), "b": torch.zeros(2)}
    y = {"w": torch.tensor([[1.0, 0.0], [0.0, 0.0]]), "b": torch.ones(2)}
    a, b, off = landscape.place(landscape.moved(at, (0.3, x), (-2.0, y)), at, x, y)
    assert (a, b) == pytest.approx((0.3, -2.0), abs=1e-5) and off < 1e-5
    out = {"w": torch.tensor([[0.0, 1.0], [-1.0, 0.0]]), "b": torch.zeros(2)}  # at right angles to both
    a, b, off = landscape.place(landscape.moved(at, (1.0, x), (math.sqrt(2), out)), at, x, y)
    assert (a, b) == pytest.approx((1.0, 0.0), abs=1e-5) and off == pytest.approx(math.sqrt(0.5), abs=1e-5)
    assert landscape.place(at, at, x, y) == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="one line"):
        landscape.place(at, at, x, {name: 2 * t for name, t in x.items()})


def test_rows_of_a_random_direction_are_as_long_as_those_of_the_weights():
    _, _, at = toy()
    drawn = landscape.filter_normalised(at, seed=1)
    assert torch.allclose(drawn["w"].norm(dim=1), at["w"].norm(dim=1)) and not drawn["b"].any()
    again, other = landscape.filter_normalised(at, seed=1), landscape.filter_normalised(at, seed=1, number=1)
    assert torch.equal(drawn["w"], again["w"]) and not torch.equal(drawn["w"], other["w"])


def test_the_start_of_a_tuning_is_made_again(runs):
    for name, same in (("still", True), ("tuned", False)):
        loaded = load(runs / name)
        start = started(loaded, name)
        tuned = dict(loaded.member.named_parameters())
        assert start.keys() == tuned.keys()
        assert all(torch.allclose(start[n], tuned[n], atol=1e-9) for n in tuned) == same


def test_the_known_losses_stand_where_they_belong(found, runs):
    said, _ = found
    tuned, scratch = said["sides"]
    for side, name in ((tuned, "tuned"), (scratch, "scratch")):
        line = side["line"]
        assert line["at"] == [-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0]
        assert (line["train"][2], line["train"][4]) == (side["loss"]["start"], side["loss"]["tuned"])
        result = json.loads((runs / name / "result.json").read_text())
        at_best = next(epoch["loss"] for epoch in result["epochs"] if epoch["step"] == result["best"])
        assert side["curve"]["dev"][-1][1] == pytest.approx(at_best) and len(side["curve"]["train"]) == 4
        assert side["around"]["loss"][2][2] == pytest.approx(side["loss"]["tuned"], abs=1e-6)
        assert 0 < side["flat"]["0.1"] <= side["flat"]["0.5"] <= 1 and math.isfinite(side["sharpness"])
    plane = said["plane"]
    assert plane["x"] == plane["y"] == [-0.5, 0.0, 0.5, 1.0, 1.5]
    corners = plane["loss"][1][1], plane["loss"][1][3], plane["loss"][3][1]
    assert corners == pytest.approx(
        (tuned["loss"]["start"], tuned["loss"]["tuned"], scratch["loss"]["tuned"]), abs=1e-5
    )
    assert (tuned["scratch"], scratch["scratch"]) == (False, True)


def test_the_path_goes_from_the_start_to_the_tuned_weights(found):
    said, _ = found
    first, second = (path["steps"] for path in said["plane"]["paths"])
    assert [step["step"] for step in first] == [0, 1, 2, 3, 4], "every step that was kept"
    assert (first[0]["x"], first[0]["y"], first[0]["off"]) == (0.0, 0.0, 0.0)
    assert (first[-1]["x"], first[-1]["y"]) == pytest.approx((1.0, 0.0), abs=1e-4)
    assert (second[-1]["x"], second[-1]["y"]) == pytest.approx((0.0, 1.0), abs=1e-4)


def test_dev_losses_of_all_rows_are_those_of_the_tuning(runs):
    said = bertsmith.surface(runs / "tuned", rows=1000, points=5)
    result = json.loads((runs / "tuned" / "result.json").read_text())
    at_best = next(epoch["loss"] for epoch in result["epochs"] if epoch["step"] == result["best"])
    assert said["sides"][0]["line"]["dev"][4] == pytest.approx(at_best, abs=1e-6)
    assert said["plane"]["up"] is None and said["plane"]["y"] == [-1.0, -0.5, 0.0, 0.5, 1.0]


def test_the_same_seed_gives_the_same_bytes_and_leaves_the_model_alone(found, runs, tmp_path):
    model = load(runs / "tuned")
    before = {name: p.clone() for name, p in model.member.named_parameters()}
    bertsmith.surface(model, runs / "scratch", out=tmp_path / "again.json", rows=24, points=5)
    assert all(torch.equal(before[name], p) for name, p in model.member.named_parameters())
    again = json.loads((tmp_path / "again.json").read_text())
    kept = json.loads(found[1].read_text())
    assert {**again, "sides": None, "sha256": None, "plane": None} == {
        **kept,
        "sides": None,
        "sha256": None,
        "plane": None,
    }
    assert [side | {"name": ""} for side in again["sides"]] == [side | {"name": ""} for side in kept["sides"]]
    assert again["plane"]["loss"] == kept["plane"]["loss"]


@pytest.mark.parametrize("name", ["regress", "tag", "qa"])
def test_every_task_that_is_not_written_has_a_slope_that_is_its_losss(name, pretrained, tasks, tmp_path):
    kind, train, dev = tasks[name]
    options = {"train": train, "dev": dev, "threads": 1, "allow_unknown": True, "steps": 1}
    bertsmith.finetune(pretrained, task=kind, out=tmp_path / "run", set=["batch=8", "lr=0.003"], **options)
    loaded = load(tmp_path / "run")
    rows = kinds.kind(kind).read(train).picked(list(range(6)))
    moving = Moving.of(loaded, {"train": rows}, started(loaded, name))
    loss, slope = moving.loss("train"), moving.gradient(moving.tuned)
    step = 1e-2 / landscape.norm(slope)
    ahead, behind = (loss(landscape.moved(moving.tuned, (sign * step, slope))) for sign in (1, -1))
    assert (ahead - behind) / (2 * step) == pytest.approx(landscape.dot(slope, slope), rel=2e-2)


def test_several_labels_orders_and_choices_have_a_surface_too(pretrained, tmp_path):
    texts = [f"the {word} number {i}" for i in range(12) for word in ("list", "tuple")]
    given = {
        "multilabel": {"text": texts, "label": [["a", "b"][: i % 3] for i in range(24)]},
        "ordinal": {"text": texts, "label": [str(i % 3) for i in range(24)]},
        "choice": [{"text": text, "choices": ["one", "two two"], "label": i % 2} for i, text in enumerate(texts)],
    }
    options = {"threads": 1, "allow_unknown": True, "steps": 1, "set": ["batch=8", "lr=0.003"], "dev": 0.25}
    for name, rows in given.items():
        bertsmith.finetune(pretrained, task=name, train=rows, out=tmp_path / name, **options)
        loaded, kind = load(tmp_path / name), kinds.kind(name)
        read = kind.read(source(rows, "train", {}, fields=kind.fields, pair=kind.pair))
        moving = Moving.of(loaded, {"train": read}, started(loaded, name))
        slope, loss = moving.gradient(moving.tuned), moving.loss("train")
        step = 1e-2 / landscape.norm(slope)
        ahead, behind = (loss(landscape.moved(moving.tuned, (sign * step, slope))) for sign in (1, -1))
        assert (ahead - behind) / (2 * step) == pytest.approx(landscape.dot(slope, slope), rel=2e-2), name


def test_what_is_not_a_tuning_of_all_weights_is_refused(pretrained, tasks, tmp_path):
    kind, train, dev = tasks["classify"]
    options = {"threads": 1, "allow_unknown": True, "steps": 1}
    bertsmith.finetune(pretrained, task=kind, train=train, dev=dev, out=tmp_path / "lora", method="lora", **options)
    with pytest.raises(InputError, match="method='lora': a surface is of tunings of all weights"):
        bertsmith.surface(tmp_path / "lora", rows=2, points=5)
    pairs = {"text": [f"list {i}" for i in range(24)], "text2": [f"number {i}" for i in range(24)]}
    bertsmith.finetune(pretrained, task="retrieval", train=pairs, dev=0.25, out=tmp_path / "vectors", **options)
    with pytest.raises(InputError, match="task='retrieval' has no surface; classify, multilabel, ordinal"):
        bertsmith.surface(tmp_path / "vectors", rows=2, points=5)


def test_the_report_draws_it(found, runs, tmp_path):
    page = bertsmith.report([runs / "tuned", found[1]], tmp_path / "page.html").read_text()
    for said in (
        "The loss around tuned weights",
        "around ",
        "the way of tuning",
        "largest curvature",
        'class="heat h0"',
    ):
        assert said in page
    alone = bertsmith.report(found[1], tmp_path / "alone.html").read_text()
    assert "loss by update" in alone and "{{" not in alone and "nan" not in alone.lower().replace("finance", "")


def test_bands_follow_the_heights_and_paths_stay_inside():
    loss = [[0.1, 1.0], [10.0, 100.0]]
    scale = Scale.of(loss)
    assert scale.log and scale.band(0.1) == 0 and scale.band(100.0) == BANDS - 1
    assert scale.height(0.5) == pytest.approx(math.sqrt(10)) and not Scale.of([[1.0, 2.0]]).log
    assert Scale.of([[1.0, 1.0]]).band(1.0) == 0, "a plain"
    path = Path(name="a <b>", places=[(0.0, 0.0), (5.0, 5.0), (1.0, 1.0)], colour=0)
    drawn = Heat(title="t", x=[0.0, 1.0], y=[0.0, 1.0], loss=loss, scale=scale, across="x", up="y", paths=[path]).svg()
    assert drawn.count("<circle") == 2 and "a &lt;b&gt;" in drawn and f"h{BANDS - 1}" in drawn


def test_what_has_no_surface_is_refused_in_one_line(runs, found, pretrained, tasks, tmp_path, capsys):
    (tmp_path / "taken.json").write_text("{}")
    lines = {
        (runs / "tuned", None, "points", 6): "points=6: take 5, 9, 13",
        (runs / "tuned", None, "rows", 0): "rows=0: 1 or more",
        (runs / "tuned", None, "out", tmp_path / "taken.json"): "stands here and is no surface of ours",
        (pretrained, None, "rows", 4): "is no fine-tuning of one task",
        (runs / "none", None, "rows", 4): "no such folder",
    }
    for (model, against, name, value), said in lines.items():
        with pytest.raises(InputError, match=said):
            bertsmith.surface(model, against, **{name: value})
    assert cli.run(["surface", str(pretrained)]) == 2 and capsys.readouterr().err.count("\n") == 1
    with pytest.raises(InputError, match="lie on one line"):
        bertsmith.surface(runs / "tuned", runs / "tuned", rows=2, points=5)
    shutil.copytree(runs / "tuned", tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    for field, value, said in (
        (("from", "weights"), "0" * 64, "the model that it began with is not there any more, or is another one"),
        (("data", "train", "path"), "gone.tsv", "gone.tsv: the training file of .* is not there any more"),
    ):
        changed = json.loads(json.dumps({k: v for k, v in config.items() if k != "sha256"}))
        tree = changed
        for part in field[:-1]:
            tree = tree[part]
        tree[field[-1]] = value
        model = load(runs / "tuned")
        object.__setattr__(model, "config", changed)
        with pytest.raises(InputError, match=said):
            bertsmith.surface(model, rows=2, points=5)


def test_a_newer_file_is_refused_by_the_report(found, tmp_path):
    tree = {key: value for key, value in json.loads(found[1].read_text()).items() if key != "sha256"}
    (tmp_path / "new.json").write_bytes(files.sealed({**tree, "format": 99}))
    with pytest.raises(InputError, match="newer bertsmith"):
        bertsmith.report(tmp_path / "new.json", tmp_path / "page.html")


def test_the_command_says_what_each_side_is(runs, tmp_path, capsys):
    out = tmp_path / "surface.json"
    code = cli.run(["surface", str(runs / "tuned"), "--out", str(out), "--rows", "4", "--points", "5"])
    said = capsys.readouterr().out
    assert code == 0 and out.is_file() and "largest curvature" in said and "of the plane within 0.1" in said
