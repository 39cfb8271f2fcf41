"""Retrieval: which texts of a corpus come first for a query, and how good that is; losses of vectors over a whole file, in NumPy.  q queries, c
texts of the corpus, d width; n rows of k texts.

Scores are those of trec_eval and BEIR: nDCG with the judgements as gains and the logarithm of the rank, reciprocal rank of the first relevant text
within ten, and the share of the relevant texts among the first k.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

DEPTH = 100  # how far down a ranking is looked at
WITHIN = 10  # ranks that nDCG and the reciprocal rank look at
SHARES = (1, 10, 100)  # of recall
CELLS = 1 << 24  # similarities held at once
NAMES = (f"ndcg@{WITHIN}", f"mrr@{WITHIN}", *(f"recall@{k}" for k in SHARES))


def unit(vectors: np.ndarray) -> np.ndarray:
    """(…, d) of length 1; a vector of zeros stays."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def first(queries: np.ndarray, corpus: np.ndarray, but: Sequence[int] | None = None, depth: int = DEPTH) -> np.ndarray:
    """(q, d), (c, d) -> (q, at most `depth`) numbers of texts by their cosine, the earlier of equals first; `but` (q,): one that is left out,
    or -1 (its place then holds -1, behind all)."""
    queries, corpus = unit(queries).astype(np.float32), unit(corpus).astype(np.float32)
    depth, at_once = min(depth, len(corpus)), max(1, CELLS // len(corpus))
    found = np.empty((len(queries), depth), np.int64)
    for start in range(0, len(queries), at_once):
        scores = queries[start : start + at_once] @ corpus.T
        out = np.full(len(scores), -1) if but is None else np.asarray(but)[start : start + at_once]
        rows = np.flatnonzero(out >= 0)
        scores[rows, out[rows]] = -np.inf
        found[start : start + at_once] = _sorted(scores, depth)
        found[start + rows] = np.where(found[start + rows] == out[rows, None], -1, found[start + rows])
    return found


def _sorted(scores: np.ndarray, depth: int) -> np.ndarray:
    """(q, c) -> (q, depth)."""
    if depth == scores.shape[1]:
        return np.argsort(-scores, axis=1, kind="stable")
    least = -np.partition(-scores, depth - 1, axis=1)[:, depth - 1]  # what stands at the last rank
    found = np.empty((len(scores), depth), np.int64)
    for row, (own, bound) in enumerate(zip(scores, least, strict=True)):
        candidates = np.flatnonzero(own >= bound)
        found[row] = candidates[np.argsort(-own[candidates], kind="stable")][:depth]
    return found


def measured(found: np.ndarray, relevant: Sequence[Mapping[int, float]]) -> dict[str, np.ndarray]:
    """found (q, depth) as `first` gives it, relevant[i] {number: judgement above 0} of query i -> {name: (q,)}."""
    discount = 1 / np.log2(np.arange(2, WITHIN + 2))
    values = {name: np.zeros(len(found)) for name in NAMES}
    for i, (ranked, judged) in enumerate(zip(found.tolist(), relevant, strict=True)):
        gains = np.array([judged.get(text, 0.0) for text in ranked])
        best = np.sort(np.array([*judged.values()], np.float64))[::-1][:WITHIN]
        top = gains[:WITHIN]
        values[f"ndcg@{WITHIN}"][i] = (top * discount[: len(top)]).sum() / (best * discount[: len(best)]).sum()
        hits = np.flatnonzero(top > 0)
        values[f"mrr@{WITHIN}"][i] = 1 / (hits[0] + 1) if len(hits) else 0.0
        for k in SHARES:
            values[f"recall@{k}"][i] = (gains[:k] > 0).sum() / len(judged)
    return values


def retrieved(texts: np.ndarray, vectors: np.ndarray) -> dict[str, np.ndarray]:
    """texts (n, k), vectors (n, k, d) -> {score: (n,)}: of the first text of each row as a query, the others of all rows as the corpus (its
    own text left out), the second texts of all rows with the same first one as relevant."""
    queries, at, query = np.unique(texts[:, 0], return_index=True, return_inverse=True)
    corpus, where = np.unique(texts[:, 1:], return_index=True)
    place = {text: i for i, text in enumerate(corpus.tolist())}
    relevant: list[dict[int, float]] = [{} for _ in queries]
    for i, row in zip(query.tolist(), texts.tolist(), strict=True):
        relevant[i][place[row[1]]] = 1.0
    but = [place.get(text, -1) if place.get(text) not in own else -1 for text, own in zip(queries.tolist(), relevant)]
    flat = vectors[:, 1:].reshape(-1, vectors.shape[-1])
    found = first(vectors[at, 0], flat[where], but)
    return {name: values[query] for name, values in measured(found, relevant).items()}


def belonging(vectors: np.ndarray, texts: np.ndarray, scale: float) -> float:
    """(n, k, d), (n, k): as objectives/modules/vectors.py has it, of all rows together."""
    found = unit(vectors.astype(np.float64))
    candidates = found[:, 1:].swapaxes(0, 1).reshape(-1, found.shape[-1])
    names = texts[:, 1:].T.ravel()
    total, at_once = 0.0, max(1, CELLS // len(candidates))
    for start in range(0, len(found), at_once):
        rows = slice(start, start + at_once)
        scores = scale * found[rows, 0] @ candidates.T
        own = np.arange(len(scores)), np.arange(start, start + len(scores))
        mine = scores[own]
        belongs = (names == texts[rows, :1]) | (names == texts[rows, 1:2])
        belongs[:, : len(texts)] |= texts[rows, :1] == texts[:, 0]
        scores[belongs] = -np.inf
        scores[own] = mine
        total += float((np.logaddexp.reduce(scores, axis=1) - mine).sum())
    return total / len(found)


def cosent(cosines: np.ndarray, labels: np.ndarray, scale: float) -> float:
    """log(1 + sum of exp(scale (cosine i - cosine j)) over label i < label j), by sums over equal labels."""
    values = scale * cosines.astype(np.float64)
    _, group = np.unique(labels, return_inverse=True)
    many = int(group.max()) + 1
    up, down = (np.bincount(group, np.exp(sign * values), many) for sign in (1, -1))
    return float(np.log1p((np.cumsum(up)[:-1] * down[1:]).sum()))
