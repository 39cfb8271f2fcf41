"""Greedy and beam search beside transformers' `generate`: the same random weights give the same tokens."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.parity import test_stacks
from tests.parity.test_gpt import pair

from bertsmith.data.decoded import decoded
from bertsmith.downstream.search import How, Rules, write
from bertsmith.nn.asks import Asks
from bertsmith.nn.modules.writing import Causal, writer_of

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.usefixtures("one_thread")
END, SIZE, TEXTS = 3, 90, 100
WAYS = {
    "greedy": How(limit=16),
    "beam": How(limit=16, beam=4),
    "short": How(limit=12, beam=3, length_penalty=0.0),
    "long": How(limit=12, beam=3, length_penalty=2.0, stop="never"),
    "early": How(limit=16, beam=4, stop="early"),
    "no_repeat": How(limit=16, beam=3, no_repeat=2),
}


def theirs(how):
    """The same in transformers' words."""
    stop = {"likely": False, "early": True, "never": "never"}[how.stop]
    options = {"num_beams": how.beam, "length_penalty": how.length_penalty, "early_stopping": stop}
    return {
        "max_new_tokens": how.limit,
        "do_sample": False,
        "no_repeat_ngram_size": how.no_repeat,
        "eos_token_id": END,
        "pad_token_id": 0,
        **(options if how.beam > 1 else {}),
    }


def prompts():
    draw = np.random.default_rng(0)
    return [draw.integers(5, SIZE, n).tolist() for n in draw.integers(1, 12, TEXTS)]


def until_the_end(tokens):
    return tokens[: tokens.index(END)] if END in tokens else tokens


@pytest.mark.parametrize("way", WAYS)
def test_gpt2_goes_on_with_the_same_tokens(way):
    member, hf = pair("gpt2", "there")
    rows, how = prompts(), WAYS[way]
    flat = np.concatenate(rows).astype(np.int32)
    stream, _ = decoded(flat, flat, np.array([len(row) for row in rows]))
    rules = Rules(size=SIZE, end=END, no_repeat=how.no_repeat, prompts=rows)
    ours = write(Causal(member.eval(), stream.to("cpu")), how, rules, range(TEXTS))
    longest = max(map(len, rows))
    padded = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    with torch.no_grad():
        found = hf.eval().generate(padded, attention_mask=mask, **theirs(how))[:, longest:].tolist()
    # Tokens that transformers never runs into: a row of its batch that was padded on the left must not repeat its padding.
    assert [text.tokens for text in ours] == [until_the_end(row) for row in found]
    assert len({tuple(text.tokens) for text in ours}) > 20


STARTS = {"bart": END, "t5 of few buckets": 0, "t5 v1.1": 0}  # the token that a decoder is given first


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", STARTS)
def test_bart_and_t5_write_the_same_tokens_about_a_text(name, way):
    member, hf = test_stacks.pair(name, "there")
    if name == "bart":  # else whatever it has just read is its likeliest token
        for model in (member, hf):
            next(p for p in model.parameters() if p.shape == (SIZE, 32)).data.mul_(0.2)
    rows, how = prompts(), WAYS[way]
    flat = np.concatenate(rows).astype(np.int32)
    stream, _ = decoded(flat, flat, np.array([len(row) for row in rows]))
    both_sides = replace(stream, visibility="full")
    rules = Rules(size=SIZE, end=END, no_repeat=how.no_repeat, prompts=[[STARTS[name]]] * TEXTS)
    ours = write(writer_of(member.eval(), both_sides.to("cpu"), Asks(start=STARTS[name])), how, rules, range(TEXTS))
    longest = max(map(len, rows))
    padded = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    with torch.no_grad():
        options = {"decoder_start_token_id": STARTS[name], "forced_eos_token_id": None, **theirs(how)}
        found = hf.eval().generate(padded, attention_mask=mask, **options)[:, 1:].tolist()
    assert [text.tokens for text in ours] == [until_the_end(row) for row in found]
    assert len({tuple(text.tokens) for text in ours}) > 20
