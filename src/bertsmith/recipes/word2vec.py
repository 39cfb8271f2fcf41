"""word2vec (Mikolov et al. 2013, arXiv:1301.3781 and arXiv:1310.4546): one vector for each word, by the words that stand round it."""

from dataclasses import replace
from functools import partial

from bertsmith.data.neighbours import Frequent, Neighbours
from bertsmith.nn.static import StaticConfig
from bertsmith.objectives.neighbours import Neighbourhood
from bertsmith.recipe import Corruption, Member, Recipe, Schedule, Training
from bertsmith.text.layout import FullSentences

# Words and numbers of each vector: base as the vectors of arXiv:1310.4546, section 3 (300 numbers, 5 negatives, sample 1e-5 to 1e-3).
SIZES = {"tiny": (8_000, 50), "mini": (30_000, 100), "base": (700_000, 300)}


def word2vec(size: str = "base") -> Recipe:
    """Skip-gram against drawn words; CBOW is `objective.predict=centre`, a tree `objective.by=huffman`.

    The paper's is plain descent, a pair a time; here an update has thousands of words, and AdaGrad gives each row of a table the rate that suits how
    often it is met (docs/decisions/2026-11-28-word-vectors.md).
    """
    words, width = SIZES[size]
    return Recipe(
        name="word2vec",
        tokenizer=f"words:{words}",
        layout=FullSentences(length=512),
        corruption=Corruption(select=Frequent(sample=1e-3), rewrite=Neighbours(window=5)),
        model=StaticConfig(vocab=words, width=width),
        objective=Neighbourhood(),
        schedule=Schedule(optimizer="adagrad", lr=0.1, warmup=0.0, eps=1e-10, weight_decay=0.0, clip=0.0),
        training=Training(batch=8192, checkpoint=2_000, evaluate=2_000, precision="float32"),
    )


def cbow(size: str = "base") -> Recipe:
    return replace(word2vec(size), objective=Neighbourhood(predict="centre"))


MEMBERS = (
    Member(
        name="word2vec",
        paper="Mikolov et al. 2013, arXiv:1301.3781, arXiv:1310.4546",
        about="one vector for each word, wherever it stands: asks it for the words that stand round it, against words that are drawn",
        sizes={size: partial(word2vec, size) for size in SIZES},
    ),
)
