"""Text to token store: sample, tokenizer, sentences, ids, word starts, splits, account, manifest.

The bytes of a store are a function of the text and the options: not of workers, time, machine or names of files.
"""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bertsmith import files
from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, flag, option
from bertsmith.text import annotations, more_words, nif, store, unknown
from bertsmith.text.account import Options
from bertsmith.text.cleaning import Cleaned, asked, cleaning
from bertsmith.text.corpus import Texts, chunked
from bertsmith.text.encode import Chunk, Encoder, Reading, encoded
from bertsmith.text.filling import Filling
from bertsmith.text.growing import HASHES, Grown
from bertsmith.text.links import checked as links_of
from bertsmith.text.links import write as write_links
from bertsmith.text.multilingual import SMOOTHING
from bertsmith.text.said import cleaned_said, listing_said, summary
from bertsmith.text.sample import loaded, sampled, trained, trains
from bertsmith.text.sentences import checked_language
from bertsmith.text.sources import AND, Source, apart, listed
from bertsmith.text.stages import engines, plan
from bertsmith.text.stages.staged import forget, opened
from bertsmith.text.stages.work import TOKENIZER
from bertsmith.text.user_words import digest
from bertsmith.text.word_list import user_words, word_list
from bertsmith.text.writer import close_store, tokenizer_field

if TYPE_CHECKING:
    pass

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
    engine: str | None = None,
    engine_set: Mapping[str, str] | Iterable[str] = (),
    tasks: int | None = None,
    retries: int = 2,
    resume: bool = False,
    append: bool = False,
    keep_hashes: bool = False,
    hash_memory: str | int = "128MB",
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
    `engine`: "local", "slurm" or "ray": units of work made by datatrove's executors, `workers` at once, in `tasks` tasks; `engine_set`: what
    the executor takes, such as "partition=cpu".  `resume`: go on with the units that a killed call left; both keep what is made until the
    store is written.  `retries`: how often the unit of a process that died is tried again.
    `append`: put the text behind that of the store `out`, which keeps its shards, its tokenizer and what its options say of text (growing.py).
    `keep_hashes`: what pages are known by stays in the store, so that text which is added later is compared with them;
    `hash_memory`: what duplicates are looked up in, whatever the corpus; what does not fit is on disk.
    """
    grown = None
    if append:
        given = {name: value for name, value in locals().items() if name not in ("sources", "out", "say")}
        grown = Grown.of(out)
        made = grown.options(given, {name: p.default for name, p in signature(prepare).parameters.items()})
        lines, language, holdout, segmented, capitals = (
            made[name] for name in ("lines", "language", "holdout", "segmented", "capitals")
        )
        clean, clean_language, bad_words = (made[name] for name in ("clean", "clean_language", "bad_words"))
        tokenizer, keep_hashes = os.fspath(out), keep_hashes or grown.hashes is not None
        lowercase = strip_accents = False
        normalise = chinese = None
    listing_of = [sources] if isinstance(sources, (str, os.PathLike)) else sources
    named = [name if isinstance(name, Source) else os.fspath(name) for name in listing_of]
    options = Options(documents=documents, lines=lines, field=field, encoding=encoding, on_bad_line=on_bad_line)
    spoken = checked_language(language or ENGLISH)
    if smoothing is not None and not (isinstance(smoothing, (int, float)) and 0 <= smoothing <= 1):
        raise InputError(f"{option('smoothing')}: {printable(repr(smoothing))} is not a power from 0 to 1")
    mine, read_as = _own_words(words, segmented, lines, encoding)
    reading = Reading(language=spoken, lines=lines, words=mine, segmented=segmented, capitals=capitals)
    sample_size, memory = _bytes("tokenizer_sample", tokenizer_sample), _bytes("hash_memory", hash_memory)
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
    settings = engines.settings(engine_set)
    engines.check(engine, settings)
    for name, value, least in (("retries", retries, 0), ("tasks", tasks, 1)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise InputError(f"{option(name)}: {printable(repr(value))} is not a whole number from {least}")
    what = asked(clean, clean_language, bad_words, clean_sample, sentences=spoken, lines=lines, encoding=encoding)
    if keep_hashes and not (what and plan.looks_across(what.rules)):
        across = option("clean", *plan.ACROSS)
        raise InputError(f"{flag('keep_hashes')}: nothing is compared with other pages; {across} is")
    if grown:
        grown.same_words(digest(mine) if mine else None)
        grown.same_cleaning(what and what.described)
    listing = listed(named, only, encoding)
    found = tuple(listing.sources)
    languages = tuple(dict.fromkeys(source.language for source in found if source.language))
    _check_languages(languages, language, smoothing)
    if grown:
        grown.languages(languages)
    apart(found, named, out)
    files.refuse_unless_replaceable(out, store.ours, "store", force or append)

    for line in listing_said(listing):
        say(line)
    corpus = Texts(found, options)
    with ExitStack() as stack:
        staged = None
        if engine is not None or resume:
            of = {
                "tokenizer": tokenizer,
                **rules,
                "sample": sample_size,
                "smoothing": smoothing,
                "new_words": _told(more),
                "keep_hashes": keep_hashes,
                "append": grown and grown.store.digest,
            }
            if not learns:
                of["tokenizer"] = loaded(tokenizer).digest
            about = plan.planned(
                sources=found,
                options=options,
                reading=reading,
                rules=what and what.rules,
                samples=bool(what and what.sample),
                asked=of,
                hashes=str(grown.hashes.resolve()) if grown and grown.hashes else "",
                keeps=keep_hashes,
                memory=memory,
            )
            if what:
                what.apart(found)
            by = {"engine": engine, "workers": workers, "tasks": tasks, "retries": retries, "given": settings}
            staged = stack.enter_context(opened(out, about, what, resume=resume, **by, say=say))
            corpus = staged.corpus()
        elif what:
            what.apart(found)
            older = grown and grown.hashes
            corpus = stack.enter_context(cleaning(what, corpus, out, workers, say, older, keep_hashes, memory))
        if what:
            for line in cleaned_said(corpus.tally.account(what.rules.names), what.unasked):
                say(line)
        sample = extends = added = None
        known = staged and staged.tokenizer()
        if known:
            backend = loaded(str(staged.work / TOKENIZER))
            sample, extends, added = (known[name] for name in ("sample", "extends", "added"))
        elif learns:
            power = (SMOOTHING if smoothing is None else float(smoothing)) if languages else None
            rules_of = {**rules, "language": spoken}
            backend, sample = trained(tokenizer, rules_of, corpus, sample_size, segmented, say, power, mine)
        else:
            backend = loaded(tokenizer)
        if more is not None and not known:
            texts = partial(sampled, corpus, sample_size, segmented)
            backend, extends, added = more_words.add(backend, more, texts, say)
        if staged and not known:
            staged.keep(backend, {"sample": sample, "extends": extends, "added": added})
        with files.partial(out) as folder:
            if not grown:
                backend.save(folder)
            work = Filling(folder, backend, options, float(holdout), say, segmented=segmented, grown=grown)
            try:
                if staged:
                    staged.fill(work, corpus)
                else:
                    _streamed(work, corpus, reading, workers, 0 if what else _read_in_all(found))
            except BaseException:
                work.abandon()
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
            if keep_hashes:
                described["keep_hashes"] = True
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
            if keep_hashes:
                with files.writing(folder):
                    shutil.copyfile(corpus.hashes, folder / HASHES)
            field_of = tokenizer_field(backend, kind) | (extends or {})
            if grown:
                if what and plan.looks_across(what.rules) and not grown.hashes:
                    account["warnings"].append(
                        "what was added was compared with itself alone: the store keeps no hashes of its pages (`keep_hashes` when it is made)"
                    )
                account = grown.account(account)
                rest |= {"options": grown.options_now(keep_hashes), "account": account}
                field_of = grown.manifest["tokenizer"]
            manifest = close_store(folder, work.splits, field_of, rest)
            if grown:
                grown.check(manifest["files"])
            files.refuse_unless_replaceable(
                out, store.ours, "store", force or append
            )  # another process may have been faster
            files.publish(folder, out)
        if not staged:
            forget(out)
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


def _streamed(work: Filling, corpus: Texts | Cleaned, reading: Reading, workers: int, whole: int) -> None:
    """Fill both splits; `whole`: bytes that will be read, 0 where only reading tells."""
    work.begin(reading.capitals)
    waiting: list[tuple[list[int], list[bool], str]] = []
    pieces, work.read = corpus.read()

    def chunks() -> Iterator[Chunk]:
        for chunk in chunked(pieces, CHUNK):
            language = chunk[0].language
            waiting.append(([piece.number for piece in chunk], [piece.last for piece in chunk], language))
            yield language, work.characters.taken([piece.paragraphs for piece in chunk], work.backend, work.read)

    begun = spoken = time.monotonic()
    for part in encoded(chunks(), Encoder(work.backend, reading), work.folder, workers):
        numbers, last, language = waiting.pop(0)
        work.append(part, np.array(numbers), np.array(last), language)
        now = time.monotonic()
        if now - spoken >= EVERY:
            spoken = now
            done = sum(writer.tokens for writer in work.splits)
            read = work.read.read / 1e6
            of = f" of {whole / 1e6:,.1f}" if whole else ""
            work.say(f"prepare: {read:,.1f}{of} MB read, {amount(done, 'token')}, {read / (now - begun):.1f} MB/s")
    work.end()


def _told(more: Any) -> Any:
    """What new words a plan is of."""
    return None if more is None else more if isinstance(more, int) else digest(tuple(word_list(more)[0]))


def _read_in_all(found: tuple[Source, ...]) -> int:
    """Bytes that the account will say were read; 0 where only reading tells: packed files, parquet, data sets of the hub."""
    plain = all(source.is_file and not source.compression and source.kind != "parquet" for source in found)
    return sum(source.size for source in found) if plain else 0


def _bytes(name: str, size: str | int) -> int:
    """ "100MB" -> 100000000."""
    match = re.fullmatch(r"(\d{1,12})\s*(|[kKMGT]?B)", str(size))
    if not match or int(match[1]) == 0:
        raise InputError(f"{option(name)}: {printable(repr(size))} is not a size; such as 100MB or 2GB")
    return int(match[1]) * {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}[match[2].upper()]
