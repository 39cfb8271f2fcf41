"""How well a model's vectors find texts: a corpus, queries, and which texts are relevant to which query, in BEIR's files.

corpus and queries: JSON lines with `_id` and `text`, of a corpus also `title`, which stands before the text.  relevant: tab-separated
`query-id`, `corpus-id`, `score` below a header (or TREC's four columns without one); above 0 is relevant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith.downstream.embed import embed
from bertsmith.downstream.model import Loaded, check_model, opened
from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, option
from bertsmith.tasks import metrics, ranking
from bertsmith.tasks.lines import Lines, check_there
from bertsmith.tasks.readers import json_object
from bertsmith.tasks.reading import OnLong

Say = Callable[[str], None]
ASKING, ASKED = ("query",), ("document", "passage", "corpus")  # names of prompts, where an encoder has some


def retrieval(
    model: str | Path | Loaded,
    given: Mapping[str, str | Path | None],
    *,
    on_long: OnLong | None = None,
    seed: int = 0,
    members: tuple[str, ...] = (),
    say: Say = lambda line: None,
) -> dict[str, metrics.Score]:
    """{score: {value, low, high}} over the queries that have a relevant text, resampled by query; at each size that the model was tuned to.

    Vectors are compared by their cosine; a text with the query's own id is left out of its ranking, as BEIR does.  InputError naming file and line.
    """
    for name, path in given.items():
        if path is None:
            raise InputError(f"{option(name)}: is missing; corpus, queries and relevant go together")
        check_there(path)
    if not isinstance(model, Loaded):
        check_model(model)
    corpus, queries = (texts(Path(str(given[name])), title=name == "corpus") for name in ("corpus", "queries"))
    judged = judgements(Path(str(given["relevant"])), queries, corpus)
    say(
        f"{len(judged):,} of {amount(len(queries), 'query', 'queries')} with {amount(sum(map(len, judged.values())), 'relevant text')} among {len(corpus):,}"
    )
    loaded = opened(model, members=members, say=say)
    says = loaded.vectors
    made = {}
    for part, chosen, names in (("queries", [*judged], ASKING), ("corpus", [*corpus], ASKED)):
        prompts = says.get("prompts") or {}
        prompt = next((name for name in names if name in prompts), None)
        held = queries if part == "queries" else corpus
        made[part] = embed(
            loaded, [held[name] for name in chosen], prompt=prompt, on_long=on_long or "truncate", say=_about(part, say)
        )
    place = {name: i for i, name in enumerate(corpus)}
    relevant = [{place[name]: score for name, score in own.items()} for own in judged.values()]
    but = [place[name] if name in place and name not in own else -1 for name, own in judged.items()]
    width = made["corpus"].shape[1]
    values: dict[str, np.ndarray] = {}
    for size in (width, *says.get("sizes", ())):
        found = ranking.first(made["queries"][:, :size], made["corpus"][:, :size], but)
        end = "" if size == width else f"_{size}"
        values |= {f"{name}{end}": each for name, each in ranking.measured(found, relevant).items()}
    every = np.ones(len(judged))
    figures = lambda weights: {name: metrics.mean_of(weights, each, every) for name, each in values.items()}
    return metrics.scored(figures, len(judged), seed)


def _about(part: str, say: Say) -> Say:
    return lambda line: say(line.replace("texts:", f"{part}:", 1))


def texts(path: Path, title: bool) -> dict[str, str]:
    """{id: text} of a file of JSON lines; InputError for rows without them, and for an id that stands twice."""
    lines, found = Lines(path, "utf-8"), {}
    for number, line in lines:
        if not line.strip():
            continue
        where = lines.at(number)
        row = json_object(line, where)
        name, text = row.get("_id"), row.get("text")
        if not isinstance(name, (str, int)) or isinstance(name, bool) or not isinstance(text, str):
            missing = "text" if isinstance(name, (str, int)) else "_id"
            raise InputError(f'{where}: {missing}: is missing or no text; rows are {{"_id": "…", "text": "…"}}')
        if str(name) in found:
            raise InputError(f"{where}: _id: {printable(str(name), 60)} stands twice")
        before = row.get("title") if title else None
        whole = f"{before} {text}" if isinstance(before, str) and before.strip() else text
        if not whole.strip():
            raise InputError(f"{where}: text: is empty; leave it out")
        found[str(name)] = whole.strip()
    if not found:
        raise InputError(f"{printable(path)}: holds no rows")
    return found


def judgements(path: Path, queries: Mapping[str, Any], corpus: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """{query: {text: judgement above 0}}, of queries that have one, in the file's order."""
    lines = Lines(path, "utf-8")
    found: dict[str, dict[str, float]] = {}
    for number, line in lines:
        if not line.strip():
            continue
        cells, where = line.split("\t") if "\t" in line else line.split(), lines.at(number)
        cells = [cells[0], *cells[2:]] if len(cells) == 4 else cells
        if len(cells) != 3:
            raise InputError(
                f"{where}: {amount(len(cells), 'column')}; query-id, corpus-id and score are wanted, parted by tabs"
            )
        query, text, score = (cell.strip() for cell in cells)
        try:
            judged = float(score)
        except ValueError:
            if number == 1:  # the header
                continue
            raise InputError(f"{where}: score: {printable(score, 60)!r} is not a number") from None
        for name, known, role in ((query, queries, "queries"), (text, corpus, "corpus")):
            if name not in known:
                raise InputError(f"{where}: {printable(name, 60)!r} is not an _id of {option(role)}")
        if judged > 0:
            found.setdefault(query, {})[text] = judged
    if not found:
        raise InputError(f"{printable(path)}: no query has a relevant text (a score above 0)")
    return found
