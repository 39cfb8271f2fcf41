"""Selects, orders and rewrites of text-to-text denoising against plain loops written from the papers and the released code, and their laws."""

import itertools
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from tests.corpora import VOCAB as SMALL
from tests.corpora import random_shape, split_of, whole

from bertsmith.data.denoise import Denoise
from bertsmith.data.draw import Draw
from bertsmith.data.fragment import Fragment, Written
from bertsmith.data.noise import Independent, Infilling, Nothing, RandomSpans, Tail
from bertsmith.data.reordered import Sentences, Tokens
from bertsmith.data.select import Tokens as Single
from bertsmith.errors import InputError
from bertsmith.recipe import Corruption
from bertsmith.text.layout import DocSentences, FullSentences
from bertsmith.text.running import RunningText

SENTINELS = 100
VOCAB = replace(SMALL, size=1_000_000)  # numbered tokens of a corpus are below


def t5(rate=0.15, mean=3.0, sentinels=SENTINELS, **fields):
    rewrite = Denoise(stand="sentinel", write="hidden", start="pad", sentinels=sentinels)
    return Corruption(select=RandomSpans(rate=rate, mean=mean), rewrite=rewrite, **fields)


def bart(**fields):
    return Corruption(**{"select": Infilling(), "rewrite": Denoise(stand="mask", random=0.1), "order": Sentences(), **fields})  # fmt: skip


KINDS = {
    "t5": t5(),
    "bart": bart(),
    "mass": Corruption(select=Fragment(), rewrite=Written()),
    "iid": Corruption(select=Independent(), rewrite=Denoise(stand="sentinel", write="hidden", start="pad", sentinels=300)),
    "drop": Corruption(select=Independent(), rewrite=Denoise(stand="nothing", write="hidden", start="pad")),
    "prefix": Corruption(select=Tail(), rewrite=Denoise(stand="nothing", write="hidden", start="pad")),
    "deshuffle": Corruption(select=Nothing(), rewrite=Denoise(stand="nothing", start="pad"), order=Tokens()),
    "masks": Corruption(select=Single(rate=0.3), rewrite=Denoise(stand="masks", random=0.1)),
    "deletion": Corruption(select=Single(rate=0.3), rewrite=Denoise(stand="nothing")),
    "vector": Corruption(select=Single(rate=0.6), rewrite=Denoise(stand="nothing", reads="first")),
    "rotation": Corruption(select=Nothing(), rewrite=Denoise(stand="nothing", rotate=1.0)),
}  # fmt: skip


def pieces(length, count=200, continued=0.0):
    """Pieces of `length` tokens and an end, every token another."""
    split = split_of([[length * count]], continued=continued)
    return whole(RunningText(length=length + 1).plan(split, VOCAB, 0, 0))


def texts(length=128, documents=150, **fields):
    split = split_of(random_shape(documents), **fields)
    return whole(DocSentences(length=length).plan(split, VOCAB, 0, 0))


def sides(batch):
    """[(what is read, what the decoder reads, what it is asked for)] of each sequence."""
    asked, found, n, m = batch.targets["token"].labels, [], 0, 0
    for a, b in zip(batch.input.lengths, batch.output.lengths, strict=True):
        found.append((batch.input.tokens[n : n + a].tolist(), batch.output.tokens[m : m + b].tolist(), asked[m : m + b].tolist()))  # fmt: skip
        n, m = n + a, m + b
    return found


def of_sequences(row, spans):
    """The spans of each sequence, as (begin, end) in it."""
    found = [[] for _ in row.lengths]
    for a, b in spans.tolist():
        s = int(np.searchsorted(row.offsets, a, "right")) - 1
        found[min(s, len(found) - 1)].append((a - int(row.offsets[s]), b - int(row.offsets[s])))
    return found


def clean(row):
    return [row.tokens[a:b].tolist() for a, b in zip(row.offsets[:-1], row.offsets[1:], strict=True)]


# -- T5 ---------------------------------------------------------------------------------------------------------------------------


def counts(length, rate, mean):
    """(noise tokens, spans) as `random_spans_noise_mask` has them, and no more spans than tokens that stay."""
    noise = min(max(round(length * rate), 1), length - 1)
    return noise, min(max(round(noise / mean), 1), noise, length - noise)


@pytest.mark.parametrize("mean", [2, 3, 5, 10])
@pytest.mark.parametrize("rate", [0.1, 0.15, 0.25, 0.5])
def test_every_length_has_its_number_of_noise_tokens_and_spans(rate, mean):
    lengths = range(2, 601)
    split = split_of([[n] for n in lengths])
    row = whole(DocSentences(length=700).plan(split, VOCAB, 0, 0))
    row = replace(row, special=row.special)
    for length, spans in zip(lengths, of_sequences(row, RandomSpans(rate=rate, mean=mean)(row, Draw(3))), strict=True):
        noise, count = counts(length, rate, mean)
        assert sum(b - a for a, b in spans) == noise and len(spans) == count
        assert spans[0][0] > 1 and spans[-1][1] == length + 1, "the first token stays, the last is hidden"
        assert all(b > a for a, b in spans) and all(c > b for (_, b), (c, _) in itertools.pairwise(spans)), "one run"


@pytest.mark.parametrize(
    ("rate", "mean", "raw", "reads", "writes"),
    [(0.15, 3, 568, 512, 114), (0.1, 3, 548, 512, 74), (0.25, 3, 614, 512, 206), (0.5, 3, 766, 512, 512), (0.15, 2, 552, 512, 126), (0.15, 5, 581, 512, 105), (0.15, 10, 591, 512, 99), (0.15, 3, 141, 128, 29), (0.15, 3, 70, 64, 14)],
)  # fmt: skip
def test_lengths_are_those_of_the_released_helper(rate, mean, raw, reads, writes):
    row = pieces(raw, 20)
    batch = t5(rate, mean, sentinels=300)(row, VOCAB, Draw(0))
    assert set(batch.input.lengths) == {reads} and set(batch.output.lengths) == {writes}


def test_every_way_to_part_the_noise_and_the_rest_is_alike():
    """12 tokens, 6 hidden in 3 spans: C(5, 2) ways for either, independent."""
    row = pieces(12, 20_000)
    spans = RandomSpans(rate=0.5, mean=2.0)(row, Draw(1)).reshape(-1, 3, 2) - row.offsets[:-1, None, None]
    hidden = spans[:, :, 1] - spans[:, :, 0]
    kept = spans[:, :, 0] - np.concatenate([np.zeros((len(spans), 1), int), spans[:, :-1, 1]], 1)
    assert (hidden.sum(1) == 6).all() and (kept.sum(1) == 6).all()
    seen = Counter(zip(map(tuple, hidden.tolist()), map(tuple, kept.tolist()), strict=True))
    ways = [c for c in itertools.product(range(1, 5), repeat=3) if sum(c) == 6]
    assert len(ways) == 10 and len(seen) == 100
    assert stats.chisquare([seen[pair] for pair in itertools.product(ways, ways)]).pvalue > 1e-3


def test_inputs_and_targets_are_those_of_the_released_functions():
    row = pieces(101, 60)
    corruption = t5()
    batch = corruption(row, VOCAB, Draw(0))
    marks = [VOCAB.size + SENTINELS - 1 - k for k in range(SENTINELS)]
    assert corruption.rewrite.marks(VOCAB).tolist() == marks
    for (read, fed, asked), text, spans in zip(
        sides(batch), clean(row), of_sequences(row, corruption.select(row, Draw(0))), strict=True
    ):
        inputs, targets, at = [], [], 0
        for k, (a, b) in enumerate(spans):
            inputs += [*text[at:a], marks[k]]
            targets += [marks[k], *text[a:b]]
            at = b
        inputs, targets = inputs + text[at:], [*targets, VOCAB.sep]
        assert read == inputs and asked == targets and fed == [VOCAB.pad, *targets[:-1]]
        assert [i for i in read if i in marks] == [i for i in asked if i in marks] == marks[: len(spans)]
        assert read[-2:] == [marks[len(spans) - 1], VOCAB.sep], "no sentinel behind the last span"


def restored(read, asked, marks):
    """The text of both sides."""
    hidden, name = {}, None
    for token in asked[:-1]:
        if token in marks:
            name = token
            hidden[name] = []
        else:
            hidden[name].append(token)
    return [t for token in read for t in (hidden[token] if token in marks else [token])]


@pytest.mark.parametrize("name", ["t5", "iid"])
def test_both_sides_together_are_the_text(name):
    row, corruption = pieces(131, 50), KINDS[name]
    marks = set(corruption.rewrite.marks(VOCAB).tolist())
    for (read, _, asked), text in zip(sides(corruption(row, VOCAB, Draw(2))), clean(row), strict=True):
        assert restored(read, asked, marks) == text


def test_the_tokenizers_own_sentinels_are_taken_where_it_has_some():
    own = replace(VOCAB, sentinels=(999, 998, 997))
    corruption = t5(sentinels=3)
    batch = corruption(pieces(40, 5), own, Draw(0))
    assert {i for i in batch.input.tokens.tolist() if i in own.sentinels} <= {999, 998, 997}
    assert corruption.rewrite.names(own) == {999: "<extra_id_0>", 998: "<extra_id_1>", 997: "<extra_id_2>"}


def test_more_spans_than_sentinels_are_refused_with_the_numbers():
    with pytest.raises(InputError, match="sentinels: 3, but a sequence of 201 tokens has 10 hidden spans"):
        t5(sentinels=3)(pieces(200, 5), VOCAB, Draw(0))


def test_a_prefix_is_of_any_length_alike_and_the_rest_is_written():
    row = pieces(9, 8000)
    found = Counter()
    for (read, _, asked), text in zip(sides(KINDS["prefix"](row, VOCAB, Draw(0))), clean(row), strict=True):
        assert read[:-1] + asked == text and read[-1] == VOCAB.sep == asked[-1]
        found[len(read) - 1] += 1
    assert {*found} == set(range(1, 9)) and stats.chisquare(list(found.values())).pvalue > 1e-3


def test_deshuffling_asks_for_the_text_in_its_order():
    row = pieces(30, 300)
    for (read, _, asked), text in zip(sides(KINDS["deshuffle"](row, VOCAB, Draw(0))), clean(row), strict=True):
        assert asked == text and read != text and sorted(read[:-1]) == sorted(text[:-1]) and read[-1] == VOCAB.sep


# -- BART -------------------------------------------------------------------------------------------------------------------------


def runs(starts, spans, length):
    """Words of each span: (first, behind the last)."""
    return [(sum(starts[:a]), sum(starts[:b])) for a, b in spans], sum(starts[:length])


def infilled(words, budget, lengths, starts):
    """The released `add_whole_word_mask` on one text: (masks, words that stay) for drawn lengths and starts, one mask a span."""
    masked, deleted = set(starts), set()
    for length, start in zip(lengths, starts, strict=True):
        deleted |= set(range(start + 1, min(start + length, words)))
    return len(masked - deleted), words - len(masked | deleted)


def test_infilling_hides_as_many_words_as_the_released_loop_does():
    """The same laws from a loop of its own: masks, words that stay, empty spans."""
    row = texts(256, 400, continued=0.3)
    select = Infilling()
    draw, drawn = np.random.default_rng(0), []
    mine = []
    for a, b, spans in zip(row.offsets[:-1].tolist(), row.offsets[1:].tolist(), of_sequences(row, select(row, Draw(0))), strict=True):  # fmt: skip
        starts = row.starts[a:b].astype(int).tolist()
        words = sum(starts)
        if words < 40:
            continue
        budget, lengths = math.ceil(0.3 * words), []
        while sum(lengths) < budget:
            lengths.append(int(draw.poisson(3)))
        lengths[-1] -= sum(lengths) - budget
        empty = sum(length == 0 for length in lengths)
        lengths = [length for length in lengths if length]
        masks, stay = infilled(words, budget, lengths, draw.permutation(words)[: len(lengths)].tolist())
        drawn.append((masks / words, stay / words, empty / words))
        real = [(x, y) for x, y in spans if y > x]
        assert all(starts[x] for x, _ in real), "a span begins with a word"
        assert all(y == b - a - 1 or starts[y] for _, y in real), "and ends with one"
        covered = sum(sum(starts[x:y]) for x, y in real)
        assert covered <= budget
        mine.append((len(real) / words, 1 - covered / words, (len(spans) - len(real)) / words))
    mine, drawn = np.array(mine), np.array(drawn)
    error = np.sqrt(mine.var(0) / len(mine) + drawn.var(0) / len(drawn))
    assert len(mine) > 300 and (np.abs(mine.mean(0) - drawn.mean(0)) < 4 * error).all()


def test_what_is_left_of_a_text_has_the_published_length():
    """Words of a token: .82 of the tokens are read, .268 are hidden, at p = .3 and 3 words a span."""
    row = texts(512, 600, continued=0.0)
    corruption = bart(order=None, rewrite=Denoise(stand="mask"))
    batch = corruption(row, VOCAB, Draw(0))
    spans = corruption.select(row, Draw(0))
    assert abs(len(batch.input.tokens) / len(row.tokens) - 0.82) < 0.01
    assert abs((spans[:, 1] - spans[:, 0]).sum() / (~row.special).sum() - 0.268) < 0.006
    empty = (spans[:, 1] == spans[:, 0]).sum() / (~row.special).sum() * 510
    assert abs(empty - 2.6) < 0.2
    assert (batch.input.tokens == VOCAB.mask).sum() == len(spans)


@pytest.mark.parametrize("name", ["bart", "masks", "deletion", "rotation", "deshuffle"])
def test_the_whole_text_is_written_as_it_was(name):
    row, start = texts(), VOCAB.pad if name == "deshuffle" else VOCAB.sep
    for (_, fed, asked), text in zip(sides(KINDS[name](row, VOCAB, Draw(0))), clean(row), strict=True):
        assert asked == text and fed == [start, *text[:-1]]


def test_without_its_masks_an_infilled_text_is_part_of_the_text_in_its_order():
    row = texts()
    corruption = bart(order=None, rewrite=Denoise(stand="mask"))
    for (read, _, _), text, spans in zip(
        sides(corruption(row, VOCAB, Draw(0))), clean(row), of_sequences(row, corruption.select(row, Draw(0))), strict=True
    ):  # fmt: skip
        left = iter(text)
        assert all(token in left for token in read if token != VOCAB.mask)
        assert read.count(VOCAB.mask) == len(spans) and read[0] == VOCAB.cls and read[-1] == VOCAB.sep


def test_a_tenth_of_the_masks_are_random_words():
    row = texts(512, 500, numbered=True)  # whose ids are none of the vocabulary's
    read = bart(order=None)(row, SMALL, Draw(0)).input.tokens
    placed, text = (read == SMALL.mask).sum(), ((read >= 5) & (read < SMALL.size)).sum()
    share = text / (text + placed)
    assert abs(share - 0.1) < 4 * np.sqrt(0.09 / (text + placed))
    assert set(read[read < 5]) <= {SMALL.cls, SMALL.sep, SMALL.mask}


@pytest.mark.parametrize("rate", [0.01, 0.3, 0.7, 1.0])
def test_infilling_goes_over_no_special_at_any_rate(rate):
    split = split_of(random_shape(300, 2, 6))
    row = whole(FullSentences(length=64).plan(split, VOCAB, 0, 0))
    assert row.special.sum() > 2 * len(row.lengths), "documents are parted within a text"
    for seed in range(5):
        spans = Infilling(rate=rate)(row, Draw(seed))
        hidden = np.zeros(len(row.tokens), bool)
        for a, b in spans.tolist():
            hidden[a:b] = True
        assert not hidden[row.special].any()
        assert (spans[1:, 0] >= spans[:-1, 1]).all() and (spans[:, 1] >= spans[:, 0]).all()


def test_sentences_are_all_there_in_any_order():
    row = texts(256, 300)
    moved = Sentences()(row, Draw(0))
    orders = Counter()
    for a, b in zip(row.offsets[:-1].tolist(), row.offsets[1:].tolist(), strict=True):
        cut = [a + 1, *(i for i in range(a + 2, b - 1) if row.sentences[i]), b - 1]
        parts = [tuple(row.tokens[x:y].tolist()) for x, y in itertools.pairwise(cut) if y > x]
        there, at = [], a + 1
        by_first = {part[0]: part for part in parts}
        while at < b - 1:
            there.append(by_first[int(moved.tokens[at])])
            assert tuple(moved.tokens[at : at + len(there[-1])].tolist()) == there[-1]
            at += len(there[-1])
        assert sorted(there) == sorted(parts) and moved.tokens[a] == VOCAB.cls and moved.tokens[b - 1] == VOCAB.sep
        if len(parts) == 3:
            orders[tuple(parts.index(part) for part in there)] += 1
    assert moved.original.tolist() == row.tokens.tolist()


def test_sentences_and_tokens_stay_in_their_sequence_where_no_special_parts_it_from_the_next():
    row = texts(40, 60)
    bare = replace(row, special=np.zeros(len(row.tokens), bool))
    for order in (Sentences(), Sentences(share=0.5), Tokens()):
        moved = order(bare, Draw(0))
        assert (row.sequence[moved.order] == row.sequence).all() and (moved.order != np.arange(len(row.tokens))).any()


def test_every_order_of_three_sentences_is_alike():
    split = split_of([[4, 3, 5]] * 6000)
    row = whole(DocSentences(length=14).plan(split, VOCAB, 0, 0))
    moved = Sentences()(row, Draw(0)).tokens.reshape(-1, 14)[:, 1:-1] - row.tokens.reshape(-1, 14)[:, 1:2]
    orders = Counter(tuple(i for i in line if i in (0, 4, 7)) for line in moved.tolist())
    assert len(orders) == 6 and stats.chisquare(list(orders.values())).pvalue > 1e-3


def test_rotation_is_cyclic_and_never_nothing():
    row = texts(20, 400)
    seen = Counter()
    for (read, _, _), text in zip(sides(KINDS["rotation"](row, VOCAB, Draw(0))), clean(row), strict=True):
        inner = text[1:-1]
        if len(inner) < 2:
            assert read == text
            continue
        by = inner.index(read[1])
        assert read == [text[0], *inner[by:], *inner[:by], text[-1]] and by > 0
        if len(inner) == 18:
            seen[by] += 1
    assert len(seen) == 17 and stats.chisquare(list(seen.values())).pvalue > 1e-3


def test_deletion_takes_out_what_was_chosen_and_nothing_else():
    row, corruption = texts(), KINDS["deletion"]
    spans = of_sequences(row, corruption.select(row, Draw(0)))
    for (read, _, _), text, gone in zip(sides(corruption(row, VOCAB, Draw(0))), clean(row), spans, strict=True):
        out = {i for a, b in gone for i in range(a, b)}
        assert read == [token for i, token in enumerate(text) if i not in out]
        assert len(out) == max(1, round(0.3 * len(text))) or len(text) < 5


# -- MASS -------------------------------------------------------------------------------------------------------------------------


def test_a_fragment_begins_a_text_ends_it_or_stands_anywhere_before_its_last_place():
    row = pieces(20, 20_000)
    begin = Fragment()(row, Draw(0))[:, 0] - row.offsets[:-1]
    seen = np.bincount(begin, minlength=11)
    wanted = np.full(11, 0.6 / 10)
    wanted[0], wanted[10] = 0.2 + 0.06, 0.2
    assert stats.chisquare(seen, wanted * len(begin)).pvalue > 1e-3


def test_a_fragment_is_half_of_the_text_halves_to_even():
    split = split_of([[n] for n in range(1, 200)])
    row = whole(DocSentences(length=256).plan(split, VOCAB, 0, 0))
    spans = Fragment()(row, Draw(0))
    assert (spans[:, 1] - spans[:, 0]).tolist() == [max(1, round(n / 2)) for n in range(1, 200)]
    one = Fragment(tokens=1)(row, Draw(0))
    assert (one[:, 1] - one[:, 0] == 1).all()
    every = Fragment(rate=1.0)(row, Draw(0))
    assert (every[:, 1] - every[:, 0]).tolist() == list(range(1, 200))


def test_the_fragment_is_written_from_what_stands_before_each_of_its_tokens():
    row, corruption = texts(continued=0.0), KINDS["mass"]
    batch = corruption(row, VOCAB, Draw(0))
    spans, m = of_sequences(row, corruption.select(row, Draw(0))), 0
    for number, ((read, fed, asked), text) in enumerate(zip(sides(batch), clean(row), strict=True)):
        ((a, b),) = spans[number]
        assert asked == text[a:b] and fed == text[a - 1 : b - 1]
        assert batch.output.positions[m : m + b - a].tolist() == list(range(a - 1, b - 1))
        assert [i for i in range(len(text)) if read[i] != text[i]] == [i for i in range(a, b) if read[i] != text[i]]
        m += b - a
        first = int(row.offsets[number])
        assert np.flatnonzero(batch.input.hidden[first : first + len(text)]).tolist() == list(range(a, b))


# -- all --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_a_sequence_is_the_same_in_whatever_row_it_stands(name):
    row = texts(64, 60) if name in ("bart", "mass", "masks", "deletion", "rotation") else pieces(83, 60)
    corruption, draw = KINDS[name], Draw(5)
    together = sides(corruption(row, VOCAB, draw))
    for cut in (1, 7):
        parts = [row.part(i, min(i + cut, len(row.lengths))) for i in range(0, len(row.lengths), cut)]
        assert [side for part in parts for side in sides(corruption(part, VOCAB, draw))] == together


@pytest.mark.parametrize("name", KINDS)
def test_counts_are_told_before_anything_is_made(name):
    row, corruption, draw = texts(64, 60), KINDS[name], Draw(1)
    row = corruption.moved(row, draw)
    spans = corruption.select(row, draw)
    made = corruption.rewrite(row, spans, VOCAB, draw)
    assert corruption.rewrite.counts(row, spans, draw) == made.counts()
