"""Examples for people: the text, and in it what is hidden, written over, moved and asked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from bertsmith.spelling import amount
from bertsmith.text.shown import Piece, Shown, joined

LEGEND = (
    "[MASK:x] hidden x · [y<-x] random y written over x · [=x] asked, kept as it is · [x~y] y moved to where x stood · "
    "[k:x] x asked as number k of a random order"
)
NOTED = "[+x] x of which the answer is yes"
WRITTEN = "[x->y] hidden x, for which the generator wrote y"
LINKED = "{x|Q} x is linked to Q, which is given · {x|[MASK:Q]} which is not · {x|[R<-Q]} R is given in its place"
PIECES = "a·b: two pieces of one word"
SIDES = "reads: what the encoder is given · writes: what the decoder is asked for, from left to right"
SEEN = {(1,): "left to right", (-1,): "right to left", (0, 1): "source to target"}


def text(found: Iterable[dict[str, Any]], pairs: tuple[str, ...] = (), people: Shown | None = None) -> Iterator[str]:
    """A line of the terminal at a time.  `pairs`: what each label of a pair says; `people`: how the tokens are written as text (None:
    as they are, a blank between them)."""
    asked, replaced = 0, 0
    for line in found:
        if "summary" in line:
            yield from _table(line["summary"])
            if replaced:
                yield f"the generator wrote another token in {replaced:,} of {amount(asked, 'place')} that it was asked about"
            continue
        written = line["output"] is not None
        if line["index"] == 0:
            legend = [SIDES if written else LEGEND, *([WRITTEN] if "replaced" in line["targets"] else [])]
            legend += [NOTED] if "token" not in line["targets"] and not written else []
            linked = [LINKED] if "entities" in line["input"] else []
            yield " · ".join([*legend, *linked, *([PIECES] if people else [])])
        targets = line["targets"]
        asked, replaced = asked + len(targets.get("token", [])), replaced + len(targets.get("replaced", []))
        yield f"\n{_head(line, pairs)}"
        yield from _sides(line, people) if written else [_marked(line, people)]


def _sides(line: dict[str, Any], people: Shown | None) -> Iterator[str]:
    """What an encoder reads, and what a decoder writes; places that it must not read in brackets."""
    read = line["input"]
    hidden = set(read.get("hidden", ()))
    yield f"reads:  {_plain(read['ids'], read['tokens'], people, hidden)}"
    for name, asked in line["targets"].items():
        said = _plain([i for *_, i in asked], [token for _, token, _ in asked], people)
        yield f"{'writes' if name == 'token' else name}: {said}"


def _plain(ids: list[int], tokens: list[str], people: Shown | None, apart: Collection[int] = ()) -> str:
    """Tokens as text; sentinels, which a tokenizer need not have, and what stands `apart` by themselves."""
    if people is None:
        return " ".join(tokens)
    there = [place for place, i in enumerate(ids) if i < people.tokenizer.size]
    pieces = dict(zip(there, people.pieces([ids[place] for place in there]), strict=True))
    pieces = [pieces.get(place, Piece(text=tokens[place], space=True, special=True)) for place in range(len(ids))]
    return "".join(
        before + (f"({pieces[place].text})" if place in apart else pieces[place].text)
        for place, before in joined(pieces, set(apart))
    )


def _head(line: dict[str, Any], pairs: tuple[str, ...]) -> str:
    ids, targets = line["source"]["ids"], line["targets"]
    parts = [f"example {line['index']}", f"epoch {line['epoch']}", amount(len(ids), "token")]
    rows = targets.values() if line["output"] is not None else [targets.get("token", [])]
    parts.append(f"{sum(map(len, rows))} asked")
    if "replaced" in targets:
        parts.append(f"{len(targets['replaced'])} replaced")
    for term in (name for name, label in targets.items() if isinstance(label, int)):
        parts.append(f"{term} {targets[term]}{f': {pairs[targets[term]]}' if pairs else ''}")
    seen = _seen(line["input"]["query_rank"][: len(ids)])
    return " · ".join([*parts, *([seen] if seen else [])])


def _seen(ranks: list[int]) -> str:
    """Who sees whom, where it is neither all nor without order."""
    return SEEN.get(tuple(sorted({int(np.sign(b - a)) for a, b in pairwise(ranks)})), "")


def _marked(line: dict[str, Any], people: Shown | None) -> str:
    """The text of one example on one line."""
    ids, given = line["source"]["ids"], line["input"]["ids"]
    asked = _asked(line)
    yes = {row[0] for rows in line["targets"].values() if isinstance(rows, list) for row in rows if row[1:] == [1]}
    apart = {place for place, i in enumerate(ids) if place in asked or given[place] != i}
    if people is None:
        pieces = [Piece(text=token, space=True) for token in line["source"]["tokens"]]
        single = dict(zip([*ids, *given], [*line["source"]["tokens"], *line["input"]["tokens"]], strict=True))
        single |= {i: token for _, token, i in line["targets"].get("replaced", [])}
    else:
        pieces = people.pieces(ids, apart)
        places = [*(given[place] for place in apart), *(i for _, _, i in line["targets"].get("replaced", []))]
        single = {i: people.piece(i).text for i in places}
    marks = {place: _mark(place, line, asked, pieces[place].text, single) for place in apart}
    texts = {place: marks.get(place, piece.text) for place, piece in enumerate(pieces)}
    texts |= {place: f"[+{texts[place]}]" for place in yes}
    opens, closes = _links(line)
    return "".join(
        before + opens.get(place, "") + texts[place] + closes.get(place, "")
        for place, before in joined(pieces, apart | yes)
    )


def _links(line: dict[str, Any]) -> tuple[dict[int, str], dict[int, str]]:
    """What stands before the first and behind the last token of each linked mention."""
    given = dict(map(tuple, line["input"].get("entities", ())))
    if "entities" not in line["input"]:
        return {}, {}
    opens, closes = {}, {}
    for begin, end, name in line["source"].get("entities", ()):
        now = given.get(begin)
        said = name if now == name else f"[MASK:{name}]" if now is None else f"[{now}<-{name}]"
        opens[begin], closes[end - 1] = "{", f"|{said}}}"
    return opens, closes


def _asked(line: dict[str, Any]) -> dict[int, int]:
    """{place in the text: number in the order of asking} of the tokens that are asked for where they stand (0), or by a token behind the
    text (from 1).  A language model asks for all tokens alike, each from its neighbour: nothing to mark."""
    ids, side, asked = line["source"]["ids"], line["input"], line["targets"].get("token", [])
    behind = [place for place, _, _ in asked if place >= len(ids)]
    if behind:
        number = {rank: k for k, rank in enumerate(sorted({side["query_rank"][place] for place in behind}), 1)}
        return {side["positions"][place]: number[side["query_rank"][place]] for place in behind}
    in_place = all(ids[place] == answer for place, _, answer in asked)
    return {place: 0 for place, _, _ in asked} if in_place else {}


def _mark(place: int, line: dict[str, Any], asked: dict[int, int], clean: str, single: dict[int, str]) -> str:
    """What stands for one token; `single`: a token of the input, or of the generator, by itself."""
    was, now = line["source"]["ids"][place], line["input"]["ids"][place]
    if place not in asked:
        return f"[{clean}~{single[now]}]"
    if asked[place]:
        return f"[{asked[place]}:{clean}]"
    if "replaced" in line["targets"]:
        wrote = next((i for at, _, i in line["targets"]["replaced"] if at == place), was)
        return f"[{clean}->{single[wrote] if wrote != was else clean}]"
    if now == was:
        return f"[={clean}]"
    bare = line["input"]["tokens"][place].strip("[]<>")
    return f"[MASK:{clean}]" if bare.lower() == "mask" else f"[{single[now]}<-{clean}]"


def _table(summary: dict[str, Any]) -> Iterator[str]:
    yield ""
    wide = max([8, *map(len, summary["requested"])])
    if summary["requested"]:
        yield f"{'':{wide}}{'requested':>12}{'achieved':>12}"
    for key, wanted in summary["requested"].items():
        yield f"{key:{wide}}{wanted:12.4f}{summary['achieved'][key]:12.4f}"
    for term, counts in summary.get("classes", {}).items():
        yield f"{term}: " + ", ".join(f"{label} {amount(count, 'time')}" for label, count in counts.items())
    tokens = summary["tokens"]
    yield f"{amount(summary['examples'], 'example')}, {amount(tokens['used'], 'token')} used, {tokens['padding']:,} padding, {tokens['dropped']:,} dropped, {tokens['unknown']:,} [UNK]"
