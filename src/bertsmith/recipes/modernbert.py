"""ModernBERT (Warner et al. 2024, arXiv:2412.13663) and the encoders of Ettin (Weller et al. 2025, arXiv:2507.11412): masked tokens alone, norms
before each part, no biases, rotary positions, gates, and layers that see a window between those that see all.

Ettin's sizes 150m and 400m have the shapes of ModernBERT's base and large, and schedules of their own.  Where paper and configuration differ
(the norms' eps; Ettin's table prints 1e-12) the configuration's is followed.
"""

from dataclasses import replace
from functools import partial

from bertsmith.data.ramps import Ramps
from bertsmith.data.rewrite import InPlace
from bertsmith.data.select import Tokens as TokenSpans
from bertsmith.nn.attending import Local
from bertsmith.nn.blocks import PreNorm
from bertsmith.nn.embeddings import Summed
from bertsmith.nn.feedforward import Gated
from bertsmith.nn.norms import LayerNorm
from bertsmith.nn.rotary import Rotary
from bertsmith.nn.transformer import TransformerConfig
from bertsmith.objectives.predict import Predict, Tokens
from bertsmith.recipe import Corruption, Member, Recipe, Schedule, Training
from bertsmith.recipes.bert import QUICK, quick
from bertsmith.text.layout import DocSentencesOfBert

ROWS = 50368  # 50,280 tokens of a byte-level BPE, special ones, and rows to spare
# Layers, width, heads, hidden; peak rate, weight decay, tokens of warm-up and of the part in which updates grow.  ModernBERT: table 3 and
# appendix A of its paper; Ettin: its table of sizes and its configurations.
SIZES = {
    "tiny": (2, 128, 2, 192, 8e-4, 1e-5, 3e9, 50e9),
    "mini": (4, 256, 4, 384, 8e-4, 1e-5, 3e9, 50e9),
    "base": (22, 768, 12, 1152, 8e-4, 1e-5, 3e9, 50e9),
    "large": (28, 1024, 16, 2624, 5e-4, 1e-5, 2e9, 10e9),
    "17m": (7, 256, 4, 384, 3e-3, 3e-4, 4e9, 125e9),
    "32m": (10, 384, 6, 576, 3e-3, 3e-4, 4e9, 100e9),
    "68m": (19, 512, 8, 768, 3e-3, 3e-4, 3e9, 75e9),
    "150m": (22, 768, 12, 1152, 8e-4, 1e-5, 3e9, 50e9),
    "400m": (28, 1024, 16, 2624, 5e-4, 1e-5, 2e9, 10e9),
}
LENGTH = 1024  # of the first 1.7 trillion tokens; of the last 300 billion 8,192
# Sequences of an update, the first and those behind the part in which they grow by the first's.
BATCH = {"large": (448, 4928), "400m": (448, 4928)}
USUAL = 768, 4608


def modernbert(size: str = "base") -> Recipe:
    layers, width, heads, hidden, peak, decay, warm, grows = SIZES[size]
    first, whole = BATCH.get(size, USUAL)
    sizes = whole // first - 1  # with as many updates each, half of the whole batch on the mean
    until = round(grows / (whole / 2 * LENGTH))
    ramps = Ramps(batch=first / whole, batch_until=until, batch_sizes=sizes)
    recipe = Recipe(
        name="modernbert",
        tokenizer=f"bpe:{ROWS}",
        layout=DocSentencesOfBert(length=LENGTH),
        corruption=Corruption(
            select=TokenSpans(rate=0.3, rounding="probabilistic"),
            rewrite=InPlace(mask=0.8, random=0.1, avoid_special=True),
        ),
        model=TransformerConfig(
            vocab=ROWS,
            layers=layers,
            width=width,
            heads=heads,
            hidden=hidden,
            dropout=0.0,
            embeddings=Summed(segments=0),
            positions=Rotary(
                theta=10_000.0, local=10_000.0
            ),  # while rows are short; 160,000 in global layers for rows of 8,192
            block=PreNorm(first=False, by_depth=True, dropout_mixed=0.1),
            norm=LayerNorm(eps=1e-5, bias=False),
            attention=Local(bias=False, window=64, every=3),
            feedforward=Gated(bias=False),
        ),
        objective=Predict(heads=(Tokens(dense_bias=False),), pooler="transform"),
        # Its decay of 1e-5 is a share of the rate over its peak.  The last 50 billion of 2 trillion tokens cool down.
        schedule=Schedule(
            optimizer="stable-adamw",
            lr=peak,
            warmup=ramps.within(warm / (whole * LENGTH)),
            decay="wsd",
            cooldown=0.025,
            final=0.001,
            betas=(0.9, 0.98),
            eps=1e-6,
            weight_decay=decay,
            clip=0.0,  # the optimizer's own
            ramps=ramps,
        ),
        training=Training(batch=whole * LENGTH, checkpoint=1_000, evaluate=1_000, held_out=1_048_576),
    )
    return _quick(recipe) if size in QUICK else recipe


def _quick(recipe: Recipe) -> Recipe:
    """For hours or minutes on one machine, as other members are; no dropout."""
    made = quick(recipe)
    return replace(
        made,
        model=replace(made.model, block=replace(made.model.block, dropout_mixed=None)),
        schedule=replace(made.schedule, cooldown=0.2, final=0.0, clip=0.0, ramps=Ramps()),
    )


MEMBERS = (
    Member(
        name="modernbert",
        paper="Warner et al. 2024, arXiv:2412.13663",
        about="hides 30 % of the tokens, sees both sides, most layers a window; no biases, rotary positions, gates",
        sizes={size: partial(modernbert, size) for size in SIZES},
    ),
)
