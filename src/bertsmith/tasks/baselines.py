"""What simple methods reach on the same rows: TF-IDF with a linear model, the commonest tag of each word.  n texts, c classes, p words.

Texts are bags of words and of pairs of neighbouring words; of 1 to 3 characters where most are of a script without blanks.  Of pairs both
texts are such bags, and five numbers say how they overlap: the cosine of the bags, the share of all that either has which both have, the
share of what each one has which the other has, and how much longer the first is.  Penalties are chosen by cross-validation on the training rows.
scikit-learn is loaded where it is used.
"""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from bertsmith.errors import InputError
from bertsmith.spelling import flag
from bertsmith.tasks.answer_scores import unspaced

Texts = tuple[Sequence[str], Sequence[str] | None]  # texts, and the second ones of pairs
STRENGTHS = (0.1, 1.0, 10.0, 100.0)  # C of a logistic regression, alpha of a ridge
FOLDS = 5
WORDS = r"\w+|[^\w\s]"
MOST = 10_000  # training rows that a penalty is chosen on
NEVER = -1e9  # the logit of a class that is out of the question


def check_there() -> None:
    """InputError where scikit-learn is not installed."""
    if importlib.util.find_spec("sklearn") is None:
        raise InputError(f"{flag('baseline')}: needs scikit-learn: pip install 'bertsmith[eval]'")


def classes(train: Texts, truth: np.ndarray, dev: Texts, count: int) -> tuple[str, np.ndarray]:
    """Logistic regression: (what it is, (n, c) logits of the dev texts)."""
    check_there()
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import KFold, StratifiedKFold

    names, features, (learned, asked) = _features(train, dev)
    common = np.bincount(truth, minlength=count)
    folds = (StratifiedKFold if common[common > 0].min() >= FOLDS else KFold)(FOLDS, shuffle=True, random_state=0)
    made = _chosen(LogisticRegression(max_iter=1000), "C", folds, learned, truth)
    said = np.full((asked.shape[0], count), NEVER)
    said[:, made.classes_] = made.predict_log_proba(asked)
    return f"TF-IDF of {names}{features}, logistic regression (C={made.C:g})", said


def several(train: Texts, truth: np.ndarray, dev: Texts) -> tuple[str, np.ndarray]:
    """A logistic regression for each of c labels, (n, c) of 1 and 0, with one penalty: (what it is, (n, c) logits of the dev texts)."""
    check_there()
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import KFold
    from sklearn.multiclass import OneVsRestClassifier

    names, features, (learned, asked) = _features(train, dev)
    apart = np.flatnonzero(truth.min(0) < truth.max(0))  # of the others all rows say the same
    said = np.where(truth.max(0) > 0, -NEVER, NEVER) * np.ones((asked.shape[0], 1))
    one = f"TF-IDF of {names}{features}, a logistic regression for each label"
    if not len(apart):
        return one, said
    model = OneVsRestClassifier(LogisticRegression(max_iter=1000))
    folds = KFold(FOLDS, shuffle=True, random_state=0)
    made = _chosen(model, "estimator__C", folds, learned, truth[:, apart].astype(int), "f1_micro")
    said[:, apart] = np.stack([each.decision_function(asked) for each in made.estimators_], 1)
    return f"{one} (C={made.estimator.C:g})", said


def numbers(train: Texts, truth: np.ndarray, dev: Texts) -> tuple[str, np.ndarray]:
    """Ridge regression: (what it is, (n, 1) numbers of the dev texts)."""
    check_there()
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import KFold

    names, features, (learned, asked) = _features(train, dev)
    made = _chosen(Ridge(), "alpha", KFold(FOLDS, shuffle=True, random_state=0), learned, truth)
    return f"TF-IDF of {names}{features}, ridge regression (alpha={made.alpha:g})", made.predict(asked)[:, None]


def cosines(train: Sequence[str], first: Sequence[str], second: Sequence[str]) -> tuple[str, np.ndarray]:
    """The cosine of the bags of two texts, weighted by the training texts: (what it is, (n,))."""
    check_there()
    names, bags = _bags(train)
    found = np.asarray(bags.transform(first).multiply(bags.transform(second)).sum(1)).ravel()
    return f"TF-IDF of {names}, cosine", found


def tags(train: Sequence[str], truth: np.ndarray, dev: Sequence[str], count: int) -> tuple[str, np.ndarray]:
    """The commonest tag of each word in the training rows, of a word that they lack the commonest of all; (p, c)."""
    seen: dict[str, Counter] = defaultdict(Counter)
    for word, tag in zip(train, truth.tolist(), strict=True):
        seen[word][tag] += 1
    known = {word: found.most_common(1)[0][0] for word, found in seen.items()}
    other = int(np.bincount(truth).argmax())
    return "the commonest tag of each word", np.eye(count)[[known.get(word, other) for word in dev]]


def _chosen(model: Any, name: str, folds: Any, features: Any, truth: np.ndarray, scoring: str | None = None) -> Any:
    """The model with the penalty that is best over the folds of MOST rows at most (the first of equals), learned on all rows."""
    from sklearn.model_selection import GridSearchCV

    some = np.random.default_rng(0).permutation(len(truth))[:MOST]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of folds that lack a class, and of steps that were not enough
        others = (
            len(some) - np.unique(truth[some], return_counts=True, axis=0)[1].max()
        )  # too few, and folds are of one class
        if len(some) >= 2 * FOLDS and others >= FOLDS:
            search = GridSearchCV(model, {name: STRENGTHS}, cv=folds, refit=False, scoring=scoring)
            model.set_params(**search.fit(features[some], truth[some]).best_params_)
        return model.fit(features, truth)


def _bags(texts: Sequence[str]) -> tuple[str, Any]:
    """(what is counted, what makes bags weighted by these texts)."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    characters = 2 * sum(map(unspaced, texts)) > len(texts)
    how = {"analyzer": "char", "ngram_range": (1, 3)} if characters else {"token_pattern": WORDS, "ngram_range": (1, 2)}
    bags = TfidfVectorizer(sublinear_tf=True, **how).fit(texts)
    return "1 to 3 characters" if characters else "words and word pairs", bags


def _features(train: Texts, dev: Texts) -> tuple[str, str, tuple[Any, Any]]:
    """(what is counted, what else there is, features of both parts)."""
    from scipy import sparse

    names, bags = _bags([*train[0], *(train[1] or ())])
    if train[1] is None:
        return names, "", (bags.transform(train[0]), bags.transform(dev[0]))
    cut, parts = bags.build_analyzer(), []
    for part in (train, dev):
        a, b = (bags.transform(side) for side in part)
        pairs = [(set(cut(one)), set(cut(other))) for one, other in zip(*part, strict=True)]
        parts.append(sparse.hstack([a, b, sparse.csr_matrix(_overlap(a, b, pairs))], format="csr"))
    return names, " of both texts and their overlap", (parts[0], parts[1])


def _overlap(a: Any, b: Any, pairs: Sequence[tuple[set, set]]) -> np.ndarray:
    """(n, 5) of bags (n, features) and of what stands in both texts: cosine of the bags, shared of all, of the first and of the second,
    logarithm of their sizes' ratio.  What the training texts lack counts, too."""
    cosine = np.asarray(a.multiply(b).sum(1)).ravel()
    shares = [
        (
            len(one & other) / max(len(one | other), 1),
            len(one & other) / max(len(one), 1),
            len(one & other) / max(len(other), 1),
            math.log((len(one) + 1) / (len(other) + 1)),
        )
        for one, other in pairs
    ]
    return np.concatenate([cosine[:, None], shares], 1)
