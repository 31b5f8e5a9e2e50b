"""The benchmarks of speed: every row is there, right and measured. Nothing here asserts a time."""

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.speed import __main__ as command
from benchmarks.speed import (
    budgets,
    convolution,
    deployed,
    floor,
    growth,
    jitted,
    layer,
    memory,
    methods,
    network,
    peers,
    report,
)
from benchmarks.speed.cases import Case, distance
from benchmarks.speed.rows import Row, Setting, measure
from benchmarks.speed.timing import Effort, Spread, interleave, ratios, spread
from tests.libraries import unavailable

ROOT = Path(__file__).parents[2]
IMAGES = {
    "F.interpolate, antialias",
    "avg_pool2d",
    "strided conv, depthwise",
    "strided conv",
}
SPECTRAL = {peers.OURS, peers.FIXED, peers.BY_FFT}
SCIPY = "scipy.signal.resample"
# Where rounding decides on which side of a ReLU's corner a number lies, gradients jump.
NETWORK = {"deployed": 1e-5, "network": 1e-3, "budgets": 1e-3}
LIMITS = {"float32": 2e-6, "bfloat16": 2e-2}


@pytest.fixture(autouse=True)
def _thirty_two_bits():
    """JAX as the benchmarks find it, whatever other tests have switched on."""
    jax = pytest.importorskip("jax", reason="the benchmarks compare with JAX")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", False)
    yield
    jax.config.update("jax_enable_x64", before)


def run_tiny(folder, device="cpu"):
    """The whole command in a process of its own, and what it printed."""
    words = ["-m", "benchmarks.speed", "--tiny", "--device", device, "--results", str(folder)]
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    return folder, run_tiny(folder)


def result(folder, name, device="cpu"):
    return json.loads((folder / f"tiny-{name}-{device}.json").read_text(encoding="utf-8"))


def cases(shapes, ramps, names, dtypes=("float32",)):
    return set(product(shapes, ramps, dtypes, names))


EXPECTED = {
    "layer": cases(layer.TINY, layer.RAMPS, {*SPECTRAL, peers.PUBLISHED, *IMAGES, SCIPY}),
    "methods": cases(
        methods.TINY,
        methods.RAMPS,
        {methods.AUTO, growth.FFT, growth.MATMUL, peers.PUBLISHED, SCIPY},
    ),
    "growth": cases(
        [(1, 4, 16), (1, 4, 32), (1, 4, 64), (1, 16, 16), (1, 16, 32)],
        ["inside"],
        {growth.FFT, growth.MATMUL},
    ),
    "convolution": cases(
        [shape for shape, _ in convolution.TINY],
        ["inside"],
        {convolution.STRIDED, convolution.OURS, convolution.BOTH},
    ),
    "network": cases([network.TINY[0]], ["inside"], network.NETWORKS),
    "deployed": cases(
        [deployed.TINY],
        ["inside"],
        {
            f"ResNet-18, {network}, {runtime}"
            for network in (deployed.STRIDED, deployed.FROZEN)
            for runtime in ("onnxruntime", "torch")
        },
    ),
    "budgets": cases(
        [(budgets.TINY_BATCH, 3, 32, 32)],
        ["inside"],
        {
            f"{way} at {budgets.TINY[0][0]}, step"
            for way in (budgets.STRIDED, budgets.FIXED, budgets.LEARNED)
        },
    )
    | cases(
        [(1, 3, 32, 32)],
        ["inside"],
        {f"{way} at {budgets.TINY[0][0]}, onnxruntime" for way in (budgets.STRIDED, budgets.FIXED)},
    ),
    "jitted": cases(jitted.TINY, layer.RAMPS, {*SPECTRAL, jitted.PLAIN}),
    "floor": cases(
        floor.TINY,
        ["inside"],
        {floor.COPY, peers.OURS, floor.COMPILED, floor.REPLAYED, *IMAGES},
        floor.DTYPES,
    )
    | cases(floor.TINY, ["inside"], {peers.PUBLISHED}),
}


@pytest.mark.long
@pytest.mark.parametrize("name", command.BENCHMARKS)
def test_every_row_is_there_once(finished, name):
    rows = result(finished[0], name)["rows"]
    found = [(tuple(row["shape"]), row["ramp"], row["dtype"], row["peer"]) for row in rows]
    assert len(found) == len(set(found))
    assert set(found) == EXPECTED[name]


@pytest.mark.long
@pytest.mark.parametrize("name", command.BENCHMARKS)
def test_every_row_is_measured_and_right(finished, name):
    """Also the gradients: those of ours and of the published algorithm to input and strides."""
    absent = 0
    for row in result(finished[0], name)["rows"]:
        if row["seconds"] is None:
            absent += 1
            assert row["note"]
            assert row["errors"] is row["ratio"] is row["peak_bytes"] is None
            continue
        assert row["rounds"] == 2
        for kind in ("seconds", "ratio"):
            assert 0 < row[kind]["low"] <= row[kind]["median"] <= row[kind]["high"]
        if row["peer"] == row["reference"]:
            assert row["ratio"] == {"median": 1, "low": 1, "high": 1}
        assert max(row["errors"].values()) < NETWORK.get(name, LIMITS[row["dtype"]]), row
        assert row["peak_bytes"] > 0 or row["peer"] == floor.COPY
        if row["peer"] in {peers.OURS, peers.PUBLISHED, methods.AUTO, jitted.PLAIN}:
            assert list(row["errors"]) == ["y", "dx", "dstrides"]
    # Without a GPU there are no graphs to replay, and CPUs interpolate in float32 alone.
    assert absent == (3 if name == "floor" else 0)


@pytest.mark.long
@pytest.mark.parametrize("name", command.BENCHMARKS)
def test_a_result_says_where_and_when_it_was_measured(finished, name):
    found = result(finished[0], name)
    assert found["benchmark"] == name
    assert found["tiny"] is True
    assert found["date"].endswith("+00:00")
    assert found["versions"]["torch"] == torch.__version__
    assert found["machine"]["threads"] == {"torch": 1, "OMP": "1"}
    assert (finished[0] / f"tiny-{name}-cpu.png").read_bytes().startswith(b"\x89PNG")
    assert found["question"] in finished[1]


def test_one_question_alone(tmp_path, capsys):
    """The command in this process; the tests above run all of it in another one."""
    command.main(["--tiny", "--only", "convolution", "--results", str(tmp_path)])
    found = result(tmp_path, "convolution")
    rows = {(tuple(row["shape"]), row["ramp"], row["dtype"], row["peer"]) for row in found["rows"]}
    assert rows == EXPECTED["convolution"]
    assert found["question"] in capsys.readouterr().out


@pytest.mark.long
def test_growth_concludes_where_to_switch(finished):
    assert set(result(finished[0], "growth")["longest_axis_for_matmul"]) == {"4", "16"}


@pytest.mark.gpu
def test_all_of_it_runs_on_a_gpu(tmp_path):
    if not torch.cuda.is_available():
        unavailable("no CUDA device")
    run_tiny(tmp_path, "cuda")
    rows = result(tmp_path, "floor", "cuda")["rows"]
    assert all(row["seconds"] for row in rows if row["peer"] == floor.REPLAYED)


def test_peers_take_turns_and_every_round_begins_with_another():
    seen, waits = [], []
    steps = {name: lambda name=name: seen.append(name) for name in "abc"}
    effort = Effort(seconds=0, least_rounds=4, shortest=0)
    times = interleave(steps, effort, lambda: waits.append(len(seen)))
    assert "".join(seen) == "aabbcc" + "abc" + "bca" + "cab" + "abc"
    assert waits == list(range(1, 19))  # the device is waited for behind each
    assert {name: len(found) for name, found in times.items()} == dict.fromkeys("abc", 4)


def test_rounds_have_a_ceiling_and_short_steps_are_repeated():
    seen = []
    effort = Effort(seconds=1e9, most_rounds=3, shortest=1e-3)
    (times,) = interleave({"a": lambda: seen.append(0)}, effort, lambda: None).values()
    assert len(times) == 3
    assert len(seen) > 5  # two to look, then several in each of the rounds


def test_a_ratio_is_taken_within_its_round():
    """Where each round is busier than the one before, medians of times would say 3."""
    assert ratios([3.0, 6.0, 10.0], [1.0, 2.0, 5.0]) == Spread(3.0, 2.5, 3.0)
    assert ratios([2.0, 90.0, 4.0], [1.0, 45.0, 2.0]) == Spread(2.0, 2.0, 2.0)
    assert spread([4.0, 0.0, 1.0, 3.0, 2.0]) == Spread(2.0, 1.0, 3.0)


def test_peaks_count_what_is_held_at_once():
    size = 10**6
    x = torch.ones(size)
    # A few bytes are those of the numbers.
    assert 4 * size <= memory.torch_peak(lambda: x + 1, "cpu") < 4.1 * size
    assert 8 * size <= memory.torch_peak(lambda: ((x + 1) * 2 - 3).sum(), "cpu") < 8.1 * size
    values = np.ones(size, np.float32)
    assert 4 * size <= memory.numpy_peak(lambda: values + 1) < 4.1 * size
    assert 8 * size <= memory.numpy_peak(lambda: (values + 1, values * 2)) < 8.1 * size


def test_the_peak_under_jax_is_what_was_planned():
    case = Case((2, 3, 64), "inside")
    plan = case.plan()
    peer = jitted.jax_peer("ours", lambda x, s: jitted.plain(x, s, plan), case)
    assert peer.peak() >= 4 * (2 * 3 * 64 + 2 * 3 * 32 + 1)


@pytest.mark.parametrize("ramp", layer.RAMPS)
@pytest.mark.parametrize("shape", [(1, 2, 9), (1, 2, 14, 11), (1, 1, 8, 9, 12), (1, 2, 64, 8)])
def test_published_algorithm_and_plain_fft_are_the_same_map(shape, ramp):
    """On odd sizes, where nothing is cropped, and on corners of the mask."""
    case = Case(shape, ramp)
    plan = case.plan()
    strides = torch.tensor(case.strides, dtype=torch.float64, requires_grad=True)
    step = peers.torch_step(lambda x, s: peers.published(x, s, plan), case, strides, "float64")
    for got, exact in zip(step(), case.exact, strict=True):
        np.testing.assert_allclose(got.detach(), exact, rtol=1e-12, atol=1e-12)
    peer = jitted.jax_peer("plain", lambda x, s: jitted.plain(x, s, plan), case)
    for got, exact in zip(peer.step(), case.exact, strict=True):
        np.testing.assert_allclose(got, exact, rtol=2e-5, atol=2e-5)


def test_numbers_are_rounded_to_the_dtype_before_anyone_sees_them():
    wide, half = (Case((1, 1, 99), "inside", dtype).draw((99,)) for dtype in floor.DTYPES[::-1])
    assert wide.dtype == half.dtype == np.float32
    assert np.array_equal(half, torch.from_numpy(half).bfloat16().float())
    assert 0 < distance(half, wide) < 2**-8


def test_an_error_is_the_largest_over_the_largest_number():
    assert distance(np.asarray([1.0, -4.5, 2.0]), np.asarray([1.5, -5.0, 2.0])) == 0.1


def test_a_wrong_peer_shows():
    """Errors come from the step that is timed, and not from another call."""
    case = Case((1, 2, 16), "inside")
    right = peers.spectral_peer(peers.OURS, case, "cpu")
    wrong = peers.torch_peer(
        "wrong", lambda: [2 * value for value in right.step()], right.exact, "cpu", right.of
    )
    rows = measure([right, wrong], case, peers.OURS, Setting(tiny=True))
    assert max(rows[0].errors.values()) < 1e-6
    assert min(rows[1].errors.values()) > 0.4


def test_an_operator_without_the_dtype_is_a_row_that_says_so():
    def lacking(x, _):
        raise NotImplementedError("no such kernel")

    case = Case((1, 2, 16), "inside")
    absent = peers.plain_peer("absent", lacking, case, "cpu")
    ours = peers.spectral_peer(peers.OURS, case, "cpu")
    _, row = measure([ours, absent], case, peers.OURS, Setting(tiny=True))
    assert (row.note, row.seconds) == ("no such kernel", None)
    assert report.cells(row)[:2] == ["absent", "no such kernel"]


def timed_row(count, size, peer, ratio):
    return Row(
        (1, count, size), "inside", "float32", peer, "torch", growth.FFT, ratio=Spread(ratio, 0, 9)
    )


def test_switch_points():
    rows = [
        timed_row(4, 16, growth.FFT, 1.0),
        timed_row(4, 16, growth.MATMUL, 1.1),  # too short for either to matter
        timed_row(4, 32, growth.MATMUL, 0.9),
        timed_row(4, 64, growth.MATMUL, 1.0),
        timed_row(4, 128, growth.MATMUL, 3.0),
        timed_row(8, 16, growth.MATMUL, 1.2),
    ]
    assert growth.switch_points(rows) == {"4": 64, "8": 0}


def test_the_device_chooses_the_benchmarks():
    def names(words):
        return command.chosen(command.parser().parse_args(words.split()))

    assert names("") == ["layer", "convolution", "network", "methods", "growth", "jitted"]
    assert names("--device cuda") == [
        "layer",
        "convolution",
        "network",
        "methods",
        "growth",
        "floor",
    ]
    assert names("--tiny") == list(command.BENCHMARKS)
    assert names("--device cuda --tiny") == [
        "layer",
        "convolution",
        "network",
        "methods",
        "growth",
        "floor",
    ]
    assert names("--only floor --only layer --only floor") == ["floor", "layer"]


def test_names_of_results_stand_still():
    assert command.stem("layer", Setting()) == "layer-cpu"
    assert command.stem("floor", Setting("cuda", tiny=True)) == "tiny-floor-cuda"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there_is_refused(capsys, tmp_path):
    with pytest.raises(SystemExit, match="2"):
        command.main(["--device", "cuda", "--results", str(tmp_path / "new")])
    assert "--device: got cuda; allowed: cpu" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("words", "why"),
    [("--threads 0", "--threads: got 0; allowed: 1 or more"), ("--only nothing", "'layer'")],
)
def test_wrong_words_are_refused(words, why, capsys, tmp_path):
    with pytest.raises(SystemExit, match="2"):
        command.main([*words.split(), "--results", str(tmp_path / "new")])
    assert why in capsys.readouterr().err


def test_sizes_of_the_full_run():
    """Tiny runs say nothing of these: both forms, one to three axes, and the caps."""
    assert {len(shape) - 2 for shape in methods.SHAPES} == {1, 2, 3}
    assert growth.powers_of_two(16, 128) == [16, 32, 64, 128]
    assert max(longest for _, longest in growth.SERIES) == 2**20
    assert growth.LONGEST_MATMUL < 2**20
    assert Case(layer.SHAPES[0], "inside").plan().out_shape == (64, 64, 16, 16)
    assert Case(layer.SHAPES[0], "outside").plan().out_shape == (64, 64, 24, 24)
