"""`prepare` in stages: the same bytes whoever makes the units, whatever dies meanwhile, and what stands half made goes on."""

import fcntl
import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import bertsmith
from bertsmith.errors import InputError, ResourceError
from bertsmith.text.prepare import prepare
from bertsmith.text.stages import parts, plan
from bertsmith.text.stages.work import DOCUMENTS, encoded

NEEDS = {
    name: pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"needs {name}")
    for name in ("datatrove", "ray", "py3langid")
}
WORDS = [f"{a}{b}" for a in ("bar", "fen", "lum", "ost", "rik") for b in ("on", "ta", "elle", "us", "ing", "o")]


def pages(count: int, seed: int = 0) -> list[str]:
    """Web pages: whole sentences, teasers, what other pages say, too, nearly the same pages, Chinese."""
    draw = random.Random(seed)
    sentence = lambda: " ".join(draw.choices(WORDS, k=draw.randint(5, 12))).capitalize() + "."
    made: list[str] = []
    for i in range(count):
        lines = [" ".join(sentence() for _ in range(draw.randint(1, 4))) for _ in range(draw.randint(2, 6))]
        if made and i % 5 == 1:
            lines[1:1] = made[draw.randrange(len(made))].split("\n")[:2]
        if i % 7 == 2:
            lines.append("Read more about javascript")
        if i % 11 == 3:
            lines.append("天气很好。我们去公园散步吧！明天 Ünïcode “quotes”…\u200b e\u0301nd.")
        if made and i % 13 == 4:
            lines = made[-1].replace(WORDS[0], WORDS[1]).split("\n")
        made.append("\n".join(lines))
    return made


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A folder of two formats, a file of which is empty."""
    folder = tmp_path_factory.mktemp("corpus") / "web"
    folder.mkdir()
    found = pages(150)
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": page}) + "\n" for page in found[:60]), encoding="utf-8")
    (folder / "b.txt").write_text("\n\n".join(found[60:]) + "\r\n\0", encoding="utf-8")
    (folder / "c.txt").write_text("\n \n")
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A dozen units of the corpus."""
    monkeypatch.setattr(plan, "UNIT", 6000)


@pytest.fixture
def larger(monkeypatch):
    """Three, where each is a process."""
    monkeypatch.setattr(plan, "UNIT", 30_000)


PLAIN = {"tokenizer": "wordpiece:300", "holdout": 0.1}
CLEAN = {**PLAIN, "clean": "c4,duplicates,near-duplicates"}
CASES = {
    "plain": PLAIN,
    "cleaned": CLEAN,
    "rules about a page": {**PLAIN, "clean": "terminal,javascript", "capitals": True},
    "loaded": {"tokenizer": None, "new_words": 3, "holdout": 0, "documents": "file", "lines": "wrapped"},
}


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in sorted(os.listdir(folder))}


@pytest.fixture(scope="module")
def straight(corpus, tmp_path_factory):
    """The store of each case, made in one pass."""
    made: dict[str, dict[str, bytes]] = {}
    out = tmp_path_factory.mktemp("straight")
    prepare(corpus, out / "first", tokenizer="wordpiece:300")
    for name, options in CASES.items():
        if options["tokenizer"] is None:
            options["tokenizer"] = str(out / "first")
        prepare(corpus, out / name, **options)
        made[name] = contents(out / name)
    return made


@pytest.mark.parametrize("case", CASES)
def test_units_make_the_store_that_one_pass_makes(case, corpus, straight, tmp_path):
    said = []
    prepare(corpus, tmp_path / "store", **CASES[case], resume=True, say=said.append)
    assert contents(tmp_path / "store") == straight[case]
    assert os.listdir(tmp_path) == ["store"]
    units = next(int(line.split()[1]) for line in said if line.startswith("encode: "))
    assert units > (1 if case == "loaded" else 4)


@pytest.mark.parametrize("case", ["cleaned"])
def test_so_do_processes(case, larger, corpus, straight, tmp_path):
    prepare(corpus, tmp_path / "store", **CASES[case], resume=True, workers=2)
    assert contents(tmp_path / "store") == straight[case]


def work(store: Path) -> Path:
    return store.with_name(f".{store.name}.work")


def made(store: Path) -> dict[str, list[str]]:
    """The units of each stage that are whole."""
    folder = work(store)
    return {
        stage: sorted(name for name in os.listdir(folder / stage) if not name.startswith("."))
        for stage in ("read", "clean", "duplicates", "encode")
        if (folder / stage).is_dir()
    }


def killed(store: Path, arguments: list[str], seconds: float) -> bool:
    """`prepare` in a process that is killed after a while, with nothing of it left running; whether it was in time."""
    command = ["prepare", *arguments, "--out", str(store), "--resume"]
    code = "import sys; from bertsmith.text.stages import plan; plan.UNIT = 20_000; from bertsmith import cli; sys.exit(cli.run(sys.argv[1:]))"
    process = subprocess.Popen([sys.executable, "-c", code, *command], stderr=subprocess.DEVNULL)
    try:
        process.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    until = time.monotonic() + 20
    while units_running(store) and time.monotonic() < until:
        time.sleep(0.05)
    assert not units_running(store)
    return True


def units_running(store: Path) -> dict[int, list[bytes]]:
    """Processes that make units of this store, or have them made, and their commands."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        makes = b"bertsmith.text.stages.work" in command and str(work(store)).encode() in command
        if makes or (b"bertsmith.text.stages.served" in command and str(work(store)).encode() in command[-1]):
            found[int(folder.name)] = command
    return found


@pytest.mark.parametrize(
    ("workers", "engine"), [(1, ()), (2, ()), pytest.param(2, ("--engine", "local"), marks=NEEDS["datatrove"])]
)
def test_what_was_killed_goes_on_and_ends_the_same(workers, engine, corpus, straight, tmp_path):
    draw, store, kills = random.Random(workers), tmp_path / "store", 0
    options = [str(corpus), "--tokenizer", "wordpiece:300", "--holdout", "0.1", "--clean", CLEAN["clean"]]
    options += ["--workers", str(workers), *engine]
    for _ in range(3):
        kills += killed(store, options, draw.uniform(0.5, 4.0 * workers * (1 + bool(engine))))
        before = made(store) if work(store).is_dir() else {}
        said = []
    assert kills
    if not store.exists():
        prepare(corpus, store, **CLEAN, resume=True, say=said.append)
        there = sum(map(len, before.values()))
        assert not there or any("is there" in line or "are there" in line or "going on" in line for line in said)
    assert contents(store) == straight["cleaned"] and os.listdir(tmp_path) == ["store"]


def stopped(corpus: Path, store: Path, monkeypatch, stage: str, after: int, **options) -> None:
    """A prepare that ends after so many units of a stage."""
    from bertsmith.text.stages import work as module

    real, count = module.WORK[stage], 0

    def counting(*asked):
        nonlocal count
        if count == after:
            raise KeyboardInterrupt
        count += 1
        real(*asked)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setitem(module.WORK, stage, counting)
        prepare(corpus, store, **options, resume=True)


@pytest.mark.parametrize(("stage", "after"), [("read", 1), ("clean", 3), ("duplicates", 0), ("encode", 4)])
def test_units_that_are_there_are_not_made_again(stage, after, corpus, straight, tmp_path, monkeypatch):
    store = tmp_path / "store"
    stopped(corpus, store, monkeypatch, stage, after, **CLEAN)
    assert len(made(store).get(stage, [])) == after
    kept = {path: path.stat().st_mtime_ns for path in (work(store) / stage).glob("*/manifest.json")}
    stopped(corpus, store, monkeypatch, stage, 0, **CLEAN)
    assert kept == {path: path.stat().st_mtime_ns for path in (work(store) / stage).glob("*/manifest.json")}
    prepare(corpus, store, **CLEAN, resume=True)
    assert contents(store) == straight["cleaned"] and os.listdir(tmp_path) == ["store"]


def test_a_unit_is_read_in_pieces_of_whole_parts_which_are_all_of_it(corpus, tmp_path, monkeypatch):
    store = tmp_path / "store"
    stopped(corpus, store, monkeypatch, "encode", 3, **PLAIN, capitals=True)
    for number in range(3):
        place = work(store) / "encode" / f"{number:06d}"
        mine, sums = parts.index(work(store) / DOCUMENTS)[number], parts.done(place)["sums"]
        ((whole, *about),) = encoded(place, mine, sums, most=10**9)
        pieces = [*encoded(place, mine, sums, most=40)]
        assert len(pieces) > 3 and all(len(part.ids) and part.lengths.sum() == len(part.ids) for part, *_ in pieces)
        for name in ("ids", "starts", "lengths", "counts", "capitals"):
            assert np.array_equal(np.concatenate([getattr(part, name) for part, *_ in pieces]), getattr(whole, name))
        for i, row in enumerate(about, 1):
            assert np.array_equal(np.concatenate([piece[i] for piece in pieces]), row)
        assert about[0][0] == mine.first and about[1].sum() == mine.documents
        for name, count in sums.items():
            assert sum(getattr(part, name) for part, *_ in pieces) == count == getattr(whole, name)


def test_a_unit_that_is_not_as_written_is_made_again(corpus, straight, tmp_path, monkeypatch):
    store = tmp_path / "store"
    stopped(corpus, store, monkeypatch, "encode", 4, **PLAIN)
    ids = work(store) / "encode" / "000002" / "ids.npy"
    ids.write_bytes(ids.read_bytes()[:-2] + b"xx")
    said = []
    prepare(corpus, store, **PLAIN, resume=True, say=said.append)
    assert "encode: unit 2 is not as it was written, and is made again" in said
    assert contents(store) == straight["plain"]


def test_documents_that_are_not_as_written_are_refused(corpus, tmp_path, monkeypatch):
    store = tmp_path / "store"
    stopped(corpus, store, monkeypatch, "encode", 4, **CLEAN)
    page = next((work(store) / "duplicates" / "000000").glob("*.jsonl"))
    page.write_bytes(page.read_bytes()[:-1])
    with pytest.raises(InputError, match="000000: damaged; without resume=True all begins anew"):
        prepare(corpus, store, **CLEAN, resume=True)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lines", {**PLAIN, "lines": "sentence"}),
        ("clean", CLEAN),
        ("tokenizer", {**PLAIN, "tokenizer": "wordpiece:301"}),
        ("lowercase", {**PLAIN, "lowercase": True}),
    ],
)
def test_other_options_do_not_go_on(name, options, corpus, tmp_path, monkeypatch):
    store = tmp_path / "store"
    stopped(corpus, store, monkeypatch, "encode", 2, **PLAIN)
    with pytest.raises(InputError, match=f"begun with another `{name}`; the same options go on"):
        prepare(corpus, store, **options, resume=True)
    assert len(made(store)["encode"]) == 2


def test_nor_do_other_sources_and_without_resume_all_begins_anew(corpus, tmp_path, monkeypatch):
    store, web = tmp_path / "store", tmp_path / "web"
    shutil.copytree(corpus, web)
    stopped(web, store, monkeypatch, "encode", 2, **PLAIN)
    (web / "b.txt").write_text("Another text.\n\nAnd one more.\n")
    with pytest.raises(InputError, match="begun with another `sources`"):
        prepare(web, store, **PLAIN, resume=True)
    prepare(web, store, **PLAIN, workers=2, resume=False)
    assert not work(store).exists()
    prepare(web, tmp_path / "other", **PLAIN)
    assert contents(store) == contents(tmp_path / "other")


def test_a_process_that_is_killed_is_started_again_alone(larger, corpus, straight, tmp_path):
    store, said, killed = tmp_path / "store", [], []

    def kill_one():
        while not (killed or store.exists()):
            for process, command in units_running(store).items():
                with suppress(ProcessLookupError):
                    if b"encode" in command:
                        os.kill(process, signal.SIGKILL)
                        killed.append(process)
                        return
            time.sleep(0.01)

    thread = threading.Thread(target=kill_one)
    thread.start()
    prepare(corpus, store, **PLAIN, workers=2, resume=True, say=said.append)
    thread.join()
    assert contents(store) == straight["plain"] and killed


def test_what_dies_again_and_again_is_named(larger, corpus, tmp_path):
    store, over, deaths = tmp_path / "store", threading.Event(), set()

    def kill_all():
        while not over.is_set():
            for process, command in units_running(store).items():
                with suppress(ProcessLookupError):
                    if b"encode" in command and b"1" in command:
                        os.kill(process, signal.SIGKILL)
                        deaths.add(process)
            time.sleep(0.01)

    thread = threading.Thread(target=kill_all)
    thread.start()
    try:
        with pytest.raises(
            ResourceError, match=r"unit 1 of stage encode: its process was killed by signal 9, 2 times; .*goes on"
        ):
            prepare(corpus, store, **PLAIN, workers=2, resume=True, retries=1)
    finally:
        over.set()
        thread.join()
    assert len(deaths) == 2 and "000001" not in made(store).get("encode", [])


def test_a_mistake_in_a_source_is_told_as_in_one_pass(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "One here."}\n{"other": 1}\n')
    said = []
    for more in ({}, {"resume": True}, {"resume": True, "workers": 2}):
        with pytest.raises(InputError) as caught:
            prepare([tmp_path / "a.jsonl"], tmp_path / "store", **PLAIN, **more)
        said.append(str(caught.value))
    assert said[0] == said[1] == said[2] and "a.jsonl:2: no field 'text'" in said[0]


def test_rows_are_of_this_process_and_two_do_not_write_to_one_place(corpus, tmp_path):
    with pytest.raises(InputError, match="rows are in this process alone"):
        bertsmith.prepare(["One here.", "Two there."], tmp_path / "store", **PLAIN, resume=True)
    work(tmp_path / "store").mkdir()
    held = os.open(work(tmp_path / "store"), os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(InputError, match="another process prepares there"):
        prepare(corpus, tmp_path / "store", **PLAIN, resume=True)
    os.close(held)


@NEEDS["datatrove"]
@pytest.mark.parametrize(("case", "tasks", "workers"), [("cleaned", 1, 1), ("plain", 3, 2)])
def test_datatrove_makes_the_same_on_this_machine(case, tasks, workers, larger, corpus, straight, tmp_path, capfd):
    store = tmp_path / "store"
    prepare(corpus, store, **CASES[case], engine="local", tasks=tasks, workers=workers)
    assert contents(store) == straight[case] and os.listdir(tmp_path) == ["store"]
    assert capfd.readouterr() == ("", "")


SBATCH = """#!/bin/bash
# sbatch [options] SCRIPT: its jobs, one after the other, on this machine
script=$BIN/job-$$.sh; cp "${@: -1}" $script
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' $script)
(for i in $(seq 0 $last); do SLURM_ARRAY_TASK_ID=$i bash $script; done; rm $BIN/busy) > $BIN/log 2>&1 < /dev/null &
touch $BIN/busy
echo Submitted batch job 4711
"""
SQUEUE = """#!/bin/bash
test ! -e $BIN/busy || echo 4711
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A cluster of this machine: the scripts that would be submitted are run by bash."""
    (folder := tmp_path / "bin").mkdir()
    for name, text in (("sbatch", SBATCH), ("squeue", SQUEUE)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("BIN", str(folder))
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


@NEEDS["datatrove"]
def test_what_slurm_is_given_makes_the_same(slurm, larger, corpus, straight, tmp_path):
    store = tmp_path / "here" / "store"
    settings = {"partition": "cpu", "time": "02:00:00", "mem_per_cpu_gb": 4, "poll": 0.05}
    prepare(corpus, store, **CLEAN, engine="slurm", tasks=2, workers=2, engine_set=settings)
    assert contents(store) == straight["cleaned"] and os.listdir(store.parent) == ["store"]
    scripts = [path.read_text() for path in sorted(slurm.glob("job-*.sh"), key=os.path.getmtime)]
    assert len(scripts) == 4  # read, clean, duplicates, encode
    lines = scripts[-1].splitlines()
    wanted = {"partition=cpu", "time=02:00:00", "mem-per-cpu=4G", "array=0-1%2", "job-name=bertsmith-encode"}
    assert lines[0] == "#!/bin/bash" and wanted <= {line.removeprefix("#SBATCH --") for line in lines}
    assert not any("pickle" in line or line.endswith("=") for line in lines)
    work_folder, stage, _, tasks, retries = lines[-1].split("--job ")[1].split()
    assert (stage, tasks, retries) == ("encode", "2", "2") and work_folder == str(work(store))


@NEEDS["datatrove"]
def test_what_slurm_did_not_make_is_submitted_again_and_then_named(slurm, larger, corpus, tmp_path):
    script = (slurm / "sbatch").read_text().replace("seq 0 $last", "seq 1 $last")  # the first job of each array is lost
    (slurm / "sbatch").write_text(script)
    with pytest.raises(ResourceError, match=r"1 unit of stage read not made, the first 0; .*logs says more; .*goes on"):
        prepare(corpus, tmp_path / "store", **PLAIN, engine="slurm", engine_set=["poll=0.05"], workers=2, retries=1)
    assert len([*slurm.glob("job-*.sh")]) == 2  # units 1 and 2 by the first, none by the second


@pytest.mark.slow
@NEEDS["datatrove"]
@NEEDS["ray"]
def test_ray_makes_the_same(larger, corpus, straight, tmp_path):
    store = tmp_path / "store"
    prepare(corpus, store, **CLEAN, engine="ray", tasks=3, workers=2, engine_set={"mem_per_cpu_gb": 0.2, "num_cpus": 2})
    assert contents(store) == straight["cleaned"] and os.listdir(tmp_path) == ["store"]


@NEEDS["datatrove"]
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"engine": "flink"}, "engine: 'flink' is none; known: local, ray, slurm"),
        ({"engine_set": ["a=1"]}, "engine_set: is of an engine; engine='local' or 'slurm' or 'ray' is one"),
        ({"engine": "local", "engine_set": ["a"]}, "engine_set: 'a' is not NAME=VALUE, such as partition=cpu"),
        ({"engine": "local", "engine_set": {"colour": "red"}}, "engine_set: .*unexpected keyword argument 'colour'"),
        ({"tasks": 0}, "tasks: 0 is not a whole number from 1"),
        ({"retries": -1}, "retries: -1 is not a whole number from 0"),
    ],
)
def test_what_an_engine_does_not_take_is_told(options, said, corpus, tmp_path):
    with pytest.raises(InputError, match=said):
        prepare(corpus, tmp_path / "store", **PLAIN, **options)
    assert not (tmp_path / "store").exists()
