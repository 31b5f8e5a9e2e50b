"""A short form of `make fuzz`, so that it cannot rot; and what it is there to find is found."""

import sys
from collections import Counter
from types import SimpleNamespace

import pytest

import spectral_stride as ss
import spectral_stride.jax as ssj
import spectral_stride.torch as sst
from spectral_stride import checks, functional
from spectral_stride.torch.training import trained
from spectral_stride.torch.training.files import read_json
from tests.fuzz import calls, files, layers, odd_values, running
from tests.fuzz.running import Fault, Target, run, table

CALLS = {one.name: one for one in (*calls.targets(), *layers.targets())}
# What eager JAX and dask take long for is left to `make fuzz`, but for one function of each.
SHORT = [name for name in CALLS if not name.startswith(("jax", "dask", "spectral_stride.jax"))]
SHORT += ["jax: spectral_pool", "dask: diffstride", "spectral_stride.jax: spectral_resize"]


@pytest.mark.parametrize("name", SHORT)
def test_a_few_calls_of_each_function(name):
    target = CALLS[name]
    run([target], 0, seed=0, turns=1, count=2)
    assert not target.fault, target.fault
    assert target.counts["calls"]
    if "exactly" in name:
        assert target.counts["values"]
    else:
        assert 0 < target.counts["refused"] < target.counts["calls"]


@pytest.fixture(scope="module")
def readers():
    with files.targets() as found:
        yield {one.name: one for one in found}


# A report, and a training that goes on, take seconds for ten files.
@pytest.mark.parametrize(
    "name",
    [
        "files: load and predict",
        "files: grid",
        "files: images",
        "files: recordings",
        "files: parquet",
        "files: class folders",
        pytest.param("files: resume, finished", marks=pytest.mark.long),
        pytest.param("files: resume, broken off", marks=pytest.mark.long),
        pytest.param("files: report", marks=pytest.mark.long),
    ],
)
def test_a_few_files_of_each_kind(readers, name):
    target = readers[name]
    run([target], 0, seed=0, turns=1, count=2)
    assert not target.fault, target.fault
    assert target.counts["calls"] == 2 * files.DAMAGED
    assert target.counts["refused"]


def test_every_reader_is_tried(readers):
    marks = test_a_few_files_of_each_kind.pytestmark[0].args[1]
    assert list(readers) == sorted(
        (getattr(one, "values", [one])[0] for one in marks), key=list(readers).index
    )


def test_what_was_compiled_is_dropped_where_it_takes_much(monkeypatch):
    cleared = []
    monkeypatch.setitem(
        sys.modules, "jax", SimpleNamespace(clear_caches=lambda: cleared.append(True))
    )
    for held, times in ((0, 0), (running.MOST_HELD + 1, 1)):
        monkeypatch.setattr(running, "held", lambda held=held: held)
        running.forget_compiled()
        assert len(cleared) == times


def test_every_public_name_is_called():
    for package, name in (
        (ss, "numpy"),
        (sst, "spectral_stride.torch"),
        (ssj, "spectral_stride.jax"),
    ):
        called = {one.partition(": ")[2] for one in CALLS if one.startswith(f"{name}: ")}
        # A plan is made by make_plan alone.
        assert set(package.__all__) - called <= {"Plan"}, package.__name__


# --- What it has to find -------------------------------------------------------------------------


def found(name):
    target = CALLS[name]
    fresh = Target(target.name, target.try_one, shrinks=False)
    run([fresh], 0, seed=0, turns=1, count=40)
    return fresh.fault


def test_a_wrong_value_is_found(monkeypatch):
    monkeypatch.setattr(
        functional, "apply", lambda op, x, real=functional.apply: 1.001 * real(op, x)
    )
    assert "should be" in found("numpy: diffstride")


def test_a_right_call_that_is_refused_is_found(monkeypatch):
    monkeypatch.setattr(checks, "METHODS", ("auto", "matmul"))
    assert "a right call is refused" in found("numpy: spectral_pool")


def test_a_wrong_call_that_is_answered_is_found(monkeypatch):
    monkeypatch.setattr(checks, "truth", lambda name, value, default: bool(value is True))
    assert "a wrong call is answered" in found("numpy: make_plan")


def test_an_error_of_another_form_is_found(monkeypatch):
    monkeypatch.setattr(checks, "smoothness", float)
    assert "no line of got, allowed, instead" in found("numpy: stride_bounds")


def test_a_read_outside_of_the_folder_is_found(readers, monkeypatch):
    monkeypatch.setattr(trained, "read_json", lambda path, within: read_json(path))
    target = readers["files: load and predict"]
    fresh = Target(target.name, target.try_one, shrinks=False)
    run([fresh], 0, seed=0, turns=1, count=40)
    assert "outside of the folder" in fresh.fault


def test_a_fault_ends_a_target_and_not_the_others(capsys):
    def wrong(data, counts):
        counts["calls"] += 1
        raise Fault("it is wrong")

    def right(data, counts):
        counts["calls"] += 1

    bad, good = Target("bad", wrong), Target("good", right)
    assert run([bad, good], 0, seed=5, turns=3, count=4) == [bad]
    told = capsys.readouterr().out
    assert told.count("FAULT") == 1
    assert "make fuzz ARGS='--only \"bad\" --seed 5 --turns 1'" in told
    assert good.counts["calls"] == 3
    assert f"{sum((bad.counts, good.counts), Counter())['calls']:12,}" in table([bad, good])


def test_what_stands_in_the_place_of_an_argument_is_of_many_kinds():
    kinds = {type(one).__module__.partition(".")[0] for one in odd_values.arrays()}
    assert {"numpy", "torch", "jaxlib", "dask", "array_api_strict"} <= kinds
