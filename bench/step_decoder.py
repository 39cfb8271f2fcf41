"""Training steps of T5 and BART, beside transformers on the same weights and examples.

    python bench/step_decoder.py [--threads 1] [--repetitions 9] [--only mini]

Rows of 128 random tokens go through the recipe's own corruption.  B: bfloat16 autocast, scaled-dot-product attention, both sides padded to
their longest, no dropout, the optimizer of the same kind: fused AdamW, or torch's AdaFactor over all parameters at once.
"""

import argparse
import os
import statistics
import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from harness import machine, record, row, say, taking_turns, timed
from step import CPU, Ours
from torch.nn.utils import clip_grad_norm_
from transformers import AutoConfig, BartForConditionalGeneration, T5ForConditionalGeneration

from bertsmith.config import override
from bertsmith.data.batch import IGNORE, Batch, Row, Stream, Vocab
from bertsmith.data.draw import Draw
from bertsmith.deploy.hf import to_hf
from bertsmith.deploy.hf_config import hf_config
from bertsmith.nn.member import build
from bertsmith.recipe import Recipe, find
from bertsmith.training.precision import Precision
from bertsmith.training.saving import weights_of

LENGTH = 128
CLASSES = {"t5": T5ForConditionalGeneration, "bart": BartForConditionalGeneration}


@dataclass(frozen=True)
class Bench:
    member: str
    vocab: int
    rows: int
    optimizer: str

    @property
    def name(self) -> str:
        return f"{self.member}, vocabulary {self.vocab:,}, {self.optimizer}"


BENCHES = (
    Bench("t5:mini", 8_000, 64, "adafactor"),
    Bench("t5:mini", 8_000, 64, "adamw"),
    Bench("t5:mini", 32_000, 64, "adafactor"),
    Bench("bart:mini", 8_000, 32, "adamw"),
    Bench("bart:mini", 32_000, 32, "adamw"),
    Bench("t5:base", 32_000, 8, "adafactor"),
    Bench("bart:base", 32_000, 8, "adamw"),
)


def recipe_of(bench: Bench) -> Recipe:
    sets = ["model.dropout=0.0", f"schedule.optimizer={bench.optimizer}", "schedule.lr=1e-3", "schedule.clip=1.0"]
    recipe = override(find(bench.member), sets)
    marks = getattr(recipe.corruption.rewrite, "sentinels", 0)
    return replace(recipe, model=replace(recipe.model, vocab=bench.vocab + marks))


def batch_of(bench: Bench, recipe: Recipe) -> Batch:
    """Rows of random tokens between two specials, a word of 1.4 tokens and a sentence of 20 on average, as the recipe corrupts them."""
    draw, shape = np.random.default_rng(1), (bench.rows, LENGTH)
    special = np.zeros(shape, bool)
    special[:, [0, -1]] = True
    place = np.full(bench.rows, IGNORE)
    clean = Row(
        tokens=draw.integers(10, bench.vocab, shape).astype(np.int32).ravel(),
        segments=np.zeros(special.size, np.uint8),
        starts=((draw.random(shape) < 0.7) & ~special).ravel(),
        special=special.ravel(),
        sentences=((draw.random(shape) < 0.05) & ~special).ravel(),
        lengths=np.full(bench.rows, LENGTH),
        labels=place,
        epoch=np.zeros(bench.rows, np.int64),
        example=np.arange(bench.rows),
    )
    vocab = Vocab(size=bench.vocab, pad=0, unk=1, cls=2, sep=3, mask=4, special=(0, 1, 2, 3, 4))
    return recipe.corruption(clean, vocab, Draw(0))


def padded(stream: Stream, values: np.ndarray, filler: int) -> torch.Tensor:
    """(s, longest): `values` (n,) of each sequence, and filler behind them."""
    parts = torch.from_numpy(values.astype(np.int64)).split(list(stream.lengths))
    return torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True, padding_value=filler)


class Theirs:
    def __init__(self, recipe: Recipe, weights: dict, batch: Batch, bf16: bool):
        """`weights`: under their names."""
        config = AutoConfig.for_model(**hf_config(recipe))
        config._attn_implementation = "sdpa"
        self.model, self.bf16 = CLASSES[recipe.name](config).train(), bf16
        missing = self.model.load_state_dict(weights, strict=False)
        assert not missing.unexpected_keys, missing
        self.model.tie_weights()
        said, asked = batch.output, np.full(len(batch.output.tokens), IGNORE)
        asked[batch.targets["token"].at[:, 0]] = batch.targets["token"].labels
        self.inputs = {
            "input_ids": padded(batch.input, batch.input.tokens, 0),
            "attention_mask": padded(batch.input, np.ones(len(batch.input.tokens)), 0),
            "decoder_input_ids": padded(said, said.tokens, 0),
            "decoder_attention_mask": padded(said, np.ones(len(said.tokens)), 0),
            "labels": padded(said, asked, IGNORE),
        }
        parameters, schedule = self.model.parameters(), recipe.schedule
        if schedule.optimizer == "adafactor":
            self.optimizer = torch.optim.Adafactor(parameters, lr=schedule.lr, foreach=True)
        else:
            self.optimizer = torch.optim.AdamW(parameters, lr=schedule.lr, fused=True)

    def backward(self) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            loss = self.model(**self.inputs, use_cache=False).loss
        loss.backward()
        return loss.detach()

    def __call__(self) -> float:
        loss = self.backward()
        clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss)


def check_equal(recipe: Recipe, state: dict, weights: dict, batch: Batch) -> None:
    """Losses of both sides: 1e-5 in float32, 2e-2 in bfloat16; gradients, whose slopes jump where T5's units begin: 5e-3, 1e-1."""
    for bf16, limit, slopes in ((False, 1e-5, 5e-3), (True, 2e-2, 1e-1)):
        theirs, ours = Theirs(recipe, weights, batch, bf16), build(recipe).train()
        loss = float(theirs.backward())
        ours.load_state_dict(state)
        with Precision.choose("bfloat16" if bf16 else "float32", CPU).autocast():
            mine = ours(batch.to(CPU))["token"] / len(batch.targets["token"])
        mine.backward()
        assert abs(float(mine.detach()) - loss) <= limit * abs(loss), (float(mine.detach()), loss)
        names = to_hf({name: p.grad for name, p in weights_of(ours).items()}, recipe)
        found = dict(theirs.model.named_parameters())
        apart = sum(float((found[n].grad - g).square().sum()) for n, g in names.items() if n in found)
        size = sum(float(g.square().sum()) for n, g in names.items() if n in found)
        assert (apart / size) ** 0.5 <= slopes, (bf16, (apart / size) ** 0.5)


def run(bench: Bench, repetitions: int) -> dict:
    recipe = recipe_of(bench)
    batch = batch_of(bench, recipe)
    torch.manual_seed(0)
    member = build(recipe)
    state, weights = member.state_dict(), to_hf(weights_of(member), recipe)
    check_equal(recipe, state, weights, batch)
    ways = {
        "ours": Ours(recipe, state, batch, Precision.choose("auto", CPU)),
        "B": Theirs(recipe, weights, batch, True),
    }
    load, busy = os.getloadavg()[0], []

    def both(work) -> float:
        begun = time.process_time()
        seconds = timed(work)
        busy.append(time.process_time() - begun)
        return seconds

    seconds = taking_turns(ways, repetitions, both)
    pairs = zip(busy[::2], busy[1::2], strict=True)  # what a shared machine leaves comparable
    tokens = {"read": len(batch.input.tokens), "written": len(batch.output.tokens), "rows": bench.rows}
    found = row(bench.name, seconds, batch.tokens, "tokens/s", load=load, **tokens)
    found["ratio_cpu"] = statistics.median(theirs / ours for ours, theirs in pairs)
    say(found)
    print(f"{'':44} of the processor's seconds: {found['ratio_cpu']:.2f} x B", flush=True)
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--threads", type=int, default=os.cpu_count())
    arguments.add_argument("--repetitions", type=int, default=9)
    arguments.add_argument("--only", default="")
    given = arguments.parse_args()
    about = machine(given.threads)
    print({key: about[key] for key in ("cpu", "threads", "load", "peak", "copy")}, flush=True)
    rows = [run(bench, given.repetitions) for bench in BENCHES if given.only in bench.name]
    if not given.only:
        print(record("step-decoder", about, rows))


if __name__ == "__main__":
    main()
