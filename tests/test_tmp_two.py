import pytest, torch
from tests.runs import lines
from tests.workers import outcome, work
from tests.test_tuning_runs import weights
@pytest.fixture(scope="module")
def two(children, pretrained, tasks, short, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    exact = ["batch=8", "lr=0.003", "dropout=0.0", "precision=float32"]
    how = {"steps": None, "epochs": 2}
    def job(name, task, *sets, out="", alone=False, options=(), **more):
        kind, train, dev = tasks[task]
        files = {"task": kind, "train": str(train), "dev": str(dev), **more.pop("with", {})}
        settings = {"set": [*exact, *sets], "options": {**how, **dict(options)}, "out": out or name, "alone": alone}
        return {"name": name, "model": str(pretrained), "task": files, **settings, **more}
    jobs = [job("classify-1", "classify", "accumulate=2", alone=True)]
    jobs += [
        *(
            job(f"{name}-{count}", "classify", *["accumulate=2"][count - 1 :], *sets, alone=count == 1, **{"with": more})
            for name, sets, more in (
                ("int8", (), {"method": "int8"}),
                ("taught", ("taught.epochs=1",), {"teacher": str(folder / "classify-1")}),
            )
            for count in (1, 2)
        ),
        job("sliced-int8", "classify", options={"shard": "fsdp"}, **{"with": {"method": "int8"}}),
        job("sliced-taught", "classify", "taught.epochs=1", options={"shard": "fsdp"}, **{"with": {"teacher": str(folder / "classify-1")}}),
    ]
    work(children, folder, jobs)
    return folder
from tests.test_tuning_runs import test_two_processes_find_the_ranges_that_one_finds
def test_taught(two):
    for name in ("taught-2", "sliced-taught"):
        for rank in (0, 1):
            assert outcome(two, name, rank)["code"] == 0, outcome(two, name, rank)
        ours, theirs = lines(two / "taught-1"), lines(two / name)
        for a, b in zip(ours, theirs, strict=True):
            assert b["loss"] == pytest.approx(a["loss"], rel=1e-6), (a["step"], name)
