"""The networks by name: where they start, what they take, and what is refused."""

import math
import re

import pytest
import torch

from spectral_stride.torch import DiffStride, LogMel
from spectral_stride.torch.models.downsampling import DOWNSAMPLINGS
from spectral_stride.torch.training.config import parse_strides
from spectral_stride.torch.training.networks import MODELS, build_model, layer_name
from spectral_stride.torch.training.refusal import RefusedError

IMAGES = {"sample_shape": (1, 32, 32), "sample_rate": None}
AUDIO = {"sample_shape": (4000,), "sample_rate": 8000}
DATA = {"image": IMAGES, "audio": AUDIO}


def build(name, data=None, **options):
    kind = MODELS[name]
    arguments = {
        "num_classes": 3,
        "width": 4,
        "downsampling": "diffstride",
        "strides": parse_strides(kind.good_strides),
        "ramp": "inside",
        "smoothness": 4.0,
        "hard": False,
        "part": 0.0,
        **(data or DATA[kind.takes]),
    }
    return build_model(name, **(arguments | options))


def test_every_network_of_the_tool_is_there():
    names = "resnet18 resnet56 resnet18_imagenet resnet50 efficientnet_b0 audio"
    assert list(MODELS) == names.split()
    assert {name for name, kind in MODELS.items() if kind.takes == "audio"} == {"audio"}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("downsampling", DOWNSAMPLINGS)
def test_both_starts_fit_every_kind(name, downsampling):
    kind = MODELS[name]
    for text in (kind.poor_strides, kind.good_strides):
        strides = parse_strides(text)
        assert len(strides) == kind.places
        net = build(name, downsampling=downsampling, strides=strides).eval()
        initial = [down.initial for down in net.downsamplings().values()]
        # A first stage that keeps its identity has a stride of 1 and no place.
        assert [pair for pair in initial if pair != (1, 1)] == [
            pair for pair in strides if pair != (1, 1)
        ]
        with torch.no_grad():
            assert net(torch.zeros(2, *DATA[kind.takes]["sample_shape"])).shape == (2, 3)


@pytest.mark.parametrize("name", MODELS)
def test_the_poor_start_shrinks_too_much_at_the_end(name):
    poor, good = (
        [height for height, _ in parse_strides(text)]
        for text in (MODELS[name].poor_strides, MODELS[name].good_strides)
    )
    assert math.prod(poor) > math.prod(good)
    assert math.prod(poor[-2:]) > math.prod(good[-2:])


def test_the_starts_of_the_paper():
    assert MODELS["resnet18"].poor_strides == "1,1,3,2,3"
    assert MODELS["resnet18"].good_strides == "1,1,2,2,2"


@pytest.mark.parametrize("name", MODELS)
def test_the_choices_reach_every_layer(name):
    strides = [(1.5, 1.25)] * MODELS[name].places
    net = build(
        name, num_classes=(4, 2), ramp="outside", smoothness=2.0, hard=True, strides=strides
    )
    layers = [module for module in net.modules() if isinstance(module, DiffStride)]
    assert len(layers) == MODELS[name].places
    choices = {(layer.ramp, layer.smoothness, layer.hard) for layer in layers}
    assert choices == {("outside", 2.0, True)}
    assert all(layer.strides.tolist() == [1.5, 1.25] for layer in layers)
    assert [task.out_features for task in net.classifier.tasks] == [4, 2]


def test_the_data_decide_the_first_layer():
    assert build("resnet50").stem[0].operation.in_channels == 1
    assert build("audio", AUDIO | {"sample_rate": 16000}).frontend.sample_rate == 16000


@pytest.mark.parametrize("name", MODELS)
def test_a_network_for_other_data_is_refused(name):
    takes = MODELS[name].takes
    other = "image" if takes == "audio" else "audio"
    fit = [each for each, kind in MODELS.items() if kind.takes == other]
    with pytest.raises(RefusedError) as caught:
        build(name, DATA[other])
    assert str(caught.value) == (
        f"--model: got '{name}', which takes {takes} data, for {other} data; "
        f"allowed: {', '.join(fit)} for this --data; instead: write --model {fit[0]}"
    )


@pytest.mark.parametrize("name", MODELS)
def test_layers_have_a_name_each(name):
    strides = [(1.5, 1.5)] * MODELS[name].places
    names = [layer_name(place) for place in build(name, strides=strides).downsamplings()]
    stages = [f"stage{n}" for n in range(1, 7)]
    wanted = {
        "resnet18": ["stem", *stages[:4]],
        "resnet56": ["stem", *stages[:3]],
        "resnet18_imagenet": ["stem", "pool", *stages[:4]],
        "resnet50": ["stem", "pool", *stages[:4]],
        "efficientnet_b0": ["stem", "stage2", "stage3", "stage4", "stage6"],
        "audio": stages,
    }
    assert names == wanted[name]


def test_recordings_of_too_low_a_rate_are_refused_with_the_least():
    recordings = {"sample_shape": (500,), "sample_rate": 500}
    with pytest.raises(RefusedError) as caught:
        build("audio", recordings)
    assert re.fullmatch(
        r"--data: got recordings with 500 samples a second; allowed: 2741 or more: .*; instead: .*",
        str(caught.value),
    )
    for rate in range(2741, 4000, 7):  # from there on the layer takes every rate
        LogMel(rate)
    build("audio", AUDIO | {"sample_rate": 2741})
    with pytest.raises(ValueError, match="bands: got 64"):
        LogMel(2740)


def test_the_audio_network_alone_has_parts():
    assert build("audio", part=0.5).part == 4000
    assert build("audio").part is None
    assert not hasattr(build("resnet18", part=0.5), "part")
