"""Does knowledge of entities help to tell relations?  ERNIE of Tsinghua beside BERT with the same text on FewRel (Han et al. 2018), in small.

    python experiments/relations.py CORPORA --out results [--size mini] [--pretrain 4000000] [--rows 50] [--dev 100] [--seeds 0 1 2]

TransE on FB15k-237 (the step with the best ranks of its dev file), whose entities have Wikidata's ids and labels; text is an encyclopedia and FewRel's own sentences (of no row of the dev
set), linked by a dictionary of those labels.  Both members read the same store for the same tokens, and are tuned with `--rows` sentences of
each relation; ERNIE once more with the ids taken out of its rows.  Accuracy on rows that no training saw, over seeds, with paired differences.
"""

import argparse
import json
import lzma
from pathlib import Path

import numpy as np
from glue import _lines

import bertsmith
from bertsmith.config import override
from corpora import QUICK, mean, paired

KINDS = ("bert", "ernie-thu", "ernie-thu without ids")


def graph(data: Path, out: Path, epochs: float, threads: int) -> Path:
    """Vectors by Wikidata's ids, and a dictionary of what these are called."""
    home, folder = data / "fb15k_237", out / "entities"
    if folder.exists():
        return folder
    names = [line.split("\t")[0] for line in _read(home / "entity2id.txt.xz").split("\n")[1:] if line.strip()]
    known = json.loads(_read(home / "entity2wikidata.json.xz"))
    options = {"dev": home / "valid2id.txt.xz", "epochs": epochs, "threads": threads}
    bertsmith.graph(home / "train2id.txt.xz", out / "graph", resume=True, say=print, **options)
    numbers = (out / "graph" / "entities.txt").read_text(encoding="utf-8").split()
    table = np.load(out / "graph" / "vectors.npy")
    rows: dict[str, np.ndarray] = {}
    called: list[str] = []
    for number, vector in zip(numbers, table, strict=True):
        about = known.get(names[int(number)])
        if about and about["wikidata_id"] and about["wikidata_id"] not in rows:
            rows[about["wikidata_id"]] = vector
            called += [f"{name}\t{about['wikidata_id']}" for name in (about["label"], *about["alternatives"]) if name]
    folder.mkdir()
    (folder / "mentions.tsv").write_text("\n".join(dict.fromkeys(called)) + "\n", encoding="utf-8")
    np.save(folder / "vectors.npy", np.stack(list(rows.values())))
    (folder / "entities.txt").write_text("".join(f"{name}\n" for name in rows), encoding="utf-8")
    return folder


def rows(data: Path, out: Path, each: int, dev: int, ids: bool) -> dict[str, Path]:
    """FewRel's first `dev` sentences of each relation to be asked, and `each` others to be learned of."""
    found = json.loads(_read(data / "fewrel" / "val_wiki.json.xz"))
    parts = {"train": slice(dev, dev + each), "dev": slice(0, dev)}
    paths = {part: out / f"{part}{'' if ids else '-without'}-{each}-{dev}.json" for part in parts}
    for part, some in parts.items():
        kept = {relation: [row if ids else _without(row) for row in all_[some]] for relation, all_ in found.items()}
        paths[part].write_text(json.dumps(kept), encoding="utf-8")
    return paths


def _without(row: dict) -> dict:
    return row | {end: [row[end][0], "", row[end][2]] for end in ("h", "t")}


def store(data: Path, out: Path, entities: Path, characters: int, dev: int) -> Path:
    if (out / "store").exists():
        return out / "store"
    found = json.loads(_read(data / "fewrel" / "val_wiki.json.xz"))
    sentences = [" ".join(row["tokens"]) for all_ in found.values() for row in all_[dev:]]
    text = "\n".join(_lines(data / "en_wiki", ""))[:characters] + "\n\n" + "\n".join(sentences) + "\n"
    (out / "text.txt").write_text(text, encoding="utf-8")
    links = {"links": str(entities / "mentions.tsv"), "entity_vectors": str(entities)}
    options = {"tokenizer": "wordpiece:8000", "lowercase": True, "holdout": 0.02}
    bertsmith.prepare([str(out / "text.txt")], out / "store", say=print, **options, **links)
    return out / "store"


def _read(path: Path) -> str:
    with lzma.open(path, "rt", encoding="utf-8") as file:
        return file.read()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--size", default="mini")
    arguments.add_argument("--characters", type=int, default=10_000_000, help="of the encyclopedia")
    arguments.add_argument("--graph", type=float, default=100, help="epochs of TransE")
    arguments.add_argument("--pretrain", type=int, default=4_000_000, help="tokens")
    arguments.add_argument("--rows", type=int, default=50, help="sentences of each relation to learn of")
    arguments.add_argument("--dev", type=int, default=100, help="sentences of each relation that are asked")
    arguments.add_argument("--epochs", type=float, default=10)
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    entities = graph(given.data, given.out, given.graph, given.threads)
    text = store(given.data, given.out, entities, given.characters, given.dev)
    files = {ids: rows(given.data, given.out, given.rows, given.dev, ids) for ids in (True, False)}
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for seed in given.seeds:
        for kind in KINDS:
            member, _, without = kind.partition(" ")
            run = given.out / f"{member}-{given.size}-{seed}"
            recipe = override(bertsmith.find(f"{member}:{given.size}"), QUICK)
            work = {"seed": seed, "threads": given.threads, "resume": True}
            bertsmith.pretrain(recipe, text, run, tokens=given.pretrain, **work)
            tuned = given.out / f"{run.name}-relations{'-without' if without else ''}-{given.rows}"
            task = {"task": "relation", "epochs": given.epochs, "set": ["length=96"], "say": print}
            result = bertsmith.finetune(run, out=tuned, **files[not without], **task, **work)
            found[kind].append(result["dev"]["accuracy"]["value"])
            print(f"{kind}, seed {seed}: accuracy {found[kind][-1]:.4f}", flush=True)
    for kind, values in found.items():
        print(f"{kind}: accuracy {mean(values)}; less BERT's: {paired(values, found['bert'])}", flush=True)


if __name__ == "__main__":
    main()
