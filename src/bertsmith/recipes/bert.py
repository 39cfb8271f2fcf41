"""BERT (Devlin et al. 2019, arXiv:1810.04805): masked tokens from both sides, and whether B really follows A."""

from dataclasses import replace
from functools import partial

from bertsmith.data.rewrite import InPlace
from bertsmith.data.select import Tokens as TokenSpans
from bertsmith.nn.embeddings import Summed
from bertsmith.nn.positions import Learned
from bertsmith.nn.transformer import TransformerConfig
from bertsmith.objectives.predict import Pair, Predict, Tokens
from bertsmith.recipe import Brief, Corruption, Member, Recipe, Schedule, Training
from bertsmith.text.layout import SegmentPairs

# Layers, width and heads; the feed-forward part is four widths.  Base and large: section 3 of the paper; the others:
# Turc et al. 2019 (arXiv:1908.08962), table 1.
SIZES = {
    "tiny": (2, 128, 2),
    "mini": (4, 256, 4),
    "small": (4, 512, 8),
    "medium": (8, 512, 8),
    "base": (12, 768, 12),
    "large": (24, 1024, 16),
}
QUICK = ("tiny", "mini")  # sizes for one machine and minutes: short rows, small batches, no dropout


def bert(size: str = "base") -> Recipe:
    layers, width, heads = SIZES[size]
    recipe = Recipe(
        name="bert",
        tokenizer="wordpiece:30522",
        layout=SegmentPairs(length=512, short=0.1),
        corruption=Corruption(select=TokenSpans(rate=0.15, rounding="round"), rewrite=InPlace(mask=0.8, random=0.1)),
        model=TransformerConfig(
            vocab=30522,
            layers=layers,
            width=width,
            heads=heads,
            hidden=4 * width,
            dropout=0.1,
            embeddings=Summed(segments=2),
            positions=Learned(length=512),
        ),
        objective=Predict(heads=(Tokens(), Pair())),
        # 256 rows of 512 tokens; Adam without bias correction, as the released code has it (the paper does not say).
        schedule=Schedule(lr=1e-4, warmup=10_000, eps=1e-6, weight_decay=0.01, clip=1.0, bias_correction=False),
        training=Training(batch=131_072, checkpoint=5_000, evaluate=5_000, held_out=1_048_576),
    )
    return quick(recipe) if size in QUICK else recipe


def quick(recipe: Recipe, lr: float = 1e-3) -> Recipe:
    """The same member for hours on one machine: rows of 128 tokens, 8,192 tokens an update, no dropout; for minutes: `brief` (LOG.md, rates)."""
    return replace(
        recipe,
        layout=replace(recipe.layout, length=128),
        model=replace(recipe.model, dropout=0.0),
        schedule=replace(recipe.schedule, lr=lr, warmup=0.1, betas=(0.9, 0.98), clip=1.0, bias_correction=True),
        training=Training(),
        brief=Brief(lr=2e-3 if recipe.model.width <= 128 else 1e-3),
    )


MEMBERS = (
    Member(
        name="bert",
        paper="Devlin et al. 2019, arXiv:1810.04805",
        about="hides 15 % of the tokens, sees both sides, asks for them and for the order of two segments",
        sizes={size: partial(bert, size) for size in SIZES},
    ),
)
