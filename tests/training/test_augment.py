"""What is done to a training batch, against what it says."""

import pytest
import torch

from spectral_stride.torch.training.augment import cropped, flipped, mixed, shifted


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def images(count=64, channels=2, height=8, width=6):
    return torch.randn(count, channels, height, width)


def test_about_half_of_the_images_are_mirrored_and_the_others_stay():
    x = images(400)
    y = flipped(x)
    mirrored = [bool(torch.equal(one, was.flip(-1))) for one, was in zip(y, x, strict=True)]
    same = [bool(torch.equal(one, was)) for one, was in zip(y, x, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 150 < sum(mirrored) < 250


def test_the_whole_image_is_the_image():
    x = images()
    torch.testing.assert_close(cropped(x, 1.0), x, rtol=1e-5, atol=1e-5)


def ramps(count, height, width):
    """Each pixel's column, and its row."""
    columns = torch.arange(float(width)).expand(height, width)
    rows = torch.arange(float(height))[:, None].expand(height, width)
    return torch.stack([columns, rows]).expand(count, 2, height, width)


def test_a_part_of_a_ramp_is_a_ramp_inside_of_the_image():
    """Channel 0 says in which column of the image each pixel of a part lies, channel 1 the row."""
    height, width, share = 24, 32, 0.08
    y = cropped(ramps(2000, height, width), share)
    for channel, along in ((0, 1), (1, 2)):  # columns stay columns, rows rows
        same = y[:, channel].select(along, 0).unsqueeze(along).expand_as(y[:, channel])
        torch.testing.assert_close(y[:, channel], same, rtol=0, atol=2e-5)
    found = []
    for line, size in ((y[:, 0, 0], width), (y[:, 1, :, 0], height)):
        middle = size // 2
        step = line[:, middle] - line[:, middle - 1]  # the part's extent, as a share
        start = (line[:, middle - 1] + line[:, middle] + 1) / 2 - size / 2 * step
        assert (step <= 1 + 1e-5).all()
        assert (start > -1e-3).all()
        assert (start + size * step < size + 1e-3).all()
        positions = start[:, None] + step[:, None] * (torch.arange(size) + 0.5) - 0.5
        expected = positions.clamp(0, size - 1)
        torch.testing.assert_close(line, expected, rtol=0, atol=2e-4)
        # Places are spread over all that is left.
        free = start[step < 0.9] / (size * (1 - step[step < 0.9]))
        assert abs(free.mean() - 0.5) < 0.03
        assert abs(free.var() - 1 / 12) < 0.01
        found.append(step)
    area, ratio = found[0] * found[1], found[0] * width / (found[1] * height)
    assert 0.99 * share < area.min() < share + 0.01
    assert abs(area.mean() - (share + 1) / 2) < 0.03
    fits = area < 0.5
    assert 0.74 < ratio[fits].min() < 0.77
    assert 1.3 < ratio[fits].max() < 1.34
    assert abs(ratio[fits].log().mean()) < 0.02


def test_a_part_of_a_long_image_fits():
    y = cropped(ramps(500, 4, 64), 0.5)
    assert y[:, 0].max() <= 63
    wide = y[:, 0, 0, 32] - y[:, 0, 0, 31]
    tall = y[:, 1, 2, 0] - y[:, 1, 1, 0]
    assert (wide * tall > 0.499).all()
    assert (tall <= 1 + 1e-5).all()


def test_parts_are_as_exact_under_autocast():
    x = ramps(4, 224, 224)
    torch.manual_seed(3)
    expected = cropped(x, 0.3)
    torch.manual_seed(3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(cropped(x, 0.3), expected)


def moved(image, down, right):
    """The image moved by whole pixels, by loops."""
    _, height, width = image.shape
    out = torch.zeros_like(image)
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                out[:, row, column] = image[:, row - down, column - right]
    return out


def test_images_are_moved_by_up_to_the_share_each_by_its_own():
    x = images()
    y = shifted(x, 0.34)  # 2 of 8 rows, 2 of 6 columns
    moves = [(down, right) for down in range(-2, 3) for right in range(-2, 3)]
    found = []
    for one, was in zip(y, x, strict=True):
        (move,) = [move for move in moves if torch.equal(one, moved(was, *move))]
        found.append(move)
    assert {down for down, _ in found} == {right for _, right in found} == {-2, -1, 0, 1, 2}
    assert len(set(found)) > 15


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_less_than_a_pixel_moves_nothing(share):
    x = images(height=8, width=8)
    assert shifted(x, share) is x


def test_mixtures_of_two_samples():
    x = torch.randn(32, 5)
    shares = []
    for _ in range(200):
        y, partner, share = mixed(x, 0.2)
        torch.testing.assert_close(y, share * x + (1 - share) * x[partner])
        assert sorted(partner.tolist()) == list(range(32))
        shares.append(share)
    # Beta(0.2, 0.2) has mean 1/2 and variance 1 / (4 (1 + 0.4)).
    assert abs(sum(shares) / 200 - 0.5) < 0.1
    assert abs(torch.tensor(shares).var().item() - 1 / 5.6) < 0.03
