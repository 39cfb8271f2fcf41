"""Text beyond memory: a split in sections reads what the whole does, in an order that is exact and everybody's; and large stores are checked
while a run begins."""

import json
import shutil
import threading
from itertools import islice

import numpy as np
import pytest
from tests.runs import Breaking, lines, small

from bertsmith.data.loader import Loader
from bertsmith.data.mixture import BySize, Mixture
from bertsmith.data.text import Text
from bertsmith.errors import InputError, Interrupted
from bertsmith.text import checking, sections
from bertsmith.text import store as stores
from bertsmith.text.blend import blended
from bertsmith.text.multilingual import languages_of
from bertsmith.text.prepare import prepare
from bertsmith.text.sections import Sections
from bertsmith.text.store import Store
from bertsmith.training.budget import Extent
from bertsmith.training.pretraining import pretrain

PLAIN = ["training.precision=float32", "training.evaluate=0", "model.dropout=0.0"]


@pytest.fixture
def cut(monkeypatch):
    """Splits are large from 8,000 tokens on, and a section has 6,000."""
    monkeypatch.setattr(sections, "WHOLE", 8_000)
    monkeypatch.setattr(sections, "SECTION", 6_000)
    monkeypatch.setattr(sections, "RUNS", 4)


@pytest.fixture(scope="module")
def plain(documents, tmp_path_factory):
    """A store without links, of short documents."""
    folder = tmp_path_factory.mktemp("sections")
    short = [text[at : at + 300].strip() for text in documents for at in range(0, len(text), 300)]
    (folder / "text.txt").write_text("\n\n".join(short) + "\n", encoding="utf-8")
    prepare([str(folder / "text.txt")], folder / "store", tokenizer="wordpiece:600", lowercase=True, holdout=0.1)
    return Store.open(folder / "store")


def places(split) -> np.ndarray:
    """Which tokens of the whole the tokens of a section are."""
    return split._there(np.arange(split.count))


def test_sections_are_the_whole_split_each_a_sample_of_all_of_it(plain, cut):
    found = Sections(plain.train)
    parts = [found.section(number) for number in range(found.count)]
    assert found.count > 4
    assert (np.sort(np.concatenate([places(part) for part in parts])) == np.arange(plain.train.count)).all()
    for part in parts:
        assert part.count == pytest.approx(plain.train.count / found.count, rel=0.25)
        where = places(part) / plain.train.count
        assert len(part.moved) > 3 and where.min() < 0.3 and where.max() > 0.7
    sizes = lambda split: np.diff(split.sentences[split.documents]).tolist()
    assert sorted(size for part in parts for size in sizes(part)) == sorted(sizes(plain.train))


def test_a_section_reads_like_a_split(plain, cut):
    part, split = Sections(plain.train).section(1), plain.train
    there = places(part)
    everywhere = np.random.default_rng(0).permutation(part.count)
    for name in ("gather", "starts"):
        assert (getattr(part, name)(everywhere) == getattr(split, name)(there[everywhere])).all()
        assert (getattr(part, name)(slice(5, 500)) == getattr(split, name)(there[5:500])).all()
    assert (np.isin(there[part.sentences[:-1]], split.sentences)).all()
    assert (np.isin(there[part.sentences[part.documents[:-1]]], split.sentences[split.documents])).all()


@pytest.mark.parametrize("member", ["bert", "roberta", "spanbert", "albert", "electra"])
def test_an_epoch_in_sections_reads_every_token_as_often_as_a_whole_one(plain, cut, member):
    recipe = small(member=member)
    text = Text.of(recipe, plain, 3)
    of = text.sections.count
    for epoch in (0, 1):
        seen, numbers = np.zeros(plain.train.count, np.int64), []
        for number in range(epoch * of, (epoch + 1) * of):
            found = text.epoch(number)
            assert sorted(found.order.tolist()) == list(range(len(found.lengths))) and found.of == of
            plan = found.plan
            if not plan.account["repeated"]:
                for begin, end in zip(plan.begin.tolist(), plan.end.tolist()):
                    seen[places(plan.split)[begin:end]] += 1
            row = plan.row(found.order[:5])
            numbers += (plan.number + np.arange(len(plan.labels))).tolist()
            assert (row.example == found.order[:5] + plan.number).all() and (row.epoch == epoch).all()
            assert 0 <= plan.into.min() and plan.into.max() < 1
            assert np.floor(plan.into.min() * of + 1e-9) == number % of
        assert len(set(numbers)) == len(numbers)
        if member in ("roberta", "spanbert"):
            assert (seen == 1).all()


def test_epochs_differ_in_order_and_layouts_without_pairs_in_nothing_else(plain, cut):
    text = Text.of(small(member="roberta"), plain, 0)
    of = text.sections.count
    order = lambda epoch: [text.epoch(number).plan.number for number in range(epoch * of, (epoch + 1) * of)]
    assert sorted(order(0)) == sorted(order(1)) and order(0) != order(1)
    by_number = lambda epoch: {text.epoch(n).plan.number: text.epoch(n) for n in range(epoch * of, (epoch + 1) * of)}
    first, second = by_number(0), by_number(1)
    for number, one in first.items():
        assert (one.plan.begin == second[number].plan.begin).all() and (one.plan.end == second[number].plan.end).all()
        assert (one.order != second[number].order).any()


def test_a_smaller_split_and_a_layout_of_columns_are_planned_whole(plain, cut, monkeypatch):
    assert Text.of(small(member="xlnet"), plain, 0).sections is None
    monkeypatch.setattr(sections, "WHOLE", 1 << 27)
    whole = Text.of(small(), plain, 0)
    assert whole.sections is None and whole.epoch(0).of == 1


def test_what_an_epoch_takes_is_that_of_all_sections(plain, cut, monkeypatch):
    recipe = small(member="roberta")
    text = Text.of(recipe, plain, 0)
    cut_extent, sizes = Extent.of(text), Mixture({"a": text}, BySize(), seed=0).sizes
    monkeypatch.setattr(sections, "WHOLE", 1 << 27)
    extent = Extent.of(Text.of(recipe, plain, 0))
    for name in ("tokens", "sequences", "steps"):
        assert getattr(cut_extent, name) == pytest.approx(getattr(extent, name), rel=0.15), name
    assert sizes[0] == cut_extent.sequences


def test_any_processes_read_the_same_and_go_on_from_any_step(plain, cut):
    recipe = small("training.batch=512")
    feed = lambda: Text.of(recipe, plain, 1)
    alone = list(islice(Loader(feed()), 60))
    assert alone[-1].cursor[0] >= 3  # across borders of sections
    said = lambda steps: [(step.counts, step.tokens, step.cursor) for step in steps]
    for rank in (0, 4):
        assert said(islice(Loader(feed(), rank=rank, world=5, workers=1), 60)) == said(alone)
    later = list(islice(Loader(feed(), cursor=alone[40].cursor, step=41), 19))
    assert said(later) == said(alone[41:])
    same = [np.array_equal(a.batches[0].input.tokens, b.batches[0].input.tokens) for a, b in zip(later, alone[41:])]
    assert all(same)


def test_every_section_of_a_blend_has_its_share_of_each_store(documents, plain, cut, tmp_path):
    (tmp_path / "few.txt").write_text("\n\n".join(text[:300] for text in documents[:3]) + "\n", encoding="utf-8")
    loaded = {"tokenizer": str(plain.path), "holdout": 0, "allow_unknown": True}
    prepare([str(tmp_path / "few.txt")], tmp_path / "few", **loaded)
    for weights, wanted in (((3, 1), 0.25), (None, None)):
        store = blended([plain, Store.open(tmp_path / "few")], weights)
        text = Text.of(small(member="roberta"), store, 0)
        sizes = np.array([part.count for part in store.train.parts])
        for number in range(text.sections.count):
            epoch = text.epoch(number)
            of = np.bincount(languages_of(epoch.plan, epoch.order), weights=epoch.lengths[epoch.order], minlength=2)
            assert of[1] / of.sum() == pytest.approx(sizes[1] / sizes.sum() if wanted is None else wanted, abs=0.03)


def test_a_long_document_leaves_no_section_empty(monkeypatch):
    monkeypatch.setattr(sections, "SECTION", 100)
    from tests.corpora import split_of

    shape = [[10] * 200, *([[10]] * 64)]
    split = split_of(shape)
    found = Sections(split)
    parts = [found.section(number) for number in range(found.count)]
    assert all(part.count for part in parts)
    assert (np.sort(np.concatenate([places(part) for part in parts])) == np.arange(split.count)).all()


def test_a_run_over_sections_that_is_broken_off_is_the_same_to_the_byte(plain, cut, tmp_path):
    options = {"steps": 30, "seed": 2, "threads": 1}
    recipe = small(*PLAIN, "training.batch=1024")
    pretrain(recipe, plain, tmp_path / "whole", **options)
    with pytest.raises(Interrupted):
        pretrain(recipe, plain, tmp_path / "part", **options, progress=Breaking("stop", 11))
    assert len(lines(tmp_path / "part")) == 11
    pretrain(recipe, plain, tmp_path / "part", **options, resume=True)
    assert [line["step"] for line in lines(tmp_path / "whole")] == list(range(1, 31))
    assert (tmp_path / "part" / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()


# What is checked while a run begins


@pytest.fixture
def damaged(plain, tmp_path):
    """A copy of the store with one bit of its ids turned."""
    shutil.copytree(plain.path, tmp_path / "store")
    with open(tmp_path / "store" / "train-00000.npy", "r+b") as file:
        file.seek(2000)
        byte = file.read(1)[0]
        file.seek(2000)
        file.write(bytes([byte ^ 1]))
    return tmp_path / "store"


def test_a_large_store_is_checked_beside_the_first_updates_and_nothing_is_saved_before(damaged, monkeypatch, tmp_path):
    with pytest.raises(InputError, match=r"train-00000\.npy: damaged"):
        pretrain(small(*PLAIN), damaged, tmp_path / "small", steps=7, threads=1)
    assert not (tmp_path / "small").exists()
    monkeypatch.setattr(stores, "LATER", 1000)
    said: list[str] = []
    with pytest.raises(InputError, match=r"train-00000\.npy: damaged"):
        pretrain(small(*PLAIN), damaged, tmp_path / "run", steps=7, threads=1, say=said.append)
    assert any("against its manifest meanwhile" in line for line in said)
    assert not list((tmp_path / "run" / "steps").iterdir())


def test_a_run_waits_for_the_check_before_it_saves(plain, monkeypatch, tmp_path):
    monkeypatch.setattr(stores, "LATER", 1000)
    begins, steps = threading.Event(), []
    honest = checking.files.check

    def slow(*arguments, **options):
        if threading.current_thread().name == "checking":
            begins.wait(30)
        return honest(*arguments, **options)

    monkeypatch.setattr(checking.files, "check", slow)

    def progress(step, *_):
        steps.append((step, [*(tmp_path / "run" / "steps").iterdir()]))
        if step == 4:
            begins.set()

    pretrain(
        small(*PLAIN, "training.checkpoint=6"), plain.path, tmp_path / "run", steps=8, threads=1, progress=progress
    )
    assert [step for step, _ in steps] == list(range(1, 9)) and not steps[5][1] and steps[6][1]


def test_whatever_goes_wrong_on_a_damaged_store_is_told_as_damage(damaged, monkeypatch, tmp_path):
    monkeypatch.setattr(stores, "LATER", 1000)

    def wrong(*_, **__):
        raise IndexError("index out of range in self")

    monkeypatch.setattr("bertsmith.training.updates.train_step", wrong)
    with pytest.raises(InputError, match=r"train-00000\.npy: damaged"):
        pretrain(small(*PLAIN), damaged, tmp_path / "run", steps=7, threads=1)


def test_on_each_machine_one_process_checks(plain, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    manifest = json.loads((plain.path / "manifest.json").read_text())
    made = checking.Checking(plain.path / "nowhere", manifest["files"])
    made.passed()
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(InputError, match="missing"):
        checking.Checking(plain.path / "nowhere", manifest["files"]).passed()
    assert checking.passed(()) is None
