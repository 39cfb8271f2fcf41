"""Classes of utterances: rows name files of sound, and everything that holds for texts holds for them."""

import json
import shutil

import numpy as np
import pytest
import torch
from tests import sounds

import bertsmith
from bertsmith import cli
from bertsmith.audio.mel import LogMel
from bertsmith.audio.sounds import decoded
from bertsmith.config import override
from bertsmith.downstream.model import load
from bertsmith.errors import InputError
from bertsmith.recipe import find
from bertsmith.tasks import kinds
from bertsmith.tasks.split import drawn, folded
from bertsmith.training.pretraining import pretrain

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = ["model.width=32", "model.hidden=64", "model.heads=2", "layout.length=64", "training.batch=1024"]
COLUMNS = {"text": "path", "label": "word", "group": "speaker"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("heard")
    sounds.corpus(made / "sounds")
    bertsmith.prepare_audio(made / "sounds", made / "store", rate=8000, mels=20, holdout=0.1)
    recipe = override(find("audio-bert:tiny"), [*SMALL, "schedule.lr=3e-3"])
    pretrain(recipe, made / "store", made / "run", steps=60, threads=1)
    return made


def tuned(folder, out, **options):
    given = {
        "task": "classify",
        "train": folder / "sounds" / "labels.tsv",
        "dev": 0.25,
        "columns": COLUMNS,
        "threads": 1,
    }
    return bertsmith.finetune(folder / "run", out=out, **{**given, **options})


@pytest.fixture(scope="module")
def frozen(folder):
    return tuned(folder, folder / "frozen", method="frozen", epochs=60, set={"lr": 0.03})


def test_frozen_features_tell_words_of_a_speaker_who_was_not_heard(folder, frozen):
    assert frozen["dev"]["accuracy"]["value"] > 0.6, "of four words"
    said = json.loads((folder / "frozen" / "config.json").read_text())
    assert said["data"]["dev"]["rows"] == 24 and said["data"]["train"]["rows"] == 72


def test_rows_of_a_speaker_stay_on_one_side(folder):
    kind = kinds.kind("classify")
    rows = kind.read(folder / "sounds" / "labels.tsv", columns=COLUMNS)
    speakers = np.array(rows.columns["group"])
    ((said, keys),) = kind.groupings(rows)
    assert said == ", rows of a group on one side"
    dev, _ = drawn(0.25, [keys], kind.strata(rows)[1])
    assert len({*speakers[dev]}) == 1 and len(dev) == 24
    numbers, _ = folded(4, [keys], kind.strata(rows)[1])
    assert all(len({*numbers[speakers == name]}) == 1 for name in {*speakers}) and {*numbers} == {0, 1, 2, 3}


def test_a_group_of_texts_stays_on_one_side_too(tmp_path):
    lines = [f"text {i} of {i % 5}\t{'ab'[i % 2]}\tw{i % 5}" for i in range(50)]
    (tmp_path / "rows.tsv").write_text("\n".join(["text\tlabel\twriter", *lines]) + "\n")
    kind = kinds.kind("classify")
    rows = kind.read(tmp_path / "rows.tsv", columns={"group": "writer"})
    dev, _ = drawn(0.2, [keys for _, keys in kind.groupings(rows)], kind.strata(rows)[1])
    ours, theirs = ({rows.columns["group"][i] for i in side} for side in (dev, np.delete(np.arange(50), dev)))
    assert ours and theirs and not ours & theirs
    plain = kind.read(tmp_path / "rows.tsv")
    assert "group" not in plain.columns and kind.groupings(plain)[0][0] == ""


def test_what_is_predicted_and_evaluated_is_what_the_dev_rows_said(folder, frozen, tmp_path):
    labels = folder / "sounds" / "labels.tsv"
    found = bertsmith.evaluate(folder / "frozen", labels)
    rows = bertsmith.predict(folder / "frozen", labels)
    truth = [line.split("\t")[1] for line in labels.read_text().splitlines()[1:]]
    right = np.mean([row["label"] == word for row, word in zip(rows, truth, strict=True)])
    assert found["accuracy"]["value"] == pytest.approx(right)
    one = bertsmith.predict(folder / "frozen", [str(folder / "sounds" / "one_ann_0.wav")])
    assert one[0]["scores"] == pytest.approx(rows[0]["scores"], rel=1e-4)


def test_the_whole_model_is_tuned_and_goes_on_where_it_was_stopped(folder, tmp_path):
    from tests.test_recipes import StopAfter

    options = {"steps": 12, "set": {"checkpoint": 4, "dropout": 0.1}}
    tuned(folder, tmp_path / "straight", **options)
    with pytest.raises(KeyboardInterrupt):
        tuned(folder, tmp_path / "resumed", **options, progress=StopAfter(6))
    tuned(folder, tmp_path / "resumed", **options, resume=True)
    for name in ("metrics.jsonl", "result.json"):
        assert (tmp_path / "straight" / name).read_bytes() == (tmp_path / "resumed" / name).read_bytes()


def test_an_embedding_is_the_mean_of_what_the_model_says_of_its_frames(folder):
    path, loaded = str(folder / "sounds" / "two_bob_1.wav"), load(folder / "run")
    frames = LogMel(rate=8000, mels=20).frames(decoded(path))
    encoded = kinds.kind("classify").encode(loaded.tokenizer, _rows(path), loaded.reading())
    assert np.array_equal(encoded.tokens, frames)
    with torch.no_grad(), loaded.exact.policy():
        states = loaded.member.model(encoded.batch(np.array([0])).input.to("cpu"))
    np.testing.assert_allclose(bertsmith.embed(folder / "run", [path])[0], states.mean(0), rtol=1e-4, atol=1e-5)


def _rows(path):
    from bertsmith.tasks.given import source

    given = source([path], "texts")
    return kinds.kind("classify").read(given, columns=given.columns, labelled=False)


def test_neighbours_in_a_batch_do_not_change_what_is_said(folder, frozen):
    paths = [str(folder / "sounds" / f"{name}_dee_{i}.wav") for name in sounds.WORDS for i in range(3)]
    together = bertsmith.predict(folder / "frozen", paths)
    for i in (0, 5, 11):
        alone = bertsmith.predict(folder / "frozen", [paths[i]])[0]
        assert alone["scores"] == pytest.approx(together[i]["scores"], rel=1e-4)


def test_a_long_sound_is_read_in_windows_or_refused_where_that_is_asked(folder, frozen, tmp_path):
    parts = [decoded(folder / "sounds" / f"one_ann_{i}.wav").samples for i in range(4)]
    (tmp_path / "long.wav").write_bytes(sounds.wav(np.concatenate(parts)))
    said = []
    bertsmith.predict(folder / "frozen", [str(tmp_path / "long.wav")], on_long="window", say=said.append)
    assert "longer than 64" in said[0] and "windows" in said[0]
    with pytest.raises(InputError, match="and the model takes 64"):
        bertsmith.predict(folder / "frozen", [str(tmp_path / "long.wav")], on_long="error")


def test_stacked_frames_are_read_as_they_were_in_pre_training(folder, tmp_path):
    recipe = override(find("audio-bert:tiny"), [*SMALL, "layout.stack=3", "corruption.select.length=3"])
    pretrain(recipe, folder / "store", tmp_path / "run", steps=2, threads=1)
    loaded = load(tmp_path / "run")
    assert loaded.recipe.model.vocab == 60
    path = str(folder / "sounds" / "two_bob_1.wav")
    encoded = kinds.kind("classify").encode(loaded.tokenizer, _rows(path), loaded.reading())
    frames = LogMel(rate=8000, mels=20).frames(decoded(path))
    assert encoded.tokens.shape == (len(frames) // 3, 60) and encoded.tokens[1].tolist() == frames[3:6].ravel().tolist()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("gone.wav\tone\tann", "labels.tsv:98: gone.wav: No such file"),
        ("empty.wav\tone\tann", "labels.tsv:98: empty.wav: is an empty file"),
    ],
)
def test_a_row_whose_sound_cannot_be_read_is_named(folder, tmp_path, line, words):
    shutil.copytree(folder / "sounds", tmp_path / "sounds")
    (tmp_path / "sounds" / "empty.wav").write_bytes(b"")
    with open(tmp_path / "sounds" / "labels.tsv", "a") as file:
        file.write(line + "\n")
    with pytest.raises(InputError, match=words):
        tuned(folder, tmp_path / "out", train=tmp_path / "sounds" / "labels.tsv", steps=1)
    assert not (tmp_path / "out").exists()


def test_what_is_of_text_alone_is_refused_of_sound(folder, tmp_path, capsys):
    run, labels = str(folder / "run"), str(folder / "sounds" / "labels.tsv")
    base = ["finetune", run, "--train", labels, "--dev", "0.25", "--out", str(tmp_path / "out"), "--steps", "1"]
    columns = ["--columns", "text=path,label=word"]
    assert cli.run([*base, "--task", "classify", *columns, "--baseline"]) == 2
    assert "--baseline: counts words" in capsys.readouterr().err
    assert cli.run([*base, "--task", "retrieval", "--columns", "text=path,text2=speaker"]) == 2
    assert "reads text, and" in capsys.readouterr().err
    for command in (["score", run, "--input", labels], ["generate", run, "--text", "a"], ["attention", run, "a"]):
        assert cli.run(command) == 2, command
        assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


# -- a class for each frame --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vowels(tmp_path_factory):
    """Files of two syllables, and where each of them stands: labels.tsv, a line for each stretch."""
    made, draw = tmp_path_factory.mktemp("vowels"), np.random.default_rng(8)
    lines = ["file\tfrom\tto\tvowel\tspeaker"]
    for speaker, pitch in sounds.SPEAKERS.items():
        for number in range(6):
            pair = [str(vowel) for vowel in draw.permutation([*sounds.VOWELS])[:2]]
            parts = [sounds.syllable(vowel, draw.uniform(0.15, 0.25), pitch, draw) for vowel in pair]
            samples = np.concatenate(parts)
            samples = 0.5 * samples / np.abs(samples).max() + 1e-3 * draw.standard_normal(len(samples))
            name, at = f"{speaker}{number}.wav", 0.0
            (made / name).write_bytes(sounds.wav(samples))
            for vowel, part in zip(pair, parts, strict=True):
                lines.append(f"{name}\t{at:.4f}\t{at + len(part) / sounds.RATE:.4f}\t{vowel}\t{speaker}")
                at += len(part) / sounds.RATE
    (made / "labels.tsv").write_text("\n".join(lines) + "\n")
    return made


STRETCHES = {"text": "file", "start": "from", "end": "to", "label": "vowel", "group": "speaker"}


def test_each_frame_is_told_by_a_frozen_trunk_and_by_a_tuned_one(folder, vowels, tmp_path):
    options = {"task": "frames", "train": vowels / "labels.tsv", "columns": STRETCHES}
    for method, more in (
        ("frozen", {"epochs": 40, "set": {"lr": 0.01}}),
        ("full", {"epochs": 25, "set": {"lr": 0.003, "batch": 4}}),
    ):
        found = tuned(folder, tmp_path / method, method=method, **options, **more)
        assert found["dev"]["accuracy"]["value"] > 0.5, f"{method}: of four vowels"
    rows = bertsmith.predict(tmp_path / "full", [str(vowels / "ann0.wav")])
    frames = LogMel(rate=8000, mels=20).frames(decoded(vowels / "ann0.wav"))
    assert len(rows[0]["label"]) == len(rows[0]["scores"]) == len(frames)
    spans = rows[0]["spans"]
    assert [span["end"] for span in spans[:-1]] == pytest.approx([span["start"] for span in spans[1:]], abs=2e-4)
    scores = bertsmith.evaluate(tmp_path / "full", vowels / "labels.tsv")
    assert scores["accuracy"]["value"] > 0.5


def test_a_frame_has_the_class_of_the_stretch_that_its_middle_lies_in(vowels, folder):
    kind, loaded = kinds.kind("frames"), load(folder / "run")
    rows = kind.read(vowels / "labels.tsv", columns=STRETCHES)
    known = kind.learn(rows)
    encoded = kind.encode(loaded.tokenizer, rows, loaded.reading())
    truth = kind.targets(rows, known)
    labels = truth.at(encoded.reads, encoded.key)
    start, end, name = rows.stretches[0][1]
    own = encoded.key[: encoded.reads[0]]
    inside = (own >= start) & (own < end)
    assert (labels[: encoded.reads[0]][inside] == known.names.index(name)).all()
    assert own[3] == pytest.approx(3 * 0.01 + 0.0125)
    exact = np.where(labels < 0, 0, labels)
    said = kind.said(encoded, rows, np.eye(len(known.names), dtype=np.float32)[exact])
    assert kind.score(truth, said, known)["accuracy"]["value"] == 1 and (kind.correct(truth, said) == 1).all()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a.wav\tx\t1\ta\tann", "start: 'x' is not a number of seconds"),
        ("a.wav\t2\t1\ta\tann", "0 <= start < end"),
        ("ann0.wav\t0.01\t0.1\ta\tann", "overlaps 0 to"),
    ],
)
def test_stretches_that_cannot_be_are_named(vowels, tmp_path, line, words):
    (tmp_path / "labels.tsv").write_text((vowels / "labels.tsv").read_text() + line + "\n")
    with pytest.raises(InputError, match=rf"labels\.tsv:50: .*{words}"):
        kinds.kind("frames").read(tmp_path / "labels.tsv", columns=STRETCHES)
