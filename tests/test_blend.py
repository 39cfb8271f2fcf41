"""Stores that are read as one: what is read of each, what a run says of it, and that it is the same however it is carried out."""

import json
from itertools import islice

import numpy as np
import pytest
from tests.runs import SMALL, lines, small
from tests.workers import work

import bertsmith
from bertsmith.cli import run
from bertsmith.data.loader import Loader
from bertsmith.data.text import Text, feed_of
from bertsmith.downstream.show import show
from bertsmith.errors import InputError
from bertsmith.text.blend import asked, blended
from bertsmith.text.multilingual import ByLanguage, languages_of
from bertsmith.text.prepare import prepare
from bertsmith.text.store import Split, Store
from bertsmith.training.evaluate import evaluate_run
from bertsmith.training.run import open_store

PLAIN = ["training.precision=float32", "training.evaluate=0"]


@pytest.fixture(scope="module")
def folder(documents, tmp_path_factory):
    """Stores `long` and `few` of one tokenizer, `other` of another, `tongues` of two languages."""
    made = tmp_path_factory.mktemp("blend")
    for name, texts in {"long": documents[:30], "few": documents[30:37], "third": documents[37:44]}.items():
        (made / f"{name}.txt").write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    options = {"lowercase": True, "holdout": 0.2}
    prepare([str(made / "long.txt")], made / "long", tokenizer="wordpiece:600", **options)
    loaded = {"tokenizer": str(made / "long"), "holdout": 0.2, "allow_unknown": True}
    prepare([str(made / "few.txt")], made / "few", **loaded)
    prepare([f"en={made}/few.txt", f"de={made}/third.txt"], made / "tongues", **loaded)
    prepare([str(made / "few.txt")], made / "other", tokenizer="wordpiece:500", **options)
    return made


@pytest.fixture(scope="module")
def both(folder):
    return open_store([folder / "long", folder / "few"])


def test_a_blend_holds_the_tokens_of_its_stores_one_after_another(folder, both):
    parts = [Store.open(folder / name) for name in ("long", "few")]
    for side in ("train", "held_out"):
        split, own = getattr(both, side), [getattr(store, side) for store in parts]
        assert split.count == sum(one.count for one in own)
        for read in (Split.gather, Split.starts):
            whole = np.concatenate([read(one, slice(None)) for one in own])
            everywhere = np.random.default_rng(0).permutation(split.count)
            assert (read(split, everywhere) == whole[everywhere]).all()
            edge = slice(own[0].count - 3, own[0].count + 5)
            assert (read(split, edge) == whole[edge]).all()
            assert (read(split, slice(None)) == whole).all()
        ends = [np.diff(one.sentences[one.documents]) for one in own]
        assert (np.diff(split.sentences[split.documents]) == np.concatenate(ends)).all()
    assert (both.unigrams == parts[0].unigrams + parts[1].unigrams).all()
    assert [stretch.language for stretch in both.train.languages] == ["long", "few"]


def read(store, recipe, epochs=1, seed=0):
    """(2,) tokens of each store that epochs read."""
    found = np.zeros(2)
    for number in range(epochs):
        epoch = Text.of(recipe, store, seed).epoch(number)
        found += np.bincount(languages_of(epoch.plan, epoch.order), weights=epoch.lengths[epoch.order], minlength=2)
    return found


@pytest.mark.parametrize("member", ["bert", "roberta"])
def test_as_much_is_read_of_each_as_weights_or_smoothed_sizes_say(folder, both, member):
    recipe = small(member=member)
    sizes = read(both, recipe)
    plain = [read_alone(folder / name, recipe) for name in ("long", "few")]
    assert np.allclose(sizes, plain, rtol=0.05)  # once an epoch
    for weights in ((0.3, 0.7), (7.0, 3.0)):
        found = read(open_store(dict(zip((folder / "long", folder / "few"), weights))), recipe)
        assert np.allclose(found / found.sum(), np.array(weights) / sum(weights), atol=0.02)
    smooth = small("training.smoothing=0.5", member=member)
    found, wanted = read(both, smooth), np.array([part.count for part in both.train.parts]) ** 0.5
    assert np.allclose(found / found.sum(), wanted / wanted.sum(), atol=0.02)


def read_alone(path, recipe):
    epoch = Text.of(recipe, Store.open(path), 0).epoch(0)
    return epoch.lengths.sum()


def test_no_sequence_has_text_of_two_stores(both):
    for member in ("bert", "roberta"):
        plan = ByLanguage(small(member=member).layout, 1.0).plan(both.train, both.vocab, 0, 0)
        edge = both.train.sentences[both.train.documents[both.train.languages[1].first]]
        behind = plan.begin >= edge
        for first, last in zip(plan.first[:-1], plan.first[1:]):
            assert len(set(behind[first:last])) == 1


def test_languages_of_a_store_are_parts_of_its_share(folder):
    store = open_store({folder / "long": 3, folder / "tongues": 1})
    assert [part.language for part in store.train.parts] == ["long", "tongues-en", "tongues-de"]
    counts = [part.count for part in store.train.parts]
    assert store.shares == pytest.approx((0.75, *(0.25 * n / sum(counts[1:]) for n in counts[1:])))


def test_steps_count_what_they_read_of_each_whoever_shares_them(both):
    recipe = small("training.batch=192")
    alone = list(islice(Loader(feed_of(recipe, both, 1)), 40))
    assert all(sum(step.read.values()) == step.tokens for step in alone)
    assert {name for step in alone for name, tokens in step.read.items() if tokens} == {"long", "few"}
    for rank in (0, 1):
        shared = islice(Loader(feed_of(recipe, both, 1), rank=rank, world=2, accumulate=3, workers=1), 40)
        assert [(step.read, step.counts, step.cursor) for step in shared] == [
            (step.read, step.counts, step.cursor) for step in alone
        ]


@pytest.fixture(scope="module")
def runs(folder, children, tmp_path_factory, one_thread):
    """A blend of seven to three, in one go, broken off and gone on with, and by two processes."""
    made = tmp_path_factory.mktemp("runs")
    store = {str(folder / "long"): 0.7, str(folder / "few"): 0.3}
    sets = [*PLAIN, "model.dropout=0.0"]
    job = lambda name, **more: {"name": name, "store": store, "set": sets, **more}
    jobs = [
        job("whole", alone=True, options={"steps": 14}),
        job("part", alone=True, out="broken", stop=7, options={"steps": 14}),
        job("rest", alone=True, out="broken", options={"steps": 14, "resume": True}),
        job("two", options={"steps": 14}),
    ]
    work(children, made, jobs)
    return made


def test_a_run_that_is_gone_on_with_is_the_same_to_the_byte(runs):
    assert (runs / "broken" / "metrics.jsonl").read_bytes() == (runs / "whole" / "metrics.jsonl").read_bytes()


def test_two_processes_read_and_learn_what_one_does(runs):
    for one, two in zip(lines(runs / "whole"), lines(runs / "two"), strict=True):
        assert one["read"] == two["read"] and one["tokens"] == two["tokens"]
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-6)


def test_a_run_says_what_it_read_of_each_and_lost_on_each(runs):
    found = lines(runs / "whole")
    total = {name: sum(line["read"][name] for line in found) for name in ("long", "few")}
    assert sum(total.values()) == found[-1]["tokens"]
    assert total["long"] / found[-1]["tokens"] == pytest.approx(0.7, abs=0.08)
    assert {"token", "token.long", "token.few"} <= set(found[-1]["evaluation"])
    config = json.loads((runs / "whole" / "config.json").read_text())
    assert [(of["name"], of["weight"]) for of in config["data"]["blend"]] == [("long", 0.7), ("few", 0.3)]


def test_a_run_goes_on_with_the_same_weights_alone_and_is_judged_on_both(runs, folder, tmp_path):
    long, few = folder / "long", folder / "few"
    options = {"steps": 20, "resume": True, "seed": 3, "threads": 1}
    with pytest.raises(InputError, match=r"data\.blend\.0\.weight: the run was begun with 0\.7, now it is 0\.5"):
        bertsmith.pretrain(small(*PLAIN, "model.dropout=0.0"), {long: 1, few: 1}, runs / "whole", **options)
    found = evaluate_run(runs / "whole", [long, few], threads=1)["evaluation"]
    assert set(found) == set(lines(runs / "whole")[-1]["evaluation"])


def test_show_and_plan_say_what_is_asked_of_each(folder, capsys):
    data = {folder / "long": 0.6, folder / "few": 0.4}
    recipe = small()
    *_, last = show(recipe, data=data, n=400)
    summary = last["summary"]
    assert summary["requested"]["languages.long"] == pytest.approx(0.6)
    assert summary["achieved"]["languages.long"] == pytest.approx(0.6, abs=0.08)
    sets = [word for name in SMALL for word in ("--set", name)]
    typed = ["--data", f"{folder}/long=0.6", "--data", f"{folder}/few=0.4", *sets]
    assert run(["plan", "bert:tiny", *typed, "--on", "h100"]) == 0
    assert "blend: long " in capsys.readouterr().out


def test_what_is_typed_is_a_store_several_or_weights(tmp_path):
    assert asked(["a"]) == "a"
    assert asked(["a", "b/c"]) == ["a", "b/c"]
    assert asked(["a=0.7", "s3://b/c=3"]) == {"a": 0.7, "s3://b/c": 3.0}
    (tmp_path / "x=1").mkdir()
    assert asked([str(tmp_path / "x=1")]) == str(tmp_path / "x=1")
    with pytest.raises(InputError, match=r"b.*: has no weight, others have"):
        asked(["a=0.7", "b"])
    with pytest.raises(InputError, match="named twice"):
        asked(["a=0.7", "a=0.2"])


@pytest.mark.parametrize(
    "names, weights, said",
    [
        (
            ("long", "other"),
            None,
            r"other: tokenizer: \w+: .*, that of .*long has .*; prepare its text with tokenizer=",
        ),
        (("long", "long"), None, r"long: the same store as .*long; name it once"),
        (("long", "few"), (1, 0), r"few=0: a weight is a number above 0"),
        (("long", "few"), (1, float("nan")), r"few=nan: a weight is a number above 0"),
    ],
)
def test_what_cannot_be_blended_is_named(folder, names, weights, said):
    with pytest.raises(InputError, match=said):
        blended([Store.open(folder / name) for name in names], weights)


def test_weights_and_powers_exclude_each_other(folder):
    store = open_store({folder / "long": 1, folder / "few": 1})
    for set in ("training.smoothing=0.7", "training.shares=[0.5,0.5]"):
        with pytest.raises(InputError, match=set.partition("=")[0]):
            Text.of(small(set), store, 0)
