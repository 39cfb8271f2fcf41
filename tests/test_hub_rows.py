"""Labelled data sets of the hub by name: splits, configurations, columns, classes by their names, what has no label, and what is told."""

import json
import sys
from types import ModuleType, SimpleNamespace

import pytest

import bertsmith
from bertsmith.errors import InputError
from bertsmith.tasks import kinds
from bertsmith.tasks.hub_rows import named

pytestmark = pytest.mark.usefixtures("one_thread")
CLASSES = SimpleNamespace(names=["negative", "positive"])
TAGS = SimpleNamespace(feature=SimpleNamespace(names=["O", "B-X"]))


class Rows:
    """As much of datasets.Dataset as is asked for."""

    def __init__(self, columns, features=None):
        self.columns, self.features = columns, features or {}

    column_names = property(lambda self: [*self.columns])
    __getitem__ = lambda self, name: self.columns[name]
    __len__ = lambda self: len(next(iter(self.columns.values())))

    def select(self, which):
        return Rows({name: [values[i] for i in which] for name, values in self.columns.items()}, self.features)


def sentences(count, label=None):
    texts = [f"{'good' if i % 2 else 'bad'} number {chr(97 + i % 26)} of {count}" for i in range(count)]
    return Rows(
        {"sentence": texts, "label": [i % 2 if label is None else label for i in range(count)]}, {"label": CLASSES}
    )


HELD = {
    ("glue", "sst2"): {"train": sentences(24), "validation": sentences(12), "test": sentences(5, -1)},
    ("plain", None): {"train": sentences(24), "test": sentences(12)},
    ("nli", None): {"train": Rows({"premise": ["a"], "hypothesis": ["b"], "label": [1]}, {"label": CLASSES})},
    ("conll", None): {"train": Rows({"tokens": [["a", "b"]], "ner_tags": [[0, 1]]}, {"ner_tags": TAGS})},
    ("squad", None): {
        "train": Rows(
            {
                "id": ["1"],
                "title": ["T"],
                "context": ["a b"],
                "question": ["q"],
                "answers": [{"text": ["b"], "answer_start": [2]}],
            }
        )
    },
    ("odd", None): {"train": Rows({"body": ["a"], "kind": ["x"]})},
}


@pytest.fixture(autouse=True)
def library(monkeypatch):
    def load_dataset(name, config=None):
        if (name, config) not in HELD:
            if any(known == name for known, _ in HELD):
                raise ValueError(f"BuilderConfig {config!r} not found.\nAvailable: {[c for n, c in HELD if n == name]}")
            raise ConnectionError(f"Couldn't reach {name!r} on the Hub")
        return HELD[name, config]

    fake = ModuleType("datasets")
    fake.load_dataset, fake.disable_progress_bars = load_dataset, lambda: None
    monkeypatch.setitem(sys.modules, "datasets", fake)


def read(value, task, part="train", columns=None, **options):
    found = named(value, part, columns or {}, kinds.kind(task), **options)
    return found.origin, [json.loads(line) for line in found.lines]


def test_splits_are_named_or_those_of_the_part_and_classes_have_their_names():
    name, rows = read("hf:glue:sst2", "classify")
    assert name == "hf:glue:sst2:train" and len(rows) == 24
    assert rows[1] == {"text": "good number b of 24", "label": "positive"}
    assert read("hf:glue:sst2", "classify", "dev")[0] == "hf:glue:sst2:validation"
    assert read("hf:plain:test", "classify")[0] == "hf:plain::test", "a split, where there is no such configuration"
    assert len(read("hf:plain::train[4:10]", "classify")[1]) == 6
    assert named("train.tsv", "train", {}, kinds.kind("classify")) == "train.tsv"


def test_columns_are_known_by_the_names_that_they_usually_have():
    assert read("hf:nli", "classify")[1] == [{"text": "a", "text2": "b", "label": "positive"}]
    assert read("hf:conll", "tag")[1] == [{"text": ["a", "b"], "label": ["O", "B-X"]}]
    answers = {"text": ["b"], "answer_start": [2]}
    assert read("hf:squad", "qa")[1] == [{"question": "q", "context": "a b", "answers": answers, "id": "1"}]
    found = named("hf:odd", "train", {"text": "body", "label": "kind"}, kinds.kind("classify"))
    assert json.loads(found.lines[0]) == {"body": "a", "kind": "x"} and found.columns == {
        "text": "body",
        "label": "kind",
    }


def test_a_fine_tuning_and_what_asks_it_take_data_sets(pretrained, tmp_path):
    said: list[str] = []
    options = {"train": "hf:glue:sst2", "dev": "hf:glue:sst2", "steps": 2, "threads": 1, "allow_unknown": True}
    result = bertsmith.finetune(pretrained, task="classify", out=tmp_path / "run", say=said.append, **options)
    assert "hf:glue:sst2:train: columns: text sentence" in said
    data = json.loads((tmp_path / "run" / "config.json").read_text())["data"]
    assert [data[part]["path"] for part in ("train", "dev")] == ["hf:glue:sst2:train", "hf:glue:sst2:validation"]
    found = bertsmith.evaluate(tmp_path / "run", "hf:glue:sst2:validation")
    assert found["accuracy"]["value"] == pytest.approx(result["dev"]["accuracy"]["value"])
    assert len(bertsmith.predict(tmp_path / "run", "hf:glue:sst2:test")) == 5, "labels are not asked for"
    again = bertsmith.finetune(pretrained, task="classify", out=tmp_path / "run", resume=True, **options)
    assert again == result


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("hf:glue:sst2:test", "hf:glue:sst2:test: no row has a label (-1), as in the test splits of benchmarks"),
        ("hf:glue:sst2:nix", "no split nix; it has train, validation, test"),
        ("hf:glue:nix:train", "BuilderConfig 'nix' not found. Available: ['sst2']"),
        (
            "hf:nowhere",
            "Couldn't reach 'nowhere' on the Hub; without a network what the library has in its cache is read",
        ),
        ("hf:odd", "no column that is known as text: it has body, kind; columns='text=NAME' says which"),
        ("hf:", "expected hf:NAME, hf:NAME:CONFIG or hf:NAME:CONFIG:SPLIT"),
        ("hf:a:b:c:d", "expected hf:NAME, hf:NAME:CONFIG or hf:NAME:CONFIG:SPLIT"),
        ("hf:./none", "./none: no such folder"),
        ("hf:plain::train[3]", "expected a slice of rows such as train[:1000]"),
    ],
)
def test_what_cannot_be_read_is_told_in_a_line_that_names_the_way_out(value, says):
    with pytest.raises(InputError) as raised:
        read(value, "classify")
    assert says in str(raised.value) and "\n" not in str(raised.value)


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"needs the library datasets; pip install 'bertsmith\[hub\]'"):
        read("hf:glue:sst2", "classify")


def test_rows_without_a_label_are_for_a_teacher():
    assert read("hf:glue:sst2:test", "classify", lacking=True)[1][0]["label"] is None
