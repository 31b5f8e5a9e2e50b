"""The claims of the plan: rows, paired differences and verdicts follow from the raw results."""

import csv
from pathlib import Path

import pytest
from scipy import stats

from benchmarks.accuracy import claims

SEEDS = range(10, 15)
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PLAN = claims.PLANS["resnet18"]
STARTS = (claims.POOR, claims.GOOD, claims.RANDOM)
# Of each plan the folder of its results.
RESULTS = {
    "resnet18": "equal-cost",
    "resnet56": "equal-cost-resnet56",
    "audio": "equal-cost-audio",
    "digits": "equal-cost-digits",
}


def fixed(row, number):
    """Strides of a fixed row at one budget."""
    return PLAN.fixed[row][1][number][0]


def line(kind, strides, seed, accuracy, macs, **more):
    told = {"size": "0", "penalty": "0.0", "budget": "0.0", "settle_at": "0.6", "hard": "False"}
    told |= {"downsampling": kind, "strides": strides, "seed": str(seed), "final_sizes": "28,9,4"}
    told |= {"model": "resnet18", "hold_out": "0.0"}
    return told | {"accuracy": str(accuracy), "macs": str(macs)} | more


def trainings(gain=0.05, starts=("1,1,3,2,3", "1,1,2,2,2", "random")):
    """Strided networks and sizes by hand as they are; learned ones a gain above the strided."""
    lines = []
    for seed in SEEDS:
        noise = 0.002 * (seed % 3)
        for number, budget in enumerate(PLAN.budgets):
            base = 0.6 - 0.05 * number + noise
            size = ("0", "21", "16")[number]
            lines.append(line("strided", "1,1,2,2,2", seed, base, budget, size=size))
            hand = fixed(claims.HAND, number)
            lines.append(line("spectral", hand, seed, base + 0.05, 0.97 * budget))
            if number:
                strides = ("", "1,1,4,2,2", "2,1,2,2,2")[number]
                lines.append(line("strided", strides, seed, base, budget))
            lines += [
                line(
                    "diffstride",
                    start,
                    seed,
                    base + gain,
                    budget,
                    budget=str(budget),
                    settle_at="0.3",
                    hard="True",
                )
                for start in starts
            ]
    return lines


def test_a_difference_is_that_of_equal_seeds_with_students_interval():
    rows = claims.rows_of(trainings(), PLAN)
    first, second = rows[claims.POOR, 0], rows[claims.SMALLER, 0]
    second.accuracies[10] -= 1.0
    del first.accuracies[14]  # a seed that one of them lacks says nothing
    mean, low, high = claims.difference(first, second)
    apart = [first.accuracies[seed] - second.accuracies[seed] for seed in (10, 11, 12, 13)]
    assert mean == pytest.approx(sum(apart) / 4)
    reach = stats.t.interval(0.95, 3, loc=mean, scale=stats.sem(apart))
    assert (low, high) == pytest.approx(reach)


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [(0.1, 5, "wins"), (-5, -0.1, "loses"), (-1.4, 1.5, "level"), (-1.6, 0.2, "not resolved")],
)
def test_verdicts(low, high, word):
    assert claims.verdict(low, high) == word


def said_of(lines):
    rows = claims.rows_of(lines, PLAN)
    return [one.split(": ", 1)[1] for one in claims.claims(rows, PLAN.budgets, STARTS)]


def at_all(word):
    return "; ".join(f"{budget / 1e6:.2f} M: {word}" for budget in PLAN.budgets)


def test_claims_hold_where_they_do():
    # Nothing is said of the search and of MaxPool, which were not trained.
    assert said_of(trainings(0.05)) == [at_all("yes")] * 4
    # 2 points above strided networks, where sizes by hand are 5 above them.
    some = [at_all("yes"), at_all("no"), at_all("no"), at_all("yes")]
    assert said_of(trainings(0.02)) == some
    some = [at_all("yes"), at_all("no"), at_all("no"), at_all("no")]
    assert said_of(trainings(-0.01)) == some


def test_one_start_that_fails_is_enough():
    lines = trainings()
    for each in lines:
        if each["strides"] == "random":
            each["accuracy"] = str(float(each["accuracy"]) - 0.06)
    no = at_all("no")
    assert said_of(lines) == [no] * 4


def test_a_claim_is_open_where_the_interval_says_so():
    lines = trainings()
    for each in lines:
        if each["strides"] == "random":
            sign = -1 if int(each["seed"]) % 2 else 1
            each["accuracy"] = str(float(each["accuracy"]) + 0.06 * sign)
    near, by_hand, strided, smaller = said_of(lines)
    assert near == at_all("no")  # a mean of five signs is not 0
    assert by_hand == strided == smaller == at_all("not resolved")


def test_the_search_and_the_balanced_start_have_rows():
    lines = trainings()
    for seed in SEEDS:
        for number, budget in enumerate(PLAN.budgets):
            learned = {"budget": str(budget), "settle_at": "0.3", "hard": "True"}
            accuracy = 0.64 - 0.05 * number
            lines.append(line("spectral", fixed(claims.SEARCH, number), seed, accuracy, budget))
            lines += [
                line("diffstride", places, seed, accuracy, budget, begin="balanced", **learned)
                for places in ("1,1,2,2,2", "random")
            ]
    rows = claims.rows_of(lines, PLAN)
    for name in (claims.SEARCH, claims.BALANCED, claims.MORE_LAYERS):
        assert [len(rows[name, number].accuracies) for number in range(3)] == [5] * 3
    asked = claims.claims(rows, PLAN.budgets, (claims.BALANCED, claims.MORE_LAYERS))
    assert "each is level with the random search, or wins: " + at_all("yes") in asked
    # The strides of other starts are what they were.
    assert said_of(lines)[2] == at_all("yes")


@pytest.mark.parametrize(
    "more",
    [
        {"settle_at": "0.6", "begin": "balanced"},
        {"settle_at": "0.3", "strides": "1,1,2,2,4"},
        {"settle_at": "0.6", "strides": "random"},
        {"budget": "5e6", "settle_at": "0.3"},
        {"penalty": "0.2"},
        {"downsampling": "spectral"},
        {"downsampling": "strided"},
        {"settle_at": "0.3", "hard": "True", "model": "resnet56"},
        {"settle_at": "0.3", "hard": "True", "hold_out": "0.1"},
        {"penalty": "0.03", "hard": "True"},
        {"downsampling": "maxpool", "strides": "1,1,2,2,2", "size": "12"},
    ],
    ids=str,
)
def test_a_training_that_no_row_has_is_refused(more):
    other = line("diffstride", "1,1,3,2,3", 10, 0.6, 4e6, budget="4.46e6", folder="runs/7") | more
    with pytest.raises(ValueError, match="no row of the plan has the training in 'runs/7'"):
        claims.rows_of([other], PLAN)


def test_sizes_that_the_poor_start_found_have_a_row_where_the_seed_is_the_same():
    learned = line("diffstride", "1,1,3,2,3", 10, 0.6, 4e6, budget="4.46e6", settle_at="0.3")
    learned |= {"hard": "True", "final_sizes": "28x27,9,4,2"}
    again = line("spectral", "32/28x32/27,1,3,9/4,2", 10, 0.61, 4e6)
    again |= {"final_sizes": "28x27,9,4,2"}
    for lines in ([learned, again], [again, learned]):
        assert claims.rows_of(lines, PLAN)[claims.FIXED, 1].accuracies == {10: 61.0}
    for other in ({"seed": "11"}, {"final_sizes": "28,9,4,2"}):
        with pytest.raises(ValueError, match="no row of the plan"):
            claims.rows_of([learned, again | other], PLAN)


def test_the_penalty_stands_beside_the_budgets():
    lines = [
        line("diffstride", "1,1,3,2,3", 10, 0.6, 4e6, penalty=penalty)
        for penalty in ("0.1", "0.01", "0.03")
    ]
    rows = claims.rows_of(lines, PLAN)
    assert list(rows) == [(claims.PENALTY, number) for number in range(3)]


def test_two_seeds_say_nothing():
    lines = [each for each in trainings() if each["strides"] != "random" or int(each["seed"]) < 12]
    few = at_all("too few seeds")
    assert said_of(lines) == [few] * 4
    rows = claims.rows_of(lines, PLAN)
    assert "too few seeds" in claims.difference_table(
        rows, PLAN.budgets, [(claims.RANDOM, claims.HAND)]
    )


def test_a_training_that_is_there_twice_is_refused():
    lines = trainings()
    with pytest.raises(ValueError, match="has seed 10 twice"):
        claims.rows_of([*lines, lines[0]], PLAN)


def test_the_command_prints_tables_and_draws(tmp_path, capsys):
    path = tmp_path / "trainings.csv"
    lines = trainings()
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    claims.main([str(path), "--picture", str(tmp_path / "picture.png")])
    shown = capsys.readouterr().out
    assert "learned, poor start less strided, smaller images | +5.00" in shown
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("plan", RESULTS)
def test_the_page_says_what_the_results_say(plan, capsys):
    results = BENCHMARKS / "accuracy" / "results" / RESULTS[plan] / "trainings.csv"
    claims.main([str(results), "--plan", plan])
    page = (BENCHMARKS / "README.md").read_text("utf-8").splitlines()
    told = capsys.readouterr().out.splitlines()
    assert told[1].startswith("| :--")
    assert told[-1].startswith("* ")
    starts = [number for number, line in enumerate(page) if line == told[0]]
    assert any(page[start : start + len(told)] == told for start in starts)


def test_every_plan_has_its_results():
    there = {path.parent.name for path in (BENCHMARKS / "accuracy").glob("results/*/trainings.csv")}
    assert set(RESULTS) == set(claims.PLANS)
    assert there == set(RESULTS.values())
