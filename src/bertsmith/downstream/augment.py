"""More rows of a labelled file by a masked model: words are replaced by what the model expects in their place (Jiao et al. 2020, algorithm 1).

A word that is one token is hidden, alone, and what stands in its place is drawn from the likeliest words; a word of several tokens, which
TinyBERT replaces by a near one among GloVe's vectors, stays.  w words of a text that can be replaced, k candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith import files
from bertsmith.data.draw import hashed
from bertsmith.downstream.model import Loaded, opened
from bertsmith.downstream.outputs import check_apart, check_file
from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, option
from bertsmith.tasks.given import source
from bertsmith.tasks.lines import check_there
from bertsmith.tasks.readers import parse_columns, read, say_notes
from bertsmith.tasks.sequences import Builder
from bertsmith.text.encodings import UTF8, checked


def augment(
    model: str | Path | Loaded,
    input: Any,
    out: str | Path,
    *,
    samples: int = 20,
    rate: float = 0.4,
    top: int = 15,
    columns: str | Mapping[str, str | int] | None = None,
    header: bool = True,
    encoding: str = UTF8,
    seed: int = 0,
    base: str | Path | Loaded | None = None,
    members: tuple[str, ...] = (),
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Write the rows of `input` to `out` (JSON lines: text, text2, label), each followed by up to `samples` rewritten ones with its label; returns
    `{out, rows, written, alike}`: how many were read and written, and how many samples were left out because they stood there already.

    In a sample every word that can be is replaced with probability `rate`, by one of the `top` likeliest words.  InputError for a model that
    fills no masks.
    """
    for name, value, fits in (("samples", samples, samples > 0), ("top", top, top > 0), ("rate", rate, 0 < rate <= 1)):
        if not fits:
            raise InputError(
                f"{option(name, value)}: "
                + ("a share above 0, at most 1" if name == "rate" else "expected a number from 1")
            )
    checked(encoding)
    if isinstance(input, (str, Path)):
        check_there(input)
    check_apart(out, input)
    if Path(out).suffix != ".jsonl":
        raise InputError(f"{option('out', out)}: lines of JSON are written; name it so, such as more.jsonl")
    check_file(Path(out), "more.jsonl")
    given = source(input, "input", parse_columns(columns))
    table = read(given, columns=getattr(given, "columns", None) or columns, header=header, encoding=encoding)
    say_notes(table, say)
    loaded = opened(model, members=members, say=say, base=base)
    if "token" not in loaded.member.weights() or loaded.reading().causal or loaded.recipe.model.decodes:
        raise InputError(
            f"{printable(loaded.run)}: fills no masks, and so replaces no words; a masked model with a token head does"
        )
    rows, alike = [], 0
    for i in range(len(table)):
        found, twice = _of_row(loaded, table, i, samples, rate, top, seed)
        rows += found
        alike += twice
    files.write_rows(Path(out), rows)
    left = f"; {amount(alike, 'sample')} stood there already" if alike else ""
    say(f"{printable(out)}: {amount(len(table), 'row')} of {printable(table.path)} became {len(rows):,}{left}")
    return {"out": str(out), "rows": len(table), "written": len(rows), "alike": alike}


def _of_row(
    loaded: Loaded, table: Any, i: int, samples: int, rate: float, top: int, seed: int
) -> tuple[list[dict[str, Any]], int]:
    """The row itself and what was made of it."""
    roles = [role for role in ("text", "text2") if role in table.columns]
    row = {role: values[i] for role, values in table.columns.items()}
    spots = {role: replaceable(loaded, row[role], top) for role in roles}
    found = [row]
    for sample in range(samples):
        new = dict(row)
        for number, role in enumerate(roles):
            new[role] = rewritten(row[role], spots[role], rate, hashed(seed, "augment", i, sample, number)[0])
        if new not in found:
            found.append(new)
    return found, samples + 1 - len(found)


@dataclass(frozen=True)
class Spot:
    """A word in a text, and what may stand there."""

    begin: int
    end: int
    words: list[str]


def rewritten(text: str, spots: list[Spot], rate: float, key: np.uint64) -> str:
    """The text with each of its spots, with probability `rate`, taken by one of its words."""
    draws = hashed(int(key), "spot", np.arange(2 * len(spots))) >> np.uint64(11)
    share = draws.astype(np.float64) * 2.0**-53
    pieces, at = [], 0
    for spot, (change, which) in zip(spots, share.reshape(-1, 2).tolist(), strict=True):
        if change < rate:
            pieces += [text[at : spot.begin], spot.words[int(which * len(spot.words))]]
            at = spot.end
    return "".join([*pieces, text[at:]])


def replaceable(loaded: Loaded, text: str, top: int) -> list[Spot]:
    """The words of a text that are one token, and the likeliest others there; of a text that is too long the part that the model reads."""
    tokenizer, reading = loaded.tokenizer, loaded.reading()
    ((ids, starts),) = tokenizer.encode([text])
    ((same, spans),) = tokenizer.located([text])
    if not np.array_equal(ids, same):
        return []
    room = min(reading.length, loaded.recipe.model.longest or reading.length) - reading.specials
    alone = starts & np.append(starts[1:], True)
    at = [int(j) for j in np.flatnonzero(alone) if j < room and text[spans[j, 0] : spans[j, 1]].isalnum()]
    if not at:
        return []
    found = zip(at, _likeliest(loaded, ids[:room], at, top), strict=True)
    spots = (Spot(int(spans[j, 0]), int(spans[j, 1]), words) for j, words in found)
    return [spot for spot in spots if spot.words]


def _likeliest(loaded: Loaded, ids: np.ndarray, at: list[int], top: int) -> Iterator[list[str]]:
    """For each place, hidden alone, up to `top` words that are not the one that stands there; all places in one pass."""
    import torch

    builder = Builder(vocab=loaded.vocab, reading=loaded.reading(), pairs=False)
    for number, place in enumerate(at):
        hidden = ids.copy()
        hidden[place] = loaded.vocab.mask
        builder.add(number, hidden)
    encoded = builder.encoded(len(at))
    stream = encoded.batch(np.arange(len(at))).input.to(loaded.device)
    begins = np.cumsum([0, *stream.lengths])[:-1]
    reading = loaded.reading()
    places = torch.from_numpy(begins + reading.lead - reading.before + np.array(at)).to(loaded.device)
    with torch.no_grad(), loaded.exact.policy():
        logits = loaded.member.eval().objective.logits(loaded.member.model, stream, places)  # type: ignore[operator, union-attr]
    order = logits[:, : loaded.vocab.size].argsort(dim=-1, descending=True, stable=True)[:, : 4 * top + 8].cpu().numpy()
    for place, row in zip(at, order, strict=True):
        names = (loaded.tokenizer.shown(int(i)) for i in row if i != ids[place] and i not in loaded.vocab.special)
        yield [name for name in names if name.isalnum()][:top]
