"""The report's tables of searches: every trial with its settings, how far it came and how it did."""

from collections.abc import Iterator, Sequence
from typing import Any

from bertsmith.downstream.grid import shown
from bertsmith.downstream.report_runs import Seen, number


def searches(runs: Sequence[Seen]) -> Iterator[dict[str, Any]]:
    """{name, about, names, by, rows: {trial, set, updates, score, best}} of each run that a search has made."""
    for run in runs:
        found = (run.result or {}).get("search")
        if not isinstance(found, dict) or not found.get("trials"):
            continue
        by, trials = found["by"], found["trials"]
        about = (
            f"Of {found['eta']} trials one goes on, by {by} on the dev rows at the exam after each share of the updates: "
            f"{found['updates']:,} updates, where all trials to their ends would have taken {found['alone']:,}. "
            "The best of many on the same rows is a little better there than on new ones."
        )
        yield {
            "name": run.name,
            "about": about,
            "names": [*trials[0]["settings"]],
            "by": by,
            "rows": [_row(trial, by, found["best"]) for trial in trials],
        }


def _row(trial: dict[str, Any], by: str, best: int) -> dict[str, Any]:
    score = (trial.get("dev") or {}).get(by)
    return {
        "trial": f"trial {trial['trial']}",
        "set": [shown(value) for value in trial["settings"].values()],
        "updates": f"{trial['updates']:,} of {trial['of']:,}",
        "score": trial.get("stopped") or (f"{score:.4f}" if number(score) else ""),
        "best": trial["trial"] == best,
    }
