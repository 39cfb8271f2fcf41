"""A page of one word's uses: a point for each, near where their vectors are near, and the texts; nothing is loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from bertsmith.downstream.charts import COLOURS
from bertsmith.downstream.outputs import check_file
from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, option

TITLE = "<title>bertsmith uses of "  # by which a page of ours is known
WIDTH, HEIGHT, EDGE = 640, 480, 16
SHOWN = 12  # texts of a sense
AROUND = 60  # characters to each side of a use
HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
{title}{word}</title>
<style>
:root {{ color-scheme: light dark; --page: #fbfaf7; --ink: #22252a; --soft: #666b73; --rule: #d8d4cb;
  --c0: #2563a8; --c1: #c2571a; --c2: #2c8a57; --c3: #8a4fae; --c4: #a8862a; --c5: #b03060; }}
@media (prefers-color-scheme: dark) {{ :root {{ --page: #16181c; --ink: #e4e4e0; --soft: #9aa0a8; --rule: #3a3f46;
  --c0: #6ea8e6; --c1: #f0915a; --c2: #5fc48d; --c3: #c092e0; --c4: #d9b95a; --c5: #ea7aa0; }} }}
body {{ margin: 0 auto; max-width: 760px; padding: 24px 20px 64px; background: var(--page); color: var(--ink); font: 16px/1.6 system-ui, sans-serif; }}
h2 {{ font-size: 1rem; margin: 28px 0 6px; border-top: 1px solid var(--rule); padding-top: 10px; }}
.soft {{ color: var(--soft); font-size: .9rem; }} li {{ overflow-wrap: anywhere; }} ul {{ padding-left: 1.2em; }}
svg {{ display: block; max-width: 100%; height: auto; border: 1px solid var(--rule); }}
circle {{ fill-opacity: .75; stroke: var(--page); stroke-width: 1; -webkit-print-color-adjust: exact; print-color-adjust: exact; }}
{colours}
</style></head><body>
<h1>{word}</h1>
"""
COLOUR = "\n".join(f".c{i} {{{{ fill: var(--c{i}); color: var(--c{i}); }}}}" for i in range(COLOURS))


def check_page(path: Path) -> None:
    """InputError where something stands that is no such page."""
    if check_file(path, "senses.html") and TITLE not in path.read_text("utf-8", "replace")[:1000]:
        raise InputError(
            f"{printable(path)}: stands here and is no such page of ours; {option('out')} says where it goes"
        )


def page(model: str, found: dict[str, Any], labelled: bool) -> str:
    """Of what `senses` finds."""
    named = list(dict.fromkeys(use["sense"] for use in found["uses"]))
    head = HEAD.replace("{colours}", COLOUR).format(title=TITLE, word=escape(found["word"]))
    return "".join(
        [head, *_said(model, found, labelled), _picture(found, named), *_texts(found, named), "</body></html>\n"]
    )


def _said(model: str, found: dict[str, Any], labelled: bool) -> Iterator[str]:
    cosine, uses = found["cosine"], amount(len(found["uses"]), "use")
    shares = " and ".join(f"{share:.0%}" for share in found["explained"])
    where = f"of {escape(model)}, layer {found['layer']}"
    if not shares:
        yield f'<p class="soft">{uses} {where}: one and the same vector, wherever the word stands.</p>\n'
        return
    parts = [f"{uses} {where}: the cosine of two is {cosine['mean']:.3f} in the mean"]
    if cosine["within"] is not None and cosine["between"] is not None:
        parts.append(f", {cosine['within']:.3f} within a colour, {cosine['between']:.3f} across")
    if found["nearest"] is not None:
        parts.append(f"; the nearest other use has the same label {found['nearest']:.0%} of the time")
    whose = "a label of the file" if labelled else "a group found by the vectors alone"
    yield f'<p class="soft">{"".join(parts)}. A colour is {whose}. Across and up: the two directions in which uses differ most, {shares} of the variance.</p>\n'


def _picture(found: dict[str, Any], named: list[str]) -> str:
    xs, ys = ([use[axis] for use in found["uses"]] for axis in ("x", "y"))
    scale = lambda values, v, size: EDGE + (v - min(values)) / ((max(values) - min(values)) or 1) * (size - 2 * EDGE)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="uses of {escape(found["word"])}">']
    for use in found["uses"]:
        x, y = scale(xs, use["x"], WIDTH), HEIGHT - scale(ys, use["y"], HEIGHT)
        told = f"{use['sense']}: {''.join(_around(use))}"
        ink = f"c{named.index(use['sense']) % COLOURS}"
        parts.append(f'<circle class="{ink}" cx="{x:.1f}" cy="{y:.1f}" r="6"><title>{escape(told)}</title></circle>')
    return "".join([*parts, "</svg>\n"])


def _texts(found: dict[str, Any], named: list[str]) -> Iterator[str]:
    for number, sense in enumerate(named):
        uses = [use for use in found["uses"] if use["sense"] == sense]
        dot = f'<svg width="12" height="12" style="display:inline;border:0"><circle class="c{number % COLOURS}" cx="6" cy="6" r="6"/></svg>'
        more = f", {SHOWN} of them" if len(uses) > SHOWN else ""
        yield f"<h2>{dot} {escape(sense)}: {amount(len(uses), 'use')}{more}</h2>\n<ul>"
        for use in uses[:SHOWN]:
            before, word, behind = map(escape, _around(use))
            yield f'<li dir="auto">{before}<b>{word}</b>{behind}</li>\n'
        yield "</ul>\n"


def _around(use: dict[str, Any]) -> tuple[str, str, str]:
    """What stands before a use, itself, and behind."""
    text, start, end = use["text"], use["start"], use["end"]
    before, behind = text[max(0, start - AROUND) : start], text[end : end + AROUND]
    return "…" * (start > AROUND) + before, text[start:end], behind + "…" * (end + AROUND < len(text))
