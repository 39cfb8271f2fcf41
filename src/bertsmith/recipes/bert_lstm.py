"""BERT's question to another body: layers of LSTMs that read from both ends, in the place of a Transformer.

What a comparison of BERT with ELMo needs between the two: the same text, corruption, objective and schedule, and the other way to read.
"""

from dataclasses import replace
from functools import partial

from bertsmith.nn.cells import LSTM
from bertsmith.nn.embeddings import Summed
from bertsmith.nn.recurrent import Recurrent
from bertsmith.recipe import Member, Recipe
from bertsmith.recipes.bert import bert

# Layers, width of a direction, units: about as many parameters as BERT of the name.
SIZES = {"tiny": (2, 64, 192), "mini": (2, 128, 512), "base": (4, 384, 1920)}


def bert_lstm(size: str = "base") -> Recipe:
    layers, width, units = SIZES[size]
    neighbour = bert(size)
    model = Recurrent(
        vocab=30522,
        layers=layers,
        width=width,
        hidden=units,
        dropout=neighbour.model.dropout,
        embeddings=Summed(segments=2),
        cell=LSTM(projection=True),
        directions="both",
    )
    return replace(neighbour, name="bert-lstm", model=model)


MEMBERS = (
    Member(
        name="bert-lstm",
        paper="Devlin et al. 2019, arXiv:1810.04805, with the body of Peters et al. 2018",
        about="hides and asks as BERT does; layers of LSTMs that read from both ends in the place of attention",
        sizes={size: partial(bert_lstm, size) for size in SIZES},
    ),
)
