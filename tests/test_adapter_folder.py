"""Updates of low rank as a folder of peft: the head with them, the same answers over the base that they were made for."""

import json
import sys

import pytest
import torch
from tests.runs import small

import bertsmith
from bertsmith.errors import InputError

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning"),  # peft's of transformers
]
MEMBERS = ("bert", "roberta", "albert", "electra", "gpt2")


@pytest.fixture(scope="module")
def libraries():
    return pytest.importorskip("peft"), pytest.importorskip("transformers")


def made(member, short, tasks, folder, task="classify", sets=()):
    """A model, and what was tuned on it by low rank."""
    base, run = folder / "base", folder / "run"
    bertsmith.pretrain(small("training.precision=float32", member=member), short, base, steps=2, threads=1)
    kind, train, dev = tasks[task]
    options = {"task": kind, "train": train, "dev": dev, "method": "lora", "epochs": 2, "threads": 1}
    bertsmith.finetune(base, out=run, set=("batch=8", "lr=0.02", "lora.rank=3", *sets), **options)
    return base, run


@pytest.mark.parametrize("member", MEMBERS)
def test_peft_opens_it_over_the_exported_base_with_the_same_answers(libraries, member, short, tasks, tmp_path):
    peft, transformers = libraries
    parts = ('lora.parts=["attention", "feedforward"]',)
    base, run = made(member, short, tasks, tmp_path, sets=parts)
    found = bertsmith.export(run, tmp_path / "updates", to="peft")
    assert found["largest_difference"]["label"] < 1e-5
    assert bertsmith.verify(tmp_path / "updates")["kind"] == "export"
    bertsmith.export(base, tmp_path / "folder")
    names = bertsmith.load(run).labels.names
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "folder", num_labels=len(names))
    model = peft.PeftModel.from_pretrained(model, str(tmp_path / "updates")).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "updates")
    text = "the value of a class"
    with torch.no_grad():
        theirs = model(**tokenizer(text, return_tensors="pt")).logits[0].softmax(0).tolist()
    ours = bertsmith.predict(run, [text])[0]["scores"]
    assert theirs == pytest.approx([ours[name] for name in names], abs=1e-5)
    config = json.loads((tmp_path / "updates" / "adapter_config.json").read_text())
    assert config["r"] == 3 and config["fan_in_fan_out"] == (member == "gpt2")
    card = (tmp_path / "updates" / "README.md").read_text()
    assert "PeftModel.from_pretrained" in card and str(tmp_path) not in card


@pytest.mark.parametrize("task", ["tag", "qa", "regress"])
def test_heads_of_other_tasks_go_with_it(libraries, pretrained, tune_by, task, tmp_path):
    tune_by(tmp_path / "run", "lora", task)
    found = bertsmith.export(tmp_path / "run", tmp_path / "updates", to="peft")
    assert max(found["largest_difference"].values()) < 1e-5


def test_an_update_that_is_wrong_is_found_before_anything_is_written(libraries, by_method, tmp_path, monkeypatch):
    from bertsmith.deploy.adapter_folder import Updates

    right = Updates._updates

    def wrong(self):
        tensors, turned = right(self)
        return {name: x + 0.5 if "query.lora_B" in name else x for name, x in tensors.items()}, turned

    monkeypatch.setattr(Updates, "_updates", wrong)
    with pytest.raises(InputError, match=r"not written: .* differs by"):
        bertsmith.export(by_method[0]["lora"], tmp_path / "updates", to="peft")
    assert not (tmp_path / "updates").exists()


def test_what_peft_has_no_place_for_is_refused(libraries, by_method, short, tasks, tmp_path):
    for method in ("adapter", "bias"):
        with pytest.raises(InputError, match="has no updates of low rank; method='lora' makes some, and to='hf'"):
            bertsmith.export(by_method[0][method], tmp_path / "no", to="peft")
    _, run = made("xlnet", short, tasks, tmp_path)
    with pytest.raises(InputError, match="in no linear layer, which peft has no updates for; to='hf' merges them"):
        bertsmith.export(run, tmp_path / "no", to="peft")
    assert not (tmp_path / "no").exists()


def test_without_peft_it_is_named_before_anything_is_read(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(InputError, match="to='peft': compares with peft before it says done, which is not installed"):
        bertsmith.export(tmp_path, tmp_path / "no", to="peft")
