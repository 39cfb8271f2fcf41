"""The data path: masking and collation beside the collators of transformers; denoising; the loader into a model that does nothing.

    python bench/data.py [--store STORE]

Without a store one is made of this machine's own documentation.  One core.  "numpy" is the collator's NumPy path, "torch" its default.
Ours masks a row of as many tokens as the loader prepares at once (loader.BLOCK), nothing kept from the time before; "ours, tensors" makes
tensors of it too.  The collators get 64 sequences, and gain nothing from more.  Rates are those of the fastest of many short
repetitions; for the loader, "cpu_rate" counts the seconds that its thread was running, whatever else the machine did.
"""

import argparse
import os
import tempfile
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from harness import machine, record, row, say, taking_turns

from bertsmith.data.draw import Draw
from bertsmith.data.loader import BLOCK, Loader
from bertsmith.data.rewrite import InPlace
from bertsmith.data.select import Tokens, Words
from bertsmith.data.text import Text
from bertsmith.downstream.demo import write_corpus
from bertsmith.downstream.documentation import docstrings
from bertsmith.recipe import Corruption, find
from bertsmith.text.layout import DocSentences, FullSentences, SegmentPairs
from bertsmith.text.prepare import prepare
from bertsmith.text.store import Store

SEQUENCES = 64  # of each collation by transformers
BLOCKS = 8  # of ours at a time, as a loader makes them one after the other
REPETITIONS = 20
STEPS = 64  # of each loader and repetition


def collations(store: Store) -> list[dict]:
    found = []
    for shape, layout in (("fixed length 128", FullSentences(length=128)), ("ragged", DocSentences(length=128))):
        plan = layout.plan(store.train, store.vocab, 0, 0)
        block = plan.row(plan.order[: np.searchsorted(np.cumsum(plan.lengths[plan.order]), BLOCK)])
        few = plan.row(plan.order[:SEQUENCES])
        _ = block.starts  # part of the row in hand
        for masking, select in (("token", Tokens(rate=0.15)), ("whole word", Words(rate=0.15))):
            corruption, calls = Corruption(select=select, rewrite=InPlace()), iter(range(1 << 30))

            def ours(corruption=corruption, calls=calls, block=block):
                return corruption(replace(block), store.vocab, Draw(next(calls)))

            ways = {
                "ours": lambda ours=ours: [ours() for _ in range(BLOCKS)],
                "ours, tensors": lambda ours=ours: [ours().to("cpu") for _ in range(BLOCKS)],
            }
            seconds = taking_turns(ways | _theirs(store, few, masking == "whole word"), REPETITIONS)
            for name in ways:
                seconds[name] = [value * len(few.tokens) / len(block.tokens) / BLOCKS for value in seconds[name]]
            about = {"tokens_at_once": len(block.tokens)}
            found.append(
                row(f"masking and collation, {shape}, {masking}", seconds, len(few.tokens), "tokens/s", **about)
            )
            say(found[-1])
    return found


def denoising(store: Store) -> list[dict]:
    """What encoder-decoders read and write: order, select and rewrite of a block, both sides."""
    found = []
    for name in ("mass", "bart", "t5"):
        recipe = find(f"{name}:base")
        plan = recipe.layout.plan(store.train, store.vocab, 0, 0)
        block = plan.row(plan.order[: np.searchsorted(np.cumsum(plan.lengths[plan.order]), BLOCK)])
        _ = block.starts, block.sentences, block.positions  # parts of the row in hand
        calls = iter(range(1 << 30))

        def ours(recipe=recipe, calls=calls, block=block):
            return recipe.corruption(block, store.vocab, Draw(next(calls)))

        ways = {"ours": ours, "ours, tensors": lambda ours=ours: ours().to("cpu")}
        found.append(row(f"denoising, {name}", taking_turns(ways, REPETITIONS), len(block.tokens), "tokens/s"))
        say(found[-1])
    return found


def _theirs(store: Store, clean, whole: bool) -> dict:
    from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast

    names = {
        f"{role}_token": store.tokenizer.token(getattr(store.vocab, role))
        for role in ("pad", "unk", "cls", "sep", "mask")
    }
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=store.tokenizer.backend, **names)
    examples = []
    for start, end in zip(clean.offsets[:-1], clean.offsets[1:], strict=True):
        example = {
            "input_ids": clean.tokens[start:end].tolist(),
            "special_tokens_mask": clean.special[start:end].astype(int).tolist(),
        }
        if whole:  # it takes words for runs of touching offsets
            places = np.cumsum(np.where(clean.starts[start:end], 2, 1)).tolist()
            filler = [(0, 0)] * (int(clean.lengths.max()) - len(places))  # the collator does not pad them itself
            example["offset_mapping"] = [(p, p + 1) for p in places] + filler
        examples.append(example)
    made = {}
    for kind in ("pt",) if whole else ("np", "pt"):  # whole words in NumPy fail in transformers 5.23
        collate = DataCollatorForLanguageModeling(
            tokenizer, mlm_probability=0.15, whole_word_mask=whole, return_tensors=kind, seed=0
        )
        made["numpy" if kind == "np" else "torch"] = lambda collate=collate: collate(examples)
    return made


def loaders(store: Store) -> list[dict]:
    found = []
    for name, layout in (("full sentences", FullSentences(length=128)), ("segment pairs", SegmentPairs(length=128))):
        corruption = Corruption(select=Tokens(rate=0.15), rewrite=InPlace())
        for workers in (0, 1):
            loader = Loader(Text(store.train, layout, corruption, store.vocab, seed=0, batch=8192), workers=workers)
            tokens, busy = [], []

            def read(loader=loader, tokens=tokens, busy=busy) -> None:
                begun = time.thread_time()
                tokens.append(sum(step.tokens for step in islice(iter(loader), STEPS)))
                busy.append(time.thread_time() - begun)

            seconds = taking_turns({"ours": read}, REPETITIONS)
            about = {"load": os.getloadavg()[0]} | ({} if workers else {"cpu_rate": tokens[-1] / min(busy)})
            found.append(row(f"loader, {name}, {workers} workers", seconds, tokens[-1], "tokens/s", **about))
            say(found[-1])
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--store", type=Path)
    given = arguments.parse_args()
    torch.set_num_threads(1)
    about = machine(1)
    with tempfile.TemporaryDirectory() as folder:
        if given.store is None:
            write_corpus(list(docstrings()), Path(folder) / "corpus.txt")
            prepare([f"{folder}/corpus.txt"], f"{folder}/store", tokenizer="wordpiece:4000", lowercase=True)
        store = Store.open(given.store or f"{folder}/store")
        print(record("data", about, collations(store) + denoising(store) + loaders(store)))


if __name__ == "__main__":
    main()
