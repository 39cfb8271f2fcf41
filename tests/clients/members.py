"""The members that clients are asked about, exported, and our own answers to the same texts.  All random, all tiny."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
from tests import folders

import bertsmith
from bertsmith.deploy.check import _group, answers
from bertsmith.deploy.named import CLASSES
from bertsmith.downstream.fill import fill
from bertsmith.text.tokenizer import Tokenizer

LENGTH = 256
MEMBERS = {  # name: (family, head, tokenizer, lowercase)
    "bert cased": ("bert", "token+pair", "wordpiece:1200", False),
    "bert uncased": ("bert", "token+pair", "wordpiece:1200", True),
    "roberta": ("roberta", "token", "bpe:1200", False),
    "albert": ("albert", "token+pair", "unigram:1000", False),
    "electra": ("electra", "replaced", "wordpiece:1200", True),
    "xlnet": ("xlnet", "token", "unigram:1000", False),
    "classifier": ("bert", "classify", "wordpiece:1200", True),
    "regression": ("roberta", "regress", "bpe:1200", False),
    "tagger": ("bert", "tag", "wordpiece:1200", False),
    "tagger of bytes": ("roberta", "tag", "bpe:1200", False),
    "sentence encoder": ("bert", "none", "wordpiece:1200", True),
}
SENTENCES = Path(__file__).with_name("sentences.txt")


def texts() -> list[str]:
    """100: fifty sentences of many languages, and each again in capitals, with marks apart, or among odd blanks."""
    lines = SENTENCES.read_text(encoding="utf-8").splitlines()
    changes = (
        str.upper,
        lambda text: unicodedata.normalize("NFD", text),
        lambda text: text.replace(" ", "  ", 1),
        lambda text: f" {text}\n({text.split()[0]} 3.14, don't!) ",
        lambda text: f"{text.title()} 🙂👩‍👩‍👧 №5 ½ ﬁ x²",
    )
    return [*lines, *(changes[i % len(changes)](line) for i, line in enumerate(lines))]


def export_all(at: Path) -> dict[str, dict[str, Any]]:
    """Folders, members.json and texts.json below `at`; returns {member: {kind: our answers}}."""
    at.mkdir(parents=True, exist_ok=True)
    folders.LENGTH = LENGTH
    asked, ours, told = texts(), {}, {}
    prose = (Path(__file__).parents[2] / "LICENSE").read_text(encoding="utf-8")  # English that stays as it is
    corpus = [*prose.split("\n\n"), *3 * asked]
    for name, (family, head, kind, lowercase) in MEMBERS.items():
        tokenizer = folders.tokenizer_of(corpus, kind, lowercase)
        model = folders.loaded(family, head, tokenizer, at / "run")
        if name == "sentence encoder":
            model.config["vectors"] = {"pool": "mean", "normalise": True}
        slug = name.replace(" ", "-")
        bertsmith.export(model, at / slug, force=True)
        ours[name] = _ours(model, asked)
        told[slug] = {
            "name": name,
            "family": family,
            "width": model.recipe.model.width,
            "classes": list(CLASSES[family]),
            "answers": sorted(ours[name]),
            "masked": _masked(model, asked) if "fill" in ours[name] else [],
            "single blanks": [" ".join(text.split()) for text in asked],
            "words": [_words(tokenizer, text)[1] for text in asked],
        }
    (at / "members.json").write_text(json.dumps(told))
    (at / "texts.json").write_text(json.dumps(asked))
    return ours


def _ours(model: Any, asked: list[str]) -> dict[str, list]:
    reading, tokenizer = model.reading(), model.tokenizer
    terms = model.member.weights()
    ids = [reading.joined(tokenizer.vocab, row)[0].tolist() for row, _ in tokenizer.encode(asked)]
    found: dict[str, list] = {"ids": ids}
    every = _answers(model, asked)
    found["states"] = [states.ravel().tolist() for states in every["hidden"]]
    blanks = [" ".join(text.split()) for text in asked]
    states = _answers(model, blanks)["hidden"]
    at_cls = [-1 if reading.cls == "last" else 0] * len(asked)
    found["cls"] = [rows[i].tolist() for rows, i in zip(states, at_cls)]
    found["word states"] = [
        rows[reading.lead + _pieces(tokenizer, text)].ravel().tolist() for rows, text in zip(states, blanks)
    ]
    if "label" in terms:
        found["label"] = [row.ravel().tolist() for row in every["label"]]
        found["pair label"] = [row.ravel().tolist() for row in _answers(model, asked, [*asked[1:], asked[0]])["label"]]
    if "tag" in terms:
        found["tag"] = [row.ravel().tolist() for row in every["tag"]]
        names = [label.partition("-")[2] or "O" for label in model.labels.names]
        found["tags"] = [
            [names[i] for i in logits[reading.lead + _words(tokenizer, text)[0]].argmax(1)]
            for logits, text in zip(every["tag"], asked)
        ]
    if "token" in terms and not model.recipe.model.asks:
        found["fill"] = [[fill(model, text, 1)["masks"][0]["top"][0]["id"]] for text in _masked(model, asked)]
    if model.config.get("vectors"):
        found["vectors"] = _vectors(every["hidden"])
    return found


def _answers(model: Any, first: list[str], second: list[str] | None = None) -> dict[str, list[np.ndarray]]:
    """{answer: one array a text}: rows of tokens, or one row."""
    group = _group(model, first, second, LENGTH)
    cuts = np.cumsum(group.stream.lengths)[:-1]
    found = {name: tensor.detach().numpy() for name, tensor in answers(model, group.stream).items()}
    per_token = {name for name, rows in found.items() if len(rows) == len(group.stream.tokens)}
    return {name: np.split(rows, cuts) if name in per_token else list(rows) for name, rows in found.items()}


def _vectors(states: list[np.ndarray]) -> list[list[float]]:
    means = np.stack([rows.mean(0) for rows in states])
    return (means / np.linalg.norm(means, axis=1, keepdims=True)).tolist()


def _words(tokenizer: Tokenizer, text: str) -> tuple[np.ndarray, list[int]]:
    """Each word's first token, and the character that it begins with."""
    ((_, starts, begin),) = tokenizer.begun([text])
    return np.flatnonzero(starts), begin[starts].tolist()


def _pieces(tokenizer: Tokenizer, text: str) -> np.ndarray:
    """The first token of each stretch between blanks; one that is no token has the place of what follows."""
    ((_, _, begin),) = tokenizer.begun([text])
    places = np.cumsum([0, *(len(word) + 1 for word in text.split(" "))])[:-1]
    return np.unique(np.searchsorted(begin, places))


def _masked(model: Any, asked: list[str]) -> list[str]:
    """Every text with its middle word masked, what is written against it left there."""
    found = []
    for text in asked:
        words = text.split(" ")
        at = max(range(len(words)), key=lambda i: (len(words[i]) > 1, -abs(i - len(words) // 2)))
        mark = words[at][-1:] if words[at][-1:] in ".,!?。，" else ""
        found.append(" ".join([*words[:at], model.tokenizer.mask_token + mark, *words[at + 1 :]]))
    return found
