"""Train a small Flax network that learns its stride with Optax: python tests/examples/optax_loop.py

Two waves in noise are to be told apart. They lie near the Nyquist bin of the first stride, where
the layer weakens them, so that a smaller stride pays.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from spectral_stride.jax import DiffStride, replan

SAMPLES = 64


class History(NamedTuple):
    losses: list[float]
    strides: list[float]
    sizes: list[int]
    compilations: int


class Net(nnx.Module):
    def __init__(self, multiple_of, rngs):
        self.conv = nnx.Conv(1, 8, (5,), padding="CIRCULAR", rngs=rngs)
        self.down = DiffStride((3.3,), ramp="inside", multiple_of=multiple_of)
        self.head = nnx.Linear(8, 2, rngs=rngs)

    def features(self, x):
        return nnx.relu(self.down(self.conv(x)))

    def __call__(self, x):
        return self.head(self.features(x).mean(axis=1))


def draw(key, count=64):
    """Waves of 9 or 13 periods with any phase, in noise."""
    label, phase, noise = jax.random.split(key, 3)
    labels = jax.random.bernoulli(label, shape=(count,)).astype("int32")
    turns = (9 + 4 * labels[:, None]) * jnp.arange(SAMPLES) / SAMPLES
    waves = jnp.cos(2 * jnp.pi * (turns + jax.random.uniform(phase, (count, 1))))
    return (waves + jax.random.normal(noise, waves.shape) / 2)[..., None], labels


def kind_of(path, _):
    """Strides get a learning rate of their own, and no weight decay."""
    return "stride" if "strides" in jax.tree_util.keystr(path) else "weight"


def train(steps=60, multiple_of=1):
    model = Net(multiple_of, nnx.Rngs(0))
    rates = {"stride": optax.adam(0.1), "weight": optax.adamw(0.02)}
    tx = optax.partition(rates, lambda params: jax.tree_util.tree_map_with_path(kind_of, params))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    compilations = 0

    @nnx.jit
    def step(model, optimizer, x, labels):
        nonlocal compilations
        compilations += 1  # Python runs only while JAX traces, and what is traced is compiled

        def loss_of(model):
            return optax.softmax_cross_entropy_with_integer_labels(model(x), labels).mean()

        loss, gradients = nnx.value_and_grad(loss_of)(model)
        optimizer.update(model, gradients)
        return loss

    losses, strides, sizes = [], [], []
    for key in jax.random.split(jax.random.key(0), steps):
        x, labels = draw(key)
        replan(model, x)  # sizes follow the stride; nothing compiles where they stay
        sizes.append(jax.eval_shape(model.features, x).shape[1])
        losses.append(float(step(model, optimizer, x, labels)))
        strides.append(float(model.down.strides[0]))
    return History(losses, strides, sizes, compilations)


if __name__ == "__main__":
    history = train()
    for number in range(0, len(history.losses), 10):
        row = (history.losses[number], history.strides[number], history.sizes[number])
        print("step {:3d}  loss {:.3f}  stride {:.2f}  size {}".format(number, *row))
    print(f"{len(set(history.sizes))} sizes, {history.compilations} compilations")
