"""The suite run on one implementation: examples drawn, claims compared, failures made readable."""

import re
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

from spectral_stride import checks
from spectral_stride.testing.cases import Case, typical
from spectral_stride.testing.implementation import (
    Array,
    Call,
    Implementation,
    dtype_name,
    to_numpy,
)
from spectral_stride.testing.properties import PROPERTIES, Claim, Property

# What a caller may hold fixed: the options that an implementation may not have.
FIXABLE = ("smoothness", "ramp", "norm", "method", "hard")
# Which function shows a wrong result, also in a property that does not need it.
SHOWN_BY = {"dx": "vjp", "dstrides": "vjp", "dy": "jvp"}


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
    cause : str
        What is wrong where it failed: a result (y, dx, dstrides, dy), an input that was written
        to, or an exception and the line that raised it. Rows of one cause are told together.
    """

    property: str
    cases: int = 0
    largest: float = 0.0
    failure: str = ""
    not_run: str = ""
    cause: str = ""


class WrongResultError(AssertionError):
    """A claim that does not hold."""

    def __init__(self, claim: Claim, why: str) -> None:
        super().__init__(claim.what + why)
        self.result = re.split(r"\W", claim.what)[0]


@dataclass(frozen=True)
class Report:
    """What became of the properties of one implementation, one row each."""

    name: str
    rows: tuple[Row, ...]

    @property
    def failures(self) -> tuple[Row, ...]:
        """The rows of the properties that do not hold."""
        return tuple(row for row in self.rows if row.failure)

    @property
    def story(self) -> str:
        """The failures, those of one cause together: one is told, and the others are named."""
        causes: dict[str, list[Row]] = {}
        for row in self.failures:
            causes.setdefault(row.cause, []).append(row)
        stories = []
        for cause, (first, *others) in causes.items():
            told = [first.failure]
            if others:
                told.append(f"    the same ({cause}) in:")
                told += [f"        {row.property}" for row in others]
            stories.append("\n".join(told))
        if len(causes) > 1:
            stories.insert(1, f"The rest may follow from this ({', '.join(list(causes)[1:])}):")
        return "\n\n".join(stories)

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
        raise WrongResultError(claim, f" is of {got}, and should be of {wanted}")
    found, expected = to_numpy(claim.found), np.asarray(claim.expected, dtype=np.float64)
    if found.shape != expected.shape:
        raise WrongResultError(claim, f" has shape {found.shape}, not {expected.shape}")
    if found.size == 0:
        return 0.0
    error, atol = np.abs(found - expected), np.broadcast_to(claim.atol, found.shape)
    wrong = ~(error <= atol)  # a NaN is wrong too
    if np.any(wrong):
        worst = np.unravel_index(
            np.argmax(np.where(wrong, np.nan_to_num(error, nan=np.inf), -1)), found.shape
        )
        where = f"[{', '.join(str(int(i)) for i in worst)}]" if worst else ""
        raise WrongResultError(
            claim,
            f"{where} is {found[worst]:.17g}, and should be {expected[worst]:.17g} to "
            f"within {atol[worst]:.2g}; {np.sum(wrong)} of {found.size} entries are wrong",
        )
    return float(np.max(np.divide(error, atol, out=np.zeros_like(error), where=error > 0)))


def _why_not(implementation: Implementation, prop: Property) -> str:
    """Why a property cannot be run on an implementation, or an empty string."""
    missing = implementation.lacks(prop.needs)
    if missing:
        return f"no {missing} was given"
    own: dict[str, Any] = prop.draw.keywords  # type: ignore[attr-defined]  # a partial
    fixed = implementation.fixed
    held = [name for name in prop.varies if name in fixed and own.get(name) != fixed[name]]
    if held:
        return f"{' and '.join(held)} is fixed"
    wanted = own.get("dtypes", ())
    if wanted and not set(wanted) <= set(implementation.dtypes):
        return f"{' and '.join(wanted)} is not among its dtypes"
    return ""


def run(
    implementation: Implementation,
    prop: Property,
    examples: float,
    derandomize: bool = True,
    told: Collection[str] = (),
) -> Row:
    """Run one property on ``examples`` drawn cases, times its share, and on those of `always`.

    A failure is made small, unless its cause is among those that are told already.
    """
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
    drawn["methods"] = implementation.methods
    if "dtypes" not in prop.varies:
        drawn["dtypes"] = implementation.dtypes
    chosen = settings(
        max_examples=max(1, round(examples * prop.share)),
        derandomize=derandomize,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
    )

    def attempt(chosen: settings) -> None:
        # Drawn cases come first, because they shrink: what they find is shown by a small case.
        if chosen.max_examples > 1:  # one alone is the simplest, which shows nothing
            chosen(given(prop.draw(**drawn))(check))()
        kept = {*prop.draw.keywords, *implementation.fixed}  # type: ignore[attr-defined]
        for one in implementation.always:
            asked = {name: value for name, value in one.items() if name not in kept}
            cases = prop.draw(**drawn | asked, strides=typical)
            with suppress(Unsatisfiable):  # where an option is fixed there may be no such case
                settings(chosen, max_examples=1)(given(cases)(check))()

    try:
        try:
            attempt(settings(chosen, phases=set(chosen.phases) - {Phase.shrink, Phase.explain}))
        except Exception as error:
            found = last, count, largest
            if last is not None and Phase.shrink in chosen.phases and _cause(error) not in told:
                attempt(chosen)
            last, count, largest = found  # where others were drawn and hold, it is what was found
            raise
    except Exception as error:  # whatever an implementation raises is a failure of the property
        if last is None:
            raise  # nothing has been run yet: this is no failure of the implementation
        cause = _cause(error)
        what = str(error) if isinstance(error, WrongResultError) else f"{cause}: {error}"
        called = SHOWN_BY.get(cause, next(iter(prop.needs), "forward"))
        lines = [what, *call_of(implementation, last, called)]
        story = "\n    ".join([f"{prop.name}: {prop.statement}", *lines])
        return Row(prop.name, count, failure=story, cause=cause)
    return Row(prop.name, count, largest)


def _cause(error: Exception) -> str:
    """The result that is wrong, or an exception and the line that raised it."""
    if isinstance(error, WrongResultError):
        return error.result
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {frame.filename}:{frame.lineno}"


def call_of(implementation: Implementation, case: Case, called: str) -> list[str]:
    """Lines to paste: a call to start from, on one case, of one of its functions."""
    lines = ["from spectral_stride.testing import Case"]
    for name in ("asarray", called):
        function = getattr(implementation, name)
        module, path = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
        line = f"# {name}: that of {implementation.name}"
        if module != "__main__" and function is getattr(sys.modules.get(module), path, None):
            line = f"from {module} import {path}" + (f" as {name}" if path != name else "")
        lines.append(line)
    lines += [
        f"case = {case!r}",
        "array = lambda values: asarray(case.laid_out(values), case.dtype)",
        "x, strides = array(case.values(case.shape)), array(case.strides)",
    ]
    if called == "vjp":
        lines.append("y, pullback = vjp(x, strides, **case.options)")
        lines.append("pullback(array(case.values(case.out_shape, 1)))")
    elif called == "resize":
        lines.append("options = {name: case.options[name] for name in ('axes', 'norm', 'method')}")
        lines.append("resize(x, case.out_sizes, **options)")
    elif called == "jvp":
        lines.append("dx = array(case.values(case.shape, 1))")
        lines.append("jvp(x, strides, dx, strides, **case.options)")
    else:
        lines.append("forward(x, strides, **case.options)")
    return lines


def check_implementation(
    asarray: Callable[..., Array],
    forward: Callable[..., Array],
    *,
    vjp: Callable[..., Any] | None = None,
    jvp: Callable[..., Any] | None = None,
    resize: Callable[..., Array] | None = None,
    name: str = "this implementation",
    dtypes: Sequence[str] = ("float64", "float32"),
    few_sizes: bool = False,
    properties: Iterable[str] | None = None,
    max_examples: int | None = None,
    derandomize: bool = True,
    **fixed: Any,
) -> Report:
    """Run the property suite on an implementation of the operator, ours or anyone's.

    Cases are drawn by Hypothesis: shapes with empty batches and axes of one sample, strides on and
    off the corners of the mask and outside their bounds, both ramps, all norms and methods, wider
    canvases, held plans, arrays that are transposed, strided or broadcast views. What comes out is
    compared with dense float64 matrices, with central and one-sided differences, and with itself.
    Four cases are not left to chance: each property also gets an axis of 300 samples and two of 70,
    in arrays of which one is transposed, one strided and one broadcast, and a hard crop.

    Parameters
    ----------
    asarray : callable
        ``asarray(values, dtype)`` makes an array of the library from a NumPy array and the name of
        a dtype, such as `numpy.asarray` or `torch.as_tensor`. Where it keeps the strides of a
        view, as these do, the functions below get views. A copy (`torch.tensor`) hides from the
        suite what they do with one.
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
    resize : callable, optional
        ``resize(x, sizes, *, axes, norm, method)`` returns y, as `spectral_stride.spectral_resize`
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
        Cases to draw for each property, half as many where it costs more, besides the four; that
        of Hypothesis' current profile by default.
    derandomize : bool, optional
        Draw the same cases each time. False draws others each time, as Hypothesis' setting of this
        name does.
    **fixed
        Options that are not drawn because the implementation has one value only: ``smoothness``,
        ``ramp``, ``norm``, ``method`` or ``hard``, for example ``ramp="outside"``. With
        ``hard=False`` the functions get no option of this name.

    Returns
    -------
    Report
        One row for each property: the number of cases, and the largest error over what rounding
        allows. A property that needs a function that was not given is not run, and its row says so.

    Raises
    ------
    AssertionError
        If a property does not hold. The message has, for each cause, the smallest case that was
        found, what came out for it, and a call that can be pasted; then the other properties that
        the same result or exception is wrong in. The first cause is the one to look at first.
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
    ...     np.asarray,
    ...     ss.diffstride,
    ...     vjp=ss.vjp,
    ...     jvp=ss.jvp,
    ...     resize=ss.spectral_resize,
    ...     max_examples=5,
    ... )
    >>> len(report.rows) == len(PROPERTIES) and not report.failures
    True
    """
    __tracebackhide__ = True  # pytest shows the message, and not this function
    for argument, function in (("asarray", asarray), ("forward", forward)):
        checks.is_callable(argument, function)
    for argument, given_function in (("vjp", vjp), ("jvp", jvp), ("resize", resize)):
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
    if not isinstance(derandomize, bool):
        remedy = "leave it out to draw the same cases each time"
        checks.refuse(TypeError, "derandomize", repr(derandomize), "True or False", remedy)
    examples = settings().max_examples
    if max_examples is not None:
        examples = checks.positive_integer("max_examples", max_examples)
    implementation = Implementation(
        name, asarray, forward, vjp, jvp, tuple(dtypes), few_sizes, fixed, resize=resize
    )
    rows: list[Row] = []
    for one in chosen:
        told = {row.cause for row in rows}
        rows.append(run(implementation, known[one], examples, derandomize, told))
    report = Report(name, tuple(rows))
    if report.failures:
        count = f"{len(report.failures)} of {len(report.rows)} properties"
        raise AssertionError(f"{name} does not have {count}:\n\n{report.story}")
    return report
