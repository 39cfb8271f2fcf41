"""Commands that need no torch do not load it, nor do mistakes: each in a fresh process, which says what it has loaded."""

import json
import shutil
import subprocess
import sys

import pytest
from tests import benchmark_files, studies
from tests.runs import small

from bertsmith import files
from bertsmith.downstream.finetune import finetune
from bertsmith.errors import InputError
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.training.checkpoint import MODEL, OPTIMIZER, STATE, load_step, verify_state
from bertsmith.training.pretraining import pretrain
from bertsmith.training.run import Run

SLOW = ("torch", "transformers", "gensim", "jinja2", "rich", "sklearn")  # that no command below needs
# Commands are run one after the other; the first that loads one of SLOW, or ends otherwise than expected, is told.
CODE = """
import contextlib, io, json, sys
from bertsmith import cli
for command, expected in json.loads(sys.argv[1]):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = cli.run(command)
        except SystemExit as end:  # of --help
            code = end.code or 0
    loaded = [name for name in json.loads(sys.argv[2]) if name in sys.modules]
    if loaded or code != expected:
        sys.exit(f"{' '.join(command)}: exit {code}, loaded {loaded}: {said.getvalue()[-500:]}")
"""


def started(*commands, code: int = 0, needs: str = "") -> str:
    """What went wrong in a fresh process that runs these commands; "" where nothing did.  `needs`: the one of SLOW that they may load."""
    asked = json.dumps([([str(part) for part in command], code) for command in commands])
    slow = json.dumps([name for name in SLOW if name != needs])
    done = subprocess.run([sys.executable, "-c", CODE, asked, slow], capture_output=True, text=True)
    return done.stderr.strip()


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    pretrain(small(), store, out, steps=2, threads=1)
    return out


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """(train, dev), the second with other texts."""
    folder = tmp_path_factory.mktemp("rows")
    for name, word in (("train", "list"), ("dev", "tuple")):
        lines = [f"the {word} number {i}\t{'odd' if i % 2 else 'even'}" for i in range(8)]
        (folder / f"{name}.tsv").write_text("\n".join(["text\tlabel", *lines]) + "\n")
    return folder / "train.tsv", folder / "dev.tsv"


@pytest.fixture(scope="module")
def tuned(run, rows, tmp_path_factory):
    out = tmp_path_factory.mktemp("tuned")
    options = {"task": "classify", "train": rows[0], "dev": rows[1], "steps": 2, "threads": 1, "set": ["batch=4"]}
    finetune(run, out=out / "one", **options)
    finetune(run, out=out / "two", seeds=2, **options)
    return out


@pytest.fixture
def exported(run, tmp_path):
    """The manifest is all that `verify` reads of an export."""
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert"}')
    manifest = {"format": 1, "kind": "export", "files": files.listing(folder, ["config.json"])}
    (folder / files.MANIFEST).write_bytes(files.sealed(manifest))
    return folder


def test_a_command_that_loads_torch_is_noticed(run):
    assert "loaded ['torch'" in started(["fill", run, "a [MASK]"])


def test_mistakes_about_a_benchmark_load_no_torch(run, tmp_path):
    folder = benchmark_files.glue(tmp_path / "GLUE")
    (folder / "RTE" / "dev.tsv").write_text("text\tlabel\n")
    asked = ["glue", folder, run, "--out"]
    tasks = ([*asked, tmp_path / "out"], [*asked, run, "--tasks", "wnli"], [*asked, "x", "--tasks", "wmli"])
    assert started(["glue", tmp_path / "none", run], *tasks, code=2) == ""


def test_templates_of_studies_and_mistakes_in_them_load_no_torch(store, tmp_path):
    assert started(["study", "--template", "t5-objectives"]) == ""
    alone, out = studies.alone(store), ["--out", tmp_path / "out"]
    wrong = {"recipe": [studies.arm("a", "bort:tiny")], "setting": [studies.arm("a", model__heads=3)]}
    files = [studies.written(tmp_path / f"{name}.toml", **{**alone, "arm": arm}) for name, arm in wrong.items()]
    others = (["study"], ["study", "--template", "none"], ["study", tmp_path / "none.toml", *out])
    assert started(*others, *(["study", file, *out] for file in files), code=2) == ""


def test_help_and_recipes_load_no_torch():
    commands = "recipes prepare show plan pretrain adapt fill finetune multitask study glue clue predict evaluate compare embed score export import convert verify report"
    assert started(["--help"], ["--version"], *([name, "--help"] for name in commands.split())) == ""
    assert started(["recipes"]) == ""
    assert started(["recipes", "electra"], ["recipes", "xlnet:tiny", "--json"]) == ""


def test_verify_loads_no_torch(store, run, tuned, exported):
    folders = [store.path, run, run / "steps" / "step-00000002", tuned / "one", tuned / "two", exported]
    assert started(*(["verify", folder] for folder in folders)) == ""


def test_verify_of_an_unfinished_fine_tuning_loads_no_torch(tuned, tmp_path):
    shutil.copytree(tuned / "one", tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    assert started(["verify", tmp_path / "run"], code=2) == ""


def test_prepare_loads_no_torch(corpus, store, tmp_path):
    pieces = Tokenizer.load(store.path).backend.get_vocab()
    (tmp_path / "vocab.txt").write_text("\n".join(sorted(pieces, key=pieces.get)) + "\n", encoding="utf-8")
    kinds = [
        "wordpiece:300",
        "bpe:300",
        "bpe-char:300",
        "unigram:300",
        "char",
        "byte",
        tmp_path / "vocab.txt",
        store.path,
    ]
    asked = ["prepare", corpus, "--allow-unknown", "--out"]
    assert started(*([*asked, tmp_path / f"{i}", "--tokenizer", kind] for i, kind in enumerate(kinds))) == ""


def test_prepare_with_phrases_and_another_language_loads_no_torch(tmp_path):
    (tmp_path / "zh.txt").write_text("我们在学习语言模型。它们很有用。\n\n今天天气很好。\n" * 20, encoding="utf-8")
    options = ["--tokenizer", "wordpiece:100", "--phrases", "npmi", "--language", "zh", "--allow-unknown"]
    assert started(["prepare", tmp_path / "zh.txt", "--out", tmp_path / "out", *options], needs="gensim") == ""


def test_prepare_with_cleaning_loads_no_torch(corpus, tmp_path):
    options = ["--tokenizer", "wordpiece:300", "--allow-unknown", "--clean", "javascript,repeated,near-duplicates"]
    assert started(["prepare", corpus, "--out", tmp_path / "out", *options]) == ""


def test_show_loads_no_torch(store, tmp_path):
    (tmp_path / "text.txt").write_text("One sentence stands here. Another one follows it.\n\nA second text.\n")
    data, text = ["--data", store.path], ["--text", tmp_path / "text.txt", "--tokenizer", store.path]
    members = ("bert:tiny", "electra:tiny", "xlnet:tiny", "transformer-xl:tiny", "spanbert:tiny")
    assert started(*(["show", member, *data] for member in members)) == ""
    assert started(["show", "bert:tiny", *text]) == ""


def test_mistakes_load_no_torch(store, run, tuned, rows, tmp_path):
    (train, dev), out, there = rows, tmp_path / "out", tmp_path / "there"
    there.mkdir()
    (there / "mine.txt").write_text("kept")
    pre = ["pretrain", "bert:tiny", "--data", store.path]
    tune = ["finetune", run, "--task", "classify", "--train", train, "--dev", dev]
    mistakes = [
        [],
        ["pretrian"],
        ["recipes", "brt"],
        ["prepare", "nothing.txt", "--out", out],
        ["prepare", train, "--out", there],
        ["prepare", train, "--out", out, "--tokenizer", "wordpeice:100"],
        ["prepare", train, "--out", out, "--clean", "c4,teminal"],
        ["prepare", train, "--out", out, "--bad-words", "nothing.txt"],
        ["prepare", train, "--out", out, "--clean-sample", tmp_path / "sample.jsonl"],
        ["show", "bert:huge", "--data", store.path],
        ["show", "bert:tiny", "--data", store.path, "--set", "model.layer=3"],
        ["show", "bert:tiny", "--data", out],
        ["serve", out],
        ["serve", run, "--limit", "text=3"],
        ["serve", run, "--host", "example.org"],
        ["serve", run, run],
        ["serve", run, "--token", out],
        ["plan", "brt:tiny"],
        ["plan", "bert:tiny", "--on", "abacus"],
        ["plan", "bert:tiny", "--data", out],
        ["plan", "bert:tiny", "--set", "model.heads=3"],
        ["adapt", run, "--corpus", train, "--out", out],
        ["adapt", run, "--corpus", "nothing.txt", "--out", out, "--steps", "3"],
        ["adapt", run, "--corpus", train, "--keep", train, "--out", out, "--steps", "3", "--holdout", "0.5"],
        ["adapt", run, "--corpus", train, "--out", run, "--steps", "3"],
        [*pre, "--out", out, "--patience", "0", "--steps", "3"],
        [*pre, "--out", out, "--watch", "de", "--steps", "3"],
        [*pre, "--out", out, "--step", "3"],
        [*pre, "--out", out, "--steps", "0"],
        [*pre, "--out", out, "--steps", "3", "--tokens", "3"],
        [*pre, "--out", out, "--minutes", "-1"],
        [*pre, "--out", there, "--steps", "3"],
        [*pre, "--out", run, "--steps", "3"],
        [*pre, "--out", store.path / "run", "--steps", "3"],
        [*pre, "--out", out, "--steps", "3", "--set", "schedule.lr=fast"],
        [*pre, "--out", out, "--steps", "3", "--from", out],
        ["pretrain", "bert", "--data", store.path, "--out", out, "--steps", "3"],
        ["pretrain", "bert", "--data", store.path, "--out", out, "--steps", "3", "--from", out],
        ["pretrain", "bert:tiny", "--data", out, "--out", there, "--steps", "3"],
        [*tune, "--out", there],
        [*tune, "--out", out, "--method", "half"],
        [*tune, "--out", out, "--set", "lr=fast"],
        [*tune, "--out", out, "--columns", "text"],
        [*tune, "--out", out, "--columns", "text=nothing"],
        [*tune, "--out", out, "--task", "clasify"],
        [*tune, "--out", out, "--dev", train],
        [*tune, "--out", out, "--dev", "nothing.tsv"],
        [*tune, "--out", out, "--epochs", "1", "--steps", "3"],
        [*tune, "--out", out, "--against", run],
        [*tune, "--out", out, "--against", out],
        ["compare", run, run],
        ["compare", tuned / "one", out],
        ["compare", tuned / "one", tuned / "two", "--input", "nothing.tsv"],
        ["finetune", out, *tune[2:], "--out", out],
        ["fill", out, "a [MASK]"],
        ["predict", run, "--input", "nothing.tsv", "--out", out],
        ["predict", run, "--input", train, "--out", out, "--columns", "txt=a"],
        ["predict", run, "--input", train, "--out", train],
        ["predict", out, "--input", train, "--out", out],
        ["evaluate", run],
        ["evaluate", run, "--data", out],
        ["evaluate", run, "--input", "nothing.tsv"],
        ["embed", run, "--input", "nothing.txt", "--out", out],
        ["embed", run, "--input", train, "--out", out, "--columns", "text=nothing"],
        ["embed", run, "--input", train, "--out", there],
        ["embed", run, "--input", train, "--out", out, "--pool", "men"],
        ["export", out, "--out", there],
        ["export", run, "--out", out, "--to", "tf"],
        ["import", out, "--out", there],
        ["verify", out],
        ["verify", there],
        ["report", out, "--out", tmp_path / "r.html"],
        ["report", run, "--out", there],
    ]
    assert started(*mistakes, code=2) == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]


@pytest.mark.parametrize(
    ("name", "bad"), [(OPTIMIZER, b"\x08\0\0\0\0\0\0\0notJSON!"), (MODEL, b"short"), (STATE, b'{"step": "two"}')]
)
def test_what_verify_refuses_of_a_last_step_is_what_loading_it_refuses(name, bad, run, tmp_path):
    """A file that is not what it should be, though its hash is the one that the manifest names."""
    shutil.copytree(run, tmp_path / "run")
    found, told = Run(tmp_path / "run"), []
    assert verify_state(found, 2) == load_step(found, 2).state
    folder = found.step(2)
    (folder / name).write_bytes(bad)
    manifest = files.read_manifest(folder, "step", 1)
    manifest["files"] = files.listing(folder, manifest["files"])
    (folder / files.MANIFEST).write_bytes(files.sealed(manifest))
    for reader in (load_step, verify_state):
        with pytest.raises(InputError, match=name) as refused:
            reader(found, 2)
        told.append(str(refused.value))
    assert told[0] == told[1]
