"""Writing beside transformers' `generate`, on the same random weights: new tokens a second, batches of 1 and 32 ragged texts.

python bench/generate.py [--member gpt2:mini gpt2:small bart:mini t5:mini] [--new 64] [--source 64] [--beam 1 4] [--precision float32 bfloat16] [--repeat 3]

Both write `--new` tokens whatever they are: nothing ends a text.  In turns, best of `--repeat`; B keeps its keys and values, too.
"""

import argparse
import json
import os
import time
from contextlib import nullcontext

import numpy as np
import torch

from bertsmith.data.decoded import decoded
from bertsmith.data.denoise import seen
from bertsmith.deploy.hf import to_hf
from bertsmith.deploy.hf_config import hf_config
from bertsmith.downstream.search import How, Rules, write
from bertsmith.nn.member import build
from bertsmith.nn.modules.writing import Causal, Decoder
from bertsmith.recipe import find
from bertsmith.training.saving import weights_of


def sources(count: int, length: int, vocab: int) -> list[list[int]]:
    """Of `length` tokens on average, from a quarter of it on."""
    draw = np.random.default_rng(0)
    lengths = [length] if count == 1 else draw.integers(length // 4, 2 * length - length // 4 + 1, count)
    return [draw.integers(10, vocab, n).tolist() for n in lengths]


def ours(member, rows, how, start):
    flat, lengths = np.concatenate(rows).astype(np.int32), np.array([len(row) for row in rows])
    if hasattr(member.model, "decoder"):
        writer = Decoder(member, seen(flat, lengths).to("cpu"), start)
    else:
        writer = Causal(member, decoded(flat, flat, lengths)[0].to("cpu"))
    return write(writer, how, Rules(size=member.model.config.vocab, end=-1), range(len(rows)))


def theirs(hf, rows, how, left, start):
    longest = max(map(len, rows))
    blank = [[0] * (longest - len(row)) for row in rows]
    padded = torch.tensor([b + row if left else row + b for b, row in zip(blank, rows, strict=True)])
    real = torch.tensor([[0] * len(b) + [1] * len(row) if left else [1] * len(row) + [0] * len(b) for b, row in zip(blank, rows, strict=True)])  # fmt: skip
    return hf.generate(
        padded,
        attention_mask=real,
        max_new_tokens=how.limit,
        min_new_tokens=how.limit,
        do_sample=False,
        num_beams=how.beam,
        pad_token_id=0,
        **({} if left else {"decoder_start_token_id": start}),
    )


def main() -> None:
    import transformers

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--member", nargs="+", default=["gpt2:mini", "gpt2:small"])
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--source", type=int, default=64)
    parser.add_argument("--beam", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    transformers.utils.logging.set_verbosity_error()
    for name in given.member:
        recipe = find(name)
        torch.manual_seed(0)
        member = build(recipe).eval()
        config = transformers.AutoConfig.for_model(**hf_config(recipe))
        hf = getattr(transformers, config.architectures[0])(config).eval()
        hf.load_state_dict(to_hf(weights_of(member), recipe), strict=False)
        hf.tie_weights()
        start = getattr(hf.config, "decoder_start_token_id", None) or 0
        decodes = hasattr(member.model, "decoder")
        for precision in given.precision:
            cast = torch.autocast("cpu", torch.bfloat16) if precision == "bfloat16" else nullcontext()
            peer = hf.to(torch.bfloat16) if precision == "bfloat16" else hf
            for batch in given.batch:
                rows = sources(batch, given.source, recipe.model.vocab)
                for beam in given.beam:
                    how, best = How(limit=given.new, beam=beam), {"ours": 1e9, "B": 1e9}
                    busy = dict(best)  # the processor's seconds: what a shared machine leaves comparable
                    for _ in range(given.repeat):
                        for who in best:
                            begun, since = time.perf_counter(), time.process_time()
                            with torch.no_grad(), cast if who == "ours" else nullcontext():
                                ours(member, rows, how, start) if who == "ours" else theirs(
                                    peer, rows, how, not decodes, start
                                )
                            best[who] = min(best[who], time.perf_counter() - begun)
                            busy[who] = min(busy[who], time.process_time() - since)
                    rates = {who: round(batch * given.new / seconds, 1) for who, seconds in best.items()}
                    found = {"member": name, "precision": precision, "batch": batch, "beam": beam, **rates}
                    times = {"times": best["B"] / best["ours"], "times_cpu": busy["B"] / busy["ours"]}
                    found |= {name: round(value, 2) for name, value in times.items()}
                    print(json.dumps({**found, "load": os.getloadavg()[0]}), flush=True)


if __name__ == "__main__":
    main()
