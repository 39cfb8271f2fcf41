"""`stack`: models side by side; `expand`: a model with the words that others have vectors of."""

import argparse
import json
from typing import Any

import bertsmith
from bertsmith.cli.common import add_member, command, positive
from bertsmith.console import Console
from bertsmith.errors import InputError


def add_stack(commands: Any) -> None:
    example = "bertsmith stack run other --out both"
    made = command(
        commands, "stack", stack, "several models under one head, side by side; each stays as it is", example
    )
    made.add_argument("models", metavar="MODEL", nargs="+", help="two or more, each with its own tokenizer")
    made.add_argument("--out", required=True, metavar="MODEL")
    made.add_argument(
        "--mix",
        action="append",
        default=[],
        metavar="N",
        help="number of a model (from 1), or all: a mixture of its layers is learned with a head, in place of the last one",
    )
    made.add_argument(
        "--pieces",
        choices=("first", "mean"),
        default="first",
        help="what a model says of a word: of its first piece, or the mean over its pieces",
    )
    made.add_argument("--force", action="store_true", help="replace a model that was imported, converted or stacked")
    add_member(made)


def stack(arguments: argparse.Namespace, console: Console) -> None:
    options = {"pieces": arguments.pieces, "force": arguments.force, "members": tuple(arguments.member)}
    result = bertsmith.stack(arguments.models, arguments.out, mix=_mixed(arguments.mix), say=console.say, **options)
    if arguments.json:
        console.out(json.dumps(result))


def _mixed(given: list[str]) -> Any:
    if "all" in given:
        return "all"
    odd = next((text for text in given if not text.isdecimal()), None)
    if odd is not None:
        raise InputError(f"--mix {odd}: expected the number of a model, from 1, or all")
    return [int(text) for text in given]


def add_expand(commands: Any) -> None:
    example = "bertsmith expand run --vectors vectors.txt --out larger"
    made = command(
        commands, "expand", expand, "a model with the words that others have vectors of, by least squares", example
    )
    made.add_argument("model", metavar="MODEL")
    made.add_argument("--vectors", required=True, metavar="FILE", help="word vectors in word2vec's text format")
    made.add_argument("--out", required=True, metavar="MODEL")
    made.add_argument(
        "--limit", type=positive, metavar="N", help="read the first N words of the file, which come by frequency"
    )
    made.add_argument("--force", action="store_true", help="replace a model that was imported, converted or expanded")
    add_member(made)


def expand(arguments: argparse.Namespace, console: Console) -> None:
    options = {name: getattr(arguments, name) for name in ("vectors", "out", "limit", "force")}
    result = bertsmith.expand(arguments.model, members=tuple(arguments.member), say=console.say, **options)
    if arguments.json:
        console.out(json.dumps(result))
