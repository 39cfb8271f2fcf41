"""ELMo's mixture of layers against its last layer, against its words alone, and against a sum of all, on names (CoNLL-2003).

python experiments/elmo_mix.py CORPORA --out results [--minutes 5] [--rows 1500] [--seeds 2] [--size tiny]

The same command again goes on where it was stopped.  `elmo` is pre-trained on newswire (reuters21578) for `--minutes`; then a tagger learns over what
it says: `mix` (learned weights of all layers, the words' own vectors among them), `last`, `first` (the lower LSTM), `words` (layer 0), `side` (all three side by
side).  A line for each arm: F1 on test sentences, each seed's, and what the mixture has learned.  At last what a linear model finds in each layer
(`probe`), for names.
"""

import argparse
import json
import lzma
from pathlib import Path

import numpy as np
from tag_qa import names

import bertsmith

ARMS = {
    "mix": ("mix", []),
    "last": ("frozen", ["layers=[2]"]),
    "first": ("frozen", ["layers=[1]"]),
    "words": ("frozen", ["layers=[0]"]),
    "side": ("frozen", ["layers=[0,1,2]"]),
}
SETTINGS = ["layout.length=64", "training.batch=1024", "training.checkpoint=1000"]


def newswire(data: Path, out: Path) -> Path:
    if not (out / "newswire").exists():
        with lzma.open(next((data / "reuters21578").glob("*.jsonl.xz")), "rt", encoding="utf-8") as file:
            texts = [" ".join((json.loads(line).get("body") or "").split()) for line in file]
        (out / "newswire.txt").write_text("\n\n".join(text for text in texts if len(text) > 200), encoding="utf-8")
        options = {"tokenizer": "wordpiece:8000", "holdout": 0.03, "say": print}
        bertsmith.prepare([str(out / "newswire.txt")], str(out / "newswire"), **options)
    return out / "newswire"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--size", default="tiny")
    arguments.add_argument("--minutes", type=float, default=5, help="of a free core: some 600,000 tokens")
    arguments.add_argument("--rows", type=int, default=1500)
    arguments.add_argument("--epochs", type=int, default=20)
    arguments.add_argument("--seeds", type=int, default=2)
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    store, run = newswire(given.data, given.out), given.out / f"elmo-{given.size}"
    whole = run.with_suffix(".done")
    if not whole.exists():
        how = {"minutes": given.minutes, "set": SETTINGS, "threads": given.threads, "say": print}
        bertsmith.pretrain(f"elmo:{given.size}", store, run, resume=run.exists(), **how)
        whole.write_text("")
    files = names(given.data, given.out, given.rows)
    for arm, (method, settings) in ARMS.items():
        scores, learned = [], []
        for seed in range(given.seeds):
            out = given.out / f"{arm}-{seed}"
            if not (out / "result.json").exists():
                options = {"task": "tag", "train": files["train"], "dev": files["dev"], "method": method, "seed": seed}
                bertsmith.finetune(
                    run,
                    out=out,
                    epochs=given.epochs,
                    threads=given.threads,
                    set=[*settings, "lr=0.01"],  # of a head alone; at 0.001 it says O everywhere
                    resume=out.exists(),
                    **options,
                )
            scores.append(bertsmith.evaluate(out, files["test"])["f1"]["value"])
            learned.append(json.loads((out / "result.json").read_bytes()).get("mix"))
        line = {"arm": arm, "f1": round(float(np.mean(scores)), 4), "each": [round(score, 4) for score in scores]}
        print(json.dumps(line | ({"mix": learned} if any(learned) else {})), flush=True)
    probed = given.out / "probe.json"
    if not probed.exists():
        bertsmith.probe(run, task="tag", train=files["train"], dev=files["dev"], out=probed, say=print)


if __name__ == "__main__":
    main()
