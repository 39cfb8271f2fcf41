"""The command line: parse, call the verb of the Python API, print its result, turn errors into exit codes.

Every command is one function `command(arguments, console)`; heavy imports happen inside the verbs, so `--help` is quick.
"""

import argparse
import errno
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import bertsmith
from bertsmith.cli.adapting import add_adapt
from bertsmith.cli.benchmarks import add_clue, add_glue
from bertsmith.cli.common import Parser
from bertsmith.cli.completion import add_completion
from bertsmith.cli.corpus import add_prepare, add_recipes, add_show
from bertsmith.cli.exchange import add_convert, add_export, add_import
from bertsmith.cli.graph import add_graph
from bertsmith.cli.looking import add_report, add_verify
from bertsmith.cli.models import add_compare, add_embed, add_evaluate, add_fill, add_finetune, add_predict
from bertsmith.cli.multitask import add_multitask
from bertsmith.cli.near import add_similar
from bertsmith.cli.pretraining import add_plan, add_pretrain
from bertsmith.cli.probing import add_attention, add_probe, add_surface, add_tree
from bertsmith.cli.scoring import add_score
from bertsmith.cli.senses import add_senses
from bertsmith.cli.serving import add_serve
from bertsmith.cli.smaller import add_augment, add_compress
from bertsmith.cli.stacking import add_expand, add_stack
from bertsmith.cli.studying import add_study
from bertsmith.cli.writing import add_generate
from bertsmith.config import check_members
from bertsmith.console import Console
from bertsmith.errors import BertsmithError, Interrupted, Lost, printable
from bertsmith.spelling import typed
from bertsmith.training import launch

SHARED = ("graph", "pretrain", "finetune", "multitask", "glue", "clue")  # what many processes share


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run one command and exit with the code of the contract."""
    code = run(sys.argv[1:] if arguments is None else arguments)
    launch.leave(code)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """The exit code of one command; 1 (a bug of ours) is the only one that comes with a traceback."""
    warnings.simplefilter("ignore")  # those of libraries; ours go through Console.say
    console = Console(json="--json" in arguments)
    error, lost = None, False
    try:
        parsed = parser().parse_args(arguments, argparse.Namespace(typed=arguments))
        with typed(), _terminated(arguments):
            check_members(getattr(parsed, "member", ()))
            parsed.command(parsed, console)
    except BertsmithError as problem:
        error, lost = (problem.exit_code, str(problem)), isinstance(problem, Lost)
    except KeyboardInterrupt:
        error = (130, "interrupted")
    except MemoryError:
        error = (3, "out of memory; a smaller training.batch or more training.accumulate needs less")
    except OSError as problem:
        if problem.errno not in (
            errno.ENOSPC,
            errno.EACCES,
            errno.EPERM,
            errno.EIO,
            errno.EDQUOT,
            errno.EROFS,
            errno.EMFILE,
        ):
            return _bug(console, problem)
        error = (3, f"{problem.filename or ''}: {problem.strerror}".lstrip(": "))
    except Exception as problem:
        return _bug(console, problem)
    console.close(failed=error is not None)
    if error is None:
        return 0
    many = bool(arguments) and arguments[0] in SHARED
    if not (many and launch.mute()):
        print(f"bertsmith: error: {printable(error[1], 2000)}", file=sys.stderr)
    if many:
        launch.report(*error, lost)
    return error[0]


@contextmanager
def _terminated(arguments: list[str]) -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does, so that nothing half-written is left.  What many processes share has handlers of its own (stop.py)."""
    before = signal.getsignal(signal.SIGTERM)
    if arguments[0] in SHARED or before != signal.SIG_DFL or threading.current_thread() is not threading.main_thread():
        yield
        return
    own = os.getpid()

    def leave(number: int, frame: Any) -> None:
        if os.getpid() != own:  # of a worker that was forked
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        raise Interrupted("terminated", number)

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _bug(console: Console, problem: Exception) -> int:
    console.close(failed=True)
    traceback.print_exc()
    launch.report(1, f"{type(problem).__name__}: {problem}", lost=False)
    return 1


def parser() -> Parser:
    top = Parser(prog="bertsmith", description="Forge any member of the BERT family on your own text.")
    top.add_argument("--version", action="version", version=f"bertsmith {bertsmith.__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (add_recipes, add_prepare, add_show, add_plan, add_pretrain, add_fill, add_finetune, add_predict):
        add(commands)
    for add in (
        add_adapt,
        add_graph,
        add_multitask,
        add_glue,
        add_clue,
        add_evaluate,
        add_compare,
        add_probe,
        add_attention,
        add_senses,
        add_tree,
        add_surface,
        add_embed,
        add_similar,
        add_score,
        add_generate,
        add_compress,
        add_augment,
        add_export,
        add_import,
        add_convert,
        add_stack,
        add_expand,
        add_study,
        add_serve,
        add_verify,
        add_report,
        add_completion,
    ):
        add(commands)
    return top
