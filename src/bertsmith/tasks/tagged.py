"""What is said of words, as tags and spans.  p words of s sentences, c tags.

A linear head says (p, c) logits, NaN of a word that was not read: each word by itself, its likeliest tag.  A CRF says tags that are likeliest
together (chains.Decoded), which are not always each word's own likeliest.
"""

from __future__ import annotations

import numpy as np

from bertsmith.tasks import metrics
from bertsmith.tasks.chains import Decoded
from bertsmith.tasks.labels import Labels
from bertsmith.tasks.spans import mark_spans, spans

Array = np.ndarray
Said = Array | Decoded


def chosen(said: Said) -> Array:
    """(p,) what is said of each word; -1 where it was not read."""
    if isinstance(said, Decoded):
        return said.ids
    unread = np.isnan(said[:, 0])
    return np.where(unread, -1, np.where(np.isnan(said), 0, said).argmax(1))


def shares(said: Said) -> Array:
    """(p, c) how likely each tag is, NaN of a word that was not read."""
    return said.shares if isinstance(said, Decoded) else np.exp(metrics.log_softmax(said))


def confidence(said: Said, own: Array, first: int, end: int) -> float:
    """How likely all tags of the words [first, end) of a sentence are together; `own` (p,): how likely that of each is."""
    return said.path(first, end) if isinstance(said, Decoded) else float(own[first:end].prod())


def counted(ids: Array, lengths: Array, said: Said, labels: Labels) -> tuple[Array, Array, Array | None]:
    """Of each sentence: words that are right, words; spans found, said and true (s, 3), where there are any."""
    right = np.add.reduceat(chosen(said) == ids, np.cumsum(lengths) - lengths)
    marked = None
    if mark_spans(labels.names):
        both = zip(*both_spans(ids, lengths, said, labels), strict=True)
        marked = np.array([(len(a & b), len(b), len(a)) for a, b in both])
    return right, lengths, marked


def both_spans(ids: Array, lengths: Array, said: Said, labels: Labels) -> tuple[list[set], list[set]]:
    """Of each sentence the spans that are true, and those that are said."""
    return _spans(ids, lengths, labels), _spans(chosen(said), lengths, labels)


def _spans(ids: Array, lengths: Array, labels: Labels) -> list[set]:
    names = [*labels.names, None]  # -1 is the last
    return [set(spans([names[i] for i in part.tolist()])) for part in np.split(ids, np.cumsum(lengths)[:-1])]
