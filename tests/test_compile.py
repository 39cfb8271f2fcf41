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


def test_a_compiled_run_learns_what_an_eager_one_does_and_resumes_to_the_last_bit(short, tmp_path):
    def stop(step: int, *_: object) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    eager, whole, broken = (tmp_path / name for name in ("eager", "whole", "broken"))
    recipe, options = small("training.compile=true", *FLOAT32), {"steps": STEPS, "seed": 3, "resume": True}
    pretrain(small(*FLOAT32), short, eager, **options)
    pretrain(recipe, short, whole, **options)
    for mine, theirs in zip(lines(whole), lines(eager), strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
    with pytest.raises(Interrupted):
        pretrain(recipe, short, broken, progress=stop, **options)
    torch.compiler.reset()  # as another process would: nothing is compiled yet
    pretrain(recipe, short, broken, **options)
    same(whole, broken)
