"""Fixtures that every test file may use.  The corpus is the language reference that comes with every Python."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("bertsmith", deadline=None)  # how long an example takes is the machine's business
settings.load_profile("bertsmith")

# Workers side by side have a core each; more threads than cores wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def real_data() -> Path | None:
    """The folder of real corpora beside the checkout, where there is one."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session", autouse=True)
def no_power_fails():
    """In this process nothing waits for the disk: what was written is read from the page cache, which outlives a kill.  What is synced
    before what is looked at in tests/test_checkpoint.py and, in processes of their own, tests/test_faults.py."""
    sync, os.fsync = os.fsync, lambda descriptor: None
    yield
    os.fsync = sync


@pytest.fixture(scope="module")
def one_thread():
    """Small models gain nothing from more, and a busy machine loses much."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def documents() -> list[str]:
    """About 80 documents of real English: the topics of `pydoc`, one paragraph a line."""
    from pydoc_data.topics import topics

    found = []
    for name in sorted(topics):
        paragraphs = [re.sub(r"\s+", " ", p).strip() for p in topics[name].split("\n\n")]
        found.append("\n".join(p for p in paragraphs if len(p.split()) > 4))
    return [text for text in found if text.count("\n") > 2]


@pytest.fixture(scope="session")
def corpus(documents, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "topics.txt"
    path.write_text("\n\n".join(documents) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def store(corpus, tmp_path_factory):
    """A real store: lower-cased WordPiece, 1,000 pieces, a twentieth held out; phrases by statistics, entities are capitalised words, which are
    linked to vectors drawn at random."""
    from bertsmith.text.prepare import prepare
    from bertsmith.text.store import Store

    folder = tmp_path_factory.mktemp("store")
    names = re.findall(r"(?<=[a-z,] )[A-Z][a-z]+(?: [A-Z][a-z]+)*", corpus.read_text(encoding="utf-8"))
    (folder / "names.txt").write_text("\n".join(sorted({*names})) + "\n", encoding="utf-8")
    levels = {"phrases": "npmi", "entities": str(folder / "names.txt")} | linked(folder, sorted({*names}))
    prepare([str(corpus)], folder / "store", tokenizer="wordpiece:1000", lowercase=True, holdout=0.05, **levels)
    return Store.open(folder / "store")


def linked(folder: Path, names: list[str]) -> dict[str, str]:
    """Options of `prepare` that link each of these names to an entity of its own."""
    import numpy as np

    (folder / "mentions.tsv").write_text("".join(f"{name}\tE{i}\n" for i, name in enumerate(names)), encoding="utf-8")
    (folder / "vectors.txt").write_text("".join(f"E{i}\n" for i in range(len(names))), encoding="utf-8")
    np.save(folder / "vectors.npy", np.random.default_rng(0).normal(size=(len(names), 20)).astype(np.float32) / 20**0.5)
    return {"links": str(folder / "mentions.tsv"), "entity_vectors": str(folder / "vectors.npy")}


@pytest.fixture(scope="session")
def short(documents, tmp_path_factory):
    """A store of which an epoch is 7 to 9 updates of tests/runs.py: short enough to be broken off in every part of it."""
    from bertsmith.text.prepare import prepare
    from bertsmith.text.store import Store

    folder = tmp_path_factory.mktemp("short")
    (folder / "text.txt").write_text("\n\n".join(text[:2500] for text in documents[:13]) + "\n", encoding="utf-8")
    prepare([str(folder / "text.txt")], folder / "store", tokenizer="wordpiece:500", lowercase=True, holdout=0.2)
    return Store.open(folder / "store")


@pytest.fixture(scope="session")
def pretrained(short, tmp_path_factory) -> Path:
    """A BERT of width 16 after 4 updates: what fine-tunings of a second begin with."""
    from tests.runs import small

    from bertsmith.training.pretraining import pretrain

    out = tmp_path_factory.mktemp("pretrained") / "run"
    pretrain(small("training.precision=float32"), short, out, steps=4, threads=1)
    return out


@pytest.fixture(scope="session")
def tasks(tmp_path_factory) -> dict:
    """{name: (kind, training file, dev file)}: classify, pairs, regress, tag, qa."""
    from tests import goldens

    return goldens.tasks(tmp_path_factory.mktemp("tasks"))


@pytest.fixture
def tune_by(pretrained, tasks):
    """`tune_by(out, "adapter")`: a fine-tuning of `pretrained` to one of `tasks`, two epochs."""
    import bertsmith

    def run(out: Path, method: str, name: str = "classify", sets: tuple[str, ...] = (), **options) -> dict:
        kind, train, dev = tasks[name]
        options = {"seed": 3, "threads": 1, "epochs": 2, **options}
        sets = ("batch=8", "lr=0.01", "checkpoint=5", *sets)
        model = options.pop("model", pretrained)
        return bertsmith.finetune(model, task=kind, train=train, dev=dev, out=out, method=method, set=sets, **options)

    return run


@pytest.fixture(scope="session")
def by_method(pretrained, tasks, tmp_path_factory):
    """{method: a run of it}, the dev file, and the model that they began with."""
    import bertsmith

    folder, (kind, train, dev) = tmp_path_factory.mktemp("methods"), tasks["classify"]
    made = {}
    for method in ("adapter", "lora", "prefix", "pal", "bias", "mix"):
        sets = ["batch=8", "lr=0.02", "adapter.size=4"] if method == "adapter" else ["batch=8", "lr=0.02"]
        options = {"task": kind, "train": train, "dev": dev, "method": method, "epochs": 3, "threads": 1}
        made[method] = folder / method
        bertsmith.finetune(pretrained, out=made[method], set=sets, **options)
    return made, dev


@pytest.fixture
def few_texts(monkeypatch):
    """An export and an import read 100 texts beside transformers and not 1,000: for tests of something else than how texts are read."""
    from bertsmith.deploy import export, importing

    monkeypatch.setattr(export, "TEXTS", 100)
    monkeypatch.setattr(importing, "TEXTS", 100)


@pytest.fixture(scope="session")
def children(tmp_path_factory):
    """Starts commands in processes of their own: `children.start("verify", run).wait()`."""
    from tests.children import Children

    made = Children(tmp_path_factory.mktemp("children"))
    yield made
    made.close()


@pytest.fixture
def tiny():
    """A member small enough for a test of a second: `tiny("bert")`, further overrides as on the command line."""
    from tests.runs import fitting

    from bertsmith.config import override
    from bertsmith.recipe import find

    def build(name: str, *assignments: str):
        small = ["model.width=32", "model.hidden=64", "model.heads=2", "layout.length=64", "training.batch=512"]
        recipe = find(f"{name}:tiny")
        return override(recipe, fitting(recipe, [*small, *assignments]))

    return build
