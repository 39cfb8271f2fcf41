"""Text to token store: sample, tokenizer, sentences, ids, word starts, splits, account, manifest.

The bytes of a store are a function of the text and the options: not of workers, time, machine or names of files.
"""

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bertsmith import files
from bertsmith.data.draw import hashed
from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, flag, option
from bertsmith.text import annotations, more_words, nif, store, unknown
from bertsmith.text.account import Account, Options
from bertsmith.text.categories import unidata_version
from bertsmith.text.characters import Characters
from bertsmith.text.cleaning import Cleaned, asked, cleaning
from bertsmith.text.corpus import Texts, chunked
from bertsmith.text.encode import Chunk, Encoded, Encoder, Reading, encoded
from bertsmith.text.links import checked as links_of
from bertsmith.text.links import write as write_links
from bertsmith.text.multilingual import SMOOTHING, Languages
from bertsmith.text.said import cleaned_said, layouts_said, listing_said, summary
from bertsmith.text.sample import loaded, no_text, sampled, trained, trains
from bertsmith.text.segment import described as scripts_described
from bertsmith.text.sentences import checked_language
from bertsmith.text.sources import AND, Source, apart, listed
from bertsmith.text.thai_sentences import described as sentences_described
from bertsmith.text.user_words import digest
from bertsmith.text.word_list import user_words
from bertsmith.text.writer import SplitWriter, aside, close_store, move_document, tokenizer_field

if TYPE_CHECKING:
    from bertsmith.text.tokenizer import Tokenizer

ENGLISH = (
    "en"  # whose rules for sentences and case hold where no language is given; a store does not say that it is English
)
CHUNK = 1 << 20  # characters that are encoded at once
EVERY = 5.0  # seconds between progress lines


def silent(line: str) -> None:
    """Says nothing."""


def prepare(
    sources: list[str | Source],
    out: str | Path,
    *,
    tokenizer: str = "wordpiece:8000",
    lowercase: bool = False,
    strip_accents: bool = False,
    normalise: str | None = None,
    chinese: str | None = None,
    language: str | None = None,
    words: str | None = None,
    segmented: bool = False,
    documents: str = "blank",
    lines: str = "paragraph",
    field: str = "text",
    only: list[str] | tuple[str, ...] = (),
    holdout: float = 0.01,
    workers: int = 1,
    tokenizer_sample: str | int = "100MB",
    phrases: str | None = None,
    entities: str | None = None,
    links: str | None = None,
    entity_vectors: str | None = None,
    clean: str | list[str] | tuple[str, ...] | None = None,
    clean_language: str | None = None,
    bad_words: str | None = None,
    clean_sample: str | os.PathLike | None = None,
    encoding: str = "utf-8",
    on_bad_line: str = "error",
    allow_unknown: bool = False,
    new_words: str | int | os.PathLike | None = None,
    smoothing: float | None = None,
    capitals: bool = False,
    force: bool = False,
    say: Callable[[str], None] = silent,
) -> dict[str, Any]:
    """Write the token store `out`; returns the account, which the manifest holds too.

    `sources`: files, folders, globs, URLs, hf:NAME, and rows: `bertsmith.prepare` takes a list of texts or of dicts (`field` says which of
    theirs), a DataFrame, whatever yields texts; each is a document.  "en=FILE" names the language of a source, then all must have one;
    "en+de=FILE" parallel lines (parallel.py).
    `capitals`: keep which words begin with a capital letter, for members that ask for it (ernie2).
    `smoothing`: of several languages, in the tokenizer's sample: each in proportion to its bytes to this power (None: 0.7).
    `tokenizer`: kind:size to train one on a deterministic sample of `tokenizer_sample` bytes, or a file, folder or hf:NAME to load.
    `lowercase`, `strip_accents`, `normalise`, `chinese`: what a tokenizer trained here does to its texts (normal.Rules); a loaded one has its own.
    `language`: None: sentences are split by English rules, which hold for most scripts, and the store says no language.
    `only`: patterns such as "*.txt": of folders, nothing else is read.
    `words`: a list of words of one's own (user_words.py); `segmented`: the text's blanks part its words (paragraph_words.py).
    `new_words`: what a loaded tokenizer is to have as tokens, too: a word list, or the number of words of the sample that save most.
    `allow_unknown`: accept that more than 5 % of the tokens are [UNK].
    `phrases`, `entities`: where these are found (annotations.py): a word list, an annotated text, or npmi.
    `links`: where mentions of entities stand (links.py): a linked text or a dictionary of mentions; `entity_vectors`: what `graph` wrote, or
    vectors with names (entities.py).
    `clean`: rules that lines and pages must pass, "c4" or their names (clean.RULES); `clean_language`: the language that pages must be in;
    `bad_words`: a list of words that none may hold; `clean_sample`: a file for some of what each rule took.
    `workers`: processes; one is this process, on one core.  InputError and ResourceError leave nothing behind.
    """
    listing_of = [sources] if isinstance(sources, (str, os.PathLike)) else sources
    named = [name if isinstance(name, Source) else os.fspath(name) for name in listing_of]
    options = Options(documents=documents, lines=lines, field=field, encoding=encoding, on_bad_line=on_bad_line)
    spoken = checked_language(language or ENGLISH)
    if smoothing is not None and not (isinstance(smoothing, (int, float)) and 0 <= smoothing <= 1):
        raise InputError(f"{option('smoothing')}: {printable(repr(smoothing))} is not a power from 0 to 1")
    mine, read_as = _own_words(words, segmented, lines, encoding)
    reading = Reading(language=spoken, lines=lines, words=mine, segmented=segmented, capitals=capitals)
    sample_size = _bytes(tokenizer_sample)
    if not isinstance(holdout, (int, float)) or not 0 <= holdout < 1:
        raise InputError(
            f"{option('holdout')}: {printable(repr(holdout))} is not a share; 0 <= holdout < 1, such as 0.01"
        )
    if isinstance(workers, bool) or not isinstance(workers, int) or not 1 <= workers <= 1024:
        raise InputError(f"{option('workers')}: {printable(repr(workers))} is not a number of processes; 1 to 1024")
    rules = {"lowercase": lowercase, "strip_accents": strip_accents, "normalise": normalise, "chinese": chinese}
    learns = trains(tokenizer, rules)
    more = more_words.checked(new_words, learns)
    sources = {level: os.fspath(of) for level, of in (("phrase", phrases), ("entity", entities)) if of is not None}
    annotations.check(sources)
    linked = links_of(links, entity_vectors)
    annotated = (*sources.values(), *(linked or ())[:1])
    if segmented and any(of.endswith(".jsonl") or nif.is_at(of) for of in annotated):
        raise InputError(
            f"{flag('segmented')}: takes blanks out of the text, so that places in an annotated text mean nothing"
        )
    what = asked(clean, clean_language, bad_words, clean_sample, sentences=spoken, lines=lines, encoding=encoding)
    listing = listed(named, only, encoding)
    found = tuple(listing.sources)
    languages = tuple(dict.fromkeys(source.language for source in found if source.language))
    _check_languages(languages, language, smoothing)
    apart(found, named, out)
    files.refuse_unless_replaceable(out, store.ours, "store", force)

    for line in listing_said(listing):
        say(line)
    corpus = Texts(found, options)
    with ExitStack() as stack:
        if what:
            what.apart(found)
            corpus = stack.enter_context(cleaning(what, corpus, out, workers, say))
            for line in cleaned_said(corpus.tally.account(what.rules.names), what.unasked):
                say(line)
        sample = None
        if learns:
            power = (SMOOTHING if smoothing is None else float(smoothing)) if languages else None
            rules_of = {**rules, "language": spoken}
            backend, sample = trained(tokenizer, rules_of, corpus, sample_size, segmented, say, power, mine)
        else:
            backend = loaded(tokenizer)
        extends = added = None
        if more is not None:
            texts = partial(sampled, corpus, sample_size, segmented)
            backend, extends, added = more_words.add(backend, more, texts, say)
        with files.partial(out) as folder:
            backend.save(folder)
            work = _Work(folder, backend, options, float(holdout), say)
            try:
                work.run(corpus, reading, workers, 0 if what else _read_in_all(found))
            except BaseException:
                for writer in work.splits:
                    writer.abandon()
                raise
            account = work.account(sample)
            account["sources"] = {"kinds": listing.kinds(), "passed_over": listing.passed_over}
            account |= {"new_words": added} if added else {}
            way = "train one on this text or with more entries"
            unknown.refuse(account["unknown"], option("tokenizer"), way, allow_unknown or backend.whole_words)
            kind = tokenizer if learns else "loaded"
            described = {
                "documents": documents,
                "lines": lines,
                "field": field,
                "encoding": encoding,
                "on_bad_line": on_bad_line,
            }
            described |= {"language": language, "holdout": float(holdout), "tokenizer": kind, **rules}
            described |= {"tokenizer_sample": sample_size, "segmented": segmented}
            if capitals:
                described["capitals"] = True
            if languages and learns:
                described["smoothing"] = sample["smoothing"]
            if what:
                described["clean"] = what.described
                account["clean"] = corpus.tally.account(what.rules.names)
            if added:
                described["new_words"] = added["asked"] if added["from"] == "sample" else "list"
            if words is not None:
                told = {
                    "from": os.path.basename(words),
                    "encoding": read_as,
                    "words": len(mine),
                    "sha256": digest(mine),
                }
                described["words"] = account["words"]["user"] = told
            rest = {"options": described, "account": account}
            if languages:
                account["languages"] = rest["languages"] = work.languages.counts
            if sources:
                rest["annotations"] = account["annotations"] = annotations.write(
                    folder, work.splits, sources, backend, spoken, lines, say
                )
            if linked:
                rest["links"] = account["links"] = write_links(folder, work.splits, linked, backend, spoken, lines, say)
            close_store(folder, work.splits, tokenizer_field(backend, kind) | (extends or {}), rest)
            files.refuse_unless_replaceable(out, store.ours, "store", force)  # another process may have been faster
            files.publish(folder, out)
        if what and what.sample:
            files.write(what.sample, corpus.tally.sample(what.rules.names))
    for line in summary(account):
        say(line)
    return account


def _check_languages(languages: tuple[str, ...], language: str | None, smoothing: float | None) -> None:
    if languages and language is not None:
        raise InputError(f"{option('language', language)}: each source names its own ({', '.join(languages)})")
    if smoothing is not None and not languages:
        raise InputError(f"{option('smoothing')}: no source names its language; en=FILE does")
    for name in (part for named in languages for part in named.split(AND)):
        checked_language(name)


def _own_words(path: str | None, segmented: bool, lines: str, encoding: str) -> tuple[tuple[str, ...], str]:
    """The words of a user's list, and the encoding that it was read in; InputError for options that exclude each other."""
    if segmented and lines == "wrapped":
        raise InputError(
            f"{flag('segmented')}: {option('lines', 'wrapped')} joins lines without a blank, so that words at line ends are lost"
        )
    if path is None:
        return (), ""
    if segmented:
        raise InputError(f"{option('words')}: {flag('segmented')} takes the words of the text as given; one of the two")
    return user_words(os.fspath(path), encoding)


# The pass over the text


@dataclass(slots=True)
class _Work:
    folder: Path
    backend: "Tokenizer"
    options: Options
    holdout: float
    say: Callable[[str], None]
    read: Account = field(default_factory=Account)
    characters: Characters = field(default_factory=Characters)
    splits: list[SplitWriter] = field(default_factory=list)
    used: int = 0
    unknown: int = 0
    without_token: int = 0
    dropped: int = 0
    japanese: int = 0
    segmented: bool = False
    languages: Languages = field(default_factory=Languages)

    def run(self, corpus: Texts | Cleaned, reading: Reading, workers: int, whole: int) -> None:
        """Fill both splits; `whole`: bytes that will be read, 0 where only reading tells."""
        made = {"capitals": reading.capitals}
        self.splits = [SplitWriter(self.folder, name, self.backend.size, **made) for name in store.SPLITS]
        waiting: list[tuple[list[int], list[bool], str]] = []
        pieces, self.read = corpus.read()
        ours = self.backend.drops_unseen  # then the store's text is what the tokenizer makes of it anyway

        def chunks() -> Iterator[Chunk]:
            for chunk in chunked(pieces, CHUNK):
                language, paragraphs = chunk[0].language, [piece.paragraphs for piece in chunk]
                waiting.append(([piece.number for piece in chunk], [piece.last for piece in chunk], language))
                clean = self.characters.cleaned(paragraphs, self.read) if ours else self.characters.counted(paragraphs)
                yield language, clean

        self.segmented = reading.segmented
        encoder = Encoder(self.backend, reading)
        begun = spoken = time.monotonic()
        for part in encoded(chunks(), encoder, self.folder, workers):
            numbers, last, language = waiting.pop(0)
            self._append(part, np.array(numbers), np.array(last))
            if language:
                self.languages.add(language, self.splits)
            now = time.monotonic()
            if now - spoken >= EVERY:
                spoken = now
                done = sum(writer.tokens for writer in self.splits)
                read = self.read.read / 1e6
                of = f" of {whole / 1e6:,.1f}" if whole else ""
                self.say(f"prepare: {read:,.1f}{of} MB read, {amount(done, 'token')}, {read / (now - begun):.1f} MB/s")
        for writer in self.splits:
            writer.close()
        train, held = self.splits
        if not train.tokens + held.tokens:
            raise no_text(self.read)
        if self.holdout and not held.documents and train.documents > 1:
            number = _lowest(train.documents)
            self.languages.move(train.split(), number, 0)
            self.splits = list(move_document(self.folder, train, number, held))
        elif not train.documents and held.documents > 1:
            number = _lowest(held.documents)
            self.languages.move(held.split(), number, 1)
            self.splits = list(reversed(move_document(self.folder, held, number, train)))
        elif not train.documents:
            raise InputError(
                f"{option('holdout')}: the only document would be held out; {option('holdout', 0)} keeps it for training"
            )

    def _append(self, part: Encoded, numbers: np.ndarray, last: np.ndarray) -> None:
        self.used += part.used
        self.without_token += part.without_token
        self.dropped += part.dropped
        self.japanese += part.japanese
        self.unknown += int((part.ids == self.backend.vocab.unk).sum())
        held = aside(numbers, self.holdout)
        for writer, mine in zip(self.splits, (~held, held), strict=True):
            if not mine.any():
                continue
            ids, starts, lengths, capitals = part.ids, part.starts, part.lengths, part.capitals
            if not mine.all():
                sentences = np.repeat(mine, part.counts)
                tokens = np.repeat(sentences, lengths)
                ids, starts, lengths = ids[tokens], starts[tokens], lengths[sentences]
                capitals = None if capitals is None else capitals[tokens]
            writer.append(ids, starts, lengths, np.cumsum(part.counts[mine])[last[mine]], capitals)

    def account(self, sample: dict[str, int] | None) -> dict[str, Any]:
        """Where every byte went: used + newlines + markup + the sum of dropped == read + recoded."""
        read, (train, held) = self.read, self.splits
        kept = train.documents + held.documents
        sentences = train.sentences + held.sentences
        dropped = {**read.dropped, "without_token": self.without_token}
        between = read.text - self.used - self.without_token  # white space between sentences
        warnings = []
        if read.hard_wrapped and self.options.lines == "paragraph":
            warnings.append(
                f"lines look hard-wrapped in {max(1, read.wrapped_files)} of {amount(read.files, 'file')}: of {read.sampled} looked at, {read.long} have 40 to 100 characters, {read.longer} more, and only "
                f"{read.closed} end like a sentence; `lines` wrapped joins them (and `documents` file, if blank lines part paragraphs)"
            )
        tokens = train.tokens + held.tokens
        lost = unknown.counted(
            self.unknown, tokens, lambda: None if self.backend.whole_words else self.characters.unknown(self.backend)
        )
        warnings += [said] if (said := unknown.warning(lost)) else []
        scripts, missing = ({}, []) if self.segmented else scripts_described(self.characters.counts, self.japanese)
        warnings += missing
        if scripts.get("Thai") and self.options.lines != "sentence":
            scripts["Thai"]["sentences"], unsplit = sentences_described(scripts["Thai"]["characters"])
            warnings += unsplit
        several = int((np.diff(train.split().documents) > 1).sum())
        layouts = layouts_said(several, train.documents)
        if read.bad_lines:
            warnings.append(
                f"{amount(read.bad_lines, 'bad line was', 'bad lines were')} skipped ({amount(dropped['bad_encoding'] + dropped['bad_record'], 'byte')})"
            )
        return {
            "files": read.files,
            "bytes": {
                "read": read.read,
                "recoded": read.recoded,
                "used": self.used,
                "newlines": read.newlines,
                "markup": read.markup - read.newlines + between,
                "dropped": dropped,
            },
            "lines": {
                "read": read.lines,
                "blank": read.blank_lines,
                "bad": read.bad_lines,
                "cut": read.cut_lines,
                "crlf": read.crlf,
                "cr": read.cr,
                "lone_cr": read.lone_cr,
                "byte_order_marks": read.byte_order_marks,
            },
            "characters": self.characters.changed(self.backend),
            "unknown": lost,
            "words": {"unicode": unidata_version, "segmented": self.segmented, "scripts": scripts},
            "records": read.records,
            **({"separators": read.separators} if read.separators else {}),
            "documents": kept,
            "documents_without_tokens": read.documents - kept,
            "sentences": sentences,
            "sentences_without_tokens": self.dropped,
            "tokens": tokens,
            "sentences_per_document": sentences / kept,
            "tokens_per_sentence": tokens / sentences,
            "held_out": {
                "share": self.holdout,
                "documents": held.documents,
                "sentences": held.sentences,
                "tokens": held.tokens,
            },
            "documents_of_several_sentences": several,
            "hard_wrapped": read.hard_wrapped,
            "tokenizer_sample": sample,
            "layouts": layouts,
            "warnings": warnings,
        }


def _read_in_all(found: tuple[Source, ...]) -> int:
    """Bytes that the account will say were read; 0 where only reading tells: packed files, parquet, data sets of the hub."""
    plain = all(source.is_file and not source.compression and source.kind != "parquet" for source in found)
    return sum(source.size for source in found) if plain else 0


def _lowest(count: int) -> int:
    return int(np.argmin(hashed(0, "held-out", np.arange(count))))


def _bytes(size: str | int) -> int:
    """ "100MB" -> 100000000."""
    match = re.fullmatch(r"(\d{1,12})\s*(|[kKMGT]?B)", str(size))
    if not match or int(match[1]) == 0:
        raise InputError(f"{option('tokenizer_sample')}: {printable(repr(size))} is not a size; such as 100MB or 2GB")
    return int(match[1]) * {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}[match[2].upper()]
