"""Audio BERT (Mockingjay, Liu et al. 2020, arXiv:1910.12638): runs of frames hidden, each frame restored from both sides.

Audio ALBERT (Chi et al. 2021, arXiv:2005.08575) has one layer's weights at every depth; Speech-XLNet (Song et al. 2020,
arXiv:1910.10387) asks for the same runs in a random order, by places that only ask.
"""

from dataclasses import replace
from functools import partial

from bertsmith.audio.layout import Utterances
from bertsmith.data.blanked import Blanked
from bertsmith.data.permuted import Permuted
from bertsmith.data.runs import Runs
from bertsmith.nn.embeddings import Frames
from bertsmith.nn.positions import Sinusoid
from bertsmith.nn.transformer import TransformerConfig
from bertsmith.objectives.frames import Frames as FrameHead
from bertsmith.objectives.predict import Predict
from bertsmith.recipe import Corruption, Member, Recipe, Schedule, Training

# Layers, width, heads; the feed-forward part is four widths.  Base and large: section 3.3 of Mockingjay; tiny and mini are BERT's.
SIZES = {"tiny": (2, 128, 2), "mini": (4, 256, 4), "base": (3, 768, 12), "large": (12, 768, 12)}
MELS = 80
STACK = 3  # frames that base and large read as one


def audio_bert(size: str = "base", stack: int = 1) -> Recipe:
    layers, width, heads = SIZES[size]
    recipe = Recipe(
        name="audio-bert",
        tokenizer="log-mel:80",
        layout=Utterances(length=1500 // stack, stack=stack),  # 15 s
        # Runs of 7 frames; of stacked ones 3, which still are more than a place shows (the released configurations).
        corruption=Corruption(
            select=Runs(rate=0.15, length=7 if stack == 1 else 3), rewrite=Blanked(blank=0.8, moved=0.1)
        ),
        model=TransformerConfig(
            vocab=MELS * stack,
            layers=layers,
            width=width,
            heads=heads,
            hidden=4 * width,
            dropout=0.1,
            embeddings=Frames(),
            positions=Sinusoid(),
        ),
        objective=Predict(heads=(FrameHead(),), pooler="none"),
        # 500,000 updates; Adam at 4e-4, 7 % of them warm-up, the norm of the gradient up to 5.  Batches of 36 utterances, of 12 s here.
        schedule=Schedule(lr=4e-4, warmup=0.07, eps=1e-6, weight_decay=0.01, clip=5.0),
        training=Training(batch=36 * 1200 // stack, checkpoint=5_000, evaluate=5_000, held_out=1_048_576 // stack),
    )
    if size not in ("tiny", "mini"):
        return recipe
    return replace(
        recipe,
        layout=replace(recipe.layout, length=400 // stack),
        model=replace(recipe.model, dropout=0.0),
        schedule=replace(recipe.schedule, lr=1e-3, warmup=0.1, betas=(0.9, 0.98), clip=1.0),
        training=Training(batch=4096 // stack),
    )


def audio_albert(size: str = "base", stack: int = 1) -> Recipe:
    recipe = audio_bert(size, stack)
    return replace(recipe, name="audio-albert", model=replace(recipe.model, share="all"))


def audio_xlnet(size: str = "base", stack: int = 1) -> Recipe:
    recipe = audio_bert(size, stack)
    return replace(
        recipe,
        name="audio-xlnet",
        corruption=replace(recipe.corruption, rewrite=Permuted()),
        model=replace(recipe.model, embeddings=Frames(asks=True)),
        objective=Predict(heads=(FrameHead(loss="huber"),), pooler="none"),
    )


def sizes(build):
    """Those of `SIZES`, and the published ones with stacked frames."""
    return {size: partial(build, size) for size in SIZES} | {
        f"{size}-{STACK}": partial(build, size, STACK) for size in ("base", "large")
    }


MEMBERS = (
    Member(
        name="audio-bert",
        paper="Liu et al. 2020, arXiv:1910.12638",
        about="hides runs of 7 frames of sound, 15 % of them, sees both sides, asks for the frames",
        sizes=sizes(audio_bert),
    ),
    Member(
        name="audio-albert",
        paper="Chi et al. 2021, arXiv:2005.08575",
        about="audio-bert with one layer's weights at every depth",
        sizes=sizes(audio_albert),
    ),
    Member(
        name="audio-xlnet",
        paper="Song et al. 2020, arXiv:1910.10387",
        about="hides nothing of a sound; asks for runs of frames in a random order, each from the rest and from what comes before it in that order",
        sizes=sizes(audio_xlnet),
    ),
)
