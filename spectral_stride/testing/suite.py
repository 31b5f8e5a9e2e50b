"""The suite run on one implementation: examples drawn, claims compared, failures made readable."""

import re
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj
from hypothesis import HealthCheck, given, settings

from spectral_stride import checks
from spectral_stride.testing.cases import Case
from spectral_stride.testing.implementation import (
    Array,
    Call,
    Implementation,
    dtype_name,
    to_numpy,
)
from spectral_stride.testing.properties import PROPERTIES, Claim, Property

# What a caller may hold fixed: the options that an implementation may not have.
FIXABLE = ("smoothness", "ramp", "norm", "method")


@dataclass(frozen=True)
class Row:
    """What became of one property.

    Attributes
    ----------
    property : str
        Its name.
    cases : int
        Cases that it was run on.
    largest : float
        The largest error among them, over what rounding allows: up to 1.
    failure : str
        The smallest example found that it does not hold for; empty if it held.
    not_run : str
        Why it was not run; empty if it was.
    """

    property: str
    cases: int = 0
    largest: float = 0.0
    failure: str = ""
    not_run: str = ""


@dataclass(frozen=True)
class Report:
    """What became of the properties of one implementation, one row each."""

    name: str
    rows: tuple[Row, ...]

    @property
    def failures(self) -> tuple[Row, ...]:
        """The rows of the properties that do not hold."""
        return tuple(row for row in self.rows if row.failure)

    def __str__(self) -> str:
        width = max(len(row.property) for row in self.rows)
        lines = []
        for row in self.rows:
            outcome = f"{row.cases:5d} cases, largest error {row.largest:.2g} of what is allowed"
            if row.failure:
                outcome = "FAILED"
            elif row.not_run:
                outcome = f"not run: {row.not_run}"
            lines.append(f"{row.property:{width}}  {outcome}")
        return f"{self.name}\n" + "\n".join(lines)


def _kind(array: Array) -> tuple[Any, ...]:
    """Library, dtype and device of an array."""
    where: tuple[Any, ...] = (type(array).__name__,)
    if is_array_api_obj(array):
        where = (array_namespace(array).__name__, device(array))
    return (*where, dtype_name(array))


def _compare(claim: Claim) -> float:
    """Return the largest error over what is allowed, or raise with what is wrong."""
    if claim.like is not None and _kind(claim.found) != _kind(claim.like):
        got, wanted = _kind(claim.found), _kind(claim.like)
        raise AssertionError(f"{claim.what} is of {got}, and should be of {wanted}")
    found, expected = to_numpy(claim.found), np.asarray(claim.expected, dtype=np.float64)
    if found.shape != expected.shape:
        raise AssertionError(f"{claim.what} has shape {found.shape}, not {expected.shape}")
    if found.size == 0:
        return 0.0
    error, atol = np.abs(found - expected), np.broadcast_to(claim.atol, found.shape)
    wrong = ~(error <= atol)  # a NaN is wrong too
    if np.any(wrong):
        worst = np.unravel_index(
            np.argmax(np.where(wrong, np.nan_to_num(error, nan=np.inf), -1)), found.shape
        )
        where = f"[{', '.join(str(int(i)) for i in worst)}]" if worst else ""
        raise AssertionError(
            f"{claim.what}{where} is {found[worst]:.17g}, and should be {expected[worst]:.17g} to "
            f"within {atol[worst]:.2g}; {np.sum(wrong)} of {found.size} entries are wrong"
        )
    return float(np.max(np.divide(error, atol, out=np.zeros_like(error), where=error > 0)))


def _why_not(implementation: Implementation, prop: Property) -> str:
    """Why a property cannot be run on an implementation, or an empty string."""
    missing = implementation.lacks(prop.needs)
    if missing:
        return f"no {missing} was given"
    held = [name for name in prop.varies if name in implementation.fixed]
    if held:
        return f"{' and '.join(held)} is fixed"
    wanted = prop.draw.keywords.get("dtypes", ())  # type: ignore[attr-defined]  # a partial
    if wanted and not set(wanted) <= set(implementation.dtypes):
        return f"{' and '.join(wanted)} is not among its dtypes"
    return ""


def run(implementation: Implementation, prop: Property, examples: float) -> Row:
    """Run one property on about ``examples`` cases, times the property's share."""
    reason = _why_not(implementation, prop)
    if reason:
        return Row(prop.name, not_run=reason)
    count, largest = 0, 0.0
    last: Case | None = None

    def check(case: Case) -> None:
        nonlocal count, largest, last
        last = case  # the smallest example is the last one that Hypothesis tries
        errors = [_compare(claim) for claim in prop.claims(Call(implementation, case))]
        count, largest = count + 1, max(largest, *errors)

    # Hypothesis derives the examples of a derandomized run from the function's name.
    check.__name__ = re.sub(r"\W", "_", f"{prop.name}_of_{implementation.name}")
    drawn: dict[str, Any] = {"few_sizes": implementation.few_sizes, **implementation.fixed}
    if "dtypes" not in prop.varies:
        drawn["dtypes"] = implementation.dtypes
    chosen = settings(
        max_examples=max(2, round(examples * prop.share)),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
    )
    try:
        chosen(given(prop.draw(**drawn))(check))()
    except Exception as error:  # whatever an implementation raises is a failure of the property
        if last is None:
            raise  # nothing has been run yet: this is no failure of the implementation
        return Row(prop.name, count, failure=_story(prop, last, error))
    return Row(prop.name, count, largest)


def _story(prop: Property, case: Case, error: Exception) -> str:
    """Tell a failure: the property, what came out, the last case, and a call to start from."""
    what = str(error)
    if not isinstance(error, AssertionError):
        frame = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__} at {frame.filename}:{frame.lineno}: {error}"
    lines = [
        "from spectral_stride.testing.cases import Case",
        f"case = {case!r}",
        "x = asarray(case.values(case.shape), case.dtype)",
        "strides = asarray(case.strides, case.dtype)",
    ]
    if "vjp" in prop.needs:
        lines.append("y, pullback = vjp(x, strides, **case.options)")
        lines.append("pullback(asarray(case.values(case.out_shape, 1), case.dtype))")
    elif "jvp" in prop.needs:
        lines.append("dx = asarray(case.values(case.shape, 1), case.dtype)")
        lines.append("jvp(x, strides, dx, strides, **case.options)")
    else:
        lines.append("forward(x, strides, **case.options)")
    return "\n".join([f"{prop.name}: {prop.statement}", *[f"    {one}" for one in (what, *lines)]])


def check_implementation(
    asarray: Callable[..., Array],
    forward: Callable[..., Array],
    *,
    vjp: Callable[..., Any] | None = None,
    jvp: Callable[..., Any] | None = None,
    name: str = "this implementation",
    dtypes: Sequence[str] = ("float64", "float32"),
    few_sizes: bool = False,
    properties: Iterable[str] | None = None,
    max_examples: int | None = None,
    **fixed: Any,
) -> Report:
    """Run the property suite on an implementation of the operator, ours or anyone's.

    Cases are drawn by Hypothesis: shapes with empty batches and axes of one sample, strides on and
    off the corners of the mask and outside their bounds, both ramps, all norms and methods, wider
    canvases, held plans. What comes out is compared with dense float64 matrices, with central and
    one-sided differences, and with itself.

    Parameters
    ----------
    asarray : callable
        ``asarray(values, dtype)`` makes an array of the library from a NumPy array and the name of
        a dtype, such as `numpy.asarray`.
    forward : callable
        ``forward(x, strides, **options)`` returns y, as `spectral_stride.diffstride` does: x and
        strides are arrays that ``asarray`` made (strides of shape (len(axes),), in input samples
        per output sample), the options either those of `spectral_stride.make_plan` or ``plan``
        alone.
    vjp : callable, optional
        ``vjp(x, strides, **options)`` returns y and a pullback, ``pullback(g) -> (dx, dstrides)``,
        as `spectral_stride.vjp` does.
    jvp : callable, optional
        ``jvp(x, strides, dx, dstrides, **options)`` returns y and dy, as `spectral_stride.jvp`
        does.
    name : str, optional
        What reports call it.
    dtypes : sequence of str, optional
        Those that it has of "float64" and "float32".
    few_sizes : bool, optional
        Keep to a few sizes, for an implementation that is compiled anew for each.
    properties : iterable of str, optional
        Names of the properties to run; all of `PROPERTIES` by default.
    max_examples : int, optional
        Cases to draw for each property; that of Hypothesis' current profile by default.
    **fixed
        Options that are not drawn because the implementation has one value only: ``smoothness``,
        ``ramp``, ``norm`` or ``method``, for example ``ramp="outside"``.

    Returns
    -------
    Report
        One row for each property: the number of cases, and the largest error over what rounding
        allows. A property that needs a function that was not given is not run, and its row says so.

    Raises
    ------
    AssertionError
        If a property does not hold. The message has, for each that fails, the smallest case that
        was found, and what came out for it.
    ValueError, TypeError
        If an argument is out of its range.

    Notes
    -----
    y, dx and dy have to keep the library, dtype and device of x; dstrides that of the strides.
    Rounding allows 8 eps sqrt(N_1 ... N_d) for y and dx, over d axes of N_i samples, times the gain
    of the norm, and 16 eps times the sum of the magnitudes of its terms for a stride gradient.

    Examples
    --------
    >>> import numpy as np
    >>> import spectral_stride as ss
    >>> from spectral_stride.testing import check_implementation
    >>> report = check_implementation(
    ...     np.asarray, ss.diffstride, vjp=ss.vjp, jvp=ss.jvp, max_examples=5
    ... )
    >>> len(report.rows) == len(PROPERTIES) and not report.failures
    True
    """
    __tracebackhide__ = True  # pytest shows the message, and not this function
    for argument, function in (("asarray", asarray), ("forward", forward)):
        checks.is_callable(argument, function)
    for argument, given_function in (("vjp", vjp), ("jvp", jvp)):
        if given_function is not None:
            checks.is_callable(argument, given_function)
    for dtype in checks.words("dtypes", dtypes, ("float64", "float32")):
        checks.one_of("dtypes", dtype, ("float64", "float32"))
    for option in fixed:
        if option not in FIXABLE:
            allowed = f"options that can be held fixed: {', '.join(FIXABLE)}"
            remedy = "leave it out: it is drawn, and `forward` gets it as a keyword argument"
            checks.refuse(TypeError, option, repr(fixed[option]), allowed, remedy)
    known = {prop.name: prop for prop in PROPERTIES}
    chosen = list(known)
    if properties is not None:
        chosen = [str(one) for one in checks.words("properties", properties, tuple(known))]
    for one in chosen:
        if one not in known:
            near = get_close_matches(one, known, 1) or [chosen[0]]
            allowed = f"names from PROPERTIES, such as {', '.join(list(known)[:2])}"
            remedy = f"write properties=[{(near[0] if near[0] in known else next(iter(known)))!r}]"
            checks.refuse(ValueError, "properties", repr(one), allowed, remedy)
    examples = settings().max_examples
    if max_examples is not None:
        examples = checks.positive_integer("max_examples", max_examples)
    implementation = Implementation(
        name, asarray, forward, vjp, jvp, tuple(dtypes), few_sizes, fixed
    )
    report = Report(name, tuple(run(implementation, known[one], examples) for one in chosen))
    if report.failures:
        count = f"{len(report.failures)} of {len(report.rows)} properties"
        stories = "\n\n".join(row.failure for row in report.failures)
        raise AssertionError(f"{name} does not have {count}:\n\n{stories}")
    return report
