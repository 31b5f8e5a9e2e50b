"""Parameters that no process has alone: FSDP in both its versions, and an optimizer in parts."""

from tests.torch import ranks

# What every rank runs: each compares what it sees with a plain network on the joined batch.
WORKER = """
import sys

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.nn.parallel import DistributedDataParallel

from spectral_stride.torch import DiffStride, hold_sizes, param_groups, project_strides

ranks, store = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=ranks)
mesh = init_device_mesh("cpu", (ranks,))


def build():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        DiffStride(2.0, ramp="inside"),
        nn.ReLU(),
        DiffStride(1.5, ramp="inside", shared=True),
    )
    with torch.no_grad():
        net[1].strides.copy_(torch.tensor([0.9, 2.2]))  # one of them out of its bounds
    return net


def sharded(kind):
    if kind == "fsdp2":
        net = build()
        fully_shard(net[1], mesh=mesh)
        return fully_shard(net, mesh=mesh)
    if kind == "fsdp1":
        where = {"device_mesh": mesh, "device_id": torch.device("cpu")}
        return FullyShardedDataParallel(build(), use_orig_params=True, **where)
    return DistributedDataParallel(build())


def optimizer_of(net, kind):
    groups = param_groups(net, lr=0.01, weight_decay=0.0, stride_lr=0.2)
    if kind == "zero":
        return ZeroRedundancyOptimizer(groups, optimizer_class=torch.optim.SGD, lr=0.01)
    return torch.optim.SGD(groups)


def batch(of, step):
    generator = torch.Generator().manual_seed(1000 * step + of)
    return torch.randn(3, 3, 24, 20, generator=generator)


def train(net, optimizer, draw, kind):
    seen = []
    for step in range(6):
        if step == 3 and kind != "fsdp1":
            hold_sizes(net)
        optimizer.zero_grad()
        y = net(draw(step))
        y.square().mean(dim=(1, 2, 3)).mean().backward()
        optimizer.step()
        seen.append(tuple(y.shape[1:]))
    return seen


def whole(value):
    return value.full_tensor() if hasattr(value, "full_tensor") else value


def compare(kind):
    net, alone = sharded(kind), build()
    repr(net)
    if kind == "fsdp2":
        state = net.state_dict()
        first = whole(state["1.strides"])
        assert torch.equal(first, torch.tensor([0.9, 2.2])), first
        net.load_state_dict(state)
    shapes = train(net, optimizer_of(net, kind), lambda step: batch(rank, step), kind)
    joined = lambda step: torch.cat([batch(of, step) for of in range(ranks)])
    expected = train(alone, torch.optim.SGD(param_groups(alone, 0.01, 0.0, 0.2)), joined, kind)
    assert shapes == expected, (shapes, expected)
    if kind != "fsdp1":
        found = {name.removeprefix("module."): whole(one) for name, one in net.state_dict().items()}
        for name, value in alone.state_dict().items():
            torch.testing.assert_close(found[name], value, msg=name)
        net.eval()
        assert net(batch(0, 0)).shape == alone.eval()(batch(0, 0)).shape
        with torch.no_grad():
            for one in net.modules():
                if isinstance(one, DiffStride):
                    one.strides.mul_(0).add_(100.0)
        project_strides(net)
        # 24 and 20 samples, and what the first layer has left of them.
        first = next(one for one in net.modules() if isinstance(one, DiffStride))
        assert whole(first.strides).tolist() == [12.0, 10.0], first.strides
        assert hold_sizes(net) in (True, False)


for kind in sys.argv[3:]:
    compare(kind)
    print(end=f"{kind} ", flush=True)
"""


def test_it_trains_as_in_one_process(tmp_path):
    """Strides out of their bounds among them; sizes follow first, and are held then.

    One way of sharding after another, in the same processes: to start them takes longest.
    """
    kinds = ["fsdp2", "fsdp1", "zero"]
    store = (tmp_path / "store").as_uri()
    shown = ranks.run(WORKER, ranks.RANKS, store, *kinds, folder=tmp_path)
    assert sorted(shown.split()) == sorted(kinds * ranks.RANKS)
