"""Words of scripts without blanks, each by a segmenter made for it.  n characters, l lines.

Han: jieba's words (rjieba; its dictionary is of simplified characters, which it is given where OpenCC is installed), but MeCab's with UniDic's dictionary in Japanese, kana too (fugashi, unidic-lite: short units); Thai, Lao,
Khmer, Burmese: the dictionaries of ICU (icu4py).  Where one is not installed: a run of one syllabary, a Thai or Lao consonant with
what hangs on it, a run of Khmer or Burmese letters.  A segmenter is given what its script needs and nothing more: sentences of
Japanese, runs of Thai; so words do not depend on what else is cut at the same time, nor on the tokenizer.
"""

from __future__ import annotations

import os
import re
import threading
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np

from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount

Array = np.ndarray

HAN = ((0x3005, 0x3007), (0x3021, 0x3029), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3347F))
KANA = ((0x3031, 0x3035), (0x3041, 0x309F), (0x30A1, 0x30FA), (0x30FC, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F))
THAI, LAO = ((0x0E01, 0x0E4E),), ((0x0E81, 0x0ECE), (0x0EDC, 0x0EDF))
KHMER = ((0x1780, 0x17D3), (0x17D7, 0x17D7), (0x17DC, 0x17DD))
BURMESE = ((0x1000, 0x103F), (0x1050, 0x108F), (0x109A, 0x109D), (0xA9E0, 0xA9EF), (0xA9FA, 0xA9FE), (0xAA60, 0xAA7F))
UNSPACED = HAN + KANA + THAI + LAO + KHMER + BURMESE
FIRST = min(first for first, _ in UNSPACED)

LEAST_KANA = 0.1  # of the kana and Han of a line or of a document: from there on it is Japanese
_CHINESE = ("zh", "yue", "lzh", "wuu", "nan", "hak", "gan")
_DICTIONARIES = THAI + LAO + KHMER + BURMESE
_SENTENCES = re.compile("[^。！？\n]{0,4096}[。！？\n]*")  # what MeCab is given at once
_ODD_SPACE = re.compile(r"[\s\x00-\x1f]")


_HAN, _KANA, _OTHER = 1, 2, 4


@cache
def _scripts() -> Array:
    """(0x110000,) uint8: which of the three kinds a code point is of."""
    table = np.zeros(0x110000, np.uint8)
    for kind, ranges in ((_HAN, HAN), (_KANA, KANA), (_OTHER, _DICTIONARIES)):
        for first, last in ranges:
            table[first : last + 1] = kind
    return table


def han_or_kana(points: Array) -> Array:
    """(n,) bool"""
    return _scripts()[points] & (_HAN | _KANA) > 0


def inside(points: Array, ranges: tuple[tuple[int, int], ...]) -> Array:
    """(n,) bool"""
    found = np.zeros(len(points), bool)
    for first, last in ranges:
        found |= (points >= first) & (points <= last)
    return found


def japanese_lines(points: Array, language: str, parts: Array | None = None) -> Array:
    """(n,) bool: whether a character stands in a line of Japanese.  `parts` (l,): the document of each line.

    By `language`, where that is Japanese or Chinese; else a line is whose kana and Han, or those of its document, are kana to a tenth.
    """
    code = re.split("[-_]", language)[0]
    if code == "ja" or code in _CHINESE:
        return np.full(len(points), code == "ja")
    of_script = _scripts()[points]
    kana = of_script == _KANA
    if not kana.any():
        return np.zeros(len(points), bool)
    line = np.cumsum(points == 10)
    count, of = np.bincount(line, kana), np.bincount(line, kana | (of_script == _HAN))
    ours = (count > 0) & (count >= LEAST_KANA * of)
    if parts is not None:
        parts = parts[: len(count)]
        whole, of_whole = np.bincount(parts, count), np.bincount(parts, of)
        ours |= ((whole > 0) & (whole >= LEAST_KANA * of_whole))[parts]
    return ours[line]


def cuts(text: str, points: Array, last: Array, japanese: Array) -> Array:
    """(n,) bool: where words of these scripts start, for characters beside one of theirs.  `last` (n,): the visible character before."""
    before = np.where(last >= 0, points[last], 0)
    here, back = _scripts()[points], _scripts()[before]
    han, han_before = here == _HAN, back == _HAN
    kana, kana_before = here == _KANA, back == _KANA
    found = np.ones(
        len(points), bool
    )  # a change of script always cuts, unless a segmenter knows the mixed word (卡拉OK)
    chinese = (han | han_before) & ~japanese
    if chinese.any():
        found = np.where(chinese & ~(kana | kana_before), _jieba(text, points), found)
    if kana.any():
        _syllabaries(found, points, last, kana & kana_before)
    ours = (han | kana | han_before | kana_before) & japanese
    if ours.any() and mecab() is not None:
        words = _mecab(text, ours)
        found[ours] = words[ours]
    elif (ours & han).any():  # without MeCab jieba is the best that there is for Han
        words = _jieba(text, points)
        found[ours & (han | han_before) & ~(kana | kana_before)] = words[
            ours & (han | han_before) & ~(kana | kana_before)
        ]
    other = here == _OTHER
    if other.any():
        joint = other & (back == _OTHER)
        found[joint] = (_icu(points, other, joint) if icu() is not None else _clusters(points, before))[joint]
    return found


def _jieba(text: str, points: Array) -> Array:
    import rjieba

    table = simplified()
    given = text if table is None else table[points].tobytes().decode("utf-32-le")
    return _starts(rjieba.cut(given), len(text))


def _starts(words: list[str], size: int) -> Array:
    found = np.zeros(size + 1, bool)
    found[0] = True
    found[np.cumsum(np.fromiter(map(len, words), np.int64, len(words)))] = True
    return found[:size]


def _mecab(text: str, ours: Array) -> Array:
    """White space is given as U+3000, which MeCab keeps; a word that it cuts elsewhere than at characters cannot be."""
    found = np.zeros(len(text), bool)
    parse, lock = mecab(), _LOCK
    plain = _ODD_SPACE.sub(lambda c: c[0] if c[0] == "\n" else "\u3000", text)
    touched = np.concatenate([[0], np.cumsum(ours)])
    for match in _SENTENCES.finditer(plain):
        begin, end = match.span()
        if touched[end] == touched[begin]:
            continue
        at = begin
        with lock:
            words = parse(match[0].replace("\n", "\u3000")).split(" ")
        for word in words:
            found[at] = True
            at += len(word)
        if plain[at:end].strip():  # all that it leaves out are blanks at the end
            raise InputError(f"text: MeCab changes {printable(match[0], 40)!r}; its words cannot be told from that")
    return found


def _icu(points: Array, other: Array, joint: Array) -> Array:
    """ICU is given the runs of these scripts, a line each, without the invisible characters in them."""
    places = np.flatnonzero(other)
    opens = ~joint[places]
    at = np.arange(len(places)) + np.cumsum(opens)  # a line end before each run
    row = np.full(len(places) + int(opens.sum()), 10, np.uint32)
    row[at] = points[places]
    begins = np.zeros(len(row), bool)
    begins[[begin for begin, _ in icu()(row.tobytes().decode("utf-32-le"), "en").segments()]] = True
    found = np.ones(len(points), bool)
    found[places] = begins[at]
    return found


def _syllabaries(found: Array, points: Array, last: Array, joint: Array) -> None:
    """A run of one syllabary is a word; ー goes with the kana before it."""
    owner = np.maximum.accumulate(np.where(points == 0x30FC, 0, np.arange(len(points))))
    hiragana = (points[owner] >= 0x3041) & (points[owner] <= 0x309F)
    found[joint & (hiragana == hiragana[last])] = False


def _clusters(points: Array, before: Array) -> Array:
    """Thai, Lao: a consonant with what hangs on it; Khmer, Burmese: all that stands together."""
    here, back = points & 0x7F, before & 0x7F  # Lao is laid out as Thai is, 0x80 higher
    leads, led = (here >= 0x40) & (here <= 0x44), (back >= 0x40) & (back <= 0x44)
    both = inside(points, THAI + LAO) & inside(before, THAI + LAO)
    change = inside(points, THAI + LAO) != inside(before, THAI + LAO)
    return (both & (leads | ((here <= 0x2E) & ~led))) | change


# The segmenters

_LOCK = threading.Lock()


@cache
def simplified() -> Array | None:
    """(0x110000,) uint32: the simplified character of each; None where OpenCC is not installed."""
    try:
        from bertsmith.text.chinese import table

        pairs = table("simplified")
    except ImportError:
        return None
    found = np.arange(0x110000, dtype=np.uint32)
    found[list(pairs)] = [ord(c) for c in pairs.values()]
    return found


@cache
def mecab() -> Any:
    """text -> its words, parted by blanks; None where it is not installed."""
    try:
        import fugashi
        import unidic_lite
    except ImportError:
        return None
    folder = unidic_lite.DICDIR
    return fugashi.GenericTagger(f'-Owakati -r "{os.path.join(folder, "mecabrc")}" -d "{folder}"').parse


@cache
def icu() -> Any:
    """The class of ICU's word breaks; None where it is not installed."""
    try:
        from icu4py.breakers import WordBreaker
    except ImportError:
        return None
    return WordBreaker


@dataclass(frozen=True, kw_only=True)
class Script:
    """What cuts the words of a language: the packages, the extra that brings them, and what is done without."""

    ranges: tuple[tuple[int, int], ...]
    packages: tuple[str, ...]
    extra: str
    without: str


SCRIPTS = {
    "Japanese": Script(
        ranges=KANA, packages=("fugashi", "unidic-lite"), extra="ja", without="runs of one syllabary, jieba for Han"
    ),
    "Thai": Script(ranges=THAI, packages=("icu4py",), extra="th", without="consonants with their vowels and tones"),
    "Lao": Script(ranges=LAO, packages=("icu4py",), extra="lo", without="consonants with their vowels and tones"),
    "Khmer": Script(ranges=KHMER, packages=("icu4py",), extra="km", without="blanks"),
    "Burmese": Script(ranges=BURMESE, packages=("icu4py",), extra="my", without="blanks"),
}


def described(counts: Array, japanese: int) -> tuple[dict[str, Any], list[str]]:
    """What cut the words of each script, with its characters; warnings of segmenters that are not installed.

    `counts` (0x110000,): how often each character stands in the text; `japanese`: kana and Han of it that were read as Japanese.
    """
    total = lambda ranges: sum(int(counts[first : last + 1].sum()) for first, last in ranges)
    by: dict[str, Any] = {}
    warnings = []
    chinese = total(HAN) + total(KANA) - japanese
    if chinese:
        packages = ("rjieba", "opencc") if simplified() is not None else ("rjieba",)
        by["Chinese"] = {
            "characters": chinese,
            "by": ", ".join(f"{package} {version(package)}" for package in packages),
        }
    for name, script in SCRIPTS.items():
        characters = japanese if name == "Japanese" else total(script.ranges)
        if not characters:
            continue
        there = (mecab if name == "Japanese" else icu)() is not None
        said = ", ".join(f"{package} {version(package)}" for package in script.packages) if there else script.without
        by[name] = {"characters": characters, "by": said}
        if not there:
            warnings.append(
                f"words: {amount(characters, f'character of {name} was', f'characters of {name} were')} cut by rule ({script.without}), not by a segmenter; "
                f"pip install 'bertsmith[{script.extra}]'"
            )
    return by, warnings
