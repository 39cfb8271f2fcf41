"""Linear models of states that are there: softmax regression, ridge regression.  n states of d numbers, c classes."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bertsmith.tasks.metrics import cross_entropy

Array = np.ndarray
PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2)  # of the squared weights, beside a mean loss
APART = 0.1  # of the training states, which choose the penalty
STEPS = 100  # of L-BFGS


def probed(train: Array, truth: Array, asked: Array, classes: int | None, seed: int = 0) -> tuple[Array, float]:
    """What a linear model that learned from `train` (n, d) and `truth` (n,) says of `asked` (m, d): (m, c) logits, or (m, 1) numbers where
    `classes` is None; and its penalty.

    States are scaled to deviation 1; the penalty is the one that is best on a tenth of the training states, then all are learned from.
    """
    order = np.random.default_rng(seed).permutation(len(train))
    held, rest = np.split(order, [max(1, round(APART * len(train)))]) if len(train) > 1 else (order, order)
    mean, scale = train.mean(0, dtype=np.float64), train.std(0, dtype=np.float64)
    ready = lambda x: ((x - mean) / np.maximum(scale, 1e-6)).astype(np.float32)
    train, asked = ready(train), ready(asked)
    fit = _ridge if classes is None else _softmax
    losses = []
    for penalty in PENALTIES:
        said = fit(train[rest], truth[rest], penalty, classes)(train[held])
        losses.append(cross_entropy(said, truth[held]) if classes else float(((said[:, 0] - truth[held]) ** 2).mean()))
    best = PENALTIES[int(np.argmin(losses))]
    return fit(train, truth, best, classes)(asked), best


def _softmax(states: Array, truth: Array, penalty: float, classes: int | None):
    """L-BFGS on the mean cross-entropy and `penalty` times the squared weights; the loss is convex, so where it begins does not matter."""
    assert classes is not None
    x, y = torch.from_numpy(states), torch.from_numpy(truth.astype(np.int64))
    weight = torch.zeros(classes, x.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(x @ weight.T + bias, y) + penalty * (weight**2).sum()
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    w, b = weight.detach().numpy(), bias.detach().numpy()
    return lambda new: new @ w.T + b


def _ridge(states: Array, truth: Array, penalty: float, classes: int | None):
    x = np.hstack([states, np.ones((len(states), 1), np.float32)]).astype(np.float64)
    gram = x.T @ x / len(x) + penalty * np.diag([1.0] * states.shape[1] + [1e-12])
    w = np.linalg.solve(gram, x.T @ truth.astype(np.float64) / len(x))
    return lambda new: (new @ w[:-1] + w[-1])[:, None]
