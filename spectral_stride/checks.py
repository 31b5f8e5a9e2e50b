"""What a caller did wrong: each refusal says what was got, what is allowed, what to write."""

import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from numbers import Real
from typing import Any, NoReturn

RAMPS = ("outside", "inside")
NORMS = ("forward", "ortho", "backward")
METHODS = ("auto", "matmul", "fft")
POSITIVE = "finite numbers above 0 (input samples per output sample)"
DTYPES = ("float16", "bfloat16", "float32", "float64")

# Widths of the ramp, in bins, between which both R and its slope 1/R are numbers for float32.
NARROWEST_RAMP, WIDEST_RAMP = 1e-6, 1e9


def refuse(kind: type[Exception], name: str, got: object, allowed: str, remedy: str) -> NoReturn:
    """Raise ``kind`` with the message "name: got ...; allowed: ...; instead: ..."."""
    raise kind(f"{name}: got {got}; allowed: {allowed}; instead: {remedy}")


@contextmanager
def named(who: str) -> Iterator[None]:
    """Put the name of a layer in front of what is refused inside."""
    try:
        yield
    except (TypeError, ValueError) as error:
        # Frameworks' own errors are subclasses, which may not take a message alone.
        if type(error) not in (TypeError, ValueError) or str(error).startswith(f"{who}: "):
            raise
        raise type(error)(f"{who}: {error}") from error


def one_of(name: str, value: object, choices: Sequence[str]) -> None:
    """Refuse a word that is not among ``choices``."""
    if value not in choices:
        allowed = ", ".join(repr(choice) for choice in choices)
        near = get_close_matches(str(value).lower(), choices, 1) or choices
        refuse(ValueError, name, repr(value), allowed, f"write {name}={near[0]!r}")


def words(name: str, values: Any, choices: Sequence[str]) -> list[Any]:
    """Return a collection of words as a list, refusing a single word and an empty collection."""
    found = [] if isinstance(values, str) or not hasattr(values, "__iter__") else list(values)
    if not found:
        allowed = f"a sequence of one or more of {', '.join(repr(choice) for choice in choices)}"
        refuse(ValueError, name, repr(values), allowed, f"write {name}=[{choices[0]!r}]")
    return found


def is_callable(name: str, value: object) -> None:
    """Refuse what is no function."""
    if not callable(value):
        remedy = f"pass a function as {name}; the docstring says what it takes and returns"
        refuse(TypeError, name, f"{value!r} ({type(value).__name__})", "a function", remedy)


def real_number(value: Any) -> float:
    """Return a real number as a float: NaN for what is none, infinity for what is too large."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def positive_integer(name: str, value: Any, remedy: str | None = None) -> int:
    """Return ``value`` as an int, or refuse what is no integer above zero."""
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1 or isinstance(value, bool):
        refuse(
            ValueError, name, repr(value), "an integer of at least 1", remedy or f"write {name}=1"
        )
    return number


def smoothness(value: Any) -> float:
    """Return the ramp's width in bins as a float, or refuse it."""
    number = real_number(value)
    if number != 0.0 and not NARROWEST_RAMP <= number <= WIDEST_RAMP:
        refuse(
            ValueError,
            "smoothness",
            repr(value),
            f"a finite number of DFT bins: 0 (hard crop), or {NARROWEST_RAMP:g} to {WIDEST_RAMP:g}",
            "write smoothness=4.0, or smoothness=0 for spectral pooling",
        )
    return number


def shape(value: Any) -> tuple[int, ...]:
    """Return an array's shape as integers, or refuse it."""
    try:
        found = tuple(operator.index(size) for size in value)
    except TypeError:
        found = (-1,)
    if any(size < 0 for size in found):
        remedy = "write x.shape"
        got = "an array" if hasattr(value, "shape") else repr(value)
        refuse(ValueError, "shape", got, "a sequence of integers of at least 0", remedy)
    return found


def axes(
    value: Any, count: int, ndim: int, name: str = "strides", example: float = 2.0
) -> tuple[int, ...]:
    """Return ``count`` distinct axes of an ``ndim``-dimensional array, each as 0 .. ndim-1.

    ``name`` is the argument that has one entry, such as ``example``, for each of them.
    """
    noun = name.removesuffix("s").replace("_", " ")
    if ndim == 0:
        refuse(
            ValueError, "x", "shape ()", "at least one dimension", "pass an array such as x[None]"
        )
    if count == 0:
        remedy = f"write {name}=({example},) for the last axis"
        refuse(ValueError, name, f"no {noun} at all", f"one {noun} per axis, 1 or more", remedy)
    if count > ndim:
        refuse(
            ValueError,
            name,
            f"{count} {name} for an array with {ndim} dimensions",
            f"at most one per dimension, so 1 to {ndim}",
            f"write {name}={(example,) * ndim} or pass an array with more dimensions",
        )
    if value is None:
        return tuple(range(ndim - count, ndim))
    remedy = f"write axes={tuple(range(-count, 0))} for the last axes"
    try:
        given = tuple(operator.index(axis) for axis in value)
    except TypeError:
        refuse(TypeError, "axes", repr(value), "None or a sequence of integers", remedy)
    if len(given) != count:
        refuse(
            ValueError,
            name,
            f"{count} for {len(given)} axes {given}",
            f"one {noun} per axis",
            f"write {name}={(example,) * len(given)} or name {count} axes",
        )
    if any(not -ndim <= axis < ndim for axis in given):
        refuse(ValueError, "axes", given, f"integers from {-ndim} to {ndim - 1}", remedy)
    found = tuple(axis % ndim for axis in given)
    if len(set(found)) < count:
        refuse(
            ValueError, "axes", f"{given}, the same axis twice", "each axis at most once", remedy
        )
    return found


def spectral_sizes(shape: tuple[int, ...], planned: tuple[int, ...]) -> None:
    """Refuse an axis without samples: it has no spectrum. Empty batch axes are fine."""
    for axis in planned:
        if shape[axis] == 0:
            refuse(
                ValueError,
                "x",
                f"shape {shape} with an empty axis {axis}",
                "at least 1 sample along every axis that is resampled",
                "name other axes, or drop the empty input before the call",
            )


def strides(values: Sequence[float]) -> None:
    """Refuse strides that are no finite positive number of input samples per output sample."""
    for position, value in enumerate(values):
        if not (math.isfinite(value) and value > 0.0):
            refuse(
                ValueError,
                "strides",
                f"{value} at position {position}",
                POSITIVE,
                "write a stride of at least 1, for example 2.0",
            )


def numbers(name: str, values: Any, remedy: str | None = None) -> tuple[float, ...]:
    """Return a sequence of Python or NumPy numbers as floats, or refuse it."""
    remedy = remedy or f"write {name}=(2.0, 2.0), or one array of shape (len(axes),)"
    if isinstance(values, str) or not isinstance(values, Sequence):
        allowed = "a sequence of numbers or a one-dimensional real array, one per axis"
        refuse(TypeError, name, f"{values!r} ({type(values).__name__})", allowed, remedy)
    for position, value in enumerate(values):
        if not isinstance(value, Real) or isinstance(value, bool):
            refuse(
                TypeError,
                name,
                f"{type(value).__name__} at position {position} of a {type(values).__name__}",
                "real numbers; arrays inside a sequence would lose their gradient",
                remedy,
            )
    return tuple(real_number(value) for value in values)


def stride_array(
    name: str, shape: tuple[int, ...], dtype: object, remedy: str | None = None
) -> None:
    """Refuse an array of strides that is not one-dimensional, or not of real numbers."""
    if not any(kind in str(dtype) for kind in ("float", "int")):
        allowed = "real numbers, best in a floating-point dtype"
        instead = remedy or f"write {name}=(2.0, 2.0), or one array of shape (len(axes),)"
        refuse(TypeError, name, f"dtype {dtype}", allowed, instead)
    if len(shape) != 1:
        one = f"repeat a scalar once per axis, for example {name}=(2.0, 2.0)"
        many = f"pass one stride per axis, for example {name}=(2.0, 2.0)"
        refuse(
            ValueError,
            name,
            f"an array of shape {shape}",
            "shape (len(axes),): one number per axis",
            remedy or (many if shape else one),
        )


def stride_count(name: str, count: int, planned: tuple[int, ...]) -> None:
    """Refuse a number of strides that differs from the plan's number of axes."""
    if count != len(planned):
        refuse(
            ValueError,
            name,
            f"{count} for a plan over {len(planned)} axes {planned}",
            "one number per planned axis",
            f"pass {len(planned)} of them, or make a plan for {count}",
        )


def stride_number(value: Any) -> float:
    """Return the stride of one axis as a float, or refuse it."""
    remedy = "write stride=2.0, or another number of at least 1"
    if not isinstance(value, Real) or isinstance(value, bool):
        allowed = "a number or an array of shape ()"
        refuse(TypeError, "stride", f"{value!r} ({type(value).__name__})", allowed, remedy)
    number = float(value)
    if not (math.isfinite(number) and number > 0.0):
        refuse(ValueError, "stride", number, POSITIVE, remedy)
    return number


def stride_scalar(shape: tuple[int, ...]) -> None:
    """Refuse an array that holds more than the stride of one axis."""
    if shape != ():
        remedy = "pass one element, for example strides[0]"
        refuse(ValueError, "stride", f"an array of shape {shape}", "a number or shape ()", remedy)


def unreadable_strides(name: str, error: Exception, options: Mapping[str, Any] | None) -> NoReturn:
    """Refuse strides that cannot be read as numbers, for example inside of `jax.jit`.

    ``options`` are the caller's, and go into the call of `make_plan` that is proposed.
    """
    given = "".join(f", {option}={value!r}" for option, value in (options or {}).items())
    with_all = "" if given else " with all the options of this call"
    refuse(
        TypeError,
        name,
        f"an array whose values cannot be read now ({type(error).__name__})",
        "concrete numbers, or traced strides together with a plan made from concrete ones",
        f"make the plan outside the traced function, plan = make_plan(x.shape, (2.0, 2.0){given})"
        f"{with_all}, then call with plan=plan alone",
    )


def dtype(name: str, got: object, allowed: Sequence[str]) -> NoReturn:
    """Refuse an array that is not real floating point."""
    refuse(
        TypeError,
        name,
        f"dtype {got}",
        f"real floating point ({', '.join(allowed)})",
        f"convert it first: xp.astype({name}, xp.float32), or {name}.float() in torch",
    )


def masked(name: str, got: object) -> NoReturn:
    """Refuse an array with missing entries: each would take part in every sample of the output."""
    refuse(
        TypeError,
        name,
        f"a masked array ({type(got).__name__})",
        "an array whose entries are all there",
        f"fill in what is missing first, for example by {name}.filled(value)",
    )


def no_array(name: str, got: object) -> NoReturn:
    """Refuse what is no array of a known library."""
    refuse(
        TypeError,
        name,
        type(got).__name__,
        "an array of a library that follows the Python array API standard",
        f"convert it first, for example {name} = numpy.asarray({name}, dtype='float32')",
    )


def known_sizes(name: str, shape: tuple[Any, ...]) -> None:
    """Refuse an array whose library does not know its sizes yet, which it then calls NaN."""
    if any(isinstance(size, float) for size in shape):
        refuse(
            ValueError,
            name,
            f"shape {shape}, with sizes that are not known before {name} is computed",
            "an array whose sizes are known",
            f"write {name} = {name}.compute_chunk_sizes(), which computes it once",
        )


def one_chunk(name: str, x: Any, axes: Sequence[int]) -> None:
    """Refuse a chunked array that is split along an axis whose spectrum is to be taken."""
    split = [axis for axis in axes if len(x.chunks[axis]) > 1] if hasattr(x, "chunks") else []
    if split:
        refuse(
            ValueError,
            name,
            ", ".join(f"{len(x.chunks[axis])} chunks along axis {axis}" for axis in split),
            "one chunk along every axis that is resampled, any chunks along the others",
            f"write {name} = {name}.rechunk({dict.fromkeys(split, -1)})",
        )


def half_fft(got: object, error: Exception) -> NoReturn:
    """Refuse an FFT in half precision where the array library has none."""
    raise TypeError(
        f"method: got 'fft' for {got} at a size whose FFT this array library lacks ({error}); "
        "allowed: 'fft' for float32 and float64, and 'matmul' or 'auto' for every dtype; "
        "instead: write method='auto', or convert x to float32"
    ) from error


def out_size(axis: int, got: int, least: int, most: int, why: str, also: str = "") -> int:
    """Return one output size, or refuse a canvas that is too small or too large."""
    if not least <= got <= most:
        refuse(
            ValueError,
            "out_sizes",
            f"{got} for axis {axis}",
            f"{least} to {most} ({why})",
            f"write {least} for the smallest output{also}",
        )
    return got


def sizes(name: str, got: Any, count: int | None = None) -> tuple[int, ...]:
    """Return a sequence of sizes as integers, or refuse it; ``count`` is how many there must be."""
    values = None if isinstance(got, str) or not hasattr(got, "__iter__") else tuple(got)
    if not values or (count is not None and len(values) != count):
        allowed = "a sequence of integers" if count is None else f"a sequence of {count} integers"
        refuse(ValueError, name, repr(got), allowed, f"write {name}={(16,) * (count or 2)}")
    remedy = f"write {name}={(16,) * len(values)}"
    return tuple(positive_integer(name, value, remedy) for value in values)


def out_sizes_uncropped() -> NoReturn:
    """Refuse output sizes where nothing is to be cropped."""
    refuse(
        ValueError,
        "out_sizes",
        "out_sizes together with crop=False",
        "one of the two: crop=False keeps the input's sizes",
        "leave out_sizes=None, or write crop=True",
    )


def out_sizes_multiple() -> NoReturn:
    """Refuse to round sizes that are given."""
    refuse(
        ValueError,
        "out_sizes",
        "out_sizes together with multiple_of",
        "one of the two: multiple_of rounds the sizes that the strides give",
        "leave multiple_of=1, or out_sizes=None",
    )


def is_plan(value: Any, kind: type) -> None:
    """Refuse what is no plan."""
    if not isinstance(value, kind):
        remedy = "write plan=make_plan(x.shape, strides), or leave it out"
        refuse(TypeError, "plan", f"{value!r} ({type(value).__name__})", "a Plan", remedy)


def same_library(name: str, got: object, same: bool) -> None:
    """Refuse an array of another library than x's."""
    if not same:
        allowed, remedy = "an array of x's library", f"convert {name} first"
        refuse(TypeError, name, type(got).__name__, allowed, remedy)


def plan_fits(planned: tuple[int, ...], axes_: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Refuse an array whose rank or spectral sizes differ from the plan's (batch sizes may)."""
    if len(planned) != len(shape) or any(planned[axis] != shape[axis] for axis in axes_):
        refuse(
            ValueError,
            "plan",
            f"a plan for shape {planned} and an array of shape {shape}",
            f"an array with {len(planned)} dimensions and the plan's sizes along axes {axes_}",
            f"make_plan({shape}, strides, ...)",
        )


def plan_alone(options: Sequence[str]) -> None:
    """Refuse options beside a plan: the plan has settled them already."""
    if options:
        refuse(
            TypeError,
            "plan",
            f"a plan together with {', '.join(sorted(options))}",
            "either a plan, or the arguments of make_plan",
            "give these arguments to make_plan and pass only plan=",
        )


def same_shape(name: str, got: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """Refuse a tangent or cotangent whose shape is not that of what it belongs to."""
    if got != wanted:
        remedy = f"pass {name} of shape {wanted}"
        refuse(ValueError, name, f"shape {got}", f"shape {wanted}", remedy)


def integer_strides(values: Sequence[float]) -> None:
    """Refuse fractional strides where a convolution takes them."""
    if any(value != int(value) for value in values):
        refuse(
            ValueError,
            "strides",
            f"{tuple(values)} for a strided convolution",
            "whole numbers",
            "write downsampling='diffstride' or 'spectral' for fractional strides",
        )
