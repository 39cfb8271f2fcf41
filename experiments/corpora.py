"""Stores that several experiments read: English newswire and encyclopedia, Chinese encyclopedia; and intervals over seeds."""

import json
import lzma
import re
from pathlib import Path

import numpy as np
from glue import _lines
from scipy import stats

import bertsmith
from bertsmith.config import override
from bertsmith.data.batch import IGNORE
from bertsmith.recipe import Recipe

# Small updates of short rows leave the plateau of word frequencies soonest (LOG.md).
QUICK = ["layout.length=64", "training.batch=1024", "training.evaluate=0", "training.checkpoint=1000000"]


def english(data: Path, out: Path) -> Path:
    if not (out / "english").exists():
        with lzma.open(next((data / "reuters21578").glob("*.jsonl.xz")), "rt", encoding="utf-8") as file:
            texts = [" ".join((json.loads(line).get("body") or "").split()) for line in file]
        (out / "english.txt").write_text("\n\n".join(text for text in texts if len(text) > 200), encoding="utf-8")
        levels = {"phrases": "npmi", "entities": str(_names(out, texts))}
        options = {"tokenizer": "wordpiece:4000", "lowercase": True, "holdout": 0.03, **levels}
        bertsmith.prepare([str(out / "english.txt")], str(out / "english"), say=print, **options)
    return out / "english"


def _names(out: Path, texts: list[str]) -> Path:
    """Runs of capitalised words inside sentences, as a word list: entities, nearly."""
    found = {name for text in texts for name in re.findall(r"(?<=[a-z,] )[A-Z][a-z]+(?: [A-Z][a-z]+)*", text)}
    (out / "names.txt").write_text("\n".join(sorted(found)) + "\n", encoding="utf-8")
    return out / "names.txt"


def encyclopedia(data: Path, out: Path, characters: int = 20_000_000) -> Path:
    if not (out / "encyclopedia").exists():
        text = "\n".join(_lines(data / "en_wiki", ""))[:characters]
        (out / "encyclopedia.txt").write_text(text, encoding="utf-8")
        options = {"tokenizer": "wordpiece:4000", "lowercase": True, "holdout": 0.03}
        bertsmith.prepare([str(out / "encyclopedia.txt")], str(out / "encyclopedia"), say=print, **options)
    return out / "encyclopedia"


def chinese(data: Path, out: Path, characters: int = 4_000_000) -> Path:
    if not (out / "chinese").exists():
        text = "\n".join(_lines(data / "zh_wiki", ""))[:characters]
        (out / "chinese.txt").write_text(text, encoding="utf-8")
        words = [
            line.split("\t")[0].strip() for path in sorted((data / "thuocl_wordlist").glob("*")) for line in _read(path)
        ]
        (out / "words.txt").write_text(
            "\n".join(sorted({word for word in words if len(word) > 1})) + "\n", encoding="utf-8"
        )
        levels = {"phrases": "npmi", "entities": str(out / "words.txt")}
        bertsmith.prepare(
            [str(out / "chinese.txt")],
            str(out / "chinese"),
            tokenizer="wordpiece:5000",
            holdout=0.03,
            say=print,
            **levels,
        )
    return out / "chinese"


def _read(path: Path) -> list[str]:
    opened = lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else path.open(encoding="utf-8")
    with opened as file:
        return file.read().splitlines()


def inside(layout, split, vocab, seed: int, epoch: int, first: int = 1):
    """The plan, and the numbers of the labelled pairs of which no segment begins with one of the `first` sentences of a document."""
    plan = layout.plan(split, vocab, seed, epoch)
    documents = np.asarray(split.documents)
    early = np.concatenate([np.minimum(documents[:-1] + n, documents[1:] - 1) for n in range(first)])
    begins = np.logical_or.reduceat(np.isin(plan.begin, np.asarray(split.sentences)[early]), plan.first[:-1])
    return plan, np.flatnonzero(~begins & (plan.labels != IGNORE))


def trained(
    recipe: str | Recipe, store: Path, run: Path, tokens: int, seed: int, sets: list[str], threads: int = 1
) -> dict:
    """Pre-trains into `run`, or goes on where it stopped; what it ended with."""
    found = bertsmith.find(recipe) if isinstance(recipe, str) else recipe
    made = override(found, [*QUICK, *sets])
    return bertsmith.pretrain(made, store, run, tokens=tokens, seed=seed, threads=threads, resume=run.exists())


def mean(values: list[float]) -> str:
    """Over seeds, with half of the 95 % interval (t)."""
    if len(values) < 2:
        return f"{values[0]:.3f} (one seed)"
    half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return f"{np.mean(values):.3f} ± {half:.3f}"


def paired(values: list[float], base: list[float]) -> str:
    """The mean difference of pairs of seeds, with half of its interval."""
    return mean((np.subtract(values, base)).tolist())
