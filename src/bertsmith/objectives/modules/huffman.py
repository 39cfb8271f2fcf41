"""A Huffman tree of a vocabulary: the paths that hierarchical softmax walks (Mikolov et al. 2013b, section 2.1).  V words, r turns on the longest path."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bertsmith.data.batch import Array


def codes(counts: Array) -> list[tuple[list[int], list[int]]]:
    """Of each word the inner nodes from the root down, and the turn at each, 0 or 1; ([], []) of a word without a count.

    Counts that are alike are joined in the order of the vocabulary, leaves before nodes.  Nodes are numbered from the root.
    """
    order = [word for word in np.argsort(counts, kind="stable").tolist() if counts[word] > 0]
    weights, many = [int(counts[word]) for word in order], len(order)
    parent, side = [0] * (2 * many), [0] * (2 * many)
    leaf, inner = 0, many
    for made in range(many, 2 * many - 1):
        total = 0
        for turn in (0, 1):
            take_leaf = leaf < many and (inner >= made or weights[leaf] <= weights[inner])
            child = leaf if take_leaf else inner
            leaf, inner = leaf + take_leaf, inner + (not take_leaf)
            parent[child], side[child] = made, turn
            total += weights[child]
        weights.append(total)
    root, found = 2 * many - 2, [([], []) for _ in range(len(counts))]
    walked: dict[int, tuple[list[int], list[int]]] = {root: ([], [])}
    for node in range(root - 1, -1, -1):
        above, turns = walked[parent[node]]
        walked[node] = ([*above, root - parent[node]], [*turns, side[node]])
        if node < many:
            found[order[node]] = walked.pop(node)
    return found


def paths(counts: Array) -> tuple[Tensor, Tensor]:
    """(V, r) int64 nodes, and (V, r) turns: 1, -1, or 0 behind the end of a path."""
    known = codes(counts)
    longest = max(1, max(len(turns) for _, turns in known))
    nodes, signs = np.zeros((len(known), longest), np.int64), np.zeros((len(known), longest), np.float32)
    for word, (above, turns) in enumerate(known):
        nodes[word, : len(above)] = above
        signs[word, : len(turns)] = 1 - 2 * np.array(turns, np.float32)
    return torch.from_numpy(nodes), torch.from_numpy(signs)
