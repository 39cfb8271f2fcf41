"""WordPiece by likelihood: the oracle counts everything anew before every merge."""

import math
import random
from collections import Counter
from itertools import pairwise

import pytest

from bertsmith.errors import InputError
from bertsmith.text.likelihood import learned
from bertsmith.text.tokenizer import Tokenizer

COURSE = {"hug": 10, "pug": 5, "pun": 12, "bun": 4, "hugs": 5}


def alphabet(words):
    return {c for word in words for c in word} | {"##" + c for word in words for c in word}


def joined(word, pair):
    made, at = [], 0
    while at < len(word):
        joins = tuple(word[at : at + 2]) == pair
        made.append(pair[0] + pair[1].removeprefix("##") if joins else word[at])
        at += 1 + joins
    return made


def log_likelihood(text):
    """Of (pieces, times) under the unigram model that fits them best."""
    count = Counter()
    for word, times in text:
        for piece in word:
            count[piece] += times
    total = sum(count.values())
    return sum(n * math.log(n / total) for n in count.values())


def by_hand(words, room, by):
    """The merges, each found by trying every pair."""
    text = [([word[0], *("##" + c for c in word[1:])], times) for word, times in sorted(words.items())]
    known, made = alphabet(words), []
    while len(made) < room:
        single, pairs = Counter(), set()
        for word, times in text:
            for piece in word:
                single[piece] += times
            pairs |= set(pairwise(word))
        best = []
        before = log_likelihood(text)
        for pair in pairs:
            after = [(joined(word, pair), times) for word, times in text]
            n = sum((len(old) - len(new)) * times for (old, times), (new, _) in zip(text, after, strict=True))
            score = n / (single[pair[0]] * single[pair[1]]) if by == "ratio" else log_likelihood(after) - before
            if n >= 2 and score > 1e-9:
                best.append((-round(score, 9), -n, pair))
        if not best:
            break
        pair = min(best)[2]
        text = [(joined(word, pair), times) for word, times in text]
        name = pair[0] + pair[1].removeprefix("##")
        made += [name] * (name not in known)
        known.add(name)
    return made


@pytest.mark.parametrize("by", ["ratio", "gain"])
@pytest.mark.parametrize("seed", range(6))
def test_every_merge_is_the_one_that_counting_anew_would_choose(by, seed):
    draw = random.Random(seed)
    parts = ["aab", "abb", "bbbb", "aaaaa"] if seed % 2 else [*"abcde"]  # of two letters many pieces follow themselves
    words = {
        "".join(draw.choices(parts, k=draw.randint(1, 27 // len(parts[0] * 3)))): draw.randint(1, 30) for _ in range(40)
    }
    found = learned(words, alphabet(words), 60, by)
    assert found == by_hand(words, 60, by) and len(found) >= 15


def test_the_first_merges_of_the_text_that_courses_use():
    """5 / (20 x 5) for ##g and ##s; then all that stands before ##u is alike, 1 / 36, 1 / 21 and so on, the commonest first; then 5 / (15 x 5)."""
    assert learned(COURSE, alphabet(COURSE), 6, "ratio") == ["##gs", "pu", "hu", "bu", "hugs", "hug"]
    assert learned(COURSE, alphabet(COURSE), 3, "gain") == ["##ug", "##un", "hug"]


def test_by_gain_it_ends_where_nothing_is_gained_and_the_other_where_nothing_meets_twice():
    words = {"ab": 3, "cd": 1}
    assert learned(words, alphabet(words), 9, "ratio") == ["ab"]
    alone = {"ab": 5}  # joined or apart, a text of one piece, or of two halves: log 1 against log 1/2
    assert learned(alone, alphabet(alone), 9, "gain") == ["ab"]
    even = {"ab": 2, "ba": 2, "aa": 2, "bb": 2}  # what meets as often as by chance gains nothing at first
    assert learned(even, alphabet(even), 9, "gain") == by_hand(even, 9, "gain")


def test_words_that_cannot_be_spelt_teach_nothing():
    words = {**COURSE, "hug\u2603": 1000}
    assert learned(words, alphabet(COURSE), 5, "ratio") == learned(COURSE, alphabet(COURSE), 5, "ratio")


@pytest.mark.parametrize("kind", ["wordpiece-likelihood", "wordpiece-gain"])
def test_the_tokenizer_is_a_wordpiece_of_other_pieces(kind):
    texts = [
        "the hugs of pugs and the puns of buns are under the drums",
        "hugging pugs, the pun hugs a hundred thundering buns",
    ] * 5
    made, counted = Tokenizer.train(f"{kind}:55", texts), Tokenizer.train("wordpiece:55", texts)
    assert made.size == counted.size == 55 and made.digest != counted.digest
    alike = sum(len(c.removeprefix("##")) == 1 for c in counted.backend.get_vocab())
    assert made.tokens(range(alike + 5)) == counted.tokens(range(alike + 5))  # special tokens and letters
    (ids, _) = made.encode(["the pugs hugging"])[0]
    assert "".join(made.tokens(ids)).replace("##", "") == "thepugshugging"
    with pytest.raises(InputError, match="cannot spell"):
        Tokenizer.train(f"{kind}:9", texts)
