"""Modules that were saved before the code moved: they load, and compute what they computed."""

import copy
import gzip
import io
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spectral_stride.torch import (
    DiffStride,
    DiffStrideConv2d,
    LogMel,
    SpectralPool,
    audio_net,
    hold_sizes,
    param_groups,
    project_strides,
    resnet18,
)
from spectral_stride.torch.renamed import RENAMED

ROOT = Path(__file__).parents[2]
SAVED = ROOT / "tests" / "data" / "torch_modules.pt.gz"
NAMES = [
    "follows",
    "held",
    "a deep copy of a held one",
    "shared",
    "uncropped",
    "convolution",
    "held convolution",
    "pool",
    "pool to sizes",
    "mel",
    "resnet18",
    "audio_net",
]


def saved():
    """Every module with an input and the output of then, loaded anew."""
    return torch.load(io.BytesIO(gzip.decompress(SAVED.read_bytes())), weights_only=False)


def again(module):
    return pickle.loads(pickle.dumps(module))


def assert_same(y, wanted):
    torch.testing.assert_close(y, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_module_computes_what_it_computed(name):
    """So does a copy of it, and what is saved of it now."""
    module, x, y = saved()[name]
    with torch.no_grad():
        for one in (module, copy.deepcopy(module), again(module)):
            assert_same(one(x), y)
    for layer in module.modules():
        assert type(layer).__module__.removeprefix("spectral_stride.torch.") not in RENAMED


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("convolution", lambda: DiffStrideConv2d(2, 3, 3, padding=1, ramp="inside")),
        ("shared", lambda: DiffStride(shared=True, ramp="inside", axes=(2, 3))),
        ("pool", lambda: SpectralPool((2.5, 3.0), norm="ortho")),
        ("mel", lambda: LogMel(4000, 8)),
        ("resnet18", lambda: resnet18(3, in_channels=2, width=1, ramp="inside")),
        ("audio_net", lambda: audio_net([2, 3], sample_rate=4000, width=1, bands=16)),
    ],
)
def test_parameters_have_the_names_that_they_had(name, make):
    """A module of now takes all of them, and has no others."""
    module, x, y = saved()[name]
    made = make().eval()
    made.load_state_dict(module.state_dict())
    with torch.no_grad():
        assert_same(made(x), y)


def test_every_saved_module_is_tried():
    assert list(saved()) == NAMES


def test_settings_and_bounds_are_those_of_then():
    held, x, _ = saved()["held"]
    assert repr(held) == (
        "DiffStride(strides=[2.9, 1.5], smoothness=4, ramp='outside', norm='backward', "
        "shared=False, trainable=True, lower=1.5, upper=5, crop=True, multiple_of=1, "
        "axes=(-2, -1), method='auto', hard=False, sizes held)"
    )
    assert not {"smoothness", "ramp", "axes"} & vars(held).keys()
    # Plans anew for the sizes it has met, and brings the parameter inside its bounds.
    assert hold_sizes(held)
    assert held.strides.tolist() == pytest.approx([2.9, 1.5])
    made = DiffStride((2.9, 1.5), ramp="outside", norm="backward")
    assert_same(held(x), made(x))
    held.norm = made.norm = "forward"
    assert_same(held(x), made(x))


def test_the_inputs_of_then_count_for_what_strides_may_be():
    """Those that came while sizes followed, and those that came while they were held."""
    shared, *_ = saved()["shared"]
    project_strides(shared)
    assert shared.strides.tolist() == [10.0]
    held, *_ = saved()["held convolution"]
    with torch.no_grad():
        held.strides.fill_(100.0)
    project_strides(held)
    assert held.strides.tolist() == [10.0, 9.0]


def test_saved_modules_train():
    for name in ("follows", "held", "shared", "convolution", "held convolution", "resnet18"):
        module, x, _ = saved()[name]
        groups = param_groups(module.train(), lr=0.1, weight_decay=0.0)
        assert len(groups[-1]["params"]) >= 1
        x = torch.cat([x, x.flip(-1)])
        module(x).square().sum().backward()
        assert all(torch.isfinite(one.grad).all() for one in groups[-1]["params"])


def test_a_file_is_what_loads_the_library_first():
    """Nothing of it is imported before, and names of now are not in the way of those of then."""
    code = f"""
import gzip, io, torch
file = io.BytesIO(gzip.decompress(open({str(SAVED)!r}, "rb").read()))
modules = torch.load(file, weights_only=False)
print(*sorted({{type(module).__name__ for module, _, _ in modules.values()}}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    names = "AudioNet DiffStride DiffStrideConv2d LogMel ResNet SpectralPool"
    assert (done.stdout.strip(), done.returncode) == (names, 0), done.stderr


@pytest.mark.parametrize("old", RENAMED)
def test_every_old_name_leads_to_a_module_of_now(old):
    found = __import__(f"spectral_stride.torch.{old}", fromlist=["_"])
    assert found.__name__ == f"spectral_stride.torch.{RENAMED[old]}"
    assert not (ROOT / "backends" / "torch" / f"{old}.py").exists()
