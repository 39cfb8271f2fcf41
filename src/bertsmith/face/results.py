"""A result: a dict, equal to the plain one and JSON like it, that is printed as a table, and shown as one in a notebook."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from typing import Any

from bertsmith.errors import printable

LONGEST = 160  # characters of an entry
MOST = 12  # entries of a list


class Result(dict):
    """`repr` is that of a dict."""

    def __str__(self) -> str:
        return table(list(lines(self)))

    def _repr_html_(self) -> str:
        return html_table(list(lines(self)))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))


def table(rows: list[tuple[str, str]]) -> str:
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name:{width}}  {text}" for name, text in rows)


def html_table(rows: list[tuple[str, str]]) -> str:
    cells = ("".join(f'<td style="text-align: left">{html.escape(part)}</td>' for part in row) for row in rows)
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def lines(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(name, text) of every entry; those of a dict inside are `outer.inner`."""
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value and _score(value) is None:
            yield from lines(value, f"{name}.")
        elif isinstance(value, list) and any(isinstance(part, Mapping) for part in value):
            for i, part in enumerate(value[:MOST]):
                yield f"{name}[{i}]", shown(part)
            if len(value) > MOST:
                yield f"{name}[…]", f"{len(value) - MOST} more"
        else:
            yield name, shown(value)


def shown(value: Any) -> str:
    """A value in few characters: a score with its interval, numbers to what tells them apart."""
    if isinstance(value, Mapping):
        text = _score(value) or ", ".join(f"{name} {text}" for name, text in lines(value))
    elif isinstance(value, (list, tuple)):
        more = f", … ({len(value)})" if len(value) > MOST else ""
        text = ", ".join(map(shown, value[:MOST])) + more
    elif isinstance(value, bool) or value is None:
        text = {True: "yes", False: "no", None: "none"}[value]
    elif isinstance(value, int):
        text = f"{value:,}"
    elif isinstance(value, float):
        text = f"{value:.5g}" if abs(value) < 1e5 else f"{value:,.0f}"
    else:
        text = str(value)
    return printable(text, LONGEST)


def _score(value: Mapping[str, Any]) -> str | None:
    if {"value", "low", "high"} <= value.keys():
        return f"{value['value']:.4f} [{value['low']:.4f}, {value['high']:.4f}]"
    if {"mean", "spread"} <= value.keys():
        return f"{value['mean']:.4f} ± {value['spread']:.4f}"
    return None
