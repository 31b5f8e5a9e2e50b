"""Output sizes that stand still while strides move: what a compiled graph can be built on."""

from collections.abc import Sequence

from spectral_stride.layer_settings import StrideSettings
from spectral_stride.plan import Plan

Sizes = tuple[int, ...]


class HeldSizes:
    """Output sizes of one layer, from strides that were once read on the host.

    A compiler runs `axes_in`, `bounds` and `plan` while it traces, and takes the results as
    constants (`compiler` tells it so); what it guards is the number ``generation`` alone. So that
    number moves only when a size that some graph may hold has changed, or a setting: new strides
    that give the same sizes recompile nothing.
    """

    def __init__(self, settings: StrideSettings, strides: Sequence[float]) -> None:
        self.settings = settings
        self.strides = tuple(strides)
        self.generation = 0
        # By the shape of an input, with 1 on every batch axis.
        self._met: dict[tuple[int, ...], Sizes] = {}

    @property
    def met(self) -> list[Sizes]:
        """Sizes along the resampled axes of every input so far."""
        axes = self.settings.axes_in
        return [tuple(shape[axis] for axis in axes(len(shape))) for shape in self._met]

    def axes_in(self, ndim: int) -> tuple[int, ...]:
        """Return the axes of an array with ``ndim`` dimensions, counted from 0."""
        return self.settings.axes_in(ndim)

    def plan(self, shape: tuple[int, ...], generation: int) -> Plan:
        """Plan for a shape with 1 on every batch axis.

        ``generation`` is there for a compiler to guard.
        """
        if shape not in self._met:
            self._met[shape] = _out_sizes(self.settings, self.strides, shape)
        return self.settings.plan_of_sizes(shape, self._met[shape])

    def bounds(self, sizes: Sizes, generation: int) -> tuple[tuple[float, ...], ...]:
        """Bounds of the strides on axes of these sizes; see `plan`."""
        return self.settings.bounds(sizes)

    def meet(self, sizes: Sizes) -> None:
        """Note sizes along the resampled axes, of an input whose other sizes are not known."""
        axes = self.settings.axes
        # And a dimension beside them, which no layer does without.
        shape = [1] * (1 + max(axis + 1 if axis >= 0 else -axis for axis in axes))
        for axis, size in zip(axes, sizes, strict=True):
            shape[axis] = size
        self.plan(tuple(shape), self.generation)

    def renew(self, settings: StrideSettings, strides: Sequence[float]) -> bool:
        """Plan by other settings or strides, and return whether a graph may have to change."""
        strides = tuple(strides)
        if (settings, strides) == (self.settings, self.strides):
            return False
        # Along other axes the sizes of what came in are not known.
        shapes = self._met if settings.axes == self.settings.axes else ()
        met = {shape: _out_sizes(settings, strides, shape) for shape in shapes}
        changed = (settings, met) != (self.settings, self._met)
        self.settings, self.strides, self._met = settings, strides, met
        self.generation += changed
        return changed


def _out_sizes(
    settings: StrideSettings, strides: tuple[float, ...], shape: tuple[int, ...]
) -> Sizes:
    """Output sizes that a parameter's entries give."""
    return settings.plan(shape, settings.per_axis(strides)).out_sizes
