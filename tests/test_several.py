"""The contract of members that read several feeds: they learn, go on where they stopped, and divide among processes as any other does."""

import json
import math
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.test_distributed import alike, job
from tests.workers import outcome, work

import bertsmith
from bertsmith.config import from_dict, override, to_dict
from bertsmith.data.loader import Loader
from bertsmith.data.mixture import Curriculum
from bertsmith.data.text import feed_of
from bertsmith.downstream.labelled_files import Files
from bertsmith.downstream.mixing import mixed_run
from bertsmith.nn.member import build
from bertsmith.recipe import find, members
from bertsmith.text.prepare import prepare
from bertsmith.text.store import Store
from bertsmith.training.pretraining import pretrain

SEVERAL = sorted(name for name in members() if find(f"{name}:tiny").mixture is not None)
every = pytest.mark.parametrize("name", SEVERAL)
SMALL = ["model.width=32", "model.hidden=64", "model.heads=2", "layout.length=64", "training.batch=512"]


@pytest.fixture(scope="session")
def knowing(documents, tmp_path_factory):
    """(a store that knows phrases, entities, capitals, two languages and parallel lines; the file of its English)."""
    folder = tmp_path_factory.mktemp("knowing")
    path = folder / "en.txt"
    path.write_text("\n\n".join(documents[:45]) + "\n", encoding="utf-8")
    names = re.findall(r"(?<=[a-z,] )[A-Z][a-z]+(?: [A-Z][a-z]+)*", path.read_text(encoding="utf-8"))
    (folder / "names.txt").write_text("\n".join(sorted({*names})) + "\n", encoding="utf-8")
    levels = {"phrases": "npmi", "entities": str(folder / "names.txt"), "capitals": True}
    options = {"tokenizer": "wordpiece:1000", "lowercase": True, "holdout": 0.1}
    prepare([str(path)], folder / "store", **options, **levels)
    return Store.open(folder / "store"), path


@pytest.fixture(scope="session")
def paired(documents, tmp_path_factory):
    """A store of English, its mirror and lines of both."""
    folder = tmp_path_factory.mktemp("paired")
    mirror = lambda text: " ".join(word[::-1] for word in text.split(" "))
    lines = [line for text in documents[:12] for line in text.split("\n")]
    for name, texts in (
        ("en", documents[12:24]),
        ("ne", ["\n".join(map(mirror, t.split("\n"))) for t in documents[24:34]]),
    ):
        (folder / f"{name}.txt").write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    (folder / "both.tsv").write_text("".join(f"{line}\t{mirror(line)}\n" for line in lines), encoding="utf-8")
    named = [f"en={folder}/en.txt", f"ne={folder}/ne.txt", f"en+ne={folder}/both.tsv"]
    prepare(named, folder / "store", tokenizer="wordpiece:600", lowercase=True, holdout=0.15)
    return Store.open(folder / "store")


@pytest.fixture
def read(knowing, paired):
    """The store that a member can read."""
    return lambda name: paired if name.startswith("mbert") else knowing[0]


def small(name, *settings):
    return override(find(f"{name}:tiny"), [*SMALL, *settings])


@every
def test_each_feed_begins_blind(name, read):
    recipe = small(name).with_vocab(read(name).vocab)
    torch.manual_seed(0)
    member, feed = build(recipe), feed_of(recipe, read(name), 0)
    for part in recipe.feeds:
        step = next(iter(Loader(type(feed)({part: feed.feeds[part]}, EQUAL, seed=0))))
        sums = member.objective(member.model, step.batches[0].to("cpu"))
        for term, value in sums.items():
            head = next(h for h in recipe.feeds[part].objective.heads if term == f"{part}.{h.name}")
            classes = getattr(head, "classes", recipe.model.vocab)
            assert abs(value.item() / step.counts[term] - math.log(classes)) < 0.35, term


EQUAL = bertsmith.find("mbert-tlm:tiny").mixture.shares.__class__(weights=(1.0,))


@every
def test_counts_are_known_without_the_batch(name, read):
    recipe = small(name).with_vocab(read(name).vocab)
    for text in feed_of(recipe, read(name), 0).feeds.values():
        epoch = text.epoch(0)
        rows = [[(epoch, epoch.order[a : a + 5])] for a in (0, 5, 10)]
        assert text.counts(rows) == [batch.counts() for batch in text.batches(rows)]


@every
def test_accumulation_equals_one_big_batch(name, read):
    gradients = []
    for accumulate in (1, 3):
        recipe = small(name, "model.dropout=0", "mixture.each=all").with_vocab(read(name).vocab)
        feed = feed_of(recipe, read(name), 0)
        feed.shares = type(EQUAL)(weights=(1.0,) * len(feed.feeds))
        step = next(iter(Loader(feed, accumulate=accumulate)))
        assert len(step.batches) == accumulate * len(feed.feeds)
        torch.manual_seed(0)
        member = build(recipe).double()
        weights = member.objective.weights()
        for batch in step.batches:
            sums = member.objective(member.model, batch.to("cpu"))
            sum(weights[term] * loss / step.counts[term] for term, loss in sums.items()).backward()
        gradients.append({key: p.grad for key, p in member.named_parameters()})
    for key, one in gradients[0].items():
        torch.testing.assert_close(
            gradients[1][key], one, rtol=1e-6, atol=1e-9, msg=lambda text, key=key: f"{key}: {text}"
        )


class StopAfter:
    def __init__(self, step):
        self.step = step

    def __call__(self, step, *_):
        if step == self.step:
            raise KeyboardInterrupt


@every
def test_a_run_that_was_resumed_in_another_stage_equals_one_that_was_not(name, read, tmp_path):
    """A step is saved in one stage, and the run breaks off in the next; it goes on with other workers."""
    recipe = small(name, "model.dropout=0.1", "training.checkpoint=3", "training.evaluate=8", "training.held_out=256")
    recipe = recipe if name != "ernie2" else override(recipe, ["mixture.shares.order=turns"])
    pretrain(recipe, read(name), tmp_path / "straight", steps=12, threads=1)
    for at, resume in ((5, False), (10, True)):
        with pytest.raises(KeyboardInterrupt):
            pretrain(recipe, read(name), tmp_path / "on", steps=12, threads=1, resume=resume, progress=StopAfter(at))
    pretrain(recipe, read(name), tmp_path / "on", steps=12, threads=1, resume=True, workers=2)
    for file in ("metrics.jsonl", "steps/step-00000012/model.safetensors"):
        assert (tmp_path / "straight" / file).read_bytes() == (tmp_path / "on" / file).read_bytes(), file
    lines = [json.loads(line) for line in (tmp_path / "straight" / "metrics.jsonl").read_text().splitlines()]
    read_feeds = [
        {term.partition(".")[0] for term, value in line["terms"].items() if value is not None} for line in lines
    ]
    if name == "ernie2":
        assert [next(iter(found)) for found in read_feeds] == [
            feed for feed in ("knowledge", "capital", "relation", "reorder", "distance", "discourse") for _ in range(2)
        ]
    assert {term.partition(".")[0] for term in lines[-1]["evaluation"]} == set(recipe.mixture.names)


@pytest.fixture(scope="module")
def two(children, knowing, paired, tmp_path_factory):
    folder, jobs = tmp_path_factory.mktemp("several"), []
    for name, store in (("ernie2", knowing[0]), ("gpt-bert", knowing[0]), ("mbert-tlm", paired)):
        options = {"options": {"steps": 12}}
        jobs += [
            job(store, f"{name}-one", member=name, alone=True, **options),
            job(store, f"{name}-ddp", member=name, **options),
        ]
    work(children, folder, jobs)
    return folder


@every
def test_two_processes_learn_what_one_does(two, name):
    for run in ("one", "ddp"):
        assert outcome(two, f"{name}-{run}")["code"] == 0, outcome(two, f"{name}-{run}")
    alike(two / f"{name}-one", two / f"{name}-ddp")


@every
def test_a_run_is_a_model_of_its_main_text(name, read, tmp_path):
    """Filled, fine-tuned, planned and shown as any other; what it was asked beside is gone."""
    store = read(name)
    pretrain(small(name, "training.evaluate=0"), store, tmp_path / "run", steps=3, threads=1)
    loaded = bertsmith.load(tmp_path / "run")
    assert loaded.recipe.mixture is None and "token" in loaded.member.weights()
    (found,) = bertsmith.fill(tmp_path / "run", ["the [MASK] of a class"])
    assert len(found["masks"]) == 1
    tree = json.loads((tmp_path / "run" / "config.json").read_text())["recipe"]
    assert to_dict(from_dict(tree)) == tree
    words = "if is not for while class def".split()
    rows = [{"text": f"{word} is {other}", "label": str(n % 2)} for n, word in enumerate(words) for other in words[:4]]
    tuned = bertsmith.finetune(
        tmp_path / "run", task="classify", train=rows[:16], dev=rows[16:], out=tmp_path / "tuned", steps=2, threads=1
    )
    assert "dev" in tuned
    cost = bertsmith.plan(small(name), store, steps=10)
    assert cost["tokens"] == 512


@every
def test_a_run_goes_on_from_one_with_or_without_feeds(name, read, tmp_path):
    first, store = tmp_path / "first", read(name)
    member = "mbert" if name.startswith("mbert") else name
    sets = ["training.evaluate=0", "training.precision=float32"]
    pretrain(small(member, *sets), store, first, steps=2, threads=1)
    pretrain(small(name, *sets), store, tmp_path / "next", steps=2, threads=1, from_=first)
    start = lambda folder: load_file(folder / "steps" / "step-00000002" / "model.safetensors")
    old, new = start(first), start(tmp_path / "next")
    front = "objective.feed_text." if member == "mbert" else "objective."
    for key, tensor in old.items():
        mine = new[key if key in new else front + key.removeprefix("objective.")]
        assert (mine - tensor).abs().max() < 0.02, key  # two updates away, not drawn anew
    table = "model.embeddings.tokens.weight"
    assert (old[table] - new[table]).abs().mean() < 0.2 * old[table].abs().mean()


def test_labelled_rows_are_the_last_stage_of_a_curriculum(knowing, tmp_path):
    """Queries and titles, where somebody has them: a task of three classes behind the six of the text."""
    for part, words in (("train", "if for def class"), ("dev", "while not and")):
        rows = [f"what is {w}\t{w} is {n}\t{n}\n" for w in words.split() for n in range(3)]
        (tmp_path / f"{part}.tsv").write_text("text\ttext2\tlabel\n" + "".join(rows), encoding="utf-8")
    files = Files(task="classify", train=tmp_path / "train.tsv", dev=tmp_path / "dev.tsv")
    recipe = small("ernie2", "training.evaluate=0", "training.checkpoint=4")
    options = {"steps": 56, "threads": 1, "set": ["batch=4"]}
    mixed_run(recipe, {"text": knowing[0], "relevance": files}, tmp_path / "run", **options)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    read = [{term.partition(".")[0] for term, value in line["terms"].items() if value is not None} for line in lines]
    begins = Curriculum().of(56).begins(7)
    assert all(found == {"knowledge"} for found in read[: begins[1]])
    late = [number for number, found in enumerate(read) if "relevance" in found]
    assert late and late[0] >= begins[6]
    assert {term.partition(".")[0] for term in lines[-1]["evaluation"]} == {*recipe.mixture.names, "relevance"}
    assert bertsmith.load(tmp_path / "run").recipe.mixture is None


@every
@pytest.mark.slow
def test_every_term_falls(name, read, tmp_path):
    recipe = override(
        find(f"{name}:tiny"), ["training.batch=512", "layout.length=64", "schedule.lr=2e-3", "training.evaluate=0"]
    )
    pretrain(recipe, read(name), tmp_path / "run", steps=600, threads=1)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    for term in build(recipe.with_vocab(read(name).vocab)).objective.weights():
        found = [line["terms"][term] for line in lines if line["terms"].get(term) is not None]
        assert not found or np.mean(found[-20:]) < np.mean(found[:10]) + 0.02, term
