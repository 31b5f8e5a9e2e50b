"""Where the modules are now that a file may name which was saved before they moved.

`pickle` and `torch.save` of a whole module write down the module that each class was in. This knows
those that had classes or public functions, by their old names, and nothing else of the past.
"""

import sys

from spectral_stride.functional import make_plan
from spectral_stride.torch import layers

RENAMED = {
    "audio": "models.audio_net",
    "conv": "layers.diffstride_conv",
    "downsampling": "models.downsampling",
    "efficientnet": "models.efficientnet",
    "held": "layers.held_sizes",
    "mel": "models.mel",
    "network": "models.network",
    "optim": "param_groups",
    "pool": "layers.spectral_pool",
    "resnet": "models.resnet",
    "sizes": "layers.whole_network",
}


def register_old_names() -> None:
    """Let an import of each old name find the module of now; all of these are loaded already."""
    for old, new in RENAMED.items():
        sys.modules[f"{__package__}.{old}"] = sys.modules[f"{__package__}.{new}"]
    # Held sizes named the function that planned them; a layer that is loaded has settings for that.
    layers.__dict__["_out_sizes"] = make_plan
