"""Named ways to train: an optimizer, a schedule, and defaults of options that suit them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to train.

    Attributes
    ----------
    about : str
        What it is, in one line.
    optimizer : {"adamw", "sgd"}
        Strides have their own learning rate in either, and no weight decay.
    schedule : {"one-cycle", "piecewise"}
        Of the learning rate: up and down once, or divided by ten after a half and after three
        quarters of the epochs.
    decays_vectors : bool
        Whether weight decay shrinks biases and the scales and shifts of normalization too, and not
        kernels alone.
    channels_last : bool
        How images lie in memory.
    compiles : bool
        On a GPU, by `torch.compile`, with output sizes held for an epoch.
    defaults : mapping of str to object
        Options whose default is another one than in the table, `config.Config`.
    """

    about: str
    optimizer: Literal["adamw", "sgd"]
    schedule: Literal["one-cycle", "piecewise"]
    decays_vectors: bool = True
    channels_last: bool = False
    compiles: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)


RECIPES = {
    "small": Recipe(
        "a few hundred images, no augmentation: AdamW, one cycle",
        optimizer="adamw",
        schedule="one-cycle",
        # The table's own defaults are for it.
    ),
    # Numbers of the configuration published with DiffStride for CIFAR-10. Its weight decay is an L2
    # penalty of 5e-3 w^2 on kernels, whose gradient is that of a decay by 1e-2. Label smoothing and
    # mixup are off in it; the shift of 4 of 32 pixels is the usual one for these images.
    "paper": Recipe(
        "as published for CIFAR: SGD with momentum, lr / 10 at half and three quarters",
        optimizer="sgd",
        schedule="piecewise",
        decays_vectors=False,
        defaults={
            "epochs": 400,
            "batch_size": 256,
            "lr": 0.1,
            "stride_lr": 0.1,
            "weight_decay": 1e-2,
            "width": 0,
            "budget": 0.0,
            "shift": 0.125,
            "flip": True,
        },
    ),
    "fast": Recipe(
        "short and modern: SGD on one cycle, bf16 autocast, channels last, compiled on a GPU",
        optimizer="sgd",
        schedule="one-cycle",
        channels_last=True,
        compiles=True,
        defaults={
            "epochs": 30,
            "batch_size": 256,
            "lr": 0.4,
            "stride_lr": 0.1,
            "weight_decay": 5e-4,
            "width": 0,
            "budget": 0.0,
            "label_smoothing": 0.1,
            "shift": 0.125,
            "flip": True,
            "precision": "bf16",
        },
    ),
}
