import pytest
from tests.test_member_processes import learned_alike, made


@pytest.fixture(scope="module")
def two(store, tmp_path_factory):
    return made(store, tmp_path_factory.mktemp("members"), ["longformer", "reformer"])


@pytest.mark.parametrize("shard", ["ddp", "fsdp"])
@pytest.mark.parametrize("name", ["longformer", "reformer"])
def test_two_processes_learn_what_one_does(two, name, shard):
    learned_alike(two, name, shard)
