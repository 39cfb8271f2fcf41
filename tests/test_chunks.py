"""Ids from remembered chunks are those that the tokenizer gives for the whole text."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertsmith.text import chunks
from bertsmith.text.chunks import Chunks, local
from bertsmith.text.tokenizer import Tokenizer

KINDS = ("wordpiece:400", "bpe:400", "bpe-char:400", "unigram:200", "char", "byte")
WORDS = st.sampled_from(
    ["the", "cat's", "don't", "naïve", "ΟΔΟΣ", "北京", "x=1", "[MASK]", "a\u0301", "\u0301b", "ﬁn", "€5", "👍🏽"]
)
SPACES = st.sampled_from([" ", "  ", "\t", "\u00a0", "\n", "\u2028", " \t ", "\x1c", "\u200b"])
TEXTS = st.lists(st.one_of(st.tuples(WORDS, st.one_of(st.just(" "), SPACES)), st.tuples(st.text(max_size=6), SPACES)))


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request, documents):
    made = Tokenizer.train(request.param, documents[:20], lowercase=request.param.startswith("wordpiece"))
    assert made._chunks is not None
    return made


@given(texts=st.lists(TEXTS.map(lambda pairs: "".join(x for pair in pairs for x in pair)), max_size=6))
def test_any_texts_get_the_ids_that_the_tokenizer_gives(tokenizer, texts):
    ids, ends = tokenizer._chunks(texts)
    wanted = [one.ids for one in tokenizer._plain.encode_batch(texts, add_special_tokens=False)]
    assert [part.tolist() for part in np.split(ids, ends)[:-1]] == wanted


def test_real_text_gets_them_too_and_each_chunk_is_encoded_once(tokenizer, documents):
    seen: list[str] = []

    def encode(texts):
        seen.extend(texts)
        return tokenizer._chunks.encode(texts)

    memory = Chunks(encode, tokenizer._chunks.before)
    paragraphs = [line for text in documents for line in text.split("\n")]
    for _ in range(2):
        ids, ends = memory(paragraphs)
    wanted = [one.ids for one in tokenizer._plain.encode_batch(paragraphs, add_special_tokens=False)]
    assert [part.tolist() for part in np.split(ids, ends)[:-1]] == wanted
    assert len(seen) == len(set(seen)) < len(" ".join(paragraphs).split()) / 2


def test_a_full_memory_forgets_and_goes_on(tokenizer, monkeypatch):
    monkeypatch.setattr(chunks, "MOST", 5)
    memory = Chunks(tokenizer._chunks.encode, tokenizer._chunks.before)
    texts = [f"word{i} and word{i + 1}" for i in range(20)]
    found = [memory([text])[0].tolist() for text in texts]
    assert found == [one.ids for one in tokenizer._plain.encode_batch(texts, add_special_tokens=False)]
    assert memory.known < 20


def test_what_is_too_long_to_come_again_is_not_kept(tokenizer):
    memory = Chunks(tokenizer._chunks.encode, tokenizer._chunks.before)
    long = "x" * 1000
    for _ in range(2):
        ids, _ = memory([f"{long} {long}"])
    assert ids.tolist() == tokenizer._plain.encode(f"{long} {long}", add_special_tokens=False).ids
    assert not any(len(chunk) > 200 for chunk in [*memory.inner, *memory.first])


def test_tokenizers_that_look_across_spaces_are_left_alone(tokenizer):
    tree = json.loads(tokenizer.backend.to_str())
    assert local(tree, "wordpiece") and not local(tree, None)
    assert not local({**tree, "added_tokens": [{"content": "New York"}]}, "wordpiece")
    assert not local({**tree, "added_tokens": [{"content": "<mask>", "lstrip": True}]}, "wordpiece")
    assert not local({**tree, "model": {**tree["model"], "dropout": 0.1}}, "wordpiece")
