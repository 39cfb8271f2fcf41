"""Which member?  The best of a study at its budget, where it can be told from all others; who is in question, where it cannot.

Each rival is one comparison of the best: intervals are as much wider as keeps all of them together at 95 % (Bonferroni), for the best of many is a
little better on these rows and seeds than on others.
"""

from __future__ import annotations

from typing import Any

from bertsmith.downstream.study.results import Outcome, difference, shown, value


def picked(found: Outcome, budget: float) -> dict[str, Any]:
    """{budget, by, best, told: whether it can be told from all, among: the names in question, says, evidence: differences to each rival}."""
    ranked = found.ranked(budget)
    by = found.order(ranked)
    if by is None:
        said = "Nothing ranks these members: there are no tasks, and they do not all say one kind of likelihood; give [[task]]."
        return {"budget": budget, "by": None, "best": None, "told": False, "among": [], "says": said, "evidence": []}
    best, *rivals = ranked
    sure = 1 - 0.05 / max(1, len(rivals))
    evidence = [{"rival": one.name, **difference(best.values[by.name], one.values[by.name], sure)} for one in rivals]
    alike = [one["rival"] for one in evidence if not one["apart"]]
    figure = f"{by.said} {value(best.values[by.name]):.4f}"
    if not rivals:
        said = f"{best.name} is alone: {figure}."
    elif alike:
        seeds = min(len(one.values[by.name]) for one in ranked)
        more = (
            "more seeds may tell, and --power says how many"
            if seeds > 1
            else "one seed of each says nothing of others; two or more are wanted"
        )
        smallest = min(
            (one for one in ranked if one.name in (best.name, *alike)), key=lambda one: one.member.parameters
        )
        said = (
            f"Cannot tell: {best.name} is ahead ({figure}), and it may be {' or '.join(alike)} as well; {more}. "
            f"The smallest of them is {smallest.name}, with {smallest.member.parameters:,} parameters."
        )
    else:
        said = f"{best.name}: {figure}, better than the next, {evidence[0]['rival']}, by {shown(evidence[0], by)}."
    among = [best.name, *alike]
    return {
        "budget": budget,
        "by": by.name,
        "best": best.name,
        "told": not alike,
        "among": among,
        "says": said,
        "evidence": evidence,
    }
