"""What is traced: a member as modules that read padded batches of any size.

s texts of l places, padded behind; n = s l; d width, c classes, V vocabulary, t tokens of a decoder.  The layers and heads are the member's own
(nn/modules/rectangle.py); here stands what goes by the ends of texts, which packed rows know and padded ones read off their mask.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.data.batch import NEVER
from bertsmith.downstream.model import Loaded
from bertsmith.nn.modules.attending import Source
from bertsmith.nn.modules.rectangle import Rectangle
from bertsmith.objectives.modules.layers import MAIN, LayersObjective
from bertsmith.objectives.modules.predict import Prediction
from bertsmith.objectives.modules.supervised import Classification, Regression, Spans
from bertsmith.objectives.modules.tagging import Tagging
from bertsmith.objectives.supervised import SIDE

IDS, MASK, SEGMENTS = "input_ids", "attention_mask", "token_type_ids"
STATES, STATES_MASK = "encoder_hidden_states", "encoder_attention_mask"
LOGITS, EMBEDDING, ENCODED = "logits", "sentence_embedding", "last_hidden_state"
OF_TEXTS = ("pair", "summary")  # terms of pre-training that are said of a text as a whole

Says = Callable[[Any, Rectangle], Tensor]  # body and texts -> an output


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A module to trace: its inputs by name, each (s, l) ids but for a decoder's states (s, l, d), and its outputs, by name."""

    name: str  # of the file, without what ends it
    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Pool:
    """How the vector of a text is made, as `embed` has it (deploy/sentences.py)."""

    pool: str
    normalise: bool
    dense: tuple[nn.Module, ...] = ()
    skip: int = 0  # tokens at the start that only [CLS] is taken from


def encoder_graph(loaded: Loaded, pool: Pool | None) -> Graph:
    """Of a member that reads a text in one piece; `pool`: its vector in place of what its head says."""
    says = {EMBEDDING: Vector(pool, _whole(loaded))} if pool is not None else _heads(loaded)
    inputs = (IDS, MASK, SEGMENTS) if loaded.recipe.model.reads_segments else (IDS, MASK)
    return Graph(name="model", module=Texts(loaded, says), inputs=inputs, outputs=tuple(says))


def writer_graphs(loaded: Loaded) -> list[Graph]:
    """Of an encoder and a decoder, each a graph: what was read is read once."""
    inputs = (IDS, MASK, SEGMENTS) if loaded.recipe.model.reads_segments else (IDS, MASK)
    return [
        Graph(name="encoder", module=Encoder(loaded), inputs=inputs, outputs=(ENCODED,)),
        Graph(name="decoder", module=Decoder(loaded), inputs=(IDS, STATES, STATES_MASK), outputs=(LOGITS,)),
    ]


def looked_at(loaded: Loaded) -> Loaded:
    """The same, with what it looks at of each token (pictures of characters) in a table."""
    if not any(hasattr(part, "look_at_all") for part in loaded.member.modules()):
        return loaded
    member = deepcopy(loaded.member)
    for part in member.modules():
        if hasattr(part, "look_at_all"):
            part.look_at_all()
    return replace(loaded, member=member)


class Texts(nn.Module):
    def __init__(self, loaded: Loaded, says: dict[str, Says]):
        super().__init__()
        self.member, self.says, self.reading = loaded.member, says, loaded.reading()
        objective, vocab, model = loaded.member.objective, loaded.vocab, loaded.recipe.model
        self.sep = vocab.sep
        self.asking = vocab.mask if model.asks and LOGITS in says and isinstance(objective, Prediction) else None
        self.alone = _Alone(self.member.model) if model.decodes else None
        dense = [part for said in says.values() for part in getattr(said, "dense", ())]
        self.dense = nn.ModuleList(dense)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Any:
        """(s, l) each -> the outputs, in order."""
        stream = Rectangle.of(input_ids, attention_mask.bool(), token_type_ids, self.reading.causal)
        if self.asking is not None:  # masks see the text, and nothing sees them
            rank = torch.where(stream.tokens == self.asking, NEVER, stream.key_rank)
            stream = replace(stream, key_rank=rank, visibility="ranks")
        if self.reading.wide != "none":
            stream = replace(stream, wide=self._wide(input_ids, stream))
        body = self.alone or self.member.model
        found = tuple(said(body, stream) for said in self.says.values())
        return found if len(found) > 1 else found[0]

    def _wide(self, tokens: Tensor, stream: Rectangle) -> Tensor:
        """What reads all, as `Reading.spread` has it: [CLS], or all that stands before the first separator."""
        first = torch.zeros_like(tokens).flatten() == stream.positions
        if self.reading.wide == "first":
            return first
        ends = (tokens == self.sep) & stream.real
        pair = ends.sum(1, keepdim=True) > 1
        return first | (pair & (ends.cumsum(1) == 0)).flatten()


class _Alone:
    """An encoder and a decoder as a body that reads a text alone (nn/modules/decoder.py)."""

    def __init__(self, model: Any):
        self._model, self.config, self.tokens = model, model.config, model.tokens

    def __call__(self, stream: Rectangle, read: Tensor | None = None) -> Tensor:
        if self.config.topology.alone == "encoder":
            return self._model.encoder(stream)
        return self._model.decoder(behind_its_end(stream), None, self._model.source(stream))

    def states(self, stream: Rectangle, layers: int | None = None) -> list[Tensor]:
        return self._model.encoder.states(stream, layers)


def behind_its_end(stream: Rectangle) -> Rectangle:
    """`nn.modules.decoder.behind_its_end` of padded texts."""
    tokens = stream.tokens.view(stream.real.shape)
    ends = tokens.gather(1, _ends(stream))
    read = torch.cat([ends, tokens[:, :-1]], 1).flatten()
    places = stream.positions
    ranks = {"query_rank": places, "key_rank": places, "visibility": "ranks"}
    return replace(stream, tokens=read, segments=torch.zeros_like(places), **ranks)


class Encoder(nn.Module):
    def __init__(self, loaded: Loaded):
        super().__init__()
        self.body = loaded.member.model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """(s, l) each -> (s, l, d)."""
        stream = Rectangle.of(input_ids, attention_mask.bool(), token_type_ids)
        return self.body.source(stream).hidden.unflatten(0, input_ids.shape)


class Decoder(nn.Module):
    def __init__(self, loaded: Loaded):
        super().__init__()
        self.member = loaded.member

    def forward(self, input_ids: Tensor, encoder_hidden_states: Tensor, encoder_attention_mask: Tensor) -> Tensor:
        """(s, t) what was written, (s, l, d) and (s, l) what was read -> (s, t, V): at each token what comes next."""
        own = Rectangle.of(input_ids, torch.ones_like(input_ids, dtype=torch.bool), causal=True)
        read = Rectangle.of(torch.zeros_like(encoder_attention_mask), encoder_attention_mask.bool())
        source = Source(hidden=encoder_hidden_states.flatten(0, 1), stream=read)
        model: Any = self.member.model
        hidden = model.decoder(own, None, source)
        said = self.member.objective.answer("token", hidden, model, own.tokens)
        return said.unflatten(0, input_ids.shape)


def _heads(loaded: Loaded) -> dict[str, Says]:
    """What the heads of a member say, by the names of outputs."""
    objective: Any = loaded.member.objective
    through: Callable[[Any], Any] = lambda body: body
    if isinstance(objective, LayersObjective):
        through, objective = objective._read, objective.get_submodule(MAIN)
    if isinstance(objective, Tagging):
        return {LOGITS: lambda body, stream: _spread(objective.head(through(body)(stream)), stream)}
    if isinstance(objective, Spans):
        both = lambda body, stream: _spread(objective.span(through(body)(stream)), stream)
        return {
            "start_logits": lambda body, stream: both(body, stream)[..., 0],
            "end_logits": lambda body, stream: both(body, stream)[..., 1],
        }
    if isinstance(objective, Classification):
        whole, labels = _whole(loaded), loaded.labels

        def classes(body: Any, stream: Rectangle) -> Tensor:
            said = objective.head(_read_as_one(objective, through(body), stream, whole)).float()
            return said * labels.scale + labels.mean if isinstance(objective, Regression) else said / labels.temperature

        return {LOGITS: classes}
    terms = answered(objective)
    main = next((term for term in terms if term not in OF_TEXTS), next(iter(terms), None))
    return {LOGITS if term == main else f"{term}_{LOGITS}": _term(loaded, term) for term in terms}


def answered(objective: Any) -> tuple[str, ...]:
    """The terms of pre-training that are said where they are read: others (what stands between two places) are of training alone."""
    if not isinstance(objective, Prediction):
        return ()
    columns = objective.columns
    terms = (term for term in objective.answers if columns[term] == 1 and objective.answers[term] == term)
    return tuple(term for term in terms if not hasattr(objective.get_submodule(term), "among"))


def _term(loaded: Loaded, term: str) -> Says:
    objective: Any = loaded.member.objective
    whole = _whole(loaded)

    def said(body: Any, stream: Rectangle) -> Tensor:
        every = torch.arange(stream.tokens.shape[0], device=stream.tokens.device)
        hidden = objective.encoded(body, stream, every) if hasattr(objective, "positions") else body(stream)
        if term in OF_TEXTS:
            return objective.answer(term, whole(hidden, stream), body, stream.tokens)
        return _spread(objective.answer(term, hidden, body, stream.tokens), stream)

    return said


class Vector:
    """The vector of a text; its dense layers are found by who traces it."""

    def __init__(self, pool: Pool, whole: Callable[[Tensor, Rectangle], Tensor]):
        self.pool, self.whole, self.dense = pool, whole, pool.dense

    def __call__(self, body: Any, stream: Rectangle) -> Tensor:
        hidden = body(stream)
        made = [
            self.whole(hidden, stream) if part == "cls" else pooled(hidden, stream, part, self.pool.skip)
            for part in self.pool.pool.split("+")
        ]
        x = torch.cat(made, 1) if len(made) > 1 else made[0]
        for layer in self.dense:
            x = layer(x)
        return F.normalize(x, dim=1) if self.pool.normalise else x


def _whole(loaded: Loaded) -> Callable[[Tensor, Rectangle], Tensor]:
    """What says the state (s, d) that a text is read at as a whole, out of all states (n, d)."""
    reading = loaded.reading()
    first = reading.cls == "first" and not reading.ends

    def at(hidden: Tensor, stream: Rectangle) -> Tensor:
        states = _spread(hidden, stream)
        if first:
            return states[:, 0]
        return states.gather(1, _ends(stream)[..., None].expand(-1, -1, states.shape[2]))[:, 0]

    return at


def _ends(stream: Rectangle) -> Tensor:
    """(s, 1) the place of the last token of each text."""
    return (stream.real.long().sum(1, keepdim=True) - 1).clamp(min=0)


def _spread(x: Tensor, stream: Rectangle) -> Tensor:
    """(n, c) -> (s, l, c)."""
    return x.unflatten(0, stream.real.shape)


def _read_as_one(objective: Any, body: Any, stream: Rectangle, whole: Callable) -> Tensor:
    """(s, d) what the head of a text reads, as `Classification.vectors` has it of packed rows."""
    states = body.states(stream) if objective.pool == "first-last" else [body(stream)]
    made = []
    for pool in SIDE.get(objective.pool, (objective.pool,)):
        hidden = (states[1] + states[-1]) / 2 if pool == "first-last" else states[-1]
        if pool == "cls":
            made.append(whole(hidden, stream))
        elif pool == "attention":
            looks = _spread(objective.look(hidden).float(), stream).masked_fill(~stream.real[..., None], -torch.inf)
            made.append((looks.softmax(1) * _spread(hidden, stream)).sum(1))
        else:
            made.append(pooled(hidden, stream, "mean" if pool == "first-last" else pool))
    return torch.cat(made, 1) if len(made) > 1 else made[0]


def pooled(hidden: Tensor, stream: Rectangle, pool: str, skip: int = 0) -> Tensor:
    """States (n, d) -> (s, d), as `deploy.sentences.pooled` has it of the states of one text."""
    states, real = _spread(hidden, stream), stream.real
    if skip:  # where more tokens are left
        places = stream.positions.view(real.shape)
        real = real & ((places >= skip) | (places >= _ends(stream)))
    if pool == "max":
        return states.masked_fill(~real[..., None], -torch.inf).amax(1)
    if pool == "lasttoken":
        return states.gather(1, _ends(stream)[..., None].expand(-1, -1, states.shape[2]))[:, 0]
    weights = real.to(states.dtype)
    if pool == "weightedmean":
        weights = weights * weights.cumsum(1)
    count = weights.sum(1, keepdim=True)
    total = (states * weights[..., None]).sum(1)
    return total / (count**0.5 if pool == "mean_sqrt_len" else count)
