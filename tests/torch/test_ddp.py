"""DistributedDataParallel: equal strides and sizes on every rank, gradients of one process."""

import pytest
import torch

from tests.libraries import unavailable
from tests.torch import ranks
from tests.torch.ranks import RANKS

# What every rank runs: it saves what it saw, and the test compares.
WORKER = """
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from spectral_stride.torch import DiffStride, MacBudget, hold_sizes, param_groups

ranks, folder, kind = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
torch.distributed.init_process_group(
    "nccl" if kind == "cuda" else "gloo",
    init_method=(folder / "store").as_uri(),
    rank=rank,
    world_size=ranks,
)
device = torch.device(kind, rank if kind == "cuda" else None)


def build():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        DiffStride((2.2, 1.7), ramp="inside"),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.ReLU(),
        DiffStride(1.5, shared=True),
        nn.Conv2d(4, 1, 3, padding=1),
    )
    return net.to(device)


def batch(of, step):
    generator = torch.Generator().manual_seed(1000 * step + of)
    return torch.randn(3, 3, 24, 20, generator=generator).to(device)


def loss(net, x):
    y = net(x)
    return tuple(y.shape), y.square().mean(dim=(1, 2, 3)).mean()


def train(holds):
    net = DistributedDataParallel(build(), device_ids=None if kind == "cpu" else [rank])
    groups = param_groups(net, lr=0.01, weight_decay=0.0, stride_lr=300.0)
    optimizer = torch.optim.SGD(groups)
    shapes, strides = [], []
    for step in range(50):
        if holds and step % 10 == 0:
            hold_sizes(net)
        optimizer.zero_grad()
        shape, value = loss(net, batch(rank, step))
        value.backward()
        if step == 0:
            compare(net, holds)
        optimizer.step()
        shapes.append(shape)
        strides.append(torch.cat([p.detach().cpu() for p in groups[1]["params"]]))
    return torch.stack(strides), shapes


def compare(net, holds):
    alone = build()
    if holds:
        hold_sizes(alone)
    joined = torch.cat([batch(of, 0) for of in range(ranks)])
    loss(alone, joined)[1].backward()
    for got, wanted in zip(net.parameters(), alone.parameters(), strict=True):
        assert bool((got.grad != 0).any())
        torch.testing.assert_close(got.grad, wanted.grad)


def budgeted():
    net = DistributedDataParallel(build(), device_ids=None if kind == "cpu" else [rank])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, weight_decay=0.1)
    # Each rank counts on a sample of its own.
    budget = MacBudget(net, batch(rank, 0)[:1], 0.5, steps=10)
    for step in range(10):
        optimizer.zero_grad()
        loss(net, batch(rank, step))[1].backward()
        optimizer.step()
        budget.step()
    strides = [layer.strides.detach().cpu() for layer in net.module[2:6:3]]
    return torch.cat(strides), budget.cost() / budget.target


found = {holds: train(holds) for holds in (False, True)}
torch.save((found, budgeted()), folder / f"{rank}.pt")
"""


@pytest.mark.parametrize(
    "kind",
    [
        "cpu",
        pytest.param("cuda", marks=pytest.mark.gpu),
    ],
)
def test_ranks_agree(tmp_path, kind):
    """50 steps on different data: equal strides, bit by bit, and equal shapes at every step.

    Under a budget too, where sizes settle before the end and gradients go on.

    Once with sizes that follow the strides, once with sizes held for ten steps. At the first step,
    each worker compares its gradients with those of one process on the joined batch.
    """
    devices = torch.cuda.device_count()
    if kind == "cuda" and devices == 0:
        unavailable("PyTorch finds no CUDA device")
    if kind == "cuda" and devices < RANKS:
        pytest.skip(f"NCCL needs a device for each of {RANKS} ranks: got {devices}")
    ranks.run(WORKER, RANKS, tmp_path, kind, folder=tmp_path)
    loaded = [torch.load(tmp_path / f"{rank}.pt") for rank in range(RANKS)]
    (budgeted, share), *other_budgets = [budget for _, budget in loaded]
    assert all(torch.equal(budgeted, strides) for strides, _ in other_budgets)
    assert 0.98 <= share <= 1.005
    first, *others = [found for found, _ in loaded]
    for holds, (strides, shapes) in first.items():
        for other in others:
            assert torch.equal(other[holds][0], strides)
            assert other[holds][1] == shapes
        # The strides moved far enough for other sizes: agreement was at stake.
        assert len(shapes) == 50
        assert len(set(shapes)) > 2
    held = first[True][1]
    assert all(held[step] == held[step // 10 * 10] for step in range(50))
