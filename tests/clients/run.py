"""What exports give to the clients that people open them with: `make test-clients`.

Each client runs in an environment of its own without bertsmith, below .clients/; it is asked about every member, and its answers are held
against ours.  The table goes into docs/exchange.md, between the markers.  A client that cannot be installed is said and left out.

    PYTHONPATH=. python tests/clients/run.py [--only transformers5 flair] [--keep] [--check]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE, HOME = Path(__file__).resolve().parent, Path(__file__).resolve().parents[2]
PAGE, BEGIN, END = HOME / "docs" / "exchange.md", "<!-- clients -->", "<!-- /clients -->"
TORCH = "torch==2.13.0"
# {client: (script, what is installed)}; in this order, since some take the graphs that optimum makes.
CLIENTS: dict[str, tuple[str, list[str]]] = {
    "transformers5": ("transformers_client.py", ["transformers==5.24.0"]),
    "transformers4": ("transformers_client.py", ["transformers==4.57.6", "sentencepiece==0.2.3", "protobuf"]),
    "sentence-transformers": ("sentence_transformers_client.py", ["sentence-transformers==6.2.0"]),
    "setfit": ("setfit_client.py", ["setfit==1.2.0"]),
    "flair": ("flair_client.py", ["flair==0.15.1"]),
    "spacy-transformers": ("spacy_client.py", ["spacy-transformers==1.4.0"]),
    "adapters": ("adapters_client.py", ["adapters==1.3.0"]),
    "peft": ("peft_client.py", ["peft==0.21.2", "transformers==5.24.0"]),
    "optimum": ("optimum_client.py", ["optimum-onnx[onnxruntime]==0.1.0", "transformers==4.57.6"]),
    "fastembed": ("fastembed_client.py", ["fastembed==0.9.1", "onnxruntime==1.32.0"]),
    "transformers.js": ("transformers_js.mjs", ["@huggingface/transformers@4.3.1"]),
}
CLOSE = 1e-4  # of the largest number of a text, or of 1: graphs and fused kernels round otherwise than we do


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="*", choices=CLIENTS, default=list(CLIENTS), help="ask these clients alone")
    parser.add_argument("--cache", type=Path, default=HOME / ".clients", help="where environments are kept")
    parser.add_argument("--keep", action="store_true", help="take the answers that are there; only compare")
    parser.add_argument("--check", action="store_true", help="leave the page as it is")
    options = parser.parse_args()
    exports, cache = options.cache / "exports", options.cache
    if not (options.keep and (exports / "ours.json").is_file()):
        from members import export_all

        shutil.rmtree(exports, ignore_errors=True)
        ours = export_all(exports)
        (exports / "ours.json").write_text(json.dumps(ours))
    ours = json.loads((exports / "ours.json").read_text())
    for client in options.only:
        if not (options.keep and (cache / f"{client}.json").is_file()):
            ask(client, cache, exports)
    found = {c: json.loads((cache / f"{c}.json").read_text()) for c in CLIENTS if (cache / f"{c}.json").is_file()}
    table = "\n".join(rows(found, ours))
    print(table)
    if not options.check:
        before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}", encoding="utf-8")


def ask(client: str, cache: Path, exports: Path) -> None:
    script, wanted = CLIENTS[client]
    home, out, log = cache / client, cache / f"{client}.json", cache / f"{client}.log"
    out.unlink(missing_ok=True)
    with open(log, "w") as file:
        said = {"stdout": file, "stderr": subprocess.STDOUT}
        if not installed(client, home, wanted, said):
            print(f"{client}: not installed here, left out ({log})", flush=True)
            return
        program = ["node"] if script.endswith(".mjs") else [str(home / "bin" / "python")]
        more = [str(home)] if script.endswith(".mjs") else []
        quiet = {
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONPATH": "",
            "FLAIR_CACHE_ROOT": str(home),
        }
        done = subprocess.run([*program, str(HERE / script), str(exports), str(out), *more], env=quiet, **said)
    print(f"{client}: {'asked' if done.returncode == 0 else f'ended with {done.returncode}'} ({log})", flush=True)


def installed(client: str, home: Path, wanted: list[str], said: dict[str, Any]) -> bool:
    """Whether the environment stands, which is built where it does not."""
    stamp, pinned = home / ".wanted", "\n".join(wanted)
    if stamp.is_file() and stamp.read_text() == pinned:
        return True
    print(f"{client}: installing {' '.join(wanted)}", flush=True)
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    if CLIENTS[client][0].endswith(".mjs"):
        if shutil.which("npm") is None:
            return False
        (home / "package.json").write_text("{}")
        steps = [["npm", "install", "--prefix", str(home), "--ignore-scripts", "--no-audit", "--no-fund", *wanted]]
    else:
        (home / "constraints.txt").write_text(f"{TORCH}\n")
        pip = [str(home / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
        torch = [] if client == "fastembed" else [TORCH]
        steps = [
            [sys.executable, "-m", "venv", str(home)],
            [*pip, "-c", str(home / "constraints.txt"), *torch, *wanted],
        ]
    for step in steps:
        if subprocess.run(step, **said).returncode:
            return False
    stamp.write_text(pinned)
    return True


# -- the table ----------------------------------------------------------------------------------------------------------------------


def rows(found: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    names, notes = list(ours), []
    lines = [f"| client | asked for | {' | '.join(names)} |", "|---|---|" + "---|" * len(names)]
    for client in found.values():
        said = ", ".join(f"{name} {version}" for name, version in client["versions"].items())
        questions = list(dict.fromkeys(q for answers in client["members"].values() for q in answers))
        for i, question in enumerate(questions):
            cells = [cell(client["members"][name.replace(" ", "-")].get(question), ours[name], notes) for name in names]
            lines.append(f"| {said if i == 0 else ''} | {question} | {' | '.join(cells)} |")
    return [*lines, "", *(f"{n}. {note}" for n, note in enumerate(notes, 1))]


def cell(answer: dict[str, Any] | None, ours: dict[str, Any], notes: list[str]) -> str:
    """ "100" texts alike, "93 (0.2)" with the greatest difference, or the number of the note that says why it was refused."""
    if answer is None:
        return ""
    if "refused" in answer:
        why = answer["refused"].replace("|", "/")
        notes += [] if why in notes else [why]
        return f"refused [{notes.index(why) + 1}]"
    if answer["kind"] == "ran":
        return "ran"
    mine, theirs = ours[answer["kind"]], answer["answers"]
    if answer["kind"] in ("ids", "fill", "tags"):
        return str(sum(a == b for a, b in zip(mine, theirs, strict=True)))
    apart = [difference(a, b) for a, b in zip(mine, theirs, strict=True)]
    same, most = sum(value <= CLOSE for value in apart), max(apart)
    return f"{same} ({'other shapes' if np.isinf(most) else f'{most:.0e}'})"


def difference(mine: list[float], theirs: list[float]) -> float:
    """The greatest one, of the largest number or of 1; infinite where there are not as many numbers."""
    a, b = np.array(mine, float).ravel(), np.array(theirs, float).ravel()
    if a.shape != b.shape or not np.isfinite(b).all():
        return float("inf")
    return float(np.abs(a - b).max(initial=0) / max(1.0, np.abs(a).max(initial=0)))


if __name__ == "__main__":
    main()
