"""Words and spans come back from the text as they stood: any order of pre-tokenizers, cased or not, marks at the edges, blanks anywhere."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.layouts import LAYOUTS, layout
from tests.test_runs import TEXTS

from bertsmith.tasks.answers import _tokens
from bertsmith.text.words import covering

WORDS = [
    *(
        "e\u0301te\u0301",
        "co\u0302te\u0301",
        "\u0301b",
        "don't",
        "12.5%",
        "I\u0307x",
        "ΣΑΣ",
        "ﬁne",
        "½",
        "👍🏽",
        "x\u200dy",
        "\u200eab\u200e",
    ),
    *(
        "कि",
        "है",
        "שָׁלוֹם",
        "مُدَرِّس",
        "كِتَابٌ",
        "ơ\u0301",
        "v\u0061\u030a\u0301",
        "\u1112\u1161\u11ab",
        "a\u0323\u0307",
        "¨a",
        "\ufeffx",
        "co\u00adop\u00ad",
    ),
    *("Å", "℃", "ｶﾞ", "ﾊﾟ", "…a", "ß", "ŉ", "Ａ１", "ทีม", "城市。", "Ġx", "[MASK]", "Hello", "(World)"),
]
BLANKS = [" ", "  ", "\t", "\u00a0 ", " \u3000"]


@pytest.fixture(scope="module", params=LAYOUTS)
def tokenizer(request):
    return layout(request.param, [*TEXTS.values(), *(f"{a} {b}" for a in WORDS for b in WORDS[:9])], 900)


def lost(tokenizer, text):
    """Words whose tokens give back something else; a token that reaches into the neighbour or stands for anything tells nothing."""
    _, characters = tokenizer.located([text])[0]
    assert (np.diff(characters, axis=0) >= 0).all() and (characters[:, 0] <= characters[:, 1]).all()
    for word in re.finditer(r"\S+", text):
        begin, end = word.span()
        found = _tokens(characters, (begin, end))
        if found is None:
            yield word[0], None
            continue
        first, last = characters[found[0], 0], characters[found[1], 1]
        joined = text[first:begin].strip() or text[end:last].strip()
        if (first, last) != (begin, end) and not joined:
            yield word[0], text[first:last]


@pytest.mark.parametrize("language", TEXTS)
def test_words_of_a_language_come_back(tokenizer, language):
    text = TEXTS[language]
    assert not [*lost(tokenizer, text)] and not [*lost(tokenizer, "  " + text.replace(" ", "  "))]


@settings(max_examples=60)
@given(parts=st.lists(st.tuples(st.sampled_from(BLANKS), st.sampled_from(WORDS)), min_size=1, max_size=8))
def test_any_words_come_back(tokenizer, parts):
    text = "".join(blank + word for blank, word in parts)
    assert [was for was in lost(tokenizer, text) if was[1] is not None] == []


def test_what_no_token_stands_for_goes_with_its_word():
    def ranges(text, *offsets):
        return covering(text, np.array(offsets).reshape(-1, 2)).tolist()

    assert ranges("e\u0301t", (0, 1), (2, 3)) == [[0, 2], [2, 3]]  # with the token before it
    assert ranges("a \u0301b c", (0, 1), (3, 4), (5, 6)) == [
        [0, 1],
        [2, 4],
        [5, 6],
    ]  # at the start of a word with the one behind
    assert ranges("a \u200b b", (0, 1), (4, 5)) == [
        [0, 1],
        [4, 5],
    ]  # a word of its own that was dropped stays without token
    assert ranges(" a", (0, 1), (0, 2)) == [[1, 1], [1, 2]]
    assert ranges("", *()) == [] and ranges("\u0301", *()) == []
