"""The documents of a corpus, cleaned: read once, kept in a file of their own until the store is written.

Rules about one page are asked on any number of processes, what stands in the corpus already (repeated.py) here and in order, so that the
same pages stay for any number of workers.  A page is settled before the next is looked at: what is left of it goes through all rules
again until nothing changes, and only then counts as seen.  So no span of three sentences of what stays stands in it twice, what goes as
repeated has a copy that stays (or goes with its page), and cleaning what was cleaned changes nothing.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bertsmith import files
from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, option
from bertsmith.text.account import Account
from bertsmith.text.bad_words import bad_words
from bertsmith.text.clean import C4, RULES, Drop, Rules, cleaned, named, size_of, whole
from bertsmith.text.corpus import Document, Texts, chunked
from bertsmith.text.pool import ordered
from bertsmith.text.repeated import Marks, marked, repeated, without
from bertsmith.text.seen import Seen
from bertsmith.text.sources import Source
from bertsmith.text.spoken import spoken as language_of
from bertsmith.text.tally import Place, Tally

CHUNK = 1 << 20  # characters that a process is given at once
EVERY = 5.0  # seconds between progress lines
Page = list[list[str]]  # the sentences of its lines
Chunk = list[tuple[Place, list[str]]]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is cleaned, as the user asked."""

    rules: Rules
    sample: Path | None

    def apart(self, found: tuple[Source, ...]) -> None:
        """InputError where the sample would replace a file that is read."""
        for source in found:
            if self.sample and source.kind != "hf" and os.path.realpath(source.name) == os.path.realpath(self.sample):
                raise InputError(f"{option('clean_sample')}: {printable(source.name)} is read; name another file")

    @property
    def unasked(self) -> str:
        """What C4 has beside, where its other rules are asked."""
        if not set(C4) <= set(self.rules.names):
            return ""
        options = (
            (f"a language ({option('clean_language', 'en')})", self.rules.spoken),
            (f"bad words ({option('bad_words', like='FILE')})", self.rules.bad),
        )
        missing = [name for name, there in options if not there]
        return f"C4 asks for {' and '.join(missing)}, too" if missing else ""

    @property
    def described(self) -> dict[str, object]:
        """For a manifest."""
        said: dict[str, object] = {"rules": list(self.rules.names)}
        if self.rules.bad:
            said["bad_words"] = {"words": len(self.rules.bad.words), "sha256": self.rules.bad.digest}
        if self.rules.spoken:
            said["language"] = {"code": self.rules.spoken.code, "by": self.rules.spoken.by}
        return said


def asked(
    clean: str | tuple[str, ...] | None,
    language: str | None,
    bad: str | None,
    sample: str | os.PathLike | None,
    *,
    sentences: str,
    lines: str,
    encoding: str,
) -> Asked | None:
    """None where nothing is cleaned.  `language`: that pages are to be in; `sentences`: whose rules split them."""
    names = set(named(clean) if clean is not None else ())
    known = None if language is None else language_of(language)
    words = None if bad is None else bad_words(bad, encoding)
    names |= {"language"} if known else set()
    names |= {"bad-words"} if words else set()
    if not names and sample is not None:
        raise InputError(f"{option('clean_sample')}: nothing is cleaned; {option('clean', 'c4')} says what is")
    if sample is not None:
        path = Path(os.path.abspath(sample))
        if path.is_dir():
            raise InputError(f"{option('clean_sample')}: {printable(sample)} is a folder; name a file")
        if not path.parent.is_dir():
            raise InputError(f"{option('clean_sample')}: there is no folder {printable(path.parent)}; make it first")
    if not names:
        return None
    inside = tuple(name for name in RULES if name in names)
    rules = Rules(names=inside, bad=words, spoken=known, language=sentences, lines=lines)
    return Asked(rules=rules, sample=None if sample is None else path)


@dataclass(slots=True)
class Cleaned:
    """Documents that were cleaned, on disk; `account` says of their sources what it would without, less what was dropped."""

    path: Path
    account: Account
    tally: Tally = field(default_factory=Tally)
    hashes: Path | None = None  # of all pages that were seen

    def read(self) -> tuple[Iterator[Document], Account]:
        """As corpus.Texts does."""
        return self._documents(), self.account

    def _documents(self) -> Iterator[Document]:
        number = 0
        with open(self.path, encoding="utf-8", newline="\n") as file:
            for line in file:
                last, paragraphs, language = json.loads(line)
                size = sum(map(len, paragraphs))
                yield Document(number, paragraphs, last, size, language=language)
                number += last


@contextmanager
def cleaning(
    what: Asked,
    texts: Texts,
    beside: str | os.PathLike,
    workers: int,
    say: Callable[[str], None] = lambda line: None,
    older: Path | None = None,
    keep: bool = False,
    memory: int | None = None,
) -> Iterator[Cleaned]:
    """The documents, cleaned.  They stand beside `beside` until the block ends.  InputError where nothing is left.

    `older`: hashes of pages that were seen before; `keep`: those of all pages are to be had, too; `memory`: bytes that they take."""
    with files.partial(f"{os.fspath(beside).rstrip(os.sep)}.clean") as folder:
        pieces, account = texts.read()
        made = Cleaned(folder / "documents.jsonl", account, Tally(samples=what.sample is not None))
        chunks = map(_placed, chunked(pieces, CHUNK))
        first = partial(alone, what.rules, what.sample is not None)
        with (
            files.writing(made.path),
            open(made.path, "xb") as file,
            closing(Seen(folder, older=older, memory=memory)) as known,
        ):
            corpus = Against(what.rules, known, made.tally)
            out = Lines(file.write)
            waiting: list[list[tuple[Place, bool, str]]] = []

            def given() -> Iterator[Chunk]:
                for chunk in chunks:
                    waiting.append([(place, last, language) for place, last, language, _ in chunk])
                    yield [(place, lines) for place, _, _, lines in chunk]

            begun = spoken = time.monotonic()
            for pages, tally in ordered(given(), first, partial(_same, first), workers):
                made.tally.merge(tally)
                for (place, last, language), page in zip(waiting.pop(0), pages, strict=True):
                    out.add(corpus.admitted(page, place), last, language)
                now = time.monotonic()
                if now - spoken >= EVERY:
                    spoken, (read, kept) = now, (made.tally.read[3] / 1e6, made.tally.kept[3] / 1e6)
                    say(f"clean: {read:,.0f} MB of text, {kept:,.0f} MB kept, {read / (now - begun):.1f} MB/s")
            if keep:
                made.hashes = folder / "hashes.npy"
                known.save(made.hashes)
        closed(made, out.documents, what)
        yield made


def closed(made: Cleaned, left: int, what: Asked) -> None:
    account, tally = made.account, made.tally
    account.text -= tally.size
    account.dropped["cleaned"] = tally.size
    account.documents = left
    if not left and tally.read[0]:
        most = sorted(tally.dropped.items(), key=lambda item: -item[1][3])[:3]
        said = ", ".join(f"{name} {amount(counts[3], 'byte')}" for name, counts in most)
        raise InputError(
            f"{option('clean')}: nothing is left of {amount(tally.read[0], 'page')} ({said}); {option('clean')} names fewer rules"
        )


def _placed(chunk: list[Document]) -> list[tuple[Place, bool, str, list[str]]]:
    place = lambda piece: Place(piece.number, piece.source, piece.place)
    return [(place(piece), piece.last, piece.language, piece.paragraphs) for piece in chunk]


def _same(first: Callable) -> Callable:
    return first


def alone(rules: Rules, samples: bool, chunk: Chunk) -> tuple[list[tuple[Page, Marks] | None], Tally]:
    """The pages of a chunk by the rules about one page, each with what it is known by; None where nothing is left."""
    tally = Tally(samples)
    pages = []
    for place, lines in chunk:
        page, drops = cleaned(lines, rules, tally.measured)
        tally.add(drops, place)
        for i, count in enumerate((bool(lines), len(lines), 0, sum(map(size_of, lines)))):
            tally.read[i] += count
        tally.emptied += bool(lines) and not page and not any(drop.pages for drop in drops)
        pages.append((page, marked(page, rules.names)) if page else None)
    return pages, tally


@dataclass(slots=True)
class Against:
    """Pages against those before them."""

    rules: Rules
    seen: Seen
    tally: Tally

    def admitted(self, found: tuple[Page, Marks] | None, place: Place) -> list[str]:
        """The lines of the page that stay."""
        if found is None:
            return []
        page, marks = found
        drops: list[Drop] = []
        known: list[Marks] = []
        while page:
            known.append(marks)
            lines = ["".join(sentences) for sentences in page]
            if rule := self._known(marks):
                drops.append(whole(rule, lines, lines[0]))
                page = []
                break
            gone = repeated(marks, self.seen) if "repeated" in self.rules.names else None
            if gone is None:
                break
            lines, drop = without(page, gone)
            page, more = cleaned(lines, self.rules)
            drops += [drop, *more]
            marks = marked(page, self.rules.names)
        self.tally.add(drops, place)
        if not page:
            self.tally.emptied += not any(drop.pages for drop in drops)
            return []
        for one in known:  # a copy of what the page was is a copy, too
            for hashes in one.pages.values():
                self.seen.add(hashes)
        if "repeated" in self.rules.names:
            self.seen.add(marks.spans)
        for i, count in enumerate((1, len(lines), 0, sum(map(size_of, lines)))):
            self.tally.kept[i] += count
        return lines

    def _known(self, marks: Marks) -> str:
        return next((name for name, hashes in marks.pages.items() if self.seen.known(hashes).any()), "")


@dataclass(slots=True)
class Lines:
    """Writes documents part by part: of each that has a paragraph, exactly one part is its last."""

    write: Callable[[bytes], object]
    documents: int = 0
    is_open: bool = False

    def add(self, paragraphs: list[str], last: bool, language: str = "") -> None:
        if paragraphs or (last and self.is_open):
            self.write(json.dumps([last, paragraphs, language], ensure_ascii=False).encode() + b"\n")
            self.is_open = True
        if last:
            self.documents += self.is_open
            self.is_open = False
