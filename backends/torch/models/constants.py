"""Buffers that follow from a module's settings: right wherever the module is, and in no file."""

from collections.abc import Callable
from typing import Self

import torch
from torch import nn


class Constants(nn.Module):
    """A module with buffers that are computed from its settings.

    They need not be in a checkpoint. So nothing fills them where a network is built without values,
    on the meta device, and gets its parameters from a file afterwards: they are computed anew in
    whatever memory they get.
    """

    def constants(self) -> dict[str, torch.Tensor]:
        """Compute every buffer, in float32 on the CPU."""
        raise NotImplementedError

    def register_constants(self) -> None:
        """Make the buffers, on the device on which PyTorch makes tensors now."""
        here = torch.empty(0).device
        for name, value in self.constants().items():
            self.register_buffer(name, value.to(here), persistent=False)

    def settle_constants(self, device: torch.device) -> None:
        """Bring the buffers to a device, also from the meta device, where they have no values."""
        with torch.inference_mode(False):  # for whoever trains later
            for name, value in self.constants().items():
                setattr(self, name, value.to(device))

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        """Move the module as PyTorch does, and fill buffers that have got other memory."""
        values = self.constants()
        for name, value in values.items():
            if getattr(self, name).is_meta:
                # What has no values cannot be moved. load_state_dict(..., assign=True) gives some
                # to parameters alone.
                setattr(self, name, value.clone())
        before = dict(self._buffers)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, value in values.items():
            buffer = getattr(self, name)
            if buffer is not before[name]:
                buffer.copy_(value)
        return self
