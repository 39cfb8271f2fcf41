"""Did it help, by how much, how sure?  In plain sentences, the most telling first; what is compared is decided by what runs are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bertsmith.downstream.report_compared import Difference, commonest, compared
from bertsmith.downstream.report_runs import Score, Seen, evaluations, number
from bertsmith.spelling import amount
from bertsmith.training.brief import ABOVE, LEARNED, LEFT, kept, learned


def found(runs: Sequence[Seen], given: Sequence[Difference] = ()) -> tuple[list[Difference], list[str]]:
    """Differences of the runs that can be compared, and sentences about them; only about what is `given`, where something is."""
    differences: list[Difference] = []
    told = [_said(one) for one in given]
    for group in groups(runs) if not given else ():
        if len(group) == 1:
            told += alone(group[0])
            continue
        first, second = rivals(group)
        one = compared(first, second)
        several = _of_several(group, first) if len(group) > 2 and not (second.scratch and not first.scratch) else ""
        if isinstance(one, Difference):
            differences.append(one)
            told.append(f"{several}{_said(one)}")
            told += [line for run in (first, second) for line in _against_baseline(run)][:1]
        else:
            told.append(f"{several}{_unpaired(first, second, one)}")
    return differences, told


def groups(runs: Sequence[Seen]) -> list[list[Seen]]:
    """Finished fine-tunings, those of one task with one dev file together."""
    together: dict[Any, list[Seen]] = {}
    for run in runs:
        if run.kind == "finetune" and run.results and run.score(run.chosen_by):
            sha = run.dev.get("sha256")
            together.setdefault((run.task.get("kind"), sha) if sha else run.name, []).append(run)
    return list(together.values())


def rivals(group: Sequence[Seen]) -> tuple[Seen, Seen]:
    """The best with pre-trained weights against the best with fresh ones; where there is one sort only, the best against the next."""
    ranked = sorted(group, key=lambda run: -_score(run)["value"])
    trained, fresh = ([run for run in ranked if run.scratch == scratch] for scratch in (False, True))
    return (trained[0], fresh[0]) if trained and fresh else (ranked[0], ranked[1])


def _score(run: Seen) -> Score:
    score = run.score(run.chosen_by)
    assert score is not None  # `groups` asks for it
    return score


def _of_several(group: Sequence[Seen], first: Seen) -> str:
    return f"{first.name} has the highest {first.chosen_by} of {len(group)} fine-tunings on the same dev file. "


def _said(one: Difference) -> str:
    """In one sentence."""
    (name, a), (other, b), d = one.first, one.second, one.difference
    figures = f"a difference of {_interval(d)} {one.over}"
    if one.fresh:
        verdict = "Pre-training helped" if d["low"] > 0 else "Pre-training hurt" if d["high"] < 0 else ""
        verdict = verdict or "Pre-trained and fresh weights cannot be told apart"
        return f"{verdict}: {one.measure} {a['value']:.3f} against {b['value']:.3f} from fresh weights, {figures}."
    if d["low"] <= 0 <= d["high"]:
        return f"{name} and {other} cannot be told apart: {one.measure} {a['value']:.3f} against {b['value']:.3f}, {figures}."
    (name, a), (other, b) = (one.first, one.second) if d["value"] > 0 else (one.second, one.first)
    return f"{name} is better than {other}: {one.measure} {a['value']:.3f} against {b['value']:.3f}, {figures}."


def _unpaired(first: Seen, second: Seen, why: str) -> str:
    """Where rows cannot be resampled in pairs."""
    name, a, b = first.chosen_by, _score(first), _score(second)
    against = "from fresh weights" if second.scratch and not first.scratch else f"of {second.name}"
    return f"{first.name}: {name} {_interval(a)} against {_interval(b)} {against}; how sure the difference is was not worked out: {why}."


def alone(run: Seen) -> Iterator[str]:
    """A fine-tuning with nothing to compare it with but what one answer to all would score."""
    score, figures = _score(run), _figures(run)
    beside = list(_against_baseline(run))
    yield from beside
    label, floor = _floor(run)
    if floor is None:
        yield from () if beside else [f"{run.name}: {figures}."]
    else:
        simple = "guessing" if label == "guessing" else "one answer to all"
        learned = "learned its task" if score["low"] > floor else f"is worse than {simple}"
        if score["low"] <= floor <= score["high"]:
            learned = f"cannot be told from {simple}"
        yield f"{run.name} {learned}: {figures}; {label} has {floor:.3f}."
    if (only := run.best.get("says_only")) is not None:
        yield f"It says “{only['label']}” of every row, so it learned nothing."
    if not run.scratch:
        yield "A fine-tuning with --scratch beside it says what pre-training bought."


def _figures(run: Seen) -> str:
    """Its score, with what it is over."""
    seeds = f"{run.several} and " if run.several else ""
    rows = f"{run.dev['rows']:,} {run.rows}" if number(run.dev.get("rows")) else f"the dev file's {run.rows}"
    rows = f"the dev files of {amount(len(run.tasks), 'task')}" if run.tasks else rows
    return f"{run.chosen_by} {_interval(_score(run))} over {seeds}{rows}"


def _against_baseline(run: Seen) -> Iterator[str]:
    """A sentence, where `--baseline` was asked for."""
    if (beside := _baseline(run, run.chosen_by)) is not None:
        yield f"{run.name} {_verdict(beside[1])} {beside[0]}: {_figures(run)}; {beside[2]}."


def _baseline(run: Seen, name: str) -> tuple[str, Score, str] | None:
    """What a simple method reached on the same rows, where the result tells: (its name, the paired difference, both in words)."""
    found = (run.result or {}).get("baseline")
    if not isinstance(found, dict):
        return None
    score, difference = ((found.get(key) or {}).get(name) for key in ("dev", "difference"))
    if not score or not difference:
        return None
    method = f"the baseline ({found.get('method', 'a simple method')})"
    return method, difference, f"that has {score['value']:.3f}, a difference of {_interval(difference)}"


def _verdict(difference: Score) -> str:
    if difference["low"] <= 0 <= difference["high"]:
        return "cannot be told from"
    return "is better than" if difference["low"] > 0 else "is worse than"


def _floor(run: Seen) -> tuple[str, float | None]:
    """What saying the same of every row scores, by the measure that chose the epoch: (who says so, the score)."""
    kind, name = run.task.get("kind"), run.chosen_by
    if kind == "regress":
        return "one number for all", 0.0
    if kind == "ordinal":
        return "one class for all", 0.0
    if kind == "tag" and name == "f1":
        return "a tagger that marks nothing", 0.0
    if number(run.dev.get("chance")):
        return "guessing", run.dev["chance"]
    most = _commonest(run.best) or commonest(run) if name == "accuracy" else None
    if most:
        return f"always saying “{most[0]}”", most[1]
    return "", None


def _commonest(result: Mapping[str, Any]) -> tuple[str, float] | None:
    """The commonest class of the dev file and its share, where the result tells."""
    majority = result.get("majority")
    if isinstance(majority, dict) and number(majority.get("share")):
        return str(majority.get("label")), majority["share"]
    support = {name: row.get("support", 0) for name, row in (result.get("classes") or {}).items()}
    if not sum(support.values()):
        return None
    name = max(support, key=lambda label: support[label])
    return name, support[name] / sum(support.values())


def pretrained(runs: Sequence[Seen], entropies: Mapping[str, float | None], alone: bool = False) -> Iterator[str]:
    """Each pre-training against word frequencies; the best of those that learned the same from the same text.  `alone`: there is no
    other run to be told from."""
    for run in runs:
        yield _frequencies(run, entropies.get(run.name), "It" if alone else run.name)
    alike: dict[str, list[Seen]] = {}
    for run in runs:
        digest = (run.config.get("data") or {}).get("digest")
        if digest and _held_out(run) is not None:
            alike.setdefault(f"{digest} {run.recipe.get('corruption')} {run.recipe.get('layout')}", []).append(run)
    for group in alike.values():
        if len(group) > 1:
            (a, best), (b, second) = sorted(((_held_out(run), run) for run in group), key=lambda pair: pair[0])[:2]
            term = "frame" if _frames(best) else "token"
            yield f"Of {len(group)} that learned the same from one store {best.name} has the lowest held-out {term} loss: {a:.3f}; next {second.name}, {b:.3f}."


def _held_out(run: Seen) -> float | None:
    found = [terms["token"]["loss"] for _, terms in evaluations(run) if "token" in terms]
    if not found and (frames := _frames(run)):
        return frames["loss"]
    return found[-1] if found else None


def _frames(run: Seen) -> dict[str, float] | None:
    """The last evaluation of frames."""
    found = [terms["frames"] for _, terms in evaluations(run) if number(terms.get("frames", {}).get("mean"))]
    return found[-1] if found else None


def _restored(found: dict[str, float], name: str, run: Seen) -> str:
    read, below = f"after {amount(run.metrics[-1]['step'], 'update')}", 1 - found["loss"] / found["mean"]
    said = f"held-out frame loss {found['loss']:.3f} {read}, {abs(below):.0%} {'below' if below >= 0 else 'above'} {found['mean']:.3f}, which the mean of each utterance gives"
    if below >= LEARNED:
        return f"{name} restores frames from their neighbours: {said}."
    return f"{name} has learned nothing of the neighbours of a frame yet: {said}; it needs more updates."


def _frequencies(run: Seen, entropy: float | None, name: str) -> str:
    loss = _held_out(run)
    if loss is None and (found := evaluations(run)):
        losses = ", ".join(f"{term} {means['loss']:.3f}" for term, means in found[-1][1].items() if "loss" in means)
        return f"{name}: held-out loss {losses} after {amount(found[-1][0]['step'], 'update')}; what it would be without learning is not known of such questions."
    if loss is None:
        return (
            f"{name} was not evaluated on held-out text, so nothing can be said of what it learned."
            if run.metrics
            else ""
        )
    if frames := _frames(run):
        return _restored(frames, name, run)
    if entropy is None:
        return f"{name}: held-out token loss {loss:.3f} nats."
    rewrite = (run.recipe.get("corruption") or {}).get("rewrite") or {}
    (below, plateau), read = learned(loss, entropy, kept(rewrite)), f"after {amount(run.metrics[-1]['step'], 'update')}"
    if below >= LEFT:
        return f"{name} learned more than word frequencies: its held-out token loss is {loss:.3f} nats {read}, {below:.2f} below {plateau}."
    where = (
        "has not learned word frequencies yet"
        if loss > entropy + ABOVE
        else "is still on the plateau of word frequencies"
    )
    how = "it needs more updates (longer --minutes, or a smaller training.batch)"
    return f"{name} {where}: held-out token loss {loss:.3f} nats {read} against {plateau}; {how}."


def _interval(score: Score) -> str:
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"
