"""A run that is stopped and gone on with equals, on the device too, one that was not: every byte of its losses, weights and moments."""

import pytest
from tests.gpu.runs import apart, in_two, pretrained
from tests.runs import same

pytestmark = pytest.mark.gpu
LONG = ("layout.length=512", "training.batch=2048")  # above 128 tokens a fused kernel adds parts of a gradient up
DROPPED = ("model.dropout=0.1",)
CASES = {
    "bert": ("bert", ()),
    "bert dropout": ("bert", DROPPED),
    "roberta 512": ("roberta", LONG),
    "roberta 512 dropout": ("roberta", (*LONG, *DROPPED)),
    "electra": ("electra", DROPPED),
    "xlnet": ("xlnet", DROPPED),
    "unilm": ("unilm", ()),
    "transformer-xl": ("transformer-xl", ()),
}


def check(case, precision, words, device, tmp_path, record_property):
    name, settings = CASES[case]
    settings = (*settings, f"training.precision={precision}", "model.heads=1")  # heads of 32: a fused kernel takes them
    whole = pretrained(name, words, tmp_path / "whole", device, *settings)
    broken = in_two(name, words, tmp_path / "broken", device, *settings)
    record_property("apart", apart(whole, broken))
    same(whole, broken)


@pytest.mark.parametrize("case", CASES)
def test_half_a_run_and_the_rest_is_the_whole_run(case, words, device, tmp_path, record_property):
    check(case, "bfloat16", words, device, tmp_path, record_property)


@pytest.mark.parametrize("case", ["bert", "roberta 512 dropout"])
def test_it_is_so_in_float32(case, words, device, tmp_path, record_property):
    check(case, "float32", words, device, tmp_path, record_property)
