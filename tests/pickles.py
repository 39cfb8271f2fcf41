"""A process in which no pickle can be read or written: whatever tries is told of, with where it came from.  Runs in a child."""

import _pickle
import json
import pickle
import sys
import traceback
from pathlib import Path

import torch

import bertsmith

WATCHED = {
    pickle: ("load", "loads", "dump", "dumps", "Pickler", "Unpickler", "_Pickler", "_Unpickler"),
    _pickle: ("load", "loads", "dump", "dumps", "Pickler", "Unpickler"),
    torch: ("load", "save"),
    torch.serialization: ("load", "save"),
}


class Watch:
    """Refuses pickles from here to the end of the process; `found` says what tried."""

    def __init__(self) -> None:
        self.found: list[str] = []
        sys.addaudithook(self._heard)  # of the interpreter's own unpickler, however it was reached
        for module, names in WATCHED.items():
            for name in names:
                setattr(module, name, self._refused(f"{module.__name__}.{name}"))

    def _heard(self, event: str, arguments: tuple) -> None:
        if event.startswith("pickle."):
            self._note(f"{event} {arguments}")

    def _refused(self, name: str) -> type:
        watch = self

        class Refused:
            def __init__(self, *_: object, **__: object) -> None:
                watch._note(name)
                raise AssertionError(f"{name} was called")

        return Refused

    def _note(self, what: str) -> None:
        self.found.append(what + "\n" + "".join(traceback.format_stack(limit=8)))


def jobs(arguments: list[str], export: bool) -> int:
    """Everything that reads or writes a store, a run or a folder of others, below FOLDER; FOLDER/found.json says what pickled."""
    corpus, folder = arguments[0], Path(arguments[1])
    if export:
        import transformers  # noqa: F401  (what a library does when it is imported is not what we do with files)
    watch = Watch()
    run, tuned, rows = folder / "run", folder / "tuned", folder / "rows.tsv"
    bertsmith.prepare([corpus], folder / "store", tokenizer="wordpiece:500", lowercase=True, holdout=0.1)
    for steps in (3, 6):
        bertsmith.pretrain("bert:tiny", folder / "store", run, steps=steps, threads=1, workers=1, resume=True)
    bertsmith.fill(bertsmith.load(run), "a [MASK] of this")
    rows.write_text("text\tlabel\n" + "".join(f"a value {i}\t{i % 2}\n" for i in range(32)))
    dev = folder / "dev.tsv"
    dev.write_text(rows.read_text().replace("value", "class"))
    bertsmith.finetune(run, task="classify", train=rows, dev=dev, out=tuned, set=("epochs=1",), threads=1)
    bertsmith.predict(bertsmith.load(tuned), dev, folder / "predicted.jsonl")
    bertsmith.evaluate(bertsmith.load(tuned), input=dev)
    bertsmith.embed(bertsmith.load(run), dev, out=folder / "vectors")
    bertsmith.report([run, tuned], folder / "report.html")
    if export:
        bertsmith.export(run, folder / "export")
        bertsmith.import_(folder / "export", folder / "imported")
        bertsmith.load(folder / "export")
        bertsmith.verify(folder / "export")
    for place in ("store", "run", "tuned"):
        bertsmith.verify(folder / place)
    (folder / "found.json").write_text(json.dumps(watch.found))
    return 0


def one(arguments: list[str]) -> int:
    """torch.save, and a deepcopy, which is no pickle; the watch has to notice the first and only that."""
    import copy

    watch = Watch()
    copy.deepcopy(torch.nn.Linear(2, 2))
    try:
        torch.save({}, arguments[0])
    except AssertionError:
        return len(watch.found)
    return 0
