"""What is done to a training batch, against what it says."""

import pytest
import torch

from spectral_stride.torch.training.augment import flipped, mixed, shifted


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
