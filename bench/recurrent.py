"""An LSTM language model's updates beside a plain loop over torch.nn.LSTM, on the same rows, in turns: tokens a second of both.

python -m bench.recurrent [--updates 30] [--rounds 5] [--width 256] [--units 512] [--vocab 8000] [--threads 1] [--out FILE.json]

Plain: what one writes in an afternoon.  An embedding, nn.LSTM of two layers, the table again as softmax, rows of one length (so that nothing is
packed in vain), the state detached from one row to the next, cross-entropy, clipping, AdamW (fused).  Ours: `lstm` with the same numbers, whose
batches come from a store's layout in columns through the loader.  Both begin with the same weights and read the same tokens; their first losses are
compared before anything is timed.  Time is the processor's, so that a busy machine changes little.
"""

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from bertsmith.config import override
from bertsmith.data.batch import Row
from bertsmith.data.draw import Draw
from bertsmith.data.thread import Thread
from bertsmith.nn.member import build
from bertsmith.recipe import find
from bertsmith.training.optim import build_optimizer, set_rate
from bertsmith.training.precision import Precision
from bertsmith.training.step import train_step


class Plain(nn.Module):
    """Two layers of units, the second as wide as the table; tied, with a bias."""

    def __init__(self, vocab: int, width: int, units: int):
        super().__init__()
        self.table = nn.Embedding(vocab, width)
        self.layers = nn.ModuleList([nn.LSTM(width, units, batch_first=True), nn.LSTM(units, width, batch_first=True)])
        self.bias = nn.Parameter(torch.zeros(vocab))

    def forward(self, tokens, states):
        x, left = self.table(tokens), []
        for layer, state in zip(self.layers, states, strict=True):
            x, state = layer(x, state)
            left.append(tuple(part.detach() for part in state))
        return F.linear(x, self.table.weight, self.bias), left


def rows_of(text: np.ndarray, turn: int, length: int) -> Row:
    """(columns, all) tokens -> the sequences of a turn, which begin with the last token of the turn before."""
    begin = turn * (length - 1)
    some = text[:, begin : begin + length]
    count = len(some)
    zeros = np.zeros(some.size, bool)
    whole = np.zeros(count, np.int64)
    thread = Thread(
        column=np.arange(count), turn=np.full(count, turn), backward=np.zeros(count, bool), stride=length - 1
    )
    return Row(
        tokens=some.ravel().astype(np.int32),
        segments=np.zeros(some.size, np.uint8),
        starts=zeros,
        special=zeros,
        sentences=zeros,
        lengths=np.full(count, length, np.int64),
        labels=whole,
        epoch=whole,
        example=np.arange(count),
        thread=thread,
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, number in (("updates", 30), ("rounds", 5), ("width", 256), ("units", 512), ("vocab", 8000)):
        arguments.add_argument(f"--{name}", type=int, default=number)
    for name, number in (("columns", 32), ("length", 65), ("threads", 1)):
        arguments.add_argument(f"--{name}", type=int, default=number)
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    turns = given.updates * given.rounds + 2
    text = np.random.default_rng(0).integers(0, given.vocab, (given.columns, turns * (given.length - 1) + 1))

    sizes = [f"model.width={given.width}", f"model.hidden={given.units}", "model.dropout=0", "training.batch=999999"]
    recipe = override(find("lstm:mini"), sizes)
    recipe = replace(recipe, model=replace(recipe.model, vocab=given.vocab))
    torch.manual_seed(0)
    member = build(recipe)
    plain = Plain(given.vocab, given.width, given.units)
    with torch.no_grad():
        plain.table.weight.copy_(member.model.tokens.weight)
        for theirs, (ours,) in zip(plain.layers, member.model.layers, strict=True):
            for name, weight in ours.named_parameters():
                getattr(theirs, f"{name}_l0").copy_(weight)
    adam = {"lr": 1e-3, "betas": recipe.schedule.betas, "eps": recipe.schedule.eps, "weight_decay": 0.0}
    optimizers = torch.optim.AdamW(plain.parameters(), fused=True, **adam), build_optimizer(member, recipe.schedule)
    set_rate(optimizers[1], 1e-3)
    precision = Precision(compute="float32", device=torch.device("cpu"), matmul="highest")
    states = [None, None]
    done = {"plain": 0, "ours": 0}

    def plainly() -> float:
        turn, done["plain"] = done["plain"], done["plain"] + 1
        begin = turn * (given.length - 1)
        some = torch.from_numpy(text[:, begin : begin + given.length])
        optimizers[0].zero_grad(set_to_none=True)
        logits, states[:] = plain(some[:, :-1], states)
        loss = F.cross_entropy(logits.flatten(0, 1), some[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(plain.parameters(), recipe.schedule.clip)
        optimizers[0].step()
        return float(loss.detach())

    def ours() -> float:
        turn, done["ours"] = done["ours"], done["ours"] + 1
        row = rows_of(text, turn, given.length)
        spans = recipe.corruption.select(row, Draw(0))
        batch = recipe.corruption.rewrite(row, spans, None, Draw(0))  # type: ignore[arg-type]
        how = {"precision": precision, "clip": recipe.schedule.clip, "seed": 0, "step": turn + 1}
        return train_step(member, [batch], batch.counts(), optimizers[1], **how).loss

    for _ in range(2):
        a, b = plainly(), ours()
        assert abs(a - b) < 1e-4, (a, b)
    found = {"plain": [], "ours": []}
    tokens = given.updates * given.columns * (given.length - 1)
    for _ in range(given.rounds):
        for name, work in (("plain", plainly), ("ours", ours)):
            begun = time.process_time()
            for _ in range(given.updates):
                work()
            found[name].append(tokens / (time.process_time() - begun))
    ratios = [b / a for a, b in zip(found["plain"], found["ours"], strict=True)]
    line = {name: round(statistics.median(values)) for name, values in found.items()}
    line |= {
        "ratio": round(statistics.median(ratios), 3),
        "lowest": round(min(ratios), 3),
        "highest": round(max(ratios), 3),
    }
    line |= {key: value for key, value in vars(given).items() if key != "out"}
    print(json.dumps(line))
    if given.out:
        given.out.write_text(json.dumps(line | {"all": found}) + "\n")


if __name__ == "__main__":
    main()
