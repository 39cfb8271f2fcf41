"""Batch, length and rate of small sizes follow how long a run is; whether it will leave, and has left, the plateau is said."""

import json

import pytest
from tests.reading_what import TEXT

import bertsmith
from bertsmith import cli
from bertsmith.config import override
from bertsmith.errors import InputError
from bertsmith.training import machine
from bertsmith.training.brief import LEFT, as_it_stands, kept, outcome, settled, too_short
from bertsmith.training.budget import Budget, check_batch

pytestmark = pytest.mark.usefixtures("one_thread")
FIELDS = ("training.batch", "layout.length", "schedule.lr")


def chosen(recipe) -> tuple:
    return recipe.training.batch, recipe.layout.length, recipe.schedule.lr


def settle(name: str, *given: str, seconds: float = 0.05, **asked):
    recipe = override(bertsmith.find(name), given)
    said: list[str] = []
    return settled(recipe, [*given], Budget(**asked), None, lambda *_: seconds, said.append), said


@pytest.mark.parametrize(
    "tokens, batch, length",
    [(1, 1024, 64), (3_000_000, 1024, 64), (13_000_000, 2048, 64), (25_000_000, 4096, 64), (50_000_000, 8192, 128)],
)
def test_the_batch_leaves_room_for_some_thousand_updates(tokens, batch, length):
    recipe, said = settle("roberta:tiny", tokens=tokens)
    assert chosen(recipe)[:2] == (batch, length)
    assert recipe.schedule.lr == (2e-3 if batch < 8192 else 1e-3)
    assert len(said) == (batch < 8192)


def test_minutes_are_counted_in_tokens_by_what_an_update_takes():
    recipe, (said,) = settle("bert:mini", seconds=0.1, minutes=10)
    assert chosen(recipe) == (1024, 64, 1e-3) and "6.1 million tokens" in said
    assert chosen(settle("bert:mini", seconds=0.1, minutes=120)[0]) == (8192, 128, 1e-3)


def test_steps_and_published_sizes_keep_the_recipe():
    assert chosen(settle("roberta:tiny", steps=100)[0]) == (8192, 128, 1e-3)
    assert chosen(settle("roberta:base", minutes=1)[0]) == chosen(bertsmith.find("roberta:base"))


def test_what_the_user_sets_stays_and_a_rate_belongs_to_its_batch():
    assert chosen(settle("roberta:tiny", "training.batch=512", tokens=10**6)[0]) == (512, 64, 1e-3)
    assert chosen(settle("roberta:tiny", "schedule.lr=5e-4", tokens=10**6)[0]) == (8192, 64, 5e-4)
    assert chosen(settle("roberta:tiny", "layout.length=32", tokens=10**6)[0]) == (1024, 32, 2e-3)


@pytest.mark.parametrize("name", [f"{name}:{size}" for name in TEXT for size in ("tiny", "mini")])
def test_every_small_size_has_one(name):
    recipe, _ = settle(name, tokens=10**6)
    assert recipe.brief is None and chosen(recipe) < chosen(bertsmith.find(name))


def test_a_run_keeps_what_was_chosen_when_it_goes_on(store, tmp_path):
    run, more = tmp_path / "run", {"set": {"training.evaluate": 0, "training.held_out": 2000}}
    bertsmith.pretrain("roberta:tiny", store, run, tokens=6000, **more)
    kept = json.loads((run / "config.json").read_text())["recipe"]
    assert (kept["training"]["batch"], kept["layout"]["length"], kept["brief"]) == (1024, 64, None)
    bertsmith.pretrain(
        "roberta:tiny", store, run, minutes=1000, resume=True, **more
    )  # fixed to its steps: nothing to do
    bertsmith.pretrain("roberta:tiny", store, run, steps=8, resume=True, **more)
    assert json.loads((run / "config.json").read_text())["steps"] == 8


def test_a_recipe_that_somebody_made_is_taken_as_it_is(store, tmp_path):
    bertsmith.pretrain(bertsmith.find("roberta:tiny"), store, tmp_path / "run", tokens=9000)
    kept = json.loads((tmp_path / "run" / "config.json").read_text())["recipe"]
    assert (kept["training"]["batch"], kept["layout"]["length"]) == (8192, 128)


def test_minutes_find_out_how_fast_it_is(store, tmp_path):
    said: list[str] = []
    options = {"set": ["training.evaluate=0", "training.held_out=2000"], "say": said.append}
    bertsmith.pretrain("roberta:tiny", store, tmp_path / "run", minutes=0.05, **options)
    kept = json.loads((tmp_path / "run" / "config.json").read_text())
    assert kept["recipe"]["training"]["batch"] == 1024 and kept["budget"]["minutes"] == 0.05
    assert said[0].startswith("0.05 minutes, about ")
    assert any("updates are few" in line for line in said)
    outcomes = "ended on the plateau", "has not learned how frequent words are"  # on a busy machine
    assert any(outcome in line for line in said for outcome in outcomes)


def test_steps_keep_the_recipe_and_say_where_tokens_and_minutes_would_not(store, tmp_path):
    told = {"plan": [], "show": [], "pretrain": []}
    less = {"set": {"model.layers": 1, "training.held_out": 2000}}
    bertsmith.pretrain("roberta:tiny", store, tmp_path / "run", steps=2, say=told["pretrain"].append, **less)
    bertsmith.plan("roberta:tiny", store, say=told["plan"].append, **less)
    list(bertsmith.show("roberta:tiny", store, n=1, say=told["show"].append))
    brief, whole = "rows of 64, 1,024 tokens an update", "rows of 128, 8,192 tokens an update, as the recipe stands"
    said = {name: [line for line in lines if whole in line] for name, lines in told.items()}
    assert said["pretrain"] == [f"steps=2: {whole}; tokens=16384 would take {brief} in a short run"]
    assert (
        said["plan"]
        == said["show"]
        == [f"no length given: {whole}; tokens or minutes would take {brief} in a short run"]
    )
    assert as_it_stands(bertsmith.find("roberta:tiny"), {"training.batch", "layout.length"}) == []
    assert (
        as_it_stands(bertsmith.find("roberta:tiny"), set(), steps=100_000)
        == as_it_stands(bertsmith.find("bert:base"), set())
        == []
    )


def test_an_update_of_more_than_the_store_or_the_machine_is_told_before_anything_is_made(
    store, tmp_path, monkeypatch, capsys
):
    tokens, command = (
        store.train.count,
        ["pretrain", "bert:tiny", "--data", str(store.path), "--out", str(tmp_path / "run")],
    )
    for length in (["--steps", "1"], ["--minutes", "1"]):
        assert cli.run([*command, *length, "--set", "training.batch=1000000000"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"training.batch: 1,000,000,000 tokens in an update read the {tokens:,} of the store" in line
    recipe = override(bertsmith.find("bert:tiny"), [f"training.batch={4 * tokens}"])
    (line,) = check_batch(recipe, tokens)
    assert line.startswith(f"warning: training.batch: {4 * tokens:,} tokens in an update are more than the {tokens:,}")
    assert check_batch(override(recipe, [f"training.batch={tokens}"]), tokens) == []
    monkeypatch.setattr(machine, "memory", lambda: 2**30)
    with pytest.raises(
        InputError, match=r"take more than \d+ GiB in a pass, this machine has 1.0; lower it, or set=\{"
    ):
        check_batch(recipe, tokens)
    assert check_batch(recipe, tokens, here=False) and check_batch(override(recipe, ["training.most=512"]), tokens)
    assert not (tmp_path / "run").exists()


def test_plan_says_what_pretrain_will_choose(store):
    said: list[str] = []
    found = bertsmith.plan("roberta:tiny", store, tokens=100_000, say=said.append)
    assert found["tokens"] == 1024 and said[1].startswith("100,000 tokens: rows of 64, 1,024 tokens an update")
    assert any("97.7 updates are few" in line and "tokens=3072000 has as many" in line for line in said)


def test_few_updates_are_said_with_what_makes_as_many_as_it_takes():
    assert too_short(1000, 1000, Budget(minutes=5)) == []
    (line,) = too_short(1500, 500, Budget(minutes=2))
    assert "minutes=6 has as many" in line


def at(loss: float) -> dict:
    return {"step": 3, "evaluation": {"token": {"loss": loss}}}


def test_the_outcome_is_told_by_the_plateau():
    (left,) = outcome(at(6.0), 7.0, 0.0)
    assert "1.00 nats below the unigram entropy (7.000)" in left and "warning" not in left
    (stayed,) = outcome(at(7.0 - LEFT / 2), 7.0, 0.0)
    assert stayed.startswith("warning") and "ended on the plateau" in stayed
    (before,) = outcome(at(8.0), 7.0, 0.0)
    assert "has not learned how frequent words are yet" in before
    assert outcome({"evaluation": {"pair": {"loss": 0.7}}}, 7.0, 0.1) == outcome({"step": 3}, 7.0, 0.1) == []


def test_tokens_that_are_copied_are_no_learning():
    """A tenth of the asked tokens stays as it is: who copies these and knows frequencies has nine tenths of the entropy."""
    (copies,) = outcome(at(6.3), 7.0, 0.1)
    assert "ended on the plateau" in copies and "6.300, which word frequencies give with the 10%" in copies
    (reads,) = outcome(at(6.0), 7.0, 0.1)
    assert "0.30 nats below 6.300" in reads
    for name, share in (("bert:tiny", 0.1), ("electra:tiny", 0.15), ("xlnet:tiny", 0.0), ("transformer-xl:tiny", 0.0)):
        rewrite = bertsmith.find(name).corruption.rewrite
        assert kept(rewrite) == kept(bertsmith.config.to_dict(rewrite)) == share


def test_a_field_that_stands_elsewhere_is_named():
    for typed, meant in (("lr", "schedule.lr"), ("learning_rate", "schedule.lr"), ("batch_size", "training.batch")):
        with pytest.raises(
            bertsmith.InputError,
            match=rf"set={{'{typed}': …}}: Recipe has no field '{typed}'; set={{'{meant}': …}} is meant",
        ):
            override(bertsmith.find("bert:tiny"), [f"{typed}=1"])


def test_numbers_of_updates_are_written_out():
    asked = Budget(minutes=2)
    assert "warning: 2,114 updates are few" in too_short(3000, 2114.4, asked)[0]
    assert "warning: 97.7 updates are few" in too_short(3000, 97.66, asked)[0]
