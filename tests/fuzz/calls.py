"""Calls of every public function: right ones against the oracle, wrong ones held to the form.

A call is drawn right, and then an argument or two may be put in the place of others. What it means
then is read a second time, by `meaning`: so it is known beforehand whether a result may come, and
which.
"""

import math
import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st

import spectral_stride as ss
from spectral_stride.testing import known, oracles
from spectral_stride.testing.cases import SMOOTHNESSES, cases
from spectral_stride.testing.implementation import to_numpy
from spectral_stride.testing.properties import Claim
from spectral_stride.testing.suite import _compare
from tests.fuzz import meaning
from tests.fuzz.meaning import WrongError, need
from tests.fuzz.odd_values import odd, other
from tests.fuzz.running import Fault, Target
from tests.nonsense import FORM, nonsense

SIZES = (8, 1, 2, 3, 4, 5, 7, 9, 12, 13, 16, 17, 24, 33, 64)
FEW_SIZES = (8, 1, 5)
# Samples of an axis that an exact result is computed of.
MOST = 400
# Calls with something wrong, for each that is right.
SPOILED = 20


class AsideError(Exception):
    """A call that is not made."""


class UnreadError(Exception):
    """Whether a call is right depends on what is not read, such as strides beside a plan."""


@dataclass(frozen=True)
class Library:
    """How functions are called for arrays of one library.

    ``functions`` is the module that has them, ``types`` what they take as an input array, and
    ``gradients(call, x, strides, g)`` the derivatives of an adapter that has no vjp of its own.
    ``answers(x)`` is an array of the kind that comes out for x.
    """

    name: str
    arrays: str
    share: float
    functions: Any
    types: tuple[type, ...]
    dtypes: tuple[str, ...] = ("float64", "float32")
    gradients: Callable[..., Any] | None = None
    answers: Callable[[Any], Any] = lambda x: x

    @property
    def is_slow(self):
        return self.arrays in ("jax", "dask")

    def array(self, values, dtype):
        return known.make_array(known.namespace(self.arrays), values, dtype)


# --- Right calls ---------------------------------------------------------------------------------


@st.composite
def right_cases(draw, library):
    """A case on few dimensions, with any axes."""
    few = library.is_slow
    ndim = draw(st.integers(1, 2 if few else 4))
    count = draw(st.integers(1, min(ndim, 2)))
    where = tuple(draw(st.permutations(range(ndim)))[:count])
    sizes = FEW_SIZES if few else SIZES
    shape = tuple(
        draw(st.sampled_from(sizes if axis in where else (2, 1, 3, 0))) for axis in range(ndim)
    )
    return draw(cases(shape=shape, axes=where, dtypes=library.dtypes))


@st.composite
def written(draw, values, library, dtype="float64"):
    """Numbers as somebody may write them down: a sequence, or an array of some library."""
    kinds = [tuple, list, np.asarray, lambda some: library.array(np.asarray(some), dtype)]
    return draw(st.sampled_from(kinds))(values)


@st.composite
def named_axes(draw, where, ndim):
    """The same axes, counted from either end."""
    return [axis - draw(st.sampled_from((0, ndim))) for axis in where]


@st.composite
def options_of(draw, case):
    """The options of a case; those that have their default may be left out."""
    options = {**case.options, "axes": draw(named_axes(case.axes, len(case.shape)))}
    last = tuple(range(len(case.shape) - len(case.axes), len(case.shape)))
    if case.axes == last and draw(st.booleans()):
        options["axes"] = None
    for name, value in list(options.items()):
        if value == meaning.DEFAULTS[name] and draw(st.booleans()):
            del options[name]
    return options


@st.composite
def right_planning(draw, library):
    case = draw(right_cases(library))
    given = {"shape": case.shape, "strides": draw(written(case.strides, library))}
    return given | draw(options_of(case))


@st.composite
def right_resampling(draw, library):
    """Input, strides and options, or a plan, for strides that may have moved on since."""
    case = draw(right_cases(library))
    x = library.array(chunked(draw, case, library), case.dtype)
    strides, options = case.strides, draw(options_of(case))
    if draw(st.integers(0, 3)) == 0:
        options = {"plan": ss.make_plan(case.shape, strides, **options)}
        strides = tuple(draw(st.sampled_from((one, 1.5, 1.0, 3.0, 0.5))) for one in strides)
    return {"x": x, "strides": draw(written(strides, library, case.dtype)), **options}


def chunked(draw, case, library):
    """Values of a case; for dask in chunks, which do not split what is resampled."""
    values = case.laid_out(case.values(case.shape))
    if library.arrays != "dask":
        return values
    chunks = tuple(-1 if axis in case.axes else 1 for axis in range(len(case.shape)))
    chunks = draw(st.sampled_from([chunks, (-1,) * len(case.shape)]))
    return known.namespace("dask").from_array(values, chunks=chunks)


@st.composite
def right_pullback(draw, library):
    """As of resampling, and a seed for a cotangent, whose shape only the output tells."""
    return draw(right_resampling(library)) | {"g": draw(st.integers(0, 99))}


@st.composite
def right_tangents(draw, library):
    given = draw(right_resampling(library))
    x = given["x"]
    seed = draw(st.integers(0, 99))
    values = np.random.default_rng(seed).uniform(-1, 1, size=tuple(x.shape))
    dx = None if seed % 5 == 0 else like(x, values)
    strides = given["strides"]
    count = strides.shape[0] if hasattr(strides, "shape") else len(strides)
    numbers = tuple(np.random.default_rng(seed).uniform(-1, 1, size=count).tolist())
    tangent = None if seed % 7 == 0 else draw(written(numbers, library))
    return {"x": x, "strides": given.pop("strides"), "dx": dx, "dstrides": tangent} | given


def right_sizes(name, most):
    """Sizes onto which an input is resampled; ``most`` times as many samples, or fewer."""

    @st.composite
    def draw_it(draw, library):
        case = draw(right_cases(library))
        sizes = [draw(st.integers(1, most * size)) for size in case.sizes]
        if library.is_slow:
            sizes = [draw(st.sampled_from((1, size))) for size in case.sizes]
        x = library.array(chunked(draw, case, library), case.dtype)
        options = draw(options_of(case))
        kept = {key: options[key] for key in ("axes", "norm", "method") if key in options}
        sizes = draw(st.sampled_from([tuple, list, np.asarray]))(sizes)
        return {"x": x, name: sizes, **({"axes": case.axes} | kept)}

    return draw_it


@st.composite
def right_mask(draw, library):
    size = draw(st.sampled_from(SIZES))
    stride = draw(st.integers(1, 80)) / 16
    given = {"size": size, "stride": stride}
    if draw(st.booleans()):
        given["stride"] = library.array(np.asarray(stride), "float64")
    return given | draw(ramps())


@st.composite
def right_bounds(draw, library):
    return {"size": draw(st.integers(1, 100))} | draw(ramps())


@st.composite
def ramps(draw):
    drawn = {
        "smoothness": draw(st.sampled_from(SMOOTHNESSES)),
        "ramp": draw(st.sampled_from(meaning.CHOICES["ramp"])),
    }
    return {name: value for name, value in drawn.items() if draw(st.booleans())}


@st.composite
def right_layers(draw, library):
    count = draw(st.integers(1, 4))
    layers = [
        [draw(st.integers(8, 64)) / 16 for _ in range(draw(st.integers(1, 3)))]
        for _ in range(count)
    ]
    if draw(st.booleans()):
        layers = [library.array(np.asarray(one), "float64") for one in layers]
    return {"strides_per_layer": draw(st.sampled_from([list, tuple]))(layers)}


# --- What they mean ------------------------------------------------------------------------------


def read_planning(library, given):
    rest = dict(given)
    shape, strides = meaning.shape(rest.pop("shape")), meaning.numbers(rest.pop("strides"))
    return meaning.planned(shape, strides, rest)


def read_resampling(library, given):
    rest = {name: value for name, value in given.items() if name not in ("g", "dx", "dstrides")}
    x, strides = rest.pop("x"), rest.pop("strides")
    shape, dtype = meaning.array(x, library.types)
    plan = rest.get("plan")
    is_unread = plan is not None and is_array_like(strides, x)
    values = meaning.numbers(strides)
    if plan is None:
        rest.pop("plan", None)
        case = meaning.planned(shape, values, rest)
    else:
        need(rest.keys() == {"plan"})
        try:
            case = meaning.of_plan(plan, shape, values)
        except WrongError:
            if is_unread and not all(math.isfinite(one) and one > 0 for one in values):
                raise UnreadError from None
            raise
    check_chunks(x, case.axes)
    check_read(x, dtype, case)
    return replace(case, dtype=dtype)


def check_read(x, dtype, case):
    """Leave aside what no exact result is known of."""
    check_finite(x)
    if case.method == "fft" and "16" in dtype and not isinstance(x, np.ndarray):
        raise UnreadError  # not every library has it, and not at every size


def check_finite(x):
    if is_meta(x) or not np.isfinite(to_numpy(x)).all():
        raise UnreadError  # a shape without values, or what spreads over all results


def is_meta(x):
    return getattr(x, "is_meta", False) is True


def is_array_like(value, x):
    """Whether both are arrays of one library."""
    return type(value).__module__.partition(".")[0] == type(x).__module__.partition(".")[0]


def check_chunks(x, axes):
    need(not hasattr(x, "chunks") or all(len(x.chunks[axis]) == 1 for axis in axes))


def is_seed(g):
    """Whether it stands for a cotangent that is yet to be drawn."""
    return type(g) is int and 0 <= g < 100


def read_pullback(library, given):
    """The cotangent can be read where the output's shape is known."""
    case = read_resampling(library, given)
    if is_seed(given["g"]):
        return case
    shape, _ = meaning.array(given["g"], library.types)
    need(is_array_like(given["g"], given["x"]) and shape == case.out_shape)
    check_chunks(given["g"], case.axes)
    check_finite(given["g"])
    return case


def read_tangents(library, given):
    case = read_resampling(library, given)
    x, dx, ds = given["x"], given["dx"], given["dstrides"]
    if dx is not None:
        shape, _ = meaning.array(dx, library.types)
        need(is_array_like(dx, x) and shape == case.shape)
        check_chunks(dx, case.axes)
        check_finite(dx)
    if ds is not None:
        values = meaning.numbers(ds)
        need(len(values) == len(case.axes))
        if is_array_like(ds, x) and not all(map(math.isfinite, values)):
            raise UnreadError
        meaning.finite(values)
        largest = max(map(abs, values), default=0.0)
        if largest * math.prod(case.shape) > np.finfo(case.dtype).max:
            raise AsideError  # what NumPy warns of may be right: more than the dtype holds
    return case


def read_sizes(name, pools):
    def read(library, given):
        rest = dict(given)
        x, sizes = rest.pop("x"), rest.pop(name)
        shape, dtype = meaning.array(x, library.types)
        case = meaning.resized(shape, sizes, rest, least=1 if pools else None)
        check_chunks(x, case.axes)
        check_read(x, dtype, case)
        need_small(max(case.out_sizes))
        return replace(case, dtype=dtype)

    return read


def need_small(size):
    """Leave aside what is right and takes more memory than there is."""
    if size > MOST:
        raise AsideError


def read_mask(library, given):
    size = meaning.whole(given["size"], 1)
    need_small(size)
    options = read_ramp(given)
    value = given["stride"]
    if meaning.is_array(value) and not isinstance(value, np.generic):
        meaning.array(value, library.types)
        need(value.shape == () and "meta" not in str(getattr(value, "device", "")))
        value = float(to_numpy(value))
        if not (math.isfinite(value) and value > 0):
            raise UnreadError
    return size, meaning.stride(value), *options


def read_bounds(library, given):
    need("stride" not in given)
    return meaning.whole(given["size"], 1), *read_ramp(given)


def read_ramp(given):
    need(given.keys() <= {"size", "stride", "smoothness", "ramp"})
    width = meaning.smoothness(given.get("smoothness", 4.0))
    return width, meaning.word("ramp", given.get("ramp", "inside"))


def read_layers(library, given):
    need(given.keys() == {"strides_per_layer"})
    layers = meaning.entries(given["strides_per_layer"])
    need(layers)
    is_traced = any(meaning.is_array(one) and not isinstance(one, np.generic) for one in layers)
    values = [meaning.numbers(one) for one in layers]
    kinds = {type(one).__module__.partition(".")[0] for one in layers if meaning.is_array(one)}
    need(len(kinds - {"numpy", "tests"}) <= 1)
    if is_traced and not all(one > 0 for some in values for one in some):
        raise UnreadError
    if any(not 1e-9 < one < 1e9 for some in map(meaning.positive, values) for one in some):
        raise UnreadError  # whether a float holds the cost
    return [[Fraction(one) for one in some] for some in values]


# --- What comes of them --------------------------------------------------------------------------


def like(x, values):
    """Values as an array of the library and dtype of another one, in its chunks."""
    values = values.astype(meaning.dtype_of(x))
    if hasattr(x, "chunks"):
        values = known.namespace("dask").from_array(values, chunks=x.chunks)
    if type(x).__module__.startswith("torch"):
        return known.load("torch").asarray(values)
    if isinstance(x, np.ndarray):  # also one of a kind of its own
        return values
    xp = known.namespace(type(x).__module__.partition(".")[0].replace("jaxlib", "jax"))
    return xp.asarray(values)


@dataclass(frozen=True)
class Rounding:
    """How far results may be from the exact ones, for any strides and any width of the ramp."""

    case: Any
    scale: float

    def of_values(self):
        """As the suite has it; and what a rounded stride, or a narrow ramp, moves of the mask."""
        case = self.case
        eps = np.finfo(case.dtype).eps
        A, slopes = case.matrices()
        gain = np.prod([max(1.0, np.abs(one).sum(axis=1).max()) for one in A])
        moved = 0.0
        for size, one, slope in zip(case.sizes, case.strides, slopes, strict=True):
            effective = min(max(1.0, one), size)
            moved += effective * np.abs(slope).sum(axis=1).max()
            if 0 < case.smoothness < 0.5:
                moved += size / case.smoothness
        extra = 0.0 if self.is_plain else 8 * eps * gain * moved
        return self.scale * (case.atol() + extra)

    @property
    def is_plain(self):
        """Whether the suite's own cases are such ones."""
        case = self.case
        return case.smoothness in SMOOTHNESSES and all(map(meaning.is_short, case.strides))

    def has_gradient(self):
        """Whether a stride's gradient is decided by more than rounding."""
        narrow = 0 < self.case.smoothness < 0.25
        return not narrow and meaning.is_exact(self.case)


def exact(case, x):
    return oracles.apply(case.matrices()[0], x, case.axes)


def scale_of(*arrays):
    return max(1.0, *(float(np.max(np.abs(one), initial=0.0)) for one in arrays))


def claims_of_planning(case, given, plan):
    yield Claim("y's shape", np.asarray(plan.out_shape), np.asarray(case.out_shape))
    if ss.make_plan(case.shape, case.strides, **case.options) is not plan:
        raise AssertionError("two plans of equal arguments")


def claims_of_resampling(case, given, y):
    x = to_numpy(given["x"])
    rounding = Rounding(case, scale_of(x))
    yield Claim("y", y, exact(case, x), rounding.of_values(), like=given["x"])


def claims_of_pullback(case, given, found):
    y, dx, ds, g = found
    x, g = to_numpy(given["x"]), to_numpy(g)
    rounding = Rounding(case, scale_of(x, g))
    atol = rounding.of_values()
    yield Claim("y", y, exact(case, x), atol, like=given["x"])
    A, slopes = case.matrices()
    transposed = oracles.apply([one.T for one in A], g, case.axes)
    # The suite's bound is that of A; of A^T the sums are as long as the output.
    yield Claim("dx", dx, transposed, atol, like=given["x"])
    if ds is not None and rounding.has_gradient():
        expected = oracles.stride_gradient(A, slopes, x, g, case.axes)
        worst = max(case.dtype, meaning.dtype_of(ds), key=lambda kind: np.finfo(kind).eps)
        atol = replace(case, dtype=worst).stride_atol(x, g)
        factor = 1.0 if rounding.is_plain else 64.0
        yield Claim("dstrides", ds, expected, factor * atol)


def claims_of_tangents(case, given, found):
    y, dy = found
    x = to_numpy(given["x"])
    dx = np.zeros_like(x) if given["dx"] is None else to_numpy(given["dx"])
    ds = np.zeros(len(case.axes))
    if given["dstrides"] is not None:
        ds = np.asarray(meaning.numbers(given["dstrides"]))
    rounding = Rounding(case, scale_of(x, dx))
    atol = rounding.of_values()
    yield Claim("y", y, exact(case, x), atol, like=given["x"])
    if rounding.has_gradient() or not ds.any():
        expected = exact(case, dx)
        A, slopes = case.matrices()
        expected = expected + oracles.stride_tangent(A, slopes, x, ds, case.axes)
        steepest = case.tangent_atol() / case.atol()
        yield Claim("dy", dy, expected, atol * steepest * scale_of(ds), like=given["x"])


def claims_of_sizes(case, given, y):
    x = to_numpy(given["x"])
    pairs = zip(case.sizes, case.out_sizes, strict=True)
    matrices = [oracles.resize_matrix(*pair, case.norm) for pair in pairs]
    atol = 2 * case.atol() * scale_of(x)
    # The adapter of JAX makes its own arrays of NumPy's.
    own = given["x"] if type(y) is type(given["x"]) or not is_jax(y) else like(y, x)
    yield Claim("y", y, oracles.apply(matrices, x, case.axes), atol, like=own)


def is_jax(array):
    return isinstance(array, known.load("jax").Array)


def claims_of_mask(read, given, found):
    size, stride, width, ramp = read
    expected = np.asarray(oracles.mask(size, stride, width, ramp), dtype=float)
    eps = np.finfo(meaning.dtype_of(found)).eps
    atol = 8 * eps * (1 + size / width) if width else 0.0
    if width or meaning.is_short(stride):
        yield Claim("the mask", found, expected, atol)
    else:
        yield Claim("the mask's size", np.asarray(found.shape), np.asarray(expected.shape))


def claims_of_bounds(read, given, found):
    size, width, ramp = read
    expected = oracles.bounds(size, width, ramp) if size > 1 else (1, 1)
    expected = np.asarray(expected, dtype=float)
    yield Claim("the bounds", np.asarray(found), expected, 1e-12 * expected)


def claims_of_layers(layers, given, found):
    total, size = Fraction(0), Fraction(1)
    for strides in layers:
        size /= math.prod(strides)
        total += size
    kinds = {
        meaning.dtype_of(one)
        for one in meaning.entries(given["strides_per_layer"])
        if meaning.is_array(one)
    }
    eps = 1e-2 if kinds & {"float16", "bfloat16"} else 1e-5 if "float32" in kinds else 1e-12
    yield Claim(
        "the cost",
        np.asarray(to_numpy(found) if meaning.is_array(found) else found),
        float(total),
        eps * float(total),
    )


# --- How they are called -------------------------------------------------------------------------


def plainly(name):
    return lambda library, given: getattr(library.functions, name)(**given)


def with_pullback(library, given):
    """Call, and pull a cotangent back: the one that was given, or one that is made of a seed."""
    rest = {name: value for name, value in given.items() if name != "g"}
    g = given["g"]
    y, pullback = ss.vjp(**rest)
    if is_seed(g):
        g = like(y, np.random.default_rng(g).uniform(-1, 1, size=tuple(y.shape)))
    return (y, *pullback(g), g)


def with_gradients(library, given):
    rest = {name: value for name, value in given.items() if name != "g"}
    return library.gradients(rest.pop("x"), rest.pop("strides"), given["g"], **rest)


def by_torch(x, strides, seed, **options):
    """Output and gradients of the adapter for PyTorch, by its own autograd."""
    torch, adapter = known.load("torch"), known.load("spectral_stride.torch")
    if isinstance(x, torch.Tensor) and x.is_floating_point() and x.is_leaf:
        x = x.detach().requires_grad_()
    learns = isinstance(strides, torch.Tensor) and strides.is_floating_point() and strides.is_leaf
    if learns and strides.layout is torch.strided:
        strides = strides.detach().requires_grad_()
    y = adapter.diffstride(x, strides, **options)
    g = torch.asarray(np.random.default_rng(seed).uniform(-1, 1, size=tuple(y.shape)))
    g = g.to(y.dtype)
    leaves = [x, strides] if learns else [x]
    dx, *ds = torch.autograd.grad(y, leaves, g)
    return y.detach(), dx, ds[0] if ds else None, g


def by_jax(x, strides, seed, **options):
    """Output and gradients of the adapter for JAX, by JAX's own rules."""
    jax, adapter = known.load("jax"), known.load("spectral_stride.jax")
    y = adapter.diffstride(x, strides, **options)
    g = like(y, np.random.default_rng(seed).uniform(-1, 1, size=tuple(y.shape)))
    if options.get("plan") is None:
        options.pop("plan", None)
        options = {"plan": ss.make_plan(tuple(x.shape), strides, **options)}
    x = jax.numpy.asarray(x)
    if isinstance(strides, jax.Array) and meaning.dtype_of(strides).startswith("float"):
        call = lambda *arrays: adapter.diffstride(*arrays, **options)  # noqa: E731
        _, pullback = jax.vjp(call, x, strides)
        return y, *pullback(g), g
    _, pullback = jax.vjp(lambda x: adapter.diffstride(x, strides, **options), x)
    return y, *pullback(g), None, g


# --- Targets -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Function:
    """A public function: how right calls are drawn, read, made, and what then holds."""

    name: str
    draw: Callable[..., Any]
    read: Callable[..., Any]
    call: Callable[..., Any]
    claims: Callable[..., Any]


PLANS = Function(
    "make_plan", right_planning, read_planning, plainly("make_plan"), claims_of_planning
)
RESAMPLES = Function(
    "diffstride", right_resampling, read_resampling, plainly("diffstride"), claims_of_resampling
)
PULLS = Function("vjp", right_pullback, read_pullback, with_pullback, claims_of_pullback)
PUSHES = Function("jvp", right_tangents, read_tangents, plainly("jvp"), claims_of_tangents)
POOLS = Function(
    "spectral_pool",
    right_sizes("out_sizes", 1),
    read_sizes("out_sizes", True),
    plainly("spectral_pool"),
    claims_of_sizes,
)
RESIZES = Function(
    "spectral_resize",
    right_sizes("sizes", 3),
    read_sizes("sizes", False),
    plainly("spectral_resize"),
    claims_of_sizes,
)
MASKS = Function("soft_mask", right_mask, read_mask, plainly("soft_mask"), claims_of_mask)
BOUNDS = Function(
    "stride_bounds", right_bounds, read_bounds, plainly("stride_bounds"), claims_of_bounds
)
COSTS = Function("complexity", right_layers, read_layers, plainly("complexity"), claims_of_layers)
CORE = (PLANS, RESAMPLES, PULLS, PUSHES, POOLS, RESIZES, MASKS, BOUNDS, COSTS)
# Of an adapter the gradients are those of its framework.
DIFFERENTIATED = Function(
    "diffstride", right_pullback, read_resampling, with_gradients, claims_of_pullback
)
ADAPTED = (DIFFERENTIATED, POOLS, RESIZES)
KEYS = (
    "axes",
    "smoothness",
    "ramp",
    "norm",
    "crop",
    "multiple_of",
    "out_sizes",
    "method",
    "hard",
    "plan",
    "stride",
    "size",
)


def spoiled(rng, library, given, drawn):
    """The arguments, of which some are other right ones, and one or two something else."""
    given = dict(given)
    for _ in range(rng.choice((0, 1, 2))):
        name = rng.choice([one for one in given if one not in ("x", "g", "dx", "shape")])
        given[name] = other(rng, name, given[name])
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        name = rng.choice([*given, *given, *KEYS])
        if name == "g" and library.gradients:
            continue  # what autograd says of a wrong cotangent is its own
        given[name] = odd(rng, given.get(name), drawn)
    return given


def snapshot(given):
    """What the arguments are, to be compared afterwards."""
    return {name: _still(value) for name, value in given.items()}


def _still(value):
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(map(_still, value))
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.dtype, value.shape, value.tobytes()
    is_tensor = isinstance(value, known.load("torch").Tensor)
    if is_tensor and not value.is_meta and str(value.layout) == "torch.strided":
        return value.dtype, tuple(value.shape), value.detach().numpy().tobytes()
    return id(value)


def attempt(function, library):
    """Make a target of a function for arrays of a library."""

    def try_one(data, counts):
        right = data.draw(function.draw(library))
        rng, drawn = random.Random(data.draw(st.integers(0, 2**32))), data.draw(nonsense())
        call(right, counts)
        for _ in range(SPOILED):
            call(spoiled(rng, library, right, drawn), counts)

    def call(given, counts):
        wanted, is_decided = None, True
        try:
            wanted = function.read(library, given)
        except WrongError:
            pass
        except UnreadError:
            is_decided = False
        except AsideError:
            return
        before = snapshot(given)
        counts["calls"] += 1
        try:
            with warnings.catch_warnings(action="error"):
                found = function.call(library, given)
        except (TypeError, ValueError) as error:
            if type(error) not in (TypeError, ValueError) or not FORM.fullmatch(str(error)):
                raise Fault(
                    f"no line of got, allowed, instead: {error!r}\n{shown(given)}"
                ) from error
            if is_decided and wanted is not None:
                raise Fault(f"a right call is refused: {error}\n{shown(given)}") from error
            counts["refused"] += 1
        except Exception as error:
            raise Fault(f"{error!r}\n{shown(given)}") from error
        else:
            if is_decided and wanted is None:
                raise Fault(f"a wrong call is answered\n{shown(given)}")
            if is_decided:
                kinds = {name: library.answers(given[name]) for name in ("x",) if name in given}
                check(function.claims(wanted, given | kinds, found), given, counts)
        if snapshot(given) != before:
            raise Fault(f"an argument has changed\n{shown(given)}")

    return Target(f"{library.name}: {function.name}", try_one, library.share)


def check(claims, given, counts):
    try:
        for claim in claims:
            _compare(claim)
            counts["values"] += int(np.size(claim.expected))
    except AssertionError as error:
        raise Fault(f"{error}\n{shown(given)}") from error


def shown(given):
    lines = []
    for name, value in given.items():
        try:
            text = repr(value)
        except Exception:
            text = f"a {type(value).__name__} without a text"
        lines.append(f"    {name} = {type(value).__name__}: {text[:600]}")
    return "\n".join(lines)


def libraries():
    """Every way to call the functions of which arrays are drawn."""
    torch, jax, dask = (known.load(name) for name in ("torch", "jax", "dask.array"))
    strict = type(known.namespace("array_api_strict").asarray(0))
    core = np.ndarray, torch.Tensor, jax.Array, dask.Array, strict
    adapters = [known.load(f"spectral_stride.{name}") for name in ("torch", "jax")]
    return [
        (Library("numpy", "numpy", 5.0, ss, core, ("float64", "float32", "float16")), CORE),
        (Library("array_api_strict", "array_api_strict", 1.0, ss, core), CORE),
        (Library("torch", "torch", 1.0, ss, core), CORE),
        (Library("jax", "jax", 1.0, ss, core), CORE),
        (Library("dask", "dask", 1.0, ss, core), CORE),
        (
            Library(
                "spectral_stride.torch",
                "torch",
                2.0,
                adapters[0],
                (torch.Tensor,),
                gradients=by_torch,
            ),
            ADAPTED,
        ),
        (
            Library(
                "spectral_stride.jax",
                "jax",
                1.0,
                adapters[1],
                (jax.Array, np.ndarray),
                gradients=by_jax,
                answers=jax.numpy.asarray,
            ),
            ADAPTED,
        ),
    ]


def targets():
    """All functions, for arrays of all libraries."""
    return [
        attempt(function, library) for library, functions in libraries() for function in functions
    ]
