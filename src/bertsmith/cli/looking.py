"""`verify` and `report`: is a run whole, and what did it do?"""

import argparse
import json
import os
from typing import Any

import bertsmith
from bertsmith.cli.common import add_base, command
from bertsmith.console import Console
from bertsmith.spelling import amount


def add_verify(commands: Any) -> None:
    made = command(commands, "verify", verify, "check a store or run against its manifests", "bertsmith verify run")
    made.add_argument("path", metavar="PATH")
    add_base(made)


def verify(arguments: argparse.Namespace, console: Console) -> None:
    result = bertsmith.verify(arguments.path, base=arguments.base)
    console.out(
        json.dumps(result)
        if arguments.json
        else f"{arguments.path}: {result['kind']}, {amount(result['files'], 'file')} as their manifests say"
    )


def add_report(commands: Any) -> None:
    example = "bertsmith report run classifier --out report.html"
    made = command(
        commands, "report", report, "curves, samples, settings and scores of runs side by side, one HTML file", example
    )
    made.add_argument("runs", nargs="+", metavar="RUN")
    made.add_argument("--out", required=True, metavar="FILE.html")


def report(arguments: argparse.Namespace, console: Console) -> None:
    path = bertsmith.report(arguments.runs, arguments.out, say=console.say)
    if arguments.json:
        console.out(json.dumps({"report": os.fspath(path)}))
