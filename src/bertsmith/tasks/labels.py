"""What training learned about its labels."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What every later file must agree with: the classes or tags; the scale of the numbers; whether a question may have no answer."""

    names: tuple[str, ...] = ()
    mean: float = 0.0
    scale: float = 1.0
    nulls: bool = False
    numbers: bool = False  # of written targets: whether all are
    threshold: float = 0.0  # by how much the score of no answer must exceed that of the best one
