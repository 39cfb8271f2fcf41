"""`glue` and `clue`: every task of a benchmark."""

import argparse
import json
from collections.abc import Callable
from typing import Any

import bertsmith
from bertsmith.cli.common import WORK, add_member, add_work, command, launched, positive
from bertsmith.console import Console
from bertsmith.spelling import amount
from bertsmith.tasks.official import UNASKED
from bertsmith.training import launch

PASSED = ("out", "plan", "method", "scratch", "seeds", "on_long", "allow_unknown", "baseline", "set")
LENGTHS = ("epochs", "steps", "tokens", "minutes")


def add_glue(commands: Any) -> None:
    _add(commands, "glue", "CoLA, SST-2, MRPC, … and the archive for GLUE's server", "rte,wnli")


def add_clue(commands: Any) -> None:
    _add(commands, "clue", "AFQMC, TNEWS, OCNLI, … and the archive for CLUE's server", "ocnli,wsc")


def _add(commands: Any, name: str, about: str, some: str) -> None:
    example = f"bertsmith {name} {name.upper()} run --out {name}"
    made = command(commands, name, _run(name), f"fine-tune on every task of {name.upper()}: {about}", example)
    made.add_argument("folder", metavar="DIR", help="a folder for each task, with its official files")
    made.add_argument("model", metavar="MODEL")
    made.add_argument("--out", metavar="DIR", help="the runs, the scores, submission.zip")
    made.add_argument("--tasks", metavar="NAMES", help=f"some of them: {some}")
    made.add_argument("--plan", action="store_true", help="say what would be run: rows and updates")
    made.add_argument("--method", default="full", help="as finetune has it")
    made.add_argument("--scratch", action="store_true", help="MODEL's architecture and tokenizer with fresh weights")
    made.add_argument("--seeds", type=positive, default=1, metavar="N", help="runs of each task")
    made.add_argument("--epochs", type=float, metavar="N", help="of each task, as all lengths")
    made.add_argument("--steps", type=positive)
    made.add_argument("--tokens", type=positive)
    made.add_argument("--minutes", type=float)
    made.add_argument("--on-long", choices=("truncate", "window", "error"))
    made.add_argument("--allow-unknown", action="store_true", help="accept more than 5 %% of [UNK]")
    made.add_argument("--baseline", action="store_true", help="what TF-IDF with a linear model reaches, beside each")
    made.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="such as batch=16 or lr=3e-5")
    add_work(made)
    add_member(made)


def _run(name: str) -> Callable[[argparse.Namespace, Console], None]:
    def run(arguments: argparse.Namespace, console: Console) -> None:
        if not arguments.plan and launched(arguments):
            return
        options = {name: getattr(arguments, name) for name in (*PASSED, *LENGTHS, *WORK)}
        result = getattr(bertsmith, name)(
            arguments.folder,
            arguments.model,
            tasks=arguments.tasks or (),
            members=tuple(arguments.member),
            say=console.say,
            progress=console.progress,
            **options,
        )
        if launch.rank():
            return
        if arguments.json:
            console.out(json.dumps(result))
            return
        for line in plan(result) if arguments.plan else scores(result):
            console.out(line)

    return run


def plan(result: dict[str, Any]) -> list[str]:
    """A line for each task, the sum, and what is left out."""
    shown = []
    for name, task in result["tasks"].items():
        rows = ", ".join(f"{file} {count:,}" for file, count in task["rows"].items())
        long = "as long as asked" if task["updates"] is None else amount(task["updates"], "update")
        epochs = "" if task["epochs"] is None else f" in {amount(task['epochs'], 'epoch', form='g')}"
        left = sum(count for why in task["left"].values() for count in why.values())
        shown.append(f"{name:7} {long}{epochs}; rows: {rows}{f'; {left:,} left out' if left else ''}")
    if result["updates"] is not None:
        seeds = f" with {amount(result['seeds'], 'seed')}" if result["seeds"] > 1 else ""
        shown.append(f"{amount(result['updates'], 'update')} in all{seeds}")
    return shown + [f"{name} is left out: {why}" for name, why in result["missing"].items() if why != UNASKED]


def scores(result: dict[str, Any]) -> list[str]:
    """In points, as the benchmark's page has them: each task beside what people reach, the mean, and what the archive holds."""
    shown = [f"{'task':8}{'score':22}{'human':>6}  on the dev files, in points, with 95 % intervals"]
    for name, task in result["tasks"].items():
        parts = [
            f"{metric}{'' if file == 'dev' else ' ' + file} {100 * score['value']:.1f}"
            for file, found in task["scores"].items()
            for metric, score in found.items()
        ]
        shown.append(f"{name:8}{_score(task['score'])}{_human(task['human'])}  {', '.join(parts)}")
    shown.append(f"{'mean':8}{_score(result['mean'])}{_human(result['human'])}  of {_of(result)}")
    archive = result["archive"]
    lacks = f"; without {', '.join(archive['lacks'])}, which the server wants too" if archive["lacks"] else ""
    holds = f"submission.zip: {', '.join(archive['holds'])}" if archive["holds"] else "no test files: no submission.zip"
    return [*shown, holds + lacks * bool(archive["holds"])]


def _of(result: dict[str, Any]) -> str:
    name, whole = result["kind"].upper(), result["all"]
    if result["of"] == whole:
        return f"all {whole} tasks"
    also = "" if result["human"] is None else ", human too"
    return f"{result['of']} of {whole} tasks{also}: not {name}'s score, which has all"


def _score(score: dict[str, float]) -> str:
    value, low, high = (100 * score[key] for key in ("value", "low", "high"))
    return f"{f'{value:.1f} [{low:.1f}, {high:.1f}]':22}"


def _human(human: float | None) -> str:
    return f"{'' if human is None else f'{100 * human:.1f}':>6}"
