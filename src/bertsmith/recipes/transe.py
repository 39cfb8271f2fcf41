"""TransE (Bordes et al. 2013, "Translating Embeddings for Modeling Multi-relational Data"): vectors of a knowledge graph.  No member of the
family reads text by it; ERNIE (Tsinghua) reads its vectors."""

from bertsmith.data.triples import Ends, Replaced, Triples
from bertsmith.nn.table import TableConfig
from bertsmith.objectives.translation import Translation
from bertsmith.recipe import Corruption, Recipe, Schedule, Training


def transe(width: int = 100) -> Recipe:
    """100 numbers as ERNIE's entities have.  `model.vocab` and `model.unit` follow the graph."""
    return Recipe(
        name="transe",
        tokenizer="graph",
        layout=Triples(),
        corruption=Corruption(select=Ends(), rewrite=Replaced(others=8)),
        model=TableConfig(vocab=1, width=width),
        objective=Translation(),
        # The paper's is plain descent at a constant rate, one corrupted triple a time; Adam with several reaches its figures in minutes.
        schedule=Schedule(lr=0.01, warmup=0.0, eps=1e-8, weight_decay=0.0, clip=0.0),
        training=Training(batch=3 * 2048, checkpoint=1_000, evaluate=500, precision="float32"),
    )
