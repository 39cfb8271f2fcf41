"""Text cut anew in training: BPE-dropout and sampled Unigram pieces; the oracles are the papers' algorithms, word by word."""

import math
import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from tests.conftest import linked

from bertsmith.config import from_dict, override, to_dict
from bertsmith.data.draw import hashed
from bertsmith.data.levels import annotated
from bertsmith.data.loader import Loader
from bertsmith.data.segmentation import Segmentation
from bertsmith.data.text import Text
from bertsmith.errors import InputError
from bertsmith.recipe import find
from bertsmith.text import recut
from bertsmith.text.cutting import Lattice, Merging
from bertsmith.text.prepare import prepare
from bertsmith.text.recut import Recut
from bertsmith.text.store import Store
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.text.words import word_starts

WORDS = ["unhappily", "aaaaaaa", "banana", "we"]
TEXTS = [
    "unhappily happy banana bandana",
    "aaa aaaa unhappy we were happily",
    "ban the banana, wean",
    "an aaaaa hap",
] * 9
DRAWS = 6000
NOTHING = {
    "bpe": Segmentation(dropout=1e-18),
    "bpe-char": Segmentation(dropout=1e-18),
    "unigram": Segmentation(alpha=1e4),
}
MUCH = {"bpe": Segmentation(dropout=0.2), "bpe-char": Segmentation(dropout=0.2), "unigram": Segmentation(alpha=0.2)}
CHINESE = "我们在北京大学学习机器学习。人工智能改变世界，学习语言模型。"


def drawn(cut, tokenizer, word):
    """How often each way to cut a word comes."""
    ids = tokenizer.encode([word])[0][0]
    keys = hashed(3, "try", np.arange(DRAWS))
    made, counts = cut(np.tile(ids, DRAWS), np.full(DRAWS, len(ids)), keys)
    ends = np.cumsum(counts)
    names = tokenizer.tokens(made)
    return Counter(tuple(names[a:b]) for a, b in zip(ends - counts, ends, strict=True))


def dropped(symbols, ranks, p, draw):
    """Provilkov et al. 2020, algorithm 1, on a list."""
    while True:
        left = [(ranks[pair], at) for at, pair in enumerate(pairwise(symbols)) if pair in ranks and draw.random() >= p]
        if not left:
            return tuple(symbols)
        best, places = min(left)[0], []
        for rank, at in left:
            if rank == best and (not places or at > places[-1] + 1):
                places.append(at)
        for at in reversed(places):
            symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]


def near(found, wanted, total):
    """Shares of two samples, or of one and its law, differ by chance alone: five standard deviations."""
    for way in found.keys() | wanted.keys():
        share = wanted[way] / total
        assert abs(found[way] / DRAWS - share) < 5 * math.sqrt(2 * max(share, 1 / DRAWS) / DRAWS), way


@pytest.mark.parametrize("word", WORDS)
def test_merges_are_left_out_as_in_the_paper(word):
    tokenizer = Tokenizer.train("bpe-char:70", TEXTS)
    ranks = {tuple(merge): rank for rank, merge in enumerate(tokenizer.model["merges"])}
    draw, wanted = random.Random(1), Counter()
    for _ in range(DRAWS):
        wanted[dropped([*word[:-1], word[-1] + "</w>"], ranks, 0.3, draw)] += 1
    found = drawn(Merging(tokenizer, 0.3), tokenizer, word)
    assert len(found) > 1
    near(found, wanted, DRAWS)


@pytest.mark.parametrize("alpha", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("word", WORDS)
def test_pieces_come_with_their_probability_to_the_power_alpha(word, alpha):
    tokenizer = Tokenizer.train("unigram:60", TEXTS)
    scores = dict(tokenizer.model["vocab"][5:])

    def ways(text):
        if not text:
            yield ()
        for end in range(1, len(text) + 1):
            if text[:end] in scores:
                yield from ((text[:end], *rest) for rest in ways(text[end:]))

    weights = {way: math.exp(alpha * sum(scores[piece] for piece in way)) for way in ways("▁" + word)}
    assert len(weights) > 1
    near(drawn(Lattice(tokenizer, alpha), tokenizer, word), Counter(weights), sum(weights.values()))


@pytest.fixture(scope="module")
def stores(corpus, tmp_path_factory):
    """Of each kind, with phrases, entities that are linked, capitals, and some Chinese."""
    folder = tmp_path_factory.mktemp("cut")
    text = corpus.read_text(encoding="utf-8")[:60_000]
    (folder / "text.txt").write_text(
        f"{text}\n\n{CHINESE}\n{CHINESE}\n\nA ☃ there... Well, ½ of it.\n\nNo more.\n", encoding="utf-8"
    )
    names = ["Python", "BNF", "Unicode", "机器学习", "北京"]
    (folder / "names.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    options = {"phrases": "npmi", "entities": str(folder / "names.txt"), "capitals": True, "holdout": 0.05}
    options |= linked(folder, names)
    made = {}
    for kind, size in (("bpe", 900), ("bpe-char", 700), ("unigram", 700)):
        prepare([str(folder / "text.txt")], folder / kind, tokenizer=f"{kind}:{size}", **options)
        made[kind] = Store.open(folder / kind)
    return made


every_kind = pytest.mark.parametrize("kind", NOTHING)


def texts(store, split):
    ids = split.gather(slice(None))
    bounds = np.asarray(split.sentences)
    return ["".join(store.tokenizer.tokens(ids[a:b])) for a, b in pairwise(bounds.tolist())]


@every_kind
def test_with_nothing_left_out_the_text_stands_as_it_was_stored(stores, kind):
    store = stores[kind]
    same = Recut(store.train, NOTHING[kind], store.tokenizer, 0)(0)
    old, new = store.train.gather(slice(None)), same.gather(slice(None))
    if kind == "unigram":  # ties between segmentations of one probability may fall either way
        assert len(new) == len(old) and (new != old).mean() < 0.02
        return
    assert np.array_equal(new, old) and np.array_equal(same.sentences, store.train.sentences)
    assert np.array_equal(same.starts(slice(None)), store.train.starts(slice(None)))
    at = np.arange(len(new))
    assert np.array_equal(same.annotations(at), store.train.annotations(at))
    assert np.array_equal(same.links.begin, store.train.links.begin) and np.array_equal(
        same.links.end, store.train.links.end
    )


@every_kind
def test_the_text_its_words_and_its_marks_are_what_they_were(stores, kind):
    store, split = stores[kind], stores[kind].train
    new = Recut(split, MUCH[kind], store.tokenizer, 0)(0)
    assert texts(store, new) == texts(store, split)
    assert np.array_equal(new.documents, split.documents) and new.count > 1.02 * split.count
    spans = {}
    for name, one in (("old", split), ("new", new)):
        at = np.arange(one.count)
        noted, ids = one.annotations(at), one.gather(at)
        piece = lambda a, b, ids=ids: "".join(store.tokenizer.tokens(ids[a:b]))
        spans[name] = [[piece(a, b) for a, b in zip(*annotated(noted, level), strict=True)] for level in one.levels]
        spans[name].append([piece(a, b) for a, b in zip(one.links.begin, one.links.end, strict=True)])
        spans[name].append("".join(store.tokenizer.tokens(ids[one.capitals(at)])))
    assert spans["old"] == spans["new"] and all(spans["old"])
    assert new.starts(slice(None)).sum() >= split.starts(slice(None)).sum()  # a token that joined words may be several


def test_words_start_where_the_text_says(stores):
    store = stores["bpe"]
    new = Recut(store.train, MUCH["bpe"], store.tokenizer, 0)(0)
    ids, starts = new.gather(slice(None)), new.starts(slice(None))
    looked = 0
    for a, b in pairwise(np.asarray(new.sentences).tolist()):
        text = store.tokenizer.decode(ids[a:b])
        if text.isascii():
            ends = np.cumsum([len(name) for name in store.tokenizer.tokens(ids[a:b])])
            offsets = np.stack([np.append(0, ends[:-1]), ends], 1)
            assert starts[a:b].tolist() == word_starts(text, offsets).tolist(), text
            looked += 1
    assert looked > 100


@every_kind
def test_a_view_is_always_the_same_and_every_view_another(stores, kind, monkeypatch):
    store = stores[kind]
    one, two = (Recut(store.train, MUCH[kind], store.tokenizer, 0) for _ in range(2))
    first = one(0).gather(slice(None))
    assert not np.array_equal(one(1).gather(slice(None)), first)
    assert not np.array_equal(Recut(store.train, MUCH[kind], store.tokenizer, 1)(0).gather(slice(None)), first)
    monkeypatch.setattr(recut, "BLOCK", 500)
    two(5)
    assert np.array_equal(two(0).gather(slice(None)), first)


def feed(store, *settings):
    sizes = ["training.batch=512", "layout.length=64", "training.held_out=512"]
    recipe = override(find("roberta:tiny"), [*sizes, *settings]).with_vocab(store.vocab)
    return recipe, Text.of(recipe, store, 7)


def test_steps_depend_on_neither_workers_nor_a_resume_and_count_the_tokens_that_there_are(stores):
    _, text = feed(stores["bpe"], "tokenizer.dropout=0.1")
    whole, steps = iter(Loader(text)), []
    while not steps or steps[-1].cursor[0] < 2:
        steps.append(next(whole))
    half = len(steps) // 2
    _, fresh = feed(stores["bpe"], "tokenizer.dropout=0.1")
    resumed = iter(Loader(fresh, cursor=steps[half].cursor, step=half + 1, workers=2))
    for step, again in zip(steps[half + 1 :], resumed, strict=False):
        assert step.tokens == again.tokens == sum(step.batches[0].input.lengths) <= 512
        assert np.array_equal(step.batches[0].input.tokens, again.batches[0].input.tokens)
        assert step.counts == again.counts
    assert max(text.epoch(0).lengths) <= 64
    epochs = [text.epoch(number).lengths.sum() for number in (0, 1)]
    _, plain = feed(stores["bpe"])
    assert epochs[0] != epochs[1] and min(epochs) > plain.epoch(0).lengths.sum()


def test_static_copies_have_a_cut_each(stores):
    _, text = feed(stores["bpe"], "tokenizer.dropout=0.1", "corruption.copies=2")
    plans = [text.epoch(number).plan for number in (0, 1, 2)]
    assert plans[0].split is not plans[1].split
    assert np.array_equal(plans[0].split.gather(slice(None)), plans[2].split.gather(slice(None)))


def test_held_out_text_is_cut_as_it_was_stored(stores):
    from bertsmith.training.evaluate import held_batches

    found = [held_batches(feed(stores["bpe"], *more)[0], stores["bpe"])[0] for more in ((), ("tokenizer.dropout=0.5",))]
    for one, other in zip(*found, strict=True):
        assert np.array_equal(one.input.tokens, other.input.tokens)


def test_it_is_set_below_the_tokenizer_and_stands_in_the_configuration(stores):
    recipe, _ = feed(stores["unigram"], "tokenizer.alpha=0.2")
    assert recipe.segmentation == Segmentation(alpha=0.2) and from_dict(to_dict(recipe)) == recipe
    assert override(recipe, ["tokenizer=bpe:300"]).tokenizer == "bpe:300"


@pytest.mark.parametrize(
    ("kind", "setting", "says"),
    [
        ("unigram", "tokenizer.dropout=0.1", r"dropout: .* no merges .*tokenizer.alpha with unigram:N"),
        ("bpe", "tokenizer.alpha=0.1", r"alpha: .* no probabilities .*tokenizer.dropout with bpe:N"),
        ("bpe", "tokenizer.dropout=1", "dropout: 1.0 is not a probability below 1"),
        ("unigram", "tokenizer.alpha=-1", "alpha: -1.0 is negative"),
    ],
)
def test_what_cannot_be_drawn_is_refused(stores, kind, setting, says):
    with pytest.raises(InputError, match=says) as caught:
        feed(stores[kind], setting)
    assert "\n" not in str(caught.value)


def test_other_rules_and_frames_are_refused(store, stores):
    with pytest.raises(InputError, match="WordPiece takes the longest piece"):
        feed(store, "tokenizer.dropout=0.1")
    with pytest.raises(InputError, match="one of the two"):
        Segmentation(dropout=0.1, alpha=0.1)
    with pytest.raises(InputError, match="reads frames"):
        replace(find("audio-bert:tiny"), segmentation=Segmentation(dropout=0.1))
