"""The pictures of a report, against what they draw."""

from types import SimpleNamespace

import numpy as np
import pytest

from spectral_stride import soft_mask
from spectral_stride.torch.models.blur_pool import BlurPool
from spectral_stride.torch.training.report import figures as curves
from spectral_stride.torch.training.report.comparison import sections
from spectral_stride.torch.training.report.figures import (
    PANELS,
    draw_histories,
    draw_responses,
    frequency_response,
)
from spectral_stride.torch.training.report.plots import mask_of
from spectral_stride.torch.training.report.runs import gather
from tests.training.report.made import write_run


def test_the_response_of_blurpool_is_that_of_its_kernel():
    kernel = BlurPool((3, 1)).kernel[:, 0].numpy()
    around = np.roll(np.pad(kernel, (0, 11)), -2)
    mask = mask_of({"downsampling": "blurpool"}, {}, 16, 3)
    np.testing.assert_allclose(mask, np.fft.rfft(around).real, atol=1e-6)


@pytest.mark.parametrize("size", [16, 15, 2, 1])
@pytest.mark.parametrize("stride", [1.0, 2.3, 4.0])
def test_the_response_is_the_mask_on_the_bins(size, stride):
    mask = np.asarray(soft_mask(size, stride, smoothness=2))
    at_bins = frequency_response(mask, size, size + 1)[::2]  # and halfway between them
    np.testing.assert_allclose(at_bins, mask, atol=1e-12)


def test_the_response_between_bins_is_that_to_a_sampled_wave():
    """Circular convolution of a long wave with the impulse response, which is all of it."""
    size, count, wave = 16, 64, 9  # 9 cycles in 64 samples: between the bins 2 and 3 of 16
    mask = np.asarray(soft_mask(size, 2.5, smoothness=3))
    impulse = np.roll(np.fft.irfft(mask, n=size), size // 2)
    # The tap half a period away belongs to both sides.
    taps = np.concatenate([[impulse[0] / 2], impulse[1:], [impulse[0] / 2]])
    cosine = np.cos(2 * np.pi * wave / count * np.arange(count))
    padded = np.zeros(count)
    padded[: len(taps)] = taps
    filtered = np.fft.irfft(np.fft.rfft(cosine) * np.fft.rfft(np.roll(padded, -size // 2)), n=count)
    expected = frequency_response(mask, size, count // 2 + 1)[wave]
    np.testing.assert_allclose(filtered, expected * cosine, atol=1e-12)


@pytest.mark.parametrize("size", [9, 16, 1000])
def test_the_response_is_the_sum_over_taps(size):
    """Also on an axis that is longer than the wave."""
    mask = np.asarray(soft_mask(size, 2.5, smoothness=3))
    distance = np.minimum(np.arange(size), size - np.arange(size))
    waves = np.cos(2 * np.pi * np.linspace(0.0, 0.5, 9)[:, None] * distance)
    expected = waves @ np.fft.irfft(mask, n=size)
    np.testing.assert_allclose(frequency_response(mask, size, 9), expected, atol=1e-12)


def test_every_learning_run_is_drawn_to_its_last_stride(tmp_path):
    for seed in range(PANELS + 1):
        write_run(tmp_path / str(seed), 0.9, 10**6, seed=seed)
    write_run(tmp_path / "strided", 0.9, 10**6, downsampling="strided")
    (section,) = sections(gather([tmp_path]).runs)
    pages = list(draw_histories(section))
    panels = [axes for page in pages for axes in page.axes if axes.get_visible()]
    assert [len([a for a in page.axes if a.get_visible()]) for page in pages] == [PANELS, 1]
    ends = [[line.get_ydata()[-1] for line in axes.lines] for axes in panels]
    assert ends == [[1.0, 1.0, 3.0, 3.5]] * (PANELS + 1)
    assert panels[0].lines[2].get_ydata()[0] == 2.0


def test_a_long_map_has_few_marks(tmp_path):
    """A mark for each bin would take longer to draw than all else."""
    path = write_run(tmp_path / "a", 0.9, 10**6) / "summary.json"
    path.write_text(path.read_text().replace('"size_in": [16, 16]', '"size_in": [100000, 16]'))
    (section,) = sections(gather([tmp_path]).runs)
    long, short = draw_responses(section.groups[0]).axes[0].lines[::2]
    marks = [len(line.get_xdata()[:: line.get_markevery()]) for line in (long, short)]
    assert 100 < marks[0] <= 500
    assert marks[1] == 9


@pytest.mark.parametrize(
    ("model", "axes"), [("audio", ["time", "frequency"]), ("resnet18", ["height", "width"])]
)
def test_axes_have_the_names_of_what_the_network_hears_or_sees(model, axes):
    run = SimpleNamespace(config={"model": model}, layers_after=[])
    assert [handle.get_label() for handle in curves._layer_handles(run)] == axes
