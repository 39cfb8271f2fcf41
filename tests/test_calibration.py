"""Probabilities of classes: AUC, calibration, a temperature; losses that are weighed; what else a head reads than [CLS]."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn import metrics as theirs

import bertsmith
from bertsmith.errors import InputError
from bertsmith.objectives.modules.supervised import Weighing
from bertsmith.tasks import calibration, kinds, metrics
from bertsmith.tasks.labels import Labels

pytestmark = pytest.mark.usefixtures("one_thread")
ROWS = [
    {"text": f"the {word} of {chr(97 + i)}", "label": word} for i in range(16) for word in ("list", "class", "list")
]
DEV = [{"text": f"a {word} in {chr(97 + i)}", "label": word} for i in range(20) for word in ("list", "class")]


def tuned(model, out, *settings, task="classify", **options):
    given = ["batch=8", "lr=0.003", "dropout=0", "precision=float32", *settings]
    options = {"train": ROWS, "dev": DEV, "steps": 12, "threads": 1, **options}
    return bertsmith.finetune(model, task=task, out=out, set=given, **options)


def figures(said, truth):
    return {name: float(x[0]) for name, x in calibration.figures(said, truth)(np.ones((1, len(truth)))).items()}


@pytest.mark.parametrize("classes", [2, 4])
def test_auc_is_that_of_scikit_learn(classes):
    draw = np.random.default_rng(0)
    said, truth = np.round(draw.normal(size=(60, classes)), 0), draw.integers(0, classes, 60)
    p = np.exp(metrics.log_softmax(said))
    asked = p[:, 1] if classes == 2 else p
    wanted = theirs.roc_auc_score(truth, asked, multi_class="ovr", average="macro")
    assert figures(said, truth)["auc"] == pytest.approx(wanted)


def test_a_weight_of_two_is_the_text_twice():
    draw = np.random.default_rng(1)
    said, truth, weights = draw.normal(size=(30, 3)), draw.integers(0, 3, 30), draw.integers(0, 3, 30)
    many = np.repeat(np.arange(30), weights)
    found = calibration.figures(said, truth)(weights[None].astype(float))
    assert {k: float(v[0]) for k, v in found.items()} == pytest.approx(figures(said[many], truth[many]))


def test_what_is_sure_of_right_answers_alone_has_no_error_of_calibration():
    truth = np.array([0, 1] * 20)
    assert figures(np.eye(2)[truth] * 100, truth)["ece"] == pytest.approx(0, abs=1e-6)
    assert figures(np.eye(2)[1 - truth] * 100, truth)["ece"] == pytest.approx(1, abs=1e-6)
    assert figures(np.zeros((40, 2)), truth)["ece"] == pytest.approx(0)


def test_a_temperature_makes_the_truth_likeliest():
    draw = np.random.default_rng(2)
    logits = draw.normal(size=(400, 3))
    p = np.exp(metrics.log_softmax(logits))
    truth = np.array([draw.choice(3, p=row) for row in p])
    for factor in (1.0, 3.0):
        found = calibration.temperature(logits * factor, truth)
        assert found == pytest.approx(factor, rel=0.2)
        losses = [metrics.cross_entropy(logits * factor / t, truth) for t in (found, found * 1.05, found / 1.05)]
        assert losses[0] == min(losses)
    assert calibration.temperature(logits[:20], truth[:20]) == 1.0, "too few to choose by"
    assert calibration.temperature(logits * np.nan, truth) == 1.0


def test_the_temperature_stands_in_the_result_changes_no_label_and_is_in_the_export(pretrained, tmp_path):
    result = tuned(pretrained, tmp_path / "run")
    loaded = bertsmith.load(tmp_path / "run")
    assert loaded.labels.temperature == result["temperature"] != 1 and list(result["dev"])[-2:] == ["auc", "ece"]
    assert bertsmith.evaluate(tmp_path / "run", DEV) == result["dev"]
    kind, said = kinds.kind("classify"), np.array([[1.0, 2.0], [3.0, -1.0]])
    cold, warm = (kind.answer(None, said, Labels(names=("a", "b"), temperature=t)) for t in (1.0, 2.0))
    assert [row["label"] for row in cold] == [row["label"] for row in warm] == ["b", "a"]
    assert warm[0]["scores"]["b"] == pytest.approx(1 / (1 + np.exp(-0.5)))
    pytest.importorskip("transformers")
    bertsmith.export(tmp_path / "run", tmp_path / "out")
    here, there = (bertsmith.predict(model, DEV[:4]) for model in (tmp_path / "run", tmp_path / "out"))
    for a, b in zip(here, there, strict=True):
        assert a["label"] == b["label"] and list(a["scores"].values()) == pytest.approx(
            list(b["scores"].values()), abs=1e-6
        )


def test_weighed_losses_are_what_the_papers_say():
    torch.manual_seed(0)
    logits, labels = torch.randn(8, 3), torch.tensor([0, 1, 2, 0, 1, 2, 0, -100])
    each = F.cross_entropy(logits, labels, reduction="none")
    p = logits.softmax(1).gather(1, labels.clamp(min=0)[:, None])[:, 0]
    assert Weighing((), 2.0, 0.0).loss(logits, labels) == pytest.approx(((1 - p) ** 2 * each).sum().item(), rel=1e-5)
    weights = torch.tensor([1.0, 2.0, 3.0])
    wanted = (weights[labels.clamp(min=0)] * each).sum().item()
    assert Weighing((1.0, 2.0, 3.0), 0.0, 0.0).loss(logits, labels).item() == pytest.approx(wanted, rel=1e-5)
    even = 0.9 * each + 0.1 * -logits.log_softmax(1).mean(1)
    assert Weighing((), 0.0, 0.1).loss(logits, labels).item() == pytest.approx(even[:7].sum().item(), rel=1e-5)


def test_balanced_classes_weigh_alike_and_named_ones_as_they_are_told(pretrained, tmp_path):
    tuned(pretrained, tmp_path / "even", "class_weights=balanced", "focal=2.0", "smoothing=0.1", steps=2)
    objective = bertsmith.load(tmp_path / "even").recipe.objective
    assert objective.class_weights == pytest.approx((1.5, 0.75)) and (objective.focal, objective.smoothing) == (
        2.0,
        0.1,
    )
    tuned(pretrained, tmp_path / "told", 'class_weights={"class": 3}', steps=2)
    by_name = bertsmith.load(tmp_path / "told").recipe.objective.class_weights
    tuned(pretrained, tmp_path / "listed", "class_weights=[3, 1]", steps=2)
    assert bertsmith.load(tmp_path / "listed").recipe.objective.class_weights == by_name
    one, other = by_name
    assert one == pytest.approx(3 * other) and (one + 2 * other) / 3 == pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"settings": ['class_weights={"clas": 3}']}, "class_weights: clas: did you mean 'class'"),
        ({"settings": ['class_weights={"class": 0}']}, "class_weights: class: 0 is not a number above 0"),
        ({"settings": ["class_weights=even"]}, "expected dict"),
        ({"settings": ["class_weights=[3, 0]"]}, "class_weights: 1: 0 is not a number above 0"),
        ({"settings": ["class_weights=[3]"]}, "class_weights: 1 for 2 classes, which are in this order: class"),
        ({"settings": ["focal=-1"]}, "focal: -1"),
        (
            {"settings": ["focal=2"], "task": "multilabel"},
            "focal: task='multilabel' has none; task='classify' or 'relation' has",
        ),
        ({"settings": ["pool=attention"], "method": "frozen"}, "pool: attention: reads what a frozen trunk's features"),
        ({"settings": ["pool=concat"], "method": "mix"}, "pool: concat: reads what a frozen trunk's features"),
        (
            {"settings": ["decay=triangle"]},
            "expected 'linear' or 'cosine' or 'inverse' or 'constant' or 'slanted', got 'triangle'",
        ),
    ],
)
def test_weights_that_are_none_are_told(options, says, pretrained, tmp_path):
    settings = options.pop("settings")
    with pytest.raises(InputError) as raised:
        tuned(pretrained, tmp_path / "run", *settings, **options)
    assert says in str(raised.value) and not (tmp_path / "run").exists()


@pytest.mark.parametrize("pool", ["attention", "first-last", "max", "concat"])
def test_a_pool_reads_each_text_by_itself_and_is_the_same_when_it_is_used(pool, pretrained, tmp_path):
    result = tuned(pretrained, tmp_path / "run", f"pool={pool}")
    assert bertsmith.evaluate(tmp_path / "run", DEV) == result["dev"]
    alone = [bertsmith.predict(tmp_path / "run", [row["text"]])[0]["scores"] for row in DEV[:5]]
    for a, row in zip(alone, bertsmith.predict(tmp_path / "run", DEV), strict=False):
        assert a == pytest.approx(row["scores"], abs=1e-5)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["recipe"]["objective"]["pool"] == pool
    loaded = bertsmith.load(tmp_path / "run")
    count = sum(p.numel() for p in loaded.member.objective.parameters())
    assert count == loaded.recipe.objective.parameters(loaded.recipe.model)
    with pytest.raises(InputError, match=rf"pool={pool}\), for which transformers has no class"):
        bertsmith.export(tmp_path / "run", tmp_path / "out")
