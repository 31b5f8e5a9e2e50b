"""Layers and what is done to networks: right ones against the oracle, others held to the form.

What each argument of a layer means is not read a second time here, as it is of functions: with
something odd among them a call may answer, or refuse in one line of got, allowed, instead.
"""

import random
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from spectral_stride.testing import known, oracles
from spectral_stride.testing.cases import cases, no_canvas
from spectral_stride.testing.properties import Claim
from tests.fuzz import meaning
from tests.fuzz.calls import Rounding, check, shown
from tests.fuzz.odd_values import odd
from tests.fuzz.running import Fault, Target
from tests.nonsense import FORM, nonsense

# Calls with something odd, for each that is right.
SPOILED = 10
# What PyTorch says of sizes that no machine has memory for, and of a network that takes other
# images than the one it is run on: neither is wrong.
NOT_WRONG = re.compile(
    "memory|overflow|Storage size|too large|out of range|expected input", re.IGNORECASE
)
TORCH = known.load("spectral_stride.torch")
torch = known.load("torch")


@dataclass(frozen=True)
class Thing:
    """A public name: its right arguments, made anew for each call, and what is then done with it.

    ``use`` is called with what it has returned. ``positional`` are arguments without a name.
    """

    name: str
    arguments: Callable[[], dict[str, Any]]
    use: Callable[[Any], Any] = lambda made: None
    share: float = 0.5
    positional: tuple[str, ...] = ()


def image(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def small():
    """A network with one place that can be converted."""
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3, stride=2, padding=1), torch.nn.BatchNorm2d(2), torch.nn.ReLU()
    )


def learned():
    """A network with a learned stride."""
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3, padding=1), TORCH.DiffStride(1.5), torch.nn.ReLU()
    )


def runs(*shape):
    """Run forward and backward on an image."""

    def use(net):
        out = net(image(*shape).requires_grad_())
        sum(one.sum() for one in (out if isinstance(out, tuple) else (out,))).backward()

    return use


def network(places, *shape):
    strides = (1, *[2] * (places - 1))
    words = {"num_classes": 3, "width": 1, "strides": strides, "downsampling": "diffstride"}
    return lambda: {**words, "smoothness": 4.0, "hard": False}


def things_of_torch():
    resnet = {"channels": (2, 2), "blocks": 1, "strides": (1, 2), "num_classes": (2, 3)}
    resnet |= {"in_channels": 1, "downsampling": "spectral", "block": "basic", "stem": "small"}
    layer = {"strides": (2.0, 1.5), "smoothness": 4.0, "ramp": "inside", "norm": "forward"}
    layer |= {"shared": False, "trainable": True, "lower": None, "upper": None, "crop": True}
    layer |= {"multiple_of": 1, "ndim": 2, "axes": None, "method": "auto", "hard": False}
    conv = {"in_channels": 2, "out_channels": 4, "kernel_size": 3, "strides": 2.0, "padding": 1}
    conv |= {"dilation": 1, "groups": 1, "bias": True, "padding_mode": "zeros", "hard": False}
    sampled = lambda: {"network": small(), "sample": image(1, 1, 12, 12)}  # noqa: E731
    chosen = lambda: sampled() | {"include": None, "exclude": None, "hard": True}  # noqa: E731
    frozen = lambda: sampled() | {"network": learned()}  # noqa: E731
    rates = {"lr": 0.1, "weight_decay": 0.0, "stride_lr": None}
    budget = {"target": 0.8, "steps": 4, "cost": "macs", "begin": "present", "shared": True}
    budget |= {"settle_at": 0.5, "rate": None}
    on_image, on_module = runs(2, 1, 16, 16), lambda: {"module": learned()}
    return [
        Thing("DiffStride", lambda: dict(layer), runs(2, 3, 9, 12), 2.0),
        Thing("DiffStrideConv2d", lambda: dict(conv), runs(2, 2, 9, 12), 2.0),
        Thing(
            "SpectralPool",
            lambda: {"strides": 2.0, "out_sizes": None, "norm": "forward", "ndim": 2}
            | {"axes": None, "method": "auto"},
            lambda made: made(image(2, 3, 9, 12)),
        ),
        Thing(
            "SpectralUp",
            lambda: {"norm": "forward", "axes": None, "method": "auto"},
            lambda made: made(image(2, 3, 5, 6), image(2, 1, 9, 12)),
        ),
        Thing(
            "LogMel",
            lambda: {"sample_rate": 8000, "bands": 8, "window": 0.025, "hop": 0.01},
            lambda made: made(image(2, 800)),
        ),
        Thing("ResNet", lambda: dict(resnet), on_image),
        Thing("resnet18", network(5), runs(2, 3, 32, 32)),
        Thing("resnet56", network(4)),
        Thing("resnet18_imagenet", network(6)),
        Thing("resnet50", network(6)),
        Thing("efficientnet_b0", network(5)),
        Thing("audio_net", lambda: network(6)() | {"sample_rate": 8000, "bands": 8}),
        Thing("conversion", chosen),
        Thing("convert", chosen, on_image),
        Thing("freeze", frozen, lambda made: made(image(1, 1, 12, 12))),
        Thing("recalibrate", lambda: {"network": small(), "batches": [image(4, 1, 8, 8)]}),
        Thing("hold_sizes", on_module),
        Thing("release_sizes", on_module),
        Thing("project_strides", on_module),
        Thing("param_groups", lambda: {"model": learned()} | rates),
        Thing("MacBudget", lambda: {"model": learned(), "sample": image(1, 1, 12, 12)} | budget),
    ]  # fmt: skip


def things_of_jax():
    jax = known.load("spectral_stride.jax")
    x = known.namespace("jax").ones((2, 8, 8, 1))
    layer = {"strides": 2.0, "smoothness": 4.0, "ramp": "inside", "norm": "forward", "crop": True}
    layer |= {"shared": False, "lower": None, "upper": None, "multiple_of": 1, "axes": None}
    return [
        Thing("DiffStride", lambda: dict(layer), lambda made: made(x)),
        Thing(
            "SpectralPool",
            lambda: {"strides": 2.0, "out_sizes": None, "norm": "forward", "method": "auto"},
            lambda made: made(x),
        ),
        Thing(
            "SpectralUp",
            lambda: {"norm": "forward", "axes": None, "method": "auto"},
            lambda made: made(x, x),
        ),
        Thing(
            "replan",
            lambda: {"model": jax.DiffStride(2.0), "x": x},
            positional=("model", "x"),
        ),
    ]


def loosely(package, functions, thing):
    """Make a target: the right arguments answer, odd ones answer or are refused."""

    def call(given, counts, is_right=False):
        counts["calls"] += 1
        try:
            with warnings.catch_warnings(action="ignore"):
                rest = dict(given)
                first = [rest.pop(name) for name in thing.positional]
                found = getattr(functions, thing.name)(*first, **rest)
                thing.use(found)
        except (TypeError, ValueError) as error:
            if type(error) not in (TypeError, ValueError) or not FORM.fullmatch(str(error)):
                raise Fault(
                    f"no line of got, allowed, instead: {error!r}\n{shown(given)}"
                ) from error
            if is_right:
                raise Fault(f"a right call is refused: {error}\n{shown(given)}") from error
            counts["refused"] += 1
        except Exception as error:
            if is_right or not NOT_WRONG.search(str(error)):
                raise Fault(f"{error!r}\n{shown(given)}") from error

    def try_one(data, counts):
        rng, drawn = random.Random(data.draw(st.integers(0, 2**32))), data.draw(nonsense())
        call(thing.arguments(), counts, is_right=True)
        for _ in range(SPOILED):
            given = thing.arguments()
            name = rng.choice([*given, *given, *(() if thing.positional else ("other",))])
            given[name] = odd(rng, given.get(name), drawn)
            call(given, counts)

    return Target(f"{package}: {thing.name}", try_one, thing.share)


# --- Right layers, exactly -----------------------------------------------------------------------


@st.composite
def layer_cases(draw):
    """A case on the last axes, behind a batch, with strides that a layer may begin with."""
    count = draw(st.integers(1, 2))
    shape = (draw(st.sampled_from((2, 1, 0))), *draw(st.permutations((8, 5, 13, 1, 9)))[:count])
    axes = tuple(range(1, count + 1))
    case = draw(cases(shape=shape, axes=axes, canvas=no_canvas))
    return replace(case, strides=tuple(max(1.0, one) for one in case.strides))


def exactly(data, counts):
    """`DiffStride` and its gradients, against dense matrices."""
    case = data.draw(layer_cases())
    options = {name: one for name, one in case.options.items() if name != "axes"}
    dtype = getattr(torch, case.dtype)
    layer = TORCH.DiffStride(case.strides, dtype=dtype, **options)
    x, g = case.values(case.shape), case.values(case.out_shape, 1)
    leaf = torch.asarray(case.laid_out(x), dtype=dtype).requires_grad_()
    counts["calls"] += 1
    y = layer(leaf)
    dx, ds = torch.autograd.grad(y, [leaf, layer.strides], torch.asarray(g, dtype=dtype))
    check(claims_of(case, x, g, (y.detach(), dx, ds)), {"case": case}, counts)


def claims_of(case, x, g, found):
    y, dx, ds = found
    A, slopes = case.matrices()
    atol = Rounding(case, 1.0).of_values()
    yield Claim("y", y, oracles.apply(A, x, case.axes), atol)
    yield Claim("dx", dx, oracles.apply([one.T for one in A], g, case.axes), atol)
    # A stride that is out of bounds gets no gradient that pushes it further out.
    bounds = [
        oracles.bounds(n, case.smoothness, case.ramp) if n > 1 else (1, 1) for n in case.sizes
    ]
    is_inside = all(
        max(1, low) < one < high for one, (low, high) in zip(case.strides, bounds, strict=True)
    )
    if is_inside and meaning.is_exact(case):
        expected = oracles.stride_gradient(A, slopes, x, g, case.axes)
        yield Claim("dstrides", ds, expected, case.stride_atol(x, g))


def convolved(data, counts):
    """`DiffStrideConv2d`, against a convolution at stride 1 and dense matrices, in float64."""
    case = data.draw(layer_cases())
    kernel, padding = data.draw(st.integers(1, 3)), data.draw(st.integers(0, 2))
    groups, dilation = data.draw(st.sampled_from((1, 2))), data.draw(st.integers(1, 2))
    strides = (case.strides * 2)[:2]
    options = {
        name: getattr(case, name) for name in ("smoothness", "ramp", "norm", "method", "hard")
    }
    torch.manual_seed(case.seed)
    layer = TORCH.DiffStrideConv2d(
        2, 4, kernel, strides, padding, dilation, groups, dtype=torch.float64, **options
    )
    x = torch.rand(2, 2, 7, 10, dtype=torch.float64)
    counts["calls"] += 1
    y = layer(x)
    plain = torch.nn.functional.conv2d(
        x, layer.weight, layer.bias, 1, padding, dilation, groups
    ).detach().numpy()  # fmt: skip
    one = replace(case, shape=plain.shape, axes=(2, 3), strides=strides, canvas={}, dtype="float64")
    expected = oracles.apply(one.matrices()[0], plain, one.axes)
    atol = 8 * Rounding(one, max(1.0, np.abs(plain).max())).of_values()
    check(iter([Claim("y", y.detach(), expected, atol)]), {"case": one, "layer": layer}, counts)


def targets():
    """All that is no function of arrays."""
    jax = known.load("spectral_stride.jax")
    return [
        Target("spectral_stride.torch: DiffStride, exactly", exactly),
        Target("spectral_stride.torch: DiffStrideConv2d, exactly", convolved),
        *(loosely("spectral_stride.torch", TORCH, one) for one in things_of_torch()),
        *(loosely("spectral_stride.jax", jax, one) for one in things_of_jax()),
    ]
