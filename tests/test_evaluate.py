"""`evaluate RUN --data STORE` says what the run itself said last of the same store: every member, every term, every number."""

import json

import pytest
from tests.goldens import SMALL
from tests.reading_what import TEXT
from tests.runs import fitting

import bertsmith
from bertsmith.config import override
from bertsmith.recipe import find

pytestmark = pytest.mark.usefixtures("one_thread")
FULL = ["training.held_out=4096", "model.dropout=0.0"]  # several batches


@pytest.mark.parametrize("name", TEXT)
def test_a_run_is_evaluated_as_it_was_at_its_end(name, store, tmp_path):
    recipe = find(f"{name}:tiny")
    bertsmith.pretrain(override(recipe, fitting(recipe, [*SMALL, *FULL])), store, tmp_path / "run", steps=2, threads=1)
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])["evaluation"]
    said = {f"{term}.{key}": value for term, found in last.items() for key, value in found.items()}
    scores = bertsmith.evaluate(tmp_path / "run", data=store)
    scores.pop("token.bits_per_byte", None)  # of the store, not of the run (test_generate.py)
    assert list(scores) == list(said)
    for key, score in scores.items():
        assert score["value"] == pytest.approx(said[key], rel=1e-5), key
        assert score["low"] <= score["value"] <= score["high"], key
    if name == "electra":
        assert 0 < said["replaced.replaced"] < 1 and scores["replaced.auc"]["low"] < scores["replaced.auc"]["high"]
