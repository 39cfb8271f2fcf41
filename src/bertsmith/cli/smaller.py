"""`compress` and `augment`: a smaller model and what it costs, more rows for it to learn from."""

import argparse
import json
from typing import Any

import bertsmith
from bertsmith.cli.common import add_base, add_columns, add_member, command, loading, natural, positive, table
from bertsmith.console import Console


def add_compress(commands: Any) -> None:
    example = "bertsmith compress classifier --method int8 --dev dev.tsv --tolerance 1.0 --out small"
    about = "make a model smaller; what loses more of its score than the tolerance is not written"
    made = command(commands, "compress", compress, about, example)
    made.add_argument("model", metavar="MODEL")
    made.add_argument(
        "--method",
        required=True,
        metavar="HOW",
        help="int8 (matrices and tables in eight bits; with the ranges that finetune --method int8 learned), int8-static (ranges looked for in --train), prune-heads, prune-layers, magnitude (numbers near 0), low-rank, distil (a student of fewer layers learns from MODEL and --train)",
    )
    made.add_argument("--out", required=True, metavar="MODEL")
    made.add_argument("--dev", metavar="FILE", help="labelled rows that judge a fine-tuned model")
    made.add_argument("--train", metavar="FILE", help="labelled rows that say what can go; distil learns from them")
    made.add_argument(
        "--data", metavar="STORE", help="of a pre-training run: held-out text judges, training text says what can go"
    )
    made.add_argument(
        "--amount", type=float, default=0.5, metavar="SHARE", help="what goes: 0.5 of the heads, layers or numbers"
    )
    made.add_argument(
        "--tolerance",
        type=float,
        default=1.0,
        metavar="PERCENT",
        help="of the score before, that may be lost (default 1)",
    )
    made.add_argument("--epochs", type=float, metavar="N", help="of distil")
    made.add_argument("--steps", type=positive, help="of distil")
    made.add_argument("--seed", type=natural, default=0, help="of distil")
    made.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="settings of distil, such as lr=5e-5"
    )
    add_member(made)


def compress(arguments: argparse.Namespace, console: Console) -> None:
    names = ("method", "data", "train", "dev", "amount", "tolerance", "epochs", "steps", "seed", "set")
    options = {name: getattr(arguments, name) for name in names}
    found = bertsmith.compress(
        arguments.model, arguments.out, members=tuple(arguments.member), say=console.say, **options
    )
    if arguments.json:
        console.out(json.dumps(found))


def add_augment(commands: Any) -> None:
    example = "bertsmith augment run --input train.tsv --out more.jsonl --samples 20"
    about = "more rows of a labelled file: words replaced by what a masked model expects there"
    made = command(commands, "augment", augment, about, example)
    made.add_argument("model", metavar="MODEL")
    made.add_argument("--input", required=True, metavar="FILE")
    made.add_argument("--out", required=True, metavar="FILE.jsonl")
    add_columns(made)
    made.add_argument("--samples", type=positive, default=20, metavar="N", help="rewritten rows of each row")
    made.add_argument("--rate", type=float, default=0.4, metavar="P", help="of the words that are replaced")
    made.add_argument("--top", type=positive, default=15, metavar="K", help="likeliest words that one is replaced by")
    made.add_argument("--seed", type=natural, default=0)
    add_base(made)
    add_member(made)


def augment(arguments: argparse.Namespace, console: Console) -> None:
    names = ("samples", "rate", "top", "seed")
    options = {name: getattr(arguments, name) for name in names} | table(arguments)
    found = bertsmith.augment(arguments.model, arguments.input, arguments.out, **options, **loading(arguments, console))
    if arguments.json:
        console.out(json.dumps(found))
