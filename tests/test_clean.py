"""What cleaning keeps of one page: a rule each, in the order of C4, and beside an oracle that was written from its description."""

import random
import re

import pytest

from bertsmith.errors import InputError
from bertsmith.text.bad_words import BadWords
from bertsmith.text.clean import C4, RULES, Rules, cleaned, named, size_of, words
from bertsmith.text.sentences import split

ONE = [name for name in C4 if name != "repeated"]
GOOD = ["The fox jumps over the lazy dog.", "It sleeps in the old barn today.", "Nobody knows where the dog has gone!"]
# what is asked, the page beside GOOD, what of that is left, what each rule took (pages, lines, parts)
PAGES = {
    "a line must end in an end mark": ("c4", ["the news of the day and more"], [], {"terminal": (0, 1, 0)}),
    "a colon is none": ("c4", ["These are the news of the day:"], [], {"terminal": (0, 1, 0)}),
    "three dots are none": ("c4", ["This goes on and on and on..."], [], {"terminal": (0, 1, 0)}),
    "an ellipsis is none": ("c4", ["This goes on and on and on…"], [], {"terminal": (0, 1, 0)}),
    "a question mark is one": ("c4", ["Where has the old dog gone?"], ["Where has the old dog gone?"], {}),
    "a quote is one": ("c4", ['He said "the dog is gone"'], ['He said "the dog is gone"'], {}),
    "a curly quote is one": ("c4", ["“The dog has gone away now.”"], ["“The dog has gone away now.”"], {}),
    "guillemets are one where they close": (
        "c4",
        ["Il a dit : « le chien est parti »"],
        ["Il a dit : « le chien est parti »"],
        {},
    ),
    "and none where they lead on": ("c4", ["Read more about the old dog »"], [], {"terminal": (0, 1, 0)}),
    "four words are short": ("c4", ["Four words are short."], [], {"short-lines": (0, 1, 0)}),
    "five words are not": ("c4", ["Five words are not short."], ["Five words are not short."], {}),
    "a short line without end mark is counted once": ("c4", ["Home"], [], {"terminal": (0, 1, 0)}),
    "a word of 1,001 characters": ("c4", ["It says " + "x" * 1001 + " in the end."], [], {"long-words": (0, 1, 0)}),
    "a word of 1,000": (
        "c4",
        ["It says " + "x" * 1000 + " in the end."],
        ["It says " + "x" * 1000 + " in the end."],
        {},
    ),
    "JavaScript in any case": ("c4", ["Please enable JavaScript to read this."], [], {"javascript": (0, 1, 0)}),
    "policies": ("c4", ["This site uses Cookies to know you."], [], {"policy": (0, 1, 0)}),
    "citations go, their line stays": (
        "c4",
        ["It was so[12] in old times[edit]. [citation needed]"],
        ["It was so in old times."],
        {"citations": (0, 0, 3)},
    ),
    "a line of citations alone": ("c4", ["[1][2]"], [], {"citations": (0, 1, 2)}),
    "a line that goes takes its citations along": ("c4", ["It was so in old[1] times[2]"], [], {"terminal": (0, 1, 0)}),
    "a citation inside of one": (
        "c4",
        ["It was so [[1]2] in old times."],
        ["It was so  in old times."],
        {"citations": (0, 0, 2)},
    ),
    "a brace takes the page": ("c4", ["Then he wrote {this} on the wall."], None, {"braces": (1, 4, 0)}),
    "but not in a line that goes by itself": ("c4", ["function () {"], [], {"terminal": (0, 1, 0)}),
    "nor beside javascript": ("c4", ["The javascript says {this} to us all."], [], {"javascript": (0, 1, 0)}),
    "lorem ipsum takes the page": ("c4", ["Here stands Lorem Ipsum dolor sit amet."], None, {"lorem-ipsum": (1, 4, 0)}),
    "but not in a line that is short": ("c4", ["Lorem ipsum dolor."], [], {"short-lines": (0, 1, 0)}),
    "lorem ipsum before javascript": ("c4", ["Lorem ipsum is no javascript at all."], None, {"lorem-ipsum": (1, 4, 0)}),
    "a rule alone": ("javascript", ["Enable JavaScript", "Home {"], ["Home {"], {"javascript": (0, 1, 0)}),
    "two rules": ("terminal,braces", ["Home {", "Home {."], None, {"terminal": (0, 1, 0), "braces": (1, 4, 0)}),
}


def counts(drops):
    found = {}
    for drop in drops:
        before = found.get(drop.rule, (0, 0, 0))
        found[drop.rule] = tuple(a + b for a, b in zip(before, (drop.pages, drop.lines, drop.parts), strict=True))
    return found


def lines_of(page):
    return ["".join(sentences) for sentences in page]


def summed(page, drops):
    """(lines, bytes) of what stays and what went."""
    kept = lines_of(page)
    return len(kept) + sum(d.lines for d in drops), sum(map(size_of, kept)) + sum(d.size for d in drops)


@pytest.mark.parametrize("case", PAGES)
def test_a_page_loses_what_its_rule_says(case):
    asked, more, left, took = PAGES[case]
    lines = [*GOOD[:1], *more, *GOOD[1:]]
    page, drops = cleaned(lines, Rules(names=named(asked)))
    assert lines_of(page) == ([] if left is None else [*GOOD[:1], *left, *GOOD[1:]])
    assert counts(drops) == took
    assert summed(page, drops) == (len(lines), sum(map(size_of, lines)))
    assert cleaned(lines_of(page), Rules(names=named(asked))) == (page, [])


def test_a_page_of_two_sentences_is_short_and_one_of_three_in_two_lines_is_not():
    rules = Rules(names=named("c4"))
    page, drops = cleaned(GOOD[:2], rules)
    assert page == [] and counts(drops) == {"short-pages": (1, 2, 0)} and drops[0].size == sum(map(len, GOOD[:2]))
    page, drops = cleaned([" ".join(GOOD[:2]), GOOD[2]], rules)
    assert [len(sentences) for sentences in page] == [2, 1] and drops == []
    assert cleaned([], rules) == ([], [])


def test_lines_are_counted_as_sentences_where_they_were_said_to_be():
    lines = [" ".join(GOOD)]
    assert cleaned(lines, Rules(names=named("c4"), lines="sentence"))[0] == []
    assert cleaned(lines, Rules(names=named("c4")))[0] == [split(lines[0])]


@pytest.mark.parametrize(
    "line",
    [
        "今天天气很好我们一起去公园玩吧。",
        "ทดสอบภาษาไทยที่ไม่มีช่องว่าง?",
        "これは日本語の文章です、とても長いです！",
        "यह एक बहुत लंबा वाक्य है।",
        "هل تعرف أين ذهب الكلب؟",
        "„Der Hund ist jetzt fort.“",
    ],
)
def test_full_stops_and_words_of_other_scripts_count(line):
    rules = Rules(names=named("terminal,short-lines,long-words"))
    assert lines_of(cleaned([line], rules)[0]) == [line]
    assert counts(cleaned([line.rstrip("。?！।؟“.")], rules)[1]) == {"terminal": (0, 1, 0)}


def test_a_chinese_paragraph_is_no_long_word_and_three_characters_are_a_short_line():
    rules = Rules(names=named("terminal,short-lines,long-words"))
    long = "今天天气很好，" * 200 + "我们去公园。"
    assert lines_of(cleaned([long, "关于我们。"], rules)[0]) == [long]
    assert (words("今天天气很好我们去玩。"), words("a b c"), words("今天 is 好 - x。")) == (5, 3, 3)
    assert counts(cleaned(["中文" + "x" * 1001 + "。"], rules)[1]) == {"long-words": (0, 1, 0)}


BAD = BadWords(("ass", "bad word", "f*ck", "坏话", "42x"))


@pytest.mark.parametrize(
    "line",
    [
        "ass",
        "Ass at the beginning.",
        "at the end: ass",
        "an ASS, here",
        "x_ass_x",
        "a Bad Word.",
        "f*ck this",
        "这是坏话吗",
        "it is 42x.",
    ],
)
def test_a_bad_word_counts_between_what_is_no_letter_and_at_the_ends(line):
    page, drops = cleaned([*GOOD, line], Rules(names=("bad-words",), bad=BAD))
    assert page == [] and counts(drops) == {"bad-words": (1, 4, 0)} and drops[0].text == line


@pytest.mark.parametrize("line", ["the class", "assess it", "a bad\tword", "bad words", "f*cker", "éass", "42xy"])
def test_a_bad_word_inside_of_another_does_not(line):
    assert cleaned([*GOOD, line], Rules(names=("bad-words",), bad=BAD))[1] == []


def described(text: str) -> list[str]:
    """The rules as the description has them (tfds c4_utils), written apart from ours; no bad words."""
    kept, sentences = [], 0
    for line in text.split("\n"):
        line = line.strip()
        if max(map(len, line.split()), default=0) > 1000:
            continue
        line = re.sub(r"\[[0-9]*\]|\[edit\]|\[citation needed\]", "", line).strip()
        if line[-1:] not in (".", "?", "!", '"') or line[-3:] == "..." or len(re.findall(r"\S+", line)) < 5:
            continue
        small = line.lower()
        if small.find("lorem ipsum") >= 0:
            return []
        if small.find("javascript") >= 0:
            continue
        if line.find("{") >= 0:
            return []
        if re.search("terms of use|privacy policy|cookie policy|uses cookies|use of cookies|use cookies", small):
            continue
        sentences += len(split(line))
        kept.append(line)
    return kept if sentences >= 3 else []


def test_random_pages_come_out_as_the_description_has_it():
    draw = random.Random(0)
    pieces = [
        "the old dog",
        "jumps",
        "over it.",
        "Who knows?",
        "[3]",
        "[edit]",
        "...",
        "{",
        "javascript",
        "use cookies",
        "Lorem ipsum",
        "now.",
        '"so"',
        "x" * 1001,
    ]
    weights = [9, 9, 9, 6, 2, 1, 1, 0.2, 0.5, 0.5, 0.1, 9, 4, 0.3]
    rules, kept, whole = Rules(names=tuple(ONE)), 0, 0
    for _ in range(500):
        lines = [" ".join(draw.choices(pieces, weights, k=draw.randrange(1, 9))) for _ in range(draw.randrange(1, 9))]
        page, drops = cleaned(lines, rules)
        assert lines_of(page) == described("\n".join(lines))
        assert summed(page, drops) == (len(lines), sum(map(size_of, lines)))
        assert cleaned(lines_of(page), rules) == (page, [])
        kept, whole = kept + len(page), whole + len(lines)
    assert 0.1 < kept / whole < 0.9


def test_names_come_in_order_once_and_unknown_ones_are_told_the_nearest():
    assert named("policy,c4,terminal") == C4 == named(["C4"]) == named(["policy", "c4,terminal"])
    assert named("near-duplicates, javascript") == ("javascript", "near-duplicates")
    apart = {"bad-words", "language", "duplicates", "near-duplicates", "gopher-quality", "gopher-repetition"}
    assert set(RULES) - set(C4) == apart
    for asked, said in (
        ("javascrip", "clean: 'javascrip' is not a rule; did you mean 'javascript'?"),
        ("c5", "clean: 'c5' is not a rule; known: braces, c4, "),
        ("", "clean: '' is not a rule"),
        ("c4,", "clean: '' is not a rule"),
        ("language", "clean: language is asked for by clean_language=CODE"),
        ("c4,bad-words", "clean: bad-words is asked for by bad_words=FILE"),
    ):
        with pytest.raises(InputError) as caught:
            named(asked)
        assert str(caught.value).startswith(said)
