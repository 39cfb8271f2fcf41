"""BERT with whole-word masking (google-research/bert, README of May 2019; Cui et al. 2019, arXiv:1906.08101, for Chinese).

Only the select differs from BERT: the pieces of a word are hidden together, each with a draw of its own between [MASK], random and kept.
Where a word starts stands in the store, so that it works on every tokenizer; in Chinese the words are a segmenter's and tokens stay
characters.  The released code glues a leading piece of B to the last word of A, across [SEP]; here it is a word of its own.
"""

from dataclasses import replace
from functools import partial

from bertsmith.data.select import Words
from bertsmith.recipe import Member, Recipe
from bertsmith.recipes.bert import SIZES, bert

CHINESE = {
    "base-zh": "base",
    "large-zh": "large",
}  # BERT's Chinese vocabulary: characters; `--from` goes on with its weights


def bert_wwm(size: str = "base") -> Recipe:
    recipe = bert(CHINESE.get(size, size))
    recipe = replace(
        recipe,
        name="bert-wwm",
        corruption=replace(recipe.corruption, select=Words(rate=0.15, rounding="round")),
    )
    return replace(recipe, tokenizer="wordpiece:21128").with_vocab(21128) if size in CHINESE else recipe


MEMBERS = (
    Member(
        name="bert-wwm",
        paper="Devlin et al. 2019, github.com/google-research/bert; Cui et al. 2019, arXiv:1906.08101",
        about="hides whole words, 15 % of the tokens, sees both sides, asks for them and for the order of two segments",
        sizes={size: partial(bert_wwm, size) for size in (*SIZES, *CHINESE)},
    ),
)
