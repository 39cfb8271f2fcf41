"""One self-contained HTML page about one or more runs: did it help, scores, curves, samples, settings, data.  Nothing is fetched,
nothing is executed.

Whatever a run lacks is said in a line; a folder that is not a run, or is damaged, is an InputError.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from bertsmith import files
from bertsmith.downstream import report_answer, report_figures, report_surface
from bertsmith.downstream.charts import COLOURS
from bertsmith.downstream.heat import BANDS
from bertsmith.downstream.outputs import check_file
from bertsmith.downstream.probe import read_probe
from bertsmith.downstream.report_compared import Difference
from bertsmith.downstream.report_runs import Seen, facts, number, seen, store_of
from bertsmith.downstream.report_search import searches
from bertsmith.downstream.surface import is_surface, read_surface
from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, option
from bertsmith.text.languages import language

TITLE = "<title>bertsmith: "  # by which a page of ours is known
KINDS = {"pretrain": "pre-training", "finetune": "fine-tuning"}


def report(
    runs: str | Path | Iterable[str | Path],
    out: str | Path | None = None,
    *,
    compared: Sequence[Difference] = (),
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write the page `out` about one run or several, and what `probe` and `surface` wrote; returns its path.  InputError for what is neither, and where `out` may
    not be written.

    `out`: report.html here unless given.  It replaces such a page, and no other file.

    `compared`: differences on further texts; the page begins with what they say.  Without them, fine-tunings with one dev file are
    compared on that, as far as it is where it was.
    """
    asked = [runs] if isinstance(runs, (str, os.PathLike)) else [*runs]
    out = Path("report.html" if out is None else out)
    if not asked:
        raise InputError("report: no RUN was given")
    there = check_file(out, "report.html")
    if there and TITLE not in out.read_text("utf-8", "replace")[:1000]:
        raise InputError(
            f"{printable(out)}: stands here and is no report of ours; {option('out')} says where the page goes"
        )
    paths = list(dict.fromkeys(Path(run) for run in asked))
    kept = [path for path in paths if path.is_file()]
    surfaces = [(path.stem, read_surface(path)) for path in kept if is_surface(path)]
    probes = [(path.stem, read_probe(path)) for path in kept if not is_surface(path)]
    found = seen([path for path in paths if not path.is_file()])
    answers, page = render(found, compared, probes, surfaces)
    files.write(out, page.encode("utf-8", "replace"))
    for note in (f"{run.name}: {note}" for run in found for note in run.notes):
        say(note)
    for answer in answers:
        say(answer)
    replaced = "; the one that stood there is replaced" if there else ""
    held = ((found, "run"), (probes, "probe"), (surfaces, "surface"))
    *more, last = [amount(len(some), name) for some, name in held if some]
    say(
        f"report of {', '.join(more)}{' and ' * bool(more)}{last}: {printable(out)}, {len(page) / 1000:.0f} kB{replaced}"
    )
    return out


def render(
    runs: Sequence[Seen],
    given: Sequence[Difference],
    probes: Sequence[tuple[str, dict[str, Any]]] = (),
    surfaces: Sequence[tuple[str, dict[str, Any]]] = (),
) -> tuple[list[str], str]:
    """What it says first, and the page's text."""
    pretrained, tuned = ([run for run in runs if run.kind == kind] for kind in ("pretrain", "finetune"))
    stores = {run.name: store_of(run) for run in pretrained}
    entropies = {name: store.prospects().get("unigram_entropy") if store else None for name, store in stores.items()}
    differences, answers = report_answer.found(tuned, given)
    answers += [line for line in report_answer.pretrained(pretrained, entropies, len(runs) == 1) if line]
    colours = {run.name: run.colour for run in runs}
    parts = {
        "answers": answers,
        "compared": [report_figures.compared(one, colours) for one in (*given, *differences)],
        "runs": [{"run": run, "kind": KINDS.get(run.kind, run.kind), "facts": list(facts(run))} for run in runs],
        "scores": list(report_figures.scores(tuned)),
        "learned": report_figures.learned(tuned),
        "searches": list(searches(tuned)),
        "classes": [shown for run in tuned if (shown := report_figures.classes(run))],
        "curves": [
            {"title": "Pre-training", "charts": report_figures.curves(pretrained, entropies)},
            {"title": "Fine-tuning", "charts": report_figures.curves(tuned, {})},
        ],
        "mixtures": report_figures.mixtures(tuned),
        "layers": report_figures.layers(probes),
        "surfaces": report_surface.surfaces(surfaces),
        "names": [run.name for run in runs] + [name for name, _ in (*probes, *surfaces)],
        "samples": [{"run": run, "rows": list(_samples(run, stores[run.name]))} for run in pretrained],
        "settings": _settings(runs),
        "accounts": [{"run": run, "rows": _account(stores[run.name])} for run in pretrained],
    }
    return answers, rendered(_template("report.html"), **parts)


def rendered(template: str, **parts: Any) -> str:
    """A page of ours: `parts` in a template, with the colours that all pages have."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    ink = lambda number: f"c{number % COLOURS}{' again' if number >= COLOURS else ''}"
    return environment.from_string(template).render(**parts, ink=ink, palette=range(COLOURS), bands=BANDS)


def around(inside: str) -> str:
    """The template of another page that looks as the report does: its head, and `inside`."""
    head, main, _ = _template("report.html").partition("<main>\n")
    return f"{head}{main}{inside}</main>\n</body>\n</html>\n"


def _template(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _samples(run: Seen, store: Any) -> Iterator[dict[str, Any]]:
    """{pieces, lang, dir} of some held-out texts."""
    from bertsmith.downstream.samples import samples

    if store is None:
        return
    try:
        found = samples(run.path, store)
    except InputError as error:
        run.notes.append(f"no samples: {error}")
        return
    told = (store.manifest.get("options") or {}).get("language")
    for pieces in found:
        lang, side = language("".join(piece.get("text") or piece["truth"] for piece in pieces), told)
        yield {"pieces": pieces, "lang": lang, "dir": side}


def _settings(runs: Sequence[Seen]) -> dict[str, list[dict[str, Any]]]:
    """Every field of every run, those that differ apart."""
    flat = [dict(_flat({k: v for k, v in run.config.items() if k not in ("sha256", "format")})) for run in runs]
    rows = []
    for name in dict.fromkeys(name for fields in flat for name in fields):
        values = [fields.get(name, "") for fields in flat]
        rows.append({"name": name, "values": values, "differs": len(set(values)) > 1})
    return {"differ": [row for row in rows if row["differs"]], "same": [row for row in rows if not row["differs"]]}


def _flat(tree: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(tree, dict) and tree:
        for name, value in tree.items():
            if name == "type" and isinstance(value, str):
                yield path or "type", value.rpartition(":")[2]
            else:
                yield from _flat(value, f"{path}.{name}" if path else str(name))
    elif isinstance(tree, list) and any(isinstance(item, dict | list) for item in tree):
        for i, item in enumerate(tree):
            yield from _flat(item, f"{path}.{i}")
    else:
        yield path, tree if isinstance(tree, str) else json.dumps(tree, ensure_ascii=False)


def _account(store: Any) -> list[tuple[str, str]]:
    """What the store's manifest says about where the text went."""
    if store is None:
        return []
    account = store.manifest.get("account") or {}
    return [
        (name.replace("_", " ").replace(".", ": "), f"{value:,}" if number(value) else str(value))
        for name, value in _leaves(account)
    ]


def _leaves(tree: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}{name}.")
        elif not isinstance(value, list) or value:
            yield f"{path}{name}", "; ".join(map(str, value)) if isinstance(value, list) else value
