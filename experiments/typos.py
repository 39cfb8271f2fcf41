"""Do characters help where words are unknown?  The hybrid word-character model against words alone, on typos and on unknown words.

    python experiments/typos.py CORPORA --out results [--words 4000] [--characters 3000000] [--passes 1] [--seeds 0 1 2] [--rows 6920] [--arms hybrid words] [--threads 1]

Encyclopedia text, lower case, twice: with `words-char:N`, where other words are spelled, and with `words:M`, the same words, where others are [UNK].  `hybrid:tiny` reads either once
(`--passes`), so that both arms read the same words, the one with what spells the others; of the second store it is a language model of words.  Then SST-2: all weights, the mean over
words, `--rows` of the training file; scores are of the test file as it is, and with typos in 5, 10 and 20 % of its words of three letters and more (the same typos in all arms, of 5 %
those of 10 % and so on: two letters swapped, one lost, one too many, another one), and of its texts by their share of words that have no token.  The difference is of pairs: resampled
over rows and seeds together, 95 %.  At last what the hybrid spells where held-out text has an unknown word.  Each run and score is kept in results.jsonl; a later call goes on from there.

Two arms and three seeds are about 12 minutes of one thread.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from glue import _lines, tables

import bertsmith
from bertsmith.config import override
from bertsmith.data.batch import Stream
from bertsmith.data.draw import hashed
from bertsmith.data.letters import LETTER
from bertsmith.text.store import Store
from corpora import QUICK

SHARES = (0.0, 0.05, 0.10, 0.20)
BINS = {"none": (-1.0, 0.0), "up to 10 %": (0.0, 0.1), "10 to 20 %": (0.1, 0.2), "more": (0.2, 1.0)}  # above, up to
ALPHABET = "abcdefghijklmnopqrstuvwxyz"
DRAWS = 4000


def mistyped(text: str, row: int, share: float) -> str:
    """`text` with typos; which words, and how, is a function of (row, word) alone."""
    words = text.split(" ")
    able = [i for i, word in enumerate(words) if len(word) >= 3 and word.isascii() and word.isalpha()]
    draws = {
        what: hashed(0, f"typo {what}", row, np.array(able, np.int64)) for what in ("where", "kind", "place", "letter")
    }
    for number, i in enumerate(able):
        where, kind, place, letter = (int(draws[what][number]) for what in ("where", "kind", "place", "letter"))
        if where / 2.0**64 >= share:
            continue
        word, at, other = words[i], place % (len(words[i]) - 1), ALPHABET[letter % 26]
        swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        words[i] = (
            swapped,
            word[:at] + word[at + 1 :],
            word[:at] + other + word[at:],
            word[:at] + other + word[at + 1 :],
        )[kind % 4]
    return " ".join(words)


def stores(data: Path, out: Path, words: int, characters: int) -> dict[str, Store]:
    """By arm, of one text and one list of words."""
    text = out / f"encyclopedia-{characters}.txt"
    if not text.exists():
        text.write_text("\n".join(_lines(data / "en_wiki", ""))[:characters], encoding="utf-8")
    found: dict[str, Store] = {}
    for arm in ("hybrid", "words"):
        if arm == "words":
            mark, end = found["hybrid"].vocab.letters
            words = found["hybrid"].vocab.size - (end - mark)
        folder = out / f"{arm}-{words}-{characters}"
        if not folder.exists():
            kind = {"hybrid": "words-char", "words": "words"}[arm]
            bertsmith.prepare(
                [str(text)], str(folder), tokenizer=f"{kind}:{words}", lowercase=True, holdout=0.02, say=print
            )
        found[arm] = Store.open(folder)
    return found


def scored(
    arm: str, seed: int, store: Store, rows: tuple[Path, ...], tests: dict[str, list[dict]], given: argparse.Namespace
) -> dict:
    """A line of the results: which test rows were right, in each state of the test file."""
    run = given.out / f"{store.path.name}-{given.passes}-{seed}"
    recipe = override(bertsmith.find("hybrid:tiny"), [*QUICK[1:2], "training.checkpoint=1000000", "layout.length=64"])
    work = {"seed": seed, "threads": given.threads}
    tokens = round(store.train.count * given.passes)
    end = bertsmith.pretrain(recipe, store.path, run, tokens=tokens, **work, resume=run.exists())
    tuned = run.with_name(f"{run.name}-sst2-{given.rows}-{given.epochs}-{given.lr}")
    sets = ["pool=mean", f"lr={given.lr}", "length=128"]
    bertsmith.finetune(
        run,
        out=tuned,
        task="classify",
        train=rows[0],
        dev=rows[1],
        epochs=given.epochs,
        set=sets,
        allow_unknown=True,
        **work,
        resume=tuned.exists(),
    )
    loaded, right = bertsmith.load(tuned), {}
    for name, test in tests.items():
        said = bertsmith.predict(loaded, [row["text"] for row in test])
        right[name] = "".join(
            str(int(str(answer["label"]) == row["label"])) for answer, row in zip(said, test, strict=True)
        )
    held = {name: round(term["loss"], 4) for name, term in (end.get("evaluation") or {}).items() if "loss" in term}
    return {
        "arm": arm,
        "seed": seed,
        "setting": setting(given),
        "seconds": round(end["seconds"]),
        "held_out": held,
        "right": right,
    }


def setting(given: argparse.Namespace) -> list:
    """What lines of one table have in common."""
    return [given.words, given.characters, given.passes, given.rows, given.epochs, given.lr]


def unknown_shares(store: Store, test: list[dict]) -> np.ndarray:
    """(rows,) of the words of each text those that have no token; `store` has [UNK] for them."""
    found = [ids for ids, _ in store.tokenizer.encode([row["text"] for row in test])]
    return np.array([(ids == store.vocab.unk).mean() for ids in found])


def interval(values: np.ndarray, draw: np.random.Generator) -> tuple[float, float, float]:
    """Of (seeds, rows) the mean and its 95 % interval, both resampled."""
    seeds, rows = values.shape
    means = [values[draw.integers(0, seeds, seeds)][:, draw.integers(0, rows, rows)].mean() for _ in range(DRAWS)]
    return float(values.mean()), *np.quantile(means, (0.025, 0.975)).tolist()


def table(lines: list[dict], shares: np.ndarray) -> None:
    """Accuracy of each arm, and what the first is ahead of the second."""
    arms = list(dict.fromkeys(line["arm"] for line in lines))
    seeds = sorted(set.intersection(*({line["seed"] for line in lines if line["arm"] == arm} for arm in arms)))
    right = {
        arm: {
            name: np.array(
                [
                    [int(c) for c in line["right"][name]]
                    for seed in seeds
                    for line in lines
                    if (line["arm"], line["seed"]) == (arm, seed)
                ]
            )
            for name in lines[0]["right"]
        }
        for arm in arms
    }
    every = np.ones(len(shares), bool)
    rows = {f"typos in {share:.0%}" if share else "as it is": (f"{share:g}", every) for share in SHARES}
    rows |= {f"unknown words: {name}": ("0", (shares > low) & (shares <= high)) for name, (low, high) in BINS.items()}
    rows |= {
        f"20 % typos, unknown before: {name}": ("0.2", (shares > low) & (shares <= high))
        for name, (low, high) in BINS.items()
    }
    print("| test texts | rows | " + " | ".join(arms) + " | difference |\n" + "|---" * (len(arms) + 3) + "|")
    for name, (state, of) in rows.items():
        if not of.any():
            continue
        values = [right[arm][state][:, of] for arm in arms]
        said = [f"{x.mean():.3f}" for x in values]
        if len(arms) > 1:
            mean, low, high = interval(values[0] - values[1].astype(float), np.random.default_rng(0))
            said.append(f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]")
        print(f"| {name} | {int(of.sum())} | " + " | ".join(said) + " |", flush=True)


@torch.no_grad()
def spellings(run: Path, store: Store, count: int) -> list[dict]:
    """Where held-out text has a word without a token: what stands before, the word, and what the model spells there."""
    loaded, tokens = bertsmith.load(run), store.held_out.gather(slice(None)).astype(np.int64)[:20_000]
    mark, end = store.vocab.letters
    names, model = store.tokenizer.tokens(range(mark, end)), loaded.member.model.eval()
    places = np.flatnonzero((tokens == mark) & (np.arange(len(tokens)) > 40))[
        :: max(1, int((tokens == mark).sum()) // count)
    ][:count]
    found = []
    for place in places.tolist():
        before = tokens[place - 40 : place]
        zeros = torch.zeros(len(before), dtype=torch.int64)
        marks = {"segments": zeros, "query_rank": zeros, "key_rank": zeros, "positions": zeros}
        stream = Stream(tokens=torch.from_numpy(before), lengths=(len(before),), **marks)
        state = model(stream)[-1:]
        (symbols,) = loaded.member.objective.get_submodule(LETTER).spell(state)
        likely = loaded.member.objective.logits(model, stream, torch.tensor([len(before) - 1])).softmax(1)[0]
        last = place + 1
        while last < len(tokens) and mark < tokens[last] < end:
            last += 1
        found.append(
            {
                "before": store.tokenizer.decode(before)[-60:],
                "word": "".join(names[i - mark] for i in tokens[place + 1 : last]),
                "spelled": "".join(names[s] if s < len(names) else "?" for s in symbols),
                "p_unknown": round(float(likely[mark]), 3),
            }
        )
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--words", type=int, default=4000)
    arguments.add_argument("--characters", type=int, default=3_000_000)
    arguments.add_argument("--passes", type=float, default=1.0)
    arguments.add_argument("--rows", type=int, default=6920)
    arguments.add_argument("--epochs", type=float, default=3)
    arguments.add_argument("--lr", type=float, default=3e-3)
    arguments.add_argument("--arms", nargs="+", choices=("hybrid", "words"), default=["hybrid", "words"])
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    of, kept = stores(given.data, given.out, given.words, given.characters), given.out / "results.jsonl"
    rows = tables(given.data, given.out / "tables", given.rows)["sst2"]
    test = [json.loads(line) for line in rows[2].read_text(encoding="utf-8").splitlines()]
    tests = {
        f"{share:g}": [{**row, "text": mistyped(row["text"], i, share)} for i, row in enumerate(test)]
        for share in SHARES
    }
    lines = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    for seed in given.seeds:
        for arm in given.arms:
            if not any((line["arm"], line["seed"], line["setting"]) == (arm, seed, setting(given)) for line in lines):
                lines.append(scored(arm, seed, of[arm], rows, tests, given))
                with kept.open("a") as file:
                    file.write(json.dumps(lines[-1]) + "\n")
                print(json.dumps({name: value for name, value in lines[-1].items() if name != "right"}), flush=True)
    table(
        [line for line in lines if line["setting"] == setting(given) and line["arm"] in given.arms],
        unknown_shares(of["words"], test),
    )
    if "hybrid" in given.arms:
        for one in spellings(given.out / f"{of['hybrid'].path.name}-{given.passes}-{given.seeds[0]}", of["hybrid"], 12):
            print(json.dumps(one, ensure_ascii=False))


if __name__ == "__main__":
    main()
