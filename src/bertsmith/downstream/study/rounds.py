"""A study at work: its cells in their order, in rounds where members are halved, and what came out.

Halving (Jamieson & Talwalkar 2016): all members begin with a share of the budget, the better of them go on with `eta` times as much.  Each share is
a pre-training of its own, whose rate falls to its end, so that members are compared at equal cost in every round, and what a round has made stands
in the curves of score against operations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bertsmith import files
from bertsmith.downstream.grid import rungs
from bertsmith.downstream.study import page
from bertsmith.downstream.study.asked import Asked
from bertsmith.downstream.study.cells import Cell, Done, done, fine_tunings, pretraining
from bertsmith.downstream.study.checks import Checked, Reads
from bertsmith.downstream.study.executors import Executor
from bertsmith.downstream.study.members import Member, Reckoner
from bertsmith.downstream.study.picking import picked
from bertsmith.downstream.study.power import power
from bertsmith.downstream.study.results import SCORE, Outcome, outcome, sentences, text_measure, tree
from bertsmith.downstream.study.running import Work
from bertsmith.errors import InputError, printable

RESULT, PAGE, FORMAT = "study.json", "study.html", 1
Say = Callable[[str], None]


class Study:
    def __init__(self, asked: Asked, store: Any, out: Path, reckoner: Reckoner, say: Say):
        self.asked, self.store, self.out, self.reckoner, self.say = asked, store, out, reckoner, say

    @property
    def shares(self) -> list[tuple[float, int | None]]:
        """(share of the budget, how many arms come so far), all of them in the first round."""
        halving = self.asked.halving
        if halving is None:
            return [(1.0, None)]
        found = rungs(len(self.asked.arms), halving.eta)[-(halving.rounds or 0) :]
        return [(found[0][0], None), *found[1:]]

    def members(self, clock: bool = False) -> list[Member]:
        """All that may be asked for, of every round."""
        return [member for share, _ in self.shares for member in self.reckoner.members(share, clock)]

    def check(self) -> Reads:
        """InputError naming the arm or the cell that cannot be carried out.  Those that are done are not asked again."""
        members = self.members()
        if self.asked.halving is not None and not self.asked.tasks:
            raise InputError(f"{self.asked.where}: halving: members are compared on tasks, and there is no [[task]]")
        left = [one for one in members if any(done(self.out, cell.key) is None for cell in self.cells([one]))]
        return Checked(self.asked, self.store, self.out, self.say).reads(left) if self.asked.tasks and left else {}

    def cells(self, members: Sequence[Member], seeds: Sequence[int] | None = None) -> Iterator[Cell]:
        """Of every seed in turn, each pre-training before what is tuned of it."""
        for seed in self.asked.seeds if seeds is None else seeds:
            for member in members:
                under = pretraining(self.asked, member, seed, self.store)
                yield under
                for _, cell, _ in fine_tunings(self.asked, member, seed, under):
                    yield cell

    # -- what it costs ----------------------------------------------------------------------------------------------------------------

    def planned(self, threads: int, jobs: int) -> dict[str, Any]:
        """{members, cells: {all, done}, minutes, flops}: each member with its share; nothing is launched.  Minutes are those of this machine as
        `plan` measures it, with as many cells at once; of a halving at most."""
        members, reads = self.members(clock=True), self._reads()
        rows, seconds = [], 0.0
        for member, many in zip(members, self._going(members), strict=True):
            keys = [cell.key for cell in self.cells([member])]
            left = [key for key in keys if done(self.out, key) is None]
            per_token = (member.seconds or 0.0) * member.steps / max(1, member.tokens)
            tuned = sum(tokens for (name, *_), tokens in reads.items() if name == member.name) * per_token
            whole = len(self.asked.seeds) * ((member.seconds or 0.0) * member.steps + tuned)
            each = whole * len(left) / max(1, len(keys))
            seconds += each * many
            rows.append({**member.said, "cells": len(keys), "done": len(keys) - len(left), "minutes": each / 60})
        total = {"all": sum(row["cells"] for row in rows), "done": sum(row["done"] for row in rows)}
        flops = sum(row["flops"] for row in rows) * len(self.asked.seeds)
        return {
            "members": rows,
            "cells": total,
            "flops": flops,
            "minutes": seconds / 60 / jobs,
            "threads": threads,
            "jobs": jobs,
        }

    def _reads(self) -> Reads:
        return Checked(self.asked, self.store, self.out).reads(self.members()) if self.asked.tasks else {}

    def _going(self, members: Sequence[Member]) -> Iterator[float]:
        """Of each member, how likely it is made: all of the first round, as many as come so far of the others."""
        arms = len(self.asked.arms)
        for _, many in self.shares:
            yield from [(many or arms) / arms] * (arms * len(self.asked.budgets))

    # -- what is made -----------------------------------------------------------------------------------------------------------------

    def run(self, by: Executor) -> dict[str, Any]:
        """Everything that is left; then study.json and the page, whose bytes do not depend on how it came about."""
        arms, made, rounds = [arm.name for arm in self.asked.arms], [], []
        for number, (share, many) in enumerate(self.shares):
            arms = arms if many is None else self._best(made, arms, many)
            members = [member for member in self.reckoner.members(share) if member.arm in arms]
            if self.asked.halving is not None:
                self.say(f"study: round {number + 1} of {len(self.shares)}, {share:g} of the budget: {', '.join(arms)}")
            Work(self.out, self.cells(members), by, self.say).run()
            made += members
            rounds.append({"share": share, "arms": arms})
        result = self._result(made, rounds)
        files.write(self.out / RESULT, files.sealed(result))
        files.write(self.out / PAGE, page.render(result, self.asked).encode("utf-8", "replace"))
        for line in result["says"]:
            self.say(line)
        self.say(f"study: {printable(self.out / PAGE)}, {printable(self.out / RESULT)}")
        return result

    def _best(self, members: Sequence[Member], arms: list[str], many: int) -> list[str]:
        """So many of the arms, by the best system of each in the round before, in the file's order."""
        found = self.outcome(members)
        budget = max(found.budgets) if found.budgets else 0.0
        ranked = [*dict.fromkeys(system.member.arm for system in found.ranked(budget))]
        best = [name for name in ranked if name in arms][:many]
        if not best:
            raise InputError(
                f"{self.asked.where}: halving: no member of the round before has a score; see {printable(self.out)}"
            )
        return [name for name in arms if name in best]

    def power(self, points: float, by: Executor) -> dict[str, Any]:
        """From what stands; where no two seeds of a member do, from a pilot, whose cells are the study's own."""
        members = self.reckoner.members(self.shares[0][0] if self.asked.halving else 1.0)
        budget = max(member.budget for member in members)
        try:
            return power(self.outcome(members), points, budget)
        except InputError:
            if len(self.asked.seeds) < 2 or not self.asked.tasks:
                raise
        pilot = [member for member in members if member.budget == budget][:2]
        self.say(f"study: a pilot: two seeds of {' and '.join(member.name for member in pilot)}")
        Work(self.out, self.cells(pilot, self.asked.seeds[:2]), by, self.say).run()
        return power(self.outcome(members), points, budget)

    def outcome(self, members: Sequence[Member]) -> Outcome:
        """Of the cells that stand."""
        found, failed = [], []
        for member in members:
            systems: dict[str, dict[str, dict[int, Any]]] = {tuning.name: {} for tuning in self.asked.tunings}
            for seed in self.asked.seeds:
                under = pretraining(self.asked, member, seed, self.store)
                base = done(self.out, under.key)
                if base is None or base.failed:
                    failed += [(under.name, base.failed)] if base else []
                    continue
                if base.resamples:
                    told = base.result["likelihood"]
                    name, about = text_measure(told["method"], told["documents"])
                    for tasks in systems.values():
                        tasks.setdefault(name, {})[seed] = about, base.resamples[SCORE]
                for tuning, cell, tasks in fine_tunings(self.asked, member, seed, under):
                    tuned = done(self.out, cell.key)
                    if tuned is None or tuned.failed:
                        failed += [(cell.name, tuned.failed)] if tuned else []
                        continue
                    for task in tasks:
                        key, about = _about(tuned, task.name if tuning.shares else "")
                        systems[tuning.name].setdefault(task.name, {})[seed] = about, tuned.resamples[key]
            for tuning, tasks in systems.items():
                several = f" / {tuning}" if len(self.asked.tunings) > 1 else ""
                if tasks:
                    found.append((f"{member.name}{several}", member, tuning, tasks))
        return outcome(found, failed)

    def _result(self, members: Sequence[Member], rounds: list[dict[str, Any]]) -> dict[str, Any]:
        found = self.outcome(members)
        several = [one for one in found.budgets if len(found.at(one)) > 1]  # a halving ends with one alone
        budget = max(several or found.budgets or self.asked.budgets)
        pick = picked(found, budget) if found.systems else None
        says = [f"{pick['says']}"] if pick else ["Nothing came out of any cell."]
        says += sentences(found, budget)
        says += [f"{name}: {why}" for name, why in found.failed]
        told = [{**member.said, "recipe": member.tree["name"], "runs": self._runs(member)} for member in members]
        budgets = {"by": self.asked.by, "values": list(self.asked.budgets)}
        about = {
            "format": FORMAT,
            "kind": "study",
            "data": self.store.digest,
            "budget": budgets,
            "seeds": list(self.asked.seeds),
        }
        return {**about, "rounds": rounds, "members": told, **tree(found), "pick": pick, "says": says}

    def _runs(self, member: Member) -> list[dict[str, Any]]:
        """Of each seed: its cell, held-out losses by tokens read, and its likelihood of held-out text."""
        found = []
        for seed in self.asked.seeds:
            under = pretraining(self.asked, member, seed, self.store)
            base = done(self.out, under.key)
            if base is not None:
                kept = {name: base.result[name] for name in ("curve", "likelihood", "failed") if name in base.result}
                found.append({"seed": seed, "cell": under.key, **kept})
        return found


def _about(tuned: Done, name: str) -> tuple[str, dict[str, Any]]:
    """The score that a task is read by, as it stands among the resamples; what is said of it."""
    told = tuned.result["tasks"][name]
    by = told["by"]
    return f"{name}.{by}" if name else by, {"score": by, "of": "task", "rows": told["rows"]}
