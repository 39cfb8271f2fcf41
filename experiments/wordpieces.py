"""How WordPiece is learned: by pair counts, by the ratio, by the gain in likelihood.  What differs, on text that none of them has seen.

    python experiments/wordpieces.py CORPORA --out results [--size 4000] [--characters 2000000]

English encyclopedia, every twentieth document held out.  Prints a table and writes wordpieces.json; what is there already is not computed again.
  Bits per byte: of a unigram model of the pieces, counted in the training part (add one half), over the bytes of the held-out words.
"""

import argparse
import json
import time
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
from glue import _lines

from bertsmith.text.tokenizer import Tokenizer

KINDS = ("wordpiece", "wordpiece-likelihood", "wordpiece-gain")


def split(text: str) -> tuple[list[str], list[str]]:
    """Documents to learn from, and held out."""
    documents = [document for document in text.split("\n\n") if document.strip()]
    held = set(range(7, len(documents), 20))
    return [d for i, d in enumerate(documents) if i not in held], [documents[i] for i in sorted(held)]


def measured(tokenizer: Tokenizer, learn: list[str], held: list[str]) -> dict[str, float]:
    counts = np.full(tokenizer.size, 0.5)
    for ids, _ in tokenizer.encode(learn):
        counts += np.bincount(ids, minlength=tokenizer.size)
    bits = -np.log2(counts / counts.sum())
    found = tokenizer.encode(held)
    ids = np.concatenate([row for row, _ in found])
    words = sum(int(starts.sum()) for _, starts in found)
    written = sum(len(document.encode()) for document in held)
    alone = Counter(len(name.removeprefix("##")) for name in tokenizer.backend.get_vocab() if name[0] != "[")
    used = np.bincount(ids, minlength=tokenizer.size)
    return {
        "tokens_per_word": len(ids) / words,
        "bits_per_byte": float(bits[ids].sum() / written),
        "log_likelihood_per_word": float(-bits[ids].sum() / words),
        "unknown": float((ids == tokenizer.vocab.unk).mean()),
        "letters_per_piece": sum(length * n for length, n in alone.items()) / sum(alone.values()),
        "never_used": float((used[5:] == 0).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=4000)
    parser.add_argument("--characters", type=int, default=2_000_000)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    path = asked.out / "wordpieces.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    learn, held = split("\n".join(_lines(asked.data / "en_wiki", ""))[: asked.characters])
    for kind in KINDS:
        folder = asked.out / kind
        if kind in results:
            continue
        begun = time.monotonic()
        made = Tokenizer.train(f"{kind}:{asked.size}", learn)
        seconds = time.monotonic() - begun
        made.save(folder)
        results[kind] = {"seconds": seconds, **measured(made, learn, held)}
        path.write_text(json.dumps(results, indent=1) + "\n")
    pieces = {kind: set(Tokenizer.load(asked.out / kind).backend.get_vocab()) for kind in KINDS}
    shared = {f"{a} & {b}": len(pieces[a] & pieces[b]) / len(pieces[a]) for a, b in combinations(KINDS, 2)}
    path.write_text(json.dumps({**results, "shared": shared}, indent=1) + "\n")
    names = list(results[KINDS[0]])
    print("| | " + " | ".join(name.replace("_", " ") for name in names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for kind in KINDS:
        print(f"| {kind} | " + " | ".join(f"{results[kind][name]:.3f}" for name in names) + " |")
    for pair, share in shared.items():
        print(f"{pair}: {share:.1%} of the entries are in both")
    for kind in KINDS[1:]:
        print(f"{kind}, not by pair counts:", " ".join(sorted(pieces[kind] - pieces["wordpiece"])[:24]))


if __name__ == "__main__":
    main()
