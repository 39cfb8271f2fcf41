"""Members with mechanisms of their own on two processes: they learn what one does, in copies and in slices, and go on where they stopped."""

import pytest
from safetensors.torch import load_file
from tests.runs import same
from tests.test_distributed import alike, job
from tests.workers import outcome, work

from bertsmith.training.run import Run

SHARES = ["model.layers=3", "model.share=attention"]
TIED = ["objective.generator=1", "objective.share=all"]
CLUSTERS = ["model.embeddings.cutoffs=[300,600]", "model.embeddings.divide=2"]
CASES: dict[str, tuple[str, list[str]]] = {  # member and settings
    **{name: (name, []) for name in ("albert", "electra", "spanbert", "structbert", "ernie1", "unilm")},
    **{name: (name, []) for name in ("transformer-xl", "xlnet", "gpt2", "ernie-thu", "ulmfit")},
    "albert-attention": ("albert", SHARES),
    "electra-all": ("electra", TIED),
    "longformer": ("longformer", ["model.attention.window=8"]),
    "deberta": ("deberta", []),  # whose last layer is asked twice
    "gpt-bert": ("gpt-bert", []),  # whose layers hand on all states
    "deberta-v3": ("deberta-v3", []),  # whose tables part by a difference: both are sliced alike
    # Its layers are computed together, and are no slices by themselves.
    "reformer": ("reformer", ["model.attention.chunk=8"]),
    "transformer-xl-clusters": ("transformer-xl", CLUSTERS),  # else the store's 1,000 tokens are one
}
# What differs from a member by its corruption alone, by a head that reads the ends of spans, or is another sharing of one, is
# distributed in `make test-slow`; Transformer-XL with all of its vocabulary in one cluster, too.
VARIANTS = ("structbert", "ernie1", "unilm", "spanbert", "albert-attention", "electra-all", "transformer-xl")
VARIANTS += ("deberta", "gpt-bert", "deberta-v3", "longformer", "reformer")
RESUMED = {"transformer-xl-clusters": "fsdp", "xlnet": "ddp", "ulmfit": "fsdp"}


def made(children, store, folder, names):
    """One process, two in copies and two in slices, of each case; those that are resumed, too."""
    options, jobs = {"ddp": {"steps": 12}, "fsdp": {"steps": 12, "shard": "fsdp"}}, []
    for name in names:
        member, sets = CASES[name]
        jobs.append(job(store, f"{name}-one", *sets, member=member, alone=True, options={"steps": 12}))
        jobs += [job(store, f"{name}-{shard}", *sets, member=member, options=options[shard]) for shard in options]
    for name, shard in ((name, RESUMED[name]) for name in names if name in RESUMED):
        member, sets = CASES[name]
        out = {"member": member, "out": f"{name}-again"}
        jobs.append(job(store, f"{name}-broken-off", *sets, **out, stop=7, options=options[shard]))
        jobs.append(job(store, f"{name}-on", *sets, **out, options={**options[shard], "resume": True}))
    work(children, folder, jobs)
    return folder


@pytest.fixture(scope="module")
def two(children, store, tmp_path_factory):
    return made(children, store, tmp_path_factory.mktemp("members"), [name for name in CASES if name not in VARIANTS])


@pytest.fixture(scope="module")
def more(children, store, tmp_path_factory):
    return made(children, store, tmp_path_factory.mktemp("variants"), VARIANTS)


def learned_alike(folder, name, shard):
    for run in ("one", shard):
        assert outcome(folder, f"{name}-{run}")["code"] == 0, outcome(folder, f"{name}-{run}")
    alike(folder / f"{name}-one", folder / f"{name}-{shard}")


@pytest.mark.parametrize("shard", ["ddp", "fsdp"])
@pytest.mark.parametrize("name", [name for name in CASES if name not in VARIANTS])
def test_two_processes_learn_what_one_does(two, name, shard):
    learned_alike(two, name, shard)


@pytest.mark.slow
@pytest.mark.parametrize("shard", ["ddp", "fsdp"])
@pytest.mark.parametrize("name", VARIANTS)
def test_two_processes_learn_what_one_does_of_variants(more, name, shard):
    learned_alike(more, name, shard)


def remembered(run):
    return load_file(Run(run).step(Run(run).steps()[-1]) / "memory.safetensors")


@pytest.mark.parametrize("name", RESUMED)
def test_what_all_processes_remember_is_kept_and_is_what_one_remembers(two, name):
    one, other = remembered(two / f"{name}-one"), remembered(two / f"{name}-{RESUMED[name]}")
    assert one.keys() == other.keys() and len(one) == 8, "a column each of 256 tokens in rows of 32"
    assert all((one[column] - other[column]).abs().max() < 1e-4 for column in one)


@pytest.mark.parametrize("name", RESUMED)
def test_a_run_with_memory_that_was_resumed_is_the_one_that_was_not(two, name):
    assert outcome(two, f"{name}-broken-off")["code"] != 0 and outcome(two, f"{name}-on")["code"] == 0
    whole, again = two / f"{name}-{RESUMED[name]}", two / f"{name}-again"
    same(whole, again)
    mine, theirs = remembered(whole), remembered(again)
    assert mine.keys() == theirs.keys() and all((mine[column] == theirs[column]).all() for column in mine)
