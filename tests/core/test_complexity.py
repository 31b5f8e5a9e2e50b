"""The paper's penalty on what a network's strides cost."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spectral_stride as ss
from tests.libraries import Backend, assert_array, load, to_numpy

NETWORKS = st.lists(st.lists(st.floats(1, 8), min_size=1, max_size=3), min_size=1, max_size=5)


def plain_loop(layers):
    """sum_l prod_{i <= l} 1/(S_1^i S_2^i ...)."""
    total = 0.0
    for last in range(len(layers)):
        term = 1.0
        for layer in layers[: last + 1]:
            for stride in layer:
                term /= stride
        total += term
    return total


def slopes(layers):
    """Its derivative in every stride: each term falls by its own size over the stride."""
    terms = [
        plain_loop(layers[: last + 1]) - plain_loop(layers[:last]) for last in range(len(layers))
    ]
    return [
        [-sum(terms[position:]) / stride for stride in layer]
        for position, layer in enumerate(layers)
    ]


@given(NETWORKS)
def test_complexity_of_numbers_is_a_float(layers):
    """The sum over layers of the product of all strides so far, inverted."""
    found = ss.complexity(layers)
    assert type(found) is float
    assert found == pytest.approx(plain_loop(layers), rel=1e-13)


def test_complexity_of_arrays_is_an_array(xp):
    """Of shape (), of the strides' library and dtype; layers may differ in their number of axes."""
    layers = [[2.0, 1.5], [3.0], [1.25, 2.0, 2.0]]
    arrays = [xp.asarray(layer, "float32") for layer in layers]
    assert_array(ss.complexity(arrays), plain_loop(layers), like=arrays[0], atol=1e-6)


def test_arrays_of_two_precisions_cost_in_the_wider_one(xp):
    layers = [xp.asarray([2.0], "float32"), xp.asarray([3.0], "float64")]
    assert_array(ss.complexity(layers), plain_loop([[2.0], [3.0]]), like=layers[1], atol=1e-15)


def test_layers_may_come_from_an_iterator_and_mix_numbers_with_arrays(xp):
    """A fixed layer beside learned ones."""
    layers = ([2.0, 2.0], xp.asarray([3.0]), (4.0,))
    found = ss.complexity(iter(layers))
    assert_array(found, plain_loop([[2.0, 2.0], [3.0], [4.0]]), like=layers[1], atol=1e-15)


@given(NETWORKS)
def test_torch_differentiates_the_complexity(layers):
    """Every stride has a gradient, the first layers' the largest share."""
    torch = load("torch")
    leaves = [torch.tensor(layer, dtype=torch.float64, requires_grad=True) for layer in layers]
    ss.complexity(leaves).backward()
    for leaf, expected in zip(leaves, slopes(layers), strict=True):
        np.testing.assert_allclose(to_numpy(leaf.grad), expected, rtol=1e-9, atol=1e-13)


def test_jax_differentiates_the_complexity():
    """Traced strides are not read."""
    jax = load("jax")
    layers = [[2.0, 1.5], [3.0, 1.0]]
    arrays = [Backend.JAX.asarray(layer) for layer in layers]
    found = jax.jit(jax.grad(ss.complexity))(arrays)
    for gradient, expected in zip(found, slopes(layers), strict=True):
        np.testing.assert_allclose(to_numpy(gradient), expected, rtol=1e-13, atol=0)


def test_nothing_is_left_to_promotion():
    """Integers count as numbers do, and of several dtypes the cost has the widest."""
    jax = load("jax")
    whole, single, half = (
        Backend.JAX.asarray([2, 2], dtype) for dtype in ("int32", "float32", "float16")
    )
    with jax.numpy_dtype_promotion("strict"):
        for layers, dtype in (
            ([whole, (2.0, 2)], None),
            ([whole, half], "float16"),
            ([half, whole, single], "float32"),
            ([single, np.asarray([2.0, 2.0])], "float32"),
        ):
            found = jax.eval_shape(lambda layers=layers: ss.complexity(layers))
            assert found.shape == ()
            assert dtype in (None, found.dtype)
        assert float(ss.complexity([whole, half])) == 0.3125
    with pytest.raises(TypeError, match=r"strides_per_layer: got .* and .*; allowed: arrays of"):
        ss.complexity([single, Backend.TORCH.asarray([2.0])])


def test_the_product_of_many_integers_does_not_wrap_around():
    large = np.full(2, 2**33, dtype="int64")
    assert ss.complexity([large]) == 2.0**-66


def test_arrays_warn_of_nothing():
    """Their values are not read: a cost that no float holds is infinite."""
    for strides in ([0.0, 2.0], [1e-200, 1e-200]):
        assert ss.complexity([np.asarray(strides)]) == np.inf
    assert ss.complexity([(2.0,), np.asarray([1e200, 1e200])]) == 0.5
