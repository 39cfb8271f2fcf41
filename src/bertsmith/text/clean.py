"""Which lines and pages of web text stay: the rules of C4 (Raffel et al. 2020, section 2.2).  Pure functions of one page.

Order and constants are those of the code that made C4; where ours differ: docs/decisions/2026-11-27-cleaning.md.  Each line of a page is
kept or has one rule that took it, and a page that is cleaned already stays as it is.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from bertsmith.errors import InputError, nearest, printable
from bertsmith.spelling import option
from bertsmith.text import gopher
from bertsmith.text.bad_words import BadWords
from bertsmith.text.segment import UNSPACED
from bertsmith.text.sentences import split
from bertsmith.text.spoken import Spoken

LONGEST_WORD, FEWEST_WORDS, FEWEST_SENTENCES = 1000, 5, 3
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_ENDS = tuple('.?!"' + "。！？｡．؟۔।॥։።᙮។៕⸮‼⁇⁈⁉" + "”“」』＂")  # C4's own; full stops of other scripts; closing quotes
_OPENS = {"»": "«", "«": "»"}  # these close what they opened: elsewhere » leads to another page
_CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
SCRIPTS = "".join(f"{chr(first)}-{chr(last)}" for first, last in UNSPACED)  # without blanks between words
_UNSPACED = re.compile(f"[{SCRIPTS}]")
_LONG = re.compile(rf"\S{{{LONGEST_WORD + 1}}}")
_LONG_RUN = re.compile(rf"[^\s{SCRIPTS}\u3001-\u301f\uff01-\uff65]{{{LONGEST_WORD + 1}}}")


def has_long_word(line: str) -> bool:
    """In scripts without blanks a paragraph is no word."""
    return len(line) > LONGEST_WORD and bool(_LONG.search(line) and (line.isascii() or _LONG_RUN.search(line)))


def has_no_end(line: str) -> bool:
    if line.endswith(_ENDS):
        return line.endswith("...")
    return line[-1] not in _OPENS or _OPENS[line[-1]] not in line


def is_short(line: str) -> bool:
    return words(line) < FEWEST_WORDS


def words(line: str) -> int:
    """Between blanks; in scripts without blanks two characters count as one."""
    parts = line.split()
    unspaced = 0 if line.isascii() else len(_UNSPACED.findall(line))
    if unspaced:
        parts = [part for part in _UNSPACED.sub(" ", line).split() if any(map(str.isalnum, part))]
    return len(parts) + unspaced // 2


def has_policy(line: str) -> bool:
    lower = line.lower()
    return any(phrase in lower for phrase in POLICY)


class Rule(NamedTuple):
    """`takes`: what goes where it holds; `finds`: whether it holds for a line, None where that is asked of more than a line."""

    takes: Literal["part", "line", "page"]
    finds: Callable[[str], bool] | None = None


# In the order in which they are asked.
RULES = {
    "citations": Rule("part"),
    "long-words": Rule("line", has_long_word),
    "terminal": Rule("line", has_no_end),
    "short-lines": Rule("line", is_short),
    "lorem-ipsum": Rule("page", lambda line: "lorem ipsum" in line.lower()),
    "javascript": Rule("line", lambda line: "javascript" in line.lower()),
    "braces": Rule("page", lambda line: "{" in line),
    "policy": Rule("line", has_policy),
    "bad-words": Rule("page"),
    "short-pages": Rule("page"),
    gopher.QUALITY: Rule("page"),
    gopher.REPETITION: Rule("page"),
    "language": Rule("page"),
    "duplicates": Rule("page"),
    "near-duplicates": Rule("page"),
    "repeated": Rule("part"),
}
ASKED_APART = {"bad-words": ("bad_words", "FILE"), "language": ("clean_language", "CODE")}
GOPHER = (gopher.QUALITY, gopher.REPETITION)
C4 = tuple(name for name in RULES if name not in (*ASKED_APART, *GOPHER, "duplicates", "near-duplicates"))
SETS = {"c4": C4, "gopher": GOPHER}


@dataclass(frozen=True, kw_only=True)
class Rules:
    """`names`: those that are asked, in order; `bad`, `spoken`: what two of them need."""

    names: tuple[str, ...]
    bad: BadWords | None = None
    spoken: Spoken | None = None
    language: str = "en"  # sentences are split by
    lines: str = "paragraph"  # "sentence": each line is one

    def sentences(self, line: str) -> list[str]:
        return [line] if self.lines == "sentence" else split(line, self.language)


def named(asked: str | Iterable[str]) -> tuple[str, ...]:
    """Names of rules, by commas or as a list, "c4" for those of C4, "gopher" for Gopher's; in order, each once."""
    names = [
        name.strip().lower() for part in ([asked] if isinstance(asked, str) else asked) for name in part.split(",")
    ]
    for name in names:
        if name in ASKED_APART:
            argument, like = ASKED_APART[name]
            raise InputError(f"{option('clean')}: {name} is asked for by {option(argument, like=like)}")
        if name not in SETS and name not in RULES:
            known = (*SETS, *(rule for rule in RULES if rule not in ASKED_APART))
            raise InputError(f"{option('clean')}: {printable(repr(name), 60)} is not a rule; {nearest(name, known)}")
    every = {*names, *(rule for name in names for rule in SETS.get(name, ()))}
    return tuple(name for name in RULES if name in every)


class Drop(NamedTuple):
    """What a rule took: bytes of UTF-8 without line ends; `parts`: citations or sentences inside of lines."""

    rule: str
    text: str  # the line, or what stood in it
    size: int
    pages: int = 0
    lines: int = 0
    parts: int = 0


def cleaned(
    lines: list[str], rules: Rules, measured: Callable[[dict[str, float], bool], None] | None = None
) -> tuple[list[list[str]], list[Drop]]:
    """The sentences of each line that stays, and what went.  `lines`: without outer white space, none empty.

    `measured` is told a page's statistics (gopher.py) and whether it stays by them, where these are asked."""
    drops: list[Drop] = []
    kept, page_rule, fired = [], "", ""
    asked = [(name, RULES[name]) for name in rules.names if RULES[name].finds]
    citations = "citations" in rules.names
    for line in lines:
        left, parts = without_citations(line) if citations and "[" in line else (line, 0)
        rule = next((name for name, rule in asked if rule.finds(left)), "") if left else "citations"
        if rule and RULES[rule].takes != "page":
            drops.append(Drop(rule, line, size_of(line), lines=1, parts=parts * (not left)))
            continue
        if rule and not page_rule:
            page_rule, fired = rule, left
        if parts:
            drops.append(Drop("citations", line, size_of(line) - size_of(left), parts=parts))
        kept.append(left)
    if not kept:
        return [], drops
    page = []
    if not page_rule and (found := rules.bad and rules.bad.line(kept)):
        page_rule, fired = "bad-words", found
    if not page_rule:
        page = [rules.sentences(line) for line in kept]
        page_rule, fired = _page_rule(page, kept, rules, measured), kept[0]
    if page_rule:
        drops.append(whole(page_rule, kept, fired))
        return [], drops
    return page, drops


def _page_rule(page: list[list[str]], kept: list[str], rules: Rules, measured: Callable | None) -> str:
    if "short-pages" in rules.names and sum(map(len, page)) < FEWEST_SENTENCES:
        return "short-pages"
    if asked := tuple(name for name in GOPHER if name in rules.names):
        found = gopher.measured(kept, asked, rules.language == "en")
        rule = gopher.rule_of(found, asked)
        if measured is not None:
            measured(found, not rule)
        if rule:
            return rule
    return "language" if rules.spoken and not rules.spoken.fits("\n".join(kept)) else ""


def whole(rule: str, kept: list[str], fired: str) -> Drop:
    """What was left of a page goes; `fired`: the line that says why."""
    return Drop(rule, fired, sum(map(size_of, kept)), pages=1, lines=len(kept))


def without_citations(line: str) -> tuple[str, int]:
    """The line, and how many there were: until there is none, as [[1]2] has one inside of another."""
    left, found, count = line, 0, 1
    while count:
        left, count = _CITATION.subn("", left)
        found += count
    return (left.strip(), found) if found else (line, 0)


def size_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
