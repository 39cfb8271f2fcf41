"""A saved step is whole or not there; damage is found, named, and survived."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.runs import lines, same, small

from bertsmith import files
from bertsmith.downstream.model import load
from bertsmith.errors import InputError, NumericsError, ResourceError
from bertsmith.training import checkpoint, saving
from bertsmith.training.pretraining import pretrain
from bertsmith.training.run import Run

STEPS = 6


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def finished(store, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "run"
    pretrain(small("training.checkpoint=3", "training.evaluate=0"), store, out, steps=STEPS)
    return out


@pytest.fixture
def run(finished, tmp_path) -> Run:
    shutil.copytree(finished, tmp_path / "run")
    return Run(tmp_path / "run")


def resume(run: Run, store, **options):
    return pretrain(
        small("training.checkpoint=3", "training.evaluate=0"), store, run.path, steps=STEPS, resume=True, **options
    )


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 1 << (at % 8)
    path.write_bytes(data)


def test_a_step_holds_exactly_what_its_manifest_says(run):
    assert run.steps() == [3, 6]
    assert sorted(os.listdir(run.step(6))) == [
        "manifest.json",
        "model.safetensors",
        "optimizer.safetensors",
        "state.json",
    ]
    manifest = checkpoint.verify_step(run, 6)
    assert manifest["run"]["config.json"]["sha256"] == files.sha256(run / "config.json")
    assert manifest["run"]["metrics.jsonl"]["bytes"] == (run / "metrics.jsonl").stat().st_size
    assert checkpoint.verify_run(run)["files"] == 2 * 4 + 3


def test_weights_are_float32_and_tied_ones_stand_once(run):
    weights = load_file(run.step(6) / "model.safetensors")
    assert all(tensor.dtype == torch.float32 for tensor in weights.values())
    vocab = Run(run.path).config()["recipe"]["model"]["vocab"]
    assert sum(tensor.ndim == 2 and tensor.shape[0] == vocab for tensor in weights.values()) == 1


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("at", [0, 7, -2, 1234])
def test_a_flipped_bit_is_found_and_the_step_before_is_used(run, name, at):
    flip(run.step(6) / name, at)
    said = []
    saved = checkpoint.load_newest(run, said.append)
    assert saved.state.step == 3
    assert len(said) == 1 and said[0].startswith("warning: ") and name in said[0] and "using step 3" in said[0]
    with pytest.raises(InputError, match=name):
        checkpoint.load_model(run.step(6))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "metrics.jsonl"])
def test_what_stands_beside_the_steps_is_sealed_too(run, store, name):
    flip(run / name, 40)
    with pytest.raises(InputError, match=name):
        resume(run, store)
    assert run.steps() == [3, 6]


@pytest.mark.parametrize("wreck", ["cut", "empty", "longer", "gone", "folder", "link"])
def test_other_damage_is_found(run, wreck):
    path = run.step(6) / "model.safetensors"
    data = path.read_bytes()
    path.unlink()
    if wreck == "folder":
        path.mkdir()
    elif wreck == "link":
        path.symlink_to("nowhere")
    elif wreck != "gone":
        path.write_bytes({"cut": data[:-1], "empty": b"", "longer": data + b"0"}[wreck])
    assert checkpoint.load_newest(run, lambda line: None).state.step == 3
    with pytest.raises(InputError, match=r"model\.safetensors"):
        checkpoint.verify_run(run)


def test_a_damaged_newest_step_is_made_again_bit_by_bit(run, finished, store):
    flip(run.step(6) / "model.safetensors", 999)
    resume(run, store)
    same(finished, run.path)


def test_a_step_without_its_manifest_does_not_exist_but_is_missed(run):
    (run.step(6) / "manifest.json").unlink()
    assert run.steps() == [3]
    said = []
    assert checkpoint.load_newest(run, said.append).state.step == 3
    assert len(said) == 1 and f"{run.step(6)}: not a complete step: it has no manifest.json" in said[0]
    with pytest.raises(InputError, match="step-00000006: not a complete step"):
        checkpoint.verify_run(run)


def test_a_run_that_lost_all_its_manifests_or_its_configuration_is_not_begun_again(run, store):
    for step in run.steps():
        (run.step(step) / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"no step verifies; the newest: .*step-00000006: not a complete step"):
        resume(run, store)
    (run / "config.json").unlink()
    with pytest.raises(InputError, match=r"config\.json: missing; the steps saved here"):
        resume(run, store)
    assert run.named() == [3, 6] and (run.step(6) / "model.safetensors").exists()


def test_a_model_that_falls_back_to_an_older_step_says_so(run):
    flip(run.step(6) / "model.safetensors", 99)
    said = []
    assert load(run.path, say=said.append).path == run.step(3)
    assert len(said) == 1 and "using step 3 instead" in said[0]


def test_what_a_newer_bertsmith_saved_is_neither_passed_over_nor_replaced(run, store):
    path = run.step(6) / "manifest.json"
    path.write_bytes(files.sealed(files.unsealed(path.read_bytes(), path) | {"format": 99}))
    with pytest.raises(InputError, match="format: version 99 comes from a newer bertsmith"):
        resume(run, store)
    assert run.steps() == [3, 6]


def test_the_best_step_is_kept_in_place_of_the_oldest_and_what_is_not_ours_stays(run):
    for step in (9, 12, 15):
        shutil.copytree(run.step(6), run.step(step))
    (run.step(9) / "notes.txt").write_text("mine")
    checkpoint.prune(run, 2, best=3)
    assert run.steps() == [3, 9, 15]
    (run.step(9) / "notes.txt").unlink()
    checkpoint.prune(run, 2, best=15)
    assert run.steps() == [9, 15]
    checkpoint.prune(run, 2, best=3)  # that step is gone: the newest stay
    assert run.steps() == [9, 15]


@pytest.mark.parametrize("when", ["publish", "append"])
def test_older_steps_stay_where_the_disk_gives_back_other_bytes(run, store, monkeypatch, finished, when):
    """A bit that flips on the way to the disk, or there: the manifest says what was meant."""
    flip(run.step(6) / "model.safetensors", 999)
    real = getattr(files, when)

    def spoiled_publish(temporary, final):
        real(temporary, final)
        flip(final / "optimizer.safetensors", 1234)

    def spoiled_append(descriptor, data):
        spoils = "optimizer" in os.readlink(f"/proc/self/fd/{descriptor}")
        real(descriptor, data[:-1] + bytes([data[-1] ^ 1]) if spoils else data)

    with monkeypatch.context() as patch:
        patch.setattr(files, when, spoiled_publish if when == "publish" else spoiled_append)
        with pytest.raises(ResourceError, match=r"optimizer\.safetensors: damaged: .*the older steps stay"):
            resume(run, store)
    assert 3 in run.steps()
    resume(run, store)
    same(finished, run.path)


def test_leftovers_of_killed_processes_go_and_foreign_files_stay(run, store):
    flip(run.step(6) / "state.json", 5)
    half = run / "steps" / ".step-00000009.tmp-99999999"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    (run / ".config.json.tmp-99999999").write_bytes(b"half")
    own = run / "steps" / "my-notes"
    own.mkdir()
    resume(run, store)
    assert own.is_dir() and not half.exists() and not (run / ".config.json.tmp-99999999").exists()


def test_no_more_than_keep_steps_stay(store, tmp_path):
    most = []
    out = tmp_path / "run"
    recipe = small("training.checkpoint=1", "training.evaluate=0")
    pretrain(recipe, store, out, steps=5, progress=lambda *_: most.append(len(list((out / "steps").iterdir()))))
    assert Run(out).steps() == [4, 5] and max(most) == 2


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_refuses_leaves_the_older_step_as_it_was(run, store, monkeypatch, finished, code):
    flip(run.step(6) / "model.safetensors", 999)
    real = os.fsync

    def refuse(descriptor: int) -> None:
        if "optimizer" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(code, os.strerror(code))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(ResourceError, match=f"step-00000006.*{os.strerror(code)}"):
            resume(run, store)
    assert run.steps() == [3] and not [name for name in os.listdir(run / "steps") if "tmp" in name]
    resume(run, store)
    same(finished, run.path)


def test_files_last_before_their_names_do(store, tmp_path, monkeypatch):
    order = []
    fsync, rename = os.fsync, os.rename
    monkeypatch.setattr(os, "fsync", lambda d: (order.append(("sync", os.readlink(f"/proc/self/fd/{d}"))), fsync(d)))
    monkeypatch.setattr(os, "rename", lambda a, b: (order.append(("rename", str(b))), rename(a, b)))
    pretrain(small(), store, tmp_path / "run", steps=1)
    at = next(i for i, (what, name) in enumerate(order) if what == "rename" and name.endswith("step-00000001"))
    before = [Path(name).name for what, name in order[:at] if what == "sync"]
    for name in ("metrics.jsonl", "model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"):
        assert name in before
    assert before.index("manifest.json") > max(
        map(before.index, ("model.safetensors", "optimizer.safetensors", "state.json", "metrics.jsonl"))
    )
    assert order[at + 1] == ("sync", str((tmp_path / "run" / "steps").resolve()))


def test_a_newer_format_is_refused(run):
    path = run.step(6) / "manifest.json"
    path.write_bytes(files.sealed(files.unsealed(path.read_bytes(), path) | {"format": 99}))
    with pytest.raises(InputError, match="format: version 99 comes from a newer bertsmith"):
        checkpoint.load_step(run, 6)


def test_weights_that_are_not_finite_are_not_saved(run):
    module = torch.nn.Linear(2, 2)
    with torch.no_grad():
        module.weight[0, 0] = float("nan")
    state = checkpoint.State(step=9, tokens=1, cursor=(0, 0))
    with pytest.raises(NumericsError, match="step 9: weight is no longer finite; not saved"):
        saving.save_step(run, state, module, torch.optim.AdamW(module.parameters()), {}, {}, 2)
    assert run.steps() == [3, 6]


def test_weights_of_another_model_are_listed():
    with pytest.raises(
        InputError,
        match=r"here: the weights do not fit the model: bias has shape \[3\], the model \[2\]; more is unexpected; weight is missing",
    ):
        saving.load_weights(torch.nn.Linear(2, 2), {"bias": torch.zeros(3), "more": torch.zeros(1)}, "here")


def test_a_state_with_impossible_numbers_is_refused(run):
    for tree in ({"step": -1}, {"step": 2**63}, {"step": "6"}, {"cursor": [0]}, {"tokens": True}):
        path = run.step(6) / "state.json"
        good = json.loads(path.read_text())
        with pytest.raises(InputError, match=r"state\.json"):
            checkpoint._state(json.dumps(good | tree).encode(), path, 6)


def test_two_runs_never_share_a_folder(run, store):
    with run.locked(), pytest.raises(InputError, match=r"out is being written by"):
        resume(run, store)
    resume(run, store)


def test_a_line_cut_short_before_any_step_was_saved_is_replaced(store, tmp_path):
    out = tmp_path / "run"
    pretrain(small(), store, out, steps=2)
    shutil.rmtree(out / "steps")
    (out / "metrics.jsonl").write_bytes((out / "metrics.jsonl").read_bytes() + b'{"ste')
    pretrain(small(), store, out, steps=2)
    assert [line["step"] for line in lines(out)] == [1, 2]
