"""ALBERT's table 5 in small: a model of sentence order knows what follows what; does one of next sentences know order?

    python experiments/sop_nsp.py CORPORA --out results [--tokens 5000000] [--seeds 0 1 2] [--first 1] [--text newswire]

Tiny ALBERTs that differ in their pairs alone: random second segments ("half": as many as true ones) or swapped ones ("swap").  Each is
asked both questions of held-out pairs of which no segment begins a document; a head of random pairs says "swapped" where it says
"random".  `--first N`: no segment begins with one of the first N sentences of its document, whose words alone tell an early segment.
Without any training of a model: logistic regression on bags of words, of what A and B share ("topics": it cannot know which
comes first), and of what one has more of than the other ("words").  `--words` stops after these.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

import bertsmith
from bertsmith.data.draw import Draw
from bertsmith.text.store import Store
from bertsmith.training.evaluate import batch_scores
from corpora import encyclopedia, english, inside, mean, trained

PAIRS = {"nsp": "half", "sop": "swap"}
TEXTS = {"newswire": english, "encyclopedia": encyclopedia}


def accuracy(run: Path, store: Store, question: str, first: int, epochs: int = 2) -> tuple[float, int]:
    """Of both labels alike: the mean of the accuracies on each; and how many pairs."""
    loaded = bertsmith.load(run)
    layout = replace(loaded.recipe.layout, negatives=PAIRS[question])
    right, asked = np.zeros(2), np.zeros(2)
    for epoch in range(epochs):
        plan, chosen = inside(layout, store.held_out, store.vocab, 1, epoch, first)
        for label in (0, 1):
            own = chosen[plan.labels[chosen] == label]
            for at in range(0, len(own), 128):
                batch = loaded.recipe.corruption(plan.row(own[at : at + 128]), store.vocab, Draw(1))
                (scores,) = batch_scores(loaded.member, [batch], loaded.exact)
                right[label] += scores["pair"]["correct"]
                asked[label] += scores["pair"]["count"]
    return float((right / asked).mean()), int(asked.sum())


def bags(layout, split, vocab, epochs: int, kind: str, first: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(pairs, V) what A and B share ("topics"), or what A has more of ("words"), word by word; and the labels."""
    rows, labels = [], []
    for epoch in range(epochs):
        plan, chosen = inside(layout, split, vocab, 2, epoch, first)
        row = plan.row(chosen)
        side = np.zeros((len(chosen), 2, vocab.size), np.float32)
        np.add.at(side, (row.sequence[~row.special], row.segments[~row.special], row.tokens[~row.special]), 1)
        side = np.log1p(side)
        rows.append(side[:, 0] * side[:, 1] if kind == "topics" else side[:, 0] - side[:, 1])
        labels.append(plan.labels[chosen])
    return torch.from_numpy(np.concatenate(rows)), torch.from_numpy(np.concatenate(labels))


def by_words(layout, store: Store, kind: str, first: int, documents: int = 3000) -> float:
    """Accuracy on both labels alike of logistic regression, its weight decay by a tenth of the training pairs."""
    torch.manual_seed(0)
    x, y = bags(layout, beginning(store.train, documents), store.vocab, 1, kind, first)
    test_x, test_y = bags(layout, store.held_out, store.vocab, 2, kind, first)
    order = torch.randperm(len(y))
    dev, train = order[: len(y) // 10], order[len(y) // 10 :]
    found = []
    for decay in (1e-1, 1e-2, 1e-3):
        weights = fitted(x[train], y[train].float(), decay)
        with torch.no_grad():
            pairs = ((x[dev], y[dev]), (test_x, test_y))
            found.append([balanced(words @ weights[:-1] + weights[-1], labels) for words, labels in pairs])
    return max(found)[1]


def fitted(x: torch.Tensor, y: torch.Tensor, decay: float) -> torch.Tensor:
    """(words + 1,) weights and a bias."""
    weights = torch.zeros(x.shape[1] + 1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = binary_cross_entropy_with_logits(x @ weights[:-1] + weights[-1], y)
        value = value + decay * weights[:-1].square().sum() / 2
        value.backward()
        return value

    optimizer.step(loss)
    return weights.detach()


def balanced(logits: torch.Tensor, labels: torch.Tensor) -> float:
    right = (logits > 0).long() == labels
    return float(np.mean([right[labels == label].float().mean().item() for label in (0, 1)]))


def beginning(split, documents: int):
    """The split's first documents, as one of its own."""
    kept = min(documents, len(split.documents) - 1)
    sentences = np.asarray(split.sentences)[: int(split.documents[kept]) + 1]
    return replace(split, sentences=sentences, documents=np.asarray(split.documents)[: kept + 1])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--text", choices=tuple(TEXTS), default="newswire")
    arguments.add_argument("--size", default="tiny")
    arguments.add_argument("--tokens", type=int, default=5_000_000)
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--first", type=int, default=1, help="sentences of a document that no segment begins with")
    arguments.add_argument("--words", action="store_true", help="no model, only bags of words")
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    folder = TEXTS[given.text](given.data, given.out)
    store = Store.open(folder)
    recipe = bertsmith.find(f"albert:{given.size}")
    for question, negatives in PAIRS.items():
        layout = replace(recipe.layout, negatives=negatives, length=64)
        for kind in ("topics", "words"):
            score = round(by_words(layout, store, kind, given.first), 4)
            print(json.dumps({"by": kind, "asked": question, "accuracy": score}), flush=True)
    if given.words:
        return
    found: dict[tuple[str, str], list[float]] = {}
    for seed in given.seeds:
        for taught, negatives in PAIRS.items():
            run = given.out / f"{taught}-{given.size}-{seed}"
            sets = [f"layout.negatives={negatives}", "schedule.lr=2e-3"]
            trained(f"albert:{given.size}", folder, run, given.tokens, seed, sets, given.threads)
            for question in PAIRS:
                score, pairs = accuracy(run, store, question, given.first)
                found.setdefault((taught, question), []).append(score)
                line = {"taught": taught, "asked": question, "seed": seed, "accuracy": round(score, 4), "pairs": pairs}
                print(json.dumps(line), flush=True)
    for (taught, question), values in found.items():
        print(f"taught {taught}, asked {question}: {mean(values)}", flush=True)


if __name__ == "__main__":
    main()
