"""GloVe (Pennington et al. 2014): vectors whose products say how often words stand near one another."""

from functools import partial

from bertsmith.data.cells import Cells, CoOccurrences, HowOften
from bertsmith.nn.static import StaticConfig
from bertsmith.objectives.neighbours import LogCounts
from bertsmith.recipe import Corruption, Member, Recipe, Schedule, Training

# Words, numbers of each vector, and the window: base as section 4.2 of the paper (400,000 words, 300 numbers, 10 words to either side).
SIZES = {"tiny": (8_000, 50, 5), "mini": (30_000, 100, 10), "base": (400_000, 300, 10)}


def glove(size: str = "base") -> Recipe:
    """AdaGrad at 0.05, as in the paper, over updates of 8,192 cells."""
    words, width, window = SIZES[size]
    return Recipe(
        name="glove",
        tokenizer=f"words:{words}",
        layout=CoOccurrences(window=window, length=1024),
        corruption=Corruption(select=Cells(), rewrite=HowOften()),
        model=StaticConfig(vocab=words, width=width, context=True),
        objective=LogCounts(most=100.0, power=0.75),
        schedule=Schedule(
            optimizer="adagrad", lr=0.05, warmup=0.0, eps=1e-10, weight_decay=0.0, clip=0.0, decay="constant"
        ),
        training=Training(batch=16_384, checkpoint=5_000, evaluate=5_000, precision="float32"),
    )


MEMBERS = (
    Member(
        name="glove",
        paper="Pennington et al. 2014, GloVe: Global Vectors for Word Representation",
        about="one vector for each word, so that the product of two says how often they stand near one another in the whole corpus",
        sizes={size: partial(glove, size) for size in SIZES},
    ),
)
