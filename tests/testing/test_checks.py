"""`spectral_stride.testing` itself: it rejects what is wrong, and says readably what and where."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, settings

import spectral_stride as ss
from spectral_stride.testing import PROPERTIES, Case, check_implementation
from spectral_stride.testing.__main__ import main
from spectral_stride.testing.agreement import check_agreement
from spectral_stride.testing.cases import LAYOUTS
from spectral_stride.testing.implementation import Implementation
from spectral_stride.testing.known import KNOWN, Known, UnavailableError
from tests.libraries import load_or_skip
from tests.testing.mutants import CORE, MUTANTS, norm_swapped

ROOT = Path(__file__).parents[2]


@pytest.fixture
def without_shrinking():
    """Hypothesis as it is, but content with any example."""
    before = settings.get_current_profile_name()
    settings.register_profile("any", settings(), phases=[Phase.generate], max_examples=60)
    settings.load_profile("any")
    yield
    settings.load_profile(before)


@pytest.mark.usefixtures("without_shrinking")
@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_suite_rejects(mutant):
    """Every mutant falls to few cases, and by a property: not because it cannot be called."""
    implementation, failure = mutant(), ""
    resizes = implementation["resize"] is not CORE["resize"]
    for prop in sorted(PROPERTIES, key=lambda prop: ("resize" in prop.needs) != resizes):
        try:
            check_implementation(**implementation, properties=[prop.name], max_examples=10)
        except AssertionError as error:
            failure = str(error)
            break  # one is enough
    assert failure.startswith("this implementation does not have 1 of 1 properties")
    assert "Error at" not in failure


def layouts_of(x):
    """How an array of two axes or more lies in memory: what is wrong with taking it as it lies."""
    found = set()
    if 0 in x.strides:
        found.add("broadcast")
    elif list(x.strides) == sorted(x.strides) and not x.flags.c_contiguous:
        found.add("transposed")
    elif min(x.strides) > x.itemsize:
        found.add("strided")
    return found


@pytest.mark.parametrize("prop", PROPERTIES, ids=str)
def test_every_property_meets_long_axes_and_every_layout(prop):
    """However few are drawn; in each array that the implementation is given."""
    sizes, layouts = set(), {}

    def resize(x, sizes_, *, axes, **options):
        sizes.update(x.shape[axis] for axis in axes)
        if prop.needs:  # what goes back is an output, which lies in memory as its maker left it
            layouts.setdefault("resize", set()).update(layouts_of(x))
        return ss.spectral_resize(x, sizes_, axes=axes, **options)

    def seen(function):
        def call(x, strides, *others, plan=None, **options):
            plan = plan or ss.make_plan(x.shape, strides, **options)
            sizes.update(plan.sizes)
            for place, array in enumerate((x, *others[:1])):  # x, and dx of a tangent
                layouts.setdefault((function, place), set()).update(layouts_of(array))
            found = function(x, strides, *others, plan=plan)
            if function is not ss.vjp:
                return found

            def pullback(g):
                layouts.setdefault((function, 1), set()).update(layouts_of(g))
                return found[1](g)

            return found[0], pullback

        return call

    forward, vjp, jvp = map(seen, (ss.diffstride, ss.vjp, ss.jvp))
    check_implementation(
        np.asarray,
        forward,
        vjp=vjp,
        jvp=jvp,
        resize=resize,
        properties=[prop.name],
        max_examples=1,
    )
    assert max(sizes) > 256
    assert any(64 < size <= 256 for size in sizes)
    assert layouts
    assert all(found == {"broadcast", "transposed", "strided"} for found in layouts.values())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(3, 5), (5,), (1, 5), (0, 5), (2, 3, 4)])
def test_a_layout_changes_no_value(layout, dtype, shape):
    """And what it gives may be written to, as PyTorch wants it."""
    case = Case(shape, (len(shape) - 1,), (2.0,), dtype=dtype, layout=layout)
    values = case.values(shape)
    array = case.laid_out(values)
    assert array.dtype == dtype
    assert array.flags.writeable
    np.testing.assert_array_equal(array, values)


@pytest.mark.parametrize("name", ["numpy", "array_api_strict", "torch", "spectral_stride.torch"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_libraries_that_know_strides_keep_them(name, layout, dtype):
    """The implementation is given the view, and no copy in the order of the axes."""
    asarray = load_or_skip(next(known for known in KNOWN if known.name == name)).asarray
    case = Case((3, 5), (1,), (2.0,), dtype=dtype, layout=layout)
    given = case.laid_out(case.values(case.shape))
    found = asarray(given, dtype)
    if hasattr(found, "stride"):
        steps = tuple(found.itemsize * step for step in found.stride())
    else:
        steps = np.asarray(found).strides
    assert steps == given.strides
    assert layouts_of(given) == {layout} - {"contiguous"}


def test_the_same_cases_are_drawn_each_time_unless_others_are_asked_for():
    name = "output_is_the_dense_matrix_times_the_input"

    def drawn(**options):
        seen = []

        def forward(x, strides, **options):
            seen.append((x.tobytes(), strides.tobytes()))
            return ss.diffstride(x, strides, **options)

        check_implementation(np.asarray, forward, properties=[name], max_examples=20, **options)
        return seen

    assert drawn() == drawn()
    assert drawn(derandomize=False) != drawn(derandomize=False)


def wrong_forward(x, strides, **options):
    """For a paste, that imports it."""
    return ss.diffstride(x, strides, **options) * 1.001


def wrong_vjp(x, strides, **options):
    """Wrong in the stride gradients, and it cannot count axes from the end."""
    y, pullback = ss.vjp(x, strides, **options)
    if min(options.get("axes") or [0]) < 0:
        raise RuntimeError("no such axis")

    def doubled(g):
        dx, ds = pullback(g)
        return dx, 2 * ds

    return y, doubled


@pytest.mark.usefixtures("without_shrinking")
def test_failures_are_told_by_cause_and_the_first_cause_first():
    """One story a cause, with the others that it explains, and a call that runs as it is pasted."""
    with pytest.raises(AssertionError) as caught:
        check_implementation(np.asarray, wrong_forward, vjp=wrong_vjp, max_examples=10)
    head, first, rest, *others = str(caught.value).split("\n\n")
    assert re.fullmatch(r"this implementation does not have \d+ of \d+ properties:", head)
    assert first.startswith("output_is_the_dense_matrix_times_the_input: ")
    assert "    the same (y) in:\n        constants_are_multiplied_by" in first
    where = re.escape(f"{Path(__file__)}:")
    assert re.fullmatch(
        rf"The rest may follow from this \(RuntimeError at {where}\d+, dstrides\):", rest
    )
    assert len(others) == 2
    assert re.search(rf"RuntimeError at {where}\d+: no such axis", others[0])
    assert re.search(r"^    dstrides.* is .*, and should be", others[1], re.MULTILINE)
    for story in (first, *others):
        code = story[story.index("    from ") :].partition("\n    the same")[0]
        exec("\n".join(line.strip() for line in code.splitlines()), {})
    # What does not hold is counted once each, told or named.
    counted = re.findall(r"\d+", head)[0]
    names = [prop.name for prop in PROPERTIES if re.search(rf"\b{prop.name}\b", str(caught.value))]
    assert len(names) == int(counted)


def test_what_always_raises_is_refused_after_few_calls():
    """One failure is made small; that the others have the same cause is told, and no more."""
    calls = 0

    def unwritten(*_, **__):
        nonlocal calls
        calls += 1
        raise NotImplementedError("not yet")

    with pytest.raises(AssertionError, match=r"NotImplementedError at .*: not yet"):
        check_implementation(np.asarray, unwritten, vjp=unwritten, jvp=unwritten, resize=unwritten)
    assert calls < 8 * len(PROPERTIES)


def test_a_failure_that_is_not_drawn_again_keeps_its_case():
    """The one that was found, and not the last of those that were drawn to make it small."""
    wrong = []

    def forward(x, strides, **options):
        if x.size > 12 and not wrong:
            wrong.append(x.tobytes())
        return ss.diffstride(x, strides, **options) + (wrong == [x.tobytes()])

    name = "output_is_the_dense_matrix_times_the_input"
    with pytest.raises(AssertionError) as caught:
        check_implementation(
            np.asarray, forward, properties=[name], max_examples=20, derandomize=False
        )
    (line,) = re.findall(r"case = (Case\(.*\))", str(caught.value))
    case = eval(line)
    x = np.asarray(case.laid_out(case.values(case.shape)), case.dtype)
    assert x.tobytes() == wrong[0]


def test_the_call_that_is_shown_has_the_wrong_result():
    """Of a stride gradient it is the pullback, also in a property that needs no gradients."""
    with pytest.raises(AssertionError, match="dstrides") as caught:
        check_implementation(
            np.asarray,
            ss.diffstride,
            vjp=wrong_vjp,
            properties=["strides_move_inside_a_held_plan"],
        )
    assert "from tests.testing.test_checks import wrong_vjp as vjp" in str(caught.value)
    assert "pullback(array(" in str(caught.value)


def test_a_failure_shows_the_smallest_case():
    """Property, worst entry, tolerance, and a case that can be pasted and run."""

    def forward(x, strides, **options):
        y = ss.diffstride(x, strides, **options)
        return y * 1.001 if x.ndim > 1 else y

    name = "output_is_the_dense_matrix_times_the_input"
    with pytest.raises(AssertionError) as caught:
        check_implementation(np.asarray, forward, name="mine", properties=[name])
    text = str(caught.value)
    assert text.startswith(
        f"mine does not have 1 of 1 properties:\n\n{name}: The output is y = A x"
    )
    assert re.search(r"y\[.*\] is -?[\d.e-]+, and should be -?[\d.e-]+ to within", text)
    case = eval(re.search(r"case = (Case\(.*\))", text).group(1), {"Case": Case})
    assert len(case.shape) == 2
    x = case.values(case.shape)
    assert not np.allclose(
        forward(x, case.strides, **case.options), ss.diffstride(x, case.strides, **case.options)
    )


@pytest.mark.usefixtures("without_shrinking")
@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("strides_move_inside_a_held_plan", "forward"),
        ("pullback_is_the_adjoint", "vjp"),
        ("tangent_is_the_sum_of_both_parts", "jvp"),
    ],
)
def test_the_call_that_a_failure_shows_can_be_pasted(name, called):
    """Also where a plan is held, which prints as no plan can be made."""
    seen = []

    def wrong(function):
        def call(x, strides, *others, **options):
            seen.append((np.array(x), np.array(strides), options))
            found = function(x, strides, *others, **options)
            return (2 * found[0], found[1]) if isinstance(found, tuple) else found * 1.001

        return call

    mine = {one: wrong(getattr(ss, one)) for one in ("diffstride", "vjp", "jvp")}
    kind = {one: mine[one] for one in (called,) if one != "forward"}
    with pytest.raises(AssertionError) as caught:
        check_implementation(np.asarray, mine["diffstride"], properties=[name], **kind)
    x, strides, options = seen[-1]
    lines = str(caught.value).partition("    from ")[2].splitlines()
    code = "from " + "\n".join(line.strip() for line in lines)
    names = {"asarray": np.asarray, "forward": mine["diffstride"], **mine}
    exec(code, names)
    assert code.splitlines()[-1].startswith(("forward(", "pullback(", "jvp("))
    assert seen[-1][2] == options
    np.testing.assert_array_equal(names["x"], x)
    np.testing.assert_array_equal(names["strides"], strides)


@pytest.mark.usefixtures("without_shrinking")
def test_the_call_of_a_failure_in_resizing_can_be_pasted():
    """With the sizes of the case, and no option that only a mask has."""
    seen = []

    def resize(x, sizes, **options):
        seen.append((x.shape, sizes, options))
        return ss.spectral_resize(x, sizes, **options) * 1.001

    name = "resizing_is_the_dense_matrix_of_the_bins_that_both_sizes_have"
    with pytest.raises(AssertionError) as caught:
        check_implementation(np.asarray, ss.diffstride, resize=resize, properties=[name])
    lines = str(caught.value).partition("    from ")[2].splitlines()
    code = "from " + "\n".join(line.strip() for line in lines)
    exec(code, {"asarray": np.asarray, "resize": resize})
    assert seen[-1] == seen[-2]


@pytest.mark.usefixtures("without_shrinking")
def test_what_an_implementation_raises_is_its_failure():
    """The exception, and the line that raised it."""

    def forward(x, strides, **options):
        raise RuntimeError("no such kernel")

    with pytest.raises(AssertionError, match=r"RuntimeError at .*test_checks.py:\d+: no such"):
        check_implementation(np.asarray, forward, max_examples=2)


@pytest.mark.usefixtures("without_shrinking")
def test_a_wrong_kind_of_result_is_named():
    """Another dtype, another library, another shape."""

    def forward(x, strides, **options):
        return ss.diffstride(x, strides, **options).astype("float64")

    with pytest.raises(AssertionError, match=r"y is of .*float64.*, and should be of .*float32"):
        check_implementation(np.asarray, forward, dtypes=["float32"], max_examples=5)

    def transposed(x, strides, **options):
        return ss.diffstride(x, strides, **options).T

    with pytest.raises(AssertionError, match=r"y has shape \(.*\), not \("):
        check_implementation(np.asarray, transposed)


def test_what_cannot_be_run_says_why():
    """A missing function, a fixed option, a missing dtype: a row each, and no silence."""
    report = check_implementation(
        np.asarray, ss.diffstride, vjp=ss.vjp, dtypes=["float32"], max_examples=2, method="fft"
    )
    reasons = {row.property: row.not_run for row in report.rows}
    assert reasons["jvp_and_vjp_are_transposes"] == "no jvp was given"
    assert reasons["both_methods_agree_and_auto_is_one_of_them"] == "method is fixed"
    central = reasons["stride_gradient_is_a_central_difference_away_from_corners"]
    assert central == "float64 is not among its dtypes"
    assert "not run: no jvp was given" in str(report)
    assert reasons["both_methods_resize_alike"] == "no resize was given"
    not_run = [reason for reason in reasons.values() if reason]
    assert (not_run.count("no resize was given"), len(not_run)) == (6, 11)
    assert all(row.cases >= 2 for row in report.rows if not row.not_run)


@pytest.mark.parametrize("fixed", [{"ramp": "outside"}, {"norm": "ortho", "smoothness": 2.0}])
def test_an_implementation_may_have_one_value_of_an_option(fixed):
    """It is called with that value and no other."""

    def forward(x, strides, *, plan=None, **options):
        seen.append({name: getattr(plan, name, options.get(name)) for name in fixed})
        return ss.diffstride(x, strides, plan=plan, **options)

    seen = []
    check_implementation(np.asarray, forward, max_examples=10, **fixed)
    assert len(seen) > 50
    assert all(one == fixed for one in seen)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"forward": None}, "forward: got None"),
        ({"vjp": 3}, r"vjp: got 3 \(int\); allowed: a function"),
        ({"dtypes": ["float16"]}, "dtypes: got 'float16'; allowed: 'float64', 'float32'"),
        ({"axes": (1,)}, r"axes: got \(1,\); allowed: options that can be held fixed: smoothness"),
        ({"properties": ["linear"]}, r"properties: got 'linear'; .* write properties=\['"),
        ({"max_examples": 0}, "max_examples: got 0"),
        ({"derandomize": 3}, "derandomize: got 3; allowed: True or False"),
        ({"dtypes": "float64"}, r"dtypes: got 'float64'; .*write dtypes=\['float64'\]"),
        ({"dtypes": ()}, r"dtypes: got \(\); allowed: a sequence of one or more"),
        ({"properties": []}, r"properties: got \[\]"),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises((TypeError, ValueError), match=message):
        check_implementation(**CORE | change)


def test_every_property_has_a_statement_and_a_name_of_its_own():
    assert len({prop.name for prop in PROPERTIES}) == len(PROPERTIES) >= 20
    assert all(prop.statement.endswith((".", ">.", "others")) for prop in PROPERTIES)


def test_a_pair_that_disagrees_is_named():
    core = next(known for known in KNOWN if known.name == "numpy").load()

    def vjp(x, strides, **options):
        y, pullback = ss.vjp(x, strides, **options)
        return y, lambda g: (2 * pullback(g)[0], pullback(g)[1])

    double = Implementation("double", core.asarray, ss.diffstride, vjp)
    report = check_agreement([core, double], 5)
    assert [row.property for row in report.failures] == [
        "numpy and double in float32",
        "numpy and double in float64",
    ]
    assert "numpy and double disagree on Case(" in report.failures[0].failure


def test_the_table(capsys):
    """Names, cases and largest errors of what is installed; 0 when all is well."""
    assert main(["--examples", "2", "--only", "numpy", "array_api_strict"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"output is the dense matrix times the input +6 0\.\d\d +4 0\.\d\d", printed)
    assert "float32 below, float64 above" in printed


@pytest.mark.usefixtures("without_shrinking")
def test_the_table_of_a_wrong_implementation(capsys, monkeypatch):
    """A failure is marked, told at length, and counted in the exit status."""
    wrong = Known("wrong", lambda: Implementation(**norm_swapped(), name="wrong"), 1.0)
    monkeypatch.setattr("spectral_stride.testing.__main__.KNOWN", (wrong,))
    assert main(["--examples", "20"]) > 0
    printed = capsys.readouterr().out
    assert "FAILED" in printed
    assert "case = Case(" in printed


def test_the_table_says_what_is_missing(capsys, monkeypatch):
    """A backend that cannot run is a line with the reason; with nothing to run it is an error."""

    def missing():
        raise UnavailableError("no such device")

    monkeypatch.setattr("spectral_stride.testing.__main__.KNOWN", (Known("far", missing, 1.0),))
    assert main([]) == 1
    assert capsys.readouterr().out == "not run: far: no such device\nnothing to run\n"


def test_an_odd_number_of_examples_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--examples", "0"])
    assert "allowed: 1 or more" in capsys.readouterr().err


def test_it_runs_as_a_module():
    """The command of the pages, in a fresh interpreter, on NumPy alone."""
    command = [sys.executable, "-m", "spectral_stride.testing", "--examples", "1"]
    done = subprocess.run(
        [*command, "--only", "numpy"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "inputs are never written to" in done.stdout
