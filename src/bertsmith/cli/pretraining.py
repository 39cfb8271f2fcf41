"""`pretrain` and `plan`: a run, and what it would cost."""

import argparse
import json
from typing import Any

import bertsmith
from bertsmith.cli.common import WORK, add_data, add_new_head, add_work, command, data_of, launched, positive
from bertsmith.console import Console
from bertsmith.training import launch


def add_pretrain(commands: Any) -> None:
    example = "bertsmith pretrain bert:mini --data store --out run --minutes 10"
    made = command(commands, "pretrain", pretrain, "pre-train a member on a store", example)
    made.add_argument("recipe", metavar="RECIPE")
    add_data(made, required=True)
    made.add_argument("--out", required=True, metavar="RUN")
    made.add_argument("--steps", type=positive)
    made.add_argument("--tokens", type=positive)
    made.add_argument("--minutes", type=float)
    made.add_argument(
        "--from",
        dest="from_",
        metavar="MODEL",
        help="go on from the weights of a run or a Hugging Face folder; RECIPE without a size takes its shapes",
    )
    add_new_head(made)
    made.add_argument(
        "--teacher",
        metavar="MODEL",
        help="a student learns from it beside the text (distilbert, tinybert, any encoder); RECIPE without a size: half of its layers",
    )
    made.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="such as model.layers=6; `bertsmith recipes NAME` lists the fields",
    )
    made.add_argument(
        "--patience",
        type=positive,
        metavar="N",
        help="end after so many exams without a lower held-out loss; the best step is kept",
    )
    made.add_argument(
        "--watch",
        action="append",
        default=[],
        metavar="LANGUAGE",
        help="of a store of several languages, whose loss that is",
    )
    made.add_argument(
        "--cache",
        metavar="DIR",
        help="where stores behind URLs are fetched to ($BERTSMITH_CACHE, or ~/.cache/bertsmith)",
    )
    add_work(made)


def pretrain(arguments: argparse.Namespace, console: Console) -> None:
    if launched(arguments):
        return
    own = ("steps", "tokens", "minutes", "from_", "new_heads", "teacher", "set", "patience", "watch", "cache")
    names = (*own, *WORK)
    options = {name: getattr(arguments, name) for name in names}
    result = bertsmith.pretrain(
        arguments.recipe, data_of(arguments), arguments.out, say=console.say, progress=console.progress, **options
    )
    if arguments.json and launch.rank() == 0:
        console.out(json.dumps(result))


def add_plan(commands: Any) -> None:
    example = "bertsmith plan bert:mini --data store --tokens 100000000"
    about = "parameters, memory, operations and time of a run, before anything is launched"
    made = command(commands, "plan", plan, about, example)
    made.add_argument("recipe", metavar="RECIPE")
    add_data(made, help="its rows and vocabulary; full rows of random tokens without it")
    made.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    made.add_argument("--steps", type=positive)
    made.add_argument("--tokens", type=positive)
    made.add_argument("--minutes", type=float, help="how many updates these are")
    made.add_argument("--threads", type=positive)
    made.add_argument("--device", help="cpu, cuda or cuda:N: the machine is probed")
    made.add_argument("--on", metavar="GPU", help="reckon for a100, h100, ... by its published peak instead")


def plan(arguments: argparse.Namespace, console: Console) -> None:
    from bertsmith.training.planning import planned

    names = ("recipe", "data", "steps", "tokens", "minutes", "set", "threads", "device", "on")
    options = {name: getattr(arguments, name) for name in names} | {"data": data_of(arguments)}
    recipe, found, tokens = planned(**options, say=console.say)
    from bertsmith.training import cost

    if arguments.json:
        console.out(json.dumps({**vars(found), "run": cost.of_run(recipe, found, tokens) if tokens else None}))
        return
    for line in cost.lines(recipe, found, tokens, arguments.on):
        console.out(line)
