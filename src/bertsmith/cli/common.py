"""What several commands share: the parser, kinds of values, options that come together."""

import argparse
import re
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from bertsmith.console import Console
from bertsmith.errors import InputError, near, printable
from bertsmith.training import launch

OPTION = re.compile(r"--?[a-zA-Z][^\s=]*(=.*)?", re.DOTALL)  # what argparse takes for one


class Parser(argparse.ArgumentParser):
    """One line where argparse prints a page; exact option names only."""

    def __init__(self, **options: Any):
        self.names: list[str] = []
        self.commands: Any = None
        options.setdefault("allow_abbrev", False)
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def add_argument(self, *names: Any, **options: Any) -> Any:
        self.names += [name for name in names if name.startswith("-")]
        return super().add_argument(*names, **options)

    def add_subparsers(self, **options: Any) -> Any:
        self.commands = super().add_subparsers(**options)
        return self.commands

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self._check(args or ())
        return super().parse_known_args(args, namespace)

    def _check(self, words: Iterable[str]) -> None:
        """InputError for a name that there is none of, before argparse asks for what else is missing; with what may have been meant."""
        for word in words:
            if word == "--":
                return
            if OPTION.fullmatch(word):
                name = word.partition("=")[0]
                if name not in self.names and (word.startswith("--") or word[:2] not in self.names):
                    more = "; a field of the configuration is set by --set FIELD=VALUE" if "--set" in self.names else ""
                    self.error(f"{printable(name)}: no such option{_meant(name, self.names) or more}")
            elif self.commands is not None:  # the rest is the command's own
                if word not in self.commands.choices:
                    self.error(f"{printable(word)}: no such command" + _meant(word, self.commands.choices))
                return

    def error(self, message: str) -> NoReturn:
        left = message.removeprefix("unrecognized arguments: ")
        if left != message and not left.startswith("-"):
            message += "; what has no option before it stands together, in front of the options"
        raise InputError(f"{message.removesuffix('?')}{'?' if message.endswith('?') else ';'} see {self.prog} --help")


def _meant(name: str, known: Iterable[str]) -> str:
    bare = {one.lstrip("-"): one for one in known}
    found = near(name.lstrip("-").replace("_", "-"), bare)
    return f"; did you mean {bare[found[0]]}?" if found else ""


def command(commands: Any, name: str, run: Callable, about: str, example: str) -> Parser:
    made = commands.add_parser(name, help=about.replace("%", "%%"), description=about, epilog=f"example:\n  {example}")
    made.set_defaults(command=run)
    made.add_argument("--json", action="store_true", help="print nothing but JSON on stdout")
    return made


def positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return value


def natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def add_data(made: Parser, required: bool = False, help: str = "") -> None:
    several = "several times: stores that are read as one, by size or by weight (A=0.7)"
    about = f"{help}; {several}" if help else several
    made.add_argument("--data", action="append", required=required, metavar="STORE", help=about)


def data_of(arguments: argparse.Namespace) -> Any:
    """The store that was named, or several."""
    from bertsmith.text.blend import asked

    return asked(arguments.data) if arguments.data else None


def add_new_head(made: Parser) -> None:
    made.add_argument(
        "--new-head",
        action="append",
        default=[],
        dest="new_heads",
        metavar="NAME",
        help="a head that the weights lack and that starts fresh: token, pair",
    )


def add_work(made: Parser) -> None:
    """How a run is carried out, whatever it reads."""
    made.add_argument("--seed", type=natural, default=0)
    made.add_argument("--workers", type=natural, default=1, help="loader workers; 0 loads between the steps")
    made.add_argument("--threads", type=positive, help="CPU threads; the same number gives the same bits")
    made.add_argument("--device", help="cpu, cuda or cuda:N")
    made.add_argument("--processes", type=positive, metavar="N", help="work on this machine as so many processes")
    made.add_argument(
        "--shard", choices=("ddp", "fsdp"), default="ddp", help="processes hold copies of the model, or a slice each"
    )
    made.add_argument(
        "--timeout", type=positive, default=300, metavar="SECONDS", help="that a process waits for the others at most"
    )
    made.add_argument("--resume", action="store_true", help="continue from the newest step that verifies")
    made.add_argument("--tensorboard", action="store_true", help="write TensorBoard events too")


WORK = ("seed", "workers", "threads", "device", "shard", "timeout", "resume", "tensorboard")


def launched(arguments: argparse.Namespace) -> bool:
    """Whether the command was carried out by processes that this one has started."""
    launch.enter()
    if not launch.wanted(arguments.processes):
        return False
    launch.start(arguments.typed, arguments.processes, arguments.threads)
    return True


def add_member(made: Parser) -> None:
    made.add_argument(
        "--member",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module of your own whose classes the run may name",
    )


def add_base(made: Parser) -> None:
    made.add_argument(
        "--base",
        metavar="MODEL",
        help="of a run of adapters and their like the model that it began with, if it has moved",
    )


def loading(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """How a MODEL is loaded, by the verb that takes it: what is cheap to refuse comes first."""
    base = {"base": arguments.base} if getattr(arguments, "base", None) else {}
    return {"members": tuple(arguments.member), "say": console.say, **base}


def add_columns(made: Parser) -> None:
    made.add_argument(
        "--columns", metavar="text=NAME,label=3", help="which column is which, by name or by number from 1"
    )
    made.add_argument(
        "--encoding",
        metavar="NAME",
        help="of the file, where it is not UTF-8: gb18030, big5, shift_jis, latin-1, utf-16",
    )
    made.add_argument(
        "--header", choices=("yes", "no"), help="whether a tsv or csv file starts with the names of its columns"
    )


def table(arguments: argparse.Namespace) -> dict[str, Any]:
    columns = {}
    for part in (arguments.columns or "").split(",") if arguments.columns else ():
        role, equals, name = part.partition("=")
        if not (role and equals and name):
            raise InputError(
                f"--columns {arguments.columns}: {part!r} is not role=column, such as text=sentence or label=3"
            )
        columns[role.strip()] = name.strip()
    given: dict[str, Any] = {"columns": columns} if columns else {}
    given |= {"encoding": arguments.encoding} if arguments.encoding else {}
    return given | ({"header": arguments.header == "yes"} if arguments.header else {})
