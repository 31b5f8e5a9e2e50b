"""ndonnx traces the core into an ONNX model whose strides are an input; onnxruntime runs it."""

import numpy as np
import pytest

import spectral_stride as ss
from tests.core.test_errors import check, refusal
from tests.libraries import load

ndx = load("ndonnx")
onnxruntime = load("onnxruntime")


def draw(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype("float32")


def session(inputs, outputs):
    """What has been traced, in onnxruntime."""
    return onnxruntime.InferenceSession(ndx.build(inputs, outputs).SerializeToString())


@pytest.mark.parametrize(
    "options",
    [{}, pytest.param({"ramp": "outside", "norm": "backward"}, marks=pytest.mark.long)],
    ids=str,
)
def test_one_model_serves_every_stride_of_its_plan_and_every_batch(options):
    """Values and both gradients are NumPy's, at strides that the model was not traced with."""
    plan = ss.make_plan((1, 1, 12, 13), (2.0, 2.5), **options)
    x = ndx.argument(shape=("batch", 3, 12, 13), dtype=ndx.float32)
    g = ndx.argument(shape=("batch", 3, *plan.out_sizes), dtype=ndx.float32)
    strides = ndx.argument(shape=(2,), dtype=ndx.float32)
    y, pullback = ss.vjp(x, strides, plan=plan)
    dx, dstrides = pullback(g)
    run = session({"x": x, "strides": strides, "g": g}, {"y": y, "dx": dx, "dstrides": dstrides})
    for batch, chosen in ((2, (2.0, 2.5)), (5, (2.25, 3.5))):
        values, back = draw(batch, 3, 12, 13), draw(batch, 3, *plan.out_sizes)
        feed = {"x": values, "strides": np.asarray(chosen, "float32"), "g": back}
        wanted, wanted_pullback = ss.vjp(values.astype("float64"), chosen, plan=plan)
        for found, expected in zip(
            run.run(None, feed), [wanted, *wanted_pullback(back.astype("float64"))], strict=True
        ):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "axes",
    [(1,), *(pytest.param(pair, marks=pytest.mark.long) for pair in ((0, 1), (1, 2)))],
    ids=str,
)
def test_axes_that_are_not_the_last_ones_and_sizes_that_come_with_the_values(axes):
    """No reshape counts entries of axes whose sizes no model knows."""
    values, rank = draw(12, 13, 14, 2), len(axes)
    free = tuple(size if axis in axes else f"n{axis}" for axis, size in enumerate(values.shape))
    plan = ss.make_plan(values.shape, (2.0, 2.5)[:rank], axes=axes)

    def outputs(x):
        return {
            "diffstride": ss.diffstride(x, (2.25, 3.0)[:rank], plan=plan),
            "spectral_resize": ss.spectral_resize(x, (25, 6)[:rank], axes=axes),
        }

    x = ndx.argument(shape=free, dtype=ndx.float32)
    expected = outputs(values.astype("float64"))
    found = session({"x": x}, outputs(x)).run([*expected], {"x": values})
    for one, other in zip(found, expected.values(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_a_cotangent_of_another_shape_is_refused_while_the_model_is_traced():
    """The sizes of the plan are known, and a size that is not known may come to any."""
    plan = ss.make_plan((1, 12), (2.0,))
    x = ndx.argument(shape=("batch", 12), dtype=ndx.float32)
    _, pullback = ss.vjp(x, (2.0,), plan=plan)
    for shape in (("batch", 7), ("batch",), ("batch", 1, 6)):
        refused = refusal(ValueError, pullback, ndx.argument(shape=shape, dtype=ndx.float32))
        check(refused, "g", str(shape).replace("'batch'", "None"), "(None, 6)", "pass g of shape")
    dx, _ = pullback(ndx.argument(shape=("rows", 6), dtype=ndx.float32))
    assert dx.ndim == 2


def test_a_shape_that_is_not_known_is_told_to_be_planned():
    """The remedy is no word for what was written."""
    x = ndx.argument(shape=("batch", 12), dtype=ndx.float32)
    for call in (lambda: ss.diffstride(x, (2.0,)), lambda: ss.make_plan(x.shape, (2.0,))):
        refused = refusal(ValueError, call)
        check(refused, "shape", "(None, 12)", "of integers", "a number for each None, and pass pl")


def test_strides_without_a_plan_are_refused():
    """Sizes follow strides, which a model that is traced does not know yet."""
    x = ndx.argument(shape=(3, 12), dtype=ndx.float32)
    strides = ndx.argument(shape=(1,), dtype=ndx.float32)
    with pytest.raises(TypeError, match=r"whose values cannot be read now.*instead: make the plan"):
        ss.diffstride(x, strides)
