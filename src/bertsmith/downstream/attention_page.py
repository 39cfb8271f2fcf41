"""A page of what heads look at: a grid for each head of each layer, tokens on both axes; nothing is loaded from elsewhere.  n tokens."""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith.downstream.outputs import check_file
from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, option

TITLE = "<title>bertsmith attention of "  # by which a page of ours is known
MOST = 64  # tokens on an axis; what stands behind them is one column
LETTERS = 12  # of a token
HUE = (0x3B, 0x6F, 0xD4)
HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
{title}{name}</title>
<style>
:root {{ color-scheme: light dark; --page: #fbfaf7; --ink: #22252a; --soft: #666b73; --rule: #d8d4cb; }}
@media (prefers-color-scheme: dark) {{ :root {{ --page: #16181c; --ink: #e4e4e0; --soft: #9aa0a8; --rule: #3a3f46; }} }}
body {{ margin: 0 auto; max-width: 1240px; padding: 24px 20px 64px; background: var(--page); color: var(--ink); font: 16px/1.6 system-ui, sans-serif; }}
h2 {{ font-size: 1rem; margin: 28px 0 6px; border-top: 1px solid var(--rule); padding-top: 10px; }}
.soft {{ color: var(--soft); font-size: .9rem; }} .text {{ overflow-wrap: anywhere; }}
.heads {{ display: flex; flex-wrap: wrap; gap: 10px 14px; }}
figure {{ margin: 0; max-width: 100%; }} figcaption {{ color: var(--soft); font-size: .75rem; }}
svg {{ display: block; max-width: 100%; height: auto; }} svg.axes {{ position: absolute; width: 0; height: 0; }}
text {{ fill: var(--soft); font: 9px system-ui, sans-serif; }} rect {{ fill: none; stroke: var(--rule); stroke-width: .7; }}
image {{ image-rendering: pixelated; }} body, image {{ -webkit-print-color-adjust: exact; print-color-adjust: exact; }}
</style></head><body>
<h1 class="soft">What {name} looks at</h1>
<p class="soft">A grid for each head: a row is a token that reads, a column a token that it reads. The fuller the colour, the more of its attention, which is 1 in all; the colour is the root of the share, so that little shows, too. It shows where a head reads from, not what an answer leans on.</p>
"""


def check_page(path: Path) -> None:
    """InputError where something stands that is no such page."""
    if check_file(path, "attention.html") and TITLE not in path.read_text("utf-8", "replace")[:1000]:
        raise InputError(
            f"{printable(path)}: stands here and is no such page of ours; {option('out')} says where it goes"
        )


def page(name: str, found: dict[str, Any]) -> str:
    """Of what `attention` finds."""
    parts = [HEAD.format(title=TITLE, name=escape(name))]
    for number, window in enumerate(found["windows"]):
        if len(found["windows"]) > 1:
            parts.append(f"<h2>window {number + 1} of {len(found['windows'])}</h2>\n")
        parts += _window(number, window)
    return "".join([*parts, "</body></html>\n"])


def _window(number: int, window: dict[str, Any]) -> Iterator[str]:
    tokens = window["tokens"]
    rest = len(tokens) - MOST
    text = " ".join(map(escape, tokens))
    yield f'<p class="text" dir="auto">{text}</p>\n'
    if rest > 0:
        yield f'<p class="soft">The first {MOST} tokens are drawn; the last column is what goes to the other {rest}.</p>\n'
    drawn: dict[tuple[bool, bool], _Axes] = {}
    for layer in window["layers"]:
        decodes = layer["name"].startswith("decoder")  # it reads each token behind the one before
        kind = (decodes, decodes and not layer["source"])
        if kind not in drawn:
            rows, columns = ([tokens[-1], *tokens[:-1]] if moved else tokens for moved in kind)
            drawn[kind] = _Axes(f"w{number}-{len(drawn)}", rows, columns)
            yield drawn[kind].defined()
        axes = drawn[kind]
        heads = "".join(axes.grid(shares, i + 1) for i, shares in enumerate(layer["weights"]))
        yield f'<h2>{escape(layer["name"])}</h2>\n<div class="heads">{heads}</div>\n'


class _Axes:
    """The tokens along the grids of a window, written once and used by all."""

    def __init__(self, name: str, rows: list[str], columns: list[str]):
        self.name, self.more = name, len(columns) > MOST
        self.rows = [_short(token) for token in rows[:MOST]]
        self.columns = [_short(token) for token in columns[:MOST]] + ["…"] * self.more
        self.cell = 12 if len(columns) <= 16 else 10 if len(columns) <= 32 else 8
        self.left, self.top = (8 + 5.4 * max(map(_wide, labels)) for labels in (self.rows, self.columns))
        self.width, self.height = len(self.columns) * self.cell, len(self.rows) * self.cell

    def defined(self) -> str:
        down = "".join(
            f'<text x="{self.left - 4:.1f}" y="{self.top + (i + 0.5) * self.cell + 3:.1f}" text-anchor="end">{escape(token)}</text>'
            for i, token in enumerate(self.rows)
        )
        along = "".join(
            f'<text transform="translate({self.left + (i + 0.5) * self.cell + 3:.1f} {self.top - 4:.1f}) rotate(-90)">{escape(token)}</text>'
            for i, token in enumerate(self.columns)
        )
        return f'<svg class="axes" aria-hidden="true"><defs><g id="{self.name}">{down}{along}</g></defs></svg>\n'

    def grid(self, shares: np.ndarray, number: int) -> str:
        """`shares` (n, n) of one head."""
        drawn = shares[: len(self.rows), :MOST]
        if self.more:
            drawn = np.concatenate([drawn, shares[: len(self.rows), MOST:].sum(1, keepdims=True)], 1)
        wide, high = self.left + self.width + 1, self.top + self.height + 1
        place = f'x="{self.left:.1f}" y="{self.top:.1f}" width="{self.width}" height="{self.height}"'
        said = f"head {number}: {amount(len(self.rows), 'token')} by {len(self.columns)}"
        return (
            f'<figure><svg viewBox="0 0 {wide:.1f} {high:.1f}" width="{wide:.0f}" role="img" aria-label="{said}">'
            f'<image {place} preserveAspectRatio="none" href="data:image/png;base64,{b64encode(_png(drawn)).decode()}"/>'
            f'<rect {place}/><use href="#{self.name}"/></svg><figcaption>head {number}</figcaption></figure>'
        )


def _short(token: str) -> str:
    return token if len(token) <= LETTERS else f"{token[: LETTERS - 1]}…"


def _wide(token: str) -> float:
    """In letters."""
    return sum(2 if ord(letter) > 0x2E80 else 1 for letter in token)


def _png(shares: np.ndarray) -> bytes:
    """Rows and columns in [0, 1] as a picture of one colour, the more of it the greater the root of the share."""
    level = np.rint(np.sqrt(np.clip(shares, 0, 1)) * 255).astype(np.uint8)
    high, wide = level.shape
    lines = b"".join(b"\0" + row.tobytes() for row in level)
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", wide, high, 8, 3, 0, 0, 0)),
        (b"PLTE", bytes(HUE) * 256),
        (b"tRNS", bytes(range(256))),
        (b"IDAT", zlib.compress(lines, 9)),
        (b"IEND", b""),
    ]
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)
