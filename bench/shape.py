"""What a token costs as sequences get longer and as the model gets wider, beside transformers at its best (B of bench/step.py).

    python bench/shape.py [--threads 2]

Masked language modelling, 4 layers, vocabulary 8,192; 4,096 tokens a step in sequences of 64 to 4,096 tokens at width 256, and in
sequences of 128 at widths of 64 to 1,024.  Writes bench/results/shape.json and docs/images/cost.png.
"""

import argparse
import os
from dataclasses import replace
from pathlib import Path

import matplotlib
import torch
from harness import machine, record, row, say, taking_turns
from step import CPU, Bench, Ours, Theirs, batch_of, flops, override_objective, padded

from bertsmith.config import override
from bertsmith.nn.member import build
from bertsmith.nn.positions import Learned
from bertsmith.objectives.predict import Predict, Tokens
from bertsmith.recipe import Recipe, find
from bertsmith.training.precision import Precision

matplotlib.use("Agg")
TOKENS = 4096
LENGTHS = (64, 128, 256, 512, 1024, 2048, 4096)
WIDTHS = (64, 128, 256, 512, 768, 1024)
PICTURE = Path(__file__).parent.parent / "docs" / "images" / "cost.png"


def recipe_of(width: int, length: int) -> Recipe:
    sizes = [f"model.width={width}", f"model.heads={max(1, width // 64)}", f"model.hidden={4 * width}"]
    recipe = override(find("bert:mini"), [*sizes, "model.dropout=0.0", "schedule.lr=1e-4"]).with_vocab(8192)
    model = replace(recipe.model, positions=Learned(length=max(512, length)))
    return override_objective(replace(recipe, model=model), Predict(heads=(Tokens(),)))


def run(width: int, length: int, repetitions: int, peak: float) -> dict:
    recipe = recipe_of(width, length)
    bench = Bench(f"width {width}, length {length}", "mini", 8192, (length,) * (TOKENS // length), "token")
    batch, state = batch_of(bench), build(recipe).state_dict()
    ways = {
        "ours": Ours(recipe, state, batch, Precision.choose("auto", CPU)),
        "B": Theirs(recipe, state, padded(batch, "token", length), True, 0.0),
    }
    load = os.getloadavg()[0]
    seconds = taking_turns(ways, repetitions)
    share = flops(recipe, bench) / min(seconds["ours"]) / 1e9 / peak
    shape = {"width": width, "length": length}
    found = row(bench.name, seconds, TOKENS, "tokens/s", share_of_peak=round(share, 3), load=load, **shape)
    say(found)
    return found


def draw(rows: list[dict]) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6), sharey=True)
    for axis, key, other, fixed in zip(axes, ("length", "width"), ("width", "length"), (256, 128), strict=True):
        chosen = sorted((found for found in rows if found[other] == fixed), key=lambda found: found[key])
        for name, style in (("ours", "o-"), ("B", "s--")):
            label = {"ours": "bertsmith", "B": "transformers, at its best"}[name]
            axis.plot([f[key] for f in chosen], [1e6 / f["rate"][name] for f in chosen], style, label=label)
        axis.set(xscale="log", yscale="log", xlabel={"length": "tokens in a sequence", "width": "width"}[key])
        axis.set_xticks([f[key] for f in chosen], [str(f[key]) for f in chosen])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.set_title(f"4 layers, {other} {fixed}", fontsize=10)
    axes[0].set_ylabel("µs a token, one update")
    axes[0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(PICTURE, dpi=110)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--threads", type=int, default=os.cpu_count())
    arguments.add_argument("--repetitions", type=int, default=5)
    given = arguments.parse_args()
    about = machine(given.threads)
    torch.manual_seed(0)
    shapes = [(256, length) for length in LENGTHS] + [(width, 128) for width in WIDTHS if width != 256]
    rows = [run(*shape, given.repetitions, about["peak"]["bfloat16"]) for shape in shapes]
    draw(rows)
    print(record("shape", about, rows))


if __name__ == "__main__":
    main()
