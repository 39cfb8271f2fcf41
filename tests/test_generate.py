"""`generate`: what is said, kept and refused; what is written stands in tests/test_writing.py."""

import json

import numpy as np
import pytest

import bertsmith
from bertsmith import cli
from bertsmith.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")
TEXTS = ["The value of", "An object", "If a name is bound in", "Functions"]


@pytest.fixture(scope="module")
def run(short, tmp_path_factory):
    out = tmp_path_factory.mktemp("generate") / "run"
    recipe = bertsmith.find("gpt2:tiny")
    settings = {"model.width": 16, "model.hidden": 32, "model.heads": 2, "layout.length": 32, "training.batch": 256}
    bertsmith.pretrain(recipe, short.path, out, steps=30, threads=1, set={**settings, "schedule.lr": 5e-3})
    return out


@pytest.fixture(scope="module")
def t5(short, tmp_path_factory):
    out = tmp_path_factory.mktemp("generate") / "t5"
    settings = {"model.width": 16, "model.hidden": 32, "model.heads": 2, "layout.length": 32, "training.batch": 256}
    bertsmith.pretrain("t5:tiny", short.path, out, steps=5, threads=1, set=settings)
    return out


def alike(rows, others):
    """The same texts; their scores may be summed in other batches."""
    texts = [[{**row, "score": 0.0} for row in part] for part in (rows, others)]
    scores = [[row["score"] for row in part] for part in (rows, others)]
    return texts[0] == texts[1] and np.allclose(*scores, atol=1e-4)


def test_rows_come_in_their_order_whatever_the_batch(run, tmp_path):
    rows = bertsmith.generate(run, input=TEXTS, limit=6, out=tmp_path / "out.jsonl")
    assert [row["index"] for row in rows] == [0, 1, 2, 3]
    assert alike(rows, [{"index": i, **bertsmith.generate(run, text, limit=6)} for i, text in enumerate(TEXTS)])
    assert alike(rows, bertsmith.generate(run, input=TEXTS, limit=6, batch=1))
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == rows
    said = []
    bertsmith.generate(run, input=TEXTS, limit=6, out=tmp_path / "out.jsonl", say=said.append)
    assert said[-1].startswith("4 rows written to ") and said[-1].endswith("in place of what stood there")


def test_a_single_text_is_kept_too_and_no_file_is_written_over_itself(run, tmp_path):
    row = bertsmith.generate(run, "Functions", limit=4, out=tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text()) == {"index": 0, **row}
    (tmp_path / "in.txt").write_text("The value of\n")
    with pytest.raises(InputError, match="out is the input file; choose another place"):
        bertsmith.generate(run, input=tmp_path / "in.txt", out=tmp_path / "in.txt")
    assert (tmp_path / "in.txt").read_text() == "The value of\n"


def test_a_row_writes_as_much_beside_a_longer_one_as_alone(run):
    room = bertsmith.load(run).recipe.model.longest
    texts = [TEXTS[0], "name " * (room - 4)]
    rows = bertsmith.generate(run, input=texts, limit=9)
    assert alike(rows, [{"index": i, **bertsmith.generate(run, text, limit=9)} for i, text in enumerate(texts)])


def test_a_draw_depends_on_the_seed_and_the_row_alone(run):
    options = {"input": TEXTS, "limit": 8, "sample": True}
    rows = bertsmith.generate(run, **options)
    assert alike(rows, bertsmith.generate(run, **options, batch=2))
    assert not alike(rows, bertsmith.generate(run, **options, seed=1))


def test_a_single_text_is_heard_as_it_is_written(run):
    heard = []
    found = bertsmith.generate(run, TEXTS[0], limit=12, told=heard.append)
    assert "".join(heard) == found["text"] and len(heard) > 3


def test_only_given_answers_come(run):
    answers = ["a value", "the object", "names"]
    for beam in (1, 3):
        rows = bertsmith.generate(run, input=TEXTS, answers=answers, beam=beam, limit=20)
        assert {row["text"] for row in rows} <= set(answers) and {row["stopped"] for row in rows} == {"end"}


def test_a_decoder_writes_about_a_text(t5):
    found = bertsmith.generate(t5, TEXTS[2], limit=5, beam=2)
    assert found["stopped"] in ("end", "limit") and isinstance(found["text"], str)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "give text=T, or input=FILE"),
        ({"text": "a", "input": ["b"]}, "give text=T, or input=FILE"),
        ({"text": "a", "limit": 0}, "limit=0"),
        ({"text": "a", "beam": 0}, "beam=0"),
        ({"text": "a", "temperature": -1.0}, "temperature=-1.0"),
        ({"text": "a", "length_penalty": float("nan")}, "length_penalty=nan"),
        (
            {"text": "a", "answers": ["the the"], "no_repeat": 1},
            "no_repeat=1 with answers: given answers are written as they are",
        ),
        ({"text": "a", "answers": [""]}, "none of them empty"),
        ({"input": "nowhere.txt"}, "nowhere.txt"),
        ({"text": "word " * 600}, "the text: .* tokens, and the model reads"),
    ],
)
def test_what_cannot_be_written_is_told_in_one_line(run, options, said):
    with pytest.raises(InputError, match=said) as caught:
        bertsmith.generate(run, **options)
    assert "\n" not in str(caught.value)


def test_a_long_text_is_gone_on_with_from_its_end(run):
    told = []
    found = bertsmith.generate(run, "word " * 600 + TEXTS[0], limit=4, on_long="truncate", say=told.append)
    assert found["stopped"] in ("end", "limit") and any("were cut" in line for line in told)


def test_a_model_that_sees_both_sides_writes_nothing(pretrained):
    with pytest.raises(InputError, match="sees both sides of a token"):
        bertsmith.generate(pretrained, "a")


def test_the_command_prints_texts_or_json(run, children, tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    child = children.start("generate", run, "--input", tmp_path / "texts.txt", "--limit", "3", "--json")
    assert child.wait() == 0, child.err
    rows = [json.loads(line) for line in child.out.splitlines()]
    assert [row["index"] for row in rows] == [0, 1, 2, 3] and all(
        row.keys() == {"index", "text", "score", "stopped"} for row in rows
    )


def test_a_language_model_says_bits_per_byte_beside_perplexity(run, short):
    found = bertsmith.evaluate(run, data=short.path)
    tokens = sum(split["tokens"] for split in short.manifest["splits"].values())
    each = short.manifest["account"]["bytes"]["used"] / tokens
    for name in ("value", "low", "high"):
        assert found["token.bits_per_byte"][name] == pytest.approx(found["token.loss"][name] / np.log(2) / each)
    assert np.exp(found["token.loss"]["value"]) == pytest.approx(found["token.perplexity"]["value"])


def test_what_is_written_about_a_text_begins_without_the_space_of_a_byte_level_tokenizer(corpus, tmp_path, capsys):
    """And what goes on with one keeps it."""
    bertsmith.prepare([corpus], tmp_path / "store", tokenizer="bpe:400")
    sizes = {"model.width": 16, "model.hidden": 32, "model.heads": 2, "layout.length": 32, "training.batch": 256}
    bertsmith.pretrain("gpt2:tiny", tmp_path / "store", tmp_path / "lm", steps=1, threads=1, set=sizes)
    tokenizer = bertsmith.load(tmp_path / "lm").tokenizer
    (ids, _), (inside, _) = tokenizer.encode(["value", "a value"])
    assert (
        tokenizer.decode(ids) == " value" and tokenizer.alone(ids) == "value" and tokenizer.alone(inside) == "a value"
    )
    rows = [{"text": f"row {i}", "label": ("value", "object")[i % 2]} for i in range(24)]
    options = {"train": rows[:16], "dev": rows[16:], "steps": 2, "threads": 1}
    bertsmith.finetune(tmp_path / "lm", task="text2text", out=tmp_path / "run", **options)
    said = [row["text"] for row in bertsmith.generate(tmp_path / "run", input=["row 1", "row 2"], answers=["value"])]
    assert said == ["value", "value"]
    answers = bertsmith.predict(tmp_path / "run", [{"text": "row 3"}])
    assert not answers[0]["text"].startswith(" ")
    assert bertsmith.generate(tmp_path / "lm", "row", answers=["value"])["text"] == " value"
    (tmp_path / "empty.txt").write_text("\n")
    command = ["generate", str(tmp_path / "lm"), "--text", "row", "--answers", str(tmp_path / "empty.txt")]
    assert cli.run(command) == 2
    assert f"--answers {tmp_path / 'empty.txt'}: is empty; one answer a line is wanted" in capsys.readouterr().err
