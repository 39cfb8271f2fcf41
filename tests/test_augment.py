"""Rows that a masked model makes of labelled ones."""

import json

import numpy as np
import pytest
from tests.runs import small

import bertsmith
from bertsmith import cli
from bertsmith.downstream.augment import Spot, replaceable, rewritten
from bertsmith.errors import InputError

ROWS = {"text": ["the value of the list is not the same", "a class is an object (or a type)"], "label": ["a", "b"]}


@pytest.fixture(scope="module")
def model(pretrained):
    return bertsmith.load(pretrained)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_words_that_are_one_token_are_where_they_stand(model):
    text = ROWS["text"][1]
    spots = replaceable(model, text, 5)
    assert spots and all(text[spot.begin : spot.end].isalnum() and len(spot.words) <= 5 for spot in spots)
    assert all(text[spot.begin : spot.end].lower() not in spot.words for spot in spots)
    assert all(word.isalnum() for spot in spots for word in spot.words)


def test_every_spot_is_taken_at_its_rate_and_nothing_else_changes():
    text, spots = "one two, three", [Spot(0, 3, ["x"]), Spot(9, 14, ["y", "z"])]
    assert rewritten(text, spots, 1.0, np.uint64(5)) in ("x two, y", "x two, z")
    found = [rewritten(text, spots, 0.4, np.uint64(key)) for key in range(2000)]
    assert abs(np.mean([one.startswith("x") for one in found]) - 0.4) < 0.04
    assert abs(np.mean([one.endswith("y") for one in found]) - 0.2) < 0.04
    assert all(" two, " in one for one in found) and rewritten(text, [], 1.0, np.uint64(1)) == text


def test_rows_keep_their_labels_and_come_again_by_seed(model, tmp_path):
    options = {"samples": 6, "top": 4}
    first = bertsmith.augment(model, ROWS, tmp_path / "a.jsonl", **options)
    bertsmith.augment(model, ROWS, tmp_path / "b.jsonl", **options)
    bertsmith.augment(model, ROWS, tmp_path / "c.jsonl", seed=1, **options)
    made = lines(tmp_path / "a.jsonl")
    assert made == lines(tmp_path / "b.jsonl") != lines(tmp_path / "c.jsonl")
    assert first["rows"] == 2 and first["written"] == len(made) == 2 * 7 - first["alike"]
    assert made[0] == {"text": ROWS["text"][0], "label": "a"} and [row["label"] for row in made] == sorted(
        row["label"] for row in made
    )
    assert len({row["text"] for row in made}) == len(made) > 8
    assert all(len(row["text"].split()) == len(ROWS["text"][0].split()) for row in made if row["label"] == "a")


def test_pairs_are_rewritten_on_both_sides(model, tmp_path):
    rows = {"text": ["a list of the names"], "text2": ["the value is an object"], "label": [1]}
    bertsmith.augment(model, rows, tmp_path / "a.jsonl", samples=8, rate=0.8)
    made = lines(tmp_path / "a.jsonl")
    assert len({row["text"] for row in made}) > 2 and len({row["text2"] for row in made}) > 2


def test_from_the_command_line_and_what_is_refused(model, pretrained, short, tmp_path, capsys):
    (tmp_path / "rows.tsv").write_text("text\tlabel\nthe value of a list\tyes\nan object is a class\tno\n")
    command = ["augment", str(pretrained), "--input", str(tmp_path / "rows.tsv"), "--samples", "3", "--out"]
    assert cli.run([*command, str(tmp_path / "more.jsonl"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 2
    for options, why in (
        ({"samples": 0}, "samples=0: expected a number from 1"),
        ({"rate": 1.5}, r"rate=1\.5: a share above 0"),
        ({"out": tmp_path / "more.txt"}, "lines of JSON are written"),
    ):
        with pytest.raises(InputError, match=why):
            bertsmith.augment(model, ROWS, **{"out": tmp_path / "x.jsonl", **options})
    bertsmith.pretrain(small(member="gpt2"), short, tmp_path / "gpt", steps=1, threads=1)
    with pytest.raises(InputError, match="fills no masks"):
        bertsmith.augment(tmp_path / "gpt", ROWS, tmp_path / "x.jsonl")
