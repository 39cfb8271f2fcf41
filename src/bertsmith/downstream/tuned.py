"""The folder of a fine-tuning: a run whose result.json says which step, or which seed's run, is the best."""

from __future__ import annotations

import os
import re
from pathlib import Path

from bertsmith import files
from bertsmith.errors import InputError, printable
from bertsmith.training.run import Run

KEPT = re.compile(r"\.?teacher-[0-9a-f]{16}-[0-9a-f]{16}\.npy(\.tmp-\d+)?")  # what teachers said (teachers.py)
SEED = re.compile(r"seed-\d+")
RESULT_FORMAT = 1
RESULT = "result.json"  # of a fine-tuning that finished: scores, and which step (or which seed's run) is the best


class Tuned(Run):
    """The folder of a fine-tuning: a Run whose config.json says so, and whose result.json names the best step."""

    kind = "finetune"
    results = (RESULT,)

    def owns(self, name: str) -> bool:
        return super().owns(name) or KEPT.fullmatch(name) is not None

    def result(self) -> dict | None:
        """What result.json says; None where the fine-tuning did not finish."""
        path = self / RESULT
        data = files.plain(path)
        if data is None:
            return None
        result = files.unsealed(data, path)
        files.check_format(result, path, RESULT_FORMAT)
        if "folds" in result:
            raise InputError(
                f"{printable(self.path)}: holds a cross-validation; a model is one of its folds, such as {printable(self / 'fold-0')}"
            )
        if "curve" in result:
            run = printable(
                self / f"rows-{result['curve']['rows'][-1]}" / "model" / f"seed-{result['curve']['seeds'][0]}"
            )
            raise InputError(
                f"{printable(self.path)}: holds a learning curve; a model is one of its runs, such as {run}"
            )
        if "best" not in result and not {"seeds", "best_seed"} <= result.keys():
            raise InputError(f"{printable(path)}: not the result of a fine-tuning")
        return result

    def check_seeds(self) -> None:
        """InputError for fine-tunings of several seeds without the result that says which is the best."""
        if (
            self.path.is_dir()
            and not os.path.lexists(self / RESULT)
            and any(map(SEED.fullmatch, os.listdir(self.path)))
        ):
            raise InputError(
                f"{printable(self / RESULT)}: missing; the fine-tunings here did not all finish, or it was removed"
            )


def seeds_of(run: Path) -> list[Path]:
    """The runs of each seed below a fine-tuning of several, or the run itself."""
    return sorted(path for path in run.glob("seed-*") if path.is_dir()) or [run]
