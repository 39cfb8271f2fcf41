"""Many processes: do two equal one, and does a job survive the death of its workers?

    python experiments/processes.py equal CORPUS --out results      # DDP and FSDP2 beside one process, BERT and RoBERTa, 50 updates
    python experiments/processes.py kill CORPUS --out results       # 20 SIGKILLs of random workers under torchrun's elastic restart

Linux, CPU and gloo: processes are found in /proc.  CORPUS is what `bertsmith prepare` reads.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from safetensors.torch import load_file

import bertsmith

SETTING = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
STEPS = 50
FEW = ["training.batch=2048", "training.evaluate=25", "training.checkpoint=25", "training.held_out=4096"]
SMALL = ["model.layers=1", "model.width=32", "model.hidden=64", "model.heads=2", "layout.length=32"]
CELLS = {
    "ddp": ["--processes", "2"],
    "ddp, accumulate 2": ["--processes", "2", "--set", "training.accumulate=2"],
    "fsdp": ["--processes", "2", "--shard", "fsdp"],
    "fsdp, accumulate 2": ["--processes", "2", "--shard", "fsdp", "--set", "training.accumulate=2"],
    "one, accumulate 2": ["--set", "training.accumulate=2"],
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("what", choices=("equal", "kill"))
    arguments.add_argument("corpus", nargs="+")
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--kills", type=int, default=20)
    arguments.add_argument("--as-it-comes", action="store_true", help=f"without {SETTING}")
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    store = given.out / "store"
    if not store.exists():
        bertsmith.prepare(given.corpus, str(store), tokenizer="wordpiece:4000", lowercase=True, holdout=0.03)
    if given.what == "equal":
        equal(store, given.out)
    else:
        kill(store, given.out, given.kills, not given.as_it_comes, random.Random(given.seed))


# ---------------------------------------------------------------- do two equal one?


def equal(store: Path, out: Path) -> None:
    """A line for each cell: the largest relative difference of 50 losses, the largest difference of a weight after them."""
    for member in ("bert", "roberta"):
        for precision in ("float32", "bfloat16"):
            one = train(member, precision, store, out / f"{member}-{precision}-one", [])
            for name, options in CELLS.items():
                other = train(
                    member,
                    precision,
                    store,
                    out / f"{member}-{precision}-{name.replace(', ', '-').replace(' ', '-')}",
                    options,
                )
                print(
                    json.dumps(
                        {"member": f"{member}:tiny", "precision": precision, "cell": name, **distance(one, other)}
                    ),
                    flush=True,
                )


def train(member: str, precision: str, store: Path, run: Path, options: list[str]) -> Path:
    if not (run / "steps").exists():
        sets = [part for text in [*FEW, f"training.precision={precision}"] for part in ("--set", text)]
        command = ["pretrain", f"{member}:tiny", "--data", store, "--out", run, "--steps", STEPS, "--threads", 1]
        subprocess.run(
            [sys.executable, "-m", "bertsmith", *map(str, command), *sets, *options],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    return run


def distance(one: Path, other: Path) -> dict:
    pairs = list(zip(lines(one), lines(other), strict=True))
    ours, theirs = (load_file(run / "steps" / f"step-{STEPS:08d}" / "model.safetensors") for run in (one, other))
    held = [(a["evaluation"], b["evaluation"]) for a, b in pairs if "evaluation" in a]
    return {
        "same data": all(a["tokens"] == b["tokens"] for a, b in pairs),
        "loss": max(abs(a["loss"] - b["loss"]) / abs(a["loss"]) for a, b in pairs),
        "held out": max(abs(a[term]["loss"] - b[term]["loss"]) / a[term]["loss"] for a, b in held for term in a),
        "weights": max((ours[name] - theirs[name]).abs().max().item() for name in ours),
    }


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


# ---------------------------------------------------------------- does it survive?


def kill(store: Path, out: Path, kills: int, setting: bool, draw: random.Random) -> None:
    """Each kill counts as recovered where both workers are back after one restart and the run has gone on within a minute."""
    straight, run = out / "straight", out / f"killed-{'with' if setting else 'without'}-setting"
    sets = [
        part
        for text in [*SMALL, "training.batch=512", "training.checkpoint=10", "training.keep=2"]
        for part in ("--set", text)
    ]
    command = [
        "pretrain",
        "bert:tiny",
        "--data",
        store,
        "--steps",
        300 * kills,
        "--threads",
        1,
        "--timeout",
        30,
        *sets,
        "--out",
    ]
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--max-restarts",
        str(2 * kills),
        "-m",
        "bertsmith",
        *map(str, command),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop(SETTING, None)
    if setting:
        environment[SETTING] = "1"
    recovered, spare = 0, 0
    with open(out / f"{run.name}.log", "w") as log:
        agent = subprocess.Popen([*command, str(run), "--resume"], env=environment, stdout=log, stderr=log)
        restarts = 0
        for number in range(kills):
            before = wait(agent, run, restarts, 120)
            if before is None:
                break
            time.sleep(draw.uniform(0, 2))
            rank = draw.randrange(2)
            os.kill(before[rank], signal.SIGKILL)
            killed = time.monotonic()
            back = wait(agent, run, restarts + 1, 120)
            if back is None:
                break
            now = restart_count(back[0])
            recovered += now == restarts + 1
            spare += now - restarts - 1
            restarts = now
            print(
                json.dumps(
                    {
                        "kill": number + 1,
                        "rank": rank,
                        "seconds": round(time.monotonic() - killed, 1),
                        "restarts": restarts,
                    }
                ),
                flush=True,
            )
        print(
            json.dumps({"setting": setting, "kills": kills, "recovered": recovered, "spare restarts": spare}),
            flush=True,
        )
        if agent.poll() is None:
            agent.send_signal(signal.SIGTERM)
        agent.wait()
    saved = sorted((run / "steps").iterdir())[-1]
    steps = int(saved.name.rpartition("-")[2])
    print(
        json.dumps(
            {"step": steps, "lines": [line["step"] for line in lines(run)] == list(range(1, len(lines(run)) + 1))}
        ),
        flush=True,
    )
    reference(command, environment, straight, steps)
    same = (straight / "metrics.jsonl").read_bytes()[: sealed(saved)] == (run / "metrics.jsonl").read_bytes()[
        : sealed(saved)
    ]
    print(json.dumps({"metrics equal to an uninterrupted run of two processes": same}), flush=True)


def reference(command: list[str], environment: dict, straight: Path, steps: int) -> None:
    """The run that was never killed, up to `steps` at least."""
    if straight.exists() and len(lines(straight)) >= steps:
        return
    with open(straight.parent / "straight.log", "w") as log:
        agent = subprocess.Popen([*command, str(straight), "--resume"], env=environment, stdout=log, stderr=log)
        while (
            not (straight / "metrics.jsonl").exists()
            or len((straight / "metrics.jsonl").read_text().splitlines()) < steps
        ):
            time.sleep(1)
        agent.send_signal(signal.SIGTERM)
        agent.wait()


def sealed(step: Path) -> int:
    """Bytes of metrics.jsonl that a saved step vouches for."""
    return json.loads((step / "manifest.json").read_text())["run"]["metrics.jsonl"]["bytes"]


def wait(agent: subprocess.Popen, run: Path, restarts: int, limit: float) -> dict[int, int] | None:
    """{rank: process id} once a group of at least so many restarts has made an update; None if that does not come to pass."""
    until, seen = time.monotonic() + limit, None
    while time.monotonic() < until and agent.poll() is None:
        found = {rank: pid for rank, pid in workers(agent.pid).items() if restart_count(pid) >= restarts}
        size = (run / "metrics.jsonl").stat().st_size if (run / "metrics.jsonl").exists() else 0
        if len(found) == 2:
            if seen and seen[0] == found and seen[1] != size and size:
                return found
            seen = seen if seen and seen[0] == found else (found, size)
        time.sleep(0.1)
    return None


def workers(agent: int) -> dict[int, int]:
    children = subprocess.run(["pgrep", "-P", str(agent)], capture_output=True, text=True).stdout.split()
    return {int(found["RANK"]): int(pid) for pid in children if "RANK" in (found := variables(int(pid)))}


def restart_count(pid: int) -> int:
    return int(variables(pid).get("TORCHELASTIC_RESTART_COUNT", -1))


def variables(pid: int) -> dict[str, str]:
    try:
        text = Path(f"/proc/{pid}/environ").read_text()
    except OSError:
        return {}
    return dict(part.split("=", 1) for part in text.split("\0") if "=" in part)


if __name__ == "__main__":
    main()
