"""Recordings from files: one channel, one length, one sample rate."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from io import SEEK_SET, BytesIO
from typing import ClassVar

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from spectral_stride.torch.training.data.datamodule import TrainingData
from spectral_stride.torch.training.data.samples import (
    MEMORY,
    BadFileError,
    LazySamples,
    RawSamples,
    check_limit,
    decode,
    decode_one,
    in_memory,
    labelled,
    origin,
    workers,
)

SECONDS = 1.0
# Recordings of either part whose lengths are looked at, evenly spread, where not all are decoded.
LOOKED_AT = 128
BYTES = 4  # of a float32
# A size in a header is none from here on, nor is 0. A program that writes into a pipe cannot know
# the right one, and leaves 0 or 0xFFFFFFFF (FFmpeg), 0x80000024 (arecord), 0x7FFFF024 (SoX), or
# 0x7F00002E (SoX, for AIFF): about 2 GiB, as much as old readers take, or more.
_UNKNOWN = 2**31 - 2**25
# Frames that are read at once.
BLOCK = 2**16
# Bytes of a page's header, and the bit in its sixth that marks the last page.
_OGG_HEADER, _OGG_LAST = 27, 0x04
_ALLOWED = "whole WAV, AIFF, FLAC, OGG or MP3 files, or others of libsndfile's, with finite samples"
_REMEDY = "replace the file or leave it out"


def fit(wave: NDArray[np.float32], samples: int) -> NDArray[np.float32]:
    """Keep the middle of a recording, or put zeros evenly around a shorter one.

    Examples
    --------
    >>> import numpy as np
    >>> from spectral_stride.torch.training.data.recordings import fit
    >>> fit(np.array([1, 2, 3], dtype=np.float32), 5).tolist()
    [0.0, 1.0, 2.0, 3.0, 0.0]
    >>> fit(np.array([1, 2, 3], dtype=np.float32), 1).tolist()
    [2.0]
    """
    missing = samples - len(wave)
    if missing > 0:
        return np.pad(wave, (missing // 2, missing - missing // 2))
    start = -missing // 2
    return wave[start : start + samples]


@dataclass
class AudioReader:
    """Makes a float32 tensor (samples,) of a recording, -1 to 1, its channels averaged.

    Attributes
    ----------
    rate : int
        Sample rate in Hz that files have to have.
    samples : int
    like : str
        Name of the recording whose rate that is.
    cut : list of float
        Lengths, in seconds, of recordings that were too long.
    """

    KIND: ClassVar[str] = "recording"
    KEPT: ClassVar[tuple[str, ...]] = ("rate",)

    rate: int
    samples: int
    like: str
    cut: list[float] = field(default_factory=list)

    def __call__(self, content: bytes) -> torch.Tensor:
        """Read one recording.

        Raises
        ------
        BadFileError
            For a file that is no whole recording, or has another sample rate.
        """
        return self.take(*_read(content))

    def take(self, wave: NDArray[np.float32], rate: int) -> torch.Tensor:
        """Make a sample of one channel and its rate; see `__call__`."""
        if rate != self.rate:
            wrong = f"with {rate} samples a second, while {self.like} has {self.rate}"
            raise BadFileError(wrong, "one sample rate", "resample the recordings to one rate")
        if len(wave) > self.samples:
            self.cut.append(len(wave) / rate)
        return torch.from_numpy(fit(wave, self.samples).copy())


class _Content(BytesIO):
    """A file whose position a damaged header cannot send before the first byte.

    What a callback of libsndfile's raises is printed, and caught by nobody.
    """

    def seek(self, offset: int, whence: int = SEEK_SET, /) -> int:
        """Move the position, or leave it where it would be no position."""
        try:
            return super().seek(offset, whence)
        except ValueError:
            return self.tell()


class _Forward(soundfile.SoundFile):  # type: ignore[misc]  # which has no types
    """A recording that is read from its start to its end, as every codec can be.

    libsndfile cannot seek in GSM 06.10, G.721 and NMS ADPCM, nor in FLAC that came out of a pipe.
    `soundfile` then refuses to read all that is there, or seeks nevertheless.
    """

    def seekable(self) -> bool:
        """Say that it must not be tried."""
        return False


def open_recording(content: bytes) -> soundfile.SoundFile:
    """Open a recording that can be read forward; what is none is an error of libsndfile's."""
    return _Forward(_Content(content))


def _means(file: soundfile.SoundFile) -> Iterator[NDArray[np.float32]]:
    """Read the mean of the channels, block by block, until there is no more."""
    while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
        yield block.mean(axis=1)


def _is_cut_off_ogg(content: bytes) -> bool:
    """Whether the last page of an Ogg file lacks bytes, or is not marked as the last.

    Source: RFC 3533, "The Ogg encapsulation format version 0", section 6.
    """
    start, is_last = 0, False
    while content[start : start + 4] == b"OggS":
        header = content[start : start + _OGG_HEADER]
        if len(header) < _OGG_HEADER:
            return True
        is_last = bool(header[5] & _OGG_LAST)
        # The header ends with the number of segments; their lengths follow, then they themselves.
        body = start + _OGG_HEADER + header[-1]
        start = body + sum(content[start + _OGG_HEADER : body])
        if max(start, body) > len(content):
            return True
    return not is_last


def _read(content: bytes) -> tuple[NDArray[np.float32], int]:
    """Return the mean of a recording's channels, and its sample rate.

    An MP3 that is cut off is read as far as it goes: the format has no length.
    """
    # libsndfile reads what is there of an Ogg file, or one without compression, and says nothing.
    if content[:4] == b"OggS" and _is_cut_off_ogg(content):
        raise BadFileError(f"which is cut off after {len(content)} bytes", _ALLOWED, _REMEDY)
    stated = int.from_bytes(content[4:8], "little" if content[:4] == b"RIFF" else "big")
    has_size = content[:4] in (b"RIFF", b"RIFX", b"FORM") and stated < _UNKNOWN
    if has_size and len(content) + 1 < stated + 8:  # a last odd byte may be missing
        wrong = f"which is cut off: {len(content)} of {stated + 8} bytes"
        raise BadFileError(wrong, _ALLOWED, _REMEDY)
    try:
        with open_recording(content) as file:
            blocks, rate = list(_means(file)), file.samplerate
    except soundfile.LibsndfileError as error:
        wrong = f"which cannot be decoded ({error.error_string})"
        raise BadFileError(wrong, _ALLOWED, _REMEDY) from error
    if not blocks:
        raise BadFileError("without a sample, or cut off", _ALLOWED, _REMEDY)
    wave = np.concatenate(blocks)
    if not np.isfinite(wave).all():
        wrong = f"with a sample that is no finite number, number {int(np.isfinite(wave).argmin())}"
        raise BadFileError(wrong, _ALLOWED, _REMEDY)
    return wave, int(rate)


class Audio(TrainingData):
    """Recordings from the rows of a table, decoded once where they fit in memory.

    Parameters
    ----------
    batch_size, seed : int
        As in `TrainingData`.
    limit : int, optional
        Use at most so many recordings of either part, evenly spread; for trials.
    train, test : RawSamples
    classes : dict of str to list of str
    seconds : float, optional
        Length to which recordings are cut, or filled with zeros, evenly at both ends.
    memory : int, optional
        Bytes of decoded recordings that may be kept.
    notes : tuple of str, optional

    Raises
    ------
    RefusedError
        For recordings that cannot be decoded or differ in rate from the first, by their names or
        rows.
    """

    def __init__(
        self,
        batch_size: int,
        seed: int,
        limit: int | None = None,
        *,
        train: RawSamples,
        test: RawSamples,
        classes: dict[str, list[str]],
        seconds: float = SECONDS,
        memory: int = MEMORY,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(batch_size, seed)
        train, test = train.spread(limit), test.spread(limit)
        check_limit(limit, train.labels, classes)
        rate = decode_one(train, 0, lambda content: torch.tensor(_read(content)[1]), test)
        self.sample_rate = int(rate)
        samples = max(1, round(seconds * self.sample_rate))
        self.reader = reader = AudioReader(self.sample_rate, samples, train.name(0))
        self.classes, self.origin = classes, origin(train, test)
        self.sample_shape = (samples,)
        self.mean, self.std = torch.zeros(1), torch.ones(1)
        total = looked_at = len(train) + len(test)
        if BYTES * samples * total <= memory:
            decoded = in_memory([train, test], reader, (samples,), torch.float32)
            self.train_set, self.test_set = map(labelled, decoded, (train, test))
        else:
            self.train_set, self.test_set = LazySamples(train, reader), LazySamples(test, reader)
            self.workers = workers()
            some = train.spread(LOOKED_AT), test.spread(LOOKED_AT)
            looked_at = sum(1 for _ in decode(some, reader))
        self.notes = (*notes, *_said_of_lengths(reader.cut, looked_at, total, seconds))


def _said_of_lengths(cut: list[float], looked_at: int, total: int, seconds: float) -> list[str]:
    """Say how many recordings are too long, of those whose lengths are known."""
    known = f"{looked_at} recordings"
    if looked_at < total:
        known += f" that were looked at (of {total})"
    if cut:
        digits = 2 if float(f"{max(cut):.2f}") > seconds else 6  # 1.00 s is not longer than 1 s
        longest = f"the longest {max(cut):.{digits}f} s, and their middle is used."
        return [f"{len(cut)} of {known} are longer than {seconds:g} s, {longest}"]
    if looked_at < total:
        return [
            f"None of {known} are longer than {seconds:g} s; of those that are, the middle is used."
        ]
    return []
