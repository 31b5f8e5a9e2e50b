"""dask arrays pass through the core lazily, chunk by chunk along the batch, larger than memory."""

import math
import tracemalloc

import array_api_compat
import dask
import dask.array as da
import numpy as np
import pytest

import spectral_stride as ss
from tests.core.test_errors import check, refusal

# Both ramps crop both axes.
SHAPE, CHUNKS = (5, 6, 32, 27), (3, 3, -1, -1)
STRIDES = (2.63, 3.21)
FORMS = pytest.mark.parametrize("method", ["matmul", "fft"])
RAMPS = pytest.mark.parametrize("ramp", ["outside", "inside"])


def draw(*shape, dtype="float64"):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(dtype)


@pytest.fixture
def computed():
    """Everything that is computed, one entry for each call of dask's scheduler."""
    calls = []

    def scheduler(graph, keys, **options):
        calls.append(keys)
        return dask.get(graph, keys, **options)

    with dask.config.set(scheduler=scheduler):
        yield calls


def everything(x, strides, g=None, pool=(7, 4), **options):
    """Every function of the core that takes an array, and its results by name."""
    y, pullback = ss.vjp(x, strides, **options)
    dx, dstrides = pullback(y if g is None else g)
    _, dy = ss.jvp(x, strides, x, (0.3, -2.0), **options)
    pooled = ss.spectral_pool(x, pool, axes=options.get("axes"), method=options["method"])
    resampled = ss.diffstride(x, strides, **options)
    return {"y": resampled, "vjp": y, "dx": dx, "ds": dstrides, "dy": dy, "pool": pooled}


# Every pair of options, in half of the combinations.
@pytest.mark.parametrize(
    ("method", "ramp", "dtype"),
    [
        ("matmul", "inside", "float32"),
        ("matmul", "outside", "float64"),
        ("fft", "inside", "float64"),
        ("fft", "outside", "float32"),
    ],
)
def test_lazy_and_equal_to_numpy(computed, method, ramp, dtype):
    """Nothing is computed before it is asked for; then it is what NumPy gives, in its dtype."""
    x = draw(*SHAPE, dtype=dtype)
    options = {"method": method, "ramp": ramp}
    lazy = everything(da.from_array(x, chunks=CHUNKS), STRIDES, **options)
    assert computed == []
    tolerance = 2e-5 if dtype == "float32" else 1e-12
    (values,) = dask.compute(lazy)
    assert len(computed) == 1
    for name, expected in everything(x, STRIDES, **options).items():
        got = values[name]
        assert got.dtype == lazy[name].dtype == dtype, name
        assert got.shape == lazy[name].shape, name
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance, err_msg=name)


@FORMS
@pytest.mark.parametrize(
    ("axes", "smoothness"), [((2, 3), 4.0), ((0, 2), 4.0), ((1, 0), 0.0), ((0, 3), 0.0)]
)
def test_chunks_of_the_other_axes_stay(method, axes, smoothness):
    """Every result is chunked along the batch as the input is, wherever the batch axes are."""
    chunks = tuple(-1 if axis in axes else -(-size // 2) for axis, size in enumerate(SHAPE))
    x = da.from_array(draw(*SHAPE), chunks=chunks)
    options = {"axes": axes, "ramp": "inside", "method": method, "smoothness": smoothness}
    results = everything(x, STRIDES, pool=(3, 4), **options)
    expected = everything(x.compute(), STRIDES, pool=(3, 4), **options)
    (values,) = dask.compute(results)
    del results["ds"]
    for name, result in results.items():
        for axis in range(4):
            if axis in axes:
                assert len(result.chunks[axis]) == 1, name
            else:
                assert result.chunks[axis] == x.chunks[axis], name
        np.testing.assert_allclose(values[name], expected[name], atol=1e-12, err_msg=name)


@FORMS
def test_masks_and_matrices_lie_in_one_chunk(method):
    """Also where dask is told to prefer chunks smaller than they are."""
    x = draw(2, 20, 20)
    with dask.config.set({"array.chunk-size": "64B"}):
        lazy = everything(da.from_array(x, chunks=(1, -1, -1)), STRIDES, method=method)
        expected = everything(x, STRIDES, method=method)
        (values,) = dask.compute(lazy)
        for name, result in lazy.items():
            np.testing.assert_allclose(values[name], expected[name], atol=1e-11, err_msg=name)
            assert name == "ds" or result.numblocks == (2, 1, 1)


@FORMS
@RAMPS
def test_strides_stay_lazy_with_a_plan(computed, method, ramp):
    """A dask array of strides is not read where a plan settles the sizes."""
    x = draw(*SHAPE)
    plan = ss.make_plan(SHAPE, STRIDES, method=method, ramp=ramp)
    strides = da.from_array(np.array(STRIDES))
    y, pullback = ss.vjp(da.from_array(x, chunks=CHUNKS), strides, plan=plan)
    dx, dstrides = pullback(y)
    _, dy = ss.jvp(da.from_array(x, chunks=CHUNKS), strides, None, strides, plan=plan)
    mask = ss.soft_mask(32, strides[0], ramp=ramp)
    assert computed == []
    expected, expected_pullback = ss.vjp(x, STRIDES, plan=plan)
    expected_dx, expected_dstrides = expected_pullback(expected)
    np.testing.assert_allclose(y.compute(), expected, atol=1e-13)
    np.testing.assert_allclose(dx.compute(), expected_dx, atol=1e-13)
    np.testing.assert_allclose(dstrides.compute(), expected_dstrides, rtol=1e-12)
    np.testing.assert_allclose(
        dy.compute(), ss.jvp(x, STRIDES, None, STRIDES, plan=plan)[1], atol=1e-13
    )
    np.testing.assert_allclose(mask.compute(), ss.soft_mask(32, STRIDES[0], ramp=ramp))


def test_strides_without_a_plan_are_read_and_x_is_not():
    """The sizes need the strides' values; x itself stays lazy."""

    def unreadable(block):
        raise AssertionError("x was computed")

    x = da.map_blocks(
        unreadable, da.zeros(SHAPE, chunks=CHUNKS), dtype="float64", meta=np.array(())
    )
    strides = da.from_array(np.array(STRIDES))
    y, pullback = ss.vjp(x, strides)
    assert y.shape == ss.make_plan(SHAPE, STRIDES).out_shape
    assert [part.shape for part in pullback(y)] == [SHAPE, (2,)]
    with pytest.raises(AssertionError, match="x was computed"):
        y.compute()


def test_a_cotangent_that_is_split_is_refused_by_its_name():
    x = da.from_array(draw(4, 32), chunks=(2, -1))
    y, pullback = ss.vjp(x, (2.0,))
    with pytest.raises(ValueError, match=r"^g: got 2 chunks along axis 1; .*g\.rechunk"):
        pullback(y.rechunk((2, 8)))


def test_a_hard_crop_has_a_zero_tangent_in_the_chunks_of_its_output():
    """Under dask a plain array of zeros is split as dask prefers, along any axis."""
    x = da.from_array(draw(4, 32), chunks=(2, -1))
    with dask.config.set({"array.chunk-size": "64B"}):
        y, dy = ss.jvp(x, (2.63,), None, (1.0,), smoothness=0)
    assert dy.chunks == y.chunks == ((2, 2), (13,))
    assert not dy.compute().any()


def test_an_empty_batch_and_no_batch():
    assert ss.diffstride(da.zeros((0, 32)), (2.0,)).compute().shape == (0, 16)
    long = da.zeros((0, 60000), chunks=(0, 60000))
    y, pullback = ss.vjp(long, (2.0,))
    assert y.compute().shape == (0, 30000)
    assert [one.compute().shape for one in pullback(y)] == [(0, 60000), (1,)]
    x = draw(32)
    y, pullback = ss.vjp(da.from_array(x), (2.0,))
    expected, expected_pullback = ss.vjp(x, (2.0,))
    np.testing.assert_allclose(y.compute(), expected, atol=1e-13)
    np.testing.assert_allclose(pullback(y)[1].compute(), expected_pullback(expected)[1], rtol=1e-12)


def chunked(*shape, chunks):
    return da.zeros(shape, chunks=chunks)


@pytest.mark.parametrize(
    ("chunks", "got", "remedy"),
    [
        ((2, 3, 12, -1), "3 chunks along axis 2", "x = x.rechunk({2: -1})"),
        (
            (-1, -1, 16, 20),
            "2 chunks along axis 2, 2 chunks along axis 3",
            "x = x.rechunk({2: -1, 3: -1})",
        ),
    ],
)
def test_a_split_spectral_axis_is_refused_with_the_call_that_mends_it(chunks, got, remedy):
    x = chunked(*SHAPE, chunks=chunks)
    plan = ss.make_plan(SHAPE, STRIDES)
    for call in (
        lambda x: ss.diffstride(x, STRIDES),
        lambda x: ss.diffstride(x, STRIDES, plan=plan),
        lambda x: ss.vjp(x, STRIDES),
        lambda x: ss.jvp(x, STRIDES, None, None),
        lambda x: ss.spectral_pool(x, (4, 4)),
    ):
        refused = refusal(ValueError, call, x)
        check(refused, "x", got, "one chunk along every axis that is resampled", remedy)
        names = {"x": x}
        exec(refused[-1].removeprefix("write "), names)
        call(names["x"])


def test_a_split_tangent_or_cotangent_is_refused():
    x = chunked(*SHAPE, chunks=CHUNKS)
    split = chunked(*SHAPE, chunks=(-1, -1, -1, 14))
    check(
        refusal(ValueError, ss.jvp, x, STRIDES, split, None),
        "dx", "2 chunks along axis 3", "one chunk", "dx = dx.rechunk({3: -1})",
    )  # fmt: skip
    y, pullback = ss.vjp(x, STRIDES)
    check(
        refusal(ValueError, pullback, y.rechunk({2: 2})),
        "g", f"{-(-y.shape[2] // 2)} chunks along axis 2", "one chunk", "g = g.rechunk({2: -1})",
    )  # fmt: skip
    check(
        refusal(TypeError, pullback, np.zeros(y.shape)),
        "g", "ndarray", "an array of x's library", "convert g first",
    )  # fmt: skip


def test_unknown_sizes_are_refused_with_the_call_that_mends_them():
    rows = da.from_array(draw(6, 32), chunks=(2, -1))
    x = rows[rows[:, 0] > 0]
    for call in (
        lambda: ss.diffstride(x, (2.0,)),
        lambda: ss.diffstride(x, (2.0,), plan=ss.make_plan((6, 32), (2.0,))),
        lambda: ss.spectral_pool(x, (4,)),
    ):
        refused = refusal(ValueError, call)
        check(refused, "x", "(nan, 32)", "sizes are known", "x = x.compute_chunk_sizes(), which")
    assert ss.diffstride(x.compute_chunk_sizes(), (2.0,)).shape[1] == 16


def tasks(array):
    """The tasks of an array's graph, as it is run."""
    (optimized,) = dask.optimize(array)
    return len(dict(optimized.__dask_graph__()))


@FORMS
def test_the_graph_grows_with_the_chunks_alone(method):
    """A handful of tasks for each chunk; masks and matrices are shared by all of them."""

    def graphs(count):
        x = da.zeros((count, 32, 27), chunks=(1, -1, -1))
        y, pullback = ss.vjp(x, STRIDES, method=method)
        return [tasks(part) for part in (y, *pullback(y))]

    few, many = graphs(4), graphs(8)
    for name, least, most, each in zip(("y", "dx", "ds"), few, many, (8, 16, 48), strict=True):
        assert most - least <= 4 * each, name
        assert least <= 4 * each + 250, name


def test_matrices_are_computed_once_for_all_chunks(monkeypatch):
    """The four tables of cosines behind two matrices, however many chunks they multiply."""
    xp = array_api_compat.array_namespace(da.zeros(1))
    seen = []

    def cosine(block):
        if block.size:  # dask tries every function on an empty block
            seen.append(block.shape)
        return np.cos(block)

    monkeypatch.setattr(xp, "cos", lambda angle: angle.map_blocks(cosine, dtype=angle.dtype))
    y = ss.diffstride(da.ones((6, 32, 27), chunks=(1, -1, -1)), STRIDES, method="matmul")
    assert seen == []
    y.compute(scheduler="synchronous")
    assert len(seen) == 4


@pytest.mark.parametrize("method", ["matmul", pytest.param("fft", marks=pytest.mark.long)])
def test_larger_than_memory(method):
    """A quarter GiB in chunks of 8 MiB: resampled, reduced and differentiated in a fraction of it.

    Sample i is i times one block, so one small call says what has to come out.
    """
    block = draw(1, 32, 256, 256, dtype="float32")
    levels = da.arange(1, 33, chunks=1, dtype="float32")[:, None, None, None]
    x = levels * da.from_array(block)
    assert (x.nbytes, x.numblocks) == (2**28, (32, 1, 1, 1))
    strides = (2.5, 3.1)
    tracemalloc.start()
    try:
        y, pullback = ss.vjp(x, strides, method=method, ramp="inside")
        energy = (y * y).sum(axis=(1, 2, 3)).compute(scheduler="synchronous")
        _, dstrides = pullback(y)
        dstrides = dstrides.compute(scheduler="synchronous")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < x.nbytes / 4
    expected, pullback = ss.vjp(block, strides, method=method, ramp="inside")
    squares = np.arange(1, 33) ** 2.0
    np.testing.assert_allclose(energy, np.sum(expected**2) * squares, rtol=1e-4)
    np.testing.assert_allclose(dstrides, pullback(expected)[1] * math.fsum(squares), rtol=1e-3)
