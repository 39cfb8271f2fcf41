"""Text to store beside the bare tokenizer: the same documents, the same cores, a trained tokenizer, text already decompressed.

    python bench/prepare.py [TEXT...] [--tokenizer wordpiece:8000] [--workers 1 2] [--clean c4] [--engine local]

Without texts it reads this machine's own documentation, six times over.  `--clean`: also by these rules; `--engine`: also in units that datatrove's
executor carries out, whose store must have the same bytes; both beside the plain pass, which stands for 1.
The peer is `encode_batch` of the paragraphs with the ids read and nothing kept, on as many cores.  Peak memory is that of all processes together.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import machine, record, resident

from bertsmith.downstream.demo import write_corpus
from bertsmith.downstream.documentation import docstrings

TIMES = 6

OURS = """
import json, sys, time
from bertsmith.text.prepare import prepare
if __name__ == "__main__":
    start = time.perf_counter()
    prepare(json.loads(sys.argv[1]), sys.argv[2], tokenizer=sys.argv[3], workers=int(sys.argv[4]), **json.loads(sys.argv[5]))
    print(time.perf_counter() - start)
"""
THEIRS = """
import json, os, sys, time
os.environ["RAYON_NUM_THREADS"] = sys.argv[4]
os.environ["TOKENIZERS_PARALLELISM"] = "true" if sys.argv[4] != "1" else "false"
from bertsmith.text.tokenizer import Tokenizer
backend = Tokenizer.load(sys.argv[3]).backend
start, tokens, batch, size = time.perf_counter(), 0, [], 0
def encode(batch):
    return sum(len(e.ids) for e in backend.encode_batch(batch, add_special_tokens=False))
for path in json.loads(sys.argv[1]):
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.strip():
                batch.append(line.strip()); size += len(line)
            if size > 1_000_000:
                tokens += encode(batch); batch, size = [], 0
tokens += encode(batch)
print(time.perf_counter() - start)
"""


def run(code: str, *arguments: str) -> tuple[float, float]:
    """Seconds that the work says it took, and the largest sum of its processes' memory in MB."""
    most = 0.0
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "work.py"
        script.write_text(code)
        process = subprocess.Popen(
            [sys.executable, str(script), *arguments], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        while process.poll() is None:
            most = max(most, resident(process.pid))
            time.sleep(0.1)
        said = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"{arguments}: exit {process.returncode}")
    return float(said.split()[-1]), most


def documentation(folder: Path) -> str:
    write_corpus(list(docstrings()), folder / "once.txt")
    text = (folder / "once.txt").read_text(encoding="utf-8")
    (folder / "corpus.txt").write_text("\n".join([text] * TIMES), encoding="utf-8")
    return str(folder / "corpus.txt")


def others(given: argparse.Namespace, texts: str, size: float, workers: str, folder: Path, plain: float) -> list[dict]:
    """The pass with cleaning, and each way by the engine, beside the pass of `plain` seconds."""
    ways: dict[str, dict] = {f"--clean {given.clean}": {"clean": given.clean}} if given.clean else {}
    if given.engine:
        ways |= {
            f"{name} --engine {given.engine}".strip(): {**how, "engine": given.engine}
            for name, how in [("", {}), *ways.items()]
        }
    plain_one = json.loads((folder / f"{workers}-0" / "manifest.json").read_text())["sha256"]
    rows, digests = [], {None: {plain_one}}
    for name, how in ways.items():
        seconds, memory = [], 0.0
        for i in range(given.repetitions):
            out = folder / f"{len(rows)}-{workers}-{i}"
            took, memory = run(OURS, texts, str(out), str(folder / "trained"), workers, json.dumps(how))
            seconds.append(took)
            digests.setdefault(how.get("clean"), set()).add(json.loads((out / "manifest.json").read_text())["sha256"])
        row = {
            "bench": f"prepare, {given.tokenizer}, --workers {workers} {name}",
            "unit": "MB/s",
            "seconds": {"ours": seconds},
        }
        row |= {
            "rate": {"ours": size / min(seconds)},
            "ratio": {"plain": plain / min(seconds)},
            "peak_megabytes": memory,
        }
        rows.append(
            row | {"same_bytes_so_far": all(len(of) == 1 for of in digests.values()), "load": os.getloadavg()[0]}
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("texts", nargs="*")
    arguments.add_argument("--tokenizer", default="wordpiece:8000")
    arguments.add_argument("--workers", nargs="+", default=["1", "2"])
    arguments.add_argument("--repetitions", type=int, default=3)
    arguments.add_argument("--clean", metavar="RULES")
    arguments.add_argument("--engine", metavar="NAME")
    given = arguments.parse_args()
    about, rows = machine(os.cpu_count() or 1), []
    with tempfile.TemporaryDirectory() as folder:
        given.texts = given.texts or [documentation(Path(folder))]
        size = sum(os.path.getsize(path) for path in given.texts) / 1e6
        texts = json.dumps(given.texts)
        start = time.perf_counter()
        run(OURS, texts, f"{folder}/trained", given.tokenizer, "1", "{}")
        print(f"{size:.1f} MB; with training the tokenizer {size / (time.perf_counter() - start):.2f} MB/s", flush=True)
        digests: set[str] = set()
        for workers in given.workers:
            seconds: dict[str, list[float]] = {"ours": [], "encode_batch": []}
            memory = 0.0
            for i in range(given.repetitions):
                took, memory = run(OURS, texts, f"{folder}/{workers}-{i}", f"{folder}/trained", workers, "{}")
                seconds["ours"].append(took)
                seconds["encode_batch"].append(run(THEIRS, texts, "", f"{folder}/trained", workers)[0])
            manifests = (Path(folder) / f"{workers}-{i}" / "manifest.json" for i in range(given.repetitions))
            digests |= {json.loads(path.read_text())["sha256"] for path in manifests}
            best = {name: min(values) for name, values in seconds.items()}
            rows.append(
                {
                    "bench": f"prepare, {given.tokenizer}, --workers {workers}",
                    "unit": "MB/s",
                    "rate": {name: size / value for name, value in best.items()},
                    "ratio": {"encode_batch": best["encode_batch"] / best["ours"]},
                    "seconds": seconds,
                    "peak_megabytes": memory,
                    "same_bytes_so_far": len(digests) == 1,
                    "load": os.getloadavg()[0],
                }
            )
            print(rows[-1], flush=True)
            rows += others(given, texts, size, workers, Path(folder), best["ours"])
    print(record(f"prepare-{given.tokenizer.replace(':', '-')}", about, rows))


if __name__ == "__main__":
    main()
