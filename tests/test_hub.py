"""The hub without a network: what is asked of it, what it is given, and what it may refuse."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from tests.folders import loaded, theirs, tokenizer_of

import bertsmith
from bertsmith import cli
from bertsmith.deploy import hub
from bertsmith.errors import InputError, ResourceError

transformers = pytest.importorskip("transformers")
huggingface_hub = pytest.importorskip("huggingface_hub")


class Api:
    """What HfApi would have been asked."""

    def __init__(self):
        self.asked = []

    def create_repo(self, name, **options):
        self.asked.append(("create", name, options))
        return f"https://hub.example/{name}"

    def upload_folder(self, **options):
        self.asked.append(("upload", options["repo_id"], options))


@pytest.fixture
def api(monkeypatch):
    made = Api()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: made)
    return made


@pytest.fixture(scope="module")
def model(documents, tmp_path_factory):
    return loaded("bert", "token", tokenizer_of(documents[:20]), tmp_path_factory.mktemp("run"))


def test_an_export_is_pushed_private_whole_and_after_it_was_compared(api, model, tmp_path):
    said = []
    result = bertsmith.export(model, tmp_path / "out", push="someone/model", say=said.append)
    (_, name, made), (_, repo, sent) = api.asked
    assert (name, repo) == ("someone/model", "someone/model")
    assert made["private"] is True and made["exist_ok"] is True
    assert set(sent["allow_patterns"]) == {path.name for path in (tmp_path / "out").iterdir()}
    assert result["pushed"] == "https://hub.example/someone/model"
    assert "exported" in said[-2] and "private" in said[-1]
    bertsmith.export(model, tmp_path / "out", push="someone/model", private=False, force=True)
    assert api.asked[2][2]["private"] is False


def test_names_are_checked_before_anything_is_written(api, model, tmp_path, capsys):
    for name in ("model", "a/b/c", "../x", "some one/x", ""):
        with pytest.raises(InputError, match="expected user/name"):
            bertsmith.export(model, tmp_path / "out", push=name)
    assert cli.run(["export", "run", "--out", str(tmp_path / "out"), "--public"]) == 2
    assert "--public: only with --push" in capsys.readouterr().err
    assert not api.asked and not (tmp_path / "out").exists()


def test_a_refusal_is_one_line_and_the_export_stays(api, model, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("401 Client Error\nwith many\nlines")

    monkeypatch.setattr(api, "create_repo", refuse)
    with pytest.raises(ResourceError, match=r"^someone/model: the hub refuses: 401 Client Error; `hf auth login`"):
        bertsmith.export(model, tmp_path / "out", push="someone/model")
    assert bertsmith.verify(tmp_path / "out")["kind"] == "export"


def test_a_name_on_the_hub_is_a_model(documents, tmp_path, monkeypatch, capsys):
    theirs(transformers, "bert", "token", tokenizer_of(documents[:20]), tmp_path / "there")
    asked = []

    def download(name, revision=None, allow_patterns=()):
        asked.append((name, revision))
        assert not any(pattern.endswith((".bin", ".py", "*")) for pattern in allow_patterns)
        cache = tmp_path / "cache" / "snapshot"
        shutil.rmtree(cache, ignore_errors=True)
        cache.mkdir(parents=True)
        for path in (tmp_path / "there").iterdir():  # the hub's cache holds links
            (cache / path.name).symlink_to(path)
        return str(cache)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert cli.run(["fill", "hf:someone/model@v2", "a [MASK]", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["masks"]) == 1
    assert cli.run(["import", "hf:someone/model", "--out", str(tmp_path / "model")]) == 0
    assert asked[0] == ("someone/model", "v2") and set(asked[1:]) == {("someone/model", None)}
    with pytest.raises(InputError, match="expected user/name, or a name alone"):
        bertsmith.load("hf:a/b/model")
    bertsmith.load("hf:bert-base-chinese@v1")  # the oldest names of the hub have no owner
    assert asked[-1] == ("bert-base-chinese", "v1")
    (tmp_path / "corpus.txt").write_text("one text\n\nanother text\n")
    prepared = bertsmith.prepare(
        tmp_path / "corpus.txt", tmp_path / "store", tokenizer="hf:bert-base-chinese", allow_unknown=True
    )
    assert asked[-1] == ("bert-base-chinese", None) and prepared["tokens"] > 0
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: 1 / 0)
    with pytest.raises(ResourceError, match="hf:someone/model: the hub refuses: division by zero"):
        bertsmith.load("hf:someone/model")


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"pip install 'bertsmith\[hub\]'"):
        hub.model_at("someone/model")


@pytest.fixture(scope="module")
def cache(documents, tmp_path_factory):
    """A hub's cache that holds someone/model."""
    home = tmp_path_factory.mktemp("hub")
    at = home / "hub" / "models--someone--model"
    theirs(transformers, "bert", "token", tokenizer_of(documents[:20]), at / "snapshots" / ("0" * 40))
    (at / "refs").mkdir()
    (at / "refs" / "main").write_text("0" * 40)
    return home


SLOW = pytest.mark.slow
VERBS = {
    "fill": ["fill", "hf:someone/model", "the [MASK] of"],
    "embed": ["embed", "hf:someone/model", "--input", "texts.txt", "--out", "vectors"],
    "import": ["import", "hf:someone/model", "--out", "model"],
    "finetune": "finetune hf:someone/model --task classify --train rows.tsv --dev dev.tsv --out run --steps 1".split(),
}


@pytest.mark.parametrize("verb", [verb if verb == "fill" else pytest.param(verb, marks=SLOW) for verb in VERBS])
def test_every_verb_opens_a_name_of_the_hub_where_nobody_watches(verb, cache, tmp_path):
    """In a process that has imported nothing else, and whose stderr is no terminal."""
    (tmp_path / "texts.txt").write_text("one text\n")
    (tmp_path / "rows.tsv").write_text("text\tlabel\n" + "one text\ta\nanother text\tb\n" * 4)
    (tmp_path / "dev.tsv").write_text("text\tlabel\n" + "one more\ta\nsome text\tb\n" * 2)
    environment = {**os.environ, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "bertsmith", *VERBS[verb]]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_name_without_a_folder_may_be_one_of_the_hubs(tmp_path, capsys):
    assert cli.run(["fill", "bert-base-uncased", "a [MASK]"]) == 2
    assert "or hf:bert-base-uncased from the hub is wanted" in capsys.readouterr().err
    assert cli.run(["fill", str(tmp_path / "gone"), "a [MASK]"]) == 2
    assert "hf:" not in capsys.readouterr().err
