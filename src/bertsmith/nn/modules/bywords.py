"""A stream in which words are spelled, as one of words (data/letters.py).  n tokens of s sequences, w <= n words of up to c characters."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from bertsmith.data.batch import Stream
from bertsmith.data.letters import Letters

SPELLED = "spelled"  # feature of a stream of words: the symbols of each, 0 behind the last; none of a word that has a row of its own


@dataclass(frozen=True, kw_only=True)
class ByWords:
    """A stream of tokens as one of words: of each its first token."""

    stream: Stream
    word: Tensor  # (n,) the word of each token

    @classmethod
    def of(cls, stream: Stream, letters: Letters) -> ByWords | None:
        """None where no word is spelled."""
        tokens = stream.tokens
        letter = letters.spell(tokens)
        if not letters.end or not (letter | (tokens == letters.mark)).any():
            return None
        ends = torch.tensor(np.cumsum(stream.lengths), device=tokens.device)
        begins = letters.begins(tokens, ends - torch.tensor(stream.lengths, device=tokens.device))
        word = begins.cumsum(0) - 1
        first = begins.nonzero()[:, 0]
        counts = torch.diff(word[ends - 1] + 1, prepend=ends.new_zeros(1)).tolist()
        place = (
            torch.arange(len(tokens), device=tokens.device) - first[word] - (tokens[first] == letters.mark)[word].long()
        )
        at = letter.nonzero()[:, 0]
        spelled = tokens.new_zeros(len(first), int(place[at].max()) + 1 if len(at) else 1)
        spelled[word[at], place[at]] = letters.number(tokens[at])
        rows = {name: getattr(stream, name)[first] for name in ("tokens", "segments", "query_rank", "key_rank")}
        within = torch.cat([torch.arange(count, device=tokens.device) for count in counts])
        made = replace(stream, **rows, positions=within, lengths=tuple(counts), features={SPELLED: spelled})
        return cls(stream=made, word=word)

    @property
    def once(self) -> Tensor:
        """(n,) bool: the first token of each word."""
        return torch.diff(self.word, prepend=self.word.new_full((1,), -1)) > 0
