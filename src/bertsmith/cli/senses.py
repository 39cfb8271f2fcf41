"""`senses`: the vectors of one word's uses."""

import argparse
import json
from typing import Any

import bertsmith
from bertsmith.cli.common import add_base, add_columns, add_member, command, loading, natural, positive, table
from bertsmith.console import Console
from bertsmith.spelling import amount


def add_senses(commands: Any) -> None:
    example = "bertsmith senses run bank --data store --out bank.html"
    about = "the vectors of one word's uses: how alike they are, and a picture of them"
    made = command(commands, "senses", senses, about, example)
    made.add_argument("model", metavar="MODEL")
    made.add_argument("word", metavar="WORD")
    made.add_argument("--input", metavar="FILE", help="texts with the word; a column `label` is the sense of each")
    made.add_argument("--data", metavar="STORE", help="instead: training sentences of a store")
    made.add_argument("--out", metavar="FILE.html", help="a page with the picture and the texts")
    made.add_argument("--layer", type=natural, metavar="N", help="0: the embedding; the last unless told otherwise")
    made.add_argument(
        "--groups", type=positive, default=2, metavar="N", help="that uses without labels are parted into"
    )
    made.add_argument("--seed", type=natural, default=0, help="of the groups")
    add_columns(made)
    add_member(made)
    add_base(made)


def senses(arguments: argparse.Namespace, console: Console) -> None:
    own = ("input", "data", "out", "layer", "groups", "seed")
    options = {name: getattr(arguments, name) for name in own} | table(arguments)
    found = bertsmith.senses(arguments.model, arguments.word, **options, **loading(arguments, console))
    if arguments.json:
        console.out(json.dumps(found))
        return
    cosine, uses = found["cosine"], found["uses"]
    console.out(f"{found['word']}, layer {found['layer']}: {amount(len(uses), 'use')}, cosine {cosine['mean']:.4f}")
    if cosine["within"] is not None and cosine["between"] is not None:
        console.out(f"within a sense {cosine['within']:.4f}, across {cosine['between']:.4f}")
    if found["nearest"] is not None:
        console.out(f"nearest other use of the same label: {found['nearest']:.1%}")
