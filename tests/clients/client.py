"""What every client shares: it reads members.json and texts.json in a folder of exports, asks, and writes answers.json.

Standard library only: it runs in environments without bertsmith.  A question that fails is an answer, too: {"refused": why}.
"""

import contextlib
import io
import json
import re
import sys
import traceback
from pathlib import Path


def main(versions, ask):
    """`ask(folder, member, texts)` yields (question, kind, function): what the function gives is held against our answers of that kind."""
    exports, out = Path(sys.argv[1]), Path(sys.argv[2])
    members, texts = (json.loads((exports / name).read_text()) for name in ("members.json", "texts.json"))
    found = {}
    for name, member in members.items():
        found[name] = {}
        for question, kind, function in ask(exports / name, member, texts):
            try:
                answer = {"kind": kind, "answers": function()}
            except Exception as error:
                traceback.print_exc()
                answer = {"kind": kind, "refused": f"{type(error).__name__}: {error}".strip().partition("\n")[0][:200]}
            found[name][question] = answer
        print(name, {q: "refused" if "refused" in a else "answered" for q, a in found[name].items()}, flush=True)
    out.write_text(json.dumps({"versions": versions, "members": found}))


def flat(tensors):
    """Rows of numbers as JSON has them."""
    return [tensor.reshape(-1).tolist() for tensor in tensors]


def card(folder, of):
    """Whether the lines of the model card that are about the library `of` run; None where there are none."""
    found = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    found = [lines.replace("FOLDER", str(folder)) for lines in found if f"from {of} import" in lines]
    if not found:
        return None

    def run():
        for lines in found:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(lines, "README.md", "exec"), {})

    return run
