"""What a pass over encoded text adds up to: both splits of a store, and the account of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bertsmith.data.draw import hashed
from bertsmith.errors import InputError
from bertsmith.spelling import amount, option
from bertsmith.text import store, unknown
from bertsmith.text.account import Account, Options
from bertsmith.text.categories import unidata_version
from bertsmith.text.characters import Characters
from bertsmith.text.encode import Encoded
from bertsmith.text.growing import Grown
from bertsmith.text.multilingual import Languages
from bertsmith.text.said import layouts_said
from bertsmith.text.sample import no_text
from bertsmith.text.segment import described as scripts_described
from bertsmith.text.thai_sentences import described as sentences_described
from bertsmith.text.writer import SplitWriter, aside, move_document

if TYPE_CHECKING:
    from bertsmith.text.tokenizer import Tokenizer


@dataclass(slots=True)
class Filling:
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
    grown: Grown | None = None  # what the text goes behind

    def begin(self, capitals: bool) -> None:
        made = {"capitals": capitals}
        if self.grown:
            self.grown.lay(self.folder)
            old = self.grown.store
            none = np.zeros(self.backend.size, np.int64)
            after: list[Any] = [(old.train, old.unigrams), (old.held_out, none)]
            made["shard"] = old.train.shard
        else:
            after = [None, None]
        self.splits = [
            SplitWriter(self.folder, name, self.backend.size, **made, after=there)
            for name, there in zip(store.SPLITS, after, strict=True)
        ]
        if self.grown and self.grown.manifest.get("languages"):
            self.languages.go_on(self.grown.manifest["languages"], self.splits)

    def end(self) -> None:
        """Close both splits, and give each a document."""
        for writer in self.splits:
            writer.close()
        train, held = self.splits
        if not self._new("tokens"):
            raise no_text(self.read)
        if self.grown:
            return
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

    def _new(self, what: str) -> int:
        """How many came now, of both splits."""
        place = ("shards", "tokens", "sentences", "documents").index(what)
        return sum(getattr(writer, what) - writer.before[place] for writer in self.splits)

    def abandon(self) -> None:
        for writer in self.splits:
            writer.abandon()

    def append(self, part: Encoded, numbers: np.ndarray, last: np.ndarray, language: str) -> None:
        """A chunk of one language; of each of its p parts the `numbers` (p,) of its document in the corpus, and whether it is its `last` (p,)."""
        self._append(part, numbers + self.grown.numbered if self.grown else numbers, last)
        if language:
            self.languages.add(language, self.splits)

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
        """Where every byte went: used + newlines + markup + the sum of dropped == read + recoded.  Of a store that grew, of the new text."""
        read, (train, held) = self.read, self.splits
        kept, sentences, tokens = (self._new(name) for name in ("documents", "sentences", "tokens"))
        dropped = {**read.dropped, "without_token": self.without_token}
        between = read.text - self.used - self.without_token  # white space between sentences
        warnings = []
        if read.hard_wrapped and self.options.lines == "paragraph":
            warnings.append(
                f"lines look hard-wrapped in {max(1, read.wrapped_files)} of {amount(read.files, 'file')}: of {read.sampled} looked at, {read.long} have 40 to 100 characters, {read.longer} more, and only "
                f"{read.closed} end like a sentence; `lines` wrapped joins them (and `documents` file, if blank lines part paragraphs)"
            )
        lost = unknown.counted(
            self.unknown, tokens, lambda: None if self.backend.whole_words else self.characters.unknown(self.backend)
        )
        warnings += [said] if (said := unknown.warning(lost)) else []
        scripts, missing = ({}, []) if self.segmented else scripts_described(self.characters.counts, self.japanese)
        warnings += missing
        if scripts.get("Thai") and self.options.lines != "sentence":
            scripts["Thai"]["sentences"], unsplit = sentences_described(scripts["Thai"]["characters"])
            warnings += unsplit
        several = int((np.diff(train.split().documents[train.before[3] :]) > 1).sum())
        layouts = layouts_said(several, train.documents - train.before[3])
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
                "documents": held.documents - held.before[3],
                "sentences": held.sentences - held.before[2],
                "tokens": held.tokens - held.before[1],
            },
            "documents_of_several_sentences": several,
            "hard_wrapped": read.hard_wrapped,
            "tokenizer_sample": sample,
            "layouts": layouts,
            "warnings": warnings,
        }


def _lowest(count: int) -> int:
    return int(np.argmin(hashed(0, "held-out", np.arange(count))))
