"""Training steps: masked language modelling and fine-tuning, beside transformers on the same weights and tokens.

    python bench/step.py [--threads 2] [--repetitions 5] [--only mini]

B: transformers at its best: bfloat16 autocast, scaled-dot-product attention, fused AdamW, padded to the longest of the batch, no dropout.
D: what a user gets without asking: float32, padded to the limit, dropout 0.1; D0: that without dropout.
"""

import argparse
import os
from dataclasses import dataclass

import numpy as np
import torch
from harness import machine, record, row, say, taking_turns
from torch.nn.utils import clip_grad_norm_
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification

from bertsmith.config import override
from bertsmith.data.batch import Batch, Stream, Target
from bertsmith.deploy.hf import to_hf
from bertsmith.deploy.hf_config import hf_config
from bertsmith.nn.member import build
from bertsmith.objectives.predict import Predict, Tokens
from bertsmith.objectives.supervised import Classify
from bertsmith.recipe import Recipe, find
from bertsmith.training.optim import build_optimizer
from bertsmith.training.precision import Precision
from bertsmith.training.saving import weights_of
from bertsmith.training.step import train_step

CPU = torch.device("cpu")
LIMIT = 128


@dataclass(frozen=True)
class Bench:
    name: str
    size: str
    vocab: int
    lengths: tuple[int, ...]
    task: str  # token or label


def lengths(kind: str, count: int, limit: int = LIMIT) -> tuple[int, ...]:
    """full: all at the limit; wikipedia: half of what padding to the limit takes is padding; short: mean 31."""
    generator = np.random.default_rng(0)
    if kind == "full":
        return (limit,) * count
    if kind == "wikipedia":
        drawn = generator.lognormal(3.9 + np.log(limit / LIMIT), 0.9, 4 * count)
        return tuple(_with_mean(np.clip(drawn, 8, limit).astype(int), limit // 2, count))
    return tuple(_with_mean(np.clip(generator.lognormal(3.2, 0.6, 4 * count), 6, LIMIT).astype(int), 31, count))


def _with_mean(drawn: np.ndarray, mean: int, count: int) -> list[int]:
    """The window of `count` draws whose mean is nearest to `mean`."""
    sums = np.convolve(drawn, np.ones(count), "valid")
    at = int(np.abs(sums / count - mean).argmin())
    return drawn[at : at + count].tolist()


BENCHES = (
    Bench("MLM mini, vocabulary 30,522, full rows", "mini", 30522, lengths("full", 32), "token"),
    Bench("MLM mini, vocabulary 8,192, full rows", "mini", 8192, lengths("full", 32), "token"),
    Bench("MLM base, full rows", "base", 30522, lengths("full", 8), "token"),
    Bench("MLM base, lengths like Wikipedia's", "base", 30522, lengths("wikipedia", 16), "token"),
    Bench("fine-tuning base, mean length 31 of 128", "base", 30522, lengths("short", 32), "label"),
)


def recipe_of(bench: Bench) -> Recipe:
    recipe = override(find(f"bert:{bench.size}"), ["model.dropout=0.0", "schedule.lr=1e-4"]).with_vocab(bench.vocab)
    objective = Predict(heads=(Tokens(),)) if bench.task == "token" else Classify(classes=2, dropout=0.0)
    return override_objective(recipe, objective)


def override_objective(recipe: Recipe, objective) -> Recipe:
    from dataclasses import replace

    return replace(recipe, objective=objective)


def batch_of(bench: Bench) -> Batch:
    """Random tokens; 15 % of each sequence are asked, or one label for each."""
    generator = np.random.default_rng(1)
    n = sum(bench.lengths)
    starts = np.cumsum([0, *bench.lengths[:-1]])
    tokens, zeros = generator.integers(5, bench.vocab, n), np.zeros(n, np.int64)
    stream = Stream(
        tokens=tokens,
        positions=np.concatenate([np.arange(length) for length in bench.lengths]),
        segments=zeros,
        query_rank=zeros,
        key_rank=zeros,
        lengths=bench.lengths,
    )
    if bench.task == "label":
        target = Target(at=starts[:, None], labels=generator.integers(0, 2, len(starts)))
    else:
        places = [
            start + np.sort(generator.permutation(length)[: max(1, round(0.15 * length))])
            for start, length in zip(starts, bench.lengths, strict=True)
        ]
        at = np.concatenate(places)
        target = Target(at=at[:, None], labels=tokens[at])
    return Batch(input=stream, targets={bench.task: target})


def padded(batch: Batch, task: str, to: int) -> dict[str, torch.Tensor]:
    shape = len(batch.input.lengths), to
    ids, mask = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    labels = torch.full(shape, -100)
    flat = torch.full((len(batch.input.tokens),), -100)
    target = batch.targets[task]
    if task == "token":
        flat[torch.from_numpy(target.at[:, 0])] = torch.from_numpy(target.labels)
    at = 0
    for i, length in enumerate(batch.input.lengths):
        ids[i, :length] = torch.from_numpy(batch.input.tokens[at : at + length])
        mask[i, :length] = 1
        labels[i, :length] = flat[at : at + length]
        at += length
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": labels if task == "token" else torch.from_numpy(target.labels),
    }


class Ours:
    """On the device of `precision`."""

    def __init__(self, recipe: Recipe, state: dict, batch: Batch, precision: Precision):
        self.member, self.batch, self.precision, self.steps = build(recipe).to(precision.device), batch, precision, 0
        self.member.load_state_dict(state)
        self.optimizer = build_optimizer(self.member, recipe.schedule)

    def __call__(self) -> float:
        with self.precision.policy():
            return self.update()

    def update(self) -> float:
        self.steps += 1
        return train_step(
            self.member,
            [self.batch],
            self.batch.counts(),
            self.optimizer,
            precision=self.precision,
            clip=1.0,
            seed=0,
            step=self.steps,
        ).loss


class Theirs:
    """On the device of `inputs`."""

    def __init__(self, recipe: Recipe, state: dict, inputs: dict, bf16: bool, dropout: float, attention: str = "sdpa"):
        config = BertConfig(**{**hf_config(recipe), "hidden_dropout_prob": dropout})
        config.attention_probs_dropout_prob = config.classifier_dropout = dropout
        config._attn_implementation = attention
        kind = BertForMaskedLM if "token" in recipe.objective.weights() else BertForSequenceClassification
        self.device = inputs["input_ids"].device
        self.model, self.inputs, self.bf16 = kind(config).train().to(self.device), inputs, bf16
        missing = self.model.load_state_dict(to_hf(state, recipe), strict=False)
        assert not missing.unexpected_keys and all(
            "decoder" in name or "pooler" in name for name in missing.missing_keys
        )
        self.model.tie_weights()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)

    def backward(self) -> torch.Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            loss = self.model(**self.inputs).loss
        loss.backward()
        return loss.detach()

    def __call__(self) -> torch.Tensor:
        """The loss, which nobody waits for."""
        loss = self.backward()
        clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss


def check_equal(recipe: Recipe, state: dict, batch: Batch, task: str, device: torch.device = CPU) -> None:
    """Losses and gradients of both sides: 1e-5 in float32 on a CPU, 1e-4 on a GPU, 2e-2 in bfloat16."""
    longest = max(batch.input.lengths)
    for bf16, limit in ((False, 1e-5 if device.type == "cpu" else 1e-4), (True, 2e-2)):
        inputs = {name: tensor.to(device) for name, tensor in padded(batch, task, longest).items()}
        with device:
            theirs, ours = Theirs(recipe, state, inputs, bf16, 0.0), build(recipe).train()
        loss = float(theirs.backward())
        ours.load_state_dict(state)
        precision = Precision.choose("bfloat16" if bf16 else "float32", device)
        with precision.autocast():
            mine = ours(batch.to(device))[task] / len(batch.targets[task])
        mine.backward()
        assert abs(float(mine.detach()) - loss) <= limit * abs(loss), (float(mine.detach()), loss)
        names = to_hf({name: p.grad for name, p in weights_of(ours).items()}, recipe)
        found = dict(theirs.model.named_parameters())
        apart = sum(float((found[n].grad - g).square().sum()) for n, g in names.items() if n in found)
        size = sum(float(g.square().sum()) for g in names.values())
        assert (apart / size) ** 0.5 <= limit, (bf16, (apart / size) ** 0.5)


def flops(recipe: Recipe, bench: Bench) -> float:
    """Useful floating-point operations of a step: 6 per weight and token, 12 L d t for attention, the head where it is asked."""
    model, n = recipe.model, sum(bench.lengths)
    weights = model.layers * (4 * model.width**2 + 2 * model.width * model.hidden)
    attention = 12 * model.layers * model.width * sum(length**2 for length in bench.lengths)
    asked = sum(max(1, round(0.15 * length)) for length in bench.lengths) if bench.task == "token" else 0
    return 6 * weights * n + attention + 6 * asked * (model.vocab * model.width + model.width**2)


def run(bench: Bench, repetitions: int, peak: float) -> dict:
    recipe, batch = recipe_of(bench), batch_of(bench)
    torch.manual_seed(0)
    state = build(recipe).state_dict()
    check_equal(recipe, state, batch, bench.task)
    longest = max(bench.lengths)
    ways = {
        "ours": Ours(recipe, state, batch, Precision.choose("auto", CPU)),
        "B": Theirs(recipe, state, padded(batch, bench.task, longest), True, 0.0),
        "D": Theirs(recipe, state, padded(batch, bench.task, LIMIT), False, 0.1),
        "D0": Theirs(recipe, state, padded(batch, bench.task, LIMIT), False, 0.0),
    }
    load = os.getloadavg()[0]
    seconds = taking_turns(ways, repetitions)
    share = flops(recipe, bench) / min(seconds["ours"]) / 1e9 / peak
    found = row(bench.name, seconds, sum(bench.lengths), "tokens/s", share_of_peak=round(share, 3), load=load)
    say(found)
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--threads", type=int, default=os.cpu_count())
    arguments.add_argument("--repetitions", type=int, default=5)
    arguments.add_argument("--only", default="")
    given = arguments.parse_args()
    about = machine(given.threads)
    print({key: about[key] for key in ("cpu", "threads", "load", "peak", "copy")}, flush=True)
    rows = [run(bench, given.repetitions, about["peak"]["bfloat16"]) for bench in BENCHES if given.only in bench.name]
    if not given.only:
        print(record("step", about, rows))


if __name__ == "__main__":
    main()
