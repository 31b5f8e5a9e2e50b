"""Named ways to train: optimizer, schedule, regularization and augmentation, with their numbers."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to train; whatever is also an option of the command line is only its default.

    Attributes
    ----------
    about : str
        What it is, in one line.
    optimizer : {"adamw", "sgd"}
        Strides have their own learning rate in either, and no weight decay.
    schedule : {"one-cycle", "piecewise"}
        Of the learning rate: up and down once, or divided by ten after a half and after three
        quarters of the epochs.
    epochs, batch_size, lr, stride_lr, weight_decay, penalty
        As the options.
    width : int or None
        As the option; None leaves it to the model, `ModelKind.width`.
    label_smoothing : float
        Share of the target that is spread over all classes.
    mixup : float
        The parameter a of the Beta(a, a) from which the share of a second sample is drawn; 0 is
        none. Source: Zhang et al., "mixup: beyond empirical risk minimization", 2018.
    crop : float
        Smallest share of an image's area that is cut out of it and enlarged to its size; 0 cuts
        nothing out. Source: Szegedy et al., "Going deeper with convolutions", 2015.
    shift : float
        Images are moved by up to this share of their height and width, zeros following.
    flip : bool
        Half of the images are mirrored left to right.
    precision : {"32", "bf16"}
        bf16 is autocast: parameters stay in float32.
    decays_vectors : bool
        Whether weight decay shrinks biases and the scales and shifts of normalization too, and not
        kernels alone.
    channels_last : bool
        How images lie in memory.
    compiles : bool
        On a GPU, by `torch.compile`, with output sizes held for an epoch.
    """

    about: str
    optimizer: Literal["adamw", "sgd"]
    schedule: Literal["one-cycle", "piecewise"]
    epochs: int
    batch_size: int
    lr: float
    stride_lr: float
    weight_decay: float
    width: int | None = None
    penalty: float = 0.0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    crop: float = 0.0
    shift: float = 0.0
    flip: bool = False
    precision: Literal["32", "bf16"] = "32"
    decays_vectors: bool = True
    channels_last: bool = False
    compiles: bool = False


RECIPES = {
    "small": Recipe(
        "a few hundred images, no augmentation: AdamW, one cycle",
        optimizer="adamw",
        schedule="one-cycle",
        epochs=30,
        batch_size=32,
        lr=3e-3,
        stride_lr=3e-2,
        weight_decay=1e-2,
        width=8,
        penalty=0.2,
    ),
    # Numbers of the configuration published with DiffStride for CIFAR-10. Its weight decay is an L2
    # penalty of 5e-3 w^2 on kernels, whose gradient is that of a decay by 1e-2. Label smoothing and
    # mixup are off in it; the shift of 4 of 32 pixels is the usual one for these images.
    "paper": Recipe(
        "as published for CIFAR: SGD with momentum, lr / 10 at half and three quarters",
        optimizer="sgd",
        schedule="piecewise",
        epochs=400,
        batch_size=256,
        lr=0.1,
        stride_lr=0.1,
        weight_decay=1e-2,
        decays_vectors=False,
        shift=0.125,
        flip=True,
    ),
    "fast": Recipe(
        "short and modern: SGD on one cycle, bf16 autocast, channels last, compiled on a GPU",
        optimizer="sgd",
        schedule="one-cycle",
        epochs=30,
        batch_size=256,
        lr=0.4,
        stride_lr=0.1,
        weight_decay=5e-4,
        label_smoothing=0.1,
        shift=0.125,
        flip=True,
        precision="bf16",
        channels_last=True,
        compiles=True,
    ),
}
