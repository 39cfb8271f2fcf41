"""A labelled task that the documentation itself carries: which package does this paragraph come from?

Names give the answer away, so they are removed: words that are not plain lower case inside (identifiers, dotted names, numbers) and the
packages' own names.  Modules are dealt whole: a module that is asked about in dev is neither in train nor in the pre-training corpus,
and a paragraph of dev occurs nowhere else.
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
    corpus: list[Docstring]  # to pre-train on; nothing of dev
    train: list[tuple[str, str]]  # (text, label)
    dev: list[tuple[str, str]]


def anonymous(paragraph: str) -> str:
    """`paragraph` without identifiers, numbers and the names that are the answer."""
    return " ".join(word for word in NAMES.sub("", paragraph).split() if PLAIN.fullmatch(word))


def task(found: Iterable[Docstring], train: int = 60, dev: int = 300, held_out: int = 5) -> Task:
    """At most `train` and `dev` texts of each label; one module in `held_out` belongs to dev.  Order and choice follow a hash of the text."""
    corpus, texts = [], {"train": defaultdict(dict), "dev": defaultdict(dict)}
    outside: set[str] = set()
    for docstring in found:
        side = "dev" if _number(docstring.module) % held_out == 0 and docstring.package in LABELS else "train"
        if side == "train":
            corpus.append(docstring)
            outside.update(docstring.paragraphs)
        if docstring.package in LABELS:
            for paragraph in docstring.paragraphs:
                text = anonymous(paragraph)
                if 12 <= len(text.split()) <= 60:
                    texts[side][docstring.package].setdefault(text, paragraph)
                    break  # one paragraph of a docstring is enough
    known = {text for texts_of in texts["train"].values() for text in texts_of}
    for label, texts_of in texts["dev"].items():
        texts["dev"][label] = {t: p for t, p in texts_of.items() if t not in known and p not in outside}
    return Task(corpus=corpus, train=_choose(texts["train"], train), dev=_choose(texts["dev"], dev))


def _choose(texts: dict[str, dict[str, str]], count: int) -> list[tuple[str, str]]:
    rows = [(text, label) for label in LABELS for text in sorted(texts[label], key=_number)[:count]]
    return sorted(rows, key=lambda row: _number(row[0]))


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
