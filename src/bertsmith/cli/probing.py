"""`probe`: what the layers of a model know; `attention`: what they look at; `tree`: how they bracket a text; `surface`: the loss around tuned
weights."""

import argparse
import json
from typing import Any

import bertsmith
from bertsmith.cli.common import add_base, add_columns, add_member, command, loading, natural, positive, table
from bertsmith.cli.models import names
from bertsmith.console import Console
from bertsmith.errors import InputError


def add_probe(commands: Any) -> None:
    example = "bertsmith probe run --task tag --train train.conll --dev dev.conll --out probe.json"
    about = "what a linear model finds in each layer's states, beside labels drawn at random"
    made = command(commands, "probe", probe, about, example)
    made.add_argument("model", metavar="MODEL")
    made.add_argument(
        "--task",
        required=True,
        metavar="KIND",
        help="classify, regress or tag; length or order of texts, which need no labels",
    )
    made.add_argument("--train", required=True, metavar="FILE")
    made.add_argument("--dev", required=True, metavar="FILE|SHARE", help="a file, or a share of the training file")
    made.add_argument("--out", metavar="FILE.json", help="what `bertsmith report` draws a curve of")
    made.add_argument("--no-control", action="store_true", help="without the control task, in half the time")
    made.add_argument(
        "--labels",
        type=names,
        default=(),
        metavar="A,B,…",
        help="all labels there are, where the training file need not hold every one",
    )
    made.add_argument("--on-long", choices=("truncate", "window", "error"))
    made.add_argument("--seed", type=natural, default=0, help="of the control task, and of what moves in `order`")
    add_columns(made)
    add_member(made)


def probe(arguments: argparse.Namespace, console: Console) -> None:
    own = ("task", "train", "dev", "out", "labels", "on_long", "seed")
    options = {name: getattr(arguments, name) for name in own} | table(arguments)
    found = bertsmith.probe(arguments.model, control=not arguments.no_control, **options, **loading(arguments, console))
    if arguments.json:
        console.out(json.dumps(found))
        return
    for line in lines(found):
        console.out(line)


def lines(found: dict[str, Any]) -> list[str]:
    """A table, the layer that is best by the score that would choose a step marked."""
    scores = list(found["layers"][0]["scores"])
    scores.sort(key=lambda name: name != found["chosen_by"])
    width = 26  # 0.1234 [-0.1234, 0.1234], and a sign before it
    more = ("control", "selectivity") if "control" in found["layers"][0] else ()
    head = f"{'layer':14}" + "".join(f"{name:{width}}" for name in scores) + "".join(f"{name:>12}" for name in more)
    shown = [head.rstrip()]
    for line in found["layers"]:
        name = f"{line['layer']}{' embedding' if line['layer'] == 0 else ''}{' *' if line['layer'] == found['best'] else ''}"
        said = "".join(f"{_said(line['scores'][score]):{width}}" for score in scores)
        rest = f"{line['control']['value']:12.4f}{line['selectivity']:12.4f}" if more else ""
        shown.append(f"{name:14}{said}{rest}".rstrip())
    return shown


def _said(score: dict[str, float]) -> str:
    return f"{score['value']:.4f} [{score['low']:.4f}, {score['high']:.4f}]"


def add_attention(commands: Any) -> None:
    example = 'bertsmith attention run "A bank of the river." --out page.html'
    about = "what each head of each layer looks at while a text is read"
    made = command(commands, "attention", attention, about, example)
    made.add_argument("model", metavar="MODEL")
    made.add_argument("text", metavar="TEXT")
    made.add_argument("text2", metavar="TEXT2", nargs="?", help="the second text of a pair")
    made.add_argument("--out", metavar="FILE.html", help="a page of grids, tokens on both axes")
    add_member(made)
    add_base(made)


def attention(arguments: argparse.Namespace, console: Console) -> None:
    if not (arguments.out or arguments.json):
        raise InputError("attention: --out FILE.html draws it, --json prints the numbers; take one")
    how = loading(arguments, console)
    found = bertsmith.attention(arguments.model, arguments.text, arguments.text2, out=arguments.out, **how)
    if arguments.json:
        console.out(json.dumps(found, default=lambda weights: weights.tolist()))


def add_tree(commands: Any) -> None:
    example = 'bertsmith tree run "the dog that barked ran away"'
    made = command(commands, "tree", tree, "how ordered neurons bracket a text", example)
    made.add_argument("model", metavar="MODEL")
    made.add_argument("text", metavar="TEXT")
    made.add_argument("--layer", type=positive, metavar="N", help="whose gates are read; the one in the middle")
    add_member(made)
    add_base(made)


def tree(arguments: argparse.Namespace, console: Console) -> None:
    how = {"layer": arguments.layer, **loading(arguments, console)}
    found = bertsmith.tree(arguments.model, arguments.text, **how)
    console.out(json.dumps(found, ensure_ascii=False) if arguments.json else found["brackets"])


def add_surface(commands: Any) -> None:
    example = "bertsmith surface classifier --against scratch --out surface.json"
    about = "the loss around tuned weights and on the way to them, and how flat it is"
    made = command(commands, "surface", surface, about, example)
    made.add_argument("model", metavar="RUN", help="a fine-tuning")
    made.add_argument("--against", metavar="RUN", help="another of the same task: from fresh weights, say")
    made.add_argument("--out", metavar="FILE.json", help="what `bertsmith report` draws pictures of")
    made.add_argument("--rows", type=positive, default=256, metavar="N", help="training rows that the loss is taken of")
    made.add_argument(
        "--points", type=positive, default=21, metavar="N", help="of a side of a plane: 5, 9, 13, 17, 21, …"
    )
    made.add_argument("--seed", type=natural, default=0, help="of the rows, and of random directions")
    add_member(made)


def surface(arguments: argparse.Namespace, console: Console) -> None:
    names = ("out", "rows", "points", "seed")
    options = {name: getattr(arguments, name) for name in names}
    found = bertsmith.surface(arguments.model, arguments.against, **options, **loading(arguments, console))
    if arguments.json:
        console.out(json.dumps(found))
        return
    from bertsmith.downstream.surface import said

    for side in found["sides"]:
        console.out(said(side))
