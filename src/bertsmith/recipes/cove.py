"""CoVe (McCann et al. 2017, arXiv:1708.00107): context vectors are what the encoder of a translation model says of words.

Two layers of LSTMs in both directions read a sentence, a decoder that attends to them writes its translation; the encoder's states are what
`embed` and fine-tuning take.  The store holds parallel lines (`prepare en+de=A.en+A.de`), the language that the vectors are of first.

The paper's encoder reads GloVe vectors, which never learn: `pretrain cove --from MODEL` with a model of word vectors, and
`--set schedule.groups=[{"part": "model.encoder.embeddings", "rate": 0}]`.
"""

from functools import partial

from bertsmith.data.noise import Nothing
from bertsmith.data.translated import Rendered
from bertsmith.nn.attentive import Attentive
from bertsmith.nn.embeddings import Summed
from bertsmith.nn.initial import Uniform
from bertsmith.nn.recurrent import Recurrent
from bertsmith.objectives.predict import Predict, Tokens
from bertsmith.recipe import Brief, Corruption, Member, Recipe, Schedule, Training
from bertsmith.recipes.bert import QUICK
from bertsmith.text.translations import Translations

# Layers of the encoder and of the decoder, units of each direction; base: section 3 of the paper.
SIZES = {"tiny": (2, 64), "mini": (2, 128), "base": (2, 300)}


def cove(size: str = "base") -> Recipe:
    layers, width = SIZES[size]
    quick = size in QUICK
    return Recipe(
        name="cove",
        tokenizer="wordpiece:30522",
        layout=Translations(length=128 if quick else 256, swap=0.0),
        corruption=Corruption(select=Nothing(), rewrite=Rendered(start="cls")),
        model=Recurrent(
            vocab=30522,
            layers=layers,
            width=width,
            hidden=width,
            dropout=0.0 if quick else 0.2,
            embeddings=Summed(segments=0, norm=False),
            directions="both",
            topology=Attentive(score="general"),
            initial=Uniform(within=1.0),  # as far apart as given vectors: with 0.1 attention is found twice as late
        ),
        objective=Predict(heads=(Tokens(transform=False, tied=False),)),
        # The paper's is plain descent from a rate of 1, halved where the held-out loss rises; Adam needs no such rule.
        schedule=Schedule(lr=1e-3, warmup=0.05, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, clip=5.0),
        training=Training() if quick else Training(batch=16_384, checkpoint=1_000, evaluate=1_000, held_out=262_144),
        brief=Brief(lr=4e-3 if size == "tiny" else 2e-3) if quick else None,
    )


MEMBERS = (
    Member(
        name="cove",
        paper="McCann et al. 2017, arXiv:1708.00107",
        about="a recurrent stack reads a sentence from both sides, another that attends to it writes the translation",
        sizes={size: partial(cove, size) for size in SIZES},
    ),
)
