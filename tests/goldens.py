"""Golden figures: what every member lost in its first 20 updates, and what fine-tuning did, before the code around them changed.

`python -m tests.goldens --check` compares this checkout with tests/golden/losses.json, `--write` makes the file anew: only where a change
of the numbers is meant, and said in CHANGELOG.md.  `--out FILE` writes elsewhere: so two checkouts are compared on one machine.
The bits of a product depend on the processor and on torch: where those differ, figures agree to `NEAR`.
"""

import argparse
import json
import math
import platform
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parent / "golden" / "losses.json"
STEPS = 20
NEAR = 2e-3  # relative; rounding grows with the updates
SMALL = [
    "model.layers=2",
    "model.width=32",
    "model.hidden=64",
    "model.heads=2",
    "model.dropout=0.1",
    "layout.length=48",
    "training.batch=512",
    "training.evaluate=10",
    "training.held_out=512",
    "training.precision=float32",
    "schedule.lr=0.002",
]
VARIANTS = {
    "bert": ["training.accumulate=2", "corruption.copies=2"],
    "roberta": ["training.precision=bfloat16"],
    "albert": ["model.share=attention"],
    "xlnet": ["model.dropout=0.0"],
}
# Of each kind of task a model that was pre-trained for these updates, in its turn fine-tuned.
TUNED = {
    "bert.classify": ("bert", "classify", []),
    "bert.frozen": ("bert", "classify", ["method=frozen", "epochs=4"]),
    "bert.pairs": ("bert", "pairs", []),
    "xlnet.classify": ("xlnet", "classify", []),
    "electra.regress": ("electra", "regress", []),
    "roberta.tag": ("roberta", "tag", []),
    "bert.tag-frozen": ("bert", "tag", ["method=frozen", "epochs=4"]),
    "spanbert.qa": ("spanbert", "qa", []),
}


LATER = ("auc", "ece")  # scores that there were not when the figures were recorded


def machine() -> dict[str, str]:
    """What the last bits of a float depend on."""
    import torch

    model = (
        re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) if Path("/proc/cpuinfo").exists() else None
    )
    return {
        "processor": model[1] if model else platform.processor(),
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
    }


def text() -> tuple[str, list[str]]:
    """A corpus that is the same for every Python: sentences of made words by frequency, and some names in it."""
    draw = np.random.default_rng(12)
    letters = list("aeioubcdfglmnprst")
    words = ["".join(draw.choice(letters, draw.integers(1, 9))) for _ in range(600)]
    names = [f"{a.title()} {b.title()}" for a, b in zip(words[40:52], words[60:72], strict=True)]
    share = 1 / np.arange(1, len(words) + 1)
    documents = []
    for _ in range(60):
        topic = draw.permutation(200)[:8]
        sentences = []
        for _ in range(int(draw.integers(4, 14))):
            chosen = [words[i] for i in draw.choice(len(words), int(draw.integers(4, 18)), p=share / share.sum())]
            chosen.insert(1, words[topic[draw.integers(8)]])
            if draw.random() < 0.3:
                chosen.insert(2, names[draw.integers(len(names))])
            sentences.append(" ".join(chosen).capitalize() + ".")
        documents.append("\n".join(" ".join(sentences[i : i + 3]) for i in range(0, len(sentences), 3)))
    return "\n\n".join(documents) + "\n", names


def store(folder: Path, phrases: str | None = "npmi"):
    """`phrases`: None makes them of the names."""
    from tests.conftest import linked

    import bertsmith
    from bertsmith.text.store import Store

    corpus, names = text()
    (folder / "text.txt").write_text(corpus, encoding="utf-8")
    (folder / "names.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    options = {"tokenizer": "wordpiece:400", "holdout": 0.1, "phrases": phrases or str(folder / "names.txt")}
    options["entities"] = str(folder / "names.txt")
    options |= linked(folder, names)  # tokens stay what they are
    bertsmith.prepare([str(folder / "text.txt")], folder / "store", **options)
    return Store.open(folder / "store")


def pretrained(name: str, assignments: list[str], data, out: Path) -> list[list]:
    """[loss, gradient norm, {term: mean}, held-out losses] of each update."""
    from tests.runs import fitting

    import bertsmith
    from bertsmith.config import override
    from bertsmith.recipe import find

    bertsmith.pretrain(
        override(find(f"{name}:tiny"), [*fitting(name, SMALL), *assignments]), data, out, steps=STEPS, seed=5, threads=1
    )
    return figures(out)


def figures(run: Path) -> list[list]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [[line["loss"], line["grad_norm"], line["terms"], line.get("evaluation")] for line in lines]


def tasks(folder: Path) -> dict[str, tuple[str, Path, Path]]:
    """{name: (kind, training file, dev file)} in the words of the corpus."""
    corpus, names = text()
    sentences = [line for line in re.split(r"(?<=\.)\s+", corpus) if line]
    draw = np.random.default_rng(3)
    found = {}
    for part, n in (("train", 72), ("dev", 40)):
        chosen = [sentences[i] for i in draw.integers(0, len(sentences), n)]
        named = [any(name.lower() in s.lower() for name in names) for s in chosen]
        other = [
            sentences[i] if draw.random() < 0.5 else s for s, i in zip(chosen, draw.integers(0, len(sentences), n))
        ]
        rows = {
            "classify": [
                "text\tlabel",
                *(f"{s}\t{'named' if x else 'plain'}" for s, x in zip(chosen, named, strict=True)),
            ],
            "pairs": ["text\ttext2\tlabel", *(f"{a}\t{b}\t{int(a == b)}" for a, b in zip(chosen, other, strict=True))],
            "regress": ["text\tlabel", *(f"{s}\t{len(s.split()) * 2.5 + 7}" for s in chosen)],
        }
        for name, lines in rows.items():
            (folder / f"{name}.{part}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        columns = ["\n".join(f"{w} {'B-N' if w[0].isupper() else 'O'}" for w in s.split()) for s in chosen]
        (folder / f"tag.{part}.conll").write_text("\n\n".join(columns) + "\n", encoding="utf-8")
        paragraphs = []
        for i in range(0, n - 4, 4):
            context = " ".join(chosen[i : i + 4])
            first = context.split()[int(draw.integers(1, 9))]
            answer = {"text": first, "answer_start": context.index(first)}
            asked = {"id": f"{part}{i}", "question": f"Which word {first[:2]}?", "answers": [answer]}
            paragraphs.append({"context": context, "qas": [asked]})
        (folder / f"qa.{part}.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}), encoding="utf-8")
    for name, kind, ending in (
        ("classify", "classify", "tsv"),
        ("pairs", "classify", "tsv"),
        ("regress", "regress", "tsv"),
        ("tag", "tag", "conll"),
        ("qa", "qa", "json"),
    ):
        found[name] = kind, folder / f"{name}.train.{ending}", folder / f"{name}.dev.{ending}"
    return found


def tuned(model: Path, task: tuple[str, Path, Path], assignments: list[str], out: Path) -> list:
    """[updates as of `figures`, dev scores with intervals]."""
    import bertsmith

    kind, train, dev = task
    method = "frozen" if "method=frozen" in assignments else "full"
    sets = ["epochs=2", "batch=16", "lr=0.003", "precision=float32"]
    sets += [a for a in assignments if not a.startswith("method")]
    options = {"task": kind, "train": train, "dev": dev, "method": method, "set": sets, "seed": 2, "threads": 1}
    found = bertsmith.finetune(model, out=out, allow_unknown=True, **options)  # its tokenizer has no capitals
    return [figures(out), {name: score for name, score in found["dev"].items() if name not in LATER}]


def measured(folder: Path, names: list[str] | None = None) -> Iterator[tuple[str, object]]:
    """(name, figures) of every member, variant and fine-tuning, or of those whose names begin with one of `names`."""
    from tests.reading_what import TEXT

    data, files = store(folder), tasks(folder)

    def wanted(name: str) -> bool:
        return not names or any(name.startswith(n) for n in names)

    runs = {f"pretrain.{name}": (name, []) for name in TEXT}
    runs |= {f"pretrain.{name}.variant": (name, more) for name, more in VARIANTS.items()}
    needed = {f"pretrain.{TUNED[name][0]}" for name in TUNED if wanted(f"finetune.{name}")}
    for name, (member, more) in runs.items():
        if wanted(name) or name in needed:
            found = pretrained(member, more, data, folder / name)
            if wanted(name):
                yield name, found
    for name, (member, task, more) in TUNED.items():
        if wanted(f"finetune.{name}"):
            yield f"finetune.{name}", tuned(folder / f"pretrain.{member}", files[task], more, folder / name)


def differences(old: object, new: object, where: str = "") -> Iterator[tuple[str, float]]:
    """Leaves that differ, and by how much, relative; infinity where the trees are not of one shape."""
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        for key in old:
            yield from differences(old[key], new[key], f"{where}.{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from differences(a, b, f"{where}.{i}")
    elif old != new:
        numbers = isinstance(old, (int, float)) and isinstance(new, (int, float))
        yield where, abs(old - new) / max(abs(old), abs(new), 1e-3) if numbers else math.inf


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--out", type=Path, default=GOLDEN)
    parser.add_argument("names", nargs="*", help="such as pretrain.bert finetune")
    arguments = parser.parse_args()
    old = json.loads(arguments.out.read_text()) if arguments.check else None
    found: dict = {"machine": machine(), "figures": {}}
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, value in measured(Path(folder), arguments.names):
            found["figures"][name] = value
            if old:
                odd = list(differences(old["figures"].get(name), json.loads(json.dumps(value))))
                wrong += bool(odd)
                worst = max(odd, key=lambda d: d[1], default=None)
                print(
                    f"{name:32} {'the same bits' if not odd else f'{len(odd)} figures differ, {odd[0][0]} first, worst {worst}'}"
                )
            else:
                print(name)
    if arguments.write:
        arguments.out.parent.mkdir(exist_ok=True)
        arguments.out.write_text(json.dumps(found, indent=None, separators=(",", ":")) + "\n")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
