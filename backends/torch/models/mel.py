"""The log-compressed mel spectrogram, as the first layer of a network."""

import math

import torch

from spectral_stride import checks
from spectral_stride.torch.functional import check_tensor
from spectral_stride.torch.models.constants import Constants

# The mel scale of Slaney's Auditory Toolbox: linear up to a frequency, logarithmic above it.
LINEAR_HZ_PER_MEL = 200.0 / 3.0
BREAK_HZ = 1000.0
BREAK_MEL = BREAK_HZ / LINEAR_HZ_PER_MEL
LOG_STEP = math.log(6.4) / 27.0

# Power that counts as silence, for waveforms between -1 and 1: thousands of times what rounding to
# 16 bits leaves in a band.
SILENCE = 1e-6
# Entries of all filters: a gigabyte in float64, a thousand times what sounds need.
MOST_FILTERED = 2**27


def hz_to_mel(hz: float) -> float:
    """Return the pitch of a frequency on Slaney's mel scale.

    Examples
    --------
    >>> from spectral_stride.torch.models.mel import hz_to_mel
    >>> hz_to_mel(440.0)
    6.6
    """
    if hz < BREAK_HZ:
        return hz / LINEAR_HZ_PER_MEL
    return BREAK_MEL + math.log(hz / BREAK_HZ) / LOG_STEP


def mel_to_hz(mel: float) -> float:
    """Return the frequency of a pitch on Slaney's mel scale.

    Examples
    --------
    >>> from spectral_stride.torch.models.mel import mel_to_hz
    >>> mel_to_hz(3.0)
    200.0
    """
    if mel < BREAK_MEL:
        return mel * LINEAR_HZ_PER_MEL
    return BREAK_HZ * math.exp(LOG_STEP * (mel - BREAK_MEL))


def mel_filters(sample_rate: int, window_size: int, bands: int) -> torch.Tensor:
    """Build triangles over the bins of a spectrum, evenly spaced in mel, each of area 1 in Hz.

    Parameters
    ----------
    sample_rate : int
        In Hz.
    window_size : int
        Samples of the transform.
    bands : int

    Returns
    -------
    Tensor of shape (window_size // 2 + 1, bands), float64
        Weights of bins k * sample_rate / window_size. Band b rises from edge b to edge b + 1 and
        falls to edge b + 2, where the bands + 2 edges divide 0 .. sample_rate / 2 evenly in mel;
        the peak is 2 / (edge b + 2 - edge b).
    """
    top = hz_to_mel(sample_rate / 2)
    edges = torch.tensor(
        [mel_to_hz(top * edge / (bands + 1)) for edge in range(bands + 2)],
        dtype=torch.float64,
        device="cpu",
    )
    bins = torch.arange(window_size // 2 + 1, dtype=torch.float64, device="cpu")
    bins *= sample_rate / window_size
    low, peak, high = edges[:-2], edges[1:-1], edges[2:]
    rise = (bins[:, None] - low) / (peak - low)
    fall = (high - bins[:, None]) / (high - peak)
    return torch.minimum(rise, fall).clamp(min=0.0) * (2.0 / (high - low))


class LogMel(Constants):
    """Log-compressed mel spectrogram of waveforms.

    y[t, b] = log(1 + p[t, b] / 1e-6), with p the power abs(STFT)^2 of frame t through the mel
    filter of band b. Power 1e-6 counts as silence, so that zeros, with which convolutions pad, are
    silent.

    Parameters
    ----------
    sample_rate : int
        Of the waveforms, in Hz.
    bands : int, optional
        Mel bands between 0 and half the sample rate.
    window, hop : float, optional
        Length of a frame, and from one frame to the next, in seconds; rounded to samples.

    Raises
    ------
    ValueError
        For a sample rate or a number of bands that is no integer of at least 1, a window of less
        than two samples or a hop of less than one, more bands than the window's bins can tell
        apart, filters of more than a gigabyte, and waveforms of another shape.
    TypeError
        For waveforms that are no dense tensor of real floating-point numbers.

    Notes
    -----
    `forward` maps waveforms of shape (batch, samples) to (batch, 1 + samples // hop, bands), always
    in float32 or above. Frame t is centered on sample t * hop, with zeros beyond both ends.

    The numbers p are those of librosa (compared with 0.11.0): ``librosa.feature.melspectrogram``
    with n_fft, hop_length and n_mels as here, everything else by default. That is a Hann window,
    Slaney's mel scale, and triangles of area 1.

    Under `torch.compile` it stays in the graph; PyTorch's default backend has no code of its own
    for the complex transform, and warns that it calls the usual one.

    Source: Slaney, "Auditory Toolbox", Interval Research technical report 1998-010.

    Examples
    --------
    >>> import torch
    >>> from spectral_stride.torch import LogMel
    >>> LogMel(8000)(torch.zeros(2, 8000)).shape
    torch.Size([2, 101, 64])
    """

    window: torch.Tensor
    filters: torch.Tensor

    @checks.known_options
    def __init__(
        self, sample_rate: int, bands: int = 64, window: float = 0.025, hop: float = 0.010
    ) -> None:
        super().__init__()
        sample_rate = checks.positive_integer("sample_rate", sample_rate, "write sample_rate=16000")
        bands = checks.positive_integer("bands", bands, "write bands=64")
        self.sample_rate = sample_rate
        self.bands = bands
        self.window_size = samples_in("window", window, sample_rate, least=2)
        self.hop_size = samples_in("hop", hop, sample_rate, least=1)
        bins = self.window_size // 2 + 1
        if bins * min(bands, 2 * bins + 1) > MOST_FILTERED:
            got = f"{self.window_size} samples, and {bands} bands"
            allowed = f"at most {MOST_FILTERED} for the bands times half of the samples"
            checks.refuse(ValueError, "window", got, allowed, "write window=0.025, and bands=64")
        # No bin is in more than two bands: filters of many more are not even built.
        filters = mel_filters(sample_rate, self.window_size, min(bands, 2 * bins + 1))
        if not (filters > 0).any(dim=0).all():
            allowed = f"bands that each hold one of the window's {bins} bins"
            remedy = "take fewer bands or a longer window"
            checks.refuse(ValueError, "bands", bands, allowed, remedy)
        self.register_constants()

    def constants(self) -> dict[str, torch.Tensor]:
        """Compute the window and the filters, in float64 first."""
        window = torch.hann_window(self.window_size, dtype=torch.float64, device="cpu")
        filters = mel_filters(self.sample_rate, self.window_size, self.bands)
        return {"window": window.float(), "filters": filters.float()}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the spectrogram, time before frequency."""
        check_tensor(x)
        if x.ndim != 2:
            allowed, remedy = "(batch, samples)", "write x[None] for one waveform"
            checks.refuse(ValueError, "x", f"shape {tuple(x.shape)}", allowed, remedy)
        if self.window.device != x.device:
            self.settle_constants(x.device)
        dtype = torch.promote_types(x.dtype, torch.float32)
        if x.shape[0] == 0:  # of which no FFT is made
            return x.new_zeros((0, 1 + x.shape[1] // self.hop_size, self.bands), dtype=dtype)
        # Loud bands have more power than float16 has numbers.
        with torch.autocast(x.device.type, enabled=False):
            spectrum = torch.stft(
                x.to(dtype),
                self.window_size,
                self.hop_size,
                window=self.window.to(dtype),
                pad_mode="constant",
                return_complex=True,
            )
            power = spectrum.real.square() + spectrum.imag.square()
            bands = power.transpose(-2, -1) @ self.filters.to(dtype)
            return (bands / SILENCE).log1p()

    def extra_repr(self) -> str:
        """Every setting, in samples."""
        return (
            f"sample_rate={self.sample_rate}, bands={self.bands}, "
            f"window_size={self.window_size}, hop_size={self.hop_size}"
        )


def samples_in(name: str, seconds: float, sample_rate: int, least: int) -> int:
    """Return a length in samples, or refuse what is no length, too short or too long."""
    exact = checks.real_number(seconds) * sample_rate
    samples = round(exact) if math.isfinite(exact) else 0
    if not least <= samples <= checks.LARGEST_SIZE:
        got = f"{checks.shown(seconds)} s at {sample_rate} Hz"
        allowed = f"at least {least} sample{'s' * (least > 1)}"
        allowed += f", at most {checks.LARGEST_SIZE}" * (samples > least)
        checks.refuse(ValueError, name, got, allowed, f"write {name}={4 * least / sample_rate:g}")
    return samples
