"""Modules as peers: a step is a forward and a backward pass to the input and to all parameters."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from benchmarks.speed.cases import Array, Case
from benchmarks.speed.peers import Peer, as_if_moved, from_torch, to_torch, torch_peer

# A module and its parameters, in the order in which another one has the same.
Built = tuple[nn.Module, Sequence[torch.Tensor]]


def module_peer(
    name: str, case: Case, device: str, build: Callable[[], Built], same: Callable[[], Built]
) -> Peer:
    """The module that ``build`` makes; what ``same`` makes is exact, in float64.

    Both start from the same seed. The gradients to all parameters are one vector.
    """

    def step_of(
        make: Callable[[], Built], dtype: str, device: str
    ) -> Callable[[], Sequence[torch.Tensor]]:
        torch.manual_seed(0)
        module, parameters = make()
        module.to(device, getattr(torch, dtype))
        x = to_torch(case.draw(case.shape), dtype, device).requires_grad_()
        g = to_torch(case.draw(tuple(module(x).shape)), dtype, device)

        def step() -> Sequence[torch.Tensor]:
            y = module(x)
            dx, *rest = torch.autograd.grad(y, (x, *parameters), g)
            as_if_moved()
            return y, dx, torch.cat([one.flatten() for one in rest])

        return step

    def exact() -> Sequence[Array]:
        return [from_torch(one) for one in step_of(same, "float64", "cpu")()]

    step = step_of(build, case.dtype, device)
    return torch_peer(name, step, exact, device, ("y", "dx", "dparameters"))


def all_parameters(module: nn.Module) -> Built:
    """Return a module with its parameters as they come."""
    return module, list(module.parameters())
