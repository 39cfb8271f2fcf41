"""Adaptive softmax and embeddings against torch's own and against a plain softmax."""

import pytest
import torch

from bertsmith.data.batch import IGNORE
from bertsmith.errors import InputError
from bertsmith.nn.adaptive import Adaptive
from bertsmith.nn.modules.adaptive import AdaptiveHead, AdaptiveTable
from bertsmith.nn.transformer import TransformerConfig

CASES = [
    Adaptive(cutoffs=()),
    Adaptive(cutoffs=(7, 20)),
    Adaptive(cutoffs=(7, 20), divide=2),
    Adaptive(cutoffs=(5, 90)),
]
every_case = pytest.mark.parametrize("config", CASES, ids=repr)
V, D, M = 50, 12, 33


def made(config):
    torch.manual_seed(0)
    table, head = AdaptiveTable(config, V, D).double(), AdaptiveHead(config, V, D).double()
    for p in (*table.parameters(), *head.parameters()):
        torch.nn.init.normal_(p)
    return table, head, torch.randn(M, D, dtype=torch.double), torch.randint(0, V, (M,))


@every_case
def test_probabilities_are_those_of_all_tokens(config):
    table, head, hidden, labels = made(config)
    said = head.logits(hidden, table)
    assert said.shape == (M, V)
    torch.testing.assert_close(said.logsumexp(-1), torch.zeros(M, dtype=torch.double), atol=1e-10, rtol=0)
    wanted = -said.gather(1, labels[:, None]).sum()
    assert head.loss(hidden, labels, table).item() == pytest.approx(wanted.item(), rel=1e-6)


@every_case
def test_filler_is_not_asked(config):
    table, head, hidden, labels = made(config)
    labels[::3] = IGNORE
    kept = labels != IGNORE
    whole, alone = head.loss(hidden, labels, table), head.loss(hidden[kept], labels[kept], table)
    assert whole.item() == pytest.approx(alone.item(), rel=1e-6)


@every_case
def test_a_token_has_one_vector(config):
    table, *_ = made(config)
    ids = torch.randint(0, V, (40,))
    found = table(ids)
    assert found.shape == (40, D)
    for at, cluster in ((i, c) for i in range(40) for c in table.clusters if c.low <= ids[i] < c.high):
        vector = cluster.table.weight[ids[at] - cluster.low]
        wanted = vector if cluster.project is None else cluster.project.weight @ vector
        torch.testing.assert_close(found[at], wanted)
    model = TransformerConfig(vocab=V, layers=1, width=D, heads=1, hidden=1, embeddings=config)
    assert sum(p.numel() for p in table.parameters()) == config.parameters(model)


def test_one_cluster_is_a_plain_softmax():
    table, head, hidden, labels = made(Adaptive(cutoffs=()))
    logits = hidden @ table.clusters[0].table.weight.T + head.bias
    assert head.loss(hidden, labels, table).item() == pytest.approx(
        torch.nn.functional.cross_entropy(logits, labels, reduction="sum").item(), rel=1e-6
    )


def test_it_is_torchs_adaptive_softmax():
    """Without biases of words in the tails, which torch has not; its further clusters are the last entries of its head."""
    config = Adaptive(cutoffs=(7, 20), divide=2)
    table, head, hidden, labels = made(config)
    torch.nn.init.zeros_(head.bias)
    with torch.no_grad():
        head.entry_bias.zero_()
    peer = torch.nn.AdaptiveLogSoftmaxWithLoss(D, V, [7, 20], div_value=2.0).double()
    first, *rest = table.clusters
    with torch.no_grad():
        peer.head.weight.copy_(torch.cat([first.table.weight, head.entries]))
        for tail, cluster in zip(peer.tail, rest, strict=True):
            tail[0].weight.copy_(cluster.project.weight.T)
            tail[1].weight.copy_(cluster.table.weight)
    torch.testing.assert_close(head.logits(hidden, table), peer.log_prob(hidden))
    assert head.loss(hidden, labels, table).item() / M == pytest.approx(peer(hidden, labels).loss.item(), rel=1e-6)


def test_what_cannot_be_is_refused():
    with pytest.raises(InputError, match="must ascend"):
        Adaptive(cutoffs=(20, 7))
    with pytest.raises(InputError, match="leaves no width"):
        Adaptive(cutoffs=(7, 20), divide=4).shapes(50, 8)
