"""A model that another was made into, as a folder: one step, number 0, that every verb opens."""

from __future__ import annotations

import platform
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bertsmith import __version__, files
from bertsmith.config import to_dict
from bertsmith.errors import InputError, printable
from bertsmith.spelling import flag, option
from bertsmith.training.run import CONFIG, FORMAT, METRICS, STEPS, TOKENIZER, Imported

if TYPE_CHECKING:
    from bertsmith.nn.modules.member import MemberModel
    from bertsmith.recipe import Recipe


def check_free(run: Imported, force: bool) -> None:
    """InputError where something else stands, and where a model does that `force` may not replace."""
    files.refuse_unless_replaceable(run.path, {CONFIG, TOKENIZER, METRICS, STEPS}.__contains__, "model", force=True)
    if not run.path.exists() or (force and run.config() is not None):
        return
    if run.steps() or run.config() is not None:
        raise InputError(
            f"{printable(run.path)}: {option('out')} holds a model already; {flag('force')} replaces one that was imported or converted"
        )


def write_model(
    run: Imported,
    member: MemberModel,
    recipe: Recipe,
    tokenizer: Any,
    text: bytes,
    source: dict[str, Any],
    task: dict[str, Any] | None = None,
    vectors: dict[str, Any] | None = None,
) -> None:
    """`text`: what tokenizer.json holds; `source`: where it came from, {path, weights, …}."""
    import numpy as np
    import torch

    from bertsmith.training.checkpoint import State
    from bertsmith.training.saving import save_step

    versions = {"bertsmith": __version__, "torch": torch.__version__, "numpy": np.__version__}
    config = {
        "format": FORMAT,
        "recipe": to_dict(recipe),
        "kind": "import",
        "task": task,
        "vectors": vectors,
        "data": {"tokenizer": tokenizer.digest, "vocab": asdict(tokenizer.vocab)},
        "source": {"dropped": [], "new_heads": [], "architectures": [], **source},
        "steps": 0,
        "seed": 0,
        "from": None,
        "versions": {**versions, "python": platform.python_version()},
    }
    files.create(run / CONFIG, files.sealed(config))
    files.create(run / TOKENIZER, text)
    files.create(run / METRICS, b"")
    (run / STEPS).mkdir()
    nothing = torch.optim.SGD(member.parameters(), lr=0.0)  # holds no state
    metrics = {"bytes": 0, "sha256": files.sha256(run / METRICS)}
    save_step(run, State(step=0, tokens=0, cursor=(0, 0)), member, nothing, metrics, {}, keep=1)
