"""`score`: how probable a model finds what stands there."""

import argparse
import json
from typing import Any

import bertsmith
from bertsmith.cli.common import add_base, add_columns, add_member, command, loading, positive, table
from bertsmith.console import Console
from bertsmith.spelling import amount

SHOWN = 20  # texts on the screen


def add_score(commands: Any) -> None:
    example = "bertsmith score run --input texts.txt"
    made = command(commands, "score", score, "log-probability of texts, bits per byte, minimal pairs", example)
    made.add_argument("model", metavar="MODEL")
    made.add_argument(
        "--input",
        metavar="FILE",
        help="texts; with a column text2 that is scored, going on from text or written about it",
    )
    made.add_argument(
        "--pairs",
        nargs="+",
        metavar="FILE",
        help="good and bad sentences: text and text2, or BLiMP's; source: what both are about",
    )
    made.add_argument("--out", metavar="FILE", help="a JSON line for each row")
    made.add_argument(
        "--method",
        choices=("causal", "pll", "pll-word", "decoder"),
        help="causal of a language model, decoder where there is one; else each token is hidden alone (pll) or with the rest of its word (pll-word, unless given)",
    )
    made.add_argument(
        "--per", choices=("text", "token", "byte", "character"), default="text", help="what pairs are compared by"
    )
    made.add_argument(
        "--written", metavar="TEXT", help='a task as text, asked for every label: "{text} It was {label}."'
    )
    made.add_argument(
        "--labels",
        metavar="LABEL,...",
        help="which there are, and how they are written: 0=bad,1=good; those of the file",
    )
    made.add_argument("--each", action="store_true", help="with --json or --out: every token, too")
    made.add_argument("--join", default=" ", metavar="TEXT", help="between text and text2; a space unless given")
    made.add_argument("--on-long", choices=("window", "error"), default="window")
    made.add_argument("--stride", type=positive, metavar="N", help="tokens from the start of one window to the next")
    add_columns(made)
    add_base(made)
    add_member(made)


def score(arguments: argparse.Namespace, console: Console) -> None:
    names = ("input", "pairs", "out", "method", "per", "each", "join", "on_long", "stride", "written")
    options = {name: getattr(arguments, name) for name in names} | table(arguments)
    parted = [part.partition("=") for part in arguments.labels.split(",")] if arguments.labels else []
    options |= {"labels": {name: text if equals else name for name, equals, text in parted}} if parted else {}
    result = bertsmith.score(arguments.model, **options, **loading(arguments, console))
    if arguments.json:
        console.out(json.dumps(result, ensure_ascii=False))
        return
    shown = _texts if "total" in result else _labels if "classes" in result else _pairs
    for line in shown(result):
        console.out(line)


def _labels(result: dict[str, Any]) -> list[str]:
    said = [f"{row['label']:20}  row {row['index']}" for row in result["rows"][:SHOWN]]
    if "accuracy" not in result:
        return said
    counts = ", ".join(f"{name} {count:,}" for name, count in result["classes"].items())
    figure = result["accuracy"]
    return [
        f"{figure['value']:.4f}  [{figure['low']:.4f}, {figure['high']:.4f}]  of {len(result['rows']):,} rows; {counts}"
    ]


def _texts(result: dict[str, Any]) -> list[str]:
    rows, total = result["texts"], result["total"]
    lines = [f"{row['logprob']:12.4f}  {row['tokens']:6,} tokens  row {row['index']}" for row in rows[:SHOWN]]
    more = [f"… {len(rows) - SHOWN:,} more; --out FILE has them"] if len(rows) > SHOWN else []
    said = f"{result['method']}: {total['logprob']:,.4f} nats for {len(rows):,} texts of {total['tokens']:,} tokens, {total['bytes']:,} bytes"
    rates = f"{total['bits_per_byte']:.4f} bits per byte, {-total['per_token']:.4f} nats per token, perplexity {total['perplexity']:,.2f}"
    return [*lines, *more, said, rates]


def _pairs(result: dict[str, Any]) -> list[str]:
    named = {**result.get("files", {}), "": result}
    return [
        f"{part['accuracy']['value']:.4f}  [{part['accuracy']['low']:.4f}, {part['accuracy']['high']:.4f}]  {amount(part['pairs'], 'pair')}  {name}".rstrip()
        for name, part in named.items()
    ]
