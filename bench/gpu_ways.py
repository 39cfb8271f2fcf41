"""What `bench/gpu.py` times on a card, and how large: updates of BERT beside transformers, on the same weights and tokens.

ours: as `pretrain` runs it, batches from NumPy and all, kernels that add in a fixed order; compiled: with `training.compile`; any order:
with torch's own choice of kernels.  B, S, A are transformers' BERT in bfloat16 autocast with fused AdamW: B with scaled-dot-product attention, padded to the
longest; S that with the texts sorted, in four passes each padded to its own longest; A that of B with flash_attention_2, where it is
installed; "B compiled" by torch.compile.  M: ModernBERT in transformers, another model of about that size, with random weights.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import transformers
from step import Bench, Ours, Theirs, batch_of, check_equal, lengths, padded, recipe_of
from torch.nn.utils import clip_grad_norm_

from bertsmith.config import override
from bertsmith.nn.member import build
from bertsmith.recipe import Recipe
from bertsmith.training.precision import Precision
from bertsmith.training.step import compile_layers

PASSES = 4  # of S
EQUAL = 8  # sequences on which both sides' losses and gradients are compared


@dataclass(frozen=True)
class Sizes:
    """How large everything is.  `updates`: of one timing; `tokens`: real ones of an update."""

    size: str = "base"
    vocab: int = 30522
    short: int = 128
    long: int = 512
    tokens: int = 32768
    updates: int = 4
    repetitions: int = 3
    watched: int = 2  # of a profile
    product: int = 8192
    modern: dict[str, int] = field(default_factory=dict)  # what its configuration has other than ModernBERT-base's


FULL = Sizes()
QUICK = Sizes(
    size="tiny",
    vocab=128,
    short=16,
    long=32,
    tokens=128,
    updates=1,
    repetitions=1,
    watched=1,
    product=128,
    modern={"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 2},
)


@dataclass(frozen=True)
class Cell:
    """A row of the table."""

    name: str
    lengths: tuple[int, ...]
    ways: tuple[str, ...]
    task: str = "token"
    dropout: float = 0.0
    profile: bool = False  # what ours spends its time on, too
    check: bool = False  # losses and gradients of both sides are compared first

    def bench(self, sizes: Sizes) -> Bench:
        return Bench(self.name, sizes.size, sizes.vocab, self.lengths, self.task)


def cells(sizes: Sizes) -> list[Cell]:
    """The most telling first: a run that is out of time leaves the last ones out."""
    peers = ("ours", "B", "A", "M")
    short, long = (f"MLM {sizes.size}, length {length}" for length in (sizes.short, sizes.long))

    def full(limit: int) -> tuple[int, ...]:
        return lengths("full", sizes.tokens // limit, limit)

    def mixed(limit: int) -> tuple[int, ...]:
        return lengths("wikipedia", 2 * sizes.tokens // limit, limit)

    tuned = lengths("short", sizes.tokens // 31)
    mixed_peers = ("ours", "B", "S", "A", "M")
    return [
        Cell(f"{short}, full rows", full(sizes.short), peers, profile=True, check=True),
        Cell(f"{long}, full rows", full(sizes.long), peers, profile=True, check=True),
        Cell(
            f"{short}, full rows, four times the tokens", 4 * full(sizes.short), ("ours", "compiled", "B"), profile=True
        ),
        Cell(
            f"{long}, full rows, four times the tokens", 4 * full(sizes.long), ("ours", "compiled", "B"), profile=True
        ),
        Cell(f"{short}, lengths like Wikipedia's", mixed(sizes.short), mixed_peers, check=True),
        Cell(f"{long}, lengths like Wikipedia's", mixed(sizes.long), mixed_peers, profile=True, check=True),
        Cell(f"fine-tuning {sizes.size}, mean length 31 of 128", tuned, mixed_peers[:-1], "label", check=True),
        Cell(f"{short}, full rows, dropout 0.1", full(sizes.short), ("ours", "B"), dropout=0.1),
        Cell(f"{long}, full rows, dropout 0.1", full(sizes.long), ("ours", "B"), dropout=0.1, profile=True),
        Cell(f"{short}, lengths like Wikipedia's, dropout 0.1", mixed(sizes.short), ("ours", "B", "S"), dropout=0.1),
        Cell(f"{long}, lengths like Wikipedia's, dropout 0.1", mixed(sizes.long), ("ours", "B", "S"), dropout=0.1),
        Cell(f"{short}, full rows, compiled", full(sizes.short), ("ours", "compiled"), profile=True),
        Cell(f"{long}, full rows, compiled", full(sizes.long), ("ours", "compiled")),
        Cell(f"{long}, full rows, any order", full(sizes.long), ("ours", "any order")),
        Cell(f"{short}, full rows, theirs compiled", full(sizes.short), ("ours", "B", "B compiled")),
    ]


class Sorted(Theirs):
    """The same texts in passes of like lengths; gradients add up to those of one."""

    def __init__(self, recipe: Recipe, state: dict, inputs: dict, order: list[int], passes: int, **how: Any):
        super().__init__(recipe, state, inputs, **how)
        at = np.array_split(np.array(order), min(passes, len(order)))
        widths = [int(inputs["attention_mask"][part].sum(1).max()) for part in at]
        cut = {name: tensor for name, tensor in inputs.items() if tensor.ndim > 1}
        self.parts = [
            {
                name: tensor[part][:, :width].contiguous() if name in cut else tensor[part]
                for name, tensor in inputs.items()
            }
            for part, width in zip(at, widths, strict=True)
        ]
        asked = [int((part["labels"] >= 0).sum()) for part in self.parts]
        self.shares = [count / sum(asked) for count in asked]

    def backward(self) -> torch.Tensor:
        total = torch.zeros((), device=self.device)
        for inputs, share in zip(self.parts, self.shares, strict=True):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                loss = self.model(**inputs).loss * share
            loss.backward()
            total += loss.detach()
        return total


class Modern:
    """ModernBERT: fewer places are predicted (`sparse_prediction`), as its authors train it."""

    def __init__(self, inputs: dict, vocab: int, changes: dict[str, int]):
        config = transformers.ModernBertConfig(
            **{"vocab_size": vocab, "sparse_prediction": True, **changes},
            pad_token_id=0,
            bos_token_id=2,
            eos_token_id=3,
            cls_token_id=2,
            sep_token_id=3,
        )
        config._attn_implementation = _best_attention()
        self.device, self.inputs = inputs["input_ids"].device, inputs
        self.model = transformers.ModernBertForMaskedLM(config).train().to(self.device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)

    def __call__(self) -> None:
        with torch.autocast(self.device.type, torch.bfloat16):
            self.model(**self.inputs).loss.backward()
        clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()


def _best_attention() -> str:
    return "flash_attention_2" if transformers.utils.is_flash_attn_2_available() else "sdpa"


class AnyOrder(Ours):
    """Without `in_order`."""

    def __call__(self) -> float:
        return self.update()


class Missing(Exception):
    """A way that this machine has not got; no failure."""


class Maker:
    """Builds the ways of a cell on a device, all from the same weights."""

    def __init__(self, cell: Cell, sizes: Sizes, device: torch.device):
        self.cell, self.sizes, self.device = cell, sizes, device
        self.bench = cell.bench(sizes)
        self.recipe = override(recipe_of(self.bench), [f"model.dropout={cell.dropout}"])
        self.batch = batch_of(self.bench)
        self.precision = Precision.choose("bfloat16", device)
        torch.manual_seed(0)
        with device:
            self.state = build(self.recipe).state_dict()
        self.inputs: dict[str, torch.Tensor] = {}

    def check(self) -> None:
        """AssertionError where losses or gradients of both sides differ, on the first few sequences."""
        (few,) = self.batch.split([min(EQUAL, len(self.cell.lengths))])
        plain = override(self.recipe, ["model.dropout=0.0"])
        with Precision.exact(self.device).policy():
            check_equal(plain, self.state, few, self.cell.task, self.device)

    def padded(self) -> dict[str, torch.Tensor]:
        """Once for all peers, on the device: what they are given waits there, where ours travels anew for every update."""
        if not self.inputs:
            made = padded(self.batch, self.cell.task, max(self.cell.lengths))
            self.inputs = {name: tensor.to(self.device) for name, tensor in made.items()}
        return self.inputs

    def make(self, way: str) -> Callable[[], Any]:
        theirs = {"bf16": True, "dropout": self.cell.dropout}
        inputs = {} if way in ("ours", "compiled", "any order") else self.padded()
        with self.device:
            if way == "B":
                return Theirs(self.recipe, self.state, inputs, **theirs)
            if way == "B compiled":
                made = Theirs(self.recipe, self.state, inputs, **theirs)
                made.model.compile()
                return made
            if way == "A":
                if _best_attention() != "flash_attention_2":
                    raise Missing("flash_attn is not installed")
                return Theirs(self.recipe, self.state, inputs, **theirs, attention="flash_attention_2")
            if way == "S":
                order = np.argsort(self.cell.lengths, kind="stable")[::-1].tolist()
                return Sorted(self.recipe, self.state, inputs, order, PASSES, **theirs)
            if way == "M":
                return Modern(inputs, self.sizes.vocab, self.sizes.modern)
            kind = AnyOrder if way == "any order" else Ours
            ours = kind(self.recipe, self.state, self.batch, self.precision)
        if way == "compiled":
            compile_layers(ours.member)
        return ours
