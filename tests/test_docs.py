"""Guides name commands and files that exist, and generated pages are up to date."""

import json
import re
import shlex
from pathlib import Path

import pytest

from bertsmith import cli
from bertsmith.downstream import family

ROOT = Path(__file__).resolve().parents[1]
PAGES = [path for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))] if path.is_file()]


def commands(page: Path) -> list[str]:
    """Every `bertsmith …` of a page's code blocks, continued lines joined, prompts and comments cut."""
    blocks = re.findall(
        r"^```(?:sh|bash|console|)\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    lines = [re.sub(r"\s+#.*", "", line.removeprefix("$ ")) for line in lines]
    return [line for line in lines if line.startswith("bertsmith ")]


EXAMPLES = [(page.name, command) for page in PAGES for command in commands(page)]


def test_there_are_examples():
    assert {"pretrain.md", "finetune.md"} <= {name for name, _ in EXAMPLES}


@pytest.mark.parametrize(("page", "command"), EXAMPLES)
def test_examples_parse(page, command):
    parsed = cli.parser().parse_args(shlex.split(command)[1:])
    assert callable(parsed.command)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_exist(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)`", page.read_text(encoding="utf-8"))) <= targets


def test_family_is_up_to_date():
    assert (ROOT / "docs" / "family.md").read_text(encoding="utf-8") == family.page(), "run `make docs`"


def test_the_python_page_runs(corpus, tmp_path, monkeypatch, capsys):
    pytest.importorskip("pandas")
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "topics.txt").write_bytes(corpus.read_bytes()[:100_000])
    monkeypatch.chdir(tmp_path)
    known: dict = {}
    for block in re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        exec(block, known)
    assert known["found"]["dev"].keys() >= {"accuracy"} and (tmp_path / "report.html").is_file()
    assert "steps: 'many' given; a whole number is wanted" in capsys.readouterr().out


def test_the_notebook_of_the_first_hour_runs(documents, corpus, tmp_path, monkeypatch):
    """Cell by cell, with parameters of its own, as a kernel would."""
    pytest.importorskip("sklearn")
    cells = json.loads((ROOT / "docs" / "first-hour.ipynb").read_text(encoding="utf-8"))["cells"]
    cells = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in cells)
    monkeypatch.chdir(tmp_path)
    paragraphs = [line for text in documents for line in text.split("\n")][:120]
    rows = [f"{' '.join(text.split()[:12])}\t{'long' if len(text) > 300 else 'short'}" for text in paragraphs]
    Path("rows.tsv").write_text("text\tlabel\n" + "\n".join(rows) + "\n", encoding="utf-8")
    Path("text.txt").write_bytes(corpus.read_bytes()[:200_000])
    known: dict = {}
    for cell in cells:
        exec("".join(cell["source"]), known)
        if cell["metadata"].get("tags") == ["parameters"]:
            known |= {"TEXT": "text.txt", "LABELLED": "rows.tsv", "MINUTES": 0.02, "SEEDS": 1}
    assert known["found"]["texts"] == 36 and "baseline" in known["tuned"] and Path("report.html").is_file()
