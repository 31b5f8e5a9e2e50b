"""Output sizes that stand still while strides move: what a compiled graph can be built on."""

from collections.abc import Callable, Sequence


class HeldSizes:
    """Output sizes of one layer, from strides that were once read on the host.

    A compiler runs `of` while it traces and takes the result as a constant (`tracing` tells it so);
    what it guards is the number ``generation`` alone. So that number moves only when a size that
    some graph may hold has changed: new strides that give the same sizes recompile nothing.
    """

    def __init__(self, strides: Sequence[float], rule: Callable[..., tuple[int, ...]]) -> None:
        self.strides = tuple(strides)
        self.rule = rule
        self.generation = 0
        self._met: dict[tuple[int, ...], tuple[int, ...]] = {}

    @property
    def met(self) -> tuple[tuple[int, ...], ...]:
        """Every input size asked for so far."""
        return tuple(self._met)

    def of(self, sizes: tuple[int, ...], generation: int) -> tuple[int, ...]:
        """Output sizes for input sizes; ``generation`` is there for a compiler to guard."""
        if sizes not in self._met:
            self._met[sizes] = self.rule(sizes, self.strides)
        return self._met[sizes]

    def renew(self, strides: Sequence[float]) -> bool:
        """Plan from other strides, and return whether the output for a met input size changed."""
        if self.strides == tuple(strides):
            return False
        met = {sizes: self.rule(sizes, strides) for sizes in self._met}
        changed = met != self._met
        self.strides, self._met = tuple(strides), met
        self.generation += changed
        return changed
