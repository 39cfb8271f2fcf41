"""Sentences of Thai, which has no sign at their end: a conditional random field over words decides at which blanks one ends.

PyThaiNLP's crfcut (extra `th`; trained on TED and ORCHID); where it is not installed the general rules are what there is.
"""

import os
import re
from collections.abc import Callable
from functools import cache
from importlib.metadata import version

from bertsmith.spelling import amount

THAI = re.compile("[ก-ฮ]")
_ABBREVIATED = re.compile(r"(?:^|[\s(])(?:[ก-ฮ]{1,3}\.)+\s*$")  # พ.ศ. 2540


def looks_thai(text: str) -> bool:
    """Whether at least half of the letters are Thai."""
    if text.isascii() or not THAI.search(text):
        return False
    thai = sum("\u0e01" <= c <= "\u0e4e" for c in text)
    return 2 * thai >= sum(c.isalpha() or "\u0e01" <= c <= "\u0e4e" for c in text)


def thai(text: str) -> list[str] | None:
    """Pieces whose concatenation is the text; None where the splitter is not installed."""
    cut = splitter()
    if cut is None:
        return None
    found: list[str] = []
    for piece in cut(text):
        if found and (_ABBREVIATED.search(found[-1]) or not piece.strip()):
            found[-1] += piece
        else:
            found.append(piece)
    return found if "".join(found) == text else [text]


def described(characters: int) -> tuple[str, list[str]]:
    """What split the sentences of so many characters of Thai, and a warning where that is no splitter made for it."""
    if splitter() is not None:
        return f"crfcut of pythainlp {version('pythainlp')}", []
    said = f"sentences: {amount(characters, 'character of Thai was', 'characters of Thai were')} split at . ! ? alone, not by a splitter; pip install 'bertsmith[th]'"
    return "the general rules", [said]


@cache
def splitter() -> Callable[[str], list[str]] | None:
    """crfcut, or None.  PyThaiNLP would make a folder in the user's home; it is told not to."""
    before = os.environ.get("PYTHAINLP_READ_ONLY")
    os.environ["PYTHAINLP_READ_ONLY"] = "1"
    try:
        from pythainlp.tokenize.crfcut import segment
    except ImportError:
        return None
    finally:
        if before is None:
            os.environ.pop("PYTHAINLP_READ_ONLY")
        else:
            os.environ["PYTHAINLP_READ_ONLY"] = before
    return segment
