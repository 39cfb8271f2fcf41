"""`training.compile`: the same numbers up to rounding, and a resumed run the same bytes as one that was not interrupted."""

import os
import signal

import pytest
import torch
from tests.runs import lines, same, small

from bertsmith.errors import Interrupted
from bertsmith.training.pretraining import pretrain

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings(
        "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"
    ),  # dynamo's own look
]
STEPS = 6
FLOAT32 = ("training.precision=float32", "model.dropout=0")


def compiled(store, out, **options):
    """A run of STEPS updates; compiling its layers takes most of the time."""
    pretrain(small("training.compile=true", *FLOAT32), store, out, steps=STEPS, seed=3, resume=True, **options)


@pytest.fixture(scope="module")
def whole(short, tmp_path_factory):
    out = tmp_path_factory.mktemp("compiled") / "whole"
    compiled(short, out)
    return out


def test_a_compiled_run_learns_what_an_eager_one_does(whole, short, tmp_path):
    pretrain(small(*FLOAT32), short, tmp_path / "eager", steps=STEPS, seed=3)
    for mine, theirs in zip(lines(whole), lines(tmp_path / "eager"), strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-5)


@pytest.mark.slow
def test_a_compiled_run_resumes_to_the_last_bit(whole, short, tmp_path):
    def stop(step: int, *_: object) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        compiled(short, tmp_path / "broken", progress=stop)
    torch.compiler.reset()  # as another process would: nothing is compiled yet
    compiled(short, tmp_path / "broken")
    same(whole, tmp_path / "broken")
