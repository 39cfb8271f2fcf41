"""How long commands take to start: seconds of a fresh process, best of some, beside `python -c "import numpy"`.

    python -m bench.startup [--repeat 5] [--json]

CPU seconds are those of the process itself, so that they mean something on a busy machine, too.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from pydoc_data.topics import topics

import bertsmith
from bertsmith.config import override

SMALL = [
    "model.layers=1",
    "model.width=16",
    "model.hidden=32",
    "model.heads=2",
    "layout.length=32",
    "training.batch=256",
]
TASK = "text\tlabel\n" + "".join(f"the list number {i}\t{'odd' if i % 2 else 'even'}\n" for i in range(8))


def prepared(folder: Path) -> dict[str, list[str]]:
    """Commands by name, on a small corpus, store and run that are made in `folder`."""
    text, store, run, rows, new = (str(folder / name) for name in ("text.txt", "store", "run", "rows.tsv", "new"))
    Path(text).write_text("\n\n".join(topics.values())[:100_000], encoding="utf-8")
    Path(rows).write_text(TASK)
    bertsmith.prepare([text], store, tokenizer="wordpiece:300")
    bertsmith.pretrain(override(bertsmith.find("bert:tiny"), SMALL), store, run, steps=2, threads=1)
    tuning = ["finetune", run, "--task", "classify", "--train", rows, "--dev", rows, "--out", new]
    return {
        "--help": ["--help"],
        "recipes": ["recipes"],
        "recipes bert": ["recipes", "bert"],
        "verify STORE": ["verify", store],
        "verify RUN": ["verify", run],
        "show bert:tiny --data STORE": ["show", "bert:tiny", "--data", store],
        "prepare TEXT (100 kB, WordPiece)": ["prepare", text, "--out", new, "--force"],
        "pretrain, no such store": ["pretrain", "bert:tiny", "--data", new + "x", "--out", new, "--steps", "3"],
        "pretrain, no such recipe": ["pretrain", "brt:tiny", "--data", store, "--out", new, "--steps", "3"],
        "finetune, dev is train": tuning,
        "predict, no such file": ["predict", run, "--input", "nothing.tsv", "--out", new],
    }


def seconds(command: list[str], repeat: int) -> tuple[float, float]:
    """(seconds, CPU seconds) of the quickest of `repeat` runs, each by its own."""
    walls, cpus = [], []
    for _ in range(repeat):
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        walls.append(time.perf_counter() - begun)
        cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(walls), min(cpus)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="nothing but the figures")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        commands = {
            name: [sys.executable, "-m", "bertsmith", *command] for name, command in prepared(Path(folder)).items()
        }
        for name, command in {"import numpy": [sys.executable, "-c", "import numpy"], **commands}.items():
            found[name] = seconds(command, arguments.repeat)
            if not arguments.json:
                print(f"{name:34} {found[name][0]:6.2f} s {found[name][1]:6.2f} s CPU", flush=True)
    if arguments.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
