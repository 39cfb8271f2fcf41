"""Sounds made by rule: spoken-like syllables by a few speakers, in every wav that the format knows."""

import struct
from pathlib import Path

import numpy as np

RATE = 8000
VOWELS = {"a": (700, 1200), "i": (300, 2300), "u": (350, 800), "e": (500, 1900)}  # hertz of two formants


def syllable(vowel: str, seconds: float, speaker: float, draw: np.random.Generator) -> np.ndarray:
    """Harmonics of the speaker's pitch, loudest at the vowel's formants, that rise and fall."""
    t = np.arange(round(seconds * RATE)) / RATE
    pitch = speaker * (1 + 0.1 * draw.standard_normal())
    found = np.zeros_like(t)
    for number in range(1, int(3500 / pitch)):
        f = number * pitch
        height = sum(np.exp(-(((f - formant) / 150) ** 2)) for formant in VOWELS[vowel])
        found += height * np.sin(2 * np.pi * f * t + draw.uniform(0, 6))
    return found * np.sin(np.pi * np.arange(len(t)) / len(t))


def word(vowels: str, speaker: float, draw: np.random.Generator) -> np.ndarray:
    """float32 in [-1, 1]."""
    parts = [syllable(vowel, draw.uniform(0.1, 0.25), speaker, draw) for vowel in vowels]
    found = np.concatenate(parts) + 1e-3 * draw.standard_normal(sum(map(len, parts)))
    return (0.5 * found / np.abs(found).max()).astype(np.float32)


def wav(samples: np.ndarray, rate: int = RATE, bits: int = 16, code: int = 1, extensible: bool = False) -> bytes:
    """samples (n,) or (n, channels)."""
    flat = np.atleast_2d(samples.T).T
    channels = flat.shape[1]
    if code == 3:
        body = flat.astype(f"<f{bits // 8}").tobytes()
    elif bits == 8:
        body = np.clip(np.rint(flat * 128 + 128), 0, 255).astype(np.uint8).tobytes()
    else:
        whole = np.clip(np.rint(flat.astype(np.float64) * 2 ** (bits - 1)), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        wide = whole.astype("<i4")
        body = wide.reshape(-1, 1).view(np.uint8).reshape(-1, 4)[:, : bits // 8].tobytes()
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", 0xFFFE if extensible else code, channels, rate, rate * block, block, bits)
    if extensible:
        form += struct.pack("<HHI", 22, bits, 0) + struct.pack("<H", code) + bytes(14)
    chunks = struct.pack("<4sI", b"fmt ", len(form)) + form + struct.pack("<4sI", b"LIST", 4) + b"abcd"
    chunks += struct.pack("<4sI", b"data", len(body)) + body
    return struct.pack("<4sI4s", b"RIFF", 4 + len(chunks), b"WAVE") + chunks


SPEAKERS = {"ann": 210.0, "bob": 110.0, "cid": 140.0, "dee": 180.0}
WORDS = {"one": "ai", "two": "ua", "three": "ie", "four": "eu"}


def corpus(folder: Path, each: int = 6, seed: int = 5) -> Path:
    """folder/WORD_SPEAKER_NUMBER.wav, and folder/labels.tsv: path, word, speaker."""
    draw, lines = np.random.default_rng(seed), ["path\tword\tspeaker"]
    folder.mkdir(parents=True, exist_ok=True)
    for name, vowels in WORDS.items():
        for speaker, pitch in SPEAKERS.items():
            for number in range(each):
                path = f"{name}_{speaker}_{number}.wav"
                (folder / path).write_bytes(wav(word(vowels, pitch, draw)))
                lines.append(f"{path}\t{name}\t{speaker}")
    (folder / "labels.tsv").write_text("\n".join(lines) + "\n")
    return folder
