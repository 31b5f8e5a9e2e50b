"""spectral_stride for JAX: functions, and layers for Flax NNX.

The functions need JAX alone. Flax is imported when a layer is first asked for.
"""

from typing import TYPE_CHECKING, Any

from spectral_stride import checks

with checks.needed("spectral_stride.jax", "jax", extra="jax"):
    from spectral_stride.jax.functional import diffstride, spectral_pool, spectral_resize

if TYPE_CHECKING:
    from spectral_stride.jax.layers import DiffStride, SpectralPool, SpectralUp
    from spectral_stride.jax.sizes import replan

__all__ = [
    "DiffStride",
    "SpectralPool",
    "SpectralUp",
    "diffstride",
    "replan",
    "spectral_pool",
    "spectral_resize",
]


def __getattr__(name: str) -> Any:
    """Import what needs Flax when it is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with checks.needed(name, "flax", extra="jax"):
        import spectral_stride.jax.layers as layers
        import spectral_stride.jax.sizes as sizes
    return getattr(sizes if name == "replan" else layers, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
