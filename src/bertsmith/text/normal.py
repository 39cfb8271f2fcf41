"""What a tokenizer trained here does to a text before it cuts it into words, the same for every kind; and where bytes cut it.

In order: controls and zero-width characters part words or go; the Unicode form; lower case; accents, only where that is asked.
A loaded tokenizer keeps the rule of its own file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tokenizers import Regex, normalizers, pre_tokenizers

from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, flag, option
from bertsmith.text import chinese
from bertsmith.text.categories import category, normalize
from bertsmith.text.categories import name as name_of
from bertsmith.text.words import PARTING, REMOVED

FORMS = ("none", "nfc", "nfkc")
DOTLESS = ("tr", "az")  # languages in which I and ı, İ and i are the pairs
SAMPLE = 1 << 20  # characters looked at before accents are stripped
MOST_MARKED = 0.05  # share of letters with marks that only their script could have given them
LONGEST_UNIT = 1000  # characters without a space that a tokenizer learns from as one word
_LONG = re.compile(f"\\S{{{LONGEST_UNIT + 1},}}")
PARTS, GOES = f"[{PARTING}]", f"[{REMOVED}]"
BLANK_IN_PIECES = "[\u2581\ufffd]"  # SentencePiece's own space, and the sign for "no character"

# GPT-2's pattern but for one thing: a letter takes the marks and the joiners that follow it, where GPT-2 cuts at each of them.
WORDS_OF_BYTES = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}[\p{L}\p{M}\x{200C}\x{200D}]*| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """`lowercase` keeps marks (é, が, कु, Hangul); `strip_accents` is BERT's uncased rule: NFD without its nonspacing marks.

    `normalise`: the Unicode form; None: NFKC for Unigram, as SentencePiece has it, the text as it is for the others.
    `chinese`: "simplified" or "traditional" characters (chinese.py).
    `language`: in Turkish and Azeri the lower case of I is ı, of İ is i.
    """

    lowercase: bool = False
    strip_accents: bool = False
    normalise: str | None = None
    chinese: str | None = None
    language: str = "en"

    def __post_init__(self):
        if self.normalise is not None and self.normalise not in FORMS:
            raise InputError(
                f"{option('normalise')}: {printable(repr(self.normalise))} is not one of {', '.join(FORMS)}"
            )
        if self.chinese is not None:
            chinese.check(self.chinese)

    @property
    def dotless(self) -> bool:
        return self.lowercase and re.split("[-_]", self.language)[0] in DOTLESS

    def form(self, default: str = "none") -> str:
        """ "NFC", "NFKC" or "" for the text as it is."""
        chosen = default if self.normalise is None else self.normalise
        return "" if chosen == "none" else chosen.upper()

    def steps(self, default: str = "none") -> list[normalizers.Normalizer]:
        """Everything but what a kind adds of its own (BERT's white space and Han)."""
        form = self.form(default)
        forms = [getattr(normalizers, form)()] if form else []
        steps = [normalizers.Replace(Regex(GOES), ""), normalizers.Replace(Regex(PARTS), " "), *forms]
        if self.chinese:
            steps.append(chinese.normalizer(self.chinese))
        if self.dotless:
            steps += [normalizers.Replace(*pair) for pair in (("I\u0307", "i"), ("İ", "i"), ("I", "ı"))]
        if self.strip_accents:
            bert = normalizers.BertNormalizer(
                clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=self.lowercase
            )
            return [*steps, bert, *forms]  # the form again, for what NFD took apart and kept: jamo
        return [*steps, *([normalizers.Lowercase()] if self.lowercase else [])]


def by_character(change: dict) -> bool:
    """Whether a Replace of a tokenizer.json maps each character on its own, or a letter with marks to a letter."""
    pattern, content = change.get("pattern") or {}, change.get("content")
    if pattern.get("Regex") in (PARTS, BLANK_IN_PIECES):
        return content == " "
    if pattern.get("Regex") == GOES:
        return content == ""
    return all(_letter(text) for text in (pattern.get("String"), content))


def _letter(text: object) -> bool:
    kinds = [category(c)[0] for c in text] if isinstance(text, str) else []
    return kinds[:1] == ["L"] and set(kinds[1:]) <= {"M"}


def bytes_of_words() -> pre_tokenizers.PreTokenizer:
    """A space before the first word, the words, their bytes.  (ByteLevel's own space would stand before each of the words.)"""
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement=" ", prepend_scheme="always", split=False),
            pre_tokenizers.Split(Regex(WORDS_OF_BYTES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def is_bytes_of_words(splits: list[dict]) -> bool:
    """Whether the parts of a tokenizer.json's pre-tokenizer are those of `bytes_of_words`, whatever their pattern."""
    if [split["type"] for split in splits] != ["Metaspace", "Split", "ByteLevel"]:
        return False
    space, split, byte = splits
    kept = (space.get("replacement"), space.get("prepend_scheme"), space.get("split")) == (" ", "always", False)
    return (
        kept
        and split.get("pattern") == {"Regex": WORDS_OF_BYTES}
        and not (byte.get("add_prefix_space") or byte.get("use_regex"))
    )


def cut(texts: list[str]) -> tuple[list[str], int]:
    """The texts with words of more than LONGEST_UNIT characters (base64, minified code) cut, and how many they were.

    SentencePiece sums over all ways to cut a word, which over 100,000 characters is no finite number; merges take the square of its length.
    """
    count = 0

    def pieces(word: re.Match) -> str:
        nonlocal count
        count += 1
        return " ".join(re.findall(f"(?s).{{1,{LONGEST_UNIT}}}", word[0]))

    return [_LONG.sub(pieces, text) if len(text) > LONGEST_UNIT else text for text in texts], count


def check_accents(texts: Iterable[str]) -> None:
    """InputError where stripping accents would take vowels, tones or voicing out of a script that writes them as marks."""
    looked, size = [], 0
    for text in texts:
        looked.append(text[:SAMPLE])
        size += len(text)
        if size >= SAMPLE:
            break
    text = normalize("NFD", "\n".join(looked)[:SAMPLE])
    if text.isascii():
        return
    marks = Counter(c for c in text if category(c) == "Mn" and _of_a_script(c))
    if not marks:
        return
    spacing = "".join(c for c in set(text) if category(c) == "Mc")
    own = "".join(marks)
    found = Counter(re.findall(f"[^\\W\\d_][{spacing}\u200c\u200d]*[{own}]+", text))
    letters, marked = sum(category(c)[0] == "L" for c in text), sum(found.values())
    if marked > MOST_MARKED * letters:
        shown = ", ".join(normalize("NFC", letter) for letter, _ in found.most_common(5))
        raise InputError(
            f"{flag('strip_accents')}: {marked:,} of {amount(letters, 'letter')} ({marked / letters:.0%}) would lose marks that are part of "
            f"their script ({shown}); without {flag('strip_accents')} lower case keeps them"
        )


def _of_a_script(mark: str) -> bool:
    """Marks of Latin, Greek and Cyrillic are called COMBINING …; so is the voicing of kana, which is part of the script."""
    name = name_of(mark, "")
    return mark in "\u3099\u309a" or not name.startswith(("COMBINING", "VARIATION"))
