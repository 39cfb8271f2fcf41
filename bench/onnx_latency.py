"""How long one text takes: the model itself in torch, its ONNX graph in float32 and in eight bits, in turns; a classifier with random weights.

    python bench/onnx_latency.py [--member bert:mini bert:base] [--length 16 128] [--repeat 200] [--threads 1] [--json FILE]

Median and 99th percentile in milliseconds at batch 1, sizes in MB, and what eight bits lose; the graph is compared with the model first.
With one thread the processor's milliseconds are those of an idle machine, on a busy one, too.
"""

import argparse
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import torch

from bertsmith.deploy.onnx import compared, int8
from bertsmith.deploy.onnx.graphs import encoder_graph
from bertsmith.deploy.onnx.runtime import Session, trace
from bertsmith.downstream.model import Loaded
from bertsmith.nn.member import build
from bertsmith.objectives.supervised import Classify
from bertsmith.recipe import find
from bertsmith.text.tokenizer import Tokenizer

TASK = {"kind": "classify", "labels": ["no", "yes"], "mean": 0.0, "scale": 1.0, "pairs": False}


def classifier(name: str, texts: list[str], at: Path) -> Loaded:
    """With the vocabulary of its paper, of which the tokenizer has some."""
    recipe = replace(find(name), objective=Classify(classes=2))
    torch.manual_seed(0)
    return Loaded(
        member=build(recipe).eval(),
        recipe=recipe,
        tokenizer=Tokenizer.train("wordpiece:4000", texts, True),
        path=at / "steps" / "step-00000001",
        kind="finetune",
        task={**TASK, "length": recipe.layout.length, "settings": {}},
        config={},
    )


def ways_of(loaded: Loaded, folder: Path, texts: list[str], length: int) -> tuple[dict, dict]:
    """({way: what answers one text of `length` tokens}, what was compared)."""
    encoded = compared.sequences(loaded, texts)
    runs = {"float32": Session(folder / "model.onnx"), "int8": Session(folder / "model.int8.onnx")}
    ours = compared.ours(loaded, encoded, None, ("logits",))
    theirs = {name: compared.theirs(run, encoded) for name, run in runs.items()}
    apart, _ = compared.apart(
        ours, theirs["float32"], lambda: compared.ours(compared.doubled(loaded), encoded, None, ())
    )
    one = replace(
        encoded, tokens=encoded.tokens[:length], segments=encoded.segments[:length], lengths=np.array([length])
    )
    inputs = compared.inputs_of(one, np.array([0]))

    @torch.inference_mode()
    def torch_() -> None:
        stream = one.batch(np.array([0])).input.to("cpu")
        loaded.member.logits(stream, torch.zeros(1, dtype=torch.long))

    ways = {"torch": torch_, **{name: lambda run=run: run(inputs) for name, run in runs.items()}}
    return ways, {"largest_difference": apart["logits"], "lost": int8.lost(theirs["float32"], theirs["int8"])["logits"]}


def measured(ways: dict, repeat: int) -> dict[str, tuple[list[float], list[float]]]:
    """Milliseconds of each, by the clock and of the processor, one after the other; the first three rounds are not counted."""
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in ways}
    for turn in range(repeat + 3):
        for name, way in ways.items():
            begun = time.perf_counter(), time.process_time()
            way()
            ended = time.perf_counter(), time.process_time()
            for some, one, other in zip(found[name], begun, ended, strict=True):
                some += [1000 * (other - one)] if turn >= 3 else []
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--member", nargs="+", default=["bert:mini"])
    parser.add_argument("--length", nargs="+", type=int, default=[16, 128])
    parser.add_argument("--repeat", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    texts = [line for text in topics.values() for line in text.split("\n") if len(line.split()) > 4][:100]
    rows = []
    for name in asked.member:
        with tempfile.TemporaryDirectory() as folder:
            at = Path(folder)
            loaded = classifier(name, texts, at)
            trace(encoder_graph(loaded, None), loaded.recipe.model.width, at / "model.onnx")
            int8.quantised(at / "model.onnx", at / "model.int8.onnx")
            sizes = [(at / file).stat().st_size / 1e6 for file in ("model.onnx", "model.int8.onnx")]
            for length in asked.length:
                ways, about = ways_of(loaded, at, texts, length)
                times = measured(ways, asked.repeat)
                figures = {
                    way: {"median": np.median(ms), "p99": np.quantile(ms, 0.99), "processor": np.median(cpu)}
                    for way, (ms, cpu) in times.items()
                }
                row = {
                    "member": name,
                    "length": length,
                    "ms": figures,
                    "mb": sizes,
                    "load": os.getloadavg()[0],
                    **about,
                }
                rows.append(row)
                said = "  ".join(
                    f"{way} " + ", ".join(f"{what} {number:.2f}" for what, number in numbers.items())
                    for way, numbers in figures.items()
                )
                print(
                    f"{name:12} {length:4} tokens  ms: {said}   MB {sizes[0]:.1f} -> {sizes[1]:.1f}  load {row['load']:.1f}"
                )
    if asked.json:
        asked.json.write_text(json.dumps({"threads": asked.threads, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
