"""`serve`: models over HTTP, and a page to play with."""

import argparse
from typing import Any

import bertsmith
from bertsmith.cli.common import add_member, command, natural, positive
from bertsmith.console import Console


def add_serve(commands: Any) -> None:
    example = "bertsmith serve run classifier --port 8000"
    made = command(commands, "serve", serve, "models over HTTP, and a page to play with", example)
    made.add_argument(
        "models", nargs="+", metavar="MODEL", help="or NAME=MODEL; the first is asked unless one is named"
    )
    made.add_argument("--host", default="127.0.0.1", help="127.0.0.1, this machine alone, unless given")
    made.add_argument("--port", type=natural, default=8000, help="8000 unless given; 0: any that is free")
    made.add_argument(
        "--name",
        action="append",
        default=[],
        dest="names",
        metavar="HOST",
        help="a host name that it answers as, behind a proxy",
    )
    made.add_argument(
        "--token",
        metavar="FILE",
        help="holds what every request must bring; BERTSMITH_TOKEN of the environment, unless given",
    )
    made.add_argument(
        "--limit",
        action="append",
        default=[],
        dest="limits",
        metavar="NAME=N",
        help="bytes, texts, characters, tokens, masks, top, write, beam, attend of a request; share (tokens of a pass), queue, connections; seconds, slow, drain",
    )
    made.add_argument("--device", help="cpu, cuda or cuda:N")
    made.add_argument("--threads", type=positive, help="CPU threads of a pass")
    add_member(made)


def serve(arguments: argparse.Namespace, console: Console) -> None:
    names = ("host", "port", "names", "token", "limits", "device", "threads")
    options = {name: getattr(arguments, name) for name in names}
    bertsmith.serve(arguments.models, **options, members=tuple(arguments.member), say=console.say)
