"""Every snippet of every kind of card runs, and says what there is to say."""

import json
import re

import pytest
from tests.folders import TASKS, loaded, theirs, tokenizer_of

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
    ("bart", "token", "bpe:400"),
    ("t5", "token", "unigram:200"),
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


@pytest.mark.usefixtures("few_texts")
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
    says = r"\S" if family in ("bart", "t5") else SAYS[head.partition("+")[0]]
    assert re.search(says, ran(tmp_path / "out", capsys))
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


def tuned_card(model, task, tmp_path, **options):
    """The card of a fine-tuning of one epoch, and the settings in it."""
    kind, train, dev = task
    bertsmith.finetune(
        model, task=kind, train=train, dev=dev, out=tmp_path / "tuned", epochs=1, threads=1, set=["batch=16"], **options
    )
    bertsmith.export(tmp_path / "tuned", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    return card, json.loads(re.search(r"```json\n(.*?)```", card, re.DOTALL)[1])


def test_the_card_of_a_fine_tuned_import_says_nothing_of_a_pre_training_that_we_do_not_know(
    documents, tasks, tmp_path, capsys
):
    transformers = pytest.importorskip("transformers")
    theirs(transformers, "bert", "token", tokenizer_of(documents[:20]), tmp_path / "folder")
    card, settings = tuned_card(tmp_path / "folder", tasks["tag"], tmp_path)
    assert not {"recipe", "pre-training", "layout", "corruption"} & {*settings}
    for unknown in ("corruption", "SegmentPairs", "schedule", "held_out", "negatives"):
        assert unknown not in card
    assert settings["fine-tuning"]["lr"] == 0.001 and settings["model"]["width"] == 16
    assert "a model that was imported (SHA-256 `" in card and "tokenizer: WordPiece, " in card
    assert (
        "## How texts are read" in card
        and re.search("of spans of [0-9]+ types, by B(, I)?, O; IOB1", card)
        and "read in windows" in card
    )
    _, train, dev = tasks["tag"]
    assert f"- train: `{train.name}`, " in card and f"- dev: `{dev.name}`, " in card and str(train.parent) not in card
    result = json.loads((tmp_path / "tuned" / "result.json").read_text())
    score = result["dev"]["f1"]
    assert f"- f1 {score['value']:.4f} [{score['low']:.4f}, {score['high']:.4f}]" in card
    capsys.readouterr()
    assert re.search(SAYS["tag"], ran(tmp_path / "out", capsys))


@pytest.mark.parametrize("scratch", [False, True])
def test_the_card_of_our_own_model_says_how_it_was_pre_trained_where_it_was(scratch, pretrained, tasks, tmp_path):
    card, settings = tuned_card(pretrained, tasks["classify"], tmp_path, scratch=scratch)
    assert ("pre-training" in settings) == (not scratch) and "recipe" not in settings
    assert ("It began with fresh weights." in card) == scratch
    assert ("pre-trained by bertsmith (SHA-256" in card) == (not scratch)
    assert "A text of more than 32 tokens is cut." in card and "It learned in " in card


def test_a_card_has_a_table_of_classes_where_the_result_tells(pretrained, tasks, tmp_path):
    from bertsmith import files
    from bertsmith.deploy.card import card
    from bertsmith.downstream.model import load

    tuned_card(pretrained, tasks["classify"], tmp_path)
    path = tmp_path / "tuned" / "result.json"
    result = {key: value for key, value in files.unsealed(path.read_bytes(), path).items() if key != "sha256"}
    result["classes"] = {"a|b": {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "support": 1200}}
    path.write_bytes(files.sealed(result))
    compared = {"classes": [], "largest_difference": {"label": 0.0}, "transformers": "5", "texts": 1, "texts_from": "x"}
    assert "| a\\|b | 0.500 | 0.250 | 0.333 | 1,200 |" in card(load(tmp_path / "tuned"), compared)
