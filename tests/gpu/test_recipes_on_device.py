"""What every member learns on the device is what it learns on the CPU.

Dropout is off: its draws are the device's own.  ELECTRA's samples are draws of the data, and are on.
"""

import pytest
import torch
from tests.goldens import NEAR
from tests.gpu.runs import apart, losses, pretrained
from tests.reading_what import TEXT

pytestmark = pytest.mark.gpu
CURVE, CLOSE = 0.06, 0.03  # of bfloat16: any one loss, and the mean of the last ten
every_member = pytest.mark.parametrize("name", TEXT)


@every_member
def test_float32_losses_are_the_cpus(name, ran, device, record_property):
    """NEAR is what the golden figures allow another processor: rounding of 1e-7 grows with Adam's division by small moments."""
    far = apart(ran(name, device, "training.precision=float32"), ran(name, "cpu", "training.precision=float32"))
    record_property("apart", far)
    assert far <= NEAR


@every_member
def test_bfloat16_losses_follow_those_of_float32(name, ran, device, record_property):
    fast, exact = (
        ran(name, place, f"training.precision={precision}")
        for place, precision in ((device, "bfloat16"), ("cpu", "float32"))
    )
    late = [sum(losses(run)[-10:]) / 10 for run in (fast, exact)]
    record_property("apart", apart(fast, exact))
    record_property("late", late[0] / late[1] - 1)
    assert apart(fast, exact) <= CURVE
    assert abs(late[0] / late[1] - 1) <= CLOSE


def test_float32_as_runs_have_it_is_close_too(ran, words, device, tmp_path, record_property):
    """TF32 products on a GPU: 10 bits where bfloat16 has 7."""
    settings = ("training.precision=float32",)
    far = apart(pretrained("bert", words, tmp_path / "run", device, *settings), ran("bert", "cpu", *settings))
    record_property("apart", far)
    assert far <= CLOSE


@pytest.mark.parametrize("name", ["bert", "xlnet"])
def test_micro_batches_amount_to_one_big_batch(name, ran, device, record_property):
    far = apart(
        ran(name, device, "training.precision=float32", "training.accumulate=4"),
        ran(name, device, "training.precision=float32"),
    )
    record_property("apart", far)
    assert far <= NEAR


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.filterwarnings("ignore")  # dynamo's and inductor's own
def test_compiled_layers_learn_what_eager_ones_do(precision, ran, device, record_property):
    """In bfloat16 a fused layer rounds less often than an eager one."""
    asked = f"training.precision={precision}"
    far = apart(ran("bert", device, asked, "training.compile=true"), ran("bert", device, asked))
    record_property("apart", far)
    torch.compiler.reset()
    assert far <= {"float32": NEAR, "bfloat16": CLOSE}[precision]


def test_dropout_on_the_device_learns_as_well(ran, device, record_property):
    """The draws differ, the mean of what is learned does not: 20 updates of a tiny model by a few per cent."""
    settings = ("training.precision=float32", "model.dropout=0.1")
    late = [sum(losses(ran("bert", place, *settings))[-10:]) / 10 for place in (device, "cpu")]
    record_property("late", late[0] / late[1] - 1)
    assert abs(late[0] / late[1] - 1) <= CLOSE
