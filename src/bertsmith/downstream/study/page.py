"""study.html: which one?, then the scores, what they cost, differences with their intervals, curves.  Looks as a report does, and like one is
self-contained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from itertools import groupby
from typing import Any

import numpy as np

from bertsmith.downstream.charts import Chart, Line, Scored, intervals
from bertsmith.downstream.report import around, rendered
from bertsmith.downstream.report_figures import figure_of
from bertsmith.downstream.study.asked import Asked
from bertsmith.spelling import amount

Tree = Mapping[str, Any]
APART = 1.05  # largest over smallest from which on costs are worth a picture
PAIRS = 60  # of a measure that the page shows
MANY = 40  # systems in a picture of scores


def render(result: Tree, asked: Asked) -> str:
    """`result`: what study.json says; `asked`: the file, for the settings of its arms."""
    lines = {line: number for number, line in enumerate(dict.fromkeys(one["line"] for one in result["members"]))}
    members = {one["name"]: one for one in result["members"]}
    colours = _colours(result, members, lines)
    sets = {arm.name: ", ".join([*arm.set, *arm.parts]) for arm in asked.arms}
    budget = (result["pick"] or {"budget": max(result["budget"]["values"])})["budget"]
    several = len({one["budget"] for one in result["members"]}) > 1
    inside = resources.files(__package__).joinpath("study.html").read_text(encoding="utf-8")
    return rendered(
        around(inside),
        names=[*lines],
        says=result["says"],
        about=_about(result),
        at=f"{budget:g} {result['budget']['by']}" if several else "",
        scores=[*_scores(result, colours, budget)],
        against=[*_against(result, members, colours)],
        differences=[*_differences(result)],
        curves=[*_curves(result, lines)],
        rounds=[{"share": f"{row['share']:g}", "arms": ", ".join(row["arms"])} for row in result["rounds"]],
        members=[{**one, "colour": lines[one["line"]], "set": sets.get(one["arm"], "")} for one in result["members"]],
        silent=[*_silent(result)],
    )


def _colours(result: Tree, members: Mapping[str, Tree], lines: Mapping[str, int]) -> dict[str, int]:
    """Of each system that of its line; of one line in several tunings one for each."""
    tunings = [*dict.fromkeys(one["tuning"] for one in result["systems"])]
    return {
        one["name"]: lines[members[one["member"]]["line"]] + len(lines) * tunings.index(one["tuning"])
        for one in result["systems"]
    }


def _about(result: Tree) -> str:
    """How the members were made alike, in a sentence."""
    budget, tasks = result["budget"], [one["name"] for one in result["measures"] if one["of"] == "task"]
    said = " and ".join(f"{value:,.6g}" for value in budget["values"])
    what = {"flops": "operations", "minutes": "minutes of one machine"}.get(budget["by"], budget["by"])
    on = f", read on {', '.join(tasks)}" if tasks else ""
    return f"Every pre-training had {said} {what} on the same text; {amount(len(result['seeds']), 'seed')} of each{on}."


def _scores(result: Tree, colours: Mapping[str, int], budget: float) -> Iterator[dict[str, Any]]:
    """Of each measure a picture of all systems at the budget, the best first."""
    for measure in sorted(result["measures"], key=lambda one: one["of"] != "mean"):
        have = [one for one in result["systems"] if one["budget"] == budget and measure["name"] in one["scores"]]
        have.sort(key=lambda one: -measure["better"] * one["scores"][measure["name"]]["value"])
        rows = []
        for one in have[:MANY]:
            score = one["scores"][measure["name"]]
            each = [*score["each"].values()]
            rows.append(
                Scored(name=one["name"], colour=colours[one["name"]], score=score, seeds=each if len(each) > 1 else ())
            )
        if rows:
            note = "less is better" if measure["better"] < 0 else ""
            yield {"title": _titled(measure), "svg": intervals(rows), "note": note}


def _titled(measure: Tree) -> str:
    return measure["name"] if measure["of"] == "mean" else f"{measure['name']}: {measure['score'].replace('_', ' ')}"


def _against(result: Tree, members: Mapping[str, Tree], colours: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """Scores by operations, one line for each arm and tuning, and by parameters, one for each line of sizes."""
    for measure in sorted(result["measures"], key=lambda one: one["of"] != "mean"):
        have = [one for one in result["systems"] if measure["name"] in one["scores"]]
        for x, key in (("operations of pre-training", "flops"), ("parameters", "parameters")):
            chart = _by_cost(have, members, colours, measure, x, key)
            if chart is not None and (figure := figure_of(chart)):
                yield figure


def _by_cost(
    systems: Sequence[Tree], members: Mapping[str, Tree], colours: Mapping[str, int], measure: Tree, x: str, key: str
) -> Chart | None:
    cost = lambda one: members[one["member"]][key]
    known = [one for one in systems if cost(one) > 0]
    costs = [cost(one) for one in known]
    if not costs or max(costs) < APART * min(costs):
        return None
    if key == "parameters":  # at one budget
        most = max(one["budget"] for one in known)
        known = [one for one in known if one["budget"] == most]
    line = lambda one: (members[one["member"]]["arm" if key == "flops" else "line"], one["tuning"])
    lines = []
    for (name, tuning), group in groupby(sorted(known, key=lambda one: (line(one), cost(one))), key=line):
        some = [*group]
        several = len({one["tuning"] for one in systems}) > 1
        scores = [one["scores"][measure["name"]] for one in some]
        points = [(float(cost(one)), score["value"]) for one, score in zip(some, scores, strict=True)]
        bars = [(score["low"], score["high"]) for score in scores]
        label = f"{name} / {tuning}" if several else name
        lines.append(
            Line(name=label, points=points, colour=colours[some[0]["name"]], bars=bars, aside=2.0 * len(lines))
        )
    return Chart(title=f"{_titled(measure)}, by {x}", x=x, y="", lines=lines, across_log=True)


def _differences(result: Tree) -> Iterator[dict[str, Any]]:
    for measure in sorted(result["measures"], key=lambda one: one["of"] != "mean"):
        rows = [one for one in result["differences"] if one["measure"] == measure["name"]]
        if rows:
            more = f" (the first {PAIRS} of {len(rows):,}; study.json has all)" if len(rows) > PAIRS else ""
            yield {"title": f"{_titled(measure)}{more}", "rows": [_difference(one, measure) for one in rows[:PAIRS]]}


def _difference(one: Tree, measure: Tree) -> dict[str, str]:
    ends = lambda of: f"[{of['low']:+.4f}, {of['high']:+.4f}]"
    better = one["a"] if one["value"] * measure["better"] > 0 else one["b"]
    return {
        "name": f"{one['a']} less {one['b']}",
        "value": f"{one['value']:+.4f}",
        "texts": ends(one),
        "seeds": ends(one["over_seeds"]) if one["over_seeds"] else "one seed",
        "says": f"{better} is better" if one["apart"] else "cannot be told apart",
    }


def _curves(result: Tree, lines: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """Of each kind of loss and each of its terms a chart, whose lines can be compared."""
    groups: dict[str, list[Tree]] = {}
    for member in result["members"]:
        if not member["scratch"]:
            groups.setdefault(member["loss"], []).append(member)
    for group in groups.values():
        terms = dict.fromkeys(
            term for one in group for run in one["runs"] for _, found in run.get("curve", ()) for term in found
        )
        of = f" ({group[0]['line']})" if len(groups) > 1 and len(group) == 1 else ""
        for term in terms:
            drawn = [Line(name=one["name"], points=_mean(one, term), colour=lines[one["line"]]) for one in group]
            chart = Chart(title=f"held-out {term} loss{of}", x="tokens read", y="nats", lines=drawn)
            if figure := figure_of(chart):
                yield figure


def _mean(member: Tree, term: str) -> list[tuple[float, float]]:
    """(tokens, loss) over the seeds, which are examined at the same updates."""
    runs = [
        [(tokens, found[term]) for tokens, found in run["curve"] if term in found]
        for run in member["runs"]
        if "curve" in run
    ]
    return [tuple(np.mean(points, axis=0).tolist()) for points in zip(*runs, strict=False)]


def _silent(result: Tree) -> Iterator[str]:
    """Who says no likelihood of held-out text, and why."""
    for member in result["members"]:
        why = next((run["likelihood"]["none"] for run in member["runs"] if "none" in run.get("likelihood", {})), None)
        if why is not None:
            yield f"{member['name']} says no likelihood of held-out text: {why}"
