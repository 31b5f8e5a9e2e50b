"""The published layer's own numbers: where we agree to rounding, and where we differ on purpose.

tests/data/README.md says where the numbers come from.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

import spectral_stride as ss
from tests.libraries import Backend, to_numpy

DATA = Path(__file__).parents[1] / "data"

# Relative to the largest number of the array; the stride gradient relative to itself, or to 1.
CLOSE, GRADIENT_CLOSE = 2e-6, 1e-5


@lru_cache
def stored():
    """All arrays of the file."""
    with np.load(DATA / "published_layer.npz", allow_pickle=False) as file:
        return dict(file)


@dataclass(frozen=True)
class Published:
    """One stored case."""

    name: str
    row: int

    def __getattr__(self, name):
        value = stored()[f"case_{name}"][self.row]
        return value.item() if value.shape == () else value

    @property
    def x(self):
        return stored()[stored()["case_x"][self.row]]

    @property
    def g(self):
        return stored()[stored()["case_g"][self.row]]

    @property
    def out(self):
        return stored()[f"{self.name}/out"]

    @property
    def gx(self):
        return stored()[f"{self.name}/gx"]

    @property
    def options(self):
        """The published operator along the width, in our arguments."""
        return {"axes": (3,), "norm": "backward", "smoothness": self.R, "ramp": "outside"}

    @property
    def canvas(self):
        """Arguments for the published output width, which is even also where nothing is cropped."""
        if self.out_shape[3] == self.W - 1 and self.W % 2:
            return {"out_sizes": (self.W - 1,)}
        return {"crop": bool(self.cropping)}


def published():
    """Every stored case."""
    return [Published(str(name), row) for row, name in enumerate(stored()["case_id"])]


def case(name):
    """One stored case by its name."""
    return next(found for found in published() if found.name == name)


def rows(*, wider_than_axis=False):
    """Cases with one row that ran and are no ties: with a ramp within the axis, or beyond it."""
    return [
        found
        for found in published()
        if found.family.startswith("ds1")
        and found.status == "ok"
        and not found.tie
        and (found.R > found.W) == wider_than_axis
    ]


def distance(ours, theirs):
    """The largest difference, relative to the largest number."""
    assert ours.shape == theirs.shape
    return np.abs(to_numpy(ours) - theirs).max() / np.abs(theirs).max()


def test_the_file_is_the_one_that_its_readme_describes():
    about = (DATA / "README.md").read_text(encoding="utf-8")
    found = hashlib.sha256((DATA / "published_layer.npz").read_bytes()).hexdigest()
    assert re.findall(r"[0-9a-f]{64}", about)[0] == found


@pytest.mark.parametrize("method", ["matmul", "fft"])
@pytest.mark.parametrize("xp", [Backend.NUMPY, Backend.TORCH], indirect=True, ids=str)
def test_every_stored_row_agrees(xp, method):
    """Output, input gradient and stride gradient, in every case whose ramp fits its axis."""
    chosen = rows()
    assert len(chosen) > 350
    apart = {}
    for row in chosen:
        y, dx, ds = xp.vjp(
            xp.asarray(row.x, "float32"),
            xp.asarray([row.sx], "float32"),
            xp.asarray(row.g, "float32"),
            method=method,
            **row.options,
            **row.canvas,
        )
        slope = row.stride_grad[1]
        found = distance(y, row.out), distance(dx, row.gx), abs(to_numpy(ds)[0] - slope)
        limits = CLOSE, CLOSE, GRADIENT_CLOSE * max(1, abs(slope))
        if any(far > limit for far, limit in zip(found, limits, strict=True)):
            apart[row.name] = found
    assert apart == {}


def published_mask(bins, size, stride, smoothness):
    """The published ramp before it is clipped, and its slope in the stride, in float64."""
    effective = max(stride, size / (size - smoothness), 1.0)
    cutoff = max(size / effective, 2) / 2
    raw = (smoothness + cutoff + 1 - bins) / smoothness
    slope = -size / (2 * effective**2) if size / effective >= 2 else 0.0
    return raw, np.where((raw >= 0) & (raw <= 1), slope / smoothness, 0.0)


def published_rows(size, stride, smoothness, crop):
    """The published operator on rows by its own rule: (N, n) matrices E, y = x E, and dE/ds."""
    raw, slope = published_mask(np.arange(size // 2 + 1), size, stride, smoothness)
    kept = np.count_nonzero(raw > 0) if crop else len(raw)
    spectrum = np.fft.rfft(np.eye(size))[:, :kept]
    n = 2 * (kept - 1)
    level = np.clip(raw[:kept], 0, 1)
    return np.fft.irfft(spectrum * level, n), np.fft.irfft(spectrum * slope[:kept], n)


def test_the_rule_of_the_published_rows_gives_the_stored_numbers():
    """The matrices that the next test builds on are the published ones."""
    for row in rows():
        if row.R < row.W:
            E, slope = published_rows(row.W, row.sx, row.R, row.cropping)
            x, g = row.x.astype("float64"), row.g.astype("float64")
            assert distance(x @ E, row.out) < CLOSE
            assert distance(g @ E.T, row.gx) < CLOSE
            gradient = np.sum(g * (x @ slope))
            limit = GRADIENT_CLOSE * max(1, abs(gradient))
            assert abs(gradient - row.stride_grad[1]) < limit


@pytest.mark.parametrize("method", ["matmul", "fft"])
@pytest.mark.parametrize(
    ("height", "width", "strides", "smoothness"),
    [
        (16, 32, (1.3, 2.6), 4),
        (33, 20, (3.1, 1.7), 2),
        (12, 31, (2.6, 5.3), 1),
        (56, 56, (2.3, 2.3), 6),
    ],
)
def test_two_axes_are_the_published_rows_applied_twice(height, width, strides, smoothness, method):
    """Rows, then columns by transposition: output and all gradients of the separable operator."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, height, width))
    (Ey, slope_y), (Ex, slope_x) = (
        published_rows(size, stride, smoothness, crop=True)
        for size, stride in zip((height, width), strides, strict=True)
    )
    g = rng.normal(size=(2, 3, Ey.shape[1], Ex.shape[1]))

    def twice(columns, rows_):
        return ((x @ rows_).swapaxes(2, 3) @ columns).swapaxes(2, 3)

    out_sizes = Ey.shape[1], Ex.shape[1]
    y, pullback = ss.vjp(
        x,
        strides,
        smoothness=smoothness,
        ramp="outside",
        norm="backward",
        out_sizes=out_sizes,
        method=method,
    )
    dx, ds = pullback(g)
    assert distance(y, twice(Ey, Ex)) < 1e-13
    assert distance(dx, Ey @ g @ Ex.T) < 1e-13
    gradients = [np.sum(g * twice(slope_y, Ex)), np.sum(g * twice(Ey, slope_x))]
    np.testing.assert_allclose(ds, gradients, rtol=1e-11)


# Below, one test for each difference on purpose.


def published_image(x, strides, smoothness, columns):
    """The published layer without cropping: its vertical mask treats +k and -k differently."""
    height, width = x.shape[2:]
    start = 1 + height % 2
    downwards = np.concatenate(
        [np.arange(start, start + (height + 1) // 2), np.arange(height // 2, 0, -1)]
    )
    down, _ = published_mask(downwards, height, strides[0], smoothness)
    if height % 2:
        down[height // 2], _ = published_mask(height // 2 + 1, height, strides[0], smoothness)
    across, _ = published_mask(np.arange(width // 2 + 1), width, strides[1], smoothness)
    level = np.clip(down, 0, 1)[:, None] * np.clip(across, 0, 1)
    return np.fft.irfft2(np.fft.rfft2(x) * level, (height, columns))


@pytest.mark.parametrize("name", ["H16_W16", "H14_W14", "H15_W15", "H7_W7"])
def test_differs_the_mask_is_symmetric_on_every_axis(name):
    """Transposing image and strides transposes our output, and not the published one."""
    image = case(f"ds2/{name}_sy2_sx2_R4_crop0")
    x, strides = image.x.astype("float64"), (2.0, 2.0)
    turned = x.swapaxes(2, 3)
    assert distance(published_image(x, strides, image.R, image.W // 2 * 2), image.out) < CLOSE
    theirs, theirs_turned = (
        published_image(values, strides, image.R, image.W) for values in (x, turned)
    )
    options = {"smoothness": image.R, "norm": "backward", "crop": False}
    ours, ours_turned = (ss.diffstride(values, strides, **options) for values in (x, turned))
    assert distance(theirs_turned, theirs.swapaxes(2, 3)) > 0.05
    assert distance(ours_turned, ours.swapaxes(2, 3)) < 1e-14
    assert distance(ours, theirs) > 0.05


def test_differs_an_odd_size_is_kept_when_nothing_is_cropped():
    """The published layer gives N - 1 samples of the same signal, ours gives N."""
    row = case("ds1/H1_W17_sy1_sx1_R6_crop0")
    assert row.out.shape[3] == 16
    for crop in (False, True):
        assert ss.diffstride(row.x, (row.sx,), crop=crop, **row.options).shape[3] == 17


def test_differs_the_default_preserves_the_mean():
    """The published amplitude grows by N/n, ours with the default norm does not."""
    row = case("ds1/H1_W64_sy1_sx3.1_R4_crop1")
    theirs = row.out.mean(axis=3) / row.x.mean(axis=3)
    ours = ss.diffstride(row.x, (row.sx,), axes=(3,), smoothness=row.R, ramp="outside")
    np.testing.assert_allclose(theirs, 64 / row.out.shape[3], rtol=1e-4)
    np.testing.assert_allclose(ours.mean(axis=3), row.x.mean(axis=3), rtol=1e-4, atol=1e-6)
    assert distance(ours * np.float32(64 / row.out.shape[3]), row.out) < CLOSE


def test_differs_the_strides_are_not_assigned_to():
    """The published layer writes its clamp into the parameter, ours leaves the array alone."""
    row = case("ds1/H1_W17_sy1_sx1_R6_crop1")
    assert row.stride_eff[1] == pytest.approx(17 / 11)
    strides = np.array([row.sx], dtype="float32")
    ss.diffstride(row.x, strides, **row.options)
    assert strides[0] == 1


@pytest.mark.parametrize("smoothness", [2, 4])
def test_differs_the_gradient_above_half_the_size_does_not_die(smoothness):
    """Above N/2 the published gradient is 0, so that the stride stays there for good."""
    row = case(f"ds1/H1_W12_sy1_sx7.5_R{smoothness}_crop0")
    assert row.stride_grad[1] == 0
    y, pullback = ss.vjp(row.x, (row.sx,), crop=False, **row.options)
    _, ds = pullback(row.g)
    _, at_bound = ss.vjp(row.x, (6.0,), crop=False, **row.options)[1](row.g)
    assert distance(y, row.out) < CLOSE
    assert ds[0] == at_bound[0]
    assert abs(ds[0]) > 0.01


def test_differs_a_ramp_as_wide_as_the_axis_is_finite():
    """R = N sets the published stride to infinity; our bounds are N/2."""
    row = case("ds1edge/H1_W16_sy1_sx4_R16_crop1")
    assert np.isinf(row.stride_eff[1])
    assert ss.stride_bounds(16, smoothness=16, ramp="outside") == (8.0, 8.0)
    y, pullback = ss.vjp(row.x, (row.sx,), **row.options)
    dx, ds = pullback(row.g)
    assert distance(y, row.out) < CLOSE
    assert distance(dx, row.gx) < CLOSE
    assert np.isfinite(ds).all()
    assert abs(ds[0]) > 0.01


def test_differs_a_ramp_wider_than_the_axis_is_clamped():
    """For R > N the published clamp N/(N - R) is negative and does nothing; ours is N/2.

    On short axes every bin passes either way.
    """
    for row in rows(wider_than_axis=True):
        y, pullback = ss.vjp(row.x, (row.sx,), **row.options, **row.canvas)
        dx, ds = pullback(row.g)
        at_bound, _ = ss.vjp(row.x, (row.W / 2,), **row.options, **row.canvas)
        np.testing.assert_array_equal(y, at_bound)
        assert np.isfinite(ds).all()
        if row.W <= 5:
            assert distance(y, row.out) < CLOSE
            assert distance(dx, row.gx) < CLOSE
    wide = case("ds1edge/H1_W16_sy1_sx1_R17_crop1")
    assert distance(ss.diffstride(wide.x, (1.0,), **wide.options), wide.out) > 0.05


def test_differs_no_smoothness_is_a_hard_crop():
    """R = 0 divides by zero in the published layer; ours is spectral pooling."""
    row = case("ds1edge/H1_W16_sy1_sx2_R0_crop1")
    assert (row.status, row.error[:17]) == ("error", "ZeroDivisionError")
    x = stored()["x/2x3x1x16"]
    expected = ss.spectral_pool(x, (8,), norm="backward")
    assert distance(ss.diffstride(x, (2.0,), **row.options), expected) < CLOSE


def test_differs_an_axis_of_one_sample_is_left_alone():
    """W = 1 fails in the published layer's FFT."""
    row = case("ds1edge/H1_W1_sy1_sx1.5_R4_crop1")
    assert row.status == "error"
    x = np.ones((2, 3, 1, 1), dtype="float32")
    np.testing.assert_array_equal(ss.diffstride(x, (row.sx,), **row.options), x)


def measured():
    """How far the published numbers are from ours, in the words of docs/differences.md."""
    found = []
    apart = []
    for size in (16, 14, 15, 7):
        image = case(f"ds2/H{size}_W{size}_sy2_sx2_R4_crop0")
        x = image.x.astype("float64")
        options = {"smoothness": image.R, "ramp": "outside", "norm": "backward", "crop": False}
        ours = ss.diffstride(x, (2.0, 2.0), **options)
        apart.append(distance(ours, published_image(x, (2.0, 2.0), image.R, image.W)))
    even, odd = apart[:2], apart[2:]
    found.append(f"{min(even):.2f} to {max(even):.2f} of the largest entry apart on 16 and 14")
    found.append(f"{odd[0]:.2f} and {odd[1]:.2f} on 15 and 7")
    row = case("ds1/H1_W17_sy1_sx1_R6_crop0")
    found.append(f"{row.out.shape[3]} samples in place of {row.W}")
    row = case("ds1/H1_W64_sy1_sx3.1_R4_crop1")
    found.append(f"by {row.out.mean() / row.x.mean():.2f} from 64 samples onto {row.out.shape[3]}")
    row = case("ds1/H1_W17_sy1_sx1_R6_crop1")
    found.append(f"1 becomes {row.stride_eff[1]:.2f} on 17 samples with smoothness 6")
    slopes = []
    for smoothness in (2, 4):
        row = case(f"ds1/H1_W12_sy1_sx7.5_R{smoothness}_crop0")
        _, pullback = ss.vjp(row.x, (row.sx,), crop=False, **row.options)
        slopes.append(float(pullback(row.g)[1][0]))
    found.append("0 in place of {:.2f} and {:.2f} (smoothness 2 and 4)".format(*slopes))
    row = case("ds1edge/H1_W16_sy1_sx1_R17_crop1")
    far = distance(ss.diffstride(row.x, (1.0,), **row.options), row.out)
    found.append(f"with smoothness 17 on 16 samples outputs are {far:.2f} of the largest entry")
    return found


def test_the_page_says_how_large_the_differences_are():
    page = (DATA.parents[1] / "docs" / "differences.md").read_text(encoding="utf-8")
    for words in measured():
        assert words in page, words


def test_the_page_says_how_near_we_are():
    """The agreement that docs/differences.md tells, on all cases that it counts."""
    page = (DATA.parents[1] / "docs" / "differences.md").read_text(encoding="utf-8")
    chosen = rows()
    assert f"Held against {len(chosen)} cases" in page
    assert "further from it\nthan a millionth of its largest entry" in page
    assert "than 3 millionths" in page
    for row in chosen:
        y, pullback = ss.vjp(
            row.x, np.asarray([row.sx], dtype="float32"), **row.options, **row.canvas
        )
        dx, ds = pullback(row.g)
        assert max(distance(y, row.out), distance(dx, row.gx)) < 1e-6
        slope = row.stride_grad[1]
        assert abs(ds[0] - slope) < 3e-6 * max(1, abs(slope))
