"""How fast `prepare` is by stages on much text, and in how much memory: cleaning, duplicates, encoding, one store by every engine.

    python experiments/prepare_scale.py CORPORA --out DIR [--gigabytes 5] [--workers 2] [--engines stream processes local] [--clean RULES]

Pages are drawn from the sentences of Wikipedia with a seed, 20 % of them what web text has: copies of an earlier page, copies with a few
other words, three sentences of another page, teasers.  Said for each way: MB/s of each stage, the most that one of its processes and that all of
them together held, and whether the store has the same bytes.  `stream` is the one pass that `prepare` makes without units.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from glue import _lines

sys.path.append(str(Path(__file__).parents[1] / "bench"))
from harness import resident

from bertsmith import files
from bertsmith.text.sentences import split

SEED, EACH, RECENT = 0, 250_000_000, 2000
CLEAN = "c4,duplicates,near-duplicates"
SAID = re.compile(r"(\w+): [\d,]+ units?, .* ([\d,.]+) MB/s; a process held ([\d,]+) MB")
CODE = """
import sys
from bertsmith import cli
if __name__ == "__main__":
    sys.exit(cli.run(sys.argv[1:]))
"""


def pages(sentences: list[str], draw: random.Random):
    """Endless."""
    recent: list[list[str]] = []
    while True:
        page = draw.choices(sentences, k=draw.randint(4, 24))
        kind = draw.random() if recent else 1.0
        other = draw.choice(recent) if recent else page
        if kind < 0.05:
            page = list(other)
        elif kind < 0.1:
            page = [s.replace(" the ", " that ", 1) if draw.random() < 0.05 else s for s in other]
        elif kind < 0.15:
            page[2:2] = other[:3]
        elif kind < 0.2:
            page += ["Read more", "Click here to subscribe"]
        if len(recent) < RECENT:
            recent.append(page)
        elif draw.random() < 0.1:
            recent[draw.randrange(RECENT)] = page
        yield page


def write(corpora: Path, folder: Path, size: int) -> list[str]:
    """Files of JSON lines of `size` bytes in all."""
    text = "\n".join(_lines(corpora / "en_wiki", ""))[:40_000_000]
    sentences = [s.strip() for line in text.split("\n") for s in split(line, "en") if 30 < len(s) < 400]
    draw, written, names = random.Random(SEED), 0, []
    made = pages(sentences, draw)
    while written < size:
        path = folder / f"pages-{len(names):04d}.jsonl"
        names.append(str(path))
        begun = written
        with open(path, "w", encoding="utf-8") as file:
            while written - begun < EACH and written < size:
                page = next(made)
                cuts = sorted(draw.sample(range(1, len(page)), min(len(page) - 1, 3)))
                parts = [" ".join(page[a:b]) for a, b in zip([0, *cuts], [*cuts, len(page)], strict=True)]
                line = json.dumps({"text": "\n".join(parts)}, ensure_ascii=False) + "\n"
                written += file.write(line)
    return names


def prepared(sources: list[str], out: Path, tokenizer: str, way: str, workers: int, clean: str) -> dict:
    more = {"stream": [], "processes": ["--resume"]}.get(way, ["--engine", way])
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        script.write(CODE)
        script.flush()
        command = [sys.executable, script.name, "prepare", *sources, "--out", str(out), "--tokenizer", tokenizer]
        command += ["--workers", str(workers), "--force", *more, *(["--clean", clean] if clean else [])]
        begun, most, said = time.perf_counter(), 0.0, out.with_suffix(f".{way}.txt")
        with open(said, "w") as err:
            process = subprocess.Popen(command, stderr=err, stdout=err, start_new_session=True)
            while process.poll() is None:
                most = max(most, resident(process.pid))
                time.sleep(0.5)
    if process.returncode:
        raise SystemExit(f"{way}: exit {process.returncode}: {said.read_text()[-500:]}")
    stages = {name: {"rate": rate, "peak": peak} for name, rate, peak in SAID.findall(said.read_text())}
    manifest = files.read_manifest(out, "store", 2)
    digest = files.sha256(out / files.MANIFEST)
    return {
        "seconds": time.perf_counter() - begun,
        "most": most,
        "stages": stages,
        "digest": digest,
        **manifest["splits"],
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("corpora", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--gigabytes", type=float, default=5)
    arguments.add_argument("--workers", type=int, nargs="+", default=[2])
    arguments.add_argument("--engines", nargs="+", default=["stream", "processes", "local"])
    arguments.add_argument("--tokenizer", default="wordpiece:8000")
    arguments.add_argument("--clean", default=CLEAN)
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    folder = given.out / "pages"
    folder.mkdir(exist_ok=True)
    sources = sorted(map(str, folder.glob("*.jsonl"))) or write(given.corpora, folder, int(given.gigabytes * 1e9))
    size = sum(map(os.path.getsize, sources)) / 1e6
    print(f"{size:,.0f} MB in {len(sources)} files", flush=True)
    first = sources[:1]
    prepared(first, given.out / "tokenizer", given.tokenizer, "stream", 1, "")
    digests = set()
    for workers in given.workers:
        for way in given.engines:
            made = prepared(sources, given.out / "store", str(given.out / "tokenizer"), way, workers, given.clean)
            digests.add(made["digest"])
            print(
                f"{way}, {workers} workers: {made['seconds']:,.0f} s, {size / made['seconds']:.2f} MB/s; all processes held {made['most']:,.0f} MB at most; same bytes so far: {len(digests) == 1}",
                flush=True,
            )
            for name, of in made["stages"].items():
                print(f"    {name:12} {of['rate']:>8} MB/s   {of['peak']:>6} MB a process", flush=True)


if __name__ == "__main__":
    main()
