"""The contract of members that read sound, as tests/test_recipes.py has that of text, and the laws of what they hide."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from tests import sounds
from tests.reading_what import SOUND
from tests.test_distributed import alike, job
from tests.test_recipes import StopAfter, reachable
from tests.workers import outcome, work

import bertsmith
from bertsmith import cli
from bertsmith.audio.layout import Utterances
from bertsmith.audio.store import FrameStore
from bertsmith.config import override
from bertsmith.data.batch import IGNORE, NEVER
from bertsmith.data.blanked import Blanked
from bertsmith.data.draw import Draw
from bertsmith.data.loader import Loader
from bertsmith.data.ranges import numbers
from bertsmith.data.runs import Runs
from bertsmith.data.text import Text
from bertsmith.errors import InputError
from bertsmith.nn.member import build
from bertsmith.objectives.frames import Frames
from bertsmith.recipe import find
from bertsmith.training.pretraining import pretrain

pytestmark = pytest.mark.usefixtures("one_thread")
every_member = pytest.mark.parametrize("name", SOUND)


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heard")
    made = sounds.corpus(folder / "sounds")
    bertsmith.prepare_audio(made, folder / "store", rate=8000, mels=20, holdout=0.1)
    return FrameStore.open(folder / "store")


SMALL = ["model.width=32", "model.hidden=64", "model.heads=2", "layout.length=64", "training.batch=512"]


def tiny(name, *settings):
    return override(find(f"{name}:tiny"), [*SMALL, *settings])


def rows(recipe, store, sequences=12, epoch=0):
    plan = recipe.layout.plan(store.train, store.vocab, 0, epoch)
    return plan.row(plan.order[:sequences])


def random_row(lengths, seed=0, width=5):
    """Frames that are none of them alike."""
    store = dataclasses.make_dataclass("Split", ["frames", "utterances", "count"])
    total = int(np.sum(lengths))
    frames = np.random.default_rng(seed).standard_normal((total, width)).astype(np.float32)
    split = store(frames, np.concatenate([[0], np.cumsum(lengths)]), total)
    return Utterances(length=10_000).plan(split, None, seed, 0).row(np.arange(len(lengths)))


@every_member
def test_it_learns_sound_better_than_its_mean(name, heard, tmp_path):
    recipe = tiny(name, "training.batch=1024", "training.evaluate=0", "schedule.lr=3e-3")
    made = pretrain(recipe, heard, tmp_path / "run", steps=150, threads=1)
    lines = [
        json.loads(line)["terms"]["frames"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert np.mean(lines[-30:]) < 0.85 * np.mean(lines[:10])
    found = made["evaluation"]["frames"]
    assert found["loss"] < 0.85 * found["mean"]


@every_member
def test_no_prediction_reads_its_own_answer(name, heard):
    recipe = tiny(name).with_vocab(heard.vocab)
    row, draw = rows(recipe, heard), Draw(0)
    spans = recipe.corruption.select(row, draw)
    answers = numbers(spans[:, 0], spans[:, 1])
    batch = recipe.corruption(row, heard.vocab, draw)
    at = batch.targets["frames"].at[:, 0]
    assert np.array_equal(batch.targets["frames"].labels, row.tokens[answers])
    shown = np.zeros(len(answers), bool)
    if hasattr(
        recipe.corruption.rewrite, "choice"
    ):  # moved frames may be shown elsewhere, kept ones stand where they are asked
        shown = recipe.corruption.rewrite.choice(row, draw)[row.sequence[answers]] > 0
    torch.manual_seed(0)
    model, chosen = build(recipe).model.eval(), np.flatnonzero(~shown)[::5]
    assert len(chosen) >= 5
    with torch.no_grad():
        clean = model(batch.to("cpu").input)
        for number in chosen.tolist():
            tokens = row.tokens.copy()
            tokens[answers[number]] += 1
            again = recipe.corruption(dataclasses.replace(row, tokens=tokens), heard.vocab, draw)
            assert torch.equal(model(again.to("cpu").input)[at[number]], clean[at[number]])


@every_member
def test_what_a_frame_may_not_see_cannot_move_its_output(name, heard):
    recipe = tiny(name).with_vocab(heard.vocab)
    stream = recipe.corruption(rows(recipe, heard, 3), heard.vocab, Draw(0)).to("cpu").input
    torch.manual_seed(0)
    model, reach = build(recipe).model.eval(), reachable(stream, recipe.model.layers)
    with torch.no_grad():
        clean = model(stream)
        for k in range(0, len(stream.tokens), 11):
            tokens = stream.tokens.clone()
            tokens[k] += 1
            moved = (model(dataclasses.replace(stream, tokens=tokens)) != clean).any(-1)
            assert not (moved & ~reach[:, k]).any()
            assert moved[k] == (stream.key_rank[k] < NEVER)


@every_member
def test_the_clean_frames_can_be_rebuilt(name, heard):
    recipe = tiny(name)
    row = rows(recipe, heard)
    batch, spans = recipe.corruption(row, heard.vocab, Draw(0)), recipe.corruption.select(row, Draw(0))
    rebuilt = batch.input.tokens[batch.input.key_rank < NEVER]
    rebuilt[numbers(spans[:, 0], spans[:, 1])] = batch.targets["frames"].labels
    assert np.array_equal(rebuilt, row.tokens)


@every_member
def test_an_epoch_hides_other_frames_and_the_same_epoch_the_same(name, heard):
    recipe = tiny(name)
    plans = (recipe.layout.plan(heard.train, heard.vocab, 0, e).row(np.arange(9)) for e in (0, 0, 1))
    first, again, later = (recipe.corruption(row, heard.vocab, Draw(0)) for row in plans)
    assert np.array_equal(first.input.tokens, again.input.tokens)
    assert not np.array_equal(first.targets["frames"].labels, later.targets["frames"].labels)


@every_member
def test_accumulation_equals_one_big_batch(name, heard):
    gradients = []
    for accumulate in (1, 3):
        recipe = tiny(name, "model.dropout=0", f"training.accumulate={accumulate}").with_vocab(heard.vocab)
        step = next(iter(Loader(Text.of(recipe, heard, 0), accumulate=accumulate)))
        assert len(step.batches) == accumulate
        torch.manual_seed(0)
        member = build(recipe).double()
        for batch in step.batches:
            sums = member.objective(member.model, batch.to("cpu"))
            sum(loss / step.counts[term] for term, loss in sums.items()).backward()
        gradients.append({key: p.grad for key, p in member.named_parameters()})
    for key, one in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], one, rtol=1e-6, atol=1e-9)


@every_member
def test_reading_only_what_is_asked_changes_nothing(name, heard):
    recipe = tiny(name).with_vocab(heard.vocab)
    batch = recipe.corruption(rows(recipe, heard), heard.vocab, Draw(0)).to("cpu")
    torch.manual_seed(0)
    model, read = build(recipe).model.eval(), batch.targets["frames"].at[:, 0]
    with torch.no_grad():
        torch.testing.assert_close(model(batch.input, read=read), model(batch.input)[read], rtol=1e-5, atol=1e-6)


@every_member
def test_a_run_that_was_resumed_equals_one_that_was_not(name, heard, tmp_path):
    recipe = tiny(name, "model.dropout=0.1", "training.checkpoint=3", "training.evaluate=4", "training.held_out=512")
    pretrain(recipe, heard, tmp_path / "straight", steps=8, threads=1)
    with pytest.raises(KeyboardInterrupt):
        pretrain(recipe, heard, tmp_path / "resumed", steps=8, threads=1, progress=StopAfter(5))
    pretrain(recipe, heard, tmp_path / "resumed", steps=8, threads=1, resume=True, workers=2)
    for file in ("metrics.jsonl", "steps/step-00000008/model.safetensors"):
        assert (tmp_path / "straight" / file).read_bytes() == (tmp_path / "resumed" / file).read_bytes(), file


@every_member
def test_a_run_is_evaluated_as_it_was_at_its_end(name, heard, tmp_path):
    recipe = tiny(name, "training.precision=float32")
    last = pretrain(recipe, heard, tmp_path / "run", steps=2, threads=1)["evaluation"]["frames"]
    found = bertsmith.evaluate(tmp_path / "run", data=heard)
    assert [*found] == ["frames.loss", "frames.mean"]
    for key in ("loss", "mean"):
        assert found[f"frames.{key}"]["value"] == pytest.approx(last[key], rel=1e-5)


@pytest.fixture(scope="module")
def two(children, heard, tmp_path_factory):
    """One process, two in copies and two in slices, of each member."""
    folder, jobs = tmp_path_factory.mktemp("two"), []
    for name in SOUND:
        jobs.append(job(heard, f"{name}-one", member=name, alone=True, options={"steps": 8}))
        for shard in ("ddp", "fsdp"):
            jobs.append(job(heard, f"{name}-{shard}", member=name, options={"steps": 8, "shard": shard}))
    work(children, folder, jobs)
    return folder


@pytest.mark.parametrize("shard", ["ddp", "fsdp"])
@every_member
def test_two_processes_learn_what_one_does(two, name, shard):
    for run in ("one", shard):
        assert outcome(two, f"{name}-{run}")["code"] == 0, outcome(two, f"{name}-{run}")
    alike(two / f"{name}-one", two / f"{name}-{shard}")


def test_layers_that_are_shared_are_one(heard):
    bert, albert = (find(f"audio-{name}:base").model.parameters() for name in ("bert", "albert"))
    other = find("audio-bert:base").model
    embedding = other.embeddings.parameters(other)
    assert bert - embedding == 3 * (albert - embedding)


# -- what is hidden -------------------------------------------------------------------------------------------------------------------


def test_runs_cover_of_long_sequences_what_the_released_code_covers():
    row = random_row([1000] * 200)
    spans = Runs(rate=0.15, length=7)(row, Draw(0))
    width = spans[:, 1] - spans[:, 0]
    share = width.sum() / len(row.tokens)
    assert 0.133 <= share <= 0.140 and width.min() == 7
    assert (spans[1:, 0] > spans[:-1, 1]).all(), "apart, or one span"
    assert (row.sequence[spans[:, 0]] == row.sequence[spans[:, 1] - 1]).all()


def released(length, rate, run, draw):
    """Mockingjay's rule, one sequence: the frames that are hidden."""
    starts = draw.permutation(np.arange(max(length - run - 1, 0) + 1))[: round(length * rate / run)]
    return np.unique(np.concatenate([np.arange(start, start + run) for start in starts] or [[]]))


def test_runs_cover_each_length_as_the_released_rule_does():
    draw = np.random.default_rng(0)
    for length in (60, 150, 400):
        row = random_row([length] * 600)
        spans = Runs()(row, Draw(1))
        ours = (spans[:, 1] - spans[:, 0]).sum() / 600
        theirs = np.mean([len(released(length, 0.15, 7, draw)) for _ in range(600)])
        assert ours == pytest.approx(theirs, rel=0.02), length


def test_a_sequence_no_longer_than_a_run_is_asked_nothing_and_a_longer_one_something():
    row = random_row([3, 7, 8, 20, 1])
    spans = Runs()(row, Draw(0))
    assert [*row.sequence[spans[:, 0]]] == [2, 3]
    batch = Blanked()(row, spans, None, Draw(0))
    assert [len(part.targets.get("frames", ())) for part in batch.split([1, 1, 1, 1, 1])] == [0, 0, 7, 7, 0]


def test_one_die_for_each_utterance_says_what_stands_in_place_of_all_that_is_hidden():
    row = random_row([90] * 4000)
    spans, rewrite = Runs()(row, Draw(0)), Blanked()
    choice = rewrite.choice(row, Draw(0))
    shares = np.bincount(choice, minlength=3) / len(choice)
    assert np.abs(shares - [0.8, 0.1, 0.1]).max() < 4 * np.sqrt(0.16 / 4000)
    batch = rewrite(row, spans, None, Draw(0))
    at = numbers(spans[:, 0], spans[:, 1])
    of = choice[row.sequence[at]]
    read, clean = batch.input.tokens, row.tokens
    assert (read[at[of == 0]] == 0).all() and np.array_equal(read[at[of == 2]], clean[at[of == 2]])
    rest = np.setdiff1d(np.arange(len(clean)), at)
    assert np.array_equal(read[rest], clean[rest]), "what is not asked for is as it was, bit for bit"
    known = {frame.tobytes(): place for place, frame in enumerate(clean)}
    for begin, end in spans[choice[row.sequence[spans[:, 0]]] == 1][:200]:
        source = np.array([known[frame.tobytes()] for frame in read[begin:end]])
        assert (np.diff(source) == 1).all() and source[0] != begin
        assert row.sequence[source[0]] == row.sequence[source[-1]] == row.sequence[begin]


def test_counts_of_rows_of_other_processes_are_those_of_the_batches(heard):
    recipe = tiny("audio-bert").with_vocab(heard.vocab)
    feed = Text.of(recipe, heard, 0)
    epoch = feed.epoch(0)
    parts = [[(epoch, epoch.order[a:b])] for a, b in ((0, 3), (3, 4), (4, 20))]
    assert feed.counts(parts) == [batch.counts() for batch in feed.batches(parts)]


def test_long_utterances_are_read_in_parts_of_one_size_and_stacked_frames_stand_side_by_side():
    lengths = [10, 25, 7]
    frames = np.arange(42 * 2, dtype=np.float32).reshape(42, 2)
    split = dataclasses.make_dataclass("Split", ["frames", "utterances", "count"])(
        frames, np.array([0, 10, 35, 42]), 42
    )
    plan = Utterances(length=4, stack=2).plan(split, None, 0, 0)
    assert plan.lengths.tolist() == [2, 3, 4, 4, 4, 3] and plan.unread == 2 and sum(lengths) == 42
    row = plan.row(np.array([1, 5]))
    assert row.tokens.shape == (6, 4)
    assert row.tokens[0].tolist() == [*frames[4], *frames[5]] and row.tokens[-1].tolist() == [*frames[39], *frames[40]]


# -- what it costs ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["l1", "huber"])
def test_the_loss_is_0_where_the_frames_are_right_and_looks_at_nothing_else(loss, heard):
    recipe = tiny("audio-bert").with_vocab(heard.vocab)
    head = Frames(loss=loss).build(build(recipe).model)
    labels = torch.randn(5, 20)
    said = torch.zeros(5, 20, requires_grad=True)
    head.logits = lambda hidden, model: hidden
    assert head.losses(labels, labels, None) == 0
    filled = torch.cat([labels, torch.full((2, 20), float(IGNORE))])
    more = torch.cat([said, torch.full((2, 20), 7.0)])
    assert torch.equal(head.losses(more, filled, None), head.losses(said, labels, None))
    by_hand = labels.abs() if loss == "l1" else torch.where(labels.abs() <= 1, labels**2 / 2, labels.abs() - 0.5)
    torch.testing.assert_close(head.losses(said, labels, None), by_hand.mean(1).sum())


# -- from the command line ---------------------------------------------------------------------------------------------------------------


def test_text_and_sound_are_told_apart(heard, store, tmp_path, capsys):
    run = str(tmp_path / "run")
    for name, data, words in (
        ("audio-bert", store, "Utterances reads frames, and the store holds tokens"),
        ("roberta", heard, "FullSentences reads tokens, and the store holds frames"),
    ):
        for command in (["pretrain", "--out", run, "--steps", "2"], ["show"], ["plan"]):
            assert cli.run([command[0], f"{name}:tiny", "--data", str(data.path), *command[1:]]) == 2
            assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_what_is_read_from_a_run_goes_on_with_the_same_frames_alone(heard, tmp_path, capsys):
    recipe = tiny("audio-bert")
    pretrain(recipe, heard, tmp_path / "run", steps=2, threads=1)
    pretrain(recipe, heard, tmp_path / "on", steps=2, threads=1, from_=tmp_path / "run")
    bertsmith.prepare_audio(tmp_path.parent / heard.train.names[0], tmp_path / "other", rate=4000, mels=20, holdout=0)
    with pytest.raises(InputError, match="rate: its frames were made with 8000, the store's with 4000"):
        pretrain(recipe, tmp_path / "other", tmp_path / "no", steps=2, from_=tmp_path / "run")
    assert cli.run(["fill", str(tmp_path / "run"), "a [MASK]"]) == 2
    assert "reads sound, and text is wanted here" in capsys.readouterr().err


def test_show_plan_verify_and_report_know_sound(heard, tmp_path, capsys):
    data = ["--data", str(heard.path)]
    assert cli.run(["show", "audio-bert:tiny", *data, "-n", "2"]) == 0
    shown = capsys.readouterr().out
    assert ("^^^^^^^" in shown and "_bob_" in shown) or "_ann_" in shown or "_cid_" in shown or "_dee_" in shown
    assert cli.run(["show", "audio-bert:tiny", *data, "-n", "80", "--json"]) == 0
    *found, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert len(found) == 80 and {*found[0]} >= {"index", "epoch", "source", "input", "spans", "targets", "choice"}
    assert last["summary"]["achieved"].keys() == last["summary"]["requested"].keys()
    assert found[0]["targets"]["frames"] == sum(end - begin for begin, end in found[0]["spans"])
    small = [part for setting in SMALL for part in ("--set", setting)]
    assert cli.run(["plan", "audio-bert:tiny", *data, *small, "--steps", "10"]) == 0
    assert cli.run(["plan", "audio-xlnet:tiny", *small]) == 0
    assert "parameters" in capsys.readouterr().out
    run = str(tmp_path / "run")
    assert cli.run(["pretrain", "audio-bert:tiny", *data, *small, "--out", run, "--steps", "3"]) == 0
    assert cli.run(["verify", run]) == 0 and cli.run(["verify", str(heard.path)]) == 0
    assert cli.run(["report", run, "--out", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "which the mean of each utterance gives" in page and "seconds: used" in page
