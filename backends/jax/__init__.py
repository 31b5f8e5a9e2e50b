"""spectral_stride for JAX: functions, and layers for Flax NNX.

The functions need JAX alone. Flax is imported when a layer is first asked for.
"""

from typing import TYPE_CHECKING, Any

from spectral_stride.jax.functional import diffstride, spectral_pool

if TYPE_CHECKING:
    from spectral_stride.jax.layers import DiffStride, SpectralPool
    from spectral_stride.jax.sizes import replan

__all__ = ["DiffStride", "SpectralPool", "diffstride", "replan", "spectral_pool"]


def __getattr__(name: str) -> Any:
    """Import what needs Flax when it is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import spectral_stride.jax.layers as layers
        import spectral_stride.jax.sizes as sizes
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "flax":
            raise
        raise ImportError(
            f"{name}: got no Flax ({error}); allowed: the functions, which need JAX alone; "
            "instead: pip install 'spectral-stride[jax]'"
        ) from error
    return getattr(sizes if name == "replan" else layers, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
