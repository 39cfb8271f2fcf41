"""Mixtures: which feed a step reads, and runs over several of them that resume like any other."""

import itertools
import json
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy import stats
from tests.corpora import VOCAB, random_shape, split_of
from tests.runs import Breaking, lines, same, small

import bertsmith
from bertsmith.config import from_dict, to_dict
from bertsmith.data.loader import Loader
from bertsmith.data.mixture import Annealed, BySize, Equal, Mixture, Stages, Weighted
from bertsmith.data.rewrite import InPlace
from bertsmith.data.select import Tokens
from bertsmith.data.text import Text
from bertsmith.downstream.labelled_files import Files
from bertsmith.errors import InputError, Interrupted
from bertsmith.recipe import Corruption
from bertsmith.text.layout import FullSentences
from bertsmith.training.budget import Extent

pytestmark = pytest.mark.usefixtures("one_thread")
SIZES = np.array([1000.0, 100.0, 10.0])


def text(documents: int, seed: int, batch: int = 200) -> Text:
    split = split_of(random_shape(documents, 5, 9, seed=seed), numbered=False, seed=seed)
    corruption = Corruption(select=Tokens(), rewrite=InPlace())
    return Text(split, FullSentences(length=32), corruption, VOCAB, seed=seed, batch=batch)


def mixture(shares=None, **options) -> Mixture:
    return Mixture({"wiki": text(60, 1), "news": text(20, 2), "law": text(8, 3)}, shares or BySize(), seed=7, **options)


def test_shares_are_what_their_papers_say():
    assert BySize().at(1, SIZES) == pytest.approx(SIZES / 1110)
    assert BySize(cap=50).at(1, SIZES) == pytest.approx(np.array([50, 50, 10]) / 110)
    roots = SIZES**0.5
    assert BySize(temperature=2).at(1, SIZES) == pytest.approx(roots / roots.sum())
    assert BySize(temperature=1e9).at(1, SIZES) == pytest.approx(Equal().at(1, SIZES))
    assert Weighted(weights=(3, 1, 0)).at(1, SIZES) == pytest.approx([0.75, 0.25, 0])
    leave, keep = Stages(steps=(4, 2)), Stages(steps=(4, 2), earlier="keep")
    assert [leave.at(step, SIZES).tolist() for step in (1, 4, 5, 6, 7, 99)] == [
        [1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1],
    ]  # fmt: skip
    assert [keep.at(step, SIZES).tolist() for step in (4, 5, 99)] == [[1, 0, 0], [0.5, 0.5, 0], [1 / 3] * 3]


def test_annealed_shares_fall_from_size_to_a_fifth_of_its_power():
    annealed = Annealed(steps=10, epochs=5)
    assert annealed.at(1, SIZES) == pytest.approx(BySize().at(1, SIZES)), "alpha is 1 in the first epoch"
    powers = [annealed.power(step) for step in (1, 10, 11, 21, 41, 50, 99)]
    assert powers == pytest.approx([1, 1, 0.8, 0.6, 0.2, 0.2, 0.2])
    assert annealed.at(50, SIZES) == pytest.approx(SIZES**0.2 / (SIZES**0.2).sum())
    assert Annealed(steps=10, epochs=1).at(10, SIZES) == pytest.approx(BySize().at(1, SIZES))


def test_an_epoch_may_be_that_of_some_feeds_while_others_are_read():
    whole, paced = mixture(Equal()), mixture(Equal(), paced=("law",))
    law = Extent.of(whole.feeds["law"])
    assert Extent.of(paced).steps == pytest.approx(3 * law.steps, abs=3), "a third of the steps read it"
    assert Extent.of(paced).per_step == Extent.of(whole).per_step
    assert Extent.of(paced).tokens == pytest.approx(Extent.of(paced).steps * Extent.of(paced).per_step, rel=0.1)


def test_the_draws_have_the_shares_that_were_asked_for():
    mixed = mixture(BySize(temperature=2))
    names = list(mixed.feeds)
    counts = np.bincount([names.index(mixed.reads(step)[0]) for step in range(1, 5001)], minlength=3)
    assert stats.chisquare(counts, 5000 * mixed.shares.at(1, mixed.sizes)).pvalue > 0.01
    again = mixture(BySize(temperature=2))
    assert [again.reads(step) for step in range(1, 50)] == [mixed.reads(step) for step in range(1, 50)]


@pytest.mark.parametrize(
    "shares, says",
    [
        (lambda: Weighted(weights=(1, 2)), "mixture.weights: 2 of them for 3 feeds"),
        (lambda: Weighted(weights=(0, 0, 0)), "must be numbers from 0, one of them above it"),
        (lambda: Stages(steps=(3,)), "mixture.steps: 1 of them for 3 feeds"),
        (lambda: Stages(steps=(3, 0)), "must be whole numbers above 0"),
        (lambda: BySize(temperature=0), "mixture.temperature: 0"),
        (lambda: BySize(cap="a"), "mixture.cap: 'a' must be a number"),
        (lambda: Weighted(weights=5), "mixture.weights: 5 must be numbers"),
        (lambda: Weighted(weights=(float("inf"), 1)), "mixture.weights"),
        (lambda: Stages(steps=(1.5, 1)), "must be whole numbers above 0"),
        (lambda: Stages(steps=(1, 1), earlier="drop"), "neither 'leave' nor 'keep'"),
        (lambda: Stages(steps=(1, 1), among="equal"), "mixture.among"),
        (lambda: BySize(cap=0), "mixture.cap: 0"),
        (lambda: Annealed(steps=0, epochs=2), "mixture.steps: 0 must be a whole number above 0"),
        (lambda: Annealed(steps=1, epochs=2, fall=1.5), "mixture.fall: 1.5 must be a number from 0 to 1"),
    ],
)
def test_shares_that_do_not_fit_are_named(shares, says):
    with pytest.raises(InputError, match=says):
        mixture(shares())
    with pytest.raises(InputError, match="is not a name"):
        Mixture({"a.b": text(5, 1)}, Equal(), seed=0)


def take(mixed, count, **options):
    return list(itertools.islice(iter(Loader(mixed, **options)), count))


def read(step):
    return sorted((batch.feed, *example) for batch in step.batches for example in batch.examples)


@pytest.mark.parametrize("each", ["one", "all"])
def test_each_feed_is_read_as_if_it_were_alone(each):
    """The steps of a feed in a mixture, one after another, are those of the feed by itself."""
    mixed = mixture(Equal(), each=each)
    steps = take(mixed, 30)
    for name, feed in mixed.feeds.items():
        mine = [[b for b in step.batches if b.feed == name] for step in steps]
        mine = [batches for batches in mine if batches]
        alone = take(feed, len(mine))
        for batches, step in zip(mine, alone, strict=True):
            assert np.array_equal(batches[0].input.tokens, step.batches[0].input.tokens)
            assert np.array_equal(batches[0].targets["token"].labels, step.batches[0].targets["token"].labels)
    assert all(len(step.batches) == (1 if each == "one" else 3) for step in steps)


@pytest.mark.parametrize("each", ["one", "all"])
@pytest.mark.parametrize("workers, block", [(0, None), (2, None), (3, 1)])
def test_a_resumed_loader_and_any_number_of_workers_read_the_same(each, workers, block):
    straight = take(mixture(each=each), 20)
    for at in (0, 1, 7, 13):
        cursor, step = (straight[at - 1].cursor, at) if at else ((0, 0), 0)
        again = take(mixture(each=each), 20 - at, cursor=cursor, step=step, workers=workers, block=block)
        for a, b in zip(straight[at:], again, strict=True):
            assert read(a) == read(b) and (a.counts, a.tokens, a.cursor) == (b.counts, b.tokens, b.cursor)
            for x, y in zip(a.batches, b.batches, strict=True):
                assert np.array_equal(x.input.tokens, y.input.tokens)


@pytest.mark.parametrize("each", ["one", "all"])
def test_processes_share_each_step(each):
    one = take(mixture(each=each), 12)
    ranks = [take(mixture(each=each), 12, accumulate=2, rank=rank, world=2) for rank in range(2)]
    for whole, *parts in zip(one, *ranks, strict=True):
        assert read(whole) == sorted(example for part in parts for example in read(part))
        for part in parts:
            assert (part.counts, part.tokens, part.cursor) == (whole.counts, whole.tokens, whole.cursor)
            assert part.passes == dict.fromkeys(whole.passes, 2)


# -- runs ---------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def feeds(short, tasks, tmp_path_factory):
    """Two stores with one tokenizer, and two labelled tasks."""
    folder = tmp_path_factory.mktemp("second")
    kinds = {name: tasks[name] for name in ("classify", "tag")}
    rows = [line.partition("\t")[0] for line in kinds["classify"][1].read_text().splitlines()][1:]
    (folder / "text.txt").write_text("\n\n".join("\n".join(rows[i : i + 6]) for i in range(0, 72, 6)), encoding="utf-8")
    bertsmith.prepare([str(folder / "text.txt")], folder / "store", tokenizer=str(short.path), holdout=0.1)
    files = {name: Files(task=kind, train=train, dev=dev) for name, (kind, train, dev) in kinds.items()}
    return {"docs": short, "made": folder / "store", **files}


def mix(feeds, out, steps=24, shares=None, **options):
    recipe = small("training.precision=float32", "training.evaluate=6")
    return bertsmith.multitask(
        recipe,
        feeds,
        out,
        steps=steps,
        shares=shares or Equal(),
        **{"seed": 3, "threads": 1, "set": ["batch=8"], **options},
    )


@pytest.mark.parametrize("each", ["one", "all"])
def test_a_mixture_of_two_stores_and_two_tasks_resumes_to_the_bit(feeds, tmp_path, each):
    mix(feeds, tmp_path / "straight", each=each)
    for how, at in (("stop", 3), ("kill", 8), ("stop", 13), ("kill", 19), ("stop", 22)):
        with pytest.raises(KeyboardInterrupt if how == "kill" else Interrupted):
            mix(feeds, tmp_path / "broken", each=each, resume=True, workers=at % 3, progress=Breaking(how, at))
    mix(feeds, tmp_path / "broken", each=each, resume=True)
    same(tmp_path / "straight", tmp_path / "broken")
    found = lines(tmp_path / "straight")
    asked = {"docs.token", "docs.pair", "made.token", "made.pair", "classify.label", "tag.tag"}
    assert found[0]["terms"].keys() == asked
    answered = [
        {term.partition(".")[0] for term, value in line["terms"].items() if value is not None} for line in found
    ]
    assert all(len(names) == (1 if each == "one" else 4) for names in answered)
    assert asked - {"made.pair"} <= found[-1]["evaluation"].keys()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_hundred_steps_of_a_mixture_have_their_shares_and_resume_five_times(feeds, tmp_path, capsys):
    shares = BySize(temperature=2)
    said: list[str] = []
    hear = lambda line: said.append(line) if line.startswith("mixture") else None
    mix(feeds, tmp_path / "straight", steps=200, shares=shares, say=hear)
    for at in (17, 58, 99, 140, 181):
        with pytest.raises(KeyboardInterrupt):
            mix(feeds, tmp_path / "broken", steps=200, shares=shares, resume=True, progress=Breaking("kill", at))
    mix(feeds, tmp_path / "broken", steps=200, shares=shares, resume=True)
    same(tmp_path / "straight", tmp_path / "broken")
    read = [next(t for t, v in line["terms"].items() if v is not None) for line in lines(tmp_path / "straight")]
    config = json.loads((tmp_path / "straight" / "config.json").read_text())
    counts = {name: sum(term.startswith(f"{name}.") for term in read) for name in config["data"]["feeds"]}
    asked = {name: float(share) for name, share in re.findall(r"(\w+) ([\d.]+)", said[0].partition(":")[2])}
    with capsys.disabled():
        print("\nshares of 200 steps:", {n: f"asked {asked[n]:.3f}, drawn {counts[n] / 200:.3f}" for n in feeds})
    expected = [200 * asked[name] / sum(asked.values()) for name in feeds]
    assert stats.chisquare(list(counts.values()), expected).pvalue > 0.01


def test_tasks_are_learned_beside_the_text_and_the_trunk_goes_on_to_others(feeds, tasks, tmp_path):
    found = mix(feeds, tmp_path / "run", steps=120, shares=Weighted(weights=(1, 0, 2, 1)))
    scores = found["evaluation"]
    assert scores["classify.label"]["accuracy"] > 0.6 and scores["tag.tag"]["loss"] < 1.0
    of_task = bertsmith.evaluate(f"{tmp_path / 'run'}:classify", feeds["classify"].dev)
    assert of_task["accuracy"]["value"] == pytest.approx(scores["classify.label"]["accuracy"], abs=1e-6)
    loaded = bertsmith.load(tmp_path / "run")
    recipe = json.loads((tmp_path / "run" / "config.json").read_text())["recipe"]
    assert json.loads(json.dumps(to_dict(from_dict(recipe)))) == recipe
    assert bertsmith.verify(tmp_path / "run")["kind"] == "run"
    assert bertsmith.fill(loaded, "a [MASK] word", top=2)["masks"], "its text's heads are the model's"
    assert bertsmith.evaluate(loaded, data=feeds["docs"])["token.loss"]["value"] > 0
    bertsmith.pretrain("bert", feeds["docs"], tmp_path / "on", steps=1, from_=tmp_path / "run", threads=1)
    kind, train, dev = tasks["classify"]
    tuned = bertsmith.finetune(
        loaded, task=kind, train=train, dev=dev, out=tmp_path / "tuned", threads=1, set=["epochs=1"]
    )
    assert tuned["dev"]["accuracy"]["value"] > 0.3


def test_a_mixture_begins_with_a_pre_trained_trunk_and_its_heads(feeds, pretrained, tmp_path):
    mix(feeds, tmp_path / "run", steps=1, from_=pretrained, shares=Weighted(weights=(0, 0, 1, 0)))
    before, after = (bertsmith.load(path).member.state_dict() for path in (pretrained, tmp_path / "run"))
    for name in ("objective.token.dense.weight", "objective.pair.out.weight"):
        assert torch.equal(before[name], after[name]), "nothing asked them yet"
    kept = load_file(tmp_path / "run" / "steps" / "step-00000001" / "model.safetensors")
    heads = {name.split(".")[1] for name in kept if name.startswith("objective.")}
    assert heads == {"feed_docs", "feed_classify", "feed_tag"}, "stores share their heads"


def test_a_feed_may_be_called_as_modules_call_their_parts(feeds, tmp_path):
    named = dict(zip(("train", "columns", "config", "of"), feeds.values(), strict=True))
    mix(named, tmp_path / "run", steps=8)
    assert "train.token" in lines(tmp_path / "run")[0]["terms"]


def test_tasks_that_are_read_otherwise_are_not_gone_on_with(feeds, tmp_path):
    with pytest.raises(Interrupted):
        mix(feeds, tmp_path / "run", progress=Breaking("stop", 5))
    for options, says in (
        ({"set": ["batch=16"]}, r"data\.feeds\.classify\.task\.settings\.batch: the run was begun with 8"),
        ({"set": ["batch=8", "length=24"]}, r"data\.feeds\.classify\.task\.length"),
        ({"each": "all"}, r"mixture\.each"),
    ):
        with pytest.raises(InputError, match=says):
            mix(feeds, tmp_path / "run", resume=True, **options)


@pytest.mark.parametrize(
    "shares, each",
    [(Stages(steps=(3, 2, 4)), "one"), (Stages(steps=(3, 2, 4)), "all"), (Weighted(weights=(0, 1, 0, 1)), "all")],
)
def test_a_mixture_of_so_many_tokens_reads_about_as_many(feeds, tmp_path, shares, each):
    mix(feeds, tmp_path / "run", steps=None, tokens=5000, shares=shares, each=each)
    assert lines(tmp_path / "run")[-1]["tokens"] == pytest.approx(5000, rel=0.1)


@pytest.mark.parametrize(
    "options, says",
    [
        ({"each": "every"}, "each: 'every' given; one of 'one', 'all' is wanted"),
        ({"shares": "equal"}, r"shares: equal: expected one of BySize\(\)"),
        ({"shares": Equal}, "shares: "),
        ({"seed": "x"}, "seed: 'x' given; a whole number from 0 is wanted"),
        ({"workers": -1}, "workers: -1 given; a whole number from 0 is wanted"),
        ({"set": ["lr=1"]}, r"set: lr: is not a task's here \(batch, length"),
        ({"feeds": ["store"]}, r"feeds: expected \{name: a store"),
        ({"feeds": {"wiki": 3}}, "wiki: an int, where a store"),
    ],
)
def test_what_a_mixture_cannot_be_is_said_in_one_line(feeds, tmp_path, options, says):
    options = {"feeds": feeds, "steps": 2, "recipe": small(), "out": tmp_path / "run", **options}
    with pytest.raises(InputError, match=says):
        bertsmith.multitask(**options)
    assert not (tmp_path / "run").exists()


def test_other_tokenizers_and_no_store_are_refused(feeds, store, tmp_path):
    with pytest.raises(InputError, match="another tokenizer than"):
        mix({**feeds, "other": store}, tmp_path / "run")
    with pytest.raises(InputError, match="one of the feeds must be a store"):
        mix({"classify": feeds["classify"]}, tmp_path / "run")
    assert not (tmp_path / "run").exists()
