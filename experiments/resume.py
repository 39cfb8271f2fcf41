"""A run that stops at step 10 of 20 and goes on, beside the run that does not stop: bertsmith, and the transformers Trainer with its
masking collator (pip install accelerate).

    python experiments/resume.py --out results [--seeds 3]

The same two layers of width 128, dropout 0.1, on the topics of `pydoc`, one thread; read on the losses of steps 11 to 20 and on the
final weights.  Everything that the Trainer offers for a resume is on by default: data are skipped, random states are restored.
"""

import argparse
import json
import logging
import signal
import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file

import bertsmith
from bertsmith.config import override
from bertsmith.errors import Interrupted
from bertsmith.text.store import Store

STEPS, STOP, LENGTH, BATCH = 20, 10, 64, 16
Result = tuple[list[float], dict[str, torch.Tensor]]


def prepared(out: Path) -> Path:
    from pydoc_data.topics import topics

    if not (out / "store").exists():
        text = out / "topics.txt"
        text.write_text("\n\n".join(topics[name].replace("\n\n", "\n") for name in sorted(topics)), encoding="utf-8")
        bertsmith.prepare([str(text)], out / "store", tokenizer="wordpiece:2000", lowercase=True, holdout=0.05)
    return out / "store"


def ours(store: Path, run: Path, seed: int, workers: int, precision: str, stop: bool) -> Result:
    recipe = override(
        bertsmith.find("bert:tiny"),
        [
            f"layout.length={LENGTH}",
            f"training.batch={LENGTH * BATCH}",
            "model.dropout=0.1",
            f"training.precision={precision}",
            "training.evaluate=0",
        ],
    )

    def halfway(step: int, *_: object) -> None:
        if step == STOP:
            signal.raise_signal(signal.SIGTERM)

    options = {"steps": STEPS, "seed": seed, "workers": workers, "threads": 1}
    if stop:
        try:
            bertsmith.pretrain(recipe, store, run, progress=halfway, **options)
        except Interrupted:
            pass
    bertsmith.pretrain(recipe, store, run, resume=stop, **options)
    losses = [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    return losses, load_file(run / "steps" / f"step-{STEPS:08d}" / "model.safetensors")


def theirs(store: Path, out: Path, seed: int, workers: int, precision: str, stop: bool) -> Result:
    from transformers import (
        BertConfig,
        BertForMaskedLM,
        DataCollatorForLanguageModeling,
        PreTrainedTokenizerFast,
        Trainer,
        TrainerCallback,
        TrainingArguments,
        set_seed,
    )

    names = dict(zip(("pad", "unk", "cls", "sep", "mask"), ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"), strict=True))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(store / "tokenizer.json"), **{f"{role}_token": token for role, token in names.items()}
    )
    split = Store.open(store).train
    ids = split.gather(slice(0, split.count))
    rows = ids[: len(ids) // (LENGTH - 2) * (LENGTH - 2)].reshape(-1, LENGTH - 2).tolist()
    examples = [{"input_ids": [tokenizer.cls_token_id, *row, tokenizer.sep_token_id]} for row in rows]
    losses: dict[int, float] = {}

    class Recorded(Trainer):
        def training_step(self, *arguments, **options):
            loss = super().training_step(*arguments, **options)
            losses[self.state.global_step + 1] = loss.item()
            return loss

    class Halfway(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            control.should_training_stop = state.global_step == STOP

    def trainer(callbacks: list) -> Trainer:
        set_seed(seed)
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=512,
        )
        options = TrainingArguments(
            output_dir=str(out),
            max_steps=STEPS,
            save_steps=STOP,
            per_device_train_batch_size=BATCH,
            learning_rate=1e-3,
            seed=seed,
            dataloader_num_workers=workers,
            bf16=precision == "bfloat16",
            use_cpu=True,
            report_to=[],
            disable_tqdm=True,
            logging_strategy="no",
        )
        collator = DataCollatorForLanguageModeling(tokenizer)
        return Recorded(BertForMaskedLM(config), options, collator, examples, callbacks=callbacks)

    if stop:
        trainer([Halfway()]).train()
    made = trainer([])
    made.train(resume_from_checkpoint=stop)
    return [losses[step] for step in range(1, STEPS + 1)], dict(made.model.state_dict())


def same(a: Result, b: Result) -> bool:
    return a[0] == b[0] and all(torch.equal(a[1][name], b[1][name]) for name in a[1])


def row(name: str, workers: int, precision: str, runs: list[list[Result]]) -> str:
    """Largest differences over the seeds, and how many seeds came out bit for bit equal."""
    losses = [max(abs(x - y) for x, y in zip(a[0][STOP:], b[0][STOP:], strict=True)) for a, _, b in runs]
    weights = [max((a[1][k].float() - b[1][k].float()).abs().max().item() for k in a[1]) for a, _, b in runs]
    again, resumed = sum(same(a, b) for a, b, _ in runs), sum(same(a, b) for a, _, b in runs)
    figures = [f"{again} of {len(runs)}", f"{max(losses):.2g}", f"{max(weights):.2g}", f"{resumed} of {len(runs)}"]
    return f"| {' | '.join([name, str(workers), precision, *figures])} |"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--seeds", type=int, default=3)
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    store = prepared(given.out)
    table = [
        "| | loader workers | precision | equal when run twice | largest difference after a stop: of a loss, steps 11 to 20 | of a weight | equal |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, train in (("bertsmith", ours), ("Trainer", theirs)):
        for precision in ("float32", "bfloat16"):
            for workers in (0, 1, 4):
                runs = []
                for seed in range(given.seeds):
                    place = given.out / f"{name}-{precision}-{workers}-{seed}"
                    runs.append([train(store, place / way, seed, workers, precision, way == "stopped") for way in WAYS])
                table.append(row(name, workers, precision, runs))
                print(table[-1], flush=True)
    (given.out / "table.md").write_text("\n".join(table) + "\n")


WAYS = ("straight", "again", "stopped")

if __name__ == "__main__":
    main()
