"""The libraries that make and run graphs, and files of them."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bertsmith.deploy.onnx.graphs import STATES, Graph
from bertsmith.errors import InputError, printable

NEEDED = ("onnx", "onnxscript", "onnxruntime")
OPSET = 20  # LayerNormalization and Gelu are operations by then; ONNX Runtime has it since 1.17
LARGE = 1_900_000_000  # bytes of weights, from which on they stand in a file beside: protobuf ends at 2 GiB


def needed() -> None:
    """InputError naming the extra where one of the libraries is not installed."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"export: {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed; pip install 'bertsmith[onnx]'"
        )


@contextmanager
def quiet() -> Iterator[None]:
    """What the libraries log and warn of their own insides off for a while; what they make is compared here."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export", "root")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@torch.no_grad()
def trace(graph: Graph, width: int, to: Path) -> None:
    """Write `graph` to the file `to`, of any number of texts and of any length; `width` of the states that a decoder reads.

    InputError where torch cannot trace it.
    """
    made, sizes = _example(graph, width)
    try:
        with quiet():
            program = torch.onnx.export(
                graph.module.eval(),
                made,
                dynamo=True,
                opset_version=OPSET,
                input_names=list(graph.inputs),
                output_names=list(graph.outputs),
                dynamic_shapes=sizes,
                verbose=False,
            )
            weights = sum(p.numel() * p.element_size() for p in graph.module.parameters())
            program.save(str(to), external_data=weights > LARGE)  # type: ignore[union-attr]
    except InputError:
        raise
    except Exception as error:  # torch raises its own, of many kinds
        first = str(error.__cause__ or error).strip().partition("\n")[0]
        raise InputError(
            f"torch.onnx cannot trace it: {printable(first, 200)}; `predict` and `embed` run the model itself"
        ) from None


def _example(graph: Graph, width: int) -> tuple[tuple[torch.Tensor, ...], tuple[dict[int, str], ...]]:
    """Inputs of a size, and which of their sizes are any; sizes that differ, since one that is seen twice is taken for the same."""
    texts, length, written = 3, 7, 5
    of = dict.fromkeys(graph.inputs, (texts, length))
    names = {name: {0: "batch", 1: "length"} for name in graph.inputs}
    if STATES in graph.inputs:
        of[graph.inputs[0]], names[graph.inputs[0]] = (texts, written), {0: "batch", 1: "written"}
    made = {name: torch.ones(size, dtype=torch.long) for name, size in of.items()}
    if STATES in made:
        made[STATES] = torch.zeros(texts, length, width)
    return tuple(made.values()), tuple(names.values())


class Session:
    """A file of a graph, ready to answer."""

    def __init__(self, path: Path, threads: int | None = None):
        runtime: Any = importlib.import_module("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        options.log_severity_level = 3
        self.session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.names = [each.name for each in self.session.get_inputs()]
        self.outputs = [each.name for each in self.session.get_outputs()]
        lengths = {each.name: each.shape[1:2] for each in self.session.get_outputs()}
        self.by_token = {name for name, size in lengths.items() if size and isinstance(size[0], str)}

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What a graph does not read is left out: a table of one segment says nothing."""
        given = {name: inputs[name] for name in self.names}
        return dict(zip(self.outputs, self.session.run(None, given), strict=True))


def bytes_of(folder: Path, names: Sequence[str]) -> int:
    return sum((folder / name).stat().st_size for name in names)
