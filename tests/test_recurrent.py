"""Stacks of cells beside torch's own LSTM, and what no text may tell another."""

import itertools

import numpy as np
import pytest
import torch

from bertsmith.data.batch import Stream
from bertsmith.data.thread import Thread
from bertsmith.nn.cells import LSTM, OrderedNeurons
from bertsmith.nn.modules.cells import cumax
from bertsmith.nn.recurrent import Carry, Locked, Recurrent

LENGTHS = (5, 9, 1, 9, 3)


def built(seed=0, **changes):
    torch.manual_seed(seed)
    config = Recurrent(**{"vocab": 50, "layers": 2, "width": 12, "hidden": 20, "dropout": 0.0, **changes})
    return config.build().eval()


def stream(lengths=LENGTHS, tokens=None, thread=None):
    place = np.concatenate([np.arange(length) for length in lengths])
    tokens = np.random.default_rng(3).integers(0, 50, len(place)) if tokens is None else tokens
    zeros = np.zeros(len(place), np.int64)
    made = Stream(
        tokens=tokens,
        positions=place,
        segments=zeros,
        query_rank=place,
        key_rank=place,
        lengths=tuple(lengths),
        thread=thread,
    )
    return made.to("cpu")


def torchs(body):
    """torch.nn.LSTMs of the same weights, a layer each."""
    made = []
    for cells in body.layers:
        proj = cells[0].says if cells[0].weight_hr is not None else 0
        theirs = torch.nn.LSTM(
            cells[0].weight_ih.shape[1], cells[0].units, batch_first=True, bidirectional=len(cells) > 1, proj_size=proj
        )
        for cell, end in zip(cells, ("", "_reverse"), strict=False):
            for name, weight in cell.named_parameters():
                getattr(theirs, f"{name}_l0{end}").data.copy_(weight)
        made.append(theirs)
    return made


@pytest.mark.parametrize("directions", ["forward", "both"])
@pytest.mark.parametrize("cell", [LSTM(), LSTM(projection=True), LSTM(projection=True, clip=1e9)])
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_torchs_lstm_of_the_same_weights_says_the_same(cell, directions):
    body, read = built(cell=cell, directions=directions), stream()
    expected = []
    for text in read.tokens.split(list(LENGTHS)):
        x = body.tokens(text)[None]
        for layer in torchs(body):
            x = layer(x)[0]
        expected.append(x[0])
    expected = torch.cat(expected)
    torch.testing.assert_close(body(read), expected, atol=1e-6, rtol=1e-6)
    at = torch.tensor([0, 3, 7, 14])
    torch.testing.assert_close(body(read, at), expected[at], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("cell", [LSTM(), LSTM(projection=True, clip=0.05), OrderedNeurons(chunk=4)])
@pytest.mark.parametrize("directions", ["forward", "backward", "both", "apart"])
def test_parameters_are_counted_exactly(cell, directions):
    body = built(cell=cell, directions=directions)
    assert body.config.parameters() == sum(p.numel() for p in body.parameters())
    assert body(stream()).shape == (27, body.config.outer)
    assert [x.shape[1] for x in body.states(stream())][-1] == body.config.outer


@pytest.mark.parametrize("cell", [LSTM(projection=True), OrderedNeurons(chunk=4)])
@pytest.mark.parametrize(
    "directions, before, behind", [("forward", True, False), ("backward", False, True), ("both", True, True)]
)
def test_a_state_knows_what_its_direction_has_read(cell, directions, before, behind):
    body, tokens = built(cell=cell, directions=directions), stream().tokens.numpy()
    changed = tokens.copy()
    changed[5 + 4] = (changed[5 + 4] + 1) % 50  # of the second text
    moved = (body(stream(tokens=tokens)) != body(stream(tokens=changed))).any(1).numpy()
    assert not moved[:5].any() and not moved[14:].any()  # other texts
    assert moved[9] and moved[5:9].all() == behind and moved[10:14].all() == before
    assert moved[5:9].any() == behind and moved[10:14].any() == before


def test_two_stacks_apart_never_hear_of_each_other():
    body = built(cell=LSTM(projection=True, clip=3.0), directions="apart", layers=3, residual=True)
    tokens = stream().tokens.numpy()
    changed = tokens.copy()
    changed[9] = (changed[9] + 1) % 50
    states, others = body.states(stream(tokens=tokens)), body.states(stream(tokens=changed))
    assert torch.equal(states[0][:, :12], states[0][:, 12:])  # the token itself, for both
    for layer, (a, b) in enumerate(zip(states[1:], others[1:], strict=True)):
        moved = (a != b).numpy()
        assert moved[9:14, :12].any(1).all() and not moved[5:9, :12].any(), layer
        assert moved[5:10, 12:].any(1).all() and not moved[10:14, 12:].any(), layer


def test_a_text_is_said_the_same_alone_and_beside_others():
    for directions, cell in itertools.product(
        ("forward", "backward", "both", "apart"), (LSTM(), OrderedNeurons(chunk=4))
    ):
        body, read = built(cell=cell, directions=directions), stream()
        whole = body(read).split(list(LENGTHS))
        for text, among in zip(read.tokens.split(list(LENGTHS)), whole, strict=True):
            torch.testing.assert_close(body(stream((len(text),), text.numpy())), among, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("cell", [LSTM(), LSTM(projection=True, clip=0.05), OrderedNeurons(chunk=4)])
def test_a_thread_goes_on_where_it_stopped_as_if_it_were_one_text(cell):
    body, text = built(cell=cell, memory=Carry()), np.random.default_rng(4).integers(0, 50, (2, 10))
    whole = body(stream((10, 10), text.ravel())).view(2, 10, -1)
    for turn in range(3):  # 4 tokens a turn, of which the last is read again
        some = text[:, 3 * turn : 3 * turn + 4]
        thread = Thread(column=np.arange(2), turn=np.full(2, turn), backward=np.zeros(2, bool), stride=3)
        read = torch.arange(8).view(2, 4)[:, :3].flatten() if turn % 2 else None
        said = body(stream((4, 4), some.ravel(), thread), read)
        expected = whole[:, 3 * turn : 3 * turn + (3 if turn % 2 else 4)].flatten(0, 1)
        torch.testing.assert_close(said, expected, atol=1e-6, rtol=1e-6)
    assert not any(part.requires_grad for _, part in body.memory.kept.values())


def test_a_thread_from_the_end_goes_on_with_what_stands_before():
    body, text = built(directions="backward", memory=Carry()), np.random.default_rng(4).integers(0, 50, 10)
    whole = body(stream((10,), text))
    for turn in range(3):
        thread = Thread(column=np.zeros(1, int), turn=np.full(1, turn), backward=np.zeros(1, bool), stride=3)
        begin = 6 - 3 * turn
        said = body(stream((4,), text[begin : begin + 4], thread))
        torch.testing.assert_close(said, whole[begin : begin + 4], atol=1e-6, rtol=1e-6)


def test_ordered_neurons_are_the_papers_equations():
    body = built(cell=OrderedNeurons(chunk=4), layers=1)
    cell, x = body.layers[0][0], stream((7,)).tokens
    h, c, expected = np.zeros(12), np.zeros(12), []
    softmax = lambda v: np.exp(v) / np.exp(v).sum()
    sigmoid = lambda v: 1 / (1 + np.exp(-v))
    weights = {name: w.detach().double().numpy() for name, w in cell.named_parameters()}
    for v in body.tokens(x).detach().double().numpy():
        gates = weights["weight_ih"] @ v + weights["bias_ih"] + weights["weight_hh"] @ h + weights["bias_hh"]
        write, keep = 1 - np.cumsum(softmax(gates[:3])), np.cumsum(softmax(gates[3:6]))
        assert (np.diff(keep) >= 0).all() and (np.diff(write) <= 0).all()
        write, keep = np.repeat(write, 4), np.repeat(keep, 4)
        o, g, i, f = np.split(gates[6:], 4)
        overlap = write * keep
        f, i = sigmoid(f) * overlap + (keep - overlap), sigmoid(i) * overlap + (write - overlap)
        c = f * c + i * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        expected.append(h)
    np.testing.assert_allclose(body(stream((7,))).detach().numpy(), np.array(expected), atol=1e-6)
    gate = cumax(torch.randn(5, 8))
    assert (gate.diff(dim=-1) >= 0).all() and torch.allclose(gate[:, -1], torch.ones(5))


def test_locked_masks_are_one_for_all_times_of_a_sequence_and_others_in_the_next():
    noise = Locked(input=1.0, between=0.5, output=1.5, weights=1.0)
    body = built(noise=noise, dropout=0.4, cell=LSTM(projection=True), width=40).train()
    torch.manual_seed(1)
    said = body(stream((8, 8)))
    gone = (said == 0).view(2, 8, 40)
    assert (gone == gone[:, :1]).all() and not torch.equal(gone[0, 0], gone[1, 0])
    assert 0.4 < gone[:, 0].float().mean() < 0.8  # 0.6
    cell = body.layers[0][0]
    left = cell.recurrent()
    kept = left != 0
    assert torch.allclose(left[kept], cell.weight_hh[kept] / 0.6) and 0.3 < 1 - kept.float().mean() < 0.5
    assert torch.equal(body.eval().layers[0][0].recurrent(), cell.weight_hh)
