"""Does `study --pick` choose again what it chose?  Three corpora, a study on each, the choice repeated with other seeds.

python experiments/picks.py CORPORA --out results [--choices 5] [--seeds 3] [--tokens 200000] [--corpora english encyclopedia chinese]

On each corpus word vectors, a model that reads from the left, and two that hide are pre-trained on as many tokens and read on one task; a choice has
`--seeds` seeds of each that no other choice has.  The first is the choice, the others repeat it: an answer agrees where it names the same member, or
where one of the two says that it cannot tell.  Cells are kept: the same command goes on, and more choices add seeds.  About 20 minutes of one thread.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from defaults import TASKS
from glue import _lines

import bertsmith
from bertsmith.downstream.study.members import Reckoner
from bertsmith.downstream.study.picking import picked
from bertsmith.downstream.study.record import Record
from bertsmith.downstream.study.results import Outcome
from bertsmith.downstream.study.rounds import Study
from bertsmith.downstream.study.study_file import read_study
from bertsmith.training.job import silent
from bertsmith.training.run import open_store
from corpora import chinese, encyclopedia, english

ARMS = ("word2vec", "gpt", "roberta", "electra")
ROWS = (400, 400)  # of train and dev
STORES = {"english": english, "encyclopedia": encyclopedia, "chinese": chinese}


def labelled(data: Path, corpus: str) -> list[dict[str, str]]:
    """Topics of English news and of newsgroups, reviews in Chinese."""
    if corpus == "chinese":
        lines = [line.split("\t", 1) for line in _lines(data / "chnsenticorp", "train")[1:] if line.strip()]
        return [{"text": text, "label": label} for label, text in lines]
    return list(TASKS[{"english": "news", "encyclopedia": "newsgroups"}[corpus]][0](data))


def files(data: Path, out: Path, corpus: str) -> None:
    rows = [row for row in labelled(data, corpus) if row["text"].strip()]
    order = np.random.default_rng(0).permutation(len(rows))[: sum(ROWS)]
    for part, which in (("train", order[: ROWS[0]]), ("dev", order[ROWS[0] :])):
        text = "".join(json.dumps(rows[i], ensure_ascii=False) + "\n" for i in which)
        (out / f"{corpus}-{part}.jsonl").write_text(text, encoding="utf-8")


def written(out: Path, corpus: str, store: Path, given: argparse.Namespace) -> Path:
    """The study of a corpus."""
    arms = "\n".join(
        f'[[arm]]\nrecipe = "{name}"\nset = {{"training.batch" = 1024, "layout.length" = 64}}' for name in ARMS
    )
    path = out / f"{corpus}.toml"
    path.write_text(
        f"""[data]
store = "{store.resolve()}"
[budget]
tokens = {given.tokens}
[runs]
seeds = {given.choices * given.seeds}
sizes = ["tiny"]
threads = 1
curve = 2
held_out = 64
[[task]]
name = "topics"
task = "classify"
train = "{corpus}-train.jsonl"
dev = "{corpus}-dev.jsonl"
length = 64
allow_unknown = true
{arms}
[[tuning]]
name = "features"
method = "frozen"
""",
        encoding="utf-8",
    )
    return path


def outcome(file: Path, out: Path) -> Outcome:
    """Of all cells of a study that was made."""
    asked, record = read_study(file), Record.read(out)
    store = open_store(asked.store)
    reckoner = Reckoner(asked, store, record.threads, None, record.members, silent)
    return Study(asked, store, out, reckoner, silent).outcome(reckoner.members())


def of_seeds(found: Outcome, seeds: range) -> Outcome:
    """As if these had been all seeds."""
    some = lambda values: {seed: one for seed, one in values.items() if seed in seeds}
    systems = [
        replace(one, values={name: some(values) for name, values in one.values.items()}) for one in found.systems
    ]
    return replace(found, systems=tuple(systems))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--choices", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=200_000)
    parser.add_argument("--corpora", nargs="+", default=list(STORES), choices=list(STORES))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    agree, untold, of = 0, 0, 0
    for corpus in given.corpora:
        store = STORES[corpus](given.data, given.out)
        files(given.data, given.out, corpus)
        file = written(given.out, corpus, Path(store), given)
        bertsmith.study(file, given.out / f"{corpus}-study", say=print)
        found = outcome(file, given.out / f"{corpus}-study")
        budget = max(found.budgets)
        picks = [
            picked(of_seeds(found, range(at * given.seeds, (at + 1) * given.seeds)), budget)
            for at in range(given.choices)
        ]
        for number, pick in enumerate(picks):
            print(f"{corpus}, choice {number}: {pick['says']}", flush=True)
        first, *again = picks
        for pick in again:
            of += 1
            agree += pick["best"] == first["best"] or not (pick["told"] and first["told"])
            untold += not (pick["told"] and first["told"])
    print(
        f"{agree} of {of} repeated choices agree with the first, of these {untold} because one of the two cannot tell"
    )


if __name__ == "__main__":
    main()
