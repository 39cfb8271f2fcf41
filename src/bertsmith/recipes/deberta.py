"""DeBERTa (He et al. 2021a, arXiv:2006.03654) and DeBERTaV3 (He et al. 2021b, arXiv:2111.09543): encoders in which tokens and distances ask each other.

What a token is and how far others stand are vectors of their own, and no place is added to the input.  The first asks for masked tokens, by a
decoder that adds places then; the third asks ELECTRA's question.
"""

from dataclasses import replace
from functools import partial

from bertsmith.data.rewrite import InPlace
from bertsmith.data.sampled import Sampled
from bertsmith.data.select import Tokens as TokenSpans
from bertsmith.data.spans import NGrams
from bertsmith.nn.disentangled import Disentangled, Distances
from bertsmith.nn.embeddings import Summed
from bertsmith.nn.norms import LayerNorm
from bertsmith.objectives.mask_decoder import MaskDecoder
from bertsmith.objectives.predict import Tokens
from bertsmith.objectives.replaced import Detect, ReplacedTokens
from bertsmith.recipe import Brief, Corruption, Member, Recipe, Schedule, Training
from bertsmith.recipes.bert import QUICK, bert, quick
from bertsmith.text.layout import FullSentencesOfBert

# Layers, width, heads, peak.  The published models; table 7 of the paper has the peaks of base, large and small, and xsmall the released
# scripts' alone, where that of base is 1e-4 for updates of 256 rows.
V3 = {
    "tiny": (2, 128, 2, 1e-3),
    "mini": (4, 256, 4, 1e-3),
    "xsmall": (12, 384, 6, 6e-4),
    "small": (6, 768, 12, 6e-4),
    "base": (12, 768, 12, 6e-4),
    "large": (24, 1024, 16, 3e-4),
}
# Shapes and rates of the first paper; its code has biases of queries and values alone, here keys have some, too (transformers' DebertaV2 is so).
V1 = {
    "tiny": (2, 128, 2, 1e-3),
    "mini": (4, 256, 4, 1e-3),
    "base": (12, 768, 12, 2e-4),
    "large": (24, 1024, 16, 2e-4),
}


def deberta(size: str = "base") -> Recipe:
    layers, width, heads, peak = V1[size]
    neighbour = bert("base")
    recipe = replace(
        neighbour,
        name="deberta",
        tokenizer="bpe:50265",
        layout=FullSentencesOfBert(length=512),
        # Spans of up to three words, n with probability proportional to 1/n: those of the released code leave the end of a row alone, these do not.
        corruption=Corruption(select=NGrams(longest=3, rate=0.15), rewrite=InPlace(mask=0.8, random=0.1)),
        model=replace(
            neighbour.model,
            vocab=50_265,
            layers=layers,
            width=width,
            heads=heads,
            hidden=4 * width,
            embeddings=Summed(segments=0),
            positions=Distances(buckets=None, distance=512, norm=False),
            norm=LayerNorm(eps=1e-7),
            attention=Disentangled(places="own"),
        ),
        objective=MaskDecoder(heads=(Tokens(),), pooler="gelu"),
        schedule=Schedule(lr=peak, warmup=10_000, eps=1e-6, weight_decay=0.01, clip=1.0),
        training=Training(batch=2048 * 512, checkpoint=1_000, evaluate=1_000, held_out=1_048_576),
    )
    return replace(quick(recipe), brief=Brief(lr=1e-3)) if size in QUICK else recipe


def deberta_v3(size: str = "base") -> Recipe:
    layers, width, heads, peak = V3[size]
    neighbour = bert("base")
    recipe = replace(
        neighbour,
        name="deberta-v3",
        tokenizer="unigram:128000",
        # The released builder joins all text to rows of 512 and lets them run on into the next document.
        layout=FullSentencesOfBert(length=512),
        corruption=Corruption(select=TokenSpans(rate=0.15, rounding="round"), rewrite=Sampled(mask=1.0)),
        model=replace(
            neighbour.model,
            vocab=128_100,  # the published table has 100 rows more than its tokenizer
            layers=layers,
            width=width,
            heads=heads,
            hidden=4 * width,
            embeddings=Summed(segments=0),
            positions=Distances(buckets=256, distance=512),
            norm=LayerNorm(eps=1e-7),
            attention=Disentangled(),
        ),
        # The generator is as wide and half as deep.  The paper weighs the second term by 50, the released code by 10.
        objective=ReplacedTokens(generator=1.0, layers=0.5, share="disentangled", head=Detect(weight=50.0)),
        schedule=Schedule(lr=peak, warmup=10_000, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01, clip=1.0),
        training=Training(batch=8192 * 512, checkpoint=1_000, evaluate=1_000, held_out=1_048_576),
    )
    return replace(quick(recipe), brief=Brief(lr=1e-3)) if size in QUICK else recipe


MEMBERS = (
    Member(
        name="deberta",
        paper="He et al. 2020, arXiv:2006.03654",
        about="hides 15 % of the tokens in spans of up to three words, sees both sides, asks for them by a decoder that knows places; tokens and distances ask each other",
        sizes={size: partial(deberta, size) for size in V1},
    ),
    Member(
        name="deberta-v3",
        paper="He et al. 2021, arXiv:2111.09543",
        about="hides 15 % of the tokens from a generator, reads its guesses, asks of every token whether it was replaced; tokens and distances ask each other",
        sizes={size: partial(deberta_v3, size) for size in V3},
    ),
)
