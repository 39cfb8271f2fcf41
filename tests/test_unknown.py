"""[UNK], one rule: said above 1 % with the commonest characters, refused above 5 % where it would be trained on.  The oracle is a count by hand."""

import json
import subprocess
import sys

import numpy as np
import pytest

import bertsmith
from bertsmith.downstream import show as page
from bertsmith.errors import InputError
from bertsmith.text import unknown
from bertsmith.text.load import SPECIALS
from bertsmith.text.tokenizer import Tokenizer

KNOWN = "the list is a class of words and the text is an object that has no letter of another script"


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train("wordpiece:300", [KNOWN] * 20)


@pytest.fixture(scope="module")
def run(tokenizer, tmp_path_factory):
    """A model whose vocabulary has Latin letters alone."""
    at = tmp_path_factory.mktemp("run")
    tokenizer.save(at / "tokenizer")
    (at / "text.txt").write_text("\n\n".join([KNOWN + "\n" + KNOWN] * 40))
    bertsmith.prepare([str(at / "text.txt")], at / "store", tokenizer=str(at / "tokenizer"))
    sets = ["training.batch=512", "layout.length=64"]
    from bertsmith.config import override
    from bertsmith.recipe import find

    bertsmith.pretrain(override(find("bert:tiny"), sets), at / "store", at / "run", steps=1, threads=1)
    return at / "run"


def rows(path, strange, known=20, part=""):
    """`strange` texts of one [UNK] (Ж) and one word, and others of none."""
    lines = [{"text": f"{KNOWN} {part}", "label": "ny"[i % 2]} for i in range(known)]
    lines += [{"text": f"Ж list {part}", "label": "ny"[i % 2]} for i in range(strange)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_shares_are_those_of_a_count_by_hand(tokenizer):
    ids = tokenizer.encode([f"Ж {KNOWN} Ж Д"])[0][0]
    found = unknown.of_texts(tokenizer, ids, lambda: [f"Ж {KNOWN} Ж Д"])
    assert found == {"tokens": 3, "share": 3 / len(ids), "commonest": {"Ж": 2, "Д": 1}}
    assert unknown.warning(found) == f"{3 / len(ids):.1%} of the tokens (3) are [UNK]; without an entry: Ж 2, Д 1"
    assert unknown.warning(unknown.counted(1, 100, dict)) == ""
    assert list(unknown.strings([("a", ["b"]), "c"])) == ["a", "b", "c"]


def test_files_of_a_task_are_counted_warned_of_and_refused(run, tmp_path):
    task = {"task": "classify", "steps": 1, "threads": 1}
    some, many = rows(tmp_path / "some.jsonl", 6), rows(tmp_path / "many.jsonl", 60, 0, "has")
    clean = rows(tmp_path / "clean.jsonl", 0, 8, "is")
    for train, dev in ((many, clean), (clean, many)):
        with pytest.raises(InputError, match=r"many.jsonl: .*\(60\) are \[UNK\]; .*Ж 60; .*allow_unknown=True"):
            bertsmith.finetune(run, train=train, dev=dev, out=tmp_path / "no", **task)
    assert not (tmp_path / "no").exists()
    said = []
    bertsmith.finetune(run, train=some, dev=clean, out=tmp_path / "a", say=said.append, **task)
    (line,) = [line for line in said if "[UNK]" in line]
    assert line.startswith("warning: ") and "some.jsonl" in line and "(6) are [UNK]; without an entry: Ж 6" in line
    said.clear()
    bertsmith.finetune(run, train=many, dev=some, out=tmp_path / "b", allow_unknown=True, say=said.append, **task)
    assert sum(line.startswith("warning: ") and "[UNK]" in line for line in said) == 2
    for verb in (bertsmith.predict, bertsmith.evaluate):
        said.clear()
        verb(tmp_path / "a", many, say=said.append)
        assert ["(60) are [UNK]" in line for line in said if "[UNK]" in line] == [True], verb
        said.clear()
        verb(tmp_path / "a", clean, say=said.append)
        assert not any("[UNK]" in line for line in said)


def test_words_and_answers_are_counted_too(run, tmp_path):
    (tmp_path / "tags.txt").write_text("the O\nЖ B-X\nlist O\n\n" * 3 + "the O\nlist O\n\n")
    (tmp_path / "dev.txt").write_text("the O\nlist B-X\n")
    with pytest.raises(InputError, match=r"tags.txt: .*\(3\) are \[UNK\]; without an entry: Ж 3"):
        bertsmith.finetune(
            run, task="tag", train=tmp_path / "tags.txt", dev=tmp_path / "dev.txt", out=tmp_path / "no", steps=1
        )
    row = {
        "id": "1",
        "question": "Ж is a list",
        "context": "the list",
        "answers": {"text": ["list"], "answer_start": [4]},
    }
    for name in ("qt", "qs"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({**row, "context": f"the list of {name[1] * 2}"}) + "\n")
    with pytest.raises(InputError, match=r"qt.jsonl: .*\(1\) are \[UNK\]"):
        bertsmith.finetune(
            run, task="qa", train=tmp_path / "qt.jsonl", dev=tmp_path / "qs.jsonl", out=tmp_path / "no", steps=1
        )


def test_embed_and_fill_say_it_and_go_on(run):
    said = []
    assert len(bertsmith.embed(run, ["Ж list", KNOWN], say=said.append)) == 2
    assert next(line for line in said if "[UNK]" in line).startswith("warning: texts: ")
    said.clear()
    bertsmith.fill(run, "Ж [MASK] is Ж", say=said.append)
    (line,) = said
    assert line == "warning: the text: 50.0% of the tokens (2) are [UNK]; without an entry: Ж 2"
    said.clear()
    bertsmith.fill(run, "the [MASK] is", say=said.append)
    assert not said


def test_show_counts_them_in_its_summary(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "t")
    (tmp_path / "a.txt").write_text("\n\n".join(["Ж list\nthe list is Ж", KNOWN + "\n" + KNOWN] * 20))
    said = []
    options = {"text": tmp_path / "a.txt", "tokenizer": tmp_path / "t", "n": 40}
    *examples, last = page.show("bert:tiny", say=said.append, **options)
    lost = sum(token == "[UNK]" for line in examples for token in line["source"]["tokens"])
    text = sum(t not in ("[CLS]", "[SEP]", "[PAD]") for line in examples for t in line["source"]["tokens"])
    assert last["summary"]["tokens"]["unknown"] == lost > 0 and last["summary"]["tokens"]["text"] == text
    assert [line for line in said if line.startswith("warning: ")] == [
        f"warning: the examples: {lost / text:.1%} of the tokens ({lost}) are [UNK]; without an entry: Ж 40"
    ]


def test_plan_and_fill_warn_on_stderr(tokenizer, run, tmp_path):
    tokenizer.save(tmp_path / "t")
    (tmp_path / "a.txt").write_text("\n\n".join(["Ж list\nthe list is a list of words", KNOWN + "\n" + KNOWN] * 20))
    bertsmith.prepare([str(tmp_path / "a.txt")], tmp_path / "store", tokenizer=str(tmp_path / "t"), allow_unknown=True)
    plan = ["plan", "bert:tiny", "--data", str(tmp_path / "store"), "--set", "training.batch=512"]
    for command in (plan, ["fill", str(run), "Ж [MASK]"]):
        done = subprocess.run([sys.executable, "-m", "bertsmith", *command], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith("bertsmith: warning: ") and "are [UNK]; without an entry: Ж" in line


def test_letters_of_words_that_are_known_are_not_named(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIALS, "the", "cat", "sat"]) + "\n")
    tokenizer = Tokenizer.load(tmp_path)
    texts = ["the cat sat", "the cat zzz", "É sat"]
    ids = np.concatenate([ids for ids, _ in tokenizer.encode(texts)])
    assert unknown.of_texts(tokenizer, ids, lambda: texts)["commonest"] == {"z": 3, "É": 1}
