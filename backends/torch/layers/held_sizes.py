"""Output sizes that stand still while strides move: what a compiled graph can be built on."""

from collections.abc import Sequence

from spectral_stride.layer_settings import StrideSettings
from spectral_stride.plan import Plan


class HeldSizes:
    """Output sizes of one layer, from strides that were once read on the host.

    A compiler runs `of` while it traces and takes the result as a constant (`compiler` tells it
    so); what it guards is the number ``generation`` alone. So that number moves only when a plan
    that some graph may hold has changed: new strides that give the same sizes recompile nothing.
    """

    def __init__(self, settings: StrideSettings, strides: Sequence[float]) -> None:
        self.settings = settings
        self.strides = tuple(strides)
        self.generation = 0
        self._met: dict[tuple[int, ...], Plan] = {}

    @property
    def met(self) -> tuple[tuple[int, ...], ...]:
        """Sizes along the resampled axes of every input so far."""
        return tuple(plan.sizes for plan in self._met.values())

    def of(self, shape: tuple[int, ...], generation: int) -> tuple[int, ...]:
        """Output sizes of an input; ``generation`` is there for a compiler to guard.

        The shape has 1 on every batch axis.
        """
        if shape not in self._met:
            self._met[shape] = self._planned(self.settings, self.strides, shape)
        return self._met[shape].out_sizes

    def renew(self, settings: StrideSettings, strides: Sequence[float]) -> bool:
        """Plan by other settings or strides, and return whether a plan that was made changed."""
        strides = tuple(strides)
        if (settings, strides) == (self.settings, self.strides):
            return False
        # Of other axes the sizes are not known.
        shapes = self._met if settings.axes == self.settings.axes else ()
        met = {shape: self._planned(settings, strides, shape) for shape in shapes}
        changed = met != self._met
        self.settings, self.strides, self._met = settings, strides, met
        self.generation += changed
        return changed

    @staticmethod
    def _planned(
        settings: StrideSettings, strides: tuple[float, ...], shape: tuple[int, ...]
    ) -> Plan:
        """Plan for a shape, of a parameter's entries."""
        return settings.plan(shape, settings.per_axis(strides))
