"""A parameter's entries: whether they are here, and how they are read and made, on any device."""

from collections.abc import Sequence
from typing import Any

import torch


def is_sharded(parameter: torch.Tensor) -> bool:
    """Whether each process has a part of the entries, as under FSDP2 between two forward passes."""
    return hasattr(parameter, "full_tensor")


def has_values(parameter: torch.Tensor) -> bool:
    """Whether this process can read all entries by itself."""
    return not (parameter.is_meta or is_sharded(parameter))


def on_host(parameter: torch.Tensor) -> list[float]:
    """Read all entries; of a sharded parameter every process has to ask at once."""
    whole: Any = parameter
    if is_sharded(parameter):
        whole = whole.full_tensor()
    entries: list[float] = whole.tolist()
    return entries


def like(parameter: torch.Tensor, entries: Sequence[float]) -> torch.Tensor:
    """Make a tensor of entries that lies where a parameter lies, in the same parts."""
    made = torch.tensor(entries, dtype=parameter.dtype, device=parameter.device)
    if not is_sharded(parameter):
        return made
    # Only here: it loads torch.distributed.
    from torch.distributed.tensor import distribute_tensor

    sharded: Any = parameter
    return distribute_tensor(made, sharded.device_mesh, sharded.placements)
