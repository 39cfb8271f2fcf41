"""Laws of static vectors: who stays, who neighbours whom, which words are drawn, trees, counts of pairs, stretches of words; gensim is the oracle."""

import itertools
import math
from collections import Counter, defaultdict
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gensim.models import Word2Vec
from gensim.models.fasttext import ft_ngram_hashes
from gensim.models.fasttext_inner import compute_ngrams_bytes, ft_hash_bytes
from scipy.stats import chisquare
from tests.corpora import VOCAB, random_shape, split_of

from bertsmith.config import override
from bertsmith.data import counting
from bertsmith.data.batch import Row
from bertsmith.data.cells import CoOccurrences, scattered
from bertsmith.data.counting import counted
from bertsmith.data.draw import Draw
from bertsmith.data.neighbours import Frequent, Neighbours, kept
from bertsmith.errors import InputError
from bertsmith.nn.grams import buckets, entries, fnv, grams, listed
from bertsmith.nn.static import Grams, StaticConfig
from bertsmith.objectives.modules.huffman import codes, paths
from bertsmith.objectives.neighbours import Neighbourhood
from bertsmith.recipe import find
from bertsmith.text.layout import FullSentences

COUNTS = np.r_[0, 7, 0, 0, 0, 5000, 1000, 300, 100, 40, 10, 3, 1, np.zeros(987)].astype(
    np.int64
)  # of VOCAB's ids; 7 are unknown


def row_of(tokens, special=None, lengths=None):
    tokens = np.asarray(tokens, np.int32)
    count = len(lengths or [0])
    return Row(
        tokens=tokens,
        segments=np.zeros(len(tokens), np.uint8),
        starts=np.ones(len(tokens), bool),
        special=np.isin(tokens, [0, 2, 3, 4]) if special is None else special,
        sentences=np.zeros(len(tokens), bool),
        lengths=np.array(lengths or [len(tokens)], np.int64),
        labels=np.full(count, -100),
        epoch=np.zeros(count, np.int64),
        example=np.arange(count, dtype=np.int64),
    )


def test_frequent_words_stay_as_often_as_the_rule_of_gensim_says():
    vocab = VOCAB.counted(COUNTS)
    shares = Frequent(sample=1e-2).shares(vocab)
    model = Word2Vec(sample=1e-2, min_count=1, hs=1, negative=0)
    model.build_vocab_from_freq({str(i): int(COUNTS[i]) for i in range(5, 13)})
    theirs = {int(word): model.wv.get_vecattr(word, "sample_int") / (2**32 - 1) for word in model.wv.index_to_key}
    assert shares[5:13] == pytest.approx([min(1.0, theirs[i]) for i in range(5, 13)], rel=1e-4)
    row = row_of(np.tile(np.arange(5, 13), 20_000))
    select = Frequent(sample=1e-2).knowing(vocab)
    gone = np.zeros(len(row.tokens), bool)
    gone[select(row, Draw(0))[:, 0]] = True
    stayed = 1 - gone.reshape(-1, 8).mean(0)
    assert (np.abs(stayed - shares[5:13]) <= 4 * np.sqrt(shares[5:13] * (1 - shares[5:13]) / 20_000)).all()


def test_unknown_words_never_stay_and_specials_are_never_selected():
    row = row_of([2, 1, 7, 1, 3, 8])
    spans = Frequent(sample=0.0).knowing(VOCAB.counted(COUNTS))(row, Draw(0))
    assert spans[:, 0].tolist() == [1, 3]
    with pytest.raises(InputError, match="take a feed of a store"):
        Frequent()(row, Draw(0))


def test_windows_are_those_that_a_loop_finds_and_end_at_walls():
    generator = np.random.default_rng(0)
    tokens = generator.choice([2, 3, 5, 6, 7, 8, 9], 400, p=[0.02, 0.03, 0.2, 0.25, 0.2, 0.2, 0.1])
    row = row_of(tokens, lengths=[100, 250, 50])
    spans = np.flatnonzero((generator.random(400) < 0.3) & ~row.special)
    spans = np.stack([spans, spans + 1], 1)
    batch = Neighbours(window=3, reach="full")(row, spans, VOCAB, Draw(0))
    at, _, _ = kept(row, spans)
    expected = []
    for place in at.tolist():
        sides = []
        for step in (-1, 1):
            found, look = 0, place + step
            while 0 <= look < 400 and not row.special[look] and row.sequence[look] == row.sequence[place] and found < 3:
                found += look in set(at.tolist())
                look += step
            sides.append(found)
        expected.append(sides)
    assert np.stack([batch.input.features["left"], batch.input.features["right"]], 1).tolist() == expected
    assert batch.targets["word"].at[:, 0].tolist() == [i for i, sides in enumerate(expected) if sum(sides)]
    assert batch.input.lengths == tuple(Counter(row.sequence[at].tolist())[i] for i in range(3))


def test_a_word_at_distance_d_is_a_neighbour_in_w_less_d_plus_1_of_w_windows():
    row = row_of(np.full(30_000, 7))
    batch = Neighbours(window=5)(row, np.zeros((0, 2), np.int64), VOCAB, Draw(1))
    left = batch.input.features["left"][10:-10]
    near = np.array([(left >= d).mean() for d in range(1, 6)])
    expected = np.array([5, 4, 3, 2, 1]) / 5
    assert (np.abs(near - expected) <= 4 * np.sqrt(expected * (1 - expected) / len(left)) + 1e-9).all()


def objective(**options):
    made = Neighbourhood(**options).build(StaticConfig(vocab=VOCAB.size, width=8).build())
    made.learn_of(SimpleNamespace(counts=np.where(np.arange(VOCAB.size) < 5, 0, COUNTS)))
    return made


@pytest.mark.parametrize("power", [0.75, 0.5])
def test_words_are_drawn_by_their_count_to_the_power(power):
    below = objective(power=power)._below()
    draws = torch.rand(200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = np.bincount(torch.searchsorted(below, draws * below[-1], right=True).numpy(), minlength=VOCAB.size)
    assert found[:5].sum() == 0 and found[13:].sum() == 0
    expected = COUNTS[5:13].astype(float) ** power
    assert chisquare(found[5:13], expected / expected.sum() * 200_000).pvalue > 1e-4
    flat = found[5:13].sum() * np.full(8, 1 / 8)
    assert chisquare(found[5:13], flat).pvalue < 1e-9, "the test can tell another law"


def test_a_tree_is_huffmans_and_its_probabilities_sum_to_one():
    primes = [n for n in range(2, 400) if all(n % d for d in range(2, n))]  # no two joined counts are often alike
    model = Word2Vec(hs=1, negative=0, min_count=1)
    model.build_vocab_from_freq({str(i): n for i, n in enumerate(primes)})
    theirs = {int(word): len(model.wv.get_vecattr(word, "code")) for word in model.wv.index_to_key}
    ours = [len(turns) for _, turns in codes(np.array(primes))]
    assert sum(n * ours[i] for i, n in enumerate(primes)) == sum(n * theirs[i] for i, n in enumerate(primes))
    assert sorted(ours) == sorted(theirs.values())
    assert sum(Fraction(1, 2**length) for length in ours) == 1
    words = ["".join(map(str, turns)) for _, turns in codes(np.array(primes))]
    assert not any(a != b and b.startswith(a) for a, b in itertools.product(words, words))
    nodes, signs = paths(np.array(primes))
    state, table = torch.randn(6), torch.randn(len(primes), 6)
    logs = (torch.nn.functional.logsigmoid((table[nodes] @ state) * signs) * (signs != 0)).sum(1)
    assert logs.exp().sum().item() == pytest.approx(1.0, rel=1e-5)


def test_a_word_without_a_count_has_no_path():
    found = codes(np.array([0, 3, 0, 2, 1]))
    assert [len(turns) for _, turns in found] == [0, 1, 0, 2, 2]
    assert codes(np.array([0, 4])) == [([], []), ([], [])]


def brute(split, window):
    table = defaultdict(Fraction)
    edges = split.sentences[split.documents]
    for first, last in itertools.pairwise(edges.tolist()):
        words = [token for token in split.ids[first:last].tolist() if token not in VOCAB.special]
        for i, word in enumerate(words):
            for distance in range(1, window + 1):
                if i + distance < len(words):
                    table[word, words[i + distance]] += Fraction(1, distance)
                    table[words[i + distance], word] += Fraction(1, distance)
    return table


@pytest.mark.parametrize("memory", [1 << 18, 1 << 30])
def test_cells_are_those_of_a_count_by_hand_spilled_or_not(memory, monkeypatch):
    shape = random_shape(documents=300, mean_sentences=4, mean_length=9)
    split = split_of(shape, numbered=False)
    split.ids[:] = np.random.default_rng(3).choice([1, 5, 6, 7, 8, 9, 10, 20, 30, 40], len(split.ids))
    split.ids[::3] = np.random.default_rng(4).integers(5, 1000, len(split.ids[::3]))
    found = counted(split, VOCAB, 4, memory)
    assert (found.spills > 1) == (memory < 1 << 20) and found.peak < 2 * memory
    cells = {(int(c["word"]), int(c["other"])): float(c["count"]) for c in found.cells}
    expected = brute(split, 4)
    assert cells.keys() == expected.keys()
    assert all(cells[key] == np.float32(float(value)) for key, value in expected.items())
    assert "MB of tokens/s" in found.said


def test_every_cell_is_read_once_an_epoch_in_an_order_of_its_own():
    split = split_of(random_shape(documents=20), numbered=False)
    layout = CoOccurrences(window=3, length=32)
    rows = [layout.plan(split, VOCAB, 0, epoch) for epoch in (0, 0, 1)]
    rows = [plan.row(plan.shuffled(plan.epoch)) for plan in rows]
    pairs = [
        list(zip(row.tokens[::2].tolist(), row.tokens[1::2].tolist(), row.amounts[::2].tolist(), strict=True))
        for row in rows
    ]
    assert pairs[0] == pairs[1] != pairs[2] and sorted(pairs[0]) == sorted(pairs[2])
    cells = layout.of(split, VOCAB).cells
    assert sorted((w, o) for w, o, _ in pairs[0]) == sorted(
        zip(cells["word"].tolist(), cells["other"].tolist(), strict=True)
    )


@pytest.mark.parametrize("count", [1, 2, 5, 1000, 4097])
def test_a_scattered_order_is_a_permutation(count):
    found = scattered(np.arange(count), count, 7)
    assert sorted(found.tolist()) == list(range(count))
    if count > 100:
        assert abs(np.corrcoef(found, np.arange(count))[0, 1]) < 0.1
        assert not np.array_equal(found, scattered(np.arange(count), count, 8))


SPELLED = ["where", "a", "I", "über", "東京都", "na\u00efve", "\U0001f600x", "don't", "supercalifragilistic", "–"]


@pytest.mark.parametrize("word", SPELLED)
@pytest.mark.parametrize(("shortest", "longest"), [(3, 6), (1, 2), (2, 3), (5, 5)])
def test_stretches_and_their_buckets_are_those_of_gensim(word, shortest, longest):
    theirs = compute_ngrams_bytes(word, shortest, longest)
    assert [gram.encode() for gram in grams(word, shortest, longest)] == theirs
    assert [fnv(gram) for gram in theirs] == [ft_hash_bytes(gram) for gram in theirs]
    assert buckets(word, 2_000, shortest, longest) == list(ft_ngram_hashes(word, shortest, longest, 2_000))
    assert (
        entries([word, None], shortest, longest) == len(theirs) == listed([word, None], 2_000, shortest, longest)[1][-1]
    )


def test_a_words_vector_is_the_mean_of_its_own_and_its_stretches_and_an_unknown_one_has_theirs_alone():
    words = [None, "where", "there"]
    config = StaticConfig(vocab=3, width=4, grams=Grams(buckets=50)).for_words(words)
    torch.manual_seed(0)
    body = config.build()
    body.learn_of(SimpleNamespace(words=words))
    rows = [body.grams.weight[bucket] for bucket in buckets("where", 50)]
    own = torch.stack([body.tokens.weight[1], *rows]).mean(0)
    said = body.vectors(torch.tensor([1, 0]))
    torch.testing.assert_close(said, torch.stack([own, body.tokens.weight[0]]))
    torch.testing.assert_close(body.spelled(["where"])[0], torch.stack(rows).mean(0))
    assert config.parameters() == sum(p.numel() for p in body.parameters())


def test_negatives_are_skipped_where_they_are_the_word_that_is_asked_for():
    """One word alone in the corpus: all that is drawn is it, so that the pairs are all that is lost."""
    recipe = override(find("word2vec:tiny"), ["model.width=4"]).with_vocab(VOCAB.size)
    for predict, pairs in (("neighbours", 2 * 19 + 2 * 18), ("centre", 20)):
        made = Neighbourhood(predict=predict).build(recipe.model.build())
        counts = torch.zeros(VOCAB.size, dtype=torch.int64)
        counts[7] = 9
        made.learn_of(SimpleNamespace(counts=counts.numpy()))
        row = row_of(np.full(20, 7))
        batch = Neighbours(window=2, reach="full")(row, np.zeros((0, 2), np.int64), VOCAB, Draw(0))
        (loss,) = made(recipe.model.build(), batch.to("cpu")).values()
        assert loss.item() == pytest.approx(pairs * math.log(2), rel=1e-5)


def test_rows_without_specials_are_walls_at_their_ends():
    row = row_of([7, 8, 9, 7, 8, 9], special=np.zeros(6, bool), lengths=[3, 3])
    at, begin, end = kept(row, np.zeros((0, 2), np.int64))
    assert at.tolist() == [*range(6)] and begin.tolist() == [0, 0, 0, 3, 3, 3] and end.tolist() == [2, 2, 2, 5, 5, 5]
    assert FullSentences(length=512).crosses, "documents part by a special token in these rows, which is a wall"
    assert counting.UNIT % 20 == 0
