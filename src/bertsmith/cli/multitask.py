"""`multitask`: several tasks at once, from a file."""

import argparse
import json
from typing import Any

import bertsmith
from bertsmith.cli.common import WORK, add_member, add_work, command, launched, positive
from bertsmith.console import Console
from bertsmith.training import launch

PASSED = ("out", "shares", "each", "method", "scratch", "seeds", "allow_unknown", "set")
LENGTHS = ("epochs", "steps", "tokens", "minutes")


def add_multitask(commands: Any) -> None:
    example = (
        "bertsmith multitask run tasks.toml --out many && bertsmith predict many:rte --input new.tsv --out rte.jsonl"
    )
    made = command(commands, "multitask", multitask, "fine-tune a model on several tasks at once, from a file", example)
    made.add_argument("model", metavar="MODEL")
    made.add_argument(
        "tasks", metavar="TASKS.toml", help="a table for each: [task.rte], with task, train, dev, columns, …"
    )
    made.add_argument("--out", required=True, metavar="RUN")
    made.add_argument("--shares", metavar="size|equal|annealed", help="of the updates, in place of what the file says")
    made.add_argument("--each", choices=("one", "all"), help="an update reads one task, or all of them; likewise")
    made.add_argument(
        "--method",
        default="full",
        help="full, adapter, lora, prefix, bias or int8, as finetune has them; pal: and attention of its own for each task",
    )
    made.add_argument("--scratch", action="store_true", help="MODEL's architecture and tokenizer with fresh weights")
    made.add_argument("--seeds", type=positive, default=1, metavar="N", help="runs with N seeds, their mean and spread")
    made.add_argument("--epochs", type=float, metavar="N", help="over the rows of all tasks; unless given 3 or more")
    made.add_argument("--steps", type=positive)
    made.add_argument("--tokens", type=positive)
    made.add_argument("--minutes", type=float)
    made.add_argument("--allow-unknown", action="store_true", help="accept more than 5 %% of [UNK]")
    made.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="such as batch=16 or lr=3e-5")
    add_work(made)
    add_member(made)


def multitask(arguments: argparse.Namespace, console: Console) -> None:
    if launched(arguments):
        return
    options = {name: getattr(arguments, name) for name in (*PASSED, *LENGTHS, *WORK)}
    result = bertsmith.multitask(
        arguments.model,
        arguments.tasks,
        members=tuple(arguments.member),
        say=console.say,
        progress=console.progress,
        **options,
    )
    if arguments.json and launch.rank() == 0:
        console.out(json.dumps(result))
