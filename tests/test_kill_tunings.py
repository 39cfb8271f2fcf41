"""The kill box over fine-tuning: every way to tune, every kind of task, killed at any time and gone on with."""

import json
import random
from pathlib import Path

import pytest
from tests.kills import Box
from tests.runs import tuning

from bertsmith.files import sha256

# What is killed: "method task" and further settings; methods, tasks and what goes with them are mixed as they come.
WAYS = {
    "full": ("pairs", ["layer_decay=0.8", "unfreeze=0.1"]),
    "ulmfit": ("classify", ["decay=slanted", "layer_decay=0.385", "unfreeze=0.2", "pool=concat"]),
    "moving average": ("tag", ["ema=0.9"]),
    "last": ("qa", ["last=2"]),
    "afresh": ("regress", ["reinit=1"]),
    "frozen": ("frozen tag", []),
    "frozen pools": ("frozen classify", ["pool=concat"]),
    "mix": ("mix regress", []),
    "houlsby": ("adapter classify", ["adapter.size=4", "ema=0.9"]),
    "pfeiffer": ("adapter qa", ["adapter.size=4", "adapter.form=pfeiffer", "last=2"]),
    "lora": ("lora tag", ["unfreeze=0.1", "layer_decay=0.8"]),
    "prefix": ("prefix tag", ["prefix.length=3", "ema=0.9"]),
    "bias": ("bias pairs", ["patience=2"]),
    "vectors": ("retrieval", ["loss=negatives", "tokens=200"]),
    "vectors by lora": ("lora similarity", ["loss=cosent", "ema=0.9"]),
    "written": ("text2text", ["target_length=4"]),
    "written by adapters": ("adapter text2text", ["target_length=4", "adapter.size=4"]),
}
QUICK = ("lora", "vectors")  # the others are killed in `make test-slow`


@pytest.fixture(scope="session")
def files(tasks, tmp_path_factory) -> dict:
    """`tasks` with short pairs, pairs with a number, pairs that belong together, and texts that are answered by a word."""
    folder, kinds = tmp_path_factory.mktemp("more"), {name: name for name in ("similarity", "retrieval", "text2text")}
    for part, at in (("train", 1), ("dev", 2)):
        lines = [line.split("\t") for line in Path(tasks["pairs"][at]).read_text(encoding="utf-8").splitlines()[1:]]
        pairs = [(*(" ".join(text.split()[:3]) for text in texts), label) for *texts, label in lines]
        made = {
            "pairs": [{"text": a, "text2": b, "label": label} for a, b, label in pairs],
            "similarity": [{"text": a, "text2": b, "label": float(label)} for a, b, label in pairs],
            "retrieval": [{"text": a, "text2": b} for a, b, _ in pairs],
            "text2text": [{"text": a, "label": "yes" if a == b else "no"} for a, b, _ in pairs[:24]],
        }
        for name, rows in made.items():
            (folder / f"{name}.{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    more = ("pairs", *kinds)
    return tasks | {n: (kinds.get(n, "classify"), folder / f"{n}.train.jsonl", folder / f"{n}.dev.jsonl") for n in more}


@pytest.fixture
def survive(children, pretrained, files, tmp_path, tmp_path_factory):
    """`survive(way, seed, runs, kills)`: `runs` of a way, each killed `kills` times; weights, losses, results and predictions are compared."""

    def killed(way: str, seed: int, runs: int, kills: int, saves: tuple[int, int] = (1, 4)) -> Box:
        name, sets = WAYS[way]
        box = Box(
            children, lambda out: tuning(pretrained, files, name, out, *sets), tmp_path / way / "straight"
        ).warmed()
        box.saves = saves
        dev, said = files[name.split()[-1]][2], tmp_path / way / "predictions.jsonl"
        predict(children, box.straight, dev, said)
        for number in range(runs):
            out = tmp_path / way / str(number)
            box.survive(out, random.Random(f"{seed} {way} {number}"), aimed=number % 2 == 0, planned=kills)
            assert steps(out) == steps(box.straight)
            predict(children, out, dev, again := out.with_suffix(".jsonl"))
            assert again.read_bytes() == said.read_bytes()
        return box

    return killed


def steps(run: Path) -> dict[str, str]:
    """The SHA-256 of everything in the saved steps; a manifest also seals what depends on the clock."""
    found = (path for path in run.glob("steps/*/*") if path.name != "manifest.json")
    return {str(path.relative_to(run)): sha256(path) for path in found}


def predict(children, run: Path, rows: Path, out: Path) -> None:
    child = children.start("predict", run, "--input", rows, "--out", out)
    assert child.wait() == 0, child.err


@pytest.mark.parametrize("way", QUICK)
def test_a_killed_fine_tuning_ends_as_if_never_killed(survive, way):
    """The kills are aimed at saves behind the first, so that it goes on from one."""
    box = survive(way, seed=3, runs=1, kills=2, saves=(2, 4))
    assert not box.unsaved


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_thirty_kills_over_every_way_to_tune_change_no_byte(survive, capsys):
    boxes = {way: survive(way, seed=4, runs=2, kills=1) for way in WAYS}
    kills, saving = (sum(getattr(box, name) for box in boxes.values()) for name in ("kills", "saving"))
    lost = [n for box in boxes.values() for n in box.lost]
    with capsys.disabled():
        print(
            f"\n{len(WAYS)} ways to tune survived {kills} kills, {saving} of them while a step was written; updates lost: most {max(lost)}"
        )
    assert kills >= 30
