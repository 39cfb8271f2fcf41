"""The head that reads a pair in several steps (MT-DNN's SAN): probabilities, one step, steps that are left out."""

import pytest
import torch
from tests.runs import small

import bertsmith
from bertsmith.data.batch import Stream
from bertsmith.errors import InputError
from bertsmith.objectives.san import San
from bertsmith.objectives.supervised import Classify, Regress

pytestmark = pytest.mark.usefixtures("one_thread")
SEP, WIDTH = 3, 8


def pairs() -> Stream:
    """Two pairs: [CLS] a a SEP b SEP, and [CLS] a SEP b b b SEP."""
    tokens = torch.tensor([2, 9, 8, SEP, 7, SEP, 2, 6, SEP, 7, 9, 5, SEP])
    zero = torch.zeros_like(tokens)
    places = torch.cat([torch.arange(6), torch.arange(7)])
    return Stream(tokens=tokens, positions=places, segments=zero, query_rank=zero, key_rank=zero, lengths=(6, 7))


def head_of(steps: int, outputs: int = 3, drop: float = 0.5):
    torch.manual_seed(0)
    head = San(steps=steps, drop=drop, sep=SEP).build(WIDTH, outputs, dropout=0.0)
    for p in head.parameters():
        torch.nn.init.normal_(p, std=0.7)
    return head, torch.randn(13, WIDTH)


@pytest.mark.parametrize("training", [False, True])
def test_probabilities_of_a_pair_sum_to_one(training):
    head, hidden = head_of(5)
    said = head.train(training)(hidden, pairs())
    assert said.exp().sum(1).tolist() == pytest.approx([1.0, 1.0], abs=1e-6)
    assert torch.equal(said.softmax(1).log(), said.softmax(1).log()) and torch.allclose(said.softmax(1), said.exp())


def test_one_step_is_one_bilinear_look():
    head, hidden = head_of(1)
    assert head.memory is None
    for row, (first, second) in enumerate(((hidden[:4], hidden[4:6]), (hidden[6:9], hidden[9:]))):
        state = (head.look(second).softmax(0) * second).sum(0)
        read = ((first @ head.lead(state)).softmax(0)[:, None] * first).sum(0)
        logits = head.out(torch.cat([state, read, (state - read).abs(), state * read]))
        assert torch.allclose(head.eval()(hidden, pairs())[row], logits.log_softmax(0), atol=1e-5)


def test_steps_are_left_out_only_while_it_learns_and_one_always_stays():
    head, hidden = head_of(4, drop=0.97)
    said = head.said(hidden, pairs())
    assert torch.equal(head.eval().kept(said), torch.ones(2, 4))
    kept = torch.stack([head.train().kept(said) for _ in range(200)])
    assert int(kept.sum(2).min()) == 1 and kept.mean() < 0.4
    head.eval()
    assert torch.allclose(head(hidden, pairs()), said.softmax(2).mean(1).log(), atol=1e-6), "the mean of probabilities"


def test_a_pair_is_read_alike_beside_others():
    head, hidden = head_of(3)
    whole, stream = head.eval()(hidden, pairs()), pairs()
    alone = Stream(
        **{name: getattr(stream, name)[6:] for name in ("tokens", "positions", "segments", "query_rank", "key_rank")},
        lengths=(7,),
    )
    assert torch.allclose(whole[1:], head(hidden[6:], alone), atol=1e-6)


def test_parameters_of_the_head_are_counted():
    body = small().model
    for steps in (1, 5):
        for objective, outputs in (
            (Classify(classes=3, san=San(steps=steps, sep=SEP)), 3),
            (Regress(san=San(steps=steps, sep=SEP)), 1),
        ):
            made = San(steps=steps, sep=SEP).build(body.width, outputs, 0.1)
            assert objective.parameters(body) == sum(p.numel() for p in made.parameters())


def test_pairs_are_learned_predicted_and_not_exported(pretrained, tasks, tmp_path):
    _, train, dev = tasks["pairs"]
    options = {"train": train, "dev": dev, "epochs": 2, "threads": 1, "on_long": "window"}
    found = bertsmith.finetune(
        pretrained, task="classify", out=tmp_path / "run", set=["head=san", "san.steps=3", "batch=16"], **options
    )
    again = bertsmith.evaluate(tmp_path / "run", dev)
    assert again["accuracy"]["value"] == pytest.approx(found["dev"]["accuracy"]["value"], abs=1e-6)
    scores = bertsmith.predict(tmp_path / "run", dev)[0]["scores"]
    assert sum(scores.values()) == pytest.approx(1)
    pytest.importorskip("transformers")
    with pytest.raises(InputError, match="reads a pair in several steps"):
        bertsmith.export(tmp_path / "run", out=tmp_path / "export")


@pytest.mark.parametrize(
    "task, sets, says",
    [
        ("classify", ["head=san"], "head: san: reads pairs, and the training file has none; columns="),
        ("tag", ["head=san"], "^head: san: task='tag' has linear, lstm, crf, lstm-crf$"),
        ("pairs", ["head=san", "pool=mean"], "reads tokens itself; leave pool=mean out"),
        ("pairs", ["san.steps=2"], "are of head=san"),
        ("pairs", ["head=san", "san.steps=0"], "san.steps: 0 is below 1"),
        ("pairs", ["head=sam"], "head.*'san'.* got 'sam'"),
    ],
)
def test_what_a_san_cannot_read_is_said_in_one_line(pretrained, tasks, tmp_path, task, sets, says):
    kind, train, dev = tasks[task]
    options = {"train": train, "dev": dev, "out": tmp_path / "run", "set": sets, "on_long": "window"}
    with pytest.raises(InputError, match=says):
        bertsmith.finetune(pretrained, task=kind, **options)
    assert not (tmp_path / "run").exists()
