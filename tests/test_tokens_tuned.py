"""Fine-tuning on words and on answers in texts, from a tiny pre-training run: learned, kept, scored, refused, as classification is."""

import json

import numpy as np
import pytest
import torch
from tests.runs import small

import bertsmith
from bertsmith import cli
from bertsmith.downstream import frozen
from bertsmith.downstream.finetune import finetune
from bertsmith.downstream.model import load
from bertsmith.downstream.predict import evaluate, judged, predict
from bertsmith.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")
WORDS = "module class object value string function method name list type".split()


@pytest.fixture(scope="module")
def model(short, tmp_path_factory):
    """A BERT of width 32 that reads 32 tokens, after 2 updates."""
    out = tmp_path_factory.mktemp("model") / "run"
    bertsmith.pretrain(small("model.width=32", "model.hidden=64"), short, out, steps=2, threads=1)
    return out


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return made_files(tmp_path_factory.mktemp("task"))


def made_files(folder):
    """Words that are always part of a name, and names of one and two of them; questions for the word after "import", some without."""
    generator = np.random.default_rng(0)
    for part, count in (("train", 240), ("dev", 60)):
        lines, questions = ["-DOCSTART- -X- O", ""], []
        for i in range(count):
            rows = [(word, "O") for word in generator.choice(WORDS, 6)]
            rows[1:1] = [[("import", "B-VERB")], [("return", "B-VERB"), ("import", "I-VERB")]][i % 2]
            rows[5:5] = [("python", "B-NAME")] * (i % 3)
            lines += [f"{word} x {tag}" for word, tag in rows] + [""]
            words = [str(word) for word in generator.choice(WORDS, 12)]
            at = int(generator.integers(1, 10))
            words[at : at + 1] = ["import", words[at]] if i % 4 else [words[at]]
            context = " ".join(words)
            start = context.find("import ") + 7
            answer = {"text": context[start:].split()[0], "answer_start": start}
            asked = {"id": f"{part}-{i}", "question": "import what?", "answers": [answer] if i % 4 else []}
            questions.append({"context": context, "qas": [asked | {"is_impossible": not i % 4}]})
        (folder / f"{part}.conll").write_text("\n".join(lines))
        tree = {"version": "v2.0", "data": [{"title": "made", "paragraphs": questions}]}
        (folder / f"{part}.json").write_text(json.dumps(tree, indent=1))
    return folder


ENDS = {"tag": "conll", "qa": "json"}
OPTIONS = {"tag": ["epochs=5", "lr=1e-2"], "qa": ["epochs=12", "lr=1e-2", "batch=16"]}


def tune(model, files, out, task, **options):
    options.setdefault("set", OPTIONS[task])
    paths = {part: files / f"{part}.{ENDS[task]}" for part in ("train", "dev")}
    return finetune(model, task=task, **paths, out=out, threads=1, **options)


def command(*arguments) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    return ended.value.code


@pytest.fixture(scope="module")
def tuned(model, files, tmp_path_factory):
    out, said = tmp_path_factory.mktemp("tuned"), []
    return {task: (out / task, tune(model, files, out / task, task, say=said.append), said) for task in ENDS}


def test_words_and_answers_are_learned_and_the_best_epoch_is_the_model(tuned, files):
    for task, least in (("tag", 0.9), ("qa", 0.7)):
        out, result, _ = tuned[task]
        f1 = result["dev"]["f1"]
        assert f1["value"] > least and f1["low"] <= f1["value"] <= f1["high"]
        best = max(result["epochs"], key=lambda e: (e["f1"], -e["loss"]))
        assert result["best"] == best["step"] and load(out).path.name == f"step-{best['step']:08d}"
        assert evaluate(out, files / f"dev.{ENDS[task]}") == result["dev"], (
            "evaluate gives the numbers of the log again"
        )
        assert load(out / "steps" / load(out).path.name).labels == load(out).labels
    assert {"answerable_f1", "unanswerable"} < tuned["qa"][1]["dev"].keys()
    assert any("1 -DOCSTART- lines skipped" in line for line in tuned["tag"][2])


def test_the_threshold_of_no_answer_is_chosen_on_the_dev_file_and_goes_with_the_model(tuned, files):
    out, result, _ = tuned["qa"]
    assert result["threshold"] == load(out).labels.threshold != 0
    targets, said, kind = judged(out, files / "dev.json")
    given = kind.correct(targets, said)  # every question is given an answer
    excess, answerable = np.array([s.excess for s in said]), targets.answerable
    best = max(np.where(excess > t, ~answerable, given).mean() for t in [excess.min() - 1, *excess])
    assert np.mean(kind.correct(targets, said, load(out).labels)) == pytest.approx(best)


def test_metrics_hold_one_line_an_update_under_the_terms_name(tuned):
    for task, term in (("tag", "tag"), ("qa", "span")):
        lines = [json.loads(line) for line in (tuned[task][0] / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
        assert all(line["terms"] == {term: line["loss"]} for line in lines)
        assert set(lines[-1]["evaluation"][term]) >= {"loss", "f1", "count"}
        assert lines[-1]["loss"] < lines[0]["loss"]


def test_predictions_are_one_for_one_with_the_words(tuned, files, tmp_path, capsys):
    (tmp_path / "words.txt").write_text("value\nreturn\nimport\nname\n\nclass\n")
    out = tmp_path / "out.jsonl"
    assert command("predict", tuned["tag"][0], "--input", tmp_path / "words.txt", "--out", out) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["words"] for row in rows] == [["value", "return", "import", "name"], ["class"]]
    assert rows[0]["label"] == ["O", "B-VERB", "I-VERB", "O"] and all(0.3 < p <= 1 for p in rows[0]["scores"])
    (span,) = rows[0]["spans"]
    score = span.pop("score")
    assert span == {"type": "VERB", "start": 1, "end": 3, "text": "return import"}
    assert score == pytest.approx(np.prod(rows[0]["scores"][1:3]))
    assert command("evaluate", tuned["tag"][0], "--input", files / "dev.conll") == 0
    assert "f1" in capsys.readouterr().out


def test_answers_are_pieces_of_their_texts(tuned, files, tmp_path):
    rows = predict(tuned["qa"][0], files / "dev.json", tmp_path / "out.jsonl")
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == rows
    paragraphs = json.loads((files / "dev.json").read_text())["data"][0]["paragraphs"]
    for row, paragraph in zip(rows, paragraphs, strict=True):
        assert row["id"] == paragraph["qas"][0]["id"] and 0 <= row["scores"]["answer"] + row["scores"]["none"] < 1.001
        if row["label"]:
            assert paragraph["context"][row["start"] : row["end"]] == row["label"]
        else:
            assert row["start"] is None is row["end"]
    assert 5 < sum(row["label"] == "" for row in rows) < 30


def test_the_best_answers_of_a_question_begin_with_the_one_that_is_said(tuned, files, tmp_path):
    plain, rows = (predict(tuned["qa"][0], files / "dev.json", top=top) for top in (None, 4))
    for one, row in zip(plain, rows, strict=True):
        answers = row.pop("answers")
        assert row == one and len(answers) == 4 and len({answer["text"] for answer in answers}) == 4
        sums, shares = ([answer[name] for answer in answers] for name in ("score", "probability"))
        assert sums == sorted(sums, reverse=True) and 0 < sum(shares) < 1.0001
        given = next(answer for answer in answers if answer["text"])
        if row["label"]:
            assert (given["text"], given["start"], given["end"]) == (row["label"], row["start"], row["end"])
            assert given["probability"] == pytest.approx(row["scores"]["answer"])
        assert {answer["probability"] for answer in answers if not answer["text"]} <= {row["scores"]["none"]}
    assert any(
        answer["text"] == "" for row in predict(tuned["qa"][0], files / "dev.json", top=1) for answer in row["answers"]
    )
    with pytest.raises(InputError, match="top=2: task='tag' has one answer a row; task='qa' has several"):
        predict(tuned["tag"][0], files / "dev.conll", top=2)
    assert (
        command("predict", tuned["qa"][0], "--input", files / "dev.json", "--out", tmp_path / "x", "--top", "21") == 2
    )


@pytest.mark.parametrize("task", ENDS)
def test_a_frozen_trunk_stays_and_its_features_may_be_held_or_not(task, model, files, tmp_path, monkeypatch):
    options = {"method": "frozen", "set": ["epochs=2", "batch=40"]}
    held = tune(model, files, tmp_path / "held", task, **options)
    before, after = load(model).member.state_dict(), load(tmp_path / "held").member.state_dict()
    trunk = [name for name in before if name.startswith("model.")]
    assert trunk and all(torch.equal(before[name], after[name]) for name in trunk)
    monkeypatch.setattr(frozen, "CACHE", 0)
    anew = tune(model, files, tmp_path / "anew", task, **options)
    for a, b in zip(held["epochs"], anew["epochs"], strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
    after = load(tmp_path / "anew").member.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in trunk)
    found = evaluate(tmp_path / "held", files / f"dev.{ENDS[task]}")
    assert found["f1"]["value"] == pytest.approx(held["dev"]["f1"]["value"], abs=0.02)


@pytest.mark.parametrize("task", ENDS)
def test_seeds_give_mean_and_spread_and_scratch_starts_afresh(task, model, files, tmp_path):
    options = {"set": ["epochs=1", "batch=120", "lr=1e-9"]}
    result = tune(model, files, tmp_path / "runs", task, seeds=2, scratch=True, **options)
    values = [each["dev"]["f1"]["value"] for each in result["results"]]
    assert result["over_seeds"]["f1"]["mean"] == pytest.approx(np.mean(values))
    assert load(tmp_path / "runs").run.name == f"seed-{result['best_seed']}"
    tune(model, files, tmp_path / "kept", task, seed=1, **options)
    tune(model, files, tmp_path / "again", task, seed=1, **options)
    assert (tmp_path / "kept" / "metrics.jsonl").read_bytes() == (tmp_path / "again" / "metrics.jsonl").read_bytes()
    name = "model.embeddings.tokens.weight"
    source, kept, fresh = (
        load(path).member.state_dict()[name] for path in (model, tmp_path / "kept", tmp_path / "runs")
    )
    assert torch.allclose(source, kept, atol=1e-6) and not torch.allclose(source, fresh, atol=1e-3)


def test_their_runs_are_verified_and_reported(tuned, tmp_path):
    for out, result, _ in tuned.values():
        assert command("verify", out) == 0
        page = bertsmith.report([out], tmp_path / "report.html").read_text()
        assert f"{result['dev']['f1']['value']:.4f}" in page or f"{result['dev']['f1']['value']:.1%}" in page


def test_over_long_texts_are_windowed_unless_told_otherwise_and_what_is_cut_is_said(tuned, files, tmp_path):
    words = [["value"] * 60 + ["import"], ["return"]]
    rows = [
        json.dumps({"text": w, "label": ["B-VERB" if x in ("import", "return") else "O" for x in w]}) for w in words
    ]
    (tmp_path / "long.jsonl").write_text("\n".join(rows))
    said: list[str] = []
    windowed = predict(tuned["tag"][0], tmp_path / "long.jsonl", say=said.append)
    assert len(windowed[0]["label"]) == 61 and None not in windowed[0]["label"] and windowed[0]["label"][-1] == "B-VERB"
    assert any("1 of 2 texts (50.0%) is longer than 32 tokens; read in" in line for line in said)
    cut = predict(tuned["tag"][0], tmp_path / "long.jsonl", on_long="truncate", say=said.append)
    assert cut[0]["label"][-1] is None is cut[0]["scores"][-1] and len(cut[0]["label"]) == 61
    assert any("31 of 62 words stand beyond the end of what is read" in line for line in said)
    scores = evaluate(tuned["tag"][0], tmp_path / "long.jsonl", on_long="truncate")
    assert scores["accuracy"]["value"] <= 31 / 62 and scores["recall"]["value"] <= 0.5
    with pytest.raises(InputError, match=r"long\.jsonl:1: 66 tokens, and the model takes 32"):
        predict(tuned["tag"][0], tmp_path / "long.jsonl", on_long="error")


def test_answers_that_stand_elsewhere_are_mended_or_skipped_and_a_run_goes_on_only_as_it_was(model, files, tmp_path):
    tree = json.loads((files / "train.json").read_text())
    paragraphs = tree["data"][0]["paragraphs"]
    for paragraph in paragraphs[1:60:4]:
        paragraph["qas"][0]["answers"][0]["answer_start"] += 1
    paragraphs[61]["qas"][0]["answers"][0]["text"] = "nowhere"
    (tmp_path / "train.json").write_text(json.dumps(tree))
    paths = {"train": tmp_path / "train.json", "dev": files / "dev.json", "out": tmp_path / "run"}
    options = {"task": "qa", "threads": 1, "steps": 2, "set": ["batch=8"], **paths}
    said: list[str] = []
    with pytest.raises(InputError, match=r"does not stand there.*; on_bad_answer='mend' or 'skip' goes on"):
        finetune(model, **options)
    finetune(model, **options, on_bad_answer="mend", say=said.append)
    told = "15 answers moved to where their text stands, 1 answer left out, 1 question left out"
    assert sum(told in line for line in said) == 1
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["task"]["on_bad_answer"] == "mend" and config["data"]["train"]["rows"] == len(paragraphs) - 1
    for other in ("skip", "error"):
        with pytest.raises(InputError):
            finetune(model, **options, on_bad_answer=other, resume=True)
    finetune(model, **{**options, "steps": 3}, on_bad_answer="mend", resume=True)
    with pytest.raises(InputError, match="on_bad_answer='menf': unknown; did you mean 'mend'"):
        finetune(model, **{**options, "out": tmp_path / "b"}, on_bad_answer="menf")
    with pytest.raises(InputError, match="on_bad_answer='skip': task='classify' has no places in texts"):
        rows = {"text": ["a", "b"], "label": ["x", "y"]}
        finetune(model, task="classify", train=rows, dev=0.5, out=tmp_path / "c", on_bad_answer="skip")
    assert (
        command(
            "finetune",
            model,
            "--task",
            "qa",
            *(f"--{name}={path}" for name, path in paths.items()),
            "--on-bad-answer=skip",
            "--steps=1",
            "--threads=1",
            "--resume",
        )
        == 2
    )


TAGS = "a O\nb B-X\n\nc O\n"
BAD = [
    ("tag", TAGS, "a O\nb B-Y\n", 'dev:2: label: "B-Y" is not one of: B-X, O'),
    ("tag", "a O\nb O\n", TAGS, "train: label: every word says 'O'"),
    ("tag", "a O\nb\n", TAGS, "train:2: 1 column, but 2 in line 1"),
    ("tag", "a\nb\n", TAGS, "train:1: label: one column; a word and its tag are needed"),
    ("tag", "a O\nb X\nc B-X\n", TAGS, "train:2: label: 'X' is neither O nor B-"),
    ("tag", "\n\n", TAGS, "train: holds no sentences"),
    ("tag", "a\tO\n\tO\n", TAGS, "train:2: text: is empty"),
    ("qa", "[]", "{}", "train:1: a list where an object is expected"),
    ("qa", '{"data": [}', "[]", "train:1: column 11: not JSON"),
    ("qa", '{"data": [\n{"title": "x"}]}', "[]", "train:2: data.0: paragraphs: is missing"),
]


@pytest.mark.parametrize("task, train, dev, says", BAD)
def test_bad_files_are_named_and_nothing_is_written(task, train, dev, says, model, tmp_path):
    (tmp_path / "train").write_text(train)
    (tmp_path / "dev").write_text(dev)
    with pytest.raises(InputError) as raised:
        finetune(model, task=task, train=tmp_path / "train", dev=tmp_path / "dev", out=tmp_path / "run")
    assert says in str(raised.value) and "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "task, options, says",
    [
        ("tag", {"set": ["pool=mean"]}, "pool: mean: this task reads each token by itself"),
        ("tag", {"columns": "text=word"}, "columns='text=word': task='tag' reads a word and its tag a line"),
        ("tag", {"columns": "label=9"}, "label: 3 columns, and column 9 is asked for"),
        ("tag", {"labels": ["O", "B-VERB"]}, "is not one of: O, B-VERB"),
        ("tag", {"set": ["stride=0"]}, "stride: 0 must be above 0"),
        ("qa", {"columns": "text=1"}, "task='qa' takes no others"),
        ("qa", {"labels": ["a", "b"]}, "answers in a text, not classes"),
        ("qa", {"set": ["length=4"]}, "leave no room"),
    ],
)
def test_bad_options_say_what_is_allowed(task, options, says, model, files, tmp_path):
    with pytest.raises(InputError) as raised:
        tune(model, files, tmp_path / "run", task, **options)
    assert says in str(raised.value) and not (tmp_path / "run").exists()
