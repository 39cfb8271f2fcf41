"""Hugging Face names: the tables of hf_families.py and hf_layers.py, read in both directions.  Only these, hf_bodies.py and hf_config.py know them.

Ours to theirs: equal tensors, but that (1) query, key and value are one matrix here, rows in this order, and three there; (2) RoBERTa's position
table has `pad + 1` rows in front that no token reads, zero on export; (3) RoBERTa's one segment row, which every token gets, is added to
every row of our position table on import and is zero on export, so that the function is the same and the tensor need not be; (4) XLNet's
attention is tensors with an axis for the heads; (5) GPT's matrices stand the other way round; (6) of BART and T5 as hf_stacks.py says, of Reformer as hf_reformer.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bertsmith.deploy.hf_bodies import numbers_of
from bertsmith.deploy.hf_families import FAMILIES, GONE, PAIR, Family
from bertsmith.deploy.hf_layers import BUFFERS, MASKS, OLD, SAME, SEGMENTS, Turned
from bertsmith.errors import InputError, nearest, printable
from bertsmith.nn.adaptive import Adaptive
from bertsmith.nn.feedforward import Gated
from bertsmith.nn.transformer import TransformerConfig
from bertsmith.spelling import an, option

if TYPE_CHECKING:
    from torch import Tensor


def family_of(recipe: Any) -> Family:
    """By the shapes of `recipe.model` and the summary that `recipe.objective` reads; families of the same shapes by the recipe's name.

    InputError for a model that no family can hold.
    """
    model, pooler = recipe.model, getattr(recipe.objective, "pooler", "tanh")
    if not isinstance(model, TransformerConfig):
        vectors = (
            f"; {option('to', 'word2vec')} writes its table of tokens" if getattr(model, "knows_corpus", False) else ""
        )
        raise InputError(
            f"{getattr(recipe, 'name', 'this model')}: transformers has no class of its kind; it knows {', '.join(FAMILIES)}{vectors}"
        )
    if isinstance(model.embeddings, Adaptive):
        raise InputError(f"model.embeddings: {GONE['transfo-xl']}: such a model stays here")
    if model.decodes and _paired(recipe):
        return PAIR
    fitting = [family for family in FAMILIES.values() if _fits(family, model, pooler)]
    if fitting:
        named = getattr(recipe, "name", None)
        return next((family for family in fitting if named in family.members), fitting[0])
    why = next(filter(None, (family.apart(model) for family in FAMILIES.values())), None)
    if why:
        raise InputError(why)
    slots = ("embeddings", "positions", "block", "norm", "attention", "feedforward", "topology")
    if model.decodes:
        raise InputError(_apart(model))
    said = f"{', '.join(f'{type(getattr(model, slot)).__name__} {slot}' for slot in slots)}, share {model.share}, a table of {model.inner}, {model.segments} segments, {pooler} summary"
    raise InputError(f"model: {said}: transformers has no class for these together, among {', '.join(FAMILIES)}")


def _paired(recipe: Any) -> bool:
    """Whether it is an encoder and a decoder of its kind, whose token head has layers of its own as an encoder's has."""
    model, heads = recipe.model, getattr(recipe.objective, "heads", ())
    if [head.name for head in heads] != ["token"] or not getattr(heads[0], "transform", False):
        return False
    encoder, _ = model.topology.sides(model)
    return any(
        family.source and _fits(family, encoder, getattr(recipe.objective, "pooler", "tanh"))
        for family in FAMILIES.values()
    )


def _fits(family: Family, model: TransformerConfig, pooler: str) -> bool:
    inner = model.embeddings.width
    fits = model.share in family.share and (inner is not None) in family.factorised
    # Where the table need not be factorised, one of full width has no projection.
    fits = fits and not (False in family.factorised and inner == model.width)
    fits = fits and (family.told or bool(model.segments) == family.segments)
    fits = fits and pooler in (family.pooler, *family.poolers)
    fits = fits and model.activation in family.activations and model.decodes == (len(family.stacks) > 1)
    try:
        return fits and _alike(family.body(numbers_of(model)), model)
    except InputError:  # a body of this family cannot have these numbers
        return False


def _alike(family: TransformerConfig, model: TransformerConfig) -> bool:
    """No memory and one of no tokens are the same; what weights begin as is no part of what they say."""
    memories = [getattr(config.memory, "length", 0) for config in (family, model)]
    return memories[0] == memories[1] and replace(family, memory=model.memory, initial=model.initial) == model


def _apart(model: TransformerConfig) -> str:
    """Why no encoder-decoder of transformers is `model`: the fields in which the nearest one differs."""
    numbers = {**numbers_of(model), "width": model.heads * (model.width // model.heads or 1)}
    bodies = {f.model_type: f.body(numbers) for f in FAMILIES.values() if len(f.stacks) > 1}
    slots = ("embeddings", "positions", "block", "norm", "attention", "feedforward", "share", "topology")
    apart = {
        name: [slot for slot in slots if getattr(body, slot) != getattr(model, slot)] for name, body in bodies.items()
    }
    name = min(apart, key=lambda name: len(apart[name]))
    said = (f"{slot} {getattr(model, slot)}, not {getattr(bodies[name], slot)}" for slot in apart[name])
    return f"model: transformers' nearest encoder-decoder is its {name}, and this one has {'; '.join(said)}"


def to_hf(state: dict[str, Tensor], recipe: Any, pad: int | None = None) -> dict[str, Tensor]:
    """A member's state dict under their names, tied copies left out as in their files.

    `pad`: the tokenizer's pad id, from which RoBERTa counts its positions (None: the published one).
    Raises InputError for a tensor that the family has no name for.
    """
    family = family_of(recipe)
    left, theirs = dict(state), {}
    terms = {
        *_terms(state),
        *(term for term in recipe.objective.weights() if term in family.heads and family.empty(term)),
    }
    for term in terms:
        if term not in family.heads:
            raise InputError(
                f"objective.{term}: {family.model_type} has no head for it; it has {', '.join(family.heads)}"
            )
    model = recipe.model
    gated = isinstance(model.feedforward, Gated)
    for ours, names, turned in _pairs(family, _layers(model, family), model.embeddings.width is not None, gated, terms):
        if _may_lack(family, names[0]) and ours not in left:
            continue
        tensor = _take(left, ours)
        del left[ours]
        theirs |= {
            name: turned.out(part, model.heads) for name, part in zip(names, tensor.chunk(len(names)), strict=True)
        }
    if family.placed:
        theirs |= _places_out(family, left, pad)
    table = theirs[family.under(family.tokens)]
    theirs |= {name: table.new_zeros(len(table)) for term, name in family.unread.items() if term in terms}
    if left:
        raise InputError(f"{next(iter(left))}: {family.model_type} has no name for it")
    if not terms - {"summary"}:
        theirs = {family.bare_of(name): tensor for name, tensor in theirs.items()}
    import torch

    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in theirs.items()}


def _places_out(family: Family, left: dict[str, Tensor], pad: int | None) -> dict[str, Tensor]:
    """The tables of positions and segments, taken from `left`."""
    places = left.pop("model.positions.table.weight")
    if family.folded:
        import torch

        unread = places.new_zeros(offset(family, pad), places.shape[1])
        none = places.new_zeros(1, places.shape[1])
        segments, places = left.pop("model.embeddings.segments.weight", none), torch.cat([unread, places])
    elif family.segments:
        segments = left.pop("model.embeddings.segments.weight")
    else:
        return {family.under(str(family.places)): places}
    return {family.under(str(family.places)): places, family.under(SEGMENTS): segments}


def groups(model: TransformerConfig) -> int:
    """Layers with weights of their own."""
    return 1 if model.share == "all" else model.layers


def _layers(model: TransformerConfig, family: Family) -> dict[str, int]:
    """The same for each stack, by what its names begin with."""
    if len(family.stacks) == 1:
        return {"": groups(model)}
    return {side: part.layers for side, part in zip(family.stacks, model.topology.sides(model), strict=True)}


def layers_in(names: Iterable[str], family: Family) -> dict[str, int]:
    """Layers of each stack that there are tensors of; their names, as `current` gives them."""
    found = {}
    rows = [row[1] for row in family.layer] + [names[0] for _, names, _ in (*family.tensors, *family.plain)]
    for side in family.stacks:
        first = next(row for row in rows if row.startswith(side) and "#" in row)
        before = family.under(first.partition("#")[0])
        numbers = {name.removeprefix(before).partition(".")[0] for name in names if name.startswith(before)}
        found[side] = max((int(number) for number in numbers if number.isdecimal()), default=-1) + 1
    return found


def current(state: dict[str, Tensor], family: str) -> dict[str, Tensor]:
    """Their tensors under the names of today, with the family's prefix, without buffers and tied copies.

    InputError for a family that is not known, for two names of one tensor, and for a decoder that is not tied to the token table.
    """
    if family not in FAMILIES:
        raise InputError(f"model_type {printable(family)!r} cannot be read; {nearest(family, FAMILIES)}")
    table, found = FAMILIES[family], {}
    for name, tensor in state.items():
        for old, new in OLD.items():
            name = name.removesuffix(old) + new if name.endswith(old) else name
        for old, new in table.old.items():
            name = new + name.removeprefix(old) if name.startswith(old) else name
        name = table.under(name) if name.startswith(table.parts) else name
        if table.bare_of(name) in BUFFERS or name.endswith(MASKS) or name.partition(".")[0] in table.left:
            continue
        if name in found:
            raise InputError(f"{printable(name)}: stands there twice, under an old name and a new one")
        found[name] = tensor
    for copy, of in table.tied.items():
        tensor = found.pop(copy, None)
        if tensor is None or _equal(found.setdefault(of, tensor), tensor):
            continue
        if copy in table.optional:  # a head's own
            found[copy] = tensor
        else:
            raise InputError(f"{copy}: differs from {of}; only decoders tied to the token table can be read")
    for name in {*table.optional} - table.tied.keys():
        if name in found and not found[name].is_meta and not found[name].any():
            del found[name]  # adds nothing
    return found


def family_in(names: Iterable[str], said: str | None, segments: Any = None) -> str | None:
    """The model_type of tensors of these names, which may not be the one that is `said`; None where they do not tell."""
    names = list(names)
    if said is not None and (
        not names or any(name.startswith((FAMILIES[said].under(""), FAMILIES[said].parts[0])) for name in names)
    ):
        return said
    found = {name.partition(".")[0] for name in names} & {family.base for family in FAMILIES.values()}
    if len(found) == 1:
        of_base = {name: family for name, family in FAMILIES.items() if family.base in found}
        tells = (name for name, f in of_base.items() if any(x.startswith(f.under(f.parts[0])) for x in names))
        return next(tells, next(iter(of_base)))
    bare = any(name.startswith("encoder.layer.") for name in names)
    return ("roberta" if segments == 1 else "bert") if said is None and bare else said


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.equal(other)


def terms_in(names: Iterable[str], family: str, architecture: str = "") -> tuple[str, ...]:
    """The heads that `current` names belong to, whole or in part; a pooler that no other head uses is a summary.

    The classifiers of texts and of tokens may have one name: `architecture` tells, or else whether there is a pooler.
    """
    heads, names = FAMILIES[family].heads, set(names)
    tensors = {term: {their for _, their, _ in _spell(term, rows)} for term, rows in heads.items()}
    summary = tensors.get("summary", set())
    before = {*FAMILIES[family].before}
    terms = [term for term in heads if term != "summary" and names & (tensors[term] - summary - before)]
    terms = terms or [term for term in heads if before and before <= names][:1]
    alike = [term for term in terms if tensors[term] == tensors[terms[0]]]
    if len(alike) > 1:  # heads of the same tensors
        named = next((each for each in alike if FAMILIES[family].architectures[each,] == architecture), alike[0])
        terms = [term for term in terms if term == named or term not in alike]
    if "choice" in terms:  # it may have the tensors of another
        chooses = architecture.endswith("ForMultipleChoice")
        terms = [term for term in terms if (term == "choice") == chooses]
    if {"label", "tag"} <= {*terms}:
        own = tensors["label"] - tensors["tag"]  # what is before it
        tokens = architecture.endswith("ForTokenClassification") or not (architecture or names & own)
        terms.remove("label" if tokens else "tag")
    if not {"tag", "span"} & {*terms} and names & summary and not any(summary <= tensors[term] for term in terms):
        terms.append("summary")
    if not terms and architecture != FAMILIES[family].architectures[()]:  # a head without tensors of its own
        terms = [term for term in heads if FAMILIES[family].empty(term)]
    return tuple(term for term in heads if term in terms)


def from_hf(state: dict[str, Tensor], family: str, pad: int | None = None, architecture: str = "") -> dict[str, Tensor]:
    """Their state dict under our names.  Raises InputError for missing and unknown tensors, and as `current` does."""
    import torch

    left, ours = current(state, family), {}
    table = FAMILIES[family]
    factorised = table.project is not None and table.under(f"{table.project}.weight") in left
    gated = any(table.under(names[0].replace("#", "0")) in left for _, names, _ in table.gated)
    read: set[str] = set()
    terms = terms_in(left, family, architecture)
    for mine, names, turned in _pairs(table, layers_in(left, table), factorised, gated, terms):
        if _may_lack(table, names[0]) and (names[0] not in left or names[0] in read):
            continue
        ours[mine] = torch.cat([turned.back(_take(left, name)) for name in names])
        read.update(names)
    if table.placed:
        ours |= _places_back(table, left, pad)
        read |= {table.under(str(name)) for name in (table.places, SEGMENTS)[: 1 + (table.folded or table.segments)]}
    for name in table.unread.values():
        if name in left and not left[name].is_meta and left[name].any():
            raise InputError(
                f"{name}: is not 0, and whether it is added depends on the version of transformers; make it 0"
            )
    unknown = [name for name in left if name not in read and name not in table.unread.values()]
    if unknown:
        raise InputError(
            f"{printable(unknown[0])}: not a tensor of {an(family)} that bertsmith knows ({len(unknown)} such)"
        )
    return ours


def _places_back(table: Family, left: dict[str, Tensor], pad: int | None) -> dict[str, Tensor]:
    """The tables of positions and segments."""
    places = _take(left, table.under(str(table.places)))
    if not (table.folded or table.segments):
        return {"model.positions.table.weight": places.clone()}
    segments = _take(left, table.under(SEGMENTS))
    if not table.folded:
        return {"model.positions.table.weight": places.clone(), "model.embeddings.segments.weight": segments.clone()}
    if len(segments) != 1 and table.told:
        places = places[offset(table, pad) :].clone()
        return {"model.positions.table.weight": places, "model.embeddings.segments.weight": segments.clone()}
    if len(segments) != 1:
        raise InputError(f"{table.base}.{SEGMENTS}: {len(segments)} segments; {table.model_type} has 1")
    places = places[offset(table, pad) :]
    # Nothing is added to what was exported by us: -0.0 + 0.0 would be another bit pattern.
    return {"model.positions.table.weight": places + segments if segments.any() else places.clone()}


def _pairs(
    family: Family, layers: dict[str, int], factorised: bool, gated: bool, terms: Iterable[str]
) -> Iterator[tuple[str, tuple[str, ...], Turned]]:
    """(our tensor, their tensors that make it up, how these stand), tables of segments and positions aside.

    `layers`: of each stack.  Those of a head that are `optional` may not be there.
    """
    yield f"model.{family.table}", (family.under(family.tokens),), SAME
    project = [("embeddings.project", family.project)] if factorised and family.project else []
    modules = [*family.modules, *project, *_numbered(family.layer, layers)]
    for ours, *theirs in modules:
        for end in ("weight", "bias"):
            yield f"model.{ours}.{end}", tuple(family.under(f"{name}.{end}") for name in theirs), SAME
    chosen = (*family.tensors, *(family.gated if gated else family.plain), *family.either)
    rows = [(ours, *names) for ours, names, _ in chosen]
    kinds = {ours: turned for ours, _, turned in chosen}
    for row in rows:
        for ours, *theirs in _numbered((row,), layers):
            yield f"model.{ours}", tuple(map(family.under, theirs)), kinds[row[0]]
    for term in terms:
        for ours, name, turned in _spell(term, family.heads[term]):
            yield ours, (name,), turned


def _numbered(rows: Iterable[tuple[str, ...]], layers: dict[str, int]) -> list[tuple[str, ...]]:
    """Rows whose names hold a # once for each layer of their stack, by layer; others as they are."""
    rows = list(rows)
    counts = [next(n for side, n in layers.items() if row[0].startswith(side)) if "#" in row[0] else 1 for row in rows]
    return [
        tuple(name.replace("#", str(layer)) for name in row)
        for layer in range(max(counts, default=0))
        for row, count in zip(rows, counts, strict=True)
        if layer < count
    ]


def _may_lack(family: Family, theirs: str) -> bool:
    """Whether a tensor of theirs need not be there."""
    alike = re.sub(r"\.\d+\.", ".#.", family.bare_of(theirs))
    return theirs in (*family.optional, *family.told_of) or any(alike == names[0] for _, names, _ in family.either)


def _spell(term: str, names: tuple[tuple[Any, ...], ...]) -> list[tuple[str, str, Turned]]:
    """The tensors of a head: `=name` is a tensor itself, any other name a module."""
    spelled = []
    for ours, theirs, *turned in names:
        ends = [""] if ours.startswith("=") else [".weight", ".bias"]
        spelled += [(f"objective.{term}.{ours.lstrip('=')}{end}", theirs + end, *(turned or [SAME])) for end in ends]
    return spelled


def _terms(state: dict[str, Tensor]) -> list[str]:
    return sorted({name.split(".")[1] for name in state if name.startswith("objective.")})


def _take(state: dict[str, Tensor], name: str) -> Tensor:
    if name not in state:
        raise InputError(f"{name}: missing")
    return state[name]


def offset(family: Family, pad: int | None) -> int:
    return (family.pad if pad is None else pad) + 1
