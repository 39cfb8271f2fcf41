"""`study`: which member, on my text, for my tasks?  Cells at equal cost, from a file."""

import argparse
import json
from typing import Any

import bertsmith
from bertsmith.cli.common import command, positive
from bertsmith.console import Console
from bertsmith.errors import InputError
from bertsmith.spelling import amount


def add_study(commands: Any) -> None:
    example = "bertsmith study study.toml --out studied --plan && bertsmith study study.toml --out studied --pick"
    about = "recipes x settings x seeds at equal cost on one text, read on the same tasks: which member?"
    made = command(commands, "study", study, about, example)
    made.add_argument("file", nargs="?", metavar="FILE.toml", help="what is compared; --template prints such a file")
    made.add_argument(
        "--out", metavar="DIR", help="where its cells are, or go on: the same command after a kill goes on"
    )
    made.add_argument("--plan", action="store_true", help="cells, operations and minutes; nothing is launched")
    made.add_argument("--jobs", type=positive, default=1, metavar="N", help="cells at once; threads are shared out")
    made.add_argument(
        "--pick", action="store_true", help="the member for the budget with its evidence, or that it cannot be told"
    )
    made.add_argument(
        "--power", type=float, metavar="POINTS", help="how many seeds and texts a difference of so many points needs"
    )
    made.add_argument("--executor", default="local", metavar="local|slurm|ray", help="where cells are carried out")
    made.add_argument("--threads", type=positive, metavar="N", help="of a cell; fixed when the study begins")
    made.add_argument("--device", help="cpu, cuda or cuda:N")
    made.add_argument(
        "--template", metavar="NAME", help="print a study to begin with: roberta-tables, masking-rates, …"
    )


def study(arguments: argparse.Namespace, console: Console) -> None:
    if arguments.template is not None:
        from bertsmith.downstream.study.templates import template

        if arguments.file is not None:
            raise InputError("--template: prints a file, and reads none; leave the file out")
        text = template(arguments.template)
        console.out(json.dumps({"template": text}) if arguments.json else text.rstrip("\n"))
        return
    if arguments.file is None or arguments.out is None:
        what = "FILE.toml: what is compared" if arguments.file is None else "--out DIR: where the cells go"
        raise InputError(f"study: {what}: is missing; see bertsmith study --help")
    names = ("plan", "jobs", "executor", "power", "threads", "device")
    options = {name: getattr(arguments, name) for name in names}
    result = bertsmith.study(arguments.file, arguments.out, say=console.say, **options)
    if arguments.json:
        console.out(json.dumps(result["pick"] if arguments.pick and "pick" in result else result))
        return
    for line in (
        _planned(result)
        if arguments.plan
        else _powered(result)
        if "points" in result
        else _said(result, arguments.pick)
    ):
        console.out(line)


def _planned(result: dict[str, Any]) -> list[str]:
    width = max(len(one["name"]) for one in result["members"])
    lines = [
        f"{'':{width}}  {'parameters':>13} {'updates':>9} {'tokens':>15} {'operations':>10} {'cells':>9} {'minutes':>8}"
    ]
    for one in result["members"]:
        cells = f"{one['cells'] - one['done']} of {one['cells']}"
        lines.append(
            f"{one['name']:{width}}  {one['parameters']:13,} {one['steps']:9,} {one['tokens']:15,} {one['flops']:10.3g} {cells:>9} {one['minutes']:8.1f}"
        )
    cells, at_once = result["cells"], f", {result['jobs']} at once" if result["jobs"] > 1 else ""
    lines.append(
        f"{cells['all'] - cells['done']:,} of {amount(cells['all'], 'cell')} to make{at_once}, {amount(result['threads'], 'thread')} each: "
        f"about {amount(result['minutes'], 'minute', form=',.3g')} of this machine, {result['flops']:.3g} operations of pre-training"
    )
    return lines


def _powered(result: dict[str, Any]) -> list[str]:
    lines = []
    for found in result["measures"].values():
        lines.append(found["says"])
        needs = ", ".join(
            f"{seeds}: {f'{texts:,}' if texts is not None else 'none suffice'}"
            for seeds, texts in found["texts_needed"].items()
        )
        lines.append(
            f"  texts by seeds: {needs}; differences vary by {found['over_seeds']:.4f} over seeds, {found['over_texts']:.4f} over texts"
        )
    return lines


def _said(result: dict[str, Any], pick: bool) -> list[str]:
    """The answer with its evidence, where it is asked for; a study has said the rest."""
    found = result["pick"]
    if not pick or found is None:
        return []
    lines = [found["says"]]
    for one in found["evidence"]:
        over = one["over_seeds"]
        seeds = f", [{over['low']:+.4f}, {over['high']:+.4f}] over seeds" if over else ", one seed"
        lines.append(
            f"  {found['best']} less {one['rival']}: {one['value']:+.4f} [{one['low']:+.4f}, {one['high']:+.4f}] over texts and seeds{seeds}"
        )
    return lines
