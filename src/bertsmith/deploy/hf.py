"""Hugging Face names: the tables of hf_families.py and hf_layers.py, read in both directions.  Only these, hf_bodies.py and hf_config.py know them.

Ours to theirs: equal tensors, but that (1) query, key and value are one matrix here, rows in this order, and three there; (2) RoBERTa's position
table has `pad + 1` rows in front that no token reads, zero on export; (3) RoBERTa's one segment row, which every token gets, is added to
every row of our position table on import and is zero on export, so that the function is the same and the tensor need not be; (4) XLNet's
attention is tensors with an axis for the heads; (5) GPT's matrices stand the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bertsmith.deploy.hf_bodies import numbers_of
from bertsmith.deploy.hf_families import FAMILIES, GONE, Family
from bertsmith.deploy.hf_layers import BUFFERS, MASKS, OLD, SAME, SEGMENTS, Turned
from bertsmith.errors import InputError, nearest, printable
from bertsmith.nn.adaptive import Adaptive
from bertsmith.nn.positions import Learned
from bertsmith.nn.transformer import TransformerConfig
from bertsmith.spelling import an

if TYPE_CHECKING:
    from torch import Tensor


def family_of(recipe: Any) -> Family:
    """By the shapes of `recipe.model` and the summary that `recipe.objective` reads; families of the same shapes by the recipe's name.

    InputError for a model that no family can hold.
    """
    model, pooler = recipe.model, getattr(recipe.objective, "pooler", "tanh")
    if not isinstance(model, TransformerConfig):
        raise InputError(f"model: {an(type(model).__name__)} is neither of {', '.join(FAMILIES)}")
    if isinstance(model.embeddings, Adaptive):
        raise InputError(f"model.embeddings: {GONE['transfo-xl']}: such a model stays here")
    fitting = [family for family in FAMILIES.values() if _fits(family, model, pooler)]
    if fitting:
        named = getattr(recipe, "name", None)
        return next((family for family in fitting if named in family.members), fitting[0])
    slots = ("embeddings", "positions", "block", "norm", "attention", "feedforward", "topology")
    said = f"{', '.join(f'{type(getattr(model, slot)).__name__} {slot}' for slot in slots)}, share {model.share}, a table of {model.inner}, {model.segments} segments, {pooler} summary"
    raise InputError(f"model: {said}: transformers has no class for these together, among {', '.join(FAMILIES)}")


def _fits(family: Family, model: TransformerConfig, pooler: str) -> bool:
    inner = model.embeddings.width
    fits = model.share in family.share and (inner is not None) in family.factorised
    # Where the table need not be factorised, one of full width has no projection.
    fits = fits and not (False in family.factorised and inner == model.width)
    fits = fits and bool(model.segments) == family.segments and pooler == family.pooler
    fits = fits and model.activation in family.activations
    return fits and _alike(family.body(numbers_of(model)), model)


def _alike(family: TransformerConfig, model: TransformerConfig) -> bool:
    """No memory and one of no tokens are the same."""
    memories = [getattr(config.memory, "length", 0) for config in (family, model)]
    return memories[0] == memories[1] and replace(family, memory=model.memory) == model


def to_hf(state: dict[str, Tensor], recipe: Any, pad: int | None = None) -> dict[str, Tensor]:
    """A member's state dict under their names, tied copies left out as in their files.

    `pad`: the tokenizer's pad id, from which RoBERTa counts its positions (None: the published one).
    Raises InputError for a tensor that the family has no name for.
    """
    family = family_of(recipe)
    left, theirs = dict(state), {}
    terms = {*_terms(state), *(term for term in recipe.objective.weights() if family.heads.get(term) == ())}
    for term in terms:
        if term not in family.heads:
            raise InputError(
                f"objective.{term}: {family.model_type} has no head for it; it has {', '.join(family.heads)}"
            )
    model = recipe.model
    for ours, names, turned in _pairs(family, groups(model), model.embeddings.width is not None, terms):
        tensor = _take(left, ours)
        del left[ours]
        theirs |= {
            name: turned.out(part, model.heads) for name, part in zip(names, tensor.chunk(len(names)), strict=True)
        }
    if family.positions is Learned:
        theirs |= _places_out(family, left, pad)
    if left:
        raise InputError(f"{next(iter(left))}: {family.model_type} has no name for it")
    if not terms - {"summary"}:
        theirs = {name.removeprefix(f"{family.base}."): tensor for name, tensor in theirs.items()}
    import torch

    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in theirs.items()}


def _places_out(family: Family, left: dict[str, Tensor], pad: int | None) -> dict[str, Tensor]:
    """The tables of positions and segments, taken from `left`."""
    places = left.pop("model.positions.table.weight")
    if family.folded:
        import torch

        unread = places.new_zeros(offset(family, pad), places.shape[1])
        segments, places = places.new_zeros(1, places.shape[1]), torch.cat([unread, places])
    elif family.segments:
        segments = left.pop("model.embeddings.segments.weight")
    else:
        return {f"{family.base}.{family.places}": places}
    return {f"{family.base}.{family.places}": places, f"{family.base}.{SEGMENTS}": segments}


def groups(model: TransformerConfig) -> int:
    """Layers with weights of their own."""
    return 1 if model.share == "all" else model.layers


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
        name = f"{table.base}.{name}" if name.startswith(table.parts) else name
        if name.removeprefix(f"{table.base}.") in BUFFERS or name.endswith(MASKS):
            continue
        if name in found:
            raise InputError(f"{printable(name)}: stands there twice, under an old name and a new one")
        found[name] = tensor
    for copy, of in table.tied.items():
        tensor = found.pop(copy, None)
        if tensor is not None and not _equal(found.setdefault(of, tensor), tensor):
            raise InputError(f"{copy}: differs from {of}; only decoders tied to the token table can be read")
    return found


def family_in(names: Iterable[str], said: str | None, segments: Any = None) -> str | None:
    """The model_type of tensors of these names, which may not be the one that is `said`; None where they do not tell."""
    names = list(names)
    if said is not None and (
        not names or any(name.startswith((f"{FAMILIES[said].base}.", FAMILIES[said].parts[0])) for name in names)
    ):
        return said
    found = {name.partition(".")[0] for name in names} & {family.base for family in FAMILIES.values()}
    if len(found) == 1:
        of_base = {name: family for name, family in FAMILIES.items() if family.base in found}
        tells = (name for name, f in of_base.items() if any(x.startswith(f"{f.base}.{f.parts[0]}") for x in names))
        return next(tells, next(iter(of_base)))
    bare = any(name.startswith("encoder.layer.") for name in names)
    return ("roberta" if segments == 1 else "bert") if said is None and bare else said


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and one.equal(other)


def terms_in(names: Iterable[str], family: str, architecture: str = "") -> tuple[str, ...]:
    """The heads that `current` names belong to, whole or in part; a pooler that no other head uses is a summary.

    The classifiers of texts and of tokens may have one name: `architecture` tells, or else whether there is a pooler.
    """
    heads, names = FAMILIES[family].heads, set(names)
    tensors = {term: {their for _, their in _spell(term, rows)} for term, rows in heads.items()}
    summary = tensors.get("summary", set())
    terms = [term for term in heads if term != "summary" and names & (tensors[term] - summary)]
    if {"label", "tag"} <= {*terms}:
        own = tensors["label"] - tensors["tag"]  # what is before it
        tokens = architecture.endswith("ForTokenClassification") or not (architecture or names & own)
        terms.remove("label" if tokens else "tag")
    if not {"tag", "span"} & {*terms} and names & summary and not any(summary <= tensors[term] for term in terms):
        terms.append("summary")
    if not terms and architecture != FAMILIES[family].architectures[()]:  # a head without tensors of its own
        terms = [term for term, rows in heads.items() if not rows]
    return tuple(term for term in heads if term in terms)


def from_hf(state: dict[str, Tensor], family: str, pad: int | None = None, architecture: str = "") -> dict[str, Tensor]:
    """Their state dict under our names.  Raises InputError for missing and unknown tensors, and as `current` does."""
    import torch

    left, ours = current(state, family), {}
    table = FAMILIES[family]
    before = f"{table.base}.{table.layer[0][1].partition('#')[0]}"
    numbers = [name.removeprefix(before).partition(".")[0] for name in left if name.startswith(before)]
    count = max((int(number) for number in numbers if number.isdecimal()), default=-1) + 1
    factorised = table.project is not None and f"{table.base}.{table.project}.weight" in left
    read: set[str] = set()
    for mine, names, turned in _pairs(table, count, factorised, terms_in(left, family, architecture)):
        ours[mine] = torch.cat([turned.back(_take(left, name)) for name in names])
        read.update(names)
    if table.positions is Learned:
        ours |= _places_back(table, left, pad)
        read |= {f"{table.base}.{name}" for name in (table.places, SEGMENTS)[: 1 + (table.folded or table.segments)]}
    unknown = [name for name in left if name not in read]
    if unknown:
        raise InputError(
            f"{printable(unknown[0])}: not a tensor of {an(family)} that bertsmith knows ({len(unknown)} such)"
        )
    return ours


def _places_back(table: Family, left: dict[str, Tensor], pad: int | None) -> dict[str, Tensor]:
    """The tables of positions and segments."""
    places = _take(left, f"{table.base}.{table.places}")
    if not (table.folded or table.segments):
        return {"model.positions.table.weight": places.clone()}
    segments = _take(left, f"{table.base}.{SEGMENTS}")
    if not table.folded:
        return {"model.positions.table.weight": places.clone(), "model.embeddings.segments.weight": segments.clone()}
    if len(segments) != 1:
        raise InputError(f"{table.base}.{SEGMENTS}: {len(segments)} segments; {table.model_type} has 1")
    places = places[offset(table, pad) :]
    # Nothing is added to what was exported by us: -0.0 + 0.0 would be another bit pattern.
    return {"model.positions.table.weight": places + segments if segments.any() else places.clone()}


def _pairs(
    family: Family, layers: int, factorised: bool, terms: Iterable[str]
) -> Iterator[tuple[str, tuple[str, ...], Turned]]:
    """(our tensor, their tensors that make it up, how these stand), tables of segments and positions aside."""
    base = family.base
    yield "model.embeddings.tokens.weight", (f"{base}.{family.tokens}",), SAME
    modules = [*family.modules, *([("embeddings.project", family.project)] if factorised and family.project else [])]
    modules += [tuple(name.replace("#", str(layer)) for name in row) for layer in range(layers) for row in family.layer]
    for ours, *theirs in modules:
        for end in ("weight", "bias"):
            yield f"model.{ours}.{end}", tuple(f"{base}.{name}.{end}" for name in theirs), SAME
    for ours, names, turned in family.tensors:
        for layer in range(layers) if "#" in ours else (0,):
            at = lambda name, layer=layer: name.replace("#", str(layer))
            yield f"model.{at(ours)}", tuple(f"{base}.{at(name)}" for name in names), turned
    for term in terms:
        for ours, theirs in _spell(term, family.heads[term]):
            yield ours, (theirs,), SAME


def _spell(term: str, names: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    """The tensors of a head: `=name` is a tensor itself, any other name a module."""
    spelled = []
    for ours, theirs in names:
        ends = [""] if ours.startswith("=") else [".weight", ".bias"]
        spelled += [(f"objective.{term}.{ours.lstrip('=')}{end}", theirs + end) for end in ends]
    return spelled


def _terms(state: dict[str, Tensor]) -> list[str]:
    return sorted({name.split(".")[1] for name in state if name.startswith("objective.")})


def _take(state: dict[str, Tensor], name: str) -> Tensor:
    if name not in state:
        raise InputError(f"{name}: missing")
    return state[name]


def offset(family: Family, pad: int | None) -> int:
    return (family.pad if pad is None else pad) + 1
