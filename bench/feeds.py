"""Whether what a member reads is made faster than it is read: sound, linked entities, several tasks over one text.

    python bench/feeds.py audio-bert:tiny=STORE ernie-thu:tiny=STORE … [--updates 8] [--repeat 3] [--set FIELD=VALUE]

Each member reads its own kind of store.  "loader" are tokens (frames of sound) a second that one thread makes, by the seconds that it ran;
"step" those that one thread learns from, forward, backward and update, in turns with it.
"""

import argparse
import json
import os
import time
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from bertsmith.config import override
from bertsmith.data.loader import Loader
from bertsmith.data.text import feed_of
from bertsmith.nn.member import build
from bertsmith.recipe import find
from bertsmith.training.optim import build_optimizer, set_rate
from bertsmith.training.precision import Precision
from bertsmith.training.run import open_store
from bertsmith.training.step import train_step


def measured(name: str, folder: Path, given: argparse.Namespace) -> dict:
    store = open_store(folder)
    recipe = override(find(name), given.set).with_vocab(store.vocab)
    loader, member = Loader(feed_of(recipe, store, 0), workers=0), build(recipe)
    optimizer, precision = build_optimizer(member, recipe.schedule), Precision.choose("auto", torch.device("cpu"))
    set_rate(optimizer, 1e-5)
    made, learned = [], []
    for _ in range(given.repeat + 1):  # the first warms up
        begun = time.thread_time()
        steps = list(islice(iter(loader), given.updates))
        made.append(sum(step.tokens for step in steps) / (time.thread_time() - begun))
        begun = time.thread_time()
        with precision.policy():
            for number, step in enumerate(steps, 1):
                train_step(
                    member, step.batches, step.counts, optimizer, precision=precision, clip=1.0, seed=0, step=number
                )
        learned.append(sum(step.tokens for step in steps) / (time.thread_time() - begun))
    loaded, stepped = float(np.median(made[1:])), float(np.median(learned[1:]))
    return {"member": name, "loader": round(loaded), "step": round(stepped), "times": round(loaded / stepped, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("members", nargs="+", metavar="MEMBER=STORE")
    parser.add_argument("--updates", type=int, default=8)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for pair in given.members:
        name, folder = pair.split("=", 1)
        print(json.dumps({**measured(name, Path(folder), given), "load": round(os.getloadavg()[0], 2)}), flush=True)


if __name__ == "__main__":
    main()
