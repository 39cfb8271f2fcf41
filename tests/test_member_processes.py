"""Members with mechanisms of their own on two processes: they learn what one does, in copies and in slices."""

import pytest
from tests.test_distributed import alike, job
from tests.workers import outcome, work

SHARES = ["model.layers=3", "model.share=attention"]
TIED = ["objective.generator=1", "objective.share=all"]
CASES = {"albert": [], "albert-attention": SHARES, "electra": [], "electra-all": TIED, "spanbert": [], "structbert": []}
CASES |= {"ernie1": [], "unilm": []}


@pytest.fixture(scope="module")
def two(store, tmp_path_factory):
    folder, jobs = tmp_path_factory.mktemp("members"), []
    for name, sets in CASES.items():
        member = {"member": name.partition("-")[0]}
        jobs += [
            job(store, f"{name}-one", *sets, **member, alone=True, options={"steps": 12}),
            job(store, f"{name}-ddp", *sets, **member, options={"steps": 12}),
            job(store, f"{name}-fsdp", *sets, **member, options={"steps": 12, "shard": "fsdp"}),
        ]
    done = work(folder, jobs)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("shard", ["ddp", "fsdp"])
@pytest.mark.parametrize("name", CASES)
def test_two_processes_learn_what_one_does(two, name, shard):
    for run in ("one", shard):
        assert outcome(two, f"{name}-{run}")["code"] == 0, outcome(two, f"{name}-{run}")
    alike(two / f"{name}-one", two / f"{name}-{shard}")
