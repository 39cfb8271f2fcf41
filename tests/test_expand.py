"""A model that reads more words: by least squares from word vectors to its own."""

import time

import numpy as np
import pytest
from tests.runs import small

import bertsmith
from bertsmith import cli
from bertsmith.downstream.model import load
from bertsmith.errors import InputError
from bertsmith.training.pretraining import pretrain

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def encoder(short, tmp_path_factory):
    out = tmp_path_factory.mktemp("encoder") / "run"
    pretrain(small(member="skip-thought"), short, out, steps=1, threads=1)
    return out


def written(path, words, vectors, header=True):
    head = f"{len(words)} {vectors.shape[1]}\n" * header
    lines = (f"{word} {' '.join(map(repr, row))}\n" for word, row in zip(words, vectors.tolist(), strict=True))
    path.write_text(head + "".join(lines), encoding="utf-8")
    return path


def whole_words(loaded, count):
    names = [loaded.tokenizer.token(i) for i in range(loaded.tokenizer.size)]
    return [name for name in names if name.isalpha() and len(name) > 1][:count]


@pytest.mark.parametrize("member", ["skip-thought", "quick-thought", "bert"])
def test_new_rows_are_what_the_matrix_makes_of_their_vectors(short, tmp_path, member):
    pretrain(small(member=member), short, tmp_path / "run", steps=1, threads=1)
    loaded = load(tmp_path / "run")
    body = loaded.member.model
    tables = [part.tokens.weight.detach().numpy() for part in getattr(body, "bodies", [body])]
    known, new = whole_words(loaded, 60), ["zyxquv", "frobnicate"]
    ids = [loaded.tokenizer.encode([" " + word])[0][0] for word in known]
    assert all(len(one) == 1 for one in ids)
    rng = np.random.default_rng(0)
    # Vectors of which the first table is a linear function, exactly: that is what must be found.
    matrix = rng.normal(size=(12, tables[0].shape[1]))
    vectors = np.concatenate([tables[0][np.concatenate(ids)] @ np.linalg.pinv(matrix), rng.normal(size=(2, 12))])
    result = bertsmith.expand(
        tmp_path / "run", vectors=written(tmp_path / "v.txt", known + new, vectors), out=tmp_path / "more"
    )
    assert (result["shared"], result["new"], result["left_out"]) == (60, 2, 0)
    more = load(tmp_path / "more")
    assert more.tokenizer.size == loaded.tokenizer.size + 2
    wanted, *_ = np.linalg.lstsq(vectors[:60], tables[0][np.concatenate(ids)], rcond=None)
    expanded = more.member.model
    for number, part in enumerate(getattr(expanded, "bodies", [expanded])):
        table = part.tokens.weight.detach().numpy()
        assert np.array_equal(table[: loaded.tokenizer.size], tables[number][: loaded.tokenizer.size])
        if not number:
            at = [int(more.tokenizer.encode([" " + word])[0][0][0]) for word in new]
            np.testing.assert_allclose(table[at], vectors[60:] @ wanted, atol=1e-5)


def test_a_square_matrix_fits_every_shared_word(encoder, tmp_path):
    loaded = load(encoder)
    table = loaded.member.model.tokens.weight.detach().numpy()
    known = whole_words(loaded, table.shape[1])
    vectors = np.random.default_rng(1).normal(size=(len(known), len(known)))
    found = bertsmith.expand(encoder, vectors=written(tmp_path / "v.txt", known, vectors), out=tmp_path / "more")
    assert found["fit"] == pytest.approx(1.0, abs=1e-6) and found["new"] == 0


def test_what_is_read_of_other_texts_stays_what_it_was(encoder, tmp_path):
    loaded = load(encoder)
    known = whole_words(loaded, 40)
    vectors = np.random.default_rng(2).normal(size=(41, 8))
    bertsmith.expand(encoder, vectors=written(tmp_path / "v.txt", [*known, "zyxquv"], vectors), out=tmp_path / "more")
    texts = ["The value of a name.", "An expression is a list"]
    assert np.array_equal(bertsmith.embed(encoder, texts), bertsmith.embed(tmp_path / "more", texts))
    one = ["the zyxquv of a name"]
    assert not np.allclose(bertsmith.embed(encoder, one), bertsmith.embed(tmp_path / "more", one))
    assert load(tmp_path / "more").config["source"]["expanded"]["new"] == 1
    assert bertsmith.verify(tmp_path / "more")["files"] > 3


def test_words_that_the_tokenizer_writes_otherwise_are_left_out_and_counted(encoder, tmp_path):
    known = whole_words(load(encoder), 20)
    words = [*known, "Zyxquv", "two words", "zyxquv"]
    lines = [f"{word.replace(' ', chr(0xA0))} 1.0 {i}.5 0.25" for i, word in enumerate(words)]
    (tmp_path / "v.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = bertsmith.expand(encoder, vectors=tmp_path / "v.txt", out=tmp_path / "more")
    assert (found["shared"], found["new"], found["left_out"]) == (20, 1, 2)


def test_the_command_refuses_before_it_writes(encoder, tmp_path, capsys):
    (tmp_path / "v.txt").write_text("ωωω 1 2\n")
    command = ["expand", str(encoder), "--vectors", str(tmp_path / "v.txt"), "--out", str(tmp_path / "more")]
    assert cli.run(command) == 2
    assert "no word of it is one token" in capsys.readouterr().err and not (tmp_path / "more").exists()


def test_many_words_are_added_at_once(encoder):
    """One after the other each looks at all that were added before: 3,000 words took 13 s."""
    tokenizer = bertsmith.load(encoder).tokenizer
    words = [f"{a}{b}{c}q" for a in "bcdfghjklmnprst" for b in "aeiouy" for c in "bcdfghjklmnpqrstvwxz"]
    start = time.process_time()
    assert tokenizer.extend(words).size == tokenizer.size + len(words)
    assert time.process_time() - start < 4


def test_a_limit_of_none_is_told(encoder, tmp_path):
    with pytest.raises(InputError, match="limit"):
        bertsmith.expand(encoder, vectors=tmp_path / "none.txt", out=tmp_path / "out", limit=0)
