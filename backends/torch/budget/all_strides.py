"""The strides of a network as one vector: read, written, bounded, and made to stand still."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.nn.utils import parametrize

from spectral_stride import checks
from spectral_stride.torch.budget.network_cost import NetworkCost, real
from spectral_stride.torch.budget.probe import layers_of
from spectral_stride.torch.layers.diffstride import DiffStride
from spectral_stride.torch.layers.parameter import is_sharded, like

_STRIDES = "a network with DiffStride layers whose strides are trainable"


class AllStrides:
    """The strides of all layers of a network, one behind the other, in host numbers.

    Attributes
    ----------
    layers : dict of str to DiffStride
    """

    def __init__(self, network: nn.Module) -> None:
        self.layers = layers_of(network)
        if any(getattr(module, "is_frozen", False) for module in network.modules()):
            remedy = "pass the network that it was frozen from"
            checks.refuse(ValueError, "model", "one that is frozen", _STRIDES, remedy)
        if not self.layers:
            remedy = "make its strides learnable first: convert(model, sample)"
            checks.refuse(ValueError, "model", "one without learnable strides", _STRIDES, remedy)
        if not any(layer.strides.requires_grad for layer in self.layers.values()):
            got, remedy = "one whose strides stand still", "call strides.requires_grad_() in layers"
            checks.refuse(ValueError, "model", got, _STRIDES, remedy)
        for name, layer in self.layers.items():
            if layer.ramp != "inside" or not layer.crop:
                got = f"ramp={layer.ramp!r}, crop={layer.crop} in {name!r}"
                allowed = "layers that leave N/s samples: ramp='inside', crop=True"
                checks.refuse(ValueError, "model", got, allowed, "set these in that layer")
            if parametrize.is_parametrized(layer, "strides") or is_sharded(layer.strides):
                got = f"strides of {name!r} that are made of others, or lie in several processes"
                remedy = "keep them whole: leave that layer out of what is sharded"
                checks.refuse(ValueError, "model", got, "plain parameters", remedy)
            if layer.strides.is_meta:
                remedy = "load it first"
                checks.refuse(ValueError, "model", "strides on meta", "ones with values", remedy)

    def own(self) -> Iterator[tuple[DiffStride, slice]]:
        """Go through the layers, with the places of their strides in the vector."""
        start = 0
        for layer in self.layers.values():
            stop = start + layer.strides.numel()
            yield layer, slice(start, stop)
            start = stop

    def read(self) -> torch.Tensor:
        """Return the strides that the layers use."""
        present = [layer.present_strides() for layer in self.layers.values()]
        return real([stride for both in present if both for stride in both[1]])

    def take_gradients(self) -> torch.Tensor:
        """Take what the last backward pass has left in the strides; 0 where it left nothing.

        The next one begins anew, also where no optimizer has the strides and clears them.
        """
        found = [layer.strides.grad for layer in self.layers.values()]
        if all(one is None for one in found):
            got, allowed = "strides without gradients", "strides behind a backward pass"
            remedy = "call budget.step() once after each loss.backward(), before zero_grad()"
            checks.refuse(ValueError, "step", got, allowed, remedy)
        pairs = zip(self.layers.values(), found, strict=True)
        parts = [layer.strides.detach() * 0 if one is None else one for layer, one in pairs]
        for layer in self.layers.values():
            layer.strides.grad = None
        # At once: each transfer waits for the device.
        return torch.cat([part.to(parts[0].device) for part in parts]).cpu().double()

    def write(self, strides: Sequence[float]) -> None:
        """Write strides into the layers."""
        with torch.no_grad():
            for layer, own in self.own():
                layer.strides.copy_(like(layer.strides, strides[own]))

    def freeze(self) -> None:
        """Let strides stand still, and layers crop hard.

        In a training of several processes gradients go on: each expects those of all parameters.
        """
        together = torch.distributed.is_available() and torch.distributed.is_initialized()
        for layer in self.layers.values():
            layer.hard = True
            if not together:
                layer.strides.requires_grad_(False)
                layer.strides.grad = None
        self.hold_anew()

    def hold_anew(self) -> None:
        """Let layers that hold their sizes hold those of their present strides."""
        for layer in self.layers.values():
            if layer.holds_sizes:
                layer.hold_sizes()

    def trainable(self) -> torch.Tensor:
        """Tell which of them are learned."""
        return torch.tensor(
            [
                one.strides.requires_grad
                for one, own in self.own()
                for _ in range(own.stop - own.start)
            ]
        )

    def numbered(self, by_layer: bool) -> torch.Tensor:
        """Give each stride a number: that of its layer, or its own."""
        return torch.tensor(
            [
                number if by_layer else entry
                for number, (_, own) in enumerate(self.own())
                for entry in range(own.start, own.stop)
            ]
        )

    def own_bounds(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Bounds in log strides that the layers were given."""
        layers = [one for one, own in self.own() for _ in range(own.stop - own.start)]
        bounds = [[math.log(each) for each in (one.lower, one.upper)] for one in layers]
        return real([low for low, _ in bounds]), real([high for _, high in bounds])

    def bounds(
        self, network: NetworkCost, sizes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Bounds in log strides where these sizes are left: no fewer samples than the least."""
        low, high = self.own_bounds()
        reach = [0.0] * len(low)
        shares = (network.before(sizes) / network.least).tolist()
        for axis, share in zip(network.axes, shares, strict=True):
            reach[axis.entry] = max(reach[axis.entry], math.log(max(share, 1.0)))
        return low, torch.maximum(torch.minimum(high, real(reach)), low)
