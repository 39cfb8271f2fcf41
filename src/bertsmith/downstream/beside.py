"""What a fine-tuning is measured against at its end: a simple method on the same rows (`--baseline`), another fine-tuning (`--against`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bertsmith.downstream.compare import Heard, Model, Say, Side, check_same, compared, table
from bertsmith.downstream.predict import judged_rows
from bertsmith.errors import InputError, printable
from bertsmith.spelling import option
from bertsmith.tasks import kinds, metrics, paired
from bertsmith.tasks.labels import Labels
from bertsmith.tasks.metrics import Score


@dataclass(frozen=True)
class Beside:
    """What the models of a fine-tuning are measured against on their dev rows: a simple method, another fine-tuning."""

    kind: kinds.Kind
    rows: Any
    targets: Any
    simple: tuple[str, dict[str, Score], Heard] | None = None
    against: Side | None = None

    @property
    def given(self) -> bool:
        return self.simple is not None or self.against is not None

    @classmethod
    def of(cls, read: Any, baseline: bool | str, against: Model | None, say: Say) -> Beside:
        """`read`: the fine-tuning's rows (task.Rows).  The simple method learns here, before anything is written.  InputError where there
        is none, or where `against` has another task, other labels or another dev file."""
        side = None if against is None else Side.of(against)
        if side is not None and side.known is not None:
            check_same(side.known, ("this fine-tuning", read.kind.name, read.known.names))
        made = cls(read.kind, read.rows["dev"], read.targets["dev"], against=side)
        if not baseline:
            return made
        method, said = kinds.simple_of(read.kind, baseline)(read.rows, read.targets, read.known)
        known = read.kind.settled(made.targets, said, read.known)
        scores = read.kind.score(made.targets, said, known)
        say(f"baseline: {method}: {', '.join(f'{name} {metrics.said(score)}' for name, score in scores.items())}")
        heard = Heard("the baseline", read.kind, made.targets, said, known)
        return replace(made, simple=(method, scores, heard))

    def check_dev(self, sha256: str) -> None:
        """InputError where the other one was scored on another dev file."""
        side = self.against
        if side is not None and side.dev and side.dev.get("sha256") != sha256:
            raise InputError(
                f"{option('against', side.name)}: its dev file was another one ({printable(side.dev.get('path'))}); compare takes {option('input', like='FILE')}"
            )

    def measured(self, said: Mapping[int, tuple[Any, Labels]], members: tuple[str, ...], say: Say) -> dict[str, Any]:
        """{baseline, against} for result.json; `said`: of each seed what it says of the dev rows, and its labels."""
        mine = [Heard("this model", self.kind, self.targets, *each, seed) for seed, each in said.items()]
        found: dict[str, Any] = {}
        if self.simple is not None:
            method, scores, heard = self.simple
            both = compared(mine, [heard])
            found["baseline"] = {"method": method, "dev": scores, "difference": both["difference"]}
            _tell(mine[0], heard, both | {"b": scores}, say)
        if self.against is not None:
            theirs = self.against.heard(lambda loaded, say: (None, judged_rows(loaded, self.rows, say=say)), members)
            both = compared(mine, theirs)
            says = paired.said(mine[0].name, self.against.name, both["difference"][mine[0].best], mine[0].best)
            found["against"] = {
                "model": self.against.name,
                "dev": both["b"],
                "difference": both["difference"],
                "says": says,
            }
            _tell(mine[0], theirs[0], both, say)
        return found


def _tell(mine: Heard, other: Heard, found: dict[str, dict[str, Score]], say: Say) -> None:
    for line in table(mine.name, other.name, found):
        say(line)
    say(paired.said(mine.name, other.name, found["difference"][mine.best], mine.best))
