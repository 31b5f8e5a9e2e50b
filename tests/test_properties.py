"""What the operator is, whatever is drawn: properties of the forward map and of its adjoint."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import spectral_stride as ss
from tests import oracles
from tests.libraries import Backend, assert_array, to_numpy
from tests.strategies import Case, cases, for_all


def forward(xp, case, values, **changes):
    """The output for NumPy ``values``, as a float64 NumPy array."""
    options = case.options | changes
    return to_numpy(xp.diffstride(case.array(xp, values), case.strides_for(xp), **options))


@for_all()
def test_output_is_the_dense_matrix_times_the_input(xp, case):
    """y = A x along every axis, with the namespace, dtype, shape and device of x."""
    x = case.values(case.shape)
    A, _ = case.matrices()
    array = case.array(xp, x)
    y = xp.diffstride(array, case.strides_for(xp), **case.options)
    assert y.shape == case.out_shape
    assert_array(y, oracles.apply(A, x, case.axes), like=array, atol=case.atol())


@for_all()
def test_pullback_is_the_adjoint(xp, case):
    """<A x, g> = <x, A^T g>, and A^T is the transpose of the dense matrix."""
    x, g = case.values(case.shape), case.values(case.out_shape, 1)
    A, _ = case.matrices()
    array = case.array(xp, x)
    y, dx, _ = xp.vjp(array, case.strides_for(xp), case.array(xp, g), **case.options)
    transposed = oracles.apply([matrix.T for matrix in A], g, case.axes)
    assert_array(dx, transposed, like=array, atol=case.atol())
    inner = np.sum(to_numpy(y) * g), np.sum(x * to_numpy(dx))
    assert inner[0] == pytest.approx(inner[1], abs=case.atol() * (1 + np.abs(x).sum()))


@for_all(share=0.5)
def test_output_is_linear_in_the_input(xp, case):
    """A (2 x - 3 z) = 2 A x - 3 A z."""
    x, z = case.values(case.shape), case.values(case.shape, 1)
    combined = 2 * forward(xp, case, x) - 3 * forward(xp, case, z)
    atol = 6 * case.atol()
    np.testing.assert_allclose(forward(xp, case, 2 * x - 3 * z), combined, rtol=0, atol=atol)


@for_all()
def test_a_constant_is_multiplied_by_the_gain_of_the_norm(xp, case):
    """A constant keeps its value, or grows by N/n, or by the square root of that, on every axis."""
    shrinkage = np.prod(np.divide(case.sizes, case.out_sizes))
    gain = {"forward": 1.0, "ortho": np.sqrt(shrinkage), "backward": shrinkage}[case.norm]
    y = forward(xp, case, np.full(case.shape, 1.5))
    np.testing.assert_allclose(y, 1.5 * gain, rtol=0, atol=2 * case.atol())


@for_all(share=0.5)
def test_permuting_the_axes_of_the_array_permutes_those_of_the_output(xp, case):
    """The operator knows an axis by its number alone; batch axes are just left where they are."""
    order = np.random.default_rng(case.seed).permutation(len(case.shape)).tolist()
    x = case.values(case.shape)
    moved = tuple(order.index(axis) for axis in case.axes)
    y = forward(xp, case, x.transpose(order), axes=moved)
    expected = forward(xp, case, x).transpose(order)
    np.testing.assert_allclose(y, expected, rtol=0, atol=case.atol())


@for_all(share=0.5)
def test_listing_the_axes_in_another_order_changes_nothing(xp, case):
    """Axes and strides belong together, and negative axes count from the end."""
    x = case.values(case.shape)
    backwards = tuple(axis - len(case.shape) for axis in reversed(case.axes))
    changes = {"axes": backwards}
    if "out_sizes" in case.canvas:
        changes["out_sizes"] = case.out_sizes[::-1]
    y = xp.diffstride(case.array(xp, x), case.strides[::-1], **case.options | changes)
    np.testing.assert_allclose(to_numpy(y), forward(xp, case, x), rtol=0, atol=case.atol())


@for_all(share=0.5)
def test_batch_entries_do_not_see_each_other(xp, case):
    """Permuting a batch permutes its outputs: stacked inputs are resampled one by one."""
    x = np.stack([case.values(case.shape, salt) for salt in range(3)])
    axes = tuple(axis + 1 for axis in case.axes)
    y = forward(xp, case, x, axes=axes)
    permuted = forward(xp, case, x[[2, 0, 1]], axes=axes)
    np.testing.assert_allclose(permuted, y[[2, 0, 1]], rtol=0, atol=case.atol())
    np.testing.assert_allclose(forward(xp, case, x[1]), y[1], rtol=0, atol=case.atol())


def circular_flip(values, axes):
    """x[-i mod N] along each axis: sample 0 stays where it is."""
    return np.roll(np.flip(values, axes), 1, axes)


@for_all(share=0.5)
def test_a_circular_flip_of_the_input_flips_output_and_input_gradient(xp, case):
    """A F_N = F_n A with (F x)[i] = x[-i mod N]; stride gradients do not change.

    It holds to the last bin: A[j, i] is even under (j, i) -> (-j, -i), also where the imaginary
    part of bin n/2 is dropped.
    """
    x, g = case.values(case.shape), case.values(case.out_shape, 1)
    straight, flipped = (
        xp.vjp(case.array(xp, a), case.strides_for(xp), case.array(xp, b), **case.options)
        for a, b in [(x, g), (circular_flip(x, case.axes), circular_flip(g, case.axes))]
    )
    for one, other in zip(straight[:2], flipped[:2], strict=True):
        expected = circular_flip(to_numpy(one), case.axes)
        np.testing.assert_allclose(to_numpy(other), expected, rtol=0, atol=case.atol())
    atol = 2 * case.stride_atol(x, g)
    np.testing.assert_allclose(to_numpy(flipped[2]), to_numpy(straight[2]), rtol=0, atol=atol)


@for_all(share=0.5)
def test_several_axes_are_one_axis_after_another(xp, case):
    """The operator is separable: the axes may be taken one by one, the last one first."""
    x = case.values(case.shape)
    y = case.array(xp, x)
    for axis, stride, n in reversed(
        list(zip(case.axes, case.strides, case.out_sizes, strict=True))
    ):
        canvas = case.canvas if "crop" in case.canvas else {"out_sizes": (n,)}
        step = replace(case, axes=(axis,), strides=(stride,), canvas=canvas)
        y = xp.diffstride(y, step.strides, **step.options)
    np.testing.assert_allclose(to_numpy(y), forward(xp, case, x), rtol=0, atol=case.atol())


@for_all(method="auto")
def test_both_methods_agree_and_auto_is_one_of_them(xp, case):
    """FFT and matmul agree to rounding, gradients too; on one axis auto is one of the two."""
    x, g = case.values(case.shape), case.values(case.out_shape, 1)
    found = {
        method: [
            to_numpy(array)
            for array in xp.vjp(
                case.array(xp, x),
                case.strides_for(xp),
                case.array(xp, g),
                **case.options | {"method": method},
            )
        ]
        for method in ("matmul", "fft", "auto")
    }
    limits = [case.atol(), case.atol(), case.stride_atol(x, g)]
    for matmul, fft, auto, atol in zip(*found.values(), limits, strict=True):
        np.testing.assert_allclose(matmul, fft, rtol=0, atol=2 * atol)
        if len(case.axes) == 1:
            assert np.array_equal(auto, matmul) or np.array_equal(auto, fft)


@pytest.mark.parametrize(
    ("size", "stride", "ramp", "method"),
    [
        (2048, 64.0, "outside", "fft"),
        (3001, 125.5, "inside", "matmul"),
        (1021, 8.0, "inside", "fft"),
        (1021, 8.0, "outside", "matmul"),
    ],
)
def test_long_axes(xp, size, stride, ramp, method):
    """Axes of a thousand samples and more, even, odd and prime."""
    case = Case((2, size), (1,), (stride,), {}, ramp=ramp, method=method, dtype="float32")
    x, g = case.values(case.shape), case.values(case.out_shape, 1)
    array = case.array(xp, x)
    y, dx, ds = xp.vjp(array, case.strides, case.array(xp, g), **case.options)
    A, slopes = case.matrices()
    assert_array(y, x @ A[0].T, like=array, atol=case.atol())
    assert_array(dx, g @ A[0], like=array, atol=case.atol())
    expected = oracles.stride_gradient(A, slopes, x, g, case.axes)
    assert_array(ds, expected, like=array, atol=case.stride_atol(x, g))


def test_axes_whose_phases_do_not_fit_a_short_integer(xp):
    """With 40000 samples and a ramp on bins near N/2, products of bin and sample exceed 2^29."""
    size, stride = 40_000, 1.0
    rng = np.random.default_rng(0)
    x, g = rng.normal(size=(2, size))
    array = xp.asarray(x)
    y, _, ds = xp.vjp(array, (stride,), xp.asarray(g), ramp="inside", method="fft")
    X, G = np.fft.rfft(x), np.fft.rfft(g)
    level, slope = (
        np.array(found(size, stride, 4, "inside"), dtype=float)
        for found in (oracles.mask, oracles.mask_slope)
    )
    assert_array(y, np.fft.irfft(level * X, size), like=array, atol=1e-13)
    # <g, y> = 1/N sum_k w_k m_k Re(X_k conj(G_k)), and w is 1 on the last bin.
    terms = slope * np.where(np.arange(size // 2 + 1) == size // 2, 1, 2) * (X * G.conj()).real
    assert_array(ds, [terms.sum() / size], like=array, atol=1e-12 * np.abs(terms).sum() / size)


@st.composite
def wider_cases(draw, xp):
    """One axis, on a canvas with a bin to spare."""
    case = draw(cases(xp, max_axes=1, canvas=lambda *_: st.just({}), norm="forward"))
    (size,), (stride,) = case.sizes, case.strides
    kept = oracles.last_bin(size, stride, case.smoothness, case.ramp)
    assume(2 * kept + 1 <= size)
    n = draw(st.integers(2 * kept + 1, size))
    return replace(case, shape=(size,), axes=(0,), canvas={"out_sizes": (n,)})


@for_all(wider_cases)
def test_a_wider_canvas_samples_the_same_signal_more_finely(xp, case):
    """For every n' > 2 K the output is the trigonometric polynomial with spectrum m X at j/n'."""
    (size,), (stride,), (n,) = case.sizes, case.strides, case.out_sizes
    x = case.values(case.shape)
    levels = oracles.mask(size, stride, case.smoothness, case.ramp)
    expected = oracles.polynomial(x, levels, np.arange(n) / n)
    np.testing.assert_allclose(forward(xp, case, x), expected, rtol=0, atol=case.atol())


@st.composite
def held_cases(draw, xp):
    """A plan for one set of strides, called with another, which may outgrow the plan's canvas."""
    case = draw(cases(xp, max_axes=2))
    moved = tuple(
        draw(st.sampled_from([0.5, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.5])) for _ in case.strides
    )
    return case, moved


@for_all(held_cases)
def test_strides_move_inside_a_held_plan(xp, drawn):
    """The mask is found on the plan's bins; what outgrows the canvas is cut at its Nyquist bin."""
    case, moved = drawn
    x, g = case.values(case.shape), case.values(case.out_shape, 1)
    plan = ss.make_plan(case.shape, case.strides, **case.options)
    array = case.array(xp, x)
    y, dx, ds = xp.vjp(array, moved, case.array(xp, g), plan=plan)
    A, slopes = case.matrices(moved)
    assert_array(y, oracles.apply(A, x, case.axes), like=array, atol=case.atol())
    transposed = oracles.apply([matrix.T for matrix in A], g, case.axes)
    assert_array(dx, transposed, like=array, atol=case.atol())
    expected = oracles.stride_gradient(A, slopes, x, g, case.axes)
    assert_array(ds, expected, like=array, atol=case.stride_atol(x, g, moved))


def test_a_held_plan_cuts_the_bins_that_it_has_no_room_for(xp):
    """Planned for stride 8 and called with stride 1: bins up to n/2 pass, the others are gone."""
    plan = ss.make_plan((64,), (8.0,), smoothness=1, ramp="inside")
    i = np.arange(64)
    inside, outside = (xp.asarray(np.cos(2 * np.pi * k * i / 64)) for k in (3, 5))
    assert np.abs(to_numpy(xp.diffstride(inside, (1.0,), plan=plan))).max() == pytest.approx(1)
    assert np.abs(to_numpy(xp.diffstride(outside, (1.0,), plan=plan))).max() < 1e-14


@pytest.mark.parametrize("method", ["matmul", "fft"])
@pytest.mark.parametrize("ramp", ["outside", "inside"])
def test_an_axis_of_one_sample_is_left_alone(xp, ramp, method):
    """N = 1 is the identity under every stride, and its stride gradient is 0."""
    values = np.array([[0.5], [-2.0]])
    x = xp.asarray(values)
    y, dx, ds = xp.vjp(x, (7.5,), x, ramp=ramp, method=method, norm="backward")
    assert_array(y, values, like=x, atol=0)
    assert_array(dx, values, like=x, atol=0)
    assert_array(ds, [0.0], like=x, atol=0)


@for_all(share=0.5, smoothness=0, canvas=lambda *_: st.just({}))
def test_without_smoothness_the_crop_is_hard_and_the_stride_gradient_zero(xp, case):
    """R = 0 is spectral pooling to the same size, whatever the ramp."""
    x, g = case.values(case.shape), case.values(case.out_shape, 1)
    array = case.array(xp, x)
    y, _, ds = xp.vjp(array, case.strides_for(xp), case.array(xp, g), **case.options)
    assert_array(ds, np.zeros(len(case.axes)), like=array, atol=0)
    pooled = ss.spectral_pool(x, case.out_sizes, axes=case.axes, norm=case.norm)
    assert_array(y, pooled, like=array, atol=2 * case.atol())


@for_all(share=0.5, canvas=lambda *_: st.just({"crop": False}))
def test_without_crop_the_sizes_stay_and_the_mask_is_applied(xp, case):
    """crop=False multiplies the spectrum by the mask and nothing else."""
    x = case.values(case.shape)
    spectrum = x
    for axis, size, stride in zip(case.axes, case.sizes, case.strides, strict=True):
        levels = np.array(oracles.mask(size, stride, case.smoothness, case.ramp), dtype=float)
        weights = levels[np.minimum(np.arange(size), size - np.arange(size))]
        shape = [1] * x.ndim
        shape[axis] = size
        spectrum = np.fft.ifft(np.fft.fft(spectrum, axis=axis) * weights.reshape(shape), axis=axis)
    y = forward(xp, case, x)
    assert y.shape == case.shape
    np.testing.assert_allclose(y, spectrum.real, rtol=0, atol=case.atol())


@for_all(share=0.5)
def test_inputs_are_never_written_to(xp, case):
    """Forward, gradients and tangents leave every array that they are given as it was."""
    x, g = case.values(case.shape), case.values(case.out_shape, 1)
    s = np.asarray(case.strides)
    arrays = [case.array(xp, values) for values in (x, s, g, s)]
    xp.vjp(*arrays[:3], **case.options)
    xp.jvp(arrays[0], arrays[1], arrays[0], arrays[3], **case.options)
    for array, values in zip(arrays, (x, s, g, s), strict=True):
        np.testing.assert_array_equal(to_numpy(array), values)


LAYOUTS = {
    "Fortran order": np.asfortranarray,
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
    "every second sample": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "negative steps": lambda x: np.ascontiguousarray(x[:, ::-1, ::-1])[:, ::-1, ::-1],
    "zero steps": lambda x: np.broadcast_to(x[:1], x.shape),
}


@pytest.mark.parametrize("method", ["matmul", "fft"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layout_does_not_matter(layout, method):
    """Any strides in memory, and read-only arrays: the values decide."""
    x = LAYOUTS[layout](np.random.default_rng(0).normal(size=(3, 8, 9)))
    g = LAYOUTS[layout](np.random.default_rng(1).normal(size=(3, 4, 5)))
    assert not any(array.flags.c_contiguous for array in (x, g))
    x.setflags(write=False)
    options = {"ramp": "inside", "method": method}
    y, pullback = ss.vjp(x, (2.0, 2.0), **options)
    plain, plain_pullback = ss.vjp(np.ascontiguousarray(x), (2.0, 2.0), **options)
    np.testing.assert_allclose(y, plain, rtol=0, atol=1e-14)
    for one, other in zip(pullback(g), plain_pullback(np.ascontiguousarray(g)), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-13)


@pytest.mark.parametrize("method", ["matmul", "fft"])
def test_memory_layout_does_not_matter_in_torch(method):
    """Transposed and sliced tensors, which torch keeps as views."""
    values = np.random.default_rng(0).normal(size=(3, 8, 9))
    x = Backend.TORCH.asarray(np.ascontiguousarray(values.T)).permute(2, 1, 0)
    sliced = Backend.TORCH.asarray(np.repeat(values, 2, axis=-1))[..., ::2]
    expected = ss.diffstride(values, (2.0, 2.0), ramp="inside", method=method)
    for view in (x, sliced):
        assert not view.is_contiguous()
        y = ss.diffstride(view, (2.0, 2.0), ramp="inside", method=method)
        assert_array(y, expected, like=view, atol=1e-14)


@st.composite
def axis_rules(draw):
    """One axis and everything that decides its output size."""
    size = draw(st.one_of(st.integers(1, 70), st.sampled_from([1000, 2047, 4096])))
    smoothness = draw(st.one_of(st.sampled_from([0.0, 1.0, 4.0, 6.0]), grid(0, 40, 8)))
    ramp = draw(st.sampled_from(["outside", "inside"]))
    low, high = oracles.bounds(max(size, 2), smoothness, ramp)
    stride = draw(
        st.one_of(
            grid(1, 12, 16), st.integers(1, size + 1), st.sampled_from([float(low), float(high)])
        )
    )
    return size, float(stride), smoothness, ramp


def grid(low, high, parts):
    """Multiples of 1/parts: exact in floating point."""
    return st.integers(low * parts, high * parts).map(lambda number: number / parts)


@given(axis_rules(), st.integers(1, 9))
def test_sizes_follow_the_law_in_exact_arithmetic(rule, multiple_of):
    """n = min(2 K, N) outside and ceil(N/s) inside, rounded up to a multiple and at most N."""
    size, stride, smoothness, ramp = rule
    planned = ss.make_plan(
        (size,), (stride,), smoothness=smoothness, ramp=ramp, multiple_of=multiple_of
    )
    expected = oracles.out_size(size, stride, smoothness, ramp, multiple_of=multiple_of)
    assert planned.out_shape == (expected,)


@given(st.integers(2, 300), st.floats(0.5, 200), st.sampled_from([0, 1.3, 4.0]))
def test_sizes_of_any_float_stride_follow_the_law_to_rounding(size, stride, smoothness):
    """Where rounding puts a bin on the edge, the size is that of one side or the other."""
    for ramp in ("outside", "inside"):
        planned = ss.make_plan((size,), (stride,), smoothness=smoothness, ramp=ramp).out_sizes[0]
        near = [stride * (1 + sign * 4 * np.finfo(float).eps) for sign in (-1, 0, 1)]
        assert planned in {oracles.out_size(size, s, smoothness, ramp) for s in near}


@given(st.integers(2, 200), st.integers(1, 60))
def test_inside_has_the_size_of_a_strided_convolution(size, stride):
    """n = ceil(N/s) for every whole stride up to N/2."""
    n = ss.make_plan((size,), (stride,), ramp="inside").out_sizes[0]
    assert n == (len(range(0, size, stride)) if 2 * stride <= size else 2)


def test_the_sizes_that_the_published_ramp_is_known_for():
    """With R = 4, stride 2 maps 32 to 24, 16 to 16 and 8 to 8."""
    sizes = [ss.make_plan((size,), (2.0,)).out_sizes[0] for size in (32, 16, 8)]
    assert sizes == [24, 16, 8]
