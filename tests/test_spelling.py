"""Messages name an option as their reader has it, counted nouns agree with their number, articles with their noun."""

import re

import pytest
from tests.runs import small

import bertsmith
from bertsmith.cli import run as command
from bertsmith.spelling import again, amount, an, flag, option, setting, typed


def spelled():
    values = option("steps", 3), option("new_heads", "token"), option("header", False), option("task", "tag", "qa")
    words = option("from_"), option("input", like="FILE"), flag("allow_unknown")
    return *values, *words, setting("lr", value=0.1), setting("model.layers", "seed"), again()


def test_an_option_is_what_its_reader_types():
    assert spelled() == (
        *("steps=3", "new_heads='token'", "header=False", "task='tag' or 'qa'"),
        *("from_", "input=FILE", "allow_unknown=True"),
        *("set={'lr': 0.1}", "set={'model.layers': …, 'seed': …}", "the same call with resume=True"),
    )
    with typed():
        assert spelled() == (
            *("--steps 3", "--new-head token", "--header no", "--task tag or qa"),
            *("--from", "--input FILE", "--allow-unknown"),
            *("--set lr=0.1", "--set model.layers, seed", "the same command with --resume"),
        )
    assert spelled()[0] == "steps=3"


@pytest.mark.parametrize("count, words", [(0, "0 steps"), (1, "1 step"), (2, "2 steps"), (4511, "4,511 steps")])
def test_a_counted_noun_agrees_with_its_number(count, words):
    assert amount(count, "step") == words
    assert amount(1, "pass", "passes") == "1 pass" and amount(2, "pass", "passes") == "2 passes"


def test_an_article_goes_by_the_first_sound():
    nouns = "store", "export", "ernie", "xlnet", "unilm", "Hugging Face export", "int", "url", "albert"
    assert [an(noun).split()[0] for noun in nouns] == ["a", "an", "an", "an", "a", "a", "an", "an", "an"]


def test_python_and_the_command_are_told_the_same_in_their_own_words(short, pretrained, tmp_path, capsys):
    with pytest.raises(bertsmith.InputError, match=r": out holds a run already, .*; resume=True goes on with it$"):
        bertsmith.pretrain(small(), short, pretrained, steps=1)
    given = ["pretrain", "bert:tiny", "--data", short.path, "--out", pretrained, "--steps", "1"]
    assert command([*map(str, given)]) == 2
    assert re.search(r": --out holds a run already, .*; --resume goes on with it$", capsys.readouterr().err)
    (tmp_path / "a.tsv").write_text("one\t1\ntwo\t2\n")
    with pytest.raises(
        bertsmith.InputError, match=r"columns='text=NAME' says which, header=False that line 1 is data$"
    ):
        bertsmith.embed(pretrained, tmp_path / "a.tsv")
    assert command(["embed", str(pretrained), "--input", str(tmp_path / "a.tsv"), "--out", str(tmp_path / "o")]) == 2
    assert capsys.readouterr().err.endswith("--columns text=NAME says which, --header no that line 1 is data\n")


def test_warnings_are_spelled_so_too(short, tmp_path, capsys):
    said = []
    bertsmith.pretrain("bert:tiny", short, tmp_path / "a", steps=1, threads=1, say=said.append)
    (line,) = (line for line in said if line.startswith("warning: held-out"))
    assert line.endswith(
        "more updates (minutes, steps) leave it, or smaller ones (set={'training.batch': …}) and a smaller size"
    )
    given = ["--data", str(short.path), "--out", str(tmp_path / "b"), "--steps", "1", "--threads", "1"]
    assert command(["pretrain", "bert:tiny", *given]) == 0
    assert (
        "more updates (--minutes, --steps) leave it, or smaller ones (--set training.batch)" in capsys.readouterr().err
    )


def test_a_command_in_backticks_is_a_command_for_everyone(pretrained):
    with pytest.raises(bertsmith.InputError, match="`bertsmith finetune` makes a model that predicts"):
        bertsmith.predict(pretrained, ["a text"])


def test_a_store_has_the_same_bytes_whoever_makes_it(tmp_path, capsys):
    """Its account keeps warnings that name options."""
    folder = tmp_path / "text"
    folder.mkdir()
    (folder / "a.txt").write_text("One sentence stands here. Another one follows it.\n" * 40)
    (folder / "b.txt").write_bytes("UTF-16".encode("utf-16"))
    (folder / "c.md").write_text("left out")
    options = {"tokenizer": "wordpiece:60", "only": ["*.txt"], "holdout": 0}
    bertsmith.prepare(folder, tmp_path / "a", **options)
    given = ["--tokenizer", "wordpiece:60", "--only", "*.txt", "--holdout", "0"]
    assert command(["prepare", str(folder), "--out", str(tmp_path / "b"), *given]) == 0
    assert "`encoding` utf-16 reads it" in capsys.readouterr().err
    made = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert made == {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}
