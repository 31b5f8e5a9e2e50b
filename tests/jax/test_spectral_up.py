"""SpectralUp for Flax NNX: back to exactly the sizes that another layer has shrunk."""

import numpy as np
import pytest

from tests.libraries import load

jax = load("jax")
nnx = load("flax.nnx")
jnp = jax.numpy
from spectral_stride.jax import (  # noqa: E402  # after the skip
    DiffStride,
    SpectralPool,
    SpectralUp,
    replan,
    spectral_resize,
)

SIZES = [(33, 30), (34, 31), (33, 30)]


class Net(nnx.Module):
    """One layer down, and the way back up."""

    def __init__(self, down):
        self.down, self.up = down, SpectralUp()

    def __call__(self, x):
        return self.up(jnp.tanh(self.down(x)), like=self.down)


def image(*sizes):
    return jnp.asarray(np.random.default_rng(0).normal(size=(2, *sizes, 3)))


@pytest.mark.parametrize("make", [lambda: DiffStride(2.3), lambda: SpectralPool(2.3)])
def test_up_restores_the_sizes_that_down_saw(make):
    """Eagerly and abstractly, and wherever the strides have moved."""
    net = Net(make())
    assert [net(image(*sizes)).shape[1:3] for sizes in SIZES] == SIZES
    if isinstance(net.down, DiffStride):
        net.down.strides[...] += 0.9
        assert replan(net, image(33, 30))
    shapes = [jax.eval_shape(net, image(*sizes)).shape[1:3] for sizes in SIZES]
    assert shapes == SIZES
    y = net.down(image(33, 30))
    np.testing.assert_array_equal(
        net.up(y, like=net.down), spectral_resize(y, (33, 30), axes=(1, 2))
    )


def test_a_step_compiles_once_for_each_size():
    """What a layer has seen is nothing that a compiled step depends on; gradients pass."""
    net, traces = Net(DiffStride(2.3)), []

    @nnx.jit
    def step(net, x):
        traces.append(x.shape)
        return nnx.grad(lambda net: (net(x) ** 2).sum())(net)

    for sizes in SIZES:
        assert np.all(np.isfinite(step(net, image(*sizes)).down.strides[...]))
        net(image(*sizes))
    assert len(traces) == 2


def test_a_layer_in_a_transform_of_its_own_is_refused():
    """Its code ran while it was traced, and will not at the next call."""
    down, up = DiffStride(2.0), SpectralUp()
    x = image(9, 8)
    inside = jax.jit(lambda x: down(x))
    y = inside(x)
    with pytest.raises(ValueError, match=r"^SpectralUp: like: got a DiffStride of which no .*=x"):
        up(y, like=down)
    assert up(y, like=x).shape == x.shape
    down(x)
    assert up(y, like=down).shape == x.shape
    with pytest.raises(ValueError, match="like: got a DiffStride of which no forward pass"):
        jax.jit(lambda y: up(y, like=down))(y)


def test_an_array_stands_for_its_sizes():
    y = image(8, 9)
    assert SpectralUp()(y, like=jnp.ones((1, 33, 30, 7))).shape == (2, 33, 30, 3)
    assert SpectralUp(axes=(1,))(y, like=jnp.ones((1, 33, 30, 7))).shape == (2, 33, 9, 3)
    with pytest.raises(TypeError, match=r"^SpectralUp: like: got int"):
        SpectralUp()(y, like=3)
    with pytest.raises(TypeError, match=r"^SpectralUp: like: got type"):
        SpectralUp()(y, like=np.ndarray)
    with pytest.raises(ValueError, match=r"^SpectralUp: norm: got 'l2'"):
        SpectralUp("l2")
