"""`export` and `import`: Hugging Face folders; `convert`: the same model as another."""

import argparse
import json
from typing import Any

import bertsmith
from bertsmith.cli.common import add_base, add_member, add_new_head, command, natural
from bertsmith.console import Console
from bertsmith.errors import InputError, printable


def add_export(commands: Any) -> None:
    example = "bertsmith export run --to hf --out folder"
    made = command(
        commands,
        "export",
        export,
        "a folder that others open without bertsmith: transformers, ONNX Runtime; compared before it is done",
        example,
    )
    made.add_argument("model", metavar="MODEL")
    made.add_argument(
        "--to",
        choices=("hf", "onnx", "peft", "word2vec", "word2vec-bin", "glove"),
        default="hf",
        help="hf: Hugging Face format; onnx: graphs for ONNX Runtime, without torch; peft: updates of --method lora alone, with their head; word2vec, word2vec-bin, glove: a file of the vectors of words",
    )
    made.add_argument("--out", required=True, metavar="DIR|FILE")
    made.add_argument(
        "--half",
        choices=("discriminator", "generator"),
        help="of an ELECTRA run, which has two models; the discriminator unless given",
    )
    made.add_argument(
        "--pool",
        metavar="HOW",
        help="onnx: the vector of a text (mean, cls, …), not what the head says; as embed has it",
    )
    made.add_argument("--int8", action="store_true", help="onnx: in eight bits, too, and what that loses")
    made.add_argument(
        "--input",
        metavar="FILE",
        help="onnx: texts that the loss of int8 is measured on, with the score where they are labelled",
    )
    made.add_argument(
        "--columns", metavar="ROLE=COLUMN,...", help="of that file, where it has other ones than the task's"
    )
    made.add_argument("--force", action="store_true", help="replace an export")
    made.add_argument("--push", metavar="USER/NAME", help="upload it to the Hugging Face hub as well")
    made.add_argument(
        "--public", action="store_true", help="a new repository there is for all to see; private unless given"
    )
    add_base(made)
    add_member(made)


def export(arguments: argparse.Namespace, console: Console) -> None:
    from bertsmith.downstream.model import check_model

    if arguments.public and not arguments.push:
        raise InputError("--public: only with --push USER/NAME")
    options = {name: getattr(arguments, name) for name in ("to", "half", "force", "push")}
    options |= {name: getattr(arguments, name) for name in ("pool", "int8", "input", "columns")}
    options |= {"private": not arguments.public, "members": tuple(arguments.member), "say": console.say}
    options |= {"base": arguments.base} if arguments.base else {}
    check_model(arguments.model)
    result = bertsmith.export(arguments.model, arguments.out, **options)
    if arguments.json:
        console.out(json.dumps(result))


def add_import(commands: Any) -> None:
    example = "bertsmith import folder --out model"
    made = command(
        commands, "import", import_, "a Hugging Face folder as a model of ours; compared before it is done", example
    )
    made.add_argument(
        "folder",
        metavar="HFDIR|FILE",
        help="a folder with config.json and model.safetensors, or hf:user/name (hf:gpt2); or a file of word vectors",
    )
    made.add_argument("--out", required=True, metavar="MODEL")
    add_new_head(made)
    made.add_argument(
        "--drop",
        action="append",
        default=[],
        metavar="NAME",
        help="a module of theirs to leave out, such as qa_outputs",
    )
    made.add_argument("--seed", type=natural, default=0, help="of new heads")
    made.add_argument("--force", action="store_true", help="replace an imported model")


def import_(arguments: argparse.Namespace, console: Console) -> None:
    from bertsmith.deploy.folder import located

    options = {name: getattr(arguments, name) for name in ("new_heads", "drop", "seed", "force")}
    if not located(arguments.folder).exists():
        raise InputError(f"{printable(arguments.folder)}: no such folder")
    result = bertsmith.import_(arguments.folder, arguments.out, say=console.say, **options)
    if arguments.json:
        console.out(json.dumps(result))


def add_convert(commands: Any) -> None:
    example = "bertsmith convert run --to longformer --length 4096 --out long"
    made = command(
        commands, "convert", convert, "a BERT or RoBERTa as a model of long texts; compared before it is done", example
    )
    made.add_argument("model", metavar="MODEL")
    made.add_argument(
        "--to", choices=("longformer",), default="longformer", help="longformer: windows, and tokens that read all"
    )
    made.add_argument("--length", type=natural, required=True, metavar="N", help="tokens that it will read at once")
    made.add_argument(
        "--window",
        type=natural,
        metavar="N",
        help="tokens that each sees to either side; unless given, half of what the model read at once, 256 at most",
    )
    made.add_argument("--out", required=True, metavar="MODEL")
    made.add_argument("--force", action="store_true", help="replace a model that was imported or converted")
    add_member(made)


def convert(arguments: argparse.Namespace, console: Console) -> None:
    from bertsmith.downstream.model import check_model

    options = {name: getattr(arguments, name) for name in ("to", "length", "window", "force")}
    check_model(arguments.model)
    result = bertsmith.convert(
        arguments.model, arguments.out, members=tuple(arguments.member), say=console.say, **options
    )
    if arguments.json:
        console.out(json.dumps(result))
