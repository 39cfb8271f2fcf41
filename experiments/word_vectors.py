"""Static word vectors beside gensim's on one text: novels and an encyclopedia, three passes; similarity and analogies with intervals over seeds.

python experiments/word_vectors.py CORPORA --out results [--characters 60000000] [--passes 3] [--seeds 3] [--width 100] [--only skip-gram glove]

CORPORA is the folder with en_novels, en_wiki, word_similarity and word_analogy; half of the characters are of each text.  Every member reads the same store of whole
words; gensim is given its words, in its order.  A line of JSON for each member and seed in OUT/lines.jsonl; the same command again goes on where it was stopped.
At the end a table: the mean of the seeds, and the 95 % interval over them (t); beside it the interval over questions of the first seed.
`--characters 6000000 --seeds 2` takes about ten minutes on two cores.
"""

import argparse
import json
import lzma
import time
from pathlib import Path
from typing import Any

import numpy as np
from gensim.models import FastText, KeyedVectors, Word2Vec
from scipy import stats

import bertsmith
from bertsmith.tasks import words as questions
from bertsmith.tasks.ranking import unit
from bertsmith.text.store import Store
from bertsmith.training.given import words_of

PAIRS = {
    "men": "EN-MEN-TR-3k.txt",
    "wordsim": "EN-WS-353-ALL.txt",
    "simlex": "EN-SIMLEX-999.txt",
    "rare": "EN-RW-STANFORD.txt",
}
TREE, CENTRE = "objective.by=huffman", "objective.predict=centre"


def online(rate: float) -> list[str]:
    """Our loop with gensim's functions, at its rate."""
    return ["schedule.optimizer=online", f"schedule.lr={rate}"]


OURS: dict[str, tuple[str, list[str]]] = {
    "skip-gram": ("word2vec", []),
    "cbow": ("word2vec", [CENTRE]),
    "skip-gram tree": ("word2vec", [TREE]),
    "cbow tree": ("word2vec", [TREE, CENTRE]),
    "fasttext": ("fasttext", []),
    "glove": ("glove", []),
    "online skip-gram": ("word2vec", online(0.025)),
    "online cbow": ("word2vec", [CENTRE, *online(0.05)]),
    "online skip-gram tree": ("word2vec", [TREE, *online(0.025)]),
    "online cbow tree": ("word2vec", [TREE, CENTRE, *online(0.05)]),
}
THEIRS: dict[str, dict[str, Any]] = {
    "gensim skip-gram": {"sg": 1, "alpha": 0.025},
    "gensim cbow": {"sg": 0, "alpha": 0.05},
    "gensim skip-gram tree": {"sg": 1, "hs": 1, "negative": 0, "alpha": 0.025},
    "gensim cbow tree": {"sg": 0, "hs": 1, "negative": 0, "alpha": 0.05},
    "gensim fasttext": {"sg": 1, "alpha": 0.05, "sample": 1e-4, "ns_exponent": 0.5, "bucket": 200_000},
}


def prepared(data: Path, out: Path, characters: int) -> Store:
    if not (out / "store").exists():
        half, texts = characters // 2, []
        for name in ("en_novels", "en_wiki"):
            found: list[str] = []
            for path in sorted((data / name).glob("*.xz")):
                with lzma.open(path, "rt", encoding="utf-8") as file:
                    found.append(file.read(half - sum(map(len, found))))
            texts.append("\n\n".join(found))
        (out / "text.txt").write_text("\n\n".join(texts), encoding="utf-8")
        bertsmith.prepare(
            [str(out / "text.txt")],
            str(out / "store"),
            tokenizer="words:30000",
            lowercase=True,
            holdout=0.005,
            say=print,
        )
    return Store.open(out / "store")


def asked(data: Path) -> dict[str, Any]:
    found: dict[str, Any] = {name: questions.pairs(data / "word_similarity" / file) for name, file in PAIRS.items()}
    return found | {"analogies": questions.analogies(data / "word_analogy" / "questions-words.txt.xz")}


def of_ours(store: Store, name: str, seed: int, passes: int, width: int, out: Path) -> tuple[Path, float]:
    """The run, and the seconds that it took."""
    member, settings = OURS[name]
    run = out / f"{name.replace(' ', '-')}-{seed}"
    # GloVe's epoch is its cells; it reads them as often as word2vec reads words in five times the passes, for a cell is less work than a window.
    tokens = passes * store.train.count if member != "glove" else None
    begun = time.perf_counter()
    options: dict[str, Any] = {"tokens": tokens}
    if member == "glove":
        from bertsmith.recipe import find

        layout = find("glove:mini").layout
        cells = len(layout.of(store.train, store.vocab).cells)
        options = {"tokens": 5 * passes * 2 * cells}
    bertsmith.pretrain(
        f"{member}:mini",
        store,
        run,
        seed=seed,
        resume=run.exists(),
        say=print,
        set=[*settings, f"model.width={width}", "training.evaluate=0"],
        **options,
    )
    return run, time.perf_counter() - begun


def of_gensim(store: Store, name: str, seed: int, passes: int, width: int) -> tuple[KeyedVectors, float]:
    names = words_of(store)
    tokens = store.train.gather(slice(0, store.train.count))
    known = tokens[tokens != store.vocab.unk]
    sentences = [[names[i] for i in known[at : at + 512].tolist()] for at in range(0, len(known), 512)]
    options = {
        "vector_size": width,
        "window": 5,
        "negative": 5,
        "sample": 1e-3,
        "min_count": 1,
        "min_alpha": 1e-4,
        **THEIRS[name],
    }
    begun = time.perf_counter()
    kind = FastText if "fasttext" in name else Word2Vec
    made = kind(sentences, workers=2, seed=seed + 1, epochs=passes, **options)
    return made.wv, time.perf_counter() - begun


def judged_gensim(vectors: KeyedVectors, data: dict[str, Any]) -> dict[str, Any]:
    normal = unit(vectors.vectors)
    number = lambda word: vectors.key_to_index.get(word.lower())
    spelled = isinstance(vectors, KeyedVectors) and hasattr(vectors, "vectors_ngrams")

    def vector(word: str) -> np.ndarray | None:
        found = number(word)
        return normal[found] if found is not None else unit(vectors[word.lower()]) if spelled else None

    found: dict[str, Any] = {name: questions.similarity(data[name], vector) for name in PAIRS}
    return found | {"analogies": questions.solved(data["analogies"], normal, number)}


def judged(run: Path, data: dict[str, Any]) -> dict[str, Any]:
    from bertsmith.downstream.similar import Words

    words = Words(bertsmith.load(run))
    found: dict[str, Any] = {name: questions.similarity(data[name], words.vector) for name in PAIRS}
    return found | {"analogies": questions.solved(data["analogies"], words.unit, words.number)}


def table(lines: list[dict[str, Any]]) -> None:
    kinds = list(dict.fromkeys(line["member"] for line in lines))
    scores = [*PAIRS, "analogies"]
    print(f"{'':24}" + "".join(f"{name:>28}" for name in scores) + f"{'seconds':>10}")
    for kind in kinds:
        own = [line for line in lines if line["member"] == kind]
        cells = []
        for score in scores:
            values = [line["scores"][score]["add" if score == "analogies" else "spearman"]["value"] for line in own]
            mean = float(np.mean(values))
            half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)) if len(values) > 1 else float("nan")
            cells.append(f"{mean:.3f} +- {half:.3f} (unk {own[0]['scores'][score]['unknown']})")
        print(
            f"{kind:24}"
            + "".join(f"{cell:>28}" for cell in cells)
            + f"{np.mean([line['seconds'] for line in own]):10,.0f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--characters", type=int, default=60_000_000)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--width", type=int, default=100)
    parser.add_argument("--only", nargs="+", choices=[*OURS, *THEIRS], default=[*OURS, *THEIRS])
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    store, data, path = prepared(arguments.data, out, arguments.characters), asked(arguments.data), out / "lines.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(line["member"], line["seed"]) for line in lines}
    for seed in range(arguments.seeds):
        for name in arguments.only:
            if (name, seed) in done:
                continue
            if name in OURS:
                run, seconds = of_ours(store, name, seed, arguments.passes, arguments.width, out)
                scores = judged(run, data)
            else:
                vectors, seconds = of_gensim(store, name, seed, arguments.passes, arguments.width)
                scores = judged_gensim(vectors, data)
            lines.append({"member": name, "seed": seed, "seconds": round(seconds, 1), "scores": scores})
            with open(path, "a") as file:
                file.write(json.dumps(lines[-1]) + "\n")
            print(
                name,
                seed,
                f"{seconds:.0f} s",
                {key: round((of.get("spearman") or of["add"])["value"], 3) for key, of in scores.items()},
                flush=True,
            )
    table([line for line in lines if line["member"] in arguments.only])


if __name__ == "__main__":
    main()
