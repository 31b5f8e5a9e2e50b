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
