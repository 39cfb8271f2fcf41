"""Whatever one save asks of the disk may be refused, or be the last thing that the process does: nothing that was saved is lost by it."""

import os
import re
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.children import Child, Children
from tests.runs import command, leftovers, same, tuning

from bertsmith.downstream.verify import _run
from bertsmith.training.checkpoint import verify_run
from bertsmith.training.run import Run

STEPS, INTERVAL, BEGUN = 6, 2, 4
ACTIONS = ("KILL", "ENOSPC", "EIO", "EACCES")
LOGS = ("log.txt", "speed.jsonl")


def pretrain(store, out: Path) -> list[str]:
    return [*command(store.path, out, f"training.checkpoint={INTERVAL}", steps=STEPS, workers=0), "--resume"]


def finished(children, arguments: list[str]) -> None:
    child = children.start(*arguments)
    assert child.wait() == 0, child.err


@pytest.fixture(scope="module")
def straight(children, store, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("straight") / "run"
    finished(children, pretrain(store, out))
    return out


@pytest.fixture(scope="module")
def begun(children, store, tmp_path_factory) -> Path:
    """The same run, killed after it had written the line of step 5: steps 2 and 4 are saved."""
    out = tmp_path_factory.mktemp("begun") / "run"
    child = children.start(*pretrain(store, out), call="tests.faults:layer", step=BEGUN + 1, at=2, action="KILL")
    assert child.wait() == -signal.SIGKILL
    assert Run(out).steps() == [2, BEGUN]
    return out


class Sweep:
    """One kind of fault after the other, each on a fresh copy of `begun`, whose next save is that of its last step."""

    def __init__(
        self, children: Children, command: Callable[[Path], list[str]], straight: Path, begun: Path, folder: Path
    ):
        self.children, self.command, self.straight, self.begun, self.folder = children, command, straight, begun, folder
        self.codes: Counter = Counter()

    def fresh(self) -> Path:
        out = self.folder / "run"
        shutil.rmtree(out, ignore_errors=True)
        return shutil.copytree(self.begun, out)

    def start(self, out: Path, call: str, **options) -> Child:
        return self.children.start(*self.command(out), call=f"tests.faults:{call}", **options)

    def calls(self) -> list[tuple[str, str]]:
        """(name, path) of everything that the save asks for."""
        log = self.folder / "calls"
        assert self.start(self.fresh(), "layer", step=STEPS, log=str(log)).wait() == 0
        return [tuple(line.split(" ", 1)) for line in log.read_text().splitlines()]

    def survives(self, child: Child, out: Path, action: str, what: str, optional: bool = False) -> None:
        """It ended as it should, what was saved is there, and going on gives what was never disturbed."""
        code = child.wait()
        self.codes[code] += 1
        if action == "KILL":
            assert code == -signal.SIGKILL
        elif code == 0:
            assert optional, f"a call was refused, and the run went on: {what}"
        else:
            assert code == 3, child.err
            assert re.fullmatch(r"bertsmith: error: [^\n]+\n", child.err), child.err
        assert verify_run(_run(out)) and Run(out).steps()[-1] >= BEGUN
        assert len(Run(out).steps()) <= 3
        finished(self.children, self.command(out))
        same(self.straight, out)
        assert Run(out).steps() == Run(self.straight).steps() and not leftovers(out)


@pytest.fixture
def sweep(children, store, straight, begun, tmp_path) -> Sweep:
    return Sweep(children, lambda out: pretrain(store, out), straight, begun, tmp_path)


@pytest.fixture
def tuned(children, pretrained, tasks, tmp_path) -> Sweep:
    """Of a fine-tuning of two updates an epoch: the save of its last step, and of its result."""

    def command(out: Path) -> list[str]:
        return [*tuning(pretrained, tasks, "classify", out, "batch=36"), "--resume"]

    straight, begun = tmp_path / "straight", tmp_path / "begun"
    finished(children, command(straight))
    child = children.start(*command(begun), call="tests.faults:layer", step=BEGUN + 1, at=2, action="KILL")
    assert child.wait() == -signal.SIGKILL and Run(begun).steps()[-1] == BEGUN
    return Sweep(children, command, straight, begun, tmp_path)


def layered(sweep: Sweep, every: int) -> str:
    calls = sweep.calls()
    names = {name for name, _ in calls}
    assert names >= {"open", "write", "fsync", "rename", "mkdir", "unlink", "rmdir"}
    cases = [(at, action) for at in range(1, len(calls) + 1) for action in ACTIONS]
    for number, (at, action) in enumerate(cases):
        if number % every == 0:
            out = sweep.fresh()
            child = sweep.start(out, "layer", step=STEPS, at=at, action=action)
            sweep.survives(child, out, action, " ".join(calls[at - 1]), optional=calls[at - 1][1].endswith(LOGS))
    return f"{sum(sweep.codes.values())} faults over {len(calls)} calls of one save; exit codes {dict(sweep.codes)}"


def test_an_eleventh_of_all_faults_of_one_save_is_survived(sweep):
    layered(sweep, every=11)


def test_an_eleventh_of_all_faults_at_the_end_of_a_fine_tuning_is_survived(tuned):
    layered(tuned, every=11)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_fault_at_the_end_of_a_fine_tuning_is_survived(tuned, capsys):
    said = layered(tuned, every=1)
    with capsys.disabled():
        print(f"\nfine-tuning, layer over os: {said}")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_fault_of_one_save_is_survived(sweep, capsys):
    said = layered(sweep, every=1)
    with capsys.disabled():
        print(f"\nlayer over os: {said}")


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_every_fault_that_the_kernel_injects_is_survived(sweep, tmp_path, capsys):
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    log = tmp_path / "log"
    if sweep.start(sweep.fresh(), "traced", step=STEPS, log=str(log)).wait() == 99:
        pytest.skip("strace may not trace a process here")
    asked: Counter = Counter()
    for call in log.read_text().splitlines():
        name = call.split("(")[0]
        asked[name] += 1
        if (
            str(tmp_path) not in call or "EEXIST" in call
        ):  # a module that Python imports; a folder that is there already
            continue
        for action in ACTIONS:
            out = sweep.fresh()
            what = "signal=SIGKILL" if action == "KILL" else f"error={action}"
            inject = f"{name}:{what}:when={asked[name]}"
            child = sweep.start(out, "traced", step=STEPS, log=f"{log}-injected", inject=inject)
            sweep.survives(child, out, action, f"{inject} {call}", optional=any(part in call for part in LOGS))
    assert asked["fsync"] >= 10 and asked["write"] >= 5
    with capsys.disabled():
        print(f"\nstrace: {sum(sweep.codes.values())} faults, {dict(asked)}; exit codes {dict(sweep.codes)}")


def test_files_are_on_the_disk_before_their_names_are(sweep):
    """fsync of every file and of its folder, then the rename, then fsync of the folder above; only then something is removed."""
    calls = [(name, Path(path).name) for name, path in sweep.calls()]
    publish = next(i for i, (name, path) in enumerate(calls) if name == "rename" and "step-00000006" in path)
    synced = [path for name, path in calls[:publish] if name == "fsync"]
    written = [path for name, path in calls[:publish] if name == "write" and not path.endswith(LOGS)]
    assert synced.index("manifest.json") > max(synced.index(n) for n in written if n != "manifest.json")
    assert set(written) <= set(synced) and calls[publish][1] in synced[synced.index("manifest.json") :]
    assert calls[publish + 1] == ("fsync", "steps")
    assert not [name for name, _ in calls[:publish] if name in ("unlink", "rmdir")]
    assert [name for name, _ in calls[publish:] if name == "unlink"]


@pytest.mark.parametrize("limit", [2_000, 100_000])
def test_files_that_may_not_grow_are_refused_in_one_line(sweep, limit):
    """`ulimit -f`: errors that the kernel makes, in the middle of a file."""
    out = sweep.fresh()
    assert os.path.getsize(out / "steps" / "step-00000004" / "optimizer.safetensors") > limit
    sweep.survives(sweep.start(out, "short_files", limit=limit), out, "EFBIG", "a long file")


def test_a_disk_that_is_full_is_refused_in_one_line(tmp_path_factory, store, straight, begun):
    full_disks(tmp_path_factory.mktemp("disk"), store, straight, begun, shares=(0.0, 0.5, 0.9))


@pytest.mark.slow
def test_disks_that_are_full_at_any_point_of_a_save(tmp_path_factory, store, straight, begun):
    full_disks(tmp_path_factory.mktemp("disk"), store, straight, begun, shares=[i / 16 for i in range(20)])


def full_disks(folder: Path, store, straight: Path, begun: Path, shares) -> None:
    """On a file system of its own, so many steps' worth of bytes are left when the save begins."""
    disk = folder / "disk"
    disk.mkdir()
    mount = f'mount -t tmpfs -o size=16m none "{disk}" && exec "$@"'
    children = Children(folder, ("unshare", "-Urm", "sh", "-c", mount, "sh"))
    if not children.started:
        children.close()
        pytest.skip("this kernel lets nobody mount a file system of his own")
    size = sum(path.stat().st_size for path in (begun / "steps" / "step-00000004").iterdir())
    out, ballast, refused = disk / "run", disk / "ballast", 0
    for share in shares:
        assert children.start(begun, out, call="tests.faults:copy").wait() == 0
        options = {"step": STEPS, "left": int(share * size), "ballast": str(ballast)}
        child = children.start(*pretrain(store, out), call="tests.faults:full_disk", **options)
        code = child.wait()
        assert code == 3 or (code == 0 and share > 1), child.err
        if code == 3:
            refused += 1
            assert re.fullmatch(r"bertsmith: error: [^\n]+No space left on device[^\n]+\n", child.err), child.err
        assert children.start(ballast, call="tests.faults:remove").wait() == 0
        finished(children, ["verify", out])
        finished(children, pretrain(store, out))
        child = children.start(straight, out, call="tests.faults:compare")
        assert child.wait() == 0, child.err
        assert children.start(out, call="tests.faults:remove").wait() == 0
    children.close()
    assert refused >= sum(share < 0.95 for share in shares)
