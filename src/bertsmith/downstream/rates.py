"""What a recipe asks for against what was achieved, counted over the examples that are shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bertsmith.data.batch import Batch, Row, Vocab
from bertsmith.data.draw import Draw
from bertsmith.recipe import Recipe
from bertsmith.text.multilingual import languages_of


@dataclass
class Tally:
    """Counts over the lines printed."""

    by_span: bool
    vocab: Vocab
    counts: dict[str, float] = field(default_factory=dict)
    languages: dict[str, float] = field(default_factory=dict)  # the share of each in an epoch
    of_tokens: tuple[str, ...] = ()  # terms besides "token" whose answers are tokens

    def _count(self, **more: float) -> None:
        for key, value in more.items():
            self.counts[key] = self.counts.get(key, 0) + value

    def add(self, row: Row, spans: np.ndarray, batch: Batch, cut: np.ndarray, label_1: float | None) -> None:
        special = [i for i in self.vocab.special if i != self.vocab.unk]
        self._count(unknown=int((row.tokens == self.vocab.unk).sum()), text=int((~np.isin(row.tokens, special)).sum()))
        self._count(examples=len(row.lengths), source=len(row.tokens), used=batch.tokens, cut=int(cut.sum()))
        if "token" not in batch.targets:
            self._add_classes(batch)
            return
        target = batch.targets["token"]
        written, clean = _replaced(row, spans, batch)
        masked, kept = written == self.vocab.mask, written == clean
        if self.by_span and len(spans):  # what holds for a span holds for all of its tokens
            first = np.cumsum(spans[:, 1] - spans[:, 0]) - (spans[:, 1] - spans[:, 0])
            masked, kept = np.logical_and.reduceat(masked, first), np.logical_and.reduceat(kept, first)
        held = np.cumsum(row.starts)
        whole = held[spans[:, 1] - 1] - held[spans[:, 0]] + 1 if len(spans) else np.zeros(0)
        self._count(spans=len(spans), span_words=int(whole.sum()), span_tokens=int((spans[:, 1] - spans[:, 0]).sum()))
        hidden = len(target) if batch.output is None else int((spans[:, 1] - spans[:, 0]).sum())
        self._count(asked=hidden, draws=len(masked), mask=int(masked.sum()), kept=int((kept & ~masked).sum()))
        if "pair" in batch.targets:
            labels = batch.targets["pair"].labels
            self._count(pairs=len(labels), label_1=int((labels == 1).sum()), expected=len(labels) * (label_1 or 0.0))

    def _add_classes(self, batch: Batch) -> None:
        """How often each class is the answer, where a text is asked what it is."""
        classes = {name: t for name, t in batch.targets.items() if name not in self.of_tokens and t.labels.ndim == 1}
        for term, target in classes.items():
            for label, count in zip(*np.unique(target.labels, return_counts=True), strict=True):
                self._count(**{f"class.{term}.{label}": int(count)})

    def add_levels(self, row: Row, spans: np.ndarray, select: Any) -> None:
        """Tokens and asked tokens by the level that a curriculum was at."""
        if not hasattr(select, "stages"):
            return
        stages, of = select.stages(row), np.searchsorted(row.offsets, spans[:, 0], "right") - 1
        asked = np.bincount(of, weights=spans[:, 1] - spans[:, 0], minlength=len(stages))
        for stage, level in enumerate(select.levels):
            here = stages == stage
            self._count(**{f"asked.{level}": int(asked[here].sum()), f"source.{level}": int(row.lengths[here].sum())})

    def add_links(self, row: Row, batch: Batch) -> None:
        """Linked mentions by what the model is given of them."""
        if "entity" not in batch.input.features:
            return
        at = np.flatnonzero(row.entities > 0)
        clean, given = row.entities[at], batch.input.features["entity"][at]
        hidden = given == 0
        self._count(links=len(at), wrong=int((~hidden & (given != clean)).sum()), hidden=int(hidden.sum()))

    def add_views(self, row: Row, rewrite: Any, draw: Draw) -> None:
        """Sequences by who sees whom, where that is drawn."""
        if hasattr(rewrite, "views"):
            drawn = rewrite.drawn(row, draw)
            for number, view in enumerate(rewrite.views.shares):
                self._count(**{f"views.{view}": int((drawn == number).sum())})

    def add_languages(self, plan: Any, indices: np.ndarray, row: Row) -> None:
        """Tokens of each language, where the store tells them apart."""
        wanted = plan.account.get("languages", {})
        if not wanted:
            return
        of = np.bincount(languages_of(plan, indices), weights=row.lengths, minlength=len(plan.split.languages))
        for (language, *_), tokens in zip(plan.split.languages, of.tolist(), strict=True):
            if language in wanted:
                self._count(**{f"languages.{language}": int(tokens)})
                self.languages[language] = wanted[language]

    def _classes(self) -> dict[str, Any]:
        found: dict[str, dict[str, int]] = {}
        for name, count in self.counts.items():
            if name.startswith("class."):
                _, term, label = name.split(".")
                found.setdefault(term, {})[label] = int(count)
        ordered = {term: dict(sorted(of.items(), key=lambda item: int(item[0]))) for term, of in found.items()}
        return {"classes": ordered} if ordered else {}

    def summary(self, recipe: Recipe) -> dict[str, Any]:
        """`requested.pair` is the share over the whole epoch, which the layout's rule gives on this corpus."""
        c, select, rewrite = self.counts, recipe.corruption.select, recipe.corruption.rewrite
        draws = max(c.get("draws", 0), 1)
        requested: dict[str, float] = {}
        achieved: dict[str, float] = {}
        if select.rate < 1 and getattr(select, "meets", True):  # who asks for everything has no share to meet
            requested["rate"], achieved["rate"] = select.rate, c["asked"] / c["source"]
        if hasattr(rewrite, "mask") and c.get("draws"):
            requested |= {"mask": rewrite.mask, "kept": 1 - rewrite.mask - rewrite.random, "random": rewrite.random}
            achieved |= {"mask": c["mask"] / draws, "kept": c["kept"] / draws}
            achieved["random"] = (c["draws"] - c["mask"] - c["kept"]) / draws
        if hasattr(select, "mean"):
            unit = "span_tokens" if select.units == "token" else "span_words"
            requested[unit], achieved[unit] = select.mean, c[unit] / max(c["spans"], 1)
        for level in [name.partition(".")[2] for name, count in c.items() if name.startswith("source.") and count]:
            requested[f"rate.{level}"] = select.rate
            achieved[f"rate.{level}"] = c[f"asked.{level}"] / c[f"source.{level}"]
        for view, share in rewrite.views.shares.items() if hasattr(rewrite, "views") else ():
            requested[f"views.{view}"], achieved[f"views.{view}"] = share, c[f"views.{view}"] / c["examples"]
        for language, share in self.languages.items():
            requested[f"languages.{language}"] = share
            achieved[f"languages.{language}"] = c[f"languages.{language}"] / c["source"]
        if c.get("links"):
            requested |= {"links.wrong": rewrite.wrong, "links.hidden": rewrite.hidden}
            achieved |= {f"links.{how}": c[how] / c["links"] for how in ("wrong", "hidden")}
        if "pairs" in c:
            requested["pair"] = c["expected"] / c["pairs"]
            achieved["pair"] = c["label_1"] / c["pairs"]
        return {
            "requested": {key: round(value, 6) for key, value in requested.items()},
            "achieved": {key: round(value, 6) for key, value in achieved.items()},
            **self._classes(),
            "examples": c["examples"],
            "tokens": {
                "used": c["used"],
                "padding": 0,
                "dropped": c["cut"],
                "unknown": c["unknown"],
                "text": c["text"],
            },
        }


def _replaced(row: Row, spans: np.ndarray, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """What stands where something is asked, and what stood there; nothing where a decoder writes of a text that others' places count in."""
    if batch.output is None:
        target = batch.targets["token"]
        return batch.input.tokens[target.at[:, 0]], target.labels
    if batch.input.hidden is None:
        return np.zeros(0, np.int32), np.zeros(0, np.int32)
    at = np.flatnonzero(batch.input.hidden)
    return batch.input.tokens[at], row.tokens[at]
