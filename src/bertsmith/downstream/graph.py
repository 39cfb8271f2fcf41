"""`graph(triples, out)`: vectors of the entities of a knowledge graph by TransE, as a run of the one loop, and how well they rank what is true."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith import files
from bertsmith.config import Settings, override
from bertsmith.data.batch import Vocab
from bertsmith.data.draw import shuffled
from bertsmith.data.text import Text
from bertsmith.data.triples import TripleSplit
from bertsmith.errors import InputError, printable
from bertsmith.recipe import Recipe
from bertsmith.recipes.transe import transe
from bertsmith.spelling import amount, option
from bertsmith.text.entities import NAMES, VECTORS
from bertsmith.text.graph import Graph
from bertsmith.training.budget import Budget
from bertsmith.training.distributed import TIMEOUT, World
from bertsmith.training.job import Job, Progress, check_options, silent
from bertsmith.training.log import Journal
from bertsmith.training.run import RANKS, GraphRun

FORMAT = 1
EPOCHS = 200  # unless something else is asked for
DEV = 500  # triples that an exam ranks
OPTIONS = ("epochs", "steps", "minutes")
SAME = ("data", "recipe", "seed")


def graph(
    triples: str | Path,
    out: str | Path,
    *,
    dev: str | Path | None = None,
    test: str | Path | None = None,
    epochs: float | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    set: Settings = (),
    seed: int = 0,
    workers: int = 0,
    threads: int | None = None,
    device: str | None = None,
    resume: bool = False,
    tensorboard: bool = False,
    shard: str = "ddp",
    timeout: float = TIMEOUT,
    say: Callable[[str], None] = silent,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Learn vectors of the entities in `triples` (text/graph.py: head, relation, tail a line) into the run folder `out`.

    OUT/vectors.npy and OUT/entities.txt are what `prepare --entity-vectors OUT` reads: of the best step by the mean inverse rank of
    `dev`, or of the last.  `test`: ranked at the end.  Ranks are filtered: entities that make another true triple, of any of the three
    files, do not count.  How long: one of `epochs`, `steps`, `minutes`; none is 200 epochs.  `set`: fields of the recipe
    (recipes/transe.py): {"model.width": 50}.  Resumes, and is shared by many processes, as `pretrain` is.  {run, steps, evaluation, best, test}.
    InputError before anything is written.
    """
    begun, asked = time.monotonic(), Budget(epochs=epochs, steps=steps, minutes=minutes)
    with World.join(device, timeout) as world:
        say, progress = (say, progress) if world.first else (silent, silent)
        run, journal = GraphRun(out), Journal(say)
        with world.agreed():
            check_options(shard, tensorboard)
            asked.check_given(OPTIONS)
            if world.first:
                run.check_free(resume)
            found = Graph.read({"train": triples, "dev": dev, "test": test})
            recipe = sized(override(transe(), set), found)
        for line in told(found):
            journal.say(line)
        from bertsmith.downstream.graph_ranks import Known, Ranked
        from bertsmith.training.learn import learn  # torch is loaded here, when what is cheap to refuse has been
        from bertsmith.training.processes import own_device

        place, parts = own_device(device), tokens_of(found)
        known = Known(np.concatenate(list(parts.values())))
        exam = Ranked(some_of(parts["dev"]), known, recipe.training.evaluate) if "dev" in parts else None
        job = Job(
            run=run,
            recipe=recipe,
            feed=feed_of(parts["train"], recipe, found, seed),
            seed=seed,
            kept={"kind": run.kind, "data": said_of(found, {"train": triples, "dev": dev, "test": test})},
            same=SAME,
            tokenizer=json.dumps({"entities": found.entities, "relations": found.relations}).encode() + b"\n",
            exam=exam,
            workers=workers,
        )
        how = {"threads": threads, "resume": resume, "tensorboard": tensorboard, "shard": shard, "progress": progress}
        result = learn(
            job, world, journal, place, asked, options=OPTIONS, default=Budget(epochs=EPOCHS), begun=begun, **how
        )
        with world.agreed():
            ended = world.tell(
                _finish(run, recipe, result, found, parts.get("test"), known, say) if world.first else None
            )
    return {**result, **ended}


def sized(recipe: Recipe, found: Graph) -> Recipe:
    """With as many vectors as the graph has names."""
    entities = len(found.entities)
    if entities < 2:
        raise InputError("graph: a single entity; nothing could stand in its place")
    model = replace(recipe.model, vocab=entities + len(found.relations), unit=entities)
    return replace(recipe, model=model)


def feed_of(triples: np.ndarray, recipe: Recipe, found: Graph, seed: int) -> Text:
    """Triples are short texts of three tokens: what plans, deals and resumes these does it for them."""
    vocab = Vocab(size=recipe.model.vocab, pad=0, unk=0, cls=0, sep=0, mask=0, special=())
    vocab = vocab.linked(len(found.entities), recipe.model.width)
    training = recipe.training
    options = {"seed": seed, "batch": training.batch, "share": training.corpus}
    return Text(TripleSplit(triples), recipe.layout, recipe.corruption, vocab, **options)


def tokens_of(found: Graph) -> dict[str, np.ndarray]:
    """Relations behind the entities."""
    behind = np.array([0, len(found.entities), 0])
    return {part: triples + behind for part, triples in found.parts.items()}


def some_of(triples: np.ndarray) -> np.ndarray:
    """At most DEV of them, the same ones each time."""
    return triples[np.sort(shuffled(0, 0, len(triples))[:DEV])]


def told(found: Graph) -> list[str]:
    counts = ", ".join(f"{part} {len(triples):,}" for part, triples in found.parts.items())
    entities, relations = amount(len(found.entities), "entity", "entities"), amount(len(found.relations), "relation")
    lines = [f"{entities}, {relations}; triples: {counts}"]
    if found.repeated:
        lines.append(
            f"{amount(found.repeated, 'triple stands', 'triples stand')} twice in the training file, read once"
        )
    if found.unseen:
        names = amount(found.unseen, "name stands", "names stand")
        lines.append(f"warning: {names} in no triple of the training file: nothing is learned of them")
    return lines


def said_of(found: Graph, paths: dict[str, Any]) -> dict[str, Any]:
    """What config.json says of the files."""
    return {
        "entities": len(found.entities),
        "relations": len(found.relations),
        "files": {
            part: {"triples": len(found.parts[part]), "sha256": files.sha256(paths[part])} for part in found.parts
        },
    }


def _finish(
    run: GraphRun, recipe: Recipe, result: dict[str, Any], found: Graph, test: Any, known: Any, say: Callable
) -> dict[str, Any]:
    """Write the vectors of the step that counts, and what the test file says of it."""
    import torch

    from bertsmith.downstream.graph_ranks import ranks, said, scores
    from bertsmith.nn.member import blank
    from bertsmith.training.checkpoint import load_step
    from bertsmith.training.saving import load_weights

    step = result.get("best") or result["steps"]
    saved, member = load_step(run, step), blank(recipe)
    load_weights(member, saved.weights, str(saved.path))
    ended: dict[str, Any] = {"test": None}
    if test is not None:
        ended["test"] = scores(ranks(member, test, known))
        say(f"{amount(len(test), 'test triple')}: {said(ended['test'])}")
    with torch.no_grad():
        vectors = member.model.vectors(torch.arange(recipe.model.unit)).numpy()
    data = io.BytesIO()
    np.save(data, vectors.astype("<f4"), allow_pickle=False)
    files.write(run / VECTORS, data.getvalue())
    files.write(run / NAMES, "".join(f"{name}\n" for name in found.entities).encode())
    listed = files.listing(run.path, (VECTORS, NAMES))
    files.write(run / RANKS, files.sealed({"format": FORMAT, "kind": "graph", "step": step, **ended, "files": listed}))
    say(
        f"{printable(run / VECTORS)}: {amount(len(vectors), 'vector')} of {recipe.model.width} numbers, those of step {step}; {option('entity_vectors', run.path)} of prepare reads them"
    )
    return ended
