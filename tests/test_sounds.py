"""Sound files to frames: every wav is read as what it says, every bad one is told, and the frames are what the formula says."""

import json
import struct

import numpy as np
import pytest
from tests import sounds

import bertsmith
from bertsmith import cli
from bertsmith.audio.mel import LogMel, resampled
from bertsmith.audio.sounds import Bad, Sound, decoded
from bertsmith.audio.store import FrameStore
from bertsmith.downstream.verify import verify
from bertsmith.errors import InputError

TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(4000) / 8000)).astype(np.float32)
WAV = sounds.wav(TONE)


def written(folder, name, data):
    (folder / name).write_bytes(data)
    return folder / name


@pytest.mark.parametrize(
    ("bits", "code", "near"), [(8, 1, 2**-7), (16, 1, 2**-15), (24, 1, 2**-23), (32, 1, 1e-7), (32, 3, 0), (64, 3, 0)]
)
@pytest.mark.parametrize("extensible", [False, True])
def test_samples_of_every_width_are_the_same_sound(tmp_path, bits, code, near, extensible):
    found = decoded(written(tmp_path, "a.wav", sounds.wav(TONE, 8000, bits, code, extensible)))
    assert (found.rate, found.channels, len(found.samples)) == (8000, 1, 4000)
    assert np.abs(found.samples - TONE).max() <= near


def test_channels_are_averaged(tmp_path):
    both = np.stack([TONE, -TONE / 2], 1)
    found = decoded(written(tmp_path, "a.wav", sounds.wav(both)))
    assert found.channels == 2 and np.abs(found.samples - TONE / 4).max() < 1e-4


def test_a_wav_that_was_written_to_a_pipe_goes_on_to_its_end(tmp_path):
    data = bytearray(WAV)
    at = data.index(b"data") + 4
    data[at : at + 4] = b"\xff\xff\xff\xff"
    assert len(decoded(written(tmp_path, "a.wav", bytes(data))).samples) == 4000


def coded(code):
    data = bytearray(WAV)
    at = data.index(b"fmt ") + 8
    data[at : at + 2] = struct.pack("<H", code)
    return bytes(data)


BAD = {
    "empty": (b"", "empty", "empty file"),
    "cut": (WAV[:-1000], "truncated", "7,000 of its 8,000 bytes"),
    "head": (WAV[:30], "damaged", "ends too soon"),
    "body": (WAV[:40], "truncated", "ends before its samples begin"),
    "text": (b"hello, this is no sound", "not wav or flac", "no sound file"),
    "mp3": (b"ID3" + bytes(200), "not wav or flac", "MP3"),
    "ogg": (b"OggS" + bytes(200), "not wav or flac", "Ogg"),
    "silent": (sounds.wav(np.zeros(4000)), "silent", "0.50 s"),
    "nothing": (sounds.wav(np.zeros(0)), "empty", "no samples"),
    "short": (sounds.wav(TONE[:150]), "too short", "19 ms"),
    "a-law": (coded(6), "other coding", "A-law"),
    "nan": (sounds.wav(np.where(TONE > 0.4, np.nan, TONE), 8000, 32, 3), "not finite", "no numbers"),
    "lying": (WAV.replace(struct.pack("<HH", 2, 16), struct.pack("<HH", 3, 16)), "damaged", "3 bytes"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_cannot_be_used_says_why(tmp_path, name):
    data, reason, words = BAD[name]
    with pytest.raises(Bad, match=words) as found:
        LogMel(rate=8000, mels=20).frames(decoded(written(tmp_path, "a.wav", data)))
    assert found.value.reason == reason


def test_flac_is_read_where_soundfile_is_there_and_named_where_not(tmp_path):
    pytest.importorskip("soundfile").write(tmp_path / "a.wav", TONE, 8000, format="FLAC")
    found = decoded(tmp_path / "a.wav")
    assert found.kind == "flac" and np.abs(found.samples - TONE).max() < 1e-4


def test_flac_without_soundfile_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    with pytest.raises(Bad, match=r"bertsmith\[audio\]"):
        decoded(written(tmp_path, "a.flac", b"fLaC" + bytes(100)))


def direct(mel: LogMel, samples: np.ndarray) -> np.ndarray:
    """Power in bands by the definition, one frame, one frequency and one band at a time."""
    size = 2 * (mel.filters.shape[1] - 1)
    to_mel, to_hertz = (lambda f: 2595 * np.log10(1 + f / 700)), (lambda m: 700 * (10 ** (m / 2595) - 1))
    edges = to_hertz(np.linspace(to_mel(mel.low), to_mel(mel.rate / 2), mel.mels + 2))
    window = 0.5 * (1 - np.cos(2 * np.pi * np.arange(mel.span) / mel.span))
    found = []
    for at in range(0, len(samples) - mel.span + 1, mel.step):
        frame = samples[at : at + mel.span].astype(np.float64) * window
        bands = np.zeros(mel.mels)
        for k in range(size // 2 + 1):
            f = k * mel.rate / size
            power = abs(np.sum(frame * np.exp(-2j * np.pi * k * np.arange(mel.span) / size))) ** 2
            for b in range(mel.mels):
                rise, fall = (
                    (f - edges[b]) / (edges[b + 1] - edges[b]),
                    (edges[b + 2] - f) / (edges[b + 2] - edges[b + 1]),
                )
                bands[b] += power * max(0.0, min(rise, fall))
        found.append(bands)
    return np.array(found)


def test_power_in_mel_bands_is_what_the_definition_says():
    mel, samples = LogMel(rate=8000, mels=12), np.random.default_rng(0).standard_normal(460).astype(np.float32)
    np.testing.assert_allclose(mel.power(samples), direct(mel, samples), rtol=1e-4)


@pytest.mark.parametrize(("rate", "mels"), [(8000, 80), (16000, 80), (16000, 128), (44100, 40)])
def test_no_band_is_without_a_frequency(rate, mels):
    assert (LogMel(rate=rate, mels=mels).filters.max(1) > 0).all()


def test_each_band_has_mean_0_and_deviation_1_and_a_steady_one_is_0():
    loud = LogMel(rate=8000, mels=20).frames(
        Sound(samples=sounds.word("aie", 120, np.random.default_rng(1)), rate=8000, channels=1, kind="")
    )
    moves = loud.std(0) > 0
    assert np.abs(loud.mean(0)).max() < 1e-4 and np.abs(loud.std(0)[moves] - 1).max() < 1e-3 and moves.sum() > 15


def test_a_tone_is_the_same_tone_at_another_rate():
    again = resampled(TONE, 8000, 12000)
    assert len(again) == 6000
    spectrum = np.abs(np.fft.rfft(again))
    assert spectrum.argmax() == 440 * 6000 // 12000
    middle = slice(500, -500)
    wanted = 0.5 * np.sin(2 * np.pi * 440 * np.arange(6000) / 12000)
    assert np.abs(again - wanted)[middle].max() < 2e-3


@pytest.fixture
def folder(tmp_path):
    made = sounds.corpus(tmp_path / "sounds", each=2)
    for name, (data, _, _) in BAD.items():
        written(made, f"{name}.wav", data)
    return made


def prepared(folder, out, **options):
    said = []
    account = bertsmith.prepare_audio(
        folder, out, **{"rate": 8000, "mels": 20, "holdout": 0.2, **options}, say=said.append
    )
    return account, said


def test_every_file_and_every_second_is_accounted_for(folder, tmp_path):
    account, said = prepared(folder, tmp_path / "store")
    assert account["files"] == {"read": 32 + len(BAD), "used": 32, "left_out": len(BAD), "other": 1}
    assert sum(account["reasons"].values()) == len(BAD) and len(account["left_out"]) == len(BAD)
    seconds = account["seconds"]
    assert seconds["read"] == pytest.approx(seconds["used"] + seconds["tails"] + sum(seconds["dropped"].values()))
    assert seconds["dropped"]["silent"] == 0.5 and 0 < seconds["tails"] < 0.01 * 32
    for name, (_, _, words) in BAD.items():
        assert any(line.startswith(f"{folder / name}.wav: left out: ") and words in line for line in said), name
    store = FrameStore.open(tmp_path / "store")
    assert store.train.count + store.held_out.count == account["frames"]
    assert len(store.train.names) + len(store.held_out.names) == 32 and not {*store.train.names} & {
        *store.held_out.names
    }
    a, b = store.train.utterances[7:9]
    wanted = LogMel(rate=8000, mels=20).frames(decoded(store.train.names[7]))
    assert np.abs(store.train.frames[a:b] - wanted).max() < 5e-3


def test_a_file_in_a_folder_is_known_by_its_first_bytes_and_others_are_named(folder, tmp_path):
    wave = sorted(path for path in folder.glob("*.wav") if path.stem not in BAD)[0]
    for path in {*folder.glob("*.wav")} - {wave}:
        path.unlink()
    wave.rename(wave.with_suffix(".mp3"))
    (folder / "notes.doc").write_text("of whom?")
    account, said = prepared(folder, tmp_path / "store", holdout=0)
    assert account["files"]["used"] == 1 and str(folder / "notes.doc") in account["passed_over"]
    assert f"{folder / 'notes.doc'}: passed over: neither wav nor flac" in said


def test_workers_and_another_run_write_the_same_bytes(folder, tmp_path):
    for name, workers in (("a", 1), ("b", 1), ("c", 2)):
        prepared(folder, tmp_path / name, workers=workers)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(files) == 8
    for name in files:
        assert len({(tmp_path / part / name).read_bytes() for part in "abc"}) == 1, name


def test_a_flipped_bit_is_found(folder, tmp_path):
    prepared(folder, tmp_path / "store")
    assert verify(tmp_path / "store")["files"] == 8
    path = tmp_path / "store" / "train-frames.npy"
    data = bytearray(path.read_bytes())
    data[-5] ^= 4
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"train-frames\.npy: damaged"):
        verify(tmp_path / "store")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mels": 0}, "mels: 0 given"),
        ({"rate": 10}, "rate=10: samples a second"),
        ({"dtype": "int8"}, "float16, float32"),
        ({"holdout": 1.5}, "is not a share"),
    ],
)
def test_what_cannot_be_made_is_refused_and_leaves_nothing(folder, tmp_path, options, words):
    with pytest.raises(InputError, match=words):
        prepared(folder, tmp_path / "store", **options)
    assert not (tmp_path / "store").exists()


def test_where_nothing_can_be_used_the_reasons_are_told(tmp_path):
    written(tmp_path, "a.wav", b"")
    with pytest.raises(InputError, match="no sound could be used: 1 file empty"):
        prepared(tmp_path, tmp_path / "store")
    with pytest.raises(InputError, match="no sound file"):
        prepared(__import__("os").path.dirname(__file__), tmp_path / "store")
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_sound_of_a_lower_rate_other_names_and_channels_are_warned_of(tmp_path):
    (tmp_path / "in").mkdir()
    written(tmp_path / "in", "a.flac", WAV)
    written(tmp_path / "in", "b.wav", sounds.wav(np.stack([TONE, TONE], 1)))
    account, _ = prepared(tmp_path / "in", tmp_path / "store", rate=16000, holdout=0)
    low, several, named = account["warnings"]
    assert "2 files have fewer than 16,000" in low and "`rate` 8000" in low
    assert "1 file has several channels" in several and "another format than the name says" in named


def test_the_command_takes_options_of_sound_alone(folder, tmp_path, capsys):
    out = str(tmp_path / "store")
    assert cli.run(["prepare", str(folder), "--out", out, "--audio", "--lowercase"]) == 2
    assert "--lowercase: is of text; leave it out with --audio" in capsys.readouterr().err
    assert cli.run(["prepare", str(folder), "--out", out, "--mels", "20"]) == 2
    assert "--mels: is of sound; --audio says" in capsys.readouterr().err
    command = ["prepare", str(folder), "--out", out, "--audio", "--rate", "8000", "--mels", "20", "--json"]
    assert cli.run(command) == 0
    assert json.loads(capsys.readouterr().out)["utterances"] == 32
