"""Classes that have an order: probabilities that are consistent, the median class, kappa, and whose order is known."""

import numpy as np
import pytest
import torch
from sklearn import metrics as theirs

import bertsmith
from bertsmith.errors import InputError
from bertsmith.nn.modules.heads import RankHead
from bertsmith.objectives.modules.supervised import Ordering
from bertsmith.tasks import kinds, metrics
from bertsmith.tasks.given import source
from bertsmith.tasks.ordinal import log_shares, ranks

pytestmark = pytest.mark.usefixtures("one_thread")
KIND = kinds.kind("ordinal")


def rows(n, seed=0, names=("1", "2", "3", "4")):
    """The more often a text says list, the higher its class."""
    draw, found = np.random.default_rng(seed), []
    for i in range(n):
        at = int(draw.integers(len(names)))
        found.append({"text": " ".join(["the class"] + ["list"] * at + ["of", chr(97 + i % 26)]), "label": names[at]})
    return found


def tuned(model, out, *settings, names=("1", "2", "3", "4"), **options):
    given = ["batch=8", "lr=0.01", "dropout=0", "pool=mean", "precision=float32", *settings]
    options = {"train": rows(96, 0, names), "dev": rows(40, 1, names), "steps": 60, "threads": 1, **options}
    return bertsmith.finetune(model, task="ordinal", out=out, set=given, **options)


@pytest.fixture(scope="module")
def run(pretrained, tmp_path_factory):
    out, said = tmp_path_factory.mktemp("ordinal") / "run", []
    return out, tuned(pretrained, out, say=said.append, baseline=True), said


def test_an_order_is_learned_and_chosen_by_kappa(run):
    out, result, said = run
    assert result["chosen_by"] == "quadratic_kappa" and list(result["dev"]) == ["quadratic_kappa", "accuracy", "mae"]
    assert result["dev"]["quadratic_kappa"]["value"] > 0.7 and result["baseline"]["dev"]["mae"]["value"] < 0.3
    assert bertsmith.evaluate(out, rows(40, 1)) == result["dev"]
    assert any(line.endswith("1 < 2 < 3 < 4") for line in said) and len(result["confusion"]) == 4


def test_predictions_are_the_median_class_and_shares_that_add_up(run):
    for row in bertsmith.predict(run[0], [one["text"] for one in rows(12, 2)]):
        each = np.array(list(row["scores"].values()))
        assert each.sum() == pytest.approx(1) and (each > 0).all()
        assert row["label"] == str(1 + int((1 - each.cumsum() > 0.5).sum()))


def test_thresholds_stay_in_order_whatever_is_learned_and_begin_with_the_shares():
    torch.manual_seed(0)
    head = RankHead(4, tuple(np.log([0.1 / 0.9, 0.4 / 0.6, 0.7 / 0.3])))
    for parameter in head.out.parameters():
        torch.nn.init.zeros_(parameter)
    shares = np.exp(log_shares(head(torch.zeros(1, 4)).detach().numpy()))
    assert shares[0] == pytest.approx([0.1, 0.3, 0.3, 0.3], abs=1e-6)
    for _ in range(20):
        torch.nn.init.normal_(head.moved, std=10)
        assert (head.thresholds().diff() >= 0).all()


def test_the_loss_is_the_log_probability_of_the_class_and_has_a_gradient_at_both_ends():
    torch.manual_seed(0)
    loss = Ordering.loss
    logits = (torch.randn(6, 3).cumsum(1).flip(1) - torch.arange(3) * 3).double().float().requires_grad_()
    labels = torch.tensor([0, 1, 2, 3, 0, 3])
    found = loss(None, logits, labels)
    p = torch.sigmoid(logits.detach().double())
    shares = torch.cat([torch.ones(6, 1), p], 1) - torch.cat([p, torch.zeros(6, 1)], 1)
    assert found.item() == pytest.approx(-shares.gather(1, labels[:, None]).log().sum().item(), rel=1e-4)
    assert np.exp(log_shares(logits.detach().numpy())) == pytest.approx(shares.numpy(), abs=1e-6)
    found.backward()
    assert logits.grad.isfinite().all() and logits.grad.abs().sum(1).min() > 0
    assert loss(None, logits.detach(), torch.full((6,), -100)).item() == 0


def test_kappa_is_that_of_scikit_learn_and_0_where_all_is_one_class():
    draw = np.random.default_rng(0)
    true, said = draw.integers(0, 5, 60), draw.integers(0, 5, 60)
    found = {name: float(x[0]) for name, x in metrics.rank_figures(true, said)(np.ones((1, 60))).items()}
    assert found["quadratic_kappa"] == pytest.approx(theirs.cohen_kappa_score(true, said, weights="quadratic"))
    assert found["mae"] == pytest.approx(np.abs(true - said).mean()) and found["accuracy"] == pytest.approx(
        (true == said).mean()
    )
    assert metrics.rank_figures([1] * 4, [1] * 4)(np.ones((1, 4)))["quadratic_kappa"][0] == 0


def test_the_order_is_that_of_numbers_or_of_the_names_that_are_given(pretrained, tmp_path):
    table = lambda labels: KIND.read(source([{"text": "t", "label": x} for x in labels], "train"))
    assert KIND.learn(table(["10", "9", "-1", "2.5"])).names == ("-1", "2.5", "9", "10")
    names = ("low", "mid", "high")
    tuned(pretrained, tmp_path / "run", names=names, labels=names, steps=1)
    assert bertsmith.load(tmp_path / "run").labels.names == names


@pytest.mark.parametrize(
    ("names", "options", "says"),
    [
        (
            ("low", "high"),
            {},
            "' is not a number, and the order of the classes is not known; labels names them all",
        ),
        (("low", "high"), {"labels": ["low", "mid"]}, '"high" is not one of: low, mid'),
        (("5",), {}, "every row says '5'; two classes at least have an order"),
        (tuple(map(str, range(60))), {"train": rows(900, 0, tuple(map(str, range(60))))}, "up to 50 classes"),
    ],
)
def test_what_has_no_order_is_told(names, options, says, pretrained, tmp_path):
    with pytest.raises(InputError) as raised:
        tuned(pretrained, tmp_path / "run", names=names, **options)
    assert says in str(raised.value) and not (tmp_path / "run").exists()


def test_no_class_of_transformers_holds_it(run, tmp_path):
    with pytest.raises(InputError, match="thresholds between classes in an order"):
        bertsmith.export(run[0], tmp_path / "out")
    assert ranks(np.array([[3.0, 1.0, -2.0], [-1.0, -2.0, -3.0]])).tolist() == [2, 0]
