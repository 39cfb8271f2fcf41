"""LTG-BERT (Samuel et al. 2023, arXiv:2303.09859) and GPT-BERT (Charpentier & Samuel 2024, arXiv:2410.24159): encoders for 100 million words and fewer.

Norms without anything learned before each part and inside it, gates, distances that are read as DeBERTa reads them.  GPT-BERT asks for what is hidden
one place before it, so that the same weights are a language model in one of sixteen updates, and its parts read a learned sum of all states before
them, which LTG-BERT has not: its paper's ablation gives them 1.3 points of BLiMP and takes 0.2 of MNLI.
"""

from dataclasses import replace
from functools import partial

from bertsmith.data.ahead import Ahead
from bertsmith.data.causal import Causal, Everything
from bertsmith.data.mixture import Weighted
from bertsmith.data.rewrite import InPlace
from bertsmith.data.spans import NGrams
from bertsmith.nn.blocks import AroundNorm, PreNorm
from bertsmith.nn.depths import DepthWeighted
from bertsmith.nn.disentangled import Disentangled, Distances
from bertsmith.nn.embeddings import Summed
from bertsmith.nn.feedforward import Gated
from bertsmith.nn.initial import ByWidth
from bertsmith.nn.norms import LayerNorm, Standard
from bertsmith.nn.transformer import TransformerConfig
from bertsmith.objectives.mixed import Mixed, Part
from bertsmith.objectives.predict import Predict, Tokens
from bertsmith.recipe import Asked, Corruption, Member, Recipe, Schedule, Several, Training
from bertsmith.recipes.bert import QUICK, quick
from bertsmith.text.layout import DocSentences

# Layers, width, heads, hidden, rows of the token table.  Table 5 of LTG-BERT's paper and the released configurations; tiny and mini are ours.
LTG = {
    "tiny": (2, 128, 2, 344, 16_384),
    "mini": (4, 256, 4, 688, 16_384),
    "xs": (12, 192, 3, 512, 16_384),
    "small": (12, 384, 6, 1024, 16_384),
    "base": (12, 768, 12, 2048, 16_384),
}
GPT = {
    "tiny": (2, 128, 2, 424, 8192),
    "mini": (4, 256, 4, 856, 8192),
    "small": (12, 384, 6, 1280, 8192),
    "base": (12, 768, 12, 2560, 16_384),
}
EPS = 1e-7


def ltg_bert(size: str = "base") -> Recipe:
    recipe = _recipe("ltg-bert", size, *LTG[size])
    model = replace(recipe.model, block=AroundNorm(after="attention", said=LayerNorm(eps=EPS)))
    # Spans of pieces, a draw for each; 31,250 updates of 32,768 rows of 128 tokens by LAMB at 1e-2, of which this is AdamW's usual rate.
    spans = NGrams(units="token", longest=9, p=1 / 3, rate=0.15, rounding="probabilistic")
    recipe = replace(recipe, model=model, corruption=Corruption(select=spans, rewrite=InPlace(by="span")))
    return quick(recipe) if size in QUICK else recipe


def gpt_bert(size: str = "base") -> Recipe:
    recipe = _recipe("gpt-bert", size, *GPT[size])
    attends = Disentangled(gated=True, norm=Standard(eps=EPS))
    model = replace(recipe.model, block=PreNorm(), attention=attends, topology=DepthWeighted(behind="part"))
    # Its rate falls from 30 to 15 % over the run: this is where it begins.
    spans = NGrams(units="token", longest=3, single=1 / 3, rate=0.3, rounding="probabilistic")
    causal = Asked(name="causal", layout=recipe.layout, corruption=Corruption(select=Everything(), rewrite=Causal()))
    recipe = replace(
        recipe,
        model=model,
        corruption=Corruption(select=spans, rewrite=Ahead(by="span")),
        objective=Mixed(parts=(Part(feed="masked", objective=recipe.objective), Part(feed="causal", of="masked"))),
        mixture=Several(main="masked", feeds=(causal,), shares=Weighted(weights=(15.0, 1.0))),
    )
    return quick(recipe) if size in QUICK else recipe


def _recipe(name: str, size: str, layers: int, width: int, heads: int, hidden: int, rows: int) -> Recipe:
    """What both have."""
    norm = Standard(eps=EPS)
    return Recipe(
        name=name,
        tokenizer=f"wordpiece:{rows}",
        layout=DocSentences(length=128),
        corruption=Corruption(select=NGrams(), rewrite=InPlace()),
        model=TransformerConfig(
            vocab=rows,
            layers=layers,
            width=width,
            heads=heads,
            hidden=hidden,
            dropout=0.1,
            embeddings=Summed(segments=0),
            positions=Distances(buckets=32, distance=512, kind=LayerNorm(eps=EPS)),
            norm=norm,
            attention=Disentangled(),
            feedforward=Gated(activation="gelu_tanh", bias=False, norm=norm),
            initial=ByWidth(),
        ),
        objective=Predict(heads=(Tokens(activation="gelu"),)),
        schedule=Schedule(
            lr=1e-3, warmup=0.016, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.1, clip=2.0, decay="cosine"
        ),
        training=Training(batch=32_768 * 128 // 8, checkpoint=1_000, evaluate=1_000, held_out=1_048_576),
    )


MEMBERS = (
    Member(
        name="ltg-bert",
        paper="Samuel et al. 2023, arXiv:2303.09859",
        about="hides 15 % of the tokens in spans of a few pieces, sees both sides, asks for them; norms that learn nothing, gates, tokens and distances that ask each other",
        sizes={size: partial(ltg_bert, size) for size in LTG},
    ),
    Member(
        name="gpt-bert",
        paper="Charpentier & Samuel 2024, arXiv:2410.24159",
        about="hides 30 % of the tokens in spans of up to three pieces and asks for each one place before it; in one of sixteen updates a language model of the same weights",
        sizes={size: partial(gpt_bert, size) for size in GPT},
    ),
)
