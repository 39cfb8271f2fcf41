"""ERNIE 2.0 (Sun et al. 2020, arXiv:1907.12412): tasks of three kinds over one text, added one by one while the earlier ones go on.

Word-aware: knowledge masking (ERNIE 1.0's units), capital letters, and whether a token stands elsewhere in its document.  Structure-aware: the
order of up to three pieces of a text, and how far apart two sentences stand.  Semantic-aware: what joins two sentences, by connectives
that were taken out.  Its seventh task, whether a title answers a query, needs the log of a search engine: where rows of it are given, `multitask` adds it
as the last stage.

`mixture.shares.order`: "added" is the paper's; "turns" one task after the other and "together" all from the start are what it compares with.
The store is prepared with `--phrases`, `--entities`, `--capitals` and, for capitals to be a question, `--lowercase`.
"""

from dataclasses import replace
from functools import partial
from typing import Any

from bertsmith.data.mixture import Curriculum
from bertsmith.data.noise import Nothing
from bertsmith.data.told import Noted, Related, Reordered, orders
from bertsmith.nn.tasked import Tasked
from bertsmith.objectives.mixed import Mixed, Part
from bertsmith.objectives.predict import Pair, Predict, TokenClasses, Tokens
from bertsmith.recipe import Asked, Corruption, Member, Recipe, Schedule, Several
from bertsmith.recipes.bert import QUICK, SIZES, quick
from bertsmith.recipes.ernie1 import ernie1
from bertsmith.text.distances import Distances, Joined
from bertsmith.text.layout import DocSentences
from bertsmith.text.recurring import Recurring

PIECES = 3  # of a text that is put into another order


def ernie2(size: str = "base") -> Recipe:
    neighbour = ernie1(size)
    length = neighbour.layout.length
    tasks: dict[str, tuple[Any, Any, Any]] = {
        "capital": (DocSentences(length=length), Noted(asks="capital", note="capital"), TokenClasses(name="capital")),
        "relation": (Recurring(length=length), Noted(asks="relation", note="recurs"), TokenClasses(name="relation")),
        "reorder": (
            DocSentences(length=length),
            Reordered(asks="reorder", pieces=PIECES),
            Pair(name="reorder", classes=orders(PIECES)),
        ),
        "distance": (Distances(length=length), Related(asks="distance"), Pair(name="distance", classes=3)),
        "discourse": (Joined(length=length), Related(asks="discourse"), Pair(name="discourse", classes=4)),
    }
    feeds = tuple(
        Asked(name=name, layout=layout, corruption=Corruption(select=Nothing(), rewrite=rewrite, task=number))
        for number, (name, (layout, rewrite, _)) in enumerate(tasks.items(), 1)
    )
    own = [Part(feed=name, objective=Predict(heads=(head,))) for name, (*_, head) in tasks.items()]
    recipe = replace(
        neighbour,
        name="ernie2",
        tokenizer="wordpiece:30522",
        layout=DocSentences(length=length),
        model=replace(neighbour.model, embeddings=Tasked(tasks=7)),
        objective=Mixed(parts=(Part(feed="knowledge", objective=Predict(heads=(Tokens(),))), *own)),
        mixture=Several(main="knowledge", feeds=feeds, shares=Curriculum(order="added")),
        # Section 5.1.2: Adam with betas 0.9 and 0.98, batches of 393,216 tokens; 5e-5 (base), 3e-5 (large), warm-up over 4,000 updates, Noam's decay.
        schedule=Schedule(
            lr=3e-5 if size == "large" else 5e-5,
            warmup=4000,
            betas=(0.9, 0.98),
            eps=1e-6,
            weight_decay=0.01,
            decay="inverse",
        ),
        training=replace(neighbour.training, batch=393_216),
    ).with_vocab(30_522)
    return quick(recipe) if size in QUICK else recipe


MEMBERS = (
    Member(
        name="ernie2",
        paper="Sun et al. 2020, arXiv:1907.12412",
        about="hides tokens, phrases and entities and asks for them; asks for capital letters, tokens that recur, the order of pieces, how far apart two sentences stand and what joins them",
        sizes={size: partial(ernie2, size) for size in SIZES},
    ),
)
