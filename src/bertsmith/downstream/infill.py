"""What stands at a mask, by a model that reads a text with one stack and writes with another.

What is written before a mask's place is known, so that the decoder is given it and asked for what comes next: that is `top`, the distribution
of one token.  Where a mask may stand for several tokens or none, the likeliest of some spans is `written`.  Masks are asked from left to
right, each after what was written at those before it.  n tokens read, m of the decoder, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from bertsmith.data.batch import SENTINEL, Stream
from bertsmith.data.decoded import decoded, shifted
from bertsmith.data.denoise import Denoise
from bertsmith.data.fragment import Written
from bertsmith.downstream.fill import MASK, check_read, masked, standing, top_of
from bertsmith.downstream.model import Loaded
from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount
from bertsmith.tasks.sequences import Builder

Array = np.ndarray
MOST = 16  # tokens that are written at one mask


@dataclass(frozen=True)
class Asked:
    """The text as the encoder reads it, and the places (k,) of what is asked for in it; `parts`: the known tokens before the first, between
    them and behind the last, special ones and the end included."""

    stream: Stream
    places: Array
    parts: list[list[int]]


class Infill:
    """Of one model.  InputError where what it learned to write does not tell what stands at a mask."""

    def __init__(self, loaded: Loaded):
        self.loaded, self.rewrite = loaded, loaded.recipe.corruption.rewrite
        rewrite, vocab = self.rewrite, loaded.vocab
        self.start = getattr(vocab, loaded.reading().start or "sep")
        self.whole = isinstance(rewrite, Denoise) and rewrite.write == "all"
        self.marked = isinstance(rewrite, Denoise) and rewrite.stand == "sentinel"
        self.spans = self.marked or (self.whole and rewrite.stand == "mask")  # a mask is any number of tokens
        self.marks = rewrite.marks(vocab).tolist() if self.marked else []
        one = isinstance(rewrite, Written) or getattr(rewrite, "stand", None) == "masks"
        if loaded.task is not None:
            raise InputError(
                f"{printable(loaded.run)}: was tuned to write about texts, so it fills no masks; give the run that it was fine-tuned from"
            )
        if not (self.spans or one):
            raise InputError(
                f"{printable(loaded.run)}: learned to write what is hidden, and nothing stands in its place, so it fills no masks; `generate` writes about a text"
            )

    def __call__(self, text: str, top: int) -> tuple[Array, list[dict[str, Any]]]:
        """The tokens that were read, and for each mask {position, top} and, where it may be a span, `written`."""
        asked = self._asked(text)
        longest = self.loaded.recipe.model.longest
        if longest is not None and len(asked.stream.tokens) > longest:
            raise InputError(f"the text has {amount(len(asked.stream.tokens), 'token')}, and the model takes {longest}")
        if isinstance(self.rewrite, Written):
            found = self._fragments(asked, top)
        else:
            found = self._in_turn(asked, top)
        return asked.stream.tokens, found

    # -- what is read ------------------------------------------------------------------------------------------------------------------

    def _asked(self, text: str) -> Asked:
        loaded = self.loaded
        name = SENTINEL.format(0) if self.marked else loaded.tokenizer.mask_token
        strips = loaded.tokenizer.strips(name) if loaded.kind == "import" else (True, False)
        ids, places = self._numbered(text, strips) if self.marked else masked(loaded, text, strips)
        builder = Builder(vocab=loaded.vocab, reading=loaded.reading(), pairs=False)
        builder.add(0, ids)
        stream = builder.encoded(1).batch(np.zeros(1, np.int64)).input
        if loaded.kind == "import" and not self.marked:
            check_read(loaded, text, len(places))
        places = loaded.reading().lead + places
        edges = [-1, *places.tolist(), len(stream.tokens)]
        parts = [stream.tokens[a + 1 : b].tolist() for a, b in pairwise(edges)]
        return Asked(stream, places, parts)

    def _numbered(self, text: str, strips: tuple[bool, bool]) -> tuple[Array, Array]:
        """[MASK], or sentinels as they are numbered from left to right, become these."""
        names = {SENTINEL.format(number): mark for number, mark in enumerate(self.marks)}
        ids, places, found = standing(self.loaded.tokenizer, text, {MASK: -1, **names}, strips)
        if not len(places):
            raise InputError(
                f'no mask in "{printable(text, 80)}"; write {MASK} or {SENTINEL.format(0)} where a span is asked for'
            )
        if len(places) > len(self.marks):
            raise InputError(
                f"{amount(len(places), 'mask')} in the text, and the model learned {amount(len(self.marks), 'sentinel')}"
            )
        wrong = next((i for i, name in enumerate(found) if name not in (MASK, SENTINEL.format(i))), None)
        if wrong is not None:
            raise InputError(
                f"{printable(found[wrong])} stands where {SENTINEL.format(wrong)} is next; sentinels are numbered from the left, or write {MASK}"
            )
        ids[places] = self.marks[: len(places)]
        return ids, places

    # -- what is written ---------------------------------------------------------------------------------------------------------------

    def _in_turn(self, asked: Asked, top: int) -> list[dict[str, Any]]:
        """A decoder that says the whole text, or what is hidden alone, each span behind its sentinel where it has one."""
        known, found = [*asked.parts[0]] if self.whole else [], []
        for number, place in enumerate(asked.places.tolist()):
            known += [self.marks[number]] if self.marked and not self.whole else []
            rest = asked.parts[number + 1] if self.whole else []
            (said,) = self._said(asked, [known])
            row = {"position": place, "top": top_of(self._shares(said[-1]), top, self.loaded.tokenizer)}
            span = self._span(asked, known, rest) if self.spans else [self._likeliest(said[-1])]
            if self.spans:
                row["written"] = self.loaded.tokenizer.decode(span, specials=False)
            found.append(row)
            known = [*known, *span, *rest]
        return found

    def _span(self, asked: Asked, known: list[int], rest: list[int]) -> list[int]:
        """The likeliest token each time, as many as the model ends with; where it goes on with a text that is known, as many as make span
        and known text together most probable."""
        longest = self.loaded.recipe.model.longest
        most = MOST if longest is None else max(0, min(MOST, longest - len(known) - len(rest)))
        span: list[int] = []
        while len(span) < most:
            (said,) = self._said(asked, [[*known, *span]])
            if not self.whole and int(said[-1].argmax()) not in self._text:
                return span
            span.append(self._likeliest(said[-1]))
        if not self.whole:
            return span
        ways = [[*span[:size], *rest] for size in range(len(span) + 1)]
        said = self._said(asked, [[*known, *way] for way in ways])
        scores = []
        for way, logits in zip(ways, said, strict=True):
            at = torch.arange(len(known), len(known) + len(way))
            scores.append(float(logits.double().log_softmax(-1)[at, torch.tensor(way, dtype=torch.long)].sum()))
        return span[: int(np.argmax(scores))]

    def _fragments(self, asked: Asked, top: int) -> list[dict[str, Any]]:
        """A decoder that reads what stands before each hidden token, at its place, and no other; masks in a row are one fragment."""
        tokens, found = asked.stream.tokens.copy(), []
        hidden = np.zeros(len(tokens), bool)
        hidden[asked.places] = True
        asked = replace(asked, stream=replace(asked.stream, hidden=hidden))
        for place in asked.places.tolist():
            first = place
            while first and hidden[first - 1]:
                first -= 1
            before = np.maximum(np.arange(first - 1, place), 0)
            read = tokens[before]
            read[:1] = read[:1] if first else self.start
            output, _ = decoded(read, read, np.array([len(read)]), before)
            (said,) = self._logits(asked, output, [len(read)])
            found.append({"position": place, "top": top_of(self._shares(said[-1]), top, self.loaded.tokenizer)})
            tokens[place] = self._likeliest(said[-1])
        return found

    def _said(self, asked: Asked, texts: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """For each text what a decoder says that has written it: (its tokens + 1, V) logits, the first of its first token."""
        sizes = np.array([len(text) + 1 for text in texts])
        flat = np.array([token for text in texts for token in [*text, self.start]], np.int64)
        output, _ = decoded(shifted(flat, sizes, self.start), flat, sizes)
        return self._logits(asked, output, sizes.tolist())

    @torch.no_grad()
    def _logits(self, asked: Asked, output: Stream, sizes: list[int]) -> list[torch.Tensor]:
        loaded, member = self.loaded, self.loaded.member.eval()
        stream = _times(asked.stream, len(sizes)).to(loaded.device)
        at = torch.arange(sum(sizes), device=loaded.device)
        with loaded.exact.policy(), loaded.exact.autocast():
            logits = member.objective.logits(member.model, stream, at, "token", output.to(loaded.device))
        return list(logits.cpu().split(sizes))

    def _shares(self, logits: torch.Tensor) -> Array:
        """(V,) of the tokenizer's tokens; the table may have more rows."""
        return torch.softmax(logits.double(), -1)[: self.loaded.vocab.size].numpy()

    def _likeliest(self, logits: torch.Tensor) -> int:
        """Of the tokens of text."""
        allowed = torch.tensor(sorted(self._text))
        return int(allowed[logits[allowed].argmax()])

    @cached_property
    def _text(self) -> set[int]:
        vocab = self.loaded.vocab
        return {*range(vocab.size)} - {*vocab.special, *vocab.sentinels}


def _times(stream: Stream, count: int) -> Stream:
    """The one sequence of `stream`, so many times."""
    names = ("tokens", "positions", "segments", "query_rank", "key_rank")
    arrays = {name: np.tile(getattr(stream, name), count) for name in names}
    hidden = None if stream.hidden is None else np.tile(stream.hidden, count)
    return replace(stream, **arrays, hidden=hidden, lengths=stream.lengths * count)
