"""No pickle is read or written, by any command on any file; and nothing in the source could."""

import ast
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from tests.children import HOME

MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml", "jsonpickle"}
CALLS = {"eval", "exec", "compile", "__import__", "import_module", "extractall", "unpack_archive", "execfile", "runpy"}
QUALIFIED = {("torch", "load"), ("torch", "save"), ("jit", "load"), ("yaml", "load"), ("yaml", "unsafe_load")}
OBJECTS = {"broadcast_object_list", "all_gather_object", "gather_object", "scatter_object_list", "send_object_list"}
OFF = {"allow_pickle", "trust_remote_code", "weights_only"}  # options that must say False, or not be there
# Reviewed: (file, what) and why it reads no code from a file.
ALLOWED = {
    ("src/bertsmith/__init__.py", "import_module"): "names of our own modules, written in that file",
    ("src/bertsmith/config.py", "import_module"): "after a check that the module is ours, or was named with --member",
    ("src/bertsmith/recipe.py", "import_module"): "our own recipes; or package.module:function as typed by the user",
    ("src/bertsmith/deploy/check.py", "import_module"): "transformers, by that name",
    ("src/bertsmith/deploy/adapter_folder.py", "import_module"): "peft, by that name",
    ("src/bertsmith/deploy/onnx/int8.py", "import_module"): "onnx and onnxruntime, by these names",
    ("src/bertsmith/deploy/onnx/runtime.py", "import_module"): "onnxruntime, by that name",
}


def test_no_command_reads_or_writes_a_pickle(children, corpus, tmp_path):
    export = importlib.util.find_spec("transformers") is not None
    child = children.start(corpus, tmp_path, call="tests.pickles:jobs", export=export)
    assert child.wait(240) == 0, child.err
    assert json.loads((tmp_path / "found.json").read_text()) == []
    suffixes = {"", ".json", ".jsonl", ".npy", ".safetensors", ".txt", ".tsv", ".md", ".html"}
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert path.suffix in suffixes, path
        start = path.read_bytes()[:4]
        assert not (start[:1] == b"\x80" and start[1:2] in b"\2\3\4\5") and start != b"PK\3\4", path
        if path.suffix == ".npy":
            np.load(path, allow_pickle=False)


def test_the_watch_would_notice_a_pickle(children, tmp_path):
    assert children.start(tmp_path / "a.pt", call="tests.pickles:one").wait() == 1


def sources() -> list[Path]:
    return [path for room in ("src", "experiments", "bench") for path in sorted((HOME / room).rglob("*.py"))]


def dangers(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] in MODULES}
        elif isinstance(node, ast.ImportFrom):
            names = {(node.module or "").split(".")[0], *(alias.name for alias in node.names)}
            found |= names & (MODULES | OBJECTS | {"import_module"})
            if (node.module or "").startswith("torch.distributed.checkpoint"):
                found.add("torch.distributed.checkpoint")
        elif isinstance(node, ast.Call):
            found |= _call(node)
    return found


def _call(node: ast.Call) -> set[str]:
    found = {word.arg for word in node.keywords if word.arg in OFF and getattr(word.value, "value", None) is not False}
    function = node.func
    if isinstance(function, ast.Name) and function.id in CALLS | OBJECTS:
        found.add(function.id)
    elif isinstance(function, ast.Attribute):
        of = function.value
        owner = of.id if isinstance(of, ast.Name) else of.attr if isinstance(of, ast.Attribute) else ""
        if (owner, function.attr) in QUALIFIED:
            found.add(f"{owner}.{function.attr}")
        if function.attr in (CALLS - {"eval", "compile"}) | OBJECTS:  # model.eval() and re.compile() are no danger
            found.add(function.attr)
    return found


def test_nothing_in_the_source_could_read_code_from_a_file():
    found = {
        (path.relative_to(HOME).as_posix(), what) for path in sources() for what in dangers(ast.parse(path.read_text()))
    }
    assert found == ALLOWED.keys(), sorted(found ^ ALLOWED.keys())


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "import torch\ntorch.load('x')",
        "eval('1')",
        "exec('1')",
        "np.load(p, allow_pickle=True)",
        "np.load(p, allow_pickle=flag)",
        "AutoModel.from_pretrained(p, trust_remote_code=True)",
        "yaml.load(text)",
        "dist.all_gather_object(a, b)",
        "from torch.distributed.checkpoint import save",
        "tarfile.open(p).extractall(q)",
    ],
)
def test_the_scan_would_notice(code):
    assert dangers(ast.parse(code))


def test_the_scan_leaves_the_harmless_alone():
    harmless = "model.eval()\nre.compile('a')\nnp.load(p, allow_pickle=False)\ntensors_from_bytes(data)"
    assert not dangers(ast.parse(harmless))
