"""Mistakes before training: one line, nothing written."""

from dataclasses import replace

import pytest
from tests.runs import small

from bertsmith import files
from bertsmith.data.text import Text
from bertsmith.errors import BertsmithError, InputError, ResourceError
from bertsmith.text.prepare import prepare
from bertsmith.text.store import Store
from bertsmith.training import budget
from bertsmith.training.pretraining import pretrain
from bertsmith.training.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")


def refused(match: str, recipe, store, out, kind=InputError, **options) -> None:
    before = sorted(out.rglob("*")) if out.is_dir() else out.exists()
    with pytest.raises(kind, match=match) as caught:
        pretrain(recipe, store, out, **options)
    assert "\n" not in str(caught.value)
    assert (sorted(out.rglob("*")) if out.is_dir() else out.exists()) == before


def test_no_length_names_what_one_epoch_takes(store, tmp_path):
    epoch = budget.Extent.of(Text.of(small().with_vocab(store.vocab.size), store, 0))
    assert epoch.steps > 1 and epoch.per_step <= 256
    refused(
        rf"steps=N, tokens=N, minutes=M; one epoch .* steps={epoch.steps} or tokens={epoch.tokens}",
        small(),
        store,
        tmp_path / "run",
    )


def test_a_store_without_the_annotations_that_are_asked_for_leaves_no_run(short, tmp_path):
    match = "no annotations of the level 'entity'; prepare it with entities"
    refused(match, small(member="ernie1"), short, tmp_path / "run", steps=1)


@pytest.mark.parametrize(
    "options, match",
    [
        ({"steps": 2, "tokens": 2}, "steps and tokens: give only one"),
        ({"steps": 0}, "steps: 0 is not a number above 0"),
        ({"minutes": float("nan")}, "minutes: nan is not a number above 0"),
        ({"tokens": 1.5}, "tokens: 1.5 is not a whole number"),
        ({"steps": True}, "steps: True"),
        ({"steps": 2, "device": "tpu"}, "device: 'tpu' is not one of cpu, cuda"),
        ({"steps": 2, "device": "cuda:77"}, "device: cuda:77 is not there"),
        ({"steps": 2, "from_": "/nowhere/run"}, "from_='/nowhere/run': no such folder"),
    ],
)
def test_options_that_make_no_sense(store, tmp_path, options, match):
    refused(match, small(), store, tmp_path / "run", **options)


def test_a_batch_smaller_than_a_sequence(store, tmp_path):
    refused(
        r"training.batch: 16 tokens cannot hold a sequence of 32; raise it to 32",
        small("training.batch=16"),
        store,
        tmp_path / "run",
        steps=2,
    )


def test_more_warmup_than_steps(store, tmp_path):
    refused(
        r"schedule.warmup: 10 steps of warm-up in a run of 5",
        small("schedule.warmup=10"),
        store,
        tmp_path / "run",
        steps=5,
    )
    assert not (tmp_path / "run").exists()


def test_a_model_that_no_machine_holds_is_refused_before_it_is_built(store, tmp_path):
    refused(r"model: [\d,]+ parameters take .* GiB", small("model.width=100000"), store, tmp_path / "run", steps=2)


def test_a_disk_that_is_too_full(store, tmp_path, monkeypatch):
    monkeypatch.setattr(budget.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    refused(
        r"MiB are needed for 3 saved steps, 0 MiB are free",
        small(),
        store,
        tmp_path / "run",
        kind=ResourceError,
        steps=2,
    )


@pytest.mark.parametrize("place", ["file", "foreign", "store", "inside", "dangling"])
def test_places_where_no_run_can_go(store, tmp_path, place):
    out = tmp_path / "out"
    if place == "file":
        out.write_text("mine")
    elif place == "foreign":
        out.mkdir()
        (out / "thesis.tex").write_text("mine")
    elif place == "dangling":
        out.symlink_to(tmp_path / "nowhere")
    else:
        out = store.path if place == "store" else store.path / "run"
    refused(": out (is|lies)", small(), store, out, steps=2)


def test_a_run_is_not_overwritten_and_resumes_only_as_it_was_begun(store, tmp_path):
    out = tmp_path / "run"
    pretrain(small(), store, out, steps=3, seed=1)
    listing = files.listing(out, ("metrics.jsonl", "config.json"))
    refused(r"holds a run already, saved at step 3; resume=True goes on with it", small(), store, out, steps=3, seed=1)
    again = {"steps": 3, "seed": 1, "resume": True}
    refused(
        r"resume=True: schedule.lr: the run was begun with 0.001, now it is 0.5",
        small("schedule.lr=0.5"),
        store,
        out,
        **again,
    )
    refused(
        r"resume=True: model.layers: the run was begun with 1, now it is 2",
        small("model.layers=2"),
        store,
        out,
        **again,
    )
    refused(r"resume=True: seed: the run was begun with 1, now it is 2", small(), store, out, **again | {"seed": 2})
    other = replace(store, digest="0" * 64)
    refused(r"resume=True: data.digest: ", small(), other, out, **again)
    refused(r"resume=True: the run stands at step 3, beyond steps=2", small(), store, out, **again | {"steps": 2})
    assert files.listing(out, ("metrics.jsonl", "config.json")) == listing


def test_weights_of_another_shape_or_tokenizer_are_no_start(store, corpus, tmp_path):
    out = tmp_path / "run"
    pretrain(small(), store, out, steps=1)
    refused(
        r"from_='.*': model.width: it has 16, the recipe 32; give the recipe without a size \(bert\)",
        small("model.width=32"),
        store,
        tmp_path / "b",
        steps=1,
        from_=out,
    )
    prepare([str(corpus)], str(tmp_path / "store"), tokenizer="wordpiece:900", lowercase=True)
    other = Store.open(tmp_path / "store")
    refused(r"its tokenizer is not the store's; .*tokenizer='.*run", small(), other, tmp_path / "b", steps=1, from_=out)


def test_a_hugging_face_folder_that_is_none_is_no_start(store, tmp_path):
    folder = tmp_path / "hf"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert", "architectures": ["BertForMaskedLM"]}')
    refused("hf: config.json: vocab_size is missing", small(), store, tmp_path / "run", steps=1, from_=folder)


def test_half_written_runs_are_begun_again(store, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    (out / "config.json").write_text("{")
    (out / "metrics.jsonl").write_text('{"step": 1')
    pretrain(small(), store, out, steps=1)
    assert Run(out).steps() == [1]


def test_a_name_that_is_no_recipe(store, tmp_path):
    with pytest.raises(BertsmithError, match="no member 'brt'; did you mean 'bert'"):
        pretrain("brt:tiny", store, tmp_path / "run", steps=1)
