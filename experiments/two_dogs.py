"""One type, one vector?  Two uses of one word, as each member sees them: the cosine is 1 where a word has one vector, and below where it is read
in its text.

    python experiments/two_dogs.py CORPORA --out results [--members word2vec elmo bert] [--tokens 2000000] [--seeds 0 1 2] [--size tiny]

Every member is pre-trained on the same encyclopedia for `--tokens`.  Dogs that guard and hot dogs, banks of rivers and of money: the mean cosine
within a sense and across, how often the nearest other use is of the same sense, and a page with a picture (`bertsmith senses`) of each member.  WiC (Pilehvar & Camacho-Collados
2019, validation part): does the cosine of two uses tell whether they are of one sense?  Area under the curve, 0.5 = chance, with its 95 % interval over the pairs.  A member is
looked at in every layer; layer 0 is its embedding.
"""

import argparse
import csv
import json
import lzma
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import bertsmith
from bertsmith.downstream.senses import vectors_of
from bertsmith.recipe import members
from bertsmith.tasks import metrics
from corpora import encyclopedia, trained

STATIC = ("word2vec", "fasttext", "glove")
CONTEXTUAL = ("cove", "elmo", "gpt", "bert", "electra")
TEXTS = {
    "dog": {
        "animal": [
            "The dog barked at the stranger and chased him from the garden.",
            "A guard dog watches the house at night.",
            "The farmer and his dog drove the sheep into the field.",
            "A dog is a domestic animal that descends from the wolf.",
            "The old dog slept in front of the fire.",
            "She walked her dog in the park every morning.",
        ],
        "food": [
            "He ate a hot dog with mustard and onions at the stand.",
            "A hot dog is a sausage in a sliced bread roll.",
            "They sold a hot dog and a drink for one dollar.",
            "The restaurant served a chili dog with cheese.",
            "The corn dog was fried in oil and sold at the fair.",
            "Mustard is often served on a hot dog in the United States.",
        ],
    },
    "bank": {
        "river": [
            "The village lies on the left bank of the river.",
            "They moored the boat to the bank and walked through the reeds.",
            "The river flooded its bank after the heavy rain.",
            "On the north bank of the river stands an old mill.",
            "Fishermen sat on the grassy bank of the stream.",
            "The army camped on the east bank of the river.",
        ],
        "money": [
            "The bank lent the company ten million dollars.",
            "He opened an account at the bank and deposited his money.",
            "The central bank raised its interest rate.",
            "The bank was founded in 1850 and has branches in all cities.",
            "She works as a manager of an investment bank in London.",
            "The government sold its shares of the national bank.",
        ],
    },
}


def rows(word: str) -> list[dict[str, str]]:
    return [{"text": text, "label": sense} for sense, texts in TEXTS[word].items() for text in texts]


def pairs(data: Path) -> Iterator[tuple[list[str], list[tuple[int, int, int]], int]]:
    """(two texts, the marked use of each, whether they are of one sense)."""
    with lzma.open(data / "wic" / "validation.tsv.xz", "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            uses = [(i, int(row[f"start{i + 1}"]), int(row[f"end{i + 1}"])) for i in (0, 1)]
            yield [row["sentence1"], row["sentence2"]], uses, int(row["label"])


def one_sense(loaded, layer: int, given: list) -> metrics.Score | None:
    """Area under the curve of the cosine; None where all cosines are alike."""
    texts = [text for both, _, _ in given for text in both]
    uses = [(2 * n + i, start, end) for n, (_, both, _) in enumerate(given) for i, start, end in both]
    vectors, kept = vectors_of(loaded, texts, uses, layer)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    place = {use[0]: i for i, use in enumerate(kept)}
    whole = [n for n in range(len(given)) if 2 * n in place and 2 * n + 1 in place]
    cosine = np.array([unit[place[2 * n]] @ unit[place[2 * n + 1]] for n in whole])
    label = np.array([given[n][2] for n in whole])
    if cosine.std() < 1e-6:
        return None
    return metrics.scored(lambda weights: {"area": area(label, cosine, weights)}, len(label), resamples=500)["area"]


def area(label: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of each row of `weights` (r, n): how likely a pair of one sense has the greater score; equal scores count half."""
    order = np.argsort(score, kind="stable")
    score, label, weights = score[order], label[order], np.atleast_2d(weights)[:, order]
    yes, no = weights * label, weights * (1 - label)
    _, first, tied = np.unique(score, return_index=True, return_inverse=True)
    below = np.cumsum(no, 1) - no
    block = np.add.reduceat(no, first, 1)
    wins = (yes * (below[:, first][:, tied] + 0.5 * block[:, tied])).sum(1)
    return wins / np.maximum(yes.sum(1) * no.sum(1), 1e-12)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--members", nargs="+")
    arguments.add_argument("--tokens", type=int, default=2_000_000)
    arguments.add_argument("--size", default="tiny")
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    store, known = encyclopedia(given.data, given.out), members()
    names = given.members or [name for name in (*STATIC, *CONTEXTUAL) if name in known and name != "cove"]
    wic = list(pairs(given.data))
    for name in names:
        for seed in given.seeds:
            run = given.out / f"dogs-{name}-{given.size}-{given.tokens}-{seed}"
            trained(f"{name}:{given.size}", store, run, given.tokens, seed, [], given.threads)
            loaded = bertsmith.load(run)
            for layer in range(loaded.recipe.model.layers + 1):
                line = {"member": name, "seed": seed, "layer": layer, "wic": one_sense(loaded, layer, wic)}
                for word in TEXTS:
                    last = layer == loaded.recipe.model.layers
                    page = {"out": given.out / f"{word}-{name}-{seed}.html"} if last else {}
                    found = bertsmith.senses(loaded, word, input=rows(word), layer=layer, **page)
                    line[word] = {**found["cosine"], "nearest": found["nearest"]}
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
