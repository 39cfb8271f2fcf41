"""One epoch of fine-tuning beside transformers' Trainer: the same folder, rows, batch and precision; calls from texts to the saved model.

    python bench/finetune.py [--threads 2] [--updates 8] [--sizes base]

Needs the package accelerate.  Texts have a mean length of 31 tokens, 32 an update.  A call reads and encodes the rows, trains one epoch, scores
16 dev rows and saves; "updates" is the time of the updates alone.  B: the Trainer in bfloat16, all weights.  B frozen: the same with a trunk
that needs no gradient, beside ours with features that are computed once; by 20 epochs, too, of which ours computes them once.
"""

import argparse
import json
import os
import random
import shutil
import tempfile
import time
from pathlib import Path

import torch
from harness import machine, record, row, say
from step import lengths
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast, Trainer, TrainingArguments

import bertsmith

BATCH, DEV, VOCAB = 32, 16, 30522
SIZES = {"base": (12, 768, 12), "6 x 384": (6, 384, 12)}


def folder_of(size: str, out: Path) -> Path:
    layers, width, heads = SIZES[size]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(VOCAB - 5))]
    shape = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    torch.manual_seed(0)
    BertForSequenceClassification(
        BertConfig(**shape, intermediate_size=4 * width, num_labels=2, vocab_size=VOCAB)
    ).save_pretrained(out)
    BertTokenizerFast(vocab={word: i for i, word in enumerate(words)}, model_max_length=512).save_pretrained(out)
    return out


def rows_of(count: int) -> list[dict]:
    draw = random.Random(0)
    return [
        {"text": " ".join(f"w{draw.randrange(VOCAB - 5)}" for _ in range(length - 2)), "label": f"c{i % 2}"}
        for i, length in enumerate(lengths("short", count))
    ]


def ours(folder: Path, rows: list[dict], out: Path, method: str, epochs: int, threads: int) -> tuple[float, float]:
    """Seconds of the call, and of its updates."""
    ticks: list[float] = []
    begun = time.perf_counter()
    bertsmith.finetune(
        folder,
        task="classify",
        train=rows,
        dev=rows[:DEV],
        out=out,
        method=method,
        threads=threads,
        set=[f"epochs={epochs}", f"batch={BATCH}", "lr=5e-5", "precision=bfloat16", f"evaluations={1 / epochs}"],
        progress=lambda *_: ticks.append(time.perf_counter()),
    )
    whole = time.perf_counter() - begun
    return whole, (ticks[-1] - ticks[0]) * len(ticks) / (len(ticks) - 1)


def theirs(folder: Path, rows: list[dict], out: Path, frozen: bool, epochs: int) -> tuple[float, float]:
    begun = time.perf_counter()
    tokenizer = BertTokenizerFast.from_pretrained(folder)
    model = BertForSequenceClassification.from_pretrained(folder)
    if frozen:
        model.bert.requires_grad_(False)
    data = [tokenizer(row["text"]) | {"label": int(row["label"][1:])} for row in rows]
    arguments = TrainingArguments(
        output_dir=out,
        use_cpu=True,
        bf16=True,
        per_device_train_batch_size=BATCH,
        learning_rate=5e-5,
        warmup_steps=0.1,
        num_train_epochs=epochs,
        eval_strategy="no",
        save_strategy="epoch",  # with the optimizer's moments, as ours does, to go on with
        report_to=[],
        disable_tqdm=True,
        logging_steps=10**6,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=data, processing_class=tokenizer)
    said = trainer.train()
    trainer.evaluate(data[:DEV])
    return time.perf_counter() - begun, said.metrics["train_runtime"]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--threads", type=int, default=os.cpu_count())
    arguments.add_argument("--updates", type=int, default=8)
    arguments.add_argument("--repetitions", type=int, default=2)
    arguments.add_argument("--sizes", nargs="+", default=["base"], choices=SIZES)
    given = arguments.parse_args()
    about, found = machine(given.threads), []
    rows = rows_of(given.updates * BATCH)
    for size in given.sizes:
        with tempfile.TemporaryDirectory() as place:
            folder = folder_of(size, Path(place))
            ways = {
                "full, an epoch": [("ours", "full", 1), ("adapter", "adapter", 1), ("B", False, 1)],
                "frozen, an epoch": [("ours", "frozen", 1), ("B", True, 1)],
                "frozen, 5 epochs": [("ours", "frozen", 5), ("B", True, 5)],
            }
            for name, sides in ways.items():
                calls: dict[str, list[float]] = {side: [] for side, *_ in sides}
                updates: dict[str, list[float]] = {side: [] for side, *_ in sides}
                for number in range(given.repetitions):
                    for side, method, epochs in sides:
                        out = Path(place) / f"{side}-{number}"
                        if side == "B":
                            out.mkdir()
                            whole, alone = theirs(folder, rows, out, method, epochs)
                        else:
                            whole, alone = ours(folder, rows, out, method, epochs, given.threads)
                        shutil.rmtree(out)
                        calls[side].append(whole)
                        updates[side].append(alone)
                epochs = sides[0][2]
                for what, seconds in (("calls", calls), ("updates", updates)):
                    found.append(
                        row(f"{size}, {name}, {what}", seconds, len(rows) * epochs, "rows/s", load=os.getloadavg()[0])
                    )
                    say(found[-1])
    record("finetune", about, found)
    print(json.dumps({"load": os.getloadavg()[0]}))


if __name__ == "__main__":
    main()
