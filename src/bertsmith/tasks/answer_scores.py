"""The official scores of an answer: SQuAD's by words, CMRC's by characters for scripts that write no blanks."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bertsmith.tasks.joined import without_blanks

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)
# What cmrc2018_evaluate.py takes out; its "……" never is one character, and so stays.
CHINESE_PUNCTUATION = str.maketrans("", "", "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
# In place of nltk's word_tokenize, which parts some runs otherwise (don't, H., ′37); LOG.md says how often that changes a score.
RUN = re.compile(r"\w+(?:[.,']\w+)*|[^\w\s]")


@dataclass(frozen=True)
class Scoring:
    """`exact` and `overlap` of what was said with the answers, the best over these; no answer is ""."""

    name: str  # what a user reads
    text: Callable[[str], str]  # what equal answers share
    pieces: Callable[[str], list[str]]
    common: Callable[[list[str], list[str]], int]  # pieces that two answers share

    def exact(self, said: str, golds: list[str]) -> float:
        return float(self.text(said) in {self.text(gold) for gold in self._golds(golds)})

    def overlap(self, said: str, golds: list[str]) -> float:
        """The best F1 of pieces; where one side has none, whether both have none."""
        mine = self.pieces(said)
        return max(self._f1(mine, self.pieces(gold)) for gold in self._golds(golds))

    def _golds(self, golds: list[str]) -> list[str]:
        """Those that something is left of, as evaluate-v2.0 has it; else the empty answer."""
        return [gold for gold in golds if self.text(gold)] or [""]

    def _f1(self, mine: list[str], gold: list[str]) -> float:
        if not mine or not gold:
            return float(mine == gold)
        return 2 * self.common(mine, gold) / (len(mine) + len(gold))


def normalised(text: str) -> str:
    """Lower case, without ASCII punctuation, English articles and superfluous white space (Rajpurkar et al. 2016, section 6.1)."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def bare(text: str) -> str:
    """Lower case, without the punctuation that CMRC's script knows."""
    return text.lower().strip().translate(CHINESE_PUNCTUATION)


def characters(text: str) -> list[str]:
    """Characters of scripts without blanks one by one, and words between them: CMRC's mixed segmentation, which has Han characters
    alone and nltk's words."""
    pieces: list[str] = []
    run = ""
    for character in bare(text):
        if unspaced(character):
            pieces += [*RUN.findall(run), character]
            run = ""
        else:
            run += character
    return pieces + RUN.findall(run)


def unspaced(text: str) -> bool:
    """Whether a text holds a script without blanks."""
    return not text.isascii() and re.search(f"[{without_blanks()}]", text) is not None


def _shared(mine: list[str], gold: list[str]) -> int:
    return sum((Counter(mine) & Counter(gold)).values())


def _longest_run(mine: list[str], gold: list[str]) -> int:
    """The longest run of pieces that stands in both; the script's "lcs" (find_lcs of its version 5) is one without gaps."""
    longest, row = 0, [0] * (len(gold) + 1)
    for piece in mine:
        row = [0, *(row[j] + 1 if piece == other else 0 for j, other in enumerate(gold))]
        longest = max(longest, *row)
    return longest


WORDS = Scoring("words", normalised, lambda text: normalised(text).split(), _shared)
CHARACTERS = Scoring("characters", bare, characters, _longest_run)


def scoring(golds: Iterable[list[str]]) -> Scoring:
    """By characters where most answers of a file hold a script without blanks."""
    held = [unspaced(gold) for answers in golds for gold in answers]
    return CHARACTERS if 2 * sum(held) > len(held) else WORDS
