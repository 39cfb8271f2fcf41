"""SpanBERT (Joshi et al. 2020, arXiv:1907.10529): spans of words hidden, asked where they stand and from the tokens beside them.

`corruption.select.units` is the masking of the paper's table 6: geometric (SpanBERT's own), word, token, entity, phrase; the last two
need a store that was prepared with `--entities` or `--phrases`.
"""

from dataclasses import replace
from functools import partial

from bertsmith.data.boundary import Boundaries
from bertsmith.data.spans import Spans
from bertsmith.objectives.boundary import Boundary
from bertsmith.objectives.predict import Predict, Tokens
from bertsmith.recipe import Corruption, Member, Recipe, Schedule
from bertsmith.recipes.bert import QUICK, SIZES, bert, quick
from bertsmith.text.layout import DocSentences


def spanbert(size: str = "base") -> Recipe:
    neighbour = bert(size)
    recipe = replace(
        neighbour,
        name="spanbert",
        tokenizer="wordpiece:28996",
        layout=DocSentences(length=512),  # its code drops sentences of more than 510 tokens; here they are split
        corruption=Corruption(
            select=Spans(units="geometric", p=0.2, longest=10, rate=0.15, rounding="ceil"),
            rewrite=Boundaries(mask=0.8, random=0.1, by="span", limit=20),
        ),
        model=replace(neighbour.model, vocab=28996, dropout=0.1),
        objective=Predict(heads=(Tokens(), Boundary(limit=20, positions=200))),
        # Appendix A; weight decay as the released command has it (0.1 in the paper).  256 rows of 512 tokens, 2.4 million updates.
        schedule=Schedule(lr=1e-4, warmup=10_000, eps=1e-8, weight_decay=0.01, clip=1.0),
    )
    return quick(recipe) if size in QUICK else recipe


MEMBERS = (
    Member(
        name="spanbert",
        paper="Joshi et al. 2020, arXiv:1907.10529",
        about="hides spans of up to ten words, 15 % of the tokens, sees both sides, asks for each token where it stands and from beside its span",
        sizes={size: partial(spanbert, size) for size in SIZES},
    ),
)
