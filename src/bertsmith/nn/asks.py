"""How a model is asked for the next token that it writes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Asks:
    """A decoder is given `start` first, and then what it wrote; an encoder finds `mask` where the next token is to stand (Dong et al. 2019);
    with neither the last token of a text asks for the next one.

    `segments`: of the text that is read, and of what is written behind it.
    """

    start: int | None = None
    mask: int | None = None
    segments: tuple[int, int] = (0, 0)
