"""The folder of an adaptation: a pre-training run like any other, and beside it what it was made by and what that bought.

config.json, tokenizer.json, metrics.jsonl, steps/    the best step of the last stage: what RUN is as a MODEL
adapt.json                     what was measured before and after
parts/asked.json               what was asked for, which a resumed command must ask again
parts/text/                    words that were added, the texts looked at, a store for each text
parts/stages/                  a run for each stage
parts/measured/                what models said of passages, and of the dev rows
parts/task/                    fine-tunings of the model before and after
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bertsmith import files
from bertsmith.errors import InputError, printable
from bertsmith.spelling import flag, option
from bertsmith.training.run import CONFIG, ENTITIES, METRICS, TOKENIZER, Run

RESULT, PARTS, ASKED = "adapt.json", "parts", "asked.json"
FORMAT = 1


class Adaptation(Run):
    """The folder, by the kind that its config.json says: a pre-training run."""

    def owns(self, name: str) -> bool:
        return name in (RESULT, PARTS) or super().owns(name)

    @property
    def parts(self) -> Path:
        return self.path / PARTS

    def stage(self, name: str) -> Path:
        return self.parts / "stages" / name

    def text(self, name: str) -> Path:
        return self.parts / "text" / name

    def check_free(self, resume: bool) -> None:
        """InputError unless an adaptation may be written here: nothing yet, or (resume) one that was begun."""
        begun = self.parts.is_dir()
        if begun and not resume:
            raise InputError(
                f"{printable(self.path)}: {option('out')} holds an adaptation already; {flag('resume')} goes on with it"
            )
        if self.named() and not begun:
            raise InputError(f"{printable(self.path)}: {option('out')} holds a run; choose another place")
        super().check_free(resume or begun)

    def begin(self, asked: Mapping[str, Any]) -> None:
        """InputError where what was begun here was asked for otherwise, naming the first field that differs."""
        path = self.parts / ASKED
        data = files.plain(path) if self.parts.is_dir() else None
        if data is None:
            with files.writing(self.parts):
                for folder in ("text", "stages", "measured", "task"):
                    (self.parts / folder).mkdir(parents=True, exist_ok=True)
            files.write(path, files.sealed({"format": FORMAT, **asked}))
            return
        old = files.unsealed(data, path)
        for name in {**old, **asked}:
            if name != "format" and old.get(name) != asked.get(name):
                was, now = (printable(repr(each.get(name)), 80) for each in (old, asked))
                raise InputError(
                    f"{printable(self.path)}: {flag('resume')}: {name}: the adaptation was begun with {was}, now it is {now}; "
                    f"use the same, or another {option('out')}"
                )

    def kept(self, name: str, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """What stands in `parts/NAME.json`, which `make` makes where there is none."""
        path = self.parts / f"{name}.json"
        data = files.plain(path)
        if data is None:
            data = files.sealed(dict(make()))
            files.write(path, data)
        return files.unsealed(data, path)

    def become(self, stage: Path, step: int) -> None:
        """This folder is a run with that step of a stage, byte for byte."""
        source = Run(stage)
        if self.named() == [step]:
            return
        with files.writing(self.path):
            for name in (TOKENIZER, ENTITIES, METRICS, CONFIG):
                if (source / name).exists():
                    files.write(self / name, (source / name).read_bytes())
            with files.partial(self.step(step)) as folder:
                shutil.copytree(source.step(step), folder, dirs_exist_ok=True)
                files.publish(folder, self.step(step))

    def finish(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """adapt.json, which is written once."""
        path, data = self / RESULT, files.sealed(dict(result))
        if files.plain(path) != data:
            files.write(path, data)
        return files.unsealed(data, path)


def result_of(run: str | os.PathLike) -> dict[str, Any] | None:
    """What adapt.json of a run says; None where it is no adaptation, or did not finish."""
    path = Path(run) / RESULT
    data = files.plain(path)
    return None if data is None else files.unsealed(data, path)
