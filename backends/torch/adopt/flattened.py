"""Heads that take a flattened map, whose linear layer has a number of features that stays."""

from typing import Any

from torch.nn import functional
from torch.overrides import TorchFunctionMode

FLATTENED = "features of the flattened map"


class FlattenedHeads(TorchFunctionMode):
    """Finds where a network fails because a flattened map has another size than its head takes.

    Attributes
    ----------
    features : int or None
        As many as that head takes; None as long as no such call has failed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features: int | None = None

    def why(self, ndim: int) -> str:
        """Say what the head needs, and what to put in front of it."""
        return (
            f"a linear layer or a reshape takes {self.features} {FLATTENED}, so put "
            f"nn.AdaptiveAvgPool{ndim}d(1) before the flattening, and give it as many features as "
            "there are channels"
        )

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the function, and look at what failed."""
        try:
            return func(*args, **(kwargs or {}))
        except RuntimeError:
            self.features = self.features or _features_wanted(func, args, kwargs or {})
            raise


def _features_wanted(func: Any, args: Any, named: dict[str, Any]) -> int | None:
    """Return the features that a linear layer wants, or a reshape in front of it."""
    x: Any = args[0] if args else named.get("input")
    if func is functional.linear and x.ndim <= 2:
        return int((args[1] if len(args) > 1 else named["weight"]).shape[1])
    if getattr(func, "__name__", "") in ("view", "reshape") and x.ndim > 2:
        sizes: Any = args[1:] or (named.get("shape", named.get("size")),)
        if isinstance(sizes[0], list | tuple):
            (sizes,) = sizes
        if len(sizes) == 2 and sizes[1] > 0:
            return int(sizes[1])
    return None
