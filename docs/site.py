"""Hooks of the site (mkdocs.yml): pages that are made of the code, and links that a site resolves otherwise than a checkout does.

`commands.md` is every command's `--help`; `api.md` every verb of the package, signature and docstring; `decisions/README.md` their list;
`log.md` and `changelog.md` the files beside docs/.
"""

import importlib
import inspect
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
BESIDE = {"../LOG.md": "log.md", "../CHANGELOG.md": "changelog.md", "../README.md": "README.md"}
PARTS = {
    "Results": ["bertsmith.face.results.Result", "bertsmith.downstream.model.Loaded"],
    "Errors": [f"bertsmith.errors.{name}" for name in ("InputError", "ResourceError", "NumericsError", "Interrupted")],
    "Recipes": [
        "bertsmith.recipe.Recipe",
        "bertsmith.recipe.Corruption",
        "bertsmith.recipe.Schedule",
        "bertsmith.recipe.Training",
    ],
}


def on_files(files: Files, config: Any) -> Files:
    made = {
        "commands.md": commands(),
        "api.md": api(),
        "decisions/README.md": decisions(),
        "log.md": (ROOT / "LOG.md").read_text(encoding="utf-8"),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
    }
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **given: Any) -> str:
    """Links that leave docs/, and folders, by the page that stands for them."""
    up = os.path.relpath(".", Path(page.file.src_uri).parent)
    for target, path in BESIDE.items():
        markdown = markdown.replace(f"]({target}", f"]({os.path.normpath(os.path.join(up, path))}")
    if page.file.src_uri in ("log.md", "changelog.md"):  # written for the root of a checkout
        markdown = markdown.replace("](docs/", "](")
    return re.sub(r"\]\((decisions)/\)", r"](\1/README.md)", markdown)


def commands() -> str:
    os.environ["COLUMNS"] = "110"
    from bertsmith.cli import parser

    made = parser().commands.choices.items()
    parts = [f"## {name}\n\n```text\n{one.format_help().rstrip()}\n```" for name, one in made]
    return "# Commands\n\nEach `bertsmith COMMAND --help`, as it is printed.\n\n" + "\n\n".join(parts) + "\n"


def api() -> str:
    import bertsmith

    lines = [
        "# Python",
        "",
        "Every command is a verb of the package, every option an argument; [the guide](python.md) says how they are used.",
    ]
    for name, module in bertsmith._VERBS.items():
        source = (SOURCE / module.replace(".", "/")).with_suffix(".py")
        if re.search(rf"^(def|class) {name}\b", source.read_text(encoding="utf-8"), re.MULTILINE):
            lines.append(f"\n::: {module}.{name}")
        else:  # made by a function (glue, clue), which is read from a checkout no further
            made = getattr(importlib.import_module(module), name)
            lines.append(f"\n## {name}\n\n```python\n{name}{inspect.signature(made)}\n```\n\n{inspect.getdoc(made)}")
    for title, names in PARTS.items():
        lines += [f"\n## {title}", *(f"\n::: {name}\n    options:\n      heading_level: 3" for name in names)]
    return "\n".join(lines) + "\n"


def decisions() -> str:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"), reverse=True)
    heads = ((page, page.read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("# ")) for page in pages)
    return "# Decisions\n\nWhy things are as they are, newest first.\n\n" + "".join(
        f"- {page.stem[:10]} [{head}]({page.name})\n" for page, head in heads
    )
