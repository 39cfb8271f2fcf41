"""Whether graphs say what the model says: texts of ragged lengths, one by one as our own packed rows read them, in ragged padded batches there.

s texts of l places, padded behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import cycle
from typing import Any

import numpy as np
import torch

from bertsmith.data.batch import NEVER, Stream
from bertsmith.deploy.onnx.graphs import (
    EMBEDDING,
    ENCODED,
    IDS,
    LOGITS,
    MASK,
    OF_TEXTS,
    SEGMENTS,
    STATES,
    STATES_MASK,
    Pool,
    answered,
)
from bertsmith.deploy.texts import texts
from bertsmith.downstream.model import Loaded
from bertsmith.downstream.vectors import pooled
from bertsmith.errors import InputError
from bertsmith.tasks.sequences import Builder, Encoded
from bertsmith.training.precision import Precision

TEXTS = 100
TOLERANCE = 1e-5  # of the largest answer, or of 1 where all are smaller
ROUNDED = 2  # times the rounding of the model's own float32, where that alone is more
SIZES = (1, 3, 8, 2, 16)  # texts of a batch, one after another
WHOLE = 2  # texts that fill the model's length
LONGEST = 512  # tokens of those

Answers = dict[str, list[np.ndarray]]  # output -> of each text


def sequences(loaded: Loaded, chosen: Sequence[str]) -> Encoded:
    """`chosen` texts as the model reads them: some as pairs where it reads such, one of a single token, some of its whole length."""
    length = min(loaded.length(), LONGEST)
    reading = replace(loaded.reading(length), orders="one")
    if loaded.writing is not None:
        reading = reading.to_write()
    pairs = (reading.segments or reading.wide == "question") and not reading.causal
    builder = Builder(vocab=loaded.vocab, reading=reading, pairs=pairs)
    room = builder.room
    ids = [np.asarray(row, np.int32) for row, _ in loaded.tokenizer.encode([*chosen])]
    ids = [row for row in ids if len(row)] or [np.array([loaded.vocab.unk], np.int32)]
    long, owner = np.concatenate(ids * (1 + WHOLE * room // sum(map(len, ids)))), 0
    made: list[tuple[np.ndarray, ...]] = [(long[i * room : (i + 1) * room],) for i in range(WHOLE)]
    made.append((ids[0][:1],))
    for one, two in zip(ids, [*ids[1:], ids[0]], strict=True):
        both = pairs and len(made) % 3 == 0
        made.append((one[: room // 2], two[: room - room // 2]) if both else (one[:room],))
    for owner, row in enumerate(made[: max(TEXTS, len(chosen))]):
        builder.add(owner, *row)
    return builder.encoded(owner + 1)


def batches(encoded: Encoded, count: int | None = None) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """(which texts, their inputs), in the order of the texts and of SIZES; `count`: texts of each instead."""
    at, sizes = 0, cycle(SIZES if count is None else (count,))
    while at < len(encoded):
        which = np.arange(at, min(at + next(sizes), len(encoded)))
        yield which, inputs_of(encoded, which)
        at += len(which)


def inputs_of(encoded: Encoded, which: np.ndarray) -> dict[str, np.ndarray]:
    """Texts as ONNX users give them: (s, l) int64, padded behind."""
    ends = np.cumsum(encoded.lengths)
    lengths = encoded.lengths[which]
    real = np.arange(lengths.max()) < lengths[:, None]
    found = {name: np.zeros(real.shape, np.int64) for name in (IDS, SEGMENTS)}
    for row, i in enumerate(which.tolist()):
        at = slice(int(ends[i] - encoded.lengths[i]), int(ends[i]))
        found[IDS][row, : lengths[row]] = encoded.tokens[at]
        found[SEGMENTS][row, : lengths[row]] = encoded.segments[at]
    return {IDS: found[IDS], MASK: real.astype(np.int64), SEGMENTS: found[SEGMENTS]}


def masked(loaded: Loaded, encoded: Encoded) -> Encoded:
    """The same texts with every fifth token of text a mask, where the model is asked for such."""
    objective: Any = loaded.member.objective
    if loaded.task is not None or loaded.reading().causal or "token" not in answered(objective):
        return encoded
    tokens = encoded.tokens.copy()
    text = np.flatnonzero(~np.isin(tokens, loaded.vocab.special))
    tokens[text[::5]] = loaded.vocab.mask
    return replace(encoded, tokens=tokens)


@torch.no_grad()
def ours(loaded: Loaded, encoded: Encoded, pool: Pool | None, outputs: Sequence[str]) -> Answers:
    """What the model says of each text, in packed rows, of any `outputs` of `encoder_graph`; in the order of the texts."""
    if pool is not None:
        found = pooled(loaded, encoded, pool.pool, skip=pool.skip)
        x = torch.from_numpy(found)
        for layer in pool.dense:
            x = layer(x)
        vectors = x.numpy() / (
            np.maximum(np.linalg.norm(x.numpy(), axis=1, keepdims=True), 1e-12) if pool.normalise else 1
        )
        return {EMBEDDING: list(vectors)}
    made: Answers = {name: [] for name in outputs}
    precision = Precision.exact(torch.device("cpu"))
    member = loaded.member.eval()
    with precision.policy():
        for i in range(len(encoded)):
            which = np.array([i])
            stream = asked(loaded, encoded.batch(which).input.to("cpu"))
            for name, said in _said(loaded, member, encoded, which, stream).items():
                made[name].append(said)
    return made


def asked(loaded: Loaded, stream: Stream) -> Stream:
    """Masks only ask, of a model that has tokens which do (downstream/fill.py)."""
    if not (loaded.recipe.model.asks and loaded.task is None):
        return stream
    rank = torch.where(stream.tokens == loaded.vocab.mask, NEVER, stream.key_rank)  # type: ignore[call-overload]
    return replace(stream, key_rank=rank, visibility="ranks")


def _said(loaded: Loaded, member: Any, encoded: Encoded, which: np.ndarray, stream: Stream) -> dict[str, np.ndarray]:
    every = torch.arange(len(stream.tokens))
    whole = torch.from_numpy(encoded.read(which)[1])
    objective, labels = member.objective, loaded.labels
    weights = objective.weights()
    if "span" in weights:
        both = member.logits(stream, every).numpy()
        return {"start_logits": both[:, 0], "end_logits": both[:, 1]}
    if "tag" in weights:
        return {LOGITS: member.logits(stream, every).numpy()}
    terms = answered(objective)
    if not terms:
        said = member.logits(stream, whole).float().numpy()[0]
        numbers = loaded.task is not None and not labels.names
        return {LOGITS: said * labels.scale + labels.mean if numbers else said / labels.temperature}
    main = next((term for term in terms if term not in OF_TEXTS), terms[0])
    found = {}
    for term in terms:
        at = whole if term in OF_TEXTS else every
        said = objective.logits(member.model, stream, at, term).numpy()
        found[LOGITS if term == main else f"{term}_{LOGITS}"] = said[0] if term in OF_TEXTS else said
    return found


@torch.no_grad()
def ours_written(loaded: Loaded, encoded: Encoded, written: Sequence[np.ndarray]) -> Answers:
    """Of a model that writes: the encoder's states, and what the decoder says behind each token of `written`."""
    made: Answers = {ENCODED: [], LOGITS: []}
    member: Any = loaded.member.eval()
    with Precision.exact(torch.device("cpu")).policy():
        for i in range(len(encoded)):
            stream = encoded.batch(np.array([i])).input.to("cpu")
            made[ENCODED].append(member.model.encoder(stream).numpy())
            place = torch.arange(len(written[i]))
            tokens = torch.from_numpy(written[i].astype(np.int64))
            ranks = {"query_rank": place, "key_rank": place, "visibility": "causal"}
            output = Stream(
                tokens=tokens, positions=place, segments=torch.zeros_like(place), lengths=(len(place),), **ranks
            )
            made[LOGITS].append(member.objective.logits(member.model, stream, place, "token", output).numpy())
    return made


def theirs(run: Any, encoded: Encoded, count: int | None = None) -> Answers:
    """What one graph says of each text, without filler."""
    made: Answers = {name: [] for name in run.outputs}
    for which, inputs in batches(encoded, count):
        for name, said in run(inputs).items():
            made[name] += _cut(said, encoded.lengths[which], name in run.by_token)
    return made


def theirs_written(runs: Sequence[Any], encoded: Encoded, written: Sequence[np.ndarray]) -> Answers:
    """The same of an encoder and a decoder that reads it."""
    encoder, decoder = runs
    made: Answers = {ENCODED: [], LOGITS: []}
    for which, inputs in batches(encoded):
        states = encoder(inputs)[ENCODED]
        longest = max(len(written[i]) for i in which)
        rows = np.stack([np.pad(written[i], (0, longest - len(written[i]))) for i in which]).astype(np.int64)
        said = decoder({IDS: rows, STATES: states, STATES_MASK: inputs[MASK]})[LOGITS]
        made[ENCODED] += _cut(states, encoded.lengths[which], True)
        made[LOGITS] += _cut(said, np.array([len(written[i]) for i in which]), True)
    return made


def _cut(said: np.ndarray, lengths: np.ndarray, by_token: bool) -> list[np.ndarray]:
    """The rows of each text, without filler where they are by its tokens."""
    return [row[:length] if by_token else row for row, length in zip(said, lengths.tolist(), strict=True)]


def apart(ours: Answers, theirs: Answers, exact: Callable[[], Answers]) -> tuple[dict[str, float], list[str]]:
    """{output: the largest difference, of the largest answer or of 1}, and the outputs that rounding alone moves further than TOLERANCE.

    There `exact`, the model in float64, is the judge: a graph may be twice as far from it as the model in float32 is.  InputError where one is
    further than that, or no number.
    """
    found, rounded = {}, []
    for name, said in ours.items():
        found[name] = _apart(said, theirs[name])
        if found[name] <= TOLERANCE:
            continue
        true = exact()[name]
        own, other = _apart(true, said), _apart(true, theirs[name])
        if not (own > TOLERANCE / ROUNDED and other <= ROUNDED * own):
            raise InputError(
                f"its {name} differ by {found[name]:.2g} of the largest from the model's, and {TOLERANCE:g} is allowed"
            )
        rounded.append(name)
    return found, rounded


def _apart(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    scale = max(1.0, *(float(np.abs(row).max()) for row in one if row.size))
    return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True) if a.size) / scale


def doubled(loaded: Loaded) -> Loaded:
    """The same in float64."""
    return replace(loaded, member=deepcopy(loaded.member).double())


def chosen_texts(loaded: Loaded) -> tuple[list[str], str]:
    return texts(loaded.tokenizer, loaded.config, TEXTS)
