"""Bad input: each refusal says what was got, what is allowed and what to write instead."""

import doctest
import importlib
import re
from decimal import Decimal
from fractions import Fraction
from inspect import isfunction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spectral_stride as ss
from spectral_stride import checks
from tests.libraries import Backend, load
from tests.nonsense import Word, answers_or_refuses, nonsense

NAN, INF = float("nan"), float("inf")
FORM = re.compile(r"(?P<name>.+?): got (?P<got>.+?); allowed: (?P<allowed>.+); instead: (.+)")


def refusal(kind, function, *args, **options):
    """The parts of the message with which a call is refused: name, got, allowed, instead."""
    with pytest.raises(kind) as caught:
        function(*args, **options)
    assert type(caught.value) is kind
    found = FORM.fullmatch(str(caught.value))
    assert found, f"not of the form 'name: got; allowed; instead': {caught.value}"
    return found.groups()


def check(refused, name, got, allowed, instead):
    """The name is the whole of it, the other parts contain what is expected."""
    assert refused[0] == name
    for part, expected in zip(refused[1:], (got, allowed, instead), strict=True):
        assert expected in part


def bad(identifier, shape, strides, options, kind, *message):
    """A row: how `make_plan` is called, and the error with its name, got, allowed and instead."""
    return pytest.param(shape, strides, options, kind, message, id=identifier)


def test_every_check_says_what_its_page_says():
    """Word for word: a message is what a user has. A check that is new has to be on the page."""
    assert doctest.testfile("refusals.txt").failed == 0
    page = (Path(__file__).parent / "refusals.txt").read_text("utf-8")
    public = [name for name, one in vars(checks).items() if isfunction(one) and name[0] != "_"]
    public = [name for name in public if getattr(checks, name).__module__ == checks.__name__]
    missing = {name for name in public if f"checks.{name}" not in page}
    # Their texts come with others' errors, or they have none.
    others = {"refuse", "first_line", "needed", "named", "half_fft"}
    assert missing == others | {"as_integer", "entries", "integers", "real_number"}


POSITIVE = "finite numbers above 0 (input samples per output sample)"
WORDS = {
    "ramp": "'inside', 'outside'",
    "norm": "'forward', 'ortho', 'backward'",
    "method": "'auto', 'matmul', 'fft'",
}
PLANS = [
    *(
        bad(f"stride {value}", (8, 8), (2.0, value), {}, ValueError,
            "strides", f"{value} at position 1", POSITIVE, "at least 1")
        for value in (0.0, -2.0, NAN, INF, -INF)
    ),
    bad("array with NaN", (8, 8), np.array([NAN, 2.0]), {}, ValueError,
        "strides", "nan at position 0", POSITIVE, "at least 1"),
    *(
        bad(f"smoothness {value!r}", (8,), (2.0,), {"smoothness": value}, ValueError,
            "smoothness", repr(value), "0 (hard crop), or 1e-06 to 1e+09", "smoothness=4.0")
        for value in (-1.0, NAN, INF, 1e-9, "4")
    ),
    bad("fewer strides than axes", (8, 8), (2.0,), {"axes": (0, 1)}, ValueError,
        "strides", "1 for 2 axes (0, 1)", "one stride per axis", "strides=(2.0, 2.0)"),
    bad("more strides than axes", (8, 8), (2.0, 2.0), {"axes": (0,)}, ValueError,
        "strides", "2 for 1 axes (0,)", "one stride per axis", "strides=(2.0,)"),
    bad("more strides than dimensions", (8, 8), (2.0,) * 3, {}, ValueError,
        "strides", "3 strides for an array with 2 dimensions", "1 to 2", "strides=(2.0, 2.0)"),
    bad("no stride", (8, 8), (), {}, ValueError,
        "strides", "no stride at all", "one stride per axis", "strides=(2.0,)"),
    bad("stride without a sequence", (8, 8), 2.0, {}, TypeError,
        "strides", "2.0 (float)", "a sequence of numbers", "strides=(2.0, 2.0)"),
    *(
        bad(f"strides in a {type(value).__name__}", (8, 8), value, {}, TypeError,
            "strides", f"({type(value).__name__})", "a sequence of numbers", "strides=(2.0, 2.0)")
        for value in (b"22", bytearray(b"22"), memoryview(b"22"), {2.0, 3.0}, {0: 2.0})
    ),
    *(
        bad(f"a stride of {value!r:.9}", (8, 8), (2.0, value), {}, ValueError,
            "strides", f"{said}000", "finite numbers, at most 1.8e308", "strides=(2.0, 2.0)")
        for said, value in (
            ("1", 10**400), ("-1", -(10**400)), ("Fraction(1", Fraction(10**400)),
        )
    ),
    bad("a decimal number", (8, 8), (2.0, Decimal(2)), {}, TypeError,
        "strides", "Decimal at position 1", "real numbers", "strides=(2.0, 2.0)"),
    bad("strides in a string", (8, 8), "22", {}, TypeError,
        "strides", "'22' (str)", "a sequence of numbers", "strides=(2.0, 2.0)"),
    bad("a string among the strides", (8, 8), (2.0, "2"), {}, TypeError,
        "strides", "str at position 1 of a tuple", "real numbers", "array of shape (len(axes),)"),
    bad("a truth value among the strides", (8, 8), [True, 2.0], {}, TypeError,
        "strides", "bool at position 0 of a list", "real numbers", "strides=(2.0, 2.0)"),
    bad("a complex stride", (8, 8), (2.0, 2j), {}, TypeError,
        "strides", "complex at position 1", "real numbers", "strides=(2.0, 2.0)"),
    bad("arrays in a sequence", (8, 8), [np.ones(()), np.ones(())], {}, TypeError,
        "strides", "ndarray at position 0", "would lose their gradient", "one array of shape"),
    bad("strides in two dimensions", (8, 8), np.ones((1, 2)), {}, ValueError,
        "strides", "an array of shape (1, 2)", "shape (len(axes),)", "strides=(2.0, 2.0)"),
    *(
        bad(f"an array of {dtype} strides", (8, 8), np.ones(2, dtype=dtype), {}, TypeError,
            "strides", f"dtype {dtype}", "real", "strides")
        for dtype in ("bool", "complex64")
    ),
    bad("an array without dimensions", (8, 8), np.asarray(2.0), {}, ValueError,
        "strides", "an array of shape ()", "shape (len(axes),)", "strides=(2.0, 2.0)"),
    bad("the same axis twice", (8, 8), (2.0, 2.0), {"axes": (1, 1)}, ValueError,
        "axes", "(1, 1), the same axis twice", "at most once", "axes=(-2, -1)"),
    bad("the same axis from both ends", (8, 8), (2.0, 2.0), {"axes": (1, -1)}, ValueError,
        "axes", "(1, -1), the same axis twice", "at most once", "axes=(-2, -1)"),
    bad("axis too high", (8, 8), (2.0,), {"axes": (2,)}, ValueError,
        "axes", "(2,)", "integers from -2 to 1", "axes=(-1,)"),
    bad("axis too low", (8, 8), (2.0,), {"axes": (-3,)}, ValueError,
        "axes", "(-3,)", "integers from -2 to 1", "axes=(-1,)"),
    bad("axes without a sequence", (8, 8), (2.0,), {"axes": 1}, TypeError,
        "axes", "1", "a sequence of integers", "axes=(-1,)"),
    bad("a fractional axis", (8, 8), (2.0,), {"axes": (0.5,)}, TypeError,
        "axes", "(0.5,)", "a sequence of integers", "axes=(-1,)"),
    *(
        bad(f"axes {value!r}", (8, 8), (2.0,), {"axes": value}, TypeError,
            "axes", repr(value), "a sequence of integers", "axes=(-1,)")
        for value in (b"\x01", {0}, {0: 0}, (True,), np.asarray(1))
    ),
    bad("an axis of many digits", (8, 8), (2.0,), {"axes": (10**5000,)}, ValueError,
        "axes", "cannot be printed (tuple)", "integers from -2 to 1", "axes=(-1,)"),
    *(
        bad(f"crop {value!r}", (8, 8), (2.0,), {"crop": value}, TypeError,
            "crop", f"{value!r} ({type(value).__name__})", "True or False", "crop=True")
        for value in ("False", 0, None, np.zeros(2))
    ),
    *(
        bad(f"an array as {name}", (8, 8), (2.0,), {name: np.asarray(value)}, ValueError,
            name, "array(", choices, f"{name}={choices.split(',')[0]}")
        for name, choices in WORDS.items() for value in ([2.0, 2.0], choices.split("'")[1])
    ),
    bad("a wrong keyword", (8, 8), (2.0,), {"ramps": "inside"}, TypeError,
        "ramps", "'inside'", "smoothness, ramp, norm", "write ramp="),
    bad("an empty spectral axis", (4, 0), (2.0,), {}, ValueError,
        "x", "shape (4, 0) with an empty axis 1", "at least 1 sample", "other axes"),
    *(
        bad(f"{name} unknown", (8,), (2.0,), {name: "sideways"}, ValueError,
            name, "'sideways'", choices, f"{name}={choices.split(',')[0]}")
        for name, choices in WORDS.items()
    ),
    *(
        bad(f"multiple_of {value!r}", (8,), (2.0,), {"multiple_of": value}, ValueError,
            "multiple_of", repr(value), "an integer of at least 1", "multiple_of=1")
        for value in (0, -4, 1.5, True, None)
    ),
    bad("a canvas that aliases", (4, 32), (2.0,), {"out_sizes": (23,), "ramp": "outside"},
        ValueError, "out_sizes", "23 for axis 1", "24 to 32 (fewer alias the 12 bins", "write 24"),
    bad("a canvas that aliases inside", (33,), (2.0,), {"out_sizes": (15,), "ramp": "inside"},
        ValueError, "out_sizes", "15 for axis 0", "17 to 33 (fewer alias the 8 bins", "write 17"),
    bad("a canvas beyond the input", (32,), (2.0,), {"out_sizes": (33,)}, ValueError,
        "out_sizes", "33 for axis 0", "16 to 32", "out_sizes=None"),
    *(
        bad(f"out_sizes {value!r}", (32,), (2.0,), {"out_sizes": (value,)}, ValueError,
            "out_sizes", repr(value), "an integer of at least 1", "out_sizes=")
        for value in (24.5, True, "24", 0, -3)
    ),
    *(
        bad(f"out_sizes in {value!r}", (32,), (2.0,), {"out_sizes": value}, ValueError,
            "out_sizes", repr(value), "a sequence of 1 integers", "out_sizes=(")
        for value in (np.asarray(24), b"\x18", {24}, {24: 0})
    ),
    bad("too many out_sizes", (32,), (2.0,), {"out_sizes": (24, 24)}, ValueError,
        "out_sizes", "(24, 24)", "a sequence of 1 integers", "out_sizes=("),
    bad("out_sizes without a sequence", (32,), (2.0,), {"out_sizes": 24}, ValueError,
        "out_sizes", "24", "a sequence of 1 integers", "out_sizes=("),
    bad("out_sizes without crop", (32,), (2.0,), {"out_sizes": (24,), "crop": False}, ValueError,
        "out_sizes", "both out_sizes and crop=False", "one of the two", "crop=True"),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "strides", "options", "kind", "message"), PLANS)
def test_what_cannot_be_planned_is_refused_by_every_function(
    shape, strides, options, kind, message
):
    """make_plan refuses it, and diffstride, vjp and jvp with the same words; x is left alone."""
    refused = refusal(kind, ss.make_plan, shape, strides, **options)
    check(refused, *message)
    x = np.full(shape, 1.5)
    assert refusal(kind, ss.diffstride, x, strides, **options) == refused
    assert refusal(kind, ss.vjp, x, strides, **options) == refused
    assert refusal(kind, ss.jvp, x, strides, x, None, **options) == refused
    assert np.all(x == 1.5)


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool", "complex64"])
def test_input_that_is_not_real_floating_point(xp, dtype):
    """Integers, truth values and complex numbers, wherever an array goes in."""
    x = xp.asarray(np.ones((4, 8)), dtype)
    good = xp.asarray(np.ones((4, 8)), "float32")
    plan = ss.make_plan((4, 8), (2.0,), ramp="inside")
    pullback = ss.vjp(good, (2.0,), plan=plan)[1]
    calls = {
        "x": [
            lambda: ss.diffstride(x, (2.0,)),
            lambda: ss.diffstride(x, (2.0,), plan=plan),
            lambda: ss.vjp(x, (2.0,)),
            lambda: ss.jvp(x, (2.0,), None, None),
            lambda: ss.spectral_pool(x, (4,)),
        ],
        "g": [lambda: pullback(x[:, :4])],
        "dx": [lambda: ss.jvp(good, (2.0,), x, None, plan=plan)],
    }
    for name, functions in calls.items():
        for function in functions:
            got = f"dtype {x.dtype}"
            check(refusal(TypeError, function), name, got, "real floating point", "xp.astype(")


@pytest.mark.parametrize("value", [[1.0, 2.0], 3.0, None, "x"], ids=repr)
def test_input_that_is_no_array(value):
    """Lists and numbers have no library, dtype or device."""
    got = type(value).__name__
    message = got, "an array of a library that follows", "numpy.asarray("
    check(refusal(TypeError, ss.diffstride, value, (2.0,)), "x", *message)
    check(refusal(TypeError, ss.spectral_pool, value, (1,)), "x", *message)
    pullback = ss.vjp(np.ones(8), (2.0,))[1]
    check(refusal(TypeError, pullback, value), "g", *message)


PLAN = ss.make_plan((4, 8), (2.0,), ramp="inside")


@pytest.mark.parametrize("shape", [(4, 9), (8,), (4, 8, 1), (4, 0)], ids=str)
def test_a_plan_that_does_not_fit_the_array(xp, shape):
    """Another size along a planned axis, or another number of dimensions."""
    x = xp.asarray(np.ones(shape))
    message = (
        f"a plan for shape (4, 8) and an array of shape {shape}",
        "2 dimensions and the plan's sizes along axes (1,)",
        f"make a plan for this shape: plan=make_plan({shape}, strides)",
    )
    check(refusal(ValueError, xp.diffstride, x, (2.0,), plan=PLAN), "plan", *message)
    check(refusal(ValueError, xp.vjp, x, (2.0,), None, plan=PLAN), "plan", *message)
    check(refusal(ValueError, xp.jvp, x, (2.0,), None, None, plan=PLAN), "plan", *message)


def test_options_beside_a_plan():
    """The plan has settled them already."""
    refused = refusal(
        TypeError, ss.diffstride, np.ones((4, 8)), (2.0,), plan=PLAN, ramp="inside", axes=None
    )
    check(refused, "plan", "together with axes, ramp", "the arguments of make_plan", "only plan=")


def test_strides_beside_a_plan():
    """Their number, their shape and, where they are plain numbers, their values."""
    x = np.ones((4, 8))
    for strides in ((2.0, 2.0), np.ones(2)):
        refused = refusal(ValueError, ss.diffstride, x, strides, plan=PLAN)
        check(refused, "strides", "2 for a plan over 1 axes (1,)", "one number per", "pass 1 of")
    for shape, remedy in (((1, 1), "pass one stride per axis"), ((), "repeat a scalar")):
        refused = refusal(ValueError, ss.diffstride, x, np.ones(shape), plan=PLAN)
        check(refused, "strides", f"an array of shape {shape}", "shape (len(axes),)", remedy)
    refused = refusal(TypeError, ss.diffstride, x, np.asarray(["2"]), plan=PLAN)
    check(refused, "strides", "dtype <U1", "real numbers", "write strides=(2.0, 2.0)")
    for dtype in ("bool", "complex64"):
        refused = refusal(TypeError, ss.diffstride, x, np.ones(1, dtype=dtype), plan=PLAN)
        check(refused, "strides", f"dtype {dtype}", "real", "strides")
    refused = refusal(ValueError, ss.diffstride, x, (NAN,), plan=PLAN)
    check(refused, "strides", "nan at position 0", POSITIVE, "at least 1")


def test_cotangents_and_tangents_of_another_shape(xp):
    """g has y's shape, dx has x's, and dstrides has one number per axis."""
    x = xp.asarray(np.ones((4, 8)))
    refused = refusal(ValueError, xp.vjp, x, (2.0,), x, plan=PLAN)
    check(refused, "g", "shape (4, 8)", "shape (4, 4)", "pass g of shape (4, 4)")
    refused = refusal(ValueError, xp.jvp, x, (2.0,), x[:, :4], None, plan=PLAN)
    check(refused, "dx", "shape (4, 4)", "shape (4, 8)", "pass dx of shape (4, 8)")
    for tangent in ((1.0, 2.0), xp.asarray([1.0, 2.0])):
        refused = refusal(ValueError, xp.jvp, x, (2.0,), None, tangent, plan=PLAN)
        check(refused, "dstrides", "2 for a plan over 1 axes", "one number per", "pass 1 of")
    refused = refusal(TypeError, ss.jvp, x, (2.0,), None, 1.0, plan=PLAN)
    check(refused, "dstrides", "1.0 (float)", "a sequence of numbers", "dstrides=(2.0, 2.0)")


@pytest.mark.parametrize("form", [tuple, np.asarray], ids=["numbers", "array"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("stride", [5e-324, 1e-300, 1e-42, 1e39, 1e300])
def test_any_finite_positive_stride_is_clamped_and_nothing_else_happens(stride, dtype, form):
    """Not even a warning, also where the stride does not fit the dtype of x."""
    x = np.random.default_rng(0).normal(size=(4, 24)).astype(dtype)
    bound = ss.stride_bounds(24)[stride > 1]
    (y, pullback), (at_bound, at_bound_pullback) = (ss.vjp(x, form([s])) for s in (stride, bound))
    np.testing.assert_allclose(y, at_bound, rtol=0, atol=8 * np.finfo(dtype).eps)
    ds, expected = pullback(y)[1], at_bound_pullback(y)[1]
    np.testing.assert_allclose(ds, expected, rtol=64 * np.finfo(dtype).eps)
    for one in (stride, np.asarray(stride)):
        np.testing.assert_allclose(ss.soft_mask(24, one), ss.soft_mask(24, bound), rtol=1e-15)


def test_tangents_of_strides_may_be_negative_or_zero():
    """Only strides have to be positive."""
    x = np.random.default_rng(0).normal(size=(4, 8))
    _, up = ss.jvp(x, (2.0,), None, (1.0,), plan=PLAN)
    _, down = ss.jvp(x, (2.0,), None, (-1.0,), plan=PLAN)
    np.testing.assert_array_equal(down, -up)


@pytest.mark.parametrize(
    ("xp", "dtype"),
    [
        (Backend.TORCH, "float16"),
        (Backend.TORCH, "bfloat16"),
        (Backend.JAX, "float16"),
        (Backend.JAX, "bfloat16"),
        (Backend.JIT, "float16"),
    ],
    indirect=["xp"],
    ids=str,
)
def test_half_precision_by_fft_where_the_library_has_none(xp, dtype):
    """Asked for by name it is refused; "auto" and "matmul" do without."""
    x = xp.asarray(np.ones((4, 12)), dtype)
    refused = refusal(TypeError, xp.diffstride, x, (2.0,), method="fft")
    check(refused, "method", f"'fft' for {x.dtype}", "'matmul' or 'auto'", "method='auto'")
    for method in ("matmul", "auto"):
        assert xp.diffstride(x, (2.0,), method=method).dtype == x.dtype


def test_half_precision_by_fft_where_the_library_has_it():
    """NumPy computes it in a wider dtype."""
    assert ss.diffstride(np.ones(8, dtype="float16"), (2.0,), method="fft").dtype == "float16"


def test_another_failure_of_the_fft_is_the_library_s_own(monkeypatch):
    """No half precision, no message of ours."""
    x = Backend.STRICT.asarray(np.ones(8))

    def broken(*_, **__):
        raise MemoryError("no room for a spectrum")

    monkeypatch.setattr(Backend.STRICT.namespace.fft, "rfft", broken)
    with pytest.raises(MemoryError, match="no room for a spectrum"):
        ss.diffstride(x, (2.0,), method="fft")


# On an axis of 300 samples "auto" takes the FFT where there is one.
WITHOUT_FFT = {
    "diffstride": lambda x, **how: [ss.diffstride(x, (2.5,), **how)],
    "vjp": lambda x, **how: [ss.vjp(x, (2.5,), **how)[1](x[:, :120])[0]],
    "jvp": lambda x, **how: list(ss.jvp(x, (2.5,), x, (1.0,), **how)),
    "spectral_pool": lambda x, **how: [ss.spectral_pool(x, (120,), **how)],
    "spectral_resize": lambda x, **how: [ss.spectral_resize(x, (301,), **how)],
}


@pytest.mark.parametrize("name", WITHOUT_FFT)
def test_without_an_fft_auto_takes_matrices_and_the_fft_is_refused(name):
    """The standard has the FFT as an extension: here the strict library is one without."""
    call = WITHOUT_FFT[name]
    values = np.random.default_rng(0).normal(size=(2, 300))
    x = Backend.STRICT.asarray(values)
    with load("array_api_strict").ArrayAPIStrictFlags(enabled_extensions=[]):
        found = call(x)
        check(
            refusal(TypeError, call, x, method="fft"),
            "method", "'fft' for an array of array_api_strict", "'auto' and", "method='auto'",
        )  # fmt: skip
    for one, expected in zip(found, call(values, method="matmul"), strict=True):
        np.testing.assert_allclose(np.asarray(one), expected, atol=1e-12)


def test_a_plan_by_fft_is_refused_too_without_one():
    x, plan = Backend.STRICT.asarray(np.ones(8)), ss.make_plan((8,), (2.0,), method="fft")
    with load("array_api_strict").ArrayAPIStrictFlags(enabled_extensions=[]):
        refused = refusal(TypeError, ss.diffstride, x, (2.0,), plan=plan)
    check(refused, "method", "which has no FFT", "'auto' and 'matmul'", "write method='auto'")


TRACED = "strides", "an array whose values cannot be read now", "with a plan", "plan=plan"


def test_traced_strides_without_a_plan_in_jax():
    """Sizes depend on strides, and are planned before tracing."""
    jax = load("jax")
    x = Backend.JAX.asarray(np.ones((4, 8)))
    for function in (ss.diffstride, ss.vjp):
        refused = refusal(TypeError, jax.jit(lambda s, f=function: f(x, s)), x[0, :1])
        check(refused, *TRACED)
    check(refusal(TypeError, jax.jit(lambda s: ss.make_plan((8,), s)), x[0, :1]), *TRACED)


def test_traced_strides_without_a_plan_in_torch():
    """Under vmap, and on the meta device."""
    torch = load("torch")
    x = torch.ones(4, 8)
    batched = torch.func.vmap(lambda s: ss.diffstride(x, s))
    check(refusal(TypeError, batched, torch.ones(3, 1)), *TRACED)
    check(refusal(TypeError, ss.diffstride, x, torch.ones(1, device="meta")), *TRACED)


def row(identifier, kind, call, *message):
    """One refused call, and its error with name, got, allowed and instead."""
    return pytest.param(kind, call, message, id=identifier)


X = np.ones((4, 8))


@pytest.mark.parametrize(
    ("kind", "call", "message"),
    [
        row("pool to nothing", ValueError, lambda: ss.spectral_pool(X, (0,)),
            "out_sizes", "0", "an integer of at least 1", "out_sizes="),
        row("pool to more", ValueError, lambda: ss.spectral_pool(X, (9,)),
            "out_sizes", "9 for axis 1", "1 to 8 (spectral pooling never enlarges)", "write 1"),
        row("pool to a fraction", ValueError, lambda: ss.spectral_pool(X, (4.0,)),
            "out_sizes", "4.0", "an integer of at least 1", "out_sizes="),
        row("pool to a number", ValueError, lambda: ss.spectral_pool(X, 4),
            "out_sizes", "4", "a sequence of", "out_sizes=("),
        row("pool no axis", ValueError, lambda: ss.spectral_pool(X, ()),
            "out_sizes", "()", "a sequence of", "out_sizes=("),
        row("pool more axes than there are", ValueError, lambda: ss.spectral_pool(X, (2, 2, 2)),
            "out_sizes", "3", "1 to 2", "out_sizes=("),
        row("pool other axes than sizes", ValueError,
            lambda: ss.spectral_pool(X, (2, 2), axes=(0,)),
            "out_sizes", "2 for 1 axes (0,)", "one", "out_sizes=("),
        row("pool an axis twice", ValueError, lambda: ss.spectral_pool(X, (2, 2), axes=(0, 0)),
            "axes", "the same axis twice", "at most once", "axes=(-2, -1)"),
        row("pool with a wrong norm", ValueError, lambda: ss.spectral_pool(X, (2,), norm="l2"),
            "norm", "'l2'", WORDS["norm"], "norm='forward'"),
        row("pool by a wrong method", ValueError, lambda: ss.spectral_pool(X, (2,), method="dct"),
            "method", "'dct'", WORDS["method"], "method='auto'"),
        row("pool an empty axis", ValueError, lambda: ss.spectral_pool(X[:, :0], (1,)),
            "x", "an empty axis 1", "at least 1 sample", "other axes"),
        *(
            row(f"mask of size {size!r}", ValueError, lambda size=size: ss.soft_mask(size, 2.0),
                "size", repr(size), "an integer of at least 1", "size=1")
            for size in (0, -4, 2.5, True, 2**53 + 1)
        ),
        row("mask of a size of many digits", ValueError, lambda: ss.soft_mask(10**5000, 2.0),
            "size", "cannot be printed (int)", "at most 9007199254740992", "size=1"),
        row("mask of a huge stride", ValueError, lambda: ss.soft_mask(16, 10**400),
            "stride", "1000", POSITIVE, "at least 1"),
        row("bounds of a huge size", ValueError, lambda: ss.stride_bounds(10**400),
            "size", "000... (int)", "at most 9007199254740992", "size=1"),
        row("tangents beyond any float", ValueError,
            lambda: ss.jvp(X, (2.0,), None, (10**400,)),
            "dstrides", "000... (int) at position 0", "finite numbers", "dstrides=(2.0, 2.0)"),
        *(
            row(f"mask of stride {stride!r}", ValueError,
                lambda stride=stride: ss.soft_mask(16, stride),
                "stride", str(stride), POSITIVE, "at least 1")
            for stride in (0.0, -1.0, NAN, INF, np.float64(0.0), np.float64(-1.0), np.float64(NAN))
        ),
        row("mask of two strides", ValueError, lambda: ss.soft_mask(16, np.ones(2)),
            "stride", "an array of shape (2,)", "shape ()", "strides[0]"),
        row("mask of a word", TypeError, lambda: ss.soft_mask(16, "2"),
            "stride", "str", "number", "stride=2.0"),
        row("mask of an integer array", TypeError, lambda: ss.soft_mask(16, np.asarray(2)),
            "stride", "dtype int64", "real floating point", "xp.astype("),
        row("mask with smoothness -1", ValueError, lambda: ss.soft_mask(16, 2.0, smoothness=-1),
            "smoothness", "-1", "0 (hard crop)", "smoothness=4.0"),
        row("mask with a wrong ramp", ValueError, lambda: ss.soft_mask(16, 2.0, ramp="up"),
            "ramp", "'up'", WORDS["ramp"], "ramp='inside'"),
        row("bounds of size 0", ValueError, lambda: ss.stride_bounds(0),
            "size", "0", "an integer of at least 1", "size=1"),
        row("bounds with smoothness NaN", ValueError, lambda: ss.stride_bounds(8, smoothness=NAN),
            "smoothness", "nan", "0 (hard crop)", "smoothness=4.0"),
        row("bounds with a wrong ramp", ValueError, lambda: ss.stride_bounds(8, ramp=None),
            "ramp", "None", WORDS["ramp"], "ramp='inside'"),
        row("complexity of nothing", ValueError, lambda: ss.complexity([]),
            "strides_per_layer", "no layer", "1 layer or more", "[(2.0, 2.0)]"),
        *(
            row(f"complexity of {stride}", ValueError,
                lambda stride=stride: ss.complexity([(2.0,), (2.0, stride)]),
                "strides", f"{stride} at position 1", POSITIVE, "at least 1")
            for stride in (0.0, -2.0, NAN, INF)
        ),
        row("complexity of a number", TypeError, lambda: ss.complexity(5),
            "strides_per_layer", "5", "an iterable of each layer's strides", "[(2.0, 2.0)]"),
        row("complexity of numbers", TypeError, lambda: ss.complexity([2.0, 2.0]),
            "strides_per_layer", "2.0 (float)", "a sequence of numbers", "[(2.0, 2.0)]"),
        row("complexity of an array", ValueError, lambda: ss.complexity([np.asarray(2.0)]),
            "strides_per_layer", "shape ()", "shape (len(axes),)", "[(2.0, 2.0)]"),
        row("complexity of a number in an array", TypeError, lambda: ss.complexity(np.asarray(2.0)),
            "strides_per_layer", "array(2.)", "an iterable of each layer's", "[(2.0, 2.0)]"),
        row("complexity in no order", TypeError, lambda: ss.complexity({(2.0,), (3.0,)}),
            "strides_per_layer", "{(", "an iterable of each layer's", "[(2.0, 2.0)]"),
        row("complexity of bytes", TypeError, lambda: ss.complexity([b"2"]),
            "strides_per_layer", "b'2' (bytes)", "a sequence of numbers", "[(2.0, 2.0)]"),
        *(
            row(f"complexity beyond any float {layers}", ValueError,
                lambda layers=layers: ss.complexity(layers),
                "strides_per_layer", "1e-200", "below 1e308", "[(2.0, 2.0)]")
            for layers in ([(1e-200, 1e-200)], [(1e-200,), (1e-200,)])
        ),
        row("complexity of what is masked", TypeError,
            lambda: ss.complexity([np.ma.array([2.0], mask=[True])]),
            "strides_per_layer", "a masked array", "all there", ".filled(value)"),
        row("complexity of words", TypeError, lambda: ss.complexity([("2",)]),
            "strides_per_layer", "str at position 0", "real numbers", "[(2.0, 2.0)]"),
    ],
)  # fmt: skip
def test_the_other_functions_refuse(kind, call, message):
    check(refusal(kind, call), *message)


def test_the_options_that_are_listed_are_those_that_can_be_given():
    refused = refusal(TypeError, ss.diffstride, X, (2.0,), wrong=1)
    options = "axes, smoothness, ramp, norm, crop, multiple_of, out_sizes, method, hard"
    assert refused[2] == options
    refused = refusal(TypeError, ss.make_plan, (8,), stride=(2.0,))
    check(refused, "stride", "(2.0,)", "strides, axes", "write strides=")


@pytest.mark.parametrize(
    ("call", "allowed"),
    [
        (lambda **wrong: ss.spectral_pool(X, (4,), **wrong), "axes, norm, method"),
        (lambda **wrong: ss.spectral_resize(X, (4,), **wrong), "axes, norm, method"),
        (lambda **wrong: ss.soft_mask(8, 2.0, **wrong), "smoothness, ramp"),
        (lambda **wrong: ss.stride_bounds(8, **wrong), "smoothness, ramp"),
        (lambda **wrong: ss.complexity([(2.0,)], **wrong), "no more options"),
        (lambda **wrong: ss.jvp(X, (2.0,), None, None, **wrong), "method, hard"),
    ],
    ids=["pool", "resize", "mask", "bounds", "complexity", "jvp"],
)
def test_a_wrong_keyword_is_told_by_every_function(call, allowed):
    """Python's own words for it say neither what is allowed nor what to write."""
    check(refusal(TypeError, call, wrong=1), "wrong", "1", allowed, "leave it out")


@pytest.mark.parametrize(
    "find",
    [lambda: np, lambda: np.ndarray, lambda: load("torch").Tensor],
    ids=["numpy", "ndarray", "Tensor"],
)
def test_a_class_or_a_module_is_no_array(find):
    """They have the attributes of an array, and no values."""
    wrong = find()
    refused = refusal(TypeError, ss.make_plan, (8,), wrong)
    check(refused, "strides", f"{wrong!r} (", "a sequence of numbers", "strides=(2.0, 2.0)")
    check(refusal(TypeError, ss.diffstride, wrong, (2.0,)), "x", "", "an array of", "asarray(x")
    check(refusal(TypeError, ss.jvp, X, (2.0,), wrong, None), "dx", "", "an array", "asarray(dx")
    check(refusal(TypeError, ss.soft_mask, 8, wrong), "stride", "(", "a number or", "stride=2.0")
    refused = refusal(TypeError, ss.complexity, [wrong])
    check(refused, "strides_per_layer", f"{wrong!r} (", "a sequence of numbers", "[(2.0, 2.0)]")


@pytest.mark.parametrize("shape", [(), (1,)], ids=str)
def test_a_truth_value_of_an_array_library_is_no_integer(shape):
    """PyTorch's counts as 1 where Python asks for an integer."""
    one = load("torch").ones(shape, dtype=bool)
    got, whole = f"tensor({'[' if shape else ''}True", "an integer of at least 1"
    refused = refusal(ValueError, ss.make_plan, (8,), (2.0,), multiple_of=one)
    check(refused, "multiple_of", got, whole, "multiple_of=1")
    check(refusal(ValueError, ss.stride_bounds, one), "size", got, whole, "size=1")
    refused = refusal(ValueError, ss.spectral_pool, X, [one])
    check(refused, "out_sizes", got, whole, "out_sizes=(")
    refused = refusal(TypeError, ss.make_plan, (8, 8), (2.0,), axes=[one])
    check(refused, "axes", got, "a sequence of integers", "axes=(-1,)")


def test_what_is_no_shape_no_plan_and_no_choice_of_sizes():
    """Slips that would otherwise be rounded, ignored, or fail far from their cause."""
    for wrong in ((8.7,), (-8,), "88", b"88", {8}, {8: 8}, (True,)):
        refused = refusal(ValueError, ss.make_plan, wrong, (2.0,))
        check(refused, "shape", repr(wrong), "integers of at least 0", "write x.shape")
    refused = refusal(ValueError, ss.make_plan, (8, 10**400), (2.0,))
    check(refused, "shape", "(8, 1000", "at most 9007199254740992", "write x.shape")
    refused = refusal(ValueError, ss.diffstride, np.ones(()), (2.0,))
    check(refused, "x", "shape ()", "at least one dimension", "x[None]")
    refused = refusal(TypeError, ss.diffstride, np.ones(8), (2.0,), plan=(8,))
    check(refused, "plan", "(8,) (tuple)", "a Plan", "make_plan(x.shape, strides)")
    both = {"multiple_of": 4, "out_sizes": (8,)}
    refused = refusal(ValueError, ss.make_plan, (8,), (2.0,), **both)
    check(refused, "out_sizes", "both out_sizes and multiple_of", "one of the two", "multiple_of=1")


def test_cotangents_and_tangents_of_another_library():
    torch = Backend.TORCH.asarray(np.ones((4, 4)))
    x = np.ones((4, 8))
    _, pullback = ss.vjp(x, (2.0,), ramp="inside")
    check(refusal(TypeError, pullback, torch), "g", "Tensor", "x's library", "convert g first")
    refused = refusal(TypeError, ss.jvp, np.ones((4, 4)), (2.0,), torch, None)
    check(refused, "dx", "Tensor", "x's library", "convert dx first")


def masked(values, size):
    """An array of numpy.ma with one missing entry, under which another number lies."""
    array = np.ma.array(np.full((4, size), values))
    array[1, 2] = np.ma.masked
    return array


@pytest.mark.parametrize("size", [32, 300])
@pytest.mark.parametrize(
    "call",
    [
        lambda x: ss.diffstride(x, (2.0,)),
        lambda x: ss.vjp(x, (2.0,)),
        lambda x: ss.jvp(x, (2.0,), x, (1.0,)),
        lambda x: ss.spectral_pool(x, (8,)),
    ],
    ids=["diffstride", "vjp", "jvp", "spectral_pool"],
)
def test_what_is_missing_is_not_taken_for_data(call, size):
    """On short axes, by matrices, and on long ones, by the FFT of whatever lies under the mask."""
    check(
        refusal(TypeError, call, masked(1.0, size)),
        "x", "a masked array (MaskedArray)", "all there", "x.filled(value)",
    )  # fmt: skip
    chunked = load("dask.array").from_array(masked(1.0, size), chunks=(2, -1))
    check(refusal(TypeError, call, chunked), "x", "a masked array (Array)", "all there", "filled")


def test_a_column_of_a_table_is_no_masked_array():
    """It has a method of the name "mask", and numbers that are all there."""
    strides = load("pandas").Series([2.0])
    np.testing.assert_array_equal(ss.diffstride(X, strides), ss.diffstride(X, (2.0,)))
    refused = refusal(TypeError, ss.diffstride, strides, (2.0,))
    check(refused, "x", "Series", "an array of a library", "numpy.asarray(x")


@pytest.mark.parametrize("options", [{}, {"plan": ss.make_plan(X.shape, (2.0,))}], ids=["", "plan"])
def test_strides_are_not_missing(options):
    refused = refusal(TypeError, ss.diffstride, X, np.ma.array([2.0], mask=[True]), **options)
    check(refused, "strides", "a masked array (MaskedArray)", "all there", "strides.filled(value)")


@pytest.mark.parametrize("kind", ["sparse_coo", "sparse_csr", "sparse_csc", "nested", "mkldnn"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_tensors_that_are_not_dense(kind):
    """Some were taken, and others failed inside of PyTorch."""
    torch = load("torch")
    made = {
        "sparse_coo": torch.Tensor.to_sparse,
        "sparse_csc": torch.Tensor.to_sparse_csc,
        "sparse_csr": torch.Tensor.to_sparse_csr,
        "nested": lambda x: torch.nested.nested_tensor([x[0], x[1, :4]]),
        "mkldnn": torch.Tensor.to_mkldnn,
    }
    x = torch.ones(2, 8)
    wrong = made[kind](x)
    for call in (lambda: ss.diffstride(wrong, (2.0,)), lambda: ss.spectral_pool(wrong, (4,))):
        check(refusal(TypeError, call), "x", f"a {kind} tensor", "a dense", "write x.to_")
    refused = refusal(TypeError, ss.diffstride, x, wrong)
    check(refused, "strides", f"a {kind} tensor", "a dense", "write strides.to_")
    refused = refusal(TypeError, ss.complexity, [wrong])
    check(refused, "strides_per_layer", f"a {kind} tensor", "a dense", ".to_")


def test_tensors_without_values():
    """Shapes of x are enough for shapes of y; strides without values give no sample of x."""
    torch = load("torch")
    x, strides = torch.ones(4, 8), torch.full((1,), 2.0)
    for method in ("matmul", "fft"):
        plan = ss.make_plan(x.shape, (2.0,), ramp="inside", method=method)
        for s in ((2.0,), strides.to("meta")):
            y = ss.diffstride(x.to("meta"), s, plan=plan)
            assert (y.shape, y.device.type) == ((4, 4), "meta")
        refused = refusal(TypeError, ss.diffstride, x, strides.to("meta"), plan=plan)
        check(refused, "strides", "on meta, which has no values, for x on cpu", "x on meta", "(2.0")


def test_words_of_an_enumeration_are_those_words():
    plan = ss.make_plan((8,), (2.0,), ramp=Word.INSIDE, norm=Word.FORWARD, method=Word.FFT)
    assert plan is ss.make_plan((8,), (2.0,), ramp="inside", norm="forward", method="fft")
    np.testing.assert_array_equal(ss.diffstride(np.ones(8), (2.0,), plan=plan), np.ones(4))


PARAMETERS = [
    *((ss.make_plan, {"shape": (2, 8), "strides": (2.0,)}, name)
      for name in ("shape", "strides", "axes", "crop", "multiple_of", "out_sizes", *WORDS)),
    *((ss.diffstride, {"x": X, "strides": (2.0,)}, name) for name in ("x", "strides", "plan")),
    *((ss.jvp, {"x": X, "strides": (2.0,), "dx": None, "dstrides": None}, name)
      for name in ("dx", "dstrides")),
    *((ss.spectral_pool, {"x": X, "out_sizes": (4,)}, name) for name in ("out_sizes", "axes")),
    *((ss.spectral_resize, {"x": X, "sizes": (9,)}, name) for name in ("sizes", "axes")),
    *((ss.soft_mask, {"size": 8, "stride": 2.0}, name)
      for name in ("size", "stride", "smoothness")),
    (ss.stride_bounds, {"size": 8}, "size"),
    (ss.complexity, {}, "strides_per_layer"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("function", "good", "name"),
    PARAMETERS,
    ids=[f"{function.__name__} {name}" for function, _, name in PARAMETERS],
)
@given(value=st.data())
def test_nonsense_is_answered_or_refused_in_one_line(function, good, name, value):
    answers_or_refuses(function, **good | {name: value.draw(nonsense())})


@pytest.mark.parametrize(
    ("module", "kind", "message"),
    [
        ("absent", ImportError, r"far: got no absent .*pip install absent, or .*\[x\]"),
        ("other", ModuleNotFoundError, r"No module named 'other'"),  # what that one lacks itself
    ],
)
def test_a_package_that_is_missing_is_named(module, kind, message):
    with pytest.raises(kind, match=f"^{message}"), checks.needed("far", "absent", extra="x"):
        importlib.import_module(module)


def test_an_error_without_a_message_is_told_by_its_name():
    assert checks.first_line(KeyError()) == "'KeyError'"
    assert checks.first_line(ValueError("one\ntwo")) == "'one'"
