"""fastText (Bojanowski et al. 2017, arXiv:1607.04606): word2vec whose words are the mean of their own vector and of those of stretches of their letters."""

from dataclasses import replace
from functools import partial

from bertsmith.data.neighbours import Frequent
from bertsmith.nn.static import Grams
from bertsmith.objectives.neighbours import Neighbourhood
from bertsmith.recipe import Corruption, Member, Recipe
from bertsmith.recipes.word2vec import SIZES, word2vec

BUCKETS = {"tiny": 20_000, "mini": 200_000}  # 2 million elsewhere: section 4 of the paper


def fasttext(size: str = "base") -> Recipe:
    """The rules of the released code: the mean, where the paper has the sum; 1e-4 for frequent words; words drawn by the root of their count."""
    recipe = word2vec(size)
    grams = Grams(buckets=BUCKETS.get(size, 2_000_000))
    return replace(
        recipe,
        name="fasttext",
        corruption=Corruption(select=Frequent(sample=1e-4), rewrite=recipe.corruption.rewrite),
        model=replace(recipe.model, grams=grams),
        objective=Neighbourhood(power=0.5),
    )


MEMBERS = (
    Member(
        name="fasttext",
        paper="Bojanowski et al. 2017, arXiv:1607.04606",
        about="word2vec whose words share vectors of 3 to 6 of their letters, so that words which no text had have vectors, too",
        sizes={size: partial(fasttext, size) for size in SIZES},
    ),
)
