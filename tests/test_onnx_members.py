"""Every member as an ONNX graph that says what it says, or refused for a reason that is stated."""

from dataclasses import replace

import pytest
import torch
from tests.folders import randomised
from tests.reading_what import READS

from bertsmith.deploy.export import export
from bertsmith.downstream.model import Loaded
from bertsmith.errors import InputError
from bertsmith.nn.member import blank, build
from bertsmith.recipe import find

pytest.importorskip("onnxruntime", reason="needs bertsmith[onnx]")

TOKEN_AFTER_TOKEN = "token after token"
WHY = {
    "word2vec": "table of vectors",
    "reformer": "chunks",
    "ernie-thu": "entities",
    "audio-bert": "frames of sound",
    "lstm": TOKEN_AFTER_TOKEN,
}
LIKE = {
    "word2vec": ("fasttext", "glove"),
    "audio-bert": ("audio-albert", "audio-xlnet"),
    "lstm": (
        "bert-lstm",
        "cove",
        "elmo",
        "hybrid",
        "on-lstm",
        "quick-thought",
        "skip-thought",
        "ulmfit",
        "ulmfit-backward",
    ),
}
REFUSED = WHY | {other: WHY[name] for name, others in LIKE.items() for other in others}
GRAPHS = sorted(READS.keys() - REFUSED.keys())
# One of each body, position scheme and head in every run; those that differ from it by a corruption or a size in `make test-slow`.
TOLD_APART = ["bert"]


def member(name, store, at):
    """A member with random weights, as a pre-training run of it is loaded."""
    recipe = find(f"{name}:tiny").with_vocab(store.vocab)
    torch.manual_seed(0)
    made = randomised(build(recipe))
    weights = made.state_dict()
    while hasattr(recipe.objective, "alone"):
        weights = recipe.objective.alone(weights)
        recipe = replace(recipe, objective=recipe.objective.objective, mixture=None)
    member = blank(recipe)
    member.load_state_dict(weights, strict=False)
    return Loaded(
        member=member.eval(),
        recipe=recipe,
        tokenizer=store.tokenizer,
        path=at / "steps" / "step-00000001",
        kind="pretrain",
        config={"kind": "pretrain", "data": {}},
    )


@pytest.mark.parametrize(
    "name", [name if name in TOLD_APART else pytest.param(name, marks=pytest.mark.slow) for name in GRAPHS]
)
def test_a_member_as_a_graph_says_what_it_says(name, store, tmp_path):
    made = export(member(name, store, tmp_path / "run"), tmp_path / "out", to="onnx")
    assert made["texts"] >= 100
    near = {name: apart for name, apart in made["largest_difference"].items() if name not in made["rounded"]}
    assert all(apart <= 1e-5 for apart in near.values())
    assert made["rounded"] == (["logits"] if name == "t5" else [])  # scores that nothing divides, of random weights


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_no_graph_is_refused_for_its_reason(name, store, tmp_path):
    with pytest.raises(InputError, match=REFUSED[name]):
        export(member(name, store, tmp_path / "run"), tmp_path / "out", to="onnx")
    assert not (tmp_path / "out").exists()


def test_every_member_is_one_or_the_other():
    assert {*REFUSED} <= READS.keys()
