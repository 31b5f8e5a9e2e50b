"""What arrives from outside: arrays of any library, checked and brought to working precision."""

from types import ModuleType
from typing import Any

import array_api_compat

from spectral_stride import checks

# The standard has no type for "an array of any library", nor for dtypes and namespaces.
Array = Any
Namespace = Any
DType = Any

# Of the types that an adapter names here the namespace is known. Of others array_api_compat finds
# it, with caches, of each of which a compiler that traces it would warn.
NAMESPACES: dict[type, Namespace] = {}


def array_namespace(x: Array) -> Namespace:
    """Return the library of an array, as the standard would have it."""
    return NAMESPACES.get(type(x)) or array_api_compat.array_namespace(x)


def device(x: Array) -> Any:
    """Return where an array lies."""
    return x.device if type(x) in NAMESPACES else array_api_compat.device(x)


def is_array(x: Any) -> bool:
    """Whether a library that is known, or follows the standard, made ``x``."""
    return type(x) in NAMESPACES or (array_api_compat.is_array_api_obj(x) and not names_arrays(x))


def names_arrays(x: Any) -> bool:
    """Whether ``x`` is a class or a module: of arrays they have the attributes, and no values."""
    return isinstance(x, type | ModuleType)


def is_numpy(x: Any) -> bool:
    """Whether NumPy made ``x``."""
    return type(x) not in NAMESPACES and array_api_compat.is_numpy_array(x)


def namespace_of(name: str, x: Array) -> Namespace:
    """Return the array namespace of ``x``, refusing what is no real floating-point array."""
    if not is_array(x):
        checks.no_array(name, x)
    check_every_entry(name, x)
    xp = array_namespace(x)
    allowed = [kind for kind in checks.DTYPES if hasattr(xp, kind)]
    if not any(x.dtype == getattr(xp, kind) for kind in allowed):
        checks.dtype(name, x.dtype, allowed)
    checks.known_sizes(name, tuple(x.shape))
    if is_chunked(x) and hasattr(x, "spec") and x.spec != xp.asarray(0.0).spec:
        checks.own_spec(name, xp.__name__)
    return xp


def is_masked(x: Array) -> bool:
    """Whether ``x`` can mark entries as missing, as `numpy.ma` does, and dask of such chunks."""
    mask = getattr(getattr(x, "_meta", x), "mask", None)
    return mask is not None and not callable(mask)  # a table has a method of that name


def check_every_entry(name: str, x: Array) -> None:
    """Refuse an array that leaves entries out: masked, sparse, or of rows of several lengths."""
    if type(x) not in NAMESPACES and array_api_compat.is_pydata_sparse_array(x):
        checks.no_array(name, x)
    if is_masked(x):
        checks.masked(name, x)
    if getattr(x, "is_nested", False):
        checks.not_dense(name, "nested")
    layout = str(getattr(x, "layout", "torch.strided"))
    if layout.startswith("torch.") and layout != "torch.strided":
        checks.not_dense(name, layout.removeprefix("torch.").lstrip("_"))


def has_no_values(x: Array) -> bool:
    """Whether ``x`` has a shape alone, as on torch's device meta."""
    return getattr(x, "is_meta", False) is True


def is_half(xp: Namespace, dtype: DType) -> bool:
    """Whether ``dtype`` is a 16-bit float."""
    return bool(dtype != xp.float32 and dtype != xp.float64)


def working_dtype(xp: Namespace, dtype: DType) -> DType:
    """The dtype of masks, matrices and stride gradients: that of x, but at least float32."""
    return xp.float32 if is_half(xp, dtype) else dtype


def as_complex(x: Array) -> Array:
    """Return real numbers as complex ones, which not every library does to multiply by such."""
    xp = array_namespace(x)
    return xp.astype(x, xp.complex128 if x.dtype == xp.float64 else xp.complex64)


def cast(x: Array, dtype: DType) -> Array:
    """Return ``x`` in ``dtype``: itself where it already is."""
    return x if x.dtype == dtype else array_namespace(x).astype(x, dtype)


def is_chunked(x: Array) -> bool:
    """Whether a library such as dask computes ``x`` chunk by chunk.

    Not where chunks are how memory is laid out, which no function sees.
    """
    return hasattr(x, "rechunk")


def in_one_chunk(small: Array) -> Array:
    """Return a mask or a matrix in one chunk, whatever size of chunk its library prefers."""
    return small.rechunk(-1) if is_chunked(small) else small
