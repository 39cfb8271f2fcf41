"""One fine-tuned model made smaller in many ways: score, megabytes and milliseconds of each, judged on the same rows.

python experiments/smaller.py CORPORA MODEL --out results [--rows 2000] [--epochs 3] [--threads 1]

The same command again goes on where it was stopped.  MODEL (a folder of Hugging Face format, such as MiniLM) learns SST-2.  Half its layers
are left by: `distil` (spread, learning labels and what the whole says), `pruned` (those that matter least go, then labels alone), `stages` (the
layers of `pruned`, which learn the whole's layers first and then what it says: TinyBERT's two stages).  `aware` is tuned on the grid of eight bits (Q8BERT)
before it is written in int8.  Accuracy on dev rows chooses epochs, test rows judge; latency is that of one text at a time, all models in turns.
At last `compress --tolerance 1` is asked for a model that loses more: it must refuse, and leave nothing.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from seven_tasks import tasks

import bertsmith
from bertsmith.downstream.judges import OfTask, latencies, parameters_of, size_of
from bertsmith.downstream.predict import rows_of
from bertsmith.errors import InputError
from bertsmith.tasks import kinds
from bertsmith.tasks.given import source

ANY = 100.0  # per cent, of what is written whatever it loses


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("model", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--rows", type=int, default=2000)
    arguments.add_argument("--epochs", type=float, default=3)
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    parts = tasks(given.data, given.out / "tasks", given.rows, 400, 1000, only=("sst2",))["sst2"]
    files = {"train": parts.train, "dev": parts.dev}
    settings = ["length=64", "precision=auto"]

    def at(name: str) -> Path:
        return given.out / name

    def tuned(name: str, model: Any, *more: str, epochs: float = given.epochs, **options: Any) -> Path:
        how = {"task": "classify", "out": at(name), "epochs": epochs, "threads": given.threads, "resume": True}
        if not (at(name) / "result.json").exists():
            bertsmith.finetune(model, **files, **how, set=[*settings, *more], **options)
        return at(name)

    def smaller(name: str, model: Path, method: str, **options: Any) -> Path:
        if not at(name).exists():
            bertsmith.compress(model, at(name), method=method, **files, tolerance=ANY, **options)
        return at(name)

    whole = tuned("whole", given.model)
    made = {"whole": whole}
    made["distil, half its layers"] = smaller("distil", whole, "distil", epochs=given.epochs)
    half = smaller("half", whole, "prune-layers", amount=0.5)
    made["pruned to half its layers"] = half
    made["pruned, then tuned"] = tuned("pruned", half)
    made["in two stages"] = tuned("stages", half, "taught.epochs=5", epochs=5 + given.epochs, teacher=[str(whole)])
    made["a quarter of the heads pruned"] = smaller("heads", whole, "prune-heads", amount=0.25)
    made["int8"] = smaller("int8", whole, "int8")
    made["int8, static"] = smaller("static", whole, "int8-static")
    made["int8, learned for it"] = smaller("learned", tuned("aware", given.model, method="int8"), "int8")
    made["distil, then int8"] = smaller("both", at("distil"), "int8")
    made["low rank, half its numbers"] = smaller("rank", whole, "low-rank", amount=0.5)

    loaded = {name: bertsmith.load(path) for name, path in made.items()}
    first = loaded["whole"]
    kind = kinds.of_task(first.task)
    columns = (first.task or {}).get("columns") or {}
    asked = source(parts.test, "test", columns, fields=kind.fields, pair=kind.pair, strict=False)
    rows = rows_of(first, kind, asked, None, None, None, lambda line: None, labelled=True)
    judge = OfTask(loaded=first, kind=kind, dev=rows, train=rows, file=parts.test)
    times = latencies(list(loaded.values()), judge.streams())
    for (name, one), time in zip(loaded.items(), times, strict=True):
        score = judge.measured(one)["score"]
        half_width = 1.96 * float(np.sqrt(score * (1 - score) / 1000))
        line = {"model": name, "accuracy": round(score, 3), "±": round(half_width, 3)}
        line |= {"M parameters": round(parameters_of(one) / 1e6, 2), "MB": round(size_of(one) / 1e6, 1)}
        print(json.dumps(line | {what: round(ms, 2) for what, ms in time.items()}, ensure_ascii=False), flush=True)
    try:
        bertsmith.compress(whole, at("refused"), method="prune-heads", amount=0.9, **files, tolerance=1.0)
    except InputError as error:
        print(json.dumps({"refused": str(error), "left": at("refused").exists()}), flush=True)


if __name__ == "__main__":
    main()
