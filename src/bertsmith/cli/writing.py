"""`generate`: what a model writes after or about a text."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import bertsmith
from bertsmith.cli.common import add_base, add_columns, add_member, command, loading, natural, positive, table
from bertsmith.console import Console
from bertsmith.errors import InputError, printable

SHOWN = 20  # texts on the screen
NAMES = (
    "text",
    "input",
    "out",
    "limit",
    "beam",
    "length_penalty",
    "stop",
    "no_repeat",
    "sample",
    "temperature",
    "top_k",
    "top_p",
    "seed",
    "batch",
    "on_long",
)


def add_generate(commands: Any) -> None:
    example = 'bertsmith generate run --text "Once upon a time" --sample --top-p 0.9'
    made = command(commands, "generate", generate, "what a model writes after or about a text", example)
    made.add_argument("model", metavar="MODEL")
    made.add_argument("--text", metavar="T", help="a text to go on with, or to write about")
    made.add_argument("--input", metavar="FILE", help="texts, one a row")
    made.add_argument("--out", metavar="FILE", help="JSON lines {index, text, score, stopped}")
    made.add_argument("--limit", type=int, default=64, metavar="N", help="new tokens at most")
    made.add_argument("--beam", type=int, default=1, metavar="N", help="the likeliest of N texts that are followed")
    made.add_argument(
        "--length-penalty", type=float, default=1.0, metavar="P", help="of beams: by length to the power P"
    )
    made.add_argument("--stop", default="likely", choices=("likely", "early", "never"), help="when a beam search ends")
    made.add_argument("--no-repeat", type=int, default=0, metavar="N", help="no run of N tokens comes twice")
    made.add_argument("--sample", action="store_true", help="draw tokens by their probabilities")
    made.add_argument("--temperature", type=float, default=1.0)
    made.add_argument("--top-k", type=int, default=0, metavar="N", help="draw from the N likeliest tokens")
    made.add_argument("--top-p", type=float, default=1.0, metavar="P", help="draw from those that make up this share")
    made.add_argument("--seed", type=natural, default=0)
    made.add_argument("--answers", metavar="FILE", help="nothing but one of these lines")
    made.add_argument("--batch", type=positive, default=32, metavar="N", help="texts at a time")
    made.add_argument("--on-long", choices=("error", "truncate"), default="error")
    add_columns(made)
    add_base(made)
    add_member(made)


def generate(arguments: argparse.Namespace, console: Console) -> None:
    options = {name: getattr(arguments, name) for name in NAMES} | table(arguments)
    if arguments.answers is not None:
        options["answers"] = _lines(arguments.answers)
    streams = arguments.text is not None and not arguments.json and arguments.beam == 1 and sys.stdout.isatty()
    if streams:
        options["told"] = lambda piece: print(piece, end="", flush=True)
    result = bertsmith.generate(arguments.model, **options, **loading(arguments, console))
    rows = result if arguments.text is None else [result]
    if arguments.json:
        for row in rows:
            console.out(json.dumps(row, ensure_ascii=False))
        return
    if streams:
        console.out("")
    for row in () if streams else rows[:SHOWN]:
        console.out(row["text"])
    if len(rows) > SHOWN:
        console.out(
            f"… {len(rows) - SHOWN:,} more; {'they stand in' if arguments.out else '--out FILE has them;'} {arguments.out or ''}".rstrip(
                " ;"
            )
        )
    if cut := sum(row["stopped"] == "limit" for row in rows):
        console.say(
            f"{cut:,} of {len(rows):,} stopped at --limit {arguments.limit} or where the model's own length ends, not at an end of theirs"
        )


def _lines(path: str) -> list[str]:
    try:
        found = [line for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--answers {printable(path)}: {error.strerror if isinstance(error, OSError) else 'not UTF-8'}"
        ) from None
    if not found:
        raise InputError(f"--answers {printable(path)}: is empty; one answer a line is wanted")
    return found
