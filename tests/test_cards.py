"""Every snippet of every kind of card runs, and says what there is to say."""

import re

import pytest
from tests.folders import TASKS, loaded, tokenizer_of

import bertsmith

pytest.importorskip("transformers")
FENCED = re.compile(r"```python\n(.*?)```", re.DOTALL)
KINDS = [
    ("bert", "token+pair", "wordpiece:300"),
    ("roberta", "token", "bpe:400"),
    ("xlnet", "token", "unigram:200"),
    ("electra", "replaced", "wordpiece:300"),
    ("bert", "none", "wordpiece:300"),
    ("bert", "classify", "wordpiece:300"),
    ("roberta", "regress", "bpe:400"),
    ("albert", "tag", "unigram:200"),
    ("bert", "qa", "wordpiece:300"),
    ("xlnet", "qa", "unigram:200"),
]
SAYS = {
    "token": r"\[\{.*'token_str'|\['",
    "replaced": r"\[\('\[CLS\]', (True|False)\)",
    "none": r"torch.Size\(\[1, \d+, 16\]\)",
    "classify": "'label': '(no|perhaps|yes)'",
    "regress": r"'score': -?\d+",
    "tag": "'entity_group'|\\[\\]",
    "qa": "",
}


def ran(folder, capsys):
    """What the card's snippets print, run one after another as a reader would paste them."""
    found = FENCED.findall((folder / "README.md").read_text())
    assert found
    for snippet in found:
        exec(compile(snippet.replace("FOLDER", str(folder)), "README.md", "exec"), {})
    return capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")  # their pipeline, without WordPiece
@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize(("family", "head", "kind"), KINDS)
def test_the_snippets_of_a_card_run(family, head, kind, pairs, documents, tmp_path, capsys):
    if pairs and head not in ("classify", "regress"):
        pytest.skip("read as single texts alone")
    model = loaded(family, head, tokenizer_of(documents[:20], kind), tmp_path / "run")
    if model.task:
        model.task["pairs"] = pairs
    bertsmith.export(model, tmp_path / "out")
    capsys.readouterr()
    assert re.search(SAYS[head.partition("+")[0]], ran(tmp_path / "out", capsys))
    card = (tmp_path / "out" / "README.md").read_text()
    assert ("text_pair" in card) == pairs
    assert ('aggregation_strategy="first"' in card) == (head == "tag")
    assert "opened by `AutoTokenizer`" in card and head in (*TASKS, *SAYS, "token+pair")


def test_a_sentence_encoder_shows_its_vectors(documents, tmp_path, capsys):
    model = loaded("bert", "none", tokenizer_of(documents[:20]), tmp_path / "run")
    model.config["vectors"] = {"pool": "mean", "normalise": True}
    bertsmith.export(model, tmp_path / "out")
    (snippet,) = FENCED.findall((tmp_path / "out" / "README.md").read_text())
    assert snippet.startswith("from sentence_transformers import SentenceTransformer")
    pytest.importorskip("sentence_transformers")
    assert "(2, 16)" in ran(tmp_path / "out", capsys)


def test_the_card_names_the_classes_that_read_otherwise(documents, tmp_path):
    said = []
    bertsmith.export(
        loaded("roberta", "token", tokenizer_of(documents[:20], "bpe:400"), tmp_path / "run"),
        tmp_path / "out",
        say=said.append,
    )
    (line,) = [line for line in said if line.startswith("open it with AutoTokenizer: ")]
    assert re.search(r"RobertaTokenizer \(and RobertaTokenizerFast\) gives other ids for \d+ of 1,000 texts", line)
    assert "Do not take `RobertaTokenizer` (other ids for" in (tmp_path / "out" / "README.md").read_text()
