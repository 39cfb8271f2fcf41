"""Sound files to samples: wav by what the format says of itself, flac through soundfile (extra `audio`).  n samples.

A file is known by its first bytes, not by its name.  What cannot be used is a `Bad` with the reason that the account counts it under.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SUFFIXES = (".wav", ".wave", ".flac")
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
OTHER_CODES = {2: "ADPCM", 6: "A-law", 7: "mu-law", 17: "IMA ADPCM", 49: "GSM", 80: "MPEG", 85: "MP3"}
UNKNOWN_SIZES = (0, 0xFFFFFFFF)  # of a data chunk that was written to a pipe: it goes on to the end
SILENT = 2.0**-14  # from the lowest to the highest sample: two steps of 16 bits
# What other formats begin with.
MARKS = {b"OggS": "Ogg", b"ID3": "MP3", b"\xff\xfb": "MP3", b"\xff\xf3": "MP3", b"FORM": "AIFF", b"RIFX": "RIFX"}
MARKS |= {b".snd": "AU", b"caff": "CAF", b"RF64": "RF64", b"\x1aE\xdf\xa3": "WebM"}


class Bad(Exception):
    """A file that is not used: `reason`, a word that files are counted under, and `seconds` of sound where it is known to have them."""

    def __init__(self, reason: str, about: str, seconds: float = 0.0):
        super().__init__(about)
        self.reason, self.about, self.seconds = reason, about, seconds

    def __reduce__(self) -> tuple:
        return Bad, (self.reason, self.about, self.seconds)


@dataclass(frozen=True, kw_only=True)
class Sound:
    samples: np.ndarray  # (n,) float32 in [-1, 1]: the mean of the channels
    rate: int  # samples a second
    channels: int
    kind: str  # "16-bit wav", "flac"

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


def begins(data: bytes) -> bool:
    """Whether a file whose first twelve bytes these are is wav or flac."""
    return data[:4] == b"fLaC" or (data[:4] == b"RIFF" and data[8:12] == b"WAVE")


def decoded(path: str | Path) -> Sound:
    """Raises Bad for what is no sound or holds none."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise Bad("unreadable", error.strerror or "cannot be read") from None
    if not data:
        raise Bad("empty", "is an empty file")
    if data[:4] == b"fLaC":
        found = _flac(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        found = _wav(data)
    else:
        named = next((name for mark, name in MARKS.items() if data.startswith(mark)), None)
        what = f"is {named} by its first bytes" if named else "is no sound file that is known"
        raise Bad("not wav or flac", f"{what}; wav and flac are read")
    if not np.isfinite(found.samples).all():
        raise Bad("not finite", "has samples that are no numbers", found.seconds)
    if float(np.ptp(found.samples)) <= SILENT:
        raise Bad("silent", f"is silent for all of its {found.seconds:.2f} s", found.seconds)
    return found


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(name, where its content begins, how long it says that is) of each chunk behind RIFF's header."""
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        yield name, at + 8, size
        at += 8 + size + size % 2


def _wav(data: bytes) -> Sound:
    form: tuple[int, int, int, int, int] | None = None
    for name, at, size in _chunks(data):
        if name == b"fmt ":
            if size < 16 or at + 16 > len(data):
                raise Bad("damaged", "has a header that ends too soon")
            code, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", data, at)
            if code == EXTENSIBLE and size >= 26 and at + 26 <= len(data):
                (code,) = struct.unpack_from("<H", data, at + 24)
            form = code, channels, rate, block, bits
        elif name == b"data":
            if form is None:
                raise Bad("damaged", "has samples before its header")
            return _samples(data, at, size, *form)
    if form is None:
        raise Bad("damaged", "has no header of its samples")
    raise Bad("truncated", "ends before its samples begin")


def _samples(data: bytes, at: int, size: int, code: int, channels: int, rate: int, block: int, bits: int) -> Sound:
    if code not in (PCM, FLOAT):
        raise Bad("other coding", f"is coded as {OTHER_CODES.get(code, f'number {code}')}; PCM and float are read")
    known = (8, 16, 24, 32) if code == PCM else (32, 64)
    if bits not in known:
        raise Bad("other coding", f"has samples of {bits} bits; {', '.join(map(str, known))} are read")
    if not channels or not rate or block != channels * bits // 8:
        raise Bad("damaged", f"says {channels} channels, {rate} samples a second, {block} bytes for each")
    there = len(data) - at
    if size in UNKNOWN_SIZES and there > 0:
        size = there
    if size > there:
        seconds = there // block / rate
        raise Bad("truncated", f"has {there:,} of its {size:,} bytes of sound ({seconds:.2f} s)", seconds)
    whole = size - size % block
    if not whole:
        raise Bad("empty", "holds no samples")
    flat = _numbers(np.frombuffer(data, np.uint8, whole, at), code, bits)
    kind = f"{bits}-bit{' float' if code == FLOAT else ''} wav"
    return Sound(samples=flat.reshape(-1, channels).mean(1, dtype=np.float32), rate=rate, channels=channels, kind=kind)


def _numbers(raw: np.ndarray, code: int, bits: int) -> np.ndarray:
    """float32, full scale at 1; 8 bits have no sign, as the format has it."""
    if code == FLOAT:
        return raw.view(f"<f{bits // 8}").astype(np.float32)
    if bits == 8:
        return (raw.astype(np.float32) - 128) / 128
    if bits == 24:
        parts = raw.reshape(-1, 3).astype(np.int32)
        return (((parts[:, 0] << 8) | (parts[:, 1] << 16) | (parts[:, 2] << 24)) >> 8).astype(np.float32) / 2**23
    return raw.view(f"<i{bits // 8}").astype(np.float32) / np.float32(2 ** (bits - 1))


def _flac(data: bytes) -> Sound:
    try:
        import soundfile
    except ImportError:
        raise Bad("flac without soundfile", "is flac, which the extra reads: pip install 'bertsmith[audio]'") from None
    try:
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except (RuntimeError, OSError) as error:
        raise Bad("damaged", f"is flac that cannot be decoded ({str(error).rstrip('.')})") from None
    if not len(samples):
        raise Bad("empty", "holds no samples")
    mean = samples.mean(1, dtype=np.float32)
    return Sound(samples=mean, rate=int(rate), channels=samples.shape[1], kind="flac")
