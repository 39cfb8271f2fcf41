"""Static word vectors beside gensim: the same words in the same order, the same settings, taking turns; words a second, and how good the vectors are.
"online": our loop, with gensim's functions for its updates (`schedule.optimizer=online`), at gensim's rates.

    python bench/words_static.py CORPORA [--characters 12000000] [--passes 1] [--kinds skip-gram cbow] [--workers 1 2] [--repetitions 2]

CORPORA/en_wiki is cut into words once, by `prepare`; gensim is given what the store holds, as rows of 512 words, so that neither side's figure has cutting in it.
Words are those of the vocabulary, read once a pass; ours counts the time of updates alone, gensim's that of `train` alone.  "cpu" is by the process's own clock, which
a busy machine tells less wrong.  Quality: Spearman's correlation on MEN and WordSim, and analogies found (3CosAdd), of the last repetition.
"""

import argparse
import lzma
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gensim.models import FastText, Word2Vec
from harness import machine, record, row, say

import bertsmith
from bertsmith.config import override
from bertsmith.recipe import find
from bertsmith.tasks import words as questions
from bertsmith.tasks.ranking import unit
from bertsmith.text.store import Store
from bertsmith.training.given import words_of

WIDTH, WINDOW, NEGATIVES, SAMPLE = 100, 5, 5, 1e-3
KINDS: dict[str, tuple[str, list[str], dict[str, Any]]] = {  # our member and settings, gensim's
    "skip-gram": ("word2vec", [], {"sg": 1, "alpha": 0.025}),
    "cbow": ("word2vec", ["objective.predict=centre"], {"sg": 0, "alpha": 0.05}),
    "skip-gram tree": ("word2vec", ["objective.by=huffman"], {"sg": 1, "hs": 1, "negative": 0, "alpha": 0.025}),
    "cbow tree": (
        "word2vec",
        ["objective.by=huffman", "objective.predict=centre"],
        {"sg": 0, "hs": 1, "negative": 0, "alpha": 0.05},
    ),
    "fasttext": (
        "fasttext",
        [f"corruption.select.sample={SAMPLE}", "objective.power=0.75"],
        {"sg": 1, "alpha": 0.05, "bucket": 200_000},
    ),
}


def prepared(data: Path, out: Path, characters: int) -> Store:
    with lzma.open(next((data / "en_wiki").glob("*.xz")), "rt", encoding="utf-8") as file:
        (out / "text.txt").write_text(file.read(characters), encoding="utf-8")
    bertsmith.prepare(
        [str(out / "text.txt")], str(out / "store"), tokenizer="words:30000", lowercase=True, holdout=0.0, say=print
    )
    return Store.open(out / "store")


def ours(
    store: Store, kind: str, threads: int, passes: int, out: Path, more: Sequence[str] = ()
) -> tuple[float, float, np.ndarray]:
    """(seconds and cpu seconds of all updates, (V, d) vectors); `more`: settings."""
    member, settings, _ = KINDS[kind]
    ticks: list[tuple[float, float]] = []
    settings = [
        *settings,
        *more,
        f"model.width={WIDTH}",
        "training.evaluate=0",
        "training.checkpoint=1000000",
        "training.held_out=1",
    ]
    found = override(find(f"{member}:mini"), settings)
    steps = max(2, passes * store.train.count // found.training.batch)
    bertsmith.pretrain(
        found.name + ":mini",
        store,
        out,
        steps=steps,
        threads=threads,
        workers=threads - 1,
        set=settings,
        progress=lambda *_: ticks.append((time.perf_counter(), time.process_time())),
    )
    wall, cpu = ((ticks[-1][i] - ticks[0][i]) * steps / (steps - 1) for i in (0, 1))
    with torch.no_grad():
        body = bertsmith.load(out).member.model
        return wall, cpu, body.vectors(torch.arange(store.vocab.size)).numpy()


def theirs(
    store: Store, sentences: list[list[str]], kind: str, workers: int, passes: int, names: list[str | None]
) -> tuple[float, float, np.ndarray]:
    options = {
        "vector_size": WIDTH,
        "window": WINDOW,
        "negative": NEGATIVES,
        "sample": SAMPLE,
        "min_count": 1,
        "min_alpha": 1e-4,
    }
    made: Any = (FastText if kind == "fasttext" else Word2Vec)(
        **{**options, **KINDS[kind][2]}, workers=workers, seed=1, epochs=passes
    )
    made.build_vocab(sentences)
    wall, cpu = time.perf_counter(), time.process_time()
    made.train(sentences, total_examples=len(sentences), epochs=passes)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return (
        wall,
        cpu,
        np.stack([made.wv[name] if name in made.wv.key_to_index else np.zeros(WIDTH, np.float32) for name in names]),
    )


def judged(data: Path, names: list[str | None], vectors: np.ndarray) -> dict[str, float]:
    index = {name: i for i, name in enumerate(names) if name is not None}
    normal = unit(vectors)
    vector = lambda word: normal[index[word.lower()]] if word.lower() in index else None
    found = {
        name: round(
            questions.similarity(questions.pairs(data / "word_similarity" / f"{file}.txt"), vector)["spearman"][
                "value"
            ],
            4,
        )
        for name, file in (("men", "EN-MEN-TR-3k"), ("wordsim", "EN-WS-353-ALL"))
    }
    asked = questions.analogies(data / "word_analogy" / "questions-words.txt.xz")
    return found | {
        "analogies": round(questions.solved(asked, normal, lambda word: index.get(word.lower()))["add"]["value"], 4)
    }


def compared(
    data: Path, store: Store, kind: str, workers: int, passes: int, repetitions: int, folder: Path
) -> dict[str, Any]:
    """Online is one process and one thread, whatever `workers` are."""
    names = words_of(store)
    tokens = store.train.gather(slice(0, store.train.count))
    known = tokens[tokens != store.vocab.unk]
    sentences = [[names[i] for i in known[at : at + 512].tolist()] for at in range(0, len(known), 512)]
    run = lambda n, way="": folder / f"{kind}-{workers}-{n}{way}".replace(" ", "-")
    online = ["schedule.optimizer=online", f"schedule.lr={KINDS[kind][2]['alpha']}"]
    ways: dict[str, Callable[[int], tuple[float, float, np.ndarray]]] = {
        "ours": lambda n: ours(store, kind, workers, passes, run(n)),
        "gensim": lambda n: theirs(store, sentences, kind, workers, passes, names),
    }
    if kind != "fasttext" and workers == 1:
        ways["online"] = lambda n: ours(store, kind, workers, passes, run(n, "-online"), online)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    cpus: dict[str, list[float]] = {name: [] for name in ways}
    quality = {}
    for number in range(repetitions):
        for name, way in ways.items():
            wall, cpu, vectors = way(number)
            seconds[name].append(wall)
            cpus[name].append(cpu)
            if number == repetitions - 1:
                quality[name] = judged(data, names, vectors)
    words = len(known) * passes
    cpu = {name: words / min(values) for name, values in cpus.items()}
    return row(f"{kind}, {workers} at work, {passes} passes", seconds, words, "words/s", cpu=cpu, quality=quality)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--characters", type=int, default=12_000_000)
    parser.add_argument("--passes", type=int, default=1)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=[*KINDS])
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--repetitions", type=int, default=2)
    arguments = parser.parse_args()
    about, rows = machine(1), []
    with tempfile.TemporaryDirectory() as folder:
        store = prepared(arguments.data, Path(folder), arguments.characters)
        for kind in arguments.kinds:
            for workers in arguments.workers:
                rows.append(
                    compared(
                        arguments.data, store, kind, workers, arguments.passes, arguments.repetitions, Path(folder)
                    )
                )
                say(rows[-1])
                print(
                    f"  cpu { ({name: round(value) for name, value in rows[-1]['cpu'].items()}) }  {rows[-1]['quality']}",
                    flush=True,
                )
    print(record(f"{about['date']}-words-static", about, rows))


if __name__ == "__main__":
    main()
