"""Forge any member of the BERT family on your own text.  The verbs of the command line, as functions:

bertsmith.prepare("corpus/", "store"); bertsmith.pretrain("bert:mini", "store", "run", minutes=10); bertsmith.load("run")
"""

import importlib
import os
from typing import Any

__version__ = "0.1.0"

# torch's threads wait without spinning, unless the user says otherwise: beside another busy process a step is eight times faster
# (docs/decisions/2026-11-21-waiting-threads.md).  OpenMP reads this once, when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Loaded on first use: `bertsmith --help` needs no torch.
_VERBS = {
    "graph": "bertsmith.downstream.graph",
    "prepare": "bertsmith.text.prepare",
    "prepare_audio": "bertsmith.audio.prepare",
    "show": "bertsmith.downstream.show",
    "pretrain": "bertsmith.training.pretraining",
    "plan": "bertsmith.training.planning",
    "export": "bertsmith.deploy.export",
    "import_": "bertsmith.deploy.importing",
    "convert": "bertsmith.deploy.convert",
    "stack": "bertsmith.deploy.stack",
    "expand": "bertsmith.deploy.expand",
    "load": "bertsmith.downstream.model",
    "fill": "bertsmith.downstream.fill",
    "adapt": "bertsmith.downstream.adapt",
    "finetune": "bertsmith.downstream.finetune",
    "multitask": "bertsmith.downstream.multitask",
    "glue": "bertsmith.downstream.benchmark",
    "clue": "bertsmith.downstream.benchmark",
    "predict": "bertsmith.downstream.predict",
    "evaluate": "bertsmith.downstream.predict",
    "compare": "bertsmith.downstream.compare",
    "attention": "bertsmith.downstream.attention",
    "tree": "bertsmith.downstream.tree",
    "probe": "bertsmith.downstream.probe",
    "senses": "bertsmith.downstream.senses",
    "surface": "bertsmith.downstream.surface",
    "embed": "bertsmith.downstream.embed",
    "similar": "bertsmith.downstream.similar",
    "score": "bertsmith.downstream.score",
    "generate": "bertsmith.downstream.generate",
    "compress": "bertsmith.downstream.compress",
    "augment": "bertsmith.downstream.augment",
    "study": "bertsmith.downstream.study.verb",
    "serve": "bertsmith.serving.serve",
    "report": "bertsmith.downstream.report",
    "verify": "bertsmith.downstream.verify",
    "find": "bertsmith.recipe",
    "members": "bertsmith.recipe",
}
_ERRORS = ("BertsmithError", "InputError", "ResourceError", "NumericsError", "Interrupted")
__all__ = [*_VERBS, *_ERRORS]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name in _ERRORS:
        return getattr(importlib.import_module("bertsmith.errors"), name)
    if name not in _VERBS:
        raise AttributeError(f"module 'bertsmith' has no attribute {name!r}")
    from bertsmith.face.verbs import verb

    return verb(getattr(importlib.import_module(_VERBS[name]), name))


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
