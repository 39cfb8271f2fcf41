"""What is done for one unit of a stage, by whichever process; as a program: `python -m bertsmith.text.stages.work WORK STAGE NUMBER`.

n tokens, k sentences, p parts of documents, m characters.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith import files, spelling
from bertsmith.errors import BertsmithError
from bertsmith.text import corpus
from bertsmith.text.account import Account
from bertsmith.text.characters import Characters
from bertsmith.text.cleaning import Against, Lines, alone
from bertsmith.text.corpus import chunked
from bertsmith.text.encode import Encoded, Encoder
from bertsmith.text.growing import HASHES
from bertsmith.text.pool import one_thread
from bertsmith.text.repeated import BANDS, SPAN, Marks
from bertsmith.text.seen import Seen
from bertsmith.text.stages import plan
from bertsmith.text.stages.parts import Cut, Unit, documents, index, place, rows, unit
from bertsmith.text.tally import Place, Tally
from bertsmith.text.writer import Row

CHUNK = 1 << 20  # characters that are cleaned or encoded at once
READ, DOCUMENTS, TOKENIZER = "read.json", "documents.json", "tokenizer"
ARRAYS = {"ids": "", "starts": "|u1", "lengths": "<u4", "counts": "<u4", "last": "|u1", "capitals": "|u1"}


def read(work: Path, about: plan.Plan, number: int) -> None:
    """A source to files of documents."""
    account = Account()
    with unit(place(work, "read", number)) as (folder, said), files.writing(folder):
        with closing(Cut(folder, about.unit)) as cut:
            for piece in corpus.documents((plan.here(about.sources[number]),), about.options, account):
                cut.add(piece.paragraphs, piece.last, piece.language)
        said |= {"account": asdict(account), "units": cut.files, "bytes": account.read}


def clean(work: Path, about: plan.Plan, number: int) -> None:
    """Documents by the rules about one page; where others look at more than that, with what each page is known by."""
    mine = index(work / READ)[number]
    source = about.sources[mine.source].name
    tally = Tally(about.samples)
    with unit(place(work, "clean", number)) as (folder, said), files.writing(folder):
        against = None if about.across else Against(about.rules, Seen(folder), tally)
        with open(folder / "pages.jsonl", "xb") as file, closing(Row(folder / "marks.npy", "<u8")) as marks:
            lines = Lines(file.write)
            for chunk in chunked(documents(work, [mine]), CHUNK):
                placed = [(Place(piece.number, source, piece.place), piece.paragraphs) for piece in chunk]
                pages, more = alone(about.rules, about.samples, placed)
                tally.merge(more)
                for piece, (at, _), page in zip(chunk, placed, pages, strict=True):
                    if against:
                        lines.add(against.admitted(page, at), piece.last, piece.language)
                        continue
                    row = [piece.last, page and page[0], piece.language]
                    file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
                    if page:
                        marks.append(np.concatenate([page[1].spans, *page[1].pages.values()]))
        said |= {"tally": asdict(tally), "documents": lines.documents, "bytes": mine.bytes}


def duplicates(work: Path, about: plan.Plan, number: int) -> None:
    """All pages in order, each against those before it."""
    tally = Tally(about.samples)
    with unit(place(work, "duplicates", number)) as (folder, said), files.writing(folder), ExitStack() as stack:
        hashes = folder / "hashes"
        hashes.mkdir()
        older = Path(about.hashes) if about.hashes else None
        known = stack.enter_context(closing(Seen(hashes, older=older, memory=about.memory)))
        against = Against(about.rules, known, tally)
        counts, size = [], 0
        for i, mine in enumerate(index(work / READ)):
            made = place(work, "clean", i)
            size += os.path.getsize(made / "pages.jsonl")
            with open(folder / f"{i:06d}.jsonl", "xb") as file:
                lines = Lines(file.write)
                for at, page, last, language in _pages(made, mine, about):
                    lines.add(against.admitted(page, at), last, language)
            counts.append(lines.documents)
        if about.keeps:
            known.save(folder / HASHES)
        shutil.rmtree(hashes)
        said |= {"tally": asdict(tally), "documents": counts, "bytes": size}


def _pages(made: Path, mine: Unit, about: plan.Plan) -> Iterator[tuple[Place, tuple | None, bool, str]]:
    """(where, the page with what it is known by, whether it ends its document, language)"""
    names, source = about.rules.names, about.sources[mine.source].name
    marks = np.load(made / "marks.npy", mmap_mode="r", allow_pickle=False)
    spans = lambda page: max(0, sum(map(len, page)) - SPAN + 1) if "repeated" in names else 0
    each = {name: size for name, size in (("duplicates", 1), ("near-duplicates", BANDS)) if name in names}
    at = number = 0
    for last, page, language in rows(made / "pages.jsonl"):
        found = None
        if page:
            ends = [spans(page), *each.values()]
            mine_of = np.split(np.array(marks[at : at + sum(ends)]), np.cumsum(ends)[:-1])
            at += sum(ends)
            found = page, Marks(mine_of[0], dict(zip(each, mine_of[1:], strict=True)))
        yield Place(mine.first + number, source, mine.place + number), found, last, language
        number += last


def encode(work: Path, about: plan.Plan, number: int) -> None:
    """Documents to ids, word starts and where sentences, documents and their parts end."""
    from bertsmith.text.tokenizer import Tokenizer

    mine = index(work / DOCUMENTS)[number]
    tokenizer = Tokenizer.load(work / TOKENIZER)
    encoder, characters, account = Encoder(tokenizer, about.reading), Characters(), Account()
    sums = dict.fromkeys(("used", "without_token", "dropped", "japanese"), 0)
    with unit(place(work, "encode", number)) as (folder, said), one_thread(), ExitStack() as stack:
        dtypes = ARRAYS | {"ids": "<u2" if tokenizer.size < 65536 else "<u4"}
        if not about.reading.capitals:
            del dtypes["capitals"]
        made = {}
        for name, dtype in dtypes.items():
            made[name] = stack.enter_context(closing(Row(folder / f"{name}.npy", dtype)))
        for chunk in chunked(documents(work, [mine]), CHUNK):
            clean = characters.taken([piece.paragraphs for piece in chunk], tokenizer, account)
            part = encoder((chunk[0].language, clean))
            for name, row in made.items():
                row.append([piece.last for piece in chunk] if name == "last" else getattr(part, name))
            for name in sums:
                sums[name] += getattr(part, name)
        for row in made.values():
            row.close()
        points = np.flatnonzero(characters.counts)
        with closing(Row(folder / "characters.npy", "<i8")) as seen:
            seen.append(np.concatenate([points, characters.counts[points]]))
        language = about.sources[mine.source].language
        said |= {"account": asdict(account), "sums": sums, "language": language, "bytes": mine.bytes}


def encoded(made: Path, mine: Unit, sums: dict[str, int], most: int = 1 << 20) -> Iterator[tuple]:
    """(Encoded, numbers (p,), last (p,)) of what `encode` made, about `most` tokens at once; at least one, which has the `sums`."""
    arrays = {
        name: np.load(made / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        for name in ARRAYS
        if (made / f"{name}.npy").is_file()
    }
    last = np.asarray(arrays["last"]).astype(bool)
    numbers = mine.first + np.cumsum(last) - last
    sentences = np.concatenate([[0], np.cumsum(arrays["counts"], dtype=np.int64)])
    tokens = np.concatenate([[0], np.cumsum(arrays["lengths"], dtype=np.int64)])
    ends, a = tokens[sentences], 0
    while a < len(last) or not a:
        b = min(len(last), max(a + 1, int(np.searchsorted(ends, ends[a] + most))))
        s, t = slice(sentences[a], sentences[b]), slice(ends[a], ends[b])
        more = {"capitals": np.asarray(arrays["capitals"][t]).astype(bool)} if "capitals" in arrays else {}
        yield (
            Encoded(
                ids=np.asarray(arrays["ids"][t]),
                starts=np.asarray(arrays["starts"][t]).astype(bool),
                lengths=np.asarray(arrays["lengths"][s]).astype(np.int64),
                counts=np.asarray(arrays["counts"][a:b]).astype(np.int64),
                **(dict.fromkeys(sums, 0) if a else sums),
                **more,
            ),
            numbers[a:b],
            last[a:b],
        )
        a = b
        if not len(last):
            return


def tally_of(tree: dict[str, Any]) -> Tally:
    shown = {rule: [tuple(row) for row in found] for rule, found in tree["shown"].items()}
    return Tally(**tree | {"shown": shown})


WORK: dict[str, Callable[[Path, plan.Plan, int], None]] = {
    "read": read,
    "clean": clean,
    "duplicates": duplicates,
    "encode": encode,
}


def error_of(work: Path, stage: str, number: int) -> Path:
    return work / f"error-{stage}-{number:06d}.json"


def _end_with(pipe: Any) -> None:
    """Whoever started this process has the other end; when it ends, so does this."""
    pipe.read()
    os._exit(1)


def main(arguments: list[str]) -> int:
    """Exit code 0, or that of the error, which is told in a file (`error_of`).  With --watch it ends with whoever holds its stdin."""
    work, stage, number = Path(arguments[0]), arguments[1], int(arguments[2])
    if "--watch" in arguments:
        threading.Thread(target=_end_with, args=(sys.stdin.buffer,), daemon=True).start()
    error_of(work, stage, number).unlink(missing_ok=True)
    about = plan.load(work)
    os.chdir(about.home)
    with spelling.typed() if about.typed else nullcontext():
        try:
            WORK[stage](work, about, number)
        except BertsmithError as error:
            told = {"code": error.exit_code, "said": str(error)}
            files.write(error_of(work, stage, number), json.dumps(told).encode())
            return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
