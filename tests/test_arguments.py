"""Every argument of every verb: what is of the wrong kind is told in one line that names it, before anything is done."""

import inspect

import numpy as np
import pytest
from tests import benchmark_files, sounds, studies
from tests.runs import small

import bertsmith
from bertsmith.face.arguments import WANTED, checked

VERBS = [name for name in bertsmith.__all__ if name not in bertsmith._ERRORS]
WRONG = (None, 3, [3], object())
AT_WORK = {"surface", "graph", "probe", "compress", "multitask"}  # a call is seconds: what may be right is not tried
TEXTS = {"text": ["one two", "three four"] * 4, "label": ["a", "b"] * 4}
OTHERS = {"text": ["five", "six"], "label": ["a", "b"]}


@pytest.fixture(scope="module")
def tuned(pretrained, tmp_path_factory):
    out = tmp_path_factory.mktemp("tuned") / "tuned"
    options = {"train": TEXTS, "dev": OTHERS, "steps": 1, "allow_unknown": True, "threads": 1}
    bertsmith.finetune(pretrained, task="classify", out=out, **options)
    return out


@pytest.fixture(scope="module")
def writes(short, tmp_path_factory):
    out = tmp_path_factory.mktemp("writes") / "run"
    bertsmith.pretrain(small(member="gpt2"), short, out, steps=1, threads=1)
    return out


@pytest.fixture(scope="module")
def on_file(pretrained, tmp_path_factory):
    """Tuned on rows that can be read again."""
    folder = tmp_path_factory.mktemp("on-file")
    rows = [f"{text}\t{label}" for text, label in zip(TEXTS["text"], TEXTS["label"], strict=True)]
    (folder / "train.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    options = {"dev": OTHERS, "steps": 1, "allow_unknown": True, "threads": 1}
    bertsmith.finetune(pretrained, task="classify", train=folder / "train.tsv", out=folder / "run", **options)
    return folder / "run"


@pytest.fixture(scope="module")
def ordered(short, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ordered")
    bertsmith.pretrain(small("model.cell.chunk=4", member="on-lstm"), short, folder / "run", steps=1, threads=1)
    return folder / "run"


@pytest.fixture(scope="module")
def calls(short, pretrained, tuned, on_file, writes, ordered, tmp_path_factory):
    """{verb: arguments with which it does its work}."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "text.txt").write_text("One sentence stands here.\nAnother one.\n\nA second text.\n" * 20)
    (folder / "vectors.txt").write_text("the 1.0 2.0\na 0.5 -1.0\nzyxquv 0.0 1.0\n")
    (folder / "triples.tsv").write_text("a\tr\tb\nb\tr\tc\n")
    data = {"recipe": small(), "data": short}
    rows = {"task": "classify", "train": TEXTS, "dev": OTHERS, "allow_unknown": True}
    return {
        "prepare": {"sources": [folder / "text.txt"], "tokenizer": "wordpiece:60", "allow_unknown": True},
        "prepare_audio": {"sources": sounds.corpus(folder / "sounds", each=1), "holdout": 0, "rate": 8000, "mels": 20},
        "show": {**data, "n": 1},
        "plan": {**data, "steps": 1, "threads": 1},
        "pretrain": {**data, "steps": 1, "threads": 1},
        "adapt": {
            **{"model": pretrained, "corpus": [folder / "text.txt"], "steps": 1, "passages": 2},
            **{"holdout": 0.5, "threads": 1, "set": ["training.batch=128", "training.held_out=128"]},
        },
        "graph": {"triples": folder / "triples.tsv", "steps": 1, "threads": 1},
        "multitask": {"recipe": small(), "feeds": {"text": short}, "steps": 1, "threads": 1},
        "finetune": {"model": pretrained, **rows, "steps": 1, "threads": 1},
        "glue": {"folder": benchmark_files.glue(folder / "GLUE"), "model": pretrained, "plan": True},
        "clue": {"folder": benchmark_files.clue(folder / "CLUE"), "model": pretrained, "plan": True},
        "export": {"model": folder / "none"},  # these need transformers to be gone on with
        "import_": {"folder": folder / "none"},
        "serve": {"models": folder / "none"},  # and this would not end
        "convert": {"model": pretrained, "length": 40},
        "stack": {"models": [pretrained, pretrained]},
        "expand": {"model": pretrained, "vectors": folder / "vectors.txt"},
        "load": {"model": pretrained},
        "fill": {"model": pretrained, "text": "one [MASK]"},
        "predict": {"model": tuned, "input": ["a text"]},
        "evaluate": {"model": tuned, "input": OTHERS},
        "compare": {"a": tuned, "b": tuned, "input": OTHERS},
        "attention": {"model": pretrained, "text": "a text"},
        "tree": {"model": ordered, "text": "a text"},
        "probe": {"model": pretrained, "task": "classify", "train": TEXTS, "dev": OTHERS},
        "senses": {"model": pretrained, "word": "a", "input": ["a text", "a word"]},
        "similar": {"model": pretrained, "text": "the", "top": 1},
        "augment": {"model": pretrained, "input": OTHERS, "samples": 1, "out": folder / "more.jsonl"},
        "compress": {"model": tuned, "method": "int8", "dev": OTHERS, "tolerance": 1e9},
        "surface": {"model": on_file, "rows": 2, "points": 5},
        "embed": {"model": pretrained, "texts": ["a text"]},
        "score": {"model": pretrained, "input": ["a text"]},
        "generate": {"model": writes, "text": "a text", "limit": 2},
        "study": {"file": studies.written(folder / "study.toml", **studies.alone(short)), "plan": True, "threads": 1},
        "report": {"runs": tuned},
        "verify": {"path": pretrained},
        "find": {"name": "bert:tiny"},
        "members": {},
    }


def asked(verb: str, given: dict, tmp_path) -> str | None:
    """The one line of the InputError, None where the verb did its work; any other error is a failure of the test."""
    if "out" in inspect.signature(getattr(bertsmith, verb)).parameters and "out" not in given:
        given = {**given, "out": tmp_path / f"out-{len(list(tmp_path.iterdir()))}"}
    try:
        found = getattr(bertsmith, verb)(**given)
        list(found) if verb == "show" else found
    except bertsmith.InputError as error:
        return str(error)
    return None


def may_be(verb: str, parameter: inspect.Parameter, value) -> bool:
    try:
        checked(verb, parameter, value)
    except bertsmith.InputError:
        return False
    return True


@pytest.mark.parametrize("verb", VERBS)
def test_an_argument_of_the_wrong_kind_is_told_by_its_name(verb, calls, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = asked(verb, calls[verb], tmp_path)
    assert done is None or verb in ("export", "import_", "serve")
    for name, parameter in inspect.signature(getattr(bertsmith, verb)).parameters.items():
        for value in WRONG:
            if verb in AT_WORK and may_be(verb, parameter, value):
                continue
            said = asked(verb, {**calls[verb], name: value}, tmp_path)
            assert said is None or "\n" not in said, (name, value, said)
            assert value is not WRONG[-1] or (said and name.rstrip("_") in said), (name, value, said)


def test_every_argument_has_its_kind():
    for verb in VERBS:
        for name in inspect.signature(getattr(bertsmith, verb)).parameters:
            assert f"{verb}.{name}" in WANTED or name in WANTED, (
                f"say in face/arguments.py what {name} of {verb} may be"
            )


def test_every_verb_that_works_is_silent_or_heard_as_asked(pretrained, capsys):
    for verb in {*VERBS} - {"find", "members"}:
        assert "say" in inspect.signature(getattr(bertsmith, verb)).parameters, verb
    bertsmith.verify(pretrained, say=None)
    assert not capsys.readouterr().out
    bertsmith.verify(pretrained, say=print)
    assert "files of this run are as they were written" in capsys.readouterr().out


def test_numbers_of_numpy_are_numbers_and_one_name_is_a_list_of_one(pretrained, calls, tmp_path):
    same = bertsmith.fill(pretrained, "one [MASK]", top=2)
    assert bertsmith.fill(pretrained, "one [MASK]", top=np.int64(2), members="tests.runs") == same
    options = {**calls["finetune"], "labels": np.array(["b", "a"]), "seed": np.int32(1)}
    assert bertsmith.finetune(**options, out=tmp_path / "tuned")["seed"] == 1
    with pytest.raises(bertsmith.InputError, match=r"^top: '2' given; a whole number is wanted$"):
        bertsmith.fill(pretrained, "one [MASK]", top="2")
    with pytest.raises(bertsmith.InputError, match=r"^resume: 1 given; True or False is wanted$"):
        bertsmith.finetune(**calls["finetune"], out=tmp_path / "other", resume=1)


def test_a_verb_keeps_its_signature_and_is_the_same_each_time():
    from bertsmith.training.pretraining import pretrain

    assert bertsmith.pretrain is bertsmith.pretrain and bertsmith.pretrain.__module__ == "bertsmith"
    assert inspect.signature(bertsmith.pretrain) == inspect.signature(pretrain)
    assert bertsmith.pretrain.__doc__ == pretrain.__doc__


def test_a_report_is_of_one_run_or_several(tuned, pretrained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pages = [bertsmith.report(runs) for runs in (str(tuned), [tuned], (run for run in [tuned]))]
    assert {str(page) for page in pages} == {"report.html"}
    page = bertsmith.report((tuned, str(pretrained)), out="both.html")
    assert page.stat().st_size > pages[0].stat().st_size
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(bertsmith.InputError, match="no report of ours"):
        bertsmith.report(tuned)
    assert (tmp_path / "report.html").read_text() == "mine"


@pytest.mark.parametrize(
    "verb, options, says",
    [
        ("finetune", {"epoch": 3}, "^finetune: there is no argument 'epoch'; did you mean 'epochs'\\?$"),
        ("pretrain", {"processes": 2}, "^pretrain: there is no argument 'processes'; torchrun starts them"),
        ("predict", {"processes": 2}, "^predict: there is no argument 'processes'; known: base, columns"),
        ("pretrain", {"new_head": "token"}, "did you mean 'new_heads'"),
        (
            "finetune",
            {"model": "run"},
            r"^finetune: missing a required argument: 'task'; finetune\(model, task=…, train=…",
        ),
    ],
)
def test_an_argument_that_there_is_not_is_told_with_the_nearest(verb, options, says):
    with pytest.raises(bertsmith.InputError, match=says):
        getattr(bertsmith, verb)(**options)


def test_a_text_where_rows_are_wanted_is_told_to_be_a_list(tuned):
    with pytest.raises(bertsmith.InputError, match=r"^texts: 'hello you' given; a file, or rows \(of one text: a list"):
        bertsmith.embed(tuned, "hello you")
    with pytest.raises(bertsmith.InputError, match=r"^my texts.txt: no such file"):
        bertsmith.embed(tuned, "my texts.txt")
