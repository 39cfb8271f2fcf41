"""What objectives/spelled.py builds.  m characters asked of w words, v symbols, d width."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bertsmith.data.batch import IGNORE, Stream, Target
from bertsmith.data.letters import Letters
from bertsmith.nn.body import Body
from bertsmith.nn.hybrid import reader
from bertsmith.nn.modules.cells import State
from bertsmith.nn.modules.hybrid import streamed
from bertsmith.nn.modules.recurrent import RecurrentStack

if TYPE_CHECKING:
    from bertsmith.objectives.spelled import Spelling

END = 0  # a word's end, and what stands before its first character


class SpellingTerm(nn.Module):
    def __init__(self, head: Spelling, read: int, letters: Letters):
        super().__init__()
        self.head, self.letters = head, letters
        self.path = nn.Linear(read, head.layers * head.hidden)
        self.characters = RecurrentStack(reader(letters, head.layers, head.hidden))
        self.out = nn.Linear(head.hidden, letters.symbols)

    def among(self, hidden: Tensor, target: Target, stream: Stream, model: Body) -> tuple[Tensor, Tensor]:
        """hidden (m, d) of the words that the characters are of -> (logits (m, v), symbols (m,)).  The network is given the right ones, each before the next."""
        labels, at = target.labels, target.at[:, 0]
        labels = torch.where(labels == IGNORE, IGNORE, self.letters.number(labels))
        begins = torch.ones_like(labels, dtype=torch.bool)
        begins[1:] = (at[1:] != at[:-1]) | (labels[:-1] == IGNORE)
        read = torch.where(begins, END, labels.roll(1)).clamp(min=END)
        first = begins.nonzero()[:, 0]
        lengths = torch.diff(first, append=first.new_tensor([len(labels)])).tolist()
        return self.out(self.characters.going_on(streamed(read, tuple(lengths)), self.begin(hidden[first]))), labels

    def begin(self, hidden: Tensor) -> list[State]:
        """hidden (w, d) -> what each layer begins from."""
        paths = torch.tanh(self.path(hidden)).chunk(self.head.layers, 1)
        return [(path, torch.zeros_like(path)) for path in paths]

    def logits(self, hidden: Tensor, model: Body) -> Tensor:
        """hidden (w, d) -> (w, v), of the first characters."""
        start = torch.full((len(hidden),), END, device=hidden.device)
        return self.out(self.characters.going_on(streamed(start, (1,) * len(hidden)), self.begin(hidden)))

    @torch.no_grad()
    def spell(self, hidden: Tensor, longest: int = 24) -> list[list[int]]:
        """hidden (w, d) -> of each word the symbols that seem likeliest, one after the other, up to its end or `longest`."""
        states, symbols = self.begin(hidden), torch.full((len(hidden),), END, device=hidden.device)
        found: list[Tensor] = []
        for _ in range(longest):
            said, states = self.characters.after(streamed(symbols, (1,) * len(symbols)), states)
            symbols = self.out(said).argmax(1)
            found.append(symbols)
        rows = torch.stack(found, 1).tolist()
        return [row[: row.index(END)] if END in row else row for row in rows]
