"""What long runs meet: memory that must not grow, threads, forked processes, a lost rank."""

import ctypes
import multiprocessing
import os
import random
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import nn

import spectral_stride as ss
from spectral_stride.torch import DiffStride, map_cache, param_groups
from tests.torch.ranks import RANKS
from tests.training.processes import result, started

SEEDS = range(40)


def memory():
    """Memory that this process holds in MiB, once the allocator has given back what is free."""
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


def train(steps):
    """Train on images of any size: what was kept for one step rarely serves another."""
    torch.manual_seed(0)
    draw = random.Random(0)
    layers = DiffStride((2.2, 1.7)), DiffStride(1.5, shared=True)
    first, last = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 1, 3, padding=1)
    net = nn.Sequential(first, nn.ReLU(), layers[0], nn.Conv2d(4, 4, 3, padding=1), layers[1], last)
    optimizer = torch.optim.SGD(param_groups(net, lr=0.01, weight_decay=0.0, stride_lr=300.0))
    held, moved = [], set()
    for step in range(1, steps + 1):
        x = torch.randn(1, 2, draw.randint(8, 48), draw.randint(8, 48))
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()
        strides = tuple(s for layer in layers for s in layer.strides.tolist())
        assert all(1 <= s <= 24 for s in strides), (step, strides)
        moved.add(strides)
        if step % (steps // 4) == 0:
            held.append(memory())
    assert len(moved) > 0.9 * steps
    print(*held, map_cache.learned._total)


@pytest.mark.long
def test_memory_is_flat_over_20000_steps(tmp_path):
    """Once the bounded caches are full, nothing is kept any more."""
    *held, numbers = map(float, result(train, 20_000, folder=tmp_path).split())
    assert numbers <= map_cache.MOST_KEPT
    assert held[3] - held[1] < 8, held


def computed(seed):
    """Everything of one drawn call, in NumPy and by a layer, as lists of numbers."""
    draw = random.Random(seed)
    # Of its own: PyTorch's is one for all threads.
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 3, draw.randint(5, 40), draw.randint(5, 40), generator=generator)
    layer = DiffStride(tuple(draw.uniform(1, 4) for _ in range(2)))
    y = layer(x.requires_grad_())
    g = torch.randn(y.shape, generator=generator)
    y.backward(g)
    array, strides = x.detach().numpy(), layer.strides.detach().numpy()
    y_core, pullback = ss.vjp(array, strides)
    dx_core, ds_core = pullback(g.numpy())
    of_torch = y.detach(), x.grad, *(p.grad for p in layer.parameters())
    return [array.tolist() for array in (*of_torch, y_core, dx_core, ds_core)]


def test_eight_threads_compute_what_one_does():
    wanted = [computed(seed) for seed in SEEDS]
    map_cache.learned.clear()
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(computed, [*SEEDS] * 4)) == wanted * 4


def compare(method):
    """Compute here, then in processes that begin from here, and compare."""
    torch.set_num_threads(1)
    wanted = [computed(seed) for seed in SEEDS]
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, context) as processes:
        assert list(processes.map(computed, SEEDS)) == wanted


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_that_begin_here_compute_the_same(method, tmp_path):
    result(compare, method, folder=tmp_path)


def lose_one(rank, folder):
    """Train data-parallel until a rank dies in the middle of a step."""
    torch.distributed.init_process_group(
        "gloo", init_method=(Path(folder) / "store").as_uri(), rank=rank, world_size=RANKS
    )
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), DiffStride(2.0), nn.Conv2d(2, 1, 3))
    net = nn.parallel.DistributedDataParallel(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for step in range(5):
        optimizer.zero_grad()
        loss = net(torch.randn(2, 1, 16, 16)).square().mean()
        if rank == 1 and step == 3:
            os._exit(9)
        loss.backward()
        optimizer.step()
        print("step", step, flush=True)


def test_a_rank_that_dies_ends_the_others_with_an_error(tmp_path):
    """In bounded time: whoever waits for its gradients is told at once that it is gone."""
    places = [tmp_path / f"rank{rank}" for rank in range(RANKS)]
    for place in places:
        place.mkdir()
    with (
        started(lose_one, 0, tmp_path, folder=places[0]) as stays,
        started(lose_one, 1, tmp_path, folder=places[1]) as dies,
    ):
        assert dies.wait() == 9
        assert stays.wait(60) == 1
        assert stays.out.splitlines() == [f"step {step}" for step in range(3)]
        assert "RuntimeError" in stays.err
        assert "gloo" in stays.err.lower()
