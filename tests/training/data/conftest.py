"""For all tests of data sets: a cache of their own, no network, and the digits."""

import datasets
import huggingface_hub
import pytest

from spectral_stride.torch.training.data.digits import Digits


@pytest.fixture(autouse=True)
def _own_cache_and_no_network(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "hf")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.fixture(scope="session")
def digits():
    return Digits(32, seed=0)
