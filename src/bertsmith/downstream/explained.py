"""Texts whose tokens are coloured by how much an answer leans on them, as a page of its own: `predict --explain FILE.html`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith.downstream.outputs import check_file
from bertsmith.errors import InputError, printable
from bertsmith.spelling import option
from bertsmith.tasks.sequences import Encoded

TITLE = "<title>bertsmith explains "  # by which a page of ours is known
MOST = 100  # rows on a page
HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
{title}{name}</title>
<style>
:root {{ color-scheme: light dark; --page: #fbfaf7; --ink: #22252a; --soft: #666b73; --rule: #e2dfd8; --for: #2c8a57; --against: #c2571a; }}
@media (prefers-color-scheme: dark) {{ :root {{ --page: #16181c; --ink: #e4e4e0; --soft: #9aa0a8; --rule: #33373e; --for: #2c8a57; --against: #c2571a; }} }}
body {{ margin: 0 auto; max-width: 900px; padding: 24px 20px 64px; background: var(--page); color: var(--ink); font: 16px/1.9 system-ui, sans-serif; }}
p {{ margin: 0; padding: 10px 0; border-bottom: 1px solid var(--rule); overflow-wrap: anywhere; }}
b {{ font-weight: 600; margin-right: 8px; }} .soft {{ color: var(--soft); font-size: .9rem; }}
.for, .against {{ border-radius: 3px; padding: 1px 0; -webkit-print-color-adjust: exact; print-color-adjust: exact; }}
.for {{ background: color-mix(in srgb, var(--for) calc(var(--much) * 75%), transparent); }} .against {{ background: color-mix(in srgb, var(--against) calc(var(--much) * 75%), transparent); }}
</style></head><body>
<p class="soft">What {name} says, and which tokens speak <span class="for" style="--much: .6">for</span> or <span class="against" style="--much: .6">against</span> it: gradient times input, the strongest of each text in full colour. It shows what a small change would do, not why the model learned so.</p>
"""


def check_page(path: Path) -> None:
    """InputError where something stands that is no such page."""
    if check_file(path, "explained.html") and TITLE not in path.read_text("utf-8", "replace")[:1000]:
        raise InputError(
            f"{printable(path)}: stands here and is no such page of ours; {option('explain')} says where it goes"
        )


def page(name: str, tokenizer: Any, encoded: Encoded, scores: np.ndarray, answers: Sequence[dict[str, Any]]) -> str:
    """`scores` (n,): of each token of `encoded`; `answers`: of each row."""
    ends = np.cumsum(encoded.lengths)
    parts = [HEAD.format(title=TITLE, name=escape(name))]
    for owner, end, length in zip(encoded.owner.tolist(), ends.tolist(), encoded.lengths.tolist(), strict=True):
        own = slice(end - length, end)
        text = "".join(_coloured(tokenizer, encoded.tokens[own].tolist(), scores[own]))
        parts.append(f'<p dir="auto"><b>{_said(answers[owner])}</b>{text}</p>\n')
    return "".join([*parts, "</body></html>\n"])


def _coloured(tokenizer: Any, ids: list[int], scores: np.ndarray) -> Iterator[str]:
    most = float(np.abs(scores).max()) or 1.0
    for piece, score in zip(tokenizer.people.pieces(ids), scores.tolist(), strict=True):
        kind = "for" if score > 0 else "against"
        soft = " soft" if piece.special else ""
        yield f'{" " if piece.space else ""}<span class="{kind}{soft}" style="--much: {abs(score) / most:.2f}" title="{score:+.4f}">{escape(piece.text)}</span>'


def _said(answer: dict[str, Any]) -> str:
    label = answer["label"]
    if not isinstance(label, str):
        return f"{label:.4g}"
    return f"{escape(label)} {answer['scores'][label]:.2f}"
