"""`adapt`: what is measured before and after, stages, new words, killed and gone on with, and what is refused before any work."""

import json

import pytest
from tests.runs import small

import bertsmith
from bertsmith.downstream import adapted
from bertsmith.downstream.adaptation import PARTS, RESULT, result_of
from bertsmith.errors import InputError
from bertsmith.text.store import Store

SETTINGS = ["training.batch=256", "training.precision=float32", "training.held_out=512", "schedule.lr=3e-3"]
MORE = {"threads": 1, "passages": 6, "holdout": 0.2, "set": SETTINGS}


@pytest.fixture(scope="module")
def texts(documents, tmp_path_factory):
    """An old text, and a new one: its documents are others, with three words that no old one has."""
    folder = tmp_path_factory.mktemp("texts")
    (folder / "old.txt").write_text("\n\n".join(text[:1500] for text in documents[:14]) + "\n")
    new = [
        text[:1500].replace("object", "haematocrit").replace("class", "ventriculography") for text in documents[20:36]
    ]
    (folder / "new.txt").write_text("\n\n".join(new) + "\n")
    words = [text.split()[:12] for text in documents[40:64]]
    rows = [f"{' '.join([*part, 'yes' if i % 2 else 'no'])}\t{i % 2}" for i, part in enumerate(words)]
    (folder / "train.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    return folder


@pytest.fixture(scope="module")
def run(texts, pretrained, tmp_path_factory):
    """Of a run of BERT with an old text, new words and a task."""
    out = tmp_path_factory.mktemp("adapted") / "run"
    said = []
    task = {"task": "classify", "train": texts / "train.tsv", "dev": 0.25, "seeds": 2, "epochs": 1}
    found = bertsmith.adapt(
        pretrained,
        texts / "new.txt",
        keep=texts / "old.txt",
        new_words=5,
        steps=20,
        out=out,
        say=said.append,
        **task,
        **MORE,
    )
    return out, found, said


def test_the_run_is_a_model_with_the_words_and_its_folder_verifies(run, pretrained):
    out, found, _ = run
    loaded = bertsmith.load(out)
    assert loaded.kind == "pretrain" and loaded.tokenizer.size == bertsmith.load(pretrained).tokenizer.size + 5
    assert bertsmith.verify(out)["kind"] == "run"
    assert json.loads((out / RESULT).read_text())["stages"] == found["stages"] == result_of(out)["stages"]
    assert bertsmith.fill(out, "the [MASK] of an object")["masks"]
