"""Changes of a training batch that leave its labels true: parts, mirrored, moved, mixed images."""

import torch
from torch.nn import functional

# A crop is up to so much wider than it is tall, or taller than wide.
LONGEST = 4 / 3


def cropped(images: torch.Tensor, share: float) -> torch.Tensor:
    """Cut a part of its own out of each image, and enlarge it to the size of the image.

    Parameters
    ----------
    images : Tensor of shape (batch, channels, height, width)
    share : float
        Smallest area of a part, as a share of the image's, above 0 and up to 1.

    Returns
    -------
    Tensor of the same shape
        Interpolated linearly between pixels; nearer to the border than the middle of the first
        pixel it has that pixel's value.

    Notes
    -----
    Areas are drawn evenly between ``share`` and 1, places evenly among those inside of the image.
    Ratios of width to height, in pixels, are drawn evenly in their logarithm between 3/4 and 4/3;
    where such a part does not fit the ratio is the nearest that does, and the area stays.

    Source: Szegedy et al., "Going deeper with convolutions", 2015.
    """
    count, _, height, width = images.shape
    draws = torch.rand(4, count, device=images.device, dtype=images.dtype)
    area = share + (1 - share) * draws[0]
    # Of the part's width to its height, each as a share of the image's.
    ratio = LONGEST ** (2 * draws[1] - 1) * (height / width)
    ratio = ratio.clamp(area, 1 / area)
    wide, tall = (area * ratio).sqrt(), (area / ratio).sqrt()

    def places(size: int, extent: torch.Tensor, draw: torch.Tensor) -> torch.Tensor:
        """Where the middles of the part's pixels lie in the image, whose axis is -1 to 1."""
        middles = (2 * torch.arange(size, device=images.device) + 1) / size - 1
        return extent[:, None] * middles + ((1 - extent) * (2 * draw - 1))[:, None]

    # Not by torch's affine_grid: its product would round to bfloat16 under autocast.
    columns, rows = places(width, wide, draws[2]), places(height, tall, draws[3])
    shape = (count, height, width)
    grid = torch.stack([columns[:, None, :].expand(shape), rows[:, :, None].expand(shape)], dim=-1)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


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
