"""The account of a store in lines for people: what every byte became, what each layout can make of the documents, what is [UNK]."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from bertsmith.errors import printable
from bertsmith.spelling import amount
from bertsmith.text.multilingual import COUNTED, SMOOTHING, shares
from bertsmith.text.recognise import SAID
from bertsmith.text.sources import AND, Listing

NAMED = 20  # files of one reason that a line names; names of files stand in no store


def summary(account: dict[str, Any]) -> Iterator[str]:
    size, lines = account["bytes"], account["lines"]
    dropped = ", ".join(f"{name.replace('_', '-')} {count:,}" for name, count in size["dropped"].items())
    yield (
        f"bytes: {size['read']:,} read = {size['used']:,} used + {size['newlines']:,} line ends + {size['markup']:,} white space and markup"
        + (
            f" + {sum(size['dropped'].values()):,} dropped ({dropped})"
            + (f" - {size['recoded']:,} added (conversion to UTF-8, spaces for controls)" * bool(size["recoded"]))
        )
    )
    yield "lines: " + ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in lines.items())
    for by, count in account.get("separators", {}).items():
        yield f"columns: {by} part those of {amount(count, 'file')}: read so"
    seen = account["characters"]
    if seen["dropped"] or seen["replaced"]:
        named = ", ".join(f"{c} {count:,}" for c, count in seen["commonest"].items())
        yield (
            f"characters: {seen['read']:,}, of which the tokenizer's rule drops {seen['dropped']:,} and replaces {seen['replaced']:,} ({named})"
        )
    words = account["words"]
    for name, script in words["scripts"].items():
        yield f"words of {name}: {amount(script['characters'], 'character')}, cut by {script['by']}" + (
            f"; sentences by {script['sentences']}" if "sentences" in script else ""
        )
    if "user" in words:
        yield f"words: {words['user']['words']:,} of {printable(words['user']['from'])}, read as {words['user']['encoding']}"
    yield from languages_said(account.get("languages", {}))
    held = account["held_out"]
    yield f"documents: {account['documents']:,}, of which {held['documents']:,} held out; {account['documents_without_tokens']:,} without tokens"
    yield f"sentences: {account['sentences']:,}, {account['sentences_per_document']:.1f} per document, {account['tokens_per_sentence']:.1f} tokens each"
    yield f"tokens: {account['tokens']:,}, of which {held['tokens']:,} held out, {account['unknown']['tokens']:,} [UNK]"
    for warning in account["warnings"]:
        yield f"warning: {warning}"


def languages_said(languages: dict[str, Any]) -> Iterator[str]:
    """Each language of a store, how much of it there is, and what it would be with BERT's smoothing."""
    of = {
        name: {key: sum(part[key] for part in found.values()) for key in COUNTED} for name, found in languages.items()
    }
    text = [name for name in of if AND not in name]
    smooth = (
        dict(zip(text, shares(np.array([of[name]["tokens"] for name in text]), SMOOTHING), strict=True)) if text else {}
    )
    whole = sum(of[name]["tokens"] for name in text)
    for name, counts in of.items():
        share = (
            f", {counts['tokens'] / max(whole, 1):.1%}, {smooth[name]:.1%} smoothed by {SMOOTHING}"
            if name in smooth
            else ", parallel"
        )
        yield f"language {name}: {amount(counts['documents'], 'document')}, {amount(counts['tokens'], 'token')}{share}"


def cleaned_said(clean: dict[str, Any], unasked: str) -> Iterator[str]:
    """What cleaning read, kept and dropped, rule by rule, the most first."""
    counts = lambda of: ", ".join(amount(of[unit + "s"], unit) for unit in ("page", "line", "byte"))
    emptied = f"; {amount(clean['emptied'], 'page has', 'pages have')} no line left" * bool(clean["emptied"])
    yield f"clean: {counts(clean['read'])} read; kept {counts(clean['kept'])}{emptied}"
    for name, of in sorted(clean["dropped"].items(), key=lambda item: -item[1]["bytes"]):
        taken = ", ".join(amount(of[unit + "s"], unit) for unit in ("page", "line", "part") if of[unit + "s"])
        if taken:
            yield f"clean: {name} took {taken}, {amount(of['bytes'], 'byte')}"
    if "statistics" in clean:
        said = ", ".join(f"{name} {_mean(of, '')} ({_mean(of, '_kept')})" for name, of in clean["statistics"].items())
        yield f"clean: mean of the pages that were measured (of those that passed): {said}"
    if unasked:
        yield f"clean: {unasked}"


def _mean(of: dict[str, int], kind: str) -> str:
    return f"{of['sum' + kind] / 1e6 / of['pages' + kind]:,.3g}" if of["pages" + kind] else "none"


def listing_said(listing: Listing) -> Iterator[str]:
    """What is read where that is not plain from what was named, and everything that a folder holds beside."""
    if any(source.by_content for source in listing.sources):
        kinds = ((*name.partition(" by "), count) for name, count in listing.kinds().items())
        said = (f"{count:,} {SAID[kind]}{' by content' if by else ''}" for kind, by, _, count in kinds)
        yield f"files: {len(listing.sources):,}: {', '.join(said)}"
    for reason, of in listing.passed_over.items():
        names = [printable(name) for name, why, _ in listing.passed if why == reason]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        yield f"warning: passed over, {reason}: {amount(of['files'], 'file')} of {amount(of['bytes'], 'byte')}: {', '.join(names[:NAMED])}{more}"


def layouts_said(several: int, documents: int) -> dict[str, str]:
    """What each layout can make of the training split: "usable", or what is in the way, with counts."""
    pairs = "usable"
    if documents < 2:
        pairs = f"not usable: {documents} document; random segments come from another document (`documents` blank makes more)"
    elif not several:
        pairs = f"not usable: none of {amount(documents, 'document')} has two sentences"
    elif several < 0.5 * documents:
        pairs = f"few pairs: only {several} of {amount(documents, 'document')} have two sentences"
    return {"FullSentences": "usable", "DocSentences": "usable", "SegmentPairs": pairs, "SentencePairs": pairs}
