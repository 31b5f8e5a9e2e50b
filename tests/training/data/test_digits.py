"""The digits: band-limited, split once, normalized by what may be looked at."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from spectral_stride.torch.training.config import DIGITS
from spectral_stride.torch.training.data.digits import DATA_SETS, FACTOR, Digits, enlarge
from spectral_stride.torch.training.refusal import RefusedError


def images_of(part):
    return part.tensors[0]


def normalized(data, part):
    return (images_of(part).float() - data.mean) / data.std


def test_every_name_that_is_allowed_is_a_data_set():
    assert tuple(DATA_SETS) == (DIGITS,)


def test_nothing_lies_above_an_eighth_of_the_sampling_rate(digits):
    spectrum = torch.fft.rfft2(images_of(digits.test_set).double()).abs()
    highest = torch.fft.fftfreq(32).abs()[:, None].maximum(torch.fft.rfftfreq(32))
    assert digits.band_limit / 32 == 1 / 8
    assert spectrum[..., highest > 1 / 8].max() < 1e-6 * spectrum.max()
    assert spectrum[..., highest == 1 / 8].max() > 1e-3 * spectrum.max()


def test_enlarging_keeps_every_input_sample():
    images = load_digits().images
    np.testing.assert_allclose(enlarge(images, FACTOR)[:, ::FACTOR, ::FACTOR], images, atol=1e-9)


def test_the_split_is_whole_stratified_and_without_an_image_in_both_parts(digits):
    assert len(digits.train_set) + len(digits.test_set) == 1797
    train, test = digits.train_set.tensors[1][:, 0], digits.test_set.tensors[1][:, 0]
    np.testing.assert_allclose(np.bincount(train) / 449, np.bincount(test) / 1348, atol=0.003)
    seen = {image.numpy().tobytes() for image in images_of(digits.train_set)}
    assert not any(image.numpy().tobytes() in seen for image in images_of(digits.test_set))


def test_held_out_digits_are_training_ones(digits):
    data = Digits(32, seed=0, hold_out=0.2)
    assert (len(data.train_set), len(data.test_set)) == (359, 90)
    assert data.notes == ("Tested on 0.2 of the training rows, and not on the test's.",)
    seen = {image.numpy().tobytes() for image in images_of(digits.train_set)}
    parts = [images_of(part) for part in (data.train_set, data.test_set)]
    assert {image.numpy().tobytes() for part in parts for image in part} == seen


def test_the_split_does_not_follow_the_seed_but_the_order_does(digits):
    other = Digits(32, seed=1)
    assert torch.equal(images_of(digits.train_set), images_of(other.train_set))
    orders = [next(iter(data.train_dataloader()))[1].tolist() for data in (digits, other)]
    assert orders[0] != orders[1]
    again = Digits(32, seed=0)
    assert next(iter(again.train_dataloader()))[1].tolist() == orders[0]


def test_mean_and_spread_are_those_of_the_training_part_alone(digits):
    train, test = (normalized(digits, part) for part in (digits.train_set, digits.test_set))
    assert images_of(digits.train_set).dtype == digits.mean.dtype == digits.std.dtype
    assert digits.mean.shape == digits.std.shape == (1, 1, 1)
    assert abs(float(train.mean())) < 1e-5
    assert float(train.std(correction=0)) == pytest.approx(1, abs=1e-5)
    assert abs(float(test.mean())) > 1e-4
    assert float(images_of(digits.train_set).max()) > 15  # the units of scikit-learn, 0 to 16


def test_what_a_run_asks_of_a_data_set_is_there(digits):
    assert digits.sample_shape == images_of(digits.test_set).shape[1:] == (1, 32, 32)
    assert digits.tasks == {"digit": 10}
    assert digits.sample_rate is None
    labels = digits.train_set.tensors[1]
    assert labels.dtype == torch.int64
    assert labels.shape == (len(digits.train_set), 1)


def test_a_limit_is_spread_over_the_digits(digits):
    few = Digits(8, seed=0, limit=50)
    for part, whole in ((few.train_set, digits.train_set), (few.test_set, digits.test_set)):
        chosen = np.linspace(0, len(whole) - 1, 50).astype(int)
        for ours, all_of_it in zip(part.tensors, whole.tensors, strict=True):
            assert torch.equal(ours, all_of_it[chosen])
    assert len(Digits(8, seed=0, limit=10_000).train_set) == len(digits.train_set)
    with pytest.raises(RefusedError, match=r"--limit: got 1, .*one class of 'digit'; allowed: "):
        Digits(8, seed=0, limit=1)
