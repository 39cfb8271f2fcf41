"""ELECTRA (Clark et al. 2020, arXiv:2003.10555): a small generator fills what is hidden, the model tells which tokens it replaced.

Three members of its section 3.4 lie between it and BERT: ELECTRA 15 %, replace MLM and all-tokens MLM.
"""

from dataclasses import replace
from functools import partial
from typing import Literal

from bertsmith.data.sampled import Sampled
from bertsmith.data.select import Tokens as TokenSpans
from bertsmith.nn.embeddings import Summed
from bertsmith.nn.positions import Learned
from bertsmith.objectives.replaced import Detect, ReplacedTokens, Restore, RestoreOrCopy
from bertsmith.recipe import Brief, Corruption, Member, Recipe, Schedule, Training
from bertsmith.recipes.bert import QUICK, bert, quick
from bertsmith.text.halves import Halves

# Layers, width, heads, width of the token table, share of the generator, rate, length, rows, peak.  Table 6 of the paper; the code
# (configure_pretraining.py) has the same.  tiny and mini are ours: a quarter of their width would be too narrow a generator.
SIZES = {
    "tiny": (2, 128, 2, None, 1 / 2, 0.15, 128, 64, 1e-3),
    "mini": (4, 256, 4, 128, 1 / 2, 0.15, 128, 64, 1e-3),
    "small": (12, 256, 4, 128, 1 / 4, 0.15, 128, 128, 5e-4),
    "base": (12, 768, 12, None, 1 / 3, 0.15, 512, 256, 2e-4),
    "large": (24, 1024, 16, None, 1 / 4, 0.25, 512, 2048, 2e-4),
}
# What the second model is asked, and of which tokens.  The paper gives no weight for the last two; 1 is BERT's.
VARIANTS: dict[str, tuple[Detect | Restore | RestoreOrCopy, Literal["all", "asked"]]] = {
    "electra": (Detect(weight=50.0), "all"),
    "electra-15": (Detect(weight=50.0), "asked"),
    "electra-replace": (Restore(weight=1.0), "asked"),
    "electra-all-tokens": (RestoreOrCopy(weight=1.0), "all"),
}


def electra(size: str = "base", variant: str = "electra") -> Recipe:
    layers, width, heads, embedding, share, rate, length, rows, peak = SIZES[size]
    neighbour, (head, judged) = bert("base"), VARIANTS[variant]
    recipe = replace(
        neighbour,
        name=variant,
        layout=Halves(length=length, single=0.1, short=0.05),
        # The code draws with replacement, so that fewer tokens differ than it asks for, and writes the mean of the ids where a place was
        # drawn twice; here every place is drawn once.
        corruption=Corruption(
            select=TokenSpans(rate=rate, rounding="round"),
            rewrite=Sampled(mask=0.85, judged=judged, term=head.name),
        ),
        model=replace(
            neighbour.model,
            layers=layers,
            width=width,
            heads=heads,
            hidden=4 * width,
            embeddings=Summed(width=embedding),
            positions=Learned(length=512),
        ),
        objective=ReplacedTokens(generator=share, share="embeddings", head=head),
        schedule=Schedule(lr=peak, warmup=10_000, eps=1e-6, weight_decay=0.01, clip=1.0, bias_correction=False),
        training=Training(batch=rows * length, checkpoint=5_000, evaluate=5_000, held_out=1_048_576),
    )
    # Twice this rate makes gradients of tiny's two models grow (LOG.md).
    return replace(quick(recipe), brief=Brief(lr=1e-3)) if size in QUICK else recipe


def _member(variant: str, about: str) -> Member:
    sizes = {size: partial(electra, size, variant) for size in SIZES}
    return Member(name=variant, paper="Clark et al. 2020, arXiv:2003.10555", about=about, sizes=sizes)


MEMBERS = (
    _member(
        "electra",
        "hides 15 % of the tokens from a generator, reads its guesses, asks of every token whether it was replaced",
    ),
    _member("electra-15", "ELECTRA that is asked about the hidden 15 % alone"),
    _member("electra-replace", "BERT that reads a generator's guesses in place of [MASK] (replace MLM)"),
    _member(
        "electra-all-tokens", "reads a generator's guesses, asks for every token, with a gate to copy (all-tokens MLM)"
    ),
)
