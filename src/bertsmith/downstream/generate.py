"""What a model writes: after a text (a language model), or about it (a decoder, or an encoder that learned to): `generate`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith import files
from bertsmith.downstream.model import Loaded, check_model, opened
from bertsmith.downstream.outputs import check_apart, check_lines
from bertsmith.downstream.predict import rows_of
from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, option
from bertsmith.tasks import kinds
from bertsmith.tasks.given import source
from bertsmith.tasks.lines import check_there
from bertsmith.tasks.readers import parse_columns, read, say_notes
from bertsmith.tasks.reading import OnLong
from bertsmith.tasks.table import Table
from bertsmith.text import unknown

Columns = str | Mapping[str, str | int] | None
Say = Callable[[str], None]
BATCH = 32


def generate(
    model: str | Path | Loaded,
    text: str | None = None,
    *,
    input: Any = None,
    out: str | Path | None = None,
    limit: int = 64,
    beam: int = 1,
    length_penalty: float = 1.0,
    stop: str = "likely",
    no_repeat: int = 0,
    sample: bool = False,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    answers: Any = None,
    batch: int = BATCH,
    columns: Columns = None,
    header: bool = True,
    on_long: OnLong = "error",
    base: str | Path | Loaded | None = None,
    members: tuple[str, ...] = (),
    say: Say = lambda line: None,
    told: Callable[[str], None] | None = None,
) -> Any:
    """`{index, text, score, stopped}` for each text, in order; of a single `text` one such, without index.

    `input`: a file, or rows (tasks/given.py); `out`: the same as JSON lines.  `stopped`: "end", the model ended it, or "limit", so many new
    tokens were written.  `score`: the sum of their log-probabilities, with beams by the number of tokens to the power `length_penalty`.
    The likeliest token each time (greedy), or with `beam` the likeliest text of so many that are followed (`stop`: likely, early, never,
    search.How), or drawn by `sample`: `temperature`, `top_k`, `top_p`, the same by (`seed`, index) whatever the batch.  `no_repeat`: no run of
    so many tokens twice.  `answers`: nothing but one of these texts.  `on_long`: error, or truncate: a language model's text loses its
    beginning, another's its end.  `told` hears a single text as it is written.
    """
    from bertsmith.downstream.search import How

    how = How(
        limit=limit,
        beam=beam,
        length_penalty=length_penalty,
        stop=stop,  # type: ignore[arg-type]
        no_repeat=no_repeat,
        sample=sample,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
    )
    if (text is None) == (input is None):
        raise InputError(
            f"generate: give {option('text', like='T')}, or {option('input', like='FILE')}, texts to go on with"
        )
    if on_long not in ("error", "truncate"):
        raise InputError(f"{option('on_long', on_long)}: expected error or truncate")
    if batch < 1:
        raise InputError(f"{option('batch', batch)}: at least 1 text at a time")
    if isinstance(input, (str, os.PathLike)):
        check_there(input)
        check_apart(out, input)
    there = out is not None and check_lines(Path(out), "written.jsonl")
    if not isinstance(model, Loaded):
        check_model(model)
    loaded = opened(model, members=members, say=say, base=base)
    table = None if input is None else _table(loaded, input, columns, header, say)
    given = [text] if table is None else table.columns["text"]
    from bertsmith.downstream.writers import Writers

    writers = Writers(loaded, how, on_long=on_long, answers=answers)
    name = "the text" if table is None else printable(table.path)
    texts = writers.read(given)
    unknown.tell(
        unknown.of_texts(loaded.tokenizer, np.concatenate([np.zeros(0, np.int32), *texts]), lambda: given), name, say
    )
    where = (lambda i: "the text") if table is None else table.where
    rows = writers.write(texts, where, batch, say, told if table is None else None)
    found = [{"index": i, **row} for i, row in enumerate(rows)]
    if out is not None:
        files.write_rows(Path(out), found)
        say(f"{amount(len(found), 'row')} written to {printable(out)}" + ", in place of what stood there" * there)
    return rows[0] if table is None else found


def _table(loaded: Loaded, input: Any, columns: Columns, header: bool, say: Say) -> Table:
    """Texts to write after or about; of a fine-tuned model as its task reads them, by its template."""
    task = loaded.task and kinds.of_task(loaded.task)
    if task and task.writes:
        return rows_of(loaded, task, input, columns, None if header else False, None, say, labelled=False)
    given = source(input, "input", parse_columns(columns))
    table = read(given, columns=getattr(given, "columns", None) or columns, header=header)
    say_notes(table, say)
    return table
