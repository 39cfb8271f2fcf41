"""The program behind `make test-clients`: its table, without any client."""

import ast
import importlib.util
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "clients"


@pytest.fixture(scope="module")
def run():
    spec = importlib.util.spec_from_file_location("clients_run", HERE / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_cell_counts_the_texts_that_agree_and_says_how_far_others_are(run):
    ours, notes = {"ids": [[1], [2], [3]], "states": [[1.0, 2.0], [30.0]]}, []
    assert run.cell(None, ours, notes) == ""
    assert run.cell({"kind": "ids", "answers": [[1], [5], [3]]}, ours, notes) == "2"
    assert run.cell({"kind": "states", "answers": [[1.0, 2.0], [33.0]]}, ours, notes) == "1 (1e-01)"
    assert run.cell({"kind": "states", "answers": [[1.0], [30.0]]}, ours, notes) == "1 (other shapes)"
    for _ in range(2):
        assert run.cell({"kind": "ids", "refused": "no | class"}, ours, notes) == "refused [1]"
    assert notes == ["no / class"]


def test_not_a_number_agrees_with_nothing(run):
    assert run.difference([1.0], [float("nan")]) == float("inf")


def test_every_client_is_pinned_and_knows_nothing_of_us(run):
    for client, (script, wanted) in run.CLIENTS.items():
        text = (HERE / script).read_text()
        assert "bertsmith" not in text and all(
            "==" in name or "@" in name[1:] for name in wanted if name != "protobuf"
        ), client
        if script.endswith(".py"):
            named = {node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)}
            assert "client" in named
    assert sys.modules.get("flair") is None


def test_a_client_that_cannot_be_installed_is_left_out(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "installed", lambda *a: False)
    run.ask("flair", tmp_path, tmp_path)
    assert "flair: not installed here, left out" in capsys.readouterr().out
    assert not (tmp_path / "flair.json").exists()


def test_there_are_fifty_sentences_of_many_scripts():
    lines = (HERE / "sentences.txt").read_text(encoding="utf-8").splitlines()
    assert len(set(lines)) == 50 and sum(not line.isascii() for line in lines) > 40
