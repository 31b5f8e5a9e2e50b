"""What a caller did wrong: each refusal says what was got, what is allowed, what to write."""

import inspect
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from difflib import get_close_matches
from functools import wraps
from numbers import Real
from typing import Any, NoReturn, ParamSpec, TypeVar

RAMPS = ("inside", "outside")  # the default, and the published one
NORMS = ("forward", "ortho", "backward")
METHODS = ("auto", "matmul", "fft")
POSITIVE = "finite numbers above 0 (input samples per output sample)"
DTYPES = ("float16", "bfloat16", "float32", "float64")

# Sequences of characters or bytes, whose entries are no numbers that anybody means.
TEXT = (str, bytes, bytearray, memoryview)
# Up to it a float is every integer, and N/s the quotient of the size that was given.
LARGEST_SIZE = 2**53
# Kinds of parameters that take whatever there is no other one for.
COLLECTING = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
# No array of NumPy has more dimensions.
MOST_AXES = 64

# Widths of the ramp, in bins, between which both R and its slope 1/R are numbers for float32.
NARROWEST_RAMP, WIDEST_RAMP = 1e-6, 1e9


def refuse(kind: type[Exception], name: str, got: object, allowed: str, remedy: str) -> NoReturn:
    """Raise ``kind`` with the message "name: got ...; allowed: ...; instead: ..."."""
    raise kind(f"{name}: got {got}; allowed: {allowed}; instead: {remedy}")


def shown(value: object) -> str:
    """Write a value on one line of readable length, also where it has no text of its own."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # an integer of many digits, or whatever is in a class of the caller's
        return f"one that cannot be printed ({type(value).__name__})"
    return text if len(text) <= 200 else f"{text[:120]}... ({type(value).__name__})"


def first_line(error: Exception) -> str:
    """Say what somebody else's code raised, on one line of readable length."""
    return shown((str(error).strip() or type(error).__name__).splitlines()[0])


@contextmanager
def needed(name: str, packages: str, extra: str) -> Iterator[None]:
    """Say what to install, where a module inside cannot be imported for want of these packages."""
    try:
        yield
    except ModuleNotFoundError as error:
        lacking = (error.name or "").partition(".")[0]
        if lacking not in packages.split():
            raise
        remedy = f"pip install {packages}, or pip install -e '.[{extra}]' in a checkout"
        got, allowed = f"no {lacking} ({error})", f"an environment with {packages}"
        raise ImportError(f"{name}: got {got}; allowed: {allowed}; instead: {remedy}") from error


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


P = ParamSpec("P")
R = TypeVar("R")


def known_options(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function or a layer's constructor refuse a keyword that it does not have."""
    names = _keywords(function)
    is_constructor = names[:1] == ["self"]

    @wraps(function)
    def checked(*arguments: P.args, **options: P.kwargs) -> R:
        for option, value in options.items():
            if option not in names:
                free, who = names[len(arguments) :], ""
                if is_constructor:
                    # A subclass may take more, and settle by itself what it passes on.
                    free = list(dict.fromkeys([*_keywords(type(arguments[0]).__init__)[1:], *free]))
                    who = f"{type(arguments[0]).__name__}: "
                free = [name for name in free if name not in options]
                near = get_close_matches(option, free, 1)
                remedy = f"write {near[0]}=..." if near else "leave it out"
                allowed = ", ".join(free) or "no more options"
                refuse(TypeError, f"{who}{option}", shown(value), allowed, remedy)
        return function(*arguments, **options)

    return checked


def _keywords(function: Callable[..., Any]) -> list[str]:
    """Return the names of a function's parameters, but for those that collect others."""
    parameters = inspect.signature(function).parameters.values()
    return [one.name for one in parameters if one.kind not in COLLECTING]


def one_of(name: str, value: object, choices: Sequence[str]) -> str:
    """Return a word of ``choices`` as they have it, or refuse it."""
    # Arrays are compared entry by entry, and a member of an enumeration has a hash of its own.
    if not isinstance(value, str) or value not in choices:
        allowed = ", ".join(repr(choice) for choice in choices)
        word = value.lower() if isinstance(value, str) else ""
        near = get_close_matches(word, choices, 1) or choices
        refuse(ValueError, name, shown(value), allowed, f"write {name}={near[0]!r}")
    return choices[choices.index(value)]


def truth(name: str, value: Any, default: bool) -> bool:
    """Return True or False, of Python or NumPy; refuse all that merely counts as true or false."""
    if type(value).__name__ not in ("bool", "bool_"):  # NumPy's type has these names
        got = f"{shown(value)} ({type(value).__name__})"
        refuse(TypeError, name, got, "True or False", f"write {name}={default}")
    return bool(value)


def words(name: str, values: Any, choices: Sequence[str]) -> list[Any]:
    """Return a collection of words as a list, refusing a single word and an empty collection."""
    found = [] if isinstance(values, str) or not hasattr(values, "__iter__") else list(values)
    if not found:
        allowed = f"a sequence of one or more of {', '.join(repr(choice) for choice in choices)}"
        refuse(ValueError, name, shown(values), allowed, f"write {name}=[{choices[0]!r}]")
    return found


def is_callable(name: str, value: object) -> None:
    """Refuse what is no function."""
    if not callable(value):
        remedy = f"pass a function as {name}; the docstring says what it takes and returns"
        refuse(TypeError, name, f"{shown(value)} ({type(value).__name__})", "a function", remedy)


def real_number(value: Any) -> float:
    """Return a real number as a float: NaN for what is none, or finite and beyond every float."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def positive_integer(
    name: str, value: Any, remedy: str | None = None, *, most: int = LARGEST_SIZE
) -> int:
    """Return ``value`` as an int, or refuse what is no integer from 1 to ``most``."""
    number = as_integer(value)
    if number is None or not 1 <= number <= most:
        allowed = "an integer of at least 1" + f", at most {most}" * ((number or 0) > most)
        refuse(ValueError, name, shown(value), allowed, remedy or f"write {name}=1")
    return number


def as_integer(value: Any) -> int | None:
    """Return an integer as an int, and None for what is none, such as a truth value.

    PyTorch's counts as an integer where Python asks for one.
    """
    if isinstance(value, int):  # the sizes of a compiler too, which have no attributes to ask for
        is_bool = isinstance(value, bool)
    else:
        is_bool = "bool" in str(getattr(value, "dtype", ""))
    if is_bool:
        return None
    try:
        return operator.index(value)
    except Exception:  # of an array each library has an error of its own
        return None


def entries(values: Any) -> tuple[Any, ...] | None:
    """Return what has entries in an order of their own as a tuple, and None for all else."""
    if isinstance(values, (*TEXT, Set, Mapping)):
        return None
    try:
        return tuple(values)
    except Exception:  # of an array each library has an error of its own
        return None


def integers(values: Any) -> tuple[int, ...] | None:
    """Return a sequence of integers as a tuple of int, and None for what is none."""
    given, found = entries(values), []
    if given is None:
        return None
    for one in given:
        number = as_integer(one)
        if number is None:
            return None
        found.append(number)
    return tuple(found)


def one_or_two(name: str, value: Any, least: int, example: int, words: Sequence[str] = ()) -> Any:
    """Return one integer as two, two as they are, and a word of ``words``; or refuse all else."""
    if isinstance(value, str) and value in words:
        return value
    found = integers(value) or integers((value,)) or ()
    if len(found) not in (1, 2) or not least <= min(found) <= max(found) <= LARGEST_SIZE:
        also = "".join(f", or {word!r}" for word in words)
        allowed = f"one or two integers of at least {least}{also}"
        refuse(ValueError, name, shown(value), allowed, f"write {name}={example}")
    return found * 2 if len(found) == 1 else found


def smoothness(value: Any) -> float:
    """Return the ramp's width in bins as a float, or refuse it."""
    number = real_number(value)
    if number != 0.0 and not NARROWEST_RAMP <= number <= WIDEST_RAMP:
        refuse(
            ValueError,
            "smoothness",
            shown(value),
            f"a finite number of DFT bins: 0 (hard crop), or {NARROWEST_RAMP:g} to {WIDEST_RAMP:g}",
            "write smoothness=4.0, or smoothness=0 for spectral pooling",
        )
    return number


def shape(value: Any) -> tuple[int, ...]:
    """Return an array's shape as integers, or refuse it."""
    found = integers(value)
    if found is None or not all(0 <= size <= LARGEST_SIZE for size in found):
        most = f", at most {LARGEST_SIZE}" * (max(found or (0,)) > LARGEST_SIZE)
        got = "an array" if hasattr(value, "shape") else shown(value)
        allowed, remedy = f"a sequence of integers of at least 0{most}", "write x.shape"
        if isinstance(value, tuple) and any(size is None for size in value):  # while it traces
            remedy = "make the plan of a shape with a number for each None, and pass plan="
        refuse(ValueError, "shape", got, allowed, remedy)
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
    noun_of_axes = "axis" if count == 1 else "axes"
    remedy = f"write axes={tuple(range(-count, 0))} for the last {noun_of_axes}"
    given = integers(value)
    if given is None:
        refuse(TypeError, "axes", shown(value), "None or a sequence of integers", remedy)
    if len(given) != count:
        refuse(
            ValueError,
            name,
            f"{count} for {len(given)} axes {shown(given)}",
            f"one {noun} per axis",
            f"write {name}={(example,) * len(given)} or name {count} {noun_of_axes}",
        )
    if any(not -ndim <= axis < ndim for axis in given):
        refuse(ValueError, "axes", shown(given), f"integers from {-ndim} to {ndim - 1}", remedy)
    found = tuple(axis % ndim for axis in given)
    if len(set(found)) < count:
        refuse(
            ValueError, "axes", f"{given}, the same axis twice", "each axis at most once", remedy
        )
    return found


def one_more_dimension(shape: tuple[int, ...], count: int, channels_last: bool) -> NoReturn:
    """Refuse an array that has no dimension beside the ``count`` that a layer resamples."""
    new = "x[..., None]" if channels_last else "x[None]"
    fewer = f"make the layer with ndim={len(shape) - 1}, " * (len(shape) > 1)
    refuse(
        ValueError,
        "x",
        f"shape {shape}",
        f"at least {count + 1} dimensions: {count} to resample, and a batch or channels",
        f"pass {new}, {fewer}or call diffstride or spectral_pool, which take any axes",
    )


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


def tangents(name: str, values: Sequence[float]) -> None:
    """Refuse numbers that are NaN or infinite: all that they are multiplied with would be NaN."""
    for position, value in enumerate(values):
        if not math.isfinite(value):
            got = f"{value} at position {position}"
            refuse(ValueError, name, got, "finite numbers", f"write {name}=(1.0, 1.0), or None")


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
    if isinstance(values, TEXT) or not isinstance(values, Sequence):
        allowed = "a sequence of numbers or a one-dimensional real array, one per axis"
        refuse(TypeError, name, f"{shown(values)} ({type(values).__name__})", allowed, remedy)
    found = []
    for position, value in enumerate(values):
        if not isinstance(value, Real) or isinstance(value, bool):
            refuse(
                TypeError,
                name,
                f"{type(value).__name__} at position {position} of a {type(values).__name__}",
                "real numbers; arrays inside a sequence would lose their gradient",
                remedy,
            )
        found.append(real_number(value))
        if math.isnan(found[-1]) and value == value:
            got = f"{shown(value)} at position {position}"
            refuse(ValueError, name, got, "finite numbers, at most 1.8e308 in size", remedy)
    return tuple(found)


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
        refuse(TypeError, "stride", f"{shown(value)} ({type(value).__name__})", allowed, remedy)
    number = real_number(value)
    if not (math.isfinite(number) and number > 0.0):
        refuse(ValueError, "stride", shown(value), POSITIVE, remedy)
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
    given = "".join(f", {option}={shown(value)}" for option, value in (options or {}).items())
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


def not_dense(name: str, kind: str) -> NoReturn:
    """Refuse a tensor that does not hold every entry in its place."""
    refuse(
        TypeError,
        name,
        f"a {kind} tensor",
        "a dense (strided) tensor",
        f"write {name}.to_padded_tensor(0.0), or pass its parts one by one"
        if kind == "nested"
        else f"write {name}.to_dense()",
    )


def no_values(name: str, there: object) -> NoReturn:
    """Refuse strides without values for an input that has some."""
    refuse(
        TypeError,
        name,
        f"a tensor on meta, which has no values, for x on {there}",
        "strides with values, or x on meta too",
        "give them values first: load a checkpoint with assign=True, or write (2.0, 2.0)",
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
    split = [axis for axis in axes if len(x.chunks[axis]) > 1] if hasattr(x, "rechunk") else []
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


def own_spec(name: str, library: str) -> NoReturn:
    """Refuse an array that says itself how it is computed, where masks and matrices cannot."""
    refuse(
        ValueError,
        name,
        f"an array with a Spec of its own ({library})",
        f"arrays with the Spec that {library} is configured for, as masks and matrices have it",
        f"write {library}.config.set({{'spec.allowed_mem': '1GB'}}), and make {name} without spec=",
    )


def no_fft(library: str) -> NoReturn:
    """Refuse the FFT on arrays of a library that has none."""
    refuse(
        TypeError,
        "method",
        f"'fft' for an array of {library}, which has no FFT",
        "'auto' and 'matmul' for that library",
        "write method='auto', which takes matrices there on axes of any length",
    )


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
    values = entries(got)
    if not values or (count is not None and len(values) != count):
        allowed = "a sequence of integers" if count is None else f"a sequence of {count} integers"
        refuse(ValueError, name, shown(got), allowed, f"write {name}={(16,) * (count or 2)}")
    remedy = f"write {name}={(16,) * len(values)}"
    return tuple(positive_integer(name, value, remedy) for value in values)


def out_sizes_uncropped() -> NoReturn:
    """Refuse output sizes where nothing is to be cropped."""
    refuse(
        ValueError,
        "out_sizes",
        "both out_sizes and crop=False",
        "one of the two: crop=False keeps the input's sizes",
        "leave out_sizes=None, or write crop=True",
    )


def hard_crops(hard: bool, crop: bool) -> None:
    """Refuse a hard crop that is to crop nothing."""
    if hard and not crop:
        refuse(
            ValueError,
            "hard",
            "both hard=True and crop=False",
            "one of the two: a hard crop to the input's sizes is the input",
            "leave crop=True, or write hard=False",
        )


def out_sizes_multiple() -> NoReturn:
    """Refuse to round sizes that are given."""
    refuse(
        ValueError,
        "out_sizes",
        "both out_sizes and multiple_of",
        "one of the two: multiple_of rounds the sizes that the strides give",
        "leave multiple_of=1, or out_sizes=None",
    )


def is_plan(value: Any, kind: type) -> None:
    """Refuse what is no plan."""
    if not isinstance(value, kind):
        remedy = "write plan=make_plan(x.shape, strides), or leave it out"
        refuse(TypeError, "plan", f"{shown(value)} ({type(value).__name__})", "a Plan", remedy)


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
            f"make a plan for this shape: plan=make_plan({shape}, strides)",
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


def same_shape(name: str, got: tuple[int | None, ...], wanted: tuple[int | None, ...]) -> None:
    """Refuse a tangent or cotangent whose shape is not that of what it belongs to.

    A size that a library does not know while it traces is None, and may come to any.
    """
    if len(got) != len(wanted) or any(
        one != other for one, other in zip(got, wanted, strict=True) if None not in (one, other)
    ):
        remedy = f"pass {name} of shape {wanted}"
        refuse(ValueError, name, f"shape {got}", f"shape {wanted}", remedy)


def integer_strides(kind: str, values: Sequence[float]) -> None:
    """Refuse fractional strides for a kind of downsampling that leaves out whole samples."""
    if any(value != int(value) for value in values):
        refuse(
            ValueError,
            "strides",
            f"{tuple(values)} for downsampling={kind!r}",
            "whole numbers",
            "write downsampling='diffstride' or 'spectral' for fractional strides",
        )
