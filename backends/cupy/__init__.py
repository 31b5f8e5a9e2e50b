"""spectral_stride for CuPy: the functions of the core, on the GPU."""

from spectral_stride.cupy.functional import diffstride, jvp, spectral_pool, spectral_resize, vjp

__all__ = ["diffstride", "jvp", "spectral_pool", "spectral_resize", "vjp"]
