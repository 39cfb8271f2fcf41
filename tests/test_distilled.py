"""A student of pre-training: what it is asked beside the text, what it begins with, and that its teacher is the one it began with."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.runs import SMALL, lines, same, small, text
from tests.test_distributed import alike, job
from tests.test_methods import tiny
from tests.workers import outcome, work

import bertsmith
from bertsmith import cli
from bertsmith.config import override
from bertsmith.data.draw import Draw
from bertsmith.data.loader import Loader
from bertsmith.data.text import Text
from bertsmith.errors import InputError
from bertsmith.nn.member import build, parameters
from bertsmith.nn.modules.attention import heard
from bertsmith.nn.pals import Pals
from bertsmith.nn.prefixes import Prefixes
from bertsmith.objectives.distilled import Distilled, beside, spread
from bertsmith.objectives.modules.distilled import Teacher as Asked
from bertsmith.objectives.modules.distilled import apart
from bertsmith.recipe import find
from bertsmith.training.pretraining import pretrain
from bertsmith.training.run import Run

ALL = [f"objective.{name}=1" for name in Distilled.TERMS]
PLAIN = ["training.precision=float32", "model.dropout=0.0"]


@pytest.fixture(scope="module")
def teacher(store, tmp_path_factory, one_thread):
    """A BERT of four layers, 16 wide."""
    out = tmp_path_factory.mktemp("teacher") / "run"
    pretrain(
        small("model.layers=4", "schedule.lr=2e-2", "training.evaluate=0", *PLAIN), store, out, steps=60, threads=1
    )
    return out


def student(*sets, member="distilbert"):
    return small("model.layers=2", *sets, member=member)


def hung(recipe, of, store):
    """A student in double precision with a teacher of recipe `of`, its own copy where they are alike, and batches."""
    torch.manual_seed(0)
    member = build(recipe).double()
    teacher = build(of).double()
    if of.model == recipe.model:
        teacher.model.load_state_dict(member.model.state_dict())
        teacher.objective.load_state_dict({k: v for k, v in member.objective.state_dict().items() if "led" not in k})
    member.objective.teacher = Asked(teacher)
    return member


def batch_of(recipe, store, sequences=6):
    plan = recipe.layout.plan(store.train, store.vocab, 0, 0)
    return recipe.corruption(plan.row(plan.order[:sequences]), store.vocab, Draw(0)).to("cpu")


@pytest.mark.parametrize("member", ["distilbert", "bert", "spanbert", "longformer", "reformer", "mobilebert"])
def test_a_student_that_is_its_teacher_has_no_loss(member, store):
    plain = small("model.layers=2", *PLAIN, member=member).with_vocab(store.vocab)
    inner = getattr(plain.objective, "objective", plain.objective)
    plain = dataclasses.replace(plain, objective=inner)
    recipe = override(dataclasses.replace(plain, objective=Distilled(objective=inner)), ALL)
    member = hung(recipe, plain, store).eval()
    found = member.objective(member.model, batch_of(recipe, store))
    assert all(abs(found[name].item()) < 1e-9 for name in Distilled.TERMS) and found["token"].item() > 1
    with torch.no_grad():
        for weight in member.model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    found = member.objective(member.model, batch_of(recipe, store))
    assert all(found[name].item() > 1e-3 for name in Distilled.TERMS)


@pytest.mark.parametrize(
    "member", ["bert", "albert", "gpt2", "t5", "longformer", "reformer", "ernie-thu", "prefix", "pal"]
)
def test_every_attention_tells_once_a_layer_what_its_tokens_are_given(member):
    surgery = {"prefix": Prefixes(length=3), "pal": Pals()}.get(member)
    torch.manual_seed(0)
    body = build(tiny("bert" if surgery else member, surgery)).model.eval()
    body, stream = getattr(body, "encoder", body), text()
    with heard() as told:
        states = body.states(stream)
    assert len(told) == len(states) - 1 == 2
    rows = torch.arange(7)[None]
    for q, k, v, sees in told:
        assert len(q) == len(k) == len(v) == len(stream.tokens)
        assert sees(rows[:, None, :, None], rows[:, None, None, :]).any(-1).all()


def test_places_that_a_window_hides_are_not_compared():
    body = build(override(tiny("longformer"), ["model.attention.window=2"])).model.eval()
    with heard() as told:
        body.states(text())
    rows = torch.arange(7)[None]
    seen = told[0].sees(rows[:, None, :, None], rows[:, None, None, :])[0, 0]
    assert torch.equal(seen, (rows.T - rows).abs() <= 2)


def test_each_term_is_what_it_says():
    """By hand, over one sequence and two heads."""
    torch.manual_seed(0)
    a, b = torch.randn(5, 7, dtype=torch.double), torch.randn(5, 7, dtype=torch.double)
    p, q = (b / 2).softmax(-1), (a / 2).softmax(-1)
    assert torch.allclose(apart(a, b, 2.0), 4 * (p * (p / q).log()).sum(-1))


def test_gradients_stay_of_one_size_as_the_temperature_rises():
    torch.manual_seed(0)
    theirs, sizes = torch.randn(20, 30, dtype=torch.double), []
    for temperature in (50.0, 100.0, 200.0):
        mine = torch.zeros(20, 30, dtype=torch.double, requires_grad=True)
        apart(mine, theirs, temperature).sum().backward()
        sizes.append(float(mine.grad.norm()))
    assert max(sizes) / min(sizes) < 1.02


def test_layers_are_those_of_the_papers():
    assert spread(6, 12) == [0, 2, 4, 7, 9, 11] and spread(2, 4) == [0, 3] and spread(1, 4) == [0]
    assert beside(4, 12) == [0, 3, 6, 9, 12] and beside(2, 2) == [0, 1, 2] and beside(3, 4) == [0, 1, 3, 4]


def test_sizes_are_the_published_ones():
    distil = find("distilbert:base")
    assert distil.model.parameters() == 66_362_880 and 0.59 < parameters(distil) / parameters(find("bert:base")) < 0.61
    assert find("tinybert:4").model.parameters() + 313 * 312 == 14_350_248  # with its pooler
    for name in ("distilbert:tiny", "tinybert:tiny"):
        recipe = find(name)
        assert parameters(recipe) == sum(p.numel() for p in build(recipe).parameters())


@pytest.mark.parametrize("sets", [[], ["objective.at=asked"], [*ALL, "objective.cosine=0"]])
def test_accumulation_equals_one_big_batch(sets, store):
    gradients = []
    for accumulate in (1, 3):
        recipe = student(*PLAIN, *sets, f"training.accumulate={accumulate}").with_vocab(store.vocab)
        of = small(
            "model.layers=3", *PLAIN, "model.width=32" if sets == [*ALL, "objective.cosine=0"] else "model.width=16"
        )
        of = of.with_vocab(store.vocab)
        recipe = dataclasses.replace(recipe, objective=recipe.objective.taught_by(of, recipe.model))
        step = next(iter(Loader(Text.of(recipe, store, 0), accumulate=accumulate)))
        assert len(step.batches) == accumulate
        member = hung(recipe, of, store)
        weights = member.objective.weights()
        assert weights.keys() == step.counts.keys() == {"token", *recipe.objective.terms}
        for batch in step.batches:
            sums = member(batch.to("cpu"))
            sum(weights[term] * loss / step.counts[term] for term, loss in sums.items()).backward()
        gradients.append({key: p.grad for key, p in member.named_parameters()})
    assert ("objective.led.weight" in gradients[0]) == (sets == [*ALL, "objective.cosine=0"])
    for key, one in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], one, rtol=1e-6, atol=1e-9)


def test_a_student_learns_what_its_teacher_says(store, teacher, tmp_path):
    sets = [*PLAIN, "schedule.lr=5e-3", "objective.hidden=1", "training.evaluate=30"]
    sets += ["objective.begin=fresh"]
    pretrain(student(*sets), store, tmp_path / "run", steps=30, teacher=teacher, threads=1)
    found = lines(tmp_path / "run")
    for term in ("soft", "cosine", "hidden", "token"):
        first, last = (np.mean([line["terms"][term] for line in part]) for part in (found[:3], found[-3:]))
        assert last < first, term
    assert found[0]["loss"] == pytest.approx(
        sum(w * found[0]["terms"][term] for term, w in (("token", 2), ("soft", 5), ("cosine", 1), ("hidden", 1)))
    )
    assert found[-1]["evaluation"].keys() == {"token", "soft"}
    pretrain(
        student(*PLAIN, "schedule.lr=5e-3", member="tinybert"),
        store,
        tmp_path / "t",
        steps=20,
        teacher=teacher,
        threads=1,
    )
    found = lines(tmp_path / "t")
    assert found[0]["terms"].keys() == {"token", "hidden", "attention"}
    assert all(found[-1]["terms"][term] < found[0]["terms"][term] for term in ("hidden", "attention"))
    minilm = [
        *PLAIN,
        "schedule.lr=5e-3",
        "objective.begin=fresh",
        "objective.own=0",
        "objective.soft=0",
        "objective.cosine=0",
    ]
    minilm += ["objective.relations=1", "objective.split=4", "objective.layer=3", "model.width=32"]
    pretrain(student(*minilm), store, tmp_path / "m", steps=20, teacher=teacher, threads=1)
    found = lines(tmp_path / "m")
    assert found[0]["terms"].keys() == {"token", "relations"} and found[0]["loss"] == found[0]["terms"]["relations"]
    assert found[-1]["terms"]["relations"] < found[0]["terms"]["relations"]


def weights(run):
    return load_file(Run(run).step(Run(run).steps()[-1]) / "model.safetensors")


def test_a_student_begins_with_layers_of_its_teacher(store, teacher, tmp_path):
    said = []
    sets = [*PLAIN, "schedule.lr=1e-12"]
    pretrain(student(*sets), store, tmp_path / "run", steps=1, teacher=teacher, threads=1, say=said.append)
    assert "the student begins with layers 0, 3 of the teacher's 4" in said
    mine, theirs = weights(tmp_path / "run"), weights(teacher)
    for own, of in ((0, 0), (1, 3)):
        name = "model.layers.{}.feedforward.up.weight"
        torch.testing.assert_close(mine[name.format(own)], theirs[name.format(of)], rtol=1e-5, atol=1e-9)
    folded = theirs["model.positions.table.weight"] + theirs["model.embeddings.segments.weight"][0]
    torch.testing.assert_close(mine["model.positions.table.weight"], folded, rtol=1e-5, atol=1e-9)
    assert "objective.token.dense.weight" in mine and not any("teacher" in name for name in mine)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    digest = config["data"]["teacher"]["weights"]
    assert config["from"] == {"teacher": digest, "layers": [0, 3]} and len(digest) == 64
    pretrain(student(*sets, "objective.begin=fresh"), store, tmp_path / "new", steps=1, teacher=teacher, threads=1)
    assert not torch.allclose(weights(tmp_path / "new")[name.format(0)], theirs[name.format(0)], atol=1e-3)


class StopAfter:
    def __init__(self, step):
        self.step = step

    def __call__(self, step, *_):
        if step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("member", ["distilbert", "tinybert", "bert"])
def test_a_run_that_was_resumed_equals_one_that_was_not(member, store, teacher, tmp_path):
    recipe = student("training.checkpoint=3", member=member)
    if member == "bert":
        recipe = small("model.layers=2", "training.checkpoint=3")
    elif member == "tinybert":
        recipe = override(recipe, ["model.width=24"])  # hidden states through a matrix of its own
    pretrain(recipe, store, tmp_path / "straight", steps=8, threads=1, teacher=teacher)
    with pytest.raises(KeyboardInterrupt):
        pretrain(recipe, store, tmp_path / "again", steps=8, threads=1, teacher=teacher, progress=StopAfter(5))
    # The teacher is found where it was.
    pretrain(recipe, store, tmp_path / "again", steps=8, threads=1, resume=True, workers=2)
    same(tmp_path / "straight", tmp_path / "again")
    assert ("objective.led.weight" in weights(tmp_path / "again")) == (member == "tinybert")


def test_a_run_is_not_gone_on_with_by_another_teacher(store, teacher, tmp_path):
    other = tmp_path / "other"
    pretrain(small("model.layers=4", *PLAIN), store, other, steps=2, threads=1)
    with pytest.raises(KeyboardInterrupt):
        pretrain(
            student("training.checkpoint=2"),
            store,
            tmp_path / "run",
            steps=4,
            threads=1,
            teacher=teacher,
            progress=StopAfter(3),
        )
    with pytest.raises(InputError, match=r"resume=True: data\.teacher\.weights: the run was begun with '"):
        pretrain(
            student("training.checkpoint=2"), store, tmp_path / "run", steps=4, threads=1, teacher=other, resume=True
        )
    moved = tmp_path / "moved"
    teacher.rename(moved)
    try:
        with pytest.raises(InputError, match="no such folder"):
            pretrain(student("training.checkpoint=2"), store, tmp_path / "run", steps=4, threads=1, resume=True)
        options = {"steps": 4, "threads": 1, "teacher": moved, "resume": True}
        assert pretrain(student("training.checkpoint=2"), store, tmp_path / "run", **options)["steps"] == 4
    finally:
        moved.rename(teacher)


@pytest.fixture(scope="module")
def two(children, store, teacher, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    sets = ["model.layers=2", "objective.hidden=1", "objective.relations=1", "objective.begin=fresh"]
    options = {"steps": 8, "teacher": str(teacher)}
    jobs = [
        job(store, "one", *sets, member="distilbert", alone=True, options=options),
        job(store, "ddp", *sets, member="distilbert", options=options),
        job(store, "fsdp", *sets, member="distilbert", options={**options, "shard": "fsdp"}),
    ]
    work(children, folder, jobs)
    return folder


@pytest.mark.parametrize("shard", ["ddp", "fsdp"])
def test_two_processes_learn_what_one_does(two, shard):
    for run in ("one", shard):
        assert outcome(two, run)["code"] == 0, outcome(two, run)
    alike(two / "one", two / shard)


def test_without_a_teacher_a_student_learns_from_the_text_and_that_is_said(store, tmp_path):
    said = []
    pretrain(student(*PLAIN), store, tmp_path / "run", steps=2, threads=1, say=said.append)
    assert any("distilbert has no teacher (teacher=MODEL names one)" in line for line in said)
    assert lines(tmp_path / "run")[0]["terms"].keys() == {"token"}


def test_teachers_that_cannot_be_asked_are_refused(store, short, teacher, tmp_path):
    def refused(why, recipe, data=store, of=teacher):
        with pytest.raises(InputError, match=why):
            pretrain(recipe, data, tmp_path / "run", steps=2, threads=1, teacher=of)
        assert not (tmp_path / "run").exists()

    refused("its tokenizer is not the store's; prepare the text again with tokenizer=", student(), short)
    refused("its states are 16 wide and the student's 32, so that cosine compares nothing", student("model.width=32"))
    refused("has 2 heads of attention and the student 1", student("model.heads=1", "objective.attention=1"))
    refused("a student that begins with a teacher's weights has its shapes", student("model.hidden=48"))
    refused("asks nothing of a teacher", student("objective.soft=0", "objective.cosine=0"))
    refused("objective.split: 3 does not divide", student("objective.relations=1", "objective.split=3"))
    refused("ReplacedTokens: a student reads a text once", small(member="electra"))
    refused("one stack without memory each", small(member="xlnet"))
    refused("no such folder", student(), of=tmp_path / "nothing")


def test_from_the_command_line_a_student_has_half_of_its_teachers_layers(store, teacher, tmp_path, capsys):
    sets = [part for one in SMALL[4:] for part in ("--set", one)]
    run = [
        "pretrain",
        "distilbert",
        "--data",
        store.path,
        "--out",
        tmp_path / "run",
        "--steps",
        2,
        "--teacher",
        teacher,
    ]
    assert cli.run([*map(str, run), *sets]) == 0
    assert "begins with layers 0, 3 of the teacher's 4" in capsys.readouterr().out
    model = bertsmith.load(tmp_path / "run")
    assert (model.recipe.model.layers, model.recipe.model.width, model.recipe.model.segments) == (2, 16, 0)
    assert type(model.recipe.objective).__name__ == "Predict"
    assert bertsmith.verify(tmp_path / "run")["kind"] == "run"
    assert bertsmith.fill(model, "a [MASK] of names")["masks"]
    pytest.importorskip("transformers")
    bertsmith.export(model, tmp_path / "hf")
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["architectures"] == ["DistilBertForMaskedLM"]
    assert bertsmith.load(tmp_path / "hf").recipe.name == "distilbert"
    # What goes on from it is a student again, with another teacher or alone.
    pretrain(
        "distilbert", store, tmp_path / "on", steps=2, from_=tmp_path / "run", teacher=teacher, set=SMALL[4:], threads=1
    )
    assert cli.run(["pretrain", "distilbert:tiny", "--data", str(store.path), "--out", str(tmp_path / "x"), "--steps", "2",
                    "--teacher", str(teacher), "--set", "objective.soft=-1"]) == 2  # fmt: skip
    assert "objective.soft: -1.0 is negative" in capsys.readouterr().err
