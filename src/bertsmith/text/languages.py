"""The language of a text for a page's `lang` and `dir`: as it was said, else by the script of most of its letters."""

from __future__ import annotations

from collections import Counter

from bertsmith.text.categories import category, name

# First words of letters' names in Unicode, and the language that is written in that script most (ISO 639).
SCRIPTS = {
    "CJK": "zh",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "HANGUL": "ko",
    "CYRILLIC": "ru",
    "GREEK": "el",
    "ARABIC": "ar",
    "HEBREW": "he",
    "THAI": "th",
    "LAO": "lo",
    "KHMER": "km",
    "MYANMAR": "my",
    "DEVANAGARI": "hi",
    "BENGALI": "bn",
    "GURMUKHI": "pa",
    "GUJARATI": "gu",
    "TAMIL": "ta",
    "TELUGU": "te",
    "KANNADA": "kn",
    "MALAYALAM": "ml",
    "SINHALA": "si",
    "GEORGIAN": "ka",
    "ARMENIAN": "hy",
    "ETHIOPIC": "am",
    "TIBETAN": "bo",
}
RIGHT_TO_LEFT = ("ARABIC", "HEBREW", "SYRIAC", "THAANA", "NKO")
UNSAID = ""  # HTML's word for a language that nobody has said: Latin letters are those of many
WITHOUT = "en"  # in manifests of stores that were told nothing, too, so that letters of another script know better
HAN = 3  # letters that a Han character counts for: Chinese has Latin words in it
KANA = 0.1  # of the letters: from there on Han is Japanese


def language(text: str, said: str | None = None) -> tuple[str, str]:
    """(lang, dir) of a text, by HTML's names: ("zh", "ltr"), ("ar", "rtl"), ("", "ltr").  `said`: the language that its store was told."""
    scripts = Counter(name(c, "").partition(" ")[0] for c in text if category(c)[0] == "L")
    scripts["CJK"] += sum(scripts.pop(han, 0) for han in ("KANGXI", "IDEOGRAPHIC"))
    if not scripts.total():
        return said or UNSAID, "ltr"
    scripts["CJK"] *= HAN
    (script, _), kana = scripts.most_common(1)[0], scripts["HIRAGANA"] + scripts["KATAKANA"]
    if script == "CJK" and HAN * kana >= KANA * scripts.total():
        script = "HIRAGANA"
    found = SCRIPTS.get(script, UNSAID)
    found = said if said and not (found and said == WITHOUT) else found
    return found, "rtl" if script in RIGHT_TO_LEFT else "ltr"
