"""The implementations that this library brings: its core on every array library, and its adapters.

Array libraries are optional, and imported when an implementation is asked for. One that is not
installed, or that lacks its hardware, is `UnavailableError` with the reason.
"""

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import array_api_compat
import numpy as np

import spectral_stride as ss
from spectral_stride.testing.cases import METHODS
from spectral_stride.testing.implementation import Array, Implementation

# What is left of the methods where a library lacks the FFT, an extension of the standard.
WITHOUT_FFT = tuple(method for method in METHODS if method != "fft")


class UnavailableError(Exception):
    """An implementation that cannot run here; the message says why."""


def load(name: str) -> Any:
    """Import an array library, or say that it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UnavailableError(f"{name} is not installed") from error


@lru_cache
def namespace(name: str) -> Any:
    """A library's array namespace, set up for tests.

    JAX gets 64 bits, the strict one is strict, and cubed computes in this thread.
    """
    library = load(name)
    if name == "jax":
        library.config.update("jax_enable_x64", True)
        library = library.numpy
    if name == "array_api_strict":
        library.set_array_api_strict_flags(
            boolean_indexing=False, data_dependent_shapes=False, enabled_extensions=("fft",)
        )
    if name == "dask":
        library = load("dask.array")
    if name == "cubed":
        library.config.set({"spec.executor_name": "single-threaded"})
    return array_api_compat.array_namespace(library.zeros(1))


def make_array(xp: Any, values: Any, dtype: str, **where: Any) -> Array:
    """An array of a library. NumPy's are read-only: whoever writes to an input is caught."""
    array = xp.asarray(values, dtype=getattr(xp, dtype), **where)
    if xp is namespace("numpy"):
        array = array.view()  # a copy would lie in memory in another way
        array.setflags(write=False)
    return array


def core_on(name: str) -> Implementation:
    """The core on arrays of one library."""
    xp = namespace(name)

    def asarray(values: Any, dtype: str) -> Array:
        return make_array(xp, values, dtype)

    return Implementation(
        name,
        asarray,
        ss.diffstride,
        ss.vjp,
        ss.jvp,
        # onnxruntime has no cosine in float64: ndonnx takes it in float32, and warns.
        dtypes=("float32",) if name == "ndonnx" else ("float64", "float32"),
        has_views=name not in ("jax", "dask", "cubed", "ndonnx"),
        resize=ss.spectral_resize,
        methods=METHODS if hasattr(xp, "fft") else WITHOUT_FFT,
    )


def _flat_vjp(x: Array, strides: Array, g: Array, plan: ss.Plan) -> tuple[Array, ...]:
    y, pullback = ss.vjp(x, strides, plan=plan)
    return y, *pullback(g)


@lru_cache
def jitted(function: Callable[..., Any], static: tuple[str, ...] = ("plan",)) -> Callable[..., Any]:
    """The function under ``jax.jit``, with what decides sizes as constants."""
    compiled: Callable[..., Any] = load("jax").jit(function, static_argnames=static)
    return compiled


def resized_by(function: Callable[..., Any]) -> Callable[..., Array]:
    """`spectral_stride.spectral_resize`, or an adapter's, under ``jax.jit``."""
    compiled = jitted(function, ("sizes", "axes", "norm", "method"))
    return lambda x, sizes, **options: compiled(x, sizes=sizes, **options)


def planned(x: Array, strides: Any, options: dict[str, Any]) -> ss.Plan:
    """The plan of a call, made on the host before anything is traced."""
    return options.get("plan") or ss.make_plan(x.shape, strides, **options)


def core_under_jit() -> Implementation:
    """The core compiled by ``jax.jit``."""
    core = core_on("jax")

    def forward(x: Array, strides: Array, **options: Any) -> Array:
        return jitted(ss.diffstride)(x, strides, plan=planned(x, strides, options))

    def vjp(x: Array, strides: Array, **options: Any) -> tuple[Array, Callable[..., Any]]:
        plan = planned(x, strides, options)
        y = jitted(ss.diffstride)(x, strides, plan=plan)
        return y, lambda g: jitted(_flat_vjp)(x, strides, g, plan=plan)[1:]

    def jvp(x: Array, strides: Array, dx: Array, ds: Array, **options: Any) -> Any:
        return jitted(ss.jvp)(x, strides, dx, ds, plan=planned(x, strides, options))

    resize = resized_by(ss.spectral_resize)
    return replace(core, forward=forward, vjp=vjp, jvp=jvp, few_sizes=True, resize=resize)


def torch_adapter(device: str = "cpu") -> Implementation:
    """`spectral_stride.torch` under PyTorch's autograd and forward mode."""
    torch, adapter = load("torch"), load("spectral_stride.torch")
    if device == "cuda" and not torch.cuda.is_available():
        raise UnavailableError("PyTorch finds no CUDA device")

    def asarray(values: Any, dtype: str) -> Array:
        return torch.asarray(np.asarray(values), dtype=getattr(torch, dtype), device=device)

    def vjp(x: Array, strides: Array, **options: Any) -> tuple[Array, Callable[..., Any]]:
        leaves = [tensor.detach().requires_grad_() for tensor in (x, strides)]
        y = adapter.diffstride(*leaves, **options)
        return y, lambda g: torch.autograd.grad(y, leaves, g, retain_graph=True)

    def jvp(x: Array, strides: Array, dx: Array, ds: Array, **options: Any) -> Any:
        options = {"plan": planned(x, strides, options)}  # torch.func shows no value to the host
        forward = lambda *arrays: adapter.diffstride(*arrays, **options)  # noqa: E731
        return torch.func.jvp(forward, (x, strides), (dx, ds))

    name = "spectral_stride.torch" + (f" on {device}" if device != "cpu" else "")
    return Implementation(
        name, asarray, adapter.diffstride, vjp, jvp, resize=adapter.spectral_resize
    )


def jax_adapter(kind: str = "cpu") -> Implementation:
    """`spectral_stride.jax` under JAX's own derivatives, compiled."""
    jax, adapter = load("jax"), load("spectral_stride.jax")
    xp = namespace("jax")
    try:
        device = jax.devices(kind)[0]
    except RuntimeError as error:
        raise UnavailableError(f"JAX finds no {kind} device") from error

    def asarray(values: Any, dtype: str) -> Array:
        return jax.device_put(make_array(xp, values, dtype), device)

    def flat_vjp(x: Array, strides: Array, g: Array, plan: ss.Plan) -> Any:
        y, pullback = jax.vjp(lambda *arrays: adapter.diffstride(*arrays, plan=plan), x, strides)
        return y, *pullback(g)

    def flat_jvp(x: Array, strides: Array, dx: Array, ds: Array, plan: ss.Plan) -> Any:
        forward = lambda *arrays: adapter.diffstride(*arrays, plan=plan)  # noqa: E731
        return jax.jvp(forward, (x, strides), (dx, ds))

    def in_full(function: Callable[..., Any]) -> Callable[..., Any]:
        """The function with products in full float32: a GPU's are in TF32 unless JAX is told."""

        def call(*arguments: Any, **options: Any) -> Any:
            with jax.default_matmul_precision("highest"):
                return function(*arguments, **options)

        return call

    forward = in_full(adapter.diffstride)
    run_forward, run_vjp, run_jvp = (
        in_full(jitted(function)) for function in (adapter.diffstride, flat_vjp, flat_jvp)
    )

    def vjp(x: Array, strides: Array, **options: Any) -> tuple[Array, Callable[..., Any]]:
        plan = planned(x, strides, options)
        y = run_forward(x, strides, plan=plan)
        return y, lambda g: run_vjp(x, strides, g, plan=plan)[1:]

    def jvp(x: Array, strides: Array, dx: Array, ds: Array, **options: Any) -> Any:
        return run_jvp(x, strides, dx, ds, plan=planned(x, strides, options))

    name = "spectral_stride.jax" + (f" on {kind}" if kind != "cpu" else "")
    return Implementation(
        name,
        asarray,
        forward,
        vjp,
        jvp,
        few_sizes=True,
        has_views=False,
        resize=in_full(resized_by(adapter.spectral_resize)),
    )


def cupy_adapter() -> Implementation:
    """`spectral_stride.cupy` on its GPU."""
    cupy = load("cupy")
    if not cupy.is_available():
        raise UnavailableError("CuPy finds no CUDA device")
    adapter = load("spectral_stride.cupy")

    def asarray(values: Any, dtype: str) -> Array:
        return cupy.asarray(values, dtype=dtype)

    return Implementation(
        "spectral_stride.cupy",
        asarray,
        adapter.diffstride,
        adapter.vjp,
        adapter.jvp,
        resize=adapter.spectral_resize,
    )


@dataclass(frozen=True)
class Known:
    """An implementation that can be asked for.

    Attributes
    ----------
    name : str
        What it is called.
    make : callable
        Returns it, or raises `UnavailableError`.
    share : float
        How many of the asked examples it is run on: fewer where each of them is slow.
    is_gpu : bool
        Whether it runs on a GPU.
    """

    name: str
    make: Callable[[], Implementation]
    share: float
    is_gpu: bool = False

    def __str__(self) -> str:
        return self.name

    def load(self) -> Implementation:
        """The implementation, under this name."""
        return replace(self.make(), name=self.name)


KNOWN = (
    Known("numpy", lambda: core_on("numpy"), 1.0),
    Known("array_api_strict", lambda: core_on("array_api_strict"), 0.4),
    Known("torch", lambda: core_on("torch"), 0.5),
    Known("jax", lambda: replace(core_on("jax"), few_sizes=True), 0.1),
    Known("jax.jit", core_under_jit, 0.1),
    Known("dask", lambda: core_on("dask"), 0.1),
    Known("cubed", lambda: core_on("cubed"), 0.1),
    Known("ndonnx", lambda: core_on("ndonnx"), 0.1),
    Known("spectral_stride.torch", torch_adapter, 0.4),
    Known("spectral_stride.jax", jax_adapter, 0.1),
    Known("spectral_stride.torch on cuda", lambda: torch_adapter("cuda"), 0.4, is_gpu=True),
    Known("spectral_stride.jax on cuda", lambda: jax_adapter("cuda"), 0.1, is_gpu=True),
    Known("spectral_stride.cupy", cupy_adapter, 0.4, is_gpu=True),
)
