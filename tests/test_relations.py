"""Relations between two places of a text, and types of one: their files, their marks, and models with and without entities."""

import json

import numpy as np
import pytest

import bertsmith
from bertsmith.downstream.model import load
from bertsmith.errors import InputError
from bertsmith.tasks.kinds import KINDS
from bertsmith.tasks.mentions import read_mentioned
from bertsmith.tasks.reading import Reading
from bertsmith.training.pretraining import pretrain

PARIS = {"text": "Paris is in France", "head": [0, 5, "Q90"], "tail": [12, 18, "Q142"], "label": "in"}
WAYS = {
    "characters.jsonl": PARIS,
    "opennre.jsonl": {
        "token": ["Paris", "is", "in", "France"],
        "h": {"name": "paris", "id": "Q90", "pos": [0, 1]},
        "t": {"name": "france", "id": "Q142", "pos": [3, 4]},
        "relation": "in",
    },
    "fewrel.json": {
        "in": [
            {"tokens": ["Paris", "is", "in", "France"], "h": ["paris", "Q90", [[0]]], "t": ["france", "Q142", [[3]]]}
        ]
    },
    "tacred.json": [
        {
            "token": ["Paris", "is", "in", "France"],
            "subj_start": 0,
            "subj_end": 0,
            "obj_start": 3,
            "obj_end": 3,
            "relation": "in",
            "links": [[0, 5, "Q90"], [12, 18, "Q142"]],
        }
    ],
    "released.json": [
        {"text": "Paris is in France", "ents": [["Q90", 0, 5, 0.5], ["Q142", 12, 18, 0.5]], "label": "in"}
    ],
}


@pytest.mark.parametrize("name", WAYS)
def test_all_forms_of_a_file_say_the_same(tmp_path, name):
    (tmp_path / name).write_text(json.dumps(WAYS[name]) + "\n")
    found = read_mentioned(tmp_path / name, True, None, True, "utf-8")
    assert found.columns["text"] == ["Paris is in France"] and found.columns["label"] == ["in"]
    assert found.columns["places"] == [((0, 5, "Q90"), (12, 18, "Q142"))]


def test_what_has_no_places_is_told_with_its_line(tmp_path):
    file = tmp_path / "rows.jsonl"
    for row, what in (
        ({"text": "Paris", "label": "in"}, r"rows\.jsonl:2: a text with the places of head and tail is wanted"),
        ({**PARIS, "tail": [12, 40]}, r"rows\.jsonl:2: \[12, 40\] is no part of a text of 18 characters"),
        ({k: v for k, v in PARIS.items() if k != "label"}, r"rows\.jsonl:2: has no label"),
    ):
        file.write_text(json.dumps(PARIS) + "\n" + json.dumps(row) + "\n")
        with pytest.raises(InputError, match=what):
            KINDS["relation"].read(file)


def rows(count, seed, typing=False):
    """Who stands first decides the relation; the words between do not."""
    rng, found = np.random.default_rng(seed), []
    names = [("list", "E1"), ("tuple", "E2"), ("class", "E3"), ("module", "E4")]
    for _ in range(count):
        (a, one), (b, other) = (names[i] for i in rng.permutation(4)[:2])
        text = f"the {a} and the {b} {' '.join(rng.choice(['of', 'in', 'for', 'is', 'not'], 3))}"
        head, tail = [4, 4 + len(a), one], [12 + len(a), 12 + len(a) + len(b), other]
        if typing:
            found.append({"text": text, "mention": head, "labels": ["short"] * (len(a) < 6) + [a[0]]})
            continue
        swapped = bool(rng.random() < 0.5)
        places = {"head": tail, "tail": head} if swapped else {"head": head, "tail": tail}
        found.append({"text": text, **places, "label": "before" if swapped else "after"})
    return found


def written(folder, typing=False):
    for part, count, seed in (("train", 96, 0), ("dev", 32, 1)):
        lines = [json.dumps(row) for row in rows(count, seed, typing)]
        (folder / f"{part}.jsonl").write_text("\n".join(lines) + "\n")
    return {"train": folder / "train.jsonl", "dev": folder / "dev.jsonl"}


def test_the_relation_that_only_the_marks_tell_is_learned(pretrained, tmp_path):
    files, said = written(tmp_path), []
    options = {"threads": 1, "epochs": 12, "set": ["batch=8", "lr=0.01"], "say": said.append}
    result = bertsmith.finetune(pretrained, task="relation", out=tmp_path / "run", **files, **options)
    assert result["dev"]["accuracy"]["value"] > 0.9
    assert any("2 new tokens" in line for line in said)
    found, base = load(tmp_path / "run"), load(pretrained)
    assert found.tokenizer.tokens(range(base.tokenizer.size, found.tokenizer.size)) == ["[HD]", "[TL]"]
    assert found.recipe.model.vocab == base.recipe.model.vocab + 2
    answers = bertsmith.predict(tmp_path / "run", rows(8, 2))
    assert [answer["label"] for answer in answers].count("after") in range(1, 8)
    assert bertsmith.evaluate(tmp_path / "run", files["dev"])["accuracy"] == result["dev"]["accuracy"]
    with pytest.raises(InputError, match=r"reads \[HD\] and \[TL\] round places of a text"):
        bertsmith.export(tmp_path / "run", to="hf", out=tmp_path / "folder")
    again = bertsmith.finetune(
        tmp_path / "run", task="relation", out=tmp_path / "more", **files, **options | {"epochs": 1}
    )
    assert load(tmp_path / "more").tokenizer.digest == found.tokenizer.digest and again["dev"]


def test_types_of_a_mention_are_several_labels(pretrained, tmp_path):
    options = {"threads": 1, "epochs": 4, "set": ["batch=8", "lr=0.01"]}
    result = bertsmith.finetune(pretrained, task="typing", out=tmp_path / "run", **written(tmp_path, True), **options)
    assert "micro_f1" in result["dev"]
    assert load(tmp_path / "run").tokenizer.token(load(pretrained).tokenizer.size) == "[ENT]"
    assert "short" in bertsmith.predict(tmp_path / "run", rows(2, 3, True))[0]["scores"]


def test_ways_that_keep_the_model_as_it_was_are_refused(pretrained, tmp_path):
    with pytest.raises(InputError, match=r"the marks \[HD\] and \[TL\] are new tokens"):
        bertsmith.finetune(pretrained, task="relation", method="lora", out=tmp_path / "run", **written(tmp_path))


@pytest.fixture(scope="module")
def knowing(store, tmp_path_factory):
    """An ERNIE of Tsinghua after 2 updates."""
    from bertsmith.config import override
    from bertsmith.recipe import find

    small = ["model.width=32", "model.hidden=64", "model.heads=2", "layout.length=64", "training.batch=512"]
    out = tmp_path_factory.mktemp("knowing") / "run"
    recipe = override(find("ernie-thu:tiny"), [*small, "training.evaluate=0", "training.precision=float32"])
    pretrain(recipe, store, out, steps=2, threads=1)
    return out


def test_a_model_that_reads_entities_is_not_exported(knowing, tmp_path):
    with pytest.raises(InputError, match="transformers has no class for these together"):
        bertsmith.export(knowing, to="hf", out=tmp_path / "folder")


def encoded(model, row, length=64):
    """What a model reads of a row."""
    from bertsmith.downstream.methods import FULL
    from bertsmith.downstream.signed import with_marks

    loaded = with_marks(load(model), KINDS["relation"].marks, FULL, lambda line: None)
    table = KINDS["relation"].read(bertsmith.tasks.given.source([row], "rows", fields=KINDS["relation"].fields))
    return loaded, KINDS["relation"].encode(loaded.tokenizer, table, Reading.of(loaded.recipe, length))


def test_marks_stand_round_the_places_and_entities_at_their_first_tokens(knowing):
    row = {"text": "the list and the tuple", "head": [17, 22, "E2"], "tail": [4, 8, "nobody"], "label": "x"}
    loaded, found = encoded(knowing, row)
    tokens = loaded.tokenizer.tokens(found.tokens)
    at = {mark: [i for i, token in enumerate(tokens) if token == mark] for mark in ("[HD]", "[TL]")}
    inside = lambda mark: loaded.tokenizer.people.text(found.tokens[at[mark][0] + 1 : at[mark][1]].tolist())
    assert (inside("[HD]"), inside("[TL]")) == ("tuple", "list") and at["[TL]"][1] < at["[HD]"][0]
    given = found.features["entity"]
    assert given[at["[HD]"][0] + 1] == loaded.tokenizer.entities["E2"] + 1 and (given > 0).sum() == 1
    assert found.notes == ("1 of 2 named entities have vectors here",)
    stream = found.batch(np.array([0, 0])).input
    assert np.array_equal(stream.features["entity"], np.tile(given, 2))


def test_a_long_text_is_cut_round_its_places(knowing):
    row = {
        "text": "the list is " * 40 + "the tuple",
        "head": [480 + 4, 480 + 9],
        "tail": [480 - 8, 480 - 4],
        "label": "x",
    }
    loaded, found = encoded(knowing, row, length=24)
    tokens = loaded.tokenizer.tokens(found.tokens)
    assert len(tokens) == 24 and tokens.count("[HD]") == tokens.count("[TL]") == 2 and found.counts["cut"] > 50
    with pytest.raises(InputError, match="tokens apart, and a sequence has room for 22"):
        encoded(knowing, {**row, "tail": [4, 8]}, length=24)


def test_a_model_that_reads_entities_is_tuned_with_them_and_keeps_their_names(knowing, store, tmp_path):
    files, said = written(tmp_path), []
    options = {"task": "relation", "threads": 1, "epochs": 1, "set": ["batch=8"], "say": said.append}
    bertsmith.finetune(knowing, out=tmp_path / "run", **files, **options)
    assert any("192 of 192 named entities have vectors here" in line for line in said)
    found = load(tmp_path / "run")
    assert (tmp_path / "run" / "entities.txt").read_bytes() == (knowing / "entities.txt").read_bytes()
    assert np.array_equal(found.member.model.vectors.numpy(), store.vectors) and found.tokenizer.entities["E2"] == 2
    some, other = rows(1, 5)[0], rows(1, 5)[0]
    other["head"] = [*other["head"][:2], None]
    a, b = (bertsmith.predict(tmp_path / "run", [row])[0]["scores"] for row in (some, other))
    assert a != b, "what the entity says is heard"
    (tmp_path / "run" / "entities.txt").write_text("E1\n")
    with pytest.raises(InputError, match=r"entities\.txt: damaged"):
        load(tmp_path / "run")


def test_fresh_weights_have_the_given_vectors(knowing, store, tmp_path):
    options = {"task": "relation", "threads": 1, "steps": 1, "scratch": True, "set": ["batch=8"]}
    bertsmith.finetune(knowing, out=tmp_path / "run", **written(tmp_path), **options)
    assert np.array_equal(load(tmp_path / "run").member.model.vectors.numpy(), store.vectors)
