"""`similar`: what is near a word or a text in a model."""

import argparse
import json
from typing import Any

import bertsmith
from bertsmith.cli.common import add_base, add_member, command, loading, positive
from bertsmith.console import Console
from bertsmith.spelling import amount


def add_similar(commands: Any) -> None:
    example = "bertsmith similar run king"
    about = "nearest neighbours of a word or a text, analogies, and agreement with judgements of people"
    made = command(commands, "similar", similar, about, example)
    made.add_argument("model", metavar="MODEL")
    made.add_argument("text", nargs="?", metavar="WORD|SENTENCE")
    made.add_argument("--top", type=positive, default=10, metavar="K")
    made.add_argument("--analogy", nargs=3, metavar=("A", "B", "C"), help="what is to C what B is to A")
    made.add_argument(
        "--way",
        choices=("add", "mul"),
        default="add",
        help="of analogies: by the sum of cosines (3CosAdd), or their product (3CosMul)",
    )
    made.add_argument(
        "--among",
        metavar="FILE",
        help="texts that neighbours are looked for in, a line each; else the words of the vocabulary",
    )
    made.add_argument("--pairs", metavar="FILE", help="two words and people's score a line: rank correlation")
    made.add_argument("--analogies", metavar="FILE", help="four words a line: the share that is found, both ways")
    add_base(made)
    add_member(made)


def similar(arguments: argparse.Namespace, console: Console) -> None:
    names = ("top", "analogy", "way", "among", "pairs", "analogies")
    options = {name: getattr(arguments, name) for name in names} | loading(arguments, console)
    found = bertsmith.similar(arguments.model, arguments.text, **options)
    if arguments.json:
        console.out(json.dumps(found, ensure_ascii=False))
        return
    for near in found.get("near", ()):
        console.out(f"  {near['cosine']:7.4f}  {near['text']}")
    for name, scores in (("pairs", ("spearman",)), ("analogies", ("add", "mul"))):
        if name in found:
            of = found[name]
            asked = of["pairs" if name == "pairs" else "questions"]
            for score in scores:
                value = of[score]
                console.out(f"{name + ' ' + score:20} {value['value']:.4f}  [{value['low']:.4f}, {value['high']:.4f}]")
            console.out(f"{amount(asked, 'question')}, {of['unknown']:,} with a word that has no vector")
