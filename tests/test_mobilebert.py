"""MobileBERT and its teacher: layers that are thin inside, norms without statistics, tokens by threes, and layers that learn one after another."""

import dataclasses
import itertools
import json

import pytest
import torch
from tests.runs import lines, same, saved, small
from tests.test_distilled import PLAIN, StopAfter, batch_of, hung
from tests.test_distributed import alike, job
from tests.test_parts import causal, drawn
from tests.test_transformer import TINY, stream
from tests.workers import outcome, work

import bertsmith
from bertsmith.config import override
from bertsmith.downstream import smaller
from bertsmith.errors import InputError
from bertsmith.nn.attending import Full
from bertsmith.nn.axial import Axial
from bertsmith.nn.blocks import PreNorm
from bertsmith.nn.bottleneck import Bottleneck, Outside
from bertsmith.nn.feedforward import Stacked
from bertsmith.nn.member import build, parameters
from bertsmith.nn.norms import Affine
from bertsmith.nn.reversible import Reversible
from bertsmith.nn.trigram import Trigram
from bertsmith.objectives.distilled import Distilled
from bertsmith.recipe import LayerByLayer, find
from bertsmith.training.optim import build_optimizer, set_rate
from bertsmith.training.pretraining import pretrain

replace = dataclasses.replace
THIN = replace(
    TINY, embeddings=Trigram(width=4), block=Bottleneck(width=8), norm=Affine(), attention=Outside(), feedforward=Stacked(count=3),
)  # fmt: skip
BODIES = {
    "mobile": THIN,
    "inside": replace(THIN, attention=Full(bias=False)),
    "wide": replace(THIN, block=Bottleneck(width=24), attention=Outside(shared=False), feedforward=TINY.feedforward, norm=TINY.norm),
    "stacked": replace(TINY, block=PreNorm(), feedforward=Stacked(count=2)),
}  # fmt: skip
STAGED = ["schedule.stages.until=6", "schedule.stages.below=0", "schedule.lr=2e-3", *PLAIN]


def student(*sets):
    return small(
        "model.layers=2", "model.embeddings.width=8", "model.block.width=8", *STAGED, *sets, member="mobilebert"
    )


def ib(*sets):
    return small("model.layers=2", "model.embeddings.width=8", "model.block.width=24", *PLAIN, *sets, member="ib-bert")


@pytest.fixture(scope="module")
def teacher(store, tmp_path_factory, one_thread):
    out = tmp_path_factory.mktemp("ib") / "run"
    pretrain(ib("schedule.lr=2e-2", "training.evaluate=0"), store, out, steps=20, threads=1)
    return out


def test_a_norm_without_statistics_is_one_line_for_each_number():
    norm = Affine().build(5).double()
    assert sum(p.numel() for p in norm.parameters()) == Affine().parameters(5) == 10
    with torch.no_grad():
        for weight in norm.parameters():
            weight.add_(torch.randn_like(weight))
    x, y = torch.randn(2, 7, 5, dtype=torch.double)
    torch.testing.assert_close(norm(x), x * norm.weight + norm.bias)
    torch.testing.assert_close(norm(x + y) + norm.bias, norm(x) + norm(y))
    assert torch.equal(norm(x[:1]), norm(x)[:1])  # nothing of a batch is kept
    slopes = torch.autograd.functional.jacobian(norm, x[0])
    torch.testing.assert_close(slopes, torch.diag(norm.weight.detach()))


def test_sizes_are_the_published_ones():
    """transformers' own count of google/mobilebert-uncased without its head; 293 million in table 1 of the paper."""
    assert find("mobilebert:base").model.parameters() == 24_581_888
    assert find("ib-bert:large").model.parameters() == 294_205_184
    for name in ("mobilebert:tiny", "ib-bert:tiny"):
        recipe = find(name)
        assert parameters(recipe) == sum(p.numel() for p in build(recipe).parameters())


@pytest.mark.parametrize("name", BODIES)
def test_reading_some_positions_is_exact_and_parameters_are_counted(name):
    config = BODIES[name]
    built, s = drawn(config), stream()
    assert config.parameters() == sum(p.numel() for p in built.parameters())
    for given in (s, causal(s)):
        everything = built(given)
        for read in ([0], [3, 4, 14, 21], []):
            rows = torch.tensor(read, dtype=torch.long)
            torch.testing.assert_close(built(given, rows), everything[rows])
    assert len(built.states(s, 1)) == 2 and torch.equal(built.states(s, 1)[1], built.states(s)[1])
    assert built.depth_of("layers.1.attention_norm.weight") == 2


def test_a_layer_is_what_the_paper_draws():
    """By hand: queries and keys of the shared narrow states, values of the layer's own, sums inside and one around."""
    config = replace(THIN, layers=1, heads=1)
    built, s = drawn(config), stream((6,))
    layer, x = built.layers[0], built.states(s)[0]
    shared = layer.attention.shared
    narrow = shared.norm(x @ shared.dense.weight.T + shared.dense.bias)
    q, k = (narrow @ layer.attention.qk.weight.T + layer.attention.qk.bias).chunk(2, 1)
    mixed = (q @ k.T / 8**0.5).softmax(-1) @ layer.attention.v(x)
    y = layer.attention_norm(layer.enter(x) + layer.attention.out(mixed))
    for one in layer.feedforward.first:
        y = one.norm(y + one.part.down(torch.nn.functional.gelu(one.part.up(y))))
    y = layer.feedforward_norm(y + layer.feedforward.down(torch.nn.functional.gelu(layer.feedforward.up(y))))
    torch.testing.assert_close(built(s), layer.leave_norm(x + layer.leave(y)))


def test_tokens_stand_by_threes_within_their_sequence_and_what_they_see():
    built, s = drawn(THIN), stream((3, 1, 2))
    table, found = built.embeddings.tokens.weight, built.embeddings.threes(s)
    next_, own, before = found.chunk(3, 1)
    t, none = s.tokens.tolist(), torch.zeros(4, dtype=torch.double)
    assert torch.equal(own, table[s.tokens])
    wanted = [(t[1], None), (t[2], t[0]), (None, t[1]), (None, None), (t[5], None), (None, t[4])]
    for row, (later, sooner) in enumerate(wanted):
        assert torch.equal(next_[row], none if later is None else table[later])
        assert torch.equal(before[row], none if sooner is None else table[sooner])
    left = built.embeddings.threes(causal(s))
    assert not left[:, :4].any() and torch.equal(left[:, 4:], found[:, 4:])  # what comes later is not seen
    assert not built.keeps


@pytest.mark.parametrize("shared", [True, False])
def test_a_head_that_goes_is_a_head_that_says_nothing(shared):
    config = replace(THIN, heads=4, attention=Outside(shared=shared))
    built, s = drawn(config), stream()
    thin = drawn(config, 1)
    thin.load_state_dict(built.state_dict())
    for layer in thin.layers:
        whole = layer.attention
        layer.attention = whole.fewer(3).double()
        layer.attention.keep(whole, torch.tensor([0, 1, 4, 5, 6, 7]))
    with torch.no_grad():
        for layer in built.layers:
            layer.attention.out.weight[:, 2:4] = 0
    torch.testing.assert_close(thin(s), built(s))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: replace(TINY, attention=Outside()), r"Outside reads what is around a bottleneck; PostNorm has none"),
        (lambda: replace(THIN, heads=3), r"heads \(3\) must divide width \(8\)"),
        (lambda: replace(THIN, share="all"), r"model\.share: all: layers with bottlenecks"),
        (lambda: replace(THIN, positions=Axial(rows=4, columns=4)), r"model\.positions: Axial: a bottleneck has heads"),
        (lambda: replace(BODIES["stacked"], topology=Reversible()), r"model\.feedforward: several in a layer"),
        (lambda: Stacked(count=1), r"model\.feedforward\.count: 1 is below 2"),
        (lambda: Bottleneck(width=0), r"model\.block\.width: 0"),
        (lambda: Trigram(width=0), r"model\.embeddings\.width: 0"),
        (lambda: LayerByLayer(until=-1), r"schedule\.stages\.until: -1"),
        (lambda: LayerByLayer(below=2), r"schedule\.stages\.below: 2"),
        (lambda: LayerByLayer(until=3).at(1, 9, 4), r"3 steps for 4 layers, one of each at least"),
    ],
)
def test_parts_that_cannot_be_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_stages_are_of_one_length_and_the_last_is_everybodys():
    stages = LayerByLayer(until=0.5, below=0.1)
    assert stages.ends(24, 4) == [3, 6, 9, 12]
    assert [stages.at(step, 24, 4) for step in (1, 3, 4, 12, 13, 24)] == [1, 1, 2, 4, 0, 0]
    assert [stages.share(depth, 1) for depth in range(6)] == [1, 1, 0, 0, 0, 0]  # the embedding learns with the first
    assert [stages.share(depth, 3) for depth in range(6)] == [0.1, 0.1, 0.1, 1, 0, 0]
    assert [stages.share(depth, 0) for depth in range(6)] == [1] * 6
    assert LayerByLayer(until=6).ends(24, 2) == [3, 6]


def test_what_compares_layers_is_asked_in_their_stages_and_predictions_after_them():
    objective = find("mobilebert:tiny").objective
    assert objective.asked(2) == ("features", "means", "variances", "shares") and objective.asked(0) == ("soft",)
    assert set(objective.asked(None)) == {*objective.asked(2), "soft"}
    alone = find("tinybert:tiny").objective  # which is asked for no prediction
    assert alone.asked(1) == alone.asked(0) == ("hidden", "attention")


@pytest.mark.parametrize("stage", [1, 2, 0])
def test_a_layer_that_is_not_in_its_stage_gets_no_gradient(stage, store):
    recipe, of = student().with_vocab(store.vocab), ib().with_vocab(store.vocab)
    member = hung(recipe, of, store)
    optimizer = build_optimizer(member, recipe.schedule)
    step = {1: 3, 2: 4, 0: 7}[stage]
    set_rate(optimizer, 1.0, step, 20)
    member.objective.stage = recipe.schedule.stages.at(step, 20, 2)
    assert member.objective.stage == stage
    sums = member(batch_of(recipe, store))
    assert sums.keys() == ({"features", "means", "variances", "shares"} if stage else {"token", "pair", "soft"})
    torch.stack([*sums.values()]).sum().backward()
    moved = {name.rpartition(".")[0] for name, p in member.named_parameters() if p.grad is not None and p.grad.any()}
    layers = {int(name.split(".")[2]) + 1 for name in moved if name.startswith("model.layers.")}
    assert layers == ({stage} if stage else {1, 2})
    assert any(name.startswith("model.embeddings") for name in moved) == (stage != 2)
    assert any(name.startswith("objective") for name in moved) == (not stage)
    before = {name: p.detach().clone() for name, p in member.named_parameters()}
    optimizer.step()
    still = {name for name, p in member.named_parameters() if torch.equal(p, before[name])}
    other = {f"model.layers.{number}." for number in range(2) if number + 1 != stage} if stage else set()
    assert all(name in still for name in before if any(name.startswith(layer) for layer in other))


def test_each_term_is_what_it_says(store):
    recipe, of = student().with_vocab(store.vocab), ib().with_vocab(store.vocab)
    member = hung(recipe, of, store)
    batch = batch_of(recipe, store, sequences=1)
    member.objective.stage = 2
    with torch.no_grad():
        found = member(batch)
        mine, theirs = (body.states(batch.input)[2] for body in (member.model, member.objective.teacher.member.model))
    scaled = [(x - x.mean(1, True)) / x.std(1, correction=0, keepdim=True) for x in (mine, theirs)]
    assert found["features"].item() == pytest.approx(
        (scaled[0] - scaled[1]).square().mean(1).sum().item(), rel=1e-6
    )  # but for the eps
    assert found["means"].item() == pytest.approx((mine.mean(1) - theirs.mean(1)).square().sum().item(), rel=1e-9)
    spread = (mine.var(1, correction=0) - theirs.var(1, correction=0)).abs().sum()
    assert found["variances"].item() == pytest.approx(spread.item(), rel=1e-9)
    with bertsmith.nn.modules.attention.watched() as one, torch.no_grad():
        member.model.states(batch.input)
    with bertsmith.nn.modules.attention.watched() as other, torch.no_grad():
        member.objective.teacher.member.model.states(batch.input)
    p, q = other[1][1], one[1][1]
    assert found["shares"].item() == pytest.approx((p * (p / q).log()).sum(-1).mean(1).sum().item(), rel=1e-9)


def test_layers_learn_one_after_another_then_what_the_teacher_says(store, teacher, tmp_path):
    said, run = [], tmp_path / "run"
    sets = ["training.checkpoint=1", "training.keep=20", "training.evaluate=0"]
    pretrain(student(*sets), store, run, steps=9, teacher=teacher, threads=1, say=said.append)
    assert "2 layers one after another, 3 steps each, those below frozen; then all together for 3" in said
    assert "the student begins with the teacher's embedding and heads" in said
    terms = [{name for name, value in line["terms"].items() if value is not None} for line in lines(run)]
    assert terms == [{"features", "means", "variances", "shares"}] * 6 + [{"token", "pair", "soft"}] * 3
    found = [weights_at(run, step) for step in (1, 3, 4, 6, 7)]
    moves = [{part for part in PARTS if moved(a, b, part)} for a, b in itertools.pairwise(found)]
    first, second = {"model.layers.0", "model.embeddings"}, {"model.layers.1"}
    assert moves == [first, second, second, set(PARTS)]
    assert found[0]["objective.token.beside.weight"].equal(weights_at(teacher, 20)["objective.token.beside.weight"])
    model = bertsmith.load(run)
    assert type(model.recipe.objective).__name__ == "Predict" and bertsmith.fill(model, "a [MASK] of names")["masks"]


PARTS = ("model.embeddings", "model.layers.0", "model.layers.1", "objective.token", "objective.pair")


def weights_at(run, step):
    from safetensors.torch import load_file

    return load_file(run / "steps" / f"step-{step:08}" / "model.safetensors")


def moved(a, b, part):
    return any(not a[name].equal(b[name]) for name in a if name.startswith(f"{part}."))


@pytest.mark.parametrize("stage", [1, 2])
def test_a_layer_comes_nearer_to_its_teachers_in_its_stage(stage, store):
    recipe, of = student().with_vocab(store.vocab), ib().with_vocab(store.vocab)
    member, batch = hung(recipe, of, store), batch_of(recipe, store)
    with torch.no_grad():
        for weight in member.objective.teacher.member.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
    optimizer, found, step = build_optimizer(member, recipe.schedule), [], 3 * stage
    for _ in range(12):
        set_rate(optimizer, 1e-2, step, 20)
        member.objective.stage = recipe.schedule.stages.at(step, 20, 2)
        found.append(member(batch))
        optimizer.zero_grad()
        sum(
            weight * found[-1][term] for term, weight in member.objective.weights().items() if term in found[-1]
        ).backward()
        optimizer.step()
    assert all(found[-1][term] < found[0][term] for term in ("features", "shares"))


@pytest.mark.parametrize("at", [2, 5])
def test_a_run_that_was_resumed_in_a_stage_equals_one_that_was_not(at, straight, store, teacher, tmp_path):
    recipe = student("training.checkpoint=2", "schedule.stages.below=0.1", "model.dropout=0.1")
    with pytest.raises(KeyboardInterrupt):
        pretrain(recipe, store, tmp_path / "run", steps=8, threads=1, teacher=teacher, progress=StopAfter(at))
    pretrain(recipe, store, tmp_path / "run", steps=8, threads=1, resume=True)
    same(straight, tmp_path / "run")


@pytest.fixture(scope="module")
def straight(store, teacher, tmp_path_factory):
    recipe = student("training.checkpoint=2", "schedule.stages.below=0.1", "model.dropout=0.1")
    out = tmp_path_factory.mktemp("straight") / "run"
    pretrain(recipe, store, out, steps=8, threads=1, teacher=teacher)
    return out


def test_two_processes_learn_what_one_does(children, store, teacher, tmp_path):
    options = {"steps": 8, "teacher": str(teacher)}
    sets = ["model.layers=2", "model.embeddings.width=8", "model.block.width=8", *STAGED]
    jobs = [
        job(store, "one", *sets, member="mobilebert", alone=True, options=options),
        job(store, "ddp", *sets, "training.accumulate=2", member="mobilebert", options=options),
        job(store, "fsdp", *sets, member="mobilebert", options={**options, "shard": "fsdp"}),
    ]
    work(children, tmp_path, jobs)
    for run in ("one", "ddp"):
        assert outcome(tmp_path, run)["code"] == 0, outcome(tmp_path, run)
    alike(tmp_path / "one", tmp_path / "ddp")
    refused = outcome(tmp_path, "fsdp")
    assert refused["code"] == 2 and "parts that learn for some of the run only cannot be sliced" in str(refused)


def test_stages_are_other_students_too(store, teacher, tmp_path):
    """A narrower BERT of the same teacher, whose states go through a matrix that learns in every stage."""
    recipe = override(
        small("model.layers=2", *PLAIN, member="tinybert"),
        ["objective.shares=1", "schedule.lr=5e-3", "training.evaluate=0", "training.checkpoint=1", "training.keep=9"],
    )
    recipe = replace(recipe, model=replace(recipe.model, width=12, heads=2))
    recipe = replace(recipe, schedule=replace(recipe.schedule, stages=LayerByLayer(until=4)))
    pretrain(recipe, store, tmp_path / "run", steps=6, teacher=teacher, threads=1)
    found = [weights_at(tmp_path / "run", step) for step in (1, 2, 3, 4, 5)]
    parts = ("model.layers.0", "model.layers.1", "objective.led")
    moves = [{part for part in parts if moved(a, b, part)} for a, b in itertools.pairwise(found)]
    assert moves == [{parts[0], parts[2]}, {*parts[1:]}, {*parts[1:]}, {*parts}]
    assert all(line["terms"]["hidden"] is not None for line in lines(tmp_path / "run"))


def test_without_a_teacher_there_are_no_stages(store, tmp_path):
    said = []
    pretrain(student(), store, tmp_path / "run", steps=2, threads=1, say=said.append)
    assert any("mobilebert has no teacher" in line for line in said)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["recipe"]["schedule"]["stages"] is None
    assert lines(tmp_path / "run")[0]["terms"].keys() == {"token", "pair"}
    bert = small("model.layers=2")
    bert = replace(bert, schedule=replace(bert.schedule, stages=LayerByLayer(until=2)))
    with pytest.raises(
        InputError, match=r"schedule\.stages: layers learn one after another of a teacher; teacher=MODEL"
    ):
        pretrain(bert, store, tmp_path / "bert", steps=2, threads=1)


def test_with_no_updates_for_stages_all_layers_learn_at_once(store, teacher, tmp_path):
    pretrain(student("schedule.stages.until=0"), store, tmp_path / "run", steps=1, teacher=teacher, threads=1)
    terms = lines(tmp_path / "run")[0]["terms"]
    assert (
        terms.keys() == {"token", "pair", "soft", "features", "means", "variances", "shares"}
        and None not in terms.values()
    )


def test_teachers_and_stages_that_do_not_go_together_are_refused(store, teacher, tmp_path):
    def refused(why, recipe, **options):
        with pytest.raises(InputError, match=why):
            pretrain(recipe, store, tmp_path / "run", threads=1, **{"steps": 9, "teacher": teacher, **options})
        assert not (tmp_path / "run").exists()

    refused(
        "mobilebert: no size|2 layers of width 16, and no mobilebert has so many; name one: mobilebert:tiny",
        "mobilebert",
    )
    refused(r"1 step for 2 layers, one of each at least", student("schedule.stages.until=1"))
    nothing = [f"objective.{name}=0" for name in ("features", "means", "variances", "shares")]
    refused(r"schedule\.stages: nothing compares layers.*set=\{'objective\.features': 1\}", student(*nothing))
    albert = override(small("model.layers=2", *PLAIN, member="albert"), ["model.embeddings.width=8"])
    albert = replace(albert, schedule=replace(albert.schedule, stages=LayerByLayer()))
    albert = replace(albert, objective=Distilled(objective=albert.objective, features=1.0))
    refused("model.share=all: layers of the same weights cannot learn one after another", albert)
    refused("has 2 heads of attention and the student 1, .*objective.shares=0", student("model.heads=1"))
    refused("model.embeddings.tokens.weight: has .*begins anew", student("model.embeddings.width=4"))


def test_a_student_without_a_size_has_its_teachers(tmp_path):
    from bertsmith.training.teacher import Teacher

    of = Teacher(path="ib", recipe=find("ib-bert:mini"), weights={}, digest="", tokenizer=None)
    assert of.student("mobilebert", None) == find("mobilebert:mini")


def test_a_thin_model_is_made_smaller(store, tmp_path):
    pretrain(student("model.heads=4", "model.layers=2"), store, tmp_path / "run", steps=2, threads=1)
    loaded = bertsmith.load(tmp_path / "run")
    s = batch_of(loaded.recipe, store, 3).input
    fewer = smaller.without_heads(loaded, {(0, 1), (1, 3)})
    assert [layer.attention.heads for layer in fewer.member.model.layers] == [3, 3]
    assert smaller.with_layers(loaded, [1]).recipe.model.layers == 1
    for made in (smaller.int8(loaded), smaller.low_rank(loaded, 0.5), smaller.magnitude(loaded, 0.5)):
        assert torch.isfinite(made.member.model(s)).all()
    assert saved(tmp_path / "run").keys() == loaded.member.state_dict().keys()
    assert isinstance(find("mobilebert:mini").objective, Distilled)
