"""Ways to tune a model: what is put into the built member, and which groups of its parameters learn.  The loop knows none of them.

full     everything learns
frozen   the head, over features that the trunk has computed once
mix      the head, and how it mixes the layers of a trunk that has computed them once (Peters et al. 2018)
adapter  small layers put into a trunk that stays, and its norms (Houlsby et al. 2019, Pfeiffer et al. 2021)
lora     updates of low rank beside matrices that stay (Hu et al. 2022)
prefix   vectors in front of each text in every layer (Li & Liang 2021; P-tuning v2, Liu et al. 2022)
pal      attention of a small width beside every layer, and its norms (Stickland & Murray 2019)
bias     the biases (Ben Zaken et al. 2022, BitFit)
int8     everything, on the grid of the eight bits that it is to be written with (Zafrir et al. 2019, Q8BERT)

The head learns with all of them.  A step of the six before `int8` holds what learns and the heads: the rest stands in the model that they began with,
unless that learns, too (`adapter.trunk`, `pal.trunk`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from bertsmith.errors import InputError, nearest
from bertsmith.nn.apart import Apart
from bertsmith.objectives.layers import MAIN
from bertsmith.recipe import Group
from bertsmith.spelling import flag, option, setting


@dataclass(frozen=True, kw_only=True)
class Method:
    """`learns`: patterns of the names of what learns of the trunk; None: all of it.  `still`: a text is the same to its trunk every time,
    so that features are computed once.  `alone`: a step needs the model that the run began with.  `puts`: the setting that is put into
    the body; `apart`: of several tasks each has parts of its own, where the trunk learns with them."""

    name: str
    learns: tuple[str, ...] | None
    parts: str  # of the trunk that learn, in words
    still: bool = False
    alone: bool = False
    puts: str | None = None
    apart: bool = True

    @property
    def reads(self) -> Literal["side", "mix"]:
        """What becomes of several layers."""
        return "mix" if self.name == "mix" else "side"

    def groups(self) -> tuple[Group, ...]:
        return () if self.learns is None else (Group(part="model", rate=0.0, but=self.learns),)

    def under(self, options: Any, several: bool = False) -> Method:
        """As the setting of what it puts into the body has it: the trunk may learn, too.  `several`: tasks."""
        trunk = None if self.puts is None else getattr(getattr(options, self.puts), "trunk", False)
        if not (several if trunk is None else trunk):
            return self
        return replace(self, learns=None, parts=f"all weights, with {self.parts.partition(',')[0]}", alone=False)

    def surgery(self, options: Any, tasks: tuple[str, ...] = ()) -> Any:
        """What is put into the body.  Of several tasks each has parts of its own where the trunk is what all learn together."""
        found = None if self.puts is None else getattr(options, self.puts)
        apart = found is not None and tasks and self.learns is None and self.apart
        return Apart(surgery=found, feeds=tasks) if apart else found

    def said(self, options: Any) -> dict[str, Any]:
        """What config.json has of it among the settings; a trunk that stays as the method has it is not said."""
        if self.puts is None:
            return {}
        found = asdict(getattr(options, self.puts))
        return {self.puts: {name: value for name, value in found.items() if name != "trunk" or value}}


METHODS = {
    method.name: method
    for method in (
        Method(name="full", learns=None, parts="all weights"),
        Method(name="frozen", learns=(), parts="features of the frozen trunk", still=True),
        Method(name="mix", learns=(), parts="a mixture of the frozen trunk's layers", still=True, alone=True),
        Method(name="adapter", learns=("*norm*", "*.adapters.*"), parts="adapters, norms", alone=True, puts="adapter"),
        Method(name="lora", learns=("*.low_in", "*.low_out"), parts="updates of low rank", alone=True, puts="lora"),
        Method(name="prefix", learns=("*.prefix",), parts="prefixes", alone=True, puts="prefix"),
        Method(
            name="pal", learns=("*norm*", "*.pal.*"), parts="projected attention layers, norms", alone=True, puts="pal"
        ),
        Method(name="bias", learns=("*.bias",), parts="biases", alone=True),
        Method(name="int8", learns=None, parts="all weights, rounded to eight bits", puts="int8", apart=False),
    )
}
FULL = METHODS["full"]


def staying(method: Method, model: Any, scratch: bool) -> Method:
    """The method for a body of which not all may learn (`learns`: patterns of what does): its head, and what of it does.

    InputError for another method than these."""
    learns = getattr(model, "learns", None)
    if learns is None or method.still:
        return method
    if method.name != "full" or scratch:
        asked = flag("scratch") if scratch else option("method", method.name)
        raise InputError(
            f"{asked}: the models of a stack stay as they are; {option('method', 'full')} learns how their layers are mixed, where that "
            f"was asked for, and {option('method', 'frozen')} the head alone"
        )
    if not learns:
        return METHODS["frozen"]
    return replace(method, learns=learns, parts="how each model's layers are mixed", alone=True)


def faster(objective: Any, where: str, lr: float) -> tuple[Group, ...]:
    """Parts of a head, which stands under the name `where`, that learn at a rate of their own where the trunk's, `lr`, is lower."""
    if hasattr(objective, "objective"):  # it is around another (MAIN of layers.py, alongside.py and softened.py)
        return faster(objective.objective, f"{where}.{MAIN}", lr)
    rates = getattr(objective, "rates", {})
    return tuple(Group(part=f"{where}.{part}", rate=max(1.0, rate / lr)) for part, rate in rates.items())


def method_of(name: str) -> Method:
    if name not in METHODS:
        raise InputError(f"{option('method', name)}: unknown; {nearest(name, METHODS)}")
    return METHODS[name]


def check_settings(method: Method, options: Any, default: Any) -> None:
    """InputError for settings of a method that was not asked for."""
    for other in METHODS.values():
        puts = other.puts
        if puts and other.name != method.name and getattr(options, puts) != getattr(default, puts):
            raise InputError(
                f"{setting(puts)}: {option('method', method.name)} has none; {option('method', other.name)} has"
            )
    if options.layers and not method.still:
        raise InputError(
            f"{setting('layers')}: of {option('method', method.name)} the head reads what the trunk says; "
            f"{option('method', 'frozen')} and {option('method', 'mix')} read layers"
        )
