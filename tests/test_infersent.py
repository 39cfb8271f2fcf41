"""Pairs whose texts are read apart, and classes over their vectors (InferSent)."""

import numpy as np
import pytest
import torch
from tests.runs import Breaking, same

import bertsmith
from bertsmith.downstream.model import load
from bertsmith.errors import InputError
from bertsmith.tasks import kinds
from bertsmith.tasks.given import source

pytestmark = pytest.mark.usefixtures("one_thread")


def vectors(loaded, texts, pool):
    return bertsmith.embed(loaded, texts, pool=pool)


@pytest.mark.parametrize(("pool", "method"), [("max", "full"), ("mean", "frozen"), ("cls", "full")])
def test_its_answers_are_those_of_a_layer_over_both_vectors(tune_by, tasks, tmp_path, pool, method):
    found = tune_by(tmp_path / "run", method, "pairs", ("head=infersent", f"pool={pool}"))
    loaded = load(tmp_path / "run")
    lines = tasks["pairs"][2].read_text().splitlines()[1:]
    first, second, _ = zip(*(line.split("\t") for line in lines), strict=True)
    u, v = (torch.from_numpy(vectors(loaded, list(texts), pool)) for texts in (first, second))
    with torch.no_grad():
        logits = loaded.member.objective.head(torch.cat([u, v, (u - v).abs(), u * v], 1))
    said = [row["label"] for row in bertsmith.predict(tmp_path / "run", tasks["pairs"][2])]
    names = loaded.task["labels"]
    assert said == [names[i] for i in logits.argmax(1).tolist()]
    scores = bertsmith.evaluate(tmp_path / "run", tasks["pairs"][2])
    assert scores["accuracy"]["value"] == pytest.approx(found["dev"]["accuracy"]["value"])


def test_one_text_knows_nothing_of_the_other_until_the_head(tune_by, tasks, tmp_path):
    tune_by(tmp_path / "run", "full", "pairs", ("head=infersent", "pool=max"))
    loaded = load(tmp_path / "run")
    assert loaded.vectors == {"pool": "max", "normalise": False}
    kind, found = kinds.of_task(loaded.task), []
    for second in ("another", "yet something else"):
        rows = kind.read(source([{"text": "a name of it", "text2": second}], "input"), labelled=False, pairs=True)
        encoded = kind.encode(loaded.tokenizer, rows, loaded.reading(), True)
        stream = encoded.batch(np.arange(1)).input.to("cpu")
        at = torch.from_numpy(encoded.read(np.arange(1))[1])
        with torch.no_grad():
            found.append(loaded.member.objective.vectors(loaded.member.model, stream, at))
    assert torch.allclose(found[0][0], found[1][0], atol=1e-6) and not torch.allclose(found[0][1], found[1][1])


def test_what_was_broken_off_goes_on_to_the_bit(tune_by, tmp_path):
    sets = ("head=infersent", "pool=max", "dropout=0.1")
    tune_by(tmp_path / "straight", "full", "pairs", sets)
    with pytest.raises(KeyboardInterrupt):
        tune_by(tmp_path / "broken", "full", "pairs", sets, progress=Breaking("kill", 8))
    tune_by(tmp_path / "broken", "full", "pairs", sets, resume=True)
    same(tmp_path / "straight", tmp_path / "broken")


def test_passes_of_an_update_change_nothing(tune_by, tmp_path):
    import json

    losses = []
    for accumulate in (1, 3):
        sets = ("head=infersent", "pool=max", "dropout=0", f"accumulate={accumulate}", "precision=float32")
        tune_by(tmp_path / str(accumulate), "full", "pairs", sets, epochs=1)
        text = (tmp_path / str(accumulate) / "metrics.jsonl").read_text()
        losses.append([json.loads(line)["loss"] for line in text.splitlines()])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_it_wants_pairs_and_no_other_reading_of_them(tune_by, tmp_path):
    with pytest.raises(InputError, match="reads pairs, and there are none"):
        tune_by(tmp_path / "run", "full", "classify", ("head=infersent",))
    with pytest.raises(InputError, match="orders=both"):
        tune_by(tmp_path / "run", "full", "pairs", ("head=infersent", "orders=both"))
    with pytest.raises(InputError, match="head: infersent"):
        tune_by(tmp_path / "run", "full", "regress", ("head=infersent",))
    assert not (tmp_path / "run").exists()
