"""`convert` on networks of Hugging Face's transformers, built from configurations."""

import pytest
import torch

from spectral_stride.torch import DiffStride, convert
from spectral_stride.torch.adopt.resampled import Resampled

WIDE = [8, 16, 24, 32]

# Settings, and how many strides there are for how many places.
NETWORKS = [
    pytest.param("ResNet", {"hidden_sizes": WIDE, "depths": [1] * 4}, 5, 8, id="branches"),
    # They compute with sizes as Python's integers.
    pytest.param("MobileNetV2", {"depth_multiplier": 0.35}, 5, 5, id="sizes as plain numbers"),
    pytest.param(
        "Segformer",
        {"hidden_sizes": WIDE, "depths": [1] * 4, "num_attention_heads": [1] * 4},
        7,
        7,
        id="tokens and attention",
    ),
]


def network(name, settings):
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**settings)
    return getattr(transformers, f"{name}Model")(config).eval()


@pytest.mark.parametrize(("name", "settings", "strides", "places"), NETWORKS)
@pytest.mark.filterwarnings("error")  # of places that are left
def test_every_place_is_found_and_those_that_meet_share_a_stride(name, settings, strides, places):
    net = network(name, settings)
    sample = {"pixel_values": torch.randn(1, 3, 64, 64)}
    learned = convert(net, sample)
    layers = [layer for layer in learned.modules() if isinstance(layer, DiffStride)]
    found = [module for module in learned.modules() if isinstance(module, Resampled)]
    assert (len(layers), len(found)) == (strides, places)
    with torch.no_grad():
        assert learned(**sample)[0].shape == net(**sample)[0].shape
        for seed in range(3):
            generator = torch.Generator().manual_seed(seed)
            for layer in layers:
                layer.strides.copy_(1.2 + torch.rand(2, generator=generator) * 1.6)
            learned(**sample)


def test_positions_for_one_number_of_patches_are_left():
    settings = {"image_size": 64, "hidden_size": 16, "num_attention_heads": 2}
    net = network("ViT", {**settings, "num_hidden_layers": 1, "intermediate_size": 16})
    with pytest.raises(ValueError, match=r"patch.*: with another stride the network fails"):
        convert(net, {"pixel_values": torch.randn(1, 3, 64, 64)})
