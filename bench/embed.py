"""Vectors of short texts (mean length 31, mean over tokens), beside transformers.

    python bench/embed.py [--threads 2]

B: transformers in bfloat16, sorted by length, 32 at a time, padded to the longest.  F: that in float32.  D: float32, as they come.
"""

import argparse
import os

import numpy as np
import torch
from harness import machine, record, row, say, taking_turns
from step import CPU, lengths
from transformers import BertConfig, BertModel

from bertsmith.config import override
from bertsmith.data.batch import Vocab
from bertsmith.deploy.hf import to_hf
from bertsmith.deploy.hf_config import hf_config
from bertsmith.downstream.model import Loaded
from bertsmith.downstream.vectors import pooled
from bertsmith.nn.member import build
from bertsmith.recipe import find
from bertsmith.tasks.kinds import Encoded
from bertsmith.training.precision import Precision

TEXTS, AT_ONCE = 128, 32
SIZES = {
    "base": [],
    "6 x 384": ["model.layers=6", "model.width=384", "model.heads=12", "model.hidden=1536"],
}


def encoded_of() -> Encoded:
    drawn = np.array(lengths("short", TEXTS))
    tokens = np.random.default_rng(0).integers(5, 30522, drawn.sum()).astype(np.int32)
    return Encoded(
        tokens=tokens,
        segments=np.zeros(len(tokens), np.uint8),
        lengths=drawn,
        owner=np.arange(TEXTS),
        places=np.zeros(TEXTS, np.int64),
        reads=np.ones(TEXTS, np.int64),
        rows=TEXTS,
        counts={},
    )


def theirs(model: BertModel, encoded: Encoded, order: np.ndarray, bf16: bool) -> np.ndarray:
    found = np.empty((TEXTS, model.config.hidden_size), np.float32)
    starts = np.cumsum(encoded.lengths) - encoded.lengths
    for at in range(0, TEXTS, AT_ONCE):
        which = order[at : at + AT_ONCE]
        longest = int(encoded.lengths[which].max())
        ids, mask = torch.zeros(len(which), longest, dtype=torch.long), torch.zeros(len(which), longest)
        for i, text in enumerate(which):
            ids[i, : encoded.lengths[text]] = torch.from_numpy(
                encoded.tokens[starts[text] : starts[text] + encoded.lengths[text]].astype(np.int64)
            )
            mask[i, : encoded.lengths[text]] = 1
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        found[which] = ((hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)).numpy()
    return found


def run(size: str, settings: list[str], repetitions: int, peak: float) -> dict:
    recipe = override(find("bert:base"), [*settings, "model.dropout=0.0"]).with_vocab(30522)
    torch.manual_seed(0)
    member = build(recipe).eval()
    vocab = Vocab(size=30522, pad=0, unk=1, cls=2, sep=3, mask=4, special=(0, 1, 2, 3, 4))
    config = BertConfig(**hf_config(recipe, vocab))
    config._attn_implementation = "sdpa"
    model = BertModel(config, add_pooling_layer=False).eval()
    state = {
        name.removeprefix("bert."): tensor
        for name, tensor in to_hf(member.state_dict(), recipe).items()
        if name.startswith("bert.") and "pooler" not in name
    }
    model.load_state_dict(state)
    encoded, fast = encoded_of(), Precision.choose("auto", CPU)
    loaded = Loaded(member=member, recipe=recipe, tokenizer=None, path=None, kind="pretrain")
    by_length, as_given = np.argsort(-encoded.lengths, kind="stable"), np.arange(TEXTS)
    ways = {
        "ours": lambda: pooled(loaded, encoded, "mean", precision=fast),
        "ours exact": lambda: pooled(loaded, encoded, "mean"),
        "B": lambda: theirs(model, encoded, by_length, True),
        "F": lambda: theirs(model, encoded, by_length, False),
        "D": lambda: theirs(model, encoded, as_given, False),
    }
    want = ways["F"]()
    for name, limit in (("ours exact", 1e-5), ("ours", 2e-2), ("B", 2e-2)):
        apart = np.linalg.norm(ways[name]() - want) / np.linalg.norm(want)
        assert apart <= limit, (name, apart)
    load = os.getloadavg()[0]
    seconds = taking_turns(ways, repetitions)
    model_flops = 2 * sum(p.numel() for n, p in member.model.named_parameters() if n.startswith("layers"))
    share = model_flops * int(encoded.lengths.sum()) / min(seconds["ours"]) / 1e9 / peak
    name = f"embedding, {size}, mean length 31"
    found = row(name, seconds, int(encoded.lengths.sum()), "tokens/s", share_of_peak=round(share, 3), load=load)
    say(found)
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--threads", type=int, default=os.cpu_count())
    arguments.add_argument("--repetitions", type=int, default=5)
    given = arguments.parse_args()
    about = machine(given.threads)
    rows = [run(size, settings, given.repetitions, about["peak"]["bfloat16"]) for size, settings in SIZES.items()]
    print(record("embed", about, rows))


if __name__ == "__main__":
    main()
