"""The property suite on every implementation that this library brings, and on strangers."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from spectral_stride.testing import PROPERTIES
from spectral_stride.testing.agreement import check_agreement
from spectral_stride.testing.known import KNOWN, WITHOUT_FFT, UnavailableError, core_on, planned
from spectral_stride.testing.suite import Row, run
from tests.libraries import block_fast, load, load_or_skip

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "tests" / "examples"

# They plan or infer each operation, which takes a second or more a case: the short run has the two
# properties of `SHOWN`, one with values and one that says what there is of methods.
SLOW = ("cubed", "ndonnx")
SHOWN = (
    "resizing_is_the_dense_matrix_of_the_bins_that_both_sizes_have",
    "both_methods_resize_alike",
)


def marks(known, prop):
    """When a property is run on an implementation."""
    is_long = known.name in SLOW and prop.name not in SHOWN
    return [pytest.mark.gpu] * known.is_gpu + [pytest.mark.long] * is_long


EVERYTHING = [
    pytest.param(known, prop, id=f"{known.name}-{prop.name}", marks=marks(known, prop))
    for known in KNOWN
    for prop in PROPERTIES
]


# What is not run of a library, and why: onnxruntime has no cosine in float64.
NOT_RUN = {
    "ndonnx": {
        "stride_gradient_is_a_central_difference_away_from_corners",
        "stride_gradient_is_a_one_sided_difference_below_the_upper_bound",
    }
}


@pytest.mark.parametrize(("known", "prop"), EVERYTHING)
def test_every_implementation_has_every_property(known, prop, monkeypatch):
    """One suite: the core on each library, and the adapters under their own autodiff.

    The core alone has it without what only speed needs.
    """
    if not known.name.startswith("spectral_stride."):
        block_fast(monkeypatch)
    # Half as many as of other tests: each of these is two dozen properties on eight libraries.
    examples = settings().max_examples / 2 * known.share
    implementation = load_or_skip(known)
    row = run(implementation, prop, examples, settings().derandomize)
    assert not row.failure, row.failure
    if prop.name in NOT_RUN.get(known.name, ()):
        assert row == Row(prop.name, not_run="float64 is not among its dtypes")
        return
    assert not row.not_run, row.not_run
    assert row.cases >= len(implementation.always)
    assert row.largest <= 1


@pytest.mark.parametrize(
    "name",
    [
        "both_methods_resize_alike",
        pytest.param("both_methods_agree_and_auto_is_one_of_them", marks=pytest.mark.long),
    ],
)
def test_who_lacks_an_fft_has_to_refuse_it(name):
    """NumPy does not, and would be found if it said that it had none."""
    (prop,) = (one for one in PROPERTIES if one.name == name)
    row = run(replace(core_on("numpy"), methods=WITHOUT_FFT), prop, 2)
    assert "refusal of method='fft' (nothing was refused) is 0, and should be 1" in row.failure


def assert_agreement(implementations, examples, record_property):
    """Every pair agrees, on as many cases as asked; the observed maxima are recorded."""
    report = check_agreement(implementations, examples, settings().derandomize)
    assert not report.failures, "\n".join(row.failure for row in report.failures)
    for row in report.rows:
        assert row.cases >= examples // 2 + 1
        record_property(row.property, row.largest)
    # Different libraries round differently: were nothing compared, all would be zero.
    assert max(row.largest for row in report.rows) > 0


@pytest.mark.parametrize(
    "left_out", [pytest.param((), id="all", marks=pytest.mark.long), pytest.param(SLOW, id="quick")]
)
def test_every_pair_of_implementations_agrees(left_out, record_property):
    """In y, dx and dstrides, in float32 and float64, to within twice what rounding allows each."""
    implementations = []
    for known in KNOWN:
        if known.name in left_out:
            continue
        try:
            implementations.append(known.load())
        except UnavailableError as reason:
            # Not in silence: each is a skip with its reason in the test above.
            record_property(known.name, str(reason))
    assert len(implementations) >= 2
    assert_agreement(implementations, max(4, settings().max_examples // 8), record_property)


@pytest.mark.gpu
def test_every_pair_agrees_on_a_gpu(record_property):
    """All that run on a GPU, with NumPy among them."""
    names = {known.name for known in KNOWN if known.is_gpu} | {"numpy"}
    implementations = [load_or_skip(known) for known in KNOWN if known.name in names]
    assert_agreement(implementations, max(30, settings().max_examples // 2), record_property)


def of_a_stranger():
    """How much is drawn for an adapter that only shows how one is written."""
    return {"max_examples": settings().max_examples // 3, "derandomize": settings().derandomize}


def test_hips_autograd_passes_the_suite(check_property):
    """An adapter with forward and reverse mode."""
    load("autograd")
    from autograd.differential_operators import make_jvp, make_vjp

    from tests.examples import hips_autograd

    def of_both(x, strides, options):
        plan = planned(x, strides, options)
        return lambda pair: hips_autograd.diffstride(*pair, plan=plan)

    def vjp(x, strides, **options):
        pullback, y = make_vjp(of_both(x, strides, options))((x, strides))
        return y, pullback

    def jvp(x, strides, dx, dstrides, **options):
        return make_jvp(of_both(x, strides, options))((x, strides))((dx, dstrides))

    check_property(np.asarray, hips_autograd.diffstride, vjp=vjp, jvp=jvp, **of_a_stranger())


def test_mygrad_passes_the_suite(check_property):
    """An adapter with reverse mode alone."""
    mygrad = load("mygrad")
    from tests.examples import mygrad_operation

    def forward(x, strides, **options):
        return mygrad_operation.diffstride(x, strides, **options).data

    def vjp(x, strides, **options):
        def pullback(g):
            leaves = mygrad.tensor(x), mygrad.tensor(strides)
            mygrad_operation.diffstride(*leaves, **options).backward(g)
            return tuple(leaf.grad for leaf in leaves)

        return forward(x, strides, **options), pullback

    check_property(np.asarray, forward, vjp=vjp, **of_a_stranger())


@pytest.mark.parametrize("name", ["hips_autograd", "mygrad_operation"])
def test_an_adapter_is_short(name):
    """At most 40 lines are enough for a framework that is not ours."""
    assert len((EXAMPLES / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= 40


@pytest.mark.parametrize(
    ("package", "module", "extra"),
    [
        ("hypothesis", "spectral_stride.testing", "testing"),
        ("rich", "spectral_stride.testing.__main__", "testing"),
        ("torch", "spectral_stride.torch", "torch"),
    ],
)
def test_without_a_package_the_import_says_what_to_install(package, module, extra):
    """In a fresh interpreter that cannot import it."""
    program = f"import sys; sys.modules[{package!r}] = None; import {module}"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert f": got no {package} (" in last
    assert last.endswith(f"pip install {package}, or pip install -e '.[{extra}]' in a checkout")
