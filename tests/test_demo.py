"""The demo's corpus is prose, its task does not leak, and the whole of it runs."""

import json

import pytest

from bertsmith.downstream import demo as demos
from bertsmith.downstream.documentation import docstrings, paragraphs
from bertsmith.downstream.documentation_task import LABELS, NAMES, anonymous, task
from bertsmith.errors import InputError

DOCSTRING = """Return the frobnicated value of the given widget.

The value is computed lazily, and a second call
returns what :class:`~spam.Widget` remembers.

Parameters
----------
axis : int, optional
    The axis along which the widget is measured and turned.

Args:
    size (int): The number of widgets that are measured at once.

Example::

    This looks like prose but it stands in a code block.

>>> widget.frob()
42
.. note::
    Another block of words that belongs to a directive here.
"""


@pytest.fixture(scope="module")
def found():
    return list(docstrings(("python", "numpy", "networkx", "rich")))


def test_only_prose_is_kept():
    assert list(paragraphs(DOCSTRING)) == [
        "Return the frobnicated value of the given widget.",
        "The value is computed lazily, and a second call returns what spam.Widget remembers.",
        "The axis along which the widget is measured and turned.",
        "The number of widgets that are measured at once.",
    ]


def test_the_standard_library_alone_carries_a_corpus(found):
    python = [docstring for docstring in found if docstring.package == "python"]
    assert len(python) > 3000 and sum(len(docstring.text) for docstring in python) > 800_000
    assert all(">>>" not in docstring.text and "\n\n" not in docstring.text for docstring in found)


def test_a_docstring_that_stands_twice_counts_once(found):
    texts = [docstring.text for docstring in found]
    assert len(set(texts)) == len(texts)


def test_more_workers_find_the_same(found):
    assert list(docstrings(("rich",), workers=2)) == list(docstrings(("rich",)))


def test_the_answer_does_not_stand_in_the_text():
    text = anonymous(
        "Return a networkx.Graph like np.zeros_like of 3 Tensors, as PyTorch and NumPy's arrays do in Python."
    )
    assert not NAMES.search(text) and "_" not in text and "3" not in text and "zeros" not in text


def test_nothing_of_dev_or_test_is_in_train_or_in_the_corpus(found):
    made = task(found, train=40, dev=30, test=100)
    train, dev, test = ({text for text, _ in side} for side in (made.train, made.dev, made.test))
    assert train and dev and test and not train & dev and not train & test and not dev & test
    corpus = {anonymous(paragraph) for docstring in made.corpus for paragraph in docstring.paragraphs}
    assert not dev & corpus and not test & corpus and train <= corpus


def test_the_task_is_the_same_every_time_and_few_labelled(found):
    made = task(found, train=40, dev=30, test=100)
    assert made == task(iter(found), train=40, dev=30, test=100)
    assert {label for _, label in made.dev} <= set(LABELS)
    assert max(sum(label == name for _, label in made.train) for name in LABELS) <= 40


def test_a_folder_that_the_demo_did_not_make_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("dear")
    with pytest.raises(InputError, match="did not make"):
        demos.demo(tmp_path, force=True)
    assert (tmp_path / "mine.txt").read_text() == "dear"


@pytest.mark.slow
def test_the_whole_demo_runs(tmp_path, monkeypatch, found):
    monkeypatch.setattr(demos, "docstrings", lambda workers: found)
    monkeypatch.setattr(demos, "SEEDS", 1)
    said: list[str] = []
    figures = demos.demo(tmp_path / "demo", tokens=100_000, say=said.append)
    assert (tmp_path / "demo" / "report.html").stat().st_size > 20_000
    assert figures["difference"]["low"] <= figures["difference"]["value"] <= figures["difference"]["high"]
    assert any("unigram entropy" in line for line in said)
    json.dumps(figures)
