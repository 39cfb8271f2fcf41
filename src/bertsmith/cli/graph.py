"""`graph`: vectors of the entities of a knowledge graph."""

import argparse
import json
from typing import Any

import bertsmith
from bertsmith.cli.common import WORK, add_work, command, launched, positive
from bertsmith.console import Console
from bertsmith.training import launch


def add_graph(commands: Any) -> None:
    example = "bertsmith graph train.tsv --dev valid.tsv --test test.tsv --out vectors --epochs 200"
    made = command(
        commands, "graph", graph, "vectors of the entities of a knowledge graph (TransE), from its triples", example
    )
    made.add_argument(
        "triples", metavar="TRIPLES", help="head, relation and tail a line, parted by tabs; also .gz .xz .zst"
    )
    made.add_argument("--dev", metavar="FILE", help="triples by whose filtered ranks the best step is chosen")
    made.add_argument("--test", metavar="FILE", help="triples that are ranked at the end")
    made.add_argument("--out", required=True, metavar="RUN")
    made.add_argument("--epochs", type=float, metavar="N", help="200 unless another length is given")
    made.add_argument("--steps", type=positive)
    made.add_argument("--minutes", type=float)
    made.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="such as model.width=50")
    add_work(made)


def graph(arguments: argparse.Namespace, console: Console) -> None:
    if launched(arguments):
        return
    names = ("dev", "test", "epochs", "steps", "minutes", "set", *WORK)
    options = {name: getattr(arguments, name) for name in names}
    result = bertsmith.graph(arguments.triples, arguments.out, say=console.say, progress=console.progress, **options)
    if arguments.json and launch.rank() == 0:
        console.out(json.dumps(result))
