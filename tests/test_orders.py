"""Pairs read in both orders, what is said of them added up (Radford et al. 2018, figure 1: similarity)."""

import json

import numpy as np
import pytest
import torch
from tests.runs import Breaking, small

import bertsmith
from bertsmith.errors import InputError
from bertsmith.training.pretraining import pretrain

pytestmark = pytest.mark.usefixtures("one_thread")
FIRST = [f"the {word} number {i}" for i in range(12) for word in ("list", "class")]
SECOND = [f"a {kind} of a module" for i in range(12) for kind in ("name", "value")][::-1]
NUMBERS = {"text": FIRST, "text2": SECOND, "label": [len(text) / 7 for text in FIRST]}
CLASSES = {**NUMBERS, "label": [text.split()[1] for text in FIRST]}
PAIRS, TURNED = [*zip(FIRST[:4], SECOND[:4], strict=True)], [*zip(SECOND[:4], FIRST[:4], strict=True)]


@pytest.fixture(scope="module")
def models(store, tmp_path_factory):
    found = {}
    for name in ("gpt2", "bert"):
        found[name] = tmp_path_factory.mktemp(name) / "run"
        pretrain(small(member=name), store, found[name], steps=3, threads=1)
    return found


def tuned(model, out, *settings, rows=NUMBERS, task="regress", **options):
    dev = {name: [f"{x} there" if name == "text" else x for x in column[:8]] for name, column in rows.items()}
    given = ["batch=8", "dropout=0", "lr=0.003", "precision=float32", "orders=both", *settings]
    options = {"steps": 5, "threads": 1, **options}
    return bertsmith.finetune(model, task=task, train=rows, dev=dev, out=out, set=given, **options)


def lines(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("name", "task", "rows", "more"),
    [
        ("gpt2", "regress", NUMBERS, ()),
        ("gpt2", "classify", CLASSES, ()),
        ("bert", "regress", NUMBERS, ()),
        ("bert", "classify", CLASSES, ("pool=mean",)),
    ],
)
def test_which_text_comes_first_changes_nothing(name, task, rows, more, models, tmp_path):
    tuned(models[name], tmp_path / "run", *more, rows=rows, task=task)
    here, there = ([row["scores"] for row in bertsmith.predict(tmp_path / "run", pairs)] for pairs in (PAIRS, TURNED))
    for a, b in zip(here, there, strict=True):
        assert list(a.values()) == pytest.approx(list(b.values()), abs=1e-6)
    assert here[0] != pytest.approx(here[1], abs=1e-6)


def test_the_loss_is_of_the_sum_of_what_is_said_of_both(models, tmp_path):
    from bertsmith.tasks.sequences import encode

    tuned(models["gpt2"], tmp_path / "run", "form=extract", "schedule.lr=1e-9", "batch=24", "auxiliary=0.5", steps=1)
    model = bertsmith.load(tmp_path / "run")
    reading = model.reading(orders="one")
    both = 0
    for texts in ((FIRST, SECOND), (SECOND, FIRST)):
        encoded = encode(model.tokenizer, *texts, reading)
        batch = encoded.batch(np.arange(24)).input.to("cpu")
        at = torch.from_numpy(np.cumsum(encoded.lengths) - 1)
        with torch.no_grad():
            both = both + model.member.objective.logits(model.member.model.eval(), batch, at)[:, 0].double().numpy()
    wanted = (np.array(NUMBERS["label"]) - model.labels.mean) / model.labels.scale
    (line,) = lines(tmp_path / "run")
    assert line["terms"]["label"] == pytest.approx(np.mean((both - wanted) ** 2), rel=1e-4)


def test_passes_do_not_change_it_and_it_goes_on_to_the_bit(models, tmp_path):
    for name, settings in (("one", ()), ("parts", ("accumulate=3",))):
        tuned(models["gpt2"], tmp_path / name, *settings)
    for a, b in zip(lines(tmp_path / "one"), lines(tmp_path / "parts"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
    with pytest.raises(KeyboardInterrupt):
        tuned(models["gpt2"], tmp_path / "broken", "checkpoint=2", progress=Breaking("kill", 3))
    tuned(models["gpt2"], tmp_path / "broken", "checkpoint=2", resume=True)
    assert lines(tmp_path / "broken") == lines(tmp_path / "one")


def test_it_is_for_pairs_by_a_trunk_that_learns_and_stays_here(models, tmp_path):
    alone = {name: column for name, column in NUMBERS.items() if name != "text2"}
    with pytest.raises(InputError, match="orders: both: the training file has no pairs"):
        tuned(models["bert"], tmp_path / "run", rows=alone)
    with pytest.raises(InputError, match="orders: both: is for pairs of texts"):
        tuned(models["bert"], tmp_path / "run", method="frozen")
    tuned(models["bert"], tmp_path / "run")
    assert bertsmith.embed(tmp_path / "run", PAIRS).shape == (4, 16)
    pytest.importorskip("transformers")
    with pytest.raises(InputError, match="reads a pair in both orders"):
        bertsmith.export(tmp_path / "run", tmp_path / "out")
