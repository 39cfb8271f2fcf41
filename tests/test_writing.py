"""Going on with texts: caches against reading everything again, searches against their definitions."""

import math
from itertools import product

import numpy as np
import pytest
import torch

from bertsmith.data.batch import Stream
from bertsmith.data.decoded import decoded
from bertsmith.data.denoise import seen
from bertsmith.downstream.search import How, Rules, likeliest, repeated, write
from bertsmith.errors import InputError
from bertsmith.nn.member import build
from bertsmith.nn.modules.writing import Again, Causal, Decoder

pytestmark = pytest.mark.usefixtures("one_thread")
END = 3


def member_of(tiny, name, *settings):
    recipe = tiny(name, "model.dropout=0", *settings).with_vocab(60)
    torch.manual_seed(1)
    member = build(recipe).eval()
    with torch.no_grad():  # answers that differ from place to place
        for p in member.parameters():
            p.mul_(2 if p.ndim > 1 else 1)
    return member


def texts(count=5, longest=11):
    draw = np.random.default_rng(0)
    return [draw.integers(5, 60, n).tolist() for n in draw.integers(1, longest, count)]


def causal(rows):
    flat = np.concatenate([np.array(row, np.int32) for row in rows])
    stream, _ = decoded(flat, flat, np.array([len(row) for row in rows]))
    return stream.to("cpu")


def read(rows):
    return seen(np.concatenate([np.array(row, np.int32) for row in rows]), np.array([len(row) for row in rows])).to(
        "cpu"
    )


def last(lengths):
    return torch.tensor(lengths).cumsum(0) - 1


def writers(member, rows):
    """(with a cache, without) over the same texts."""
    if not hasattr(member.model, "decoder"):

        def said(now, sizes):
            stream = causal(now)
            return member.objective.logits(member.model, stream, last(stream.lengths))

        return Causal(member, causal(rows)), Again(said, rows)

    def of_source(now, sizes):
        # The first token of each text says which source it is about.
        stream, output = read([rows[text[0] - 1000] for text in now]), causal([[0, *text[1:]] for text in now])
        return member.objective.logits(member.model, stream, last(output.lengths), output=output)

    return Decoder(member, read(rows), start=0), Again(of_source, [[1000 + row] for row in range(len(rows))])


@pytest.mark.parametrize("name", ["gpt2", "gpt", "bart", "mass", "t5"])
def test_a_cache_says_what_reading_everything_again_says(name, tiny):
    member = member_of(tiny, name)
    kept, again = writers(member, texts())
    draw = np.random.default_rng(1)
    with torch.no_grad():
        torch.testing.assert_close(kept.begin(), again.begin(), rtol=1e-5, atol=1e-5)
        for rows in (None, None, [0, 1, 3], [0, 0, 1, 1, 2, 2], None):
            if rows is not None:
                kept.keep(torch.tensor(rows))
                again.keep(torch.tensor(rows))
            tokens = torch.from_numpy(draw.integers(5, 60, len(again.texts)))
            torch.testing.assert_close(kept.step(tokens), again.step(tokens), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "gpt", "bart", "mass", "t5"])
def test_in_double_precision_both_round_to_the_same_bits_of_float32(name, tiny):
    """In float32 a product of one row adds up in another order than one of many; nothing else tells the two ways apart."""
    kept, again = writers(member_of(tiny, name).double(), texts())
    draw = np.random.default_rng(1)
    with torch.no_grad():
        for step in range(12):
            tokens = torch.from_numpy(draw.integers(5, 60, 5))
            a, b = (w.begin() if step == 0 else w.step(tokens) for w in (kept, again))
            assert a.dtype == torch.float64 and torch.equal(a.float(), b.float())


@pytest.mark.parametrize("name", ["gpt2", "bart", "t5"])
@pytest.mark.parametrize("how", [How(limit=12), How(limit=12, beam=3), How(limit=9, sample=True, seed=4)], ids=str)
def test_searches_find_the_same_texts_with_and_without_a_cache(name, how, tiny):
    member, rows = member_of(tiny, name), texts(6)
    rules = Rules(size=60, end=END)
    found = [write(writer, how, rules, range(6)) for writer in writers(member, rows)]
    assert [text.tokens for text in found[0]] == [text.tokens for text in found[1]]
    assert np.allclose([t.score for t in found[0]], [t.score for t in found[1]], atol=1e-4)
    alone = [write(writers(member, [row])[0], how, rules, [number])[0] for number, row in enumerate(rows)]
    assert [text.tokens for text in alone] == [text.tokens for text in found[0]]


class Table:
    """A writer of three tokens and an end (3): log-probabilities by the text so far, the same for all."""

    def __init__(self, seed):
        self.draw = torch.Generator().manual_seed(seed)
        self.known, self.texts = {}, [()]

    def _said(self):
        for text in self.texts:
            if text not in self.known:
                self.known[text] = torch.randn(4, generator=self.draw) * 2
        return torch.stack([self.known[text] for text in self.texts])

    def begin(self):
        return self._said()

    def step(self, tokens):
        self.texts = [(*text, token) for text, token in zip(self.texts, tokens.tolist(), strict=True)]
        return self._said()

    def keep(self, rows):
        self.texts = [self.texts[row] for row in rows.tolist()]


def test_a_wide_beam_finds_the_likeliest_text_of_all():
    for seed in range(20):
        table = Table(seed)
        for n in range(4):  # every text, so that the table knows them
            for text in product(range(3), repeat=n):
                table.texts = [text]
                table._said()

        def total(text, table=table):
            return sum(table.known[text[:i]].log_softmax(-1)[text[i]].item() for i in range(len(text)))

        whole = [(*t, END) for n in range(4) for t in product(range(3), repeat=n)]
        cut = list(product(range(3), repeat=4))
        best = max([*whole, *cut], key=lambda text: total(text) / len(text))
        table.texts = [()]
        (found,) = write(table, How(limit=4, beam=100, stop="never"), Rules(size=4, end=END), [0])
        assert (*found.tokens, *([END] if found.stopped == "end" else [])) == best
        assert math.isclose(found.score, total(best) / len(best), abs_tol=1e-5)


def test_no_run_of_tokens_comes_twice():
    assert repeated([1, 2, 3, 1, 2], 3) == [3]
    assert repeated([1, 2], 3) == [] and repeated([4, 4, 4], 1) == [4, 4, 4]
    (found,) = write(Table(0), How(limit=20, no_repeat=2), Rules(size=4, end=END, no_repeat=2), [0])
    pairs = list(zip(found.tokens, found.tokens[1:], strict=False))
    assert len(set(pairs)) == len(pairs) and found.stopped == "end"


def test_draws_have_the_probabilities_of_the_model():
    table = Table(5)
    p = table.begin()[0].softmax(-1)
    drawn = []
    for number in range(4000):
        table.texts = [()]
        (found,) = write(table, How(limit=1, sample=True), Rules(size=4, end=END), [number])
        drawn.append(found.tokens[0] if found.tokens else END)
    shares = np.bincount(drawn, minlength=4) / 4000
    assert np.abs(shares - p.numpy()).max() < 4 * 0.5 / 4000**0.5
    likely = int(p.argmax())
    for how in (How(limit=1, sample=True, top_k=1), How(limit=1, sample=True, top_p=1e-6)):
        table.texts = [()]
        (found,) = write(table, how, Rules(size=4, end=END), [7])
        assert (found.tokens or [END]) == [likely]


def test_only_given_answers_are_written():
    answers = [[0, 1, END], [2, END]]

    def allowed(text):
        return [answer[len(text)] for answer in answers if answer[: len(text)] == list(text)]

    for beam in (1, 3):
        table = Table(1)
        (found,) = write(table, How(limit=5, beam=beam), Rules(size=4, end=END, answers=allowed), [0])
        assert [*found.tokens, END] in answers and found.stopped == "end"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"beam": 0}, "beam=0: expected a number of at least 1"),
        ({"temperature": -1.0}, "temperature=-1.0: must be above 0"),
        ({"limit": 0}, "limit=0"),
        ({"top_p": 0.0}, "top_p=0.0"),
        ({"stop": "now"}, "stop='now'"),
        ({"sample": True, "beam": 4}, "sample=True draws one text"),
        (
            {"temperature": 0.7},
            "temperature=0.7: is for tokens that are drawn, and the likeliest is taken; add sample=True, or leave it out$",
        ),
        ({"top_k": 5, "beam": 3}, "top_k=5: is for tokens that are drawn"),
        ({"top_p": 0.9}, "top_p=0.9: is for tokens that are drawn"),
        (
            {"length_penalty": 2.0},
            "length_penalty=2.0: is for a beam search, and one text is followed; beam=4 makes one, or leave it out$",
        ),
        ({"stop": "early", "sample": True}, "stop='early': is for a beam search"),
    ],
)
def test_a_search_that_cannot_be_is_told_in_one_line(settings, said):
    with pytest.raises(InputError, match=said):
        How(**settings)


def test_an_end_that_never_comes_stops_at_the_limit(tiny):
    member = member_of(tiny, "gpt2")
    (found,) = write(Causal(member, causal([[5, 6]])), How(limit=7), Rules(size=60, end=99), [0])
    assert found.stopped == "limit" and len(found.tokens) == 7
    assert isinstance(causal([[5]]), Stream)


def test_of_equally_likely_tokens_the_first_is_written():
    found = torch.tensor([[0.0, 2.0, 2.0, 1.0], [-torch.inf, -torch.inf, -torch.inf, -3.0], [1.0, 1.0, 1.0, 1.0]])
    assert likeliest(found).tolist() == [1, 3, 0]
