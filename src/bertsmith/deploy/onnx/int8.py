"""Graphs in eight bits, and what that loses: weights of matrices and tables by channel, activations by what each batch has (dynamic)."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith.deploy.onnx import compared
from bertsmith.deploy.onnx.graphs import EMBEDDING, ENCODED
from bertsmith.deploy.onnx.runtime import quiet
from bertsmith.downstream.model import Loaded
from bertsmith.downstream.predict import rows_of
from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, option
from bertsmith.tasks import kinds
from bertsmith.tasks.given import Given, source
from bertsmith.tasks.readers import parse_columns, read
from bertsmith.tasks.sequences import Encoded, encode


def quantised(of: Path, to: Path) -> None:
    """`of` in eight bits as the file `to`, by ONNX Runtime's dynamic quantisation."""
    quantization: Any = importlib.import_module("onnxruntime.quantization")
    library: Any = importlib.import_module("onnx")
    model = library.load(str(of))
    turn(library, model.graph)
    # Seven bits of a weight: on processors without VNNI two products of eight overflow, and answers would depend on the machine.
    options = {"weight_type": quantization.QuantType.QInt8, "per_channel": True, "reduce_range": True}
    with quiet():
        quantization.quantize_dynamic(model, str(to), **options)


def turn(library: Any, graph: Any) -> None:
    """Each product by a turned matrix as one by that matrix the other way round.  ONNX Runtime does that, too, but turns a matrix once for each
    product that it takes part in, though layers share theirs and a token head has the table."""
    matrices = {each.name: each for each in graph.initializer}
    made: dict[str, str] = {}
    nodes = []
    for node in graph.node:
        options = {each.name: library.helper.get_attribute_value(each) for each in node.attribute}
        plain = options == {"transB": 1} | {name: 1.0 for name in ("alpha", "beta") if name in options} | (
            {"transA": 0} if "transA" in options else {}
        )
        if node.op_type != "Gemm" or not plain or node.input[1] not in matrices:
            nodes.append(node)
            continue
        name = node.input[1]
        if name not in made:
            made[name] = f"{name}.turned"
            array = library.numpy_helper.to_array(matrices[name])
            graph.initializer.append(library.numpy_helper.from_array(np.ascontiguousarray(array.T), made[name]))
        biased = len(node.input) > 2 and node.input[2] != ""
        said = f"{node.output[0]}.product" if biased else node.output[0]
        nodes.append(
            library.helper.make_node("MatMul", [node.input[0], made[name]], [said], name=f"{node.name}.product")
        )
        if biased:
            nodes.append(library.helper.make_node("Add", [said, node.input[2]], [node.output[0]], name=node.name))
    del graph.node[:]
    graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input}
    for name in made.keys() - read:
        graph.initializer.remove(matrices[name])


def lost(one: compared.Answers, other: compared.Answers) -> dict[str, dict[str, float]]:
    """{output: {largest, mean: of the differences; stay: the share of answers that are the same, or cosine: the mean one of vectors}}."""
    found: dict[str, dict[str, float]] = {}
    for name, rows in one.items():
        pairs = [(np.atleast_2d(a), np.atleast_2d(b)) for a, b in zip(rows, other[name], strict=True)]
        differences = np.concatenate([np.abs(a - b).ravel() for a, b in pairs])
        found[name] = {"largest": float(differences.max()), "mean": float(differences.mean())}
        if name in (EMBEDDING, ENCODED):
            cosines = np.concatenate([_cosines(a, b) for a, b in pairs])
            found[name]["cosine"] = float(cosines.mean())
        elif rows[0].shape[-1] > 1:
            found[name]["stay"] = float(np.mean(np.concatenate([a.argmax(-1) == b.argmax(-1) for a, b in pairs])))
    return found


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12)


def own(loaded: Loaded, input: Any, columns: Any, say: Callable[[str], None]) -> tuple[Encoded, Any, Any]:
    """(sequences, rows, targets) of a file of the user's: as the model's task reads it, with targets where it is labelled; a text a line else."""
    if loaded.task is None:
        given = source(input, "input", parse_columns(columns))
        table = read(given, columns=given.columns if isinstance(given, Given) else columns)
        return encode(loaded.tokenizer, table.columns["text"], None, loaded.reading(), table.where), None, None
    kind = kinds.of_task(loaded.task)
    if kind.writes:
        raise InputError(
            f"{option('input')}: of a model that writes the loss is measured on texts of its own; leave the option out"
        )
    targets = None
    try:
        rows = rows_of(loaded, kind, input, columns, None, None, say, labelled=True)
        targets = kind.targets(rows, loaded.labels)
    except InputError as why:
        rows = rows_of(loaded, kind, input, columns, None, None, say, labelled=False)
        say(f"{printable(rows.path)}: no labels ({why}); what is said is compared, not judged")
    encoded = kind.encode(loaded.tokenizer, rows, loaded.reading(), loaded.task["pairs"])
    return encoded, rows, targets


def alone(encoded: Encoded) -> Encoded:
    """Parts of sequences, which do not see each other, as sequences."""
    if encoded.parts is None:
        return encoded
    count, first = len(encoded.parts), np.cumsum(encoded.parts) - encoded.parts
    begins = np.repeat(np.cumsum(encoded.lengths) - encoded.lengths, encoded.reads)
    return replace(
        encoded,
        lengths=encoded.parts,
        owner=np.repeat(encoded.owner, encoded.reads),
        places=begins + encoded.places - first,
        reads=np.ones(count, np.int64),
        parts=None,
    )


def score(
    loaded: Loaded, encoded: Encoded, rows: Any, targets: Any, said: Mapping[str, list[np.ndarray]]
) -> tuple[str, float]:
    """(the metric that chose the model, what answers of a graph to labelled rows come to)."""
    from bertsmith.downstream.answering import hearing

    assert loaded.task is not None
    kind, labels = kinds.of_task(loaded.task), loaded.labels
    values = _values(loaded, encoded, [*said.values()])
    found = hearing(kind, loaded.member).said(encoded, rows, values)
    name = kind.best(labels)
    return name, float(kind.score(targets, found, labels, 0, 1)[name]["value"])


def _values(loaded: Loaded, encoded: Encoded, outputs: Sequence[list[np.ndarray]]) -> np.ndarray:
    """(places, c) what stands at the places of `encoded`, before it was scaled."""
    labels, flat = loaded.labels, alone(encoded)
    each = outputs[0] if len(outputs) == 1 else [np.stack(pair, 1) for pair in zip(*outputs, strict=True)]
    if each[0].ndim == 1:
        values = np.stack(each)
        numbers = not labels.names and loaded.task is not None and loaded.task["kind"] == "regress"
        return (values - labels.mean) / labels.scale if numbers else values * labels.temperature
    parts = np.split(flat.places, flat.offsets[1:-1])
    return np.concatenate([row[places] for row, places in zip(each, parts, strict=True)])


def said(of: dict[str, dict[str, float]]) -> str:
    """In a line."""
    found = []
    for name, numbers in of.items():
        stay = f", {numbers['stay']:.1%} of answers stay" if "stay" in numbers else ""
        cosine = f", cosine {numbers['cosine']:.5f}" if "cosine" in numbers else ""
        found.append(f"{name} {numbers['mean']:.2g} on average, {numbers['largest']:.2g} at most{stay}{cosine}")
    return "; ".join(found)


def texts_said(count: int, where: str) -> str:
    return f"{amount(count, 'text')} ({where})"
