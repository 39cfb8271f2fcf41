"""GPT (Radford et al. 2018) and GPT-2 (Radford et al. 2019): the next token, from those before it.

GPT is BERT's stack read from the left: norms behind the sums.  GPT-2 has them before each part and one behind the last layer, begins
smaller the deeper it is, and reads any text as bytes; Megatron-LM (Shoeybi et al. 2019, arXiv:1909.08053) and Turing-NLG (Microsoft 2020)
are that at larger sizes.  Both predict by the token table alone: no layer and no bias between.
"""

from dataclasses import replace
from functools import partial

from bertsmith.data.causal import Causal, Everything
from bertsmith.nn.blocks import PostNorm, PreNorm
from bertsmith.nn.embeddings import Summed
from bertsmith.nn.feedforward import Plain
from bertsmith.nn.norms import LayerNorm
from bertsmith.nn.positions import Learned
from bertsmith.nn.transformer import TransformerConfig
from bertsmith.objectives.predict import Predict, Tokens
from bertsmith.recipe import Corruption, Member, Recipe, Schedule, Training
from bertsmith.recipes.bert import QUICK, quick
from bertsmith.text.stretches import Stretches

SMALL = {"tiny": (2, 128, 2), "mini": (4, 256, 4)}
GPT = {**SMALL, "base": (12, 768, 12)}
# Layers, width, heads, rows of the token table, peak rate.  GPT-2: table 2 of the paper, whose rates were tuned by hand and are not told;
# these are GPT-3's for the same sizes (Brown et al. 2020, table 2.1).  Megatron-LM: table 1 (a table rounded up to 51,200 rows) and
# section 4.2; Turing-NLG: its announcement.
GPT2 = {
    **{size: (*shape, 50257, 6e-4) for size, shape in SMALL.items()},
    "small": (12, 768, 12, 50257, 6e-4),
    "medium": (24, 1024, 16, 50257, 3e-4),
    "large": (36, 1280, 20, 50257, 2.5e-4),
    "xl": (48, 1600, 25, 50257, 2e-4),
    "megatron": (72, 3072, 32, 51200, 1.5e-4),
    "turing": (78, 4256, 28, 50257, 1.5e-4),
}


def gpt(size: str = "base") -> Recipe:
    layers, width, heads = GPT[size]
    recipe = Recipe(
        name="gpt",
        tokenizer="bpe-char:40478",  # 40,000 merges over characters, after words were parted: its own tokenizer's kind
        layout=Stretches(length=512),
        corruption=Corruption(select=Everything(), rewrite=Causal()),
        model=TransformerConfig(
            vocab=40478,
            layers=layers,
            width=width,
            heads=heads,
            hidden=4 * width,
            dropout=0.1,
            embeddings=Summed(segments=0, norm=False),
            positions=Learned(length=512),
            block=PostNorm(),
            norm=LayerNorm(eps=1e-5),
            feedforward=Plain(activation="gelu_tanh"),
        ),
        objective=Predict(heads=(Tokens(transform=False, bias=False),), pooler="none"),
        # Section 4.1: 64 rows of 512 tokens, 100 epochs of the books.
        schedule=Schedule(lr=2.5e-4, warmup=2000, eps=1e-8, weight_decay=0.01, clip=1.0, decay="cosine"),
        training=Training(batch=64 * 512, checkpoint=5_000, evaluate=5_000, held_out=1_048_576),
    )
    return quick(recipe) if size in QUICK else recipe


def gpt2(size: str = "small") -> Recipe:
    layers, width, heads, rows, rate = GPT2[size]
    neighbour = gpt()
    shape = {"vocab": rows, "layers": layers, "width": width, "heads": heads, "hidden": 4 * width}
    recipe = replace(
        neighbour,
        name="gpt2",
        tokenizer=f"bpe:{rows}",
        layout=Stretches(length=1024),
        model=replace(neighbour.model, **shape, positions=Learned(length=1024), block=PreNorm(by_depth=True)),
        schedule=replace(neighbour.schedule, lr=rate, betas=(0.9, 0.95)),
        training=replace(neighbour.training, batch=512 * 1024),
    )
    return quick(recipe) if size in QUICK else recipe


MEMBERS = (
    Member(
        name="gpt",
        paper="Radford et al. 2018, Improving Language Understanding by Generative Pre-Training",
        about="hides nothing, sees what came before, asks for the next token",
        sizes={size: partial(gpt, size) for size in GPT},
    ),
    Member(
        name="gpt2",
        paper="Radford et al. 2019, Language Models are Unsupervised Multitask Learners",
        about="hides nothing, sees what came before, asks for the next token; norms before each part, any text as bytes",
        sizes={size: partial(gpt2, size) for size in GPT2},
    ),
)
