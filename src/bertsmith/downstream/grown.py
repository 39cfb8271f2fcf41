"""An encoder becomes one stack of two: a decoder that reads what it says is put beside it (Rothe et al. 2020).

fresh: the decoder begins with weights of its own (their BERT2RND); copy: with the encoder's, but for what reads the source (BERT2BERT);
share: it is the encoder, with a part of its own that reads the source (BERTSHARE).  Or with those of another encoder of the same shapes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bertsmith.data.denoise import Denoise
from bertsmith.errors import InputError, nearest
from bertsmith.nn.decoder import EncoderDecoder
from bertsmith.nn.transformer import OneStack, TransformerConfig
from bertsmith.recipe import Recipe
from bertsmith.spelling import option

if TYPE_CHECKING:
    from torch import Tensor

    from bertsmith.downstream.model import Loaded

WAYS = ("fresh", "copy", "share")


def with_decoder(recipe: Recipe, how: str) -> Recipe:
    """The recipe of both.  InputError where there is a decoder already, or what reads its own text from the left, or keeps a memory."""
    model = recipe.model
    if not isinstance(model, TransformerConfig) or not isinstance(model.topology, OneStack):
        raise InputError(f"{option('decoder', how)}: {recipe.name} is no encoder alone; leave the option out")
    if getattr(recipe.corruption.rewrite, "causal", False) or model.memory:
        raise InputError(
            f"{option('decoder', how)}: {recipe.name} is no encoder: it writes by itself; leave the option out"
        )
    topology = EncoderDecoder(stacks="one" if how == "share" else "two")
    rewrite = Denoise(stand="masks", start="cls")
    return replace(
        recipe,
        model=replace(model, topology=topology),
        corruption=replace(recipe.corruption, rewrite=rewrite),
    )


@dataclass(frozen=True)
class Decoder:
    """`how`: one of WAYS, or the MODEL whose weights, a trunk's by name, the decoder begins with."""

    how: str
    given: dict[str, Tensor] | None = None

    @classmethod
    def of(cls, how: str, loaded: Loaded, members: tuple[str, ...] = ()) -> Decoder:
        """InputError unless a MODEL is of the same shapes and tokens."""
        if how in WAYS:
            return cls(how)
        from bertsmith.downstream.model import load
        from bertsmith.training.saving import weights_of

        found = load(how, members=members)
        if found.tokenizer.reading != loaded.tokenizer.reading:
            raise InputError(
                f"{option('decoder', how)}: has another tokenizer than the model; both read and write the same tokens"
            )
        if replace(found.recipe.model, dropout=0.0) != replace(loaded.recipe.model, dropout=0.0):
            raise InputError(f"{option('decoder', how)}: is of other shapes than the model")
        return cls(how, trunk_of(weights_of(found.member)))

    def weights(self, own: dict[str, Tensor], encoder: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of both stacks by name: what neither the encoder nor the decoder brings stays as it is in `own`, fresh."""
        given = self.given if self.given is not None else encoder if self.how == "copy" else {}
        found = {**own, **{f"encoder.{name}": x for name, x in encoder.items()}}
        return found | {name: x for part, x in given.items() if (name := f"decoder.{part}") in own}


def check_way(how: str) -> None:
    """InputError for what is neither a way nor the folder of a MODEL."""
    from bertsmith.downstream.model import check_model

    if how in WAYS:
        return
    try:
        check_model(how)
    except InputError:
        raise InputError(
            f"{option('decoder', how)}: no such model, and none of the ways; {nearest(how, WAYS)}"
        ) from None


def trunk_of(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("model."): x for name, x in state.items() if name.startswith("model.")}
