"""The report's pictures and tables: curves of runs, scores with intervals, differences, classes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bertsmith.downstream.charts import Chart, Level, Line, Scored, bars, difference, interval, intervals, smooth
from bertsmith.downstream.report_compared import Difference
from bertsmith.downstream.report_runs import SAID_ARMS as SAID
from bertsmith.downstream.report_runs import Seen, evaluations, mixture, number
from bertsmith.spelling import amount

WIDEST = 25  # classes of a confusion matrix that is shown


def curves(runs: Sequence[Seen], entropies: Mapping[str, float | None]) -> list[dict[str, Any]]:
    """{title, svg, names: (name, colour), raw, held} of each chart that has something to show."""
    return [figure for chart in _charts(runs, entropies) if (figure := figure_of(chart))]


def _charts(runs: Sequence[Seen], entropies: Mapping[str, float | None]) -> Iterator[Chart]:
    terms = {term for run in runs for line in run.metrics for term in line.get("terms") or {}}
    for term in sorted(terms, key=lambda term: (term != "token", term)):
        lines = [line for run in runs for line in _losses(run, term)]
        plateaus = {round(y, 6) for y in entropies.values() if y is not None} if term == "token" else set()
        levels = [Level(name="unigram entropy", y=y) for y in sorted(plateaus)]
        means = {round(y, 6) for run in runs if (y := _mean_of(run, term)) is not None}
        levels += [Level(name="the utterance's mean", y=y) for y in sorted(means)]
        x, y = ("frames read", "") if means else ("tokens read", "nats")
        yield Chart(title=f"{term} loss", x=x, y=y, lines=lines, levels=levels)
    for title, key, zero in (("learning rate", "lr", True), ("gradient norm, before clipping", "grad_norm", False)):
        yield Chart(
            title=title, x="tokens read", y="", lines=[_line(run, run.metrics, _tokens, key) for run in runs], zero=zero
        )
    rates = [_line(run, run.speed, lambda line: line["step"], "tokens_per_second") for run in runs]
    yield Chart(title="speed", x="step", y="tokens/s", lines=rates, zero=True)


def _mean_of(run: Seen, term: str) -> float | None:
    """What the mean of each utterance loses on the held-out frames; None of a term of classes."""
    found = [terms[term]["mean"] for _, terms in evaluations(run) if number(terms.get(term, {}).get("mean"))]
    return found[-1] if found else None


def _losses(run: Seen, term: str) -> Iterator[Line]:
    points = [(_tokens(m), m["terms"][term]) for m in run.metrics if number((m.get("terms") or {}).get(term))]
    means = smooth([y for _, y in points], max(1, len(points) // 40))
    held = [(_tokens(line), found[term]["loss"]) for line, found in evaluations(run) if term in found]
    yield Line(name=f"{run.name}, each update", points=points, colour=run.colour, style="raw")
    averaged = [(x, y) for (x, _), y in zip(points, means, strict=True)]
    yield Line(name=run.name, points=averaged, colour=run.colour)
    yield Line(name=f"{run.name}, held out", points=held, colour=run.colour, style="held")


def _line(run: Seen, rows: Sequence[dict[str, Any]], x: Callable[[dict[str, Any]], float], key: str) -> Line:
    return Line(name=run.name, points=[(x(row), row[key]) for row in rows if number(row.get(key))], colour=run.colour)


def _tokens(line: dict[str, Any]) -> float:
    return line["tokens"] if number(line.get("tokens")) else line["step"]


def figure_of(chart: Chart) -> dict[str, Any] | None:
    drawn, some = chart.svg(), {line.style for line in chart.lines if line.points}
    names = dict.fromkeys((line.name, line.colour) for line in chart.lines if line.style == "smooth" and line.points)
    figure = {"title": chart.title, "svg": drawn, "names": list(names), "raw": "raw" in some, "held": "held" in some}
    return figure if drawn else None


def learned(runs: Sequence[Seen]) -> list[dict[str, Any]]:
    """Of each learning curve a chart of its score by the number of rows, a line for each arm, and what it says: {figure, says, rows}."""
    found = []
    for run in runs:
        curve = (run.result or {}).get("curve")
        if not isinstance(curve, dict):
            continue
        by, lines = curve["by"], []
        for colour, (arm, points) in enumerate(curve["arms"].items()):
            bars = [(point["dev"][by]["low"], point["dev"][by]["high"]) for point in points]
            places = [(point["rows"], point["dev"][by]["value"]) for point in points]
            aside = 4.0 * (colour - (len(curve["arms"]) - 1) / 2)
            lines.append(Line(name=SAID[arm], points=places, colour=colour, bars=bars, aside=aside))
        chart = Chart(title=f"{run.name}: {by}", x="labelled rows", y=by, lines=lines, across_log=True)
        figure, seeds = figure_of(chart), amount(len(curve["seeds"]), "seed")
        found.append({"figure": figure, "says": curve["says"], "seeds": seeds, "table": _by_rows(curve)})
    return found


def _by_rows(curve: dict[str, Any]) -> dict[str, Any]:
    by, arms = curve["by"], curve["arms"]
    rows = [
        [f"{count:,}", *(interval(points[i]["dev"][by]) for points in arms.values())]
        for i, count in enumerate(curve["rows"])
    ]
    return {"names": ["labelled rows", *(SAID[arm] for arm in arms)], "rows": rows}


def layers(probes: Sequence[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Of each task a chart of its score by layer, a line for each (name, probe); the control's accuracy dashed."""
    found = []
    for task, score in dict.fromkeys((probe["task"], probe["chosen_by"]) for _, probe in probes):
        lines = []
        for colour, (name, probe) in enumerate(probes):
            if (probe["task"], probe["chosen_by"]) != (task, score):
                continue
            of = lambda key, probe=probe: [(line["layer"], key(line)) for line in probe["layers"]]
            lines.append(Line(name=name, points=of(lambda line: line["scores"][score]["value"]), colour=colour))  # noqa: B023
            if "control" in probe["layers"][0]:
                control = of(lambda line: line["control"]["value"])
                lines.append(Line(name=f"{name}, control", points=control, colour=colour, style="held"))
        chart = figure_of(Chart(title=f"{task}: {score}", x="layer, 0 is the embedding", y="", lines=lines))
        if chart:
            found.append(chart)
    return found


def mixtures(runs: Sequence[Seen]) -> list[dict[str, Any]]:
    """{run, svg, scale} of each run that learned how to mix layers: of several seeds the best one's."""
    found = []
    for run in runs:
        shares, scale = mixture(run.best)
        names = [("embedding" if layer == "0" else f"layer {layer}", share) for layer, share in shares.items()]
        if names:
            svg = bars(names, run.colour, f"how {run.name} mixes layers")
            found.append({"run": run, "svg": svg, "scale": f"{scale:.3f}", "several": run.several})
    return found


def scores(runs: Sequence[Seen]) -> Iterator[dict[str, Any]]:
    """For each task and score of the fine-tuned runs {title, svg, seeds: lines}; the score that chose the epoch first."""
    tuned = [run for run in runs if run.results]
    named: dict[tuple[str, str], list[Seen]] = {}
    for run in sorted(tuned, key=lambda run: run.colour):
        for name in sorted(run.best.get("dev") or {}, key=lambda name: name != run.chosen_by):
            if run.score(name):
                named.setdefault((run.task.get("kind", ""), name), []).append(run)
    several = len({kind for kind, _ in named}) > 1
    for (kind, name), group in named.items():
        yield {
            "title": f"{kind}: {name}" if several else name,
            "svg": intervals([_scored(run, name) for run in group]),
            "seeds": [line for run in group for line in _spread(run, name)],
        }


def _scored(run: Seen, name: str) -> Scored:
    each = [score["value"] for score in run.values(name)]
    label = f"{run.name}, mean of {run.several}" if run.several else run.name
    score = run.score(name) or {}
    return Scored(name=label, colour=run.colour, score=score, seeds=each if len(each) > 1 else ())


def _spread(run: Seen, name: str) -> Iterator[str]:
    over = (run.result or {}).get("over_seeds") or (run.result or {}).get("over_folds") or {}
    if found := over.get(name):
        yield f"{run.name}: {found['mean']:.4f} ± {found['spread']:.4f} (standard deviation) over {run.several or '1 seed'}"


def compared(one: Difference, colours: Mapping[str, int]) -> dict[str, Any]:
    """Two scores on one axis, their difference on another."""
    rows = []
    for number_, (name, score) in enumerate((one.first, one.second)):
        rows.append(Scored(name=name, colour=colours.get(name, number_), score=score))
    row = Scored(name="difference", colour=rows[0].colour, score=one.difference)
    figure = {"title": f"{one.measure} {one.over}", "svg": intervals(rows), "difference": difference(row)}
    return figure | {"names": (one.first[0], one.second[0]), "test": one.test, "changed": one.changed}


def classes(run: Seen) -> dict[str, Any] | None:
    """Precision, recall and F1 of each class, and who is taken for whom, where result.json tells."""
    found = run.best.get("classes")
    if not isinstance(found, dict) or not found:
        return None
    confusion = run.best.get("confusion")
    labels, counts = list(found), confusion
    if isinstance(confusion, dict):
        labels, counts = confusion.get("labels"), confusion.get("counts")
    matrix = None
    if counts and len(labels) == len(counts) <= WIDEST:
        rows = [(label, row, max(sum(row), 1)) for label, row in zip(labels, counts, strict=True)]
        matrix = {"labels": labels, "rows": [(label, [(n, n / whole) for n in row]) for label, row, whole in rows]}
    return {"run": run, "classes": [(name, row) for name, row in found.items()], "matrix": matrix}
