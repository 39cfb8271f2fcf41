"""ModernBERT: training steps beside transformers on the same weights and tokens, layers that see a window, and its loader with ramps.

    python bench/modern.py [step] [layers] [loader] --text FILE … [--sizes 17m base] [--tokens 4096] [--threads 2] [--repetitions 5]
                           [--cpu-time] [--json FILE]

step: one update (forward, backward, clip, fused AdamW) of documents as long as those of FILE are, 1,024 tokens at most; nothing is dropped on
either side.  Theirs is padded, for it has no unpadding without a GPU's kernels: to the longest, by two kinds of attention; "by length": rows of
about one length in passes of `--rows`, whose gradients are added up.  Its head reads hidden tokens alone (`sparse_prediction`), as ours.  Losses
and gradients are compared before anything is timed.
layers: one layer of the size's width, whole and with a window of 64 to either side, forward and backward, by the length of one text.
loader: tokens a second that one thread makes, by the time that it ran: without ramps, and with masks that fall, rows and updates that grow.
Ratios are medians over turns of theirs to ours; `--cpu-time` counts the time that the process ran, where others share the machine.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from harness import commit, cpu, product, record, row, say, taking_turns
from step import Bench, Ours, padded
from torch.nn.utils import clip_grad_norm_

from bertsmith.config import override
from bertsmith.data.batch import Batch, Stream, Target
from bertsmith.data.loader import Loader
from bertsmith.data.text import feed_of
from bertsmith.deploy.hf import to_hf
from bertsmith.deploy.hf_config import hf_config
from bertsmith.nn.attending import Full
from bertsmith.nn.member import build
from bertsmith.recipe import Recipe, find
from bertsmith.text.prepare import prepare
from bertsmith.text.store import Store
from bertsmith.training.precision import Precision
from bertsmith.training.saving import weights_of

LENGTH = 1024
RATE = 0.3
ORDINARY = 50_000  # tokens below the special ones, of which theirs learns nothing about padding
SETS = ["model.block.dropout_mixed=null", "schedule.optimizer=adamw", "schedule.lr=1e-5", f"layout.length={LENGTH}"]
SETS += ["schedule.ramps.batch=1.0"]
RAMPS = ["schedule.ramps.mask_rate=0.15", "schedule.ramps.lengths=[[128, 0.5], [512, 0.8]]"]
RAMPS += ["schedule.ramps.batch=0.1667", "schedule.ramps.batch_until=0.5"]
STEPS = 48  # of a loader


def recipe_of(size: str, *sets: str) -> Recipe:
    return override(find(f"modernbert:{size}"), [*SETS, *sets])


def bench_of(size: str, store: Store, tokens: int) -> Bench:
    """Documents in the order in which training reads them, as many as hold so many tokens."""
    plan = recipe_of(size).layout.plan(store.train, store.vocab, 0, 0)
    lengths = np.asarray(plan.lengths)[plan.order]
    count = int(np.searchsorted(np.cumsum(lengths), tokens)) + 1
    name = f"modernbert:{size}, {count} documents, mean {lengths[:count].mean():.0f}, longest {lengths[:count].max()}"
    return Bench(name, size, recipe_of(size).model.vocab, tuple(map(int, lengths[:count])), "token")


def batch_of(bench: Bench) -> Batch:
    """Random tokens, RATE of each document's are asked."""
    generator, n = np.random.default_rng(1), sum(bench.lengths)
    tokens, zeros = generator.integers(5, ORDINARY, n), np.zeros(n, np.int64)
    starts = np.cumsum([0, *bench.lengths[:-1]])
    asked = [
        start + np.sort(generator.permutation(length)[: max(1, round(RATE * length))])
        for start, length in zip(starts, bench.lengths, strict=True)
    ]
    places = np.concatenate([np.arange(length) for length in bench.lengths])
    ranks = {"segments": zeros, "query_rank": zeros, "key_rank": zeros}
    stream = Stream(tokens=tokens, positions=places, **ranks, lengths=bench.lengths)
    at = np.concatenate(asked)
    return Batch(input=stream, targets={"token": Target(at=at[:, None], labels=tokens[at])})


def passes_of(batch: Batch, rows: int | None) -> list[dict[str, torch.Tensor]]:
    """What theirs reads: all in one pass, or rows of about one length together."""
    whole, lengths = padded(batch, "token", max(batch.input.lengths)), np.array(batch.input.lengths)
    if rows is None:
        return [whole]
    order = np.argsort(lengths, kind="stable")
    some = [order[at : at + rows] for at in range(0, len(order), rows)]
    return [{name: x[part][:, : lengths[part].max()].contiguous() for name, x in whole.items()} for part in some]


class Theirs:
    def __init__(self, recipe: Recipe, state: dict, passes: list[dict[str, torch.Tensor]], attention: str):
        import transformers

        config = transformers.AutoConfig.for_model(**hf_config(recipe))
        config.sparse_prediction, config._attn_implementation = True, attention
        self.model, self.passes = transformers.ModernBertForMaskedLM(config).train(), passes
        missing = self.model.load_state_dict(to_hf(state, recipe), strict=False)
        assert not missing.unexpected_keys and {*missing.missing_keys} <= {"decoder.weight"}
        self.model.tie_weights()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5, fused=True)
        counts = [int((part["labels"] != -100).sum()) for part in passes]
        self.shares = [count / sum(counts) for count in counts]

    def backward(self) -> float:
        total = 0.0
        for part, share in zip(self.passes, self.shares, strict=True):
            loss = self.model(**part).loss * share
            loss.backward()
            total += float(loss.detach())
        return total

    def __call__(self) -> None:
        self.backward()
        clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()


def kinds(given) -> dict[str, tuple[str, int | None]]:
    """Of each way of theirs: its attention, and rows of a pass."""
    found = {"sdpa": ("sdpa", None), "eager": ("eager", None), "by length": ("sdpa", given.rows)}
    return {name: found[name] for name in given.theirs}


def check_equal(recipe: Recipe, state: dict, batch: Batch, ways: dict) -> dict[str, float]:
    """How far losses and gradients of both sides are apart, relative; 1e-5 and 1e-4 at most in float32."""
    ours = build(recipe).train()
    ours.load_state_dict(state)
    mine = ours(batch.to("cpu"))["token"] / len(batch.targets["token"])
    mine.backward()
    gradients = to_hf({name: p.grad for name, p in weights_of(ours).items()}, recipe)
    found = {}
    for name, (kind, rows) in ways.items():
        theirs = Theirs(recipe, state, passes_of(batch, rows), kind)
        loss, own = theirs.backward(), dict(theirs.model.named_parameters())
        apart = sum(float((own[n].grad - g).double().square().sum()) for n, g in gradients.items() if n in own)
        size = sum(float(g.double().square().sum()) for g in gradients.values())
        found |= {name: abs(float(mine.detach()) - loss) / loss, f"{name}, slopes": (apart / size) ** 0.5}
        assert found[name] < 1e-5 and found[f"{name}, slopes"] < 1e-4, found
    return found


def flops(recipe: Recipe, bench: Bench) -> float:
    """Useful floating-point operations of a step: 6 per weight and token, 12 d for each pair of tokens that see each other, the head where it
    is asked."""
    model, lengths = recipe.model, np.array(bench.lengths)
    weights = model.layers * (4 * model.width**2 + 3 * model.width * model.hidden)
    seen = 0
    for layer in range(model.layers):
        window = model.attention.window_of(layer)
        seen += int((lengths * np.minimum(lengths, lengths if window is None else 2 * window + 1)).sum())
    asked = sum(max(1, round(RATE * length)) for length in bench.lengths)
    return 6 * weights * lengths.sum() + 12 * model.width * seen + 6 * asked * (model.vocab + model.width) * model.width


def steps(given, store: Store, peak: float) -> list[dict]:
    found = []
    for size in given.sizes:
        recipe, bench = recipe_of(size), bench_of(size, store, given.tokens)
        batch = batch_of(bench)
        torch.manual_seed(0)
        state = build(recipe).state_dict()
        apart = check_equal(recipe, state, batch, kinds(given))
        ways = {"ours": Ours(recipe, state, batch, Precision.choose("float32", torch.device("cpu")))}
        for name, (kind, rows) in kinds(given).items():
            ways[name] = Theirs(recipe, state, passes_of(batch, rows), kind)
        load, seconds = os.getloadavg()[0], taking_turns(ways, given.repetitions, clock(given))
        paired = {
            name: statistics.median(a / b for a, b in zip(values, seconds["ours"], strict=True))
            for name, values in seconds.items()
            if name != "ours"
        }
        share = flops(recipe, bench) / min(seconds["ours"]) / 1e9 / peak
        padding = 1 - sum(bench.lengths) / (len(bench.lengths) * max(bench.lengths))
        about = {"share_of_peak": round(share, 3), "padding": round(padding, 3), "load": load, "apart": apart}
        found.append(row(bench.name, seconds, sum(bench.lengths), "tokens/s", **about, paired=paired))
        say(found[-1])
        print(
            f"  medians of ratios: {', '.join(f'{value:.2f} x {name}' for name, value in paired.items())}", flush=True
        )
    return found


def layers(given) -> list[dict]:
    """Milliseconds of a layer, and nanoseconds for each of its tokens."""
    found = []
    for size in given.sizes[:1]:
        near = override(find(f"modernbert:{size}"), ["model.layers=1", "model.vocab=64", "model.attention.every=null"])
        whole = replace(near, model=replace(near.model, attention=Full(bias=False)))
        bodies = {"window": near.model.build().train(), "whole": whole.model.build().train()}
        for length in given.lengths:
            zeros = torch.zeros(length, dtype=torch.long)
            ranks = {"segments": zeros, "query_rank": zeros, "key_rank": zeros}
            text = Stream(tokens=zeros, positions=torch.arange(length), **ranks, lengths=(length,))
            x = torch.randn(length, near.model.width, requires_grad=True)

            def learn(body, x=x, text=text):
                body.layers[0](x, text, body.positions).square().mean().backward()

            ways = {name: lambda body=body, learn=learn: learn(body) for name, body in bodies.items()}
            seconds = taking_turns(ways, given.repetitions, clock(given))
            best = {name: min(values) for name, values in seconds.items()}
            each = {name: 1e9 * value / length for name, value in best.items()}
            found.append({"bench": f"layer of {size}", "length": length, "seconds": best, "ns_per_token": each})
            print(
                f"layer of {size}, {length:6,} tokens: {'  '.join(f'{n} {1e3 * s:.1f} ms, {each[n]:,.0f} ns a token' for n, s in best.items())}",
                flush=True,
            )
    return found


def loaders(given, store: Store) -> list[dict]:
    found = []
    for name, sets in (("without ramps", []), ("with ramps", RAMPS)):
        recipe = recipe_of("base", f"training.batch={given.batch}", *sets).with_vocab(store.vocab)
        feed, rates = feed_of(recipe, store, 0), []
        if hasattr(feed, "lasts"):
            feed.lasts(STEPS)
        for _ in range(given.repetitions + 1):  # the first warms up
            begun = time.thread_time()
            tokens = sum(step.tokens for step in islice(iter(Loader(feed, workers=0)), STEPS))
            rates.append(tokens / (time.thread_time() - begun))
        found.append(
            {"bench": f"loader {name}", "tokens": tokens, "rate": statistics.median(rates[1:]), "rates": rates[1:]}
        )
        print(f"loader {name}: {found[-1]['rate']:,.0f} tokens/s of {tokens:,}", flush=True)
    return found


def clock(given):
    now = time.process_time if given.cpu_time else time.perf_counter

    def timed(work) -> float:
        begun = now()
        work()
        return now() - begun

    return timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["step", "layers", "loader"], metavar="step|layers|loader")
    parser.add_argument("--text", nargs="+", required=True, help="files of text, blank lines between documents")
    parser.add_argument("--sizes", nargs="+", default=["17m", "base"])
    parser.add_argument("--tokens", type=int, default=4096, help="of an update")
    parser.add_argument("--rows", type=int, default=4, help="of a pass of theirs by length")
    parser.add_argument("--theirs", nargs="+", default=["sdpa", "eager", "by length"], metavar="sdpa|eager|'by length'")
    parser.add_argument("--lengths", type=int, nargs="+", default=[2048, 4096, 8192])
    parser.add_argument("--batch", type=int, default=1 << 17, help="tokens of an update of the loader")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--json", type=Path, help="a file for all figures, in the place of bench/results/modern.json")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    peak = max(product(torch.float32, kind) for kind in ("medium", "highest"))
    about = {"cpu": cpu(), "threads": given.threads, "load": os.getloadavg()[0], "peak": peak, "commit": commit()}
    print(about, flush=True)
    torch.set_float32_matmul_precision("medium")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        prepare(given.text, f"{folder}/store", tokenizer="bpe:8000")
        store = Store.open(f"{folder}/store")
        if "step" in given.what:
            rows += steps(given, store, peak)
        if "layers" in given.what:
            rows += layers(given)
        if "loader" in given.what:
            rows += loaders(given, store)
    if given.json is None:
        print(record("modern", {**about, "cpu_time": given.cpu_time}, rows))
    else:
        given.json.write_text(json.dumps({**about, "cpu_time": given.cpu_time, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
