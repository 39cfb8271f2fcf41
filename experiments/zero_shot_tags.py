"""Tagged in English, tested in six other languages: what does one model of many languages carry over, with parallel lines and without?

    python experiments/zero_shot_tags.py CORPORA --out results [--seeds 3] [--tokens 6000000] [--size mini] [--arms text tlm scratch]

The same command again goes on where it was stopped.  Text: English and Vietnamese and Chinese encyclopedia, German and French novels, and the sentences
of the UD dev files (Spanish, Russian); sizes are cut by `--characters`.  `tlm` reads multi30k's English-German and English-French lines as well,
every other update, in a run of as many tokens in all; its tokenizer, and so its store, is that of `text`.  `scratch` is the same architecture with fresh
weights.  Each is tuned on the English EWT dev file (UD word classes), chosen on half of its test file, and tested on the other half and on the
UD test files of German, French, Spanish, Russian, Vietnamese and Chinese.  "commonest" is the share of the commonest tag.
"""

import argparse
import gzip
import json
import lzma
from collections import Counter
from pathlib import Path

import torch

import bertsmith
from bertsmith.config import override
from bertsmith.text.store import Store

LANGUAGES = {"de": "de_gsd", "fr": "fr_gsd", "es": "es_gsd", "ru": "ru_gsd", "vi": "vi_vtb", "zh": "zh_gsd"}
SETTINGS = [
    "layout.length=64",
    "training.batch=1024",
    "schedule.lr=1e-3",
    "training.evaluate=2000",
    "training.checkpoint=1000",
]
TUNED = ["epochs=4", "lr=3e-4", "batch=16", "length=96"]
WIKI = {"en": "en_wiki/en_wiki.txt.xz", "vi": "vi_wiki_small/vi_wiki.txt.xz", "zh": "zh_wiki/zh_wiki.txt.xz"}
NOVELS = {"de": "multilingual_novels/eltec_de.txt.xz", "fr": "multilingual_novels/eltec_fr.txt.xz"}


def opened(path: Path) -> str:
    with (gzip if path.suffix == ".gz" else lzma).open(path, "rt", encoding="utf-8") as file:
        return file.read()


def sentences(data: Path, name: str) -> list[list[tuple[str, str]]]:
    """(word, word class) of each sentence of a treebank's file; words that are joined in the text stand as its syntax has them."""
    folder = "ud_english_ewt" if name.startswith("en") else "ud_multilingual"
    found = []
    for block in opened(data / folder / f"{name}.conllu.xz").strip().split("\n\n"):
        rows = [line.split("\t") for line in block.split("\n") if not line.startswith("#")]
        found.append([(row[1].replace(" ", ""), row[3]) for row in rows if row[0].isdigit()])
    return found


def tags(data: Path, out: Path) -> dict[str, Path]:
    """Two columns, a word and its class, a blank line between sentences."""
    half = sentences(data, "en_ewt-ud-test")
    parts = {"train": sentences(data, "en_ewt-ud-dev"), "dev": half[::2], "en": half[1::2]}
    parts |= {code: sentences(data, f"{name}-ud-test") for code, name in LANGUAGES.items()}
    files = {}
    for part, found in parts.items():
        files[part] = out / f"tags-{part}.conll"
        text = "\n\n".join("\n".join(f"{word}\t{tag}" for word, tag in sentence) for sentence in found)
        files[part].write_text(text + "\n", encoding="utf-8")
    return files


def store_of(data: Path, out: Path, characters: int) -> Store:
    if not (out / "store" / "manifest.json").exists():
        named = []
        for code, name in (WIKI | NOVELS).items():
            lines = [line for line in opened(data / name)[:characters].split("\n") if line.strip()]
            # A novel is one document; pairs want many: twenty paragraphs make one.
            texts = ["\n".join(lines[i : i + 20]) for i in range(0, len(lines), 20)]
            named.append(_written(out, code, "\n\n".join(texts)))
        for code in ("es", "ru"):
            raw = opened(data / "ud_multilingual" / f"{LANGUAGES[code]}-ud-dev.conllu.xz").split("\n")
            lines = [line.removeprefix("# text = ") for line in raw if line.startswith("# text = ")]
            named.append(
                _written(out, code, "\n\n".join("\n".join(lines[i : i + 10]) for i in range(0, len(lines), 10)))
            )
        for code in ("de", "fr"):
            files = []
            for side in ("en", code):
                path = out / f"both-{code}.{side}"
                path.write_text(opened(data / "multi30k" / f"train.{side}.gz"), encoding="utf-8")
                files.append(str(path))
            named.append(f"en+{code}={'+'.join(files)}")
        bertsmith.prepare(named, out / "store", tokenizer="wordpiece:12000", holdout=0.02, say=print)
    return Store.open(out / "store")


def _written(out: Path, code: str, text: str) -> str:
    path = out / f"text.{code}.txt"
    path.write_text(text + "\n", encoding="utf-8")
    return f"{code}={path}"


def pretrained(arm: str, store: Store, given: argparse.Namespace) -> Path:
    run = given.out / f"{arm}-{given.size}-{given.tokens}"
    if not (run / "done").exists():
        recipe = override(bertsmith.find(f"{'mbert-tlm' if arm == 'tlm' else 'mbert'}:{given.size}"), SETTINGS)
        resume = run.exists()
        bertsmith.pretrain(recipe, store, run, tokens=given.tokens, threads=given.threads, resume=resume, say=print)
        (run / "done").write_text("")
    return run


def tested(arm: str, seed: int, model: Path, files: dict[str, Path], given: argparse.Namespace) -> dict:
    kept = given.out / f"tested-{arm}-{given.size}-{given.tokens}-{seed}.json"
    if not kept.exists():
        run = given.out / f"tags-{arm}-{given.size}-{given.tokens}-{seed}"
        options = {"scratch": arm == "scratch", "seed": seed, "threads": given.threads, "resume": run.exists()}
        bertsmith.finetune(model, task="tag", train=files["train"], dev=files["dev"], out=run, set=TUNED, **options)
        scores = {code: bertsmith.evaluate(run, input=files[code]) for code in ("en", *LANGUAGES)}
        kept.write_text(
            json.dumps({"arm": arm, "seed": seed, "accuracy": {c: s["accuracy"] for c, s in scores.items()}})
        )
    return json.loads(kept.read_text())


def commonest(path: Path) -> float:
    counts = Counter(line.split("\t")[1] for line in path.read_text(encoding="utf-8").split("\n") if line)
    return counts.most_common(1)[0][1] / counts.total()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--arms", nargs="+", choices=("text", "tlm", "scratch"), default=("text", "tlm", "scratch"))
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--tokens", type=int, default=6_000_000)
    arguments.add_argument("--characters", type=int, default=4_000_000, help="of each language's text at most")
    arguments.add_argument("--size", default="mini")
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    given.out.mkdir(parents=True, exist_ok=True)
    files, store = tags(given.data, given.out), store_of(given.data, given.out, given.characters)
    print(
        json.dumps({"commonest": {code: round(commonest(files[code]), 4) for code in ("en", *LANGUAGES)}}), flush=True
    )
    for arm in given.arms:
        model = pretrained("text" if arm == "scratch" else arm, store, given)
        for seed in range(given.seeds):
            print(json.dumps(tested(arm, seed, model, files, given)), flush=True)


if __name__ == "__main__":
    main()
