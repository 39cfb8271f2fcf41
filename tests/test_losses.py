"""Losses and norms that are computed otherwise than torch does it: the same numbers."""

import pytest
import torch
import torch.nn.functional as F

from bertsmith.data.batch import IGNORE
from bertsmith.nn.modules import losses
from bertsmith.nn.norms import RMSNorm


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("cells", [37, 5 * 37, 1 << 18])
def test_blocks_of_rows_have_the_bits_of_all_rows_and_so_have_their_slopes(dtype, cells, monkeypatch):
    draw = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(23, 37, generator=draw)).to(dtype)
    labels = torch.randint(0, 37, (23,), generator=draw)
    labels[[4, 22]] = IGNORE
    found = []
    for many in (1 << 62, 0):
        monkeypatch.setattr(losses, "MANY", many)
        monkeypatch.setattr(losses, "CELLS", cells)
        x = logits.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            each = losses.cross_entropy(x, labels)
        (each.sum() / 21).backward()
        found.append((each.detach(), x.grad))
    assert found[1][0].dtype == torch.float32 and found[1][1].dtype == dtype
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert not found[1][0][[4, 22]].any() and not found[1][1][[4, 22]].any()


def test_a_block_that_nothing_is_asked_of_adds_nothing(monkeypatch):
    monkeypatch.setattr(losses, "MANY", 0)
    x = torch.randn(5, 7, requires_grad=True)
    losses.cross_entropy(x, torch.full((5,), IGNORE)).sum().backward()
    assert not x.grad.any()


@pytest.mark.parametrize("shape", [(40, 32), (3, 5, 32), (0, 32)])
def test_the_root_mean_square_norm_is_torchs_with_its_gradients(shape):
    torch.manual_seed(0)
    norm = RMSNorm(eps=1e-6).build(32)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
    x, slope, found = torch.randn(shape), torch.randn(shape), []
    for forward in (norm, lambda y: F.rms_norm(y, (32,), norm.weight, 1e-6)):
        norm.weight.grad, y = None, x.clone().requires_grad_()
        said = forward(y)
        said.backward(slope)
        found.append((said.detach(), y.grad, norm.weight.grad))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_the_norm_has_the_gradients_of_differences_in_float64():
    torch.manual_seed(0)
    norm = RMSNorm(eps=1e-6).build(6).double()
    x = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(norm, (x,))
