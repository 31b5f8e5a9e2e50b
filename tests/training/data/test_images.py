"""Images from files: pixels, sizes, channels, and files that cannot be used."""

import io
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from spectral_stride.torch.training.data.images import ImageReader, mean_and_std
from spectral_stride.torch.training.data.open import open_data
from spectral_stride.torch.training.data.samples import LazySamples
from spectral_stride.torch.training.refusal import RefusedError
from tests.training.data.made import colours, image_table, pixels, png, refused, write


def test_greyscale_images_keep_one_channel_and_mixed_ones_become_rgb(tmp_path):
    grey = [png(pixels(seed, (6, 8))) for seed in range(4)]
    data = open_data(write(tmp_path / "g", train=image_table(grey), test=image_table(grey)), 2, 0)
    assert data.sample_shape == (1, 6, 8)
    np.testing.assert_array_equal(data.train_set.tensors[0][2, 0], pixels(2, (6, 8)))
    assert data.notes == ()
    odd = [grey[0], png(pixels(1), "P"), png(pixels(2, (6, 8, 4))), png(pixels(3))]
    name = write(tmp_path / "m", train=image_table(odd), test=image_table(grey))
    data = open_data(name, 2, 0, background=None)
    assert data.sample_shape == data.test_set[0][0].shape == (3, 6, 8)
    assert data.notes == (
        "Images of Pillow's mode L, P, RGBA were converted to RGB.",
        "Images with transparent parts were taken with the colours under them: see --background.",
    )
    np.testing.assert_array_equal(data.train_set[0][0], pixels(0, (6, 8))[None].repeat(3, 0))
    np.testing.assert_array_equal(
        data.train_set[2][0].permute(1, 2, 0), pixels(2, (6, 8, 4))[..., :3]
    )


def see_through(mode, kind="PNG"):
    """A drawing of which the left half is transparent, one column half so; black lies below it."""
    alpha = np.zeros((6, 8), dtype=np.uint8)
    alpha[:, 4:] = 255
    file = io.BytesIO()
    if mode in ("RGBA", "LA"):
        shown = np.where(alpha, 200, 0).astype(np.uint8)
        alpha[:, 3] = 128
        bands = [shown] * (len(mode) - 1) + [alpha]
        image = Image.merge(mode, [Image.fromarray(band) for band in bands])
        image.save(file, kind)
    elif mode == "P":
        image = Image.fromarray((alpha // 255).astype(np.uint8), "P")
        image.putpalette([0, 0, 0, 200, 200, 200])
        image.save(file, kind, transparency=0)
    else:  # a colour that stands for transparent
        image = Image.fromarray(np.where(alpha, 200, 0).astype(np.uint8)).convert(mode)
        image.save(file, kind, transparency=0 if mode == "L" else (0, 0, 0))
    return file.getvalue()


@pytest.mark.parametrize("memory", [2**30, 0], ids=["in memory", "by workers"])
@pytest.mark.parametrize(("background", "level"), [("white", 255), ("#404040", 64), (None, 0)])
@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        *((mode, "PNG") for mode in ("RGBA", "LA", "P", "RGB", "L")),
        *((mode, "WEBP") for mode in ("RGBA",)),
        ("P", "GIF"),
    ],
)
def test_what_is_transparent_shows_the_background(mode, kind, background, level, memory, tmp_path):
    """Also where a palette or a colour says what is transparent."""
    contents = [see_through(mode, kind)] * 4
    name = write(tmp_path / "x", train=image_table(contents), test=image_table(contents))
    size = {} if memory else {"size": 6}
    data = open_data(name, 2, 0, background=background, memory=memory, **size)
    image, _ = data.train_set[1]
    assert image.shape == (1 if mode in ("L", "LA") else 3, 6, 8 if memory else 6)
    left, right = image[..., :2], image[..., -3:]
    tolerance = 3 if kind == "WEBP" else 0  # which is lossy, and keeps no colour under nothing
    assert (left.int() - level).abs().max() <= tolerance or (kind == "WEBP" and background is None)
    assert (right.int() - 200).abs().max() <= tolerance
    if mode in ("RGBA", "LA") and kind == "PNG" and memory:
        assert image[0, 0, 3] == round((1 - 128 / 255) * level) or background is None
    on = f"laid on {background}" if background else "taken with the colours under them"
    assert f"Images with transparent parts were {on}: see --background." in data.notes


def test_an_image_that_hides_all_of_its_background_is_as_it_was(tmp_path):
    rgba = np.concatenate([pixels(0), np.full((6, 8, 1), 255, dtype=np.uint8)], axis=2)
    name = write(tmp_path / "x", train=image_table([png(rgba)] * 4), test=image_table(colours(2)))
    data = open_data(name, 2, 0, background="red")
    np.testing.assert_array_equal(data.train_set[0][0].permute(1, 2, 0), pixels(0))
    assert data.notes == ("Images of Pillow's mode RGBA were converted to RGB.",)


def test_a_photograph_is_turned_as_its_camera_was_held(tmp_path):
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    Image.fromarray(pixels(0)).save(file, "PNG", exif=exif)
    name = write(
        tmp_path / "x",
        train=image_table([file.getvalue()] * 4),
        test=image_table([file.getvalue()] * 2),
    )
    data = open_data(name, 2, 0)
    np.testing.assert_array_equal(data.train_set[0][0].permute(1, 2, 0), np.rot90(pixels(0), -1))


def test_mixed_sizes_are_refused_by_row_and_brought_to_one_by_size(tmp_path):
    contents = colours(5)
    contents[3] = contents[4] = png(pixels(3, (8, 12, 3)))
    name = write(tmp_path / "x", train=image_table(contents), test=image_table(colours(2)))
    line = refused(name, r"row 3 of split 'train', of 8 x 12 pixels, while .*row 0 .* has 6 x 8")
    assert "instead: write --size" in line  # once, for it brings all of them to one size
    data = open_data(name, 2, 0, size=4)
    assert data.sample_shape == data.train_set[3][0].shape == (3, 4, 4)


def test_size_keeps_the_centre(tmp_path):
    wide = np.zeros((4, 8, 3), dtype=np.uint8)
    wide[:, 2:6] = 200
    table = image_table([png(wide)] * 4)
    data = open_data(write(tmp_path / "x", train=table, test=table), 2, 0, size=4)
    assert data.train_set.tensors[0].unique().tolist() == [200]
    assert data.std.flatten().tolist() == [1, 1, 1]  # nothing to divide by


@pytest.mark.filterwarnings("ignore:os.fork\\(\\) was called:RuntimeWarning")
def test_images_that_do_not_fit_in_memory_are_decoded_when_asked_for(tmp_path):
    name = write(tmp_path / "x", train=image_table(colours(6)), test=image_table(colours(3)))
    refused(name, "9 images of 6 x 8 pixels take more than .* --size 6", memory=1000)
    lazy, whole = (open_data(name, 2, 0, size=5, memory=memory) for memory in (100, 10_000))
    assert isinstance(lazy.train_set, LazySamples)
    assert lazy.workers > 0
    assert lazy.sample_shape == whole.sample_shape == (3, 5, 5)
    torch.testing.assert_close((lazy.mean, lazy.std), (whole.mean, whole.std))
    for ours, theirs in ((lazy.train_set, whole.train_set), (lazy.test_set, whole.test_set)):
        for one, other in zip(ours, theirs, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    lazy.workers = 1
    pairs = list(zip(lazy.train_dataloader(), whole.train_dataloader(), strict=True))
    assert len(pairs) == 3
    for ours, theirs in pairs:
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_images_that_are_looked_at_for_the_others_are_all_told(tmp_path):
    contents = colours(6)
    contents[2] = contents[4] = b"no image"
    name = write(tmp_path / "x", train=image_table(contents), test=image_table(contents))
    lines = refused(name, "row 2 of split 'train'", faults=2, size=5, memory=100).splitlines()
    assert "row 4 of split 'train'" in lines[1]


def test_images_decoded_when_asked_for_all_have_the_channels_of_the_first_ones(tmp_path):
    grey = [png(pixels(seed, (6, 8))) for seed in range(4)]
    some = image_table([*colours(3), grey[0]])
    name = write(tmp_path / "some", train=some, test=image_table(grey))
    data = open_data(name, 2, 0, size=5, memory=100)
    assert data.sample_shape == data.train_set[3][0].shape == data.test_set[0][0].shape == (3, 5, 5)
    name = write(tmp_path / "none", train=image_table(grey), test=some)
    data = open_data(name, 2, 0, size=5, memory=100)
    assert data.sample_shape == data.test_set[3][0].shape == (1, 5, 5)
    assert data.mean.shape == (1, 1, 1)
    with pytest.raises(RefusedError, match="row 0 of split 'test', in colour"):
        data.test_set[0]


DEEP = np.array([[0, 128, 129, 385, 386, 32767, 65406, 65407]], np.uint16).repeat(6, axis=0)


def tiff(levels, bits, white):
    """A greyscale TIFF of one row, of bits and with a white that Pillow itself does not write."""
    data = np.array(levels, "<u2").tobytes()
    if bits == 12:
        data = bytes.fromhex("".join(f"{level:03x}" for level in levels))
    entries = {256: len(levels), 257: 1, 258: bits, 259: 1, 262: white, 277: 1, 278: 1}
    entries |= {273: 122, 279: len(data)}
    words = b"".join(struct.pack("<HHII", tag, 4, 1, entries[tag]) for tag in sorted(entries))
    return struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + words + bytes(4) + data


@pytest.mark.parametrize(
    ("content", "mode"),
    [
        (png(DEEP), "I;16"),
        (png(DEEP, kind="TIFF"), "I;16"),
        (png(DEEP.astype(">u2"), kind="TIFF"), "I;16B"),
        (png(DEEP, kind="PPM"), "I"),
        (png(DEEP, kind="JPEG2000"), "I;16"),
    ],
)
@pytest.mark.parametrize("memory", [2**30, 0], ids=["in memory", "by workers"])
def test_images_of_16_bits_become_the_nearest_of_8(tmp_path, content, mode, memory):
    """Pillow would make 255 of all that is above it."""
    table = image_table([content] * 4)
    name = write(tmp_path / "x", train=table, test=table)
    data = open_data(name, 2, 0, memory=memory, **({} if memory else {"size": 6}))
    assert data.notes == (f"Images of Pillow's mode {mode} were converted to 8-bit greyscale.",)
    want = np.rint(DEEP / 257)
    assert want[0].tolist() == [0, 0, 1, 1, 2, 127, 254, 255]
    image = data.train_set[1][0]
    np.testing.assert_array_equal(image[0], want[:, : image.shape[2]] if memory else want[:, 1:7])
    if memory:
        mixed = image_table([*colours(3), content])
        data = open_data(write(tmp_path / "y", train=mixed, test=mixed), 2, 0)
        np.testing.assert_array_equal(data.train_set[3][0], want[None].repeat(3, axis=0))
        assert data.notes == (f"Images of Pillow's mode {mode} were converted to RGB.",)


def test_white_of_a_deep_image_is_what_its_file_says():
    read = ImageReader()
    assert read(tiff([0, 8, 2048, 4095], 12, white=1)).tolist() == [[[0, 0, 128, 255]]]
    assert read(tiff([0, 257, 65535, 65150], 16, white=1)).tolist() == [[[0, 1, 255, 254]]]
    assert read(tiff([0, 257, 65535, 65150], 16, white=0)).tolist() == [[[255, 254, 0, 1]]]


def test_a_deep_level_that_stands_for_transparent_shows_the_background():
    content = png(DEEP, transparency=129)
    seen = ImageReader(background="white")(content)[0, 0].tolist()
    assert seen == [0, 0, 255, 1, 2, 127, 254, 255]


def test_mean_and_std_are_exact():
    images = torch.from_numpy(pixels(0, (5, 2, 3, 4)))
    mean, std = mean_and_std(images)
    std_, mean_ = torch.std_mean(images.double(), dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(mean.flatten(), mean_.float())
    torch.testing.assert_close(std.flatten(), std_.float())


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (png(pixels(1))[:80], "row 2 of split 'test', which cannot be decoded"),
        (b"no image", "row 2 of split 'test', which is no image .8 bytes."),
        (b"", "row 2 of split 'test', which is empty"),
        (None, "row 2 of split 'test', which is empty"),
        (
            png(np.zeros((6, 8), np.float32), kind="TIFF"),
            "row 2 .*, whose pixels have 32 bits, .*F",
        ),
        (png(np.zeros((6, 8), np.int32), kind="TIFF"), "row 2 .*, whose pixels have 32 bits, .*I"),
    ],
)
def test_images_that_cannot_be_used_are_named_by_row(tmp_path, content, match):
    contents = colours(4)
    contents[2] = content
    name = write(tmp_path / "x", train=image_table(colours(4)), test=image_table(contents))
    refused(name, match)
