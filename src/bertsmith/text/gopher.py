"""How good a page is by the statistics of Gopher (Rae et al. 2021, appendix A.1.1, Table A1).  Pure functions of a page's lines.

Definitions are those of datatrove's filters, which FineWeb was made with.  A word is a run of letters, marks and digits, or one other visible
character; in scripts without blanks two characters are one, and neither length nor stop words of words are asked there.
"""

import re
from collections import Counter

from bertsmith.text.segment import UNSPACED

QUALITY, REPETITION = "gopher-quality", "gopher-repetition"
STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~，。、„”“«»１」「《》´∶：？！（）；–—．～’…━〈〉【】％►")
SCRIPTS = "".join(f"{chr(first)}-{chr(last)}" for first, last in UNSPACED)
_WORDS = re.compile(rf"[{SCRIPTS}]{{1,2}}|(?:[^\W{SCRIPTS}]|[\u0300-\u036f])+|[^\w\s]")
_UNSPACED = re.compile(f"[{SCRIPTS}]")
# Of each statistic the least and the most that a page may have.
BOUNDS: dict[str, dict[str, tuple[float, float]]] = {
    QUALITY: {
        "words": (50, 100_000),
        "word length": (3, 10),
        "hashes per word": (0, 0.1),
        "ellipses per word": (0, 0.1),
        "bullet lines": (0, 0.9),
        "ellipsis lines": (0, 0.3),
        "words with a letter": (0.8, 1),
        "stop words": (2, len(STOP_WORDS)),
    },
    REPETITION: {
        "repeated lines": (0, 0.3),
        "characters of repeated lines": (0, 0.2),
        **{f"characters of the commonest {n}-gram": (0, most) for n, most in ((2, 0.2), (3, 0.18), (4, 0.16))},
        **{f"characters of repeated {n}-grams": (0, (20 - n) / 100) for n in range(5, 11)},
    },
}


def words(text: str) -> list[str]:
    return _WORDS.findall(text)


def measured(lines: list[str], names: tuple[str, ...], english: bool) -> dict[str, float]:
    """The statistics of a page, as the rules `names` ask for them; `english`: whose stop words are known."""
    text = "\n".join(lines)
    found = words(text)
    made: dict[str, float] = {}
    if QUALITY in names:
        made |= _quality(text, lines, found, english)
    if REPETITION in names:
        made |= _repetition(text, lines, found)
    return made


def rule_of(statistics: dict[str, float], names: tuple[str, ...]) -> str:
    """The first of the rules that a page with these does not pass; "" where it passes."""
    for rule in (QUALITY, REPETITION):
        bounds = BOUNDS[rule].items() if rule in names else ()
        if any(not least <= statistics[name] <= most for name, (least, most) in bounds if name in statistics):
            return rule
    return ""


def _quality(text: str, lines: list[str], found: list[str], english: bool) -> dict[str, float]:
    plain = [word for word in found if not PUNCTUATION.issuperset(word)]
    unspaced = 0 if text.isascii() else len(_UNSPACED.findall(text))
    count = max(1, len(found))
    made = {"words": float(len(plain))}
    if 2 * unspaced <= len(text):
        made["word length"] = sum(map(len, plain)) / max(1, len(plain))
    made |= {
        "hashes per word": text.count("#") / count,
        "ellipses per word": (text.count("...") + text.count("…")) / count,
        "bullet lines": sum(line.startswith(("•", "-")) for line in lines) / len(lines),
        "ellipsis lines": sum(line.endswith(("...", "…")) for line in lines) / len(lines),
        "words with a letter": sum(any(map(str.isalpha, word)) for word in found) / count,
    }
    if english and 2 * unspaced <= len(text):
        made["stop words"] = float(len(STOP_WORDS.intersection(found)))
    return made


def _repetition(text: str, lines: list[str], found: list[str]) -> dict[str, float]:
    again, size = _again(lines)
    made = {"repeated lines": again / len(lines), "characters of repeated lines": size / len(text)}
    for n in (2, 3, 4):
        if len(found) >= n:
            grams = Counter([" ".join(found[i : i + n]) for i in range(len(found) - n + 1)])
            ((gram, count),) = grams.most_common(1)
            made[f"characters of the commonest {n}-gram"] = len(gram) * count / len(text)
    for n in range(5, 11):
        made[f"characters of repeated {n}-grams"] = _covered(found, n) / len(text)
    return made


def _again(lines: list[str]) -> tuple[int, int]:
    """How many lines stand there before, and their characters."""
    copies = [(line, count - 1) for line, count in Counter(lines).items() if count > 1]
    return sum(count for _, count in copies), sum(len(line) * count for line, count in copies)


def _covered(found: list[str], n: int) -> int:
    """Characters of runs of n words that stand before, each character once."""
    seen, size, at = set(), 0, 0
    while at < len(found) - n + 1:
        gram = "".join(found[at : at + n])
        if gram in seen:
            size += len(gram)
            at += n
        else:
            seen.add(gram)
            at += 1
    return size
