"""The command line: parse, call the verb of the Python API, print its result, turn errors into exit codes.

Every command is one function `command(arguments, console)`; heavy imports happen inside the verbs, so `--help` is quick.
"""

import argparse
import errno
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import bertsmith
from bertsmith.console import Console
from bertsmith.errors import BertsmithError, InputError, Lost, printable
from bertsmith.training import launch


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
    many = arguments[:1] == ["pretrain"]  # the one command that many processes share
    if not (many and launch.mute()):
        print(f"bertsmith: error: {printable(error[1], 2000)}", file=sys.stderr)
    if many:
        launch.report(*error, lost)
    return error[0]


def _bug(console: Console, problem: Exception) -> int:
    console.close(failed=True)
    traceback.print_exc()
    launch.report(1, f"{type(problem).__name__}: {problem}", lost=False)
    return 1


class Parser(argparse.ArgumentParser):
    """One line where argparse prints a page; exact option names only."""

    def __init__(self, **options: Any):
        options.setdefault("allow_abbrev", False)
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


def parser() -> Parser:
    top = Parser(prog="bertsmith", description="Forge any member of the BERT family on your own text.")
    top.add_argument("--version", action="version", version=f"bertsmith {bertsmith.__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (_recipes, _prepare, _show, _plan, _pretrain, _fill, _finetune, _predict, _evaluate, _embed):
        add(commands)
    for add in (_export, _import, _verify, _report):
        add(commands)
    return top


def _command(commands: Any, name: str, run: Callable, about: str, example: str, json: bool = True) -> Parser:
    made = commands.add_parser(name, help=about.replace("%", "%%"), description=about, epilog=f"example:\n  {example}")
    made.set_defaults(command=run)
    if json:
        made.add_argument("--json", action="store_true", help="print nothing but JSON on stdout")
    return made


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return value


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


# ---------------------------------------------------------------- recipes


def _recipes(commands: Any) -> None:
    example = "bertsmith recipes bert"
    made = _command(commands, "recipes", recipes, "every member: what it hides, who sees whom, what it asks", example)
    made.add_argument("name", nargs="?", help="one member or one recipe (bert, bert:mini): its whole configuration")


def recipes(arguments: argparse.Namespace, console: Console) -> None:
    from bertsmith.config import to_dict
    from bertsmith.errors import nearest
    from bertsmith.nn.member import parameters
    from bertsmith.recipe import find, members

    known = members()
    if arguments.name:
        name = arguments.name
        if ":" not in name:
            if name not in known:
                raise InputError(f"recipe {name!r}: no such member; {nearest(name, known)}")
            name = f"{name}:{'base' if 'base' in known[name].sizes else next(iter(known[name].sizes))}"
        console.out(json.dumps(to_dict(find(name)), indent=None if arguments.json else 2))
        return
    rows = [
        {
            "name": member.name,
            "about": member.about,
            "paper": member.paper,
            "sizes": {size: parameters(build()) for size, build in member.sizes.items()},
        }
        for member in known.values()
    ]
    if arguments.json:
        console.out(json.dumps(rows))
        return
    for row in rows:
        sizes = "  ".join(f"{size} {count:,}" for size, count in row["sizes"].items())
        console.out(f"{row['name']}\n  {row['about']}\n  {row['paper']}\n  parameters: {sizes}")


# ---------------------------------------------------------------- prepare


def _prepare(commands: Any) -> None:
    example = "bertsmith prepare corpus/ --out store --tokenizer wordpiece:8000"
    made = _command(commands, "prepare", prepare, "text to token store; trains the tokenizer if asked", example)
    made.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="files, directories, globs (.txt .jsonl .csv .tsv .parquet, also .gz .xz .zst), or hf:NAME",
    )
    made.add_argument("--out", required=True, metavar="STORE")
    made.add_argument(
        "--tokenizer",
        default="wordpiece:8000",
        metavar="KIND:SIZE|DIR",
        help="wordpiece:N, bpe:N (byte-level), bpe-char:N, unigram:N, or a vocab.txt, tokenizer.json or folder",
    )
    made.add_argument("--lowercase", action="store_true")
    made.add_argument("--language", default="en", help="for sentence boundaries")
    made.add_argument(
        "--documents",
        choices=("blank", "file"),
        default="blank",
        help="what ends a document in .txt: a blank line, or the file",
    )
    made.add_argument(
        "--lines", choices=("paragraph", "sentence", "wrapped"), default="paragraph", help="what a line of .txt is"
    )
    made.add_argument("--field", default="text", help="the field or column that holds the text")
    made.add_argument("--holdout", type=float, default=0.01, help="share of the documents held out")
    made.add_argument("--tokenizer-sample", default="100MB", help="text that the tokenizer learns from, at most")
    made.add_argument(
        "--phrases", metavar="FILE|npmi", help="a word list (.txt), annotated text (.jsonl), or npmi[:0.5]"
    )
    made.add_argument("--entities", metavar="FILE|npmi", help="the same for entities; both are kept in the store")
    made.add_argument("--encoding", default="utf-8")
    made.add_argument("--on-bad-line", choices=("error", "skip"), default="error")
    made.add_argument("--workers", type=_positive, default=1)
    made.add_argument("--force", action="store_true", help="replace a store")


def prepare(arguments: argparse.Namespace, console: Console) -> None:
    ours = ("command", "json", "typed", "sources", "out")
    options = {key: value for key, value in vars(arguments).items() if key not in ours}
    account = bertsmith.prepare(arguments.sources, arguments.out, say=console.say, **options)
    if arguments.json:
        console.out(json.dumps(account))


# ---------------------------------------------------------------- show


def _show(commands: Any) -> None:
    example = "bertsmith show bert:tiny --data store -n 3"
    made = _command(
        commands, "show", show, "what the model will see: decoded examples, requested against achieved rates", example
    )
    made.add_argument("recipe", metavar="RECIPE")
    made.add_argument("--data", metavar="STORE")
    made.add_argument("--text", metavar="FILE")
    made.add_argument("--tokenizer", metavar="DIR")
    made.add_argument("-n", type=_positive, default=3, metavar="N", help="examples")
    made.add_argument("--seed", type=_natural, default=0)
    made.add_argument("--epoch", type=_natural, default=0)
    made.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    made.add_argument("--model", metavar="RUN", help="an ELECTRA run: show what its generator writes, too")


def show(arguments: argparse.Namespace, console: Console) -> None:
    from bertsmith.downstream import show as page

    options = {
        key: getattr(arguments, key) for key in ("data", "text", "tokenizer", "n", "seed", "epoch", "set", "model")
    }
    lines = page.show(arguments.recipe, **options)
    pairs = page.meanings(arguments.recipe, arguments.set)
    for line in (json.dumps(line, ensure_ascii=False) for line in lines) if arguments.json else page.text(lines, pairs):
        console.out(line)


# ---------------------------------------------------------------- pretrain


def _pretrain(commands: Any) -> None:
    example = "bertsmith pretrain bert:mini --data store --out run --minutes 10"
    made = _command(commands, "pretrain", pretrain, "pre-train a member on a store", example)
    made.add_argument("recipe", metavar="RECIPE")
    made.add_argument("--data", required=True, metavar="STORE")
    made.add_argument("--out", required=True, metavar="RUN")
    made.add_argument("--steps", type=_positive)
    made.add_argument("--tokens", type=_positive)
    made.add_argument("--minutes", type=float)
    made.add_argument(
        "--from",
        dest="from_",
        metavar="MODEL",
        help="go on from the weights of a run or a Hugging Face folder; RECIPE without a size takes its shapes",
    )
    _new_head(made)
    made.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="such as model.layers=6; `bertsmith recipes NAME` lists the fields",
    )
    made.add_argument("--seed", type=_natural, default=0)
    made.add_argument("--workers", type=_natural, default=1, help="loader workers; 0 loads between the steps")
    made.add_argument("--threads", type=_positive, help="CPU threads; the same number gives the same bits")
    made.add_argument("--device", help="cpu, cuda or cuda:N")
    made.add_argument("--processes", type=_positive, metavar="N", help="work on this machine as so many processes")
    made.add_argument(
        "--shard", choices=("ddp", "fsdp"), default="ddp", help="processes hold copies of the model, or a slice each"
    )
    made.add_argument(
        "--timeout", type=_positive, default=300, metavar="SECONDS", help="that a process waits for the others at most"
    )
    made.add_argument("--resume", action="store_true", help="continue from the newest step that verifies")
    made.add_argument("--tensorboard", action="store_true", help="write TensorBoard events too")


def pretrain(arguments: argparse.Namespace, console: Console) -> None:
    launch.enter()
    if launch.wanted(arguments.processes):
        launch.start(arguments.typed, arguments.processes, arguments.threads)
        return
    from bertsmith.config import override
    from bertsmith.training.start import recipe_for

    recipe = override(recipe_for(arguments.recipe, arguments.from_), arguments.set)
    names = ("steps", "tokens", "minutes", "from_", "seed", "workers", "threads", "device", "resume", "tensorboard")
    options = {name: getattr(arguments, name) for name in (*names, "shard", "timeout", "new_heads")}
    result = bertsmith.pretrain(
        recipe, arguments.data, arguments.out, say=console.say, progress=console.progress, **options
    )
    if arguments.json and launch.rank() == 0:
        console.out(json.dumps(result))


def _new_head(made: Parser) -> None:
    made.add_argument(
        "--new-head",
        action="append",
        default=[],
        dest="new_heads",
        metavar="NAME",
        help="a head that the weights lack and that starts fresh: token, pair",
    )


# ---------------------------------------------------------------- plan


def _plan(commands: Any) -> None:
    example = "bertsmith plan bert:mini --data store --tokens 100000000"
    about = "parameters, memory, operations and time of a run, before anything is launched"
    made = _command(commands, "plan", plan, about, example)
    made.add_argument("recipe", metavar="RECIPE")
    made.add_argument("--data", metavar="STORE", help="its rows and vocabulary; full rows of random tokens without it")
    made.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    made.add_argument("--steps", type=_positive)
    made.add_argument("--tokens", type=_positive)
    made.add_argument("--threads", type=_positive)
    made.add_argument("--device", help="cpu, cuda or cuda:N: the machine is probed")
    made.add_argument("--on", metavar="GPU", help="reckon for a100, h100, ... by its published peak instead")


def plan(arguments: argparse.Namespace, console: Console) -> None:
    from bertsmith.config import override
    from bertsmith.recipe import find
    from bertsmith.training import cost
    from bertsmith.training.run import open_store

    recipe = override(find(arguments.recipe), arguments.set)
    store = open_store(arguments.data) if arguments.data else None
    options = {"threads": arguments.threads, "device": arguments.device, "gpu": arguments.on}
    found = cost.estimate(recipe, store, **options)
    tokens = arguments.tokens or (arguments.steps or 0) * found.tokens
    if arguments.json:
        console.out(json.dumps({**vars(found), "run": found.run(tokens) if tokens else None}))
        return
    for line in cost.lines(recipe, found, tokens, arguments.on):
        console.out(line)


# ---------------------------------------------------------------- fill


def _fill(commands: Any) -> None:
    made = _command(commands, "fill", fill, "fill masks", 'bertsmith fill run "Paris is the [MASK] of France."')
    made.add_argument("model", metavar="MODEL")
    made.add_argument("text")
    made.add_argument("--top", type=_positive, default=5, metavar="K")
    _member(made)


def fill(arguments: argparse.Namespace, console: Console) -> None:
    result = bertsmith.fill(_load(arguments, console), arguments.text, top=arguments.top)
    if arguments.json:
        console.out(json.dumps(result, ensure_ascii=False))
        return
    for mask in result["masks"]:
        console.out(f"{result['text']}  (token {mask['position']})")
        for guess in mask["top"]:
            console.out(f"  {guess['p']:7.2%}  {guess['token']}")


def _member(made: Parser) -> None:
    made.add_argument(
        "--member",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module of your own whose classes the run may name",
    )


def _load(arguments: argparse.Namespace, console: Console) -> Any:
    return bertsmith.load(arguments.model, members=tuple(arguments.member), say=console.say)


# ---------------------------------------------------------------- finetune, predict, evaluate, embed


def _finetune(commands: Any) -> None:
    example = "bertsmith finetune run --task classify --train train.tsv --dev dev.tsv --out classifier"
    made = _command(commands, "finetune", finetune, "fine-tune a model on a labelled task", example)
    made.add_argument("model", metavar="MODEL")
    made.add_argument(
        "--task",
        required=True,
        metavar="KIND",
        help="classify or regress (texts; pairs where there is a column text2), tag (CoNLL files), qa (SQuAD's json)",
    )
    made.add_argument("--train", required=True, metavar="FILE")
    made.add_argument("--dev", required=True, metavar="FILE")
    made.add_argument("--out", required=True, metavar="RUN")
    _columns(made)
    made.add_argument("--method", default="full", help="full, or frozen: the trunk stays as it is, the head learns")
    made.add_argument("--scratch", action="store_true", help="MODEL's architecture and tokenizer with fresh weights")
    made.add_argument(
        "--seeds", type=_positive, default=1, metavar="N", help="runs with N seeds, their mean and spread"
    )
    made.add_argument("--seed", type=_natural, default=0)
    made.add_argument("--on-long", choices=("truncate", "window", "error"))
    made.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="such as epochs=10 or lr=3e-5")
    made.add_argument("--threads", type=_positive)
    made.add_argument("--device")
    _member(made)


def _columns(made: Parser) -> None:
    made.add_argument(
        "--columns", metavar="text=NAME,label=3", help="which column is which, by name or by number from 1"
    )
    made.add_argument(
        "--header", choices=("yes", "no"), help="whether a tsv or csv file starts with the names of its columns"
    )


def _table(arguments: argparse.Namespace) -> dict[str, Any]:
    columns = {}
    for part in (arguments.columns or "").split(",") if arguments.columns else ():
        role, equals, name = part.partition("=")
        if not (role and equals and name):
            raise InputError(
                f"--columns {arguments.columns}: {part!r} is not role=column, such as text=sentence or label=3"
            )
        columns[role.strip()] = name.strip()
    given = {"columns": columns} if columns else {}
    return given | ({"header": arguments.header == "yes"} if arguments.header else {})


def finetune(arguments: argparse.Namespace, console: Console) -> None:
    names = ("task", "train", "dev", "out", "method", "scratch", "seeds", "seed", "on_long", "set", "threads", "device")
    options = {name: getattr(arguments, name) for name in names} | _table(arguments)
    result = bertsmith.finetune(
        arguments.model, members=tuple(arguments.member), say=console.say, progress=console.progress, **options
    )
    if arguments.json:
        console.out(json.dumps(result))


def _predict(commands: Any) -> None:
    example = "bertsmith predict classifier --input new.tsv --out predictions.jsonl"
    made = _command(commands, "predict", predict, "JSON lines {index, label, scores}", example)
    made.add_argument("model", metavar="MODEL")
    made.add_argument("--input", required=True, metavar="FILE")
    made.add_argument("--out", required=True, metavar="FILE")
    _columns(made)
    _member(made)


def predict(arguments: argparse.Namespace, console: Console) -> None:
    rows = bertsmith.predict(
        _load(arguments, console), arguments.input, arguments.out, say=console.say, **_table(arguments)
    )
    if arguments.json:
        console.out(json.dumps({"predictions": len(rows), "out": arguments.out}))


def _evaluate(commands: Any) -> None:
    example = "bertsmith evaluate classifier --input test.tsv"
    made = _command(
        commands, "evaluate", evaluate, "{metric: {value, low, high}} with 95 % bootstrap intervals", example
    )
    made.add_argument("model", metavar="MODEL")
    made.add_argument("--input", metavar="FILE", help="labelled rows, for a fine-tuned model")
    made.add_argument("--data", metavar="STORE", help="for a pre-training run: loss on the held-out documents")
    _columns(made)
    _member(made)


def evaluate(arguments: argparse.Namespace, console: Console) -> None:
    if (arguments.input is None) == (arguments.data is None):
        raise InputError("evaluate: give --input FILE for a fine-tuned model, or --data STORE for a pre-training run")
    options = {"data": arguments.data} if arguments.data else {"input": arguments.input, **_table(arguments)}
    result = bertsmith.evaluate(_load(arguments, console), say=console.say, **options)
    if arguments.json:
        console.out(json.dumps(result))
        return
    for name, figure in result.items():
        console.out(f"{name:20} {figure['value']:.4f}  [{figure['low']:.4f}, {figure['high']:.4f}]")


def _embed(commands: Any) -> None:
    made = _command(
        commands,
        "embed",
        embed,
        "vectors as .npy, in input order",
        "bertsmith embed run --input texts.txt --out vectors",
    )
    made.add_argument("model", metavar="MODEL")
    made.add_argument("--input", required=True, metavar="FILE")
    made.add_argument("--out", required=True, metavar="DIR")
    made.add_argument(
        "--pool", choices=("mean", "cls"), help="mean, unless an imported sentence encoder says otherwise"
    )
    made.add_argument(
        "--normalise", choices=("yes", "no"), help="vectors of length 1; no, unless such an encoder says so"
    )
    made.add_argument("--layer", type=int, help="0 = embeddings, 1 = first layer, ...; the last unless given")
    made.add_argument(
        "--precision",
        choices=("exact", "auto", "float32", "bfloat16"),
        default="exact",
        help="bfloat16 is several times faster and good to 2 or 3 digits",
    )
    _columns(made)
    _member(made)


def embed(arguments: argparse.Namespace, console: Console) -> None:
    options = {name: getattr(arguments, name) for name in ("pool", "layer", "precision")} | _table(arguments)
    options |= {"normalise": arguments.normalise == "yes"} if arguments.normalise else {}
    shape = bertsmith.embed(
        _load(arguments, console), arguments.input, out=arguments.out, say=console.say, **options
    ).shape
    if arguments.json:
        console.out(json.dumps({"rows": shape[0], "width": shape[1], "out": str(Path(arguments.out))}))


# ---------------------------------------------------------------- export, import


def _export(commands: Any) -> None:
    example = "bertsmith export run --to hf --out folder"
    made = _command(
        commands,
        "export",
        export,
        "a folder that transformers opens without bertsmith; compared before it is done",
        example,
    )
    made.add_argument("model", metavar="MODEL")
    made.add_argument("--to", choices=("hf",), default="hf", help="hf: Hugging Face format")
    made.add_argument("--out", required=True, metavar="DIR")
    made.add_argument(
        "--half",
        choices=("discriminator", "generator"),
        help="of an ELECTRA run, which has two models; the discriminator unless given",
    )
    made.add_argument("--force", action="store_true", help="replace an export")
    made.add_argument("--push", metavar="USER/NAME", help="upload it to the Hugging Face hub as well")
    made.add_argument(
        "--public", action="store_true", help="a new repository there is for all to see; private unless given"
    )
    _member(made)


def export(arguments: argparse.Namespace, console: Console) -> None:
    if arguments.public and not arguments.push:
        raise InputError("--public: only with --push USER/NAME")
    options = {name: getattr(arguments, name) for name in ("to", "half", "force", "push")}
    options |= {"private": not arguments.public, "members": tuple(arguments.member), "say": console.say}
    result = bertsmith.export(arguments.model, arguments.out, **options)
    if arguments.json:
        console.out(json.dumps(result))


def _import(commands: Any) -> None:
    example = "bertsmith import folder --out model"
    made = _command(
        commands, "import", import_, "a Hugging Face folder as a model of ours; compared before it is done", example
    )
    made.add_argument(
        "folder", metavar="HFDIR", help="a folder with config.json and model.safetensors, or hf:user/name"
    )
    made.add_argument("--out", required=True, metavar="MODEL")
    _new_head(made)
    made.add_argument(
        "--drop",
        action="append",
        default=[],
        metavar="NAME",
        help="a module of theirs to leave out, such as qa_outputs",
    )
    made.add_argument("--seed", type=_natural, default=0, help="of new heads")
    made.add_argument("--force", action="store_true", help="replace an imported model")


def import_(arguments: argparse.Namespace, console: Console) -> None:
    options = {name: getattr(arguments, name) for name in ("new_heads", "drop", "seed", "force")}
    result = bertsmith.import_(arguments.folder, arguments.out, say=console.say, **options)
    if arguments.json:
        console.out(json.dumps(result))


# ---------------------------------------------------------------- verify, report


def _verify(commands: Any) -> None:
    made = _command(commands, "verify", verify, "check a store or run against its manifests", "bertsmith verify run")
    made.add_argument("path", metavar="PATH")


def verify(arguments: argparse.Namespace, console: Console) -> None:
    result = bertsmith.verify(arguments.path)
    console.out(
        json.dumps(result)
        if arguments.json
        else f"{arguments.path}: {result['kind']}, {result['files']} files as their manifests say"
    )


def _report(commands: Any) -> None:
    example = "bertsmith report run classifier --out report.html"
    made = _command(
        commands, "report", report, "curves, samples, settings and scores of runs side by side, one HTML file", example
    )
    made.add_argument("runs", nargs="+", metavar="RUN")
    made.add_argument("--out", required=True, metavar="FILE.html")


def report(arguments: argparse.Namespace, console: Console) -> None:
    path = bertsmith.report(arguments.runs, arguments.out, say=console.say)
    if arguments.json:
        console.out(json.dumps({"report": os.fspath(path)}))
