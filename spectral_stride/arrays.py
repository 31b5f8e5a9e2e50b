"""What arrives from outside: arrays of any library, checked and brought to working precision."""

from typing import Any

from array_api_compat import array_namespace, device, is_array_api_obj

from spectral_stride import checks
from spectral_stride.plan import Plan, PlanOptions, host_numbers, in_range, make_plan

# The standard has no type for "an array of any library", nor for dtypes and namespaces.
Array = Any
Namespace = Any
DType = Any


def namespace_of(name: str, x: Array) -> Namespace:
    """Return the array namespace of ``x``, refusing what is no real floating-point array."""
    if not is_array_api_obj(x):
        checks.no_array(name, x)
    xp = array_namespace(x)
    allowed = [kind for kind in checks.DTYPES if hasattr(xp, kind)]
    if not any(x.dtype == getattr(xp, kind) for kind in allowed):
        checks.dtype(name, x.dtype, allowed)
    checks.known_sizes(name, tuple(x.shape))
    return xp


def is_half(xp: Namespace, dtype: DType) -> bool:
    """Whether ``dtype`` is a 16-bit float."""
    return bool(dtype != xp.float32 and dtype != xp.float64)


def working_dtype(xp: Namespace, dtype: DType) -> DType:
    """The dtype of masks, matrices and stride gradients: that of x, but at least float32."""
    return xp.float32 if is_half(xp, dtype) else dtype


def cast(x: Array, dtype: DType) -> Array:
    """Return ``x`` in ``dtype``: itself where it already is."""
    return x if x.dtype == dtype else array_namespace(x).astype(x, dtype)


def is_chunked(x: Array) -> bool:
    """Whether a library such as dask holds ``x`` in chunks."""
    return hasattr(x, "chunks")


def whole(small: Array) -> Array:
    """Return a mask or a matrix in one chunk, whatever size of chunk its library prefers."""
    return small.rechunk(-1) if is_chunked(small) else small


def bind(
    x: Array, strides: Any, plan: Plan | None, options: PlanOptions
) -> tuple[Namespace, Array, Plan]:
    """Settle one call: the namespace, the strides as an array in working precision, and the plan.

    Without a plan the strides are read on the host. With one, an array of strides is not: it may be
    traced.
    """
    xp = namespace_of("x", x)
    shape = tuple(x.shape)
    if plan is None:
        plan = make_plan(shape, host_numbers("strides", strides, options), **options)
    else:
        checks.is_plan(plan, Plan)
        checks.plan_alone(list(options))
        checks.plan_fits(plan.shape, plan.axes, shape)
    checks.one_chunk("x", x, plan.axes)
    vector = stride_vector(xp, x, "strides", strides, plan)
    return xp, vector, plan


def stride_vector(xp: Namespace, x: Array, name: str, values: Any, plan: Plan) -> Array:
    """Strides, or their tangent, as an array of shape (len(axes),) like x, in working precision."""
    dtype = working_dtype(xp, x.dtype)
    if is_array_api_obj(values) and array_namespace(values) is xp:
        checks.stride_array(name, tuple(values.shape), values.dtype)
        checks.stride_count(name, values.shape[0], plan.axes)
        return cast(values, dtype)
    numbers = host_numbers(name, values)
    checks.stride_count(name, len(numbers), plan.axes)
    if name == "strides":
        checks.strides(numbers)
        numbers = in_range(numbers)
    return xp.asarray(list(numbers), dtype=dtype, device=device(x))
