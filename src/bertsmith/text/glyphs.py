"""Pictures of the tokens that are one Chinese character: grey values, the font's own outlines, the same bytes for the same font and Pillow.

v tokens, s points to a side.
"""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bertsmith.errors import InputError, printable
from bertsmith.spelling import setting
from bertsmith.text.segment import HAN, inside
from bertsmith.text.words import code_points

if TYPE_CHECKING:
    from bertsmith.text.tokenizer import Tokenizer

Array = np.ndarray
PACKAGE, FACE = "noto-cjk-sans-otc", "Noto Sans CJK SC"
NOWHERE = "\U0010fffd"  # private: whatever is drawn for it is the font's sign for "no such character"
FONT = "model.embeddings.font"


def bitmaps(tokenizer: Tokenizer, side: int, font: str | None = None) -> Array:
    """(v, s, s) uint8: 0 paper, 255 ink; no ink for tokens that are no character by themselves and for characters that the font lacks.

    `font`: a file, of whose faces the first is taken; None: that of the extra `glyphs`.  InputError where there is none that is needed."""
    found = np.zeros((tokenizer.size, side, side), np.uint8)
    wanted = characters(tokenizer)
    if wanted:
        face = _face(font, side)
        missing = drawn(NOWHERE, face, side)
        for i, character in wanted.items():
            picture = drawn(character, face, side)
            if not np.array_equal(picture, missing):
                found[i] = picture
    return found


def characters(tokenizer: Tokenizer) -> dict[int, str]:
    """The tokens that are one Chinese character, within a word or where one begins."""
    special, found = set(tokenizer.vocab.special), {}
    for i in range(tokenizer.size):
        text = "" if i in special else tokenizer.shown(i)
        if len(text) == 1 and inside(code_points(text), HAN)[0]:
            found[i] = text
    return found


def drawn(character: str, face: Any, side: int) -> Array:
    """(s, s) uint8: its square fills the picture, with 0.88 of it above the line, as fonts of Han have it; on whole points."""
    from PIL import Image, ImageDraw

    picture = Image.new("L", (side, side), 0)
    place = round((side - face.getlength(character)) / 2), round(0.88 * side)
    ImageDraw.Draw(picture).text(place, character, fill=255, font=face, anchor="ls")
    return np.asarray(picture, np.uint8)


def said(pictures: Array) -> str:
    """What a user is told of them."""
    count = int(pictures.any((1, 2)).sum())
    line = f"glyphs: pictures of {count:,} of {len(pictures):,} tokens"
    return line if count else f"warning: {line}: none is one Chinese character, so that they say nothing"


def _face(font: str | None, side: int) -> Any:
    """At this size; of a collection the one for simplified Chinese, where it has that."""
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise _absent("Pillow is") from None
    if font is None:
        try:
            folder = Path(str(distribution(PACKAGE).locate_file(PACKAGE.replace("-", "_"))))
        except PackageNotFoundError:
            raise _absent(f"{PACKAGE} is") from None
        font = os.fspath(next(iter(sorted(folder.glob("*.tt[cf]"))), folder))
    if not Path(font).is_file():
        raise InputError(f"{setting(FONT, value=font)}: no such file")
    first, number = _opened(font, side, 0), 0
    if isinstance(first, OSError):
        raise InputError(f"{setting(FONT, value=font)}: not a font: {printable(first)}")
    face = first
    while not isinstance(face, OSError):
        if face.getname()[0] == FACE:
            return face
        number += 1
        face = _opened(font, side, number)
    return first


def _opened(font: str, side: int, number: int) -> Any:
    """Face `number` of a file, or what was wrong; without the shapes of letters in words, which depend on what is installed."""
    from PIL import ImageFont

    try:
        return ImageFont.truetype(font, side, index=number, layout_engine=ImageFont.Layout.BASIC)
    except OSError as error:
        return error


def _absent(what: str) -> InputError:
    return InputError(
        f"glyphs: {what} not installed, of whose font characters are drawn; pip install 'bertsmith[glyphs]', or {setting(FONT, value='FILE')}"
    )
