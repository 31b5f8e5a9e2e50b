"""Images from files: as bytes of one size, in memory where they fit."""

from dataclasses import dataclass, field
from io import BytesIO
from typing import ClassVar

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from spectral_stride.torch.training.data.datamodule import TrainingData
from spectral_stride.torch.training.data.samples import (
    MEMORY,
    OPTION,
    BadFileError,
    LazySamples,
    RawSamples,
    UnlikeError,
    check_limit,
    decode_one,
    in_memory,
    labelled,
    origin,
    workers,
)
from spectral_stride.torch.training.refusal import refuse

SIZE = "--size"
# Of 16 bits. PGM files come as I, of which other formats make 32 bits.
DEEP = {"I;16", "I;16B", "I;16L", "I"}
GREY = {"1", "L", "LA", "La"} | DEEP
COLOUR = {"CMYK", "HSV", "LAB", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "YCbCr"}
RGB = 3
LEVELS = 256
# What is counted for mean and spread: bytes of training images that are in memory (more than all
# of CIFAR), and training images that have to be decoded for it.
COUNTED, COUNTED_LAZILY = 2**28, 500


@dataclass
class ImageReader:
    """Makes a uint8 tensor (channels, height, width) of an image file.

    Attributes
    ----------
    size : int or None
        Length to which the shorter side is resized before the centre is cropped.
    shape : tuple of int or None
        (height, width) that images have to have where they are not resized.
    like : str
        Name of the image whose shape that is.
    channels : int or None
        1 or 3; None gives greyscale images 1 and others 3.
    background : str or None
        Colour that transparent images are laid on; None leaves out how transparent they are.
    modes : set of str
        Modes, in Pillow's words, that have been read.
    transparent : bool
        Whether an image has been read that shows a background.
    """

    KIND: ClassVar[str] = "image"
    KEPT: ClassVar[tuple[str, ...]] = ("size", "channels", "background")

    size: int | None = None
    shape: tuple[int, int] | None = None
    like: str = ""
    channels: int | None = None
    background: str | None = "white"
    modes: set[str] = field(default_factory=set)
    transparent: bool = False

    def __call__(self, content: bytes) -> torch.Tensor:
        """Read one image.

        Raises
        ------
        BadFileError
            For a file that is no whole image, or not of the kind or size that is asked for.
        """
        return self.take(open_image(content))

    def take(self, image: Image.Image) -> torch.Tensor:
        """Make a sample of one decoded image; see `__call__`."""
        if image.mode not in GREY | COLOUR or (image.mode == "I" and image.format != "PPM"):
            wrong = f"whose pixels have 32 bits, with no white stated (Pillow's mode {image.mode})"
            allowed = "8 or 16 bits for each channel"
            raise BadFileError(wrong, allowed, "convert the images to 16 bits")
        if self.channels == 1 and image.mode not in GREY:
            wrong = f"in colour (Pillow's mode {image.mode}), unlike the images before it"
            raise BadFileError(wrong, "all in colour, or none", "convert the images")
        self.modes.add(image.mode)
        grey = image.mode in GREY and self.channels != RGB
        if image.mode in DEEP:
            image = _in_8_bits(image)
        if image.has_transparency_data:
            image = self._on_background(image)
        image = image.convert("L" if grey else "RGB")
        if self.size is not None:
            square = (self.size, self.size)
            image = ImageOps.fit(image, square, Image.Resampling.BILINEAR)
        elif self.shape not in (None, (image.height, image.width)):
            wrong = (
                f"of {image.height} x {image.width} pixels, while {self.like} has "
                f"{' x '.join(map(str, self.shape or ()))}"
            )
            remedy = f"write {SIZE} 224, or another size"
            raise UnlikeError(wrong, f"one size, or {SIZE} to bring images to one", remedy)
        pixels = torch.from_numpy(np.array(image))
        return pixels[None] if grey else pixels.permute(2, 0, 1)

    def _on_background(self, image: Image.Image) -> Image.Image:
        """Lay an image on the background, where that can be seen through it."""
        whole = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
        if whole.getchannel("A").getextrema() == (LEVELS - 1, LEVELS - 1):
            return image
        self.transparent = True
        if self.background is None:
            return image
        return Image.alpha_composite(Image.new("RGBA", whole.size, self.background), whole)


def open_image(content: bytes) -> Image.Image:
    """Decode a file, and turn it the way its camera was held."""
    allowed = "whole image files that Pillow reads"
    try:
        image = Image.open(BytesIO(content))
        ImageOps.exif_transpose(image, in_place=True)
        image.load()
    except UnidentifiedImageError as error:
        wrong = f"which is no image ({len(content)} bytes)"
        raise BadFileError(wrong, allowed, "replace the file or leave it out") from error
    # Each format of Pillow's has errors of its own for a damaged file.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        wrong = f"which cannot be decoded ({reason})"
        raise BadFileError(wrong, allowed, "replace the file or leave it out") from error
    return image


def _in_8_bits(image: Image.Image) -> Image.Image:
    """Bring levels from 0 to white to the nearest of 0 to 255.

    Pillow itself makes 255 of all above it. White is 65535, or less in a TIFF of 12 bits. A colour
    that stands for transparent stays so.
    """
    tags = getattr(image, "tag_v2", {})
    white = 2 ** max(tags.get(ExifTags.Base.BitsPerSample, (16,))) - 1
    values = np.asarray(image).astype(np.uint32)
    if tags.get(ExifTags.Base.PhotometricInterpretation) == 0:  # which is then white
        values = white - values
    levels = Image.fromarray((((LEVELS - 1) * values + white // 2) // white).astype(np.uint8))
    if not image.has_transparency_data:
        return levels
    seen = np.asarray(image) != image.info["transparency"]
    return Image.merge("LA", (levels, Image.fromarray(np.where(seen, LEVELS - 1, 0).astype("u1"))))


def mean_and_std(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each channel, exactly, from counts of the 256 levels.

    Parameters
    ----------
    images : uint8 tensor of shape (count, channels, height, width)

    Returns
    -------
    mean, std : float32 tensors of shape (channels, 1, 1)
        In levels, 0 to 255. A channel of one level only has std 1.

    Examples
    --------
    >>> import torch
    >>> from spectral_stride.torch.training.data.images import mean_and_std
    >>> mean, std = mean_and_std(torch.tensor([[[[10, 30]]]], dtype=torch.uint8))
    >>> mean.item(), std.item()
    (20.0, 10.0)
    """
    levels = torch.arange(LEVELS, dtype=torch.float64)
    channels = images.transpose(0, 1).flatten(1)
    counts = torch.stack([channel.bincount(minlength=LEVELS) for channel in channels]).double()
    shares = counts / counts.sum(dim=1, keepdim=True)
    mean = shares @ levels
    variance = (shares * (levels - mean[:, None]) ** 2).sum(dim=1)
    std = torch.where(variance > 0, variance.sqrt(), 1.0)
    return mean.float().reshape(-1, 1, 1), std.float().reshape(-1, 1, 1)


class Images(TrainingData):
    """Images from the rows of a table, decoded once where they fit in memory.

    Images are uint8 in RGB, or with one channel where all of them are greyscale. Where they do not
    fit, worker processes decode them as they are asked for.

    Parameters
    ----------
    batch_size, seed : int
        As in `TrainingData`.
    limit : int, optional
        Use at most so many images of either part, evenly spread; for trials.
    train, test : RawSamples
    classes : dict of str to list of str
    size : int, optional
        Resize the shorter side to this and crop the centre; needed where sizes differ, and where
        images do not fit in memory.
    background : str, optional
        Colour that transparent images are laid on; None leaves out how transparent they are.
    memory : int, optional
        Bytes of decoded images, at three channels, that may be kept.
    notes : tuple of str, optional

    Raises
    ------
    RefusedError
        For images that cannot be decoded or differ in size from the first, by their names or rows.
    """

    def __init__(
        self,
        batch_size: int,
        seed: int,
        limit: int | None = None,
        *,
        train: RawSamples,
        test: RawSamples,
        classes: dict[str, list[str]],
        size: int | None = None,
        background: str | None = "white",
        memory: int = MEMORY,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(batch_size, seed)
        train, test = train.spread(limit), test.spread(limit)
        check_limit(limit, train.labels, classes)
        self.classes, self.origin = classes, origin(train, test)
        height, width = decode_one(train, 0, ImageReader(size), test).shape[1:]
        count = len(train) + len(test)
        reader = ImageReader(size, (height, width), train.name(0), background=background)
        self.reader = reader
        if RGB * height * width * count <= memory:
            channels = self._load(train, test, reader)
        elif size is None:
            got = (
                f"{train.source}, whose {count} images of {height} x {width} pixels take more than "
                f"the {memory / 2**30:g} GiB that are kept in memory"
            )
            allowed = f"images that fit, or {SIZE} for images that are decoded when needed"
            refuse(OPTION, got, allowed, f"write {SIZE} {min(height, width)}, or another size")
        else:
            channels = self._leave(train, test, reader)
        self.sample_shape = (channels, height, width)
        unusual = sorted(reader.modes - {"L", "RGB"})
        if channels == RGB and reader.modes & GREY:
            unusual = sorted({*unusual, *(reader.modes & GREY)})
        if unusual:
            to = "RGB" if channels == RGB else "8-bit greyscale"
            notes = (
                *notes,
                f"Images of Pillow's mode {', '.join(unusual)} were converted to {to}.",
            )
        if reader.transparent:
            on = f"laid on {background}" if background else "taken with the colours under them"
            notes = (*notes, f"Images with transparent parts were {on}: see --background.")
        self.notes = notes

    def _load(self, train: RawSamples, test: RawSamples, reader: ImageReader) -> int:
        """Decode everything; return the number of channels."""
        shape = (RGB, *(reader.shape or ()))
        decoded = in_memory([train, test], reader, shape, torch.uint8)
        channels = 1 if reader.modes <= GREY else RGB
        if channels == 1:
            reader.channels = channels
            decoded = [images[:, :1].clone() for images in decoded]
        step = -(-decoded[0].numel() // COUNTED)
        self.mean, self.std = mean_and_std(decoded[0][::step])
        self.train_set, self.test_set = (
            labelled(images, raw) for images, raw in zip(decoded, (train, test), strict=True)
        )
        return channels

    def _leave(self, train: RawSamples, test: RawSamples, reader: ImageReader) -> int:
        """Look at some images, and leave decoding to processes; return the number of channels."""
        shape = (RGB, *(reader.shape or ()))
        (some,) = in_memory([train.spread(COUNTED_LAZILY)], reader, shape, torch.uint8)
        channels = 1 if reader.modes <= GREY else RGB
        self.mean, self.std = mean_and_std(some[:, :channels])
        reader.channels = channels
        self.train_set, self.test_set = LazySamples(train, reader), LazySamples(test, reader)
        self.workers = workers()
        return channels
