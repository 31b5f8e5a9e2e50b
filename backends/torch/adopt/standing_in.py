"""How a module becomes another one in its place, and keeps all that it has and is known by."""

from functools import lru_cache
from typing import Any

from torch import nn


class StandIn(nn.Module):
    """An operation whose class has become one of both: what it does now, and what it was.

    So its parameters, hooks and checkpoints stay, and it is found wherever it is kept.
    """

    # The class of the operation.
    _kind: Any

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Copy and pickle by the operation's own class: the class of both has no name."""
        return _bare, (type(self).__bases__[0], self._kind), dict(vars(self))


@lru_cache(maxsize=1024)
def class_of_both(first: Any, kind: Any, prefix: str) -> Any:
    """Put a class in front of a module's own, and a prefix in front of its name."""
    return type(f"{prefix}{kind.__name__}", (first, kind), {})


def _bare(first: Any, kind: Any) -> Any:
    """Make a module whose state is still to come."""
    both = class_of_both(first, kind, first.__name__)
    return both.__new__(both)


def stand_in(first: type, module: Any) -> None:
    """Make a module what stands in for it."""
    module._kind = type(module)
    module.__class__ = class_of_both(first, module._kind, first.__name__)
