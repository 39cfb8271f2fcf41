"""Whole words on every kind of tokenizer, in English and in Chinese."""

import numpy as np
import pytest

from bertsmith.config import override
from bertsmith.data.draw import Draw
from bertsmith.data.select import words
from bertsmith.recipe import find
from bertsmith.text.prepare import prepare
from bertsmith.text.store import Store

CHINESE = "自然语言处理是人工智能的一个重要方向。我们在北京大学学习计算机科学，研究机器翻译和信息检索。\n" * 3
SENTENCES = ("他们昨天去了上海博物馆。", "模型在大规模语料上训练。", "这本书介绍了深度学习的基本方法。")


@pytest.fixture(scope="module", params=["wordpiece:900", "bpe:900", "unigram:900", "chinese"])
def prepared(request, documents, tmp_path_factory):
    folder, kind = tmp_path_factory.mktemp("wwm"), request.param
    texts = documents[:25]
    if kind == "chinese":
        kind = "wordpiece:200"
        texts = [CHINESE + "\n".join(np.random.default_rng(i).permutation(SENTENCES)) for i in range(20)]
    (folder / "text.txt").write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    prepare([str(folder / "text.txt")], folder / "store", tokenizer=kind, holdout=0)
    return Store.open(folder / "store")


def test_a_word_is_hidden_whole_or_not_at_all(prepared):
    recipe = override(find("bert-wwm:tiny"), ["layout.length=64"])
    plan = recipe.layout.plan(prepared.train, prepared.vocab, 0, 0)
    row = plan.row(plan.order)
    batch = recipe.corruption(row, prepared.vocab, Draw(0))
    hidden = np.zeros(len(row.tokens), bool)
    hidden[batch.targets["token"].at[:, 0]] = True
    several = 0
    for start, end in words(row):
        assert hidden[start:end].all() or not hidden[start:end].any()
        several += bool(hidden[start:end].all() and end - start > 1)
    assert several > 20
    assert abs(hidden.sum() / row.lengths.sum() - 0.15) < 0.01


def test_pieces_of_a_word_draw_on_their_own(prepared):
    recipe = override(find("bert-wwm:tiny"), ["layout.length=64"])
    plan = recipe.layout.plan(prepared.train, prepared.vocab, 0, 0)
    row = plan.row(plan.order)
    spans = recipe.corruption.select(row, Draw(0))
    masked = recipe.corruption(row, prepared.vocab, Draw(0)).input.tokens == prepared.vocab.mask
    mixed = [masked[a:b].any() and not masked[a:b].all() for a, b in spans if b - a > 1]
    assert 0.15 < np.mean(mixed)  # 1 - .8**2 - .2**2 = .32 for two pieces


def test_the_chinese_sizes_have_the_published_vocabulary():
    recipe = find("bert-wwm:base-zh")
    assert (recipe.tokenizer, recipe.model.vocab, recipe.model.width) == ("wordpiece:21128", 21128, 768)
