"""Sound to frames: logarithms of the power in mel bands, normalised by utterance.  What a tokenizer is to text.

n samples, f frames, b bands, k frequencies.  The description is a file of the store and of every run on it, so that sound is read the
same wherever the model goes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property, lru_cache
from math import gcd
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from bertsmith.audio.sounds import Bad, Sound, decoded
from bertsmith.config import require
from bertsmith.data.batch import Vocab
from bertsmith.errors import InputError, printable
from bertsmith.spelling import option

NAME = "log-mel"
FLOOR = 1e-8  # of an utterance's loudest place: 80 dB below it
STEADY = 1e-3  # a band whose logarithm moves by less than this says nothing, and is 0
LARGEST_FFT = 1 << 14


@dataclass(frozen=True, kw_only=True)
class LogMel:
    """`rate`: samples a second, to which sound is resampled; `window` and `hop`: seconds; bands from `low` to `high` hertz (None: half the
    rate) on the mel scale 2595 log10(1 + f / 700), triangles of height 1; each band has mean 0 and deviation 1 in an utterance."""

    rate: int = 16000
    mels: int = 80
    window: float = 0.025
    hop: float = 0.010
    low: float = 0.0
    high: float | None = None
    normalise: Literal["utterance", "none"] = "utterance"
    whole_words: ClassVar[bool] = False  # as a tokenizer says whether it knows words and nothing else

    def __post_init__(self):
        require(1000 <= self.rate <= 384_000, f"{option('rate', self.rate)}: samples a second, 1,000 to 384,000")
        require(1 <= self.mels <= 512, f"{option('mels', self.mels)}: bands, 1 to 512")
        good = 0 < self.hop <= self.window <= 1 and self.step >= 1 and self.span >= 2
        require(good, f"window {self.window:g} s and hop {self.hop:g} s: 0 < hop <= window <= 1 is wanted")
        top = self.rate / 2 if self.high is None else self.high
        require(
            0 <= self.low < top <= self.rate / 2, f"bands from {self.low:g} to {top:g} Hz: up to half of {self.rate}"
        )
        require(
            self.normalise in ("utterance", "none"), f"normalise: {self.normalise!r} is neither 'utterance' nor 'none'"
        )

    @property
    def span(self) -> int:
        """Samples of a frame."""
        return round(self.window * self.rate)

    @property
    def step(self) -> int:
        """Samples from one frame to the next."""
        return round(self.hop * self.rate)

    @cached_property
    def filters(self) -> np.ndarray:
        """(b, k) float32.  The transform is the shortest power of two that holds a frame and leaves no band without a frequency."""
        size = 1 << (self.span - 1).bit_length()
        while not (found := _triangles(self, size)).any(1).all() and size < LARGEST_FFT:
            size *= 2
        return found

    def count(self, samples: int) -> int:
        """Frames of so many samples at `rate`: those that lie in them whole."""
        return 0 if samples < self.span else 1 + (samples - self.span) // self.step

    def frames(self, sound: Sound) -> np.ndarray:
        """(f, b) float32.  Raises Bad for a sound shorter than one frame."""
        samples = resampled(sound.samples, sound.rate, self.rate)
        if not self.count(len(samples)):
            raise Bad("too short", f"is {sound.seconds * 1000:.0f} ms, shorter than a frame", sound.seconds)
        power = self.power(samples)
        logs = np.log(np.maximum(power, FLOOR * power.max()))
        if self.normalise == "none":
            return logs
        moved = logs.std(0)
        logs -= logs.mean(0)
        return np.where(moved < STEADY, np.float32(0), logs / np.maximum(moved, STEADY)).astype(np.float32)

    def power(self, samples: np.ndarray) -> np.ndarray:
        """(f, b) float32: in each band, of frames of samples (n,) under a Hann window."""
        size = 2 * (self.filters.shape[1] - 1)
        views = np.lib.stride_tricks.sliding_window_view(samples, self.span)[:: self.step]
        spectrum = np.fft.rfft(views * _hann(self.span), size, axis=1)
        return (spectrum.real**2 + spectrum.imag**2).astype(np.float32) @ self.filters.T

    # -- what a store and a model ask of a tokenizer ---------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Numbers of a frame."""
        return self.mels

    @property
    def vocab(self) -> Vocab:
        """Nothing stands round an utterance, and no number is special."""
        return Vocab(size=self.mels, pad=0, unk=-1, cls=-1, sep=-1, mask=0, special=())

    def json(self) -> bytes:
        return (json.dumps({"type": NAME, **asdict(self)}, indent=1) + "\n").encode()

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.json()).hexdigest()

    reading = digest

    @classmethod
    def load(cls, path: str | Path) -> LogMel | None:
        """None where the file describes something else, or is not there.  InputError for one of ours that says what cannot be."""
        try:
            found = json.loads(Path(path).read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(found, dict) or found.pop("type", None) != NAME:
            return None
        wrong = found.keys() ^ {f.name for f in fields(cls)}
        try:
            if wrong:
                raise ValueError(f"{min(wrong)}: is missing, or not known")
            return cls(**found)
        except (TypeError, ValueError, InputError) as error:
            raise InputError(f"{printable(path)}: {printable(error)}") from None

    def read(
        self, paths: Sequence[str], where: Callable[[int], str] = "sound {}".format, beside: str | Path | None = None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """(frames (f, b), all True (f,)) of each file, its place taken from the folder of the file `beside`.  InputError naming row and file."""
        found = []
        for i, path in enumerate(paths):
            place = Path(path) if beside is None else Path(beside).parent / path
            try:
                frames = self.frames(decoded(place))
            except Bad as error:
                raise InputError(f"{where(i)}: {printable(path, 80)}: {error.about}") from None
            found.append((frames, np.ones(len(frames), bool)))
        return found


def _triangles(mel: LogMel, size: int) -> np.ndarray:
    """(b, size / 2 + 1) float32: each band rises from the middle of the one before to its own and falls to that of the next."""
    top = mel.rate / 2 if mel.high is None else mel.high
    low, high = (2595 * np.log10(1 + f / 700) for f in (mel.low, top))
    edges = 700 * (10 ** (np.linspace(low, high, mel.mels + 2) / 2595) - 1)
    frequencies = np.arange(size // 2 + 1) * mel.rate / size
    left, middle, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    up, down = (frequencies - left) / (middle - left), (right - frequencies) / (right - middle)
    return np.maximum(0, np.minimum(up, down)).astype(np.float32)


@lru_cache(maxsize=4)
def _hann(span: int) -> np.ndarray:
    """float32, periodic."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(span) / span)).astype(np.float32)


def resampled(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """(n,) float32 at `wanted` samples a second, by a polyphase filter.  InputError where scipy (extra `audio`) is needed and not there."""
    if rate == wanted:
        return samples
    try:
        from scipy.signal import resample_poly
    except ImportError:
        raise InputError(
            f"sound of {rate:,} samples a second: the extra resamples it: pip install 'bertsmith[audio]'; or keep its own: {option('rate', rate)}"
        ) from None
    part = gcd(rate, wanted)
    return resample_poly(samples, wanted // part, rate // part).astype(np.float32)
