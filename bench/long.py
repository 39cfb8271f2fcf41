"""Time and memory of long texts: windows (`longformer`) beside full attention and beside transformers' Longformer, the same random weights;
hashed attention in layers that are undone on the way back (`reformer`).

python bench/long.py [--lengths 512 1024 2048 4096 8192 16384] [--size mini] [--window 128] [--mode forward train] [--repeat 3] [--json]
                     [--of windows full transformers reformer] [--layers 8] [--device cuda] [--precision bfloat16]

One text of each length, its first token wide; all in turns, in one process for times.  Answers of ours and theirs are compared before
anything is timed.  Memory is the most that a child process of its own holds beyond what it held before, in MB.  `slope` fits times from
2,048 tokens on by a line in the length, with the share of the variance that it explains.  On a GPU memory is what was allocated beyond
weights and what was there, in this process.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from bertsmith.data.batch import Stream
from bertsmith.deploy.hf import to_hf
from bertsmith.deploy.hf_config import hf_config
from bertsmith.nn.attending import Full
from bertsmith.nn.axial import Axial
from bertsmith.nn.member import build
from bertsmith.nn.positions import Learned
from bertsmith.recipe import find
from bertsmith.training.saving import weights_of

FROM = 2048  # tokens, of the slope


def stream(length: int, vocab: int) -> Stream:
    zeros = torch.zeros(length, dtype=torch.long)
    wide = zeros.bool()
    wide[0] = True
    tokens = torch.randint(10, vocab, (length,), generator=torch.Generator().manual_seed(0))
    of = {"positions": torch.arange(length), "segments": zeros, "query_rank": zeros, "key_rank": zeros}
    return Stream(tokens=tokens, **of, lengths=(length,), wide=wide)


def recipe_of(name: str, given, length: int):
    recipe = find(f"{'reformer' if name == 'reformer' else 'longformer'}:{given.size}")
    model = replace(recipe.model, dropout=0.0, layers=given.layers or recipe.model.layers)
    if name == "reformer":
        model = replace(model, positions=Axial(rows=-(-length // 64), columns=64))
    else:
        attention = Full() if name == "full" else replace(model.attention, window=given.window)
        model = replace(model, positions=Learned(length=length), attention=attention)
    return replace(recipe, model=model, layout=replace(recipe.layout, length=min(recipe.layout.length, length)))


def made(name: str, given, length: int):
    """A function that reads one text."""
    recipe, device = recipe_of(name, given, length), given.device
    torch.manual_seed(0)
    member, seen = build(recipe).to(device), stream(length, recipe.model.vocab).to(device)
    if name != "transformers":
        return lambda: member.model(seen), member
    import transformers

    transformers.utils.logging.set_verbosity_error()
    config = transformers.AutoConfig.for_model(**{**hf_config(recipe), "pad_token_id": 1})
    hf = transformers.LongformerForMaskedLM(config)
    hf.load_state_dict(to_hf(weights_of(member), recipe), strict=False)
    hf = hf.to(device)
    inputs = {"input_ids": seen.tokens[None], "global_attention_mask": seen.wide[None].long()}
    return lambda: hf.longformer(**inputs).last_hidden_state[0], hf


def passing(name: str, mode: str, given, length: int):
    """A function that makes one pass."""
    read, module = made(name, given, length)
    module.train(mode == "train")
    products = partial(torch.autocast, given.device.split(":")[0], torch.bfloat16, given.precision == "bfloat16")

    def forward():
        with torch.no_grad(), products():
            return read()

    def train():
        module.zero_grad(set_to_none=True)
        with products():
            loss = read().float().square().mean()
        loss.backward()

    return train if mode == "train" else forward


def compared(given, length: int) -> float:
    with torch.no_grad():
        said = [made(name, given, length) for name in ("windows", "transformers")]
        one, other = (module.eval() and read() for read, module in said)
    return float((one - other).abs().max())


def times(given, mode: str, length: int) -> dict[str, float]:
    passes = {name: passing(name, mode, given, length) for name in given.of if _asked(given, name, length)}
    best = dict.fromkeys(passes, float("inf"))
    for turn in range(given.repeat + 1):  # the first warms up
        for name, one in passes.items():
            start = clock(given)
            one()
            spent = clock(given) - start
            best[name] = min(best[name], spent) if turn else best[name]
    return best


def clock(given) -> float:
    """Seconds; a GPU has done by then what it was asked."""
    if given.device != "cpu":
        torch.cuda.synchronize()
    return time.process_time() if given.cpu_time else time.perf_counter()


def held(given, name: str, mode: str, length: int) -> float:
    """MB that one pass adds to what a process holds, in a child of its own; on a GPU to what this one has allocated there."""
    if given.device != "cpu":
        one = passing(name, mode, given, length)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        one()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    command = [
        sys.executable,
        __file__,
        "--child",
        name,
        mode,
        str(length),
        "--size",
        given.size,
        "--window",
        str(given.window),
        "--layers",
        str(given.layers),
    ]
    done = subprocess.run([*command, "--threads", str(given.threads)], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def child(given) -> None:
    name, mode, length = given.child
    one = passing(name, mode, given, int(length))
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _status("VmRSS")
    one()
    print((_status("VmHWM") - before) / 1024)


def _status(name: str) -> int:
    """KB, of Linux."""
    return int(re.search(rf"{name}:\s*(\d+)", Path("/proc/self/status").read_text())[1])


def _asked(given, name: str, length: int) -> bool:
    return name != "full" or length <= given.full


def slope(lengths: list[int], seconds: list[float]) -> dict[str, float]:
    """A line through times from FROM tokens on: microseconds a token, and R²."""
    kept = [(a, b) for a, b in zip(lengths, seconds, strict=True) if a >= FROM]
    if len(kept) < 3:
        return {}
    x, y = (np.array(of) for of in zip(*kept, strict=True))
    line = np.polyfit(x, y, 1)
    rest = ((y - np.polyval(line, x)) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    return {"us_per_token": 1e6 * float(line[0]), "r2": float(1 - rest)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 1024, 2048, 4096, 8192, 16384])
    parser.add_argument("--of", nargs="+", default=["windows", "full", "transformers"])
    parser.add_argument("--mode", nargs="+", default=["forward", "train"])
    parser.add_argument("--size", default="mini")
    parser.add_argument("--window", type=int, default=128)
    parser.add_argument("--layers", type=int, default=0, help="0: the size's")
    parser.add_argument("--full", type=int, default=8192, help="full attention up to this length")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu-time", action="store_true", help="of the process, where others share the machine")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.child:
        child(given)
        return
    apart = compared(given, min(given.lengths)) if "transformers" in given.of else None
    found = {"apart": apart, "size": given.size, "window": given.window, "precision": given.precision, "rows": []}
    for mode in given.mode:
        for length in given.lengths:
            for name, seconds in times(given, mode, length).items():
                row = {
                    "mode": mode,
                    "length": length,
                    "of": name,
                    "seconds": seconds,
                    "mb": held(given, name, mode, length),
                }
                found["rows"].append(row)
                if not given.json:
                    print(f"{mode:8} {length:6,} {name:13} {seconds * 1e3:9.1f} ms {row['mb']:9.1f} MB", flush=True)
    for mode in given.mode:
        for name in given.of:
            rows = [row for row in found["rows"] if (row["mode"], row["of"]) == (mode, name)]
            line = slope([row["length"] for row in rows], [row["seconds"] for row in rows])
            found.setdefault("slopes", {})[f"{mode} {name}"] = line
            if line and not given.json:
                print(f"{mode} {name}: {line['us_per_token']:.2f} us a token from {FROM:,} on, R² {line['r2']:.4f}")
    if given.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
