"""A layer's settings: what is refused, when it is set as when it is changed, and what follows."""

import copy
import doctest
import math
import pickle
import re
from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest

from spectral_stride import layer_settings, make_plan, stride_bounds
from spectral_stride.layer_settings import (
    HasPoolSettings,
    HasStrideSettings,
    HasUpSettings,
    PoolSettings,
    StrideSettings,
    UpSettings,
    check_initial,
    check_learned,
    check_rank,
    largest_stride,
    popped,
    roundest_stride,
    strides_per_axis,
)
from spectral_stride.plan import for_any_batch
from tests.changed_settings import CHANGES, REFUSED, START

INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(("name", "value", "message"), REFUSED)
def test_what_is_out_of_range_is_refused_first_and_later(name, value, message):
    settings = StrideSettings(2)
    with pytest.raises(ValueError, match=f"^{message}"):
        StrideSettings(2, **{name: value})
    with pytest.raises(ValueError, match=f"^{message}"):
        replace(settings, **{name: value})
    assert settings == StrideSettings(2)


@pytest.mark.parametrize("value", ["2", b"22"])
def test_a_text_is_no_stride(value):
    message = (
        f"strides: got {value!r} ({type(value).__name__}); allowed: a number, or a sequence of "
        "numbers, one per axis; instead: write strides=2.0"
    )
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        strides_per_axis(value, None)


def test_settings_stay_and_can_be_looked_up():
    """Equal ones are one key, also as copies and from a file; none can be written to."""
    settings = StrideSettings(2, smoothness=3, lower=1, axes=[1, 2])
    others = StrideSettings(2, smoothness=3.0, axes=(1, 2)), copy.deepcopy(settings)
    for other in (*others, pickle.loads(pickle.dumps(settings)), replace(settings)):
        assert (other, hash(other)) == (settings, hash(settings))
    assert replace(settings, norm="ortho") != settings
    with pytest.raises(FrozenInstanceError):
        settings.lower = 2.0
    with pytest.raises(FrozenInstanceError):
        PoolSettings(2.0).norm = "ortho"


def test_default_axes_are_where_the_framework_has_them():
    assert StrideSettings(2).axes == (-2, -1)
    assert StrideSettings(3, channels_last=True).axes == (-4, -3, -2)
    assert StrideSettings(2, axes=(0, 1), channels_last=True).axes == (0, 1)
    assert replace(StrideSettings(2, axes=(0, 1), channels_last=True), axes=None).axes == (-3, -2)
    assert PoolSettings(2.0, channels_last=True).axes == (-3, -2)
    assert PoolSettings(out_sizes=(8,)).axes == (-1,)
    assert StrideSettings(2, axes=(-1, 1)).axes_in(4) == (3, 1)
    message = r"x: got shape \(8, 100\); allowed: at least 3 dim.*x\[\.\.\., None\], .*ndim=1, or"
    with pytest.raises(ValueError, match=message):
        check_rank(StrideSettings(2, channels_last=True), (8, 100))
    with pytest.raises(ValueError, match=r"x: got shape \(8,\); allowed: .* x\[None\], or call"):
        StrideSettings(2).plan((8,), (2.0, 2.0))
    check_rank(StrideSettings(2, axes=(0, 1)), (8, 100))


def test_bounds_that_are_not_given_are_none():
    settings = StrideSettings(1, lower=2.0, upper=4.0)
    assert (settings.lower, settings.upper) == (2.0, 4.0)
    assert (replace(settings, lower=None).lower, replace(settings, upper=None).upper) == (1.0, INF)


def test_a_plan_is_that_of_all_settings():
    """After every one was changed in turn; the same plan again where nothing changed."""
    shape, strides, changed = (4, 3, 33, 30), (2.1, 1.9), dict(START)
    settings, seen = StrideSettings(2, **START), set()
    for name, value in [*CHANGES.items(), ("axes", (1, 2))]:
        settings, changed[name] = replace(settings, **{name: value}), value
        options = {key: one for key, one in changed.items() if key not in ("lower", "upper")}
        plan = for_any_batch(make_plan(shape, strides, **options))
        assert settings.plan(shape, strides) is plan
        seen.add(plan)
    assert len(seen) == len(CHANGES) - 2 + 1  # bounds make no plan
    assert settings.plan(list(shape), np.array(strides)) is plan
    assert StrideSettings(3, ramp="inside", multiple_of=4).out_size(33, 2.6) == 16


def test_one_stride_for_all_axes():
    shared, free = StrideSettings(3, shared=True), StrideSettings(3)
    assert shared.start((2.0, 2.0, 2.0)) == (2.0,)
    assert free.start((2.0, 3.0, 4.0)) == (2.0, 3.0, 4.0)
    assert shared.per_axis([2.5]) == (2.5,) * 3
    assert free.per_axis([2.5, 1.0, 2.0]) == (2.5, 1.0, 2.0)
    message = r"strides: got \(2\.0, 3\.0\) with shared=True; allowed: equal .*write strides=2\.0"
    with pytest.raises(ValueError, match=message):
        StrideSettings(2, shared=True).start((2.0, 3.0))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"shared": True},
            r"shared: got True; allowed: False, which gave .*another layer with",
        ),
        ({"ndim": 3}, r"ndim: got 3; allowed: 2, which gave the layer's parameter its shape"),
    ],
)
def test_what_a_parameter_would_not_fit_is_refused(changed, message):
    settings = StrideSettings(2)
    with pytest.raises(ValueError, match=message):
        settings.check_successor(StrideSettings(**{"ndim": 2, **changed}))
    settings.check_successor(StrideSettings(2, lower=2.0, axes=(0, 1)))


@pytest.mark.parametrize(
    ("strides", "lower", "upper", "message"),
    [
        ((0.5,), 1.0, INF, r"got 0\.5 at position 0; allowed: finite numbers of at least 1 .*e 2$"),
        ((2.0, NAN), 1.0, INF, r"got nan at position 1; allowed: finite numbers of at least 1 "),
        ((INF,), 1.0, INF, r"got inf at position 0; allowed: finite numbers of at least 1 "),
        ((2.0, 9.0), 1.0, 8.0, r"got 9 at position 1; .* from 1 to 8 .*write 2, or change the bou"),
        ((2.0,), 3.0, INF, r"got 2 at position 0; .*of at least 3 .*write 3, or change the bounds"),
        ((2.0,), 1.0, 1.5, r"got 2 at position 0; .*write 1\.5, or change the bounds"),
    ],
)
def test_initial_strides_that_are_out_of_bounds(strides, lower, upper, message):
    with pytest.raises(ValueError, match=f"strides: {message}"):
        StrideSettings(len(strides), lower=lower, upper=upper).start(strides)
    with pytest.raises(ValueError, match=f"strides: {message}"):
        check_initial(strides, lower, upper)


def test_one_stride_per_axis():
    assert strides_per_axis(2, None) == (2.0, 2.0)
    assert strides_per_axis(2.5, 3) == (2.5,) * 3
    assert strides_per_axis(np.array([2.0, 3.0]), None) == (2.0, 3.0)
    for value, ndim, message in [
        (2.0, 0, r"ndim: got 0; allowed: an integer of at least 1"),
        ((2.0, 3.0), 3, r"strides: got 2 numbers and ndim=3; allowed: as many as ndim; .*leave"),
        ((), None, r"strides: got \(\); allowed: one number per axis, 1 or more"),
    ]:
        with pytest.raises(ValueError, match=message):
            strides_per_axis(value, ndim)


def test_entries_are_brought_inside_the_bounds_and_below_what_inputs_can_use():
    settings = StrideSettings(3, lower=1.5, upper=6.0)
    assert settings.clip((1.0, 9.0, 2.0)) == (1.5, 6.0, 2.0)
    assert settings.clip([9.0, 5.0, -1.0], [4.0, 8.0, 16.0]) == (4.0, 5.0, 1.5)
    assert settings.clip([INF, INF, INF], [4.0, 8.0, 1.0]) == (4.0, 6.0, 1.0)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_parameter_that_training_broke_is_refused(value):
    check_learned([1.0, -1e30])
    for rate, said in [({}, "a smaller stride_lr in param_groups"), ({"rate": "less"}, "less")]:
        message = rf"got the parameter \[1\.0, {value}\]; allowed: finite .*; {said}, or clip"
        with pytest.raises(ValueError, match=f"^strides: {message}"):
            check_learned([1.0, value], **rate)


@pytest.mark.parametrize("ramp", ["outside", "inside"])
def test_the_largest_stride_is_that_of_the_bounds(ramp):
    for size in range(1, 70):
        assert largest_stride(size) == stride_bounds(size, ramp=ramp)[1]


@pytest.mark.parametrize(
    ("least", "beyond", "roundest"), [(21.4, 32.0, 24.0), (2.86, 3.34, 3.0), (2.23, 2.49, 2.25)]
)
def test_an_interval_of_strides_has_one_roundest_number(least, beyond, roundest):
    for stride in np.linspace(least, beyond, 50, endpoint=False):
        found = roundest_stride(float(stride), 32.0, lambda other: least <= other < beyond)
        assert found == roundest
    assert roundest_stride(17.3, 32.0, lambda other: other > 16.0) == 32.0
    assert roundest_stride(1.0, 4.0, lambda other: other < 1.5) == 1.0  # and not zero


def test_pooling_has_strides_or_sizes():
    by_strides, by_sizes = PoolSettings((2.5, 2.0), axes=(1, -1)), PoolSettings(out_sizes=[8, 6])
    assert by_strides.sizes_of((4, 32, 3, 31)) == (13, 16)
    assert by_sizes.sizes_of((4, 32, 31)) == (8, 6)
    assert (by_strides.ndim, by_sizes.ndim) == (2, 2)
    assert replace(by_strides, strides=3).strides == (3.0, 3.0)
    assert replace(by_sizes, out_sizes=(4, 4)).sizes_of((3, 8, 8)) == (4, 4)
    with pytest.raises(ValueError, match=r"x: got shape \(8,\); allowed: at least 3 dimensions"):
        PoolSettings(2.0).sizes_of((8,))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"strides: got neither; allowed: exactly one of strides and out_sizes"),
        ({"strides": 2.0, "out_sizes": (8, 8)}, r"strides: got both"),
        ({"strides": 0.5}, r"strides: got 0\.5 .*at least 1"),
        ({"strides": (2.0, 2.0), "ndim": 3}, r"strides: got 2 numbers and ndim=3"),
        ({"out_sizes": (4,), "ndim": 3}, r"out_sizes: got 1 numbers and ndim=3"),
        ({"out_sizes": (4, 4), "axes": (1,)}, r"axes: got \(1,\); allowed: 2 different integers"),
        ({"strides": 2.0, "norm": "l2"}, r"norm: got 'l2'"),
        ({"strides": 2.0, "method": "dct"}, r"method: got 'dct'"),
        ({"out_sizes": 8}, r"out_sizes: got 8; allowed: a sequence of"),
        ({"out_sizes": ()}, r"out_sizes: got \(\); allowed: a sequence of"),
        ({"out_sizes": (8, 0)}, r"out_sizes: got 0; allowed: an integer of at least 1"),
    ],
)
def test_what_pooling_refuses(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        PoolSettings(**arguments)


def test_going_back_takes_sizes_of_a_layer_or_of_an_array():
    up, last = UpSettings(), UpSettings(channels_last=True)
    assert up.like_layer(4, "Layer", (1, 2), (33, 30)) == ((1, 2), (33, 30))
    assert up.like_array((2, 3, 8, 9), (2, 5, 33, 30)) == ((-2, -1), (33, 30))
    assert last.like_array((2, 8, 9, 3), (2, 33, 30, 5)) == ((-3, -2), (33, 30))
    named = UpSettings(axes=(1, -1))
    assert named.like_array((2, 8, 9), (1, 33, 30)) == ((1, -1), (33, 30))
    assert named.like_layer(3, "Layer", (-1, -2), (30, 33)) == ((-1, -2), (30, 33))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: UpSettings("l2"), "norm: got 'l2'"),
        (lambda: UpSettings(method="dct"), "method: got 'dct'"),
        (lambda: UpSettings(axes=2), "axes: got 2; allowed: 1 different integers"),
        (lambda: UpSettings(axes=()), r"axes: got \(\)"),
        (lambda: UpSettings(axes=(1, 1)), r"axes: got \(1, 1\)"),
        (
            lambda: UpSettings().like_layer(4, "Layer", (), ()),
            "like: got a Layer of which no forward pass is known here; allowed: a layer that has "
            "run, and not in a compiled part of its own; instead: call it first, y = down\\(x\\), "
            "or pass an array that has the sizes: like=x$",
        ),
        (
            lambda: UpSettings(axes=(-1,)).like_layer(4, "Layer", (-2, -1), (9, 9)),
            r"axes: got \(-1,\) for a Layer along \(-2, -1\); allowed: the axes of that layer; "
            "instead: leave axes out$",
        ),
        (
            lambda: UpSettings().like_array((2, 3, 8, 9), (3, 8, 9)),
            "like: got an array with 3 dimensions for one with 4; allowed: as many dimensions; "
            r"instead: pass like=x\[None\]$",
        ),
        (
            lambda: UpSettings().like_array((8, 9), (16, 18)),
            "y: got an array with 2 dimensions; allowed: 2 that are resampled, and one more for a "
            r"batch or channels; instead: pass y\[None\], or set other axes$",
        ),
        (lambda: UpSettings(axes=(3,)).like_array((8, 9), (16, 18)), r"axes: got \(3,\)"),
        (
            lambda: UpSettings(axes=(0, 1, 2)).like_array((8, 9), (16, 18)),
            r"axes: got \(0, 1, 2\) for an array with 2 dimensions; allowed: at most one axis per "
            "dimension; instead: leave axes out, or pass an array with more dimensions$",
        ),
    ],
)
def test_what_going_back_refuses(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


def test_axes_from_the_front_go_back_without_a_batch():
    assert UpSettings(axes=(0, 1)).like_array((8, 9), (16, 18)) == ((0, 1), (16, 18))


@pytest.mark.parametrize(("given", "got"), [({}, "neither"), ({"out_sizes": (4, 4)}, "both")])
def test_a_pool_has_strides_or_sizes(given, got):
    strides = 2.0 if given else None
    message = (
        f"strides: got {got}; allowed: exactly one of strides and out_sizes; instead: write "
        "SpectralPool(strides=2.0)"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        PoolSettings(strides, **given)


def test_a_setting_tells_what_it_is():
    text = "The ``ramp`` of the layer's settings; it may be set."
    assert HasStrideSettings.ramp.__doc__ == text


def test_a_pool_knows_where_the_channels_are():
    assert PoolSettings(2.0, channels_last=True).channels_last is True
    assert PoolSettings(2.0).channels_last is False


class Layer(HasStrideSettings):
    """A layer of no framework."""

    def __init__(self):
        self.settings = StrideSettings(2)


class Pool(HasPoolSettings):
    """A pooling layer of no framework."""

    def __init__(self):
        self.settings = PoolSettings(2.0)


class Up(HasUpSettings):
    """A layer of no framework that goes back."""

    def __init__(self):
        self.settings = UpSettings()


@pytest.mark.parametrize(
    ("kind", "hidden"),
    [
        (Layer, {"ndim", "channels_last"}),
        (Pool, {"ndim", "channels_last"}),
        (Up, {"channels_last"}),
    ],
)
def test_every_setting_is_an_attribute_of_its_layer(kind, hidden):
    layer = kind()
    for field in fields(layer.settings):
        assert hasattr(kind, field.name) is (field.name not in hidden)
        if field.name not in hidden:
            assert getattr(layer, field.name) == getattr(layer.settings, field.name)
    layer.norm = "ortho"
    assert layer.settings == replace(kind().settings, norm="ortho")
    with pytest.raises(ValueError, match=rf"^{kind.__name__}: norm: got 'l2'; allowed: 'forward'"):
        layer.norm = "l2"
    assert layer.norm == "ortho"


def test_settings_are_taken_out_of_an_older_state():
    changed = {**START, **CHANGES, "axes": (1, 2), "shared": True}
    state = {**vars(StrideSettings(2, **changed)), "strides": "kept"}
    del state["ndim"], state["channels_last"]
    assert popped(StrideSettings, state, ndim=2) == StrideSettings(2, **changed)
    assert state == {"strides": "kept"}


def test_the_examples_run():
    result = doctest.testmod(layer_settings)
    assert (result.failed, result.attempted) == (0, 9)


def test_of_strides_and_sizes_the_one_that_is_set_takes_the_place_of_the_other():
    class Layer(HasPoolSettings):
        settings = PoolSettings(2.0)

    layer = Layer()
    layer.out_sizes = (8, 6)
    assert (layer.strides, layer.out_sizes) == (None, (8, 6))
    layer.strides = 2.5
    assert (layer.strides, layer.out_sizes) == ((2.5, 2.5), None)
    with pytest.raises(ValueError, match="Layer: strides: got neither"):
        layer.strides = None


@pytest.mark.parametrize(
    ("options", "sizes", "low", "high"),
    [
        ({"ramp": "inside"}, (32, 20), (1.0, 1.0), (16.0, 10.0)),
        ({"ramp": "outside"}, (32, 8), (32 / 28, 2.0), (16.0, 4.0)),
        ({"ramp": "inside", "lower": 2.0, "upper": 12.0}, (32, 20), (2.0, 2.0), (12.0, 10.0)),
        # What an axis cannot reach is no lower bound of it.
        ({"ramp": "inside", "lower": 5.0}, (32, 8), (5.0, 4.0), (16.0, 4.0)),
        ({"ramp": "inside"}, (1, 2), (1.0, 1.0), (1.0, 1.0)),
    ],
)
def test_strides_that_act_on_axes(options, sizes, low, high):
    """Within the settings' own bounds, and within those of each size and its ramp."""
    settings = StrideSettings(2, **options)
    own = (settings.lower,) * 2, (settings.upper,) * 2
    assert settings.bounds(sizes) == (*own, low, high)
