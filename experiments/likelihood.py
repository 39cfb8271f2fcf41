"""How many bits a byte costs each kind of model, on one text; and which of two sentences each takes to be English (BLiMP, Warstadt et al. 2020).

    python experiments/likelihood.py CORPORA RUN... --out results [--texts 300] [--pairs 200]

Each RUN is asked for the second half of BBC news texts (60 words, small letters) behind the first: a language model token by token, a decoder
about the first half as its source, a masked model for each token with that token (and the rest of its word) hidden, which is no probability
of the text and so compared with its own kind alone.  BLiMP: the first `--pairs` of each file; chance is 0.5; of a decoder there is none.
"""

import argparse
import json
import lzma
from pathlib import Path

import bertsmith
from bertsmith.errors import InputError


def halves(data: Path, count: int) -> list[dict[str, str]]:
    with lzma.open(next((data / "bbc_news").glob("*.jsonl.xz")), "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["text"].lower().split()[:60] for line in file]
    texts = [words for words in texts if len(words) == 60][:: max(1, len(texts) // count)][:count]
    return [{"text": " ".join(words[:30]), "text2": " ".join(words[30:])} for words in texts]


def pairs(data: Path, out: Path, count: int) -> list[Path]:
    made = []
    for path in sorted((data / "blimp").glob("*.jsonl.xz")):
        with lzma.open(path, "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for _, line in zip(range(count), file, strict=False)]
        made.append(out / path.name.removesuffix(".xz"))
        lines = ({"good": row["sentence_good"].lower(), "bad": row["sentence_bad"].lower()} for row in rows)
        made[-1].write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return made


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("runs", nargs="+", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--texts", type=int, default=300)
    arguments.add_argument("--pairs", type=int, default=200)
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    rows, files = halves(given.data, given.texts), pairs(given.data, given.out, given.pairs)
    for run in given.runs:
        model = bertsmith.load(run)
        for method in ("pll-word", "pll") if _sees_both(model) else (None,):
            total = bertsmith.score(model, rows, method=method)
            line = {
                "run": run.name,
                "method": total["method"],
                "bits per byte": round(total["total"]["bits_per_byte"], 4),
            }
            line["bytes"] = total["total"]["bytes"]
            try:
                found = bertsmith.score(model, pairs=files, method=method)
                line["blimp"] = {key: round(value, 4) for key, value in found["accuracy"].items()} | {
                    "pairs": found["pairs"]
                }
            except InputError as error:
                line["blimp"] = str(error)
            print(json.dumps(line), flush=True)


def _sees_both(model: object) -> bool:
    """Whether a model is asked for hidden tokens."""
    return not model.recipe.model.decodes and not model.reading().causal  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
