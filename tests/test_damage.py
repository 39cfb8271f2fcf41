"""Every file that a manifest knows, damaged in every way: found, with the right name, before anything is done with it."""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.runs import command, small, within

import bertsmith
from bertsmith import cli
from bertsmith.errors import InputError
from bertsmith.text.store import Store
from bertsmith.training.checkpoint import load_newest
from bertsmith.training.pretraining import pretrain
from bertsmith.training.run import Run

UNLISTED = ("log.txt", "speed.jsonl")
SECONDS = 10  # that anything may take: nothing waits for a pipe
QUICK, ALL = 12, 160  # flips a file, at most


@dataclass
class Subject:
    """A folder whose damage is to be found; `use` is what one does with it, and returns what was said."""

    folder: Path
    use: Callable[[Path], str]
    used: Callable[[str], bool] = lambda name: True  # whether `use` reads a file

    def names(self) -> list[str]:
        """What there is to be damaged: every file but logs, and an import's metrics.jsonl, which is empty."""
        paths = (path for path in sorted(self.folder.rglob("*")) if path.is_file() and path.stat().st_size)
        return [str(path.relative_to(self.folder)) for path in paths if path.name not in UNLISTED]


def open_store(folder: Path) -> str:
    Store.open(folder)
    return ""


def go_on(folder: Path) -> str:
    said: list[str] = []
    run = Run(folder)
    run.begun()
    load_newest(run, said.append)
    return "; ".join(said)


def load(folder: Path) -> str:
    said: list[str] = []
    bertsmith.load(folder, say=said.append)
    return "; ".join(said)


@pytest.fixture(scope="module")
def subjects(store, tmp_path_factory) -> dict[str, Subject]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("damage")
    shutil.copytree(store.path, home / "store")
    pretrain(small("training.checkpoint=3", "model.positions.length=32"), store, home / "run", steps=6)
    words = "module class object value string".split()
    for name, n in (("train", 32), ("dev", 16)):
        rows = [f"{words[i % 5]} {('no', 'yes')[i % 2]} {name} {i}\t{i % 2}" for i in range(n)]
        (home / f"{name}.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    files = {"task": "classify", "train": home / "train.tsv", "dev": home / "dev.tsv", "set": ("epochs=3",)}
    bertsmith.finetune(home / "run", out=home / "tuned", **files)
    bertsmith.finetune(home / "run", out=home / "seeds", seeds=2, **files)
    made = {
        "store": Subject(home / "store", open_store),
        "run": Subject(home / "run", go_on, lambda name: "step-00000003" not in name),
        "tuned": Subject(home / "tuned", load, of_best(home / "tuned")),
        "seeds": Subject(home / "seeds", load, lambda name: name == "result.json"),
    }
    try:
        bertsmith.export(home / "run", home / "export")
        made["export"] = Subject(home / "export", load, lambda name: name != "manifest.json")
        bertsmith.import_(home / "export", home / "imported")
        made["imported"] = Subject(home / "imported", load)
    except InputError as error:
        assert "transformers" in str(error)
    torch.set_num_threads(before)
    return made


def of_best(folder: Path) -> Callable[[str], bool]:
    best = bertsmith.load(folder).path.name
    return lambda name: "steps" not in name or best in name


@pytest.fixture(params=["store", "run", "tuned", "seeds", "export", "imported"])
def subject(request, subjects, tmp_path) -> Subject:
    if request.param not in subjects:
        pytest.skip("exports need transformers, which is not installed")
    found = subjects[request.param]
    shutil.copytree(found.folder, tmp_path / "copy")
    return Subject(tmp_path / "copy", found.use, found.used)


def check_found(subject: Subject, *names: str) -> None:
    """`bertsmith verify` names one of the damaged files, and whoever reads one is told before it is used."""
    with within(SECONDS), pytest.raises(InputError) as caught:
        bertsmith.verify(subject.folder)
    assert any(says(str(caught.value), subject.folder, name) for name in names), f"{names}: {caught.value}"
    if any(map(subject.used, names)):
        try:
            with within(SECONDS):
                said = subject.use(subject.folder)
        except InputError as error:
            said = str(error)
        assert any(says(said, subject.folder, name) for name in names), f"{names}: {said!r}"


def says(line: str, folder: Path, name: str) -> bool:
    """A file by its path; one that is missing may be named as what its folder lacks."""
    path = folder / name
    return str(path) in line or (path.name in line and f"{path.parent}: " in line)


def flips(size: int, most: int, draw: random.Random) -> Iterator[tuple[int, int]]:
    """(byte, bit): the first and the last bytes, one a page, others at random."""
    ends = [*range(min(16, size)), *range(max(0, size - 4), size)]
    pages = [draw.randrange(start, min(start + 4096, size)) for start in range(0, size, 4096)]
    rest = [draw.randrange(size) for _ in range(most)]
    places = draw.sample(ends, min(len(ends), most // 3)) + draw.sample(pages, min(len(pages), most // 3)) + rest
    return ((place, draw.randrange(8)) for place in places[:most])


def flip_all(subject: Subject, most: int) -> int:
    count = 0
    for name in subject.names():
        path = subject.folder / name
        data = path.read_bytes()
        for place, bit in flips(len(data), most, random.Random(name)):
            with open(path, "r+b") as file:
                file.seek(place)
                file.write(bytes([data[place] ^ 1 << bit]))
            check_found(subject, name)
            count += 1
            with open(path, "r+b") as file:
                file.seek(place)
                file.write(data[place : place + 1])
    bertsmith.verify(subject.folder)
    return count


def test_a_flipped_bit_is_found_in_every_file(subject):
    assert flip_all(subject, QUICK) >= QUICK * 6


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_flipped_bits_are_found_wherever_they_are(subject, capsys, request):
    count = flip_all(subject, ALL)
    with capsys.disabled():
        print(f"\n{request.node.callspec.params['subject']}: {count} of {count} flipped bits found")


def rewritten(change: Callable[[bytes], bytes]) -> Callable[[Path, bytes], None]:
    return lambda path, data: path.write_bytes(change(data)) and None


def replaced(make: Callable[[Path], object]) -> Callable[[Path, bytes], None]:
    def damage(path: Path, data: bytes) -> None:
        path.unlink()
        make(path)

    return damage


WRECKS = {
    "empty": rewritten(lambda data: b""),
    "one byte": rewritten(lambda data: data[:1]),
    "half": rewritten(lambda data: data[: len(data) // 2]),
    "a byte less": rewritten(lambda data: data[:-1]),
    "a byte more": rewritten(lambda data: data + b"0"),
    "deleted": replaced(lambda path: None),
    "folder": replaced(Path.mkdir),
    "pipe": replaced(os.mkfifo),
    "dangling link": replaced(lambda path: path.symlink_to("nowhere")),
    "link to itself": replaced(lambda path: path.symlink_to(path)),
}


@pytest.mark.parametrize("wreck", WRECKS)
def test_every_file_that_is_not_what_it_was_is_found(subject, wreck):
    for name in subject.names():
        path = subject.folder / name
        data = path.read_bytes()
        if (wreck, path.name) == ("a byte more", "metrics.jsonl"):
            continue  # what comes after the last saved step is sealed by no manifest, and is cut off by a resume
        WRECKS[wreck](path, data)
        check_found(subject, name)
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
        path.write_bytes(data)
    bertsmith.verify(subject.folder)


def test_two_files_that_changed_places_are_found(subject):
    names = subject.names()
    for a, b in zip(names, names[1:] + names[:1], strict=True):
        if (subject.folder / a).read_bytes() == (subject.folder / b).read_bytes():
            continue
        swap(subject.folder / a, subject.folder / b)
        check_found(subject, a, b)
        swap(subject.folder / a, subject.folder / b)
    bertsmith.verify(subject.folder)


def swap(a: Path, b: Path) -> None:
    data = a.read_bytes()
    a.write_bytes(b.read_bytes())
    b.write_bytes(data)


def test_a_shard_swapped_for_another_of_the_same_length_is_found(subjects, tmp_path):
    folder = tmp_path / "store"
    shutil.copytree(subjects["store"].folder, folder)
    path = folder / "train-00000.npy"
    shard = np.load(path)
    np.save(path, shard[::-1])
    check_found(Subject(folder, open_store), path.name)


@pytest.mark.parametrize(
    ("damaged", "code"),
    [
        ("store/train-00000.npy", 2),
        ("store/manifest.json", 2),
        ("run/config.json", 2),
        ("run/tokenizer.json", 2),
        ("run/metrics.jsonl", 2),
        ("run/steps/step-00000006/model.safetensors", 0),
        ("run/steps/step-00000006/manifest.json", 0),
    ],
)
def test_training_does_not_begin_on_damage(subjects, tmp_path, capsys, damaged, code):
    """The command line: exit 2 naming the file; or, where an older step is whole, a warning that names it, and that step is gone on from."""
    for name in ("store", "run"):
        shutil.copytree(subjects[name].folder, tmp_path / name)
    path = tmp_path / damaged
    before = (tmp_path / "run/metrics.jsonl").read_bytes()
    path.write_bytes(path.read_bytes()[:10])
    arguments = command(
        tmp_path / "store", tmp_path / "run", "training.checkpoint=3", "model.positions.length=32", steps=6
    )
    arguments[arguments.index("--seed") + 1] = "0"
    with within(60):
        assert cli.run([*arguments, "--resume"]) == code
    err = capsys.readouterr().err
    assert says(err, tmp_path, damaged)
    if code == 2:
        assert err.startswith("bertsmith: error: ") and err.count("\n") == 1
    else:
        assert "using step 3 instead" in err and (tmp_path / "run/metrics.jsonl").read_bytes() == before
        bertsmith.verify(tmp_path / "run")
