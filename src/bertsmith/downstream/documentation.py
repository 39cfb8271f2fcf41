"""The documentation that every Python installation carries, as a corpus of prose: one docstring, one document.

Source files are parsed, never imported.  Example sessions, code blocks, tables, signatures and parameter headings are dropped: what
is left are paragraphs of whole sentences.  A docstring that stands twice counts once.  The same installation gives the same corpus.
"""

import ast
import importlib.util
import inspect
import multiprocessing
import re
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

# What bertsmith itself needs, and what that needs: present wherever bertsmith is.
PACKAGES = (
    "torch",
    "numpy",
    "sympy",
    "networkx",
    "mpmath",
    "jinja2",
    "rich",
    "fsspec",
    "huggingface_hub",
    "pip",
    "setuptools",
)
STDLIB = "python"
SKIPPED = re.compile(
    r"(^|/)(tests?|testing|_vendor|vendor|lib2to3|idlelib|site-packages|dist-packages|__pycache__)(/|$)|(^|/)test_[^/]*$"
)
# Functions that attach a docstring to something written in C.
ATTACH = {"add_docstr", "add_docstr_all", "add_newdoc", "_add_docstr"}
KINDS: dict[type, str] = {
    ast.Module: "module",
    ast.ClassDef: "class",
    ast.FunctionDef: "function",
    ast.AsyncFunctionDef: "function",
}
# Lines that end a paragraph without belonging to one: "Args:", "-----", "axis : int, optional".
HEADING = re.compile(
    r"[A-Z][A-Za-z ]{2,20}:|[-=~^+*]{3,}.*|[\w*, ]{1,30} : .*|(Parameters|Returns|Yields|Raises|Notes|References|Examples|See Also)"
)
# "axis (int, optional): the axis" begins a paragraph of its own, without its name.
ITEM = re.compile(r"^[`\[]*[*\w.]+[`\]]*\s?(\([^)]*\)+)?:\s+(?=\S)|^[-*•]\s+|^\(?\d+[.)]\s+")
CODE = re.compile(r"[=<>{}\[\]|\\_]|\)\.|\w\(|::|->|\.\w+\(")
WORD = re.compile(r"[A-Za-z][a-z]+(?:['’-][a-z]+)*")
MARKUP = (
    (re.compile(r":[a-z:]+:`~?\.?([^`<]*?)(?:\s*<[^`>]*>)?`"), r"\1"),  # :class:`Tensor`
    (re.compile(r"``([^`]*)``|`([^`<]*?)(?:\s*<[^`>]*>)?`_*"), lambda m: m[1] or m[2] or ""),
    (re.compile(r"\*\*([^*]+)\*\*|(?<!\w)\*([^*\s][^*]*)\*(?!\w)"), lambda m: m[1] or m[2]),
    (re.compile(r"\[\d+\]_|\[[A-Z]\w+\d*\]_|\|\w+\|_?"), ""),
)


@dataclass(frozen=True, kw_only=True)
class Docstring:
    package: str  # "torch", or "python" for the standard library
    module: str  # "torch.nn.functional"
    kind: str  # "module", "class" or "function"
    paragraphs: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join(self.paragraphs)


def docstrings(packages: tuple[str, ...] = (STDLIB, *PACKAGES), workers: int = 1) -> Iterator[Docstring]:
    """Every docstring with at least one paragraph of prose, in the order of packages and file names, for any number of workers.

    Absent packages are left out.
    """
    files = [file for package in packages for file in _files(package)]
    if workers > 1:
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield from _distinct(files, pool.map(_read, (path for *_, path in files), chunksize=64))
    else:
        yield from _distinct(files, map(_read, (path for *_, path in files)))


def _distinct(
    files: list[tuple[str, str, Path]], found: Iterable[list[tuple[str, tuple[str, ...]]]]
) -> Iterator[Docstring]:
    seen = set()
    for (package, module, _), entries in zip(files, found):
        for kind, kept in entries:
            if kept not in seen:
                seen.add(kept)
                yield Docstring(package=package, module=module, kind=kind, paragraphs=kept)


def _files(package: str) -> Iterator[tuple[str, str, Path]]:
    root = _root(package)
    for path in sorted(root.rglob("*.py")) if root else ():
        name = path.relative_to(root).as_posix().removesuffix(".py")
        if not SKIPPED.search(name):
            parts = [part for part in name.split("/") if part != "__init__"]
            yield package, ".".join(parts if package == STDLIB else [package, *parts]) or package, path


def _read(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    return [(kind, kept) for kind, raw in _raw(path) if (kept := tuple(paragraphs(raw)))]


def _root(package: str) -> Path | None:
    if package == STDLIB:
        return Path(sysconfig.get_paths()["stdlib"])
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else None


def _raw(path: Path) -> Iterator[tuple[str, str]]:
    """(kind, docstring) of everything in a file; a file that does not parse has none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's strings
            tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, RecursionError):
        return
    if path.parts[-2:] == ("pydoc_data", "topics.py"):  # the language reference
        for node in ast.walk(tree):
            if isinstance(node, ast.Dict):
                for value in node.values:
                    if isinstance(value, ast.Constant) and isinstance(value.value, str):
                        yield "module", value.value
        return
    waiting: list[ast.AST] = [tree]
    while waiting:  # statements only: walking every expression takes four times as long
        node = waiting.pop()
        if type(node) in KINDS:
            raw = ast.get_docstring(node)
            if raw:
                yield KINDS[type(node)], raw
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield from _attached(node.value)
        for block in ("body", "orelse", "handlers", "finalbody"):
            waiting += reversed(
                [child for child in getattr(node, block, ()) if isinstance(child, ast.stmt | ast.excepthandler)]
            )


def _attached(call: ast.Call) -> Iterator[tuple[str, str]]:
    if getattr(call.func, "id", getattr(call.func, "attr", "")) in ATTACH:
        for node in (node for argument in call.args for node in ast.walk(argument)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) > 80:
                yield "function", inspect.cleandoc(node.value)


def paragraphs(raw: str) -> Iterator[str]:
    """The paragraphs of a docstring that are prose: sentences that end, of words, with little code among them."""
    block: list[str] = []
    code: int | None = None  # lines deeper than this belong to a code block or a directive
    for line in [*raw.expandtabs().splitlines(), ""]:
        indent, text = len(line) - len(line.lstrip()), line.strip()
        if code is not None and text and indent > code:
            continue
        if text:
            code = indent if text.startswith(".. ") or text.endswith("::") else None
        if not text or text.startswith((">>>", "...", "$ ", ".. ")) or HEADING.fullmatch(text):
            yield from _prose(block)
            block = []
        elif (item := ITEM.match(text)) and len(text) > item.end():
            yield from _prose(block)
            block = [text[item.end() :]]
        else:
            block.append(text)


def _prose(lines: list[str]) -> Iterator[str]:
    text = " ".join(lines)
    for pattern, plain in MARKUP:
        text = pattern.sub(plain, text)
    text = re.sub(r"\s+", " ", text).replace("::", ":").strip()
    words = WORD.findall(text)
    plain = sum(map(len, words)) > 0.62 * len(text) and len(CODE.findall(text)) <= 0.04 * len(text)
    if len(words) >= 6 and plain and text[0].isupper() and text[-1] in ".!?:)":
        yield text
