"""Texts that two tokenizers are compared on: of the store that a run learned from, or the dev rows of a fine-tuning, where they still
stand, and made-up ones.

Made-up texts mix the vocabulary's own pieces, in any capitals, with scripts, white space and signs that normalisers treat differently:
a tokenizer that was opened as another kind shows there, also where the store's own text would not tell (all lower case).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith import files
from bertsmith.downstream.dev_rows import dev_rows
from bertsmith.downstream.tuned import Tuned
from bertsmith.errors import BertsmithError
from bertsmith.text import unknown
from bertsmith.text.store import Store
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.training.run import Run

FROM_RUN = 0.5  # share of the texts, where the run's own stand
LONGEST = 12  # words of a made-up text
ODD = (
    "Straße",
    "naïve",
    "ÉCOLE",
    "İstanbul",
    "ﬁnal",
    "e\u0301tude",
    "n\u0303",
    "Ωμέγα",
    "Привет",
    "שָׁלוֹם",
    "مرحبا",
    "नमस्ते",
    "สวัสดี",
    "你好世界",
    "ｆｕｌｌ",
    "カタカナ",
    "ｶﾅ",
    "한국어",
    "👩‍👩‍👧",
    "🙂",
    "½",
    "x²",
    "№5",
    "don't",
    "3.14",
    "a_b",
    "C++",
    "http://example.org/a?b=c&d",
    "…",
    "“quoted”",
    "soft\u00adhyphen",
    "zero\u200bwidth",
    "a\u0000b",
    "\ufffd",
    "\u0007",
)
SPACES = (" ", " ", " ", "  ", "\t", "\n", "\u00a0", "\u3000", "")


def texts(tokenizer: Tokenizer, config: dict[str, Any], count: int, seed: int = 0) -> tuple[list[str], str]:
    """`count` texts, and in words where they are from; the same ones for the same tokenizer and run, of which `config` is config.json.

    None has a special token written in it, which is text here and the token there: a store's [UNK] is left out of its sentences.
    """
    found, own = _of_run(config, tokenizer, int(count * FROM_RUN), seed)
    made = _made(tokenizer, count - len(found), seed)
    names = sorted(map(tokenizer.token, tokenizer.vocab.special), key=len, reverse=True)
    written = re.compile("|".join(map(re.escape, names)), re.IGNORECASE)
    both = [written.sub(" ", text) for text in (*found, *made)]
    return both, f"{own}{len(made)} made up of the vocabulary and of many scripts"


def _of_run(config: dict[str, Any], tokenizer: Tokenizer, count: int, seed: int) -> tuple[list[str], str]:
    """Texts that the run learned from or was judged by, and in words how many; nothing of what was imported, which names none."""
    if config.get("kind") == Tuned.kind:
        found = _of_dev(config, count, seed)
        return found, f"{len(found)} of its dev rows, " if found else "none of its dev rows, which are not there; "
    store = store_of(config)
    if store is not None:
        found = _of_store(store, tokenizer, count, seed)
        return found, f"{len(found)} of the store, "
    return [], "none of the store, which is not there; " if config.get("kind") == Run.kind else ""


def _of_dev(config: dict[str, Any], count: int, seed: int) -> list[str]:
    try:
        rows = dev_rows(config["task"], config.get("data") or {})
    except BertsmithError:
        return []
    texts = [] if rows is None else [" ".join(unknown.strings(row)) for row in rows.inputs()]
    chosen = np.random.default_rng(seed).choice(len(texts), min(count, len(texts)), replace=False) if texts else []
    return [texts[i] for i in sorted(chosen)]


def store_of(config: dict[str, Any]) -> Store | None:
    """The store that a run learned from, if it is where it was and what it was."""
    data = config.get("data")
    if not isinstance(data, dict) or not isinstance(data.get("path"), str):
        return None
    manifest = Path(data["path"]) / files.MANIFEST
    try:
        same = manifest.is_file() and files.sha256(manifest) == data.get("digest")
        return Store.open(data["path"], verify=False) if same else None
    except (BertsmithError, OSError):
        return None


def _of_store(store: Store, tokenizer: Tokenizer, count: int, seed: int) -> list[str]:
    """Sentences, decoded; about a word of each begins with a capital, in case the store has none left."""
    bounds = store.train.sentences
    draw = np.random.default_rng(seed)
    chosen = draw.choice(len(bounds) - 1, min(count, len(bounds) - 1), replace=False)
    ids = (store.train.gather(np.arange(bounds[i], bounds[i + 1])) for i in sorted(chosen.tolist()))
    found = [tokenizer.decode(sentence.tolist()) for sentence in ids if len(sentence)]
    return [text[:1].upper() + text[1:] for text in found]


def _made(tokenizer: Tokenizer, count: int, seed: int) -> list[str]:
    draw = np.random.default_rng([seed, 1])
    plain = sorted(set(range(tokenizer.size)) - set(tokenizer.vocab.special))
    pieces = [tokenizer.decode([i]) for i in draw.choice(plain, min(len(plain), 20 * count), replace=False).tolist()]
    cases = (str, str, str.lower, str.upper, str.capitalize, str.title)
    found = []
    for _ in range(count):
        words = []
        for _ in range(int(draw.integers(1, LONGEST))):
            word = ODD[draw.integers(len(ODD))] if draw.random() < 0.3 else pieces[draw.integers(len(pieces))]
            words += [cases[draw.integers(len(cases))](word), SPACES[draw.integers(len(SPACES))]]
        found.append("".join(words))
    return found
