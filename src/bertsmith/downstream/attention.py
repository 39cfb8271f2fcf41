"""What each head of each layer looks at while a text is read: numbers, and a page of them (attention_page.py)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bertsmith import files
from bertsmith.downstream import attention_page
from bertsmith.downstream.model import Loaded, opened
from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount
from bertsmith.tasks.sequences import Encoded, encode


def attention(
    model: str | Path | Loaded,
    text: str,
    text2: str | None = None,
    *,
    out: str | Path | None = None,
    base: str | Path | Loaded | None = None,
    members: tuple[str, ...] = (),
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """`{heads, windows: [{tokens, layers: [{name, source, weights}]}]}`: `weights` (heads, n, n) float32, of token i (a row) on token j;
    rows sum to 1.  `source`: whether a decoder reads what the encoder says.  Dropout off, float32.

    The text, or the pair, as the model reads it for a task; one that is longer than it takes in windows.  A decoder that says the text anew
    (BART, tuned) reads it behind its last token.  `out`: a page of grids, a layer a row.  InputError for a body without attention (recurrent
    ones), and for a text in which nothing stands.
    """
    _check(text)
    if out is not None:
        attention_page.check_page(Path(out))
    loaded = opened(model, members=members, say=say, base=base)
    encoded = read(loaded, text, text2)
    windows = [looked(loaded, encoded, number) for number in range(len(encoded))]
    if len(windows) > 1:
        say(f"the text is read in {amount(len(windows), 'window')} of up to {amount(encoded.reading.length, 'token')}")
    found = {"heads": len(windows[0]["layers"][0]["weights"]), "windows": windows}
    if out is not None:
        files.write(Path(out), attention_page.page(printable(loaded.run.name), found).encode())
        say(f"{printable(out)}: {amount(len(windows[0]['layers']), 'layer')} of {amount(found['heads'], 'head')}")
    return found


def _check(text: str) -> None:
    if not text.strip():
        raise InputError("attention: the text is empty; one with words is wanted")


def read(loaded: Loaded, text: str, text2: str | None = None) -> Encoded:
    """The text, or the pair, in as many windows as it takes."""
    _check(text)
    reading = loaded.reading(on_long="window", orders="one")
    return encode(loaded.tokenizer, [text], None if text2 is None else [text2], reading)


def looked(loaded: Loaded, encoded: Encoded, number: int) -> dict[str, Any]:
    """{tokens, layers} of a window, as `attention` has them.  InputError for a body without attention."""
    from bertsmith.downstream.attended import attended

    stream, layers = attended(loaded, encoded, number)
    if not layers:
        alone = getattr(loaded.recipe.model, "alone", False)
        why = "its tokens do not read one another" if alone else "its layers read a text from token to token"
        raise InputError(f"{printable(loaded.run)}: {loaded.recipe.name} has no attention: {why}")
    pieces = loaded.tokenizer.people.pieces(stream)
    return {"tokens": [piece.text for piece in pieces], "layers": layers}
