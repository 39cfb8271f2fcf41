"""Transformer-XL's two claims in small: memory helps on long text, and makes evaluation many times faster than a sliding window.

    python experiments/long_memory.py CORPORA --out results [--tokens 3000000] [--memories 0 64 256] [--seeds 0]

Tiny members on novels that differ in `model.memory.length` alone.  Each is evaluated on held-out text with several attention lengths: "cached" in
segments of 64 tokens with so much memory, "sliding" with one forward pass over so many tokens for every token that is asked (few are
asked: the rest would take hours).  Nats a token, and tokens/s of both on the same text.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from glue import _lines

import bertsmith
from bertsmith.data.batch import Stream
from bertsmith.data.thread import Thread
from bertsmith.nn.modules.memory import Memory, memories_aside
from bertsmith.text.long_text import LongText
from bertsmith.text.store import Store
from corpora import trained

SEGMENT, COLUMNS = 64, 8


def novels(data: Path, out: Path, characters: int) -> Path:
    if not (out / "novels").exists():
        books = sorted((data / "en_novels").glob("*.txt*"))
        share = characters // len(books)
        texts = [" ".join(" ".join(_lines(data / "en_novels", path.name)).split())[:share] for path in books]
        (out / "novels.txt").write_text("\n\n".join(texts), encoding="utf-8")
        options = {"tokenizer": "wordpiece:4000", "lowercase": True, "holdout": 0.1}
        bertsmith.prepare([str(out / "novels.txt")], str(out / "novels"), say=print, **options)
    return out / "novels"


def stream(tokens: np.ndarray, turn: int | None) -> Stream:
    """(columns, length) tokens, each row a sequence; with `turn` they go on from the turn before."""
    rows, length = tokens.shape
    places = torch.arange(length).repeat(rows)
    thread = None
    if turn is not None:
        column, turns = np.arange(rows), np.full(rows, turn)
        thread = Thread(column=column, turn=turns, backward=np.zeros(rows, bool), stride=length)
    return Stream(
        tokens=torch.from_numpy(np.ascontiguousarray(tokens)).flatten().long(),
        positions=places,
        segments=torch.zeros_like(places),
        query_rank=places,
        key_rank=places,
        lengths=(length,) * rows,
        visibility="causal",
        thread=thread,
    )


def nats(loaded, given: Stream, at: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    said = loaded.member.objective.logits(loaded.member.model, given, at)
    return -said.gather(1, answers[:, None])[:, 0].double()


@torch.no_grad()
def cached(loaded, text: np.ndarray, attention: int) -> tuple[torch.Tensor, float]:
    """(columns, turns, segment) nats, and tokens/s."""
    model = loaded.member.model
    turns = text.shape[1] // SEGMENT - 1
    found, begun = [], time.perf_counter()
    memory, model.memory = model.memory, Memory(attention) if attention else None
    try:
        for turn in range(turns):
            part = text[:, turn * SEGMENT : (turn + 1) * SEGMENT + 1]
            given = stream(part[:, :-1], turn if attention else None)
            answers = torch.from_numpy(part[:, 1:].astype(np.int64)).flatten()
            found.append(nats(loaded, given, torch.arange(len(answers)), answers).view(len(text), SEGMENT))
    finally:
        model.memory = memory
    return torch.stack(found, 1), turns * SEGMENT * len(text) / (time.perf_counter() - begun)


@torch.no_grad()
def sliding(loaded, text: np.ndarray, attention: int, begin: int, asked: int = 24) -> tuple[torch.Tensor, float]:
    """(columns, asked) nats of the tokens from `begin` on, each of which sees `attention` tokens in a pass of its own; and tokens/s."""
    found, started = [], time.perf_counter()
    with memories_aside(loaded.member):
        for at in range(begin, begin + asked):
            part = text[:, at - attention : at + 1]
            places = torch.arange(1, len(text) + 1) * attention - 1
            answers = torch.from_numpy(part[:, -1].astype(np.int64))
            found.append(nats(loaded, stream(part[:, :-1], None), places, answers))
    return torch.stack(found, 1), asked * len(text) / (time.perf_counter() - started)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--memories", type=int, nargs="+", default=[0, 64, 256])
    arguments.add_argument("--attention", type=int, nargs="+", default=[0, 64, 128, 256, 512, 1024])
    arguments.add_argument("--tokens", type=int, default=3_000_000)
    arguments.add_argument("--characters", type=int, default=12_000_000)
    arguments.add_argument("--held-out", type=int, default=4096, help="tokens of each of 8 columns")
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(given.threads)
    folder = novels(given.data, given.out, given.characters)
    store = Store.open(folder)
    long = LongText.of(store.held_out)
    size = min(given.held_out, long.places // COLUMNS - 1)
    places = (np.arange(COLUMNS)[:, None] * (long.places // COLUMNS) + np.arange(size + 1)).ravel()
    read = long.read(places, np.zeros(len(places), bool))
    text = np.where(read["special"], store.vocab.sep, store.held_out.gather(read["source"])).reshape(COLUMNS, -1)
    for seed in given.seeds:
        for memory in given.memories:
            run = given.out / f"memory-{memory}-{seed}"
            sets = ["schedule.lr=2e-3", f"model.memory.length={memory}"]
            end = trained("transformer-xl:tiny", folder, run, given.tokens, seed, sets, given.threads)
            loaded = bertsmith.load(run)
            print(
                json.dumps({"memory": memory, "seed": seed, "held_out": end["evaluation"]["token"]["loss"]}), flush=True
            )
            for attention in given.attention:
                losses, rate = cached(loaded, text, attention)
                late = losses[:, losses.shape[1] // 4 :]
                line = {"memory": memory, "seed": seed, "attention": attention, "nats": round(late.mean().item(), 4)}
                line |= {"first of a segment": round(late[..., :4].mean().item(), 4), "tokens/s": round(rate)}
                if attention and memory == max(given.memories):
                    alone, slow = sliding(loaded, text, attention, max(given.attention))
                    line |= {"sliding nats": round(alone.mean().item(), 4), "sliding tokens/s": round(slow, 1)}
                    line["times as fast"] = round(rate / slow, 1)
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
