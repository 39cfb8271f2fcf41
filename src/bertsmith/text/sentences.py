"""Paragraphs to sentences, without losing a character; any language, Chinese and other scripts without spaces included."""

import re
from collections.abc import Callable
from functools import cache

from bertsmith.errors import InputError, printable
from bertsmith.spelling import option
from bertsmith.text.closing import khmer, settled
from bertsmith.text.thai_sentences import looks_thai, thai

PIECE = 100_000  # characters handed to the splitter at once: its time grows faster than the text (1 s for 4 million)
_SPECIAL = re.compile("[ก-ฮ។៕]")  # Thai has a splitter of its own, Khmer signs are not known to the general one
_LANGUAGE = re.compile(r"[a-z]{2,3}([-_][A-Za-z0-9]{2,8})*")


def checked_language(language: str) -> str:
    """The language code, or InputError; a code that the splitter has no rules for gets its general ones."""
    if not isinstance(language, str) or not _LANGUAGE.fullmatch(language):
        raise InputError(
            f"{option('language')}: {printable(repr(language))} is not a language code; for example en, de, zh, ja"
        )
    return language


def split(paragraph: str, language: str = "en") -> list[str]:
    """Sentences whose concatenation is the paragraph: white space between two sentences stays at the end of the first."""
    if len(paragraph) <= PIECE:
        return _split(paragraph, language)
    sentences, rest = [], ""
    for start in range(0, len(paragraph), PIECE):
        found = _split(rest + paragraph[start : start + PIECE], language)
        rest = found.pop()  # may go on in the next piece, unless it fills this one
        if len(rest) >= PIECE:
            rest, full = "", rest
            cut = full.rfind(" ", len(full) // 2) + 1
            found.append(full[:cut] if cut else full)
            rest = full[cut:] if cut else ""
        sentences += found
    return [*sentences, rest] if rest else sentences


@cache
def _segmenter() -> Callable[[str, str], list[str]]:
    """Loaded when it is needed, and looked for once."""
    from sentencex import segment

    return segment


def _split(text: str, language: str) -> list[str]:
    if not text:
        return []
    special = () if text.isascii() else _SPECIAL.findall(text)
    found = thai(text) if special and looks_thai(text) else None
    if found is None:
        found = _segmenter()(language, text)
        if sum(map(len, found)) != len(text):
            found = [
                text
            ]  # it drops line breaks between paragraphs; there are none in one, but losing text is not an option
    if "។" in special or "៕" in special:
        found = khmer(found)
    return settled(found)
