"""`export --to onnx`: a model as graphs that any ONNX runtime answers by, with its tokenizer; compared with the model before it is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith import __version__, files
from bertsmith.deploy.export import here
from bertsmith.deploy.folder_files import FORMAT
from bertsmith.deploy.halves import half_of
from bertsmith.deploy.named import check_backend
from bertsmith.deploy.onnx import about, compared, int8
from bertsmith.deploy.onnx.graphs import Graph, Pool, encoder_graph, looked_at, writer_graphs
from bertsmith.deploy.onnx.refused import check_fits
from bertsmith.deploy.onnx.runtime import OPSET, Session, bytes_of, needed, trace
from bertsmith.deploy.sentences import POOLS, layers
from bertsmith.deploy.untold import untold
from bertsmith.downstream.based import plain
from bertsmith.downstream.embed import skipped
from bertsmith.downstream.model import Loaded, opened
from bertsmith.errors import InputError, nearest, printable
from bertsmith.nn.body import outer
from bertsmith.objectives.denoising import Denoising
from bertsmith.objectives.predict import Trunk
from bertsmith.objectives.vectors import Vectors
from bertsmith.spelling import amount, flag, option
from bertsmith.tasks.sequences import Encoded

SMALL = ".int8.onnx"
LARGE = ".onnx.data"
WRITTEN = 24  # tokens that a decoder is given at most, where it is compared
NAMES = ("model", "encoder", "decoder")
OURS = {about.ABOUT, about.TOKENIZER, files.MANIFEST}
OURS |= {f"{name}{end}" for name in NAMES for end in (".onnx", LARGE, SMALL)}


def export_onnx(
    model: str | Path | Loaded,
    out: str | Path,
    *,
    half: str | None = None,
    pool: str | None = None,
    small: bool = False,
    input: Any = None,
    columns: Any = None,
    force: bool = False,
    base: Any = None,
    members: tuple[str, ...] = (),
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Write `model` to the new folder `out`; returns what was compared.

    `pool`: the vector of a text in place of what its head says, as `embed` makes it ("mean", "cls", …); a sentence encoder says its own.
    `small`: also in eight bits, and what that loses on the texts of the file `input`, or on those that the float32 graphs are compared on.
    InputError for a model that is no graph, and where the graphs say anything else than the model; then nothing is left at `out`.
    """
    needed()
    wrong = next((part for part in str(pool).split("+") if pool is not None and part not in POOLS), None)
    if wrong is not None:
        raise InputError(f"{option('pool', pool)}: unknown; {nearest(wrong, tuple(POOLS))}")
    if input is not None and not small:
        raise InputError(f"{option('input')}: says what eight bits lose; give {flag('int8')} with it")
    files.refuse_unless_replaceable(out, OURS.__contains__, "ONNX export", force)
    given = opened(model, members=members, say=say, base=base, sound=True)
    loaded = here(untold(_half(plain(given), half)))
    check_fits(loaded, headed=pool is None)
    where, home = Path(out).resolve(), loaded.run.resolve()
    if where == home or home in where.parents:
        raise InputError(f"{printable(out)}: {option('out')} lies in the model's own folder; choose another place")
    vector = _pool(loaded, pool)
    own = None if input is None else int8.own(loaded, input, columns, say)
    with files.partial(out) as folder, files.writing(out):
        try:
            result = _written(loaded, folder, vector, small, own)
        except InputError as error:
            raise InputError(f"{printable(out)}: not written: {error}") from None
        names = sorted(path.name for path in folder.iterdir())
        manifest = {"format": FORMAT, "kind": "export", "to": "onnx", "created_by": f"bertsmith {__version__}"}
        manifest |= {"compared": result, "files": files.listing(folder, names)}
        files.create(folder / files.MANIFEST, files.sealed(manifest))
        files.refuse_unless_replaceable(out, OURS.__contains__, "ONNX export", force)
        files.publish(folder, out)
    _say(out, result, say)
    return {"out": str(out), **result}


def _half(loaded: Loaded, name: str | None) -> Loaded:
    """Of two models one; a model that a decoder of masks stands behind is written with it, unless its encoder is asked for."""
    halves = getattr(loaded.recipe.objective, "halves", None)
    if name is None and halves is not None and len(halves(loaded.recipe.model)) == 1:
        return loaded
    return half_of(loaded, name, headed=True)


def _pool(loaded: Loaded, pool: str | None) -> Pool | None:
    """None of a model that says something else than vectors."""
    objective, vectors = loaded.recipe.objective, loaded.vectors
    headless = isinstance(objective, (Trunk, Vectors, Denoising)) or (bool(vectors) and loaded.task is None)
    if pool is None and not headless:
        return None
    own = pool is None or pool == vectors.get("pool")
    dense: Any = ()
    if own and vectors.get("dense"):
        if loaded.path != loaded.run:
            raise InputError(
                f"{printable(loaded.run)}: the dense layers of the folder it was imported from are not here; export that folder"
            )
        width = len(vectors["pool"].split("+")) * outer(loaded.recipe.model)
        dense = tuple(layers(loaded.path, vectors["dense"], width))
    before = (vectors.get("prompts") or {}).get(vectors.get("prompt"), "")
    skip = skipped(loaded, before) if vectors.get("skip_prompt") else 0
    made = pool or vectors.get("pool", "mean")
    return Pool(pool=made, normalise=bool(vectors.get("normalise", False)), dense=dense, skip=skip)


def _written(loaded: Loaded, folder: Path, pool: Pool | None, small: bool, own: Any) -> dict[str, Any]:
    """Graphs, tokenizer and what is said of them, in `folder`; what was compared."""
    decodes = pool is None and loaded.recipe.model.decodes and "token" in loaded.recipe.objective.weights()
    traced = looked_at(loaded)
    graphs = writer_graphs(traced) if decodes else [encoder_graph(traced, pool)]
    for graph in graphs:
        trace(graph, outer(loaded.recipe.model), folder / f"{graph.name}.onnx")
    files.create(folder / about.TOKENIZER, about.tokenizer(loaded))
    files.create(folder / about.ABOUT, about.about(loaded, graphs, pool, small))
    chosen, said = compared.chosen_texts(loaded)
    check_backend(folder, loaded.tokenizer, chosen, loaded.reading())
    encoded = compared.masked(loaded, compared.sequences(loaded, chosen))
    apart, rounded = _compared(loaded, folder, graphs, pool, encoded)
    found = {
        "opset": OPSET,
        "bytes": _size(folder, graphs, ".onnx"),
        "largest_difference": apart,
        "rounded": rounded,
        "texts": len(encoded),
        "texts_from": said,
    }
    if not small:
        return found
    for graph in graphs:
        int8.quantised(folder / f"{graph.name}.onnx", folder / f"{graph.name}{SMALL}")
    found["int8"] = {"bytes": _size(folder, graphs, SMALL), "graphs": _loss(loaded, folder, graphs, pool, encoded, own)}
    return found


def _compared(
    loaded: Loaded, folder: Path, graphs: list[Graph], pool: Pool | None, encoded: Encoded
) -> tuple[dict[str, float], list[str]]:
    """Of each output how far it is from what the model says (`compared.apart`)."""
    runs = [Session(folder / f"{graph.name}.onnx") for graph in graphs]
    if len(runs) == 1:
        ours = lambda model: compared.ours(model, encoded, pool, graphs[0].outputs)
        theirs = compared.theirs(runs[0], encoded)
    else:
        written = written_of(loaded, encoded)
        ours = lambda model: compared.ours_written(model, encoded, written)
        theirs = compared.theirs_written(runs, encoded, written)
    return compared.apart(ours(loaded), theirs, lambda: ours(compared.doubled(loaded)))


def written_of(loaded: Loaded, encoded: Encoded) -> list[np.ndarray]:
    """What a decoder is given beside each text: its start and the beginning of the next text."""
    start = loaded.reading().asks(loaded.vocab).start
    ends = np.cumsum(encoded.lengths)
    texts = np.split(encoded.tokens, ends[:-1])
    sizes = (np.arange(len(texts)) * 7) % WRITTEN
    following = [*texts[1:], texts[0]]
    return [np.array([start, *row[:size]], np.int64) for row, size in zip(following, sizes.tolist(), strict=True)]


def _loss(
    loaded: Loaded, folder: Path, graphs: list[Graph], pool: Pool | None, encoded: Encoded, own: Any
) -> dict[str, Any]:
    """What eight bits lose: of the texts that the graphs were compared on, or the user's own."""
    if len(graphs) > 1:
        written = written_of(loaded, encoded)
        float32, small = (
            compared.theirs_written([Session(folder / f"{graph.name}{end}") for graph in graphs], encoded, written)
            for end in (".onnx", SMALL)
        )
        return {"texts": len(encoded), "lost": int8.lost(float32, small)}
    rows, targets, sequences = None, None, encoded
    if own is not None:
        sequences, rows, targets = own
    flat = int8.alone(sequences)
    if own is None or rows is None:
        flat = compared.masked(loaded, flat)
    runs = [Session(folder / f"{graphs[0].name}{end}") for end in (".onnx", SMALL)]
    float32, small = (compared.theirs(run, flat) for run in runs)
    found: dict[str, Any] = {"texts": len(flat), "lost": int8.lost(float32, small)}
    if targets is not None and (pool is None or isinstance(loaded.recipe.objective, Vectors)):
        judged = [int8.score(loaded, sequences, rows, targets, answers) for answers in (float32, small)]
        found["score"] = {"metric": judged[0][0], "float32": judged[0][1], "int8": judged[1][1]}
    return found


def _size(folder: Path, graphs: list[Graph], end: str) -> int:
    names = [f"{graph.name}{end}" for graph in graphs]
    beside = [f"{graph.name}{LARGE}" for graph in graphs if end == ".onnx"]
    return bytes_of(folder, [*names, *(name for name in beside if (folder / name).exists())])


def _say(out: str | Path, result: dict[str, Any], say: Callable[[str], None]) -> None:
    apart = ", ".join(f"{name} {value:.1e}" for name, value in result["largest_difference"].items())
    say(
        f"ONNX opset {result['opset']}, {result['bytes'] / 1e6:.1f} MB; any number of texts of any length up to the model's"
    )
    say(f"as the model on {amount(result['texts'], 'text')} of ragged lengths ({result['texts_from']})")
    say(f"largest differences in float32: {apart} (of the largest answer, or of 1)")
    if result["rounded"]:
        say(
            f"{' and '.join(result['rounded'])}: rounding moves the model itself as far: against float64 both are as near"
        )
    if "int8" in result:
        lost = result["int8"]["graphs"]
        say(
            f"int8: {result['int8']['bytes'] / 1e6:.1f} MB; lost on {amount(lost['texts'], 'text')}: {int8.said(lost['lost'])}"
        )
        if "score" in lost:
            judged = lost["score"]
            say(f"int8: {judged['metric']} {judged['int8']:.4f}, in float32 {judged['float32']:.4f}")
    say(f"{printable(out)}: exported")
