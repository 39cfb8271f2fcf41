"""Neighbours and analogies, and files of word vectors: read, written, refused; gensim opens what we write."""

import gc
import json
import lzma

import numpy as np
import pytest
import torch
from gensim.models import KeyedVectors
from tests.runs import small
from tests.test_static_members import static

import bertsmith
from bertsmith import cli
from bertsmith.errors import InputError
from bertsmith.tasks import words as questions
from bertsmith.text import word_vectors
from bertsmith.training.pretraining import pretrain

WORDS = ["king", "queen", "man", "woman", "café", "東京", "tree", "river"]


BINARY = [word + b" " + np.array([1.5, -2.25], "<f4").tobytes() + b"\n" for word in (b"one", b"two")]


def square():
    """king - man = queen - woman; others far."""
    made = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
    royal, male, female = np.eye(6, dtype=np.float32)[:3]
    made[0], made[1], made[2], made[3] = royal + male, royal + female, male + 0.1, female + 0.1
    return made


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vectors")
    word_vectors.write(folder / "v.txt", WORDS, square(), "word2vec")
    bertsmith.import_(folder / "v.txt", folder / "model")
    return folder / "model"


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    for name in ("skip-gram", "fasttext", "glove"):
        pretrain(static(name), store, folder / name, steps=6, threads=1)
    pretrain(small(), store, folder / "bert", steps=2, threads=1)
    return folder


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")  # gensim's
@pytest.mark.parametrize("form", ["word2vec", "word2vec-bin", "glove"])
def test_what_is_exported_opens_in_gensim_and_comes_back(model, form, tmp_path):
    result = bertsmith.export(model, tmp_path / "out", to=form)
    assert (result["words"], result["width"]) == (8, 6)
    binary = form == "word2vec-bin"
    theirs = KeyedVectors.load_word2vec_format(str(tmp_path / "out"), binary=binary, no_header=form == "glove")
    assert theirs.index_to_key == WORDS
    np.testing.assert_allclose(theirs.vectors, square(), atol=1e-6)
    gc.collect()  # of a file that gensim leaves open, while that is ignored
    words, vectors, found = word_vectors.read(tmp_path / "out")
    assert (words, found) == (WORDS, form)
    np.testing.assert_allclose(vectors, square(), atol=1e-6)


@pytest.mark.parametrize("binary", [True, False])
def test_what_gensim_writes_is_read(binary, tmp_path):
    theirs = KeyedVectors(6)
    theirs.add_vectors(WORDS, square())
    theirs.save_word2vec_format(str(tmp_path / "theirs"), binary=binary)
    words, vectors, _ = word_vectors.read(tmp_path / "theirs")
    assert words == WORDS and np.allclose(vectors, square(), atol=1e-6)


def test_glove_words_may_hold_blanks_and_files_may_be_packed(tmp_path):
    (tmp_path / "g.txt.xz").write_bytes(lzma.compress(b"the 0.5 -1\r\n. . . 1 2\nthe 9 9\n"))
    words, vectors, form = word_vectors.read(tmp_path / "g.txt.xz")
    assert (words, vectors.tolist(), form) == (["the", ". . ."], [[0.5, -1], [1, 2]], "glove")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"3 2\na 1 2\nb 3 4\n", "its first line says 3 words, it has 2"),
        (b"2 2\na 1 2\nb 3\n", ":3: .*a word and 2 numbers"),
        (b"2 2\na 1 2\n\xff 3 4\n", ":3: byte 1 of the line is not UTF-8"),
        (b"2 2\na 1 2\nb 3 nan\n", ":3: b: a number that is not finite"),
        (b"0 5\n", "one of each at least"),
        (b"", "no word in it"),
        (b"2 2\na " + np.ones(2, "<f4").tobytes() + b"b \x00", "word 2 of 2: the file ends in it"),
        (b"1 2\n\xff\xfe " + np.ones(2, "<f4").tobytes(), "word 1 of 1 is not UTF-8"),
        (b"2 2\na 1 2\nb 0.5 3 4\n", ":3: 'b 0.5 3 4': a word and 2 numbers"),
        (b"a 1 2\nb 3 4\nc -0.25 3 4\n", ":3: .*a word and 2 numbers"),
        (b"2 3\na 1 2\nb 3 4\n", ":2: 'a 1 2': a word and 3 numbers"),
        (b"1 2\n" + BINARY[0] + BINARY[1], "12 bytes follow the last of the 1 words"),
        (b"2 2\n" + BINARY[0] + BINARY[1] + b"left over", "9 bytes follow the last"),
        (b"2 2\n" + BINARY[0].replace(b"one", b"new york") + BINARY[1], "a word before it holds a blank"),
        (b"\x80\x04\x95gensim", "a pickle, as gensim's"),
        (b"99999999999 300\na 1\n", "its first line, 99999999999 300, says no number"),
        (b"-10 4\na 1\n", "its first line, -10 4, says no number"),
    ],
)
def test_a_file_that_is_none_is_refused_in_one_line(data, why, tmp_path):
    (tmp_path / "bad").write_bytes(data)
    with pytest.raises(InputError, match=why) as caught:
        word_vectors.read(tmp_path / "bad")
    assert "\n" not in str(caught.value)


def test_a_word_with_a_blank_is_not_written(tmp_path):
    with pytest.raises(InputError, match="holds a blank"):
        word_vectors.write(tmp_path / "out", ["a b"], np.ones((1, 2)), "word2vec")
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # gensim's own
def test_neighbours_and_analogies_are_those_of_gensim(model, capsys):
    theirs = KeyedVectors(6)
    theirs.add_vectors(WORDS, square())
    found = bertsmith.similar(model, "King", top=3)
    assert [(near["text"], near["cosine"]) for near in found["near"]] == [
        (word, pytest.approx(cosine, abs=1e-5)) for word, cosine in theirs.most_similar("king", topn=3)
    ]
    for way, ask in (("add", theirs.most_similar), ("mul", theirs.most_similar_cosmul)):
        found = bertsmith.similar(model, analogy=["man", "king", "woman"], way=way)
        expected = ask(positive=["king", "woman"], negative=["man"], topn=3)
        assert [near["text"] for near in found["near"][:3]] == [word for word, _ in expected]
        assert found["near"][0]["text"] == "queen"
    assert cli.run(["similar", str(model), "--analogy", "man", "king", "woman", "--top", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["near"][0]["text"] == "queen"
    assert cli.run(["similar", str(model), "king"]) == 0
    assert "queen" in capsys.readouterr().out


def test_judgements_are_agreed_with_as_gensim_says_and_unknown_words_are_counted(model, tmp_path):
    theirs = KeyedVectors(6)
    theirs.add_vectors(WORDS, square())
    lines = ["king\tqueen\t8", "man\twoman\t7", "king\ttree\t1", "river\ttree\t3", "queen\twoman\t9", "king\tzebra\t2"]
    (tmp_path / "pairs.tsv").write_text("\n".join(lines) + "\n")
    (tmp_path / "ana.txt").write_text(
        ": royal\nman king woman queen\nwoman queen man king\nman king zebra x\n: odd\ntree river king man\n"
    )
    found = bertsmith.similar(model, pairs=tmp_path / "pairs.tsv", analogies=tmp_path / "ana.txt")
    _, spearman, unknown = theirs.evaluate_word_pairs(str(tmp_path / "pairs.tsv"))
    assert found["pairs"]["spearman"]["value"] == pytest.approx(spearman[0])
    assert found["pairs"]["unknown"] == 1 == round(unknown / 100 * 6)
    low, high = (found["pairs"]["spearman"][side] for side in ("low", "high"))
    assert low <= spearman[0] <= high
    score, _ = theirs.evaluate_word_analogies(str(tmp_path / "ana.txt"))
    assert found["analogies"]["add"]["value"] == pytest.approx(score)
    assert found["analogies"]["parts"]["royal"]["add"] == 1.0 and found["analogies"]["unknown"] == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("q w 1\na b\n", ":2: 'a b'|:2: a b"),
        ("# remark\n", "no pair"),
        ("x y 1\nz\n", ":2: "),
        ("king queen nan\na b 1\n", ":1: "),
        ("a b 3\nc d 3\n", "all of its 2 pairs have one number"),
    ],
)
def test_a_file_of_pairs_that_is_none_is_refused(text, why, tmp_path):
    (tmp_path / "p").write_text(text)
    with pytest.raises(InputError, match=why):
        questions.pairs(tmp_path / "p")


def test_every_kind_of_model_has_neighbours(trained):
    for name in ("skip-gram", "fasttext", "glove", "bert"):
        found = bertsmith.similar(trained / name, "the", top=4)["near"]
        assert len(found) == 4 and all(-1.001 <= near["cosine"] <= 1.001 for near in found)
        assert not any(near["text"].startswith("##") or near["text"] == "the" for near in found)
    near = bertsmith.similar(trained / "bert", "a file is read", among=["a file was read", "9 8 7"])["near"]
    assert {part["text"] for part in near} == {"a file was read", "9 8 7"}


def test_what_static_vectors_cannot_do_is_refused_in_one_line(trained, tmp_path, capsys):
    run, texts = str(trained / "skip-gram"), tmp_path / "texts.txt"
    texts.write_text("a file\n\nthe value\n")
    for command in (
        ["fill", run, "a [MASK]"],
        ["generate", run, "--text", "a"],
        ["attention", run, "--text", "a b", "--out", str(tmp_path / "a.html")],
        ["export", run, "--out", str(tmp_path / "hf")],
        ["similar", run],
        ["similar", run, "\u2603", "--among", str(texts)],
        ["compress", run, "--method", "low-rank", "--out", str(tmp_path / "c")],
        ["similar", run, "a", "--pairs", "x"],
        ["score", run, "--text", "a"],
    ):
        assert cli.run(command) == 2, command
        said = capsys.readouterr().err.strip()
        assert said.startswith("bertsmith: error:") and "\n" not in said, said


def test_static_vectors_are_embedded_tuned_and_verified(trained, tasks, tmp_path):
    kind, train, dev = tasks["classify"]
    for name in ("skip-gram", "fasttext", "glove"):
        vectors = bertsmith.embed(trained / name, ["a file", "another file", "a file"])
        assert vectors.shape == (3, 16) and np.array_equal(vectors[0], vectors[2])
        bertsmith.verify(trained / name)
        found = bertsmith.finetune(
            trained / name, task=kind, train=train, dev=dev, out=tmp_path / name, epochs=1, threads=1, set=["batch=8"]
        )
        assert found
        bertsmith.predict(tmp_path / name, dev, tmp_path / f"{name}.jsonl")
    assert torch.is_tensor(bertsmith.load(trained / "glove").member.model.context.weight)


def test_what_no_word_of_a_text_says_is_not_in_its_vector(trained):
    """[CLS], [SEP] and [UNK] have rows that nothing taught."""
    for name in ("skip-gram", "fasttext"):
        loaded = bertsmith.load(trained / name)
        ids = [loaded.tokenizer.backend.token_to_id(word) for word in ("the", "file")]
        with torch.no_grad():
            rows = loaded.member.model.vectors(torch.tensor(ids)).numpy()
        unknown = loaded.tokenizer.vocab.unk
        assert None not in ids and unknown not in ids
        made = bertsmith.embed(loaded, ["the file", "the \u2603 file", "\u2603", ""])
        np.testing.assert_allclose(made[0], rows.mean(0), rtol=1e-5, atol=1e-7)
        assert np.array_equal(made[0], made[1]) and not made[2:].any()


def test_texts_of_unknown_words_are_told_and_blank_lines_are_no_texts(trained):
    with pytest.raises(InputError, match="no word of it has a vector"):
        bertsmith.similar(trained / "skip-gram", "\u2603", among=["the file", "a value"])
    near = bertsmith.similar(trained / "skip-gram", "the file", among=["", "a file", " "])["near"]
    assert [part["text"] for part in near] == ["a file"]
    with pytest.raises(InputError, match="no text in it"):
        bertsmith.similar(trained / "skip-gram", "the file", among=["", " "])


def test_several_unknown_words_are_spelled_together(trained):
    from bertsmith.downstream.similar import Words

    words = Words(bertsmith.load(trained / "fasttext"))
    one, other = words._spelled(["zzxq"]), words._spelled(["qqrr"])
    expected = (one + other) / 2
    np.testing.assert_allclose(words.vector("zzxq qqrr"), expected / np.linalg.norm(expected), rtol=1e-5)


def test_words_named_as_special_tokens_are_left_out_and_counted(tmp_path):
    (tmp_path / "v.txt").write_text("3 2\nking 1 2\n[UNK] 3 4\n[CLS] 0 1\n")
    said = []
    found = bertsmith.import_(tmp_path / "v.txt", tmp_path / "model", say=said.append)
    assert found["words"] == 1 and any(
        line.startswith("warning: 2 words are named as a special token") for line in said
    )


def test_a_file_of_vectors_makes_its_folder(trained, tmp_path):
    bertsmith.export(trained / "skip-gram", tmp_path / "new" / "folder" / "v.txt", to="word2vec")
    assert (tmp_path / "new" / "folder" / "v.txt").exists()
    with pytest.raises(InputError, match=r"--to word2vec|to=.word2vec."):
        bertsmith.export(trained / "skip-gram", tmp_path / "hf")


def test_a_report_says_what_held_out_text_lost(trained, tmp_path):
    bertsmith.report(trained / "skip-gram", tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "was not evaluated" not in page and "held-out loss word " in page


def test_a_plan_counts_what_static_members_compute(store):
    for name in ("skip-gram", "glove"):
        assert bertsmith.plan(static(name), store, steps=5, threads=1)["parameters"] > 0


def test_arguments_behind_an_option_are_told_where_they_belong(trained, capsys):
    assert cli.run(["similar", str(trained / "skip-gram"), "--way", "mul", "king"]) == 2
    assert "in front of the options" in capsys.readouterr().err
