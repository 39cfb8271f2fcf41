"""`completion`: what a shell needs to complete commands, options, recipes and kinds of tasks, by shtab."""

import argparse
import json
from typing import Any

from bertsmith.cli.common import command
from bertsmith.console import Console

SHELLS = ("bash", "zsh", "fish", "tcsh")


def add_completion(commands: Any) -> None:
    example = 'eval "$(bertsmith completion bash)"'
    about = "print a script that completes commands, options, recipes and files in a shell"
    made = command(commands, "completion", completion, about, example)
    made.add_argument("shell", choices=SHELLS, help="a line of its start-up file that evaluates the script keeps it")


def completion(arguments: argparse.Namespace, console: Console) -> None:
    import shtab

    from bertsmith.cli import parser
    from bertsmith.recipe import members
    from bertsmith.tasks.kinds import KINDS

    known = {
        "recipe": [f"{name}:{size}" for name, member in members().items() for size in member.sizes],
        "task": [*KINDS],
    }
    top = parser()
    for made in top.commands.choices.values():
        for action in made._actions:
            if action.dest in known and action.choices is None:
                action.choices = known[action.dest]
            elif action.choices is None and action.nargs != 0:
                action.complete = shtab.FILE
    colons = {"bash": "COMP_WORDBREAKS=${COMP_WORDBREAKS//:/}"}  # bert:tiny is one word
    script = shtab.complete(top, shell=arguments.shell, preamble=colons)
    console.out(json.dumps({"script": script}) if arguments.json else script.rstrip("\n"))
