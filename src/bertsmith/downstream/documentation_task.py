"""A labelled task that the documentation itself carries: which package does this paragraph come from?

Names give the answer away, so they are removed: words that are not plain lower case inside (identifiers, dotted names, numbers) and the
packages' own names.  Modules are dealt whole to train, dev and test: those of dev and test are not in the pre-training corpus, and a
paragraph of theirs that occurs elsewhere is left out.  dev chooses the epoch, test is what is reported.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from bertsmith.downstream.documentation import Docstring

LABELS = ("networkx", "numpy", "python", "sympy", "torch")
NAMES = re.compile(
    r"\b(network-?x|nx|numpy|np|scipy|python|cpython|pep|sympy|symbolic|py-?torch|torch\w*|ndarrays?|tensors?|arrays?|graphs?|aten|cuda)\b",
    re.IGNORECASE,
)
PLAIN = re.compile(r"[(\"']*[A-Za-z]?[a-z]*(?:['’-][a-z]+)*[.,;:!?)\"']*")


@dataclass(frozen=True, kw_only=True)
class Task:
    corpus: list[Docstring]  # to pre-train on; nothing of dev or test
    train: list[tuple[str, str]]  # (text, label)
    dev: list[tuple[str, str]]
    test: list[tuple[str, str]]


def anonymous(paragraph: str) -> str:
    """`paragraph` without identifiers, numbers and the names that are the answer."""
    return " ".join(word for word in NAMES.sub("", paragraph).split() if PLAIN.fullmatch(word))


def task(found: Iterable[Docstring], train: int = 60, dev: int = 40, test: int = 200) -> Task:
    """At most so many texts of each label.  One module in five is dev's or test's; which, and which texts are taken, follows a hash."""
    corpus: list[Docstring] = []
    sides: dict[str, dict[str, dict[str, str]]] = {side: defaultdict(dict) for side in ("train", "dev", "test")}
    trained_on: set[str] = set()
    for docstring in found:
        side = _side(docstring.module) if docstring.package in LABELS else "train"
        if side == "train":
            corpus.append(docstring)
            trained_on.update(docstring.paragraphs)
        if docstring.package in LABELS:
            for paragraph in docstring.paragraphs:
                text = anonymous(paragraph)
                if 12 <= len(text.split()) <= 60:
                    sides[side][docstring.package].setdefault(text, paragraph)
                    break  # one paragraph of a docstring is enough
    known: set[str] = set()
    for side in ("train", "dev", "test"):
        for label, texts in sides[side].items():
            if side != "train":
                sides[side][label] = {t: p for t, p in texts.items() if t not in known and p not in trained_on}
        known |= {text for texts in sides[side].values() for text in texts}
    return Task(
        corpus=corpus,
        train=_choose(sides["train"], train),
        dev=_choose(sides["dev"], dev),
        test=_choose(sides["test"], test),
    )


def _side(module: str) -> str:
    number = _number(module)
    return "train" if number % 5 else "dev" if number // 5 % 4 == 0 else "test"


def _choose(texts: dict[str, dict[str, str]], count: int) -> list[tuple[str, str]]:
    rows = [(text, label) for label in LABELS for text in sorted(texts[label], key=_number)[:count]]
    return sorted(rows, key=lambda row: _number(row[0]))


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
