"""Imports point down, and what must start quickly never loads torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import bertsmith

HOME = Path(bertsmith.__file__).parent
# What each room may import besides itself and what stands below everything.
EVERYWHERE = {"errors", "config", "files", "spelling"}
BELOW = {
    "errors": set(),
    "spelling": {"errors"},
    "config": {"errors", "spelling"},
    "files": {"errors", "spelling"},
    "console": set(),
    "data": {"recipe"},
    "audio": {"data", "text.pool"},
    "text": {"data"},
    "nn": {"data.batch", "data.letters"},
    "objectives": {"nn", "data.batch", "data.letters", "recipe"},
    "training": {"objectives", "nn", "data", "text", "audio", "recipe", "deploy.folder", ""},
    "tasks": {"training", "objectives", "nn", "data", "text", "audio.layout", "recipe"},
    "downstream": {
        "tasks",
        "training",
        "objectives",
        "nn",
        "data",
        "text",
        "audio",
        "recipe",
        "console",
        "recipes",
        "deploy.folder",
        "deploy.folder_files",
        "deploy.sentences",
        "",
    },
    "deploy": {
        "training",
        "objectives",
        "nn",
        "data",
        "text",
        "recipe",
        "tasks.given",
        "tasks.kinds",
        "tasks.readers",
        "tasks.reading",
        "tasks.sequences",
        "downstream.answering",
        "downstream.dev_rows",
        "downstream.embed",
        "downstream.fill",
        "downstream.based",
        "downstream.model",
        "downstream.predict",
        "downstream.several",
        "downstream.similar",
        "downstream.tuned",
        "downstream.vectors",
        "",
    },
    "serving": {"downstream", "tasks", "training", "text", "data", "recipe", "deploy.folder", ""},
    "face": {"console", "downstream", "training", "tasks", "text", "audio", "recipe"},
    "recipes": {"objectives", "training.optim", "nn", "data", "text", "audio.layout", "recipe"},
    "recipe": {"data", "config", "recipes"},
}
# What may load torch when it is imported: what configurations build, training, and what uses models.  All other modules must not.
LIGHT = (
    "data",
    "audio",
    "text",
    "tasks",
    "nn",
    "objectives",
    "recipes",
    "config",
    "recipe",
    "files",
    "console",
    "errors",
    "cli",
    "face",
)
HEAVY = ("nn.modules", "objectives.modules")
VERBS = (
    "text.prepare",
    "audio.prepare",
    "downstream.documentation",
    "downstream.graph",
    "downstream.verify",
    "downstream.show",
    "downstream.report",
    "downstream.model",
    "downstream.finetune",
    "downstream.multitask",
    "downstream.benchmark",
    "downstream.compress",
    "downstream.predict",
    "downstream.fill",
    "downstream.embed",
    "downstream.similar",
    "downstream.study.verb",
    "deploy.stack",
    "deploy.expand",
    "training.pretraining",
    "serving.serve",
)


def modules() -> list[str]:
    paths = (path.relative_to(HOME).with_suffix("") for path in sorted(HOME.rglob("*.py")))
    return [
        ".".join(path.parts).removesuffix(".__init__")
        for path in paths
        if path.parts[0] not in ("__init__", "__main__", "cli")
    ]


def imports(module: str) -> set[str]:
    """Modules of bertsmith that a file imports, at the top or inside a function, for running or for types."""
    path = HOME / (module.replace(".", "/") + ".py")
    tree = ast.parse((path if path.is_file() else HOME / module.replace(".", "/") / "__init__.py").read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {
                name for name in inside if (HOME.parent / name.replace(".", "/")).with_suffix(".py").is_file()
            } or {node.module}
    return {name.partition(".")[2] for name in found if name.partition(".")[0] == "bertsmith"}


@pytest.mark.parametrize("module", modules())
def test_imports_point_down(module):
    room = module.partition(".")[0]
    allowed = EVERYWHERE | BELOW[room] | {room}
    wrong = {
        name for name in imports(module) if not any(name == a or (a and name.startswith(a + ".")) for a in allowed)
    }
    assert not wrong, f"bertsmith.{module} imports {sorted(wrong)}; {room} may import {sorted(BELOW[room])}"


def test_every_room_is_known():
    assert {module.partition(".")[0] for module in modules()} <= set(BELOW)


def loads_torch(names: list[str]) -> str:
    """The first of the modules that loads torch when all are imported in turn; "" where none does."""
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module('bertsmith.' + name)\n"
        "    if 'torch' in sys.modules: sys.exit(name)"
    )
    return subprocess.run([sys.executable, "-c", code], timeout=120, capture_output=True, text=True).stderr.strip()


def test_what_configurations_are_made_of_never_loads_torch():
    light = [name for name in modules() if name.partition(".")[0] in LIGHT and not name.startswith(HEAVY)]
    assert {"nn.transformer", "objectives.replaced", "recipes.bert", "data.loader"} <= {*light}
    assert loads_torch(light) == ""


def test_what_verbs_check_first_never_loads_torch():
    assert loads_torch([*VERBS]) == ""
    assert loads_torch(["nn.modules.blocks"]) == "nn.modules.blocks"  # the test can fail
