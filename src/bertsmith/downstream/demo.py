"""The main job on this machine's own documentation: corpus, tokenizer, pre-training, fine-tuning against fresh weights, masks, report.

`python -m bertsmith.downstream.demo --out demo` is what `make demo` runs; it downloads nothing.
"""

import argparse
import csv
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bertsmith
from bertsmith.console import Console
from bertsmith.downstream.documentation import Docstring, docstrings
from bertsmith.downstream.documentation_task import LABELS, Task, task
from bertsmith.downstream.report_compared import Difference
from bertsmith.errors import BertsmithError, InputError
from bertsmith.spelling import amount

RECIPE, TOKENIZER = "roberta:tiny", "wordpiece:4000"
TOKENS = 4_500_000  # to read in pre-training: the same figures every time, in two to three minutes on two cores
SEEDS = 3
SIDES = {"pre-trained": "a", "scratch": "b", "difference": "difference"}  # of what `compare` gives
MASKED = (
    "Returns the length of the [MASK].",
    "If the file does not [MASK], an exception is raised.",
    "The default [MASK] is None.",
    "A new array with the same [MASK] and type as the given array.",
    "Return True if the graph is [MASK].",
)


def demo(
    out: str | Path,
    *,
    tokens: int = TOKENS,
    force: bool = False,
    say: Callable[[str], None] = print,
    progress: Any = None,
) -> dict[str, Any]:
    """Everything below `out`; returns the figures that it said.  InputError where `out` exists and is not to be replaced."""
    out, begun = _fresh(Path(out), force), time.monotonic()
    say("1  corpus: the documentation that this Python installation carries")
    made = example(out, workers=min(2, os.cpu_count() or 1))
    sizes = Counter(dict.fromkeys(LABELS, 0)) + Counter(docstring.package for docstring in made.corpus)
    parts = ", ".join(f"{name} {count:,}" for name, count in sizes.most_common())
    say(f"   {len(made.corpus):,} docstrings, {(out / 'corpus.txt').stat().st_size / 1e6:.1f} MB of prose: {parts}")

    say(f"2  tokenizer and token store ({TOKENIZER})")
    bertsmith.prepare(
        [str(out / "corpus.txt")], out / "store", tokenizer=TOKENIZER, lowercase=True, holdout=0.02, say=_indented(say)
    )

    say(f"3  pre-training {RECIPE} on {amount(tokens, 'token')}")
    options = {"progress": progress} if progress else {}
    bertsmith.pretrain(RECIPE, out / "store", out / "run", tokens=tokens, say=_indented(say), **options)
    loss = bertsmith.evaluate(out / "run", data=out / "store")["token.loss"]
    plateau = _unigram(out / "store")
    say(
        f"   held-out masked loss {_interval(loss)} nats, {plateau - loss['value']:.2f} below the unigram entropy ({plateau:.3f})"
    )

    say(f"4  fine-tuning: which package does a paragraph come from?  {', '.join(LABELS)}")
    say(
        f"   {len(made.train)} labelled texts to learn from, {len(made.dev)} to choose the epoch by, {len(made.test)} to be asked about;"
    )
    say(
        "   those asked about come from modules that are not in the corpus; identifiers, numbers and packages' names are removed"
    )
    scores = tuned(out, say)

    say("5  masks")
    filled = []
    for text in MASKED:
        found = bertsmith.fill(out / "run", text, top=4)
        filled.append(found)
        top = ", ".join(f"{guess['token']} {guess['p']:.0%}" for guess in found["masks"][0]["top"])
        say(f"   {text}  {top}")

    runs = [out / "run", out / "classifier", out / "scratch"]
    difference = Difference(
        measure="accuracy",
        first=("classifier", scores["pre-trained"]),
        second=("scratch", scores["scratch"]),
        difference=scores["difference"],
        rows=f"{len(made.test)} test texts",
        seeds=SEEDS,
        fresh=True,
    )
    page = bertsmith.report(runs, out / "report.html", compared=[difference], say=_indented(say))
    seconds = time.monotonic() - begun
    say(f"6  the report is {page}")
    say(f"the demo took {seconds:.0f} s")
    return {
        "loss": loss,
        "unigram_entropy": plateau,
        **scores,
        "filled": filled,
        "report": str(page),
        "seconds": seconds,
    }


def example(out: str | Path, workers: int = 1) -> Task:
    """Text and a labelled task below `out`, from this machine's documentation: corpus.txt, train.tsv, dev.tsv, test.tsv.

    `workers`: processes; a script that asks for more than one needs the usual `if __name__ == "__main__":`.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    made = task(docstrings(workers=workers))
    write_corpus(made.corpus, out / "corpus.txt")
    for part in ("train", "dev", "test"):
        write_task(getattr(made, part), out / f"{part}.tsv")
    return made


def tuned(out: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Fine-tune the run and the same architecture from fresh weights, with the same seeds; scores are of the test texts."""
    for name, scratch in (("classifier", False), ("scratch", True)):
        bertsmith.finetune(
            out / "run",
            task="classify",
            train=out / "train.tsv",
            dev=out / "dev.tsv",
            out=out / name,
            scratch=scratch,
            seeds=SEEDS,
            say=_silent,
        )
    found = bertsmith.compare(out / "classifier", out / "scratch", out / "test.tsv")
    figures = {name: found[side]["accuracy"] for name, side in SIDES.items()}
    say(
        f"   accuracy, mean of {amount(SEEDS, 'seed')}, with 95 % intervals over texts and seeds; guessing gives {1 / len(LABELS):.2f}"
    )
    for name, score in figures.items():
        say(f"   {name:12} {_interval(score)}")
    return figures


def write_corpus(corpus: list[Docstring], path: Path) -> None:
    """One paragraph a line, an empty line between docstrings."""
    path.write_text("\n\n".join(docstring.text for docstring in corpus) + "\n", encoding="utf-8")


def write_task(rows: list[tuple[str, str]], path: Path) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None, lineterminator="\n")
        writer.writerows([("text", "label"), *rows])


def _unigram(store: Path) -> float:
    from bertsmith.text.store import Store

    return Store.open(store).unigram_entropy()


def _fresh(out: Path, force: bool) -> Path:
    mark = out / ".bertsmith-demo"
    if out.exists() and any(out.iterdir()):
        if not mark.is_file():
            raise InputError(f"{out}: --out is a folder that the demo did not make; choose another place")
        if not force:
            raise InputError(f"{out}: --out holds a demo already; --force replaces it")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    mark.write_text("made by `make demo`; `make demo` replaces it\n")
    return out


def _interval(score: dict[str, float]) -> str:
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"


def _indented(say: Callable[[str], None]) -> Callable[[str], None]:
    return lambda line: say(line if line.startswith("warning:") else f"   {line}")


def _silent(*_: Any) -> None:
    pass


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bertsmith.downstream.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="demo")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="to read in pre-training")
    parser.add_argument("--force", action="store_true", help="replace the demo that is there")
    parser.add_argument("--json", action="store_true", help="nothing but the figures")
    arguments = parser.parse_args()
    console = Console(json=arguments.json)
    try:
        figures = demo(
            arguments.out, tokens=arguments.tokens, force=arguments.force, say=console.say, progress=console.progress
        )
    except BertsmithError as error:
        console.close(failed=True)
        print(f"bertsmith: error: {error}", file=sys.stderr)
        return error.exit_code
    console.close(failed=False)
    if arguments.json:
        console.out(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
