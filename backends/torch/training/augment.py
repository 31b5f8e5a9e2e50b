"""Changes of a training batch that leave its labels true: mirrored, moved, mixed images."""

import torch
from torch.nn import functional


def flipped(images: torch.Tensor) -> torch.Tensor:
    """Mirror each image left to right with probability one half; shape (batch, C, H, W)."""
    chosen = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
    return torch.where(chosen, images.flip(-1), images)


def shifted(images: torch.Tensor, share: float) -> torch.Tensor:
    """Move each image by its own number of pixels, zeros following.

    Parameters
    ----------
    images : Tensor of shape (batch, channels, height, width)
        Normalized, so that zero is the mean.
    share : float
        Largest move, of the height and of the width; rounded down to pixels.

    Returns
    -------
    Tensor of the same shape
    """
    *_, height, width = images.shape
    tall, wide = int(share * height), int(share * width)
    if not tall and not wide:
        return images
    padded = functional.pad(images, (wide, wide, tall, tall))
    count, device = len(images), images.device

    def window(size: int, reach: int) -> torch.Tensor:
        starts = torch.randint(2 * reach + 1, (count, 1), device=device)
        return starts + torch.arange(size, device=device)

    rows = window(height, tall)[:, None, :, None]
    columns = window(width, wide)[:, None, None, :]
    which = torch.arange(count, device=device)[:, None, None, None]
    channel = torch.arange(images.shape[1], device=device)[None, :, None, None]
    return padded[which, channel, rows, columns]


def mixed(x: torch.Tensor, a: float) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Mix every sample of a batch with another: l x_i + (1 - l) x_j, one l ~ Beta(a, a) for all.

    Parameters
    ----------
    x : Tensor of shape (batch, ...)
    a : float
        Above 0.

    Returns
    -------
    mixture : Tensor
    partner : Tensor of int64, shape (batch,)
        The index j of each sample's other one, whose labels count with 1 - l.
    share : float
        l.

    Notes
    -----
    Source: Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018.
    """
    share = float(torch.distributions.Beta(a, a).sample())
    partner = torch.randperm(len(x), device=x.device)
    return share * x + (1 - share) * x[partner], partner, share
