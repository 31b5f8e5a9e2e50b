"""Batches of a data module, on the digits: their order, their sizes, their device."""

import pytest
import torch
from torch.utils.data import DataLoader

from spectral_stride.torch.training.data.digits import Digits


def test_whole_batches_are_those_of_a_plain_loader_and_follow_the_epoch(digits):
    """One look-up a batch, and the same samples as one by one; another order in every epoch."""
    loader = digits.train_dataloader()
    seen = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        plain = DataLoader(digits.train_set, 32, sampler=loader.sampler.sampler, drop_last=True)
        pairs = list(zip(loader, plain, strict=True))
        for ours, theirs in pairs:
            assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
        assert len(pairs) == len(loader) == 14
        seen.append(torch.cat([labels for (_, labels), _ in pairs]))
    assert not torch.equal(*seen)
    again = Digits(32, seed=0).train_dataloader()
    again.sampler.set_epoch(1)
    assert torch.equal(torch.cat([labels for _, labels in again]), seen[1])


def test_what_is_in_memory_moves_to_a_device(digits):
    data = Digits(32, seed=0, limit=40)
    data.keep_on("meta")
    assert {tensor.device.type for tensor in data.train_set.tensors} == {"meta"}
    assert {tensor.device.type for tensor in data.test_set.tensors} == {"meta"}
    assert digits.train_set.tensors[0].device.type == "cpu"


@pytest.mark.parametrize(("batch", "steps"), [(32, 14), (449, 1), (1000, 1)])
def test_no_batch_of_one_image_is_left_over(digits, batch, steps):
    sizes = [len(labels) for _, labels in Digits(batch, seed=0).train_dataloader()]
    assert len(sizes) == steps
    assert set(sizes) == {min(batch, 449)}
