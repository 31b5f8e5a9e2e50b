"""Arrays sharded over their batch: the same numbers, and no gathering of activations."""

import os
import subprocess
import sys
from pathlib import Path

from tests.libraries import load

load("jax")

EIGHT_DEVICES = """
import sys
from functools import partial
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
import spectral_stride as core
from spectral_stride.jax import diffstride

assert len(jax.devices()) == 8
mesh = Mesh(np.array(jax.devices()), ("batch",))
over_batch, everywhere = NamedSharding(mesh, P("batch")), NamedSharding(mesh, P())
shape, strides = (16, 12, 10, 3), (2.2, 1.7)
draw = np.random.default_rng(0).normal
x = jnp.asarray(draw(size=shape), dtype="float32")
s = jnp.array(strides)


def everything(resample, x, s, g):
    y, pullback = jax.vjp(resample, x, s)
    return y, *pullback(g)


def check(method, way):
    plan = core.make_plan(shape, strides, axes=(1, 2), smoothness=2.0, method=method)
    g = jnp.asarray(draw(size=plan.out_shape), dtype="float32")
    alone = resample = partial(diffstride, plan=plan)
    if way == "mapped":
        resample = jax.shard_map(
            resample, mesh=mesh, in_specs=(P("batch"), P()), out_specs=P("batch")
        )
    expected = jax.jit(partial(everything, alone))(x, s, g)
    arguments = [jax.device_put(x, over_batch), jax.device_put(s, everywhere)]
    arguments.append(jax.device_put(g, over_batch))
    function = jax.jit(partial(everything, resample)).lower(*arguments).compile()
    text = function.as_text()
    found = function(*arguments)
    for got, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
    y, dx, ds = found
    assert y.sharding.is_equivalent_to(over_batch, y.ndim), y.sharding
    assert dx.sharding.is_equivalent_to(over_batch, dx.ndim), dx.sharding
    for operation in ("all-gather", "all-to-all", "collective-permute"):
        assert operation not in text, operation
    assert "all-reduce" in text  # of the strides' gradient: each device has a part of the batch


for way in sys.argv[1:]:
    check(*way.split("-"))
    print(end=f"{way} ", flush=True)

# The search above finds what it looks for.
x = jax.device_put(x, over_batch)
gathered = jax.jit(lambda x: x + 0, out_shardings=everywhere).lower(x).compile()
assert "all-gather" in gathered.as_text()
"""


# XLA gathers what an FFT is applied to, whatever it is sharded over (openxla/xla #24, jax #15680),
# so the FFT form is mapped over the shards by hand.
WAYS = "matmul-plain", "fft-mapped"


def test_batches_stay_on_their_devices():
    """Over 8 devices value and both gradients are those of one, without an all-gather.

    In an interpreter of its own: the number of devices is set before JAX starts.
    """
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", EIGHT_DEVICES, *WAYS],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert tuple(done.stdout.split()) == WAYS
