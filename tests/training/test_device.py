"""How many threads a training takes."""

import torch

from spectral_stride.torch.training.device import suitable_threads


def test_small_steps_use_one_thread():
    usual = torch.get_num_threads()
    with suitable_threads(10**6) as small:
        assert small == torch.get_num_threads() == 1
    assert torch.get_num_threads() == usual
    with suitable_threads(10**12) as large:
        assert large == usual
