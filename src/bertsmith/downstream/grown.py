"""An encoder becomes one stack of two: a decoder that reads what it says is put beside it (Rothe et al. 2020).

fresh: the decoder begins with weights of its own (their BERT2RND); copy: with the encoder's, but for what reads the source (BERT2BERT);
share: it is the encoder, with a part of its own that reads the source (BERTSHARE).  Or with those of another encoder of the same shapes.
Beside a copy the encoder may begin with fresh weights (RND2BERT); the token table, which both have in common, is the model's in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bertsmith.data.denoise import Denoise
from bertsmith.errors import InputError, nearest
from bertsmith.nn.decoder import EncoderDecoder
from bertsmith.nn.transformer import OneStack, TransformerConfig
from bertsmith.recipe import Recipe
from bertsmith.spelling import flag, option

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bertsmith.downstream.model import Loaded

WAYS = ("fresh", "copy", "share")
ENCODERS = ("given", "fresh")


def with_decoder(recipe: Recipe, how: str) -> Recipe:
    """The recipe of both.  InputError where there is a decoder already, or what reads its own text from the left, or keeps a memory."""
    model = recipe.model
    check_encoder_alone(recipe, option("decoder", how), "leave the option out")
    topology = EncoderDecoder(stacks="one" if how == "share" else "two")
    rewrite = Denoise(stand="masks", start="cls")
    return replace(
        recipe,
        model=replace(model, topology=topology),
        corruption=replace(recipe.corruption, rewrite=rewrite),
    )


def check_encoder_alone(recipe: Recipe, asked: str, instead: str) -> None:
    """InputError, which names what was asked for and what may be, where there is a decoder already, or no encoder."""
    model = recipe.model
    if not isinstance(model, TransformerConfig) or type(model.topology) is not OneStack:
        raise InputError(f"{asked}: {recipe.name} is no encoder alone; {instead}")
    if getattr(recipe.corruption.rewrite, "causal", False) or model.memory:
        raise InputError(f"{asked}: {recipe.name} is no encoder: it writes by itself; {instead}")


@dataclass(frozen=True)
class Decoder:
    """`how`: one of WAYS, or the MODEL whose weights, a trunk's by name, the decoder begins with; `encoder`: "given", or "fresh" weights."""

    how: str
    encoder: str = "given"
    given: dict[str, Tensor] | None = None

    @classmethod
    def of(cls, how: str, encoder: str, loaded: Loaded, members: tuple[str, ...] = ()) -> Decoder:
        """InputError unless a MODEL is of the same shapes and tokens."""
        if how in WAYS:
            return cls(how, encoder)
        from bertsmith.downstream.model import load
        from bertsmith.training.saving import weights_of

        found = load(how, members=members)
        if found.tokenizer.reading != loaded.tokenizer.reading:
            raise InputError(
                f"{option('decoder', how)}: has another tokenizer than the model; both read and write the same tokens"
            )
        if replace(found.recipe.model, dropout=0.0) != replace(loaded.recipe.model, dropout=0.0):
            raise InputError(f"{option('decoder', how)}: is of other shapes than the model")
        return cls(how, encoder, trunk_of(weights_of(found.member)))

    @property
    def about(self) -> dict[str, str]:
        """What config.json says of it."""
        return {"decoder": self.how} | ({} if self.encoder == "given" else {"encoder": self.encoder})

    def weights(self, both: nn.Module, encoder: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of the two stacks `both` by name: what neither side brings stays as it is there, fresh."""
        from bertsmith.training.saving import weights_of

        own = weights_of(both)
        first = {id(tensor): name for name, tensor in own.items()}  # what both sides have in common has one name
        names = {name: first[id(x)] for name, x in both.named_parameters(remove_duplicate=False)}
        given = self.given if self.given is not None else encoder if self.how == "copy" else {}
        found = own | {names[name]: x for part, x in given.items() if (name := f"decoder.{part}") in names}
        return found if self.encoder == "fresh" else found | {f"encoder.{name}": x for name, x in encoder.items()}


def check_encoder(how: str, decoder: str | None, scratch: bool) -> None:
    """InputError unless it is "given", or "fresh" beside a decoder that is a copy of the model."""
    if how not in ENCODERS:
        raise InputError(f"{option('encoder', how)}: unknown; {nearest(how, ENCODERS)}")
    if how == "given":
        return
    if scratch or decoder == "fresh":
        raise InputError(
            f"{option('encoder', how)}: nothing of the model would be left; {flag('scratch')} says that, with any decoder"
        )
    if decoder != "copy":
        raise InputError(
            f"{option('encoder', how)}: is for a decoder that begins with the model's weights; add {option('decoder', 'copy')}"
        )


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
