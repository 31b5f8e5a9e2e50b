"""Words of a user as a configuration: what is settled, and what is refused."""

import math
import shlex
from dataclasses import asdict, replace

import pytest

from spectral_stride.__main__ import main
from spectral_stride.torch.training import fit
from spectral_stride.torch.training.config import (
    LEARNED_ONLY,
    OPTIONS,
    has_effect,
    parse_strides,
    starts_poorly,
)
from spectral_stride.torch.training.networks import MODELS
from spectral_stride.torch.training.refusal import RefusedError
from spectral_stride.torch.training.words import complete, parse


@pytest.mark.parametrize(
    ("downsampling", "strides", "baseline"),
    [("diffstride", "1,1,2,2,2", True), ("spectral", "1,1,2.5,2,2", False), ("strided", "", False)],
)
def test_the_baseline_is_trained_where_it_can_be(downsampling, strides, baseline):
    config = parse({"downsampling": downsampling, "strides": strides})
    assert (config.baseline, config.spectral) == (baseline, baseline)


@pytest.mark.parametrize("model", MODELS)
def test_only_the_demo_starts_where_there_is_something_to_learn(model, tmp_path):
    kind = MODELS[model]
    own = parse({"data": str(tmp_path), "model": model})
    assert own.strides == kind.good_strides
    assert (own.width, own.budget, own.baseline, own.spectral) == (kind.width, 0.0, True, False)
    assert not starts_poorly(own)
    assert not starts_poorly(replace(own, strides=kind.poor_strides))
    demo = parse({"model": model})
    assert demo.strides == kind.poor_strides
    assert (demo.width, demo.budget, demo.baseline, demo.spectral) == (8, 0.5, True, True)
    assert starts_poorly(demo)
    assert not starts_poorly(parse({"model": model, "strides": kind.good_strides}))
    assert parse({"model": model, "width": "0"}).width == kind.width


@pytest.mark.parametrize(
    ("words", "spectral"),
    [
        ({"baseline": False}, False),
        ({"baseline": False, "spectral": True}, True),
        ({"spectral": False}, False),
        ({"downsampling": "strided", "spectral": True}, True),
        ({"downsampling": "strided"}, False),
        ({"downsampling": "spectral", "spectral": True}, False),
    ],
    ids=str,
)
def test_spectral_pooling_is_trained_beside_the_demo(words, spectral):
    assert parse(words).spectral is spectral


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            {"recipe": "papr"},
            "--recipe: got 'papr'; allowed: small, paper, published, paper-imagenet, ",
        ),
        ({"label_smoothing": "1"}, "--label-smoothing: got '1'; allowed: a share from 0"),
        (
            {"flip": "no"},
            "--flip: got 'no'; allowed: yes or no; instead: write --flip, or --no-flip",
        ),
        ({"precision": "16"}, "--precision: got '16'; allowed: 32, bf16; instead: write"),
        (
            {"downsampling": "maxpool", "strides": "1,1,2.5,2,2"},
            "whole numbers for --downsampling max",
        ),
        (
            {"strides": "1,1,2/0,2,2"},
            "--strides: got '1,1,2/0,2,2'; allowed: numbers of at least 1",
        ),
        (
            {"settle_at": "0.2"},
            "--settle-at: got '0.2'; allowed: a share above 0.2, where the budget",
        ),
        ({"strides": "random", "baseline": True}, "--strides: got 'random'; allowed: random for"),
        ({"strides": "random", "downsampling": "maxpool"}, "--strides: got 'random'; allowed: ran"),
        ({"data": "digitz:all"}, "--data: got 'digitz:all'; allowed: digits, a path that exists"),
        ({"data": "digitz"}, "--data: got 'digitz'; allowed: digits, a path that exists, or an id"),
        ({"data": ""}, "--data: got ''; allowed: digits, a path that exists, or an id"),
        ({"epoch": 3}, "options: got 'epoch'; allowed: data, input, .*; instead: write epochs"),
        ({"x": 3}, "options: got 'x'; allowed: data, input, .*; instead: leave it out"),
    ],
    ids=str,
)
def test_refusals(words, message):
    with pytest.raises(RefusedError, match=message):
        parse(words)


def test_a_stride_may_be_a_fraction_that_says_a_size():
    pairs = parse_strides("1,1,32/20,20/10x20/8,2")
    assert pairs == [(1, 1), (1, 1), (1.6, 1.6), (2, 2.5), (2, 2)]


def test_strides_are_drawn_by_the_seed():
    drawn = [parse({"strides": "random", "seed": seed}).stride_pairs for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert [len(pairs) for pairs in drawn] == [5, 5, 5]
    numbers = [stride for pairs in drawn for pair in pairs for stride in pair]
    assert all(1 <= stride < 4 for stride in numbers)
    logs = [
        math.log(pair[0])
        for seed in range(200)
        for pair in parse({"strides": "random", "seed": seed}).stride_pairs
    ]
    assert sum(logs) / len(logs) == pytest.approx(math.log(2), abs=0.05)
    config = parse({"strides": "random"})
    assert (config.strides, config.baseline) == ("random", False)


def test_without_a_budget_nothing_settles_and_nothing_is_balanced():
    words = {"settle_at": "0.3", "begin": "balanced"}
    config = parse({**words, "budget": "0.5"})
    assert (config.settle_at, config.begin) == (0.3, "balanced")
    assert parse({**words, "budget": "0"}) == parse({"budget": "0"})


def test_a_folder_may_name_one_of_its_configurations(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tables").mkdir()
    assert parse({"data": "tables:small"}).data == "tables:small"


def test_what_is_for_learned_strides_has_no_effect_on_others():
    assert LEARNED_ONLY == (
        "ramp",
        "smoothness",
        "hard",
        "penalty",
        "budget",
        "begin",
        "settle_at",
        "stride_lr",
    )
    for option in OPTIONS:
        assert has_effect(option, "diffstride")
        for other in ("strided", "spectral"):
            assert has_effect(option, other) is (option not in LEARNED_ONLY)


@pytest.mark.parametrize(
    "words", [{}, {"flip": True, "baseline": False, "labels": "a,b c"}], ids=str
)
def test_the_command_of_a_configuration_repeats_it(words, monkeypatch):
    seen = []
    monkeypatch.setattr(fit, "run_job", lambda config, *_, **__: seen.append(config))
    config = parse(words)
    assert main(shlex.split(config.command())[1:]) == 0
    assert seen == [config]


def test_an_earlier_runs_choices_are_completed_in_the_order_of_the_table():
    choices = asdict(parse({"crop": "0.5"}))
    assert complete(choices) == choices
    del choices["crop"]
    shuffled = dict(reversed(choices.items()))
    assert list(complete(shuffled)) == list(OPTIONS)
    assert complete(shuffled)["crop"] == 0
    assert list(complete({"later": 1} | shuffled)) == [*OPTIONS, "later"]
    del choices["epochs"]
    with pytest.raises(KeyError, match="epochs"):
        complete(choices)


@pytest.mark.parametrize("word", ["white", "#ff8000", "rgb(1, 2, 3)", "none"])
def test_a_background_is_a_colour_or_none(word):
    assert parse({"background": word}).background == word


@pytest.mark.parametrize("word", ["whte", "", "#12", 3, ["white"]])
def test_a_background_that_is_no_colour_is_refused(word):
    match = r"--background: got .*; allowed: a colour such as white or #ff8000, or none; instead: "
    with pytest.raises(RefusedError, match=match):
        parse({"background": word})
