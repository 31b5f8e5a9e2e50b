"""The log-mel spectrogram, against its published definition written as loops, and librosa's."""

import cmath
import copy
import hashlib
import math
import re
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch

from spectral_stride.torch import LogMel, audio_net
from spectral_stride.torch.models.mel import SILENCE, hz_to_mel, mel_filters, mel_to_hz

# librosa.mel_frequencies(n_mels=40), from librosa's documentation: 0 to 11025 Hz, evenly in mel.
LIBROSA_MEL_FREQUENCIES = """
    0.000    85.317   170.635   255.952   341.269   426.586   511.904   597.221   682.538   767.855
  853.173   938.490  1024.856  1119.114  1222.042  1334.436  1457.167  1591.187  1737.532  1897.337
 2071.840  2262.393  2470.470  2697.686  2945.799  3216.731  3512.582  3835.643  4188.417  4573.636
 4994.285  5453.621  5955.205  6502.920  7101.009  7754.107  8467.272  9246.028 10096.408 11025.000
"""


DATA = Path(__file__).parents[1] / "data"
# Sample rate, window and hop in samples, bands, and samples of the signal: see tests/data.
SETTINGS = ["8000_200_80_64_900", "22050_551_220_40_2500"]


@lru_cache
def librosas():
    """All arrays that librosa made."""
    with np.load(DATA / "librosa_mel.npz", allow_pickle=False) as file:
        return dict(file)


def distance(ours, theirs):
    """The largest difference, relative to the largest number."""
    assert ours.shape == theirs.shape
    return np.abs(ours.numpy() - theirs).max() / theirs.max()


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def tone(hz, sample_rate, seconds=0.5, amplitude=0.5):
    time = torch.arange(round(seconds * sample_rate)) / sample_rate
    return amplitude * torch.sin(2 * math.pi * hz * time)[None]


@pytest.mark.parametrize(
    ("hz", "mel"), [(0, 0), (60, 0.9), (110, 1.65), (220, 3.3), (440, 6.6), (11025, 49.91059448)]
)
def test_the_scale_is_librosas(hz, mel):
    """The examples in the documentation of librosa.hz_to_mel, and of a port of it."""
    assert hz_to_mel(hz) == pytest.approx(mel, rel=1e-9)
    assert mel_to_hz(mel) == pytest.approx(hz, rel=1e-8)


def test_even_steps_in_mel_are_librosas():
    wanted = [float(number) for number in LIBROSA_MEL_FREQUENCIES.split()]
    top = hz_to_mel(11025)
    found = [mel_to_hz(top * step / 39) for step in range(40)]
    assert found == pytest.approx(wanted, abs=6e-4)
    assert [hz_to_mel(hz) / top * 39 for hz in wanted] == pytest.approx(range(40), abs=1e-4)


def toolbox_filters(sample_rate, window_size, bands):
    """Slaney's triangles, bin by bin: below 1 kHz 200/3 Hz a mel, above it 27 steps to 6.4 kHz."""

    def to_hz(mel):
        return 200 / 3 * mel if mel <= 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    nyquist = sample_rate / 2
    top = nyquist * 3 / 200 if nyquist <= 1000 else 15 + 27 * math.log(nyquist / 1000, 6.4)
    edges = [to_hz(step * top / (bands + 1)) for step in range(bands + 2)]
    filters = np.zeros((window_size // 2 + 1, bands))
    for k in range(window_size // 2 + 1):
        hz = k * sample_rate / window_size
        for band in range(bands):
            low, peak, high = edges[band : band + 3]
            height = 2 / (high - low)
            if low < hz <= peak:
                filters[k, band] = height * (hz - low) / (peak - low)
            elif peak < hz < high:
                filters[k, band] = height * (high - hz) / (high - peak)
    return filters


@pytest.mark.parametrize(
    ("sample_rate", "window_size", "bands"),
    [(8000, 200, 64), (16000, 400, 64), (22050, 551, 40), (1600, 64, 6)],
)
def test_filters_are_slaneys(sample_rate, window_size, bands):
    filters = mel_filters(sample_rate, window_size, bands)
    wanted = toolbox_filters(sample_rate, window_size, bands)
    np.testing.assert_allclose(filters.numpy(), wanted, rtol=1e-9, atol=1e-15)


def test_librosas_file_is_the_one_that_its_readme_describes():
    about = (DATA / "README.md").read_text(encoding="utf-8")
    found = hashlib.sha256((DATA / "librosa_mel.npz").read_bytes()).hexdigest()
    assert re.findall(r"[0-9a-f]{64}", about)[1] == found
    assert {key.partition("/")[0] for key in librosas()} == set(SETTINGS)


@pytest.mark.parametrize("setting", SETTINGS)
def test_filters_are_librosas(setting):
    rate, size, _, bands, _ = map(int, setting.split("_"))
    theirs = librosas()[f"{setting}/filters"].T
    assert distance(mel_filters(rate, size, bands), theirs) < 1e-13


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_spectrogram_is_librosas(setting, dtype):
    """In float64 to the rounding of the filters, which are float32 in either."""
    rate, size, hop, bands, samples = map(int, setting.split("_"))
    n = np.arange(samples)
    x = 0.5 * np.sin(np.pi * n**2 / (2 * samples)) + 0.25 * np.sin(2 * np.pi * 440 * n / rate)
    layer = LogMel(rate, bands).to(dtype)
    assert (layer.window_size, layer.hop_size) == (size, hop)
    layer.window = torch.hann_window(size, dtype=dtype)  # it was rounded to float32
    (y,) = layer(torch.from_numpy(x)[None].to(dtype))
    theirs = librosas()[f"{setting}/power"].T
    precise = dtype == torch.float64
    assert distance(y.expm1() * SILENCE, theirs) < (2e-7 if precise else 2e-6)
    # Differences of the logarithm are relative: where it is quiet, too.
    error = np.abs(y.numpy() - np.log1p(theirs / SILENCE)).max()
    assert error < (2e-7 if precise else 2e-4)


def test_every_filter_has_area_one():
    """Summed over bins that are close together."""
    sample_rate, window_size = 8000, 40_000
    areas = mel_filters(sample_rate, window_size, 20).sum(dim=0) * sample_rate / window_size
    assert areas.tolist() == pytest.approx([1.0] * 20, rel=1e-4)


def test_the_spectrogram_is_its_definition():
    """Frame by frame and bin by bin: centered, zeros beyond both ends, a periodic Hann window."""
    sample_rate, bands, size, hop = 2000, 12, 50, 20
    x = draw(1, 130)
    padded = [0.0] * (size // 2) + x[0].tolist() + [0.0] * (size // 2)
    window = [math.sin(math.pi * n / size) ** 2 for n in range(size)]
    frames = 1 + 130 // hop
    power = np.zeros((frames, size // 2 + 1))
    for t in range(frames):
        for k in range(size // 2 + 1):
            bin_ = sum(
                window[n] * padded[t * hop + n] * cmath.exp(-2j * math.pi * k * n / size)
                for n in range(size)
            )
            power[t, k] = abs(bin_) ** 2
    mel = power @ toolbox_filters(sample_rate, size, bands)
    layer = LogMel(sample_rate, bands)
    assert (layer.window_size, layer.hop_size) == (size, hop)
    found = layer.double()(x.double())
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found[0].numpy(), np.log(1 + mel / SILENCE), rtol=1e-6)
    single = LogMel(sample_rate, bands)(x)
    torch.testing.assert_close(single, found.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("hz", [200.0, 1000.0, 3000.0])
def test_a_tone_is_loudest_in_its_band(hz):
    edges = [mel_to_hz(hz_to_mel(4000) * (band + 1) / 65) for band in range(64)]
    nearest = min(range(64), key=lambda band: abs(edges[band] - hz))
    loudest = LogMel(8000)(tone(hz, 8000))[0, 25].argmax().item()
    assert abs(loudest - nearest) <= 1


def test_silence_is_zero_and_louder_is_more():
    layer = LogMel(8000)
    assert not layer(torch.zeros(1, 800)).any()
    quiet, loud = layer(tone(440, 8000, amplitude=0.1)), layer(tone(440, 8000, amplitude=1.0))
    assert (loud >= quiet).all()
    # Twenty decibels: a hundred times the power, where silence does not count.
    assert (loud.max() - quiet.max()).item() == pytest.approx(math.log(100), abs=1e-3)


def test_waveforms_do_not_see_each_other():
    layer, x = LogMel(8000), draw(3, 1000)
    torch.testing.assert_close(layer(x)[1:2], layer(x[1:2]))


@pytest.mark.parametrize("samples", [1, 79, 80, 8000, 8001])
def test_frames(samples):
    assert LogMel(8000)(torch.zeros(2, samples)).shape == (2, 1 + samples // 80, 64)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_overflows_nowhere(dtype):
    """At 44.1 kHz a loud tone has more power than float16 has numbers."""
    layer, x = LogMel(44100), tone(440, 44100, amplitude=1.0)
    with torch.autocast("cpu", dtype=dtype):
        y = layer(x)
    torch.testing.assert_close(y, layer(x))
    halved = layer(x.to(dtype))
    assert halved.dtype == torch.float32
    assert halved.isfinite().all()


def test_nothing_of_it_is_in_a_checkpoint_or_learned():
    layer = LogMel(8000)
    assert not layer.state_dict()
    assert not list(layer.parameters())
    assert "window_size=200, hop_size=80" in repr(layer)


def onto_memory_and_loaded(net, values):
    net.to_empty(device="cpu")
    net.load_state_dict(values)


def loaded_with_its_memory(net, values):
    net.load_state_dict(values, assign=True)


def loaded_and_moved(net, values):
    net.load_state_dict(values, assign=True)
    net.to("cpu")


def moved_in_every_way(net, values):
    net.half().to_empty(device="cpu").float().load_state_dict(values)


@pytest.mark.parametrize(
    "load",
    [onto_memory_and_loaded, loaded_with_its_memory, loaded_and_moved, moved_in_every_way],
)
def test_a_network_that_was_built_without_values(load, monkeypatch):
    # What new memory holds is not left to chance.
    empty_like = torch.empty_like
    monkeypatch.setattr(torch, "empty_like", lambda *a, **k: empty_like(*a, **k).fill_(7))
    net = audio_net(3, width=2, ramp="inside").eval()
    with torch.device("meta"):
        other = audio_net(3, width=2, ramp="inside").eval()
    assert all(tensor.is_meta for tensor in (*other.parameters(), *other.buffers()))
    load(other, net.state_dict())
    waves = draw(2, 4000)
    assert torch.equal(other(waves), net(waves))
    assert torch.equal(
        copy.deepcopy(other).to_empty(device="cpu").frontend.filters, net.frontend.filters
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sample_rate": 0}, r"sample_rate: got 0; allowed: an integer of at least 1"),
        ({"sample_rate": 8000.0}, r"sample_rate: got 8000\.0; .* write sample_rate=16000"),
        ({"bands": 0}, r"bands: got 0; "),
        ({"bands": 500}, r"bands: got 500; allowed: .* the window's 101 bins; instead: take fewer"),
        ({"window": 0.0001}, r"window: got 0\.0001 s at 8000 Hz; allowed: at least 2 samples"),
        ({"window": math.nan}, r"window: got nan s"),
        (
            {"sample_rate": 10**12},
            r"window: got 25000000000 samples, and 64 bands; allowed: at most 134217728 for the "
            r"bands times half of the samples; instead: write window=0\.025, and bands=64$",
        ),
        ({"hop": 0.0}, r"hop: got 0\.0 s at 8000 Hz; allowed: at least 1 sample; "),
        ({"hop": -0.01}, r"hop: got -0\.01 s"),
        ({"hop": True}, r"hop: got True s at 8000 Hz; allowed: at least 1 sample; "),
        ({"window": "0.025"}, r"window: got '0\.025' s at 8000 Hz; allowed: at least 2 samples; "),
        ({"window": 1e300}, r"window: got 1e\+300 s at 8000 Hz; allowed: .*, at most \d+; "),
        (
            {"bands": 2**50},
            r"bands: got \d+; allowed: .* the window's 101 bins; instead: take",
        ),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        LogMel(**{"sample_rate": 8000, **arguments})


@pytest.mark.parametrize("shape", [(800,), (2, 1, 800)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"x: got shape .*; allowed: \(batch, samples\)"):
        LogMel(8000)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(2, 800).to_sparse(), "x: got a sparse_coo tensor; allowed: a dense"),
        (torch.zeros(2, 800).numpy(), r"x: got ndarray; allowed: a torch\.Tensor"),
        (torch.zeros(2, 800) * 1j, r"x: got dtype torch\.complex64; allowed: real floating"),
        (torch.zeros(2, 800).short(), r"x: got dtype torch\.int16; allowed: real floating"),
    ],
)
def test_what_is_no_waveform_is_refused(x, message):
    with pytest.raises(TypeError, match=message):
        LogMel(8000)(x)


def test_of_an_empty_batch():
    for dtype in (torch.float16, torch.float64):
        layer, x = LogMel(8000), torch.zeros(2, 900, dtype=dtype)
        none = layer(x[:0])
        assert (none.shape, none.dtype) == (layer(x)[:0].shape, layer(x).dtype)
    assert audio_net(3, width=2).eval()(x[:0].float()).shape == (0, 3)


def test_exported_with_a_free_batch():
    layer, free = LogMel(8000), ({0: torch.export.Dim("batch")},)
    program = torch.export.export(layer, (draw(2, 800),), dynamic_shapes=free)
    torch.testing.assert_close(program.module()(draw(5, 800)), layer(draw(5, 800)))
