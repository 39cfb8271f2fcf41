"""fastText's classifier as a simple method beside a model."""

import numpy as np
import pytest

import bertsmith
from bertsmith.errors import InputError
from bertsmith.tasks import fasttext


def rows(count, seed):
    draw = np.random.default_rng(seed)
    fill = [f"w{i}" for i in range(60)]
    texts, truth = [], []
    for _ in range(count):
        label = int(draw.integers(3))
        words = [fill[i] for i in draw.integers(0, 60, 8)]
        words[int(draw.integers(8))] = ("cold", "warm", "damp")[label]
        texts.append(" ".join(words))
        truth.append(label)
    return texts, np.array(truth)


def test_it_learns_which_word_tells_a_class_and_says_the_same_again():
    (texts, truth), (asked, answers) = rows(240, 0), rows(60, 1)
    name, said = fasttext.classes((texts, None), truth, (asked, None), 3)
    assert said.shape == (60, 3) and (said.argmax(1) == answers).mean() > 0.9
    assert np.array_equal(said, fasttext.classes((texts, None), truth, (asked, None), 3)[1])
    assert "passes at" in name


def test_the_order_of_words_tells_where_pairs_do():
    draw = np.random.default_rng(0)
    truth = draw.integers(0, 2, 300)
    texts = [("not good " if label else "good not ") + "it is" for label in truth.tolist()]
    _, said = fasttext.classes((texts, None), truth, (["good not it is", "not good it is"], None), 2)
    assert said.argmax(1).tolist() == [0, 1]


def test_a_word_of_the_second_text_is_another_one():
    truth = np.array([0, 1] * 60)
    first, second = ["yes" if t else "no" for t in truth], ["no" if t else "yes" for t in truth]
    _, said = fasttext.classes((first, second), truth, (["yes", "no"], ["no", "yes"]), 2)
    assert said.argmax(1).tolist() == [1, 0]


def test_it_stands_beside_a_fine_tuning(pretrained, tasks, tmp_path):
    kind, train, dev = tasks["classify"]
    options = {"task": kind, "train": train, "dev": dev, "threads": 1, "epochs": 1, "set": ["batch=8"]}
    found = bertsmith.finetune(pretrained, out=tmp_path / "run", baseline="fasttext", **options)
    assert found["baseline"]["method"].startswith("fastText's classifier")
    with pytest.raises(InputError, match="unknown; did you mean 'fasttext'"):
        bertsmith.finetune(pretrained, out=tmp_path / "other", baseline="fastext", **options)
    kind, train, dev = tasks["regress"]
    options |= {"task": kind, "train": train, "dev": dev}
    with pytest.raises(InputError, match="of classify alone"):
        bertsmith.finetune(pretrained, out=tmp_path / "third", baseline="fasttext", **options)
