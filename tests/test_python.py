"""The verbs as functions: settings as a dict, what a run would cost and leave out, errors in the words that the user has."""

import json

import numpy as np
import pytest
from tests.runs import small

import bertsmith
from bertsmith.cli import run as command
from bertsmith.config import assignments_of, override
from bertsmith.data.text import Text
from bertsmith.errors import InputError, NumericsError
from bertsmith.recipe import find
from bertsmith.text.store import Store
from bertsmith.training.planning import left_out


def test_settings_are_a_dict_or_texts():
    given = {"model.layers": 3, "schedule.lr": 1e-3, "training.compile": True, "model.share": "all"}
    asked = ["model.layers=3", "schedule.lr=0.001", "training.compile=true", "model.share=all"]
    recipe = find("bert:tiny")
    assert override(recipe, given) == override(recipe, asked)
    assert assignments_of({"frozen": ("model.embeddings",), "length": None}) == [
        'frozen=["model.embeddings"]',
        "length=null",
    ]
    for wrong in ("model.layers=3", 3, [3], {"model.layers": object()}):
        with pytest.raises(InputError, match=r"^set: "):
            override(recipe, wrong)


def test_pretrain_show_and_finetune_take_them(short, tmp_path):
    settings = {"model.width": 16, "model.hidden": 32, "model.heads": 2, "layout.length": 32, "training.batch": 256}
    bertsmith.pretrain("bert:tiny", short, tmp_path / "run", steps=1, set=settings, threads=1)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["recipe"]["model"]["width"] == 16
    *_, last = bertsmith.show("bert:tiny", short, n=1, set={"corruption.select.rate": 0.5})
    assert last["summary"]["requested"]["rate"] == 0.5
    (tmp_path / "a.tsv").write_text("text\tlabel\n" + "one two\ta\nthree four\tb\n" * 4)
    (tmp_path / "b.tsv").write_text("text\tlabel\nfive\ta\nsix\tb\n")
    options = {"task": "classify", "train": tmp_path / "a.tsv", "dev": tmp_path / "b.tsv", "allow_unknown": True}
    found = bertsmith.finetune(
        tmp_path / "run", out=tmp_path / "tuned", steps=1, set={"batch": 4, "lr": 1e-3}, **options
    )
    assert found["kind"] == "finetune"


def test_errors_of_fine_tuning_name_its_own_settings(pretrained, tmp_path, monkeypatch):
    (tmp_path / "a.tsv").write_text("text\tlabel\n" + "one two\ta\nthree four\tb\n" * 4)
    (tmp_path / "b.tsv").write_text("text\tlabel\nfive\ta\nsix\tb\n")
    options = {"task": "classify", "train": tmp_path / "a.tsv", "dev": tmp_path / "b.tsv", "allow_unknown": True}
    with pytest.raises(NumericsError, match=r"a lower lr ") as caught:
        bertsmith.finetune(pretrained, out=tmp_path / "tuned", steps=40, set={"lr": 1e30, "clip": 0.0}, **options)
    assert "schedule" not in str(caught.value)


def test_plan_is_a_verb_and_takes_minutes(short, capsys):
    found = bertsmith.plan(small(), short, steps=10, threads=1)
    assert found["run"]["updates"] == 10 and found["parameters"] > 0
    minute = bertsmith.plan(small(), short, minutes=1, threads=1)
    assert 0.2 < minute["run"]["seconds"] / 60 < 5
    assert bertsmith.plan(small(), short, threads=1)["run"] is None
    with pytest.raises(InputError, match="only one of"):
        bertsmith.plan(small(), short, steps=1, minutes=1)
    assert command(["plan", "bert:tiny", "--minutes", "1", "--set", "model.layers=1", "--threads", "1"]) == 0
    assert "updates" in capsys.readouterr().out


def test_few_pairs_are_said_where_a_recipe_has_pairs(documents, tmp_path):
    texts = [documents[0], documents[1], *("A single sentence stands here" for _ in range(9))]
    (tmp_path / "a.txt").write_text("\n\n".join(" ".join(text.split()) for text in texts))
    said = []
    bertsmith.prepare(tmp_path / "a.txt", tmp_path / "store", tokenizer="wordpiece:200", holdout=0, say=said.append)
    assert not [line for line in said if "two sentences" in line or "SegmentPairs" in line]
    assert "language" not in " ".join(said) and Store.open(tmp_path / "store").manifest["options"]["language"] is None
    for member, many in (("bert", 1), ("roberta", 0)):
        told = {"plan": [], "show": [], "pretrain": []}
        recipe = small(member=member)
        bertsmith.plan(recipe, tmp_path / "store", threads=1, say=told["plan"].append)
        list(bertsmith.show(recipe, tmp_path / "store", say=told["show"].append))
        bertsmith.pretrain(
            recipe, tmp_path / "store", tmp_path / member, steps=1, threads=1, say=told["pretrain"].append
        )
        for lines in told.values():
            few = [line for line in lines if "only 2 of 11 documents have two sentences" in line]
            assert len(few) == many and all("SegmentPairs" in line and "(roberta)" in line for line in few)


def test_what_a_layout_leaves_out_is_said_with_its_count(short, tmp_path):
    """The count is that of the tokens that stand in no sequence of the epoch."""
    pairs, whole = (small(member=name).with_vocab(short.vocab.size) for name in ("bert", "roberta"))
    assert not left_out(Text.of(whole, short, seed=0))
    feed = Text.of(pairs, short, seed=0)
    (line,) = left_out(feed)
    lost, corpus = feed.left_out()
    plan, read = feed.epoch(0).plan, np.zeros(corpus, bool)
    for begin, end in zip(plan.begin.tolist(), plan.end.tolist(), strict=True):
        read[begin:end] = True
    assert (~read).sum() == lost > 0
    assert f"{lost:,} of {corpus:,} tokens" in line
    said = []
    bertsmith.pretrain(pairs, short, tmp_path / "run", steps=1, threads=1, say=said.append)
    assert line in said
    said.clear()
    bertsmith.plan(pairs, short, threads=1, say=said.append)
    assert line in said
