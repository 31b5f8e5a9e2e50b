"""Runs that may be compared: groups over seeds, curves over cost, and what is apart."""

import numpy as np
import pytest
from scipy import stats

from spectral_stride.torch.training.report.comparison import MeanAndDeviation, sections
from spectral_stride.torch.training.report.figures import COSTS
from spectral_stride.torch.training.report.paired import differences
from spectral_stride.torch.training.report.runs import gather
from tests.training.report.made import write_run

MACS, STEP = COSTS.values()


def test_spread_over_seeds():
    assert MeanAndDeviation.of([0.9, 0.92, 0.97]).mean == pytest.approx(0.93)
    assert MeanAndDeviation.of([0.9, 0.92, 0.97]).deviation == pytest.approx(
        np.std([90, 92, 97], ddof=1) / 100
    )
    assert MeanAndDeviation.of([0.9]).text(100) == "90.00 (1)"
    assert MeanAndDeviation.of([0.9, 0.9]).text(100) == "90.00 ± 0.00 (2)"


def test_runs_are_sorted_into_groups(runs):
    (section,) = sections(gather([runs]).runs)
    assert [(group.label, group.start, len(group.runs)) for group in section.groups] == [
        ("strided", "1,1,1,2,2", 2),
        ("strided", "1,1,2,2,2", 2),
        ("diffstride inside, penalty 0.1", "1,1,2,2,2", 2),
        ("diffstride inside, penalty 0.3", "1,1,2,2,2", 2),
    ]
    assert [group.accuracy.mean for group in section.groups] == pytest.approx(
        [0.9, 0.8, 0.91, 0.83]
    )
    assert [curve.label for curve in section.curves] == [
        "strided",
        "diffstride inside from 1,1,2,2,2",
    ]


@pytest.mark.parametrize(
    ("macs", "accuracy"),
    [(4.0, 0.90), (2.0, 0.85), (1.0, 0.80), (4 ** (1 / 4), 0.825), (4.001, None), (0.5, None)],
)
def test_accuracy_at_equal_cost_is_never_extrapolated(runs, macs, accuracy):
    (section,) = sections(gather([runs]).runs)
    strided, learned = section.curves
    found = strided.accuracy_at(MACS, macs)
    assert found is None if accuracy is None else found == pytest.approx(accuracy)
    # The same by step time, which is 2 ns a MAC here.
    found = strided.accuracy_at(STEP, 2 * macs)
    assert found is None if accuracy is None else found == pytest.approx(accuracy)
    assert learned.accuracy_at(MACS, 1.0) == pytest.approx(0.87)


def curve_of(folder, points):
    """The curve of strided networks at (ms a step, accuracy)."""
    for number, (milliseconds, accuracy) in enumerate(points):
        words = {"downsampling": "strided", "strides": f"1,1,1,1,{1 + number}"}
        write_run(folder / str(number), accuracy, 1_000_000, milliseconds / 1e3, **words)
    (section,) = sections(gather([folder]).runs)
    (curve,) = section.curves
    return curve


@pytest.mark.parametrize(
    ("cost", "accuracy"),
    [
        (89, None),
        (90, 0.64),
        (100, 0.64 + 0.02 * np.log(10 / 9) / np.log(2)),  # not by way of what is less accurate
        (110, 0.64 + 0.02 * np.log(11 / 9) / np.log(2)),
        (180, 0.66),
        (200, 0.66),  # what costs more is less accurate
        (240, 0.66),
        (241, None),
    ],
)
def test_more_than_is_needed_does_not_cost_accuracy(tmp_path, cost, accuracy):
    """Equal cost is up to that cost: nobody has to take what is dearer and worse."""
    points = [(100, 0.61), (240, 0.60), (90, 0.64), (180, 0.66)]
    found = curve_of(tmp_path, points).accuracy_at(STEP, cost)
    assert found is None if accuracy is None else found == pytest.approx(accuracy)


def test_the_cheapest_may_be_the_best(tmp_path):
    curve = curve_of(tmp_path, [(90, 0.64), (100, 0.61)])
    assert [curve.accuracy_at(STEP, cost) for cost in (89, 90, 95, 100, 101)] == [
        None,
        *[pytest.approx(0.64)] * 3,
        None,
    ]


def test_of_equal_costs_the_best_counts(tmp_path):
    """Its mean is that over seeds; other starts are other choices."""
    curve = curve_of(tmp_path, [(90, 0.60), (90, 0.64), (180, 0.64), (180, 0.62)])
    assert curve.best(STEP) == ([90.0], [0.64])
    assert curve.accuracy_at(MACS, 1.0) is None  # a single cost is no curve


def test_a_single_cost_is_no_curve(tmp_path):
    write_run(tmp_path / "a", 0.9, 1_000_000, downsampling="strided")
    (section,) = sections(gather([tmp_path]).runs)
    assert section.curves[0].accuracy_at(MACS, 1.0) is None


def test_what_may_not_be_compared_is_apart(tmp_path):
    for number, words in enumerate([{}, {"epochs": 3}, {"smoothness": 2}, {"ramp": "outside"}]):
        write_run(tmp_path / str(number), 0.9, 1_000_000, **words)
    short, usual = sorted(sections(gather([tmp_path]).runs), key=lambda s: s.setting["epochs"])
    assert [group.method for group in short.groups] == ["diffstride inside"]
    assert [group.method for group in usual.groups] == [
        "diffstride outside smoothness 4",
        "diffstride inside smoothness 2",
        "diffstride inside smoothness 4",
    ]


@pytest.mark.parametrize(
    "machines",
    [
        [{"device": "cpu"}, {"device": "cuda"}],
        [{"model": "A 1"}, {"model": "A 2"}],
        [{}, {"model": "A 1"}],  # from before models were written down: nobody knows which
        [{"model": "A 1", "threads": 1}, {"model": "A 1", "threads": 8}],
    ],
)
def test_times_of_different_machines_are_apart(tmp_path, machines):
    for seed, machine in enumerate(machines):
        words = {"machine": machine, "downsampling": "strided", "seed": seed}
        write_run(tmp_path / str(seed), 0.9, 10**6, **words)
    assert len(sections(gather([tmp_path]).runs)) == 2


def test_threads_are_those_that_a_training_may_take(tmp_path):
    """Small steps take one of them; that is no reason not to compare them with large ones."""
    machine = {"model": "A 1", "threads": 8}
    write_run(tmp_path / "small", 0.9, 10**6, machine=machine, threads=1, downsampling="strided")
    write_run(tmp_path / "large", 0.9, 10**7, machine=machine, threads=8)
    (section,) = sections(gather([tmp_path]).runs)
    assert len(section.groups) == 2
    # From before they were written down there is only what was taken.
    write_run(tmp_path / "old1", 0.9, 10**6, threads=1)
    write_run(tmp_path / "old8", 0.9, 10**6, threads=8, seed=1)
    assert len(sections(gather([tmp_path]).runs)) == 3


def pairs_of(folder, learned, fixed, macs=1_000_000):
    """Differences between learned strides and fixed ones, of accuracies by seed."""
    for kind, accuracies in (("diffstride", learned), ("strided", fixed)):
        for seed, accuracy in enumerate(accuracies):
            cost = macs if kind == "diffstride" else 1_000_000
            write_run(folder / f"{kind}{seed}", accuracy, cost, downsampling=kind, seed=seed)
    (section,) = sections(gather([folder]).runs)
    return list(differences(section.groups, MACS))


def test_differences_are_paired_by_seed(tmp_path):
    """Networks of one seed are alike: what seeds have in common is no spread of the difference."""
    (found,) = pairs_of(tmp_path, [0.62, 0.71, 0.83, 0.5], [0.6, 0.7, 0.8])
    assert (found.first.method, found.second.method, found.seeds) == (
        "diffstride inside",
        "strided",
        3,
    )
    wanted = stats.ttest_rel([0.62, 0.71, 0.83], [0.6, 0.7, 0.8]).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))
    assert found.mean == pytest.approx(0.02)
    assert found.verdict == "not told apart"


@pytest.mark.parametrize(("sign", "verdict"), [(1, "above"), (-1, "below")])
def test_an_interval_beside_0_tells_which_is_better(tmp_path, sign, verdict):
    learned = [0.6 + sign * 0.010, 0.7 + sign * 0.011, 0.8 + sign * 0.012]
    (found,) = pairs_of(tmp_path, learned, [0.6, 0.7, 0.8])
    assert found.verdict == verdict


@pytest.mark.parametrize(
    ("macs", "seeds", "count"),
    [(1_049_000, 3, 1), (1_051_000, 3, 0), (951_000, 3, 0), (10**6, 2, 0)],
)
def test_only_what_costs_the_same_is_compared(tmp_path, macs, seeds, count):
    found = pairs_of(tmp_path, [0.6, 0.7, 0.8][:seeds], [0.6, 0.7, 0.8][:seeds], macs)
    assert len(found) == count


def test_smaller_images_are_a_way_to_save(tmp_path):
    for size in (0, 21):
        words = {"downsampling": "strided", "size": size, "data": str(tmp_path)}
        write_run(tmp_path / str(size), 0.8, 10**6, **words)
    (section,) = sections(gather([tmp_path]).runs)
    assert [group.label for group in section.groups] == [
        "strided, at full size",
        "strided, at 21 pixels",
    ]
    (curve,) = section.curves
    assert len(curve.groups) == 2


def test_budgets_make_a_curve(tmp_path):
    for budget in ("4.46M", "0.5"):
        write_run(tmp_path / budget, 0.8, 10**6, budget=budget, hard=True)
    (section,) = sections(gather([tmp_path]).runs)
    assert [group.label for group in section.groups] == [
        "diffstride inside, budget 0.5",
        "diffstride inside, budget 4.46M",
    ]
    assert [len(curve.groups) for curve in section.curves] == [2]
    assert (section.learned["hard"], section.learned["settle_at"]) == (True, 0.6)
