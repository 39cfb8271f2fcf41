"""ELMo (Peters et al. 2018, arXiv:1802.05365): words as characters, two language models that do not hear of each other, and a task that learns how
to mix their layers (`finetune --method mix`).

The released model (bilm-tf) carries states from batch to batch of shuffled sentences; here a row begins anew, and rows are longer.
"""

from functools import partial

from bertsmith.data.bothways import BothWays
from bertsmith.data.causal import Everything
from bertsmith.nn.cells import LSTM
from bertsmith.nn.characters import FILTERS, Characters
from bertsmith.nn.recurrent import Recurrent
from bertsmith.objectives.bothways import BothWaysPredict
from bertsmith.recipe import Corruption, Member, Recipe, Schedule, Training
from bertsmith.recipes.bert import quick
from bertsmith.text.stretches import Stretches

# Width of a direction, units, filters, bytes of a word, words drawn for the softmax.  Base: the released options.json.
FEW = ((1, 16), (2, 32), (3, 64), (4, 64))
SIZES = {
    "tiny": (64, 128, FEW, 20, 0),
    "mini": (128, 512, FEW, 20, 0),
    "small": (128, 1024, ((1, 32), (2, 32), (3, 64), (4, 128), (5, 256), (6, 512), (7, 1024)), 50, 8192),
    "base": (512, 4096, FILTERS, 50, 8192),
}


def elmo(size: str = "base") -> Recipe:
    width, units, filters, longest, sampled = SIZES[size]
    recipe = Recipe(
        name="elmo",
        tokenizer="wordpiece:30522",
        layout=Stretches(length=128),
        corruption=Corruption(select=Everything(), rewrite=BothWays()),
        model=Recurrent(
            vocab=30522,
            layers=2,
            width=width,
            hidden=units,
            dropout=0.1,
            embeddings=Characters(filters=filters, longest=longest),
            cell=LSTM(projection=True, clip=3.0, forget=1.0),
            directions="apart",
            residual=True,
        ),
        objective=BothWaysPredict(sampled=sampled),
        # 128 rows of 20 tokens; theirs was AdaGrad at 0.2.
        schedule=Schedule(lr=1e-3, warmup=0.02, eps=1e-8, weight_decay=0.0, clip=10.0),
        training=Training(batch=128 * 20, checkpoint=5_000, evaluate=5_000, held_out=1_048_576),
    )
    return quick(recipe) if size in ("tiny", "mini") else recipe


MEMBERS = (
    Member(
        name="elmo",
        paper="Peters et al. 2018, arXiv:1802.05365",
        about="hides nothing; words as characters; asks for the next token from the left, and for the one before from the right, by two stacks apart",
        sizes={size: partial(elmo, size) for size in SIZES},
    ),
)
